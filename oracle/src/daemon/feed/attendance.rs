//! Attendance: which venues have counted of late, and why one has not.
//!
//! A venue that misses a tick is no trouble; one that hardly ever counts is a price that rests on fewer than were promised,
//! and nobody would see it before the quorum is lost. Nothing is decided from it.

use crate::price::aggregate::{Aggregate, WhyNot};
use crate::price::venue::Venue;
use crate::units::Time;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Seconds that are looked back on.
pub const WINDOW: u32 = 300;
/// Seconds that must have been seen before a venue is called absent.
const LEAST: u32 = 120;

/// A venue that has counted in fewer than half of the ticks of late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// In how many ticks it counted.
    pub counted: usize,
    /// How many there were.
    pub ticks: usize,
    /// Seconds from the first of them to the last.
    pub seconds: u32,
    /// Why it last did not count.
    pub why: WhyNot,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counted in {} of the last {} ticks ({} s): {}", self.counted, self.ticks, self.seconds, self.why)
    }
}

/// The ticks of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    ticks: VecDeque<(Time, BTreeMap<Venue, Option<WhyNot>>)>,
}

impl Attendance {
    /// Takes a tick, later than those before.
    pub fn note(&mut self, at: Time, made: &Aggregate) {
        let of = made.verdicts.iter().map(|verdict| (verdict.venue, verdict.price.as_ref().err().cloned()));
        self.ticks.push_back((at, of.collect()));
        while self.ticks.front().is_some_and(|(then, _)| at.since(*then) > WINDOW) {
            self.ticks.pop_front();
        }
    }

    /// The venues that hardly count, of those that were asked in the last tick.
    pub fn absences(&self) -> BTreeMap<Venue, Absence> {
        let (Some((first, _)), Some((last, asked))) = (self.ticks.front(), self.ticks.back()) else {
            return BTreeMap::new();
        };
        let seconds = last.since(*first);
        if seconds < LEAST {
            return BTreeMap::new();
        }
        asked.keys().filter_map(|venue| Some((*venue, self.absence(*venue, seconds)?))).collect()
    }

    fn absence(&self, venue: Venue, seconds: u32) -> Option<Absence> {
        let verdicts = || self.ticks.iter().filter_map(|(_, of)| of.get(&venue));
        let (ticks, counted) = (verdicts().count(), verdicts().filter(|why| why.is_none()).count());
        let why = verdicts().rev().flatten().next()?.clone();
        (counted.saturating_mul(2) < ticks).then_some(Absence { counted, ticks, seconds, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::aggregate::Verdict;
    use crate::units::Cents;

    fn tick(counts: bool) -> Aggregate {
        let price = |counts: bool| if counts { Ok(Cents(1)) } else { Err(WhyNot::Stale { seconds: 45 }) };
        let verdict = |venue, counts| Verdict { venue, price: price(counts) };
        Aggregate { verdicts: vec![verdict(Venue::Kraken, true), verdict(Venue::Gemini, counts)], median: None }
    }

    #[test]
    fn a_venue_that_hardly_counts_is_named_after_two_minutes_and_forgiven_when_it_is_back() {
        let mut attendance = Attendance::default();
        assert!(attendance.absences().is_empty());
        for number in 0..24u32 {
            attendance.note(Time(number * 5), &tick(number % 8 == 0));
            assert!(attendance.absences().is_empty(), "too early to say");
        }
        attendance.note(Time(120), &tick(false));
        let absences = attendance.absences();
        assert_eq!(absences.keys().collect::<Vec<_>>(), [&Venue::Gemini]);
        let said = absences[&Venue::Gemini].to_string();
        assert_eq!(said, "counted in 3 of the last 25 ticks (120 s): its quote is 45 s old");
        let mut number = 25;
        while !attendance.absences().is_empty() {
            attendance.note(Time(number * 5), &tick(true));
            number += 1;
        }
        assert!((40..60).contains(&number), "{number}: half of five minutes");
        assert!(attendance.ticks.len() <= 61);
    }
}
