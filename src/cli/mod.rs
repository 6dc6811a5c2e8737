//! The command line: one file per command.
//!
//! Commands speak HTTP to a running node and know nothing that a program with the token could not know. They never
//! open a node's store, hold a key or decide about money; `init`, `restore` and `node` alone touch the data folder.

mod amount;
mod ask;
mod backup;
mod borrow;
mod client;
mod confirm;
mod demo;
mod events;
mod follow;
mod init;
mod line;
mod loan;
mod manual;
mod node;
mod oracle;
mod out;
mod peer;
mod policy;
mod process;
mod quote;
mod requests;
mod restore;
mod show;
mod statement;
mod status;
mod table;
mod turn;
mod wallet;
mod which;

pub use line::main;
pub use process::to_its_end;
pub(crate) use table::{folded, Look};
