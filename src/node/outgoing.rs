//! What the wallet has recorded and no block has: each is brought out, or its coins are free again.
//!
//! A payment that was handed over may be out, whatever became of the answer and of bitcoind's mempool. Made again it could be paid
//! twice; so it is written down before it is handed over, and this node goes on with the very same transaction, over restarts
//! and deaths too, until it is deep in the chain, or a block has another that spends one of its coins. Only one that bitcoind never
//! said it had, and refuses for what it is, was not made. Anything else that the wallet has recorded, that nobody is bringing
//! out, and that bitcoind does not know, goes nowhere: a negotiation that ended under its coin, a job that was cut off.

use super::core::{Core, AGAIN};
use super::handle::came_late;
use super::jobs::{coin, Key, Outcome};
use super::restored::Restored;
use super::tools::{error, lock, Tools, Trouble};
use super::view::{ErrorView, EventFacts, EventView, Severity};
use crate::chain::ChainEvent;
use crate::loan::units::Time;
use crate::protocol::ErrorCode;
use crate::store::{Store, StoreError};
use crate::wallet::{Payment, Standing};
use anyhow::Context;
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{BlockHash, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The document that names the payments that may be out.
const OUTGOING: &str = "outgoing";
/// What the chain does not tell of for so long is told to people.
const SAID: Duration = Duration::from_secs(3);
/// For so long it has time to get there; then bitcoind is asked.
const STRAY: Duration = Duration::from_secs(10);

/// So many confirmations make a payment one that nobody has to mind any more.
const DEEP: u32 = 6;

/// A payment that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsure {
    /// As bitcoind takes it. Once it is out the wallet has it, and it is left out here: all of these are one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transaction: Option<Transaction>,
    since: Time,
    /// Has bitcoind, or a block, said to have it?
    #[serde(default)]
    is_sure: bool,
    /// What people are told of one of before a restore that cannot be brought out: it is not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unmade: Option<String>,
}

/// Prefix of the documents that hold each its transaction, for a backup: the wallet, which has it, is in none.
const PAYMENT: &str = "payment/";

/// The payments being handed over, and those that were and are not deep in the chain.
pub struct Outgoing {
    store: Arc<dyn Store>,
    handing: HashSet<Txid>,
    unsure: BTreeMap<Txid, Unsure>,
    /// Why bitcoind, which has them no more, does not take them again.
    refused: HashMap<Txid, String>,
}

