//! The wallet room on a real bitcoind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::serialize;
use bitcoin::psbt::Psbt;
use bitcoin::{absolute, transaction, Address, Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut};
use hypothec::chain::{BlockRef, ChainEvent};
use hypothec::contract::wire::MAX_PREVIOUS;
use hypothec::wallet::{verify_coin_proof, Error, Rival, Wallet, MOST_UNPAID, RESTORE_LOOKS};
use std::collections::HashSet;
use std::sync::Arc;
use support::{sat, seed, Party, World, ALICE, BOB, FEE, NOW};

fn unchecked(address: &Address) -> Address<NetworkUnchecked> {
    address.to_string().parse().unwrap()
}

/// Broadcasts, mines and takes it in; returns what it paid to the miner.
async fn confirm(world: &World, party: &mut Party, transaction: &Transaction) {
    party.chain.test_accept(transaction).await.unwrap();
    party.chain.broadcast(transaction).await.unwrap();
    party.wallet.record(transaction, NOW).unwrap();
    world.node.mine(1).await.unwrap();
    party.catch_up().await;
}

/// The fee rate it really has, in sats per 1,000 weight units, rounded up.
fn rate(transaction: &Transaction, fee: Amount) -> u64 {
    (fee.to_sat() * 1_000).div_ceil(transaction.weight().to_wu())
}

#[test]
fn the_first_address_is_the_one_every_bip84_wallet_derives_from_these_words() {
    let dir = tempfile::tempdir().unwrap();
    let mut wallet = Wallet::create_or_load(dir.path(), &seed(ALICE), None).unwrap();
    let known: Address<NetworkUnchecked> = "tb1q6rz28mcfaxtmd6v789l9rrlrusdprr9pqcpvkl".parse().unwrap();
    assert_eq!(wallet.new_address().unwrap().script_pubkey(), known.assume_checked().script_pubkey());
}

#[tokio::test]
async fn the_wallet_receives_sends_and_every_sat_is_accounted_for() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let address = alice.wallet.new_address().unwrap();
    world.node.fund(&address, sat(5_000_000)).await.unwrap();
    alice.catch_up().await;
    let balance = alice.wallet.balance();
    assert_eq!((balance.unconfirmed, balance.confirmed), (sat(5_000_000), sat(0)));
    assert!(alice.wallet.free_coins().is_empty());
    world.node.mine(1).await.unwrap();
    alice.catch_up().await;
    assert_eq!(alice.wallet.balance().confirmed, sat(5_000_000));
    let coin = &alice.wallet.coins()[0];
    assert_eq!((coin.confirmations, &coin.txout), (1, &coin.previous_tx.output[coin.outpoint.vout as usize]));
    assert_eq!(coin.previous_tx.compute_txid(), coin.outpoint.txid);

    let to = bob.wallet.new_address().unwrap();
    let paid = alice.wallet.send(&unchecked(&to), sat(1_234_567), FEE).unwrap();
    assert!((1_250..=1_260).contains(&rate(&paid.transaction, paid.fee)), "{}", rate(&paid.transaction, paid.fee));
    let effect = alice.wallet.net_effect(&paid.transaction);
    assert_eq!(effect.spent - effect.received, sat(1_234_567) + paid.fee);
    confirm(&world, &mut alice, &paid.transaction).await;
    bob.catch_up().await;
    assert_eq!(bob.wallet.balance().confirmed, sat(1_234_567));
    assert_eq!(bob.wallet.net_effect(&paid.transaction).received, sat(1_234_567));
    assert_eq!(alice.wallet.balance().total(), sat(5_000_000 - 1_234_567) - paid.fee);

    let all = alice.wallet.send_all(&unchecked(&to), FEE).unwrap();
    confirm(&world, &mut alice, &all.transaction).await;
    bob.catch_up().await;
    assert_eq!(alice.wallet.balance().total(), sat(0));
    assert_eq!(bob.wallet.balance().total(), sat(5_000_000) - paid.fee - all.fee);
}

