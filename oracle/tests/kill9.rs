//! Killed with SIGKILL at any moment and at every named point between a price and its publication, and started again
//! with other prices: never two fixings, never a low that was served and then forgotten.
//!
//! `HYPOTHEC_KILLS` says how many times (default 12). With `--features faults` every second death is at a named point.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod living;

use hypothec_oracle::units::{Time, HOUR};
#[cfg(feature = "faults")]
use living::wait_until;
use living::{hour, Place, Running, Witness, START};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where a process can be told to die, in the order they are passed.
#[cfg(feature = "faults")]
const POINTS: [&str; 9] = [
    "oracle-tick",
    "oracle-deciding",
    "oracle-batch",
    "oracle-flushed",
    "oracle-synced",
    "oracle-replacing",
    "oracle-replaced",
    "oracle-appended",
    "oracle-shown",
];

fn kills() -> u32 {
    std::env::var("HYPOTHEC_KILLS").map_or(12, |text| text.parse().unwrap())
}

/// Bars of other prices every time: what was forgotten would be said differently.
fn bars(place: &Place, random: &mut StdRng, until: Time) -> PathBuf {
    let mut text = "unix,open,high,low,close\n".to_string();
    for at in (START.0 - HOUR..until.0 + 6 * HOUR).step_by(HOUR as usize) {
        let (low, close, high) = (random.gen_range(4_000..6_000), random.gen_range(6_000..7_000), 7_000);
        writeln!(text, "{at},{close},{high},{low},{close}").unwrap();
    }
    let path = living::beside(&place.data(), "bars.csv");
    std::fs::write(&path, text).unwrap();
    path
}

/// One life: prices and time move while a client looks on; then it is dead.
fn life(place: &Place, mut running: Running, random: &mut StdRng, now: &mut Time, witness: &mut Witness, manual: bool) {
    let (ended, clock) = (AtomicBool::new(false), AtomicU32::new(now.0));
    let address = running.address;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                witness.look(address, Time(clock.load(Ordering::Relaxed)));
            }
        });
        let (born, lives) = (Instant::now(), Duration::from_micros(random.gen_range(0..150_000)));
        // A life that is to end at a named point ends there, if it passes it.
        while born.elapsed() < lives && running.is_alive() {
            if manual {
                place.price(random.gen_range(400_000..700_000));
            }
            *now = now.plus([1, 30, 119, 600, HOUR][random.gen_range(0..5)]).unwrap();
            place.set(*now);
            clock.store(now.0, Ordering::Relaxed);
            let next = Instant::now() + Duration::from_micros(random.gen_range(0..40_000));
            while Instant::now() < next && running.is_alive() {
                std::thread::yield_now();
            }
        }
        drop(running);
        ended.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_oracle_killed_thousands_of_times_never_says_two_fixings_and_never_forgets_a_low_it_served() {
    let seed = rand::random();
    println!("seed {seed}");
    let (mut random, place, mut witness) = (StdRng::seed_from_u64(seed), Place::new(), Witness::default());
    let mut now = hour(1);
    let (mut killed, mut at_points) = (0, 0);
    for round in 0..kills() {
        let manual = round % 3 != 0;
        place.set(now);
        let bars = bars(&place, &mut random, now);
        let feed = if manual { vec!["--manual"] } else { vec!["--replay", bars.to_str().unwrap()] };
        let mut command = place.command(&feed);
        if let Some(plan) = plan(round, &mut random) {
            command.env("HYPOTHEC_CRASH_AT", plan);
            at_points += 1;
        }
        killed += 1;
        // At some points it dies before it answers.
        let Some(running) = Running::of(command) else { continue };
        life(&place, running, &mut random, &mut now, &mut witness, manual);
        witness.vouch();
    }
    let last = place.start(&["--manual"]);
    witness.asks_again(&last);
    witness.vouch();
    assert!(witness.answers > 0);
    println!(
        "{killed} kills ({at_points} at named points), {} answers, {} fixings: none changed, none forgotten",
        witness.answers,
        witness.fixings()
    );
}

#[cfg(feature = "faults")]
fn plan(round: u32, random: &mut StdRng) -> Option<String> {
    let point = POINTS[random.gen_range(0..POINTS.len())];
    (round % 2 == 1).then(|| format!("{point}:{}", random.gen_range(1..12)))
}

#[cfg(not(feature = "faults"))]
fn plan(_round: u32, _random: &mut StdRng) -> Option<String> {
    None
}

/// Every point is really passed, and a death there loses nothing and says nothing twice.
#[cfg(feature = "faults")]
#[test]
fn a_death_at_every_point_between_a_price_and_its_publication_changes_nothing_that_was_said() {
    let place = Place::new();
    let mut witness = Witness::default();
    let mut random = StdRng::seed_from_u64(7);
    let mut now = hour(1);
    for point in POINTS {
        for passing in 2..4 {
            place.set(now);
            let mut command = place.command(&["--manual"]);
            command.env("HYPOTHEC_CRASH_AT", format!("{point}:{passing}"));
            if let Some(mut running) = Running::of(command) {
                wait_until(&format!("death at {point}"), || {
                    place.price(random.gen_range(400_000..700_000));
                    now = now.plus(600).unwrap();
                    place.set(now);
                    witness.look(running.address, now);
                    !running.is_alive()
                });
            }
            place.set(now);
            let running = place.start(&["--manual"]);
            running.wait_for(now);
            witness.asks_again(&running);
            witness.vouch();
        }
    }
    assert!(witness.fixings() > 5);
}

#[test]
fn the_client_would_notice_a_second_fixing_and_a_forgotten_low() {
    let lows = |low: serde_json::Value, frozen: u32| {
        let mut lows = vec![serde_json::Value::Null; 24];
        lows[3] = low;
        serde_json::json!({"lows": lows, "frozen_until": frozen})
    };
    let tells = |told: &[serde_json::Value]| {
        let mut witness = Witness::default();
        told.iter().for_each(|said| witness.hears_lows(START, said));
        witness.scandals.len()
    };
    assert_eq!(tells(&[lows(7.into(), 0), lows(6.into(), 0), lows(6.into(), hour(4).0)]), 0);
    assert_eq!(tells(&[lows(7.into(), 0), lows(8.into(), 0)]), 1);
    assert_eq!(tells(&[lows(7.into(), 0), lows(serde_json::Value::Null, 0)]), 1);
    assert_eq!(tells(&[lows(7.into(), hour(4).0), lows(6.into(), hour(4).0)]), 1);
    assert_eq!(tells(&[lows(serde_json::Value::Null, hour(4).0), lows(6.into(), hour(4).0)]), 1);
    let fixing = |digit: &str| serde_json::json!({"outcomes": [digit], "signatures": [digit]});
    let mut witness = Witness::default();
    for digit in ["0", "0", "1"] {
        witness.hears_fixing(START, fixing(digit));
    }
    assert_eq!(witness.scandals, ["fixing 2020-03-12T00:00:00Z: $0, then $1"]);
}
