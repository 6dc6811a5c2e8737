//! Bringing an exit to the chain, and paying for it by a child where what it pays itself is not enough.

use super::Outcome;
use crate::chain::{self, Child, Family};
use crate::contract::Skeleton;
use crate::crash;
use crate::loan::terms::LoanId;
use crate::node::exits::{Kept, Look};
use crate::node::tools::{lock, Tools, Trouble};
use crate::protocol::event::Repayment;
use crate::protocol::{Input, Loan};
use crate::settlement::bump::{Bump, Paid, Rival, Theirs, Waiting};
use crate::settlement::child::{self, Next};
use crate::settlement::counting;
use crate::wallet::Coin;
use bitcoin::{Amount, Transaction, Txid};
use std::sync::Arc;

/// One look at the exit a loan wants: is it out, is it paid enough for, and what keeps it.
pub async fn mind(tools: Arc<Tools>, loan: Arc<Loan>, exit: Transaction, height: u32) -> Result<Outcome, Trouble> {
    let txid = exit.compute_txid();
    let mut kept = lock(&tools.exits).begin(loan.id, txid, height).map_err(Trouble::later)?;
    let mut refused = None;
    match tools.chain.transaction(txid).await? {
        Some(seen) if seen.confirmed.is_some() => return Ok(Outcome::Nothing),
        Some(_) => {}
        None => refused = refusal(super::coin::bring_out(&tools, &exit).await)?,
    }
    if refused.is_some() {
        if let Some(spent) = rival_of_repayment(&tools, &loan, txid).await? {
            return Ok(Outcome::Inputs(loan.id, vec![spent]));
        }
    }
    let skeleton = loan.skeleton.as_ref().ok_or_else(|| Trouble::later("the contract is not signed"))?;
    if refused.is_some() && tools.chain.coin(skeleton.funding).await?.is_none() {
        // A block that we have not read yet ended the loan.
        return Ok(Outcome::Nothing);
    }
    let family = tools.chain.family(txid).await?;
    if family.is_some() {
        kept = keep(&tools, loan.id, &kept, kept.clone().counts_again(height))?;
    }
    let waiting = waiting(&tools, &loan, &exit, skeleton, &kept, family.as_ref(), height).await?;
    kept = keep(&tools, loan.id, &kept, kept.clone().at_cap(height, counting::at_cap(&waiting)))?;
    let mut is_out = is_child_out(&tools, &kept).await?;
    let next = child::next(&waiting, is_out);
    if let Next::Other(made) = next {
        kept = sign(&tools, &loan, &exit, kept, made)?;
    }
    let handed_in = kept.child.as_ref().filter(|_| next != Next::Nothing);
    if let Some((child, _)) = handed_in {
        refused = hand_in(&tools, &exit, child, family.is_some()).await?;
        is_out = refused.is_none();
    }
    if family.is_none() {
        let child = kept.paid().filter(|_| next != Next::Nothing);
        kept = count(&tools, loan.id, &kept, &waiting, (refused.as_deref(), child), height)?;
    }
    let is_child_idle = next == Next::Nothing && !is_out;
    let family = tools.chain.family(txid).await?;
    let ours = kept.paid().filter(|_| is_out);
    let theirs = family.as_ref().and_then(|family| best_of_others(family, &kept));
    let paid = Waiting { ours, theirs, ..waiting }.best();
    let refused = match refused.filter(|_| family.is_none()) {
        Some(reason) => Some(child::why(&waiting, reason, tools.chain.relay_minimum().await?.to_sat_per_vb_ceil())),
        None => None,
    };
    Ok(Outcome::Exit(loan.id, Look { txid, paid, refused, is_child_idle }))
}

/// Do the blocks count that pass now? Not while bitcoind refuses the exit though it, with the child that was handed in, pays
/// enough.
fn count(
    tools: &Tools,
    id: LoanId,
    kept: &Kept,
    waiting: &Waiting,
    (refused, child): (Option<&str>, Option<Paid>),
    height: u32,
) -> Result<Kept, Trouble> {
    let in_vain = refused.is_some_and(|reason| counting::is_in_vain(waiting, reason, child));
    let counted = match in_vain {
        true => kept.clone().refused_in_vain(height),
        false => kept.clone().counts_again(height),
    };
    keep(tools, id, kept, counted)
}

/// On disk where it has changed.
fn keep(tools: &Tools, id: LoanId, before: &Kept, kept: Kept) -> Result<Kept, Trouble> {
    match *before == kept {
        true => Ok(kept),
        false => lock(&tools.exits).keep(id, kept).map_err(Trouble::later),
    }
}

/// Has bitcoind the child as it was last signed?
async fn is_child_out(tools: &Tools, kept: &Kept) -> Result<bool, Trouble> {
    let Some((child, _)) = &kept.child else { return Ok(false) };
    Ok(tools.chain.transaction(child.compute_txid()).await?.is_some())
}

/// What spends a coin of the repayment that is not taken: it may have come between our last look at the mempool and the
/// record that made us watch for it, and what the mempool holds is told once.
async fn rival_of_repayment(tools: &Tools, loan: &Loan, txid: Txid) -> Result<Option<Input>, Trouble> {
    let open = loan.repayment.as_ref().filter(|open| open.transaction.compute_txid() == txid);
    for outpoint in open.into_iter().flat_map(Repayment::coins) {
        if let Some(transaction) = tools.chain.spender(outpoint).await? {
            return Ok(Some(Input::Spent { outpoint, transaction, block: None }));
        }
    }
    Ok(None)
}

/// The reason of a refusal; other failures are ours to try again.
fn refusal(result: Result<(), chain::Error>) -> Result<Option<String>, Trouble> {
    match result {
        Ok(()) => Ok(None),
        Err(e) => e.rejection().map(|no| Some(no.reason.clone())).ok_or_else(|| Trouble::later(&e)),
    }
}

