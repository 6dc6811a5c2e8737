//! Of one hook: up to which event it was told, and which of those before it failed and wait. On disk at every change.

use super::WAITS;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Events that may wait; beyond them the oldest is given up.
pub(super) const MOST: usize = 1_000;

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Up to this number all were looked at.
    seen: u64,
    /// The numbers of those that wait, each with the tries that failed.
    waiting: BTreeMap<u64, usize>,
}

/// One hook's events.
pub(super) struct Queue {
    store: Arc<dyn Store>,
    document: String,
    kept: Kept,
    /// When each is to be told; at once where it is not named.
    at: BTreeMap<u64, Instant>,
}

impl Queue {
    /// What is kept for the hook of that name; one never heard of begins after `last`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(store: Arc<dyn Store>, name: &str, last: u64) -> Result<Queue, StoreError> {
        let document = format!("notify/{name}");
        let saved: Option<Kept> = store.get(&document)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let begins = saved.is_none();
        let kept = saved.unwrap_or(Kept { seen: last, waiting: BTreeMap::new() });
        let queue = Queue { store, document, kept, at: BTreeMap::new() };
        if begins {
            queue.save()?;
        }
        Ok(queue)
    }

    /// Up to which number all were looked at.
    pub fn seen(&self) -> u64 {
        self.kept.seen
    }

    /// Takes one in that is to be told, or only that it was looked at.
    pub fn look_at(&mut self, number: u64, is_told: bool) {
        self.kept.seen = self.kept.seen.max(number);
        if is_told {
            self.kept.waiting.insert(number, 0);
        }
        while self.kept.waiting.len() > MOST {
            if let Some((number, _)) = self.kept.waiting.pop_first() {
                tracing::warn!("{}: event {number} is given up: too many wait", self.document);
            }
        }
    }

    /// The first that is to be told now.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let is_due = |number: &&u64| self.at.get(number).is_none_or(|at| *at <= now);
        self.kept.waiting.keys().find(is_due).copied()
    }

    /// When the next is to be told.
    pub fn next(&self) -> Option<Instant> {
        self.at.values().min().copied()
    }

    /// It took, or is not to be told any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn done(&mut self, number: u64) -> Result<(), StoreError> {
        self.kept.waiting.remove(&number);
        self.at.remove(&number);
        self.save()
    }

    /// It did not take: told again later, or given up.
    ///
    /// # Errors
    /// When the store fails.
    pub fn failed(&mut self, number: u64, now: Instant) -> Result<(), StoreError> {
        let Some(failed) = self.kept.waiting.get_mut(&number) else { return Ok(()) };
        let Some(wait) = WAITS.get(*failed) else {
            tracing::warn!("{}: event {number} is given up after {} tries", self.document, WAITS.len() + 1);
            return self.done(number);
        };
        *failed += 1;
        self.at.insert(number, now + *wait);
        self.save()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.kept.waiting.len()
    }

    /// Puts it on disk.
    ///
    /// # Errors
    /// When the store fails.
    pub fn save(&self) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&self.kept).unwrap_or_default();
        tokio::task::block_in_place(|| self.store.put(&self.document, &bytes))
    }
}
