//! Many coins into one of ours: after a restore, when there are too many to pay with, and what is taken back.

use super::coins::{fee_ceil, sum, Coin, P2WPKH_DUST, P2WPKH_INPUT_WEIGHT};
use super::spend::{replacement_fee, signed_weight};
use super::{Error, Payment, Rival, Wallet};
use bitcoin::{Amount, FeeRate, OutPoint, Script, Transaction, TxOut, Txid};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// The most coins that one transaction of ours spends. A peer is shown the whole transaction that made a coin: one of some
/// 670 inputs is longer than a message may be, and one of 1,470 is not relayed.
pub const MOST_INPUTS: usize = 400;
/// So many blocks after its own a mining reward can be spent.
const COINBASE_RIPE: u32 = 99;

/// A coin of before a restore that no block has spent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmoved {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Its worth.
    pub value: Amount,
    /// What spends it and waits for a block.
    pub spent_by: Option<Txid>,
}

impl Wallet {
    /// Coins that a block of at most `height` made, that could be spent then, and that no block has spent, set aside or not;
    /// the largest first. Each of them may have signed something that only another has.
    pub fn unmoved(&self, height: u32) -> Vec<Unmoved> {
        let graph = self.bdk.tx_graph();
        let depths: HashMap<Txid, u32> =
            self.bdk.transactions().map(|t| (t.tx_node.txid, self.confirmations(&t.chain_position))).collect();
        let known = self.bdk.list_output().filter_map(|output| {
            let made = self.made_at(self.confirmations(&output.chain_position))?;
            let is_coinbase = graph.get_tx(output.outpoint.txid)?.is_coinbase();
            let ripe = made.saturating_add(if is_coinbase { COINBASE_RIPE } else { 0 });
            let spends = graph.outspends(output.outpoint).iter().filter_map(|txid| Some((*txid, *depths.get(txid)?)));
            let is_spent = spends.clone().any(|(_, depth)| depth > 0);
            let spent_by = spends.map(|(txid, _)| txid).next();
            let (outpoint, value) = (output.outpoint, output.txout.value);
            (ripe <= height && !is_spent).then_some(Unmoved { outpoint, value, spent_by })
        });
        let mut coins: Vec<Unmoved> = known.collect();
        coins.sort_by_key(|coin| (Reverse(coin.value), coin.outpoint));
        coins
    }

    /// The height of the block that made something with so many confirmations.
    fn made_at(&self, confirmations: u32) -> Option<u32> {
        (confirmations > 0).then(|| self.height().saturating_add(1).saturating_sub(confirmations))
    }

    /// Moves coins of before `height`, set aside or not, to one new address: as many of those that nothing spends yet as pay
    /// for it together, the largest first. What is worth less than its input costs is paid for by the others, and where
    /// these are too little, by the largest free coin of after; but never with more than is left. `None` where no coin of
    /// before can be moved so.
    ///
    /// # Errors
    /// When it cannot be signed or the address cannot be kept.
    pub fn move_old(&mut self, height: u32, fee_rate: FeeRate) -> Result<Option<Payment>, Error> {
        let (mut old, script) = (self.unmoved(height), self.any_script());
        let names: HashSet<OutPoint> = old.iter().map(|coin| coin.outpoint).collect();
        old.retain(|coin| coin.spent_by.is_none());
        let old: Vec<(OutPoint, Amount)> =
            old.iter().map(|coin| (coin.outpoint, coin.value)).take(MOST_INPUTS).collect();
        let mut coins = old.get(..payable(&old, &script, fee_rate)?).unwrap_or_default().to_vec();
        if coins.len() < old.len() {
            let payer = self.free_coins().into_iter().filter(|coin| !names.contains(&coin.outpoint));
            let payer = payer.max_by_key(|coin| (coin.txout.value, coin.outpoint));
            let payer = payer.map(|coin| (coin.outpoint, coin.txout.value));
            let mut together: Vec<(OutPoint, Amount)> = payer.into_iter().chain(old).take(MOST_INPUTS).collect();
            together.truncate(payable(&together, &script, fee_rate)?);
            if together.len() > coins.len().saturating_add(1) {
                coins = together;
            }
        }
        let outpoints: Vec<OutPoint> = coins.iter().map(|(outpoint, _)| *outpoint).collect();
        match outpoints.is_empty() {
            true => Ok(None),
            false => self.sweep(&outpoints, fee_rate, None).map(Some),
        }
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
        let known = self.withdrawable(outpoints);
        let coin = |outpoint: &OutPoint| known.get(outpoint).cloned().ok_or(Error::NotOurs(*outpoint));
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
        let ours = self.withdrawable(outpoints);
        let mut coins: Vec<Coin> = outpoints.iter().filter_map(|outpoint| ours.get(outpoint).cloned()).collect();
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

/// How many of these, the first ones, pay for moving themselves to `script`: what some cost beyond their worth is no more than
/// what is left. So whoever pays a wallet in dust takes no more than half of it.
fn payable(coins: &[(OutPoint, Amount)], script: &Script, fee_rate: FeeRate) -> Result<usize, Error> {
    let input_fee = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?;
    let output = TxOut { value: Amount::ZERO, script_pubkey: script.to_owned() };
    let (mut most, mut total, mut lost) = (0, Amount::ZERO, Amount::ZERO);
    for (count, (_, value)) in (1..).zip(coins) {
        total = total.checked_add(*value).unwrap_or(Amount::MAX_MONEY);
        let loss = input_fee.checked_sub(*value).unwrap_or(Amount::ZERO);
        lost = lost.checked_add(loss).unwrap_or(Amount::MAX_MONEY);
        let fee = fee_ceil(fee_rate, signed_weight(count, std::slice::from_ref(&output)))?;
        if total.checked_sub(fee).is_some_and(|rest| rest >= P2WPKH_DUST && rest >= lost) {
            most = count;
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::ScriptBuf;

    const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(100);

    fn movable(values: &[u64]) -> usize {
        let coins: Vec<(OutPoint, Amount)> =
            values.iter().map(|sats| (OutPoint::null(), Amount::from_sat(*sats))).collect();
        payable(&coins, &ScriptBuf::from_bytes(vec![0; 22]), RATE).unwrap()
    }

    #[test]
    fn coins_move_as_far_as_they_pay_for_it_together_the_largest_first() {
        // An input costs 6,800 sats, the rest of a transaction some 4,200.
        assert_eq!(movable(&[5_000]), 0);
        assert_eq!(movable(&[12_000]), 1);
        assert_eq!(movable(&[12_000, 5_000]), 1);
        assert_eq!(movable(&[15_000, 5_000]), 2);
        // None pays by itself, and all together do.
        assert_eq!(movable(&[8_000; 3]), 0);
        assert_eq!(movable(&[8_000; 4]), 4);
    }

    #[test]
    fn dust_takes_no_more_than_half_of_what_it_moves_with() {
        let large = 1_000_000;
        let coins = [[large].as_slice(), &[294; MOST_INPUTS - 1]].concat();
        let moved = movable(&coins);
        let dust = u64::try_from(moved - 1).unwrap();
        let (cost, whole) = (dust * (6_800 - 294), large - 11_000);
        println!("bound restored-dust a half: {cost} of {whole} sats for {dust} coins of 294 at 100 sat/vB");
        assert!(cost * 2 <= whole && (cost + 6_506) * 2 > whole - 200, "{cost} {whole}");
    }
}
