//! Repaying: one side proposes one transaction, the other completes it. The borrower proposes, or asks the lender to.

use super::{checks, coin, Outcome};
use crate::contract::repay::{self, Proposal, RepayParts, Source};
use crate::contract::{Role, Skeleton};
use crate::loan::payout::repayment_ceil;
use crate::loan::units::{Cents, Time};
use crate::node::core::Core;
use crate::node::handle::Reply;
use crate::node::refusals as words;
use crate::node::tools::{lock, Tools, Trouble};
use crate::node::view::{LoanView, PreviewView};
use crate::protocol::event::Repayment;
use crate::protocol::messages::Repay;
use crate::protocol::{ErrorCode, Input, Loan};
use crate::settlement::{deadline, proposal};
use crate::wallet::{Coin, Error};
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut};
use std::ops::RangeInclusive;
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
        // bitcoind or an oracle took long: what is done late, unseen, is done to nobody's wish.
        Ok(_) if reply.is_closed() => return Ok(gave_up(&loan)),
        Ok(None) => return Ok(Outcome::AskLender(loan.id, reply)),
        Ok(Some(input)) => Ok(input),
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

/// Whoever asked waits no more: nothing is recorded, and nothing leaves.
fn gave_up(loan: &Loan) -> Outcome {
    tracing::warn!(loan = %loan.id, "not done: whoever asked has given up");
    Outcome::Nothing
}

/// Borrower: the repayment of a loan now, signed on our side; `None` when we have no coin to propose with and the
/// lender is to be asked.
async fn propose(tools: &Tools, loan: &Loan, source: Source) -> Result<Option<Input>, Trouble> {
    match may_propose(tools, loan, source)? {
        true => sign_proposal(tools, loan, source).await.map(Some),
        false => Ok(None),
    }
}

/// Borrower: can it repay now, and does it propose that itself?
fn may_propose(tools: &Tools, loan: &Loan, source: Source) -> Result<bool, Trouble> {
    if loan.role != Role::Borrower {
        let text = "this node is the lender of this loan, and only the borrower repays; if you were paid outside the chain, give a \
                    receipt with `loan receipt`";
        return Err(Trouble::refuse(ErrorCode::Role, text));
    }
    if !loan.is_repayable() {
        return Err(Trouble::refuse(ErrorCode::Stage, words::not_repayable(loan)));
    }
    if let Some(open) = &loan.repayment {
        let txid = open.transaction.compute_txid();
        let message = format!("repayment {txid} is open already: wait for it, or withdraw it with `loan withdraw`");
        return Err(Trouble::refuse(ErrorCode::Repaying, message));
    }
    if !tools.net.is_connected(loan.peer) {
        let way = Core::way_to(tools, loan.peer);
        let message = format!(
            "the lender's node is not connected, and must sign too: try again when `peer list` shows it; {way}"
        );
        return Err(Trouble::Later(message));
    }
    let without_coin = lock(&tools.wallet).free_coins().is_empty();
    Ok(source == Source::Wallet || !without_coin)
}

/// Borrower: what a repayment now would pay and cost.
pub async fn preview(tools: &Tools, loan: &Loan, source: Source) -> Result<PreviewView, Trouble> {
    let terms = &loan.terms;
    if !may_propose(tools, loan, source)? {
        let (at, price) = price_now(tools, loan).await?;
        // The lender proposes a little against the borrower.
        let price = proposal::price_offered(Role::Lender, price);
        let owed = owed_sats(loan, at, price)?;
        let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
        let ahead = skeleton.funding_value.checked_sub(terms.total()).unwrap_or(Amount::ZERO);
        let estimate = tools.fee_estimate().await?.0;
        let most = *proposal::fee_range(repay::widest_of_lenders(skeleton), estimate, ahead).end();
        return Ok(PreviewView {
            fee_most_sats: Some(most.to_sat()),
            ahead_sats: ahead.to_sat(),
            pays_sats: owed.to_sat(),
            gets_sats: terms.collateral.to_sat().saturating_sub(owed.to_sat()),
            owed_cents: terms.repayment_at(at).0,
            price_cents: Some(price.0),
            ..PreviewView::default()
        });
    }
    let draft = draft(tools, loan, source).await?;
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let fee = repay::fee(skeleton, &draft.unsigned, &draft.outputs()).unwrap_or(Amount::ZERO);
    // What both paid ahead for an exit pays for this one.
    let ahead = skeleton.funding_value.checked_sub(terms.total()).unwrap_or(Amount::ZERO);
    let back = match source {
        Source::Wallet => Some(terms.collateral),
        Source::Collateral => terms.collateral.checked_sub(draft.owed),
    };
    let coins: Vec<OutPoint> = draft.chosen.iter().map(|coin| coin.outpoint).collect();
    let back_fee = coin::fee_of_taking_back(tools, &coins, fee, &draft.unsigned).await?;
    Ok(PreviewView {
        fee_sats: Some(fee.to_sat()),
        back_fee_sats: Some(back_fee.to_sat()),
        ahead_sats: ahead.to_sat(),
        sat_per_vb: Some(draft.fee_rate),
        coins: u64::try_from(draft.chosen.len()).unwrap_or(u64::MAX),
        pays_sats: draft.owed.to_sat(),
        gets_sats: back.unwrap_or(Amount::ZERO).to_sat(),
        owed_cents: terms.repayment_at(draft.at).0,
        price_cents: Some(draft.price.0),
        irrevocable: true,
        ..PreviewView::default()
    })
}

