//! A bitcoind that hangs, or whose answer is lost: it is told, nothing stands still for good, nothing is paid twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::{Amount, Txid};
use hypothec::api::{bind, serve};
use hypothec::contract::repay::Source;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::policy::{Approval, Policy};
use hypothec::loan::terms::Terms;
use hypothec::node::config::Config;
use hypothec::node::data::DataFolder;
use hypothec::node::view::{Balance, ConnectRequest, PreviewRequest, QuoteRequest, SendRequest};
use hypothec::node::words::Keep;
use hypothec::node::{self, backup, Running};
use hypothec::protocol::messages::Refused;
use hypothec::protocol::{Message, Stage};
use rustix::process::{kill_process, Pid, Signal};
use std::future::{pending, Future};
use std::path::Path;
use std::time::{Duration, Instant};
use world::door::{Door, Way};
use world::stranger::Stranger;
use world::{loan, start_node, troubles, until_troubles, World};

/// The node of a folder, which asks at this door.
async fn start_behind(dir: &Path, name: &str, door: &Door) -> Running {
    let mut config = Config::load(&dir.join(name), Some(dir.join("clock"))).unwrap();
    config.chain.url = door.url.clone();
    node::start(config).await.unwrap()
}

async fn borrower_behind(world: World, door: &Door) -> World {
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    borrower.stop().await.unwrap();
    let borrower = start_behind(dir.path(), "borrower", door).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    world.settle().await;
    world
}

async fn lender_behind(world: World, door: &Door) -> World {
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    lender.stop().await.unwrap();
    let lender = start_behind(dir.path(), "lender", door).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    let address = world.lender_address();
    world.borrower.handle.connect(ConnectRequest { address }).await.unwrap();
    world.settle().await;
    world
}

async fn until_balance(node: &Running, what: &str, right: impl Fn(&Balance) -> bool) {
    let balance = || async {
        let balance = node.handle.balance().await.unwrap();
        right(&balance).then_some(()).ok_or(balance)
    };
    until(what, Duration::from_secs(60), || async { balance().await.map_err(|balance| format!("{balance:?}")) })
        .await
        .unwrap();
}

async fn payment(world: &World, sats: u64) -> SendRequest {
    let address = world.lender.handle.new_address().await.unwrap().address;
    SendRequest { address, sats: Some(sats), all: false, with_fee_coin: false }
}

fn tell(world: &World, signal: Signal) {
    kill_process(Pid::from_raw(world.bitcoind.id().try_into().unwrap()).unwrap(), signal).unwrap();
}

/// Asks over HTTP, as commands do, and gives up after a moment.
async fn give_up_over_http(world: &World, path: &str, body: String) {
    let folder = DataFolder::open(&world.dir.path().join("borrower")).unwrap();
    let (token, listener) = (folder.token().unwrap(), bind("127.0.0.1:0".parse().unwrap()).await.unwrap());
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, world.borrower.handle.clone(), token.clone(), pending()));
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(500)).build().unwrap();
    let request = http.post(format!("{base}{path}")).bearer_auth(token.secret()).body(body);
    assert!(request.send().await.unwrap_err().is_timeout());
}

