//! How much peers may make this node do, by key and in all: counted before any work is done.
//!
//! Keys cost nothing, so what strangers may do in all is bounded too, and apart from what the peers of open loans may do:
//! no crowd of strangers takes a partner's turn. Never knows what the work is, and never waits.

mod bytes;

pub use bytes::{expected, Negotiations, BYTES_EACH};

use crate::loan::terms::Terms;
use bitcoin::secp256k1::PublicKey;
use hypothec_oracle::bucket::{Bucket, Pace};
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// Keys remembered before those that have rested are forgotten, and keys remembered at most.
const KEYS: usize = 1_000;
const KEYS_MOST: usize = 4_000;

/// What a peer makes the node do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make a quote: some arithmetic, a question to the own bitcoind, a signature.
    Quote,
    /// Check what it says of a loan: coins, announcements, signatures, a proof.
    Work,
    /// Answer or make a repayment: what Work is, and questions to the loan's oracles.
    Repayment,
}

/// What one key may ask for.
const QUOTES_EACH: Pace = Pace { burst: 32, per_minute: 30 };
const WORK_EACH: Pace = Pace { burst: 64, per_minute: 120 };
/// A proposal that is refused is made anew after a block at the earliest: nobody who is honest needs more.
const REPAYMENTS_EACH: Pace = Pace { burst: 8, per_minute: 6 };
/// What strangers may ask for together, and as much again the peers of open loans.
const QUOTES_ALL: Pace = Pace { burst: 200, per_minute: 300 };
const WORK_ALL: Pace = Pace { burst: 130, per_minute: 240 };
const REPAYMENTS_ALL: Pace = Pace { burst: 40, per_minute: 60 };

/// All counts.
#[derive(Debug)]
pub struct Limits {
    strangers: Crowd,
    partners: Crowd,
    with_loans: HashSet<PublicKey>,
    /// The negotiations that go on, and what they take.
    pub negotiations: Negotiations,
}

impl Limits {
    /// Nobody has asked for anything.
    pub fn new(now: Instant) -> Limits {
        Limits {
            strangers: Crowd::new(now),
            partners: Crowd::new(now),
            with_loans: HashSet::new(),
            negotiations: Negotiations::default(),
        }
    }

    /// The peers of open loans.
    pub fn set_partners(&mut self, partners: HashSet<PublicKey>) {
        self.with_loans = partners;
    }

    /// Is there an open loan with this peer?
    pub fn is_partner(&self, peer: &PublicKey) -> bool {
        self.with_loans.contains(peer)
    }

    /// Is there room for one more negotiation with this peer?
    pub fn has_room(&self, peer: &PublicKey, terms: &Terms) -> bool {
        self.negotiations.has_room(peer, terms, &self.with_loans)
    }

    /// May this peer have that done now? Counts it if so.
    pub fn take(&mut self, peer: PublicKey, task: Task, now: Instant) -> bool {
        let crowd = if self.is_partner(&peer) { &mut self.partners } else { &mut self.strangers };
        crowd.take(peer, task, now)
    }
}

/// Peers who share one count.
#[derive(Debug)]
struct Crowd {
    all: Counts,
    each: HashMap<PublicKey, Counts>,
}

impl Crowd {
    fn new(now: Instant) -> Crowd {
        Crowd { all: Counts::new([QUOTES_ALL, WORK_ALL, REPAYMENTS_ALL], now), each: HashMap::new() }
    }

    fn take(&mut self, peer: PublicKey, task: Task, now: Instant) -> bool {
        if self.each.len() >= KEYS && !self.each.contains_key(&peer) {
            self.forget(now);
        }
        let own = self.each.entry(peer).or_insert_with(|| Counts::new([QUOTES_EACH, WORK_EACH, REPAYMENTS_EACH], now));
        own.seen = now;
        // Who is out of its own turns takes none of the others'.
        own.of(task).take(1, now) && self.all.of(task).take(1, now)
    }

    /// Forgets who has rested. Where that is not enough, who asked longest ago: it may begin anew, and all together are
    /// bounded anyway.
    fn forget(&mut self, now: Instant) {
        self.each.retain(|_, counts| !counts.is_rested(now));
        while self.each.len() >= KEYS_MOST {
            let Some(oldest) = self.each.iter().min_by_key(|(_, counts)| counts.seen).map(|(peer, _)| *peer) else {
                return;
            };
            self.each.remove(&oldest);
        }
    }
}

