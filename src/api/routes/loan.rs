//! `GET /v1/loans/{id}`: one loan.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn loan(State(shared): Node, Id(loan_id): Id) -> Answer<LoanView> {
    answer(shared.node.loan(loan_id).await)
}
