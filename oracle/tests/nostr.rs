//! What an oracle says, on real relays in this process: the same as over HTTP, all of it, and never twice in two forms.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, reason = "of the common helpers other tests use the rest")]

mod common;

use bitcoin::key::XOnlyPublicKey;
use common::{hour, oracle, World, CSV, START};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon::{self, Config, FeedChoice, Network};
use hypothec_oracle::event::Event;
use hypothec_oracle::ladder::Level;
use hypothec_oracle::relay::note::{read, Note, NoteId, Word, ANNOUNCEMENT, ATTESTATION, HORIZON};
use hypothec_oracle::relay::{Heard, Line};
use hypothec_oracle::units::{Day, Time};
use nostr_relay_builder::builder::{PolicyResult, RateLimit, RelayBuilder};
use nostr_relay_builder::prelude::{MemoryDatabase, MemoryDatabaseOptions};
use nostr_relay_builder::{LocalRelay, MockRelay};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TODAY: Day = Day(18_333);
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at a fact: whoever waits leaves the processor to those it waits for.
const GLANCE: Duration = Duration::from_millis(5);

fn written(url: impl ToString) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

/// The mock relay, on the port asked for, without its limit of a note a second. What it has stored outlives it.
async fn relay(port: u16, stored: &Arc<MemoryDatabase>) -> (LocalRelay, String) {
    let builder = RelayBuilder::default().port(port).database(stored.clone());
    let relay = LocalRelay::new(builder.rate_limit(RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 }));
    relay.run().await.unwrap();
    let url = written(relay.url().await);
    (relay, url)
}

