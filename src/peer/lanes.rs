//! One lane per peer: what waits for the node, what waits to be sent, and the message being put together.
//!
//! Lanes take turns, so a peer with much to say does not hold back another's messages.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bitcoin::secp256k1::PublicKey;
use tokio::sync::{watch, Notify};

use super::link::Link;
use super::places::Places;
use super::same_key::{notice, SameKey, SAME_KEY};
use super::segment::{split, Reassembly, Rules, Violation, Wire};
use super::{Frame, Kinds, Limits, PeerEvent, SendError};

/// The most Lightning messages given to the transport for one peer at a time; each is up to 64 KiB.
const GIVEN_AT_ONCE: usize = 4;
/// The most peers remembered while the node takes no events at all, besides those that have a place of their own.
const MAX_LANES: usize = 1024;

/// All lanes. Its lock is never held while the transport or the node is called.
pub(super) struct Lanes {
    own: PublicKey,
    kinds: Kinds,
    limits: Limits,
    places: Arc<Places>,
    same_key: Arc<SameKey>,
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

impl Lane {
    /// Is this its present connection?
    fn is_over(&self, link: &Link) -> bool {
        self.link.as_ref().is_some_and(|present| present.id() == link.id())
    }
}

impl Lanes {
    pub(super) fn new(own: PublicKey, kinds: Kinds, limits: Limits) -> Lanes {
        let places = Arc::new(Places::new(&limits));
        let (state, filled, changes) = (Mutex::default(), Notify::new(), watch::Sender::new(0));
        Lanes { own, kinds, limits, places, same_key: Arc::default(), state, filled, changes }
    }

    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
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

    /// A peer proved its key. Refused when there is no place for it, while the node has not even taken its earlier
    /// events, and when the connection that it has already is the one to keep.
    pub(super) fn connected(&self, peer: PublicKey, link: &Arc<Link>) -> Result<(), ()> {
        let mut state = self.state();
        let refuse = |why: &str| {
            link.close(why);
            Err(())
        };
        let reserved = self.places.is_reserved(&peer);
        if state.lanes.len() >= MAX_LANES && !reserved && !state.lanes.contains_key(&peer) {
            return refuse("too many peers wait for this node");
        }
        if let Some(lane) = state.lanes.get(&peer) {
            if lane.inbox.len() > self.limits.inbox_messages {
                return refuse("this node has not yet taken what the peer said before");
            }
            if lane.link.as_ref().is_some_and(|old| !self.replaces(old, link, peer)) {
                return refuse("the connection that the other side opened at the same time stays");
            }
        }
        if !self.places.prove(link, peer) {
            return refuse("there is no place for one more stranger");
        }
        self.look_at_replaced(&state, peer, link);
        self.end(&mut state, peer, "a newer connection of the same peer takes its place");
        // What a stranger can repeat at will leaves no line in the log.
        match reserved || !link.inbound {
            true => tracing::info!(%peer, remote = %link.remote, inbound = link.inbound, "peer connected"),
            false => tracing::debug!(%peer, remote = %link.remote, "peer connected"),
        }
        let _ = link.key.set(peer);
        if let Some((dial, address)) = &link.dialled {
            dial.proved(address);
            self.places.keep(peer);
        }
        state.lanes.entry(peer).or_default().link = Some(link.clone());
        self.push(&mut state, peer, PeerEvent::Connected(peer));
        Ok(())
    }

    /// Does a second connection of a peer take the place of the one it has? A peer opens one only when it has lost the
    /// first, also where this side has not noticed; so the newer one stays. When both sides have dialled at once it is
    /// the one that the lesser key opened, on both sides.
    fn replaces(&self, old: &Link, new: &Link, peer: PublicKey) -> bool {
        let opener = if new.inbound { peer } else { self.own };
        !self.crossed(old, new) || opener == self.own.min(peer)
    }

    fn crossed(&self, old: &Link, new: &Link) -> bool {
        old.inbound != new.inbound && old.age() < self.limits.crossing_time
    }

    /// A peer that has lost its connection does not answer on it. One that opened a second beside a live one may be two
    /// nodes.
    fn look_at_replaced(&self, state: &State, peer: PublicKey, new: &Link) {
        let Some(old) = state.lanes.get(&peer).and_then(|lane| lane.link.as_ref()) else { return };
        if new.inbound && !self.crossed(old, new) {
            old.look_at(self.same_key.look(peer));
        }
    }

    /// Two nodes answer with this key: says so on its present connection.
    pub(super) fn tell_same_key(&self, peer: PublicKey) {
        tracing::warn!(%peer, "two nodes answer with this peer's key; both are told");
        if let Ok(link) = self.enqueue(peer, || vec![notice()]) {
            link.flush();
        }
    }

    /// The connection is over. Says nothing when another has taken its place.
    pub(super) fn disconnected(&self, link: &Link) {
        let Some(peer) = link.key.get() else { return };
        let mut state = self.state();
        if state.lanes.get(peer).is_some_and(|lane| lane.is_over(link)) {
            self.end(&mut state, *peer, "this node ended it");
        }
    }

