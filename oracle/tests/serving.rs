//! The oracle as strangers, machines that watch it, and its operator meet it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{answer, header, hour, oracle, says, Running, World, CSV, START};
use hypothec_oracle::units::{Time, DAY};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[test]
fn what_cannot_change_is_kept_for_ever_and_what_can_is_not() {
    let world = World::new();
    world.set(hour(12));
    let running = world.start(&["--replay", CSV]);
    let next_month = Time(START.0 + 20 * DAY);
    for (path, lasts) in [
        ("/announcement/btcusd1584010800", FOR_EVER),
        ("/asset/btcusd/announcement/2020-03-12T11:00:00Z", FOR_EVER),
        ("/attestation/btcusd1584010800", FOR_EVER),
        ("/attestation/btcusd-touch-7600-20200312-h00", FOR_EVER),
        ("/v1/fixings/20200311", FOR_EVER),
        ("/v1/fixings/20200312", "public, max-age=2"),
        ("/v1/fixings/20200312?only=announcements", FOR_EVER),
        ("/v1/bands/21/20200312/h00?only=attestations", "public, max-age=2"),
        ("/v1/lows/20200311", FOR_EVER),
        ("/v1/lows/20200312", "public, max-age=2"),
        ("/pubkey", "public, max-age=60"),
        ("/", "public, max-age=2"),
    ] {
        let (status, head, body) = running.ask(path, &[]);
        assert_eq!((status, header(&head, "cache-control")), (200, Some(lasts)), "{path}: {body}");
        let length = header(&head, "content-length").map(|length| length.parse().unwrap());
        assert_eq!(length, Some(body.len()), "{path}: simple clients read by it");
        let tag = header(&head, "etag").unwrap();
        let (status, again, nothing) = running.ask(path, &[("if-none-match", tag)]);
        assert_eq!((status, header(&again, "etag"), nothing.as_str()), (304, Some(tag), ""), "{path}");
        assert_eq!(running.ask(path, &[("if-none-match", "\"other\"")]).2, body, "{path}");
    }
    for path in ["/v1/price", "/v1/status", "/attestation/btcusd-touch-3800-20200313-h00", "/readyz", "/metrics"] {
        let (_, head, _) = running.ask(path, &[]);
        assert_eq!((header(&head, "cache-control"), header(&head, "etag")), (Some("no-store"), None), "{path}");
    }
    world.set(next_month);
    running.wait_for(next_month);
    let (_, head, _) = running.ask("/v1/bands/21/20200312/h00?only=attestations", &[]);
    assert_eq!(header(&head, "cache-control"), Some(FOR_EVER), "the day is closed");
}

#[test]
fn a_year_of_a_band_is_its_twelve_months_in_one_request() {
    let world = World::new();
    world.set(hour(36));
    let running = world.start(&["--replay", CSV]);
    let (status, head, year) = running.ask("/v1/bands/21/2020", &[]);
    assert_eq!((status, header(&head, "content-type")), (200, Some("application/x-ndjson")));
    let months: Vec<&str> = year.lines().collect();
    assert_eq!(months.len(), 12);
    assert_eq!(months[2], running.get("/v1/bands/21/202003").trim_end());
    let pages: Vec<Value> = months.iter().map(|month| serde_json::from_str(month).unwrap()).collect();
    let count = |part: &str| pages.iter().map(|page| page[part].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(count("announcements"), 366 * 64);
    assert!(count("attestations") >= 64, "the crash of March went through the whole band");
    println!("a year of band 21: {} bytes, {} of them attestations", year.len(), {
        running.get("/v1/bands/21/2020?only=attestations").len()
    });
    let tag = header(&head, "etag").unwrap();
    assert_eq!(running.ask("/v1/bands/21/2020", &[("if-none-match", tag)]).0, 304);
    assert_eq!(running.request("GET", "/v1/bands/999/2020").0, 404);
    assert_eq!(running.request("GET", "/v1/bands/21/2106").0, 404, "time ends in that year");
}

/// One event of the stream.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    id: String,
    kind: String,
    data: Value,
}

struct Stream(BufReader<TcpStream>);

