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

/// Lines as they stand in files that people published; each says where.
#[test]
fn files_that_other_peoples_tools_wrote_are_read() {
    // aironav/bitcoin, XBTUSD_60.csv: Kraken's of 2013 to 2020; hours without a trade are missing, a volume has an exponent.
    let kraken = "1381921200,145.38,145.38,145.38,145.38,0.19,1\n1381935600,146.14,146.14,142.28538,142.28538,1E+1,6\n\
        1601506800,10746.3,10779.0,10746.3,10774.9,75.81171593,325\n";
    let bars = [
        bar_of(1_381_921_200, [14_538, 14_538, 14_538, 14_538]),
        bar_of(1_381_935_600, [14_614, 14_614, 14_228, 14_228]),
        bar_of(1_601_506_800, [1_074_630, 1_077_900, 1_074_630, 1_077_490]),
    ];
    assert_eq!(read(kraken, Format::Kraken).as_deref(), Ok(bars.as_slice()));
    assert!(read(kraken, Format::Own).unwrap_err().to_string().contains("--format kraken"));
    // chlohs/udacity-ds-project4, data/XBTUSD_1440.csv: days, rewritten with a comma at the end and counts with a point.
    let days = "1381017600,122.0,122.0,122.0,122.0,0.1,1.0,\n1381104000,123.61,123.61,123.61,123.61,0.1,1.0,\n";
    assert_eq!(read(days, Format::Kraken).map(|bars| bars.len()), Ok(2));
    // victorgbanica/btc-ml-swing-trading, data/XBTUSD_60.csv: a header, and a row without a price.
    let empty = "timestamp,open,high,low,close,volume,trades\n1768867200,0,0,0,0,0,0";
    let said = read(empty, Format::Kraken).unwrap_err().to_string();
    assert!(said.contains("line 2") && said.contains("open is not a price"), "{said}");
    assert!(read(empty, Format::Own).unwrap_err().to_string().contains("--format kraken"));
    // ginghong/backtest_jup, data/BTCUSDT-1h-2025-01.csv: Binance's in microseconds.
    let binance = "1737867600000000,105174.28000000,105200.00000000,105013.60000000,105094.12000000,304.64182000,\
        1737871199999999,32016928.31729960,44196,150.90479000,15860486.82084440,0\n";
    let bars = [bar_of(1_737_867_600, [10_517_428, 10_520_000, 10_501_360, 10_509_412])];
    assert_eq!(read(binance, Format::Binance).as_deref(), Ok(bars.as_slice()));
    // mactepluke/chartologist-back, data/Bitstamp_BTCUSD_1h.csv: CryptoDataDownload's, with one hour twice.
    let twice = "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n\
        1674090000,2023-01-19 01:00:00,BTC/USD,20696,20771,20684,20710,19.70758865,408144.16094150004\n\
        1674086400.0,2023-01-19 00:00:00,BTC/USD,20678,20720,20678,20690,6.20606228,128403.4285732\n\
        1674086400,2023-01-19 00:00:00,BTC/USD,20678,20756,20678,20696,17.88360788,370119.14868448\n\
        1674082800,2023-01-18 23:00:00,BTC/USD,20799,20811,20647,20670,88.14529803,1821963.3102801002\n";
    let bars = [
        bar_of(1_674_082_800, [2_079_900, 2_081_100, 2_064_700, 2_067_000]),
        bar_of(1_674_086_400, [2_067_800, 2_075_600, 2_067_800, 2_069_600]),
        bar_of(1_674_090_000, [2_069_600, 2_077_100, 2_068_400, 2_071_000]),
    ];
    assert_eq!(read(twice, Format::Cryptodatadownload).as_deref(), Ok(bars.as_slice()));
}

#[test]
fn an_hour_twice_that_cannot_be_told_apart_is_refused_with_its_line() {
    let two = "1381935600,100,120,90,110,1,1\n1381935600,101,121,95,110,1,1\n";
    let said = read(two, Format::Kraken).unwrap_err().to_string();
    assert!(said.contains("line 2") && said.contains("two bars"), "{said}");
    let own = format!("{HEADER}\n1381935600,100,120,90,110\n1381935600,100,110,95,105\n");
    assert!(
        read(&own, Format::Own).unwrap_err().to_string().contains("does not come after"),
        "ours has each hour once"
    );
    let mixed = "1381935600,1,1,1,1,1,1\n1381928400,1,1,1,1,1,1\n1381932000,1,1,1,1,1,1\n";
    assert!(read(mixed, Format::Kraken).unwrap_err().to_string().contains("does not come after"));
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

#[test]
fn a_file_of_another_pair_is_refused_by_its_column() {
    let of = |symbol: &str| {
        let text = format!(
            "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n\
             1584000000,2020-03-12 08:00:00,{symbol},7934.58,7966.17,7857.51,7900.0,12.3,97000\n"
        );
        read(&text, Format::Cryptodatadownload).map_err(|error| error.to_string())
    };
    for symbol in ["BTC/USD", "BTCUSD", "btc-usd", "XBT/USD", "BTC/USDT"] {
        assert!(of(symbol).is_ok(), "{symbol}");
    }
    for symbol in ["ETH/USD", "BTC/EUR", "USD/BTC", "ETHBTC", ""] {
        let said = of(symbol).unwrap_err();
        assert!(said.contains("line 3") && said.contains("prices of BTC/USD are right"), "{said}");
    }
}
