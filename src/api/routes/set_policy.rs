//! `PUT /v1/policy`: replace the lender's policy.

use super::prelude::*;
use crate::api::views::PolicyView;

pub(super) async fn set_policy(State(shared): Node, Body(policy): Body<PolicyView>) -> Answer<PolicyView> {
    policy.validate().map_err(|error| ApiError::new(ErrorCode::BadRequest, format!("policy: {error}")))?;
    answer(shared.node.set_policy(policy).await)
}
