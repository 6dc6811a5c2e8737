//! The webhook: a payment system that shares a secret with the operator makes and attests payment events.
//!
//! A listener of its own, off unless configured, never the public one. `POST /payments` with an [`Order`] as JSON and
//! two headers: `hypothec-time`, unix seconds, and `hypothec-signature`, the hex of
//! `HMAC-SHA256(secret, time || "." || body)`. The time must be within five minutes of this machine's, and each message
//! is obeyed once. Lists nothing.

use super::payments::{Heard, Order, PaymentError, Payments, Told, WINDOW};
use crate::clock::Clock;
use crate::foreign::clean;
use crate::passphrase::check_private;
use crate::units::Time;
use crate::wire::ErrorBody;
use anyhow::{bail, Context};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bitcoin::hashes::{sha256, Hash, HashEngine, Hmac, HmacEngine};
use bitcoin::hex::FromHex;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The longest body.
const LONGEST: usize = 4_096;
/// The least bytes of a secret.
const SHORTEST_SECRET: usize = 32;

/// What the route needs.
#[derive(Clone)]
pub struct Ear {
    secret: Arc<Vec<u8>>,
    payments: Payments,
    clock: Clock,
}

impl Ear {
    /// An ear for the secret in a file.
    ///
    /// # Errors
    /// When the file cannot be read, others can read it, or the secret is short.
    pub fn new(secret_file: &Path, payments: Payments, clock: Clock) -> anyhow::Result<Ear> {
        let shown = secret_file.display();
        check_private(secret_file).with_context(|| format!("webhook secret {shown}"))?;
        let mut text = Vec::new();
        std::fs::File::open(secret_file)?.take(4_096).read_to_end(&mut text)?;
        let secret = text.trim_ascii().to_vec();
        if secret.len() < SHORTEST_SECRET {
            bail!("the webhook secret in {shown} has {} bytes; at least {SHORTEST_SECRET} are right", secret.len());
        }
        Ok(Ear { secret: Arc::new(secret), payments, clock })
    }
}

/// The one route.
pub fn router(ear: Ear) -> Router {
    Router::new()
        .route("/payments", post(hear))
        .fallback(nowhere)
        .method_not_allowed_fallback(only_post)
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(ear)
}

fn refuse(status: StatusCode, code: &str, message: String) -> Response {
    tracing::warn!("webhook: {message}");
    (status, Json(ErrorBody { code: code.into(), message })).into_response()
}

async fn nowhere() -> Response {
    refuse(StatusCode::NOT_FOUND, "no_such_route", "orders go to POST /payments".into())
}

async fn only_post() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "only_post", "orders go to POST /payments".into())
}

async fn hear(State(ear): State<Ear>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            return refuse(error.status(), "too_large", format!("an order has {LONGEST} bytes at most: {error}"))
        }
    };
    let now = match ear.clock.now() {
        Ok(now) => now,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, "no_time", format!("{error:#}")),
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (time, code) = (text("hypothec-time"), text("hypothec-signature"));
    let Some(heard) = authenticate(&ear.secret, &time, &code, &body) else {
        let message = "the signature is not that of this time and body by the shared secret".to_string();
        return refuse(StatusCode::UNAUTHORIZED, "bad_signature", message);
    };
    if now.since(heard.at) > WINDOW || heard.at.since(now) > WINDOW {
        let message = format!("the message is of {}, it is {now}; at most {WINDOW} s may lie between", heard.at);
        return refuse(StatusCode::UNAUTHORIZED, "bad_time", message);
    }
    let order = match serde_json::from_slice(&body) {
        Ok(Order::List {}) => return refuse(StatusCode::FORBIDDEN, "no_list", "payments are not listed here".into()),
        Ok(order) => order,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "bad_order",
                format!("this is no order: {}", clean(&error.to_string())),
            )
        }
    };
    let done = tokio::task::spawn_blocking(move || ear.payments.obey(&order, now, Some(heard))).await;
    match done {
        Ok(Ok(told)) => Json::<Told>(told).into_response(),
        Ok(Err(error)) => {
            let (status, code) = match &error {
                PaymentError::Day(_) => (StatusCode::BAD_REQUEST, "bad_day"),
                PaymentError::Reference(_) => (StatusCode::BAD_REQUEST, "bad_reference"),
                PaymentError::Taken { .. } => (StatusCode::CONFLICT, "reference_taken"),
                PaymentError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_event"),
                PaymentError::Contradiction { .. } => (StatusCode::CONFLICT, "contradiction"),
                PaymentError::Replayed => (StatusCode::CONFLICT, "replayed"),
                PaymentError::Log(_) => (StatusCode::SERVICE_UNAVAILABLE, "disk"),
            };
            refuse(status, code, error.to_string())
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the order was cut off".into()),
    }
}

/// The code of a message.
pub fn code(secret: &[u8], time: &str, body: &[u8]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(secret);
    engine.input(time.as_bytes());
    engine.input(b".");
    engine.input(body);
    Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
}

/// When the message was signed, if it was signed with the secret. Compares in constant time.
fn authenticate(secret: &[u8], time: &str, given: &str, body: &[u8]) -> Option<Heard> {
    let at = Time(time.parse().ok()?);
    let given = <[u8; 32]>::from_hex(given).ok()?;
    let right = code(secret, time, body);
    // The parsed time must be the signed text, or one message could be written in two ways.
    (bool::from(right.ct_eq(&given)) && at.0.to_string() == time).then_some(Heard { at, mac: right })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hex::DisplayHex;

    #[test]
    fn a_message_is_believed_only_as_it_was_signed() {
        let secret = [7; 32];
        let good = code(&secret, "1584007200", b"{}").to_lower_hex_string();
        assert!(authenticate(&secret, "1584007200", &good, b"{}").is_some());
        for (secret, time, given, body) in [
            ([8; 32], "1584007200", good.as_str(), b"{}"),
            (secret, "1584007201", &good, b"{}"),
            (secret, "1584007200", &good, b"[]"),
            (secret, "1584007200", &good[2..], b"{}"),
            (secret, "1584007200", "", b"{}"),
            (secret, "", &good, b"{}"),
        ] {
            assert!(authenticate(&secret, time, given, body).is_none());
        }
        let padded = code(&secret, "01584007200", b"{}").to_lower_hex_string();
        assert!(authenticate(&secret, "01584007200", &padded, b"{}").is_none());
    }
}
