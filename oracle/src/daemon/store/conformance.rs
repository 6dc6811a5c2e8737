//! What every backend must do, run on each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // Test code throughout.

use super::super::ledger::{Ledger, Record};
use super::log::Appended;
use super::{mark, Book, Log, LogError, Memory, Notes, Said, Sled};
use crate::announce::OracleKeys;
use crate::units::{Cents, Time, HOUR};
use crate::watermark::Watermark;
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::SecretKey;
use std::path::Path;

/// The oracle of these tests.
pub fn key() -> XOnlyPublicKey {
    OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap()).public_key()
}

const NOON: Time = Time(1_584_014_400);

fn hour(number: u32) -> Time {
    NOON.plus(number * HOUR).unwrap()
}

fn low(number: u32, cents: u64) -> Record {
    Record::Low { hour: hour(number), cents: Cents(cents) }
}

fn fixing(number: u32, cents: u64) -> Record {
    Record::Fixing { at: hour(number), cents: Cents(cents) }
}

fn frozen(number: u32) -> Record {
    Record::Frozen { until: hour(number) }
}

/// A place that logs are opened in again and again.
pub trait Backend {
    /// An empty one.
    fn fresh() -> Self;
    /// Opens it. Only the handles of a shared one may be open at the same time.
    fn open(&self) -> Box<dyn Log>;
    /// Can several replicas share it?
    const SHARED: bool;
}

/// Sled in a folder.
struct InSled(tempfile::TempDir);