fn storage() -> Arc<MemoryDatabase> {
    Arc::new(MemoryDatabase::with_opts(MemoryDatabaseOptions { events: true, max_events: None }))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Every note of an oracle that a relay has.
async fn held(relay: &str, key: &XOnlyPublicKey) -> Vec<Note> {
    let mut line = Line::open(relay).await.unwrap();
    line.subscribe("all", key, (Time(0), None), 1_000_000).await.unwrap();
    let mut notes = Vec::new();
    loop {
        match line.hear(PATIENCE).await.unwrap() {
            Heard::Note(_, note) => notes.push(*note),
            Heard::Stored(_) => return notes,
            other => panic!("{other:?}"),
        }
    }
}

/// What the notes say, each verified; by event, its announcement and its attestation. No event has two notes of a kind.
fn words(notes: &[Note], key: &XOnlyPublicKey) -> BTreeMap<Event, (Option<NoteId>, Option<OracleAttestation>)> {
    let mut words: BTreeMap<Event, (Option<NoteId>, Option<OracleAttestation>)> = BTreeMap::new();
    for note in notes {
        match read(note, key).unwrap() {
            Word::Announced(event, _) => {
                assert_eq!(words.entry(event).or_default().0.replace(note.id), None, "{event}")
            }
            Word::Attested(event, said, _) => {
                assert_eq!(words.entry(event).or_default().1.replace(said), None, "{event}")
            }
        }
    }
    words
}

/// Waits until a relay has the last things that an oracle says by `now`; then everything it has. Verifies nothing yet.
async fn until_told(relay: &str, key: &XOnlyPublicKey, now: Time) -> Vec<Note> {
    let last = Event::Fixing { at: now.hour_floor().plus(HORIZON).unwrap() }.to_string();
    let fixed = Event::Fixing { at: now.hour_floor() }.to_string();
    let mut line = Line::open(relay).await.unwrap();
    line.subscribe("all", key, (Time(0), None), 1_000_000).await.unwrap();
    let (mut notes, mut missing) = (Vec::new(), BTreeSet::from([(ANNOUNCEMENT, last), (ATTESTATION, fixed)]));
    let began = Instant::now();
    // Touches of which one note of two has come.
    let mut halves = BTreeSet::new();
    while !missing.is_empty() || !halves.is_empty() {
        assert!(began.elapsed() < PATIENCE, "{relay} has {} notes and not {missing:?}", notes.len());
        match line.hear(PATIENCE).await.unwrap() {
            Heard::Note(_, note) => {
                let named = note.tags.iter().find(|tag| tag.as_slice()[0] == "oracle_event").unwrap();
                let named = named.as_slice()[1].clone();
                if named.contains("touch") && !halves.remove(&named) {
                    halves.insert(named.clone());
                }
                missing.remove(&(note.kind.as_u16(), named));
                notes.push(*note);
            }
            Heard::Stored(_) => {}
            other => panic!("{other:?}"),
        }
    }
    println!("{} notes after {:?}", notes.len(), began.elapsed());
    held(relay, key).await
}

fn config(world: &World, relays: Vec<String>) -> Config {
    Config {
        data: world.data().into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        network: Network::Regtest,
        feed: FeedChoice::Replay(CSV.into()),
        clock: Clock::file(world.clock()),
        limits: daemon::Limits::default(),
        replicas: daemon::Replicas::default(),
        operating: daemon::Operating { relays, ..daemon::Operating::default() },
    }
}

async fn get(url: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn oracle_publishes_its_words_to_a_relay() {
    let (world, stored) = (World::new(), storage());
    let (_relay, relay_url) = relay(free_port(), &stored).await;
    let oracle = daemon::start(config(&world, vec![relay_url.clone()])).await.unwrap();
    until_told(&relay_url, &oracle.key, START).await;
    // The first hours of the crash, and the fall itself.
    world.set(hour(12));
    let notes = until_told(&relay_url, &oracle.key, hour(12)).await;
    let words = words(&notes, &oracle.key);
    for number in 1..=12 {
        let event = Event::Fixing { at: hour(number) };
        let (announced, said) = &words[&event];
        let over_http: OracleAttestation =
            serde_json::from_str(&get(&format!("{}/attestation/{event}", oracle.url())).await).unwrap();
        assert!(announced.is_some());
        assert_eq!(said.as_ref(), Some(&over_http));
    }
    // Of every touch below where its hour began: on the relay exactly when HTTP attests it.
    let mut told = 0;
    for from_hour in [0, 5, 10] {
        for dollars in [7_250, 7_200, 7_100, 6_900, 6_500, 6_000, 5_800, 5_600, 5_500, 5_000] {
            let event = Event::Touch { level: Level::exactly(dollars).unwrap(), day: TODAY, from_hour };
            let over_http = reqwest::get(format!("{}/attestation/{event}", oracle.url())).await.unwrap();
            let over_http = match over_http.status().as_u16() {
                200 => Some(over_http.json::<OracleAttestation>().await.unwrap()),
                _ => None,
            };
            assert_eq!(words.get(&event).and_then(|(_, said)| said.clone()), over_http, "{event}");
            told += usize::from(over_http.is_some());
        }
    }
    assert!((5..25).contains(&told), "{told} of 30: a test that could not tell");
    let event = Event::Fixing { at: hour(12).plus(HORIZON).unwrap() };
    let over_http: OracleAnnouncement =
        serde_json::from_str(&get(&format!("{}/announcement/{event}", oracle.url())).await).unwrap();
    let note = notes.iter().find(|note| Some(note.id) == words[&event].0).unwrap();
    let Word::Announced(_, proven) = read(note, &oracle.key).unwrap() else { panic!("an announcement") };
    assert_eq!(proven.announcement, over_http);
    let touched_without = words.iter().filter(|(event, (announced, said))| {
        matches!(event, Event::Touch { .. }) && (announced.is_none() || said.is_none())
    });
    assert_eq!(touched_without.count(), 0, "a touch is announced when it is attested, and only then");
    let lines = get(&format!("{}/metrics", oracle.url())).await;
    let line = |name: &str| {
        let start = format!("hypothec_oracle_{name}{{relay=\"{relay_url}\"}} ");
        let line = lines.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{name}\n{lines}"));
        line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()
    };
    assert_eq!(line("relay_connected"), 1);
    assert!(line("relay_notes_total") as usize <= notes.len() && line("relay_notes_total") > 700);
    assert!(line("relay_lag_seconds") <= 3_600 && line("relay_last_ok_seconds") >= i64::from(START.0));
    oracle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_away_is_caught_up() {
    let (world, port, stored) = (World::new(), free_port(), storage());
    let (_relay, always) = relay(free_port(), &storage()).await;
    let away = format!("ws://127.0.0.1:{port}");
    let oracle = daemon::start(config(&world, vec![always.clone(), away.clone()])).await.unwrap();
    world.set(hour(3));
    until_told(&always, &oracle.key, hour(3)).await;
    let (there, _) = relay(port, &stored).await;
    until_told(&away, &oracle.key, hour(3)).await;
    there.shutdown();
    drop(there);
    world.set(hour(12));
    until_told(&always, &oracle.key, hour(12)).await;
    oracle.stop().await.unwrap();
    // And the oracle is started anew meanwhile.
    world.set(hour(13));
    let (_there, _) = relay(port, &stored).await;
    let oracle = daemon::start(config(&world, vec![always.clone(), away.clone()])).await.unwrap();
    let ids = |notes: Vec<Note>| notes.into_iter().map(|note| note.id).collect::<BTreeSet<_>>();
    let (there, here) =
        (until_told(&away, &oracle.key, hour(13)).await, until_told(&always, &oracle.key, hour(13)).await);
    words(&there, &oracle.key);
    let (there, here) = (ids(there), ids(here));
    let differ: Vec<_> = there.symmetric_difference(&here).take(5).collect();
    assert!(differ.is_empty(), "of {} and {} notes these are on one relay only: {differ:?}", there.len(), here.len());
    oracle.stop().await.unwrap();
}

/// Takes nothing that was said before, as relays do that have a lower limit on the time of a note.
#[derive(Debug)]
struct NotBefore(Time);

impl nostr_relay_builder::builder::WritePolicy for NotBefore {
    fn admit_event<'a>(
        &'a self,
        event: &'a nostr_relay_builder::prelude::Event,
        _: &'a std::net::SocketAddr,
    ) -> nostr_relay_builder::prelude::BoxedFuture<'a, PolicyResult> {
        let is_old = event.created_at.as_secs() < u64::from(self.0 .0);
        Box::pin(async move {
            match is_old {
                true => PolicyResult::Reject("invalid: created_at too early".into()),
                false => PolicyResult::Accept,
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_takes_nothing_of_long_ago_is_given_what_it_takes() {
    let world = World::new();
    world.set(hour(12));
    let builder = RelayBuilder::default().port(free_port()).database(storage()).write_policy(NotBefore(hour(6)));
    let there = LocalRelay::new(builder.rate_limit(RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 }));
    there.run().await.unwrap();
    let url = written(there.url().await);
    let oracle = daemon::start(config(&world, vec![url.clone()])).await.unwrap();
    let notes = until_told(&url, &oracle.key, hour(12)).await;
    let said = words(&notes, &oracle.key);
    for number in 7..=12 {
        assert!(said[&Event::Fixing { at: hour(number) }].1.is_some(), "hour {number}");
    }
    // And counted, for whoever looks.
    let lines = get(&format!("{}/metrics", oracle.url())).await;
    let start = format!("hypothec_oracle_relay_notes_too_old_total{{relay=\"{url}\"}} ");
    let line = lines.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{lines}"));
    let passed: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    println!("bound refused-for-age {passed} notes passed over, each once");
    assert!(passed > 0, "{line}");
    oracle.stop().await.unwrap();
}

/// The mock relay as it comes takes a note a second on the average, and refuses the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_takes_few_notes_at_a_time_gets_them_all() {
    let (world, relay) = (World::new(), MockRelay::run().await.unwrap());
    let url = written(relay.url().await);
    // Nothing is said yet: only the coming fixings are announced.
    let manual = Config { feed: FeedChoice::Manual, ..config(&world, vec![url.clone()]) };
    let oracle = daemon::start(manual).await.unwrap();
    let fixings = |notes: &[Note]| words(notes, &oracle.key).len();
    let asked = Instant::now();
    // 30 days ahead and the week behind.
    while fixings(&held(&url, &oracle.key).await) < 37 * 24 {
        assert!(asked.elapsed() < PATIENCE);
        tokio::time::timeout(Duration::from_millis(500), std::future::pending::<()>()).await.unwrap_err();
    }
    let lines = get(&format!("{}/metrics", oracle.url())).await;
    assert!(lines.contains("relay_notes_total"), "{lines}");
    oracle.stop().await.unwrap();
}

/// A config file that names a relay.
fn file(world: &World, relay: &str) -> String {
    let path = world.folder.path().join("oracle.toml");
    std::fs::write(&path, format!("[nostr]\nrelays = [\"{relay}\"]\n")).unwrap();
    path.to_string_lossy().into_owned()
}

fn key(world: &World) -> XOnlyPublicKey {
    let secret = std::fs::read_to_string(std::path::Path::new(&world.data()).join("secret")).unwrap();
    let secret: bitcoin::secp256k1::SecretKey = secret.trim().parse().unwrap();
    secret.x_only_public_key(bitcoin::secp256k1::SECP256K1).0
}

/// Killed at any moment, and, with `--features faults`, right between a relay's word and the cursor: the relay ends with
/// one note of each word, and with all of them.
#[tokio::test(flavor = "multi_thread")]
async fn killed_between_publishing_and_the_cursor_it_publishes_the_same_notes_again() {
    let (world, stored) = (World::new(), storage());
    let (relay, url) = relay(free_port(), &stored).await;
    let (config, key) = (file(&world, &url), key(&world));
    let cursors = std::path::Path::new(&world.data()).join("relays");
    for round in 0..6u32 {
        world.set(hour(2 * round));
        let clock = world.clock().to_string_lossy().into_owned();
        let data = world.data();
        let mut command = oracle(&["run", "--data", &data, "--network", "regtest", "--regtest-clock", &clock]);
        command.args(["--listen", "127.0.0.1:0", "--replay", CSV, "--config", &config]).stdout(Stdio::null());
        if cfg!(feature = "faults") {
            command.env("HYPOTHEC_CRASH_AT", format!("relay-taken:{}", round % 3 + 1));
        }
        let before = held(&url, &key).await.len();
        let mut child = command.spawn().unwrap();
        let born = Instant::now();
        // Until the relay has been given something, or it has died by itself.
        while child.try_wait().unwrap().is_none() {
            let grown = held(&url, &key).await.len() > before;
            if grown && !cfg!(feature = "faults") {
                child.kill().unwrap();
            }
            assert!(born.elapsed() < PATIENCE, "it neither publishes nor dies");
            tokio::time::sleep(GLANCE).await;
        }
        // One that dies at its first batch gives again what the life before it gave, and nothing more.
        let gives_again = cfg!(feature = "faults") && round > 0 && round % 3 == 0;
        let after = held(&url, &key).await.len();
        assert!(if gives_again { after == before } else { after > before }, "{before} notes, then {after}");
        let cursor = std::fs::read_dir(&cursors).unwrap().next().unwrap().unwrap().path();
        let cursor = std::fs::read_to_string(cursor).unwrap();
        if cfg!(feature = "faults") && round == 0 {
            assert!(cursor.contains("\"last_ok\":null"), "it died between the relay's word and the cursor: {cursor}");
        }
        words(&held(&url, &key).await, &key);
    }
    world.set(hour(12));
    let running = world.start(&["--replay", CSV, "--config", &config]);
    let notes = until_told(&url, &key, hour(12)).await;
    let words = words(&notes, &key);
    assert!((1..=12).all(|number| words[&Event::Fixing { at: hour(number) }].1.is_some()));
    doctor_sees(&world, &config, &running.address, "fine", "took the last note at").await;
    relay.shutdown();
    doctor_sees(&world, &config, &running.address, "trouble", "does not answer").await;
}

/// What the doctor finds about the relay.
async fn doctor_sees(world: &World, config: &str, listen: &str, level: &str, says: &str) {
    let (data, clock) = (world.data(), world.clock().to_string_lossy().into_owned());
    let asked = Instant::now();
    loop {
        let mut command = oracle(&["doctor", "--data", &data, "--config", config, "--listen", listen, "--json"]);
        let output = command.args(["--network", "regtest", "--regtest-clock", &clock]).output().unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let relay = found.iter().find(|one| one["area"] == "relay").unwrap();
        if relay["level"] == level && relay["what"].as_str().unwrap().contains(says) {
            return;
        }
        assert!(asked.elapsed() < PATIENCE, "{relay}");
        tokio::time::sleep(GLANCE).await;
    }
}
