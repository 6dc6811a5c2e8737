//! An oracle's hand-overs as its operator makes them, and what stands in their files by mistake.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{hour, oracle, says, Running, CSV};
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::operator::SameOperator;
use hypothec_oracle::rotation::Rotation;
use hypothec_oracle::units::{Time, DAY};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Output;

const NOW: u32 = 30;

/// Several oracles' data folders on one machine.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn with(names: &[&str]) -> Machine {
        let machine = Machine { folder: tempfile::tempdir().unwrap() };
        for name in names {
            let made = oracle(&["init", "--data", &machine.path(name), "--insecure-plain"]).output().unwrap();
            assert!(made.status.success(), "{}", says(&made));
        }
        Clock::set_file(&PathBuf::from(machine.path("clock")), hour(NOW)).unwrap();
        machine
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn keys(&self, name: &str) -> OracleKeys {
        let secret = std::fs::read_to_string(self.path(&format!("{name}/secret"))).unwrap();
        OracleKeys::from_secret(secret.trim().parse().unwrap())
    }

    fn key(&self, name: &str) -> String {
        self.keys(name).public_key().to_string()
    }

    fn rotate(&self, data: &str, to: &str, more: &[&str]) -> Output {
        let (data, to, clock) = (self.path(data), self.path(to), self.path("clock"));
        let args = ["rotate", "--data", &data, "--to", &to, "--network", "regtest", "--regtest-clock", &clock];
        oracle(&[args.as_slice(), more].concat()).output().unwrap()
    }

    fn handed(&self, data: &str, to: &str) -> Rotation {
        let done = self.rotate(data, to, &["--from", &soon()]);
        assert!(done.status.success(), "{}", says(&done));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    fn refused(&self, data: &str, to: &str, more: &[&str]) -> String {
        let done = self.rotate(data, to, more);
        assert!(!done.status.success(), "signed: {}", String::from_utf8_lossy(&done.stdout));
        says(&done)
    }

    /// What its key was handed over to is written down nowhere.
    fn decided(&self, data: &str) -> bool {
        let names = std::fs::read_dir(self.path(data)).unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().any(|name| name.to_string_lossy().ends_with(&self.key(data)[..16]))
    }

    fn write<T: Serialize>(&self, file: &str, statements: &[T]) {
        std::fs::write(self.path(file), serde_json::to_string(statements).unwrap()).unwrap();
    }

    fn run(&self, name: &str) -> Running {
        let (data, clock) = (self.path(name), self.path("clock"));
        let args = ["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock, "--replay", CSV];
        let running = Running::of(oracle(&[args.as_slice(), &["--listen", "127.0.0.1:0"]].concat()));
        assert!(!running.address.is_empty(), "{name} does not start");
        running
    }

    /// What doctor, `status` and metrics tell of this oracle's statements.
    fn told(&self, name: &str, running: &Running) -> (Vec<String>, String) {
        let (data, clock) = (self.path(name), self.path("clock"));
        let asked = ["doctor", "--data", &data, "--network", "regtest", "--regtest-clock", &clock, "--json"];
        let found = oracle(&[asked.as_slice(), &["--listen", &running.address]].concat()).output().unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_slice(&found.stdout).unwrap();
        let own = |one: &&serde_json::Value| one["level"] == "trouble" && one["area"] == "key";
        let found = found.iter().filter(own).map(|one| one["what"].as_str().unwrap().to_owned());
        let found: Vec<String> = found.collect();
        let metrics = running.get("/metrics");
        let wrong = format!("hypothec_oracle_statements_wrong {}\n", found.len());
        assert!(metrics.contains(&wrong), "{wrong}{metrics}");
        let trouble = format!("hypothec_oracle_trouble {}\n", u8::from(!found.is_empty()));
        assert!(metrics.contains(&trouble), "{trouble}");
        let status = oracle(&["status", "--data", &data]).output().unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        (found, status.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

fn soon() -> String {
    hour(NOW).plus(30 * DAY).unwrap().0.to_string()
}

fn served(running: &Running) -> Vec<Rotation> {
    serde_json::from_str(&running.get("/v1/rotation")).unwrap()
}

#[test]
fn a_hand_over_back_to_an_earlier_key_is_refused_before_anything_is_signed() {
    let machine = Machine::with(&["a", "b", "c", "d"]);
    let first = machine.handed("a", "b");
    std::fs::copy(machine.path("a/rotation.json"), machine.path("b/rotation.json")).unwrap();
    let kept = std::fs::read(machine.path("b/rotation.json")).unwrap();
    let refused = machine.refused("b", "a", &["--from", &soon(), "--yes"]);
    for says in [
        "nothing is signed".to_owned(),
        format!("key {} cannot take over from {}", machine.key("a"), machine.key("b")),
        format!("handed over to {}", machine.key("b")),
        "b/rotation.json says so".to_owned(),
        "hypothec-oracle init --data DIR".to_owned(),
    ] {
        assert!(refused.contains(&says), "{says}: {refused}");
    }
    assert_eq!(std::fs::read(machine.path("b/rotation.json")).unwrap(), kept);
    assert!(machine.decided("a") && !machine.decided("b"), "nothing is written down");
    // Said by nothing but the journal beside the earlier key.
    for file in ["a/rotation.json", "b/rotation.json"] {
        std::fs::rename(machine.path(file), machine.path(&file.replace('/', "-"))).unwrap();
    }
    let refused = machine.refused("b", "a", &["--from", &soon()]);
    assert!(refused.contains("a/handed-over-"), "{refused}");
    std::fs::rename(machine.path("b-rotation.json"), machine.path("b/rotation.json")).unwrap();
    // A longer circle, and a key to itself.
    machine.handed("b", "c");
    std::fs::copy(machine.path("b/rotation.json"), machine.path("c/rotation.json")).unwrap();
    assert!(machine.refused("c", "a", &["--from", &soon()]).contains("cannot take over"));
    assert!(machine.refused("c", "c", &["--from", &soon()]).contains("a new key is needed"));
    assert!(!machine.decided("c"));
    machine.handed("c", "d");
    let running = machine.run("c");
    assert_eq!((served(&running).len(), served(&running)[0]), (3, first));
    assert_eq!(machine.told("c", &running).0, Vec::<String>::new());
}

#[test]
fn statements_that_run_in_a_circle_or_are_wrong_stop_no_oracle_and_are_told() {
    let machine = Machine::with(&["a", "b", "c"]);
    let [a, b, c] = ["a", "b", "c"].map(|name| machine.keys(name));
    let from = Time(soon().parse().unwrap());
    let one = Rotation::sign(&a, &b, from).unwrap();
    let round = Rotation::sign(&b, &a, Time(0)).unwrap();
    for name in ["a", "b"] {
        machine.write(&format!("{name}/rotation.json"), &[one, round]);
        let running = machine.run(name);
        assert_eq!(served(&running), [one], "what was said first");
        assert!(running.json("/v1/status")["fixings"].as_u64().unwrap() > 0, "it goes on attesting");
        let (found, status) = machine.told(name, &running);
        assert!(found.len() == 1 && found[0].contains(&format!("back to {}", machine.key("a"))), "{found:?}");
        assert!(status.contains("counts for nothing and is not served"), "{status}");
        // Mended while it runs.
        machine.write(&format!("{name}/rotation.json"), &[one]);
        assert_eq!(machine.told(name, &running).0, Vec::<String>::new());
    }
    println!("bound hand-over-circle {} oracles stopped", 0);
    // Two successors of one key: nodes must see both.
    let other = Rotation::sign(&a, &c, from).unwrap();
    machine.write("a/rotation.json", &[one, other]);
    let running = machine.run("a");
    assert_eq!(served(&running), [one, other]);
    let found = machine.told("a", &running).0;
    assert!(found.len() == 1 && found[0].contains("signed two different rotations"), "{found:?}");
    drop(running);
    // Another key's, one that names a key twice, a forged one, a ring, and no statements at all.
    let ring = [(&a, &b), (&b, &c), (&c, &a)].map(|(one, other)| SameOperator::sign(one, other).unwrap());
    let mut forged = ring[0];
    forged.signatures.swap(0, 1);
    let itself = SameOperator { keys: [a.public_key(), a.public_key()], ..forged };
    machine.write("c/rotation.json", &[one]);
    machine.write("c/same-operator.json", &[vec![forged, itself], ring.to_vec()].concat());
    let running = machine.run("c");
    assert_eq!(running.request("GET", "/v1/rotation").0, 404);
    assert_eq!(running.json("/v1/same-operator").as_array().unwrap().len(), 3);
    let found = machine.told("c", &running).0;
    let expected = ["about other keys", "did not sign", "twice"];
    assert!(found.len() == 3 && found.iter().zip(expected).all(|(one, says)| one.contains(says)), "{found:?}");
    drop(running);
    std::fs::write(machine.path("c/rotation.json"), "[{]").unwrap();
    std::fs::remove_file(machine.path("c/same-operator.json")).unwrap();
    let running = machine.run("c");
    assert_eq!(running.request("GET", "/v1/rotation").0, 500);
    let found = machine.told("c", &running).0;
    assert!(found.len() == 1 && found[0].contains("nothing of it is served"), "{found:?}");
}

#[test]
fn a_time_to_hand_over_from_that_is_past_or_years_ahead_is_asked_about() {
    let machine = Machine::with(&["a", "b"]);
    let now = hour(NOW);
    let past = (now.0 - 1).to_string();
    let far = now.plus(3 * 365 * DAY + 1).unwrap().0.to_string();
    for (from, why) in [("0", "is past"), (past.as_str(), "is past"), (far.as_str(), "more than three years ahead")] {
        let refused = machine.refused("a", "b", &["--from", from]);
        let bounds = format!("Between {} and {}", now.for_people(), now.plus(3 * 365 * DAY).unwrap().for_people());
        for says in [why, bounds.as_str(), "Nothing is signed", "say --yes if it is meant"] {
            assert!(refused.contains(says), "{says}: {refused}");
        }
        assert!(!machine.decided("a") && !Path::new(&machine.path("a/rotation.json")).exists());
    }
    println!("bound hand-over-slip {} days", 3 * 365);
    let meant = machine.rotate("a", "b", &["--from", &past, "--yes"]);
    assert!(meant.status.success(), "{}", says(&meant));
    let again = machine.rotate("a", "b", &["--from", &past]);
    assert!(again.status.success(), "said again, the same: {}", says(&again));
    assert_eq!(again.stdout, meant.stdout);
}
