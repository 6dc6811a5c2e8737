//! How much one place of an oracle is asked: the watch of open loans first, everything else from what is left.
//!
//! An oracle counts requests by address. So the watch has a bucket of its own that nothing else can empty, both together
//! stay below what an oracle allows, and where the oracle says "too many" it is the others that rest first. Pure: the
//! time is an argument.

use hypothec_oracle::bucket::{Bucket, Pace};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the watch may ask; an oracle allows 400 at once and 20 a second unless its operator says otherwise.
const WATCH: Pace = Pace { burst: 200, per_minute: 600 };
/// What everything else may ask.
const JOBS: Pace = Pace { burst: 150, per_minute: 480 };
/// The longest a request waits for its turn before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest rest that an oracle's "too many" leads to: what it says beyond is not believed.
const REST_MOST: Duration = Duration::from_secs(60);
/// The same for the watch, on which money hangs.
const WATCH_REST_MOST: Duration = Duration::from_secs(10);
/// The shortest: it doubles with each "too many" in a row.
const REST_LEAST: Duration = Duration::from_secs(1);

/// On whose behalf an oracle is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The look at prices and lows that settles loans.
    Watch,
    /// A quote, a signature, a person.
    Jobs,
}

/// What one place may be asked; clones count together.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    watch: Lane,
    jobs: Lane,
}

#[derive(Debug)]
struct Lane {
    /// None where nobody counts.
    bucket: Option<Bucket>,
    rests_until: Option<Instant>,
    /// How often in a row it was too many.
    refused: u32,
}

impl Lane {
    fn new(pace: Pace, now: Instant) -> Lane {
        Lane { bucket: Some(Bucket::full(pace, now)), rests_until: None, refused: 0 }
    }

    fn rest(&self, now: Instant) -> Duration {
        self.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn rest_for(&mut self, rest: Duration, now: Instant) {
        let until = now.checked_add(rest);
        self.rests_until = self.rests_until.max(until);
    }
}

impl Budget {
    /// A full one.
    pub fn new(now: Instant) -> Budget {
        Budget(Arc::new(Mutex::new(State { watch: Lane::new(WATCH, now), jobs: Lane::new(JOBS, now) })))
    }

    /// Counts nothing from now on: for fast time, where an oracle does not count either. Its "too many" is heeded all the same.
    pub fn lift(&self) {
        let mut state = self.state();
        state.watch.bucket = None;
        state.jobs.bucket = None;
    }

    /// Takes what a request costs and says how long to wait before it goes out.
    ///
    /// # Errors
    /// When that is longer than anybody waits: how long it would be.
    pub fn reserve(&self, asker: Asker, cost: u32, now: Instant) -> Result<Duration, Duration> {
        let mut state = self.state();
        let lane = state.lane(asker);
        let rest = lane.rest(now);
        if rest > PATIENCE {
            return Err(rest);
        }
        let turn = lane.bucket.as_mut().map_or(Ok(Duration::ZERO), |bucket| bucket.reserve(cost, now, PATIENCE))?;
        Ok(turn.max(rest))
    }

    /// The oracle said "too many", and perhaps for how many seconds.
    pub fn refused(&self, asker: Asker, seconds: Option<u64>, now: Instant) {
        let mut state = self.state();
        let lane = state.lane(asker);
        lane.refused = lane.refused.saturating_add(1);
        let doubled = REST_LEAST.saturating_mul(2u32.saturating_pow(lane.refused.saturating_sub(1).min(8)));
        let rest = seconds.map_or(doubled, Duration::from_secs).clamp(REST_LEAST, REST_MOST);
        if asker == Asker::Watch {
            state.watch.rest_for(rest.min(WATCH_REST_MOST), now);
        }
        // The others do not take what the watch has to wait for.
        state.jobs.rest_for(rest.max(doubled.min(REST_MOST)), now);
    }

    /// The oracle answered.
    pub fn answered(&self, asker: Asker) {
        self.state().lane(asker).refused = 0;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lane(&mut self, asker: Asker) -> &mut Lane {
        match asker {
            Asker::Watch => &mut self.watch,
            Asker::Jobs => &mut self.jobs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn jobs_that_ask_without_end_take_nothing_from_the_watch() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let taken = (0..10_000).take_while(|_| budget.reserve(Asker::Jobs, 1, start).is_ok()).count();
        assert_eq!(taken, 150 + 8 * 30, "what waits is bounded too");
        assert_eq!(budget.reserve(Asker::Watch, 1, start), Ok(Duration::ZERO));
        assert!((0..150).all(|_| budget.reserve(Asker::Watch, 1, start) == Ok(Duration::ZERO)));
    }

    #[test]
    fn both_together_stay_below_what_an_oracle_allows() {
        let oracles = hypothec_oracle::daemon::Limits::default();
        assert!(WATCH.burst + JOBS.burst <= oracles.burst);
        const { assert!(WATCH.per_minute + JOBS.per_minute <= 20 * 60) };
    }

    #[test]
    fn too_many_makes_the_jobs_rest_first_and_the_watch_for_seconds_at_most() {
        let start = Instant::now();
        let budget = Budget::new(start);
        budget.refused(Asker::Jobs, Some(20), start);
        assert_eq!(budget.reserve(Asker::Jobs, 1, start), Ok(Duration::from_secs(20)));
        assert_eq!(budget.reserve(Asker::Watch, 1, start), Ok(Duration::ZERO));
        budget.refused(Asker::Watch, Some(u64::MAX), start);
        assert_eq!(budget.reserve(Asker::Watch, 1, start), Ok(Duration::from_secs(10)));
        assert_eq!(budget.reserve(Asker::Jobs, 1, start), Err(Duration::from_secs(60)));
        assert_eq!(budget.reserve(Asker::Jobs, 1, after(start, 61)), Ok(Duration::ZERO));
    }

    #[test]
    fn without_a_time_said_the_rest_doubles_until_it_answers() {
        let start = Instant::now();
        let budget = Budget::new(start);
        for (again, rest) in [(0, 1), (1, 2), (3, 4), (7, 8), (15, 10)] {
            budget.refused(Asker::Watch, None, after(start, again));
            let wait = budget.reserve(Asker::Watch, 1, after(start, again));
            assert_eq!(wait, Ok(Duration::from_secs(rest)));
        }
        budget.answered(Asker::Watch);
        budget.refused(Asker::Watch, None, after(start, 60));
        assert_eq!(budget.reserve(Asker::Watch, 1, after(start, 60)), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn on_fast_time_nothing_is_counted() {
        let start = Instant::now();
        let budget = Budget::new(start);
        budget.lift();
        assert!((0..10_000).all(|_| budget.reserve(Asker::Jobs, 48, start) == Ok(Duration::ZERO)));
    }
}
