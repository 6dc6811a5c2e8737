//! Has the price touched a level that counts?

use crate::loan::terms::{Terms, TouchDay};
use crate::loan::units::Time;
use hypothec_oracle::units::HOUR;
use hypothec_oracle::wire::{SignedLows, Unheard};

/// Is this day's touch true at `now`, as far as these lows tell? What they prove is true however old they are; that nothing
/// was touched they say only where they are as new as an honest oracle's list at `now`.
///
/// # Errors
/// The hours that count and of which nothing is heard: a touch in them would not be seen.
pub fn heard(terms: &Terms, day: &TouchDay, lows: &SignedLows, now: Time) -> Result<bool, Unheard> {
    if is_touched(terms, day, lows) {
        return Ok(true);
    }
    let due = terms.due().hour_floor();
    match lows.unheard(day.day.end().map_or(due, |end| end.min(due)), now) {
        None => Ok(false),
        Some(unheard) => Err(unheard),
    }
}

/// Is this day's touch true by these lows, in an hour before due?
///
/// The oracle attests a touch that became true after due as well; nobody should act on that one, so the hours after
/// due are left out here.
fn is_touched(terms: &Terms, day: &TouchDay, lows: &SignedLows) -> bool {
    if lows.day != day.day {
        return false;
    }
    let level = day.level.cents();
    (day.from_hour..24)
        .zip(lows.lows.iter().skip(usize::from(day.from_hour)))
        .any(|(hour, low)| hour_counts(terms, day, hour) && low.is_some_and(|low| low <= level))
}

fn hour_counts(terms: &Terms, day: &TouchDay, hour: u8) -> bool {
    let end = day.day.start().and_then(|start| start.plus((u32::from(hour) + 1) * HOUR));
    end.is_some_and(|end| end <= terms.due())
}

/// Does an attestation of this day's touch count at `now` where no lows tell in which hour it became true? On the day of due
/// only until due: heard later, it may have become true after due, when nobody should act on it.
pub fn counts_without_lows(terms: &Terms, day: &TouchDay, now: Time) -> bool {
    now <= terms.due() || day.day.end().is_some_and(|end| end <= terms.due())
}

/// The days of the term whose lows matter at `now`: all that have begun, newest first. A node that was away for weeks
/// finds a touch it missed; to everyone else old days cost nothing, since lows that are final are asked for once.
pub fn days_to_watch(days: &[TouchDay], now: Time) -> impl Iterator<Item = (usize, &TouchDay)> {
    let today = now.day();
    days.iter().enumerate().rev().filter(move |(_, day)| day.day <= today)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypothec_oracle::announce::OracleKeys;
    use hypothec_oracle::units::{Cents, Day};
    use hypothec_oracle::wire::FINAL_WITHIN;

    fn list(day: Day, until: Time, low: Option<(usize, Cents)>) -> SignedLows {
        let mut lows = [None; 24];
        low.into_iter().for_each(|(hour, cents)| lows[hour] = Some(cents));
        SignedLows::sign(&OracleKeys::from_secret(crate::loan::fixtures::secret(3)), day, until, lows)
    }

    #[test]
    fn an_old_list_proves_a_touch_and_never_that_there_is_none() {
        let terms = crate::loan::fixtures::reference();
        let days = terms.touch_days();
        let day = days[1];
        let (start, end) = (day.day.start().unwrap(), day.day.end().unwrap());
        let now = start.plus(9 * HOUR + FINAL_WITHIN).unwrap();
        let (fresh, old) = (start.plus(9 * HOUR).unwrap(), start.plus(8 * HOUR).unwrap());
        assert_eq!(heard(&terms, &day, &list(day.day, fresh, None), now), Ok(false));
        assert_eq!(heard(&terms, &day, &list(day.day, old, None), now), Err(Unheard { from: old, until: fresh }));
        let touched = list(day.day, old, Some((7, day.level.cents())));
        assert_eq!(heard(&terms, &day, &touched, now), Ok(true));
        assert_eq!(heard(&terms, &day, &touched, Time(u32::MAX)), Ok(true));
        // A past day is heard when it is final as a whole.
        assert_eq!(heard(&terms, &day, &list(day.day, end, None), Time(u32::MAX)), Ok(false));
        let short = list(day.day, Time(end.0 - HOUR), None);
        assert_eq!(heard(&terms, &day, &short, Time(u32::MAX)), Err(Unheard { from: Time(end.0 - HOUR), until: end }));
        // Of due's own day the hours after due do not count.
        let last = *days.last().unwrap();
        let due = terms.due();
        assert!(due < last.day.end().unwrap(), "due is within a day");
        assert_eq!(heard(&terms, &last, &list(last.day, due, None), Time(u32::MAX)), Ok(false));
        assert!(heard(&terms, &last, &list(last.day, Time(due.0 - HOUR), None), Time(u32::MAX)).is_err());
    }
}
