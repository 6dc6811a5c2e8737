//! `POST /v1/loans/{id}/cancel`: give up a loan that is not funded yet.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn cancel(State(shared): Node, Id(loan_id): Id) -> Answer<LoanView> {
    answer(shared.node.cancel(loan_id).await)
}