/// Lender: the repayment a borrower without a coin asked for, out of the collateral, with a coin of ours.
pub async fn propose_for_borrower(tools: Arc<Tools>, loan: Arc<Loan>) -> Result<Outcome, Trouble> {
    if loan.lender_proposals >= LENDER_PROPOSALS {
        let message = format!(
            "{LENDER_PROPOSALS} repayments were proposed for this loan and not taken, and this lender proposes no more. Ways round: \
             send any coin to `wallet address` and repay from the collateral by a proposal of your own, or wait for the due time"
        );
        return Err(Trouble::refuse(ErrorCode::Repayment, message));
    }
    // The borrower waits for a word; what is wrong here in detail is not its business.
    let input = sign_proposal(&tools, &loan, Source::Collateral).await.map_err(|trouble| match trouble {
        refusal @ Trouble::Refuse { code: ErrorCode::Repayment, .. } => refusal,
        other => {
            tracing::warn!(loan = %loan.id, "no repayment proposed: {}", other.message());
            Trouble::refuse(
                ErrorCode::Unavailable,
                "this lender can propose no repayment right now; ask again in a while",
            )
        }
    })?;
    Ok(Outcome::Inputs(loan.id, vec![input]))
}

/// A repayment as it would be, its change to no address yet.
struct Draft {
    price: Cents,
    at: Time,
    owed: Amount,
    fee_rate: u64,
    chosen: Vec<Coin>,
    unsigned: Transaction,
}

impl Draft {
    fn coins(&self) -> Vec<(OutPoint, TxOut)> {
        self.chosen.iter().map(|coin| (coin.outpoint, coin.txout.clone())).collect()
    }

    fn outputs(&self) -> Vec<TxOut> {
        self.chosen.iter().map(|coin| coin.txout.clone()).collect()
    }
}

/// A repayment at a fresh price, its coins ours.
async fn draft(tools: &Tools, loan: &Loan, source: Source) -> Result<Draft, Trouble> {
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let proposer = loan.role;
    let (at, spot) = price_now(tools, loan).await?;
    let price = proposal::price_offered(proposer, spot);
    let level = loan.level_now(at);
    if let Some(why) = proposal::why_recall(proposer, price, spot, level) {
        return Err(Trouble::refuse(ErrorCode::Repayment, format!("no repayment is proposed now: {why}")));
    }
    let owed = owed_sats(loan, at, price)?;
    let estimate = tools.fee_estimate().await?.0;
    // The estimate is not above the cap, and the other side asks for no more than that.
    let fee_rate = proposal::fee_rate_offered(estimate).min(tools.chain.fee_cap().to_sat_per_vb_ceil());
    let rate = FeeRate::from_sat_per_vb(fee_rate).unwrap_or(FeeRate::BROADCAST_MIN);
    let spare = Amount::from_sat(REPAY_VBYTES.saturating_mul(fee_rate).saturating_add(2_000));
    let target = match source {
        Source::Wallet => owed.checked_add(spare).unwrap_or(Amount::MAX_MONEY),
        Source::Collateral => spare,
    };
    let chosen = match proposer {
        Role::Borrower => lock(&tools.wallet).select(target, rate).map_err(|e| too_little(e, source))?,
        Role::Lender => vec![one_coin(tools, target, estimate)?],
    };
    require_few(&chosen, estimate)?;
    let change_script = lock(&tools.wallet).any_script();
    let coins = chosen.iter().map(|coin| (coin.outpoint, coin.txout.clone())).collect();
    let parts = RepayParts { proposer, source, owed, coins, change_script, fee_rate };
    let unsigned = repay::transaction(&loan.terms, skeleton, &parts).map_err(not_repaid)?;
    Ok(Draft { price, at, owed, fee_rate, chosen, unsigned })
}

