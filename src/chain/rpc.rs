//! One JSON-RPC line to bitcoind that mends itself.
//!
//! The client underneath blocks; every call runs on tokio's blocking threads, a few at a time, each on a connection of its
//! own: one that hangs holds up no other. A broken connection or an outdated cookie costs one typed error at most: the
//! connections are thrown away and the next call builds another. A bitcoind that is known to hang is not asked: somebody
//! who waits would wait for nothing. One question beside finds out when it answers again.

use super::silence::Silence;
use super::{Auth, Config, Error};
use bdk_bitcoind_rpc::bitcoincore_rpc::jsonrpc::{self, simple_http, Client, Response};
use hypothec_oracle::foreign::clean;
use hypothec_oracle::room::plain;
use serde::de::DeserializeOwned;
use serde_json::value::{to_raw_value, RawValue};
use serde_json::Value;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

/// bitcoind's code for an unknown block, transaction or key.
pub(crate) const NOT_FOUND: i32 = -5;
/// bitcoind's code while it loads its databases.
const IN_WARMUP: i32 = -28;
/// How long it may take to see that somebody listens.
const PROBE: Duration = Duration::from_secs(2);
/// Questions of one line that wait for their answers at once; each has a thread.
const MOST: usize = 8;
/// A question that has waited for so long makes it ask beside whether bitcoind answers anything.
const DOUBT: Duration = Duration::from_secs(2);
/// Between two looks whether bitcoind is known to hang, of who waits for a place or an answer.
const GLANCE: Duration = Duration::from_millis(200);
/// What every bitcoind answers that answers at all: it takes neither its chain nor its disk.
const ALIVE: &str = "uptime";

/// Does a question change nothing?
fn only_asks(method: &str) -> bool {
    method.starts_with("get") || matches!(method, "estimatesmartfee" | "testmempoolaccept" | ALIVE)
}

/// What bitcoind says to one question.
type Said = Result<Box<RawValue>, Error>;

/// A line to one URL with one set of credentials.
#[derive(Clone)]
pub(crate) struct Rpc {
    line: Arc<Line>,
}

struct Line {
    url: String,
    auth: Auth,
    timeout: Duration,
    /// Connections on which nothing is being asked.
    idle: Mutex<Vec<Client>>,
    places: Arc<Semaphore>,
    /// Since when the last question has waited for its answer.
    asked: Mutex<Option<Instant>>,
    /// Shared with the other lines to the same bitcoind.
    bitcoind: Arc<Known>,
}

/// What is known of a bitcoind whether it answers.
#[derive(Default)]
struct Known {
    silence: Silence,
    /// Is it being asked whether it answers anything?
    is_doubted: AtomicBool,
}

/// It is being asked whether it answers anything, as long as this lives.
struct Doubted(Arc<Known>);

impl Drop for Doubted {
    fn drop(&mut self) {
        self.0.is_doubted.store(false, Ordering::SeqCst);
    }
}

/// How long the last question on a line has waited, for whoever does not wait for it.
#[derive(Clone)]
pub struct Pulse {
    line: Arc<Line>,
}

impl Pulse {
    /// Where it was asked.
    pub fn url(&self) -> &str {
        &self.line.url
    }

    /// How long the last question has waited for its answer; zero where it was answered.
    pub fn silence(&self) -> Duration {
        self.line.asked().map_or(Duration::ZERO, |asked| asked.elapsed())
    }
}

impl Rpc {
    /// Connects to nothing yet.
    pub(crate) fn new(config: &Config) -> Rpc {
        Rpc::knowing(config, Arc::default())
    }

    /// Another line to the same bitcoind: what one finds out of whether it answers, both know.
    pub(crate) fn beside(&self, config: &Config) -> Rpc {
        Rpc::knowing(config, Arc::clone(&self.line.bitcoind))
    }

    fn knowing(config: &Config, bitcoind: Arc<Known>) -> Rpc {
        let (url, auth, timeout) = (config.url.clone(), config.auth.clone(), config.call_timeout);
        let (idle, places, asked) = (Mutex::default(), Arc::new(Semaphore::new(MOST)), Mutex::default());
        Rpc { line: Arc::new(Line { url, auth, timeout, idle, places, asked, bitcoind }) }
    }

    /// For how long bitcoind has answered nothing on any line, though it was asked; zero where it answers.
    pub(crate) fn silence(&self) -> Duration {
        self.line.bitcoind.silence.lasts(Instant::now())
    }

