//! What a restored node tells of spends that it did not make: another's, and never what it did itself before it was lost. On
//! a real bitcoind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::{Address, Amount, OutPoint, Transaction, Txid};
use hypothec::contract::repay::Source;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::node::view::{LoanView, SendRequest};
use hypothec::node::Running;
use hypothec::protocol::{Exit, Stage};
use std::path::Path;
use std::time::Duration;
use world::elsewhere::Elsewhere;
use world::restoring::{restore, start_again, told, until_moving, until_read, MOVED, PASSPHRASE};
use world::stranger::Stranger;
use world::{loan, troubles, until_troubles, World, HOUR, START};

const ALARM: &str = "second node, seen on the chain";
const CONTRACT: &str = "signed before the restore";
/// The borrower as a restored node whose move waits in the mempool; and all else that must live on.
async fn restored(world: World) -> (Running, Transaction, BitcoindProcess, tempfile::TempDir) {
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let World { bitcoind, borrower, dir, .. } = world;
    borrower.stop().await.unwrap();
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    let moved = until_moving(&again, &bitcoind).await;
    (again, moved, bitcoind, dir)
}

fn coins_of(transaction: &Transaction) -> Vec<OutPoint> {
    transaction.input.iter().map(|input| input.previous_output).collect()
}

/// Nobody is told of anything that this node did not make.
async fn is_silent(node: &Running, bitcoind: &BitcoindProcess) {
    until_read(node, bitcoind).await;
    let said = troubles(node).await;
    assert!(!said.contains(ALARM) && !said.contains(CONTRACT), "{said}");
    assert_eq!(told(node, "not made by this node").await, []);
    assert_eq!(told(node, CONTRACT).await, []);
}

