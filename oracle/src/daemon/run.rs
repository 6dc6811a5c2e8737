//! Start-up and shutdown of the daemon.

use super::config::{Config, FeedChoice, LiveChoice, Network, Replicas};
use super::desk::Desk;
use super::feed::fetch::Table;
use super::feed::live::Live;
use super::feed::manual::Manual;
use super::feed::replay::Replay;
use super::feed::Feed;
use super::http::{info_of, router, serve, Counter, Guard, Limits, Meters};
use super::keyfile;
use super::log::TickLog;
use super::log_routes::Published;
use super::nostr::Publisher;
use super::passphrase::Passphrase;
use super::payments::{Order, Payments, Told};
use super::peers::Peers;
use super::policies;
use super::press::Press;
use super::signer::{Here, Keys, SignerClient};
use super::socket::Door;
use super::store::{has_watermark, read_signed, Book, Log, LogError, Notes, Postgres, Sled};
use super::{private, statements, webhook};
use crate::announce::{AnnounceError, OracleKeys};
use crate::clock::Clock;
use crate::handles;
use crate::price::policy::Policy;
use crate::screen;
use crate::ticklog::chain::End;
use crate::ticklog::entry::{Entry, Head};
use crate::units::{Time, DAY};
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use std::future::{poll_fn, Future};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Connections at once to the webhook of a payment system.
const WEBHOOK: usize = 64;
/// How long a signer that is just starting is waited for. Real time.
const SIGNER_PATIENCE: Duration = Duration::from_secs(15);
/// How long open connections may keep the daemon from stopping. Real time.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How often other replicas' payments are read. Real time.
const PAYMENTS_PACE: Duration = Duration::from_millis(250);

/// Seconds that a ledger may lie behind a clock that nobody vouches for.
const LATE: u32 = 31 * DAY;

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
    server: JoinHandle<()>,
    private: JoinHandle<std::io::Result<()>>,
    ahead: JoinHandle<()>,
    // The payments' listeners and the look at the signer; they end when this is dropped.
    beside: JoinSet<()>,
    // One task a relay; they end when this is dropped.
    relays: JoinSet<()>,
    following: JoinHandle<anyhow::Result<()>>,
}

/// Starts an oracle. When this returns it answers, and everything up to its clock has been said; by a live feed on the
/// machine's clock only when venues vouch for that.
///
/// # Errors
/// When the configuration, the data folder, the feed, the clock or the address is not usable.
pub async fn start(config: Config) -> anyhow::Result<Oracle> {
    config.check()?;
    let (listen, network, clock) = (config.listen, config.network, config.clock.clone());
    let (data, feed, limits) = (config.data.clone(), config.feed.clone(), config.limits.clone());
    let (webhook, relays) = (config.operating.webhook.clone(), config.operating.relays.clone());
    let opened = tokio::task::spawn_blocking(move || open(config)).await??;
    clock.now().context("start without knowing the time")?;
    let mut desk = opened.desk;
    let socket = private::bind(&data)?;
    let desk = tokio::task::spawn_blocking(move || desk.look().map(|()| desk)).await??;
    let key = opened.keys.public_key();
    let mut beside = hear_of_payments(&data, &opened.payments, &clock, webhook).await?;
    beside.spawn(Arc::clone(&opened.keys).watch());
    let book = opened.payments.clone();
    let press = Arc::new(Press::new(opened.keys, desk.window()).with_payments(opened.payments));
    let info = info_of(&press, &network.to_string(), opened.feed);
    let listener = crate::listener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr()?;
    let (closing, closed) = watch::channel(false);
    let publisher = Publisher::new(Arc::clone(&press), data.clone());
    let counter = Counter::new(Arc::clone(&press), clock, info, data.clone(), opened.published, closed.clone());
    let counter = counter.with_relays(publisher.board());
    let meters = Arc::clone(&counter.meters);
    let guard = Arc::new(Guard::new(&limits, network.usual_rate(), Arc::clone(&meters)));
    let own = private::router(counter.clone(), data, &feed);
    let app = router(counter, Arc::clone(&guard));
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stop.0);
    let mut publishing = JoinSet::new();
    publisher.start(&relays, &mut publishing);
    Ok(Oracle {
        address,
        key,
        stop,
        closing,
        desk: tokio::task::spawn_blocking(move || desk.run(&told)),
        server: tokio::spawn(serve(listener, app, guard, closed.clone())),
        private: tokio::spawn(serve_privately(socket, own, closed.clone())),
        beside,
        relays: publishing,
        following: tokio::spawn(follow(book, closed)),
        ahead: tokio::spawn(press.work_ahead(move |event| meters.attested(event))),
    })
}

