//! The command line as a person or a program meets it: the built binary, its exit code, its two outputs.
// A whole loan in one `json!`.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hypothec_oracle::daemon::usage;
use serde_json::{json, Value};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const LOAN: &str = "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
const TXID: &str = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b";
const ORACLE: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// Runs `hypothec` with these words and nothing on standard input.
fn run(args: &[&str]) -> Output {
    run_with(args, "")
}

fn run_with(args: &[&str], input: &str) -> Output {
    run_at(args, input, 400)
}

/// On a screen of so many columns.
fn run_at(args: &[&str], input: &str, columns: usize) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    command.args(args).env_remove("HYPOTHEC_DATA").env_remove("HYPOTHEC_PASSPHRASE_FILE").env("HOME", "/nowhere");
    // A terminal's name alone brings no colours into a file.
    command.env("COLUMNS", columns.to_string()).env("TERM", "xterm-256color");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may be gone already.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The answer of a command that worked.
fn good(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", err(&output));
    out(&output)
}

/// The complaint of a command that did not, which says nothing on standard output.
fn bad(args: &[&str]) -> String {
    let output = run(args);
    assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {}", out(&output));
    err(&output)
}

/// Closes a file to others.
fn private(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// A data folder made by `init`, and its path.
fn folder(place: &Path) -> String {
    let data = place.join("node").display().to_string();
    good(&["init", "--no-passphrase", "--data", &data, "--network", "regtest", "--json"]);
    data
}

/// A node's stand-in: answers every request from `answers` by method and path, the next of several each time and the last
/// for ever, and keeps what it was sent. An answer in `{"after": WHAT, "answer": ...}` comes when that was asked too.
struct Stand {
    data: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _place: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Stand {
    fn new(answers: Vec<(&'static str, Value)>) -> Stand {
        let place = tempfile::tempdir().unwrap();
        let data = folder(place.path());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let (kept, news) = (asked.clone(), Arc::new(tokio::sync::Notify::new()));
        let token = std::fs::read_to_string(Path::new(&data).join("token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let known = hypothec::node::data::DataFolder::open(Path::new(&data)).unwrap().token().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move |request: Request| {
            let (kept, bearer, answers, news) = (kept.clone(), bearer.clone(), answers.clone(), news.clone());
            let known = known.clone();
            async move {
                if let Some(nonce) = request.uri().to_string().strip_prefix("/v1/proof?nonce=") {
                    assert!(!request.headers().contains_key("authorization"), "the token was shown too early");
                    return axum::Json(json!({ "proof": known.proof(address, nonce) })).into_response();
                }
                assert_eq!(request.headers()["authorization"], bearer.as_str());
                let what = format!("{} {}", request.method(), request.uri());
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let times = {
                    let mut kept = kept.lock().unwrap();
                    let times = kept.iter().filter(|(before, _)| *before == what).count();
                    kept.push((what.clone(), serde_json::from_slice(&body).unwrap_or(Value::Null)));
                    times
                };
                let known = || answers.iter().filter(|(asked, _)| *asked == what).map(|(_, answer)| answer);
                let mut found = known().nth(times).or_else(|| known().next_back()).cloned();
                news.notify_waiters();
                if let Some(first) = found.as_ref().and_then(|answer| answer.get("after")).cloned() {
                    loop {
                        let next = news.notified();
                        if kept.lock().unwrap().iter().any(|(asked, _)| first == asked.as_str()) {
                            break;
                        }
                        next.await;
                    }
                    found = found.map(|answer| answer["answer"].clone());
                }
                let status = match &found {
                    Some(Value::Object(answer)) if answer.contains_key("code") => StatusCode::CONFLICT,
                    Some(_) => StatusCode::OK,
                    None => StatusCode::NOT_FOUND,
                };
                let none = json!({ "code": "not_found", "message": format!("nothing at {what}") });
                (status, axum::Json(found.unwrap_or(none))).into_response()
            }
        };
        std::fs::write(Path::new(&data).join("api"), format!("http://{address}\n")).unwrap();
        let router = axum::Router::new().fallback(answer);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Stand { data, asked, _place: place, _runtime: runtime }
    }

    fn good(&self, args: &[&str]) -> String {
        good(&[args, &["--data", &self.data]].concat())
    }

    fn bad(&self, args: &[&str]) -> String {
        bad(&[args, &["--data", &self.data]].concat())
    }

    /// A command's answer as JSON.
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.good(&[args, &["--json"]].concat())).unwrap()
    }

    fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn level(day: &str, level: u32) -> Value {
    json!({
        "day": day, "level": level, "owed_cents": 5_001_370, "borrower_sats": 1_001_000, "lender_sats": 99_000_000,
        "event": "btcusd-touch",
    })
}

fn loan() -> Value {
    json!({
        "loan_id": LOAN, "role": "borrower", "peer": KEY, "stage": "active", "cancelled_because": null,
        "principal_sats": 50_000_000, "principal_cents": 5_000_000, "collateral_sats": 100_000_000, "apr_bp": 1_000,
        "start": 1_584_007_200, "due": 1_591_783_200, "days_left": 90, "due_note": null, "owed_now_cents": 5_019_179,
        "debt_now_cents": 5_001_370, "minimum_interest_days": 14,
        "owed_at_due_cents": 5_123_288, "price_cents": 8_000_000, "price_note": null, "watched_at_cents": 8_000_000, "ltv_bp": 6_270, "margin": "warning",
        "level_today": level("20200312", 64_200), "level_next": level("20200313", 64_300),
        "funding": format!("{TXID}:0"), "funding_height": 101, "confirmations": [2, 3],
        "exits": [{ "exit": "Repaid", "when": "now", "lender_sats": 62_740_738, "borrower_sats": 37_260_262 }],
        "repayment": null,
        "repayment_note": null, "taken_back": null, "pending_exit": null, "turn": null, "ended": null, "statement": null, "no_statement": null, "transactions": [TXID],
        "oracles": [{ "pubkey": ORACLE, "said": [] }], "threshold": 1, "warnings": [],
    })
}

/// What a policy implies.
fn implies() -> Value {
    json!({
        "currency": "USD", "terms_version": 2, "apr_min_bp": 600, "apr_max_bp": 950, "minimum_interest_days_min": 1,
        "minimum_interest_days_max": 14, "warning_ltv_bp": 6_000, "call_ltv_bp": 6_600, "urgent_ltv_bp": 7_200,
        "liquidation_ltv_bp": 7_800, "cushion_bp": 500, "stake_sats": 1_000, "dust_sats": 1_000,
        "fee_rate_sat_per_vb": 25, "exit_fee_sats": 4_250, "collateral_min_sats": 425_000, "confirmations": 3,
        "confirmations_above_one_bitcoin": 6, "principal_within_bp": 50, "quote_seconds": 3_600,
        "approval_seconds": 1_800, "coin_seconds": 1_800, "price_drift_bp": 50, "fallback_days": 30, "refund_days": 365,
        "loan_fees_sats": 5_400, "price_cents": 10_000_000, "smallest_loses_cents": 538,
        "earns": [
            { "days": 1, "when_due_cents": null, "at_once_cents": null },
            { "days": 365, "when_due_cents": 10_000, "at_once_cents": 157_000 },
        ],
    })
}

fn quote() -> Value {
    json!({
        "loan_id": LOAN, "lender": KEY, "principal_sats": 50_000_000, "principal_cents": 5_000_000,
        "asked_cents": 5_000_005, "collateral_sats": 100_000_000, "reference_price_cents": 10_000_000, "ltv_bp": 5_000,
        "ltv_at_due_bp": 5_124, "minimum_interest_days": 14, "apr_bp": 1_000,
        "start": 1_584_007_200, "days": 90, "due": 1_591_783_200, "owed_at_due_cents": 5_123_288,
        "owed_at_least_cents": 5_019_179, "expires": 1_584_006_000, "cushion_bp": 500,
        "levels": [level("20200312", 64_200), level("20200610", 65_700)],
        "gaps": [
            { "below_bp": 1_000, "proceeds_cents": 4_726_000, "shortfall_cents": 275_370 },
            { "below_bp": 500, "proceeds_cents": 5_001_370, "shortfall_cents": 0 },
        ],
        "fees": [{ "transaction": "touch", "sats": 4_275, "paid_by": "both, paid ahead at funding" }],
        "needs_sats": 100_012_345, "coins": 6, "coins_note": null, "place_note": null, "missing_sats": 0, "waiting_sats": 0, "oracles": [ORACLE], "threshold": 1, "spread": null, "signatures": 786, "curve_error_ppm": [200, 1_000],
        "warnings": ["What you receive is bitcoin worth dollars."],
    })
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = "init|node|status|wallet address|wallet balance|wallet history|wallet send|wallet encrypt|wallet consolidate|peer connect|peer list|peer remove|oracle add|\
        oracle list|oracle remove|oracle proof|policy show|policy set|requests|approve|decline|quote|borrow|loan list|loan show|loan cancel|loan repay|loan withdraw|\
        loan receipt|events|backup|restore|demo|completions|man";
    for command in commands.split('|') {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = out(&run_at(&words, "", 80));
        assert!(help.contains("Example") && help.contains(&format!("hypothec {command}")), "{command}\n{help}");
        assert!(help.lines().all(|line| fits(line.trim_end_matches(" \\"), 80)), "{help}");
        assert_eq!(usage::broken_early(&help, 80), None, "{help}");
    }
    assert!(good(&["--help"]).contains("A first loan"));
    assert!(good(&["oracle-daemon", "run", "--help"]).contains("--replay"));
}

#[test]
fn shells_complete_every_command_and_the_manual_has_a_page_for_each() {
    for shell in ["bash", "zsh", "fish"] {
        for script in [good(&["completions", shell]), good(&["oracle-daemon", "completions", shell])] {
            assert!(script.contains("hypothec"), "{shell}: {script}");
        }
        assert!(good(&["completions", shell]).contains("consolidate"), "{shell}");
    }
    assert!(bad(&["completions", "sh"]).contains("bash"));
    let place = tempfile::tempdir().unwrap();
    let [ours, oracles] = ["hypothec", "oracle"].map(|name| place.path().join(name).display().to_string());
    assert!(good(&["man", &ours]).contains("pages to"));
    assert!(good(&["oracle-daemon", "man", &oracles]).contains("pages to"));
    let page = std::fs::read_to_string(Path::new(&ours).join("hypothec-loan-repay.1")).unwrap();
    assert!(page.contains("Where the sats come from") && page.contains("\\-\\-from"), "{page}");
    assert!(Path::new(&oracles).join("hypothec-oracle-price-set.1").exists());
    // Once more into the same folder is no failure.
    let again: Value = serde_json::from_str(&good(&["man", &ours, "--json"])).unwrap();
    assert!(again["pages"].as_u64().unwrap() > 25, "{again}");
}

#[test]
fn init_makes_a_private_folder_and_shows_the_words_once() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("node");
    let text = good(&["init", "--no-passphrase", "--data", data.to_str().unwrap(), "--network", "regtest"]);
    let words = std::fs::read_to_string(data.join("words")).unwrap();
    for word in words.split_whitespace() {
        assert!(text.contains(&format!(". {word}\n")), "{text}");
    }
    assert!(text.contains("do not restore an open loan") && text.contains("Next: hypothec"), "{text}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["words", "token", "hypothec.toml"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    let again = bad(&["init", "--data", data.to_str().unwrap()]);
    assert!(again.contains("never replaced"), "{again}");
    assert_eq!(std::fs::read_to_string(data.join("words")).unwrap(), words);
}

#[test]
fn init_restores_words_from_standard_input_and_refuses_wrong_ones() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("node").display().to_string();
    let wrong = run_with(&["init", "--no-passphrase", "--restore", "--data", &data], "abandon about");
    assert!(!wrong.status.success() && err(&wrong).contains("2 of them were given"), "{}", err(&wrong));
    assert!(!Path::new(&data).exists());
    let words = format!("{}about", "abandon ".repeat(11));
    let made = run_with(&["init", "--no-passphrase", "--restore", "--data", &data], &words);
    assert!(made.status.success() && !out(&made).contains("abandon"), "{}", err(&made));
    assert_eq!(std::fs::read_to_string(Path::new(&data).join("words")).unwrap().trim(), words);
}

#[test]
fn words_are_encrypted_with_a_passphrase_unless_a_person_says_otherwise() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("node").display().to_string();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    for (file, text) in [(&first, "  correct horse\u{a0}battery"), (&second, "staple staple")] {
        std::fs::write(file, text).unwrap();
        private(file);
    }
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    let refused = bad(&["init", "--data", &data, "--network", "regtest"]);
    assert!(refused.contains("--passphrase-file") && refused.contains("--no-passphrase"), "{refused}");
    assert!(!Path::new(&data).exists());
    let text = good(&["init", "--data", &data, "--network", "regtest", "--passphrase-file", first]);
    assert!(text.contains("encrypted, in") && text.contains("asks for the passphrase"), "{text}");
    let numbered = |line: &&str| line.trim().split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    let list: Vec<&str> = text.lines().filter(numbered).collect();
    let words: Vec<&str> = list.iter().filter_map(|line| line.split_whitespace().last()).collect();
    assert!(words.len() == 12 && !Path::new(&data).join("words").exists(), "{text}");
    let sealed = std::fs::read(Path::new(&data).join("words.age")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1"));
    // The node: without, with a wrong one, with the right one (and no bitcoind behind it).
    let node = |args: &[&str]| bad(&[&["node", "--data", &data], args].concat());
    assert!(node(&[]).contains("it is encrypted and there is no passphrase"));
    assert!(node(&["--passphrase-file", second]).contains("does not open it"));
    let other =
        bad(&["wallet", "encrypt", "--data", &data, "--old-passphrase-file", second, "--passphrase-file", second]);
    assert!(other.contains("does not open it"), "{other}");
    good(&["wallet", "encrypt", "--data", &data, "--old-passphrase-file", first, "--passphrase-file", second]);
    assert!(node(&["--passphrase-file", first]).contains("does not open it"));
    // Made again from the list as it was printed, into a folder that a person wants unencrypted.
    let again = place.path().join("again").display().to_string();
    let made = run_with(&["init", "--restore", "--no-passphrase", "--data", &again], &list.join("\n"));
    assert!(made.status.success() && out(&made).contains("NOT encrypted"), "{}", err(&made));
    let kept = std::fs::read_to_string(Path::new(&again).join("words")).unwrap();
    assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), words);
    let text = good(&["wallet", "encrypt", "--data", &again, "--passphrase-file", first]);
    assert!(text.contains("plain file is gone") && !Path::new(&again).join("words").exists(), "{text}");
}

