//! Transactions of our own: payments, coins of an exact size, withdrawals.

use super::coins::{fee_ceil, select, sum, worthwhile, Coin, P2WPKH_DUST, P2WPKH_INPUT_WEIGHT};
use super::sweep::check_inputs;
use super::{Error, Wallet};
use bdk_wallet::KeychainKind;
use bitcoin::absolute::LockTime;
use bitcoin::address::NetworkUnchecked;
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, FeeRate, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Weight, Witness,
};
use std::collections::HashMap;

/// What a replacement adds per virtual byte at least, by the rules of relay.
const INCREMENT: FeeRate = FeeRate::from_sat_per_vb_u32(1);

/// A signed transaction of ours, not yet broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Signed.
    pub transaction: Transaction,
    /// What it pays to the miner.
    pub fee: Amount,
}

/// A transaction that spends the same coin and is to be displaced, or never to get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// Its fee, with those of its descendants in the mempool.
    pub fee: Amount,
    /// Its fee rate.
    pub fee_rate: FeeRate,
}

impl Rival {
    /// Does a transaction of this weight that pays `fee` take its place, by the rules of relay?
    pub fn is_beaten_by(&self, fee: Amount, weight: Weight) -> bool {
        replacement_fee(Amount::ZERO, weight, Some(self)).is_ok_and(|needed| fee >= needed)
    }
}

/// The coins of a payment, and its change if that is worth an output.
struct Plan {
    coins: Vec<Coin>,
    change: Option<Amount>,
    fee_rate: FeeRate,
}

impl Wallet {
    /// As few free coins as cover `target` and the fees of spending these coins; the fee of the rest of the
    /// transaction is the caller's to add to `target`.
    pub fn select(&self, target: Amount, fee_rate: FeeRate) -> Result<Vec<Coin>, Error> {
        self.select_of(target, fee_rate, |_| true)
    }

    /// The same of those coins only that `may` allows.
    ///
    /// # Errors
    /// When they are not enough, or more than one transaction takes.
    pub fn select_of(
        &self,
        target: Amount,
        fee_rate: FeeRate,
        may: impl Fn(&Coin) -> bool,
    ) -> Result<Vec<Coin>, Error> {
        let allowed = |mut coins: Vec<Coin>| {
            coins.retain(&may);
            coins
        };
        let short = |e| match e {
            Error::Insufficient { needed, available, costly, .. } => self.insufficient(needed, available, costly),
            other => other,
        };
        let first = select(&allowed(self.first_coins()), target, fee_rate);
        let chosen = first.or_else(|_| select(&allowed(self.free_coins()), target, fee_rate)).map_err(short)?;
        check_inputs(chosen.len())?;
        Ok(chosen)
    }

    /// The refusal with what else there is.
    fn insufficient(&self, needed: Amount, available: Amount, costly: Amount) -> Error {
        let balance = self.balance();
        let waiting = balance.unconfirmed.checked_add(balance.immature).unwrap_or(Amount::MAX_MONEY);
        Error::Insufficient { needed, available, costly, waiting, reserved: balance.reserved }
    }

    /// Pays `amount` to `address`; change comes back to us.
    pub fn send(
        &mut self,
        address: &Address<NetworkUnchecked>,
        amount: Amount,
        fee_rate: FeeRate,
    ) -> Result<Payment, Error> {
        let output = TxOut { value: amount, script_pubkey: self.script_of(address)? };
        let plan = self.plan(&output, fee_rate)?;
        self.carry_out(plan, output)
    }

    /// Pays everything free to `address`, less the fee: but no coin that costs more than it is worth.
    ///
    /// # Errors
    /// When nothing would be left to pay, or it takes more coins than one transaction may spend.
    pub fn send_all(&mut self, address: &Address<NetworkUnchecked>, fee_rate: FeeRate) -> Result<Payment, Error> {
        let script_pubkey = self.script_of(address)?;
        self.pay_rest(self.free_coins(), script_pubkey, Amount::ZERO, fee_rate)
    }

    /// The same, but for the coin that is kept for fees: it stays, or is made where only larger ones are there.
    ///
    /// # Errors
    /// As [`Wallet::send_all`].
    pub fn send_all_but_reserve(
        &mut self,
        address: &Address<NetworkUnchecked>,
        fee_rate: FeeRate,
    ) -> Result<Payment, Error> {
        let script_pubkey = self.script_of(address)?;
        let mut coins = self.free_coins();
        let kept = self.coin_set_apart().map(|coin| coin.outpoint);
        coins.retain(|coin| Some(coin.outpoint) != kept);
        let made = if kept.is_some() { Amount::ZERO } else { self.reserve_wanted() };
        self.pay_rest(coins, script_pubkey, made, fee_rate)
    }

