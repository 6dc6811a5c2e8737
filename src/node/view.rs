//! What a node tells people and programs: plain data, amounts in sats and cents, times in unix seconds.

mod event;
mod preview;
mod quote;
mod request;
mod statement;

pub use event::{EventFacts, EventView, Severity};
pub use preview::{PreviewRequest, PreviewView};
pub use quote::{FeeView, GapView, QuoteRequest, QuoteView, SpreadView};
pub use request::{DeclineRequest, RequestEnd, RequestView};
pub use statement::{StatementLine, StatementView};

// What the views are made of, for those who read them and know no other room.
pub use super::implied::{EarnsFrom, PolicyTerms};
pub use super::proofs::{ProofRequest, ProofView};
pub use super::turn::{TurnView, WaitingView, Who, BY_HAND};
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
    /// The loans that wait for somebody's next step or for a block, in order of time.
    #[serde(default)]
    pub waiting: Vec<WaitingView>,
    /// The loans whose end was seen within the last day, the latest first: for whoever was not there.
    #[serde(default)]
    pub ended_today: Vec<EndedView>,
}

/// One loan whose end was seen a short while ago.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedView {
    /// Which.
    pub loan_id: LoanId,
    /// How; absent of a spend that nobody can name.
    pub exit: Option<Exit>,
    /// When that was first seen here, unix.
    pub at: u32,
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
    /// Signed, and a transaction that takes our coin back waits for a block.
    #[serde(default)]
    pub taken_back: u32,
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
    /// Mining rewards below 100 blocks, which no block takes yet.
    #[serde(default)]
    pub immature_sats: u64,
    /// Confirmed, set aside for a loan.
    pub reserved_sats: u64,
    /// Of what is free, the coin set apart for the fees of exits (1 to 5 times `[fees] reserve`): used for loans and payments
    /// only where nothing else is left. 0 where none is set apart.
    #[serde(default)]
    pub fee_reserve_sats: u64,
    /// Lender: open quotes, and requests that wait for a person. They count on what is free.
    #[serde(default)]
    pub open_quotes: u32,
    /// On how much of it: the largest quote of each peer, and every request.
    #[serde(default)]
    pub quoted_sats: u64,
}

/// One of `GET /v1/wallet/history`: a transaction of this wallet, the oldest first. The sum of every `change_sats` is what the
/// wallet holds, and of those with one `loan_id` what that loan's statement says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its id.
    pub txid: Txid,
    /// Height of its block; absent while it waits.
    pub height: Option<u32>,
    /// The time of its block, unix; absent while it waits.
    pub at: Option<u32>,
    /// What it was for: a loan's part as in its statement, `sent`, `received`, `coins joined`, `coin set apart for fees`,
    /// `coins moved after a restore`, `moved within the wallet`; absent where that is not known here.
    pub what: Option<String>,
    /// The loan it was for, where it was for one that is known here.
    pub loan_id: Option<LoanId>,
    /// This side's part of its fee, sats: the whole fee where every coin in it is ours; of what both sides of a loan put coins
    /// into the part that its statement names, below zero where what was paid ahead comes back. Absent where whose part it
    /// was is not known here: of what others paid us, of a contract that no loan here explains, of a spend nobody can name.
    pub fee_sats: Option<i64>,
    /// Our coins among its inputs, sats.
    pub spent_sats: u64,
    /// Its outputs that are ours, sats.
    pub received_sats: u64,
    /// What it made of this wallet, sats: received less spent.
    pub change_sats: i64,
}

/// `GET /v1/proof?nonce=N`, of 64 hex digits; needs no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedView {
    /// That it is the node: what only who knows the token can say to this nonce, at this address.
    pub proof: String,
}

/// `POST /v1/wallet/address`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// A fresh address of this node's wallet.
    pub address: String,
}

