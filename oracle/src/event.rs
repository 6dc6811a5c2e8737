//! Event ids: what an oracle can be asked about, written so that the id says all of it.

use crate::ladder::Level;
use crate::units::{Day, Time, DAY, HOUR};
use std::fmt;

/// Binary digits of a fixing, most significant first.
pub const FIXING_DIGITS: u16 = 20;
/// The highest fixing, in dollars; a higher price is attested as this.
pub const FIXING_MAX: u32 = (1 << FIXING_DIGITS) - 1;
/// How long after its day the last word on a touch may come.
pub const TOUCH_GRACE: u32 = 7 * DAY;

/// Something an oracle may attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The price in whole dollars at `at`, a full hour.
    Fixing { at: Time },
    /// The price was at or below `level` at some time from hour `from_hour` to the end of `day`.
    Touch { level: Level, day: Day, from_hour: u8 },
}

impl Event {
    /// The event of an id, `None` unless the id is exactly what [`fmt::Display`] writes.
    pub fn parse(id: &str) -> Option<Event> {
        let event = match id.strip_prefix("btcusd-touch-") {
            Some(rest) => {
                let mut parts = rest.split('-');
                let level = Level::exactly(parts.next()?.parse().ok()?)?;
                let day = Day::from_yyyymmdd(parts.next()?)?;
                let from_hour = parts.next()?.strip_prefix('h')?.parse().ok().filter(|hour| *hour < 24)?;
                Event::Touch { level, day, from_hour }
            }
            None => {
                let at = Time(id.strip_prefix("btcusd")?.parse().ok()?);
                at.0.is_multiple_of(HOUR).then_some(Event::Fixing { at })?
            }
        };
        (event.to_string() == id).then_some(event)
    }

    /// When the oracle will have said all it will say: the fixing's hour, or a week after a touch's day.
    ///
    /// A touch may be attested long before; the DLC specification's "earliest time" would be its first hour.
    pub fn maturity(self) -> Option<Time> {
        match self {
            Event::Fixing { at } => Some(at),
            Event::Touch { day, .. } => day.end()?.plus(TOUCH_GRACE),
        }
    }

    /// The first moment that counts for a touch.
    pub fn touch_from(self) -> Option<Time> {
        match self {
            Event::Fixing { .. } => None,
            Event::Touch { day, from_hour, .. } => day.start()?.plus(u32::from(from_hour) * HOUR),
        }
    }
}

/// The event id.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Fixing { at } => write!(f, "btcusd{}", at.0),
            Event::Touch { level, day, from_hour } => write!(f, "btcusd-touch-{level}-{day}-h{from_hour:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_the_event_that_wrote_it_and_nothing_else_reads() {
        for id in ["btcusd1584007200", "btcusd-touch-7490-20200312-h09", "btcusd-touch-50000-20201231-h00"] {
            assert_eq!(Event::parse(id).map(|e| e.to_string()).as_deref(), Some(id));
        }
        for id in [
            "btcusd1584007201",
            "btcusd+1584007200",
            "btcusd01584007200",
            "btcusd-touch-7491-20200312-h09",
            "btcusd-touch-07490-20200312-h09",
            "btcusd-touch-7490-20200312-h24",
            "btcusd-touch-7490-20200312-h9",
            "btcusd-touch-7490-20200312-h09-",
            "",
        ] {
            assert_eq!(Event::parse(id), None, "{id}");
        }
    }
}
