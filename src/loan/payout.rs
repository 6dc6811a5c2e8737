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
    pub fn of_claim(claim: Amount, terms: &Terms) -> Payout {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::curve::{fixing_curve_within, Bounds};
    use crate::loan::fixtures::{loan, loans, reference};
    use proptest::prelude::*;

    fn sats(payout: Payout) -> (u64, u64) {
        (payout.borrower.to_sat(), payout.lender.to_sat())
    }

    #[test]
    fn the_reference_loan_pays_these_sats() {
        let terms = reference();
        assert_eq!(sats(receipt(&terms)), (100_000_000, 1_000));
        // Owed after 90 days at 10 %: 51,232.88 dollars, at the reference price of 100,000.
        assert_eq!(sats(fallback_floor(&terms)), (48_767_120, 51_233_880));
        assert_eq!(sats(fixing_floor(&terms, 100_000)), (48_767_120, 51_233_880));
        assert_eq!(sats(fixing_floor(&terms, 0)), (0, 100_001_000));
        // First day: 50,013.70 owed, level 64,200: 50,013.70 · 1.05 / 64,200.
        let touch = terms.touch_day(terms.first_day()).unwrap();
        assert_eq!((touch.owed, touch.level.dollars()), (Cents(5_001_370), 64_200));
        assert_eq!(touch_floor(&terms, &touch).unwrap().lender.to_sat(), 1_000 + 81_798_107);
    }

    #[test]
    fn a_repayment_covers_the_debt_and_the_minimum_of_days() {
        let terms = reference();
        let spot = Cents(9_999_999);
        // Fourteen days at 10 % are 191.79 dollars.
        let early = repayment_ceil(&terms, terms.start, spot).unwrap();
        assert!(u128::from(early.to_sat()) * u128::from(spot.0) >= 5_019_179 * u128::from(SATS_PER_BTC));
        assert!(u128::from(early.to_sat() - 1) * u128::from(spot.0) < 5_019_179 * u128::from(SATS_PER_BTC));
        let netted = repayment_from_collateral(&terms, terms.start, spot).unwrap();
        assert_eq!(netted.lender, terms.stake + early);
        assert_eq!(repayment_from_collateral(&terms, terms.start, Cents(1)), None);
        assert_eq!(repayment_ceil(&terms, terms.start, Cents(0)), None);
    }

    #[test]
    fn a_rest_too_small_to_pay_goes_to_the_lender_and_not_to_the_miner() {
        let total = Amount::from_sat(10_000);
        assert_eq!(sats(Payout::of_lender(Amount::from_sat(9_000), total)), (1_000, 9_000));
        assert_eq!(sats(Payout::of_lender(Amount::from_sat(9_001), total)), (0, 10_000));
        assert_eq!(sats(Payout::of_lender(Amount::from_sat(10_001), total)), (0, 10_000));
    }

    fn every_payout(terms: &Terms, price: u32) -> Vec<Payout> {
        let touches = terms.touch_days();
        let mut payouts = vec![receipt(terms), refund(terms), fallback_floor(terms), fixing_floor(terms, price)];
        payouts.extend(touches.iter().map(|touch| touch_floor(terms, touch).unwrap()));
        payouts.extend(repayment_from_collateral(terms, terms.due(), Cents(u64::from(price) * 100)));
        let coarse = fixing_curve_within(terms, Bounds { middle_ppm: 50_000, tails_ppm: 50_000 });
        payouts.extend(coarse.lender_at(price).map(|lender| Payout::of_lender(lender, terms.total())));
        payouts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_payout_adds_up_and_makes_no_output_that_ddk_would_drop(terms in loans(), price in 1u32..1 << 20) {
            for payout in every_payout(&terms, price) {
                prop_assert_eq!(payout.total(), terms.total());
                prop_assert!(payout.lender >= terms.stake);
                prop_assert!(payout.borrower == Amount::ZERO || payout.borrower >= DUST);
            }
        }

        #[test]
        fn the_lender_takes_what_is_owed_to_the_sat_below(terms in loans(), price in 1u32..1 << 20) {
            let claim = fixing_floor(&terms, price).lender.to_sat() - terms.stake.to_sat();
            let owed = u128::from(terms.owed_at_due().0) * 1_000_000;
            let per = u128::from(price);
            let all = fixing_floor(&terms, price).borrower == Amount::ZERO;
            prop_assert!(u128::from(claim) * per <= owed || all);
            prop_assert!((u128::from(claim) + 1) * per > owed || all);
        }

        #[test]
        fn the_lender_never_gets_more_for_a_higher_price(terms in loans(), price in 0u32..(1 << 20) - 1) {
            prop_assert!(fixing_floor(&terms, price).lender >= fixing_floor(&terms, price + 1).lender);
        }

        #[test]
        fn a_touch_pays_the_debt_at_its_level_and_the_cushion(terms in loans()) {
            for touch in terms.touch_days() {
                let payout = touch_floor(&terms, &touch).unwrap();
                let claim = payout.lender.to_sat() - terms.stake.to_sat();
                let level = u128::from(touch.level.cents().0) * u128::from(WHOLE);
                let due = u128::from(touch.owed.0) * u128::from(WHOLE + terms.cushion.0) * u128::from(SATS_PER_BTC);
                prop_assert!(u128::from(claim) * level <= due || payout.borrower == Amount::ZERO);
                prop_assert!((u128::from(claim) + 1) * level > due);
            }
        }
    }

    #[test]
    fn the_largest_loan_there_can_be_does_not_overflow() {
        let terms = loan(2_100_000_000_000_000, 600_000_000_000_000, 900_000, 3_650, 600);
        assert_eq!(terms.check(), Ok(()));
        assert!(every_payout(&terms, 1).iter().all(|payout| payout.total() == terms.total()));
    }
}
