//! What a loan is: terms, money, interest, levels, payouts, prices of everything. Arithmetic and nothing else.
//!
//! Never reads a clock, draws randomness, touches disk or socket, waits, or panics. Never uses a float: both sides of
//! a loan compute the same bytes. Knows the oracle's units, ladder and event ids, and no key but public ones.

pub mod curve;
pub mod interest;
pub mod ltv;
pub mod payout;
pub mod terms;
pub mod tlv;
pub mod units;

pub use curve::{Curve, Interval};
pub use ltv::MarginLine;
pub use payout::Payout;
pub use terms::{LoanId, Terms, TouchDay};