#[derive(Debug)]
struct Counts {
    quotes: Bucket,
    work: Bucket,
    repayments: Bucket,
    seen: Instant,
}

impl Counts {
    fn new(paces: [Pace; 3], now: Instant) -> Counts {
        let [quotes, work, repayments] = paces.map(|pace| Bucket::full(pace, now));
        Counts { quotes, work, repayments, seen: now }
    }

    fn of(&mut self, task: Task) -> &mut Bucket {
        match task {
            Task::Quote => &mut self.quotes,
            Task::Work => &mut self.work,
            Task::Repayment => &mut self.repayments,
        }
    }

    fn is_rested(&mut self, now: Instant) -> bool {
        self.quotes.is_full(now) && self.work.is_full(now) && self.repayments.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::secp256k1::{SecretKey, SECP256K1};
    use std::time::Duration;

    fn key(number: u32) -> PublicKey {
        let mut secret = [1; 32];
        secret[28..].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_slice(&secret).unwrap().public_key(SECP256K1)
    }

    fn taken(limits: &mut Limits, peer: u32, task: Task, now: Instant) -> usize {
        (0..10_000).take_while(|_| limits.take(key(peer), task, now)).count()
    }

    #[test]
    fn one_key_has_its_burst_and_then_its_pace() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        assert_eq!(taken(&mut limits, 1, Task::Quote, start), 32);
        assert_eq!(taken(&mut limits, 1, Task::Work, start), 64, "one is not the other");
        assert_eq!(taken(&mut limits, 2, Task::Quote, start), 32, "another key has its own");
        assert_eq!(taken(&mut limits, 1, Task::Quote, start + Duration::from_secs(60)), 30);
    }

    #[test]
    fn a_partner_has_eight_repayments_answered_and_then_one_in_ten_seconds_and_all_together_one_a_second() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        assert_eq!(taken(&mut limits, 1, Task::Repayment, start), 8);
        assert_eq!(taken(&mut limits, 1, Task::Repayment, start + Duration::from_secs(60)), 6);
        let later = start + Duration::from_secs(600);
        let all: usize = (2..100).map(|peer| taken(&mut limits, peer, Task::Repayment, later)).sum();
        assert_eq!(all, 40);
        println!("bound asked-by-repayments {} answers a minute of all partners together", REPAYMENTS_ALL.per_minute);
    }

    #[test]
    fn any_number_of_keys_together_has_no_more_than_the_crowd() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let all: usize = (0..500).map(|peer| taken(&mut limits, peer, Task::Quote, start)).sum();
        assert_eq!(all, 200);
        let later = start + Duration::from_secs(60);
        let all: usize = (1_000..1_500).map(|peer| taken(&mut limits, peer, Task::Quote, later)).sum();
        assert_eq!(all, 200, "at a pace of five a second the burst is there again");
    }

    #[test]
    fn a_crowd_of_strangers_takes_no_turn_of_a_peer_with_an_open_loan() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        limits.set_partners([key(9_999)].into());
        for peer in 0..500 {
            taken(&mut limits, peer, Task::Work, start);
        }
        assert_eq!(taken(&mut limits, 9_999, Task::Work, start), 64);
        limits.set_partners(HashSet::new());
        assert_eq!(taken(&mut limits, 9_999, Task::Work, start), 0);
    }

    #[test]
    fn who_is_out_of_its_own_turns_takes_none_of_the_others() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        for _ in 0..10_000 {
            limits.take(key(1), Task::Work, start);
        }
        assert_eq!(taken(&mut limits, 2, Task::Work, start), 64);
    }

    #[test]
    fn keys_are_remembered_up_to_a_bound() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        for peer in 0..6_000 {
            limits.take(key(peer), Task::Quote, start);
        }
        assert!(limits.strangers.each.len() <= KEYS_MOST);
        limits.take(key(6_001), Task::Quote, start + Duration::from_secs(600));
        assert_eq!(limits.strangers.each.len(), 1, "who has rested is forgotten");
    }
}
