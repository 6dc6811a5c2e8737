//! The replay feed: hourly bars of the past, played on the given clock.
//!
//! CSV with the header `unix,open,high,low,close`, one row an hour, ascending; an hour without a row is missed, and bars of
//! any other length are refused. The low
//! of an hour is its bar's low, known and final once the hour is over. The fixing at t is the close of the bar that ends
//! at t. Spot moves open, high, low, close over the quarter-hours of the bar.
//!
//! Unlike a live feed it also knows the hours that passed while the oracle was off, and fills them in at start-up.

use super::{Feed, News};
use crate::price::backtest;
use crate::price::bars::{self, Format};
use crate::units::{Cents, Time, HOUR};
use anyhow::{bail, Context};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest file read, in bytes: some 200 years of hours.
const LARGEST: u64 = 100 * 1024 * 1024;

/// One hour, cents per bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bar {
    open: Cents,
    high: Cents,
    low: Cents,
    close: Cents,
}

/// Bars by the start of their hour.
#[derive(Debug)]
pub struct Replay {
    bars: BTreeMap<Time, Bar>,
}

impl Replay {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, a row is not a bar, or the bars are not of an hour.
    pub fn read(path: &Path) -> anyhow::Result<Replay> {
        let name = path.display();
        Replay::parse(&text(path)?).with_context(|| format!("understand replay file {name}"))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When a row is not a bar, the rows do not ascend, or the bars are not of an hour.
    pub fn parse(text: &str) -> anyhow::Result<Replay> {
        let bars = bars::read(text, Format::Own)?;
        let length = backtest::length_of(&bars);
        if length != HOUR {
            bail!(
                "its bars are {} h long, and the replay feed plays bars of an hour: an hour's low and fixing would come \
                 from a bar that ends later. Take the file of 60 minutes; `backtest` reads longer bars",
                length / HOUR
            );
        }
        let hour = |bar: &backtest::Bar| {
            let backtest::Bar { at, open, high, low, close } = *bar;
            (at, Bar { open, high, low, close })
        };
        Ok(Replay { bars: bars.iter().map(hour).collect() })
    }

    fn spot(&self, now: Time) -> Option<Cents> {
        let hour = now.hour_floor();
        let bar = self.bars.get(&hour)?;
        Some(match now.since(hour) / (HOUR / 4) {
            0 => bar.open,
            1 => bar.high,
            2 => bar.low,
            _ => bar.close,
        })
    }
}

impl Feed for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn grace(&self) -> u32 {
        0
    }

    fn past(&self, from: Time, until: Time) -> Vec<(Time, Cents)> {
        let quarters = self.bars.range(from.hour_floor().min(until)..=until).flat_map(|(hour, bar)| {
            let prices = [bar.open, bar.high, bar.low, bar.close];
            (0u32..).zip(prices).filter_map(|(quarter, price)| Some((hour.plus(quarter * HOUR / 4)?, price)))
        });
        quarters.filter(|(at, _)| (from..=until).contains(at)).collect()
    }

    fn poll(&mut self, frozen_until: Time, now: Time) -> anyhow::Result<News> {
        let mut news = News { spot: self.spot(now), ..News::default() };
        // An hour is news when it ends after what is final, and at or before now.
        let first = Time(frozen_until.0.saturating_sub(HOUR - 1)).hour_ceil().unwrap_or(frozen_until);
        for (hour, bar) in self.bars.range(first.min(now)..now) {
            if let Some(end) = hour.plus(HOUR).filter(|end| *end <= now && *end > frozen_until) {
                news.lows.insert(*hour, bar.low);
                news.fixings.insert(end, bar.close);
            }
        }
        Ok(news)
    }
}

/// The text of a file of bars.
///
/// # Errors
/// When it cannot be read, or is too large.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("read replay file {name}"))?.len();
    if size > LARGEST {
        bail!("replay file {name} has {size} bytes; at most {LARGEST} are read");
    }
    std::fs::read_to_string(path).with_context(|| format!("read replay file {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "unix,open,high,low,close\n\
        1584000000,7934.58,7966.17,7857.51,7900.0\n\
        1584003600,7900.0,7910.5,7800,7850.25\n\
        1584010800,7850.25,7860.00,7700.009,7710.1\n";

    #[test]
    fn an_hour_becomes_known_when_it_is_over_and_an_hour_without_a_bar_never_does() {
        let mut replay = Replay::parse(CSV).unwrap();
        let first = Time(1_584_000_000);
        let at = |seconds| Time(first.0 + seconds);
        assert!(replay.poll(Time(0), at(3_599)).unwrap().lows.is_empty());
        let news = replay.poll(Time(0), at(3_600)).unwrap();
        assert_eq!(news.lows, BTreeMap::from([(first, Cents(785_751))]));
        assert_eq!(news.fixings, BTreeMap::from([(at(3_600), Cents(790_000))]));
        assert_eq!(news.spot, Some(Cents(790_000)), "the next bar's open");
        let news = replay.poll(at(3_600), at(5 * HOUR)).unwrap();
        assert_eq!(news.lows, BTreeMap::from([(at(HOUR), Cents(780_000)), (at(3 * HOUR), Cents(770_000))]));
        assert_eq!(news.fixings.keys().copied().collect::<Vec<_>>(), [at(2 * HOUR), at(4 * HOUR)]);
        assert_eq!(news.spot, None, "the file has ended");
    }

    #[test]
    fn spot_moves_open_high_low_close_over_the_quarters() {
        let mut replay = Replay::parse(CSV).unwrap();
        let spots =
            [0, 899, 900, 1_800, 2_700, 3_599].map(|s| replay.poll(Time(0), Time(1_584_000_000 + s)).unwrap().spot);
        assert_eq!(spots, [793_458, 793_458, 796_617, 785_751, 790_000, 790_000].map(|c| Some(Cents(c))));
    }

    #[test]
    fn a_row_that_is_not_a_bar_is_named_with_its_line() {
        for (row, says) in [
            ("1584010801,1,1,1,1", "full hour"),
            ("1584003600,1,1,1,1", "after"),
            ("1584014400,1,1,1", "close is missing"),
            ("1584014400,1,1,1,1,1", "more than five"),
            ("1584014400,3,2,1,1", "between low and high"),
            ("1584014400,1,1,0,1", "$0.01"),
            ("1584014400,1,1e5,1,1", "7934.58"),
            ("1584014400,1,-1,1,1", "7934.58"),
            ("1584014400,1,99999999999999999999,1,1", "too large"),
        ] {
            let error = format!("{:#}", Replay::parse(&format!("{CSV}{row}\n")).unwrap_err());
            assert!(error.contains(says) && error.contains("line 5"), "{error}");
        }
        assert!(Replay::parse("").is_err() && Replay::parse("unix,open,high,low,close\n").is_err());
    }

    #[test]
    fn bars_that_are_not_of_an_hour_are_refused_for_their_close_lies_ahead() {
        let daily = "unix,open,high,low,close\n1583971200,7934,8000,4000,4800\n1584057600,4800,5900,4000,5600\n";
        let said = Replay::parse(daily).unwrap_err().to_string();
        assert!(said.contains("24 h long") && said.contains("backtest"), "{said}");
        assert!(Replay::parse(&daily.replace("1584057600", "1583974800")).is_ok());
    }
}
