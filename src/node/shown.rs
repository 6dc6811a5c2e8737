//! Coins that borrowers proved lately, and the loans they proved them for: kept on disk for a day.
//!
//! A negotiation that comes to nothing costs the lender a transaction and a record, so a coin may be shown so often a day
//! in vain and no more. What is made by spending shown coins has been shown as much as the part of it that came from them:
//! mixing, splitting and joining leave the sum of value times showings as it was, so nobody shows more than five times a
//! day what it owns, and a small shown coin among much other money is next to nothing. Never decides about a loan, and
//! never asks the chain: it is told what is spent.

use crate::loan::terms::LoanId;
use crate::loan::units::{Time, DAY};
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The document they are kept in.
const SHOWN: &str = "shown-coins";
/// Coins remembered at most; where there are more, the one that counts least is forgotten: value times showings.
const MOST: usize = 800;
/// Times that a coin was shown that are told apart; of more, the smallest two are put together.
const TIMES: usize = 8;
/// Coins below this are no way round: putting them together again costs more than they hide.
const SMALL: Amount = Amount::from_sat(25_000);
/// Parts of a whole showing.
const WHOLE: u64 = 1_000;
/// Loans that may come to nothing in a day before their coins are refused.
const MOST_IN_VAIN: u64 = 5;
/// Loans that may come to nothing in a day without the borrower's doing. Each costs the lender something too, and there is
/// always a way to bring one about: so they are bounded, more widely.
const MOST_PARDONED: u64 = 16;
/// A tenth of a showing: what others mixed in hinders nobody.
const LEEWAY: u64 = WHOLE / 10;

/// One time that a coin was shown, or a part of what it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Showing {
    /// When.
    pub at: Time,
    /// For which loan.
    pub loan: LoanId,
    /// How much of the coin was shown then, in thousandths.
    #[serde(default = "whole")]
    parts: u64,
    /// It came to nothing, and not by the borrower's doing: it is remembered, and not held against the coin.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pardoned: bool,
}

fn whole() -> u64 {
    WHOLE
}

impl Showing {
    /// Was it the coin itself, or what most of it was made from?
    pub fn is_most(&self) -> bool {
        self.parts.saturating_mul(2) > WHOLE
    }
}

/// A coin, what it is worth, and when it or what it was made from was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Coin {
    sats: Amount,
    /// By age, then loan.
    shown: Vec<Showing>,
    /// The transaction that waits and spends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent_by: Option<Txid>,
}

impl Coin {
    /// What it counts: sats times thousandths, and its latest showing.
    fn weight(&self) -> (u128, Option<Time>) {
        let parts: u128 = self.shown.iter().map(|showing| u128::from(showing.parts)).sum();
        (parts.saturating_mul(self.sats.to_sat().into()), self.shown.last().map(|showing| showing.at))
    }
}

/// When each of some coins was shown, and how much of it, in thousandths.
type Times = BTreeMap<OutPoint, Vec<(Time, u64)>>;

/// When some coins were shown for loans that came to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InVain {
    by_borrower: Times,
    pardoned: Times,
}

impl InVain {
    /// Why these coins, worth so much, do not back another loan today, if they do not: they count together, each by what
    /// it is worth.
    pub fn refusal(&self, coins: &[(OutPoint, Amount)]) -> Option<String> {
        let by_borrower = too_often(&self.by_borrower, MOST_IN_VAIN, coins).map(|(coin, again)| {
            format!(
                "coin {coin}, or what it was made from, was shown for {MOST_IN_VAIN} loans within a day that came to \
                 nothing; show another, or this one after {again}"
            )
        });
        by_borrower.or_else(|| {
            too_often(&self.pardoned, MOST_PARDONED, coins).map(|(coin, again)| {
                format!(
                    "coin {coin}, or what it was made from, was shown for {MOST_PARDONED} loans within a day that came to \
                     nothing, though not by its borrower's doing; show another, or this one after {again}"
                )
            })
        })
    }
}

/// The coin that was shown most of some that were shown so often together, or more, and from when on they do again.
fn too_often(shown: &Times, most: u64, coins: &[(OutPoint, Amount)]) -> Option<(OutPoint, Time)> {
    let worth = coins.iter().map(|(_, sats)| u128::from(sats.to_sat())).sum::<u128>();
    let limit = worth.saturating_mul(((most - 1) * WHOLE + LEEWAY).into());
    let mut all: Vec<(Time, u128)> = Vec::new();
    let mut dearest: (u128, Option<OutPoint>) = (0, None);
    for (coin, sats) in coins {
        let times = shown.get(coin).map(Vec::as_slice).unwrap_or_default();
        let times = times.iter().map(|(at, parts)| (*at, u128::from(*parts).saturating_mul(sats.to_sat().into())));
        dearest = dearest.max((times.clone().map(|(_, weight)| weight).sum(), Some(*coin)));
        all.extend(times);
    }
    all.sort_unstable();
    let mut sum = all.iter().map(|(_, weight)| weight).sum::<u128>();
    let mut again = None;
    for (at, weight) in &all {
        if sum <= limit {
            break;
        }
        sum = sum.saturating_sub(*weight);
        again = Some(at.plus(DAY).unwrap_or(*at));
    }
    dearest.1.zip(again)
}

