//! `POST /v1/oracles/proof`: the proof that an oracle contradicted itself.

use super::prelude::*;
use crate::api::views::{ProofRequest, ProofView};

/// The most bytes of the request: the longest proof, 256 KiB, as hex, and the JSON around it.
pub(super) const PROOF_BODY_MAX: usize = (512 << 10) + 256;

pub(super) async fn give_proof(State(shared): Node, Body(request): Body<ProofRequest>) -> Answer<ProofView> {
    answer(shared.node.give_proof(request).await)
}
