//! Files of loans on their way in, part by part: few, short, and only from whom they were asked of.

use crate::contract::recover::MOST_BYTES;
use crate::loan::terms::LoanId;
use crate::protocol::messages::LoanOfYours;
use bitcoin::secp256k1::PublicKey;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Bytes of one part.
pub const PART: usize = 1_000_000;
/// Files on their way in at once.
const FILES: usize = 4;
/// The longest wait for the next part.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole file that a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    /// By whom.
    pub peer: PublicKey,
    /// Of which loan, it says.
    pub loan: LoanId,
    /// A loan file's bytes, not read yet.
    pub bytes: Vec<u8>,
}

/// What came of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// There are more to come.
    More,
    /// That was the last.
    Whole(Candidate),
    /// The peer holds no other loan of ours.
    End,
    /// It is no file, and why.
    Dropped(&'static str),
    /// There is no place for it now.
    Full,
}

/// All that are on their way.
#[derive(Debug, Default)]
pub struct Files {
    coming: HashMap<PublicKey, Coming>,
}

#[derive(Debug)]
struct Coming {
    loan: [u8; 32],
    parts: u16,
    next: u16,
    bytes: Vec<u8>,
    last: Instant,
}

impl Files {
    /// Lets go of those whose next part has not come in time; their peers.
    pub fn forget(&mut self, now: Instant) -> Vec<PublicKey> {
        let late = |coming: &Coming| now.duration_since(coming.last) >= PATIENCE;
        let cut: Vec<PublicKey> = self.coming.iter().filter(|(_, one)| late(one)).map(|(peer, _)| *peer).collect();
        self.coming.retain(|_, coming| !late(coming));
        cut
    }

    /// Takes the next part of a peer that was asked. So many whole ones are still held.
    pub fn take(&mut self, peer: PublicKey, message: LoanOfYours, held: usize, now: Instant) -> Taken {
        let LoanOfYours { loan, part, parts, bytes } = message;
        if parts == 0 {
            self.coming.remove(&peer);
            return Taken::End;
        }
        if bytes.0.is_empty() || bytes.0.len() > PART || usize::from(parts) > MOST_BYTES.div_ceil(PART) {
            self.coming.remove(&peer);
            return Taken::Dropped("it is longer than a loan's file can be, or has empty parts");
        }
        if part == 0 {
            if self.coming.len().saturating_add(held) >= FILES && !self.coming.contains_key(&peer) {
                return Taken::Full;
            }
            self.coming.insert(peer, Coming { loan, parts, next: 0, bytes: Vec::new(), last: now });
        }
        let Some(mut coming) = self.coming.remove(&peer) else { return Taken::Dropped("its first part is missing") };
        if coming.loan != loan || coming.parts != parts || coming.next != part {
            return Taken::Dropped("its parts are out of order");
        }
        coming.bytes.extend(bytes.0);
        coming.next = coming.next.saturating_add(1);
        coming.last = now;
        if coming.next == parts {
            return Taken::Whole(Candidate { peer, loan: LoanId(loan), bytes: coming.bytes });
        }
        self.coming.insert(peer, coming);
        Taken::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::key;
    use crate::loan::tlv::Bytes;

    fn part(part: u16, parts: u16, length: usize) -> LoanOfYours {
        LoanOfYours { loan: [7; 32], part, parts, bytes: Bytes(vec![part as u8; length]) }
    }

    #[test]
    fn parts_in_order_are_a_file_and_anything_else_is_dropped() {
        let (now, mut files) = (Instant::now(), Files::default());
        assert_eq!(files.take(key(1), part(0, 2, 3), 0, now), Taken::More);
        assert_eq!(files.take(key(2), part(0, 1, 1), 0, now), Taken::Whole(candidate(key(2), &[0])));
        assert_eq!(files.take(key(1), part(1, 2, 1), 0, now), Taken::Whole(candidate(key(1), &[0, 0, 0, 1])));
        assert_eq!(files.take(key(1), part(1, 2, 1), 0, now), Taken::Dropped("its first part is missing"));
        assert_eq!(files.take(key(1), part(0, 3, 1), 0, now), Taken::More);
        assert_eq!(files.take(key(1), part(2, 3, 1), 0, now), Taken::Dropped("its parts are out of order"));
        assert_eq!(files.take(key(1), part(1, 3, 1), 0, now), Taken::Dropped("its first part is missing"));
        assert_eq!(files.take(key(1), LoanOfYours { parts: 0, ..part(0, 0, 0) }, 0, now), Taken::End);
    }

    #[test]
    fn peers_that_send_files_without_end_hold_four_of_seven_million_bytes_and_no_more() {
        let (now, mut files) = (Instant::now(), Files::default());
        for peer in 1..=20 {
            for number in 0..200 {
                files.take(key(peer), part(number, 7, PART), 0, now);
                if number > 5 {
                    break;
                }
            }
            files.take(key(peer), part(0, 7, PART), 0, now);
            for number in 1..6 {
                files.take(key(peer), part(number, 7, PART), 0, now);
            }
        }
        let held: usize = files.coming.values().map(|coming| coming.bytes.len()).sum();
        assert!(files.coming.len() == FILES && held <= FILES * MOST_BYTES, "{held}");
        assert_eq!(files.take(key(21), part(0, 1, 1), 0, now), Taken::Full);
        assert!(matches!(files.take(key(21), part(0, 8, PART), 0, now), Taken::Dropped(_)));
        assert!(matches!(files.take(key(21), part(0, 2, PART + 1), 0, now), Taken::Dropped(_)));
        assert_eq!(files.forget(now + PATIENCE).len(), FILES, "the silent are forgotten, and told of");
        assert!(matches!(files.take(key(21), part(0, 2, PART), 0, now + PATIENCE), Taken::More));
        println!("bound given-back-memory {} bytes", FILES * MOST_BYTES);
    }

    fn candidate(peer: PublicKey, bytes: &[u8]) -> Candidate {
        Candidate { peer, loan: LoanId([7; 32]), bytes: bytes.to_vec() }
    }
}
