//! A restored node asks every peer that is there which loans it has lost.

use super::super::commands::PEERS;
use super::super::core::Core;
use super::super::jobs::{checks, recover, Key};
use super::super::tools::lock;
use super::super::view::{EventView, Severity};
use super::files::{Candidate, Files, Taken};
use super::junk::Junk;
use crate::loan::terms::LoanId;
use crate::protocol::messages::{LoanOfYours, LoansOfMine};
use crate::protocol::{Event, Input, Loan, Message, Stage};
use crate::store::Store;
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::BlockHash;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Name of the document of a node that was once restored.
const DOCUMENT: &str = "loans-lost";
/// What needs a person meanwhile.
const TROUBLE: &str = "loans of before";
/// How often it is looked who is there.
const LOOK: Duration = Duration::from_secs(1);
/// How often a peer that stays is asked again: a funding may have confirmed since.
const AGAIN: Duration = Duration::from_secs(600);
/// How soon one that was away.
const ON_RETURN: Duration = Duration::from_secs(60);
/// The most loans named in a question, and remembered as not taken.
const NAMED: usize = 1_000;

/// What is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Restored from words alone: no loan of before was in it.
    words_only: bool,
    /// Has a peer said that it holds no more?
    answered: bool,
}

/// What a job found out about a file.
#[derive(Debug)]
pub enum Found {
    /// A loan of ours: what to record, if this is still the chain's tip; and whether the words give its keys.
    Loan { events: Vec<Event>, tip: BlockHash, has_keys: bool },
    /// None of ours.
    Foreign(String),
    /// Ours by the coins it spends, and not taken.
    Refused(String),
    /// To be looked at again.
    Later(String),
}

/// Whom a restored node asked, and what is on its way.
pub struct Asking {
    store: Arc<dyn Store>,
    kept: Option<Kept>,
    looked: Option<Instant>,
    /// At which tip it was looked whether the chain shows a contract that may be lost, and whether it does.
    traces: Option<(BlockHash, bool)>,
    asked: HashMap<PublicKey, Asked>,
    files: Files,
    /// Whole files, the one that is looked at first.
    candidates: VecDeque<Arc<Candidate>>,
    tried: Option<Instant>,
    not_taken: HashMap<(PublicKey, LoanId), NotTaken>,
    junk: Junk,
}

/// A question to one peer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// When it is asked again.
    again: Instant,
    /// One answer to each question: what comes after it was not asked for.
    awaits: bool,
}

/// What else a peer's answer can be than a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It holds no other loan.
    NoMore,
    /// It is no file, and why.
    Junk(&'static str),
}

/// A file that led to no loan.
#[derive(Clone, Copy, Debug)]
struct NotTaken {
    at: Instant,
    told: bool,
}

impl Asking {
    pub(super) fn open(store: Arc<dyn Store>, is_restored: bool, has_loans: bool) -> anyhow::Result<Asking> {
        let read = store.get(DOCUMENT)?.map(|bytes| serde_json::from_slice(&bytes));
        let kept: Option<Kept> = read.transpose().context("read which loans were lost")?;
        let mut asking = Asking {
            store,
            kept,
            looked: None,
            traces: None,
            asked: HashMap::new(),
            files: Files::default(),
            candidates: VecDeque::new(),
            tried: None,
            not_taken: HashMap::new(),
            junk: Junk::default(),
        };
        if is_restored && kept.is_none() {
            asking.keep(Kept { words_only: !has_loans, answered: false })?;
        }
        Ok(asking)
    }

    fn keep(&mut self, kept: Kept) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(&kept)?;
        self.store.put(DOCUMENT, &bytes).context("keep which loans were lost")?;
        self.kept = Some(kept);
        Ok(())
    }

    /// Lets go of the file that was looked at.
    fn next(&mut self) -> Option<Arc<Candidate>> {
        self.tried = None;
        self.candidates.pop_front()
    }

    /// Remembers that this file is not taken. True where people are to be told and were not.
    fn refuse(&mut self, candidate: &Candidate, tell: bool, now: Instant) -> bool {
        self.not_taken.retain(|_, not| now.duration_since(not.at) < AGAIN.saturating_mul(6));
        let about = (candidate.peer, candidate.loan);
        let told = self.not_taken.get(&about).is_some_and(|not| not.told);
        if self.not_taken.len() >= NAMED && !self.not_taken.contains_key(&about) {
            return false;
        }
        self.not_taken.insert(about, NotTaken { at: now, told: told || tell });
        tell && !told
    }

    /// Takes a part from a peer that was asked and has not answered yet; nothing where that is not so.
    fn take(&mut self, peer: PublicKey, message: LoanOfYours, now: Instant) -> Option<Answer> {
        let asked = self.asked.get_mut(&peer).filter(|asked| asked.awaits)?;
        let taken = self.files.take(peer, message, self.candidates.len(), now);
        asked.awaits = taken == Taken::More;
        match taken {
            Taken::More => {}
            Taken::Dropped(why) => {
                asked.again = now + ON_RETURN;
                return Some(Answer::Junk(why));
            }
            Taken::Full => asked.again = now + ON_RETURN,
            Taken::Whole(candidate) => self.candidates.push_back(Arc::new(candidate)),
            Taken::End => return Some(Answer::NoMore),
        }
        None
    }
}