#[tokio::test]
async fn a_recorded_payment_is_not_spent_twice_before_the_mempool_tells_of_it() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    alice.funded(&world.node, sat(100_000)).await;
    alice.funded(&world.node, sat(100_000)).await;
    let to = unchecked(&alice.wallet.new_address().unwrap());
    let first = alice.wallet.send(&to, sat(50_000), FEE).unwrap().transaction;
    alice.wallet.record(&first, NOW).unwrap();
    let second = alice.wallet.send(&to, sat(50_000), FEE).unwrap().transaction;
    assert_ne!(first.input[0].previous_output, second.input[0].previous_output);
    alice.wallet.record(&second, NOW).unwrap();
    assert!(matches!(alice.wallet.send(&to, sat(50_000), FEE), Err(Error::Insufficient { .. })));
    // It never reached the network: the first mempool told says so, and its coins are free again.
    let mut late = alice.chain.follower(&alice.wallet.checkpoints(), alice.wallet.unconfirmed());
    for event in support::drain(&mut late).await {
        alice.wallet.apply(&event, NOW).unwrap();
    }
    assert_eq!(alice.wallet.balance().confirmed, sat(200_000));
}

#[tokio::test]
async fn while_the_clock_stands_still_what_was_seen_last_still_counts() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let coin = alice.funded(&world.node, sat(100_000)).await;
    let first = Arc::new(alice.wallet.spend_to_self(coin, FEE, None).unwrap().transaction);
    let rival = Rival { fee: sat(600), fee_rate: FEE };
    let second = Arc::new(alice.wallet.spend_to_self(coin, FEE, Some(&rival)).unwrap().transaction);
    let (one, two) = (first.compute_txid(), second.compute_txid());
    let mut told = |new: &[&Arc<Transaction>], evicted: &[_]| {
        let new = new.iter().map(|t| Arc::clone(t)).collect();
        let event = ChainEvent::Mempool { new, evicted: evicted.to_vec() };
        alice.wallet.apply(&event, NOW).unwrap();
        (alice.wallet.unconfirmed(), alice.wallet.balance().confirmed)
    };
    assert_eq!(told(&[&first], &[]), (vec![one], sat(0)));
    assert_eq!(told(&[&second], &[one]), (vec![two], sat(0)));
    assert_eq!(told(&[], &[two]), (vec![], sat(100_000)));
    assert_eq!(told(&[&first], &[]), (vec![one], sat(0)));
}

#[tokio::test]
async fn an_exact_coin_is_made_from_what_there_is_and_found_again() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    for sats in [30_000, 40_000, 900_000] {
        alice.funded(&world.node, sat(sats)).await;
    }
    assert_eq!(alice.wallet.exact_coin(sat(933_333)), None);
    let cost = alice.wallet.coin_cost(sat(933_333), FEE).unwrap();
    let made = alice.wallet.make_coin(sat(933_333), FEE).unwrap();
    assert_eq!(made.fee, cost, "what it costs is known before");
    assert_eq!(made.transaction.output[0].value, sat(933_333));
    assert_eq!(made.transaction.input.len(), 2);
    confirm(&world, &mut alice, &made.transaction).await;
    let coin = alice.wallet.exact_coin(sat(933_333)).unwrap();
    assert_eq!(coin.outpoint, OutPoint { txid: made.transaction.compute_txid(), vout: 0 });
    assert_eq!(alice.wallet.coin_cost(sat(933_333), FEE).unwrap(), sat(0), "there is one");
    assert_eq!(alice.wallet.balance().total(), sat(970_000) - made.fee);

    assert_eq!(alice.wallet.coin_near(sat(933_000), 4).unwrap().txout.value, sat(933_333));
    assert_eq!(alice.wallet.coin_near(sat(933_000), 3), None);
}

