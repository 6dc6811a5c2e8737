//! Doing what the loans ask for: sending, broadcasting, starting jobs. Derived from state at every turn.

use super::core::{checks, coin, quote, watch, Core, AGAIN};
use super::jobs::{Key, Outcome};
use super::tools::lock;
use crate::loan::terms::LoanId;
use crate::loan::units::HOUR;
use crate::protocol::{todo, Action, Loan, Message};
use bitcoin::Transaction;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often, in real time, an oracle is asked for hand-overs, and how soon again when it did not answer.
const ROTATIONS_AGAIN: Duration = Duration::from_secs(600);
const ROTATIONS_RETRY: Duration = Duration::from_secs(30);
/// The type of a receipt, and how soon it is said again on one connection. Real time.
const RECEIPT: u16 = 33015;
const RECEIPT_AGAIN: Duration = Duration::from_secs(60);

impl Core {
    /// Goes through every loan and does what is to be done and is not being done.
    pub fn act(&mut self) -> anyhow::Result<()> {
        let loans: Vec<Arc<Loan>> =
            self.loans.values().filter(|loan| !loan.is_over() || loan.lacks_price()).cloned().collect();
        for loan in &loans {
            for action in todo(loan, self.moment) {
                if self.may_do(loan, &action) {
                    self.perform(loan, action);
                }
            }
        }
        self.mind_exits(&loans);
        self.mind_troubles();
        self.mind_disk();
        self.watch_oracles(&loans);
        self.ask_for_rotations();
        self.tell_operators();
        self.mind_proofs();
        self.move_coins();
        self.mind_lost_loans();
        self.mind_fee_coin();
        self.mind_outgoing()?;
        self.renew_backup();
        Ok(())
    }

    fn perform(&mut self, loan: &Arc<Loan>, action: Action) {
        match action {
            Action::Send(messages) => self.send_again(loan, &messages),
            Action::SendBorrow => {
                if self.is_time_to_send(loan, &[33007]) {
                    match quote::borrow(&self.tools, loan) {
                        Ok(message) => self.send_again(loan, &[message]),
                        Err(trouble) => self.trouble("coins", trouble.message().to_owned()),
                    }
                }
            }
            Action::PrepareCoin => {
                let work = coin::prepare(self.tools.clone(), loan.clone());
                self.spawn_rarely(loan.id, work);
            }
            Action::Broadcast(transaction) if self.is_minded(loan, &transaction) => {}
            Action::Broadcast(transaction) => self.broadcast(loan.id, *transaction),
            // Before the chain has been read to its tip, what is taken back may be funded already.
            Action::Withdraw | Action::WithdrawRepayment if !self.at_tip => {}
            Action::Withdraw => {
                let work = coin::withdraw(self.tools.clone(), loan.clone());
                self.spawn_rarely(loan.id, work);
            }
            Action::WithdrawRepayment => self.withdraw_repayment(loan.id),
            Action::Settle(clause) => {
                let work = checks::settle_said(self.tools.clone(), loan.clone(), clause);
                self.spawn_seldom(Key::Settle(loan.id), loan.id, work);
            }
            // Looked at for all loans together.
            Action::FetchFixing | Action::WatchTouches => {}
        }
    }

    /// Takes back the coin of an open repayment proposal.
    fn withdraw_repayment(&mut self, id: LoanId) {
        let Some(loan) = self.loans.get(&id).cloned() else { return };
        let tools = self.tools.clone();
        let work = async move {
            let input = coin::withdraw_repayment(&tools, &loan).await?;
            Ok(Outcome::Inputs(id, vec![input]))
        };
        self.spawn_rarely(id, work);
    }

    /// The one job a loan has at a time; see [`Core::spawn_seldom`].
    fn spawn_rarely(
        &mut self,
        id: LoanId,
        work: impl std::future::Future<Output = Result<Outcome, super::tools::Trouble>> + Send + 'static,
    ) {
        self.spawn_seldom(Key::Loan(id), id, work);
    }

