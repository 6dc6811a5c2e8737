//! How a negotiation ends here: with what this node knows of whose doing that is, and what follows for the coins that were
//! shown for it.

use super::core::Core;
use crate::contract::Role;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::protocol::ending::{self, Doing, Ending, Known};
use crate::protocol::{Input, Loan, Stage};
use crate::settlement::deadline;
use anyhow::Context;
use std::collections::HashMap;

/// Since when, and until when last, this node could not answer a peer in a stage of a loan, or bring out what both signed, for
/// a lack of its own.
#[derive(Debug, Default)]
pub struct HeldUp(HashMap<LoanId, (Stage, Time, Time)>);

impl HeldUp {
    fn note(&mut self, loan: &Loan, now: Time) {
        let known = self.0.entry(loan.id).or_insert((loan.stage, now, now));
        if known.0 != loan.stage {
            *known = (loan.stage, now, now);
        }
        known.2 = now;
    }

    fn of(&self, loan: &Loan) -> Option<(Time, Time)> {
        let (_, first, last) = self.0.get(&loan.id).filter(|(stage, ..)| *stage == loan.stage)?;
        Some((*first, *last))
    }
}

impl Core {
    /// Whose doing it is that a negotiation ends so.
    pub(super) fn whose(&self, loan: &Loan, ending: Ending) -> Doing {
        let price = self.price_of(loan).ok();
        let known = Known {
            now: self.moment.now,
            runs_since: self.runs_since,
            held_up: self.held_up.of(loan),
            is_near: price.map(|price| deadline::is_near(loan.terms.reference_price, price)),
        };
        ending::whose(loan, ending, &known)
    }

    /// The input that ends a negotiation so.
    pub(super) fn cancel_for(&self, loan: &Loan, ending: Ending, reason: String) -> Input {
        Input::Cancel { reason, by: self.whose(loan, ending) }
    }

    /// What the clock says to a loan.
    pub(super) fn tick_of(&self, id: &LoanId) -> Input {
        let lapsed =
            |loan: &&std::sync::Arc<Loan>| loan.is_negotiating() && deadline::has_expired(&loan.terms, self.moment.now);
        match self.loans.get(id).filter(lapsed) {
            Some(loan) => self.cancel_for(loan, Ending::Expired, ending::expired(&loan.terms)),
            None => Input::Tick,
        }
    }

    /// This node cannot answer what the other side of a negotiation said, and the other side cannot help it.
    pub(super) fn note_held_up(&mut self, id: &LoanId) {
        if let Some(loan) = self.loans.get(id).filter(|loan| loan.is_negotiating()) {
            self.held_up.note(loan, self.moment.now);
        }
    }

    /// The funding transactions this node holds, and is to bring out, wait for its bitcoind.
    pub(super) fn note_chain_away(&mut self) {
        let (loans, held_up) = (&self.loans, &mut self.held_up);
        loans.values().filter(|loan| loan.stage == Stage::Funded).for_each(|loan| held_up.note(loan, self.moment.now));
    }

    /// A negotiation that has ended: what was not its borrower's doing is not held against the coins shown for it.
    pub(super) fn mind_shown(&mut self, id: LoanId) -> anyhow::Result<()> {
        let Some(loan) = self.loans.get(&id).filter(|loan| loan.stage == Stage::Cancelled) else { return Ok(()) };
        let is_free = loan.role == Role::Lender && !loan.is_in_vain();
        self.held_up.0.remove(&id);
        match is_free {
            true => self.shown.pardon(&id).context("keep which coins were shown"),
            false => Ok(()),
        }
    }
}
