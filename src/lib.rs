//! Hypothec: loans against bitcoin between two peers, with no custodian.
//!
//! The rooms, in reading order: what money and terms are, then the contract, then who may say what, then the outside.

pub mod oracle_client;
