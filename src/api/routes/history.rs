//! `GET /v1/wallet/history`: every transaction of the wallet, and what it was for.

use super::prelude::*;
use crate::api::views::HistoryEntry;

pub(super) async fn history(State(shared): Node) -> Answer<Vec<HistoryEntry>> {
    answer(shared.node.history().await)
}
