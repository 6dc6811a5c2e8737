//! The book: a log, the ledger that follows from it, and the watermark.

use super::super::ledger::{Ledger, LedgerError, Record};
use super::log::{body, Appended, Log, LogError};
use super::mark;
use crate::crash;
use crate::units::Time;
use crate::watermark::Watermark;
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use std::path::{Path, PathBuf};

/// What became of records that were to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// They are durable and may be shown.
    Durable,
    /// Others have spoken first: what they said has to be heard, and the decision made again.
    Behind,
    /// Another replica is the one that speaks.
    NotMine,
}

/// The one way to the store.
pub struct Book {
    log: Box<dyn Log>,
    ledger: Ledger,
    mark: Watermark,
    data: PathBuf,
}

impl Book {
    /// Reads the whole log and checks that every record follows from those before it, and that it is not older than
    /// the watermark in `data` nor than any in `kept` (each with where it came from).
    ///
    /// # Errors
    /// When anything is missing, damaged, contradictory, or older than a watermark.
    pub fn open(
        log: Box<dyn Log>,
        key: XOnlyPublicKey,
        data: &Path,
        kept: &[(String, Watermark)],
    ) -> anyhow::Result<Book> {
        let mut marks = kept.to_vec();
        marks.extend(mark::read(data)?.map(|mark| (mark::path(data).display().to_string(), mark)));
        if let Some((place, mark)) = marks.iter().find(|(_, mark)| mark.key != key) {
            bail!("the watermark in {place} is oracle {}'s; the key here is {key}", mark.key);
        }
        marks.push(("nowhere".to_string(), Watermark::new(key)));
        marks.sort_by_key(|(_, mark)| mark.records);
        let book = Book { log, ledger: Ledger::default(), mark: Watermark::new(key), data: data.to_path_buf() };
        let mut book = book.checked(marks)?;
        book.keep().context("start")?;
        Ok(book)
    }

    /// Reads everything, holding it against the watermarks as they are passed.
    fn checked(mut self, marks: Vec<(String, Watermark)>) -> anyhow::Result<Book> {
        let mut waiting = marks.into_iter().peekable();
        loop {
            let records = self.log.read()?;
            let mut left = records.iter();
            loop {
                while let Some((place, mark)) = waiting.next_if(|(_, mark)| mark.records == self.mark.records) {
                    if mark != self.mark {
                        bail!(
                            "the ledger ({}) differs within its first {} records from what the watermark in {place} \
                             vouches for: it is not the ledger this oracle has spoken from. Signing on it could reveal \
                             the oracle's key; restore the right one",
                            self.log.name(),
                            mark.records
                        );
                    }
                }
                let Some(record) = left.next() else { break };
                self.add(*record)?;
            }
            if records.is_empty() {
                break;
            }
        }
        if let Some((place, mark)) = waiting.next() {
            bail!(
                "the ledger ({}) is older than the watermark in {place}: it holds {} records and is final until {}, but \
                 {} records were said and are final until {}. Signing on it could reveal the oracle's key; restore the \
                 newest ledger",
                self.log.name(),
                self.mark.records,
                self.mark.frozen_until,
                mark.records,
                mark.frozen_until
            );
        }
        Ok(self)
    }

    /// Everything said.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The kind of store.
    pub fn kind(&self) -> &'static str {
        self.log.name()
    }

    /// How far the replica that speaks has come, as far as is known.
    pub fn writers_clock(&self) -> Time {
        self.log.writers_clock()
    }

    /// Seconds that the clock here is ahead of the log's own, where they are compared.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.log.clock_ahead()
    }

    /// Lets another replica speak, if there can be one.
    ///
    /// # Errors
    /// When the log cannot be reached.
    pub fn yields(&mut self) -> Result<bool, LogError> {
        self.log.yields()
    }

    /// Ends in good order: another replica need not wait.
    pub fn close(&mut self) {
        self.log.close();
    }

    /// What others have said since, durable and behind the watermark.
    ///
    /// # Errors
    /// When the log cannot be reached, or is not what it was.
    pub fn hear(&mut self) -> Result<Vec<Record>, LogError> {
        let mut heard = Vec::new();
        loop {
            let records = self.log.read()?;
            if records.is_empty() {
                break;
            }
            for record in records {
                self.add(record).map_err(|error| LogError::Broken(format!("{error:#}")))?;
                heard.push(record);
            }
        }
        if !heard.is_empty() {
            self.keep()?;
        }
        Ok(heard)
    }

    /// Says records. One that has been said already, or a low that is no lower, is left out. After [`Said::Durable`] the
    /// ledger holds them all, and they may be shown and signed.
    ///
    /// # Errors
    /// When one contradicts the ledger, or the log cannot be written. Nothing of it may be shown then.
    pub fn say(&mut self, records: &[Record], clock: Time) -> Result<Said, LogError> {
        let records = self.fresh(records)?;
        crash::point("oracle-deciding");
        match self.log.append(&records, clock)? {
            Appended::Behind => return Ok(Said::Behind),
            Appended::NotMine => return Ok(Said::NotMine),
            Appended::Durable => {}
        }
        crash::point("oracle-appended");
        for record in &records {
            self.add(*record).map_err(|error| LogError::Broken(format!("{error:#}")))?;
        }
        if !records.is_empty() {
            self.keep()?;
        }
        Ok(Said::Durable)
    }

    /// Those that bring something new, each allowed after the ones before it. Checked as a whole first: what has been
    /// appended cannot be taken back.
    fn fresh(&self, records: &[Record]) -> Result<Vec<Record>, LogError> {
        let wrong = |error: LedgerError| LogError::Broken(error.to_string());
        let mut fresh = Vec::new();
        if records.is_empty() {
            return Ok(fresh);
        }
        let mut after = self.ledger.clone();
        for record in records {
            if after.check(*record).map_err(wrong)? {
                after.apply(*record).map_err(wrong)?;
                fresh.push(*record);
            }
        }
        Ok(fresh)
    }

    fn add(&mut self, record: Record) -> anyhow::Result<()> {
        let number = self.mark.records;
        self.ledger.apply(record).with_context(|| format!("record {number} does not follow from the ones before"))?;
        self.mark = self.mark.with(&body(record), self.ledger.frozen_until()).context("the ledger is full")?;
        Ok(())
    }

    fn keep(&mut self) -> Result<(), LogError> {
        mark::write(&self.data, &self.mark).map_err(|error| LogError::Broken(format!("{error:#}")))
    }
}
