//! `POST /v1/requests/{id}/approve`: lend what was asked for.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn approve(State(shared): Node, Id(loan_id): Id) -> Answer<LoanView> {
    answer(shared.node.approve(loan_id).await)
}
