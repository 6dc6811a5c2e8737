//! The daemon's side of an operator's statements that two keys are its own: in its data folder, and their route.

use super::statements::Held;
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

/// The statements in a data folder: those that both keys signed, and what is wrong with the others.
///
/// # Errors
/// When the file is not one of statements.
pub fn held(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Held<SameOperator>> {
    let path = path(data);
    let mut held = Held { served: Vec::new(), wrong: Vec::new() };
    for one in statements::read::<SameOperator>(&path)? {
        match one.verify() {
            Ok(()) => held.served.push(one),
            Err(error) => held.wrong.push(error.to_string()),
        }
    }
    if !held.served.is_empty() && !held.served.iter().any(|one| one.keys.contains(key)) {
        held.wrong.push(format!("it is about other keys than {key}, and none of it is served"));
        held.served.clear();
    }
    held.name(&path);
    Ok(held)
}

/// Adds a statement to those of the data folder of `key`. Adding it again changes nothing.
///
/// # Errors
/// When the file cannot be read or written, or holds as many as anybody follows.
pub fn add(data: &Path, key: &XOnlyPublicKey, statement: &SameOperator) -> anyhow::Result<()> {
    let Held { served: mut said, wrong } = held(data, key)?;
    if let Some(wrong) = wrong.first() {
        bail!("{wrong}");
    }
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
    statements::serve(counter, held, ("no_statement", "this oracle's operator names no other key of its own")).await
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
        let serves = || held(data, &own).unwrap().served;
        assert!(serves().is_empty());
        let said = SameOperator::sign(&keys(1), &keys(2)).unwrap();
        add(data, &own, &said).unwrap();
        add(data, &own, &said).unwrap();
        let more = SameOperator::sign(&keys(3), &keys(1)).unwrap();
        add(data, &own, &more).unwrap();
        // Three that join each other in a ring are as good as two.
        let ring = SameOperator::sign(&keys(2), &keys(3)).unwrap();
        add(data, &own, &ring).unwrap();
        assert_eq!(serves(), [said, more, ring]);
        let other = held(data, &keys(9).public_key()).unwrap();
        assert!(other.served.is_empty() && other.wrong[0].contains("about other keys"), "{other:?}");
        let mut forged = said;
        forged.signatures.swap(0, 1);
        let itself = SameOperator { keys: [own, own], ..said };
        std::fs::write(path(data), serde_json::to_string(&[forged, more, itself]).unwrap()).unwrap();
        let found = held(data, &own).unwrap();
        assert_eq!(found.served, [more]);
        assert!(found.wrong[0].contains("did not sign") && found.wrong[1].contains("twice"), "{:?}", found.wrong);
        assert!(add(data, &own, &said).unwrap_err().to_string().contains("did not sign"), "nothing is added to it");
    }
}