#[tokio::test]
async fn reserved_and_unconfirmed_coins_are_never_chosen() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let large = alice.funded(&world.node, sat(900_000)).await;
    let small = alice.funded(&world.node, sat(100_000)).await;
    let address = alice.wallet.new_address().unwrap();
    world.node.fund(&address, sat(2_000_000)).await.unwrap();
    alice.catch_up().await;

    assert_eq!(alice.wallet.select(sat(90_000), FEE).unwrap()[0].outpoint, small);
    assert_eq!(alice.wallet.select(sat(500_000), FEE).unwrap()[0].outpoint, large);
    alice.wallet.set_reserved(HashSet::from([large]));
    let refused = alice.wallet.select(sat(500_000), FEE).unwrap_err();
    assert!(refused.to_string().contains("reserved for loans"), "{refused}");
    assert_eq!(alice.wallet.exact_coin(sat(900_000)), None);
    assert_eq!(alice.wallet.exact_coin(sat(2_000_000)), None);
    let balance = alice.wallet.balance();
    assert_eq!(balance.reserved, sat(900_000));
    assert_eq!((balance.confirmed, balance.unconfirmed), (sat(100_000), sat(2_000_000)));
    let to = unchecked(&address);
    assert_eq!(alice.wallet.send_all(&to, FEE).unwrap().transaction.input.len(), 1);
    alice.wallet.release(&[large]);
    alice.wallet.reserve(&[small]);
    assert_eq!(alice.wallet.select(sat(90_000), FEE).unwrap()[0].outpoint, large);
}

#[tokio::test]
async fn as_many_coins_are_taken_back_as_the_fee_needs_and_for_more_to_the_same_place() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let mut coins = Vec::new();
    for value in [10_000, 30_000, 5_000, 20_000] {
        coins.push(alice.funded(&world.node, sat(value)).await);
    }
    // All four in a transaction that pays 40,000 sats: more than any of them.
    let to = bob.wallet.new_address().unwrap().script_pubkey();
    let mut psbt = proposal(&coins, &[TxOut { value: sat(25_000), script_pubkey: to }]);
    assert_eq!(alice.wallet.sign_inputs(&mut psbt).unwrap(), 4);
    let rival = psbt.extract_tx_unchecked_fee_rate();
    alice.chain.broadcast(&rival).await.unwrap();
    alice.catch_up().await;
    let against = |fee| Rival { fee: sat(fee), fee_rate: sat(fee) / rival.weight() };
    assert_eq!(alice.wallet.take_back(&coins, None, FEE, &[]).unwrap().transaction.input.len(), 1);
    let first = alice.wallet.take_back(&coins, None, FEE, &[against(40_000)]).unwrap();
    let spent = |tx: &Transaction| tx.input.iter().map(|input| input.previous_output).collect::<Vec<_>>();
    assert_eq!(spent(&first.transaction), [coins[1], coins[3]], "the largest first, and no more than it takes");
    assert!(first.fee < sat(40_300), "{}", first.fee);
    alice.chain.broadcast(&first.transaction).await.unwrap();
    // For more it takes one more, and the place of the one before.
    let before = Rival { fee: first.fee, fee_rate: first.fee / first.transaction.weight() };
    let more = [against(52_000), before];
    let second = alice.wallet.take_back(&coins, Some(&first.transaction), FEE, &more).unwrap();
    assert_eq!(spent(&second.transaction), [coins[1], coins[3], coins[0]]);
    assert_eq!(second.transaction.output[0].script_pubkey, first.transaction.output[0].script_pubkey);
    confirm(&world, &mut alice, &second.transaction).await;
    assert_eq!(alice.wallet.balance().total(), sat(65_000) - second.fee);
    let gone = alice.wallet.take_back(&coins[..2], None, FEE, &[]);
    assert!(matches!(gone, Err(Error::NotOurs(o)) if o == coins[0]));
}

#[tokio::test]
async fn a_half_signed_proposal_is_withdrawn_by_spending_its_input_elsewhere() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let coin = alice.funded(&world.node, sat(1_000_000)).await;
    alice.wallet.reserve(&[coin]);
    let to = bob.wallet.new_address().unwrap().script_pubkey();
    // Larger than what withdraws it: then its fee counts, not only its rate.
    let outputs = vec![TxOut { value: sat(245_000), script_pubkey: to }; 4];
    let mut psbt = proposal(&[coin], &outputs);
    assert_eq!(alice.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    let proposal = psbt.extract_tx_unchecked_fee_rate();
    // The peer has completed it after all, at a high fee: it sits in the mempool.
    alice.chain.broadcast(&proposal).await.unwrap();
    alice.catch_up().await;
    assert_eq!(alice.wallet.balance().total(), sat(0));

    let cheap = alice.wallet.spend_to_self(coin, FEE, None).unwrap();
    let refused = alice.chain.test_accept(&cheap.transaction).await.unwrap_err();
    assert!(refused.rejection().unwrap().reason.contains("insufficient fee"), "{refused}");
    let fee = sat(20_000);
    let fee_rate = fee / proposal.weight();
    let withdrawn = alice.wallet.spend_to_self(coin, FEE, Some(&Rival { fee, fee_rate })).unwrap();
    confirm(&world, &mut alice, &withdrawn.transaction).await;
    assert_eq!(alice.wallet.balance().total(), sat(1_000_000) - withdrawn.fee);
    assert!(alice.chain.broadcast(&proposal).await.unwrap_err().rejection().is_some());
    // It is gone for good now.
    assert!(matches!(alice.wallet.spend_to_self(coin, FEE, None), Err(Error::NotOurs(o)) if o == coin));

    let dust = alice.funded(&world.node, sat(700)).await;
    assert!(matches!(alice.wallet.spend_to_self(dust, FEE, None), Err(Error::TooSmall { .. })));
}

