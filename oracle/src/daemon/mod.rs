//! The daemon: makes prices into attestations and serves them over HTTP.
//!
//! One thread (the desk) reads the clock and the feed, and makes hour lows and fixings durable; the HTTP side only
//! reads what is durable and signs it on demand, with a key of its own or through the [`signer`]'s socket. The operator
//! speaks through Unix sockets. Never hears of a loan, never takes an order over the public listener,
//! never changes or deletes what it has said, never speaks for mainnet with a test feed, never fills in an hour it did not see.
//!
//! A new feed is one more file in [`feed`] and one more arm in [`config::FeedChoice`].

pub mod config;
pub mod feed;
pub mod log;
pub mod manual;
pub mod passphrase;
pub mod payments;
pub mod signer;
pub mod usage;

mod cli;
mod commands;
mod desk;
mod doctor;
#[cfg(test)]
mod harness;
mod http;
mod journal;
mod keyfile;
mod ledger;
mod log_routes;
mod nostr;
mod peers;
mod policies;
mod press;
mod private;
mod rotation;
mod run;
mod same_operator;
mod slip;
mod socket;
mod statements;
mod store;
mod tag;
mod waiter;
mod webhook;

pub use cli::{execute, main, Command};
pub use config::{Config, FeedChoice, LiveChoice, Network, Operating, Replicas};
pub use feed::manual::{clear_price, set_price};
pub use feed::{Venue, Venues};
pub use http::{Limits, Readiness};
pub use keyfile::{init, init_with};
pub use private::{ask_status, socket_path, tell_price, PrivateStatus};
pub use run::{run, start, Oracle};
