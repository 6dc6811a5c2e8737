//! Coinbase Exchange. The ticker is the last trade with its time, and the book's best bid and ask.

use super::{Quote, QuoteError, Venue};
use crate::price::decimal::{rfc3339_floor, Price};
use serde::Deserialize;

pub(super) const BASE: &str = "https://api.exchange.coinbase.com";
pub(super) const PATHS: [&str; 1] = ["/products/BTC-USD/ticker"];

#[derive(Deserialize)]
struct Ticker {
    price: Price,
    bid: Price,
    ask: Price,
    time: String,
}

pub(super) fn quote(text: &str) -> Result<Quote, QuoteError> {
    let ticker: Ticker = Venue::Coinbase.read(text)?;
    let at = rfc3339_floor(&ticker.time).map_err(|error| Venue::Coinbase.shape(error, text))?;
    Ok(Quote { price: ticker.price.0, bid: ticker.bid.0, ask: ticker.ask.0, at: Some(at) })
}
