//! `POST /v1/peers`: dial a peer and keep dialling it.

use super::prelude::*;
use crate::api::views::{ConnectRequest, PeerView};

pub(super) async fn connect(State(shared): Node, Body(request): Body<ConnectRequest>) -> Answer<PeerView> {
    answer(shared.node.connect(request).await)
}
