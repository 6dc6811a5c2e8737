//! Nobody reads what a program says: a full disk behind the log, a reader that has gone or has stopped reading. A service goes
//! on; a command ends in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hypothec::demo::wait::{until, PATIENCE};
use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::Time;
use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
use rustix::process::{kill_process, Pid, Signal};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Where what is said goes to nobody.
#[derive(Clone, Copy, Debug)]
enum Deaf {
    /// Every write fails: as on a full disk.
    Full,
    /// Its reader has gone.
    Gone,
    /// Its reader is there and reads no more, and not a byte fits: as a terminal held with Ctrl-S.
    Stopped,
}

impl Deaf {
    fn stdio(self) -> Stdio {
        match self {
            Deaf::Full => OpenOptions::new().write(true).open("/dev/full").unwrap().into(),
            Deaf::Gone => std::io::pipe().unwrap().1.into(),
            Deaf::Stopped => {
                let (reader, mut writer) = std::io::pipe().unwrap();
                // It is open as long as this process.
                Box::leak(Box::new(reader));
                let flags = fcntl_getfl(&writer).unwrap();
                fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
                while writer.write(&[b'.'; 4_096]).is_ok() {}
                while writer.write(b".").is_ok() {}
                fcntl_setfl(&writer, flags).unwrap();
                writer.into()
            }
        }
    }
}

fn hypothec(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hypothec"));
    command.args(words).stdin(Stdio::null()).env("RUST_LOG", "debug");
    command
}

