//! Gemini. Its last trade can be forty minutes old under a fresh ticker, so the middle of bid and ask is taken.
//!
//! The ticker's one time ends the window of its volume, on a whole minute or five: the quote beside it is newer. So the
//! quote is as of its receipt; that it stands still is noticed by the reckoner.

use super::{mid_floor, Quote, QuoteError, Reading, Venue};
use crate::price::decimal::{Millis, Price};
use serde::de::IgnoredAny;
use serde::Deserialize;
use serde_json::value::RawValue;

pub(super) const BASE: &str = "https://api.gemini.com";
pub(super) const PATHS: [&str; 1] = ["/v1/pubticker/btcusd"];

#[derive(Deserialize)]
struct Ticker<'a> {
    bid: Price,
    ask: Price,
    #[serde(borrow)]
    volume: Volume<'a>,
}

/// Named after the pair's two currencies.
#[derive(Deserialize)]
struct Volume<'a> {
    #[serde(rename = "BTC")]
    btc: Option<IgnoredAny>,
    #[serde(rename = "USD")]
    usd: Option<IgnoredAny>,
    /// The end of the window, milliseconds.
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

pub(super) fn quote(text: &str, reading: Reading) -> Result<Quote, QuoteError> {
    let ticker: Ticker = Venue::Gemini.read(text)?;
    if ticker.volume.btc.is_none() || ticker.volume.usd.is_none() {
        return Err(QuoteError::Pair { venue: Venue::Gemini, found: "a volume without BTC and USD".to_string() });
    }
    let at = match (reading, ticker.volume.timestamp) {
        (Reading::Second, _) => None,
        (Reading::First, Some(end)) => Some(Venue::Gemini.read::<Millis>(end.get())?.0),
        (Reading::First, None) => return Err(Venue::Gemini.shape("missing field `timestamp`", text)),
    };
    let (bid, ask) = (ticker.bid.0, ticker.ask.0);
    Ok(Quote { price: mid_floor(bid, ask), bid, ask, at })
}
