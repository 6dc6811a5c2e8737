//! Quotes: the lender makes one from its policy, the borrower checks every word of it.

use super::{backing, Given, Got, Outcome};
use crate::contract::clauses::{self, Announcements, OracleAnnouncements};
use crate::contract::offer::{borrower_shares, cost_of_lending, lender_coin_value, lender_shares};
use crate::contract::{receipt, wire, Role};
use crate::loan::acceptable::{self, Asked, QUOTE_LIFE};
use crate::loan::earning;
use crate::loan::fees::exit_fee_rate;
use crate::loan::ltv::ltv_ceil;
use crate::loan::policy::{self, Policy};
use crate::loan::terms::Terms;
use crate::loan::tlv::Bytes;
use crate::loan::units::{cents_for_sats_floor, sats_for_cents_ceil, BasisPoints, Cents, Days, SatPerVb};
use crate::loan::version::{CURRENCY, CURVE, TERMS_VERSION, TERMS_VERSIONS, TRANSACTION_VERSION};
use crate::node::handle::Reply;
use crate::node::lending;
use crate::node::present;
use crate::node::rotations::end_of;
use crate::node::tools::{ask_all, lock, Tools, Trouble};
use crate::node::unreached;
use crate::node::vain::Vain;
use crate::node::view::{self, PreviewView, QuoteView};
use crate::oracle_client::OracleClient;
use crate::peer::{Frame, PeerAddress};
use crate::protocol::messages::{quote_digest, Coin, Quote, QuoteRequest};
use crate::protocol::{ErrorCode, Event, Loan, Message};
use crate::settlement::deadline;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{schnorr, PublicKey, SECP256K1};
use bitcoin::{Amount, FeeRate};
use rand::RngCore;
use std::sync::Arc;
use std::time::Duration;

/// A coin this near the amount asked is lent as it is, basis points.
pub const NEAR_ENOUGH: u32 = 50;
/// How long a borrower waits for a lender's answer.
const PATIENCE: Duration = Duration::from_secs(unreached::PATIENCE);
/// How long it tries an address where nothing listens: a node that is being started is there soon.
const LISTENS_SOON: Duration = Duration::from_secs(5);
/// How long it waits before it asks a lender again that is busy.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::thread_rng().fill_bytes(&mut bytes);
    bytes
}

