//! A restored node moves its coins before it signs anything.
//!
//! A backup, and words on paper even more, know nothing of what was signed after they were made: a half-signed repayment
//! that the other side can still complete, a funding transaction it can still broadcast. Both need coins that were free or
//! set aside then. So every coin moves to a new address first; until that is in a block nothing is quoted, taken, proposed,
//! signed or sent. What an oracle has attested is settled all the same: that needs no coin. Coins that cost more
//! than a tenth of what the others of before leave, and those that a transaction of before spends, are left: then the node
//! works as ever but for these, which it uses for nothing, tells of, and looks at with each block until they have moved. No
//! coin of after, a moved one or a later deposit, pays for them: else each block would lose a part of what is left.

mod steps;

use super::core::{refused, Core, AGAIN};
use super::data::DataFolder;
use super::handle::Command;
use super::jobs::{Key, Outcome};
use super::tools::{error, lock};
use super::unmade::Unmade;
use super::view::ErrorView;
use crate::protocol::{Action, ErrorCode, Loan, Message, Stage};
use crate::store::{Item, Sled, Store};
use crate::wallet::{Unmoved, Wallet};
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Name of the document that says a node was restored and has not moved its coins yet.
const RESTORED: &str = "restored";
/// Name of the document with what stays of it when they have moved.
const SINCE: &str = "restored-since";
/// What is in the way meanwhile.
const TROUBLE: &str = "restored";
/// So many moves are made at once, and the rest when these are in a block: with a dearer one of each they fit one document.
const AT_ONCE: usize = 2;

/// How far a restored node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The height at which it began: younger coins are nobody's but its own.
    begun: Option<u32>,
    /// Transactions made and not yet seen in a block.
    moves: Vec<Move>,
    /// Those that a block has.
    #[serde(default)]
    done: Vec<Done>,
    /// Has all moved that can? Then the node works, but for the coins that are left.
    #[serde(default)]
    works: bool,
    /// The coins that were left at the last look.
    #[serde(skip)]
    left: Vec<Unmoved>,
    /// What could not be done at the last look, in words: one move that fails holds up no other.
    #[serde(skip)]
    failed: Vec<String>,
}

/// A move that a block has, until a reorganisation takes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    txid: Txid,
    fee_sats: u64,
}

/// What stays of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// The height at which it began: what spends coins after that is of now.
    pub(super) height: u32,
    done: Vec<Done>,
    /// Are the moves known to be in blocks still?
    #[serde(skip)]
    is_sure: bool,
    /// At which tip was it looked whether a coin of before has come back?
    #[serde(skip)]
    looked: Option<BlockHash>,
}

/// One transaction that moves coins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Move {
    transaction: Transaction,
    fee_sats: u64,
    height: u32,
}

impl Since {
    /// The moves that blocks had.
    pub(super) fn done(&self) -> impl Iterator<Item = Txid> + '_ {
        self.done.iter().map(|made| made.txid)
    }
}

impl Restored {
    /// The height at which it began; `None` while what was before is still being read.
    pub(super) fn begun(&self) -> Option<u32> {
        self.begun
    }

    fn since(&self) -> Option<Since> {
        Some(Since { height: self.begun?, done: self.done.clone(), is_sure: false, looked: None })
    }

