//! Our own small routes: who the oracle is, the price, the lows.

use super::super::{rotation, same_operator};
use super::paper::{json, Lasts};
use super::refusal::{parse_day, signing, Refusal};
use super::state::{status_of, STALE};
use super::Counter;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::Router;

/// An answer, or what is wrong with the question.
type Answer = Result<Response, Refusal>;

pub fn routes() -> Router<Counter> {
    Router::new()
        .route("/v1/info", get(info))
        .route("/v1/status", get(status))
        .route("/v1/price", get(price))
        .route("/v1/lows/{day}", get(lows))
        .route("/v1/rotation", get(rotation::serve))
        .route("/v1/same-operator", get(same_operator::serve))
}

async fn info(State(counter): State<Counter>, asked: HeaderMap) -> Answer {
    json(&asked, Lasts::Minute, &counter.info)
}

async fn status(State(counter): State<Counter>, asked: HeaderMap) -> Answer {
    let away = counter.press.keys().away();
    json(&asked, Lasts::Now, &status_of(&counter.press.window().look(), away))
}

async fn price(State(counter): State<Counter>, asked: HeaderMap) -> Answer {
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
    let price = match counter.press.price_before(unix, cents) {
        Some(signed) => signed,
        None => signing(&counter.press, move |press| press.price(unix, cents)).await?,
    };
    json(&asked, Lasts::Now, &price)
}

/// A closed day's lows never change any more; only `frozen_until`, and so the signature, would differ.
async fn lows(State(counter): State<Counter>, Path(day): Path<String>, asked: HeaderMap) -> Answer {
    let day = parse_day(&day)?;
    let lows = match counter.press.lows_signed(day) {
        Some(signed) => signed,
        None => signing(&counter.press, move |press| press.lows(day)).await?,
    };
    json(&asked, Lasts::once(lows.is_closed()), &lows)
}
