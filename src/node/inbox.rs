//! What a peer's message leads to: nothing, or a job on a snapshot of the loan it is about.

use super::core::{negotiate, quote, refused, repay, taking, Core};
use super::jobs::{Key, Outcome};
use super::limits::Task;
use super::tools::{lock, Trouble};
use crate::contract::Role;
use crate::loan::policy::Approval;
use crate::loan::terms::LoanId;
use crate::protocol::ending::Ending;
use crate::protocol::messages::{Borrow, Coin, Fallback, QuoteRequest, Refused};
use crate::protocol::{ErrorCode, Input, LenderStep, Loan, Message, Stage};
use crate::settlement::proposal;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::PublicKey;
use std::sync::Arc;
use std::time::Instant;

/// Said to who asks for more than it has turns for.
const BUSY: &str = "this node is asked for more than it does at once; ask again in a while";

/// How long a lender's proposal is still what the borrower asked for.
const WISH: std::time::Duration = std::time::Duration::from_secs(60);
/// A short message can ask for a long one again; not more often than this.
pub(super) const SAY_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

impl Core {
    /// Takes one message. Everything in it is a claim until a job has checked it.
    pub fn on_message(&mut self, peer: PublicKey, message: Message) -> anyhow::Result<()> {
        if self.is_deaf_to(peer, &message) {
            return Ok(());
        }
        match message {
            Message::QuoteRequest(request) => self.on_quote_request(peer, request),
            Message::Quote(quote) => {
                if let Some(waiter) = lock(&self.tools.waiters).remove(&quote.request) {
                    let _ = waiter.send(Ok(quote));
                }
            }
            Message::Refused(refusal) => return self.on_refused(peer, refusal),
            Message::Borrow(borrow) => return self.on_borrow(peer, borrow),
            Message::Ready(ready) => {
                self.say_ended(peer, LoanId(ready.loan));
                if let Some(loan) = self.party(peer, LoanId(ready.loan), Role::Borrower, &Stage::Agreed) {
                    let work = negotiate::make_offer(self.tools.clone(), loan.clone());
                    self.spawn_for(peer, loan.id, work);
                }
            }
            Message::Fallback(fallback) => self.on_fallback(peer, &fallback),
            Message::Offer(bytes) => {
                // The temporary id is at a fixed place: after type, version, flags and chain. A job reads the rest,
                // and only for a loan that waits for it.
                let Some(id) = bytes.get(39..71).and_then(|id| id.try_into().ok()).map(LoanId) else { return Ok(()) };
                if let Some(loan) = self.party(peer, id, Role::Lender, &Stage::Ready) {
                    let work = negotiate::answer_offer(self.tools.clone(), loan, bytes);
                    self.spawn_for(peer, id, work);
                } else {
                    self.say_ended(peer, id);
                    self.say_again(peer, id);
                }
            }
            Message::Accept(bytes) => self.on_accept(peer, bytes),
            Message::Sign(bytes) => self.on_sign(peer, bytes),
            Message::Repay(message) => {
                let id = LoanId(message.loan);
                let wished = self.wishes.get(&id).is_some_and(|asked| asked.elapsed() < WISH);
                let found = self.repayable(peer, id, Role::Lender);
                // As borrower only what we asked for: nobody repays a loan for us unasked.
                let found = found.or_else(|| self.repayable(peer, id, Role::Borrower).filter(|_| wished));
                self.not_yet_repayable(peer, id);
                if let Some(loan) = found {
                    // One that is too old to be answered again does not keep another from being made.
                    let now = self.moment.now;
                    let open = |open: &crate::protocol::event::Repayment| proposal::is_alive(open.at, now);
                    if !loan.repayment.as_ref().is_some_and(open) {
                        let work = repay::answer(self.tools.clone(), loan, message);
                        if self.spawn_as(Task::Repayment, peer, id, work) == Turn::TooMany {
                            self.send(peer, &refused(id.0, ErrorCode::Busy, BUSY));
                        }
                    }
                }
            }
            Message::RepayRequest(request) => {
                let id = LoanId(request.loan);
                let open = self.repayable(peer, id, Role::Lender);
                self.not_yet_repayable(peer, id);
                if let Some(loan) = open.filter(|loan| loan.repayment.is_none()) {
                    let work = repay::propose_for_borrower(self.tools.clone(), loan);
                    if self.spawn_as(Task::Repayment, peer, id, work) == Turn::TooMany {
                        self.send(peer, &refused(id.0, ErrorCode::Busy, BUSY));
                    }
                }
            }
            Message::Equivocation(message) => {
                if self.limits.take(peer, Task::Work, Instant::now()) {
                    self.on_equivocation(peer, &message);
                }
            }
            Message::LoansOfMine(message) => self.on_loans_of_mine(peer, &message),
            Message::LoanOfYours(message) => return self.on_loan_of_yours(peer, message),
            Message::Progress(progress) => {
                let id = LoanId(progress.loan);
                self.say_ended(peer, id);
                let waits = self.party(peer, id, Role::Borrower, &Stage::Agreed).is_some();
                if let Some(step) = LenderStep::of(progress.step).filter(|_| waits) {
                    self.tell(id, Input::LenderStep { step, until: progress.until })?;
                }
            }
            Message::Receipt(receipt) => {
                let id = LoanId(receipt.loan);
                if let Some(loan) = self.repayable(peer, id, Role::Borrower) {
                    let work = super::jobs::receipt::take(self.tools.clone(), loan, receipt);
                    self.spawn_for(peer, id, work);
                }
            }
        }
        Ok(())
    }

