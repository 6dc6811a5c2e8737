//! The operator's own listener: a Unix socket in the data folder that only the operator's user can open.
//!
//! Whatever an oracle can be told is told here and nowhere else. Plain HTTP, so that any tool can speak it:
//! `curl --unix-socket DATA/control.sock http://oracle/status`.

use super::config::FeedChoice;
use super::feed::manual::{clear_price, last_set, set_price};
use super::feed::Venues;
use super::http::{readiness, with_signer, Counter, Readiness};
use super::{slip, statements};
use crate::room::Room;
use crate::units::{Cents, Time};
use crate::wire::ErrorBody;
use anyhow::{bail, Context};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bitcoin::key::XOnlyPublicKey;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// How long the daemon waits for its own desk to take a price. Real time.
const DESK: Duration = Duration::from_secs(4);
/// How long a command waits for the daemon: longer, so that the daemon's reason arrives. Real time.
const PATIENCE: Duration = Duration::from_secs(6);
/// Longest request, in bytes.
const REQUEST: usize = 4 * 1_024;
/// Longest answer that is read, in bytes.
const ANSWER: usize = 1_024 * 1_024;
/// Longest path of a socket on Linux, in bytes.
const LONGEST_PATH: usize = 107;

/// What only the operator is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateStatus {
    /// X-only key, hex.
    pub pubkey: XOnlyPublicKey,
    /// `regtest` or `signet`.
    pub network: String,
    /// Where its prices come from.
    pub feed: String,
    /// The time it is; absent when the clock cannot be read.
    pub now: Option<Time>,
    /// Everything up to here is in the ledger.
    pub clock: Time,
    /// Everything up to here is final.
    pub frozen_until: Time,
    /// The price, cents per bitcoin.
    pub spot_cents: Option<Cents>,
    /// Its venues.
    pub venues: Venues,
    /// Is it ready to be asked, and if not, why.
    pub readiness: Readiness,
    /// What is wrong with clock, feed or signer; empty when nothing is.
    pub complaint: String,
    /// What is wrong with the operator's statements, a sentence each.
    #[serde(default)]
    pub statements: Vec<String>,
    /// Records in the ledger.
    pub records: u64,
}

/// What a price is set to; none ends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPrice {
    cents: Option<Cents>,
    /// A person has seen that it is far from the last one.
    #[serde(default)]
    sure: bool,
}

/// What says so to a program.
const FAR_OFF: &str = "far_off";

/// The price is far from the last one, and nobody has said that this is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FarOff(String);

/// What the private routes need.
#[derive(Clone)]
struct Desk {
    counter: Counter,
    data: PathBuf,
    manual: bool,
}

