//! What a relay is to be given next. Pure: a ledger, a clock and a cursor in; a batch, and the cursor after it, out.
//!
//! Of touches a relay gets those that came true, from h00 and from every start hour of their day, in an order that can be
//! cut anywhere: hour by hour, and within an hour from the highest rung down. How high it begins is where the price was
//! before the start hour: a loan's level lies below that. Nothing is attributed to a moment, so a low that falls late, or
//! another replica, gives the same notes.

use super::super::ledger::Ledger;
use super::cursor::Cursor;
use crate::event::Event;
use crate::ladder::Level;
use crate::relay::note::HORIZON;
use crate::units::{Cents, Day, Time, DAY, HOUR};
use std::collections::BTreeMap;

/// The most notes of a batch. Above what one rung can have, 24 start hours with two notes each.
pub const MOST: usize = 128;
/// How much of the past one batch looks at.
const WINDOW: u32 = 7 * DAY;
/// How long before a day its price counts for where the day's touches begin.
const BEFORE_DAY: u32 = DAY;
/// The same for a later start hour: its loans were quoted in the hour before.
const BEFORE_HOUR: u32 = 2 * HOUR;
/// Rungs above that: what is owed grows, and levels with it.
const RUNGS_ABOVE: u32 = 2;

/// Notes to be given together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Of the announcements of these.
    pub announce: Vec<Event>,
    /// Of the attestations of these; the announcements of touches among them are in `announce`.
    pub attest: Vec<Event>,
    /// How far the relay will have come.
    pub after: Cursor,
}

impl Batch {
    /// How many notes.
    pub fn notes(&self) -> usize {
        self.announce.len().saturating_add(self.attest.len())
    }

    fn room(&self) -> usize {
        MOST.saturating_sub(self.notes())
    }

    fn is_final(&mut self, end: Time) {
        self.after.done = self.after.done.max(end);
        let done = self.after.done;
        self.after.lows.retain(|hour, _| hour.plus(HOUR).is_some_and(|end| end > done));
        self.after.fixings.retain(|at| *at > done);
    }
}

/// The next batch for a relay that has come as far as `cursor`. Without a note, and with the same cursor, it has all.
pub fn due(ledger: &Ledger, clock: Time, cursor: &Cursor) -> Batch {
    let mut batch = Batch { announce: Vec::new(), attest: Vec::new(), after: cursor.clone() };
    let until = cursor.done.plus(WINDOW).map_or(clock, |end| end.min(clock));
    let frozen = ledger.frozen_until();
    // By the moment at which an hour ends and a fixing is.
    let mut ends: BTreeMap<Time, (Option<(Time, Cents)>, bool)> = BTreeMap::new();
    for (hour, low) in ledger.lows_in(cursor.done..=until) {
        if let Some(end) = hour.plus(HOUR) {
            ends.entry(end).or_default().0 = Some((hour, low));
        }
    }
    // An hour that begins within the window is looked at whole, with the fixing at its end.
    let last = until.plus(HOUR).unwrap_or(until);
    for (at, _) in ledger.fixings_in(cursor.done..=last).filter(|(at, _)| *at > cursor.done) {
        ends.entry(at).or_default().1 = true;
    }
    for (end, (low, fixed)) in ends {
        if fixed && !batch.after.fixings.contains(&end) {
            if batch.room() == 0 {
                return batch;
            }
            batch.attest.push(Event::Fixing { at: end });
            batch.after.fixings.insert(end);
        }
        if let Some((hour, low)) = low {
            let told = batch.after.lows.get(&hour).copied();
            let (touches, reached) = touches(ledger, hour, low, told, batch.room() / 2);
            batch.announce.extend(&touches);
            batch.attest.extend(&touches);
            if let Some(reached) = reached {
                batch.after.lows.insert(hour, reached);
            }
            if reached != Some(low) && told.is_none_or(|told| told > low) {
                return batch;
            }
        }
        if end <= frozen {
            batch.is_final(end);
        }
    }
    batch.is_final(frozen.min(until.hour_floor()));
    announcements(&mut batch, clock);
    batch
}