    /// The loan, if it is with this peer, we are on that side of it and it stands there.
    fn party(&self, peer: PublicKey, id: LoanId, role: Role, stage: &Stage) -> Option<Arc<Loan>> {
        self.loans.get(&id).filter(|loan| loan.peer == peer && loan.role == role && loan.stage == *stage).cloned()
    }

    /// A borrower that would repay a loan whose funding transaction waits for a block is told so, and not left to wait.
    fn not_yet_repayable(&mut self, peer: PublicKey, id: LoanId) {
        let loan = self.loans.get(&id).filter(|loan| loan.peer == peer && loan.role == Role::Lender);
        let out = |loan: &Arc<Loan>| matches!(loan.stage, Stage::Funded | Stage::Confirming);
        let waits = loan.is_some_and(|loan| out(loan) && !loan.is_funded());
        if waits && self.limits.take(peer, Task::Work, Instant::now()) {
            let text = "the loan's funding transaction is in no block yet: it can be repaid once it is";
            self.send(peer, &refused(id.0, ErrorCode::Stage, text));
        }
    }

    /// The loan, if it is with this peer, we are on that side of it and it may be repaid.
    fn repayable(&self, peer: PublicKey, id: LoanId, role: Role) -> Option<Arc<Loan>> {
        self.loans.get(&id).filter(|loan| loan.peer == peer && loan.role == role && loan.is_repayable()).cloned()
    }

    /// A peer that repeats itself has not got our answer.
    fn say_again(&mut self, peer: PublicKey, id: LoanId) {
        let lately = |(_, when): &(Vec<u16>, std::time::Instant)| when.elapsed() < SAY_AGAIN;
        let ours = self.loans.get(&id).is_some_and(|loan| loan.peer == peer);
        if ours && !self.sent.get(&id).is_some_and(lately) {
            self.sent.remove(&id);
        }
    }

    /// Starts a job on what a peer said of a loan, unless one is running or the peer has had its turns. What is not looked at
    /// now is said again in a moment.
    fn spawn_for(
        &mut self,
        peer: PublicKey,
        id: LoanId,
        work: impl std::future::Future<Output = Result<Outcome, Trouble>> + Send + 'static,
    ) -> Turn {
        self.spawn_as(Task::Work, peer, id, work)
    }

    /// The same, counted as this task.
    fn spawn_as(
        &mut self,
        task: Task,
        peer: PublicKey,
        id: LoanId,
        work: impl std::future::Future<Output = Result<Outcome, Trouble>> + Send + 'static,
    ) -> Turn {
        if self.running.contains(&Key::Loan(id)) {
            return Turn::Running;
        }
        if !self.limits.take(peer, task, Instant::now()) {
            return Turn::TooMany;
        }
        self.spawn(Key::Loan(id), Some(peer), id.0, work);
        Turn::Begun
    }

    fn on_borrow(&mut self, peer: PublicKey, borrow: Borrow) -> anyhow::Result<()> {
        let id = LoanId(borrow.loan);
        // Known already: what it waits for is sent again from its state.
        if self.loans.get(&id).is_some_and(|loan| loan.peer == peer && !cancelled(loan)) {
            self.say_progress(peer, id);
            self.say_again(peer, id);
            return Ok(());
        }
        if self.requests.get(&id).is_some_and(|request| request.peer() == peer) {
            self.say_progress(peer, id);
            return Ok(());
        }
        let Some(given) = self.quotes.of(&id, &peer).cloned() else {
            let text = "no such quote is open here: it expired, its coins went elsewhere, or the node was restarted; ask for a new one";
            // Anybody can ask for any number of them.
            if self.limits.take(peer, Task::Work, Instant::now()) {
                self.send(peer, &refused(id.0, ErrorCode::UnknownQuote, text));
            }
            return Ok(());
        };
        // What can be said without asking anybody is said first.
        if let Err((code, message)) = self.may_look(&given, &borrow) {
            tracing::debug!(%peer, loan = %id, "{message}");
            self.send(peer, &refused(id.0, code, &message));
            return Ok(());
        }
        let tools = self.tools.clone();
        let coins: Vec<_> = borrow.coins.iter().map(Coin::outpoint).collect();
        let vain = self.coins_in_vain(&coins, id);
        let turn = match self.policy.approval {
            Approval::Automatic => self.spawn_for(peer, id, taking::prove(tools, given, borrow, vain)),
            Approval::Manual => self.spawn_for(peer, id, taking::ask_person(tools, given, borrow, vain)),
        };
        if turn == Turn::TooMany {
            self.send(peer, &refused(id.0, ErrorCode::Busy, BUSY));
        }
        Ok(())
    }

