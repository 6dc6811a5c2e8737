//! The chain room on a real bitcoind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Network, OutPoint, Psbt, Sequence, Transaction, TxIn, TxOut, Txid};
use hypothec::chain::{Auth, Chain, ChainEvent, Config, Error};
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec_oracle::units::Time;
use support::{drain, options, sat, World, ALICE, FEE, NOW};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Heights of blocks, `-h` for a rollback to h, and counts of mempool changes, for reading in a row.
fn told(events: &[ChainEvent]) -> Vec<String> {
    let line = |event: &ChainEvent| match event {
        ChainEvent::Block { height, .. } => format!("{height}"),
        ChainEvent::Rollback { to_height } => format!("-{to_height}"),
        ChainEvent::Mempool { new, evicted } => format!("+{} -{}", new.len(), evicted.len()),
    };
    events.iter().map(line).collect()
}

#[tokio::test]
async fn the_follower_tells_every_block_once_and_a_reorganisation_aloud() {
    let world = World::new().await;
    let chain = world.chain().await;
    let mut follower = chain.follower(&[], []);
    let events = drain(&mut follower).await;
    assert_eq!(told(&events), (1..=101).map(|h| h.to_string()).collect::<Vec<_>>());
    let tip = chain.tip().await.unwrap();
    assert_eq!((tip.height, Some(tip.hash)), (101, follower.position().map(|p| p.hash)));
    match events.last() {
        Some(ChainEvent::Block { hash, block, median_time, .. }) => {
            assert_eq!((*hash, *median_time), (tip.hash, tip.median_time));
            assert_eq!(block.block_hash(), tip.hash);
            assert!(tip.median_time < NOW && tip.time < NOW);
        }
        other => panic!("{other:?}"),
    }
    assert!(follower.poll().await.unwrap().is_empty());

    let stale = world.node.mine(3).await.unwrap();
    assert_eq!(told(&drain(&mut follower).await), ["102", "103", "104"]);
    world.node.invalidate(stale[1]).await.unwrap();
    assert_eq!(told(&drain(&mut follower).await), ["-102"]);
    world.node.set_mock_time(Time(NOW.0 + 600)).await.unwrap();
    let branch = world.node.mine(3).await.unwrap();
    let events = drain(&mut follower).await;
    assert_eq!(told(&events), ["103", "104", "105"]);
    assert!(matches!(&events[0], ChainEvent::Block { hash, .. } if *hash == branch[0]));

    // A longer branch that appears at once: the rollback comes first, in the same poll.
    world.node.invalidate(branch[0]).await.unwrap();
    world.node.set_mock_time(Time(NOW.0 + 1_200)).await.unwrap();
    world.node.mine(5).await.unwrap();
    assert_eq!(told(&drain(&mut follower).await), ["-102", "103", "104", "105", "106", "107"]);
    // A shorter branch changes nothing.
    world.node.reconsider(branch[0]).await.unwrap();
    assert!(drain(&mut follower).await.is_empty());
}

#[tokio::test]
async fn a_follower_that_slept_through_a_reorganisation_finds_the_fork() {
    let world = World::new().await;
    let mut party = world.wallet(ALICE, "alice").await;
    let stale = world.node.mine(4).await.unwrap();
    party.catch_up().await;
    let known = party.wallet.checkpoints();
    world.node.invalidate(stale[0]).await.unwrap();
    world.node.set_mock_time(Time(NOW.0 + 600)).await.unwrap();
    world.node.mine(5).await.unwrap();
    let mut late = party.chain.follower(&known, []);
    assert_eq!(told(&drain(&mut late).await), ["-101", "102", "103", "104", "105", "106"]);
    // Knowing only a block that is gone, it starts over.
    let gone = &known[known.len() - 1..];
    let events = drain(&mut party.chain.follower(gone, [])).await;
    assert_eq!(told(&events[..2]), ["-0", "1"]);
    assert_eq!(events.len(), 107);
}

