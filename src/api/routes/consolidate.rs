//! `POST /v1/wallet/consolidate`: join the smallest free coins into one.

use super::prelude::*;
use crate::api::views::Consolidated;

pub(super) async fn consolidate(State(shared): Node) -> Answer<Consolidated> {
    answer(shared.node.consolidate().await)
}
