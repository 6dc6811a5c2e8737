//! `DELETE /v1/peers/{node_id}`: dial a peer no more and forget it.

use super::prelude::*;
use crate::api::views::PeerView;

pub(super) async fn remove_peer(
    State(shared): Node,
    Key(peer): Key<bitcoin::secp256k1::PublicKey>,
) -> Answer<PeerView> {
    answer(shared.node.remove_peer(peer).await)
}
