//! What our transactions pay at least, as a real bitcoind counts it: by whole virtual bytes, at a minimum that bites.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bitcoin::address::NetworkUnchecked;
use bitcoin::transaction::Version;
use bitcoin::{Address, Amount, FeeRate, OutPoint, Transaction};
use hypothec::chain::Chain;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::wallet::{Error, Payment};
use support::{options, sat, Party, World, ALICE, BOB, NOW};

fn unchecked(address: &Address) -> Address<NetworkUnchecked> {
    address.to_string().parse().unwrap()
}

async fn world_with(args: &[&str]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let args = args.iter().map(|&arg| arg.to_owned()).collect();
    let node = BitcoindProcess::start(&dir.path().join("bitcoind"), Options { args, ..options() }).await.unwrap();
    World { node, dir }
}

/// Puts all that was refused in one sentence.
struct Asked<'a> {
    chain: &'a Chain,
    refused: Vec<String>,
}

impl Asked<'_> {
    async fn about(&mut self, what: &str, payment: Result<Payment, Error>) {
        let made = payment.unwrap_or_else(|e| panic!("{what}: {e}"));
        self.about_one(what, &made.transaction).await;
    }

    async fn about_one(&mut self, what: &str, transaction: &Transaction) {
        if let Err(error) = self.chain.test_accept(transaction).await {
            self.refused.push(format!("{what}: {error}"));
        }
    }
}

/// One that pays to everybody else's rules; broadcast, so that its child has a parent in the mempool.
async fn parent_of_a_child(alice: &mut Party, version: Version) -> Transaction {
    let to = unchecked(&alice.wallet.new_address().unwrap());
    let mut parent = alice.wallet.send(&to, sat(900_000), FeeRate::from_sat_per_vb_u32(20)).unwrap().transaction;
    parent.version = version;
    if version != Version::TWO {
        // Another version wants other signatures.
        let mut psbt = bitcoin::Psbt::from_unsigned_tx(strip(&parent)).unwrap();
        assert_eq!(alice.wallet.sign_inputs(&mut psbt).unwrap(), parent.input.len());
        parent = psbt.extract_tx_unchecked_fee_rate();
    }
    alice.chain.broadcast(&parent).await.unwrap();
    parent
}

fn strip(transaction: &Transaction) -> Transaction {
    let mut bare = transaction.clone();
    bare.input.iter_mut().for_each(|input| input.witness.clear());
    bare
}

/// Every kind of transaction that the wallet makes, at the least rate that this bitcoind relays.
async fn all_kinds_are_taken(minimum: &str) {
    let world = world_with(&[&format!("-minrelaytxfee={minimum}")]).await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let to = unchecked(&bob.wallet.new_address().unwrap());
    let one = alice.funded(&world.node, sat(2_000_000)).await;
    let chain = world.chain().await;
    let rate = chain.fee_rate().await.unwrap();
    let mut asked = Asked { chain: &chain, refused: Vec::new() };

    asked.about("a payment with change", alice.wallet.send(&to, sat(700_000), rate)).await;
    let rest = alice.wallet.send_all(&to, rate).unwrap().transaction.output[0].value;
    for over in 2..6 {
        asked.about("a payment without change", alice.wallet.send(&to, rest - sat(over), rate)).await;
    }
    asked.about("everything", alice.wallet.send_all(&to, rate)).await;
    asked.about("a coin of an exact size", alice.wallet.make_coin(sat(800_000), rate)).await;
    asked.about("a coin taken back", alice.wallet.spend_to_self(one, rate, None)).await;
    asked.about("a move", alice.wallet.sweep(&[one], rate, None)).await;
    alice.wallet.set_reserve(sat(20_000));
    asked.about("a payment whose change is split", alice.wallet.send(&to, sat(100_000), rate)).await;
    asked.about("everything but a coin for fees", alice.wallet.send_all_but_reserve(&to, rate)).await;
    alice.funded(&world.node, sat(3_000_000)).await;
    let made = alice.wallet.make_reserve(rate).map(Option::unwrap);
    asked.about("a coin for fees", made).await;
    asked.about("two coins joined", alice.wallet.consolidate(rate, false).map(|(joined, _)| joined)).await;
    alice.wallet.set_reserve(Amount::ZERO);
    for (more, coins) in [(0, 2), (1, 3), (2, 4)] {
        if more > 0 {
            alice.funded(&world.node, sat(400_000)).await;
        }
        let all: Vec<OutPoint> = alice.wallet.coins().iter().map(|coin| coin.outpoint).collect();
        assert_eq!(all.len(), coins);
        asked.about("several moved", alice.wallet.sweep(&all, rate, None)).await;
        asked.about("everything of several", alice.wallet.send_all(&to, rate)).await;
        asked.about("a coin of several", alice.wallet.make_coin(sat(3_500_000), rate)).await;
    }
    assert!(asked.refused.is_empty(), "at {minimum} BTC/kvB:\n{}", asked.refused.join("\n"));
}

