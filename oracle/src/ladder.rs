//! The ladder: the price levels an oracle speaks about, the same for everyone.
//!
//! Steps follow the 1-2-5 series so that neighbours lie 0.1 to 0.25 % apart and every level is a number a person can
//! say: from 10,000 to 20,000 dollars in steps of 20, to 50,000 in steps of 50, to 100,000 in steps of 100, then ten
//! times that, and a tenth below.

use crate::units::Cents;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The lowest level, in dollars.
pub const LOWEST: u32 = 1_000;
/// The highest level, in dollars.
pub const HIGHEST: u32 = 1_000_000;
/// Rungs in one band: what a reader downloads together, so that nobody learns which one it wanted.
pub const BAND: u32 = 64;

/// First level, first level beyond, and step of each stretch, in dollars.
const STRETCHES: [(u32, u32, u32); 9] = [
    (1_000, 2_000, 2),
    (2_000, 5_000, 5),
    (5_000, 10_000, 10),
    (10_000, 20_000, 20),
    (20_000, 50_000, 50),
    (50_000, 100_000, 100),
    (100_000, 200_000, 200),
    (200_000, 500_000, 500),
    (500_000, 1_000_000, 1_000),
];

/// A level on the ladder, in whole US dollars per bitcoin. Only levels of the ladder can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Level(u32);

impl Level {
    /// The level at exactly `dollars`, if the ladder has it.
    pub fn exactly(dollars: u32) -> Option<Level> {
        Level::at_or_above(dollars).filter(|level| level.0 == dollars)
    }

    /// The lowest level at or above `dollars`; `None` above the highest.
    pub fn at_or_above(dollars: u32) -> Option<Level> {
        if dollars <= LOWEST {
            return Some(Level(LOWEST));
        }
        let (_, _, step) = STRETCHES.iter().find(|(_, beyond, _)| dollars <= *beyond)?;
        dollars.div_ceil(*step).checked_mul(*step).map(Level)
    }

    /// The highest level at or below `dollars`; `None` below the lowest.
    pub fn at_or_below(dollars: u32) -> Option<Level> {
        if dollars >= HIGHEST {
            return Some(Level(HIGHEST));
        }
        let (_, _, step) = STRETCHES.iter().find(|(first, beyond, _)| (*first..*beyond).contains(&dollars))?;
        Some(Level(dollars - dollars % step))
    }

    /// Whole dollars per bitcoin.
    pub fn dollars(self) -> u32 {
        self.0
    }

    /// The level as cents per bitcoin.
    pub fn cents(self) -> Cents {
        Cents(u64::from(self.0) * 100)
    }

    /// Its place on the ladder, 0 for the lowest.
    pub fn index(self) -> u32 {
        let mut before = 0;
        for (first, beyond, step) in STRETCHES {
            if self.0 < beyond {
                return before + (self.0 - first) / step;
            }
            before += (beyond - first) / step;
        }
        before
    }

    /// The level at place `index`; `None` beyond the highest.
    pub fn at_index(index: u32) -> Option<Level> {
        let mut left = index;
        for (first, beyond, step) in STRETCHES {
            let rungs = (beyond - first) / step;
            if left < rungs {
                return Some(Level(first + left * step));
            }
            left -= rungs;
        }
        (left == 0).then_some(Level(HIGHEST))
    }

    /// The band it belongs to.
    pub fn band(self) -> u32 {
        self.index() / BAND
    }

    /// Every level of a band, lowest first; empty beyond the last band.
    pub fn of_band(band: u32) -> Vec<Level> {
        let first = band.saturating_mul(BAND);
        (first..first.saturating_add(BAND)).map_while(Level::at_index).collect()
    }
}

impl TryFrom<u32> for Level {
    type Error = String;

    fn try_from(dollars: u32) -> Result<Level, String> {
        Level::exactly(dollars).ok_or_else(|| format!("{dollars} is not a level of the ladder"))
    }
}

impl From<Level> for u32 {
    fn from(level: Level) -> u32 {
        level.0
    }
}

/// `8,010` as `8010`.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Level> {
        (0..).map_while(Level::at_index).collect()
    }

    #[test]
    fn neighbours_lie_a_tenth_to_a_quarter_of_a_percent_apart() {
        for pair in all().windows(2) {
            let (low, high) = (f64::from(pair[0].0), f64::from(pair[1].0));
            assert!((0.000_99..=0.002_51).contains(&((high - low) / low)), "{} to {}", low, high);
        }
        assert_eq!((all().first().map(|l| l.0), all().last().map(|l| l.0)), (Some(LOWEST), Some(HIGHEST)));
    }

    #[test]
    fn every_level_knows_its_place_and_every_dollar_its_neighbours() {
        let levels = all();
        for (index, level) in levels.iter().enumerate() {
            assert_eq!(level.index() as usize, index);
            assert_eq!(Level::exactly(level.0), Some(*level));
            assert!(Level::of_band(level.band()).contains(level));
        }
        for dollars in (LOWEST..HIGHEST).step_by(7) {
            let above = levels.iter().find(|l| l.0 >= dollars).copied();
            let below = levels.iter().rev().find(|l| l.0 <= dollars).copied();
            assert_eq!(Level::at_or_above(dollars), above, "above {dollars}");
            assert_eq!(Level::at_or_below(dollars), below, "below {dollars}");
        }
        assert_eq!(Level::at_or_above(HIGHEST + 1), None);
        assert_eq!(Level::at_or_below(LOWEST - 1), None);
    }
}
