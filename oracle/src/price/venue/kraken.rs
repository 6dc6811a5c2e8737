//! Kraken. The ticker has bid and ask but no time, so the last trade gives price and time.

use super::{Quote, QuoteError, Venue};
use crate::price::decimal::{shortened, Price, Seconds};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(super) const BASE: &str = "https://api.kraken.com";
pub(super) const PATHS: [&str; 2] = ["/0/public/Ticker?pair=XBTUSD", "/0/public/Trades?pair=XBTUSD"];
/// What Kraken calls the pair in its answers.
const PAIR: &str = "XXBTZUSD";

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    error: Vec<String>,
    #[serde(borrow, default)]
    result: BTreeMap<String, &'a RawValue>,
}

/// Ask and bid: price, whole lots, lots.
#[derive(Serialize, Deserialize)]
struct Ticker<'a> {
    #[serde(borrow)]
    a: &'a RawValue,
    #[serde(borrow)]
    b: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Excerpt<'a> {
    #[serde(borrow)]
    ticker: Ticker<'a>,
    #[serde(borrow)]
    trade: &'a RawValue,
}

/// The pair's ask and bid, and its last trade: a thousand come.
pub(super) fn excerpt(ticker: &str, trades: &str) -> Result<String, QuoteError> {
    let ticker: Ticker = Venue::Kraken.read(of_pair(ticker)?)?;
    let trades: Vec<&RawValue> = Venue::Kraken.read(of_pair(trades)?)?;
    let trade = trades.last().ok_or_else(|| Venue::Kraken.shape("there is no trade", ""))?;
    serde_json::to_string(&Excerpt { ticker, trade }).map_err(|error| Venue::Kraken.shape(error, ""))
}

fn of_pair(text: &str) -> Result<&str, QuoteError> {
    let answer: Answer = Venue::Kraken.read(text)?;
    if let Some(said) = answer.error.first() {
        return Err(QuoteError::Said { venue: Venue::Kraken, said: shortened(said) });
    }
    let found = || answer.result.keys().next().map(|name| shortened(name)).unwrap_or_default();
    let found = answer.result.get(PAIR).ok_or_else(|| QuoteError::Pair { venue: Venue::Kraken, found: found() })?;
    Ok(found.get())
}

pub(super) fn quote(text: &str) -> Result<Quote, QuoteError> {
    type Side = (Price, IgnoredAny, IgnoredAny);
    type Trade = (Price, IgnoredAny, Seconds, IgnoredAny, IgnoredAny, IgnoredAny, IgnoredAny);
    let excerpt: Excerpt = Venue::Kraken.read(text)?;
    let (ask, ..): Side = Venue::Kraken.read(excerpt.ticker.a.get())?;
    let (bid, ..): Side = Venue::Kraken.read(excerpt.ticker.b.get())?;
    let (price, _, at, ..): Trade = Venue::Kraken.read(excerpt.trade.get())?;
    Ok(Quote { price: price.0, bid: bid.0, ask: ask.0, at: Some(at.0) })
}
