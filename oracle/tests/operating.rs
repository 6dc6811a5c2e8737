//! An oracle as its operator runs it: an encrypted key, a signer of its own, payments, rotation, the doctor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Helpers outside `#[test]` functions are test code too.

use hypothec_oracle::clock::Clock;
use hypothec_oracle::equivocation::Proof;
use hypothec_oracle::operator::SameOperator;
use hypothec_oracle::rotation::{follow, Rotation};
use hypothec_oracle::units::{Time, HOUR};
use rustix::process::{kill_process, Pid, Signal};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/demo/prices-2020-03.csv");
/// 12 March 2020, 00:00.
const START: Time = Time(1_583_971_200);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a fact: whoever waits leaves the processor to those it waits for.
const GLANCE: Duration = Duration::from_millis(5);

fn oracle(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec-oracle"));
    // What it says is compared in one line.
    command.args(args).env("COLUMNS", "500").stdin(Stdio::null());
    command
}

/// The standard output of a command that must succeed.
fn good(args: &[&str]) -> String {
    let output = oracle(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", says(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

/// The complaint of a command that must fail.
fn bad(args: &[&str]) -> String {
    let output = oracle(args).output().unwrap();
    assert!(!output.status.success(), "{args:?} should fail");
    says(&output)
}

/// What it complains of, wherever its lines are broken.
fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Killed with SIGKILL when dropped.
struct Running {
    child: Child,
    line: String,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let mut child = oracle(args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{args:?} did not start");
        Running { child, line }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    fn address(&self) -> &str {
        self.line.trim().rsplit("http://").next().unwrap()
    }

    fn get(&self, path: &str) -> (u16, serde_json::Value) {
        request(self.address(), "GET", path, &[], "")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n");
    write!(stream, "{head}{headers}\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
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

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn set(&self, now: Time) {
        Clock::set_file(&PathBuf::from(self.path("clock")), now).unwrap();
    }

    fn secret_file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A new key in `data`, and the key.
    fn init(&self, data: &str) -> String {
        good(&["init", "--data", &self.path(data), "--insecure-plain"])
    }

    fn signer(&self) -> Running {
        let (data, clock) = (self.path("signer"), self.path("clock"));
        Running::start(&["signer", "--data", &data, "--network", "regtest", "--regtest-clock", &clock])
    }

    fn daemon(&self, data: &str, more: &[&str]) -> Running {
        let (data, clock) = (self.path(data), self.path("clock"));
        let mut args = vec!["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock];
        args.extend(["--listen", "127.0.0.1:0", "--replay", CSV]);
        args.extend(more);
        Running::start(&args)
    }
}

/// A command's JSON, whatever its exit code, and that.
fn doctor(args: &[&str]) -> (bool, Vec<serde_json::Value>) {
    let output = oracle(args).output().unwrap();
    let found = serde_json::from_slice(&output.stdout);
    (output.status.success(), found.unwrap_or_else(|error| panic!("{error}: {}", says(&output))))
}

fn troubles(found: &[serde_json::Value]) -> Vec<String> {
    let bad = found.iter().filter(|one| one["level"] == "trouble");
    bad.map(|one| format!("{}: {}", one["area"].as_str().unwrap(), one["what"].as_str().unwrap())).collect()
}

#[test]
fn a_daemon_without_a_key_says_through_its_signer_what_it_would_say_itself_and_either_may_be_killed() {
    let world = World::new();
    let key = world.init("signer");
    let socket = world.path("signer/signer.sock");
    let signer = world.signer();
    assert!(signer.line.contains(&key));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let daemon = world.daemon("daemon", &["--signer", &socket]);
    assert!(daemon.line.contains(&key));
    assert!(!Path::new(&world.path("daemon/secret")).exists());
    let paths = [
        "/announcement/btcusd1584003600",
        "/attestation/btcusd1584003600",
        "/attestation/btcusd-touch-7800-20200312-h00",
        "/v1/lows/20200312",
        "/v1/price",
        "/v1/bands/21/20200312/h09",
        "/v1/fixings/20200312",
        "/list-events",
    ];
    let said = paths.map(|path| daemon.get(path));
    assert!(said.iter().all(|(status, _)| *status == 200), "{said:?}");
    // The signer is killed: what needs a signature waits for it, and goes on with the next one.
    drop(signer);
    assert_eq!(daemon.get("/v1/status").0, 200);
    let (status, body) = daemon.get("/v1/lows/20200311");
    assert_eq!((status, body["code"].as_str().unwrap()), (503, "no_signature"));
    for place in [1, 2, 3, 4] {
        assert_eq!(daemon.get(paths[place]), said[place], "signed before, it needs no signer");
    }
    let signer = world.signer();
    assert_eq!(paths.map(|path| daemon.get(path)), said);
    // The daemon is killed: the next one says the same.
    drop(daemon);
    let daemon = world.daemon("daemon", &["--signer", &socket]);
    assert_eq!(paths.map(|path| daemon.get(path)), said);
    drop(daemon);
    // And so does one that holds the key itself, with the signer's record and the ledger, but not beside the signer and not
    // without the ledger.
    let (data, clock) = (world.path("signer"), world.path("clock"));
    let alone = ["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock, "--replay", CSV];
    assert!(bad(&alone).contains("in use by another process"));
    assert!(!Path::new(&world.path("signer/ledger")).exists(), "nothing was begun");
    drop(signer);
    let refused = bad(&alone);
    assert!(refused.contains("was signed as") && refused.contains("the ledger none"), "{refused}");
    for name in ["ledger", "said", "watermark"] {
        let _ = std::fs::remove_dir_all(world.path(&format!("signer/{name}")));
        let from = world.path(&format!("daemon/{name}"));
        let copied = Command::new("cp").args(["-a", &from, &data]).status().unwrap();
        assert!(copied.success());
    }
    let daemon = world.daemon("signer", &[]);
    assert_eq!(paths.map(|path| daemon.get(path)), said);
    // A signer beside it is refused as well.
    let signer = ["signer", "--data", &data, "--network", "regtest", "--regtest-clock", &clock];
    assert!(bad(&signer).contains("in use by another process"));
    drop(daemon);
    let _signer = world.signer();
}

/// All its threads, which stop one after the other.
fn is_stopped(child: &Child) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let states = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default());
    states.into_iter().all(|stat| stat.is_empty() || stat.contains(") T "))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(GLANCE);
    }
}

fn metric(daemon: &Running, name: &str) -> i64 {
    let mut stream = TcpStream::connect(daemon.address()).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("hypothec_oracle_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse().unwrap()
}

#[test]
fn a_signer_that_was_killed_or_hangs_is_seen_by_everyone_who_watches_and_keeps_nobody_waiting() {
    let world = World::new();
    world.init("signer");
    let socket = world.path("signer/signer.sock");
    let mut signer = world.signer();
    let daemon = world.daemon("daemon", &["--signer", &socket]);
    let data = world.path("daemon");
    let page = || {
        let mut stream = TcpStream::connect(daemon.address()).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let lows = daemon.get("/v1/lows/20200312");
    assert_eq!(lows.0, 200);
    for hangs in [true, false] {
        until("the oracle in order", || daemon.get("/readyz").0 == 200);
        assert!(oracle(&["status", "--data", &data]).output().unwrap().status.success());
        assert_eq!((metric(&daemon, "signer_away_seconds"), metric(&daemon, "trouble")), (0, 0));
        assert!(page().contains("In order."));
        match hangs {
            true => {
                kill_process(Pid::from_child(&signer.child), Signal::STOP).unwrap();
                until("the stop", || is_stopped(&signer.child));
            }
            false => {
                signer.child.kill().unwrap();
                signer.child.wait().unwrap();
            }
        }
        // Before anybody has noticed it as well as after.
        for _ in 0..2 {
            let began = Instant::now();
            let (status, body) = daemon.get("/announcement/btcusd1584010800");
            assert_eq!((status, &body["code"]), (503, &"no_signature".into()), "{body}");
            assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
            assert_eq!(daemon.get("/v1/lows/20200312"), lows, "what was served is served");
            until("the alarm", || daemon.get("/readyz").0 == 503);
        }
        let began = Instant::now();
        assert_eq!(daemon.get("/v1/lows/20200310").0, 503);
        assert!(began.elapsed() < Duration::from_secs(5), "known to be away: {:?}", began.elapsed());
        let sentence = "the signer does not answer since 20";
        assert!(daemon.get("/readyz").1["missing"][0].as_str().unwrap().contains(sentence));
        assert!(daemon.get("/v1/status").1["alarm"].as_str().unwrap().contains(sentence));
        assert!(bad(&["status", "--data", &data]).contains(sentence));
        assert!(metric(&daemon, "signer_away_seconds") > 0 && metric(&daemon, "trouble") == 1);
        let html = page();
        assert!(html.contains(sentence) && !html.contains("In order."));
        match hangs {
            true => kill_process(Pid::from_child(&signer.child), Signal::CONT).unwrap(),
            false => signer = world.signer(),
        }
    }
    until("the oracle in order", || daemon.get("/readyz").0 == 200);
    assert_eq!(daemon.get("/announcement/btcusd1584010800").0, 200);
    assert_eq!(daemon.get("/v1/status").1["alarm"], serde_json::Value::Null);
}

#[test]
fn two_signers_on_one_record_and_a_daemon_with_a_key_of_its_own_beside_a_signer_are_refused() {
    let world = World::new();
    world.init("signer");
    let _signer = world.signer();
    let (data, clock, other) = (world.path("signer"), world.path("clock"), world.path("other.sock"));
    let second = ["signer", "--data", &data, "--network", "regtest", "--regtest-clock", &clock, "--listen-at", &other];
    assert!(bad(&second).contains("in use by another process"));
    world.init("daemon");
    let (daemon, socket) = (world.path("daemon"), world.path("signer/signer.sock"));
    let both = ["run", "--data", &daemon, "--network", "regtest", "--replay", CSV, "--signer", &socket];
    assert!(bad(&both).contains("although a signer is named"));
}

#[test]
fn on_signet_a_key_must_be_encrypted_and_opens_with_its_passphrase() {
    let world = World::new();
    let key = world.init("oracle");
    let data = world.path("oracle");
    let run = ["run", "--data", &data, "--network", "signet", "--manual", "--listen", "127.0.0.1:0"];
    assert!(bad(&run).contains("encrypt-key"));
    let file = world.secret_file("passphrase", "correct horse battery\n");
    assert_eq!(good(&["encrypt-key", "--data", &data, "--passphrase-file", &file]), key);
    assert!(!Path::new(&world.path("oracle/secret")).exists());
    assert!(bad(&run).contains("--passphrase-file"));
    let opened = Running::start(&[run.as_slice(), &["--passphrase-file", &file]].concat());
    assert!(opened.line.contains(&key));
    drop(opened);
    // As a service manager hands it over.
    let credentials = world.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::copy(&file, Path::new(&credentials).join("oracle-passphrase")).unwrap();
    let mut child = oracle(&run).env("CREDENTIALS_DIRECTORY", &credentials).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains(&key), "{line}");
}

#[test]
fn a_payment_is_made_and_attested_by_the_operator_and_by_a_webhook_and_never_in_public() {
    let world = World::new();
    world.init("oracle");
    let data = world.path("oracle");
    let secret = world.secret_file("secret", &"s3cret".repeat(8));
    let hook = free_port();
    let daemon = world.daemon("oracle", &["--webhook-listen", &hook, "--webhook-secret-file", &secret]);
    let made: serde_json::Value =
        serde_json::from_str(&good(&["payment", "make", "--until", "20200401", "--data", &data])).unwrap();
    let paid = made["paid"].as_str().unwrap();
    let (status, announced) = daemon.get(&format!("/announcement/{paid}"));
    assert_eq!((status, announced["oracleEvent"]["eventId"].as_str().unwrap()), (200, paid));
    assert_eq!(daemon.get(&format!("/attestation/{paid}")).0, 404);
    let mut parts = paid.split('-').skip(1);
    let page = format!("/v1/payments/{}/{}", parts.next().unwrap(), parts.next().unwrap());
    assert_eq!(daemon.get(&page).1["announcements"].as_array().unwrap().len(), 2);
    good(&["payment", "attest", paid, "--data", &data]);
    assert_eq!(daemon.get(&format!("/attestation/{paid}")).1["outcomes"][0], paid);
    assert_eq!(daemon.get(&page).1["attestations"].as_array().unwrap().len(), 1);
    let other = made["undisbursed"].as_str().unwrap();
    assert!(bad(&["payment", "attest", other, "--data", &data]).contains("the other word cannot be"));
    // Nobody else's payment is announced, and the public listener takes no orders.
    let strange = paid.replace(paid.split('-').nth(1).unwrap(), &"00".repeat(16));
    assert_eq!(daemon.get(&format!("/announcement/{strange}")).0, 404);
    assert_eq!(request(daemon.address(), "POST", "/payments", &[], "{}").0, 404);
    webhook_story(&hook);
    drop(daemon);
    let daemon = world.daemon("oracle", &[]);
    assert_eq!(daemon.get(&format!("/attestation/{paid}")).1["outcomes"][0], paid);
    assert_eq!(good(&["payment", "list", "--data", &data]).lines().count(), 4);
}

fn webhook_story(hook: &str) {
    let secret = "s3cret".repeat(8);
    let now = START.0 + 9 * HOUR + 1_800;
    let order = |body: &str, at: u32, secret: &str| {
        let (time, code) = (at.to_string(), hmac(secret.as_bytes(), &format!("{at}.{body}")));
        request(hook, "POST", "/payments", &[("hypothec-time", &time), ("hypothec-signature", &code)], body)
    };
    let make = r#"{"do":"make","until":"20200401"}"#;
    let (status, made) = order(make, now, &secret);
    assert_eq!(status, 200, "{made}");
    assert_eq!(order(make, now, &secret).1["code"], "replayed");
    let named = |reference: &str, at| {
        order(&serde_json::json!({"do": "make", "until": "20200401", "reference": reference}).to_string(), at, &secret)
    };
    let (one, other) = (named("loan-17", now).1, named("loan-18", now).1);
    assert!(one["paid"].is_string() && one["paid"] != other["paid"], "two payments of one day in one second: {other}");
    assert_eq!(named("loan-17", now + 1).1, one, "the answer was lost: ordered again, it is the same payment");
    assert_eq!(order(make, now + 301, &secret).1["code"], "bad_time");
    assert_eq!(order(make, now - 301, &secret).1["code"], "bad_time");
    assert_eq!(order(make, now, "another secret of the same length, nearly").1["code"], "bad_signature");
    assert_eq!(request(hook, "POST", "/payments", &[], make).1["code"], "bad_signature");
    assert_eq!(order(r#"{"do":"list"}"#, now, &secret).1["code"], "no_list");
    assert_eq!(order("{", now, &secret).1["code"], "bad_order");
    let (status, said) = order(&" ".repeat(5_000), now, &secret);
    assert_eq!((status, &said["code"]), (413, &"too_large".into()));
    assert_eq!(request(hook, "POST", "/elsewhere", &[], make).1["code"], "no_such_route");
    assert_eq!(request(hook, "GET", "/payments", &[], "").1["code"], "only_post");
    let attest = |event: &serde_json::Value, at| {
        order(&serde_json::json!({"do": "attest", "event": event}).to_string(), at, &secret)
    };
    assert_eq!(attest(&made["undisbursed"], now).0, 200);
    assert_eq!(attest(&made["undisbursed"], now + 1).0, 200, "the same word again, by a new message");
    assert_eq!(attest(&made["paid"], now).1["code"], "contradiction");
}

fn hmac(secret: &[u8], text: &str) -> String {
    use bitcoin::hashes::{sha256, Hash, HashEngine, Hmac, HmacEngine};
    use bitcoin::hex::DisplayHex;
    let mut engine = HmacEngine::<sha256::Hash>::new(secret);
    engine.input(text.as_bytes());
    Hmac::<sha256::Hash>::from_engine(engine).to_byte_array().to_lower_hex_string()
}

fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn an_old_key_hands_over_to_a_new_one_and_both_oracles_show_it() {
    let world = World::new();
    let (old, new) = (world.init("old"), world.init("new"));
    let (data, to) = (world.path("old"), world.path("new"));
    let clock = world.path("clock");
    let rotate = ["rotate", "--data", &data, "--to", &to, "--from", "1585699200", "--network", "regtest"];
    let rotate = [rotate.as_slice(), &["--regtest-clock", &clock]].concat();
    let daemon = world.daemon("old", &[]);
    assert_eq!(daemon.get("/v1/rotation").1["code"], "no_rotation");
    let said: Rotation = serde_json::from_str(&good(&rotate)).unwrap();
    assert_eq!((said.old_key.to_string(), said.new_key.to_string()), (old, new));
    assert_eq!(serde_json::from_str::<Rotation>(&good(&rotate)).unwrap(), said, "said again, the same");
    let (third, copy) = (world.init("third"), world.path("copy.json"));
    let other = ["--from", "1585699200", "--network", "regtest", "--to", &world.path("third"), "--out", &copy];
    let refused = bad(&[&["rotate", "--data", &data], other.as_slice()].concat());
    assert!(refused.contains("never replaced") && !refused.contains(&third), "{refused}");
    assert!(!std::path::Path::new(&copy).exists(), "nothing is signed into another file either");
    let (lies, elsewhere) = (world.path("old/rotation.json"), world.path("elsewhere.json"));
    std::fs::rename(&lies, &elsewhere).unwrap();
    let refused = bad(&[&["rotate", "--data", &data], other.as_slice()].concat());
    assert!(refused.contains("never replaced") && refused.contains("handed-over"), "moved away: {refused}");
    std::fs::rename(&elsewhere, &lies).unwrap();
    let (status, served) = daemon.get("/v1/rotation");
    assert_eq!(status, 200);
    let served: Vec<Rotation> = serde_json::from_value(served).unwrap();
    assert_eq!(follow(said.old_key, &served).unwrap(), [said]);
    std::fs::copy(world.path("old/rotation.json"), world.path("new/rotation.json")).unwrap();
    let successor = world.daemon("new", &[]);
    assert_eq!(successor.get("/v1/rotation").1, daemon.get("/v1/rotation").1);
}

#[test]
fn an_operator_of_two_keys_states_it_and_both_oracles_show_it() {
    let world = World::new();
    let (one, other) = (world.init("one"), world.init("other"));
    let daemon = world.daemon("one", &[]);
    assert_eq!(daemon.get("/v1/same-operator").1["code"], "no_statement");
    let (data, with) = (world.path("one"), world.path("other"));
    let state = ["same-operator", "--data", &data, "--with", &with, "--network", "regtest"];
    let said: SameOperator = serde_json::from_str(&good(&state)).unwrap();
    said.verify().unwrap();
    let named: std::collections::BTreeSet<String> = said.keys.iter().map(ToString::to_string).collect();
    assert_eq!(named, [one, other].into());
    assert_eq!(serde_json::from_str::<SameOperator>(&good(&state)).unwrap(), said, "said again, the same");
    let (status, served) = daemon.get("/v1/same-operator");
    assert_eq!((status, serde_json::from_value::<Vec<SameOperator>>(served.clone()).unwrap()), (200, vec![said]));
    assert_eq!(world.daemon("other", &[]).get("/v1/same-operator").1, served);
    assert!(bad(&["same-operator", "--data", &data, "--with", &data, "--network", "regtest"]).contains("twice"));
}

#[test]
fn two_fixings_of_one_hour_by_a_restored_key_are_proved_by_anyone() {
    let world = World::new();
    world.init("one");
    std::fs::create_dir(world.path("two")).unwrap();
    std::fs::set_permissions(world.path("two"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::copy(world.path("one/secret"), world.path("two/secret")).unwrap();
    let alone = ["run", "--data", &world.path("two"), "--network", "regtest", "--replay", CSV];
    assert!(bad(&alone).contains("what this key has signed is not known"), "a key alone, restored, says nothing");
    std::fs::copy(world.path("one/signed"), world.path("two/signed")).unwrap();
    // The same key on other prices: what an operator must never do.
    let other = world.path("other.csv");
    std::fs::write(&other, dearer()).unwrap();
    let one = world.daemon("one", &[]);
    let (data, clock) = (world.path("two"), world.path("clock"));
    let two = Running::start(&[
        "run",
        "--data",
        &data,
        "--network",
        "regtest",
        "--regtest-clock",
        &clock,
        "--listen",
        "127.0.0.1:0",
        "--replay",
        &other,
    ]);
    let url = |daemon: &Running| format!("{}/attestation/btcusd1584003600", daemon.url());
    let out = world.path("proof.hex");
    let told = good(&["prove-equivocation", &url(&one), &url(&two), "--out", &out]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert!(one.line.contains(told["oracle"].as_str().unwrap()));
    assert_eq!(told["reveals_the_key"], true);
    let proof: Proof = serde_json::from_value(told["proof"].clone()).unwrap();
    assert_eq!(proof.check().unwrap().to_string(), told["oracle"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap().trim(), told["proof"]);
    // Files serve as well, with the announcement named.
    for (name, path) in [("a", "attestation"), ("n", "announcement")] {
        let text = one.get(&format!("/{path}/btcusd1584003600")).1.to_string();
        std::fs::write(world.path(name), text).unwrap();
    }
    let (a, n) = (world.path("a"), world.path("n"));
    assert!(bad(&["prove-equivocation", &a, &url(&two)]).contains("--announcement"));
    good(&["prove-equivocation", &a, &url(&two), "--announcement", &n]);
    assert!(bad(&["prove-equivocation", &a, &a, "--announcement", &n]).contains("no contradiction"));
    let (status, found) = doctor(&[
        "doctor",
        "--data",
        &data,
        "--network",
        "regtest",
        "--regtest-clock",
        &clock,
        "--json",
        "--listen",
        two.address(),
        "--mirror",
        &one.url(),
    ]);
    assert!(!status);
    assert!(troubles(&found).iter().any(|one| one.contains("mirror")), "{found:?}");
}

/// The same bars a hundred dollars dearer.
fn dearer() -> String {
    let original = std::fs::read_to_string(CSV).unwrap();
    let mut lines = original.lines();
    let head = lines.next().unwrap().to_string();
    let shift = |line: &str| {
        let mut fields = line.split(',');
        let unix = fields.next().unwrap().to_string();
        let rest = fields.map(|field| format!("{:.2}", field.parse::<f64>().unwrap() + 100.0));
        std::iter::once(unix).chain(rest).collect::<Vec<_>>().join(",")
    };
    std::iter::once(head).chain(lines.map(shift)).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn the_doctor_finds_a_healthy_oracle_healthy_and_names_each_thing_that_is_wrong() {
    let world = World::new();
    world.init("oracle");
    let (data, clock) = (world.path("oracle"), world.path("clock"));
    let daemon = world.daemon("oracle", &[]);
    let base = ["doctor", "--data", &data, "--network", "regtest", "--regtest-clock", &clock, "--json"];
    let (mirror, price) = (daemon.url(), format!("venue={}/v1/price", daemon.url()));
    let near = ["--listen", daemon.address(), "--mirror", &mirror, "--venue", &price];
    let (status, found) = doctor(&[base.as_slice(), &near].concat());
    assert!(status, "{:?}", troubles(&found));
    assert!(["disk", "key", "service", "venue", "mirror"]
        .iter()
        .all(|area| found.iter().any(|one| one["area"] == *area)));
    // A venue that is away, a mirror with another key, time that has gone on without the daemon, an open folder.
    world.init("stranger");
    let stranger = world.daemon("stranger", &[]);
    let (mirror, away) = (stranger.url(), format!("away=http://{}", free_port()));
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    let near = ["--listen", daemon.address(), "--mirror", &mirror, "--venue", &away];
    let (status, found) = doctor(&[base.as_slice(), &near].concat());
    assert!(!status);
    let bad = troubles(&found).join("\n");
    for area in ["disk", "venue: away", "has key"] {
        assert!(bad.contains(area), "{area}: {bad}");
    }
    assert!(found.iter().filter(|one| one["level"] == "trouble").all(|one| one["why"] != "" && one["remedy"] != ""));
    drop(daemon);
    let gone = free_port();
    let (_, found) = doctor(&[base.as_slice(), &["--listen", &gone]].concat());
    assert!(troubles(&found).iter().any(|one| one.contains("does not answer")));
}

#[test]
fn the_units_start_commands_that_exist() {
    for unit in ["hypothec-oracle.service", "hypothec-oracle-signer.service"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(unit);
        let text = std::fs::read_to_string(path).unwrap().replace("\\\n", " ");
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let mut words = line.split_whitespace();
        assert!(words.next().unwrap().ends_with("/hypothec-oracle"));
        let args: Vec<&str> = words.collect();
        // Everything is understood; what it then misses is this machine's folder, user or feed.
        let said = bad(&args);
        assert!(!said.contains("Usage") && !said.contains("unexpected argument"), "{unit}: {said}");
    }
}

#[test]
fn waiting_for_a_signer_that_never_comes_ends_in_a_sentence() {
    let world = World::new();
    let began = Instant::now();
    let (data, socket, clock) = (world.path("daemon"), world.path("nobody"), world.path("clock"));
    let said = bad(&[
        "run",
        "--data",
        &data,
        "--network",
        "regtest",
        "--regtest-clock",
        &clock,
        "--replay",
        CSV,
        "--signer",
        &socket,
    ]);
    assert!(said.contains("does not answer"), "{said}");
    assert!(began.elapsed() < PATIENCE);
}
