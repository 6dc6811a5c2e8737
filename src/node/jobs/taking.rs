//! A quote that its borrower takes, as the lender looks at it: the coins are there, and what the contract is locked to.

use super::checks::missing;
use super::quote::fetch;
use super::{Given, Outcome};
use crate::contract::offer::{borrower_shares, cost_of_lending, lender_coin_value};
use crate::contract::{receipt, wire, Role};
use crate::loan::terms::Terms;
use crate::node::approval::Begun;
use crate::node::handle::Reply;
use crate::node::shown::InVain;
use crate::node::tools::{lock, Tools, Trouble};
use crate::node::view::{LoanView, PreviewView};
use crate::protocol::messages::{Borrow, Coin};
use crate::protocol::{ErrorCode, Event};
use crate::settlement::deadline;
use crate::wallet::{verify_coin_proof, verify_signature, CoinProof, ProofError};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{Amount, OutPoint};
use std::collections::HashSet;
use std::sync::Arc;

/// Lender: the borrower agreed; its coins must be there, its own, and cover the collateral.
pub async fn prove(tools: Arc<Tools>, given: Given, message: Borrow, vain: InVain) -> Result<Outcome, Trouble> {
    let shown = check_coins(&tools, &given.terms, &message, &vain).await?;
    Ok(Outcome::Proved(Box::new(given), message, shown))
}

/// Lender: they are, and nothing is promised on them: what the contract is locked to.
pub async fn agree(tools: Arc<Tools>, given: Given, shown: Vec<(OutPoint, Amount)>) -> Result<Outcome, Trouble> {
    let (event, shown) = fetch_for(&tools, given, shown).await?;
    Ok(Outcome::Agree(event, shown))
}

/// Lender: the same where a person is asked first. Only the coins are looked at, and what ours would cost.
pub async fn ask_person(tools: Arc<Tools>, given: Given, message: Borrow, vain: InVain) -> Result<Outcome, Trouble> {
    let shown = check_coins(&tools, &given.terms, &message, &vain).await?;
    let rate = tools.chain.fee_rate().await?;
    // Where none can be made there is nothing to approve, which is said then.
    let making = lock(&tools.wallet).coin_cost(given.coin, rate).unwrap_or(Amount::ZERO);
    Ok(Outcome::Ask(Box::new(Given { making, ..given }), message, shown))
}

/// Lender: a person said yes.
pub async fn approve(
    tools: Arc<Tools>,
    given: Given,
    message: Borrow,
    reply: Reply<LoanView>,
) -> Result<Outcome, Trouble> {
    let id = given.terms.id();
    // How often they were shown was looked at before a person was asked.
    let looked = look(&tools, given, &message, &InVain::default()).await;
    Ok(Outcome::Approved(id, looked, reply))
}

/// Lender: what lending would take and cost.
pub async fn preview(tools: &Tools, terms: &Terms) -> Result<PreviewView, Trouble> {
    let coin = lender_coin_value(terms).map_err(Trouble::later)?;
    let rate = tools.chain.fee_rate().await?;
    let making = lock(&tools.wallet).coin_cost(coin, rate)?;
    let fee = cost_of_lending(terms, making).map_err(Trouble::later)?;
    Ok(PreviewView {
        fee_sats: Some(fee.to_sat()),
        sat_per_vb: Some(terms.fee_rate.0),
        coins: 1,
        pays_sats: terms.principal_sats.to_sat(),
        locks_sats: terms.stake.to_sat(),
        owed_cents: terms.owed_at_due().0,
        price_cents: Some(terms.reference_price.0),
        irrevocable: true,
        ..PreviewView::default()
    })
}

async fn look(tools: &Tools, given: Given, message: &Borrow, vain: &InVain) -> Result<Begun, Trouble> {
    let shown = check_coins(tools, &given.terms, message, vain).await?;
    fetch_for(tools, given, shown).await
}

async fn fetch_for(tools: &Tools, given: Given, shown: Vec<(OutPoint, Amount)>) -> Result<Begun, Trouble> {
    let terms = given.terms;
    let keys = tools.seed.loan_keys(&given.key_index)?;
    let receipt = receipt::announce(&terms, &keys.receipt).map_err(Trouble::later)?;
    let announcements = fetch(tools, &terms, receipt).await?;
    let event = Event::Agreed {
        role: Role::Lender,
        peer: given.peer,
        terms: Box::new(terms),
        announcements: Box::new(announcements),
        key_index: given.key_index,
        coins: Vec::new(),
        proven: shown.iter().map(|(outpoint, _)| *outpoint).collect(),
    };
    Ok((Box::new(event), shown))
}

/// The coins that were proved, and what they are worth: unspent, confirmed, the borrower's, enough, and not shown in vain
/// too often.
async fn check_coins(
    tools: &Tools,
    terms: &Terms,
    message: &Borrow,
    vain: &InVain,
) -> Result<Vec<(OutPoint, Amount)>, Trouble> {
    let wrong = |text: String| Trouble::refuse(ErrorCode::Coins, text);
    tools.require_usable(&terms.oracles, terms.due())?;
    if deadline::has_expired(terms, tools.now()?) {
        let text = format!("the quote expired at {}; ask for a new one", terms.expires);
        return Err(Trouble::refuse(ErrorCode::Expired, text));
    }
    if message.coins.is_empty() || message.coins.len() > wire::MAX_INPUTS {
        return Err(wrong(format!("{} coins, 1 to {}", message.coins.len(), wire::MAX_INPUTS)));
    }
    // Only who has signed for its coins makes this node look for them.
    let proofs = message.coins.iter().map(|coin| proof_of(coin, &message.loan)).collect::<Result<Vec<_>, _>>()?;
    let mut sum = Amount::ZERO;
    let mut seen = HashSet::new();
    let mut shown = Vec::with_capacity(proofs.len());
    for proof in &proofs {
        let outpoint = proof.outpoint;
        let found = tools.chain.coin_with_mempool(outpoint).await?.filter(crate::chain::Coin::is_ready);
        let Some(found) = found.filter(|_| seen.insert(outpoint)) else {
            let text = format!(
                "coin {outpoint} is not an unspent confirmed coin, is a mining reward below 100 blocks, or is named twice"
            );
            return Err(missing(tools, ErrorCode::Coins, text).await);
        };
        verify_coin_proof(proof, &found.txout, &message.loan).map_err(|e| wrong(e.to_string()))?;
        shown.push((outpoint, found.txout.value));
        sum = sum.checked_add(found.txout.value).ok_or_else(|| wrong("their sum is too large".into()))?;
    }
    let required = borrower_shares(terms, message.coins.len()).map_err(Trouble::later)?.required;
    if sum < required {
        return Err(wrong(format!("the coins are worth {sum}, {required} are needed")));
    }
    match vain.refusal(&shown) {
        Some(text) => Err(wrong(text)),
        None => Ok(shown),
    }
}

/// A coin's proof, signed by the key that it names.
fn proof_of(coin: &Coin, loan: &[u8; 32]) -> Result<CoinProof, Trouble> {
    let outpoint = coin.outpoint();
    let unsigned = |_| ProofError::BadSignature(outpoint);
    let signature = Signature::from_compact(&coin.signature).map_err(unsigned);
    let proof = signature.map(|signature| CoinProof { outpoint, pubkey: coin.key, signature });
    let signed = proof.and_then(|proof| verify_signature(&proof, loan).map(|()| proof));
    signed.map_err(|e| Trouble::refuse(ErrorCode::Coins, e))
}
