//! Contradiction: when two statements that an oracle signed cannot both be honest.
//!
//! Decided from the signed bytes alone, so that anybody comes to the same answer at any time.
//!
//! - *Lows* of one day: an hour that one of the two calls final. A low only falls until its hour is final, and then
//!   stays; a final hour without a low has none for ever. So the two contradict each other when both call the hour
//!   final and say different things of it, or when one does and the other says a lower low, or any low where the final
//!   one says none. Hours that neither calls final still fall, and prove nothing.
//! - *Heads* of the tick log with one id and one number, and another time or hash. Heads without an id prove nothing:
//!   replicas each keep a log, and older versions did not say whose a head was.
//! - *Policies* of one version that differ.
//!
//! Prices prove nothing: replicas ask the venues at different moments, so two prices of one second may both be honest.

use crate::price::policy::Policy;
use crate::statement::{Statement, LOG_HEAD, LOWS, POLICY};
use crate::ticklog::entry::LogId;
use crate::units::{Cents, Day, Time, HOUR};

/// What two statements disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// The low of the hour that begins then.
    Low(Time),
    /// A tick of a log.
    Tick { log: LogId, n: u64 },
    /// A version of the price policy.
    Policy(u32),
}

impl std::fmt::Display for Contradiction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Contradiction::Low(hour) => write!(f, "the low of the final hour from {hour}"),
            Contradiction::Tick { log, n } => write!(f, "tick {n} of tick log {log}"),
            Contradiction::Policy(version) => write!(f, "version {version} of the price policy"),
        }
    }
}

/// What the two cannot both say; `None` when they can, or when one is of no such shape.
pub fn between(one: &Statement, other: &Statement) -> Option<Contradiction> {
    match (one.tag, other.tag) {
        (LOWS, LOWS) => {
            let ((day, until, lows), (same, other_until, others)) = (lows(&one.data)?, lows(&other.data)?);
            (day == same).then(|| hour_between(day, (until, &lows), (other_until, &others)))?.map(Contradiction::Low)
        }
        (LOG_HEAD, LOG_HEAD) => {
            let ((log, n), (same, m)) = (head(&one.data)?, head(&other.data)?);
            (log == same && n == m && one.data != other.data).then_some(Contradiction::Tick { log, n })
        }
        (POLICY, POLICY) => {
            let read = |one: &Statement| serde_json::from_slice::<Policy>(&one.data).ok();
            let (one, other) = (read(one)?, read(other)?);
            (one.version == other.version && one != other).then_some(Contradiction::Policy(one.version))
        }
        _ => None,
    }
}

