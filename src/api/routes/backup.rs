//! `POST /v1/backup`: everything needed to go on elsewhere, encrypted.

use super::prelude::*;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Deserialize;

/// What the file is encrypted with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct BackupRequest {
    passphrase: String,
}

pub(super) async fn backup(
    State(shared): Node,
    Body(request): Body<BackupRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let sealed = shared.node.backup(request.passphrase).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], sealed))
}
