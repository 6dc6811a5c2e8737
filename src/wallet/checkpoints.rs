//! Which blocks the wallet remembers: all recent ones, those that hold a transaction of its own, and few of the others.
//!
//! Whether a block is in the chain is looked up once for each transaction, by walking the list of remembered blocks from
//! the tip. With every block since the wallet's birth in it, a look at the coins would cost their number times these.

use super::{Error, Wallet};
use crate::chain::BlockRef;
use bdk_wallet::chain::local_chain::{CannotConnectError, CheckPoint};
use bdk_wallet::chain::BlockId;
use bdk_wallet::Update;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash};
use std::collections::HashSet;

/// Every block of so many is remembered, from the tip down: a reorganisation of a day goes back to its very fork.
pub(super) const RECENT: u32 = 150;
/// Of the blocks of two weeks each at a multiple of [`NEAR_STEP`] is.
const NEAR: u32 = 2_016;
const NEAR_STEP: u32 = 50;
/// Of all others each at a multiple of this.
const FAR_STEP: u32 = 1_000;
/// The genesis block, and the block that the wallet began with.
const LOWEST: usize = 2;
/// So many more than these are remembered before they are forgotten together.
pub(super) const SLACK: usize = 150;

/// How far the list of remembered blocks is from being full.
pub(super) struct Remembered {
    /// The height last told: where the chain is told again from further back, it goes on from here.
    told: u32,
    /// So many blocks are taken before the list is looked at again.
    pub(super) room: usize,
}

impl Remembered {
    /// By a wallet whose highest block is this.
    pub(super) fn new(height: u32) -> Remembered {
        Remembered { told: height, room: 0 }
    }

    /// Every block above is gone.
    pub(super) fn back_to(&mut self, height: u32) {
        self.told = height;
    }

    /// Is a block of this height remembered that holds nothing of ours?
    fn keeps(&self, height: u32, tip: u32) -> bool {
        let is_next = self.told.checked_sub(height).is_some_and(|below| below < RECENT);
        let step = match tip.saturating_sub(height) {
            0..RECENT => 1,
            RECENT..NEAR => NEAR_STEP,
            _ => FAR_STEP,
        };
        is_next || height.checked_rem(step) == Some(0)
    }
}

impl Wallet {
    /// Blocks the wallet remembers, lowest first: where [`crate::chain::Chain::follower`] goes on. All of the recent ones,
    /// and some of the older.
    pub fn checkpoints(&self) -> Vec<BlockRef> {
        let all = self.bdk.checkpoints();
        let mut blocks: Vec<BlockRef> = all.map(|one| BlockRef { height: one.height(), hash: one.hash() }).collect();
        blocks.reverse();
        blocks
    }

    /// Takes in a block that follows one of the list, or one that was forgotten and that the chain was just rolled back to.
    pub(super) fn connect(&mut self, block: &Block, height: u32) -> Result<(), Error> {
        let disconnected = |e: CannotConnectError| Error::Disconnected { height, reason: e.to_string() };
        if let Some(chain) = self.filled_in(block, height) {
            self.bdk.apply_update(Update { chain: Some(chain), ..Update::default() }).map_err(disconnected)?;
        }
        self.bdk.apply_block(block, height).map_err(disconnected)?;
        self.remembered.told = height;
        self.remembered.room = self.remembered.room.saturating_sub(1);
        Ok(())
    }

    /// The list with this block, and with the one before it, where they were forgotten; `None` where neither was. What is
    /// above stays until a block of its height takes its place: until then [`Wallet::height`] is lower, and it counts for
    /// nothing.
    fn filled_in(&self, block: &Block, height: u32) -> Option<CheckPoint> {
        let tip = self.bdk.latest_checkpoint();
        let before = BlockId { height: height.checked_sub(1)?, hash: block.header.prev_blockhash };
        if height > tip.height() {
            return None;
        }
        let mut chain = tip.clone();
        if self.rolled_back_to == Some(before.height) && chain.get(before.height).is_none() {
            chain = chain.insert(before);
        }
        let follows = chain.get(before.height).is_some_and(|known| known.hash() == before.hash);
        if follows && chain.get(height).is_none() {
            chain = chain.insert(BlockId { height, hash: block.block_hash() });
        }
        (!chain.eq_ptr(&tip)).then_some(chain)
    }

    /// Forgets blocks, in memory and in the file, where the list is full.
    ///
    /// # Errors
    /// When the file does not take it.
    pub(super) fn thin(&mut self) -> Result<(), Error> {
        if self.remembered.room > 0 {
            return Ok(());
        }
        let mut all: Vec<BlockId> = self.bdk.checkpoints().map(|one| one.block_id()).collect();
        all.reverse();
        let anchors = self.bdk.tx_graph().all_anchors().values().flatten();
        let ours: HashSet<BlockId> = anchors.map(|anchor| anchor.block_id).collect();
        let tip = self.known_height();
        let is_kept =
            |at: usize, one: &BlockId| at < LOWEST || ours.contains(one) || self.remembered.keeps(one.height, tip);
        let kept = all.iter().enumerate().filter(|(at, one)| is_kept(*at, one)).map(|(_, one)| *one);
        let kept: Vec<BlockId> = kept.collect();
        let most = kept.len().saturating_add(SLACK);
        if all.len() < most {
            self.remembered.room = most.saturating_sub(all.len());
            return Ok(());
        }
        self.forget_all_but(&kept)?;
        self.remembered.room = SLACK;
        Ok(())
    }

    /// Makes these the whole list, lowest first. A block leaves the list only where another takes the place of one below it:
    /// so a block that is none stands in for the second for a moment, and then all are put back. The file gets one record,
    /// of what is gone: of a file cut short in it the old list is read.
    fn forget_all_but(&mut self, kept: &[BlockId]) -> Result<(), Error> {
        let [genesis, second, ..] = kept else { return Ok(()) };
        let wrong = |height: u32, reason: &str| Error::Disconnected { height, reason: reason.to_owned() };
        let unordered = |_| wrong(second.height, "the remembered blocks are out of order");
        let none = BlockId { height: second.height, hash: BlockHash::all_zeros() };
        let base = CheckPoint::new(*genesis);
        let emptied = base.clone().push(none).map_err(unordered)?;
        let filled = base.extend(kept.iter().skip(1).copied()).map_err(unordered)?;
        // What bdk refuses, it refuses before anything is changed.
        let mut trial = self.bdk.local_chain().clone();
        for chain in [&emptied, &filled] {
            trial.apply_update(chain.clone()).map_err(|e| wrong(second.height, &e.to_string()))?;
        }
        // What waits for the file is written by itself.
        self.persist()?;
        for chain in [emptied, filled] {
            let update = Update { chain: Some(chain), ..Update::default() };
            self.bdk.apply_update(update).map_err(|e| wrong(second.height, &e.to_string()))?;
        }
        if let Some(changes) = self.bdk.staged_mut() {
            changes.local_chain.blocks.retain(|_, block| block.is_none());
        }
        self.persist()
    }
}
