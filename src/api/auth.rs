//! Only who can read the token's file commands the node; and the node proves first, to who asks, that it can.

use super::connections::Work;
use super::error::ApiError;
use super::extract::Asked;
use super::views::{ErrorCode, ProvedView};
use crate::node::data::Token;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::Json;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;

/// The one route that asks for no token: `GET /v1/proof?nonce=N` is answered with what only who knows the token can say. A
/// killed node leaves its address behind, and any user of the machine may listen there then: whoever bears the token asks for
/// this before it shows it.
pub const PROOF: &str = "/v1/proof";

/// What the door knows.
pub(super) struct Door {
    pub token: Token,
    /// Where the node listens.
    pub address: SocketAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Challenge {
    nonce: String,
}

/// Lets a request through that bears the token; before anything else is looked at.
pub(super) async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Result<Response, ApiError> {
    if request.uri().path() == PROOF && request.method() == Method::GET {
        return prove(&door, request).await;
    }
    let said = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let bearer = said.and_then(|said| {
        let (scheme, rest) = said.split_first_chunk::<7>()?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
    });
    match bearer {
        Some(text) if door.token.is(text) => {
            if let Some(work) = request.extensions().get::<Arc<Work>>() {
                work.bears_token();
            }
            Ok(next.run(request).await)
        }
        Some(_) => Err(unauthorized("the token is not this node's")),
        None => Err(unauthorized("there is no token")),
    }
}

async fn prove(door: &Door, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let Asked(Challenge { nonce }) = Asked::from_request_parts(&mut parts, &()).await?;
    if nonce.len() != 64 || !nonce.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(ApiError::new(ErrorCode::BadRequest, "nonce: write 64 hex digits, new ones each time"));
    }
    Ok(Json(ProvedView { proof: door.token.proof(door.address, &nonce) }).into_response())
}

fn unauthorized(what: &str) -> ApiError {
    let message =
        format!("{what}: send `Authorization: Bearer` and the content of the file `token` of the data folder");
    ApiError::new(ErrorCode::Unauthorized, message)
}
