//! Repaying: one side proposes one transaction, the other completes it. The borrower proposes, or asks the lender to.

use super::{checks, coin, Outcome};
use crate::contract::repay::{self, RepayParts, Source};
use crate::contract::Role;
use crate::loan::payout::repayment_ceil;
use crate::loan::units::{Cents, Time};
use crate::node::handle::Reply;
use crate::node::tools::{lock, Tools, Trouble};
use crate::node::view::LoanView;
use crate::protocol::event::Repayment;
use crate::protocol::messages::Repay;
use crate::protocol::{ErrorCode, Input, Loan, Stage};
use crate::settlement::deadline;
use bitcoin::{Amount, FeeRate, OutPoint, TxOut};
use std::sync::Arc;

/// Repayments a lender proposes for one loan; each not taken costs it the fee of taking its coin back.
const LENDER_PROPOSALS: u32 = 3;
/// What a repayment with one coin weighs at most, in virtual bytes, the coin's input left out.
const REPAY_VBYTES: u64 = 230;

/// What to do with a loan on behalf of a person.
pub enum Wish {
    /// Repay it.
    Repay(Source),
    /// Take an open proposal back.
    Withdraw,
    /// Walk away from a signed loan whose funding is not in a block.
    WalkAway,
}

/// Carries out a wish; whoever asked gets the answer in any case.
pub async fn grant(tools: Arc<Tools>, loan: Arc<Loan>, wish: Wish, reply: Reply<LoanView>) -> Result<Outcome, Trouble> {
    let input = match wish {
        Wish::Repay(source) => propose(&tools, &loan, source).await,
        Wish::Withdraw => coin::withdraw_repayment(&tools, &loan).await.map(Some),
        Wish::WalkAway => coin::walk_away(&tools, &loan).await.map(Some),
    };
    let input = match input {
        Ok(Some(input)) => Ok(input),
        Ok(None) => return Ok(Outcome::AskLender(loan.id, reply)),
        Err(trouble) => Err(trouble),
    };
    match input {
        Ok(input) => Ok(Outcome::Answered(loan.id, vec![input], reply)),
        Err(trouble) => {
            let _ = reply.send(Err(trouble.view()));
            Ok(Outcome::Nothing)
        }
    }
}

/// Borrower: the repayment of a loan now, signed on our side; `None` when we have no coin to propose with and the
/// lender is to be asked.
async fn propose(tools: &Tools, loan: &Loan, source: Source) -> Result<Option<Input>, Trouble> {
    if loan.role != Role::Borrower {
        return Err(Trouble::refuse(ErrorCode::Role, "only the borrower repays; the lender can give a receipt"));
    }
    if loan.stage != Stage::Active || loan.pending.is_some() {
        return Err(Trouble::refuse(
            ErrorCode::Stage,
            format!("the loan is {:?}; only an active loan can be repaid", loan.stage),
        ));
    }
    if let Some(open) = &loan.repayment {
        let txid = open.transaction.compute_txid();
        let message = format!("repayment {txid} is open already: wait for it, or withdraw it with `loan withdraw`");
        return Err(Trouble::refuse(ErrorCode::Repaying, message));
    }
    if !tools.net.is_connected(loan.peer) {
        let message = format!(
            "the lender's node is not connected, and must sign too: try again when `peer list` shows it; if it has \
             moved, `peer connect {}@host:port`",
            loan.peer
        );
        return Err(Trouble::Later(message));
    }
    let without_coin = lock(&tools.wallet).free_coins().is_empty();
    if source == Source::Collateral && without_coin {
        return Ok(None);
    }
    sign_proposal(tools, loan, source).await.map(Some)
}

/// Lender: the repayment a borrower without a coin asked for, out of the collateral, with a coin of ours.
pub async fn propose_for_borrower(tools: Arc<Tools>, loan: Arc<Loan>) -> Result<Outcome, Trouble> {
    if loan.lender_proposals >= LENDER_PROPOSALS {
        let message = format!("{LENDER_PROPOSALS} repayments were proposed for this loan and not taken; no more");
        return Err(Trouble::refuse(ErrorCode::Repayment, message));
    }
    let input = sign_proposal(&tools, &loan, Source::Collateral).await?;
    Ok(Outcome::Inputs(loan.id, vec![input]))
}

/// A repayment at a fresh price, its coins ours, signed on our side.
async fn sign_proposal(tools: &Tools, loan: &Loan, source: Source) -> Result<Input, Trouble> {
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let (at, price) = price_now(tools, loan).await?;
    let owed = repayment_ceil(&loan.terms, at, price).ok_or_else(|| Trouble::later("the debt cannot be computed"))?;
    let rate = FeeRate::from_sat_per_vb(tools.fee_estimate().await?.0).unwrap_or(FeeRate::BROADCAST_MIN);
    let spare = Amount::from_sat(REPAY_VBYTES.saturating_mul(rate.to_sat_per_vb_ceil()).saturating_add(2_000));
    let target = match source {
        Source::Wallet => owed.checked_add(spare).unwrap_or(Amount::MAX_MONEY),
        Source::Collateral => spare,
    };
    let change_script = lock(&tools.wallet).new_address()?.script_pubkey();
    let chosen = lock(&tools.wallet).select(target, rate)?;
    let coins: Vec<(OutPoint, TxOut)> = chosen.iter().map(|coin| (coin.outpoint, coin.txout.clone())).collect();
    let proposer = loan.role;
    let parts =
        RepayParts { proposer, source, owed, coins: coins.clone(), change_script, fee_rate: rate.to_sat_per_vb_ceil() };
    let refuse = |e: crate::contract::ContractError| Trouble::refuse(ErrorCode::Repayment, e);
    let unsigned = repay::transaction(&loan.terms, skeleton, &parts).map_err(refuse)?;
    let previous = |outpoint: &OutPoint| {
        chosen.iter().find(|coin| coin.outpoint == *outpoint).map(|coin| (*coin.previous_tx).clone())
    };
    let mut psbt = repay::psbt(&unsigned, skeleton, &coins, previous).map_err(refuse)?;
    lock(&tools.wallet).sign_inputs(&mut psbt)?;
    let keys = tools.seed.loan_keys(&loan.key_index)?;
    let proposal = repay::propose(skeleton, &keys.funding, &psbt).map_err(refuse)?;
    Ok(Input::Repaying(Repayment {
        proposer,
        transaction: proposal.transaction,
        half: proposal.half,
        price,
        at,
        owed: loan.terms.repayment_at(at),
        source,
    }))
}

