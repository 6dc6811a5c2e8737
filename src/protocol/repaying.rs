//! A repayment on its way: proposed, completed, waiting, taken back. What it is at a moment, what may happen to it next.

use super::decide::{Input, Refusal};
use super::event::{Event, Repayment};
use super::state::{Loan, Stage};
use super::todo::Action;
use super::{Message, Moment};
use crate::contract::Role;
use crate::loan::units::{sats_for_cents_ceil, Cents, Time};
use crate::loan::version::TRANSACTION_VERSION;
use crate::protocol::messages::Repay;
use crate::settlement::proposal::{self, TakenBack};
use crate::settlement::spot::Bounds;
use bitcoin::{Amount, OutPoint, Transaction, Txid};

/// Why a proposal of ours is gone that we did not take back.
const COIN_MOVED: &str =
    "its coin was spent by another transaction of this wallet, as a restored node moves every coin; it can \
    be made anew";

/// What is known of the repayment that is open, beside what was signed, and of those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The height at which it was first known to be signed by both sides; `None` while it is half-signed.
    pub since: Option<u32>,
    /// A transaction in the mempool that spends one of its coins elsewhere.
    pub rival: Option<Txid>,
    /// Must we take it back?
    pub dropped: bool,
    /// Why the last one did not go ahead, for whoever asked for it.
    pub note: Option<String>,
    /// Complete ones whose proposer took them back, the last of each side's.
    pub taken_back: Vec<TakenBack>,
}

impl Repayment {
    /// The coins it spends beside the 2-of-2: all the proposer's.
    pub fn coins(&self) -> impl Iterator<Item = OutPoint> + '_ {
        self.transaction.input.iter().skip(1).map(|input| input.previous_output)
    }

    /// The sats it pays for the debt: what a borrower pays the lender beyond its stake, what a lender asks, bound as it
    /// was when it asked.
    pub(super) fn claim(&self, loan: &Loan) -> Amount {
        let asked = sats_for_cents_ceil(self.owed, self.price).unwrap_or(Amount::ZERO);
        let asked = proposal::claim_bound(&loan.standing.taken_back, asked, self.at);
        let Some(skeleton) = loan.skeleton.as_ref().filter(|_| self.proposer == Role::Borrower) else { return asked };
        let (lender, _) = super::event::paid(skeleton, &self.transaction);
        lender.checked_sub(loan.terms.stake).unwrap_or(Amount::ZERO)
    }
}

impl Loan {
    /// May it be repaid: is its funding in a block, however deep, and does nothing end it yet? A repayment spends what the
    /// funding transaction made, which also paid the principal: a reorganisation undoes both or neither.
    pub fn is_repayable(&self) -> bool {
        self.is_funded() && matches!(self.stage, Stage::Confirming | Stage::Active) && self.pending.is_none()
    }

    /// Is the funding transaction in a block?
    pub fn is_funded(&self) -> bool {
        self.funding.as_ref().is_some_and(|seen| seen.block.is_some())
    }

    /// Is a repayment of ours open, and not being taken back?
    pub fn is_proposing(&self) -> bool {
        self.repayment_withdrawal.is_none()
            && self.repayment.as_ref().is_some_and(|repayment| repayment.proposer == self.role)
    }

    /// Is what was seen to spend the 2-of-2 the repayment that is open?
    pub fn is_repayment_seen(&self) -> bool {
        let txid = |repayment: &Repayment| repayment.transaction.compute_txid();
        let seen = self.exit.as_ref().map(|exit| exit.seen.transaction.compute_txid());
        seen.is_some() && self.repayment.as_ref().map(txid) == seen
    }

