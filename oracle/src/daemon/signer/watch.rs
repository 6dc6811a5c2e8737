//! Does the signer answer? What a regular look found, for all who wait for it and all who watch the oracle.

use crate::clock::Clock;
use crate::units::Time;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why a signer counts as away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody is there.
    Nobody,
    /// It is there and does not answer: whoever asked would wait.
    Hangs,
    /// It holds another key.
    OtherKey,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Why::Nobody => "nobody answers at its socket",
            Why::Hangs => "it is there and does not answer",
            Why::OtherKey => "it holds another key",
        })
    }
}

/// A signer that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// When it last answered, by the machine's clock.
    pub since: Time,
    /// How many seconds ago that was, in real time.
    pub seconds: u64,
    /// Why.
    pub why: Why,
}

impl std::fmt::Display for Away {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.why {
            Why::Nobody | Why::Hangs => write!(text, "the signer does not answer since {}", self.since),
            Why::OtherKey => write!(text, "the signer holds another key than this oracle's since {}", self.since),
        }
    }
}

/// What the last look found.
#[derive(Debug)]
pub struct Watch(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    /// The last good answer.
    good: (Instant, Time),
    trouble: Option<Why>,
}

impl Watch {
    /// It has just answered.
    pub fn new() -> Watch {
        Watch(Mutex::new(Seen { good: now(), trouble: None }))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has answered.
    pub fn good(&self) {
        let mut seen = self.seen();
        if seen.trouble.is_some() {
            tracing::info!("the signer answers again");
        }
        *seen = Seen { good: now(), trouble: None };
    }

    /// It has not.
    pub fn bad(&self, why: Why) {
        let mut seen = self.seen();
        if seen.trouble != Some(why) {
            tracing::error!("the signer is away: {why}");
        }
        seen.trouble = Some(why);
    }

    /// Would whoever asks it now only wait?
    pub fn hangs(&self) -> bool {
        self.seen().trouble == Some(Why::Hangs)
    }

    /// Since when it is away, if it is.
    pub fn away(&self) -> Option<Away> {
        let seen = self.seen();
        let (at, since) = seen.good;
        seen.trouble.map(|why| Away { since, seconds: at.elapsed().as_secs(), why })
    }
}

fn now() -> (Instant, Time) {
    // Only a sentence needs the second; a clock that cannot be read is the desk's complaint.
    (Instant::now(), Clock::System.now().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_away_from_its_last_answer_until_the_next() {
        let watch = Watch::new();
        assert_eq!((watch.away(), watch.hangs()), (None, false));
        let since = watch.seen().good.1;
        watch.bad(Why::Nobody);
        assert_eq!((watch.away().unwrap().since, watch.hangs()), (since, false));
        watch.bad(Why::Hangs);
        assert!(watch.hangs());
        assert_eq!(watch.away().unwrap().to_string(), format!("the signer does not answer since {since}"));
        watch.good();
        assert_eq!((watch.away(), watch.hangs()), (None, false));
    }
}
