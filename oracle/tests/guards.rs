//! What keeps a restored copy from revealing the key: the watermark, and the peers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod living;

use living::{dollars, hour, oracle, wait_until, Place};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Says a price at one hour and waits for the next hour's fixing.
fn says(place: &Place, cents: u64, number: u32) -> serde_json::Value {
    place.set(hour(number - 1));
    let running = place.start(&["--manual"]);
    place.price(cents);
    wait_until("the price", || running.get("/v1/price").is_some_and(|(_, said)| said["cents"] == cents));
    place.set(hour(number));
    running.wait_for(hour(number));
    running.fixing(hour(number)).unwrap()
}

#[test]
fn a_restored_old_ledger_with_another_price_is_refused_and_the_key_stays_secret() {
    let place = Place::new();
    says(&place, 700_000, 2);
    let backup = living::beside(&place.data(), "backup");
    copy(&place.data(), &backup);
    let said = says(&place, 650_000, 4);
    assert_eq!(dollars(&said), 6_500);
    let (data, kept) = (place.data(), living::beside(&place.data(), "kept.json"));
    let export = |to: &Path| {
        let args = ["watermark", "export", to.to_str().unwrap(), "--data", data.to_str().unwrap()];
        let output = oracle(&args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    export(&kept);

    // Only the ledger is put back: the watermark beside the key knows better.
    for name in ["ledger", "said"] {
        let _ = std::fs::remove_dir_all(data.join(name));
        let _ = std::fs::remove_file(data.join(name));
        copy(&backup.join(name), &data.join(name));
    }
    let refusal = place.refusal(&["--manual"]);
    assert!(refusal.contains("older than the watermark") && refusal.contains("reveal"), "{refusal}");

    // The whole folder is put back, watermark and all: the one kept elsewhere knows better.
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    let kept = kept.to_str().unwrap();
    let refusal = place.refusal(&["--manual", "--watermark", kept]);
    assert!(refusal.contains("older than the watermark") && refusal.contains("kept.json"), "{refusal}");

    // Without it nothing would stop the second fixing: this is the leak that the watermark prevents.
    let other = says(&place, 600_000, 4);
    assert_eq!((&said["eventId"], dollars(&other)), (&other["eventId"], 6_000));
    let position = (0..20).find(|at| said["outcomes"][at] != other["outcomes"][at]).unwrap();
    let nonce = |fixing: &serde_json::Value| fixing["signatures"][position].as_str().unwrap()[..64].to_string();
    assert_eq!(nonce(&said), nonce(&other), "two messages under one nonce");

    // And a ledger that went on differently is not the one either.
    let refusal = place.refusal(&["--manual", "--watermark", kept]);
    assert!(refusal.contains("differs within") || refusal.contains("older than"), "{refusal}");
}

#[test]
fn a_watermark_of_another_oracle_or_one_that_was_changed_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    says(&place, 700_000, 2);
    says(&other, 700_000, 2);
    let file = living::beside(&place.data(), "kept.json");
    let path = file.to_str().unwrap();
    let export = |place: &Place| {
        let data = place.data();
        oracle(&["watermark", "export", path, "--data", data.to_str().unwrap()]).output().unwrap()
    };
    assert!(export(&other).status.success());
    assert!(place.refusal(&["--manual", "--watermark", path]).contains("not valid for oracle"));
    let over = export(&place);
    assert!(!over.status.success() && String::from_utf8_lossy(&over.stderr).contains("name another file"));
    std::fs::remove_file(&file).unwrap();
    assert!(export(&place).status.success() && export(&place).status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    let records = serde_json::from_str::<serde_json::Value>(&text).unwrap()["watermark"]["records"].as_u64().unwrap();
    std::fs::write(&file, text.replace(&format!("\"records\": {records}"), "\"records\": 1")).unwrap();
    assert!(place.refusal(&["--manual", "--watermark", path]).contains("not valid for oracle"));
    std::fs::write(&file, "{}").unwrap();
    assert!(place.refusal(&["--manual", "--watermark", path]).contains("watermark export"));
    std::fs::remove_file(&file).unwrap();
    assert!(place.refusal(&["--manual", "--watermark", path]).contains("no watermark file"));
    std::fs::write(place.data().join("watermark"), "7").unwrap();
    assert!(place.refusal(&["--manual"]).contains("is not a watermark"));
    let empty = Place::new();
    assert!(String::from_utf8_lossy(&export(&empty).stderr).contains("never run"));
}

#[test]
fn a_fixing_that_a_mirror_shows_otherwise_is_refused_with_both_values() {
    let first = Place::new();
    let second = Place::with_the_key_of(&first);
    let said = says(&first, 700_000, 2);
    first.set(hour(2));
    let mirror = first.start(&["--manual"]);
    let url = format!("http://{}", mirror.address);
    second.set(hour(1));
    let running = second.start(&["--manual", "--peer", &url, "--peer", "http://127.0.0.1:1"]);
    second.price(600_000);
    wait_until("the price", || running.get("/v1/price").is_some_and(|(_, said)| said["cents"] == 600_000));
    assert!(running.fixing(hour(1)).is_none());
    second.set(hour(2));
    running.wait_for(hour(2));
    running.wait_for_alarm("$7000");
    running.wait_for_alarm("$6000");
    assert_eq!(running.fixing(hour(2)), None);
    assert_eq!(running.low(hour(2)), Some(600_000), "a touch cannot be said twice, so lows go on");
    second.set(hour(3));
    running.wait_for(hour(3));
    assert_eq!(dollars(&running.fixing(hour(3)).unwrap()), 6_000, "the mirror has not spoken of this hour");
    assert_eq!(mirror.fixing(hour(2)), Some(said));
    drop(running);
    // Now the mirror, on an older clock, would contradict a fixing that is already in the ledger.
    first.set(hour(3));
    mirror.wait_for(hour(3));
    let refusal = second.refusal(&["--manual", "--peer", &url]);
    assert!(refusal.contains("$7000") && refusal.contains("$6000"), "{refusal}");
}

#[test]
fn a_crash_through_five_hundred_rungs_is_stored_attested_and_published_within_a_second() {
    let place = Place::new();
    let running = place.start(&["--manual"]);
    place.price(2_000_000);
    wait_until("the price", || running.low(hour(0)) == Some(2_000_000));
    let path = |band: u32| format!("/v1/bands/{band}/20200312/h00?only=attestations");
    let attested = |band: u32| running.json(&path(band))["attestations"].as_array().unwrap().len();
    // 1,000 to 10,000 is 400 rungs or more, 10,000 to 20,000 another 500: bands of 64, made ready before the crash.
    let bands: Vec<u32> =
        (0..40).filter(|band| running.get(&path(*band)).is_some_and(|(status, _)| status == 200)).collect();
    let before: usize = bands.iter().map(|band| attested(*band)).sum();
    let began = Instant::now();
    place.price(1_000_000);
    let mut after = 0;
    wait_until("five hundred rungs", || {
        after = bands.iter().map(|band| attested(*band)).sum();
        after >= before + 500
    });
    let took = began.elapsed();
    println!("{} rungs in {} ms", after - before, took.as_millis());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_year_of_hours_fits_in_little_memory() {
    let place = Place::new();
    let mut text = "unix,open,high,low,close\n".to_string();
    for number in 0..8_760u32 {
        let (low, close) = (4_000 + number % 900, 5_000 + number % 977);
        text.push_str(&format!("{},{close},6000,{low},{close}\n", hour(number).0));
    }
    let bars = living::beside(&place.data(), "year.csv");
    std::fs::write(&bars, text).unwrap();
    let running = place.start(&["--replay", bars.to_str().unwrap()]);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_string();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let empty = memory();
    let began = Instant::now();
    for day in 1..=365 {
        place.set(hour(24 * day));
        running.wait_for(hour(24 * day));
    }
    let full = memory();
    println!("{empty} kB at first, {full} kB after a year, {} s", began.elapsed().as_secs());
    assert_eq!(running.json("/v1/status")["fixings"], 8_760);
    assert!(full < empty + 64 * 1024, "{empty} kB, then {full} kB");
}