#[tokio::test]
async fn a_restart_keeps_addresses_and_coins_and_a_torn_record_costs_nothing_else() {
    use std::io::Write;
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    alice.funded(&world.node, sat(70_000)).await;
    let given: Vec<Address> = (0..3).map(|_| alice.wallet.new_address().unwrap()).collect();
    drop(alice);
    let file = world.dir.path().join("alice").join("coins.db");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut again = world.wallet(ALICE, "alice").await;
    assert_eq!(again.wallet.balance().confirmed, sat(70_000));
    let next = again.wallet.new_address().unwrap();
    assert!(!given.contains(&next));
    drop(again);

    // The power went while a record was written.
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let mut torn = world.wallet(ALICE, "alice").await;
    assert_eq!(torn.wallet.balance().confirmed, sat(70_000));
    torn.funded(&world.node, sat(5_000)).await;
    drop(torn);
    assert_eq!(world.wallet(ALICE, "alice").await.wallet.balance().confirmed, sat(75_000));

    let folder = world.dir.path().join("alice");
    let refused = Wallet::create_or_load(&folder, &seed(BOB), None).err().unwrap();
    assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
    let mut scribble = std::fs::File::create(&file).unwrap();
    scribble.write_all(b"not a wallet at all").unwrap();
    let refused = Wallet::create_or_load(&folder, &seed(ALICE), None).err().unwrap();
    assert!(refused.to_string().contains("move it away"), "{refused}");
}

#[tokio::test]
async fn the_words_alone_find_the_money_again_even_far_along_the_addresses() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    for _ in 0..900 {
        alice.wallet.new_address().unwrap();
    }
    alice.funded(&world.node, sat(800_000)).await;
    let made = alice.wallet.make_coin(sat(300_000), FEE).unwrap();
    confirm(&world, &mut alice, &made.transaction).await;
    let before: Vec<_> = alice.wallet.coins();
    let mut restored = world.wallet(ALICE, "elsewhere").await;
    assert_eq!(restored.wallet.coins(), before);
    let spent = restored.wallet.send_all(&unchecked(&alice.wallet.new_address().unwrap()), FEE).unwrap();
    restored.chain.test_accept(&spent.transaction).await.unwrap();
}

