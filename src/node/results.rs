//! What jobs bring back: inputs for loans, answers for people, refusals for peers.

use super::core::{refused, Core, Looked};
use super::jobs::{watch, Done, Key, Outcome};
use super::rotations;
use super::tools::{lock, Trouble};
use super::view::Sent;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::protocol::ending::Ending;
use crate::protocol::{ErrorCode, Event, Input, Loan, Message, Stage};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use std::sync::Arc;
use std::time::Instant;

impl Core {
    /// A job that panicked must not be missed for ever: the same one can be started again.
    pub(super) fn on_panic(&mut self, failed: &tokio::task::JoinError) {
        self.turns += 1;
        let Some(key) = self.started.remove(&failed.id()) else { return };
        self.running.remove(&key);
        if failed.is_cancelled() {
            return;
        }
        // A watch that was cut off waits its turn like one that was answered.
        if let Key::Watch(oracle) = key {
            self.looked.insert(oracle, Looked { at: Time(0), when: Instant::now() });
        }
        if key == Key::Recover {
            self.drop_candidate();
        }
        if let Key::Rotations(oracle) = key {
            self.rotations_asked.insert(oracle, (Looked { at: self.moment.now, when: Instant::now() }, false));
        }
        self.trouble(&key.to_string(), format!("ended in disorder: {failed}"));
    }

    pub(super) fn on_done(&mut self, done: Done) -> anyhow::Result<()> {
        self.turns += 1;
        self.running.remove(&done.key);
        if let Key::Loan(id) = done.key {
            self.steps.remove(&id);
        }
        match done.result {
            Ok(outcome) => {
                self.job_done(&done.key, done.about);
                self.on_outcome(outcome, done.peer)
            }
            Err(trouble) => self.on_trouble(&done.key, done.peer, done.about, trouble),
        }
    }

