//! What each exit pays, to the sat.
//!
//! Rounding: what the lender takes out of collateral is rounded down, because taking is what the lender gains by;
//! a repayment is rounded up, because the borrower picks its moment. A fixing pays by its curve, within the curve's
//! bound of [`fixing_floor`].
//!
//! Two sums hold for every payout: it adds up to the total locked, and neither side gets an output that DDK would
//! drop. The lender always has its stake; a borrower's rest below 1,000 sats goes to the lender, not to the miner.

use super::terms::{Terms, TouchDay, DUST};
use super::units::{
    mul_div_floor, sats_for_cents_ceil, sats_for_cents_floor, to_u64, Cents, Time, SATS_PER_BTC, WHOLE,
};
use bitcoin::Amount;
use serde::{Deserialize, Serialize};

/// Who gets what of the total locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Payout {
    /// Sats of the borrower, the offering side.
    pub borrower: Amount,
    /// Sats of the lender, the accepting side; its stake is among them.
    pub lender: Amount,
}

impl Payout {
    /// Their sum.
    pub fn total(&self) -> Amount {
        Amount::from_sat(self.borrower.to_sat().saturating_add(self.lender.to_sat()))
    }

    /// The payout that gives the lender `lender` of `total`, or all of it if less than 1,000 sats would be left.
    pub fn of_lender(lender: Amount, total: Amount) -> Payout {
        match total.checked_sub(lender).filter(|rest| *rest >= DUST) {
            Some(borrower) => Payout { borrower, lender },
            None => Payout { borrower: Amount::ZERO, lender: total },
        }
    }

    /// The payout of `claim` sats of the collateral to the lender, with its stake.
    fn of_claim(claim: Amount, terms: &Terms) -> Payout {
        let lender = terms.stake.to_sat().saturating_add(claim.min(terms.collateral).to_sat());
        Payout::of_lender(Amount::from_sat(lender), terms.total())
    }
}

/// What a touch pays: lender `min(T, S + owed · (1 + cushion) / L)`, the sats rounded down.
///
/// `None` only on overflow, which terms that passed `check` never reach.
pub fn touch_floor(terms: &Terms, touch: &TouchDay) -> Option<Payout> {
    let whole = u128::from(WHOLE);
    let owed = u128::from(touch.owed.0).checked_mul(whole.checked_add(terms.cushion.0.into())?)?;
    let level = u128::from(touch.level.cents().0).checked_mul(whole)?;
    let claim = Amount::from_sat(to_u64(mul_div_floor(owed, SATS_PER_BTC.into(), level)?)?);
    Some(Payout::of_claim(claim, terms))
}

/// What the receipt pays: everyone what they brought.
pub fn receipt(terms: &Terms) -> Payout {
    Payout::of_claim(Amount::ZERO, terms)
}

/// What a fixing of `dollars` pays before the curve: lender `min(T, S + owed(due) / price)`, the sats rounded down.
///
/// The curve pays within its bound of this. A fixing of zero pays the lender everything.
pub fn fixing_floor(terms: &Terms, dollars: u32) -> Payout {
    // No sats at all are worth the debt at price zero, and beyond 64 bits more than all of them.
    let claim = sats_for_cents_floor(terms.owed_at_due(), Cents(u64::from(dollars) * 100)).unwrap_or(terms.collateral);
    Payout::of_claim(claim, terms)
}

/// What the fallback pays: lender `min(C, owed(due) / reference price) + S`, the sats rounded down.
pub fn fallback_floor(terms: &Terms) -> Payout {
    let claim = sats_for_cents_floor(terms.owed_at_due(), terms.reference_price).unwrap_or(terms.collateral);
    Payout::of_claim(claim, terms)
}

/// What the DLC's refund pays, a year after due: everyone what they brought.
pub fn refund(terms: &Terms) -> Payout {
    receipt(terms)
}

/// The sats that repay the loan at `at` and `spot` (cents per bitcoin), rounded up. The stake is not among them.
///
/// `None` at price zero, or when no number of sats would do.
pub fn repayment_ceil(terms: &Terms, at: Time, spot: Cents) -> Option<Amount> {
    sats_for_cents_ceil(terms.repayment_at(at), spot)
}

/// What a repayment out of the collateral pays at `at` and `spot`; `None` when the collateral does not cover it.
pub fn repayment_from_collateral(terms: &Terms, at: Time, spot: Cents) -> Option<Payout> {
    let claim = repayment_ceil(terms, at, spot).filter(|claim| *claim <= terms.collateral)?;
    Some(Payout::of_claim(claim, terms))
}
