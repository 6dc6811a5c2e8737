//! An error on its way out: a status and `{code, message}`.

use super::views::ErrorView;
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
    pub(super) fn new(code: &str, message: impl Into<String>) -> ApiError {
        ErrorView { code: code.to_owned(), message: message.into() }.into()
    }
}

impl From<ErrorView> for ApiError {
    fn from(view: ErrorView) -> ApiError {
        let status = match view.code.as_str() {
            "bad_request" => StatusCode::BAD_REQUEST,
            "unauthorized" => StatusCode::UNAUTHORIZED,
            "not_found" => StatusCode::NOT_FOUND,
            "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
            "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "timed_out" => StatusCode::GATEWAY_TIMEOUT,
            "internal" => StatusCode::INTERNAL_SERVER_ERROR,
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
