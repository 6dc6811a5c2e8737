//! How many bytes the negotiations of a lender may take, on disk and in memory: of one peer, and of all together.
//!
//! A negotiation counts from its beginning with all that it will take, so that each one begun can be finished. It ends
//! with the loan: either it is signed and paid for, or it came to nothing and its records are made brief.

use crate::loan::terms::{LoanId, Terms};
use bitcoin::secp256k1::PublicKey;
use std::collections::{BTreeMap, HashSet};

/// What one peer's negotiations may take: seventeen at once of 90 days on one oracle.
pub const BYTES_EACH: u64 = 64_000_000;
/// What those of all strangers may take, and as much again those of the peers of open loans.
pub const BYTES_ALL: u64 = 256_000_000;

/// What a negotiation takes on disk and in memory for the most signatures that a fixing may need, at some 770 bytes each.
const FIXING: u64 = 3_300_000;
/// And for each of its oracles: the announcement of the fixing, and of the touches of each day.
const ORACLE: u64 = 100_000;
const ORACLE_DAY: u64 = 4_000;

/// One negotiation.
#[derive(Debug)]
struct Held {
    peer: PublicKey,
    /// What it will take in all.
    expected: u64,
    /// Its log on disk. In memory it takes no more than that again.
    log: u64,
}

impl Held {
    fn bytes(&self) -> u64 {
        self.expected.max(self.log.saturating_mul(2))
    }
}

/// The negotiations that go on.
#[derive(Debug, Default)]
pub struct Negotiations {
    held: BTreeMap<LoanId, Held>,
}

impl Negotiations {
    /// One has begun, or its log has grown by so many bytes.
    pub fn grew(&mut self, loan: LoanId, peer: PublicKey, terms: &Terms, bytes: u64) {
        let new = || Held { peer, expected: expected(terms), log: 0 };
        let held = self.held.entry(loan).or_insert_with(new);
        held.log = held.log.saturating_add(bytes);
    }

    /// One has ended, with a loan or without.
    pub fn ended(&mut self, loan: &LoanId) {
        self.held.remove(loan);
    }

    /// Is there room for one more, on these terms, with this peer? `partners` are the peers of open loans, who have room
    /// of their own.
    pub fn has_room(&self, peer: &PublicKey, terms: &Terms, partners: &HashSet<PublicKey>) -> bool {
        let sum =
            |held: &mut dyn Iterator<Item = &Held>| held.fold(0, |sum: u64, held| sum.saturating_add(held.bytes()));
        let own = sum(&mut self.held.values().filter(|held| held.peer == *peer));
        let is_partner = partners.contains(peer);
        let all = sum(&mut self.held.values().filter(|held| partners.contains(&held.peer) == is_partner));
        let more = expected(terms);
        own.saturating_add(more) <= BYTES_EACH && all.saturating_add(more) <= BYTES_ALL
    }
}

/// The most bytes that a lender's negotiation of these terms takes on disk and in memory, before it ends.
pub fn expected(terms: &Terms) -> u64 {
    let oracles = u64::try_from(terms.oracles.len()).unwrap_or(u64::MAX);
    let days = u64::from(terms.days.0).saturating_add(1);
    let each = ORACLE.saturating_add(ORACLE_DAY.saturating_mul(days));
    FIXING.saturating_add(oracles.saturating_mul(each))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{key, reference, xonly};
    use crate::loan::units::Days;

    fn begun(negotiations: &mut Negotiations, peer: PublicKey, terms: &Terms, partners: &HashSet<PublicKey>) -> u32 {
        (0u32..10_000)
            .take_while(|_| {
                let has_room = negotiations.has_room(&peer, terms, partners);
                let mut id = negotiations.held.keys().next_back().map_or([0; 32], |last| last.0);
                let number = u32::from_be_bytes([id[0], id[1], id[2], id[3]]) + 1;
                id[..4].copy_from_slice(&number.to_be_bytes());
                if has_room {
                    negotiations.grew(LoanId(id), peer, terms, 1_000);
                }
                has_room
            })
            .count() as u32
    }

    #[test]
    fn one_peer_and_all_strangers_together_have_so_many_bytes_and_peers_with_open_loans_their_own() {
        let (terms, partners) = (reference(), HashSet::from([key(200)]));
        let mut negotiations = Negotiations::default();
        let one = begun(&mut negotiations, key(1), &terms, &partners);
        assert_eq!(u64::from(one), BYTES_EACH / expected(&terms));
        assert_eq!(begun(&mut negotiations, key(2), &terms, &partners), one, "another key has its own");
        let all: u32 =
            2 * one + (3..100).map(|peer| begun(&mut negotiations, key(peer), &terms, &partners)).sum::<u32>();
        assert_eq!(u64::from(all), BYTES_ALL / expected(&terms));
        println!("bound negotiation-budget {one} of one key at once, {all} of all strangers, of 90 days on one oracle");
        assert_eq!(begun(&mut negotiations, key(200), &terms, &partners), one, "no crowd takes a partner's room");
        // What has ended makes room again.
        let ended = *negotiations.held.keys().next().unwrap();
        negotiations.ended(&ended);
        assert_eq!(begun(&mut negotiations, key(150), &terms, &partners), 1);
    }

    #[test]
    fn what_is_really_held_counts_where_it_is_more_than_was_expected() {
        let (terms, partners) = (reference(), HashSet::new());
        let mut negotiations = Negotiations::default();
        negotiations.grew(LoanId([1; 32]), key(1), &terms, BYTES_EACH / 2);
        assert!(!negotiations.has_room(&key(1), &terms, &partners));
        assert!(negotiations.has_room(&key(2), &terms, &partners));
    }

    #[test]
    fn the_longest_loan_on_three_oracles_has_room() {
        let oracles = vec![xonly(1), xonly(2), xonly(3)];
        let terms = Terms { days: Days(365), oracles, threshold: 2, ..reference() };
        assert!(expected(&terms) <= BYTES_EACH / 2, "{}", expected(&terms));
    }
}
