//! The one way to a running node: HTTP to the address and with the token that its data folder holds.

use super::out::tell;
use crate::api::views::{ErrorCode, ErrorView, OracleView};
use crate::api::{Ask, Lost, Proved, UNTIL};
use crate::node::data::{DataFolder, Token};
use crate::node::last_words;
use crate::node::unlock::{holder, Holder};
use hypothec_oracle::foreign::{printable, printable_json};
use reqwest::header::HeaderValue;
use reqwest::{Method, Request, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// The longest time to an answer that waits for others: more than the node takes to give up by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long an answer is waited for before the node is asked whether it answers at all.
const GLANCE: Duration = Duration::from_secs(4);
/// How long it has for that, which it needs nobody else for.
const ALIVE: Duration = Duration::from_secs(8);

/// What a node refused, or why it could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Refused(pub ErrorView);

/// Speaks to the node of one data folder.
pub struct Client {
    /// Writes requests, and sends none.
    http: reqwest::Client,
    address: SocketAddr,
    base: String,
    token: Token,
    data: PathBuf,
    /// Is nobody told meanwhile what an answer waits for?
    quiet: bool,
}

impl Client {
    /// The node that runs on `data`.
    ///
    /// # Errors
    /// When there is no such folder, or no node runs on it.
    pub fn open(data: &Path) -> anyhow::Result<Client> {
        let folder = DataFolder::open(data)?;
        let token = folder.token()?;
        let address = folder.api()?.ok_or_else(|| not_running(data))?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Client { http, address, base: format!("http://{address}"), token, data: data.to_path_buf(), quiet: false })
    }

    /// For a program: what an answer waits for is not said.
    pub fn quiet(self, quiet: bool) -> Client {
        Client { quiet, ..self }
    }

    /// Is it a program that asks?
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// `GET path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::GET, path)).await
    }

    /// `POST path` without a body.
    pub async fn act<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::POST, path)).await
    }

    /// `POST path` with `body`.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// `DELETE path`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.json(self.request(Method::DELETE, path)).await
    }

    /// `PUT path` with `body`.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.json(self.request(Method::PUT, path).json(body)).await
    }

    /// `POST path` with `body`, for an answer that is not JSON.
    pub async fn post_for_bytes(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
        let response = self.send(self.request(Method::POST, path).json(body)).await?;
        Ok(response.bytes().await.map_err(|_| self.lost(Lost::Broken, true))?.to_vec())
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Makes certain that what listens there is the node, and asks it on the same connection. One that was killed leaves its
    /// address behind, and any user of this machine may listen on its port then; who does would have the token, and with it
    /// every coin, once the node runs again.
    async fn recognise(&self) -> Result<Proved, Lost> {
        Proved::open(self.address, &self.token, GLANCE + ALIVE).await
    }

    /// What it answers to this. Where the connection was ended before it was asked, it is asked once more on another.
    async fn ask(&self, mut line: Proved, request: Request) -> Result<Response, Lost> {
        let (method, url) = (request.method().clone(), request.url());
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default().to_vec();
        let ask = Ask { method, path: format!("{}{query}", url.path()), headers: request.headers().clone(), body };
        let answer = match line.ask(&ask).await {
            Err(Lost::Unasked) => self.recognise().await?.ask(&ask).await,
            said => said,
        };
        answer.map(Response::from)
    }

    /// What it answers to a question that waits for nobody.
    async fn glance(&self, path: &str) -> Result<Response, Lost> {
        let mut line = self.recognise().await?;
        let answer = timeout(ALIVE, line.ask(&Ask::get(path))).await;
        answer.unwrap_or(Err(Lost::Silent)).map(Response::from)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = self.send(request).await?;
        let bytes = response.bytes().await.map_err(|_| self.lost(Lost::Broken, true))?;
        let read = serde_json::from_slice(&bytes).and_then(|mut value| {
            // The node cleans what strangers say where it hears it; nothing it missed reaches the terminal either.
            printable_json(&mut value);
            serde_json::from_value(value)
        });
        read.map_err(|error| {
            let text = format!("the node's answer is not understood ({error}); are node and command of one version?");
            refused(ErrorCode::Internal, text)
        })
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let mut request = request.build()?;
        let acts = *request.method() != Method::GET;
        let line = self.recognise().await.map_err(|lost| self.lost(lost, false))?;
        // A question that comes late hurts nobody.
        let until = SystemTime::now().checked_add(GLANCE + ALIVE).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if let Some(until) = until.filter(|_| acts) {
            request.headers_mut().insert(UNTIL, HeaderValue::from_str(&until.as_millis().to_string())?);
        }
        let waits_for = waits_for(request.url().path()).filter(|_| acts && !self.quiet);
        let mut answer = std::pin::pin!(timeout(PATIENCE, self.ask(line, request)));
        let response = match timeout(GLANCE, &mut answer).await {
            Ok(answered) => answered,
            // What waits for others may take longer. A node that is stopped answers nothing, this neither.
            Err(_) => {
                let is_alive = tokio::select! {
                    answered = &mut answer => Err(answered),
                    alive = self.glance("/v1/status") => Ok(alive),
                };
                match is_alive {
                    Err(answered) => answered,
                    Ok(Err(lost)) => return Err(self.lost(lost, acts)),
                    Ok(Ok(_)) => {
                        self.say_waiting(waits_for).await;
                        answer.await
                    }
                }
            }
        };
        let response = response.unwrap_or(Err(Lost::Silent)).map_err(|lost| self.lost(lost, acts))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let said = response.json::<ErrorView>().await;
        let said = said.map(|view| ErrorView { code: printable(&view.code), message: printable(&view.message) });
        Err(said.map(|view| Refused(view).into()).unwrap_or_else(|_| {
            refused(ErrorCode::Internal, format!("{} answered {status}; is it a hypothec node?", self.base))
        }))
    }

    /// Says what the node waits for, and of which oracles.
    async fn say_waiting(&self, waits_for: Option<&str>) {
        let Some(what) = waits_for else { return };
        let known: Vec<OracleView> = match self.glance("/v1/oracles").await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let urls: Vec<String> = known.iter().map(|oracle| printable(&oracle.url)).collect();
        let of = if urls.is_empty() { String::new() } else { format!(", of {}", urls.join(" and ")) };
        tell(&format!("… the node waits for {what}{of}"));
    }

    /// `acts`: what was asked may have been done all the same.
    fn lost(&self, lost: Lost, acts: bool) -> anyhow::Error {
        let (code, said) = match lost {
            Lost::Nobody => return not_running(&self.data),
            Lost::Stranger => return unknown(&self.data, self.address),
            Lost::Shut => return shut(&self.data, self.address),
            Lost::Silent => (ErrorCode::TimedOut, silent(&self.data)),
            Lost::Unasked | Lost::Broken => (
                ErrorCode::Unavailable,
                format!("the node on {} broke off its answer; look at what it writes", self.data.display()),
            ),
        };
        let look = "What was asked may have been done all the same: look at `wallet history` and `loan list` before you ask again";
        refused(code, if acts && lost != Lost::Unasked { format!("{said}. {look}") } else { said })
    }
}

