//! The routes that kormir serves, for the clients that were written for it.

use super::super::press::Press;
use super::paper::{json, Lasts};
use super::refusal::{behind, event, not_attested, Refusal};
use super::Counter;
use crate::announce::AnnounceError;
use crate::event::Event;
use crate::units::{Time, DAY, HOUR};
use crate::wire::{ListedEvent, Pubkey};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::Router;

/// An answer, or what is wrong with the question.
type Answer = Result<Response, Refusal>;

pub fn routes() -> Router<Counter> {
    Router::new()
        .route("/pubkey", get(pubkey))
        .route("/announcement/{id}", get(announcement))
        .route("/attestation/{id}", get(attestation))
        .route("/list-events", get(list_events))
}

async fn pubkey(State(counter): State<Counter>, asked: HeaderMap) -> Answer {
    json(&asked, Lasts::Minute, &Pubkey { pubkey: counter.info.pubkey })
}

async fn announcement(State(counter): State<Counter>, Path(id): Path<String>, asked: HeaderMap) -> Answer {
    let event = event(&id)?;
    let proven = behind(&counter.press, move |press| press.announcement(event)).await?;
    json(&asked, Lasts::Forever, &proven.announcement)
}

/// What is attested is attested for ever; what is not may be in a second.
async fn attestation(State(counter): State<Counter>, Path(id): Path<String>, asked: HeaderMap) -> Answer {
    let event = event(&id)?;
    let said = behind(&counter.press, move |press| press.attestation(event)).await?;
    let said = said.ok_or_else(|| not_attested(event))?;
    json(&asked, Lasts::Forever, &said)
}

/// The fixings of yesterday, today and tomorrow. Touches are too many to list: they are in the bands.
async fn list_events(State(counter): State<Counter>, asked: HeaderMap) -> Answer {
    let list = |press: &Press| {
        let first = press.window().look().clock.hour_floor().0.saturating_sub(DAY);
        let ahead = (0..=2 * DAY / HOUR).filter_map(|hour| Time(first).plus(hour * HOUR));
        let events: Vec<Event> = ahead.map(|at| Event::Fixing { at }).collect();
        let announced = press.announcements(&events)?.into_iter().zip(events);
        let list =
            announced.map(|(proven, event)| Ok(ListedEvent::new(proven.announcement, press.attestation(event)?)));
        list.collect::<Result<Vec<_>, AnnounceError>>()
    };
    json(&asked, Lasts::Briefly, &behind(&counter.press, list).await?)
}
