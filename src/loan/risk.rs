//! What a fall faster than anyone can sell costs the lender.
//!
//! A touch pays the lender in sats counted at the level, with the cushion on top. If the sale then happens below the
//! level, the cushion is used up first; what is missing beyond it is the lender's loss.

use super::payout::touch_floor;
use super::terms::{Terms, TouchDay};
use super::units::{cents_for_sats_floor, mul_div_floor, to_u64, BasisPoints, Cents, WHOLE};
use serde::{Deserialize, Serialize};

/// The gaps that a quote names.
pub const QUOTED_GAPS: [BasisPoints; 2] = [BasisPoints(1_000), BasisPoints(1_500)];

/// What selling below the level costs the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gap {
    /// How far below the level the sale happens.
    pub below: BasisPoints,
    /// The sale's price, cents per bitcoin, rounded down.
    pub price: Cents,
    /// What is owed that day.
    pub owed: Cents,
    /// What the lender's sats bring, stake not counted, rounded down.
    pub proceeds: Cents,
    /// What is missing of what is owed: the lender's loss.
    pub shortfall: Cents,
}

/// What a sale `below` the day's level brings; `None` on overflow, or below zero.
pub fn gap(terms: &Terms, touch: &TouchDay, below: BasisPoints) -> Option<Gap> {
    let kept = WHOLE.checked_sub(below.0)?;
    let price = Cents(to_u64(mul_div_floor(touch.level.cents().0.into(), kept.into(), WHOLE.into())?)?);
    let claim = touch_floor(terms, touch)?.lender.checked_sub(terms.stake)?;
    let proceeds = cents_for_sats_floor(claim, price)?;
    let shortfall = Cents(touch.owed.0.saturating_sub(proceeds.0));
    Some(Gap { below, price, owed: touch.owed, proceeds, shortfall })
}

/// The gaps that a quote names, on the last day, when most is owed.
pub fn quoted_gaps(terms: &Terms) -> Vec<Gap> {
    let last = terms.touch_day(terms.last_day());
    last.map(|touch| QUOTED_GAPS.iter().filter_map(|below| gap(terms, &touch, *below)).collect()).unwrap_or_default()
}

/// The largest gap that costs the lender nothing, in whole basis points rounded down: a cushion of 5 % covers 4.76 %.
pub fn covered_gap_floor(cushion: BasisPoints) -> BasisPoints {
    let covered = u64::from(WHOLE) * u64::from(cushion.0) / (u64::from(WHOLE) + u64::from(cushion.0));
    BasisPoints(u32::try_from(covered).unwrap_or(WHOLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{loans, reference};
    use proptest::prelude::*;

    #[test]
    fn the_cushion_covers_a_gap_of_just_under_five_percent() {
        assert_eq!(covered_gap_floor(BasisPoints(500)), BasisPoints(476));
        let terms = reference();
        let touch = terms.touch_day(terms.first_day()).unwrap();
        let covered = gap(&terms, &touch, covered_gap_floor(terms.cushion)).unwrap();
        assert!(covered.shortfall <= Cents(1), "{covered:?}");
        assert!(gap(&terms, &touch, BasisPoints(500)).unwrap().shortfall > Cents(1));
    }

    #[test]
    fn gaps_of_ten_and_fifteen_percent_cost_five_and_a_half_and_eleven() {
        let gaps = quoted_gaps(&reference());
        // 1.05 · 0.90 = 94.5 % and 1.05 · 0.85 = 89.25 % of 51,232.88 dollars.
        let missing: Vec<u64> = gaps.iter().map(|gap| gap.shortfall.0).collect();
        assert_eq!(missing, [281_781, 550_754]);
        assert_eq!(gap(&reference(), &reference().touch_days()[0], BasisPoints(10_001)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_deeper_gap_never_costs_less(terms in loans(), below in 0u32..10_000) {
            let touch = terms.touch_day(terms.last_day()).unwrap();
            let [near, far] = [below, below + 1].map(|below| gap(&terms, &touch, BasisPoints(below)).unwrap());
            prop_assert!(near.shortfall <= far.shortfall);
            prop_assert!(far.proceeds.0 + far.shortfall.0 >= far.owed.0);
        }
    }
}
