//! What a real bitcoind relays of exits below its minimum fee rate: the grounds on which exits are of version 3, and
//! the measurement of anchor outputs that docs/adr/0002 cites.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;
mod support;

use bdk_bitcoind_rpc::bitcoincore_rpc::{Auth, Client, RpcApi};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::secp256k1::{Message, SecretKey, SECP256K1};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use common::{negotiate_on, script, secret, sign_psbt, Cast, Negotiated};
use hypothec::contract::clauses::{Clause, Payouts};
use hypothec::contract::offer::{borrower_shares, lender_coin_value, FundingCoin};
use hypothec::contract::repay::{self, RepayParts, Source};
use hypothec::contract::settle::{place, settle, VerifiedAttestation};
use hypothec::contract::Role;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::loan::curve::{fixing_curve_within, Bounds};
use hypothec::loan::Terms;
use serde_json::{json, Value};
use support::{options, World};

/// 50 sat/vB: twice what an exit has paid ahead.
const HIGH_FLOOR: &str = "-minrelaytxfee=0.0005";

fn rpc(node: &BitcoindProcess) -> Client {
    Client::new(node.rpc_url(), Auth::CookieFile(node.cookie_file())).unwrap()
}

/// A coin of this key on the chain once the next block is mined.
async fn coin(node: &BitcoindProcess, key: &SecretKey, value: Amount) -> FundingCoin {
    let address = Address::from_script(&script(key), Network::Regtest).unwrap();
    let outpoint = node.fund(&address, value).await.unwrap();
    let previous = rpc(node).get_raw_transaction(&outpoint.txid, None).unwrap();
    FundingCoin { previous, vout: outpoint.vout }
}

/// A contract of these terms whose funding transaction is on the chain, and its first touch, signed.
async fn contract(node: &BitcoindProcess, cast: &Cast, terms: Terms) -> (Negotiated, Transaction) {
    let bounds = Bounds { middle_ppm: 300_000, tails_ppm: 300_000 };
    let payouts = Payouts { fixing: fixing_curve_within(&terms, bounds).intervals, ..Payouts::of(&terms).unwrap() };
    let (mut offers, mut accepts) = (cast.offer_parts(&terms), cast.accept_parts(&terms));
    let brought = borrower_shares(&terms, 1).unwrap().required + Amount::from_sat(77_777);
    offers.coins = vec![coin(node, &cast.borrower_coin_key, brought).await];
    accepts.coin = coin(node, &cast.lender_coin_key, lender_coin_value(&terms).unwrap()).await;
    node.mine(1).await.unwrap();
    let n = negotiate_on(cast, terms, &payouts, offers, accepts);
    rpc(node).send_raw_transaction(&n.funding).unwrap();
    node.mine(1).await.unwrap();
    let event = n.terms.touch_days()[0].event();
    let word = cast.oracle.attest(event, vec![event.to_string()]).unwrap();
    let attested = VerifiedAttestation::check(&n.announcements, Clause::Touch { index: 0 }, word).unwrap();
    let spot = place(&n.terms, &payouts, &attested).unwrap();
    let borrowers: Vec<_> = (&n.signed.sign.cet_adaptor_signatures).into();
    let touch = settle(&n.skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot).unwrap();
    (n, touch)
}

