//! The loop: one task owns every loan; what takes time runs beside it and comes back as a result.

use super::chain_gate::{ChainGate, ChainLook};
use super::disk::Disk;
use super::endings::HeldUp;
use super::events::{Book, Standing};
use super::fallen::Lost;
use super::fee_coin::FeeCoin;
use super::foreign::Foreigns;
use super::given_up::GivenUp;
use super::handle::{Commands, Reply};
use super::inventory::Inventory;
use super::jobs::{self, Done, Got, Key, Outcome};
use super::lending;
use super::limits::Limits;
use super::notify::Notifier;
use super::outgoing::Strays;
use super::ports::ApiTrouble;
use super::present;
use super::quotes::QuoteBook;
use super::recovery::Recovery;
use super::renewal::Renewal;
use super::requests::Requests;
use super::restored::{Restored, Since};
use super::shown::ShownCoins;
use super::tools::{lock, Tools, Trouble};
use super::troubles::{self, Troubles};
use super::unlock::Unlocked;
use super::view::{ErrorView, EventView, LoanView};
use crate::chain::ChainEvent;
use crate::crash;
use crate::loan::policy::Policy;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::peer::{Frame, PeerEvent};
use crate::protocol::{Block, ErrorCode, Input, Loan, Message, Moment, Stage};
use anyhow::Context;
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{BlockHash, OutPoint, Transaction, Txid};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// How often the loop looks at clock, chain and loans when nothing happens.
const BEAT: Duration = Duration::from_millis(100);
/// The same on fast time, where somebody waits for every step.
const FAST_BEAT: Duration = Duration::from_millis(25);
/// How often, in real time, what was not answered is sent again and a silent oracle asked again.
pub const AGAIN: Duration = Duration::from_secs(3);

/// Somebody waiting for events newer than a number.
pub struct EventWaiter {
    pub after: u64,
    pub until: Instant,
    pub reply: Reply<Vec<EventView>>,
}

/// What a finished look at an oracle left.
#[derive(Clone, Copy)]
pub struct Looked {
    pub at: Time,
    pub when: Instant,
}

/// The node's mind.
pub struct Core {
    pub tools: Arc<Tools>,
    /// Looks at the chain.
    pub chain_look: ChainLook,
    pub loans: BTreeMap<LoanId, Arc<Loan>>,
    pub watched: HashMap<OutPoint, HashSet<LoanId>>,
    pub moment: Moment,
    /// Does neither the chain nor a price confirm this machine's clock?
    pub is_clock_unconfirmed: bool,
    /// Since when this process has run.
    pub runs_since: Time,
    /// Negotiations that this node could not go on with.
    pub held_up: HeldUp,
    pub tip: Option<BlockHash>,
    pub policy: Policy,
    pub quotes: QuoteBook,
    /// Quotes that were taken and wait for a person.
    pub requests: Requests,
    /// Whose quotes stand in whose way.
    pub inventory: Inventory,
    pub limits: Limits,
    pub got: HashMap<LoanId, Got>,
    pub fallbacks: HashMap<LoanId, Signature>,
    pub sent: HashMap<LoanId, (Vec<u16>, Instant)>,
    /// Negotiations that one side has given up and the other goes on with.
    pub given_up: GivenUp,
    pub broadcast: HashMap<Txid, Instant>,
    /// Loans whose borrower here asked its lender to propose a repayment.
    pub wishes: HashMap<LoanId, Instant>,
    pub tried: HashMap<Key, (Option<BlockHash>, Instant)>,
    pub looked: HashMap<XOnlyPublicKey, Looked>,
    /// When each oracle was asked for hand-overs, and whether it answered.
    pub rotations_asked: HashMap<XOnlyPublicKey, (Looked, bool)>,
    pub events: Book,
    pub notifier: Option<Notifier>,
    pub standing: Standing,
    pub event_waiters: Vec<EventWaiter>,
    pub jobs: JoinSet<Done>,
    pub running: HashSet<Key>,
    /// Which job a task does, to give its key free should it panic.
    pub started: HashMap<tokio::task::Id, Key>,
    /// The job of each loan that answers its peer.
    pub steps: HashMap<LoanId, AbortHandle>,
    /// Coins that borrowers proved lately.
    pub shown: ShownCoins,
    /// Which peer was told of which oracle's proof on its present connection.
    pub told: HashSet<(PublicKey, XOnlyPublicKey)>,
    pub asked: u64,
    pub turns: u64,
    pub troubles: Troubles,
    /// What keeps the API from its port.
    pub api_trouble: ApiTrouble,
    /// How full the data folder's disk is.
    pub disk: Disk,
    pub caught_up: bool,
    /// Has the chain been read to its tip, the mempool too?
    pub at_tip: bool,
    /// Has what waits in the mempool been read since the start, and since bitcoind was last away?
    pub knows_mempool: bool,
    /// Whether bitcoind is there.
    pub chain_gate: ChainGate,
    /// What reorganisations took out of its block.
    pub lost: Lost,
    /// How far a restored node is with moving its coins.
    pub restored: Option<Restored>,
    /// What stays of the last restore.
    pub restored_since: Option<Since>,
    /// Loans that were lost, here or at a peer.
    pub recovery: Recovery,
    /// The coin for the fees of exits.
    pub fee_coin: FeeCoin,
    /// What the wallet has recorded and bitcoind does not have.
    pub strays: Strays,
    /// The spends of this wallet's coins that this node did not make.
    pub foreign: Foreigns,
    /// The backup that renews itself.
    pub renewal: Renewal,
    /// The data folder, this process's alone.
    pub unlocked: Unlocked,
}

