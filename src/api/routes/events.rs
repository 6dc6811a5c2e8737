//! `GET /v1/events?after=N&wait=SECONDS`: what happened since, waiting for something to happen.

use super::prelude::*;
use crate::api::serve::EVENTS_WAIT_MAX;
use crate::api::views::EventView;
use serde::Deserialize;
use std::time::Duration;

/// Both may be left out.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(super) struct Since {
    after: u64,
    wait: u64,
}

pub(super) async fn events(State(shared): Node, Asked(since): Asked<Since>) -> Answer<Vec<EventView>> {
    let wait = Duration::from_secs(since.wait).min(EVENTS_WAIT_MAX);
    tokio::select! {
        events = shared.node.events(since.after, wait) => answer(events),
        () = shared.stopping() => Err(ApiError::new(ErrorCode::Unavailable, "the node is stopping: start it again and ask once more")),
    }
}
