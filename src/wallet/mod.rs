//! The wallet room: the coins and the keys of one party.
//!
//! It knows which coins are ours, chooses among them, signs with their keys and derives the keys of each loan. It
//! never opens a socket, never reads a clock (times are arguments) and never draws randomness. The secret key of a
//! coin never leaves it; only the keys of a loan do, because the contract signs with them.
//!
//! [`Seed`] turns words into keys. [`Wallet`] holds the coins, told of the chain by
//! [`ChainEvent`](crate::chain::ChainEvent)s. [`verify_coin_proof`] checks what another party's wallet says it owns.

mod addresses;
mod checkpoints;
mod child;
mod coins;
mod error;
mod fallen;
mod history;
mod keys;
mod ledger;
mod proof;
mod purse;
mod reserve;
mod sign;
mod spend;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

pub use addresses::{MOST_UNPAID, RESTORE_LOOKS};
pub use coins::{Balance, Coin, NetEffect, LONGEST_PREVIOUS, P2WPKH_DUST, P2WPKH_INPUT_WEIGHT};
pub use error::Error;
pub use fallen::Fallen;
pub use history::Passage;
pub use keys::{LoanKeys, Seed};
pub use ledger::{Standing, Wallet};
pub use proof::{verify_coin_proof, verify_signature, CoinProof, ProofError};
pub use purse::Purse;
pub use spend::{Payment, Rival};
pub use sweep::{Unmoved, MOST_INPUTS};
