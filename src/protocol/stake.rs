//! What a loan's exit is worth to this side, and so what may be paid for it.

use super::decide::recognise;
use super::event::{paid, Exit};
use super::state::Loan;
use crate::contract::Role;
use crate::loan::payout::{fallback_floor, Payout};
use crate::settlement::bump;
use bitcoin::{Amount, Transaction};

impl Loan {
    /// Which exit a transaction is that is wanted or seen.
    pub fn exit_of(&self, transaction: &Transaction) -> Option<Exit> {
        let txid = transaction.compute_txid();
        let pending = self.pending.as_ref().filter(|pending| pending.transaction.compute_txid() == txid);
        match pending {
            Some(pending) => Some(pending.exit),
            None => self.skeleton.as_ref().and_then(|skeleton| recognise(self, skeleton, transaction).0),
        }
    }

    /// What this side may pay at most so that this exit confirms: what it would lose by the `rival` that stands in its
    /// place, or by the worst of all that others could bring out later.
    pub fn worth_of(&self, transaction: &Transaction, rival: Option<&Transaction>) -> Amount {
        let ours = self.share(&self.split_of(transaction));
        if let Some(rival) = rival {
            return ours.checked_sub(self.share(&self.split_of(rival))).unwrap_or(Amount::ZERO);
        }
        // Once the price at due is said there is no other.
        let fixed = matches!(self.exit_of(transaction), Some(Exit::Matured | Exit::FellBack | Exit::Refunded));
        let steps = self.payouts.fixing.iter().filter(|_| !fixed);
        let fixings = steps.map(|step| self.share(&Payout::of_lender(step.lender, self.payouts.total)));
        let touches = self.payouts.touches.iter().map(|touch| self.share(touch));
        bump::most(ours, fixings.chain(touches).chain([self.share(&fallback_floor(&self.terms))]))
    }

    /// What an exit brings each side. What a repayment's proposer brought to it is no gain.
    fn split_of(&self, transaction: &Transaction) -> Payout {
        let open = self.repayment.as_ref().filter(|open| open.transaction.compute_txid() == transaction.compute_txid());
        match (open, &self.skeleton) {
            (Some(open), _) => Payout::of_claim(open.claim(self), &self.terms),
            (None, Some(skeleton)) => {
                let (lender, borrower) = paid(skeleton, transaction);
                Payout { lender, borrower }
            }
            (None, None) => Payout { lender: Amount::ZERO, borrower: Amount::ZERO },
        }
    }

    /// Our part of a split.
    fn share(&self, split: &Payout) -> Amount {
        match self.role {
            Role::Lender => split.lender,
            Role::Borrower => split.borrower,
        }
    }
}
