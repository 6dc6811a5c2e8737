//! Each venue's recorded shape, and everything that is not it.

use super::*;
use proptest::prelude::*;

const TICKER: &str = r#"{"error":[],"result":{"XXBTZUSD":{"a":["64010.20000","1","1.000"],"b":["64010.10000","2","2.000"],"c":["64010.10000","0.00123"],"v":["1","2"],"p":["1","2"],"t":[1,2],"l":["1","2"],"h":["1","2"],"o":"1"}}}"#;
const TRADES: &str = r#"{"error":[],"result":{"XXBTZUSD":[["63999.00000","0.1",1688669597.8277369,"b","m","",1],["64010.10000","0.00123",1688669600.2804112,"s","l","",2]],"last":"1688669600280411200"}}"#;
const COINBASE: &str = r#"{"ask":"64010.2","bid":"64010.19","volume":"1","trade_id":1,"price":"64010.205","size":"0.1","time":"2023-07-06T18:53:20.123456Z"}"#;
const BITSTAMP: &str = r#"{"timestamp":"1688669600","open":"1","high":"2","low":"1","last":"64010","volume":"1","vwap":"1","bid":"64009","ask":"64011","side":"0","open_24":"1","percent_change_24":"1"}"#;
const BITFINEX: &str = "[64009,1.5,64010.5,2.5,-12,-0.001,64000,1234.5,65000,63000]";
const GEMINI: &str =
    r#"{"bid":"64009.51","ask":"64010.50","volume":{"BTC":"1","USD":"2","timestamp":1688669600000},"last":"60000"}"#;

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn quote(venue: Venue, texts: &[&str]) -> Result<Quote, QuoteError> {
    venue.quote(&venue.excerpt(&bytes(texts))?)
}

#[test]
fn every_venues_recorded_answer_is_read_to_the_cent() {
    let at = Some(Time(1_688_669_600));
    for (venue, texts, price, bid, ask, at) in [
        (Venue::Kraken, vec![TICKER, TRADES], 6_401_010, 6_401_010, 6_401_020, at),
        (Venue::Coinbase, vec![COINBASE], 6_401_020, 6_401_019, 6_401_020, at),
        (Venue::Bitstamp, vec![BITSTAMP], 6_401_000, 6_400_900, 6_401_100, at),
        (Venue::Bitfinex, vec![BITFINEX], 6_400_975, 6_400_900, 6_401_050, None),
        (Venue::Gemini, vec![GEMINI], 6_401_000, 6_400_951, 6_401_050, at),
    ] {
        let right = Quote { price: Cents(price), bid: Cents(bid), ask: Cents(ask), at };
        assert_eq!(quote(venue, &texts), Ok(right), "{venue}");
        assert_eq!(Venue::named(venue.name()), Some(venue));
    }
}

#[test]
fn an_excerpt_of_kraken_is_short_and_holds_the_very_bytes() {
    let excerpt = Venue::Kraken.excerpt(&bytes(&[TICKER, TRADES])).unwrap();
    assert!(excerpt.contains(r#"["64010.10000","0.00123",1688669600.2804112,"s","l","",2]"#), "{excerpt}");
    assert!(excerpt.len() < 200);
}

#[test]
fn what_is_not_a_quote_of_bitcoin_in_dollars_is_refused_with_the_reason() {
    let html = "<html><body>Service unavailable</body></html>";
    let pair = TICKER.replace("XXBTZUSD", "XETHZUSD");
    let busy = r#"{"error":["EGeneral:Too many requests"]}"#;
    for (venue, texts, says) in [
        (Venue::Kraken, vec![html, TRADES], "usual JSON"),
        (Venue::Kraken, vec![&pair, TRADES], "XETHZUSD"),
        (Venue::Kraken, vec![busy, TRADES], "Too many requests"),
        (Venue::Kraken, vec![TICKER, r#"{"error":[],"result":{"XXBTZUSD":[]}}"#], "no trade"),
        (Venue::Coinbase, vec![html], "<html>"),
        (Venue::Coinbase, vec![r#"{"message":"NotFound"}"#], "missing field"),
        (Venue::Bitstamp, vec![&BITSTAMP.replace("\"side\"", "\"pair\":\"ETH/USD\",\"side\"")], "ETH/USD"),
        (Venue::Bitstamp, vec![&BITSTAMP.replace("64009", "NaN")], "NaN"),
        (Venue::Bitfinex, vec![r#"["error",11010,"ratelimit: error"]"#], "ratelimit"),
        (Venue::Bitfinex, vec![&BITFINEX.replace("64009", "-64009")], "-64009"),
        (Venue::Bitfinex, vec![&BITFINEX.replace("64009", "NaN")], "usual JSON"),
        (Venue::Gemini, vec![&GEMINI.replace("BTC", "ETH")], "BTC and USD"),
        (Venue::Gemini, vec![&GEMINI.replace("64009.51", "-1")], "-1"),
    ] {
        let error = quote(venue, &texts).unwrap_err().to_string();
        assert!(error.contains(says), "{venue}: {error}");
        assert!(error.len() < 300);
    }
    let long = format!("{}{}", COINBASE, " ".repeat(LONGEST_RAW));
    assert!(quote(Venue::Coinbase, &[&long]).is_ok(), "white space around it is dropped");
    let long = COINBASE.replace("\"1\"", &format!("\"{}\"", "1".repeat(LONGEST_RAW)));
    assert!(matches!(quote(Venue::Coinbase, &[&long]), Err(QuoteError::Long { .. })));
}

#[test]
fn a_venues_page_cannot_write_to_the_operators_terminal() {
    let busy = r#"{"error":["EGeneral:\u001b[2Jbusy\u202e\nnow"]}"#;
    let error = quote(Venue::Kraken, &[busy, TRADES]).unwrap_err().to_string();
    assert_eq!(error, "kraken says: EGeneral:busy now");
    let error = quote(Venue::Gemini, &["<\u{1b}]0;t\u{7}\u{202e}html>"]).unwrap_err().to_string();
    assert!(error.ends_with("it began \"<]0;t html>\""), "{error}");
    let other = r#"{"error":[],"result":{"X\u001b[31mY":{}}}"#;
    let error = quote(Venue::Kraken, &[other, TRADES]).unwrap_err().to_string();
    assert!(error.contains("\"XY\""), "{error}");
}

proptest! {
    #[test]
    fn no_answer_makes_a_venue_panic(text in "\\PC{0,80}", cut in 0..400usize, noise in any::<Vec<u8>>()) {
        for venue in Venue::ALL {
            let _ = venue.quote(&text);
            for sample in [TICKER, TRADES, COINBASE, BITSTAMP, BITFINEX, GEMINI] {
                let start: String = sample.chars().take(cut).collect();
                let _ = venue.quote(&start);
                let _ = venue.excerpt(&[start.clone().into_bytes(), noise.clone()]);
                let _ = venue.excerpt(std::slice::from_ref(&noise));
            }
        }
    }
}
