use super::super::super::ledger::Record;
use super::*;
use crate::daemon::harness::keys;
use std::collections::BTreeSet;

const TODAY: Day = Day(18_333);

fn hour(number: u32) -> Time {
    TODAY.start().unwrap().plus(number * HOUR).unwrap()
}

fn cursor(now: Time) -> Cursor {
    Cursor::begin("ws://relay", keys().public_key(), now)
}

fn touch(dollars: u32, from_hour: u8) -> Event {
    Event::Touch { level: Level::exactly(dollars).unwrap(), day: TODAY, from_hour }
}

/// A ledger of these records.
fn ledger(records: impl IntoIterator<Item = Record>) -> Ledger {
    let mut ledger = Ledger::default();
    records.into_iter().for_each(|record| ledger.apply(record).unwrap());
    ledger
}

fn low(number: u32, dollars: u64) -> Record {
    Record::Low { hour: hour(number), cents: Cents(dollars * 100) }
}

fn fixing(number: u32, dollars: u64) -> Record {
    Record::Fixing { at: hour(number), cents: Cents(dollars * 100) }
}

/// All that is due, batch after batch, and where the relay is then.
fn all(ledger: &Ledger, clock: Time, mut cursor: Cursor) -> (Vec<Event>, Vec<Event>, Cursor) {
    let (mut announced, mut attested) = (Vec::new(), Vec::new());
    loop {
        let batch = due(ledger, clock, &cursor);
        assert!(batch.notes() <= MOST, "{}", batch.notes());
        if batch.notes() == 0 && batch.after == cursor {
            return (announced, attested, cursor);
        }
        announced.extend(batch.announce);
        attested.extend(batch.attest);
        cursor = batch.after;
    }
}

/// A quiet day before, then a crash from 8,000 to 6,000 within two hours, a recovery and a quiet rest.
fn crash() -> Vec<Record> {
    let before = (0..24).map(|number| Record::Low { hour: Time(hour(number).0 - DAY), cents: Cents(800_000) });
    let lows = [7_990, 7_995, 7_000, 6_000, 6_500, 6_400, 6_700];
    let hours = (0u32..).zip(lows).flat_map(|(number, dollars)| {
        [low(number, dollars), fixing(number + 1, dollars + 10), Record::Frozen { until: hour(number + 1) }]
    });
    before.chain(hours).collect()
}

#[test]
fn every_touch_that_came_true_below_the_price_before_is_given_from_every_start_hour() {
    let ledger = ledger(crash());
    let (announced, attested, after) = all(&ledger, hour(7), cursor(hour(7)));
    let given: BTreeSet<Event> = attested.iter().copied().collect();
    assert_eq!(given.len(), attested.len(), "nothing is given twice");
    for (from_hour, beginning) in
        [(0u8, 8_000u32), (1, 7_990), (2, 8_000), (3, 7_990), (4, 6_990), (5, 6_500), (6, 6_500)]
    {
        let levels = (0..).map_while(Level::at_index).filter(|level| level.dollars() <= beginning);
        for event in levels.map(|level| Event::Touch { level, day: TODAY, from_hour }) {
            assert_eq!(given.contains(&event), ledger.outcome(event).is_some(), "{event}");
        }
    }
    for event in &attested {
        assert!(ledger.outcome(*event).is_some(), "{event} is not true");
        assert!(announced.contains(event), "{event} is announced too");
    }
    assert!((1..=7).all(|number| given.contains(&Event::Fixing { at: hour(number) })));
    assert_eq!(after.done, hour(7));
    assert!(after.lows.is_empty() && after.fixings.is_empty(), "{after:?}");
    let later: Vec<_> = (1..=30 * 24).map(|number| Event::Fixing { at: hour(7 + number) }).collect();
    assert!(announced.ends_with(&later), "thirty days of fixings, oldest first");
}

#[test]
fn what_is_given_while_the_price_falls_is_what_is_given_afterwards_and_a_late_low_is_not_forgotten() {
    let mut grown = Ledger::default();
    let mut at = cursor(hour(0));
    let mut given = Vec::new();
    let mut records = crash();
    // Hours fall in steps; hour 2 falls once more, and gets its fixing, after hour 3 has begun.
    let place = records.iter().position(|record| *record == low(3, 6_000)).unwrap();
    records.insert(place, low(3, 6_980));
    let frozen = records.iter().position(|record| *record == Record::Frozen { until: hour(3) }).unwrap();
    records.remove(frozen);
    records.insert(frozen + 1, low(2, 6_950));
    records.insert(frozen + 2, Record::Frozen { until: hour(3) });
    for record in &records {
        grown.apply(*record).unwrap();
        let (_, attested, after) = all(&grown, hour(7), at);
        given.extend(attested);
        at = after;
    }
    let (_, afterwards, _) = all(&ledger(records), hour(7), cursor(hour(7)));
    let set = |events: &[Event]| events.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&given).difference(&set(&afterwards)).collect::<Vec<_>>(), Vec::<&Event>::new());
    assert_eq!(set(&afterwards).difference(&set(&given)).collect::<Vec<_>>(), Vec::<&Event>::new());
}

#[test]
fn a_day_that_opens_below_a_level_has_it_touched_at_once_and_so_has_one_after_an_absence() {
    // Fell overnight while the oracle was away from 22:00 to 03:00.
    let mut records: Vec<_> =
        (0..22).map(|number| Record::Low { hour: Time(hour(number).0 - DAY), cents: Cents(800_000) }).collect();
    records.extend([low(3, 7_000), fixing(4, 7_010)]);
    let (_, attested, _) = all(&ledger(records), hour(4), cursor(hour(4)));
    assert!([8_000, 8_010, 8_020, 7_500, 7_000].iter().all(|level| attested.contains(&touch(*level, 0))));
    assert!(attested.contains(&touch(8_000, 3)), "the last price known before counts for a later start hour too");
    assert!(!attested.contains(&touch(8_030, 0)) && !attested.contains(&touch(6_990, 0)));
}

#[test]
fn a_new_relay_is_given_a_week_and_a_relay_that_was_away_all_that_it_missed() {
    let now = hour(0).plus(40 * DAY).unwrap();
    let hours = || (0..40 * 24).map(|number| (number, hour(number)));
    let records = hours().flat_map(|(number, hour)| {
        let (cents, end) = (Cents(800_000 + u64::from(number)), hour.plus(HOUR).unwrap());
        [Record::Low { hour, cents }, Record::Fixing { at: end, cents }, Record::Frozen { until: end }]
    });
    let ledger = ledger(records);
    let fixings = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Fixing { .. })).count();
    let (announced, attested, _) = all(&ledger, now, cursor(now));
    assert_eq!((fixings(&attested), fixings(&announced)), (7 * 24, 37 * 24));
    let (announced, attested, after) = all(&ledger, now, cursor(hour(7 * 24)));
    assert_eq!((fixings(&attested), fixings(&announced)), (40 * 24, 70 * 24));
    assert_eq!(after.done, now);
    assert_eq!(due(&ledger, now, &after).notes(), 0);
    // The oracle itself was away for a year: nothing to give but what lies ahead.
    let late = now.plus(365 * DAY).unwrap();
    let mut silent = ledger;
    silent.apply(Record::Frozen { until: late }).unwrap();
    let (announced, attested, after) = all(&silent, late, after);
    assert_eq!((attested.len(), after.done), (0, late));
    assert_eq!(announced.last(), Some(&Event::Fixing { at: late.plus(HORIZON).unwrap() }));
}