/// Spends these outputs to one, less a fee; P2WPKH inputs signed by the key that stands beside them, others left open.
fn spend(inputs: &[(OutPoint, TxOut, Option<SecretKey>)], version: Version, fee: u64) -> Transaction {
    let sum: Amount = inputs.iter().map(|(_, out, _)| out.value).sum();
    let input = |(previous_output, ..): &(OutPoint, TxOut, Option<SecretKey>)| TxIn {
        previous_output: *previous_output,
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    let mut child = Transaction {
        version,
        lock_time: LockTime::ZERO,
        input: inputs.iter().map(input).collect(),
        output: vec![TxOut { value: sum - Amount::from_sat(fee), script_pubkey: script(&secret(90)) }],
    };
    for (index, (_, out, key)) in inputs.iter().enumerate() {
        let Some(key) = key else { continue };
        let hash = SighashCache::new(&child)
            .p2wpkh_signature_hash(index, &script(key), out.value, EcdsaSighashType::All)
            .unwrap();
        let message = Message::from_digest(bitcoin::hashes::Hash::to_byte_array(hash));
        let signature = bitcoin::ecdsa::Signature::sighash_all(SECP256K1.sign_ecdsa_low_r(&message, key));
        child.input[index].witness = Witness::p2wpkh(&signature, &key.public_key(SECP256K1));
    }
    child
}

/// A child of the lender's output of an exit.
fn lenders_child(exit: &Transaction, fee: u64) -> Transaction {
    let key = secret(23);
    let vout = exit.output.iter().position(|out| out.script_pubkey == script(&key)).unwrap();
    let place = OutPoint { txid: exit.compute_txid(), vout: vout as u32 };
    spend(&[(place, exit.output[vout].clone(), Some(key))], exit.version, fee)
}

/// Why bitcoind does not take it by itself.
fn refused_alone(node: &BitcoindProcess, transaction: &Transaction) -> Option<String> {
    let answer: Value = rpc(node).call("testmempoolaccept", &[json!([serialize_hex(transaction)])]).unwrap();
    (answer[0]["allowed"] != true).then(|| answer[0]["reject-reason"].as_str().unwrap_or("no reason").to_owned())
}

/// What bitcoind says of parent and child together: nothing when it takes both.
fn refused_together(node: &BitcoindProcess, parent: &Transaction, child: &Transaction) -> Option<String> {
    let package = json!([serialize_hex(parent), serialize_hex(child)]);
    let answer: Value = rpc(node).call("submitpackage", &[package]).unwrap();
    (answer["package_msg"] != "success").then(|| answer.to_string())
}

fn waits(node: &BitcoindProcess, transaction: &Transaction) -> bool {
    rpc(node).get_raw_mempool().unwrap().contains(&transaction.compute_txid())
}

/// Terms name whole sats for a byte, and what a contract pays is counted by whole bytes.
#[tokio::test]
async fn all_of_a_contract_is_taken_at_a_minimum_that_is_just_what_its_terms_pay() {
    let dir = tempfile::tempdir().unwrap();
    let args = vec!["-minrelaytxfee=0.00025".into()];
    let node = BitcoindProcess::start(&dir.path().join("bitcoind"), Options { args, ..options() }).await.unwrap();
    let world = World { node, dir };
    let cast = Cast::new();
    let terms = cast.terms(1);
    assert_eq!(terms.fee_rate.0, 25);
    // Its funding transaction is taken on the way.
    let (n, touch) = contract(&world.node, &cast, terms).await;
    let (repayment, _) = repaid(&world, &cast, &n).await;
    assert_eq!([&touch, &repayment].map(|one| refused_alone(&world.node, one)), [None, None]);
}

#[tokio::test]
async fn below_the_minimum_relay_fee_a_version_3_exit_goes_with_a_paying_child_and_a_version_2_exit_does_not() {
    let world = World::new().await;
    let cast = Cast::new();
    let (_, new) = contract(&world.node, &cast, cast.terms(1)).await;
    let (_, old) = contract(&world.node, &cast, cast.terms_as_the_library_has_them(1)).await;
    assert_eq!((new.version, old.version), (Version(3), Version::TWO));
    // At the default floor both go by themselves: they are paid ahead.
    assert_eq!((refused_alone(&world.node, &new), refused_alone(&world.node, &old)), (None, None));
    let dir = world.dir.path().join("bitcoind");
    world.node.stop().await.unwrap();
    let node = BitcoindProcess::start(&dir, Options { args: vec![HIGH_FLOOR.into()], ..options() }).await.unwrap();
    println!("measured on {}", node.version());
    for exit in [&new, &old] {
        assert!(refused_alone(&node, exit).unwrap().contains("min relay fee not met"));
    }
    let refused = refused_together(&node, &old, &lenders_child(&old, 20_000)).unwrap();
    assert!(refused.contains("min relay fee not met"), "{refused}");
    assert!(!waits(&node, &old));
    let child = lenders_child(&new, 20_000);
    assert_eq!(refused_together(&node, &new, &child), None);
    assert!(waits(&node, &new) && waits(&node, &child));
    node.mine(1).await.unwrap();
    assert!(!waits(&node, &new));
}

#[tokio::test]
async fn a_touch_of_either_version_takes_the_place_of_a_dearer_repayment_as_a_package_with_a_paying_child() {
    let world = World::new().await;
    let cast = Cast::new();
    for terms in [cast.terms_as_the_library_has_them(1), cast.terms(1)] {
        takes_the_place(&world, &cast, terms).await;
    }
}

async fn takes_the_place(world: &World, cast: &Cast, terms: Terms) {
    let (n, touch) = contract(&world.node, cast, terms).await;
    let own = coin(&world.node, &secret(70), Amount::from_sat(100_000)).await;
    world.node.mine(1).await.unwrap();
    let coins = vec![(own.outpoint(), own.previous.output[own.vout as usize].clone())];
    let parts = RepayParts {
        proposer: Role::Borrower,
        source: Source::Collateral,
        owed: Amount::from_sat(48_000_000),
        coins: coins.clone(),
        change_script: script(&secret(71)),
        fee_rate: 100,
    };
    let unsigned = repay::transaction(&n.terms, &n.skeleton, &parts).unwrap();
    let mut psbt = repay::psbt(&unsigned, &n.skeleton, &coins, |_| Some(own.previous.clone())).unwrap();
    sign_psbt(&mut psbt, &secret(70));
    let proposal = repay::propose(&n.skeleton, &cast.borrower_key, &psbt).unwrap();
    let repayment = repay::countersign(&n.skeleton, Role::Borrower, &cast.lender_key, &proposal).unwrap();
    rpc(&world.node).send_raw_transaction(&repayment).unwrap();
    assert!(refused_alone(&world.node, &touch).unwrap().contains("insufficient fee"));
    let child = lenders_child(&touch, 60_000);
    assert_eq!(refused_together(&world.node, &touch, &child), None);
    assert!(waits(&world.node, &touch) && !waits(&world.node, &repayment));
    world.node.mine(1).await.unwrap();
}

/// A complete repayment of the borrower's, of its own fee, and what that is.
async fn repaid(world: &World, cast: &Cast, n: &Negotiated) -> (Transaction, u64) {
    let own = coin(&world.node, &secret(70), Amount::from_sat(100_000)).await;
    world.node.mine(1).await.unwrap();
    let coins = vec![(own.outpoint(), own.previous.output[own.vout as usize].clone())];
    let parts = RepayParts {
        proposer: Role::Borrower,
        source: Source::Collateral,
        owed: Amount::from_sat(48_000_000),
        coins: coins.clone(),
        change_script: script(&secret(71)),
        fee_rate: 25,
    };
    let unsigned = repay::transaction(&n.terms, &n.skeleton, &parts).unwrap();
    let mut psbt = repay::psbt(&unsigned, &n.skeleton, &coins, |_| Some(own.previous.clone())).unwrap();
    sign_psbt(&mut psbt, &secret(70));
    let proposal = repay::propose(&n.skeleton, &cast.borrower_key, &psbt).unwrap();
    let repayment = repay::countersign(&n.skeleton, Role::Borrower, &cast.lender_key, &proposal).unwrap();
    let fee = repay::fee(&n.skeleton, &repayment, &[coins[0].1.clone()]).unwrap().to_sat();
    (repayment, fee)
}

/// A child of the output of `exit` that this key has.
fn child_of(exit: &Transaction, key: SecretKey, fee: u64) -> Transaction {
    let vout = exit.output.iter().position(|out| out.script_pubkey == script(&key)).unwrap();
    let place = OutPoint { txid: exit.compute_txid(), vout: vout as u32 };
    spend(&[(place, exit.output[vout].clone(), Some(key))], exit.version, fee)
}

/// Each side pays for the exit it wants, by a child of its own output; both exits are of version 3.
#[tokio::test]
async fn a_touch_with_a_child_and_a_repayment_with_a_child_take_each_others_place_for_all_the_other_paid_and_a_step() {
    let world = World::new().await;
    let cast = Cast::new();
    let (n, touch) = contract(&world.node, &cast, cast.terms(1)).await;
    let (repayment, repaid) = repaid(&world, &cast, &n).await;
    assert_eq!((touch.version, repayment.version), (Version(3), Version(3)));
    let ahead = n.skeleton.funding_value.to_sat() - touch.output.iter().map(|out| out.value.to_sat()).sum::<u64>();
    let (borrowers, lenders) = (secret(71), secret(23));
    // The repayment waits, and the borrower has paid for it.
    rpc(&world.node).send_raw_transaction(&repayment).unwrap();
    let theirs = 20_000;
    let child = child_of(&repayment, borrowers, theirs);
    rpc(&world.node).send_raw_transaction(&child).unwrap();
    let size = |exit: &Transaction, child: &Transaction| (exit.vsize() + child.vsize()) as u64;
    // What the lender's child has to pay: all that stands in the way, less what is paid ahead, and a sat for each byte.
    let least = |fees: u64, size: u64| fees + size - ahead;
    let mine = |fee| child_of(&touch, lenders, fee);
    let needed = least(repaid + theirs, size(&touch, &mine(theirs)));
    assert!(refused_alone(&world.node, &touch).unwrap().contains("insufficient fee"));
    let short = needed - size(&touch, &mine(theirs)) - 500;
    let refused = refused_together(&world.node, &touch, &mine(short)).unwrap();
    assert!(refused.contains("insufficient") && waits(&world.node, &child), "{refused}");
    let taken = mine(needed + 100);
    assert_eq!(refused_together(&world.node, &touch, &taken), None);
    assert!(waits(&world.node, &touch) && waits(&world.node, &taken));
    assert!(!waits(&world.node, &repayment) && !waits(&world.node, &child), "the loser and its child pay nothing");
    // And back again: for more than both, and, being wider, at no lower rate.
    let (paid, small, wide) = (ahead + needed + 100, size(&touch, &taken), size(&repayment, &child));
    let again = (paid + wide).max((paid * wide).div_ceil(small)) + 200 - repaid;
    let dearer = child_of(&repayment, borrowers, again);
    assert!(refused_together(&world.node, &repayment, &child).is_some(), "what was paid before is not enough");
    assert_eq!(refused_together(&world.node, &repayment, &dearer), None);
    assert!(waits(&world.node, &repayment) && !waits(&world.node, &touch) && !waits(&world.node, &taken));
    println!(
        "bound child-against-child {} sats for the touch against a repayment of {} with its child, {again} sats for the way back",
        needed + 100,
        repaid + theirs
    );
    // Each step costs its side more than all that went before, and who loses pays nothing.
    assert!(again > theirs + wide);
    world.node.mine(1).await.unwrap();
    assert!(
        rpc(&world.node).get_raw_transaction_info(&repayment.compute_txid(), None).unwrap().confirmations == Some(1)
    );
}

/// Pay-to-anchor: anyone may spend it, without a witness.
fn anchor(sats: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sats), script_pubkey: ScriptBuf::from_bytes(vec![0x51, 0x02, 0x4e, 0x73]) }
}

