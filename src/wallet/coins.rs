//! Coins and the choice among them: sums and weights only.

use super::Error;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Weight};
use std::sync::Arc;

/// Weight of one signed P2WPKH input: 41 bytes of input and a witness of at most 108 (signature of 72 with its type).
pub const P2WPKH_INPUT_WEIGHT: Weight = Weight::from_wu(41 * 4 + 108);
/// The smallest P2WPKH output nodes relay.
pub const P2WPKH_DUST: Amount = Amount::from_sat(294);
/// The longest transaction that a coin of a contract may come from, in bytes: an offer carries it whole.
pub const LONGEST_PREVIOUS: usize = 100_000;

const OVERFLOW: Error = Error::Arithmetic("the coins add up to more than all bitcoin");

/// One coin of ours, unspent as far as we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Script (P2WPKH) and value.
    pub txout: TxOut,
    /// Blocks on top of and including its own; 0 while unconfirmed.
    pub confirmations: u32,
    /// The whole transaction that made it.
    pub previous_tx: Arc<Transaction>,
}

impl Coin {
    /// False for a mining reward younger than 100 blocks, which no block may spend yet.
    pub fn is_mature(&self) -> bool {
        !self.previous_tx.is_coinbase() || self.confirmations >= 100
    }

    /// False where the transaction that made it is too long to be shown to the other side of a contract. It pays like any
    /// other coin.
    pub fn is_showable(&self) -> bool {
        self.previous_tx.total_size() <= LONGEST_PREVIOUS
    }
}

/// What the wallet holds. The four parts do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Confirmed, unreserved, spendable now.
    pub confirmed: Amount,
    /// Unreserved and in the mempool.
    pub unconfirmed: Amount,
    /// Mining rewards younger than 100 blocks.
    pub immature: Amount,
    /// Held back for loans, confirmed or not.
    pub reserved: Amount,
}

impl Balance {
    /// All of it.
    pub fn total(&self) -> Amount {
        let parts = [self.confirmed, self.unconfirmed, self.immature, self.reserved];
        parts.into_iter().fold(Amount::ZERO, |sum, part| sum.checked_add(part).unwrap_or(Amount::MAX_MONEY))
    }
}

/// What a transaction does to the wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetEffect {
    /// Value of our coins among its inputs.
    pub spent: Amount,
    /// Value of its outputs that are ours.
    pub received: Amount,
}

/// What a transaction of this weight, or a part of one, pays at `fee_rate`, rounded up to a sat: for whole virtual bytes, as
/// nodes count what is too little to be relayed. Every fee of this wallet is computed here.
pub(super) fn fee_ceil(fee_rate: FeeRate, weight: Weight) -> Result<Amount, Error> {
    fee_rate.fee_vb(weight.to_vbytes_ceil()).ok_or(Error::Arithmetic("the fee is more than all bitcoin"))
}

/// The sum of the coins' values.
pub(super) fn sum<'a>(coins: impl IntoIterator<Item = &'a Coin>) -> Result<Amount, Error> {
    let mut coins = coins.into_iter();
    let total = coins.try_fold(Amount::ZERO, |sum, coin| sum.checked_add(coin.txout.value));
    total.ok_or(OVERFLOW)
}

/// The fewest of `free` that cover `target` and their own input fees, and of those sets one with little left over:
/// the largest coins first, the last of them exchanged for the smallest coin that still suffices.
///
/// # Errors
/// [`Error::Insufficient`], with nothing known of what is reserved.
pub(super) fn select(free: &[Coin], target: Amount, fee_rate: FeeRate) -> Result<Vec<Coin>, Error> {
    let input_fee = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?;
    let (mut sorted, costly): (Vec<&Coin>, Vec<&Coin>) = free.iter().partition(|coin| coin.txout.value > input_fee);
    sorted.sort_by(|a, b| b.txout.value.cmp(&a.txout.value).then(a.outpoint.cmp(&b.outpoint)));
    let worth = |c: &Coin| c.txout.value.checked_sub(input_fee).unwrap_or(Amount::ZERO);
    let mut missing = target;
    let mut chosen: Vec<Coin> = Vec::new();
    for (i, coin) in sorted.iter().enumerate() {
        if worth(coin) < missing {
            missing = missing.checked_sub(worth(coin)).ok_or(OVERFLOW)?;
            chosen.push((*coin).clone());
            continue;
        }
        let mut rest = sorted.iter().skip(i);
        let last = rest.rfind(|c| worth(c) >= missing).unwrap_or(coin);
        chosen.push((*last).clone());
        return Ok(chosen);
    }
    let inputs = u64::try_from(chosen.len().max(1)).unwrap_or(u64::MAX);
    let needed = input_fee.checked_mul(inputs).and_then(|fees| fees.checked_add(target)).ok_or(OVERFLOW)?;
    let (available, costly) = (sum(sorted)?, sum(costly)?);
    Err(Error::Insufficient { needed, available, costly, waiting: Amount::ZERO, reserved: Amount::ZERO })
}

/// Those that are worth more than an input costs at that rate, and those that are not: these only cost.
pub(super) fn worthwhile(coins: Vec<Coin>, fee_rate: FeeRate) -> Result<(Vec<Coin>, Vec<Coin>), Error> {
    let input_fee = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?;
    Ok(coins.into_iter().partition(|coin| coin.txout.value > input_fee))
}

