//! `hypothec node`: the node itself, until it is told to stop.

use super::ask;
use super::line::Place;
use super::out::for_people;
use crate::api;
use crate::node::config::Config;
use crate::node::data::{DataFolder, Token};
use crate::node::handle::Handle;
use crate::node::last_words::LastWords;
use crate::node::unlock::Unlocked;
use crate::node::{self, ApiTrouble, Running};
use anyhow::Context;
use clap::Args;
use hypothec_oracle::{handles, logging, room, screen};
use serde_json::json;
use std::io::{ErrorKind, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing_subscriber::util::SubscriberInitExt;

/// How often an address that another program has is tried.
const FREE_AGAIN: Duration = Duration::from_secs(1);

/// Run the node; it watches and settles by itself until Ctrl-C or SIGTERM
///
/// It says what it does on standard error; RUST_LOG=debug makes it say more.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec node\n  hypothec node --data ~/lender\n  \
    hypothec node --passphrase-file passphrase.txt      or that file named by HYPOTHEC_PASSPHRASE_FILE\n  \
    hypothec node --regtest-clock clock     time stands still until somebody moves the file")]
pub(super) struct Node {
    /// Read the time from this file, unix seconds as text; regtest only
    #[arg(long, value_name = "FILE")]
    regtest_clock: Option<PathBuf>,
    /// File with the passphrase of the words, where they are encrypted; asked for otherwise
    #[arg(long, value_name = "FILE", env = ask::PASSPHRASE_FILE, hide_env = true)]
    passphrase_file: Option<PathBuf>,
}

impl Node {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        screen::serve().context("make ready to write")?;
        log_to_stderr();
        handles::raise();
        let data = place.data()?;
        let folder = DataFolder::open(&data)?;
        let config = Config::load(&data, self.regtest_clock)?;
        let token = folder.token_or_new()?;
        // Before anything listens: a person types the passphrase, and Ctrl-C ends it.
        let file = self.passphrase_file;
        let unlocked = Unlocked::open(&data, config.network, || ask::of_words(file.as_deref(), false))?;
        // From here on the folder is this process's, and why it ended can be asked when it is gone.
        let (mut words, clock) = (LastWords::reserve(&folder), config.clock());
        let ended = serve(place, &folder, config, unlocked, token).await;
        if let Err(why) = &ended {
            words.say(clock.now().unwrap_or_default(), &room::chain(why, Some(folder.path())));
        }
        ended
    }
}

/// The node and its API, until they end.
async fn serve(
    place: &Place,
    folder: &DataFolder,
    config: Config,
    unlocked: Unlocked,
    token: Token,
) -> anyhow::Result<()> {
    // Whoever told it to stop while it starts is heard too.
    let told = told_to_stop()?;
    let wanted = config.api_listen;
    let bound = api::bind(wanted).await;
    // What it must never listen on is no port that another program has.
    if let Err(error) = &bound {
        anyhow::ensure!(error.kind() != ErrorKind::InvalidInput, "{error}");
    }
    let (network, announce) = (config.network, config.announce.clone());
    let running = node::start_unlocked(config, unlocked, bound.as_ref().err()).await?;
    let (stop_api, stopping) = watch::channel(false);
    let mut answering =
        Api { folder: folder.clone(), node: running.handle.clone(), token, stopping, servers: JoinSet::new() };
    let api_trouble = running.api_trouble.clone();
    let (address, waits) = match bound {
        Ok(listener) => (Some(answering.answer(listener)?), None),
        Err(why) => (answering.answer_elsewhere(wanted, &why, &api_trouble).await, Some(wanted)),
    };
    let mut server = tokio::spawn(answering.run(waits, api_trouble));
    let dialled = announce.or_else(|| running.listening.map(|listening| listening.to_string()));
    let dialled = dialled.map(|dialled| format!("{}@{dialled}", running.node_id));
    // It serves whether somebody reads that or not.
    let address = address.unwrap_or(wanted);
    if let Err(error) = say_started(place, folder, &running, dialled, address, &network.to_string()) {
        tracing::warn!("what runs where could not be said: {error:#}");
    }
    let ended = wait(running, &mut server, told).await;
    folder.unsay_api();
    drop(stop_api);
    if !server.is_finished() {
        server.await.context("the API's task")??;
    }
    ended
}

/// Where the node is asked: at the address it is configured for, and at another one while another program has that.
struct Api {
    folder: DataFolder,
    node: Handle,
    token: Token,
    /// Turns true, or loses its sender, when the node stops.
    stopping: watch::Receiver<bool>,
    servers: JoinSet<std::io::Result<()>>,
}