#[tokio::test]
async fn addresses_asked_for_without_end_are_found_by_the_words_and_no_open_loans_is_given_again() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let coin = alice.funded(&world.node, sat(1_000_000)).await;
    let script = |party: &mut Party| party.wallet.new_address().unwrap().script_pubkey();
    // What two thousand negotiations asked for that came to nothing; two loans among them are open.
    let mut given: Vec<ScriptBuf> = (0..30).map(|_| script(&mut alice)).collect();
    let open: HashSet<ScriptBuf> = [given[3].clone(), given[29].clone()].into();
    alice.wallet.set_held(open.clone());
    given.extend((30..2_000).map(|_| script(&mut alice)));
    let different: HashSet<&ScriptBuf> = given.iter().collect();
    println!("bound address-flood {} addresses", different.len());
    assert_eq!(different.len(), MOST_UNPAID as usize);
    assert!(given.windows(2).all(|two| two[0] != two[1]), "two in one contract");
    assert!(given.iter().skip(400).all(|script| !open.contains(script)), "an open loan's");
    assert!(given.iter().skip(400).filter(|script| **script == given[100]).count() <= 5, "in turn");
    // A coin taken back without end, its transaction never sent: one place.
    let mut backs =
        (0..500).map(|_| alice.wallet.spend_to_self(coin, FEE, None).unwrap().transaction.output[0].clone());
    let back = backs.next().unwrap();
    assert!(backs.all(|output| output == back));
    let last = alice.wallet.new_address().unwrap();
    world.node.fund(&last, sat(200_000_000)).await.unwrap();
    world.node.mine(1).await.unwrap();
    alice.catch_up().await;
    // Paid, it is given to nobody again, and those beyond it are new.
    let next: HashSet<ScriptBuf> = (0..500).map(|_| script(&mut alice)).collect();
    assert!(!next.contains(&last.script_pubkey()) && next.iter().any(|script| !different.contains(script)));
    // A restart remembers what was paid.
    let folder = world.dir.path().join("alice");
    drop(alice);
    let mut again = Wallet::create_or_load(&folder, &seed(ALICE), None).unwrap();
    assert!((0..500).all(|_| again.new_address().unwrap() != last));
    let restored = world.wallet(ALICE, "elsewhere").await;
    assert_eq!(restored.wallet.balance().confirmed, sat(201_000_000));
}

/// The address at this place of the words' receiving side, as BIP 84 derives it.
fn address_at(words: &str, index: u32) -> Address {
    use bitcoin::bip32::{DerivationPath, Xpriv};
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let seed = bip39::Mnemonic::parse(words).unwrap().to_seed("");
    let path: DerivationPath = format!("m/84h/1h/0h/0/{index}").parse().unwrap();
    let key = Xpriv::new_master(bitcoin::Network::Regtest, &seed).unwrap().derive_priv(&secp, &path).unwrap();
    Address::p2wpkh(&bitcoin::CompressedPublicKey(key.private_key.public_key(&secp)), bitcoin::KnownHrp::Regtest)
}

#[tokio::test]
async fn a_restore_finds_coins_that_an_older_wallet_put_thousands_of_addresses_along() {
    let world = World::new().await;
    // The farther one was paid first.
    for index in [6_000, 2_500, RESTORE_LOOKS - 1] {
        world.node.fund(&address_at(ALICE, index), sat(100_000_000)).await.unwrap();
        world.node.mine(1).await.unwrap();
    }
    assert_eq!(world.wallet(ALICE, "near").await.wallet.balance().confirmed, sat(0));
    let folder = world.dir.path().join("far");
    std::fs::create_dir_all(&folder).unwrap();
    Wallet::create_or_load(&folder, &seed(ALICE), None).unwrap().look_far().unwrap();
    // A restart before the chain is read changes nothing.
    let mut restored = world.wallet(ALICE, "far").await;
    assert_eq!(restored.wallet.balance().confirmed, sat(300_000_000));
    restored.funded(&world.node, sat(5_000)).await;
    assert_eq!(restored.wallet.balance().confirmed, sat(300_005_000));
}

#[tokio::test]
async fn a_new_wallet_need_not_read_what_lies_before_its_birthday() {
    let world = World::new().await;
    let chain = world.chain().await;
    let hash = chain.tip().await.unwrap().hash;
    let dir = tempfile::tempdir().unwrap();
    let birthday = Some(BlockRef { height: 101, hash });
    let wallet = Wallet::create_or_load(dir.path(), &seed(ALICE), birthday).unwrap();
    let mut party = Party { follower: chain.follower(&wallet.checkpoints(), []), wallet, chain };
    assert!(party.catch_up().await.is_empty());
    party.funded(&world.node, sat(60_000)).await;
    drop(party);
    let again = Wallet::create_or_load(dir.path(), &seed(ALICE), None).unwrap();
    assert_eq!((again.height(), again.balance().confirmed), (102, sat(60_000)));
}

