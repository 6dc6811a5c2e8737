//! Whose turn it is in a loan: what it waits for, since when, and until when at the latest.

use super::attention::STUCK;
use super::core::Core;
use super::inbox::SAY_AGAIN;
use crate::contract::Role;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::protocol::awaiting::coin_deadline;
use crate::protocol::messages::Progress;
use crate::protocol::unfunded;
use crate::protocol::{Block, LenderStep, Loan, Message, Moment, Stage};
use crate::settlement::unfunded::PATIENCE;
use crate::settlement::{deadline, proposal};
use bitcoin::secp256k1::PublicKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// Who has the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The lender's node, or its people.
    Lender,
    /// The borrower's node.
    Borrower,
    /// The chain: a block is waited for.
    Chain,
    /// The oracles: what they say of the price is waited for.
    Oracles,
}

/// What a loan waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnView {
    /// Whose turn it is.
    pub who: Who,
    /// Is that this node?
    pub ours: bool,
    /// What is done or waited for, in words.
    pub text: String,
    /// Since when, unix.
    pub since: u32,
    /// Until when at the latest, unix: then the negotiation ends, or what the words say. Absent where nothing ends it.
    pub until: Option<u32>,
}

/// One of the loans that wait, in `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingView {
    /// Which.
    pub loan_id: LoanId,
    /// For what.
    #[serde(flatten)]
    pub turn: TurnView,
}

/// What a turn's words begin with where a person at the lender's decides.
pub const BY_HAND: &str = "the lender decides by hand";

/// What the lender says it does, in words.
pub fn lender_step(step: LenderStep) -> &'static str {
    match step {
        LenderStep::Decides => BY_HAND,
        LenderStep::PreparesCoin => "the lender prepares its coin",
    }
}

/// Whose turn it is; `None` where the loan waits for nothing but its own end. `is_here` says whether the other side's node
/// is connected.
pub fn of(loan: &Loan, moment: Moment, is_here: bool) -> Option<TurnView> {
    let (who, text, since, until) = step(loan, moment)?;
    let ours = match who {
        Who::Lender => loan.role == Role::Lender,
        Who::Borrower => loan.role == Role::Borrower,
        Who::Chain | Who::Oracles => false,
    };
    let away = !ours && !is_here && matches!(who, Who::Lender | Who::Borrower);
    let text = if away { format!("{text}; its node is not connected") } else { text };
    Some(TurnView { who, ours, text, since: since.0, until: until.map(|until| until.0) })
}

impl Core {
    /// Whose turn it is in a loan.
    pub(super) fn turn(&self, loan: &Loan) -> Option<TurnView> {
        let turn = of(loan, self.moment, self.tools.net.is_connected(loan.peer));
        // Nobody is late by a clock that nothing confirms.
        turn.filter(|turn| turn.who != Who::Oracles || !self.is_clock_unconfirmed)
    }

    /// The loans that wait, in order of time.
    pub(super) fn waiting(&self) -> Vec<WaitingView> {
        let turn = |loan: &Arc<Loan>| Some(WaitingView { loan_id: loan.id, turn: self.turn(loan)? });
        let mut waiting: Vec<(Time, WaitingView)> =
            self.loans.values().filter_map(|loan| Some((loan.agreed_at, turn(loan)?))).collect();
        waiting.sort_by_key(|(agreed, waiting)| (*agreed, waiting.loan_id));
        waiting.into_iter().map(|(_, waiting)| waiting).collect()
    }

