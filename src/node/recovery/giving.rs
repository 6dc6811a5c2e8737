//! A peer was restored without a loan it has with us: it is given what settles it, and people are told.

use super::super::core::Core;
use super::super::limits::Task;
use super::super::view::Severity;
use super::files::PART;
use crate::contract::recover::MOST_BYTES;
use crate::loan::terms::LoanId;
use crate::loan::tlv::Bytes;
use crate::protocol::messages::{LoanOfYours, LoansOfMine};
use crate::protocol::{Loan, Message};
use bitcoin::secp256k1::PublicKey;
use hypothec_oracle::bucket::{Bucket, Pace};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Files that one peer is given.
const EACH: Pace = Pace { burst: 8, per_minute: 1 };

/// Loans that one sentence names.
const MOST_NAMED: usize = 5;

/// What was given to whom.
#[derive(Debug, Default)]
pub struct Giving {
    /// Of peers with a loan here only.
    turns: HashMap<PublicKey, Bucket>,
    told: BTreeSet<LoanId>,
}

impl Giving {
    /// May this peer be given a file now?
    fn may_give(&mut self, peer: PublicKey, now: Instant) -> bool {
        self.turns.entry(peer).or_insert_with(|| Bucket::full(EACH, now)).take(1, now)
    }
}

impl Core {
    /// A peer names the loans with us that it knows: it gets the first other one, whole, or hears that there is none.
    pub(in crate::node) fn on_loans_of_mine(&mut self, peer: PublicKey, message: &LoansOfMine) {
        let now = Instant::now();
        if !self.limits.take(peer, Task::Work, now) {
            return;
        }
        let known: BTreeSet<LoanId> = message.known.iter().copied().map(LoanId).collect();
        let with = self.loans.values().filter(|loan| loan.peer == peer && loan.can_be_given_back());
        let (known, lost): (Vec<_>, Vec<_>) = with.cloned().partition(|loan| known.contains(&loan.id));
        self.tell_lost(peer, &known, &lost);
        // Files are megabytes: none is made that may not go out.
        if !lost.is_empty() && !self.recovery.giving.may_give(peer, now) {
            return;
        }
        let file =
            |loan: &Arc<Loan>| Some((loan.id, loan.file()?.to_tlv())).filter(|(_, file)| file.len() <= MOST_BYTES);
        let Some((loan, file)) = lost.iter().find_map(file) else {
            let end = LoanOfYours { loan: [0; 32], part: 0, parts: 0, bytes: Bytes(Vec::new()) };
            self.send(peer, &Message::LoanOfYours(end));
            return;
        };
        for message in parts(loan, &file) {
            if !self.send(peer, &Message::LoanOfYours(message)) {
                return;
            }
        }
        tracing::info!(%peer, %loan, "the peer asked for a loan it has lost; it was given back");
    }

    /// Says once of each loan that the other side lost it, and as long as it stands what to do.
    fn tell_lost(&mut self, peer: PublicKey, known: &[Arc<Loan>], lost: &[Arc<Loan>]) {
        let about = format!("restored peer {peer}");
        for loan in known {
            self.recovery.giving.told.remove(&loan.id);
        }
        if lost.is_empty() {
            return self.troubles.remove(&about);
        }
        let text = format!(
            "it says that it was restored and does not know {}. This node gives it back; both sides' exits go on from \
             here whether or not it comes back there. Keep this node running; should it last, ask the peer whether \
             its node runs and is connected",
            named(lost)
        );
        self.trouble(&about, text);
        for loan in lost {
            if self.recovery.giving.told.insert(loan.id) {
                let text = format!(
                    "the {} says that it no longer knows this loan: its node was restored without it; this node \
                     gives it back",
                    loan.role.other()
                );
                self.show_of(Some(loan.id), "peer_lost_loan", Severity::Warning, text);
            }
        }
    }
}

/// The first loans by id, and how many more there are.
fn named(loans: &[Arc<Loan>]) -> String {
    let ids = loans.iter().take(MOST_NAMED).map(|loan| loan.id.to_string()).collect::<Vec<_>>().join(", ");
    match loans.len().saturating_sub(MOST_NAMED) {
        0 => ids,
        more => format!("{ids} and {more} more loans"),
    }
}

/// A file as it travels.
fn parts(loan: LoanId, file: &[u8]) -> Vec<LoanOfYours> {
    let parts = u16::try_from(file.len().div_ceil(PART)).unwrap_or(u16::MAX);
    let part = |(part, bytes): (u16, &[u8])| LoanOfYours { loan: loan.0, part, parts, bytes: Bytes(bytes.to_vec()) };
    (0..).zip(file.chunks(PART)).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::super::files::{Files, Taken};
    use super::*;
    use crate::loan::fixtures::key;
    use std::time::Duration;

    #[test]
    fn a_file_of_any_length_that_is_given_comes_in_whole() {
        for length in [1, PART - 1, PART, PART + 1, MOST_BYTES] {
            let file: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let sent = parts(LoanId([7; 32]), &file);
            let mut files = Files::default();
            let last = sent.into_iter().map(|part| files.take(key(1), part, 0, Instant::now())).last();
            let Some(Taken::Whole(whole)) = last else { panic!("{length}: {last:?}") };
            assert!(whole.bytes == file, "{length}");
        }
    }

    #[test]
    fn a_peer_that_asks_without_end_is_given_eight_files_and_then_one_a_minute() {
        let (start, mut giving) = (Instant::now(), Giving::default());
        assert_eq!((0..100).filter(|_| giving.may_give(key(1), start)).count(), 8);
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| giving.may_give(key(1), later)).count(), 1);
        println!("bound given-back 8 files at once, then 1 a minute of at most {MOST_BYTES} bytes");
    }
}