#[tokio::test]
async fn only_our_own_inputs_of_a_shared_transaction_are_signed() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let hers = alice.funded(&world.node, sat(500_000)).await;
    let his = bob.funded(&world.node, sat(300_000)).await;
    let script_pubkey = bob.wallet.new_address().unwrap().script_pubkey();
    let mut psbt = proposal(&[his, hers], &[TxOut { value: sat(799_000), script_pubkey }]);
    assert_eq!(alice.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    assert!(psbt.inputs[0].final_script_witness.is_none() && psbt.inputs[1].final_script_witness.is_some());
    let half = psbt.clone().extract_tx_unchecked_fee_rate();
    assert!(alice.chain.test_accept(&half).await.is_err());
    assert_eq!(bob.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    let signed = psbt.clone().extract_tx_unchecked_fee_rate();
    alice.chain.test_accept(&signed).await.unwrap();
    // Again changes nothing.
    assert_eq!(alice.wallet.sign_inputs(&mut psbt).unwrap(), 1);
    assert_eq!(serialize(&psbt.extract_tx_unchecked_fee_rate()), serialize(&signed));

    let output = [signed.output[0].clone()];
    let mut lying = proposal(&[hers], &output);
    lying.inputs[0].witness_utxo = Some(TxOut { value: sat(1), script_pubkey: output[0].script_pubkey.clone() });
    assert!(matches!(alice.wallet.sign_inputs(&mut lying), Err(Error::Psbt { index: 0, .. })));
    let mut loose = proposal(&[hers], &output);
    loose.inputs[0].sighash_type = Some(bitcoin::EcdsaSighashType::None.into());
    let refused = alice.wallet.sign_inputs(&mut loose).unwrap_err().to_string();
    assert!(refused.contains("SIGHASH_ALL") && loose.inputs[0].final_script_witness.is_none(), "{refused}");
    let mut short = proposal(&[hers], &output);
    short.inputs.clear();
    assert!(alice.wallet.sign_inputs(&mut short).is_err());
}

#[tokio::test]
async fn a_peer_checks_a_coin_proof_against_its_own_bitcoind() {
    let world = World::new().await;
    let (mut alice, bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    let coin = alice.funded(&world.node, sat(500_000)).await;
    let proof = alice.wallet.prove_coin(coin, &[7; 32]).unwrap();
    let seen = bob.chain.coin(proof.outpoint).await.unwrap().unwrap();
    assert_eq!(seen.confirmations, 1);
    verify_coin_proof(&proof, &seen.txout, &[7; 32]).unwrap();
    assert!(verify_coin_proof(&proof, &seen.txout, &[8; 32]).is_err());
    assert!(matches!(bob.wallet.prove_coin(coin, &[7; 32]), Err(Error::NotOurs(_))));
    let text = serde_json::to_string(&proof).unwrap();
    assert_eq!(serde_json::from_str::<hypothec::wallet::CoinProof>(&text).unwrap(), proof);
}

#[tokio::test]
async fn a_reorganisation_takes_confirmations_away_and_gives_them_back() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let address = alice.wallet.new_address().unwrap();
    world.node.fund(&address, sat(400_000)).await.unwrap();
    let blocks = world.node.mine(3).await.unwrap();
    alice.catch_up().await;
    assert_eq!(alice.wallet.coins()[0].confirmations, 3);
    world.node.invalidate(blocks[1]).await.unwrap();
    alice.catch_up().await;
    assert_eq!((alice.wallet.height(), alice.wallet.coins()[0].confirmations), (102, 1));
    world.node.invalidate(blocks[0]).await.unwrap();
    alice.catch_up().await;
    assert_eq!(alice.wallet.balance().unconfirmed, sat(400_000));
    // A restart in between changes nothing.
    drop(alice);
    let mut alice = world.wallet(ALICE, "alice").await;
    assert_eq!((alice.wallet.height(), alice.wallet.balance().unconfirmed), (101, sat(400_000)));
    // The old branch comes back, block by block.
    world.node.reconsider(blocks[0]).await.unwrap();
    alice.catch_up().await;
    assert_eq!((alice.wallet.height(), alice.wallet.coins()[0].confirmations), (104, 3));
    // Blocks told twice do no harm.
    for event in support::drain(&mut alice.chain.follower(&[], [])).await {
        if matches!(event, ChainEvent::Block { .. }) {
            alice.wallet.apply(&event, NOW).unwrap();
        }
    }
    assert_eq!((alice.wallet.height(), alice.wallet.coins()[0].confirmations), (104, 3));
}

#[tokio::test]
async fn mining_rewards_wait_until_they_are_mature() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let address = alice.wallet.new_address().unwrap();
    world.node.mine_to(1, &address).await.unwrap();
    world.node.mine(98).await.unwrap();
    alice.catch_up().await;
    assert!(alice.wallet.free_coins().is_empty() && alice.wallet.balance().immature > sat(0));
    world.node.mine(1).await.unwrap();
    alice.catch_up().await;
    assert_eq!(alice.wallet.balance().immature, sat(0));
    let all = alice.wallet.send_all(&unchecked(&address), FEE).unwrap();
    alice.chain.test_accept(&all.transaction).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_paid_is_refused_before_an_address_is_used_up() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    alice.funded(&world.node, sat(100_000)).await;
    let address = alice.wallet.new_address().unwrap();
    let to = unchecked(&address);
    let refused = alice.wallet.send(&to, sat(100_000), FEE).unwrap_err();
    assert!(matches!(refused, Error::Insufficient { available, .. } if available == sat(100_000)), "{refused}");
    assert!(matches!(alice.wallet.send(&to, sat(293), FEE), Err(Error::Dust { least, .. }) if least == sat(294)));
    assert!(alice.wallet.make_coin(Amount::MAX, FEE).is_err());
    let signet: Address<NetworkUnchecked> = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx".parse().unwrap();
    let refused = alice.wallet.send(&signet, sat(10_000), FEE).unwrap_err().to_string();
    assert!(refused.contains("is not an address of regtest"), "{refused}");
    // What is left after the fee is too small for change: it goes to the fee, and nothing is lost.
    let close = alice.wallet.send(&to, sat(99_300), FEE).unwrap();
    assert_eq!((close.transaction.output.len(), close.fee), (1, sat(700)));
    alice.chain.test_accept(&close.transaction).await.unwrap();
}

