//! Kraken. The ticker has bid and ask but no time, so the last trade gives price and time.
//!
//! A side is price, whole lots, lots. A trade is price, volume, time, side, type, miscellany, and since 2022 its number.

use super::{Quote, QuoteError, Reading, Venue};
use crate::price::decimal::{shortened, Price, Seconds};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(super) const BASE: &str = "https://api.kraken.com";
pub(super) const PATHS: [&str; 2] = ["/0/public/Ticker?pair=XBTUSD", "/0/public/Trades?pair=XBTUSD"];
/// What Kraken calls the pair in its answers.
const PAIR: &str = "XXBTZUSD";
/// Where the price stands in a side and in a trade, and the time in a trade.
const PRICE: usize = 0;
const TIME: usize = 2;

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
    // A warning (`WGeneral:...`) may stand beside a good answer; what begins with anything else is an error.
    let error = answer.error.iter().find(|said| !said.starts_with('W'));
    let said = error.or(answer.error.first().filter(|_| answer.result.is_empty()));
    if let Some(said) = said {
        return Err(QuoteError::Said { venue: Venue::Kraken, said: shortened(said) });
    }
    let found = || answer.result.keys().next().map(|name| shortened(name)).unwrap_or_default();
    let found = answer.result.get(PAIR).ok_or_else(|| QuoteError::Pair { venue: Venue::Kraken, found: found() })?;
    Ok(found.get())
}

pub(super) fn quote(text: &str, reading: Reading) -> Result<Quote, QuoteError> {
    let excerpt: Excerpt = Venue::Kraken.read(text)?;
    match reading {
        Reading::First => first(&excerpt),
        Reading::Second => {
            let fields = |side: &'_ RawValue| Venue::Kraken.read::<Vec<Box<RawValue>>>(side.get());
            let (ask, bid, trade) = (fields(excerpt.ticker.a)?, fields(excerpt.ticker.b)?, fields(excerpt.trade)?);
            let price = |fields: &[Box<RawValue>]| Venue::Kraken.field::<Price>(fields, PRICE);
            let at = Venue::Kraken.field::<Seconds>(&trade, TIME)?;
            Ok(Quote { price: price(&trade)?.0, bid: price(&bid)?.0, ask: price(&ask)?.0, at: Some(at.0) })
        }
    }
}

/// With exactly the fields of 2023.
fn first(excerpt: &Excerpt) -> Result<Quote, QuoteError> {
    type Side = (Price, IgnoredAny, IgnoredAny);
    type Trade = (Price, IgnoredAny, Seconds, IgnoredAny, IgnoredAny, IgnoredAny, IgnoredAny);
    let (ask, ..): Side = Venue::Kraken.read(excerpt.ticker.a.get())?;
    let (bid, ..): Side = Venue::Kraken.read(excerpt.ticker.b.get())?;
    let (price, _, at, ..): Trade = Venue::Kraken.read(excerpt.trade.get())?;
    Ok(Quote { price: price.0, bid: bid.0, ask: ask.0, at: Some(at.0) })
}
