//! What was paid before a restore and no block has: brought out first, or told as not made before its coins move.
//!
//! A restored wallet does not know such a payment, and its coins look free. As a wallet would that was never lost, this node
//! brings it out; then its coins stay where they are until a block has it. Where it cannot be brought out, people are told by
//! name and sum, and only then its coins move, which ends it.

use super::core::Core;
use super::tools::{lock, Tools, Trouble};
use super::view::Severity;
use crate::loan::units::Time;
use anyhow::Context;
use bitcoin::{Address, Amount, OutPoint, Transaction, Txid};
use std::collections::HashSet;

/// A payment of before that cannot be made.
#[derive(Debug)]
pub struct Unmade {
    txid: Txid,
    /// What is told of it; nothing of one that stays in this wallet, or that a dearer one was to replace.
    text: Option<String>,
}

/// Brings out what was paid before, and finds out what cannot be made. `begun` is the height at which the restore began.
pub(super) async fn bring_first(tools: &Tools, begun: u32, now: Time) -> Result<Vec<Unmade>, Trouble> {
    let waiting = lock(&tools.outgoing).of_before();
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let old: HashSet<OutPoint> = lock(&tools.wallet).unmoved(begun).iter().map(|coin| coin.outpoint).collect();
    // Of all that spend one coin one can be made.
    let mut spent: HashSet<OutPoint> = HashSet::new();
    let mut refused: Vec<(Txid, Option<Transaction>, String)> = Vec::new();
    for (txid, made) in waiting {
        if let Some(seen) = tools.chain.transaction(txid).await? {
            spent.extend(inputs(&seen.transaction));
            if seen.confirmed.is_none() && !lock(&tools.wallet).knows(txid) {
                lock(&tools.wallet).record(&seen.transaction, now)?;
            }
            continue;
        }
        let made = made.or_else(|| lock(&tools.wallet).transaction(txid));
        let Some(made) = made else {
            refused.push((txid, None, "what this node was restored from does not hold its transaction".to_owned()));
            continue;
        };
        if !inputs(&made).any(|coin| old.contains(&coin)) || inputs(&made).any(|coin| spent.contains(&coin)) {
            continue;
        }
        match bring(tools, &made).await {
            Ok(()) => {
                tracing::info!(%txid, "paid before the restore: it is brought out before any coin moves");
                lock(&tools.wallet).record(&made, now)?;
                spent.extend(inputs(&made));
            }
            Err(error) => {
                let why = error.rejection().map(|rejected| format!("bitcoind does not take it ({})", rejected.reason));
                refused.push((txid, Some(made), why.ok_or(error)?));
            }
        }
    }
    let mut told: HashSet<OutPoint> = HashSet::new();
    let unmade = |(txid, made, why): (Txid, Option<Transaction>, String)| {
        let coins: Vec<OutPoint> = made.iter().flat_map(inputs).collect();
        if coins.iter().any(|coin| spent.contains(coin)) {
            return None;
        }
        let is_older = coins.iter().any(|coin| told.contains(coin));
        told.extend(coins);
        let text = (!is_older).then(|| text(tools, txid, made.as_ref(), &why)).flatten();
        Some(Unmade { txid, text })
    };
    Ok(refused.into_iter().filter_map(unmade).collect())
}

fn inputs(transaction: &Transaction) -> impl Iterator<Item = OutPoint> + '_ {
    transaction.input.iter().map(|input| input.previous_output)
}

async fn bring(tools: &Tools, transaction: &Transaction) -> Result<(), crate::chain::Error> {
    tools.chain.test_accept(transaction).await?;
    tools.chain.broadcast(transaction).await.map(drop)
}

/// What is told of a payment that is not made; nothing of one that stays in this wallet.
fn text(tools: &Tools, txid: Txid, made: Option<&Transaction>, why: &str) -> Option<String> {
    let paid: Vec<(Amount, String)> = {
        let wallet = lock(&tools.wallet);
        let others = made.iter().flat_map(|made| &made.output).filter(|out| !wallet.is_ours(&out.script_pubkey));
        let to =
            |script| Address::from_script(script, wallet.network()).map_or("a script".to_owned(), |to| to.to_string());
        others.map(|out| (out.value, to(&out.script_pubkey))).collect()
    };
    let paid = match (made, paid.as_slice()) {
        (None, _) => String::new(),
        (Some(_), []) => return None,
        (Some(_), [(sum, to), ..]) => format!(" of {sum} to {to}"),
    };
    Some(format!(
        "payment {txid}{paid}, made before this node was restored, is not made: bitcoind does not have it, and {why}. Its coins \
         move to a new address. Once that is six blocks deep it is said that this payment is not made any more: pay it again \
         then, and not before, and only if it was not told of and paid again after the backup was made, which this node does \
         not know. Ask its receiver first"
    ))
}

impl Core {
    /// A payment of before cannot be made: that is on disk and told before its coins move.
    pub(super) fn on_unmade(&mut self, Unmade { txid, text }: Unmade) -> anyhow::Result<()> {
        let why = text.clone().unwrap_or_default();
        tokio::task::block_in_place(|| lock(&self.tools.outgoing).set_unmade(&txid, Some(why)))
            .context("keep that a payment of before the restore is not made")?;
        self.free(txid)?;
        if let Some(text) = text {
            self.tell_payment(txid, "payment_not_made", Severity::Warning, text);
        }
        Ok(())
    }
}