    /// The transactions that move coins, as far as no block is known to have them.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Txid> + '_ {
        self.moves.iter().map(|made| made.transaction.compute_txid())
    }

    /// All transactions that move coins.
    pub(super) fn moves(&self) -> impl Iterator<Item = Txid> + '_ {
        self.waiting().chain(self.done.iter().map(|made| made.txid))
    }

    /// Do coins move that everything else waits for?
    pub(super) fn is_moving(&self) -> bool {
        !self.works
    }

    /// The coins that were left behind, and that nothing may use: known once all others have moved.
    pub(super) fn unmoved(&self, wallet: &Wallet) -> Vec<OutPoint> {
        let begun = self.begun.filter(|_| self.works);
        let left = begun.map(|height| wallet.unmoved(height)).unwrap_or_default();
        left.into_iter().map(|coin| coin.outpoint).collect()
    }

    /// What people are told of the coins that are left.
    fn left_text(&self) -> String {
        let (waiting, small): (Vec<&Unmoved>, Vec<&Unmoved>) =
            self.left.iter().filter(|coin| !self.moves_coin(coin)).partition(|coin| coin.spent_by.is_some());
        let moving = match self.moves.as_slice() {
            [] => None,
            moves => Some(format!(
                "{} on the way, in what waits for a block",
                count(moves.iter().map(|one| one.transaction.input.len()).sum())
            )),
        };
        let small = Some(small).filter(|small| !small.is_empty()).map(|small| {
            format!(
                "{} worth less than moving costs as fees are now, and the other coins of before do not pay for that with a \
                 tenth of what they leave ({}): that is tried again with each block, and done once fees fall. No coin that \
                 came after pays for it",
                are(small.len()),
                named(&small, |_| String::new()),
            )
        });
        let waiting = Some(waiting).filter(|waiting| !waiting.is_empty()).map(|waiting| {
            let by = |coin: &Unmoved| coin.spent_by.map(|txid| format!(" by {txid}")).unwrap_or_default();
            format!("{} spent by what was made before and no block has ({})", are(waiting.len()), named(&waiting, by))
        });
        let failed = self.failed.iter().cloned();
        let what: Vec<String> = [moving, small, waiting].into_iter().flatten().chain(failed).collect();
        let what = if what.is_empty() { "they are looked at with the next block".to_owned() } else { what.join("; ") };
        format!(
            "this node was restored, and some of its coins have not moved to a new address: {what}. What was signed after the \
             backup may still spend these, so a half-signed repayment from then may be completed. This node uses them for \
             nothing, and does everything else with its other coins"
        )
    }

    fn moves_coin(&self, coin: &Unmoved) -> bool {
        let spends = |made: &Move| made.transaction.input.iter().any(|input| input.previous_output == coin.outpoint);
        self.moves.iter().any(spends)
    }
}

/// So many coins of those that are left are named.
const NAMED: usize = 4;

fn count(coins: usize) -> String {
    match coins {
        1 => "1 coin".to_owned(),
        more => format!("{more} coins"),
    }
}

fn are(coins: usize) -> String {
    format!("{} {}", count(coins), if coins == 1 { "is" } else { "are" })
}

fn named(coins: &[&Unmoved], why: impl Fn(&Unmoved) -> String) -> String {
    let first = coins.iter().take(NAMED).map(|coin| format!("{} of {}{}", coin.outpoint, coin.value, why(coin)));
    let more = coins.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    first.chain(more).collect::<Vec<_>>().join(", ")
}

/// What a look at the moves found.
#[derive(Debug)]
pub struct Step {
    restored: Restored,
    /// Payments of before that cannot be made: they are told before their coins move.
    unmade: Vec<Unmade>,
}

impl Step {
    fn is_over(&self) -> bool {
        self.unmade.is_empty() && self.restored.moves.is_empty() && self.restored.left.is_empty()
    }
}

/// Marks what a restore puts into a store.
pub fn mark() -> Item {
    let bytes = serde_json::to_vec(&Restored::default()).unwrap_or_default();
    Item::Document { name: RESTORED.into(), bytes }
}

/// Is this item such a mark, of an earlier restore?
pub fn is_mark(item: &Item) -> bool {
    matches!(item, Item::Document { name, .. } if name == RESTORED)
}

/// How far this node is; `None` for one that was not restored or has moved everything.
///
/// # Errors
/// When the store cannot be read.
pub fn open(store: &dyn Store) -> anyhow::Result<Option<Restored>> {
    match store.get(RESTORED)? {
        // An end is written as an empty document.
        Some(bytes) if !bytes.is_empty() => {
            Ok(Some(serde_json::from_slice(&bytes).context("read how far the restore is")?))
        }
        _ => Ok(None),
    }
}

/// What stays of the last restore, also once all has moved; `None` for a node that was never restored, or is still reading
/// what was before.
///
/// # Errors
/// When the store cannot be read.
pub fn since(store: &dyn Store, restored: Option<&Restored>) -> anyhow::Result<Option<Since>> {
    match (restored, store.get(SINCE)?) {
        (Some(restored), _) => Ok(restored.since()),
        (None, Some(bytes)) => Ok(Some(serde_json::from_slice(&bytes).context("read when this node was restored")?)),
        (None, None) => Ok(None),
    }
}

