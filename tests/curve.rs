//! The fixing's curve counts its signatures as the DLC library will make them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use bitcoin::Amount;
use ddk_trie::digit_decomposition::group_by_ignoring_digits;
use hypothec::loan::curve::{signatures, Interval};

fn made_by_ddk(interval: &Interval) -> usize {
    group_by_ignoring_digits(interval.first as usize, interval.last as usize, 2, 20).len()
}

#[test]
fn every_interval_costs_what_ddk_makes_of_it() {
    let whole = (1u32 << 20) - 1;
    let mut pairs = vec![(0, whole), (0, 0), (whole, whole), (1, whole), (0, whole - 1), (5, 5), (524_287, 524_288)];
    // A walk that reaches every bit pattern of both ends, the same on every run.
    let mut state = 1u32;
    for _ in 0..5_000 {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 12
        };
        let (a, b) = (next(), next());
        pairs.push((a.min(b), a.max(b)));
        pairs.push((a, a.saturating_add(b >> 14).min(whole)));
    }
    for (first, last) in pairs {
        let interval = Interval { first, last, lender: Amount::ZERO };
        assert_eq!(signatures(&[interval]), made_by_ddk(&interval), "{first} to {last}");
    }
}
