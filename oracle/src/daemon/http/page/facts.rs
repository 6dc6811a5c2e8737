//! What the page says, as plain values: taken from the desk in one look.

use super::super::super::desk::Shown;
use super::super::super::feed::Venues;
use super::super::super::ledger::Ledger;
use super::super::state::{readiness, Readiness};
use crate::event::Event;
use crate::ladder::Level;
use crate::rotation::Rotation;
use crate::units::{Cents, Day, Time, DAY, HOUR};
use crate::wire::Info;

/// Rungs shown on each side of the price.
const RUNGS: u32 = 7;
/// Fixings shown on each side of now.
const FIXINGS: usize = 6;
/// Days before today whose touches are shown, and how many hours of them at most.
const PAST_DAYS: u32 = 7;
const PAST_TOUCHES: usize = 12;

/// Everything on the page.
pub struct Facts {
    pub info: Info,
    /// How far the ledger has come.
    pub clock: Time,
    pub frozen_until: Time,
    /// The price at `clock`, if there is one that counts.
    pub spot: Option<Cents>,
    /// The newest price that was said, and of when, for the time when there is none.
    pub last_known: Option<(Time, Cents)>,
    pub readiness: Readiness,
    pub venues: Venues,
    /// The highest rung first.
    pub ladder: Vec<Rung>,
    /// What was touched today below the opening, hour by hour.
    pub touched: Vec<Crossing>,
    /// The same of the days before, the newest first.
    pub touched_before: Vec<Crossing>,
    /// The last day's price, in order.
    pub path: Vec<(Time, Cents)>,
    /// The last day's lows by the start of their hour, in order.
    pub lows: Vec<(Time, Cents)>,
    /// The hours of the last day in which levels were touched.
    pub crossings: Vec<Crossing>,
    pub coming: Vec<Event>,
    /// The newest first.
    pub fixings: Vec<(Event, Cents)>,
    /// The hand-overs this oracle shows.
    pub hand_overs: Vec<Rotation>,
}

/// A level near the price.
pub struct Rung {
    pub level: Level,
    /// Today's event from midnight.
    pub event: Event,
    /// The hour of today in which it was touched first.
    pub touched: Option<Time>,
    /// Did the day open below it? Then its event is true from the day's first moment on, and nothing fell to it.
    pub from_above: bool,
    /// Is it at or below the price?
    pub below: bool,
}

/// Levels that were touched for the first time of their day in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub hour: Time,
    pub low: Cents,
    pub highest: Level,
    pub lowest: Level,
    pub rungs: u32,
}

impl Crossing {
    /// The events that are attested for its highest and its lowest level.
    pub fn events(&self) -> (Event, Event) {
        let event = |level| Event::Touch { level, day: self.hour.day(), from_hour: 0 };
        (event(self.highest), event(self.lowest))
    }
}

impl Facts {
    /// One look at the desk.
    pub fn of(shown: &Shown, info: Info, now: Option<Time>) -> Facts {
        let (ledger, clock) = (&shown.ledger, shown.clock);
        let readiness = readiness(shown, now);
        let day_ago = Time(clock.0.saturating_sub(DAY));
        let today = clock.day().start().unwrap_or(clock);
        let since = Time(today.0.saturating_sub(PAST_DAYS.saturating_mul(DAY)));
        let seen: Vec<(Time, Cents)> = shown.minutes.iter().copied().collect();
        let all = crossings(ledger, &seen, since, clock);
        let (before, now_on): (Vec<Crossing>, _) = all.iter().copied().partition(|crossing| crossing.hour < today);
        let last_known = last_known(ledger, clock);
        Facts {
            info,
            clock,
            frozen_until: ledger.frozen_until(),
            spot: shown.spot,
            readiness,
            venues: shown.venues.clone(),
            ladder: ladder(ledger, &seen, shown.spot.or(last_known.map(|(_, cents)| cents)), clock),
            touched: now_on,
            touched_before: before.into_iter().rev().take(PAST_TOUCHES).collect(),
            last_known,
            path: path(shown, day_ago),
            lows: ledger.lows_in(day_ago.hour_floor()..=clock).collect(),
            crossings: all.into_iter().filter(|crossing| crossing.hour >= day_ago.hour_floor()).collect(),
            coming: (1u32..)
                .map_while(|hour| clock.hour_floor().plus(hour.checked_mul(HOUR)?))
                .map(|at| Event::Fixing { at })
                .take(FIXINGS)
                .collect(),
            fixings: ledger
                .fixings_in(Time(0)..=clock)
                .rev()
                .take(FIXINGS)
                .map(|(at, cents)| (Event::Fixing { at }, cents))
                .collect(),
            hand_overs: Vec::new(),
        }
    }
}

