//! Which of its coins a borrower locks, and what they cost: counted alike for the quote that names them and the loan that
//! spends them.

use crate::contract::offer::borrower_shares;
use crate::contract::wire::MAX_INPUTS;
use crate::loan::terms::{Terms, DUST};
use crate::node::tools::{lock, Tools, Trouble};
use crate::node::vain::{self, Vain};
use crate::node::view::QuoteView;
use crate::protocol::ErrorCode;
use crate::wallet::Coin;
use bitcoin::{Amount, FeeRate};

/// The coins for collateral and fees: what this lender was shown in vain goes last, and what it would refuse very last. They
/// may be more than a loan takes: see [`require_few`].
///
/// # Errors
/// When the free coins are not enough, or cannot be looked at.
pub fn choose(tools: &Tools, terms: &Terms, vain: &Vain) -> Result<Vec<Coin>, Trouble> {
    let fresh = [1, vain::MOST].into_iter().find_map(|times| {
        let chosen = choose_of(tools, terms, |coin| vain.times(coin) < times).ok();
        chosen.filter(|coins| coins.len() <= MAX_INPUTS)
    });
    match fresh {
        Some(chosen) => Ok(chosen),
        None => choose_of(tools, terms, |_| true),
    }
}

/// Coins for collateral and fees, of those that may be shown.
fn choose_of(tools: &Tools, terms: &Terms, may_show: impl Fn(&Coin) -> bool) -> Result<Vec<Coin>, Trouble> {
    let mut chosen = Vec::new();
    for inputs in 1..=MAX_INPUTS {
        let required = borrower_shares(terms, inputs).map_err(Trouble::later)?.required;
        // The inputs' own fees are in the shares already.
        chosen = lock(&tools.wallet).select_of(required, FeeRate::ZERO, &may_show)?;
        if chosen.len() <= inputs {
            break;
        }
    }
    Ok(chosen)
}

/// Refuses more coins than a loan takes, with the remedy.
///
/// # Errors
/// Where they are more.
pub fn require_few(coins: &[Coin]) -> Result<(), Trouble> {
    if coins.len() <= MAX_INPUTS {
        return Ok(());
    }
    let message = format!(
        "the collateral would take {} coins or more, the most is {MAX_INPUTS}: join small ones first with `wallet consolidate`",
        coins.len(),
    );
    Err(Trouble::refuse(ErrorCode::Coins, message))
}

/// Writes into a quote which coins this wallet would lock now, and what they cost; or why they do not do.
///
/// # Errors
/// When the shares cannot be computed.
pub fn count(tools: &Tools, terms: &Terms, vain: &Vain, quote: &mut QuoteView) -> Result<(), Trouble> {
    match choose(tools, terms, vain) {
        Ok(coins) => {
            let worth = coins.iter().try_fold(Amount::ZERO, |sum, coin| sum.checked_add(coin.txout.value));
            let cost = cost(terms, coins.len(), worth.unwrap_or(Amount::MAX_MONEY))?;
            quote.coins = u32::try_from(coins.len()).ok();
            quote.coins_note = require_few(&coins).err().map(|trouble| trouble.view().message);
            quote.needs_sats = cost.needed.to_sat();
            quote.missing_sats = 0;
            if let Some(funding) = quote.fees.first_mut() {
                funding.sats = cost.funding_fee.to_sat();
            }
        }
        Err(trouble) => {
            let needs = borrower_shares(terms, 1).map_err(Trouble::later)?.required.to_sat();
            let (free, waiting) = {
                let wallet = lock(&tools.wallet);
                (wallet.free_coins(), wallet.balance().unconfirmed)
            };
            quote.waiting_sats = waiting.to_sat();
            let free = free.iter().map(|coin| coin.txout.value.to_sat()).fold(0, u64::saturating_add);
            (quote.needs_sats, quote.missing_sats) = (needs, needs.saturating_sub(free));
            quote.coins = None;
            quote.coins_note = Some(trouble.view().message);
        }
    }
    Ok(())
}

/// What so many coins of this worth cost a borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    /// Its part of the funding transaction's fee, with a change too small to be paid.
    funding_fee: Amount,
    /// Collateral and fees.
    needed: Amount,
}

fn cost(terms: &Terms, coins: usize, worth: Amount) -> Result<Cost, Trouble> {
    let shares = borrower_shares(terms, coins.max(1)).map_err(Trouble::later)?;
    // Change below that is no output: it goes to the miner.
    let lost = worth.checked_sub(shares.required).filter(|change| *change < DUST).unwrap_or(Amount::ZERO);
    let with = |sum: Amount| sum.checked_add(lost).ok_or_else(|| Trouble::later("the fees are more than all bitcoin"));
    Ok(Cost { funding_fee: with(shares.funding_fee)?, needed: with(shares.required)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::reference;

    #[test]
    fn each_coin_more_costs_its_input_and_change_too_small_to_be_paid_goes_with_the_fee() {
        let terms = reference();
        let of = |coins, more: u64| {
            let required = borrower_shares(&terms, coins).unwrap().required;
            cost(&terms, coins, required.checked_add(Amount::from_sat(more)).unwrap()).unwrap()
        };
        let (one, six) = (of(1, 5_000), of(6, 5_000));
        let input = 68 * terms.fee_rate.0;
        assert_eq!(six.funding_fee.to_sat() - one.funding_fee.to_sat(), 5 * input);
        assert_eq!(six.needed.to_sat() - one.needed.to_sat(), 5 * input);
        assert_eq!(of(1, 999).funding_fee.to_sat(), one.funding_fee.to_sat() + 999);
        assert_eq!(of(1, 1_000), one);
    }
}
