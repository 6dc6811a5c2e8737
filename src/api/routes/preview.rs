//! `POST /v1/preview`: what a command that cannot be taken back would do.

use super::prelude::*;
use crate::api::views::{PreviewRequest, PreviewView};

pub(super) async fn preview(State(shared): Node, Body(request): Body<PreviewRequest>) -> Answer<PreviewView> {
    answer(shared.node.preview(request).await)
}
