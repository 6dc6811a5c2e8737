//! How many of a loan's oracles must agree, and which groups of them can.

use super::terms::Terms;
use super::units::Days;

/// The most oracles of one loan.
pub const ORACLES_MAX: usize = 5;
/// Touches of a loan of several oracles times its groups (or its oracles, if those are more): an adaptor signature and
/// an announcement each. With those of the fixing, up to 9,000, both sides' signatures must fit into one record of a log.
pub const TOUCHES_MAX: u64 = 3_000;
/// A fixing of several oracles: prices no further apart than two to this, in dollars, always settle it.
pub const SUPPORT_EXP: u16 = 9;
/// Prices further apart than two to this, in dollars, never settle it together.
pub const ERROR_EXP: u16 = 10;

/// `threshold` of `oracles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    /// How many are named.
    pub oracles: usize,
    /// How many must agree.
    pub threshold: usize,
}

impl Quorum {
    /// Of these terms.
    pub fn of(terms: &Terms) -> Quorum {
        Quorum { oracles: terms.oracles.len(), threshold: usize::from(terms.threshold) }
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
        let quorum = |threshold, oracles| Quorum { oracles, threshold };
        assert_eq!(quorum(1, 1).groups(), [[0]]);
        assert_eq!(quorum(2, 3).groups(), [[0, 1], [0, 2], [1, 2]]);
        assert_eq!(quorum(3, 3).groups(), [[0, 1, 2]]);
        assert_eq!(quorum(3, 5).groups().len(), 10);
        for impossible in [quorum(0, 1), quorum(2, 1), quorum(1, 0), quorum(1, 6)] {
            assert!(impossible.groups().is_empty() && !impossible.is_possible());
        }
    }

    #[test]
    fn the_more_groups_the_shorter_the_longest_term() {
        assert_eq!(Quorum { oracles: 1, threshold: 1 }.days_max(), Days(u32::MAX));
        assert_eq!(Quorum { oracles: 3, threshold: 2 }.days_max(), Days(1_000));
        assert_eq!(Quorum { oracles: 5, threshold: 5 }.days_max(), Days(600));
        assert_eq!(Quorum { oracles: 5, threshold: 3 }.days_max(), Days(300));
    }
}
