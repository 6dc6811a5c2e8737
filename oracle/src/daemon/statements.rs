//! Statements an operator has signed and keeps in the data folder, and how a route answers with them.
//!
//! Nothing in these files stops an oracle: open loans wait for its attestations. What cannot be believed is not served,
//! and told where its operator looks.

use super::http::Counter;
use super::{rotation, same_operator};
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

/// What a file of statements holds.
#[derive(Debug)]
pub struct Held<T> {
    /// What is served, oldest first.
    pub served: Vec<T>,
    /// What is wrong with the rest, or with all of it, in sentences.
    pub wrong: Vec<String>,
}

impl<T> Held<T> {
    /// Says in every sentence of what is wrong which file it is about.
    pub fn name(&mut self, path: &Path) {
        for wrong in &mut self.wrong {
            *wrong = format!("{}: {wrong}", path.display());
        }
    }
}

/// What is wrong with the statements in a data folder, in sentences; empty when nothing is.
pub fn wrong(data: &Path, key: &XOnlyPublicKey) -> Vec<String> {
    let unread = |error: anyhow::Error| vec![format!("{error:#}; nothing of it is served")];
    let handed = rotation::held(data, key).map_or_else(unread, |held| held.wrong);
    let stated = same_operator::held(data, key).map_or_else(unread, |held| held.wrong);
    handed.into_iter().chain(stated).collect()
}

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

/// Answers with the statements of the data folder that can be believed; 404 with this code and sentence while there is
/// none.
pub async fn serve<T: Serialize + Send + 'static>(
    counter: Counter,
    held: fn(&Path, &XOnlyPublicKey) -> anyhow::Result<Held<T>>,
    (code, none): (&str, &str),
) -> Response {
    let key = counter.info.pubkey;
    let said = tokio::task::spawn_blocking(move || held(&counter.data, &key)).await;
    let refuse = |status, code: &str, message: &str| {
        (status, Json(ErrorBody { code: code.into(), message: message.into() })).into_response()
    };
    match said {
        Ok(Ok(held)) if held.served.is_empty() => refuse(StatusCode::NOT_FOUND, code, none),
        Ok(Ok(held)) => Json(held.served).into_response(),
        Ok(Err(error)) => {
            tracing::error!("{error:#}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the operator's statements cannot be read")
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the oracle could not answer"),
    }
}
