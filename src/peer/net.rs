//! The room's handle: start, connect, send, look, stop.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::Network;
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler, PeerManager};
use rand::RngCore;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::dial::{keep, Dial};
use super::handler::Handler;
use super::identity::{Identity, Log};
use super::lanes::Lanes;
use super::link::{serve, Link, Manager};
use super::refuse::Refuse;
use super::{ConnectError, Frame, Kinds, Limits, PeerAddress, PeerEvent, PeerStatus, SendError, StartError};

/// How long [`PeerNet::shutdown`] waits for connections to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// The remembered addresses with the tasks that dial them.
type Dials = HashMap<PublicKey, (Arc<Dial>, JoinHandle<()>)>;

/// This node among its peers. Dropping it ends everything it started.
pub struct PeerNet {
    key: PublicKey,
    listening: Option<SocketAddr>,
    manager: Arc<Manager>,
    lanes: Arc<Lanes>,
    dials: Mutex<Dials>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    closing: watch::Sender<bool>,
}

impl PeerNet {
    /// Opens the room: `identity` is the node's key on the transport, `network` the one its peers must share, `listen`
    /// where peers can connect (`None`: nowhere; port 0: any), `kinds` the messages it speaks.
    ///
    /// Events must be taken from the receiver: while they are not, reading from peers pauses, and after about two
    /// ping times they are disconnected.
    pub async fn start(
        identity: SecretKey,
        network: Network,
        listen: Option<SocketAddr>,
        kinds: Kinds,
        limits: Limits,
    ) -> Result<(PeerNet, mpsc::Receiver<PeerEvent>), StartError> {
        let listener = match listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let listening = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let identity = Arc::new(Identity::new(identity));
        let (sender, receiver) = mpsc::channel(limits.event_queue.max(1));
        let lanes = Arc::new(Lanes::new(kinds, limits));
        let net = PeerNet {
            key: identity.key(),
            listening,
            manager: Arc::new(make_manager(identity, network, lanes.clone())),
            lanes,
            dials: Mutex::default(),
            tasks: Mutex::default(),
            closing: watch::Sender::new(false),
        };
        net.spawn(pump(net.lanes.clone(), sender));
        net.spawn(tick(net.manager.clone(), net.lanes.clone()));
        if let Some(listener) = listener {
            net.spawn(accept(net.manager.clone(), net.lanes.clone(), listener));
        }
        Ok((net, receiver))
    }

    /// This node's key, which its peers must know.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Where it really listens.
    pub fn listening(&self) -> Option<SocketAddr> {
        self.listening
    }

    /// Takes a frame to be sent. Frames to one peer arrive in order, each whole or not at all; whether one arrived is
    /// known only from the peer's answer.
    pub fn send(&self, peer: PublicKey, frame: Frame) -> Result<(), SendError> {
        self.lanes.send(peer, frame)?;
        self.manager.process_events();
        Ok(())
    }

    /// Remembers the address, connects, and connects again whenever the connection is lost. A second call ends a pause
    /// or replaces the address.
    pub fn connect(&self, address: PeerAddress) -> Result<(), ConnectError> {
        if address.key == self.key {
            return Err(ConnectError::Myself(address.key));
        }
        let mut dials = self.dials();
        match dials.get(&address.key) {
            Some((dial, _)) if dial.address == address => dial.now.notify_one(),
            _ => {
                let dial = Dial::new(address.clone());
                let task = self.task(keep(self.manager.clone(), self.lanes.clone(), dial.clone()));
                if let Some((_, old)) = dials.insert(address.key, (dial, task)) {
                    old.abort();
                }
            }
        }
        Ok(())
    }

    /// Ends the present connection with a peer; a remembered one is dialled again.
    pub fn disconnect(&self, peer: PublicKey) {
        if let Some(link) = self.lanes.link(peer) {
            link.close("this node ended it");
        }
        self.manager.disconnect_by_node_id(peer);
    }

    /// Stops dialling a peer and ends the present connection. The peer may still connect by itself.
    pub fn forget(&self, peer: PublicKey) {
        if let Some((_, task)) = self.dials().remove(&peer) {
            task.abort();
        }
        self.disconnect(peer);
    }

    /// True while the peer is connected and its key proved.
    pub fn is_connected(&self, peer: PublicKey) -> bool {
        self.lanes.link(peer).is_some()
    }

