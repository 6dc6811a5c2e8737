//! `GET /v1/requests?ended=true`: what waits for a person's word, and what lately waited and became no loan.

use super::prelude::*;
use crate::api::views::RequestView;
use serde::Deserialize;

/// May be left out.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    ended: bool,
}

pub(super) async fn requests(State(shared): Node, Asked(which): Asked<Which>) -> Answer<Vec<RequestView>> {
    answer(match which.ended {
        true => shared.node.all_requests().await,
        false => shared.node.requests().await,
    })
}
