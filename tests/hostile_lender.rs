//! A borrower's node and a lender who lies: every message over a real connection. Whatever is wrong is refused by name,
//! and the borrower loses no sat but the fees of taking its coins back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/offers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod offers;
mod world;

use bitcoin::secp256k1::{rand, SecretKey, SECP256K1};
use bitcoin::{Amount, OutPoint, ScriptBuf};
use hypothec::chain::Chain;
use hypothec::contract::offer::FundingCoin;
use hypothec::contract::repay::Source;
use hypothec::contract::{adaptor, receipt, wire, AcceptDlc};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::terms::Terms;
use hypothec::loan::tlv::Bytes;
use hypothec::loan::units::{BasisPoints, Cents, Days, SatPerVb, Time};
use hypothec::loan::LoanId;
use hypothec::node::view::{Balance, LoanView, OracleRequest};
use hypothec::protocol::messages::{Fallback, Quote, Ready, Receipt, Refused, RepayRequest};
use hypothec::protocol::{Message, Stage};
use hypothec_oracle::clock::Clock;
use offers::{with_tlv, Case, OVERRIDES};
use std::time::Duration;
use world::lender::{FalseLender, DAYS};
use world::{start_node, World, HOUR, START};

async fn balance(world: &World) -> Balance {
    world.borrower.handle.balance().await.unwrap()
}

/// The borrower's loan, once `is` takes it.
async fn borrower_has(world: &World, id: LoanId, what: &str, is: impl Fn(&LoanView) -> bool) -> LoanView {
    until(what, PATIENCE, || async {
        let loan = world.borrower.handle.loan(id).await.map_err(|error| error.message)?;
        match is(&loan) {
            true => Ok(loan),
            false => Err(format!("the borrower has {loan:#?}")),
        }
    })
    .await
    .unwrap()
}

fn txid_of(transaction: &bitcoin::Transaction) -> bitcoin::Txid {
    transaction.compute_txid()
}

fn is_cancelled(loan: &LoanView) -> bool {
    matches!(loan.stage, Stage::Cancelled)
}

/// Time moves on while somebody may still be waiting for an answer.
async fn pass(world: &mut World, seconds: u32) {
    world.now = world.now.plus(seconds).unwrap();
    world.bitcoind.set_mock_time(world.now).await.unwrap();
    Clock::set_file(&world.dir.path().join("clock"), world.now).unwrap();
}

