//! The signer's record: what it has signed that it may not contradict. Durable before the signature leaves.
//!
//! Lines of the journal `signed` in the signer's data folder:
//!
//! ```text
//! fixing UNIX DOLLARS        the outcome of an hour
//! low UNIX CENTS             the least low told for the hour that starts there
//! closed DAY UNIX            of this day, hours that end at or before this moment are final
//! payment ID WORD            what was said of a payment
//! ```

use super::super::journal::Journal;
use crate::event::{PaymentId, PaymentWord};
use crate::units::{Cents, Day, Time};
use anyhow::Context;
use bitcoin::key::XOnlyPublicKey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The whole dollars of a fixing.
    Fixing(Time, u32),
    /// The least low told of the hour that starts there.
    Low(Time, Cents),
    /// How far a day is final.
    Closed(Day, Time),
    /// What was said of a payment.
    Payment(PaymentId, PaymentWord),
}

/// Everything signed so far, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    pub fixings: BTreeMap<Time, u32>,
    pub lows: BTreeMap<Time, Cents>,
    pub closed: BTreeMap<Day, Time>,
    pub payments: BTreeMap<PaymentId, PaymentWord>,
}

impl Signed {
    /// Adds what was decided.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Fixing(at, dollars) => drop(self.fixings.insert(at, dollars)),
            Entry::Low(hour, cents) => drop(self.lows.insert(hour, cents)),
            Entry::Closed(day, until) => drop(self.closed.insert(day, until)),
            Entry::Payment(id, word) => drop(self.payments.insert(id, word)),
        }
    }
}

/// The record on disk and what it holds.
#[derive(Debug)]
pub struct Record {
    journal: Journal,
    pub signed: Signed,
}

fn path(data: &Path) -> PathBuf {
    data.join("signed")
}

fn name(key: &XOnlyPublicKey) -> String {
    format!("hypothec signer record 1 of {key}")
}

/// Begins the record of a new key. A record is never replaced: an empty one in the place of a full one would let a
/// second outcome be signed.
///
/// # Errors
/// When there is one, or the disk fails.
pub fn begin_record(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<()> {
    Journal::create(&path(data), &name(key))
}

impl Record {
    /// Opens a key's record.
    ///
    /// # Errors
    /// When it is missing, damaged, in use or another key's.
    pub fn open(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Record> {
        let path = path(data);
        if !path.exists() {
            anyhow::bail!(
                "{} is missing: what this key has signed is not known, and signing a second outcome would give the \
                 key away; restore the newest copy, or, only for a key that has never signed, say --begin-record",
                path.display()
            );
        }
        let (journal, lines) = Journal::open(&path, &name(key))?;
        let mut signed = Signed::default();
        for line in lines {
            let entry = read(&line).with_context(|| format!("{} holds {line:?}, which is unknown", path.display()))?;
            signed.apply(entry);
        }
        Ok(Record { journal, signed })
    }

    /// Makes entries durable. When this returns they may be signed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn append(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        let lines: Vec<String> = entries.iter().map(|entry| write(*entry)).collect();
        self.journal.append(&lines)?;
        entries.iter().for_each(|entry| self.signed.apply(*entry));
        Ok(())
    }
}

fn write(entry: Entry) -> String {
    match entry {
        Entry::Fixing(at, dollars) => format!("fixing {} {dollars}", at.0),
        Entry::Low(hour, cents) => format!("low {} {}", hour.0, cents.0),
        Entry::Closed(day, until) => format!("closed {day} {}", until.0),
        Entry::Payment(id, word) => format!("payment {id} {}", word.text()),
    }
}

fn read(line: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    let (kind, first, second) = (words.next()?, words.next()?, words.next()?);
    let entry = match kind {
        "fixing" => Entry::Fixing(Time(first.parse().ok()?), second.parse().ok()?),
        "low" => Entry::Low(Time(first.parse().ok()?), Cents(second.parse().ok()?)),
        "closed" => Entry::Closed(Day::from_yyyymmdd(first)?, Time(second.parse().ok()?)),
        "payment" => Entry::Payment(PaymentId::parse(first)?, PaymentWord::parse(second)?),
        _ => return None,
    };
    (write(entry) == line).then_some(entry)
}
