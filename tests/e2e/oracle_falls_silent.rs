//! The oracle is gone for good: a month after due the fallback settles the loan at the price of its first day.

use crate::harness::{after, sats_ceil, Theatre, BTC, NOON};
use hypothec::protocol::{Exit, Stage};

const DAY: u32 = 24 * 3_600;

#[tokio::test]
async fn a_silent_oracle_leaves_the_fallback_and_not_a_day_before_its_time() {
    let mut theatre = Theatre::at_rest().await;
    let id = theatre.lent(4_000, 1).await;
    theatre.oracle.stop().await.unwrap();
    theatre.walk_to(after(NOON, 31 * 24), DAY).await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.stage == Stage::Active));
    theatre.hours(8).await.unwrap();
    let line = theatre.settled(id, Exit::FellBack).await;
    assert_eq!(line.price_cents, 1_000_000);
    assert_eq!(line.paid_to_lender_sats, 1_000 + sats_ceil(line.owed_cents, line.price_cents));
    assert_eq!(line.paid_to_lender_sats + line.returned_to_borrower_sats, BTC + 1_000);
    theatre.nothing_else_happened(&[line]).await;
}
