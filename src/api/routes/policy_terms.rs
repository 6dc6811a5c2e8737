//! `GET /v1/policy/terms`: what the lender's policy implies beyond what it says.

use super::prelude::*;
use crate::api::views::PolicyTerms;

pub(super) async fn policy_terms(State(shared): Node) -> Answer<PolicyTerms> {
    answer(shared.node.policy_terms().await)
}
