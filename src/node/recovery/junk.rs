//! What peers give that is no loan of this node: told to a person, and seldom, whoever sends it and however often.

use bitcoin::secp256k1::PublicKey;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often it is told of one peer.
const EACH: Duration = Duration::from_secs(3_600);
/// How often of peers that no person has named, all together: keys cost nothing.
const STRANGERS: Duration = Duration::from_secs(600);
/// The most peers remembered.
const MOST: usize = 1_000;

/// Of whom it was told, and when.
#[derive(Debug, Default)]
pub struct Junk {
    told: HashMap<PublicKey, Instant>,
    strangers: Option<Instant>,
}

impl Junk {
    /// Is a person to be told that this peer gave junk?
    pub fn is_news(&mut self, peer: PublicKey, is_named: bool, now: Instant) -> bool {
        self.told.retain(|_, at| now.duration_since(*at) < EACH);
        let lately = self.strangers.is_some_and(|at| now.duration_since(at) < STRANGERS);
        if self.told.contains_key(&peer) || self.told.len() >= MOST || (lately && !is_named) {
            return false;
        }
        if !is_named {
            self.strangers = Some(now);
        }
        self.told.insert(peer, now);
        true
    }

    /// A person named this peer: what it gives next is told of again.
    pub fn forget(&mut self, peer: &PublicKey) {
        self.told.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::key;

    #[test]
    fn junk_is_told_once_an_hour_of_each_peer_and_of_all_strangers_six_times() {
        let (mut junk, now) = (Junk::default(), Instant::now());
        assert!(junk.is_news(key(1), false, now) && !junk.is_news(key(1), false, now));
        assert!(junk.is_news(key(2), true, now), "a peer that a person named is never drowned by strangers");
        assert!(!junk.is_news(key(2), true, now));
        junk.forget(&key(2));
        assert!(junk.is_news(key(2), true, now), "named again");
        let hour: usize = (1..3_600u32)
            .filter(|second| {
                junk.is_news(
                    key(3 + u8::try_from(second % 200).unwrap()),
                    false,
                    now + Duration::from_secs((*second).into()),
                )
            })
            .count();
        assert_eq!(hour, 5);
        println!("bound given-back-junk 1 an hour of a peer, {} of all strangers", hour + 1);
    }
}
