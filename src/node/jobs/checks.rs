//! What both sides look at right before they sign.

use crate::contract::settle::VerifiedAttestation;
use crate::loan::terms::Terms;
use crate::loan::units::Time;
use crate::node::tools::{Tools, Trouble};
use crate::oracle_client::OracleClient;
use crate::protocol::Loan;
use crate::settlement::{deadline, touch};
use bitcoin::{OutPoint, TxOut};
use std::collections::BTreeMap;

/// Nobody signs after the terms expired, at a price that has moved, or once an oracle has attested any clause.
pub async fn may_sign(tools: &Tools, loan: &Loan) -> Result<(), Trouble> {
    let terms = &loan.terms;
    let now = tools.now()?;
    if deadline::has_expired(terms, now) {
        return Err(Trouble::refuse("expired", format!("the terms expired at {}; ask for a new quote", terms.expires)));
    }
    let oracle = terms.oracles.first().ok_or_else(|| Trouble::refuse("terms", "the terms name no oracle"))?;
    let spot = tools.spot(oracle).await?;
    if !deadline::is_near(terms.reference_price, spot) {
        let message = format!(
            "spot is {spot}, more than 0.5 % from the reference price {}; ask for a new quote",
            terms.reference_price
        );
        return Err(Trouble::refuse("price_moved", message));
    }
    if let Some(index) = touched(&*tools.oracle(oracle)?, terms, loan, now).await? {
        let event = loan.payouts.days.get(index).map(|day| day.event().to_string()).unwrap_or_default();
        return Err(Trouble::refuse("attested", format!("{event} is attested already; ask for a new quote")));
    }
    Ok(())
}

/// The index of a day whose touch is true by the oracle's lows, if any.
pub async fn touched(client: &OracleClient, terms: &Terms, loan: &Loan, now: Time) -> Result<Option<usize>, Trouble> {
    let mut lows = BTreeMap::new();
    for (index, day) in touch::days_to_watch(&loan.payouts.days, now) {
        let lows = match lows.entry(day.day) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(client.lows(day.day).await?),
        };
        if touch::is_touched(terms, day, lows) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Every coin must be on chain with exactly this output, unspent and confirmed.
pub async fn coins_exist(tools: &Tools, coins: &[(OutPoint, TxOut)]) -> Result<(), Trouble> {
    for (outpoint, expected) in coins {
        let found = tools.chain.coin_with_mempool(*outpoint).await?;
        let Some(coin) = found.filter(|coin| coin.confirmations > 0) else {
            let message = format!("coin {outpoint} is not an unspent confirmed coin; confirmed coins only");
            return Err(Trouble::refuse("coin", message));
        };
        if coin.txout != *expected {
            return Err(Trouble::refuse(
                "coin",
                format!("coin {outpoint} is worth {}, not as stated", coin.txout.value),
            ));
        }
    }
    Ok(())
}

/// Settles a verified attestation with our own key.
pub fn settle(tools: &Tools, loan: &Loan, attested: &VerifiedAttestation) -> Result<bitcoin::Transaction, Trouble> {
    use crate::contract::{settle, Role};
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let theirs = match loan.role {
        Role::Borrower => loan.messages.read_accept().map(|accept| (&accept.cet_adaptor_signatures).into()),
        Role::Lender => loan.messages.read_sign().map(|sign| (&sign.cet_adaptor_signatures).into()),
    };
    let theirs: Vec<_> = theirs.ok_or_else(|| Trouble::later("the counterparty's message cannot be read"))?;
    let keys = tools.seed.loan_keys(&loan.key_index)?;
    let place = settle::place(&loan.terms, &loan.payouts, attested).map_err(Trouble::later)?;
    settle::settle(skeleton, loan.role, &keys.funding, &theirs, &place).map_err(Trouble::later)
}
