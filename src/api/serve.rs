//! The server: its address, its limits, its end.

use super::error::ApiError;
use super::views::ErrorCode;
use super::{auth, connections, routes};
use crate::node::data::Token;
use crate::node::handle::{came_late, until, Handle};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderValue;
use axum::middleware::{from_fn, from_fn_with_state, Next};
use axum::response::Response;
use hypothec_oracle::foreign::clean;
use hypothec_oracle::listener;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The most bytes of a request's body.
pub(super) const BODY_MAX: usize = 64 << 10;
/// The longest time to an answer; a quote and a loan wait for the other side.
pub const REQUEST_TIME: Duration = Duration::from_secs(90);
/// The longest wait for events that may be asked for.
pub const EVENTS_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long requests under way have to end once the node stops.
const GRACE: Duration = Duration::from_secs(5);

/// The header in which whoever asks says until when it waits for its request to be taken up, milliseconds since 1970. What comes
/// later is refused, here and once more where the node takes it up: a node that stood still or was busy must not do in the
/// evening what it was asked, and whoever asked gave up, in the morning.
pub const UNTIL: &str = "hypothec-until";

/// What every route can use.
#[derive(Clone)]
pub(super) struct Shared {
    /// The node.
    pub node: Handle,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    /// Ends when the node stops: whoever waits for nothing in particular must not hold it up.
    pub(super) async fn stopping(&self) {
        let mut stopping = self.stopping.clone();
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

/// Listens on `address`, which must be this machine's own; port 0 takes a free one.
///
/// # Errors
/// When the address is not loopback or is taken.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let refuse = |kind, text: String| Err(std::io::Error::new(kind, text));
    if !address.ip().is_loopback() {
        let text = format!("api.listen = {address}: it must be this machine, 127.0.0.1 or [::1]");
        return refuse(std::io::ErrorKind::InvalidInput, text);
    }
    match listener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) => {
            let text = format!("api.listen = {address}: {error}; stop the other program or choose another port");
            refuse(error.kind(), text)
        }
    }
}

/// Answers until `shutdown` ends, then lets requests under way finish for some seconds.
///
/// # Errors
/// Where the listener does not know its address. One that fails for a while is tried again.
pub async fn serve(
    listener: TcpListener,
    node: Handle,
    token: Token,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let door = Arc::new(auth::Door { token, address: listener.local_addr()? });
    let router = routes::router()
        .fallback(routes::unknown)
        .method_not_allowed_fallback(routes::wrong_method)
        .with_state(Shared { node, stopping: stopping.clone() })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(limit_time))
        .layer(from_fn(refuse_late))
        .layer(from_fn_with_state(door, auth::check));
    let told = |mut stopping: watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let server = connections::serve(listener, router, stopping.clone());
    tokio::spawn(async move {
        shutdown.await;
        stop.send_replace(true);
    });
    tokio::select! {
        () = server => Ok(()),
        () = async { told(stopping).await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

async fn limit_time(request: Request, next: Next) -> Result<Response, ApiError> {
    tokio::time::timeout(REQUEST_TIME, next.run(request)).await.map_err(|_| {
        let seconds = REQUEST_TIME.as_secs();
        let text =
            format!("the node did not answer in {seconds} s; it may still do what was asked: look before asking again");
        ApiError::new(ErrorCode::TimedOut, text)
    })
}

/// Until when somebody waits. What cannot be read is refused: whoever sends it believes to have said something.
fn moment(said: &HeaderValue) -> Result<SystemTime, ApiError> {
    let millis = said.to_str().ok().and_then(|text| text.parse().ok());
    millis.and_then(|millis| UNIX_EPOCH.checked_add(Duration::from_millis(millis))).ok_or_else(|| {
        let said = clean(&String::from_utf8_lossy(said.as_bytes()));
        let text =
            format!("header {UNTIL} is `{said}`: it must be whole milliseconds since 1970, such as 1767225600000");
        ApiError::new(ErrorCode::BadRequest, text)
    })
}

async fn refuse_late(request: Request, next: Next) -> Result<Response, ApiError> {
    let waits = request.headers().get(UNTIL).map(moment).transpose()?;
    match waits {
        Some(waits) if waits < SystemTime::now() => Err(came_late().into()),
        waits => Ok(until(waits, next.run(request)).await),
    }
}

/// The routes' state, as an extractor.
pub(super) type Node = State<Shared>;
