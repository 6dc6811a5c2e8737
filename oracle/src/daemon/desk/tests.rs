//! The desk's stories: what is said, when, and by which replica.

use super::super::feed::manual::Manual;
use super::super::feed::replay::Replay;
use super::super::harness;
use super::super::http::info_of;
use super::super::press::Press;
use super::super::signer::Keys;
use super::super::store::{Log, Memory, Sled};
use super::*;
use crate::event::Event;
use crate::ladder::Level;
use crate::units::Day;
use std::path::Path;

const CSV: &str = include_str!("../../../../src/demo/prices-2020-03.csv");

fn desk_on(log: impl Log + 'static, feed: impl Feed + 'static, folder: &Path) -> Desk {
    let keys: Arc<Keys> = Arc::new(harness::keys().into());
    let book = Book::open(Box::new(log), keys.public_key(), folder, &[]).unwrap();
    let peers = Peers::new(&[], keys).unwrap();
    Desk::new(Clock::file(folder.join("clock")), Box::new(feed), book, peers)
}

fn desk(folder: &Path) -> Desk {
    desk_on(Sled::open(folder).unwrap(), Replay::parse(CSV).unwrap(), folder)
}

/// Two replicas, each with a folder and a manual feed of its own.
fn two() -> (Memory, Vec<(tempfile::TempDir, Desk)>) {
    let database = Memory::default();
    let replica = || {
        let folder = tempfile::tempdir().unwrap();
        let feed = Manual::open(folder.path(), true).unwrap();
        let desk = desk_on(database.another(), feed, folder.path());
        (folder, desk)
    };
    let replicas = vec![replica(), replica()];
    (database, replicas)
}

fn says(replica: &mut (tempfile::TempDir, Desk), now: Time, cents: u64) {
    std::fs::write(replica.0.path().join("price.next"), cents.to_string()).unwrap();
    Clock::set_file(&replica.0.path().join("clock"), now).unwrap();
    replica.1.look().unwrap();
}

const NOON: Time = Time(1_584_014_400);

fn low(desk: &Desk) -> Option<Cents> {
    desk.window().look().ledger.lows(NOON.day())[usize::from(NOON.hour_of_day())]
}

#[test]
fn the_second_replica_shows_what_the_first_says_and_takes_over_with_what_it_saw_itself() {
    let (_database, mut replicas) = two();
    says(&mut replicas[0], NOON, 800_000);
    says(&mut replicas[1], NOON, 790_000);
    assert_eq!((low(&replicas[0].1), low(&replicas[1].1)), (Some(Cents(800_000)), Some(Cents(800_000))));
    let (_folder, mut first) = replicas.remove(0);
    first.listen_only("its feed failed").unwrap();
    drop(first);
    replicas[0].1.look().unwrap();
    assert_eq!(low(&replicas[0].1), Some(Cents(790_000)), "seen before it took over, in an hour still open");
}

#[test]
fn replicas_with_different_prices_give_one_fixing() {
    let (_database, mut replicas) = two();
    let at = NOON.plus(HOUR).unwrap();
    for (replica, cents) in replicas.iter_mut().zip([800_000, 790_000]) {
        says(replica, NOON, cents);
    }
    for (replica, cents) in replicas.iter_mut().zip([800_000, 790_000]).rev() {
        says(replica, at, cents);
    }
    replicas[1].1.look().unwrap();
    let fixings = replicas.iter().map(|(_, desk)| desk.window().look().ledger.fixing(at)).collect::<Vec<_>>();
    assert_eq!(fixings, [Some(Cents(800_000)); 2]);
}

#[test]
fn a_replica_that_is_cut_off_says_nothing_shows_what_it_knew_and_does_not_fill_in_later() {
    let (database, mut replicas) = two();
    let replica = &mut replicas[0];
    says(replica, NOON, 800_000);
    database.cut(true);
    says(replica, NOON.plus(60).unwrap(), 700_000);
    {
        let window = replica.1.window();
        let shown = window.look();
        let alarm = shown.alarm.clone().unwrap_or_default();
        assert!(alarm.contains("cannot be reached"), "{alarm:?}");
        assert_eq!(shown.spot, None);
    }
    assert_eq!(low(&replica.1), Some(Cents(800_000)));
    says(replica, NOON.plus(5 * HOUR + 121).unwrap(), 750_000);
    assert_eq!(replica.1.unsaid.lows.len(), 1, "hours that are closed are not kept");
    database.cut(false);
    replica.1.look().unwrap();
    assert_eq!(low(&replica.1), Some(Cents(800_000)), "missed is missed");
    let window = replica.1.window();
    assert_eq!(window.look().alarm, None);
    assert_eq!(window.look().spot, Some(Cents(750_000)));
}

#[test]
fn a_database_put_back_while_the_oracle_runs_stops_it() {
    let (database, mut replicas) = two();
    says(&mut replicas[0], NOON, 800_000);
    database.restore(0);
    let error = replicas[0].1.look().unwrap_err();
    assert!(format!("{error:#}").contains("gone"), "{error:#}");
}

