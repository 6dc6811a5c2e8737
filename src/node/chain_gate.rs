//! Waiting for bitcoind: the node starts without it, says what it waits for, and asks again.
//!
//! bitcoind is asked beside the loop, which goes on whether it answers or not: one that hangs is told within some seconds, and
//! until it answers nothing is judged by what the chain was before.
//!
//! Until bitcoind has said that it is on the right network and has its index, nothing of it is believed; nor after it was away:
//! who comes back may be another, or was started otherwise.

use super::core::Core;
use super::tools::{lock, Tools};
use super::troubles::CHAIN;
use crate::chain::{Chain, ChainEvent, Error, Follower, Pulse, Tip};
use anyhow::Context;
use bitcoin::{BlockHash, Txid};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinHandle};

/// What is told of a chain that is still being read.
const BEHIND: &str = "reading the chain";
/// How often a bitcoind that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// For so long the chain may be read before it is told that its end is not known.
const READING: Duration = Duration::from_secs(60);
/// How long one question may wait before it is told that bitcoind does not answer.
pub const SILENT: Duration = Duration::from_secs(5);

/// Has bitcoind been found to be the right one since the start, and since it was away last?
#[derive(Debug, Default)]
pub struct ChainGate {
    open: bool,
    asked: Option<Instant>,
    /// Since when the end of the chain is not known, though bitcoind answers.
    pub(super) behind: Option<Instant>,
    /// Does bitcoind have all blocks that it knows of, and is its first download over? Until it has said so, its tip is a block
    /// of long ago, perhaps.
    pub(super) has_all: bool,
    /// Where the chain was before bitcoind left it, until it is past that.
    pub(super) left: Option<Left>,
}

/// A tip that bitcoind went back from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    pub height: u32,
    pub block: BlockHash,
    /// A block of the same chain some blocks below the tip, which may have been replaced itself.
    pub below: Option<BlockHash>,
    /// The last block that both chains have.
    pub to_height: u32,
    /// Was a person told of it?
    pub is_told: bool,
}

/// What a look at the chain found.
#[derive(Debug)]
enum Seen {
    /// Whether it is the right bitcoind, and its tip.
    Gate(Result<Tip, Error>),
    /// What has happened.
    Events(Result<Vec<ChainEvent>, Error>),
    /// It has left the chain that was known, and may not be followed: another may have been started in its place. What it
    /// said is not believed.
    Another(Error),
}

/// The looks at the chain: one at a time, beside the loop.
pub struct ChainLook {
    /// Not here while it looks.
    follower: Option<Follower>,
    pulse: Pulse,
    looking: Option<(JoinHandle<(Follower, Seen)>, Instant)>,
    mempool_len: usize,
}

impl ChainLook {
    /// Looks by this follower.
    pub fn new(follower: Follower) -> ChainLook {
        ChainLook { pulse: follower.pulse(), follower: Some(follower), looking: None, mempool_len: 0 }
    }

    /// Transactions that waited in the mempool at the last look.
    pub(super) fn mempool_len(&self) -> usize {
        self.mempool_len
    }

    /// The last block told, between two looks.
    pub(super) fn position(&self) -> Option<crate::chain::BlockRef> {
        self.follower.as_ref()?.position()
    }

