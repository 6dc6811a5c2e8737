//! Bitfinex. An array without a time: bid, size, ask, size, change, relative change, last, volume, high, low.
//!
//! The last trade may be of any age, so the middle of bid and ask is taken; that they stand still is noticed by the
//! reckoner.

use super::{mid_floor, Quote, QuoteError, Venue};
use crate::price::decimal::{shortened, Price};
use serde::de::IgnoredAny;

pub(super) const BASE: &str = "https://api-pub.bitfinex.com";
pub(super) const PATHS: [&str; 1] = ["/v2/ticker/tBTCUSD"];

type Any = IgnoredAny;
type Ticker = (Price, Any, Price, Any, Any, Any, Price, Any, Any, Any);

pub(super) fn quote(text: &str) -> Result<Quote, QuoteError> {
    if let Ok(("error", _, said)) = serde_json::from_str::<(&str, Any, &str)>(text) {
        return Err(QuoteError::Said { venue: Venue::Bitfinex, said: shortened(said) });
    }
    let (bid, _, ask, ..): Ticker = Venue::Bitfinex.read(text)?;
    Ok(Quote { price: mid_floor(bid.0, ask.0), bid: bid.0, ask: ask.0, at: None })
}
