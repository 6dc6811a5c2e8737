//! Our own bars, other people's, and every way to get them wrong.

use super::super::backtest::length_of;
use super::*;
use proptest::prelude::*;

const OWN: &str =
    "unix,open,high,low,close\n1584000000,7934.58,7966.17,7857.51,7900.0\n1584003600,7900.0,7910.5,7800,7850.25\n";

fn bar_of(at: u32, prices: [u64; 4]) -> Bar {
    let [open, high, low, close] = prices.map(Cents);
    Bar { at: Time(at), open, high, low, close }
}

#[test]
fn other_peoples_exports_are_read_and_written_as_ours() {
    let two = [
        bar_of(1_584_000_000, [793_458, 796_617, 785_751, 790_000]),
        bar_of(1_584_003_600, [790_000, 791_050, 780_000, 785_025]),
    ];
    let kraken =
        "1584000000,7934.58,7966.17,7857.51,7900.0,12.34567890,210\n1584003600,7900.0,7910.5,7800,7850.25,1.5,20\n";
    let binance = "1584000000000,7934.58,7966.17,7857.51,7900.0,12.3,1584003599999,97000.1,210,6.1,48000.2,0\n\
        1584003600000000,7900.0,7910.5,7800,7850.25,1.5,1584007199999999,11800.1,20,0.7,5900.1,0\n";
    let headed = format!(
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n{binance}"
    );
    let named = "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n\
        1584003600,2020-03-12 09:00:00,BTC/USD,7900.0,7910.5,7800,7850.25,1.5,11800\n\
        1584000000,2020-03-12 08:00:00,BTC/USD,7934.58,7966.17,7857.51,7900.0,12.3,97000\n";
    let older = "https://www.CryptoDataDownload.com\nUnix Timestamp,Date,Symbol,Open,High,Low,Close,Volume\n\
        1584003600000,2020-03-12 09:00:00,BTCUSD,7900.0,7910.5,7800,7850.25,1.5\n\
        1584000000000.0,2020-03-12 08:00:00,BTCUSD,7934.58,7966.17,7857.51,7900.0,12.3\n";
    for (format, text) in [
        (Format::Own, OWN),
        (Format::Kraken, kraken),
        (Format::Binance, binance),
        (Format::Binance, &headed),
        (Format::Cryptodatadownload, named),
        (Format::Cryptodatadownload, older),
    ] {
        assert_eq!(read(text, format).as_deref(), Ok(two.as_slice()), "{format}");
        if format != Format::Own {
            let said = read(text, Format::Own).unwrap_err().to_string();
            assert!(
                said.contains(HEADER) && said.contains(&format!("--format {format} --prices FILE --bars")),
                "{said}"
            );
        }
    }
    let ours: Vec<String> = two.iter().map(written).collect();
    assert_eq!(read(&format!("{HEADER}\n{}\n", ours.join("\n")), Format::Own).as_deref(), Ok(two.as_slice()));
}

#[test]
fn prices_of_moments_make_bars_from_one_to_the_next_and_none_over_a_gap() {
    let text = "snapped_at,price,market_cap,total_volume\n2013-04-28 00:00:00 UTC,135.3,1500517590,0\n\
        2013-04-29 00:00:00 UTC,141.96,1575032004.0,0.0\n2013-04-30 00:00:00 UTC,135.3,1501657493.0,0.0\n\
        2013-05-02 00:00:00 UTC,105.21,1168517495.0,0.0\n2013-05-02 14:23:11 UTC,106,1,1\n";
    let bars = read(text, Format::Coingecko).unwrap();
    let day = 1_367_107_200;
    let first = bar_of(day, [13_530, 14_196, 13_530, 14_196]);
    assert_eq!(bars, [first, bar_of(day + 86_400, [14_196, 14_196, 13_530, 13_530])]);
    assert_eq!(length_of(&bars), 86_400, "the close is the price at the bar's end");
    let said = read(text, Format::Own).unwrap_err().to_string();
    assert!(said.contains("--format coingecko"), "{said}");
}

#[test]
fn what_was_expected_is_said_with_the_way_to_it() {
    let row = |row: &str| format!("{OWN}{row}\n");
    for (text, says) in [
        (format!("\u{feff}{OWN}"), "byte-order mark"),
        (OWN.replace(',', ";"), "separated by commas"),
        (OWN.replace("unix,open,high", "unix,high,open"), "in this order"),
        (OWN.replace("unix", "when"), "seconds since 1970"),
        (row("1584007200000,1,1,1,1"), "is in milliseconds, and seconds are right; `awk"),
        (row("1584007200000000,1,1,1,1"), "is in microseconds"),
        (row("2020-03-12 10:00,1,1,1,1"), "date -u -d"),
        (format!("{HEADER}\n1584003600,1,1,1,1\n1584000000,1,1,1,1\n"), "tac"),
        (row("1584003600,1,1,1,1"), "does not come after"),
        (row("1584007800,1,1,1,1"), "not a full hour; take bars of whole hours"),
        (row("1584007200,1,1,1,\u{1b}[2J"), "close is not a price"),
        (HEADER.to_string(), "no bar"),
        (String::new(), HEADER),
    ] {
        let said = read(&text, Format::Own).unwrap_err().to_string();
        assert!(said.contains(says) && !said.contains('\u{1b}'), "{says}: {said}");
    }
    let dated = "Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USD\n2020-07-01 04-AM,BTCUSD,1,1,1,1,1,1\n";
    let said = read(dated, Format::Cryptodatadownload).unwrap_err().to_string();
    assert!(said.contains("no column \"unix\""), "{said}");
    let said = read("1584000000,1,1,1,1\n", Format::Kraken).unwrap_err().to_string();
    assert!(said.contains("5 fields, and at least 7"), "{said}");
}

proptest! {
    #[test]
    fn any_text_is_bars_or_a_sentence(text in "\\PC{0,200}", rows in "([0-9.,-]{0,40}\n){0,6}") {
        for format in [Format::Own, Format::Kraken, Format::Binance, Format::Coingecko, Format::Cryptodatadownload] {
            for body in [&text, &rows, &format!("{HEADER}\n{rows}"), &format!("snapped_at,price\n{rows}")] {
                let _ = read(body, format);
            }
        }
    }
}
