//! The daemon's side of rotation: the statements in its data folder, and their route.

use super::journal::Journal;
use super::{http::Counter, statements, store};
use crate::rotation::{follow, Rotation};
use crate::units::Time;
use anyhow::{bail, Context};
use axum::extract::State;
use axum::response::Response;
use bitcoin::key::XOnlyPublicKey;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where they lie.
pub fn path(data: &Path) -> PathBuf {
    data.join("rotation.json")
}

/// The statements in a data folder, those that lead away from `key` checked; empty when there is no file.
///
/// # Errors
/// When the file is not one, or says something that is not true.
pub fn read(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Vec<Rotation>> {
    let path = path(data);
    let said: Vec<Rotation> = statements::read(&path)?;
    for one in &said {
        one.verify(&one.old_key).with_context(|| format!("believe {}", path.display()))?;
    }
    let leading_here = |one: &Rotation| one.old_key == *key || one.new_key == *key;
    if !said.is_empty() && !said.iter().any(leading_here) {
        bail!("{} is about other keys than {key}", path.display());
    }
    follow(*key, &said).with_context(|| format!("believe {}", path.display()))?;
    Ok(said)
}

/// What a data folder says already of this key's hand-over. Asked before a statement is signed: whoever holds two of one
/// key can believe neither. `rotation.json` may have been moved away, so what was decided also lies in a journal beside
/// the key, and is there when this returns.
///
/// # Errors
/// When it names another key or moment than these, a file is not what it should be, or the disk fails.
pub fn before(data: &Path, old: &XOnlyPublicKey, new: &XOnlyPublicKey, from: Time) -> anyhow::Result<Option<Rotation>> {
    let said = read(data, old)?.into_iter().find(|one| one.old_key == *old);
    let shown = said.map(|said| (path(data), said.new_key, said.from));
    let decided = decided(data, old)?.map(|(new, from)| (journal(data, old), new, from));
    for (place, known, since) in shown.iter().chain(&decided) {
        if (*known, *since) != (*new, from) {
            bail!(
                "{} hands this key over to {known} from {since} on: a rotation is signed once and never replaced",
                place.display()
            );
        }
    }
    if decided.is_none() {
        let line = format!("{DECIDED} {new} {}", from.0);
        Journal::create_with(&journal(data, old), &name(old), &[line])
            .context("write down to whom the key is handed over")?;
    }
    Ok(said)
}

/// The first word of what was decided.
const DECIDED: &str = "rotation";

/// Where it is written down to whom a key was handed over.
fn journal(data: &Path, key: &XOnlyPublicKey) -> PathBuf {
    let mut name = format!("handed-over-{key}");
    name.truncate("handed-over-".len().saturating_add(16));
    data.join(name)
}

fn name(key: &XOnlyPublicKey) -> String {
    format!("hypothec hand-over 1 of {key}")
}

/// To which key this one was handed over, and from when, whatever became of the statement.
fn decided(data: &Path, old: &XOnlyPublicKey) -> anyhow::Result<Option<(XOnlyPublicKey, Time)>> {
    let path = journal(data, old);
    if !path.exists() {
        return Ok(None);
    }
    let (_held, lines) = Journal::open(&path, &name(old))?;
    let read = |line: &String| {
        let mut words = line.strip_prefix(DECIDED)?.split_whitespace();
        Some((words.next()?.parse().ok()?, Time(words.next()?.parse().ok()?)))
    };
    let first = lines.first().and_then(read);
    first.map(Some).with_context(|| format!("{} does not say to whom the key was handed over", path.display()))
}

/// Adds a statement to those of a data folder, and writes all of them to `copy` too. A statement is in the folder before
/// it is anywhere else, so no second one is ever signed. Adding it again changes nothing.
///
/// # Errors
/// When a file cannot be read or written, or `copy` is there already.
pub fn add(data: &Path, rotation: &Rotation, copy: Option<&Path>) -> anyhow::Result<()> {
    let mut said = read(data, &rotation.old_key)?;
    if !said.contains(rotation) {
        said.push(*rotation);
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&said)?);
    store::replace(&path(data), &text).with_context(|| format!("write {}", path(data).display()))?;
    let Some(copy) = copy else { return Ok(()) };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(copy)
        .with_context(|| format!("write {}, which must not be there yet", copy.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    super::journal::sync_folder_of(copy)
}

/// `GET /v1/rotation`: the statements, oldest first; 404 while there is none.
pub async fn serve(State(counter): State<Counter>) -> Response {
    statements::serve(counter, read, ("no_rotation", "this oracle's key has not been handed over")).await
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
    fn a_data_folder_serves_only_rotations_that_are_true_and_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (keys(1), keys(2));
        assert!(read(folder.path(), &old.public_key()).unwrap().is_empty());
        let said = Rotation::sign(&old, &new, Time(3_600)).unwrap();
        assert_eq!(before(folder.path(), &old.public_key(), &new.public_key(), said.from).unwrap(), None);
        add(folder.path(), &said, None).unwrap();
        assert_eq!(read(folder.path(), &old.public_key()).unwrap(), [said]);
        assert_eq!(read(folder.path(), &new.public_key()).unwrap(), [said], "the new oracle shows it too");
        assert!(read(folder.path(), &keys(3).public_key()).unwrap_err().to_string().contains("other keys"));
        let again = |new: &OracleKeys, from| before(folder.path(), &old.public_key(), &new.public_key(), from);
        assert_eq!(again(&new, said.from).unwrap(), Some(said));
        assert!(again(&keys(3), said.from).unwrap_err().to_string().contains("never replaced"));
        assert!(again(&new, Time(7_200)).unwrap_err().to_string().contains("never replaced"));
        // The new key hands over in its turn; its oracle shows both statements.
        let next = Rotation::sign(&new, &keys(3), Time(9_000)).unwrap();
        assert_eq!(before(folder.path(), &new.public_key(), &keys(3).public_key(), next.from).unwrap(), None);
        let copy = folder.path().join("copy.json");
        add(folder.path(), &next, Some(&copy)).unwrap();
        assert_eq!(read(folder.path(), &old.public_key()).unwrap(), [said, next]);
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(path(folder.path())).unwrap());
        assert!(format!("{:#}", add(folder.path(), &next, Some(&copy)).unwrap_err()).contains("must not be there"));
        let forged = Rotation { from: Time(7_200), ..said };
        // Moved away, and still nothing else is signed.
        std::fs::remove_file(path(folder.path())).unwrap();
        assert!(again(&keys(3), said.from).unwrap_err().to_string().contains("handed-over"));
        assert_eq!(again(&new, said.from).unwrap(), None, "the same one may be");
        std::fs::write(path(folder.path()), serde_json::to_string(&[forged]).unwrap()).unwrap();
        assert!(format!("{:#}", read(folder.path(), &old.public_key()).unwrap_err()).contains("did not sign"));
    }
}