/// The newest fixing or low. The low of an hour is newer than the fixing at its start.
fn last_known(ledger: &Ledger, clock: Time) -> Option<(Time, Cents)> {
    let fixing = ledger.fixings_in(Time(0)..=clock).next_back();
    let low = ledger.lows_in(Time(0)..=clock).next_back();
    match (fixing, low) {
        (Some(fixing), Some(low)) if fixing.0 > low.0 => Some(fixing),
        (fixing, low) => low.or(fixing),
    }
}

/// Prices this process has seen, and the fixings, which outlive it.
fn path(shown: &Shown, from: Time) -> Vec<(Time, Cents)> {
    let seen = shown.minutes.iter().copied().filter(|(at, _)| *at >= from);
    let mut path: Vec<(Time, Cents)> = shown.ledger.fixings_in(from..=shown.clock).chain(seen).collect();
    path.extend(shown.spot.map(|spot| (shown.clock, spot)));
    path.sort();
    path.dedup_by_key(|(at, _)| *at);
    path
}

fn ladder(ledger: &Ledger, seen: &[(Time, Cents)], price: Option<Cents>, clock: Time) -> Vec<Rung> {
    let dollars = price.and_then(|price| u32::try_from(price.dollars_floor()).ok());
    let Some(middle) = dollars.and_then(Level::at_or_below).map(Level::index) else { return Vec::new() };
    let day = clock.day();
    let lows: Vec<(Time, Cents)> = day.start().map(|start| ledger.lows_in(start..=clock).collect()).unwrap_or_default();
    let opening = lows.first().map(|(_, low)| opening(ledger, seen, day, *low));
    let rung = |level: Level| Rung {
        from_above: opening.is_some_and(|opening| level.cents() > opening),
        level,
        event: Event::Touch { level, day, from_hour: 0 },
        touched: lows.iter().find(|(_, low)| *low <= level.cents()).map(|(hour, _)| *hour),
        below: price.is_some_and(|price| level.cents() <= price),
    };
    let indices = middle.saturating_sub(RUNGS.saturating_sub(1))..=middle.saturating_add(RUNGS);
    indices.rev().filter_map(Level::at_index).map(rung).collect()
}

/// The price with which a day opened. On an oracle's first day nobody said it: then the first price this process has seen,
/// or the level that the day's first low came down to at least, so that no touch is silent.
fn opening(ledger: &Ledger, seen: &[(Time, Cents)], day: Day, low: Cents) -> Cents {
    let first = || seen.iter().find(|(at, _)| at.day() == day).map(|(_, cents)| *cents);
    let next = || Level::at_or_above(u32::try_from(low.0.div_ceil(100)).ok()?).map(Level::cents);
    let known = ledger.opening(day).or_else(|| Some(first()?.max(next()?)));
    known.or_else(next).unwrap_or(low)
}

/// Hours in which the least low of their day fell past a level, from an hour on; `seen`: prices that this process saw.
pub fn crossings(ledger: &Ledger, seen: &[(Time, Cents)], from: Time, clock: Time) -> Vec<Crossing> {
    let start = from.day().start().unwrap_or(from);
    let mut reached: Option<(Time, Option<Cents>)> = None;
    let mut found = Vec::new();
    for (hour, low) in ledger.lows_in(start..=clock) {
        let day = hour.day();
        let today = day.start().unwrap_or(hour);
        let before = match reached {
            Some((of, least)) if of == today => least,
            // What lies above the opening price was true from the first moment on: no crossing.
            _ => Some(Cents(opening(ledger, seen, day, low).0.saturating_add(1))),
        };
        reached = Some((today, Some(before.map_or(low, |before| before.min(low)))));
        let crossing = before.and_then(|before| crossing(hour, low, before));
        found.extend(crossing.filter(|_| hour >= from));
    }
    found
}

