//! Negotiations that came to nothing: their records are made brief, and of those that a lender had only so many are kept.
//!
//! What was exchanged in one is long, costs who began it nothing, and is of no use to anybody afterwards.

use super::core::Core;
use crate::contract::Role;
use crate::loan::terms::LoanId;
use crate::protocol::brief::brief;
use crate::protocol::{Loan, Recorded};
use crate::store::Store;
use anyhow::Context;
use std::sync::Arc;

/// Negotiations that came to nothing that a lender keeps, the latest: terms and reason of each.
const KEPT: usize = 1_000;

impl Core {
    /// A loan has changed, and its log is so many bytes longer: counts it while it is negotiated, and lets go of it where
    /// it came to nothing.
    pub(super) fn mind_negotiation(&mut self, id: LoanId, grown: u64) -> anyhow::Result<()> {
        let Some(loan) = self.loans.get(&id).cloned() else { return Ok(()) };
        match loan.role == Role::Lender && loan.is_negotiating() {
            true => self.limits.negotiations.grew(id, loan.peer, &loan.terms, grown),
            false => self.limits.negotiations.ended(&id),
        }
        self.mind_shown(id)?;
        if !loan.came_to_nothing() {
            return Ok(());
        }
        self.fallbacks.remove(&id);
        let store = self.tools.store.clone();
        tokio::task::block_in_place(|| shorten(&*store, id))?;
        self.forget_oldest()
    }

    /// What an earlier version, or a crash, left long. Called once, when all loans are in and all is told of them.
    pub(super) fn mind_negotiations(&mut self) -> anyhow::Result<()> {
        let store = self.tools.store.clone();
        for loan in self.loans.values().cloned().collect::<Vec<_>>() {
            let is_negotiated = loan.role == Role::Lender && loan.is_negotiating();
            let length = match is_negotiated {
                true => store.read(loan.id.0.into())?.iter().fold(0, |sum, record| add(sum, record.len())),
                false => 0,
            };
            self.mind_negotiation(loan.id, length)?;
        }
        Ok(())
    }

    /// Of the negotiations of a lender that came to nothing the longest ago are forgotten: what is known of their coins
    /// is kept elsewhere.
    fn forget_oldest(&mut self) -> anyhow::Result<()> {
        let mut vain: Vec<&Arc<Loan>> =
            self.loans.values().filter(|loan| loan.role == Role::Lender && loan.came_to_nothing()).collect();
        let many = vain.len().saturating_sub(KEPT);
        vain.sort_unstable_by_key(|loan| (loan.since, loan.id));
        for id in vain.into_iter().take(many).map(|loan| loan.id).collect::<Vec<_>>() {
            let store = self.tools.store.clone();
            let forget = || store.replace(id.0.into(), store.length(id.0.into())?, &[]);
            tokio::task::block_in_place(forget).with_context(|| format!("forget loan {id}"))?;
            self.loans.remove(&id);
            self.sent.remove(&id);
        }
        Ok(())
    }
}

/// Puts the brief log of a loan that came to nothing in the place of its log.
fn shorten(store: &dyn Store, id: LoanId) -> anyhow::Result<()> {
    let stream = id.0.into();
    let log: Vec<Recorded> = store
        .read(stream)?
        .iter()
        .map(|bytes| serde_json::from_slice(bytes))
        .collect::<Result<_, _>>()
        .with_context(|| format!("read the events of loan {id}"))?;
    let Some(brief) = brief(&log).with_context(|| format!("replay loan {id}"))? else { return Ok(()) };
    let bytes = brief.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>().context("write an event")?;
    store.replace(stream, store.length(stream)?, &bytes).with_context(|| format!("make the log of loan {id} brief"))
}

fn add(sum: u64, length: usize) -> u64 {
    sum.saturating_add(u64::try_from(length).unwrap_or(u64::MAX))
}
