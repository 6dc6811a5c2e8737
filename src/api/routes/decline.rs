//! `POST /v1/requests/{id}/decline`: do not lend it, and say why if there is something to say.

use super::prelude::*;
use crate::api::views::{DeclineRequest, RequestView};

pub(super) async fn decline(
    State(shared): Node,
    Id(loan_id): Id,
    Body(request): Body<DeclineRequest>,
) -> Answer<RequestView> {
    answer(shared.node.decline(loan_id, request.reason).await)
}
