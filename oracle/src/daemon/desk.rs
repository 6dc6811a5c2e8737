//! The desk: reads the clock, asks the feed, makes the answers durable, and only then lets them be seen.
//!
//! Runs in one thread. Everybody else only reads [`Shown`].

use super::feed::live::Health;
use super::feed::{Feed, News};
use super::ledger::{Ledger, Record};
use super::store::Store;
use crate::clock::Clock;
use crate::units::{Cents, Time, HOUR};
use anyhow::Context;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// How often a clock file is looked at. Real time.
const FILE_PACE: Duration = Duration::from_millis(20);
/// How often prices are asked for on the machine's clock.
const SYSTEM_PACE: Duration = Duration::from_millis(250);

/// What may be served: all of it is on disk.
#[derive(Debug, Default)]
pub struct Shown {
    /// Everything said.
    pub ledger: Ledger,
    /// Everything up to this moment is in the ledger.
    pub clock: Time,
    /// The price at `clock`.
    pub spot: Option<Cents>,
    /// How the live feed is doing; `None` with a test feed.
    pub health: Option<Health>,
}

/// Readers' side of the desk.
#[derive(Clone, Debug, Default)]
pub struct Window(Arc<RwLock<Shown>>);

impl Window {
    /// What may be served now. Hold it briefly.
    pub fn look(&self) -> RwLockReadGuard<'_, Shown> {
        // A writer that panicked stops the daemon; what was shown before is still true.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, change: impl FnOnce(&mut Shown) -> anyhow::Result<()>) -> anyhow::Result<()> {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The one writer.
pub struct Desk {
    clock: Clock,
    feed: Box<dyn Feed>,
    store: Store,
    window: Window,
    complaint: String,
}

impl Desk {
    /// A desk that continues `ledger`, as it was read from `store`.
    pub fn new(clock: Clock, feed: Box<dyn Feed>, store: Store, ledger: Ledger) -> Desk {
        let window = Window(Arc::new(RwLock::new(Shown { ledger, ..Shown::default() })));
        Desk { clock, feed, store, window, complaint: String::new() }
    }

    /// The readers' side.
    pub fn window(&self) -> Window {
        self.window.clone()
    }

    /// Looks again and again until told to stop. Blocks its thread.
    ///
    /// # Errors
    /// When the disk fails: then nothing more may be said.
    pub fn run(mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        let pace = if self.clock.is_file() { FILE_PACE } else { SYSTEM_PACE };
        while !stop.load(Ordering::Relaxed) {
            self.look()?;
            std::thread::sleep(pace);
        }
        Ok(())
    }

    /// Looks once. A clock or a feed that fails is complained about, and then there is no price.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn look(&mut self) -> anyhow::Result<()> {
        // The clock first: a price set before time was moved then counts for the time it was moved to.
        match self.clock.now() {
            Err(error) => self.complain(&format!("{error:#}")),
            Ok(now) if now < self.window.look().clock => {
                let message =
                    format!("the clock went back to {now}; waiting until it is past {}", self.window.look().clock);
                self.complain(&message)
            }
            Ok(now) => {
                let frozen_until = self.window.look().ledger.frozen_until();
                match self.feed.poll(frozen_until, now) {
                    Err(error) => self.complain(&format!("feed {}: {error:#}", self.feed.name())),
                    Ok(news) => {
                        self.complaint.clear();
                        self.publish(now, news)
                    }
                }
            }
        }
    }

    /// Disk, then memory, then the feed is told.
    fn publish(&mut self, now: Time, news: News) -> anyhow::Result<()> {
        let records = self.records(now, &news);
        self.store.append(&records).context("nothing more can be said: the ledger cannot be written")?;
        self.window.show(|shown| {
            for record in &records {
                shown.ledger.apply(*record).context("the ledger on disk and in memory differ")?;
            }
            shown.clock = now;
            shown.spot = news.spot;
            shown.health = self.feed.health();
            Ok(())
        })?;
        if let Err(error) = self.feed.heard() {
            return self.complain(&format!("feed {}: {error:#}", self.feed.name()));
        }
        Ok(())
    }

    /// The news that may still be said, and what is final afterwards.
    fn records(&self, now: Time, news: &News) -> Vec<Record> {
        let shown = self.window.look();
        let lows = news.lows.iter().map(|(hour, cents)| Record::Low { hour: *hour, cents: *cents });
        let fixings = news.fixings.iter().map(|(at, cents)| Record::Fixing { at: *at, cents: *cents });
        let until = Time(now.0.saturating_sub(self.feed.grace())).hour_floor();
        let frozen = Some(Record::Frozen { until }).filter(|_| until.0 >= HOUR);
        let may_be_said = |record: &Record| {
            shown.ledger.check(*record).unwrap_or_else(|error| {
                tracing::debug!("dropped: {error}");
                false
            })
        };
        lows.chain(fixings).chain(frozen).filter(may_be_said).collect()
    }

    /// Once per trouble, not once per look. Without a price nobody signs anything new.
    fn complain(&mut self, message: &str) -> anyhow::Result<()> {
        if self.complaint != message {
            tracing::warn!("{message}");
            self.complaint = message.to_string();
        }
        self.window.show(|shown| {
            shown.spot = None;
            shown.health = self.feed.health();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::replay::Replay;
    use super::*;
    use crate::event::Event;
    use crate::ladder::Level;
    use crate::units::Day;
    use std::path::Path;

    const CSV: &str = include_str!("../../../src/demo/prices-2020-03.csv");

    fn desk(folder: &Path) -> Desk {
        let (store, ledger) = Store::open(folder).unwrap();
        let feed = Box::new(Replay::parse(CSV).unwrap());
        Desk::new(Clock::file(folder.join("clock")), feed, store, ledger)
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
        let (store, ledger) = Store::open(folder.path()).unwrap();
        assert_eq!(ledger, before);
        let other = Replay::parse("unix,open,high,low,close\n1583992800,1,1,1,1\n").unwrap();
        let mut second = Desk::new(Clock::file(&clock), Box::new(other), store, ledger);
        second.look().unwrap();
        assert_eq!(second.window().look().ledger, before);
    }
}
