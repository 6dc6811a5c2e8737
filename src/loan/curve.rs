//! The fixing's curve: a staircase under the hyperbola `owed / price`, with as few adaptor signatures as can be.
//!
//! An oracle signs a fixing digit by digit, so one adaptor signature covers one aligned power-of-two block of prices
//! (one prefix of binary digits). The fewest signatures that keep every price within its bound are therefore the
//! largest blocks over which one payout is within the bound: start from the whole range and halve what does not fit.
//! A block that fits cannot be had for less, and one that does not must be split, so this is the least there is.
//!
//! Integers only: both sides compute the same curve to the sat. Payouts never rise with the price.

use super::quorum::Quorum;
use super::terms::{Terms, DUST};
use bitcoin::Amount;
use hypothec_oracle::event::{FIXING_DIGITS, FIXING_MAX};
use serde::{Deserialize, Serialize};

/// Parts per million of the total that the payout may be off in the tails: 0.1 %.
pub const TAILS_PPM: u32 = 1_000;
/// The same between half and twice the reference price, tightest first: the first that stays under
/// [`MAX_SIGNATURES`] is taken.
pub const MIDDLE_PPM: [u32; 6] = [200, 250, 300, 400, 500, 1_000];
/// The bound where several oracles settle: 0.5 % everywhere. Their prices differ by as much, and every step costs a
/// signature for each way in which they may.
pub const SEVERAL_PPM: u32 = 5_000;
/// A curve with this many signatures is too many.
pub const MAX_SIGNATURES: usize = 4_000;
const MILLION: u128 = 1_000_000;

/// Prices (whole dollars, both ends included) that pay the lender the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The lowest price.
    pub first: u32,
    /// The highest price.
    pub last: u32,
    /// What the lender gets, its stake included.
    pub lender: Amount,
}

/// How far from the exact payout a curve may be, in parts per million of the total locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bounds {
    /// Between half and twice the reference price.
    pub middle_ppm: u32,
    /// Everywhere else.
    pub tails_ppm: u32,
}

/// The fixing's payouts over all prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    /// They touch, cover 0 to 2^20 − 1, and no two neighbours pay the same.
    pub intervals: Vec<Interval>,
    /// The bounds it was made for.
    pub bounds: Bounds,
}

impl Curve {
    /// How many adaptor signatures it takes.
    pub fn signatures(&self) -> usize {
        signatures(&self.intervals)
    }

    /// What the lender gets at `dollars`; a price above the highest is the highest.
    pub fn lender_at(&self, dollars: u32) -> Option<Amount> {
        let dollars = dollars.min(FIXING_MAX);
        let at = self.intervals.partition_point(|interval| interval.last < dollars);
        self.intervals.get(at).map(|interval| interval.lender)
    }
}

/// The curve of these terms: 0.1 % in the tails, and in the middle the tightest bound that stays under 4,000 signatures.
/// With several oracles 0.5 % everywhere.
pub fn fixing_curve(terms: &Terms) -> Curve {
    if !Quorum::of(terms).is_single() {
        return fixing_curve_within(terms, Bounds { middle_ppm: SEVERAL_PPM, tails_ppm: SEVERAL_PPM });
    }
    let mut curve = fixing_curve_within(terms, Bounds { middle_ppm: TAILS_PPM, tails_ppm: TAILS_PPM });
    for middle_ppm in MIDDLE_PPM {
        let candidate = fixing_curve_within(terms, Bounds { middle_ppm, tails_ppm: TAILS_PPM });
        if candidate.signatures() < MAX_SIGNATURES {
            curve = candidate;
            break;
        }
    }
    curve
}

/// The intervals of [`fixing_curve`].
pub fn fixing_intervals(terms: &Terms) -> Vec<Interval> {
    fixing_curve(terms).intervals
}

/// The curve with the fewest signatures within `bounds`.
///
/// Where a bound is under half a sat a single price pays the nearest sat, which is as near as sats come.
pub fn fixing_curve_within(terms: &Terms, bounds: Bounds) -> Curve {
    let exact = Exact::of(terms, bounds);
    let mut intervals: Vec<Interval> = Vec::new();
    // Blocks still to cover, lowest on top: at most one sibling waits on each of the twenty floors.
    let mut blocks = vec![(0u32, u32::from(FIXING_DIGITS))];
    while let Some((first, digits)) = blocks.pop() {
        let last = first + ((1u32 << digits) - 1);
        match exact.fit(first, last) {
            Some(lender) => push(&mut intervals, Interval { first, last, lender }),
            None if digits == 0 => push(&mut intervals, Interval { first, last, lender: exact.nearest(first, last) }),
            None => {
                let half = digits - 1;
                blocks.push((first + (1 << half), half));
                blocks.push((first, half));
            }
        }
    }
    Curve { intervals, bounds }
}

