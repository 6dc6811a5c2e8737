//! What a policy implies beyond what it says: the rest of the terms that a quote by it would have.

use super::jobs::quote::NEAR_ENOUGH;
use crate::loan::acceptable::QUOTE_LIFE;
use crate::loan::fees::{collateral_min_ceil, exit_fee_ceil, exit_fee_rate, EXIT_FEE_RATE_MIN};
use crate::loan::ltv::MarginLine;
use crate::loan::policy::{Approval, Policy};
use crate::loan::terms::{DUST, FALLBACK_DELAY, REFUND_DELAY};
use crate::loan::units::{BasisPoints, Cents, Days, SatPerVb};
use crate::loan::version::{CURRENCY, TERMS_VERSION};
use crate::settlement::deadline::{COIN_PATIENCE, SPOT_DRIFT};
use bitcoin::Amount;
use serde::{Deserialize, Serialize};

/// `GET /v1/policy/terms`: what the policy in force implies. Sats, cents, basis points, days and seconds, as the names say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTerms {
    /// What a debt counts in.
    pub currency: String,
    /// Version of the terms.
    pub terms_version: u16,
    /// The lowest yearly rate the curve asks within the policy's limits.
    pub apr_min_bp: u32,
    /// The highest.
    pub apr_max_bp: u32,
    /// Days of interest that even the earliest repayment pays, of a loan of the shortest term.
    pub minimum_interest_days_min: u32,
    /// The same of one of the longest term.
    pub minimum_interest_days_max: u32,
    /// Margin line: warning.
    pub warning_ltv_bp: u32,
    /// Margin line: call.
    pub call_ltv_bp: u32,
    /// Margin line: urgent.
    pub urgent_ltv_bp: u32,
    /// Where a touch liquidates.
    pub liquidation_ltv_bp: u32,
    /// What the lender takes on top of the debt on a touch, of the debt.
    pub cushion_bp: u32,
    /// What the lender locks itself.
    pub stake_sats: u64,
    /// The smallest principal and the smallest payout; a smaller rest goes to the other side.
    pub dust_sats: u64,
    /// The rate that funding and exits are paid ahead at now; the lowest there is where no estimate is known.
    pub fee_rate_sat_per_vb: u64,
    /// What each exit costs at that rate.
    pub exit_fee_sats: u64,
    /// The smallest collateral at that rate: an exit costs at most a hundredth of it.
    pub collateral_min_sats: u64,
    /// Confirmations before a loan is active, up to one bitcoin of collateral.
    pub confirmations: u32,
    /// The same above that.
    pub confirmations_above_one_bitcoin: u32,
    /// How far the principal may differ from what is asked, so that a coin can be lent as it is.
    pub principal_within_bp: u32,
    /// How long a quote stands.
    pub quote_seconds: u32,
    /// Of that, how long after the quote a person can approve it at the latest; absent where the node does.
    pub approval_seconds: Option<u32>,
    /// How long the lender's coin is waited for.
    pub coin_seconds: u32,
    /// How far the price may move until both have signed.
    pub price_drift_bp: u32,
    /// After due, when the oracles are silent.
    pub fallback_days: u32,
    /// After due, the last resort.
    pub refund_days: u32,
}

/// What a policy implies, at bitcoind's estimate where there is one.
pub fn of(policy: &Policy, estimate: Option<SatPerVb>) -> PolicyTerms {
    let fee_rate = estimate.map_or(EXIT_FEE_RATE_MIN, exit_fee_rate);
    let offer = |days, collateral| policy.offer(policy.initial_ltv_max, days, policy.principal_max, collateral);
    let (short, long) = (offer(policy.days_min, Amount::ONE_BTC), offer(policy.days_max, Amount::MAX_MONEY));
    let (apr_min, apr_max) = rates(policy);
    let line = |line: MarginLine| line.ltv(long.liquidation_ltv).0;
    let sats = |amount: Option<Amount>| amount.map_or(0, Amount::to_sat);
    PolicyTerms {
        currency: CURRENCY.into(),
        terms_version: TERMS_VERSION,
        apr_min_bp: apr_min.0,
        apr_max_bp: apr_max.0,
        minimum_interest_days_min: short.minimum_interest_days.0,
        minimum_interest_days_max: long.minimum_interest_days.0,
        warning_ltv_bp: line(MarginLine::Warning),
        call_ltv_bp: line(MarginLine::Call),
        urgent_ltv_bp: line(MarginLine::Urgent),
        liquidation_ltv_bp: line(MarginLine::Liquidation),
        cushion_bp: long.cushion.0,
        stake_sats: long.stake.to_sat(),
        dust_sats: DUST.to_sat(),
        fee_rate_sat_per_vb: fee_rate.0,
        exit_fee_sats: sats(exit_fee_ceil(fee_rate)),
        collateral_min_sats: sats(collateral_min_ceil(fee_rate)),
        confirmations: short.confirmations,
        confirmations_above_one_bitcoin: long.confirmations,
        principal_within_bp: NEAR_ENOUGH,
        quote_seconds: QUOTE_LIFE,
        approval_seconds: (policy.approval == Approval::Manual).then_some(QUOTE_LIFE.saturating_sub(COIN_PATIENCE)),
        coin_seconds: COIN_PATIENCE,
        price_drift_bp: SPOT_DRIFT.0,
        fallback_days: FALLBACK_DELAY.0,
        refund_days: REFUND_DELAY.0,
    }
}

