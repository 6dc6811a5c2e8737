//! The daemon's side of an operator's statements that two keys are its own: in its data folder, and their route.

use super::{http::Counter, store};
use crate::operator::{SameOperator, LINKS_MOST};
use crate::wire::ErrorBody;
use anyhow::{bail, Context};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::Json;
use bitcoin::key::XOnlyPublicKey;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest file of statements read.
const LARGEST: u64 = 64 * 1024;

/// Where they lie.
pub fn path(data: &Path) -> PathBuf {
    data.join("same-operator.json")
}

/// The statements in a data folder, each checked; empty when there is no file.
///
/// # Errors
/// When the file is not one, or says something that is not true, or nothing about `key`.
pub fn read(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Vec<SameOperator>> {
    let path = path(data);
    let mut text = String::new();
    match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => {
            opened?.take(LARGEST).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?
        }
    };
    let said: Vec<SameOperator> =
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))?;
    said.iter().try_for_each(SameOperator::verify).with_context(|| format!("believe {}", path.display()))?;
    if !said.is_empty() && !said.iter().any(|one| one.keys.contains(key)) {
        bail!("{} is about other keys than {key}", path.display());
    }
    Ok(said)
}

/// Adds a statement to those of the data folder of `key`. Adding it again changes nothing.
///
/// # Errors
/// When the file cannot be read or written, or holds as many as anybody follows.
pub fn add(data: &Path, key: &XOnlyPublicKey, statement: &SameOperator) -> anyhow::Result<()> {
    let mut said = read(data, key)?;
    if said.contains(statement) {
        return Ok(());
    }
    if said.len() >= LINKS_MOST {
        bail!("{} holds {LINKS_MOST} statements, and nobody follows more", path(data).display());
    }
    said.push(*statement);
    let text = format!("{}\n", serde_json::to_string_pretty(&said)?);
    store::replace(&path(data), &text).with_context(|| format!("write {}", path(data).display()))
}

/// `GET /v1/same-operator`: the statements, oldest first; 404 while there is none.
pub async fn serve(State(counter): State<Counter>) -> Response {
    let key = counter.info.pubkey;
    let said = tokio::task::spawn_blocking(move || read(&counter.data, &key)).await;
    let refuse = |status, code: &str, message: &str| {
        (status, Json(ErrorBody { code: code.into(), message: message.into() })).into_response()
    };
    match said {
        Ok(Ok(said)) if said.is_empty() => {
            refuse(StatusCode::NOT_FOUND, "no_statement", "this oracle's operator names no other key of its own")
        }
        Ok(Ok(said)) => Json(said).into_response(),
        Ok(Err(error)) => {
            tracing::error!("{error:#}");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the operator's statements cannot be read")
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the oracle could not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use secp256k1_zkp::SecretKey;

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    #[test]
    fn a_data_folder_serves_only_statements_that_both_keys_signed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let own = keys(1).public_key();
        assert!(read(data, &own).unwrap().is_empty());
        let said = SameOperator::sign(&keys(1), &keys(2)).unwrap();
        add(data, &own, &said).unwrap();
        add(data, &own, &said).unwrap();
        let more = SameOperator::sign(&keys(3), &keys(1)).unwrap();
        add(data, &own, &more).unwrap();
        assert_eq!(read(data, &own).unwrap(), [said, more]);
        assert!(read(data, &keys(9).public_key()).unwrap_err().to_string().contains("about other keys"));
        let mut forged = said;
        forged.signatures.swap(0, 1);
        std::fs::write(path(data), serde_json::to_string(&[forged]).unwrap()).unwrap();
        assert!(format!("{:#}", read(data, &own).unwrap_err()).contains("did not sign"));
    }
}
