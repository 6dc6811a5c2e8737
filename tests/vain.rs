//! Borrowers who begin loans and want none: what that costs a lender stays small, however they go about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::consensus::serialize;
use bitcoin::hashes::{sha256, Hash};
use bitcoin::secp256k1::{PublicKey, SecretKey, SECP256K1};
use bitcoin::{Amount, FeeRate, OutPoint};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::policy::{Approval, Policy};
use hypothec::loan::terms::Terms;
use hypothec::loan::LoanId;
use hypothec::node::data::DataFolder;
use hypothec::node::limits;
use hypothec::node::view::SendRequest;
use hypothec::protocol::messages::{Borrow, Coin, Quote, Refused, RepayRequest};
use hypothec::protocol::{Message, Stage};
use hypothec::wallet::{Seed, Wallet};
use world::stranger::{Ground, Stranger};
use world::{start_node, World};

/// The lender's node again, on its folder.
async fn restart(world: &mut World) {
    let clock = world.dir.path().join("clock");
    let spare = start_node(world.dir.path(), "spare", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, spare).stop().await.unwrap();
    let again = start_node(world.dir.path(), "lender", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, again).stop().await.unwrap();
}

async fn quoted(stranger: &mut Stranger) -> Quote {
    quoted_for(stranger, 300_000).await
}

async fn quoted_for(stranger: &mut Stranger, cents: u64) -> Quote {
    // A lender that has just been started has no price yet.
    for _ in 0..200 {
        match stranger.ask(cents, 2).await {
            Ok(quote) => return quote,
            // Nor has it read the block in which its coins are free again.
            Err(refused) => {
                assert!(["unavailable", "busy", "inventory"].contains(&refused.code.as_str()), "{refused:?}");
            }
        }
    }
    panic!("never a quote");
}