    /// Every peer that is connected or remembered, in the order of their keys.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let absent =
            |key| PeerStatus { key, address: None, connected: false, inbound: false, remote: None, last_problem: None };
        let mut peers: HashMap<PublicKey, PeerStatus> = HashMap::new();
        for (key, (dial, _)) in self.dials().iter() {
            let status = peers.entry(*key).or_insert_with(|| absent(*key));
            status.address = Some(dial.address.clone());
            status.last_problem = dial.problem();
        }
        for (key, link) in self.lanes.links() {
            let status = peers.entry(key).or_insert_with(|| absent(key));
            status.connected = true;
            status.inbound = link.inbound;
            status.remote = Some(link.remote.clone());
        }
        let mut peers: Vec<_> = peers.into_values().collect();
        peers.sort_by_key(|status| status.key);
        peers
    }

    /// Ends every connection and task, and returns when they have ended (or after a few seconds).
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        let mut tasks: Vec<_> = self.dials().drain().map(|(_, (_, task))| task).collect();
        tasks.append(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        self.manager.disconnect_all_peers();
        let deadline = tokio::time::Instant::now() + GOODBYE;
        for task in tasks {
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
    }

    fn spawn(&self, work: impl std::future::Future<Output = ()> + Send + 'static) {
        let task = self.task(work);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Runs a task until it ends or the room closes.
    fn task(&self, work: impl std::future::Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let mut closing = self.closing.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                // An error means that the room was dropped.
                _ = closing.wait_for(|closing| *closing) => {}
            }
        })
    }

    fn dials(&self) -> MutexGuard<'_, Dials> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Sends messages no honest node would.
    #[cfg(test)]
    pub(super) fn send_raw(&self, peer: PublicKey, messages: Vec<super::segment::Wire>) -> Result<(), SendError> {
        self.lanes.enqueue(peer, || messages)?;
        self.manager.process_events();
        Ok(())
    }
}

fn make_manager(identity: Arc<Identity>, network: Network, lanes: Arc<Lanes>) -> Manager {
    let handlers = MessageHandler {
        chan_handler: Arc::new(Refuse { lanes: lanes.clone(), chain: ChainHash::using_genesis_block(network) }),
        route_handler: IgnoringMessageHandler {},
        onion_message_handler: IgnoringMessageHandler {},
        custom_message_handler: Arc::new(Handler { lanes }),
        send_only_message_handler: IgnoringMessageHandler {},
    };
    let mut random = [0; 32];
    rand::rngs::OsRng.fill_bytes(&mut random);
    // Only gossip, which this node does not send, uses the time.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    PeerManager::new(handlers, u32::try_from(now).unwrap_or(u32::MAX), &random, Arc::new(Log), identity)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening for peers beyond this machine");
    }
    TcpListener::bind(address).await.map_err(|error| StartError::Listen { address, why: error.to_string() })
}

/// Hands events to the node, one at a time. Ends when the node no longer listens.
async fn pump(lanes: Arc<Lanes>, sender: mpsc::Sender<PeerEvent>) {
    while sender.send(lanes.next_event().await).await.is_ok() {}
}

/// Pings peers, and ends connections that are silent or stuck.
async fn tick(manager: Arc<Manager>, lanes: Arc<Lanes>) {
    let mut every = tokio::time::interval(lanes.limits().ping_every.max(Duration::from_millis(1)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first one comes at once, and a connection may have just one tick to shake hands.
    every.tick().await;
    loop {
        every.tick().await;
        lanes.check_times(Instant::now());
        manager.timer_tick_occurred();
    }
}

/// Takes connections up to the limits. Dropping it ends them.
async fn accept(manager: Arc<Manager>, lanes: Arc<Lanes>, listener: TcpListener) {
    let limits = lanes.limits().clone();
    let mut links = tokio::task::JoinSet::new();
    let mut from: HashMap<tokio::task::Id, IpAddr> = HashMap::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = links.join_next_with_id() => {
                from.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
        };
        let Ok((stream, remote)) = accepted else {
            // Out of file handles, most likely: more of the same would only burn time.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let from_there = from.values().filter(|ip| **ip == remote.ip()).count();
        if links.len() >= limits.max_inbound || from_there >= limits.max_inbound_per_ip {
            tracing::info!(%remote, "connection refused: {} are open, {from_there} from there", links.len());
            continue;
        }
        let link = Link::new(true, remote.to_string());
        let task = links.spawn(serve(manager.clone(), lanes.clone(), link, stream));
        from.insert(task.id(), remote.ip());
    }
}
