//! `POST /v1/wallet/consolidate`: join the smallest free coins into one.

use super::prelude::*;
use crate::api::views::{ConsolidateRequest, Consolidated};

pub(super) async fn consolidate(
    State(shared): Node,
    OrNothing(request): OrNothing<ConsolidateRequest>,
) -> Answer<Consolidated> {
    answer(shared.node.consolidate(request.with_fee_coin).await)
}