    pub(super) fn on_outcome(&mut self, outcome: Outcome, peer: Option<PublicKey>) -> anyhow::Result<()> {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Moved(step) => self.on_moved(*step)?,
            Outcome::Renewed(done) => self.on_renewed(done),
            Outcome::BackupSeen(behind) => self.on_backup_seen(behind),
            Outcome::Recovered(candidate, found) => self.on_recovered(&candidate, *found)?,
            Outcome::FeeCoin(minded) => self.on_fee_coin(&minded),
            Outcome::Sent(sent, reply) => {
                let _ = reply.send(sent.map(|sent| Sent { quotes_ended: self.end_unpaid_quotes(), ..sent }));
            }
            Outcome::PaymentOut(txid) => self.on_payment_out(txid)?,
            Outcome::PaymentRefused(nowhere) => self.on_payment_refused(nowhere)?,
            Outcome::Stray(txid, tip) => self.on_stray(txid, tip)?,
            Outcome::Health(health) => self.on_health(health),
            Outcome::Exit(id, look) => self.on_exit_look(id, look),
            Outcome::Inputs(id, inputs) => {
                for input in inputs {
                    let made = match &input {
                        Input::CoinMade(transaction) => Some(transaction.compute_txid()),
                        _ => None,
                    };
                    let Err(refusal) = self.input(id, input)? else { continue };
                    tracing::debug!(loan = %id, "{}", refusal.message);
                    if let Some(txid) = made {
                        self.free(txid)?;
                    }
                }
            }
            Outcome::Answered(id, inputs, reply) => {
                let mut answer = Ok(());
                for input in inputs {
                    answer = self.input(id, input)?;
                }
                match answer {
                    Ok(()) => self.show_loan(id, reply),
                    Err(refused) => drop(reply.send(Err(refused))),
                }
            }
            Outcome::AskLender(id, reply) => {
                self.wishes.insert(id, Instant::now());
                if let Some(loan) = self.loans.get(&id).cloned() {
                    let request = crate::protocol::messages::RepayRequest { loan: id.0 };
                    self.send(loan.peer, &Message::RepayRequest(request));
                }
                let _ = reply.send(self.view(id));
            }
            Outcome::Give(given, message) => {
                if let (Some(peer), Message::Quote(quote)) = (peer, &message) {
                    if let Err((code, text)) = self.may_quote(&given.terms, peer) {
                        tracing::debug!(%peer, "not quoted: {text}");
                        self.send(peer, &refused(quote.request, code, &text));
                        return Ok(());
                    }
                    let (is_partner, net) = (self.limits.is_partner(&peer), &self.tools.net);
                    self.quotes.give(*given, is_partner, |peer| net.is_connected(*peer));
                    self.send(peer, &message);
                }
            }
            Outcome::Got(got, reply) => {
                let _ = reply.send(Ok(got.view.clone()));
                self.got.insert(got.terms.id(), *got);
            }
            Outcome::Begin(event, reply) => {
                let Event::Agreed { terms, .. } = &*event else { return Ok(()) };
                let id = terms.id();
                let answer = self.begin(id, *event)?;
                let _ = reply.send(answer.and_then(|()| self.view(id)));
            }
            Outcome::Agree(event, coins) => {
                let Event::Agreed { terms, peer, .. } = &*event else { return Ok(()) };
                let (id, peer) = (terms.id(), *peer);
                if self.is_given_up(id, &coins)? {
                    return Ok(());
                }
                if let Err(refusal) = self.lend(id, *event, &coins)? {
                    tracing::debug!(loan = %id, "{}", refusal.message);
                    let code = ErrorCode::of(&refusal.code).unwrap_or(ErrorCode::Unavailable);
                    self.send(peer, &refused(id.0, code, &refusal.message));
                }
                self.say_progress(peer, id);
            }
            Outcome::Proved(given, borrow, shown) => self.on_proved(*given, &borrow, shown)?,
            Outcome::Ask(given, borrow, shown) => self.on_asked(&given, &borrow, shown)?,
            Outcome::Approved(id, looked, reply) => self.on_approved(id, looked, reply)?,
            Outcome::Rotations { oracle, at, served } => {
                let asked = Looked { at, when: Instant::now() };
                self.rotations_asked.insert(oracle, (asked, served.is_ok()));
                let key = rotations::about(&oracle);
                match served {
                    Ok(served) => {
                        self.troubles.remove(&key);
                        let (rotations, links) = *served;
                        self.on_rotations(oracle, &rotations, &links);
                    }
                    Err(Some(wrong)) => self.trouble(&key, wrong),
                    Err(None) => {}
                }
            }
            Outcome::Watched { oracle, at, spot, inputs, trouble, unheard, apart } => {
                self.looked.insert(oracle, Looked { at, when: Instant::now() });
                if let Some(known) = lock(&self.tools.oracles).get_mut(&oracle) {
                    known.spot = spot.or_else(|| known.spot.take());
                    known.trouble = [&trouble, &unheard, &apart].into_iter().flatten().next().cloned();
                    known.unheard = unheard.clone();
                }
                for (about, trouble) in watch::about(&oracle).into_iter().zip([trouble, unheard, apart]) {
                    match trouble {
                        Some(trouble) => self.trouble(&about, trouble),
                        None => self.troubles.remove(&about),
                    }
                }
                for (id, input) in inputs {
                    let knows = self.loans.get(&id).is_none_or(|loan| self.knows_place(loan));
                    if knows || !matches!(input, Input::Price(_)) {
                        self.tell(id, input)?;
                    }
                }
                self.tell_bounds(oracle)?;
            }
        }
        Ok(())
    }

    /// Tells the loans of several oracles what those say of the price: also where they do not agree, as those that settle a
    /// loan together settle it all the same.
    fn tell_bounds(&mut self, oracle: XOnlyPublicKey) -> anyhow::Result<()> {
        let of_several = |loan: &&Arc<Loan>| !loan.payouts.quorum.is_single() && loan.terms.oracles.contains(&oracle);
        let told: Vec<_> = self
            .loans
            .values()
            .filter(of_several)
            .filter(|loan| !loan.is_over() && self.knows_place(loan))
            .filter_map(|loan| Some((loan.id, self.bounds_of(loan).ok()?)))
            .collect();
        told.into_iter().try_for_each(|(id, price)| self.tell(id, Input::Price(price)))
    }

    pub(super) fn on_trouble(
        &mut self,
        key: &Key,
        peer: Option<PublicKey>,
        about: [u8; 32],
        trouble: Trouble,
    ) -> anyhow::Result<()> {
        match (&trouble, peer) {
            // A stranger that is refused is no news, and can be refused as often as it likes.
            (Trouble::Refuse { message, .. }, Some(peer)) if !self.limits.is_partner(&peer) => {
                tracing::debug!("{key}: {message}");
            }
            // The counterparty's doing: nothing of ours is in the way.
            (Trouble::Refuse { message, .. }, Some(_)) => tracing::warn!("{key}: {message}"),
            (trouble, _) => self.job_failed(key, about, trouble.message()),
        }
        let Some(peer) = peer else { return Ok(()) };
        // The negotiation ended meanwhile: the other side was told why, once.
        let ended = |id: &LoanId| self.loans.get(id).is_some_and(|loan| loan.stage == Stage::Cancelled);
        if matches!(key, Key::Loan(id) if ended(id)) {
            return Ok(());
        }
        let (code, message) = match trouble {
            Trouble::Refuse { code, message } => (code, message),
            // Who asks for a quote waits for a word; what is wrong here in detail is not the asker's.
            Trouble::Later(_) if matches!(key, Key::Peer(_)) => {
                let text = "this lender cannot quote right now; ask again in a while";
                self.send(peer, &refused(about, ErrorCode::Unavailable, text));
                return Ok(());
            }
            Trouble::Later(_) => {
                if let Key::Loan(id) = key {
                    self.note_held_up(id);
                }
                return Ok(());
            }
        };
        self.send(peer, &refused(about, code, &message));
        if let Key::Loan(id) = key {
            // Where nothing was signed that the other side could use, the loan ends here.
            let reason = format!("we refused: {message}");
            if let Some(loan) = self.loans.get(id) {
                let cancel = self.cancel_for(loan, Ending::WeRefused(code), reason);
                self.tell(*id, cancel)?;
            }
        }
        Ok(())
    }
}
