//! A quote: what is asked of a lender, and everything before commitment.

use super::{LevelView, LoanId};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use serde::{Deserialize, Serialize};

/// `POST /v1/quotes`: ask a lender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteRequest {
    /// `pubkey@host:port`.
    pub lender: String,
    /// Dollars wanted, in cents.
    pub principal_cents: u64,
    /// Collateral, in sats.
    pub collateral_sats: u64,
    /// Term in days.
    pub days: u32,
}

/// A fee somebody pays for one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeView {
    /// Which transaction: `funding`, `touch`, `fixing`, `receipt`, `fallback`, `refund`, `repay from wallet`, …
    pub transaction: String,
    /// Sats at most.
    pub sats: u64,
    /// Who pays, in words.
    pub paid_by: String,
}

/// What a fall beyond the level would cost the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapView {
    /// How far below the level the sale happens, basis points.
    pub below_bp: u32,
    /// What the lender's sats bring then, in cents.
    pub proceeds_cents: u64,
    /// What is missing of what was owed, in cents.
    pub shortfall_cents: u64,
}

/// How far apart the prices of two oracles may be that settle a loan together. The one whose key is lower pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadView {
    /// Dollars per bitcoin up to which two prices always settle.
    pub always_usd: u32,
    /// Dollars per bitcoin from which they never do.
    pub never_usd: u32,
    /// That as a share of the reference price, basis points, rounded up.
    pub never_bp: u32,
}

/// `POST /v1/quotes`: everything before commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteView {
    /// The loan this would be: the hash of its terms. Borrow by it.
    pub loan_id: LoanId,
    /// Whose quote.
    pub lender: PublicKey,
    /// Sats that arrive in the borrower's wallet.
    pub principal_sats: u64,
    /// What the debt counts from.
    pub principal_cents: u64,
    /// What was asked for, cents. The principal may differ: a lender lends a coin that it has.
    pub asked_cents: u64,
    /// Collateral locked.
    pub collateral_sats: u64,
    /// Spot, cents per bitcoin.
    pub reference_price_cents: u64,
    /// Loan to value at the start, basis points: of the principal, which is what is owed then.
    pub ltv_bp: u32,
    /// Loan to value at due, at the same price, basis points: of what is owed then.
    pub ltv_at_due_bp: u32,
    /// Yearly rate, basis points.
    pub apr_bp: u32,
    /// Start, unix.
    pub start: u32,
    /// Term in days.
    pub days: u32,
    /// Due, unix.
    pub due: u32,
    /// Owed at due, cents.
    pub owed_at_due_cents: u64,
    /// What the earliest repayment costs, cents: the principal and the interest of `minimum_interest_days`.
    pub owed_at_least_cents: u64,
    /// Days of interest that even the earliest repayment pays.
    pub minimum_interest_days: u32,
    /// When the quote ends, unix.
    pub expires: u32,
    /// Taken from the surplus on a touch, basis points of what is owed.
    pub cushion_bp: u32,
    /// Every day's level, in order.
    pub levels: Vec<LevelView>,
    /// What gaps of 10 and 15 % would do.
    pub gaps: Vec<GapView>,
    /// Fees of funding and every exit.
    pub fees: Vec<FeeView>,
    /// Sats of the borrower's wallet that it takes, fees included: with the coins that this wallet would lock now, or with
    /// one where its coins are not enough.
    pub needs_sats: u64,
    /// How many coins of this wallet it would lock now: each costs its part of the fees. Absent where they are not enough.
    #[serde(default)]
    pub coins: Option<u32>,
    /// Why it cannot be taken with the coins there are now, and what to do: they are not enough, or more than a loan takes.
    #[serde(default)]
    pub coins_note: Option<String>,
    /// Over which connection it came, where the place that was named for the lender was not tried.
    #[serde(default)]
    pub place_note: Option<String>,
    /// What the free coins of this wallet lack of `needs_sats`, sats; 0 where they do, or where they are only too many.
    #[serde(default)]
    pub missing_sats: u64,
    /// Of what waits for a block and is this wallet's, sats, where its free coins lack something: it can be used after that.
    #[serde(default)]
    pub waiting_sats: u64,
    /// The oracles that settle it.
    pub oracles: Vec<XOnlyPublicKey>,
    /// How many of them must agree.
    pub threshold: u8,
    /// How far apart their prices may be at due; absent where one of them settles it alone.
    pub spread: Option<SpreadView>,
    /// Adaptor signatures each side makes.
    pub signatures: u32,
    /// Largest error of the fixing's curve, parts per million of collateral: between half and twice the reference,
    /// and beyond.
    pub curve_error_ppm: (u32, u32),
    /// What remains, in plain words.
    pub warnings: Vec<String>,
}
