//! The signer as a process beside a daemon that has spoken before, and beside one that goes on while it is away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Helpers outside `#[test]` functions are test code too.

mod living;

use axum::extract::State;
use axum::http::Uri;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::price::policy::SAMPLE;
use hypothec_oracle::units::{Time, HOUR};
use living::{hour, oracle, wait_until, Running, START};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/demo/prices-2020-03.csv");

/// Killed with SIGKILL when dropped.
struct Signer(Child);

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        world.set(START.plus(9 * HOUR + 1_800).unwrap());
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn set(&self, now: Time) {
        Clock::set_file(&self.path("clock"), now).unwrap();
    }

    fn init(&self, name: &str) {
        assert!(oracle(&["init", "--data", &self.text(name), "--insecure-plain"]).status().unwrap().success());
    }

    /// A folder for a signer with the key of a daemon, and its record unless it is lost.
    fn move_key(&self, from: &str, to: &str, with_record: bool) {
        std::fs::create_dir(self.path(to)).unwrap();
        std::fs::set_permissions(self.path(to), std::fs::Permissions::from_mode(0o700)).unwrap();
        for name in ["secret", "signed"].into_iter().filter(|name| with_record || *name == "secret") {
            std::fs::copy(self.path(from).join(name), self.path(to).join(name)).unwrap();
        }
    }

    fn signer(&self, name: &str) -> Result<Signer, String> {
        let (data, clock) = (self.text(name), self.text("clock"));
        let mut child = oracle(&["signer", "--data", &data, "--network", "regtest", "--regtest-clock", &clock])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.contains("answers at") {
            true => Ok(Signer(child)),
            false => Err(says(&child.wait_with_output().unwrap())),
        }
    }

    fn daemon(&self, name: &str, more: &[&str]) -> Running {
        let (data, clock) = (self.text(name), self.text("clock"));
        let mut args = vec!["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock];
        args.extend(["--listen", "127.0.0.1:0"]);
        args.extend(more);
        Running::of(oracle(&args)).unwrap()
    }

    fn import(&self, signer: &str, daemon: &str) -> std::process::Command {
        let (data, ledger) = (self.text(signer), self.text(daemon));
        oracle(&["import-record", "--data", &data, "--ledger", &ledger, "--network", "regtest"])
    }

    /// Why an import is refused.
    fn refusal(&self, signer: &str, daemon: &str) -> String {
        let output = self.import(signer, daemon).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        assert!(!self.path(signer).join("ledger.copy").exists(), "nothing is left behind");
        says(&output)
    }

    fn copy(&self, from: &str, to: &str) {
        let done = std::process::Command::new("cp").args(["-a", &self.text(from), &self.text(to)]).status();
        assert!(done.unwrap().success());
    }
}

/// What it complains of, wherever its lines are broken.
fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

const PATHS: [&str; 3] =
    ["/attestation/btcusd1584003600", "/v1/lows/20200312", "/attestation/btcusd-touch-7800-20200312-h00"];

#[test]
fn a_key_that_spoke_in_a_daemon_moves_to_a_signer_with_its_record_and_says_the_same() {
    let world = World::new();
    world.init("daemon");
    let daemon = world.daemon("daemon", &["--replay", CSV]);
    let said = PATHS.map(|path| daemon.json(path));
    drop(daemon);
    world.move_key("daemon", "signer", true);
    std::fs::remove_file(world.path("daemon").join("secret")).unwrap();
    let _signer = world.signer("signer").unwrap();
    let daemon = world.daemon("daemon", &["--replay", CSV, "--signer", &world.text("signer/signer.sock")]);
    assert_eq!(PATHS.map(|path| daemon.json(path)), said);
}

