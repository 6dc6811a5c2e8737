//! Places for the connections that peers open.
//!
//! Before a key is proved places are few and short, and a newcomer always gets one: the oldest connection from where
//! most come from gives way. With a proved key the peers this node has business with, those it has an open loan with and
//! those whose address it keeps, have a place each that nobody else can take. Everybody else is a stranger: strangers are
//! counted, by where they come from too, and one who says nothing gives way to a newcomer.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use hypothec_oracle::crowd::{district, fullest, gives_way, neighbourhood};

use super::link::Link;
use super::Limits;

/// All places.
pub(super) struct Places {
    state: Mutex<State>,
    proving: usize,
    strangers: usize,
    from_one: usize,
    silence: Duration,
}

#[derive(Default)]
struct State {
    /// By age.
    held: BTreeMap<u64, Held>,
    partners: HashSet<PublicKey>,
    kept: HashSet<PublicKey>,
}

struct Held {
    from: IpAddr,
    link: Arc<Link>,
    key: Option<PublicKey>,
}

/// A connection's place, given back when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().held.remove(&self.id);
    }
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Places {
        Places {
            state: Mutex::default(),
            proving: limits.max_proving.max(1),
            strangers: limits.max_inbound.max(1),
            from_one: limits.max_inbound_per_ip.max(1),
            silence: limits.silence_time,
        }
    }

    /// The peers that open loans are with.
    pub(super) fn set_partners(&self, partners: HashSet<PublicKey>) {
        self.state().partners = partners;
    }

    /// A peer whose address this node keeps.
    pub(super) fn keep(&self, peer: PublicKey) {
        self.state().kept.insert(peer);
    }

    /// Its address is kept no longer.
    pub(super) fn unkeep(&self, peer: &PublicKey) {
        self.state().kept.remove(peer);
    }

    /// Has this peer a place of its own?
    pub(super) fn is_reserved(&self, peer: &PublicKey) -> bool {
        self.state().is_reserved(peer)
    }

    /// Takes in a connection whose peer is not known yet, in the place of another if there is none free.
    pub(super) fn arrive(self: &Arc<Self>, link: &Arc<Link>, from: IpAddr) -> Place {
        let mut state = self.state();
        while state.held.values().filter(|held| held.key.is_none()).count() >= self.proving {
            let proving = state.held.iter().filter(|(_, held)| held.key.is_none());
            let Some(leaves) = gives_way(proving.map(|(id, held)| (*id, held.from))) else { break };
            state.end(leaves, "it did not prove its key before its place was wanted for a newer connection");
        }
        state.held.insert(link.id(), Held { from: neighbourhood(from), link: link.clone(), key: None });
        Place { places: self.clone(), id: link.id() }
    }

    /// The peer proved its key. `false` when it is a stranger for whom there is no place.
    pub(super) fn prove(&self, link: &Link, peer: PublicKey) -> bool {
        let mut state = self.state();
        // Gone already, or one that this node opened.
        let Some(from) = state.held.get(&link.id()).map(|held| held.from) else { return !link.inbound };
        if !state.is_reserved(&peer) && !self.make_room(&mut state, peer, from) {
            return false;
        }
        if let Some(held) = state.held.get_mut(&link.id()) {
            held.key = Some(peer);
        }
        true
    }

    fn make_room(&self, state: &mut State, newcomer: PublicKey, from: IpAddr) -> bool {
        // What it had before is about to be replaced.
        let is_stranger = |held: &&Held| held.key.is_some_and(|key| key != newcomer && !state.is_reserved(&key));
        let strangers: Vec<&Held> = state.held.values().filter(is_stranger).collect();
        let near: Vec<&Held> = strangers.iter().copied().filter(|held| held.from == from).collect();
        let leaves = match (near.len() >= self.from_one, strangers.len() >= self.strangers) {
            (true, _) => self.silent(&near),
            (false, true) => crowded(&strangers, from).or_else(|| self.silent(&strangers)),
            (false, false) => return true,
        };
        let Some(leaves) = leaves else { return false };
        state.end(leaves, "its place was wanted for another peer");
        true
    }

    /// The one that has been silent longest, if that is long.
    fn silent(&self, held: &[&Held]) -> Option<u64> {
        let longest = held.iter().max_by_key(|held| held.link.silence())?;
        (longest.link.silence() >= self.silence).then(|| longest.link.id())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest of the fullest district, unless the newcomer's own is as full.
fn crowded(strangers: &[&Held], newcomer: IpAddr) -> Option<u64> {
    let places = || strangers.iter().map(|held| (held.link.id(), district(held.from)));
    let own = places().filter(|(_, place)| *place == district(newcomer)).count();
    fullest(places()).filter(|(.., many)| *many > own.saturating_add(1)).map(|(oldest, ..)| oldest)
}

impl State {
    fn is_reserved(&self, peer: &PublicKey) -> bool {
        self.partners.contains(peer) || self.kept.contains(peer)
    }

    fn end(&mut self, id: u64, why: &str) {
        if let Some(held) = self.held.remove(&id) {
            held.link.close(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::secp256k1::{SecretKey, SECP256K1};

    fn key(number: u8) -> PublicKey {
        SecretKey::from_slice(&[number; 32]).unwrap().public_key(SECP256K1)
    }

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn places(silence: Duration) -> Arc<Places> {
        let limits = Limits {
            max_proving: 3,
            max_inbound: 3,
            max_inbound_per_ip: 2,
            silence_time: silence,
            ..Limits::default()
        };
        Arc::new(Places::new(&limits))
    }

    fn arrive(places: &Arc<Places>, from: &str) -> (Arc<Link>, Place) {
        let link = Link::new(true, from.to_owned());
        let place = places.arrive(&link, at(from));
        (link, place)
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_where_most_come_from() {
        let places = places(Duration::ZERO);
        let held: Vec<_> =
            ["198.51.100.1", "192.0.2.1", "192.0.2.1"].iter().map(|from| arrive(&places, from)).collect();
        let (newcomer, _place) = arrive(&places, "203.0.113.1");
        let closed: Vec<bool> = held.iter().map(|(link, _)| link.reason().is_some()).collect();
        assert_eq!((closed, newcomer.reason()), (vec![false, true, false], None));
        // Also one from where most come from already.
        let (latest, _place) = arrive(&places, "192.0.2.1");
        assert!(latest.reason().is_none() && held[0].0.reason().is_some());
    }

    #[test]
    fn partners_and_kept_peers_have_places_that_no_stranger_takes() {
        let places = places(Duration::MAX);
        places.set_partners([key(1)].into());
        places.keep(key(2));
        let mut held = Vec::new();
        let mut prove = |number: u8, from: &str| {
            let (link, place) = arrive(&places, from);
            let taken = places.prove(&link, key(number));
            if taken {
                held.push(place);
            }
            (taken, link)
        };
        // Strangers: two of one address, three in all; then the oldest gives way where most are from.
        let strangers = [(3, "192.0.2.1"), (4, "192.0.2.1"), (5, "192.0.2.1"), (5, "198.51.100.1"), (6, "203.0.113.1")];
        let taken: Vec<bool> = strangers.iter().map(|(number, from)| prove(*number, from).0).collect();
        assert_eq!(taken, [true, true, false, true, true]);
        assert!(prove(1, "192.0.2.1").0 && prove(2, "192.0.2.1").0, "they have their own");
        assert!(prove(5, "198.51.100.1").0, "a second of the same key replaces the first");
    }

    #[test]
    fn a_stranger_who_is_silent_gives_way() {
        let places = places(Duration::ZERO);
        let mut held = Vec::new();
        for (number, from) in [(3, "192.0.2.1"), (4, "198.51.100.1"), (5, "203.0.113.1")] {
            let (link, place) = arrive(&places, from);
            assert!(places.prove(&link, key(number)));
            held.push((link, place));
        }
        let (newcomer, _place) = arrive(&places, "100.64.0.1");
        assert!(places.prove(&newcomer, key(6)));
        assert_eq!(held.iter().filter(|(link, _)| link.reason().is_some()).count(), 1);
    }
}
