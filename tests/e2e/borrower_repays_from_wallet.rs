//! The borrower pays what it owes out of its wallet, early, and the same transaction frees its collateral.

use crate::harness::{after, sats_ceil, Theatre, BTC};
use hypothec::contract::repay::Source;
use hypothec::demo::stories::BEGIN;
use hypothec::node::view::RepayRequest;
use hypothec::protocol::Exit;

#[tokio::test]
async fn borrower_repays_early_from_its_wallet_at_the_price_of_that_moment() {
    let mut theatre = Theatre::of_march(BEGIN).await;
    let id = theatre.lent(2_000, 30).await;
    theatre.walk_to(after(BEGIN, 6), 6 * 3_600).await.unwrap();
    let request = RepayRequest { from: Source::Wallet };
    theatre.borrower.client().unwrap().repay(id, &request).await.unwrap();
    theatre.quiet().await.unwrap();
    let line = theatre.settled(id, Exit::Repaid).await;
    // 9 March, 06:00: the bar opens at 7,936.00, and the borrower sets the price a twentieth of a percent against
    // itself. Fourteen days of interest are the least.
    assert_eq!(line.price_cents, 793_203);
    let [borrower, _] = theatre.both(id).await;
    let least = (200_000 * u64::from(borrower.apr_bp) * 14).div_ceil(10_000 * 365);
    assert_eq!(line.owed_cents, borrower.principal_cents + least);
    assert_eq!(line.paid_to_lender_sats, 1_000 + sats_ceil(line.owed_cents, line.price_cents));
    assert_eq!(line.returned_to_borrower_sats, BTC);
    theatre.nothing_else_happened(&[line]).await;
}
