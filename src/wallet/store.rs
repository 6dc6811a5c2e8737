//! The wallet's file: a list of changes, appended to, never rewritten.
//!
//! A record cut short by a crash was never acknowledged: it is cut off at the next start and the rest is kept, and
//! the chain is read again from there. The file holds public descriptors and transactions, no secret.

use super::Error;
use bdk_wallet::file_store::{Store, StoreError};
use bdk_wallet::ChangeSet;
use hypothec_oracle::room;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

const NAME: &str = "coins.db";
const MAGIC: &[u8] = b"hypothec-coins-0";

/// An open wallet file.
pub(super) struct CoinFile {
    path: PathBuf,
    /// `None` after a failed write, until the file has been opened again.
    store: Option<Store<ChangeSet>>,
    /// A second handle: the store keeps its own to itself.
    handle: File,
    /// Where the last whole record ends.
    good: u64,
}

impl CoinFile {
    /// Opens the file in `dir` and returns everything it says; `None` where there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<(CoinFile, ChangeSet)>, Error> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Ok(None);
        }
        let foreign = |reason: String| Error::Foreign { path: path.display().to_string(), reason };
        match Store::load(MAGIC, &path) {
            Ok((store, Some(changes))) => Ok(Some((CoinFile::new(path, store)?, changes))),
            Ok((_, None)) => Err(foreign("it is empty".into())),
            Err(damage) => match (damage.changeset, damage.error) {
                (Some(changes), StoreError::Bincode(_)) => {
                    let file = CoinFile::write_new(dir, &changes)?;
                    Ok(Some((file, *changes)))
                }
                (_, StoreError::InvalidMagicBytes { .. }) => Err(foreign("it is not a wallet file".into())),
                (_, StoreError::Io(e)) if e.kind() != io::ErrorKind::UnexpectedEof => Err(file_error(&path, e)),
                (_, other) => Err(foreign(other.to_string())),
            },
        }
    }

    /// Makes the file in `dir` with a first record. A crash on the way leaves no file, or the whole one.
    pub(super) fn write_new(dir: &Path, first: &ChangeSet) -> Result<CoinFile, Error> {
        let (path, draft) = (dir.join(NAME), dir.join(format!("{NAME}.new")));
        let failed = |e: io::Error| file_error(&draft, e);
        match fs::remove_file(&draft) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let mut store = Store::create(MAGIC, &draft)
            .map_err(|e| Error::File { path: draft.display().to_string(), reason: e.to_string() })?;
        only_owner(&draft).map_err(failed)?;
        store.append(first).map_err(failed)?;
        let handle = OpenOptions::new().write(true).open(&draft).map_err(failed)?;
        handle.sync_all().map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| file_error(dir, e))?;
        CoinFile::new(path, store)
    }

    fn new(path: PathBuf, store: Store<ChangeSet>) -> Result<CoinFile, Error> {
        let handle = OpenOptions::new().write(true).open(&path).map_err(|e| file_error(&path, e))?;
        let good = handle.metadata().map_err(|e| file_error(&path, e))?.len();
        Ok(CoinFile { path, store: Some(store), handle, good })
    }

    /// Appends a record. Lost at most by a power cut before [`CoinFile::sync`].
    ///
    /// # Errors
    /// The record is not in the file; the caller keeps it and may try again.
    pub(super) fn append(&mut self, changes: &ChangeSet) -> Result<(), Error> {
        let result = self.try_append(changes);
        if result.is_err() {
            // Half a record in the middle would hide every later one.
            self.store = None;
        }
        result
    }

    fn try_append(&mut self, changes: &ChangeSet) -> Result<(), Error> {
        let failed = |path: &Path, e: io::Error| file_error(path, e);
        if self.store.is_none() {
            self.handle.set_len(self.good).map_err(|e| failed(&self.path, e))?;
            let (store, _) = Store::load(MAGIC, &self.path)
                .map_err(|e| Error::File { path: self.path.display().to_string(), reason: e.to_string() })?;
            self.store = Some(store);
        }
        if let Some(store) = &mut self.store {
            store.append(changes).map_err(|e| failed(&self.path, e))?;
        }
        self.good = self.handle.metadata().map_err(|e| failed(&self.path, e))?.len();
        Ok(())
    }

    /// Returns when everything appended is on disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.handle.sync_data().map_err(|e| file_error(&self.path, e))
    }
}

fn file_error(path: &Path, e: io::Error) -> Error {
    Error::File { path: path.display().to_string(), reason: room::why(&e, path) }
}

#[cfg(unix)]
fn only_owner(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn only_owner(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bdk_wallet::chain::local_chain;
    use bitcoin::hashes::Hash;
    use bitcoin::BlockHash;
    use std::io::Write;

    fn block(height: u32) -> ChangeSet {
        let blocks = [(height, Some(BlockHash::all_zeros()))].into_iter().collect();
        ChangeSet { local_chain: local_chain::ChangeSet { blocks }, ..ChangeSet::default() }
    }

    fn heights(dir: &Path) -> Vec<u32> {
        let (_, changes) = CoinFile::open(dir).unwrap().unwrap();
        changes.local_chain.blocks.into_keys().collect()
    }

    #[test]
    fn after_a_write_that_failed_half_way_later_records_are_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CoinFile::write_new(dir.path(), &block(0)).unwrap();
        file.append(&block(1)).unwrap();
        // As a full disk leaves it.
        let mut other = OpenOptions::new().append(true).open(&file.path).unwrap();
        other.write_all(&[1, 2, 3]).unwrap();
        file.store = None;
        file.append(&block(2)).unwrap();
        file.append(&block(3)).unwrap();
        file.sync().unwrap();
        assert_eq!(heights(dir.path()), [0, 1, 2, 3]);
    }

    #[test]
    fn a_file_cut_anywhere_keeps_every_whole_record() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = CoinFile::write_new(dir.path(), &block(0)).unwrap();
        let mut ends = vec![file.good];
        for height in 1..4 {
            file.append(&block(height)).unwrap();
            ends.push(file.good);
        }
        let path = file.path.clone();
        let whole = fs::read(&path).unwrap();
        for cut in (MAGIC.len() + 1)..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let kept = ends.iter().filter(|end| **end <= cut as u64).count() as u32;
            match CoinFile::open(dir.path()) {
                Ok(Some(_)) => assert_eq!(heights(dir.path()), (0..kept).collect::<Vec<_>>(), "cut at {cut}"),
                Err(Error::Foreign { .. }) => assert_eq!(kept, 0, "cut at {cut}"),
                other => panic!("cut at {cut}: {:?}", other.err()),
            }
        }
    }
}
