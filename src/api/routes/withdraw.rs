//! `POST /v1/loans/{id}/withdraw`: the borrower takes back an open repayment proposal.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn withdraw(State(shared): Node, Id(loan_id): Id) -> Answer<LoanView> {
    answer(shared.node.withdraw(loan_id).await)
}
