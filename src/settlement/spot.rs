//! The price now, where several oracles say one.
//!
//! Fewer oracles than the threshold may lie, and others may be silent at the same time. So a price counts only with as
//! many others beside it as could settle the loan together: then an honest one is among them, and the price is near what
//! it says. A plain median of those that answer would not do: of two it lies wherever one of them wants it.
//!
//! While as many honest ones answer as must agree, the price lies between what they say. While fewer do, those that lie
//! can move it as far as a group may be apart, and half as far where two must agree; they cannot move it farther.
//!
//! Where they are farther apart than that there is no price, and yet as many as the threshold may stand at or below a level,
//! and settle the loan. So whoever watches (margin lines, a loan not yet funded, a proposal that lies) watches [`Bounds`],
//! which fewer liars than the threshold move to no side beyond what an honest one says.

use crate::loan::units::Cents;
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::operator::Operators;

/// How far apart the prices of one group may be, in parts of the highest: 1 %.
const APART_PARTS: u64 = 100;

/// Why there is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSpot {
    /// Too few say one.
    #[error("{fresh} of its oracles have a fresh price, {threshold} must")]
    Silent { fresh: usize, threshold: usize },
    /// They do not agree.
    #[error(
        "its oracles say prices from {lowest} to {highest}, and no {threshold} of them lie within 1 % of each other"
    )]
    Apart { lowest: Cents, highest: Cents, threshold: usize },
}

/// What the price is as far as enough oracles to settle the loan say it, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// As many as the threshold say that the price is this or below it.
    pub at_or_below: Cents,
    /// As many as the threshold say that the price is this or above it.
    pub at_or_above: Cents,
}

impl From<Cents> for Bounds {
    /// A price that is agreed on: the same on either side.
    fn from(price: Cents) -> Bounds {
        Bounds { at_or_below: price, at_or_above: price }
    }
}

/// The bounds that fresh prices make: the price where they agree; else the `threshold`-th lowest and the `threshold`-th
/// highest of them, of which the first may be the higher.
///
/// # Errors
/// When fewer than `threshold` say one.
pub fn bounds(fresh: &[Cents], threshold: usize) -> Result<Bounds, NoSpot> {
    let threshold = threshold.max(1);
    let why = match agreed_floor(fresh, threshold) {
        Ok(price) => return Ok(price.into()),
        Err(why) => why,
    };
    let mut sorted = fresh.to_vec();
    sorted.sort_unstable();
    let lowest = sorted.get(threshold - 1);
    let highest = sorted.iter().rev().nth(threshold - 1);
    match (lowest, highest) {
        (Some(&at_or_below), Some(&at_or_above)) => Ok(Bounds { at_or_below, at_or_above }),
        _ => Err(why),
    }
}

/// The price that fresh prices make: the median of those that lie in some group of `threshold` within 1 % of each other;
/// of an even number the middle of the two in the middle, rounded down.
///
/// # Errors
/// When there is no such group, or there are two that say different things.
pub fn agreed_floor(fresh: &[Cents], threshold: usize) -> Result<Cents, NoSpot> {
    let threshold = threshold.max(1);
    let mut sorted = fresh.to_vec();
    sorted.sort_unstable();
    let (Some(&lowest), Some(&highest)) = (sorted.first(), sorted.last()) else {
        return Err(NoSpot::Silent { fresh: 0, threshold });
    };
    if sorted.len() < threshold {
        return Err(NoSpot::Silent { fresh: sorted.len(), threshold });
    }
    let apart = NoSpot::Apart { lowest, highest, threshold };
    if threshold == 1 {
        // Any one of them settles the loan alone: none can be told from a liar.
        return median_floor(&sorted).ok_or(apart);
    }
    let mut agreed = Vec::with_capacity(sorted.len());
    for (place, group) in sorted.windows(threshold).enumerate() {
        if is_near(group) {
            // Groups overlap: what the one before took is not taken twice.
            let new = agreed.last().map_or(0, |(last, _): &(usize, Cents)| (last + 1).saturating_sub(place));
            agreed.extend((place..).zip(group.iter().copied()).skip(new));
        }
    }
    let agreed: Vec<Cents> = agreed.into_iter().map(|(_, cents)| cents).collect();
    // Two groups without an oracle in common are two stories, each by enough oracles to settle.
    let is_one = agreed.windows(2).all(is_near);
    median_floor(&agreed).filter(|_| is_one).ok_or(apart)
}

/// The price that the fresh prices of a loan's `oracles` make, where keys of one operator are one voice: its first by the
/// order of the terms. A loan that names fewer operators than must agree, which was not known when it was signed, needs all
/// of them: they settle it together whatever is asked here.
///
/// # Errors
/// As [`agreed_floor`].
pub fn agreed_by_operators_floor(
    fresh: &[(XOnlyPublicKey, Cents)],
    oracles: &[XOnlyPublicKey],
    threshold: usize,
    operators: &Operators,
) -> Result<Cents, NoSpot> {
    let (prices, threshold) = voices(fresh, oracles, threshold, operators);
    agreed_floor(&prices, threshold)
}

