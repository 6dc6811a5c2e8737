//! The ledger: what the oracle has said, and what it may still say. Pure: no clock, no disk.
//!
//! - An hour's low may only fall, and not at all once the hour is frozen.
//! - A fixing is said once. One that was not said before its hour was frozen is missed, and stays missed.
//! - What is frozen only grows.

use crate::event::Event;
use crate::ladder::Level;
use crate::units::{Cents, Day, Time, HOUR};
use crate::verify::fixing_digits;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;

/// Records remembered one by one, for those who follow them: some months of quiet, an hour of the worst crash.
pub const JOURNAL: usize = 8_192;

/// One thing said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The low of the hour that starts at `hour` is at most `cents`.
    Low { hour: Time, cents: Cents },
    /// The price at `at`.
    Fixing { at: Time, cents: Cents },
    /// Nothing more is said about hours that end, or fixings, at or before `until`.
    Frozen { until: Time },
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Low { hour, cents } => write!(f, "a low of {cents} in the hour of {hour}"),
            Record::Fixing { at, cents } => write!(f, "a fixing of {cents} at {at}"),
            Record::Frozen { until } => write!(f, "that everything up to {until} is final"),
        }
    }
}

/// A record and its place among all that were said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Counts from 0; the same after every restart, because the records are kept in this order.
    pub number: u64,
    /// What was said.
    pub record: Record,
    /// For a low: the highest price at which a level came true by it. The day's least low before it, less a cent; for
    /// the day's first low, the opening price. What lies higher was true from the day's first moment on.
    pub reach: Option<Cents>,
}

impl Said {
    /// The touches from h00 that this record made true, the lowest first.
    pub fn touches(&self) -> impl Iterator<Item = Event> {
        let (hour, low) = match self.record {
            Record::Low { hour, cents } => (hour, cents),
            Record::Fixing { at, .. } | Record::Frozen { until: at } => (at, Cents(u64::MAX)),
        };
        let reach = self.reach.unwrap_or_default();
        let dollars = u32::try_from(low.0.div_ceil(100)).ok();
        let first = dollars.and_then(Level::at_or_above).map_or(u32::MAX, Level::index);
        (first..u32::MAX)
            .map_while(Level::at_index)
            .take_while(move |level| level.cents() <= reach)
            .map(move |level| Event::Touch { level, day: hour.day(), from_hour: 0 })
    }
}

/// Why a record cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Not on the hour.
    #[error("{0} is not a full hour")]
    NotAnHour(Time),
    /// Too late.
    #[error("the hour at {at} is closed: everything up to {frozen_until} is final")]
    Frozen { at: Time, frozen_until: Time },
    /// A second fixing, or a low above the one known, or an earlier freeze.
    #[error("{record} contradicts what has been said before")]
    Contradiction { record: Record },
    /// A price of zero.
    #[error("the price at {0} is zero")]
    Zero(Time),
}

/// Everything said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    lows: BTreeMap<Time, Cents>,
    fixings: BTreeMap<Time, Cents>,
    frozen_until: Time,
    journal: VecDeque<Said>,
    said: u64,
}

impl Ledger {
    /// May this be said? `Ok(false)` when it has been said already, or a low brings nothing new.
    ///
    /// # Errors
    /// When it would change what has been said.
    pub fn check(&self, record: Record) -> Result<bool, LedgerError> {
        let (at, cents) = match record {
            Record::Low { hour, cents } => (hour, cents),
            Record::Fixing { at, cents } => (at, cents),
            Record::Frozen { until } if until < self.frozen_until => {
                return Err(LedgerError::Contradiction { record });
            }
            Record::Frozen { until } => return Ok(until > self.frozen_until),
        };
        if !at.0.is_multiple_of(HOUR) {
            return Err(LedgerError::NotAnHour(at));
        }
        if cents == Cents(0) {
            return Err(LedgerError::Zero(at));
        }
        match record {
            Record::Fixing { .. } => match self.fixings.get(&at) {
                Some(said) if *said == cents => Ok(false),
                Some(_) => Err(LedgerError::Contradiction { record }),
                None if at <= self.frozen_until => Err(LedgerError::Frozen { at, frozen_until: self.frozen_until }),
                None => Ok(true),
            },
            _ if self.lows.get(&at).is_some_and(|low| *low <= cents) => Ok(false),
            _ if at.plus(HOUR).is_none_or(|end| end <= self.frozen_until) => {
                Err(LedgerError::Frozen { at, frozen_until: self.frozen_until })
            }
            _ => Ok(true),
        }
    }

    /// Adds a record that was checked. One that brings nothing new changes nothing.
    ///
    /// # Errors
    /// As [`Ledger::check`].
    pub fn apply(&mut self, record: Record) -> Result<(), LedgerError> {
        if !self.check(record)? {
            return Ok(());
        }
        self.journal.push_back(Said { number: self.said, record, reach: self.reach(record) });
        self.said = self.said.saturating_add(1);
        if self.journal.len() > JOURNAL {
            self.journal.pop_front();
        }
        match record {
            Record::Low { hour, cents } => drop(self.lows.insert(hour, cents)),
            Record::Fixing { at, cents } => drop(self.fixings.insert(at, cents)),
            Record::Frozen { until } => self.frozen_until = until,
        }
        Ok(())
    }

