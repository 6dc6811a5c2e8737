//! What a loan is: terms, money, interest, levels, payouts, prices of everything. Arithmetic and nothing else.
//!
//! Never reads a clock, draws randomness, touches disk or socket, waits, or panics. Never uses a float: both sides of
//! a loan compute the same bytes. Knows the oracle's units, ladder and event ids, and no key but public ones.

pub mod acceptable;
pub mod check;
pub mod curve;
pub mod earning;
pub mod fees;
#[cfg(test)]
pub mod fixtures;
pub mod interest;
pub mod ltv;
pub mod payout;
pub mod policy;
pub mod quorum;
pub mod rate;
pub mod risk;
pub mod terms;
pub mod tlv;
pub mod units;
pub mod version;

pub use check::TermsError;
pub use curve::{Curve, Interval};
pub use ltv::MarginLine;
pub use payout::Payout;
pub use policy::{Policy, QuotedTerms, Refusal, Request};
pub use quorum::Quorum;
pub use terms::{LoanId, Terms, TouchDay};
pub use version::UnreadableTerms;