#[tokio::test]
async fn the_mempool_is_told_as_what_came_and_what_went() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let coin = alice.funded(&world.node, sat(1_000_000)).await;
    let mut follower = alice.chain.follower(&alice.wallet.checkpoints(), []);
    assert!(drain(&mut follower).await.is_empty());

    let first = alice.wallet.spend_to_self(coin, FEE, None).unwrap().transaction;
    alice.chain.broadcast(&first).await.unwrap();
    assert_eq!(told(&drain(&mut follower).await), ["+1 -0"]);
    let rival = hypothec::wallet::Rival { fee: sat(600), fee_rate: FEE };
    let second = alice.wallet.spend_to_self(coin, FEE, Some(&rival)).unwrap().transaction;
    alice.chain.broadcast(&second).await.unwrap();
    match &drain(&mut follower).await[..] {
        [ChainEvent::Mempool { new, evicted }] => {
            assert_eq!(new[0].compute_txid(), second.compute_txid());
            assert_eq!(evicted[..], [first.compute_txid()]);
        }
        other => panic!("{other:?}"),
    }
    // Mined is not evicted.
    world.node.mine(1).await.unwrap();
    assert_eq!(told(&drain(&mut follower).await), ["103"]);

    // What a caller believed to be in the mempool and is not, is told at the first poll.
    let mut hopeful = alice.chain.follower(&alice.wallet.checkpoints(), [first.compute_txid()]);
    assert_eq!(told(&drain(&mut hopeful).await), ["103", "+0 -1"]);
}

#[tokio::test]
async fn a_transaction_rolled_back_into_the_mempool_is_told_as_new_and_one_that_vanished_as_gone() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let coin = alice.funded(&world.node, sat(1_000_000)).await;
    let paid = alice.wallet.spend_to_self(coin, FEE, None).unwrap().transaction;
    alice.chain.broadcast(&paid).await.unwrap();
    let block = world.node.mine(1).await.unwrap()[0];
    alice.catch_up().await;
    world.node.invalidate(block).await.unwrap();
    assert_eq!(told(&alice.catch_up().await), ["-102", "+1 -0"]);
    assert_eq!(alice.wallet.balance().confirmed, sat(0));

    // A rival takes its place in the next block.
    let rival = hypothec::wallet::Rival { fee: sat(600), fee_rate: FEE };
    let instead = alice.wallet.spend_to_self(coin, FEE, Some(&rival)).unwrap().transaction;
    alice.chain.broadcast(&instead).await.unwrap();
    world.node.mine(1).await.unwrap();
    assert_eq!(told(&alice.catch_up().await), ["103", "+0 -1"]);
    assert_eq!(alice.wallet.balance().confirmed, instead.output[0].value);

    // Also where all of it happens between two polls.
    let made = OutPoint { txid: instead.compute_txid(), vout: 0 };
    let next = alice.wallet.spend_to_self(made, FEE, None).unwrap().transaction;
    alice.chain.broadcast(&next).await.unwrap();
    let block = world.node.mine(1).await.unwrap()[0];
    assert_eq!(told(&alice.catch_up().await), ["104"]);
    let instead = alice.wallet.spend_to_self(coin, FEE, None);
    assert!(instead.is_err(), "the chain has it spent");
    world.node.invalidate(block).await.unwrap();
    let instead = world.wallet(ALICE, "elsewhere").await.wallet.spend_to_self(made, FEE, Some(&rival)).unwrap();
    alice.chain.broadcast(&instead.transaction).await.unwrap();
    world.node.mine(1).await.unwrap();
    let events = alice.catch_up().await;
    assert_eq!(told(&events), ["-103", "104", "+0 -1"]);
    let gone = next.compute_txid();
    assert!(matches!(&events[2], ChainEvent::Mempool { evicted, .. } if evicted[..] == [gone]));
}

