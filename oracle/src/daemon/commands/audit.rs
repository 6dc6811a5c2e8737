//! `hypothec-oracle audit URL`: a stranger checks everything an oracle said against its tick log.

use crate::bundle::{Bundle, BundlePage};
use crate::equivocation::Proof;
use crate::event::Event;
use crate::ladder::Level;
use crate::price::policy::{Policies, PolicyPage};
use crate::screen;
use crate::ticklog::audit::{Auditor, Covered, Logs};
use crate::ticklog::entry::{named, Head};
use crate::units::{Cents, Day, Time};
use crate::verify::{fixing_dollars, verify_announcement, verify_attestation};
use crate::wire::{Info, SignedLows};
use anyhow::{bail, ensure, Context};
use bitcoin::hex::DisplayHex;
use bitcoin::key::XOnlyPublicKey;
use clap::Args;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Longest wait for one answer. Real time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often in a row an oracle may say that it was asked too much.
const REFUSALS: u32 = 20;
/// Largest answer read, in bytes: a month of a band has some 1.4 million.
const LARGEST: usize = 8 * 1024 * 1024;

/// Which oracle, and which days.
#[derive(Debug, Args)]
#[command(
    after_help = "Checks the chain and every signature, makes every median, held price, low and fixing again from the \
    venues' raw answers, and compares with the lows, fixings and touches the oracle serves. Prints the first disagreement \
    and fails. Oracles with the replay or manual feed keep no tick log: those are test feeds, with nothing to audit.\n\n\
    Replicas of one oracle keep a tick log each, and what one of them said follows from its own: name the others with \
    --replica, and each thing said must follow from one of the logs."
)]
pub struct Audit {
    /// Base URL of the oracle, for example https://oracle.example.
    url: String,
    /// Base URL of another replica of the same oracle, whose log is read too; may be given several times.
    #[arg(long = "replica", value_name = "URL")]
    replicas: Vec<String>,
    /// First day, YYYYMMDD [default: the log's first].
    #[arg(long, value_parser = day_of)]
    from: Option<Day>,
    /// Last day, YYYYMMDD [default: the log's last].
    #[arg(long, value_parser = day_of)]
    to: Option<Day>,
    /// The oracle's key, if you know it from elsewhere; hex.
    #[arg(long)]
    key: Option<XOnlyPublicKey>,
    /// Look at every rung from every hour of a day, not only at those down to half of the least low: a thousand and more
    /// pages a day.
    #[arg(long)]
    every_rung: bool,
}

/// Which days are audited, and how widely.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// First day; the log's first unless named.
    pub from: Option<Day>,
    /// Last day; the log's last unless named.
    pub to: Option<Day>,
    /// Every rung from every hour.
    pub every_rung: bool,
}

fn day_of(text: &str) -> Result<Day, String> {
    Day::from_yyyymmdd(text).ok_or_else(|| format!("{text:?} is not a day as YYYYMMDD"))
}

/// Audits, and prints what was covered.
///
/// # Errors
/// The first disagreement, or that the oracle cannot be read.
pub async fn run(audit: Audit) -> anyhow::Result<()> {
    let scope = Scope { from: audit.from, to: audit.to, every_rung: audit.every_rung };
    let report = audit_oracle(&audit.url, &audit.replicas, scope, audit.key).await;
    progress("");
    Ok(screen::say(format_args!("{}", report?))?)
}

/// What the oracle said, fetched before its log is.
struct Said {
    key: XOnlyPublicKey,
    /// The end of the log, signed before anything else was asked.
    head: Head,
    /// Everything before is final by every signed list of lows.
    frozen_until: Time,
    lows: Vec<SignedLows>,
    fixings: BTreeMap<Time, Option<u32>>,
    touches: Vec<(Event, bool)>,
}

/// Audits the days of `scope` of an oracle, with the logs of its replicas.
///
/// # Errors
/// The first disagreement, or that the oracle cannot be read.
pub async fn audit_oracle(
    url: &str,
    replicas: &[String],
    scope: Scope,
    key: Option<XOnlyPublicKey>,
) -> anyhow::Result<String> {
    let reader = Reader::new(url)?;
    let key = key_of(&reader, key).await?;
    let policies = policies(&reader, &key).await?;
    let days = reader.log_days().await?;
    let (Some(first), Some(last)) = (days.first(), days.last()) else { bail!("the oracle's tick log is empty") };
    let (from, to) = (scope.from.unwrap_or(*first).max(*first), scope.to.unwrap_or(*last).min(*last));
    ensure!(from <= to, "the oracle has no tick log of these days; it has {first} to {last}");
    let said = said(&reader, key, &days_between(from, to), scope.every_rung).await?;
    let log = read_log(&reader, key, &policies, from, to).await.with_context(|| format!("the log at {url}"))?;
    let mut logs = vec![(url, log)];
    for url in replicas {
        let log = read_replica(url, key, &policies, from, to).await.with_context(|| format!("replica {url}"))?;
        logs.push((url, log));
    }
    let (read, followed) = together(key, logs)?;
    let mut covered = Covered::default();
    for log in &followed {
        covered = covered.and(log.end()?);
    }
    compare(&mut Logs::new(key, followed), &said)?;
    Ok(report(&said, from, to, &read, covered))
}