    /// Has all been told that waits in the mempool of a bitcoind that has read its own of before? Between two looks.
    fn knows_mempool(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::knows_mempool)
    }

    /// Has this transaction been told to wait in the mempool? `None` while a look is under way.
    pub(super) fn is_waiting(&self, txid: &Txid) -> Option<bool> {
        Some(self.follower.as_ref()?.is_waiting(txid))
    }

    /// Begins a look unless one is under way.
    fn begin(&mut self, chain: &Chain, is_open: bool) {
        let Some(mut follower) = self.follower.take() else { return };
        let chain = chain.clone();
        let look = async move {
            let seen = match is_open {
                true => followed(&chain, follower.poll().await).await,
                false => Seen::Gate(right_one(&chain).await),
            };
            (follower, seen)
        };
        self.looking = Some((tokio::spawn(look), Instant::now()));
    }

    /// What the look under way finds; never where none is. May be dropped before it has ended.
    pub(super) async fn seen(&mut self) -> Result<Looked, JoinError> {
        match &mut self.looking {
            Some((look, _)) => look.await.map(Looked),
            None => pending().await,
        }
    }

    /// Does the look under way wait for an answer for too long? In words.
    fn silence(&self, is_open: bool) -> Option<String> {
        let (_, since) = self.looking.as_ref()?;
        let waits = if is_open { self.pulse.silence().min(since.elapsed()) } else { since.elapsed() };
        (waits >= SILENT).then(|| silent(self.pulse.url()))
    }

    /// Ends the look under way.
    pub(super) fn stop(&mut self) {
        if let Some((look, _)) = self.looking.take() {
            look.abort();
        }
    }
}

/// A look that has ended.
pub struct Looked((Follower, Seen));

/// The same words however long it lasts: one outage is told once.
fn silent(url: &str) -> String {
    format!(
        "bitcoind at {url} does not answer: see whether it runs, what it writes, and whether it was stopped (`kill -CONT`). \
         Meanwhile nothing is seen of the chain: loans wait for it, and a command that needs it is refused at once"
    )
}

async fn right_one(chain: &Chain) -> Result<Tip, Error> {
    chain.check().await?;
    chain.tip().await
}

/// What was found is believed of the right bitcoind only: of another network's none of the known blocks are.
async fn followed(chain: &Chain, found: Result<Vec<ChainEvent>, Error>) -> Seen {
    let is_left = |events: &Vec<ChainEvent>| events.iter().any(|event| matches!(event, ChainEvent::Rollback { .. }));
    if !found.as_ref().is_ok_and(is_left) {
        return Seen::Events(found);
    }
    match chain.check().await {
        Ok(()) => Seen::Events(found),
        Err(error) => Seen::Another(error),
    }
}

