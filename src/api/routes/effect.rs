//! `GET /v1/wallet/effect/{txid}`: what a transaction does to the wallet.

use super::prelude::*;
use crate::api::views::EffectView;
use axum::extract::Path;

pub(super) async fn effect(State(shared): Node, Path(text): Path<String>) -> Answer<EffectView> {
    let txid = text.parse().map_err(|_| {
        let text: String = text.chars().take(80).collect();
        ApiError::new(ErrorCode::BadRequest, format!("transaction id \"{text}\" is not 64 hex digits"))
    })?;
    answer(shared.node.effect(txid).await)
}
