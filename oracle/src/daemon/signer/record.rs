//! The signer's record: what it has signed that it may not contradict. Durable before the signature leaves.
//!
//! Lines of the journal `signed` in the signer's data folder:
//!
//! ```text
//! fixing UNIX DOLLARS        the outcome of an hour
//! low UNIX CENTS             the least low told for the hour that starts there
//! closed DAY UNIX            of this day, hours that end at or before this moment are final
//! payment ID WORD            what was said of a payment
//! unrecorded                 what the key signed before is not known
//! import COUNT               so many lines follow that a daemon's ledger holds
//! ```
//!
//! A record is whole when nothing was signed without it. After `unrecorded` it is not, until an import has come to its
//! end; nobody signs with one that is not.

use super::super::journal::Journal;
use crate::crash;
use crate::event::{PaymentId, PaymentWord};
use crate::units::{Cents, Day, Time};
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of an import that are made durable together.
const CHUNK: usize = 4_096;
/// Bytes from which on no payments are taken, and from which on no lows: a daemon that was taken over may ask for any
/// number of both, and must leave room for the fixings of a century. The rest is what a journal can hold.
const ROOM: Room = Room { payments: 256 << 20, lows: 768 << 20 };
/// The line that says that it is not known what the key signed.
const UNRECORDED: &str = "unrecorded";

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

    fn holds(&self, entry: Entry) -> bool {
        match entry {
            Entry::Fixing(at, dollars) => self.fixings.get(&at) == Some(&dollars),
            Entry::Low(hour, cents) => self.lows.get(&hour) == Some(&cents),
            Entry::Closed(day, until) => self.closed.get(&day) == Some(&until),
            Entry::Payment(id, word) => self.payments.get(&id) == Some(&word),
        }
    }
}

/// Is all that was signed in a record?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// What was signed before is not known.
    Unrecorded,
    /// An import was cut off; so many of its lines are missing.
    Importing(u64),
}

/// How far a record may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub payments: u64,
    pub lows: u64,
}

