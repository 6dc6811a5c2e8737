//! The store: the ledger on disk, append-only.
//!
//! Sled, used only in the way that was measured to lose nothing: small records, a gap-free number and a checksum on
//! each, `flush` and then fsync of its files and folder before anything is said. Beside it the file `said` counts the
//! records that were made durable, so that a lost tail is noticed. A store that fails a check is not opened: signing a
//! second outcome for a fixing would reveal the oracle's key.

use super::ledger::{Ledger, Record};
use crate::units::{Cents, Time};
use anyhow::{bail, Context};
use std::fs::File;
use std::io::{Read, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Records written in one batch.
const CHUNK: usize = 64;
/// Bytes of a record: kind, time, cents, checksum.
const BODY: usize = 1 + 4 + 8;

/// How long a lock that may just be being given back is waited for.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The ledger's disk side. One process at a time: sled holds a lock.
pub struct Store {
    db: sled::Db,
    folder: PathBuf,
    said: PathBuf,
    next: u64,
}

impl Store {
    /// Opens or makes the store in a data folder and reads the whole ledger, checking every record.
    ///
    /// # Errors
    /// When another process has it open, or anything in it is not as it was written.
    pub fn open(data: &Path) -> anyhow::Result<(Store, Ledger)> {
        let folder = data.join("ledger");
        let open = || open_patiently(&sled::Config::new().path(&folder).flush_every_ms(None));
        // Sled panics on some damaged files; a person should read a sentence instead.
        let db = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| anyhow::anyhow!("the ledger in {} is damaged; restore it from a copy", folder.display()))?
            .with_context(|| format!("open the ledger in {} (does another oracle run on it?)", folder.display()))?;
        let mut store = Store { db, folder, said: data.join("said"), next: 0 };
        let read = catch_unwind(AssertUnwindSafe(|| store.read()))
            .map_err(|_| anyhow::anyhow!("the ledger in {} is damaged; restore it from a copy", data.display()))?;
        let (ledger, records) = read.with_context(|| format!("read the ledger in {}", data.display()))?;
        let said = store.said()?;
        if records < said {
            bail!(
                "the ledger in {} holds {records} records but {said} were said: the rest was lost; restore it from a copy",
                data.display()
            );
        }
        store.next = records;
        Ok((store, ledger))
    }

    /// Makes records durable, in order. When this returns they may be served and signed.
    ///
    /// # Errors
    /// When the disk fails: then nothing of it may be served, and the daemon must stop.
    pub fn append(&mut self, records: &[Record]) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut next = self.next;
        for chunk in records.chunks(CHUNK) {
            let mut batch = sled::Batch::default();
            for record in chunk {
                batch.insert(&next.to_be_bytes(), encode(next, *record).as_slice());
                next = next.checked_add(1).context("the ledger is full")?;
            }
            self.db.apply_batch(batch).context("write the ledger")?;
        }
        self.db.flush().context("flush the ledger")?;
        self.sync().context("sync the ledger")?;
        self.say(next).context("sync the count of records")?;
        self.next = next;
        Ok(())
    }

    /// Sled's flush writes but does not fsync.
    fn sync(&self) -> anyhow::Result<()> {
        File::open(self.folder.join("db"))?.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    fn say(&self, records: u64) -> anyhow::Result<()> {
        let beside = self.said.with_extension("next");
        let mut file = File::create(&beside)?;
        writeln!(file, "{records}")?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.said)?;
        if let Some(data) = self.said.parent() {
            File::open(data)?.sync_all()?;
        }
        Ok(())
    }

    fn said(&self) -> anyhow::Result<u64> {
        let mut text = String::new();
        match File::open(&self.said) {
            Ok(file) => file.take(32).read_to_string(&mut text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error).with_context(|| format!("open {}", self.said.display())),
        };
        text.trim().parse().with_context(|| format!("{} holds {text:?}, not a count of records", self.said.display()))
    }

    fn read(&self) -> anyhow::Result<(Ledger, u64)> {
        let mut ledger = Ledger::default();
        let mut next: u64 = 0;
        for row in self.db.iter() {
            let (key, value) = row?;
            if key.as_ref() != next.to_be_bytes() {
                bail!("record {next} is missing; restore the ledger from a copy");
            }
            let record = decode(next, &value).with_context(|| format!("record {next} is damaged"))?;
            ledger.apply(record).with_context(|| format!("record {next} does not follow from the ones before"))?;
            next = next.checked_add(1).context("the ledger is full")?;
        }
        Ok((ledger, next))
    }
}

fn encode(number: u64, record: Record) -> Vec<u8> {
    let (kind, time, cents) = match record {
        Record::Low { hour, cents } => (1u8, hour, cents),
        Record::Fixing { at, cents } => (2, at, cents),
        Record::Frozen { until } => (3, until, Cents(0)),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&time.0.to_be_bytes());
    bytes.extend_from_slice(&cents.0.to_be_bytes());
    let sum = checksum(number, &bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes
}

fn decode(number: u64, bytes: &[u8]) -> Option<Record> {
    let (body, sum) = bytes.split_at_checked(BODY)?;
    if sum != checksum(number, body).to_be_bytes() {
        return None;
    }
    let (kind, rest) = body.split_first()?;
    let (time, cents) = rest.split_at_checked(4)?;
    let time = Time(u32::from_be_bytes(time.try_into().ok()?));
    let cents = Cents(u64::from_be_bytes(cents.try_into().ok()?));
    match kind {
        1 => Some(Record::Low { hour: time, cents }),
        2 => Some(Record::Fixing { at: time, cents }),
        3 => Some(Record::Frozen { until: time }),
        _ => None,
    }
}

/// Over the number too, so that a record cannot stand in another's place.
fn checksum(number: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
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
    use crate::units::HOUR;

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
    fn what_was_appended_is_there_after_reopening() {
        let (_keep, data) = folder();
        let (mut store, mut ledger) = Store::open(&data).unwrap();
        assert_eq!(ledger, Ledger::default());
        let batch = records(100);
        store.append(&batch).unwrap();
        batch.iter().for_each(|record| ledger.apply(*record).unwrap());
        drop(store);
        let (mut store, read) = Store::open(&data).unwrap();
        assert_eq!(read, ledger);
        let more = Record::Low { hour: Time(1_584_000_000 + 100 * HOUR), cents: Cents(1) };
        store.append(&[more]).unwrap();
        ledger.apply(more).unwrap();
        drop(store);
        assert_eq!(Store::open(&data).unwrap().1, ledger);
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
            let (mut store, _) = Store::open(&data).unwrap();
            store.append(&records(3)).unwrap();
            spoil(&store.db);
            store.db.flush().unwrap();
            drop(store);
            let error = Store::open(&data).map(drop).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }

    #[test]
    fn two_oracles_cannot_share_a_ledger() {
        let (_keep, data) = folder();
        let _first = Store::open(&data).unwrap();
        assert!(format!("{:#}", Store::open(&data).map(drop).unwrap_err()).contains("another oracle"));
    }
}
