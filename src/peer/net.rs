//! The room's handle: start, connect, send, look, stop.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::{PublicKey, SecretKey};
use bitcoin::Network;
use hypothec_oracle::listener;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::dial::{keep, Dial};
use super::identity::Identity;
use super::lanes::Lanes;
use super::link::{serve, Link, Transport};
use super::{
    ConnectError, Frame, Kinds, Limits, PeerAddress, PeerEvent, PeerStatus, SendError, Standing, StartError, Unreached,
};

/// How long [`PeerNet::shutdown`] waits for connections to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often an address that another program has is tried.
const FREE_AGAIN: Duration = Duration::from_secs(1);

/// The remembered addresses with the tasks that dial them.
type Dials = HashMap<PublicKey, (Arc<Dial>, JoinHandle<()>)>;

/// Where peers can connect.
#[derive(Clone, Debug)]
enum Listening {
    /// Nowhere.
    Off,
    At(SocketAddr),
    /// Nowhere until the address can be used.
    Waits(StartError),
}

/// This node among its peers. Dropping it ends everything it started.
pub struct PeerNet {
    key: PublicKey,
    listening: Arc<Mutex<Listening>>,
    transport: Arc<Transport>,
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
            Some(address) => Some(bind(address)?),
            None => None,
        };
        let listening = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let listening = listening.map_or(Listening::Off, Listening::At);
        let identity = Arc::new(Identity::new(identity));
        let (sender, receiver) = mpsc::channel(limits.event_queue.max(1));
        let lanes = Arc::new(Lanes::new(identity.key(), kinds, limits));
        let chain = ChainHash::using_genesis_block(network);
        let net = PeerNet {
            key: identity.key(),
            listening: Arc::new(Mutex::new(listening)),
            transport: Arc::new(Transport { identity, chain, lanes: lanes.clone() }),
            lanes,
            dials: Mutex::default(),
            tasks: Mutex::default(),
            closing: watch::Sender::new(false),
        };
        net.spawn(pump(net.lanes.clone(), sender));
        if let Some(listener) = listener {
            net.spawn(accept(net.transport.clone(), listener));
        }
        Ok((net, receiver))
    }

    /// This node's key, which its peers must know.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Where it really listens.
    pub fn listening(&self) -> Option<SocketAddr> {
        match *lock(&self.listening) {
            Listening::At(address) => Some(address),
            Listening::Off | Listening::Waits(_) => None,
        }
    }

    /// Why it does not listen where it should, while it does not.
    pub fn not_listening(&self) -> Option<StartError> {
        match &*lock(&self.listening) {
            Listening::Waits(why) => Some(why.clone()),
            Listening::Off | Listening::At(_) => None,
        }
    }

    /// Listens at `address` as soon as that can be used, where `why` says why it cannot be now. Meanwhile peers are dialled
    /// as ever.
    pub fn listen_when_free(&self, address: SocketAddr, why: StartError) {
        *lock(&self.listening) = Listening::Waits(why);
        let (transport, listening) = (self.transport.clone(), self.listening.clone());
        self.spawn(async move {
            let listener = loop {
                tokio::time::sleep(FREE_AGAIN).await;
                match bind(address) {
                    Ok(listener) => break listener,
                    Err(why) => *lock(&listening) = Listening::Waits(why),
                }
            };
            tracing::info!(%address, "the address is free: peers can connect");
            *lock(&listening) = Listening::At(listener.local_addr().unwrap_or(address));
            accept(transport, listener).await;
        });
    }

    /// Takes a frame to be sent. Frames to one peer arrive in order, each whole or not at all; whether one arrived is
    /// known only from the peer's answer.
    pub fn send(&self, peer: PublicKey, frame: Frame) -> Result<(), SendError> {
        self.lanes.send(peer, frame)?.flush();
        Ok(())
    }

    /// Keeps the address, connects, and connects again whenever the connection is lost. A second call ends a pause, or
    /// tries another address beside the present connection: it is kept instead once the peer has proved its key there.
    pub fn connect(&self, address: PeerAddress) -> Result<(), ConnectError> {
        if address.key == self.key {
            return Err(ConnectError::Myself(address.key));
        }
        self.lanes.places().keep(address.key);
        self.dial(address.key, |dial| dial.keep(address.clone()));
        Ok(())
    }

    /// Tries to connect there for some time, unless there is a connection. Nothing is kept of it until the peer has proved
    /// its key there.
    pub fn try_at(&self, address: PeerAddress, time: Duration) -> Result<(), ConnectError> {
        if address.key == self.key {
            return Err(ConnectError::Myself(address.key));
        }
        if !self.is_connected(address.key) {
            self.dial(address.key, |dial| dial.try_at(address.clone(), time));
        }
        Ok(())
    }

    /// Tells the peer's dialling task something; one that has nothing left to dial is replaced.
    fn dial(&self, peer: PublicKey, tell: impl Fn(&Dial) -> bool) {
        let mut dials = self.dials();
        if !dials.get(&peer).is_some_and(|(dial, _)| tell(dial)) {
            let dial = Dial::new(peer);
            tell(&dial);
            let task = self.task(keep(self.transport.clone(), dial.clone()));
            dials.insert(peer, (dial, task));
        }
    }

    /// Where this peer is dialled: the first address named, or the last at which it proved its key.
    pub fn kept_address(&self, peer: PublicKey) -> Option<PeerAddress> {
        self.dials().get(&peer).and_then(|(dial, _)| dial.kept())
    }

    /// The connection there is with the peer of an address, where it is at another place and the peer never proved its key at
    /// this one.
    pub fn standing_beside(&self, address: &PeerAddress) -> Option<Standing> {
        let link = self.lanes.link(address.key)?;
        let is_there = link.remote == address.place() || self.kept_address(address.key).as_ref() == Some(address);
        (!is_there).then(|| Standing { remote: link.remote.clone(), inbound: link.inbound })
    }

    /// Why the peer was not reached at this address, where that was the last try.
    pub fn problem_at(&self, address: &PeerAddress) -> Option<Unreached> {
        self.dials().get(&address.key).and_then(|(dial, _)| dial.problem_at(&address.place()))
    }

    /// The peers that open loans are with: each has a place that no stranger takes.
    pub fn set_partners(&self, partners: HashSet<PublicKey>) {
        self.lanes.places().set_partners(partners);
    }

    /// Ends the present connection with a peer; a remembered one is dialled again.
    pub fn disconnect(&self, peer: PublicKey) {
        if let Some(link) = self.lanes.link(peer) {
            link.close("this node ended it");
            self.lanes.disconnected(&link);
        }
    }

    /// Stops dialling a peer and ends the present connection. The peer may still connect by itself.
    pub fn forget(&self, peer: PublicKey) {
        if let Some((_, task)) = self.dials().remove(&peer) {
            task.abort();
        }
        self.lanes.places().unkeep(&peer);
        self.disconnect(peer);
    }

    /// True while the peer is connected and its key proved.
    pub fn is_connected(&self, peer: PublicKey) -> bool {
        self.lanes.link(peer).is_some()
    }

    /// Every peer that is connected or remembered, in the order of their keys.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let absent = |key| PeerStatus {
            key,
            address: None,
            wanted: None,
            connected: false,
            inbound: false,
            remote: None,
            last_problem: None,
        };
        let mut peers: HashMap<PublicKey, PeerStatus> = HashMap::new();
        let mut dials = self.dials();
        dials.retain(|_, (dial, _)| !dial.is_over());
        for (key, (dial, _)) in dials.iter() {
            let status = peers.entry(*key).or_insert_with(|| absent(*key));
            status.address = dial.address();
            status.wanted = dial.wanted().map(|wanted| {
                let problem = dial.problem_at(&wanted.place());
                (wanted, problem)
            });
            status.last_problem = dial.problem();
        }
        drop(dials);
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
        for (_, link) in self.lanes.links() {
            link.close("this node is stopping");
        }
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

    /// How many connections have an LDK manager: each holds the identity.
    #[cfg(test)]
    pub(super) fn managers(&self) -> usize {
        Arc::strong_count(&self.transport.identity).saturating_sub(1)
    }

    #[cfg(test)]
    pub(super) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Sends messages no honest node would.
    #[cfg(test)]
    pub(super) fn send_raw(&self, peer: PublicKey, messages: Vec<super::segment::Wire>) -> Result<(), SendError> {
        self.lanes.enqueue(peer, || messages)?.flush();
        Ok(())
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = listener::bind(address);
    if listener.is_ok() && !address.ip().is_loopback() {
        tracing::warn!(%address, "listening for peers beyond this machine");
    }
    listener.map_err(|error| StartError::Listen { address, why: error.to_string() })
}

fn lock(listening: &Mutex<Listening>) -> MutexGuard<'_, Listening> {
    listening.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands events to the node, one at a time. Ends when the node no longer listens.
async fn pump(lanes: Arc<Lanes>, sender: mpsc::Sender<PeerEvent>) {
    while sender.send(lanes.next_event().await).await.is_ok() {}
}

/// Takes connections in. Dropping it ends them.
async fn accept(transport: Arc<Transport>, listener: TcpListener) {
    let places = transport.lanes.places().clone();
    let mut links = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = links.join_next() => continue,
        };
        while links.try_join_next().is_some() {}
        let Ok((stream, remote)) = accepted else {
            // Out of file handles, most likely: more of the same would only burn time.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let link = Link::new(true, remote.to_string());
        let place = places.arrive(&link, remote.ip());
        let serving = serve(transport.clone(), link, stream);
        links.spawn(async move {
            serving.await;
            drop(place);
        });
    }
}