#[test]
fn a_line_that_cannot_be_read_is_told_as_json_where_json_was_asked_for() {
    let said = bad(&["loan", "show", "z", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["code"], "usage");
    assert!(said["message"].as_str().unwrap().contains("invalid value 'z'"), "{said}");
    // What is missing is named, in the one document.
    for (args, missing) in
        [(vec!["quote", "--json"], "--principal <USD>"), (vec!["wallet", "send", "bcrt1q", "--json"], "--all")]
    {
        let said: serde_json::Value = serde_json::from_str(&bad(&args)).unwrap();
        assert!(said["message"].as_str().unwrap().contains(missing), "{said}");
    }
}

#[test]
fn init_refuses_mainnet_and_settings_that_the_node_would_refuse() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("node").display().to_string();
    let said = bad(&["init", "--data", &data, "--network", "mainnet"]);
    assert!(said.contains("mainnet") && said.contains("nobody but its authors"), "{said}");
    let said = bad(&["init", "--data", &data, "--api-listen", "0.0.0.0:1"]);
    assert!(said.contains("api.listen") && said.contains("must be this machine"), "{said}");
    assert!(!Path::new(&data).exists());
}

#[test]
fn a_command_without_a_node_says_how_to_start_one() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("node").display().to_string();
    assert!(bad(&["status", "--data", &data]).contains("hypothec init"));
    let data = folder(place.path());
    assert!(bad(&["status", "--data", &data]).contains("hypothec node"));
    // A node that was killed leaves its address behind.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(Path::new(&data).join("api"), format!("http://{gone}")).unwrap();
    let said: Value = serde_json::from_str(&bad(&["loan", "list", "--data", &data, "--json"])).unwrap();
    assert_eq!(said["code"], "unavailable");
    assert!(said["message"].as_str().unwrap().contains("hypothec node"));
    std::fs::set_permissions(Path::new(&data).join("token"), PermissionsExt::from_mode(0o644)).unwrap();
    assert!(bad(&["status", "--data", &data]).contains("chmod"));
}

#[test]
fn a_node_that_stands_still_is_told_by_every_command_in_seconds_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let data = folder(place.path());
    // It takes connections, as the system does for a stopped process, and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(Path::new(&data).join("api"), format!("http://{}\n", listener.local_addr().unwrap())).unwrap();
    let mut process = Command::new("sleep").arg("600").spawn().unwrap();
    let id = process.id();
    std::fs::write(Path::new(&data).join("lock"), format!("{id}\n")).unwrap();
    let signal = |signal| rustix::process::kill_process(rustix::process::Pid::from_child(&process), signal).unwrap();
    signal(rustix::process::Signal::STOP);
    let began = std::time::Instant::now();
    let commands: [&[&str]; 10] = [
        &["status"],
        &["wallet", "consolidate", "--yes"],
        &["wallet", "balance"],
        &["peer", "list"],
        &["oracle", "list"],
        &["policy", "show"],
        &["requests"],
        &["loan", "list"],
        &["events", "--follow"],
        &["quote", "--lender", &format!("{KEY}@127.0.0.1:1"), "--principal", "1", "--collateral", "1", "--term", "7"],
    ];
    let said: Vec<String> = std::thread::scope(|scope| {
        let data = data.as_str();
        let asked: Vec<_> =
            commands.iter().map(|words| scope.spawn(move || bad(&[words, &["--data", data][..]].concat()))).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    println!("bound standing-still {} s", began.elapsed().as_secs());
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    for said in &said {
        assert!(said.contains("stands still") && said.contains(&format!("`kill -CONT {id}`")), "{said}");
    }
    // It was not even shown the token, so that nothing can have been done.
    assert!(said.iter().all(|said| !said.contains("all the same")), "{}", said[1]);
    signal(rustix::process::Signal::KILL);
    process.wait().unwrap();
    let said = bad(&["status", "--json", "--data", &data]);
    let view: Value = serde_json::from_str(&said).unwrap();
    assert!(view["code"] == "timed_out" && view["message"].as_str().unwrap().contains("does not answer"), "{said}");
}

#[test]
fn who_listens_on_the_port_of_a_node_that_died_is_not_shown_its_token() {
    use std::io::{Read, Write};
    let place = tempfile::tempdir().unwrap();
    let data = folder(place.path());
    let token = hypothec::node::data::DataFolder::open(Path::new(&data)).unwrap().token().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::fs::write(Path::new(&data).join("api"), format!("http://{address}\n")).unwrap();
    // Anything it can think of: nothing, a made-up answer, one of before, one that the node gives at another address.
    let elsewhere = "127.0.0.1:1".parse().unwrap();
    let lies = ["", "{}", "[]", "{\"proof\":\"\"}", "before", "elsewhere"];
    let heard: Arc<Mutex<String>> = Arc::default();
    let (kept, known) = (heard.clone(), token.clone());
    std::thread::spawn(move || {
        for (times, connection) in listener.incoming().enumerate() {
            let (mut connection, mut bytes) = (connection.unwrap(), [0; 4_096]);
            let length = connection.read(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let nonce = text.split("nonce=").nth(1).map_or("", |rest| &rest[..64]);
            let body = match lies[times % lies.len()] {
                "before" => json!({ "proof": known.proof(address, &"0".repeat(64)) }).to_string(),
                "elsewhere" => json!({ "proof": known.proof(elsewhere, nonce) }).to_string(),
                lie => lie.to_owned(),
            };
            kept.lock().unwrap().push_str(&text);
            if !body.is_empty() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                connection.write_all((head + &body).as_bytes()).unwrap();
            }
        }
    });
    let commands: [&[&str]; 6] = [
        &["wallet", "balance"],
        &["status"],
        &["wallet", "send", "bcrt1q", "--all", "--yes"],
        &["events", "--follow"],
        &["loan", "list"],
        &["peer", "list"],
    ];
    for command in commands {
        let said = bad(&[command, &["--data", &data, "--json"][..]].concat());
        assert!(said.contains("does not prove that it is the node") && said.contains("hypothec node --data"), "{said}");
    }
    let heard = heard.lock().unwrap().to_lowercase();
    assert!(heard.matches("/v1/proof?nonce=").count() >= commands.len(), "{heard}");
    let shown = heard.matches(token.secret()).count() + heard.matches("authorization").count();
    println!("bound taken-port {shown} tokens shown");
    assert_eq!(shown, 0, "{heard}");
}

#[test]
fn a_copy_of_a_nodes_folder_is_told_which_process_and_folder_stand_in_the_way_in_lines_that_fit_a_pipe() {
    use std::io::BufRead;
    let place = tempfile::tempdir().unwrap();
    let [data, copy] = ["first", "copy"].map(|name| place.path().join(name).display().to_string());
    // It waits for a bitcoind that is not there.
    let nobody = ["--bitcoind-url", "http://127.0.0.1:1", "--listen", "off", "--api-listen", "127.0.0.1:0"];
    good(&[&["init", "--no-passphrase", "--data", &data, "--network", "regtest"], &nobody[..]].concat());
    let copied = Command::new("cp").args(["-a", &data, &copy]).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    command.args(["node", "--data", &data]).env("HOME", "/nowhere").stdin(Stdio::null());
    let mut first = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    // Open to the end: a node that says more to nobody would end.
    let mut reader = std::io::BufReader::new(first.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("The node runs on regtest"), "{line}");
    let said = [&copy, &data].map(|folder| {
        let output = run_at(&["node", "--data", folder], "", 80);
        assert!(!output.status.success());
        err(&output)
    });
    first.kill().unwrap();
    let remedy = format!("`kill {}`", first.id());
    first.wait().unwrap();
    drop(reader);
    for (said, part) in said.iter().zip([format!("process {} on the data folder {data}", first.id()), data.clone()]) {
        let own = &said[said.find("hypothec: ").unwrap()..];
        assert!(own.lines().count() > 1 && own.lines().all(|line| fits(line, 80)), "{own}");
        let words = own.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&part) && own.contains(&remedy), "{own}");
    }
}

