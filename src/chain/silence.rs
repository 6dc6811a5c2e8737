//! For how long bitcoind has answered nothing at all, whichever line asked it: whether it hangs, or is slow.
//!
//! One that is slow answers something now and then, and each of its answers takes about as long as those before. One that
//! hangs, or was stopped, answers nothing, not even a question that needs neither its chain nor its disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One that answered at once before hangs after so long.
const LEAST: Duration = Duration::from_secs(5);
/// One that answered slowly hangs after twice as long as its slowest answer, but never later than this.
const MOST: Duration = Duration::from_secs(30);
/// So many answers are looked back at.
const LAST: usize = 16;

/// What is known of one bitcoind, shared by all lines to it.
#[derive(Default)]
pub(super) struct Silence(Mutex<State>);

#[derive(Default)]
struct State {
    /// When each question was asked that has no answer yet, by its number.
    open: BTreeMap<u64, Instant>,
    asked: u64,
    /// When the oldest question was asked that was given up, where nothing was answered since.
    unanswered: Option<Instant>,
    answered: Option<Instant>,
    /// How long the last answers took.
    took: VecDeque<Duration>,
}

impl State {
    fn lasts(&self, now: Instant) -> Duration {
        // Numbers rise with time.
        let oldest = self.open.first_key_value().map(|(_, asked)| *asked);
        let since = oldest.into_iter().chain(self.unanswered).min().max(self.answered);
        let is_waited = oldest.is_some() || self.unanswered.is_some();
        since.filter(|_| is_waited).map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn allowed(&self) -> Duration {
        self.took.iter().max().map_or(LEAST, |slowest| slowest.saturating_mul(2).clamp(LEAST, MOST))
    }
}

impl Silence {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question is asked; its number.
    pub(super) fn ask(&self, now: Instant) -> u64 {
        let mut state = self.state();
        state.asked = state.asked.saturating_add(1);
        let number = state.asked;
        state.open.insert(number, now);
        number
    }

    /// It was answered, by whatever; or given up.
    pub(super) fn end(&self, number: u64, is_answered: bool, now: Instant) {
        let mut state = self.state();
        let Some(asked) = state.open.remove(&number) else { return };
        if is_answered {
            state.answered = Some(now);
            state.unanswered = None;
            state.took.push_back(now.saturating_duration_since(asked));
            if state.took.len() > LAST {
                state.took.pop_front();
            }
        } else if state.answered.is_none_or(|answered| answered < asked) {
            let before = state.unanswered.unwrap_or(asked);
            state.unanswered = Some(before.min(asked));
        }
    }

    /// For how long it has answered nothing, though it was asked.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        self.state().lasts(now)
    }

    /// Is it known to hang?
    pub(super) fn is_hang(&self, now: Instant) -> bool {
        let state = self.state();
        state.lasts(now) >= state.allowed()
    }

    /// Questions that wait for their answer.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.state().open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time so many seconds after the start of a test.
    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |seconds| start + Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_answered_at_once_hangs_after_five_seconds_until_it_answers_anything() {
        let (silence, at) = (Silence::default(), clock());
        let quick = silence.ask(at(0));
        silence.end(quick, true, at(0));
        assert!(!silence.is_hang(at(1_000)), "nobody asked");
        let (first, second) = (silence.ask(at(10)), silence.ask(at(14)));
        assert!(!silence.is_hang(at(14)) && silence.is_hang(at(15)));
        silence.end(first, false, at(70));
        silence.end(second, false, at(74));
        assert_eq!((silence.is_hang(at(75)), silence.lasts(at(75))), (true, Duration::from_secs(65)));
        let again = silence.ask(at(80));
        silence.end(again, true, at(80));
        assert_eq!((silence.is_hang(at(80)), silence.lasts(at(99))), (false, Duration::ZERO));
    }

    #[test]
    fn one_that_is_slow_and_answers_never_hangs() {
        let (silence, at) = (Silence::default(), clock());
        for seconds in [3, 12, 15, 29] {
            let silence = Silence::default();
            let first = silence.ask(at(0));
            silence.end(first, true, at(seconds));
            let mut now = seconds;
            for _ in 0..50 {
                let question = silence.ask(at(now));
                assert!(!silence.is_hang(at(now + seconds)), "{seconds}");
                now += seconds;
                silence.end(question, true, at(now));
            }
        }
        // A long question beside others that are answered.
        let long = silence.ask(at(0));
        for now in 0..60 {
            let short = silence.ask(at(now));
            silence.end(short, true, at(now));
            assert!(!silence.is_hang(at(now + 4)), "{now}");
        }
        silence.end(long, false, at(60));
        assert!(!silence.is_hang(at(1_000)), "it answered since");
    }

    #[test]
    fn one_that_hung_for_long_and_is_quick_again_hangs_after_five_seconds_again() {
        let (silence, at) = (Silence::default(), clock());
        let hung = silence.ask(at(0));
        silence.end(hung, true, at(50));
        let _open = silence.ask(at(50));
        assert!(!silence.is_hang(at(79)) && silence.is_hang(at(80)), "thirty seconds at the latest");
        for _ in 0..LAST {
            let quick = silence.ask(at(90));
            silence.end(quick, true, at(90));
        }
        assert!(!silence.is_hang(at(94)) && silence.is_hang(at(95)));
    }
}
