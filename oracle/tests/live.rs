//! The live oracle as a process: local venues, its own policy file, and a stranger who audits it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Helpers outside `#[test]` functions are test code too.

use axum::http::Uri;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::price::policy::{PolicyPage, SAMPLE};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Five venues that agree, on their machine's clock.
async fn venue(uri: Uri) -> String {
    let now = Clock::system().now().unwrap();
    let wiggle = now.0 % 2;
    match uri.path() {
        "/0/public/Ticker" => {
            r#"{"error":[],"result":{"XXBTZUSD":{"a":["64001","1","1"],"b":["63999","1","1"]}}}"#.into()
        }
        "/0/public/Trades" => format!(
            r#"{{"error":[],"result":{{"XXBTZUSD":[["64000.{wiggle}","0.1",{}.5,"b","m","",1]],"last":"1"}}}}"#,
            now.0
        ),
        "/products/BTC-USD/ticker" => {
            format!(r#"{{"price":"64000.{wiggle}","bid":"63999","ask":"64001","time":"{now}"}}"#)
        }
        "/api/v2/ticker/btcusd/" => {
            format!(r#"{{"last":"64000.{wiggle}","bid":"63999","ask":"64001","timestamp":"{}"}}"#, now.0)
        }
        "/v2/ticker/tBTCUSD" => format!("[63999.{wiggle},1,64001.{wiggle},1,1,1,64000,1,1,1,1358182043000]"),
        "/v1/pubticker/btcusd" => format!(
            r#"{{"bid":"63999.{wiggle}","ask":"64001.{wiggle}","volume":{{"BTC":"1","USD":"1","timestamp":{}000}},"last":"1"}}"#,
            now.0 - now.0 % 300
        ),
        other => panic!("nobody asks {other}"),
    }
}

fn oracle(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec-oracle"));
    // What it says is compared in one line.
    command.args(args).env("COLUMNS", "500").stdin(Stdio::null()).output().unwrap()
}

/// What it complains of, wherever its lines are broken.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Killed with SIGKILL when dropped.
struct Running(Child, String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(config: &Path) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hypothec-oracle"))
        .args(["run", "--config", &config.to_string_lossy(), "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split_whitespace().last().unwrap().to_string();
    Running(child, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_oracle_serves_a_price_and_passes_a_strangers_audit_before_and_after_a_kill() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let venues = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(venue)).await });
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("oracle");
    assert!(oracle(&["init", "--insecure-plain", "--data", &data.to_string_lossy()]).status.success());
    let (policy, config) = (folder.path().join("policy.toml"), folder.path().join("oracle.toml"));
    std::fs::write(&policy, SAMPLE.replace("tick_seconds = 5", "tick_seconds = 1")).unwrap();
    let mut text = format!("data = {data:?}\nnetwork = \"regtest\"\nlive = true\npolicy = {policy:?}\n[venue_urls]\n");
    for name in ["kraken", "coinbase", "bitstamp", "bitfinex", "gemini"] {
        text += &format!("{name} = {venues:?}\n");
    }
    std::fs::write(&config, text).unwrap();
    for _ in 0..2 {
        let running = start(&config);
        let began = Instant::now();
        let price = loop {
            assert!(began.elapsed() < Duration::from_secs(30), "no price comes");
            let answer = reqwest::get(format!("{}/v1/price", running.1)).await.unwrap();
            if answer.status().is_success() {
                break answer.json::<serde_json::Value>().await.unwrap();
            }
        };
        assert!((6_400_000..6_400_100).contains(&price["cents"].as_u64().unwrap()), "{price}");
        let page: PolicyPage = reqwest::get(format!("{}/v1/policy", running.1)).await.unwrap().json().await.unwrap();
        assert_eq!((page.policies.len(), page.policies[0].policy.tick_seconds), (1, 1));
        let url = running.1.clone();
        let audited = tokio::task::spawn_blocking(move || oracle(&["audit", &url])).await.unwrap();
        let said = String::from_utf8_lossy(&audited.stdout).into_owned();
        assert!(audited.status.success() && said.contains("everything agrees"), "{said}{audited:?}");
    }
    std::fs::write(&policy, SAMPLE).unwrap();
    let refused = oracle(&["run", "--config", &config.to_string_lossy()]);
    assert!(said(&refused).contains("make it version 2"), "{refused:?}");
    // Published anew under the same number it would be a contradiction, so a lost file is asked for.
    std::fs::remove_file(data.join("policies.json")).unwrap();
    let refused = oracle(&["run", "--config", &config.to_string_lossy()]);
    assert!(said(&refused).contains("put the newest copy back"), "{refused:?}");
}

/// What an oracle without a policy file published before there was a second reading.
const OF_BEFORE: &str = r#"[{"version":1,"effective":0,"venues":["kraken","coinbase","bitstamp","bitfinex","gemini"],"tick_seconds":5,"max_age_seconds":30,"max_ahead_seconds":5,"max_unchanged_seconds":300,"max_spread_bp":50,"max_deviation_bp":150,"quorum":3,"held_ticks":12,"held_within_seconds":120,"low_min_held":12,"fixing_window_seconds":1800,"fixing_min_ticks":180,"freeze_seconds":120}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_of_before_goes_on_by_its_policy_and_reads_answers_the_new_way_from_the_next_hour() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let venues = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(venue)).await });
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("oracle"), folder.path().join("oracle.toml"));
    assert!(oracle(&["init", "--insecure-plain", "--data", &data.to_string_lossy()]).status.success());
    std::fs::write(data.join("policies.json"), OF_BEFORE).unwrap();
    let mut text = format!("data = {data:?}\nnetwork = \"regtest\"\nlive = true\n[venue_urls]\n");
    for name in ["kraken", "coinbase", "bitstamp", "bitfinex", "gemini"] {
        text += &format!("{name} = {venues:?}\n");
    }
    std::fs::write(&config, text).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let running = start(&config);
        let key: serde_json::Value = reqwest::get(format!("{}/pubkey", running.1)).await.unwrap().json().await.unwrap();
        let page: PolicyPage = reqwest::get(format!("{}/v1/policy", running.1)).await.unwrap().json().await.unwrap();
        for signed in &page.policies {
            signed.verify(&key["pubkey"].as_str().unwrap().parse().unwrap()).unwrap();
        }
        let [before, next] = page.policies.as_slice() else { panic!("two versions: {page:?}") };
        assert_eq!(serde_json::to_string(&[&before.policy]).unwrap(), OF_BEFORE);
        assert_eq!((next.policy.version, u32::from(next.policy.reading)), (2, 2));
        assert!(next.policy.effective.0.is_multiple_of(3_600) && next.policy.effective.0 > 1_700_000_000);
        seen.push(next.policy.clone());
    }
    assert_eq!(seen[0], seen[1], "said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_with_a_test_feed_has_nothing_to_audit_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("oracle");
    assert!(oracle(&["init", "--insecure-plain", "--data", &data.to_string_lossy()]).status.success());
    let config = folder.path().join("oracle.toml");
    std::fs::write(&config, format!("data = {data:?}\nnetwork = \"regtest\"\nmanual = true\n")).unwrap();
    let running = start(&config);
    let audited = oracle(&["audit", &running.1]);
    assert!(!audited.status.success());
    let said = said(&audited);
    assert!(said.contains("the replay and manual feeds keep no tick log"), "{said}");
    let answer = reqwest::get(format!("{}/v1/log/20200312", running.1)).await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("no_tick_log"));
}
