//! The borrower lets the collateral pay: one transaction gives the lender what is owed and the borrower the rest.

use crate::harness::{after, sats_ceil, Theatre, BTC, NOON};
use hypothec::contract::repay::Source;
use hypothec::node::view::RepayRequest;
use hypothec::protocol::Exit;

#[tokio::test]
async fn borrower_repays_from_the_collateral_and_gets_the_rest_back() {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_000, 30).await;
    theatre.walk_to(after(NOON, 48), 24 * 3_600).await.unwrap();
    let shown = theatre.borrower.client().unwrap().loan(id).await.unwrap().exits;
    let shown = shown.into_iter().find(|open| open.exit == Exit::Repaid).unwrap();
    let request = RepayRequest { from: Source::Collateral };
    theatre.borrower.client().unwrap().repay(id, &request).await.unwrap();
    theatre.quiet().await.unwrap();
    let line = theatre.settled(id, Exit::Repaid).await;
    // Spot is $10,000; whoever proposes sets the price a twentieth of a percent against itself.
    assert_eq!(line.price_cents, 999_500);
    let owed = sats_ceil(line.owed_cents, line.price_cents);
    assert_eq!(line.paid_to_lender_sats, 1_000 + owed);
    assert_eq!(shown.lender_sats, Some(line.paid_to_lender_sats), "what was shown before is what is paid");
    assert_eq!(line.returned_to_borrower_sats, BTC - owed);
    theatre.nothing_else_happened(&[line]).await;
}
