//! The price now, where several oracles say one.

use crate::loan::units::Cents;

/// The median of the prices; of an even number the middle of the two in the middle, rounded down. `None` when fewer
/// than `threshold` are there: fewer than that could not settle the loan either.
pub fn median_floor(prices: &[Cents], threshold: usize) -> Option<Cents> {
    if prices.len() < threshold.max(1) {
        return None;
    }
    let mut sorted = prices.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    let high = sorted.get(middle)?.0;
    match sorted.len() % 2 {
        1 => Some(Cents(high)),
        _ => {
            let low = sorted.get(middle.checked_sub(1)?)?.0;
            Some(Cents(low.saturating_add(high.saturating_sub(low) / 2)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_takes_no_notice_of_one_that_lies() {
        let of = |prices: &[u64], threshold| {
            let prices: Vec<Cents> = prices.iter().copied().map(Cents).collect();
            median_floor(&prices, threshold).map(|price| price.0)
        };
        assert_eq!(of(&[7], 1), Some(7));
        assert_eq!(of(&[7], 2), None);
        assert_eq!(of(&[], 0), None);
        assert_eq!(of(&[100, 1, 103], 2), Some(100));
        assert_eq!(of(&[100, 103], 2), Some(101));
        assert_eq!(of(&[u64::MAX, u64::MAX - 1], 2), Some(u64::MAX - 1));
    }
}
