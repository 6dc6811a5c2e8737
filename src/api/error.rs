//! An error on its way out: a status and `{code, message}`.

use super::views::{ErrorCode, ErrorView};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::Json;

/// What a route answers when it cannot do what was asked.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    view: ErrorView,
}

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ErrorView { code: code.word().to_owned(), message: message.into() }.into()
    }
}

impl From<ErrorView> for ApiError {
    fn from(view: ErrorView) -> ApiError {
        let status = match ErrorCode::of(&view.code) {
            Some(ErrorCode::BadRequest) => StatusCode::BAD_REQUEST,
            Some(ErrorCode::Unauthorized) => StatusCode::UNAUTHORIZED,
            Some(ErrorCode::NotFound) => StatusCode::NOT_FOUND,
            Some(ErrorCode::MethodNotAllowed) => StatusCode::METHOD_NOT_ALLOWED,
            Some(ErrorCode::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Some(ErrorCode::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Some(ErrorCode::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            Some(ErrorCode::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
            // "refused", and whatever finer word the node has for a refusal.
            _ => StatusCode::CONFLICT,
        };
        ApiError { status, view }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.view)).into_response()
    }
}
