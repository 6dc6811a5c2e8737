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
use crate::protocol::state::SeenExit;
use crate::protocol::unfunded::takes_back;
use crate::protocol::Loan;
use crate::store::Store;
use crate::wallet::Wallet;
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The document that names them.
const FOREIGN: &str = "foreign-spend";
/// How long each is shown, seconds of the node's clock.
const STANDS: u32 = 7 * DAY;
/// So many are told one by one, those by which most was lost; more are counted.
const MOST: usize = 16;
/// What each of them is called first.
const NAME: &str = "second node, seen on the chain";

/// Whose it is, as far as can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whose {
    /// A contract that this node signed with a peer before it was restored; or another's.
    Contract,
    /// Another's, or this node's own of before it was restored, which nobody had shown by then.
    PerhapsOurs,
    /// Another's.
    #[default]
    Anothers,
}

/// A transaction of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Foreign {
    txid: Txid,
    /// Less what came back to it; unknown where an older program kept it.
    #[serde(default)]
    lost_sats: Option<u64>,
    at: Time,
    #[serde(default)]
    whose: Whose,
}

/// The transactions of another's of the last week: a theft must not hide behind a smaller one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreigns {
    /// The gravest.
    spends: Vec<Foreign>,
    /// How many more there were, what was lost by them, and when the last one was.
    #[serde(default)]
    more: u32,
    #[serde(default)]
    more_sats: u64,
    #[serde(default)]
    more_at: Time,
}

/// What was kept by this program, or one of before that kept the last one alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    All(Foreigns),
    Last(Foreign),
}

impl Foreigns {
    /// What the store holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(store: &dyn Store) -> anyhow::Result<Foreigns> {
        let Some(bytes) = store.get(FOREIGN)? else { return Ok(Foreigns::default()) };
        Ok(match serde_json::from_slice(&bytes).context("read which spends were another's")? {
            Kept::All(all) => all,
            Kept::Last(last) => Foreigns { spends: vec![last], ..Foreigns::default() },
        })
    }

    /// With one more, and without those that are not told any more.
    fn with(&self, foreign: Foreign) -> Foreigns {
        let mut all = self.clone();
        all.spends.push(foreign);
        all.spends.retain(|one| stands(one.at, foreign.at));
        if !stands(all.more_at, foreign.at) {
            (all.more, all.more_sats) = (0, 0);
        }
        // An older program did not keep what was lost: it may be anything.
        all.spends.sort_by_key(|one| Reverse((one.whose, one.lost_sats.unwrap_or(u64::MAX))));
        let over = all.spends.split_off(MOST.min(all.spends.len()));
        for least in over.into_iter().filter(Foreign::is_foreign) {
            all.more = all.more.saturating_add(1);
            all.more_sats = all.more_sats.saturating_add(least.lost_sats.unwrap_or_default());
            all.more_at = all.more_at.max(least.at);
        }
        all
    }

    /// What people are told, the gravest first: of each by a name of its own, for what has a name is told once. A contract is
    /// this node's own, as far as can be told, and counts with none of another's.
    fn told(&self, now: Time, is_given_back: impl Fn(Txid) -> bool) -> Vec<String> {
        let told = self.spends.iter().filter(|one| stands(one.at, now));
        let told: Vec<&Foreign> = told.filter(|one| one.is_foreign() || !is_given_back(one.txid)).collect();
        let more = if stands(self.more_at, now) { (self.more, self.more_sats) } else { (0, 0) };
        let foreign = || told.iter().filter(|one| one.is_foreign());
        let count = foreign().count().saturating_add(usize::try_from(more.0).unwrap_or(usize::MAX));
        let sum = foreign().filter_map(|one| one.lost_sats).fold(more.1, u64::saturating_add);
        let largest = foreign().max_by_key(|one| one.lost_sats);
        let all = largest.filter(|_| count > 1).map(|largest| {
            let most = Amount::from_sat(largest.lost_sats.unwrap_or_default());
            format!(
                "{NAME}: {count} transactions of the last week spent coins of this wallet, and this node made none of them. It \
                 lost {} by them, most of it, {most}, by {}",
                Amount::from_sat(sum),
                largest.txid,
            )
        });
        all.into_iter().chain(told.iter().map(|one| one.told())).collect()
    }
}

/// Is a transaction of then told now?
fn stands(at: Time, now: Time) -> bool {
    now.since(at) < STANDS
}

impl Foreign {
    /// Did this node not make it, as far as can be told?
    fn is_foreign(&self) -> bool {
        self.whose != Whose::Contract
    }

    fn told(&self) -> String {
        let Foreign { txid, lost_sats, at, whose } = self;
        let lost = lost_sats.map(|lost| format!(", which lost {} by it", Amount::from_sat(lost))).unwrap_or_default();
        let spent = format!("it spent coins of this wallet at {at}{lost}");
        let others =
            "another node or wallet runs on these words: stop it at once, each signs what the other does not know of. \
                      If none of yours does, somebody else has the words: make a new node and move every coin to it";
        match whose {
            Whose::Anothers => format!("{NAME}, {txid}: {spent}, and this node did not make it: {others}"),
            Whose::PerhapsOurs => format!(
                "{NAME}, {txid}: {spent}, and this node did not make it since it was restored. Did you send it before that, all \
                 is well. Else {others}"
            ),
            Whose::Contract => format!(
                "signed before the restore, {txid}: {spent}, together with another's coins, as a loan is funded or repaid. What \
                 this node was restored from does not hold it: connect to the peer that you signed it with, `peer connect \
                 KEY@HOST:PORT`, which gives an open loan back. Did you sign none, {others}"
            ),
        }
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
        let all = self.foreign.with(foreign);
        tokio::task::block_in_place(|| {
            if was_noted(&*store, txid)? {
                return Ok(());
            }
            // The note last: with it, the transaction is not looked at again.
            store.put(FOREIGN, &serde_json::to_vec(&all)?)?;
            note(&*store, txid, purpose).map_err(|trouble| anyhow::anyhow!("{}", trouble.message()))?;
            tracing::warn!("transaction {txid} takes {lost_sats} sats from this wallet, and {who}");
            self.foreign = all;
            anyhow::Ok(())
        })
        .context("keep that a spend is another's")
    }