/// The logs that differ, and a line about each address. One log at two addresses counts once, and must be one.
fn together(key: XOnlyPublicKey, logs: Vec<(&str, Auditor)>) -> anyhow::Result<(String, Vec<Auditor>)> {
    let (mut read, mut followed): (String, Vec<(&str, Auditor)>) = Default::default();
    for (url, log) in logs {
        let id = named(log.log());
        let same = followed.iter().find(|(_, other)| log.log().is_some() && other.log() == log.log());
        if let Some((elsewhere, other)) = same {
            if let Some((one, two)) = log.fork(other) {
                bail!(
                    "log {id} has two pasts: the oracle signed one tick {} at {elsewhere} and another at {url}. The proof, \
                     for `hypothec oracle proof`: {}",
                    one.n,
                    Proof::of_heads(key, &one, &two)?.to_bytes().to_lower_hex_string()
                );
            }
            read += &format!("\nlog      {id} at {url}: the same");
            continue;
        }
        let covered = log.end().with_context(|| format!("log {id} at {url}"))?;
        read += &format!("\nlog      {id} at {url}: {} ticks, {} signed heads", covered.ticks, covered.heads);
        followed.push((url, log));
    }
    Ok((read, followed.into_iter().map(|(_, log)| log).collect()))
}

/// The key of an oracle that has something to audit; `known` is what it must be.
async fn key_of(reader: &Reader, known: Option<XOnlyPublicKey>) -> anyhow::Result<XOnlyPublicKey> {
    let info: Info = reader.json("/v1/info").await?;
    if let Some(known) = known {
        ensure!(info.pubkey == known, "the oracle's key is {}, right would be {known}", info.pubkey);
    }
    if info.feed != "live" {
        bail!(
            "the oracle's feed is {:?}: the replay and manual feeds keep no tick log, there is nothing to audit",
            info.feed
        );
    }
    Ok(info.pubkey)
}

async fn read_replica(
    url: &str,
    key: XOnlyPublicKey,
    policies: &Policies,
    from: Day,
    to: Day,
) -> anyhow::Result<Auditor> {
    let reader = Reader::new(url)?;
    key_of(&reader, Some(key)).await?;
    ensure!(self::policies(&reader, &key).await? == *policies, "it publishes other price policies");
    read_log(&reader, key, policies, from, to).await
}

/// One log, from the day before `from` on.
async fn read_log(
    reader: &Reader,
    key: XOnlyPublicKey,
    policies: &Policies,
    from: Day,
    to: Day,
) -> anyhow::Result<Auditor> {
    let days = reader.log_days().await?;
    let start = from.start().context("the day is after 2106")?;
    let mut auditor = Auditor::new(key, policies.clone(), start).until(to.end());
    let read: Vec<Day> = days.iter().copied().filter(|day| day.next() >= Some(from) && *day <= to).collect();
    if read.is_empty() {
        return Ok(auditor);
    }
    if read.first() == days.first() {
        auditor = auditor.from_the_first_tick();
    }
    let head: Head = reader.json("/v1/log/head").await?;
    // A head of a later day is beyond the days that are read.
    if head.at.day() <= to {
        auditor.promise(head)?;
    }
    for day in read {
        progress(&format!("making the prices of {day} again from {}", reader.base));
        follow(reader, &mut auditor, day).await?;
    }
    // Heads of the last hours may stand in later days' logs: the signer was away.
    for day in days.into_iter().filter(|day| *day > to) {
        if !auditor.awaits_heads() {
            break;
        }
        follow(reader, &mut auditor, day).await?;
    }
    Ok(auditor)
}

fn days_between(from: Day, to: Day) -> Vec<Day> {
    (from.0..=to.0).map(Day).collect()
}

