//! The log in sled, for one process: append-only files in the data folder.
//!
//! Sled, used only in the way that was measured to lose nothing: small records, a gap-free number and a checksum on
//! each, `flush` and then fsync of its files and folder before anything is said. Beside it the file `said` counts the
//! records that were made durable, so that a lost tail is noticed. A store that fails a check is not opened: signing a
//! second outcome for a fixing would reveal the oracle's key.

use super::super::ledger::Record;
use super::log::{body, checksum, record, Appended, Log, LogError, Notes, BODY, LONGEST_NOTE};
use super::mark::replace;
use crate::crash;
use crate::units::Time;
use anyhow::{bail, Context};
use std::fs::File;
use std::io::Read;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Records written in one batch.
const CHUNK: usize = 64;

/// How long a lock that may just be being given back is waited for.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The ledger's disk side. One process at a time: sled holds a lock.
pub struct Sled {
    db: sled::Db,
    folder: PathBuf,
    said: PathBuf,
    next: u64,
    unread: Vec<Record>,
}

impl Sled {
    /// Opens or makes the log in a data folder and checks every record.
    ///
    /// # Errors
    /// When another process has it open, or anything in it is not as it was written.
    pub fn open(data: &Path) -> anyhow::Result<Sled> {
        let folder = data.join("ledger");
        let open = || open_patiently(&sled::Config::new().path(&folder).flush_every_ms(None));
        // Sled panics on some damaged files; a person should read a sentence instead.
        let db = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| anyhow::anyhow!("the ledger in {} is damaged; restore it from a copy", folder.display()))?
            .with_context(|| format!("open the ledger in {} (does another oracle run on it?)", folder.display()))?;
        let mut log = Sled { db, folder, said: data.join("said"), next: 0, unread: Vec::new() };
        let read = catch_unwind(AssertUnwindSafe(|| log.load()))
            .map_err(|_| anyhow::anyhow!("the ledger in {} is damaged; restore it from a copy", data.display()))?;
        log.unread = read.with_context(|| format!("read the ledger in {}", data.display()))?;
        log.next = u64::try_from(log.unread.len())?;
        let said = count(&log.said)?;
        if log.next < said {
            bail!(
                "the ledger in {} holds {} records but {said} were said: the rest was lost; restore it from a copy",
                data.display(),
                log.next
            );
        }
        // A process killed before its sync leaves records that are read here but not yet on the disk itself. They will
        // be served, so they are made durable first: a power cut must not take back what was served.
        if log.next > said {
            settle(&log.db, &log.folder, &log.said, log.next).context("sync the ledger")?;
        }
        Ok(log)
    }

    fn write(&mut self, records: &[Record]) -> anyhow::Result<()> {
        let mut next = self.next;
        for chunk in records.chunks(CHUNK) {
            let mut batch = sled::Batch::default();
            for record in chunk {
                batch.insert(&next.to_be_bytes(), row(next, *record).as_slice());
                next = next.checked_add(1).context("the ledger is full")?;
            }
            self.db.apply_batch(batch).context("write the ledger")?;
            crash::point("oracle-batch");
        }
        settle(&self.db, &self.folder, &self.said, next)?;
        self.next = next;
        Ok(())
    }

    fn load(&self) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut next: u64 = 0;
        for row in self.db.iter() {
            let (key, value) = row?;
            if key.as_ref() != next.to_be_bytes() {
                bail!("record {next} is missing; restore the ledger from a copy");
            }
            records.push(unrow(next, &value).with_context(|| format!("record {next} is damaged"))?);
            next = next.checked_add(1).context("the ledger is full")?;
        }
        Ok(records)
    }
}

impl Log for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        Ok(std::mem::take(&mut self.unread))
    }

    fn append(&mut self, records: &[Record], _clock: Time) -> Result<Appended, LogError> {
        if !self.unread.is_empty() {
            return Ok(Appended::Behind);
        }
        if records.is_empty() {
            return Ok(Appended::Durable);
        }
        // A failed disk may have kept any part of it: only a restart, which reads it, may go on.
        self.write(records).map(|()| Appended::Durable).map_err(|error| LogError::Broken(format!("{error:#}")))
    }

    fn notes(&self) -> anyhow::Result<Box<dyn Notes>> {
        Ok(Box::new(SledNotes::open(self)?))
    }
}

/// Makes what was written durable, and the count of it after it. Sled's flush writes but does not fsync.
fn settle(db: &sled::Db, folder: &Path, counted: &Path, count: u64) -> anyhow::Result<()> {
    db.flush().context("flush the ledger")?;
    crash::point("oracle-flushed");
    File::open(folder.join("db"))?.sync_all().context("sync the ledger")?;
    File::open(folder)?.sync_all().context("sync the ledger's folder")?;
    crash::point("oracle-synced");
    replace(counted, &format!("{count}\n")).context("sync the count of records")
}

/// How many were made durable.
fn count(path: &Path) -> anyhow::Result<u64> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(32).read_to_string(&mut text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    text.trim().parse().with_context(|| format!("{} holds {text:?}, not a count of records", path.display()))
}

/// The notes of the payments' book: a tree beside the records, counted in the file `noted`.
struct SledNotes {
    db: sled::Db,
    tree: sled::Tree,
    folder: PathBuf,
    noted: PathBuf,
    next: u64,
    unread: Vec<String>,
}

