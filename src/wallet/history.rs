//! Every transaction of the wallet, and what it did to it.

use super::Wallet;
use bdk_wallet::chain::ChainPosition;
use bitcoin::{Amount, Transaction, Txid};
use hypothec_oracle::units::Time;
use std::sync::Arc;

/// One transaction that spent coins of ours or made some. All of them together are what the wallet holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its id.
    pub txid: Txid,
    /// All of it.
    pub transaction: Arc<Transaction>,
    /// The height and the time of its block; `None` while it waits.
    pub block: Option<(u32, Time)>,
    /// Value of our coins among its inputs.
    pub spent: Amount,
    /// Value of its outputs that are ours.
    pub received: Amount,
    /// How many of its inputs are ours.
    pub inputs: usize,
    /// How many of its outputs are ours.
    pub outputs: usize,
}

impl Passage {
    /// What it pays to the miner, where every coin that it spends is ours: of others' coins the wallet knows nothing.
    pub fn fee(&self) -> Option<Amount> {
        let paid = self.transaction.output.iter().try_fold(Amount::ZERO, |sum, out| sum.checked_add(out.value))?;
        (self.inputs == self.transaction.input.len()).then(|| self.spent.checked_sub(paid)).flatten()
    }
}

impl Wallet {
    /// Every transaction of ours that is in a block or waits for one, the oldest first; what waits is last.
    pub fn history(&self) -> Vec<Passage> {
        let mut all: Vec<Passage> = self
            .bdk
            .transactions()
            .map(|known| {
                let transaction = Arc::clone(&known.tx_node.tx);
                let is_ours = |input: &&bitcoin::TxIn| self.owned(input.previous_output).is_some();
                let inputs = transaction.input.iter().filter(is_ours).count();
                let pays_us = |out: &&bitcoin::TxOut| self.bdk.is_mine(out.script_pubkey.clone());
                let outputs = transaction.output.iter().filter(pays_us).count();
                let block = match &known.chain_position {
                    ChainPosition::Confirmed { anchor, .. } if self.confirmations(&known.chain_position) > 0 => {
                        let time = u32::try_from(anchor.confirmation_time).unwrap_or(u32::MAX);
                        Some((anchor.block_id.height, Time(time)))
                    }
                    _ => None,
                };
                let effect = self.net_effect(&transaction);
                let (spent, received) = (effect.spent, effect.received);
                Passage { txid: known.tx_node.txid, transaction, block, spent, received, inputs, outputs }
            })
            .collect();
        all.sort_by_key(|one| (one.block.is_none(), one.block, one.txid));
        all
    }
}
