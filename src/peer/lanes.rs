//! One lane per peer: what waits for the node, what waits to be sent, and the message being put together.
//!
//! Lanes take turns, so a peer with much to say does not hold back another's messages.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bitcoin::secp256k1::PublicKey;
use tokio::sync::{watch, Notify};

use super::link::Link;
use super::segment::{split, Reassembly, Rules, Violation, Wire};
use super::{Frame, Kinds, Limits, PeerEvent, SendError};

/// The most Lightning messages given to the transport for one peer at a time; each is up to 64 KiB.
const GIVEN_AT_ONCE: usize = 4;
/// The most peers remembered while the node takes no events at all.
const MAX_LANES: usize = 1024;

/// All lanes. Its lock is never held while the transport or the node is called.
pub(super) struct Lanes {
    kinds: Kinds,
    limits: Limits,
    state: Mutex<State>,
    filled: Notify,
    /// Counts connections made and lost.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    lanes: HashMap<PublicKey, Lane>,
    /// Peers with events waiting for the node, in the order of their turns.
    turns: VecDeque<PublicKey>,
}

#[derive(Default)]
struct Lane {
    link: Option<Arc<Link>>,
    inbox: VecDeque<PeerEvent>,
    inbox_bytes: usize,
    outbox: VecDeque<Wire>,
    outbox_bytes: usize,
    reassembly: Reassembly,
}

impl Lanes {
    pub(super) fn new(kinds: Kinds, limits: Limits) -> Lanes {
        Lanes { kinds, limits, state: Mutex::default(), filled: Notify::new(), changes: watch::Sender::new(0) }
    }

    pub(super) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Tells of every connection made or lost from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The present connection with a peer.
    pub(super) fn link(&self, peer: PublicKey) -> Option<Arc<Link>> {
        self.state().lanes.get(&peer).and_then(|lane| lane.link.clone())
    }

    /// Every peer that is connected.
    pub(super) fn links(&self) -> Vec<(PublicKey, Arc<Link>)> {
        self.state().lanes.iter().filter_map(|(peer, lane)| Some((*peer, lane.link.clone()?))).collect()
    }

    /// A peer proved its key. Refused while the node has not even taken its earlier events.
    pub(super) fn connected(&self, peer: PublicKey, link: Arc<Link>) -> Result<(), ()> {
        let mut state = self.state();
        if state.lanes.len() >= MAX_LANES && !state.lanes.contains_key(&peer) {
            link.close("too many peers wait for this node");
            return Err(());
        }
        let lane = state.lanes.entry(peer).or_default();
        if lane.link.is_some() || lane.inbox.len() > self.limits.inbox_messages {
            link.close("this node has not yet taken what the peer said before");
            return Err(());
        }
        tracing::info!(%peer, remote = %link.remote, inbound = link.inbound, "peer connected");
        let _ = link.key.set(peer);
        lane.link = Some(link);
        self.push(&mut state, peer, PeerEvent::Connected(peer));
        Ok(())
    }

    pub(super) fn disconnected(&self, peer: PublicKey) {
        let mut state = self.state();
        let Some(lane) = state.lanes.get_mut(&peer) else { return };
        let Some(link) = lane.link.take() else { return };
        lane.outbox = VecDeque::new();
        lane.outbox_bytes = 0;
        lane.reassembly = Reassembly::default();
        let reason = link.reason().unwrap_or_default();
        tracing::info!(%peer, reason, "peer disconnected");
        self.push(&mut state, peer, PeerEvent::Disconnected(peer));
    }

    /// A message came; an error disconnects the peer.
    pub(super) fn receive(&self, peer: PublicKey, message: Wire, now: Instant) -> Result<(), Violation> {
        let rules =
            Rules { kinds: &self.kinds, max_message: self.limits.max_message, time: self.limits.reassembly_time };
        let mut state = self.state();
        let Some(lane) = state.lanes.get_mut(&peer) else { return Ok(()) };
        if let Some(frame) = lane.reassembly.take(message, &rules, now)? {
            lane.inbox_bytes = lane.inbox_bytes.saturating_add(frame.bytes.len());
            self.push(&mut state, peer, PeerEvent::Message(peer, frame));
        }
        Ok(())
    }

    /// Disconnects peers whose message stays unfinished for too long.
    pub(super) fn check_times(&self, now: Instant) {
        let time = self.limits.reassembly_time;
        let late = |lane: &Lane| lane.reassembly.check_time(time, now).err();
        let late: Vec<_> = self.state().lanes.iter().filter_map(|(peer, lane)| Some((*peer, late(lane)?))).collect();
        for (peer, violation) in late {
            self.violation(peer, &violation);
        }
    }