impl Core {
    /// Why nothing may be signed now, if so.
    pub(super) fn check_moved(&self) -> Result<(), ErrorView> {
        match self.is_moving() {
            false => Ok(()),
            true => Err(error(ErrorCode::Unavailable, self.restored_text())),
        }
    }

    /// Does everything wait for the coins of a restored node?
    pub(super) fn is_moving(&self) -> bool {
        self.restored.as_ref().is_some_and(Restored::is_moving)
    }

    /// Answers a command that would sign or spend while the coins move; gives back any other.
    pub(super) fn refuse_meanwhile(&self, command: Command) -> Option<Command> {
        let Err(why) = self.check_moved() else { return Some(command) };
        match command {
            Command::Send { reply, .. } => gone(reply.send(Err(why))),
            Command::Consolidate { reply, .. } => gone(reply.send(Err(why))),
            Command::Quote { reply, .. } => gone(reply.send(Err(why))),
            Command::Borrow { reply, .. }
            | Command::Approve { reply, .. }
            | Command::Cancel { reply, .. }
            | Command::Repay { reply, .. }
            | Command::Withdraw { reply, .. }
            | Command::Receipt { reply, .. } => gone(reply.send(Err(why))),
            // Whoever would be refused is not asked first.
            Command::Preview { reply, .. } => gone(reply.send(Err(why))),
            harmless => return Some(harmless),
        }
        None
    }

    /// Does this message lead to a signature? Then it is not heard while the coins move; its sender says it again. Only who
    /// asks for a quote is told.
    pub(super) fn is_deaf_to(&mut self, peer: PublicKey, message: &Message) -> bool {
        if !self.is_moving() {
            return false;
        }
        match message {
            Message::QuoteRequest(request) => {
                let text = "this node was restored and moves its coins first; ask again in an hour";
                self.send(peer, &refused(request.request, ErrorCode::Busy, text));
                true
            }
            Message::Borrow(_)
            | Message::Ready(_)
            | Message::Offer(_)
            | Message::Accept(_)
            | Message::Sign(_)
            | Message::Repay(_)
            | Message::RepayRequest(_) => true,
            _ => false,
        }
    }

    /// May this be done for a loan while the coins move?
    pub(super) fn may_do(&self, loan: &Loan, action: &Action) -> bool {
        let living = matches!(loan.stage, Stage::Confirming | Stage::Active | Stage::Closing | Stage::Closed);
        let harmless = |action: &Action| {
            matches!(action, Action::Broadcast(_) | Action::Settle(_) | Action::FetchFixing | Action::WatchTouches)
        };
        !self.is_moving() || (living && harmless(action))
    }

    fn restored_text(&self) -> String {
        if let Some(restored) = self.restored.as_ref().filter(|restored| !restored.is_moving()) {
            return restored.left_text();
        }
        let waiting = self.restored.iter().flat_map(Restored::waiting);
        let waiting: Vec<String> = waiting.map(|txid| txid.to_string()).collect();
        let how = match waiting.as_slice() {
            [] => "the chain is read first".to_owned(),
            some => format!("transaction {} waits for a confirmation", some.join(", ")),
        };
        let failed = self.restored.iter().flat_map(|restored| &restored.failed).cloned();
        let how = [how].into_iter().chain(failed).collect::<Vec<_>>().join("; ");
        format!(
            "this node was restored, and its coins move to a new address before anything else, since what was signed after \
             the backup may still spend them; {how}. Until then nothing is quoted, taken, repaid or sent"
        )
    }

