//! What a block had that a reorganisation took away, however deep it lay. On a real bitcoind, which brings what more than ten
//! blocks had back into no mempool.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, BlockHash, Transaction, Txid};
use hypothec::chain::Chain;
use hypothec::contract::repay::Source;
use hypothec::demo::bitcoind::BitcoindProcess;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::view::{Balance, SendRequest};
use hypothec::node::Running;
use hypothec::protocol::Stage;
use std::time::Duration;
use world::restoring::until_read;
use world::{start_node, World};

/// Far beyond six, and beyond what bitcoind brings back by itself.
const DEEP: u32 = 20;
const SUM: u64 = 10_000_000;

fn pay(address: String) -> SendRequest {
    SendRequest { address, sats: Some(SUM), all: false, with_fee_coin: false }
}

/// The block of this transaction is buried.
async fn bury(bitcoind: &BitcoindProcess, txid: Txid) -> BlockHash {
    let block = bitcoind.mine_only(&[txid]).await.unwrap();
    bitcoind.mine(DEEP).await.unwrap();
    block
}

/// Another chain takes the place of this block and all above it, longer and with nothing in it.
async fn replace(bitcoind: &BitcoindProcess, block: BlockHash) {
    bitcoind.invalidate(block).await.unwrap();
    for _ in 0..DEEP + 3 {
        bitcoind.mine_only(&[]).await.unwrap();
    }
}

async fn until_out(bitcoind: &BitcoindProcess, txid: Txid) -> Transaction {
    let chain = Chain::connect(bitcoind.chain_config()).await.unwrap();
    let seen = until("it to be handed in again", PATIENCE, || async {
        let seen = chain.transaction(txid).await.map_err(|error| error.to_string())?;
        seen.ok_or_else(|| "bitcoind does not know it".to_owned())
    });
    seen.await.unwrap().transaction
}

/// The borrower's node is stopped and started.
async fn started_again(world: World) -> World {
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    borrower.stop().await.unwrap();
    let borrower = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    world.settle().await;
    world
}

async fn until_balance(node: &Running, what: &str, right: impl Fn(&Balance) -> bool) -> Balance {
    until(what, PATIENCE, || async {
        let balance = node.handle.balance().await.map_err(|error| error.message)?;
        right(&balance).then_some(balance).ok_or_else(|| format!("{balance:?}"))
    })
    .await
    .unwrap()
}

fn all_of(balance: &Balance) -> u64 {
    balance.confirmed_sats + balance.unconfirmed_sats + balance.immature_sats + balance.reserved_sats
}

