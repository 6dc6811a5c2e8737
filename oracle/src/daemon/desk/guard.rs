//! Whether the machine's clock is to be believed. What is frozen by it cannot be taken back, so one wrong reading must
//! not be enough.
//!
//! Who vouches for a reading are the venues' own times. From a vouched moment on the process' steady clock, which nobody
//! sets, carries the time: a reading that has run apart from it is not believed until it is vouched for again. A feed
//! without venues has nobody to vouch: its clock is taken as it is at the start, and bounded from there on.

use super::super::feed::Vouch;
use crate::units::Time;
use std::time::{Duration, Instant};

/// Seconds by which the machine's clock may run apart from the steady one.
pub const APART: u32 = 60;
/// After so long on the steady clock a reading that agrees becomes the one to count from: clocks that are kept right by
/// small corrections must not add up to a doubt.
const RENEWED: Duration = Duration::from_secs(3_600);

/// Time since some moment, on a clock that nobody sets.
pub type Steady = Box<dyn Fn() -> Duration + Send>;

/// Watches the machine's clock.
pub struct Guard {
    steady: Steady,
    anchor: Option<(Time, Duration)>,
    doubt: Option<Doubt>,
}

/// Why the clock is not believed, as it was first said.
struct Doubt {
    /// How far the reading was off, in seconds, if anything is known to hold it against.
    apart: Option<i64>,
    is_waiting: bool,
    sentence: String,
}

impl Guard {
    /// One that trusts nothing yet, on the process' own steady clock.
    pub fn new() -> Guard {
        let began = Instant::now();
        Guard::on(Box::new(move || began.elapsed()))
    }

    /// One that trusts nothing yet.
    pub fn on(steady: Steady) -> Guard {
        Guard { steady, anchor: None, doubt: None }
    }

    /// Why the reading `now` is not believed, in a sentence; `None` when it is. The sentence stays the same while the
    /// trouble does.
    pub fn doubt(&mut self, now: Time, vouch: Vouch) -> Option<String> {
        let steady = (self.steady)();
        let apart = self.anchor.map(|(at, then)| {
            let carried = u64::from(at.0).saturating_add(steady.saturating_sub(then).as_secs());
            i64::from(now.0).saturating_sub(i64::try_from(carried).unwrap_or(i64::MAX))
        });
        let is_near = apart.is_some_and(|apart| apart.unsigned_abs() <= u64::from(APART));
        let is_vouched = match vouch {
            Vouch::Yes => true,
            Vouch::Nobody => apart.is_none(),
            Vouch::Waiting | Vouch::No { .. } => false,
        };
        if is_vouched || is_near {
            let is_old = self.anchor.is_none_or(|(_, then)| steady.saturating_sub(then) >= RENEWED);
            if is_vouched || is_old {
                self.anchor = Some((now, steady));
            }
            self.doubt = None;
            return None;
        }
        // Only what is new is said anew: the sentence would change with every second.
        let is_waiting = vouch == Vouch::Waiting;
        let is_same = |doubt: &&Doubt| match (doubt.apart, apart) {
            (Some(before), Some(apart)) => before.abs_diff(apart) <= u64::from(APART),
            (None, None) => doubt.is_waiting == is_waiting,
            _ => false,
        };
        if let Some(doubt) = self.doubt.as_ref().filter(is_same) {
            return Some(doubt.sentence.clone());
        }
        let sentence = sentence(now, apart, vouch);
        self.doubt = Some(Doubt { apart, is_waiting, sentence: sentence.clone() });
        Some(sentence)
    }
}

fn sentence(now: Time, apart: Option<i64>, vouch: Vouch) -> String {
    let nothing = "nothing is said, frozen or attested";
    let Some(apart) = apart else {
        return match vouch {
            Vouch::No { needed } => format!(
                "the clock is not vouched for: it reads {now}, and fewer than {needed} venues' own times agree with it; \
                 {nothing} until so many do"
            ),
            _ => format!("the clock is not vouched for yet: no venue has answered; {nothing} until they have"),
        };
    };
    let way = if apart < 0 { "behind" } else { "ahead of" };
    let far = apart.unsigned_abs();
    match vouch {
        Vouch::Nobody => format!(
            "the clock is not believed: it was set to {now}, {far} s {way} the time that has passed since the start; \
             {nothing} until it is right again. If it is right now, start the oracle again"
        ),
        _ => format!(
            "the clock is not vouched for: it was set to {now}, {far} s {way} the time that has passed since the venues \
             last agreed with it; {nothing} until it is right again, or their own times agree with it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::Arc;

    const NOW: Time = Time(1_584_007_200);

    /// A guard, and the seconds its steady clock shows.
    fn guard() -> (Guard, Arc<AtomicU64>) {
        let steady = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&steady);
        (Guard::on(Box::new(move || Duration::from_secs(read.load(Ordering::SeqCst)))), steady)
    }

    fn at(seconds: u32) -> Time {
        NOW.plus(seconds).unwrap()
    }

    #[test]
    fn a_clock_is_believed_when_venues_vouch_and_then_as_long_as_it_keeps_step() {
        let (mut guard, steady) = guard();
        let no = Vouch::No { needed: 3 };
        assert!(guard.doubt(NOW, Vouch::Waiting).unwrap().contains("no venue has answered"));
        let said = guard.doubt(NOW, no).unwrap();
        assert!(said.contains("fewer than 3 venues"), "{said}");
        assert_eq!(guard.doubt(at(1), no), Some(said), "one sentence, not one a second");
        assert_eq!(guard.doubt(NOW, Vouch::Yes), None);
        steady.store(50_000, Ordering::SeqCst);
        assert_eq!(guard.doubt(at(50_000), no), None, "all venues away for half a day");
        assert_eq!(guard.doubt(at(50_060), no), None);
        let said = guard.doubt(at(50_061), no).unwrap();
        assert!(said.contains("61 s ahead of"), "{said}");
        assert_eq!(guard.doubt(at(50_070), no), Some(said), "and here too");
        assert!(guard.doubt(at(90_000), no).unwrap().contains("40000 s ahead of"));
        assert!(guard.doubt(at(10_000), no).unwrap().contains("40000 s behind"));
        assert_eq!(guard.doubt(at(50_000), no), None, "back where it belongs");
        assert_eq!(guard.doubt(at(90_000), Vouch::Yes), None, "the venues say that it is so late");
        assert!(guard.doubt(at(50_000), no).is_some());
    }

    #[test]
    fn without_venues_the_first_reading_counts_and_a_jump_is_never_believed() {
        let (mut guard, steady) = guard();
        assert_eq!(guard.doubt(NOW, Vouch::Nobody), None);
        let said = guard.doubt(Time(4_100_000_000), Vouch::Nobody).unwrap();
        assert!(said.contains("start the oracle again"), "{said}");
        assert_eq!(guard.doubt(at(1), Vouch::Nobody), None);
        // A clock that loses half a minute an hour is corrected by somebody, and goes on.
        for hour in 1..100 {
            steady.store(3_600 * u64::from(hour), Ordering::SeqCst);
            assert_eq!(guard.doubt(at(3_630 * hour), Vouch::Nobody), None, "hour {hour}");
        }
    }
}