    /// See [`Said::reach`].
    fn reach(&self, record: Record) -> Option<Cents> {
        let Record::Low { hour, cents } = record else { return None };
        let day = hour.day();
        match self.least(day) {
            Some(least) => Some(Cents(least.0.saturating_sub(1))),
            // Without an opening price: the next level, so that a crash is never silent.
            None => self.opening(day).or_else(|| {
                let dollars = u32::try_from(cents.0.div_ceil(100)).ok()?;
                Level::at_or_above(dollars).map(Level::cents)
            }),
        }
    }

    /// The price with which a day opened: its first fixing, or else the low of the hour before it.
    pub fn opening(&self, day: Day) -> Option<Cents> {
        let start = day.start()?;
        let before = Time(start.0.checked_sub(HOUR)?);
        self.fixing(start).or_else(|| self.lows.get(&before).copied())
    }

    /// The least low of a day so far.
    pub fn least(&self, day: Day) -> Option<Cents> {
        self.lows.range(day.start()?..day.end()?).map(|(_, low)| *low).min()
    }

    /// The same from an hour of the day on: what decides the touches from that hour.
    pub fn least_from(&self, day: Day, hour: u8) -> Option<Cents> {
        let from = day.start()?.plus(u32::from(hour).checked_mul(HOUR)?)?;
        self.lows.range(ordered(from..=day.end()?)).filter(|(at, _)| at.day() == day).map(|(_, low)| *low).min()
    }

    /// How many records were said: the number of the next.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// A record by its number, while it is remembered.
    pub fn entry(&self, number: u64) -> Option<Said> {
        let first = self.journal.front()?.number;
        self.journal.get(usize::try_from(number.checked_sub(first)?).ok()?).copied()
    }

    /// The number of the oldest record remembered.
    pub fn oldest(&self) -> u64 {
        self.journal.front().map_or(self.said, |said| said.number)
    }

    /// The fixings of a stretch of time, in order.
    pub fn fixings_in(&self, stretch: RangeInclusive<Time>) -> impl DoubleEndedIterator<Item = (Time, Cents)> + '_ {
        self.fixings.range(ordered(stretch)).map(|(at, cents)| (*at, *cents))
    }

    /// The lows of the hours that start in a stretch of time, in order.
    pub fn lows_in(&self, stretch: RangeInclusive<Time>) -> impl DoubleEndedIterator<Item = (Time, Cents)> + '_ {
        self.lows.range(ordered(stretch)).map(|(hour, cents)| (*hour, *cents))
    }

    /// Hours that end, and fixings, at or before this moment are final.
    pub fn frozen_until(&self) -> Time {
        self.frozen_until
    }

    /// The lows of a day, hour by hour.
    pub fn lows(&self, day: Day) -> [Option<Cents>; 24] {
        let mut lows = [None; 24];
        let mut hour = day.start();
        for low in &mut lows {
            *low = hour.and_then(|hour| self.lows.get(&hour)).copied();
            hour = hour.and_then(|hour| hour.plus(HOUR));
        }
        lows
    }

    /// The price at `at`, if it has been said.
    pub fn fixing(&self, at: Time) -> Option<Cents> {
        self.fixings.get(&at).copied()
    }

    /// The newest fixings, newest first.
    pub fn newest_fixings(&self) -> impl Iterator<Item = (Time, Cents)> + '_ {
        self.fixings.iter().rev().map(|(at, cents)| (*at, *cents))
    }

    /// The outcome of an event as it is to be signed; `None` while there is none.
    pub fn outcome(&self, event: Event) -> Option<Vec<String>> {
        match event {
            Event::Fixing { at } => self.fixing(at).map(fixing_digits),
            // Payments are not prices: they have a book of their own.
            Event::Payment { .. } => None,
            Event::Touch { level, day, .. } => {
                let hours = self.lows.range(event.touch_from()?..day.end()?);
                let least = hours.map(|(_, low)| *low).min()?;
                (least <= level.cents()).then(|| vec![event.to_string()])
            }
        }
    }

    /// How many hours have a low, and how many fixings were said.
    pub fn counts(&self) -> (u64, u64) {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        (count(self.lows.len()), count(self.fixings.len()))
    }
}