/// It is told in `status`, as an event and in the history, over a restart too.
async fn is_told(again: Running, rival: &Transaction, lost: &str, bitcoind: &BitcoindProcess, dir: &Path) -> Running {
    let why = rival.compute_txid();
    let said = until_troubles(&again, "another's spend", |said| said.contains(ALARM)).await;
    assert!(said.contains(&why.to_string()) && said.contains(lost), "{said}");
    until("the event", PATIENCE, || async {
        let events = again.handle.events(0, Duration::ZERO).await.unwrap();
        let is_said = events.iter().any(|event| event.text.contains(&why.to_string()) && event.event == "attention");
        is_said.then_some(()).ok_or(format!("{events:#?}"))
    })
    .await
    .unwrap();
    assert_eq!(told(&again, "not made by this node").await, [why]);
    again.stop().await.unwrap();
    let again = start_again(dir, bitcoind).await;
    let said = troubles(&again).await;
    assert!(said.contains(ALARM) && said.contains(&why.to_string()), "{said}");
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_whose_move_another_displaces_is_told_over_a_restart_too() {
    let (again, moved, bitcoind, dir) = restored(World::new().await).await;
    let thief = Elsewhere::of(dir.path(), "again", &bitcoind, START).await;
    let rival = thief.spend(&coins_of(&moved), None, 50_000).await;
    thief.chain.broadcast(&rival).await.unwrap();
    let again = is_told(again, &rival, "which lost 3 BTC", &bitcoind, dir.path()).await;
    assert!(troubles(&again).await.contains("Did you send it before that, all is well"), "the old node may have");
    bitcoind.mine(1).await.unwrap();
    until_read(&again, &bitcoind).await;
    assert_eq!(told(&again, "not made by this node").await, [rival.compute_txid()]);
    assert!(troubles(&again).await.contains(ALARM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_whose_coins_another_has_mined_before_its_move_is_told_also_if_it_did_not_run() {
    for runs in [true, false] {
        let (again, moved, bitcoind, dir) = restored(World::new().await).await;
        let thief = Elsewhere::of(dir.path(), "again", &bitcoind, START).await;
        let rival = thief.spend(&coins_of(&moved), None, 50_000).await;
        let again = match runs {
            true => {
                bitcoind.mine_these(std::slice::from_ref(&rival)).await.unwrap();
                again
            }
            false => {
                again.stop().await.unwrap();
                bitcoind.mine_these(std::slice::from_ref(&rival)).await.unwrap();
                start_again(dir.path(), &bitcoind).await
            }
        };
        is_told(again, &rival, "which lost 3 BTC", &bitcoind, dir.path()).await;
    }
    println!("bound restored-rival 0 untold, whether the node ran or not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_came_after_a_restore_and_is_spent_elsewhere_is_told_while_the_move_waits() {
    let (again, moved, bitcoind, dir) = restored(World::new().await).await;
    let address: Address<bitcoin::address::NetworkUnchecked> =
        again.handle.new_address().await.unwrap().address.parse().unwrap();
    let coin = bitcoind.fund(&address.assume_checked(), Amount::ONE_BTC).await.unwrap();
    bitcoind.mine_only(&[coin.txid]).await.unwrap();
    is_silent(&again, &bitcoind).await;
    let thief = Elsewhere::of(dir.path(), "again", &bitcoind, START).await;
    let stolen = thief.spend(&[coin], None, 10_000).await;
    thief.chain.broadcast(&stolen).await.unwrap();
    let again = is_told(again, &stolen, "which lost 1 BTC", &bitcoind, dir.path()).await;
    let said = troubles(&again).await;
    assert!(said.contains("waits for a confirmation") && !said.contains("before that, all is well"), "{said}");
    // Its move, which nobody displaced, ends as ever.
    bitcoind.mine(1).await.unwrap();
    until_troubles(&again, "the coins to have moved", |said| !said.contains("waits for a confirmation")).await;
    assert_eq!(told(&again, MOVED).await, [moved.compute_txid()]);
    assert_eq!(told(&again, "not made by this node").await, [stolen.compute_txid()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_node_did_after_its_backup_is_no_alarm_for_the_restored_one() {
    let world = World::new().await;
    let (node, elsewhere) = (&world.borrower.handle, world.lender.handle.new_address().await.unwrap().address);
    let sealed = node.backup(PASSPHRASE.into()).await.unwrap();
    let pay = async || {
        let request =
            SendRequest { address: elsewhere.clone(), sats: Some(1_000_000), all: false, with_fee_coin: false };
        node.send(request).await.unwrap().txid
    };
    // A payment, a loan, and a payment that waits still.
    pay().await;
    world.mine(1).await;
    let id = world.open(300_000, 30).await;
    world.mine(1).await;
    let last = pay().await;
    world.settle().await;
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world;
    borrower.stop().await.unwrap();
    restore(&sealed, dir.path());
    let mut again = start_again(dir.path(), &bitcoind).await;
    until_moving(&again, &bitcoind).await;
    for blocks in [0, 1, 1] {
        bitcoind.mine(blocks).await.unwrap();
        is_silent(&again, &bitcoind).await;
        again.stop().await.unwrap();
        again = start_again(dir.path(), &bitcoind).await;
        is_silent(&again, &bitcoind).await;
    }
    // What the last payment paid back moves after it.
    until("the coins to have moved", PATIENCE, || async {
        bitcoind.mine(1).await.map_err(|error| error.to_string())?;
        is_silent(&again, &bitcoind).await;
        let said = troubles(&again).await;
        (!said.contains("to a new address")).then_some(()).ok_or(said)
    })
    .await
    .unwrap();
    assert!(told(&again, "sent").await.contains(&last), "as far as the chain shows it");
    // The loan comes back, and what is made now is known as ever.
    until("the loan to be given back", PATIENCE, || async {
        let loan = again.handle.loan(id).await.map_err(|error| error.message)?;
        (loan.stage == Stage::Active).then_some(()).ok_or(loan.stage.to_string())
    })
    .await
    .unwrap();
    let request = SendRequest { address: elsewhere, sats: Some(1_000_000), all: false, with_fee_coin: false };
    again.handle.send(request).await.unwrap();
    bitcoind.mine(1).await.unwrap();
    is_silent(&again, &bitcoind).await;
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_reorganisation_that_brings_another_life_of_an_old_payment_is_no_alarm_and_a_new_spend_is_one() {
    let world = World::new().await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let World { bitcoind, borrower, dir, .. } = world;
    borrower.stop().await.unwrap();
    // What the old node paid was raised once: both are signed, and a block has the dearer one. A coin comes too.
    let mut old = Elsewhere::of(dir.path(), "borrower", &bitcoind, START).await;
    let coins: Vec<OutPoint> = old.wallet.coins().iter().map(|coin| coin.outpoint).collect();
    let (cheap, dear) = (old.spend(&coins, None, 2_000).await, old.spend(&coins, None, 9_000).await);
    let address = old.wallet.new_address().unwrap();
    let coin = bitcoind.fund(&address, Amount::ONE_BTC).await.unwrap();
    old.chain.broadcast(&dear).await.unwrap();
    let fork = bitcoind.mine(1).await.unwrap()[0];
    bitcoind.mine(12).await.unwrap();
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    let moved = until_moving(&again, &bitcoind).await;
    bitcoind.mine(2).await.unwrap();
    until_troubles(&again, "the coins to have moved", |said| !said.contains("restored")).await;
    is_silent(&again, &bitcoind).await;
    // All of that goes, and the cheaper one is in a block.
    let funding = old.chain.transaction(coin.txid).await.unwrap().unwrap().transaction;
    bitcoind.invalidate(fork).await.unwrap();
    bitcoind.mine_these(&[cheap.clone(), funding]).await.unwrap();
    for _ in 0..15 {
        bitcoind.mine_only(&[]).await.unwrap();
    }
    is_silent(&again, &bitcoind).await;
    assert!(told(&again, "sent").await.contains(&cheap.compute_txid()));
    // bitcoind forgets what was in blocks so deep: the move is brought out again, and nothing is signed until a block has it.
    assert_eq!(until_moving(&again, &bitcoind).await, moved);
    until_troubles(&again, "the move to wait", |said| said.contains("waits for a confirmation")).await;
    // Somebody else takes what had moved.
    old.catch_up(START).await;
    let stolen = old.spend(&coins_of(&moved), None, 50_000).await;
    bitcoind.mine_these(std::slice::from_ref(&stolen)).await.unwrap();
    is_told(again, &stolen, "which lost 1 BTC", &bitcoind, dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_can_have_completed_is_told_as_signed_before_the_restore() {
    let world = World::new().await;
    let key = world.lender.node_id;
    let mut stranger = Stranger::of(&world, "stranger", key).await;
    let theirs = stranger.coins(&world, 1).await;
    let (again, moved, bitcoind, dir) = restored(world).await;
    let mut old = Elsewhere::of(dir.path(), "again", &bitcoind, START).await;
    let joint = old.spend(&[coins_of(&moved), theirs].concat(), Some(&stranger.wallet), 90_000).await;
    bitcoind.mine_these(std::slice::from_ref(&joint)).await.unwrap();
    let said = until_troubles(&again, "the contract", |said| said.contains(CONTRACT)).await;
    assert!(!said.contains(ALARM) && said.contains(&joint.compute_txid().to_string()), "{said}");
    assert!(said.contains("peer connect KEY@HOST:PORT"), "{said}");
    assert_eq!(told(&again, CONTRACT).await, [joint.compute_txid()]);
    again.stop().await.unwrap();
    let again = start_again(dir.path(), &bitcoind).await;
    assert!(troubles(&again).await.contains(CONTRACT));
    // What is graver comes first, and hides it no more than it is hidden by it.
    let address: Address<bitcoin::address::NetworkUnchecked> =
        again.handle.new_address().await.unwrap().address.parse().unwrap();
    let coin = bitcoind.fund(&address.assume_checked(), Amount::ONE_BTC).await.unwrap();
    bitcoind.mine(1).await.unwrap();
    old.catch_up(START).await;
    let stolen = old.spend(&[coin], None, 10_000).await;
    bitcoind.mine_these(std::slice::from_ref(&stolen)).await.unwrap();
    let again = is_told(again, &stolen, "which lost 1 BTC", &bitcoind, dir.path()).await;
    let said = troubles(&again).await;
    assert!(said.find(ALARM).unwrap() < said.find(CONTRACT).unwrap(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_moves_nothing_and_takes_nothing_for_news_while_bitcoind_is_in_its_initial_download() {
    let mut world = World::new().await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    // The newest block that it has is two days old.
    world.now = world.now.plus(48 * HOUR).unwrap();
    let now = world.now;
    let World { bitcoind, borrower, dir, lender, oracle, .. } = world.with_bitcoind(&[]).await;
    borrower.stop().await.unwrap();
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    until_troubles(&again, "the download", |said| said.contains("initial download")).await;
    is_silent(&again, &bitcoind).await;
    assert_eq!((told(&again, MOVED).await, bitcoind.mempool_len().await.unwrap()), (Vec::new(), 0));
    // What comes next is of long before: the lost node paid all it had.
    let old = Elsewhere::of(dir.path(), "borrower", &bitcoind, now).await;
    let coins: Vec<OutPoint> = old.wallet.coins().iter().map(|coin| coin.outpoint).collect();
    let paid = old.spend(&coins, None, 2_000).await;
    bitcoind.mine_these(std::slice::from_ref(&paid)).await.unwrap();
    until_troubles(&again, "all to be as ever", |said| !said.contains("restored") && !said.contains("download")).await;
    is_silent(&again, &bitcoind).await;
    assert_eq!((told(&again, MOVED).await, told(&again, "sent").await), (Vec::new(), vec![paid.compute_txid()]));
    drop((lender, oracle));
}

/// Everything a node has, whatever it is kept for.
async fn all_sats(node: &Running) -> i64 {
    let balance = node.handle.balance().await.unwrap();
    let parts = [balance.confirmed_sats, balance.unconfirmed_sats, balance.reserved_sats];
    i64::try_from(parts.iter().sum::<u64>()).unwrap()
}

/// The stage of a loan, once a block at a time has brought it there.
async fn until_stage(node: &Running, id: LoanId, stage: Stage, bitcoind: &BitcoindProcess) -> LoanView {
    until(&format!("the loan to be {stage}"), PATIENCE, || async {
        let loan = node.handle.loan(id).await.map_err(|error| error.message)?;
        if loan.stage == stage {
            return Ok(loan);
        }
        until_read(node, bitcoind).await;
        bitcoind.mine(1).await.unwrap();
        Err(format!("{loan:#?}"))
    })
    .await
    .unwrap()
}

/// A loan whose funding transaction is out and whose borrower takes its coin back: both transactions.
async fn taken_back(world: &World) -> (LoanId, Transaction, Txid) {
    let quote = world.quote(300_000, 30).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    while loan(&world.borrower.handle, id).await.stage != Stage::Confirming {
        world.mine(1).await;
    }
    let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    let funding = loan(&world.borrower.handle, id).await.funding.unwrap().txid;
    let funding = chain.transaction(funding).await.unwrap().unwrap();
    assert_eq!(funding.confirmed, None);
    world.borrower.handle.cancel(id).await.unwrap();
    let taken = until("the coin to be taken back", PATIENCE, || async {
        let view = loan(&world.borrower.handle, id).await;
        let taken = view.taken_back.ok_or("nothing is made")?;
        let seen = chain.transaction(taken).await.map_err(|error| error.to_string())?;
        seen.map(|_| taken).ok_or("it is not out".to_owned())
    })
    .await
    .unwrap();
    (id, funding.transaction, taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_a_coin_is_taken_back_brings_both_sides_money_home_whichever_of_the_two_a_block_has() {
    for is_funded in [true, false] {
        let world = World::new().await;
        let before = [all_sats(&world.borrower).await, all_sats(&world.lender).await];
        let (id, funding, taken) = taken_back(&world).await;
        let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
        let World { bitcoind, borrower, lender, dir, oracle, .. } = world;
        borrower.stop().await.unwrap();
        restore(&sealed, dir.path());
        let again = start_again(dir.path(), &bitcoind).await;
        // It reads that its coin is being taken back, and sees one of the two in a block.
        is_silent(&again, &bitcoind).await;
        assert_eq!(loan(&again.handle, id).await.taken_back, Some(taken));
        match is_funded {
            true => bitcoind.mine_these(std::slice::from_ref(&funding)).await.unwrap(),
            false => bitcoind.mine_only(&[taken]).await.unwrap(),
        };
        if is_funded {
            let view = until_stage(&again, id, Stage::Active, &bitcoind).await;
            assert_eq!((view.taken_back, view.funding.map(|coin| coin.txid)), (None, Some(funding.compute_txid())));
            // No backup is known to hold it as a loan that is wanted: that is said.
            let attention = again.handle.status().await.unwrap().attention;
            assert!(
                attention.iter().any(|one| one.loan_id == Some(id) && one.about.starts_with("backup ")),
                "{attention:#?}"
            );
            until("the repayment to be proposed", PATIENCE, || async {
                bitcoind.mine(1).await.unwrap();
                again.handle.repay(id, Source::Wallet).await.map(drop).map_err(|error| error.message)
            })
            .await
            .unwrap();
            for node in [&again, &lender] {
                let end = until_stage(node, id, Stage::Closed, &bitcoind).await.ended.unwrap();
                assert_eq!(end.exit, Some(Exit::Repaid));
            }
        } else {
            until_stage(&again, id, Stage::Cancelled, &bitcoind).await;
            until_stage(&lender, id, Stage::Cancelled, &bitcoind).await;
        }
        is_silent(&again, &bitcoind).await;
        is_silent(&lender, &bitcoind).await;
        let [ours, theirs] = [all_sats(&again).await - before[0], all_sats(&lender).await - before[1]];
        println!("funded {is_funded}: borrower {ours}, lender {theirs}");
        // Fees of some transactions; and the interest, where there was a loan.
        let fees = 60_000;
        assert!((-fees..=0).contains(&(ours + theirs)), "{ours} {theirs}");
        assert!(is_funded || (-fees..=0).contains(&theirs), "{theirs}");
        assert!(!is_funded || theirs > 0, "{theirs}");
        drop(oracle);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_is_taken_back_by_what_bitcoind_has_forgotten_comes_home_once_after_a_restore() {
    let world = World::new().await;
    let before = all_sats(&world.borrower).await;
    let (id, _, _) = taken_back(&world).await;
    let sealed = world.borrower.handle.backup(PASSPHRASE.into()).await.unwrap();
    let World { bitcoind, borrower, lender, dir, oracle, now } = world;
    borrower.stop().await.unwrap();
    lender.stop().await.unwrap();
    let port = bitcoind.rpc_url().rsplit(':').next().unwrap().parse().unwrap();
    bitcoind.stop().await.unwrap();
    let args = vec!["-persistmempool=0".to_owned()];
    let options = Options { rpc_port: Some(port), mock_time: Some(now), args, ..Options::default() };
    let bitcoind = BitcoindProcess::start(&dir.path().join("bitcoind"), options).await.unwrap();
    bitcoind.mine(1).await.unwrap();
    assert_eq!(bitcoind.mempool_len().await.unwrap(), 0);
    restore(&sealed, dir.path());
    let again = start_again(dir.path(), &bitcoind).await;
    // The move or the withdrawal: whichever comes first, nobody is said to have done it.
    until("the coin to come home", PATIENCE, || async {
        let said = troubles(&again).await;
        for wrong in ["another wallet of the same words", ALARM, CONTRACT] {
            assert!(!said.contains(wrong), "{said}");
        }
        let stage = loan(&again.handle, id).await.stage;
        if stage == Stage::Cancelled && !said.contains("restored") {
            return Ok(());
        }
        until_read(&again, &bitcoind).await;
        if bitcoind.mempool_len().await.unwrap() > 0 {
            bitcoind.mine(1).await.unwrap();
        }
        Err(format!("{stage}: {said}"))
    })
    .await
    .unwrap();
    let view = loan(&again.handle, id).await;
    println!("{:?} {:?}", view.cancelled_because, again.handle.history().await.unwrap());
    let lost = before - all_sats(&again).await;
    assert!((100..30_000).contains(&lost), "{lost}");
    drop(oracle);
}
