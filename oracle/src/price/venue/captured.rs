//! Answers that venues gave, of several years, each with the public repository and path where it was seen. Where the pair
//! was another one its name is changed to the one asked for, and nothing else; fields that nothing is read from are as they were.

use super::Venue;

/// What a venue answered, and what it says: price, bid and ask in cents, and its own time in unix seconds.
pub struct Captured {
    pub venue: Venue,
    pub seen: &'static str,
    pub texts: &'static [&'static str],
    pub cents: [u64; 3],
    pub at: Option<u32>,
    /// Was it read before there was a second reading? What is new since, or was different before, was not.
    pub old: bool,
}

/// 2019, six fields a trade: coingecko/cryptoexchange spec/cassettes/vcr_cassettes/Kraken/integration_specs_fetch_trades.yml.
const SIX_FIELDS: &str = r#"{"error":[],"result":{"XXBTZUSD":[["344.600000","0.50000000",1557897194.1896,"b","m",""],["344.800000","0.27200616",1557897218.0711,"b","l",""]],"last":"1557897218071100000"}}"#;

pub const ALL: &[Captured] = &[
    Captured {
        venue: Venue::Kraken,
        seen: "2014, sides of two: knowm/XChange xchange-kraken/src/test/resources/marketdata/example-ticker-data.json",
        texts: &[
            r#"{"error":[],"result":{"XXBTZUSD":{"a":["562.26651","1"],"b":["560.46600","1"],"c":["560.87711","0.01447739"],"v":["84.23095922","600.91850325"],"p":["562.19735","576.77284"],"t":[305,2783],"l":["560.00000","560.00000"],"h":["570.00000","591.11000"],"o":"568.98910"}}}"#,
            SIX_FIELDS,
        ],
        cents: [34_480, 56_046, 56_226],
        at: Some(1_557_897_218),
        old: false,
    },
    Captured {
        venue: Venue::Kraken,
        seen: "2017: coingecko/cryptoexchange spec/cassettes/vcr_cassettes/Kraken/integration_specs_fetch_ticker.yml",
        texts: &[
            r#"{"error":[],"result":{"XXBTZUSD":{"a":["355.400000","1","1.000"],"b":["354.300000","18","18.000"],"c":["355.400000","0.60250000"],"v":["23.18610564","4433.77288826"],"p":["355.411302","354.543044"],"t":[58,2757],"l":["351.800000","346.000000"],"h":["357.700000","369.000000"],"o":"353.700000"}}}"#,
            SIX_FIELDS,
        ],
        cents: [34_480, 35_430, 35_540],
        at: Some(1_557_897_218),
        old: false,
    },
    Captured {
        venue: Venue::Kraken,
        seen: "2023, seven fields a trade: JKorf/Kraken.Net Kraken.Net.UnitTests/Endpoints/Spot/ExchangeData/GetTicker.txt and GetTradeHistory.txt",
        texts: &[
            r#"{"error":[],"result":{"XXBTZUSD":{"a":["30300.10000","1","1.000"],"b":["30300.00000","1","1.000"],"c":["30303.20000","0.00067643"],"v":["4083.67001100","4412.73601799"],"p":["30706.77771","30689.13205"],"t":[34619,38907],"l":["29868.30000","29868.30000"],"h":["31631.00000","31631.00000"],"o":"30502.80000"}}}"#,
            r#"{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952],["30243.30000","0.00376960",1688669598.2804112,"s","l","",61044953],["30243.30000","0.01235716",1688669602.698379,"s","m","",61044956]],"last":"1688671969993150842"}}"#,
        ],
        cents: [3_024_330, 3_030_000, 3_030_010],
        at: Some(1_688_669_602),
        old: true,
    },
    Captured {
        venue: Venue::Coinbase,
        seen: "2017: coingecko/cryptoexchange spec/cassettes/vcr_cassettes/Gdax/integration_specs_fetch_ticker.yml",
        texts: &[
            r#"{"trade_id":21554152,"price":"4417.01000000","size":"0.00000225","bid":"4417","ask":"4417.01","volume":"7878.23402368","time":"2017-10-03T04:00:31.887000Z"}"#,
        ],
        cents: [441_701, 441_700, 441_701],
        at: Some(1_507_003_231),
        old: true,
    },
    Captured {
        venue: Venue::Coinbase,
        seen: "2024: ccxt/ccxt ts/src/test/static/response/coinbaseexchange.json",
        texts: &[
            r#"{"ask":"73369.19","bid":"73360.34","volume":"1207.50668151","trade_id":"18502105","price":"73367.8","size":"0.00730812","time":"2024-03-13T11:10:41.270099Z","rfq_volume":"7.669923"}"#,
        ],
        cents: [7_336_780, 7_336_034, 7_336_919],
        at: Some(1_710_328_241),
        old: true,
    },
    Captured {
        venue: Venue::Bitstamp,
        seen: "2017: coingecko/cryptoexchange spec/cassettes/vcr_cassettes/Bitstamp/integration_specs_fetch_ticker.yml",
        texts: &[
            r#"{"high": "4453.00", "last": "4402.16", "timestamp": "1507003445", "bid": "4401.37", "vwap": "4396.32", "volume": "7913.73600771", "low": "4352.00", "ask": "4412.98", "open": "4391.41"}"#,
        ],
        cents: [440_216, 440_137, 441_298],
        at: Some(1_507_003_445),
        old: true,
    },
    Captured {
        venue: Venue::Bitstamp,
        seen: "2024: ccxt/ccxt ts/src/test/static/response/bitstamp.json",
        texts: &[
            r#"{"timestamp":"1710328241","open":"71448","high":"73656","low":"68626","last":"73285","volume":"135.29692054","vwap":"70853","bid":"73353","ask":"73367","side":"0","open_24":"72144","percent_change_24":"1.58"}"#,
        ],
        cents: [7_328_500, 7_335_300, 7_336_700],
        at: Some(1_710_328_241),
        old: true,
    },
    Captured {
        venue: Venue::Bitfinex,
        seen: "2023, ten fields: ccxt/ccxt pull request 20490",
        texts: &["[43750,8.45502153,43755,8.01289863,-528,-0.01192547,43747,816.42173565,44275,43200]"],
        cents: [4_375_250, 4_375_000, 4_375_500],
        at: None,
        old: true,
    },
    Captured {
        venue: Venue::Bitfinex,
        seen: "2026, eleven fields: lilcityholdings-bit/Ikenga services/matching-engine/src/liquidity.rs",
        texts: &[
            "[78995,3.49078624,79026,3.1115484,-764,-0.00957513,79026,1114.8989299,80010,78845,1358182043000]",
        ],
        cents: [7_901_050, 7_899_500, 7_902_600],
        at: None,
        old: false,
    },
    Captured {
        venue: Venue::Gemini,
        seen: "2017, received at 04:04:56 with a window that ended at 04:00:00: coingecko/cryptoexchange spec/cassettes/vcr_cassettes/Gemini/integration_specs_fetch_ticker.yml",
        texts: &[
            r#"{"bid":"4407.81","ask":"4407.82","volume":{"BTC":"4835.1549187912","USD":"21292243.803004461798","timestamp":1507003200000},"last":"4407.82"}"#,
        ],
        cents: [440_781, 440_781, 440_782],
        at: None,
        old: false,
    },
    Captured {
        venue: Venue::Gemini,
        seen: "2024, its time as a text (a pair of USDC): ccxt/ccxt ts/src/test/static/response/gemini.json",
        texts: &[
            r#"{"bid":"1.00001","ask":"1.00026","last":"1.00026","volume":{"BTC":"2444794.70237","USD":"2445430.3489926162","timestamp":"1712847810000"}}"#,
        ],
        cents: [100, 100, 100],
        at: None,
        old: false,
    },
    Captured {
        venue: Venue::Gemini,
        seen: "2026: lilcityholdings-bit/Ikenga services/matching-engine/src/liquidity.rs",
        texts: &[
            r#"{"bid":"78506.70000","ask":"78506.71000","last":"78531.37000","volume":{"BTC":"76.83286898","USD":"6033790.4620299026","timestamp":1788856560000}}"#,
        ],
        cents: [7_850_670, 7_850_670, 7_850_671],
        at: None,
        old: false,
    },
];
