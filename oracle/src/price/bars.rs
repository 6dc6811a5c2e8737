//! Bars of the past, from our own CSV and from other people's exports. Pure; whoever reads the file bounds it.
//!
//! | format | what it is |
//! |---|---|
//! | `own` | `unix,open,high,low,close`, seconds, ascending |
//! | `kraken` | Kraken's downloadable OHLCVT: no header, or `timestamp,open,…`; unix seconds, open, high, low, close, volume, trades; hours without a trade are missing |
//! | `binance` | Binance's klines: with or without a header; open time in milliseconds, since 2025 in microseconds, and eleven more |
//! | `coingecko` | CoinGecko's export: `snapped_at,price,market_cap,total_volume`; a price of a moment, so a bar lasts from one to the next |
//! | `cryptodatadownload` | CryptoDataDownload's: a line with their address, a header with `unix` or `Unix Timestamp`, seconds or milliseconds, the newest first |
//!
//! Where somebody else's has an hour twice, as CryptoDataDownload's do that were written within it, the bar that holds the
//! other one is taken.
//!
//! Only our own is taken as it stands, by the replay feed and by default; what else is recognised is named, with the way to
//! convert it.

use super::backtest::Bar;
use crate::foreign::clean_to;
use crate::units::{Cents, Time, HOUR};
use std::fmt;

/// The header of our own CSV.
pub const HEADER: &str = "unix,open,high,low,close";
/// Highest price believed, in cents: a hundred million dollars.
const HIGHEST: u64 = 10_000_000_000;
/// The first moment that would be 2106 in seconds; milliseconds and microseconds lie above.
const SECONDS_END: u64 = 1 << 32;
const MILLIS_END: u64 = SECONDS_END * 1_000;

/// Whose CSV it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// unix,open,high,low,close in seconds, the oldest first.
    #[default]
    Own,
    /// Kraken's downloadable OHLCVT.
    Kraken,
    /// Binance's klines.
    Binance,
    /// CoinGecko's export of prices.
    Coingecko,
    /// CryptoDataDownload's.
    Cryptodatadownload,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Own => "own",
            Format::Kraken => "kraken",
            Format::Binance => "binance",
            Format::Coingecko => "coingecko",
            Format::Cryptodatadownload => "cryptodatadownload",
        })
    }
}

/// Why a text holds no bars.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarsError {
    /// Written by a spreadsheet program.
    #[error("the file begins with a byte-order mark, and plain UTF-8 is right; `sed -i '1s/^\\xEF\\xBB\\xBF//' FILE` takes it away")]
    ByteOrderMark,
    /// Another first line.
    #[error("the first line must be {HEADER}, and it is {found:?}. {remedy}")]
    Header { found: String, remedy: String },
    /// A header that lacks a column.
    #[error("there is no column {column:?} in the header {found:?}; it needs {needed}")]
    Column { column: &'static str, found: String, needed: &'static str },
    /// The newest first.
    #[error("the rows run from the newest to the oldest, and the oldest comes first; `(head -n 1 FILE; tail -n +2 FILE | tac) > SORTED` turns them")]
    Descending,
    /// A row that is none.
    #[error("line {line}: {text:?}: {why}")]
    Row { line: usize, text: String, why: String },
    /// Nothing in it.
    #[error("the file holds no bar")]
    Empty,
}

/// The bars of a text, the oldest first, each on a full hour.
///
/// # Errors
/// Says what was expected, and how to come from what was found to that.
pub fn read(text: &str, format: Format) -> Result<Vec<Bar>, BarsError> {
    if text.starts_with('\u{feff}') {
        return Err(BarsError::ByteOrderMark);
    }
    let bars = match format {
        Format::Own => own(text)?,
        Format::Kraken => {
            let skip = usize::from(text.starts_with("timestamp,open,"));
            rows(text, skip, |fields| bar(fields, [0, 1, 2, 3, 4], 7))?
        }
        Format::Binance => {
            let skip = usize::from(text.starts_with("open_time"));
            rows(text, skip, |fields| bar(fields, [0, 1, 2, 3, 4], 11))?
        }
        Format::Coingecko => coingecko(text)?,
        Format::Cryptodatadownload => {
            let (skip, columns, symbol) = named(text)?;
            rows(text, skip, |fields| {
                bitcoins(symbol.and_then(|at| fields.get(at)).copied())?;
                bar(fields, columns, 0)
            })?
        }
    };
    match bars.is_empty() {
        true => Err(BarsError::Empty),
        false => ascending(bars, format),
    }
}