    /// The repayment that both sides have signed and that has first right to confirm: for a few blocks, while no coin
    /// of it is spent elsewhere and nothing else spends the 2-of-2. Both sides bring it out and pay for it, and no
    /// exit attested meanwhile is brought out against it.
    pub fn standing_repayment(&self, height: u32) -> Option<&Transaction> {
        let repayment = self.repayment.as_ref().filter(|_| self.repayment_withdrawal.is_none())?;
        let standing = &self.standing;
        let waits = match &self.exit {
            Some(exit) => self.is_repayment_seen() && exit.seen.block.is_none(),
            // Ours to bring out; what the other side completed and holds back is only its option.
            None => repayment.proposer != self.role,
        };
        let held = !proposal::may_exit_go(standing.since, height, standing.rival.is_some());
        (waits && held).then_some(match &self.exit {
            Some(exit) => &exit.seen.transaction,
            None => &repayment.transaction,
        })
    }

    /// Of the transactions at hand that could end the loan the one that is to: what is brought out and paid for at this
    /// height. A repayment that both have signed while it stands, else the exit that is ready, else what is seen.
    pub fn wanted_exit(&self, height: u32) -> Option<&Transaction> {
        let ready = self.pending.as_ref().map(|pending| &pending.transaction);
        let seen = self.exit.as_ref().map(|exit| &exit.seen.transaction);
        self.standing_repayment(height).or(ready).or(seen)
    }

    /// Are the exits of version 3, which no node relays on top of a funding transaction that waits?
    pub fn exits_need_confirmed_funding(&self) -> bool {
        self.skeleton.as_ref().is_some_and(|skeleton| skeleton.exit_version == TRANSACTION_VERSION)
    }

    /// What is to be paid, whoever proposes, for a debt of `owed` sats: no better for a side than what it took back in
    /// the last day, or leaves waiting.
    pub fn claim_bound(&self, owed: Amount, now: Time) -> Amount {
        let mut taken = self.standing.taken_back.clone();
        taken.extend(self.taken_back(now));
        proposal::claim_bound(&taken, owed, now)
    }

    /// The open repayment as one taken back, if both sides had signed it.
    fn taken_back(&self, at: Time) -> Option<TakenBack> {
        let open = self.repayment.as_ref()?;
        // Logs of before completion was an event of its own: what is open of the other side's was completed by us.
        let complete = self.standing.since.is_some() || open.proposer != self.role;
        complete.then(|| TakenBack { proposer: open.proposer, claim: open.claim(self), at })
    }

    /// A repayment that is open no more, or gives way to another.
    fn leave_repayment(&mut self, at: Time) {
        if let Some(gone) = self.taken_back(at) {
            gone.join(&mut self.standing.taken_back);
        }
        self.repayment = None;
        self.withdrawals.extend(self.repayment_withdrawal.take().map(|withdrawal| withdrawal.compute_txid()));
        self.standing = Standing {
            note: self.standing.note.take(),
            taken_back: std::mem::take(&mut self.standing.taken_back),
            ..Standing::default()
        };
    }

    /// A lender that does not complete what it is held to, because it took back as much, holds itself to nothing, or never
    /// saw its own repayment complete. A borrower must be able to repay: it pays the whole debt next time.
    fn relent(&mut self) {
        let open =
            self.repayment.as_ref().filter(|open| open.proposer == Role::Borrower && self.role == Role::Borrower);
        let is_short =
            |open: &Repayment| sats_for_cents_ceil(open.owed, open.price).is_some_and(|d| open.claim(self) < d);
        if open.is_some_and(is_short) {
            self.standing.taken_back.retain(|one| one.proposer == Role::Borrower);
        }
    }

