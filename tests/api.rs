//! The API over real HTTP, with a node that answers what a test says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hypothec::api::views::{Balance, ErrorView, EventView, OracleView, PolicyView as Policy};
use hypothec::api::{bind, serve, Ask, Lost, Proved};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::units::Days;
use hypothec::node::data::Token;
use hypothec::node::handle::{Command, Handle};
use reqwest::{Method, StatusCode};
use serde_json::{json, Value};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const LOAN: &str = "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0";

/// Megabytes of a long answer.
const LONG: usize = 24;

/// A served API, and the commands its node was given, as they are written out.
struct Served {
    base: String,
    token: Token,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<std::io::Result<()>>,
    node: JoinHandle<()>,
    seen: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

impl Served {
    async fn start() -> Served {
        let (handle, mut commands) = Handle::new();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = seen.clone();
        let node = tokio::spawn(async move {
            let mut waiting = Vec::new();
            while let Some(command) = commands.recv().await {
                kept.lock().unwrap().push(format!("{command:?}"));
                waiting.extend(answer(command));
            }
        });
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, told) = oneshot::channel::<()>();
        let token = Token::random();
        let server = tokio::spawn(serve(listener, handle, token.clone(), async {
            let _ = told.await;
        }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Served { base, token, stop: Some(stop), server, node, seen, http }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token.secret());
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json", "{path}");
        (answer.status(), answer.json().await.unwrap())
    }