/// A bar as a line of our own CSV.
pub fn written(bar: &Bar) -> String {
    let price = |cents: Cents| format!("{}.{:02}", cents.0 / 100, cents.0 % 100);
    let Bar { at, open, high, low, close } = *bar;
    format!("{},{},{},{},{}", at.0, price(open), price(high), price(low), price(close))
}

/// A bar and its line.
type Numbered = (usize, Bar);

fn own(text: &str) -> Result<Vec<Numbered>, BarsError> {
    let head = text.lines().next().unwrap_or_default().trim();
    if head != HEADER {
        return Err(BarsError::Header { found: clean_to(head, 80), remedy: remedy(text, head) });
    }
    let exact = |fields: &[&str]| {
        if fields.len() > 5 {
            return Err("there are more than five fields".into());
        }
        if let Some(count) = fields.first().and_then(|unix| unix.parse::<u64>().ok()).filter(|n| *n >= SECONDS_END) {
            let (unit, per) = if count < MILLIS_END { ("milliseconds", 1_000) } else { ("microseconds", 1_000_000) };
            return Err(format!(
                "unix {count} is in {unit}, and seconds are right; \
                 `awk -F, -v OFS=, 'NR>1{{$1=int($1/{per})}}1' FILE` divides the first column"
            ));
        }
        bar(fields, [0, 1, 2, 3, 4], 0)
    };
    rows(text, 1, exact)
}

/// What to do about another first line.
fn remedy(text: &str, head: &str) -> String {
    if [';', '\t'].iter().any(|sign| head.contains(*sign)) {
        return "Columns are separated by commas".into();
    }
    match guess(text) {
        Some(format) => format!(
            "This looks like the format {format}: `hypothec-oracle backtest --format {format} --prices FILE --bars > \
             prices.csv` writes it as ours; backtest also reads it as it is"
        ),
        None if head.to_ascii_lowercase().starts_with("unix,") => "The columns are these five, in this order".into(),
        None => "Five columns: the bar's start in seconds since 1970, and four prices in dollars".into(),
    }
}

/// Whose export a text is, by its first lines.
fn guess(text: &str) -> Option<Format> {
    let mut lines = text.lines().map(|line| line.trim().to_ascii_lowercase());
    let (first, second) = (lines.next()?, lines.next().unwrap_or_default());
    let is_named = |line: &str| line.contains("open,high,low,close") && line.contains("symbol");
    if first.contains("cryptodatadownload") || is_named(&first) || is_named(&second) {
        return Some(Format::Cryptodatadownload);
    }
    if first.starts_with("snapped_at,price") {
        return Some(Format::Coingecko);
    }
    if first.starts_with("open_time,open,high,low,close") {
        return Some(Format::Binance);
    }
    if first.starts_with("timestamp,open,high,low,close,volume,trades") {
        return Some(Format::Kraken);
    }
    let numbers = first.split(',').filter(|field| field.parse::<f64>().is_ok()).count();
    match numbers {
        7 | 8 => Some(Format::Kraken),
        11.. => Some(Format::Binance),
        _ => None,
    }
}

/// Every row after `skip` lines; empty ones are passed over.
fn rows(text: &str, skip: usize, read: impl Fn(&[&str]) -> Result<Bar, String>) -> Result<Vec<Numbered>, BarsError> {
    let lines = text.lines().enumerate().skip(skip).filter(|(_, line)| !line.trim().is_empty());
    let row = |(index, line): (usize, &str)| {
        let fields: Vec<&str> = line.trim().split(',').collect();
        let wrong = |why| BarsError::Row { line: index + 1, text: clean_to(line, 80), why };
        read(&fields).map(|bar| (index + 1, bar)).map_err(wrong)
    };
    lines.map(row).collect()
}