fn proposal(inputs: &[OutPoint], outputs: &[TxOut]) -> Psbt {
    let input = |previous_output: &OutPoint| TxIn {
        previous_output: *previous_output,
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    Psbt::from_unsigned_tx(Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: inputs.iter().map(input).collect(),
        output: outputs.to_vec(),
    })
    .unwrap()
}

#[tokio::test]
async fn a_wallet_of_many_coins_pays_after_joining_them_in_steps() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let address = alice.wallet.new_address().unwrap();
    let coin = alice.funded(&world.node, sat(20_300_000)).await;
    let small = TxOut { value: sat(20_000), script_pubkey: address.script_pubkey() };
    let mut psbt = proposal(&[coin], &vec![small; 1_000]);
    alice.wallet.sign_inputs(&mut psbt).unwrap();
    confirm(&world, &mut alice, &psbt.extract_tx_unchecked_fee_rate()).await;
    let to = unchecked(&address);
    for refused in [
        alice.wallet.send(&to, sat(19_000_000), FEE).unwrap_err(),
        alice.wallet.send_all(&to, FEE).unwrap_err(),
        alice.wallet.make_coin(sat(9_000_000), FEE).unwrap_err(),
    ] {
        assert!(
            matches!(refused, Error::TooManyCoins { .. }) && refused.to_string().contains("wallet consolidate"),
            "{refused}"
        );
    }
    let mut fees = sat(0);
    for (joined, then_left) in [(400, 601), (400, 202), (202, 1)] {
        let (payment, left) = alice.wallet.consolidate(FEE, false).unwrap();
        assert_eq!((payment.transaction.input.len(), left), (joined, then_left));
        // A peer is shown all of it.
        assert!(bitcoin::consensus::serialize(&payment.transaction).len() < MAX_PREVIOUS);
        fees += payment.fee;
        confirm(&world, &mut alice, &payment.transaction).await;
    }
    assert!(matches!(alice.wallet.consolidate(FEE, false), Err(Error::NothingToJoin { coins: 1 })));
    assert_eq!(alice.wallet.balance().confirmed + fees, sat(20_000_000));
    println!("bound many-coins 400 coins a transaction");
    alice.wallet.send(&to, sat(19_000_000), FEE).unwrap();
}

