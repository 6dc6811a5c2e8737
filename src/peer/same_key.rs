//! Two live connections of one key at once: two nodes answer with it, and both are told.
//!
//! A connection whose place a newer one of its key took is asked whether the peer still answers on it. A node that has
//! only lost its connection does not. One answer can be a crossing of two nodes' clocks or doings; a second one within
//! minutes is told to the peer on both connections. Never decides which of the two is right, and never ends a connection.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::secp256k1::PublicKey;

use super::segment::Wire;

/// The notice's type. It has no payload; what a later version puts into it is not read.
pub(super) const SAME_KEY: u16 = 42_905;
/// How long the peer has to answer on a connection that was replaced.
pub(super) const LOOK_TIME: Duration = Duration::from_secs(5);
/// Connections looked at in this way at a time, one of each key.
const LOOKS: usize = 8;
/// Two answers within this time are told.
const WITHIN: Duration = Duration::from_secs(600);
/// A peer is told, and what a peer tells is heard, not more often than this.
const PACE: Duration = Duration::from_secs(60);
/// Keys remembered at most.
const KEYS: usize = 256;

/// What is known of keys that more than one node answers with.
#[derive(Default)]
pub(super) struct SameKey {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looked_at: HashSet<PublicKey>,
    /// When a replaced connection of this key answered last, and when its nodes were told.
    answered: HashMap<PublicKey, (Instant, Option<Instant>)>,
    /// When a peer said last that another node answers with our key.
    heard: HashMap<PublicKey, Instant>,
}

/// One connection that is looked at; given back when this is dropped.
pub(super) struct Look {
    all: Arc<SameKey>,
    peer: PublicKey,
}

impl SameKey {
    /// A live-looking connection of this peer is being replaced: may it be looked at?
    pub(super) fn look(self: &Arc<Self>, peer: PublicKey) -> Option<Look> {
        let mut state = self.state();
        let may = state.looked_at.len() < LOOKS && state.looked_at.insert(peer);
        may.then(|| Look { all: self.clone(), peer })
    }

    /// A peer says that another node answers with our key. False where it said so a moment ago.
    pub(super) fn hear(&self, peer: PublicKey, now: Instant) -> bool {
        let heard = &mut self.state().heard;
        heard.retain(|_, when| now.duration_since(*when) < PACE);
        if heard.len() >= KEYS || heard.contains_key(&peer) {
            return false;
        }
        heard.insert(peer, now);
        true
    }

    fn answered(&self, peer: PublicKey, now: Instant) -> bool {
        let answered = &mut self.state().answered;
        answered.retain(|_, (last, _)| now.duration_since(*last) < WITHIN);
        let Some((last, told)) = answered.get_mut(&peer) else {
            if answered.len() < KEYS {
                answered.insert(peer, (now, None));
            }
            return false;
        };
        *last = now;
        let tell = told.is_none_or(|told| now.duration_since(told) >= PACE);
        if tell {
            *told = Some(now);
        }
        tell
    }

    #[cfg(test)]
    pub(super) fn is_suspected(&self, peer: PublicKey) -> bool {
        self.state().answered.contains_key(&peer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// Whose connection it is.
    pub(super) fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The peer answered on it. True when its nodes are to be told.
    pub(super) fn answered(&self, now: Instant) -> bool {
        self.all.answered(self.peer, now)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.all.state().looked_at.remove(&self.peer);
    }
}

/// The message that says so.
pub(super) fn notice() -> Wire {
    Wire { kind: SAME_KEY, bytes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::secp256k1::{SecretKey, SECP256K1};

    fn key(number: u32) -> PublicKey {
        let mut secret = [1; 32];
        secret[28..].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_slice(&secret).unwrap().public_key(SECP256K1)
    }

    #[test]
    fn the_second_answer_within_minutes_is_told_and_then_once_a_minute() {
        let (all, start) = (SameKey::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!all.answered(key(1), start), "one is no pattern");
        assert!(!all.answered(key(2), after(1)), "another's is no second one");
        assert!(all.answered(key(1), after(2)));
        assert!(!all.answered(key(1), after(61)));
        assert!(all.answered(key(1), after(62)));
        assert!(!all.answered(key(1), after(62 + 600)), "long ago");
        println!("bound same-key-notices 1 a minute");
    }

    #[test]
    fn keys_looks_and_claims_are_bounded() {
        let (all, now) = (Arc::new(SameKey::default()), Instant::now());
        let looks: Vec<Look> = (0..100).filter_map(|number| all.look(key(number))).collect();
        assert_eq!(looks.len(), LOOKS);
        assert!(all.look(key(0)).is_none());
        drop(looks);
        let look = all.look(key(0)).unwrap();
        assert!(all.look(key(0)).is_none(), "one of each key");
        drop(look);
        assert_eq!((0..1_000).filter(|number| all.hear(key(*number), now)).count(), KEYS);
        assert!(!all.hear(key(0), now + PACE - Duration::from_secs(1)));
        assert!(all.hear(key(0), now + PACE));
        (0..1_000).for_each(|number| assert!(!all.answered(key(number), now)));
        assert_eq!(all.state().answered.len(), KEYS);
    }
}
