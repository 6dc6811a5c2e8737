//! The daemon's side of an operator's statements that two keys are its own: in its data folder, and their route.

use super::{http::Counter, statements, store};
use crate::operator::{SameOperator, LINKS_MOST};
use anyhow::{bail, Context};
use axum::extract::State;
use axum::response::Response;
use bitcoin::key::XOnlyPublicKey;
use std::path::{Path, PathBuf};

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
    let said: Vec<SameOperator> = statements::read(&path)?;
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
    statements::serve(counter, read, ("no_statement", "this oracle's operator names no other key of its own")).await
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
