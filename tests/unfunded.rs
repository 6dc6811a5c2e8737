//! Loans that are signed and whose funding transaction is in no block, on a real bitcoind: it is displaced, comes back, or
//! is sent when the price has gone. Either side walks away for good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Psbt, Sequence, Transaction, TxIn, TxOut, Txid};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::units::{sats_for_cents_ceil, Cents};
use hypothec::loan::LoanId;
use hypothec::node::view::{EventView, LoanView};
use hypothec::node::Running;
use hypothec::protocol::{Message, Stage};
use hypothec_oracle::clock::Clock;
use std::time::Duration;
use world::lender::FalseLender;
use world::stranger::Stranger;
use world::{World, HOUR, START};

const TWO_DAYS: u32 = 2;

/// Time moves on while somebody may still be waiting for an answer.
async fn pass(world: &mut World, seconds: u32) {
    world.now = world.now.plus(seconds).unwrap();
    world.bitcoind.set_mock_time(world.now).await.unwrap();
    Clock::set_file(&world.dir.path().join("clock"), world.now).unwrap();
}

async fn told(node: &Running, event: &str) -> Vec<EventView> {
    let events = node.handle.events(0, Duration::ZERO).await.unwrap();
    events.into_iter().filter(|one| one.event == event).collect()
}

/// The loan of a node, once `is` takes it.
async fn has(node: &Running, id: LoanId, what: &str, is: impl Fn(&LoanView) -> bool) -> LoanView {
    until(what, PATIENCE, || async {
        let view = node.handle.loan(id).await.map_err(|error| error.message)?;
        match is(&view) {
            true => Ok(view),
            false => Err(format!("{view:#?} {:#?}", node.handle.status().await.unwrap().troubles)),
        }
    })
    .await
    .unwrap()
}

/// A transaction of a stranger's that spends these coins to itself, at this fee.
fn spend(stranger: &mut Stranger, coins: &[OutPoint], fee: u64) -> Transaction {
    let known = stranger.wallet.coins();
    let coins: Vec<_> = coins.iter().map(|coin| known.iter().find(|known| known.outpoint == *coin).unwrap()).collect();
    let worth: Amount = coins.iter().map(|coin| coin.txout.value).sum();
    let input = coins.iter().map(|coin| TxIn {
        previous_output: coin.outpoint,
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    });
    let input = input.collect();
    let output = vec![TxOut { value: worth - Amount::from_sat(fee), script_pubkey: stranger.script() }];
    let rival = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output };
    let mut psbt = Psbt::from_unsigned_tx(rival).unwrap();
    for (input, coin) in psbt.inputs.iter_mut().zip(&coins) {
        input.witness_utxo = Some(coin.txout.clone());
    }
    assert_eq!(stranger.wallet.sign_inputs(&mut psbt).unwrap(), coins.len());
    psbt.extract_tx_unchecked_fee_rate()
}

/// The transaction of a node's that stands in the mempool and takes a coin of the funding transaction back.
async fn stands(stranger: &Stranger, funding: &Transaction, not: &[Txid]) -> Result<Transaction, String> {
    for input in &funding.input {
        let spender = stranger.chain.spender(input.previous_output).await.unwrap();
        let ours = spender.filter(|tx| tx.compute_txid() != funding.compute_txid());
        if let Some(ours) = ours.filter(|tx| !not.contains(&tx.compute_txid())) {
            return Ok(ours);
        }
    }
    Err("nothing takes a coin of it back".into())
}