#[test]
fn a_daemon_of_an_older_version_left_no_record_and_goes_on_with_one_from_its_ledger() {
    let world = World::new();
    world.init("daemon");
    let daemon = world.daemon("daemon", &["--replay", CSV]);
    let said = PATHS.map(|path| daemon.json(path));
    drop(daemon);
    let record = world.path("daemon/signed");
    let lines = std::fs::read_to_string(&record).unwrap().lines().count();
    std::fs::remove_file(&record).unwrap();
    let daemon = world.daemon("daemon", &["--replay", CSV]);
    assert_eq!(PATHS.map(|path| daemon.json(path)), said);
    drop(daemon);
    assert!(std::fs::read_to_string(&record).unwrap().lines().count() >= lines, "all of it is there again");
    assert!(world.signer("daemon").is_ok());
    // Without the watermark nothing says how long the ledger was.
    std::fs::remove_file(&record).unwrap();
    std::fs::remove_file(world.path("daemon/watermark")).unwrap();
    let (data, clock) = (world.text("daemon"), world.text("clock"));
    let run = ["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock, "--replay", CSV];
    let refused = says(&oracle(&run).output().unwrap());
    assert!(refused.contains("what this key has signed is not known"), "{refused}");
}

#[test]
fn a_record_that_was_lost_or_is_an_old_copy_is_made_whole_with_the_daemons_ledger() {
    let world = World::new();
    world.init("daemon");
    world.copy("daemon", "early");
    let daemon = world.daemon("daemon", &["--replay", CSV]);
    let said = PATHS.map(|path| daemon.json(path));
    world.move_key("early", "signer", true);
    assert!(world.refusal("signer", "daemon").contains("stop it first"));
    drop(daemon);
    let ledger = || std::fs::read(world.path("daemon").join("ledger/db")).unwrap();
    let before = ledger();
    let imported = world.import("signer", "daemon").output().unwrap();
    let told = String::from_utf8_lossy(&imported.stdout).into_owned();
    assert!(imported.status.success() && told.contains("is whole"), "{imported:?}");
    assert!(ledger() == before, "the daemon's folder is only read");
    std::fs::remove_file(world.path("daemon").join("secret")).unwrap();
    let _signer = world.signer("signer").unwrap();
    let daemon = world.daemon("daemon", &["--replay", CSV, "--signer", &world.text("signer/signer.sock")]);
    assert_eq!(PATHS.map(|path| daemon.json(path)), said);
    drop(daemon);
    // A lost record, of which nothing but the ledger is left.
    world.move_key("signer", "found", false);
    assert!(world.signer("found").err().unwrap().contains("is missing"));
    assert!(world.import("found", "daemon").status().unwrap().success());
    assert!(world.signer("found").is_ok());
}

#[test]
fn an_old_ledger_another_keys_and_one_that_contradicts_the_record_are_not_imported() {
    let world = World::new();
    world.init("daemon");
    drop(world.daemon("daemon", &["--replay", CSV]));
    world.copy("daemon", "old");
    world.set(hour(13));
    drop(world.daemon("daemon", &["--replay", CSV]));
    world.move_key("daemon", "signer", true);
    // An old ledger beside the newest watermark.
    world.copy("old", "mixed");
    std::fs::copy(world.path("daemon/watermark"), world.path("mixed/watermark")).unwrap();
    let refused = world.refusal("signer", "mixed");
    assert!(refused.contains("older than the watermark"), "{refused}");
    // Old as a whole: the record knows more, once it has been filled.
    assert!(world.import("signer", "daemon").status().unwrap().success());
    let record = std::fs::read(world.path("signer/signed")).unwrap();
    let refused = world.refusal("signer", "old");
    assert!(refused.contains("was signed as") && refused.contains("the ledger none"), "{refused}");
    // An exported watermark says so too.
    let (data, file) = (world.text("daemon"), world.text("mark.json"));
    assert!(oracle(&["watermark", "export", &file, "--data", &data]).status().unwrap().success());
    let output = world.import("signer", "old").args(["--watermark", &file]).output().unwrap();
    assert!(says(&output).contains("older than the watermark in"), "{output:?}");
    world.init("stranger");
    let refused = world.refusal("stranger", "daemon");
    assert!(refused.contains("the key here is"), "{refused}");
    std::fs::remove_file(world.path("mixed/watermark")).unwrap();
    assert!(world.refusal("signer", "mixed").contains("there is no watermark"));
    assert!(world.refusal("signer", "nowhere").contains("no ledger in"));
    assert!(std::fs::read(world.path("signer/signed")).unwrap() == record, "a refusal changes nothing");
    assert!(world.signer("signer").is_ok());
}

#[cfg(feature = "faults")]
#[test]
fn an_import_that_is_killed_leaves_a_signer_that_does_not_start_until_it_is_repeated() {
    let world = World::new();
    world.init("daemon");
    world.copy("daemon", "early");
    drop(world.daemon("daemon", &["--replay", CSV]));
    for (with_record, point) in
        [(true, "record-begun"), (true, "record-chunk"), (false, "record-making"), (false, "record-made")]
    {
        let name = format!("{point}-{with_record}");
        world.move_key("early", &name, with_record);
        let killed = world.import(&name, "daemon").env(hypothec_oracle::crash::VARIABLE, point).status().unwrap();
        assert!(!killed.success(), "{point}");
        // Killed when all was on disk, nothing is missing.
        let is_whole = ["record-chunk", "record-made"].contains(&point);
        assert_eq!(world.signer(&name).is_ok(), is_whole, "{point}");
        assert!(world.import(&name, "daemon").status().unwrap().success(), "{point}");
        assert!(world.signer(&name).is_ok(), "{point}");
    }
}

/// Five venues that agree, on the played clock. The price falls by a dollar every five minutes, and their cents differ
/// from time to time, for a price that stands still is none.
async fn venue(State(clock): State<PathBuf>, uri: Uri) -> String {
    let now = Clock::file(clock).now().unwrap();
    let last = 8_000 - now.since(START) / 300;
    let (bid, ask) = (format!("{}.99", last - 1), format!("{last}.01"));
    match uri.path() {
        "/0/public/Ticker" => {
            format!(r#"{{"error":[],"result":{{"XXBTZUSD":{{"a":["{ask}","1","1"],"b":["{bid}","1","1"]}}}}}}"#)
        }
        "/0/public/Trades" => format!(
            r#"{{"error":[],"result":{{"XXBTZUSD":[["{last}.0","0.1",{}.5,"b","m","",1]],"last":"1"}}}}"#,
            now.0 - 1
        ),
        "/products/BTC-USD/ticker" => format!(r#"{{"price":"{last}","bid":"{bid}","ask":"{ask}","time":"{now}"}}"#),
        "/api/v2/ticker/btcusd/" => {
            format!(r#"{{"last":"{last}","bid":"{bid}","ask":"{ask}","timestamp":"{}"}}"#, now.0)
        }
        "/v2/ticker/tBTCUSD" => format!("[{bid},1,{ask},1,1,1,{last},1,1,1,1358182043000]"),
        _ => format!(
            r#"{{"bid":"{bid}","ask":"{ask}","volume":{{"BTC":"1","USD":"1","timestamp":{}000}},"last":"1"}}"#,
            now.0 - now.0 % 300
        ),
    }
}

/// A live feed on the played clock: a tick every five minutes.
fn live_config(world: &World, venues: &str) -> PathBuf {
    let changed = [
        ("tick_seconds = 5", "tick_seconds = 60"),
        ("max_age_seconds = 30", "max_age_seconds = 300"),
        ("max_unchanged_seconds = 300", "max_unchanged_seconds = 3600"),
        ("held_ticks = 12", "held_ticks = 1"),
        ("low_min_held = 12", "low_min_held = 2"),
        ("fixing_min_ticks = 180", "fixing_min_ticks = 3"),
    ];
    let policy = changed.into_iter().fold(SAMPLE.to_string(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    std::fs::write(world.path("policy.toml"), policy).unwrap();
    let (data, policy) = (world.text("daemon"), world.text("policy.toml"));
    let mut text = format!("data = {data:?}\nlive = true\npolicy = {policy:?}\n[venue_urls]\n");
    for name in ["kraken", "coinbase", "bitstamp", "bitfinex", "gemini"] {
        text += &format!("{name} = {venues:?}\n");
    }
    std::fs::write(world.path("oracle.toml"), text).unwrap();
    world.path("oracle.toml")
}

/// Moves time and waits until the tick of that time is logged, and what it says is served. The clock alone does not tell: it
/// stands there already while the venues are asked.
fn tick(world: &World, daemon: &Running, at: Time) {
    world.set(at);
    let log = world.path("daemon").join(format!("ticks/{}.log", at.day()));
    let line = format!("\"at\":{},", at.0);
    wait_until("the tick", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(&line)));
    let text = std::fs::read_to_string(&log).unwrap();
    let ticks = text.lines().filter(|line| !line.starts_with("{\"head\"")).count();
    wait_until("the ledger", || usize::try_from(metric(daemon, "ticks_total")).is_ok_and(|served| served >= ticks));
}

fn metric(daemon: &Running, name: &str) -> i64 {
    let text = living::text(daemon.address, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hypothec_oracle_{name} "))).unwrap();
    line.trim().parse().unwrap()
}

fn heads(folder: &Path) -> usize {
    let log = std::fs::read_to_string(folder.join("ticks/20200312.log")).unwrap();
    log.lines().filter(|line| line.starts_with("{\"head\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn signer_away_for_three_hours_costs_no_low() {
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let venues = format!("http://{}", listener.local_addr().unwrap());
    let street = axum::Router::new().fallback(venue).with_state(world.path("clock"));
    tokio::spawn(async move { axum::serve(listener, street).await });
    tokio::task::spawn_blocking(move || away_for_three_hours(&world, &venues)).await.unwrap();
}

fn away_for_three_hours(world: &World, venues: &str) {
    let step = |number: u32| START.plus(300 * number).unwrap();
    let (config, socket) = (live_config(world, venues), world.text("signer/signer.sock"));
    world.set(step(1));
    world.init("signer");
    let signer = world.signer("signer").unwrap();
    let daemon = world.daemon("daemon", &["--config", &config.to_string_lossy(), "--signer", &socket]);
    (1..=20).for_each(|number| tick(world, &daemon, step(number)));
    assert_eq!((heads(&world.path("daemon")), metric(&daemon, "heads_waiting")), (1, 0));
    drop(signer);
    (21..=58).for_each(|number| tick(world, &daemon, step(number)));
    assert_eq!(metric(&daemon, "heads_waiting"), 3, "the hours from one, two and three o'clock");
    let status = daemon.json("/v1/status");
    assert_eq!(status["frozen_until"], hour(4).0, "hours close and freeze");
    assert!(status["alarm"].as_str().unwrap().contains("wait for the signer"), "{status}");
    for path in ["/v1/lows/20200312", "/attestation/btcusd1583982000", "/v1/log/head"] {
        let (status, body) = daemon.get(path).unwrap();
        assert_eq!((status, body["code"].as_str()), (503, Some("no_signature")), "{path}");
    }
    // The daemon is killed meanwhile too: it knows what waits when it is back, with the signer.
    drop(daemon);
    let signer = world.signer("signer").unwrap();
    let daemon = world.daemon("daemon", &["--config", &config.to_string_lossy(), "--signer", &socket]);
    tick(world, &daemon, step(59));
    wait_until("the heads", || metric(&daemon, "heads_waiting") == 0);
    assert_eq!(heads(&world.path("daemon")), 4);
    assert_eq!(daemon.json("/v1/status")["alarm"], serde_json::Value::Null);
    for number in 0..5u32 {
        // The last tick of an hour is its lowest.
        let last = 8_000 - u64::from(if number == 4 { 59 } else { number * 12 + 11 });
        assert_eq!(daemon.low(hour(number)), Some(last * 100), "hour {number}");
        assert_eq!(daemon.fixing(hour(number)).is_some(), number > 0, "hour {number}");
    }
    let url = format!("http://{}", daemon.address);
    let audit = |more: &[&str]| oracle(&[&["audit", &url], more].concat()).output().unwrap();
    let audited = audit(&[]);
    assert!(String::from_utf8_lossy(&audited.stdout).contains("everything agrees"), "{audited:?}");
    // Another absence while the daemon lives on: it signs as soon as it can.
    drop(signer);
    (60..=90).for_each(|number| tick(world, &daemon, step(number)));
    assert!(metric(&daemon, "heads_waiting") > 1);
    let _signer = world.signer("signer").unwrap();
    wait_until("the heads", || metric(&daemon, "heads_waiting") == 0);
    assert!((0..7).all(|number| daemon.low(hour(number)).is_some()));
    assert!(audit(&[]).status.success());
}
