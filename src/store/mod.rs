//! The store: streams of records, and small named documents. An append returns when it is on disk.
//!
//! It knows only bytes. It never learns what a loan is, never looks at a clock, never changes a record (all of a stream's
//! may be replaced by fewer) and never repairs by guessing: what is damaged is refused, with what to do about it.
//!
//! A backend is safe to share between threads, and its calls block: an async caller uses `spawn_blocking`.

mod disk;
mod error;
mod journal;
mod log;
mod mark;
mod memory;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod replaced;

pub use disk::Sled;
pub use error::StoreError;
pub use log::{Export, Item, Store, StreamId, MAX_BATCH, MAX_DOCUMENT, MAX_NAME, MAX_RECORD};
pub use memory::Memory;
