//! What a stranger is told when there is no answer: a status, a short code, one sentence.

use super::super::press::Press;
use crate::announce::AnnounceError;
use crate::event::Event;
use crate::units::Day;
use crate::wire::ErrorBody;
use axum::http::{header, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::Json;
use std::sync::Arc;

/// Status, code for programs, sentence for people.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub &'static str, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(ErrorBody { code: self.1.to_string(), message: self.2 })).into_response();
        // What is not true now may be true in a second: no cache may hold it back.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<AnnounceError> for Refusal {
    fn from(error: AnnounceError) -> Refusal {
        if matches!(error, AnnounceError::Signer { .. }) {
            tracing::error!("{error}");
            let message = "the oracle's signer does not sign this now; ask again later".to_string();
            return Refusal(StatusCode::SERVICE_UNAVAILABLE, "no_signature", message);
        }
        Refusal(StatusCode::NOT_FOUND, "unknown_event", error.to_string())
    }
}

/// Signing may wait for the signer's process, so it is not done where requests are read.
pub async fn signing<T: Send + 'static>(
    press: &Arc<Press>,
    work: impl FnOnce(&Press) -> Result<T, AnnounceError> + Send + 'static,
) -> Result<T, Refusal> {
    let press = Arc::clone(press);
    let done = tokio::task::spawn_blocking(move || work(&press)).await;
    Ok(done.map_err(|error| internal(&error.into()))??)
}

/// Signing that can wait, behind everything that cannot: in the lane of pages.
pub async fn behind<T: Send + 'static>(
    press: &Arc<Press>,
    work: impl FnOnce(&Press) -> Result<T, AnnounceError> + Send + 'static,
) -> Result<T, Refusal> {
    Ok(press.behind(work).await.map_err(|error| internal(&error))??)
}

/// What cannot be the asker's fault, unless it asked about the end of time.
pub fn internal(error: &anyhow::Error) -> Refusal {
    if let Some(known) = error.downcast_ref::<AnnounceError>() {
        return known.clone().into();
    }
    tracing::error!("{error:#}");
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the oracle could not make this page".to_string())
}

/// The event with this id.
pub fn event(id: &str) -> Result<Event, Refusal> {
    Event::parse(id).ok_or_else(|| {
        let message = "no event has this id; ids look like btcusd1584007200 and btcusd-touch-7490-20200312-h09";
        Refusal(StatusCode::NOT_FOUND, "unknown_event", message.to_string())
    })
}

/// The answer to somebody who asks for an attestation that does not exist.
pub fn not_attested(event: Event) -> Refusal {
    let message = format!("event {event} has not been attested: it is not true, or not yet");
    Refusal(StatusCode::NOT_FOUND, "not_attested", message)
}

/// The day of a path.
pub fn parse_day(text: &str) -> Result<Day, Refusal> {
    // Times end with 32 bits: of a later day nothing can be said, and nothing signed.
    Day::from_yyyymmdd(text).filter(|day| day.end().is_some()).ok_or_else(|| {
        let message = "the day must be written as YYYYMMDD, for example 20200312, and lie before 21060207".to_string();
        Refusal(StatusCode::BAD_REQUEST, "bad_day", message)
    })
}

/// A parameter that says nothing we know.
pub fn bad_parameter(message: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, "bad_parameter", message.to_string())
}
