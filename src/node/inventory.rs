//! Which loans this lender has coins for: nothing is quoted that they could not pay.
//!
//! Coins are held for the loans that are being agreed and for the open quotes, as long as these stand. A quote costs its
//! asker nothing, so a peer's quotes hold one loan, its largest, and all quotes together can be in another's way for a
//! minute: after that they are quotes like before, and whoever takes one first has the coins. Never moves a coin.

use super::core::Core;
use super::jobs::Given;
use super::lending::No;
use super::requests::Request;
use super::tools::lock;
use crate::contract::offer::lender_coin_value;
use crate::contract::Role;
use crate::loan::fees::EXIT_FEE_RATE_TIMES;
use crate::loan::terms::{LoanId, Terms, DUST};
use crate::loan::units::{sats_for_cents_ceil, SatPerVb, Time};
use crate::protocol::{ErrorCode, Stage};
use crate::wallet::Purse;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate};

/// How long the quotes of others may stand in the way of who asks, seconds.
pub const PATIENCE: u32 = 60;
/// When nobody was in anybody's way for so long, all is as at first, seconds.
const CALM: u32 = 3_600;

/// Since when quotes are in the way of others.
#[derive(Debug, Default)]
pub struct Inventory {
    crowded: Option<Crowded>,
}

#[derive(Clone, Copy, Debug)]
struct Crowded {
    since: Time,
    last: Time,
}

/// What is wanted of the coins.
#[derive(Debug)]
pub struct Wanted {
    /// The coin of the loan that is asked for.
    coin: Amount,
    /// Those of loans that are being agreed and have none yet, and of requests that wait for a person.
    promised: Vec<Amount>,
    /// One for each other peer with open quotes.
    quoted: Vec<Amount>,
    /// What making a coin costs.
    rate: FeeRate,
}

impl Inventory {
    /// Are there coins for it?
    fn admits(&mut self, purse: &Purse, wanted: &Wanted, now: Time) -> bool {
        let firm = || wanted.promised.iter().copied().chain([wanted.coin]);
        if !purse.serves(firm(), wanted.rate) {
            return false;
        }
        if purse.serves(firm().chain(wanted.quoted.iter().copied()), wanted.rate) {
            return true;
        }
        let since = self.crowded.filter(|crowded| now.since(crowded.last) < CALM).map_or(now, |crowded| crowded.since);
        self.crowded = Some(Crowded { since, last: now });
        now.since(since) >= PATIENCE
    }
}

/// What making a coin for a loan costs at most: exits are paid ahead at a multiple of the estimate.
fn making_rate(fee_rate: SatPerVb) -> FeeRate {
    FeeRate::from_sat_per_vb(fee_rate.0.div_ceil(EXIT_FEE_RATE_TIMES)).unwrap_or(FeeRate::MAX)
}

impl Core {
    /// Whether a loan can be quoted to this peer: the coins must be there now.
    pub(super) fn can_quote(&mut self, terms: &Terms, peer: PublicKey) -> Result<(), No> {
        let purse = lock(&self.tools.wallet).purse();
        let text = "this lender has no free coins for that now; ask for less, or again in a while";
        self.can_serve(purse, terms, peer, text)
    }

    /// Whether a quote can be taken: what is begun now can also wait for our own change.
    pub(super) fn can_begin(&mut self, terms: &Terms, peer: PublicKey) -> Result<(), No> {
        let purse = lock(&self.tools.wallet).purse().with_change();
        let text = "this lender's coins went elsewhere since the quote; ask for a new one, for less or in a while";
        self.can_serve(purse, terms, peer, text)
    }

    fn can_serve(&mut self, purse: Purse, terms: &Terms, peer: PublicKey, no: &str) -> Result<(), No> {
        let coin = lender_coin_value(terms).map_err(|e| (ErrorCode::Amount, e.to_string()))?;
        let promised = self.promised(Some(terms.id()));
        let wanted = Wanted { coin, promised, quoted: self.quotes.held(&peer), rate: making_rate(terms.fee_rate) };
        match self.inventory.admits(&purse, &wanted, self.moment.now) {
            true => Ok(()),
            false => Err((ErrorCode::Inventory, no.to_owned())),
        }
    }

    /// How many open quotes and requests that wait for a person count on free coins, and on how much: the largest quote of each
    /// peer, and every request.
    pub(super) fn quoted(&self) -> (u32, Amount) {
        let (quotes, requests) = (self.quotes.len(), self.requests.all());
        let count = u32::try_from(quotes.saturating_add(requests.len())).unwrap_or(u32::MAX);
        let held = self.quotes.held_of_all().into_iter().chain(requests.into_iter().map(Request::coin));
        (count, held.fold(Amount::ZERO, |sum, coin| sum.checked_add(coin).unwrap_or(Amount::MAX_MONEY)))
    }