/// The coin nearest to `amount` within `tolerance_bp` basis points of it; of two as near, the larger. It is for a contract,
/// so only of those that can be shown.
pub(super) fn nearest(free: &[Coin], amount: Amount, tolerance_bp: u32) -> Option<Coin> {
    let distance = |c: &Coin| c.txout.value.to_sat().abs_diff(amount.to_sat());
    let allowed = u128::from(amount.to_sat()) * u128::from(tolerance_bp) / 10_000;
    let near = free.iter().filter(|c| u128::from(distance(c)) <= allowed && c.is_showable());
    near.min_by_key(|c| (distance(c), std::cmp::Reverse(c.txout.value), c.outpoint)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;
    use bitcoin::{absolute, transaction, ScriptBuf, Txid};
    use proptest::prelude::*;

    fn coins(values: &[u64]) -> Vec<Coin> {
        let empty = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![],
            output: vec![],
        };
        let previous_tx = Arc::new(empty);
        let coin = |(i, sats): (usize, &u64)| Coin {
            outpoint: OutPoint { txid: Txid::all_zeros(), vout: i as u32 },
            txout: TxOut { value: Amount::from_sat(*sats), script_pubkey: ScriptBuf::new() },
            confirmations: 1,
            previous_tx: Arc::clone(&previous_tx),
        };
        values.iter().enumerate().map(coin).collect()
    }

    fn sats(coins: &[Coin]) -> Vec<u64> {
        coins.iter().map(|c| c.txout.value.to_sat()).collect()
    }

    /// An input of 272 weight units costs 272 sats.
    const RATE: FeeRate = FeeRate::from_sat_per_kwu(1_000);

    fn chosen(values: &[u64], target: u64) -> Vec<u64> {
        sats(&select(&coins(values), Amount::from_sat(target), RATE).unwrap())
    }

    #[test]
    fn one_coin_is_enough_where_one_is_and_the_smallest_such_is_taken() {
        assert_eq!(chosen(&[5_000, 900, 2_000], 1_000), [2_000]);
        assert_eq!(chosen(&[5_000, 900, 2_000], 1_728), [2_000]);
        assert_eq!(chosen(&[5_000, 900, 2_000], 1_729), [5_000]);
        assert_eq!(chosen(&[5_000, 900, 2_000], 5_000), [5_000, 900]);
    }

    #[test]
    fn dust_that_costs_more_than_it_brings_is_left_and_a_shortfall_names_the_sums() {
        assert_eq!(chosen(&[1_000, 272], 728), [1_000]);
        match select(&coins(&[1_000, 272]), Amount::from_sat(729), RATE) {
            Err(Error::Insufficient { needed, available, costly, .. }) => {
                assert_eq!([needed, available, costly].map(Amount::to_sat), [1_001, 1_000, 272]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nearest_coin_within_tolerance_counts_and_the_larger_of_two() {
        let all = coins(&[90, 99, 101, 150]);
        let near = |amount, bp| nearest(&all, Amount::from_sat(amount), bp).map(|c| c.txout.value.to_sat());
        assert_eq!(near(100, 100), Some(101));
        assert_eq!(near(100, 99), None);
        assert_eq!(near(150, 0), Some(150));
        assert_eq!(near(149, 0), None);
    }

    #[test]
    fn a_coin_of_a_transaction_too_long_for_an_offer_pays_but_backs_no_contract() {
        // A payment by somebody who paid thousands at once.
        let of_length = |bytes: usize| {
            let mut one = coins(&[150]).remove(0);
            let script = |length| TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0; length]) };
            let empty = Transaction { output: vec![script(0x1_0000)], ..(*one.previous_tx).clone() };
            let length = 0x1_0000 + bytes - empty.total_size();
            one.previous_tx = Arc::new(Transaction { output: vec![script(length)], ..empty });
            assert_eq!(one.previous_tx.total_size(), bytes);
            one
        };
        let (fits, is_wide) = (of_length(LONGEST_PREVIOUS), of_length(LONGEST_PREVIOUS + 1));
        let at = Amount::from_sat(150);
        assert_eq!(nearest(std::slice::from_ref(&fits), at, 0), Some(fits));
        assert_eq!(nearest(std::slice::from_ref(&is_wide), at, 10_000), None);
        assert_eq!(select(std::slice::from_ref(&is_wide), at, FeeRate::ZERO).unwrap(), [is_wide]);
        println!("bound wide-payment 1 fee: it is spent like any other coin, beyond {LONGEST_PREVIOUS} bytes");
    }

    proptest! {
        #[test]
        fn what_is_chosen_covers_target_and_fees_with_the_fewest_coins(
            values in proptest::collection::vec(1u64..1_000_000, 0..12),
            target in 1u64..3_000_000,
        ) {
            let all = coins(&values);
            let mut worth: Vec<u64> = values.iter().map(|v| v.saturating_sub(272)).collect();
            worth.sort_unstable_by(|a, b| b.cmp(a));
            let fewest = (1..=worth.len()).find(|n| worth.iter().take(*n).sum::<u64>() >= target);
            match (select(&all, Amount::from_sat(target), RATE), fewest) {
                (Ok(picked), Some(fewest)) => {
                    prop_assert_eq!(picked.len(), fewest);
                    prop_assert!(sats(&picked).iter().sum::<u64>() >= target + 272 * picked.len() as u64);
                    let mut places: Vec<_> = picked.iter().map(|c| c.outpoint).collect();
                    places.sort_unstable();
                    places.dedup();
                    prop_assert_eq!(places.len(), picked.len());
                }
                (Err(Error::Insufficient { .. }), None) => {}
                (result, fewest) => prop_assert!(false, "{:?} {:?}", result.map(|c| sats(&c)), fewest),
            }
        }
    }
}
