//! The demo room: the whole story on one machine, and the processes it needs.
//!
//! It starts and stops other programs. It never holds a party's key and nothing in a running node depends on it.

pub mod bitcoind;