    /// Folds an event about a repayment; `false` for any other.
    pub(super) fn fold_repaying(&mut self, event: &Event, at: Time) -> bool {
        match event {
            Event::Repaying(repayment) => {
                self.leave_repayment(at);
                self.lender_proposals += u32::from(repayment.proposer == Role::Lender);
                self.repayment = Some((**repayment).clone());
                self.standing.note = None;
            }
            Event::RepaymentCompleted { height } => self.standing.since = Some(*height),
            Event::RepaymentRival { txid } => self.standing.rival = Some(*txid),
            Event::RepaymentDropped { reason } => {
                self.standing.dropped = self.is_proposing();
                self.standing.note = Some(reason.clone());
                self.relent();
            }
            Event::RepaymentWithdrawn { transaction } => self.repayment_withdrawal = Some(transaction.clone()),
            Event::RepaymentGone => {
                let theirs = self.repayment.as_ref().is_some_and(|open| open.proposer != self.role);
                let by_ours = self.repayment_withdrawal.is_some();
                self.leave_repayment(at);
                if theirs {
                    let text = format!("the {} took its repayment back by spending its coin", self.role.other());
                    self.standing.note = Some(text);
                } else if !by_ours {
                    self.standing.note.get_or_insert_with(|| COIN_MOVED.to_owned());
                }
            }
            _ => return false,
        }
        true
    }

    /// The highest level at which a touch could become true while a proposal made now stands.
    pub fn level_now(&self, now: Time) -> Option<Cents> {
        let soon = now.plus(proposal::LIFE).unwrap_or(now);
        let days = self.payouts.days.iter().filter(|day| day.day == now.day() || day.day == soon.day());
        days.map(|day| day.level.cents()).max()
    }
}

/// A repayment proposed by us, or one of the other side's that we completed.
pub(super) fn repaying(loan: &Loan, repayment: Repayment, moment: Moment) -> Result<Vec<Event>, Refusal> {
    if let Some(pending) = loan.pending.as_ref().filter(|_| loan.is_living()) {
        return Err(Refusal::Settling { exit: pending.exit });
    }
    // A repayment is a version 3 transaction: no node relays it on top of an unconfirmed one of version 2.
    if !loan.is_repayable() {
        let needs = "a loan whose funding is in a block, and that nothing ends yet";
        return Err(Refusal::Stage { stage: loan.stage, what: "repaying", needs });
    }
    if !proposal::is_alive(repayment.at, moment.now) {
        return Err(Refusal::Stale { at: repayment.at, now: moment.now });
    }
    let completed = repayment.proposer != loan.role;
    match &loan.repayment {
        Some(open) if loan.role == open.proposer => Err(Refusal::Proposed(open.transaction.compute_txid())),
        Some(open) if open.transaction.compute_txid() == repayment.transaction.compute_txid() => Ok(Vec::new()),
        _ => {
            let mut events = vec![Event::Repaying(Box::new(repayment))];
            events.extend(completed.then_some(Event::RepaymentCompleted { height: moment.height }));
            Ok(events)
        }
    }
}

/// Our half-signed proposal must be taken back, for this reason: the event, once.
pub(super) fn drop_proposal(loan: &Loan, reason: impl FnOnce() -> String) -> Option<Event> {
    let open = loan.is_proposing() && !loan.standing.dropped && !loan.is_repayment_seen();
    open.then(|| Event::RepaymentDropped { reason: reason() })
}

/// The other side refuses a repayment: ours, or to make one for us.
pub(super) fn refused(loan: &Loan, reason: String) -> Vec<Event> {
    let reason = reason.chars().take(500).collect::<String>();
    match &loan.repayment {
        Some(_) => drop_proposal(loan, || reason).into_iter().collect(),
        None if loan.is_repayable() && loan.role == Role::Borrower => vec![Event::RepaymentDropped { reason }],
        None => Vec::new(),
    }
}

/// The price moved. Where oracles are apart a proposal is taken back by the bound on which its proposer loses alone: the
/// other is moved as far as it likes by one that lies while others are silent, and each taking back costs a fee.
pub(super) fn on_price(loan: &Loan, price: Bounds, moment: Moment) -> Option<Event> {
    let open = loan.repayment.as_ref()?;
    let level = loan.level_now(moment.now);
    let (loses_by, loses) = match open.proposer {
        Role::Borrower => (price.at_or_above, price.at_or_above > open.price),
        Role::Lender => (price.at_or_below, price.at_or_below < open.price),
    };
    let counts = loses || price.at_or_below == price.at_or_above;
    let why = proposal::why_recall(open.proposer, open.price, loses_by, level).filter(|_| counts)?;
    drop_proposal(loan, || why)
}

