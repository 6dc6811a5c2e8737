//! Loans that are signed and whose funding transaction is in no block, on a real bitcoind: it is displaced, comes back, or
//! is sent when the price has gone. Either side walks away for good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, Network, OutPoint, Psbt, Sequence, Transaction, TxIn, TxOut, Txid};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::policy::Policy;
use hypothec::loan::units::{sats_for_cents_ceil, Cents};
use hypothec::loan::LoanId;
use hypothec::node::data::DataFolder;
use hypothec::node::view::{EventView, LoanView, QuoteRequest, SendRequest, Status};
use hypothec::node::Running;
use hypothec::protocol::{Message, Stage};
use hypothec::wallet::{Rival, Seed, Wallet};
use hypothec_oracle::clock::Clock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use world::lender::FalseLender;
use world::stranger::Stranger;
use world::{start_node, World, HOUR, START};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_of_sixteen_small_coins_takes_back_as_many_as_stand_against_the_funding() {
    let world = World::new().await;
    let oracles = vec![world.oracle.as_ref().unwrap().key];
    let policy = Policy { oracles, principal_min: Cents(1_000), ..Policy::default() };
    world.lender.handle.set_policy(policy).await.unwrap();
    let mut other = Stranger::new(&world, "other").await;
    let address = other.wallet.new_address().unwrap().to_string();
    world.borrower.handle.send(SendRequest { address, sats: None, all: true, with_fee_coin: true }).await.unwrap();
    world.mine(1).await;
    // About as small as sixteen coins can be that back a loan: none is worth the fee of its funding transaction.
    const EACH: u64 = 30_000;
    for _ in 0..16 {
        let address = world.borrower.handle.new_address().await.unwrap().address;
        let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
        world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(EACH)).await.unwrap();
    }
    world.mine(1).await;
    let request = QuoteRequest {
        lender: world.lender_address(),
        principal_cents: 1_500,
        collateral_sats: 440_000,
        days: TWO_DAYS,
    };
    let quote = world.borrower.handle.quote(request).await.unwrap();
    assert_eq!(quote.coins, Some(16), "{quote:#?}");
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let txid = until("the funding to be out", PATIENCE, || async {
        let waiting = world.bitcoind.mempool_len().await.unwrap();
        let loan = world.borrower.handle.loan(id).await.map_err(|error| error.message)?;
        // The lender's coin needs a block, and the funding transaction, which comes after, must get none.
        if waiting > 0 && loan.stage == Stage::Agreed {
            world.bitcoind.mine(1).await.unwrap();
        }
        let funding = loan.funding.filter(|_| loan.stage == Stage::Confirming);
        funding.map(|funding| funding.txid).ok_or_else(|| format!("{:?}", loan.stage))
    })
    .await
    .unwrap();
    let funding = other.chain.transaction(txid).await.unwrap().unwrap().transaction;
    let family = other.chain.family_fee(txid).await.unwrap().unwrap();
    world.borrower.handle.cancel(id).await.unwrap();
    let (ours, paid) = until("the coins to be taken back", PATIENCE, || async {
        let ours = stands(&other, &funding, &[]).await?;
        // What pays the market's rate is raised to what stands.
        let paid = other.chain.family_fee(ours.compute_txid()).await.unwrap().unwrap_or_default();
        let right = paid > family && paid.to_sat() > EACH;
        right.then_some((ours, paid)).ok_or_else(|| format!("{paid} against {family}"))
    })
    .await
    .unwrap();
    assert_eq!(ours.input.len(), 2, "no more coins than it takes");
    println!("bound withdrawal-of-small-coins {} sats against {}", paid.to_sat(), family.to_sat());
    world.bitcoind.mine(1).await.unwrap();
    for node in [&world.borrower, &world.lender] {
        has(node, id, "the end", |loan| loan.stage == Stage::Cancelled).await;
    }
    until("the coins to be free", PATIENCE, || async {
        let now = world.borrower.handle.balance().await.unwrap();
        let right = now.confirmed_sats == 16 * EACH - paid.to_sat() && now.reserved_sats == 0;
        right.then_some(()).ok_or_else(|| format!("{now:?}"))
    })
    .await
    .unwrap();
}