    /// What people are told of them, of each for a week.
    pub(super) fn foreign_troubles(&self) -> Vec<String> {
        // A contract may have been given back meanwhile.
        self.foreign.told(self.moment.now, |txid| self.loans.values().any(|loan| is_funding_or_end(loan, txid)))
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

/// Is it what funded the loan, or what ended it, as a repayment does?
fn is_funding_or_end(loan: &Loan, txid: Txid) -> bool {
    let is_end = |exit: &SeenExit| exit.seen.transaction.compute_txid() == txid;
    loan.skeleton.as_ref().is_some_and(|skeleton| skeleton.funding.txid == txid)
        || loan.exit.as_ref().is_some_and(is_end)
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
    use bitcoin::hashes::Hash;

    #[test]
    fn what_an_older_program_kept_is_read_and_its_loss_not_made_up() {
        let store = Memory::new();
        let old = format!(r#"{{"txid":"{}","spent_sats":349968418,"at":1583712000}}"#, "ab".repeat(32));
        store.put(FOREIGN, old.as_bytes()).unwrap();
        let kept = Foreigns::open(&store).unwrap();
        assert_eq!((kept.spends.len(), kept.spends[0].lost_sats, kept.spends[0].at), (1, None, Time(1_583_712_000)));
        let more = kept.with(spend(1, 5, 1_583_712_000));
        store.put(FOREIGN, &serde_json::to_vec(&more).unwrap()).unwrap();
        assert_eq!(Foreigns::open(&store).unwrap(), more);
    }

    fn spend(number: u8, lost: u64, at: u32) -> Foreign {
        let txid = Txid::from_byte_array([number; 32]);
        Foreign { txid, lost_sats: Some(lost), at: Time(at), whose: Whose::Anothers }
    }

    #[test]
    fn a_theft_does_not_hide_behind_smaller_ones_however_many() {
        const AT: u32 = 1_583_712_000;
        let theft = spend(1, 299_000_703, AT);
        let all = Foreigns::default().with(theft).with(spend(2, 548, AT + 1));
        let told = all.told(Time(AT + 2), |_| false);
        let (name, text) = told[0].split_once(": ").unwrap();
        assert_eq!((name, told.len()), (NAME, 3));
        assert!(text.starts_with("2 transactions of the last week"), "{text}");
        assert!(text.contains("lost 2.99001251 BTC by them, most of it, 2.99000703 BTC, by 0101"), "{text}");
        assert!(
            told[1].contains("which lost 2.99000703 BTC") && told[2].contains("which lost 0.00000548 BTC"),
            "{told:?}"
        );
        // A flood of small ones before and after it changes nothing of that, and each of those told has its own name.
        let small =
            |all: Foreigns, range: std::ops::Range<u8>| range.fold(all, |all, n| all.with(spend(n, n.into(), AT)));
        let all = small(small(Foreigns::default(), 2..80).with(theft), 80..200);
        let told = all.told(Time(AT), |_| false);
        assert_eq!(told.len(), MOST + 1);
        assert!(told[0].contains("199 transactions") && told[0].contains("lost 2.99020602 BTC by them"), "{}", told[0]);
        assert!(told[1].contains("which lost 2.99000703 BTC"), "{}", told[1]);
        // What an event is named by has 100 characters at most.
        let names: BTreeSet<String> =
            told.iter().map(|one| one.split(": ").next().unwrap().chars().take(100).collect()).collect();
        assert_eq!(names.len(), told.len());
        println!("bound hidden-theft 0 of {MOST} spends");
        // Each for a week.
        assert!(all.told(Time(AT + STANDS), |_| false).is_empty());
        let after = all.with(spend(201, 7, AT + STANDS));
        assert_eq!((after.spends.len(), after.more), (1, 0));
        assert_eq!(after.told(Time(AT + STANDS), |_| false).len(), 1);
    }

    #[test]
    fn a_contract_that_was_given_back_is_not_told_and_hides_no_other() {
        let contract = Foreign { whose: Whose::Contract, ..spend(1, 900_000, 5) };
        let all = Foreigns::default().with(contract).with(spend(2, 1, 6));
        // What the first line counts was not made here: a contract was, and is told by itself.
        let told = all.told(Time(6), |_| false);
        assert!(told.len() == 2 && told[1].starts_with("signed before the restore, 0101"), "{told:?}");
        let more = all.with(spend(3, 5, 6)).told(Time(6), |_| false);
        assert!(more.len() == 4 && more[0].contains("2 transactions of the last week"), "{more:?}");
        assert!(more[0].contains("lost 0.00000006 BTC by them, most of it, 0.00000005 BTC, by 0303"), "{more:?}");
        // Nor among those that are too many to be told.
        let many = (2..MOST as u8 + 4).fold(Foreigns::default().with(contract), |all, n| all.with(spend(n, 1, 6)));
        assert!(many.told(Time(6), |_| false)[0].contains(&format!("{} transactions", MOST + 2)), "{many:?}");
        let told = all.told(Time(6), |txid| txid == contract.txid);
        assert!(told.len() == 1 && told[0].contains("which lost 0.00000001 BTC"), "{told:?}");
    }
}
