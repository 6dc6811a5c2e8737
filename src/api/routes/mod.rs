//! One file per endpoint; this is their table. No logic beyond it.

mod add_oracle;
mod approve;
mod backup;
mod balance;
mod borrow;
mod cancel;
mod connect;
mod consolidate;
mod decline;
mod effect;
mod events;
mod give_proof;
mod history;
mod loan;
mod loans;
mod new_address;
mod oracles;
mod peers;
mod policy;
mod policy_terms;
mod preview;
mod quote;
mod quotes;
mod receipt;
mod remove_oracle;
mod remove_peer;
mod repay;
mod requests;
mod send;
mod set_policy;
mod status;
mod withdraw;

#[cfg(test)]
pub(super) use backup::BackupRequest;

use super::error::ApiError;
use super::serve::Shared;
use super::views::ErrorCode;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{delete, get, post};
use axum::Router;

/// What every endpoint's file needs.
mod prelude {
    pub(super) use crate::api::error::ApiError;
    pub(super) use crate::api::extract::{Asked, Body, Id, Key, OrNothing};
    pub(super) use crate::api::serve::Node;
    pub(super) use crate::api::views::ErrorCode;
    pub(super) use axum::extract::State;

    use crate::api::views::ErrorView;
    use axum::Json;

    /// What an endpoint answers.
    pub(super) type Answer<T> = Result<Json<T>, ApiError>;

    /// The node's answer as the API's.
    pub(super) fn answer<T>(said: Result<T, ErrorView>) -> Answer<T> {
        Ok(Json(said?))
    }
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/wallet/address", post(new_address::new_address))
        .route("/v1/wallet/balance", get(balance::balance))
        .route("/v1/wallet/history", get(history::history))
        .route("/v1/wallet/effect/{txid}", get(effect::effect))
        .route("/v1/wallet/consolidate", post(consolidate::consolidate))
        .route("/v1/wallet/send", post(send::send))
        .route("/v1/preview", post(preview::preview))
        .route("/v1/peers", get(peers::peers).post(connect::connect))
        .route("/v1/peers/{node_id}", delete(remove_peer::remove_peer))
        .route("/v1/oracles", get(oracles::oracles).post(add_oracle::add_oracle))
        .route(
            "/v1/oracles/proof",
            post(give_proof::give_proof).layer(DefaultBodyLimit::max(give_proof::PROOF_BODY_MAX)),
        )
        .route("/v1/oracles/{pubkey}", delete(remove_oracle::remove_oracle))
        .route("/v1/policy", get(policy::policy).put(set_policy::set_policy))
        .route("/v1/policy/terms", get(policy_terms::policy_terms))
        .route("/v1/quotes", get(quotes::quotes).post(quote::quote))
        .route("/v1/loans", get(loans::loans).post(borrow::borrow))
        .route("/v1/loans/{id}", get(loan::loan))
        .route("/v1/loans/{id}/cancel", post(cancel::cancel))
        .route("/v1/loans/{id}/repay", post(repay::repay))
        .route("/v1/loans/{id}/receipt", post(receipt::receipt))
        .route("/v1/loans/{id}/withdraw", post(withdraw::withdraw))
        .route("/v1/requests", get(requests::requests))
        .route("/v1/requests/{id}/approve", post(approve::approve))
        .route("/v1/requests/{id}/decline", post(decline::decline))
        .route("/v1/events", get(events::events))
        .route("/v1/backup", post(backup::backup))
}

pub(super) async fn unknown(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
    ApiError::new(
        ErrorCode::NotFound,
        format!("there is no route {path}; the routes begin with /v1/, as /v1/status does"),
    )
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
    ApiError::new(ErrorCode::MethodNotAllowed, format!("{path} does not take {method}; use another method"))
}