impl Outgoing {
    /// What the store holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<Outgoing> {
        let bytes = store.get(OUTGOING)?.filter(|bytes| !bytes.is_empty());
        let unsure = bytes.map(|bytes| serde_json::from_slice(&bytes).context("read which payments may be out"));
        let unsure = unsure.transpose()?.unwrap_or_default();
        Ok(Outgoing { store, handing: HashSet::new(), unsure, refused: HashMap::new() })
    }

    /// Is somebody bringing it out?
    pub fn holds(&self, txid: &Txid) -> bool {
        self.handing.contains(txid) || self.unsure.contains_key(txid)
    }

    /// Those that nobody is handing over right now.
    fn waiting(&self) -> impl Iterator<Item = (&Txid, &Unsure)> {
        self.unsure.iter().filter(|(txid, _)| !self.handing.contains(*txid))
    }

    fn keep(&mut self, txid: Txid, unsure: Unsure) -> Result<(), StoreError> {
        let made = unsure.transaction.as_ref().map(|made| (format!("{PAYMENT}{txid}"), serialize(made)));
        self.unsure.insert(txid, unsure);
        self.write_with(made)
    }

    /// The transaction of one of them, as it was kept for a backup.
    pub(super) fn kept(&self, txid: &Txid) -> Option<Transaction> {
        let bytes = self.store.get(&format!("{PAYMENT}{txid}")).ok()??;
        deserialize(&bytes).ok()
    }

    /// Keeps a transaction that an older program left to the wallet alone.
    fn keep_made(&self, txid: &Txid, made: &Transaction) -> Result<(), StoreError> {
        match self.kept(txid) {
            Some(_) => Ok(()),
            None => self.store.put(&format!("{PAYMENT}{txid}"), &serialize(made)),
        }
    }

    /// Those that are to be made after a restore, with their transactions.
    pub(super) fn of_before(&self) -> Vec<(Txid, Option<Transaction>)> {
        let open = self.waiting().filter(|(_, one)| one.unmade.is_none());
        open.map(|(txid, one)| (*txid, one.transaction.clone().or_else(|| self.kept(txid)))).collect()
    }

    /// One of before a restore cannot be made, as people are told; or it can after all.
    pub(super) fn set_unmade(&mut self, txid: &Txid, text: Option<String>) -> Result<(), StoreError> {
        match self.unsure.get_mut(txid).filter(|one| one.unmade != text) {
            Some(one) => {
                one.unmade = text;
                self.write()
            }
            None => Ok(()),
        }
    }

    /// It is out; was that not known before?
    fn is_out(&mut self, txid: &Txid) -> Result<bool, StoreError> {
        self.refused.remove(txid);
        match self.unsure.get_mut(txid).filter(|one| !one.is_sure) {
            Some(one) => {
                (one.is_sure, one.transaction) = (true, None);
                self.write().map(|()| true)
            }
            None => Ok(false),
        }
    }

    fn remove(&mut self, txid: &Txid) -> Result<(), StoreError> {
        self.refused.remove(txid);
        match self.unsure.remove(txid) {
            Some(_) => self.write_with(Some((format!("{PAYMENT}{txid}"), Vec::new()))),
            None => Ok(()),
        }
    }

    fn write(&self) -> Result<(), StoreError> {
        self.write_with(None)
    }

    fn write_with(&self, more: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), StoreError> {
        let all = (OUTGOING.to_owned(), serde_json::to_vec(&self.unsure).unwrap_or_default());
        self.store.put_all(&[all].into_iter().chain(more).collect::<Vec<_>>())
    }
}

/// Says that a payment is being handed over, as long as it lives.
struct Handing<'a>(&'a Tools, Txid);

impl<'a> Handing<'a> {
    fn begin(tools: &'a Tools, txid: Txid) -> Handing<'a> {
        lock(&tools.outgoing).handing.insert(txid);
        Handing(tools, txid)
    }
}

impl Drop for Handing<'_> {
    fn drop(&mut self) {
        lock(&self.0.outgoing).handing.remove(&self.1);
    }
}

/// It is out; was that not known before? The wallet is on disk before its transaction is left out of what is kept here: else a
/// power cut, which takes bitcoind's mempool with it, could take the payment.
fn is_out(tools: &Tools, txid: Txid) -> anyhow::Result<bool> {
    if lock(&tools.outgoing).unsure.get(&txid).is_none_or(|one| one.is_sure) {
        lock(&tools.outgoing).refused.remove(&txid);
        return Ok(false);
    }
    lock(&tools.wallet).sync().context("put the wallet on disk")?;
    lock(&tools.outgoing).is_out(&txid).context("write which payments may be out")
}

/// Goes on with a transaction that was out, and that a block had: its coins are its own again.
pub(super) fn hold(tools: &Tools, made: &Transaction, now: Time) -> anyhow::Result<()> {
    let txid = made.compute_txid();
    lock(&tools.wallet).record(made, now).context("tell the wallet of it")?;
    let outgoing = &mut *lock(&tools.outgoing);
    outgoing.keep_made(&txid, made)?;
    Ok(outgoing.keep(txid, Unsure { transaction: None, since: now, is_sure: true, unmade: None })?)
}

/// The wallet's coins that it spends are free again: it is nowhere.
fn take_back(tools: &Tools, txid: Txid, now: Time) -> Result<(), ErrorView> {
    lock(&tools.outgoing).remove(&txid).map_err(|e| error(ErrorCode::Internal, e))?;
    let gone = ChainEvent::Mempool { new: Vec::new(), evicted: vec![txid] };
    lock(&tools.wallet).apply(&gone, now).map_err(|e| error(ErrorCode::Internal, e))
}