impl Core {
    /// Begins the next look at the chain where none is under way, and tells of one that lasts.
    pub(super) fn look_at_chain(&mut self) {
        self.mind_reading();
        let is_open = self.chain_gate.open;
        if let Some(silent) = self.chain_look.silence(is_open) {
            self.chain_is_away(silent);
        }
        if is_open || self.chain_gate.asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
            self.chain_gate.asked = Some(Instant::now());
            self.chain_look.begin(&self.tools.chain, is_open);
        }
    }

    /// A bitcoind that answers slowly, or a chain with very many new blocks: what is said of loans is of before.
    pub(super) fn mind_reading(&mut self) {
        match self.chain_gate.behind.is_some_and(|since| since.elapsed() >= READING) {
            true => {
                let text = "the chain has been read for more than a minute and its end is not reached: bitcoind answers slowly, \
                            or very many blocks are new. What is said of loans and coins is of the block that `status` names";
                self.trouble(BEHIND, text.to_owned());
            }
            false => self.troubles.remove(BEHIND),
        }
    }

    /// A look has ended.
    pub(super) fn on_look(&mut self, looked: Result<Looked, JoinError>) -> anyhow::Result<()> {
        self.chain_look.looking = None;
        let (follower, seen) = match looked {
            Ok(Looked(seen)) => seen,
            Err(broken) => {
                self.chain_look.follower = Some(follower_of(&self.tools));
                self.chain_is_away(format!("the look at it ended in disorder: {broken}"));
                return Ok(());
            }
        };
        self.chain_look.mempool_len = follower.mempool_len();
        self.chain_look.follower = Some(follower);
        match seen {
            Seen::Gate(found) => {
                self.on_gate(found);
                Ok(())
            }
            Seen::Events(Ok(events)) => self.on_events(events),
            Seen::Another(error) => {
                // It goes on from what was believed.
                self.chain_look.follower = Some(follower_of(&self.tools));
                self.on_gate(Err(error));
                Ok(())
            }
            Seen::Events(Err(Error::TimedOut { url, .. } | Error::Silent { url })) => {
                self.chain_is_away(silent(&url));
                Ok(())
            }
            Seen::Events(Err(error)) => {
                self.chain_is_away(error.to_string());
                Ok(())
            }
        }
    }

    /// Is the chain read to its end, and no shorter than it was? A bitcoind that comes back may have lost the last blocks.
    pub(super) fn is_whole(&self) -> bool {
        let wallet = lock(&self.tools.wallet);
        self.at_tip && wallet.height() >= wallet.known_height()
    }

    /// Nothing is known of the chain as it is now.
    pub(super) fn chain_is_away(&mut self, text: String) {
        self.chain_gate.open = false;
        self.chain_gate.behind = None;
        self.caught_up = false;
        self.at_tip = false;
        self.knows_mempool = false;
        self.chain_gate.has_all = false;
        self.note_chain_away();
        self.trouble(CHAIN, text);
    }

    /// It is of another network, and nothing of it is believed. The words of the gate, which asks on.
    pub(super) fn chain_is_anothers(&mut self, found: &str, configured: &str) {
        let (url, found, configured) =
            (self.chain_look.pulse.url().to_owned(), found.to_owned(), configured.to_owned());
        self.on_gate(Err(Error::WrongNetwork { url, configured, found }));
    }

    fn on_events(&mut self, events: Vec<ChainEvent>) -> anyhow::Result<()> {
        self.troubles.remove(CHAIN);
        self.caught_up = events.is_empty();
        self.at_tip = !events.iter().any(|event| matches!(event, ChainEvent::Block { .. }));
        match self.at_tip {
            true => self.chain_gate.behind = None,
            false => drop(self.chain_gate.behind.get_or_insert_with(Instant::now)),
        }
        for event in events {
            self.on_chain(event)?;
        }
        if self.caught_up && self.chain_look.knows_mempool() {
            // What left it while this node did not run is told by nobody.
            let is_waiting = |txid: &Txid| self.chain_look.is_waiting(txid) == Some(true);
            let waiting: HashSet<Txid> = self.out().map(|(_, txid)| txid).filter(is_waiting).collect();
            self.fundings_gone(|txid| !waiting.contains(txid))?;
            self.knows_mempool = true;
        }
        Ok(())
    }

    /// Asks whether bitcoind may be followed, at the start. One that does not answer is waited for.
    ///
    /// # Errors
    /// What makes waiting useless: a wrong network, no index, wrong credentials.
    pub(super) async fn find_chain(&mut self) -> anyhow::Result<()> {
        self.chain_gate.asked = Some(Instant::now());
        match tokio::time::timeout(SILENT, right_one(&self.tools.chain)).await {
            Ok(Err(error)) if !error.is_temporary() => return Err(error).context("ask bitcoind"),
            Ok(found) => self.on_gate(found),
            Err(_) => {
                let text = silent(self.chain_look.pulse.url());
                self.chain_is_away(text);
            }
        }
        Ok(())
    }

    fn on_gate(&mut self, found: Result<Tip, Error>) {
        match found {
            Ok(tip) => {
                self.chain_gate.open = true;
                self.troubles.ask_anew();
                self.troubles.remove(CHAIN);
                if self.tip == Some(tip.hash) {
                    // No block will come to tell it.
                    self.moment.median_time = tip.median_time;
                }
            }
            Err(Error::TimedOut { url, .. } | Error::Silent { url }) => self.chain_is_away(silent(&url)),
            Err(error) => self.chain_is_away(format!("waiting for bitcoind: {error}")),
        }
    }
}

/// Goes on where the wallet is in the chain.
pub(super) fn follower_of(tools: &Arc<Tools>) -> Follower {
    let wallet = lock(&tools.wallet);
    let outgoing = lock(&tools.outgoing);
    // What may be out is not gone because the mempool does not have it.
    let believed = wallet.unconfirmed().into_iter().filter(|txid| !outgoing.holds(txid));
    tools.chain.follower(&wallet.checkpoints(), believed)
}
