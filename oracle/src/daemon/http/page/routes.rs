//! The page and its style.

use super::super::super::rotation;
use super::super::paper::{paper, Lasts};
use super::super::refusal::Refusal;
use super::super::Counter;
use super::facts::Facts;
use super::view;
use axum::extract::State;
use axum::http::{header, HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::get;
use axum::Router;

/// Nothing may be loaded but our own style, nothing may be sent, nobody may frame the page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const STYLE: &str = include_str!("style.css");

pub fn routes() -> Router<Counter> {
    Router::new().route("/", get(page)).route("/style.css", get(style))
}

async fn page(State(counter): State<Counter>, asked: HeaderMap) -> Result<Response, Refusal> {
    let now = counter.clock.now().ok();
    let (data, key) = (counter.data.clone(), counter.info.pubkey);
    let said = tokio::task::spawn_blocking(move || rotation::held(&data, &key)).await;
    // What cannot be read is told to the operator; the page goes on without.
    let hand_overs = said.ok().and_then(Result::ok).map(|held| held.served).unwrap_or_default();
    let mut facts = Facts { hand_overs, ..Facts::of(&counter.press.window().look(), counter.info, now) };
    facts.readiness = facts.readiness.with(counter.press.keys().away());
    let html = view::page(&facts).into_string();
    let mut response = paper(&asked, Lasts::Briefly, "text/html; charset=utf-8", html.into_bytes());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

async fn style(asked: HeaderMap) -> Response {
    paper(&asked, Lasts::Minute, "text/css; charset=utf-8", STYLE)
}