impl Backend for InSled {
    fn fresh() -> InSled {
        InSled(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Box<dyn Log> {
        Box::new(Sled::open(self.0.path()).unwrap())
    }

    const SHARED: bool = false;
}

impl Backend for Memory {
    fn fresh() -> Memory {
        Memory::default()
    }

    fn open(&self) -> Box<dyn Log> {
        Box::new(self.another())
    }

    const SHARED: bool = true;
}

fn book(backend: &impl Backend, data: &Path) -> anyhow::Result<Book> {
    Book::open(backend.open(), key(), data, &[])
}

fn says(book: &mut Book, records: &[Record]) {
    assert_eq!(book.say(records, NOON), Ok(Said::Durable));
}

fn close(mut book: Book) {
    book.close();
}

/// Everything appended is read again, in order, by any later handle; large batches too.
fn what_was_said_is_there_when_it_is_opened_again<B: Backend>() {
    let (backend, data) = (B::fresh(), tempfile::tempdir().unwrap());
    let mut first = book(&backend, data.path()).unwrap();
    assert_eq!(first.ledger(), &Ledger::default());
    says(&mut first, &[]);
    let many: Vec<Record> =
        (0..3_000).flat_map(|number| [low(number, 700_000 + u64::from(number)), fixing(number, 710_000)]).collect();
    says(&mut first, &many);
    says(&mut first, &[low(0, 699_999), frozen(3_000)]);
    let ledger = first.ledger().clone();
    close(first);
    let mut again = book(&backend, data.path()).unwrap();
    assert_eq!(again.ledger(), &ledger);
    says(&mut again, &[low(3_000, 1)]);
    let ledger = again.ledger().clone();
    close(again);
    assert_eq!(book(&backend, data.path()).unwrap().ledger(), &ledger);
    let mut log = backend.open();
    let read = std::iter::from_fn(|| Some(log.read().unwrap()).filter(|read| !read.is_empty())).flatten();
    assert_eq!(read.collect::<Vec<_>>(), [many, vec![low(0, 699_999), frozen(3_000), low(3_000, 1)]].concat());
}

/// A fixing is written once, a low only falls, a frozen hour stays: a retry returns what is stored.
fn what_was_said_is_never_said_otherwise<B: Backend>() {
    let (backend, data) = (B::fresh(), tempfile::tempdir().unwrap());
    let mut first = book(&backend, data.path()).unwrap();
    says(&mut first, &[fixing(1, 798_765), low(0, 750_000)]);
    says(&mut first, &[fixing(1, 798_765), low(0, 760_000)]);
    assert!(matches!(first.say(&[fixing(1, 798_766)], NOON), Err(LogError::Broken(_))));
    says(&mut first, &[low(0, 740_000), frozen(2)]);
    for late in [low(0, 730_000), fixing(2, 1), frozen(1), fixing(1, 1)] {
        assert!(matches!(first.say(&[late], NOON), Err(LogError::Broken(_))), "{late:?}");
    }
    for wrong in [fixing(3, 0), Record::Low { hour: Time(NOON.0 + 40 * HOUR + 1), cents: Cents(1) }] {
        assert!(matches!(first.say(&[wrong], NOON), Err(LogError::Broken(_))), "{wrong:?}");
    }
    let twice = [fixing(5, 1), fixing(5, 2)];
    assert!(matches!(first.say(&twice, NOON), Err(LogError::Broken(_))), "none of a batch that contradicts itself");
    close(first);
    let again = book(&backend, data.path()).unwrap();
    assert_eq!(again.ledger().fixing(hour(1)), Some(Cents(798_765)));
    assert_eq!(again.ledger().fixing(hour(5)), None);
    assert_eq!(again.ledger().lows(NOON.day())[usize::from(NOON.hour_of_day())], Some(Cents(740_000)));
}

/// A log that does not hold all the watermark vouches for is not opened.
fn an_older_or_another_ledger_is_refused<B: Backend>() {
    let (backend, data) = (B::fresh(), tempfile::tempdir().unwrap());
    let mut first = book(&backend, data.path()).unwrap();
    says(&mut first, &[fixing(1, 798_765)]);
    close(first);
    // The same oracle on an empty log, as after a restore from before the first record.
    let error = book(&B::fresh(), data.path()).err().unwrap().to_string();
    assert!(error.contains("older than the watermark") && error.contains("0 records"), "{error}");
    // As many records, but others.
    let (other, elsewhere) = (B::fresh(), tempfile::tempdir().unwrap());
    let mut another = book(&other, elsewhere.path()).unwrap();
    says(&mut another, &[fixing(1, 798_766), frozen(1)]);
    close(another);
    let error = book(&other, data.path()).err().unwrap().to_string();
    assert!(error.contains("differs within its first 1 records"), "{error}");
    // A watermark that was kept elsewhere counts as the one beside the key does.
    let kept = mark::read(data.path()).unwrap().unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let open = |log, kept: Watermark| Book::open(log, key(), fresh.path(), &[("a drawer".to_string(), kept)]);
    assert!(open(B::fresh().open(), kept).err().unwrap().to_string().contains("a drawer"));
    assert_eq!(open(backend.open(), kept).unwrap().ledger().fixing(hour(1)), Some(Cents(798_765)));
}

/// Of two replicas one speaks; the other hears it, and speaks when the first has ended.
fn replicas_take_turns<B: Backend>() {
    if !B::SHARED {
        return;
    }
    let (backend, one, two) = (B::fresh(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = book(&backend, one.path()).unwrap();
    let mut second = book(&backend, two.path()).unwrap();
    says(&mut first, &[fixing(1, 798_765)]);
    assert_eq!(second.say(&[fixing(1, 798_766)], NOON), Ok(Said::NotMine));
    assert_eq!(second.hear().unwrap(), [fixing(1, 798_765)]);
    assert_eq!(mark::read(one.path()).unwrap(), mark::read(two.path()).unwrap(), "heard, so it is in its watermark");
    says(&mut first, &[low(0, 5), low(1, 6)]);
    close(first);
    assert_eq!(second.say(&[fixing(2, 7)], NOON), Ok(Said::Behind), "it must hear first");
    assert_eq!(second.hear().unwrap(), [low(0, 5), low(1, 6)]);
    says(&mut second, &[fixing(2, 7)]);
    let mut again = book(&backend, one.path()).unwrap();
    assert_eq!(again.ledger(), second.ledger());
    assert_eq!(again.say(&[], NOON), Ok(Said::NotMine));
    assert_eq!(second.yields(), Ok(true));
    says(&mut again, &[fixing(3, 8)]);
    assert_eq!(second.yields(), Ok(true), "what one does not have it can give up");
    assert_eq!(second.say(&[], NOON), Ok(Said::NotMine), "until the other gives it up too");
}

/// A handle that has not read on cannot append, whatever it holds.
fn an_append_that_does_not_follow_is_not_written<B: Backend>() {
    let backend = B::fresh();
    let mut first = backend.open();
    assert_eq!(first.append(&[low(0, 9)], NOON).unwrap(), Appended::Durable);
    first.close();
    drop(first);
    let mut again = backend.open();
    assert_eq!(again.append(&[low(0, 8)], NOON).unwrap(), Appended::Behind);
    assert_eq!(again.read().unwrap(), [low(0, 9)]);
    assert_eq!(again.append(&[low(0, 8)], NOON).unwrap(), Appended::Durable);
    assert_eq!(again.read().unwrap(), []);
}

/// Notes are kept in order; of two handles that write behind the same note one is told to read on; nobody needs a lease.
fn notes_are_written_behind_all_that_was_read<B: Backend>() {
    let (backend, data) = (B::fresh(), tempfile::tempdir().unwrap());
    let lines = |from: u32, to: u32| (from..to).map(|n| format!("heard {n} {}", "ab".repeat(32))).collect::<Vec<_>>();
    let mut first = book(&backend, data.path()).unwrap();
    says(&mut first, &[fixing(1, 798_765)]);
    let log = if B::SHARED {
        backend.open()
    } else {
        drop(first);
        backend.open()
    };
    let mut notes = log.notes().unwrap();
    assert_eq!((notes.is_shared(), notes.read().unwrap()), (B::SHARED, Vec::<String>::new()));
    assert_eq!(notes.append(&lines(0, 3)), Ok(Appended::Durable));
    assert_eq!(notes.append(&lines(3, 6_000)), Ok(Appended::Durable));
    assert_eq!(notes.read().unwrap(), Vec::<String>::new());
    let everything = |mut notes: Box<dyn Notes>| {
        let pages = std::iter::from_fn(|| Some(notes.read().unwrap()).filter(|read| !read.is_empty()));
        pages.flatten().collect::<Vec<_>>()
    };
    let mut behind = log.notes().unwrap();
    assert_eq!(behind.append(&lines(9_000, 9_001)), Ok(Appended::Behind), "it has read nothing");
    assert_eq!(everything(log.notes().unwrap()), lines(0, 6_000));
    if B::SHARED {
        let mut other = backend.open().notes().unwrap();
        while !other.read().unwrap().is_empty() {}
        assert_eq!(notes.append(&lines(6_000, 6_001)), Ok(Appended::Durable));
        assert_eq!(other.append(&lines(6_000, 6_002)), Ok(Appended::Behind));
        assert_eq!(other.read().unwrap(), lines(6_000, 6_001));
        assert_eq!(other.append(&lines(6_001, 6_002)), Ok(Appended::Durable));
    }
    let count = if B::SHARED { 6_002 } else { 6_000 };
    drop((notes, behind, log));
    assert_eq!(everything(backend.open().notes().unwrap()), lines(0, count));
}

macro_rules! conformance {
    ($name:ident, $backend:ty) => {
        mod $name {
            #[test]
            fn what_was_said_is_there_when_it_is_opened_again() {
                super::what_was_said_is_there_when_it_is_opened_again::<$backend>();
            }
            #[test]
            fn what_was_said_is_never_said_otherwise() {
                super::what_was_said_is_never_said_otherwise::<$backend>();
            }
            #[test]
            fn an_older_or_another_ledger_is_refused() {
                super::an_older_or_another_ledger_is_refused::<$backend>();
            }
            #[test]
            fn replicas_take_turns() {
                super::replicas_take_turns::<$backend>();
            }
            #[test]
            fn notes_are_written_behind_all_that_was_read() {
                super::notes_are_written_behind_all_that_was_read::<$backend>();
            }
            #[test]
            fn an_append_that_does_not_follow_is_not_written() {
                super::an_append_that_does_not_follow_is_not_written::<$backend>();
            }
        }
    };
}

conformance!(sled, super::InSled);
conformance!(memory, crate::daemon::store::Memory);
#[cfg(feature = "postgres-tests")]
conformance!(postgres, super::super::postgres::tests::Cluster);
