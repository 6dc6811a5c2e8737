//! The daemon as its operator meets it: a process with a data folder, killed and started again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Helpers outside `#[test]` functions are test code too.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{hour, oracle, says, Running, World, CSV};
use hypothec_oracle::units::Time;
use rustix::process::{kill_process, Pid, Signal};
use std::path::Path;
use std::process::{Command, Stdio};

const IDS: [&str; 3] = ["btcusd1584010800", "btcusd-touch-7600-20200312-h00", "btcusd-touch-3800-20200313-h00"];

#[test]
fn an_oracle_killed_at_any_moment_says_the_same_for_ever() {
    let world = World::new();
    let first = world.start(&["--replay", CSV]);
    let announced = IDS.map(|id| first.get(&format!("/announcement/{id}")));
    let month = first.get("/v1/bands/21/202003");
    drop(first);
    let mut said: Vec<serde_json::Value> = Vec::new();
    for number in 1..=12 {
        let running = world.start(&["--replay", CSV]);
        assert_eq!(IDS.map(|id| running.get(&format!("/announcement/{id}"))), announced);
        let lows = running.json("/v1/lows/20200312")["lows"].as_array().unwrap().clone();
        assert!(lows.iter().zip(&said).all(|(now, before)| now == before), "{lows:?} after {said:?}");
        world.set(hour(number));
        if number % 2 == 0 {
            running.wait_for(hour(number));
            let lows = running.json("/v1/lows/20200312")["lows"].as_array().unwrap().clone();
            said = lows.into_iter().filter(|low| !low.is_null()).collect();
            assert_eq!(said.len(), usize::try_from(number).unwrap());
        }
        // Dropped here: killed with whatever it was doing, every other time in the middle of an hour's work.
    }
    let running = world.start(&["--replay", CSV]);
    let attested = running.json("/attestation/btcusd1584010800");
    assert_eq!(attested["eventId"], "btcusd1584010800");
    assert_eq!(attested["signatures"].as_array().unwrap().len(), 20);
    let page: serde_json::Value = serde_json::from_str(&month).unwrap();
    assert_eq!(running.json("/v1/bands/21/202003")["announcements"], page["announcements"]);
}

#[test]
fn kormirs_routes_answer_in_kormirs_shapes() {
    let world = World::new();
    world.set(hour(12));
    let running = world.start(&["--replay", CSV]);
    let key = running.json("/pubkey")["pubkey"].as_str().unwrap().to_string();
    let announcement = running.json("/announcement/btcusd-touch-7600-20200312-h00");
    assert_eq!(announcement["oraclePublicKey"], key.as_str());
    let event = &announcement["oracleEvent"];
    assert_eq!(event["eventDescriptor"]["enumEvent"]["outcomes"][0], event["eventId"]);
    let digits = &running.json("/announcement/btcusd1584010800")["oracleEvent"]["eventDescriptor"];
    let right = serde_json::json!({"base": 2, "isSigned": false, "unit": "usd", "precision": 0, "nbDigits": 20});
    assert_eq!(digits["digitDecompositionEvent"], right);
    let attested = running.json("/attestation/btcusd-touch-7600-20200312-h00");
    assert_eq!(attested["outcomes"][0], "btcusd-touch-7600-20200312-h00");
    let listed = running.json("/list-events");
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 49);
    assert_eq!(listed.iter().filter(|one| one["signatures"].as_array().unwrap().len() == 20).count(), 25);
}

#[test]
fn a_wrong_question_gets_one_sentence_and_the_right_status() {
    let world = World::new();
    let running = world.start(&["--replay", CSV]);
    let long = format!("/announcement/{}", "x".repeat(5_000));
    for (path, status, code) in [
        ("/nowhere", 404, "no_such_route"),
        ("/announcement/btcusd1584010801", 404, "unknown_event"),
        ("/announcement/btcusd-touch-7491-20200312-h00", 404, "unknown_event"),
        ("/announcement/btcusd-touch-7490-21060207-h00", 404, "unknown_event"),
        ("/announcement/%ff%00", 400, ""),
        (&long, 404, "unknown_event"),
        ("/attestation/btcusd1584010800", 404, "not_attested"),
        ("/attestation/btcusd-touch-3800-20200312-h00", 404, "not_attested"),
        ("/v1/lows/2020-03-12", 400, "bad_day"),
        ("/v1/lows/21060207", 400, "bad_day"),
        ("/v1/lows/99991231", 400, "bad_day"),
        ("/v1/fixings/today", 400, "bad_day"),
        ("/v1/bands/999/202003", 404, "unknown_bundle"),
        ("/v1/bands/21/202013", 404, "unknown_bundle"),
        ("/v1/bands/21/20200312/h24", 404, "unknown_bundle"),
        ("/v1/bands/21/210602", 404, "unknown_event"),
        ("/v1/bands/21/202003?only=some", 400, "bad_parameter"),
    ] {
        let (found, body) = running.request("GET", path);
        assert_eq!(found, status, "{path}: {body}");
        if !code.is_empty() {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["code"], code, "{path}: {body}");
            assert!(body["message"].as_str().unwrap().len() < 200);
        }
    }
    assert_eq!(running.request("POST", "/v1/price").0, 405);
    assert_eq!(running.request("DELETE", "/attestation/btcusd1584010800").0, 405);
}

