//! Amounts as people type them, exact in integers. Never a float; never a guess at what a comma means.

use crate::api::views::PeerAddress;
use bitcoin::Amount;
use hypothec_oracle::units::Cents;

/// The most dollars: ten thousand millions.
const DOLLARS_MAX: u64 = 10_000_000_000;

/// `50000`, `50000.5`, `$50000.50`: dollars with at most two decimals, more than zero.
pub fn dollars(text: &str) -> Result<Cents, String> {
    let right = "write dollars with at most two decimals and no separators, for example 50000 or 49999.95";
    let digits = text.strip_prefix('$').unwrap_or(text);
    match decimal(digits, 2) {
        Decimal::Exact(0) => Err("it must be more than zero".into()),
        Decimal::Exact(cents) if cents <= DOLLARS_MAX.saturating_mul(100) => Ok(Cents(cents)),
        Decimal::Exact(_) | Decimal::TooLarge => Err(format!("at most {DOLLARS_MAX} dollars are right")),
        Decimal::TooFine => Err(format!("a cent is the smallest amount; {right}")),
        Decimal::NotOne => Err(right.into()),
    }
}

/// `1.25`, `1.25btc`, `125000000sat`: at most eight decimals, more than zero and at most all bitcoin there will be.
pub fn bitcoins(text: &str) -> Result<Amount, String> {
    let right = "write bitcoin with at most eight decimals, for example 1.25, or sats, for example 125000000sat";
    let lower = text.trim().to_ascii_lowercase();
    let sats = lower.strip_suffix("sats").or_else(|| lower.strip_suffix("sat"));
    let found = match sats {
        Some(number) => decimal(number.trim_end(), 0),
        None => decimal(lower.strip_suffix("btc").unwrap_or(&lower).trim_end(), 8),
    };
    match found {
        Decimal::Exact(0) => Err("it must be more than zero".into()),
        Decimal::Exact(number) if number <= Amount::MAX_MONEY.to_sat() => Ok(Amount::from_sat(number)),
        Decimal::Exact(_) | Decimal::TooLarge => Err("there will never be more than 21000000 bitcoin".into()),
        Decimal::TooFine if sats.is_some() => Err("a sat has no decimals, for example 125000000sat".into()),
        Decimal::TooFine => Err(format!("a sat is the smallest amount, the eighth decimal; {right}")),
        Decimal::NotOne => Err(right.into()),
    }
}

/// `2000`, `2000sat`, `0`: whole sats, at most all bitcoin there will be.
pub fn whole_sats(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix("sats").or_else(|| lower.strip_suffix("sat")).unwrap_or(&lower).trim_end();
    match decimal(number, 0) {
        Decimal::Exact(sats) if sats <= Amount::MAX_MONEY.to_sat() => Ok(sats),
        Decimal::Exact(_) | Decimal::TooLarge => Err("there will never be more than 21000000 bitcoin".into()),
        _ => Err("write whole sats, for example 2000".into()),
    }
}

/// `7.25`, `7.25%`: a percentage with at most two decimals, as basis points.
pub fn percent(text: &str) -> Result<u32, String> {
    let right = "write a percentage from 0 to 100 with at most two decimals, for example 7.25";
    match decimal(text.strip_suffix('%').unwrap_or(text).trim_end(), 2) {
        Decimal::Exact(points) => u32::try_from(points).ok().filter(|points| *points <= 10_000).ok_or(right.into()),
        _ => Err(right.into()),
    }
}

/// `-0.5`, `+1`, `1.5%`: a percentage that may be negative, as basis points.
fn percent_signed(text: &str) -> Result<i32, String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let points = i32::try_from(percent(rest)?).map_err(|_| "too much".to_owned())?;
    Ok(if negative { points.saturating_neg() } else { points })
}

/// `90`, `90d`: whole days, at least one.
pub fn days(text: &str) -> Result<u32, String> {
    let digits = text.strip_suffix('d').unwrap_or(text);
    match decimal(digits, 0) {
        Decimal::Exact(days @ 1..) => u32::try_from(days).map_err(|_| "far too many days".to_owned()),
        _ => Err("write whole days, at least one, for example 90".into()),
    }
}

/// The corners of one line of the rate, `20=6,50=9.5`: what `at` reads, and percent a year.
pub fn line(text: &str, at: fn(&str) -> Result<u64, String>) -> Result<Vec<(u64, i32)>, String> {
    let corner = |corner: &str| -> Result<(u64, i32), String> {
        let (place, rate) = corner.split_once('=').ok_or_else(|| format!("{corner:?} has no `=`"))?;
        let within = |error| format!("{corner:?}: {error}");
        Ok((at(place.trim()).map_err(within)?, percent_signed(rate.trim()).map_err(within)?))
    };
    match text {
        "none" => Ok(Vec::new()),
        _ => text.split(',').map(|each| corner(each.trim())).collect(),
    }
}

/// A node's address, checked before it is sent anywhere.
pub fn peer(text: &str) -> Result<String, String> {
    text.parse::<PeerAddress>().map(|address| address.to_string()).map_err(|error| error.to_string())
}

/// The beginning and the end of a long name.
pub fn short(name: &str) -> String {
    match (name.get(..8), name.len().checked_sub(4).and_then(|end| name.get(end..))) {
        (Some(begin), Some(end)) if name.len() > 16 => format!("{begin}…{end}"),
        _ => name.to_owned(),
    }
}

/// What a decimal number is, in units of its last place.
enum Decimal {
    Exact(u64),
    TooFine,
    TooLarge,
    NotOne,
}

