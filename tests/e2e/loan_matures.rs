//! Nobody does anything: at the due time the fixing pays the lender and returns the rest.

use crate::harness::{after, Theatre, BTC};
use hypothec::demo::stories::BEGIN;
use hypothec::protocol::Exit;

#[tokio::test]
async fn nobody_does_anything_and_the_fixing_of_a_later_day_settles_it() {
    // 9 March, 22:00, for two days: three daily touches are armed.
    let begin = after(BEGIN, 22);
    let mut theatre = Theatre::of_march(begin).await;
    let id = theatre.lent(2_500, 2).await;
    theatre.walk_to(after(begin, 47), 6 * 3_600).await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.ended.is_none()));
    theatre.hours(1).await.unwrap();
    let line = theatre.settled(id, Exit::Matured).await;
    // The bar that ends on 11 March at 22:00 closes at 7,811.62: whole dollars count.
    assert_eq!(line.price_cents, 781_100);
    let exact = 1_000.0 + line.owed_cents as f64 * 1e8 / line.price_cents as f64;
    let error = (line.paid_to_lender_sats as f64 - exact).abs() / (BTC as f64);
    assert!(error <= 0.000_2, "{} is {error} of the collateral from {exact}", line.paid_to_lender_sats);
    assert_eq!(line.paid_to_lender_sats + line.returned_to_borrower_sats, BTC + 1_000);
    theatre.nothing_else_happened(&[line]).await;
}
