//! The prices the stories are played on, and what they will do to a quote's levels.
//!
//! Pure: text in, facts out. The oracle reads the same rows by itself; nothing here tells a node anything.

use crate::node::view::LevelView;
use anyhow::{bail, Context};
use hypothec_oracle::event::Event;
use hypothec_oracle::units::{Cents, Time, HOUR};
use std::collections::BTreeMap;

/// Real hourly bars of March 2020: `unix,open,high,low,close` in dollars per bitcoin.
pub const MARCH_2020: &str = include_str!("prices-2020-03.csv");
/// The month after: the fallback comes then, and whoever keeps the demo running goes on from there.
const APRIL_2020: &str = include_str!("prices-2020-04.csv");

/// One hour, cents per bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// The first price of the hour.
    pub open: Cents,
    /// The highest.
    pub high: Cents,
    /// The lowest.
    pub low: Cents,
    /// The last.
    pub close: Cents,
}

/// Bars by the start of their hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices(BTreeMap<Time, Bar>);

/// An hour whose low is at or below the level that counts then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The start of the hour.
    pub hour: Time,
    /// Its low.
    pub low: Cents,
    /// The level, dollars per bitcoin.
    pub level: u32,
}

impl Prices {
    /// Reads CSV with the header `unix,open,high,low,close`.
    ///
    /// # Errors
    /// Names the line that is not a bar.
    pub fn parse(text: &str) -> anyhow::Result<Prices> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, head)| head.trim()) != Some("unix,open,high,low,close") {
            bail!("the price file's first line must be unix,open,high,low,close");
        }
        let rows = lines.map(|(index, line)| row(line).with_context(|| format!("price file, line {}", index + 1)));
        Ok(Prices(rows.collect::<anyhow::Result<_>>()?))
    }

    /// The real prices from 8 March to the end of April 2020.
    ///
    /// # Errors
    /// Never, with the rows that the program carries.
    pub fn real() -> anyhow::Result<Prices> {
        let mut prices = Prices::parse(MARCH_2020)?;
        prices.0.extend(Prices::parse(APRIL_2020)?.0);
        Ok(prices)
    }

    /// Flat bars of one price for `hours` hours from `from`: a market in which nothing happens.
    pub fn flat(from: Time, hours: u32, price: Cents) -> Prices {
        let bar = Bar { open: price, high: price, low: price, close: price };
        let from = from.hour_floor();
        Prices((0..hours).filter_map(|hour| Some((from.plus(hour.checked_mul(HOUR)?)?, bar))).collect())
    }

    /// The same prices with the hour that begins at `hour` falling to `low` and closing there, and all later hours
    /// standing there.
    pub fn falling(mut self, hour: Time, low: Cents) -> Prices {
        for (_, bar) in self.0.range_mut(hour..) {
            let open = if bar.open < low { low } else { bar.open };
            *bar = Bar { open, high: open, low, close: low };
        }
        let later = hour.plus(HOUR).unwrap_or(hour);
        for (_, bar) in self.0.range_mut(later..) {
            *bar = Bar { open: low, high: low, low, close: low };
        }
        self
    }

    /// The same prices, followed by `others`: where both have a bar, theirs counts.
    pub fn then(mut self, others: Prices) -> Prices {
        self.0.extend(others.0);
        self
    }

    /// CSV again.
    pub fn to_csv(&self) -> String {
        let dollars = |cents: Cents| format!("{}.{:02}", cents.0 / 100, cents.0 % 100);
        let rows = self.0.iter().map(|(at, bar)| {
            let [open, high, low, close] = [bar.open, bar.high, bar.low, bar.close].map(dollars);
            format!("{},{open},{high},{low},{close}\n", at.0)
        });
        std::iter::once("unix,open,high,low,close\n".to_string()).chain(rows).collect()
    }

    /// The bar of the hour that `at` lies in.
    pub fn bar(&self, at: Time) -> Option<Bar> {
        self.0.get(&at.hour_floor()).copied()
    }

    /// What the oracle fixes at `at`, a full hour: the close of the hour that ends there.
    pub fn fixing(&self, at: Time) -> Option<Cents> {
        self.0.get(&Time(at.0.checked_sub(HOUR)?)).map(|bar| bar.close)
    }

    /// The first hour before `end` that touches one of a quote's levels.
    ///
    /// A quote names some days' levels. `between` says what counts on a day between two of them: levels rise from day
    /// to day, so the day before gives the least that counts and the day after the most.
    pub fn first_touch(&self, levels: &[LevelView], between: Between, end: Time) -> Option<Touch> {
        let spans = Span::of(levels);
        self.0.range(..end).find_map(|(hour, bar)| {
            let level = Span::level(&spans, *hour, between)?;
            let touched = bar.low <= Cents(u64::from(level) * 100);
            touched.then_some(Touch { hour: *hour, low: bar.low, level })
        })
    }
}

/// Which named level counts on a day the quote does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// The day before: a touch found so happens for certain.
    Least,
    /// The day after: when none is found, none happens.
    Most,
}

