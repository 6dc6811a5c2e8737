//! The live feed killed with SIGKILL, at any moment and at every named point between venues and disk: its tick log stays
//! one chain, what was said stays said, and a stranger's audit agrees with all of it.
//!
//! `HYPOTHEC_KILLS` says how many times (default 12). With `--features faults` every second death is at a named point.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod living;

use living::street::{Street, TICK};
use living::{hour, oracle, wait_until, Place, Running, Witness};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

/// Where a process can be told to die between venues and disk, and what it says after.
#[cfg(feature = "faults")]
const POINTS: [&str; 7] =
    ["log-writing", "log-written", "log-synced", "oracle-deciding", "oracle-synced", "oracle-replaced", "oracle-shown"];

fn kills() -> u32 {
    std::env::var("HYPOTHEC_KILLS").map_or(12, |text| text.parse().unwrap())
}

#[cfg(feature = "faults")]
fn plan(round: u32, random: &mut StdRng) -> Option<String> {
    let point = POINTS[random.gen_range(0..POINTS.len())];
    (round % 2 == 1).then(|| format!("{point}:{}", random.gen_range(1..20)))
}

#[cfg(not(feature = "faults"))]
fn plan(_round: u32, _random: &mut StdRng) -> Option<String> {
    None
}

#[test]
fn a_live_oracle_that_is_killed_again_and_again_passes_an_audit_of_everything_it_said() {
    let seed = rand::random();
    println!("seed {seed}");
    let (mut random, place, mut witness) = (StdRng::seed_from_u64(seed), Place::new(), Witness::default());
    let (mut now, mut dollars) = (hour(1), 7_000);
    let street = Street::open(now, dollars);
    let settings = street.settle(&place, 0);
    let settings = settings.each_ref().map(String::as_str);
    // One tick: the price moves, and the oracle has heard it unless it is dead.
    let mut tick = |running: &mut Running, witness: &mut Witness, random: &mut StdRng| {
        now = now.plus(TICK).unwrap();
        dollars = (dollars + random.gen_range(0..60) - 30).clamp(6_000, 8_000);
        street.say(now, dollars);
        place.set(now);
        wait_until("the tick, or a death", || {
            !running.is_alive() || running.get("/v1/log/head").is_some_and(|(_, head)| head["at"] == now.0)
        });
        witness.look(running.address, now);
    };
    place.set(hour(1));
    for round in 0..kills() {
        let mut command = place.command(&settings);
        if let Some(plan) = plan(round, &mut random) {
            command.env("HYPOTHEC_CRASH_AT", plan);
        }
        // At some points it dies before it answers.
        let Some(mut running) = Running::of(command) else { continue };
        let (born, lives) = (Instant::now(), Duration::from_millis(random.gen_range(0..1_500)));
        while born.elapsed() < lives && running.is_alive() {
            tick(&mut running, &mut witness, &mut random);
        }
        drop(running);
        witness.vouch();
    }
    // An hour in one piece, so that there is a fixing at least, and its freeze.
    let mut last = place.start(&settings);
    for _ in 0..(2 * 3_600 / TICK + 5) {
        tick(&mut last, &mut witness, &mut random);
    }
    wait_until("a fixing", || {
        witness.look(last.address, now);
        witness.fixings() > 0
    });
    witness.asks_again(&last);
    witness.vouch();
    let output = oracle(&["audit", &format!("http://{}", last.address)]).output().unwrap();
    let says = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && says.contains("everything agrees"), "{says}");
    println!("{} kills, {} answers, {} fixings; {says}", kills(), witness.answers, witness.fixings());
}