/// Lender: a quote for a request, by the policy.
pub async fn give(
    tools: Arc<Tools>,
    peer: PublicKey,
    request: QuoteRequest,
    policy: Policy,
    exposure: Cents,
) -> Result<Outcome, Trouble> {
    let refuse = |code, message: String| Trouble::refuse(code, message);
    if request.chain != tools.chain_hash() {
        return Err(refuse(ErrorCode::Chain, format!("this lender is on {}", tools.network)));
    }
    require_agreement(&request, &policy)?;
    let due = end_of(tools.now()?, request.days);
    let (usable, others): (Vec<_>, Vec<_>) =
        request.oracles.iter().copied().partition(|oracle| tools.is_usable(oracle, due));
    let oracles = policy.choose_oracles(&usable, &tools.operators()).map_err(|e| {
        let ours: Vec<_> = others.into_iter().filter(|oracle| policy.oracles.contains(oracle)).collect();
        tools.require_usable(&ours, due).err().unwrap_or_else(|| refuse(ErrorCode::Oracle, e.to_string()))
    })?;
    // Nobody makes this node ask an oracle by asking for a quote.
    let spot = tools.watched_spot(&oracles, usize::from(policy.threshold))?;
    let rate = tools.chain.fee_rate().await?;
    let fee_rate = exit_fee_rate(SatPerVb(rate.to_sat_per_vb_ceil()));
    let asked = policy::Request {
        principal: request.principal,
        collateral: request.collateral,
        days: request.days,
        oracles: oracles.clone(),
        spot,
        exposure,
        fee_rate,
    };
    let quoted = policy.quote(&asked).map_err(|e| refuse(lending::code(&e), e.to_string()))?;
    // Words and terms are enough to have the keys again.
    let lender_nonce = random();
    let key_index = tools.seed.loan_index(&lender_nonce)?;
    let keys = tools.seed.loan_keys(&key_index)?;
    let range = || refuse(ErrorCode::Amount, "the amounts asked for are out of range".into());
    let now = tools.now()?;
    let mut terms = Terms {
        version: TERMS_VERSION,
        chain: request.chain,
        borrower: peer,
        lender: tools.node_id(),
        borrower_nonce: request.borrower_nonce,
        lender_nonce,
        start: now.hour_ceil().ok_or_else(range)?,
        days: request.days,
        principal_sats: sats_for_cents_ceil(request.principal, spot).ok_or_else(range)?,
        principal: request.principal,
        reference_price: spot,
        apr: quoted.apr,
        minimum_interest_days: quoted.minimum_interest_days,
        collateral: request.collateral,
        stake: quoted.stake,
        liquidation_ltv: quoted.liquidation_ltv,
        cushion: quoted.cushion,
        oracles,
        threshold: policy.threshold,
        receipt_key: Keypair::from_secret_key(SECP256K1, &keys.receipt).x_only_public_key().0,
        receipt_nonce: keys.receipt_nonce.x_only_public_key(SECP256K1).0,
        fee_rate,
        confirmations: quoted.confirmations,
        principal_script: request.principal_script,
        expires: now.plus(QUOTE_LIFE).ok_or_else(range)?,
        transaction_version: Some(TRANSACTION_VERSION),
        currency: Some(CURRENCY.into()),
        minimum_threshold: Some(request.minimum_threshold),
        curve: Some(CURVE),
        unknown: Default::default(),
    };
    // A coin the lender has, near the amount asked, saves making one.
    let shares = lender_shares(&terms).map_err(|e| refuse(ErrorCode::Amount, e.to_string()))?.required;
    let wanted = shares.checked_add(terms.principal_sats).ok_or_else(range)?;
    let near = {
        let wallet = lock(&tools.wallet);
        let kept = wallet.reserve_coin().map(|coin| coin.outpoint);
        // The coin that is kept for fees is no coin to lend.
        wallet.coin_near(wanted, NEAR_ENOUGH).filter(|coin| Some(coin.outpoint) != kept)
    };
    if let Some(sats) = near.and_then(|coin| coin.txout.value.checked_sub(shares)) {
        terms.principal_sats = sats;
    }
    terms.principal = cents_for_sats_floor(terms.principal_sats, spot).ok_or_else(range)?;
    // What is asked for and allowed is not refused for a coin that is a little less or more.
    let is_beyond = ltv_ceil(terms.principal, terms.collateral, spot).is_none_or(|ltv| ltv > policy.initial_ltv_max);
    if is_beyond || earns(&tools, &policy, quoted.initial_ltv, &terms, rate).is_err() {
        terms.principal_sats = sats_for_cents_ceil(request.principal, spot).ok_or_else(range)?;
        terms.principal = cents_for_sats_floor(terms.principal_sats, spot).ok_or_else(range)?;
    }
    let making = earns(&tools, &policy, quoted.initial_ltv, &terms, rate)?;
    terms.check().map_err(|e| refuse(ErrorCode::Terms, e.to_string()))?;
    let receipt = receipt::announce(&terms, &keys.receipt).map_err(|e| refuse(ErrorCode::Terms, e.to_string()))?;
    let identity = Keypair::from_secret_key(SECP256K1, &tools.seed.node_identity()?);
    let signature = SECP256K1.sign_schnorr(&quote_digest(&terms.id()), &identity);
    let message = Message::Quote(Quote {
        request: request.request,
        terms: Bytes(terms.to_tlv()),
        receipt: Bytes(wire::write_announcement(&receipt)),
        signature: signature.serialize(),
    });
    let coin = lender_coin_value(&terms).map_err(|e| refuse(ErrorCode::Amount, e.to_string()))?;
    let given = Given { peer, terms, asked: request.principal, key_index, coin, making };
    Ok(Outcome::Give(Box::new(given), message))
}

/// Whether a loan earns what the policy wants of it; what making our coin for it costs, where that matters.
fn earns(tools: &Tools, policy: &Policy, ltv: BasisPoints, terms: &Terms, rate: FeeRate) -> Result<Amount, Trouble> {
    if policy.earning_min_sats.is_none() {
        return Ok(Amount::ZERO);
    }
    let refuse = |code, message: String| Trouble::refuse(code, message);
    let amount = |e: crate::contract::ContractError| refuse(ErrorCode::Amount, e.to_string());
    let coin = lender_coin_value(terms).map_err(amount)?;
    // Where none can be made there is nothing to quote, which is said then.
    let making = lock(&tools.wallet).coin_cost(coin, rate).unwrap_or(Amount::ZERO);
    let fees = cost_of_lending(terms, making).map_err(amount)?;
    earning::check(policy, ltv, terms, fees).map_err(|e| refuse(lending::code(&e), e.to_string()))?;
    Ok(making)
}

