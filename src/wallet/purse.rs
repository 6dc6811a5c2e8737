//! Whether the coins there are would make the coins that are wanted: sums only.

use super::coins::{fee_ceil, Coin, P2WPKH_INPUT_WEIGHT};
use super::spend::signed_weight;
use super::sweep::MOST_INPUTS;
use super::Wallet;
use bitcoin::{Amount, FeeRate, ScriptBuf, TxOut};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The free coins at a moment, and what is kept of them.
#[derive(Clone, Debug, Default)]
pub struct Purse {
    /// Confirmed, mature and not set aside.
    coins: Vec<Amount>,
    /// Change of our own transactions that waits for a block.
    coming: Vec<Amount>,
    /// What must be left for the fees of exits.
    reserve: Amount,
}

impl Wallet {
    /// What could be lent now.
    pub fn purse(&self) -> Purse {
        let coins = self.free_coins().into_iter().map(|coin| coin.txout.value).collect();
        let own = |coin: &Coin| coin.confirmations == 0 && self.net_effect(&coin.previous_tx).spent > Amount::ZERO;
        let waiting = self.coins().into_iter().filter(|coin| own(coin) && !self.is_reserved(&coin.outpoint));
        Purse { coins, coming: waiting.map(|coin| coin.txout.value).collect(), reserve: self.reserve_amount }
    }
}

impl Purse {
    /// The same, our own change that waits for a block counted as if it were there: what begins now can wait for it.
    pub fn with_change(mut self) -> Purse {
        self.coins.append(&mut self.coming);
        self
    }

    /// Do these coins make a coin of each of the amounts, with the fees of making it at that rate and the reserve left
    /// over? A coin of just the right worth costs no fee.
    pub fn serves(&self, wanted: impl IntoIterator<Item = Amount>, fee_rate: FeeRate) -> bool {
        self.try_serve(wanted, fee_rate).is_some()
    }

    /// Confirmed coins of these sats, and the reserve.
    #[cfg(test)]
    pub fn of(coins: &[u64], reserve: u64) -> Purse {
        let coins = coins.iter().copied().map(Amount::from_sat).collect();
        Purse { coins, coming: Vec::new(), reserve: Amount::from_sat(reserve) }
    }

    fn try_serve(&self, wanted: impl IntoIterator<Item = Amount>, fee_rate: FeeRate) -> Option<()> {
        let mut left: BTreeMap<Amount, usize> = BTreeMap::new();
        for coin in &self.coins {
            let count = left.entry(*coin).or_default();
            *count = count.saturating_add(1);
        }
        // The transaction that makes a coin has that and change.
        let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(vec![0; 22]) };
        let making = fee_ceil(fee_rate, signed_weight(0, &[output.clone(), output])).ok()?;
        let input = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT).ok()?;
        let mut needed = self.reserve;
        for amount in wanted {
            match left.get_mut(&amount).filter(|count| **count > 0) {
                Some(count) => *count = count.saturating_sub(1),
                None => needed = needed.checked_add(amount)?.checked_add(making)?,
            }
        }
        // The largest first, as they are chosen; one transaction spends so many and no more.
        let mut worth = Amount::ZERO;
        let mut room = MOST_INPUTS;
        let mut largest: Vec<(Amount, usize)> = left.into_iter().collect();
        largest.sort_by_key(|(coin, _)| Reverse(*coin));
        for (coin, count) in largest {
            let count = count.min(room);
            room = room.saturating_sub(count);
            // A coin that is worth less than its own fee only costs.
            let each = coin.checked_sub(input).unwrap_or(Amount::ZERO);
            worth = worth.checked_add(each.checked_mul(u64::try_from(count).ok()?)?)?;
        }
        (worth >= needed).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(10);

    fn sat(sats: u64) -> Amount {
        Amount::from_sat(sats)
    }

    fn purse(coins: &[u64], coming: &[u64], reserve: u64) -> Purse {
        Purse { coming: coming.iter().copied().map(sat).collect(), ..Purse::of(coins, reserve) }
    }

    fn serves(purse: &Purse, wanted: &[u64]) -> bool {
        purse.serves(wanted.iter().copied().map(sat), RATE)
    }

    #[test]
    fn a_coin_to_be_made_needs_its_worth_its_fees_and_the_reserve() {
        // 68 vB of input and some 73 of the rest, at 10 sat/vB.
        let one = purse(&[100_000], &[], 0);
        assert!(serves(&one, &[98_500]) && !serves(&one, &[98_700]));
        let kept = purse(&[100_000], &[], 20_000);
        assert!(serves(&kept, &[78_500]) && !serves(&kept, &[78_700]));
        assert!(serves(&one, &[]) && !serves(&purse(&[], &[], 1), &[]));
        assert!(serves(&purse(&[60_000, 60_000], &[], 0), &[90_000]), "several coins are one");
    }

    #[test]
    fn a_coin_of_just_that_worth_is_taken_once_and_costs_nothing_more() {
        let one = purse(&[100_000], &[], 0);
        assert!(serves(&one, &[100_000]) && !serves(&one, &[100_000, 1_000]));
        assert!(!serves(&one, &[100_000, 100_000]));
        let two = purse(&[100_000, 150_000], &[], 0);
        assert!(serves(&two, &[100_000, 100_000]), "the second is made of the other coin");
        assert!(!serves(&purse(&[100_000], &[], 20_000), &[100_000]), "it would be the reserve");
    }

    #[test]
    fn change_that_waits_counts_only_where_one_can_wait() {
        let purse = purse(&[10_000], &[500_000], 0);
        assert!(!serves(&purse, &[100_000]));
        assert!(serves(&purse.with_change(), &[100_000]));
    }

    #[test]
    fn crumbs_and_more_coins_than_one_transaction_takes_are_no_money() {
        assert!(!serves(&purse(&[600; 1_000], &[], 0), &[1_000]));
        let many = purse(&[10_000; 1_000], &[], 0);
        assert!(serves(&many, &[3_700_000]) && !serves(&many, &[3_800_000]));
        assert!(!purse(&[u64::MAX, u64::MAX], &[], 0).serves([Amount::MAX_MONEY], RATE), "sums do not overflow");
    }
}
