//! The chain as a list of events, in order, each told once.

use super::{Error, Rpc};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use hypothec_oracle::units::Time;
use serde::Deserialize;
use serde_json::json;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// At most so many blocks per poll, so that the caller can save its state in between.
const BLOCKS_PER_POLL: usize = 200;
/// At most so many new mempool transactions per poll.
const MEMPOOL_PER_POLL: usize = 2_000;
/// Blocks remembered to find the fork by; a deeper reorganisation starts over from genesis.
const REMEMBERED: usize = 4_032;

/// A block by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Blocks above the genesis block.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// One thing that happened on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEvent {
    /// Every block above `to_height` has left the best chain.
    Rollback {
        /// The last height still in common.
        to_height: u32,
    },
    /// The next block of the best chain: one above the last told, or above the height last rolled back to.
    Block {
        /// Its height.
        height: u32,
        /// Its hash.
        hash: BlockHash,
        /// All of it.
        block: Arc<Block>,
        /// Median time past with this block at the tip.
        median_time: Time,
    },
    /// What changed in the mempool since it was last told. Only told at the tip.
    Mempool {
        /// Transactions that have come.
        new: Vec<Arc<Transaction>>,
        /// Transactions that have gone without being in a block told.
        evicted: Vec<Txid>,
    },
}

/// Follows one bitcoind. Holds its place in memory only: the caller gives it back at start.
///
/// [`Follower::poll`] may be dropped half-way (as `select!` does): what was found by then is told by the next poll.
pub struct Follower {
    rpc: Rpc,
    /// Blocks told, lowest first, each one above the last except after a sparse start.
    told: VecDeque<BlockRef>,
    /// Transactions told to be in the mempool, and neither mined nor evicted since.
    mempool: HashSet<Txid>,
    /// Transactions of blocks rolled back, neither mined nor seen in the mempool since.
    orphans: HashSet<Txid>,
    pending: Vec<ChainEvent>,
}

#[derive(Deserialize)]
struct Header {
    height: u32,
    confirmations: i64,
    mediantime: u32,
    previousblockhash: Option<BlockHash>,
    nextblockhash: Option<BlockHash>,
}

#[derive(Deserialize)]
struct BlockTxids {
    tx: Vec<Txid>,
}

impl Follower {
    pub(super) fn new(rpc: Rpc, known: &[BlockRef], unconfirmed: impl IntoIterator<Item = Txid>) -> Follower {
        let mut told: Vec<BlockRef> = known.to_vec();
        told.sort_by_key(|b| b.height);
        told.dedup_by_key(|b| b.height);
        Follower {
            rpc,
            told: told.into(),
            mempool: unconfirmed.into_iter().collect(),
            orphans: HashSet::new(),
            pending: Vec::new(),
        }
    }

    /// The last block told; `None` before the first.
    pub fn position(&self) -> Option<BlockRef> {
        self.told.back().copied()
    }

    /// Transactions known to wait in the mempool.
    pub fn mempool_len(&self) -> usize {
        self.mempool.len()
    }

    /// Has this transaction been told to wait in the mempool, and neither to be mined nor to be gone?
    pub fn is_waiting(&self, txid: &Txid) -> bool {
        self.mempool.contains(txid)
    }

