//! Starting: opens every room in order, replays the loans, and lets the loop run.

use super::attention::note_backup;
use super::chain_gate::{follower_of, ChainGate, ChainLook};
use super::commands::{ORACLES, PEERS, POLICY};
use super::config::Config;
use super::core::Core;
use super::disk::Disk;
use super::endings::HeldUp;
use super::events::{Book, Standing};
use super::exits::Exits;
use super::fallen::Lost;
use super::fee_coin::FeeCoin;
use super::foreign::Foreigns;
use super::handle::Handle;
use super::inventory::Inventory;
use super::limits::Limits;
use super::notify::Notifier;
use super::operators::KnownOperators;
use super::outgoing::{Outgoing, Strays};
use super::ports::{has_open_loans, ApiTrouble};
use super::proofs::Proofs;
use super::quotes::QuoteBook;
use super::recovery::Recovery;
use super::renewal::Renewal;
use super::requests::Requests;
use super::restored::{self, Restored, Since};
use super::rotations::Rotations;
use super::shown::ShownCoins;
use super::statements::Statements;
use super::tools::{lock, Oracle, Tools};
use super::troubles::Troubles;
use super::unlock::Unlocked;
use super::words::Held;
use crate::chain::Chain;
use crate::loan::policy::Policy;
use crate::oracle_client::OracleClient;
use crate::peer::{Kinds, PeerEvent, PeerNet, StartError};
use crate::protocol::{Loan, Message, Moment, Recorded};
use crate::store::{Sled, Store};
use crate::wallet::{Seed, Wallet};
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::Network;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A running node.
pub struct Running {
    /// Speaks to it.
    pub handle: Handle,
    /// Its public key.
    pub node_id: PublicKey,
    /// Takes what keeps the API from its port, for people to read.
    pub api_trouble: ApiTrouble,
    /// Where peers reach it.
    pub listening: Option<SocketAddr>,
    /// Ends when the node ends.
    pub ended: JoinHandle<anyhow::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Asks the node to stop and waits until it has.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        self.ended.await.context("the node's task")?
    }
}

/// Starts a node on the data folder its configuration names, whose words are not encrypted.
///
/// # Errors
/// As [`start_unlocked`], or when the folder does not open.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    let unlocked = Unlocked::open(&config.data, config.network, || Ok(None))?;
    start_unlocked(config, unlocked, None).await
}

/// Starts a node on an opened data folder, the one its configuration names. `no_api` says why its API cannot have its port:
/// a node with open loans starts all the same, as it does where its address for peers cannot be used.
///
/// # Errors
/// What is missing or wrong, and the remedy: store, bitcoind, listen address, clock.
pub async fn start_unlocked(
    config: Config,
    unlocked: Unlocked,
    no_api: Option<&std::io::Error>,
) -> anyhow::Result<Running> {
    let Opened { core, peers } = open_unlocked(&config, unlocked, no_api).await?;
    let api_trouble = core.api_trouble.clone();
    let (node_id, listening) = (core.tools.net.key(), core.tools.net.listening());
    let (handle, commands) = Handle::new();
    let (stop, stopped) = watch::channel(false);
    let ended = tokio::spawn(core.run(commands, peers, stopped));
    Ok(Running { handle, node_id, api_trouble, listening, ended, stop })
}

/// A node that knows everything and does nothing yet.
pub(super) struct Opened {
    pub core: Core,
    pub peers: mpsc::Receiver<PeerEvent>,
}

/// Opens a folder whose words are not encrypted, and every room.
#[cfg(test)]
pub(super) async fn open(config: &Config) -> anyhow::Result<Opened> {
    open_unlocked(config, Unlocked::open(&config.data, config.network, || Ok(None))?, None).await
}

