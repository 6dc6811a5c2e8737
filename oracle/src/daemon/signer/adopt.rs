//! What a daemon's ledger says was signed, and whether a signer's record can be continued with it. Pure.

use super::super::ledger::Ledger;
use super::record::{Entry, Signed};
use crate::event::{PaymentId, PaymentWord};
use crate::units::{Cents, Time, HOUR};
use crate::verify::dollars_fixed;
use std::collections::BTreeMap;

/// Why a ledger is not taken into a record. The remedy is the same for all: find out which of the two is old.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Another outcome, or none.
    #[error("the record says that the fixing of {at} was signed as {signed} dollars, the ledger {}; one of them is not this oracle's newest: sign with neither until you know which", known(.ledger))]
    Fixing { at: Time, signed: u32, ledger: Option<u32> },
    /// A low told that the ledger does not have.
    #[error("the record says that a low of {told} was told of the hour of {hour}, the ledger's is {}; one of them is not this oracle's newest: sign with neither until you know which", known(.ledger))]
    Low { hour: Time, told: Cents, ledger: Option<Cents> },
    /// A low in an hour that was told as final without it.
    #[error("the record says that the hour of {hour} was told as final with the low {}, the ledger's is {ledger}; one of them is not this oracle's newest: sign with neither until you know which", known(.told))]
    Final { hour: Time, told: Option<Cents>, ledger: Cents },
    /// A day told as final further than the ledger is.
    #[error("the record says that everything up to {told} was told as final, the ledger is final until {ledger} only: it is older; restore the newest ledger")]
    Older { told: Time, ledger: Time },
    /// The other word.
    #[error("the record says that payment {id} was attested as {signed}, the daemon's book says {book}; one of them is not this oracle's newest")]
    Payment { id: PaymentId, signed: PaymentWord, book: PaymentWord },
}

fn known<T: ToString>(what: &Option<T>) -> String {
    what.as_ref().map_or_else(|| "none".to_string(), ToString::to_string)
}

/// All that a ledger and a book of payments let be signed, as entries of a record.
pub fn entries(ledger: &Ledger, payments: &BTreeMap<PaymentId, PaymentWord>) -> Vec<Entry> {
    let all = Time(0)..=Time(u32::MAX);
    let lows: Vec<(Time, Cents)> = ledger.lows_in(all.clone()).collect();
    let fixings: Vec<(Time, Cents)> = ledger.fixings_in(all).collect();
    let until = ledger.frozen_until();
    let mut entries: Vec<Entry> = fixings.iter().map(|(at, cents)| Entry::Fixing(*at, dollars_fixed(*cents))).collect();
    entries.extend(lows.iter().map(|(hour, cents)| Entry::Low(*hour, *cents)));
    // From the first thing said on: before it every hour is missed, and whoever asks for its lows is told of none.
    let first = lows.iter().chain(&fixings).map(|(at, _)| at.day()).min();
    let mut day = first;
    while let Some(one) = day {
        let (Some(start), Some(end)) = (one.start(), one.end()) else { break };
        if start >= until {
            break;
        }
        entries.push(Entry::Closed(one, until.min(end)));
        day = one.next();
    }
    entries.extend(payments.iter().map(|(id, word)| Entry::Payment(*id, *word)));
    entries
}

