//! Many coins into one of ours: after a restore, when there are too many to pay with, and what is taken back.

use super::coins::{fee_ceil, sum, Coin, P2WPKH_DUST, P2WPKH_INPUT_WEIGHT};
use super::spend::{replacement_fee, signed_weight};
use super::{Error, Payment, Rival, Wallet};
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut};
use std::cmp::Reverse;

/// The most coins that one transaction of ours spends. A peer is shown the whole transaction that made a coin: one of some
/// 670 inputs is longer than a message may be, and one of 1,470 is not relayed.
pub const MOST_INPUTS: usize = 400;

impl Wallet {
    /// Coins that a block of at most `height` made and that are worth more than it costs to move them, set aside or not;
    /// the largest first.
    pub fn movable(&self, fee_rate: FeeRate, height: u32) -> Result<Vec<OutPoint>, Error> {
        let (input_fee, tip) = (fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?, self.height());
        let old =
            |coin: &Coin| coin.confirmations > 0 && tip.saturating_add(1).saturating_sub(coin.confirmations) <= height;
        let mut coins: Vec<Coin> = self.coins();
        coins.retain(|coin| old(coin) && coin.is_mature() && coin.txout.value > input_fee);
        coins.sort_by_key(|coin| (Reverse(coin.txout.value), coin.outpoint));
        Ok(coins.into_iter().map(|coin| coin.outpoint).collect())
    }

    /// Moves confirmed coins of ours, set aside or not, to one new address of ours. Pays `fee_rate`, or more where that is
    /// needed to displace `rival`.
    ///
    /// # Errors
    /// [`Error::TooManyCoins`] for more than [`MOST_INPUTS`]; [`Error::Insufficient`] where nothing would be left.
    pub fn sweep(
        &mut self,
        outpoints: &[OutPoint],
        fee_rate: FeeRate,
        rival: Option<&Rival>,
    ) -> Result<Payment, Error> {
        check_inputs(outpoints.len())?;
        let coin = |outpoint: &OutPoint| self.withdrawable(*outpoint).ok_or(Error::NotOurs(*outpoint));
        let coins = outpoints.iter().map(coin).collect::<Result<Vec<Coin>, Error>>()?;
        let mut output = TxOut { value: Amount::ZERO, script_pubkey: self.any_script() };
        let weight = signed_weight(coins.len(), std::slice::from_ref(&output));
        let fee = replacement_fee(fee_ceil(fee_rate, weight)?, weight, rival)?;
        let total = sum(&coins)?;
        output.value = total.checked_sub(fee).filter(|rest| *rest >= P2WPKH_DUST).ok_or(Error::Insufficient {
            needed: fee.checked_add(P2WPKH_DUST).unwrap_or(fee),
            available: total,
            costly: Amount::ZERO,
            waiting: Amount::ZERO,
            reserved: Amount::ZERO,
        })?;
        let first = *outpoints.first().ok_or(Error::NothingToJoin { coins: 0 })?;
        output.script_pubkey = self.way_back(first)?;
        self.finish(&coins, vec![output])
    }

    /// Spends confirmed coins of ours, reserved or not, to ourselves: so a half-signed transaction that needs all of these
    /// can never be completed. Pays `fee_rate`, or more where that is needed to displace each of `rivals`; and takes as few
    /// of the coins as that needs, the largest first. What `before` spends of them, it spends too, to the same place: of
    /// all that take them back one is mined.
    ///
    /// # Errors
    /// [`Error::TooSmall`] where all of them together are too little; [`Error::NotOurs`] where none is there.
    pub fn take_back(
        &mut self,
        outpoints: &[OutPoint],
        before: Option<&Transaction>,
        fee_rate: FeeRate,
        rivals: &[Rival],
    ) -> Result<Payment, Error> {
        let none = Error::NotOurs(outpoints.first().copied().unwrap_or_default());
        let known = |coin: &OutPoint| before.is_some_and(|tx| tx.input.iter().any(|one| one.previous_output == *coin));
        let mut coins: Vec<Coin> = outpoints.iter().filter_map(|outpoint| self.withdrawable(*outpoint)).collect();
        coins.sort_by_key(|coin| (!known(&coin.outpoint), Reverse(coin.txout.value), coin.outpoint));
        let fewest = coins.iter().filter(|coin| known(&coin.outpoint)).count().max(1);
        let (first, _) = coins.split_first().ok_or(none)?;
        let first = first.outpoint;
        let mut output = TxOut { value: Amount::ZERO, script_pubkey: self.any_script() };
        let mut short = Err(Error::TooSmall { outpoint: first, value: sum(&coins)?, fee: Amount::ZERO });
        for count in fewest..=coins.len() {
            let taken = coins.get(..count).unwrap_or_default();
            let weight = signed_weight(count, std::slice::from_ref(&output));
            let alone = fee_ceil(fee_rate, weight)?;
            let fee = rivals.iter().try_fold(alone, |fee, rival| replacement_fee(fee, weight, Some(rival)))?;
            let value = sum(taken)?;
            let Some(rest) = value.checked_sub(fee).filter(|rest| *rest >= P2WPKH_DUST) else {
                short = Err(Error::TooSmall { outpoint: first, value, fee });
                continue;
            };
            let place = before.and_then(|tx| tx.output.first()).map(|out| &out.script_pubkey);
            output.script_pubkey = match place.filter(|script| self.is_ours(script)) {
                Some(script) => script.clone(),
                None => self.way_back(first)?,
            };
            output.value = rest;
            return self.finish(taken, vec![output]);
        }
        short
    }

    /// Makes one coin of the smallest free ones, of [`MOST_INPUTS`] at most, and says how many free coins there will be. With
    /// `keep`, the coin that is set apart for the fees of exits stays what it is.
    ///
    /// # Errors
    /// [`Error::NothingToJoin`] where there are fewer than two that are worth more than it costs to move them.
    pub fn consolidate(&mut self, fee_rate: FeeRate, keep: bool) -> Result<(Payment, usize), Error> {
        let input_fee = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?;
        let mut free = self.free_coins();
        let all = free.len();
        let kept = self.coin_set_apart().filter(|_| keep).map(|coin| coin.outpoint);
        free.retain(|coin| coin.txout.value > input_fee && Some(coin.outpoint) != kept);
        free.sort_by_key(|coin| (coin.txout.value, coin.outpoint));
        free.truncate(MOST_INPUTS);
        if free.len() < 2 {
            return Err(Error::NothingToJoin { coins: all });
        }
        let outpoints: Vec<OutPoint> = free.iter().map(|coin| coin.outpoint).collect();
        let payment = self.sweep(&outpoints, fee_rate, None)?;
        Ok((payment, all.saturating_sub(outpoints.len()).saturating_add(1)))
    }
}

/// Is it few enough coins for one transaction?
pub(super) fn check_inputs(coins: usize) -> Result<(), Error> {
    match coins {
        0..=MOST_INPUTS => Ok(()),
        _ => Err(Error::TooManyCoins { needed: coins }),
    }
}