/// What the node asks its oracles for where its answer to this takes long; nothing where it asks none.
fn waits_for(path: &str) -> Option<&'static str> {
    match path {
        "/v1/quotes" => Some("the lender, or for the oracle's announcements"),
        "/v1/preview" => Some("the oracle's price, or for bitcoind"),
        _ if path.ends_with("/approve") => Some("the oracle's announcements for this loan"),
        _ if path.ends_with("/repay") => Some("the oracle's price"),
        _ => None,
    }
}

/// What to do about a node that takes a question and says nothing.
fn silent(data: &Path) -> String {
    let place = data.display();
    match DataFolder::open(data).ok().and_then(|folder| holder(&folder)) {
        Some(Holder { id, is_stopped: true }) => {
            format!("the node on {place} stands still: process {id} was stopped, as by Ctrl-Z. `kill -CONT {id}` lets it go on")
        }
        Some(Holder { id, .. }) => format!(
            "the node on {place} does not answer. Look at what it writes; if nothing moves there, end it with \
             `kill {id}` and start it again"
        ),
        None => format!("the node on {place} does not answer. Look at what it writes, and start it again"),
    }
}

/// What listens where the node did, and is not it.
fn unknown(data: &Path, address: SocketAddr) -> anyhow::Error {
    let place = data.display();
    let text = format!(
        "what answers at {address} does not prove that it is the node on {place}, and was not shown its token: another \
         program has its port, or the node is of another version than this command. Where no node runs on {place}, start \
         it with `hypothec node --data {place}`; where one runs, start it again"
    );
    refused(ErrorCode::Unavailable, text)
}

/// What ends every connection to where the node listens without a word.
fn shut(data: &Path, address: SocketAddr) -> anyhow::Error {
    let (place, port) = (data.display(), address.port());
    let text = format!(
        "what listens at {address} ended every connection without a word, and was not shown the token of the node on {place}. \
         Either a program of this machine connects to that node without end, and crowds all others out: `ss -tnp 'dport = \
         :{port}'` names it; end that. Or another program has the node's port: `ss -ltnp 'sport = :{port}'` names it"
    );
    refused(ErrorCode::Unavailable, text)
}

fn not_running(data: &Path) -> anyhow::Error {
    let place = data.display();
    // Why it ended is known where it ended by itself.
    let why = DataFolder::open(data).ok().and_then(|folder| last_words::said(&folder));
    let text = match why {
        None => format!("no node runs on {place}; start it with `hypothec node --data {place}`"),
        Some(why) => format!(
            "no node runs on {place}. It ended by itself at {why}. Once that is mended start it with \
             `hypothec node --data {place}`"
        ),
    };
    refused(ErrorCode::Unavailable, text)
}

fn refused(code: ErrorCode, message: String) -> anyhow::Error {
    Refused(ErrorView { code: code.word().to_owned(), message }).into()
}
