//! Start-up and shutdown of the daemon.

use super::config::{Config, FeedChoice, LiveChoice, Replicas};
use super::desk::Desk;
use super::feed::fetch::Table;
use super::feed::live::Live;
use super::feed::manual::Manual;
use super::feed::replay::Replay;
use super::feed::Feed;
use super::http::{info_of, router, Counter};
use super::keyfile;
use super::log::TickLog;
use super::log_routes::Published;
use super::peers::Peers;
use super::policies;
use super::press::Press;
use super::store::{read_signed, Book, Log, Postgres, Sled};
use crate::announce::OracleKeys;
use crate::ticklog::entry::Head;
use anyhow::Context;
use bitcoin::key::XOnlyPublicKey;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long open connections may keep the daemon from stopping. Real time.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How many of the newest fixings are compared with the peers' at start-up.
const COMPARED: usize = 3;

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
    server: JoinHandle<std::io::Result<()>>,
}

/// Starts an oracle. When this returns, everything up to its clock has been said and it answers.
///
/// # Errors
/// When the configuration, the data folder, the feed, the clock or the address is not usable.
pub async fn start(config: Config) -> anyhow::Result<Oracle> {
    config.check()?;
    let (listen, network, clock) = (config.listen, config.network, config.clock.clone());
    let (mut desk, keys, feed_name, published) = tokio::task::spawn_blocking(move || open(config)).await??;
    clock.now().context("start without knowing the time")?;
    let desk = tokio::task::spawn_blocking(move || desk.look().map(|()| desk)).await??;
    let key = keys.public_key();
    let press = Arc::new(Press::new(keys, desk.window()));
    let info = info_of(&press, &network.to_string(), feed_name);
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr()?;
    let (closing, mut closed) = watch::channel(false);
    let app = router(Counter { press, clock, info, published });
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        // A dropped sender means the oracle was dropped: close too.
        drop(closed.wait_for(|closing| *closing).await);
    });
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stop.0);
    let desk = tokio::task::spawn_blocking(move || desk.run(&told));
    Ok(Oracle { address, key, stop, closing, desk, server: tokio::spawn(server.into_future()) })
}

type Opened = (Desk, Arc<OracleKeys>, &'static str, Option<Published>);

fn open(config: Config) -> anyhow::Result<Opened> {
    let keys = Arc::new(keyfile::load(&config.data)?);
    // The ledger first: it says whether this oracle may start at all, before anything is asked or written.
    let book = open_book(&config, keys.public_key())?;
    let mut peers = Peers::new(&config.replicas.peers, Arc::clone(&keys))?;
    for (at, cents) in book.ledger().newest_fixings().take(COMPARED) {
        if let Some(conflict) = peers.conflict(at, cents) {
            anyhow::bail!("{conflict}");
        }
    }
    let mut published = None;
    let feed: Box<dyn Feed> = match &config.feed {
        FeedChoice::Replay(path) => Box::new(Replay::read(path)?),
        FeedChoice::Manual => Box::new(Manual::open(&config.data, config.clock.is_file())?),
        FeedChoice::Live(choice) => {
            let live = live(&config, choice, &keys)?;
            published = Some(Published { policies: live.policies().clone(), log: live.log() });
            Box::new(live)
        }
    };
    let name = feed.name();
    Ok((Desk::new(config.clock, feed, book, peers), keys, name, published))
}

/// The live feed, its venues already being asked.
fn live(config: &Config, choice: &LiveChoice, keys: &Arc<OracleKeys>) -> anyhow::Result<Live> {
    let log = TickLog::open(&config.data)?;
    let policies = policies::publish(&config.data, choice.policy.as_deref(), config.clock.now()?)?;
    let keys = Arc::clone(keys);
    let sign = Box::new(move |n, at, hash| Ok(Head::sign(&keys, n, at, hash)));
    let mut live = Live::new(policies, Table::default(), log, sign);
    live.start_asking(&choice.venue_urls)?;
    Ok(live)
}

fn open_book(config: &Config, key: XOnlyPublicKey) -> anyhow::Result<Book> {
    let Replicas { postgres, watermark, .. } = &config.replicas;
    let log: Box<dyn Log> = match postgres {
        Some(server) => Box::new(Postgres::open(server.clone(), key).context("open the ledger in PostgreSQL")?),
        None => Box::new(Sled::open(&config.data)?),
    };
    let kept = watermark.as_deref().map(|path| Ok((path.display().to_string(), read_signed(path, &key)?)));
    let kept: Vec<_> = kept.transpose().map_err(|error: anyhow::Error| error)?.into_iter().collect();
    let book = Book::open(log, key, &config.data, &kept)?;
    tracing::info!("ledger in {}, final until {}", book.kind(), book.ledger().frozen_until());
    Ok(book)
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
            done = &mut self.server => ("the oracle's listener stopped", flat(done.map(|io| io.map_err(Into::into)))),
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
        let hanging_up = self.server.abort_handle();
        if tokio::time::timeout(LAST_ANSWERS, self.server).await.is_err() {
            hanging_up.abort();
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
