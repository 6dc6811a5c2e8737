//! Has the price touched a level that counts?

use crate::loan::terms::{Terms, TouchDay};
use crate::loan::units::Time;
use hypothec_oracle::units::HOUR;
use hypothec_oracle::wire::SignedLows;

/// Is this day's touch true by these lows, in an hour before due?
///
/// The oracle attests a touch that became true after due as well; nobody should act on that one, so the hours after
/// due are left out here.
pub fn is_touched(terms: &Terms, day: &TouchDay, lows: &SignedLows) -> bool {
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
