//! What a command that cannot be taken back would do: asked for before it is done, so that a person can be shown it.

use super::{LoanId, Source};
use serde::{Deserialize, Serialize};

/// `POST /v1/preview`: what would this do?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum PreviewRequest {
    /// `POST /v1/wallet/send`, with its fields.
    Send {
        /// Where to.
        address: String,
        /// How much; absent, and never null, where `all` is true.
        #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
        sats: Option<u64>,
        /// Everything free.
        #[serde(default)]
        all: bool,
        /// Also the coin kept for the fees of exits?
        #[serde(default)]
        with_fee_coin: bool,
    },
    /// `POST /v1/wallet/consolidate`, with its field.
    Consolidate {
        /// Also the coin kept for the fees of exits?
        #[serde(default)]
        with_fee_coin: bool,
    },
    /// `POST /v1/loans`.
    Borrow {
        /// The quote's loan id.
        quote: LoanId,
    },
    /// `POST /v1/requests/{id}/approve`.
    Approve {
        /// Which request.
        loan_id: LoanId,
    },
    /// `POST /v1/loans/{id}/cancel`.
    Cancel {
        /// Which loan.
        loan_id: LoanId,
    },
    /// `POST /v1/loans/{id}/repay`.
    Repay {
        /// Which loan.
        loan_id: LoanId,
        /// Where the sats come from.
        from: Source,
    },
    /// `POST /v1/loans/{id}/withdraw`.
    Withdraw {
        /// Which loan.
        loan_id: LoanId,
    },
    /// `POST /v1/loans/{id}/receipt`.
    Receipt {
        /// Which loan.
        loan_id: LoanId,
    },
}

/// Answer of `POST /v1/preview`: as things are now. What the command would refuse is refused with the same words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewView {
    /// The fee that this wallet would pay, sats; absent where another node makes the transaction.
    pub fee_sats: Option<u64>,
    /// Of a repayment that the lender is asked to propose: the most it may cost the borrower in fees, sats, as fees are now.
    #[serde(default)]
    pub fee_most_sats: Option<u64>,
    /// What both sides paid ahead for it when the loan was funded, sats: it pays first, and what is left of it is the borrower's.
    pub ahead_sats: u64,
    /// The rate of the transaction, sat/vB rounded up, where there is one.
    pub sat_per_vb: Option<u64>,
    /// How many coins of this wallet it would spend.
    pub coins: u64,
    /// What others would be paid, sats: the address, the lender without its stake, the borrower.
    pub pays_sats: u64,
    /// What would come back or in, sats: one coin, the collateral, the principal.
    pub gets_sats: u64,
    /// What would be set aside in the loan besides fees, sats: collateral, or principal and stake.
    pub locks_sats: u64,
    /// What stays behind for the fees of exits, sats.
    pub keeps_sats: u64,
    /// Coins that stay behind since each costs more than it is worth at this rate.
    #[serde(default)]
    pub costly_coins: u64,
    /// What they add up to, sats.
    #[serde(default)]
    pub costly_sats: u64,
    /// How many free coins there would be after joining some.
    pub left: u64,
    /// Of a repayment: the fee at which this node takes its coin back by itself where the other side does not complete it in
    /// time, sats, as fees are now; absent where another node proposes it.
    #[serde(default)]
    pub back_fee_sats: Option<u64>,
    /// The debt it is about, cents.
    pub owed_cents: u64,
    /// The price it is computed at, cents per bitcoin, where it rests on one.
    pub price_cents: Option<u64>,
    /// Can it not be taken back? Where it can, nothing is lost by it, and nobody needs to be asked.
    pub irrevocable: bool,
}
