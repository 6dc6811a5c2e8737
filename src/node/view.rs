//! What a node tells people and programs: plain data, amounts in sats and cents, times in unix seconds.

mod statement;

pub use statement::{StatementLine, StatementView};

// What the views are made of, for those who read them and know no other room.
pub use crate::contract::repay::Source;
pub use crate::contract::Role;
pub use crate::loan::policy::Policy;
pub use crate::loan::terms::LoanId;
pub use crate::loan::MarginLine;
pub use crate::peer::PeerAddress;
pub use crate::protocol::{ErrorCode, Exit, Stage};

use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Txid};
use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the software.
    pub version: String,
    /// `regtest` or `signet`.
    pub network: String,
    /// This node's public key.
    pub node_id: PublicKey,
    /// Where it listens for peers, when it does.
    pub listen: Option<String>,
    /// Where others dial it, where its configuration says so: `host:port`.
    #[serde(default)]
    pub announce: Option<String>,
    /// The clock of the last complete round.
    pub clock: u32,
    /// Height of the last complete round.
    pub height: u32,
    /// Hash of that block.
    pub tip: String,
    /// Median time past of that block.
    pub median_time: u32,
    /// Transactions in the mempool as the node has read it.
    pub mempool: u32,
    /// Has the node nothing left to do at that clock and height, as far as it knows?
    pub idle: bool,
    /// Counts everything that ever happened in the node; two equal readings mean nothing happened between.
    pub turns: u64,
    /// Loans by number: negotiating, active, ended.
    pub loans: LoanCounts,
    /// Peers connected now.
    pub peers_connected: u32,
    /// What stands in the way now: one sentence each, empty when all is well.
    pub troubles: Vec<String>,
    /// What needs a person now, the gravest first, the troubles among it; empty when nothing does.
    #[serde(default)]
    pub attention: Vec<AttentionView>,
}

/// One thing that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttentionView {
    /// What it is about: the same word as long as it stands.
    pub about: String,
    /// How much it matters.
    pub severity: Severity,
    /// The loan it is about.
    pub loan_id: Option<LoanId>,
    /// A sentence, with what to do.
    pub text: String,
}

/// Loans counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanCounts {
    /// Agreed, not yet funded.
    pub negotiating: u32,
    /// Funded, not ended.
    pub active: u32,
    /// Ended or cancelled.
    pub ended: u32,
}

/// `GET /v1/wallet/balance`, in sats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// Confirmed and free.
    pub confirmed_sats: u64,
    /// Not yet confirmed.
    pub unconfirmed_sats: u64,
    /// Confirmed, set aside for a loan.
    pub reserved_sats: u64,
    /// Of what is free, the coin kept for the fees of exits: used for loans and payments only where nothing else is left.
    #[serde(default)]
    pub fee_reserve_sats: u64,
}

/// `POST /v1/wallet/address`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// A fresh address of this node's wallet.
    pub address: String,
}

/// `POST /v1/wallet/send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Where to.
    pub address: String,
    /// How much; everything free when absent.
    pub sats: Option<u64>,
}

/// Answer of `POST /v1/wallet/send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The transaction.
    pub txid: Txid,
    /// Its fee.
    pub fee_sats: u64,
}

/// Answer of `POST /v1/wallet/consolidate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consolidated {
    /// The transaction.
    pub txid: Txid,
    /// Its fee.
    pub fee_sats: u64,
    /// How many coins it joins into one.
    pub joined: u64,
    /// How many free coins there will be.
    pub left: u64,
}

/// `GET /v1/wallet/effect/{txid}`: what a transaction in chain or mempool does to our wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectView {
    /// Our coins among its inputs.
    pub spent_sats: u64,
    /// Its outputs that are ours.
    pub received_sats: u64,
}

/// `POST /v1/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectRequest {
    /// `pubkey@host:port`.
    pub address: String,
}

/// One of `GET /v1/peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// The peer's node.
    pub node_id: PublicKey,
    /// Where we dial it, when we do.
    pub address: Option<String>,
    /// Is it there now?
    pub connected: bool,
    /// Why it is not, or why it was not when it was last dialled.
    #[serde(default)]
    pub problem: Option<ErrorView>,
}

