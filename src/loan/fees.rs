//! What the transactions of a loan weigh and what their fees may be.
//!
//! Sizes are upper bounds in virtual bytes for P2WPKH payouts; a taproot payout adds [`TAPROOT_EXTRA`] each.

use super::units::{mul_div_ceil, BasisPoints, SatPerVb, WHOLE};
use bitcoin::Amount;
use std::ops::RangeInclusive;

/// Exits are paid ahead at no less than this: nobody can bump them by replacing.
pub const EXIT_FEE_RATE_MIN: SatPerVb = SatPerVb(25);
/// Exits are paid ahead at this many times the estimate.
pub const EXIT_FEE_RATE_TIMES: u64 = 3;
/// The highest fee rate that terms may name.
pub const FEE_RATE_MAX: SatPerVb = SatPerVb(2_000);
/// An exit may cost this share of the collateral; beyond it the loan is too small.
pub const EXIT_FEE_SHARE_MAX: BasisPoints = BasisPoints(100);
/// What a P2TR payout weighs above a P2WPKH one.
pub const TAPROOT_EXTRA: u64 = 12;
/// What one more P2WPKH input weighs; P2TR key path is lighter.
pub const INPUT: u64 = 68;
/// What one more P2TR output weighs; P2WPKH is lighter.
pub const OUTPUT: u64 = 43;

/// A transaction of a loan's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TxKind {
    /// Locks collateral and stake and pays the principal: one input a side.
    Funding,
    /// A touch's contract execution transaction.
    Touch,
    /// The receipt's.
    Receipt,
    /// A fixing's.
    Fixing,
    /// The fallback, signed ahead.
    Fallback,
    /// The DLC's refund.
    Refund,
    /// Repayment out of the collateral: with one input of the proposer's own and its change.
    RepayFromCollateral,
    /// Repayment from the borrower's wallet: with one of its coins and its change.
    RepayFromWallet,
}

impl TxKind {
    /// Its size in virtual bytes, at most, with one wallet input where it has any.
    pub const fn vbytes_max(self) -> u64 {
        match self {
            TxKind::Funding => 251,
            // Each side pays half of 500 weight units and its own payout script of 22 bytes, rounded up: 85 each.
            TxKind::Touch | TxKind::Receipt | TxKind::Fixing | TxKind::Fallback | TxKind::Refund => 170,
            TxKind::RepayFromCollateral | TxKind::RepayFromWallet => 170 + INPUT + OUTPUT,
        }
    }

    /// Its fee at `rate`, at most; `None` on overflow.
    pub fn fee_ceil(self, rate: SatPerVb) -> Option<Amount> {
        rate.fee(self.vbytes_max())
    }
}

/// What any exit signed ahead costs, at most.
pub fn exit_fee_ceil(rate: SatPerVb) -> Option<Amount> {
    TxKind::Touch.fee_ceil(rate)
}

/// The rate that exits are paid ahead at: three times the estimate, at least 25 sat/vB, at most what terms may name.
pub fn exit_fee_rate(estimate: SatPerVb) -> SatPerVb {
    SatPerVb(estimate.0.saturating_mul(EXIT_FEE_RATE_TIMES)).clamp(EXIT_FEE_RATE_MIN, FEE_RATE_MAX)
}

/// The rates that a borrower whose own estimate is `estimate` takes in a quote: half as much again as it would have named
/// itself at most, as far as terms may name it, and the estimate at least. Below that the funding transaction waits for as long as the lender likes, and
/// either side may still walk away from it.
pub fn exit_fee_range(estimate: SatPerVb) -> RangeInclusive<SatPerVb> {
    let most = SatPerVb(exit_fee_rate(estimate).0.saturating_mul(3) / 2);
    estimate.clamp(EXIT_FEE_RATE_MIN, FEE_RATE_MAX)..=most.min(FEE_RATE_MAX)
}

/// The smallest collateral that exits at `rate` are worth: their fee is 1 % of it. `None` on overflow.
pub fn collateral_min_ceil(rate: SatPerVb) -> Option<Amount> {
    let fee = exit_fee_ceil(rate)?.to_sat();
    let sats = mul_div_ceil(fee.into(), WHOLE.into(), EXIT_FEE_SHARE_MAX.0.into())?;
    u64::try_from(sats).ok().map(Amount::from_sat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_paid_ahead_at_three_times_the_estimate_and_never_under_25() {
        assert_eq!(exit_fee_rate(SatPerVb(1)), SatPerVb(25));
        assert_eq!(exit_fee_rate(SatPerVb(40)), SatPerVb(120));
        assert_eq!(exit_fee_rate(SatPerVb(u64::MAX)), FEE_RATE_MAX);
        assert_eq!(exit_fee_ceil(SatPerVb(25)), Some(Amount::from_sat(4_250)));
        assert_eq!(exit_fee_ceil(SatPerVb(u64::MAX)), None);
    }

    #[test]
    fn a_quoted_rate_is_at_most_half_as_much_again_as_ones_own_and_at_least_the_estimate() {
        let cases = [(1, 25, 37), (10, 25, 45), (40, 40, 180), (100, 100, 450)];
        for (estimate, least, most) in cases {
            assert_eq!(exit_fee_range(SatPerVb(estimate)), SatPerVb(least)..=SatPerVb(most), "{estimate}");
        }
    }

    #[test]
    fn a_loan_is_too_small_when_an_exit_costs_more_than_a_hundredth_of_it() {
        assert_eq!(collateral_min_ceil(SatPerVb(25)), Some(Amount::from_sat(425_000)));
    }
}