/// The levels at or above `low` and below `before`.
fn crossing(hour: Time, low: Cents, before: Cents) -> Option<Crossing> {
    let lowest = Level::at_or_above(u32::try_from(low.0.div_ceil(100)).ok()?)?;
    let highest = Level::at_or_below(u32::try_from(before.0.checked_sub(1)?.checked_div(100)?).ok()?)?;
    let rungs = highest.index().checked_sub(lowest.index())?.checked_add(1)?;
    (lowest.cents() >= low && highest.cents() < before).then_some(Crossing { hour, low, highest, lowest, rungs })
}

#[cfg(test)]
mod tests {
    use super::super::super::super::ledger::Record;
    use super::*;
    use crate::announce::OracleKeys;
    use secp256k1_zkp::SecretKey;

    #[test]
    fn the_page_crosses_exactly_the_rungs_that_the_ledger_says_came_true() {
        let midnight = Day(18_333).start().unwrap();
        let hour = |number: u32| midnight.plus(number * HOUR).unwrap();
        let mut ledger = Ledger::default();
        ledger.apply(Record::Fixing { at: hour(0), cents: Cents(752_000) }).unwrap();
        for (number, cents) in [(0, 750_050), (1, 760_000), (2, 749_000), (3, 748_001), (24, 752_000), (25, 741_000)] {
            ledger.apply(Record::Low { hour: hour(number), cents: Cents(cents) }).unwrap();
        }
        let told: Vec<(Time, u32)> = (0..ledger.said())
            .filter_map(|number| ledger.entry(number))
            .filter_map(|said| match said.record {
                Record::Low { hour, .. } => Some((hour, u32::try_from(said.touches().count()).unwrap())),
                _ => None,
            })
            .filter(|(_, rungs)| *rungs > 0)
            .collect();
        let shown: Vec<(Time, u32)> =
            crossings(&ledger, &[], hour(0), hour(26)).into_iter().map(|one| (one.hour, one.rungs)).collect();
        assert_eq!(shown[..2], told[..2]);
        assert_eq!(shown[0], (hour(0), 2));
        assert_eq!(shown.last().map(|(hour, _)| *hour), Some(hour(25)));
        assert!(crossings(&ledger, &[], hour(3), hour(4)).is_empty(), "7,480 was not reached");
        assert_eq!(last_known(&ledger, hour(26)), Some((hour(25), Cents(741_000))));
        ledger.apply(Record::Fixing { at: hour(26), cents: Cents(742_000) }).unwrap();
        assert_eq!(last_known(&ledger, hour(26)), Some((hour(26), Cents(742_000))));
    }

    #[test]
    fn on_an_oracles_first_day_a_touch_is_shown_and_a_level_above_the_price_is_not_called_touched() {
        let midnight = Day(18_333).start().unwrap();
        let hour = |number: u32| midnight.plus(number * HOUR).unwrap();
        let mut ledger = Ledger::default();
        ledger.apply(Record::Low { hour: hour(9), cents: Cents(749_000) }).unwrap();
        let clock = hour(9).plus(600).unwrap();
        let facts = |minutes: &[(Time, Cents)]| {
            let shown = Shown {
                ledger: ledger.clone(),
                clock,
                spot: Some(Cents(749_000)),
                minutes: minutes.iter().copied().collect(),
                ..Shown::default()
            };
            let info = Info {
                pubkey: OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap()).public_key(),
                network: "regtest".into(),
                version: "1".into(),
                feed: "manual".into(),
                lowest_level: 1_000,
                highest_level: 1_000_000,
                band: 64,
            };
            Facts::of(&shown, info, None)
        };
        // It was set to 7,515 and fell to 7,490 in the same hour: three levels.
        let seen = facts(&[(hour(9), Cents(751_500)), (clock, Cents(749_000))]);
        assert_eq!(seen.touched.iter().map(|one| (one.hour, one.rungs)).collect::<Vec<_>>(), [(hour(9), 3)]);
        let above: Vec<(u32, bool)> = seen
            .ladder
            .iter()
            .filter(|rung| rung.touched.is_some())
            .map(|rung| (rung.level.dollars(), rung.from_above))
            .collect();
        assert_eq!(above[above.len() - 4..], [(7_520, true), (7_510, false), (7_500, false), (7_490, false)]);
        assert!(above[..above.len() - 3].iter().all(|(_, from_above)| *from_above), "{above:?}");
        // After a restart of a feed that remembers nothing, at least the level it stands at.
        let forgot = facts(&[]);
        assert_eq!(forgot.touched.iter().map(|one| (one.hour, one.rungs)).collect::<Vec<_>>(), [(hour(9), 1)]);
    }
}