#[tokio::test]
async fn broadcasting_again_what_is_known_or_mined_or_spent_counts_as_done() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let coin = alice.funded(&world.node, sat(1_000_000)).await;
    let first = alice.wallet.spend_to_self(coin, FEE, None).unwrap().transaction;
    let txid = first.compute_txid();
    alice.chain.test_accept(&first).await.unwrap();
    assert_eq!(alice.chain.transaction(txid).await.unwrap(), None);
    for _ in 0..2 {
        assert_eq!(alice.chain.broadcast(&first).await.unwrap(), txid);
    }
    alice.chain.test_accept(&first).await.unwrap();
    assert_eq!(alice.chain.transaction(txid).await.unwrap().unwrap().confirmed, None);
    let made = OutPoint { txid, vout: 0 };
    assert_eq!(alice.chain.coin(made).await.unwrap(), None);
    assert_eq!(alice.chain.coin_with_mempool(made).await.unwrap().unwrap().confirmations, 0);
    assert!(alice.chain.coin(coin).await.unwrap().is_some());
    assert_eq!(alice.chain.coin_with_mempool(coin).await.unwrap(), None);

    let hash = world.node.mine(1).await.unwrap()[0];
    assert_eq!(alice.chain.broadcast(&first).await.unwrap(), txid);
    alice.catch_up().await;
    let seen = alice.chain.transaction(txid).await.unwrap().unwrap();
    assert_eq!(seen.transaction, first);
    assert_eq!(seen.confirmed.map(|c| (c.height, c.hash, c.confirmations)), Some((103, hash, 1)));
    assert_eq!(alice.chain.block_hash(103).await.unwrap(), Some(hash));
    assert_eq!(alice.chain.block_hash(104).await.unwrap(), None);
    let coin_made = alice.chain.coin(made).await.unwrap().unwrap();
    assert_eq!((coin_made.txout, coin_made.confirmations), (first.output[0].clone(), 1));

    let second = alice.wallet.spend_to_self(made, FEE, None).unwrap().transaction;
    alice.chain.broadcast(&second).await.unwrap();
    world.node.mine(1).await.unwrap();
    assert_eq!(alice.chain.broadcast(&first).await.unwrap(), txid);
    assert_eq!(alice.chain.coin(made).await.unwrap(), None);

    // What the chain contradicts is refused, with bitcoind's reason.
    let mut rival = first.clone();
    rival.output[0].value = sat(1);
    for refused in
        [alice.chain.test_accept(&rival).await.unwrap_err(), alice.chain.broadcast(&rival).await.unwrap_err()]
    {
        let rejected = refused.rejection().unwrap_or_else(|| panic!("{refused}"));
        assert_eq!(rejected.txid, rival.compute_txid());
        assert!(rejected.reason.contains("missing"), "{}", rejected.reason);
    }
    assert_eq!(alice.chain.transaction(Txid::from_raw_hash(bitcoin::hashes::Hash::all_zeros())).await.unwrap(), None);
}

