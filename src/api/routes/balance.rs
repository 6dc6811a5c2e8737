//! `GET /v1/wallet/balance`: what the wallet holds.

use super::prelude::*;
use crate::api::views::Balance;

pub(super) async fn balance(State(shared): Node) -> Answer<Balance> {
    answer(shared.node.balance().await)
}
