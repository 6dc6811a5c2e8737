//! Each venue's recorded shape, and everything that is not it.

use super::captured::{Captured, ALL};
use super::*;
use proptest::prelude::*;

/// A captured answer of each, to spoil.
fn sample(venue: Venue) -> &'static [&'static str] {
    ALL.iter().rev().find(|one| one.venue == venue).unwrap().texts
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn quote(venue: Venue, texts: &[&str]) -> Result<Quote, QuoteError> {
    venue.quote(&venue.excerpt(&bytes(texts))?, Reading::Second)
}

#[test]
fn what_venues_answered_in_several_years_is_read_to_the_cent() {
    for Captured { venue, seen, texts, cents: [price, bid, ask], at, .. } in ALL {
        let right = Quote { price: Cents(*price), bid: Cents(*bid), ask: Cents(*ask), at: at.map(Time) };
        assert_eq!(quote(*venue, texts), Ok(right), "{venue} {seen}");
        assert_eq!(Venue::named(venue.name()), Some(*venue));
    }
    for venue in Venue::ALL {
        assert!(ALL.iter().filter(|one| one.venue == venue).count() >= 2, "{venue}");
    }
}

#[test]
fn an_old_policy_reads_answers_as_it_was_signed() {
    for Captured { venue, seen, texts, old, .. } in ALL {
        let excerpt = venue.excerpt(&bytes(texts)).unwrap();
        let (first, second) = (venue.quote(&excerpt, Reading::First), venue.quote(&excerpt, Reading::Second));
        assert_eq!(first == second, *old, "{venue} {seen}: {first:?}");
    }
    let gemini = Venue::Gemini.quote(sample(Venue::Gemini)[0], Reading::First).unwrap();
    assert_eq!(gemini.at, Some(Time(1_788_856_560)), "the end of the volume window, as it was read then");
}

#[test]
fn a_field_more_at_the_end_changes_nothing_and_a_warning_is_no_error() {
    let (ticker, trades) = (sample(Venue::Kraken)[0], sample(Venue::Kraken)[1]);
    let right = quote(Venue::Kraken, &[ticker, trades]).unwrap();
    let longer = trades.replace("61044956]", "61044956,\"new\",{}]");
    let wider = ticker.replace("\"1.000\"]", "\"1.000\",7]");
    let warned = ticker.replace("\"error\":[]", "\"error\":[\"WGeneral:Danger zone\"]");
    for (ticker, trades) in [(ticker, longer.as_str()), (&wider, trades), (&warned, trades)] {
        assert_ne!([ticker, trades], [sample(Venue::Kraken)[0], sample(Venue::Kraken)[1]]);
        assert_eq!(quote(Venue::Kraken, &[ticker, trades]), Ok(right));
    }
    let bitfinex = sample(Venue::Bitfinex)[0];
    let longer = bitfinex.replace(']', ",null,[1]]");
    assert_eq!(quote(Venue::Bitfinex, &[&longer]), quote(Venue::Bitfinex, &[bitfinex]));
    let only_a_warning = r#"{"error":["WService:Busy"]}"#;
    assert!(quote(Venue::Kraken, &[only_a_warning, trades]).unwrap_err().to_string().contains("WService:Busy"));
    let both = ticker.replace("\"error\":[]", "\"error\":[\"WGeneral:Danger zone\",\"EService:Busy\"]");
    assert!(quote(Venue::Kraken, &[&both, trades]).unwrap_err().to_string().contains("EService:Busy"));
}

#[test]
fn an_excerpt_of_kraken_is_short_and_holds_the_very_bytes() {
    let excerpt = Venue::Kraken.excerpt(&bytes(sample(Venue::Kraken))).unwrap();
    assert!(excerpt.contains(r#"["30243.30000","0.01235716",1688669602.698379,"s","m","",61044956]"#), "{excerpt}");
    assert!(excerpt.len() < 200);
}

#[test]
fn what_is_not_a_quote_of_bitcoin_in_dollars_is_refused_with_the_reason() {
    let html = "<html><body>Service unavailable</body></html>";
    let (ticker, trades) = (sample(Venue::Kraken)[0], sample(Venue::Kraken)[1]);
    let (coinbase, bitstamp) = (sample(Venue::Coinbase)[0], sample(Venue::Bitstamp)[0]);
    let (bitfinex, gemini) = (sample(Venue::Bitfinex)[0], sample(Venue::Gemini)[0]);
    let pair = ticker.replace("XXBTZUSD", "XETHZUSD");
    let busy = r#"{"error":["EGeneral:Too many requests"]}"#;
    for (venue, texts, says) in [
        (Venue::Kraken, vec![html, trades], "usual JSON"),
        (Venue::Kraken, vec![&pair, trades], "XETHZUSD"),
        (Venue::Kraken, vec![busy, trades], "Too many requests"),
        (Venue::Kraken, vec![ticker, r#"{"error":[],"result":{"XXBTZUSD":[]}}"#], "no trade"),
        (Venue::Kraken, vec![ticker, r#"{"error":[],"result":{"XXBTZUSD":[["1","1"]]}}"#], "2 fields, none at 2"),
        (Venue::Coinbase, vec![html], "<html>"),
        (Venue::Coinbase, vec![r#"{"message":"NotFound"}"#], "missing field"),
        (Venue::Bitstamp, vec![&bitstamp.replace("\"side\"", "\"pair\":\"ETH/USD\",\"side\"")], "ETH/USD"),
        (Venue::Bitstamp, vec![&bitstamp.replace("73353", "NaN")], "NaN"),
        (Venue::Bitfinex, vec![r#"["error",11010,"ratelimit: error"]"#], "ratelimit"),
        (Venue::Bitfinex, vec![&bitfinex.replace("78995", "-78995")], "-78995"),
        (Venue::Bitfinex, vec![&bitfinex.replace("78995", "NaN")], "usual JSON"),
        (Venue::Bitfinex, vec!["[78995,3.4,79026,3.1,-764,-0.009,79026,1114.8,80010]"], "9 fields, and 10 or more"),
        (Venue::Bitfinex, vec![&bitfinex.replacen('[', "[\"tBTCUSD\",", 1)], "not a plain decimal"),
        (Venue::Gemini, vec![&gemini.replace("BTC", "ETH")], "BTC and USD"),
        (Venue::Gemini, vec![&gemini.replace("78506.70000", "-1")], "-1"),
    ] {
        let error = quote(venue, &texts).unwrap_err().to_string();
        assert!(error.contains(says), "{venue}: {error}");
        assert!(error.len() < 300);
    }
    let long = format!("{}{}", coinbase, " ".repeat(LONGEST_RAW));
    assert!(quote(Venue::Coinbase, &[&long]).is_ok(), "white space around it is dropped");
    let long = coinbase.replace("\"7.669923\"", &format!("\"{}\"", "1".repeat(LONGEST_RAW)));
    assert!(matches!(quote(Venue::Coinbase, &[&long]), Err(QuoteError::Long { .. })));
}

#[test]
fn a_venues_page_cannot_write_to_the_operators_terminal() {
    let busy = r#"{"error":["EGeneral:\u001b[2Jbusy\u202e\nnow"]}"#;
    let error = quote(Venue::Kraken, &[busy, sample(Venue::Kraken)[1]]).unwrap_err().to_string();
    assert_eq!(error, "kraken says: EGeneral:busy now");
    let error = quote(Venue::Gemini, &["<\u{1b}]0;t\u{7}\u{202e}html>"]).unwrap_err().to_string();
    assert!(error.ends_with("it began \"<]0;t html>\""), "{error}");
    let other = r#"{"error":[],"result":{"X\u001b[31mY":{}}}"#;
    let error = quote(Venue::Kraken, &[other, sample(Venue::Kraken)[1]]).unwrap_err().to_string();
    assert!(error.contains("\"XY\""), "{error}");
}

proptest! {
    #[test]
    fn no_answer_makes_a_venue_panic(text in "\\PC{0,80}", cut in 0..400usize, noise in any::<Vec<u8>>()) {
        for venue in Venue::ALL {
            let read = |text: &str| (venue.quote(text, Reading::First), venue.quote(text, Reading::Second));
            let _ = read(&text);
            for sample in ALL.iter().flat_map(|one| one.texts) {
                let start: String = sample.chars().take(cut).collect();
                let _ = read(&start);
                let _ = venue.excerpt(&[start.clone().into_bytes(), noise.clone()]);
                let _ = venue.excerpt(std::slice::from_ref(&noise));
            }
        }
    }
}