impl Stream {
    fn follow(running: &Running, after: Option<&str>) -> Stream {
        let stream = running.send("GET", "/v1/events", &[("last-event-id", after.unwrap_or_default())]);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut stream = Stream(BufReader::new(stream));
        assert!(stream.line().contains("200 OK"));
        while !stream.line().is_empty() {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_string()
    }

    fn next(&mut self) -> Told {
        let mut told = Told { id: String::new(), kind: String::new(), data: Value::Null };
        loop {
            match self.line().split_once(": ") {
                Some(("id", id)) => told.id = id.to_string(),
                Some(("event", kind)) => told.kind = kind.to_string(),
                Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
                _ if told.kind.is_empty() => {}
                _ => return told,
            }
        }
    }

    fn until(&mut self, is_last: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut all = vec![self.next()];
        while !is_last(all.last().unwrap()) {
            all.push(self.next());
        }
        all
    }
}

#[test]
fn who_follows_hears_everything_once_also_across_a_kill() {
    let world = World::new();
    let running = world.start(&["--replay", CSV]);
    let mut stream = Stream::follow(&running, None);
    world.set(hour(11));
    let frozen = |number: u32| move |told: &Told| told.kind == "frozen" && told.data["frozen_until"] == hour(number).0;
    let morning = stream.until(frozen(11));
    let kinds = |kind: &str| morning.iter().filter(|told| told.kind == kind).count();
    assert_eq!((kinds("low"), kinds("fixing"), kinds("gap")), (11, 11, 0));
    assert!(kinds("touch") > 40, "it fell from 7,934 to below 7,300: {}", kinds("touch"));
    for told in morning.iter().filter(|told| told.kind == "touch" || told.kind == "fixing") {
        let id = told.data["eventId"].as_str().unwrap();
        assert_eq!(running.json(&format!("/attestation/{id}")), told.data, "what is told is what is served");
    }
    let middle = &morning[morning.len() / 2];
    drop(running);
    let running = world.start(&["--replay", CSV]);
    let mut resumed = Stream::follow(&running, Some(&middle.id));
    assert_eq!(resumed.until(frozen(11)), morning[morning.len() / 2 + 1..], "from the next on, and no other");
    world.set(hour(13));
    let before: Vec<&String> = morning.iter().map(|told| &told.id).collect();
    let later = resumed.until(frozen(13));
    assert!(later.iter().all(|told| !before.contains(&&told.id)));
    assert!(later.iter().any(|told| told.kind == "touch"), "13:00 was the crash");
    let mut lost = Stream::follow(&running, Some("99999999.3"));
    let gap = lost.next();
    assert_eq!(gap.kind, "gap");
    world.set(hour(14));
    let first = lost.next();
    assert_eq!(gap.data["next"], first.id.as_str(), "{first:?}");
    assert_eq!(running.ask("/v1/events", &[("last-event-id", "yesterday")]).0, 400);
    assert_eq!(running.ask("/v1/events?after=1.x", &[]).0, 400);
    for path in
        ["/v1/bands/0/202003?only=attestations&only=announcements", "/announcement/%ff", "/v1/prices", "/v1/bands/0/2"]
    {
        let (status, _, body) = running.ask(path, &[]);
        let said: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        assert!(
            (400..500).contains(&status) && said["code"].is_string() && said["message"].is_string(),
            "{path}: {said}"
        );
    }
}

#[test]
fn strangers_meet_limits_and_nothing_they_send_is_an_order() {
    let world = World::new();
    let config = world.folder.path().join("limits.toml");
    std::fs::write(&config, "[limits]\nrequests_per_second = 1\nburst = 60\nconnections_per_address = 3\n").unwrap();
    let running = world.start(&["--manual", "--config", config.to_str().unwrap()]);
    for (method, path) in [("POST", "/price"), ("PUT", "/v1/price"), ("POST", "/create-enum"), ("POST", "/sign-enum")] {
        let (status, _) = running.request(method, path);
        assert!(status == 404 || status == 405, "{method} {path}: {status}");
    }
    let large = running.send("POST", "/v1/price", &[("content-length", "100000")]);
    let (status, _, body) = answer(large);
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()["code"].clone()), (413, "too_large".into()));
    let long = "x".repeat(40_000);
    let mut stream = running.send("GET", "/v1/info", &[("x-long", &long)]);
    let mut said = Vec::new();
    // A reset is an answer too.
    drop(stream.read_to_end(&mut said));
    assert!(!said.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&said));
    // Silent connections pile up until the next is turned away: three are enough, as soon as the last are counted out.
    let mut idle = Vec::new();
    let turned_away = (0..50).any(|_| {
        idle.push(TcpStream::connect(&running.address).unwrap());
        let mut text = String::new();
        let read = running.send("GET", "/v1/info", &[]).read_to_string(&mut text);
        read.is_err() || text.is_empty()
    });
    assert!(turned_away, "a fourth connection of one address was served");
    drop(idle);
    let mut refused = (0, String::new(), String::new());
    for _ in 0..200 {
        // Whose connection was counted out last is not known: one that is turned away asks again.
        let mut stream = running.send("GET", "/v1/info", &[("x-forwarded-for", "203.0.113.1")]);
        let mut text = String::new();
        // The status alone: a key or a tag may hold these digits too.
        if stream.read_to_string(&mut text).is_ok() && text.split_whitespace().nth(1) == Some("429") {
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            refused = (429, head.to_string(), body.to_string());
            break;
        }
    }
    assert_eq!(refused.0, 429, "the forged header changes nobody's bucket");
    assert!(header(&refused.1, "retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert!(refused.2.contains("too_many_requests"), "{}", refused.2);
}

#[test]
fn the_operator_speaks_through_a_socket_that_nobody_else_can_open() {
    let world = World::new();
    let data = world.data();
    let none = oracle(&["status", "--data", &data]).output().unwrap();
    assert!(!none.status.success() && says(&none).contains("no oracle answers"), "{}", says(&none));
    let running = world.start(&["--manual"]);
    let socket = hypothec_oracle::daemon::socket_path(data.as_ref());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let before = oracle(&["status", "--data", &data]).output().unwrap();
    assert!(!before.status.success() && says(&before).contains("no price"), "{}", says(&before));
    assert_eq!(running.request("GET", "/readyz").0, 503);
    let set = oracle(&["price", "set", "798765", "--data", &data]).output().unwrap();
    assert!(set.status.success(), "{}", says(&set));
    let after = oracle(&["status", "--json", "--data", &data]).output().unwrap();
    let status: Value = serde_json::from_slice(&after.stdout).unwrap();
    assert_eq!((&status["spot_cents"], &status["readiness"]["ready"]), (&Value::from(798_765), &Value::from(true)));
    assert_eq!((running.request("GET", "/readyz").0, running.request("GET", "/healthz").0), (200, 200));
    let metrics = running.get("/metrics");
    for line in ["hypothec_oracle_median_cents 798765", "hypothec_oracle_lag_seconds 0", "hypothec_oracle_trouble 0"] {
        assert!(metrics.lines().any(|one| one == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("hypothec_oracle_requests_total{route=\"/readyz\",status=\"503\"} 1"), "{metrics}");
    drop(running);
    // Killed: the socket file is still there, and the next oracle takes it over.
    assert!(socket.exists());
    let running = world.start(&["--replay", CSV]);
    let refused = oracle(&["price", "set", "798765", "--data", &data]).output().unwrap();
    assert!(!refused.status.success() && says(&refused).contains("--manual"), "{}", says(&refused));
    drop(running);
}

#[test]
fn the_page_says_what_the_oracle_says_and_lets_nothing_be_loaded() {
    let world = World::new();
    world.set(hour(12));
    let running = world.start(&["--replay", CSV]);
    let (status, head, html) = running.ask("/", &[]);
    assert_eq!(status, 200);
    assert!(header(&head, "content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
    let key = running.json("/pubkey")["pubkey"].as_str().unwrap().to_string();
    for words in [key.as_str(), "btcusd1584014400", "Test network", "levels touched", "<svg", "replay"] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("<script") && !html.contains("style=") && !html.contains("http://"));
    let links = html.match_indices("href=\"/").map(|(at, _)| html[at + 6..].split('"').next().unwrap());
    for link in links.filter(|link| *link != "/v1/events") {
        assert_eq!(running.request("GET", link).0, 200, "{link}");
    }
    assert!(html.len() < 60_000, "{} bytes", html.len());
}

#[test]
fn a_price_that_gaps_through_five_hundred_rungs_touches_each_of_them_at_once() {
    let world = World::new();
    let bars = world.folder.path().join("gap.csv");
    let (calm, gap) = ("20000,20000,20000,20000", "20000,20000,10000,10000");
    let text = format!("unix,open,high,low,close\n{},{calm}\n{},{gap}\n", hour(0).0, hour(1).0);
    std::fs::write(&bars, text).unwrap();
    world.set(hour(1));
    let running = world.start(&["--replay", bars.to_str().unwrap()]);
    let mut stream = Stream::follow(&running, None);
    let moved = Instant::now();
    world.set(hour(2));
    let told = stream.until(|told| told.kind == "frozen");
    let took = moved.elapsed();
    let touched: Vec<&str> =
        told.iter().filter(|told| told.kind == "touch").map(|told| told.data["eventId"].as_str().unwrap()).collect();
    assert_eq!(touched.len(), 500);
    assert_eq!(touched[0], "btcusd-touch-10000-20200312-h00");
    assert_eq!(touched[499], "btcusd-touch-19980-20200312-h00");
    assert!(took < Duration::from_secs(20), "{took:?}");
    println!("a crash through 500 rungs: stored, signed and told in {} ms", took.as_millis());
}