    /// Takes the present connection from a peer's lane, if it has one.
    fn end(&self, state: &mut State, peer: PublicKey, why: &str) {
        let Some(lane) = state.lanes.get_mut(&peer) else { return };
        let Some(link) = lane.link.take() else { return };
        lane.outbox = VecDeque::new();
        lane.outbox_bytes = 0;
        lane.reassembly = Reassembly::default();
        link.close(why);
        let reason = link.reason().unwrap_or_default();
        match self.places.is_reserved(&peer) || !link.inbound {
            true => tracing::info!(%peer, reason, "peer disconnected"),
            false => tracing::debug!(%peer, reason, "peer disconnected"),
        }
        self.push(state, peer, PeerEvent::Disconnected(peer));
    }

    /// A message came; an error disconnects the peer.
    pub(super) fn receive(&self, link: &Link, peer: PublicKey, message: Wire, now: Instant) -> Result<(), Violation> {
        let rules =
            Rules { kinds: &self.kinds, max_message: self.limits.max_message, time: self.limits.reassembly_time };
        let mut state = self.state();
        // What still comes over a connection that was replaced counts as lost.
        let Some(lane) = state.lanes.get_mut(&peer).filter(|lane| lane.is_over(link)) else { return Ok(()) };
        link.heard();
        if message.kind == SAME_KEY {
            if self.same_key.hear(peer, now) {
                self.push(&mut state, peer, PeerEvent::SameKey(peer));
            }
            return Ok(());
        }
        if let Some(frame) = lane.reassembly.take(message, &rules, now)? {
            lane.inbox_bytes = lane.inbox_bytes.saturating_add(frame.bytes.len());
            self.push(&mut state, peer, PeerEvent::Message(peer, frame));
        }
        Ok(())
    }

    /// Ends the connection when its message stays unfinished for too long.
    pub(super) fn check_time(&self, link: &Link, now: Instant) {
        let late = |lane: &Lane| lane.reassembly.check_time(self.limits.reassembly_time, now).err();
        if let Some(violation) = self.lane_of(link, late).flatten() {
            self.violation(link, &violation);
        }
    }

    /// Ends the connection of a peer that broke a rule, and says which.
    pub(super) fn violation(&self, link: &Link, violation: &Violation) {
        if let Some(peer) = link.key.get().filter(|peer| self.places.is_reserved(peer)) {
            tracing::warn!(%peer, remote = %link.remote, "peer is disconnected: it sent {violation}");
        }
        link.close(&format!("it sent {violation}"));
    }

    /// Takes a frame to be sent, over the connection given back, which must be flushed.
    pub(super) fn send(&self, peer: PublicKey, frame: Frame) -> Result<Arc<Link>, SendError> {
        if !self.kinds.accepts(frame.kind) {
            return Err(SendError::Kind(frame.kind));
        }
        if frame.bytes.len() > self.limits.max_message {
            return Err(SendError::TooLarge { found: frame.bytes.len(), most: self.limits.max_message });
        }
        self.enqueue(peer, || split(frame))
    }

    /// Puts messages on the way as they are. A test's hostile peer uses it directly.
    pub(super) fn enqueue(
        &self,
        peer: PublicKey,
        messages: impl FnOnce() -> Vec<Wire>,
    ) -> Result<Arc<Link>, SendError> {
        let mut state = self.state();
        let found = state.lanes.get_mut(&peer).and_then(|lane| Some((lane.link.clone()?, lane)));
        let (link, lane) = found.ok_or(SendError::NotConnected(peer))?;
        // One frame always fits into an empty outbox, whatever its size.
        if lane.outbox_bytes >= self.limits.outbox_bytes {
            return Err(SendError::Full { peer, waiting: lane.outbox_bytes });
        }
        for wire in messages() {
            lane.outbox_bytes = lane.outbox_bytes.saturating_add(weight(&wire));
            lane.outbox.push_back(wire);
        }
        Ok(link)
    }

    /// What the transport may have now for this connection: a little, as long as its socket keeps up.
    pub(super) fn outgoing(&self, link: &Link) -> Vec<(PublicKey, Wire)> {
        let mut state = self.state();
        let Some(peer) = link.key.get().filter(|_| link.is_ready() && !link.is_congested()) else { return Vec::new() };
        let Some(lane) = state.lanes.get_mut(peer).filter(|lane| lane.is_over(link)) else { return Vec::new() };
        let count = GIVEN_AT_ONCE.min(lane.outbox.len());
        let given: Vec<Wire> = lane.outbox.drain(..count).collect();
        for wire in &given {
            lane.outbox_bytes = lane.outbox_bytes.saturating_sub(weight(wire));
        }
        given.into_iter().map(|wire| (*peer, wire)).collect()
    }

    /// True when something waits to be sent on this connection.
    pub(super) fn has_outgoing(&self, link: &Link) -> bool {
        self.lane_of(link, |lane| !lane.outbox.is_empty()).unwrap_or(false)
    }

    /// True when more may be read from this connection.
    pub(super) fn has_room(&self, link: &Link) -> bool {
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
    pub(super) fn is_same_key_suspected(&self, peer: PublicKey) -> bool {
        self.same_key.is_suspected(peer)
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
        if matches!(event, PeerEvent::Connected(_) | PeerEvent::Disconnected(_)) {
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

    fn lane_of<T>(&self, link: &Link, look: impl FnOnce(&Lane) -> T) -> Option<T> {
        let state = self.state();
        let lane = state.lanes.get(link.key.get()?)?;
        lane.is_over(link).then(|| look(lane))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a message counts for in an outbox: its bytes and what keeping it costs.
fn weight(wire: &Wire) -> usize {
    wire.bytes.len().saturating_add(64)
}