    fn on_quote_request(&mut self, peer: PublicKey, request: QuoteRequest) {
        if !self.limits.take(peer, Task::Quote, Instant::now()) {
            self.send(peer, &refused(request.request, ErrorCode::Busy, BUSY));
            return;
        }
        if let Err((code, why)) = self.begins_loans() {
            self.send(peer, &refused(request.request, code, &why));
            return;
        }
        let exposure = self.exposure();
        let about = request.request;
        let work = quote::give(self.tools.clone(), peer, request, self.policy.clone(), exposure);
        if !self.spawn(Key::Peer(peer), Some(peer), about, work) {
            self.send(peer, &refused(about, ErrorCode::Busy, "one request at a time; ask again in a moment"));
        }
    }

    fn on_fallback(&mut self, peer: PublicKey, fallback: &Fallback) {
        let id = LoanId(fallback.loan);
        self.say_ended(peer, id);
        let known = self.loans.get(&id).is_some_and(|loan| loan.peer == peer);
        if let (true, Ok(signature)) = (known, Signature::from_compact(&fallback.signature)) {
            self.fallbacks.insert(id, signature);
        }
    }

    fn on_accept(&mut self, peer: PublicKey, bytes: Vec<u8>) {
        // The temporary id is at a fixed place: after type and version.
        let Some(id) = bytes.get(6..38).and_then(|id| id.try_into().ok()).map(LoanId) else { return };
        let Some(loan) = self.party(peer, id, Role::Borrower, &Stage::Offered) else {
            self.say_again(peer, id);
            return;
        };
        if let Some(fallback) = self.fallbacks.get(&id).copied() {
            let work = negotiate::answer_accept(self.tools.clone(), loan, bytes, fallback);
            self.spawn_for(peer, id, work);
        }
    }

    fn on_sign(&mut self, peer: PublicKey, bytes: Vec<u8>) {
        // A sign names the contract, not the loan; the sender has few loans waiting for one.
        let contract: Option<[u8; 32]> = bytes.get(6..38).and_then(|id| id.try_into().ok());
        let found = self.loans.values().find(|loan| {
            let funding = loan.skeleton.as_ref().map(|skeleton| skeleton.funding);
            loan.peer == peer
                && loan.role == Role::Lender
                && loan.stage == Stage::Accepted
                && funding.map(|funding| crate::contract::sign::contract_id(funding, loan.id.0)) == contract
        });
        let Some(loan) = found.cloned() else { return };
        let id = loan.id;
        if let Some(fallback) = self.fallbacks.get(&id).copied() {
            let work = negotiate::answer_sign(self.tools.clone(), loan, bytes, fallback);
            self.spawn_for(peer, id, work);
        }
    }

    fn on_refused(&mut self, peer: PublicKey, refusal: Refused) -> anyhow::Result<()> {
        if let Some(waiter) = lock(&self.tools.waiters).remove(&refusal.about) {
            let _ = waiter.send(Err(refusal));
            return Ok(());
        }
        let id = LoanId(refusal.about);
        // Who is busy has refused nothing: what waits for it is said again.
        if refusal.code == ErrorCode::Busy.word() && !self.wishes.contains_key(&id) {
            return Ok(());
        }
        let Some(loan) = self.loans.get(&id).filter(|loan| loan.peer == peer) else {
            self.give_up_quote(peer, id);
            return self.on_request_refused(peer, id, &refusal.message);
        };
        tracing::debug!(loan = %id, "the peer refuses: {}", refusal.message);
        let reason = format!("the {} refused: {}", loan.role.other(), refusal.message);
        // One that holds our half-signed repayment, or was asked to make one.
        if loan.is_proposing() || self.wishes.remove(&id).is_some() {
            return self.tell(id, Input::RepaymentRefused { reason });
        }
        let reason = match refusal.code == ErrorCode::Coins.word() {
            true => self.with_way_round(loan, reason),
            false => reason,
        };
        let cancel = self.cancel_for(loan, Ending::TheyRefused(&refusal.code), reason);
        self.tell(id, cancel)
    }
}

/// What became of a job for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It runs.
    Begun,
    /// Another one of the same loan runs.
    Running,
    /// The peer has had its turns.
    TooMany,
}

fn cancelled(loan: &Loan) -> bool {
    matches!(loan.stage, Stage::Cancelled)
}
