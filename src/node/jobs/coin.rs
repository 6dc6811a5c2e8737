//! Coins: the lender's exact one, withdrawals, and broadcasts.

use super::Outcome;
use crate::chain;
use crate::contract::offer::{borrower_shares, lender_coin_value, lender_shares};
use crate::contract::wire::MAX_PREVIOUS;
use crate::crash;
use crate::loan::terms::DUST;
use crate::node::pay;
use crate::node::refusals;
use crate::node::tools::{lock, Tools, Trouble};
use crate::protocol::unfunded::{must_stand, withdrawal_fee};
use crate::protocol::{ErrorCode, Input, Loan};
use crate::settlement::unfunded::walk_away_most_floor;
use crate::wallet::{Error, Rival, LONGEST_PREVIOUS};
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, Weight};
use std::sync::Arc;

// A coin that is chosen for a contract is one that any lender or borrower reads.
const _: () = assert!(LONGEST_PREVIOUS <= MAX_PREVIOUS);

/// How the trouble of a transaction begins that another one in the mempool keeps out.
pub const NO_PLACE: &str = "it has no place in the mempool";

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
    let made = take_back_funding(&tools, &loan).await?;
    Ok(made.map_or(Outcome::Nothing, |input| Outcome::Inputs(loan.id, vec![input])))
}

/// The transaction that takes back our funding coin, for a person.
pub async fn walk_away(tools: &Tools, loan: &Loan) -> Result<Input, Trouble> {
    let made = take_back_funding(tools, loan).await?;
    let known = || loan.withdrawal.clone().map(Input::Withdrawn);
    made.or_else(known).ok_or_else(|| Trouble::later("the coin is being taken back"))
}

/// Takes our funding coins back at the market's rate, as many as that needs; `None` where that is done already. It pays more
/// against a funding transaction that stands in the mempool, with what hangs on it; and at once where so much is at stake
/// that none may take its place.
async fn take_back_funding(tools: &Tools, loan: &Loan) -> Result<Option<Input>, Trouble> {
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let family = tools.chain.family_fee(skeleton.funding.txid).await?;
    let rival = match family {
        Some(family) => Some(funding_rival(loan, family)?),
        None => must_stand(loan).then(|| funding_as_signed(loan)).transpose()?,
    };
    let mut rivals: Vec<Rival> = rival.into_iter().collect();
    if let Some(made) = &loan.withdrawal {
        let fee =
            withdrawal_fee(loan, made).ok_or_else(|| Trouble::later("the coins of the contract are not known"))?;
        if rivals.iter().all(|rival| rival.is_beaten_by(fee, made.weight())) {
            return Ok(None);
        }
        // What pays more takes its place too, with what hangs on it.
        let fee = tools.chain.family_fee(made.compute_txid()).await?.unwrap_or(fee).max(fee);
        rivals.push(Rival { fee, fee_rate: fee_rate_ceil(fee, made.weight()) });
    }
    let before = loan.withdrawal.as_ref();
    Ok(Some(Input::Withdrawn(take_back(tools, &loan.coins, before, &rivals).await?)))
}

/// The transaction that takes back the coin of an open repayment proposal.
pub async fn withdraw_repayment(tools: &Tools, loan: &Loan) -> Result<Input, Trouble> {
    if let Some(text) = refusals::not_withdrawn(loan) {
        return Err(Trouble::refuse(ErrorCode::NoRepayment, text));
    }
    if loan.repayment.as_ref().is_some_and(|repayment| repayment.proposer != loan.role) {
        return Err(Trouble::refuse(
            ErrorCode::Role,
            "the other side proposed this repayment; only it can take it back",
        ));
    }
    let repayment = loan
        .repayment
        .as_ref()
        .ok_or_else(|| Trouble::refuse(ErrorCode::NoRepayment, "no repayment is open; nothing to withdraw"))?;
    if loan.is_repayment_seen() || loan.is_exit_confirmed() {
        let text = "the other side completed this repayment already, or the loan is ending otherwise: see `loan show`";
        return Err(Trouble::refuse(ErrorCode::Settling, text));
    }
    let coins: Vec<OutPoint> = repayment.coins().collect();
    if coins.is_empty() {
        return Err(Trouble::later("the repayment spends no coin of ours"));
    }
    let rival = repayment_rival(tools, loan, &repayment.transaction, &coins)?;
    Ok(Input::RepaymentWithdrawn(take_back(tools, &coins, None, &[rival]).await?))
}

/// The funding transaction in the mempool as the rival of a withdrawal: with the transactions that spend its outputs, which
/// are displaced with it and cost whoever hung them there nothing. So there is a limit to what is paid against them; and
/// where what is at stake is known, that is one too.
fn funding_rival(loan: &Loan, family: Amount) -> Result<Rival, Trouble> {
    let signed = funding_as_signed(loan)?;
    let part = walk_away_most_floor(&loan.terms);
    let (most, what) = match loan.unfunded.given_up() {
        Some(_) if loan.unfunded.at_stake() < part => (loan.unfunded.at_stake().max(signed.fee), "what is at stake"),
        _ => (part.max(signed.fee), "a hundredth of the collateral"),
    };
    if family > most {
        let text = format!(
            "the coin is not taken back: the funding transaction pays {family} with what hangs on it, and more than {most}, \
             {what}, is not paid against that; it is about to confirm"
        );
        return Err(Trouble::Later(text));
    }
    Ok(Rival { fee: family.max(signed.fee), ..signed })
}

