//! Aggregation: the quotes of one moment to one median, or the reason why there is none, venue by venue.
//!
//! Freshness, spread, median, outliers dropped, median again, quorum. Integers; the middle of two is rounded down.

use super::policy::Policy;
use super::venue::{Quote, Venue};
use crate::units::{Cents, Time};

/// Why a venue's quote does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNot {
    /// Nothing came.
    #[error("no answer: {0}")]
    Silent(String),
    /// What came is no quote.
    #[error("{0}")]
    Unreadable(String),
    /// Too old, by the venue's clock or by its arrival.
    #[error("its quote is {seconds} s old")]
    Stale { seconds: u32 },
    /// From the future.
    #[error("its clock is {seconds} s ahead")]
    Ahead { seconds: u32 },
    /// It stands still.
    #[error("its quote has not changed for {seconds} s")]
    Frozen { seconds: u32 },
    /// Bid above ask.
    #[error("its bid {bid} is above its ask {ask}")]
    Crossed { bid: Cents, ask: Cents },
    /// Bid and ask too far apart.
    #[error("its spread from {bid} to {ask} is too wide")]
    Spread { bid: Cents, ask: Cents },
    /// Too far from the others.
    #[error("its price {price} is too far from the median {median}")]
    Outlier { price: Cents, median: Cents },
}

/// What one venue contributed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Who.
    pub venue: Venue,
    /// The price that counted, or why none did.
    pub price: Result<Cents, WhyNot>,
}

/// One moment's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// In the order of the policy.
    pub verdicts: Vec<Verdict>,
    /// The median of the prices that counted; `None` below quorum.
    pub median: Option<Cents>,
}

impl Aggregate {
    /// How many venues counted.
    pub fn used(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.price.is_ok()).count()
    }

    /// Highest less lowest of the prices that counted.
    pub fn range(&self) -> Option<Cents> {
        let prices = || self.verdicts.iter().filter_map(|verdict| verdict.price.as_ref().ok());
        Some(Cents(prices().max()?.0.saturating_sub(prices().min()?.0)))
    }

    /// Why each venue that did not count did not: `gemini: its quote is 40 s old; ...`.
    pub fn reasons(&self) -> String {
        let why = |verdict: &Verdict| verdict.price.as_ref().err().map(|why| format!("{}: {why}", verdict.venue));
        self.verdicts.iter().filter_map(why).collect::<Vec<_>>().join("; ")
    }
}

/// A venue's quote as it is known at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it says.
    pub quote: Quote,
    /// When it came.
    pub received: Time,
    /// Since when bid, ask and price have been the same.
    pub unchanged_since: Time,
}

/// Aggregates what is known at `at`.
pub fn aggregate(policy: &Policy, at: Time, known: Vec<(Venue, Result<Standing, WhyNot>)>) -> Aggregate {
    let judge = |(venue, standing): (Venue, Result<Standing, WhyNot>)| {
        let price = standing.and_then(|standing| judged(policy, at, &standing).map(|()| standing.quote.price));
        Verdict { venue, price }
    };
    let mut verdicts: Vec<Verdict> = known.into_iter().map(judge).collect();
    let first = median(&verdicts).filter(|_| enough(policy, &verdicts));
    let Some(middle) = first else { return Aggregate { verdicts, median: None } };
    for verdict in &mut verdicts {
        if let Ok(price) = verdict.price {
            if is_far(price, middle, policy.max_deviation_bp) {
                verdict.price = Err(WhyNot::Outlier { price, median: middle });
            }
        }
    }
    let median = median(&verdicts).filter(|_| enough(policy, &verdicts));
    Aggregate { verdicts, median }
}