    /// An error: its status, code and message, and nothing beside them.
    async fn refused(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> (u16, String, String) {
        let (status, value) = self.ask(method, path, body).await;
        assert_eq!(value.as_object().unwrap().len(), 2, "{value}");
        let error: ErrorView = serde_json::from_value(value).unwrap();
        (status.as_u16(), error.code, error.message)
    }

    /// Stops it and returns what the node was asked.
    async fn end(mut self) -> Vec<String> {
        drop(self.stop.take());
        self.server.await.unwrap().unwrap();
        self.node.await.unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// What the node of these tests says. What it hands back it leaves waiting.
fn answer(command: Command) -> Option<Command> {
    let no = |code: &str| ErrorView { code: code.into(), message: format!("{code} it is") };
    match command {
        Command::Balance { reply } => {
            let free = Balance { confirmed_sats: 5, unconfirmed_sats: 6, reserved_sats: 7, ..Balance::default() };
            let balance = Balance { fee_reserve_sats: 4, open_quotes: 3, quoted_sats: 2, ..free };
            let _ = reply.send(Ok(balance));
        }
        // An answer longer than what the system holds for who does not read it.
        Command::Oracles { reply } => {
            let key = "4f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa";
            let oracle = |number: usize| {
                let url = format!("http://{number}/{}", "x".repeat(1 << 20));
                serde_json::from_value::<OracleView>(json!({ "pubkey": key, "url": url })).unwrap()
            };
            drop(reply.send(Ok((0..LONG).map(oracle).collect())));
        }
        Command::Policy { reply } => drop(reply.send(Ok(Policy::default()))),
        Command::SetPolicy { policy, reply } => drop(reply.send(Ok(*policy))),
        Command::Loan { reply, .. } => drop(reply.send(Err(no("not_found")))),
        Command::Cancel { reply, .. } => drop(reply.send(Err(no("refused")))),
        Command::Borrow { reply, .. } => drop(reply.send(Err(no("expired")))),
        Command::Status { reply } => drop(reply.send(Err(no("internal")))),
        Command::Peers { reply } => drop(reply.send(Err(no("unavailable")))),
        Command::Backup { reply, .. } => drop(reply.send(Ok(vec![0, 159, 146, 150]))),
        Command::Events { after: 0, reply, .. } => {
            let loan_id = Some(LOAN.parse().unwrap());
            let event = EventView {
                number: 1,
                at: 2,
                loan_id,
                event: "agreed".into(),
                text: "Agreed.".into(),
                ..EventView::default()
            };
            drop(reply.send(Ok(vec![event])));
        }
        other => return Some(other),
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_after_whoever_asked_has_given_up_is_not_done() {
    let served = Served::start().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    for (until, is_late) in [(now - 1_000, true), (now + 60_000, false)] {
        let request = served.http.get(format!("{}/v1/wallet/balance", served.base)).bearer_auth(served.token.secret());
        let answer = request.header(hypothec::api::UNTIL, until.to_string()).send().await.unwrap();
        assert_eq!(answer.status() == StatusCode::GATEWAY_TIMEOUT, is_late);
        if is_late {
            assert!(answer.text().await.unwrap().contains("nothing was done"));
        }
    }
    // What cannot be read is no time without end.
    for until in ["", "abc", "-1", "1.5", "1e3", "99999999999999999999999"] {
        let request = served.http.get(format!("{}/v1/status", served.base)).bearer_auth(served.token.secret());
        let answer = request.header(hypothec::api::UNTIL, until).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{until}");
        let text = answer.text().await.unwrap();
        assert!(text.contains("header hypothec-until is `") && text.contains("whole milliseconds"), "{text}");
    }
    assert_eq!(served.end().await.len(), 1, "the node heard of the second alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_busy_node_takes_up_after_whoever_asked_has_given_up_is_refused_and_never_done() {
    let (handle, mut commands) = Handle::new();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let base = format!("http://{}/v1/loans/{LOAN}/cancel", listener.local_addr().unwrap());
    let (token, (stop, told)) = (Token::random(), oneshot::channel::<()>());
    let server = tokio::spawn(serve(listener, handle.clone(), token.clone(), async {
        let _ = told.await;
    }));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |until: std::time::SystemTime| {
        let until = until.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().to_string();
        let request = http.post(&base).bearer_auth(token.secret()).header(hypothec::api::UNTIL, until);
        tokio::spawn(request.send())
    };
    let now = std::time::SystemTime::now();
    let first = now + Duration::from_secs(2);
    let late = post(first);
    // What waits for a node that is busy; it takes nothing up before the first's time is over.
    let waits = post(now + Duration::from_secs(600));
    hypothec::demo::wait::until("the first's time", hypothec::demo::wait::PATIENCE, || async {
        (std::time::SystemTime::now() > first).then_some(()).ok_or("not over".to_owned())
    })
    .await
    .unwrap();
    let Some(Command::Cancel { reply, .. }) = commands.recv().await else { panic!("the one that still waits") };
    let no = ErrorView { code: "refused".into(), message: "taken up".into() };
    reply.send(Err(no)).unwrap();
    // The late one may be behind the other.
    let rest = tokio::spawn(async move { commands.recv().await.is_none() });
    let (late, waits) = (late.await.unwrap().unwrap(), waits.await.unwrap().unwrap());
    assert_eq!(waits.json::<ErrorView>().await.unwrap().message, "taken up");
    drop((stop, handle));
    assert!(rest.await.unwrap(), "the late one is never done");
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(late.text().await.unwrap().contains("nothing was done"));
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn only_the_bearer_of_the_token_is_heard_whatever_it_asks() {
    let served = Served::start().await;
    let secret = served.token.secret().to_owned();
    let wrong = ["", "Bearer", "Bearer ", &format!("Bearer {}", "0".repeat(64)), &format!("Basic {secret}"), &secret];
    for path in ["/v1/wallet/balance", "/v1/nothing", "/"] {
        for header in wrong {
            let answer = served.http.get(format!("{}{path}", served.base)).header("authorization", header);
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} {header}");
            let error: ErrorView = answer.json().await.unwrap();
            assert!(error.code == "unauthorized" && error.message.contains("the file `token`"), "{error:?}");
        }
    }
    let lower = served.http.get(format!("{}/v1/wallet/balance", served.base));
    let lower = lower.header("authorization", format!("bearer {secret}")).send().await.unwrap();
    assert_eq!(lower.status(), StatusCode::OK);
    assert_eq!(served.end().await.len(), 1, "the node hears only who may speak");
    println!("bound page-without-token 0 requests that reach the node");
}

#[tokio::test]
async fn a_node_proves_itself_to_who_has_not_shown_the_token_and_tells_nothing_else() {
    let served = Served::start().await;
    let address = served.base.strip_prefix("http://").unwrap().parse().unwrap();
    let nonce = Token::nonce();
    let ask = |method: Method, query: String| {
        let request = served.http.request(method, format!("{}{}{query}", served.base, hypothec::api::PROOF));
        async { request.send().await.unwrap() }
    };
    let answer = ask(Method::GET, format!("?nonce={nonce}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let said: Value = answer.json().await.unwrap();
    assert_eq!(said, json!({ "proof": served.token.proof(address, &nonce) }));
    for query in ["", "?nonce=", "?nonce=00", &format!("?nonce={nonce}00"), &format!("?nonce={nonce}&more=1")] {
        assert_eq!(ask(Method::GET, query.to_owned()).await.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(ask(Method::POST, format!("?nonce={nonce}")).await.status(), StatusCode::UNAUTHORIZED);
    assert!(served.end().await.is_empty());
}

#[tokio::test]
async fn an_answer_is_the_nodes_as_json() {
    let served = Served::start().await;
    let (status, value) = served.ask(Method::GET, "/v1/wallet/balance", "").await;
    assert_eq!(status, StatusCode::OK);
    let free = json!({ "confirmed_sats": 5, "unconfirmed_sats": 6, "immature_sats": 0, "reserved_sats": 7, "fee_reserve_sats": 4, "open_quotes": 3, "quoted_sats": 2 });
    assert_eq!(value, free);
    let (_, events) = served.ask(Method::GET, "/v1/events", "").await;
    assert_eq!(events[0]["loan_id"], LOAN);
    served.end().await;
}

#[tokio::test]
async fn what_the_node_refuses_has_a_fitting_status() {
    let served = Served::start().await;
    let loan = format!("/v1/loans/{LOAN}");
    for (method, path, body, status, code) in [
        (Method::GET, loan.as_str(), String::new(), 404, "not_found"),
        (Method::POST, &format!("{loan}/cancel"), String::new(), 409, "refused"),
        (Method::POST, "/v1/loans", json!({ "quote": LOAN }).to_string(), 409, "expired"),
        (Method::GET, "/v1/status", String::new(), 500, "internal"),
        (Method::GET, "/v1/peers", String::new(), 503, "unavailable"),
    ] {
        let (found, said, message) = served.refused(method, path, body).await;
        assert_eq!((found, said.as_str(), message), (status, code, format!("{code} it is")), "{path}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_wrong_request_is_told_what_is_wrong_and_never_reaches_the_node() {
    let served = Served::start().await;
    let long = "x".repeat(70_000);
    let endless = Policy { days_max: Days(0), ..Policy::default() };
    let endless = serde_json::to_string(&endless).unwrap();
    for (method, path, body, status, code, word) in [
        (Method::GET, "/v1/nothing", "", 404, "not_found", "/v1/nothing"),
        (Method::GET, "/", "", 404, "not_found", "/v1/status"),
        (Method::DELETE, "/v1/loans", "", 405, "method_not_allowed", "DELETE"),
        (Method::POST, "/v1/quotes", "", 400, "bad_request", "body is empty"),
        (Method::POST, "/v1/quotes", "{", 400, "bad_request", "not JSON"),
        (Method::POST, "/v1/quotes", "{\"lender\":1}", 400, "bad_request", "write a text in quotes"),
        (
            Method::POST,
            "/v1/quotes",
            "{\"lender\":\"x\"}",
            400,
            "bad_request",
            "there must be a field `principal_cents`",
        ),
        (Method::POST, "/v1/quotes", long.as_str(), 413, "too_large", "65536 bytes"),
        (Method::POST, "/v1/loans", "{\"quote\":\"00\"}", 400, "bad_request", "64 lower-case hex digits"),
        (Method::GET, "/v1/loans/1a2b", "", 400, "bad_request", "64 lower-case hex digits"),
        (Method::GET, "/v1/loans/%FF", "", 400, "bad_request", ""),
        (Method::GET, "/v1/wallet/effect/1a2b", "", 400, "bad_request", "64 hex digits"),
        (Method::GET, "/v1/events?after=-1", "", 400, "bad_request", "after"),
        (Method::GET, "/v1/events?since=1", "", 400, "bad_request", "since"),
        (Method::PUT, "/v1/policy", "{\"apr\":8}", 400, "bad_request", "apr"),
        (Method::PUT, "/v1/policy", "{\"days_max\":7}", 400, "bad_request", "there must be a field `principal_min`"),
        (Method::PUT, "/v1/policy", endless.as_str(), 400, "bad_request", "days_min"),
        (Method::POST, "/v1/peers", "{\"address\":\"x\",\"more\":1}", 400, "bad_request", "there is no field `more`"),
        // Null is what a program writes that has lost a value: never a wish for everything, or for whoever is there.
        (
            Method::POST,
            "/v1/wallet/send",
            "{\"address\":\"a\",\"sats\":null}",
            400,
            "bad_request",
            "sats: null is not right",
        ),
        (
            Method::POST,
            "/v1/wallet/send",
            "{\"address\":\"a\",\"sat\":1}",
            400,
            "bad_request",
            "there is no field `sat`",
        ),
        (
            Method::POST,
            "/v1/wallet/send",
            "{\"address\":\"a\",\"all\":null}",
            400,
            "bad_request",
            "all: null is not right",
        ),
        (
            Method::POST,
            "/v1/preview",
            "{\"what\":\"send\",\"address\":\"a\",\"sats\":null}",
            400,
            "bad_request",
            "null is not right",
        ),
        (
            Method::POST,
            "/v1/oracles",
            "{\"url\":\"u\",\"pubkey\":null}",
            400,
            "bad_request",
            "pubkey: null is not right",
        ),
        (Method::POST, "/v1/backup", "{\"pass\":\"x\"}", 400, "bad_request", "passphrase"),
    ] {
        let (found, said, message) = served.refused(method, path, body.to_owned()).await;
        assert!((found, said.as_str()) == (status, code) && message.contains(word), "{path} {body:.40}: {message}");
    }
    let repay = format!("/v1/loans/{LOAN}/repay");
    let (_, _, message) = served.refused(Method::POST, &repay, "{\"from\":\"pocket\"}").await;
    assert!(message.contains("pocket") && message.contains("collateral"), "{message}");
    assert!(served.end().await.is_empty());
    println!("bound request-body 65536 bytes");
}

#[tokio::test]
async fn a_policy_and_a_backup_go_through_and_the_passphrase_is_never_written_out() {
    let served = Served::start().await;
    let policy = serde_json::to_string(&Policy::default()).unwrap();
    let (status, value) = served.ask(Method::PUT, "/v1/policy", policy).await;
    assert_eq!((status, value), (StatusCode::OK, serde_json::to_value(Policy::default()).unwrap()));
    let request = served.http.post(format!("{}/v1/backup", served.base)).bearer_auth(served.token.secret());
    let answer = request.body("{\"passphrase\":\"a secret word\"}").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    assert_eq!(answer.bytes().await.unwrap().as_ref(), [0, 159, 146, 150]);
    let seen = served.end().await;
    assert!(seen.iter().any(|command| command.contains("Backup")));
    assert!(seen.iter().all(|command| !command.contains("a secret word")), "{seen:?}");
}

#[tokio::test]
async fn who_waits_for_events_does_not_hold_up_the_end() {
    let served = Served::start().await;
    let waiting = served.http.get(format!("{}/v1/events?after=1&wait=60", served.base));
    let waiting = tokio::spawn(waiting.bearer_auth(served.token.secret()).send());
    let asked = || served.seen.lock().unwrap().iter().any(|command| command.contains("Events"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !asked() {
        assert!(Instant::now() < deadline, "the node was never asked for events");
        served.ask(Method::GET, "/v1/wallet/balance", "").await;
    }
    let began = Instant::now();
    served.end().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.json::<ErrorView>().await.unwrap().message.contains("stopping"));
}

#[tokio::test]
async fn a_node_that_is_gone_is_said_to_be_gone() {
    let (handle, commands) = Handle::new();
    drop(commands);
    let error = handle.status().await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    let (handle, mut commands) = Handle::new();
    let asked = tokio::spawn(async move { handle.status().await });
    drop(commands.recv().await);
    assert!(asked.await.unwrap().unwrap_err().message.contains("start it again"));
}

#[tokio::test]
async fn no_other_machines_address_is_listened_on() {
    let error = bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("0.0.0.0") && error.contains("must be this machine"), "{error}");
    let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = bind(taken.local_addr().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("choose another port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_nothing_hold_few_places_and_keep_nobody_out() {
    // Both ends of all of them are this process's.
    let handles = hypothec_oracle::handles::raise();
    let many = usize::try_from(handles / 4).unwrap().min(1_500);
    let served = Served::start().await;
    let address = served.base.trim_start_matches("http://").to_owned();
    let (mut silent, mut longest) = (Vec::new(), Duration::ZERO);
    for number in 0..many {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            // Half of them begin a request and never end it.
            let _ = stream.writable().await.and_then(|()| stream.try_write(b"GET /v1/sta"));
        }
        silent.push(stream);
        if number % 50 == 0 {
            let asked = Instant::now();
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            let answer =
                http.get(format!("{}/v1/wallet/balance", served.base)).bearer_auth(served.token.secret()).send().await;
            assert_eq!(answer.unwrap().status(), StatusCode::OK, "after {number}");
            longest = longest.max(asked.elapsed());
        }
    }
    let is_open = |stream: &&tokio::net::TcpStream| {
        let read = stream.try_read(&mut [0; 64]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = until("the others to be closed", PATIENCE, || async {
        let open = silent.iter().filter(is_open).count();
        (open <= 128).then_some(open).ok_or(open.to_string())
    });
    let open = open.await.unwrap();
    println!("bound api-idle {open} of {many} connections, and {} ms to an answer", longest.as_millis());
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    // And none of them for long.
    let begun = Instant::now();
    until("all of them to be closed", PATIENCE, || async {
        let open = silent.iter().filter(is_open).count();
        (open == 0).then_some(()).ok_or(open.to_string())
    })
    .await
    .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(silent);
    served.end().await;
}

/// A connection on which somebody has asked for the long answer, and has read none of it. It has begun to come.
async fn asks_and_does_not_read(served: &Served) -> TcpStream {
    let mut stream = TcpStream::connect(served.base.trim_start_matches("http://")).await.unwrap();
    let bearer = served.token.secret();
    let ask = format!("GET /v1/oracles HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {bearer}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_something_is_in_work_gives_way_to_no_other() {
    let served = Served::start().await;
    let address = served.base.trim_start_matches("http://").to_owned();
    // One whose answer is being sent, and one whose request is being answered: both are older than all others.
    let mut slow = asks_and_does_not_read(&served).await;
    let waiting = served.http.get(format!("{}/v1/events?after=1&wait=60", served.base));
    let waiting = tokio::spawn(waiting.bearer_auth(served.token.secret()).send());
    until("the node to be asked", PATIENCE, || async {
        let asked = served.seen.lock().unwrap().iter().any(|command| command.contains("Events"));
        asked.then_some(()).ok_or("not yet".to_owned())
    })
    .await
    .unwrap();
    let mut others = Vec::new();
    for number in 0..300 {
        let mut other = TcpStream::connect(&address).await.unwrap();
        if number % 3 == 0 {
            // Who bears no token gets an answer, and keeps nobody out by not reading it.
            let _ = other.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
        }
        others.push(other);
    }
    let (status, _) = served.ask(Method::GET, "/v1/wallet/balance", "").await;
    assert_eq!(status, StatusCode::OK);
    let (mut head, mut read) = (Vec::new(), 0);
    let mut part = vec![0; 1 << 16];
    while read < LONG << 20 {
        let length = slow.read(&mut part).await.unwrap();
        assert!(length > 0, "it was ended after {read} bytes");
        head.extend_from_slice(&part[..length.min(20 - head.len().min(20))]);
        read += length;
    }
    assert!(head.starts_with(b"HTTP/1.1 200 OK"));
    assert!(!waiting.is_finished(), "it was ended");
    drop(others);
    served.end().await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_without_end_locks_no_command_out() {
    hypothec_oracle::handles::raise();
    let served = Served::start().await;
    let address: std::net::SocketAddr = served.base.trim_start_matches("http://").parse().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicUsize::new(0));
    // One of them says nothing, the other begins a request. Each keeps more connections than the node takes.
    let crowd = [&b""[..], b"GET /v1/sta"].map(|said| {
        let (over, made) = (Arc::clone(&over), Arc::clone(&made));
        std::thread::spawn(move || {
            let mut kept = std::collections::VecDeque::new();
            while !over.load(Ordering::SeqCst) {
                let Ok(mut stream) = std::net::TcpStream::connect(address) else { continue };
                let _ = std::io::Write::write_all(&mut stream, said);
                kept.push_back(stream);
                kept.drain(..kept.len().saturating_sub(200));
                made.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    until("a crowd", PATIENCE, || async {
        (made.load(Ordering::SeqCst) > 500).then_some(()).ok_or("few connections".to_owned())
    })
    .await
    .unwrap();
    let (before, begun) = (made.load(Ordering::SeqCst), Instant::now());
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        // As a command does it: what was not asked is asked again.
        let answer = loop {
            let mut line = Proved::open(address, &served.token, Duration::from_secs(12)).await.unwrap();
            match line.ask(&Ask::get("/v1/wallet/balance")).await {
                Err(Lost::Unasked) => {}
                said => break said,
            }
        };
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
        longest = longest.max(asked.elapsed());
    }
    let rate = (made.load(Ordering::SeqCst) - before) as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::SeqCst);
    crowd.into_iter().for_each(|one| one.join().unwrap());
    println!("bound api-crowd {} ms to an answer, beside {rate:.0} connections a second", longest.as_millis());
    assert!(longest < Duration::from_secs(12), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_reads_the_answer_holds_a_connection_for_some_seconds() {
    let served = Served::start().await;
    let began = Instant::now();
    let slow = asks_and_does_not_read(&served).await;
    until("the connection to be ended", Duration::from_secs(60), || async {
        // What arrives on a connection that was ended is refused, and then this knows.
        match slow.try_write(b"x") {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Ok(()),
            _ => Err("it is open".to_owned()),
        }
    })
    .await
    .unwrap();
    println!("bound api-unread {} s", began.elapsed().as_secs());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    served.end().await;
}

#[test]
fn who_takes_a_nodes_port_between_its_proof_and_the_question_is_not_shown_the_token() {
    use hypothec::node::config::Choices;
    use hypothec::node::data::{new_words, DataFolder};
    use std::io::{Read, Write};
    let place = tempfile::tempdir().unwrap();
    let (data, listener) = (place.path().join("node"), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let choices = Choices {
        network: "regtest".parse().unwrap(),
        bitcoind_url: None,
        bitcoind_cookie: None,
        peer_listen: None,
        announce: None,
        api_listen: None,
    };
    DataFolder::make(&data, &new_words().unwrap(), &choices.text(), |_| Ok(())).unwrap();
    let folder = DataFolder::open(&data).unwrap();
    let (token, address) = (folder.token_or_new().unwrap(), listener.local_addr().unwrap());
    folder.say_api(address).unwrap();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (kept, known) = (heard.clone(), token.clone());
    std::thread::spawn(move || {
        for (times, connection) in listener.incoming().enumerate() {
            let (mut connection, mut bytes) = (connection.unwrap(), [0; 4_096]);
            let length = connection.read(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            kept.lock().unwrap().push(text.clone());
            // The node proves itself, and is killed; whoever listens from then on cannot.
            let nonce = text.split("nonce=").nth(1).map_or("", |rest| &rest[..64]);
            let proof = if times == 0 { known.proof(address, nonce) } else { String::new() };
            let body = json!({ "proof": proof }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = connection.write_all((head + &body).as_bytes());
        }
    });
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hypothec"));
    let said = command.args(["wallet", "send", "bcrt1q", "--all", "--yes", "--json", "--data"]).arg(&data).output();
    let said = said.unwrap();
    assert!(!said.status.success(), "{said:?}");
    let heard = heard.lock().unwrap();
    let shown = heard.iter().skip(1).filter(|text| text.contains(token.secret())).count();
    println!("bound port-taken-later {shown} tokens shown");
    assert_eq!(shown, 0, "{heard:?}");
    assert!(heard.len() > 1, "it asked another for its proof: {said:?}");
}
