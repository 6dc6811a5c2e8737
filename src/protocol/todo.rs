//! What is to be done about a loan, from its state alone: the same after a restart as before.
//!
//! Every action can be repeated; it stops being asked for when an event says it had its effect.

use super::event::Exit;
use super::messages::{Borrow, Coin, Fallback, Message, Ready, Receipt};
use super::repaying;
use super::state::{Loan, Stage};
use super::unfunded;
use super::Moment;
use crate::contract::clauses::Clause;
use crate::contract::{wire, Role};
use crate::loan::tlv::Bytes;
use crate::loan::version::TRANSACTION_VERSION;
use crate::settlement::deadline;
use bitcoin::Transaction;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send these in order, again and again until the state moves on.
    Send(Vec<Message>),
    /// Send the borrower's agreement, with proofs of its coins.
    SendBorrow,
    /// Find or make the lender's coin, and say when it is confirmed.
    PrepareCoin,
    /// Bring this to the chain; say nothing if it is there already.
    Broadcast(Box<Transaction>),
    /// Take back our funding coin; where that is done already, for more if the funding transaction stands against it.
    Withdraw,
    /// Take back the coin of a repayment that does not go ahead.
    WithdrawRepayment,
    /// Ask the oracle for the fixing.
    FetchFixing,
    /// Look at the lows of the days begun.
    WatchTouches,
    /// Enough oracles have said this clause: settle it.
    Settle(Clause),
}

/// Everything to do about `loan` now.
pub fn todo(loan: &Loan, moment: Moment) -> Vec<Action> {
    let mut actions = Vec::new();
    match (&loan.stage, loan.role) {
        (Stage::Agreed, Role::Borrower) => actions.push(Action::SendBorrow),
        (Stage::Agreed | Stage::Preparing, Role::Lender) => {
            actions.extend(loan.coin_made.iter().map(broadcast));
            actions.push(Action::PrepareCoin);
        }
        (Stage::Ready, Role::Lender) => actions.push(Action::Send(vec![Message::Ready(Ready { loan: loan.id.0 })])),
        (Stage::Offered, Role::Borrower) => {
            actions.extend(loan.messages.offer.clone().map(|offer| Action::Send(vec![Message::Offer(offer)])));
        }
        (Stage::Accepted, Role::Lender) => actions.extend(send_with_fallback(loan)),
        (Stage::Signed, Role::Borrower) => signed(loan, &mut actions),
        (Stage::Funded, Role::Lender) => funded(loan, &mut actions),
        (Stage::Confirming | Stage::Active | Stage::Closing, _) => living(loan, moment, &mut actions),
        _ => {}
    }
    if loan.lacks_price() && !actions.contains(&Action::FetchFixing) {
        actions.push(Action::FetchFixing);
    }
    if loan.lacks_price() && loan.agreed.contains(&Clause::Fixing) {
        actions.push(Action::Settle(Clause::Fixing));
    }
    actions
}

fn broadcast(transaction: &Transaction) -> Action {
    Action::Broadcast(Box::new(transaction.clone()))
}

/// The lender may have everything; the borrower repeats its sign.
fn signed(loan: &Loan, actions: &mut Vec<Action>) {
    unfunded::actions(loan, send_with_fallback(loan), actions);
}

/// The funding transaction is complete and out. Where the mempool will not have it, the borrower holds it back by a
/// rival spend of its coin, and would let it through once the price suits it.
fn funded(loan: &Loan, actions: &mut Vec<Action>) {
    unfunded::actions(loan, loan.funding.as_ref().map(|seen| broadcast(&seen.transaction)), actions);
}

fn living(loan: &Loan, moment: Moment, actions: &mut Vec<Action>) {
    let confirmed = |seen: Option<&super::state::Seen>| seen.is_some_and(|seen| seen.block.is_some());
    if !confirmed(loan.funding.as_ref()) {
        // Who walks away while it waits brings out what takes the coin back instead.
        let funding =
            loan.funding.as_ref().map(|seen| &seen.transaction).filter(|_| loan.unfunded.given_up().is_none());
        actions.extend(loan.withdrawal.as_ref().or(funding).map(broadcast));
        // What was enough while the funding transaction was away may be too little against it.
        let leaves = loan.withdrawal.is_some() || loan.unfunded.given_up().is_some();
        actions.extend((leaves && loan.stage == Stage::Confirming).then_some(Action::Withdraw));
    }
    let exit = loan.exit.as_ref().map(|exit| &exit.seen);
    if confirmed(exit) {
        return;
    }
    actions.extend(receipt(loan));
    // Our own exit keeps competing until one is confirmed; a repayment that both have signed goes first for a few
    // blocks, and after them gives way.
    let wanted = loan.wanted_exit(moment.height);
    // One of version 3 is relayed on a confirmed parent only: until the funding transaction is in a block it waits.
    let may_go = |exit: &&Transaction| loan.is_funded() || exit.version.0 != i32::from(TRANSACTION_VERSION);
    actions.extend(wanted.filter(may_go).map(broadcast));
    let gives_way = loan.pending.is_some() && loan.is_repayment_seen();
    let seen = exit.map(|seen| &seen.transaction).filter(|seen| may_go(seen) && !gives_way && Some(*seen) != wanted);
    actions.extend(seen.map(broadcast));
    // An exit that only waits may never confirm: until one does, the oracle's word is needed.
    if !loan.is_attested() {
        actions.push(Action::WatchTouches);
        // What only explains the other side's exit is asked for above.
        let settles = loan.settles(moment.now).filter(|_| !loan.lacks_price());
        actions.extend(settles.map(Action::Settle));
        if deadline::is_due(&loan.terms, moment.now) {
            actions.push(Action::FetchFixing);
        }
    }
    repaying::actions(loan, moment, actions);
}

/// The lender's receipt, until a block has its exit: a borrower that was away heard nothing of it, and would pay once more.
fn receipt(loan: &Loan) -> Option<Action> {
    let pending = loan.pending.as_ref().filter(|pending| pending.exit == Exit::Receipt && loan.role == Role::Lender)?;
    let (_, attestations) = pending.attestation.as_ref()?;
    let attestation = Bytes(wire::write_attestation(attestations.first()?));
    Some(Action::Send(vec![Message::Receipt(Receipt { loan: loan.id.0, attestation })]))
}

/// Accept or sign, our half of the fallback in front.
fn send_with_fallback(loan: &Loan) -> Option<Action> {
    let (signature, message) = match loan.role {
        Role::Lender => (loan.messages.lender_fallback?, Message::Accept(loan.messages.accept.clone()?)),
        Role::Borrower => (loan.messages.borrower_fallback?, Message::Sign(loan.messages.sign.clone()?)),
    };
    let fallback = Fallback { loan: loan.id.0, signature: signature.serialize_compact() };
    Some(Action::Send(vec![Message::Fallback(fallback), message]))
}

/// The borrower's agreement with its coins' proofs.
pub fn borrow(loan: &Loan, coins: Vec<Coin>) -> Message {
    Message::Borrow(Borrow { loan: loan.id.0, coins })
}
