//! Venues: one small file each that names its URLs and turns JSON bytes into a quote.
//!
//! Pure, so that an auditor reads a venue's bytes exactly as the oracle did. Fetching is the daemon's part. A new venue
//! is one more file and one more line in [`Venue`]'s tables.

use super::decimal::shortened;
use crate::units::{Cents, Time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

mod bitfinex;
mod bitstamp;
mod coinbase;
mod gemini;
mod kraken;
mod reading;

pub use reading::{NoReading, Reading};

/// Most bytes of a venue's answer that are kept and logged.
pub const LONGEST_RAW: usize = 2_048;

/// A USD market for bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Venue {
    /// Last trade, with its time.
    Kraken,
    /// Last trade, with its time.
    Coinbase,
    /// Last trade, under the ticker's time.
    Bitstamp,
    /// Middle of bid and ask; no time.
    Bitfinex,
    /// Middle of bid and ask; no time of the quote.
    Gemini,
}

/// What a venue says about the price of a bitcoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The price that goes into the median, cents.
    pub price: Cents,
    /// Best bid, cents.
    pub bid: Cents,
    /// Best ask, cents.
    pub ask: Cents,
    /// The venue's own time of it, if it says one.
    pub at: Option<Time>,
}

/// Why an answer is no quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Not the JSON this venue answers.
    #[error("{venue} did not answer its usual JSON: {why}; it began {began:?}")]
    Shape { venue: Venue, why: String, began: String },
    /// The answer is about something else.
    #[error("{venue} answered about {found:?}, asked was bitcoin in US dollars")]
    Pair { venue: Venue, found: String },
    /// The venue says that something is wrong.
    #[error("{venue} says: {said}")]
    Said { venue: Venue, said: String },
    /// The answer has too few parts, or one that is too long to be logged.
    #[error("{venue}'s answer has {bytes} bytes; at most {LONGEST_RAW} are kept")]
    Long { venue: Venue, bytes: usize },
}

impl Venue {
    /// All that this version knows.
    pub const ALL: [Venue; 5] = [Venue::Kraken, Venue::Coinbase, Venue::Bitstamp, Venue::Bitfinex, Venue::Gemini];

    /// Its name in policies, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Venue::Kraken => "kraken",
            Venue::Coinbase => "coinbase",
            Venue::Bitstamp => "bitstamp",
            Venue::Bitfinex => "bitfinex",
            Venue::Gemini => "gemini",
        }
    }

    /// The venue of a name.
    pub fn named(name: &str) -> Option<Venue> {
        Venue::ALL.into_iter().find(|venue| venue.name() == name)
    }

    /// Do its quotes carry its own time, as they are read?
    pub fn tells_time(self, reading: Reading) -> bool {
        match self {
            Venue::Kraken | Venue::Coinbase | Venue::Bitstamp => true,
            Venue::Bitfinex => false,
            Venue::Gemini => reading == Reading::First,
        }
    }

    /// Where it answers, without the path.
    pub fn base(self) -> &'static str {
        match self {
            Venue::Kraken => kraken::BASE,
            Venue::Coinbase => coinbase::BASE,
            Venue::Bitstamp => bitstamp::BASE,
            Venue::Bitfinex => bitfinex::BASE,
            Venue::Gemini => gemini::BASE,
        }
    }

    /// The paths to ask, in the order in which [`Venue::excerpt`] wants the answers.
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Venue::Kraken => &kraken::PATHS,
            Venue::Coinbase => &coinbase::PATHS,
            Venue::Bitstamp => &bitstamp::PATHS,
            Venue::Bitfinex => &bitfinex::PATHS,
            Venue::Gemini => &gemini::PATHS,
        }
    }

    /// The bytes of its answers that a quote is read from: what is logged. For most the answer itself.
    ///
    /// # Errors
    /// When the answers are not text of this venue, or too long to be logged.
    pub fn excerpt(self, answers: &[Vec<u8>]) -> Result<String, QuoteError> {
        let mut texts = Vec::with_capacity(answers.len());
        for answer in answers {
            let text = std::str::from_utf8(answer).map_err(|_| self.shape("it is not text", ""))?;
            texts.push(text.trim());
        }
        let excerpt = match (self, texts.as_slice()) {
            (Venue::Kraken, [ticker, trades]) => kraken::excerpt(ticker, trades)?,
            (Venue::Kraken, _) => return Err(self.shape("it takes two answers, ticker and trades", "")),
            (_, [one]) => (*one).to_string(),
            _ => return Err(self.shape("it takes one answer", "")),
        };
        match excerpt.len() {
            0..=LONGEST_RAW => Ok(excerpt),
            bytes => match self.quote(&excerpt, Reading::Second) {
                Err(error) => Err(error),
                Ok(_) => Err(QuoteError::Long { venue: self, bytes }),
            },
        }
    }

    /// The quote in an excerpt, as a policy reads it.
    ///
    /// # Errors
    /// When it is not what this venue answers about bitcoin in US dollars.
    pub fn quote(self, excerpt: &str, reading: Reading) -> Result<Quote, QuoteError> {
        match self {
            Venue::Kraken => kraken::quote(excerpt, reading),
            Venue::Coinbase => coinbase::quote(excerpt),
            Venue::Bitstamp => bitstamp::quote(excerpt),
            Venue::Bitfinex => bitfinex::quote(excerpt, reading),
            Venue::Gemini => gemini::quote(excerpt, reading),
        }
    }

    fn shape(self, why: impl fmt::Display, text: &str) -> QuoteError {
        QuoteError::Shape { venue: self, why: shortened(&why.to_string()), began: shortened(text) }
    }

    /// Reads JSON; the error shows how the text begins.
    fn read<'a, T: Deserialize<'a>>(self, text: &'a str) -> Result<T, QuoteError> {
        serde_json::from_str(text).map_err(|error| self.shape(error, text))
    }

    /// A field of an answer whose fields have no names but places. Venues add fields at the end: how many follow does not
    /// matter.
    fn field<'a, T: Deserialize<'a>>(self, fields: &'a [Box<RawValue>], position: usize) -> Result<T, QuoteError> {
        let missing = || self.shape(format!("it has {} fields, none at {position}", fields.len()), "");
        self.read(fields.get(position).ok_or_else(missing)?.get())
    }
}

/// Its name.
impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The middle of bid and ask, half a cent dropped.
fn mid_floor(bid: Cents, ask: Cents) -> Cents {
    Cents(bid.0.saturating_add(ask.0) / 2)
}

#[cfg(test)]
mod captured;
#[cfg(test)]
mod tests;
