//! Oracles as processes that are killed, and a client that remembers everything it was told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // Test code throughout.
#![allow(dead_code)] // Each test file uses a part of it.

pub mod street;

use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::{Time, HOUR};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// 12 March 2020, 00:00.
pub const START: Time = Time(1_583_971_200);
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a fact: whoever waits leaves the processor to those it waits for.
const GLANCE: Duration = Duration::from_millis(5);

pub fn hour(number: u32) -> Time {
    START.plus(number * HOUR).unwrap()
}

pub fn oracle(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec-oracle"));
    // What it says is compared in one line.
    command.args(args).env("COLUMNS", "500").stdin(Stdio::null());
    command
}

pub fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !fact() {
        assert!(asked.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(GLANCE);
    }
}

/// A data folder and a clock of its own.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        assert!(oracle(&["init", "--insecure-plain", "--data", &place.data().to_string_lossy()])
            .output()
            .unwrap()
            .status
            .success());
        place.set(START);
        place
    }

    /// Another place of the same oracle.
    pub fn with_the_key_of(other: &Place) -> Place {
        let place = Place::new();
        for name in ["secret", "signed"] {
            std::fs::copy(other.data().join(name), place.data().join(name)).unwrap();
        }
        place
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("oracle")
    }

    pub fn set(&self, now: Time) {
        Clock::set_file(&self.folder.path().join("clock"), now).unwrap();
    }

    /// Leaves a price for the manual feed and does not wait.
    pub fn price(&self, cents: u64) {
        let draft = self.data().join("price.draft");
        std::fs::write(&draft, cents.to_string()).unwrap();
        std::fs::rename(draft, self.data().join("price.next")).unwrap();
    }

    /// Sets the manual feed's price: from here on it stands.
    pub fn tell(&self, cents: u64) {
        self.price(cents);
        let data = self.data();
        wait_until("the price to be taken", || {
            ["next", "taken"].iter().all(|end| !data.join(format!("price.{end}")).exists())
        });
    }

    pub fn command(&self, more: &[&str]) -> Command {
        let (data, clock) = (self.data(), self.folder.path().join("clock"));
        let (data, clock) = (data.to_string_lossy(), clock.to_string_lossy());
        let mut args = vec!["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock];
        args.extend(["--listen", "127.0.0.1:0"]);
        args.extend(more);
        oracle(&args)
    }

    /// A running oracle, or what it said instead.
    pub fn start(&self, more: &[&str]) -> Running {
        Running::of(self.command(more)).unwrap()
    }

    /// Why it does not start.
    pub fn refusal(&self, more: &[&str]) -> String {
        let output = self.command(more).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Killed with SIGKILL when dropped.
pub struct Running {
    pub child: Child,
    pub address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// `None` when it ended before it answered.
    pub fn of(mut command: Command) -> Option<Running> {
        let quiet = std::env::var_os("HYPOTHEC_LOUD").is_none();
        let errors = if quiet { Stdio::null() } else { Stdio::inherit() };
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().rsplit("http://").next().unwrap_or_default().parse() {
            Ok(address) => Some(Running { child, address }),
            Err(_) => {
                let _ = child.wait();
                None
            }
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn get(&self, path: &str) -> Option<(u16, Value)> {
        ask(self.address, path)
    }

    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub fn wait_for(&self, now: Time) {
        wait_until("the clock", || self.json("/v1/status")["clock"] == now.0);
    }

    pub fn wait_for_alarm(&self, says: &str) {
        wait_until(says, || self.json("/v1/status")["alarm"].as_str().is_some_and(|alarm| alarm.contains(says)));
    }

    pub fn low(&self, at: Time) -> Option<u64> {
        self.json(&format!("/v1/lows/{}", at.day()))["lows"][usize::from(at.hour_of_day())].as_u64()
    }

    /// The attested fixing as it came, `None` while there is none.
    pub fn fixing(&self, at: Time) -> Option<Value> {
        self.get(&format!("/attestation/btcusd{}", at.0)).filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }
}

/// One answer's text.
pub fn text(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: oracle\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// One answer, `None` when the process is gone.
pub fn ask(address: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: oracle\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
}

/// Whole dollars of an attestation's digits.
pub fn dollars(attestation: &Value) -> u64 {
    let digits = attestation["outcomes"].as_array().unwrap();
    digits.iter().fold(0, |sum, digit| sum * 2 + digit.as_str().unwrap().parse::<u64>().unwrap())
}

/// A client that remembers.
#[derive(Default)]
pub struct Witness {
    lows: BTreeMap<u32, (Option<u64>, bool)>,
    fixings: BTreeMap<u32, Value>,
    /// What should never have been seen.
    pub scandals: Vec<String>,
    /// Answers remembered.
    pub answers: u64,
}

impl Witness {
    /// Looks at the hours around `now`.
    pub fn look(&mut self, address: SocketAddr, now: Time) {
        for day in [now.0 - HOUR, now.0].map(|at| Time(at).day()) {
            if let Some((200, lows)) = ask(address, &format!("/v1/lows/{day}")) {
                self.hears_lows(day.start().unwrap(), &lows);
            }
        }
        for back in 0..3 {
            let at = Time(now.0 - back * HOUR).hour_floor();
            if let Some((200, said)) = ask(address, &format!("/attestation/btcusd{}", at.0)) {
                self.hears_fixing(at, said);
            }
        }
    }

    pub fn hears_lows(&mut self, start: Time, said: &Value) {
        let frozen_until = said["frozen_until"].as_u64().unwrap();
        for (number, low) in (0u32..).zip(said["lows"].as_array().unwrap()) {
            let (at, low) = (start.0 + number * HOUR, low.as_u64());
            let is_final = u64::from(at + HOUR) <= frozen_until;
            let (before, was_final) = self.lows.get(&at).copied().unwrap_or((None, false));
            let forgotten = before.is_some_and(|before| low.is_none_or(|low| low > before));
            if forgotten || (was_final && (low != before || !is_final)) {
                self.scandals.push(format!("hour {at}: low {before:?} (final {was_final}), then {low:?} ({is_final})"));
            }
            self.lows.insert(at, (low, is_final));
            self.answers += 1;
        }
    }

    pub fn hears_fixing(&mut self, at: Time, said: Value) {
        let before = self.fixings.entry(at.0).or_insert_with(|| said.clone());
        if *before != said {
            self.scandals.push(format!("fixing {at}: ${}, then ${}", dollars(before), dollars(&said)));
        }
        self.answers += 1;
    }

    /// Asks again about everything it was ever told.
    pub fn asks_again(&mut self, running: &Running) {
        for at in self.fixings.keys().copied().collect::<Vec<_>>() {
            let said = running.json(&format!("/attestation/btcusd{at}"));
            self.hears_fixing(Time(at), said);
        }
        let mut days: Vec<_> = self.lows.keys().map(|at| Time(*at).day()).collect();
        days.dedup();
        for day in days {
            let said = running.json(&format!("/v1/lows/{day}"));
            self.hears_lows(day.start().unwrap(), &said);
        }
    }

    pub fn fixings(&self) -> usize {
        self.fixings.len()
    }

    pub fn vouch(&self) {
        assert!(self.scandals.is_empty(), "{}", self.scandals.join("\n"));
    }
}

/// A file beside a place.
pub fn beside(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}
