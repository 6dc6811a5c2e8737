//! A transaction that spends this wallet's coins and that this node did not make: whoever made it has this node's words.
//!
//! What this node makes is in its wallet, in a loan's record or noted before it leaves; so what the chain tells first is
//! another's. A restored node knows little of what was before: whatever the chain and the mempool show until it has read both
//! is of then, and no news. What comes later is; only what a peer can complete, with coins of its own, may have been signed
//! before. A reorganisation may bring another life of what was spent before, which is no news either.

use super::core::Core;
use super::history::{note, was_noted, Purpose};
use super::tools::lock;
use crate::loan::units::{Time, DAY};
use crate::protocol::unfunded::takes_back;
use crate::protocol::Loan;
use crate::store::Store;
use crate::wallet::Wallet;
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The document that names the last one.
const FOREIGN: &str = "foreign-spend";
/// How long it is shown, seconds of the node's clock.
const STANDS: u32 = 7 * DAY;

/// Whose it is, as far as can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whose {
    /// Another's.
    #[default]
    Anothers,
    /// Another's, or this node's own of before it was restored, which nobody had shown by then.
    PerhapsOurs,
    /// A contract that this node signed with a peer before it was restored; or another's.
    Contract,
}

/// The last transaction of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    txid: Txid,
    /// Less what came back to it; unknown where an older program kept it.
    #[serde(default)]
    lost_sats: Option<u64>,
    at: Time,
    #[serde(default)]
    whose: Whose,
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
        if self.restored.as_ref().is_some_and(|restored| restored.begun().is_none()) {
            return Ok(());
        }
        let (lost_sats, whose) = {
            let wallet = lock(&self.tools.wallet);
            let effect = wallet.net_effect(transaction);
            // The wallet knows its own before they leave.
            if effect.spent == Amount::ZERO || wallet.knows(txid) {
                return Ok(());
            }
            let Some(whose) = whose(&wallet, transaction, self.restored_since.as_ref().map(|since| since.height))
            else {
                return Ok(());
            };
            (effect.spent.checked_sub(effect.received).unwrap_or(Amount::ZERO).to_sat(), whose)
        };
        let stays = lock(&self.tools.wallet).keeps_all(transaction);
        let is_a_loans = self.loans.values().any(|loan| is_of(loan, transaction, txid, stays));
        if is_a_loans || (stays && lock(&self.tools.exits).has_child(transaction)) {
            return Ok(());
        }
        let (store, foreign) =
            (self.tools.store.clone(), Foreign { txid, lost_sats: Some(lost_sats), at: self.moment.now, whose });
        let (purpose, who) = match whose {
            Whose::Contract => (Purpose::Before, "this node has signed it before it was restored, if it did"),
            Whose::Anothers | Whose::PerhapsOurs => (Purpose::Foreign, "this node did not make it"),
        };
        // What is graver stays.
        let stands = self.foreign.filter(|one| self.is_told(one) && one.whose != Whose::Contract);
        let told = stands.filter(|_| whose == Whose::Contract).unwrap_or(foreign);
        tokio::task::block_in_place(|| {
            if was_noted(&*store, txid)? {
                return Ok(());
            }
            // The note last: with it, the transaction is not looked at again.
            store.put(FOREIGN, &serde_json::to_vec(&told)?)?;
            note(&*store, txid, purpose).map_err(|trouble| anyhow::anyhow!("{}", trouble.message()))?;
            tracing::warn!("transaction {txid} takes {lost_sats} sats from this wallet, and {who}");
            self.foreign = Some(told);
            anyhow::Ok(())
        })
        .context("keep that a spend is another's")
    }

    /// What people are told of the last one, for a week.
    pub(super) fn foreign_trouble(&self) -> Option<String> {
        let Foreign { txid, lost_sats, at, whose } = self.foreign.filter(|one| self.is_told(one))?;
        let lost = lost_sats.map(|lost| format!(", which lost {} by it", Amount::from_sat(lost))).unwrap_or_default();
        let spent = format!("transaction {txid} of {at} spent coins of this wallet{lost}");
        let others =
            "another node or wallet runs on these words: stop it at once, each signs what the other does not know of. \
                      If none of yours does, somebody else has the words: make a new node and move every coin to it";
        match whose {
            Whose::Anothers => {
                Some(format!("second node, seen on the chain: {spent}, and this node did not make it: {others}"))
            }
            Whose::PerhapsOurs => Some(format!(
                "second node, seen on the chain: {spent}, and this node did not make it since it was restored. Did you send it \
                 before that, all is well. Else {others}"
            )),
            // It was given back meanwhile.
            Whose::Contract if self.loans.values().any(|loan| is_funding(loan, txid)) => None,
            Whose::Contract => Some(format!(
                "signed before the restore: {spent}, together with another's coins, as a loan is funded or repaid. What this \
                 node was restored from does not hold it: connect to the peer that you signed it with, `peer connect \
                 KEY@HOST:PORT`, which gives an open loan back. Did you sign none, {others}"
            )),
        }
    }

    fn is_told(&self, foreign: &Foreign) -> bool {
        self.moment.now.since(foreign.at) < STANDS
    }
}

/// Whose a transaction is that spends coins of this wallet, and that nobody here knows. `since` is the height at which a
/// restore began. `None` where it is of before that.
fn whose(wallet: &Wallet, transaction: &Transaction, since: Option<u32>) -> Option<Whose> {
    let Some(since) = since else { return Some(Whose::Anothers) };
    let coins = wallet.own_inputs(transaction);
    // The chain is read once more; or a reorganisation brings another life of what was over by then.
    if wallet.known_height() < since || wallet.were_spent_by(&coins, since) {
        return None;
    }
    Some(match wallet.were_made_by(&coins, since) {
        false => Whose::Anothers,
        true if coins.len() == transaction.input.len() => Whose::PerhapsOurs,
        true => Whose::Contract,
    })
}

fn is_funding(loan: &Loan, txid: Txid) -> bool {
    loan.skeleton.as_ref().is_some_and(|skeleton| skeleton.funding.txid == txid)
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