    /// Ends the open quotes that the coins left do not pay, each by itself beside what is promised; how many. Who takes one of
    /// them is told that it is not open.
    pub(super) fn end_unpaid_quotes(&mut self) -> u32 {
        let purse = lock(&self.tools.wallet).purse().with_change();
        let promised = self.promised(None);
        let pays = |given: &Given| {
            let wanted = promised.iter().copied().chain([given.coin]);
            purse.serves(wanted, making_rate(given.terms.fee_rate))
        };
        let over: Vec<LoanId> = self.quotes.all().filter(|given| !pays(given)).map(|given| given.terms.id()).collect();
        over.iter().for_each(|id| self.quotes.remove(id));
        u32::try_from(over.len()).unwrap_or(u32::MAX)
    }

    /// The coins of loans that are being agreed and have none yet, and of requests that wait for a person, all but this one's.
    fn promised(&self, but: Option<LoanId>) -> Vec<Amount> {
        let agreed = self.loans.values().filter(|loan| Some(loan.id) != but && loan.role == Role::Lender);
        let agreed = agreed.filter(|loan| loan.stage == Stage::Agreed).map(|loan| lender_coin_value(&loan.terms));
        let asked = self.requests.all().into_iter().filter(|request| Some(request.id()) != but).map(Request::coin);
        agreed.map(|coin| coin.unwrap_or(Amount::MAX_MONEY)).chain(asked).collect()
    }

    /// Do the free coins not even cover the smallest loan of the policy?
    pub(super) fn lends_without_coins(&self) -> bool {
        if self.policy.oracles.is_empty() {
            return false;
        }
        let price = self.tools.watched_spot(&self.policy.oracles, usize::from(self.policy.threshold)).ok();
        let least = price.and_then(|price| sats_for_cents_ceil(self.policy.principal_min, price));
        let least = least.unwrap_or(DUST).max(DUST);
        !lock(&self.tools.wallet).purse().with_change().serves([least], FeeRate::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_583_712_000);

    fn sat(sats: u64) -> Amount {
        Amount::from_sat(sats)
    }

    fn wanted(coin: u64, promised: &[u64], quoted: &[u64]) -> Wanted {
        let amounts = |sats: &[u64]| sats.iter().copied().map(sat).collect();
        Wanted { coin: sat(coin), promised: amounts(promised), quoted: amounts(quoted), rate: FeeRate::ZERO }
    }

    #[test]
    fn what_is_asked_for_is_counted_together_with_what_is_promised_and_quoted() {
        let purse = Purse::of(&[100_000], 20_000);
        let mut inventory = Inventory::default();
        let mut admits = |wanted: &Wanted| inventory.admits(&purse, wanted, NOW);
        assert!(admits(&wanted(80_000, &[], &[])));
        assert!(!admits(&wanted(80_001, &[], &[])), "the reserve is not lent");
        assert!(admits(&wanted(30_000, &[25_000], &[25_000])));
        assert!(!admits(&wanted(30_001, &[25_000], &[25_000])));
        assert!(!admits(&wanted(30_000, &[50_001], &[])));
    }

    #[test]
    fn quotes_that_nobody_takes_keep_another_from_one_for_a_minute_and_loans_as_long_as_they_are_agreed() {
        let purse = Purse::of(&[100_000], 0);
        let mut inventory = Inventory::default();
        let mut asked = |wanted: &Wanted, after: u32| inventory.admits(&purse, wanted, NOW.plus(after).unwrap());
        // However many keys hold it, and however often they ask anew.
        let held = wanted(60_000, &[], &[90_000]);
        let waited = (0..PATIENCE * 2).find(|after| asked(&held, *after));
        println!("bound quoted-away {} s", waited.unwrap());
        assert_eq!(waited, Some(PATIENCE));
        assert!(asked(&held, 3_000) && asked(&held, 3_000 + CALM - 1), "as long as they are in somebody's way");
        assert!(!asked(&wanted(60_000, &[90_000], &[]), 3_100), "what was begun stands");
        assert!(!asked(&held, 3_000 + 2 * CALM), "an hour after the last time it is as at first");
    }

    #[test]
    fn a_coin_is_made_at_no_less_than_the_estimate_that_the_terms_were_made_by() {
        use crate::loan::fees::exit_fee_rate;
        for estimate in [1, 5, 8, 9, 40, 500] {
            let rate = making_rate(exit_fee_rate(SatPerVb(estimate)));
            assert!(rate.to_sat_per_vb_floor() >= estimate, "{estimate}: {rate}");
        }
    }
}
