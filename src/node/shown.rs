//! Coins that borrowers proved lately, and the loans they proved them for: kept on disk for a day.
//!
//! A negotiation that comes to nothing costs the lender a transaction and a record, so a coin may be shown so often a day
//! in vain and no more. A coin made by spending a shown one is that coin again: it has been shown as often. Never decides
//! about a loan, and never asks the chain: it is told what is spent.

use crate::loan::terms::LoanId;
use crate::loan::units::{Time, DAY};
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::{Amount, OutPoint, Transaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The document they are kept in.
const SHOWN: &str = "shown-coins";
/// Coins remembered at most; those shown longest ago are forgotten first.
const MOST: usize = 1_200;
/// Times that a coin was shown that are remembered, the latest.
const TIMES: usize = 6;
/// Coins below this are no way round: putting them together again costs more than they hide.
const SMALL: Amount = Amount::from_sat(25_000);
/// What a transaction makes is a shown coin when at least this part of what it pays came from shown coins: beside much
/// other money it says nothing about who shows it.
const PART: u64 = 4;

/// One time that a coin was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Showing {
    /// When.
    pub at: Time,
    /// For which loan.
    pub loan: LoanId,
}

/// A coin, what it is worth, and when it or what it was made from was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Coin {
    sats: Amount,
    /// By age.
    shown: Vec<Showing>,
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
        Ok(ShownCoins { store, coins: kept.into_iter().collect() })
    }

    /// When this coin, or what it was made from, was shown within a day, and for what.
    pub fn of(&self, coin: &OutPoint) -> &[Showing] {
        self.coins.get(coin).map(|coin| coin.shown.as_slice()).unwrap_or_default()
    }

    /// These coins, worth so much, were proved for a loan. On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn show(&mut self, coins: &[(OutPoint, Amount)], loan: LoanId, at: Time) -> Result<(), StoreError> {
        for (outpoint, sats) in coins {
            self.add(*outpoint, *sats, &[Showing { at, loan }]);
        }
        self.save()
    }

    /// A transaction that waits or is in a block: what it makes of shown coins has been shown as they have.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn on_transaction(&mut self, transaction: &Transaction) -> Result<(), StoreError> {
        let spent = transaction.input.iter().filter_map(|input| self.coins.get(&input.previous_output));
        let (mut sats, mut shown) = (0u64, Vec::new());
        for coin in spent {
            sats = sats.saturating_add(coin.sats.to_sat());
            shown.extend_from_slice(&coin.shown);
        }
        let paid = transaction.output.iter().fold(0u64, |sum, output| sum.saturating_add(output.value.to_sat()));
        if shown.is_empty() || sats.saturating_mul(PART) < paid {
            return Ok(());
        }
        let txid = transaction.compute_txid();
        let mut is_new = false;
        for (vout, output) in (0u32..).zip(&transaction.output) {
            if output.value >= SMALL {
                is_new |= self.add(OutPoint { txid, vout }, output.value, &shown);
            }
        }
        // The same transaction is told of again when a block has it.
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

    /// Says whether that was news.
    fn add(&mut self, outpoint: OutPoint, sats: Amount, shown: &[Showing]) -> bool {
        if self.coins.len() >= MOST && !self.coins.contains_key(&outpoint) {
            let oldest = self.coins.iter().min_by_key(|(_, coin)| coin.shown.last().copied());
            if let Some(oldest) = oldest.map(|(outpoint, _)| *outpoint) {
                self.coins.remove(&oldest);
            }
        }
        let coin = self.coins.entry(outpoint).or_insert_with(|| Coin { sats, shown: Vec::new() });
        let before = coin.shown.clone();
        coin.shown.extend_from_slice(shown);
        coin.shown.sort_unstable();
        // One loan counts once, also where a coin comes from two that were shown for it.
        let mut seen = std::collections::BTreeSet::new();
        coin.shown.retain(|showing| seen.insert(showing.loan));
        let old = coin.shown.len().saturating_sub(TIMES);
        coin.shown.drain(..old);
        coin.shown != before
    }

    fn save(&self) -> Result<(), StoreError> {
        let all: Vec<(&OutPoint, &Coin)> = self.coins.iter().collect();
        // Integers and hashes cannot fail to be written.
        let bytes = serde_json::to_vec(&all).unwrap_or_default();
        tokio::task::block_in_place(|| self.store.put(SHOWN, &bytes))
    }
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_coin_sent_to_oneself_has_been_shown_as_often_as_what_it_was_made_from() {
        let mut coins = coins();
        let worth = Amount::ONE_BTC;
        coins.show(&[(coin(1), worth)], loan(1), NOW).unwrap();
        let mut last = coin(1);
        for round in 2..=4 {
            let sent = spends(&[last], &[60_000_000, 39_990_000, 500]);
            coins.on_transaction(&sent).unwrap();
            assert_eq!(times(&coins, made(&sent, 1)), usize::from(round) - 1, "both halves");
            assert_eq!(times(&coins, made(&sent, 2)), 0, "a crumb is no way round");
            let again = spends(&[made(&sent, 0), made(&sent, 1)], &[99_980_000]);
            coins.on_transaction(&again).unwrap();
            last = made(&again, 0);
            coins.show(&[(last, worth)], loan(round), NOW).unwrap();
        }
        assert_eq!(times(&coins, last), 4);
        assert_eq!(times(&coins, coin(9)), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_shown_coin_among_much_other_money_says_nothing_about_what_is_made_of_it() {
        let mut coins = coins();
        coins.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW).unwrap();
        let exchange = spends(&[coin(1), coin(2)], &[300_000_000, 200_000_000]);
        coins.on_transaction(&exchange).unwrap();
        assert_eq!(times(&coins, made(&exchange, 0)), 0);
        let enough = spends(&[coin(1), coin(3)], &[300_000_000, 99_000_000]);
        coins.on_transaction(&enough).unwrap();
        assert_eq!((times(&coins, made(&enough, 0)), times(&coins, made(&enough, 1))), (1, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_shown_outlives_a_restart_and_is_forgotten_after_a_day() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut before = ShownCoins::open(store.clone()).unwrap();
        before.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW).unwrap();
        let sent = spends(&[coin(1)], &[99_000_000]);
        before.on_transaction(&sent).unwrap();
        let mut after = ShownCoins::open(store).unwrap();
        assert_eq!((times(&after, coin(1)), times(&after, made(&sent, 0))), (1, 1));
        after.tick(Time(NOW.0 + DAY - 1));
        assert_eq!(times(&after, coin(1)), 1);
        after.tick(Time(NOW.0 + DAY));
        assert_eq!((times(&after, coin(1)), after.coins.len()), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn any_number_of_coins_and_times_fits_into_its_document() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut coins = ShownCoins::open(store.clone()).unwrap();
        for number in 0..MOST as u32 + 100 {
            let outpoint = OutPoint { vout: u32::MAX, ..coin(number) };
            for showing in 0..10 {
                let at = Time(NOW.0 + number);
                coins.add(outpoint, Amount::MAX_MONEY, &[Showing { at, loan: loan(showing) }]);
            }
        }
        coins.save().unwrap();
        assert_eq!(coins.coins.len(), MOST);
        assert!(coins.coins.values().all(|coin| coin.shown.len() == TIMES));
        assert!(store.get(SHOWN).unwrap().unwrap().len() <= MAX_DOCUMENT);
        assert_eq!(times(&coins, OutPoint { vout: u32::MAX, ..coin(0) }), 0, "the oldest were forgotten");
    }
}