impl Core {
    /// Runs until the commands end or the store fails.
    pub async fn run(
        mut self,
        mut commands: Commands,
        mut peers: mpsc::Receiver<PeerEvent>,
        mut stop: tokio::sync::watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut beat = tokio::time::interval(if self.tools.clock.is_file() { FAST_BEAT } else { BEAT });
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                _ = beat.tick() => self.look_around()?,
                looked = self.chain_look.seen() => self.on_look(looked)?,
                event = peers.recv() => match event {
                    Some(event) => self.on_peer(event)?,
                    None => break,
                },
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command)?,
                    None => break,
                },
                Some(done) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => match done {
                    Ok((task, done)) => {
                        self.started.remove(&task);
                        self.on_done(done)?;
                    }
                    Err(e) => self.on_panic(&e),
                },
            }
            self.act()?;
            self.mind_attention();
            self.answer_waiters();
        }
        self.chain_look.stop();
        self.renew_at_stop().await;
        self.jobs.shutdown().await;
        self.tools.net.shutdown().await;
        Ok(())
    }

    /// Clock, chain and lows: what may have moved by itself.
    fn look_around(&mut self) -> anyhow::Result<()> {
        match self.tools.clock.now() {
            Ok(now) => {
                let (median, is_file) = (self.moment.median_time, self.tools.clock.is_file());
                let priced =
                    lock(&self.tools.oracles).values().filter_map(|oracle| Some(oracle.spot.as_ref()?.unix)).max();
                self.is_clock_unconfirmed = troubles::is_unconfirmed(now, median, priced, is_file);
                let ahead = || troubles::why_clock_ahead(now, median, priced, is_file);
                match troubles::why_clock(now, median, is_file).or_else(ahead) {
                    Some(text) => self.trouble("clock", text),
                    None => self.troubles.remove("clock"),
                }
                if now != self.moment.now {
                    self.moment.now = now;
                    self.turns += 1;
                    self.tick_all()?;
                }
            }
            Err(e) => self.trouble("clock", format!("{e:#}")),
        }
        self.look_at_chain();
        Ok(())
    }

    pub(super) fn on_chain(&mut self, mut event: ChainEvent) -> anyhow::Result<()> {
        self.turns += 1;
        // Loans first, the wallet last: the wallet's place in the chain is where we go on after a restart.
        if let ChainEvent::Mempool { evicted, .. } = &mut event {
            // What was paid stays paid, and what was moved stays moved: it is brought out again.
            let (outgoing, since) = (lock(&self.tools.outgoing), &self.restored_since);
            let is_moved = |txid: &Txid| since.iter().flat_map(Since::done).any(|done| done == *txid);
            evicted.retain(|txid| !outgoing.holds(txid) && !is_moved(txid));
        }
        match &event {
            ChainEvent::Rollback { to_height } => {
                self.mind_rollback(*to_height);
                self.doubt_moves();
                self.moment.height = *to_height;
                // Where blocks follow at once, the follower is further already, and they say it.
                self.tip = self.chain_look.position().filter(|at| at.height == *to_height).map(|at| at.hash);
                for id in self.loan_ids() {
                    self.tell(id, Input::Rollback { to_height: *to_height })?;
                }
            }
            ChainEvent::Block { height, hash, block, median_time } => {
                let place = Block { height: *height, hash: *hash };
                for transaction in &block.txdata {
                    self.on_transaction(transaction, Some(place))?;
                }
                self.moment.height = *height;
                self.moment.median_time = *median_time;
                self.tip = Some(*hash);
                self.mind_block(*height, *hash);
                self.broadcast.clear();
                self.tried.retain(|_, (_, when)| when.elapsed() < AGAIN);
                self.tick_all()?;
            }
            ChainEvent::Mempool { new, evicted } => {
                for transaction in new {
                    self.on_transaction(transaction, None)?;
                }
                self.fundings_gone(|txid| evicted.contains(txid))?;
            }
        }
        // All that it moved at once: a block spends a thousand shown coins.
        self.shown.flush().context("keep which coins were shown")?;
        let now = self.moment.now;
        lock(&self.tools.wallet).apply(&event, now).context("tell the wallet of the chain")?;
        match event {
            ChainEvent::Rollback { .. } => self.hold_fallen(),
            _ => Ok(()),
        }
    }

    /// The funding transactions that are out and in no block.
    pub(super) fn out(&self) -> impl Iterator<Item = (LoanId, Txid)> + '_ {
        let out = self.loans.values().filter(|loan| loan.stage == Stage::Confirming && !loan.is_funded());
        out.filter_map(|loan| Some((loan.id, loan.skeleton.as_ref()?.funding.txid)))
    }

    /// Is it known where the funding transaction of a loan is? One that was away when this node stopped, or when it last
    /// could look, may be back long since: before it has looked again it holds that against nobody.
    pub(super) fn knows_place(&self, loan: &Loan) -> bool {
        self.knows_mempool || loan.unfunded.away().is_none()
    }

    /// Tells the loans whose funding transaction the mempool has no more.
    pub(super) fn fundings_gone(&mut self, is_gone: impl Fn(&Txid) -> bool) -> anyhow::Result<()> {
        let gone: Vec<LoanId> = self.out().filter(|(_, txid)| is_gone(txid)).map(|(id, _)| id).collect();
        gone.into_iter().try_for_each(|id| self.tell(id, Input::FundingGone))
    }

    fn on_transaction(&mut self, transaction: &Transaction, block: Option<Block>) -> anyhow::Result<()> {
        for input in &transaction.input {
            let outpoint = input.previous_output;
            let Some(ids) = self.watched.get(&outpoint).cloned() else { continue };
            for id in ids {
                let negotiated = self.loans.get(&id).is_some_and(|loan| loan.is_negotiating());
                self.tell(id, Input::Spent { outpoint, transaction: transaction.clone(), block })?;
                if negotiated {
                    self.tell_ended(id, ErrorCode::Coins);
                }
            }
        }
        self.mind_foreign(transaction)?;
        self.spent_under_requests(transaction)?;
        let goes_on = |loan: &LoanId| lending::goes_on(&self.loans, &self.requests, loan);
        self.shown.on_transaction(transaction, block.is_some(), goes_on);
        Ok(())
    }

    fn loan_ids(&self) -> Vec<LoanId> {
        self.loans.keys().copied().collect()
    }

    fn tick_all(&mut self) -> anyhow::Result<()> {
        for id in self.loan_ids() {
            let negotiated = self.loans.get(&id).is_some_and(|loan| loan.is_negotiating());
            if self.loans.get(&id).is_some_and(|loan| self.knows_place(loan)) {
                self.tell(id, self.tick_of(&id))?;
            }
            if negotiated {
                self.tell_ended(id, ErrorCode::Expired);
            }
        }
        let now = self.moment.now;
        self.quotes.tick(now);
        self.expire_requests()?;
        self.got.retain(|_, got| got.terms.expires >= now);
        self.shown.tick(now);
        Ok(())
    }

    fn on_peer(&mut self, event: PeerEvent) -> anyhow::Result<()> {
        self.turns += 1;
        match event {
            PeerEvent::Connected(peer) => {
                self.follow_address(peer);
                self.forget_told(peer);
                let theirs: Vec<LoanId> =
                    self.loans.values().filter(|loan| loan.peer == peer).map(|loan| loan.id).collect();
                for id in theirs {
                    self.sent.remove(&id);
                }
                Ok(())
            }
            PeerEvent::Disconnected(peer) => {
                self.forget_told(peer);
                Ok(())
            }
            PeerEvent::SameKey(peer) => {
                self.on_same_key(peer);
                Ok(())
            }
            PeerEvent::Message(peer, frame) => match Message::read(frame.kind, &frame.bytes) {
                Ok(message) => self.on_message(peer, message),
                Err(e) => self.on_unreadable(peer, &frame, &e),
            },
        }
    }

    /// Starts a job unless the same one runs.
    pub fn spawn(
        &mut self,
        key: Key,
        peer: Option<PublicKey>,
        about: [u8; 32],
        work: impl Future<Output = Result<Outcome, Trouble>> + Send + 'static,
    ) -> bool {
        if !self.running.insert(key) {
            return false;
        }
        let task = self.jobs.spawn(async move { Done { key, peer, about, result: work.await } });
        self.started.insert(task.id(), key);
        if let (Key::Loan(id), Some(_)) = (key, peer) {
            self.steps.insert(id, task);
        }
        true
    }

    /// A loan is cancelled: what is being answered its peer goes no further.
    pub(super) fn stop_step(&mut self, id: LoanId) {
        if let Some(step) = self.steps.remove(&id) {
            step.abort();
        }
    }

    /// A key for a job on behalf of a person; any number may run.
    pub fn ask_key(&mut self) -> Key {
        self.asked += 1;
        Key::Ask(self.asked)
    }

    /// Hands a message to the peer network; what is not delivered is sent again from the loan's state.
    pub fn send(&mut self, peer: PublicKey, message: &Message) -> bool {
        let (kind, bytes) = message.write();
        crash::point(&format!("before-send-{kind}"));
        match self.tools.net.send(peer, Frame { kind, bytes }) {
            Ok(()) => {
                crash::point(&format!("after-send-{kind}"));
                true
            }
            Err(e) => {
                tracing::debug!(%peer, "not sent: {e}");
                false
            }
        }
    }

    /// A loan for a person.
    pub fn view(&self, id: LoanId) -> Result<LoanView, ErrorView> {
        let loan = self.loans.get(&id).ok_or_else(|| self.no_loan(id))?;
        let (price, oracles) = (self.price_of(loan), &loan.terms.oracles);
        let mut warnings = Vec::new();
        if !loan.has_ended() {
            warnings = [self.tools.proved(oracles), self.tools.conflicts(oracles)].concat();
            warnings.extend(self.tools.joined_in(&loan.terms));
            let missing = oracles.iter().filter(|oracle| !lock(&self.tools.oracles).contains_key(oracle));
            warnings.extend(missing.map(|oracle| {
                format!("oracle {oracle}, on which it rests, is not added here: `oracle add URL --pubkey {oracle}`")
            }));
            warnings.extend(checks::without_keys(&self.tools, loan));
            warnings.extend(self.why_apart(loan));
        }
        let pending_exit = self.pending_exit(loan);
        let turn = self.turn(loan);
        let due_note = self.due_note().filter(|_| !loan.has_ended()).map(str::to_owned);
        let price_note = if loan.has_ended() { None } else { self.why_no_price(loan) };
        let watched_at_cents = self.bounds_of(loan).ok().map(|price| price.at_or_below.0);
        let shown = present::loan(loan, self.moment, price.ok());
        let mut view = LoanView { warnings, pending_exit, turn, due_note, price_note, watched_at_cents, ..shown };
        let end = loan.exit.as_ref().map(|exit| exit.seen.transaction.compute_txid());
        view.transactions.extend(end.and_then(|end| lock(&self.tools.exits).child_of(id, end)));
        Ok(view)
    }

    fn answer_waiters(&mut self) {
        let now = Instant::now();
        let waiting = std::mem::take(&mut self.event_waiters);
        for waiter in waiting {
            let newer = self.events.after(waiter.after);
            if newer.is_empty() && waiter.until > now {
                self.event_waiters.push(waiter);
            } else {
                let _ = waiter.reply.send(Ok(newer));
            }
        }
    }

    /// Has everything known at this clock and height been done?
    pub fn is_idle(&self) -> bool {
        let now = self.moment.now;
        // On the machine's clock every look is a little late.
        let fresh = |looked: &Looked| match self.tools.clock.is_file() {
            true => looked.at == now,
            false => looked.when.elapsed() < AGAIN * 4,
        };
        let looked = lock(&self.tools.oracles).keys().all(|key| self.looked.get(key).is_some_and(fresh));
        let waiting =
            self.loans.values().any(|loan| present::waits_for_peer(loan) && self.tools.net.is_connected(loan.peer));
        self.caught_up && looked && self.running.is_empty() && !waiting
    }
}

/// A refusal. What is wrong with this node itself is not told in detail.
pub fn refused(about: [u8; 32], code: ErrorCode, message: &str) -> Message {
    let said = code.for_peers();
    let message = if said == code { message } else { "this node cannot do that right now; ask again in a while" };
    let message = message.chars().take(500).collect();
    Message::Refused(crate::protocol::messages::Refused { about, code: said.word().into(), message })
}

/// Every job kind in one place, so that `jobs` stays a list of names.
pub use jobs::{bump, checks, coin, negotiate, quote, repay, taking, watch};