/// The lowest and the highest rate within the policy's limits. The rate is three lines that add up, so each has its ends by
/// itself: at one of its points, or at a limit.
fn rates(policy: &Policy) -> (BasisPoints, BasisPoints) {
    let curve = &policy.apr;
    let places = |points: &[crate::loan::rate::Point], from: u64, to: u64| -> Vec<u64> {
        let within = points.iter().map(|point| point.at).filter(|at| (from..=to).contains(at));
        within.chain([from, to]).collect()
    };
    let small = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
    let ltvs = places(&curve.ltv, 1, policy.initial_ltv_max.0.into());
    let days = places(&curve.days, policy.days_min.0.into(), policy.days_max.0.into());
    let amounts = places(&curve.amount, policy.principal_min.0, policy.principal_max.0);
    let (mut lowest, mut highest) = (BasisPoints(u32::MAX), BasisPoints(0));
    for ltv in &ltvs {
        for days in &days {
            for amount in &amounts {
                let rate = curve.apr(BasisPoints(small(*ltv)), Days(small(*days)), Cents(*amount));
                (lowest, highest) = (lowest.min(rate), highest.max(rate));
            }
        }
    }
    (lowest, highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::xonly;
    use crate::loan::policy::Request;

    #[test]
    fn what_a_policy_implies_is_what_a_quote_by_it_has() {
        let policy = Policy { oracles: vec![xonly(3)], ..Policy::default() };
        let terms = of(&policy, Some(SatPerVb(20)));
        for (days, least) in
            [(policy.days_min, terms.minimum_interest_days_min), (policy.days_max, terms.minimum_interest_days_max)]
        {
            let request = Request {
                principal: Cents(4_000_000),
                collateral: Amount::ONE_BTC,
                days,
                oracles: policy.oracles.clone(),
                spot: Cents(10_000_000),
                exposure: Cents(0),
                fee_rate: SatPerVb(terms.fee_rate_sat_per_vb),
            };
            let quoted = policy.quote(&request).unwrap();
            assert_eq!(quoted.minimum_interest_days.0, least);
            assert_eq!((quoted.liquidation_ltv.0, quoted.cushion.0), (terms.liquidation_ltv_bp, terms.cushion_bp));
            assert_eq!((quoted.stake.to_sat(), quoted.confirmations), (terms.stake_sats, terms.confirmations));
            assert!((terms.apr_min_bp..=terms.apr_max_bp).contains(&quoted.apr.0), "{quoted:?}");
            let small = Request { collateral: Amount::from_sat(terms.collateral_min_sats - 1), ..request };
            assert!(policy.quote(&small).unwrap_err().to_string().contains("too small"));
        }
        assert_eq!((terms.minimum_interest_days_min, terms.minimum_interest_days_max), (1, 14));
        assert_eq!((terms.warning_ltv_bp, terms.call_ltv_bp, terms.urgent_ltv_bp), (6_000, 6_600, 7_200));
        assert_eq!(
            (terms.fee_rate_sat_per_vb, terms.exit_fee_sats, terms.collateral_min_sats),
            (60, 10_200, 1_020_000)
        );
        assert_eq!((terms.confirmations_above_one_bitcoin, terms.approval_seconds), (6, None));
        let manual = of(&Policy { approval: Approval::Manual, ..policy }, None);
        assert_eq!((manual.approval_seconds, manual.fee_rate_sat_per_vb), (Some(1_800), 25));
    }

    #[test]
    fn the_rates_lie_between_the_ends_of_the_curve_within_the_limits() {
        let policy = Policy::default();
        // 6 % − 0.5 % − 0.5 % to 9.5 % + 1.5 % + 1 %.
        assert_eq!(rates(&policy), (BasisPoints(500), BasisPoints(1_200)));
        let narrow = Policy {
            days_min: Days(90),
            days_max: Days(90),
            principal_min: Cents(1_000_000),
            principal_max: Cents(5_000_000),
            ..policy
        };
        assert_eq!(rates(&narrow), (BasisPoints(600), BasisPoints(950)));
    }
}
