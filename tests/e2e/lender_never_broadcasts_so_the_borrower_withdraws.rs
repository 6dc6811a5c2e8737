//! The lender signs last and could wait for the price to choose. It gets a minute: then the borrower spends its coin
//! elsewhere, and the loan can never be funded.

use crate::harness::Theatre;
use hypothec::contract::Role;
use hypothec::protocol::Stage;

/// Twelve minutes: more than the borrower's patience.
const WAIT: u32 = 720;

async fn the_lender_stops_at(point: &str) {
    let mut theatre = Theatre::at_rest().await;
    theatre.doom(Role::Lender, point).await;
    let quote = theatre.quote(400_000, 100_000_000, 30).await.unwrap();
    let id = theatre.borrower.client().unwrap().borrow(quote.loan_id).await.unwrap().loan_id;
    theatre.until_death(Role::Lender, point).await;
    let signed = theatre.view(Role::Borrower, id).await.unwrap();
    assert_eq!((signed.stage, signed.funding_height), (Stage::Signed, None));
    let locked = theatre.borrower.client().unwrap().balance().await.unwrap().reserved_sats;
    assert!(locked >= 100_000_000, "{locked} sats are set aside");
    let later = theatre.now().plus(WAIT).unwrap();
    theatre.advance_to(later).await.unwrap();
    theatre.mine(1).await.unwrap();
    let withdrawn = theatre.view(Role::Borrower, id).await.unwrap();
    assert!(matches!(withdrawn.stage, Stage::Cancelled), "{:?}", withdrawn.stage);
    let balance = theatre.borrower.client().unwrap().balance().await.unwrap();
    assert_eq!((balance.reserved_sats, balance.unconfirmed_sats), (0, 0));
    // The lender comes back with the whole funding transaction in its hand, and it is worth nothing.
    theatre.revive(Role::Lender).await;
    theatre.mine(1).await.unwrap();
    let late = theatre.view(Role::Lender, id).await.unwrap();
    assert!(matches!(late.stage, Stage::Cancelled), "{:?}", late.stage);
    assert_eq!(theatre.lender.client().unwrap().balance().await.unwrap().reserved_sats, 0);
    theatre.every_sat_is_explained().await;
}

#[tokio::test]
async fn the_lender_vanishes_before_it_completes_the_funding_transaction() {
    the_lender_stops_at("before-append-funded").await;
}

#[tokio::test]
async fn the_lender_holds_the_complete_funding_transaction_and_does_not_broadcast_it() {
    the_lender_stops_at("before-broadcast:2").await;
}
