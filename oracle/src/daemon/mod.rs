//! The daemon: makes prices into attestations and serves them over HTTP.
//!
//! One thread (the desk) reads the clock and the feed, and makes hour lows and fixings durable; the HTTP side only
//! reads what is durable and signs it on demand. Never hears of a loan, never takes an order over the public listener,
//! never changes or deletes what it has said, never speaks for mainnet with a test feed, never fills in an hour it did not see.
//!
//! A new feed is one more file in [`feed`] and one more arm in [`config::FeedChoice`].

pub mod config;
pub mod feed;
pub mod log;

mod cli;
mod commands;
mod desk;
#[cfg(test)]
mod harness;
mod http;
mod keyfile;
mod ledger;
mod log_routes;
mod peers;
mod policies;
mod press;
mod run;
mod store;
mod waiter;

pub use cli::{execute, main, Command};
pub use config::{Config, FeedChoice, LiveChoice, Network, Replicas};
pub use feed::manual::{clear_price, set_price};
pub use keyfile::init;
pub use run::{run, start, Oracle};