/// Opens every room and replays the loans.
async fn open_unlocked(config: &Config, unlocked: Unlocked, no_api: Option<&std::io::Error>) -> anyhow::Result<Opened> {
    let network = config.network;
    if config.regtest_clock.is_some() && network != Network::Regtest {
        anyhow::bail!(
            "--regtest-clock is refused: the configuration says {network}, and only regtest may use a clock file"
        );
    }
    let (folder, seed) = (unlocked.folder(), unlocked.seed()?);
    if folder.held() == Held::Plain {
        tracing::warn!(
            "the words in {} are not encrypted: whoever reads the disk has the coins; `hypothec wallet encrypt` does it",
            folder.path().display()
        );
    }
    let store: Arc<dyn Store> = Arc::new(Sled::open(folder.store())?);
    if let Some(why) = no_api {
        anyhow::ensure!(has_open_loans(&*store)?, "{why}");
    }
    let chain = Chain::configured(config.chain.clone())?;
    std::fs::create_dir_all(folder.wallet()).context("make the wallet's folder")?;
    let mut wallet = Wallet::create_or_load(&folder.wallet(), &seed, None)?;
    wallet.set_reserve(config.fee_reserve);
    let (net, peers) = start_net(config, &seed, &*store).await?;
    let rotations = Rotations::open(store.clone())?;
    let tools = Arc::new(Tools {
        network,
        clock: config.clock(),
        chain,
        wallet: Mutex::new(wallet),
        seed,
        net,
        oracles: Mutex::new(oracles(&*store, network)?),
        proofs: Mutex::new(Proofs::open(store.clone())?),
        operators: Mutex::new(KnownOperators::open(store.clone(), &rotations)?),
        rotations: Mutex::new(rotations),
        exits: Mutex::new(Exits::open(store.clone())?),
        outgoing: Mutex::new(Outgoing::open(store.clone())?),
        store: store.clone(),
        borrowing: config.borrowing,
        announce: config.announce.clone(),
        waiters: Mutex::default(),
        statements: Statements::default(),
    });
    let mut core = new_core(tools.clone(), follower_of(&tools), policy(&*store)?, unlocked)?;
    core.restored = restored::open(&*store)?;
    core.restored_since = restored::since(&*store, core.restored.as_ref())?;
    let moves = core.restored.iter().flat_map(Restored::moves);
    lock(&tools.wallet).set_moves(moves.chain(core.restored_since.iter().flat_map(Since::done)));
    if core.restored.is_some() {
        lock(&tools.wallet).look_far().context("look for the coins of a restored node")?;
    }
    let has_loans = !store.streams()?.is_empty();
    core.recovery = Recovery::open(store.clone(), core.restored.is_some(), has_loans)?;
    core.renewal = Renewal::at(config.backup.clone(), &config.data, &store);
    // One on another network than the configured one is refused; one that is away is waited for.
    core.find_chain().await?;
    core.remember_left()?;
    for stream in store.streams()? {
        core.adopt(replay(&*store, stream)?);
    }
    // A restored node's loans are those of the backup that it was made from, whatever the one before that held.
    if core.restored.as_ref().is_some_and(|restored| restored.begun().is_none()) && !core.loans.is_empty() {
        note_backup(&*store, &core.loans_for_backup())?;
    }
    core.forget_begun_requests()?;
    core.reserve();
    core.tell_missed()?;
    core.mind_negotiations()?;
    core.notifier = Some(Notifier::start(config.hooks.clone(), &core.events, &store, core.tools.node_id())?);
    for name in store.list(PEERS)? {
        let address = store.get(&name)?.unwrap_or_default();
        // Removed.
        if address.is_empty() {
            continue;
        }
        let address = String::from_utf8_lossy(&address).parse().with_context(|| format!("stored {name}"))?;
        tools.net.connect(address)?;
    }
    Ok(Opened { core, peers })
}

/// Among its peers; with open loans also while its address cannot be used.
async fn start_net(
    config: &Config,
    seed: &Seed,
    store: &dyn Store,
) -> anyhow::Result<(PeerNet, mpsc::Receiver<PeerEvent>)> {
    let (identity, kinds) = (seed.node_identity()?, Kinds::new(Message::kinds())?);
    let start = |listen| PeerNet::start(identity, config.network, listen, kinds.clone(), config.limits.clone());
    let (why, address) = match (start(config.peer_listen).await, config.peer_listen) {
        (Err(why @ StartError::Listen { .. }), Some(address)) if has_open_loans(store)? => (why, address),
        (started, _) => return Ok(started?),
    };
    tracing::warn!("{why}. The node starts without it, for its open loans, and listens there as soon as it can");
    let (net, peers) = start(None).await?;
    net.listen_when_free(address, why);
    Ok((net, peers))
}