/// Appends `next`, joined to its neighbour if that pays the same.
fn push(intervals: &mut Vec<Interval>, next: Interval) {
    match intervals.last_mut() {
        Some(last) if last.lender == next.lender => last.last = next.last,
        _ => intervals.push(next),
    }
}

/// How many adaptor signatures `intervals` take: the aligned power-of-two blocks each falls into.
pub fn signatures(intervals: &[Interval]) -> usize {
    intervals.iter().map(|interval| blocks(interval.first, interval.last)).sum()
}

/// The fewest aligned power-of-two blocks that make up `first..=last`.
fn blocks(first: u32, last: u32) -> usize {
    let (mut at, end, mut count) = (u64::from(first), u64::from(last) + 1, 0);
    while at < end {
        let aligned = if at == 0 { u64::MAX } else { at & at.wrapping_neg() };
        // The largest power of two that fits in what is left.
        let fits = 1u64 << (63 - (end - at).leading_zeros());
        at += aligned.min(fits);
        count += 1;
    }
    count
}

/// The largest distance from the exact payout, in parts per million of the total rounded up: middle, then tails.
pub fn achieved_error(terms: &Terms, intervals: &[Interval]) -> Bounds {
    let exact = Exact::of(terms, Bounds { middle_ppm: 0, tails_ppm: 0 });
    let mut worst = Bounds { middle_ppm: 0, tails_ppm: 0 };
    for interval in intervals {
        let ends = [interval.first, interval.last];
        // The payout is constant and the exact one falls, so an interval is worst at its ends; the middle's own
        // first and last price are ends too where the middle begins or stops inside the interval.
        let inner = [exact.middle.0, exact.middle.1, exact.middle.0.saturating_sub(1), exact.middle.1 + 1];
        let inner = inner.into_iter().filter(|price| (interval.first..=interval.last).contains(price));
        for price in ends.into_iter().chain(inner) {
            let error = exact.error_ppm_ceil(price, interval.lender.to_sat().into());
            match exact.in_middle(price) {
                true => worst.middle_ppm = worst.middle_ppm.max(error),
                false => worst.tails_ppm = worst.tails_ppm.max(error),
            }
        }
    }
    worst
}

/// The exact payout as a fraction, and the bounds around it.
///
/// Sizes: sats and cents fit 64 bits and a price 20, so numerators stay under 2^85 and every product below under
/// 2^107 (twice 2^85 · 2^20, or 2^85 · a million), whatever the terms say: plain arithmetic in 128 bits is safe.
struct Exact {
    /// Everything locked.
    total: u128,
    /// The lender's stake.
    stake: u128,
    /// What the debt is worth in sats at a price of one dollar.
    debt: u128,
    /// First and last price of the middle.
    middle: (u32, u32),
    bounds: Bounds,
}

impl Exact {
    fn of(terms: &Terms, bounds: Bounds) -> Exact {
        // Sats of a bitcoin over cents of a dollar.
        let debt = u128::from(terms.owed_at_due().0) * 1_000_000;
        let price = |cents: u64| u32::try_from(cents).unwrap_or(FIXING_MAX).min(FIXING_MAX);
        let reference = terms.reference_price.0;
        Exact {
            total: terms.total().to_sat().into(),
            stake: terms.stake.to_sat().into(),
            debt,
            middle: (price(reference.div_ceil(200)), price(reference / 50)),
            bounds,
        }
    }

    fn in_middle(&self, price: u32) -> bool {
        (self.middle.0..=self.middle.1).contains(&price)
    }

    /// `min(T, S + debt / price)` as a fraction; all of it when less than 1,000 sats would be left to the borrower.
    fn at(&self, price: u32) -> (u128, u128) {
        let price = u128::from(price);
        let most = self.total.saturating_sub(self.stake).saturating_sub(DUST.to_sat().into());
        match self.debt > most * price || price == 0 {
            true => (self.total, 1),
            false => (self.stake * price + self.debt, price),
        }
    }

    /// The sat nearest to the middle of the exact payouts of `first..=last`; a tie goes to the borrower.
    fn nearest(&self, first: u32, last: u32) -> Amount {
        let ((top, per_top), (bottom, per_bottom)) = (self.at(first), self.at(last));
        let per = 2 * per_top * per_bottom;
        let sum = top * per_bottom + bottom * per_top;
        let nearest = (2 * sum).saturating_sub(per).div_ceil(2 * per);
        Amount::from_sat(u64::try_from(nearest).unwrap_or(u64::MAX))
    }