/// A feed that sees a price, or nothing.
struct Eye(Arc<AtomicBool>, Cents);

impl Feed for Eye {
    fn name(&self) -> &'static str {
        "eye"
    }

    fn grace(&self) -> u32 {
        120
    }

    fn is_blind(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    fn poll(&mut self, _frozen_until: Time, now: Time) -> anyhow::Result<News> {
        let lows = [(now.hour_floor(), self.1)].into();
        Ok(if self.is_blind() { News::default() } else { News { spot: Some(self.1), lows, ..News::default() } })
    }
}

#[test]
fn a_replica_without_prices_lets_one_that_has_them_speak_and_still_closes_the_hours() {
    let database = Memory::default();
    let replica = |cents| {
        let (folder, sees) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(true)));
        let desk = desk_on(database.another(), Eye(Arc::clone(&sees), Cents(cents)), folder.path());
        (folder, sees, desk)
    };
    let (mut one, mut two) = (replica(800_000), replica(790_000));
    let look = |replica: &mut (tempfile::TempDir, Arc<AtomicBool>, Desk), now: Time| {
        Clock::set_file(&replica.0.path().join("clock"), now).unwrap();
        replica.2.look().unwrap();
    };
    look(&mut one, NOON);
    look(&mut two, NOON);
    assert_eq!((low(&one.2), low(&two.2)), (Some(Cents(800_000)), Some(Cents(800_000))));
    one.1.store(false, Ordering::Relaxed);
    look(&mut one, NOON.plus(5).unwrap());
    let window = one.2.window();
    assert!(window.look().alarm.as_deref().unwrap_or_default().contains("no price here"));
    look(&mut two, NOON.plus(5).unwrap());
    assert_eq!(low(&two.2), Some(Cents(790_000)), "the other one speaks");
    look(&mut one, NOON.plus(10).unwrap());
    assert_eq!((low(&one.2), window.look().spot), (Some(Cents(790_000)), None));
    assert_eq!(window.look().clock, NOON.plus(5).unwrap(), "as far as the one that speaks has come");
    two.1.store(false, Ordering::Relaxed);
    for seconds in [0, 5] {
        look(&mut two, NOON.plus(HOUR + seconds).unwrap());
    }
    let closed = NOON.plus(HOUR + 120).unwrap();
    look(&mut one, closed);
    assert_eq!(window.look().ledger.frozen_until(), NOON.plus(HOUR).unwrap(), "an hour ends without prices too");
    one.1.store(true, Ordering::Relaxed);
    look(&mut one, closed.plus(5).unwrap());
    assert_eq!(window.look().alarm, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_on_the_same_ledger_that_was_faster_is_no_conflict() {
    let (_database, mut replicas) = two();
    let keys = || Arc::new(harness::keys().into());
    let press = Arc::new(Press::new(keys(), replicas[0].1.window()));
    let info = info_of(&press, "regtest", "manual");
    let clock = Clock::file(replicas[0].0.path().join("clock"));
    let url = harness::listen(harness::routes(press, clock, info, None)).await;
    replicas[1].1.peers = Peers::new(&[url], keys()).unwrap();
    let at = NOON.plus(HOUR).unwrap();
    let shown = tokio::task::spawn_blocking(move || {
        for (replica, cents) in replicas.iter_mut().zip([800_000, 790_000]) {
            says(replica, NOON, cents);
        }
        for (replica, cents) in replicas.iter_mut().zip([800_000, 790_000]) {
            says(replica, at, cents);
        }
        let window = replicas[1].1.window();
        let shown = window.look();
        (shown.ledger.fixing(at), shown.alarm.clone())
    });
    assert_eq!(shown.await.unwrap(), (Some(Cents(800_000)), None));
}

/// A feed that knows tomorrow.
struct Prophet;

impl Feed for Prophet {
    fn name(&self) -> &'static str {
        "prophet"
    }

    fn grace(&self) -> u32 {
        0
    }

    fn poll(&mut self, _frozen_until: Time, now: Time) -> anyhow::Result<News> {
        let fixings = [now, now.plus(HOUR).unwrap()].map(|at| (at, Cents(800_000))).into();
        Ok(News { fixings, ..News::default() })
    }
}

#[test]
fn a_fixing_ahead_of_the_clock_is_never_said() {
    let folder = tempfile::tempdir().unwrap();
    Clock::set_file(&folder.path().join("clock"), NOON).unwrap();
    let mut desk = desk_on(Memory::default(), Prophet, folder.path());
    desk.look().unwrap();
    assert_eq!(desk.window().look().ledger.newest_fixings().collect::<Vec<_>>(), [(NOON, Cents(800_000))]);
}

