//! The desk: reads the clock, asks the feed, makes the answers durable, and only then lets them be seen.
//!
//! Runs in one thread. Everybody else only reads [`Shown`]. With several replicas one desk speaks at a time; the others
//! show what it says, and keep what they have seen themselves in mind for the moment they take over.

use super::feed::live::Health;
use super::feed::{Feed, News, Venues};
use super::ledger::{Ledger, Record};
use super::peers::{Conflict, Peers};
use super::store::{Book, LogError, Said};
use crate::clock::Clock;
use crate::crash;
use crate::units::{Cents, Time, HOUR};
use crate::verify::dollars_fixed;
use anyhow::Context;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Prices remembered for the picture of the last day: one a minute.
const MINUTES: usize = 1_441;

/// How often a clock file is looked at. Real time.
const FILE_PACE: Duration = Duration::from_millis(20);
/// How often prices are asked for on the machine's clock.
const SYSTEM_PACE: Duration = Duration::from_millis(250);
/// How often one look lets others speak first before it waits for the next.
const TURNS: u32 = 4;

/// What may be served: all of it is on disk.
#[derive(Debug, Default)]
pub struct Shown {
    /// Everything said.
    pub ledger: Ledger,
    /// Everything up to this moment is in the ledger.
    pub clock: Time,
    /// The price at `clock`.
    pub spot: Option<Cents>,
    /// Where that price comes from.
    pub venues: Venues,
    /// How often there was a price, since start.
    pub ticks: u64,
    /// What is wrong with clock or feed; empty when nothing is.
    pub complaint: String,
    /// When the desk last looked, in real time.
    pub looked: Option<Instant>,
    /// The price of each minute of the last day, as far as this process has seen it. Only for pictures.
    pub minutes: VecDeque<(Time, Cents)>,
    /// What an operator must look at; what was said stays.
    pub alarm: Option<String>,
    /// How the live feed is doing; `None` with a test feed.
    pub health: Option<Health>,
}

impl Shown {
    fn remember(&mut self, now: Time, spot: Cents) {
        self.ticks = self.ticks.saturating_add(1);
        if self.minutes.back().is_none_or(|(last, _)| now.since(*last) >= 60) {
            self.minutes.push_back((now, spot));
        }
        if self.minutes.len() > MINUTES {
            self.minutes.pop_front();
        }
    }
}

/// Readers' side of the desk.
#[derive(Clone, Debug)]
pub struct Window {
    shown: Arc<RwLock<Shown>>,
    /// How many records may be seen.
    said: Arc<watch::Sender<u64>>,
}

impl Window {
    fn new(ledger: Ledger) -> Window {
        let (said, _) = watch::channel(ledger.said());
        Window { shown: Arc::new(RwLock::new(Shown { ledger, ..Shown::default() })), said: Arc::new(said) }
    }

    /// Tells when there are new records.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.said.subscribe()
    }

    /// What may be served now. Hold it briefly.
    pub fn look(&self) -> RwLockReadGuard<'_, Shown> {
        // A writer that panicked stops the daemon; what was shown before is still true.
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that shows a ledger, without a desk behind it.
    #[cfg(test)]
    pub fn showing(ledger: Ledger) -> Window {
        Window::new(ledger)
    }

    fn show(&self, change: impl FnOnce(&mut Shown) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        shown.looked = Some(Instant::now());
        let done = change(&mut shown);
        let said = shown.ledger.said();
        drop(shown);
        self.said.send_if_modified(|known| std::mem::replace(known, said) != said);
        done
    }
}

/// The one writer of this process.
pub struct Desk {
    clock: Clock,
    feed: Box<dyn Feed>,
    book: Book,
    peers: Peers,
    window: Window,
    complaint: String,
    /// What the feed has told and nobody has said yet.
    unsaid: News,
    /// Fixings that a peer contradicts.
    refused: BTreeMap<Time, Conflict>,
}

impl Desk {
    /// A desk that continues a book.
    pub fn new(clock: Clock, feed: Box<dyn Feed>, book: Book, peers: Peers) -> Desk {
        let window = Window::new(book.ledger().clone());
        let (complaint, unsaid, refused) = (String::new(), News::default(), BTreeMap::new());
        Desk { clock, feed, book, peers, window, complaint, unsaid, refused }
    }