/// The first hour of a day of which two lists of lows, each final until its moment, cannot both be true.
pub fn hour_between(
    day: Day,
    (until, lows): (Time, &[Option<Cents>]),
    (other_until, others): (Time, &[Option<Cents>]),
) -> Option<Time> {
    let start = day.start()?;
    let breaks = |last: Option<Cents>, said: Option<Cents>, is_last: bool| match (last, said) {
        _ if is_last => last != said,
        (Some(last), Some(said)) => said < last,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let hours = (0u32..).map_while(|number| start.plus(number.checked_mul(HOUR)?)).zip(lows.iter().zip(others));
    let broken = hours.into_iter().find(|(hour, (one, other))| {
        let Some(end) = hour.plus(HOUR) else { return false };
        let (is_final, other_is) = (end <= until, end <= other_until);
        (is_final && breaks(**one, **other, other_is)) || (other_is && breaks(**other, **one, is_final))
    });
    broken.map(|(hour, _)| hour)
}

/// Day, final until, and 24 lows of a statement's bytes.
fn lows(data: &[u8]) -> Option<(Day, Time, Vec<Option<Cents>>)> {
    let (day, rest) = data.split_first_chunk()?;
    let (until, rest) = rest.split_first_chunk()?;
    let low = |entry: &[u8]| {
        let (known, cents) = entry.split_first()?;
        let cents = u64::from_be_bytes(cents.try_into().ok()?);
        match (known, cents) {
            (0, 0) => Some(None),
            (1, _) => Some(Some(Cents(cents))),
            _ => None,
        }
    };
    let lows = rest.chunks(9).map(low).collect::<Option<Vec<_>>>().filter(|lows| lows.len() == 24)?;
    Some((Day(u32::from_be_bytes(*day)), Time(u32::from_be_bytes(*until)), lows))
}

/// Log and number of a head's bytes; `None` for a head without an id.
fn head(data: &[u8]) -> Option<(LogId, u64)> {
    let (n, rest) = data.split_first_chunk()?;
    let (_, log) = rest.split_at_checked(4 + 32)?;
    Some((LogId(log.try_into().ok()?), u64::from_be_bytes(*n)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticklog::chain::End;
    use crate::wire::SignedLows;
    use bitcoin::hashes::{sha256, Hash};

    const DAY: Day = Day(18_333);

    fn said(final_hours: u32, lows: &[u64]) -> Statement {
        let mut all = [None; 24];
        for (place, cents) in all.iter_mut().zip(lows) {
            *place = Some(Cents(*cents)).filter(|cents| cents.0 > 0);
        }
        SignedLows::statement(DAY, DAY.start().unwrap().plus(final_hours * HOUR).unwrap(), &all)
    }

    #[test]
    fn only_what_a_final_hour_cannot_have_been_is_a_contradiction() {
        let hour = |number: u32| Some(Contradiction::Low(DAY.start().unwrap().plus(number * HOUR).unwrap()));
        for (one, other, right) in [
            (said(2, &[7, 6, 5]), said(2, &[7, 6, 4]), None),
            (said(2, &[7, 6]), said(3, &[7, 6, 4]), None),
            (said(0, &[9]), said(1, &[7]), None),
            (said(0, &[]), said(1, &[7]), None),
            (said(0, &[7]), said(0, &[6]), None),
            (said(2, &[7, 0]), said(1, &[7]), None),
            (said(2, &[7, 6]), said(2, &[7, 5]), hour(1)),
            (said(2, &[7, 6]), said(2, &[7, 0]), hour(1)),
            (said(1, &[7]), said(0, &[6]), hour(0)),
            (said(1, &[0]), said(0, &[6]), hour(0)),
            (said(24, &[1; 24]), said(24, &[[1; 23].as_slice(), &[2]].concat()), hour(23)),
        ] {
            assert_eq!((between(&one, &other), between(&other, &one)), (right, right), "{one:?} {other:?}");
        }
        let mut tomorrow = said(2, &[7, 5]);
        tomorrow.data[3] += 1;
        assert_eq!(between(&said(2, &[7, 6]), &tomorrow), None);
        let mut odd = said(2, &[7, 5]);
        odd.data[8] = 2;
        assert_eq!(between(&said(2, &[7, 6]), &odd), None);
    }

    #[test]
    fn heads_contradict_within_one_log_only_and_policies_within_one_version_only() {
        let head = |log: Option<u8>, n, hash: u8| {
            let (log, hash) = (log.map(|log| LogId([log; 16])), sha256::Hash::from_byte_array([hash; 32]));
            End { n, at: Time(5), hash, log, headed: false }.statement()
        };
        let tick = Some(Contradiction::Tick { log: LogId([1; 16]), n: 3 });
        assert_eq!(between(&head(Some(1), 3, 7), &head(Some(1), 3, 8)), tick);
        for other in [head(Some(1), 3, 7), head(Some(2), 3, 8), head(Some(1), 4, 8), head(None, 3, 8)] {
            assert_eq!(between(&head(Some(1), 3, 7), &other), None);
        }
        assert_eq!(between(&head(None, 3, 7), &head(None, 3, 8)), None, "nobody knows whose they are");
        let policy = |version, quorum| Policy { version, quorum, ..Policy::default() }.statement();
        assert_eq!(between(&policy(1, 3), &policy(1, 4)), Some(Contradiction::Policy(1)));
        assert_eq!(between(&policy(1, 3), &policy(1, 3)), None);
        assert_eq!(between(&policy(1, 3), &policy(2, 4)), None);
        assert_eq!(between(&policy(1, 3), &head(Some(1), 3, 7)), None);
    }
}
