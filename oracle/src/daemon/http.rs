//! The public listener: reads only. Nothing here can set a price, an outcome or an order of any kind.

use super::log_routes::{self, Published};
use super::press::Press;
use crate::announce::AnnounceError;
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::event::Event;
use crate::ladder::{BAND, HIGHEST, LOWEST};
use crate::units::{Day, Time, DAY, HOUR};
use crate::wire::{ErrorBody, Info, ListedEvent, Pubkey, SignedLows, SignedPrice, Status};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use serde::Deserialize;
use std::sync::Arc;

/// Seconds after which a price is no price any more.
const STALE: u32 = 60;

/// What the routes need.
#[derive(Clone)]
pub struct Counter {
    /// Makes what is asked for.
    pub press: Arc<Press>,
    /// Tells how old the price is.
    pub clock: Clock,
    /// Who the oracle is.
    pub info: Info,
    /// Policy and tick log of a live feed.
    pub published: Option<Published>,
}

/// An answer, or what is wrong with the question.
type Answer<T> = Result<Json<T>, Refusal>;

struct Refusal(StatusCode, &'static str, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { code: self.1.to_string(), message: self.2 })).into_response()
    }
}

impl From<AnnounceError> for Refusal {
    fn from(error: AnnounceError) -> Refusal {
        Refusal(StatusCode::NOT_FOUND, "unknown_event", error.to_string())
    }
}

fn internal(error: &anyhow::Error) -> Refusal {
    if let Some(known) = error.downcast_ref::<AnnounceError>() {
        return known.clone().into();
    }
    tracing::error!("{error:#}");
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the oracle could not make this page".to_string())
}

/// All routes.
pub fn router(counter: Counter) -> Router {
    Router::new()
        .route("/pubkey", get(pubkey))
        .route("/announcement/{id}", get(announcement))
        .route("/attestation/{id}", get(attestation))
        .route("/list-events", get(list_events))
        .route("/v1/info", get(info))
        .route("/v1/status", get(status))
        .route("/v1/price", get(price))
        .route("/v1/lows/{day}", get(lows))
        .route("/v1/fixings/{day}", get(fixings))
        .route("/v1/bands/{band}/{month}", get(month))
        .route("/v1/bands/{band}/{day}/{hour}", get(hour))
        .merge(log_routes::routes())
        .fallback(nowhere)
        .method_not_allowed_fallback(read_only)
        .with_state(counter)
}

async fn nowhere() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path; see /v1/info".to_string())
}

async fn read_only() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, "read_only", "this listener only answers GET".to_string())
}

async fn pubkey(State(counter): State<Counter>) -> Json<Pubkey> {
    Json(Pubkey { pubkey: counter.info.pubkey })
}

async fn info(State(counter): State<Counter>) -> Json<Info> {
    Json(counter.info)
}

async fn status(State(counter): State<Counter>) -> Json<Status> {
    let shown = counter.press.window().look();
    let (lows, fixings) = shown.ledger.counts();
    Json(Status {
        clock: shown.clock,
        frozen_until: shown.ledger.frozen_until(),
        spot_cents: shown.spot,
        lows,
        fixings,
        alarm: shown.alarm.clone(),
    })
}

async fn announcement(State(counter): State<Counter>, Path(id): Path<String>) -> Answer<OracleAnnouncement> {
    Ok(Json(counter.press.announcement(event(&id)?)?.announcement))
}

async fn attestation(State(counter): State<Counter>, Path(id): Path<String>) -> Answer<OracleAttestation> {
    let event = event(&id)?;
    let said = counter.press.attestation(event)?;
    said.map(Json).ok_or_else(|| {
        let message = format!("event {event} has not been attested: it is not true, or not yet");
        Refusal(StatusCode::NOT_FOUND, "not_attested", message)
    })
}

/// The fixings of yesterday, today and tomorrow. Touches are too many to list: they are in the bands.
async fn list_events(State(counter): State<Counter>) -> Answer<Vec<ListedEvent>> {
    let press = Arc::clone(&counter.press);
    let list = move || -> Result<Vec<ListedEvent>, AnnounceError> {
        let first = press.window().look().clock.hour_floor().0.saturating_sub(DAY);
        let ahead = (0..=2 * DAY / HOUR).filter_map(|hour| Time(first).plus(hour * HOUR));
        ahead
            .map(|at| Event::Fixing { at })
            .map(|event| Ok(ListedEvent::new(press.announcement(event)?.announcement, press.attestation(event)?)))
            .collect()
    };
    let done = tokio::task::spawn_blocking(list).await.map_err(|error| internal(&error.into()))?;
    Ok(Json(done?))
}

