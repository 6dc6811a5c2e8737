//! Borrowers who begin loans and want none: what that costs a lender stays small, however they go about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::{Amount, FeeRate, OutPoint};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::LoanId;
use hypothec::node::data::DataFolder;
use hypothec::node::limits;
use hypothec::node::view::SendRequest;
use hypothec::protocol::messages::{Quote, RepayRequest};
use hypothec::protocol::{Message, Stage};
use hypothec::wallet::{Seed, Wallet};
use world::stranger::Stranger;
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
    world.lender.handle.send(SendRequest { address: away, sats: None, with_fee_coin: true }).await.unwrap();
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
