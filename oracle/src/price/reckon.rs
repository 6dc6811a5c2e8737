//! The reckoner: tick by tick from the venues' raw bytes to median, held price, hour low and fixing.
//!
//! What it says at a tick follows from that tick and those of the [`LOOKBACK`] before it, so a daemon that restarts and a
//! stranger who audits come to the same. Ticks that were not made are never filled in.
//!
//! - *Held price*: the highest of the last `held_ticks` medians, this tick's included, if they all lie within
//!   `held_within_seconds`. A tick without a median has none.
//! - *Hour low*: the least held price of the hour's ticks, from the moment the hour has `low_min_held` of them. It only
//!   falls. An hour that never has so many is missed.
//! - *Fixing*: said at the first tick of an hour, if that comes before the hour is frozen: the median of the medians in
//!   the `fixing_window_seconds` before the hour, if there are `fixing_min_ticks`. The policy of that first tick counts.

use super::aggregate::{aggregate, median_floor, Aggregate, Standing, WhyNot};
use super::policy::{Policy, LOOKBACK};
use super::venue::{Quote, Reading, Venue};
use crate::units::{Cents, Time, HOUR};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What the oracle had from one venue at a tick: an answer and when it came, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Who.
    pub venue: Venue,
    /// When the answer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Time>,
    /// The bytes the quote is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What follows from a tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When.
    pub at: Time,
    /// Median and verdicts.
    pub aggregate: Aggregate,
    /// The held price.
    pub held: Option<Cents>,
    /// The hour's start and its low so far, once it may be said.
    pub low: Option<(Time, Cents)>,
    /// The fixing of an hour that has just begun, if there is one.
    pub fixing: Option<(Time, Cents)>,
}

/// The hour that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    hour: Time,
    held: u32,
    low: Option<Cents>,
}

/// A venue's quote, since when it has been the same, and when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    quote: Quote,
    since: Time,
    last: Time,
}

/// Everything earlier ticks left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reckoner {
    medians: VecDeque<(Time, Cents)>,
    standing: BTreeMap<Venue, Seen>,
    running: Option<Running>,
    last: Option<Time>,
}

impl Reckoner {
    /// Takes the tick at `at`, which comes after every tick before. Inputs of venues the policy does not name are not
    /// read, and a second of one venue neither.
    pub fn step(&mut self, policy: &Policy, at: Time, inputs: &[Input]) -> Tick {
        let known = policy.venues.iter().map(|venue| (*venue, self.standing(*venue, policy.reading, inputs))).collect();
        let aggregate = aggregate(policy, at, known);
        // Before this tick's median: a fixing looks at what lies before its hour.
        let fixing = self.fixing(policy, at);
        if let Some(median) = aggregate.median {
            self.medians.push_back((at, median));
        }
        while self.medians.front().is_some_and(|(then, _)| at.since(*then) > LOOKBACK) {
            self.medians.pop_front();
        }
        let held = aggregate.median.and_then(|_| self.held(policy, at));
        let low = self.low(policy, at, held);
        self.last = Some(at);
        Tick { at, aggregate, held, low, fixing }
    }

    fn standing(&mut self, venue: Venue, reading: Reading, inputs: &[Input]) -> Result<Standing, WhyNot> {
        let input = inputs.iter().find(|input| input.venue == venue);
        let silent = |why: &str| WhyNot::Silent(why.to_string());
        let input = input.ok_or_else(|| silent("it was not asked"))?;
        let (Some(received), Some(raw)) = (input.received, input.raw.as_deref()) else {
            return Err(silent(input.error.as_deref().unwrap_or("nothing came")));
        };
        let quote = venue.quote(raw, reading).map_err(|error| WhyNot::Unreadable(error.to_string()))?;
        let same = |known: &Quote| (known.price, known.bid, known.ask) == (quote.price, quote.bid, quote.ask);
        // A venue that was away for an hour starts anew: what lies before the lookback must not matter.
        let known = self.standing.get(&venue).filter(|seen| same(&seen.quote) && received.since(seen.last) <= HOUR);
        let unchanged_since = known.map_or(received, |seen| seen.since);
        self.standing.insert(venue, Seen { quote, since: unchanged_since, last: received });
        Ok(Standing { quote, received, unchanged_since })
    }

    fn held(&self, policy: &Policy, at: Time) -> Option<Cents> {
        let wanted = usize::try_from(policy.held_ticks).ok()?;
        let recent = || self.medians.iter().rev().take(wanted);
        let all_recent = recent().all(|(then, _)| at.since(*then) < policy.held_within_seconds);
        if recent().count() < wanted || !all_recent {
            return None;
        }
        recent().map(|(_, median)| *median).max()
    }

