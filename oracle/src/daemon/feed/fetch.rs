//! Fetching: asks all venues at once and keeps the last good answer of each.
//!
//! Bounded in time and bytes; follows no redirect. A venue that says 429 is left alone for as long as it asks, at most
//! five minutes. Nothing here decides what counts: that is the reckoner's part.

use crate::foreign::{clean, clean_to};
use crate::price::reckon::Input;
use crate::price::venue::{Reading, Venue};
use crate::reached;
use crate::units::Time;
use anyhow::{bail, Context};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Longest wait for a venue. Real time.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Largest answer read, in bytes: Kraken's thousand trades take some 80,000.
const LARGEST: usize = 512 * 1024;
/// Most bytes of a refusal that are read for its reason.
const EXCUSE: usize = 8 * 1024;
/// How long a venue that says 429 is left alone: when it does not say, and at most. Seconds.
const PAUSE: u32 = 30;
const LONGEST_PAUSE: u32 = 300;

/// How a venue has been doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VenueHealth {
    /// When it last answered a quote.
    pub last_good: Option<Time>,
    /// When it last failed, and how.
    pub last_error: Option<(Time, String)>,
    /// Failures since the last good answer.
    pub failures: u32,
    /// It is left alone until then.
    pub paused_until: Option<Time>,
}

impl VenueHealth {
    /// What is wrong at the moment: how it failed since its last good answer.
    pub fn trouble(&self) -> Option<&str> {
        self.last_error.as_ref().filter(|_| self.failures > 0).map(|(_, why)| why.as_str())
    }
}

#[derive(Debug, Default)]
struct Seat {
    good: Option<(Time, String)>,
    health: VenueHealth,
}

#[derive(Debug, Default)]
struct Seats {
    seats: BTreeMap<Venue, Seat>,
    rounds: u64,
    /// When the last round was.
    asked: Time,
}

/// The last answers; fetchers write, the desk reads.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<Mutex<Seats>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every venue been asked once?
    pub fn is_ready(&self) -> bool {
        self.lock().rounds > 0
    }

    /// Has every venue been asked at this time or later?
    pub fn is_asked(&self, now: Time) -> bool {
        self.lock().asked >= now
    }

    /// What is known of each venue at `now`, at most `max_age` seconds old.
    pub fn inputs(&self, venues: &[Venue], now: Time, max_age: u32) -> Vec<Input> {
        let table = self.lock();
        let input = |venue: &Venue| {
            let seat = table.seats.get(venue);
            let good = seat.and_then(|seat| seat.good.as_ref()).filter(|(at, _)| now.since(*at) <= max_age);
            let error = || {
                let last = seat.and_then(|seat| seat.health.last_error.as_ref());
                last.map_or_else(|| "nothing came".to_string(), |(_, why)| why.clone())
            };
            match good {
                Some((at, raw)) => Input { venue: *venue, received: Some(*at), raw: Some(raw.clone()), error: None },
                None => Input { venue: *venue, received: None, raw: None, error: Some(error()) },
            }
        };
        venues.iter().map(input).collect()
    }

    /// The last answer of each venue that holds a quote, whenever it came.
    pub fn answers(&self, venues: &[Venue]) -> Vec<(Venue, String)> {
        let table = self.lock();
        let answer = |venue: &Venue| Some((*venue, table.seats.get(venue)?.good.as_ref()?.1.clone()));
        venues.iter().filter_map(answer).collect()
    }

    /// How each venue has been doing.
    pub fn health(&self) -> BTreeMap<Venue, VenueHealth> {
        self.lock().seats.iter().map(|(venue, seat)| (*venue, seat.health.clone())).collect()
    }

    /// Takes an answer that holds a quote.
    pub fn good(&self, venue: Venue, at: Time, raw: String) {
        let mut table = self.lock();
        let seat = table.seats.entry(venue).or_default();
        seat.good = Some((at, raw));
        seat.health.last_good = Some(at);
        seat.health.failures = 0;
        seat.health.paused_until = None;
    }

    /// Takes a failure. An earlier good answer stands until it is too old.
    pub fn failed(&self, venue: Venue, at: Time, why: &str, pause: Option<u32>) {
        let mut table = self.lock();
        let health = &mut table.seats.entry(venue).or_default().health;
        health.last_error = Some((at, clean(why)));
        health.failures = health.failures.saturating_add(1);
        health.paused_until = pause.and_then(|seconds| at.plus(seconds));
    }

    /// Every venue has been asked.
    pub fn round_done(&self) {
        let mut table = self.lock();
        table.rounds = table.rounds.saturating_add(1);
    }

    fn is_paused(&self, venue: Venue, now: Time) -> bool {
        let until = self.lock().seats.get(&venue).and_then(|seat| seat.health.paused_until);
        // A pause that is longer than any was begun by a clock that was ahead.
        until.is_some_and(|until| now < until && until.since(now) <= LONGEST_PAUSE)
    }
}

/// A venue that wants to be left alone.
#[derive(Debug, thiserror::Error)]
#[error("it answers 429 (too many requests); left alone for {0} s")]
struct Busy(u32);

/// Asks the venues.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    patience: Duration,
    bases: BTreeMap<Venue, String>,
    table: Table,
}