const TERMS: &[Case<Terms>] = &[
    ("a version to come", "the quote speaks terms version 3; this node speaks 1 and 2", |t| t.version = 3),
    ("the version before", "version 1: new loans are of 2", |t| {
        (t.version, t.transaction_version, t.currency) = (1, None, None);
        (t.minimum_threshold, t.curve) = (None, None);
    }),
    ("exits that no child can pay for", "transaction_version 2: new loans are of 3", |t| {
        t.transaction_version = Some(2)
    }),
    ("another money", "currency EUR", |t| t.currency = Some("EUR".into())),
    ("another curve", "curve 2", |t| t.curve = Some(2)),
    ("a floor of its own", "threshold", |t| t.minimum_threshold = Some(0)),
    ("a record that must be understood", "unknown type 58", |t| t.unknown.0.push((58, Bytes(vec![])))),
    ("more than anybody reads", "the most is 2048", |t| t.unknown.0.push((59, Bytes(vec![0; 2_000])))),
    ("another chain", "chain", |t| t.chain = bitcoin::constants::ChainHash::BITCOIN.to_bytes()),
    ("another borrower", "borrower", |t| t.borrower = SecretKey::new(&mut rand::thread_rng()).public_key(SECP256K1)),
    ("another lender", "lender", |t| t.lender = SecretKey::new(&mut rand::thread_rng()).public_key(SECP256K1)),
    ("another nonce", "borrower nonce", |t| t.borrower_nonce[0] ^= 1),
    ("the principal to the lender", "principal script", |t| {
        t.principal_script = ScriptBuf::new_p2wpkh(&bitcoin::hashes::Hash::all_zeros())
    }),
    ("more collateral", "collateral", |t| t.collateral = Amount::from_sat(100_000_001)),
    ("a longer term", "term", |t| t.days = Days(DAYS + 1)),
    ("a day of usury", "apr is 15.01 %; this node takes 1 % to 15 % (`[borrowing] max_apr_bp`", |t| {
        t.apr = BasisPoints(1_501)
    }),
    (
        "a cushion for the lender",
        "cushion is 10.01 %; this node takes 0 % to 10 % (`[borrowing] max_cushion_bp`",
        |t| t.cushion = BasisPoints(1_001),
    ),
    ("interest for longer than the loan", "minimum_interest_days", |t| t.minimum_interest_days = Days(DAYS + 1)),
    ("less money", "principal", |t| resize(t, 98)),
    ("a debt for other money", "principal", |t| t.principal = Cents(t.principal.0 + 1)),
    ("a price of its own", "reference_price", |t| {
        t.reference_price = Cents(t.reference_price.0 * 1_003 / 1_000);
        resize(t, 100)
    }),
    ("no fee for the exits", "fee_rate", |t| t.fee_rate = SatPerVb(1)),
    ("all to the miners", "fee_rate", |t| t.fee_rate = SatPerVb(t.fee_rate.0 * 3 / 2 + 1)),
    ("a start long past", "start", |t| t.start = Time(t.start.0 - 2 * HOUR)),
    ("a start far ahead", "start", |t| {
        t.start = Time(t.start.0 + 3 * HOUR);
        t.expires = t.start;
    }),
    ("a quote that stands too long", "expires", |t| {
        t.start = Time(t.start.0 + HOUR);
        t.expires = Time(t.start.0 + 301);
    }),
    ("a quote that is over", "expires", |t| t.expires = Time(t.start.0 - 1)),
    ("a liquidation beyond the collateral", "liquidation_ltv", |t| t.liquidation_ltv = BasisPoints(9_501)),
    ("a liquidation at the first fall", "liquidation_ltv is 72.01 %; this node takes 75 % to 95 %", |t| {
        t.liquidation_ltv = BasisPoints(7_201)
    }),
    ("a day in which nothing can be repaid", "confirmations is 144; this node takes 3 to 6", |t| t.confirmations = 144),
    ("a loan forgotten after a block", "confirmations is 1; this node takes 3 to 6", |t| t.confirmations = 1),
    ("no stake", "stake", |t| t.stake = Amount::ZERO),
    ("an oracle nobody named", "oracle", |t| {
        t.oracles = vec![SecretKey::new(&mut rand::thread_rng()).x_only_public_key(SECP256K1).0]
    }),
    ("no oracle", "oracles", |t| t.oracles.clear()),
    ("a threshold of none", "threshold", |t| t.threshold = 0),
    ("a loan of one block", "confirmations", |t| t.confirmations = 0),
    ("its own receipt's nonce for its key", "receipt_nonce", |t| t.receipt_nonce = t.receipt_key),
];

/// So many hundredths of the dollars, with the bitcoin that goes with them.
fn resize(terms: &mut Terms, percent: u64) {
    use hypothec::loan::units::{cents_for_sats_floor, sats_for_cents_ceil};
    terms.principal_sats =
        sats_for_cents_ceil(Cents(terms.principal.0 * percent / 100), terms.reference_price).unwrap();
    terms.principal = cents_for_sats_floor(terms.principal_sats, terms.reference_price).unwrap();
}