/// A map panics when asked for a range that ends before it starts.
fn ordered(stretch: RangeInclusive<Time>) -> RangeInclusive<Time> {
    let (start, end) = stretch.into_inner();
    start.min(end)..=end
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Day = Day(18_333);

    fn hour(number: u32) -> Time {
        DAY.start().unwrap().plus(number * HOUR).unwrap()
    }

    fn touch(dollars: u32, from_hour: u8) -> Event {
        Event::Touch { level: Level::exactly(dollars).unwrap(), day: DAY, from_hour }
    }

    #[test]
    fn a_low_only_falls_and_a_frozen_hour_never_changes() {
        let mut ledger = Ledger::default();
        ledger.apply(Record::Low { hour: hour(9), cents: Cents(750_000) }).unwrap();
        assert_eq!(ledger.check(Record::Low { hour: hour(9), cents: Cents(750_001) }), Ok(false));
        ledger.apply(Record::Low { hour: hour(9), cents: Cents(749_000) }).unwrap();
        ledger.apply(Record::Frozen { until: hour(10) }).unwrap();
        let later = Record::Low { hour: hour(9), cents: Cents(700_000) };
        assert!(matches!(ledger.apply(later), Err(LedgerError::Frozen { .. })));
        let missed = Record::Low { hour: hour(8), cents: Cents(700_000) };
        assert!(matches!(ledger.apply(missed), Err(LedgerError::Frozen { .. })), "missed is missed");
        assert!(ledger.apply(Record::Frozen { until: hour(9) }).is_err());
        assert_eq!(ledger.lows(DAY)[9], Some(Cents(749_000)));
    }

    #[test]
    fn a_fixing_is_said_once_and_never_late() {
        let mut ledger = Ledger::default();
        let said = Record::Fixing { at: hour(9), cents: Cents(798_765) };
        ledger.apply(said).unwrap();
        assert_eq!(ledger.check(said), Ok(false));
        let other = Record::Fixing { at: hour(9), cents: Cents(798_766) };
        assert_eq!(ledger.apply(other), Err(LedgerError::Contradiction { record: other }));
        ledger.apply(Record::Frozen { until: hour(10) }).unwrap();
        assert_eq!(ledger.check(said), Ok(false), "said is said");
        assert!(ledger.apply(Record::Fixing { at: hour(10), cents: Cents(1) }).is_err());
        assert!(ledger.apply(Record::Fixing { at: hour(11), cents: Cents(0) }).is_err());
        assert!(ledger.apply(Record::Fixing { at: Time(hour(11).0 + 1), cents: Cents(1) }).is_err());
    }

    #[test]
    fn a_touch_is_true_from_its_hour_to_the_end_of_its_day_and_at_the_level_itself() {
        let mut ledger = Ledger::default();
        for (number, cents) in [(3, 700_000), (9, 749_000), (24, 500_000)] {
            ledger.apply(Record::Low { hour: hour(number), cents: Cents(cents) }).unwrap();
        }
        assert_eq!(ledger.outcome(touch(7_000, 0)), Some(vec![touch(7_000, 0).to_string()]));
        assert_eq!(ledger.outcome(touch(7_000, 3)), Some(vec![touch(7_000, 3).to_string()]));
        assert_eq!(ledger.outcome(touch(7_000, 4)), None);
        assert_eq!(ledger.outcome(touch(7_490, 4)), Some(vec![touch(7_490, 4).to_string()]));
        assert_eq!(ledger.outcome(touch(7_480, 4)), None, "the next day's low is not this day's");
        assert_eq!(ledger.outcome(touch(50_000, 10)), None, "no low is known from there on");
    }

    fn touched(ledger: &Ledger, number: u64) -> Vec<u32> {
        let of = |event| match event {
            Event::Touch { level, from_hour: 0, .. } => level.dollars(),
            other => panic!("{other}"),
        };
        ledger.entry(number).unwrap().touches().map(of).collect()
    }

    #[test]
    fn each_rung_is_crossed_once_and_what_lay_above_the_opening_is_no_news() {
        let mut ledger = Ledger::default();
        ledger.apply(Record::Fixing { at: hour(0), cents: Cents(752_000) }).unwrap();
        for (number, cents) in [(0, 750_050), (1, 760_000), (2, 749_000), (3, 748_000), (3, 747_999)] {
            ledger.apply(Record::Low { hour: hour(number), cents: Cents(cents) }).unwrap();
        }
        assert_eq!(touched(&ledger, 0), [0u32; 0]);
        assert_eq!(touched(&ledger, 1), [7_510, 7_520], "from the low up to the opening");
        assert_eq!(touched(&ledger, 2), [0u32; 0], "a higher hour touches nothing new");
        assert_eq!(touched(&ledger, 3), [7_490, 7_500]);
        assert_eq!(touched(&ledger, 4), [7_480]);
        assert_eq!(touched(&ledger, 5), [0u32; 0]);
        assert_eq!(ledger.entry(6), None);
        let mut silent = Ledger::default();
        silent.apply(Record::Low { hour: hour(5), cents: Cents(748_100) }).unwrap();
        assert_eq!(touched(&silent, 0), [7_490], "nobody knows the opening: the next level");
    }

    #[test]
    fn the_journal_is_bounded_and_keeps_its_numbers() {
        let mut ledger = Ledger::default();
        let many = u64::try_from(JOURNAL).unwrap() + 10;
        for cents in (0..many).rev() {
            ledger.apply(Record::Low { hour: hour(1), cents: Cents(cents + 1) }).unwrap();
        }
        assert_eq!((ledger.said(), ledger.oldest(), ledger.journal.len()), (many, 10, JOURNAL));
        assert_eq!(ledger.entry(9), None);
        assert_eq!(ledger.entry(10).map(|said| said.number), Some(10));
    }
}
