//! `GET /v1/oracles`: the oracles known.

use super::prelude::*;
use crate::api::views::OracleView;

pub(super) async fn oracles(State(shared): Node) -> Answer<Vec<OracleView>> {
    answer(shared.node.oracles().await)
}