/// A version 3 transaction of Alice's that pays 1 sat/vB, signed.
fn cheap_v3(alice: &mut support::Party, coin: OutPoint) -> bitcoin::Transaction {
    let known = alice.wallet.coins();
    let known = known.iter().find(|known| known.outpoint == coin).unwrap();
    let script_pubkey = alice.wallet.new_address().unwrap().script_pubkey();
    let value = known.txout.value - sat(110);
    let input = TxIn { previous_output: coin, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME, ..TxIn::default() };
    let output = vec![TxOut { value, script_pubkey }];
    let unsigned = Transaction { version: Version(3), lock_time: LockTime::ZERO, input: vec![input], output };
    let mut psbt = Psbt::from_unsigned_tx(unsigned).unwrap();
    psbt.inputs[0].witness_utxo = Some(known.txout.clone());
    assert_eq!(alice.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    psbt.extract_tx_unchecked_fee_rate()
}

#[tokio::test]
async fn what_is_too_cheap_alone_is_taken_with_the_child_that_pays_for_it_and_that_with_a_dearer_one() {
    let dir = tempfile::tempdir().unwrap();
    let node = Options { args: vec!["-minrelaytxfee=0.0005".into()], ..options() };
    let node = BitcoindProcess::start(&dir.path().join("bitcoind"), node).await.unwrap();
    let world = World { node, dir };
    let mut alice = world.wallet(ALICE, "alice").await;
    let coin = alice.funded(&world.node, sat(1_000_000)).await;
    let beside = alice.funded(&world.node, sat(20_000)).await;
    let parent = cheap_v3(&mut alice, coin);
    let txid = parent.compute_txid();
    let refused = alice.chain.test_accept(&parent).await.unwrap_err();
    assert!(refused.rejection().unwrap().reason.contains("min relay fee not met"), "{refused}");
    assert_eq!(alice.chain.family(txid).await.unwrap(), None);
    // Both or none: a child that pays too little brings neither in.
    let poor = alice.wallet.child(&parent, sat(5_000), None, None).unwrap().transaction;
    let refused = alice.chain.submit_package(&parent, &poor).await.unwrap_err();
    assert!(refused.rejection().is_some(), "{refused}");
    assert_eq!(alice.chain.transaction(txid).await.unwrap(), None);

    let child = alice.wallet.child(&parent, sat(12_000), None, None).unwrap();
    assert_eq!((child.transaction.version, child.transaction.vsize() <= 110), (parent.version, true));
    alice.chain.submit_package(&parent, &child.transaction).await.unwrap();
    // Again does no harm.
    alice.chain.submit_package(&parent, &child.transaction).await.unwrap();
    let family = alice.chain.family(txid).await.unwrap().unwrap();
    assert_eq!((family.fee, family.size, family.all), (sat(110), parent.vsize() as u64, sat(12_110)));
    let only = family.children[0];
    assert_eq!((family.children.len(), only.txid, only.fee), (1, child.transaction.compute_txid(), sat(12_000)));
    assert_eq!((only.package_fee, only.package_size), (sat(12_110), family.size + only.size));
    assert_eq!(alice.chain.family_fee(txid).await.unwrap(), Some(sat(12_110)));
    let spent = child.transaction.input[0].previous_output;
    assert_eq!(alice.chain.spender(spent).await.unwrap().as_ref(), Some(&child.transaction));
    assert_eq!(alice.chain.spender(OutPoint { vout: 90, ..spent }).await.unwrap(), None);

    // A dearer one takes its place, to the same address, with a coin beside.
    let coins = alice.wallet.coins();
    let beside = coins.iter().find(|known| known.outpoint == beside).unwrap();
    let to = child.transaction.output[0].script_pubkey.clone();
    let second = alice.wallet.child(&parent, sat(24_000), Some(beside), Some(to.clone())).unwrap().transaction;
    assert_eq!((second.input.len(), second.output[0].script_pubkey == to), (2, true));
    assert!(second.vsize() <= 178, "{}", second.vsize());
    alice.chain.broadcast(&second).await.unwrap();
    let family = alice.chain.family(txid).await.unwrap().unwrap();
    assert_eq!((family.children.len(), family.children[0].txid), (1, second.compute_txid()));
    world.node.mine(1).await.unwrap();
    assert_eq!(alice.chain.family(txid).await.unwrap(), None);
    assert!(alice.chain.transaction(second.compute_txid()).await.unwrap().unwrap().confirmed.is_some());
    // More than it is worth is no child at all.
    let refused = alice.wallet.child(&parent, sat(999_800), None, None).unwrap_err();
    assert!(refused.to_string().contains("less than the fee"), "{refused}");
}

#[tokio::test]
async fn regtest_has_no_estimate_so_the_fallback_within_its_bounds_is_used() {
    let world = World::new().await;
    let mut config = world.node.chain_config();
    config.fees.fallback = bitcoin::FeeRate::from_sat_per_vb_u32(7);
    let chain = Chain::connect(config.clone()).await.unwrap();
    assert_eq!(chain.fee_rate().await.unwrap(), config.fees.fallback);
    config.fees.cap = bitcoin::FeeRate::from_sat_per_vb_u32(3);
    assert_eq!(Chain::connect(config.clone()).await.unwrap().fee_rate().await.unwrap(), config.fees.cap);
}

#[tokio::test]
async fn the_wrong_network_or_a_node_without_index_is_refused_with_the_remedy() {
    let world = World::new().await;
    let refused = |config| async { Chain::connect(config).await.err().unwrap().to_string() };
    let config = |network| Config { network, ..world.node.chain_config() };
    let message = refused(config(Network::Signet)).await;
    assert!(message.contains("`regtest`") && message.contains("`signet`"), "{message}");
    let message = refused(config(Network::Bitcoin)).await;
    assert!(message.contains("refused") && message.contains("use regtest or signet"), "{message}");

    let dir = tempfile::tempdir().unwrap();
    let bare = Options { args: vec!["-txindex=0".into()], ..options() };
    let bare = BitcoindProcess::start(dir.path(), bare).await.unwrap();
    let message = refused(bare.chain_config()).await;
    assert!(message.contains("-txindex=1"), "{message}");
}

#[tokio::test]
async fn an_unreachable_bitcoind_or_a_wrong_password_says_what_to_do() {
    let world = World::new().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Config { url: format!("http://127.0.0.1:{port}"), ..world.node.chain_config() };
    let refused = Chain::connect(nobody).await.err().unwrap();
    assert!(
        refused.is_temporary() && refused.to_string().contains("start bitcoind, or correct `bitcoind.url`"),
        "{refused}"
    );

    let auth = Auth::UserPass { user: "me".into(), password: "guess".into() };
    let stranger = Config { auth, ..world.node.chain_config() };
    let refused = Chain::connect(stranger).await.err().unwrap();
    assert!(matches!(refused, Error::Unauthorised { .. }), "{refused}");
    assert!(!refused.to_string().contains("guess"));

    let lost = Config { auth: Auth::Cookie(world.dir.path().join("none")), ..world.node.chain_config() };
    let message = Chain::connect(lost).await.err().unwrap().to_string();
    assert!(message.contains("bitcoind.cookie") && message.contains("regtest/.cookie"), "{message}");
}

#[tokio::test]
async fn after_bitcoind_restarts_the_same_line_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = BitcoindProcess::start(dir.path(), options()).await.unwrap();
    let chain = Chain::connect(node.chain_config()).await.unwrap();
    let mut follower = chain.follower(&[], []);
    drain(&mut follower).await;
    let port = node.rpc_url().rsplit(':').next().unwrap().parse().unwrap();
    node.stop().await.unwrap();
    let lost = chain.tip().await.unwrap_err();
    assert!(matches!(lost, Error::Unreachable { .. }), "{lost}");
    assert!(follower.poll().await.unwrap_err().is_temporary());

    let again = Options { rpc_port: Some(port), ..options() };
    let node = BitcoindProcess::start(dir.path(), again).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 101);
    node.mine(1).await.unwrap();
    assert_eq!(told(&drain(&mut follower).await), ["102"]);

    // Nobody asked while it was away: the cookie has changed under a line that looks open.
    node.stop().await.unwrap();
    let again = Options { rpc_port: Some(port), ..options() };
    let _node = BitcoindProcess::start(dir.path(), again).await.unwrap();
    assert_eq!(chain.tip().await.unwrap().height, 102);
    assert!(drain(&mut follower).await.is_empty());
}