fn judged(policy: &Policy, at: Time, standing: &Standing) -> Result<(), WhyNot> {
    let Quote { bid, ask, .. } = standing.quote;
    let moment = standing.quote.at.unwrap_or(standing.received);
    let ahead = moment.since(at);
    if ahead > policy.max_ahead_seconds || standing.received > at {
        return Err(WhyNot::Ahead { seconds: ahead.max(standing.received.since(at)) });
    }
    let seconds = at.since(moment).max(at.since(standing.received));
    if seconds > policy.max_age_seconds {
        return Err(WhyNot::Stale { seconds });
    }
    let seconds = at.since(standing.unchanged_since);
    if seconds > policy.max_unchanged_seconds {
        return Err(WhyNot::Frozen { seconds });
    }
    if bid > ask {
        return Err(WhyNot::Crossed { bid, ask });
    }
    // The spread beside the middle: (ask - bid) / ((ask + bid) / 2), both sides times 20,000. Prices are below 2^34.
    let width = u128::from(ask.0.saturating_sub(bid.0)) * 20_000;
    if width > u128::from(policy.max_spread_bp) * (u128::from(ask.0) + u128::from(bid.0)) {
        return Err(WhyNot::Spread { bid, ask });
    }
    Ok(())
}

fn is_far(price: Cents, median: Cents, bp: u32) -> bool {
    u128::from(price.0.abs_diff(median.0)) * 10_000 > u128::from(bp) * u128::from(median.0)
}

fn enough(policy: &Policy, verdicts: &[Verdict]) -> bool {
    let used = verdicts.iter().filter(|verdict| verdict.price.is_ok()).count();
    u32::try_from(used).unwrap_or(u32::MAX) >= policy.quorum
}

fn median(verdicts: &[Verdict]) -> Option<Cents> {
    median_floor(verdicts.iter().filter_map(|verdict| verdict.price.as_ref().ok().copied()).collect())
}