    /// Goes on moving the coins of a restored node.
    pub(super) fn move_coins(&mut self) {
        let has_all = self.at_tip && self.caught_up && self.knows_mempool && self.chain_gate.has_all;
        if let Err(error) = tokio::task::block_in_place(|| self.look_for_undone(has_all)) {
            return self.trouble(TROUBLE, format!("{error:#}"));
        }
        if self.restored.is_none() {
            if let Err(error) = tokio::task::block_in_place(|| self.look_for_returned(has_all)) {
                self.trouble(TROUBLE, format!("{error:#}"));
            }
            return;
        }
        let text = self.restored_text();
        self.trouble(TROUBLE, text);
        let tried = self.tried.get(&Key::Move).is_some_and(|(tip, when)| *tip == self.tip && when.elapsed() < AGAIN);
        if tried || !has_all || self.running.contains(&Key::Move) {
            return;
        }
        if let Err(error) = tokio::task::block_in_place(|| self.begin_restore()) {
            self.tried.insert(Key::Move, (self.tip, Instant::now()));
            return self.trouble(TROUBLE, format!("{error:#}"));
        }
        let Some(restored) = self.restored.clone() else { return };
        let (tools, height) = (self.tools.clone(), self.moment.height);
        let work = async move { Ok(Outcome::Moved(Box::new(steps::step(&tools, restored, height).await?))) };
        if self.spawn(Key::Move, None, [0; 32], work) {
            self.tried.insert(Key::Move, (self.tip, Instant::now()));
        }
    }

    /// What the chain and the mempool show now is of before; what spends a coin of this wallet from here on is of now.
    fn begin_restore(&mut self) -> anyhow::Result<()> {
        let Some(restored) = self.restored.as_ref().filter(|restored| restored.begun.is_none()) else { return Ok(()) };
        // What was there must be known as such after a power cut too.
        lock(&self.tools.wallet).sync().context("put what the wallet knows on disk")?;
        let height = self.moment.height;
        let restored = Restored { begun: Some(height), ..restored.clone() };
        let since = restored.since();
        let (moves, since_then) = (serde_json::to_vec(&restored)?, serde_json::to_vec(&since)?);
        let documents = [(RESTORED.to_owned(), moves), (SINCE.to_owned(), since_then)];
        self.tools.store.put_all(&documents).context("keep when the restore began")?;
        (self.restored, self.restored_since) = (Some(restored), since);
        Ok(())
    }

    /// A move that a reorganisation took out of its block is looked after again: what it moved lies where it was.
    fn look_for_undone(&mut self, has_all: bool) -> anyhow::Result<()> {
        if self.is_moving() || self.running.contains(&Key::Move) {
            return Ok(());
        }
        let Some(since) = self.restored_since.as_mut().filter(|since| has_all && !since.is_sure) else { return Ok(()) };
        let wallet = lock(&self.tools.wallet);
        let (done, undone): (Vec<Done>, Vec<Done>) =
            since.done.iter().partition(|made| wallet.has_confirmed(made.txid));
        let again = |made: Done| {
            let transaction = wallet.transaction(made.txid)?;
            Some(Move { transaction, fee_sats: made.fee_sats, height: self.moment.height })
        };
        let mut moves: Vec<Move> = undone.into_iter().filter_map(again).collect();
        drop(wallet);
        if moves.is_empty() {
            since.is_sure = true;
            return Ok(());
        }
        tracing::warn!("the chain has left {} moves of the restored wallet: they are brought out again", moves.len());
        moves.extend(self.restored.take().into_iter().flat_map(|restored| restored.moves));
        let restored = Restored { begun: Some(since.height), moves, done, ..Restored::default() };
        self.tools.store.put(RESTORED, &serde_json::to_vec(&restored)?).context("keep which moves are undone")?;
        since.is_sure = true;
        self.restored = Some(restored);
        Ok(())
    }

    /// A coin of before that was in no chain when the others moved is in one again, whose block came after: it moves too.
    fn look_for_returned(&mut self, has_all: bool) -> anyhow::Result<()> {
        let Some(since) = self.restored_since.as_mut().filter(|since| has_all && since.looked != self.tip) else {
            return Ok(());
        };
        since.looked = self.tip;
        if !lock(&self.tools.wallet).has_returned(since.height) {
            return Ok(());
        }
        tracing::warn!("a coin of before the restore is back in the chain: it moves");
        let restored =
            Restored { begun: Some(since.height), done: since.done.clone(), works: true, ..Restored::default() };
        self.tools.store.put(RESTORED, &serde_json::to_vec(&restored)?).context("keep that a coin is to be moved")?;
        self.restored = Some(restored);
        self.reserve();
        Ok(())
    }

