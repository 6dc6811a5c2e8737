//! How far one relay has come: a small file in the data folder, replaced after the relay's word.

use super::super::journal::sync_folder_of;
use crate::units::{Cents, Time, DAY};
use anyhow::{bail, Context};
use bitcoin::hashes::{sha256, Hash};
use bitcoin::hex::DisplayHex;
use bitcoin::key::XOnlyPublicKey;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A relay that is met for the first time is given what was said in the last week: the span within which an event says
/// that its last word will have come.
const LOOKS_BACK: u32 = 7 * DAY;
/// The largest file read, in bytes.
const LARGEST: u64 = 64 * 1_024;

/// What one relay has been given and has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The relay's URL.
    pub relay: String,
    /// Whose words.
    pub oracle: XOnlyPublicKey,
    /// It has everything about hours that end, and fixings, at or before this full hour.
    pub done: Time,
    /// Of later hours, by their start: it has what a low of so much made true.
    pub lows: BTreeMap<Time, Cents>,
    /// Later fixings that it has.
    pub fixings: BTreeSet<Time>,
    /// It has the announcements of fixings up to this one.
    pub announced: Time,
    /// When it last took a note, on the oracle's clock.
    pub last_ok: Option<Time>,
}

impl Cursor {
    /// The cursor of a relay that is met at `now` for the first time.
    pub fn begin(relay: &str, oracle: XOnlyPublicKey, now: Time) -> Cursor {
        let done = Time(now.0.saturating_sub(LOOKS_BACK)).hour_floor();
        let (lows, fixings) = (BTreeMap::new(), BTreeSet::new());
        Cursor { relay: relay.to_owned(), oracle, done, lows, fixings, announced: done, last_ok: None }
    }

    /// Where it lies.
    pub fn path(data: &Path, relay: &str) -> PathBuf {
        let digest = sha256::Hash::hash(relay.as_bytes());
        let name = digest.as_byte_array().first_chunk::<8>().map(|bytes| bytes.to_lower_hex_string());
        data.join("relays").join(format!("{}.json", name.unwrap_or_default()))
    }

    /// Reads a relay's cursor; `None` where there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or is another relay's or oracle's.
    pub fn read(data: &Path, relay: &str, oracle: &XOnlyPublicKey) -> anyhow::Result<Option<Cursor>> {
        let path = Cursor::path(data, relay);
        let shown = path.display();
        let size = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        let remedy = "remove it, and the relay is given the last week's words again";
        if size > LARGEST {
            bail!("{shown} has {size} bytes, which no such file has; {remedy}");
        }
        let text = std::fs::read(&path).with_context(|| format!("read {shown}"))?;
        let cursor: Cursor =
            serde_json::from_slice(&text).with_context(|| format!("{shown} cannot be read; {remedy}"))?;
        if cursor.relay != relay || cursor.oracle != *oracle {
            bail!("{shown} is of relay {} and oracle {}; {remedy}", cursor.relay, cursor.oracle);
        }
        Ok(Some(cursor))
    }

    /// Replaces the file. When this returns it is on disk.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let path = Cursor::path(data, &self.relay);
        let folder = path.parent().context("a file has a folder")?;
        if !folder.is_dir() {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            sync_folder_of(folder)?;
        }
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside).with_context(|| format!("write {}", beside.display()))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all().with_context(|| format!("sync {}", beside.display()))?;
        std::fs::rename(&beside, &path).with_context(|| format!("replace {}", path.display()))?;
        sync_folder_of(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::harness::keys;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_never_as_another_relays() {
        let folder = tempfile::tempdir().unwrap();
        let (data, key) = (folder.path(), keys().public_key());
        let relay = "ws://127.0.0.1:7777";
        assert_eq!(Cursor::read(data, relay, &key).unwrap(), None);
        let mut cursor = Cursor::begin(relay, key, Time(1_584_007_200 + 5));
        assert_eq!(cursor.done, Time(1_584_007_200 - LOOKS_BACK));
        cursor.lows.insert(Time(1_584_003_600), Cents(798_765));
        cursor.fixings.insert(Time(1_584_007_200));
        cursor.write(data).unwrap();
        cursor.last_ok = Some(Time(1_584_007_207));
        cursor.write(data).unwrap();
        assert_eq!(Cursor::read(data, relay, &key).unwrap(), Some(cursor));
        let other = "ws://127.0.0.1:7778";
        std::fs::copy(Cursor::path(data, relay), Cursor::path(data, other)).unwrap();
        let error = Cursor::read(data, other, &key).unwrap_err().to_string();
        assert!(error.contains("is of relay ws://127.0.0.1:7777") && error.contains("remove it"), "{error}");
        std::fs::write(Cursor::path(data, relay), "{").unwrap();
        assert!(Cursor::read(data, relay, &key).unwrap_err().to_string().contains("remove it"));
    }
}