fn not_repaid(e: crate::contract::ContractError) -> Trouble {
    Trouble::refuse(ErrorCode::Repayment, e)
}

/// A repayment at a fresh price, its coins ours, signed on our side.
async fn sign_proposal(tools: &Tools, loan: &Loan, source: Source) -> Result<Input, Trouble> {
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let (proposer, refuse) = (loan.role, not_repaid);
    // The other side may ask as often as it likes: only what can be paid takes an address.
    let draft = draft(tools, loan, source).await?;
    let (owed, fee_rate, coins) = (draft.owed, draft.fee_rate, draft.coins());
    let change_script = lock(&tools.wallet).new_address()?.script_pubkey();
    let parts = RepayParts { proposer, source, owed, coins: coins.clone(), change_script, fee_rate };
    let unsigned = repay::transaction(&loan.terms, skeleton, &parts).map_err(refuse)?;
    let previous = |outpoint: &OutPoint| {
        draft.chosen.iter().find(|coin| coin.outpoint == *outpoint).map(|coin| (*coin.previous_tx).clone())
    };
    let mut psbt = repay::psbt(&unsigned, skeleton, &coins, previous).map_err(refuse)?;
    lock(&tools.wallet).sign_inputs(&mut psbt)?;
    let keys = checks::keys(tools, loan)?;
    let proposal = repay::propose(skeleton, &keys.funding, &psbt).map_err(refuse)?;
    Ok(Input::Repaying(Repayment {
        proposer,
        transaction: proposal.transaction,
        half: proposal.half,
        price: draft.price,
        at: draft.at,
        owed: loan.terms.repayment_at(draft.at),
        source,
    }))
}

/// What the wallet lacks, and the way round.
fn too_little(e: Error, source: Source) -> Trouble {
    match (&e, source) {
        (Error::Insufficient { .. }, Source::Wallet) => Trouble::Later(format!(
            "{e}. The debt can be paid out of the collateral instead: `loan repay LOAN --from collateral`"
        )),
        _ => e.into(),
    }
}

/// Lender: the smallest coin that is enough, the coin kept for fees last. More than one the borrower, who pays for them,
/// would refuse.
fn one_coin(tools: &Tools, target: Amount, estimate: u64) -> Result<Coin, Trouble> {
    let least = target.max(proposal::coin_least(estimate));
    let wallet = lock(&tools.wallet);
    let kept = wallet.reserve_coin().map(|coin| coin.outpoint);
    let enough = wallet.free_coins().into_iter().filter(|coin| coin.txout.value >= least);
    enough.min_by_key(|coin| (Some(coin.outpoint) == kept, coin.txout.value)).ok_or_else(|| {
        let text = format!(
            "no coin of this wallet is worth {least}, which a repayment for a borrower without a coin needs: make one with \
             `wallet send` to an address of your own"
        );
        Trouble::Later(text)
    })
}

/// What the other side would refuse is said before it is signed.
fn require_few(chosen: &[Coin], estimate: u64) -> Result<(), Trouble> {
    let least = proposal::coin_least(estimate);
    let small = chosen.iter().find(|coin| coin.txout.value < least);
    if chosen.len() <= repay::MAX_COINS && small.is_none() {
        return Ok(());
    }
    let what = match small {
        Some(coin) => format!("a coin of {}, and at these fees each must be worth {least}", coin.txout.value),
        None => format!("{} coins of yours, and it may spend {}", chosen.len(), repay::MAX_COINS),
    };
    let remedy = "make one coin of them with `wallet send` to an address of your own, and repay when that is confirmed";
    Err(Trouble::refuse(ErrorCode::Coins, format!("the repayment would spend {what}: {remedy}")))
}