const QUOTES: &[Case<Quote>] = &[
    ("no signature", "signature", |q| q.signature = [0; 64]),
    ("half the terms", "cut short", |q| q.terms.0.truncate(q.terms.0.len() / 2)),
    ("terms and something after", "", |q| q.terms.0.push(0)),
    ("no receipt", "", |q| q.receipt.0.clear()),
    ("half a receipt", "", |q| q.receipt.0.truncate(100)),
    ("another loan's receipt", "receipt", |q| {
        let at = q.receipt.0.len() - 3;
        q.receipt.0[at] ^= 1;
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_quotes_are_refused() {
    let world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    for (what, field, spoil) in TERMS {
        let (_, answer) = lender.quoted(&world, spoil, |_| ()).await;
        let refused = answer.expect_err(what);
        assert!(refused.message.contains(field) && refused.message.len() < 700, "{what}: {refused:?}");
    }
    for (what, field, spoil) in QUOTES {
        let (_, answer) = lender.quoted(&world, |_| (), spoil).await;
        let refused = answer.expect_err(what);
        assert!(refused.message.contains(field) && refused.message.len() < 700, "{what}: {refused:?}");
    }
    // A stranger's answer to somebody else's question is none, and a refusal is told as it is.
    let asking = lender.asks(&world);
    let refusing = async {
        let request = lender.requested().await;
        let terms = lender.terms(&world, &request).await;
        lender.say(&Message::Quote(lender.quote([9; 32], &terms)));
        let text = "x".repeat(500);
        lender.say(&Message::Refused(Refused { about: request.request, code: "no".into(), message: text }));
    };
    let (answer, ()) = tokio::join!(asking, refusing);
    assert!(answer.unwrap_err().message.contains("the lender refuses"));
    lender.quoted(&world, |_| (), |_| ()).await.1.unwrap();
    world.open(300_000, DAYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_whose_threshold_lies_below_the_borrowers_floor_gets_no_loan_whatever_it_says() {
    let mut world = World::new().await;
    let clock = world.dir.path().join("clock");
    let start = async || start_node(world.dir.path(), "careful", &world.bitcoind, &clock).await;
    start().await.stop().await.unwrap();
    let file = world.dir.path().join("careful/hypothec.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("# min_threshold = 2", "min_threshold = 2");
    std::fs::write(&file, text).unwrap();
    let careful = start().await;
    let url = world.oracle.as_ref().unwrap().url();
    careful.handle.add_oracle(OracleRequest { url, mirrors: vec![], pubkey: None }).await.unwrap();
    // An honest lender, whose policy needs one oracle, says so.
    let refused = careful.handle.quote(world.request(300_000, DAYS)).await.unwrap_err();
    let said = "the lender refuses: the borrower's `min_threshold` wants 2 oracles or more to agree; this lender's loans need 1";
    assert_eq!(refused.message, said);
    std::mem::replace(&mut world.borrower, careful).stop().await.unwrap();
    let mut lender = FalseLender::new(&world).await;
    for (what, field, least) in
        [("the floor it was told", "minimum_threshold 2", 2), ("a lower one", "threshold is 1", 1)]
    {
        let (_, answer) = lender.quoted(&world, |terms| terms.minimum_threshold = Some(least), |_| ()).await;
        let refused = answer.expect_err(what);
        assert!(refused.message.contains(field), "{what}: {refused:?}");
    }
    println!("bound low-threshold no loan below the borrower's own floor, here 2 oracles");
}

fn script() -> ScriptBuf {
    let key = SecretKey::new(&mut rand::thread_rng()).public_key(SECP256K1);
    ScriptBuf::new_p2wpkh(&bitcoin::CompressedPublicKey(key).wpubkey_hash())
}

fn revalue(accept: &mut AcceptDlc, value: impl Fn(u64) -> u64) {
    let input = &mut accept.funding_inputs[0];
    let mut previous: bitcoin::Transaction = bitcoin::consensus::deserialize(&input.prev_tx).unwrap();
    let output = &mut previous.output[input.prev_tx_vout as usize];
    output.value = Amount::from_sat(value(output.value.to_sat()));
    input.prev_tx = bitcoin::consensus::serialize(&previous);
}

/// Refused before any signature is looked at.
const ACCEPTS: &[Case<AcceptDlc>] = &[
    ("another version", "protocol_version", |a| a.protocol_version = 2),
    ("more stake", "accept_collateral", |a| a.accept_collateral += Amount::from_sat(1)),
    ("the principal to the lender", "change_spk", |a| a.change_spk = script()),
    ("the payout to nobody", "payout_spk", |a| a.payout_spk = ScriptBuf::new()),
    ("a payout script of 10 kB", "payout_spk", |a| a.payout_spk = ScriptBuf::from_bytes(vec![0x51; 10_000])),
    ("records nobody asked for", "tlvs", |a| with_tlv(a, OVERRIDES)),
    ("no coin", "funding_inputs", |a| a.funding_inputs.clear()),
    ("a coin twice", "funding_inputs", |a| {
        let mut again = a.funding_inputs[0].clone();
        again.input_serial_id ^= 1;
        a.funding_inputs.push(again);
    }),
    ("a coin one sat short", "funding_inputs.value", |a| revalue(a, |sats| sats - 1)),
    ("a coin without end", "funding_inputs", |a| revalue(a, |_| u64::MAX)),
    ("an overstated witness", "max_witness_len", |a| a.funding_inputs[0].max_witness_len = u16::MAX),
    ("an endless previous transaction", "prev_tx", |a| a.funding_inputs[0].prev_tx = vec![0; 100_001]),
    ("the signatures of another contract", "refund", |_| ()),
    ("1,300 signatures more", "refund", |a| {
        let all = &mut a.cet_adaptor_signatures.ecdsa_adaptor_signatures;
        let more = all[..1_300.min(all.len())].to_vec();
        all.extend(more);
    }),
];

/// An accept that is refused; the loan is over, and the borrower's coin free again.
async fn refused(world: &World, lender: &mut FalseLender, id: LoanId, what: &str, field: &str) {
    let refused = lender.stranger.refusal(id.0).await;
    assert!(refused.message.contains(field) && refused.message.len() < 700, "{what}: {refused:?}");
    borrower_has(world, id, what, is_cancelled).await;
    assert_eq!(balance(world).await.reserved_sats, 0, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_accepts_are_refused_and_the_coins_are_free_again() {
    let world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let coin = lender.exact_coin(&world).await;
    world.settle().await;
    let before = balance(&world).await;
    for (what, field, spoil) in ACCEPTS {
        let offered = lender.offered(&world).await;
        let mut accept = lender.stale_accept(&offered, &lender.funding_coin(coin));
        spoil(&mut accept);
        let half = accept.refund_signature;
        lender.say_accept(&offered, &accept, &half);
        refused(&world, &mut lender, offered.terms.id(), what, field).await;
    }
    // From here on everything before the lie is true.
    let coin = lender.funding_coin(coin);
    let offered = lender.offered(&world).await;
    let (accepted, _) = lender.accept(&offered, coin.clone());
    lender.say_accept(&offered, &accepted.accept, &accepted.accept.refund_signature);
    refused(&world, &mut lender, offered.terms.id(), "the refund's half for the fallback", "fallback").await;

    let offered = lender.offered(&world).await;
    let (mut accepted, _) = lender.accept(&offered, coin.clone());
    accepted.accept.cet_adaptor_signatures.ecdsa_adaptor_signatures.pop();
    lender.say_accept(&offered, &accepted.accept, &accepted.fallback);
    refused(&world, &mut lender, offered.terms.id(), "a signature less", "count").await;

    let offered = lender.offered(&world).await;
    let (mut accepted, _) = lender.accept(&offered, coin.clone());
    let stranger = SecretKey::new(&mut rand::thread_rng());
    let foreign = adaptor::sign(&accepted.built.slots, accepted.built.signing(), &stranger).unwrap();
    let foreign = dlc_messages::CetAdaptorSignatures::from(foreign.as_slice()).ecdsa_adaptor_signatures;
    let last = foreign.len() - 1;
    accepted.accept.cet_adaptor_signatures.ecdsa_adaptor_signatures[last] = foreign[last].clone();
    lender.say_accept(&offered, &accepted.accept, &accepted.fallback);
    refused(&world, &mut lender, offered.terms.id(), "the last signature by a stranger", &format!("adaptor {last} "))
        .await;
    coins_that_are_not_there(&world, &mut lender, coin).await;
    assert_eq!(balance(&world).await, before);
}

/// A contract signed from end to end, over a coin that nobody ever made, or that no block holds.
async fn coins_that_are_not_there(world: &World, lender: &mut FalseLender, coin: FundingCoin) {
    let offered = lender.offered(world).await;
    let mut made_up = coin.previous.clone();
    made_up.lock_time = bitcoin::absolute::LockTime::from_consensus(7);
    let (accepted, _) = lender.accept(&offered, FundingCoin { previous: made_up, vout: coin.vout });
    lender.say_accept(&offered, &accepted.accept, &accepted.fallback);
    refused(world, lender, offered.terms.id(), "a coin made up", "not an unspent confirmed coin").await;

    let offered = lender.offered(world).await;
    let address = lender.stranger.wallet.new_address().unwrap();
    let value = coin.previous.output[coin.vout as usize].value;
    let waiting: OutPoint = world.bitcoind.fund(&address, value).await.unwrap();
    lender.stranger.catch_up(world).await;
    let (accepted, _) = lender.accept(&offered, lender.funding_coin(waiting));
    lender.say_accept(&offered, &accepted.accept, &accepted.fallback);
    refused(world, lender, offered.terms.id(), "a coin that waits", "not an unspent confirmed coin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_silent_after_the_sign_costs_the_market_rate_and_more_only_when_its_funding_shows_up() {
    let mut world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let coin = lender.exact_coin(&world).await;
    world.settle().await;
    let before = balance(&world).await.confirmed_sats;
    let signed = lender.signed(&world, coin).await;
    let id = signed.terms.id();
    // Whatever it says now changes nothing: the borrower has signed once and for all.
    let accept = wire::write(&signed.accepted.accept);
    let half = Fallback { loan: id.0, signature: signed.accepted.accept.refund_signature.serialize_compact() };
    lender.say(&Message::Ready(Ready { loan: id.0 }));
    lender.say(&Message::Fallback(half));
    lender.say(&Message::Accept([&accept[..accept.len() - 1], &[9]].concat()));
    lender.say(&Message::Sign(accept.clone()));
    lender.say(&Message::Offer(accept));
    lender.say(&Message::RepayRequest(RepayRequest { loan: id.0 }));
    lender.say(&Message::Receipt(Receipt { loan: id.0, attestation: Bytes(vec![0; 80]) }));
    lender.say(&Message::Refused(Refused { about: id.0, code: "no".into(), message: "no".into() }));
    // A quote that is asked for and answered afterwards: everything before it was read.
    lender.quoted(&world, |_| (), |_| ()).await.1.unwrap();
    let still = borrower_has(&world, id, "the sign", |loan| loan.stage == Stage::Signed).await;
    assert_eq!(still.funding_height, None);

    pass(&mut world, 700).await;
    let chain = Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    let known = still.transactions;
    let txid = until("the withdrawal", PATIENCE, || async {
        let loan = world.borrower.handle.loan(id).await.map_err(|error| error.message)?;
        let new = loan.transactions.iter().find(|txid| !known.contains(txid)).copied();
        let new = new.ok_or_else(|| format!("{loan:#?}"))?;
        match chain.transaction(new).await.unwrap() {
            Some(seen) => Ok(seen.transaction),
            None => Err(format!("{new} is not out")),
        }
    });
    let withdrawal = txid.await.unwrap();
    let spends = |tx: &bitcoin::Transaction| tx.input.iter().map(|one| one.previous_output).collect::<Vec<_>>();
    assert!(spends(&signed.funding).contains(&withdrawal.input[0].previous_output));
    assert!(withdrawal.input[0].sequence.is_rbf());
    // While nothing stands against it, it pays what any transaction pays.
    let market = lender.stranger.chain.fee_rate().await.unwrap().to_sat_per_vb_ceil();
    let quiet = lender.fee(&withdrawal).await.to_sat();
    assert!(quiet <= (withdrawal.vsize() as u64 + 2) * market, "{quiet} sats at {market} sat/vB");
    println!("bound silent-lender {quiet} sats at {market} sat/vB");
    // The lender likes the price and brings its funding out, which displaces that: now it is worth beating, and by the
    // rules of replacement what it holds can displace ours no more.
    let theirs = lender.fee(&signed.funding).await;
    chain.broadcast(&signed.funding).await.unwrap();
    let raised = until("the raised withdrawal", PATIENCE, || async {
        let loan = world.borrower.handle.loan(id).await.map_err(|error| error.message)?;
        for txid in loan
            .transactions
            .iter()
            .filter(|txid| **txid != signed.funding.compute_txid() && **txid != txid_of(&withdrawal))
        {
            let seen = chain.transaction(*txid).await.unwrap().filter(|seen| seen.confirmed.is_none());
            if let Some(seen) = seen.filter(|seen| spends(&seen.transaction) == spends(&withdrawal)) {
                return Ok(seen.transaction);
            }
        }
        Err(format!("{loan:#?}"))
    })
    .await
    .unwrap();
    let ours = lender.fee(&raised).await;
    assert!(ours.to_sat() >= theirs.to_sat() + raised.vsize() as u64, "{ours} against {theirs}");
    assert!(ours / raised.weight() > theirs / signed.funding.weight());
    let rejected = chain.broadcast(&signed.funding).await.unwrap_err();
    assert!(rejected.rejection().is_some(), "{rejected}");
    world.bitcoind.mine(1).await.unwrap();
    borrower_has(&world, id, "the end", is_cancelled).await;
    until("the coin to be free", PATIENCE, || async {
        let now = balance(&world).await;
        let right = now.confirmed_sats == before - ours.to_sat() && now.reserved_sats == 0;
        right.then_some(()).ok_or_else(|| format!("{now:?}, {before} before"))
    })
    .await
    .unwrap();
    assert!(chain.broadcast(&signed.funding).await.unwrap_err().rejection().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_keeps_the_sign_until_the_price_falls_finds_the_coin_gone_after_a_minute() {
    let mut world = World::new().await;
    // 12 March 2020, 10:25: the worst hour of the month begins.
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    world.advance(START.plus((3 * 24 + 10) * HOUR + 1_500).unwrap()).await;
    let mut lender = FalseLender::new(&world).await;
    let coin = lender.exact_coin(&world).await;
    world.settle().await;
    let signed = lender.signed(&world, coin).await;
    let id = signed.terms.id();
    pass(&mut world, 61).await;
    let reason = until("the loan to be given up", PATIENCE, || async {
        let events = world.borrower.handle.events(0, Duration::ZERO).await.unwrap();
        let out = events.iter().any(|one| one.loan_id == Some(id) && one.event == "withdrawn");
        let given_up = events.iter().find(|one| one.event == "given_up").map(|one| one.text.clone());
        let waits = world.bitcoind.mempool_len().await.unwrap() == 1;
        given_up.filter(|_| out && waits).ok_or_else(|| format!("{events:#?}"))
    })
    .await
    .unwrap();
    assert!(reason.contains("60 s"), "{reason}");
    // 9 minutes later the price suits the lender, and there is nothing left to fund with.
    pass(&mut world, 534).await;
    world.bitcoind.mine(1).await.unwrap();
    let chain = Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    assert!(chain.broadcast(&signed.funding).await.unwrap_err().rejection().is_some());
    borrower_has(&world, id, "the end", is_cancelled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_silent_at_any_step_before_locks_nothing_beyond_the_hour_of_its_quote() {
    let mut world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let address = world.borrower.handle.new_address().await.unwrap().address;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
    world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(110_000_000)).await.unwrap();
    world.mine(1).await;
    let before = balance(&world).await;
    let no_ready = lender.taken(&world).await.id();
    let no_accept = lender.offered(&world).await.terms.id();
    let asking = lender.asks(&world);
    let silent = async {
        let request = lender.requested().await;
        assert!(balance(&world).await.reserved_sats > 0);
        request
    };
    let (answer, _) = tokio::join!(asking, silent);
    assert!(answer.unwrap_err().message.contains("did not answer the request within 20 s"));
    pass(&mut world, 3_601).await;
    for id in [no_ready, no_accept] {
        borrower_has(&world, id, "the terms to expire", is_cancelled).await;
    }
    assert_eq!(balance(&world).await, before);
    // The node goes on: an honest lender's loan comes to be.
    world.settle().await;
    world.open(300_000, DAYS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_goes_on_with_what_its_borrower_gave_up_is_told_each_time() {
    let world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let id = lender.taken(&world).await.id();
    world.borrower.handle.cancel(id).await.unwrap();
    for _ in 0..2 {
        let refused = lender.stranger.refusal(id.0).await;
        assert_eq!(refused.code, "cancelled", "{refused:?}");
        lender.say(&Message::Ready(Ready { loan: id.0 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_answers_repayments_with_nonsense_or_silence_keeps_nobody_in_the_loan() {
    let mut world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let coin = lender.exact_coin(&world).await;
    world.settle().await;
    let signed = lender.signed(&world, coin).await;
    let id = signed.terms.id();
    let chain = Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    chain.broadcast(&signed.funding).await.unwrap();
    world.bitcoind.mine(3).await.unwrap();
    let active = |loan: &LoanView| loan.stage == Stage::Active && loan.confirmations.0 >= 3;
    borrower_has(&world, id, "the loan to live", active).await;

    // A receipt that is none, and one by a key of another loan.
    for attestation in [vec![], vec![0xff; 300]] {
        lender.say(&Message::Receipt(Receipt { loan: id.0, attestation: Bytes(attestation) }));
        let refused = lender.stranger.refusal(id.0).await;
        assert_eq!(refused.code, "receipt", "{refused:?}");
    }
    let (other, nonce) = (SecretKey::new(&mut rand::thread_rng()), SecretKey::new(&mut rand::thread_rng()));
    let forged = Terms {
        receipt_key: other.x_only_public_key(SECP256K1).0,
        receipt_nonce: nonce.x_only_public_key(SECP256K1).0,
        ..signed.terms.clone()
    };
    let forged = receipt::attest(&forged, &other, &nonce).unwrap();
    let attestation = Bytes(wire::write_attestation(&forged));
    lender.say(&Message::Receipt(Receipt { loan: id.0, attestation }));
    assert_eq!(lender.stranger.refusal(id.0).await.code, "receipt");

    // A refusal: the coin is taken back at once.
    let wait = |event: &'static str, blocks: u32| {
        let world = &world;
        async move {
            until(event, PATIENCE, || async {
                if blocks > 0 {
                    world.bitcoind.mine(blocks).await.unwrap();
                }
                let events = world.borrower.handle.events(0, Duration::ZERO).await.unwrap();
                let told = events.iter().any(|one| one.loan_id == Some(id) && one.event == event);
                told.then_some(()).ok_or_else(|| format!("the events are {events:#?}"))
            })
            .await
            .unwrap();
        }
    };
    let all = |balance: Balance| balance.confirmed_sats + balance.unconfirmed_sats + balance.reserved_sats;
    let start = all(balance(&world).await);
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    let pick = |message| match message {
        Message::Repay(repay) if repay.loan == id.0 => Some(repay),
        _ => None,
    };
    let proposed = lender.stranger.message("a proposal", pick).await;
    // Its own proposal sent back, unasked for, is nothing.
    lender.say(&Message::Repay(proposed));
    lender.say(&Message::Refused(Refused { about: id.0, code: "no".into(), message: "no".into() }));
    wait("repayment_withdrawn", 0).await;
    // It is recorded before it is out: a block may come in between.
    wait("repayment_gone", 1).await;
    let note = borrower_has(&world, id, "why", |loan| loan.repayment.is_none()).await.repayment_note;
    assert_eq!(note.as_deref(), Some("the lender refused: no"));

    // Silence: it is taken back after ten minutes, and the loan can be repaid another day.
    let free = || async {
        let asked = world.borrower.handle.repay(id, Source::Wallet).await;
        asked.map_err(|error| error.message)
    };
    let second = until("a second proposal", PATIENCE, free).await.unwrap().repayment;
    lender.stranger.message("a proposal", pick).await;
    pass(&mut world, 700).await;
    let gone = until("the second to be taken back", PATIENCE, || async {
        world.bitcoind.mine(1).await.unwrap();
        let loan = world.borrower.handle.loan(id).await.unwrap();
        loan.repayment.is_none().then_some(loan.clone()).ok_or_else(|| format!("{loan:#?}"))
    });
    let loan = gone.await.unwrap();
    assert!(second.is_some() && loan.stage == Stage::Active && loan.ended.is_none());
    assert!(loan.repayment_note.unwrap().contains("did not complete it within 60 s"));
    assert_eq!(balance(&world).await.unconfirmed_sats, 0);
    let each = (start - all(balance(&world).await)) / 2;
    assert!((1..3_000).contains(&each), "{each} sats for each that was taken back");
    println!("bound unanswered-repayment {each} sats at 5 sat/vB");
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_shown_in_vain_go_last_and_where_no_other_does_the_borrower_is_told_the_ways_round() {
    let world = World::new().await;
    // The smaller of the borrower's two coins is its first choice.
    let address = world.borrower.handle.new_address().await.unwrap().address;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
    world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(200_000_000)).await.unwrap();
    world.mine(1).await;
    let mut lender = FalseLender::new(&world).await;
    let (mut shown, mut reasons) = (Vec::new(), Vec::new());
    // A word for which the borrower answers, and at last that it was too often.
    for code in ["contract"; 10].into_iter().chain(["coins"]) {
        let (terms, coins) = lender.taken_with(&world).await;
        let id = terms.id();
        shown.push(coins);
        let text = "a coin was shown for 5 loans".to_owned();
        lender.say(&Message::Refused(Refused { about: id.0, code: code.into(), message: text }));
        let loan = borrower_has(&world, id, "the refusal", is_cancelled).await;
        reasons.push(loan.cancelled_because.unwrap());
    }
    let names: String = shown.iter().map(|coins| if *coins == shown[0] { 's' } else { 'l' }).collect();
    assert_eq!(names, "slsssslllls", "what was not shown in vain first, then what the lender still takes");
    let (last, before) = reasons.split_last().unwrap();
    assert!(before.iter().all(|reason| reason == "the lender refused: a coin was shown for 5 loans"), "{before:?}");
    let again = world.now.plus(24 * HOUR).unwrap().to_string();
    for part in [again.as_str(), "`wallet address`", "another lender"] {
        assert!(last.contains(part), "{part} in {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_speaks_another_version_or_nothing_at_all_is_told_from_one_that_refuses() {
    let world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let silent = lender.asks(&world);
    let answering = async {
        lender.requested().await;
        let mut said = Vec::new();
        for (code, message) in [
            ("terms", "the request speaks terms version 2; this lender's new loans are of 3"),
            ("unreadable", "type 20 is unknown"),
            ("policy", "at most $100"),
        ] {
            let asking = lender.asks(&world);
            let refusing = async {
                let about = lender.requested().await.request;
                lender.say(&Message::Refused(Refused { about, code: code.into(), message: message.into() }));
            };
            said.push(tokio::join!(asking, refusing).0.unwrap_err().code);
        }
        said
    };
    let (silent, said) = tokio::join!(silent, answering);
    assert_eq!(said, ["version", "version", "refused"]);
    let silent = silent.unwrap_err();
    assert!(
        silent.code == "no_answer" && silent.message.contains("did not answer the request within 20 s"),
        "{silent:?}"
    );
}