/// A named level and the first hour it counts from.
struct Span {
    from: Time,
    end: Time,
    level: u32,
}

impl Span {
    fn of(levels: &[LevelView]) -> Vec<Span> {
        let span = |view: &LevelView| {
            let event = Event::parse(&view.event)?;
            let Event::Touch { day, .. } = event else { return None };
            Some(Span { from: event.touch_from()?, end: day.end()?, level: view.level })
        };
        let mut spans: Vec<Span> = levels.iter().filter_map(span).collect();
        spans.sort_by_key(|span| span.from);
        spans
    }

    fn level(spans: &[Span], hour: Time, between: Between) -> Option<u32> {
        let before = spans.iter().rev().find(|span| span.from <= hour)?;
        let after = spans.iter().find(|span| hour < span.end)?;
        Some(match between {
            Between::Least => before.level,
            Between::Most => after.level,
        })
    }
}

fn row(line: &str) -> anyhow::Result<(Time, Bar)> {
    let mut fields = line.trim().split(',');
    let mut field = || fields.next().context("a field is missing");
    let at = Time(field()?.parse().context("unix is not a number of seconds")?);
    let [open, high, low, close] = [cents(field()?)?, cents(field()?)?, cents(field()?)?, cents(field()?)?];
    Ok((at, Bar { open, high, low, close }))
}

/// Dollars as decimal text; what is below a cent is dropped.
fn cents(text: &str) -> anyhow::Result<Cents> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let hundredths: String = part.chars().chain("00".chars()).take(2).collect();
    let read = || whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths.parse().ok()?);
    read().map(Cents).with_context(|| format!("{text:?} is not dollars such as 7934.58"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypothec_oracle::ladder::Level;
    use hypothec_oracle::units::{Day, DAY};

    const NOON: Time = Time(18_334 * DAY + 12 * HOUR);

    fn level(day: u32, from_hour: u8, dollars: u32) -> LevelView {
        let event = Event::Touch { level: Level::exactly(dollars).unwrap(), day: Day(day), from_hour };
        LevelView {
            day: Day(day).to_string(),
            level: dollars,
            owed_cents: 0,
            borrower_sats: 0,
            lender_sats: 0,
            event: event.to_string(),
        }
    }

    #[test]
    fn the_rows_carried_begin_on_8_march_and_have_no_gap_until_may() {
        let prices = Prices::real().unwrap();
        let hours: Vec<Time> = prices.0.keys().copied().collect();
        assert!(hours.windows(2).all(|pair| pair[1].since(pair[0]) == HOUR));
        assert_eq!(hours[0].to_string(), "2020-03-08T00:00:00Z");
        assert_eq!(hours.last().unwrap().to_string(), "2020-04-30T23:00:00Z");
        assert_eq!(Prices::parse(&prices.to_csv()).unwrap(), prices);
    }

    #[test]
    fn a_touch_before_the_first_hour_that_counts_is_none() {
        let prices = Prices::flat(Time(NOON.0 - 5 * HOUR), 48, Cents(500_000));
        let touch = prices.first_touch(&[level(18_334, 12, 5_000)], Between::Least, Time(u32::MAX)).unwrap();
        assert_eq!((touch.hour, touch.level), (NOON, 5_000));
        assert_eq!(prices.first_touch(&[level(18_334, 12, 4_990)], Between::Most, Time(u32::MAX)), None);
        assert_eq!(prices.first_touch(&[level(18_334, 12, 5_000)], Between::Least, NOON), None);
    }

    #[test]
    fn a_day_between_two_named_days_lies_between_their_levels() {
        let levels = [level(18_334, 0, 5_000), level(18_337, 0, 5_050)];
        let day = |n: u32| Time((18_334 + n) * DAY);
        let prices = Prices::flat(day(0), 96, Cents(600_000)).falling(day(1), Cents(502_000));
        let end = Time(u32::MAX);
        assert_eq!(prices.first_touch(&levels, Between::Most, end).unwrap().hour, day(1));
        assert_eq!(prices.first_touch(&levels, Between::Least, end).unwrap().hour, day(3));
        assert_eq!(prices.first_touch(&levels, Between::Most, day(1)), None);
    }

    #[test]
    fn a_fall_stays_where_it_fell() {
        let prices = Prices::flat(NOON, 4, Cents(600_000)).falling(Time(NOON.0 + HOUR), Cents(400_000));
        assert_eq!(prices.bar(NOON).unwrap().close, Cents(600_000));
        assert_eq!(prices.bar(Time(NOON.0 + HOUR)).unwrap().open, Cents(600_000));
        assert_eq!(prices.bar(Time(NOON.0 + HOUR)).unwrap().low, Cents(400_000));
        assert_eq!(prices.bar(Time(NOON.0 + 3 * HOUR)).unwrap().open, Cents(400_000));
        assert_eq!(prices.fixing(Time(NOON.0 + HOUR)), Some(Cents(600_000)));
    }

    #[test]
    fn a_row_that_is_not_a_bar_is_named_by_its_line() {
        let error = format!("{:#}", Prices::parse("unix,open,high,low,close\n1,2,3\n").unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}
