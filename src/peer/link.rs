//! One connection: a socket, the two tasks that move its bytes, and LDK's view of it.
//!
//! `lightning-net-tokio` does the same but reads as fast as bytes come; here reading pauses while the peer is over its
//! rate or the node is behind, so a fast peer is slowed down by TCP and not disconnected. LDK asks that calls about one
//! connection never overlap: `turn` sees to that.
//!
//! Each connection has an LDK manager of its own. One for all would refuse a second connection of a key before anybody
//! here hears of it; so whether a newcomer takes the place of a connection that is dead is decided in the lanes. It is made
//! once the peer has said something.

use std::hash::{Hash, Hasher};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use lightning::ln::peer_handler::{IgnoringMessageHandler, MessageHandler, PeerManager, SocketDescriptor};
use rand::RngCore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{watch, Notify};

use super::dial::Dial;
use super::handler::Handler;
use super::identity::{Identity, Log};
use super::lanes::Lanes;
use super::limits::Bucket;
use super::reached::Stopped;
use super::refuse::Refuse;
use super::same_key::{notice, Look, LOOK_TIME};
use super::segment::Wire;
use super::{Limits, PeerAddress, Unreached};

/// LDK's transport with our handlers, for one connection.
pub(super) type Manager = PeerManager<
    Descriptor,
    Arc<Refuse>,
    IgnoringMessageHandler,
    IgnoringMessageHandler,
    Arc<Log>,
    Arc<Handler>,
    Arc<Identity>,
    IgnoringMessageHandler,
>;

/// LDK recommends about 4 KiB per read, so that one peer does not keep the others waiting.
const READ_BYTES: usize = 4096;
/// The most bytes taken from LDK before the socket has taken them.
const WRITE_BYTES: usize = 128 << 10;
/// A connection that ends so soon after its key was proved found no place.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Why a connection ended on which no key was proved.
const LATE: &str = "it did not prove its key in time";
const LEFT_UNPROVED: &str = "the peer closed the connection before proving its key";

/// How long the last word to a peer of another network may take.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Bytes of the handshake that whoever dialled sends before its `init`: the first act, and the third.
const DIALLERS_ACTS: usize = 50 + 66;

/// What every connection is made with.
pub(super) struct Transport {
    pub identity: Arc<Identity>,
    pub chain: ChainHash,
    pub lanes: Arc<Lanes>,
}

impl Transport {
    fn manager(&self, link: &Arc<Link>) -> Arc<Manager> {
        let handlers = MessageHandler {
            chan_handler: Arc::new(Refuse {
                link: link.clone(),
                lanes: self.lanes.clone(),
                chain: self.chain,
                said: AtomicBool::new(false),
            }),
            route_handler: IgnoringMessageHandler {},
            onion_message_handler: IgnoringMessageHandler {},
            custom_message_handler: Arc::new(Handler { link: link.clone(), lanes: self.lanes.clone() }),
            send_only_message_handler: IgnoringMessageHandler {},
        };
        let mut random = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut random);
        // Only gossip, which this node does not send, uses the time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let manager = Arc::new(PeerManager::new(handlers, now, &random, Arc::new(Log), self.identity.clone()));
        // Its task keeps the manager alive, and with it what the manager knows of this link.
        let _ = link.manager.set(Arc::downgrade(&manager));
        manager
    }
}

/// One connection.
pub(super) struct Link {
    id: u64,
    /// True when the peer opened it.
    pub inbound: bool,
    /// The other end, as the system shows it.
    pub remote: String,
    /// The peer's key, once proved.
    pub key: OnceLock<PublicKey>,
    /// Who dialled it, and where.
    pub dialled: Option<(Arc<Dial>, PeerAddress)>,
    since: Instant,
    heard: Mutex<Instant>,
    manager: OnceLock<Weak<Manager>>,
    out: Mutex<Out>,
    written: Notify,
    resumed: Notify,
    closed: watch::Sender<Option<String>>,
    turn: Mutex<()>,
    ready: AtomicBool,
    proved: Notify,
    messages: AtomicU32,
    /// What it came to instead of a proof of the key.
    failure: OnceLock<Unreached>,
    /// A newer one took its place, and it is to be seen whether the peer still answers here.
    look: Mutex<Option<Look>>,
    /// Said here after its end, whatever the lane is.
    farewell: Mutex<Option<Wire>>,
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// LDK has more and must be told when there is room.
    more: bool,
    /// LDK has too much waiting for this peer to read more from it.
    paused: bool,
}