    /// The readers' side.
    pub fn window(&self) -> Window {
        self.window.clone()
    }

    /// Looks again and again until told to stop. Blocks its thread.
    ///
    /// # Errors
    /// When the store fails for good: then nothing more may be said.
    pub fn run(mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        let pace = if self.clock.is_file() { FILE_PACE } else { SYSTEM_PACE };
        while !stop.load(Ordering::Relaxed) {
            self.look()?;
            std::thread::sleep(pace);
        }
        self.book.close();
        Ok(())
    }

    /// Looks once. A clock, a feed or a database that fails is complained about, and then there is no price.
    ///
    /// # Errors
    /// When the store fails for good.
    pub fn look(&mut self) -> anyhow::Result<()> {
        // The clock first: a price set before time was moved then counts for the time it was moved to.
        match self.clock.now() {
            Err(error) => self.listen_only(&format!("{error:#}")),
            Ok(now) if now < self.window.look().clock => {
                let message =
                    format!("the clock went back to {now}; waiting until it is past {}", self.window.look().clock);
                self.listen_only(&message)
            }
            Ok(now) => match self.feed.poll(self.book.ledger().frozen_until(), now) {
                Err(error) => self.listen_only(&format!("feed {}: {error:#}", self.feed.name())),
                Ok(news) => {
                    crash::point("oracle-tick");
                    self.publish(now, news)
                }
            },
        }
    }

    /// Without a clock or a feed this replica says nothing, and leaves that to one that has both.
    fn listen_only(&mut self, trouble: &str) -> anyhow::Result<()> {
        self.book.close();
        match self.hear() {
            Ok(()) => self.complain(trouble),
            Err(away @ LogError::Away(_)) => self.complain(&format!("{trouble}; {away}")),
            Err(broken) => Err(broken.into()),
        }
    }

    /// Disk, then memory, then the feed is told.
    fn publish(&mut self, now: Time, news: News) -> anyhow::Result<()> {
        let spot = news.spot;
        self.remember(now, news);
        match self.say(now) {
            Ok((Said::Durable, records)) => {
                self.unsaid = News::default();
                self.show(now, spot, &records)?;
            }
            Ok(_) => {
                self.forget_closed_hours(now);
                let until = now.min(self.book.writers_clock());
                self.show(until, spot, &[])?;
            }
            Err(away @ LogError::Away(_)) => {
                self.forget_closed_hours(now);
                return self.complain(&format!("{away}; nothing new is said until it is back"));
            }
            Err(broken) => return Err(broken).context("nothing more can be said"),
        }
        crash::point("oracle-shown");
        if let Err(error) = self.feed.heard() {
            return self.complain(&format!("feed {}: {error:#}", self.feed.name()));
        }
        Ok(())
    }

    /// Tries to say what is unsaid, hearing first what others have said in between.
    fn say(&mut self, now: Time) -> Result<(Said, Vec<Record>), LogError> {
        for _ in 0..TURNS {
            let records = self.records(now);
            if self.is_contradicted(&records)? {
                continue;
            }
            // Without prices this replica says what it must (what it saw, and that an hour is over) and leaves the rest
            // to one that has them.
            if records.is_empty() && self.feed.is_blind() && self.book.yields()? {
                self.hear()?;
                return Ok((Said::NotMine, records));
            }
            match self.book.say(&records, now)? {
                Said::Durable => return Ok((Said::Durable, records)),
                Said::Behind => self.hear()?,
                Said::NotMine => {
                    self.hear()?;
                    return Ok((Said::NotMine, Vec::new()));
                }
            }
        }
        Ok((Said::Behind, Vec::new()))
    }

    /// Shows what other replicas have said. It is durable.
    fn hear(&mut self) -> Result<(), LogError> {
        let heard = self.book.hear()?;
        self.window.show(|shown| apply(shown, &heard)).map_err(|error| LogError::Broken(format!("{error:#}")))
    }