/// Reads what other replicas write of payments, until told to stop.
///
/// # Errors
/// When the book is not what it was: then nothing more may be said.
async fn follow(payments: Payments, mut closed: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (mut is_away, is_shared) = (false, payments.is_shared());
    loop {
        let until_closed = closed.wait_for(|closing| *closing);
        let pace = if is_shared { PAYMENTS_PACE } else { Duration::MAX };
        if tokio::time::timeout(pace, until_closed).await.is_ok() {
            return Ok(());
        }
        let book = payments.clone();
        match tokio::task::spawn_blocking(move || book.hear()).await? {
            Ok(()) => is_away = false,
            Err(LogError::Broken(why)) => bail!("the book of payments: {why}"),
            Err(error) if !is_away => {
                tracing::warn!("other replicas' payments are not heard of: {error}");
                is_away = true;
            }
            Err(_) => {}
        }
    }
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

/// What a data folder and a configuration make.
struct Opened {
    desk: Desk,
    keys: Arc<Keys>,
    payments: Payments,
    feed: &'static str,
    published: Option<Published>,
}

fn open(config: Config) -> anyhow::Result<Opened> {
    let operating = &config.operating;
    let held = held(&config.data, config.network, operating.signer.as_deref(), &operating.passphrase)?;
    let is_shared = config.replicas.postgres.is_some();
    // The key's record before all else: whoever has it open is the one that signs.
    let signing = match held {
        Held::Here(keys) => Signing::Here(Here::hold(&config.data, keys, is_shared || has_watermark(&config.data)?)?),
        Held::Signer(signer) => Signing::Signer(signer),
    };
    let key = signing.public_key();
    // None of it stops an oracle whose attestations open loans wait for.
    statements::wrong(&config.data, &key).iter().for_each(|wrong| tracing::error!("{wrong}"));
    // The ledger first: it says whether this oracle may start at all, before anything is asked or written.
    let (book, notes) = open_book(&config, key)?;
    check_clock(&config, book.ledger().frozen_until())?;
    let payments = Payments::open(&config.data, notes)?;
    let keys = Arc::new(signing.knowing(&book, &payments)?);
    let mut peers = Peers::new(&config.replicas.peers, Arc::clone(&keys))?;
    for (at, cents) in book.ledger().newest_fixings().take(COMPARED) {
        if let Some(conflict) = peers.conflict(at, cents) {
            bail!("{conflict}");
        }
    }
    let mut published = None;
    let feed: Box<dyn Feed> = match &config.feed {
        FeedChoice::Replay(path) => Box::new(Replay::read(path)?),
        FeedChoice::Manual => Box::new(Manual::open(&config.data, config.clock.is_file())?),
        FeedChoice::Live(choice) => {
            let beside = Beside { policies: peers.policies(), spoken: book.ledger().frozen_until() > Time(0) };
            let live = live(&config, choice, &keys, &beside)?;
            published = Some(Published { policies: live.policies().clone(), log: live.log() });
            Box::new(live)
        }
    };
    let name = feed.name();
    let desk = Desk::new(config.clock, feed, book, peers);
    desk.recall();
    Ok(Opened { desk, keys, payments, feed: name, published })
}

/// Refuses a clock that nobody can vouch for and that lies far beyond the ledger: one wrong reading would freeze all
/// between. Venues vouch for a live feed's; time that is moved by hand may jump.
fn check_clock(config: &Config, frozen_until: Time) -> anyhow::Result<()> {
    let is_bounded = !config.clock.is_file() && !matches!(config.feed, FeedChoice::Live(_));
    let now = config.clock.now().context("start without knowing the time")?;
    if is_bounded && !config.operating.accept_clock && frozen_until > Time(0) && now.since(frozen_until) > LATE {
        bail!(
            "the clock reads {now}, more than {} days after the ledger's last final hour, which ended at {frozen_until}; \
             what is frozen by a wrong clock stays frozen. Set the clock right; if it is right and this oracle was off \
             for so long, say --accept-clock once",
            LATE / DAY
        );
    }
    Ok(())
}

/// What other replicas have said.
struct Beside {
    policies: Vec<(String, Vec<Policy>)>,
    spoken: bool,
}

/// The live feed, its venues already being asked.
fn live(config: &Config, choice: &LiveChoice, keys: &Arc<Keys>, beside: &Beside) -> anyhow::Result<Live> {
    let log = TickLog::open(&config.data)?;
    let mut ticked = None;
    if let Some(end) = log.end() {
        let newest = &mut |entry: Entry| {
            ticked = Some(entry.policy);
            Ok(())
        };
        log.reader().ticks_from(end.at, newest).context("read the tick log's last tick")?;
    }
    let own = policies::published(&config.data)?;
    policies::check_whole(&own, ticked)?;
    let alone = config.replicas.postgres.is_none() && config.replicas.peers.is_empty();
    let (file, theirs) = (choice.policy.as_deref(), &beside.policies);
    policies::check_beside(&own, file, theirs, !alone && beside.spoken)?;
    let policies = policies::publish(&config.data, file, alone, config.clock.now()?)?;
    // Also those of the file, which is on disk now and signed by nothing yet.
    policies::check_beside(&policies, file, theirs, false)?;
    let keys = Arc::clone(keys);
    let sign = Box::new(move |end: End| Ok(Head::of(end, keys.state(&end.statement()).map_err(AnnounceError::from)?)));
    let mut live = Live::new(policies, Table::default(), log, sign);
    live.start_asking(&choice.venue_urls, config.clock.clone())?;
    Ok(live)
}

fn open_book(config: &Config, key: XOnlyPublicKey) -> anyhow::Result<(Book, Box<dyn Notes>)> {
    let Replicas { postgres, watermark, .. } = &config.replicas;
    let log: Box<dyn Log> = match postgres {
        Some(server) => {
            // Time that is moved by hand is no clock to compare with a database's.
            let clock = (!config.clock.is_file()).then(|| config.clock.clone());
            Box::new(Postgres::open(server.clone(), key, clock).context("open the ledger in PostgreSQL")?)
        }
        None => Box::new(Sled::open(&config.data)?),
    };
    let kept = watermark.as_deref().map(|path| Ok((path.display().to_string(), read_signed(path, &key)?)));
    let kept: Vec<_> = kept.transpose().map_err(|error: anyhow::Error| error)?.into_iter().collect();
    let notes = log.notes()?;
    let book = Book::open(log, key, &config.data, &kept)?;
    tracing::info!("ledger in {}, final until {}", book.kind(), book.ledger().frozen_until());
    Ok((book, notes))
}

/// Who holds the key.
pub(super) enum Held {
    /// This process, from the data folder. It may sign nothing that has to be recorded.
    Here(OracleKeys),
    /// The signer.
    Signer(SignerClient),
}

/// The same, with the record of a key that this process holds.
enum Signing {
    Here(Here),
    Signer(SignerClient),
}

impl Signing {
    fn public_key(&self) -> XOnlyPublicKey {
        match self {
            Signing::Here(here) => here.public_key(),
            Signing::Signer(signer) => signer.public_key(),
        }
    }

    fn knowing(self, book: &Book, payments: &Payments) -> anyhow::Result<Keys> {
        match self {
            Signing::Here(here) => here.knowing(book.ledger(), &payments.said()),
            Signing::Signer(signer) => Ok(Keys::Signer(signer)),
        }
    }
}

/// The key in the data folder, or the signer's. Blocks.
///
/// # Errors
/// When neither can be had.
pub(super) fn held(
    data: &Path,
    network: Network,
    signer: Option<&Path>,
    passphrase: &Passphrase,
) -> anyhow::Result<Held> {
    let Some(socket) = signer else {
        return keyfile::load(data, network, passphrase).map(Held::Here);
    };
    keyfile::make_folder(data)?;
    if let keyfile::Held::Sealed(path) | keyfile::Held::Plain(path) = keyfile::held(data) {
        bail!("{} holds a key although a signer is named; move it to the signer's folder", path.display());
    }
    let began = Instant::now();
    loop {
        match SignerClient::connect(socket) {
            Ok(signer) => return Ok(Held::Signer(signer)),
            Err(error) if began.elapsed() > SIGNER_PATIENCE => {
                return Err(error.context(format!("the signer at {} does not answer", socket.display())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Opens the listeners for payments: the operator's socket, and the webhook if there is one.
async fn hear_of_payments(
    data: &Path,
    payments: &Payments,
    clock: &Clock,
    webhook: Option<(SocketAddr, PathBuf)>,
) -> anyhow::Result<JoinSet<()>> {
    let mut listeners = JoinSet::new();
    let door = Door::open(&data.join("payments.sock"), &[])?;
    let (book, time) = (payments.clone(), clock.clone());
    listeners.spawn(door.serve(move |request| obey(&book, &time, request)));
    if let Some((address, secret)) = webhook {
        let ear = webhook::Ear::new(&secret, payments.clone(), clock.clone())?;
        let listener = crate::listener::bind(address).with_context(|| format!("listen on {address}"))?;
        tracing::info!("the payments' webhook listens on {}", listener.local_addr()?);
        // One payment system calls, or a proxy for it.
        let limits = Limits { connections: WEBHOOK, connections_per_address: WEBHOOK, ..Limits::default() };
        let guard = Arc::new(Guard::new(&limits, 0, Arc::new(Meters::new())));
        listeners.spawn(async move {
            let (_open, closed) = watch::channel(false);
            serve(listener, webhook::router(ear), guard, closed).await;
        });
    }
    Ok(listeners)
}

/// An operator's order about payments.
fn obey(payments: &Payments, clock: &Clock, request: &[u8]) -> Vec<u8> {
    let done = serde_json::from_slice::<Order>(request)
        .map_err(anyhow::Error::from)
        .and_then(|order| Ok(payments.obey(&order, clock.now()?, None)?));
    let told = done.unwrap_or_else(|error| Told::Refused { refused: format!("{error:#}") });
    serde_json::to_vec(&told).unwrap_or_default()
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
            done = &mut self.following => ("following the replicas' payments stopped", flat(done)),
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
        drop(self.beside);
        drop(self.relays);
        let _ = self.closing.send(true);
        self.ahead.abort();
        let hanging_up = [self.server.abort_handle(), self.private.abort_handle()];
        let answered = async { tokio::join!(self.server, self.private) };
        if tokio::time::timeout(LAST_ANSWERS, answered).await.is_err() {
            hanging_up.iter().for_each(tokio::task::AbortHandle::abort);
        }
        let followed = self.following.await;
        flat(self.desk.await)?;
        // It stops the oracle by itself when it fails; what is left here is that it was cut off.
        drop(followed);
        Ok(())
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
    handles::raise();
    let mut oracle = start(config).await?;
    // Listened to before anybody is told that it runs: who is told may say stop at once, and must not kill it.
    tokio::pin!(shutdown);
    if poll_fn(|context| Poll::Ready(shutdown.as_mut().poll(context).is_ready())).await {
        return oracle.stop().await;
    }
    // It serves whether somebody reads that or not.
    let _ = screen::say(format_args!("oracle {} listening on {}", oracle.key, oracle.url()));
    tokio::select! {
        () = &mut shutdown => oracle.stop().await,
        failure = oracle.failure() => Err(failure),
    }
}