impl Link {
    /// A connection that a peer opened.
    pub(super) fn new(inbound: bool, remote: String) -> Arc<Link> {
        Link::made(inbound, remote, None)
    }

    /// A connection that this node opens.
    pub(super) fn to(dial: Arc<Dial>, address: PeerAddress) -> Arc<Link> {
        let remote = address.place();
        Link::made(false, remote, Some((dial, address)))
    }

    fn made(inbound: bool, remote: String, dialled: Option<(Arc<Dial>, PeerAddress)>) -> Arc<Link> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = Instant::now();
        Arc::new(Link {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            inbound,
            remote,
            key: OnceLock::new(),
            dialled,
            since: now,
            heard: Mutex::new(now),
            manager: OnceLock::new(),
            out: Mutex::default(),
            written: Notify::new(),
            resumed: Notify::new(),
            closed: watch::Sender::new(None),
            turn: Mutex::default(),
            ready: AtomicBool::new(false),
            proved: Notify::new(),
            messages: AtomicU32::new(0),
            failure: OnceLock::new(),
            look: Mutex::default(),
            farewell: Mutex::default(),
        })
    }

    /// Its number; a newer connection has a higher one.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// How long the peer has said nothing that this node reads; pings do not count.
    pub(super) fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// The peer said something.
    pub(super) fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// It comes to this instead of a connection; the first reason stands.
    pub(super) fn fail(&self, why: Unreached) {
        let _ = self.failure.set(why);
    }

    /// Gives LDK what waits to be sent.
    pub(super) fn flush(&self) {
        if let Some(manager) = self.manager.get().and_then(Weak::upgrade) {
            manager.process_events();
        }
    }

    /// Ends the connection; the first reason given is kept.
    pub(super) fn close(&self, why: &str) {
        self.closed.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(why.to_owned());
            }
            first
        });
    }

    /// Why the connection ended, once it has.
    pub(super) fn reason(&self) -> Option<String> {
        self.closed.borrow().clone()
    }

    /// True once the peer has proved its key and LDK takes messages for it.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// True while LDK still holds bytes for this peer that the socket has not taken.
    pub(super) fn is_congested(&self) -> bool {
        self.out().more
    }

    /// Lets the reader look again whether it may go on.
    pub(super) fn resume(&self) {
        self.resumed.notify_one();
    }

    /// It is about to be replaced: looks, once it has ended, whether the peer still answers here.
    pub(super) fn look_at(&self, look: Option<Look>) {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = look;
    }

    /// What is to be said here at the end, to whom.
    pub(super) fn take_farewell(&self) -> Option<(PublicKey, Wire)> {
        let wire = self.farewell.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((*self.key.get()?, wire))
    }

    /// Why the peer was not reached, or why the connection ended.
    pub(super) fn problem(&self) -> Unreached {
        let ended = || Unreached::Ended(self.reason().unwrap_or_default());
        self.failure.get().cloned().unwrap_or_else(ended)
    }

    pub(super) fn count_message(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the peer has proved its key, or the connection is over: then says why.
    pub(super) async fn settled(&self) -> Option<Unreached> {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            () = self.proved.notified() => None,
            _ = closed.wait_for(Option::is_some) => Some(self.problem()),
        }
    }

    async fn until_closed(&self) {
        // The sender lives in the link itself: waiting cannot fail.
        let _ = self.closed.subscribe().wait_for(Option::is_some).await;
    }
}

/// LDK's handle of a connection.
#[derive(Clone)]
pub(super) struct Descriptor(Arc<Link>);

impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Descriptor {}

