//! The stream of events: everything the oracle says, as it says it (server-sent events).
//!
//! Nothing is queued for anybody. A follower is a place in the ledger's journal; the journal is the same for all and
//! bounded, so a slow reader costs a place number, and one that fell too far behind is told what it missed.
//!
//! What is said from now on is told at once. What was said before somebody came is replayed: at so many bytes a second for
//! each address, and what must be signed for it again is signed in the lane of pages, in the address's turn.
//!
//! An event's id is `<record>.<part>`. Part 0 is the record itself: a `low`, a `fixing` with its attestation, or
//! `frozen`. Parts from 1 on are the attestations of the h00 touches that this low made true. Ids survive a restart.

use super::super::ledger::{Record, Said};
use super::super::press::Press;
use super::asker::Asker;
use super::refusal::{bad_parameter, Refusal};
use super::turns::Turn;
use super::Counter;
use crate::event::Event as Attested;
use axum::extract::{Query, State};
use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{watch, OwnedSemaphorePermit};

/// How often a silent stream says that it lives. Real time.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What stands around the data of an event, in bytes.
const AROUND: usize = 48;
/// Touches of one record signed in one go.
const SIGNED_AT_ONCE: usize = 256;

pub fn routes() -> Router<Counter> {
    Router::new().route("/v1/events", get(events))
}

/// Where a follower goes on, when it cannot set a header.
#[derive(Deserialize)]
struct Asked {
    after: Option<String>,
}

async fn events(
    State(counter): State<Counter>,
    Query(asked): Query<Asked>,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok().map(str::to_owned));
    let after = header.or(asked.after).filter(|id| !id.is_empty());
    let after = after.map(|id| Place::parse(&id).ok_or_else(bad_place)).transpose()?;
    let asker = asker.map(|Extension(asker)| asker);
    let own = asker.as_ref().map(|asker| asker.seat().ok_or_else(crowded)).transpose()?;
    let seat = Arc::clone(&counter.seats).try_acquire_owned().map_err(|_| full())?;
    let follower = Follower { asker, ..Follower::new(&counter, after, (seat, own)) };
    let stream = futures_util::stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would otherwise hold events back until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn bad_place() -> Refusal {
    bad_parameter("the last event's id must be one of this stream, such as 1204.0")
}

fn full() -> Refusal {
    let message = "as many as this oracle serves are following already; try again later or another mirror";
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_followers", message.to_string())
}

fn crowded() -> Refusal {
    let message = "as many as one address may have are following already; close one, or ask another mirror";
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_followers", message.to_string())
}

/// The part of a place that stands for a whole record.
const WHOLE: u32 = u32::MAX;

/// Which event of which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    record: u64,
    part: u32,
}

impl Place {
    fn parse(id: &str) -> Option<Place> {
        let (record, part) = id.split_once('.')?;
        let place = Place { record: record.parse().ok()?, part: part.parse().ok()? };
        (place.to_string() == id).then_some(place)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.record, self.part)
    }
}

/// One who follows.
struct Follower {
    press: Arc<Press>,
    news: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    /// The record to be told next.
    next: u64,
    /// What is left of the record being told.
    parts: VecDeque<(Place, Part)>,
    /// Parts of the first record that were told before.
    heard: Option<Place>,
    /// Records before this one were said before it came.
    came: u64,
    /// None where nobody counts.
    asker: Option<Asker>,
    _seats: (OwnedSemaphorePermit, Option<Turn>),
}

/// One event to be told.
enum Part {
    Record(Record),
    Touch(Attested),
    /// Records before this one are no longer remembered.
    Gap(u64),
}

impl Follower {
    fn new(counter: &Counter, after: Option<Place>, seats: (OwnedSemaphorePermit, Option<Turn>)) -> Follower {
        let mut follower = Follower {
            press: Arc::clone(&counter.press),
            news: counter.press.window().follow(),
            closing: counter.closing.clone(),
            next: 0,
            parts: VecDeque::new(),
            heard: None,
            came: 0,
            asker: None,
            _seats: seats,
        };
        let said = follower.press.window().look().ledger.said();
        follower.came = said;
        match after {
            None => follower.next = said,
            Some(place) if place.record < said && place.part == WHOLE => follower.next = place.record.saturating_add(1),
            Some(place) if place.record < said => (follower.next, follower.heard) = (place.record, Some(place)),
            // An id of the future belongs to another oracle: all that can be said is from where this one goes on.
            Some(_) => follower.skip_to(said),
        }
        follower
    }

    fn skip_to(&mut self, record: u64) {
        (self.next, self.heard) = (record, None);
        if let Some(before) = record.checked_sub(1) {
            self.parts.push_back((Place { record: before, part: WHOLE }, Part::Gap(record)));
        }
    }

