//! The fixing of several oracles: which prices count as agreeing, and where each agreement's signature is.
//!
//! The DLC library's scheme: the oracle of lowest index in a group says the price that pays, and what the others may
//! say beside it is covered by blocks of prices around that. Prices at most [`Quorum::always`] dollars apart always
//! agree, prices [`Quorum::never`] or more apart never do. In between it depends on where the blocks lie.

use super::adaptor::prefixes;
use super::error::{guarded, ContractError};
use crate::loan::curve::Interval;
use crate::loan::quorum::{groups_among, Quorum};
use ddk_trie::multi_oracle::compute_outcome_combinations;
use hypothec_oracle::event::FIXING_DIGITS;

/// Leading binary digits of a price.
pub type Prefix = Vec<usize>;

/// Every agreement around the prices that begin with `prefix`: for each oracle of a group the leading digits it says,
/// the one that pays first. In the order of their signatures, and the same for every group.
pub fn agreements(quorum: Quorum, prefix: &[usize]) -> Result<Vec<Vec<Prefix>>, ContractError> {
    if quorum.threshold <= 1 {
        return Ok(vec![vec![prefix.to_vec()]]);
    }
    let digits = vec![usize::from(FIXING_DIGITS); quorum.threshold];
    let (error, support) = (usize::from(quorum.error_exp()), usize::from(quorum.support_exp));
    // Prefixes come from our own curve; the guard is for the library's asserts.
    guarded(|| Ok(compute_outcome_combinations(&digits, prefix, error, support, true)))
}

/// How many adaptor signatures a fixing in these steps takes.
pub fn signatures(quorum: Quorum, steps: &[Interval]) -> Result<usize, ContractError> {
    let groups = quorum.groups().len();
    let mut count = 0usize;
    for prefix in steps.iter().flat_map(|step| prefixes(step.first, step.last)) {
        count = count.saturating_add(agreements(quorum, &prefix)?.len().saturating_mul(groups));
    }
    Ok(count)
}

/// An agreement some prices make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The place of its signature among the fixing's.
    pub signature: usize,
    /// Index of the step that is paid.
    pub step: usize,
    /// The price that pays, in whole dollars.
    pub dollars: u32,
    /// The oracles of the group, and how many of each one's leading digits are needed.
    pub digits: Vec<(usize, usize)>,
}

/// What oracles said of the price: index and whole dollars, by ascending index. Every group is tried in order; the
/// first that agrees is taken. `None` when no group does.
pub fn find(quorum: Quorum, steps: &[Interval], said: &[(usize, u32)]) -> Result<Option<Agreed>, ContractError> {
    let groups = quorum.groups();
    for group in groups_among(said, quorum.threshold) {
        let indexes: Vec<usize> = group.iter().map(|(index, _)| *index).collect();
        let Some(place) = groups.iter().position(|known| *known == indexes) else { continue };
        if let Some(agreed) = find_group(quorum, steps, &group, (place, groups.len()))? {
            return Ok(Some(agreed));
        }
    }
    Ok(None)
}

/// One group: `place` is its number among how many.
fn find_group(
    quorum: Quorum,
    steps: &[Interval],
    group: &[(usize, u32)],
    place: (usize, usize),
) -> Result<Option<Agreed>, ContractError> {
    let Some((_, dollars)) = group.first().copied() else { return Ok(None) };
    let step = steps.partition_point(|step| step.last < dollars);
    let mut before = 0usize;
    for (index, interval) in steps.iter().take(step.saturating_add(1)).enumerate() {
        for prefix in prefixes(interval.first, interval.last) {
            let agreements = agreements(quorum, &prefix)?;
            if index == step && covers(&prefix, dollars) {
                let fits = |paths: &Vec<Prefix>| paths.iter().zip(group).all(|(path, (_, said))| covers(path, *said));
                let Some(within) = agreements.iter().position(fits) else { return Ok(None) };
                let paths = agreements.get(within).into_iter().flatten();
                return Ok(Some(Agreed {
                    signature: before + place.0 * agreements.len() + within,
                    step,
                    dollars,
                    digits: group.iter().zip(paths).map(|((index, _), path)| (*index, path.len())).collect(),
                }));
            }
            before += agreements.len() * place.1;
        }
    }
    Ok(None)
}

