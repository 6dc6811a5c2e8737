//! A restore whose coins cannot all move, and one that knows of payments no block has. On a real bitcoind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, OutPoint, Txid};
use hypothec::demo::bitcoind::BitcoindProcess;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::view::{SendRequest, Severity};
use hypothec::node::Running;
use std::time::Duration;
use world::restoring::{fees_are, restore, restore_at, start_again, told, until_moving, until_read, MOVED, PASSPHRASE};
use world::{troubles, until_troubles, World};

const SMALL: Amount = Amount::from_sat(5_000);

async fn fund(node: &Running, bitcoind: &BitcoindProcess, value: Amount) -> OutPoint {
    let address: Address<NetworkUnchecked> = node.handle.new_address().await.unwrap().address.parse().unwrap();
    bitcoind.fund(&address.assume_checked(), value).await.unwrap()
}

fn pay(address: &str, sats: Option<u64>) -> SendRequest {
    SendRequest { address: address.to_owned(), sats, all: sats.is_none(), with_fee_coin: sats.is_none() }
}

/// A backup of the borrower, which has one coin too small to pay for moving at 100 sat/vB, and no other.
async fn with_a_small_coin_alone() -> (World, OutPoint, Vec<u8>) {
    let world = World::new().await;
    let elsewhere = world.lender.handle.new_address().await.unwrap().address;
    world.borrower.handle.send(pay(&elsewhere, None)).await.unwrap();
    let coin = fund(&world.borrower, &world.bitcoind, SMALL).await;
    world.mine(1).await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    (world, coin, sealed)
}

