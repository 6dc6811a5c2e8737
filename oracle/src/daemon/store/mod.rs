//! The store: the ledger made durable, and the watermark beside it.
//!
//! A [`Log`] is a numbered list of records that only grows; one file for each thing it can be kept in. A [`Book`] is the
//! ledger read from a log: it checks every record, keeps the watermark, and is all that the desk sees. [`Notes`] are the
//! payments' book beside the records, which any replica writes, behind all it has read. Nothing here
//! changes or deletes a record, signs anything, or lets anything be seen before it is durable.

mod book;
mod connection;
mod log;
mod mark;
mod memory;
mod postgres;
mod postgres_notes;
mod sled;

#[cfg(test)]
mod conformance;

pub use book::{Book, Said};
pub use connection::Server;
pub use log::{Appended, Log, LogError, Notes};
pub(super) use mark::replace;
pub use mark::{export, has_watermark, read_signed};
#[cfg(test)]
pub use memory::Memory;
pub use postgres::{Postgres, MOST_OFF};
pub use sled::Sled;