impl SledNotes {
    fn open(log: &Sled) -> anyhow::Result<SledNotes> {
        let tree = log.db.open_tree("notes").context("open the notes of the ledger")?;
        let (mut unread, mut next) = (Vec::new(), 0u64);
        for row in tree.iter() {
            let (key, value) = row?;
            let whole = |value: &[u8]| {
                let (note, sum) = value.split_at_checked(value.len().checked_sub(4)?)?;
                let right = key.as_ref() == next.to_be_bytes() && sum == checksum(next, note).to_be_bytes();
                right.then(|| String::from_utf8(note.to_vec()).ok())?
            };
            let note = whole(&value).with_context(|| {
                format!("note {next} of the payments is missing or damaged; restore the ledger from a copy")
            })?;
            unread.push(note);
            next = next.checked_add(1).context("the notes are full")?;
        }
        let noted = log.said.with_file_name("noted");
        let counted = count(&noted)?;
        if next < counted {
            bail!("the ledger holds {next} notes of payments but {counted} were written: the rest was lost; restore it from a copy");
        }
        if next > counted {
            settle(&log.db, &log.folder, &noted, next).context("sync the notes")?;
        }
        Ok(SledNotes { db: log.db.clone(), tree, folder: log.folder.clone(), noted, next, unread })
    }

    fn write(&mut self, notes: &[String]) -> anyhow::Result<()> {
        let (mut next, mut batch) = (self.next, sled::Batch::default());
        for note in notes {
            let mut row = note.as_bytes().to_vec();
            if row.len() > LONGEST_NOTE {
                bail!("a note of {} bytes; at most {LONGEST_NOTE} are kept", row.len());
            }
            row.extend_from_slice(&checksum(next, note.as_bytes()).to_be_bytes());
            batch.insert(&next.to_be_bytes(), row);
            next = next.checked_add(1).context("the notes are full")?;
        }
        self.tree.apply_batch(batch).context("write the notes")?;
        settle(&self.db, &self.folder, &self.noted, next)?;
        self.next = next;
        Ok(())
    }
}

impl Notes for SledNotes {
    fn read(&mut self) -> Result<Vec<String>, LogError> {
        Ok(std::mem::take(&mut self.unread))
    }

    fn append(&mut self, notes: &[String]) -> Result<Appended, LogError> {
        if !self.unread.is_empty() {
            return Ok(Appended::Behind);
        }
        self.write(notes).map(|()| Appended::Durable).map_err(|error| LogError::Broken(format!("{error:#}")))
    }
}

fn row(number: u64, record: Record) -> Vec<u8> {
    let mut bytes = body(record).to_vec();
    let sum = checksum(number, &bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes
}

fn unrow(number: u64, bytes: &[u8]) -> Option<Record> {
    let (body, sum) = bytes.split_at_checked(BODY)?;
    (sum == checksum(number, body).to_be_bytes()).then(|| record(body))?
}

/// Opens the database. sled gives its lock back a moment after it was dropped, when its own threads have ended: a
/// ledger opened again at once waits for that.
fn open_patiently(config: &sled::Config) -> sled::Result<sled::Db> {
    let began = std::time::Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && began.elapsed() < LOCK_PATIENCE =>
            {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Cents, HOUR};

    fn records(hours: u32) -> Vec<Record> {
        let mut records = Vec::new();
        for hour in 0..hours {
            let at = Time(1_584_000_000 + hour * HOUR);
            records.push(Record::Low { hour: at, cents: Cents(700_000 + u64::from(hour)) });
            records.push(Record::Fixing { at, cents: Cents(710_000) });
        }
        records.push(Record::Frozen { until: Time(1_584_000_000 + hours * HOUR) });
        records
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_path_buf();
        (folder, data)
    }

    #[test]
    fn a_lost_record_a_lost_tail_and_a_changed_byte_are_noticed() {
        for (spoil, says) in [
            ((|db| drop(db.remove(2u64.to_be_bytes()).unwrap())) as fn(&sled::Db), "record 2 is missing"),
            (|db| drop(db.remove(6u64.to_be_bytes()).unwrap()), "lost"),
            (
                |db| {
                    let mut bytes = db.get(3u64.to_be_bytes()).unwrap().unwrap().to_vec();
                    bytes[8] ^= 1;
                    db.insert(3u64.to_be_bytes(), bytes).unwrap();
                },
                "record 3 is damaged",
            ),
            (
                |db| {
                    let bytes = db.get(1u64.to_be_bytes()).unwrap().unwrap();
                    db.insert(3u64.to_be_bytes(), bytes).unwrap();
                },
                "record 3 is damaged",
            ),
        ] {
            let (_keep, data) = folder();
            let mut store = Sled::open(&data).unwrap();
            store.append(&records(3), Time(0)).unwrap();
            spoil(&store.db);
            store.db.flush().unwrap();
            drop(store);
            let error = Sled::open(&data).map(drop).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }

    #[test]
    fn two_oracles_cannot_share_a_ledger() {
        let (_keep, data) = folder();
        let _first = Sled::open(&data).unwrap();
        assert!(format!("{:#}", Sled::open(&data).map(drop).unwrap_err()).contains("another oracle"));
    }
}