#[test]
fn the_token_goes_to_no_other_machine() {
    let place = tempfile::tempdir().unwrap();
    let data = folder(place.path());
    std::fs::write(Path::new(&data).join("api"), "http://192.0.2.1:9811").unwrap();
    assert!(bad(&["status", "--data", &data]).contains("does not name an address of this machine"));
}

#[test]
fn a_clock_file_is_refused_outside_regtest() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("node").display().to_string();
    good(&["init", "--no-passphrase", "--data", &data, "--network", "signet"]);
    let said = bad(&["node", "--data", &data, "--regtest-clock", "clock"]);
    assert!(said.contains("signet") && said.contains("--regtest-clock"), "{said}");
}

#[test]
fn a_wrong_amount_is_told_its_field_its_value_and_what_would_be_right() {
    let lender = format!("{KEY}@127.0.0.1:9810");
    let quote = |principal: &str, collateral: &str, term: &str| {
        bad(&["quote", "--lender", &lender, "--principal", principal, "--collateral", collateral, "--term", term])
    };
    for (said, field, value, right) in [
        (quote("50,000", "1", "90"), "--principal", "50,000", "for example 50000"),
        (quote("0.001", "1", "90"), "--principal", "0.001", "cent is the smallest"),
        (quote("50000", "1.123456789", "90"), "--collateral", "1.123456789", "sat is the smallest"),
        (quote("50000", "21000001", "90"), "--collateral", "21000001", "never be more than 21000000"),
        (quote("50000", "1", "0"), "--term", "0", "at least one"),
        (bad(&["borrow", "xyz"]), "<QUOTE>", "xyz", "its first 4 digits"),
        (bad(&["loan", "show", "xyz"]), "<LOAN>", "xyz", "its first 4 digits"),
        (bad(&["peer", "connect", "02ab@x:1"]), "<ADDRESS>", "02ab", "66 hex digits"),
        (bad(&["oracle", "add", "127.0.0.1:3939"]), "<URL>", "127.0.0.1:3939", "http://"),
        (bad(&["wallet", "send", "bcrt1q", "1e3"]), "[AMOUNT]", "1e3", "for example 1.25"),
    ] {
        assert!(said.contains(field) && said.contains(value) && said.contains(right), "{said}");
    }
}