/// A lender whose funding is out, and the borrower's coins: the one in it, and another.
async fn funded(world: &World, borrower: &mut Stranger) -> (LoanId, Transaction, Vec<OutPoint>) {
    let coins = borrower.coins(world, 2).await;
    let negotiated = borrower.negotiate(world, 300_000, TWO_DAYS, coins[0]).await;
    negotiated.messages.iter().for_each(|message| borrower.say(message));
    let (id, txid) = (negotiated.terms.id(), negotiated.skeleton.funding.txid);
    has(&world.lender, id, "the funding to be out", |loan| loan.stage == Stage::Confirming).await;
    (id, borrower.chain.transaction(txid).await.unwrap().unwrap().transaction, coins)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_displaces_a_withdrawal_is_named_and_it_is_said_what_comes_next() {
    let world = World::new().await;
    let mut borrower = Stranger::new(&world, "borrower").await;
    let (id, funding, coins) = funded(&world, &mut borrower).await;
    let counted = |status: &Status| (status.loans.active, status.loans.taken_back, status.loans.ended);
    assert_eq!(counted(&world.lender.handle.status().await.unwrap()), (1, 0, 0));
    let cancelled = world.lender.handle.cancel(id).await.unwrap();
    // At once, before the chain tells of it: what the wallet did is the withdrawal, and the loan is not counted as active.
    let history = world.lender.handle.history().await.unwrap();
    let named: Vec<_> = history.iter().filter(|one| one.loan_id == Some(id) && one.height.is_none()).collect();
    assert!(named.len() == 1 && Some(named[0].txid) == cancelled.taken_back, "{named:#?}");
    assert!(named[0].what.as_ref().unwrap().contains("taken back"), "{named:#?}");
    let status = world.lender.handle.status().await.unwrap();
    assert_eq!(counted(&status), (0, 1, 0));
    assert!(!status.troubles.join("; ").contains("not connected"), "{:?}", status.troubles);
    let ours = until("the coin to be taken back", PATIENCE, || stands(&borrower, &funding, &[])).await.unwrap();
    let coin = ours.input[0].previous_output;
    assert_ne!(coin, coins[0]);
    // Another wallet of the same words spends the same coin, for more.
    let words = DataFolder::open(&world.dir.path().join("lender")).unwrap().words().unwrap();
    let seed = Seed::from_mnemonic(&words, Network::Regtest).unwrap();
    let dir = world.dir.path().join("elsewhere");
    std::fs::create_dir_all(&dir).unwrap();
    borrower.wallet = Wallet::create_or_load(&dir, &seed, None).unwrap();
    let mut follower = borrower.chain.follower(&borrower.wallet.checkpoints(), borrower.wallet.unconfirmed());
    loop {
        let events = follower.poll().await.unwrap();
        if events.is_empty() {
            break;
        }
        events.iter().for_each(|event| borrower.wallet.apply(event, world.now).unwrap());
    }
    let fee = borrower.chain.family_fee(ours.compute_txid()).await.unwrap().unwrap();
    let rival = Rival { fee, fee_rate: FeeRate::from_sat_per_vb(200).unwrap() };
    let rival = borrower.wallet.spend_to_self(coin, FeeRate::BROADCAST_MIN, Some(&rival)).unwrap().transaction;
    borrower.chain.broadcast(&rival).await.unwrap();
    let (rival, ours) = (rival.compute_txid().to_string(), ours.compute_txid().to_string());
    let said = has(&world.lender, id, "what displaced it", |loan| {
        loan.turn.as_ref().is_some_and(|turn| turn.text.contains(&rival))
    })
    .await;
    assert!(said.turn.unwrap().text.contains("our coin"));
    let event = told(&world.lender, "funding_away").await;
    assert!(event.len() == 1 && event[0].text.contains(&format!("spent by transaction {rival}")), "{event:#?}");
    let trouble = until("the trouble, in words", PATIENCE, || async {
        let troubles = world.lender.handle.status().await.unwrap().troubles;
        troubles.iter().find(|one| one.contains(&ours)).cloned().ok_or_else(|| format!("{troubles:#?}"))
    })
    .await
    .unwrap();
    for part in ["takes our coin back, and was displaced", &rival, "the loan is not funded all the same"] {
        assert!(trouble.contains(part), "{part} in {trouble}");
    }
    assert!(!trouble.contains("insufficient fee"), "{trouble}");
    world.bitcoind.mine(1).await.unwrap();
    let end = has(&world.lender, id, "the end", |loan| loan.stage == Stage::Cancelled).await;
    assert!(end.cancelled_because.unwrap().contains(&rival));
    // Nothing is owed by it any more, and nobody is kept for it: only the policy still names its oracle.
    assert_eq!((end.owed_now_cents, end.debt_now_cents), (0, 0));
    let oracle = world.oracle.as_ref().unwrap().key;
    let refused = world.lender.handle.remove_oracle(oracle).await.unwrap_err();
    assert!(refused.message.starts_with("the policy names oracle"), "{refused:?}");
    assert_eq!(world.lender.handle.remove_peer(borrower.key()).await.unwrap().node_id, borrower.key());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_stopped_while_the_funding_was_away_looks_again_before_it_gives_the_loan_up() {
    let mut world = World::new().await;
    let mut borrower = Stranger::new(&world, "borrower").await;
    let (id, funding, coins) = funded(&world, &mut borrower).await;
    let first = spend(&mut borrower, &coins, 60_000);
    borrower.chain.broadcast(&first).await.unwrap();
    has(&world.lender, id, "what stands in its place", |loan| {
        loan.turn.as_ref().is_some_and(|turn| turn.text.contains(&first.compute_txid().to_string()))
    })
    .await;
    let clock = world.dir.path().join("clock");
    let spare = start_node(world.dir.path(), "spare", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, spare).stop().await.unwrap();
    // It is let back in while nobody looks, and minutes pass; they pass on while the node starts.
    let second = spend(&mut borrower, &coins[1..], 120_000);
    borrower.chain.broadcast(&second).await.unwrap();
    borrower.chain.broadcast(&funding).await.unwrap();
    pass(&mut world, 100).await;
    let (is_up, mut now) = (Arc::new(AtomicBool::new(false)), world.now);
    let moving = {
        let (is_up, clock) = (is_up.clone(), clock.clone());
        tokio::spawn(async move {
            let mut second = tokio::time::interval(Duration::from_millis(5));
            while !is_up.load(Ordering::Relaxed) {
                second.tick().await;
                now = now.plus(1).unwrap();
                Clock::set_file(&clock, now).unwrap();
            }
            now
        })
    };
    let again = start_node(world.dir.path(), "lender", &world.bitcoind, &clock).await;
    let back = until("it to be seen back", PATIENCE, || async {
        let back = told(&again, "funding_back").await;
        (!back.is_empty()).then_some(()).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    is_up.store(true, Ordering::Relaxed);
    world.now = moving.await.unwrap();
    std::mem::replace(&mut world.lender, again).stop().await.unwrap();
    let given_up = told(&world.lender, "given_up").await;
    assert_eq!(given_up, [], "given up before it was looked at");
    back.unwrap();
    world.bitcoind.mine(1).await.unwrap();
    has(&world.lender, id, "the block", |loan| loan.funding_height.is_some()).await;
}