/// `POST /v1/oracles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OracleRequest {
    /// Base URL.
    pub url: String,
    /// Further URLs that serve the same oracle.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// The key it must have; asked of the first URL and pinned when absent.
    pub pubkey: Option<XOnlyPublicKey>,
}

/// One of `GET /v1/oracles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OracleView {
    /// Its pinned key.
    pub pubkey: XOnlyPublicKey,
    /// Base URL.
    pub url: String,
    /// Further URLs that serve it.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Those of all its URLs that served something else and are asked no more: a sentence each.
    #[serde(default)]
    pub dropped: Vec<String>,
    /// Its last price in cents per bitcoin, and when it said so.
    pub spot_cents: Option<u64>,
    /// Unix time of that price.
    pub spot_at: Option<u32>,
    /// What went wrong last, if anything.
    pub trouble: Option<String>,
    /// That it contradicted itself, when that is proved: a sentence.
    #[serde(default)]
    pub equivocation: Option<String>,
    /// Its hand-over to a new key, once it has signed one.
    #[serde(default)]
    pub rotation: Option<RotationView>,
    /// That it signed two that contradict each other: a sentence. Then `rotation` is absent.
    #[serde(default)]
    pub rotation_conflict: Option<String>,
    /// Other keys of the same operator, as both keys signed: with this one they are one oracle.
    #[serde(default)]
    pub same_operator: Vec<XOnlyPublicKey>,
}

/// The hand-over of an oracle to a new key, signed by both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationView {
    /// The key for new loans.
    pub new_key: XOnlyPublicKey,
    /// Unix time at which the pinned key stops for new loans: none may end later.
    pub from: u32,
    /// What it means and what to do, in sentences.
    pub text: String,
}

/// `POST /v1/oracles/proof`: the proof that an oracle contradicted itself. What `prove-equivocation` prints has more fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRequest {
    /// Hex, as `hypothec-oracle prove-equivocation` writes it.
    pub proof: String,
}

/// Answer of `POST /v1/oracles/proof`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofView {
    /// Against which oracle.
    pub oracle: XOnlyPublicKey,
    /// What the proof that is kept says: a sentence.
    pub equivocation: String,
    /// Is the oracle's secret key readable from the given proof?
    pub reveals_the_key: bool,
    /// Was nothing proved against it before? The first proof is the one that is kept.
    pub new: bool,
}

/// `GET /v1/policy` and `PUT /v1/policy`: the lender's policy itself.
pub type PolicyView = Policy;

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

/// A day's level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelView {
    /// The day, `YYYYMMDD`.
    pub day: String,
    /// Dollars per bitcoin.
    pub level: u32,
    /// What is owed if it is touched that day, in cents.
    pub owed_cents: u64,
    /// What the borrower would get back, in sats.
    pub borrower_sats: u64,
    /// What the lender would get, in sats.
    pub lender_sats: u64,
    /// The oracle's event.
    pub event: String,
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

/// What one oracle of a loan has said about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OracleWords {
    /// Its key.
    pub pubkey: XOnlyPublicKey,
    /// Its attestations of clauses of this loan.
    pub said: Vec<SaidView>,
}

/// One attestation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidView {
    /// The event's id.
    pub event: String,
    /// The price, of a fixing.
    pub price_cents: Option<u64>,
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
    /// Sats the borrower's wallet must hold, fees included.
    pub needs_sats: u64,
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

/// `POST /v1/loans`: take a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BorrowRequest {
    /// The quote's loan id.
    pub quote: LoanId,
}

/// `POST /v1/loans/{id}/repay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepayRequest {
    /// Where the sats come from.
    pub from: Source,
}

/// An exit open now, and what it would pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenExit {
    /// Which.
    pub exit: Exit,
    /// When it is possible, in words.
    pub when: String,
    /// To the lender.
    pub lender_sats: Option<u64>,
    /// To the borrower.
    pub borrower_sats: Option<u64>,
}

