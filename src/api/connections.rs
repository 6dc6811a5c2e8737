//! The API's connections: so many at once, and none that says nothing for long.
//!
//! Whoever uses the machine can connect. Who connects and asks nothing must cost the node no file handle that it needs, and
//! keep nobody out: where all places are taken, the oldest connection on which nothing is being answered gives up its own.

use axum::extract::{Request, State};
use axum::middleware::{from_fn_with_state, Next};
use axum::response::Response;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Connections at once.
const MOST: usize = 128;
/// How long a request's head may take, and how long a connection may stay silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// A pause after accepting failed, so that a lack of file handles does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Requests of one connection that are being answered.
type Answering = Arc<AtomicUsize>;

struct Line {
    answering: Answering,
    task: AbortHandle,
}

impl Line {
    fn is_idle(&self) -> bool {
        self.answering.load(Ordering::SeqCst) == 0
    }
}

/// Serves until `closed` turns true or loses its sender; then finishes what is being answered.
pub(super) async fn serve(listener: TcpListener, app: Router, closed: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    // The oldest first.
    let mut lines: VecDeque<Line> = VecDeque::new();
    let mut told = closed.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_closed(&mut told) => break,
        };
        while open.try_join_next().is_some() {}
        lines.retain(|line| !line.task.is_finished());
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("the API cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if lines.len() >= MOST {
            let Some(idle) = lines.iter().position(Line::is_idle).and_then(|oldest| lines.remove(oldest)) else {
                continue;
            };
            idle.task.abort();
        }
        let answering = Answering::default();
        let task = open.spawn(connection(stream, app.clone(), Arc::clone(&answering), closed.clone()));
        lines.push_back(Line { answering, task });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, app: Router, answering: Answering, mut closed: watch::Receiver<bool>) {
    // Small answers must not wait for each other. A socket that refuses is about to fail anyway.
    drop(stream.set_nodelay(true));
    let app = app.layer(from_fn_with_state(answering, count));
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let connection = protocol.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    let how = tokio::select! {
        how = connection.as_mut() => how,
        () = until_closed(&mut closed) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = how {
        tracing::debug!("a connection of the API: {error}");
    }
}

/// Counts what is being answered on a connection.
async fn count(State(answering): State<Answering>, request: Request, next: Next) -> Response {
    let _under_way = UnderWay::begin(&answering);
    next.run(request).await
}

struct UnderWay<'a>(&'a Answering);

impl UnderWay<'_> {
    fn begin(answering: &Answering) -> UnderWay<'_> {
        answering.fetch_add(1, Ordering::SeqCst);
        UnderWay(answering)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until_closed(closed: &mut watch::Receiver<bool>) {
    drop(closed.wait_for(|closed| *closed).await);
}