    /// Lender: tells the borrower what is done with the quote it took, until the coin is there. It is told again when it
    /// asks again, not more often than anything else.
    pub(super) fn say_progress(&mut self, peer: PublicKey, id: LoanId) {
        let taken = self.loans.get(&id).filter(|loan| loan.peer == peer && loan.role == Role::Lender);
        let prepares = taken.and_then(|loan| coin_deadline(loan));
        let prepares = prepares.map(|until| Progress { loan: id.0, step: LenderStep::PreparesCoin.number(), until });
        let Some(progress) = prepares.or_else(|| self.waits_for_a_person(peer, id)) else { return };
        if self.sent.get(&id).is_some_and(|(_, when)| when.elapsed() < SAY_AGAIN) {
            return;
        }
        let message = Message::Progress(progress);
        if self.send(peer, &message) {
            self.sent.insert(id, (vec![message.write().0], Instant::now()));
        }
    }
}

type Step = (Who, String, Time, Option<Time>);

fn step(loan: &Loan, moment: Moment) -> Option<Step> {
    let (since, expires) = (loan.since, Some(loan.terms.expires));
    let patience = since.plus(PATIENCE);
    let signed = loan.withdrawal.is_none();
    Some(match loan.stage {
        Stage::Agreed => {
            let known = loan.lender_step;
            let text = lender_step(known.map_or(LenderStep::PreparesCoin, |known| known.step)).to_owned();
            (Who::Lender, text, known.map_or(since, |known| known.since), coin_deadline(loan))
        }
        Stage::Preparing => (Who::Chain, "a block has to confirm the lender's coin".into(), since, coin_deadline(loan)),
        Stage::Ready => (Who::Borrower, "the borrower makes the offer".into(), since, expires),
        Stage::Offered => (Who::Lender, "the lender checks the offer and signs".into(), since, expires),
        Stage::Accepted => (Who::Borrower, "the borrower checks the contract and signs".into(), since, expires),
        Stage::Signed if signed => {
            let text =
                "the lender sends the funding transaction; if it is not out by then, this node takes its coin back";
            (Who::Lender, beside(loan, text), since, patience)
        }
        Stage::Funded if signed => {
            let text =
                "the mempool has to take the funding transaction; if it has not by then, this node takes its coin back";
            (Who::Chain, beside(loan, text), since, patience)
        }
        Stage::Signed | Stage::Funded => {
            (Who::Chain, beside(loan, "a block has to confirm that our coin is taken back"), since, None)
        }
        Stage::Confirming if loan.is_repayable() && loan.repayment.is_some() => return repaying(loan),
        Stage::Confirming if loan.is_funded() => {
            let block = loan.funding.as_ref().and_then(|seen| seen.block);
            (Who::Chain, depth(block, "the funding transaction", loan, moment), since, None)
        }
        Stage::Confirming if !signed => {
            let text = "a block has to confirm that our coin is taken back, or else the funding transaction";
            (Who::Chain, beside(loan, text), since, None)
        }
        Stage::Confirming => match (unfunded::away_until(loan), loan.unfunded.away()) {
            (Some(until), Some(away)) => {
                let text =
                    "the funding transaction is sent again; if it is not back by then, this node takes its coin back";
                (Who::Chain, beside(loan, text), away.since, Some(until))
            }
            (None, Some(away)) => (Who::Chain, beside(loan, &unfunded_text(loan, moment)), away.since, None),
            _ => (Who::Chain, unfunded_text(loan, moment), since, None),
        },
        Stage::Active => return repaying(loan).or_else(|| overdue(loan, moment)),
        Stage::Closing => {
            let block = loan.exit.as_ref().and_then(|exit| exit.seen.block);
            (Who::Chain, depth(block, "what ends it", loan, moment), since, None)
        }
        Stage::Closed | Stage::Cancelled => return None,
    })
}

/// That the funding transaction waits for its block, and what its terms' expiry means for it.
fn unfunded_text(loan: &Loan, moment: Moment) -> String {
    let expires = loan.terms.expires;
    let waits = "a block has to confirm the funding transaction";
    match deadline::has_expired(&loan.terms, moment.now) {
        true => {
            format!("{waits}; the terms expired at {expires}: `loan cancel` takes our coin back, where that is wanted")
        }
        false => format!("{waits}; the terms hold until {expires}"),
    }
}

