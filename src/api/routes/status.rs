//! `GET /v1/status`: how is the node?

use super::prelude::*;
use crate::api::views::Status;

pub(super) async fn status(State(shared): Node) -> Answer<Status> {
    answer(shared.node.status().await)
}
