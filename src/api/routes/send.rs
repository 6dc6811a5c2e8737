//! `POST /v1/wallet/send`: pay somebody out of the wallet.

use super::prelude::*;
use crate::api::views::{SendRequest, Sent};

pub(super) async fn send(State(shared): Node, Body(request): Body<SendRequest>) -> Answer<Sent> {
    answer(shared.node.send(request).await)
}
