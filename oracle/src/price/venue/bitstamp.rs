//! Bitstamp. The ticker's time is its own, in seconds.

use super::{Quote, QuoteError, Venue};
use crate::price::decimal::{shortened, Price, Seconds};
use serde::Deserialize;

pub(super) const BASE: &str = "https://www.bitstamp.net";
pub(super) const PATHS: [&str; 1] = ["/api/v2/ticker/btcusd/"];

#[derive(Deserialize)]
struct Ticker {
    last: Price,
    bid: Price,
    ask: Price,
    timestamp: Seconds,
    /// Some of its tickers name their pair.
    pair: Option<String>,
}

pub(super) fn quote(text: &str) -> Result<Quote, QuoteError> {
    let ticker: Ticker = Venue::Bitstamp.read(text)?;
    if let Some(found) = ticker.pair.filter(|pair| pair != "BTC/USD") {
        return Err(QuoteError::Pair { venue: Venue::Bitstamp, found: shortened(&found) });
    }
    Ok(Quote { price: ticker.last.0, bid: ticker.bid.0, ask: ticker.ask.0, at: Some(ticker.timestamp.0) })
}
