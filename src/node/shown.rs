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

    /// These coins, worth so much, were proved for a loan. On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn show(&mut self, coins: &[(OutPoint, Amount)], loan: LoanId, at: Time) -> Result<(), StoreError> {
        for (outpoint, sats) in coins {
            let mut coin =
                self.coins.remove(outpoint).unwrap_or(Coin { sats: *sats, shown: Vec::new(), spent_by: None });
            coin.shown.retain(|showing| showing.loan != loan);
            coin.shown.push(Showing { at, loan, parts: WHOLE, pardoned: false });
            brief(&mut coin.shown);
            self.put(*outpoint, coin);
        }
        self.save()
    }

    /// A transaction that waits or is in a block: what it makes of shown coins has been shown as much as they have, by
    /// the part of it that is theirs.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn on_transaction(&mut self, transaction: &Transaction, is_in_block: bool) -> Result<(), StoreError> {
        let spends = |input: &bitcoin::TxIn| self.coins.contains_key(&input.previous_output);
        if !transaction.input.iter().any(spends) {
            return Ok(());
        }
        let txid = transaction.compute_txid();
        let mut is_new = false;
        let shown = self.shown_by(transaction);
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
    fn shown_by(&self, transaction: &Transaction) -> Vec<Showing> {
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
        brief(&mut shown);
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

/// Puts the smallest two together until there are few enough: as the greater's loan, at the later time. What is held against
/// nobody goes together first, and never with what is.
fn brief(shown: &mut Vec<Showing>) {
    while shown.len() > TIMES {
        let apart = shown.iter().filter(|showing| showing.pardoned).count() > 1;
        shown.sort_unstable_by_key(|one| std::cmp::Reverse((one.pardoned != apart, one.parts, one.at)));
        let (Some(least), Some(greater)) = (shown.pop(), shown.pop()) else { break };
        let parts = greater.parts.saturating_add(least.parts);
        shown.push(Showing { at: greater.at.max(least.at), parts, ..greater });
    }
    shown.sort_unstable();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Memory, MAX_DOCUMENT};
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};

    const NOW: Time = Time(1_583_712_000);

    fn coins() -> ShownCoins {
        ShownCoins::open(Arc::new(Memory::new())).unwrap()
    }

    fn coin(number: u32) -> OutPoint {
        let mut txid = [7; 32];
        txid[..4].copy_from_slice(&number.to_le_bytes());
        OutPoint { txid: Txid::from_byte_array(txid), vout: 0 }
    }

    fn loan(number: u8) -> LoanId {
        LoanId([number; 32])
    }

    fn spends(inputs: &[OutPoint], outputs: &[u64]) -> Transaction {
        let input = |outpoint: &OutPoint| TxIn {
            previous_output: *outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        let output = |sats: &u64| TxOut { value: Amount::from_sat(*sats), script_pubkey: ScriptBuf::new() };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: inputs.iter().map(input).collect(),
            output: outputs.iter().map(output).collect(),
        }
    }

    fn made(transaction: &Transaction, vout: u32) -> OutPoint {
        OutPoint { txid: transaction.compute_txid(), vout }
    }

    fn times(coins: &ShownCoins, coin: OutPoint) -> usize {
        coins.of(&coin).len()
    }

    /// Showings in vain, in thousandths, if every loan came to nothing.
    fn parts(coins: &ShownCoins, coin: OutPoint) -> u64 {
        coins.of(&coin).iter().map(|showing| showing.parts).sum()
    }

    fn refusal(coins: &ShownCoins, shown: &[(OutPoint, Amount)]) -> Option<String> {
        let outpoints: Vec<OutPoint> = shown.iter().map(|(outpoint, _)| *outpoint).collect();
        coins.in_vain(&outpoints, |_| true).refusal(shown)
    }

    fn show_five_times(coins: &mut ShownCoins, coin: OutPoint, worth: Amount) {
        (1..=5).for_each(|round| coins.show(&[(coin, worth)], loan(round), NOW).unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_coin_sent_to_oneself_has_been_shown_as_often_as_what_it_was_made_from() {
        let mut coins = coins();
        let worth = Amount::ONE_BTC;
        coins.show(&[(coin(1), worth)], loan(1), NOW).unwrap();
        let mut last = coin(1);
        for round in 2..=4 {
            let sent = spends(&[last], &[60_000_000, 39_990_000, 500]);
            coins.on_transaction(&sent, false).unwrap();
            assert_eq!(parts(&coins, made(&sent, 1)), (u64::from(round) - 1) * WHOLE, "both halves");
            assert_eq!(times(&coins, made(&sent, 2)), 0, "a crumb is no way round");
            let again = spends(&[made(&sent, 0), made(&sent, 1)], &[99_980_000]);
            coins.on_transaction(&again, false).unwrap();
            last = made(&again, 0);
            coins.show(&[(last, worth)], loan(round), NOW).unwrap();
        }
        assert_eq!((times(&coins, last), parts(&coins, last)), (4, 4 * WHOLE));
        assert_eq!(refusal(&coins, &[(last, worth)]), None);
        coins.show(&[(last, worth)], loan(5), Time(NOW.0 + 9)).unwrap();
        let again = Time(NOW.0 + DAY);
        assert!(refusal(&coins, &[(last, worth)]).unwrap().contains(&format!("after {again}")));
        assert_eq!(times(&coins, coin(9)), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn however_shown_coins_are_mixed_nobody_shows_more_than_five_times_what_it_has() {
        // One coin of 1 BTC and three more beside it, mixed again as soon as the one is refused.
        let mut coins = coins();
        let (one, all) = (100_000_000u64, 400_000_000u64);
        let (mut shown, mut rest, mut vain) = (coin(1), coin(2), 0u8);
        for _ in 0..20 {
            while refusal(&coins, &[(shown, Amount::from_sat(one))]).is_none() {
                vain += 1;
                coins.show(&[(shown, Amount::from_sat(one))], loan(vain), NOW).unwrap();
            }
            let mixed = spends(&[shown, rest], &[all]);
            coins.on_transaction(&mixed, true).unwrap();
            let split = spends(&[made(&mixed, 0)], &[one, all - one]);
            coins.on_transaction(&split, true).unwrap();
            (shown, rest) = (made(&split, 0), made(&split, 1));
        }
        println!("bound vain-mixed {vain} a day for coins of 4 BTC, shown 1 BTC at a time");
        assert!((17..=20).contains(&vain), "{vain}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_small_shown_coin_sent_to_somebody_hinders_none_of_his() {
        let mut coins = coins();
        let (small, worth) = (Amount::from_sat(25_000), Amount::ONE_BTC);
        show_five_times(&mut coins, coin(1), small);
        assert!(refusal(&coins, &[(coin(1), small)]).is_some(), "alone it has been shown enough");
        assert_eq!(refusal(&coins, &[(coin(1), small), (coin(2), worth)]), None, "beside another");
        let joined = spends(&[coin(1), coin(2)], &[100_020_000]);
        coins.on_transaction(&joined, true).unwrap();
        let joined = made(&joined, 0);
        for round in 11..=15 {
            assert_eq!(refusal(&coins, &[(joined, worth)]), None, "in one coin, {round}");
            coins.show(&[(joined, worth)], loan(round), NOW).unwrap();
        }
        assert!(refusal(&coins, &[(joined, worth)]).is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_takes_the_place_of_a_transaction_takes_the_showings_with_it() {
        let mut coins = coins();
        coins.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW).unwrap();
        let first = spends(&[coin(1)], &[99_990_000]);
        let child = spends(&[made(&first, 0)], &[99_980_000]);
        let second = spends(&[coin(1)], &[99_970_000]);
        for transaction in [&first, &child, &second, &second] {
            coins.on_transaction(transaction, false).unwrap();
        }
        let known = |coins: &ShownCoins| coins.coins.keys().copied().collect::<BTreeSet<_>>();
        assert_eq!(known(&coins), [coin(1), made(&second, 0)].into());
        // A block has the first after all.
        coins.on_transaction(&first, true).unwrap();
        assert_eq!(known(&coins), [made(&first, 0)].into(), "and what it spent is gone");
        assert_eq!(parts(&coins, made(&first, 0)), WHOLE);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_the_borrowers_doing_is_held_against_neither_the_coin_nor_what_is_made_of_it() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut coins = ShownCoins::open(store.clone()).unwrap();
        let worth = Amount::ONE_BTC;
        show_five_times(&mut coins, coin(1), worth);
        let sent = spends(&[coin(1)], &[99_990_000]);
        coins.on_transaction(&sent, false).unwrap();
        let both = [(coin(1), worth), (made(&sent, 0), worth)];
        assert!(both.iter().all(|one| refusal(&coins, &[*one]).is_some()));
        assert!(!coins.was_pardoned(&both));
        coins.pardon(&loan(3)).unwrap();
        // Over a restart.
        let mut coins = ShownCoins::open(store).unwrap();
        assert!(both.iter().all(|one| refusal(&coins, &[*one]).is_none()) && coins.was_pardoned(&both));
        // What is pardoned makes no room for the rest to be forgotten in.
        for round in 10..24 {
            coins.show(&[(coin(1), worth)], loan(round), Time(NOW.0 + u32::from(round))).unwrap();
            coins.pardon(&loan(round)).unwrap();
        }
        assert_eq!(refusal(&coins, &[(coin(1), worth)]), None);
        coins.show(&[(coin(1), worth)], loan(30), Time(NOW.0 + 60)).unwrap();
        assert!(refusal(&coins, &[(coin(1), worth)]).is_some(), "four and one are five");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_is_held_to_is_bounded_too_whatever_brings_it_about() {
        let mut coins = coins();
        let worth = Amount::ONE_BTC;
        let mut taken = 0u8;
        while refusal(&coins, &[(coin(1), worth)]).is_none() && taken < 100 {
            coins.show(&[(coin(1), worth)], loan(taken), Time(NOW.0 + u32::from(taken))).unwrap();
            coins.pardon(&loan(taken)).unwrap();
            taken += 1;
        }
        println!("bound pardoned {taken} a day");
        assert_eq!(u64::from(taken), MOST_PARDONED);
        let said = refusal(&coins, &[(coin(1), worth)]).unwrap();
        assert!(said.contains("not by its borrower's doing"), "{said}");
        // What is made of it has been shown as often, and twice the money half as often.
        let sent = spends(&[coin(1)], &[99_990_000]);
        coins.on_transaction(&sent, false).unwrap();
        assert!(refusal(&coins, &[(made(&sent, 0), worth)]).is_some());
        assert_eq!(refusal(&coins, &[(coin(1), worth), (coin(2), worth)]), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_small_coins_push_no_greater_one_out() {
        let mut coins = coins();
        show_five_times(&mut coins, coin(1), Amount::from_sat(10_000_000));
        coins.show(&[(coin(2), Amount::from_sat(50_000_000))], loan(9), NOW).unwrap();
        let many = spends(&[coin(2)], &[40_000; 1_200]);
        coins.on_transaction(&many, true).unwrap();
        assert_eq!((coins.coins.len(), times(&coins, coin(1))), (MOST, 5));
        // More showings than are told apart count as much.
        let all: Vec<OutPoint> = (100..120).map(coin).collect();
        for (number, outpoint) in (100u8..).zip(&all) {
            coins.show(&[(*outpoint, Amount::ONE_BTC)], loan(number), NOW).unwrap();
        }
        let joined = spends(&all, &[1_999_990_000]);
        coins.on_transaction(&joined, false).unwrap();
        assert_eq!((times(&coins, made(&joined, 0)), parts(&coins, made(&joined, 0))), (TIMES, WHOLE));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_shown_outlives_a_restart_and_is_forgotten_after_a_day() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut before = ShownCoins::open(store.clone()).unwrap();
        before.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW).unwrap();
        let sent = spends(&[coin(1)], &[99_000_000]);
        before.on_transaction(&sent, false).unwrap();
        let mut after = ShownCoins::open(store).unwrap();
        assert_eq!(before.coins, after.coins);
        assert_eq!((times(&after, coin(1)), times(&after, made(&sent, 0))), (1, 1));
        after.tick(Time(NOW.0 + DAY - 1));
        assert_eq!(times(&after, coin(1)), 1);
        after.tick(Time(NOW.0 + DAY));
        assert_eq!((times(&after, coin(1)), after.coins.len()), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_stored_before_parts_were_counted_was_shown_whole() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let (txid, id) = ("07".repeat(32), LoanId([3; 32]));
        let id = serde_json::to_string(&id).unwrap();
        let old = format!(r#"[["{txid}:0",{{"sats":100000000,"shown":[{{"at":{},"loan":{id}}}]}}]]"#, NOW.0);
        store.put(SHOWN, old.as_bytes()).unwrap();
        let coins = ShownCoins::open(store).unwrap();
        assert_eq!(parts(&coins, OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 0 }), WHOLE);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn any_number_of_coins_and_times_fits_into_its_document() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut coins = ShownCoins::open(store.clone()).unwrap();
        for number in 0..MOST as u32 + 100 {
            let outpoint = OutPoint { vout: u32::MAX, ..coin(number) };
            let at = Time(NOW.0 + number);
            let shown =
                (0..TIMES as u8).map(|one| Showing { at, loan: loan(one), parts: 99_999, pardoned: true }).collect();
            coins.put(outpoint, Coin { sats: Amount::MAX_MONEY, shown, spent_by: Some(outpoint.txid) });
        }
        coins.save().unwrap();
        assert_eq!(coins.coins.len(), MOST);
        assert!(store.get(SHOWN).unwrap().unwrap().len() <= MAX_DOCUMENT);
        assert_eq!(times(&coins, OutPoint { vout: u32::MAX, ..coin(0) }), 0, "of equals the oldest were forgotten");
    }
}
