//! The chain: each tick names the one before, so nothing can be changed, dropped or moved without breaking it.

use super::entry::{hash_of, named, Entry, Head, Line, LogId, LONGEST_LINE};
use crate::price::decimal::shortened;
use crate::statement::{Statement, LOG_HEAD};
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
    /// A line of another log: an address that speaks for several replicas in turn serves such.
    #[error("the line of tick {n} is of log {found}, the lines before it are of log {right}")]
    OtherLog { n: u64, found: String, right: String },
    /// A day that does not say whose it is.
    #[error("tick {n} is the first of its day and does not name its log, which is {right}")]
    Unnamed { n: u64, right: String },
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
    /// The log's id, if it has one.
    pub log: Option<LogId>,
    /// Does a head follow it?
    pub headed: bool,
}

impl End {
    /// What a head signs for everything up to this tick.
    pub fn statement(&self) -> Statement {
        let End { n, at, hash, log, .. } = self;
        let log = log.as_ref().map_or(&[][..], |log| &log.0);
        let data = [n.to_be_bytes().as_slice(), &at.0.to_be_bytes(), hash.as_byte_array(), log].concat();
        Statement { tag: LOG_HEAD, data }
    }
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
                let log = self.log_after(entry)?;
                self.end = Some(End { n, at: entry.at, hash: hash_of(text), log, headed: false });
            }
        }
        Ok(line)
    }

    /// The log's id after this tick: the one known, or the one that the tick names for the first time.
    fn log_after(&self, entry: &Entry) -> Result<Option<LogId>, ChainError> {
        let known = self.end.and_then(|end| end.log);
        let is_first_of_its_day = self.end.is_none_or(|end| end.at.day() != entry.at.day());
        match (known, entry.log) {
            (Some(right), Some(found)) if found != right => {
                Err(ChainError::OtherLog { n: entry.n, found: found.to_string(), right: right.to_string() })
            }
            (Some(right), None) if is_first_of_its_day => {
                Err(ChainError::Unnamed { n: entry.n, right: right.to_string() })
            }
            (known, said) => Ok(known.or(said)),
        }
    }

    fn head(&mut self, head: &Head) -> Result<(), ChainError> {
        match &mut self.end {
            Some(end) if end.log != head.log => {
                Err(ChainError::OtherLog { n: head.n, found: named(head.log), right: named(end.log) })
            }
            Some(end) if (end.n, end.at, end.hash) == (head.n, head.at, head.hash) => {
                end.headed = true;
                Ok(())
            }
            _ => Err(ChainError::Head { n: head.n }),
        }
    }
}
