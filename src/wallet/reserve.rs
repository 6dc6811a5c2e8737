//! The coin set aside for fees: what pays for an exit whose own output is too small for that.
//!
//! One confirmed coin, the smallest that is large enough. Payments and loans take it only where nothing else does. Where only
//! coins much larger are there, the next change is split, so that one is set apart.

use super::coins::{fee_ceil, Coin, P2WPKH_DUST};
use super::spend::signed_weight;
use super::{Error, Payment, Wallet};
use bdk_wallet::KeychainKind;
use bitcoin::{Amount, FeeRate, TxOut};

/// A coin more than so many times as large as it has to be is money that lies there by chance: the next loan takes it.
const APART: u64 = 5;

impl Wallet {
    /// Keeps a coin of at least `amount` for fees; nothing for zero.
    pub fn set_reserve(&mut self, amount: Amount) {
        self.reserve_amount = amount;
    }

    /// What is to be kept, in sats; zero where nothing is.
    pub fn reserve_wanted(&self) -> Amount {
        self.reserve_amount
    }

    /// The coin that would pay for an exit: the smallest that is large enough, set apart or not.
    pub fn reserve_coin(&self) -> Option<Coin> {
        of(&self.free_coins(), self.reserve_amount)
    }

    /// The coin that is set apart: no larger than such a coin has to be. A larger one pays for an exit all the same, but it
    /// is not kept: the next loan takes it.
    pub fn coin_set_apart(&self) -> Option<Coin> {
        self.reserve_coin().filter(|coin| self.is_apart(coin))
    }

    fn is_apart(&self, coin: &Coin) -> bool {
        let most = self.reserve_amount.checked_mul(APART).unwrap_or(Amount::MAX_MONEY);
        coin.txout.value >= self.reserve_amount && coin.txout.value <= most
    }

    /// Does a coin wait for its block that will be large enough?
    pub fn reserve_waits(&self) -> bool {
        let mut waiting = self.unbound_coins().into_iter().filter(|coin| coin.confirmations == 0);
        waiting.any(|coin| coin.txout.value >= self.reserve_amount)
    }

    /// Is a coin to be made, because none is there, or waits, that is no larger than such a coin has to be?
    pub fn lacks_reserve(&self) -> bool {
        self.reserve_amount > Amount::ZERO && !self.unbound_coins().iter().any(|coin| self.is_apart(coin))
    }

    /// A transaction of ours to ourselves that makes the coin out of another. Not out of the only free one that would do:
    /// until its block comes there would be none at all. `None` where no coin is to be made, or none can be.
    ///
    /// # Errors
    /// When it cannot be signed or the address cannot be kept.
    pub fn make_reserve(&mut self, fee_rate: FeeRate) -> Result<Option<Payment>, Error> {
        let mut free = self.free_coins();
        free.retain(|coin| coin.txout.value >= self.reserve_amount);
        if free.len() < 2 || !self.lacks_reserve() {
            return Ok(None);
        }
        free.sort_by_key(|coin| (coin.txout.value, coin.outpoint));
        for coin in free {
            let outputs = [P2WPKH_DUST; 2].map(|value| TxOut { value, script_pubkey: self.any_script() });
            let fee = fee_ceil(fee_rate, signed_weight(1, &outputs))?;
            let rest = coin.txout.value.checked_sub(self.reserve_amount).and_then(|rest| rest.checked_sub(fee));
            let Some(rest) = rest.filter(|rest| *rest >= P2WPKH_DUST) else { continue };
            let outputs = vec![self.output_to_self(self.reserve_amount)?, self.output_to_self(rest)?];
            return self.finish(&[coin], outputs).map(Some);
        }
        Ok(None)
    }

    /// The change of a transaction.
    pub(super) fn change(&mut self, value: Amount, fee_rate: FeeRate) -> Result<Vec<TxOut>, Error> {
        self.change_values(value, fee_rate)?.into_iter().map(|value| self.output_to_self(value)).collect()
    }

    /// What comes back: in two where one of them is to be the coin that is kept, and the rest pays for that.
    pub(super) fn change_values(&self, value: Amount, fee_rate: FeeRate) -> Result<Vec<Amount>, Error> {
        let one = TxOut { value: P2WPKH_DUST, script_pubkey: self.any_script() };
        let [less, more] = [1, 2].map(|many| signed_weight(1, &vec![one.clone(); many]));
        let fee = fee_ceil(fee_rate, more - less)?;
        let most = self.reserve_amount.checked_mul(APART).unwrap_or(Amount::MAX_MONEY);
        let rest = value.checked_sub(self.reserve_amount).and_then(|rest| rest.checked_sub(fee));
        match rest.filter(|_| value > most && self.lacks_reserve()) {
            Some(rest) => Ok(vec![self.reserve_amount, rest]),
            None => Ok(vec![value]),
        }
    }

    pub(super) fn output_to_self(&mut self, value: Amount) -> Result<TxOut, Error> {
        Ok(TxOut { value, script_pubkey: self.reveal(KeychainKind::Internal)?.script_pubkey() })
    }

    /// The free coins that a payment takes before it takes the reserve.
    pub(super) fn first_coins(&self) -> Vec<Coin> {
        let mut free = self.free_coins();
        if let Some(reserve) = of(&free, self.reserve_amount) {
            free.retain(|coin| coin.outpoint != reserve.outpoint);
        }
        free
    }
}

/// The smallest of `free` that is worth `amount`.
fn of(free: &[Coin], amount: Amount) -> Option<Coin> {
    let large = free.iter().filter(|coin| amount > Amount::ZERO && coin.txout.value >= amount);
    large.min_by_key(|coin| (coin.txout.value, coin.outpoint)).cloned()
}
