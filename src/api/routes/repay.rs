//! `POST /v1/loans/{id}/repay`: repay a loan, in one transaction.

use super::prelude::*;
use crate::api::views::{LoanView, RepayRequest};

pub(super) async fn repay(State(shared): Node, Id(loan_id): Id, Body(request): Body<RepayRequest>) -> Answer<LoanView> {
    answer(shared.node.repay(loan_id, request.from).await)
}
