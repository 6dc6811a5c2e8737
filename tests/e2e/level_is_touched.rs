//! The crash of 12 March 2020 touches the day's level: the lender is paid out of collateral, the surplus goes back.

use crate::harness::{after, sats_ceil, Theatre, BTC};
use hypothec::demo::stories::BEGIN;
use hypothec::protocol::Exit;
use hypothec_oracle::units::Time;

#[tokio::test]
async fn the_crash_touches_the_days_level_and_both_settle_it_at_once() {
    // 12 March, 20:00, at 6,032.90: half of it is liquidated below 3,900 …
    let evening = after(BEGIN, 3 * 24 + 20);
    let mut theatre = Theatre::of_march(evening).await;
    let id = theatre.lent(3_000, 3).await;
    let [view, _] = theatre.both(id).await;
    let touch = view.exits.iter().find(|open| open.exit == Exit::Liquidated).unwrap();
    let counts = format!("at any time between {} and 2020-03-13T00:00:00Z", Time(view.start));
    assert!(view.start >= evening.0 && touch.when.contains(&counts), "from its first hour: {}", touch.when);
    let tomorrow = view.level_next.unwrap();
    assert!((3_850..3_900).contains(&tomorrow.level), "{}", tomorrow.level);
    // … which the hour from 02:00 to 03:00 does, at 3,850.00; nobody knows before it is over.
    theatre.walk_to(after(BEGIN, 4 * 24 + 2), 3_600).await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.ended.is_none()));
    theatre.hours(1).await.unwrap();
    assert!(theatre.both(id).await.iter().all(|view| view.ended.is_some()));
    let line = theatre.settled(id, Exit::Liquidated).await;
    assert_eq!(line.price_cents, u64::from(tomorrow.level) * 100);
    assert_eq!(line.owed_cents, tomorrow.owed_cents);
    assert_eq!(line.paid_to_lender_sats, tomorrow.lender_sats);
    assert_eq!(line.returned_to_borrower_sats, tomorrow.borrower_sats);
    // What is owed and a twentieth of it, and the stake; all else is the borrower's.
    let most = 1_000 + sats_ceil(line.owed_cents * 105 / 100, line.price_cents) + 1;
    assert!((most - 10..=most).contains(&line.paid_to_lender_sats), "{} of {most}", line.paid_to_lender_sats);
    assert_eq!(line.paid_to_lender_sats + line.returned_to_borrower_sats, BTC + 1_000);
    theatre.nothing_else_happened(&[line]).await;
}
