//! What a loan that is over was: its dates, its transactions, and what it cost or brought this side, to the sat.

use bitcoin::Txid;
use serde::{Deserialize, Serialize};

/// The statement of a loan that ended or was cancelled. It adds up: `change_sats` is what its transactions made of this
/// side's wallet, and also the principal and what was paid for it, less `fees_sats`. Each field is a fact of the node's record or
/// of its chain; what neither knows is absent (null), never guessed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementView {
    /// When the terms were agreed, unix; absent of a loan that a peer gave back, which was agreed before that.
    pub opened: Option<u32>,
    /// Did a peer give it back? Then what only this side had of before, its coin's making and repayments taken back, is not among
    /// its transactions.
    #[serde(default)]
    pub given_back: bool,
    /// The time of the block of its funding transaction, unix; absent where none has it, or it was cancelled.
    pub confirmed: Option<u32>,
    /// When its exit was first seen, where it waited for its block then, or else the time of that block; or when it was cancelled,
    /// unix. Absent where it was first seen in a block that this chain does not have.
    pub ended: Option<u32>,
    /// Price it was opened at, cents per bitcoin.
    pub opened_at_cents: u64,
    /// Price it ended at, as recorded with its exit, cents per bitcoin; absent where none is.
    pub ended_at_cents: Option<u64>,
    /// What was owed beyond the principal, cents; 0 where it was cancelled, absent where what was owed is not known.
    pub interest_cents: Option<u64>,
    /// Is what was owed that of the time of the block of its end? So where this node did not see a receipt given.
    #[serde(default)]
    pub owed_by_block: bool,
    /// What a liquidation took beyond what was owed, for the sale, cents; absent of every other end, and where what was owed is
    /// not known.
    #[serde(default)]
    pub cushion_cents: Option<u64>,
    /// Principal that changed hands, sats; 0 where it was cancelled.
    pub principal_sats: u64,
    /// What the chain paid the lender for it, sats: not its stake, nor what was paid ahead for fees. Absent where nobody can name
    /// the spend that ended it.
    pub paid_sats: Option<u64>,
    /// Its transactions that came to the chain, in their order.
    pub transactions: Vec<StatementLine>,
    /// This side's part of the fees of these transactions, sats; absent where one of these is not known.
    pub fees_sats: Option<i64>,
    /// What these transactions made of this wallet, sats; absent where a transaction is missing.
    pub change_sats: Option<i64>,
    /// What it brought this side in dollars, cents; negative where it cost: the principal counts as agreed, all else at
    /// `ended_at_cents`. Absent without that or the fees, and where it was cancelled.
    pub net_cents: Option<i64>,
}

/// One transaction of a loan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementLine {
    /// What it was: `lender's coin`, `funding`, `coin taken back`, `repayment taken back`, the exit's name, or `child`.
    pub what: String,
    /// Its id.
    pub txid: Txid,
    /// Height of its block; absent while it waits, and where it is missing.
    pub height: Option<u32>,
    /// The record says that a block had it, and this chain has it nowhere: then nothing is known of its sums.
    #[serde(default)]
    pub missing: bool,
    /// Its whole fee, sats.
    pub fee_sats: Option<u64>,
    /// This side's part of it, sats: negative where it got back what it had paid ahead. The rest is the other side's. Absent of
    /// a spend that nobody can name.
    pub ours_sats: Option<i64>,
    /// Our coins among its inputs, sats.
    pub spent_sats: Option<u64>,
    /// Its outputs that are ours, sats.
    pub received_sats: Option<u64>,
}