#[tokio::test]
async fn what_pays_the_least_rate_is_taken_whatever_it_is() {
    all_kinds_are_taken("0.0001").await;
}

#[tokio::test]
async fn a_least_rate_that_is_no_whole_sat_for_a_byte_is_paid_too() {
    all_kinds_are_taken("0.00010007").await;
    all_kinds_are_taken("0.00001013").await;
}

#[tokio::test]
async fn a_child_that_pays_just_the_least_rate_is_taken() {
    for version in [Version::TWO, Version(3)] {
        let world = world_with(&["-minrelaytxfee=0.0001"]).await;
        let mut alice = world.wallet(ALICE, "alice").await;
        alice.funded(&world.node, sat(2_000_000)).await;
        let beside = alice.funded(&world.node, sat(100_000)).await;
        let chain = world.chain().await;
        let parent = parent_of_a_child(&mut alice, version).await;
        let coin = alice.wallet.coins().into_iter().find(|coin| coin.outpoint == beside);
        let used = parent.input.iter().any(|input| input.previous_output == beside);
        let coin = coin.filter(|_| !used);
        for (beside, size) in [(None, 110), (coin, 178)] {
            let child = alice.wallet.child(&parent, sat(size * 10), beside.as_ref(), None).unwrap().transaction;
            assert!(child.vsize() as u64 <= size);
            chain.test_accept(&child).await.unwrap();
        }
    }
}

#[tokio::test]
async fn everything_is_sent_but_coins_that_cost_more_than_they_are_worth() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let large = alice.funded(&world.node, sat(1_000_000)).await;
    for _ in 0..6 {
        let address = alice.wallet.new_address().unwrap();
        world.node.fund(&address, sat(330)).await.unwrap();
    }
    world.node.mine(1).await.unwrap();
    alice.catch_up().await;
    let to = unchecked(&bob.wallet.new_address().unwrap());
    let rate = FeeRate::from_sat_per_vb_u32(50);
    let all = alice.wallet.send_all(&to, rate).unwrap();
    let spent: Vec<OutPoint> = all.transaction.input.iter().map(|input| input.previous_output).collect();
    assert_eq!(spent, [large], "six coins of 330 sats cost 3,400 each");
    assert_eq!(all.transaction.output[0].value, sat(1_000_000) - all.fee);
    // Where they are worth it they go too.
    let all = alice.wallet.send_all(&to, FeeRate::from_sat_per_vb_u32(4)).unwrap();
    assert_eq!(all.transaction.input.len(), 7);
    // Nothing but such coins is nothing to send, and nothing that is free for this.
    let address = unchecked(&bob.wallet.new_address().unwrap());
    let out = alice.wallet.send(&address, sat(990_000), rate).unwrap();
    assert_eq!(out.transaction.input.len(), 1);
    alice.wallet.record(&out.transaction, NOW).unwrap();
    match alice.wallet.send_all(&to, rate).unwrap_err() {
        Error::Insufficient { available, .. } => assert_eq!(available, Amount::ZERO),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_bitcoind_that_estimates_nothing_has_no_estimate_and_the_fallback_is_paid() {
    let world = world_with(&["-blocksonly"]).await;
    let mut config = world.node.chain_config();
    config.fees.fallback = FeeRate::from_sat_per_vb_u32(7);
    let chain = Chain::connect(config).await.unwrap();
    assert_eq!(chain.fee_rate().await.unwrap(), FeeRate::from_sat_per_vb_u32(7));
    assert_eq!(chain.patient_fee_rate().await.unwrap(), FeeRate::from_sat_per_vb_u32(7));
}