#[tokio::test]
async fn a_coin_for_fees_is_set_apart_from_the_next_change_once() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    alice.wallet.set_reserve(sat(20_000));
    alice.funded(&world.node, sat(5_000_000)).await;
    let to = unchecked(&bob.wallet.new_address().unwrap());
    assert!(alice.wallet.lacks_reserve());
    let cost = alice.wallet.coin_cost(sat(700_000), FEE).unwrap();
    assert_eq!(alice.wallet.make_coin(sat(700_000), FEE).unwrap().fee, cost, "with the output that is set apart");
    let first = alice.wallet.send(&to, sat(100_000), FEE).unwrap();
    let values: Vec<Amount> = first.transaction.output.iter().map(|output| output.value).collect();
    assert_eq!((values.len(), values[1]), (3, sat(20_000)), "{values:?}");
    assert!(rate(&first.transaction, first.fee) >= FEE.to_sat_per_kwu(), "the third output is paid for");
    confirm(&world, &mut alice, &first.transaction).await;
    assert_eq!(alice.wallet.reserve_coin().unwrap().txout.value, sat(20_000));
    assert!(!alice.wallet.lacks_reserve());
    let second = alice.wallet.send(&to, sat(100_000), FEE).unwrap();
    assert_eq!(second.transaction.output.len(), 2, "one is enough");
    // Change that would be hardly more than the coin stays whole: it is the coin.
    alice.wallet.set_reserve(sat(1_500_000));
    assert!(!alice.wallet.lacks_reserve());
}

#[tokio::test]
async fn everything_is_sent_but_the_coin_for_fees_which_stays_or_is_made() {
    let world = World::new().await;
    let (mut alice, mut bob) = (world.wallet(ALICE, "alice").await, world.wallet(BOB, "bob").await);
    alice.wallet.set_reserve(sat(20_000));
    alice.funded(&world.node, sat(1_000_000)).await;
    let to = unchecked(&bob.wallet.new_address().unwrap());
    let made = alice.wallet.send_all_but_reserve(&to, FEE).unwrap();
    let values: Vec<Amount> = made.transaction.output.iter().map(|output| output.value).collect();
    assert_eq!(values, [sat(980_000) - made.fee, sat(20_000)], "no coin of that size was there");
    assert!(alice.wallet.is_ours(&made.transaction.output[1].script_pubkey));
    confirm(&world, &mut alice, &made.transaction).await;
    // Now it is: nothing but it is left, and it is not sent.
    let short = alice.wallet.send_all_but_reserve(&to, FEE).unwrap_err();
    assert!(matches!(short, Error::Insufficient { .. }), "{short}");
    let other = alice.funded(&world.node, sat(500_000)).await;
    let kept = alice.wallet.send_all_but_reserve(&to, FEE).unwrap().transaction;
    assert_eq!((kept.input.len(), kept.input[0].previous_output, kept.output.len()), (1, other, 1));
    assert_eq!(alice.wallet.send_all(&to, FEE).unwrap().transaction.input.len(), 2, "unless it is asked for");
}

#[tokio::test]
async fn a_coin_for_fees_is_made_of_the_smaller_of_two_and_never_of_the_only_one() {
    let world = World::new().await;
    let mut alice = world.wallet(ALICE, "alice").await;
    let large = alice.funded(&world.node, sat(5_000_000)).await;
    assert_eq!(alice.wallet.make_reserve(FEE).unwrap(), None, "none is wanted");
    alice.wallet.set_reserve(sat(20_000));
    alice.funded(&world.node, sat(3_000)).await;
    assert_eq!(alice.wallet.make_reserve(FEE).unwrap(), None, "there would be none until the next block");
    let smaller = alice.funded(&world.node, sat(1_000_000)).await;
    let made = alice.wallet.make_reserve(FEE).unwrap().unwrap();
    assert_eq!(made.transaction.input[0].previous_output, smaller);
    assert_eq!(made.transaction.output[0].value, sat(20_000));
    assert_eq!(made.transaction.output[1].value, sat(980_000) - made.fee);
    alice.wallet.record(&made.transaction, NOW).unwrap();
    assert_eq!(alice.wallet.make_reserve(FEE).unwrap(), None, "one waits already");
    world.node.mine(1).await.unwrap();
    assert!(alice.wallet.free_coins().iter().any(|coin| coin.outpoint == large));
}
