//! A transaction that spends this wallet's coins and that this node did not make: whoever made it has this node's words.
//!
//! What this node makes is in its wallet, in a loan's record or noted before it leaves; so what the chain tells first is
//! another's. A restored node knows little of what was before: until its coins have moved, only what spends a coin that it moved
//! is looked at.

use super::core::Core;
use super::history::{note, was_noted, Purpose};
use super::restored::Restored;
use super::tools::lock;
use crate::loan::units::{Time, DAY};
use crate::protocol::unfunded::takes_back;
use crate::protocol::Loan;
use crate::store::Store;
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The document that names the last one.
const FOREIGN: &str = "foreign-spend";
/// How long it is shown, seconds of the node's clock.
const STANDS: u32 = 7 * DAY;

/// The last transaction of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    txid: Txid,
    /// Less what came back to it; unknown where an older program kept it.
    #[serde(default)]
    lost_sats: Option<u64>,
    at: Time,
}

impl Foreign {
    /// What the store holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(store: &dyn Store) -> anyhow::Result<Option<Foreign>> {
        let bytes = store.get(FOREIGN)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).context("read which spend was another's")).transpose()
    }
}

impl Core {
    /// Looks at a transaction of the chain's, after the loans and before the wallet is told of it.
    pub(super) fn mind_foreign(&mut self, transaction: &Transaction) -> anyhow::Result<()> {
        let txid = transaction.compute_txid();
        let is_after = |moved: &Restored| {
            let spends = |made: Txid| transaction.input.iter().any(|input| input.previous_output.txid == made);
            moved.waiting().any(spends) || self.foreign.is_some_and(|before| spends(before.txid))
        };
        let lost_sats = {
            let wallet = lock(&self.tools.wallet);
            // The wallet knows its own before they leave.
            if self.restored.as_ref().is_some_and(|moved| !is_after(moved)) || wallet.knows(txid) {
                return Ok(());
            }
            let effect = wallet.net_effect(transaction);
            if effect.spent == Amount::ZERO {
                return Ok(());
            }
            effect.spent.checked_sub(effect.received).unwrap_or(Amount::ZERO).to_sat()
        };
        let stays = lock(&self.tools.wallet).keeps_all(transaction);
        let is_a_loans = self.loans.values().any(|loan| is_of(loan, transaction, txid, stays));
        if is_a_loans || (stays && lock(&self.tools.exits).has_child(transaction)) {
            return Ok(());
        }
        let (store, foreign) =
            (self.tools.store.clone(), Foreign { txid, lost_sats: Some(lost_sats), at: self.moment.now });
        tokio::task::block_in_place(|| {
            if was_noted(&*store, txid)? {
                return Ok(());
            }
            // The note last: with it, the transaction is not looked at again.
            store.put(FOREIGN, &serde_json::to_vec(&foreign)?)?;
            note(&*store, txid, Purpose::Foreign).map_err(|trouble| anyhow::anyhow!("{}", trouble.message()))?;
            tracing::warn!("transaction {txid} takes {lost_sats} sats from this wallet, and this node did not make it");
            self.foreign = Some(foreign);
            anyhow::Ok(())
        })
        .context("keep that a spend is another's")
    }

    /// What people are told of the last one, for a week.
    pub(super) fn foreign_trouble(&self) -> Option<String> {
        let Foreign { txid, lost_sats, at } = self.foreign.filter(|one| self.moment.now.since(one.at) < STANDS)?;
        let lost = lost_sats.map(|lost| format!(", which lost {} by it", Amount::from_sat(lost))).unwrap_or_default();
        Some(format!(
            "second node, seen on the chain: transaction {txid} of {at} spent coins of this wallet{lost}, and this \
             node did not make it. Another node or wallet runs on these words: stop it at once, each signs what the other \
             does not know of. If none of yours does, somebody else has the words: make a new node and move every coin to it"
        ))
    }
}

/// Was it made for this loan, by either side, whatever became of it? `stays` says that all it pays is this wallet's.
fn is_of(loan: &Loan, transaction: &Transaction, txid: Txid, stays: bool) -> bool {
    let spends: BTreeSet<OutPoint> = transaction.input.iter().map(|input| input.previous_output).collect();
    // Nobody signs for the contract alone.
    let contract = loan.skeleton.as_ref().map(|skeleton| skeleton.funding);
    if contract.is_some_and(|funding| funding.txid == txid || spends.contains(&funding)) {
        return true;
    }
    let made = [loan.coin_made.as_ref(), loan.withdrawal.as_ref(), loan.repayment_withdrawal.as_ref()];
    let is_made = made.into_iter().flatten().any(|made| made.compute_txid() == txid);
    // A child that was raised since, or is of an exit that gave way.
    let exit = loan.exit.as_ref().map(|exit| exit.seen.transaction.compute_txid());
    let pending = loan.pending.as_ref().map(|pending| pending.transaction.compute_txid());
    let is_child = stays && spends.iter().any(|coin| exit == Some(coin.txid) || pending == Some(coin.txid));
    is_made || is_child || loan.withdrawals.contains(&txid) || takes_back(loan, transaction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[test]
    fn what_an_older_program_kept_is_read_and_its_loss_not_made_up() {
        let store = Memory::new();
        let old = format!(r#"{{"txid":"{}","spent_sats":349968418,"at":1583712000}}"#, "ab".repeat(32));
        store.put(FOREIGN, old.as_bytes()).unwrap();
        let kept = Foreign::open(&store).unwrap().unwrap();
        assert_eq!((kept.lost_sats, kept.at), (None, Time(1_583_712_000)));
    }
}