/// Both must speak one version of the terms, and the lender's threshold must not lie below what the borrower asks.
fn require_agreement(request: &QuoteRequest, policy: &Policy) -> Result<(), Trouble> {
    if !request.versions.contains(&TERMS_VERSION) {
        let asked: Vec<String> = request.versions.iter().take(8).map(ToString::to_string).collect();
        let asked = match asked.is_empty() {
            true => "names no terms version".into(),
            false => format!("speaks terms version {}", asked.join(" and ")),
        };
        let text = format!("the request {asked}; this lender's new loans are of terms version {TERMS_VERSION}");
        return Err(Trouble::refuse(ErrorCode::Terms, text));
    }
    if policy.threshold < request.minimum_threshold {
        let text = format!(
            "the borrower's `min_threshold` wants {} oracles or more to agree; this lender's loans need {}",
            request.minimum_threshold, policy.threshold
        );
        return Err(Trouble::refuse(ErrorCode::Oracle, text));
    }
    Ok(())
}

/// Borrower: asks a lender, checks its answer, and downloads what the contract would be locked to.
/// `vain` is what that lender was shown in vain.
pub async fn ask(
    tools: Arc<Tools>,
    vain: Vain,
    request: view::QuoteRequest,
    reply: Reply<QuoteView>,
) -> Result<Outcome, Trouble> {
    match try_ask(&tools, &vain, &request).await {
        Ok(got) => Ok(Outcome::Got(Box::new(got), reply)),
        Err(trouble) => {
            let _ = reply.send(Err(trouble.view()));
            Ok(Outcome::Nothing)
        }
    }
}

async fn try_ask(tools: &Tools, vain: &Vain, request: &view::QuoteRequest) -> Result<Got, Trouble> {
    let address: PeerAddress = request.lender.parse().map_err(|e| Trouble::refuse(ErrorCode::BadRequest, e))?;
    let lender = address.key;
    let standing = tools.net.standing_beside(&address);
    tools.net.try_at(address.clone(), PATIENCE).map_err(|e| Trouble::refuse(ErrorCode::BadRequest, e))?;
    let known: Vec<_> = lock(&tools.oracles).keys().copied().collect();
    if known.is_empty() {
        return Err(Trouble::refuse(ErrorCode::NoOracle, "this node knows no oracle: add one with `oracle add`"));
    }
    let due = end_of(tools.now()?, Days(request.days));
    let oracles: Vec<_> = known.iter().copied().filter(|oracle| tools.is_usable(oracle, due)).collect();
    if oracles.is_empty() {
        tools.require_usable(&known, due)?;
    }
    let (id, borrower_nonce) = (random(), random());
    let principal_script = lock(&tools.wallet).new_address()?.script_pubkey();
    let minimum_threshold = tools.minimum_threshold(&oracles);
    let asked = QuoteRequest {
        request: id,
        chain: tools.chain_hash(),
        principal: Cents(request.principal_cents),
        collateral: Amount::from_sat(request.collateral_sats),
        days: Days(request.days),
        oracles,
        borrower_nonce,
        principal_script,
        versions: TERMS_VERSIONS.collect(),
        minimum_threshold,
    };
    let quote = exchange(tools, lender, &address, &asked).await?;
    let (terms, receipt) = check_quote(tools, lender, &asked, &quote).await?;
    let announcements = fetch(tools, &terms, receipt).await?;
    let mut view = present::quote(&terms, lender, asked.principal).map_err(Trouble::later)?;
    backing::count(tools, &terms, vain, &mut view)?;
    view.place_note = standing.map(|standing| unreached::not_tried(&address, &standing));
    Ok(Got { peer: lender, terms, announcements, view })
}