    /// What has happened since the last poll; an empty list where nothing has. Two small calls when nothing changed.
    /// A long way behind, it returns a part: poll again until the list is empty.
    ///
    /// # Errors
    /// What kept it from asking. Nothing is lost: the next poll goes on from the same place.
    pub async fn poll(&mut self) -> Result<Vec<ChainEvent>, Error> {
        match self.advance().await {
            Err(e) if self.pending.is_empty() => Err(e),
            _ => Ok(std::mem::take(&mut self.pending)),
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        while self.pending.len() < BLOCKS_PER_POLL {
            let best: BlockHash = self.rpc.call("getbestblockhash", vec![]).await?;
            if self.position().is_some_and(|last| last.hash == best) {
                // The list must belong to this tip, or a transaction just mined would look evicted.
                let list: Vec<Txid> = self.rpc.call("getrawmempool", vec![]).await?;
                let same = list.len() == self.mempool.len() && list.iter().all(|txid| self.mempool.contains(txid));
                if same && self.orphans.is_empty() {
                    return Ok(());
                }
                let still: BlockHash = self.rpc.call("getbestblockhash", vec![]).await?;
                if still == best {
                    return self.take_mempool(list).await;
                }
                continue;
            }
            let fork = self.roll_back().await?;
            self.take_blocks(fork).await?;
        }
        Ok(())
    }

    /// Drops told blocks that have left the best chain, and returns the header of the last one still in it.
    async fn roll_back(&mut self) -> Result<Header, Error> {
        let mut kept = self.told.clone();
        let mut gone = Vec::new();
        let fork = loop {
            let Some(last) = kept.back() else {
                let hash: BlockHash = self.rpc.call("getblockhash", vec![json!(0)]).await?;
                kept.push_back(BlockRef { height: 0, hash });
                break self.rpc.call("getblockheader", vec![json!(hash), json!(true)]).await?;
            };
            if let Some(header) = self.header(last.hash).await?.filter(|h| h.confirmations > 0) {
                break header;
            }
            gone.push(last.hash);
            kept.pop_back();
        };
        let mut orphans = HashSet::new();
        for hash in &gone {
            // bitcoind keeps stale blocks; one it has forgotten cannot be asked about and need not be.
            let block: Option<BlockTxids> = self.rpc.find("getblock", vec![json!(hash), json!(1)]).await?;
            orphans.extend(block.into_iter().flat_map(|b| b.tx.into_iter().skip(1)));
        }
        self.told = kept;
        self.orphans.extend(orphans);
        if !gone.is_empty() {
            self.pending.push(ChainEvent::Rollback { to_height: fork.height });
        }
        Ok(fork)
    }

    /// Tells blocks above `fork` until the tip, a reorganisation or enough of them.
    async fn take_blocks(&mut self, fork: Header) -> Result<(), Error> {
        let mut next = fork.nextblockhash;
        while let Some(hash) = next.filter(|_| self.pending.len() < BLOCKS_PER_POLL) {
            let Some(header) = self.header(hash).await?.filter(|h| h.confirmations > 0) else { return Ok(()) };
            if self.told.back().map(|b| b.hash) != header.previousblockhash {
                return Ok(());
            }
            let Some(hex) = self.rpc.find::<String>("getblock", vec![json!(hash), json!(0)]).await? else {
                return Ok(());
            };
            let unreadable = |reason| Error::Answer { method: "getblock", reason };
            let block: Block = deserialize_hex(&hex).map_err(|e| unreadable(e.to_string()))?;
            if block.block_hash() != hash {
                return Err(unreadable(format!("it is not block {hash}")));
            }
            self.tell(header.height, hash, block, Time(header.mediantime));
            next = header.nextblockhash;
        }
        Ok(())
    }

    fn tell(&mut self, height: u32, hash: BlockHash, block: Block, median_time: Time) {
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            self.mempool.remove(&txid);
            self.orphans.remove(&txid);
        }
        self.told.push_back(BlockRef { height, hash });
        if self.told.len() > REMEMBERED {
            self.told.pop_front();
        }
        self.pending.push(ChainEvent::Block { height, hash, block: Arc::new(block), median_time });
    }

    async fn take_mempool(&mut self, list: Vec<Txid>) -> Result<(), Error> {
        let mut new: Vec<Arc<Transaction>> = Vec::new();
        for txid in list.iter().filter(|txid| !self.mempool.contains(*txid)) {
            if new.len() >= MEMPOOL_PER_POLL {
                break;
            }
            // Gone again already: the next poll tells.
            let Some(hex) = self.rpc.find::<String>("getrawtransaction", vec![json!(txid)]).await? else { continue };
            let transaction: Transaction = deserialize_hex(&hex)
                .map_err(|e| Error::Answer { method: "getrawtransaction", reason: e.to_string() })?;
            new.push(Arc::new(transaction));
        }
        let present: HashSet<Txid> = list.into_iter().collect();
        let known: HashSet<Txid> = self.mempool.drain().chain(self.orphans.drain()).collect();
        let (kept, evicted): (Vec<Txid>, Vec<Txid>) = known.into_iter().partition(|txid| present.contains(txid));
        let came: HashSet<Txid> = new.iter().map(|t| t.compute_txid()).collect();
        self.mempool = kept.into_iter().chain(came).collect();
        if !new.is_empty() || !evicted.is_empty() {
            self.pending.push(ChainEvent::Mempool { new, evicted });
        }
        Ok(())
    }

    async fn header(&self, hash: BlockHash) -> Result<Option<Header>, Error> {
        self.rpc.find("getblockheader", vec![json!(hash), json!(true)]).await
    }
}