/// The funding transaction as the rival of a withdrawal that it could replace, should it come out.
fn funding_as_signed(loan: &Loan) -> Result<Rival, Trouble> {
    let inputs = loan.funding_inputs.len().saturating_sub(1).max(1);
    let theirs = lender_shares(&loan.terms).map_err(Trouble::later)?.funding_fee;
    let ours = borrower_shares(&loan.terms, inputs).map_err(Trouble::later)?.funding_fee;
    // Change too small for an output is fee as well.
    let fee = theirs.to_sat().saturating_add(ours.to_sat()).saturating_add(DUST.to_sat());
    // Signatures are a little shorter than the fee was computed for.
    let rate = loan.terms.fee_rate.0.saturating_mul(21).div_ceil(20);
    let fee_rate = FeeRate::from_sat_per_vb(rate).unwrap_or(FeeRate::MAX);
    Ok(Rival { fee: Amount::from_sat(fee), fee_rate })
}

/// The completed repayment as the rival of a withdrawal.
fn repayment_rival(tools: &Tools, loan: &Loan, repayment: &Transaction, coins: &[OutPoint]) -> Result<Rival, Trouble> {
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let known = lock(&tools.wallet).coins();
    let worth = known.iter().filter(|coin| coins.contains(&coin.outpoint)).map(|coin| coin.txout.value.to_sat());
    let spent = worth.fold(skeleton.funding_value.to_sat(), u64::saturating_add);
    let paid = repayment.output.iter().map(|output| output.value.to_sat()).fold(0, u64::saturating_add);
    let fee = spent.saturating_sub(paid);
    let fee = Amount::from_sat(fee);
    // Without the witness of the 2-of-2, which only makes its rate lower.
    Ok(Rival { fee, fee_rate: fee_rate_ceil(fee, repayment.weight()) })
}

/// What it costs to take the coins of a repayment back that was proposed and is not completed: it beats one that pays `fee`.
pub async fn fee_of_taking_back(
    tools: &Tools,
    coins: &[OutPoint],
    fee: Amount,
    repayment: &Transaction,
) -> Result<Amount, Trouble> {
    let rival = Rival { fee, fee_rate: fee_rate_ceil(fee, repayment.weight()) };
    let made = take_back(tools, coins, None, &[rival]).await?;
    let (spent, back) = (pay::spent(tools, &made), pay::paid(&made));
    Ok(Amount::from_sat(spent.saturating_sub(back)))
}

fn fee_rate_ceil(fee: Amount, weight: Weight) -> FeeRate {
    FeeRate::from_sat_per_kwu(fee.to_sat().saturating_mul(1_000).div_ceil(weight.to_wu().max(1)))
}

/// By whole virtual bytes, as bitcoind counts.
fn fee_rate_floor(fee: Amount, transaction: &Transaction) -> FeeRate {
    let size = u64::try_from(transaction.vsize()).unwrap_or(u64::MAX).max(1);
    FeeRate::from_sat_per_kwu(fee.to_sat().saturating_mul(250) / size)
}

/// One that would not relay is not signed: once the cap is raised another has to be made.
async fn take_back(
    tools: &Tools,
    coins: &[OutPoint],
    before: Option<&Transaction>,
    rivals: &[Rival],
) -> Result<Transaction, Trouble> {
    let (rate, minimum) = match tools.chain.fee_rate().await {
        // What beats a rival may pay enough: only that decides, not the cap.
        Err(low @ chain::Error::CapBelowMinimum { .. }) => {
            let minimum = tools.chain.relay_minimum().await?;
            (tools.chain.capped_fee_rate().await?, Some((minimum, low)))
        }
        rate => (rate?, None),
    };
    let mut wallet = lock(&tools.wallet);
    let payment = match wallet.take_back(coins, before, rate, rivals) {
        // Fees have risen beyond the coins: what beats the rival is worth more than nothing.
        Err(Error::TooSmall { .. }) => wallet.take_back(coins, before, FeeRate::BROADCAST_MIN, rivals)?,
        other => other?,
    };
    match minimum {
        Some((minimum, low)) if fee_rate_floor(payment.fee, &payment.transaction) < minimum => Err(low.into()),
        _ => Ok(payment.transaction),
    }
}

/// Brings a transaction to the chain, after asking whether it would be taken. Where others in the mempool keep it out, they
/// are named.
pub async fn broadcast(tools: Arc<Tools>, transaction: Transaction) -> Result<Outcome, Trouble> {
    if tools.chain.transaction(transaction.compute_txid()).await?.is_none() {
        if let Err(error) = bring_out(&tools, &transaction).await {
            return Err(no_place(&tools, &transaction).await.unwrap_or_else(|| error.into()));
        }
    }
    Ok(Outcome::Nothing)
}

/// That another transaction in the mempool spends a coin of one that bitcoind refuses; `None` where none does.
async fn no_place(tools: &Tools, transaction: &Transaction) -> Option<Trouble> {
    for input in &transaction.input {
        let coin = input.previous_output;
        // What is not known is told by the refusal itself.
        let Some(rival) = tools.chain.spender(coin).await.ok().flatten() else { continue };
        let txid = rival.compute_txid();
        return Some(Trouble::Later(format!("{NO_PLACE}: its coin {coin} is spent by transaction {txid} there")));
    }
    None
}

/// Hands in a transaction that bitcoind does not have, after asking whether it would be taken.
pub(in crate::node) async fn bring_out(tools: &Tools, transaction: &Transaction) -> Result<(), crate::chain::Error> {
    tools.chain.test_accept(transaction).await?;
    crash::point("before-broadcast");
    let txid = tools.chain.broadcast(transaction).await?;
    crash::point("after-broadcast");
    tracing::info!(%txid, "broadcast");
    Ok(())
}
