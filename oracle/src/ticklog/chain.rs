//! The chain: each tick names the one before, so nothing can be changed, dropped or moved without breaking it.
//!
//! Each hour's last tick is signed for by a head: right after it, or later, when the signer was away. Heads come in the
//! order of their ticks, none twice.

use super::entry::{hash_of, Entry, Head, Line, LogId, LONGEST_LINE};
use crate::price::decimal::shortened;
use crate::statement::{Statement, LOG_HEAD};
use crate::units::Time;
use bitcoin::hashes::{sha256, Hash};
use std::collections::VecDeque;

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
    #[error("no signed head closes the hour whose last tick is {n} at {at}, and later hours are over")]
    NoHead { n: u64, at: Time },
    /// A head of no tick that waits for one.
    #[error("the head of tick {n} signs for no hour's last tick, for another hash, or a second time")]
    Head { n: u64 },
    /// A line of another log: an address that speaks for several replicas in turn serves such.
    #[error("the line of tick {n} is of log {found}, the lines before it are of log {right}")]
    OtherLog { n: u64, found: String, right: String },
    /// A day that does not say whose it is.
    #[error("tick {n} is the first of its day and does not name its log, which is {right}")]
    Unnamed { n: u64, right: String },
    /// A head before that of an earlier hour.
    #[error("the head of tick {found} stands where that of tick {right} belongs: heads are signed in order")]
    HeadOrder { found: u64, right: u64 },
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    end: Option<End>,
    /// The number of its first tick.
    first: Option<u64>,
    /// The tick that the newest head signs for.
    headed: Option<u64>,
    /// The last ticks of hours that are over and not signed for, oldest first.
    waiting: VecDeque<End>,
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
        Chain { from_middle: true, ..Chain::default() }
    }

    /// The last tick.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The last ticks of hours that are over and that no head signs for yet, oldest first.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &End> {
        self.waiting.iter()
    }

    /// Do the lines reach back far enough to know every hour that waits for a head? They do from the log's first tick on,
    /// and when one of them is signed for: heads come in order.
    pub fn knows_its_heads(&self) -> bool {
        self.first.is_some_and(|first| first == 0 || self.headed.is_some_and(|headed| headed >= first))
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
                if let Some(End { at: before, .. }) = self.end.filter(|end| entry.at <= end.at) {
                    return Err(ChainError::Time { n, at: entry.at, before });
                }
                if let Some(end) = self.end.filter(|end| !end.headed && end.at.hour_floor() != entry.at.hour_floor()) {
                    self.waiting.push_back(end);
                }
                self.first.get_or_insert(n);
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
        let known = self.end.and_then(|end| end.log);
        if let (Some(right), Some(found)) = (known, head.log.filter(|log| known != Some(*log))) {
            return Err(ChainError::OtherLog { n: head.n, found: found.to_string(), right: right.to_string() });
        }
        let of = |end: &End| (end.log, end.n, end.at, end.hash) == (head.log, head.n, head.at, head.hash);
        if self.headed.is_some_and(|headed| head.n <= headed) {
            return Err(ChainError::Head { n: head.n });
        }
        // Of a tick before the lines that are read: it cannot be compared.
        let is_before = self.from_middle && self.first.is_none_or(|first| head.n < first);
        match self.waiting.front() {
            _ if is_before => {}
            Some(oldest) if of(oldest) => drop(self.waiting.pop_front()),
            Some(oldest) if head.n > oldest.n => {
                return Err(ChainError::HeadOrder { found: head.n, right: oldest.n });
            }
            Some(_) => return Err(ChainError::Head { n: head.n }),
            None => match self.end.as_mut().filter(|end| of(end)) {
                Some(end) => end.headed = true,
                None => return Err(ChainError::Head { n: head.n }),
            },
        }
        self.headed = Some(head.n);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use crate::units::HOUR;
    use secp256k1_zkp::SecretKey;

    /// A log of one tick an hour, and the heads of its ticks.
    fn hours(count: u32) -> (Vec<String>, Vec<String>) {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        let (mut chain, mut ticks, mut heads) = (Chain::from_start(), Vec::new(), Vec::new());
        for hour in 0..count {
            let (n, prev) = chain.next();
            let at = Time(1_583_967_600 + hour * HOUR);
            let entry = Entry { n, prev, log: None, at, policy: 1, inputs: Vec::new(), median: None, held: None };
            let text = Line::Tick(entry).text();
            chain.follow(&text).unwrap();
            heads.push(Line::Head(Head::sign(&keys, chain.end().unwrap())).text());
            ticks.push(text);
        }
        (ticks, heads)
    }

    fn follow(mut chain: Chain, lines: &[&String]) -> Result<Chain, ChainError> {
        lines.iter().try_for_each(|line| chain.follow(line).map(drop))?;
        Ok(chain)
    }

    fn waiting(chain: &Chain) -> Vec<u64> {
        chain.waiting().map(|end| end.n).collect()
    }

    #[test]
    fn heads_come_at_once_or_late_but_in_order_and_each_once() {
        let (t, h) = hours(4);
        let on_time = follow(Chain::from_start(), &[&t[0], &h[0], &t[1], &h[1], &t[2]]).unwrap();
        assert_eq!(waiting(&on_time), [0u64; 0]);
        let away = follow(Chain::from_start(), &[&t[0], &h[0], &t[1], &t[2], &t[3]]).unwrap();
        assert_eq!(waiting(&away), [1, 2]);
        let back = follow(away.clone(), &[&h[1], &h[2], &h[3]]).unwrap();
        assert!(waiting(&back).is_empty() && back.end().unwrap().headed);
        assert_eq!(follow(away.clone(), &[&h[2]]), Err(ChainError::HeadOrder { found: 2, right: 1 }));
        assert_eq!(follow(away.clone(), &[&h[3]]), Err(ChainError::HeadOrder { found: 3, right: 1 }));
        assert_eq!(follow(away.clone(), &[&h[0]]), Err(ChainError::Head { n: 0 }), "a second time");
        assert_eq!(follow(away, &[&h[1], &h[1]]), Err(ChainError::Head { n: 1 }));
        let forged = h[1].replace(&t[2][t[2].find("prev").unwrap() + 7..][..64], &"0".repeat(64));
        assert_ne!(forged, h[1]);
        assert!(follow(Chain::from_start(), &[&t[0], &h[0], &t[1], &forged]).is_err(), "another hash");
    }

    #[test]
    fn a_log_read_from_its_middle_takes_late_heads_of_ticks_it_has_not_seen_and_says_so() {
        let (t, h) = hours(5);
        let chain = follow(Chain::from_middle(), &[&t[2], &t[3], &h[0], &h[1]]).unwrap();
        assert!(!chain.knows_its_heads());
        assert_eq!(waiting(&chain), [2]);
        let chain = follow(chain, &[&h[2]]).unwrap();
        assert!(chain.knows_its_heads());
        assert_eq!(follow(chain, &[&h[1]]), Err(ChainError::Head { n: 1 }), "too late for it now");
    }
}
