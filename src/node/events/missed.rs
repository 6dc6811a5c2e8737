//! What a crash kept from being told: records of a loan's log that no event tells yet.

use super::super::core::Core;
use crate::loan::terms::LoanId;
use crate::protocol::{Loan, Recorded};
use crate::store::Store;
use anyhow::Context;

impl Core {
    /// Tells it, in the order of the logs. Called once, when all loans are in.
    pub(in crate::node) fn tell_missed(&mut self) -> anyhow::Result<()> {
        let lengths: Vec<(LoanId, u64)> = self.loans.iter().map(|(id, loan)| (*id, loan.length)).collect();
        for (id, length) in lengths {
            let (told, since) = self.events.untold(id);
            if told >= length {
                continue;
            }
            let log = recorded(&*self.tools.store, id)?;
            let gone = length.saturating_sub(log.len() as u64);
            let missing = log.iter().skip(usize::try_from(told.saturating_sub(gone)).unwrap_or(usize::MAX));
            // A loan older than the numbering is told from then on.
            if missing.clone().all(|one| one.at.0 < since) {
                continue;
            }
            self.tell_from(id, &log, told, (gone, since))?;
        }
        Ok(())
    }

    fn tell_from(&mut self, id: LoanId, log: &[Recorded], told: u64, (gone, since): (u64, u32)) -> anyhow::Result<()> {
        let mut loan: Option<Loan> = None;
        for (record, one) in (gone.saturating_add(1)..).zip(log) {
            let before = loan.as_ref().and_then(|loan| loan.margin);
            let next = match loan.take() {
                Some(loan) => loan.apply(one),
                None => Loan::begin(one),
            };
            let next = next.with_context(|| format!("replay loan {id}"))?;
            if record > told && one.at.0 >= since {
                let view = super::super::present::event(before, &next, one);
                self.show_record(view, record);
            }
            loan = Some(next);
        }
        Ok(())
    }
}

/// The whole log of a loan.
pub(in crate::node) fn recorded(store: &dyn Store, id: LoanId) -> anyhow::Result<Vec<Recorded>> {
    let records = store.read(id.0.into())?;
    let read = |bytes: &Vec<u8>| serde_json::from_slice(bytes);
    records.iter().map(read).collect::<Result<_, _>>().with_context(|| format!("read the events of loan {id}"))
}
