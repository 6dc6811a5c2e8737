//! The node's HTTP API: what people and programs on this machine may ask and command.
//!
//! JSON over loopback, behind a bearer token; errors are `{code, message}`. It never listens on another machine's
//! address, never decides anything and keeps no state: each route hands one request to the node and gives its answer
//! back. A new endpoint is a type in the node's views, a method of the node's handle, a file in `routes`, a line in
//! `routes/mod.rs`, and a command.

mod auth;
mod connections;
mod error;
mod extract;
mod line;
mod routes;
mod serve;
mod words;

pub use crate::node::view as views;
pub use auth::PROOF;
pub use line::{Ask, Lost, Proved};
pub use serve::{bind, serve, EVENTS_WAIT_MAX, REQUEST_TIME, UNTIL};
