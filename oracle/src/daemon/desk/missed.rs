//! Hours and fixings that were frozen without a price, and why: somebody must be told, for they stay missed.

use super::super::ledger::{Ledger, Record};
use crate::units::{Time, HOUR};
use std::collections::BTreeMap;

/// Hours whose trouble is remembered.
const KEPT: usize = 96;

/// What a freeze left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Starts of hours without a low.
    pub hours: Vec<Time>,
    /// Moments without a fixing.
    pub fixings: Vec<Time>,
}

impl Missed {
    /// What `record` leaves out when it comes next. Nothing before a ledger's first freeze was ever to come.
    pub fn by(ledger: &Ledger, record: Record) -> Missed {
        let before = ledger.frozen_until();
        let Record::Frozen { until } = record else { return Missed::default() };
        if before == Time(0) {
            return Missed::default();
        }
        let ends = || (1u32..).map_while(|n| before.plus(n.checked_mul(HOUR)?)).take_while(move |end| *end <= until);
        let starts = ends().map(|end| Time(end.0.saturating_sub(HOUR)));
        let has_low = |hour: &Time| ledger.lows_in(*hour..=*hour).next().is_some();
        Missed {
            hours: starts.filter(|hour| !has_low(hour)).collect(),
            fixings: ends().filter(|at| ledger.fixing(*at).is_none()).collect(),
        }
    }

    /// Takes in another's.
    pub fn add(&mut self, other: Missed) {
        self.hours.extend(other.hours);
        self.fixings.extend(other.fixings);
    }
}

/// What went wrong in each hour, as far as this process has seen it.
#[derive(Debug, Default)]
pub struct Diary {
    began: Option<Time>,
    /// The last look at a time that was believed.
    last: Option<Time>,
    /// Why the clock has not been believed since.
    doubt: Option<String>,
    troubles: BTreeMap<Time, String>,
}

impl Diary {
    /// It is `now`, by a clock that is believed.
    pub fn looks(&mut self, now: Time) {
        self.began.get_or_insert(now);
        let last = self.last.replace(now);
        let Some((doubt, last)) = self.doubt.take().zip(last) else { return };
        let hours = (0..).map_while(|n| last.hour_floor().plus(HOUR.checked_mul(n)?)).take_while(|hour| *hour <= now);
        hours.take(KEPT).for_each(|hour| self.notes(hour, &doubt));
    }

    /// The clock is not believed: what hour it is nobody knows.
    pub fn doubts(&mut self, why: &str) {
        self.doubt = Some(why.to_string());
    }

    /// Something is wrong at `now`. The last trouble of an hour is the one that is told.
    pub fn notes(&mut self, now: Time, trouble: &str) {
        self.troubles.insert(now.hour_floor(), trouble.to_string());
        while self.troubles.len() > KEPT {
            self.troubles.pop_first();
        }
    }

    /// Says in the log what was missed, and why: one line for hours, one for fixings.
    pub fn tell(&self, missed: &Missed) {
        if let Some(line) = self.about_hours(&missed.hours) {
            tracing::warn!("{line}");
        }
        if let Some(line) = self.about_fixings(&missed.fixings) {
            tracing::warn!("{line}");
        }
    }

    fn about_hours(&self, hours: &[Time]) -> Option<String> {
        let (first, last) = (hours.first()?, hours.last()?);
        let what = match hours.len() {
            1 => format!("the hour from {first} is missed"),
            many => format!("{many} hours are missed, the first from {first}, the last from {last}"),
        };
        Some(format!("{what}: no low was said. {}", self.why(*last, None)))
    }

    fn about_fixings(&self, fixings: &[Time]) -> Option<String> {
        let (first, last) = (fixings.first()?, fixings.last()?);
        let what = match fixings.len() {
            1 => format!("the fixing at {first} is missed"),
            many => format!("{many} fixings are missed, the first at {first}, the last at {last}"),
        };
        // A fixing is made of the half hour before it, and said in the minutes after.
        Some(format!("{what}. {}", self.why(Time(last.0.saturating_sub(HOUR)), Some(*last))))
    }

    fn why(&self, hour: Time, after: Option<Time>) -> String {
        let noted = after.and_then(|after| self.troubles.get(&after)).or_else(|| self.troubles.get(&hour));
        if let Some(trouble) = noted {
            return format!("Trouble then: {trouble}");
        }
        match self.began {
            Some(began) if hour.plus(HOUR).is_some_and(|end| end <= began) => {
                "This oracle was off then, or its clock was not believed".to_string()
            }
            Some(began) if hour < began => format!("This oracle has looked since {began} only"),
            _ => "The feed had too few prices for it".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Cents;

    fn hour(number: u32) -> Time {
        Time(1_584_007_200 + number * HOUR)
    }

    #[test]
    fn a_freeze_names_the_hours_and_fixings_that_it_leaves_out() {
        let mut ledger = Ledger::default();
        assert_eq!(Missed::by(&ledger, Record::Frozen { until: hour(0) }), Missed::default(), "it had not begun");
        for record in [
            Record::Frozen { until: hour(0) },
            Record::Low { hour: hour(0), cents: Cents(1) },
            Record::Fixing { at: hour(2), cents: Cents(1) },
        ] {
            ledger.apply(record).unwrap();
        }
        let missed = Missed::by(&ledger, Record::Frozen { until: hour(3) });
        assert_eq!(missed, Missed { hours: vec![hour(1), hour(2)], fixings: vec![hour(1), hour(3)] });
        assert_eq!(Missed::by(&ledger, Record::Low { hour: hour(9), cents: Cents(1) }), Missed::default());
    }

    #[test]
    fn what_is_missed_is_told_with_what_was_wrong_then() {
        let mut diary = Diary::default();
        diary.looks(Time(hour(3).0 + 600));
        diary.notes(Time(hour(5).0 + 60), "below quorum");
        let said = diary.about_hours(&[hour(1), hour(2)]).unwrap();
        assert!(said.starts_with("2 hours are missed, the first from 2020-03-12T11:00:00Z, the last from"), "{said}");
        assert!(said.ends_with("This oracle was off then, or its clock was not believed"), "{said}");
        assert!(diary.about_hours(&[hour(3)]).unwrap().contains("has looked since 2020-03-12T13:10:00Z only"));
        assert!(diary.about_hours(&[hour(5)]).unwrap().ends_with("no low was said. Trouble then: below quorum"));
        assert!(diary.about_fixings(&[hour(5)]).unwrap().ends_with("Trouble then: below quorum"));
        assert!(diary.about_fixings(&[hour(6)]).unwrap().ends_with("Trouble then: below quorum"), "its half hour");
        assert!(diary.about_fixings(&[hour(8)]).unwrap().contains("too few prices"));
        diary.doubts("the clock is not vouched for");
        diary.looks(hour(9));
        assert!(diary.about_hours(&[hour(8)]).unwrap().ends_with("Trouble then: the clock is not vouched for"));
        assert_eq!((diary.about_hours(&[]), diary.about_fixings(&[])), (None, None));
    }
}
