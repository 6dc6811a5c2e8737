//! A token bucket: how much may be asked for at once, and how much in the long run.
//!
//! Pure: the time is an argument. Both sides of a limit count by it: who keeps others within one, and who keeps within
//! another's.

use std::time::{Duration, Instant};

/// What one token is made of, so that a millisecond's share is whole at any pace.
const PARTS: i64 = 60_000;

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Tokens that may be taken at once after a rest.
    pub burst: u32,
    /// Tokens a minute in the long run.
    pub per_minute: u32,
}

/// One bucket, full at first.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pace: Pace,
    /// Parts of tokens; below nothing while what was taken ahead is not yet made good.
    parts: i64,
    /// Until when it was filled.
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn full(pace: Pace, now: Instant) -> Bucket {
        Bucket { pace, parts: most(pace), at: now }
    }

    /// Takes so many tokens if they are there.
    pub fn take(&mut self, tokens: u32, now: Instant) -> bool {
        self.reserve(tokens, now, Duration::ZERO).is_ok()
    }

    /// Takes so many tokens and says how long to wait until they are there.
    ///
    /// # Errors
    /// When that is longer than `patience`: nothing is taken then. The wait that it would be.
    pub fn reserve(&mut self, tokens: u32, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        self.fill(now);
        let left = self.parts.saturating_sub(i64::from(tokens).saturating_mul(PARTS));
        let missing = u64::try_from(left.saturating_neg()).unwrap_or(0);
        let wait = Duration::from_millis(missing.div_ceil(u64::from(self.pace.per_minute.max(1))));
        if wait > patience {
            return Err(wait);
        }
        self.parts = left;
        Ok(wait)
    }

    /// Is it as if nothing had ever been taken?
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.parts >= most(self.pace)
    }

    fn fill(&mut self, now: Instant) {
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let more = i64::try_from(passed.saturating_mul(u64::from(self.pace.per_minute))).unwrap_or(i64::MAX);
        self.parts = self.parts.saturating_add(more).min(most(self.pace));
        // Only whole milliseconds are counted: what is left of one counts with the next.
        self.at = self.at.checked_add(Duration::from_millis(passed)).unwrap_or(now);
    }
}

fn most(pace: Pace) -> i64 {
    i64::from(pace.burst).saturating_mul(PARTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace { burst: 3, per_minute: 30 };

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_every_two_seconds() {
        let start = Instant::now();
        let mut bucket = Bucket::full(PACE, start);
        assert!((0..3).all(|_| bucket.take(1, start)));
        assert!(!bucket.take(1, start) && !bucket.take(1, after(start, 1_999)));
        assert!(bucket.take(1, after(start, 2_000)) && !bucket.take(1, after(start, 2_000)));
        assert!(!bucket.is_full(after(start, 7_999)) && bucket.is_full(after(start, 8_000)));
        assert!(!bucket.take(4, after(start, 1_000_000)), "more than it holds is never there at once");
    }

    #[test]
    fn what_is_taken_ahead_is_waited_for_and_beyond_patience_nothing_is_taken() {
        let start = Instant::now();
        let mut bucket = Bucket::full(PACE, start);
        let patience = Duration::from_secs(5);
        assert_eq!(bucket.reserve(3, start, patience), Ok(Duration::ZERO));
        assert_eq!(bucket.reserve(1, start, patience), Ok(Duration::from_secs(2)));
        assert_eq!(bucket.reserve(1, start, patience), Ok(Duration::from_secs(4)));
        assert_eq!(bucket.reserve(1, start, patience), Err(Duration::from_secs(6)));
        assert_eq!(bucket.reserve(1, after(start, 1_000), patience), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn a_clock_that_stands_or_a_pace_of_nothing_gives_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Pace { burst: 1, per_minute: 0 }, start);
        assert!(bucket.take(1, start) && !bucket.take(1, after(start, u64::from(u32::MAX))));
        let mut later = Bucket::full(PACE, after(start, 10_000));
        assert!(later.take(3, after(start, 10_000)) && !later.take(1, start), "a time before the last one is no time");
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_is_taken_than_the_burst_and_the_pace(steps in prop::collection::vec((0u64..5_000, 1u32..4), 1..100)) {
            let start = Instant::now();
            let mut bucket = Bucket::full(PACE, start);
            let (mut passed, mut taken) = (0, 0);
            for (step, tokens) in steps {
                passed += step;
                if bucket.take(tokens, after(start, passed)) {
                    taken += u64::from(tokens);
                }
            }
            prop_assert!(taken <= 3 + passed * 30 / 60_000);
        }
    }
}