#[test]
fn a_quote_says_everything_before_commitment() {
    let stand = Stand::new(vec![("POST /v1/quotes", quote())]);
    let lender = format!("{KEY}@127.0.0.1:9810");
    let args = ["quote", "--lender", &lender, "--principal", "50000.05", "--collateral", "1", "--term", "90"];
    let all = [&args[..], &["--all"]].concat();
    let text = stand.good(&all);
    for part in [
        "50,000,000 sat (0.50000000 BTC)",
        "worth $50,000.00, $0.05 less than you asked: its coin's size",
        "100,000,000 sat (1.00000000 BTC)",
        "at $100,000.00 a bitcoin",
        "$50,000.00, 50 % of the collateral's worth today",
        "10 % a year",
        "owed at due",
        "$51,232.88, 51.24 % of the collateral's worth today",
        "at least $50,191.79: 14 days of interest, however early",
        "100,012,345 sat",
        "with your fees, in 6 coins",
        "2020-03-12",
        "$64,200",
        "5 % of what is owed",
        "$2,753.70 short",
        "which covers what is owed",
        "4,275 sat",
        "0.02 % of the collateral",
        "786 signatures",
        ORACLE,
        "What you receive is bitcoin worth dollars.",
        "borrow d01e2a31…f2d0",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let sent = json!({ "lender": lender, "principal_cents": 5_000_005, "collateral_sats": 100_000_000, "days": 90 });
    assert_eq!(stand.asked(), [("POST /v1/quotes".to_owned(), sent)]);
    assert_eq!(stand.json(&args), quote());
    // Asked and offered alike, for so short a term that every day counts anyway.
    let mut short = quote();
    short["asked_cents"] = json!(5_000_000);
    short["owed_at_least_cents"] = json!(5_123_288);
    let text = Stand::new(vec![("POST /v1/quotes", short)]).good(&args);
    assert!(text.contains("worth $50,000.00, as you asked"), "{text}");
    assert!(text.contains("saves nothing: $51,232.88 is owed however early"), "{text}");
    // What the wallet lacks is said before the quote is taken.
    let mut many = quote();
    let why =
        "the collateral would take 20 coins or more, the most is 16: join small ones first with `wallet consolidate`";
    (many["coins"], many["coins_note"]) = (json!(20), json!(why));
    for args in [&args[..], &all] {
        let text = Stand::new(vec![("POST /v1/quotes", many.clone())]).good(args);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("Your coins do not do for it now: {why}.")), "{text}");
        assert!(
            text.contains("Next: hypothec --data") && text.contains("wallet consolidate and with its block"),
            "{text}"
        );
    }
    let mut poor = quote();
    let (mut beside, note) = (quote(), "the quote came over the connection that this node opened to 127.0.0.1:9810");
    beside["place_note"] = json!(note);
    let stand = Stand::new(vec![("POST /v1/quotes", beside)]);
    for args in [&args[..], &all] {
        let text = stand.good(args);
        assert!(text.contains(&format!("\nNote: {note}.\n")), "{text}");
    }
    (poor["coins"], poor["coins_note"], poor["missing_sats"]) = (json!(null), json!("not enough"), json!(12_345));
    let text = Stand::new(vec![("POST /v1/quotes", poor)]).good(&args);
    for part in ["You lack 12,345 sat (0.00012345 BTC).", "wallet address\nand with its block, before the quote ends:"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Does a line fit? One word too long for the width, as a key is, stays whole; so does a command to type.
fn fits(line: &str, width: usize) -> bool {
    let length = |text: &str| text.chars().count();
    let word = line.split_whitespace().map(length).max().unwrap_or(0);
    let is_command = line.trim_start_matches("Next: ").trim_start().starts_with("hypothec ");
    length(line) <= width || word + 16 > width || is_command
}

#[test]
fn a_quote_fits_a_screen_and_says_how_to_see_the_rest() {
    let mut quoted = quote();
    quoted["oracles"] = json!([ORACLE, ORACLE, ORACLE]);
    quoted["threshold"] = json!(2);
    quoted["spread"] = json!({ "always_usd": 512, "never_usd": 1_024, "never_bp": 103 });
    let stand = Stand::new(vec![("POST /v1/quotes", quoted)]);
    let lender = format!("{KEY}@127.0.0.1:9810");
    let args = ["quote", "--lender", &lender, "--principal", "50000", "--collateral", "1", "--term", "90", "--data"];
    let text = out(&run_at(&[&args[..], &[&stand.data]].concat(), "", 80));
    let lines: Vec<&str> = text.lines().collect();
    // The line of the command itself, and the prompt below it.
    assert!(
        lines.len() <= 22 && lines.iter().all(|line| line.chars().count() <= 80 || line.starts_with("Next:")),
        "{text}"
    );
    for part in
        ["at $64,200 on 2020-03-12, rising to $65,700 on 2020-06-10", "--all", "borrow d01e2a31…f2d0", "$51,232.88"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn every_table_fits_its_screen_without_breaking_a_word() {
    let peer = |there| json!({ "node_id": KEY, "address": format!("{KEY}@127.0.0.1:9810"), "connected": there });
    let oracle = json!({
        "pubkey": ORACLE, "url": "http://127.0.0.1:3939", "mirrors": ["https://mirror.example.org"],
        "spot_cents": 8_000_000, "spot_at": 1_584_007_200, "trouble": "it did not answer for ten minutes, and then again not",
    });
    let event = json!({ "number": 7, "at": 1_584_007_200, "loan_id": LOAN, "event": "funding_seen", "text": format!("funding transaction {TXID} seen") });
    let [mut ended, mut urgent] = [loan(), loan()];
    ended["stage"] = json!("closed");
    ended["loan_id"] = json!(TXID);
    ended["ended"] = json!({
        "exit": "Repaid", "txid": TXID, "height": 140, "price_cents": 6_420_000, "owed_cents": 5_019_179,
        "paid_to_lender_sats": 81_801_000, "returned_to_borrower_sats": 100_000_000,
    });
    let line = |what: &str, fee: u64, ours: i64| json!({ "what": what, "txid": TXID, "height": 140, "missing": false, "fee_sats": fee, "ours_sats": ours, "spent_sats": 1, "received_sats": 2 });
    ended["statement"] = json!({
        "opened": 1_584_007_200, "given_back": false, "confirmed": 1_584_007_300, "ended": 1_584_107_200, "opened_at_cents": 10_000_000,
        "ended_at_cents": 6_420_000, "interest_cents": 19_179, "principal_sats": 50_000_000, "paid_sats": 81_800_000,
        "transactions": [line("funding", 3_500, 1_800), line("repayment taken back", 14_110, 14_110), line("repaid", 4_275, -25)],
        "fees_sats": 15_885, "change_sats": -31_815_885, "net_cents": -272_345,
    });
    urgent["margin"] = json!("urgent");
    let policy = serde_json::to_value(hypothec::loan::policy::Policy::default()).unwrap();
    let balance = json!({ "confirmed_sats": 5, "unconfirmed_sats": 6, "reserved_sats": 7, "fee_reserve_sats": 1 });
    let entry = |what: Value, fee: Value, change: i64| {
        json!({
            "txid": TXID, "height": 140, "at": 1_584_107_200, "what": what, "loan_id": LOAN, "fee_sats": fee, "spent_sats": 1,
            "received_sats": 2, "change_sats": change,
        })
    };
    let history =
        json!([entry(json!("coin set apart for fees"), json!(-25), -703), entry(json!(null), json!(null), 5_000)]);
    let stand = Stand::new(vec![
        ("GET /v1/loans", json!([loan(), urgent, ended])),
        ("GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0", loan()),
        ("GET /v1/loans/4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b", ended),
        ("GET /v1/peers", json!([peer(true), peer(false)])),
        ("GET /v1/oracles", json!([oracle])),
        ("GET /v1/policy", policy),
        ("GET /v1/policy/terms", implies()),
        ("GET /v1/wallet/balance", balance),
        ("GET /v1/wallet/history", history),
        ("POST /v1/quotes", quote()),
        ("GET /v1/events?after=0&wait=0", json!([event])),
        ("GET /v1/events?after=7&wait=0", json!([])),
    ]);
    let ask = [
        "quote",
        "--lender",
        &format!("{KEY}@127.0.0.1:9810"),
        "--principal",
        "50000",
        "--collateral",
        "1",
        "--term",
        "90",
    ];
    let asked = |more: &[&str]| ask.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let commands = [
        "loan list",
        "loan show d01e",
        "loan show 4a5e",
        "peer list",
        "oracle list",
        "policy show",
        "wallet balance",
        "wallet history",
        "events",
    ];
    for command in commands.into_iter().map(words).chain([asked(&[]), asked(&["--all"])]) {
        let at = |width| {
            let args: Vec<&str> = command.iter().map(String::as_str).chain(["--data", &stand.data]).collect();
            let output = run_at(&args, "", width);
            assert!(output.status.success(), "{args:?}: {}", err(&output));
            out(&output)
        };
        let all = at(400).to_lowercase();
        for width in [60, 80, 120] {
            let text = at(width);
            assert!(text.lines().all(|line| fits(line, width)), "{width}\n{text}");
            assert!(!text.contains('\u{1b}'), "no colours in a file: {text}");
            let known = |word: &str| all.split_whitespace().any(|one| one == word.to_lowercase());
            let told = text.lines().filter(|line| !line.contains("--json has all"));
            let broken: Vec<&str> = told.flat_map(str::split_whitespace).filter(|word| !known(word)).collect();
            assert!(broken.is_empty() || text.contains("Left out at this width"), "{width}: {broken:?}\n{text}");
        }
    }
    // What matters most is never left out; what is left out is named.
    let list = out(&run_at(&["loan", "list", "--data", &stand.data], "", 80));
    for part in [
        "d01e2a31…f2d0",
        "OWED TODAY",
        "LTV",
        "DUE",
        "MARGIN",
        "urgent",
        "repaid",
        "Left out at this width: principal, collateral.",
    ] {
        assert!(list.contains(part), "{part}\n{list}");
    }
    let statement = out(&run_at(&["loan", "show", "4a5e", "--data", &stand.data], "", 80));
    for part in [
        "opened",
        "confirmed",
        "$50,191.79: $50,000.00 lent and $191.79 of interest",
        "14,110",
        "4,300",
        "−25",
        "our wallet",
        "−31,815,885 sat",
        "cost us $2,723.45",
        "at $64,200.00 a bitcoin",
    ] {
        assert!(statement.contains(part), "{part}\n{statement}");
    }
    let history = out(&run_at(&["wallet", "history", "--data", &stand.data], "", 80));
    for part in ["coin set apart for fees", "−703", "not known here", "this is our part", "All together: 4,297 sat"] {
        assert!(history.contains(part), "{part}\n{history}");
    }
    assert!(stand.good(&["wallet", "history"]).contains("−25"), "a part of a fee that came back");
}

#[test]
fn a_statement_says_what_is_not_known_here_and_why_there_is_none() {
    let path = "GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
    let mut ended = loan();
    ended["stage"] = json!("closed");
    ended["ended"] = json!({
        "exit": "Repaid", "txid": TXID, "height": 140, "price_cents": null, "owed_cents": null,
        "paid_to_lender_sats": 81_801_000, "returned_to_borrower_sats": 100_000_000,
    });
    let show = |loan: &Value| {
        let stand = Stand::new(vec![(path, loan.clone()), ("GET /v1/loans", json!([loan]))]);
        let text = stand.good(&["loan", "show", "d01e"]);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(show(&ended).contains("Who paid which fee: loan show d01e2a31…f2d0"));
    ended["no_statement"] = json!("bitcoind does not answer at 127.0.0.1:18443");
    assert!(show(&ended).contains("cannot be said now: bitcoind does not answer at 127.0.0.1:18443."));
    ended["no_statement"] = json!(null);
    ended["statement"] = json!({
        "opened": null, "given_back": true, "confirmed": null, "ended": null, "opened_at_cents": 10_000_000, "ended_at_cents": null,
        "interest_cents": null, "principal_sats": 50_000_000, "paid_sats": null,
        "transactions": [{ "what": "repaid", "txid": TXID, "height": null, "missing": true, "fee_sats": null,
            "ours_sats": null, "spent_sats": null, "received_sats": null }],
        "fees_sats": null, "change_sats": null, "net_cents": null,
    });
    let text = show(&ended);
    for part in [
        "opened not known here, at $100,000.00",
        "confirmed not known here",
        "ended not known here",
        "owed then not known here",
        "140 by the record; the chain here does not have it",
        "repaid ? ? ? missing",
        "A peer gave this loan back: the making of our coin",
        "paid by us not known here",
        "our wallet not known here",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // What the chain says of it is said to be the chain's.
    (ended["ended"]["exit"], ended["ended"]["owed_cents"]) = (json!("Receipt"), json!(5_001_370));
    (ended["statement"]["interest_cents"], ended["statement"]["owed_by_block"]) = (json!(1_370), json!(true));
    let text = show(&ended);
    assert!(text.contains("$50,000.00 lent and $13.70 of interest, by the time of its block"), "{text}");
    // And so is a due time by a clock that nothing confirms.
    let note = "by this machine's clock, which neither the chain nor a price confirms";
    let mut unsure = loan();
    unsure["due_note"] = json!(note);
    assert!(show(&unsure).contains(&format!("90 days left {note} owed today")), "{}", show(&unsure));
}

#[test]
fn a_loan_answers_what_a_person_asks() {
    let path = "GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
    let stand = Stand::new(vec![
        ("GET /v1/requests?ended=true", json!([])),
        (path, loan()),
        ("GET /v1/loans", json!([loan()])),
    ]);
    let text = stand.good(&["loan", "show", "d01e"]);
    for part in [
        "owed today",
        "$50,013.70",
        "repaid today",
        "$50,191.79: 14 days of interest at least",
        "90 days left",
        "$80,000.00",
        "62.7 %",
        "warning (60 %)",
        "$64,200",
        "$64,300",
        "2 of 3 confirmations",
        "37,260,262 sat",
        "Of what the lender gets 1,000 sat are its own stake.",
        "Next: hypothec --data",
        "loan repay",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(stand.json(&["loan", "show", LOAN]), loan());
    let list = stand.good(&["loan", "list"]);
    assert!(list.contains("d01e2a31…f2d0") && list.contains("active") && list.contains("warning"), "{list}");
    assert_eq!(stand.json(&["loan", "list"]), json!([loan()]));
    assert!(stand.bad(&["loan", "show", "ffff"]).contains("no loan begins so"));
}

#[test]
fn a_repayment_that_did_not_go_ahead_says_why_and_what_comes_next() {
    let mut refused = loan();
    refused["repayment_note"] = json!("the lender refused: its fee is too low");
    let show = |loan: serde_json::Value| {
        let path = "GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
        let stand = Stand::new(vec![(path, loan.clone()), ("GET /v1/loans", json!([loan]))]);
        stand.good(&["loan", "show", "d01e"])
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = show(refused.clone());
    // Where the loan's facts stand, and not below its tables.
    let why = "repayment the last one did not go ahead: the lender refused: its fee is too low";
    let (facts, _) = text.split_once("Today's level").unwrap();
    assert!(words(facts).contains(why), "{text}");
    assert!(text.contains("loan repay"), "{text}");
    // While its coin is on its way back nothing else can be proposed.
    refused["repayment"] = json!("4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b");
    let text = show(refused);
    assert!(text.contains("Next: wait for a block: the repayment is being taken back"), "{text}");
    assert!(words(&text).contains("it does not go ahead: the lender refused: its fee is too low"), "{text}");
}

#[test]
fn a_loan_whose_end_is_settled_or_whose_level_is_touched_says_what_comes_next_and_what_it_would_cost() {
    let show = |loan: serde_json::Value| {
        let path = "GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
        let stand = Stand::new(vec![(path, loan.clone()), ("GET /v1/loans", json!([loan]))]);
        let text = stand.good(&["loan", "show", "d01e"]);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut given = loan();
    given["role"] = json!("lender");
    given["pending_exit"] = json!({ "exit": "Receipt", "txid": TXID, "sat_per_vb": 5, "child": null,
        "child_fee_sats": null, "since_height": 7, "waits_for": "a block", "refused": null });
    let text = show(given);
    assert!(text.contains("Next: wait for a block: the loan ends, freed by the lender's receipt"), "{text}");
    assert!(!text.contains("loan receipt"), "{text}");
    let mut touched = loan();
    touched["price_cents"] = json!(6_420_000);
    touched["exits"] = json!([
        { "exit": "Repaid", "when": "now", "lender_sats": 16_733_583, "borrower_sats": 1 },
        { "exit": "Liquidated", "when": "at", "lender_sats": 16_371_282, "borrower_sats": 1 },
    ]);
    let text = show(touched.clone());
    for part in
        ["Next: wait for the oracle", "the lender then gets 16,371,282 sat", "gives it 16,733,583 sat: hypothec"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    touched["price_cents"] = json!(6_420_001);
    assert!(show(touched).contains("Next: hypothec"));
}

#[test]
fn a_loan_that_was_funded_while_it_was_cancelled_is_not_said_to_be_given_up() {
    let post = "POST /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0/cancel";
    let text = |answer: Value| Stand::new(vec![(post, answer)]).good(&["loan", "cancel", LOAN, "--yes"]);
    assert!(text(at(json!("cancelled"))).starts_with("The loan is given up."));
    assert!(text(confirming(1)).starts_with("The loan is not given up: no coin of yours is taken back"));
    let mut back = at(json!("confirming"));
    back["taken_back"] = json!(TXID);
    assert!(text(back).starts_with("Your coin is taken back by a transaction of yours"));
}

#[test]
fn a_withdrawal_says_what_it_did_and_what_still_waits_until_when() {
    let post = "POST /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0/withdraw";
    let text = |answer: Value| Stand::new(vec![(post, answer)]).good(&["loan", "withdraw", LOAN, "--yes"]);
    let gone = text(loan());
    assert!(gone.starts_with("No repayment waits any more; the loan goes on as before."), "{gone}");
    let mut waits = loan();
    waits["repayment"] = json!(KEY[2..]);
    waits["turn"] =
        json!({ "who": "lender", "ours": false, "text": "", "since": 1_584_007_200, "until": 1_584_007_260 });
    let still = text(waits.clone());
    let part =
        format!("Repayment {} still waits, since 2020-03-12 10:00 UTC, to 2020-03-12 10:01 UTC at most", &KEY[2..]);
    assert!(still.starts_with(&part) && still.contains("nothing that takes it back is made yet"), "{still}");
    waits["taken_back"] = json!(TXID);
    let taken = text(waits);
    for part in ["is taken back by a transaction of yours", TXID, "Until then it still waits, and the lender can"] {
        assert!(taken.contains(part), "{part} in {taken}");
    }
}

#[test]
fn a_loan_that_ended_says_how() {
    let mut ended = loan();
    ended["stage"] = json!("closed");
    ended["ended"] = json!({
        "exit": "Liquidated", "txid": TXID, "height": 140, "price_cents": 6_420_000, "owed_cents": 5_001_370,
        "paid_to_lender_sats": 81_801_000, "returned_to_borrower_sats": 18_200_000,
    });
    let mut cancelled = loan();
    cancelled["stage"] = json!("cancelled");
    cancelled["cancelled_because"] = json!("the lender went away");
    cancelled["loan_id"] = json!(TXID);
    let stand = Stand::new(vec![
        ("GET /v1/loans", json!([ended, cancelled])),
        ("GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0", ended),
    ]);
    let text = stand.good(&["loan", "show", "d01e"]);
    for part in ["liquidated", "140", "$64,200.00", "$50,013.70", "81,801,000 sat", "18,200,000 sat"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("owed today") && !text.contains("Next:"), "{text}");
    // What it took adds up: the debt and the cushion are what was paid, and the lender's own stake is beside it.
    let mut told = stand.json(&["loan", "show", LOAN]);
    told["statement"] = json!({
        "opened": 1_584_003_600, "confirmed": 1_584_003_700, "ended": 1_584_007_200, "opened_at_cents": 10_000_000,
        "ended_at_cents": 6_420_000, "interest_cents": 1_370, "cushion_cents": 250_069, "principal_sats": 50_000_000,
        "paid_sats": 81_800_000, "transactions": [], "fees_sats": 0, "change_sats": -31_800_000, "net_cents": 0,
    });
    let stand_told = Stand::new(vec![
        ("GET /v1/loans", json!([told])),
        ("GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0", told),
    ]);
    let whole = stand_told.good(&["loan", "show", "d01e"]);
    let whole = whole.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "$50,013.70: $50,000.00 lent and $13.70 of interest and on top $2,500.69 of cushion for the sale: $52,514.39 in all",
        "81,801,000 sat (0.81801000 BTC), of it 1,000 sat its own stake",
    ] {
        assert!(whole.contains(part), "{part}\n{whole}");
    }
    let list = stand.good(&["loan", "list"]);
    assert!(list.contains("liquidated") && list.contains("cancelled"), "{list}");
}

#[test]
fn whatever_has_an_id_is_named_by_any_beginning_of_it_or_by_its_short_form() {
    let peer = json!({ "node_id": KEY, "address": format!("{KEY}@127.0.0.1:9810"), "connected": true });
    let unheard = json!({ "pubkey": ORACLE, "url": "http://127.0.0.1:3939", "spot_cents": null, "spot_at": null,
        "trouble": null });
    let policy = serde_json::to_value(hypothec::loan::policy::Policy::default()).unwrap();
    let of_loan = json!({ "number": 1, "at": 1_584_007_200, "loan_id": LOAN, "event": "closed", "text": "final" });
    let of_another = json!({ "number": 2, "at": 1_584_007_200, "loan_id": TXID, "event": "closed", "text": "final" });
    let stand = Stand::new(vec![
        ("GET /v1/quotes", json!([quote()])),
        ("POST /v1/quotes", quote()),
        ("GET /v1/loans", json!([loan()])),
        ("POST /v1/loans", loan()),
        ("GET /v1/peers", json!([peer])),
        ("GET /v1/oracles", json!([unheard])),
        ("GET /v1/policy", policy.clone()),
        ("PUT /v1/policy", policy),
        ("GET /v1/events?after=0&wait=0", json!([of_loan, of_another])),
        ("GET /v1/events?after=2&wait=0", json!([])),
    ]);
    for quote in ["d01e", "D01E2A", "d01e2a31…f2d0", "d01e2a31...f2d0", LOAN] {
        stand.good(&["borrow", quote, "--yes"]);
        assert_eq!(stand.asked().last().unwrap(), &("POST /v1/loans".to_owned(), json!({ "quote": LOAN })), "{quote}");
    }
    assert!(stand.bad(&["borrow", "ffff"]).contains("no quote begins so"));
    for lender in ["0279", "0279be66…1798"] {
        stand.good(&["quote", "--lender", lender, "--principal", "5", "--collateral", "1", "--term", "9"]);
        assert_eq!(stand.asked().last().unwrap().1["lender"], format!("{KEY}@127.0.0.1:9810"), "{lender}");
    }
    for oracle in ["79be", "79be667e…1798", ORACLE] {
        stand.good(&["policy", "set", "--add-oracle", oracle]);
        assert_eq!(stand.asked().last().unwrap().1["oracles"], json!([ORACLE]), "{oracle}");
    }
    let shown = stand.good(&["events", "--loan", "d01e"]);
    assert!(shown.contains("    1  ") && !shown.contains("    2  "), "{shown}");
}

#[test]
fn what_the_node_refuses_goes_to_standard_error_with_its_code() {
    let no = json!({ "code": "expired", "message": "the quote expired; ask for a new one" });
    let stand = Stand::new(vec![("POST /v1/loans", no.clone())]);
    assert_eq!(stand.bad(&["borrow", LOAN, "--yes"]).trim(), "hypothec: the quote expired; ask for a new one");
    let said: Value = serde_json::from_str(&stand.bad(&["borrow", LOAN, "--yes", "--json"])).unwrap();
    assert_eq!(said, no);
}

const ONE: &str = "GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";

/// The loan as it stands there.
fn at(stage: Value) -> Value {
    let mut loan = loan();
    loan["stage"] = stage;
    loan["funding_height"] = Value::Null;
    loan["confirmations"] = json!([0, 3]);
    loan
}

fn confirming(has: u32) -> Value {
    let mut loan = at(json!("confirming"));
    loan["funding_height"] = json!(101);
    loan["confirmations"] = json!([has, 3]);
    loan
}

/// Runs to an exit code; both outputs.
fn ends(stand: &Stand, args: &[&str], code: i32) -> (String, String) {
    let output = run(&[args, &["--data", &stand.data]].concat());
    assert_eq!(output.status.code(), Some(code), "{args:?}: {} {}", out(&output), err(&output));
    (out(&output), err(&output))
}

#[test]
fn borrow_ends_with_the_lenders_answer_and_not_a_second_before_a_refusal() {
    let mut refused = at(json!("cancelled"));
    refused["cancelled_because"] = json!("the lender refused: coin 1a2b:0 was shown for 5 loans");
    let agreed = || at(json!("agreed"));
    let no = || Stand::new(vec![("POST /v1/loans", agreed()), (ONE, agreed()), (ONE, refused.clone())]);
    let (shown, said) = ends(&no(), &["borrow", LOAN, "--yes"], 1);
    assert!(shown.is_empty() && said.contains("does not come to be: the lender refused: coin 1a2b:0"), "{shown}{said}");
    let (shown, said) = ends(&no(), &["borrow", LOAN, "--yes", "--wait", "--json"], 1);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(shown.is_empty() && said["code"] == "refused", "{shown}{said}");
    let yes = Stand::new(vec![("POST /v1/loans", agreed()), (ONE, at(json!("offered"))), (ONE, at(json!("signed")))]);
    let (shown, said) = ends(&yes, &["borrow", LOAN, "--yes"], 0);
    assert!(shown.starts_with("The lender has signed.") && shown.contains("backup FILE"), "{shown}");
    assert!(said.contains("prepares its own") && said.contains("the lender checks and signs"), "{said}");
    let silent = Stand::new(vec![("POST /v1/loans", agreed()), (ONE, agreed())]);
    let (shown, _) = ends(&silent, &["borrow", LOAN, "--yes", "--within", "1"], 4);
    assert!(shown.contains("neither signed nor refused yet") && shown.contains("--wait"), "{shown}");
    let (shown, said) = ends(&silent, &["borrow", LOAN, "--yes", "--within", "0", "--json"], 4);
    assert_eq!((serde_json::from_str::<Value>(&shown).unwrap(), said.as_str()), (agreed(), ""));
}

#[test]
fn borrow_waits_until_the_loan_is_active_and_says_each_step() {
    let out_there = at(json!("confirming"));
    let stand = Stand::new(vec![
        ("POST /v1/loans", at(json!("agreed"))),
        (ONE, at(json!("signed"))),
        (ONE, out_there),
        (ONE, confirming(1)),
        (ONE, confirming(2)),
        (ONE, loan()),
    ]);
    let (shown, said) = ends(&stand, &["borrow", LOAN, "--yes", "--wait"], 0);
    assert!(shown.starts_with("The loan is active."), "{shown}");
    let steps: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("… ")).collect();
    assert_eq!(steps.len(), 5, "{said}");
    for (step, part) in steps.iter().zip(["prepares", "both have signed", "waits for a block", "1 of 3", "2 of 3"]) {
        assert!(step.contains(part), "{part} in {said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
}

#[test]
fn a_repayment_is_followed_to_its_last_confirmation_or_to_its_refusal() {
    let post = "POST /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0/repay";
    let mut proposed = loan();
    proposed["repayment"] = json!(TXID);
    let closing = |exit: &str, height: Value| {
        let mut loan = at(json!("closing"));
        loan["ended"] = json!({ "exit": exit, "txid": TXID, "height": height, "price_cents": 8_000_000,
            "owed_cents": 5_019_179, "paid_to_lender_sats": 62_739_738, "returned_to_borrower_sats": 37_260_262 });
        loan
    };
    let mut closed = closing("Repaid", json!(140));
    closed["stage"] = json!("closed");
    let status = |height: u32| {
        json!({
            "version": "0.1.0", "network": "regtest", "node_id": KEY, "listen": null, "clock": 1, "height": height,
            "tip": "", "median_time": 1, "mempool": 0, "idle": true, "turns": 1,
            "loans": { "negotiating": 0, "active": 1, "ended": 0 }, "peers_connected": 1, "troubles": [], "attention": [],
        })
    };
    let stand = Stand::new(vec![
        (post, proposed.clone()),
        (ONE, proposed.clone()),
        (ONE, closing("Repaid", Value::Null)),
        (ONE, closing("Repaid", json!(140))),
        (ONE, closing("Repaid", json!(140))),
        (ONE, closed),
        ("GET /v1/status", status(139)),
        ("GET /v1/status", status(140)),
        ("GET /v1/status", status(141)),
    ]);
    let (shown, said) = ends(&stand, &["loan", "repay", LOAN, "--yes", "--wait"], 0);
    assert!(shown.starts_with("The loan is repaid, for good."), "{shown}");
    for part in ["the lender checks and signs", "waits for a block", "1 of 3", "2 of 3"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let mut dropped = loan();
    dropped["repayment_note"] = json!("the lender refused: its fee is too low");
    let stand = Stand::new(vec![(post, proposed.clone()), (ONE, proposed.clone()), (ONE, dropped)]);
    let (shown, said) = ends(&stand, &["loan", "repay", LOAN, "--yes"], 1);
    assert!(shown.is_empty() && said.contains("the lender refused: its fee is too low"), "{said}");
    let stand =
        Stand::new(vec![(post, proposed), (ONE, closing("Liquidated", json!(140))), ("GET /v1/status", status(140))]);
    let (_, said) = ends(&stand, &["loan", "repay", LOAN, "--yes", "--wait"], 1);
    assert!(said.contains("the loan ends otherwise: liquidated"), "{said}");
}

#[test]
fn who_interrupts_the_wait_is_told_that_the_loan_goes_on_and_how_to_look() {
    use std::io::BufRead;
    let stand = Stand::new(vec![("POST /v1/loans", at(json!("agreed"))), (ONE, at(json!("agreed")))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    command
        .args(["borrow", LOAN, "--yes", "--wait", "--data", &stand.data])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.next().unwrap().contains("the lender checks your coins"));
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let said: String = said.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(
        said.contains("the node goes on with loan d01e2a31…f2d0 by itself") && said.contains("loan show"),
        "{said}"
    );
}

#[test]
fn a_peer_and_an_oracle_are_removed_by_the_short_form_that_lists_print() {
    let away = json!({ "code": "not_listening", "message": "connection refused, nothing listens there" });
    let peer =
        json!({ "node_id": KEY, "address": format!("{KEY}@127.0.0.1:9810"), "connected": false, "problem": away });
    let oracle = json!({ "pubkey": ORACLE, "url": "http://o", "spot_cents": null, "spot_at": null, "trouble": null });
    let paths =
        [format!("DELETE /v1/peers/{KEY}").leak() as &'static str, format!("DELETE /v1/oracles/{ORACLE}").leak()];
    let stand = Stand::new(vec![
        ("GET /v1/peers", json!([peer])),
        ("GET /v1/oracles", json!([oracle])),
        (paths[0], peer),
        (paths[1], oracle),
    ]);
    let listed = stand.good(&["peer", "list"]);
    assert!(listed.contains("Not there:") && listed.contains("nothing listens there"), "{listed}");
    let text = stand.good(&["peer", "remove", "0279be66…1798"]);
    assert!(text.contains(&format!("Removed peer {KEY}")) && text.contains("dialled at 02"), "{text}");
    let text = stand.good(&["oracle", "remove", "79be66"]);
    assert!(text.contains(&format!("Removed oracle {ORACLE}")) && text.contains("asked at http://o"), "{text}");
    assert!(stand.bad(&["oracle", "remove", "ffff"]).contains("oracle list"));
    let asked: Vec<String> = stand.asked().into_iter().map(|(what, _)| what).collect();
    assert!(paths.iter().all(|path| asked.iter().any(|what| what == path)), "{asked:?}");
}

#[test]
fn a_known_peer_that_is_not_where_it_was_looked_for_is_not_said_to_be_connected_there() {
    let mut peer = json!({ "node_id": KEY, "address": format!("{KEY}@127.0.0.1:9810"), "connected": true });
    let typed = format!("{KEY}@127.0.0.1:1");
    peer["wanted"] = json!(typed);
    let mut tried = peer.clone();
    tried["wanted_problem"] = json!({ "code": "not_listening", "message": "connection refused" });
    let stand = Stand::new(vec![("POST /v1/peers", peer), ("GET /v1/peers", json!([tried]))]);
    let said = stand.good(&["peer", "connect", &typed]);
    for part in ["Not reached at 127.0.0.1:1: connection refused.", "It is connected", "stays 127.0.0.1:9810 until"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let list = stand.good(&["peer", "list"]);
    assert!(list.contains("Tried elsewhere:") && list.contains("127.0.0.1:1: connection refused"), "{list}");
}

#[test]
fn status_shows_the_address_that_others_dial() {
    let status = |listen: &str, announce: Value| {
        let status = json!({
            "version": "0.1.0", "network": "regtest", "node_id": KEY, "listen": listen, "announce": announce, "clock": 1,
            "height": 1, "tip": "", "median_time": 1, "mempool": 0, "idle": true, "turns": 1,
            "loans": { "negotiating": 0, "active": 0, "ended": 0 }, "peers_connected": 0, "troubles": [], "attention": [],
        });
        Stand::new(vec![("GET /v1/status", status)]).good(&["status"])
    };
    let text = status("0.0.0.0:9810", json!("lender.example.org:9810"));
    assert!(text.contains(&format!("{KEY}@lender.example.org:9810")) && !text.contains("0.0.0.0"), "{text}");
    let text = status("0.0.0.0:9810", Value::Null);
    assert!(text.contains("@0.0.0.0:9810") && text.contains("say which address in `[peers] announce`"), "{text}");
    assert!(!status("127.0.0.1:9810", Value::Null).contains("announce"));
}

#[test]
fn several_oracles_are_shown_with_what_they_may_differ_by_and_what_each_has_said() {
    let others = [
        "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
        "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
    ];
    let mut quoted = quote();
    quoted["oracles"] = json!([ORACLE, others[0], others[1]]);
    quoted["threshold"] = json!(2);
    quoted["spread"] = json!({ "always_usd": 512, "never_usd": 1_024, "never_bp": 103 });
    let mut lent = loan();
    lent["threshold"] = json!(2);
    lent["oracles"] = json!([
        { "pubkey": ORACLE, "said": [{ "event": "btcusd-touch-64200-20200312-h10", "price_cents": null }] },
        { "pubkey": others[0], "said": [{ "event": "btcusd1591783200", "price_cents": 8_000_000 }] },
    ]);
    let path = "GET /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";
    let stand = Stand::new(vec![("POST /v1/quotes", quoted), (path, lent)]);
    let lender = format!("{KEY}@127.0.0.1:9810");
    let asked = ["quote", "--lender", &lender, "--principal", "50000", "--collateral", "1", "--term", "90"];
    let text = stand.good(&[&asked[..], &["--all"]].concat());
    for part in ["oracles, 2/3", others[0], "up to $512 apart always agree", "$1024 apart", "1.03 %", "listed first"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = stand.good(&["loan", "show", LOAN]);
    for part in ["oracles, 2 of 2", "says btcusd-touch-64200-20200312-h10", "says btcusd1591783200 at $80,000.00"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_repayment_asks_for_the_source_that_was_named() {
    let path = "POST /v1/loans/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0/repay";
    let stand = Stand::new(vec![(path, loan())]);
    for (args, from) in [(vec![], "wallet"), (vec!["--from", "collateral"], "collateral")] {
        let words = [vec!["loan", "repay", LOAN, "--yes", "--within", "0", "--data", &stand.data], args].concat();
        let output = run(&words);
        assert_eq!(output.status.code(), Some(4), "no answer yet: {}", err(&output));
        assert!(out(&output).starts_with("The repayment is proposed;"), "{}", out(&output));
        assert_eq!(stand.asked(), [(path.to_owned(), json!({ "from": from }))]);
    }
}

/// Every command that does what cannot be taken back; what it asks the node first, and what the question names.
fn irrevocable() -> Vec<(Vec<&'static str>, Value, Vec<&'static str>)> {
    let loan = |what: &str| json!({ "what": what, "loan_id": LOAN });
    let repay = |from: &str| json!({ "what": "repay", "loan_id": LOAN, "from": from });
    let send = |sats: Value, fee_coin: bool| {
        let all = sats.is_null();
        let mut send = json!({ "what": "send", "address": "bcrt1q", "all": all, "with_fee_coin": fee_coin });
        if !all {
            send["sats"] = sats;
        }
        send
    };
    let (paid, debt) = ("62,739,738 sat (0.62739738 BTC), $50,191.79 now", "$50,191.79");
    vec![
        (
            vec!["borrow", LOAN],
            json!({ "what": "borrow", "quote": LOAN }),
            vec!["you borrow 100,000,000 sat", debt, "collateral"],
        ),
        (vec!["approve", "d01e"], loan("approve"), vec!["you lend", "stake", debt]),
        (vec!["loan", "cancel", "d01e"], loan("cancel"), vec!["both have signed", "can never be"]),
        (
            vec!["loan", "repay", "d01e"],
            repay("wallet"),
            vec![
                "from the wallet",
                paid,
                "at $80,000.00: the oracle's price, moved a little",
                "You get back 100,000,000 sat",
                "takes the repayment back by itself: that costs 4,321 sat as fees are now",
            ],
        ),
        (vec!["loan", "repay", "d01e", "--from", "collateral"], repay("collateral"), vec!["from the collateral", paid]),
        (
            vec!["loan", "withdraw", "d01e"],
            loan("withdraw"),
            vec!["is taken back", "100,000,777 sat", "still complete"],
        ),
        (vec!["loan", "receipt", "d01e"], loan("receipt"), vec!["whole collateral", "62,739,738 sat", debt]),
        (
            vec!["wallet", "consolidate"],
            json!({ "what": "consolidate", "with_fee_coin": false }),
            vec![
                "3 coins become one of 100,000,000 sat",
                "20,000 sat stay for the fees",
                "2 open quotes count on 5 sat",
                "until then who takes one may be refused",
            ],
        ),
        (
            vec!["wallet", "send", "bcrt1q", "0.5"],
            send(json!(50_000_000), false),
            vec!["You send", paid, "bcrt1q", "from 3 coins"],
        ),
        (
            vec!["wallet", "send", "bcrt1q", "--all"],
            send(Value::Null, false),
            vec!["everything free", "20,000 sat stay for the fees", "2 coins of 660 sat stay behind"],
        ),
        (
            vec!["wallet", "send", "bcrt1q", "--all", "--with-fee-coin"],
            send(Value::Null, true),
            vec!["everything free"],
        ),
    ]
}

fn preview() -> Value {
    json!({ "fee_sats": 777, "back_fee_sats": 4_321, "ahead_sats": 0, "sat_per_vb": 5, "coins": 3, "pays_sats": 62_739_738, "gets_sats": 100_000_000, "locks_sats": 1_000,
        "keeps_sats": 20_000, "costly_coins": 2, "costly_sats": 660, "left": 1, "owed_cents": 5_019_179, "price_cents": 8_000_000, "irrevocable": true })
}

fn with_preview(answer: Value) -> Stand {
    let oracles =
        json!([{ "pubkey": ORACLE, "url": "http://o", "spot_cents": 8_000_000, "spot_at": 1, "trouble": null }]);
    Stand::new(vec![
        ("POST /v1/preview", answer),
        ("GET /v1/loans", json!([loan()])),
        ("GET /v1/requests", json!([request()])),
        (
            "GET /v1/wallet/balance",
            json!({ "confirmed_sats": 7, "unconfirmed_sats": 0, "reserved_sats": 0, "open_quotes": 2, "quoted_sats": 5 }),
        ),
        ("GET /v1/oracles", oracles),
    ])
}

fn request() -> Value {
    json!({ "loan_id": LOAN, "peer": KEY, "principal_sats": 1, "principal_cents": 1, "collateral_sats": 1,
        "reference_price_cents": 1, "ltv_bp": 1, "apr_bp": 1, "days": 1, "at": 1, "until": 2 })
}

#[test]
fn nothing_that_cannot_be_taken_back_is_done_unless_somebody_says_yes() {
    for (args, asked, parts) in irrevocable() {
        let stand = with_preview(preview());
        let output = run(&[args.as_slice(), &["--data", &stand.data]].concat());
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""), "{args:?}: {}", err(&output));
        let said = err(&output);
        let fee: &[&str] = if args.contains(&"receipt") { &[] } else { &["777 sat at 5 sat/vB"] };
        for part in parts.iter().chain(fee).chain(&["nothing was done", "--yes"]) {
            assert!(said.contains(part), "{args:?}: {part} in {said}");
        }
        let posted: Vec<_> = stand.asked().into_iter().filter(|(asked, _)| !asked.starts_with("GET ")).collect();
        assert_eq!(posted, [("POST /v1/preview".to_owned(), asked)], "{args:?}");
        // A program is told in one document what it did not say.
        let output = run(&[args.as_slice(), &["--json", "--data", &stand.data]].concat());
        let said: Value = serde_json::from_str(&err(&output)).unwrap();
        let message = said["message"].as_str().unwrap();
        assert_eq!((output.status.code(), out(&output).as_str(), &said["code"]), (Some(2), "", &json!("usage")));
        assert!(message.contains("--yes") && parts.iter().all(|part| message.contains(part)), "{args:?}: {said}");
        stand.asked();
        // Who says it is not shown anything first.
        let words = [args.as_slice(), &["--yes", "--data", &stand.data]].concat();
        run(&words);
        let posted: Vec<_> = stand.asked().into_iter().filter(|(asked, _)| !asked.starts_with("GET ")).collect();
        assert!(posted.len() == 1 && posted[0].0 != "POST /v1/preview", "{args:?}: {posted:?}");
    }
}

#[test]
fn an_answer_that_waits_for_an_oracle_is_said_to_and_a_program_is_not_told() {
    let oracle = json!({ "pubkey": ORACLE, "url": "http://127.0.0.1:3939", "mirrors": [], "dropped": [], "spot_cents": null,
        "spot_at": null, "trouble": null, "equivocation": null, "rotation": null, "rotation_conflict": null,
        "same_operator": [], "note": null });
    let post = "POST /v1/requests/d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0/approve";
    let stand = |after: &str| {
        Stand::new(vec![
            (post, json!({ "after": after, "answer": loan() })),
            ("GET /v1/requests", json!([request()])),
            ("GET /v1/status", json!({})),
            ("GET /v1/oracles", json!([oracle])),
        ])
    };
    let (shown, said) = ends(&stand("GET /v1/oracles"), &["approve", LOAN, "--yes"], 0);
    assert!(shown.starts_with("Approved;"), "{shown}");
    assert_eq!(said, "… the node waits for the oracle's announcements for this loan, of http://127.0.0.1:3939\n");
    let (_, said) = ends(&stand("GET /v1/status"), &["approve", LOAN, "--yes", "--json"], 0);
    assert_eq!(said, "");
}

#[test]
fn what_the_node_would_refuse_is_refused_before_any_question_and_what_can_be_undone_is_not_asked_about() {
    let no = json!({ "code": "refused", "message": "this loan has ended, repaid: nothing is owed" });
    for (args, ..) in irrevocable() {
        let stand = with_preview(no.clone());
        let output = run(&[args.as_slice(), &["--data", &stand.data]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(err(&output).trim(), "hypothec: this loan has ended, repaid: nothing is owed", "{args:?}");
    }
    let mut free = preview();
    free["irrevocable"] = json!(false);
    let stand = with_preview(free);
    let output = run(&["loan", "cancel", LOAN, "--data", &stand.data]);
    let asked = stand.asked();
    assert!(asked.iter().any(|(asked, _)| asked == &format!("POST /v1/loans/{LOAN}/cancel")), "{asked:?}");
    assert!(!err(&output).contains("nothing was done"), "{}", err(&output));
}

#[test]
fn a_request_to_a_lender_is_shown_by_its_id_as_a_loan_is_also_when_it_is_over() {
    let mut over = request();
    over["ended"] = json!({ "at": 1_584_007_200, "event": "request_declined", "text": "declined by hand: not today" });
    for (answer, part) in
        [(request(), "approve d01e2a31…f2d0"), (over, "over since 2020-03-12 10:00 UTC: declined by hand: not today")]
    {
        let stand = Stand::new(vec![("GET /v1/loans", json!([])), ("GET /v1/requests?ended=true", json!([answer]))]);
        let text = stand.good(&["loan", "show", "d01e"]);
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn what_is_asked_of_a_loan_that_is_only_a_request_yet_is_asked_of_the_node_which_says_so() {
    let no = json!({ "code": "not_found", "message": format!("no loan {LOAN} yet: it is a request that waits") });
    let stand = Stand::new(vec![
        ("GET /v1/loans", json!([])),
        ("GET /v1/requests?ended=true", json!([request()])),
        ("POST /v1/preview", no),
    ]);
    for what in ["receipt", "repay", "cancel", "withdraw"] {
        let said = stand.bad(&["loan", what, "d01e"]);
        assert!(said.contains("yet: it is a request that waits"), "{what}: {said}");
    }
    assert!(stand.bad(&["loan", "repay", "ffff"]).contains("no loan begins so"));
}

#[test]
fn one_setting_of_the_policy_changes_and_the_rest_is_sent_as_it_was() {
    let before = json!({
        "principal_min": 10_000, "principal_max": 10_000_000, "days_min": 1, "days_max": 365, "initial_ltv_max": 5_000,
        "exposure_max": 100_000_000, "oracles": [ORACLE], "threshold": 1, "approval": "automatic", "earning_min_sats": null,
        "apr": { "ltv": [[2_000, 600], [5_000, 950]], "days": [], "amount": [] },
    });
    let mut after = before.clone();
    after["principal_max"] = json!(5_000_000);
    let implies = implies();
    let stand = Stand::new(vec![
        ("GET /v1/policy", before.clone()),
        ("PUT /v1/policy", after.clone()),
        ("GET /v1/policy/terms", implies.clone()),
    ]);
    let text = stand.good(&["policy", "show"]);
    for part in [
        "minimum interest   1 to 14 days, by the term",
        "60 %, 66 %, 72 %: warning, call, urgent",
        "liquidation        at 78 % loan to value",
        "cushion            5 % of the debt",
        "least collateral   425,000 sat",
        "least payout       1,000 sat",
        "you decide within  30 minutes",
        "costs you          5,400 sat, $5.40, of fees, whatever its size",
        "earns in 365 days  from $100.00 if repaid when due, from $1,570.00 however early",
        "is lent at a loss of $5.38",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let mut shown = before.clone();
    shown["implies"] = implies;
    assert_eq!(stand.json(&["policy", "show"]), shown);
    stand.asked();
    let text = stand.good(&["policy", "set", "--principal-max", "50000"]);
    assert!(text.contains("The policy is changed.") && text.contains("$100.00 to $50,000.00"), "{text}");
    assert_eq!(stand.asked()[1], ("PUT /v1/policy".to_owned(), after));
    let file = Path::new(&stand.data).join("policy.json");
    std::fs::write(&file, shown.to_string()).unwrap();
    stand.asked();
    stand.good(&["policy", "set", "--file", file.to_str().unwrap()]);
    assert_eq!(stand.asked()[1].1, before);
    let said = stand.bad(&["policy", "set", "--days-min", "400"]);
    assert!(said.contains("days_min") && said.contains("365"), "{said}");
    assert!(stand.bad(&["policy", "set"]).contains("nothing to change"));
}

#[test]
fn events_are_one_line_each_and_json_one_document_a_line() {
    let event = json!({ "number": 7, "at": 1_584_007_200, "loan_id": LOAN, "event": "agreed", "severity": "info",
        "text": "terms agreed" });
    let stand = Stand::new(vec![
        ("GET /v1/events?after=0&wait=0", json!([event, event])),
        ("GET /v1/events?after=7&wait=0", json!([])),
    ]);
    let text = stand.good(&["events"]);
    assert!(
        text.lines().count() == 2
            && text.contains("    7  2020-03-12 10:00 UTC     d01e2a31")
            && text.contains("terms agreed"),
        "{text}"
    );
    let lines = stand.good(&["events", "--json"]);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).unwrap() == event), "{lines}");
}

#[test]
fn a_backup_needs_a_passphrase_replaces_nothing_and_says_what_the_words_do_not_restore() {
    let stand = Stand::new(vec![("POST /v1/backup", json!("sealed"))]);
    let place = Path::new(&stand.data).parent().unwrap();
    let (file, secret) = (place.join("a.backup"), place.join("passphrase"));
    let args = ["backup", file.to_str().unwrap(), "--passphrase-file", secret.to_str().unwrap()];
    assert!(stand.bad(&args).contains("passphrase file"));
    std::fs::write(&secret, "short\n").unwrap();
    assert!(stand.bad(&args).contains("chmod go="), "a passphrase that others can read is none");
    private(&secret);
    assert!(stand.bad(&args).contains("at least 10"));
    std::fs::write(&secret, "long enough\nand more").unwrap();
    let text = stand.good(&args);
    assert!(
        text.contains("words alone an open loan comes back only if the other side gives it")
            && text.contains("hypothec restore"),
        "{text}"
    );
    assert_eq!(stand.asked(), [("POST /v1/backup".to_owned(), json!({ "passphrase": "long enough" }))]);
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(stand.bad(&args).contains("never replaced"));
    let new = place.join("new").display().to_string();
    let said = bad(&["restore", file.to_str().unwrap(), "--passphrase-file", secret.to_str().unwrap(), "--data", &new]);
    assert!(said.contains("not a file that `hypothec backup` wrote") && !Path::new(&new).exists(), "{said}");
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let loans: Vec<Value> = std::iter::repeat_with(loan).take(2_000).collect();
    let stand = Stand::new(vec![("GET /v1/loans", json!(loans))]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    command.args(["loan", "list", "--json", "--data", &stand.data]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", err(&output));
}

#[test]
fn status_leads_with_what_needs_somebody_and_ends_with_three_then() {
    let status = json!({
        "version": "0.1.0", "network": "regtest", "node_id": KEY, "listen": "127.0.0.1:9810", "announce": null,
        "clock": 1_584_007_200, "height": 101, "tip": TXID, "median_time": 1_584_003_600, "mempool": 0, "idle": true, "turns": 5,
        "loans": { "negotiating": 0, "active": 1, "taken_back": 1, "ended": 2 }, "peers_connected": 1,
        "troubles": ["oracle: the oracle is silent"],
        "waiting": [{
            "loan_id": LOAN, "who": "lender", "ours": false, "text": "the lender prepares its coin",
            "since": 1_584_007_200, "until": 1_584_009_000,
        }],
        "ended_today": [{ "loan_id": LOAN, "exit": "Liquidated", "at": 1_584_003_600 }],
        "attention": [
            { "about": format!("margin {LOAN}"), "severity": "urgent", "loan_id": LOAN, "text": "margin line urgent is crossed" },
            { "about": "oracle", "severity": "warning", "loan_id": null, "text": "oracle: the oracle is silent" },
        ],
    });
    let quiet = json!({ "troubles": [], "attention": [], "waiting": [] });
    let calm: Value =
        status.as_object().unwrap().clone().into_iter().chain(quiet.as_object().unwrap().clone()).collect();
    let stand = Stand::new(vec![("GET /v1/status", status.clone())]);
    let output = run(&["status", "--data", &stand.data]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(3), ""));
    let text = out(&output);
    assert!(text.starts_with("2 things to look at:\n  - NOW: loan d01e2a31…f2d0: margin line urgent"), "{text}");
    for part in [
        &format!("{KEY}@127.0.0.1:9810"),
        "block 101",
        "0 negotiating, 1 active, 1 whose coin is taken back, 2 ended",
        "the oracle is silent",
        "2020-03-12 10:00",
        "Waiting:",
        "the other side's: the lender prepares its coin",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let output = run(&["status", "--json", "--data", &stand.data]);
    assert_eq!((output.status.code(), serde_json::from_str::<Value>(&out(&output)).unwrap()), (Some(3), status));
    let stand = Stand::new(vec![("GET /v1/status", calm)]);
    // Who was not there learns what ended, and nothing is wrong.
    let text = stand.good(&["status"]);
    let ended = "Ended within a day:\n  - loan d01e2a31…f2d0: liquidated, seen 2020-03-12 09:00 UTC";
    assert!(text.contains(ended) && text.contains("All is well."), "{text}");
}

#[test]
fn a_proof_against_an_oracle_is_read_from_hex_or_json_and_shown_with_the_oracle_and_its_loans() {
    let sentence = format!("oracle {ORACLE} signed two outcomes of btcusd1584007200");
    let taken = json!({ "oracle": ORACLE, "equivocation": sentence, "reveals_the_key": true, "new": true });
    let oracle = json!({
        "pubkey": ORACLE, "url": "http://127.0.0.1:3939", "spot_cents": null, "spot_at": null, "trouble": null,
        "equivocation": sentence,
    });
    let mut lent = loan();
    lent["warnings"] = json!([sentence]);
    let path = format!("GET /v1/loans/{LOAN}");
    let stand =
        Stand::new(vec![("POST /v1/oracles/proof", taken), ("GET /v1/oracles", json!([oracle])), (path.leak(), lent)]);
    let file = Path::new(&stand.data).parent().unwrap().join("proof");
    for written in ["00ff\n".to_owned(), json!({ "oracle": ORACLE, "proof": "00ff" }).to_string()] {
        std::fs::write(&file, written).unwrap();
        let text = stand.good(&["oracle", "proof", file.to_str().unwrap()]);
        assert!(text.contains("The proof holds: oracle") && text.contains("every peer is told"), "{text}");
    }
    std::fs::write(&file, "{}").unwrap();
    assert!(stand.bad(&["oracle", "proof", file.to_str().unwrap()]).contains("no `proof`"));
    let asked = stand.asked();
    assert!(asked.len() == 2 && asked.iter().all(|(_, body)| *body == json!({ "proof": "00ff" })), "{asked:?}");
    assert!(stand.good(&["oracle", "list"]).contains("signed two outcomes"));
    let text = stand.good(&["loan", "show", LOAN]);
    assert!(text.contains("Warning:") && text.contains("stays as it was signed"), "{text}");
}