async fn price(State(counter): State<Counter>) -> Answer<SignedPrice> {
    let none = |message: String| Refusal(StatusCode::SERVICE_UNAVAILABLE, "no_price", message);
    let now = counter.clock.now().map_err(|error| none(format!("the oracle does not know the time: {error:#}")))?;
    let (unix, spot) = {
        let shown = counter.press.window().look();
        (shown.clock, shown.spot)
    };
    let cents = spot.ok_or_else(|| none(format!("the {} feed has no price at {now}", counter.info.feed)))?;
    let age = now.since(unix);
    if age > STALE {
        return Err(none(format!("the last price is {age} s old; it counts for {STALE} s")));
    }
    Ok(Json(SignedPrice::sign(counter.press.keys(), unix, cents)))
}

async fn lows(State(counter): State<Counter>, Path(day): Path<String>) -> Answer<SignedLows> {
    let day = parse_day(&day)?;
    let (frozen_until, lows) = {
        let shown = counter.press.window().look();
        (shown.ledger.frozen_until(), shown.ledger.lows(day))
    };
    Ok(Json(SignedLows::sign(counter.press.keys(), day, frozen_until, lows)))
}

/// What of a bundle is wanted.
#[derive(Deserialize)]
struct Wanted {
    only: Option<String>,
}

async fn fixings(State(counter): State<Counter>, Path(day): Path<String>, query: Query<Wanted>) -> Response {
    let bundle = parse_day(&day).map(|day| Bundle::Fixings { day });
    page(counter, bundle, query).await
}

async fn month(
    State(counter): State<Counter>,
    Path((band, month)): Path<(String, String)>,
    query: Query<Wanted>,
) -> Response {
    let bundle = Bundle::parse_month(&band, &month).ok_or_else(|| no_bundle(&format!("{band}/{month}")));
    page(counter, bundle, query).await
}

async fn hour(
    State(counter): State<Counter>,
    Path((band, day, hour)): Path<(String, String, String)>,
    query: Query<Wanted>,
) -> Response {
    let bundle = Bundle::parse_hour(&band, &day, &hour).ok_or_else(|| no_bundle(&format!("{band}/{day}/{hour}")));
    page(counter, bundle, query).await
}

async fn page(counter: Counter, bundle: Result<Bundle, Refusal>, Query(wanted): Query<Wanted>) -> Response {
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(refusal) => return refusal.into_response(),
    };
    let announcements = match wanted.only.as_deref() {
        None => true,
        Some("attestations") => false,
        Some(_) => {
            let message = "the parameter only= may be left out, or be \"attestations\"".to_string();
            return Refusal(StatusCode::BAD_REQUEST, "bad_parameter", message).into_response();
        }
    };
    let page = counter.press.page(bundle, announcements).await;
    page.map(Json).map_err(|error| internal(&error)).into_response()
}

fn event(id: &str) -> Result<Event, Refusal> {
    Event::parse(id).ok_or_else(|| {
        let message = "no event has this id; ids look like btcusd1584007200 and btcusd-touch-7490-20200312-h09";
        Refusal(StatusCode::NOT_FOUND, "unknown_event", message.to_string())
    })
}

fn parse_day(text: &str) -> Result<Day, Refusal> {
    Day::from_yyyymmdd(text).ok_or_else(|| {
        let message = "the day must be written as YYYYMMDD, for example 20200312".to_string();
        Refusal(StatusCode::BAD_REQUEST, "bad_day", message)
    })
}

fn no_bundle(asked: &str) -> Refusal {
    let asked: String = asked.chars().take(40).collect();
    let message = format!("there is no bundle {asked:?}; they look like 21/202003 and 21/20200312/h09");
    Refusal(StatusCode::NOT_FOUND, "unknown_bundle", message)
}

/// Who the oracle is.
pub fn info_of(press: &Press, network: &str, feed: &str) -> Info {
    Info {
        pubkey: press.keys().public_key(),
        network: network.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        feed: feed.to_string(),
        lowest_level: LOWEST,
        highest_level: HIGHEST,
        band: BAND,
    }
}