async fn until_all_moved(node: &Running) {
    until_troubles(node, "the coins to have moved", |said| !said.contains("restored")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_worth_less_than_its_move_costs_moves_with_the_others_which_pay_for_it() {
    let world = World::new().await;
    let coin = fund(&world.borrower, &world.bitcoind, SMALL).await;
    world.mine(1).await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    restore_at(&sealed, dir.path(), 100);
    let again = start_again(dir.path(), &bitcoind).await;
    let moved = until_moving(&again, &bitcoind).await;
    assert!(moved.input.len() == 2 && moved.input.iter().any(|input| input.previous_output == coin), "{moved:?}");
    bitcoind.mine(1).await.unwrap();
    until_all_moved(&again).await;
    assert_eq!(told(&again, MOVED).await, [moved.compute_txid()]);
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_nothing_pays_for_is_told_and_used_for_nothing_until_fees_fall() {
    let (world, coin, sealed) = with_a_small_coin_alone().await;
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    restore_at(&sealed, dir.path(), 100);
    let mut again = start_again(dir.path(), &bitcoind).await;
    let is_told = |said: &str| said.contains(&format!("{coin} of 0.00005000 BTC")) && said.contains("have not moved");
    for _ in 0..2 {
        until_troubles(&again, "the coin to be told", is_told).await;
        bitcoind.mine(1).await.unwrap();
        until_read(&again, &bitcoind).await;
        assert!(is_told(&troubles(&again).await) && told(&again, MOVED).await.is_empty());
        // The node works; this coin it leaves alone.
        assert_eq!(again.handle.balance().await.unwrap().reserved_sats, SMALL.to_sat());
        let address = again.handle.new_address().await.unwrap().address;
        let refused = again.handle.send(pay(&address, Some(1_000))).await.unwrap_err();
        assert!(refused.code != "unavailable" && !refused.message.contains("was restored"), "{refused:?}");
        again.stop().await.unwrap();
        again = start_again(dir.path(), &bitcoind).await;
    }
    again.stop().await.unwrap();
    fees_are(dir.path(), 5);
    let again = start_again(dir.path(), &bitcoind).await;
    let moved = until_moving(&again, &bitcoind).await;
    assert_eq!(moved.input.iter().map(|input| input.previous_output).collect::<Vec<_>>(), [coin]);
    assert!(
        troubles(&again).await.contains("1 coin on the way, in what waits for a block"),
        "{}",
        troubles(&again).await
    );
    bitcoind.mine(1).await.unwrap();
    until_all_moved(&again).await;
    assert_eq!(again.handle.balance().await.unwrap().reserved_sats, 0);
    again.stop().await.unwrap();
    let again = start_again(dir.path(), &bitcoind).await;
    assert!(!troubles(&again).await.contains("restored"));
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_was_left_costs_nothing_of_what_comes_after_moves_when_fees_fall_and_again_after_a_reorganisation()
{
    let (world, coin, sealed) = with_a_small_coin_alone().await;
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    restore_at(&sealed, dir.path(), 100);
    let again = start_again(dir.path(), &bitcoind).await;
    until_troubles(&again, "the coin to be told", |said| said.contains("have not moved")).await;
    let deposit = fund(&again, &bitcoind, Amount::ONE_BTC).await;
    bitcoind.mine_only(&[deposit.txid]).await.unwrap();
    until_read(&again, &bitcoind).await;
    bitcoind.mine(1).await.unwrap();
    until_read(&again, &bitcoind).await;
    let said = until_troubles(&again, "it to be told still", |said| said.contains(&coin.to_string())).await;
    assert!(said.contains("worth less than moving costs") && told(&again, MOVED).await.is_empty(), "{said}");
    let balance = again.handle.balance().await.unwrap();
    assert_eq!((balance.confirmed_sats, balance.reserved_sats), (Amount::ONE_BTC.to_sat(), SMALL.to_sat()));
    again.stop().await.unwrap();
    fees_are(dir.path(), 5);
    let again = start_again(dir.path(), &bitcoind).await;
    let moved = until_moving(&again, &bitcoind).await;
    assert_eq!(moved.input.iter().map(|input| input.previous_output).collect::<Vec<_>>(), [coin]);
    let block = bitcoind.mine(1).await.unwrap()[0];
    until_all_moved(&again).await;
    bitcoind.invalidate(block).await.unwrap();
    bitcoind.mine_only(&[]).await.unwrap();
    bitcoind.mine_only(&[]).await.unwrap();
    until_troubles(&again, "the move to wait again", |said| said.contains("waits for a confirmation")).await;
    bitcoind.mine(1).await.unwrap();
    until_all_moved(&again).await;
    drop((lender, oracle));
}

/// The borrower has paid 0.1 BTC that no block has, and is lost; bitcoind starts again with an empty mempool.
async fn lost_with_a_payment(args: &[&str]) -> (World, Txid, String, Vec<u8>) {
    let world = World::new().await;
    let to = world.lender.handle.new_address().await.unwrap().address;
    let paid = world.borrower.handle.send(pay(&to, Some(10_000_000))).await.unwrap().txid;
    world.settle().await;
    let world = world.with_bitcoind(&[&["-persistmempool=0"], args].concat()).await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    (world, paid, to, sealed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_backup_knows_is_brought_out_before_any_coin_moves_and_is_made() {
    let world = World::new().await;
    let before = world.lender.handle.balance().await.unwrap().confirmed_sats;
    let to = world.lender.handle.new_address().await.unwrap().address;
    let paid = world.borrower.handle.send(pay(&to, Some(10_000_000))).await.unwrap().txid;
    world.settle().await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let spare = world::start_node(world.dir.path(), "spare", &world.bitcoind, &world.dir.path().join("clock")).await;
    let mut world = world;
    std::mem::replace(&mut world.borrower, spare).stop().await.unwrap();
    let World { bitcoind, dir, lender, oracle, .. } = world.with_bitcoind(&["-persistmempool=0"]).await;
    assert_eq!(bitcoind.mempool_len().await.unwrap(), 0);
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    let said = until_troubles(&again, "the payment to be out", |said| said.contains("spent by what was made")).await;
    assert!(said.contains(&paid.to_string()) && told(&again, MOVED).await.is_empty(), "{said}");
    bitcoind.mine(1).await.unwrap();
    // What it paid back was signed for before the restore too.
    let moved = until_moving(&again, &bitcoind).await;
    assert!(moved.input.iter().all(|input| input.previous_output.txid == paid), "{moved:?}");
    bitcoind.mine(1).await.unwrap();
    until_all_moved(&again).await;
    until_read(&lender, &bitcoind).await;
    assert_eq!(lender.handle.balance().await.unwrap().confirmed_sats, before + 10_000_000);
    drop(oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_cannot_be_brought_out_after_a_restore_is_told_by_name_and_sum_before_its_coins_move() {
    let (world, paid, to, sealed) = lost_with_a_payment(&["-minrelaytxfee=0.0005"]).await;
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    assert_eq!(bitcoind.mempool_len().await.unwrap(), 0);
    restore(&sealed, dir.path());
    let mut again = start_again(dir.path(), &bitcoind).await;
    until_moving(&again, &bitcoind).await;
    let events = again.handle.events(0, Duration::ZERO).await.unwrap();
    let event = events.iter().find(|event| event.event == "payment_not_made").expect("it is told before");
    assert!(event.severity == Severity::Warning && event.facts.txid == Some(paid), "{event:?}");
    for part in [paid.to_string(), "of 0.10000000 BTC".to_owned(), to, "min relay fee not met".to_owned()] {
        assert!(event.text.contains(&part) && troubles(&again).await.contains(&part), "{part}: {event:?}");
    }
    // The lost node may have told of it after the backup, and a person may have paid again.
    assert!(event.text.contains("paid again after the backup") && event.text.contains("Ask its receiver first"));
    // Over a restart too, and until its coins are gone for good.
    again.stop().await.unwrap();
    again = start_again(dir.path(), &bitcoind).await;
    assert!(
        troubles(&again).await.contains(&format!("payment {paid} of 0.10000000 BTC")),
        "{}",
        troubles(&again).await
    );
    for _ in 0..6 {
        bitcoind.mine(1).await.unwrap();
        until_read(&again, &bitcoind).await;
    }
    until("the end of the payment", PATIENCE, || async {
        let events = again.handle.events(0, Duration::ZERO).await.unwrap();
        let over = events.iter().find(|event| event.event == "payment_refused" && event.facts.txid == Some(paid));
        let over = over.filter(|event| event.text.contains("is not made any more"));
        over.map(drop).ok_or_else(|| format!("{events:#?}"))
    })
    .await
    .unwrap();
    until_troubles(&again, "nothing more of it", |said| !said.contains(&paid.to_string())).await;
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_change_of_a_payment_made_after_the_backup_moves_too_once_a_block_has_it() {
    let world = World::new().await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let to = world.lender.handle.new_address().await.unwrap().address;
    let paid = world.borrower.handle.send(pay(&to, Some(10_000_000))).await.unwrap().txid;
    world.settle().await;
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    until_troubles(&again, "the payment to be known", |said| said.contains(&format!("by {paid}"))).await;
    bitcoind.mine_only(&[paid]).await.unwrap();
    let moved = until_moving(&again, &bitcoind).await;
    assert!(moved.input.iter().all(|input| input.previous_output.txid == paid), "{moved:?}");
    bitcoind.mine(1).await.unwrap();
    until_all_moved(&again).await;
    // Once: what it moved to is of after, also over a restart and for what is paid from it.
    again.stop().await.unwrap();
    let again = start_again(dir.path(), &bitcoind).await;
    until_read(&again, &bitcoind).await;
    assert_eq!(told(&again, MOVED).await, [moved.compute_txid()]);
    again.handle.send(pay(&to, Some(20_000_000))).await.unwrap();
    bitcoind.mine(2).await.unwrap();
    until_read(&again, &bitcoind).await;
    assert_eq!((told(&again, MOVED).await.len(), troubles(&again).await.contains("restored")), (1, false));
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_coin_lost_its_block_is_paid_for_anew_without_it_and_the_coin_moves_when_a_block_has_it_again() {
    let world = World::new().await;
    // A deposit in the last block before the backup.
    let coin = fund(&world.borrower, &world.bitcoind, Amount::ONE_BTC).await;
    let block = world.bitcoind.mine_only(&[coin.txid]).await.unwrap();
    world.settle().await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    let first = until_moving(&again, &bitcoind).await;
    assert_eq!(first.input.len(), 2);
    again.stop().await.unwrap();
    bitcoind.invalidate(block).await.unwrap();
    for _ in 0..8 {
        bitcoind.mine_only(&[]).await.unwrap();
    }
    fees_are(dir.path(), 50);
    let again = start_again(dir.path(), &bitcoind).await;
    let chain = hypothec::chain::Chain::connect(bitcoind.chain_config()).await.unwrap();
    let (kept, old) = (first.input.iter().map(|input| input.previous_output).find(|one| *one != coin).unwrap(), first);
    let dearer = until("a dearer move without that coin", PATIENCE, || async {
        let spender = chain.spender(kept).await.map_err(|error| error.to_string())?;
        spender.filter(|made| made.compute_txid() != old.compute_txid()).ok_or(troubles(&again).await)
    })
    .await
    .unwrap();
    assert_eq!(dearer.input.iter().map(|input| input.previous_output).collect::<Vec<_>>(), [kept]);
    bitcoind.mine(1).await.unwrap();
    let last = until("the coin to move", PATIENCE, || async {
        let spender = chain.spender(coin).await.map_err(|error| error.to_string())?;
        spender.ok_or(troubles(&again).await)
    })
    .await
    .unwrap();
    assert_eq!(last.input.len(), 1);
    bitcoind.mine(1).await.unwrap();
    until_all_moved(&again).await;
    drop((lender, oracle));
}
