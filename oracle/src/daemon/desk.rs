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
use crate::units::{Cents, Time, DAY, HOUR};
use crate::verify::dollars_fixed;
use anyhow::Context;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

mod guard;
mod missed;

use guard::Guard;
use missed::{Diary, Missed};

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
    /// Ticks of the feed: of the live feed those in its log; of a test feed the looks that had a price, since start.
    pub ticks: u64,
    /// Hours that became final without a low, since start.
    pub hours_missed: u64,
    /// Fixings that nobody said in time, since start.
    pub fixings_missed: u64,
    /// Why the clock is not believed; `None` when it is.
    pub clock_doubt: Option<String>,
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
    /// Seconds that the clock here is ahead of the shared ledger's; `None` where they are not compared.
    pub clock_ahead: Option<i64>,
}

impl Shown {
    fn remember(&mut self, now: Time, spot: Cents) {
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
        // What is final is in the ledger, whatever the clock here may say.
        let clock = ledger.frozen_until();
        Window { shown: Arc::new(RwLock::new(Shown { ledger, clock, ..Shown::default() })), said: Arc::new(said) }
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
    /// Watches the machine's clock; `None` where time is moved by hand.
    guard: Option<Guard>,
    diary: Diary,
}

impl Desk {
    /// A desk that continues a book.
    pub fn new(clock: Clock, feed: Box<dyn Feed>, book: Book, peers: Peers) -> Desk {
        let window = Window::new(book.ledger().clone());
        let guard = (!clock.is_file()).then(Guard::new);
        Desk {
            clock,
            feed,
            book,
            peers,
            window,
            complaint: String::new(),
            unsaid: News::default(),
            refused: BTreeMap::new(),
            guard,
            diary: Diary::default(),
        }
    }

    /// One whose clock is watched by a steady clock of the test's.
    #[cfg(test)]
    pub fn watched_by(&mut self, steady: guard::Steady) {
        self.guard = Some(Guard::on(steady));
    }

    /// Takes up what the feed remembers of the last day's prices, for pictures.
    pub fn recall(&self) {
        let Ok(now) = self.clock.now() else { return };
        let past = self.feed.past(Time(now.0.saturating_sub(DAY)), now);
        let mut shown = self.window.shown.write().unwrap_or_else(PoisonError::into_inner);
        past.into_iter().for_each(|(at, cents)| shown.remember(at, cents));
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
        let now = match self.clock.now() {
            Err(error) => return self.listen_only(&format!("{error:#}")),
            Ok(now) => now,
        };
        let doubt = self.guard.as_mut().and_then(|guard| guard.doubt(now, self.feed.vouches(now)));
        self.window.show(|shown| {
            shown.clock_doubt.clone_from(&doubt);
            Ok(())
        })?;
        if let Some(doubt) = doubt {
            self.diary.doubts(&doubt);
            return self.listen_only(&doubt);
        }
        self.diary.looks(now);
        if let Some(trouble) = self.clock_behind(now) {
            return self.listen_only(&trouble);
        }
        match self.feed.poll(self.book.ledger().frozen_until(), now) {
            Err(error) => {
                let trouble = format!("feed {}: {error:#}", self.feed.name());
                self.diary.notes(now, &trouble);
                self.listen_only(&trouble)
            }
            Ok(news) => {
                crash::point("oracle-tick");
                self.publish(now, news)
            }
        }
    }

    /// Why nothing can be said at `now`, if it lies before what has been said.
    fn clock_behind(&self, now: Time) -> Option<String> {
        let (clock, frozen) = (self.window.look().clock, self.book.ledger().frozen_until());
        if let Some(trouble) = frozen_ahead(frozen, now) {
            return Some(trouble);
        }
        // The same sentence at every look, so that it is logged once.
        (now < clock).then(|| format!("the clock went back; waiting until it is past {clock}"))
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
                self.diary.notes(now, &away.to_string());
                self.forget_closed_hours(now);
                return self.complain(&format!("{away}; nothing new is said until it is back"));
            }
            Err(LogError::Clock(why)) => {
                self.diary.doubts(&why);
                self.forget_closed_hours(now);
                return self.listen_only(&why);
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
        self.shown(|shown| apply(shown, &heard)).map_err(|error| LogError::Broken(format!("{error:#}")))
    }

