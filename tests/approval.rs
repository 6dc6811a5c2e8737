//! A lender that lends by hand: what a borrower takes waits for a person's word, and not for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::policy::{Approval, Policy};
use hypothec::loan::units::Time;
use hypothec::loan::LoanId;
use hypothec::node::view::{ConnectRequest, RequestView, Severity, Who};
use std::time::Duration;
use world::stranger::Stranger;
use world::{start_node, World, START};

/// A world whose lender asks a person.
async fn by_hand() -> World {
    let world = World::new().await;
    let oracles = vec![world.oracle.as_ref().unwrap().key];
    let policy = Policy { oracles, approval: Approval::Manual, ..Policy::default() };
    world.lender.handle.set_policy(policy).await.unwrap();
    world
}

/// Waits until the lender's people see it.
async fn waits(world: &World, id: LoanId) -> RequestView {
    until("the request", PATIENCE, || async {
        let requests = world.lender.handle.requests().await.unwrap();
        requests.iter().find(|one| one.loan_id == id).cloned().ok_or_else(|| format!("{requests:?}"))
    })
    .await
    .unwrap()
}

/// Waits until the borrower's loan is cancelled, and says why. None of its coins is set aside then.
async fn freed(world: &World, id: LoanId) -> String {
    let reason = until("the end of it", PATIENCE, || async {
        let loan = world.borrower.handle.loan(id).await.unwrap();
        loan.cancelled_because.ok_or_else(|| format!("{:?}", loan.stage))
    });
    let reason = reason.await.unwrap();
    assert_eq!(world.borrower.handle.balance().await.unwrap().reserved_sats, 0);
    reason
}

async fn taken(world: &World) -> LoanId {
    let id = world.quote(300_000, 2).await.loan_id;
    world.borrower.handle.borrow(id).await.unwrap().loan_id
}

/// The lender's node again, on its folder.
async fn restart(world: &mut World) {
    let clock = world.dir.path().join("clock");
    let spare = start_node(world.dir.path(), "spare", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, spare).stop().await.unwrap();
    let again = start_node(world.dir.path(), "lender", &world.bitcoind, &clock).await;
    std::mem::replace(&mut world.lender, again).stop().await.unwrap();
    let address = world.lender_address();
    world.borrower.handle.connect(ConnectRequest { address }).await.unwrap();
}

