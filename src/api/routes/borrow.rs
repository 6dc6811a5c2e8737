//! `POST /v1/loans`: take a quote.

use super::prelude::*;
use crate::api::views::{BorrowRequest, LoanView};

pub(super) async fn borrow(State(shared): Node, Body(request): Body<BorrowRequest>) -> Answer<LoanView> {
    answer(shared.node.borrow(request.quote).await)
}
