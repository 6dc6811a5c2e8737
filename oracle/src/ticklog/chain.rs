//! The chain: each tick names the one before, so nothing can be changed, dropped or moved without breaking it.

use super::entry::{hash_of, Head, Line, LONGEST_LINE};
use crate::price::decimal::shortened;
use crate::units::Time;
use bitcoin::hashes::{sha256, Hash};

/// Where the chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not a line of a tick log.
    #[error("the line after tick {after} is not a line of a tick log ({why}): {began:?}")]
    NotALine { after: String, why: String, began: String },
    /// A number is missing, doubled or out of order.
    #[error("tick {found} stands where tick {right} belongs: something was dropped, added or moved")]
    Number { found: u64, right: u64 },
    /// The tick before was changed.
    #[error("tick {n} does not follow from the line before it: that line was changed")]
    Prev { n: u64 },
    /// Time does not advance.
    #[error("tick {n} is at {at}, not after the tick before it at {before}")]
    Time { n: u64, at: Time, before: Time },
    /// An hour's last tick is not signed for.
    #[error("tick {n} at {at} begins an hour, but no signed head closes the hour before")]
    NoHead { n: u64, at: Time },
    /// A head that is not of the tick before it.
    #[error("the head of tick {n} does not sign for the tick before it")]
    Head { n: u64 },
}

/// The last tick of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its number.
    pub n: u64,
    /// Its time.
    pub at: Time,
    /// Its hash.
    pub hash: sha256::Hash,
    /// Does a head follow it?
    pub headed: bool,
}

/// A chain as far as it was followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    end: Option<End>,
    /// The first tick is taken as it comes: the log is read from its middle.
    from_middle: bool,
}

impl Chain {
    /// A chain from its first tick.
    pub fn from_start() -> Chain {
        Chain::default()
    }

    /// A chain that is read from some tick on, which is believed.
    pub fn from_middle() -> Chain {
        Chain { end: None, from_middle: true }
    }

    /// The last tick.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// What the next tick must be numbered and name.
    pub fn next(&self) -> (u64, sha256::Hash) {
        self.end.map_or((0, sha256::Hash::all_zeros()), |end| (end.n.saturating_add(1), end.hash))
    }

    /// Follows one line. Heads' signatures are not checked here, their place is.
    ///
    /// # Errors
    /// Where the chain breaks; it must not be followed further then.
    pub fn follow(&mut self, text: &str) -> Result<Line, ChainError> {
        let not_a_line = |why: String| {
            let after = self.end.map_or_else(|| "none".to_string(), |end| end.n.to_string());
            ChainError::NotALine { after, why, began: shortened(text) }
        };
        if text.len() > LONGEST_LINE {
            return Err(not_a_line(format!("{} bytes", text.len())));
        }
        let line: Line = serde_json::from_str(text).map_err(|error| not_a_line(error.to_string()))?;
        match &line {
            Line::Head(head) => self.head(head)?,
            Line::Tick(entry) => {
                let (n, prev) = match self.end {
                    None if self.from_middle => (entry.n, entry.prev),
                    _ => self.next(),
                };
                if entry.n != n {
                    return Err(ChainError::Number { found: entry.n, right: n });
                }
                if entry.prev != prev {
                    return Err(ChainError::Prev { n });
                }
                if let Some(End { at: before, headed, .. }) = self.end {
                    if entry.at <= before {
                        return Err(ChainError::Time { n, at: entry.at, before });
                    }
                    if !headed && entry.at.hour_floor() != before.hour_floor() {
                        return Err(ChainError::NoHead { n, at: entry.at });
                    }
                }
                self.end = Some(End { n, at: entry.at, hash: hash_of(text), headed: false });
            }
        }
        Ok(line)
    }

    fn head(&mut self, head: &Head) -> Result<(), ChainError> {
        match &mut self.end {
            Some(end) if (end.n, end.at, end.hash) == (head.n, head.at, head.hash) => {
                end.headed = true;
                Ok(())
            }
            _ => Err(ChainError::Head { n: head.n }),
        }
    }
}
