//! `POST /v1/quotes`: ask a lender.

use super::prelude::*;
use crate::api::views::{QuoteRequest, QuoteView};

pub(super) async fn quote(State(shared): Node, Body(request): Body<QuoteRequest>) -> Answer<QuoteView> {
    answer(shared.node.quote(request).await)
}
