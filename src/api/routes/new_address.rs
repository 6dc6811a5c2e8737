//! `POST /v1/wallet/address`: a fresh address.

use super::prelude::*;
use crate::api::views::AddressView;

pub(super) async fn new_address(State(shared): Node) -> Answer<AddressView> {
    answer(shared.node.new_address().await)
}
