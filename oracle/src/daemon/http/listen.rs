//! The public listener's connections: so many at once, and none for ever.
//!
//! A connection must send each request's head in time, and must keep reading what it is sent. HTTP/1 only: whoever wants
//! more puts a proxy or a content network before it.

use super::guard::{Admitted, Guard};
use axum::body::Body;
use axum::extract::Request;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

/// How long a request's head may take, and how long a connection may stay silent between two. Real time.
const HEAD: Duration = Duration::from_secs(30);
/// How long a reader may read nothing of what it is sent. Real time.
const READER: Duration = Duration::from_secs(20);
/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1_024;
/// A pause after accepting failed, so that a lack of file descriptors does not spin. Real time.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `closed` turns true or loses its sender; then finishes the answers that are being sent.
pub async fn serve(listener: TcpListener, app: Router, guard: Arc<Guard>, mut closed: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut closed) => break,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let Some(admitted) = guard.admit(peer.ip()) else { continue };
                let (app, closed) = (app.clone(), closed.clone());
                open.spawn(async move { connection(stream, peer, app, closed, &admitted).await });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    mut closed: watch::Receiver<bool>,
    admitted: &Admitted,
) {
    // Small answers must not wait for each other. A socket that refuses is about to fail anyway.
    drop(stream.set_nodelay(true));
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(READER));
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request)
    });
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let connection = protocol.serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    let how = tokio::select! {
        how = connection.as_mut() => Some(how),
        () = told(&mut closed) => None,
        () = admitted.asked_to_leave() => None,
    };
    let how = match how {
        Some(how) => how,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = how {
        tracing::debug!("connection of {peer}: {error}");
    }
}

/// Waits until the oracle stops, or was dropped.
async fn told(closed: &mut watch::Receiver<bool>) {
    drop(closed.wait_for(|closed| *closed).await);
}
