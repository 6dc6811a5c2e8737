//! Bitfinex. An array: bid, size, ask, size, change, relative change, last, volume, high, low; since 2026 also the time
//! of the pair's first trade. There is no time of the quote in it.
//!
//! The last trade may be of any age, so the middle of bid and ask is taken; that they stand still is noticed by the
//! reckoner.

use super::{mid_floor, Quote, QuoteError, Reading, Venue};
use crate::price::decimal::{shortened, Price};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub(super) const BASE: &str = "https://api-pub.bitfinex.com";
pub(super) const PATHS: [&str; 1] = ["/v2/ticker/tBTCUSD"];
/// Where bid, ask and the last trade's price stand, and how many fields there have always been.
const BID: usize = 0;
const ASK: usize = 2;
const LAST: usize = 6;
const FIELDS: usize = 10;

type Any = IgnoredAny;
type TenFields = (Price, Any, Price, Any, Any, Any, Price, Any, Any, Any);

pub(super) fn quote(text: &str, reading: Reading) -> Result<Quote, QuoteError> {
    if let Ok(("error", _, said)) = serde_json::from_str::<(&str, Any, &str)>(text) {
        return Err(QuoteError::Said { venue: Venue::Bitfinex, said: shortened(said) });
    }
    let (bid, ask) = match reading {
        Reading::First => {
            let (bid, _, ask, ..): TenFields = Venue::Bitfinex.read(text)?;
            (bid.0, ask.0)
        }
        Reading::Second => {
            let fields: Vec<Box<RawValue>> = Venue::Bitfinex.read(text)?;
            if fields.len() < FIELDS {
                let why = format!("it has {} fields, and {FIELDS} or more are right", fields.len());
                return Err(Venue::Bitfinex.shape(why, text));
            }
            let price = |position| Venue::Bitfinex.field::<Price>(&fields, position);
            // Not used, but a ticker of a pair has a price there; one of a loan does not.
            price(LAST)?;
            (price(BID)?.0, price(ASK)?.0)
        }
    };
    Ok(Quote { price: mid_floor(bid, ask), bid, ask, at: None })
}