    /// How long its last question has waited.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse { line: Arc::clone(&self.line) }
    }

    /// Where it calls.
    pub(crate) fn url(&self) -> &str {
        &self.line.url
    }

    /// Calls `method` and reads its answer as a `T`.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: &'static str, args: Vec<Value>) -> Result<T, Error> {
        let raw = self.call_raw(method, args).await?;
        serde_json::from_str(raw.get()).map_err(|e| Error::Answer { method, reason: clean(&e.to_string()) })
    }

    /// As [`Rpc::call`], with `None` where bitcoind says it does not know the thing asked about.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: Vec<Value>,
    ) -> Result<Option<T>, Error> {
        match self.call(method, args).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Refused { code: NOT_FOUND, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// As [`Rpc::find`], of several things in one round trip: a bitcoind may be far away.
    pub(crate) async fn find_each<T: DeserializeOwned>(
        &self,
        method: &'static str,
        each: Vec<Vec<Value>>,
    ) -> Result<Vec<Option<T>>, Error> {
        let read = |said: Said| match said {
            Ok(raw) => serde_json::from_str(raw.get())
                .map(Some)
                .map_err(|e| Error::Answer { method, reason: clean(&e.to_string()) }),
            Err(Error::Refused { code: NOT_FOUND, .. }) => Ok(None),
            Err(e) => Err(e),
        };
        self.blocking(method, move |line| line.call_each(method, &each)).await?.into_iter().map(read).collect()
    }

    async fn call_raw(&self, method: &'static str, args: Vec<Value>) -> Result<Box<RawValue>, Error> {
        self.blocking(method, move |line| line.call(method, &args)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        method: &'static str,
        call: impl FnOnce(&Line) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = self.place().await?;
        let line = Arc::clone(&self.line);
        let began = Instant::now();
        *self.line.asked() = Some(began);
        let mut task = tokio::task::spawn_blocking(move || {
            let answer = line.noted(|| call(&line));
            drop(place);
            answer
        });
        let answer = self.answered(method, &mut task).await;
        *self.line.asked() = None;
        let seconds = began.elapsed().as_secs();
        match answer {
            Some(Ok(Err(Error::TimedOut { url, method, .. }))) => Err(Error::TimedOut { url, method, seconds }),
            Some(Ok(answer)) => answer,
            Some(Err(broken)) => {
                self.line.forget();
                Err(Error::Answer { method, reason: broken.to_string() })
            }
            None => {
                self.line.forget();
                Err(Error::TimedOut { url: self.line.url.clone(), method, seconds })
            }
        }
    }

    /// What comes of a question, `None` where it took too long. The socket puts it twice, each for the longest time that it may
    /// take; what only asks is not waited for a second time where bitcoind is known to hang. What may be done is.
    async fn answered<T>(&self, method: &str, task: &mut JoinHandle<T>) -> Option<Result<T, JoinError>> {
        let began = Instant::now();
        // The socket has its own time-outs; this one also ends an answer that trickles in for ever.
        let limit = self.line.timeout.saturating_mul(2);
        if let Ok(answer) = timeout(DOUBT.min(limit), &mut *task).await {
            return Some(answer);
        }
        self.line.doubt();
        loop {
            let is_late = began.elapsed() >= self.line.timeout && only_asks(method);
            let is_vain = is_late && self.line.bitcoind.silence.is_hang(Instant::now());
            if is_vain || began.elapsed() >= limit {
                return None;
            }
            if let Ok(answer) = timeout(GLANCE, &mut *task).await {
                return Some(answer);
            }
        }
    }

    /// A place among the questions under way.
    ///
    /// # Errors
    /// Where bitcoind is known to hang, or none comes free in the longest time that a question may take: it was not asked.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let began = Instant::now();
        let mut free = pin!(Arc::clone(&self.line.places).acquire_owned());
        loop {
            let hangs = self.line.bitcoind.silence.is_hang(Instant::now());
            if hangs || began.elapsed() >= self.line.timeout.saturating_mul(2) {
                self.line.doubt();
                return Err(Error::Silent { url: self.line.url.clone() });
            }
            if let Ok(Ok(place)) = timeout(GLANCE, &mut free).await {
                return Ok(place);
            }
        }
    }
}

impl Line {
    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a question comes to; whether that is an answer is noted, also where nobody waits for it any more.
    fn noted<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let silence = &self.bitcoind.silence;
        let number = silence.ask(Instant::now());
        let answer = call();
        silence.end(number, !matches!(answer, Err(Error::TimedOut { .. })), Instant::now());
        answer
    }

    /// Asks beside whether bitcoind answers anything, where that is not being asked already.
    fn doubt(self: &Arc<Line>) {
        if self.bitcoind.is_doubted.swap(true, Ordering::SeqCst) {
            return;
        }
        let (line, doubted) = (Arc::clone(self), Doubted(Arc::clone(&self.bitcoind)));
        tokio::task::spawn_blocking(move || {
            // Whatever it says, it answers.
            drop(line.noted(|| line.call(ALIVE, &[])));
            drop(doubted);
        });
    }

    fn call(&self, method: &'static str, args: &[Value]) -> Result<Box<RawValue>, Error> {
        self.again(|| self.call_once(method, args))
    }

    /// What bitcoind says to each, in their order.
    fn call_each(&self, method: &'static str, each: &[Vec<Value>]) -> Result<Vec<Said>, Error> {
        self.again(|| self.call_each_once(method, each))
    }

    fn again<T>(&self, call: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match call() {
            // bitcoind writes a new cookie at each start: read it again before giving up.
            Err(Error::Unauthorised { .. }) if matches!(self.auth, Auth::Cookie(_)) => call(),
            other => other,
        }
    }

    fn call_once(&self, method: &'static str, args: &[Value]) -> Result<Box<RawValue>, Error> {
        let client = self.client()?;
        let params = to_raw_value(args).map_err(|e| Error::Answer { method, reason: e.to_string() })?;
        let request = client.build_request(method, Some(&params));
        let response = client.send_request(request).map_err(|e| self.fault(method, e))?;
        self.keep(client);
        self.said(method, response)
    }

    fn call_each_once(&self, method: &'static str, each: &[Vec<Value>]) -> Result<Vec<Said>, Error> {
        if each.is_empty() {
            return Ok(Vec::new());
        }
        let client = self.client()?;
        let unwritten = |e: serde_json::Error| Error::Answer { method, reason: e.to_string() };
        let params = each.iter().map(to_raw_value).collect::<Result<Vec<_>, _>>().map_err(unwritten)?;
        let requests: Vec<_> = params.iter().map(|params| client.build_request(method, Some(params))).collect();
        let responses = client.send_batch(&requests).map_err(|e| self.fault(method, e))?;
        self.keep(client);
        let missing = || Error::Answer { method, reason: "one of several questions was not answered".into() };
        let said = |response: Option<Response>| Ok(self.said(method, response.ok_or_else(missing)?));
        responses.into_iter().map(said).collect()
    }

    fn said(&self, method: &'static str, response: Response) -> Said {
        if let Some(refusal) = response.error {
            return Err(match refusal.code {
                IN_WARMUP => Error::WarmingUp { url: self.url.clone(), message: clean(&refusal.message) },
                code => Error::Refused { method, code, message: clean(&refusal.message) },
            });
        }
        match response.result {
            Some(result) => Ok(result),
            None => to_raw_value(&Value::Null).map_err(|e| Error::Answer { method, reason: e.to_string() }),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection on which nothing is being asked, or a new one.
    fn client(&self) -> Result<Client, Error> {
        let idle = self.idle().pop();
        if let Some(client) = idle {
            return Ok(client);
        }
        let builder = simple_http::SimpleHttpTransport::builder()
            .timeout(self.timeout)
            .url(&self.url)
            .map_err(|e| Error::Unreachable { url: self.url.clone(), reason: e.to_string() })?;
        let builder = match &self.auth {
            Auth::Cookie(path) => {
                let unusable = |reason: String| Error::Cookie { path: path.display().to_string(), reason };
                let text = std::fs::read_to_string(path).map_err(|e| match self.refuses() {
                    // bitcoind takes its cookie away when it stops: that is no mistake in the configuration.
                    Some(refusal) if e.kind() == io::ErrorKind::NotFound => Error::Unreachable {
                        url: self.url.clone(),
                        reason: format!(
                            "{}, and its cookie file {} is not there",
                            plain(&refusal.to_string()),
                            path.display()
                        ),
                    },
                    _ => unusable(plain(&e.to_string())),
                })?;
                let cookie = text.lines().next().unwrap_or_default();
                if !cookie.contains(':') {
                    return Err(unusable("it does not read user:password".into()));
                }
                builder.cookie_auth(cookie)
            }
            Auth::UserPass { user, password } => builder.auth(user, Some(password)),
        };
        Ok(Client::with_transport(builder.build()))
    }

    /// Keeps a connection for the next question.
    fn keep(&self, client: Client) {
        let mut idle = self.idle();
        if idle.len() < MOST {
            idle.push(client);
        }
    }

    /// What the system says when nobody listens there; `None` where somebody does.
    fn refuses(&self) -> Option<io::Error> {
        let place = self.url.trim_start_matches("http://").trim_end_matches('/');
        let addresses = match place.to_socket_addrs() {
            Ok(addresses) => addresses,
            Err(error) => return Some(error),
        };
        let mut refusal = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, PROBE) {
                Ok(_) => return None,
                Err(error) => refusal = Some(error),
            }
        }
        refusal
    }

    /// Drops the connections, so that the next call starts afresh.
    fn forget(&self) {
        self.idle().clear();
    }

    fn timed_out(&self, method: &'static str) -> Error {
        Error::TimedOut { url: self.url.clone(), method, seconds: self.timeout.as_secs() }
    }

    /// Names a failure of a connection, and drops them all.
    fn fault(&self, method: &'static str, error: jsonrpc::Error) -> Error {
        self.forget();
        let unreachable = |reason: String| Error::Unreachable { url: self.url.clone(), reason: clean(&plain(&reason)) };
        let error = match error {
            jsonrpc::Error::Transport(inner) => match inner.downcast::<simple_http::Error>() {
                Ok(http) => *http,
                Err(other) => return unreachable(other.to_string()),
            },
            other => return Error::Answer { method, reason: clean(&other.to_string()) },
        };
        match error {
            simple_http::Error::HttpErrorCode(401) => {
                Error::Unauthorised { url: self.url.clone(), credentials: self.auth.to_string() }
            }
            simple_http::Error::HttpErrorCode(403) => Error::Forbidden { url: self.url.clone(), method },
            simple_http::Error::HttpErrorCode(503) => Error::Busy { url: self.url.clone() },
            // Of something that stands before it: whether the question went on is not known.
            simple_http::Error::HttpErrorCode(code @ (502 | 504)) => unreachable(format!("HTTP {code}")),
            simple_http::Error::SocketError(e)
                if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) =>
            {
                self.timed_out(method)
            }
            simple_http::Error::SocketError(e) => unreachable(e.to_string()),
            simple_http::Error::HttpResponseTooShort { .. } | simple_http::Error::IncompleteResponse { .. } => {
                unreachable("the connection broke off".into())
            }
            other => Error::Answer { method, reason: clean(&other.to_string()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn bitcoinds_own_words_are_cleaned_where_they_are_read() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let body = r#"{"result":null,"error":{"code":-26,"message":"no\u001b[2J\u202e fee\nmet"},"id":0}"#;
            let head = format!("HTTP/1.1 500 Oops\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        });
        let auth = Auth::UserPass { user: "u".into(), password: "p".into() };
        let config = Config::new(url, auth, bitcoin::Network::Regtest);
        let refused = Rpc::new(&config).call::<Value>("sendrawtransaction", vec![]).await.unwrap_err();
        answering.join().unwrap();
        let (method, message) = ("sendrawtransaction", "no fee met".to_owned());
        assert_eq!(refused, Error::Refused { method, code: -26, message });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_bitcoind_forbids_is_no_matter_of_the_cookie() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            for status in ["403 Forbidden", "401 Unauthorized"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap();
            }
        });
        let auth = Auth::UserPass { user: "u".into(), password: "p".into() };
        let rpc = Rpc::new(&Config::new(url.clone(), auth, bitcoin::Network::Regtest));
        let refused = rpc.call::<Value>("getindexinfo", vec![]).await.unwrap_err();
        assert_eq!(refused, Error::Forbidden { url, method: "getindexinfo" });
        let said = refused.to_string();
        assert!(said.contains("`getindexinfo`") && said.contains("rpcwhitelist") && !said.contains("cookie"), "{said}");
        let refused = rpc.call::<Value>("getindexinfo", vec![]).await.unwrap_err();
        assert!(matches!(refused, Error::Unauthorised { .. }), "{refused}");
        answering.join().unwrap();
    }

    /// A place that takes every connection, and what is asked on each but the first `deaf` it answers with `7`; and how
    /// many it has taken of those it never answers.
    fn half_deaf(deaf: usize) -> (Rpc, Config, Arc<AtomicUsize>) {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let unanswered = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&unanswered);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                if held.len() < deaf {
                    held.push(stream);
                    taken.store(held.len(), Ordering::SeqCst);
                    continue;
                }
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    while lines.by_ref().any(|line| line.is_ok_and(|line| line.starts_with("Content-Length"))) {
                        let body = r#"{"result":7,"error":null,"id":0}"#;
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        let _ = stream.write_all(format!("{head}{body}").as_bytes());
                    }
                });
            }
        });
        let auth = Auth::UserPass { user: "u".into(), password: "p".into() };
        let config = Config::new(url, auth, bitcoin::Network::Regtest);
        // More than it takes to be known to hang; the threads of a test end with it.
        let config = Config { call_timeout: Duration::from_secs(8), ..config };
        (Rpc::new(&config), config, unanswered)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_question_that_is_not_answered_holds_up_no_other() {
        let (rpc, _, unanswered) = half_deaf(1);
        let first = tokio::spawn({
            let rpc = rpc.clone();
            async move { rpc.call::<Value>("estimatesmartfee", vec![]).await }
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        // A question is noted before its connection is there, and the second one's could be the first to be taken.
        while unanswered.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < deadline, "it was never asked");
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        let second = timeout(Duration::from_secs(4), rpc.call::<u32>("getblockcount", vec![])).await;
        println!("the second was answered after {:?}", began.elapsed());
        assert!(!first.is_finished());
        // Its number is another than the answer's: it was answered, and that is not what this is about.
        assert!(second.is_ok(), "it waited for the first");
        first.abort();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_only_asked_of_a_bitcoind_that_hangs_is_waited_for_once_and_the_seconds_told_are_those_waited() {
        let (rpc, config, _) = half_deaf(usize::MAX);
        let began = Instant::now();
        let sent = tokio::spawn({
            let rpc = rpc.clone();
            async move { rpc.call::<Value>("sendrawtransaction", vec![]).await }
        });
        let asked = rpc.call::<u32>("getblockcount", vec![]).await.unwrap_err();
        let waited = began.elapsed();
        println!("given up after {waited:?}");
        // Once eight seconds: a slow one has that time from its first question on.
        assert!(waited >= Duration::from_secs(8) && waited < Duration::from_secs(12), "{waited:?}");
        let (url, method) = (config.url.clone(), "getblockcount");
        let told = |seconds: u64| Error::TimedOut { url: url.clone(), method, seconds };
        let waited = waited.as_secs();
        assert!(asked == told(waited) || asked == told(waited.saturating_sub(1)), "{asked} after {waited} s");
        // What may be done is waited for as ever, and said to be so.
        assert!(!sent.is_finished());
        let sent = sent.await.unwrap().unwrap_err();
        let (waited, may_be_done) = (began.elapsed().as_secs(), sent.may_be_done());
        let Error::TimedOut { method: "sendrawtransaction", seconds, .. } = sent else { panic!("{sent}") };
        assert!(may_be_done && waited >= 8 && seconds <= waited && seconds + 2 > waited, "{seconds} of {waited} s");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bitcoind_that_hangs_has_few_threads_waiting_and_who_asks_it_is_told_that_it_was_not_asked() {
        let (rpc, config, _) = half_deaf(usize::MAX);
        let (beside, url) = (rpc.beside(&config), config.url.clone());
        let asked: Vec<_> = (0..100)
            .map(|_| {
                let rpc = rpc.clone();
                tokio::spawn(async move { rpc.call::<Value>("sendrawtransaction", vec![]).await })
            })
            .collect();
        let is_told = |asked: &Vec<tokio::task::JoinHandle<_>>| asked.iter().filter(|one| one.is_finished()).count();
        let deadline = Instant::now() + Duration::from_secs(25);
        while is_told(&asked) < 100 - MOST {
            assert!(Instant::now() < deadline, "{} of them wait", 100 - is_told(&asked));
            assert!(rpc.line.bitcoind.silence.open() <= MOST + 1);
            tokio::time::sleep(GLANCE).await;
        }
        for one in asked.into_iter().filter(|one| one.is_finished()) {
            let refused = one.await.unwrap().unwrap_err();
            assert_eq!(refused, Error::Silent { url: url.clone() });
            assert!(!refused.may_be_done() && refused.is_temporary(), "it was never asked: {refused}");
        }
        // The other line to it knows, and nothing waits longer for being asked often.
        let began = Instant::now();
        for _ in 0..200 {
            assert!(matches!(beside.call::<Value>("uptime", vec![]).await, Err(Error::Silent { .. })));
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let open = rpc.line.bitcoind.silence.open();
        println!("{open} questions wait");
        assert!(open <= MOST + 1);
    }
}
