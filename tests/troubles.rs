//! What stands in the way is in `status` from when it begins until it ends, on a real bitcoind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::Amount;
use hypothec::contract::repay::Source;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::backup;
use hypothec::node::view::SendRequest;
use hypothec::node::words::Keep;
use hypothec::node::Running;
use hypothec::protocol::Stage;
use rustix::process::{kill_process, Pid, Signal};
use std::future::Future;
use std::time::{Duration, Instant};
use world::elsewhere::Elsewhere;
use world::{loan, start_node, troubles, until_troubles, World, HOUR};

#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_in_its_initial_download_or_away_is_told_until_it_is_there() {
    let mut world = World::new().await;
    assert_eq!(troubles(&world.borrower).await, "");
    // Its newest block is two days old when it starts: as one that has to read the chain.
    world.now = world.now.plus(48 * HOUR).unwrap();
    let world = world.with_bitcoind(&[]).await;
    let told = until_troubles(&world.borrower, "the download", |told| told.contains("initial download")).await;
    assert!(told.starts_with("bitcoind: it is in its initial download, at block "), "{told}");
    world.bitcoind.mine(1).await.unwrap();
    until_troubles(&world.borrower, "its end", |told| !told.contains("initial download")).await;
    // One that has lost a part of the chain, as after a reindex.
    let gone = world.bitcoind.block_hash(40).await.unwrap();
    world.bitcoind.invalidate(gone).await.unwrap();
    until_troubles(&world.borrower, "the lost blocks", |told| told.contains("bitcoind: it is at block 39")).await;
    world.bitcoind.reconsider(gone).await.unwrap();
    until_troubles(&world.borrower, "their return", |told| !told.contains("bitcoind: ")).await;
    // Another chain, which has none of the blocks that this node knows: which block was expected is named.
    let (height, tip) = (world.bitcoind.height().await.unwrap(), world.bitcoind.block_hash(1).await.unwrap());
    let known = world.bitcoind.block_hash(height).await.unwrap();
    world.bitcoind.invalidate(tip).await.unwrap();
    let named = format!("of which block {height} is {known}: it has no block of that above 0.");
    until_troubles(&world.borrower, "the other chain", |told| told.contains(&named)).await;
    world.bitcoind.reconsider(tip).await.unwrap();
    until_troubles(&world.borrower, "the known chain", |told| !told.contains("another chain")).await;
    // One that was started again without what this node asks it for.
    let world = world.with_bitcoind(&["-txindex=0"]).await;
    let text = "chain: waiting for bitcoind: ";
    let told = until_troubles(&world.borrower, "the index to be missed", |told| told.contains(text)).await;
    assert!(told.contains("has no transaction index: start it with -txindex=1"), "{told}");
    let world = world.with_bitcoind(&[]).await;
    until_troubles(&world.borrower, "its return", |told| !told.contains("chain: ")).await;
    let World { bitcoind, borrower, lender, oracle, .. } = world;
    bitcoind.stop().await.unwrap();
    until_troubles(&borrower, "bitcoind to be missed", |told| told.starts_with("chain: ")).await;
    drop((lender, oracle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_of_the_borrowers_that_is_spent_elsewhere_ends_the_negotiation_and_frees_the_lenders() {
    let world = World::new().await;
    let quote = world.quote(300_000, 30).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    world.settle().await;
    let stage = loan(&world.lender.handle, id).await.stage;
    assert!(matches!(stage, Stage::Agreed | Stage::Preparing), "{stage:?}");
    // Another wallet of the same words.
    let mut elsewhere = Elsewhere::of(world.dir.path(), "borrower", &world.bitcoind, world.now).await;
    let coin = elsewhere.wallet.free_coins()[0].outpoint;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(5);
    let spent = elsewhere.wallet.spend_to_self(coin, rate, None).unwrap().transaction;
    elsewhere.chain.broadcast(&spent).await.unwrap();
    world.bitcoind.mine(1).await.unwrap();
    let why = spent.compute_txid().to_string();
    for node in [&world.borrower, &world.lender] {
        let reason = until("the negotiation to end", PATIENCE, || async {
            let loan = loan(&node.handle, id).await;
            loan.cancelled_because.ok_or_else(|| loan.stage.to_string())
        });
        let reason = reason.await.unwrap();
        assert!(reason.contains("spent elsewhere"), "{reason}");
        assert_eq!(node.handle.balance().await.unwrap().reserved_sats, 0);
    }
    let told = loan(&world.borrower.handle, id).await.cancelled_because;
    assert!(told.is_some_and(|reason| reason.contains(&why)));
    // Nobody but this node has its words: it is told, over a restart too, and the history says which transaction it was.
    let told =
        until_troubles(&world.borrower, "another's spend", |told| told.contains("second node, seen on the chain"));
    assert!(told.await.contains(&why));
    assert!(!troubles(&world.lender).await.contains("second node"), "a payment of its own is no other's");
    let history = world.borrower.handle.history().await.unwrap();
    let foreign: Vec<_> = history.iter().filter(|one| one.what.as_deref() == Some("not made by this node")).collect();
    assert_eq!(foreign.iter().map(|one| one.txid).collect::<Vec<_>>(), [spent.compute_txid()]);
    let World { borrower, bitcoind, dir, .. } = world;
    borrower.stop().await.unwrap();
    let again = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    assert!(troubles(&again).await.contains(&why));
}

/// Sends everything free to the other node, or to an address of bitcoind's.
async fn give_all_away(node: &Running, to: &Running) {
    let address = to.handle.new_address().await.unwrap().address;
    node.handle.send(SendRequest { address, sats: None, all: true, with_fee_coin: true }).await.unwrap();
}

async fn fund(world: &World, node: &Running, sats: u64) {
    let address = node.handle.new_address().await.unwrap().address;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
    world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(sats)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_who_put_in_all_is_told_that_nothing_is_left_for_the_fees_of_an_exit_and_what_that_means() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    // The lender made its coin for the loan: from the change of that one for fees was set apart.
    let kept = |balance: hypothec::node::view::Balance| balance.fee_reserve_sats;
    assert_eq!(kept(world.lender.handle.balance().await.unwrap()), 20_000);
    // The borrower has its change and the principal: one of them is split, by a cheap transaction of its own, when no
    // change has done it for a day.
    let all = |balance: &hypothec::node::view::Balance| balance.confirmed_sats + balance.unconfirmed_sats;
    world.mine(1).await;
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 0);
    world.advance(world.now.plus(25 * HOUR).unwrap()).await;
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 1, "the one that sets a coin apart");
    world.mine(1).await;
    let balance = world.borrower.handle.balance().await.unwrap();
    assert_eq!(kept(balance), 20_000);
    assert_eq!(troubles(&world.borrower).await, "");
    give_all_away(&world.borrower, &world.lender).await;
    world.mine(1).await;
    let told = until_troubles(&world.borrower, "no coin", |told| told.contains("no coin is free")).await;
    assert!(told.contains("until its own output can pay. Send 20000 sats to `wallet address`"), "{told}");
    let attention = world.borrower.handle.status().await.unwrap().attention;
    assert!(attention.iter().any(|one| one.about == "fee coin"), "{attention:?}");
    assert!(!troubles(&world.lender).await.contains("fee coin"));
    // A large coin will do meanwhile, and one of two is split: but not twice a day.
    fund(&world, &world.borrower, 30_000_000).await;
    fund(&world, &world.borrower, 50_000_000).await;
    world.mine(1).await;
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 0);
    assert!(!troubles(&world.borrower).await.contains("fee coin"));
    world.advance(world.now.plus(25 * HOUR).unwrap()).await;
    world.mine(1).await;
    let balance = world.borrower.handle.balance().await.unwrap();
    let fee = 80_000_000 - all(&balance);
    println!("bound fee-coin {fee} sats, once a day");
    assert_eq!((kept(balance), fee < 2_000), (20_000, true), "{fee}");
    assert_eq!(loan(&world.borrower.handle, id).await.stage, Stage::Active);
    // A lender that is not where it was is told with the reason.
    let World { bitcoind: _bitcoind, borrower, lender, oracle: _oracle, .. } = world;
    lender.stop().await.unwrap();
    let gone =
        |told: &str| told.contains("again and again (connection refused, nothing listens there: see that its node");
    until_troubles(&borrower, "the lender's place", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_that_stopped_before_its_coins_had_moved_is_told_what_another_on_its_words_did_meanwhile() {
    let world = World::new().await;
    world.settle().await;
    let sealed = world.borrower.handle.backup("a passphrase of a test".into()).await.unwrap();
    let World { bitcoind, borrower, dir, .. } = world;
    let clock = dir.path().join("clock");
    borrower.stop().await.unwrap();
    let backup = backup::open(&sealed, &"a passphrase of a test".to_owned().into()).unwrap();
    backup.restore(&dir.path().join("again"), &Keep::Plain, None).unwrap();
    let again = start_node(dir.path(), "again", &bitcoind, &clock).await;
    until("the move to be out", PATIENCE, || async {
        let waiting = bitcoind.mempool_len().await.unwrap();
        (waiting == 1).then_some(()).ok_or(format!("{waiting} wait"))
    })
    .await
    .unwrap();
    again.stop().await.unwrap();
    // The old node goes on all the same.
    let old = start_node(dir.path(), "borrower", &bitcoind, &clock).await;
    bitcoind.mine(1).await.unwrap();
    let address = old.handle.new_address().await.unwrap().address;
    let paid = until("the old node to pay", PATIENCE, || async {
        let request =
            SendRequest { address: address.clone(), sats: Some(10_000_000), all: false, with_fee_coin: false };
        old.handle.send(request).await.map_err(|error| error.message)
    })
    .await
    .unwrap();
    bitcoind.mine(1).await.unwrap();
    until_troubles(&old, "the old node to see the move", |told| told.contains("second node, seen on the chain")).await;
    old.stop().await.unwrap();
    let again = start_node(dir.path(), "again", &bitcoind, &clock).await;
    let told = until_troubles(&again, "it to be told", |told| told.contains("second node, seen on the chain")).await;
    assert!(told.contains(&paid.txid.to_string()) && told.contains("which lost 0.0000"), "only its fee: {told}");
}

/// How long something took, which is printed where it is the longest yet, and what it came to.
async fn timed<T>(what: &str, longest: &mut Duration, asked: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let said = asked.await;
    if began.elapsed() > *longest {
        *longest = began.elapsed();
        println!("{what}: {} ms", longest.as_millis());
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn while_bitcoind_is_known_to_hang_a_command_that_needs_it_is_refused_at_once_and_a_view_does_not_wait_for_it() {
    let world = World::new().await;
    let (ended, open) = (world.open(300_000, 30).await, world.open(200_000, 30).await);
    let handle = &world.borrower.handle;
    handle.repay(ended, Source::Collateral).await.unwrap();
    // Not shown before: what was shown is kept for a while.
    while handle.status().await.unwrap().loans.ended == 0 {
        world.mine(1).await;
    }
    let address = world.lender.handle.new_address().await.unwrap().address;
    let request = SendRequest { address, sats: Some(1_000_000), all: false, with_fee_coin: false };
    let before = handle.balance().await.unwrap();
    let tell = |signal| kill_process(Pid::from_raw(world.bitcoind.id().try_into().unwrap()).unwrap(), signal).unwrap();
    tell(Signal::STOP);
    // A view that nobody has asked for before, and bitcoind has only begun to hang.
    let (mut view, mut longest) = (Duration::ZERO, Duration::ZERO);
    let shown = timed("loan show of an ended loan, at once", &mut view, handle.loan(ended)).await;
    let no_statement = shown.unwrap().no_statement.unwrap();
    assert!(no_statement.contains("show the loan again") || no_statement.contains("does not answer"), "{no_statement}");
    let told = until_troubles(&world.borrower, "the silence", |told| told.contains("does not answer")).await;
    assert!(told.contains("a command that needs it is refused at once"), "{told}");
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let waiting = threads();
    for round in 0..20 {
        let sent = timed("wallet send", &mut longest, handle.send(request.clone())).await.unwrap_err();
        let joined = timed("wallet consolidate", &mut longest, handle.consolidate(false)).await.unwrap_err();
        let repaid = timed("loan repay", &mut longest, handle.repay(open, Source::Wallet)).await.unwrap_err();
        for refused in [sent, joined, repaid] {
            let said = &refused.message;
            assert!(refused.code == "unavailable" && said.contains("does not answer"), "{round}: {refused:?}");
            assert!(said.contains("was not asked this: nothing was done"), "what was not done: {said}");
            assert!(said.contains("`kill -CONT`") && said.contains("ask again"), "what to do: {said}");
        }
        timed("status", &mut longest, handle.status()).await.unwrap();
        let shown = timed("loan show of an ended loan", &mut longest, handle.loan(ended)).await.unwrap();
        assert!(shown.no_statement.unwrap().contains("bitcoind"));
        timed("policy show", &mut longest, handle.policy_terms()).await.unwrap();
    }
    println!("bound hung-command {} ms, and {} threads more", longest.as_millis(), threads().saturating_sub(waiting));
    assert!(longest < Duration::from_secs(2) && view < Duration::from_secs(5) && threads() < waiting + 16);
    assert_eq!(handle.balance().await.unwrap(), before, "no coin is bound by what was not done");
    tell(Signal::CONT);
    let back = Instant::now();
    until_troubles(&world.borrower, "its end", |told| !told.contains("does not answer")).await;
    println!("it was known to answer again after {} ms", back.elapsed().as_millis());
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 0, "nothing was sent");
    let sent = handle.send(request).await.unwrap();
    assert_eq!((sent.unsure, world.bitcoind.mempool_len().await.unwrap()), (None, 1));
    let shown = loan(handle, ended).await;
    assert!(shown.statement.is_some() && shown.no_statement.is_none(), "{shown:?}");
    // What was shown once is shown while it hangs again, for some minutes.
    tell(Signal::STOP);
    let shown = timed("loan show of an ended loan that was shown before", &mut longest, handle.loan(ended)).await;
    assert!(shown.unwrap().statement.is_some() && longest < Duration::from_secs(5), "{longest:?}");
    tell(Signal::CONT);
    until_troubles(&world.borrower, "its end", |told| !told.contains("does not answer")).await;
    world.mine(1).await;
    handle.repay(open, Source::Wallet).await.unwrap();
    world.closed(open).await;
}