/// Where the socket of a data folder is.
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Opens the socket. Whoever holds the ledger of this folder may take over what a killed process left.
///
/// # Errors
/// When the path is too long for a socket, or the folder cannot be written.
pub fn bind(data: &Path) -> anyhow::Result<UnixListener> {
    let path = socket_path(data);
    let length = path.as_os_str().len();
    if length > LONGEST_PATH {
        bail!(
            "{} has {length} bytes; a socket's path has at most {LONGEST_PATH}: use a shorter --data",
            path.display()
        );
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove the old socket {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("open the socket {}", path.display()))?;
    // The folder is 0700 already, so nobody could come in between.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("protect the socket {}", path.display()))?;
    Ok(listener)
}

/// The routes of the socket.
pub fn router(counter: Counter, data: PathBuf, feed: &FeedChoice) -> Router {
    let manual = *feed == FeedChoice::Manual;
    Router::new()
        .route("/status", get(status))
        .route("/price", post(price))
        .layer(DefaultBodyLimit::max(REQUEST))
        .with_state(Desk { counter, data, manual })
}

async fn status(State(desk): State<Desk>) -> Json<PrivateStatus> {
    let now = desk.counter.clock.now().ok();
    let away = desk.counter.press.keys().away();
    let (data, key) = (desk.data.clone(), desk.counter.info.pubkey);
    let statements = tokio::task::spawn_blocking(move || statements::wrong(&data, &key)).await;
    let shown = desk.counter.press.window().look();
    Json(PrivateStatus {
        pubkey: desk.counter.info.pubkey,
        network: desk.counter.info.network.clone(),
        feed: desk.counter.info.feed.clone(),
        now,
        clock: shown.clock,
        frozen_until: shown.ledger.frozen_until(),
        spot_cents: shown.spot,
        venues: shown.venues.clone(),
        readiness: readiness(&shown, now).with(away).with_room(Room::at(&desk.data).ok()),
        complaint: with_signer(Some(&shown.complaint), away).unwrap_or_default(),
        statements: statements.unwrap_or_default(),
        records: shown.ledger.said(),
    })
}

/// Answers when the price is on disk and served.
async fn price(State(desk): State<Desk>, Json(said): Json<SetPrice>) -> Response {
    if !desk.manual {
        return refused(StatusCode::CONFLICT, "this oracle takes its prices from a feed; only --manual can be told");
    }
    let known = || slip::known(last_set(&desk.data), &desk.counter.press.window().look().ledger);
    if let Some(why) = said.cents.filter(|_| !said.sure).and_then(|cents| slip::far_off(&known(), cents)) {
        let body = ErrorBody { code: FAR_OFF.to_string(), message: why };
        return (StatusCode::CONFLICT, Json(body)).into_response();
    }
    let data = desk.data.clone();
    let told = tokio::task::spawn_blocking(move || match said.cents {
        Some(cents) => set_price(&data, cents, DESK),
        None => clear_price(&data, DESK),
    });
    match told.await.context("the price was cut off").and_then(|done| done) {
        Ok(()) => Json(serde_json::json!({})).into_response(),
        Err(error) => refused(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error:#}")),
    }
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(ErrorBody { code: "refused".to_string(), message: message.to_string() })).into_response()
}

/// Asks the oracle that runs on a data folder how it is.
///
/// # Errors
/// When none runs there.
pub async fn ask_status(data: &Path) -> anyhow::Result<PrivateStatus> {
    ask(data, "GET", "/status", Vec::new()).await
}

/// Tells the oracle that runs on a data folder the price, or that there is none. `sure`: also one far from the last.
///
/// # Errors
/// [`FarOff`] when it is far from the last one and nobody is sure; else when none runs there, or it refuses.
pub async fn tell_price(data: &Path, cents: Option<Cents>, sure: bool) -> anyhow::Result<()> {
    let _: serde_json::Value = ask(data, "POST", "/price", serde_json::to_vec(&SetPrice { cents, sure })?).await?;
    Ok(())
}

async fn ask<T: DeserializeOwned>(data: &Path, method: &str, path: &str, body: Vec<u8>) -> anyhow::Result<T> {
    let socket = socket_path(data);
    let nobody = || format!("no oracle answers at {}; is one running with this --data?", socket.display());
    let asked = async {
        let stream = UnixStream::connect(&socket).await.with_context(nobody)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = hyper::Request::builder().method(method).uri(path).header("host", "oracle");
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::Ok((head.status, body.to_bytes()))
        };
        // The connection drives the answer; it ends with it.
        tokio::select! {
            answer = answer => answer,
            end = connection => Err(end.err().map_or_else(|| anyhow::anyhow!("the oracle hung up"), Into::into)),
        }
    };
    let (status, body) = tokio::time::timeout(PATIENCE, asked).await.with_context(nobody)??;
    if status.is_success() {
        return serde_json::from_slice(&body).context("the oracle's answer is of another version");
    }
    match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(error) if error.code == FAR_OFF => Err(FarOff(error.message).into()),
        Ok(error) => bail!("{}", error.message),
        Err(_) => bail!("the oracle answered {status}: {}", String::from_utf8_lossy(&body)),
    }
}
