//! A log in memory, for tests: what is appended is durable as long as any handle is left. The handles are replicas of
//! one oracle and take turns by a lease, as with PostgreSQL; it never expires, but is given up with its handle.
#![cfg(test)]

use super::super::ledger::Record;
use super::log::{Appended, Log, LogError, Notes};
use crate::units::Time;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Shared {
    records: Vec<Record>,
    notes: Vec<String>,
    writer: Option<u64>,
    handles: u64,
    clock: Time,
    away: bool,
}

/// One handle.
#[derive(Default)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    me: u64,
    next: usize,
}

impl Memory {
    /// Another replica's handle.
    pub fn another(&self) -> Memory {
        let mut shared = self.lock();
        shared.handles += 1;
        Memory { shared: Arc::clone(&self.shared), me: shared.handles, next: 0 }
    }

    /// Cuts every handle off, or joins them again.
    pub fn cut(&self, away: bool) {
        self.lock().away = away;
    }

    /// Forgets the newest records, as an old copy that was restored.
    pub fn restore(&self, records: usize) {
        self.lock().records.truncate(records);
    }

    fn give_up(&self) {
        let me = self.me;
        let mut shared = self.lock();
        shared.writer = shared.writer.filter(|writer| *writer != me);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach_notes(&self) -> Result<MutexGuard<'_, Shared>, LogError> {
        let shared = self.lock();
        if shared.away {
            return Err(LogError::Away("the cable is out".to_string()));
        }
        Ok(shared)
    }

    fn reach(&self) -> Result<MutexGuard<'_, Shared>, LogError> {
        let shared = self.lock();
        if shared.away {
            return Err(LogError::Away("the cable is out".to_string()));
        }
        if shared.records.len() < self.next {
            return Err(LogError::Broken("records that were there are gone".to_string()));
        }
        Ok(shared)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Log for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let (read, next) = {
            let shared = self.reach()?;
            (shared.records.get(self.next..).unwrap_or_default().to_vec(), shared.records.len())
        };
        self.next = next;
        Ok(read)
    }

    fn append(&mut self, records: &[Record], clock: Time) -> Result<Appended, LogError> {
        let me = self.me;
        let mut shared = self.reach()?;
        if *shared.writer.get_or_insert(me) != me {
            return Ok(Appended::NotMine);
        }
        if shared.records.len() != self.next {
            return Ok(Appended::Behind);
        }
        shared.records.extend_from_slice(records);
        shared.clock = clock;
        let next = shared.records.len();
        drop(shared);
        self.next = next;
        Ok(Appended::Durable)
    }

    fn close(&mut self) {
        self.give_up();
    }

    fn writers_clock(&self) -> Time {
        self.lock().clock
    }

    fn yields(&mut self) -> Result<bool, LogError> {
        drop(self.reach()?);
        self.give_up();
        Ok(true)
    }

    fn notes(&self) -> anyhow::Result<Box<dyn Notes>> {
        Ok(Box::new(MemoryNotes(self.another())))
    }
}

/// A handle on the notes.
struct MemoryNotes(Memory);

impl Notes for MemoryNotes {
    fn is_shared(&self) -> bool {
        true
    }

    fn read(&mut self) -> Result<Vec<String>, LogError> {
        let notes = self.0.reach_notes()?.notes.get(self.0.next..).unwrap_or_default().to_vec();
        self.0.next += notes.len();
        Ok(notes)
    }

    fn append(&mut self, notes: &[String]) -> Result<Appended, LogError> {
        let mut shared = self.0.reach_notes()?;
        if shared.notes.len() != self.0.next {
            return Ok(Appended::Behind);
        }
        shared.notes.extend_from_slice(notes);
        drop(shared);
        self.0.next += notes.len();
        Ok(Appended::Durable)
    }
}
