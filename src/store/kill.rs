//! A process that appends is killed at random moments: everything it was told is on disk must be there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rand::Rng;
use tempfile::TempDir;

use super::{Sled, Store, StreamId};

const FOLDER: &str = "HYPOTHEC_STORE_KILL_FOLDER";
const KILLS: u32 = 30;
const STREAMS: u8 = 3;

fn stream(number: u8) -> StreamId {
    StreamId([number; 32])
}

/// A stream that is made brief. Another life of the process goes on with others.
fn vain(turn: u64) -> StreamId {
    let life = u64::from(std::process::id());
    StreamId([life.to_be_bytes(), turn.to_be_bytes(), [9; 8], [9; 8]].concat().try_into().unwrap())
}

/// What record `at` of a stream must be: of sizes from nothing to several hundred rows.
fn record(number: u8, at: u64) -> Vec<u8> {
    let length = [0, 40, 1_958, 5_000, 300, 400_000, 60][(at % 7) as usize];
    (0..length).map(|byte: u64| (byte.wrapping_mul(31) ^ at) as u8 ^ number).collect()
}

/// Not a story but the process that gets killed: appends for ever and says what it was told is on disk.
#[test]
fn append_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Sled::open(folder).unwrap();
    let mut out = std::io::stdout();
    let mut say = |text: String| {
        out.write_all(text.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    say("\nopen\n".into());
    for turn in 0u64.. {
        let number = (turn % u64::from(STREAMS)) as u8;
        let length = store.read(stream(number)).unwrap().len() as u64;
        let batch: Vec<_> = (length..length + 1 + turn % 3).map(|at| record(number, at)).collect();
        let length = store.append(stream(number), length, &batch).unwrap();
        say(format!("stream {number} {length}\n"));
        if turn % 5 == 4 {
            // A negotiation that comes to nothing: it is written, made brief, and an earlier one forgotten.
            let (vain, old) = (vain(turn), vain(turn.saturating_sub(50)));
            store.append(vain, 0, &[record(9, 3), record(9, 5)]).unwrap();
            store.append(vain, 2, &[record(9, 1)]).unwrap();
            store.replace(vain, 3, &[record(9, 6)]).unwrap();
            match store.length(old).unwrap() {
                0 => {}
                length => store.replace(old, length, &[]).unwrap(),
            }
        }
        store.put("turn", &[length.to_be_bytes().as_slice(), &[number; 3_000]].concat()).unwrap();
        say(format!("turn {number} {length}\n"));
    }
}

#[test]
fn everything_acknowledged_survives_thirty_kills() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("store");
    let mut told = Told::default();
    let mut random = rand::thread_rng();
    for _ in 0..KILLS {
        live_and_die(&place, Duration::from_millis(random.gen_range(0..120)), &mut told);
        told.check(&place);
    }
    assert!(told.lengths.iter().all(|length| *length > 3), "too little was written: {:?}", told.lengths);
    assert!(told.brief > 0, "nothing was made brief");
}

/// What the process was told is on disk, and so told us.
#[derive(Debug, Default)]
struct Told {
    lengths: [u64; STREAMS as usize],
    turn: Option<(u8, u64)>,
    /// Streams found that had been made brief.
    brief: u32,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        if let [what @ ("stream" | "turn"), number, length] = words[..] {
            let (number, length) = (number.parse::<u8>().unwrap(), length.parse().unwrap());
            match what {
                "stream" => self.lengths[usize::from(number)] = length,
                _ => self.turn = Some((number, length)),
            }
        }
    }

    fn check(&mut self, place: &Path) {
        let store = Sled::open(place).unwrap();
        for number in 0..STREAMS {
            let records = store.read(stream(number)).unwrap();
            let told = &mut self.lengths[usize::from(number)];
            assert!(records.len() as u64 >= *told, "stream {number}: told {told}, found {}", records.len());
            *told = records.len() as u64;
            for (at, found) in records.iter().enumerate() {
                assert!(*found == record(number, at as u64), "record {at} of stream {number} is not what was written");
            }
        }
        // What was being made brief is all of the old, as far as it was written, or all of the new.
        let (long, brief) = ([record(9, 3), record(9, 5), record(9, 1)], [record(9, 6)]);
        let vain = |id: &StreamId| id.0.ends_with(&[9; 16]);
        for id in store.streams().unwrap().into_iter().filter(vain) {
            let (found, length) = (store.read(id).unwrap(), store.length(id).unwrap());
            let is_new = found == brief && length == 3;
            let is_old = [2, 3].contains(&found.len()) && found == long[..found.len()] && length == found.len() as u64;
            assert!(is_new || is_old, "{id}: {} of {length} records", found.len());
            self.brief += u32::from(is_new);
        }
        if let Some((number, length)) = self.turn {
            let found = store.get("turn").unwrap().expect("the document");
            let (found_length, rest) = found.split_first_chunk::<8>().unwrap();
            assert_eq!(rest, [rest[0]; 3_000]);
            let found_length = u64::from_be_bytes(*found_length);
            // Either the version we heard of or one written since.
            assert!(rest[0] != number || found_length >= length, "{found_length} is older than {length}");
        }
    }
}

/// Starts the process, lets it live for `life` after it has opened the store, kills it, and hears what it had said.
fn live_and_die(place: &Path, life: Duration, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::kill::append_until_killed", "--nocapture"])
        .env(FOLDER, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, heard) = mpsc::channel();
    let ear = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    while heard.recv_timeout(Duration::from_secs(60)).expect("the process opens the store") != "open" {}
    // The moment of death: after a random time, or when it ends by itself, which it never should.
    let mut lines = Vec::new();
    let death = std::time::Instant::now() + life;
    while let Ok(line) = heard.recv_timeout(death.saturating_duration_since(std::time::Instant::now())) {
        lines.push(line);
    }
    // SIGKILL on unix.
    child.kill().unwrap();
    child.wait().unwrap();
    ear.join().unwrap();
    lines.extend(heard.try_iter());
    // A line cut in half by the kill tells nothing: the next word may be missing digits.
    lines.iter().filter(|line| line.split(' ').count() == 3).for_each(|line| told.hear(line));
}
