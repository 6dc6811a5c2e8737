//! `POST /v1/loans/{id}/cancel`: walk away from a loan whose funding is not in a block.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn cancel(State(shared): Node, Id(loan_id): Id) -> Answer<LoanView> {
    answer(shared.node.cancel(loan_id).await)
}
