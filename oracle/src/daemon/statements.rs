//! Statements an operator has signed and keeps in the data folder, and how a route answers with them.

use super::http::Counter;
use crate::wire::ErrorBody;
use anyhow::Context;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::Json;
use bitcoin::key::XOnlyPublicKey;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file of statements read, bytes.
const LARGEST: u64 = 64 * 1024;

/// The statements in a file, oldest first, not checked yet; empty when there is no file.
///
/// # Errors
/// When the file cannot be read, or is not a list of such statements.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => {
            opened?.take(LARGEST).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?
        }
    };
    serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
}

/// Answers with the statements of the data folder; 404 with this code and sentence while there is none.
pub async fn serve<T: Serialize + Send + 'static>(
    counter: Counter,
    read: fn(&Path, &XOnlyPublicKey) -> anyhow::Result<Vec<T>>,
    (code, none): (&str, &str),
) -> Response {
    let key = counter.info.pubkey;
    let said = tokio::task::spawn_blocking(move || read(&counter.data, &key)).await;
    let refuse = |status, code: &str, message: &str| {
        (status, Json(ErrorBody { code: code.into(), message: message.into() })).into_response()
    };
    match said {
        Ok(Ok(said)) if said.is_empty() => refuse(StatusCode::NOT_FOUND, code, none),
        Ok(Ok(said)) => Json(said).into_response(),
        Ok(Err(error)) => {
            tracing::error!("{error:#}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the operator's statements cannot be read")
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the oracle could not answer"),
    }
}