/// Brings out what the wallet has made and recorded. Where bitcoind was not asked for that, refuses it, or nobody waits for it any
/// more (`gave_up`), its coins are free again. Where the answer is lost it may be out, which is said in words.
pub async fn bring(
    tools: &Tools,
    payment: &Payment,
    now: Time,
    gave_up: impl Fn() -> bool,
) -> Result<Option<String>, ErrorView> {
    let (transaction, txid) = (&payment.transaction, payment.transaction.compute_txid());
    let _handing = Handing::begin(tools, txid);
    if let Err(e) = tools.chain.test_accept(transaction).await {
        take_back(tools, txid, now)?;
        return Err(not_sent(&e));
    }
    if gave_up() {
        take_back(tools, txid, now)?;
        return Err(came_late());
    }
    let unsure = Unsure { transaction: Some(transaction.clone()), since: now, is_sure: false, unmade: None };
    let kept = tokio::task::block_in_place(|| lock(&tools.outgoing).keep(txid, unsure));
    if let Err(e) = kept {
        take_back(tools, txid, now)?;
        return Err(error(ErrorCode::Internal, e));
    }
    match tools.chain.broadcast(transaction).await {
        Ok(_) => {
            // Should that fail, it is found in the mempool and told once more.
            if let Err(e) = tokio::task::block_in_place(|| is_out(tools, txid)) {
                tracing::warn!(%txid, "it is out, and that cannot be written: {e:#}");
            }
            Ok(None)
        }
        Err(e) if e.may_be_done() => {
            tracing::warn!(%txid, "it may be out: {e}");
            Ok(Some(may_be_out(&txid)))
        }
        Err(e) => {
            take_back(tools, txid, now)?;
            Err(not_sent(&e))
        }
    }
}

fn not_sent(e: &crate::chain::Error) -> ErrorView {
    match e.rejection() {
        Some(rejected) => error(ErrorCode::Unavailable, rejected),
        None => error(ErrorCode::Unavailable, format!("nothing was sent, and its coins are free as before: {e}")),
    }
}

/// Does bitcoind refuse a transaction for what it is, now and always? For its coins it refuses one while it is behind, or knows it
/// already, and for its fee while the mempool is full: another that was given it before may have it all the same.
fn is_final(refused: &str) -> bool {
    let words = ["script", "dust", "version", "tx-size", "bad-txns-in-belowout", "bad-txns-vout"];
    words.iter().any(|word| refused.contains(word))
}

fn may_be_out(txid: &Txid) -> String {
    format!(
        "bitcoind was given transaction {txid}, and its answer was lost: it may be out. Do not pay it again. This node goes on \
         bringing it out until bitcoind has it or refuses it, over restarts too, and tells which"
    )
}

/// That bitcoind does not have a transaction. It knows those in blocks by an index that follows the chain some time later: so
/// that is believed only where the blocks up to here, its tip after it had answered, have not told of the transaction either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nowhere {
    pub txid: Txid,
    pub tip: BlockHash,
    /// Why it refuses it.
    pub refused: String,
}

/// Brings it out again.
async fn again(tools: Arc<Tools>, transaction: Transaction) -> Result<Outcome, Trouble> {
    let txid = transaction.compute_txid();
    if tools.chain.transaction(txid).await?.is_some() {
        return Ok(Outcome::PaymentOut(txid));
    }
    let Err(e) = coin::bring_out(&tools, &transaction).await else { return Ok(Outcome::PaymentOut(txid)) };
    match e.rejection() {
        Some(rejected) => {
            let (refused, tip) = (rejected.reason.clone(), tools.chain.tip().await?.hash);
            Ok(Outcome::PaymentRefused(Nowhere { txid, tip, refused }))
        }
        None => Err(e.into()),
    }
}