/// Asks, and gives up after a moment.
async fn give_up_on<T>(asked: impl Future<Output = T>) {
    let answer = tokio::time::timeout(Duration::from_millis(500), asked).await;
    assert!(answer.is_err(), "answered though bitcoind hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_that_takes_no_more_questions_is_waited_for_at_the_start_and_at_any_later_time() {
    let World { bitcoind, oracle, lender, borrower, dir, .. } = World::new().await;
    let door = Door::before(&bitcoind).await;
    borrower.stop().await.unwrap();
    door.set("getblockchaininfo", Way::Busy);
    let borrower = start_behind(dir.path(), "borrower", &door).await;
    let busy = "takes no more questions at the moment (HTTP 503): it is asked again";
    for method in ["getblockchaininfo", "getbestblockhash"] {
        door.set(method, Way::Busy);
        let told = until_troubles(&borrower, "that it is busy", |told| told.contains(busy)).await;
        assert!(told.contains("chain: ") && !told.contains("version"), "{told}");
        door.set(method, Way::Pass);
        until_troubles(&borrower, "its answer", |told| !told.contains("chain: ")).await;
    }
    drop((oracle, lender));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bitcoind_that_takes_no_transactions_of_version_3_no_loan_is_begun_and_that_is_told() {
    let world = World::new().await;
    world.open(300_000, 30).await;
    let quote = world.quote(200_000, 30).await;
    // Both of them have one: as Bitcoin Core before 28.
    let world = world.with_bitcoind(&["-mempooltruc=reject"]).await;
    for node in [&world.borrower, &world.lender] {
        let told = until_troubles(node, "what it does not take", |told| told.contains("relay: ")).await;
        assert!(told.contains("no transactions of version 3") && told.contains("version 28 or later"), "{told}");
    }
    let handle = &world.borrower.handle;
    let request = world.request(200_000, 30);
    let would = handle.preview(PreviewRequest::Borrow { quote: quote.loan_id }).await.unwrap_err();
    for no in [handle.quote(request.clone()).await.unwrap_err(), handle.borrow(quote.loan_id).await.unwrap_err(), would]
    {
        assert!(no.code == "unavailable" && no.message.contains("takes no transactions of version 3"), "{no:?}");
    }
    // It is exchanged for a right one, and found out to be.
    let world = world.with_bitcoind(&[]).await;
    for node in [&world.borrower, &world.lender] {
        // While it is away nothing else is told of it.
        until_troubles(node, "the right one", |told| !told.contains("relay: ") && !told.contains("chain: ")).await;
    }
    world.settle().await;
    world.quote(200_000, 30).await;
    // Only the lender's is not: who asks it is told.
    let door = Door::before(&world.bitcoind).await;
    door.set("testmempoolaccept", Way::OldVersion);
    let world = lender_behind(world, &door).await;
    until_troubles(&world.lender, "what it does not take", |told| told.contains("relay: ")).await;
    let no = world.borrower.handle.quote(QuoteRequest { lender: world.lender_address(), ..request }).await.unwrap_err();
    assert!(no.message.contains("its bitcoind does not relay the exits of one"), "{no:?}");
    door.set("testmempoolaccept", Way::Pass);
    until_troubles(&world.lender, "the right one", |told| !told.contains("relay: ")).await;
    world.quote(200_000, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_that_hangs_is_told_in_seconds_the_node_answers_and_what_nobody_waits_for_is_not_done() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = lender_behind(world, &door).await;
    let withdrawn = world.open(300_000, 30).await;
    let repaid = world.open(200_000, 30).await;
    // The lender completes no repayment.
    door.set("testmempoolaccept", Way::Hold);
    let handle = &world.borrower.handle;
    handle.repay(withdrawn, Source::Wallet).await.unwrap();
    let open = loan(handle, withdrawn).await;
    let (before, request) = (handle.balance().await.unwrap(), payment(&world, 40_000_000).await);
    tell(&world, Signal::STOP);
    let hung = Instant::now();
    // Asked before it is known to hang: later they are refused at once.
    give_up_on(handle.send(request.clone())).await;
    give_up_over_http(&world, "/v1/wallet/send", serde_json::to_string(&request).unwrap()).await;
    give_up_on(handle.repay(repaid, Source::Wallet)).await;
    give_up_on(handle.withdraw(withdrawn)).await;
    until("the silence to be told", Duration::from_secs(20), || async {
        let asked = Instant::now();
        let told = troubles(&world.borrower).await;
        match asked.elapsed() {
            took if took > Duration::from_secs(2) => panic!("status took {took:?}"),
            _ => told.contains("does not answer").then_some(()).ok_or(told),
        }
    })
    .await
    .unwrap();
    println!("bound hung-chain-source {} s", hypothec::node::SILENT.as_secs());
    assert!(hung.elapsed() < Duration::from_secs(12), "{:?}", hung.elapsed());
    // One that starts meanwhile runs, and says what it waits for.
    let asked = Instant::now();
    let third = start_node(world.dir.path(), "third", &world.bitcoind, &world.dir.path().join("clock")).await;
    assert!(troubles(&third).await.contains("does not answer"));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    tell(&world, Signal::CONT);
    let blocks = world.bitcoind.mine(1).await.unwrap();
    until("both to see a block again", PATIENCE, || async {
        let (status, other) = (handle.status().await.unwrap(), third.handle.status().await.unwrap());
        let tip = blocks[0].to_string();
        (status.tip == tip && other.tip == tip && status.troubles.iter().all(|told| !told.starts_with("chain")))
            .then_some(())
            .ok_or(format!("{status:?}"))
    })
    .await
    .unwrap();
    // Whatever was asked meanwhile is over once the same can be asked again.
    until("the loan to be free", PATIENCE, || async {
        handle
            .withdraw(repaid)
            .await
            .err()
            .filter(|no| no.code != "unavailable")
            .map(|no| no.message)
            .ok_or("busy".into())
    })
    .await
    .unwrap();
    let sent = world.bitcoind.mempool_len().await.unwrap();
    assert_eq!(sent, 0, "nothing was sent");
    let after = handle.balance().await.unwrap();
    assert_eq!((after.confirmed_sats, after.unconfirmed_sats), (before.confirmed_sats, before.unconfirmed_sats));
    let now = loan(handle, withdrawn).await;
    assert_eq!((now.stage, now.transactions), (open.stage, open.transactions), "it was not taken back");
    assert_eq!(loan(handle, repaid).await.stage, Stage::Active);
    assert!(handle.history().await.unwrap().iter().all(|one| one.what.as_deref() != Some("sent")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_not_handed_over_is_taken_back_at_once_and_said_to_be() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = borrower_behind(world, &door).await;
    let handle = &world.borrower.handle;
    let before = handle.balance().await.unwrap();
    door.set("testmempoolaccept", Way::Swallow);
    let refused = handle.send(payment(&world, 40_000_000).await).await.unwrap_err();
    assert!(refused.message.contains("nothing was sent"), "{}", refused.message);
    assert_eq!(handle.balance().await.unwrap(), before);
    assert!(handle.history().await.unwrap().iter().all(|one| one.what.as_deref() != Some("sent")));
    door.set("testmempoolaccept", Way::Pass);
    handle.send(payment(&world, 40_000_000).await).await.unwrap();
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lenders_coin_whose_negotiation_ends_before_it_is_out_is_taken_back_without_a_restart() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = lender_behind(world, &door).await;
    let (lender, borrower) = (&world.lender, &world.borrower);
    let before = lender.handle.balance().await.unwrap();
    door.set("testmempoolaccept", Way::Swallow);
    let quote = world.quote(300_000, 30).await;
    let id = borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    until("the coin's transaction to be recorded", PATIENCE, || async {
        let events = lender.handle.events(0, Duration::ZERO).await.unwrap();
        let made = events.iter().any(|one| one.event == "coin_made" && one.loan_id == Some(id));
        made.then_some(()).ok_or(format!("{events:?}"))
    })
    .await
    .unwrap();
    lender.handle.cancel(id).await.unwrap();
    let ended = Instant::now();
    until_troubles(lender, "what waits to be told", |told| told.contains("bitcoind does not have it")).await;
    let free = |balance: &Balance| balance.confirmed_sats == before.confirmed_sats && balance.unconfirmed_sats == 0;
    until_balance(lender, "the coins to be free", free).await;
    println!("bound stray-transaction {} s", ended.elapsed().as_secs());
    assert!(ended.elapsed() < Duration::from_secs(40));
    until_troubles(lender, "nothing to wait", str::is_empty).await;
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 0);
}

/// How often a transaction was sent, as the history has it.
async fn sent(node: &Running) -> usize {
    node.handle.history().await.unwrap().iter().filter(|one| one.what.as_deref() == Some("sent")).count()
}

async fn until_event(node: &Running, event: &str, txid: Txid) {
    until(event, PATIENCE, || async {
        let events = node.handle.events(0, Duration::ZERO).await.unwrap();
        let told = events.iter().any(|one| one.event == event && one.facts.txid == Some(txid));
        told.then_some(()).ok_or(format!("{events:?}"))
    })
    .await
    .unwrap();
}

async fn until_mempool(world: &World, length: usize) {
    until("the mempool", PATIENCE, || async {
        let waiting = world.bitcoind.mempool_len().await.unwrap();
        (waiting == length).then_some(()).ok_or(format!("{waiting} wait"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_answer_is_lost_is_said_to_be_maybe_out_and_is_brought_out_once_over_a_restart_too() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    for _ in 0..4 {
        let address = world.borrower.handle.new_address().await.unwrap().address;
        let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
        world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(50_000_000)).await.unwrap();
    }
    world.mine(1).await;
    let world = borrower_behind(world, &door).await;
    let handle = &world.borrower.handle;
    // It is out, and nobody said so.
    door.set("sendrawtransaction", Way::Break);
    let made = handle.send(payment(&world, 40_000_000).await).await.unwrap();
    let said = made.unsure.unwrap();
    assert!(said.contains("it may be out. Do not pay it again") && said.contains(&made.txid.to_string()), "{said}");
    until_event(&world.borrower, "payment_out", made.txid).await;
    let once = (world.bitcoind.mempool_len().await.unwrap(), sent(&world.borrower).await);
    println!("bound lost-answer {} transaction", once.0);
    assert_eq!(once, (1, 1));
    until_troubles(&world.borrower, "its end", str::is_empty).await;
    // It is not out, and the node goes on, over a restart too; the same of coins that are joined.
    door.set("sendrawtransaction", Way::Swallow);
    let made = handle.send(payment(&world, 40_000_000).await).await.unwrap();
    let joined = handle.consolidate(false).await.unwrap();
    assert!(made.unsure.is_some() && joined.unsure.is_some());
    let both = [made.txid.to_string(), joined.txid.to_string()];
    let told = |told: &str| both.iter().all(|txid| told.contains(&format!("payment {txid}: bitcoind was given")));
    until_troubles(&world.borrower, "both to be told", told).await;
    let before = handle.balance().await.unwrap();
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    borrower.stop().await.unwrap();
    let borrower = start_behind(dir.path(), "borrower", &door).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    world.settle().await;
    until_troubles(&world.borrower, "both to be told again", told).await;
    let handle = &world.borrower.handle;
    assert_eq!(handle.balance().await.unwrap(), before, "its coins are spent");
    door.set("sendrawtransaction", Way::Pass);
    until_event(&world.borrower, "payment_out", made.txid).await;
    until_event(&world.borrower, "payment_out", joined.txid).await;
    until_mempool(&world, 3).await;
    until_troubles(&world.borrower, "their end", str::is_empty).await;
    // It is refused after all: then it is told, and what it would have spent is free.
    world.mine(1).await;
    let before = handle.balance().await.unwrap();
    door.set("sendrawtransaction", Way::Swallow);
    let made = handle.send(payment(&world, 40_000_000).await).await.unwrap();
    assert!(made.unsure.is_some());
    door.set("sendrawtransaction", Way::Refuse);
    until_event(&world.borrower, "payment_refused", made.txid).await;
    assert_eq!((handle.balance().await.unwrap(), world.bitcoind.mempool_len().await.unwrap()), (before, 0));
    until_troubles(&world.borrower, "its end", str::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_block_has_is_never_said_to_be_refused_where_bitcoinds_index_does_not_know_it() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = borrower_behind(world, &door).await;
    door.set("getrawtransaction", Way::Unknown);
    door.set("sendrawtransaction", Way::Break);
    let made = world.borrower.handle.send(payment(&world, 40_000_000).await).await.unwrap();
    assert!(made.unsure.is_some());
    world.bitcoind.mine(1).await.unwrap();
    until_event(&world.borrower, "payment_out", made.txid).await;
    until_troubles(&world.borrower, "its end", str::is_empty).await;
    let events = world.borrower.handle.events(0, Duration::ZERO).await.unwrap();
    assert!(events.iter().all(|one| one.event != "payment_refused"), "{events:?}");
    assert_eq!(sent(&world.borrower).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_may_be_out_is_not_given_up_for_a_bitcoind_that_misses_its_coins() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = borrower_behind(world, &door).await;
    door.set("sendrawtransaction", Way::Swallow);
    let made = world.borrower.handle.send(payment(&world, 40_000_000).await).await.unwrap();
    assert!(made.unsure.is_some());
    let before = world.borrower.handle.balance().await.unwrap();
    door.set("sendrawtransaction", Way::Missing);
    door.until_met("sendrawtransaction", 4).await;
    until_troubles(&world.borrower, "it to be told on", |told| told.contains("it may be out. Do not pay it again"))
        .await;
    assert_eq!(world.borrower.handle.balance().await.unwrap(), before, "its coins are spent");
    door.set("sendrawtransaction", Way::Pass);
    until_event(&world.borrower, "payment_out", made.txid).await;
    until_troubles(&world.borrower, "its end", str::is_empty).await;
    assert_eq!((world.bitcoind.mempool_len().await.unwrap(), sent(&world.borrower).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_bitcoinds_mempool_has_lost_is_brought_out_again_and_its_coins_stay_spent() {
    let world = World::new().await;
    let made = world.borrower.handle.send(payment(&world, 40_000_000).await).await.unwrap();
    assert!(made.unsure.is_none());
    until_mempool(&world, 1).await;
    world.settle().await;
    let before = world.borrower.handle.balance().await.unwrap();
    let world = world.with_bitcoind(&["-persistmempool=0"]).await;
    until_mempool(&world, 1).await;
    assert_eq!(world.borrower.handle.balance().await.unwrap(), before);
    // The same where the node starts on a mempool that has lost it.
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    borrower.stop().await.unwrap();
    let borrower = start_node(dir.path(), "spare", &bitcoind, &dir.path().join("clock")).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    let world = world.with_bitcoind(&["-persistmempool=0"]).await;
    assert_eq!(world.bitcoind.mempool_len().await.unwrap(), 0);
    let World { bitcoind, oracle, lender, borrower: spare, dir, now } = world;
    spare.stop().await.unwrap();
    let borrower = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    until_mempool(&world, 1).await;
    world.mine(1).await;
    world.settle().await;
    assert_eq!(sent(&world.borrower).await, 1);
    let balance = world.borrower.handle.balance().await.unwrap();
    assert_eq!(
        (balance.unconfirmed_sats, balance.confirmed_sats),
        (0, before.confirmed_sats + before.unconfirmed_sats)
    );
    assert_eq!(troubles(&world.borrower).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_while_it_hands_a_payment_over_goes_on_with_the_same_one() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = borrower_behind(world, &door).await;
    let request = payment(&world, 40_000_000).await;
    door.set("sendrawtransaction", Way::Hold);
    let handle = world.borrower.handle.clone();
    let asked = tokio::spawn(async move { handle.send(request).await });
    door.until_held("sendrawtransaction").await;
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    borrower.stop().await.unwrap();
    assert!(asked.await.unwrap().is_err(), "nobody said that it was sent");
    let borrower = start_behind(dir.path(), "borrower", &door).await;
    let world = World { bitcoind, oracle, lender, borrower, dir, now };
    until_troubles(&world.borrower, "it to be told", |told| told.contains("it may be out. Do not pay it again")).await;
    // bitcoind takes up what it was asked by the node that is gone, and is asked the same again.
    door.set("sendrawtransaction", Way::Pass);
    until_mempool(&world, 1).await;
    until_troubles(&world.borrower, "its end", str::is_empty).await;
    assert_eq!((world.bitcoind.mempool_len().await.unwrap(), sent(&world.borrower).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_nobody_waits_for_any_more_lends_nothing_and_the_request_still_waits() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = lender_behind(world, &door).await;
    let handle = &world.lender.handle;
    let policy = handle.policy().await.unwrap();
    handle.set_policy(Policy { approval: Approval::Manual, ..policy }).await.unwrap();
    let quote = world.quote(300_000, 30).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let waiting = || async {
        let requests = handle.requests().await.unwrap();
        requests.iter().any(|one| one.loan_id == id).then_some(()).ok_or(format!("{requests:?}"))
    };
    until("the request", PATIENCE, waiting).await.unwrap();
    door.set("gettxout", Way::Hold);
    give_up_on(handle.approve(id)).await;
    door.set("gettxout", Way::Pass);
    until("the look at it to be over", PATIENCE, || async {
        let preview = handle.preview(PreviewRequest::Approve { loan_id: id }).await;
        preview.map(drop).map_err(|error| error.message)
    })
    .await
    .unwrap();
    waiting().await.unwrap();
    assert_eq!(handle.loans().await.unwrap().len(), 0);
    handle.approve(id).await.unwrap();
    world.open_taken(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_whose_move_bitcoind_loses_or_takes_without_a_word_moves_its_coins_once() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let sealed = world.borrower.handle.backup("a passphrase of a test".into()).await.unwrap();
    let World { bitcoind, borrower, dir, .. } = world;
    borrower.stop().await.unwrap();
    let backup = backup::open(&sealed, &"a passphrase of a test".to_owned().into()).unwrap();
    backup.restore(&dir.path().join("again"), &Keep::Plain, None).unwrap();
    door.set("sendrawtransaction", Way::Swallow);
    let again = start_behind(dir.path(), "again", &door).await;
    let told = until_troubles(&again, "the move to be made", |told| told.contains("waits for a confirmation")).await;
    assert!(!told.contains("bitcoind does not have it"), "{told}");
    door.set("sendrawtransaction", Way::Break);
    until("the move to be out", PATIENCE, || async {
        let waiting = bitcoind.mempool_len().await.unwrap();
        (waiting == 1).then_some(()).ok_or(format!("{waiting} wait"))
    })
    .await
    .unwrap();
    bitcoind.mine(1).await.unwrap();
    until_troubles(&again, "the coins to have moved", |told| !told.contains("restored")).await;
    let history = again.handle.history().await.unwrap();
    let moved = history.iter().filter(|one| one.what.as_deref() == Some("coins moved after a restore"));
    assert_eq!((moved.count(), bitcoind.mempool_len().await.unwrap()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_of_another_network_at_the_same_place_is_told_and_none_of_its_blocks_is_believed() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = borrower_behind(world, &door).await;
    let height = |node: &Running| {
        let handle = node.handle.clone();
        async move { handle.status().await.unwrap().height }
    };
    let before = height(&world.borrower).await;
    // It has none of the newest blocks.
    let left = world.bitcoind.block_hash(before - 3).await.unwrap();
    door.set("getblockchaininfo", Way::Signet);
    world.bitcoind.invalidate(left).await.unwrap();
    let told = until_troubles(&world.borrower, "the other network", |told| told.contains("is on `signet`")).await;
    // A node that asks nobody else follows it meanwhile.
    let other = until("the lender to follow", PATIENCE, || async {
        let at = height(&world.lender).await;
        (at < before).then_some(at).ok_or(at.to_string())
    });
    let other = other.await.unwrap();
    until_troubles(&world.borrower, "what waits to be told", |told| told.contains("chain: ")).await;
    let after = height(&world.borrower).await;
    println!("bound other-network {} blocks", before - after);
    assert_eq!((after, other), (before, before - 4), "{told}");
    // The right one is back.
    door.set("getblockchaininfo", Way::Pass);
    world.bitcoind.reconsider(left).await.unwrap();
    until_troubles(&world.borrower, "its end", |told| !told.contains("signet") && !told.contains("chain: ")).await;
    world.mine(1).await;
    assert_eq!(height(&world.borrower).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_behind_is_named_where_a_statement_cannot_be_made() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = borrower_behind(world, &door).await;
    let id = world.open(200_000, 30).await;
    let handle = &world.borrower.handle;
    handle.repay(id, Source::Wallet).await.unwrap();
    world.closed(id).await;
    let view = handle.loan(id).await.unwrap();
    assert!(view.statement.is_some(), "{view:#?}");
    door.set("getrawtransaction", Way::Unknown);
    door.set("getindexinfo", Way::Behind);
    let view = handle.loan(id).await.unwrap();
    let why = view.no_statement.unwrap();
    assert!(why.contains("builds its transaction index") && !why.contains("not on the chain"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_given_up_while_its_coins_are_looked_at_begins_nothing() {
    let world = World::new().await;
    let door = Door::before(&world.bitcoind).await;
    let world = lender_behind(world, &door).await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    world.settle().await;
    let quoted = stranger.quote(200_000, 30).await;
    let id = quoted.terms.id().0;
    // As a lender that stood still finds both of them when it goes on.
    door.set("gettxout", Way::Hold);
    stranger.borrow(&quoted.terms, coin);
    door.until_held("gettxout").await;
    let reason = "a person gave it up".to_owned();
    stranger.say(&Message::Refused(Refused { about: id, code: "cancelled".into(), message: reason }));
    // What was said before on the same line has been read when this is answered.
    let nobodys = Terms { lender_nonce: [7; 32], ..quoted.terms.clone() };
    stranger.borrow(&nobodys, coin);
    assert_eq!(stranger.refusal(nobodys.id().0).await.code, "unknown_quote");
    door.set("gettxout", Way::Pass);
    world.settle().await;
    let loans = world.lender.handle.loans().await.unwrap();
    assert!(loans.is_empty(), "{loans:?}");
    // Nor does a lender hold on to one that its borrower does not hear of any more: whoever goes on with it is told again.
    let quoted = stranger.quote(200_000, 30).await;
    stranger.borrow(&quoted.terms, coin);
    stranger.until_ready(&world, &quoted.terms).await;
    stranger.catch_up(&world).await;
    let offer = stranger.offer(&quoted, coin);
    world.lender.handle.cancel(quoted.terms.id()).await.unwrap();
    for _ in 0..2 {
        let refused = stranger.refusal(quoted.terms.id().0).await;
        assert_eq!(refused.code, "cancelled", "{refused:?}");
        stranger.say(&Message::Offer(hypothec::contract::wire::write(&offer)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_a_bitcoind_some_blocks_behind_does_not_have_is_waited_for_and_not_refused() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    world.settle().await;
    let quoted = stranger.quote(200_000, 30).await;
    let tip = world.bitcoind.block_hash(world.bitcoind.height().await.unwrap()).await.unwrap();
    world.bitcoind.invalidate(tip).await.unwrap();
    stranger.borrow(&quoted.terms, coin);
    // What comes after it on the same line has been read when this is answered.
    assert!(stranger.ask(0, 30).await.is_err());
    world.settle().await;
    world.bitcoind.reconsider(tip).await.unwrap();
    world.settle().await;
    stranger.borrow(&quoted.terms, coin);
    // A refusal of before would be heard first.
    stranger.until_ready(&world, &quoted.terms).await;
}