/// A field that may be left out and is never null: null is what a program writes that has lost a value.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// `POST /v1/wallet/send`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Where to.
    pub address: String,
    /// How much; absent, and never null, where `all` is true.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub sats: Option<u64>,
    /// Everything free: has to be said.
    #[serde(default)]
    pub all: bool,
    /// With everything, also the coin kept for the fees of exits, while loans are open.
    #[serde(default)]
    pub with_fee_coin: bool,
}

/// Answer of `POST /v1/wallet/send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The transaction.
    pub txid: Txid,
    /// Its fee.
    pub fee_sats: u64,
    /// Lender: open quotes that what is left does not pay, and that end with it.
    #[serde(default)]
    pub quotes_ended: u32,
    /// Of everything free: coins that stayed behind since each costs more than it is worth at this rate.
    #[serde(default)]
    pub costly_coins: u64,
    /// What they add up to, sats.
    #[serde(default)]
    pub costly_sats: u64,
    /// Says that the answer of bitcoind was lost and it may be out, and what is done; absent where bitcoind has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsure: Option<String>,
}

/// `POST /v1/wallet/consolidate`; no body says the same as an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolidateRequest {
    /// Also the coin kept for the fees of exits, while loans are open.
    #[serde(default)]
    pub with_fee_coin: bool,
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
    /// Says that the answer of bitcoind was lost and it may be out, and what is done; absent where bitcoind has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsure: Option<String>,
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
    /// Another address that a person named: tried until the peer proves its key there, and kept then.
    #[serde(default)]
    pub wanted: Option<String>,
    /// Why the last try there failed.
    #[serde(default)]
    pub wanted_problem: Option<ErrorView>,
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
    /// The key it must have; asked of the first URL and pinned when absent. Never null: a program that lost the key must not
    /// take whichever is there.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
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
    /// What its being added changes for this node's own loans, in the answer to that only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
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

/// `GET /v1/policy` and `PUT /v1/policy`: the lender's policy itself.
pub type PolicyView = Policy;

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
    /// What was owed then, cents; absent where that is not known here, as of a repayment that a restored node has no record of.
    pub owed_cents: Option<u64>,
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
    /// That neither the chain nor a price confirms the clock these are counted by, while that is so.
    #[serde(default)]
    pub due_note: Option<String>,
    /// What repaying today costs, cents: the interest of `minimum_interest_days` at least, and never less than
    /// `debt_now_cents`; 0 once it has ended or was cancelled.
    pub owed_now_cents: u64,
    /// What is owed today, cents: the principal and the interest of the days begun, none before the start. LTV, margin lines
    /// and touches count by it; 0 once it has ended or was cancelled.
    #[serde(default)]
    pub debt_now_cents: u64,
    /// Days of interest that even the earliest repayment pays.
    #[serde(default)]
    pub minimum_interest_days: u32,
    /// What is owed at due, cents; 0 once it has ended or was cancelled.
    pub owed_at_due_cents: u64,
    /// Price now, cents per bitcoin; absent where its oracles agree on none.
    pub price_cents: Option<u64>,
    /// Why there is no price, in words; absent where there is one.
    #[serde(default)]
    pub price_note: Option<String>,
    /// What margin lines are watched at, cents per bitcoin: the price, or where its oracles agree on none what enough of
    /// them to settle it say it is at most. Absent where neither is known.
    #[serde(default)]
    pub watched_at_cents: Option<u64>,
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
    /// Whose turn it is, and since when; absent where it waits for nothing but its own end.
    #[serde(default)]
    pub turn: Option<TurnView>,
    /// How it ended.
    pub ended: Option<ExitView>,
    /// What it was, once it is over: only where one loan is asked for, and bitcoind answers.
    #[serde(default)]
    pub statement: Option<StatementView>,
    /// Why there is no statement, where it was looked for.
    #[serde(default)]
    pub no_statement: Option<String>,
    /// Our transactions that prepared, funded, withdrew or ended it, and the child that paid for its end.
    pub transactions: Vec<Txid>,
    /// What is proved against its oracles while it is open: a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// A stable word for programs.
    pub code: String,
    /// A sentence for people, with the remedy.
    pub message: String,
}
