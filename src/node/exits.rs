//! The exits that are to confirm: since when each is wanted, the child that pays for it, and what bitcoind says of it.
//!
//! What was signed is on disk before it leaves: a restart brings out the same again, and the coins in it stay known.

use super::core::{bump, Core};
use super::jobs::Key;
use super::tools::lock;
use super::view::{EventView, PendingExit};
use crate::loan::terms::LoanId;
use crate::protocol::{Loan, Stage};
use crate::settlement::bump::Paid;
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Prefix of the documents they are kept in; the loan's id follows.
const EXITS: &str = "exit/";
/// What people are told of one that bitcoind refuses.
const EVENT: &str = "exit_refused";

/// What is kept of one loan's exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which transaction.
    pub txid: Txid,
    /// The height at which it was first wanted.
    pub since: u32,
    /// The child that pays for it, as last signed, and its fee in sats.
    pub child: Option<(Transaction, u64)>,
    /// The height from which the blocks are counted with which its fee rises, where that is not `since`.
    #[serde(default)]
    pub rises_from: Option<u32>,
    /// How many were counted when bitcoind refused a child in vain: none more is counted while it does.
    #[serde(default)]
    pub stands_at: Option<u32>,
    /// How many are counted while this node's own fee cap lets no child pay for more.
    #[serde(default)]
    pub capped_at: Option<u32>,
}

impl Kept {
    /// The blocks for which the fee rises.
    pub fn blocks(&self, height: u32) -> u32 {
        let counted = height.saturating_sub(self.rises_from.unwrap_or(self.since));
        self.stands_at.or(self.capped_at).unwrap_or(counted)
    }

    /// bitcoind refused the exit with the child, for something that no dearer child would change.
    pub fn refused_in_vain(self, height: u32) -> Kept {
        Kept { stands_at: Some(self.blocks(height)), ..self }
    }

    /// It is refused in vain no more: the blocks are counted as if it were first wanted now, and the lender goes first again.
    pub fn counts_again(self, height: u32) -> Kept {
        match self.stands_at {
            Some(_) => Kept { rises_from: Some(height), stands_at: None, capped_at: None, ..self },
            None => self,
        }
    }

    /// The cap lets a child pay for `blocks` at most; once it lets it pay for more, the count goes on from where it stood.
    pub fn at_cap(self, height: u32, blocks: Option<u32>) -> Kept {
        match (blocks, self.capped_at) {
            _ if self.stands_at.is_some() => self,
            (None, None) => self,
            (Some(_), _) => Kept { capped_at: blocks, ..self },
            (None, Some(stood)) => Kept { rises_from: Some(height.saturating_sub(stood)), capped_at: None, ..self },
        }
    }

    /// The child's fee and size.
    pub fn paid(&self) -> Option<Paid> {
        let (child, fee) = self.child.as_ref()?;
        Some(Paid { fee: Amount::from_sat(*fee), size: u64::try_from(child.vsize()).unwrap_or(u64::MAX) })
    }
}

/// What a look at an exit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Which transaction.
    pub txid: Txid,
    /// The best package with it.
    pub paid: Paid,
    /// Why bitcoind refuses it.
    pub refused: Option<String>,
    /// Is the child that was signed for it not needed now, and in no mempool?
    pub is_child_idle: bool,
}

/// All of them.
pub struct Exits {
    store: Arc<dyn Store>,
    kept: BTreeMap<LoanId, Kept>,
    looks: BTreeMap<LoanId, Look>,
}

impl Exits {
    /// Those the store holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<Exits> {
        let mut kept = BTreeMap::new();
        for name in store.list(EXITS)? {
            let bytes = store.get(&name)?.unwrap_or_default();
            let id = name.trim_start_matches(EXITS).parse().map_err(|e| anyhow::anyhow!("stored {name}: {e}"))?;
            kept.insert(id, serde_json::from_slice(&bytes).with_context(|| format!("stored {name}"))?);
        }
        Ok(Exits { store, kept, looks: BTreeMap::new() })
    }

    /// What is kept of a loan's exit, from now on of this one.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn begin(&mut self, id: LoanId, txid: Txid, height: u32) -> Result<Kept, StoreError> {
        match self.kept.get(&id).filter(|kept| kept.txid == txid) {
            Some(kept) => Ok(kept.clone()),
            None => self.keep(
                id,
                Kept { txid, since: height, child: None, rises_from: None, stands_at: None, capped_at: None },
            ),
        }
    }

    /// Keeps it; on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept: then nothing that it says may leave.
    pub fn keep(&mut self, id: LoanId, kept: Kept) -> Result<Kept, StoreError> {
        let bytes = serde_json::to_vec(&kept).unwrap_or_default();
        self.store.put(&format!("{EXITS}{id}"), &bytes)?;
        self.kept.insert(id, kept.clone());
        Ok(kept)
    }

    /// Coins of ours that the children of open loans' exits spend beside them.
    pub fn coins(&self, is_open: impl Fn(&LoanId) -> bool) -> Vec<OutPoint> {
        let open = self.kept.iter().filter(|(id, _)| is_open(id));
        let children = open.filter_map(|(_, kept)| kept.child.as_ref());
        children.flat_map(|(child, _)| child.input.iter().skip(1).map(|input| input.previous_output)).collect()
    }

    /// The child that was last made for this exit of a loan.
    pub fn child_of(&self, id: LoanId, exit: Txid) -> Option<Txid> {
        let kept = self.kept.get(&id).filter(|kept| kept.txid == exit);
        kept.and_then(|kept| kept.child.as_ref()).map(|(child, _)| child.compute_txid())
    }

    /// Is this a child of an exit that is kept, as last made or as made before?
    pub fn has_child(&self, transaction: &Transaction) -> bool {
        let spends = |txid: Txid| transaction.input.iter().any(|input| input.previous_output.txid == txid);
        self.kept.values().any(|kept| spends(kept.txid))
    }

    fn look(&self, id: LoanId, txid: Txid) -> Option<&Look> {
        self.looks.get(&id).filter(|look| look.txid == txid)
    }
}