/// An exit on its way to a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingExit {
    /// Which exit; `None` for a spend nobody can name.
    pub exit: Option<Exit>,
    /// The transaction.
    pub txid: Txid,
    /// What it pays with the child that pays most for it, sat/vB rounded down; absent until that is known.
    pub sat_per_vb: Option<u64>,
    /// Our child that pays for it, once there is one.
    pub child: Option<Txid>,
    /// That child's fee.
    pub child_fee_sats: Option<u64>,
    /// The height since which it is wanted.
    pub since_height: Option<u32>,
    /// `the funding`, `relay` (bitcoind refuses it) or `a block`.
    pub waits_for: String,
    /// bitcoind's reason where it refuses it.
    pub refused: Option<String>,
}

/// How a loan ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitView {
    /// Which exit; `None` for a spend nobody can name.
    pub exit: Option<Exit>,
    /// The transaction.
    pub txid: Txid,
    /// Height it is confirmed at.
    pub height: Option<u32>,
    /// Price behind it, cents per bitcoin.
    pub price_cents: Option<u64>,
    /// What was owed then, cents.
    pub owed_cents: u64,
    /// Outputs to the lender's payout script.
    pub paid_to_lender_sats: u64,
    /// Outputs to the borrower's payout script.
    pub returned_to_borrower_sats: u64,
}

/// `GET /v1/loans/{id}`: what a person asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanView {
    /// Its name.
    pub loan_id: LoanId,
    /// Our side.
    pub role: Role,
    /// The other side.
    pub peer: PublicKey,
    /// Where it stands: one word, see [`Stage`].
    pub stage: Stage,
    /// Why it never came to be, where `stage` is `cancelled`.
    #[serde(default)]
    pub cancelled_because: Option<String>,
    /// Principal in sats.
    pub principal_sats: u64,
    /// Principal in cents.
    pub principal_cents: u64,
    /// Collateral in sats.
    pub collateral_sats: u64,
    /// Yearly rate, basis points.
    pub apr_bp: u32,
    /// Start, unix.
    pub start: u32,
    /// Due, unix.
    pub due: u32,
    /// Days left, rounded up.
    pub days_left: u32,
    /// What repaying today costs, cents; 0 once it has ended or was cancelled.
    pub owed_now_cents: u64,
    /// What is owed at due, cents; 0 once it has ended or was cancelled.
    pub owed_at_due_cents: u64,
    /// Price now, cents per bitcoin; absent when the oracle is silent.
    pub price_cents: Option<u64>,
    /// Loan to value now, basis points.
    pub ltv_bp: Option<u32>,
    /// Highest margin line crossed.
    pub margin: Option<MarginLine>,
    /// Today's level.
    pub level_today: Option<LevelView>,
    /// Tomorrow's.
    pub level_next: Option<LevelView>,
    /// The 2-of-2, once known.
    pub funding: Option<OutPoint>,
    /// Height of the funding transaction.
    pub funding_height: Option<u32>,
    /// Confirmations it has, and how many count.
    pub confirmations: (u32, u32),
    /// Its oracles, and what each has said.
    pub oracles: Vec<OracleWords>,
    /// How many of them must agree.
    pub threshold: u8,
    /// Every exit open now.
    pub exits: Vec<OpenExit>,
    /// A repayment on its way, by its transaction.
    pub repayment: Option<Txid>,
    /// Why the last repayment did not go ahead.
    #[serde(default)]
    pub repayment_note: Option<String>,
    /// Our transaction that takes a coin back, while it is in no block: of the funding, or of a repayment.
    #[serde(default)]
    pub taken_back: Option<Txid>,
    /// The exit that is to confirm, while it does not.
    #[serde(default)]
    pub pending_exit: Option<PendingExit>,
    /// How it ended.
    pub ended: Option<ExitView>,
    /// What it was, once it is over: only where one loan is asked for, and bitcoind answers.
    #[serde(default)]
    pub statement: Option<StatementView>,
    /// Our transactions that prepared, funded, withdrew or ended it.
    pub transactions: Vec<Txid>,
    /// What is proved against its oracles while it is open: a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

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
    /// What was owed at that moment, cents.
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

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people, with the remedy.
    pub message: String,
}