impl Hash for Descriptor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl SocketDescriptor for Descriptor {
    fn send_data(&mut self, data: &[u8], continue_read: bool) -> usize {
        let taken = {
            let mut out = self.0.out();
            out.paused = !continue_read;
            let room = WRITE_BYTES.saturating_sub(out.bytes.len()).min(data.len());
            let taken = data.get(..room).unwrap_or_default();
            out.bytes.extend_from_slice(taken);
            out.more = taken.len() < data.len();
            taken.len()
        };
        self.0.written.notify_one();
        if continue_read {
            self.0.resume();
        }
        taken
    }

    fn disconnect_socket(&mut self) {
        self.0.close("the transport ended it (no answer to pings, a broken rule, or this node's wish)");
    }
}

/// Runs a connection that a peer opened until it ends. One that says nothing, or gave way before its turn came, costs no
/// more than its socket: most of what a connection takes is its manager.
pub(super) async fn serve(transport: Arc<Transport>, link: Arc<Link>, stream: TcpStream) {
    let left = transport.lanes.limits().handshake_time.saturating_sub(link.age());
    let mut first = [0; 1];
    let said = tokio::select! {
        biased;
        () = link.until_closed() => return,
        said = tokio::time::timeout(left, stream.peek(&mut first)) => said,
    };
    match said {
        Ok(Ok(1..)) => {}
        Ok(_) => return link.close(LEFT_UNPROVED),
        Err(_) => return link.close(LATE),
    }
    let manager = transport.manager(&link);
    if manager.new_inbound_connection(Descriptor(link.clone()), None).is_ok() {
        run(manager, &transport.lanes, link, stream).await;
    }
}

/// Runs a connection to the peer that must prove `key` until it ends.
pub(super) async fn reach(transport: &Transport, link: Arc<Link>, stream: TcpStream, key: PublicKey) {
    let manager = transport.manager(&link);
    if let Ok(hello) = manager.new_outbound_connection(key, Descriptor(link.clone()), None) {
        link.out().bytes.extend_from_slice(&hello);
        link.written.notify_one();
        run(manager, &transport.lanes, link, stream).await;
    }
}

async fn run(manager: Arc<Manager>, lanes: &Lanes, link: Arc<Link>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let ending = Ending { manager: manager.clone(), link: link.clone() };
    let why = tokio::select! {
        () = link.until_closed() => "closed",
        why = read(&manager, lanes, &link, &mut reader) => why,
        why = write(&manager, lanes, &link, &mut writer) => why,
        () = tick(&manager, lanes, &link) => "closed",
    };
    link.close(why);
    if matches!(link.failure.get(), Some(Unreached::OtherNetwork(_))) {
        // Our `init` tells the peer why.
        let _ = tokio::time::timeout(LAST_WORD, write_out(&link, &mut writer)).await;
    }
    let look = link.look.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(look) = look {
        let looking = look_and_tell(&manager, lanes, &link, &look, &mut reader, &mut writer);
        let _ = tokio::time::timeout(LOOK_TIME, looking).await;
    }
    drop(ending);
}

/// Asks a peer on a connection that was replaced whether it is still there, and tells it what that means.
async fn look_and_tell(
    manager: &Manager,
    lanes: &Lanes,
    link: &Arc<Link>,
    look: &Look,
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
) -> Option<()> {
    let mut buffer = [0; READ_BYTES];
    // What was under way when it was replaced may come first; the pong comes after it.
    for _ in 0..2 {
        manager.timer_tick_occurred();
        write_out(link, writer).await?;
        let count = reader.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        let _turn = link.turn();
        manager.read_event(&mut Descriptor(link.clone()), buffer.get(..count)?).ok()?;
    }
    if look.answered(Instant::now()) {
        lanes.tell_same_key(look.peer());
        *link.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice());
        manager.process_events();
        write_out(link, writer).await?;
    }
    Some(())
}

/// Writes what LDK has given for this connection.
async fn write_out(link: &Link, writer: &mut OwnedWriteHalf) -> Option<()> {
    let bytes = mem::take(&mut link.out().bytes);
    writer.write_all(&bytes).await.ok()
}

/// Pings the peer, and ends the connection when it is silent or a message stays unfinished.
async fn tick(manager: &Manager, lanes: &Lanes, link: &Link) {
    let mut every = tokio::time::interval(lanes.limits().ping_every.max(Duration::from_millis(1)));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first one comes at once.
    every.tick().await;
    loop {
        every.tick().await;
        lanes.check_time(link, Instant::now());
        manager.timer_tick_occurred();
    }
}

