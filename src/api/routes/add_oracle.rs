//! `POST /v1/oracles`: pin an oracle's key and use it.

use super::prelude::*;
use crate::api::views::{OracleRequest, OracleView};

pub(super) async fn add_oracle(State(shared): Node, Body(request): Body<OracleRequest>) -> Answer<OracleView> {
    answer(shared.node.add_oracle(request).await)
}