/// The record on disk and what it holds.
#[derive(Debug)]
pub struct Record {
    /// None only in tests.
    journal: Option<Journal>,
    state: State,
    pub(super) room: Room,
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

/// Takes what a daemon's ledger holds into the record of a key, which is made if it is missing; whole when this returns,
/// and as incomplete as before when it does not. How many entries were new.
///
/// # Errors
/// When a signer has the record open, `entries` contradicts it (as `check` says), or the disk fails.
pub fn import_record(
    data: &Path,
    key: &XOnlyPublicKey,
    entries: &[Entry],
    check: impl Fn(&Signed) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let begin = |count: usize| format!("import {count}");
    if !path(data).exists() {
        let lines = std::iter::once(begin(entries.len())).chain(entries.iter().map(|entry| write(*entry)));
        crash::point("record-making");
        Journal::create_with(&path(data), &name(key), &lines.collect::<Vec<_>>())?;
        crash::point("record-made");
        return Ok(entries.len());
    }
    let mut record = Record::open_as_it_is(data, key)?;
    check(&record.signed)?;
    record.adopt(entries)
}

impl Record {
    /// Opens a key's record.
    ///
    /// # Errors
    /// When it is missing, not whole, damaged, in use or another key's.
    pub fn open(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Record> {
        let shown = path(data);
        let remedy = "import the daemon's ledger: stop the daemon and say `hypothec-oracle import-record`";
        if !shown.exists() {
            bail!(
                "{} is missing: what this key has signed is not known, and signing a second outcome would give the key \
                 away; restore the newest copy, or {remedy}",
                shown.display()
            );
        }
        let record = Record::open_as_it_is(data, key)?;
        match record.state {
            State::Whole => Ok(record),
            State::Unrecorded => {
                bail!("this key signed without the record {}; {remedy}", shown.display())
            }
            State::Importing(missing) => {
                let shown = shown.display();
                bail!("an import into {shown} was cut off, {missing} of its lines are missing; {remedy} again")
            }
        }
    }

    /// Opens a key's record for a daemon that signs with it itself, whole or not: the daemon's own ledger says what was
    /// said. `None` where there is none.
    ///
    /// # Errors
    /// When it is damaged, in use or another key's.
    pub fn hold(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Option<Record>> {
        let path = path(data);
        if !path.exists() {
            return Ok(None);
        }
        if !Journal::is_named(&path, &name(key))? {
            bail!(
                "{} is the record of another key; if that key signs nowhere any more, move the file away",
                path.display()
            );
        }
        Record::open_as_it_is(data, key).map(Some)
    }

    /// Begins the record of a key that has spoken without one. It is not whole until it has been told what was said.
    ///
    /// # Errors
    /// When there is one, or the disk fails.
    pub fn begin_unrecorded(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Record> {
        Journal::create_with(&path(data), &name(key), &[UNRECORDED.to_string()])?;
        Record::open_as_it_is(data, key)
    }

    /// One that is forgotten with the process.
    #[cfg(test)]
    pub fn in_memory() -> Record {
        Record { journal: None, state: State::Whole, room: ROOM, signed: Signed::default() }
    }

    /// Makes everything durable that was said and is not in this record; then it is whole. How many entries were new.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn adopt(&mut self, entries: &[Entry]) -> anyhow::Result<usize> {
        let fresh: Vec<Entry> = entries.iter().copied().filter(|entry| !self.signed.holds(*entry)).collect();
        if self.state == State::Whole && fresh.is_empty() {
            return Ok(0);
        }
        self.write(&[format!("import {}", fresh.len())])?;
        crash::point("record-begun");
        for chunk in fresh.chunks(CHUNK) {
            self.keep(chunk)?;
            crash::point("record-chunk");
        }
        self.state = State::Whole;
        Ok(fresh.len())
    }

    fn open_as_it_is(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Record> {
        let path = path(data);
        let (journal, lines) = Journal::open(&path, &name(key))?;
        let mut record = Record { journal: Some(journal), state: State::Whole, room: ROOM, signed: Signed::default() };
        for line in lines {
            let read = record.read(&line);
            read.with_context(|| format!("{} holds {line:?}, which is unknown or out of place", path.display()))?;
        }
        Ok(record)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        if line == UNRECORDED {
            self.state = State::Unrecorded;
            return Some(());
        }
        if let Some(count) = line.strip_prefix("import ") {
            // A later import holds all that an earlier one, cut off, left out.
            self.state = match count.parse().ok()? {
                0 => State::Whole,
                count => State::Importing(count),
            };
            return Some(());
        }
        self.signed.apply(read(line)?);
        self.state = match self.state {
            State::Importing(1) | State::Whole => State::Whole,
            State::Importing(count) => State::Importing(count.checked_sub(1)?),
            // Nobody signs with a record that is not whole.
            State::Unrecorded => return None,
        };
        Some(())
    }

    /// Makes entries durable. When this returns they may be signed.
    ///
    /// # Errors
    /// When there is no room for more of a kind, or the disk fails.
    pub fn append(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        let size = self.journal.as_ref().map_or(0, Journal::size);
        for entry in entries {
            let (what, most) = match entry {
                Entry::Fixing(..) => continue,
                Entry::Low(..) | Entry::Closed(..) => ("lows", self.room.lows),
                Entry::Payment(..) => ("payments", self.room.payments),
            };
            if size >= most {
                bail!(
                    "the record has {size} bytes and takes {what} up to {most} only, so that fixings always find room: \
                     somebody asked for too many; make a new key and hand over to it"
                );
            }
        }
        self.keep(entries)
    }

    fn keep(&mut self, entries: &[Entry]) -> anyhow::Result<()> {
        let lines: Vec<String> = entries.iter().map(|entry| write(*entry)).collect();
        self.write(&lines)?;
        entries.iter().for_each(|entry| self.signed.apply(*entry));
        Ok(())
    }

    fn write(&mut self, lines: &[String]) -> anyhow::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(lines))
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
