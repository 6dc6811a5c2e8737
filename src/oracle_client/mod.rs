//! The oracle client: asks an oracle over HTTP, hears it over Nostr relays, and believes nothing that does not verify.
//!
//! The one room that names the HTTP client, and that speaks to relays. Never asks for a single touch: it downloads whole bands, so that an oracle
//! does not learn which level a loan hangs on. Never follows a redirect, never waits or reads without a bound, holds no
//! key, and decides nothing: whether a price is fresh enough is the caller's question, who knows the time.

mod budget;
mod client;
mod error;
mod fetch;
mod heard;
mod lacks;
mod mirror;
mod relay;

#[cfg(test)]
mod tests;

pub use client::{OracleClient, MIRRORS_MAX};
pub use error::OracleError;
pub use lacks::explained;
