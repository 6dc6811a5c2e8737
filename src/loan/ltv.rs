//! Loan to value: where a loan stands, which lines it has crossed, and at which price it would.

use super::units::{mul_div_ceil, to_u64, BasisPoints, Cents, Level, SATS_PER_BTC, WHOLE};
use bitcoin::Amount;
use hypothec_oracle::ladder::{HIGHEST, LOWEST};
use serde::{Deserialize, Serialize};

/// From here the borrower is warned.
pub const WARNING: BasisPoints = BasisPoints(6_000);
/// From here it is asked for more collateral.
pub const CALL: BasisPoints = BasisPoints(6_600);
/// From here it is urged.
pub const URGENT: BasisPoints = BasisPoints(7_200);
/// A cure brings the loan back to here.
pub const CURE: BasisPoints = WARNING;
/// The liquidation LTV unless the terms say otherwise.
pub const LIQUIDATION: BasisPoints = BasisPoints(7_800);
/// The liquidation cushion unless the terms say otherwise.
pub const CUSHION: BasisPoints = BasisPoints(500);

/// A line that a falling price crosses, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarginLine {
    /// 60 %: the borrower is warned.
    Warning,
    /// 66 %: the borrower is asked for more collateral.
    Call,
    /// 72 %: the last word before liquidation.
    Urgent,
    /// The terms' liquidation LTV: the day's touch is about to be true, or is.
    Liquidation,
}

impl std::fmt::Display for MarginLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MarginLine::Warning => "warning",
            MarginLine::Call => "call",
            MarginLine::Urgent => "urgent",
            MarginLine::Liquidation => "liquidation",
        })
    }
}

impl MarginLine {
    /// All of them, mildest first.
    pub const ALL: [MarginLine; 4] =
        [MarginLine::Warning, MarginLine::Call, MarginLine::Urgent, MarginLine::Liquidation];

    /// The LTV at which it is crossed.
    pub fn ltv(self, liquidation: BasisPoints) -> BasisPoints {
        match self {
            MarginLine::Warning => WARNING,
            MarginLine::Call => CALL,
            MarginLine::Urgent => URGENT,
            MarginLine::Liquidation => liquidation,
        }
    }

    /// The gravest line that `ltv` is at or beyond.
    pub fn crossed(ltv: BasisPoints, liquidation: BasisPoints) -> Option<MarginLine> {
        MarginLine::ALL.into_iter().rev().find(|line| ltv >= line.ltv(liquidation))
    }
}

/// What is owed over what the collateral is worth at `price` (cents per bitcoin), rounded up.
///
/// `None` without collateral or price, or when it passes 32 bits.
pub fn ltv_ceil(owed: Cents, collateral: Amount, price: Cents) -> Option<BasisPoints> {
    let worth = u128::from(collateral.to_sat()).checked_mul(price.0.into())?;
    let scale = u128::from(SATS_PER_BTC) * u128::from(WHOLE);
    mul_div_ceil(owed.0.into(), scale, worth).and_then(|ltv| u32::try_from(ltv).ok()).map(BasisPoints)
}

/// The price (cents per bitcoin) at or below which the loan is at `ltv`, rounded up.
pub fn price_at_ltv_ceil(owed: Cents, collateral: Amount, ltv: BasisPoints) -> Option<Cents> {
    let scale = u128::from(SATS_PER_BTC) * u128::from(WHOLE);
    let share = u128::from(collateral.to_sat()).checked_mul(ltv.0.into())?;
    mul_div_ceil(owed.0.into(), scale, share).and_then(to_u64).map(Cents)
}

/// The lowest level of the ladder at or above `owed / (collateral · ltv)`.
///
/// Exact: the price is rounded up to the whole dollar, and levels are whole dollars. `None` off the ladder.
pub fn level_for(owed: Cents, collateral: Amount, ltv: BasisPoints) -> Option<Level> {
    let dollars = level_dollars_ceil(owed, collateral, ltv)?;
    let dollars = u32::try_from(dollars).ok().filter(|dollars| (LOWEST..=HIGHEST).contains(dollars))?;
    Level::at_or_above(dollars)
}