impl Core {
    /// Asks the peers that are there, once the chain has been read to its tip, and looks at what came.
    pub(in crate::node) fn mind_lost_loans(&mut self) {
        let Some(kept) = self.recovery.asking.kept else { return };
        // A wallet without a trace of a contract has lost none: nobody is sent to look for it.
        if kept.words_only && !kept.answered && self.has_traces() {
            let text = "what this node was restored from holds no loan, and the chain shows one of this wallet's. Connect to each \
                        peer you had one with, `peer connect KEY@HOST:PORT`: it gives the loan back. Peers that know this \
                        node's address come by themselves";
            self.trouble(TROUBLE, text.to_owned());
        }
        // On a part of the chain a loan that is open would be found unfunded.
        if !self.at_tip || !self.caught_up || !self.chain_gate.has_all {
            return;
        }
        self.look_at_candidate();
        let now = Instant::now();
        if self.recovery.asking.looked.is_some_and(|looked| now.duration_since(looked) < LOOK) {
            return;
        }
        self.recovery.asking.looked = Some(now);
        for peer in self.recovery.asking.files.forget(now) {
            if let Some(asked) = self.recovery.asking.asked.get_mut(&peer) {
                (asked.awaits, asked.again) = (false, now + ON_RETURN);
            }
            self.gave_junk(peer, "it began to send one and did not go on");
        }
        let here: Vec<PublicKey> =
            self.tools.net.peers().iter().filter(|peer| peer.connected).map(|peer| peer.key).collect();
        let asked = &mut self.recovery.asking.asked;
        asked.retain(|peer, asked| {
            let again = if here.contains(peer) { asked.again } else { asked.again.min(asked.at + ON_RETURN) };
            now < again
        });
        let unasked: Vec<PublicKey> = here.into_iter().filter(|peer| !asked.contains_key(peer)).collect();
        for peer in unasked {
            self.ask_for_loans(peer, now);
        }
    }

    /// Does the chain show a contract of this wallet's that may be open? Nothing before the chain has been read.
    fn has_traces(&mut self) -> bool {
        let known = self.recovery.asking.traces;
        let Some(tip) = self.tip.filter(|_| self.at_tip && self.caught_up) else {
            return known.is_some_and(|(_, is)| is);
        };
        match known {
            Some((at, is)) if at == tip => is,
            _ => {
                let is = lock(&self.tools.wallet).has_open_contract();
                self.recovery.asking.traces = Some((tip, is));
                if !is {
                    self.troubles.remove(TROUBLE);
                }
                is
            }
        }
    }

    /// A person named this peer: it is asked at the next look, whenever it was asked before.
    pub(in crate::node) fn ask_again(&mut self, peer: PublicKey) {
        let asking = &mut self.recovery.asking;
        asking.asked.remove(&peer);
        asking.not_taken.retain(|(of, _), _| *of != peer);
        asking.junk.forget(&peer);
    }

    fn ask_for_loans(&mut self, peer: PublicKey, now: Instant) {
        let with = self.loans.values().filter(|loan| loan.peer == peer && !may_be_lost(loan)).map(|loan| loan.id);
        let not_taken = self.recovery.asking.not_taken.keys().filter(|(of, _)| *of == peer).map(|(_, id)| *id);
        let known: Vec<[u8; 32]> = not_taken.chain(with).map(|id| id.0).take(NAMED).collect();
        if self.send(peer, &Message::LoansOfMine(LoansOfMine { known })) {
            self.recovery.asking.asked.insert(peer, Asked { at: now, again: now + AGAIN, awaits: true });
        }
    }

