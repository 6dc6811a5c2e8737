//! What is signed and not in a block: when this side gives it up, and what it does then.

use super::event::Event;
use super::state::{Loan, Stage};
use super::todo::Action;
use super::Moment;
use crate::contract::Role;
use crate::loan::units::Cents;
use crate::settlement::unfunded::{self, Funding};

/// Whether a loan that is not funded is still wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfunded {
    given_up: Option<String>,
    was_in_block: bool,
}

impl Unfunded {
    /// Why this side takes its funding coin back, if it does.
    pub fn given_up(&self) -> Option<&str> {
        self.given_up.as_deref()
    }

    pub(super) fn give_up(&mut self, reason: String) {
        self.given_up = Some(reason);
    }

    /// The funding transaction was seen: in a block it is too late to walk away, and should a reorganisation undo that the
    /// loan is wanted. Where it only waits, what was given up before anything was signed against it is looked at anew.
    pub(super) fn seen(&mut self, in_block: bool, withdrawing: bool) {
        self.was_in_block |= in_block;
        if in_block || !withdrawing {
            self.given_up = None;
        }
    }
}

/// Where the funding transaction of a loan is that this side may still walk away from.
fn open(loan: &Loan) -> Option<Funding> {
    let is_settled = loan.unfunded.was_in_block || loan.unfunded.given_up.is_some() || loan.withdrawal.is_some();
    match (loan.stage, loan.role) {
        _ if is_settled || loan.is_funded() => None,
        (Stage::Signed, Role::Borrower) | (Stage::Funded, Role::Lender) => Some(Funding::Held),
        (Stage::Confirming, _) => Some(Funding::Out { inputs: u64::try_from(loan.funding_inputs.len()).unwrap_or(0) }),
        _ => None,
    }
}

/// Time passed.
pub(super) fn on_tick(loan: &Loan, moment: Moment) -> Option<Event> {
    open(loan).filter(|funding| *funding == Funding::Held)?;
    let reason = unfunded::why_late(&loan.terms, loan.since, moment.now)?;
    Some(Event::GivenUp { reason })
}

/// Spot moved.
pub(super) fn on_price(loan: &Loan, spot: Cents) -> Option<Event> {
    let reason = unfunded::why_at_price(loan.role, &loan.terms, open(loan)?, spot)?;
    Some(Event::GivenUp { reason })
}

/// An exit is attested: a borrower does not let a loan be funded that is liquidated at once.
pub(super) fn on_attested(loan: &Loan) -> Option<Event> {
    open(loan).filter(|_| loan.role == Role::Borrower)?;
    Some(Event::GivenUp { reason: "an exit is attested already, and the loan is not in a block yet".into() })
}

/// What is to be done about what is held: the coin taken back, or what brings the loan on.
pub(super) fn actions(loan: &Loan, wanted: Option<Action>, actions: &mut Vec<Action>) {
    match &loan.withdrawal {
        Some(withdrawal) => actions.push(Action::Broadcast(Box::new(withdrawal.clone()))),
        None if loan.unfunded.given_up.is_some() => actions.push(Action::Withdraw),
        None => {
            actions.extend(wanted);
            actions.push(Action::WatchTouches);
        }
    }
}