#[tokio::test]
async fn a_bitcoind_that_never_answers_is_given_up_in_time() {
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let auth = Auth::UserPass { user: "u".into(), password: "p".into() };
    let mut config = Config::new(format!("http://{}", deaf.local_addr().unwrap()), auth, Network::Regtest);
    println!("bound silent-chain-source {} s a question", config.call_timeout.as_secs());
    config.call_timeout = std::time::Duration::from_millis(200);
    let gave_up = Chain::connect(config).await.err().unwrap();
    assert!(matches!(gave_up, Error::TimedOut { method: "getblockchaininfo", .. }), "{gave_up}");
}

/// Where a bitcoind is asked whose every answer takes so long.
async fn slow_door(world: &World, takes: std::time::Duration) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let behind = world.node.rpc_url().trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        while let Ok((asker, _)) = listener.accept().await {
            let node = tokio::net::TcpStream::connect(&behind).await.unwrap();
            let ((mut questions, mut answers), (mut said, mut asked)) = (asker.into_split(), node.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut questions, &mut asked).await });
            tokio::spawn(async move {
                let mut part = vec![0; 1 << 20];
                while let Ok(length @ 1..) = said.read(&mut part).await {
                    tokio::time::sleep(takes).await;
                    answers.write_all(&part[..length]).await.unwrap();
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bitcoind_that_is_slow_and_answers_is_asked_as_ever_by_all_at_once() {
    let world = World::new().await;
    let takes = std::time::Duration::from_secs(6);
    let config = Config { url: slow_door(&world, takes).await, ..world.node.chain_config() };
    let chain = Chain::connect(config).await.unwrap();
    let mut follower = chain.follower(&[], []);
    let began = std::time::Instant::now();
    let follows = tokio::spawn(async move { follower.poll().await.unwrap().len() });
    let mut asked = 0;
    while !follows.is_finished() {
        // Begun at any time of the other's questions.
        let (tip, rate) = tokio::join!(chain.tip(), chain.fee_rate());
        assert_eq!((tip.unwrap().height, rate.unwrap().to_sat_per_vb_ceil()), (101, 5));
        asked += 3;
        let none = chain.transaction(Txid::from_raw_hash(bitcoin::hashes::Hash::all_zeros())).await;
        assert_eq!(none.unwrap(), None);
    }
    assert!(follows.await.unwrap() > 0);
    println!("{asked} questions answered in {} s, {} s each", began.elapsed().as_secs(), takes.as_secs());
}

/// Where a bitcoind would be asked that refuses a transaction, and then takes no more questions.
async fn refuses_and_is_busy() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut asker, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut part = vec![0; 1 << 16];
                while let Ok(length @ 1..) = asker.read(&mut part).await {
                    let asked = String::from_utf8_lossy(&part[..length]).into_owned();
                    let body =
                        serde_json::from_str::<serde_json::Value>(asked.split("\r\n\r\n").nth(1).unwrap()).unwrap();
                    let refusal = serde_json::json!({ "code": -25, "message": "bad-txns-inputs-missingorspent" });
                    let said = serde_json::json!({ "result": null, "error": refusal, "id": body["id"] }).to_string();
                    let (status, said) = match asked.contains("sendrawtransaction") {
                        true => ("500 No", said),
                        false => ("503 Service Unavailable", "Work queue depth exceeded".to_owned()),
                    };
                    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", said.len());
                    asker.write_all((head + &said).as_bytes()).await.unwrap();
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_transaction_that_is_refused_and_that_may_have_been_taken_before_is_never_said_not_to_be_out() {
    let auth = Auth::UserPass { user: "u".into(), password: "p".into() };
    let chain = Chain::configured(Config::new(refuses_and_is_busy().await, auth, Network::Regtest)).unwrap();
    let (version, lock_time) = (Version::TWO, LockTime::ZERO);
    let input = vec![TxIn::default()];
    let output = vec![TxOut { value: sat(1_000), script_pubkey: bitcoin::ScriptBuf::new() }];
    let refused = chain.broadcast(&Transaction { version, lock_time, input, output }).await.unwrap_err();
    assert!(refused.may_be_done() && refused.is_temporary() && refused.rejection().is_none(), "{refused}");
    assert!(refused.to_string().contains("missingorspent") && refused.to_string().contains("HTTP 503"), "{refused}");
}