impl Api {
    /// Answers there, and has the commands of this folder ask there.
    fn answer(&mut self, listener: TcpListener) -> anyhow::Result<SocketAddr> {
        let address = listener.local_addr().context("ask the API's address")?;
        let mut stopping = self.stopping.clone();
        let shutdown = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
        self.servers.spawn(api::serve(listener, self.node.clone(), self.token.clone(), shutdown));
        self.folder.say_api(address)?;
        Ok(address)
    }

    /// Answers at any port, and tells why. Without one the node settles its loans unasked.
    async fn answer_elsewhere(
        &mut self,
        wanted: SocketAddr,
        why: &std::io::Error,
        trouble: &ApiTrouble,
    ) -> Option<SocketAddr> {
        let any = api::bind(SocketAddr::new(wanted.ip(), 0)).await;
        let address = any.map_err(anyhow::Error::from).and_then(|listener| self.answer(listener));
        let meanwhile = match &address {
            Ok(address) => format!("the commands of this data folder find it at {address}"),
            Err(error) => format!("nothing can be asked of it: {error:#}"),
        };
        let text = format!(
            "{why} (`ss -ltnp` names it). The node has started without it, for its open loans, and takes it as soon as it is \
             free; until then {meanwhile}"
        );
        tracing::warn!("{text}");
        trouble.put(Some(text));
        address.ok()
    }

    /// Answers until the node stops or a server fails, from when it is free at `waits` too.
    async fn run(mut self, waits: Option<SocketAddr>, trouble: ApiTrouble) -> std::io::Result<()> {
        let mut stopping = self.stopping.clone();
        if let Some(wanted) = waits {
            let free = tokio::select! {
                listener = when_free(wanted) => Some(listener),
                _ = stopping.wait_for(|stopping| *stopping) => None,
            };
            if let Some(listener) = free {
                match self.answer(listener) {
                    Ok(address) => tracing::info!(%address, "the address is free: the API answers there"),
                    Err(error) => tracing::warn!("the commands of this data folder do not find the API: {error:#}"),
                }
                trouble.put(None);
            }
        }
        let mut ended = Ok(());
        while let Some(done) = self.servers.join_next().await {
            ended = ended.and(done.unwrap_or_else(|error| Err(std::io::Error::other(error))));
            if ended.is_err() {
                break;
            }
        }
        ended
    }
}

/// The address, once nobody else has it.
async fn when_free(address: SocketAddr) -> TcpListener {
    loop {
        tokio::time::sleep(FREE_AGAIN).await;
        if let Ok(listener) = api::bind(address).await {
            return listener;
        }
    }
}

/// Until somebody says stop, or the node or its API ends by itself.
async fn wait(
    mut running: Running,
    server: &mut tokio::task::JoinHandle<std::io::Result<()>>,
    told: impl std::future::Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = &mut running.ended => ended.context("the node's task")?.context("the node stopped by itself"),
        ended = server => {
            running.stop().await?;
            ended.context("the API's task")?.context("the API stopped by itself")
        }
        () = told => {
            tracing::info!("stopping");
            running.stop().await
        }
    }
}

fn say_started(
    place: &Place,
    folder: &DataFolder,
    running: &Running,
    listen: Option<String>,
    api: SocketAddr,
    network: &str,
) -> anyhow::Result<()> {
    if place.out().is_json() {
        let started = json!({
            "node_id": running.node_id, "network": network, "listen": listen, "api": format!("http://{api}"),
            "data": folder.path(),
        });
        return Ok(screen::say(format_args!("{started}"))?);
    }
    let (path, again) = (folder.path().display(), place.again());
    let peers = match &listen {
        Some(listen) => format!("peers  {listen}"),
        None => format!("peers  nobody reaches it; its key is {}", running.node_id),
    };
    let stop = if std::io::stdin().is_terminal() { "Ctrl-C stops it. " } else { "" };
    let text = format!(
        "The node runs on {network}.\n  {peers}\n  api    http://{api}, token in {path}/token\n\n\
         {stop}Next, in another terminal: {again} status"
    );
    Ok(screen::say(format_args!("{}", for_people(&text)))?)
}

/// What the node does goes to standard error; a second call changes nothing.
pub(super) fn log_to_stderr() {
    let _ = logging::to(screen::log, std::io::stderr().is_terminal()).try_init();
}

/// Ctrl-C, or SIGTERM as a service manager sends it; listened to from the call on.
fn told_to_stop() -> anyhow::Result<impl std::future::Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
