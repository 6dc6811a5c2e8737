//! Backtest: what an oracle would have said over bars of the past.
//!
//! - Every fixing: at the end of each bar that ends on a full hour, at the bar's close, in whole dollars, clamped.
//! - Every h00 touch of each UTC day, at a rung at or below the day's opening price (the open of its first bar), stamped
//!   with the start of the first bar of the day whose low is at or below the rung.
//!
//! In order of time; at one moment the fixing first, then touches from the highest rung down.

use crate::event::Event;
use crate::ladder::Level;
use crate::units::{Cents, Time, HOUR};
use crate::verify::dollars_fixed;
use std::fmt;

/// One bar, cents per bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Its start.
    pub at: Time,
    /// First price.
    pub open: Cents,
    /// Highest.
    pub high: Cents,
    /// Lowest.
    pub low: Cents,
    /// Last price.
    pub close: Cents,
}

/// One thing an oracle would have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// A fixing's own time, or the start of the bar in which a touch became true.
    pub unix: Time,
    /// What.
    pub event: Event,
    /// Whole dollars of a fixing; zero for a touch, whose outcome is its id.
    pub dollars: u32,
}

/// `unix,event_id,outcome`.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Event::Fixing { .. } => write!(f, "{},{},{}", self.unix.0, self.event, self.dollars),
            Event::Touch { .. } | Event::Payment { .. } => write!(f, "{},{1},{1}", self.unix.0, self.event),
        }
    }
}

/// The length of the bars in seconds: the least step from one to the next; an hour for a single bar.
pub fn length_of(bars: &[Bar]) -> u32 {
    let steps = bars.iter().zip(bars.iter().skip(1)).map(|(one, next)| next.at.since(one.at));
    steps.min().unwrap_or(HOUR)
}

/// Everything said over ascending bars.
pub fn backtest(bars: &[Bar]) -> Vec<Said> {
    let length = length_of(bars);
    let mut said = Vec::new();
    // The highest rung of the day that is not yet true.
    let mut day: Option<(crate::units::Day, Option<Level>)> = None;
    for bar in bars {
        let today = bar.at.day();
        if day.is_none_or(|(known, _)| known != today) {
            let opening = u32::try_from(bar.open.dollars_floor()).unwrap_or(u32::MAX);
            day = Some((today, Level::at_or_below(opening)));
        }
        if let Some((_, next)) = &mut day {
            while let Some(level) = next.filter(|level| bar.low <= level.cents()) {
                let event = Event::Touch { level, day: today, from_hour: 0 };
                said.push(Said { unix: bar.at, event, dollars: 0 });
                *next = level.index().checked_sub(1).and_then(Level::at_index);
            }
        }
        if let Some(at) = bar.at.plus(length).filter(|end| end.0.is_multiple_of(HOUR)) {
            said.push(Said { unix: at, event: Event::Fixing { at }, dollars: dollars_fixed(bar.close) });
        }
    }
    said.sort_by_key(|one| one.unix);
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(at: u32, open: u64, low: u64, close: u64) -> Bar {
        Bar { at: Time(at), open: Cents(open), high: Cents(open.max(close)), low: Cents(low), close: Cents(close) }
    }

    #[test]
    fn fixings_come_at_the_end_of_bars_and_touches_in_the_bar_that_made_them_true() {
        // 12 March 2020, 00:00.
        let day = 1_583_971_200;
        let said = backtest(&[
            bar(day, 200_100, 199_900, 200_000),
            bar(day + HOUR, 200_000, 199_400, 10_500_000_000),
            bar(day + 23 * HOUR, 199_500, 199_500, 199_500),
            bar(day + 24 * HOUR, 199_450, 199_450, 199_450),
        ]);
        let lines: Vec<String> = said.iter().map(Said::to_string).collect();
        let touch = |unix: u32, level: u32, day: &str| {
            let id = format!("btcusd-touch-{level}-{day}-h00");
            format!("{unix},{id},{id}")
        };
        assert_eq!(
            lines,
            [
                touch(day, 2_000, "20200312"),
                format!("{0},btcusd{0},2000", day + HOUR),
                touch(day + HOUR, 1_998, "20200312"),
                touch(day + HOUR, 1_996, "20200312"),
                touch(day + HOUR, 1_994, "20200312"),
                format!("{0},btcusd{0},1048575", day + 2 * HOUR),
                format!("{0},btcusd{0},1995", day + 24 * HOUR),
                format!("{0},btcusd{0},1994", day + 25 * HOUR),
            ]
        );
    }

    #[test]
    fn a_price_below_the_ladder_touches_nothing_and_above_it_all() {
        assert_eq!(backtest(&[bar(0, 99_900, 50_000, 60_000)]).len(), 1);
        let all = backtest(&[bar(0, 200_000_000, 1, 1)]);
        assert_eq!(all.len(), 1 + (0..).map_while(Level::at_index).count());
        assert!(backtest(&[]).is_empty());
    }
}