    /// A part of a loan that was asked for.
    pub(in crate::node) fn on_loan_of_yours(&mut self, peer: PublicKey, message: LoanOfYours) -> anyhow::Result<()> {
        match self.recovery.asking.take(peer, message, Instant::now()) {
            Some(Answer::NoMore) => self.on_no_more_loans(peer),
            Some(Answer::Junk(why)) => {
                self.gave_junk(peer, why);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What a peer gave is no loan of this node: a person is told of it, at a pace that no peer sets.
    fn gave_junk(&mut self, peer: PublicKey, why: &str) {
        tracing::debug!(%peer, "a loan given back is none of ours: {why}");
        let address = self.tools.store.get(&format!("{PEERS}{peer}")).ok().flatten();
        let is_named = address.is_some_and(|address| !address.is_empty());
        if self.recovery.asking.junk.is_news(peer, is_named, Instant::now()) {
            let text = format!(
                "peer {peer} gave something back that is no loan of this node, and it is not taken: {why}. Had you one \
                 with it, ask its operator, and then `peer connect` it again"
            );
            self.show_of(None, "loan_not_given_back", Severity::Notice, text);
        }
    }

    fn on_no_more_loans(&mut self, peer: PublicKey) -> anyhow::Result<()> {
        let Some(kept) = self.recovery.asking.kept.filter(|kept| !kept.answered) else { return Ok(()) };
        // Keys cost nothing: only who gave something back ends the search for a person.
        if !self.loans.values().any(|loan| loan.peer == peer) {
            return Ok(());
        }
        self.recovery.asking.keep(Kept { answered: true, ..kept })?;
        self.troubles.remove(TROUBLE);
        let text = format!(
            "peer {peer} holds no other loan of this node. Had you loans with others, connect to each: \
             `peer connect KEY@HOST:PORT`; what a peer holds comes back whenever it connects"
        );
        self.show_of(None, "no_more_loans", Severity::Notice, text);
        Ok(())
    }

    fn look_at_candidate(&mut self) {
        let asking = &mut self.recovery.asking;
        let Some(candidate) = asking.candidates.front().cloned() else { return };
        if asking.tried.is_some_and(|tried| tried.elapsed() < LOOK) || self.running.contains(&Key::Recover) {
            return;
        }
        asking.tried = Some(Instant::now());
        let work = recover::check(self.tools.clone(), candidate.clone());
        self.spawn(Key::Recover, None, candidate.loan.0, work);
    }

    /// A look ended in disorder: the same file would end the next one so.
    pub(in crate::node) fn drop_candidate(&mut self) {
        if let Some(candidate) = self.recovery.asking.next() {
            self.recovery.asking.refuse(&candidate, false, Instant::now());
        }
    }

    /// A file was looked at.
    pub(in crate::node) fn on_recovered(&mut self, candidate: &Candidate, found: Found) -> anyhow::Result<()> {
        let (peer, id) = (candidate.peer, candidate.loan);
        if self.loans.get(&id).is_some_and(|loan| !may_be_lost(loan)) {
            // It stands here: whatever a peer sends of it is no news to a person.
            tracing::debug!(%peer, loan = %id, "a loan that stands here was given back again");
            self.recovery.asking.refuse(candidate, false, Instant::now());
            self.recovery.asking.next();
            return Ok(());
        }
        match found {
            Found::Later(why) => {
                tracing::debug!(loan = %id, "a loan given back is looked at again: {why}");
                return Ok(());
            }
            Found::Loan { tip, .. } if self.tip != Some(tip) => return Ok(()),
            Found::Loan { events, has_keys, .. } if !self.loans.contains_key(&id) => {
                if let Err(why) = self.record(id, events)? {
                    self.not_given_back(candidate, &why.message);
                } else {
                    self.tell(id, Input::Tick)?;
                    self.loan_is_back(peer, id, has_keys);
                }
            }
            Found::Loan { .. } => {
                let why =
                    "it stands here as cancelled: restore a newer backup, or from the words alone, to have it back";
                self.not_given_back(candidate, why);
            }
            Found::Foreign(why) => {
                self.gave_junk(peer, &why);
                self.recovery.asking.refuse(candidate, false, Instant::now());
            }
            Found::Refused(why) => self.not_given_back(candidate, &why),
        }
        self.recovery.asking.next();
        Ok(())
    }

    fn loan_is_back(&mut self, peer: PublicKey, id: LoanId, has_keys: bool) {
        // There may be more.
        self.recovery.asking.asked.remove(&peer);
        if let Err(e) = self.remember(peer) {
            tracing::warn!(%peer, "its address is not written down: {}", e.message);
        }
        let keys = if has_keys { "it can be repaid or receipted as before" } else { checks::KEYLESS };
        let text = format!(
            "given back by peer {peer}, every signature in it checked, its funding found unspent on the chain; {keys}"
        );
        self.show_of(Some(id), "loan_given_back", Severity::Notice, text);
    }

    fn not_given_back(&mut self, candidate: &Candidate, why: &str) {
        let Candidate { peer, loan, .. } = candidate;
        if self.recovery.asking.refuse(candidate, true, Instant::now()) {
            let text = format!("peer {peer} gave it back, and it is not taken: {why}");
            self.show_of(Some(*loan), "loan_not_given_back", Severity::Warning, text);
        }
    }

    pub(super) fn show_of(&mut self, loan_id: Option<LoanId>, event: &str, severity: Severity, text: String) {
        let at = self.moment.now.0;
        self.show(EventView { severity, ..EventView::warning(at, loan_id, event, text) });
    }
}

/// Was this ended before it was signed here? The other side may hold it signed all the same, by a later life of this node.
fn may_be_lost(loan: &Loan) -> bool {
    loan.stage == Stage::Cancelled && loan.messages.sign.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::key;
    use crate::store::Memory;

    #[test]
    fn a_node_asks_for_what_it_lost_from_its_restore_on_and_one_never_restored_does_not() {
        let open = |store: &Arc<dyn Store>, restored, loans| Asking::open(store.clone(), restored, loans).unwrap().kept;
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        assert_eq!(open(&store, false, true), None);
        assert_eq!(open(&store, true, false), Some(Kept { words_only: true, answered: false }));
        assert_eq!(open(&store, false, true), Some(Kept { words_only: true, answered: false }), "over a restart");
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        assert_eq!(open(&store, true, true), Some(Kept { words_only: false, answered: false }));
    }

    #[test]
    fn what_is_not_taken_is_told_once_and_remembered_to_a_bound() {
        let mut asking = Asking::open(Arc::new(Memory::new()), true, false).unwrap();
        let now = Instant::now();
        let of = |peer, number: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Candidate { peer: key(peer), loan: LoanId(id), bytes: Vec::new() }
        };
        assert!(!asking.refuse(&of(1, 0), false, now), "what is none of ours is no news");
        assert!(asking.refuse(&of(1, 0), true, now));
        assert!(!asking.refuse(&of(1, 0), true, now));
        assert_eq!((1..5_000).filter(|number| asking.refuse(&of(2, *number), true, now)).count(), NAMED - 1);
        assert_eq!(asking.not_taken.len(), NAMED);
        assert!(asking.refuse(&of(3, 0), true, now + AGAIN * 6), "forgotten after a while");
    }

    #[test]
    fn one_answer_is_taken_to_one_question_and_none_unasked() {
        let mut asking = Asking::open(Arc::new(Memory::new()), true, false).unwrap();
        let now = Instant::now();
        let whole = || LoanOfYours { loan: [7; 32], part: 0, parts: 1, bytes: crate::loan::tlv::Bytes(vec![1]) };
        let ask = |asking: &mut Asking, peer| {
            asking.asked.insert(key(peer), Asked { at: now, again: now + AGAIN, awaits: true });
        };
        asking.take(key(1), whole(), now);
        assert!(asking.candidates.is_empty());
        ask(&mut asking, 1);
        (0..5).for_each(|_| assert_eq!(asking.take(key(1), whole(), now), None));
        assert_eq!(asking.candidates.len(), 1);
        ask(&mut asking, 1);
        assert_eq!(asking.take(key(1), LoanOfYours { parts: 0, ..whole() }, now), Some(Answer::NoMore));
        ask(&mut asking, 1);
        let long = LoanOfYours { parts: 8, ..whole() };
        assert!(matches!(asking.take(key(1), long, now), Some(Answer::Junk(_))));
        // Files that wait to be looked at count as those on their way do.
        (2..20).for_each(|peer| {
            ask(&mut asking, peer);
            asking.take(key(peer), whole(), now);
        });
        assert_eq!(asking.candidates.len(), 4);
        assert!(asking.next().is_some() && asking.candidates.len() == 3);
    }
}
