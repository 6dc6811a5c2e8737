//! The store: the ledger made durable, and the watermark beside it.
//!
//! A [`Log`] is a numbered list of records that only grows; one file for each thing it can be kept in. A [`Book`] is the
//! ledger read from a log: it checks every record, keeps the watermark, and is all that the desk sees. Nothing here
//! changes or deletes a record, signs anything, or lets anything be seen before it is durable.

mod book;
mod log;
mod mark;
mod memory;
mod postgres;
mod sled;

#[cfg(test)]
mod conformance;

pub use book::{Book, Said};
pub use log::{Log, LogError};
pub(super) use mark::replace;
pub use mark::{export, has_watermark, read_signed};
#[cfg(test)]
pub use memory::Memory;
pub use postgres::{Postgres, Server};
pub use sled::Sled;
