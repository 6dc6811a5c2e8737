//! What a command that cannot be taken back would do, said before it is done: with the same checks and the same refusals.
//!
//! Nothing of it is recorded, and nothing leaves the node.

use super::core::{quote, repay, taking, Core};
use super::handle::Reply;
use super::jobs::coin;
use super::pay;
use super::refusals;
use super::tools::{error, Tools, Trouble};
use super::view::{ErrorView, PreviewRequest, PreviewView, SendRequest};
use crate::contract::repay::Source;
use crate::loan::terms::LoanId;
use crate::protocol::{ErrorCode, Input, Loan, Stage};
use bitcoin::Transaction;
use std::sync::Arc;

impl Core {
    /// Answers at once, or by a job.
    pub(super) fn preview(&mut self, request: PreviewRequest, reply: Reply<PreviewView>) {
        let tools = self.tools.clone();
        match request {
            PreviewRequest::Send { address, sats, all, with_fee_coin } => {
                let request = SendRequest { address, sats, all, with_fee_coin };
                let keep = self.keeps_fee_coin(&request);
                self.ask(async move { answer(reply, pay::preview_send(&tools, &request, keep).await) });
            }
            PreviewRequest::Consolidate { with_fee_coin } => {
                let keep = !with_fee_coin && self.has_unended_loans();
                self.ask(async move { answer(reply, pay::preview_consolidate(&tools, keep).await) });
            }
            PreviewRequest::Borrow { quote } => answer(reply, self.preview_borrow(quote)),
            PreviewRequest::Approve { loan_id } => match self.check_request(loan_id) {
                Ok(Ok((given, _))) => self.ask(async move {
                    answer(reply, taking::preview(&tools, &given.terms).await.map_err(|trouble| trouble.view()));
                }),
                Ok(Err((_, text))) => answer(reply, Err(error(ErrorCode::Refused, text))),
                Err(why) => answer(reply, Err(why)),
            },
            PreviewRequest::Cancel { loan_id } => match self.may_cancel(loan_id) {
                Ok(loan) if is_signed(&loan) => {
                    self.ask(async move { answer(reply, walking_away(&tools, &loan).await.map_err(|why| why.view())) });
                }
                Ok(_) => answer(reply, Ok(PreviewView::default())),
                Err(why) => answer(reply, Err(why)),
            },
            PreviewRequest::Repay { loan_id, from } => match self.one(loan_id) {
                Ok(loan) => self.ask(async move { answer(reply, repaying(&tools, &loan, from).await) }),
                Err(why) => answer(reply, Err(why)),
            },
            PreviewRequest::Withdraw { loan_id } => match self.one(loan_id) {
                Ok(loan) => {
                    self.ask(async move { answer(reply, withdrawing(&tools, &loan).await.map_err(|why| why.view())) });
                }
                Err(why) => answer(reply, Err(why)),
            },
            PreviewRequest::Receipt { loan_id } => answer(reply, self.preview_receipt(loan_id)),
        }
    }

    /// The loan that is meant.
    pub(super) fn one(&self, id: LoanId) -> Result<Arc<Loan>, ErrorView> {
        self.loans.get(&id).cloned().ok_or_else(|| self.no_loan(id))
    }

    /// The loan, where its side can still walk away.
    pub(super) fn may_cancel(&self, id: LoanId) -> Result<Arc<Loan>, ErrorView> {
        let loan = self.one(id)?;
        match refusals::not_cancelled(&loan) {
            Some(text) => Err(error(ErrorCode::Refused, text)),
            None => Ok(loan),
        }
    }

    fn preview_borrow(&self, quote: LoanId) -> Result<PreviewView, ErrorView> {
        let Some(got) = self.may_borrow(quote)? else { return Ok(PreviewView::default()) };
        let vain = self.shown_in_vain(got.peer);
        quote::preview(&self.tools, &vain, &got.terms).map_err(|trouble| trouble.view())
    }

    fn preview_receipt(&self, id: LoanId) -> Result<PreviewView, ErrorView> {
        let loan = self.one(id)?;
        match refusals::no_receipt(&loan) {
            Some(text) => Err(error(ErrorCode::Refused, text)),
            None => Ok(PreviewView {
                pays_sats: loan.terms.collateral.to_sat(),
                owed_cents: loan.terms.owed_at(self.moment.now).0,
                irrevocable: true,
                ..PreviewView::default()
            }),
        }
    }

    /// Does a payment of everything leave the coin for the fees of exits where it is?
    pub(super) fn keeps_fee_coin(&self, request: &SendRequest) -> bool {
        request.all && !request.with_fee_coin && self.has_unended_loans()
    }

    /// Is there a loan that may still need the coin for the fees of its exit?
    pub(super) fn has_unended_loans(&self) -> bool {
        self.loans.values().any(|loan| !loan.has_ended())
    }
}

/// Signed by both, and in no block: walking away takes a transaction.
pub(super) fn is_signed(loan: &Loan) -> bool {
    matches!(loan.stage, Stage::Signed | Stage::Funded | Stage::Confirming)
}

async fn repaying(tools: &Tools, loan: &Loan, from: Source) -> Result<PreviewView, ErrorView> {
    let view = repay::preview(tools, loan, from).await.map_err(|trouble| trouble.view())?;
    Ok(PreviewView { irrevocable: true, ..view })
}

/// What takes our funding coin back.
async fn walking_away(tools: &Tools, loan: &Loan) -> Result<PreviewView, Trouble> {
    let Input::Withdrawn(transaction) = coin::walk_away(tools, loan).await? else { return Ok(PreviewView::default()) };
    Ok(taken_back(tools, &transaction))
}

/// What takes the coin of an open repayment back.
async fn withdrawing(tools: &Tools, loan: &Loan) -> Result<PreviewView, Trouble> {
    let Input::RepaymentWithdrawn(transaction) = coin::withdraw_repayment(tools, loan).await? else {
        return Ok(PreviewView::default());
    };
    Ok(taken_back(tools, &transaction))
}

/// A transaction of ours to ourselves.
fn taken_back(tools: &Tools, transaction: &Transaction) -> PreviewView {
    let spent = pay::spent(tools, transaction);
    let back = pay::paid(transaction);
    let fee = spent.saturating_sub(back);
    PreviewView {
        fee_sats: Some(fee),
        sat_per_vb: Some(pay::rate_ceil(fee, transaction)),
        coins: u64::try_from(transaction.input.len()).unwrap_or(u64::MAX),
        gets_sats: back,
        irrevocable: true,
        ..PreviewView::default()
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T, ErrorView>) {
    // Whoever asked may have gone.
    let _ = reply.send(result);
}
