//! Crowds of strangers who ask for much: what must not wait does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{Running, World};
use hypothec_oracle::units::{Time, HOUR};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// 1 November 2019.
const FIRST: Time = Time(1_572_566_400);
/// Hours of bars: some four months.
const HOURS: u32 = 3_000;
/// Addresses of the crowd, each with so many connections.
const ADDRESSES: u8 = 8;
const CONNECTIONS: usize = 16;

/// Months of prices about $8,000: every level above was true on every day of them.
fn months(world: &World) -> Running {
    let mut text = "unix,open,high,low,close\n".to_string();
    for number in 0..HOURS {
        let (low, close) = (7_900 + number % 90, 8_000 + number % 77);
        text.push_str(&format!("{},{close},8200,{low},{close}\n", FIRST.0 + number * HOUR));
    }
    let bars = world.folder.path().join("months.csv");
    std::fs::write(&bars, text).unwrap();
    let config = world.folder.path().join("limits.toml");
    std::fs::write(&config, "[limits]\nrequests_per_second = 20\nburst = 48\n").unwrap();
    world.set(Time(FIRST.0 + (HOURS - 1) * HOUR));
    world.start(&["--replay", bars.to_str().unwrap(), "--config", config.to_str().unwrap()])
}

/// Status and all that comes, on a connection of its own.
async fn ask(to: SocketAddr, from: [u8; 4], path: &str) -> std::io::Result<Option<u16>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: oracle\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()))
}

/// How long a question takes to be answered in full. Each is from an address that asks little.
fn took(running: &Running, path: &str) -> Duration {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let address = u8::try_from(ASKED.fetch_add(1, Ordering::Relaxed) % 250).unwrap();
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = Instant::now();
    let status = alone.block_on(ask(running.address.parse().unwrap(), [127, 0, 1, address], path)).unwrap();
    assert_eq!(status, Some(200), "{path}");
    asked.elapsed()
}

const PROMPT: [&str; 3] = ["/v1/price", "/v1/lows/20200303", "/v1/lows/20191224"];

/// The longest that what must not wait took, asked so often.
fn longest(running: &Running, times: usize) -> Duration {
    (0..times).flat_map(|_| PROMPT).map(|path| took(running, path)).max().unwrap()
}

/// Asks for pages that nobody asked for before, again and again, as fast as they come.
async fn ask_for_pages(to: SocketAddr, address: u8, next: Arc<AtomicUsize>, got: Arc<Mutex<BTreeMap<u16, usize>>>) {
    let months = ["201911", "201912", "202001", "202002", "202003"];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (band, month) = (36 + number / months.len() % 39, months[number % months.len()]);
        let path = format!("/v1/bands/{band}/{month}?only=attestations");
        if let Ok(Some(status)) = ask(to, [127, 0, 0, address], &path).await {
            *got.lock().unwrap().entry(status).or_default() += 1;
        }
    }
}

#[test]
fn prices_and_lows_are_answered_at_once_while_a_crowd_asks_for_pages_that_must_be_signed() {
    let world = World::new();
    let running = months(&world);
    let calm = longest(&running, 20);
    let crowd = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (next, got) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
    let to = running.address.parse().unwrap();
    for number in 0..usize::from(ADDRESSES) * CONNECTIONS {
        let address = 2 + u8::try_from(number % usize::from(ADDRESSES)).unwrap();
        crowd.spawn(ask_for_pages(to, address, Arc::clone(&next), Arc::clone(&got)));
    }
    let answered = |got: &Mutex<BTreeMap<u16, usize>>| got.lock().unwrap().get(&200).copied().unwrap_or(0);
    // Until the crowd has had much of it signed, and is told that it asks too much.
    let mut flooded = Duration::ZERO;
    let began = Instant::now();
    let is_refused = |got: &Mutex<BTreeMap<u16, usize>>| got.lock().unwrap().contains_key(&429);
    while answered(&got) < 30 || !is_refused(&got) {
        assert!(began.elapsed() < Duration::from_secs(120), "{got:?}");
        flooded = flooded.max(longest(&running, 1));
    }
    // What else there is of an honest one's: its page comes too, behind one of each address.
    let page = took(&running, "/v1/bands/21/202003?only=attestations");
    drop(crowd);
    println!(
        "calm {calm:?}, in the crowd {flooded:?}, a page {page:?}; the crowd was answered {:?}",
        got.lock().unwrap()
    );
    println!("bound flooded-pages {} ms for price and lows, {} ms for a page", flooded.as_millis(), page.as_millis());
    assert!(flooded < Duration::from_secs(2), "{flooded:?}");
    assert!(page < Duration::from_secs(20), "{page:?}");
}

#[test]
fn what_was_said_before_is_replayed_to_one_address_at_a_bounded_pace() {
    let world = World::new();
    let running = months(&world);
    let (bytes, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let follow = || {
        let mut stream = TcpStream::connect(&running.address).unwrap();
        write!(stream, "GET /v1/events?after=0.0 HTTP/1.0\r\nhost: oracle\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, head[9..].to_vec())
    };
    let mut followers: Vec<_> = (0..32).map(|_| follow()).collect();
    assert!(followers.iter().all(|(_, status)| status == b"200"));
    assert_eq!(follow().1, b"503", "an eighth of the seats is what one address may have");
    let began = Instant::now();
    std::thread::scope(|all| {
        for (stream, _) in &mut followers {
            let (bytes, over) = (&bytes, &over);
            all.spawn(move || {
                let mut part = vec![0; 65_536];
                while !over.load(Ordering::Relaxed) {
                    if let Ok(read) = stream.read(&mut part) {
                        bytes.fetch_add(u64::try_from(read).unwrap(), Ordering::Relaxed);
                    }
                }
            });
        }
        // The burst, and then three seconds' worth: that takes three seconds.
        let most = (4 << 20) + 3 * (256 << 10);
        let mut waited = Duration::ZERO;
        while bytes.load(Ordering::Relaxed) < most && began.elapsed() < Duration::from_secs(60) {
            waited = waited.max(took(&running, "/v1/price"));
        }
        over.store(true, Ordering::Relaxed);
        assert!(waited < Duration::from_secs(2), "{waited:?}");
        let (bytes, seconds) = (bytes.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
        println!("bound replayed-events {bytes} bytes in {seconds:.1} s to 32 followers of one address");
        assert!(bytes >= most, "{bytes} bytes in {seconds} s: it stands still");
        // What is read in the moments between counts too.
        assert!(seconds > 2.0, "{bytes} bytes in {seconds} s");
    });
}
