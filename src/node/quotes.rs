//! The quotes a lender has given and that can still be taken.
//!
//! A few for each peer, the newest; a bounded number in all. Where that is reached the oldest quote of a stranger gives
//! way, first of one that has gone: keys cost nothing, but connections are few, so who stays connected keeps its quote
//! whatever others do. Peers of open loans have room that strangers never take. Never on disk: a quote binds nobody
//! before it is taken.

use super::jobs::Given;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use bitcoin::secp256k1::PublicKey;
use bitcoin::Amount;
use std::collections::{BTreeMap, HashMap};

/// Open quotes of one peer: enough to compare a few.
const EACH: usize = 4;
/// Open quotes of strangers in all, about a kilobyte each; and as many again of the peers of open loans.
const MOST: usize = 2_000;

/// The open quotes.
#[derive(Debug, Default)]
pub struct QuoteBook {
    quotes: HashMap<LoanId, Entry>,
    /// By age: what gives way first stands first.
    strangers: BTreeMap<u64, LoanId>,
    partners: BTreeMap<u64, LoanId>,
    peers: HashMap<PublicKey, Vec<LoanId>>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    given: Given,
    number: u64,
}

impl QuoteBook {
    /// Writes a quote down. An older one of the same peer, or of a stranger, makes room where there is none.
    pub fn give(&mut self, given: Given, is_partner: bool, is_here: impl Fn(&PublicKey) -> bool) {
        let (id, peer) = (given.terms.id(), given.peer);
        self.remove(&id);
        while let Some(oldest) = self.peers.get(&peer).filter(|open| open.len() >= EACH).and_then(|open| open.first()) {
            let oldest = *oldest;
            self.remove(&oldest);
        }
        let crowd = if is_partner { &self.partners } else { &self.strangers };
        if crowd.len() >= MOST {
            let peer_of = |id: &LoanId| self.quotes.get(id).map(|entry| entry.given.peer);
            let gone = crowd.values().find(|id| peer_of(id).is_none_or(|peer| !is_here(&peer)));
            if let Some(out) = gone.or(crowd.values().next()).copied() {
                self.remove(&out);
            }
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        let crowd = if is_partner { &mut self.partners } else { &mut self.strangers };
        crowd.insert(number, id);
        self.peers.entry(peer).or_default().push(id);
        self.quotes.insert(id, Entry { given, number });
    }

    /// The open quote of this name, if it was given to this peer.
    pub fn of(&self, id: &LoanId, peer: &PublicKey) -> Option<&Given> {
        self.quotes.get(id).map(|entry| &entry.given).filter(|given| given.peer == *peer)
    }

    /// What is held for the quotes of every peer but this one: the largest of each, for it compares and takes one.
    pub fn held(&self, but: &PublicKey) -> Vec<Amount> {
        let others = self.peers.iter().filter(|(peer, _)| *peer != but);
        others.filter_map(|(_, open)| self.largest(open)).collect()
    }

    /// The same for every peer.
    pub fn held_of_all(&self) -> Vec<Amount> {
        self.peers.values().filter_map(|open| self.largest(open)).collect()
    }

    fn largest(&self, open: &[LoanId]) -> Option<Amount> {
        open.iter().filter_map(|id| self.quotes.get(id)).map(|entry| entry.given.coin).max()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.quotes.len()
    }

    /// All that are open, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Given> {
        self.quotes.values().map(|entry| &entry.given)
    }

    /// It was taken.
    pub fn remove(&mut self, id: &LoanId) {
        let Some(entry) = self.quotes.remove(id) else { return };
        self.strangers.remove(&entry.number);
        self.partners.remove(&entry.number);
        if let Some(open) = self.peers.get_mut(&entry.given.peer) {
            open.retain(|one| one != id);
            if open.is_empty() {
                self.peers.remove(&entry.given.peer);
            }
        }
    }