/// How a trouble with a loan's exit is filed.
fn about(id: LoanId) -> String {
    format!("exit of loan {id}")
}

/// Is the funding in a block? Before, an exit can only wait for it.
fn is_funded(loan: &Loan) -> bool {
    loan.funding.as_ref().is_some_and(|seen| seen.block.is_some())
}

impl Core {
    /// Which exit of a loan is to confirm, if one is.
    fn exit_wanted<'a>(&self, loan: &'a Loan) -> Option<&'a Transaction> {
        let living = matches!(loan.stage, Stage::Confirming | Stage::Active | Stage::Closing);
        loan.wanted_exit(self.moment.height).filter(|_| living && !loan.is_exit_confirmed())
    }

    /// Is this transaction brought out, and paid for, as a loan's exit?
    pub(super) fn is_minded(&self, loan: &Loan, transaction: &Transaction) -> bool {
        is_funded(loan) && self.exit_wanted(loan) == Some(transaction)
    }

    /// Brings every exit that is wanted to the chain, and pays for it where that is needed.
    pub(super) fn mind_exits(&mut self, loans: &[Arc<Loan>]) {
        for loan in loans {
            match self.exit_wanted(loan) {
                Some(exit) if is_funded(loan) => {
                    let (tools, height) = (self.tools.clone(), self.moment.height);
                    let work = bump::mind(tools, loan.clone(), exit.clone(), height);
                    self.spawn_seldom(Key::Exit(exit.compute_txid()), loan.id, work);
                }
                _ => self.forget_exit(loan.id),
            }
        }
    }

    fn forget_exit(&mut self, id: LoanId) {
        if lock(&self.tools.exits).looks.remove(&id).is_some() {
            self.troubles.remove(&about(id));
        }
    }

    /// What a job found of a loan's exit.
    pub(super) fn on_exit_look(&mut self, id: LoanId, look: Look) {
        let Some(loan) = self.loans.get(&id).cloned() else { return };
        if self.exit_wanted(&loan).map(Transaction::compute_txid) != Some(look.txid) {
            return;
        }
        let before = lock(&self.tools.exits).looks.insert(id, look.clone());
        let known = before.is_some_and(|before| before.txid == look.txid && before.refused.is_some());
        let Some(why) = look.refused else {
            self.troubles.remove(&about(id));
            return;
        };
        let text = format!("exit {} does not relay, because {why}", look.txid);
        if !known {
            self.show(EventView::warning(self.moment.now.0, Some(id), EVENT, text.clone()));
        }
        // No fee brings out what bitcoind does not know the version of.
        let remedy = match why.split_whitespace().next() {
            Some("version") => {
                "run Bitcoin Core or Knots of version 28 or later, without `mempooltruc=reject`: it is tried again with each block"
            }
            _ => "it is tried again with each block, and paid for as far as it is worth to you",
        };
        self.trouble(&about(id), format!("{text}; {remedy}"));
    }

    /// A loan's exit on its way, for a person.
    pub(super) fn pending_exit(&self, loan: &Loan) -> Option<PendingExit> {
        let exit = self.exit_wanted(loan)?;
        let txid = exit.compute_txid();
        let exits = lock(&self.tools.exits);
        let (kept, look) = (exits.kept.get(&loan.id).filter(|kept| kept.txid == txid), exits.look(loan.id, txid));
        let ahead = || {
            let paid = exit.output.iter().map(|out| out.value.to_sat()).fold(0, u64::saturating_add);
            let brought = loan.skeleton.as_ref().filter(|_| exit.input.len() == 1)?.funding_value.to_sat();
            let size = u64::try_from(exit.vsize()).ok()?;
            Some(Paid { fee: Amount::from_sat(brought.saturating_sub(paid)), size })
        };
        let paid = look.map(|look| look.paid).or_else(ahead);
        let refused = look.and_then(|look| look.refused.clone());
        let is_idle = look.is_some_and(|look| look.is_child_idle);
        let child = kept.and_then(|kept| kept.child.as_ref()).filter(|_| !is_idle);
        let waits_for = match (is_funded(loan), &refused) {
            (false, _) => "the funding",
            (true, Some(_)) => "relay",
            (true, None) => "a block",
        };
        Some(PendingExit {
            exit: loan.exit_of(exit),
            txid,
            sat_per_vb: paid.map(Paid::rate_floor),
            child: child.map(|(child, _)| child.compute_txid()),
            child_fee_sats: child.map(|(_, fee)| *fee),
            since_height: kept.map(|kept| kept.since),
            waits_for: waits_for.to_owned(),
            refused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;
    use bitcoin::hashes::Hash;

    #[test]
    fn blocks_in_which_no_child_could_have_helped_do_not_count_over_a_restart_either() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let (id, txid) = (LoanId([7; 32]), Txid::from_byte_array([1; 32]));
        let mut exits = Exits::open(store.clone()).unwrap();
        let kept = exits.begin(id, txid, 100).unwrap();
        assert_eq!([100, 103].map(|height| kept.blocks(height)), [0, 3]);
        assert_eq!(kept.clone().counts_again(103), kept, "nothing was in vain");
        exits.keep(id, kept.refused_in_vain(103)).unwrap();
        let kept = Exits::open(store).unwrap().begin(id, txid, 120).unwrap();
        assert_eq!((kept.blocks(120), kept.clone().refused_in_vain(120)), (3, kept.clone()));
        assert_eq!([130, 132].map(|height| kept.clone().counts_again(130).blocks(height)), [0, 2]);
        let before =
            r#"{"txid":"0101010101010101010101010101010101010101010101010101010101010101","since":7,"child":null}"#;
        assert_eq!(serde_json::from_str::<Kept>(before).unwrap().blocks(9), 2, "as earlier versions wrote it");
    }

    #[test]
    fn blocks_below_ones_own_cap_do_not_count_over_a_restart_either_and_the_count_goes_on_from_where_it_stood() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let (id, txid) = (LoanId([7; 32]), Txid::from_byte_array([1; 32]));
        let mut exits = Exits::open(store.clone()).unwrap();
        let kept = exits.begin(id, txid, 100).unwrap();
        assert_eq!(kept.clone().at_cap(103, None), kept, "nothing is in the way");
        exits.keep(id, kept.at_cap(103, Some(2))).unwrap();
        let kept = Exits::open(store).unwrap().begin(id, txid, 140).unwrap();
        assert_eq!((kept.blocks(140), kept.clone().at_cap(140, Some(2))), (2, kept.clone()));
        let raised = kept.clone().at_cap(140, None);
        assert_eq!([140, 143].map(|height| raised.blocks(height)), [2, 5]);
        // What is refused meanwhile stands as it was, and begins anew.
        let refused = kept.refused_in_vain(140).at_cap(141, None);
        assert_eq!((refused.blocks(150), refused.counts_again(150).blocks(151)), (2, 1));
    }

    #[test]
    fn what_was_signed_for_an_exit_is_the_same_after_a_restart_and_another_exit_begins_anew() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let (id, txid) = (LoanId([7; 32]), Txid::from_byte_array([1; 32]));
        let mut exits = Exits::open(store.clone()).unwrap();
        let kept = exits.begin(id, txid, 100).unwrap();
        assert_eq!((kept.since, kept.child.is_none()), (100, true));
        let coin = |n| bitcoin::TxIn { previous_output: OutPoint { txid, vout: n }, ..Default::default() };
        let child = Transaction {
            version: bitcoin::transaction::Version(3),
            lock_time: bitcoin::absolute::LockTime::ZERO,
            input: vec![coin(0), coin(1)],
            output: Vec::new(),
        };
        exits.keep(id, Kept { child: Some((child.clone(), 5_000)), ..kept }).unwrap();
        drop(exits);
        let mut exits = Exits::open(store).unwrap();
        let kept = exits.begin(id, txid, 105).unwrap();
        assert_eq!((kept.since, kept.child.clone()), (100, Some((child.clone(), 5_000))));
        assert_eq!(exits.coins(|_| true), [OutPoint { txid, vout: 1 }]);
        let elsewhere = Transaction { input: vec![bitcoin::TxIn::default()], ..child.clone() };
        assert!(exits.has_child(&child) && !exits.has_child(&elsewhere));
        assert!(exits.coins(|_| false).is_empty(), "an ended loan holds no coin");
        let other = exits.begin(id, Txid::from_byte_array([2; 32]), 106).unwrap();
        assert_eq!((other.since, other.child), (106, None));
    }
}