/// Time passed.
pub(super) fn on_tick(loan: &Loan, moment: Moment) -> Option<Event> {
    let open = loan.repayment.as_ref().filter(|open| !proposal::is_alive(open.at, moment.now))?;
    let life = proposal::LIFE;
    drop_proposal(loan, || format!("the {} did not complete it within {life} s", open.proposer.other()))
}

/// A transaction spends the 2-of-2: our proposal, completed by the other side?
pub(super) fn on_exit(loan: &Loan, transaction: &Transaction, confirmed: bool, height: u32) -> Option<Event> {
    let open = loan.repayment.as_ref().filter(|_| loan.standing.since.is_none() && !confirmed)?;
    let is_it = open.transaction.compute_txid() == transaction.compute_txid();
    is_it.then_some(Event::RepaymentCompleted { height })
}

/// A transaction in the mempool spends `outpoint`: a coin of a complete repayment, elsewhere?
pub(super) fn on_waiting_spend(loan: &Loan, outpoint: OutPoint, txid: Txid) -> Option<Event> {
    let open = loan.repayment.as_ref().filter(|_| loan.standing.since.is_some() && loan.standing.rival.is_none())?;
    let dies = open.transaction.compute_txid() != txid && open.coins().any(|coin| coin == outpoint);
    (dies && !loan.is_exit_confirmed()).then_some(Event::RepaymentRival { txid })
}

/// What is to be done about the repayment that is open.
pub(super) fn actions(loan: &Loan, moment: Moment, actions: &mut Vec<Action>) {
    let Some(repayment) = &loan.repayment else { return };
    let seen = loan.is_repayment_seen();
    if loan.role != repayment.proposer {
        // Completed by us; while it stands it is the exit that is wanted.
        let wanted = loan.standing_repayment(moment.height).is_some();
        if loan.exit.is_none() && loan.pending.is_none() && !wanted && loan.is_funded() {
            actions.push(Action::Broadcast(Box::new(repayment.transaction.clone())));
        }
        return;
    }
    match &loan.repayment_withdrawal {
        // Once it is out, a completion that comes too late does not bring the repayment back.
        Some(withdrawal) => actions.push(Action::Broadcast(Box::new(withdrawal.clone()))),
        None if seen => {}
        None if loan.standing.dropped => actions.push(Action::WithdrawRepayment),
        None if loan.pending.is_some() || loan.exit.is_some() || !loan.is_funded() => {}
        None => {
            let message = Repay {
                loan: loan.id.0,
                transaction: crate::loan::tlv::Bytes(bitcoin::consensus::serialize(&repayment.transaction)),
                half: repayment.half.serialize_compact(),
                price: repayment.price,
                at: repayment.at,
                source: u8::from(repayment.source == crate::contract::repay::Source::Collateral),
            };
            actions.push(Action::Send(vec![Message::Repay(message)]));
        }
    }
}

/// The inputs that are about a repayment, decided; `None` for any other.
pub(super) fn decide(loan: &Loan, input: &Input, moment: Moment) -> Option<Result<Vec<Event>, Refusal>> {
    Some(match input {
        Input::Repaying(repayment) => repaying(loan, repayment.clone(), moment),
        Input::RepaymentRefused { reason } => Ok(refused(loan, reason.clone())),
        Input::RepaymentWithdrawn(transaction) => match &loan.repayment {
            Some(_) if loan.repayment_withdrawal.is_some() => Ok(Vec::new()),
            Some(open) if loan.role == open.proposer => {
                Ok(vec![Event::RepaymentWithdrawn { transaction: transaction.clone() }])
            }
            _ => Err(Refusal::Stage {
                stage: loan.stage,
                what: "withdrawing a repayment",
                needs: "an open proposal of ours",
            }),
        },
        _ => return None,
    })
}
