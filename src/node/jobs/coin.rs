//! Coins: the lender's exact one, withdrawals, and broadcasts.

use super::Outcome;
use crate::contract::offer::lender_coin_value;
use crate::crash;
use crate::node::tools::{lock, Tools, Trouble};
use crate::protocol::{Input, Loan};
use bitcoin::{OutPoint, Transaction};
use std::sync::Arc;

/// Finds the lender's exact coin, or makes it.
pub async fn prepare(tools: Arc<Tools>, loan: Arc<Loan>) -> Result<Outcome, Trouble> {
    let value = lender_coin_value(&loan.terms).map_err(Trouble::later)?;
    if let Some(made) = &loan.coin_made {
        let coin = OutPoint { txid: made.compute_txid(), vout: 0 };
        let known = lock(&tools.wallet).coins();
        let there = known.iter().any(|known| known.outpoint == coin && known.confirmations > 0);
        return Ok(match there {
            true => Outcome::Inputs(loan.id, vec![Input::CoinConfirmed(coin)]),
            false => Outcome::Nothing,
        });
    }
    let found = lock(&tools.wallet).exact_coin(value);
    if let Some(coin) = found {
        return Ok(Outcome::Inputs(loan.id, vec![Input::CoinConfirmed(coin.outpoint)]));
    }
    let fee_rate = tools.chain.fee_rate().await?;
    let now = tools.now()?;
    let mut wallet = lock(&tools.wallet);
    let payment = wallet.make_coin(value, fee_rate)?;
    // Known to the wallet at once, so that no other loan chooses the same coins.
    wallet.record(&payment.transaction, now)?;
    Ok(Outcome::Inputs(loan.id, vec![Input::CoinMade(payment.transaction)]))
}

/// Takes back our funding coin, so that the contract can never be funded.
pub async fn withdraw(tools: Arc<Tools>, loan: Arc<Loan>) -> Result<Outcome, Trouble> {
    let coin = loan.coins.first().copied().ok_or_else(|| Trouble::later("the loan has no coin"))?;
    let transaction = take_back(&tools, coin, &loan).await?;
    Ok(Outcome::Inputs(loan.id, vec![Input::Withdrawn(transaction)]))
}

/// The transaction that takes back the coin of an open repayment proposal.
pub async fn withdraw_repayment(tools: &Tools, loan: &Loan) -> Result<Input, Trouble> {
    if loan.repayment.as_ref().is_some_and(|repayment| repayment.proposer != loan.role) {
        return Err(Trouble::refuse("role", "the other side proposed this repayment; only it can take it back"));
    }
    let coin = loan
        .repayment
        .as_ref()
        .and_then(|repayment| repayment.transaction.input.get(1))
        .map(|input| input.previous_output)
        .ok_or_else(|| Trouble::refuse("no_repayment", "no repayment is open; nothing to withdraw"))?;
    if loan.exit.is_some() {
        let message = "the other side completed this repayment already: it is on its way to a block";
        return Err(Trouble::refuse("repaid", message));
    }
    Ok(Input::RepaymentWithdrawn(take_back(tools, coin, loan).await?))
}

async fn take_back(tools: &Tools, coin: OutPoint, loan: &Loan) -> Result<Transaction, Trouble> {
    // At the rate the contract pays, so that it competes with what it displaces.
    let rate = tools.chain.fee_rate().await?;
    let agreed = bitcoin::FeeRate::from_sat_per_vb(loan.terms.fee_rate.0).unwrap_or(rate);
    let payment = lock(&tools.wallet).spend_to_self(coin, rate.max(agreed), None)?;
    Ok(payment.transaction)
}

/// Brings a transaction to the chain, after asking whether it would be taken.
pub async fn broadcast(tools: Arc<Tools>, transaction: Transaction) -> Result<Outcome, Trouble> {
    let txid = transaction.compute_txid();
    if tools.chain.transaction(txid).await?.is_some() {
        return Ok(Outcome::Nothing);
    }
    tools.chain.test_accept(&transaction).await?;
    crash::point("before-broadcast");
    tools.chain.broadcast(&transaction).await?;
    crash::point("after-broadcast");
    tracing::info!(%txid, "broadcast");
    Ok(Outcome::Nothing)
}
