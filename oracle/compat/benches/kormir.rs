//! Announcements and attestations a second, on one core, beside kormir's.
//!
//! The mix is what a band needs for an hour: 64 touches and 1 fixing of 20 binary digits. A round is eight such hours.
//! Ours and kormir's take turns in one process, on the same key and the same events, one untimed round first; the
//! figures are the medians. "A second" counts whole announcements (65 an hour) and whole attestations, of either kind.
//!
//! - Ours is [`OracleKeys`]: an announcement comes with a proof for each nonce, an attestation is signed and no more.
//! - kormir's is its `Oracle` on its own `MemoryStorage`: it makes no nonce proofs; it checks each signature that it
//!   has just made and puts what it said into a map.
//!
//! Nothing is written to a disk on either side: this is what the key costs, not the ledger. The time is the wall's, so
//! a busy machine shows lower figures; the ratios bear it better, because both sides meet the same load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation, OracleEvent};
use hypothec_oracle::announce::{nonce_proof_message, oracle_event, OracleKeys, ProvenAnnouncement, FIXING_UNIT};
use hypothec_oracle::event::{Event, FIXING_DIGITS};
use hypothec_oracle::ladder::{Level, BAND};
use hypothec_oracle::units::{Day, HOUR};
use kormir::storage::MemoryStorage;
use kormir::Oracle;
use secp256k1_zkp::{Keypair, SecretKey, SECP256K1};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Odd, so that one round is the median.
const ROUNDS: usize = 41;
/// A round, short enough that both sides of it meet the same load.
const HOURS: u8 = 8;
const DAY: Day = Day(20_454);
const LEVEL: u32 = 97_000;
const PRICE: u32 = 97_531;

fn main() {
    // `cargo test` only asks whether it runs; `cargo bench` says so.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let secret = SecretKey::from_slice(&[7; 32]).expect("a secret");
    let events = events();
    same_work(&round(&secret, &events));

    let rounds: Vec<Round> = (0..rounds).map(|_| round(&secret, &events)).collect();
    let median = |of: fn(&Round) -> Duration| {
        let mut times: Vec<Duration> = rounds.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    let rate = |time: Duration| events.len() as f64 / time.as_secs_f64();
    let announced = median(|round| round.ours.announcing);
    let proofs = median(|round| round.proving);
    let attested = median(|round| round.ours.attesting);
    let announced_there = median(|round| round.kormirs.announcing);
    let checks = median(|round| round.checking);
    let attested_there = median(|round| round.kormirs.attesting);

    println!("{BAND} touches to 1 fixing of {FIXING_DIGITS} digits; one thread; median of {} rounds", rounds.len());
    println!("announcements a second, with nonce proofs: {:.0}", rate(announced));
    println!("announcements a second, proofs' time taken off: {:.0}", rate(announced.saturating_sub(proofs)));
    println!("announcements a second, kormir: {:.0}", rate(announced_there));
    println!(
        "announcements a second, kormir, its check's time taken off: {:.0}",
        rate(announced_there.saturating_sub(checks))
    );
    println!("attestations a second: {:.0}", rate(attested));
    println!("attestations a second, kormir: {:.0}", rate(attested_there));
    println!("ratio announcements {:.2}", rate(announced) / rate(announced_there));
    println!("ratio attestations {:.2}", rate(attested) / rate(attested_there));
}

/// Every touch of one band and the fixing, for each of the hours.
fn events() -> Vec<Event> {
    let levels = Level::of_band(Level::exactly(LEVEL).expect("a level").band());
    assert_eq!(levels.len(), BAND as usize, "a whole band");
    let start = DAY.start().expect("a day");
    (0..HOURS)
        .flat_map(|from_hour| {
            let at = start.plus(u32::from(from_hour) * HOUR).expect("an hour");
            let touches = levels.iter().map(move |&level| Event::Touch { level, day: DAY, from_hour });
            touches.chain([Event::Fixing { at }])
        })
        .collect()
}

/// What one side said and how long it took.
struct Side<A> {
    announcements: Vec<A>,
    attestations: Vec<OracleAttestation>,
    announcing: Duration,
    attesting: Duration,
}

struct Round {
    ours: Side<ProvenAnnouncement>,
    kormirs: Side<OracleAnnouncement>,
    /// What the nonce proofs of our announcements take by themselves.
    proving: Duration,
    /// What kormir's check of its own announcements takes by itself.
    checking: Duration,
}

/// Everything once. kormir says nothing twice, so it begins anew each time, and outside of the measured time.
fn round(secret: &SecretKey, events: &[Event]) -> Round {
    let ours = OracleKeys::from_secret(*secret);
    let kormir = Oracle::from_signing_key(MemoryStorage::new(), *secret).expect("kormir");
    let (announcing, announcements) = timed(events, |event| ours.announcement(*event).expect("an announcement"));
    let (announcing_there, announced_there) = timed(events, |event| announce_with_kormir(&kormir, *event));
    let (attesting, attestations) = timed(events, |event| ours.attest(*event, outcomes(*event)).expect("ours"));
    let (attesting_there, attested_there) = timed(events, |event| attest_with_kormir(&kormir, *event));

    let key = Keypair::from_secret_key(SECP256K1, secret);
    let (proving, _) = timed(&announcements, |proven| {
        let event = &proven.announcement.oracle_event;
        let message = nonce_proof_message(&proven.announcement.oracle_public_key, event);
        let prove = |_| SECP256K1.sign_schnorr_no_aux_rand(&message, &key);
        event.oracle_nonces.iter().map(prove).collect::<Vec<_>>()
    });
    let (checking, _) = timed(&announced_there, |announcement| announcement.validate(SECP256K1).expect("kormir's"));
    Round {
        ours: Side { announcements, attestations, announcing, attesting },
        kormirs: Side {
            announcements: announced_there,
            attestations: attested_there,
            announcing: announcing_there,
            attesting: attesting_there,
        },
        proving,
        checking,
    }
}

/// How long `work` takes on all of them, and what came of it.
fn timed<T, U>(items: &[T], work: impl FnMut(&T) -> U) -> (Duration, Vec<U>) {
    let begin = Instant::now();
    let done: Vec<U> = black_box(items.iter().map(work).collect());
    (begin.elapsed(), done)
}

fn announce_with_kormir(kormir: &Oracle<MemoryStorage>, event: Event) -> OracleAnnouncement {
    let (id, until) = (event.to_string(), event.maturity().expect("an end").0);
    let announcement = match event {
        Event::Fixing { .. } => {
            ready(kormir.create_numeric_event(id, FIXING_DIGITS, false, 0, FIXING_UNIT.to_string(), until))
        }
        Event::Touch { .. } | Event::Payment { .. } => ready(kormir.create_enum_event(id.clone(), vec![id], until)),
    };
    announcement.expect("kormir's announcement")
}

fn attest_with_kormir(kormir: &Oracle<MemoryStorage>, event: Event) -> OracleAttestation {
    let id = event.to_string();
    let attestation = match event {
        Event::Fixing { .. } => ready(kormir.sign_numeric_event(id, i64::from(PRICE))),
        Event::Touch { .. } | Event::Payment { .. } => ready(kormir.sign_enum_event(id.clone(), id)),
    };
    attestation.expect("kormir's attestation")
}

fn outcomes(event: Event) -> Vec<String> {
    match event {
        Event::Fixing { .. } => (0..FIXING_DIGITS).rev().map(|digit| (PRICE >> digit & 1).to_string()).collect(),
        Event::Touch { .. } | Event::Payment { .. } => vec![event.to_string()],
    }
}

/// kormir's calls are async; on its map in memory they never wait, so no runtime weighs on the figures.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("kormir's storage in memory waits"),
    }
}

