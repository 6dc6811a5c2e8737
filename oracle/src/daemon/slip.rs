//! Is a price that is set by hand a slip of the hand? Pure: no clock, no disk.
//!
//! It is held against what was set last, whether that stands or was cleared, however long ago, and against what the
//! oracle said since. What a price touches can never be taken back.

use super::feed::manual::LastSet;
use super::ledger::Ledger;
use crate::units::{Cents, Time};

/// A price this far from one that is known is asked about, in hundredths of a percent of that.
const FAR: u64 = 2_000;

/// What a price is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// A price, and what it is, for a sentence.
    Price(Cents, String),
    /// There is a note of one, and it cannot be read: why.
    Unread(String),
}

/// What is known: the price that was `set` last, or else the newest low; and the newest fixing where that is later.
pub fn known(set: anyhow::Result<Option<LastSet>>, ledger: &Ledger) -> Vec<Known> {
    let mut known = Vec::new();
    let mut since = Time(0);
    match set {
        Ok(Some(last)) => {
            since = last.at;
            let when = if last.at == Time(0) { String::new() } else { format!(", set by hand at {}", last.at) };
            known.push(Known::Price(last.cents, format!("the last price, {}{when}", last.cents)));
        }
        Ok(None) => {
            let low = ledger.lows_in(Time(0)..=Time(u32::MAX)).next_back();
            known.extend(low.map(|(hour, cents)| {
                Known::Price(cents, format!("the last price known, {cents}, the low of the hour of {hour}"))
            }));
        }
        Err(error) => known.push(Known::Unread(format!("{error:#}"))),
    }
    let newest = ledger.newest_fixings().next().filter(|(at, _)| *at > since);
    known.extend(newest.map(|(at, cents)| Known::Price(cents, format!("the newest fixing, {cents}, of {at}"))));
    known
}

/// Why a price may be a slip, a sentence; none when it is near all that is known, or nothing is.
pub fn far_off(known: &[Known], cents: Cents) -> Option<String> {
    let why = known.iter().find_map(|known| match known {
        Known::Price(last, what) => {
            let apart = u128::from(last.0.abs_diff(cents.0)) * 10_000;
            let is_far = apart > u128::from(FAR) * u128::from(last.0);
            is_far.then(|| format!("{cents} is more than {} % from {what}", FAR / 100))
        }
        Known::Unread(why) => Some(format!("{cents} cannot be held against the last price: {why}")),
    })?;
    Some(format!("{why}; it is in US cents, and what it touches is attested for good. Nothing is set"))
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Record;
    use super::*;
    use crate::units::HOUR;

    fn set(cents: u64, at: u32) -> anyhow::Result<Option<LastSet>> {
        Ok(Some(LastSet { cents: Cents(cents), at: Time(at) }))
    }

    #[test]
    fn a_slip_of_two_digits_is_asked_about_and_a_bad_day_is_not() {
        let nothing = Ledger::default();
        let far = |last: u64, cents| far_off(&known(set(last, 0), &nothing), Cents(cents));
        assert!(far(10_060_000, 100_000).is_some_and(|why| why.contains("$1,000.00") && why.contains("$100,600.00")));
        assert!(far(100_000, 10_060_000).is_some());
        assert!(far(10_000, 8_000).is_none() && far(10_000, 7_999).is_some());
        assert!(far(10_000, 12_000).is_none() && far(10_000, 12_001).is_some());
        assert!(far_off(&known(Ok(None), &nothing), Cents(1)).is_none(), "the first is believed");
    }

    #[test]
    fn what_was_set_last_counts_and_what_was_said_since_and_what_cannot_be_read_is_no_leave() {
        let mut ledger = Ledger::default();
        ledger.apply(Record::Low { hour: Time(HOUR), cents: Cents(9_000) }).unwrap();
        let far = |set, cents| far_off(&known(set, &ledger), Cents(cents));
        assert!(far(Ok(None), 100).is_some_and(|why| why.contains("the low of the hour of")), "no note of it");
        ledger.apply(Record::Fixing { at: Time(2 * HOUR), cents: Cents(9_000) }).unwrap();
        let far = |set, cents| far_off(&known(set, &ledger), Cents(cents));
        // A person has confirmed a crash after the newest fixing: each price of it is not asked about again.
        assert_eq!(far(set(5_000, 2 * HOUR), 5_100), None);
        assert!(far(set(5_000, HOUR), 5_100).is_some_and(|why| why.contains("the newest fixing")));
        assert!(far(Err(anyhow::anyhow!("spoilt")), 9_000).is_some_and(|why| why.contains("spoilt")));
    }
}