    /// Pays all of some coins to a script, less the fee and what comes back to us.
    fn pay_rest(
        &mut self,
        coins: Vec<Coin>,
        script_pubkey: ScriptBuf,
        back: Amount,
        fee_rate: FeeRate,
    ) -> Result<Payment, Error> {
        let (coins, costly) = worthwhile(coins, fee_rate)?;
        check_inputs(coins.len())?;
        let (total, costly) = (sum(&coins)?, sum(&costly)?);
        let least = script_pubkey.minimal_non_dust();
        let mut outputs = vec![TxOut { value: Amount::ZERO, script_pubkey }];
        if back > Amount::ZERO {
            outputs.push(TxOut { value: back, script_pubkey: self.any_script() });
        }
        let fee = fee_ceil(fee_rate, signed_weight(coins.len(), &outputs))?;
        let gone = fee.checked_add(back).unwrap_or(Amount::MAX_MONEY);
        let rest = total.checked_sub(gone).filter(|rest| *rest >= least);
        let rest = rest.ok_or_else(|| self.insufficient(gone.checked_add(least).unwrap_or(gone), total, costly))?;
        if let Some(first) = outputs.first_mut() {
            first.value = rest;
        }
        if outputs.len() > 1 {
            outputs.truncate(1);
            outputs.push(self.output_to_self(back)?);
        }
        self.finish(&coins, outputs)
    }

    /// The free coins that cost more than they are worth at that rate: how many, and their sum.
    ///
    /// # Errors
    /// When a sum is out of range.
    pub fn costly(&self, fee_rate: FeeRate) -> Result<(usize, Amount), Error> {
        let (_, costly) = worthwhile(self.free_coins(), fee_rate)?;
        Ok((costly.len(), sum(&costly)?))
    }

    /// Makes a coin of ours worth exactly `amount`, its output the first of the transaction.
    pub fn make_coin(&mut self, amount: Amount, fee_rate: FeeRate) -> Result<Payment, Error> {
        let mut output = TxOut { value: amount, script_pubkey: self.any_script() };
        let plan = self.plan(&output, fee_rate)?;
        output.script_pubkey = self.reveal(KeychainKind::Internal)?.script_pubkey();
        self.carry_out(plan, output)
    }

    /// What making a coin worth `amount` would cost; nothing where there is one. Makes nothing and uses up no address.
    pub fn coin_cost(&self, amount: Amount, fee_rate: FeeRate) -> Result<Amount, Error> {
        if self.exact_coin(amount).is_some() {
            return Ok(Amount::ZERO);
        }
        let plan = self.plan(&TxOut { value: amount, script_pubkey: self.any_script() }, fee_rate)?;
        let back = plan.change.map(|value| self.change_values(value, fee_rate)).transpose()?.unwrap_or_default();
        let left = back.into_iter().try_fold(amount, Amount::checked_add);
        let cost = left.and_then(|left| sum(&plan.coins).ok()?.checked_sub(left));
        cost.ok_or(Error::Arithmetic("the outputs are worth more than the inputs"))
    }

    /// Spends one confirmed coin of ours, reserved or not, to ourselves: see [`Wallet::take_back`].
    pub fn spend_to_self(
        &mut self,
        outpoint: OutPoint,
        fee_rate: FeeRate,
        rival: Option<&Rival>,
    ) -> Result<Payment, Error> {
        self.take_back(&[outpoint], None, fee_rate, rival.copied().as_slice())
    }

    /// Those of these coins that are ours, confirmed, and that no block has spent; a spend in the mempool does not count. One
    /// pass over all that the wallet knows, however many coins are asked for.
    pub(super) fn withdrawable(&self, outpoints: &[OutPoint]) -> HashMap<OutPoint, Coin> {
        let (depths, graph) = (self.depths(), self.bdk.tx_graph());
        let depth = |txid: &Txid| depths.get(txid).copied().unwrap_or(0);
        let coin = |outpoint: &OutPoint| {
            let (outpoint, confirmations) = (*outpoint, depth(&outpoint.txid));
            let is_spent = graph.outspends(outpoint).iter().any(|txid| depth(txid) > 0);
            let owned = self.owned(outpoint).filter(|_| confirmations > 0 && !is_spent)?;
            let previous_tx = graph.get_tx(outpoint.txid)?;
            Some((outpoint, Coin { outpoint, txout: owned.txout, confirmations, previous_tx }))
        };
        outpoints.iter().filter_map(coin).collect()
    }

    /// Checks that an address is of our network.
    fn script_of(&self, address: &Address<NetworkUnchecked>) -> Result<ScriptBuf, Error> {
        let network = self.network();
        let checked = address.clone().require_network(network);
        let wrong = |_| Error::Address { address: address.clone().assume_checked().to_string(), network };
        Ok(checked.map_err(wrong)?.script_pubkey())
    }