/// Both sides did the same: the same events announced, the same outcomes attested, and every signature holds.
fn same_work(round: &Round) {
    let (ours, theirs) = (&round.ours, &round.kormirs);
    assert_eq!(ours.announcements.len(), theirs.announcements.len());
    for (proven, theirs) in ours.announcements.iter().zip(&theirs.announcements) {
        let announcement = &proven.announcement;
        assert_eq!(announcement.oracle_public_key, theirs.oracle_public_key);
        let event = Event::parse(&announcement.oracle_event.event_id).expect("an id");
        let same: OracleEvent = oracle_event(event, theirs.oracle_event.oracle_nonces.clone()).expect("an event");
        assert_eq!(theirs.oracle_event, same, "but for the nonces, one event");
        assert_eq!(announcement.oracle_event.oracle_nonces.len(), theirs.oracle_event.oracle_nonces.len());
        announcement.validate(SECP256K1).expect("ours");
        let message = nonce_proof_message(&announcement.oracle_public_key, &announcement.oracle_event);
        assert_eq!(proven.nonce_proofs.len(), announcement.oracle_event.oracle_nonces.len());
        for (proof, nonce) in proven.nonce_proofs.iter().zip(&announcement.oracle_event.oracle_nonces) {
            SECP256K1.verify_schnorr(proof, &message, nonce).expect("a proof");
        }
    }
    assert_eq!(ours.attestations.len(), theirs.attestations.len());
    for (place, (ours, theirs)) in ours.attestations.iter().zip(&theirs.attestations).enumerate() {
        assert_eq!(ours.outcomes, theirs.outcomes);
        ours.validate(SECP256K1, &round.ours.announcements[place].announcement).expect("ours");
        theirs.validate(SECP256K1, &round.kormirs.announcements[place]).expect("kormir's");
    }
}
