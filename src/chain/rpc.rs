//! One JSON-RPC line to bitcoind that mends itself.
//!
//! The client underneath blocks; every call runs on tokio's blocking threads. A broken connection or an outdated
//! cookie costs one typed error at most: the client is thrown away and the next call builds another.

use super::{Auth, Config, Error};
use bdk_bitcoind_rpc::bitcoincore_rpc::jsonrpc::{self, simple_http, Client, Response};
use hypothec_oracle::foreign::clean;
use hypothec_oracle::room::plain;
use serde::de::DeserializeOwned;
use serde_json::value::{to_raw_value, RawValue};
use serde_json::Value;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// bitcoind's code for an unknown block, transaction or key.
pub(crate) const NOT_FOUND: i32 = -5;
/// bitcoind's code while it loads its databases.
const IN_WARMUP: i32 = -28;
/// How long it may take to see that somebody listens.
const PROBE: Duration = Duration::from_secs(2);

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
    client: Mutex<Option<Arc<Client>>>,
    /// Since when the last question has waited for its answer.
    asked: Mutex<Option<Instant>>,
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
        let (url, auth, timeout) = (config.url.clone(), config.auth.clone(), config.call_timeout);
        Rpc { line: Arc::new(Line { url, auth, timeout, client: Mutex::new(None), asked: Mutex::new(None) }) }
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
        let line = Arc::clone(&self.line);
        // The socket has its own time-outs; this one also ends an answer that trickles in for ever.
        let limit = line.timeout.saturating_mul(2);
        *self.line.asked() = Some(Instant::now());
        let task = tokio::task::spawn_blocking(move || call(&line));
        let answer = tokio::time::timeout(limit, task).await;
        *self.line.asked() = None;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(broken)) => {
                self.line.forget();
                Err(Error::Answer { method, reason: broken.to_string() })
            }
            Err(_) => {
                self.line.forget();
                Err(self.line.timed_out(method))
            }
        }
    }
}

impl Line {
    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn client(&self) -> Result<Arc<Client>, Error> {
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = slot.as_ref() {
            return Ok(Arc::clone(client));
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
        let client = Arc::new(Client::with_transport(builder.build()));
        *slot = Some(Arc::clone(&client));
        Ok(client)
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

    /// Drops the connection, so that the next call starts afresh.
    fn forget(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn timed_out(&self, method: &'static str) -> Error {
        Error::TimedOut { url: self.url.clone(), method, seconds: self.timeout.as_secs() }
    }

    /// Names a failure of the connection and drops the connection.
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
}