/// What the wallet has recorded and the chain does not tell of, and since when, in real time.
#[derive(Debug, Default)]
pub struct Strays {
    since: BTreeMap<Txid, Instant>,
    looked: Option<Instant>,
    /// When the payments were looked at last.
    payments: Option<Instant>,
}

impl Core {
    /// Goes on with the payments that may be out, and with what goes nowhere.
    pub(super) fn mind_outgoing(&mut self) -> anyhow::Result<()> {
        self.mind_fallen()?;
        self.mind_strays();
        // A restored node moves its coins first; what was paid before may need them.
        if self.is_moving() {
            return Ok(());
        }
        let waiting: Vec<(Txid, Unsure)> =
            lock(&self.tools.outgoing).waiting().map(|(txid, one)| (*txid, one.clone())).collect();
        let lately = self.strays.payments.is_some_and(|looked| looked.elapsed() < AGAIN);
        if waiting.is_empty() || (lately && waiting.iter().all(|(_, one)| one.is_sure)) {
            return Ok(());
        }
        self.strays.payments = Some(Instant::now());
        // One pass over the wallet for all of them.
        let made = |(txid, one): &(Txid, Unsure)| {
            let kept = one.transaction.clone().or_else(|| lock(&self.tools.outgoing).kept(txid));
            (*txid, kept)
        };
        let made: Vec<(Txid, Option<Transaction>)> = waiting.iter().map(made).collect();
        let known = lock(&self.tools.wallet).standing(&made);
        for ((txid, one), standing) in waiting.into_iter().zip(known) {
            if let Some(made) = &standing.transaction {
                let kept = tokio::task::block_in_place(|| lock(&self.tools.outgoing).keep_made(&txid, made));
                kept.context("keep the transaction of a payment")?;
            }
            self.mind_payment(txid, one, standing)?;
        }
        Ok(())
    }

    fn mind_payment(&mut self, txid: Txid, one: Unsure, standing: Standing) -> anyhow::Result<()> {
        let Standing { depth, rival, transaction } = standing;
        let is_waiting = self.chain_look.is_waiting(&txid);
        match rival {
            _ if depth >= DEEP => self.payment_over(txid),
            _ if depth > 0 || is_waiting == Some(true) => {
                let made = tokio::task::block_in_place(|| lock(&self.tools.outgoing).set_unmade(&txid, None));
                made.context("keep that a payment is made")?;
                self.on_payment_out(txid)
            }
            // As deep as the payment itself would have to be: a reorganisation may bring it back.
            Some((rival, deep)) if deep >= DEEP && self.is_whole() => {
                self.free(txid)?;
                let text = format!(
                    "payment {txid} is not made any more: transaction {rival}, in a block, spends a coin of it"
                );
                self.payment_gone(txid, text)
            }
            _ if one.unmade.is_some() => Ok(()),
            _ => {
                let Some(transaction) = one.transaction.or(transaction) else { return Ok(()) };
                // What is out is looked for when the mempool is known; what may be out, at once.
                let is_due = !one.is_sure || (self.is_whole() && self.knows_mempool && is_waiting == Some(false));
                let lately = self.broadcast.get(&txid).is_some_and(|when| when.elapsed() < AGAIN);
                if is_due
                    && !lately
                    && self.spawn(Key::Broadcast(txid), None, [0; 32], again(self.tools.clone(), transaction))
                {
                    self.broadcast.insert(txid, Instant::now());
                }
                Ok(())
            }
        }
    }

    /// bitcoind has a payment.
    pub(super) fn on_payment_out(&mut self, txid: Txid) -> anyhow::Result<()> {
        let is_news = tokio::task::block_in_place(|| is_out(&self.tools, txid));
        if is_news.context("keep that a payment is out")? {
            self.tell_payment(txid, "payment_out", Severity::Notice, format!("payment {txid} is out: bitcoind has it"));
        }
        Ok(())
    }