/// Everything the rule asks about.
async fn waiting(
    tools: &Tools,
    loan: &Loan,
    exit: &Transaction,
    skeleton: &Skeleton,
    kept: &Kept,
    family: Option<&Family>,
    height: u32,
) -> Result<Waiting, Trouble> {
    let size = u64::try_from(exit.vsize()).unwrap_or(u64::MAX);
    let fee = match family {
        Some(family) => family.fee,
        None => fee_of(tools, exit, skeleton).await?,
    };
    let other = loan.exit.as_ref().map(|exit| &exit.seen.transaction);
    let other = other.filter(|other| other.compute_txid() != kept.txid && family.is_none());
    let stands = match other {
        Some(other) => tools.chain.family(other.compute_txid()).await?,
        None => None,
    };
    let rival = stands.as_ref().map(rival_of);
    let output = lock(&tools.wallet).output_of(exit).map_or(Amount::ZERO, |(_, out)| out.value);
    Ok(Waiting {
        role: loan.role,
        is_truc: exit.version.0 == 3 && tools.chain.enforces_version_3().await?,
        blocks: kept.blocks(height),
        estimate: tools.capped_estimate().await?.0,
        cap: tools.chain.fee_cap().to_sat_per_vb_ceil(),
        exit: Paid { fee, size },
        is_relayed: family.is_some(),
        ours: kept.paid(),
        theirs: family.and_then(|family| best_of_others(family, kept)),
        rival,
        output,
        reserve: reserve(tools, kept).map(|coin| coin.txout.value),
        most: loan.worth_of(exit, other.filter(|_| rival.is_some())),
    })
}

/// What a transaction pays that no mempool holds: its inputs less its outputs.
async fn fee_of(tools: &Tools, exit: &Transaction, skeleton: &Skeleton) -> Result<Amount, Trouble> {
    let mut brought = 0u64;
    for input in &exit.input {
        let value = match input.previous_output == skeleton.funding {
            true => skeleton.funding_value,
            false => {
                let coin = tools.chain.coin(input.previous_output).await?;
                coin.ok_or_else(|| Trouble::later("a coin of the exit is spent"))?.txout.value
            }
        };
        brought = brought.saturating_add(value.to_sat());
    }
    let paid = exit.output.iter().map(|out| out.value.to_sat()).fold(0, u64::saturating_add);
    Ok(Amount::from_sat(brought.saturating_sub(paid)))
}

/// The best child in the mempool that is not ours.
fn best_of_others(family: &Family, kept: &Kept) -> Option<Theirs> {
    let ours = kept.child.as_ref().map(|(child, _)| child.compute_txid());
    let others = family.children.iter().filter(|child| Some(child.txid) != ours);
    let rate = |child: &&Child| package_of(child).rate_floor();
    let best = others.max_by_key(rate)?;
    Some(Theirs { child: Paid { fee: best.fee, size: best.size }, package: package_of(best) })
}

fn package_of(child: &Child) -> Paid {
    Paid { fee: child.package_fee, size: child.package_size }
}

fn rival_of(family: &Family) -> Rival {
    let alone = Paid { fee: family.fee, size: family.size };
    let all = family.children.iter().map(package_of).chain([alone]);
    let rate = all.map(|paid| paid.fee.to_sat().div_ceil(paid.size.max(1))).max().unwrap_or(0);
    Rival { fee: family.all, rate }
}

/// The coin that may be added to a child: the one in it already, or the one set aside.
fn reserve(tools: &Tools, kept: &Kept) -> Option<Coin> {
    let used = kept.child.as_ref().and_then(|(child, _)| child.input.get(1)).map(|input| input.previous_output);
    let wallet = lock(&tools.wallet);
    match used {
        Some(used) => wallet.coins().into_iter().find(|coin| coin.outpoint == used && coin.confirmations > 0),
        None => wallet.reserve_coin(),
    }
}

/// Signs a child and keeps it: on disk before it leaves.
fn sign(tools: &Tools, loan: &Loan, exit: &Transaction, kept: Kept, made: Bump) -> Result<Kept, Trouble> {
    let beside = if made.with_reserve { reserve(tools, &kept) } else { None };
    let to = kept.child.as_ref().and_then(|(child, _)| child.output.first()).map(|out| out.script_pubkey.clone());
    let payment = {
        let mut wallet = lock(&tools.wallet);
        let payment = wallet.child(exit, made.fee, beside.as_ref(), to)?;
        wallet.reserve(&beside.iter().map(|coin| coin.outpoint).collect::<Vec<_>>());
        payment
    };
    let child = Some((payment.transaction, payment.fee.to_sat()));
    let kept = lock(&tools.exits).keep(loan.id, Kept { child, ..kept }).map_err(Trouble::later)?;
    tracing::info!(loan = %loan.id, exit = %kept.txid, fee = made.fee.to_sat(), "a child pays for the exit");
    Ok(kept)
}

/// Hands the child in, and the exit with it where it is not taken alone.
async fn hand_in(
    tools: &Tools,
    exit: &Transaction,
    child: &Transaction,
    is_relayed: bool,
) -> Result<Option<String>, Trouble> {
    if tools.chain.transaction(child.compute_txid()).await?.is_some() {
        return Ok(None);
    }
    crash::point("before-package");
    let result = match is_relayed {
        true => super::coin::bring_out(tools, child).await,
        false => tools.chain.submit_package(exit, child).await,
    };
    let refused = refusal(result)?;
    crash::point("after-package");
    if let Some(why) = &refused {
        tracing::info!(exit = %exit.compute_txid(), child = %child.compute_txid(), "not taken: {why}");
    }
    Ok(refused)
}