/// A bar whose time and prices stand in these columns of at least so many.
fn bar(fields: &[&str], columns: [usize; 5], least: usize) -> Result<Bar, String> {
    if fields.len() < least {
        return Err(format!("there are {} fields, and at least {least} are right", fields.len()));
    }
    let [unix, open, high, low, close] = columns;
    let field = |at: usize, name: &str| fields.get(at).copied().ok_or_else(|| format!("{name} is missing"));
    let at = hour(moment(field(unix, "unix")?)?)?;
    let price = |at: usize, name: &str| cents(field(at, name)?).map_err(|why| format!("{name} is not a price: {why}"));
    let (open, high) = (price(open, "open")?, price(high, "high")?);
    let (low, close) = (price(low, "low")?, price(close, "close")?);
    let inside = low..=high;
    if !inside.contains(&open) || !inside.contains(&close) {
        return Err("open and close must lie between low and high".into());
    }
    Ok(Bar { at, open, high, low, close })
}

/// A moment in seconds, milliseconds or microseconds since 1970: their ranges do not meet before 2106.
fn moment(text: &str) -> Result<Time, String> {
    let whole = text.trim_end_matches(".0");
    let Ok(count) = whole.parse::<u64>() else {
        return Err(format!(
            "unix {text:?} is not a number of seconds since 1970; `date -u -d '2020-03-12 10:00' +%s` prints one"
        ));
    };
    let per = match count {
        0..SECONDS_END => 1,
        SECONDS_END..MILLIS_END => 1_000,
        _ => 1_000_000,
    };
    u32::try_from(count / per).map(Time).map_err(|_| format!("unix {text} is after 2106"))
}

fn hour(at: Time) -> Result<Time, String> {
    match at.0.is_multiple_of(HOUR) {
        true => Ok(at),
        false => Err(format!("unix {} is not a full hour; take bars of whole hours, the file of 60 minutes", at.0)),
    }
}

/// Lines to skip and the columns of time, open, high, low and close, by their names.
fn named(text: &str) -> Result<(usize, [usize; 5], Option<usize>), BarsError> {
    const NEEDED: &str = "unix (or Unix Timestamp), open, high, low and close";
    let lower = |line: &str| line.trim().to_ascii_lowercase();
    let head = text.lines().take(4).enumerate().find(|(_, line)| lower(line).contains("open,high,low,close"));
    let Some((index, line)) = head else {
        let found = clean_to(text.lines().next().unwrap_or_default(), 80);
        return Err(BarsError::Column { column: "open", found, needed: NEEDED });
    };
    let names: Vec<String> = lower(line).split(',').map(|name| name.trim().to_owned()).collect();
    let column = |column: &'static str, spelled: &[&str]| {
        let found = names.iter().position(|name| spelled.contains(&name.as_str()));
        found.ok_or_else(|| BarsError::Column { column, found: clean_to(line, 80), needed: NEEDED })
    };
    let columns = [
        column("unix", &["unix", "unix timestamp"])?,
        column("open", &["open"])?,
        column("high", &["high"])?,
        column("low", &["low"])?,
        column("close", &["close"])?,
    ];
    Ok((index + 1, columns, names.iter().position(|name| name == "symbol")))
}

/// Is it a price of bitcoin in dollars, where the row says what of?
fn bitcoins(symbol: Option<&str>) -> Result<(), String> {
    let Some(said) = symbol else { return Ok(()) };
    let letters: String = said.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let quote = letters.strip_prefix("BTC").or_else(|| letters.strip_prefix("XBT"));
    match quote.is_some_and(|quote| quote.starts_with("USD")) {
        true => Ok(()),
        false => Err(format!("it is of {}, and prices of BTC/USD are right", clean_to(said, 20))),
    }
}