/// These words, with what stands in the place of the funding transaction in front.
fn beside(loan: &Loan, text: &str) -> String {
    match displaced(loan) {
        Some(displaced) => format!("{displaced}; {text}"),
        None => text.to_owned(),
    }
}

/// What stands in the place of the funding transaction, in words.
pub(super) fn displaced(loan: &Loan) -> Option<String> {
    let rival = loan.unfunded.away()?.rival?;
    let whose = if loan.coins.contains(&rival.coin) { "our" } else { "the other side's" };
    Some(format!("{whose} coin {} is spent by transaction {}, which waits for a block", rival.coin, rival.txid))
}

/// A loan that is due waits for the price of then, and for what ends it without.
fn overdue(loan: &Loan, moment: Moment) -> Option<Step> {
    let (due, without) = (loan.terms.due(), loan.terms.fallback_locktime());
    let late = loan.exit.is_none() && loan.pending.is_none() && moment.now.since(due) >= STUCK;
    let text = format!(
        "its oracles have not said the price at {due}, when it was due; from {without} what both sides signed at the start ends it \
         without them"
    );
    late.then_some((Who::Oracles, text, due, Some(without)))
}

/// A repayment that is proposed and not seen complete waits for the side that did not propose it.
fn repaying(loan: &Loan) -> Option<Step> {
    let open = loan.repayment.as_ref()?;
    if loan.repayment_withdrawal.is_some() {
        return Some((Who::Chain, "a block has to confirm that the repayment is taken back".into(), open.at, None));
    }
    if loan.is_repayment_seen() {
        return Some((Who::Chain, "a block has to confirm the repayment".into(), open.at, None));
    }
    let who = match open.proposer {
        Role::Borrower => Who::Lender,
        Role::Lender => Who::Borrower,
    };
    let other = open.proposer.other();
    let text = match open.proposer == loan.role {
        true => {
            format!("the {other} completes the repayment; if it has not by then, this node takes it back, for a fee")
        }
        false => {
            format!("the {other} completes the repayment; if it has not by then, the {} takes it back", open.proposer)
        }
    };
    Some((who, text, open.at, open.at.plus(proposal::LIFE)))
}