/// A fresh price, and that no touch has ended the loan already.
async fn price_now(tools: &Tools, loan: &Loan) -> Result<(Time, Cents), Trouble> {
    let price = tools.spot(&loan.terms.oracles, usize::from(loan.terms.threshold)).await?;
    let at = tools.now()?;
    checks::touches(tools, loan, at).await?.require_untouched()?;
    Ok((at, price))
}

/// Checks the other side's proposal and completes it.
pub async fn answer(tools: Arc<Tools>, loan: Arc<Loan>, message: Repay) -> Result<Outcome, Trouble> {
    let proposer = loan.role.other();
    if loan.stage != Stage::Active || loan.pending.is_some() {
        return Err(Trouble::refuse(
            ErrorCode::Stage,
            format!("the loan is {:?}; it cannot be repaid now", loan.stage),
        ));
    }
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let (proposal, source) = message
        .proposal()
        .ok_or_else(|| Trouble::refuse(ErrorCode::Repayment, "the proposed transaction cannot be read"))?;
    let (now, spot) = price_now(&tools, &loan).await?;
    if now.since(message.at) > deadline::PROPOSAL_PATIENCE || message.at.since(now) > deadline::SPOT_FRESH {
        return Err(Trouble::refuse(
            ErrorCode::Repayment,
            format!("it counts the debt at {}, and it is {now}", message.at),
        ));
    }
    let fair = match proposer {
        Role::Borrower => deadline::is_fair_repayment(spot, message.price),
        // For the borrower the higher price is the better one.
        Role::Lender => deadline::is_fair_repayment(message.price, spot),
    };
    if !fair {
        let text =
            format!("it uses {} per bitcoin, and spot is {spot}: 0.2 % in its favour is the most", message.price);
        return Err(Trouble::refuse(ErrorCode::Repayment, text));
    }
    let range = || Trouble::later("the debt cannot be computed");
    let owed = repayment_ceil(&loan.terms, message.at, message.price).ok_or_else(range)?;
    let estimate = tools.fee_estimate().await?.0;
    let least = match proposer {
        Role::Borrower => owed.checked_add(loan.terms.stake).ok_or_else(range)?,
        // The collateral less the debt and a fee no higher than twice our own estimate; what was paid ahead helps.
        Role::Lender => {
            let fee = repay::size(&proposal.transaction).saturating_mul(estimate.saturating_mul(2));
            let ahead = skeleton.funding_value.checked_sub(loan.terms.total()).ok_or_else(range)?;
            let back = loan.terms.collateral.checked_sub(owed).and_then(|back| back.checked_add(ahead));
            back.and_then(|back| back.checked_sub(Amount::from_sat(fee))).ok_or_else(range)?
        }
    };
    let mut coins = Vec::new();
    for input in proposal.transaction.input.iter().skip(1).take(repay::MAX_COINS) {
        let coin = tools.chain.coin_with_mempool(input.previous_output).await?;
        let coin = coin.filter(|coin| coin.confirmations > 0).ok_or_else(|| {
            let message = format!("coin {} is not an unspent confirmed coin", input.previous_output);
            Trouble::refuse(ErrorCode::Repayment, message)
        })?;
        coins.push(coin.txout);
    }
    // One that pays miners too little would wait, and whoever made it could take it back at any moment: a free option.
    let least_rate = estimate.div_ceil(2).max(1);
    repay::check(skeleton, &proposal, &coins, proposer, least, least_rate)
        .map_err(|e| Trouble::refuse(ErrorCode::Repayment, e))?;
    let keys = tools.seed.loan_keys(&loan.key_index)?;
    let transaction = repay::countersign(skeleton, proposer, &keys.funding, &proposal)
        .map_err(|e| Trouble::refuse(ErrorCode::Repayment, e))?;
    if let Err(e) = tools.chain.test_accept(&transaction).await {
        return Err(match e.rejection() {
            Some(rejected) => Trouble::refuse(ErrorCode::Repayment, rejected),
            None => Trouble::later(e),
        });
    }
    let repayment = Repayment {
        proposer,
        transaction,
        half: proposal.half,
        price: message.price,
        at: message.at,
        owed: loan.terms.repayment_at(message.at),
        source,
    };
    Ok(Outcome::Inputs(loan.id, vec![Input::Repaying(repayment)]))
}