/// The sats that pay the debt at `price`, and no better for either side than what it took back within a day.
fn owed_sats(loan: &Loan, at: Time, price: Cents) -> Result<Amount, Trouble> {
    let owed = repayment_ceil(&loan.terms, at, price).ok_or_else(|| Trouble::later("the debt cannot be computed"))?;
    Ok(loan.claim_bound(owed, at))
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
    if !loan.is_repayable() {
        return Err(Trouble::refuse(ErrorCode::Stage, format!("the loan is {}; it cannot be repaid now", loan.stage)));
    }
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    let (proposal, source) = message.proposal().map_err(|e| Trouble::refuse(ErrorCode::Repayment, e))?;
    // Whatever can be told without asking an oracle is told before: a peer must not make this node ask for nothing.
    let heard = tools.now()?;
    require_timely(message.at, heard)?;
    let counted = proposal::counted_at(proposer, message.at, heard);
    // The other side's coins are spent: whether it relays bitcoind says of what is completed.
    let estimate = tools.capped_estimate().await?.0;
    let coins = coins_of(&tools, proposer, &proposal, estimate).await?;
    let (least, fees) = requires(&loan, skeleton, &proposal, &coins, (counted, message.price), estimate)?;
    repay::check(skeleton, &proposal, &coins, proposer, least, &fees)
        .map_err(|e| Trouble::refuse(ErrorCode::Repayment, e))?;
    let (now, spot) = price_now(&tools, &loan).await?;
    require_timely(message.at, now)?;
    if let Some(why) = proposal::why_unfair(proposer, spot, message.price) {
        return Err(Trouble::refuse(ErrorCode::Repayment, why));
    }
    let keys = checks::keys(&tools, &loan)?;
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
        at: counted,
        owed: loan.terms.repayment_at(counted),
        source,
    };
    Ok(Outcome::Inputs(loan.id, vec![Input::Repaying(repayment)]))
}

/// A proposal counts the debt at about now.
fn require_timely(at: Time, now: Time) -> Result<(), Trouble> {
    match proposal::is_alive(at, now) && at.since(now) <= deadline::SPOT_FRESH {
        true => Ok(()),
        false => Err(Trouble::refuse(ErrorCode::Repayment, format!("it counts the debt at {at}, and it is {now}"))),
    }
}

/// The outputs a proposal's coins spend: few, unspent, confirmed, and worth more than their fee.
async fn coins_of(tools: &Tools, proposer: Role, proposal: &Proposal, estimate: u64) -> Result<Vec<TxOut>, Trouble> {
    let refuse = |text: String| Trouble::refuse(ErrorCode::Repayment, text);
    let coins = proposal.transaction.input.len().saturating_sub(1);
    repay::require_few(proposer, coins).map_err(|e| Trouble::refuse(ErrorCode::Repayment, e))?;
    let least = proposal::coin_least(estimate);
    let mut coins = Vec::new();
    for input in proposal.transaction.input.iter().skip(1) {
        let coin = tools.chain.coin_with_mempool(input.previous_output).await?;
        let Some(coin) = coin.filter(crate::chain::Coin::is_ready) else {
            let text = format!(
                "coin {} is not an unspent confirmed coin, or a mining reward below 100 blocks",
                input.previous_output
            );
            return Err(checks::missing(tools, ErrorCode::Repayment, text).await);
        };
        if coin.txout.value < least {
            let text =
                format!("coin {} is worth {}, at these fees at least {least}", input.previous_output, coin.txout.value);
            return Err(refuse(text));
        }
        coins.push(coin.txout);
    }
    Ok(coins)
}

/// What our own output of a proposal must hold, and what it may pay to miners.
fn requires(
    loan: &Loan,
    skeleton: &Skeleton,
    proposal: &Proposal,
    coins: &[TxOut],
    (at, price): (Time, Cents),
    estimate: u64,
) -> Result<(Amount, RangeInclusive<Amount>), Trouble> {
    let range = || Trouble::later("the debt cannot be computed");
    let proposer = loan.role.other();
    let owed = owed_sats(loan, at, price)?;
    let ahead = skeleton.funding_value.checked_sub(loan.terms.total()).ok_or_else(range)?;
    let fees = proposal::fee_range(repay::size(&proposal.transaction), estimate, ahead);
    let least = match proposer {
        Role::Borrower => owed.checked_add(loan.terms.stake),
        // The collateral less the debt and the fee, no higher than it may be; what was paid ahead helps.
        Role::Lender => {
            let back = loan.terms.collateral.checked_sub(owed).and_then(|back| back.checked_add(ahead));
            let fee = repay::fee(skeleton, &proposal.transaction, coins).unwrap_or(Amount::ZERO);
            back.and_then(|back| back.checked_sub(fee.min(*fees.end())))
        }
    };
    Ok((least.ok_or_else(range)?, fees))
}