    fn low(&mut self, policy: &Policy, at: Time, held: Option<Cents>) -> Option<(Time, Cents)> {
        let hour = at.hour_floor();
        let fresh = Running { hour, held: 0, low: None };
        let running = self.running.get_or_insert(fresh);
        if running.hour != hour {
            *running = fresh;
        }
        if let Some(held) = held {
            running.held = running.held.saturating_add(1);
            running.low = Some(running.low.map_or(held, |low| low.min(held)));
        }
        running.low.filter(|_| running.held >= policy.low_min_held).map(|low| (hour, low))
    }

    fn fixing(&self, policy: &Policy, at: Time) -> Option<(Time, Cents)> {
        let hour = at.hour_floor();
        if self.last.is_none_or(|last| last >= hour) || at.since(hour) >= policy.freeze_seconds {
            return None;
        }
        let from = Time(hour.0.saturating_sub(policy.fixing_window_seconds));
        let inside = self.medians.iter().filter(|(then, _)| (from..hour).contains(then));
        let medians: Vec<Cents> = inside.map(|(_, median)| *median).collect();
        if u32::try_from(medians.len()).unwrap_or(u32::MAX) < policy.fixing_min_ticks {
            return None;
        }
        median_floor(medians).map(|median| (hour, median))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 12 March 2020, 10:00.
    const HOUR_10: Time = Time(1_584_007_200);

    /// Five venues that all say `dollars` now.
    fn inputs(at: Time, dollars: u64) -> Vec<Input> {
        let raw = |venue| match venue {
            Venue::Kraken => format!(
                r#"{{"ticker":{{"a":["{dollars}.9",1,"1"],"b":["{dollars}.1",1,"1"]}},"trade":["{dollars}.5","1",{}.12,"b","m","",1]}}"#,
                at.0
            ),
            Venue::Coinbase => {
                format!(r#"{{"price":"{dollars}.5","bid":"{dollars}.1","ask":"{dollars}.9","time":"{at}"}}"#)
            }
            Venue::Bitstamp => {
                format!(r#"{{"last":"{dollars}.5","bid":"{dollars}.1","ask":"{dollars}.9","timestamp":"{}"}}"#, at.0)
            }
            Venue::Bitfinex => format!("[{dollars}.1,1,{dollars}.9,1,1,1,{dollars},1,1,1,1358182043000]"),
            Venue::Gemini => format!(
                r#"{{"bid":"{dollars}.1","ask":"{dollars}.9","volume":{{"BTC":"1","USD":"1","timestamp":{}000}}}}"#,
                at.0
            ),
        };
        let input = |venue| Input { venue, received: Some(at), raw: Some(raw(venue)), error: None };
        Venue::ALL.into_iter().map(input).collect()
    }

    fn run(reckoner: &mut Reckoner, from: Time, ticks: u32, dollars: impl Fn(u32) -> Option<u64>) -> Vec<Tick> {
        let tick = |number: u32| {
            let at = Time(from.0 + number * 5);
            let inputs = dollars(number).map_or_else(Vec::new, |dollars| inputs(at, dollars));
            reckoner.step(&Policy::default(), at, &inputs)
        };
        (0..ticks).map(tick).collect()
    }

    /// A price that moves a dollar from tick to tick, so that nothing is frozen.
    fn near(dollars: u64) -> impl Fn(u32) -> Option<u64> {
        move |number| Some(dollars + u64::from(number % 2))
    }

    #[test]
    fn a_price_counts_once_it_stood_for_a_minute_and_a_wick_shorter_than_that_never() {
        let mut reckoner = Reckoner::default();
        let calm = run(&mut reckoner, HOUR_10, 100, near(8_000));
        assert_eq!(calm[10].held, None, "eleven medians are not a minute");
        assert_eq!(calm[11].held, Some(Cents(800_150)));
        assert_eq!(calm[21].low, None, "eleven held prices are too few to speak of the hour");
        assert_eq!(calm[23].low, Some((HOUR_10, Cents(800_150))));
        let wick = run(&mut reckoner, Time(HOUR_10.0 + 500), 11, near(4_000));
        assert!(wick.iter().all(|tick| tick.held >= Some(Cents(800_050))), "all venues at half price for 55 s");
        let back = run(&mut reckoner, Time(HOUR_10.0 + 555), 30, near(8_000));
        assert!(back.iter().all(|tick| tick.low == Some((HOUR_10, Cents(800_050)))), "one dollar of it");
        let crash = run(&mut reckoner, Time(HOUR_10.0 + 705), 13, near(4_000));
        assert_eq!(crash[10].low, Some((HOUR_10, Cents(800_050))));
        assert_eq!(crash[11].low, Some((HOUR_10, Cents(400_150))), "the twelfth makes the minute");
    }

    #[test]
    fn a_fixing_is_the_median_of_its_half_hour_and_needs_half_of_it() {
        let mut reckoner = Reckoner::default();
        // Half past nine to ten; the first 20 minutes at 8,000, then 10 minutes at 4,000.
        let before = Time(HOUR_10.0 - 1_800);
        run(&mut reckoner, before, 360, |n| Some(if n < 240 { 8_000 } else { 4_000 } + u64::from(n % 2)));
        let at = run(&mut reckoner, HOUR_10, 1, near(3_000));
        assert_eq!(at[0].fixing, Some((HOUR_10, Cents(800_050))));
        assert_eq!(run(&mut reckoner, Time(HOUR_10.0 + 5), 1, near(3_000))[0].fixing, None, "said once");
        for (ticks, first, said) in [(180, 0, true), (179, 0, false), (360, 119, true), (360, 120, false)] {
            let mut reckoner = Reckoner::default();
            run(&mut reckoner, before, ticks, near(8_000));
            let late = Time(HOUR_10.0 + first);
            assert_eq!(run(&mut reckoner, late, 1, near(8_000))[0].fixing.is_some(), said, "{ticks} {first}");
        }
    }

    #[test]
    fn gaps_leave_no_held_price_and_a_thin_hour_is_missed() {
        let mut reckoner = Reckoner::default();
        run(&mut reckoner, HOUR_10, 40, near(8_000));
        let gap = run(&mut reckoner, Time(HOUR_10.0 + 200), 14, |_| None);
        assert!(gap.iter().all(|tick| tick.held.is_none() && tick.aggregate.median.is_none()));
        let after = run(&mut reckoner, Time(HOUR_10.0 + 270), 12, near(8_000));
        assert_eq!(after[0].held, None, "the last twelve medians lie too far apart");
        assert!(after[11].held.is_some());
        let next = HOUR_10.plus(3_600).unwrap();
        let thin = run(&mut reckoner, next, 22, near(7_000));
        assert_eq!(thin.last().unwrap().low, None, "eleven held prices");
        assert!(run(&mut reckoner, Time(next.0 + 110), 1, near(7_000))[0].low.is_some());
    }

    #[test]
    fn a_venue_whose_price_or_clock_stands_still_is_left_out() {
        let mut reckoner = Reckoner::default();
        let mut last = None;
        for number in 0..70 {
            let at = Time(HOUR_10.0 + number * 5);
            let mut all = inputs(at, 8_000 + u64::from(number % 2));
            // Kraken's clock stands still, Bitfinex has none and its quote stands still.
            all[0].raw = inputs(HOUR_10, 8_000)[0].raw.clone();
            all[3].raw = inputs(HOUR_10, 8_000)[3].raw.clone();
            last = Some(reckoner.step(&Policy::default(), at, &all));
        }
        let last = last.unwrap();
        assert_eq!((last.aggregate.used(), last.aggregate.median), (3, Some(Cents(800_150))));
        let reasons = last.aggregate.reasons();
        assert_eq!(reasons, "kraken: its quote is 345 s old; bitfinex: its quote has not changed for 345 s");
    }

    proptest! {
        #[test]
        fn what_is_said_at_a_tick_follows_from_the_lookback_alone(
            steps in prop::collection::vec((1u32..40, 0u64..4, any::<bool>()), 1..60), warm in 0u64..3
        ) {
            let policy = Policy { fixing_min_ticks: 1, low_min_held: 1, held_ticks: 3, ..Policy::default() };
            let (mut long, mut short) = (Reckoner::default(), Reckoner::default());
            let mut at = Time(HOUR_10.0 - 2 * LOOKBACK);
            long.step(&policy, at, &inputs(at, 9_000 + warm));
            at = Time(HOUR_10.0 - LOOKBACK);
            for number in 0..LOOKBACK / 60 {
                let then = Time(at.0 + number * 60);
                let inputs = inputs(then, 8_000 + u64::from(number % 3));
                long.step(&policy, then, &inputs);
                short.step(&policy, then, &inputs);
            }
            at = HOUR_10;
            for (seconds, dollars, there) in steps {
                at = Time(at.0 + seconds);
                let inputs = if there { inputs(at, 8_000 + dollars) } else { Vec::new() };
                prop_assert_eq!(long.step(&policy, at, &inputs), short.step(&policy, at, &inputs));
            }
        }
    }
}
