//! Hypothec: loans against bitcoin between two peers, with no custodian.
//!
//! The rooms, in reading order: what money and terms are, then the contract, then who may say what, then the outside.

pub mod loan;
pub mod contract;
pub mod settlement;
pub mod protocol;
pub mod chain;
pub mod wallet;
pub mod peer;
pub mod store;
pub mod crash;
pub mod demo;
