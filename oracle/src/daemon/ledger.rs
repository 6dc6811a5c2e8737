//! The ledger: what the oracle has said, and what it may still say. Pure: no clock, no disk.
//!
//! - An hour's low may only fall, and not at all once the hour is frozen.
//! - A fixing is said once. One that was not said before its hour was frozen is missed, and stays missed.
//! - What is frozen only grows.

use crate::event::Event;
use crate::units::{Cents, Day, Time, HOUR};
use crate::verify::fixing_digits;
use std::collections::BTreeMap;

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
    #[error("{record:?} contradicts what has been said before")]
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
        match record {
            Record::Low { hour, cents } => drop(self.lows.insert(hour, cents)),
            Record::Fixing { at, cents } => drop(self.fixings.insert(at, cents)),
            Record::Frozen { until } => self.frozen_until = until,
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Level;

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
}
