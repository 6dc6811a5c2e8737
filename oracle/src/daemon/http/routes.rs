//! All routes of the public listener, and what is wrapped around them.

use super::super::log_routes;
use super::guard::{self, Gate, Guard};
use super::refusal::Refusal;
use super::{bundles, events, kormir, own, p2pderivatives, page, state, Counter};
use axum::http::StatusCode;
use axum::Router;
use std::sync::Arc;
use std::time::Duration;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

/// Longest body of a request that is looked at, in bytes: nothing here needs one.
const BODY: usize = 1_024;
/// How long an answer may take to begin. Real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// All routes, guarded.
pub fn router(counter: Counter, guard: Arc<Guard>) -> Router {
    let gate = Gate { guard, press: Arc::clone(&counter.press) };
    Router::new()
        .merge(kormir::routes())
        .merge(p2pderivatives::routes())
        .merge(own::routes())
        .merge(bundles::routes())
        .merge(events::routes())
        .merge(state::routes())
        .merge(page::routes())
        .merge(log_routes::routes())
        .fallback(nowhere)
        .method_not_allowed_fallback(read_only)
        .with_state(counter)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, PATIENCE))
        .layer(RequestBodyLimitLayer::new(BODY))
        .layer(axum::middleware::from_fn_with_state(gate, guard::watch))
}

async fn nowhere() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "no_such_route", "there is nothing at this path; see /v1/info".to_string())
}

async fn read_only() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, "read_only", "this listener only answers GET".to_string())
}
