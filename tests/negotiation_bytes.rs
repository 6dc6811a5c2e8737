//! What a negotiation takes of a lender's disk and memory: really, and as it is counted beforehand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::Cast;
use hypothec::contract::Role;
use hypothec::node::limits;
use hypothec::protocol::{Event, Loan, Recorded};

const COPIES: u64 = 20;

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

/// A lender's log as long as it gets before the loan is signed.
fn log(cast: &Cast, days: u32) -> (common::Negotiated, Vec<Recorded>) {
    let negotiated = common::negotiate(cast, cast.terms(days));
    let at = negotiated.terms.start;
    let coin = negotiated.funding.input[0].previous_output;
    let events = vec![
        Event::Agreed {
            role: Role::Lender,
            peer: negotiated.terms.borrower,
            terms: Box::new(negotiated.terms.clone()),
            announcements: Box::new(negotiated.announcements.clone()),
            key_index: [9; 32],
            coins: Vec::new(),
            proven: vec![coin; 16],
        },
        Event::Ready { coin },
        Event::Accepted {
            offer: hypothec::contract::wire::write(&negotiated.offer),
            accept: hypothec::contract::wire::write(&negotiated.accepted.accept),
            fallback: negotiated.accepted.fallback,
            skeleton: Box::new(negotiated.skeleton.clone()),
        },
    ];
    (negotiated, events.into_iter().map(|event| Recorded { at, event }).collect())
}

#[test]
fn a_negotiation_takes_no_more_of_disk_and_memory_than_is_counted_for_it_before_it_begins() {
    let loans = [(Cast::new(), 1), (Cast::new(), 90), (Cast::new(), 365), (Cast::of(2, 3), 30)];
    // Kept, so that no memory is used twice.
    let (mut all, mut kept) = (Vec::new(), Vec::new());
    for (cast, days) in loans {
        let (negotiated, log) = log(&cast, days);
        let disk: u64 = log.iter().map(|one| serde_json::to_vec(one).unwrap().len() as u64).sum();
        // Many, so that what the allocator keeps for later is little beside them.
        let many = COPIES.max(60_000_000 / disk);
        let before = resident();
        let loans: Vec<Loan> = (0..many).map(|_| Loan::replay(&log).unwrap()).collect();
        let memory = (resident() - before) / many;
        assert!(loans.iter().all(Loan::is_negotiating));
        let (counted, oracles) = (limits::expected(&negotiated.terms), negotiated.terms.oracles.len());
        println!("bound negotiation-bytes {days} days, {oracles} oracles: {disk} of disk, {memory} of memory, {counted} counted");
        kept.push(loans);
        all.push((disk, memory, counted));
    }
    for (disk, memory, counted) in all {
        assert!(memory <= disk, "{memory} of {disk}");
        assert!(disk + memory <= counted, "{} of {counted}", disk + memory);
        assert!(counted <= 6 * (disk + memory), "{counted} for {}", disk + memory);
    }
}
