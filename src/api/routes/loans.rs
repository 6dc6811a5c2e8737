//! `GET /v1/loans`: every loan.

use super::prelude::*;
use crate::api::views::LoanView;

pub(super) async fn loans(State(shared): Node) -> Answer<Vec<LoanView>> {
    answer(shared.node.loans().await)
}