    /// The next event, when there is one; `None` when the oracle stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((place, part)) = self.parts.pop_front() {
                if self.heard.is_none_or(|heard| heard.record != place.record || heard.part < place.part) {
                    // Signing hundreds of rungs in a row must not keep others from being served.
                    tokio::task::consume_budget().await;
                    let told = self.tell(place, part).await;
                    if told.is_none() {
                        tracing::error!("the stream of events broke off at {place}");
                    }
                    return told;
                }
            }
            if *self.closing.borrow() {
                return None;
            }
            if self.open_next() {
                self.sign_again().await;
                continue;
            }
            let news = self.next;
            tokio::select! {
                said = self.news.wait_for(|said| *said > news) => drop(said.ok()?),
                closing = self.closing.changed() => closing.ok()?,
            }
        }
    }

    /// Takes up the next record if there is one.
    fn open_next(&mut self) -> bool {
        let (said, oldest, entry) = {
            let shown = self.press.window().look();
            (shown.ledger.said(), shown.ledger.oldest(), shown.ledger.entry(self.next))
        };
        match entry {
            Some(entry) => {
                self.parts = parts(&entry);
                self.next = self.next.saturating_add(1);
                true
            }
            None if self.next < said => {
                self.skip_to(oldest.max(self.next.saturating_add(1)));
                true
            }
            None => false,
        }
    }

    /// Signs what was said long ago and is not kept any more, all of a record together.
    async fn sign_again(&self) {
        let told = |part: &(Place, Part)| match part {
            (place, Part::Touch(touch)) if self.is_past(*place) => Some(*touch),
            _ => None,
        };
        let lost = |touch: &Attested| self.press.told_before(*touch).is_none();
        let lost: Vec<Attested> = self.parts.iter().filter_map(told).filter(lost).collect();
        for some in lost.chunks(SIGNED_AT_ONCE) {
            // One that cannot be signed shows when it is told.
            drop(self.signed(some.to_vec(), true).await);
        }
    }

    /// Was it said before this follower came?
    fn is_past(&self, place: Place) -> bool {
        place.record < self.came
    }

    async fn tell(&self, place: Place, part: Part) -> Option<Event> {
        let past = self.is_past(place);
        let (kind, data): (&str, Arc<str>) = match part {
            Part::Record(Record::Low { hour, cents }) => {
                ("low", format!("{{\"hour\":{},\"cents\":{}}}", hour.0, cents.0).into())
            }
            Part::Record(Record::Frozen { until }) => ("frozen", format!("{{\"frozen_until\":{}}}", until.0).into()),
            Part::Record(Record::Fixing { at, .. }) => ("fixing", self.said(Attested::Fixing { at }, past).await?),
            Part::Touch(touch) => ("touch", self.said(touch, past).await?),
            Part::Gap(record) => ("gap", format!("{{\"next\":\"{record}.0\"}}").into()),
        };
        if let Some(asker) = self.asker.as_ref().filter(|_| past) {
            let mut closing = self.closing.clone();
            tokio::select! {
                () = asker.replay(data.len().saturating_add(AROUND)) => {}
                _ = closing.wait_for(|closing| *closing) => return None,
            }
        }
        Some(Event::default().id(place.to_string()).event(kind).data(data.as_ref()))
    }

    /// Signed ahead as a rule; where it is not, the signer may be waited for.
    async fn said(&self, event: Attested, past: bool) -> Option<Arc<str>> {
        match self.press.told_before(event) {
            Some(told) => Some(told),
            None => self.signed(vec![event], past).await?.pop().map(|(_, text)| text),
        }
    }

    /// `None` where one cannot be signed, or the oracle stops.
    async fn signed(&self, events: Vec<Attested>, past: bool) -> Option<Vec<(Attested, Arc<str>)>> {
        let mut closing = self.closing.clone();
        let press = Arc::clone(&self.press);
        let signing = async {
            if !past {
                return press.attested_in_time(events).await;
            }
            let _turn = match &self.asker {
                Some(asker) => Some(asker.turn().await),
                None => None,
            };
            press.attested_behind(events).await
        };
        let signed = tokio::select! {
            signed = signing => signed?,
            _ = closing.wait_for(|closing| *closing) => return None,
        };
        signed.ok()
    }
}

fn parts(said: &Said) -> VecDeque<(Place, Part)> {
    let place = |part| Place { record: said.number, part };
    let touches = (1..).zip(said.touches()).map(|(part, touch)| (place(part), Part::Touch(touch)));
    std::iter::once((place(0), Part::Record(said.record))).chain(touches).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_or_is_refused() {
        let place = Place { record: 1_204, part: 7 };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        for id in ["", "1", "1.", ".1", "01.0", "1.-1", "+1.0", "1.0.0", "99999999999999999999.0", "1.4294967296"] {
            assert_eq!(Place::parse(id), None, "{id}");
        }
    }
}
