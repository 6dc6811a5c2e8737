//! `GET /v1/policy`: the lender's policy.

use super::prelude::*;
use crate::api::views::PolicyView;

pub(super) async fn policy(State(shared): Node) -> Answer<PolicyView> {
    answer(shared.node.policy().await)
}
