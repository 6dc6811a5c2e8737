//! Coins that borrowers proved lately, and the loans they proved them for: kept on disk for a day.
//!
//! A negotiation that comes to nothing costs the lender a transaction and a record, so a coin may be shown so often a day
//! in vain and no more. What is made by spending shown coins has been shown as much as the part of it that came from them:
//! mixing, splitting and joining leave the sum of value times showings as it was, so nobody shows more than five times a
//! day what it owns, and a small shown coin among much other money is next to nothing. Never decides about a loan, and
//! never asks the chain: it is told what is spent. A transaction costs what it moves, however much is kept.

mod kept;

use crate::loan::terms::LoanId;
use crate::loan::units::{Time, DAY};
use crate::store::{Store, StoreError};
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use kept::{Group, Kept};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    kept: Kept,
}

impl ShownCoins {
    /// Those the store holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<ShownCoins> {
        Ok(ShownCoins { kept: Kept::open(store)? })
    }

    /// When this coin, or what it was made from, was shown within a day, and for what.
    pub fn of(&self, coin: &OutPoint) -> &[Showing] {
        self.kept.get(coin).map(|(_, shown)| shown).unwrap_or_default()
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
        self.kept.change(|shown| {
            let mut is_new = false;
            for showing in shown.iter_mut().filter(|showing| showing.loan == *loan && !showing.pardoned) {
                (showing.pardoned, is_new) = (true, true);
            }
            is_new
        });
        self.kept.flush()
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
            let mut coin = self.kept.lift(outpoint).unwrap_or_default();
            coin.shown.retain(|showing| showing.loan != loan);
            coin.shown.push(Showing { at, loan, parts: WHOLE, pardoned: false });
            brief(&mut coin.shown, &goes_on);
            coin.coins = [(outpoint.vout, *sats)].into();
            self.kept.put((outpoint.txid, Some(outpoint.vout)), coin);
        }
        self.kept.flush()
    }

    /// A transaction that waits or is in a block: what it makes of shown coins has been shown as much as they have, by
    /// the part of it that is theirs. Not on disk before [`ShownCoins::flush`].
    pub fn on_transaction(&mut self, transaction: &Transaction, is_in_block: bool, goes_on: impl Fn(&LoanId) -> bool) {
        let inputs = transaction.input.iter().map(|input| input.previous_output);
        let spends: Vec<OutPoint> = inputs.filter(|coin| self.kept.get(coin).is_some()).collect();
        if spends.is_empty() {
            return;
        }
        let txid = transaction.compute_txid();
        // The same transaction is told of again when a block has it.
        let shown = match self.kept.has_all_of(txid) {
            true => Vec::new(),
            false => self.shown_by(transaction, &goes_on),
        };
        for coin in &spends {
            // What another transaction made of the coin will not be.
            let before = self.kept.spend(coin, txid);
            if is_in_block {
                self.kept.remove(coin);
            }
            before.into_iter().for_each(|before| self.forget_made_by(before));
        }
        if shown.is_empty() {
            return;
        }
        let outputs = (0u32..).zip(&transaction.output).map(|(vout, output)| (vout, output.value));
        let is_new = |vout: &u32| self.kept.get(&OutPoint { txid, vout: *vout }).is_none();
        let coins = outputs.filter(|(vout, sats)| *sats >= SMALL && is_new(vout)).collect();
        self.kept.put((txid, None), Group { shown, coins, spends });
    }

    /// Puts on disk what transactions have changed since, by one sync.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.kept.flush()
    }

    /// Forgets what is a day old.
    pub fn tick(&mut self, now: Time) {
        self.kept.tick(now);
    }

    /// How much each output of a transaction was shown: of each showing the part that its coins are of all that is paid,
    /// rounded up; nothing where all of it is less than a thousandth of one showing.
    fn shown_by(&self, transaction: &Transaction, goes_on: &impl Fn(&LoanId) -> bool) -> Vec<Showing> {
        let (mut known, mut all, mut mixed) = (0u128, 0u128, BTreeMap::<LoanId, (Time, u128, bool)>::new());
        for (sats, shown) in transaction.input.iter().filter_map(|input| self.kept.get(&input.previous_output)) {
            let sats = u128::from(sats.to_sat());
            known = known.saturating_add(sats);
            for showing in shown {
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
        while let Some(txid) = gone.pop() {
            gone.extend(self.kept.forget_made_by(txid));
        }
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
    if shown.len() > TIMES {
        let mut many = shown.len();
        let mut kinds: [BTreeSet<(u64, Time, LoanId, bool)>; 3] = Default::default();
        for showing in shown.drain(..) {
            let Showing { at, loan, parts, pardoned } = showing;
            if let Some(alike) = kinds.get_mut(kind(&showing)) {
                alike.insert((parts, at, loan, pardoned));
            }
        }
        for alike in &mut kinds {
            while many > TIMES && alike.len() > 1 {
                let (Some(least), Some(greater)) = (alike.pop_first(), alike.pop_first()) else { break };
                alike.insert((greater.0.saturating_add(least.0), greater.1.max(least.1), greater.2, greater.3));
                many = many.saturating_sub(1);
            }
        }
        let all = kinds.into_iter().flatten();
        shown.extend(all.map(|(parts, at, loan, pardoned)| Showing { at, loan, parts, pardoned }));
    }
    shown.sort_unstable();
}

#[cfg(test)]
mod tests;
