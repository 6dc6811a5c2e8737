//! What a loan that is over was: its dates, its transactions, and what it cost or brought this side, to the sat.

use bitcoin::Txid;
use serde::{Deserialize, Serialize};

/// The statement of a loan that ended or was cancelled. It adds up: `change_sats` is what its transactions made of this
/// side's wallet, and also the principal and what was paid for it, less `fees_sats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementView {
    /// When the terms were agreed, unix.
    pub opened: u32,
    /// When the funding transaction was seen in a block, unix; absent where it never was.
    pub confirmed: Option<u32>,
    /// When its exit was first seen, or it was cancelled, unix.
    pub ended: u32,
    /// Price it was opened at, cents per bitcoin.
    pub opened_at_cents: u64,
    /// Price it ended at, as recorded with its exit, cents per bitcoin; absent where none is.
    pub ended_at_cents: Option<u64>,
    /// What was owed beyond the principal, cents; 0 where it was cancelled.
    pub interest_cents: u64,
    /// Principal that changed hands, sats; 0 where it was cancelled.
    pub principal_sats: u64,
    /// What the chain paid the lender for it, sats: not its stake, nor what was paid ahead for fees.
    pub paid_sats: u64,
    /// Its transactions that came to the chain, in their order.
    pub transactions: Vec<StatementLine>,
    /// This side's part of all their fees, sats.
    pub fees_sats: i64,
    /// This wallet afterwards less this wallet before, sats.
    pub change_sats: i64,
    /// What it brought this side in dollars, cents; negative where it cost: the principal counts as agreed, all else at
    /// `ended_at_cents`. Absent without that, and where it was cancelled.
    pub net_cents: Option<i64>,
}

/// One transaction of a loan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementLine {
    /// What it was: `lender's coin`, `funding`, `coin taken back`, `repayment taken back`, the exit's name, or `child`.
    pub what: String,
    /// Its id.
    pub txid: Txid,
    /// Height of its block; absent while it waits.
    pub height: Option<u32>,
    /// Its whole fee, sats.
    pub fee_sats: u64,
    /// This side's part of it, sats: negative where it got back what it had paid ahead. The rest is the other side's.
    pub ours_sats: i64,
    /// Our coins among its inputs, sats.
    pub spent_sats: u64,
    /// Its outputs that are ours, sats.
    pub received_sats: u64,
}
