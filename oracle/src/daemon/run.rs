//! Start-up and shutdown of the daemon.

use super::config::{Config, FeedChoice};
use super::desk::Desk;
use super::feed::manual::Manual;
use super::feed::replay::Replay;
use super::feed::Feed;
use super::http::{info_of, router, serve, Counter, Guard};
use super::press::Press;
use super::store::Store;
use super::{keyfile, private};
use anyhow::Context;
use bitcoin::key::XOnlyPublicKey;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long open connections may keep the daemon from stopping. Real time.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Tells the desk to stop when it is dropped: a blocking thread would otherwise outlive its oracle.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A running oracle. It stops when it is dropped; [`Oracle::stop`] also waits until its files are closed.
pub struct Oracle {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its key.
    pub key: XOnlyPublicKey,
    stop: Stop,
    closing: watch::Sender<bool>,
    desk: JoinHandle<anyhow::Result<()>>,
    server: JoinHandle<()>,
    private: JoinHandle<std::io::Result<()>>,
    ahead: JoinHandle<()>,
}

/// Starts an oracle. When this returns, everything up to its clock has been said and it answers.
///
/// # Errors
/// When the configuration, the data folder, the feed, the clock or the address is not usable.
pub async fn start(config: Config) -> anyhow::Result<Oracle> {
    config.check()?;
    let (listen, network, clock) = (config.listen, config.network, config.clock.clone());
    let (data, feed, limits) = (config.data.clone(), config.feed.clone(), config.limits.clone());
    let (mut desk, keys, feed_name) = tokio::task::spawn_blocking(move || open(config)).await??;
    clock.now().context("start without knowing the time")?;
    let socket = private::bind(&data)?;
    let desk = tokio::task::spawn_blocking(move || desk.look().map(|()| desk)).await??;
    let key = keys.public_key();
    let press = Arc::new(Press::new(keys, desk.window()));
    let info = info_of(&press, &network.to_string(), feed_name);
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr()?;
    let (closing, closed) = watch::channel(false);
    let counter = Counter::new(Arc::clone(&press), clock, info, closed.clone());
    let meters = Arc::clone(&counter.meters);
    let guard = Arc::new(Guard::new(&limits, network.usual_rate(), Arc::clone(&meters)));
    let own = private::router(counter.clone(), data, &feed);
    let app = router(counter, Arc::clone(&guard));
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stop.0);
    Ok(Oracle {
        address,
        key,
        stop,
        closing,
        desk: tokio::task::spawn_blocking(move || desk.run(&told)),
        server: tokio::spawn(serve(listener, app, guard, closed.clone())),
        private: tokio::spawn(serve_privately(socket, own, closed)),
        ahead: tokio::spawn(press.work_ahead(move |event| meters.attested(event))),
    })
}

async fn serve_privately(
    socket: tokio::net::UnixListener,
    app: axum::Router,
    mut closed: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let until_closed = async move {
        // A dropped sender means the oracle was dropped: close too.
        drop(closed.wait_for(|closing| *closing).await);
    };
    axum::serve(socket, app).with_graceful_shutdown(until_closed).await
}

fn open(config: Config) -> anyhow::Result<(Desk, crate::announce::OracleKeys, &'static str)> {
    let keys = keyfile::load(&config.data)?;
    let feed: Box<dyn Feed> = match &config.feed {
        FeedChoice::Replay(path) => Box::new(Replay::read(path)?),
        FeedChoice::Manual => Box::new(Manual::open(&config.data, config.clock.is_file())?),
    };
    let (store, ledger) = Store::open(&config.data)?;
    let name = feed.name();
    Ok((Desk::new(config.clock, feed, store, ledger), keys, name))
}

impl Oracle {
    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it stops by itself, which it does only on a failure, and says which.
    ///
    /// # Errors
    /// Always the failure.
    async fn failure(&mut self) -> anyhow::Error {
        let (what, how) = tokio::select! {
            done = &mut self.desk => ("the oracle's desk stopped", flat(done)),
            done = &mut self.server => ("the oracle's listener stopped", flat(done.map(Ok))),
            done = &mut self.ahead => ("the oracle's signing ahead stopped", flat(done.map(Ok))),
            done = &mut self.private => ("the oracle's socket stopped", flat(done.map(|io| io.map_err(Into::into)))),
        };
        match how {
            Ok(()) => anyhow::anyhow!(what),
            Err(error) => error.context(what),
        }
    }

    /// Stops it and waits until its files are closed.
    ///
    /// # Errors
    /// When the desk had failed before.
    pub async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        let _ = self.closing.send(true);
        self.ahead.abort();
        let hanging_up = [self.server.abort_handle(), self.private.abort_handle()];
        let answered = async { tokio::join!(self.server, self.private) };
        if tokio::time::timeout(LAST_ANSWERS, answered).await.is_err() {
            hanging_up.iter().for_each(tokio::task::AbortHandle::abort);
        }
        flat(self.desk.await)
    }
}

fn flat(done: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Result<()> {
    done.context("a task was cut off")?
}

/// Runs an oracle until `shutdown` comes or it fails. Prints one line when it answers.
///
/// # Errors
/// As [`start`], and when the disk or the listener fails later.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut oracle = start(config).await?;
    println!("oracle {} listening on {}", oracle.key, oracle.url());
    tokio::select! {
        () = shutdown => oracle.stop().await,
        failure = oracle.failure() => Err(failure),
    }
}
