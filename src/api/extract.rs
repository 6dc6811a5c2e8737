//! What a request says, or a clear word about what is wrong with it.

use super::error::ApiError;
use super::serve::BODY_MAX;
use super::views::ErrorCode;
use super::words::in_words;
use crate::loan::terms::LoanId;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::StatusCode;
use axum::Json;
use serde::de::DeserializeOwned;

/// A JSON body. Its content type is not asked for: there is no other kind.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = bytes_of(request, state).await?;
        if bytes.is_empty() {
            return Err(ApiError::new(ErrorCode::BadRequest, "the body is empty; send the request as JSON"));
        }
        read(&bytes).map(Body)
    }
}

/// The body, where there may be none: that says what an empty one would.
pub(super) struct OrNothing<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OrNothing<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = bytes_of(request, state).await?;
        match bytes.is_empty() {
            true => Ok(OrNothing(T::default())),
            false => read(&bytes).map(OrNothing),
        }
    }
}

async fn bytes_of<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
            ErrorCode::TooLarge,
            format!("the body is longer than this route takes, {BODY_MAX} bytes for most; send less"),
        ),
        _ => ApiError::new(ErrorCode::BadRequest, format!("the body could not be read: {error}")),
    })
}

fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    // axum's own reader names the field that is wrong.
    Json::<T>::from_bytes(bytes)
        .map(|Json(body)| body)
        .map_err(|error| ApiError::new(ErrorCode::BadRequest, in_words(&error.body_text())))
}

/// The loan in the path.
pub(super) struct Id(pub LoanId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let bad = |error: String| ApiError::new(ErrorCode::BadRequest, error);
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|error| bad(error.to_string()))?;
        text.parse().map(Id).map_err(|error: crate::loan::terms::NotALoanId| bad(error.to_string()))
    }
}

/// The key in the path.
pub(super) struct Key<T>(pub T);

impl<T: std::str::FromStr, S: Send + Sync> FromRequestParts<S> for Key<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let bad = || ApiError::new(ErrorCode::BadRequest, "the path names no key: write it as lower-case hex digits");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| bad())?;
        text.parse().map(Key).map_err(|_| bad())
    }
}

/// What follows the `?`.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        asked
            .map(|Query(asked)| Asked(asked))
            .map_err(|error| ApiError::new(ErrorCode::BadRequest, in_words(&error.body_text())))
    }
}