/// The bounds that the fresh prices of a loan's `oracles` make, voices and threshold as for [`agreed_by_operators_floor`].
///
/// # Errors
/// As [`bounds`].
pub fn bounds_by_operators(
    fresh: &[(XOnlyPublicKey, Cents)],
    oracles: &[XOnlyPublicKey],
    threshold: usize,
    operators: &Operators,
) -> Result<Bounds, NoSpot> {
    let (prices, threshold) = voices(fresh, oracles, threshold, operators);
    bounds(&prices, threshold)
}

/// One price an operator, and how many of them must agree.
fn voices(
    fresh: &[(XOnlyPublicKey, Cents)],
    oracles: &[XOnlyPublicKey],
    threshold: usize,
    operators: &Operators,
) -> (Vec<Cents>, usize) {
    let mut voices: Vec<(XOnlyPublicKey, Cents)> = Vec::with_capacity(fresh.len());
    for (key, price) in fresh {
        if !voices.iter().any(|(known, _)| operators.are_one(known, key)) {
            voices.push((*key, *price));
        }
    }
    let prices = voices.into_iter().map(|(_, price)| price).collect();
    (prices, threshold.min(operators.count(oracles)))
}

/// Do these, in order, lie within 1 % of each other?
fn is_near(group: &[Cents]) -> bool {
    match (group.first(), group.last()) {
        (Some(low), Some(high)) => high.0.saturating_sub(low.0) <= high.0 / APART_PARTS,
        _ => false,
    }
}