/// Is everything that was signed by a record in the ledger too, and nothing else in its place? A record may be behind.
///
/// # Errors
/// The first thing that contradicts.
pub fn check(
    signed: &Signed,
    ledger: &Ledger,
    payments: &BTreeMap<PaymentId, PaymentWord>,
) -> Result<(), Contradiction> {
    for (at, dollars) in &signed.fixings {
        let said = ledger.fixing(*at).map(dollars_fixed);
        if said != Some(*dollars) {
            return Err(Contradiction::Fixing { at: *at, signed: *dollars, ledger: said });
        }
    }
    let lows: BTreeMap<Time, Cents> = ledger.lows_in(Time(0)..=Time(u32::MAX)).collect();
    for (hour, told) in &signed.lows {
        let low = lows.get(hour).copied();
        if low.is_none_or(|low| low > *told) {
            return Err(Contradiction::Low { hour: *hour, told: *told, ledger: low });
        }
    }
    for (day, told) in &signed.closed {
        if *told > ledger.frozen_until() {
            return Err(Contradiction::Older { told: *told, ledger: ledger.frozen_until() });
        }
        let start = day.start().unwrap_or_default();
        for (hour, low) in lows.range(start..*told.max(&start)) {
            let was_final = hour.plus(HOUR).is_some_and(|end| end <= *told);
            let known = signed.lows.get(hour).copied();
            if was_final && known != Some(*low) {
                return Err(Contradiction::Final { hour: *hour, told: known, ledger: *low });
            }
        }
    }
    for (id, said) in &signed.payments {
        if let Some(book) = payments.get(id).filter(|book| *book != said) {
            return Err(Contradiction::Payment { id: *id, signed: *said, book: *book });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::ledger::Record;
    use super::*;
    use crate::units::Day;

    const DAY: Day = Day(18_333);

    fn hour(number: u32) -> Time {
        DAY.start().unwrap().plus(number * HOUR).unwrap()
    }

    /// Two days: a low and a fixing every hour but one, final until 01:00 of the second.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for number in 20..26 {
            if number != 22 {
                ledger.apply(Record::Low { hour: hour(number), cents: Cents(750_000 + u64::from(number)) }).unwrap();
                ledger.apply(Record::Fixing { at: hour(number), cents: Cents(760_099) }).unwrap();
            }
        }
        ledger.apply(Record::Frozen { until: hour(25) }).unwrap();
        ledger
    }

    fn taken(ledger: &Ledger) -> Signed {
        let mut signed = Signed::default();
        entries(ledger, &BTreeMap::new()).into_iter().for_each(|entry| signed.apply(entry));
        signed
    }

    #[test]
    fn a_ledger_becomes_fixings_lows_final_hours_and_payments() {
        let paid = BTreeMap::from([(PaymentId([7; 16]), PaymentWord::Paid)]);
        let mut signed = Signed::default();
        entries(&ledger(), &paid).into_iter().for_each(|entry| signed.apply(entry));
        assert_eq!((signed.fixings.len(), signed.fixings[&hour(23)]), (5, 7_600));
        assert_eq!(
            (signed.lows.len(), signed.lows[&hour(25)]),
            (5, Cents(750_025)),
            "the open hour's low was told too"
        );
        assert_eq!(signed.closed, BTreeMap::from([(DAY, hour(24)), (Day(DAY.0 + 1), hour(25))]));
        assert_eq!(signed.payments, paid);
        assert_eq!(check(&signed, &ledger(), &paid), Ok(()));
        assert!(entries(&Ledger::default(), &BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_record_that_is_behind_is_continued_and_one_that_says_otherwise_or_more_is_not() {
        let (ledger, none) = (ledger(), BTreeMap::new());
        assert_eq!(check(&Signed::default(), &ledger, &none), Ok(()));
        let tried = |change: &dyn Fn(&mut Signed)| {
            let mut signed = taken(&ledger);
            change(&mut signed);
            check(&signed, &ledger, &none)
        };
        let behind = tried(&|signed| {
            signed.fixings.remove(&hour(23));
        });
        assert_eq!(behind, Ok(()));
        // A higher low told of the hour that still runs: it fell since.
        let fallen = tried(&|signed| {
            signed.lows.insert(hour(25), Cents(800_000));
        });
        assert_eq!(fallen, Ok(()));
        let wrong: [&dyn Fn(&mut Signed); 7] = [
            &|signed| {
                signed.fixings.insert(hour(23), 7_601);
            },
            &|signed| {
                signed.fixings.insert(hour(22), 7_600);
            },
            &|signed| {
                signed.lows.insert(hour(23), Cents(700_000));
            },
            &|signed| {
                signed.lows.insert(hour(22), Cents(700_000));
            },
            &|signed| {
                signed.lows.insert(hour(23), Cents(800_000));
            },
            &|signed| {
                signed.lows.remove(&hour(20));
            },
            &|signed| {
                signed.closed.insert(Day(DAY.0 + 1), hour(26));
            },
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let refused = tried(&change).unwrap_err();
            assert!(refused.to_string().contains("the ledger"), "{number}: {refused}");
        }
        let (id, word) = (PaymentId([7; 16]), PaymentWord::Paid);
        let signed = Signed { payments: BTreeMap::from([(id, word)]), ..Signed::default() };
        let other = BTreeMap::from([(id, PaymentWord::Undisbursed)]);
        assert!(matches!(check(&signed, &ledger, &other), Err(Contradiction::Payment { .. })));
        assert_eq!(check(&signed, &ledger, &none), Ok(()), "another daemon's payment");
    }
}
