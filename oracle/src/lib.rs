//! The oracle: prices said once, about nobody.
//!
//! The library half holds what an oracle and the users of one must agree on: units, event ids, the ladder of
//! price levels, announcements, nonce proofs, the JSON of the HTTP routes and the notes of Nostr relays. `sealed` and
//! `passphrase` keep a secret under a passphrase, for the oracle and for nodes; `room` is what both say of a disk, `reached` of
//! a place on the web. The daemon half makes prices into
//! attestations; `screen` is how both programs speak, by `outlet` where they serve. Nothing in either knows what a loan is.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod announce;
pub mod bucket;
pub mod bundle;
pub mod clock;
pub mod contradiction;
pub mod crash;
pub mod crowd;
pub mod daemon;
pub mod equivocation;
pub mod event;
pub mod foreign;
pub mod handles;
pub mod ladder;
pub mod listener;
pub mod logging;
pub mod operator;
pub mod outlet;
pub mod passphrase;
pub mod price;
pub mod reached;
pub mod relay;
pub mod room;
pub mod rotation;
pub mod screen;
pub mod sealed;
pub mod statement;
pub mod ticklog;
pub mod units;
pub mod verify;
pub mod watermark;
pub mod wire;