    /// Forgets what nobody can take any more.
    pub fn tick(&mut self, now: Time) {
        let over = self.quotes.iter().filter(|(_, entry)| entry.given.terms.expires < now);
        let over: Vec<LoanId> = over.map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.remove(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures;
    use bitcoin::secp256k1::{SecretKey, SECP256K1};

    fn key(number: u32) -> PublicKey {
        let mut secret = [1; 32];
        secret[28..].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_slice(&secret).unwrap().public_key(SECP256K1)
    }

    /// The quote of this number for a peer.
    fn given(peer: u32, number: u32) -> Given {
        let mut terms = fixtures::reference();
        terms.borrower = key(peer);
        terms.lender_nonce[..4].copy_from_slice(&number.to_be_bytes());
        let coin = Amount::from_sat(u64::from(number) * 1_000);
        Given { peer: key(peer), asked: terms.principal, terms, key_index: [0; 32], coin, making: Amount::ZERO }
    }

    fn is_open(book: &QuoteBook, peer: u32, number: u32) -> bool {
        book.of(&given(peer, number).terms.id(), &key(peer)).is_some()
    }

    fn sizes(book: &QuoteBook) -> (usize, usize, usize) {
        (book.quotes.len(), book.strangers.len() + book.partners.len(), book.peers.values().map(Vec::len).sum())
    }

    #[test]
    fn a_peer_keeps_its_newest_few_and_nobody_elses() {
        let mut book = QuoteBook::default();
        for number in 0..6 {
            book.give(given(1, number), false, |_| true);
        }
        assert_eq!([0, 1, 2, 5].map(|number| is_open(&book, 1, number)), [false, false, true, true]);
        assert!(book.of(&given(1, 5).terms.id(), &key(2)).is_none());
        book.give(given(1, 5), false, |_| true);
        assert_eq!(sizes(&book), (4, 4, 4), "the same again is the same");
    }

    #[test]
    fn any_number_of_keys_fills_the_book_and_shuts_out_neither_who_is_here_nor_a_partner() {
        let mut book = QuoteBook::default();
        let is_here = |peer: &PublicKey| *peer == key(1);
        book.give(given(1, 0), false, is_here);
        book.give(given(2, 0), true, is_here);
        for peer in 10..6_000 {
            book.give(given(peer, 0), false, is_here);
        }
        assert_eq!(sizes(&book), (MOST + 1, MOST + 1, MOST + 1));
        assert!(is_open(&book, 1, 0) && is_open(&book, 2, 0) && is_open(&book, 5_999, 0));
        assert!(!is_open(&book, 10, 0), "the oldest of those that have gone gave way");
        for peer in 6_000..8_100 {
            book.give(given(peer, 0), false, |_| true);
        }
        assert!(!is_open(&book, 1, 0) && is_open(&book, 2, 0), "where all are here the oldest gives way");
    }

    #[test]
    fn coins_are_held_for_the_largest_quote_of_each_peer_while_it_stands() {
        let mut book = QuoteBook::default();
        for (peer, number) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            book.give(given(peer, number), false, |_| true);
        }
        let held = |book: &QuoteBook, but: u32| {
            let mut held: Vec<u64> = book.held(&key(but)).into_iter().map(Amount::to_sat).collect();
            held.sort_unstable();
            held
        };
        assert_eq!((held(&book, 3), held(&book, 1), held(&book, 2)), (vec![3_000, 9_000], vec![3_000], vec![9_000]));
        book.remove(&given(1, 9).terms.id());
        assert_eq!(held(&book, 2), [7_000]);
        book.tick(Time(given(1, 5).terms.expires.0 + 1));
        assert_eq!(held(&book, 3), [] as [u64; 0]);
    }

    #[test]
    fn what_is_taken_or_over_leaves_nothing() {
        let mut book = QuoteBook::default();
        book.give(given(1, 0), false, |_| true);
        book.give(given(1, 1), false, |_| true);
        book.remove(&given(1, 0).terms.id());
        let expires = given(1, 1).terms.expires;
        book.tick(expires);
        assert!(is_open(&book, 1, 1));
        book.tick(Time(expires.0 + 1));
        assert_eq!(sizes(&book), (0, 0, 0));
    }
}