/// What becomes of an exit with an anchor whose child is paid for by a coin of somebody who has no other output of it.
async fn with_anchor(node: &BitcoindProcess, version: i32, anchored: u64, paid: u64) -> [bool; 2] {
    let (key, watchers) = (secret(80), secret(81));
    let locked = coin(node, &key, Amount::from_sat(1_000_000)).await;
    let own = coin(node, &watchers, Amount::from_sat(100_000)).await;
    node.mine(1).await.unwrap();
    let spent =
        |coin: &FundingCoin, key| (coin.outpoint(), coin.previous.output[coin.vout as usize].clone(), Some(key));
    let mut exit = spend(&[spent(&locked, key)], Version(version), paid + anchored);
    exit.output.push(anchor(anchored));
    exit.input[0].witness.clear();
    let hash = SighashCache::new(&exit)
        .p2wpkh_signature_hash(0, &script(&key), Amount::from_sat(1_000_000), EcdsaSighashType::All)
        .unwrap();
    let message = Message::from_digest(bitcoin::hashes::Hash::to_byte_array(hash));
    let signature = bitcoin::ecdsa::Signature::sighash_all(SECP256K1.sign_ecdsa_low_r(&message, &key));
    exit.input[0].witness = Witness::p2wpkh(&signature, &key.public_key(SECP256K1));
    let alone = refused_alone(node, &exit);
    let place = OutPoint { txid: exit.compute_txid(), vout: 1 };
    let child = spend(&[(place, anchor(anchored), None), spent(&own, watchers)], Version(version), 30_000);
    let together = refused_together(node, &exit, &child);
    println!("version {version}, anchor {anchored} sat, paid {paid} sat: alone {alone:?}, with a child {together:?}");
    [alone.is_none(), together.is_none()]
}

#[tokio::test]
async fn what_an_anchor_for_a_watchers_own_coin_would_need() {
    let world = World::new().await;
    println!("measured on {}", world.node.version());
    // Version, sats of the anchor, sats paid ahead: goes alone, goes with the watcher's child.
    let cases = [(3, 240, 4_000, [true, true]), (3, 0, 0, [false, true]), (3, 0, 4_000, [false, false])];
    let cases = cases.into_iter().chain([(2, 240, 4_000, [true, true]), (3, 240, 0, [false, true])]);
    for (version, anchored, paid, goes) in cases {
        assert_eq!(with_anchor(&world.node, version, anchored, paid).await, goes, "{version}, {anchored}, {paid}");
    }
    // Above what is paid ahead.
    let dir = world.dir.path().join("bitcoind");
    world.node.stop().await.unwrap();
    let node = BitcoindProcess::start(&dir, Options { args: vec![HIGH_FLOOR.into()], ..options() }).await.unwrap();
    for (version, goes) in [(3, [false, true]), (2, [false, false])] {
        assert_eq!(with_anchor(&node, version, 240, 4_000).await, goes, "{version}");
    }
}
