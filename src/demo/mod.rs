//! The demo room: the whole story on one machine, and the processes it needs. The end-to-end tests use it too.
//!
//! It starts and stops other programs, moves their time, and reads back what happened. It never holds a party's key,
//! never tells a node what it should find out by itself, and nothing in a running node depends on it.

pub mod bitcoind;
pub mod client;
pub mod conductor;
pub mod ledger;
pub mod party;
pub mod port;
pub mod prices;
pub mod program;
pub mod report;
pub mod run;
pub mod stories;
pub mod wait;
pub mod world;

pub use run::{run, Args};