fn median_floor(sorted: &[Cents]) -> Option<Cents> {
    let middle = sorted.len() / 2;
    let high = sorted.get(middle)?.0;
    match sorted.len() % 2 {
        1 => Some(Cents(high)),
        _ => {
            let low = sorted.get(middle.checked_sub(1)?)?.0;
            Some(Cents(low.saturating_add(high.saturating_sub(low) / 2)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(prices: &[u64], threshold: usize) -> Option<u64> {
        let prices: Vec<Cents> = prices.iter().copied().map(Cents).collect();
        agreed_floor(&prices, threshold).map(|price| price.0).ok()
    }

    #[test]
    fn two_of_three_near_each_other_make_the_price() {
        assert_eq!(of(&[100_000, 100_200, 100_300], 2), Some(100_200));
        assert_eq!(of(&[100_000, 1, 100_300], 2), Some(100_150), "one that lies is left out");
        assert_eq!(of(&[100_300, 100_000], 2), Some(100_150), "one is silent");
        assert_eq!(of(&[100_000, 100_900, 101_800], 2), Some(100_900), "two groups with one in common");
    }

    #[test]
    fn one_that_lies_while_another_is_silent_makes_no_price() {
        for lie in [1, 50_000, 98_900, 101_200, 100_000_000, u64::MAX] {
            assert_eq!(of(&[100_000, lie], 2), None, "{lie}");
        }
        assert_eq!(of(&[100_000, 200_000, 300_000], 2), None);
        assert_eq!(of(&[100_000, 100_100, 200_000, 200_100], 2), None, "two stories");
        assert_eq!(of(&[100_000, 100_100, 200_000, 200_100], 3), None);
        assert_eq!(of(&[100_000], 2), None);
        assert_eq!(of(&[], 0), None);
    }

    #[test]
    fn those_that_lie_while_others_are_silent_move_the_price_by_half_a_hundredth_or_a_hundredth_at_most() {
        let honest = 100_000u64;
        // Every lie of one beside one honest oracle where two must agree, and of two alike where three must.
        let farthest = |liars: usize, threshold| {
            let moved = |lie: u64| {
                let all = [vec![lie; liars], vec![honest]].concat();
                of(&all, threshold).map(|price| price.abs_diff(honest))
            };
            (98_000u64..102_000).filter_map(moved).max().unwrap()
        };
        let (of_two, of_three) = (farthest(1, 2), farthest(2, 3));
        println!("bound moved-price {of_two} of {honest} where 2 must agree, {of_three} where 3 must");
        assert_eq!((of_two, of_three), (505, 1_010));
    }

    #[test]
    fn where_one_oracle_is_enough_the_median_is_what_can_be_had() {
        assert_eq!(of(&[7], 1), Some(7));
        assert_eq!(of(&[1, 100, 103], 1), Some(100));
        assert_eq!(of(&[u64::MAX, u64::MAX - 1], 1), Some(u64::MAX - 1));
    }

    #[test]
    fn two_keys_of_one_operator_are_one_voice() {
        use crate::loan::fixtures::secret;
        use hypothec_oracle::announce::OracleKeys;
        use hypothec_oracle::operator::{Link, SameOperator};
        let keys = |byte| OracleKeys::from_secret(secret(byte));
        let [a, successor, b] = [1, 2, 3].map(|byte| keys(byte).public_key());
        let link = Link::Stated(SameOperator::sign(&keys(1), &keys(2)).unwrap());
        let (joined, apart) = (Operators::of(&[link]), Operators::default());
        let of = |prices: &[(XOnlyPublicKey, u64)], oracles: &[XOnlyPublicKey], operators: &Operators| {
            let fresh: Vec<_> = prices.iter().map(|(key, cents)| (*key, Cents(*cents))).collect();
            agreed_by_operators_floor(&fresh, oracles, 2, operators).map(|price| price.0).ok()
        };
        let all = [a, successor, b];
        let lie = [(a, 1), (successor, 1), (b, 100_000)];
        assert_eq!(of(&lie, &all, &apart), Some(1), "two that nobody knows to be one");
        assert_eq!(of(&lie, &all, &joined), None);
        assert_eq!(of(&lie[..2], &all, &joined), None, "the other is silent");
        assert_eq!(of(&[(a, 100_000), (successor, 100_000), (b, 100_200)], &all, &joined), Some(100_100));
        // A loan of that operator alone: its word is what settles it.
        assert_eq!(of(&[(successor, 100_000)], &all[..2], &joined), Some(100_000));
    }

    #[test]
    fn where_they_are_apart_as_many_as_settle_the_loan_still_bound_the_price() {
        let bounds = |prices: &[u64], threshold| {
            let prices: Vec<Cents> = prices.iter().copied().map(Cents).collect();
            super::bounds(&prices, threshold).map(|Bounds { at_or_below, at_or_above }| (at_or_below.0, at_or_above.0))
        };
        assert_eq!(bounds(&[100_000, 100_200, 1], 2), Ok((100_100, 100_100)), "they agree");
        assert_eq!(bounds(&[90_000, 92_000, 95_000], 2), Ok((92_000, 92_000)), "any two that settle");
        assert_eq!(bounds(&[90_000, 92_000, 95_000, 99_000, 104_000], 2), Ok((92_000, 99_000)));
        // Both must have touched, so a level between the two is touched by neither story alone.
        assert_eq!(bounds(&[90_000, 95_000], 2), Ok((95_000, 90_000)));
        assert_eq!(bounds(&[90_000, 95_000], 1), Ok((92_500, 92_500)), "either settles it: as the price is made");
        assert_eq!(bounds(&[90_000], 2), Err(NoSpot::Silent { fresh: 1, threshold: 2 }));
        assert_eq!(bounds(&[], 1), Err(NoSpot::Silent { fresh: 0, threshold: 1 }));
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |prices: &[u64]| {
            let prices: Vec<Cents> = prices.iter().copied().map(Cents).collect();
            agreed_floor(&prices, 2).unwrap_err().to_string()
        };
        assert!(said(&[100]).contains("1 of its oracles have a fresh price, 2 must"), "{}", said(&[100]));
        assert!(said(&[685_930, 685_930_000]).contains("from $6,859.30 to $6,859,300.00"));
    }

    proptest! {
        #[test]
        fn fewer_liars_than_the_threshold_never_move_the_price_far(
            honest in prop::collection::vec(99_800u64..100_200, 1..5), lies in prop::collection::vec(any::<u64>(), 0..5), threshold in 2usize..5,
        ) {
            let lies = &lies[..lies.len().min(threshold - 1)];
            let all: Vec<u64> = honest.iter().chain(lies).copied().collect();
            let prices: Vec<Cents> = all.iter().copied().map(Cents).collect();
            if let Ok(bounds) = bounds(&prices, threshold) {
                // Nobody is told of a fall, or of a rise, that no honest one sees.
                let lowest = honest.iter().min().unwrap();
                let highest = honest.iter().max().unwrap();
                let moved = 1_010 * highest / 100_000 + 1;
                prop_assert!(bounds.at_or_below.0 + moved >= *lowest && bounds.at_or_above.0 <= highest + moved, "{bounds:?} of {all:?}");
            }
            if let Some(price) = of(&all, threshold) {
                prop_assert!((98_000..=102_500).contains(&price), "{price} of {all:?}");
            }
            if honest.len() >= threshold {
                let between = *honest.iter().min().unwrap()..=*honest.iter().max().unwrap();
                prop_assert!(of(&all, threshold).is_none_or(|price| between.contains(&price)), "{all:?}");
            }
            if honest.len() >= threshold && lies.iter().all(|lie| !(95_000..105_000).contains(lie)) {
                prop_assert!(of(&all, threshold).is_some_and(|price| (99_800..100_200).contains(&price)));
            }
        }
    }
}
