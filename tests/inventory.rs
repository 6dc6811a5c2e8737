//! A lender quotes what its coins can pay, and nobody keeps them from others by asking.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::Amount;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::units::Time;
use hypothec::node::view::{SendRequest, Who};
use hypothec::protocol::messages::Refused;
use hypothec::protocol::Stage;
use std::time::Duration;
use world::stranger::Stranger;
use world::{start_node, World, START};

/// Leaves the lender one coin of so much.
async fn leave_lender(world: &World, sats: u64) {
    if world.lender.handle.balance().await.unwrap().confirmed_sats > 0 {
        let address = world.borrower.handle.new_address().await.unwrap().address;
        world.lender.handle.send(SendRequest { address, sats: None, all: true, with_fee_coin: true }).await.unwrap();
        world.mine(1).await;
    }
    if sats > 0 {
        let address = world.lender.handle.new_address().await.unwrap().address;
        let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
        world.bitcoind.fund(&address.assume_checked(), Amount::from_sat(sats)).await.unwrap();
        world.mine(1).await;
    }
}

fn says_no(refused: &Refused) {
    assert_eq!(refused.code, "inventory", "{refused:?}");
    assert!(!refused.message.contains(char::is_numeric), "it tells what there is: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_without_coins_quotes_nothing_and_says_so_to_the_asker_and_to_its_own_people() {
    let world = World::new().await;
    leave_lender(&world, 0).await;
    let refused = world.borrower.handle.quote(world.request(300_000, 2)).await.unwrap_err();
    assert_eq!(
        refused.message,
        "the lender refuses: this lender has no free coins for that now; ask for less, or again in a while"
    );
    let status = world.lender.handle.status().await.unwrap();
    let coins: Vec<_> = status.attention.iter().filter(|one| one.about == "coins").collect();
    assert!(coins.len() == 1 && coins[0].text.contains("wallet address"), "{:?}", status.attention);
    // A coin that pays some loans pays no larger one. The smallest of the policy is 100 dollars.
    leave_lender(&world, 30_000_000).await;
    let status = world.lender.handle.status().await.unwrap();
    assert!(status.attention.iter().all(|one| one.about != "coins"), "{:?}", status.attention);
    let mut stranger = Stranger::new(&world, "stranger").await;
    says_no(&stranger.ask(300_000, 2).await.unwrap_err());
    stranger.ask(200_000, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_that_is_quoted_to_one_is_quoted_to_another_when_that_one_has_had_a_minute() {
    let mut world = World::new().await;
    leave_lender(&world, 60_000_000).await;
    let mut one = Stranger::new(&world, "one").await;
    let mut other = Stranger::new(&world, "other").await;
    one.ask(300_000, 2).await.unwrap();
    // Quotes of one peer are one loan: it compares them.
    one.ask(300_000, 3).await.unwrap();
    says_no(&other.ask(300_000, 2).await.unwrap_err());
    other.ask(100_000, 2).await.unwrap();
    world.wait_until(START.plus(59).unwrap()).await;
    says_no(&other.ask(300_000, 2).await.unwrap_err());
    world.wait_until(START.plus(60).unwrap()).await;
    other.ask(300_000, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_the_same_coin_the_second_is_told_at_once_and_begins_nothing() {
    let mut world = World::new().await;
    leave_lender(&world, 60_000_000).await;
    let (mut one, mut other) = (Stranger::new(&world, "one").await, Stranger::new(&world, "other").await);
    let (coin, another) = (one.coins(&world, 1).await[0], other.coins(&world, 1).await[0]);
    world.settle().await;
    let first = one.quote(300_000, 2).await;
    other.ask(300_000, 2).await.unwrap_err();
    world.wait_until(START.plus(60).unwrap()).await;
    let second = other.quote(300_000, 2).await;
    one.borrow(&first.terms, coin);
    until("the loan of the first", PATIENCE, || async {
        let loan = world.lender.handle.loan(first.terms.id()).await.map_err(|error| error.message)?;
        (!matches!(loan.stage, Stage::Cancelled)).then_some(()).ok_or_else(|| format!("{:?}", loan.stage))
    })
    .await
    .unwrap();
    other.borrow(&second.terms, another);
    says_no(&other.refusal(second.terms.id().0).await);
    assert_eq!(world.lender.handle.loans().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_is_held_can_be_taken_while_the_change_of_another_loan_waits_for_a_block() {
    let world = World::new().await;
    let (mut one, mut other) = (Stranger::new(&world, "one").await, Stranger::new(&world, "other").await);
    let (coin, another) = (one.coins(&world, 1).await[0], other.coins(&world, 1).await[0]);
    world.settle().await;
    let (first, second) = (one.quote(300_000, 2).await, other.quote(300_000, 2).await);
    one.borrow(&first.terms, coin);
    until("the lender's only coin to be spent", Duration::from_secs(20), || async {
        let balance = world.lender.handle.balance().await.unwrap();
        (balance.confirmed_sats == 0).then_some(()).ok_or_else(|| format!("{balance:?}"))
    })
    .await
    .unwrap();
    says_no(&other.ask(300_000, 2).await.unwrap_err());
    other.borrow(&second.terms, another);
    other.until_ready(&world, &second.terms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lenders_coin_that_no_block_confirms_frees_the_coins_of_both_after_half_an_hour_and_both_know_why() {
    let mut world = World::new().await;
    let id = world.quote(300_000, 2).await.loan_id;
    world.borrower.handle.borrow(id).await.unwrap();
    let turns = || async {
        let lender = world.lender.handle.loan(id).await.map_err(|error| error.message)?;
        let borrower = world.borrower.handle.loan(id).await.map_err(|error| error.message)?;
        match (borrower.turn, lender.turn) {
            (Some(borrower), Some(lender)) if lender.who == Who::Chain => Ok((borrower, lender)),
            (borrower, lender) => Err(format!("{borrower:?} {lender:?}")),
        }
    };
    let (borrower, lender) = until("the lender's coin on its way", PATIENCE, turns).await.unwrap();
    // The borrower sees whose turn it is, since when and until when.
    let end = START.0 + 1_800;
    assert_eq!((borrower.who, borrower.ours, borrower.until), (Who::Lender, false, Some(end)), "{borrower:?}");
    assert_eq!((borrower.since, borrower.text.as_str()), (START.0, "the lender prepares its coin"));
    assert_eq!((lender.ours, lender.until), (false, Some(end)), "{lender:?}");
    let waiting = world.borrower.handle.status().await.unwrap().waiting;
    assert!(waiting.len() == 1 && waiting[0].loan_id == id && waiting[0].turn == borrower, "{waiting:?}");
    world.wait_until(Time(end)).await;
    assert!(world.both(id).await.iter().all(|loan| !matches!(loan.stage, Stage::Cancelled)));
    world.wait_until(Time(end + 1)).await;
    for loan in world.both(id).await {
        assert_eq!(loan.stage, Stage::Cancelled);
        let reason = loan.cancelled_because.clone().unwrap();
        assert!(reason.contains("the lender's coin was not ready by 2020-03-09T00:30:00Z"), "{reason}");
        assert_eq!(loan.turn, None);
    }
    for node in [&world.borrower, &world.lender] {
        let reserved = || async {
            let balance = node.handle.balance().await.unwrap();
            (balance.reserved_sats == 0).then_some(()).ok_or_else(|| format!("{balance:?}"))
        };
        until("all coins free", PATIENCE, reserved).await.unwrap();
    }
    assert_eq!(world.borrower.handle.status().await.unwrap().waiting, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_goes_away_once_the_quote_is_taken_holds_the_borrowers_coins_for_half_an_hour() {
    let mut world = World::new().await;
    let id = world.quote(300_000, 2).await.loan_id;
    world.borrower.handle.borrow(id).await.unwrap();
    let clock = world.dir.path().join("clock");
    let spare = start_node(world.dir.path(), "spare", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, spare).stop().await.unwrap();
    world.wait_until(Time(START.0 + 1_801)).await;
    let loan = world.borrower.handle.loan(id).await.unwrap();
    assert!(loan.cancelled_because.as_ref().is_some_and(|reason| reason.contains("was not ready by")), "{loan:#?}");
    assert_eq!(world.borrower.handle.balance().await.unwrap().reserved_sats, 0);
}