/// Do the binary digits of `dollars` begin with `prefix`?
fn covers(prefix: &[usize], dollars: u32) -> bool {
    let digits = u32::from(FIXING_DIGITS);
    (0..digits).rev().zip(prefix).all(|(bit, digit)| (dollars >> bit & 1) as usize == *digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::curve::fixing_intervals;
    use crate::loan::fixtures::{reference, several};
    use crate::loan::terms::Terms;
    use proptest::prelude::*;

    fn quorum(threshold: usize, oracles: usize) -> Quorum {
        Quorum { oracles, threshold, support_exp: 9 }
    }

    fn steps() -> Vec<Interval> {
        fixing_intervals(&Terms { oracles: several(3), threshold: 2, ..reference() })
    }

    #[test]
    fn one_oracle_takes_one_signature_a_block() {
        let steps = fixing_intervals(&reference());
        assert_eq!(signatures(quorum(1, 1), &steps).unwrap(), crate::loan::curve::signatures(&steps));
        let agreed = find(quorum(1, 1), &steps, &[(0, 76_543)]).unwrap().unwrap();
        assert_eq!((agreed.dollars, agreed.digits.len()), (76_543, 1));
    }

    #[test]
    fn two_of_three_within_half_a_percent_take_about_a_thousand_signatures() {
        let count = signatures(quorum(2, 3), &steps()).unwrap();
        assert!((800..=1_300).contains(&count), "{count}");
    }

    #[test]
    fn no_quorum_takes_more_signatures_than_a_record_of_a_log_holds() {
        use crate::loan::fixtures::loan;
        let loans = [
            reference(),
            loan(100_000_000, 40_000_000, 5_000, 90, 1_000),
            loan(100_000_000, 45_000_000, 700_000, 90, 1_000),
        ];
        for terms in loans {
            for oracles in 2..=5u8 {
                for threshold in 1..=oracles {
                    let terms = Terms { oracles: several(oracles), threshold, ..terms.clone() };
                    assert_eq!(terms.check(), Ok(()));
                    let count = signatures(Quorum::of(&terms), &fixing_intervals(&terms)).unwrap();
                    // Touches take 3,000 at most: 12,000 of 162 bytes, twice and in hex, are below eight megabytes.
                    assert!(count <= 9_000, "{threshold} of {oracles} at {}: {count}", terms.reference_price);
                }
            }
        }
    }

    #[test]
    fn the_lower_index_pays_and_a_price_apart_is_left_out() {
        let (steps, quorum) = (steps(), quorum(2, 3));
        let find = |said: &[(usize, u32)]| find(quorum, &steps, said).unwrap().map(|agreed| agreed.dollars);
        assert_eq!(find(&[(0, 100_000), (1, 100_300), (2, 100_200)]), Some(100_000));
        assert_eq!(find(&[(0, 90_000), (1, 100_300), (2, 100_200)]), Some(100_300));
        assert_eq!(find(&[(0, 100_100), (1, 90_000), (2, 100_200)]), Some(100_100));
        assert_eq!(find(&[(0, 90_000), (1, 95_000), (2, 100_200)]), None);
        assert_eq!(find(&[(2, 100_200)]), None);
    }

    /// Agreements as the protocol's document describes them, block by block.
    fn as_documented(t: usize, near: u32, a: u32, b: u32) -> Vec<Vec<(u32, u32)>> {
        type Block = (u32, u32);
        let wide = 2 * near;
        let top = (1u32 << 20) - 1;
        let mix = |m: Block, x: Block, y: Block| -> Vec<Vec<Block>> {
            let one =
                |i: usize| [m].into_iter().chain((0..t - 1).rev().map(move |j| if i >> j & 1 == 0 { x } else { y }));
            (0..1 << (t - 1)).map(|i| one(i).collect()).collect()
        };
        let all = |m: Block, x: Block| vec![[vec![m], vec![x; t - 1]].concat()];
        if b - a + 1 < wide {
            let w = (a & !(wide - 1), a | (wide - 1));
            return match a & (wide - 1) < near {
                true if w.0 == 0 => all((a, b), w),
                true => mix((a, b), (w.0 - near, w.0 - 1), w),
                false if w.1 == top => all((a, b), w),
                false => mix((a, b), w, (w.1 + 1, w.1 + near)),
            };
        }
        let mut list = Vec::new();
        if a > 0 {
            let m = (a, a + near - 1);
            list.extend(mix(m, (a - near, a - 1), m));
            list.pop();
        }
        list.extend(all((a, b), (a, b)));
        if b < top {
            let m = (b - (near - 1), b);
            list.extend(mix(m, m, (b + 1, b + near)).split_off(1));
        }
        list
    }

    #[test]
    fn the_library_and_the_document_agree_on_every_agreement() {
        let block = |prefix: &Prefix| {
            let rest = 20 - prefix.len();
            let first = prefix.iter().fold(0u32, |sum, digit| sum << 1 | u32::try_from(*digit).unwrap()) << rest;
            (first, first + ((1 << rest) - 1))
        };
        for (threshold, support_exp) in (2..=5).flat_map(|threshold| [(threshold, 9), (threshold, 3), (threshold, 12)])
        {
            let quorum = Quorum { oracles: 5, threshold, support_exp };
            for prefix in steps().iter().flat_map(|step| prefixes(step.first, step.last)) {
                let (a, b) = block(&prefix);
                let found: Vec<Vec<(u32, u32)>> = agreements(quorum, &prefix)
                    .unwrap()
                    .iter()
                    .map(|paths| paths.iter().map(block).collect())
                    .collect();
                assert_eq!(found, as_documented(threshold, quorum.always(), a, b), "{quorum:?}, {a} to {b}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn prices_within_the_support_always_agree_and_beyond_the_error_never(
            one in 0u32..1 << 20, apart in 0u32..2_100, above: bool, group in 0usize..3,
        ) {
            let other = if above { (one + apart).min((1 << 20) - 1) } else { one.saturating_sub(apart) };
            let quorum = quorum(2, 3);
            let indexes = quorum.groups()[group].clone();
            let agreed = find(quorum, &steps(), &[(indexes[0], one), (indexes[1], other)]).unwrap();
            let distance = one.abs_diff(other);
            if distance <= quorum.always() {
                prop_assert_eq!(agreed.as_ref().map(|agreed| agreed.dollars), Some(one));
            }
            // Both inside one wide block of a flat part of the curve agree too: they are paid alike.
            let paid = |dollars: u32| steps().iter().find(|step| step.last >= dollars).map(|step| step.lender);
            if distance >= quorum.never() && paid(one) != paid(other) {
                prop_assert_eq!(agreed, None);
            }
        }

        #[test]
        fn every_agreement_has_a_place_of_its_own(one in 0u32..1 << 20, other in 0u32..1 << 20) {
            let (steps, quorum) = (steps(), quorum(2, 3));
            let count = signatures(quorum, &steps).unwrap();
            let other = one.saturating_sub(300).max(other % (one + 300));
            let mut places = Vec::new();
            for group in quorum.groups() {
                places.extend(find(quorum, &steps, &[(group[0], one), (group[1], other)]).unwrap().map(|a| a.signature));
            }
            let total = places.len();
            places.sort_unstable();
            places.dedup();
            prop_assert_eq!(places.len(), total);
            prop_assert!(places.iter().all(|place| *place < count));
        }
    }
}
