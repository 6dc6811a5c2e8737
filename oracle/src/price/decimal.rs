//! Numbers as venues write them, read without a float: as JSON numbers or as strings.

use crate::foreign::clean_to;
use crate::units::{Cents, Time};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Highest price believed, in cents: a hundred million dollars.
pub const HIGHEST: u64 = 10_000_000_000;
/// Longest number read, in characters.
const LONGEST: usize = 40;

/// Why a text is not a price or a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not digits with at most one point.
    #[error("{0:?} is not a plain decimal number such as 7934.58")]
    NotPlain(String),
    /// Zero, or beyond belief.
    #[error("{0:?} is not between $0.01 and $100,000,000")]
    Range(String),
    /// Not a moment this software knows.
    #[error("{0:?} is not a moment between 1970 and 2106")]
    Moment(String),
}

/// Dollars as decimal text, in whole cents; what is below a cent is dropped.
///
/// # Errors
/// When the text is not plain digits with at most one point, is zero, or is above [`HIGHEST`].
pub fn cents_floor(text: &str) -> Result<Cents, NumberError> {
    let plain = || NumberError::NotPlain(shortened(text));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if text.len() > LONGEST || whole.is_empty() || !digits(whole) || !digits(part) {
        return Err(plain());
    }
    let hundredths: String = part.chars().chain("00".chars()).take(2).collect();
    let range = || NumberError::Range(shortened(text));
    let dollars: u64 = whole.parse().map_err(|_| range())?;
    let hundredths: u64 = hundredths.parse().map_err(|_| plain())?;
    match dollars.checked_mul(100).and_then(|cents| cents.checked_add(hundredths)) {
        Some(cents @ 1..=HIGHEST) => Ok(Cents(cents)),
        _ => Err(range()),
    }
}

/// A count of `1 / per_second` seconds, with or without a fraction, in whole seconds since 1970; the rest is dropped.
///
/// # Errors
/// When the text is not a plain number, or the moment is after 2106.
pub fn time_floor(text: &str, per_second: u64) -> Result<Time, NumberError> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    if text.len() > LONGEST || whole.is_empty() || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(NumberError::NotPlain(shortened(text)));
    }
    let count: Option<u64> = whole.parse().ok();
    let seconds = count.and_then(|count| count.checked_div(per_second)).and_then(|s| u32::try_from(s).ok());
    seconds.map(Time).ok_or_else(|| NumberError::Moment(shortened(text)))
}

/// RFC 3339 text in whole seconds since 1970; the fraction is dropped.
///
/// # Errors
/// When the text is something else, or outside 1970 to 2106.
pub fn rfc3339_floor(text: &str) -> Result<Time, NumberError> {
    let moment = || NumberError::Moment(shortened(text));
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(text, format).map_err(|_| moment())?;
    u32::try_from(at.unix_timestamp()).map(Time).map_err(|_| moment())
}

/// A venue's text for an error: the first characters of it, cleaned.
pub fn shortened(text: &str) -> String {
    clean_to(text, 60)
}

/// The text of a JSON number, or what stands in a JSON string.
fn text_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.starts_with('"') {
        return serde_json::from_str(raw).map_err(serde::de::Error::custom);
    }
    Ok(raw.to_string())
}

/// A price field, number or string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(pub Cents);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Price, D::Error> {
        cents_floor(&text_of(deserializer)?).map(Price).map_err(serde::de::Error::custom)
    }
}

/// A field of seconds since 1970, number or string, with or without a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Time);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        time_floor(&text_of(deserializer)?, 1).map(Seconds).map_err(serde::de::Error::custom)
    }
}

/// A field of milliseconds since 1970, number or string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub Time);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Millis, D::Error> {
        time_floor(&text_of(deserializer)?, 1_000).map(Millis).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_price_is_read_to_the_cent_and_never_rounded_up() {
        for (text, cents) in
            [("7934.58", 793_458), ("64000", 6_400_000), ("0.019", 1), ("7934.589999", 793_458), ("1.", 100)]
        {
            assert_eq!(cents_floor(text), Ok(Cents(cents)), "{text}");
        }
        for text in ["", ".5", "-1", "+1", "NaN", "1e5", "inf", "0", "0.001", "1,000", " 1", "100000000.01", "1.2.3"] {
            assert!(cents_floor(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_and_strings_say_the_same() {
        assert_eq!(serde_json::from_str::<Price>("64000.55").unwrap(), Price(Cents(6_400_055)));
        assert_eq!(serde_json::from_str::<Price>("\"64000.55\"").unwrap(), Price(Cents(6_400_055)));
        assert_eq!(serde_json::from_str::<Seconds>("1688669597.8277369").unwrap(), Seconds(Time(1_688_669_597)));
        assert_eq!(serde_json::from_str::<Millis>("\"1688669597827\"").unwrap(), Millis(Time(1_688_669_597)));
        assert_eq!(rfc3339_floor("2020-03-12T10:00:00.999999Z"), Ok(Time(1_584_007_200)));
        for text in ["null", "NaN", "{}", "[1]", "true", "\"\"", "-1", "\"NaN\""] {
            assert!(serde_json::from_str::<Price>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_an_error(text in "\\PC{0,50}", digits in "[0-9.eE+-]{0,44}") {
            for text in [text, digits] {
                let _ = (cents_floor(&text), time_floor(&text, 1), time_floor(&text, 1_000), rfc3339_floor(&text));
            }
        }

        #[test]
        fn cents_read_back_as_they_were_written(cents in 1..=HIGHEST) {
            prop_assert_eq!(cents_floor(&format!("{}.{:02}", cents / 100, cents % 100)), Ok(Cents(cents)));
        }
    }
}
