//! Every transaction of the wallet, and what it did to it.

use super::Wallet;
use bdk_wallet::chain::ChainPosition;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use hypothec_oracle::units::Time;
use std::collections::HashSet;
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

/// Whether coins of ours and of others made an output under a script hash, as a contract is funded, and nothing that the
/// wallet knows of spends it.
fn has_open_contract(all: &[Passage]) -> bool {
    let spent: HashSet<OutPoint> =
        all.iter().flat_map(|one| one.transaction.input.iter().map(|input| input.previous_output)).collect();
    let is_shared = |one: &&Passage| one.inputs > 0 && one.inputs < one.transaction.input.len();
    all.iter().filter(is_shared).any(|one| {
        let made = (0u32..).zip(&one.transaction.output).filter(|(_, out)| out.script_pubkey.is_p2wsh());
        made.map(|(vout, _)| OutPoint { txid: one.txid, vout }).any(|out| !spent.contains(&out))
    })
}

impl Wallet {
    /// A transaction of ours that the chain told of, or that was recorded, whatever became of it.
    pub fn transaction(&self, txid: Txid) -> Option<Transaction> {
        self.bdk.tx_graph().get_tx(txid).map(|known| (*known).clone())
    }

    /// Does a block have this transaction of ours?
    pub fn has_confirmed(&self, txid: Txid) -> bool {
        self.bdk.get_tx(txid).is_some_and(|known| self.confirmations(&known.chain_position) > 0)
    }

    /// The coins of ours that a transaction spends.
    pub fn own_inputs(&self, transaction: &Transaction) -> Vec<OutPoint> {
        let inputs = transaction.input.iter().map(|input| input.previous_output);
        inputs.filter(|coin| self.owned(*coin).is_some()).collect()
    }

    /// Was each of these coins made in a block of at most this height, whatever became of the block?
    pub fn were_made_by(&self, coins: &[OutPoint], height: u32) -> bool {
        coins.iter().all(|coin| self.had_block(coin.txid, height))
    }

    /// Was each of these coins spent in a block of at most this height, whatever became of the block?
    pub fn were_spent_by(&self, coins: &[OutPoint], height: u32) -> bool {
        let spenders = |coin: &OutPoint| self.bdk.tx_graph().outspends(*coin);
        coins.iter().all(|coin| spenders(coin).iter().any(|txid| self.had_block(*txid, height)))
    }

    /// Did a block of at most this height have it, in any chain that was told?
    pub(super) fn had_block(&self, txid: Txid, height: u32) -> bool {
        let node = self.bdk.tx_graph().get_tx_node(txid);
        node.is_some_and(|node| node.anchors.iter().any(|anchor| anchor.block_id.height <= height))
    }

    /// May coins of ours lie in a contract that was funded with another's, by the chain alone? What ended without paying us
    /// is not known to have ended.
    pub fn has_open_contract(&self) -> bool {
        has_open_contract(&self.history())
    }

    /// Every transaction of ours that is in a block or waits for one, the oldest first; what waits is last.
    pub fn history(&self) -> Vec<Passage> {
        let mut all: Vec<Passage> = self
            .standing_transactions()
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

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;
    use bitcoin::{absolute, transaction, ScriptBuf, TxIn, TxOut};

    /// A transaction that spends these, so many of them ours, and pays these scripts.
    fn passage(spends: &[OutPoint], ours: usize, pays: &[ScriptBuf]) -> Passage {
        let transaction = Transaction {
            version: transaction::Version(3),
            lock_time: absolute::LockTime::ZERO,
            input: spends.iter().map(|coin| TxIn { previous_output: *coin, ..TxIn::default() }).collect(),
            output: pays
                .iter()
                .map(|script| TxOut { value: Amount::from_sat(9), script_pubkey: script.clone() })
                .collect(),
        };
        let (txid, zero) = (transaction.compute_txid(), Amount::ZERO);
        let transaction = Arc::new(transaction);
        Passage { txid, transaction, block: None, spent: zero, received: zero, inputs: ours, outputs: 0 }
    }

    #[test]
    fn a_contract_is_open_by_the_chain_from_its_funding_until_the_wallet_sees_it_spent() {
        let coin = |vout| OutPoint { txid: Txid::all_zeros(), vout };
        let own = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::all_zeros());
        let contract = ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::all_zeros());
        let received = passage(&[coin(0)], 0, &[own.clone(), contract.clone()]);
        let sent = passage(&[coin(1)], 1, std::slice::from_ref(&contract));
        assert!(!has_open_contract(&[received, sent]), "neither is shared");
        let funding = passage(&[coin(2), coin(3)], 1, &[own.clone(), contract]);
        assert!(has_open_contract(std::slice::from_ref(&funding)));
        let funded = OutPoint { txid: funding.txid, vout: 1 };
        let repaid = passage(&[funded, coin(4)], 1, &[own.clone(), own]);
        assert!(!has_open_contract(&[funding, repaid]));
    }
}
