//! The live feed: venues asked by the network side, ticks made on the desk's thread.
//!
//! At each tick it takes what the table holds, appends it to the tick log, syncs, and only then says what follows. All it
//! says follows from the log: after a restart it reads the log again and says what had been decided before, and nothing
//! about the time it was off. Below quorum it says nothing, and warns. While the signer is away hours close all the same,
//! and their heads follow when it is back.

use super::attendance::Attendance;
use super::fetch::{Fetcher, Table, VenueHealth, PATIENCE};
use super::heads::{HeadSigner, Heads};
use super::{Feed, News, Venues, Vouch};
use crate::clock::Clock;
use crate::daemon::log::{LogReader, TickLog};
use crate::price::policy::{Policies, Policy, LOOKBACK};
use crate::price::reckon::{Reckoner, Tick};
use crate::price::venue::Venue;
use crate::ticklog::entry::Entry;
use crate::units::{Cents, Time, HOUR};
use anyhow::{bail, Context};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How often a clock file is looked at for a new time to ask at. Real time.
const PLAYED_PACE: Duration = Duration::from_millis(20);

/// One venue, as metrics and pages show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VenueStatus {
    /// Who.
    pub venue: Venue,
    /// Its price in the last tick, cents, if it counted.
    pub price: Option<Cents>,
    /// Why it did not count.
    pub why_not: Option<String>,
    /// How seldom it has counted of late, and why.
    pub absent: Option<String>,
    /// How its answers come.
    pub health: VenueHealth,
}

/// How a live feed is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The policy version that counts.
    pub policy: u32,
    /// The last tick's time.
    pub tick: Option<Time>,
    /// Ticks in the log.
    pub ticks: u64,
    /// The last tick's median, cents.
    pub median: Option<Cents>,
    /// The last tick's held price, cents.
    pub held: Option<Cents>,
    /// Highest less lowest price that counted in the last tick, cents.
    pub range: Option<Cents>,
    /// Venues that counted in the last tick, and how many must.
    pub venues_used: u32,
    /// The quorum.
    pub quorum: u32,
    /// Since when there has been no median: the alarm.
    pub below_quorum_since: Option<Time>,
    /// Hours of the tick log that are over and wait for their signed head.
    pub heads_waiting: usize,
    /// Why they wait; `None` while the signer answers.
    pub heads_trouble: Option<String>,
    /// Each venue of the policy.
    pub venues: Vec<VenueStatus>,
}

/// The feed.
pub struct Live {
    policies: Policies,
    table: Table,
    log: TickLog,
    heads: Heads,
    reckoner: Reckoner,
    attendance: Attendance,
    /// Those whose absence was logged.
    absent: BTreeSet<Venue>,
    is_rebuilt: bool,
    lows: BTreeMap<Time, Cents>,
    fixings: BTreeMap<Time, Cents>,
    last: Option<Tick>,
    grace: u32,
    below_since: Option<Time>,
    polling: Option<AbortHandle>,
    is_played: bool,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(polling) = &self.polling {
            polling.abort();
        }
    }
}

impl Live {
    /// A feed over what `table` holds; somebody else fills it.
    pub fn new(policies: Policies, table: Table, log: TickLog, sign: HeadSigner) -> Live {
        let newest = policies.all().last().map_or(0, |policy| policy.freeze_seconds);
        Live {
            policies,
            table,
            log,
            heads: Heads::new(sign),
            reckoner: Reckoner::default(),
            attendance: Attendance::default(),
            absent: BTreeSet::new(),
            is_rebuilt: false,
            lows: BTreeMap::new(),
            fixings: BTreeMap::new(),
            last: None,
            grace: newest,
            below_since: None,
            polling: None,
            is_played: false,
        }
    }

