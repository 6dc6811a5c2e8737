//! Days, levels and event ids go on over New Year, in a leap year too.

use crate::harness::{after, Theatre};
use hypothec::demo::prices::Prices;
use hypothec::protocol::Exit;
use hypothec_oracle::units::{Cents, Time};

/// 30 December 2020, 18:00 UTC.
const EVE: Time = Time(1_609_351_200);

#[tokio::test]
async fn a_loan_of_the_old_year_is_touched_in_the_new_one() {
    // On 1 January 2021 at 05:00 the price falls to the level that day names.
    let prices = Prices::flat(EVE, 24 * 10, Cents(1_000_000)).falling(after(EVE, 35), Cents(510_000));
    let mut theatre = Theatre::open(EVE, prices).await;
    let quote = theatre.quote(400_000, 100_000_000, 4).await.unwrap();
    let named: Vec<(&str, &str)> = quote.levels.iter().map(|day| (day.day.as_str(), &day.event[18..])).collect();
    let days = ["20201230-h18", "20201231-h00", "20210101-h00", "20210102-h00", "20210103-h00"];
    assert_eq!(named, days.map(|day| (&day[..8], day)));
    let level = quote.levels[2].level;
    assert!((5_110..=5_200).contains(&level), "{level}");
    let id = theatre.borrow(&quote).await.unwrap().loan_id;
    theatre.walk_to(after(EVE, 35), 12 * 3_600).await.unwrap();
    let [view, _] = theatre.both(id).await;
    assert_eq!((view.level_today.unwrap().day, view.level_next.unwrap().day), ("20210101".into(), "20210102".into()));
    assert!(view.ended.is_none());
    theatre.hours(1).await.unwrap();
    let line = theatre.settled(id, Exit::Liquidated).await;
    assert_eq!((line.price_cents, line.owed_cents), (u64::from(level) * 100, quote.levels[2].owed_cents));
    theatre.nothing_else_happened(&[line]).await;
}