impl Fetcher {
    /// Asks `venues`, each at its own base URL or the one in `bases`, with at most `patience` for all its
    /// answers.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(
        venues: &[Venue],
        bases: &BTreeMap<Venue, String>,
        patience: Duration,
        table: Table,
    ) -> anyhow::Result<Fetcher> {
        let client = reqwest::Client::builder()
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("hypothec-oracle/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("make the HTTP client")?;
        let base = |venue: &Venue| bases.get(venue).cloned().unwrap_or_else(|| venue.base().to_string());
        let bases = venues.iter().map(|venue| (*venue, base(venue).trim_end_matches('/').to_string())).collect();
        Ok(Fetcher { client, patience, bases, table })
    }

    /// Asks every venue once, all at the same time; `now` is when their answers come.
    pub async fn round(&self, now: Time) {
        let mut asked = JoinSet::new();
        for (venue, base) in &self.bases {
            if self.table.is_paused(*venue, now) {
                continue;
            }
            let (fetcher, venue, base) = (self.clone(), *venue, base.clone());
            asked.spawn(async move {
                // Over all of a venue's answers: one that is slow must not keep the others from being asked again.
                let asked = tokio::time::timeout(fetcher.patience, fetcher.ask(venue, &base)).await;
                match asked.unwrap_or_else(|_| Err(anyhow::anyhow!("it did not answer in time"))) {
                    Ok(raw) => fetcher.table.good(venue, now, raw),
                    Err(error) => {
                        let pause = error.downcast_ref::<Busy>().map(|busy| busy.0);
                        fetcher.table.failed(venue, now, &format!("{error:#}"), pause);
                    }
                }
            });
        }
        while asked.join_next().await.is_some() {}
        self.table.lock().asked = now;
        self.table.round_done();
    }

    /// The excerpt of a venue's answers that holds its quote.
    async fn ask(&self, venue: Venue, base: &str) -> anyhow::Result<String> {
        let mut answers = Vec::new();
        for path in venue.paths() {
            answers.push(self.get(&format!("{base}{path}")).await?);
        }
        // As the newest policies read it: what older ones make of it is the reckoner's part.
        let read = venue.excerpt(&answers).and_then(|raw| venue.quote(&raw, Reading::Second).map(|_| raw));
        read.map_err(|error| match answers.iter().find_map(|answer| excuse(answer)) {
            Some(said) => anyhow::anyhow!("it says: {said} ({error})"),
            None => error.into(),
        })
    }

    async fn get(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let plain = |error: reqwest::Error| anyhow::anyhow!(reached::why(&error));
        let mut answer = self.client.get(url).send().await.map_err(plain)?;
        let status = answer.status();
        if status.as_u16() == 429 {
            let asks = answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
            return Err(Busy(asks.unwrap_or(PAUSE).min(LONGEST_PAUSE)).into());
        }
        let mut body = Vec::new();
        if !status.is_success() {
            while let (Ok(Some(part)), true) = (answer.chunk().await, body.len() < EXCUSE) {
                body.extend_from_slice(&part);
            }
            match excuse(&body) {
                Some(said) => bail!("it answers HTTP {}: {said}", status.as_u16()),
                None => bail!("it answers HTTP {}", status.as_u16()),
            }
        }
        while let Some(part) = answer.chunk().await.map_err(plain)? {
            if body.len().saturating_add(part.len()) > LARGEST {
                bail!("its answer has more than {LARGEST} bytes");
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}

/// What a venue says about why it does not answer: the sentence in its JSON, or the title of its page.
fn excuse(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let said = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(fields)) => {
            let names = ["message", "reason", "error", "description"];
            names.iter().find_map(|name| words(fields.get(*name)?))
        }
        Ok(serde_json::Value::Array(fields)) if fields.first().is_some_and(|first| first == "error") => {
            fields.last().and_then(words)
        }
        Ok(_) => None,
        Err(_) => {
            let lower = text.to_ascii_lowercase();
            let title = lower.find("<title>").map(|at| at.saturating_add("<title>".len()));
            title.and_then(|from| Some(text.get(from..)?.split('<').next()?.to_owned()))
        }
    };
    said.map(|said| clean_to(&said, 120)).filter(|said| !said.is_empty())
}

/// A text, or the texts of a list.
fn words(said: &serde_json::Value) -> Option<String> {
    let listed = || Some(said.as_array()?.iter().filter_map(|one| one.as_str()).collect::<Vec<_>>().join("; "));
    said.as_str().map(str::to_owned).or_else(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_venue_that_is_closed_says_why() {
        for (body, says) in [
            (
                r#"{"result":"error","reason":"Maintenance","message":"We are down for maintenance"}"#,
                Some("We are down for maintenance"),
            ),
            (r#"{"error":["EService:Unavailable"]}"#, Some("EService:Unavailable")),
            (r#"["error",20060,"maintenance"]"#, Some("maintenance")),
            ("<html><head><TITLE>503 Service\nUnavailable</title>", Some("503 Service Unavailable")),
            ("<html>sorry</html>", None),
            ("", None),
            ("{}", None),
            (r#"{"error":[],"result":{}}"#, None),
            ("[78995,3.4,79026]", None),
        ] {
            assert_eq!(excuse(body.as_bytes()).as_deref(), says, "{body}");
        }
    }

    #[test]
    fn why_a_venue_failed_is_kept_cleaned() {
        let table = Table::default();
        table.failed(Venue::Gemini, Time(1), "it says a\u{1b}[2J\u{202e}b\nc", None);
        assert_eq!(table.health()[&Venue::Gemini].trouble(), Some("it says ab c"));
    }
}