    /// Starts asking the venues in the background until the feed is dropped. On a played clock they are asked once at each
    /// of its times, and no tick is made before they have answered.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn start_asking(&mut self, bases: &BTreeMap<Venue, String>, clock: Clock) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Handle::try_current().context("ask venues without a runtime")?;
        let mut venues: Vec<Venue> = self.policies.all().iter().flat_map(|policy| policy.venues.clone()).collect();
        venues.sort_unstable();
        venues.dedup();
        self.is_played = clock.is_file();
        // Where time stands still a slow machine must not make a price old.
        let patience = if self.is_played { PATIENCE * 10 } else { PATIENCE };
        let fetcher = Fetcher::new(&venues, bases, patience, self.table.clone())?;
        let pace = self.policies.all().iter().map(|policy| policy.tick_seconds).min().unwrap_or(5);
        let pace = if self.is_played { PLAYED_PACE } else { Duration::from_secs(u64::from(pace.max(1))) };
        let table = self.is_played.then(|| self.table.clone());
        let asking = async move {
            let mut beat = tokio::time::interval(pace);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                match clock.now() {
                    Ok(now) if table.as_ref().is_some_and(|table| table.is_asked(now)) => {}
                    Ok(now) => fetcher.round(now).await,
                    Err(error) => tracing::warn!("venues are not asked: {error:#}"),
                }
            }
        };
        self.polling = Some(runtime.spawn(asking).abort_handle());
        Ok(())
    }

    /// A reader of the tick log.
    pub fn log(&self) -> LogReader {
        self.log.reader()
    }

    /// All published policies.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Reads the log again, from as far back as matters for what is not yet final.
    fn rebuild(&mut self, frozen_until: Time) -> anyhow::Result<()> {
        let from = Time(frozen_until.0.saturating_sub(LOOKBACK + HOUR));
        let (mut reckoner, mut attendance, policies) = (Reckoner::default(), Attendance::default(), &self.policies);
        let (mut lows, mut fixings, mut last) = (BTreeMap::new(), BTreeMap::new(), None);
        self.log.reader().ticks_from(from, &mut |entry| {
            let policy = policies.at(entry.at).with_context(|| format!("no policy counts at {}", entry.at))?;
            let tick = reckoner.step(policy, entry.at, &entry.inputs);
            attendance.note(tick.at, &tick.aggregate);
            lows.extend(tick.low);
            fixings.extend(tick.fixing);
            last = Some(tick);
            Ok(())
        })?;
        (self.reckoner, self.lows, self.fixings, self.last) = (reckoner, lows, fixings, last);
        self.attendance = attendance;
        self.is_rebuilt = true;
        Ok(())
    }

    /// Is the next tick due, and have the venues been asked?
    fn is_due(&self, policy: &Policy, now: Time) -> bool {
        let slot = |at: Time| at.0 / policy.tick_seconds.max(1);
        let is_asked = self.table.is_ready() && (!self.is_played || self.table.is_asked(now));
        is_asked && self.log.end().is_none_or(|end| now > end.at && slot(now) > slot(end.at))
    }

    fn tick(&mut self, policy: &Policy, now: Time) -> anyhow::Result<()> {
        let inputs = self.table.inputs(&policy.venues, now, policy.max_age_seconds);
        // On a copy: what cannot be logged has not happened.
        let mut reckoner = self.reckoner.clone();
        let tick = reckoner.step(policy, now, &inputs);
        let (n, prev) = self.log.next();
        let (median, held) = (tick.aggregate.median, tick.held);
        let entry = Entry { n, prev, log: None, at: now, policy: policy.version, inputs, median, held };
        self.log.append(entry)?;
        self.reckoner = reckoner;
        self.lows.extend(tick.low);
        self.fixings.extend(tick.fixing);
        self.alarm(policy, &tick);
        self.attendance.note(now, &tick.aggregate);
        self.miss();
        self.last = Some(tick);
        Ok(())
    }

    /// Logs which venues have come to be absent, and which are back: once each.
    fn miss(&mut self) {
        let absences = self.attendance.absences();
        for (venue, absence) in absences.iter().filter(|(venue, _)| !self.absent.contains(venue)) {
            tracing::warn!("{venue} hardly counts: {absence}");
        }
        for venue in self.absent.iter().filter(|venue| !absences.contains_key(venue)) {
            tracing::info!("{venue} counts again");
        }
        self.absent = absences.into_keys().collect();
    }

    fn alarm(&mut self, policy: &Policy, tick: &Tick) {
        match (tick.aggregate.median, self.below_since) {
            (None, None) => {
                let (used, reasons) = (tick.aggregate.used(), tick.aggregate.reasons());
                tracing::warn!(
                    "below quorum: {used} of {} venues count, {} must; nothing is attested. {reasons}",
                    policy.venues.len(),
                    policy.quorum
                );
                self.below_since = Some(tick.at);
            }
            (Some(_), Some(since)) => {
                tracing::info!("quorum again after {} s without a price", tick.at.since(since));
                self.below_since = None;
            }
            _ => {}
        }
    }
}

