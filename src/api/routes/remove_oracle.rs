//! `DELETE /v1/oracles/{pubkey}`: ask an oracle no more and forget it.

use super::prelude::*;
use crate::api::views::OracleView;

pub(super) async fn remove_oracle(
    State(shared): Node,
    Key(oracle): Key<bitcoin::XOnlyPublicKey>,
) -> Answer<OracleView> {
    answer(shared.node.remove_oracle(oracle).await)
}