async fn texts_of(node: &Running, event: &str, txid: Txid) -> Vec<String> {
    let events = node.handle.events(0, Duration::ZERO).await.unwrap();
    let about = events.into_iter().filter(|one| one.event == event && one.facts.txid == Some(txid));
    about.map(|one| one.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_twenty_blocks_deep_that_a_reorganisation_loses_is_handed_in_again_and_its_coins_stay_its_own() {
    let world = World::new().await;
    let to = world.lender.handle.new_address().await.unwrap().address;
    let before = world.lender.handle.balance().await.unwrap().confirmed_sats;
    let sent = world.borrower.handle.send(pay(to)).await.unwrap();
    world.settle().await;
    let block = bury(&world.bitcoind, sent.txid).await;
    world.settle().await;
    let after = world.borrower.handle.balance().await.unwrap();
    assert_eq!(world.lender.handle.balance().await.unwrap().confirmed_sats, before + SUM);
    // As after a while: so deep, nobody minds it any more.
    let world = started_again(world).await;
    replace(&world.bitcoind, block).await;
    until_out(&world.bitcoind, sent.txid).await;
    world.settle().await;
    // It is paid once: no coin of it is free meanwhile.
    let waits = world.borrower.handle.balance().await.unwrap();
    assert_eq!(all_of(&waits), all_of(&after));
    let elsewhere = world.lender.handle.new_address().await.unwrap().address;
    let second = world.borrower.handle.send(SendRequest { sats: Some(1_000), ..pay(elsewhere) }).await;
    assert!(second.is_err(), "{second:?}");
    world.mine(1).await;
    assert_eq!(world.borrower.handle.balance().await.unwrap(), after);
    assert_eq!(world.lender.handle.balance().await.unwrap().confirmed_sats, before + SUM);
    assert!(texts_of(&world.lender, "transaction_lost", sent.txid).await.len() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_what_a_loan_paid_out_is_handed_in_again_as_any() {
    let world = World::new().await;
    let id = world.open(300_000, 30).await;
    world.borrower.handle.repay(id, Source::Collateral).await.unwrap();
    world.closed(id).await;
    let to = world.lender.handle.new_address().await.unwrap().address;
    let all = SendRequest { sats: None, all: true, with_fee_coin: true, ..pay(to) };
    let sent = world.borrower.handle.send(all).await.unwrap();
    world.settle().await;
    let block = bury(&world.bitcoind, sent.txid).await;
    world.settle().await;
    let mut world = started_again(world).await;
    // Whom it paid would hand it in as well.
    let spare = start_node(world.dir.path(), "spare", &world.bitcoind, &world.dir.path().join("clock")).await;
    std::mem::replace(&mut world.lender, spare).stop().await.unwrap();
    replace(&world.bitcoind, block).await;
    until_out(&world.bitcoind, sent.txid).await;
    assert_eq!(all_of(&world.borrower.handle.balance().await.unwrap()), 0, "no coin of it is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_payment_that_is_lost_while_the_node_does_not_run_is_handed_in_at_its_next_start() {
    let world = World::new().await;
    let to = world.lender.handle.new_address().await.unwrap().address;
    let sent = world.borrower.handle.send(pay(to)).await.unwrap();
    world.settle().await;
    let block = bury(&world.bitcoind, sent.txid).await;
    world.settle().await;
    let after = world.borrower.handle.balance().await.unwrap();
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    replace(&bitcoind, block).await;
    let again = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    until_out(&bitcoind, sent.txid).await;
    bitcoind.mine(1).await.unwrap();
    until_read(&again, &bitcoind).await;
    until_balance(&again, "the payment to be in a block", |balance| *balance == after).await;
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_that_a_reorganisation_loses_counts_for_nothing_and_is_told_until_it_is_back() {
    let world = World::new().await;
    let before = world.borrower.handle.balance().await.unwrap();
    let address: Address<NetworkUnchecked> =
        world.borrower.handle.new_address().await.unwrap().address.parse().unwrap();
    let coin = world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(SUM)).await.unwrap();
    let deposit = until_out(&world.bitcoind, coin.txid).await;
    let block = bury(&world.bitcoind, coin.txid).await;
    world.settle().await;
    assert_eq!(all_of(&world.borrower.handle.balance().await.unwrap()), all_of(&before) + SUM);
    replace(&world.bitcoind, block).await;
    until_read(&world.borrower, &world.bitcoind).await;
    let left = until_balance(&world.borrower, "the deposit to be gone", |balance| all_of(balance) == all_of(&before));
    let left = left.await;
    assert_eq!(left, before);
    println!("bound lost-block {} sats are counted of it", all_of(&left) - all_of(&before));
    let told = until("it to be told", PATIENCE, || async {
        let told = texts_of(&world.borrower, "transaction_lost", coin.txid).await;
        told.first().cloned().ok_or_else(|| "nothing is told".to_owned())
    });
    let told = told.await.unwrap();
    assert!(told.contains("0.10000000 BTC") && told.contains("not counted"), "{told}");
    // Whoever paid it hands it in again.
    let chain = Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    chain.broadcast(&deposit).await.unwrap();
    world.mine(1).await;
    let back = world.borrower.handle.balance().await.unwrap();
    assert_eq!(back.confirmed_sats, before.confirmed_sats + SUM);
    assert_eq!(texts_of(&world.borrower, "transaction_lost", coin.txid).await.len(), 1, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_that_loses_twenty_blocks_with_the_coin_that_was_made_for_it_is_active_again() {
    let world = World::new().await;
    let below = world.bitcoind.height().await.unwrap();
    let id = world.open(300_000, 30).await;
    world.mine(DEEP).await;
    let chain = Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    let history = world.lender.handle.history().await.unwrap();
    let made = history.iter().find(|one| one.height.is_some_and(|height| height > below)).unwrap();
    let block = chain.transaction(made.txid).await.unwrap().unwrap().confirmed.unwrap();
    assert_eq!(world.both(id).await.map(|loan| loan.stage), [Stage::Active; 2]);
    replace(&world.bitcoind, block.hash).await;
    until_out(&world.bitcoind, made.txid).await;
    until("the loan to be active again", PATIENCE, || async {
        world.bitcoind.mine(1).await.map_err(|error| error.to_string())?;
        let stages = world.both(id).await.map(|loan| loan.stage);
        (stages == [Stage::Active; 2]).then_some(()).ok_or_else(|| format!("{stages:?}"))
    })
    .await
    .unwrap();
}
