//! What a chain backend answers, free of any backend's own types.

use super::Error;
use bitcoin::{BlockHash, Transaction, TxOut};
use hypothec_oracle::units::Time;

/// The best block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Blocks above the genesis block.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
    /// Median time past: what decides whether a timelocked transaction is final.
    pub median_time: Time,
    /// The time its miner wrote into it.
    pub time: Time,
}

/// How far bitcoind is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Blocks it has.
    pub blocks: u32,
    /// Headers it knows of.
    pub headers: u32,
    /// Is it in its initial download, or is its newest block old?
    pub is_initial: bool,
    /// The network it is on, where that is another than the configured one: both names, found and configured.
    pub other: Option<(String, String)>,
    /// Does its mempool refuse every transaction of version 3, as the exits of new loans are?
    pub refuses_version_3: bool,
    /// Does it take them as any other, so that no child pays for one that is below its minimum?
    pub ignores_version_3: bool,
    /// That this node's own cap is below what it takes at least, where that is so.
    pub low_cap: Option<Error>,
}

impl Health {
    /// Is it the right one, at the end of the chain as far as it knows?
    pub fn has_all(&self) -> bool {
        !self.is_initial && self.other.is_none() && self.blocks >= self.headers
    }
}

/// Blocks that a mining reward has, its own among them, before the next may spend it.
const COINBASE_MATURITY: u32 = 100;

/// An unspent output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Script and value.
    pub txout: TxOut,
    /// Blocks on top of and including its own; 0 while it is in the mempool.
    pub confirmations: u32,
    /// Is it a mining reward?
    pub is_coinbase: bool,
}

impl Coin {
    /// May the next block spend it, and is it in one itself? A mining reward must have 100 blocks.
    pub fn is_ready(&self) -> bool {
        self.confirmations >= if self.is_coinbase { COINBASE_MATURITY } else { 1 }
    }
}

/// Where a transaction is in the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Height of its block.
    pub height: u32,
    /// Hash of its block.
    pub hash: BlockHash,
    /// The time its miner wrote into it.
    pub time: Time,
    /// Blocks on top of and including its own; at least 1.
    pub confirmations: u32,
}

/// A transaction that is in the best chain or in the mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The transaction with its witnesses.
    pub transaction: Transaction,
    /// `None` while it waits in the mempool.
    pub confirmed: Option<Confirmed>,
}
