//! What every backend does, and the bytes of a record.

use super::super::ledger::Record;
use crate::units::{Cents, Time};

/// Bytes of a record without its checksum: kind, time, cents.
pub const BODY: usize = 1 + 4 + 8;
/// Longest note of the payments' book, in bytes.
pub const LONGEST_NOTE: usize = 200;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// All of it is durable.
    Durable,
    /// Others have written in between: read on first, then decide again.
    Behind,
    /// Another process is the writer.
    NotMine,
}

/// Why a log did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It cannot be reached now; what was asked may have happened or not. Ask again later, and read on first.
    #[error("the ledger cannot be reached: {0}")]
    Away(String),
    /// It failed, or is not as it was. Nothing more may be said.
    #[error("the ledger cannot be used: {0}")]
    Broken(String),
    /// The clock here and the log's own are too far apart, or the one here cannot be read: nothing was written.
    #[error("{0}")]
    Clock(String),
}

/// Records in the order they were said, numbered from 0 without gaps.
pub trait Log: Send {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Durable records that follow those this handle has read or appended, oldest first: a good number of them at a
    /// time, and none only when there are no more.
    ///
    /// # Errors
    /// When it cannot be read, or a record is damaged or missing.
    fn read(&mut self) -> Result<Vec<Record>, LogError>;

    /// Appends records, all or none as far as any reader can see, behind those this handle has read or appended. Also
    /// tells the other replicas that everything up to `clock` has been said.
    ///
    /// # Errors
    /// When it cannot be written. After [`LogError::Away`] the records may be there: [`Log::read`] tells.
    fn append(&mut self, records: &[Record], clock: Time) -> Result<Appended, LogError>;

    /// How far the writer had come when this handle last looked, if that is another process.
    fn writers_clock(&self) -> Time {
        Time(0)
    }

    /// Lets another replica speak until this one appends again. `false`, and nothing changes, when there can be no other.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn yields(&mut self) -> Result<bool, LogError> {
        Ok(false)
    }

    /// Seconds that the clock here was ahead of the log's own when they were last compared; negative when behind, `None`
    /// where they are not.
    fn clock_ahead(&self) -> Option<i64> {
        None
    }

    /// A handle on the notes of the payments' book that are kept beside the records, for another thread.
    ///
    /// # Errors
    /// When they cannot be reached, or are not as they were written.
    fn notes(&self) -> anyhow::Result<Box<dyn Notes>>;

    /// Says that this handle will append no more, so that another may at once.
    fn close(&mut self) {}
}

/// Notes of the payments' book: short lines in the order they were written, numbered from 0 without gaps. Every replica
/// may write, whether or not it is the one that speaks: orders come to any of them, seldom, and must not wait for a lease.
pub trait Notes: Send {
    /// Can others write here too?
    fn is_shared(&self) -> bool {
        false
    }

    /// Durable notes that follow those this handle has read or appended, oldest first: a good number of them at a time,
    /// and none only when there are no more.
    ///
    /// # Errors
    /// When they cannot be read, or one is damaged or missing.
    fn read(&mut self) -> Result<Vec<String>, LogError>;

    /// Appends notes of at most [`LONGEST_NOTE`] bytes, all or none, behind those this handle has read or appended. Of
    /// two handles that append behind the same note one is told [`Appended::Behind`].
    ///
    /// # Errors
    /// When they cannot be written. After [`LogError::Away`] the notes may be there: [`Notes::read`] tells.
    fn append(&mut self, notes: &[String]) -> Result<Appended, LogError>;
}

/// A record in bytes: kind, time, cents; numbers big endian.
pub fn body(record: Record) -> [u8; BODY] {
    let (kind, time, cents) = match record {
        Record::Low { hour, cents } => (1u8, hour, cents),
        Record::Fixing { at, cents } => (2, at, cents),
        Record::Frozen { until } => (3, until, Cents(0)),
    };
    let mut bytes = [0; BODY];
    let numbers = time.0.to_be_bytes().into_iter().chain(cents.0.to_be_bytes());
    for (place, byte) in bytes.iter_mut().zip(std::iter::once(kind).chain(numbers)) {
        *place = byte;
    }
    bytes
}

/// The record of such bytes, if they are one.
pub fn record(body: &[u8]) -> Option<Record> {
    let (kind, rest) = body.split_first()?;
    let (time, cents) = rest.split_at_checked(4)?;
    let time = Time(u32::from_be_bytes(time.try_into().ok()?));
    let cents = Cents(u64::from_be_bytes(cents.try_into().ok()?));
    match kind {
        1 => Some(Record::Low { hour: time, cents }),
        2 => Some(Record::Fixing { at: time, cents }),
        3 if cents == Cents(0) => Some(Record::Frozen { until: time }),
        _ => None,
    }
}

/// Over the number too, so that a record cannot stand in another's place.
pub fn checksum(number: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_from_its_bytes_and_other_bytes_are_none() {
        let at = Time(1_584_000_000);
        for one in [
            Record::Low { hour: at, cents: Cents(7) },
            Record::Fixing { at, cents: Cents(u64::MAX) },
            Record::Frozen { until: at },
        ] {
            assert_eq!(record(&body(one)), Some(one));
        }
        let mut bytes = body(Record::Frozen { until: at });
        bytes[0] = 4;
        assert_eq!(record(&bytes), None);
        assert_eq!(record(&bytes[..12]), None);
        assert_eq!(record(&[]), None);
    }
}