/// How deep a transaction's block is, or that it has none.
fn depth(block: Option<Block>, what: &str, loan: &Loan, moment: Moment) -> String {
    let wanted = loan.terms.confirmations;
    match block {
        Some(block) => {
            let has = moment.height.saturating_add(1).saturating_sub(block.height);
            format!("{what} has {} of {wanted} confirmations", has.min(wanted))
        }
        None => format!("a block has to confirm {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::awaiting::Awaited;
    use crate::protocol::fixtures::taken;

    fn shown(loan: &Loan, is_here: bool) -> Option<TurnView> {
        of(loan, Moment { now: loan.agreed_at, height: 700, ..Moment::default() }, is_here)
    }

    #[test]
    fn in_every_stage_that_waits_both_sides_see_whose_turn_it_is_since_when_and_until_when() {
        let (borrower, lender) = (taken(Role::Borrower), taken(Role::Lender));
        let (at, expires) = (borrower.agreed_at.0, Some(borrower.terms.expires.0));
        let (coin, funding) = (Some(at + 1_800), Some(at + 60));
        for (stage, who, until) in [
            (Stage::Agreed, Who::Lender, coin),
            (Stage::Ready, Who::Borrower, expires),
            (Stage::Offered, Who::Lender, expires),
            (Stage::Accepted, Who::Borrower, expires),
            (Stage::Signed, Who::Lender, funding),
            (Stage::Funded, Who::Chain, funding),
            (Stage::Confirming, Who::Chain, None),
            (Stage::Closing, Who::Chain, None),
        ] {
            for loan in [&borrower, &lender] {
                let loan = Loan { stage, ..loan.clone() };
                let turn = shown(&loan, true).unwrap();
                assert_eq!((turn.who, turn.since, turn.until), (who, at, until), "{stage} {}", loan.role);
                let own = matches!((who, loan.role), (Who::Lender, Role::Lender) | (Who::Borrower, Role::Borrower));
                assert_eq!(turn.ours, own, "{stage} {}", loan.role);
                // Who waits for somebody that is not there is told so.
                let away = shown(&loan, false).unwrap().text.ends_with("its node is not connected");
                assert_eq!(away, !own && who != Who::Chain, "{stage} {}", loan.role);
            }
        }
        let preparing = Loan { stage: Stage::Preparing, ..lender.clone() };
        assert_eq!(shown(&preparing, true).map(|turn| (turn.who, turn.until)), Some((Who::Chain, coin)));
        for stage in [Stage::Active, Stage::Closed, Stage::Cancelled] {
            assert_eq!(shown(&Loan { stage, ..borrower.clone() }, true), None, "it waits for nothing but its own end");
        }
    }

    #[test]
    fn of_a_funding_that_waits_it_is_said_until_when_the_terms_hold_and_that_they_have_expired() {
        let loan = Loan { stage: Stage::Confirming, ..taken(Role::Lender) };
        let at = |now| of(&loan, Moment { now, height: 700, ..Moment::default() }, true).unwrap().text;
        let expires = loan.terms.expires;
        assert!(at(expires).ends_with(&format!("; the terms hold until {expires}")), "{}", at(expires));
        let late = at(expires.plus(1).unwrap());
        assert!(late.contains(&format!("the terms expired at {expires}: `loan cancel`")), "{late}");
    }

    #[test]
    fn a_repayment_that_is_taken_back_before_the_loan_is_confirmed_is_said_to_be_and_is_waited_for() {
        use crate::contract::repay::Source;
        use crate::node::present;
        use crate::protocol::event::Repayment;
        use crate::protocol::state::Seen;
        use bitcoin::hashes::Hash;
        let transaction = |time| bitcoin::Transaction {
            version: bitcoin::transaction::Version(3),
            lock_time: bitcoin::absolute::LockTime::from_consensus(time),
            input: Vec::new(),
            output: Vec::new(),
        };
        let mut loan = Loan { stage: Stage::Confirming, ..taken(Role::Borrower) };
        let block = Some(Block { height: 700, hash: bitcoin::BlockHash::all_zeros() });
        loan.funding = Some(Seen { transaction: transaction(1), block });
        loan.repayment = Some(Repayment {
            proposer: Role::Borrower,
            transaction: transaction(2),
            half: bitcoin::secp256k1::ecdsa::Signature::from_compact(&[1; 64]).unwrap(),
            price: crate::loan::units::Cents(1),
            at: loan.agreed_at,
            owed: crate::loan::units::Cents(1),
            source: Source::Wallet,
        });
        let waits = shown(&loan, true).unwrap();
        assert!(waits.text.starts_with("the lender completes the repayment") && waits.until.is_some(), "{waits:?}");
        loan.repayment_withdrawal = Some(transaction(3));
        let taken = shown(&loan, true).unwrap();
        assert_eq!(taken.text, "a block has to confirm that the repayment is taken back");
        let view = present::loan(&loan, Moment { height: 700, ..Moment::default() }, None);
        assert_eq!(view.taken_back, Some(transaction(3).compute_txid()));
    }

    #[test]
    fn a_borrower_whose_lender_decides_by_hand_sees_that_and_until_when() {
        let mut loan = taken(Role::Borrower);
        let (since, until) = (Time(loan.agreed_at.0 + 3), Time(loan.agreed_at.0 + 1_000));
        loan.lender_step = Some(Awaited { step: LenderStep::Decides, until, since });
        let turn = shown(&loan, true).unwrap();
        assert_eq!(
            (turn.text.as_str(), turn.since, turn.until),
            ("the lender decides by hand", since.0, Some(until.0))
        );
    }
}