/// The lender's negotiations that go on.
async fn living(world: &World) -> Vec<LoanId> {
    let loans = world.lender.handle.loans().await.unwrap();
    let is_over = |stage: &Stage| matches!(stage, Stage::Cancelled);
    loans.iter().filter(|loan| !is_over(&loan.stage)).map(|loan| loan.loan_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_coin_spent_to_itself_holds_one_negotiation_at_a_time_and_five_a_day_over_a_restart() {
    let mut world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let mut coin = stranger.coins(&world, 1).await[0];
    let mut begun = 0;
    let refused = loop {
        let quote = quoted(&mut stranger).await;
        let terms = hypothec::loan::terms::Terms::from_tlv(&quote.terms.0).unwrap();
        let id = terms.id();
        stranger.borrow(&terms, coin);
        if begun == 5 {
            break stranger.refusal(id.0).await;
        }
        until("the negotiation to begin", PATIENCE, || async {
            let living = living(&world).await;
            living.contains(&id).then_some(()).ok_or_else(|| format!("{living:?}"))
        })
        .await
        .unwrap();
        begun += 1;
        // Spent to itself, it would be another coin; the spend only waits when the lender hears of it.
        let sent = stranger.wallet.spend_to_self(coin, FeeRate::from_sat_per_vb(2).unwrap(), None).unwrap().transaction;
        stranger.chain.broadcast(&sent).await.unwrap();
        let told = stranger.refusal(id.0).await;
        assert!(told.code == "coins" && told.message.contains("was spent"), "{told:?}");
        assert_eq!(living(&world).await, []);
        world.bitcoind.mine(1).await.unwrap();
        stranger.catch_up(&world).await;
        coin = OutPoint { txid: sent.compute_txid(), vout: 0 };
        if begun == 3 {
            restart(&mut world).await;
            stranger.net.connect(world.lender_address().parse().unwrap()).unwrap();
            until("the stranger to be back", PATIENCE, || async {
                stranger.net.is_connected(stranger.peer).then_some(()).ok_or("not connected".to_string())
            })
            .await
            .unwrap();
        }
    };
    println!("bound vain-negotiations 1 at a time, {begun} a day");
    let files = std::fs::read_dir(world.dir.path().join("lender/store")).unwrap().flatten();
    let disk: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    assert!(disk < 4_000_000, "{disk} bytes of disk for five that came to nothing");
    assert!(refused.code == "coins" && refused.message.contains("came to nothing"), "{refused:?}");
    // Another coin is another matter.
    let other = stranger.coins(&world, 1).await[0];
    let terms = hypothec::loan::terms::Terms::from_tlv(&quoted(&mut stranger).await.terms.0).unwrap();
    stranger.borrow(&terms, other);
    until("another coin to do", PATIENCE, || async {
        let living = living(&world).await;
        living.contains(&terms.id()).then_some(()).ok_or_else(|| format!("{living:?}"))
    })
    .await
    .unwrap();
    // Whether its coin for that one is made already or not: all that is its own.
    let balance = world.lender.handle.balance().await.unwrap();
    let own = Amount::from_sat(balance.confirmed_sats + balance.unconfirmed_sats + balance.reserved_sats);
    assert!(own > Amount::from_sat(299_900_000), "{own}: what it cost the lender");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_is_refused_right_behind_its_taking_was_shown_its_coin_in_vain() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    for _ in 0..5 {
        let quote = quoted(&mut stranger).await;
        // What was said before is answered by now, and looked at.
        world.settle().await;
        let terms = hypothec::loan::terms::Terms::from_tlv(&quote.terms.0).unwrap();
        stranger.borrow(&terms, coin);
        let (about, message) = (terms.id().0, "no more".to_owned());
        stranger.say(&Message::Refused(Refused { about, code: "cancelled".into(), message }));
    }
    let terms = hypothec::loan::terms::Terms::from_tlv(&quoted(&mut stranger).await.terms.0).unwrap();
    world.settle().await;
    stranger.borrow(&terms, coin);
    let refused = stranger.refusal(terms.id().0).await;
    assert!(refused.code == "coins" && refused.message.contains("came to nothing"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_lender_itself_gives_up_is_not_held_against_the_coin_however_often_and_over_a_restart() {
    let mut world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    for round in 0..7 {
        let terms = hypothec::loan::terms::Terms::from_tlv(&quoted(&mut stranger).await.terms.0).unwrap();
        let id = terms.id();
        stranger.borrow(&terms, coin);
        until("the negotiation to begin", PATIENCE, || async {
            let living = living(&world).await;
            living.contains(&id).then_some(()).ok_or_else(|| format!("{living:?}"))
        })
        .await
        .unwrap();
        world.lender.handle.cancel(id).await.unwrap();
        assert_eq!(stranger.refusal(id.0).await.code, "cancelled");
        world.bitcoind.mine(1).await.unwrap();
        stranger.catch_up(&world).await;
        if round == 3 {
            restart(&mut world).await;
            stranger.net.connect(world.lender_address().parse().unwrap()).unwrap();
            until("the stranger to be back", PATIENCE, || async {
                stranger.net.is_connected(stranger.peer).then_some(()).ok_or("not connected".to_string())
            })
            .await
            .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_negotiates_so_many_bytes_at_once_and_is_busy_beyond_until_one_has_ended() {
    let world = World::new().await;
    // Each has a coin of the lender's, whatever waits for a block.
    world.give_lender_coins(20).await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 20).await;
    let mut begun = 0;
    let (terms, coin) = loop {
        let quote = quoted_for(&mut stranger, 90_000).await;
        let terms = hypothec::loan::terms::Terms::from_tlv(&quote.terms.0).unwrap();
        stranger.borrow(&terms, coins[begun]);
        if begun as u64 == limits::BYTES_EACH / limits::expected(&terms) {
            break (terms, coins[begun]);
        }
        until("the negotiation to begin", PATIENCE, || async {
            let living = living(&world).await;
            living.contains(&terms.id()).then_some(()).ok_or_else(|| format!("{living:?}"))
        })
        .await
        .unwrap();
        begun += 1;
        world.bitcoind.mine(1).await.unwrap();
        stranger.catch_up(&world).await;
    };
    let refused = stranger.refusal(terms.id().0).await;
    assert!(refused.code == "busy" && refused.message.contains("as much as it can at once"), "{refused:?}");
    assert_eq!(living(&world).await.len(), begun);
    println!("bound negotiations-of-one-key {begun} at once, of two days on one oracle");
    // It has refused nothing for good: when one ends, the same is taken.
    let rate = FeeRate::from_sat_per_vb(2).unwrap();
    let sent = stranger.wallet.spend_to_self(coins[0], rate, None).unwrap().transaction;
    stranger.chain.broadcast(&sent).await.unwrap();
    until("the first to end", PATIENCE, || async {
        let many = living(&world).await.len();
        (many < begun).then_some(()).ok_or_else(|| many.to_string())
    })
    .await
    .unwrap();
    stranger.borrow(&terms, coin);
    until("the last to begin", PATIENCE, || async {
        let living = living(&world).await;
        living.contains(&terms.id()).then_some(()).ok_or_else(|| format!("{living:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_asked_for_repayments_it_cannot_propose_gives_no_address_for_them() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 1).await;
    world.settle().await;
    let id = stranger.open(&world, 200_000, 30, coins[0]).await.terms.id();
    world.settle().await;
    // It has no coin left to propose with.
    let away = stranger.wallet.new_address().unwrap().to_string();
    world.lender.handle.send(SendRequest { address: away, sats: None, all: true, with_fee_coin: true }).await.unwrap();
    world.mine(1).await;
    let before = world.lender.handle.new_address().await.unwrap().address;
    let mut answers = 0;
    while answers < 5 {
        stranger.say(&Message::RepayRequest(RepayRequest { loan: id.0 }));
        let refused = stranger.refusal(id.0).await;
        assert!(["unavailable", "busy"].contains(&refused.code.as_str()), "{refused:?}");
        answers += usize::from(refused.code == "unavailable");
    }
    let after = world.lender.handle.new_address().await.unwrap().address;
    let World { lender, dir, .. } = world;
    lender.stop().await.unwrap();
    let words = DataFolder::open(&dir.path().join("lender")).unwrap().words().unwrap();
    let seed = Seed::from_mnemonic(&words, bitcoin::Network::Regtest).unwrap();
    let fresh = dir.path().join("fresh");
    std::fs::create_dir_all(&fresh).unwrap();
    // The same addresses, one after the other.
    let mut wallet = Wallet::create_or_load(&fresh, &seed, None).unwrap();
    let all: Vec<String> = (0..50).map(|_| wallet.new_address().unwrap().to_string()).collect();
    let place = |address: &String| all.iter().position(|one| one == address).unwrap();
    assert_eq!(place(&after), place(&before) + 1);
}

/// A signature over the coin that the document asks for, by a key that is not the coin's.
fn signed_by(key: &SecretKey, loan: [u8; 32], coin: OutPoint) -> [u8; 64] {
    let tag = sha256::Hash::hash(b"hypothec/coin-proof/v0").to_byte_array();
    let said = [&tag[..], &tag, &loan, &serialize(&coin)].concat();
    let digest = bitcoin::secp256k1::Message::from_digest(sha256::Hash::hash(&said).to_byte_array());
    SECP256K1.sign_ecdsa(&digest, key).serialize_compact()
}

/// Shows a coin with a proof that is none: unsigned, under one key or another, or signed by the liar's own. What is answered,
/// the coin's name left out.
async fn shown_falsely(liar: &mut Stranger, loan: [u8; 32], coin: OutPoint, owner: PublicKey) -> Vec<(String, String)> {
    let mut said = Vec::new();
    for (key, signature) in
        [(owner, [0; 64]), (liar.key(), [0; 64]), (liar.key(), signed_by(&liar.identity, loan, coin))]
    {
        let shown = Coin { txid: coin.txid.to_byte_array(), vout: coin.vout, key, signature };
        liar.say(&Message::Borrow(Borrow { loan, coins: vec![shown] }));
        let refused = liar.refusal(loan).await;
        said.push((refused.code, refused.message.replace(&coin.to_string(), "COIN")));
    }
    said
}

/// What goes on at the lender's: loans, and requests that wait for a person.
async fn going_on(world: &World) -> usize {
    living(world).await.len() + world.lender.handle.requests().await.unwrap().len()
}

async fn until_going_on(world: &World, count: usize) {
    until("what goes on", PATIENCE, || async {
        let found = going_on(world).await;
        (found == count).then_some(()).ok_or_else(|| format!("{found}, not {count}"))
    })
    .await
    .unwrap();
}

async fn a_false_proof_learns_nothing(approval: Approval) {
    let world = World::new().await;
    world.give_lender_coins(5).await;
    let oracles = vec![world.oracle.as_ref().unwrap().key];
    world.lender.handle.set_policy(Policy { oracles, approval, ..Policy::default() }).await.unwrap();
    let mut honest = Stranger::new(&world, "honest").await;
    let mut liar = Stranger::new(&world, "liar").await;
    let coins = honest.coins(&world, 2).await;
    world.settle().await;
    let terms_of = |quote: &Quote| Terms::from_tlv(&quote.terms.0).unwrap();
    let first = terms_of(&quoted(&mut honest).await);
    honest.borrow(&first, coins[0]);
    until_going_on(&world, 1).await;
    // A stranger asks of both coins, whose keys it may know, and more often than coins may be shown in vain.
    let owner = |coin| honest.wallet.prove_coin(coin, &[0; 32]).unwrap().pubkey;
    let owners = [coins[0], coins[1]].map(owner);
    let loan = terms_of(&quoted(&mut liar).await).id().0;
    for _ in 0..3 {
        let pledged = shown_falsely(&mut liar, loan, coins[0], owners[0]).await;
        let free = shown_falsely(&mut liar, loan, coins[1], owners[1]).await;
        assert_eq!(pledged, free, "promised or not, a coin is spoken of to who has proved it");
        let is_about_the_proof =
            |text: &str| text.ends_with("COIN does not fit") || text.ends_with("is not the key of coin COIN");
        assert!(pledged.iter().all(|(code, text)| code == "coins" && is_about_the_proof(text)), "{pledged:?}");
    }
    println!("bound promised-coin 0 differences between the answers");
    // Nor does its own borrower end anything by what it has not proved.
    let second = terms_of(&quoted(&mut honest).await);
    shown_falsely(&mut honest, second.id().0, coins[0], owners[0]).await;
    assert_eq!(going_on(&world).await, 1);
    // The coin that was shown falsely backs a loan as if nobody had.
    honest.borrow(&second, coins[1]);
    until_going_on(&world, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_proof_of_a_coin_learns_nothing_of_it_and_ends_nothing() {
    a_false_proof_learns_nothing(Approval::Automatic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_proof_learns_nothing_either_where_a_person_decides() {
    a_false_proof_learns_nothing(Approval::Manual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_without_a_fresh_price_takes_no_quote_up_and_holds_it_against_nobody() {
    let mut world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    let quote = quoted(&mut stranger).await;
    let terms = hypothec::loan::terms::Terms::from_tlv(&quote.terms.0).unwrap();
    // The oracle falls silent, and what it said last is two minutes old.
    world.oracle.take().unwrap().stop().await.unwrap();
    world.wait_until(world.now.plus(120).unwrap()).await;
    assert!(world.now < terms.expires);
    stranger.borrow(&terms, coin);
    let refused = stranger.refusal(terms.id().0).await;
    assert_eq!(refused.code, "unavailable", "{refused:?}");
    // Nor does it give a new quote.
    assert!(refused.message.contains("no fresh price"), "{refused:?}");
    assert!(refused.message.ends_with("; ask again in a while"), "{refused:?}");
    assert_eq!(living(&world).await, []);
    assert_eq!(world.lender.handle.loans().await.unwrap().len(), 0, "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mining_reward_backs_nothing_before_a_hundred_blocks_and_then_it_does() {
    let world = World::new().await;
    let mut miner = Stranger::new(&world, "miner").await;
    let address = miner.wallet.new_address().unwrap();
    world.bitcoind.mine_to(1, &address).await.unwrap();
    world.bitcoind.mine(1).await.unwrap();
    miner.catch_up(&world).await;
    world.settle().await;
    let reward = miner.wallet.coins().iter().find(|coin| coin.previous_tx.is_coinbase()).unwrap().outpoint;
    let terms = Terms::from_tlv(&quoted_for(&mut miner, 100_000).await.terms.0).unwrap();
    miner.borrow(&terms, reward);
    let refused = miner.refusal(terms.id().0).await;
    assert_eq!(refused.code, "coins");
    assert!(refused.message.contains("a mining reward below 100 blocks"), "{refused:?}");
    assert_eq!(living(&world).await, [], "and nothing was made for it");
    world.bitcoind.mine(98).await.unwrap();
    miner.catch_up(&world).await;
    world.settle().await;
    let terms = Terms::from_tlv(&quoted_for(&mut miner, 100_000).await.terms.0).unwrap();
    miner.borrow(&terms, reward);
    miner.until_ready(&world, &terms).await;
    // A wallet of ours says so of its own.
    let before = world.borrower.handle.balance().await.unwrap();
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
        world.borrower.handle.new_address().await.unwrap().address.parse().unwrap();
    world.bitcoind.mine_to(1, &address.assume_checked()).await.unwrap();
    until("the reward to be known", PATIENCE, || async {
        let now = world.borrower.handle.balance().await.unwrap();
        let right = now.immature_sats > 0 && now.unconfirmed_sats == 0 && now.confirmed_sats == before.confirmed_sats;
        right.then_some(()).ok_or_else(|| format!("{now:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_repay_a_loan_whose_funding_waits_for_a_block_is_told_so() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 2).await;
    world.settle().await;
    let loan = stranger.negotiate(&world, 200_000, 30, coins[0]).await;
    loan.messages.iter().for_each(|message| stranger.say(message));
    let id = loan.terms.id();
    until("the funding to be out", PATIENCE, || async {
        let stage = world.stage(id).await?;
        (stage == Stage::Confirming).then_some(()).ok_or_else(|| format!("{stage:?}"))
    })
    .await
    .unwrap();
    let (price, at) = (stranger.spot().await, world.now());
    let proposal = stranger.proposal(&loan, coins[1], price, at, 5);
    for message in [Message::RepayRequest(RepayRequest { loan: id.0 }), proposal] {
        stranger.say(&message);
        let refused = stranger.refusal(id.0).await;
        assert_eq!(refused.code, "stage");
        assert!(refused.message.contains("in no block yet"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_coins_that_were_not_proved_is_refused_before_anything_is_signed_whosever_they_are() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let mut other = Stranger::new(&world, "other").await;
    let (coins, pledged) = (stranger.coins(&world, 2).await, other.coins(&world, 1).await[0]);
    world.settle().await;
    let promised = other.quote(200_000, 30).await;
    other.borrow(&promised.terms, pledged);
    other.until_ready(&world, &promised.terms).await;
    // What the lender has left is in the transaction that made its coin, which the chain shows to everybody.
    let history = world.lender.handle.history().await.unwrap();
    let made = history.iter().rfind(|one| one.what.as_deref() == Some("lender's coin")).unwrap().txid;
    let made = stranger.chain.transaction(made).await.unwrap().unwrap().transaction;
    let (rest, _) = made.output.iter().enumerate().max_by_key(|(_, output)| output.value).unwrap();
    let lenders = OutPoint::new(made.compute_txid(), rest.try_into().unwrap());
    for coin in [coins[1], pledged, lenders] {
        let quoted = stranger.quote(200_000, 30).await;
        let id = quoted.terms.id().0;
        stranger.borrow(&quoted.terms, coins[0]);
        stranger.until_ready(&world, &quoted.terms).await;
        stranger.catch_up(&world).await;
        let mut offer = stranger.offer(&quoted, coins[0]);
        let paying = stranger.chain.transaction(coin.txid).await.unwrap().unwrap().transaction;
        offer.funding_inputs[0].prev_tx = serialize(&paying);
        offer.funding_inputs[0].prev_tx_vout = coin.vout;
        stranger.say(&Message::Offer(hypothec::contract::wire::write(&offer)));
        // The same words for each: nobody hears whose it is, nor that it is promised here.
        let refused = stranger.refusal(id).await;
        let text = format!("offer.funding_inputs is {coin}, expected the coins that its `Borrow` proved");
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("contract", text.as_str()));
    }
    assert_eq!(world.stage(promised.terms.id()).await.unwrap(), Stage::Ready, "the other's goes on");
}
