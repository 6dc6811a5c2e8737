//! The store as its callers see it.

use std::fmt;

use super::StoreError;

/// The most bytes of one record: 8 MiB. A sign message with all its adaptor signatures is 0.3 to 1 MB.
pub const MAX_RECORD: usize = 8 << 20;
/// The most bytes of all records of one append: 32 MiB.
pub const MAX_BATCH: usize = 32 << 20;
/// The most bytes of one document: 1 MiB. Documents are kept in memory.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// The most bytes of a document's name.
pub const MAX_NAME: usize = 128;

/// The name of a stream: 32 bytes, a loan's id for a loan's events. Shown as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub [u8; 32]);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

impl From<[u8; 32]> for StreamId {
    fn from(bytes: [u8; 32]) -> Self {
        StreamId(bytes)
    }
}

/// One thing of an export, and what an import takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Record `seq` (from 0, without a gap) of a stream.
    Record { stream: StreamId, seq: u64, bytes: Vec<u8> },
    /// The newest version of a document.
    Document { name: String, bytes: Vec<u8> },
}

/// An export: everything the store held at the moment it was asked.
pub type Export<'a> = Box<dyn Iterator<Item = Result<Item, StoreError>> + Send + 'a>;

/// Streams of records and named documents, durable when a call returns.
pub trait Store: Send + Sync {
    /// Appends `records` to `stream` and returns its new length. All of them or none; on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Length`] when the stream does not hold exactly `expected_len` records: the caller's picture is
    /// old. After [`StoreError::Io`] the outcome is unknown until the store is opened again.
    fn append(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<u64, StoreError>;

    /// Puts `records`, no more than the stream has, in the place of all its records: the last of them takes the number of
    /// the stream's last, and the stream's length stays. With none, the stream is forgotten, as if it had never been.
    /// On disk when this returns, and a crash leaves either all of the old records or all of the new. What the old ones
    /// took of the disk is used again for what is written next.
    ///
    /// # Errors
    /// As [`Store::append`], and [`StoreError::Replacing`] for a stream with nothing in it or more records than it has.
    fn replace(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<(), StoreError>;

    /// How many records a stream was ever given: the number of the next, counted from 0. Those that others took the
    /// place of count, and so [`Store::read`] may return fewer: the last of them.
    fn length(&self, stream: StreamId) -> Result<u64, StoreError>;

    /// All records of a stream in order; none for a stream that was never appended to.
    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Every stream that holds a record, in the order of their ids.
    fn streams(&self) -> Result<Vec<StreamId>, StoreError>;

    /// Replaces a document; on disk when this returns. Old versions are not kept.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_all(&[(name.to_owned(), bytes.to_vec())])
    }

    /// Replaces these documents, name and bytes, all of them or none, by one sync; of two of one name the later stays.
    /// On disk when this returns.
    ///
    /// # Errors
    /// As [`Store::put`], and where all together are more than [`MAX_BATCH`] bytes.
    fn put_all(&self, documents: &[(String, Vec<u8>)]) -> Result<(), StoreError>;

    /// The newest version of a document.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// The names of the documents that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Everything the store holds now, documents first, then stream by stream, the records of each from 0: what others
    /// took the place of is not part of it, nor counted. Appends that happen while the export
    /// is read are not part of it.
    fn export(&self) -> Result<Export<'_>, StoreError>;

    /// Fills an empty store from an export.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`], or [`StoreError::Gap`] when a record is missing; the store may then hold a part of
    /// the items and must be thrown away. [`super::Sled::restore`] does that by itself.
    fn import(&self, items: &mut dyn Iterator<Item = Item>) -> Result<(), StoreError> {
        if let Some(stream) = self.streams()?.first() {
            return Err(StoreError::NotEmpty { found: format!("stream {stream}") });
        }
        if let Some(name) = self.list("")?.first() {
            return Err(StoreError::NotEmpty { found: format!("document {name}") });
        }
        let mut batch = Batch::default();
        for item in items {
            match item {
                Item::Document { name, bytes } => self.put(&name, &bytes)?,
                Item::Record { stream, seq, bytes } => batch.push(self, stream, seq, bytes)?,
            }
        }
        batch.flush(self)
    }
}

/// Records of one stream, gathered so that an import syncs once per some megabytes and not once per record.
#[derive(Default)]
struct Batch {
    stream: Option<StreamId>,
    first: u64,
    records: Vec<Vec<u8>>,
    size: usize,
}

impl Batch {
    const ENOUGH: usize = 4 << 20;

    fn push<S: Store + ?Sized>(
        &mut self,
        store: &S,
        stream: StreamId,
        seq: u64,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        if self.stream != Some(stream) || self.size > Self::ENOUGH {
            self.flush(store)?;
            if self.stream != Some(stream) {
                *self = Batch { stream: Some(stream), first: store.read(stream)?.len() as u64, ..Batch::default() };
            }
        }
        let expected = self.first.saturating_add(self.records.len() as u64);
        if seq != expected {
            return Err(StoreError::Gap { stream, expected, found: seq });
        }
        self.size = self.size.saturating_add(bytes.len());
        self.records.push(bytes);
        Ok(())
    }

    fn flush<S: Store + ?Sized>(&mut self, store: &S) -> Result<(), StoreError> {
        if let (Some(stream), false) = (self.stream, self.records.is_empty()) {
            self.first = store.append(stream, self.first, &self.records)?;
            self.records.clear();
            self.size = 0;
        }
        Ok(())
    }
}

/// The checks every backend makes before it writes records.
pub(super) fn check_records(stream: StreamId, records: &[Vec<u8>]) -> Result<(), StoreError> {
    if records.is_empty() {
        return Err(StoreError::Empty { stream });
    }
    if let Some(record) = records.iter().find(|record| record.len() > MAX_RECORD) {
        return Err(StoreError::TooLarge { what: "a record", found: record.len(), most: MAX_RECORD });
    }
    let total = records.iter().fold(0usize, |sum, record| sum.saturating_add(record.len()));
    if total > MAX_BATCH {
        return Err(StoreError::TooLarge { what: "an append", found: total, most: MAX_BATCH });
    }
    Ok(())
}

/// The checks every backend makes before it puts records in the place of others.
pub(super) fn check_replacing(stream: StreamId, length: u64, records: &[Vec<u8>]) -> Result<(), StoreError> {
    let given = records.len() as u64;
    match records.is_empty() {
        _ if length == 0 || given > length => Err(StoreError::Replacing { stream, found: length, given }),
        true => Ok(()),
        false => check_records(stream, records),
    }
}

/// The checks every backend makes before it writes documents.
pub(super) fn check_documents(documents: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
    documents.iter().try_for_each(|(name, bytes)| check_document(name, bytes))?;
    let total = documents.iter().fold(0usize, |sum, (_, bytes)| sum.saturating_add(bytes.len()));
    match total > MAX_BATCH {
        true => Err(StoreError::TooLarge { what: "documents together", found: total, most: MAX_BATCH }),
        false => Ok(()),
    }
}

fn check_document(name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME || !printable {
        return Err(StoreError::Name { name: name.chars().take(MAX_NAME).collect(), most: MAX_NAME });
    }
    if bytes.len() > MAX_DOCUMENT {
        return Err(StoreError::TooLarge { what: "a document", found: bytes.len(), most: MAX_DOCUMENT });
    }
    Ok(())
}