async fn events(world: &World, name: &str) -> usize {
    let events = world.lender.handle.events(0, Duration::ZERO).await.unwrap();
    events.iter().filter(|event| event.event == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_that_a_person_approves_after_a_restart_is_made_and_both_saw_whose_turn_it_was() {
    let mut world = by_hand().await;
    let id = taken(&world).await;
    let request = waits(&world, id).await;
    let end = START.0 + 1_800;
    assert_eq!((request.until, request.collateral_sats, request.days), (end, 100_000_000, 2));
    // No coin of the lender's is made for it, and its people are told, once.
    let status = world.lender.handle.status().await.unwrap();
    let wait: Vec<_> = status.attention.iter().filter(|one| one.loan_id == Some(id)).collect();
    assert!(wait.len() == 1 && wait[0].severity == Severity::Warning, "{:?}", status.attention);
    let short = &id.to_string()[..8];
    assert!(wait[0].text.contains(&format!("`approve {short}`")) && wait[0].text.contains("00:30:00Z"), "{wait:?}");
    assert!(world.lender.handle.loans().await.unwrap().is_empty());
    // The borrower sees who decides, and until when.
    let turn = until("the borrower to be told", PATIENCE, || async {
        let turn = world.borrower.handle.loan(id).await.unwrap().turn.unwrap();
        (turn.text == "the lender decides by hand").then_some(turn.clone()).ok_or_else(|| format!("{turn:?}"))
    });
    let turn = turn.await.unwrap();
    assert_eq!((turn.who, turn.ours, turn.until), (Who::Lender, false, Some(end)));
    restart(&mut world).await;
    assert_eq!(waits(&world, id).await, request);
    assert_eq!(events(&world, "request_waits").await, 1);
    // A lender that has just been started has no price yet.
    let approved = until("the approval", PATIENCE, || async {
        world.lender.handle.approve(id).await.map_err(|error| error.message)
    });
    assert_eq!(approved.await.unwrap().loan_id, id);
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
    let again = world.lender.handle.approve(id).await.unwrap_err();
    assert!(again.code == "not_found" && again.message.contains("see `requests`"), "{again:?}");
    assert_eq!(world.open_taken(id).await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_declines_or_nobody_decides_ends_with_a_word_and_frees_the_borrowers_coins() {
    let mut world = by_hand().await;
    let declined = taken(&world).await;
    waits(&world, declined).await;
    let reason = Some("no more\u{1b}[2J this week".to_owned());
    world.lender.handle.decline(declined, reason).await.unwrap();
    let said = freed(&world, declined).await;
    assert_eq!(said, "the lender refused: the lender declined: no more this week");
    // Not to be approved after all.
    assert_eq!(world.lender.handle.approve(declined).await.unwrap_err().code, "not_found");
    let late = taken(&world).await;
    waits(&world, late).await;
    world.wait_until(Time(START.0 + 1_800)).await;
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
    world.wait_until(Time(START.0 + 1_801)).await;
    let said = freed(&world, late).await;
    assert!(said.contains("decided by 2020-03-09T00:30:00Z"), "{said}");
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
    // Either side's clock may have been the first.
    let over = events(&world, "request_expired").await + events(&world, "request_withdrawn").await;
    assert_eq!((events(&world, "request_declined").await, over), (1, 1));
    // A borrower that changes its mind is nobody's work any more.
    let over = taken(&world).await;
    waits(&world, over).await;
    world.borrower.handle.cancel(over).await.unwrap();
    until("the request to be gone", PATIENCE, || async {
        let requests = world.lender.handle.requests().await.unwrap();
        requests.is_empty().then_some(()).ok_or_else(|| format!("{requests:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_that_knows_no_such_message_is_refused_by_name_and_one_coin_backs_one_request() {
    let world = by_hand().await;
    let mut one = Stranger::new(&world, "one").await;
    let coin = one.coins(&world, 1).await[0];
    world.settle().await;
    let (first, second) = (one.quote(300_000, 2).await, one.quote(300_000, 2).await);
    one.borrow(&first.terms, coin);
    waits(&world, first.terms.id()).await;
    one.borrow(&second.terms, coin);
    assert_eq!(one.refusal(first.terms.id().0).await.code, "superseded");
    waits(&world, second.terms.id()).await;
    assert_eq!(world.lender.handle.requests().await.unwrap().len(), 1);
    // Its coin is no other's, and spent it is none.
    let mut other = Stranger::new(&world, "other").await;
    other.wallet = std::mem::replace(&mut one.wallet, other.wallet);
    let third = other.quote(300_000, 2).await;
    other.borrow(&third.terms, coin);
    let refused = other.refusal(third.terms.id().0).await;
    assert!(refused.code == "coins" && refused.message.contains("promised"), "{refused:?}");
    world.lender.handle.decline(second.terms.id(), None).await.unwrap();
    let refused = one.refusal(second.terms.id().0).await;
    assert_eq!((refused.code.as_str(), refused.message.as_str()), ("declined", "the lender declined"));
    let fourth = other.quote(300_000, 2).await;
    other.borrow(&fourth.terms, coin);
    waits(&world, fourth.terms.id()).await;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(5);
    let spent = other.wallet.spend_to_self(coin, rate, None).unwrap().transaction;
    other.chain.broadcast(&spent).await.unwrap();
    let refused = other.refusal(fourth.terms.id().0).await;
    assert!(refused.code == "coins" && refused.message.contains("was spent elsewhere"), "{refused:?}");
    assert!(world.lender.handle.requests().await.unwrap().is_empty());
}