    /// A loan's own job, not more often than every few seconds of real time unless something happened.
    pub(super) fn spawn_seldom(
        &mut self,
        key: Key,
        id: LoanId,
        work: impl std::future::Future<Output = Result<Outcome, super::tools::Trouble>> + Send + 'static,
    ) {
        let tried = self.tried.get(&key).is_some_and(|(turn, when)| *turn == self.tip && when.elapsed() < AGAIN);
        if !tried && self.spawn(key, None, id.0, work) {
            self.tried.insert(key, (self.tip, Instant::now()));
        }
    }

    fn is_time_to_send(&self, loan: &Loan, kinds: &[u16]) -> bool {
        // A receipt is answered by nothing, and its exit may wait for weeks.
        let again = if kinds == [RECEIPT] { RECEIPT_AGAIN } else { AGAIN };
        let sent = self.sent.get(&loan.id);
        self.tools.net.is_connected(loan.peer)
            && !sent.is_some_and(|(what, when)| what == kinds && when.elapsed() < again)
    }

    fn send_again(&mut self, loan: &Loan, messages: &[Message]) {
        let kinds: Vec<u16> = messages.iter().map(|message| message.write().0).collect();
        if !self.is_time_to_send(loan, &kinds) {
            return;
        }
        if messages.iter().all(|message| self.send(loan.peer, message)) {
            self.sent.insert(loan.id, (kinds, Instant::now()));
        }
    }

    fn broadcast(&mut self, id: LoanId, transaction: Transaction) {
        let txid = transaction.compute_txid();
        if self.broadcast.get(&txid).is_some_and(|when| when.elapsed() < AGAIN) {
            return;
        }
        self.broadcast.insert(txid, Instant::now());
        let work = coin::broadcast(self.tools.clone(), transaction);
        self.spawn(Key::Broadcast(txid), None, id.0, work);
    }

    /// Asks every oracle for hand-overs now and then: they come once in years.
    fn ask_for_rotations(&mut self) {
        let oracles: Vec<_> = lock(&self.tools.oracles).keys().copied().collect();
        let at = self.moment.now;
        for oracle in oracles {
            let fresh = self.rotations_asked.get(&oracle).is_some_and(|(asked, answered)| {
                let rest = if *answered { ROTATIONS_AGAIN } else { ROTATIONS_RETRY };
                at.since(asked.at) < HOUR && asked.when.elapsed() < rest
            });
            if !fresh && !self.running.contains(&Key::Rotations(oracle)) {
                let tools = self.tools.clone();
                let work = async move { Ok(watch::rotations(tools, oracle, at).await) };
                self.spawn(Key::Rotations(oracle), None, [0; 32], work);
            }
        }
    }

    /// Looks at every oracle when time has moved, and again when it was silent or some real time has passed.
    fn watch_oracles(&mut self, loans: &[Arc<Loan>]) {
        let oracles: Vec<_> = lock(&self.tools.oracles).keys().copied().collect();
        for oracle in oracles {
            let at = self.moment.now;
            // A clock that moves by itself is no reason to ask every second.
            let fast = self.tools.clock.is_file();
            let same = |looked: &super::core::Looked| (!fast || looked.at == at) && looked.when.elapsed() < AGAIN;
            let fresh = self.looked.get(&oracle).is_some_and(same);
            if fresh || self.running.contains(&Key::Watch(oracle)) {
                continue;
            }
            let watching: Vec<Arc<Loan>> = loans
                .iter()
                .filter(|loan| loan.terms.oracles.contains(&oracle))
                .filter(|loan| {
                    todo(loan, self.moment)
                        .iter()
                        .any(|action| matches!(action, Action::WatchTouches | Action::FetchFixing))
                })
                .cloned()
                .collect();
            let tools = self.tools.clone();
            let work = async move { Ok(watch::look(tools, oracle, at, watching).await) };
            self.spawn(Key::Watch(oracle), None, [0; 32], work);
        }
    }
}
