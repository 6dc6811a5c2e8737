//! Recording: one input of one loan to events, on disk before anything else, then into the state.

use super::core::Core;
use super::jobs::Key;
use super::present;
use super::tools::{error, lock};
use super::view::{ErrorView, EventView, Severity};
use crate::crash;
use crate::loan::terms::LoanId;
use crate::protocol::state::StateError;
use crate::protocol::{decide, ErrorCode, Event, Input, Loan, Recorded, Stage};
use anyhow::Context;
use bitcoin::OutPoint;
use std::collections::HashSet;
use std::sync::Arc;

impl Core {
    /// Decides about one input of one loan and records what follows. `Err` only when the store fails.
    pub fn input(&mut self, id: LoanId, input: Input) -> anyhow::Result<Result<(), ErrorView>> {
        let Some(loan) = self.loans.get(&id) else {
            return Ok(Err(self.no_loan(id)));
        };
        if let Some(refusal) = self.clash(&input, id) {
            return Ok(Err(refusal));
        }
        match decide(loan, input, self.moment) {
            Ok(events) => self.record(id, self.sure(events)),
            Err(refusal) => Ok(Err(error(ErrorCode::Refused, refusal))),
        }
    }

    /// Without what a clock that nothing confirms says of a loan's due time: it is told once, so it must be true.
    fn sure(&self, events: Vec<Event>) -> Vec<Event> {
        let is_sure = |event: &Event| !self.is_clock_unconfirmed || !matches!(event, Event::DueSoon { .. });
        events.into_iter().filter(is_sure).collect()
    }

    /// An input nobody waits for: a refusal only goes to the log.
    pub fn tell(&mut self, id: LoanId, input: Input) -> anyhow::Result<()> {
        if let Err(refusal) = self.input(id, input)? {
            tracing::debug!(loan = %id, "{}", refusal.message);
        }
        Ok(())
    }

    /// Two loans never share a coin.
    pub(super) fn clash(&self, input: &Input, id: LoanId) -> Option<ErrorView> {
        let coins: Vec<OutPoint> = match input {
            Input::CoinConfirmed(coin) => vec![*coin],
            Input::Repaying(repayment) => {
                repayment.transaction.input.iter().skip(1).map(|input| input.previous_output).collect()
            }
            _ => return None,
        };
        let other =
            self.loans.values().find(|loan| loan.id != id && loan.reserved().iter().any(|c| coins.contains(c)))?;
        Some(error(ErrorCode::Coins, format!("a coin is set aside for loan {} already; try again", other.id)))
    }

    /// Puts events on disk, then into the state. The outer error is the disk's.
    pub fn record(&mut self, id: LoanId, events: Vec<Event>) -> anyhow::Result<Result<(), ErrorView>> {
        if events.is_empty() {
            return Ok(Ok(()));
        }
        let at = self.moment.now;
        let recorded: Vec<Recorded> = events.into_iter().map(|event| Recorded { at, event }).collect();
        // What cannot be applied must never reach the disk: the node could not start again.
        let (loan, views) = match self.foresee(id, &recorded) {
            Ok(next) => next,
            Err(e) => {
                tracing::error!(loan = %id, "not recorded: {e}");
                return Ok(Err(error(ErrorCode::Internal, format!("loan {id}: {e}"))));
            }
        };
        let before = self.loans.get(&id).map(|loan| loan.length).unwrap_or(0);
        let bytes = recorded.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>().context("write an event")?;
        for one in &recorded {
            crash::point(&format!("before-append-{}", one.event.name()));
        }
        let store = self.tools.store.clone();
        tokio::task::block_in_place(|| store.append(id.0.into(), before, &bytes)).context("put an event on disk")?;
        for one in &recorded {
            crash::point(&format!("after-append-{}", one.event.name()));
        }
        if let Some(old) = self.loans.get(&id).cloned() {
            self.unwatch(&old);
        }
        if matches!(loan.stage, Stage::Cancelled | Stage::Closed) {
            self.troubles.forget_loan(id);
        }
        self.adopt(loan);
        self.tell_wallet(&recorded)?;
        self.sent.remove(&id);
        if recorded.iter().any(|one| matches!(one.event, Event::GivenUp { .. })) {
            // What more is at stake than before is not to wait its turn.
            self.tried.remove(&Key::Loan(id));
        }
        if recorded.iter().any(|one| matches!(one.event, Event::Cancelled { .. })) {
            self.stop_step(id);
        }
        self.owe_backup(&recorded);
        for (record, view) in (before.saturating_add(1)..).zip(views) {
            self.show_record(view, record);
        }
        self.mind_negotiation(id, bytes.iter().fold(0, |sum, record| sum + record.len() as u64))?;
        self.turns += 1;
        self.reserve();
        Ok(Ok(()))
    }

