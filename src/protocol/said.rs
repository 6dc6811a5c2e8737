//! What each of several oracles has said about a loan, and when that is enough to settle it.
//!
//! Every word is in the log, so it counts for ever: oracles that attest one touch hours apart settle it together, and
//! one that falls silent afterwards has still spoken.

use super::state::Loan;
use crate::contract::clauses::Clause;
use crate::contract::settle::{self, VerifiedAttestation};
use crate::contract::OracleAttestation;
use crate::loan::units::Time;
use crate::settlement::deadline;
use bitcoin::secp256k1::XOnlyPublicKey;

/// One oracle's word on one clause.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// About what.
    pub clause: Clause,
    /// The word; its key says whose.
    pub attestation: OracleAttestation,
    /// When we learned it.
    pub at: Time,
}

impl Loan {
    /// Has this oracle said this already?
    pub fn has_said(&self, clause: Clause, oracle: &XOnlyPublicKey) -> bool {
        self.said.iter().any(|said| said.clause == clause && said.attestation.oracle_public_key == *oracle)
    }

    /// Everything said about a clause.
    pub fn said_of(&self, clause: Clause) -> Vec<OracleAttestation> {
        self.said.iter().filter(|said| said.clause == clause).map(|said| said.attestation.clone()).collect()
    }

    /// One more word: and does it make enough of them agree?
    pub(super) fn hear(&mut self, said: Said) {
        let clause = said.clause;
        self.said.push(said);
        if !self.agreed.contains(&clause) && self.place_of(clause, self.said_of(clause)).is_some() {
            self.agreed.push(clause);
        }
    }

    /// Does one more word make enough of them agree?
    pub(super) fn would_agree(&self, clause: Clause, attestation: &OracleAttestation) -> bool {
        let mut words = self.said_of(clause);
        words.push(attestation.clone());
        self.place_of(clause, words).is_some()
    }

    /// The signature and split the words on a clause lead to, once enough of them agree.
    fn place_of(&self, clause: Clause, words: Vec<OracleAttestation>) -> Option<settle::Place> {
        let attested = VerifiedAttestation::check_all(&self.announcements, clause, words).ok()?;
        settle::place(&self.terms, &self.payouts, &attested).ok()
    }

    /// The clause that enough oracles have said, and that may be settled at `now`.
    ///
    /// A touch before due ends the loan, so the fixing is second. An oracle's touches are heard before its fixing:
    /// where one may still complete a touch, the fixing waits for it, but not for ever.
    pub fn settles(&self, now: Time) -> Option<Clause> {
        let touch = self.agreed.iter().find(|clause| matches!(clause, Clause::Touch { .. }));
        if let Some(touch) = touch {
            return Some(*touch);
        }
        self.agreed.iter().copied().find(|clause| *clause == Clause::Fixing && !self.may_be_touched(now))
    }

    /// Has too few of the oracles said a touch, and enough of the others not spoken to the end?
    fn may_be_touched(&self, now: Time) -> bool {
        if now.since(self.terms.due()) >= deadline::LOWS_PATIENCE {
            return false;
        }
        let silent = |oracle: &&XOnlyPublicKey| !self.has_said(Clause::Fixing, oracle);
        let touches = self.said.iter().map(|said| said.clause).filter(|clause| matches!(clause, Clause::Touch { .. }));
        touches.into_iter().any(|touch| {
            let said = self.said_of(touch).len();
            let may = self.terms.oracles.iter().filter(|oracle| !self.has_said(touch, oracle)).filter(silent).count();
            may > 0 && said + may >= self.payouts.quorum.threshold
        })
    }
}
