//! One node is off while the other settles. When it comes back it recognises what was done and records what it paid.

use crate::harness::{after, Theatre, NOON};
use hypothec::contract::Role;
use hypothec::demo::party::Node;
use hypothec::demo::prices::Prices;
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::units::Cents;

/// At $10,000 until 15:00, then at $5,000 for ever.
fn falling() -> Prices {
    Prices::flat(NOON, 24 * 60, Cents(1_000_000)).falling(after(NOON, 3), Cents(500_000))
}

fn node(theatre: &mut Theatre, role: Role) -> &mut Node {
    match role {
        Role::Borrower => &mut theatre.borrower,
        Role::Lender => &mut theatre.lender,
    }
}

/// The loan runs for a day at most; by then the other has settled it finally.
async fn the_other_settles_while(absent: Role, prices: Prices, exit: Exit) {
    let mut theatre = Theatre::open(NOON, prices).await;
    let id = theatre.lent(4_500, 1).await;
    node(&mut theatre, absent).stop().await.unwrap();
    theatre.hours(30).await.unwrap();
    let present = node(&mut theatre, absent.other()).client().unwrap().loan(id).await.unwrap();
    assert_eq!(present.stage, Stage::Closed);
    node(&mut theatre, absent).start(&[]).await.unwrap();
    theatre.quiet().await.unwrap();
    for view in theatre.both(id).await {
        assert_eq!((view.stage, view.ended), (Stage::Closed, present.ended.clone()));
    }
    let line = theatre.settled(id, exit).await;
    if exit == Exit::Matured {
        assert_eq!(line.price_cents, 876_500);
    }
    theatre.nothing_else_happened(&[line]).await;
}

#[tokio::test]
async fn the_lender_settles_a_touch_and_the_borrower_finds_its_surplus_when_it_is_back() {
    the_other_settles_while(Role::Borrower, falling(), Exit::Liquidated).await;
}

#[tokio::test]
async fn the_borrower_settles_a_touch_and_the_lender_finds_itself_paid_when_it_is_back() {
    the_other_settles_while(Role::Lender, falling(), Exit::Liquidated).await;
}

#[tokio::test]
async fn a_fixing_settled_by_the_other_side_is_recorded_with_its_price() {
    let prices = Prices::flat(NOON, 24 * 60, Cents(1_000_000)).falling(after(NOON, 20), Cents(876_543));
    the_other_settles_while(Role::Lender, prices.clone(), Exit::Matured).await;
    the_other_settles_while(Role::Borrower, prices, Exit::Matured).await;
}
