//! Whether a loan that a peer gives back is one, and ours: the cheap questions first, so that a stranger's costs little.

use super::negotiate::compute;
use super::Outcome;
use crate::chain::Seen;
use crate::contract::recover::{self, LoanFile, Outline};
use crate::contract::Role;
use crate::loan::terms::Terms;
use crate::node::recovery::{Candidate, Found};
use crate::node::tools::{lock, Tools, Trouble};
use crate::protocol::given_back::events;
use crate::protocol::Block;
use bitcoin::secp256k1::PublicKey;
use std::sync::Arc;

/// Why a file leads to no loan.
enum No {
    /// None of ours, whatever it is.
    Foreign(String),
    /// One of ours, and not as it should be.
    Refused(String),
    /// Asking again helps.
    Later(String),
}

impl From<crate::chain::Error> for No {
    fn from(e: crate::chain::Error) -> No {
        No::Later(e.to_string())
    }
}

/// Looks at a loan that a peer gave back.
pub async fn check(tools: Arc<Tools>, candidate: Arc<Candidate>) -> Result<Outcome, Trouble> {
    let found = match recovered(&tools, &candidate).await {
        Ok(found) => found,
        Err(No::Foreign(why)) => Found::Foreign(why),
        Err(No::Refused(why)) => Found::Refused(why),
        Err(No::Later(why)) => Found::Later(why),
    };
    Ok(Outcome::Recovered(candidate, Box::new(found)))
}

async fn recovered(tools: &Tools, candidate: &Candidate) -> Result<Found, No> {
    let foreign = |e: &dyn std::fmt::Display| No::Foreign(e.to_string());
    let file = LoanFile::from_tlv(&candidate.bytes).map_err(|e| foreign(&e))?;
    let terms = Terms::read(&file.terms.0).map_err(|e| foreign(&e))?;
    let role = role(tools.node_id(), candidate, &terms).map_err(No::Foreign)?;
    if terms.chain != tools.chain_hash() {
        return Err(No::Foreign("its terms are of another chain".into()));
    }
    let outline = Outline::read(&file).map_err(|e| foreign(&e))?;
    is_ours(tools, role, &outline).map_err(No::Foreign)?;
    // From here on its funding transaction is one that spends our coins: if a block has it, we signed it.
    let tip = tools.chain.tip().await?;
    let (seen, block) = funding(tools, &outline).await?;
    let (copy, of) = (file.clone(), terms.clone());
    let recovered = compute(move || recover::check(&of, &copy)).await.map_err(|e| No::Refused(e.message().into()))?;
    if recovered.skeleton != outline.skeleton {
        return Err(No::Refused("its messages are of two contracts".into()));
    }
    let about = match role {
        Role::Borrower => terms.id().0,
        Role::Lender => terms.lender_nonce,
    };
    let later = |e: crate::wallet::Error| No::Later(e.to_string());
    let key_index = tools.seed.loan_index(&about).map_err(later)?;
    let keys = tools.seed.loan_keys(&key_index).map_err(later)?;
    let has_keys = keys.funding.public_key(bitcoin::secp256k1::SECP256K1) == *recovered.skeleton.key_of(role);
    if !lock(&tools.wallet).keep_script(recovered.skeleton.script_of(role)).map_err(later)? {
        return Err(No::Refused("it pays an address that is none of this wallet's".into()));
    }
    if tools.chain.tip().await?.hash != tip.hash {
        return Err(No::Later("a block came while it was looked at".into()));
    }
    let events = events((role, candidate.peer, key_index), terms, file, recovered, (seen.transaction, block));
    Ok(Found::Loan { events, tip: tip.hash, has_keys })
}

/// Our side of it: the other must be the one who gives it back.
fn role(us: PublicKey, candidate: &Candidate, terms: &Terms) -> Result<Role, String> {
    let role = match (terms.borrower == us, terms.lender == us) {
        (true, false) => Role::Borrower,
        (false, true) => Role::Lender,
        _ => return Err("its terms are between others".into()),
    };
    let other = if role == Role::Borrower { terms.lender } else { terms.borrower };
    if other != candidate.peer {
        return Err(format!("its terms are with {other}"));
    }
    match terms.id() == candidate.loan {
        true => Ok(role),
        false => Err(format!("its terms are those of loan {}", terms.id())),
    }
}

/// Requires that the funding transaction spends coins of this wallet, and that every exit pays it.
fn is_ours(tools: &Tools, role: Role, outline: &Outline) -> Result<(), String> {
    let wallet = lock(&tools.wallet);
    if !outline.coins_of(role).iter().all(|coin| wallet.is_ours(&coin.script_pubkey)) {
        return Err("its funding transaction spends coins that were never this wallet's".into());
    }
    match wallet.is_ours(outline.skeleton.script_of(role)) {
        true => Ok(()),
        false => Err("it pays an address that is none of this wallet's".into()),
    }
}

/// The funding transaction as our own chain has it, its output unspent in every block.
async fn funding(tools: &Tools, outline: &Outline) -> Result<(Seen, Block), No> {
    let outpoint = outline.skeleton.funding;
    let seen = tools.chain.transaction(outpoint.txid).await?;
    let placed = seen.and_then(|seen| seen.confirmed.map(|place| (seen, place)));
    let Some((seen, place)) = placed else {
        let text = format!(
            "its funding transaction {} is in no block; while it is in none this node's coins move, and it may never be",
            outpoint.txid
        );
        return Err(No::Refused(text));
    };
    let coin = tools.chain.coin(outpoint).await?.ok_or_else(|| {
        No::Refused(format!("its funding output {outpoint} is spent: it ended, and what it paid you is in the wallet"))
    })?;
    match coin.txout.value == outline.skeleton.funding_value {
        true => Ok((seen, Block { height: place.height, hash: place.hash })),
        false => Err(No::Refused(format!("its funding output {outpoint} is worth {}", coin.txout.value))),
    }
}
