//! An oracle as a process with a data folder and a clock file, killed and started again.

use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::{Time, HOUR};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/demo/prices-2020-03.csv");
/// 12 March 2020, 00:00.
pub const START: Time = Time(1_583_971_200);
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

/// What it complains of, wherever its lines are broken.
pub fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

pub struct World {
    pub folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        assert!(oracle(&["init", "--insecure-plain", "--data", &world.data()]).output().unwrap().status.success());
        world.set(START);
        world
    }

    pub fn data(&self) -> String {
        self.folder.path().join("oracle").to_string_lossy().into_owned()
    }

    pub fn clock(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    pub fn set(&self, now: Time) {
        Clock::set_file(&self.clock(), now).unwrap();
    }

    pub fn start(&self, feed: &[&str]) -> Running {
        let (data, clock) = (self.data(), self.clock().to_string_lossy().into_owned());
        let mut args = vec!["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock];
        args.extend(["--listen", "127.0.0.1:0"]);
        args.extend(feed);
        Running::of(oracle(&args))
    }
}

/// Killed with SIGKILL when dropped.
pub struct Running {
    pub child: Child,
    pub address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Waits until it says where it listens.
    pub fn of(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_string();
        Running { child, address }
    }

    /// Asks in HTTP/1.0, so that a streamed answer comes without chunks.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        // One that was turned away at the door shows when its answer is read.
        drop(write!(stream, "{method} {path} HTTP/1.0\r\nhost: oracle\r\n{headers}\r\n"));
        stream
    }

    /// Status, head and body.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        answer(self.send("GET", path, headers))
    }

    pub fn request(&self, method: &str, path: &str) -> (u16, String) {
        let (status, _, body) = answer(self.send(method, path, &[]));
        (status, body)
    }

    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.request("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }

    pub fn wait_for(&self, now: Time) {
        let asked = Instant::now();
        while self.json("/v1/status")["clock"] != now.0 {
            assert!(asked.elapsed() < Duration::from_secs(20), "the oracle does not follow its clock");
            std::thread::sleep(GLANCE);
        }
    }
}

/// Reads an answer to its end.
pub fn answer(mut stream: TcpStream) -> (u16, String, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_string(), body.to_string())
}

/// The value of a header in a head that was read.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}