fn new_core(
    tools: Arc<Tools>,
    follower: crate::chain::Follower,
    policy: Policy,
    unlocked: Unlocked,
) -> anyhow::Result<Core> {
    let now = tools.clock.now()?;
    let place = follower.position();
    let store = tools.store.clone();
    let shown = ShownCoins::open(store.clone())?;
    let recovery = Recovery::open(store.clone(), false, true)?;
    Ok(Core {
        tools,
        chain_look: ChainLook::new(follower),
        loans: BTreeMap::new(),
        watched: HashMap::new(),
        moment: Moment { now, height: place.map_or(0, |place| place.height), ..Moment::default() },
        is_clock_unconfirmed: false,
        runs_since: now,
        held_up: HeldUp::default(),
        tip: place.map(|place| place.hash),
        policy,
        quotes: QuoteBook::default(),
        requests: Requests::open(store.clone())?,
        inventory: Inventory::default(),
        limits: Limits::new(std::time::Instant::now()),
        got: HashMap::new(),
        fallbacks: HashMap::new(),
        sent: HashMap::new(),
        given_up: Default::default(),
        broadcast: HashMap::new(),
        wishes: HashMap::new(),
        tried: HashMap::new(),
        looked: HashMap::new(),
        rotations_asked: HashMap::new(),
        events: Book::open(store.clone(), now.0)?,
        event_waiters: Vec::new(),
        jobs: tokio::task::JoinSet::new(),
        running: HashSet::new(),
        started: HashMap::new(),
        steps: HashMap::new(),
        shown,
        told: HashSet::new(),
        asked: 0,
        turns: 0,
        troubles: Troubles::default(),
        api_trouble: ApiTrouble::default(),
        disk: Disk::default(),
        caught_up: false,
        at_tip: false,
        knows_mempool: false,
        chain_gate: ChainGate::default(),
        lost: Lost::default(),
        restored: None,
        restored_since: None,
        recovery,
        fee_coin: FeeCoin::default(),
        strays: Strays::default(),
        foreign: Foreigns::open(&*store)?,
        renewal: Renewal::default(),
        unlocked,
        notifier: None,
        standing: Standing::open(store)?,
    })
}

pub(super) fn replay(store: &dyn Store, stream: crate::store::StreamId) -> anyhow::Result<Loan> {
    let log: Vec<Recorded> = store
        .read(stream)?
        .iter()
        .map(|bytes| serde_json::from_slice(bytes))
        .collect::<Result<_, _>>()
        .with_context(|| format!("read the events of loan {stream}"))?;
    let loan = Loan::replay(&log).with_context(|| format!("replay loan {stream}"))?;
    // Records that others took the place of count on.
    Ok(Loan { length: store.length(stream)?, ..loan })
}

fn policy(store: &dyn Store) -> anyhow::Result<Policy> {
    match store.get(POLICY)? {
        Some(bytes) => {
            let mut stored: serde_json::Value = serde_json::from_slice(&bytes).context("read the stored policy")?;
            // Policies were written before thresholds were, and before a loan had to earn anything.
            if let Some(fields) = stored.as_object_mut() {
                fields.entry("threshold").or_insert_with(|| 1.into());
                fields.entry("earning_min_sats").or_insert(serde_json::Value::Null);
            }
            serde_json::from_value(stored).context("read the stored policy")
        }
        None => Ok(Policy::default()),
    }
}

fn oracles(store: &dyn Store, network: Network) -> anyhow::Result<BTreeMap<bitcoin::key::XOnlyPublicKey, Oracle>> {
    let mut oracles = BTreeMap::new();
    for name in store.list(ORACLES)? {
        let url = store.get(&name)?.unwrap_or_default();
        // Removed.
        if url.is_empty() {
            continue;
        }
        let key = name.trim_start_matches(ORACLES).parse().with_context(|| format!("stored {name}"))?;
        // One URL a line: the oracle, then its mirrors.
        let urls: Vec<String> = String::from_utf8_lossy(&url).lines().map(str::to_owned).collect();
        let client = OracleClient::with_mirrors(&urls, key)?;
        oracles.insert(key, Oracle::new(client, network, None));
    }
    Ok(oracles)
}
