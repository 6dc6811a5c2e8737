//! The API's connections: so many at once, and none on which nothing happens for long.
//!
//! Whoever uses the machine can connect. Who connects and asks nothing must cost the node no file handle that it needs, and
//! keep nobody out: where all places are taken, one on which nothing is in work gives up its own, and who reads no answer is
//! waited for some seconds.

use axum::extract::{Request, State};
use axum::middleware::{from_fn_with_state, Next};
use axum::response::Response;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

mod work;

pub(super) use work::Work;
use work::{Bounded, UnderWay};

/// Connections at once.
const MOST: usize = 128;
/// How long a request's head may take, and how long a connection may stay silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// A pause after accepting failed, so that a lack of file handles does not spin.
const PAUSE: Duration = Duration::from_millis(100);

struct Line {
    work: Arc<Work>,
    task: AbortHandle,
}

/// Serves until `closed` turns true or loses its sender; then finishes what is being answered.
pub(super) async fn serve(listener: TcpListener, app: Router, closed: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    let mut lines: Vec<Line> = Vec::new();
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
        if lines.len() >= MOST && !give_way(&mut lines) {
            continue;
        }
        let work = Arc::new(Work::begun());
        let task = open.spawn(connection(stream, app.clone(), Arc::clone(&work), closed.clone()));
        lines.push(Line { work, task });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Ends the connection that is the first to give way; false where there is none.
fn give_way(lines: &mut Vec<Line>) -> bool {
    let mut may: Vec<_> = lines.iter().enumerate().filter_map(|(at, line)| Some((line.work.rank()?, at))).collect();
    may.sort();
    // What had nothing in work a moment ago may have begun.
    let ended = may.into_iter().map(|(_, at)| at).find(|at| lines.get(*at).is_some_and(|line| line.work.end()));
    let Some(at) = ended else { return false };
    lines.swap_remove(at).task.abort();
    true
}

async fn connection(stream: TcpStream, app: Router, work: Arc<Work>, mut closed: watch::Receiver<bool>) {
    // Small answers must not wait for each other. A socket that refuses is about to fail anyway.
    drop(stream.set_nodelay(true));
    let app = app.layer(from_fn_with_state(Arc::clone(&work), count));
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let stream = TokioIo::new(Bounded::new(stream, work));
    let connection = protocol.serve_connection(stream, TowerToHyperService::new(app));
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
async fn count(State(work): State<Arc<Work>>, mut request: Request, next: Next) -> Response {
    let Some(_under_way) = UnderWay::begin(&work) else {
        // It gave way in this moment, and is about to end: nothing of this is begun.
        return pending().await;
    };
    request.extensions_mut().insert(Arc::clone(&work));
    next.run(request).await
}

async fn until_closed(closed: &mut watch::Receiver<bool>) {
    drop(closed.wait_for(|closed| *closed).await);
}