/// Prices of moments: a bar lasts from one to the next, where the next is as near as any two are.
fn coingecko(text: &str) -> Result<Vec<Numbered>, BarsError> {
    const NEEDED: &str = "snapped_at and price";
    let head = text.lines().next().unwrap_or_default();
    if !head.to_ascii_lowercase().starts_with("snapped_at,price") {
        return Err(BarsError::Column { column: "snapped_at", found: clean_to(head, 80), needed: NEEDED });
    }
    let last = text.lines().filter(|line| !line.trim().is_empty()).count();
    let moment = |fields: &[&str]| {
        let [at, price, ..] = fields else { return Err("price is missing".to_owned()) };
        let spelled = at.trim().trim_end_matches(" UTC").replacen(' ', "T", 1) + "Z";
        let read = super::decimal::rfc3339_floor(&spelled);
        let at = read.map_err(|_| format!("snapped_at {at:?} is not a moment such as 2013-04-28 00:00:00 UTC"))?;
        let price = cents(price).map_err(|why| format!("price is not a price: {why}"))?;
        Ok(Bar { at, open: price, high: price, low: price, close: price })
    };
    let mut moments = rows(text, 1, moment)?;
    // The newest row of an export is of the moment it was made.
    moments.retain(|(line, one)| *line < last || one.at.0.is_multiple_of(HOUR));
    for (line, one) in &moments {
        let wrong = |why| BarsError::Row { line: *line, text: one.at.to_string(), why };
        hour(one.at).map_err(wrong)?;
    }
    let pairs = || moments.iter().zip(moments.iter().skip(1));
    let step = pairs().map(|((_, one), (_, next))| next.at.0.abs_diff(one.at.0)).min().unwrap_or(HOUR);
    let lasting = |((_, one), (line, next)): (&Numbered, &Numbered)| {
        let (low, high) = (one.open.min(next.open), one.open.max(next.open));
        let bar = Bar { at: one.at, open: one.open, high, low, close: next.open };
        (next.at.0.checked_sub(one.at.0) == Some(step)).then_some((*line, bar))
    };
    Ok(pairs().filter_map(lasting).collect())
}

/// The bars in their order, or the sentence about it. Other people's are turned where they run backwards.
fn ascending(mut bars: Vec<Numbered>, format: Format) -> Result<Vec<Bar>, BarsError> {
    let is_turned = |bars: &[Numbered]| bars.iter().zip(bars.iter().skip(1)).all(|((_, a), (_, b))| a.at >= b.at);
    let falls = bars.first().zip(bars.last()).is_some_and(|((_, a), (_, b))| a.at > b.at) && is_turned(&bars);
    match format {
        Format::Own if falls => return Err(BarsError::Descending),
        Format::Own => {}
        _ => {
            if falls {
                bars.reverse();
            }
            bars = once(bars);
        }
    }
    for ((_, before), (line, bar)) in bars.iter().zip(bars.iter().skip(1)) {
        if bar.at == before.at && format != Format::Own {
            let why = format!("{} has two bars, and neither holds the other; take one away", bar.at.0);
            return Err(BarsError::Row { line: *line, text: bar.at.to_string(), why });
        }
        if bar.at <= before.at {
            let why = format!("{} does not come after the line before", bar.at.0);
            return Err(BarsError::Row { line: *line, text: bar.at.to_string(), why });
        }
    }
    Ok(bars.into_iter().map(|(_, bar)| bar).collect())
}

/// Of two bars of one hour, where one was written before the hour's end, the whole one.
fn once(bars: Vec<Numbered>) -> Vec<Numbered> {
    let mut kept: Vec<Numbered> = Vec::with_capacity(bars.len());
    for one in bars {
        match kept.last_mut() {
            Some(last) if last.1.at == one.1.at && holds(&one.1, &last.1) => *last = one,
            Some(last) if last.1.at == one.1.at && holds(&last.1, &one.1) => {}
            _ => kept.push(one),
        }
    }
    kept
}

/// Does the first bar hold the second, which began with it?
fn holds(whole: &Bar, part: &Bar) -> bool {
    whole.open == part.open && whole.low <= part.low && whole.high >= part.high
}

/// Dollars as decimal text, in whole cents; what is below a cent is dropped.
fn cents(text: &str) -> Result<Cents, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return Err(format!("{:?} is not dollars such as 7934.58", clean_to(text, 40)));
    }
    let hundredths: String = part.chars().chain("00".chars()).take(2).collect();
    let dollars: u64 = whole.parse().map_err(|_| format!("{:?} is too large", clean_to(text, 40)))?;
    let cents = dollars.checked_mul(100).and_then(|cents| cents.checked_add(hundredths.parse().ok()?));
    match cents {
        Some(cents @ 1..=HIGHEST) => Ok(Cents(cents)),
        _ => Err(format!("{text:?} is not between $0.01 and $100,000,000")),
    }
}

#[cfg(test)]
mod tests;