impl Feed for Live {
    fn name(&self) -> &'static str {
        "live"
    }

    fn grace(&self) -> u32 {
        self.grace
    }

    fn poll(&mut self, frozen_until: Time, now: Time) -> anyhow::Result<News> {
        if !self.is_rebuilt {
            self.rebuild(frozen_until).context("read the tick log")?;
        }
        self.lows.retain(|hour, _| hour.plus(HOUR).is_some_and(|end| end > frozen_until));
        self.fixings.retain(|at, _| *at > frozen_until);
        let policy = self.policies.at(now).with_context(|| format!("no policy counts at {now}"))?.clone();
        self.grace = policy.freeze_seconds;
        if let Some(end) = self.log.end().filter(|end| end.at.since(now) > HOUR) {
            bail!(
                "the tick log's last tick is of {}, but it is {now}: the clock was ahead then, or is behind now",
                end.at
            );
        }
        self.heads.look(&mut self.log, now)?;
        if self.is_due(&policy, now) {
            self.tick(&policy, now)?;
        }
        // The last tick's price stands until the next is due, and one more in case it is late.
        let is_fresh = |tick: &&Tick| now.since(tick.at) < policy.tick_seconds.saturating_mul(2);
        let spot = self.last.as_ref().filter(is_fresh).and_then(|tick| tick.aggregate.median);
        Ok(News { spot, lows: self.lows.clone(), fixings: self.fixings.clone() })
    }

    /// By the venues' own times, however their answers came: more than half of those that tell the time, and never more
    /// than a quorum. When an answer arrived proves nothing, for it is this clock's word.
    fn vouches(&self, now: Time) -> Vouch {
        if !self.table.is_ready() {
            return Vouch::Waiting;
        }
        let Some(policy) = self.policies.at(now) else { return Vouch::No { needed: 1 } };
        let telling = policy.venues.iter().filter(|venue| venue.tells_time(policy.reading)).count();
        let needed = usize::try_from(policy.quorum).unwrap_or(usize::MAX).min(telling / 2 + 1);
        let agrees = |(venue, raw): &(Venue, String)| {
            let at = venue.quote(raw, policy.reading).ok().and_then(|quote| quote.at);
            at.is_some_and(|at| now.since(at) <= policy.max_age_seconds && at.since(now) <= policy.max_ahead_seconds)
        };
        match self.table.answers(&policy.venues).iter().filter(|answer| agrees(answer)).count() {
            enough if enough >= needed => Vouch::Yes,
            _ => Vouch::No { needed },
        }
    }

    fn venues(&self) -> Venues {
        let Some(health) = self.health() else { return Venues::default() };
        let now = health.tick.unwrap_or_default();
        let one = |status: &VenueStatus| super::Venue {
            name: status.venue.to_string(),
            price: status.price,
            age: status.health.last_good.map(|at| now.since(at)),
            used: status.price.is_some() && status.why_not.is_none(),
            trouble: status.why_not.clone().or_else(|| status.health.trouble().map(str::to_owned)),
            absent: status.absent.clone(),
        };
        Venues {
            list: health.venues.iter().map(one).collect(),
            quorum: usize::try_from(health.quorum).unwrap_or(usize::MAX),
        }
    }

    /// The medians of the tick log.
    fn past(&self, from: Time, until: Time) -> Vec<(Time, Cents)> {
        let mut seen = Vec::new();
        let read = self.log.reader().ticks_from(from, &mut |entry| {
            seen.extend(entry.median.map(|median| (entry.at, median)).filter(|(at, _)| *at <= until));
            Ok(())
        });
        if let Err(error) = read {
            tracing::debug!("the price of before is not shown: {error:#}");
        }
        seen
    }

    fn is_blind(&self) -> bool {
        self.below_since.is_some()
    }

    fn health(&self) -> Option<Health> {
        let last = self.last.as_ref();
        let policy = last.and_then(|tick| self.policies.at(tick.at)).or_else(|| self.policies.all().last())?;
        let mut fetched = self.table.health();
        let absences = self.attendance.absences();
        let venue = |venue: &Venue| {
            let verdict = last.and_then(|tick| tick.aggregate.verdicts.iter().find(|verdict| verdict.venue == *venue));
            VenueStatus {
                venue: *venue,
                price: verdict.and_then(|verdict| verdict.price.as_ref().ok().copied()),
                why_not: verdict.and_then(|verdict| verdict.price.as_ref().err().map(ToString::to_string)),
                absent: absences.get(venue).map(ToString::to_string),
                health: fetched.remove(venue).unwrap_or_default(),
            }
        };
        Some(Health {
            policy: policy.version,
            tick: last.map(|tick| tick.at),
            ticks: self.log.next().0,
            median: last.and_then(|tick| tick.aggregate.median),
            held: last.and_then(|tick| tick.held),
            range: last.and_then(|tick| tick.aggregate.range()),
            venues_used: last.and_then(|tick| u32::try_from(tick.aggregate.used()).ok()).unwrap_or(0),
            quorum: policy.quorum,
            below_quorum_since: self.below_since,
            heads_waiting: self.heads.waiting(),
            heads_trouble: self.heads.trouble().map(str::to_owned),
            venues: policy.venues.iter().map(venue).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