fn run(words: &[&str]) -> String {
    let output = hypothec(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How long a service may take to end that nobody reads.
const END: Duration = Duration::from_secs(20);

/// Started with nobody to read what it says.
struct Service(Child);

impl Service {
    fn start(words: &[&str], out: Deaf, err: Deaf) -> Service {
        Service(hypothec(words).stdout(out.stdio()).stderr(err.stdio()).spawn().unwrap())
    }

    fn is_running(&mut self) {
        assert_eq!(self.0.try_wait().unwrap(), None, "it has ended");
    }

    async fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_raw(self.0.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
        let ends = tokio::task::spawn_blocking(move || self.0.wait().unwrap());
        tokio::time::timeout(PATIENCE, ends).await.unwrap().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn make_node(data: &str) {
    let away = "http://127.0.0.1:1";
    let words = ["--data", data, "init", "--network", "regtest", "--no-passphrase", "--bitcoind-url", away];
    let more = ["--bitcoind-cookie", "/nowhere/.cookie", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"];
    run(&[&words[..], &more].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_and_output_nobody_can_write_serves_and_stops_as_it_is_told() {
    for (out, err) in [(Deaf::Full, Deaf::Full), (Deaf::Gone, Deaf::Gone)] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("node").display().to_string();
        make_node(&data);
        // Started once more, it finds the store as it left it.
        for _ in 0..2 {
            let mut node = Service::start(&["--data", &data, "node"], out, err);
            let told = || async {
                let status = hypothec(&["--data", &data, "--json", "status"]).output().unwrap();
                let text = String::from_utf8_lossy(&status.stdout).into_owned();
                text.contains("waiting for bitcoind").then_some(()).ok_or(text)
            };
            until("its answer", PATIENCE, told).await.unwrap();
            node.is_running();
            assert_eq!(node.stop().await.code(), Some(0), "{out:?}");
        }
        // And a person reads no word of damage.
        let status = hypothec(&["--data", &data, "status"]).output().unwrap();
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert!(!said.contains("damaged") && !said.contains("panicked"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_stands_still_goes_on_tells_how_much_is_left_out_and_ends_when_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node").display().to_string();
    make_node(&data);
    let mut node = Service::start(&["--data", &data, "node"], Deaf::Stopped, Deaf::Stopped);
    let mut longest = Duration::ZERO;
    let mut told = async |words: &str| {
        until("its answer", PATIENCE, || {
            let begun = Instant::now();
            let status = hypothec(&["--data", &data, "--json", "status"]).output().unwrap();
            let text = String::from_utf8_lossy(&status.stdout).into_owned();
            if status.status.success() {
                longest = longest.max(begun.elapsed());
            }
            std::future::ready(text.contains(words).then_some(()).ok_or(text))
        })
        .await
        .unwrap();
    };
    told("waiting for bitcoind").await;
    told("log: nobody reads what this node writes on standard error, or it cannot be written, and ").await;
    node.is_running();
    let begun = Instant::now();
    assert_eq!(node.stop().await.code(), Some(0));
    let took = begun.elapsed();
    println!("bound stalled-log {} ms for a command, {} ms to end", longest.as_millis(), took.as_millis());
    assert!(longest < END && took < END, "{longest:?} {took:?}");
    // One that cannot start ends too, and says why to who asks.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Path::new(&data).join("hypothec.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let taken = format!("listen = \"{}\"", listener.local_addr().unwrap());
    std::fs::write(&config, text.replacen("listen = \"127.0.0.1:0\"", &taken, 2)).unwrap();
    let mut node = Service::start(&["--data", &data, "node"], Deaf::Stopped, Deaf::Stopped);
    let ended = || std::future::ready(node.0.try_wait().unwrap().ok_or_else(|| "it runs".to_owned()));
    assert_eq!(until("its end", PATIENCE, ended).await.unwrap().code(), Some(1));
    let status = hypothec(&["--data", &data, "status"]).output().unwrap();
    let said = String::from_utf8_lossy(&status.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("It ended by itself") && said.contains("Address already in use"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_whose_log_and_output_stand_still_answers_and_stops_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("signer");
    let place = data.display().to_string();
    run(&["oracle-daemon", "init", "--data", &place, "--insecure-plain"]);
    let words = ["oracle-daemon", "signer", "--data", &place, "--network", "regtest"];
    let mut signer = Service::start(&words, Deaf::Stopped, Deaf::Stopped);
    let socket = data.join("signer.sock");
    let answers = || std::future::ready(UnixStream::connect(&socket).map(drop).map_err(|error| error.to_string()));
    until("its answer", PATIENCE, answers).await.unwrap();
    signer.is_running();
    assert_eq!(signer.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_whose_log_and_output_nobody_can_write_serves_and_stops_as_it_is_told() {
    for deaf in [Deaf::Full, Deaf::Gone, Deaf::Stopped] {
        let dir = tempfile::tempdir().unwrap();
        let (data, clock) = (dir.path().join("oracle"), dir.path().join("clock"));
        Clock::set_file(&clock, Time(1_583_712_000)).unwrap();
        let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/prices-2020-03.csv");
        let place = [&data, &prices, &clock].map(|path| path.display().to_string());
        run(&["oracle-daemon", "init", "--data", &place[0], "--insecure-plain"]);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let words = ["oracle-daemon", "run", "--data", &place[0], "--network", "regtest", "--listen", &listen];
        let more = ["--replay", &place[1], "--regtest-clock", &place[2]];
        let mut oracle = Service::start(&[&words[..], &more].concat(), deaf, deaf);
        let url = format!("http://{listen}/v1/pubkey");
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
        let answers = || async { http.get(&url).send().await.map(|_| ()).map_err(|e| e.to_string()) };
        until("its answer", PATIENCE, answers).await.unwrap();
        oracle.is_running();
        assert_eq!(oracle.stop().await.code(), Some(0), "{deaf:?}");
    }
}

#[test]
fn a_command_ends_in_order_though_nobody_reads_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere").display().to_string();
    let commands: [&[&str]; 8] = [
        &["--help"],
        &["no-such-command"],
        &["--json", "no-such-command"],
        &["--data", &nowhere, "status"],
        &["--data", &nowhere, "--json", "status"],
        &["completions", "bash"],
        &["oracle-daemon", "--help"],
        &["oracle-daemon", "status", "--data", &nowhere],
    ];
    for deaf in [Deaf::Full, Deaf::Gone] {
        for words in commands {
            let status = hypothec(words).stdout(deaf.stdio()).stderr(deaf.stdio()).status().unwrap();
            assert!(matches!(status.code(), Some(0..=3)), "{deaf:?}, {words:?}: {status}");
        }
    }
    // Where its answer is lost to a full disk it has failed, and to a reader that had enough it has not.
    let ends = |deaf: Deaf| hypothec(&["completions", "bash"]).stdout(deaf.stdio()).output().unwrap();
    assert_eq!([Deaf::Full, Deaf::Gone].map(|deaf| ends(deaf).status.code()), [Some(1), Some(0)]);
    assert!(String::from_utf8_lossy(&ends(Deaf::Full).stderr).contains("standard output"));
}