    /// bitcoind refuses a payment that was handed over, and does not know it.
    pub(super) fn on_payment_refused(&mut self, Nowhere { txid, tip, refused }: Nowhere) -> anyhow::Result<()> {
        let is_sure = lock(&self.tools.outgoing).unsure.get(&txid).is_none_or(|one| one.is_sure);
        let is_in_block = lock(&self.tools.wallet).depth(txid) > 0;
        if is_sure || is_in_block || !self.has_read(tip) || !is_final(&refused) {
            lock(&self.tools.outgoing).refused.insert(txid, refused);
            return Ok(());
        }
        self.free(txid)?;
        let text = format!(
            "payment {txid} was not made after all: bitcoind does not have it and refuses it ({refused}); its coins are free \
             again"
        );
        self.payment_gone(txid, text)
    }

    /// Are the blocks up to this tip read, and is that no less than was read before?
    fn has_read(&self, tip: BlockHash) -> bool {
        self.tip == Some(tip) && self.is_whole()
    }

    fn payment_over(&mut self, txid: Txid) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| lock(&self.tools.outgoing).remove(&txid)).context("keep that a payment is over")
    }

    fn payment_gone(&mut self, txid: Txid, text: String) -> anyhow::Result<()> {
        self.payment_over(txid)?;
        self.tell_payment(txid, "payment_refused", Severity::Warning, text);
        Ok(())
    }

    pub(super) fn tell_payment(&mut self, txid: Txid, event: &str, severity: Severity, text: String) {
        let facts = EventFacts { txid: Some(txid), ..EventFacts::default() };
        let (at, event) = (self.moment.now.0, event.to_owned());
        self.show(EventView { at, event, severity, text, facts, ..EventView::default() });
    }

    /// A transaction goes nowhere, and what it would have spent is free again.
    pub(super) fn free(&mut self, txid: Txid) -> anyhow::Result<()> {
        let gone = ChainEvent::Mempool { new: Vec::new(), evicted: vec![txid] };
        let now = self.moment.now;
        self.strays.since.remove(&txid);
        lock(&self.tools.wallet).apply(&gone, now).context("tell the wallet of a transaction that goes nowhere")
    }

    /// Looks for what the wallet has recorded, nobody brings out, and the chain does not tell of.
    fn mind_strays(&mut self) {
        let now = Instant::now();
        if !self.knows_mempool
            || !self.is_whole()
            || self.strays.looked.is_some_and(|looked| now.duration_since(looked) < SAID / 3)
        {
            return;
        }
        self.strays.looked = Some(now);
        // A job that has just recorded one hands it to its loan, or to the moves, next.
        let is_moving = self.running.contains(&Key::Move);
        let negotiated = self.loans.values().filter(|loan| loan.is_negotiating());
        let made = negotiated.filter_map(|loan| Some(loan.coin_made.as_ref()?.compute_txid()));
        let moves = self.restored.iter().flat_map(Restored::waiting);
        // What takes a coin of a loan back is brought out until it is over.
        let back = self.loans.values().filter(|loan| !loan.is_over());
        let back = back.flat_map(|loan| [&loan.withdrawal, &loan.repayment_withdrawal]).flatten();
        let needed: BTreeSet<Txid> = made.chain(moves).chain(back.map(Transaction::compute_txid)).collect();
        let is_stray = |txid: &Txid| !is_moving && !needed.contains(txid) && !lock(&self.tools.outgoing).holds(txid);
        let recorded = lock(&self.tools.wallet).unconfirmed();
        // While the follower is asking, its place is not known: what was stray is so until it is known better.
        let is_told =
            |txid: &Txid| self.chain_look.is_waiting(txid).unwrap_or_else(|| !self.strays.since.contains_key(txid));
        let strays: Vec<Txid> = recorded.into_iter().filter(|txid| !is_told(txid) && is_stray(txid)).collect();
        self.strays.since.retain(|txid, _| strays.contains(txid));
        for txid in strays {
            let since = *self.strays.since.entry(txid).or_insert(now);
            if now.duration_since(since) < STRAY {
                continue;
            }
            let tools = self.tools.clone();
            let work = async move {
                Ok(match tools.chain.transaction(txid).await? {
                    Some(_) => Outcome::Nothing,
                    None => Outcome::Stray(txid, tools.chain.tip().await?.hash),
                })
            };
            if self.spawn(Key::Broadcast(txid), None, [0; 32], work) {
                self.strays.since.insert(txid, now);
            }
        }
    }

    /// bitcoind, whose tip is this, knows nothing of it.
    pub(super) fn on_stray(&mut self, txid: Txid, tip: BlockHash) -> anyhow::Result<()> {
        // Somebody may bring it out since, and a block that is not read may have it.
        let is_in_block = lock(&self.tools.wallet).depth(txid) > 0;
        if lock(&self.tools.outgoing).holds(&txid) || is_in_block || !self.has_read(tip) {
            return Ok(());
        }
        tracing::info!(%txid, "recorded and nowhere: its coins are free again");
        self.free(txid)
    }

    /// What people are told of all that, a sentence each.
    pub(super) fn outgoing_troubles(&self) -> Vec<String> {
        // What pays us and spends nothing of ours keeps no coin back: it is only counted no more.
        let payments = match self.strays.since.is_empty() {
            true => Vec::new(),
            false => lock(&self.tools.wallet).unconfirmed_payments(),
        };
        let outgoing = lock(&self.tools.outgoing);
        let lost = |txid| {
            let refused = outgoing.refused.get(txid)?;
            Some(format!(
                "payment {txid}: bitcoind has it no more, and does not take it again now ({refused}). Others may have it: do not \
                 pay it again. This node goes on bringing it out until a block has it"
            ))
        };
        let unsure = outgoing.waiting().filter_map(|(txid, one)| match (&one.unmade, one.is_sure) {
            (Some(text), _) => Some(text.clone()).filter(|text| !text.is_empty()),
            (None, true) => lost(txid),
            (None, false) => Some(format!("payment {txid}: {}", may_be_out(txid))),
        });
        let lasting = self.strays.since.iter().filter(|(_, since)| since.elapsed() >= SAID);
        let lasting = lasting.filter(|(txid, _)| payments.contains(txid));
        let stray = lasting.map(|(txid, _)| {
            format!(
                "transaction {txid}: the wallet has recorded it, nobody needs it any more, and bitcoind does not have it; its \
                 coins are free again when bitcoind has said so once more"
            )
        });
        unsure.chain(stray).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;
    use bitcoin::{absolute, transaction};

    #[test]
    fn only_what_bitcoind_will_never_take_is_said_not_to_be_made() {
        for refused in ["scriptpubkey", "dust", "mandatory-script-verify-flag-failed (…)", "version"] {
            assert!(is_final(refused), "{refused}");
        }
        let passing = [
            "min relay fee not met, 1 < 2",
            "mempool min fee not met",
            "missing-inputs",
            "txn-already-known",
            "non-final",
        ];
        for refused in passing.into_iter().chain(["insufficient fee, rejecting replacement", "too-long-mempool-chain"])
        {
            assert!(!is_final(refused), "{refused}");
        }
    }

    #[test]
    fn a_payment_that_may_be_out_is_known_over_a_restart_until_it_is_resolved() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let made = Transaction {
            version: transaction::Version(2),
            lock_time: absolute::LockTime::ZERO,
            input: Vec::new(),
            output: Vec::new(),
        };
        let txid = made.compute_txid();
        let mut outgoing = Outgoing::open(store.clone()).unwrap();
        outgoing.handing.insert(txid);
        assert!(outgoing.holds(&txid));
        assert!(!Outgoing::open(store.clone()).unwrap().holds(&txid), "nothing is known of a hand-over cut off");
        outgoing.keep(txid, Unsure { transaction: Some(made), since: Time(7), is_sure: false, unmade: None }).unwrap();
        let mut again = Outgoing::open(store.clone()).unwrap();
        assert!(again.holds(&txid) && again.unsure[&txid].since == Time(7));
        again.remove(&txid).unwrap();
        assert!(!Outgoing::open(store).unwrap().holds(&txid));
    }
}