/// `owed / (collateral · ltv)` in whole dollars, rounded up.
pub(super) fn level_dollars_ceil(owed: Cents, collateral: Amount, ltv: BasisPoints) -> Option<u128> {
    let scale = u128::from(SATS_PER_BTC) * u128::from(WHOLE);
    let share = u128::from(collateral.to_sat()).checked_mul(u128::from(ltv.0) * 100)?;
    mul_div_ceil(owed.0.into(), scale, share)
}

/// The collateral to add so that the loan is back at the cure LTV at `price`, rounded up; zero if it is there already.
pub fn cure_ceil(owed: Cents, collateral: Amount, price: Cents) -> Option<Amount> {
    let scale = u128::from(SATS_PER_BTC) * u128::from(WHOLE);
    let needed = mul_div_ceil(owed.0.into(), scale, u128::from(price.0).checked_mul(CURE.0.into())?)?;
    Some(Amount::from_sat(to_u64(needed)?.saturating_sub(collateral.to_sat())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BTC: Amount = Amount::ONE_BTC;

    #[test]
    fn half_the_value_is_fifty_percent_and_a_cent_more_is_a_step_above() {
        assert_eq!(ltv_ceil(Cents(5_000_000), BTC, Cents(10_000_000)), Some(BasisPoints(5_000)));
        assert_eq!(ltv_ceil(Cents(5_000_001), BTC, Cents(10_000_000)), Some(BasisPoints(5_001)));
        assert_eq!(ltv_ceil(Cents(1), Amount::ZERO, Cents(1)), None);
    }

    #[test]
    fn lines_are_crossed_in_order_as_the_price_falls() {
        let line = |ltv| MarginLine::crossed(BasisPoints(ltv), LIQUIDATION);
        assert_eq!(line(5_999), None);
        assert_eq!(line(6_000), Some(MarginLine::Warning));
        assert_eq!(line(6_600), Some(MarginLine::Call));
        assert_eq!(line(7_799), Some(MarginLine::Urgent));
        assert_eq!(line(9_999), Some(MarginLine::Liquidation));
    }

    #[test]
    fn fifty_thousand_owed_on_one_bitcoin_is_liquidated_at_64_200() {
        // 50,000 / 0.78 = 64,102.56…; rungs there are 100 apart.
        assert_eq!(level_for(Cents(5_000_000), BTC, LIQUIDATION).map(Level::dollars), Some(64_200));
        assert_eq!(level_for(Cents(10), BTC, LIQUIDATION), None);
        assert_eq!(level_for(Cents(u64::MAX), Amount::from_sat(1), LIQUIDATION), None);
    }

    #[test]
    fn a_cure_brings_the_loan_to_sixty_percent_and_not_a_sat_more() {
        let (owed, price) = (Cents(5_000_000), Cents(7_000_000));
        let more = cure_ceil(owed, BTC, price).unwrap();
        assert!(ltv_ceil(owed, BTC + more, price).unwrap() <= CURE);
        assert!(ltv_ceil(owed, BTC + more - Amount::from_sat(1), price).unwrap() > CURE);
        assert_eq!(cure_ceil(owed, BTC, Cents(10_000_000)), Some(Amount::ZERO));
    }

    proptest! {
        #[test]
        fn the_level_is_the_lowest_rung_that_is_not_below_the_exact_price(
            owed in 100_000u64..10_000_000_000, collateral in 100_000u64..100_000_000_000, ltv in 5_000u32..9_500,
        ) {
            if let Some(level) = level_for(Cents(owed), Amount::from_sat(collateral), BasisPoints(ltv)) {
                let scaled = u128::from(owed) * 1_000_000_000_000;
                let at = |dollars: u32| u128::from(dollars) * 100 * u128::from(collateral) * u128::from(ltv);
                prop_assert!(at(level.dollars()) >= scaled);
                if let Some(below) = level.index().checked_sub(1).and_then(Level::at_index) {
                    prop_assert!(at(below.dollars()) < scaled);
                }
            }
        }
    }
}
