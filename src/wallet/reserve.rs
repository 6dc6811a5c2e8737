//! The coin set aside for fees: what pays for an exit whose own output is too small for that.
//!
//! One confirmed coin, the smallest that is large enough. Payments and loans take it only where nothing else does.

use super::coins::Coin;
use super::Wallet;
use bitcoin::Amount;

impl Wallet {
    /// Keeps a coin of at least `amount` for fees; nothing for zero.
    pub fn set_reserve(&mut self, amount: Amount) {
        self.reserve_amount = amount;
    }

    /// The coin that is kept, if there is one to keep beside others.
    pub fn reserve_coin(&self) -> Option<Coin> {
        of(&self.free_coins(), self.reserve_amount)
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