#[test]
fn touches_of_the_crash_day_are_true_exactly_when_the_prices_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(folder.path());
    let window = desk.window();
    let day = Day::from_yyyymmdd("20200312").unwrap();
    let start = day.start().unwrap();
    // Reckoned from the file by hand: start of hour, and low in cents by another way of reading.
    let lows: Vec<(u32, u64)> = CSV
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|f| (f[0].parse().unwrap(), (f[3].parse::<f64>().unwrap() * 100.0).round() as u64))
        .collect();
    let levels: Vec<Level> = (4_000..8_200).step_by(90).filter_map(Level::at_or_above).collect();
    for hour in [1, 9, 10, 11, 12, 23, 24, 30] {
        let now = start.plus(hour * HOUR).unwrap();
        Clock::set_file(&folder.path().join("clock"), now).unwrap();
        desk.look().unwrap();
        assert_eq!(window.look().clock, now);
        for from_hour in [0u8, 9, 10, 11, 23] {
            let first = start.0 + u32::from(from_hour) * HOUR;
            let known = |at: u32| at >= first && at < start.0 + 86_400 && at + HOUR <= now.0;
            let least = lows.iter().filter(|(at, _)| known(*at)).map(|(_, low)| *low).min();
            for level in &levels {
                let event = Event::Touch { level: *level, day, from_hour };
                let truth = least.is_some_and(|low| low <= u64::from(level.dollars()) * 100);
                assert_eq!(window.look().ledger.outcome(event).is_some(), truth, "{event} at {now}");
            }
        }
    }
}

#[test]
fn a_clock_that_fails_or_goes_back_leaves_no_price_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    let mut desk = desk(folder.path());
    let window = desk.window();
    Clock::set_file(&clock, Time(1_584_000_000)).unwrap();
    desk.look().unwrap();
    assert!(window.look().spot.is_some());
    let before = window.look().ledger.clone();
    Clock::set_file(&clock, Time(1_583_990_000)).unwrap();
    desk.look().unwrap();
    assert_eq!(window.look().spot, None);
    std::fs::write(&clock, "noon").unwrap();
    desk.look().unwrap();
    assert_eq!((window.look().clock, &window.look().ledger), (Time(1_584_000_000), &before));
}

#[test]
fn another_replay_file_cannot_change_what_has_been_said() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    Clock::set_file(&clock, Time(1_584_000_000)).unwrap();
    let mut first = desk(folder.path());
    first.look().unwrap();
    let before = first.window().look().ledger.clone();
    drop(first);
    let other = Replay::parse("unix,open,high,low,close\n1583992800,1,1,1,1\n").unwrap();
    let mut second = desk_on(Sled::open(folder.path()).unwrap(), other, folder.path());
    assert_eq!(second.window().look().ledger, before);
    second.look().unwrap();
    assert_eq!(second.window().look().ledger, before);
}

#[test]
fn a_jump_of_the_machines_clock_freezes_nothing_by_a_feed_without_venues() {
    let folder = tempfile::tempdir().unwrap();
    let feed = Manual::open(folder.path(), false).unwrap();
    let desk = desk_on(Memory::default(), feed, folder.path());
    let mut replica = (folder, desk);
    let steady = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let read = Arc::clone(&steady);
    replica.1.watched_by(Box::new(move || Duration::from_secs(read.load(Ordering::SeqCst))));
    says(&mut replica, NOON, 800_000);
    let before = replica.1.window().look().ledger.clone();
    says(&mut replica, Time(4_100_000_000), 800_000);
    {
        let window = replica.1.window();
        let shown = window.look();
        assert!(shown.alarm.as_deref().unwrap_or_default().contains("was set to 2099"), "{:?}", shown.alarm);
        assert_eq!((&shown.ledger, shown.spot), (&before, None));
    }
    steady.store(60, Ordering::SeqCst);
    says(&mut replica, NOON.plus(60).unwrap(), 790_000);
    assert_eq!((low(&replica.1), replica.1.window().look().alarm.clone()), (Some(Cents(790_000)), None));
}

#[test]
fn a_ledger_that_is_final_far_ahead_is_an_alarm_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    Clock::set_file(&clock, Time(4_100_000_000)).unwrap();
    desk(folder.path()).look().unwrap();
    Clock::set_file(&clock, NOON).unwrap();
    let mut desk = desk(folder.path());
    desk.look().unwrap();
    let window = desk.window();
    let shown = window.look();
    let alarm = shown.alarm.clone().unwrap_or_default();
    assert!(alarm.contains("everything up to 2099") && alarm.contains("No low and no fixing"), "{alarm}");
    assert_eq!(shown.spot, None);
    assert!(!super::super::http::readiness(&shown, Some(NOON)).ready);
}

#[test]
fn hours_and_fixings_that_nobody_said_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(folder.path());
    let window = desk.window();
    let end = CSV.lines().last().and_then(|line| line.split(',').next()?.parse().ok()).map(Time).unwrap();
    let counted = || (window.look().hours_missed, window.look().fixings_missed);
    for (hours, missed) in [(0, 0), (1, 0), (2, 1), (5, 4)] {
        Clock::set_file(&folder.path().join("clock"), end.plus(hours * HOUR).unwrap()).unwrap();
        desk.look().unwrap();
        assert_eq!(counted(), (missed, missed), "{hours} h after the last bar began");
    }
}
