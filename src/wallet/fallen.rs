//! Which transactions of ours stand: in the best chain, or in the mempool as far as we were told.
//!
//! bdk counts one whose every block has left the chain as if it waited, for as long as nothing takes its place, and no word
//! of the mempool's changes that. So what was in a block is counted here as waiting from the moment that its block goes until
//! the mempool is known not to have it, and for nothing after that: what it paid is not there, and what it spent is free.

use super::Wallet;
use bdk_wallet::chain::ChainPosition;
use bdk_wallet::WalletTx;
use bitcoin::{Amount, Transaction, Txid};
use std::collections::HashMap;
use std::sync::Arc;

/// A transaction of ours that a block had, and that is in none now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallen {
    /// Its id.
    pub txid: Txid,
    /// All of it.
    pub transaction: Arc<Transaction>,
    /// Are all coins that it spends ours? Then it is nobody else's to hand in.
    pub is_own: bool,
    /// What it brought us, less what it spent of ours.
    pub gain: Amount,
}

impl Wallet {
    /// Is it in the best chain, or waits it for a block?
    fn stands(&self, known: &WalletTx<'_>) -> bool {
        let position = &known.chain_position;
        let is_seen = || {
            let gone = self.bdk.tx_graph().get_last_evicted(known.tx_node.txid);
            known.tx_node.last_seen.is_some_and(|seen| gone.is_none_or(|gone| gone < seen))
        };
        match position {
            ChainPosition::Confirmed { .. } => self.confirmations(position) > 0 || is_seen(),
            ChainPosition::Unconfirmed { last_seen, .. } => last_seen.is_some(),
        }
    }

    /// Every transaction of ours that stands.
    pub(super) fn standing_transactions(&self) -> impl Iterator<Item = WalletTx<'_>> {
        self.bdk.transactions().filter(|known| self.stands(known))
    }

    /// Confirmations of every transaction of ours that stands, 0 of those in no block: by one pass over all that the wallet
    /// knows.
    pub(super) fn depths(&self) -> HashMap<Txid, u32> {
        let standing = self.standing_transactions();
        standing.map(|known| (known.tx_node.txid, self.confirmations(&known.chain_position))).collect()
    }

    /// What is in blocks above this height counts as waiting, as if it were seen now: bitcoind gives it back to its mempool,
    /// or tells that it did not.
    pub(super) fn lift(&mut self, to_height: u32, stamp: u64) {
        // One that has been lifted before may be known to be gone since.
        let is_above = |known: &WalletTx<'_>| {
            let height = known.chain_position.confirmation_height_upper_bound();
            height.is_some_and(|height| height > to_height) && self.confirmations(&known.chain_position) > 0
        };
        // A mining reward goes with its block.
        let above = self.bdk.transactions().filter(|known| is_above(known) && !known.tx_node.tx.is_coinbase());
        let above: Vec<(Arc<Transaction>, u64)> = above.map(|known| (Arc::clone(&known.tx_node.tx), stamp)).collect();
        self.bdk.apply_unconfirmed_txs(above);
    }

    /// What a block had and none has now, and whose coins nothing else spends that stands; the oldest are first as far as one
    /// spends another.
    pub fn fallen(&self) -> Vec<Fallen> {
        let (graph, depths) = (self.bdk.tx_graph(), self.depths());
        let is_down = |txid: &Txid| depths.get(txid).is_none_or(|depth| *depth == 0);
        let is_displaced = |transaction: &Transaction, txid: Txid| {
            let mut others = transaction.input.iter().flat_map(|input| graph.outspends(input.previous_output));
            others.any(|other| *other != txid && depths.contains_key(other))
        };
        let had_block = graph.full_txs().filter(|known| !known.anchors.is_empty() && is_down(&known.txid));
        let fallen = had_block.filter(|known| !known.tx.is_coinbase() && !is_displaced(&known.tx, known.txid));
        let mut all: Vec<(u32, Fallen)> = fallen
            .map(|known| {
                let transaction = Arc::clone(&known.tx);
                let effect = self.net_effect(&transaction);
                let is_own = transaction.input.iter().all(|input| self.owned(input.previous_output).is_some());
                let gain = effect.received.checked_sub(effect.spent).unwrap_or(Amount::ZERO);
                let height = known.anchors.iter().map(|anchor| anchor.block_id.height).max().unwrap_or(0);
                (height, Fallen { txid: known.txid, transaction, is_own, gain })
            })
            .collect();
        all.sort_by_key(|(height, one)| (*height, one.txid));
        all.into_iter().map(|(_, one)| one).collect()
    }

    /// Does it stand?
    pub fn has_standing(&self, txid: &Txid) -> bool {
        self.standing_transactions().any(|known| known.tx_node.txid == *txid)
    }
}
