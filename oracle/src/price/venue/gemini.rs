//! Gemini. Its last trade can be forty minutes old under a fresh ticker, so the middle of bid and ask is taken.

use super::{mid_floor, Quote, QuoteError, Venue};
use crate::price::decimal::{Millis, Price};
use serde::de::IgnoredAny;
use serde::Deserialize;

pub(super) const BASE: &str = "https://api.gemini.com";
pub(super) const PATHS: [&str; 1] = ["/v1/pubticker/btcusd"];

#[derive(Deserialize)]
struct Ticker {
    bid: Price,
    ask: Price,
    volume: Volume,
}

/// Named after the pair's two currencies.
#[derive(Deserialize)]
struct Volume {
    #[serde(rename = "BTC")]
    btc: Option<IgnoredAny>,
    #[serde(rename = "USD")]
    usd: Option<IgnoredAny>,
    timestamp: Millis,
}

pub(super) fn quote(text: &str) -> Result<Quote, QuoteError> {
    let ticker: Ticker = Venue::Gemini.read(text)?;
    if ticker.volume.btc.is_none() || ticker.volume.usd.is_none() {
        return Err(QuoteError::Pair { venue: Venue::Gemini, found: "a volume without BTC and USD".to_string() });
    }
    let (bid, ask) = (ticker.bid.0, ticker.ask.0);
    Ok(Quote { price: mid_floor(bid, ask), bid, ask, at: Some(ticker.volume.timestamp.0) })
}
