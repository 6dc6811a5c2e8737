//! Why the wallet refuses, with what would be right.

use bitcoin::{Amount, Network, OutPoint};

/// A request the wallet cannot fulfil.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wallet file cannot be read or written.
    #[error("wallet file {path}: {reason}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file is not a wallet file of this version, or belongs to other words or another network.
    #[error("wallet file {path} cannot be used ({reason}): move it away and the wallet is rebuilt from its words by reading the chain again")]
    Foreign {
        /// Which file.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// A network without a wallet.
    #[error("network `{0}` is refused: the wallet serves regtest and signet")]
    Network(Network),
    /// A block that does not follow the last one.
    #[error("block at height {height} does not connect to the wallet's chain: {reason}")]
    Disconnected {
        /// Its height.
        height: u32,
        /// What does not fit.
        reason: String,
    },
    /// Confirmed, unreserved coins do not suffice.
    #[error("not enough confirmed coins: {needed} is needed with fees, {available} is free{}", notes(*needed, *available, [*costly, *waiting, *reserved]))]
    Insufficient {
        /// Target and fees.
        needed: Amount,
        /// What confirmed, unreserved coins add up to that are worth more than they cost.
        available: Amount,
        /// What the others do: each costs more than it is worth at this fee rate.
        costly: Amount,
        /// What waits for a confirmation.
        waiting: Amount,
        /// What is held back for loans.
        reserved: Amount,
    },
    /// More coins than one transaction of ours may spend.
    #[error(
        "this takes {needed} coins, and more than {} in one transaction make a coin that no peer takes: join small ones \
         first with `wallet consolidate`, and again until few are left",
        super::MOST_INPUTS
    )]
    TooManyCoins {
        /// How many it would take.
        needed: usize,
    },
    /// There are not two coins worth joining.
    #[error(
        "there is nothing to join: of {coins} free coins fewer than two are worth more than it costs to move them"
    )]
    NothingToJoin {
        /// How many are free.
        coins: usize,
    },
    /// Too small to be relayed.
    #[error("amount {amount} is below the smallest output bitcoin relays to that address, {least}")]
    Dust {
        /// What was asked.
        amount: Amount,
        /// What would be relayed.
        least: Amount,
    },
    /// The coin is not ours, or is already spent in a block.
    #[error("coin {0} is not an unspent confirmed coin of this wallet")]
    NotOurs(OutPoint),
    /// The coin's value does not cover the fee.
    #[error(
        "coin {outpoint} is worth {value}, less than the fee of {fee} (and the smallest output) it takes to move it"
    )]
    TooSmall {
        /// Which coin.
        outpoint: OutPoint,
        /// Its value.
        value: Amount,
        /// What moving it would cost.
        fee: Amount,
    },
    /// A PSBT that says something wrong about one of our inputs.
    #[error("input {index} of the PSBT: {reason}")]
    Psbt {
        /// Which input, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// An address of another network.
    #[error("address {address} is not an address of {network}: ask for one that is")]
    Address {
        /// What was given.
        address: String,
        /// The wallet's network.
        network: Network,
    },
    /// Keys or amounts out of range.
    #[error("{0}")]
    Arithmetic(&'static str),
    /// Key derivation failed.
    #[error("key derivation: {0}")]
    Derivation(String),
}

fn notes(needed: Amount, available: Amount, [costly, waiting, reserved]: [Amount; 3]) -> String {
    let mut notes = String::new();
    if costly > Amount::ZERO {
        notes.push_str(&format!(
            ", {costly} more is in coins that each cost more than they are worth while fees are so high"
        ));
    }
    if reserved > Amount::ZERO {
        notes.push_str(&format!(", {reserved} is reserved for loans"));
    }
    if waiting > Amount::ZERO {
        let suffices = available.checked_add(waiting).is_none_or(|with| with >= needed);
        let then = if suffices { "ask again once it has one" } else { "it would not be enough with that either" };
        notes.push_str(&format!(", {waiting} waits for a confirmation: {then}"));
    }
    notes
}