/// Reads digits with at most `places` decimals.
fn decimal(text: &str, places: usize) -> Decimal {
    let (whole, part) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || part.is_some_and(|part| !digits(part)) {
        return Decimal::NotOne;
    }
    let part = part.unwrap_or_default();
    if part.len() > places {
        return Decimal::TooFine;
    }
    // Leading zeros say nothing; without them the length bounds the number.
    let all = format!("{whole}{part:0<places$}");
    let all = all.trim_start_matches('0');
    match (all.len(), all.parse()) {
        (0, _) => Decimal::Exact(0),
        (_, Ok(number)) => Decimal::Exact(number),
        (_, Err(_)) => Decimal::TooLarge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_read_to_the_cent() {
        for (text, cents) in [("50000", 5_000_000), ("49999.95", 4_999_995), ("$0.5", 50), ("007.10", 710), ("0.01", 1)]
        {
            assert_eq!(dollars(text), Ok(Cents(cents)), "{text}");
        }
    }

    #[test]
    fn bitcoin_is_read_to_the_sat_in_both_units() {
        for (text, sats) in [
            ("1", 100_000_000),
            ("1.25", 125_000_000),
            ("0.00000001", 1),
            ("1.25 BTC", 125_000_000),
            ("125000000sat", 125_000_000),
            ("1 sats", 1),
            ("21000000", 2_100_000_000_000_000),
        ] {
            assert_eq!(bitcoins(text), Ok(Amount::from_sat(sats)), "{text}");
        }
    }

    #[test]
    fn sats_that_may_be_none_are_read_whole() {
        assert_eq!((whole_sats("0"), whole_sats("2000"), whole_sats("2000 sat")), (Ok(0), Ok(2_000), Ok(2_000)));
        for text in ["", "-1", "1.5", "0.1btc", "two", "2,000"] {
            assert!(whole_sats(text).unwrap_err().contains("for example 2000"), "{text}");
        }
        assert!(whole_sats("2100000000000001").is_err() && whole_sats(&"9".repeat(40)).is_err());
    }

    #[test]
    fn what_is_not_an_amount_is_refused_with_what_would_be_right() {
        for text in ["", "$", ".5", "5.", "1,000", "1e5", "-1", "+1", "1 000", "١", "0x10", "50000 usd", "1.2.3"] {
            assert!(dollars(text).unwrap_err().contains("for example 50000"), "{text}");
        }
        for text in ["", "btc", "sat", ".5", "5.", "1,5", "1e-3", "-1", "NaN", "1.25mbtc"] {
            assert!(bitcoins(text).unwrap_err().contains("for example 1"), "{text}");
        }
        assert!(dollars("0.001").unwrap_err().contains("cent is the smallest"));
        assert!(bitcoins("0.000000001").unwrap_err().contains("sat is the smallest"));
        assert!(bitcoins("1.5sat").unwrap_err().contains("no decimals"));
        assert!(dollars("0.00").unwrap_err().contains("more than zero"));
        assert!(bitcoins("0sat").unwrap_err().contains("more than zero"));
        assert!(bitcoins("21000000.00000001").unwrap_err().contains("21000000"));
        assert!(dollars(&"9".repeat(40)).unwrap_err().contains("at most"));
    }

    #[test]
    fn percentages_and_days_are_read_exactly() {
        assert_eq!(
            (percent("7.25"), percent("50 %"), percent("0"), percent("100%")),
            (Ok(725), Ok(5_000), Ok(0), Ok(10_000))
        );
        assert!(percent("100.01").is_err() && percent("-1").is_err() && percent("7.255").is_err());
        assert_eq!((days("90"), days("1d")), (Ok(90), Ok(1)));
        assert!(days("0").is_err() && days("1.5").is_err() && days("99999999999").is_err());
    }

    #[test]
    fn a_line_of_the_rate_is_read_corner_by_corner() {
        let ltv = |text: &str| percent(text).map(u64::from);
        assert_eq!(line("20=6, 50=9.5,60=-0.5", ltv), Ok(vec![(2_000, 600), (5_000, 950), (6_000, -50)]));
        assert_eq!(line("none", ltv), Ok(Vec::new()));
        assert!(line("20:6", ltv).unwrap_err().contains("no `=`"));
        assert!(line("20=six", ltv).unwrap_err().contains("\"20=six\""));
    }

    #[test]
    fn long_names_are_shortened_and_short_ones_kept() {
        assert_eq!(short("0123456789abcdef0123"), "01234567…0123");
        assert_eq!(short("signet"), "signet");
    }

    proptest! {
        #[test]
        fn every_number_of_cents_reads_back_as_it_is_written(cents in 1u64..=1_000_000_000_000) {
            prop_assert_eq!(dollars(&format!("{}.{:02}", cents / 100, cents % 100)), Ok(Cents(cents)));
            if cents % 10 == 0 {
                prop_assert_eq!(dollars(&format!("${}.{}", cents / 100, cents % 100 / 10)), Ok(Cents(cents)));
            }
        }

        #[test]
        fn every_number_of_sats_reads_back_in_both_units(sats in 1u64..=2_100_000_000_000_000) {
            let amount = Amount::from_sat(sats);
            prop_assert_eq!(bitcoins(&format!("{sats}sat")), Ok(amount));
            prop_assert_eq!(bitcoins(&format!("{}.{:08}", sats / 100_000_000, sats % 100_000_000)), Ok(amount));
            prop_assert_eq!(bitcoins(&amount.to_btc().to_string()), Ok(amount));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = (dollars(&text), bitcoins(&text), whole_sats(&text), percent(&text), days(&text), peer(&text), short(&text));
            let _ = line(&text, |place| percent(place).map(u64::from));
        }
    }
}
