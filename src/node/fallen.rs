//! What a block had and a reorganisation took away, however deep it lay: this wallet's own is brought out again, another's is
//! told and counts for nothing until it is back.
//!
//! bitcoind gives what was in a block that leaves the chain back to its mempool, but not of many blocks at once, nor what its
//! mempool would not take; and a block of the new chain need not have it. A loan's transactions are brought out from its
//! record, and the moves of a restored node from theirs. All else that this wallet alone has made is handed in from the
//! wallet's own store, which forgets none, and goes on as a payment that is out until it is deep once more.

use super::core::Core;
use super::history::is_anothers;
use super::outgoing;
use super::restored::{Restored, Since};
use super::tools::lock;
use super::view::Severity;
use crate::protocol::{Loan, Stage};
use crate::wallet::Fallen;
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// What is told of another's transaction that is lost.
const EVENT: &str = "transaction_lost";

/// What was last known of them.
#[derive(Debug, Default)]
pub struct Lost {
    /// Were those looked for that an earlier run may have left so?
    is_looked: bool,
    /// Another's, whose place is not known yet: they are told where nobody has them once all is read.
    doubted: BTreeMap<Txid, Fallen>,
}

impl Core {
    /// Blocks have left the chain, and the wallet was told. Before the mempool says what it does not have, the wallet's own is
    /// held: its coins must be free for nothing else.
    pub(super) fn hold_fallen(&mut self) -> anyhow::Result<()> {
        let fallen = lock(&self.tools.wallet).fallen();
        let (now, minded) = (self.moment.now, self.minded_elsewhere());
        for one in fallen {
            if minded.contains(&one.txid) || lock(&self.tools.outgoing).holds(&one.txid) || self.is_a_loans(&one) {
                continue;
            }
            let is_own = one.is_own && !is_anothers(&*self.tools.store, one.txid).context("read whose it was")?;
            if !is_own {
                self.lost.doubted.insert(one.txid, one);
                continue;
            }
            tracing::warn!(txid = %one.txid, "the block of this payment has left the chain: it is handed in again where it must be");
            tokio::task::block_in_place(|| outgoing::hold(&self.tools, &one.transaction, now))
                .context("keep that a payment is to be handed in again")?;
        }
        Ok(())
    }

    /// Looks for what an earlier run has left so, and tells what nobody has.
    pub(super) fn mind_fallen(&mut self) -> anyhow::Result<()> {
        if !self.caught_up || !self.knows_mempool || !self.is_whole() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.lost.is_looked, true) {
            // Of another's it was told then.
            let known: BTreeSet<Txid> = self.lost.doubted.keys().copied().collect();
            self.hold_fallen()?;
            self.lost.doubted.retain(|txid, _| known.contains(txid));
        }
        for (txid, one) in std::mem::take(&mut self.lost.doubted) {
            if lock(&self.tools.wallet).has_standing(&txid) || one.gain == Amount::ZERO {
                continue;
            }
            let text = format!(
                "transaction {txid}, which brought this wallet {}, is lost: its block has left the chain, no other has it, and \
                 bitcoind does not have it either. It is not counted any more. Do not take it for paid: whoever paid it can hand \
                 it in again, or may have paid it elsewhere; once bitcoind has it, it counts as before",
                one.gain
            );
            self.tell_payment(txid, EVENT, Severity::Warning, text);
        }
        Ok(())
    }

    /// What others bring out again: the moves of a restore, and what takes the coins of loans back that wait for it.
    fn minded_elsewhere(&self) -> HashSet<Txid> {
        let waits = |loan: &&Arc<Loan>| {
            matches!(loan.stage, Stage::Signed | Stage::Funded | Stage::Confirming | Stage::Active | Stage::Closing)
        };
        let back = self.loans.values().filter(waits);
        let back = back.flat_map(|loan| [&loan.withdrawal, &loan.repayment_withdrawal]).flatten();
        let moves = self.restored.iter().flat_map(Restored::waiting);
        let done = self.restored_since.iter().flat_map(Since::done);
        back.map(Transaction::compute_txid).chain(moves).chain(done).collect()
    }

    /// Is it what funded a loan, what spends a contract, or what pays for the exit of one that is not over? The loan's record
    /// brings these out. What spends the money of a loan that ended is a payment as any.
    fn is_a_loans(&self, one: &Fallen) -> bool {
        let spends: HashSet<OutPoint> = one.transaction.input.iter().map(|input| input.previous_output).collect();
        let contracts = self.loans.values().filter_map(|loan| Some(loan.skeleton.as_ref()?.funding));
        let is_contracts = |funding: OutPoint| funding.txid == one.txid || spends.contains(&funding);
        { contracts }.any(is_contracts) || self.pays_for_an_exit(one, &spends)
    }

    fn pays_for_an_exit(&self, one: &Fallen, spends: &HashSet<OutPoint>) -> bool {
        let ends = self.loans.values().filter(|loan| !loan.is_over()).flat_map(|loan| {
            let seen = loan.exit.as_ref().map(|exit| &exit.seen.transaction);
            seen.into_iter().chain(loan.pending.as_ref().map(|pending| &pending.transaction))
        });
        let ends: HashSet<Txid> = ends.map(Transaction::compute_txid).collect();
        spends.iter().any(|coin| ends.contains(&coin.txid)) && lock(&self.tools.wallet).keeps_all(&one.transaction)
    }
}
