//! Five venues for oracles with the live feed: their time, and one price that a story moves.

use super::Place;
use axum::http::Uri;
use hypothec_oracle::price::policy::SAMPLE;
use hypothec_oracle::units::Time;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// From tick to tick, seconds.
pub const TICK: u32 = 60;

#[derive(Default)]
struct Said {
    now: AtomicU32,
    dollars: AtomicU32,
}

/// The venues, answering on a port of this machine.
pub struct Street {
    said: Arc<Said>,
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Street {
    pub fn open(now: Time, dollars: u32) -> Street {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::new(Said::default());
        let asked = Arc::clone(&said);
        let app = axum::Router::new().fallback(move |uri: Uri| {
            let said = Arc::clone(&asked);
            async move { answer(&said, &uri) }
        });
        runtime.spawn(async move { axum::serve(listener, app).await });
        let street = Street { said, url, _runtime: runtime };
        street.say(now, dollars);
        street
    }

    /// From now on it is this time, and bitcoin costs that.
    pub fn say(&self, now: Time, dollars: u32) {
        self.said.dollars.store(dollars, Ordering::SeqCst);
        self.said.now.store(now.0, Ordering::SeqCst);
    }

    /// Gives a place these venues, a tick a minute, and a policy that is content with that. Number N sees prices N dollars
    /// lower, so that the logs of replicas differ. Returns the arguments to run with.
    pub fn settle(&self, place: &Place, number: usize) -> [String; 2] {
        let mut policy = SAMPLE.to_string();
        for (name, value) in [
            ("tick_seconds = 5", "tick_seconds = 60"),
            ("max_age_seconds = 30", "max_age_seconds = 60"),
            ("held_ticks = 12", "held_ticks = 2"),
            ("low_min_held = 12", "low_min_held = 2"),
            ("fixing_min_ticks = 180", "fixing_min_ticks = 20"),
        ] {
            assert!(policy.contains(name), "{name}");
            policy = policy.replace(name, value);
        }
        let (rules, config) = (place.data().join("policy.toml"), place.data().join("oracle.toml"));
        std::fs::write(&rules, &policy).unwrap();
        let mut text = format!("live = true\npolicy = {rules:?}\n[venue_urls]\n");
        for name in ["kraken", "coinbase", "bitstamp", "bitfinex", "gemini"] {
            text += &format!("{name} = \"{}/{number}\"\n", self.url);
        }
        std::fs::write(&config, text).unwrap();
        ["--config".into(), config.to_string_lossy().into_owned()]
    }
}

/// What a venue answers at `/N/path`.
fn answer(said: &Said, uri: &Uri) -> String {
    let (now, dollars) = (said.now.load(Ordering::SeqCst), said.dollars.load(Ordering::SeqCst));
    let (replica, path) = uri.path()[1..].split_once('/').unwrap();
    let last = dollars - replica.parse::<u32>().unwrap();
    // Venues that never move are not believed.
    let (bid, ask, cent) = (last - 1, last + 1, now / TICK % 10);
    match path {
        "0/public/Ticker" => {
            format!(
                r#"{{"error":[],"result":{{"XXBTZUSD":{{"a":["{ask}.{cent}","1","1"],"b":["{bid}.{cent}","1","1"]}}}}}}"#
            )
        }
        "0/public/Trades" => format!(
            r#"{{"error":[],"result":{{"XXBTZUSD":[["{last}.{cent}","0.1",{now}.5,"b","m","",1]],"last":"1"}}}}"#
        ),
        "products/BTC-USD/ticker" => {
            let at = Time(now);
            format!(r#"{{"price":"{last}.{cent}","bid":"{bid}.{cent}","ask":"{ask}.{cent}","time":"{at}"}}"#)
        }
        "api/v2/ticker/btcusd/" => {
            format!(r#"{{"last":"{last}.{cent}","bid":"{bid}.{cent}","ask":"{ask}.{cent}","timestamp":"{now}"}}"#)
        }
        "v2/ticker/tBTCUSD" => format!("[{bid}.{cent},1,{ask}.{cent},1,1,1,{last},1,1,1,1358182043000]"),
        "v1/pubticker/btcusd" => format!(
            r#"{{"bid":"{bid}.{cent}","ask":"{ask}.{cent}","volume":{{"BTC":"1","USD":"1","timestamp":{}000}},"last":"1"}}"#,
            now - now % 300
        ),
        other => panic!("nobody asks {other}"),
    }
}
