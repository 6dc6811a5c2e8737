//! `GET /v1/wallet/effect/{txid}`: what a transaction does to the wallet.

use super::prelude::*;
use crate::api::views::EffectView;
use axum::extract::Path;

pub(super) async fn effect(State(shared): Node, Path(txid): Path<String>) -> Answer<EffectView> {
    let wrong = |_| {
        let shown: String = txid.chars().take(80).collect();
        ApiError::new("bad_request", format!("txid {shown:?}: it is 64 hex digits"))
    };
    answer(shared.node.effect(txid.parse().map_err(wrong)?).await)
}
