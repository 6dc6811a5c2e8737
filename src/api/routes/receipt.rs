//! `POST /v1/loans/{id}/receipt`: the lender frees the collateral.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn receipt(State(shared): Node, Id(loan_id): Id) -> Answer<LoanView> {
    answer(shared.node.receipt(loan_id).await)
}
