//! A bitcoind of our own on regtest: found or fetched, started, mined with, and killed when dropped.

mod find;
mod process;

pub use find::{cache_dir, find, Found, Source};
pub use process::{BitcoindProcess, Error, Options};
