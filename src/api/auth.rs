//! Only who can read the token's file commands the node.

use super::error::ApiError;
use super::views::ErrorCode;
use crate::node::data::Token;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// Lets a request through that bears the token; before anything else is looked at.
pub(super) async fn check(State(token): State<Arc<Token>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let said = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let bearer = said.and_then(|said| {
        let (scheme, rest) = said.split_first_chunk::<7>()?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
    });
    match bearer {
        Some(text) if token.is(text) => Ok(next.run(request).await),
        Some(_) => Err(unauthorized("the token is not this node's")),
        None => Err(unauthorized("there is no token")),
    }
}

fn unauthorized(what: &str) -> ApiError {
    let message =
        format!("{what}: send `Authorization: Bearer` and the content of the file `token` of the data folder");
    ApiError::new(ErrorCode::Unauthorized, message)
}