    /// Shows what is durable, and tells what became final without a price.
    fn shown(&self, change: impl FnOnce(&mut Shown) -> anyhow::Result<Missed>) -> anyhow::Result<()> {
        let mut missed = Missed::default();
        self.window.show(|shown| {
            missed = change(shown)?;
            shown.hours_missed = shown.hours_missed.saturating_add(count(&missed.hours));
            shown.fixings_missed = shown.fixings_missed.saturating_add(count(&missed.fixings));
            Ok(())
        })?;
        self.diary.tell(&missed);
        Ok(())
    }

    fn show(&mut self, until: Time, spot: Option<Cents>, records: &[Record]) -> anyhow::Result<()> {
        self.complaint.clear();
        let frozen_until = self.book.ledger().frozen_until();
        let blind =
            self.feed.is_blind().then(|| format!("feed {}: no price here, by too few sources", self.feed.name()));
        let (health, venues, clock_ahead) = (self.feed.health(), self.feed.venues(), self.book.clock_ahead());
        let unsigned = health.as_ref().and_then(unsigned_hours);
        let trouble = self.refused.values().next_back().map(Conflict::to_string).or(blind);
        if let Some(trouble) = &trouble {
            self.diary.notes(until, trouble);
        }
        let alarm = trouble.or(unsigned);
        self.refused.retain(|at, _| *at > frozen_until);
        self.shown(|shown| {
            let missed = apply(shown, records)?;
            shown.clock = until.max(shown.clock);
            shown.spot = spot;
            shown.complaint = alarm.clone().unwrap_or_default();
            shown.alarm = alarm;
            shown.ticks = match &health {
                Some(health) => health.ticks,
                None => shown.ticks.saturating_add(u64::from(spot.is_some())),
            };
            shown.health = health;
            shown.venues = venues;
            shown.clock_ahead = clock_ahead;
            if let Some(spot) = spot {
                shown.remember(until, spot);
            }
            Ok(missed)
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
        let (venues, clock_ahead) = (self.feed.venues(), self.book.clock_ahead());
        self.window.show(|shown| {
            shown.clock_ahead = clock_ahead;
            shown.spot = None;
            shown.alarm = Some(message.to_string());
            shown.complaint = message.to_string();
            shown.health = self.feed.health();
            shown.venues = venues;
            Ok(())
        })
    }
}

/// That hours of the tick log wait for the signer, in a sentence.
fn unsigned_hours(health: &Health) -> Option<String> {
    let why = health.heads_trouble.as_ref().filter(|_| health.heads_waiting > 0)?;
    let hours = health.heads_waiting;
    Some(format!("{hours} of the tick log's hours wait for the signer; prices are kept, nothing new is signed: {why}"))
}

/// That the ledger is final far beyond `now`, in a sentence: an hour and more cannot come from replicas' clocks.
pub(super) fn frozen_ahead(frozen_until: Time, now: Time) -> Option<String> {
    (frozen_until.since(now) > HOUR).then(|| {
        format!(
            "everything up to {frozen_until} is final, but it is {now}: the clock was ahead when that was said, or is \
             behind now. No low and no fixing can be said until then"
        )
    })
}

fn count(times: &[Time]) -> u64 {
    u64::try_from(times.len()).unwrap_or(u64::MAX)
}

fn apply(shown: &mut Shown, records: &[Record]) -> anyhow::Result<Missed> {
    let mut missed = Missed::default();
    for record in records {
        missed.add(Missed::by(&shown.ledger, *record));
        shown.ledger.apply(*record).context("the ledger that is stored and the one that is shown differ")?;
    }
    Ok(missed)
}

#[cfg(test)]
mod tests;
