//! The node: joins the rooms into a process that acts by itself.
//!
//! Inputs come from peers, chain, oracles, the API and the clock; the protocol decides; events are on disk before
//! anything leaves. It never decides about money by itself: that is the protocol's.

mod approval;
mod attention;
pub mod backup;
mod borrowing;
mod chain_gate;
mod commands;
pub mod config;
mod core;
pub mod data;
mod disk;
mod endings;
mod events;
mod exits;
mod fallen;
mod fee_coin;
mod foreign;
mod given_up;
mod gravity;
pub mod handle;
mod history;
mod implied;
mod inbox;
mod inventory;
mod jobs;
mod key_file;
#[cfg(target_os = "linux")]
mod key_lock;
pub mod last_words;
mod lending;
pub mod limits;
mod negotiations;
mod new_loans;
mod notify;
mod operators;
mod outbox;
mod outgoing;
mod pay;
mod peers;
mod place;
mod ports;
pub mod present;
mod preview;
mod pricing;
mod proofs;
mod quotes;
mod record;
mod recovery;
mod refusals;
mod removal;
mod renewal;
mod requests;
pub mod restored;
mod results;
mod rotations;
mod same_key;
mod shown;
mod slots;
mod start;
mod statement;
mod statements;
#[cfg(test)]
mod tests;
mod tools;
mod troubles;
mod turn;
pub mod unlock;
mod unmade;
mod unreached;
mod unreadable;
mod vain;
pub mod view;
pub mod words;

pub use chain_gate::SILENT;
pub use config::Config;
pub use handle::Handle;
pub use ports::ApiTrouble;
pub use start::{start, start_unlocked, Running};
