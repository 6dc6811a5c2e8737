//! Hypothec: loans against bitcoin between two peers, with no custodian.
//!
//! The rooms, in reading order: what money and terms are, then the contract, then who may say what, then the outside.

#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

// So that a file of the tests' can be part of the unit tests as well.
#[cfg(test)]
extern crate self as hypothec;

pub mod api;
pub mod chain;
pub mod cli;
pub mod contract;
pub mod crash;
pub mod demo;
pub mod hook;
pub mod loan;
pub mod node;
pub mod oracle_client;
pub mod peer;
pub mod protocol;
pub mod settlement;
pub mod store;
pub mod wallet;