/// Sends the request until it is answered; to a lender that is busy, again.
async fn exchange(
    tools: &Tools,
    lender: PublicKey,
    address: &PeerAddress,
    asked: &QuoteRequest,
) -> Result<Quote, Trouble> {
    let mut was_busy = false;
    let started = std::time::Instant::now();
    let ask = async {
        loop {
            let (sender, answer) = tokio::sync::oneshot::channel();
            lock(&tools.waiters).insert(asked.request, sender);
            let (kind, bytes) = Message::QuoteRequest(asked.clone()).write();
            while tools.net.send(lender, Frame { kind, bytes: bytes.clone() }).is_err() {
                let why = tools.net.problem_at(address);
                let is_late = started.elapsed() >= LISTENS_SOON;
                if let Some(why) = why.filter(|why| unreached::is_final(why) || is_late) {
                    return Err(unreached::lender(address, &why, tools.network));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            match answer.await {
                Ok(Err(refused)) if refused.code == ErrorCode::Busy.word() => {
                    was_busy = true;
                    tokio::time::sleep(BUSY_AGAIN).await;
                }
                answer => return Ok(answer),
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, ask).await;
    lock(&tools.waiters).remove(&asked.request);
    match answer {
        Err(_) => {
            let is_there = tools.net.is_connected(lender);
            Err(unreached::late(address, tools.network, tools.net.problem_at(address).as_ref(), is_there, was_busy))
        }
        Ok(Err(unreached)) => Err(unreached),
        Ok(Ok(Err(_))) => Err(Trouble::later("the node is stopping")),
        Ok(Ok(Ok(Err(refused)))) => Err(unreached::refused(&refused)),
        Ok(Ok(Ok(Ok(quote)))) => Ok(quote),
    }
}

/// Every field of a quote against what was asked, what we know, and what is sane.
async fn check_quote(
    tools: &Tools,
    lender: PublicKey,
    asked: &QuoteRequest,
    quote: &Quote,
) -> Result<(Terms, crate::contract::OracleAnnouncement), Trouble> {
    let wrong = |field: &str, found: String, right: String| {
        Trouble::refuse(ErrorCode::Quote, format!("the quote's {field} is {found}, expected {right}"))
    };
    let terms = Terms::read(&quote.terms.0).map_err(|e| Trouble::refuse(ErrorCode::Quote, format!("the quote {e}")))?;
    terms.check().and_then(|()| terms.check_new()).map_err(|e| Trouble::refuse(ErrorCode::Quote, e))?;
    let signature = schnorr::Signature::from_slice(&quote.signature);
    let signed = signature.is_ok_and(|signature| {
        let key = lender.x_only_public_key().0;
        SECP256K1.verify_schnorr(&signature, &quote_digest(&terms.id()), &key).is_ok()
    });
    if !signed {
        return Err(wrong("signature", "not valid".into(), format!("one by {lender}")));
    }
    let same = [
        ("lender", terms.lender == lender),
        ("borrower", terms.borrower == tools.node_id()),
        ("chain", terms.chain == asked.chain),
        ("borrower nonce", terms.borrower_nonce == asked.borrower_nonce),
        ("principal script", terms.principal_script == asked.principal_script),
        ("collateral", terms.collateral == asked.collateral),
        ("term", terms.days == asked.days),
    ];
    if let Some((field, _)) = same.iter().find(|(_, same)| !same) {
        return Err(wrong(field, "another".into(), "what was asked".into()));
    }
    if terms.minimum_threshold != Some(asked.minimum_threshold) {
        let found = terms.minimum_threshold.unwrap_or(0).to_string();
        return Err(wrong("minimum_threshold", found, format!("our floor of {}", asked.minimum_threshold)));
    }
    tools.require_usable(&terms.oracles, terms.due())?;
    if let Some(other) = terms.oracles.iter().find(|oracle| !asked.oracles.contains(oracle)) {
        return Err(wrong("oracle", other.to_string(), "one of ours".into()));
    }
    let known = Asked {
        principal: asked.principal,
        minimum_threshold: asked.minimum_threshold,
        spot: None,
        estimate: tools.fee_estimate().await?,
        now: tools.now()?,
    };
    let check = |known| {
        let checked = acceptable::check(&terms, &tools.borrowing.bounds, &known);
        checked.map_err(|e| Trouble::refuse(ErrorCode::Quote, e))
    };
    // What needs no oracle is said first: a wrong clock is no silent oracle.
    check(known)?;
    let spot = tools.spot(&terms.oracles, usize::from(terms.threshold)).await?;
    check(Asked { spot: Some(spot), ..known })?;
    let receipt = wire::read_announcement(&quote.receipt.0).map_err(|e| Trouble::refuse(ErrorCode::Quote, e))?;
    receipt::check(&terms, &receipt).map_err(|e| Trouble::refuse(ErrorCode::Quote, e))?;
    Ok((terms, receipt))
}

/// Every announcement the contract would be locked to, downloaded by bands and verified.
pub(super) async fn fetch(
    tools: &Tools,
    terms: &Terms,
    receipt: crate::contract::OracleAnnouncement,
) -> Result<Announcements, Trouble> {
    let asked: Arc<Vec<_>> =
        Arc::new(terms.touch_days().iter().map(|day| (day.level, day.day, day.from_hour)).collect());
    let due = terms.due();
    let question = |client: Arc<OracleClient>| {
        let asked = asked.clone();
        async move { Ok(OracleAnnouncements { touches: client.touches(&asked).await?, fixing: client.fixing(due).await? }) }
    };
    let answers = ask_all(tools.clients(&terms.oracles)?, question).await;
    let announcements = Announcements { oracles: answers.into_iter().collect::<Result<_, _>>()?, receipt };
    clauses::check_announcements(terms, &announcements).map_err(Trouble::later)?;
    Ok(announcements)
}

/// Borrower: takes a quote, with coins that cover collateral and fees.
pub async fn take(tools: Arc<Tools>, vain: Vain, got: Got, reply: Reply<view::LoanView>) -> Result<Outcome, Trouble> {
    match try_take(&tools, &vain, got) {
        Ok(event) => Ok(Outcome::Begin(Box::new(event), reply)),
        Err(trouble) => {
            let _ = reply.send(Err(trouble.view()));
            Ok(Outcome::Nothing)
        }
    }
}

/// The coins that a quote is taken with, where it can be taken.
fn coins_for(tools: &Tools, vain: &Vain, terms: &Terms) -> Result<Vec<crate::wallet::Coin>, Trouble> {
    tools.require_usable(&terms.oracles, terms.due())?;
    if deadline::has_expired(terms, tools.now()?) {
        return Err(Trouble::refuse(
            ErrorCode::Expired,
            format!("the quote expired at {}; ask for a new one", terms.expires),
        ));
    }
    let chosen = backing::choose(tools, terms, vain)?;
    backing::require_few(&chosen)?;
    Ok(chosen)
}

/// Borrower: what taking a quote would set aside and cost.
pub fn preview(tools: &Tools, vain: &Vain, terms: &Terms) -> Result<PreviewView, Trouble> {
    let chosen = coins_for(tools, vain, terms)?;
    let shares = borrower_shares(terms, chosen.len()).map_err(Trouble::later)?;
    Ok(PreviewView {
        fee_sats: Some(shares.required.to_sat().saturating_sub(terms.collateral.to_sat())),
        sat_per_vb: Some(terms.fee_rate.0),
        coins: u64::try_from(chosen.len()).unwrap_or(u64::MAX),
        gets_sats: terms.principal_sats.to_sat(),
        locks_sats: terms.collateral.to_sat(),
        owed_cents: terms.owed_at_due().0,
        price_cents: Some(terms.reference_price.0),
        irrevocable: true,
        ..PreviewView::default()
    })
}

fn try_take(tools: &Tools, vain: &Vain, got: Got) -> Result<Event, Trouble> {
    let chosen = coins_for(tools, vain, &got.terms)?;
    let key_index = tools.seed.loan_index(&got.terms.id().0)?;
    Ok(Event::Agreed {
        role: Role::Borrower,
        peer: got.peer,
        terms: Box::new(got.terms),
        announcements: Box::new(got.announcements),
        key_index,
        coins: chosen.iter().map(|coin| coin.outpoint).collect(),
        proven: Vec::new(),
    })
}

/// Borrower: the message that takes the quote, with proof of every coin.
pub fn borrow(tools: &Tools, loan: &Loan) -> Result<Message, Trouble> {
    let wallet = lock(&tools.wallet);
    let coins = loan
        .coins
        .iter()
        .map(|outpoint| {
            let proof = wallet.prove_coin(*outpoint, &loan.id.0)?;
            Ok(Coin {
                txid: bitcoin::hashes::Hash::to_byte_array(outpoint.txid),
                vout: outpoint.vout,
                key: proof.pubkey,
                signature: proof.signature.serialize_compact(),
            })
        })
        .collect::<Result<Vec<_>, Trouble>>()?;
    Ok(crate::protocol::todo::borrow(loan, coins))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::units::Days;

    #[test]
    fn versions_are_taken_in_any_order_and_a_request_that_names_none_is_refused_by_name() {
        let asked = |versions: &[u16]| {
            let request = QuoteRequest {
                request: [1; 32],
                chain: [0; 32],
                principal: Cents(5_000_000),
                collateral: Amount::ONE_BTC,
                days: Days(90),
                oracles: Vec::new(),
                borrower_nonce: [2; 32],
                principal_script: Default::default(),
                versions: versions.to_vec(),
                minimum_threshold: 1,
            };
            match require_agreement(&request, &Policy::default()) {
                Ok(()) => None,
                Err(Trouble::Refuse { code, message }) => Some((code, message)),
                Err(other) => panic!("{:?}", other.view()),
            }
        };
        for good in [&[2][..], &[1, 2], &[2, 1], &[3, 2, 2, 1]] {
            assert_eq!(asked(good), None, "{good:?}");
        }
        for (none, named) in [
            (&[][..], "names no terms version"),
            (&[1], "speaks terms version 1"),
            (&[3, 1], "speaks terms version 3 and 1"),
        ] {
            let (code, message) = asked(none).unwrap();
            assert!(code == ErrorCode::Terms && message.contains(&format!("{named};")), "{message}");
        }
    }
}
