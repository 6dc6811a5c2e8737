//! What happened, as people and programs are told it.

use super::{Exit, LoanId, MarginLine};
use bitcoin::Txid;
use serde::{Deserialize, Serialize};

/// How much an event matters to whoever runs the node, least first. From `notice` on the hooks of `[notify]` are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The ordinary course of things.
    #[default]
    Info,
    /// Worth a message; nothing need be done.
    Notice,
    /// Somebody should look.
    Warning,
    /// Somebody should look now.
    Urgent,
}

/// The numbers of an event; those that do not belong to it are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFacts {
    /// The margin line crossed; absent with `margin` when it is below all of them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<MarginLine>,
    /// The price behind it, cents per bitcoin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_cents: Option<u64>,
    /// Loan to value at that price, basis points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ltv_bp: Option<u32>,
    /// What was owed at that moment, cents; of a repayment what it pays for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owed_cents: Option<u64>,
    /// The day's level, dollars per bitcoin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_usd: Option<u32>,
    /// Days left until due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_left: Option<u32>,
    /// When the loan is due, unix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<u32>,
    /// Principal in sats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_sats: Option<u64>,
    /// Principal in cents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_cents: Option<u64>,
    /// Collateral in sats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collateral_sats: Option<u64>,
    /// Which exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txid: Option<Txid>,
    /// The height of its block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// What it pays the lender, sats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_lender_sats: Option<u64>,
    /// What it pays the borrower, sats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_borrower_sats: Option<u64>,
    /// Until when something waits, unix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u32>,
    /// What a trouble is about: the same word as long as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// One of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Counts up from 1, over restarts too. The newest ten thousand are kept.
    pub number: u64,
    /// Node time, unix.
    pub at: u32,
    /// The loan; absent where it is about the node's oracles.
    pub loan_id: Option<LoanId>,
    /// The event's name.
    pub event: String,
    /// How much it matters.
    #[serde(default)]
    pub severity: Severity,
    /// A sentence.
    pub text: String,
    /// The same in numbers.
    #[serde(flatten)]
    pub facts: EventFacts,
}

impl EventView {
    /// One that somebody should look at, about a loan or about the node.
    pub fn warning(at: u32, loan_id: Option<LoanId>, event: &str, text: String) -> EventView {
        EventView { at, loan_id, event: event.to_owned(), severity: Severity::Warning, text, ..EventView::default() }
    }
}