/// All shown coins.
pub struct ShownCoins {
    store: Arc<dyn Store>,
    coins: BTreeMap<OutPoint, Coin>,
}

impl ShownCoins {
    /// Those the store holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<ShownCoins> {
        let kept: Vec<(OutPoint, Coin)> = match store.get(SHOWN)? {
            Some(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("stored {SHOWN}"))?,
            None => Vec::new(),
        };
        let mut coins = ShownCoins { store, coins: BTreeMap::new() };
        for (outpoint, coin) in kept {
            coins.put(outpoint, coin);
        }
        Ok(coins)
    }

    /// When this coin, or what it was made from, was shown within a day, and for what.
    pub fn of(&self, coin: &OutPoint) -> &[Showing] {
        self.coins.get(coin).map(|coin| coin.shown.as_slice()).unwrap_or_default()
    }

    /// Of what these coins were shown for, what came to nothing.
    pub fn in_vain(&self, coins: &[OutPoint], is_vain: impl Fn(&LoanId) -> bool) -> InVain {
        let times = |is_one: &dyn Fn(&Showing) -> bool| -> Times {
            let of = |coin: &OutPoint| {
                let ones = self.of(coin).iter().filter(|showing| is_one(showing));
                (*coin, ones.map(|showing| (showing.at, showing.parts)).collect())
            };
            coins.iter().map(of).collect()
        };
        InVain {
            by_borrower: times(&|showing| !showing.pardoned && is_vain(&showing.loan)),
            pardoned: times(&|showing| showing.pardoned),
        }
    }

    /// Was most of one of these shown for what then came to nothing without its borrower's doing?
    pub fn was_pardoned(&self, coins: &[(OutPoint, Amount)]) -> bool {
        coins.iter().flat_map(|(coin, _)| self.of(coin)).any(|showing| showing.pardoned && showing.is_most())
    }

    /// A loan came to nothing, and not by its borrower's doing. On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn pardon(&mut self, loan: &LoanId) -> Result<(), StoreError> {
        let mut is_new = false;
        for showing in self.coins.values_mut().flat_map(|coin| &mut coin.shown) {
            if showing.loan == *loan && !showing.pardoned {
                showing.pardoned = true;
                is_new = true;
            }
        }
        match is_new {
            true => self.save(),
            false => Ok(()),
        }
    }

    /// These coins, worth so much, were proved for a loan. `goes_on` says of a loan that it has not come to nothing, or not yet.
    /// On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn show(
        &mut self,
        coins: &[(OutPoint, Amount)],
        loan: LoanId,
        at: Time,
        goes_on: impl Fn(&LoanId) -> bool,
    ) -> Result<(), StoreError> {
        for (outpoint, sats) in coins {
            let mut coin =
                self.coins.remove(outpoint).unwrap_or(Coin { sats: *sats, shown: Vec::new(), spent_by: None });
            coin.shown.retain(|showing| showing.loan != loan);
            coin.shown.push(Showing { at, loan, parts: WHOLE, pardoned: false });
            brief(&mut coin.shown, &goes_on);
            self.put(*outpoint, coin);
        }
        self.save()
    }

    /// A transaction that waits or is in a block: what it makes of shown coins has been shown as much as they have, by
    /// the part of it that is theirs.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn on_transaction(
        &mut self,
        transaction: &Transaction,
        is_in_block: bool,
        goes_on: impl Fn(&LoanId) -> bool,
    ) -> Result<(), StoreError> {
        let spends = |input: &bitcoin::TxIn| self.coins.contains_key(&input.previous_output);
        if !transaction.input.iter().any(spends) {
            return Ok(());
        }
        let txid = transaction.compute_txid();
        let mut is_new = false;
        let shown = self.shown_by(transaction, &goes_on);
        for input in &transaction.input {
            let Some(coin) = self.coins.get_mut(&input.previous_output) else { continue };
            // What another transaction made of the coin will not be.
            let before = coin.spent_by.replace(txid).filter(|before| *before != txid);
            if is_in_block {
                self.coins.remove(&input.previous_output);
                is_new = true;
            }
            if let Some(before) = before {
                self.forget_made_by(before);
                is_new = true;
            }
        }
        for (vout, output) in (0u32..).zip(&transaction.output) {
            let outpoint = OutPoint { txid, vout };
            // The same transaction is told of again when a block has it.
            if output.value >= SMALL && !shown.is_empty() && !self.coins.contains_key(&outpoint) {
                self.put(outpoint, Coin { sats: output.value, shown: shown.clone(), spent_by: None });
                is_new = true;
            }
        }
        if is_new {
            self.save()?;
        }
        Ok(())
    }

    /// Forgets what is a day old.
    pub fn tick(&mut self, now: Time) {
        self.coins.retain(|_, coin| {
            coin.shown.retain(|showing| now.since(showing.at) < DAY);
            !coin.shown.is_empty()
        });
    }

    /// How much each output of a transaction was shown: of each showing the part that its coins are of all that is paid,
    /// rounded up; nothing where all of it is less than a thousandth of one showing.
    fn shown_by(&self, transaction: &Transaction, goes_on: &impl Fn(&LoanId) -> bool) -> Vec<Showing> {
        let (mut known, mut all, mut mixed) = (0u128, 0u128, BTreeMap::<LoanId, (Time, u128, bool)>::new());
        for coin in transaction.input.iter().filter_map(|input| self.coins.get(&input.previous_output)) {
            let sats = u128::from(coin.sats.to_sat());
            known = known.saturating_add(sats);
            for showing in &coin.shown {
                let weight = sats.saturating_mul(showing.parts.into());
                let (at, sum, pardoned) = mixed.entry(showing.loan).or_insert((showing.at, 0, showing.pardoned));
                (*at, *sum, *pardoned) = ((*at).max(showing.at), sum.saturating_add(weight), showing.pardoned);
                all = all.saturating_add(weight);
            }
        }
        let paid = transaction.output.iter().map(|output| u128::from(output.value.to_sat())).sum::<u128>().max(known);
        if all < paid || paid == 0 {
            return Vec::new();
        }
        let part = |weight: u128| u64::try_from(weight.div_ceil(paid)).unwrap_or(u64::MAX);
        let mut shown: Vec<Showing> = mixed
            .into_iter()
            .map(|(loan, (at, weight, pardoned))| Showing { at, loan, parts: part(weight), pardoned })
            .collect();
        brief(&mut shown, goes_on);
        shown
    }

    /// Forgets what a transaction made that another one has taken the place of, and what was made of that.
    fn forget_made_by(&mut self, txid: Txid) {
        let mut gone = vec![txid];
        let mut seen = BTreeSet::new();
        while let Some(txid) = gone.pop() {
            if seen.insert(txid) {
                let made = self.coins.iter().filter(|(outpoint, _)| outpoint.txid == txid);
                gone.extend(made.filter_map(|(_, coin)| coin.spent_by));
                self.coins.retain(|outpoint, _| outpoint.txid != txid);
            }
        }
    }

    /// Remembers a coin, in the place of the one that counts least where there are too many.
    fn put(&mut self, outpoint: OutPoint, coin: Coin) {
        if self.coins.len() >= MOST && !self.coins.contains_key(&outpoint) {
            let least = self.coins.iter().min_by_key(|(_, coin)| coin.weight());
            if let Some(least) = least.map(|(outpoint, _)| *outpoint) {
                self.coins.remove(&least);
            }
        }
        self.coins.insert(outpoint, coin);
    }

    fn save(&self) -> Result<(), StoreError> {
        let all: Vec<(&OutPoint, &Coin)> = self.coins.iter().collect();
        // Integers and hashes cannot fail to be written.
        let bytes = serde_json::to_vec(&all).unwrap_or_default();
        tokio::task::block_in_place(|| self.store.put(SHOWN, &bytes))
    }
}

/// Puts the smallest two together until there are few enough: as the greater's loan, at the later time. Only those that
/// end alike: what is held against nobody goes together first, then what came to nothing, and what goes on last, as nobody
/// knows yet how it ends.
fn brief(shown: &mut Vec<Showing>, goes_on: &impl Fn(&LoanId) -> bool) {
    let kind = |showing: &Showing| match (showing.pardoned, goes_on(&showing.loan)) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    };
    while shown.len() > TIMES {
        let count = |one: usize| shown.iter().filter(|showing| kind(showing) == one).count();
        let Some(first) = (0..3).find(|one| count(*one) > 1) else { break };
        shown.sort_unstable_by_key(|one| std::cmp::Reverse((kind(one) != first, one.parts, one.at)));
        let (Some(least), Some(greater)) = (shown.pop(), shown.pop()) else { break };
        let parts = greater.parts.saturating_add(least.parts);
        shown.push(Showing { at: greater.at.max(least.at), parts, ..greater });
    }
    shown.sort_unstable();
}

#[cfg(test)]
mod tests;
