//! `GET /v1/requests`: what waits for a person's word.

use super::prelude::*;
use crate::api::views::RequestView;

pub(super) async fn requests(State(shared): Node) -> Answer<Vec<RequestView>> {
    answer(shared.node.requests().await)
}
