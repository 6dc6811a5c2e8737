//! Small things of one kind, each in a document of its own: what is written for one does not grow with the others.
//!
//! Documents cannot be removed, so they are slots that are used again; an empty one is free.

use crate::loan::terms::LoanId;
use crate::store::{Store, StoreError};
use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A list of none, as programs read it that kept all in one document.
const NONE: &[u8] = b"[]";

/// Where each is.
pub(super) struct Slots {
    store: Arc<dyn Store>,
    /// What their documents' names begin with.
    prefix: &'static str,
    at: BTreeMap<LoanId, usize>,
}

impl Slots {
    /// What the store holds, by slot; what one document of before held is taken over, and that emptied.
    ///
    /// # Errors
    /// When the store fails, or one cannot be read.
    pub fn open<T: Serialize + DeserializeOwned>(
        store: Arc<dyn Store>,
        prefix: &'static str,
        before: &str,
        id: impl Fn(&T) -> LoanId,
    ) -> anyhow::Result<(Slots, Vec<T>)> {
        let mut slots = Slots { store, prefix, at: BTreeMap::new() };
        let mut all = Vec::new();
        for name in slots.store.list(prefix)? {
            let bytes = slots.store.get(&name)?.unwrap_or_default();
            let slot = name.strip_prefix(prefix).and_then(|slot| slot.parse().ok());
            let Some(slot) = slot.filter(|_| !bytes.is_empty()) else { continue };
            let one: T = serde_json::from_slice(&bytes).with_context(|| format!("stored {name}"))?;
            slots.at.insert(id(&one), slot);
            all.push(one);
        }
        let old = slots.store.get(before)?.filter(|bytes| bytes != NONE);
        if let Some(bytes) = old {
            let old: Vec<T> = serde_json::from_slice(&bytes).with_context(|| format!("stored {before}"))?;
            let mut documents: Vec<_> = old.iter().map(|one| slots.document(id(one), one)).collect();
            documents.push((before.to_owned(), NONE.to_vec()));
            slots.store.put_all(&documents)?;
            all.extend(old);
        }
        Ok((slots, all))
    }

    /// Keeps one. On disk when this returns.
    pub fn put(&mut self, id: LoanId, one: &impl Serialize) -> Result<(), StoreError> {
        let document = self.document(id, one);
        tokio::task::block_in_place(|| self.store.put_all(&[document]))
    }

    /// It is no more. On disk when this returns.
    pub fn remove(&mut self, id: &LoanId) -> Result<(), StoreError> {
        let Some(slot) = self.at.remove(id) else { return Ok(()) };
        let name = self.name(slot);
        tokio::task::block_in_place(|| self.store.put(&name, b""))
    }

    /// Its slot is for the next, which is written over it.
    pub fn give_up(&mut self, id: &LoanId) {
        self.at.remove(id);
    }

    fn document(&mut self, id: LoanId, one: &impl Serialize) -> (String, Vec<u8>) {
        let slot = self.at.get(&id).copied().unwrap_or_else(|| self.free());
        self.at.insert(id, slot);
        // Integers and hashes cannot fail to be written.
        (self.name(slot), serde_json::to_vec(one).unwrap_or_default())
    }

    /// The first slot that is nobody's.
    fn free(&self) -> usize {
        let taken: BTreeSet<usize> = self.at.values().copied().collect();
        (0..).find(|slot| !taken.contains(slot)).unwrap_or_default()
    }

    fn name(&self, slot: usize) -> String {
        format!("{}{slot:02}", self.prefix)
    }
}
