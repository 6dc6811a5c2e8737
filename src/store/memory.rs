//! A store that forgets when it is dropped: for tests, and the model the others are compared with.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::log::{check_documents, check_records, check_replacing, Export};
use super::{Item, Store, StoreError, StreamId};

/// Keeps everything in memory. Durable only as long as it lives.
#[derive(Default)]
pub struct Memory {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    streams: BTreeMap<StreamId, Stream>,
    documents: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Default)]
struct Stream {
    gone: u64,
    records: Vec<Vec<u8>>,
}

impl Stream {
    fn length(&self) -> u64 {
        self.gone.saturating_add(self.records.len() as u64)
    }
}

impl Kept {
    fn expect(&self, stream: StreamId, expected: u64) -> Result<(), StoreError> {
        match self.streams.get(&stream).map_or(0, Stream::length) {
            found if found == expected => Ok(()),
            found => Err(StoreError::Length { stream, expected, found }),
        }
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Memory::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn append(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        check_records(stream, records)?;
        let mut kept = self.kept();
        kept.expect(stream, expected_len)?;
        let held = kept.streams.entry(stream).or_default();
        held.records.extend_from_slice(records);
        Ok(held.length())
    }

    fn replace(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<(), StoreError> {
        check_replacing(stream, expected_len, records)?;
        let mut kept = self.kept();
        kept.expect(stream, expected_len)?;
        if records.is_empty() {
            kept.streams.remove(&stream);
        } else {
            let gone = expected_len.saturating_sub(records.len() as u64);
            kept.streams.insert(stream, Stream { gone, records: records.to_vec() });
        }
        Ok(())
    }

    fn length(&self, stream: StreamId) -> Result<u64, StoreError> {
        Ok(self.kept().streams.get(&stream).map_or(0, Stream::length))
    }

    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(self.kept().streams.get(&stream).map(|held| held.records.clone()).unwrap_or_default())
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        Ok(self.kept().streams.keys().copied().collect())
    }

    fn put_all(&self, documents: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        check_documents(documents)?;
        self.kept().documents.extend(documents.iter().cloned());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.kept().documents.get(name).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Ok(self.kept().documents.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    fn export(&self) -> Result<Export<'_>, StoreError> {
        let kept = self.kept();
        let documents = kept.documents.clone().into_iter().map(|(name, bytes)| Item::Document { name, bytes });
        let streams = kept.streams.clone();
        let records = streams.into_iter().flat_map(|(stream, held)| {
            (0u64..).zip(held.records).map(move |(seq, bytes)| Item::Record { stream, seq, bytes })
        });
        Ok(Box::new(documents.chain(records).map(Ok)))
    }
}
