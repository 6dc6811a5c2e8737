//! How many of a loan's oracles must agree, and which groups of them can.

use super::terms::Terms;
use super::units::{Cents, Days};

/// The most oracles of one loan.
pub const ORACLES_MAX: usize = 5;
/// Touches of a loan of several oracles times its groups (or its oracles, if those are more): an adaptor signature and
/// an announcement each. With those of the fixing, up to 9,000, both sides' signatures must fit into one record of a log.
pub const TOUCHES_MAX: u64 = 3_000;
/// Prices of several oracles always agree when they differ by no more than the greatest power of two dollars that is
/// not above this part of the reference price: 0.39 to 0.78 % of it.
const SUPPORT_PART: u64 = 128;

/// `threshold` of `oracles`, and how near their prices must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// How many are named.
    pub oracles: usize,
    /// How many must agree.
    pub threshold: usize,
    /// Prices that settle a fixing together: see [`always`](Quorum::always) and [`never`](Quorum::never).
    pub support_exp: u16,
}

impl Quorum {
    /// Of these terms.
    pub fn of(terms: &Terms) -> Quorum {
        Quorum {
            oracles: terms.oracles.len(),
            threshold: usize::from(terms.threshold),
            support_exp: support_exp_floor(terms.reference_price),
        }
    }

    /// Exponent of the distance from which prices never agree: twice the distance within which they always do.
    pub fn error_exp(self) -> u16 {
        self.support_exp.saturating_add(1)
    }

    /// Prices at most this many dollars apart always settle a fixing together.
    pub fn always(self) -> u32 {
        1u32.checked_shl(u32::from(self.support_exp)).unwrap_or(u32::MAX)
    }

    /// Prices this many dollars apart, or more, never settle a fixing together, unless it pays both alike.
    pub fn never(self) -> u32 {
        1u32.checked_shl(u32::from(self.error_exp())).unwrap_or(u32::MAX)
    }

    /// Is it at least one oracle, at most five, and between one and all of them that must agree?
    pub fn is_possible(self) -> bool {
        (1..=ORACLES_MAX).contains(&self.oracles) && (1..=self.oracles).contains(&self.threshold)
    }

    /// Is there no second oracle?
    pub fn is_single(self) -> bool {
        self.oracles <= 1
    }

    /// Every group of `threshold` oracles, each by ascending index, the groups in lexicographic order: the order of
    /// their adaptor signatures. None for a quorum that is not possible.
    pub fn groups(self) -> Vec<Vec<usize>> {
        if !self.is_possible() {
            return Vec::new();
        }
        groups_among(&(0..self.oracles).collect::<Vec<_>>(), self.threshold)
    }

    /// How many touches of one loan these oracles may settle: each takes a signature a group and an announcement an
    /// oracle. With one oracle the longest term is the only limit.
    pub fn days_max(self) -> Days {
        if self.is_single() {
            return Days(u32::MAX);
        }
        let each = u64::try_from(self.groups().len().max(self.oracles).max(1)).unwrap_or(u64::MAX);
        Days(u32::try_from(TOUCHES_MAX / each).unwrap_or(u32::MAX))
    }
}

/// The greatest power of two dollars that is not above a 128th of `reference`, as its exponent; 0 below $256.
fn support_exp_floor(reference: Cents) -> u16 {
    let dollars = reference.0 / (100 * SUPPORT_PART);
    dollars.checked_ilog2().and_then(|exp| u16::try_from(exp).ok()).unwrap_or(0)
}

/// Every group of `size` of `members`, in lexicographic order of their places.
pub fn groups_among<T: Copy>(members: &[T], size: usize) -> Vec<Vec<T>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut groups = Vec::new();
    for (place, member) in members.iter().enumerate() {
        for rest in groups_among(members.get(place + 1..).unwrap_or_default(), size - 1) {
            groups.push([&[*member], rest.as_slice()].concat());
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_in_lexicographic_order() {
        let quorum = |threshold, oracles| Quorum { oracles, threshold, support_exp: 9 };
        assert_eq!(quorum(1, 1).groups(), [[0]]);
        assert_eq!(quorum(2, 3).groups(), [[0, 1], [0, 2], [1, 2]]);
        assert_eq!(quorum(3, 3).groups(), [[0, 1, 2]]);
        assert_eq!(quorum(3, 5).groups().len(), 10);
        for impossible in [quorum(0, 1), quorum(2, 1), quorum(1, 0), quorum(1, 6)] {
            assert!(impossible.groups().is_empty() && !impossible.is_possible());
        }
    }

    #[test]
    fn prices_agree_within_about_half_a_percent_whatever_a_bitcoin_costs() {
        use crate::loan::fixtures::reference;
        let at = |dollars: u64| Quorum::of(&Terms { reference_price: Cents(dollars * 100), ..reference() });
        assert_eq!((at(100_000).always(), at(100_000).never()), (512, 1_024));
        assert_eq!((at(10_000).always(), at(10_000).never()), (64, 128));
        assert_eq!((at(65_535).support_exp, at(65_536).support_exp), (8, 9));
        for dollars in (2_000..=900_000).step_by(97) {
            let always = u64::from(at(dollars).always());
            assert!(always * 128 <= dollars && always * 256 > dollars, "{dollars}: {always}");
        }
    }

    #[test]
    fn the_more_groups_the_shorter_the_longest_term() {
        let quorum = |threshold, oracles| Quorum { oracles, threshold, support_exp: 9 };
        assert_eq!(quorum(1, 1).days_max(), Days(u32::MAX));
        assert_eq!(quorum(2, 3).days_max(), Days(1_000));
        assert_eq!(quorum(5, 5).days_max(), Days(600));
        assert_eq!(quorum(3, 5).days_max(), Days(300));
    }
}
