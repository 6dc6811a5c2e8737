//! `GET /v1/peers`: the peers known.

use super::prelude::*;
use crate::api::views::PeerView;

pub(super) async fn peers(State(shared): Node) -> Answer<Vec<PeerView>> {
    answer(shared.node.peers().await)
}
