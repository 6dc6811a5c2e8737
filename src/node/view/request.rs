//! Requests of borrowers that wait for a person, and those that are over.

use super::LoanId;
use bitcoin::secp256k1::PublicKey;
use serde::{Deserialize, Serialize};

/// One of `GET /v1/requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// The loan it would be: approve or decline it by this.
    pub loan_id: LoanId,
    /// Who asks.
    pub peer: PublicKey,
    /// Where this node dials it, where it knows that.
    #[serde(default)]
    pub address: Option<String>,
    /// Is its node connected now?
    #[serde(default)]
    pub connected: bool,
    /// Loans with it, on either side, that were signed by both, ended ones too.
    #[serde(default)]
    pub loans_with_it: u32,
    /// What would be lent, in sats.
    pub principal_sats: u64,
    /// The same in cents.
    pub principal_cents: u64,
    /// What is locked for it, in sats.
    pub collateral_sats: u64,
    /// The price it was quoted at, cents per bitcoin.
    pub reference_price_cents: u64,
    /// Loan to value at that price, basis points.
    pub ltv_bp: u32,
    /// Yearly rate, basis points.
    pub apr_bp: u32,
    /// Term in days.
    pub days: u32,
    /// Interest that it brings if it is repaid when due, cents.
    #[serde(default)]
    pub earns_cents: u64,
    /// The same if it is repaid at once, cents.
    #[serde(default)]
    pub earns_at_least_cents: u64,
    /// The lender's fees for it, sats: its share of the funding transaction, of what is paid ahead for the end, and of making
    /// its coin, where none fits, at the estimate of when it was asked.
    #[serde(default)]
    pub fees_sats: u64,
    /// Since when it waits, unix.
    pub at: u32,
    /// Until when it can be approved, unix. After that the borrower is told that nobody decided, and its coins are free.
    pub until: u32,
    /// Why it cannot be approved at the price now, in a sentence: it can again once the price is back, before `until`.
    #[serde(default)]
    pub price_note: Option<String>,
    /// How it ended, of one that waits no more: only where those are asked for.
    #[serde(default)]
    pub ended: Option<RequestEnd>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEnd {
    /// When, unix.
    pub at: u32,
    /// As the event is named: `request_declined`, `request_expired`, `request_refused`, `request_withdrawn`.
    pub event: String,
    /// Why, in a sentence.
    pub text: String,
}

/// `POST /v1/requests/{id}/decline`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeclineRequest {
    /// What the borrower is told, at most 200 characters.
    pub reason: Option<String>,
}
