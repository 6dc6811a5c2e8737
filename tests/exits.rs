//! Exits that the mempool will not have, on a real bitcoind whose minimum rises: told, and paid for by package.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bdk_bitcoind_rpc::bitcoincore_rpc::{Auth, Client, RpcApi};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::{sha256, Hash};
use bitcoin::transaction::Version;
use bitcoin::{Address, Amount, Network, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid};
use hypothec::contract::repay::Source;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::node::view::{EventView, LoanView, PendingExit};
use hypothec::node::Running;
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::clock::Clock;
use serde_json::{json, Value};
use std::time::Duration;
use world::stranger::{Negotiated, Stranger};
use world::{loan, start_node, World, HOUR, START};

/// sat/vB of what fills the mempool: more than an exit has paid ahead, and more than a repayment.
const CROWD: u64 = 40;

fn rpc(bitcoind: &BitcoindProcess, path: &str) -> Client {
    let url = format!("{}{path}", bitcoind.rpc_url());
    Client::new(&url, Auth::CookieFile(bitcoind.cookie_file())).unwrap()
}

/// Fills a mempool of 5 MB with other people's transactions until cheaper ones are thrown out. Ripe coins of the
/// miner's are needed, one for each.
async fn crowd(bitcoind: &BitcoindProcess) {
    let (node, miner) = (rpc(bitcoind, ""), rpc(bitcoind, "/wallet/miner"));
    let fill = move || {
        for number in 0u32..80 {
            let outputs: Vec<Value> = (0u32..2_000)
                .map(|vout| {
                    let hash = sha256::Hash::hash(&[number.to_le_bytes(), vout.to_le_bytes()].concat());
                    let script = ScriptBuf::new_p2wsh(&hash.into());
                    let address = Address::from_script(&script, Network::Regtest).unwrap();
                    json!({ address.to_string(): "0.00001" })
                })
                .collect();
            let raw: String = node.call("createrawtransaction", &[json!([]), json!(outputs)]).unwrap();
            let options = json!({ "fee_rate": CROWD, "minconf": 1, "lockUnspents": true });
            let funded: Value = miner.call("fundrawtransaction", &[json!(raw), options]).unwrap();
            let signed: Value = miner.call("signrawtransactionwithwallet", &[funded["hex"].clone()]).unwrap();
            // The one that is too much may itself be thrown out.
            let sent = node.call::<Txid>("sendrawtransaction", &[signed["hex"].clone()]);
            assert!(sent.as_ref().map_or_else(|e| e.to_string().contains("mempool"), |_| true), "{sent:?}");
            let info: Value = node.call("getmempoolinfo", &[]).unwrap();
            if info["mempoolminfee"].as_f64().unwrap() > CROWD as f64 / 100_000.0 {
                return;
            }
        }
        panic!("the mempool never was full");
    };
    tokio::task::spawn_blocking(fill).await.unwrap();
}

/// A loan whose level the hour before `touched` touches, at that hour's beginning.
async fn before_the_crash() -> (World, LoanId) {
    let mut world = World::new().await;
    world.mine(100).await;
    let id = world.open(380_000, 30).await;
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    world.advance(START.plus((3 * 24 + 23) * HOUR).unwrap()).await;
    (world, id)
}

fn pending(view: &LoanView) -> PendingExit {
    view.pending_exit.clone().unwrap_or_else(|| panic!("{view:#?}"))
}

async fn told(node: &Running, id: LoanId, event: &str) -> Vec<EventView> {
    let events = node.handle.events(0, Duration::ZERO).await.unwrap();
    events.into_iter().filter(|one| one.loan_id == Some(id) && one.event == event).collect()
}