    /// Disconnects a peer that broke a rule, and says which.
    pub(super) fn violation(&self, peer: PublicKey, violation: &Violation) {
        let Some(link) = self.link(peer) else { return };
        tracing::warn!(%peer, remote = %link.remote, "peer is disconnected: it sent {violation}");
        link.close(&format!("it sent {violation}"));
    }

    /// Takes a frame to be sent. The transport must be told to process its events.
    pub(super) fn send(&self, peer: PublicKey, frame: Frame) -> Result<(), SendError> {
        if !self.kinds.accepts(frame.kind) {
            return Err(SendError::Kind(frame.kind));
        }
        if frame.bytes.len() > self.limits.max_message {
            return Err(SendError::TooLarge { found: frame.bytes.len(), most: self.limits.max_message });
        }
        self.enqueue(peer, || split(frame))
    }

    /// Puts messages on the way as they are. A test's hostile peer uses it directly.
    pub(super) fn enqueue(&self, peer: PublicKey, messages: impl FnOnce() -> Vec<Wire>) -> Result<(), SendError> {
        let mut state = self.state();
        let lane = state.lanes.get_mut(&peer).filter(|lane| lane.link.is_some());
        let lane = lane.ok_or(SendError::NotConnected(peer))?;
        // One frame always fits into an empty outbox, whatever its size.
        if lane.outbox_bytes >= self.limits.outbox_bytes {
            return Err(SendError::Full { peer, waiting: lane.outbox_bytes });
        }
        for wire in messages() {
            lane.outbox_bytes = lane.outbox_bytes.saturating_add(weight(&wire));
            lane.outbox.push_back(wire);
        }
        Ok(())
    }

    /// What the transport may have now: a little for every peer whose socket keeps up.
    pub(super) fn outgoing(&self) -> Vec<(PublicKey, Wire)> {
        let mut given = Vec::new();
        for (peer, lane) in &mut self.state().lanes {
            if lane.link.as_ref().is_some_and(|link| link.is_ready() && !link.is_congested()) {
                let count = GIVEN_AT_ONCE.min(lane.outbox.len());
                for wire in lane.outbox.drain(..count) {
                    lane.outbox_bytes = lane.outbox_bytes.saturating_sub(weight(&wire));
                    given.push((*peer, wire));
                }
            }
        }
        given
    }

    /// True when something waits to be sent on this connection.
    pub(super) fn has_outgoing(&self, link: &Arc<Link>) -> bool {
        self.lane_of(link, |lane| !lane.outbox.is_empty()).unwrap_or(false)
    }

    /// True when more may be read from this connection.
    pub(super) fn has_room(&self, link: &Arc<Link>) -> bool {
        self.lane_of(link, |lane| self.lane_has_room(lane)).unwrap_or(true)
    }

    /// Waits for the next event; peers take turns.
    pub(super) async fn next_event(&self) -> PeerEvent {
        loop {
            if let Some(event) = self.take_event() {
                return event;
            }
            self.filled.notified().await;
        }
    }

    #[cfg(test)]
    pub(super) fn has_message_from(&self, peer: PublicKey) -> bool {
        self.state().lanes.get(&peer).is_some_and(|lane| !lane.inbox.is_empty())
    }

    fn take_event(&self) -> Option<PeerEvent> {
        let mut state = self.state();
        let peer = state.turns.pop_front()?;
        let lane = state.lanes.get_mut(&peer)?;
        let event = lane.inbox.pop_front();
        if let Some(PeerEvent::Message(_, frame)) = &event {
            lane.inbox_bytes = lane.inbox_bytes.saturating_sub(frame.bytes.len());
        }
        if let Some(link) = lane.link.as_ref().filter(|_| self.lane_has_room(lane)) {
            link.resume();
        }
        if !lane.inbox.is_empty() {
            state.turns.push_back(peer);
        } else if lane.link.is_none() {
            state.lanes.remove(&peer);
        }
        event
    }

    fn push(&self, state: &mut State, peer: PublicKey, event: PeerEvent) {
        if !matches!(event, PeerEvent::Message(..)) {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        let lane = state.lanes.entry(peer).or_default();
        if lane.inbox.is_empty() {
            state.turns.push_back(peer);
        }
        lane.inbox.push_back(event);
        self.filled.notify_one();
    }

    fn lane_has_room(&self, lane: &Lane) -> bool {
        lane.inbox_bytes < self.limits.inbox_bytes && lane.inbox.len() < self.limits.inbox_messages
    }

    fn lane_of<T>(&self, link: &Arc<Link>, look: impl FnOnce(&Lane) -> T) -> Option<T> {
        let state = self.state();
        let lane = state.lanes.get(link.key.get()?)?;
        lane.link.as_ref().is_some_and(|present| Arc::ptr_eq(present, link)).then(|| look(lane))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a message counts for in an outbox: its bytes and what keeping it costs.
fn weight(wire: &Wire) -> usize {
    wire.bytes.len().saturating_add(64)
}
