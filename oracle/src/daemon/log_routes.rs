//! Routes of the policy and the tick log: what an auditor downloads. Only the live feed has them.

use super::http::{behind, signing, Counter, Refusal};
use super::log::LogReader;
use super::press::Press;
use crate::announce::AnnounceError;
use crate::price::policy::{Policies, Policy, PolicyPage, SignedPolicy};
use crate::ticklog::entry::Head;
use crate::units::Day;
use crate::wire::ErrorBody;
use axum::extract::{Path, Query, State};
use axum::http::{header, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

/// The size of a day's log so far, in bytes.
const SIZE: HeaderName = HeaderName::from_static("x-log-size");

/// What a live oracle publishes beside its attestations.
#[derive(Clone, Debug)]
pub struct Published {
    /// Every policy version.
    pub policies: Policies,
    /// The tick log.
    pub log: LogReader,
}

/// `/v1/policy`, `/v1/log`, `/v1/log/head` and `/v1/log/{YYYYMMDD}?from=BYTE`.
pub fn routes() -> Router<Counter> {
    Router::new()
        .route("/v1/policy", get(policy))
        .route("/v1/log", get(days))
        .route("/v1/log/head", get(head))
        .route("/v1/log/{day}", get(day))
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(ErrorBody { code: code.to_string(), message: message.to_string() })).into_response()
}

fn published(counter: &Counter) -> Result<Published, Box<Response>> {
    counter.published.clone().ok_or_else(|| {
        let message = "this oracle's feed is a test feed (replay or manual): it has no price policy and no tick log";
        Box::new(refuse(StatusCode::NOT_FOUND, "no_tick_log", message))
    })
}

fn page_of(press: &Press, policies: &Policies) -> Result<PolicyPage, AnnounceError> {
    let sign = |policy: &Policy| {
        let signature = press.keys().state(&policy.statement())?;
        Ok(SignedPolicy { policy: policy.clone(), signature })
    };
    Ok(PolicyPage { policies: policies.all().iter().map(sign).collect::<Result<_, AnnounceError>>()? })
}

async fn policy(State(counter): State<Counter>) -> Response {
    match published(&counter) {
        Ok(published) => {
            let signed = behind(&counter.press, move |press| page_of(press, &published.policies)).await;
            signed.map(Json).map_err(Refusal::into_response).into_response()
        }
        Err(refusal) => *refusal,
    }
}

/// The days that have a log, `YYYYMMDD`, oldest first.
async fn days(State(counter): State<Counter>) -> Response {
    let published = match published(&counter) {
        Ok(published) => published,
        Err(refusal) => return *refusal,
    };
    match tokio::task::spawn_blocking(move || published.log.days()).await {
        Ok(Ok(days)) => Json(days.iter().map(Day::to_string).collect::<Vec<_>>()).into_response(),
        _ => unreadable(),
    }
}

fn unreadable() -> Response {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the tick log cannot be read")
}

/// The last durable tick, signed for now; not before the hours that are over are signed for in the log, all but the
/// newest.
async fn head(State(counter): State<Counter>) -> Response {
    let published = match published(&counter) {
        Ok(published) => published,
        Err(refusal) => return *refusal,
    };
    match published.log.end() {
        Some(_) if published.log.waiting() > 1 => {
            let message = "hours of the tick log wait for the oracle's signer; ask again later";
            refuse(StatusCode::SERVICE_UNAVAILABLE, "no_signature", message)
        }
        Some(end) => {
            let sign = move |press: &Press| -> Result<Head, AnnounceError> {
                Ok(Head::of(end, press.keys().state(&end.statement())?))
            };
            signing(&counter.press, sign).await.map(Json).map_err(Refusal::into_response).into_response()
        }
        None => refuse(StatusCode::NOT_FOUND, "empty_log", "the tick log has no tick yet"),
    }
}

/// Where to begin.
#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

/// Whole lines from byte `from` on, a mebibyte at most; the header `x-log-size` says how many bytes there are.
async fn day(State(counter): State<Counter>, Path(day): Path<String>, Query(From { from }): Query<From>) -> Response {
    let published = match published(&counter) {
        Ok(published) => published,
        Err(refusal) => return *refusal,
    };
    let Some(day) = Day::from_yyyymmdd(&day) else {
        let message = "the day must be written as YYYYMMDD, for example 20200312";
        return refuse(StatusCode::BAD_REQUEST, "bad_day", message);
    };
    match tokio::task::spawn_blocking(move || published.log.page(day, from)).await {
        Ok(Ok(Some((lines, size)))) => {
            let headers = [(header::CONTENT_TYPE, "application/x-ndjson".to_string()), (SIZE, size.to_string())];
            (headers, lines).into_response()
        }
        Ok(Ok(None)) => refuse(StatusCode::NOT_FOUND, "no_log", "this day has no tick log"),
        Ok(Err(error)) if from > 0 => {
            tracing::debug!("{error:#}");
            refuse(StatusCode::BAD_REQUEST, "bad_parameter", "the parameter from= must be the first byte of a line")
        }
        _ => unreadable(),
    }
}