    /// The one payout for every price of `first..=last`, if one is within the bounds.
    fn fit(&self, first: u32, last: u32) -> Option<Amount> {
        let touches_middle = first <= self.middle.1 && last >= self.middle.0;
        let ppm = if touches_middle { self.bounds.middle_ppm } else { self.bounds.tails_ppm };
        let fits = |lender: &u128| [first, last].into_iter().all(|price| self.within(price, *lender, ppm));
        let nearest = u128::from(self.nearest(first, last).to_sat());
        // A rest below 1,000 sats would be dropped into the fee: pay all, or leave 1,000.
        let rest = self.total.saturating_sub(nearest);
        let dust = u128::from(DUST.to_sat());
        let lender = match rest > 0 && rest < dust {
            true => [self.total, self.total.saturating_sub(dust)].into_iter().find(fits)?,
            false => Some(nearest).filter(fits)?,
        };
        u64::try_from(lender).ok().map(Amount::from_sat)
    }

    /// Whether `lender` is within `ppm` of the total from the exact payout at `price`.
    fn within(&self, price: u32, lender: u128, ppm: u32) -> bool {
        let (exact, per) = self.at(price);
        (lender * per).abs_diff(exact) * MILLION <= self.total * u128::from(ppm) * per
    }

    fn error_ppm_ceil(&self, price: u32, lender: u128) -> u32 {
        let (exact, per) = self.at(price);
        let error = ((lender * per).abs_diff(exact) * MILLION).div_ceil((self.total * per).max(1));
        u32::try_from(error).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{loan, loans, reference};
    use crate::loan::payout::fixing_floor;
    use proptest::prelude::*;

    const UNIFORM: Bounds = Bounds { middle_ppm: 1_000, tails_ppm: 1_000 };

    /// Whether the curve touches end to end, never rises, makes no dust, and is within its bounds of the payout
    /// formula at every whole dollar there is. The formula is counted here once more, in its plainest form.
    fn check_every_price(terms: &Terms, curve: &Curve) -> Result<(), String> {
        let total = u128::from(terms.total().to_sat());
        let (stake, debt) = (u128::from(terms.stake.to_sat()), u128::from(terms.owed_at_due().0) * 1_000_000);
        let reference = u128::from(terms.reference_price.0);
        let (mut next, mut before) = (0, total);
        for interval in &curve.intervals {
            let lender = u128::from(interval.lender.to_sat());
            if interval.first != next || interval.last < interval.first || lender > before || lender < stake {
                return Err(format!("{interval:?} after {next} at {before}"));
            }
            if lender != total && total - lender < 1_000 {
                return Err(format!("{interval:?} leaves dust"));
            }
            for price in interval.first..=interval.last {
                let per = u128::from(price).max(1);
                // Times the price, to stay whole.
                let mut exact = (stake * per + debt).min(total * per);
                if price == 0 || total * per - exact < 1_000 * per {
                    exact = total * per;
                }
                let dollars = u128::from(price) * 100;
                let middle = dollars * 2 >= reference && dollars <= reference * 2;
                let ppm = if middle { curve.bounds.middle_ppm } else { curve.bounds.tails_ppm };
                if (lender * per).abs_diff(exact) * MILLION > total * u128::from(ppm) * per {
                    return Err(format!("{interval:?} is off at {price}"));
                }
            }
            (next, before) = (interval.last + 1, lender);
        }
        if next == FIXING_MAX + 1 {
            Ok(())
        } else {
            Err(format!("ends at {next}"))
        }
    }

    #[test]
    fn the_reference_loan_takes_few_signatures_at_a_uniform_tenth_of_a_percent() {
        let curve = fixing_curve_within(&reference(), UNIFORM);
        assert_eq!(check_every_price(&reference(), &curve), Ok(()));
        assert_eq!((curve.signatures(), curve.intervals.len()), (692, 690));
        assert_eq!(achieved_error(&reference(), &curve.intervals), Bounds { middle_ppm: 1_000, tails_ppm: 990 });
    }

    #[test]
    fn fifty_thousand_dollars_owed_take_hardly_a_signature_more_or_less() {
        let flat = Terms { apr: crate::loan::units::BasisPoints(0), ..reference() };
        assert_eq!(flat.owed_at_due(), flat.principal);
        let signatures = [fixing_curve_within(&flat, UNIFORM), fixing_curve(&flat)].map(|curve| curve.signatures());
        assert_eq!(signatures, [694, 2_822]);
    }

    #[test]
    fn the_reference_loan_is_five_times_as_exact_in_the_middle_under_4000_signatures() {
        let curve = fixing_curve(&reference());
        assert_eq!(check_every_price(&reference(), &curve), Ok(()));
        assert_eq!(curve.bounds, Bounds { middle_ppm: 200, tails_ppm: 1_000 });
        assert_eq!((curve.signatures(), curve.intervals.len()), (2_811, 2_808));
        assert_eq!(achieved_error(&reference(), &curve.intervals), Bounds { middle_ppm: 200, tails_ppm: 990 });
    }

    #[test]
    fn loans_small_huge_cheap_and_dear_are_within_the_bound_at_every_price() {
        for terms in [
            loan(425_000, 150_000, 60_000, 30, 1_000),
            loan(2_000_000, 900_000, 5_000, 7, 1_500),
            loan(100_000_000, 60_000_000, 900_000, 365, 500),
            loan(2_100_000_000_000_000, 600_000_000_000_000, 900_000, 3_650, 600),
        ] {
            assert_eq!(terms.check(), Ok(()));
            let curve = fixing_curve(&terms);
            assert_eq!(check_every_price(&terms, &curve), Ok(()));
            assert!(curve.signatures() < MAX_SIGNATURES, "{}", curve.signatures());
        }
    }

    #[test]
    fn the_curve_and_the_payout_formula_agree() {
        let (terms, curve) = (reference(), fixing_curve(&reference()));
        for dollars in [0, 1, 50_000, 51_233, 51_234, 60_000, 64_200, 99_999, 100_000, 200_001, FIXING_MAX] {
            let exact = fixing_floor(&terms, dollars).lender.to_sat();
            let paid = curve.lender_at(dollars).unwrap().to_sat();
            assert!(exact.abs_diff(paid) <= 100_001, "{dollars}: {exact} {paid}");
        }
        assert_eq!(curve.lender_at(u32::MAX), curve.lender_at(FIXING_MAX));
    }

    /// Blocks of an interval as a reader of digits would find them: whole if aligned and inside, else both halves.
    fn blocks_by_halving(first: u32, last: u32, at: u32, digits: u32) -> usize {
        let end = at + ((1 << digits) - 1);
        match (at > last || end < first, first <= at && end <= last) {
            (true, _) => 0,
            (_, true) => 1,
            _ => {
                let half = at + (1 << (digits - 1));
                blocks_by_halving(first, last, at, digits - 1) + blocks_by_halving(first, last, half, digits - 1)
            }
        }
    }

    #[test]
    fn the_whole_range_is_one_signature_and_a_single_price_too() {
        assert_eq!((blocks(0, FIXING_MAX), blocks(5, 5), blocks(1, 6), blocks(7, 6)), (1, 1, 4, 0));
    }

    /// Each block could not be had for less: its parent, twice as large, would leave the bound.
    #[test]
    fn no_two_sibling_blocks_could_have_been_one() {
        let (terms, bounds) = (reference(), UNIFORM);
        let exact = Exact::of(&terms, bounds);
        let mut leaves = 0;
        let mut open = vec![(0u32, u32::from(FIXING_DIGITS))];
        while let Some((first, digits)) = open.pop() {
            if exact.fit(first, first + ((1 << digits) - 1)).is_some() {
                leaves += 1;
            } else {
                open.extend([(first, digits - 1), (first + (1 << (digits - 1)), digits - 1)]);
            }
        }
        assert_eq!(fixing_curve_within(&terms, bounds).signatures(), leaves);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn any_loan_is_within_bounds_and_both_sides_compute_the_same(terms in loans()) {
            let curve = fixing_curve(&terms);
            prop_assert_eq!(&curve, &fixing_curve(&Terms::from_tlv(&terms.to_tlv()).unwrap()));
            prop_assert!(curve.signatures() < MAX_SIGNATURES);
            let achieved = achieved_error(&terms, &curve.intervals);
            prop_assert!(achieved.middle_ppm <= curve.bounds.middle_ppm, "{:?}", achieved);
            prop_assert!(achieved.tails_ppm <= curve.bounds.tails_ppm, "{:?}", achieved);
        }

        #[test]
        fn an_interval_costs_the_blocks_that_halving_finds(a in 0u32..1 << 20, b in 0u32..1 << 20) {
            prop_assert_eq!(blocks(a.min(b), a.max(b)), blocks_by_halving(a.min(b), a.max(b), 0, 20));
        }
    }
}