async fn troubles(node: &Running) -> String {
    node.handle.status().await.unwrap().troubles.join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_below_the_minimum_is_told_and_goes_out_with_the_borrowers_child_where_the_lender_is_away() {
    let (world, id) = before_the_crash().await;
    let world = world.with_bitcoind(&["-minrelaytxfee=0.0005"]).await;
    let World { bitcoind, oracle, lender, borrower, dir, .. } = world;
    lender.stop().await.unwrap();
    let crash = START.plus(4 * 24 * HOUR).unwrap();
    bitcoind.set_mock_time(crash).await.unwrap();
    Clock::set_file(&dir.path().join("clock"), crash).unwrap();
    let exit = async |what: &str, right: &dyn Fn(&PendingExit) -> bool| {
        until(what, PATIENCE, || async {
            let exit = loan(&borrower.handle, id).await.pending_exit;
            exit.clone().filter(right).ok_or(format!("{exit:#?}"))
        })
        .await
        .unwrap()
    };
    let refused = exit("the touch to be refused", &|exit| exit.refused.is_some()).await;
    assert_eq!((refused.exit, refused.waits_for.as_str()), (Some(Exit::Liquidated), "relay"));
    assert_eq!((refused.child, refused.sat_per_vb >= Some(25)), (None, true));
    let why = refused.refused.unwrap();
    assert!(why.contains("min relay fee not met"), "{why}");
    let said = format!("exit {} does not relay, because {why}", refused.txid);
    let events = told(&borrower, id, "exit_refused").await;
    assert!(events.len() == 1 && events[0].text == said, "{events:#?}");
    assert!(troubles(&borrower).await.contains(&said), "{}", troubles(&borrower).await);
    // It is told once, and what stands in the way ends when it ends.
    bitcoind.mine_only(&[]).await.unwrap();
    bitcoind.mine_only(&[]).await.unwrap();
    let paid = exit("the borrower's child", &|exit| exit.refused.is_none() && exit.child.is_some()).await;
    assert_eq!((paid.txid, paid.waits_for.as_str(), paid.sat_per_vb >= Some(50)), (refused.txid, "a block", true));
    assert!(!troubles(&borrower).await.contains("does not relay"));
    assert_eq!(told(&borrower, id, "exit_refused").await.len(), 1);
    println!("bound raised-minimum 1 event, 1 trouble, {} sats 2 blocks later", paid.child_fee_sats.unwrap());
    bitcoind.mine(1).await.unwrap();
    until("the touch to confirm", PATIENCE, || async {
        let view = loan(&borrower.handle, id).await;
        let confirmed = view.ended.as_ref().is_some_and(|ended| ended.height.is_some() && view.pending_exit.is_none());
        confirmed.then_some(()).ok_or(format!("{view:#?}"))
    })
    .await
    .unwrap();
    drop(oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_that_a_full_mempool_refuses_is_paid_for_by_the_lenders_child_and_confirms() {
    let (world, id) = before_the_crash().await;
    let mut world = world.with_bitcoind(&["-maxmempool=5"]).await;
    crowd(&world.bitcoind).await;
    world.wait_until(START.plus(4 * 24 * HOUR).unwrap()).await;
    let [borrower, lender] = world.both(id).await.map(|view| pending(&view));
    assert!(lender.sat_per_vb.unwrap() > CROWD && lender.refused.is_none(), "{lender:?}");
    assert_eq!((borrower.txid, borrower.child, lender.waits_for.as_str()), (lender.txid, None, "a block"));
    let (child, fee) = (lender.child.unwrap(), lender.child_fee_sats.unwrap());
    let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    let family = chain.family(lender.txid).await.unwrap().unwrap();
    assert_eq!((family.children.len(), family.children[0].txid), (1, child));
    let size = family.children[0].size;
    assert!(size <= hypothec::settlement::bump::CHILD, "{size}");
    println!("bound crowded-mempool {fee} sats for a child of {size} vB");
    world.bitcoind.mine(1).await.unwrap();
    world.settle().await;
    for view in world.both(id).await {
        let ended = view.ended.unwrap();
        assert_eq!((ended.exit, ended.txid, ended.height.is_some()), (Some(Exit::Liquidated), lender.txid, true));
        assert!(view.pending_exit.is_none());
    }
    assert_eq!(chain.transaction(child).await.unwrap().unwrap().confirmed.map(|at| at.confirmations), Some(1));
    world.closed(id).await;
}

/// The same world, whose nodes estimate so many sat/vB where bitcoind estimates nothing.
async fn estimating(world: World, sat_per_vb: u64) -> World {
    world.configured("fallback = 5", &format!("fallback = {sat_per_vb}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_that_waited_below_ones_own_cap_is_paid_for_at_the_minimum_once_the_cap_is_raised() {
    const MINIMUM: u64 = 30;
    let (world, id) = before_the_crash().await;
    let world = world.with_bitcoind(&["-minrelaytxfee=0.0003"]).await;
    // What the exit pays itself: no child may pay more.
    let mut world = world.configured("cap = 500", "cap = 25").await;
    world.wait_until(START.plus(4 * 24 * HOUR).unwrap()).await;
    for _ in 0..40 {
        world.bitcoind.mine_only(&[]).await.unwrap();
    }
    world.settle().await;
    for exit in world.both(id).await.map(|view| pending(&view)) {
        assert_eq!((exit.waits_for.as_str(), exit.child), ("relay", None), "{exit:?}");
        assert!(exit.refused.as_ref().is_some_and(|why| why.contains("raise `[fees] cap` to 30 at least")), "{exit:?}");
    }
    let world = world.configured("cap = 25", "cap = 500").await;
    let paid = until("the lender's child", PATIENCE, || async {
        let exit = loan(&world.lender.handle, id).await.pending_exit;
        exit.clone().filter(|exit| exit.child.is_some() && exit.waits_for == "a block").ok_or(format!("{exit:?}"))
    })
    .await
    .unwrap();
    let (rate, sats) = (paid.sat_per_vb.unwrap(), paid.child_fee_sats.unwrap());
    println!("bound raised-cap {sats} sats, {rate} sat/vB, 40 blocks after the exit was wanted");
    assert!((MINIMUM..=MINIMUM + MINIMUM / 4).contains(&rate), "{rate} sat/vB where {MINIMUM} are wanted");
    world.closed(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_that_no_child_can_bring_in_is_paid_for_at_the_estimate_of_the_day_on_which_the_minimum_falls() {
    const ESTIMATE: u64 = 30;
    let (world, id) = before_the_crash().await;
    // As Knots comes: it takes version 3 and enforces none of its rules, so no child pays for what is below the minimum.
    let world = world.with_bitcoind(&["-corepolicy=0", "-minrelaytxfee=0.0005"]).await;
    let mut world = estimating(world, ESTIMATE).await;
    let info: Value = rpc(&world.bitcoind, "").call("getmempoolinfo", &[]).unwrap();
    assert_eq!(info["truc_policy"], "accept", "{info}");
    world.wait_until(START.plus(4 * 24 * HOUR).unwrap()).await;
    let first = pending(&loan(&world.lender.handle, id).await);
    assert!(first.refused.is_some_and(|why| why.contains("min relay fee not met")));
    let mut fees = Vec::new();
    for _ in 0..2 {
        for _ in 0..3 {
            world.bitcoind.mine_only(&[]).await.unwrap();
            world.settle().await;
        }
        let exits = world.both(id).await.map(|view| pending(&view));
        for exit in &exits {
            assert_eq!((exit.waits_for.as_str(), exit.child.is_some()), ("relay", true), "{exit:?}");
        }
        fees.push(exits.map(|exit| exit.child_fee_sats));
    }
    // Each side signs the touch by itself, and its signature may be a byte longer: so the two are not compared.
    assert_eq!((fees[0], fees[0][1]), (fees[1], first.child_fee_sats), "no fee rises that brings nothing in");
    for node in [&world.lender, &world.borrower] {
        until("what this bitcoind cannot do to be told", PATIENCE, || async {
            let told = troubles(node).await;
            let right = told.contains("children: ") && told.contains("`mempooltruc=enforce`");
            right.then_some(()).ok_or(told)
        })
        .await
        .unwrap();
    }
    // It falls: the touch goes by itself, and one child brings it to what is estimated now.
    let world = world.with_bitcoind(&["-corepolicy=0"]).await;
    until("the lender's child", PATIENCE, || async {
        let exit = loan(&world.lender.handle, id).await.pending_exit;
        let out = exit.as_ref().is_some_and(|exit| exit.waits_for == "a block" && exit.sat_per_vb >= Some(ESTIMATE));
        out.then_some(()).ok_or(format!("{exit:?}"))
    })
    .await
    .unwrap();
    for _ in 0..3 {
        world.bitcoind.mine_only(&[]).await.unwrap();
        world.settle().await;
    }
    let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    let family = chain.family(first.txid).await.unwrap().unwrap();
    assert_eq!(family.children.len(), 1, "the borrower adds nothing: {family:?}");
    let (paid, size) = (family.all.to_sat(), family.children[0].package_size);
    assert!((ESTIMATE * size..=2 * ESTIMATE * size).contains(&paid), "{paid} sats for {size} vB");
    println!(
        "bound unenforced-version-3 {paid} sats for {size} vB 3 blocks after the minimum fell, at {ESTIMATE} sat/vB"
    );
    world.bitcoind.mine(1).await.unwrap();
    world.settle().await;
    for view in world.both(id).await {
        assert!(view.ended.is_some_and(|ended| ended.txid == first.txid && ended.height.is_some()));
    }
}

/// A loan whose repayment both have signed, at 6 sat/vB, and that no bitcoind has any more: its minimum is 50 sat/vB now.
async fn a_repayment_below_the_minimum() -> (World, LoanId) {
    let world = World::new().await;
    let id = world.open(300_000, 30).await;
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.settle().await;
    let exits = world.both(id).await.map(|view| pending(&view));
    assert!(exits.iter().all(|exit| exit.exit == Some(Exit::Repaid) && exit.child.is_none()), "{exits:#?}");
    assert_eq!(exits[0].txid, exits[1].txid);
    (world, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lender_pays_for_a_repayment_below_the_minimum_and_the_borrower_adds_nothing() {
    let (world, id) = a_repayment_below_the_minimum().await;
    let world = world.with_bitcoind(&["-minrelaytxfee=0.0005"]).await;
    let paid = until("the lender's child", PATIENCE, || async {
        let [borrower, lender] = world.both(id).await.map(|view| view.pending_exit);
        let lender = lender.filter(|exit| exit.child.is_some() && exit.waits_for == "a block");
        let seen = borrower.filter(|exit| exit.refused.is_none() && exit.sat_per_vb >= Some(50));
        lender.zip(seen).ok_or(format!("{:#?}", world.both(id).await))
    });
    let (lender, borrower) = paid.await.unwrap();
    assert_eq!((borrower.child, lender.sat_per_vb >= Some(50)), (None, true));
    println!("bound stuck-repayment {} sats", lender.child_fee_sats.unwrap());
    let child = lender.child.unwrap();
    // A lender that dies, beside a bitcoind that forgets: the same child, and no other, goes out again.
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    lender.stop().await.unwrap();
    let world = World {
        lender: start_node(dir.path(), "lender", &bitcoind, &dir.path().join("clock")).await,
        bitcoind,
        oracle,
        borrower,
        dir,
        now,
    };
    let world = world.with_bitcoind(&["-minrelaytxfee=0.0005", "-persistmempool=0"]).await;
    until("the same child", PATIENCE, || async {
        let exit = loan(&world.lender.handle, id).await.pending_exit;
        let out = world.bitcoind.mempool_len().await.unwrap() == 2;
        let same = exit.as_ref().is_some_and(|exit| exit.child == Some(child) && exit.waits_for == "a block");
        (out && same).then_some(()).ok_or(format!("{exit:?}"))
    })
    .await
    .unwrap();
    let both = world.closed(id).await;
    assert!(both.iter().all(|view| view.ended.as_ref().unwrap().exit == Some(Exit::Repaid)));
    let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    assert!(chain.transaction(child).await.unwrap().unwrap().confirmed.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_borrower_pays_for_a_repayment_whose_lender_is_away_two_blocks_later() {
    let (world, id) = a_repayment_below_the_minimum().await;
    let World { bitcoind, oracle, lender, borrower, dir, now } = world.with_bitcoind(&["-minrelaytxfee=0.0005"]).await;
    lender.stop().await.unwrap();
    // What the lender did before it went is nobody's any more.
    let args = vec!["-minrelaytxfee=0.0005".to_owned(), "-persistmempool=0".to_owned()];
    let port = bitcoind.rpc_url().rsplit(':').next().unwrap().parse().unwrap();
    bitcoind.stop().await.unwrap();
    let options = Options { rpc_port: Some(port), mock_time: Some(now), args, ..Options::default() };
    let bitcoind = BitcoindProcess::start(&dir.path().join("bitcoind"), options).await.unwrap();
    let exit = async |what: &str, right: &dyn Fn(&PendingExit) -> bool| {
        until(what, PATIENCE, || async {
            let exit = loan(&borrower.handle, id).await.pending_exit;
            exit.clone().filter(right).ok_or(format!("{exit:#?}"))
        })
        .await
        .unwrap()
    };
    let refused = exit("the refusal", &|exit| exit.refused.is_some()).await;
    assert_eq!(refused.child, None);
    bitcoind.mine_only(&[]).await.unwrap();
    bitcoind.mine_only(&[]).await.unwrap();
    let paid = exit("the borrower's child", &|exit| exit.refused.is_none() && exit.child.is_some()).await;
    assert!(paid.sat_per_vb >= Some(50), "{paid:?}");
    println!("bound stuck-repayment-alone {} sats, 2 blocks later", paid.child_fee_sats.unwrap());
    bitcoind.mine(1).await.unwrap();
    until("the repayment to confirm", PATIENCE, || async {
        let view = loan(&borrower.handle, id).await;
        let ended = view.ended.as_ref().and_then(|ended| ended.height);
        ended.ok_or(format!("{view:#?}"))
    })
    .await
    .unwrap();
    drop(oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_walks_away_from_a_loan_that_is_touched_while_its_funding_waits_for_a_block() {
    let mut world = World::new().await;
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    // 12 March, 09:00, at 7,342 dollars.
    world.advance(START.plus((3 * 24 + 9) * HOUR).unwrap()).await;
    let quote = world.quote(360_000, 30).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    world.settle().await;
    world.mine(1).await;
    until("the funding to be out", PATIENCE, || async {
        let both = world.both(id).await;
        let out = both.iter().all(|view| view.stage == Stage::Confirming && view.funding_height.is_none());
        out.then_some(()).ok_or(format!("{both:#?}"))
    })
    .await
    .unwrap();
    // The hour after midnight fell to 4,384, and no block came.
    world.wait_until(START.plus((4 * 24 + 1) * HOUR).unwrap()).await;
    let exit = pending(&loan(&world.lender.handle, id).await);
    assert_eq!((exit.exit, exit.waits_for.as_str(), exit.child), (Some(Exit::Liquidated), "the funding", None));
    let given_up = until("the loan to be given up", PATIENCE, || async {
        let events = world.borrower.handle.events(0, std::time::Duration::ZERO).await.unwrap();
        let out = events.iter().any(|one| one.event == "withdrawn");
        events.iter().find(|one| out && one.event == "given_up").cloned().ok_or(format!("{events:#?}"))
    });
    given_up.await.unwrap();
    until("the end", PATIENCE, || async {
        world.mine(1).await;
        let both = world.both(id).await;
        both.iter().all(|view| view.stage == Stage::Cancelled).then_some(()).ok_or(format!("{both:#?}"))
    })
    .await
    .unwrap();
    let lost = 300_000_000 - world.borrower.handle.balance().await.unwrap().confirmed_sats;
    assert!(lost < 20_000, "{lost} sats");
    println!("bound touched-before-funded {lost} sats at 25 sat/vB");
}

/// The borrower's child of a touch, nearly as wide as one may be.
fn wide_child(borrower: &mut Stranger, negotiated: &Negotiated, touch: &Transaction, fee: u64) -> Transaction {
    let mut outputs = touch.output.iter().zip(0u32..);
    let (ours, vout) = outputs.find(|(output, _)| output.script_pubkey == negotiated.skeleton.borrower_script).unwrap();
    let small = |script_pubkey| TxOut { value: Amount::from_sat(1_000), script_pubkey };
    let mut output: Vec<TxOut> = (0..29).map(|_| small(borrower.script())).collect();
    output[0].value = ours.value - Amount::from_sat(fee + 28_000);
    let previous_output = OutPoint { txid: touch.compute_txid(), vout };
    let input = vec![TxIn { previous_output, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME, ..TxIn::default() }];
    let child = Transaction { version: Version(3), lock_time: LockTime::ZERO, input, output };
    let mut psbt = Psbt::from_unsigned_tx(child).unwrap();
    psbt.inputs[0].witness_utxo = Some(ours.clone());
    assert_eq!(borrower.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    psbt.extract_tx_unchecked_fee_rate()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_child_of_the_borrowers_is_driven_out_only_when_that_is_cheap_for_what_is_wanted() {
    let mut world = World::new().await;
    world.mine(100).await;
    let mut borrower = Stranger::new(&world, "stranger").await;
    let coin = borrower.coins(&world, 1).await[0];
    world.settle().await;
    let negotiated = borrower.open(&world, 380_000, 30, coin).await;
    let id = negotiated.terms.id();
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    world.advance(START.plus((3 * 24 + 23) * HOUR).unwrap()).await;
    world.wait_until(START.plus(4 * 24 * HOUR).unwrap()).await;
    let touch = pending(&loan(&world.lender.handle, id).await).txid;
    borrower.catch_up(&world).await;
    let touch = borrower.chain.transaction(touch).await.unwrap().unwrap().transaction;
    borrower.wallet.record(&touch, world.now).unwrap();
    // Fees rise to 50 sat/vB; without this child the lender's would pay 9,700.
    let wide = wide_child(&mut borrower, &negotiated, &touch, 46_500);
    borrower.chain.broadcast(&wide).await.unwrap();
    let World { bitcoind, oracle, lender, borrower: idle, dir, now: _ } = world;
    lender.stop().await.unwrap();
    let file = dir.path().join("lender/hypothec.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let dear = text.replace("\nfloor = 1\n", "\nfloor = 50\n").replace("\nfallback = 5\n", "\nfallback = 50\n");
    assert_eq!(dear.len(), text.len() + 2);
    std::fs::write(&file, dear).unwrap();
    let lender = start_node(dir.path(), "lender", &bitcoind, &dir.path().join("clock")).await;
    let exit = async |what: &str, right: &dyn Fn(&PendingExit) -> bool| {
        until(what, PATIENCE, || async {
            let exit = loan(&lender.handle, id).await.pending_exit;
            exit.clone().filter(right).ok_or(format!("{exit:#?}"))
        })
        .await
        .unwrap()
    };
    let waits =
        exit("a look at the borrower's child", &|exit| exit.sat_per_vb == Some(44) || exit.child.is_some()).await;
    assert_eq!((waits.child, waits.child_fee_sats), (None, None), "it pays for the exit");
    for _ in 0..4 {
        bitcoind.mine_only(&[]).await.unwrap();
    }
    let paid = exit("the lender's child", &|exit| exit.child.is_some() && exit.refused.is_none()).await;
    let fee = paid.child_fee_sats.unwrap();
    // The exit has two signatures of 70 to 72 bytes: twice what our child would pay alone is 46,900 to 47,500.
    assert!((46_610..=46_900).contains(&fee), "{fee}");
    assert!(borrower.chain.transaction(wide.compute_txid()).await.unwrap().is_none());
    bitcoind.mine(1).await.unwrap();
    let confirmed = borrower.chain.transaction(touch.compute_txid()).await.unwrap().unwrap().confirmed;
    assert!(confirmed.is_some());
    drop((oracle, idle));
}
