//! Negotiations that one side has given up and the other goes on with: it stood still, or the line broke, when it was told.

use super::core::{refused, Core};
use super::inbox::SAY_AGAIN;
use super::limits::Task;
use crate::loan::acceptable::QUOTE_LIFE;
use crate::loan::terms::LoanId;
use crate::protocol::{ErrorCode, Loan, Stage};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No quote lives longer, and no look at the coins shown for one is of use after it.
const LOOK: Duration = Duration::from_secs(QUOTE_LIFE as u64);

/// Who was told, and what is not to be begun.
#[derive(Debug, Default)]
pub struct GivenUp {
    /// When a peer was told last that a negotiation has ended.
    told: HashMap<LoanId, Instant>,
    /// Quotes that their borrower gave up, maybe while its coins are looked at.
    quotes: HashMap<LoanId, Instant>,
}

impl GivenUp {
    /// May it be told now? Then it counts as told.
    fn tell(&mut self, id: LoanId) -> bool {
        self.told.retain(|_, when| when.elapsed() < SAY_AGAIN);
        let is_due = !self.told.contains_key(&id);
        self.told.entry(id).or_insert_with(Instant::now);
        is_due
    }

    fn give_up(&mut self, id: LoanId) {
        self.quotes.retain(|_, when| when.elapsed() < LOOK);
        self.quotes.insert(id, Instant::now());
    }

    /// Has its borrower given this quote up?
    fn holds(&self, id: &LoanId) -> bool {
        self.quotes.contains_key(id)
    }
}

impl Core {
    /// A peer goes on with a negotiation that ended here while nothing of ours was signed away: it is told once more.
    pub(super) fn say_ended(&mut self, peer: PublicKey, id: LoanId) {
        let is_over =
            |loan: &&Arc<Loan>| loan.peer == peer && loan.stage == Stage::Cancelled && loan.messages.sign.is_none();
        let Some(loan) = self.loans.get(&id).filter(is_over) else { return };
        let reason = loan.cancelled_because.as_deref().unwrap_or("it was given up");
        let said = refused(id.0, ErrorCode::Cancelled, &format!("this negotiation has ended here: {reason}"));
        if self.limits.take(peer, Task::Work, Instant::now()) && self.given_up.tell(id) {
            self.send(peer, &said);
        }
    }

    /// A borrower refuses a quote of ours that has not begun: it is open no more, also where its coins are looked at right now.
    pub(super) fn give_up_quote(&mut self, peer: PublicKey, id: LoanId) {
        if self.quotes.of(&id, &peer).is_some() {
            self.quotes.remove(&id);
            self.given_up.give_up(id);
        }
    }

    /// Has its borrower given this quote up, while these coins were looked at, or what they are to back was? They are proved by
    /// now: so they were shown for something that came to nothing.
    pub(super) fn is_given_up(&mut self, id: LoanId, shown: &[(OutPoint, Amount)]) -> anyhow::Result<bool> {
        if !self.given_up.holds(&id) {
            return Ok(false);
        }
        self.show_coins(shown, id)?;
        Ok(true)
    }
}