    /// What takes a coin back counts in the wallet from its record on: who asks is not told of what it displaces until the
    /// chain tells of it. Where bitcoind does not take it, it goes nowhere, and the wallet forgets it.
    fn tell_wallet(&self, recorded: &[Recorded]) -> anyhow::Result<()> {
        for Recorded { at, event } in recorded {
            if let Event::Withdrawn { transaction } | Event::RepaymentWithdrawn { transaction } = event {
                let told = tokio::task::block_in_place(|| lock(&self.tools.wallet).record(transaction, *at));
                told.context("tell the wallet what takes a coin back")?;
            }
        }
        Ok(())
    }

    /// The loan after these events, and what people are told of each.
    pub(super) fn foresee(&self, id: LoanId, recorded: &[Recorded]) -> Result<(Loan, Vec<EventView>), StateError> {
        let mut loan = self.loans.get(&id).map(|loan| Loan::clone(loan));
        let mut views = Vec::new();
        for one in recorded {
            let before = loan.as_ref().and_then(|loan| loan.margin);
            let next = match loan.take() {
                Some(loan) => loan.apply(one)?,
                None => Loan::begin(one)?,
            };
            views.push(present::event(before, &next, one));
            loan = Some(next);
        }
        let loan = loan.ok_or_else(|| StateError::NotBegun("nothing".into()))?;
        Ok((loan, views))
    }

    /// Tells people and programs of something that no record of a loan says.
    pub(super) fn show(&mut self, view: EventView) {
        self.tell_people(view, None);
    }

    /// Tells them of a record of a loan's log, which is on disk.
    pub(super) fn show_record(&mut self, view: EventView, record: u64) {
        self.tell_people(view, Some(record));
    }

    fn tell_people(&mut self, view: EventView, record: Option<u64>) {
        let loan = view.loan_id.map(|id| id.to_string());
        match view.severity {
            Severity::Info | Severity::Notice => tracing::info!(loan, "{}: {}", view.event, view.text),
            Severity::Warning | Severity::Urgent => tracing::warn!(loan, "{}: {}", view.event, view.text),
        }
        let events = self.events.clone();
        // The loans' logs are the truth: where telling fails, no loan waits for it.
        if let Err(e) = tokio::task::block_in_place(|| events.add(view, record)) {
            self.trouble("events", e.to_string());
        }
    }

    /// Takes a loan in, watching what concerns it.
    pub fn adopt(&mut self, loan: Loan) {
        for outpoint in loan.watched() {
            self.watched.entry(outpoint).or_default().insert(loan.id);
        }
        self.loans.insert(loan.id, Arc::new(loan));
    }

    pub(super) fn unwatch(&mut self, loan: &Loan) {
        for outpoint in loan.watched() {
            if let Some(ids) = self.watched.get_mut(&outpoint) {
                ids.remove(&loan.id);
                if ids.is_empty() {
                    self.watched.remove(&outpoint);
                }
            }
        }
    }

    /// Tells the wallet which coins the loans hold, and which addresses they may pay.
    pub fn reserve(&mut self) {
        let mut reserved: HashSet<OutPoint> = self.loans.values().flat_map(|loan| loan.reserved()).collect();
        let is_open = |id: &LoanId| self.loans.get(id).is_some_and(|loan| !loan.is_over());
        reserved.extend(lock(&self.tools.exits).coins(is_open));
        let held = self.loans.values().flat_map(|loan| loan.paid_to()).collect();
        let mut wallet = lock(&self.tools.wallet);
        reserved.extend(self.restored.iter().flat_map(|restored| restored.unmoved(&wallet)));
        wallet.set_reserved(reserved);
        wallet.set_held(held);
        drop(wallet);
        self.keep_places();
    }
}