    fn show(&mut self, until: Time, spot: Option<Cents>, records: &[Record]) -> anyhow::Result<()> {
        self.complaint.clear();
        let frozen_until = self.book.ledger().frozen_until();
        let blind =
            self.feed.is_blind().then(|| format!("feed {}: no price here, by too few sources", self.feed.name()));
        let alarm = self.refused.values().next_back().map(Conflict::to_string).or(blind);
        let (health, venues) = (self.feed.health(), self.feed.venues());
        self.refused.retain(|at, _| *at > frozen_until);
        self.window.show(|shown| {
            apply(shown, records)?;
            shown.clock = until.max(shown.clock);
            shown.spot = spot;
            shown.complaint = alarm.clone().unwrap_or_default();
            shown.alarm = alarm;
            shown.health = health;
            shown.venues = venues;
            if let Some(spot) = spot {
                shown.remember(until, spot);
            }
            Ok(())
        })
    }

    /// Keeps the least low and the first fixing of each hour until somebody has said them. What lies ahead of the clock
    /// is no news: a fixing said too early could not be taken back.
    fn remember(&mut self, now: Time, news: News) {
        for (hour, cents) in news.lows.into_iter().filter(|(hour, _)| *hour <= now) {
            let low = self.unsaid.lows.entry(hour).or_insert(cents);
            *low = cents.min(*low);
        }
        for (at, cents) in news.fixings.into_iter().filter(|(at, _)| *at <= now) {
            self.unsaid.fixings.entry(at).or_insert(cents);
        }
    }

    /// What could not be said in time is missed: it is not kept here for later. (The live feed's tick log keeps it: what
    /// that had decided in time it tells again at every poll until somebody has closed the hour.)
    fn forget_closed_hours(&mut self, now: Time) {
        let until = self.closed_until(now);
        self.unsaid.lows.retain(|hour, _| hour.plus(HOUR).is_some_and(|end| end > until));
        self.unsaid.fixings.retain(|at, _| *at > until);
    }

    fn closed_until(&self, now: Time) -> Time {
        Time(now.0.saturating_sub(self.feed.grace())).hour_floor()
    }

    /// The news that may still be said, and what is final afterwards.
    fn records(&self, now: Time) -> Vec<Record> {
        let until = self.closed_until(now);
        let frozen = Some(Record::Frozen { until }).filter(|_| until.0 >= HOUR);
        let lows = self.unsaid.lows.iter().map(|(hour, cents)| Record::Low { hour: *hour, cents: *cents });
        let uncontradicted = self.unsaid.fixings.iter().filter(|(at, _)| !self.refused.contains_key(at));
        let fixings = uncontradicted.map(|(at, cents)| Record::Fixing { at: *at, cents: *cents });
        let may_be_said = |record: &Record| {
            self.book.ledger().check(*record).unwrap_or_else(|error| {
                tracing::debug!("dropped: {error}");
                false
            })
        };
        lows.chain(fixings).chain(frozen).filter(may_be_said).collect()
    }

    /// Asks the peers about fixings that are about to be said. After `true` the decision must be made again.
    fn is_contradicted(&mut self, records: &[Record]) -> Result<bool, LogError> {
        let mut contradicted = false;
        for record in records {
            let Record::Fixing { at, cents } = *record else { continue };
            let Some(conflict) = self.peers.conflict(at, cents) else { continue };
            contradicted = true;
            // A replica on the same ledger shows what it has just said there: that is no conflict, only news.
            self.hear()?;
            let said = self.book.ledger().fixing(at).map(dollars_fixed);
            if said != Some(conflict.theirs) {
                tracing::error!("{conflict}");
                self.refused.insert(at, conflict);
            }
        }
        Ok(contradicted)
    }

    /// Once per trouble, not once per look. Without a price nobody signs anything new.
    fn complain(&mut self, message: &str) -> anyhow::Result<()> {
        if self.complaint != message {
            tracing::warn!("{message}");
            self.complaint = message.to_string();
        }
        let venues = self.feed.venues();
        self.window.show(|shown| {
            shown.spot = None;
            shown.alarm = Some(message.to_string());
            shown.complaint = message.to_string();
            shown.health = self.feed.health();
            shown.venues = venues;
            Ok(())
        })
    }
}

fn apply(shown: &mut Shown, records: &[Record]) -> anyhow::Result<()> {
    records
        .iter()
        .try_for_each(|record| shown.ledger.apply(*record))
        .context("the ledger that is stored and the one that is shown differ")
}

#[cfg(test)]
mod tests {
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

    const CSV: &str = include_str!("../../../src/demo/prices-2020-03.csv");

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
}