/// Fixings of the next thirty days.
fn announcements(batch: &mut Batch, clock: Time) {
    let last = clock.plus(HORIZON).unwrap_or(Time(u32::MAX));
    while let Some(at) = batch.after.announced.plus(HOUR).filter(|at| *at <= last && batch.room() > 0) {
        batch.announce.push(Event::Fixing { at });
        batch.after.announced = at;
    }
}

/// The touches that the low of an hour made true, where the relay has those that a low of `told` made true: at most `room`,
/// highest rung first. With them how far down they reach: to `low` itself when they are all; `None` when there was no room
/// for any.
fn touches(ledger: &Ledger, hour: Time, low: Cents, told: Option<Cents>, room: usize) -> (Vec<Event>, Option<Cents>) {
    let day = hour.day();
    let lows = ledger.lows(day);
    let number = day.start().map_or(0, |start| hour.since(start) / HOUR);
    let number = u8::try_from(number).unwrap_or(u8::MAX);
    // For each start hour, the highest price at which a level came true by this low.
    let ceiling = |from: u8| {
        let before = lows.iter().take(usize::from(number)).skip(usize::from(from)).filter_map(|low| *low).min();
        let ceiling = before.map(|least| Cents(least.0.saturating_sub(1)));
        let ceiling = ceiling.unwrap_or_else(|| top(ledger, day, from, low));
        told.map_or(ceiling, |told| ceiling.min(Cents(told.0.saturating_sub(1))))
    };
    let ceilings: Vec<(u8, Cents)> = (0..=number.min(23)).map(|from| (from, ceiling(from))).collect();
    let highest = ceilings.iter().map(|(_, ceiling)| *ceiling).max().unwrap_or_default();
    let (mut found, mut reached) = (Vec::new(), told);
    for level in rungs_down(highest, low) {
        let true_now = ceilings.iter().filter(|(_, ceiling)| level.cents() <= *ceiling);
        let events: Vec<Event> = true_now.map(|(from, _)| Event::Touch { level, day, from_hour: *from }).collect();
        if found.len().saturating_add(events.len()) > room {
            return (found, reached);
        }
        found.extend(events);
        reached = Some(level.cents());
    }
    (found, Some(told.map_or(low, |told| told.min(low))))
}

/// The rungs from `highest` down to `low`.
fn rungs_down(highest: Cents, low: Cents) -> impl Iterator<Item = Level> {
    let dollars = |dollars: u64| u32::try_from(dollars).unwrap_or(u32::MAX);
    let first = Level::at_or_above(dollars(low.0.div_ceil(100))).map_or(u32::MAX, Level::index);
    let beyond =
        Level::at_or_below(dollars(highest.dollars_floor())).map_or(0, |level| level.index().saturating_add(1));
    (first..beyond).rev().filter_map(Level::at_index)
}

/// Where the touches of a start hour begin: two rungs above the highest price of the time before, or, where the oracle was
/// away then, above the last one it knew. Only what cannot rise any more counts.
fn top(ledger: &Ledger, day: Day, from_hour: u8, low: Cents) -> Cents {
    let before = if from_hour == 0 { BEFORE_DAY } else { BEFORE_HOUR };
    let from = day.start().and_then(|start| start.plus(u32::from(from_hour).saturating_mul(HOUR)));
    let last = from.and_then(|from| from.0.checked_sub(HOUR)).map(Time);
    let Some((from, last)) = from.zip(last) else { return low };
    let recent = Time(from.0.saturating_sub(before))..=last;
    let known = ledger.lows_in(recent.clone()).chain(ledger.fixings_in(recent)).map(|(_, price)| price).max();
    let ever = || {
        let low = ledger.lows_in(Time(0)..=last).next_back();
        low.max(ledger.fixings_in(Time(0)..=last).next_back()).map(|(_, price)| price)
    };
    let price = known.or_else(ever).or_else(|| ledger.fixing(from)).unwrap_or(low).max(low);
    let level = Level::at_or_below(u32::try_from(price.dollars_floor()).unwrap_or(u32::MAX));
    let above = level.and_then(|level| Level::at_index(level.index().saturating_add(RUNGS_ABOVE)));
    above.map_or(price, Level::cents).max(price)
}

#[cfg(test)]
mod tests;