    /// Chooses the coins that pay for `output`, and what comes back. Uses up no address.
    fn plan(&self, output: &TxOut, fee_rate: FeeRate) -> Result<Plan, Error> {
        let least = output.script_pubkey.minimal_non_dust();
        if output.value < least {
            return Err(Error::Dust { amount: output.value, least });
        }
        let overflow = Error::Arithmetic("the amount is more than all bitcoin");
        let alone = fee_ceil(fee_rate, signed_weight(0, std::slice::from_ref(output)))?;
        let coins = self.select(output.value.checked_add(alone).ok_or(overflow)?, fee_rate)?;
        let outputs = [output.clone(), TxOut { value: P2WPKH_DUST, script_pubkey: self.any_script() }];
        let fee = fee_ceil(fee_rate, signed_weight(coins.len(), &outputs))?;
        let rest = sum(&coins)?.checked_sub(output.value).and_then(|rest| rest.checked_sub(fee));
        Ok(Plan { coins, change: rest.filter(|rest| *rest >= P2WPKH_DUST), fee_rate })
    }

    fn carry_out(&mut self, plan: Plan, output: TxOut) -> Result<Payment, Error> {
        let mut outputs = vec![output];
        if let Some(value) = plan.change {
            outputs.extend(self.change(value, plan.fee_rate)?);
        }
        self.finish(&plan.coins, outputs)
    }

    pub(super) fn finish(&self, coins: &[Coin], outputs: Vec<TxOut>) -> Result<Payment, Error> {
        let paid = outputs.iter().try_fold(Amount::ZERO, |sum, o| sum.checked_add(o.value));
        let fee = paid.and_then(|paid| sum(coins).ok()?.checked_sub(paid));
        let fee = fee.ok_or(Error::Arithmetic("the outputs are worth more than the inputs"))?;
        let transaction = self.sign_all(unsigned(coins.iter().map(|c| c.outpoint), outputs))?;
        Ok(Payment { transaction, fee })
    }
}

/// What a transaction of `weight` must pay to be mined in place of `rival`, and at least `fee`.
pub(super) fn replacement_fee(fee: Amount, weight: Weight, rival: Option<&Rival>) -> Result<Amount, Error> {
    let overflow = || Error::Arithmetic("the fee is more than all bitcoin");
    let Some(rival) = rival else { return Ok(fee) };
    let step = fee_ceil(INCREMENT, weight)?;
    let dearer = fee_ceil(rival.fee_rate, weight)?.checked_add(step).ok_or_else(overflow)?;
    let above = rival.fee.checked_add(step).ok_or_else(overflow)?;
    Ok(fee.max(dearer).max(above))
}

/// The weight of a transaction spending so many P2WPKH coins, signed.
pub(super) fn signed_weight(inputs: usize, outputs: &[TxOut]) -> Weight {
    let base = unsigned(std::iter::repeat_n(OutPoint::null(), inputs), outputs.to_vec()).base_size();
    let witness = (P2WPKH_INPUT_WEIGHT.to_wu() - 41 * 4).saturating_mul(inputs as u64);
    Weight::from_wu((base as u64).saturating_mul(4).saturating_add(2).saturating_add(witness))
}

pub(super) fn unsigned(inputs: impl Iterator<Item = OutPoint>, output: Vec<TxOut>) -> Transaction {
    let input = inputs.map(|previous_output| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    });
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: input.collect(), output }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The rules of replacement: more in all than the rival, with a step on top, and more per byte.
        #[test]
        fn what_displaces_a_rival_pays_more_in_all_and_more_per_byte(
            fee in 0u64..10_000_000,
            rival_fee in 0u64..100_000_000,
            rival_rate in 0u32..5_000,
            vbytes in 60u64..100_000,
        ) {
            let weight = Weight::from_vb(vbytes).unwrap();
            let rival = Rival { fee: Amount::from_sat(rival_fee), fee_rate: FeeRate::from_sat_per_vb_u32(rival_rate) };
            let paid = replacement_fee(Amount::from_sat(fee), weight, Some(&rival)).unwrap().to_sat();
            prop_assert!(paid >= fee);
            prop_assert!(paid >= rival_fee + vbytes);
            prop_assert!(paid >= (u64::from(rival_rate) + 1) * vbytes);
            prop_assert_eq!(replacement_fee(Amount::from_sat(fee), weight, None).unwrap().to_sat(), fee);
        }
    }

    #[test]
    fn a_rival_beyond_all_money_is_an_error_and_no_panic() {
        let rival = Rival { fee: Amount::MAX, fee_rate: FeeRate::MAX };
        assert!(replacement_fee(Amount::ZERO, Weight::from_wu(561), Some(&rival)).is_err());
    }
}