    /// Blocks have left the chain: moves may be among what they had.
    pub(super) fn doubt_moves(&mut self) {
        if let Some(since) = &mut self.restored_since {
            since.is_sure = false;
        }
    }

    /// Puts on disk what was made, before any of it goes out.
    pub(super) fn on_moved(&mut self, step: Step) -> anyhow::Result<()> {
        let over = step.is_over();
        for unmade in step.unmade {
            self.on_unmade(unmade)?;
            // What waited for that to be told moves now.
            self.tried.remove(&Key::Move);
        }
        let restored = step.restored;
        let bytes = match over {
            true => Vec::new(),
            false => serde_json::to_vec(&restored).context("write how far the restore is")?,
        };
        if self.restored.as_ref() != Some(&restored) || over {
            let store = self.tools.store.clone();
            // While it worked a block may have gone.
            let is_sure = self.restored_since.as_ref().is_some_and(|since| since.is_sure);
            let since = restored.since().filter(|_| over || restored.works).map(|since| Since { is_sure, ..since });
            let kept = since.as_ref().map(serde_json::to_vec).transpose().context("write what stays of the restore")?;
            let kept = kept.map(|bytes| (SINCE.to_owned(), bytes));
            let documents: Vec<(String, Vec<u8>)> = [(RESTORED.to_owned(), bytes)].into_iter().chain(kept).collect();
            tokio::task::block_in_place(|| store.put_all(&documents)).context("put the moves on disk")?;
            self.restored_since = since.or(self.restored_since.take());
            // What is new goes out with the next look.
            self.tried.remove(&Key::Move);
        }
        let has_waited = self.is_moving();
        self.restored = Some(restored).filter(|_| !over);
        if over {
            self.troubles.remove(TROUBLE);
            tracing::info!("every coin of the restored wallet is at a new address; the node works as before");
        } else if has_waited && !self.is_moving() {
            tracing::warn!("some coins of the restored wallet have not moved; the node works with the others");
        }
        self.reserve();
        Ok(())
    }
}

/// Whoever asked may have gone.
fn gone<T>(_sent: Result<(), T>) {}

/// Puts the mark into a folder that is being made from words alone, whose store is new.
///
/// # Errors
/// When the store cannot be made.
pub fn mark_new(folder: &DataFolder) -> anyhow::Result<()> {
    Sled::restore(folder.store(), &mut std::iter::once(mark())).context("mark the folder as restored")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Memory, MAX_DOCUMENT};
    use crate::wallet::MOST_INPUTS;
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, TxIn, TxOut, Witness};

    #[test]
    fn the_moves_of_a_wallet_of_however_many_coins_fit_one_document() {
        let coin = TxIn { witness: Witness::from_slice(&[[0x30; 72].as_slice(), &[2; 33]]), ..TxIn::default() };
        let output = vec![TxOut { value: Amount::MAX_MONEY, script_pubkey: ScriptBuf::from_bytes(vec![0; 22]) }];
        let transaction =
            Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![coin; MOST_INPUTS], output };
        let one = Move { transaction, fee_sats: u64::MAX, height: u32::MAX };
        let bytes = |count| {
            let moves = vec![one.clone(); count];
            let restored = Restored { begun: Some(u32::MAX), moves, ..Restored::default() };
            serde_json::to_vec(&restored).unwrap().len()
        };
        // Of each a dearer one may be under way too.
        println!("bound restored-moves {} bytes, for {} coins at once", bytes(2 * AT_ONCE), AT_ONCE * MOST_INPUTS);
        assert!(bytes(2 * AT_ONCE) < MAX_DOCUMENT && bytes(8) > MAX_DOCUMENT, "{}", bytes(8));
    }

    #[test]
    fn a_mark_is_read_back_and_an_end_is_an_end() {
        let store = Memory::new();
        assert_eq!(open(&store).unwrap(), None);
        let Item::Document { name, bytes } = mark() else { panic!("a document") };
        store.put(&name, &bytes).unwrap();
        assert_eq!(open(&store).unwrap(), Some(Restored::default()));
        store.put(RESTORED, b"").unwrap();
        assert_eq!(open(&store).unwrap(), None);
        assert!(is_mark(&mark()));
    }
}
