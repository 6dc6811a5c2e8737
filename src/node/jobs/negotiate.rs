//! The steps of a negotiation: each checks the message before it and signs the next.

use super::checks::{coins_exist, keys, may_sign};
use super::Outcome;
use crate::contract::accept::{self, AcceptParts};
use crate::contract::offer::{self, FundingCoin, OfferParts};
use crate::contract::{sign, wire};
use crate::node::tools::{lock, Tools, Trouble};
use crate::protocol::{ErrorCode, Input, Loan};
use crate::wallet::Coin;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::SECP256K1;
use bitcoin::{OutPoint, ScriptBuf};
use std::sync::Arc;

/// Runs arithmetic on a thread of its own; a panic in it is a trouble, not the node's end.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::contract::ContractError> + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Trouble::refuse(ErrorCode::Contract, "the message could not be processed"))?
        .map_err(|e| Trouble::refuse(ErrorCode::Contract, e))
}

fn fresh_script(tools: &Tools) -> Result<ScriptBuf, Trouble> {
    Ok(lock(&tools.wallet).new_address()?.script_pubkey())
}

/// Our coins set aside for the loan, with their transactions.
fn own_coins(tools: &Tools, outpoints: &[OutPoint]) -> Result<Vec<FundingCoin>, Trouble> {
    let known: Vec<Coin> = lock(&tools.wallet).coins();
    outpoints
        .iter()
        .map(|outpoint| {
            let coin = known.iter().find(|coin| coin.outpoint == *outpoint && coin.confirmations > 0);
            let coin =
                coin.ok_or_else(|| Trouble::Later(format!("our coin {outpoint} is not there or not confirmed")))?;
            Ok(FundingCoin { previous: (*coin.previous_tx).clone(), vout: coin.outpoint.vout })
        })
        .collect()
}

/// Borrower: makes the offer.
pub async fn make_offer(tools: Arc<Tools>, loan: Arc<Loan>) -> Result<Outcome, Trouble> {
    let coins = own_coins(&tools, &loan.coins)?;
    let funding_key = keys(&tools, &loan)?.funding.public_key(SECP256K1);
    // Addresses last: what fails before them is tried again.
    let (payout_script, change_script) = (fresh_script(&tools)?, fresh_script(&tools)?);
    let parts = OfferParts { funding_key, payout_script, change_script, coins };
    let id = loan.id;
    let offer = compute(move || offer::make(&loan.terms, &loan.announcements, parts)).await?;
    Ok(Outcome::Inputs(id, vec![Input::Offered { offer: wire::write(&offer) }]))
}

/// Lender: checks the offer and accepts it.
pub async fn answer_offer(tools: Arc<Tools>, loan: Arc<Loan>, bytes: Vec<u8>) -> Result<Outcome, Trouble> {
    may_sign(&tools, &loan).await?;
    let id = loan.id;
    let (snapshot, copy) = (loan.clone(), bytes.clone());
    let checked = compute(move || offer::check(&snapshot.terms, &snapshot.announcements, &copy)).await?;
    // Whose they are, what else they are promised for and how often they were shown is known of the proved coins alone.
    let stray = checked.coins.iter().find(|(coin, _)| !loan.proven.contains(coin));
    if let Some((coin, _)) = stray {
        let text = format!("offer.funding_inputs is {coin}, expected the coins that its `Borrow` proved");
        return Err(Trouble::refuse(ErrorCode::Contract, text));
    }
    coins_exist(&tools, &checked.coins).await?;
    let coin = own_coins(&tools, &loan.coins)?.pop().ok_or_else(|| Trouble::later("our coin is gone"))?;
    let funding_key = keys(&tools, &loan)?.funding;
    let parts = AcceptParts { funding_key, payout_script: fresh_script(&tools)?, coin };
    let accepted = compute(move || accept::make(&loan.terms, &loan.announcements, checked, parts)).await?;
    let input = Input::Accepted {
        offer: bytes,
        accept: wire::write(&accepted.accept),
        fallback: accepted.fallback,
        skeleton: accepted.built.skeleton,
    };
    Ok(Outcome::Inputs(id, vec![input]))
}

/// Borrower: checks the accept and signs.
pub async fn answer_accept(
    tools: Arc<Tools>,
    loan: Arc<Loan>,
    bytes: Vec<u8>,
    lender_fallback: Signature,
) -> Result<Outcome, Trouble> {
    may_sign(&tools, &loan).await?;
    let id = loan.id;
    let offer = loan.messages.read_offer().ok_or_else(|| Trouble::later("our offer cannot be read"))?;
    let (snapshot, copy, theirs) = (loan.clone(), bytes.clone(), offer.clone());
    let checked =
        compute(move || accept::check(&snapshot.terms, &snapshot.announcements, &theirs, &copy, &lender_fallback))
            .await?;
    coins_exist(&tools, std::slice::from_ref(&checked.coin)).await?;
    let built = checked.built;
    let mut psbt = built.funding_psbt(&offer, &checked.accept).map_err(|e| Trouble::refuse(ErrorCode::Contract, e))?;
    lock(&tools.wallet).sign_inputs(&mut psbt)?;
    let key = keys(&tools, &loan)?.funding;
    let skeleton = built.skeleton.clone();
    let signed = compute(move || sign::make(&built, &offer, &key, &psbt)).await?;
    let input = Input::Signed {
        accept: bytes,
        lender_fallback,
        sign: wire::write(&signed.sign),
        fallback: signed.fallback,
        skeleton,
    };
    Ok(Outcome::Inputs(id, vec![input]))
}

/// Lender: checks the sign and completes the funding transaction.
pub async fn answer_sign(
    tools: Arc<Tools>,
    loan: Arc<Loan>,
    bytes: Vec<u8>,
    borrower_fallback: Signature,
) -> Result<Outcome, Trouble> {
    may_sign(&tools, &loan).await?;
    let id = loan.id;
    // A coin that was spent meanwhile says so itself; nothing is made or tried for it.
    coins_exist(&tools, &loan.messages.funding_coins()).await?;
    let unread = || Trouble::later("our own messages cannot be read");
    let offer = loan.messages.read_offer().ok_or_else(unread)?;
    let accept = loan.messages.read_accept().ok_or_else(unread)?;
    let (copy, the_offer, the_accept) = (bytes.clone(), offer.clone(), accept.clone());
    let snapshot = loan.clone();
    let checked = compute(move || {
        let (terms, announcements) = (&snapshot.terms, &snapshot.announcements);
        sign::check(terms, announcements, &the_offer, &the_accept, &copy, &borrower_fallback)
    })
    .await?;
    let built = &checked.built;
    let mut psbt = built.funding_psbt(&offer, &accept).map_err(|e| Trouble::refuse(ErrorCode::Contract, e))?;
    lock(&tools.wallet).sign_inputs(&mut psbt)?;
    let transaction =
        sign::complete(&checked, &offer, &accept, &psbt).map_err(|e| Trouble::refuse(ErrorCode::Contract, e))?;
    if let Err(e) = tools.chain.test_accept(&transaction).await {
        return Err(match e.rejection() {
            Some(rejected) => Trouble::refuse(ErrorCode::Funding, rejected),
            None => Trouble::later(e),
        });
    }
    Ok(Outcome::Inputs(id, vec![Input::Funded { sign: bytes, borrower_fallback, transaction }]))
}