async fn policies(reader: &Reader, key: &XOnlyPublicKey) -> anyhow::Result<Policies> {
    let page: PolicyPage = reader.json("/v1/policy").await?;
    for signed in &page.policies {
        signed.verify(key)?;
    }
    Policies::new(page.policies.into_iter().map(|signed| signed.policy).collect()).context("the published policies")
}

/// Lows, fixings and touches of the days.
async fn said(reader: &Reader, key: XOnlyPublicKey, days: &[Day], every_rung: bool) -> anyhow::Result<Said> {
    let head: Head = reader.json("/v1/log/head").await?;
    let mut said = Said {
        key,
        head,
        frozen_until: Time(u32::MAX),
        lows: Vec::new(),
        fixings: BTreeMap::new(),
        touches: Vec::new(),
    };
    for day in days {
        progress(&format!("reading what was said on {day}"));
        let lows: SignedLows = reader.json(&format!("/v1/lows/{day}")).await?;
        ensure!(lows.day == *day, "asked for the lows of {day}, the oracle answered those of {}", lows.day);
        lows.verify(&key)?;
        said.frozen_until = said.frozen_until.min(lows.frozen_until);
        said.lows.push(lows);
        let bundle = Bundle::Fixings { day: *day };
        for (event, attested) in attested(reader, bundle, &key, days).await? {
            if let Event::Fixing { at } = event {
                said.fixings.insert(at, attested);
            }
        }
    }
    let bundles = touch_bundles(&said.lows, every_rung);
    for (number, bundle) in bundles.iter().copied().enumerate() {
        progress(&format!("reading touches: page {} of {}", number + 1, bundles.len()));
        for (event, attested) in attested(reader, bundle, &key, days).await? {
            said.touches.push((event, attested.is_some()));
        }
    }
    Ok(said)
}

/// Every band up to above the day's highest low: from h00 from the ladder's foot on; from every other hour, of which
/// only loans that began in it speak, from half of the least low from then on, or from the foot with `every_rung`.
fn touch_bundles(lows: &[SignedLows], every_rung: bool) -> BTreeSet<Bundle> {
    let rung = |cents: Cents| {
        let dollars = u32::try_from(cents.dollars_floor()).unwrap_or(u32::MAX);
        Level::at_or_above(dollars).or_else(|| Level::at_or_below(dollars))
    };
    let mut bundles = BTreeSet::new();
    let of_all = || lows.iter().flat_map(|day| day.lows.iter().flatten().copied());
    let (Some(lowest), Some(highest)) = (of_all().min(), of_all().max()) else { return bundles };
    for day in lows {
        // A day or an hour without a low has no true event, and is looked at all the more.
        let highest = day.lows.iter().flatten().max().copied().unwrap_or(highest);
        let Some(top) = rung(highest) else { continue };
        for from_hour in 0..24 {
            let least = day.least_from(from_hour).or_else(|| day.least_from(0)).unwrap_or(lowest);
            let half = rung(Cents(least.0 / 2)).map_or(0, Level::band);
            let foot = if from_hour == 0 || every_rung { 0 } else { half };
            for level in (foot..=top.band().saturating_add(1)).filter_map(|band| Level::of_band(band).first().copied())
            {
                bundles.insert(Bundle::of(Event::Touch { level, day: day.day, from_hour }));
            }
        }
    }
    bundles
}

/// The events of a bundle that lie in the days, with what is attested: dollars for a fixing, zero for a touch.
async fn attested(
    reader: &Reader,
    bundle: Bundle,
    key: &XOnlyPublicKey,
    days: &[Day],
) -> anyhow::Result<Vec<(Event, Option<u32>)>> {
    let in_days = |event: &Event| match event {
        Event::Fixing { at } => days.contains(&at.day()),
        Event::Touch { day, .. } | Event::Payment { day, .. } => days.contains(day),
    };
    let events: Vec<(usize, Event)> = bundle.events().into_iter().enumerate().filter(|one| in_days(&one.1)).collect();
    // Most of what an audit looks at was never said: announcements, by far the greater part, are read where it was.
    let words: BundlePage = reader.json(&format!("{bundle}?only=attestations")).await?;
    let said: BTreeSet<usize> = words.attestations.iter().filter_map(|one| usize::try_from(one.index).ok()).collect();
    if events.iter().all(|(index, _)| !said.contains(index)) {
        return Ok(events.into_iter().map(|(_, event)| (event, None)).collect());
    }
    let announced: BundlePage = reader.json(&format!("{bundle}?only=announcements")).await?;
    let page = BundlePage { announcements: announced.announcements, ..words };
    let mut all = Vec::new();
    for (index, event) in events {
        if !said.contains(&index) {
            all.push((event, None));
            continue;
        }
        let proven = page.announcement(bundle, event, key)?;
        verify_announcement(&proven, key, event)?;
        let attestation = page.attestation(bundle, event, &proven.announcement)?;
        let attestation = attestation.with_context(|| format!("the attestation of {event} is lost in its page"))?;
        verify_attestation(&attestation, &proven.announcement)?;
        let dollars = fixing_dollars(&attestation).unwrap_or(0);
        all.push((event, Some(dollars)));
    }
    Ok(all)
}

