//! `GET /v1/quotes`: the quotes got that can still be taken, the one that ends first first.

use super::prelude::*;
use crate::api::views::QuoteView;

pub(super) async fn quotes(State(shared): Node) -> Answer<Vec<QuoteView>> {
    answer(shared.node.quotes().await)
}