/// Tells LDK that a connection is over, also when its task is dropped half way.
struct Ending {
    manager: Arc<Manager>,
    link: Arc<Link>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.link.close(
            "this node ended it, as where no answer comes for half a minute: see that its node runs and answers",
        );
        {
            let _turn = self.link.turn();
            self.manager.socket_disconnected(&Descriptor(self.link.clone()));
        }
    }
}

async fn read(manager: &Manager, lanes: &Lanes, link: &Arc<Link>, reader: &mut OwnedReadHalf) -> &'static str {
    let limits: &Limits = lanes.limits();
    let started = Instant::now();
    let mut bytes = Bucket::new(limits.bytes_per_second, limits.burst_bytes, started);
    let mut messages = Bucket::new(limits.messages_per_second, limits.burst_messages, started);
    let mut buffer = [0; READ_BYTES];
    // Bytes of the handshake, until the key is proved.
    let mut answered = 0usize;
    loop {
        while link.out().paused || !lanes.has_room(link) {
            link.resumed.notified().await;
        }
        let deadline = limits.handshake_time.saturating_sub(link.age());
        let read = match link.is_ready() {
            true => reader.read(&mut buffer).await,
            false => match tokio::time::timeout(deadline, reader.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    let _ = link.failure.set(Unreached::unproved(answered, Stopped::Silent));
                    return LATE;
                }
            },
        };
        let data = match read {
            Ok(0) if link.is_ready() => {
                // Nothing but the proof of its key.
                if link.age() < AT_ONCE && link.silence() >= link.age() {
                    let _ = link.failure.set(Unreached::TurnedAway);
                }
                return "the peer closed the connection";
            }
            Ok(0) => {
                let _ = link.failure.set(Unreached::unproved(answered, Stopped::Closed));
                return LEFT_UNPROVED;
            }
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(_) => return "the connection broke",
        };
        // Our `init` is given out before the peer's is read, which may end the connection.
        let acts = if link.inbound { DIALLERS_ACTS.saturating_sub(answered).min(data.len()) } else { 0 };
        let (acts, rest) = data.split_at(acts);
        let take = |part: &[u8]| {
            let _turn = link.turn();
            manager.read_event(&mut Descriptor(link.clone()), part)
        };
        let mut went = if acts.is_empty() { Ok(()) } else { take(acts) };
        if went.is_ok() && !rest.is_empty() {
            if !acts.is_empty() {
                manager.process_events();
            }
            went = take(rest);
        }
        if went.is_err() {
            if !link.is_ready() {
                let _ = link.failure.set(Unreached::unproved(answered, Stopped::Refused));
            }
            return "the transport refused what it sent";
        }
        answered = answered.saturating_add(data.len());
        // LDK calls the handler before it takes messages for the peer, so what is sent must wait until here.
        if link.key.get().is_some() {
            link.ready.store(true, Ordering::Release);
            link.proved.notify_one();
        }
        manager.process_events();
        let now = Instant::now();
        let count = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let wait = bytes.take(count, now).max(messages.take(link.messages.swap(0, Ordering::Relaxed), now));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

async fn write(manager: &Manager, lanes: &Lanes, link: &Arc<Link>, writer: &mut OwnedWriteHalf) -> &'static str {
    loop {
        let (bytes, more) = {
            let mut out = link.out();
            (mem::take(&mut out.bytes), out.more)
        };
        if bytes.is_empty() && !more {
            link.written.notified().await;
            continue;
        }
        if writer.write_all(&bytes).await.is_err() {
            return "the connection broke";
        }
        // Only now: while it is set, LDK is given nothing more for a peer whose socket is stuck.
        if mem::take(&mut link.out().more) {
            let _turn = link.turn();
            if manager.write_buffer_space_avail(&mut Descriptor(link.clone())).is_err() {
                return "the transport ended it";
            }
        }
        if lanes.has_outgoing(link) {
            manager.process_events();
        }
    }
}
