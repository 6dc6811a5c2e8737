//! What this node, as a borrower, asks of every loan, whatever a lender's policy says.

use super::tools::Tools;
use crate::loan::acceptable::OwnBounds;
use crate::loan::quorum::ORACLES_MAX;
use bitcoin::key::XOnlyPublicKey;

/// The borrower's own bounds, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Borrowing {
    /// The fewest oracles that may settle a loan together; `None` for two where two operators are known, else one.
    pub min_threshold: Option<u8>,
    /// What it takes of the fields that a lender sets.
    pub bounds: OwnBounds,
}

/// The highest floor: as many oracles as a loan can name.
pub const MIN_THRESHOLD_MAX: u8 = ORACLES_MAX as u8;

impl Borrowing {
    /// The floor where this many operators are known.
    fn floor(self, operators: usize) -> u8 {
        self.min_threshold.unwrap_or(if operators < 2 { 1 } else { 2 })
    }
}

impl Tools {
    /// The lowest threshold this node borrows on, where it would name `oracles`. Keys of one operator count once.
    pub fn minimum_threshold(&self, oracles: &[XOnlyPublicKey]) -> u8 {
        self.borrowing.floor(self.operators().count(oracles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_known_operator_may_settle_alone_and_of_several_two_must_agree_unless_the_person_says_otherwise() {
        let floors = |min_threshold| {
            [0, 1, 2, 5].map(|operators| Borrowing { min_threshold, ..Borrowing::default() }.floor(operators))
        };
        assert_eq!(floors(None), [1, 1, 2, 2]);
        assert_eq!(floors(Some(1)), [1; 4]);
        assert_eq!(floors(Some(3)), [3; 4]);
    }
}