/// Reads a day's log, page by page.
async fn follow(reader: &Reader, auditor: &mut Auditor, day: Day) -> anyhow::Result<()> {
    let mut from = 0usize;
    loop {
        let page = reader.bytes(&format!("/v1/log/{day}?from={from}")).await?;
        if page.is_empty() {
            return Ok(());
        }
        from = from.saturating_add(page.len());
        let page = String::from_utf8(page).context("the tick log is not text")?;
        ensure!(page.ends_with('\n'), "the tick log of {day} ends within a line");
        for line in page.lines() {
            auditor.line(day, line)?;
        }
    }
}

fn compare(logs: &mut Logs, said: &Said) -> anyhow::Result<()> {
    for lows in &said.lows {
        logs.check_final(lows, &said.head)?;
        logs.check_lows(lows)?;
    }
    for (at, attested) in &said.fixings {
        logs.check_fixing(*at, *attested, said.frozen_until)?;
    }
    for (event, attested) in &said.touches {
        logs.check_touch(*event, *attested, said.frozen_until)?;
    }
    Ok(())
}

fn report(said: &Said, from: Day, to: Day, read: &str, covered: Covered) -> String {
    let fixings = said.fixings.values().filter(|attested| attested.is_some()).count();
    let lows: usize = said.lows.iter().map(|day| day.lows.iter().flatten().count()).sum();
    let touches = said.touches.iter().filter(|(_, attested)| *attested).count();
    let (head, final_until) = (said.head.at, said.frozen_until);
    format!(
        "oracle {}\ndays     {from} to {to}{read}\nheard    its log reached {head}, everything before {final_until} is final: compare \
         with your clock\nticks    {}, {} with a median, {} signed heads\nlows     {lows}\n\
         fixings  {fixings} attested\ntouches  {touches} attested of {} looked at\neverything agrees",
        said.key,
        covered.ticks,
        covered.medians,
        covered.heads,
        said.touches.len()
    )
}

/// Reads an oracle that is not trusted.
struct Reader {
    client: reqwest::Client,
    base: String,
}

impl Reader {
    fn new(url: &str) -> anyhow::Result<Reader> {
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        ensure!(is_url, "{url:?} is no URL; write it with its beginning, for example https://oracle.example");
        let client =
            reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Reader { client, base: url.trim_end_matches('/').to_string() })
    }

    /// The days that have a log, oldest first.
    async fn log_days(&self) -> anyhow::Result<Vec<Day>> {
        let days: Vec<String> = self.json("/v1/log").await?;
        Ok(days.iter().filter_map(|day| Day::from_yyyymmdd(day)).collect())
    }

    async fn bytes(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        let mut answer = self.client.get(&url).send().await.with_context(|| format!("ask {url}"))?;
        for _ in 0..REFUSALS {
            if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                break;
            }
            tokio::time::sleep(asked_to_wait(answer.headers())).await;
            answer = self.client.get(&url).send().await.with_context(|| format!("ask {url}"))?;
        }
        ensure!(answer.status().is_success(), "{url} answers HTTP {}", answer.status().as_u16());
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.with_context(|| format!("read {url}"))? {
            ensure!(body.len().saturating_add(part.len()) <= LARGEST, "{url} answers more than {LARGEST} bytes");
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.bytes(path).await?;
        serde_json::from_slice(&body).with_context(|| format!("understand {}{path}", self.base))
    }
}

/// How long an oracle that was asked too much wants to be left alone.
fn asked_to_wait(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(Duration::from_secs(1), Duration::from_secs).min(PATIENCE)
}

/// What is being done, on a terminal: an audit of a year takes a while.
fn progress(what: &str) {
    let mut screen = std::io::stderr();
    if screen.is_terminal() {
        // Nobody is worse off when it cannot be shown.
        let _ = write!(screen, "\r\x1b[K{what}");
    }
}

#[cfg(test)]
mod tests;