#[test]
fn the_operator_is_told_plainly_what_is_wrong() {
    let world = World::new();
    let (data, clock) = (world.data(), world.clock().to_string_lossy().into_owned());
    let nowhere = Path::new(&data).join("nowhere").to_string_lossy().into_owned();
    for (args, says_so) in [
        (vec!["init", "--data", &data], "never replaced"),
        (vec!["init", "--data", &nowhere], "--insecure-plain"),
        (vec!["encrypt-key", "--data", &nowhere], "there is no key"),
        (vec!["price", "set", "1000.00", "--data", &data], "whole US cents"),
        (vec!["run", "--data", &data], "--replay FILE.csv or --manual"),
        (vec!["run", "--manual"], "--data DIR"),
        (vec!["run", "--data", &nowhere, "--manual"], "init --data"),
        (vec!["run", "--data", &data, "--manual", "--regtest-clock", &clock], "refused on signet"),
        (vec!["run", "--data", &data, "--manual", "--network", "mainnet"], "nobody's money"),
        (vec!["run", "--data", &data, "--replay", &nowhere, "--network", "regtest"], "read replay file"),
        (vec!["run", "--data", &data, "--manual"], "not encrypted, which is refused on signet"),
        (
            vec!["run", "--data", &data, "--manual", "--network", "regtest", "--listen", "203.0.113.1:1"],
            "listen on 203.0.113.1:1",
        ),
        (vec!["price", "set", "0", "--data", &data], "between 1 and"),
        (vec!["price", "set", "7.5", "--data", &data], "invalid value"),
    ] {
        let output = oracle(&args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(says(&output).contains(says_so), "{args:?}: {}", says(&output));
    }
}

#[test]
fn a_price_set_by_hand_is_served_signed_and_stands_after_a_kill() {
    let world = World::new();
    let running = world.start(&["--manual"]);
    assert_eq!(running.request("GET", "/v1/price").0, 503);
    let set = oracle(&["price", "set", "798765", "--data", &world.data()]).output().unwrap();
    assert!(set.status.success(), "{}", says(&set));
    assert_eq!(running.json("/v1/price")["cents"], 798_765);
    assert!(String::from_utf8_lossy(&set.stdout).contains("the price is $7,987.65"), "{}", says(&set));
    // Two digits too many, or two too few: asked about, and refused where there is nobody to ask.
    for slip in ["79876500", "7987"] {
        let slipped = oracle(&["price", "set", slip, "--data", &world.data()]).stdin(Stdio::null()).output().unwrap();
        assert!(!slipped.status.success() && says(&slipped).contains("say --yes if it is meant"), "{}", says(&slipped));
        assert_eq!(running.json("/v1/price")["cents"], 798_765, "and what it would have touched is not attested");
    }
    let meant = oracle(&["price", "set", "400000", "--yes", "--data", &world.data()]).output().unwrap();
    assert!(meant.status.success(), "{}", says(&meant));
    assert!(oracle(&["price", "set", "798765", "--yes", "--data", &world.data()]).output().unwrap().status.success());
    drop(running);
    let running = world.start(&["--manual"]);
    assert_eq!(running.json("/v1/price")["cents"], 798_765);
    assert!(oracle(&["price", "clear", "--data", &world.data()]).output().unwrap().status.success());
    assert_eq!(running.request("GET", "/v1/price").0, 503);
}

#[test]
fn a_slip_of_the_hand_is_asked_about_also_after_the_price_was_cleared() {
    let world = World::new();
    let data = world.data();
    let price = |args: &[&str]| oracle(&[&["price"], args, &["--data", &data]].concat()).output().unwrap();
    let good = |args: &[&str]| {
        let done = price(args);
        assert!(done.status.success(), "{args:?}: {}", says(&done));
    };
    let asked = |running: &Running, cents: &str, why: &str| {
        let slipped = price(&["set", cents]);
        assert!(!slipped.status.success(), "{cents} is set without a question, and must not be ({why})");
        let said = says(&slipped);
        assert!(said.contains("say --yes if it is meant") && said.contains(why), "{said}");
        assert_eq!(running.request("GET", "/v1/price").0, 503, "nothing is set, nothing it touches attested");
    };
    let running = world.start(&["--manual"]);
    good(&["set", "9000000"]);
    // The first hour, before any fixing: cleared in the evening, dollars for cents in the morning.
    for _ in 0..2 {
        good(&["clear"]);
        asked(&running, "90000", "more than 20 % from the last price, $90,000.00");
    }
    drop(running);
    let running = world.start(&["--manual"]);
    asked(&running, "90000", "set by hand at 2020-03-12 00:00 UTC");
    drop(running);
    // Weeks later the last price is old, and still the one that is known.
    world.set(hour(40 * 24));
    let running = world.start(&["--manual"]);
    asked(&running, "90000", "set by hand at 2020-03-12 00:00 UTC");
    asked(&running, "10900000", "$90,000.00");
    good(&["set", "10700000"]);
    good(&["clear"]);
    asked(&running, "8000000", "$107,000.00");
    drop(running);
    // The folder's own notes are lost, and the ledger still knows a price.
    let note = Path::new(&data).join("price.last");
    std::fs::remove_file(&note).unwrap();
    let running = world.start(&["--manual"]);
    asked(&running, "107000", "the low of the hour of 2020-04-21 00:00 UTC");
    // What cannot be read is no leave to set anything.
    std::fs::write(&note, "many").unwrap();
    asked(&running, "10700000", "price.last");
    good(&["set", "10700000", "--yes"]);
    good(&["set", "10800000"]);
    // A fixing that is newer than what was said by hand counts beside it.
    world.set(hour(40 * 24 + 1));
    running.wait_for(hour(40 * 24 + 1));
    good(&["clear"]);
    std::fs::write(&note, "90000 1584000000").unwrap();
    asked(&running, "90100", "the newest fixing, $108,000.00, of 2020-04-21 01:00 UTC");
    println!("bound manual-slip {} % of the last price, cleared or not", 20);
}

#[test]
fn an_oracle_told_to_stop_stops_and_leaves_a_ledger_that_opens() {
    let world = World::new();
    let mut running = world.start(&["--replay", CSV]);
    kill_process(Pid::from_child(&running.child), Signal::TERM).unwrap();
    assert!(running.child.wait().unwrap().success());
    drop(running);
    world.start(&["--replay", CSV]).get("/v1/status");
}

/// `run` on this folder by the machine's clock.
fn by_the_machines_clock(world: &World, more: &[&str]) -> Command {
    let data = world.data();
    let mut args = vec!["run", "--data", &data, "--network", "regtest", "--listen", "127.0.0.1:0"];
    args.extend(more);
    oracle(&args)
}

#[test]
fn a_machines_clock_far_beyond_the_ledger_is_taken_only_on_the_operators_word() {
    let world = World::new();
    world.set(hour(5));
    drop(world.start(&["--replay", CSV]));
    let refused = says(&by_the_machines_clock(&world, &["--replay", CSV]).output().unwrap());
    assert!(refused.contains("more than 31 days after") && refused.contains("say --accept-clock once"), "{refused}");
    world.set(hour(6));
    let still = world.start(&["--replay", CSV]);
    assert_eq!(still.json("/v1/status")["frozen_until"], hour(6).0, "nothing was frozen by it, and time may be moved");
    drop(still);
    let taken = Running::of(by_the_machines_clock(&world, &["--replay", CSV, "--accept-clock"]));
    assert!(taken.json("/v1/status")["frozen_until"].as_u64().unwrap() > 1_700_000_000);
}

#[test]
fn an_oracle_whose_ledger_is_final_decades_ahead_says_so_and_is_not_ready() {
    let world = World::new();
    world.set(Time(4_100_000_000));
    drop(world.start(&["--manual"]));
    let running = Running::of(by_the_machines_clock(&world, &["--manual"]));
    let alarm = running.json("/v1/status")["alarm"].as_str().unwrap_or_default().to_string();
    assert!(alarm.contains("everything up to 2099-12-03T") && alarm.contains("the clock was ahead"), "{alarm}");
    let (status, ready) = running.request("GET", "/readyz");
    assert!(status == 503 && ready.contains("everything up to 2099"), "{ready}");
    let status = oracle(&["status", "--data", &world.data()]).output().unwrap();
    assert!(!status.status.success() && says(&status).contains("No low and no fixing"), "{}", says(&status));
    let asked = ["doctor", "--data", &world.data(), "--network", "regtest", "--listen", &running.address];
    let doctor = oracle(&asked).output().unwrap();
    let found = String::from_utf8_lossy(&doctor.stdout);
    assert!(!doctor.status.success() && found.contains("make a new key, rotate to it"), "{found}");
}