/// A side displaces the funding transaction, keeps it away for longer than a minute, and lets it back in. `stranger` has the
/// coin and another one; the node takes its own back, for good.
async fn displaced_and_let_back_in(
    world: &mut World,
    is_lender: bool,
    stranger: &mut Stranger,
    id: LoanId,
    funding: Transaction,
    coins: [OutPoint; 2],
) {
    let running = if is_lender { &world.lender } else { &world.borrower };
    has(running, id, "the funding to be out", |loan| loan.stage == Stage::Confirming).await;
    let first = spend(stranger, &coins, 60_000);
    stranger.chain.broadcast(&first).await.unwrap();
    let rival = first.compute_txid().to_string();
    let said = has(running, id, "what stands in its place", |loan| {
        loan.turn.as_ref().is_some_and(|turn| turn.text.contains(&rival))
    })
    .await;
    let turn = said.turn.unwrap();
    assert!(turn.text.contains(&coins[0].to_string()) && turn.text.contains("the other side's coin"), "{turn:?}");
    assert_eq!(turn.until, Some(world.now.0 + 60), "{turn:?}");
    let event = told(running, "funding_away").await;
    assert!(event.len() == 1 && event[0].text.contains("our coin is taken back"), "{event:#?}");
    until("the trouble, in words", PATIENCE, || async {
        let troubles = running.handle.status().await.unwrap().troubles.join("; ");
        assert!(!troubles.contains("insufficient fee") || !troubles.contains(&id.to_string()), "{troubles}");
        troubles.contains(&rival).then_some(()).ok_or(troubles)
    })
    .await
    .unwrap();

    pass(world, 61).await;
    let running = if is_lender { &world.lender } else { &world.borrower };
    let theirs = [first.compute_txid()];
    until("the coin to be taken back", PATIENCE, || stands(stranger, &funding, &theirs)).await.unwrap();
    let given_up = told(running, "given_up").await;
    assert!(given_up.len() == 1 && given_up[0].text.contains("60 s"), "{given_up:#?}");
    // What displaced it makes room, and the funding transaction is sent again.
    let second = spend(stranger, &coins[1..], 120_000);
    stranger.chain.broadcast(&second).await.unwrap();
    let back = stranger.chain.broadcast(&funding).await;
    let not = [first.compute_txid(), second.compute_txid()];
    until("the coin to be taken back for good", PATIENCE, || async {
        let ours = stands(stranger, &funding, &not).await?;
        let refused = stranger.chain.test_accept(&funding).await;
        refused.is_err().then_some(()).ok_or(format!("{back:?}, and now {} is there", ours.compute_txid()))
    })
    .await
    .unwrap();
    world.bitcoind.mine(1).await.unwrap();
    let end = has(running, id, "the end", |loan| loan.stage == Stage::Cancelled).await;
    assert_eq!(end.funding_height, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_whose_funding_the_borrower_displaces_and_lets_back_in_has_taken_its_coin_back() {
    let mut world = World::new().await;
    let mut borrower = Stranger::new(&world, "borrower").await;
    let coins = borrower.coins(&world, 2).await;
    let negotiated = borrower.negotiate(&world, 300_000, TWO_DAYS, coins[0]).await;
    negotiated.messages.iter().for_each(|message| borrower.say(message));
    let (id, txid) = (negotiated.terms.id(), negotiated.skeleton.funding.txid);
    has(&world.lender, id, "the funding to be out", |loan| loan.stage == Stage::Confirming).await;
    let funding = borrower.chain.transaction(txid).await.unwrap().unwrap().transaction;
    displaced_and_let_back_in(&mut world, true, &mut borrower, id, funding, [coins[0], coins[1]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_whose_funding_the_lender_displaces_and_lets_back_in_has_taken_its_coin_back() {
    let mut world = World::new().await;
    let mut lender = FalseLender::new(&world).await;
    let other = lender.stranger.coins(&world, 1).await[0];
    let coin = lender.exact_coin(&world).await;
    world.settle().await;
    let signed = lender.signed(&world, coin).await;
    lender.stranger.chain.broadcast(&signed.funding).await.unwrap();
    let (id, funding) = (signed.terms.id(), signed.funding);
    displaced_and_let_back_in(&mut world, false, &mut lender.stranger, id, funding, [coin, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_keeps_the_sign_over_a_fall_cannot_displace_what_takes_the_coin_back() {
    let mut world = World::new().await;
    // 12 March 2020, 10:25: the worst hour of the month begins.
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    world.advance(START.plus((3 * 24 + 10) * HOUR + 1_500).unwrap()).await;
    let mut lender = FalseLender::new(&world).await;
    let coin = lender.exact_coin(&world).await;
    world.settle().await;
    let before = world.borrower.handle.balance().await.unwrap().confirmed_sats;
    let signed = lender.signed(&world, coin).await;
    let id = signed.terms.id();
    // Minutes pass at once, without a block: late, and far below the price of the quote.
    pass(&mut world, 595).await;
    let theirs = lender.fee(&signed.funding).await;
    let ours = until("what cannot be displaced", PATIENCE, || async {
        let ours = stands(&lender.stranger, &signed.funding, &[]).await?;
        let fee = lender.fee(&ours).await;
        (fee > theirs).then_some(fee).ok_or(format!("{fee} against {theirs}"))
    })
    .await
    .unwrap();
    let refused = lender.stranger.chain.broadcast(&signed.funding).await.unwrap_err();
    assert!(refused.rejection().unwrap().reason.contains("insufficient fee"), "{refused}");
    assert!(ours < theirs + Amount::from_sat(3_000), "{ours} against {theirs}: no more than is needed");
    world.bitcoind.mine(1).await.unwrap();
    has(&world.borrower, id, "the end", |loan| loan.stage == Stage::Cancelled).await;
    until("the coin to be free", PATIENCE, || async {
        let now = world.borrower.handle.balance().await.unwrap();
        let right = now.confirmed_sats == before - ours.to_sat() && now.reserved_sats == 0;
        right.then_some(()).ok_or_else(|| format!("{now:?}, {before} before"))
    })
    .await
    .unwrap();
    println!("bound funded-after-the-fall {} sats at 25 sat/vB", ours.to_sat());
}

/// What the oracle says now, once it says anything.
async fn spot(stranger: &Stranger) -> Cents {
    until("a price of now", PATIENCE, || async {
        stranger.oracle.spot().await.map(|spot| spot.cents).map_err(|error| error.to_string())
    })
    .await
    .unwrap()
}

/// A transaction that spends what the borrower gets of the loan, at this fee, and is no smaller than it must be.
fn child(stranger: &mut Stranger, funding: &Transaction, vout: usize, fee: u64) -> Transaction {
    let coin = funding.output[vout].clone();
    let previous_output = OutPoint { txid: funding.compute_txid(), vout: u32::try_from(vout).unwrap() };
    let input = vec![TxIn { previous_output, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME, ..TxIn::default() }];
    let output = vec![TxOut { value: coin.value - Amount::from_sat(fee), script_pubkey: stranger.script() }];
    let tx = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output };
    let mut psbt = Psbt::from_unsigned_tx(tx).unwrap();
    psbt.inputs[0].witness_utxo = Some(coin);
    assert_eq!(stranger.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    psbt.extract_tx_unchecked_fee_rate()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_worth_what_was_at_stake_half_an_hour_ago_does_not_hold_the_lender_in_a_loan_it_loses_more_by() {
    let mut world = World::new().await;
    // 13 March 2020, 08:30: within a quarter of an hour spot rises by more than two percent, within three by ten.
    let start = START.plus(104 * HOUR + 1_830).unwrap();
    for day in 1..=4 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    world.advance(start).await;
    let mut borrower = Stranger::new(&world, "borrower").await;
    let coin = borrower.coins(&world, 1).await[0];
    world.settle().await;
    let negotiated = borrower.negotiate(&world, 100_000, TWO_DAYS, coin).await;
    negotiated.messages.iter().for_each(|message| borrower.say(message));
    let (id, txid) = (negotiated.terms.id(), negotiated.skeleton.funding.txid);
    has(&world.lender, id, "the funding to be out", |loan| loan.stage == Stage::Confirming).await;
    let funding = borrower.chain.transaction(txid).await.unwrap().unwrap().transaction;
    borrower.catch_up(&world).await;

    pass(&mut world, 900).await;
    until("the coin to be taken back", PATIENCE, || stands(&borrower, &funding, &[])).await.unwrap();
    let terms = &negotiated.terms;
    let lost = |spot: Cents| terms.principal_sats - sats_for_cents_ceil(terms.principal, spot).unwrap();
    let first = lost(spot(&borrower).await);
    let part = terms.collateral / 100;
    let fee = first.to_sat() * 5 / 4;
    assert!(fee < part.to_sat(), "{fee} sats: what is at stake is the limit, and not {part}");

    pass(&mut world, 1_800).await;
    assert!(lost(spot(&borrower).await) > part);
    until("more to be at stake", PATIENCE, || async {
        let given_up = told(&world.lender, "given_up").await;
        (given_up.len() >= 2).then_some(()).ok_or(format!("{given_up:#?}"))
    })
    .await
    .unwrap();
    let vout = funding.output.iter().position(|out| out.script_pubkey == terms.principal_script).unwrap();
    let child = child(&mut borrower, &funding, vout, fee);
    borrower.chain.submit_package(&funding, &child).await.unwrap();
    let ours = until("the coin to be taken back for more", PATIENCE, || async {
        stands(&borrower, &funding, &[]).await.map_err(|e| format!("{e}: a child of {fee} sats holds it"))
    })
    .await
    .unwrap();
    let paid = borrower.chain.family_fee(ours.compute_txid()).await.unwrap().unwrap();
    assert!(paid.to_sat() > fee && paid <= part, "{paid} against {fee} sats");
    println!("bound pinned-while-the-price-moves {} sats against {fee}", paid.to_sat());
    world.bitcoind.mine(1).await.unwrap();
    let end = has(&world.lender, id, "the end", |loan| loan.stage == Stage::Cancelled).await;
    assert_eq!(end.funding_height, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_that_spends_its_coin_and_signs_all_the_same_is_refused_once_and_nothing_is_tried() {
    let world = World::new().await;
    let mut borrower = Stranger::new(&world, "borrower").await;
    let coins = borrower.coins(&world, 1).await;
    let negotiated = borrower.negotiate(&world, 300_000, TWO_DAYS, coins[0]).await;
    let id = negotiated.terms.id();
    let gone = spend(&mut borrower, &coins, 20_000);
    borrower.chain.broadcast(&gone).await.unwrap();
    negotiated.messages.iter().for_each(|message| borrower.say(message));
    let refused = borrower.refusal(id.0).await;
    assert!(["coins", "coin"].contains(&refused.code.as_str()), "{refused:?}");
    // Whatever was being done about it is done, and another word of the lender's comes after it.
    until("the lender to be idle", PATIENCE, || async {
        let status = world.lender.handle.status().await.unwrap();
        status.idle.then_some(()).ok_or(format!("{status:#?}"))
    })
    .await
    .unwrap();
    let request = borrower.request(300_000, TWO_DAYS);
    let about = request.request;
    borrower.say(&Message::QuoteRequest(request));
    let mut more = Vec::new();
    borrower
        .message("an answer", |message| match message {
            Message::Quote(quote) if quote.request == about => Some(()),
            Message::Refused(refused) if refused.about == about => Some(()),
            Message::Refused(refused) => {
                more.push(refused);
                None
            }
            _ => None,
        })
        .await;
    assert_eq!(more, [], "{refused:?} was said already");
    let loan = has(&world.lender, id, "the end", |loan| loan.stage == Stage::Cancelled).await;
    assert!(loan.cancelled_because.unwrap().contains("spent elsewhere") || refused.code == "coin");
}
