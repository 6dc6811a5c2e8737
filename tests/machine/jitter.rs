//! How often an honest loan falls through for its price before a block has it, by the hourly prices of two months.
//!
//! Prices within an hour are not known: the worst of each hour, as against one side, is scaled by the root of time.

use hypothec::loan::units::BasisPoints;
use hypothec::settlement::unfunded::{HELD_DRIFT, OUT_DRIFT};

/// Parts in ten thousand of the hours in which the lowest price, scaled to so many seconds, lies further below the first
/// than `drift`.
fn falls_through(prices: &str, drift: BasisPoints, seconds: u32) -> usize {
    let hours: Vec<f64> = prices
        .lines()
        .skip(1)
        .map(|line| {
            let of = |column| line.split(',').nth(column).unwrap().parse::<f64>().unwrap();
            1.0 - of(3) / of(1)
        })
        .collect();
    let scale = (f64::from(seconds) / 3_600.0).sqrt();
    let far = hours.iter().filter(|fall| **fall * scale > f64::from(drift.0) / 10_000.0).count();
    far * 10_000 / hours.len()
}

#[test]
fn few_honest_loans_fall_through_for_the_price_in_the_worst_month_and_hardly_any_in_the_next() {
    let march = include_str!("../../src/demo/prices-2020-03.csv");
    let april = include_str!("../../src/demo/prices-2020-04.csv");
    let of = |drift, seconds| [march, april].map(|prices| falls_through(prices, drift, seconds));
    assert_eq!(of(HELD_DRIFT, 15), [34, 0], "between the last signature and the broadcast");
    assert_eq!(of(OUT_DRIFT, 600), [364, 41], "between the broadcast and a block");
    assert_eq!(of(HELD_DRIFT, 600), [1302, 166], "the same once the terms have expired");
    assert_eq!(of(HELD_DRIFT, 60), [156, 0], "while it is displaced for a minute");
    // At the drift within which a proposal stands many more would.
    assert!(of(BasisPoints(20), 15)[0] > 500);
}