/// The median; of an even number the middle of the two in the middle, half a cent dropped. `None` of nothing.
pub fn median_floor(mut prices: Vec<Cents>) -> Option<Cents> {
    prices.sort_unstable();
    let upper = prices.get(prices.len() / 2)?;
    if !prices.len().is_multiple_of(2) {
        return Some(*upper);
    }
    let lower = prices.get((prices.len() / 2).checked_sub(1)?)?;
    Some(Cents(lower.0.saturating_add(upper.0) / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Time = Time(1_584_007_200);

    fn standing(price: u64) -> Standing {
        let quote = Quote { price: Cents(price), bid: Cents(price), ask: Cents(price), at: Some(NOW) };
        Standing { quote, received: NOW, unchanged_since: NOW }
    }

    fn of(standings: Vec<Standing>) -> Aggregate {
        aggregate(&Policy::default(), NOW, Venue::ALL.into_iter().zip(standings.into_iter().map(Ok)).collect())
    }

    fn prices(prices: &[u64]) -> Aggregate {
        of(prices.iter().map(|price| standing(*price)).collect())
    }

    #[test]
    fn a_wick_of_sixty_percent_on_one_venue_and_two_that_collude_change_nothing() {
        let calm = prices(&[6_400_000, 6_400_100, 6_400_200, 6_400_300, 6_400_400]);
        assert_eq!((calm.median, calm.used()), (Some(Cents(6_400_200)), 5));
        let wick = prices(&[2_560_000, 6_400_100, 6_400_200, 6_400_300, 6_400_400]);
        assert_eq!((wick.median, wick.used()), (Some(Cents(6_400_250)), 4));
        assert!(wick.reasons().starts_with("kraken: its price $25,600.00 is too far"), "{}", wick.reasons());
        for lie in [1, 2_560_000, 6_200_000, 6_600_000, 9_900_000] {
            let two = prices(&[lie, lie, 6_400_200, 6_400_300, 6_400_400]);
            assert_eq!((two.median, two.used()), (Some(Cents(6_400_300)), 3), "{lie}");
        }
    }

    #[test]
    fn below_quorum_there_is_no_median_and_each_venue_says_why() {
        let policy = Policy::default();
        let mut stale = standing(6_400_000);
        stale.quote.at = Some(Time(NOW.0 - 31));
        let mut known = vec![
            (Venue::Kraken, Ok(standing(6_400_000))),
            (Venue::Coinbase, Ok(standing(6_400_000))),
            (Venue::Bitstamp, Ok(stale)),
            (Venue::Bitfinex, Err(WhyNot::Silent("timed out".into()))),
        ];
        let out = aggregate(&policy, NOW, known.clone());
        assert_eq!(out.median, None);
        assert_eq!(out.reasons(), "bitstamp: its quote is 31 s old; bitfinex: no answer: timed out");
        known.push((Venue::Gemini, Ok(standing(6_400_000))));
        assert_eq!(aggregate(&policy, NOW, known).median, Some(Cents(6_400_000)));
        let split = prices(&[6_400_000, 6_400_000, 6_600_000, 6_200_000, 6_000_000]);
        assert_eq!(split.median, None, "two agree, three lie elsewhere: {}", split.reasons());
    }

    #[test]
    fn each_rule_holds_exactly_at_its_bound() {
        let change = |change: fn(&mut Standing)| {
            let mut one = standing(6_400_000);
            change(&mut one);
            let rest = [6_400_000; 4].map(standing);
            of(std::iter::once(one).chain(rest).collect()).verdicts.remove(0).price.err()
        };
        assert_eq!(change(|s| s.quote.at = Some(Time(NOW.0 - 30))), None);
        assert_eq!(change(|s| s.quote.at = Some(Time(NOW.0 - 31))), Some(WhyNot::Stale { seconds: 31 }));
        assert_eq!(change(|s| s.received = Time(NOW.0 - 31)), Some(WhyNot::Stale { seconds: 31 }));
        assert_eq!(change(|s| s.quote.at = Some(Time(NOW.0 + 5))), None);
        assert_eq!(change(|s| s.quote.at = Some(Time(NOW.0 + 6))), Some(WhyNot::Ahead { seconds: 6 }));
        assert_eq!(change(|s| s.unchanged_since = Time(NOW.0 - 300)), None);
        assert_eq!(change(|s| s.unchanged_since = Time(NOW.0 - 301)), Some(WhyNot::Frozen { seconds: 301 }));
        assert_eq!(change(|s| (s.quote.bid, s.quote.ask) = (Cents(6_384_000), Cents(6_416_000))), None, "0.5 %");
        assert!(matches!(
            change(|s| (s.quote.bid, s.quote.ask) = (Cents(6_384_000), Cents(6_416_001))),
            Some(WhyNot::Spread { .. })
        ));
        assert!(matches!(change(|s| s.quote.bid = Cents(6_400_001)), Some(WhyNot::Crossed { .. })));
        assert_eq!(change(|s| s.quote.price = Cents(6_496_000)), None, "1.5 %");
        assert!(matches!(change(|s| s.quote.price = Cents(6_496_001)), Some(WhyNot::Outlier { .. })));
    }

    proptest! {
        #[test]
        fn two_liars_of_five_cannot_move_the_median_out_of_the_honest_range(
            base in 100_000u64..10_000_000, apart in prop::array::uniform3(0u64..50),
            lies in prop::array::uniform2(1u64..20_000_000), turn in 0..5usize,
        ) {
            // Honest venues lie within half a percent of each other.
            let honest = apart.map(|part| base + base * part / 10_000);
            let mut all: Vec<u64> = honest.into_iter().chain(lies).collect();
            all.rotate_left(turn);
            let median = prices(&all).median.expect("three honest venues are a quorum").0;
            let (low, high) = (honest.iter().min().unwrap(), honest.iter().max().unwrap());
            prop_assert!((*low..=*high).contains(&median), "{median} of {all:?}");
        }

        #[test]
        fn the_order_of_venues_does_not_matter_and_quorum_holds(all in prop::collection::vec(1u64..10_000_000_000, 0..6)) {
            let mut sorted = all.clone();
            sorted.sort_unstable();
            let out = prices(&all);
            prop_assert_eq!(out.median, prices(&sorted).median);
            prop_assert_eq!(out.median.is_some(), out.used() >= 3);
            if let Some(median) = out.median {
                for verdict in &out.verdicts {
                    prop_assert!(verdict.price.as_ref().is_ok_and(|price| price.0.abs_diff(median.0) <= median.0 / 25)
                        || verdict.price.is_err());
                }
            }
        }

        #[test]
        fn no_quote_makes_it_panic(numbers in prop::collection::vec(any::<u64>(), 3), times in prop::array::uniform3(any::<u32>())) {
            let quote = Quote { price: Cents(numbers[0]), bid: Cents(numbers[1]), ask: Cents(numbers[2]), at: Some(Time(times[0])) };
            let one = Standing { quote, received: Time(times[1]), unchanged_since: Time(times[2]) };
            let _ = of(vec![one.clone(), one.clone(), one]);
        }
    }
}
