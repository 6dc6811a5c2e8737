//! What a policy implies beyond what it says: the rest of the terms that a quote by it would have.

use super::jobs::quote::NEAR_ENOUGH;
use crate::contract::offer::lender_fees;
use crate::loan::acceptable::QUOTE_LIFE;
use crate::loan::earning::{Earning, Repaid};
use crate::loan::fees::{collateral_min_ceil, exit_fee_ceil, exit_fee_rate, EXIT_FEE_RATE_MIN};
use crate::loan::ltv::MarginLine;
use crate::loan::policy::{Approval, Policy};
use crate::loan::terms::{DUST, FALLBACK_DELAY, REFUND_DELAY};
use crate::loan::units::{BasisPoints, Cents, Days, SatPerVb};
use crate::loan::version::{CURRENCY, TERMS_VERSION};
use crate::settlement::deadline::{COIN_PATIENCE, SPOT_DRIFT};
use bitcoin::secp256k1::PublicKey;
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
    /// What one loan costs the lender in fees now, sats: its share of the funding transaction, of what is paid ahead for the end,
    /// and of making its coin out of one other.
    #[serde(default)]
    pub loan_fees_sats: u64,
    /// The price by which the rest counts, cents per bitcoin; absent where the policy's oracles say none now, and then the rest is
    /// absent too.
    #[serde(default)]
    pub price_cents: Option<u64>,
    /// From which principal a loan earns more than those fees, for terms that the policy allows, at the lowest rate it asks.
    #[serde(default)]
    pub earns: Vec<EarnsFrom>,
    /// What the smallest loan that the policy allows, for the shortest term, costs the lender beyond what it earns, cents: only where
    /// it is lent at a loss.
    #[serde(default)]
    pub smallest_loses_cents: Option<u64>,
}

/// The smallest principals that earn more than a loan costs its lender, for one term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarnsFrom {
    /// The term.
    pub days: u32,
    /// Where it is repaid when due, cents; absent where no principal of the policy does.
    pub when_due_cents: Option<u64>,
    /// However early it is repaid, cents; absent where no principal of the policy does.
    pub at_once_cents: Option<u64>,
}

/// Terms that people think in, days: those between the policy's shortest and its longest are told too.
const TOLD: [u32; 3] = [7, 30, 90];
/// What making a coin out of one other weighs, with change, virtual bytes.
const MAKING: u64 = 141;
/// Bytes of the script that a borrower's principal goes to, P2WPKH.
const SCRIPT: usize = 22;

/// What a policy of the lender with this key implies, at bitcoind's estimate and at this price, where there are such.
pub fn of(policy: &Policy, lender: PublicKey, estimate: Option<SatPerVb>, price: Option<Cents>) -> PolicyTerms {
    let fee_rate = estimate.map_or(EXIT_FEE_RATE_MIN, exit_fee_rate);
    let offer = |days, collateral| policy.offer(policy.initial_ltv_max, days, policy.principal_max, collateral);
    let (short, long) = (offer(policy.days_min, Amount::ONE_BTC), offer(policy.days_max, Amount::MAX_MONEY));
    let (apr_min, apr_max) = rates(policy);
    let line = |line: MarginLine| line.ltv(long.liquidation_ltv).0;
    let sats = |amount: Option<Amount>| amount.map_or(0, Amount::to_sat);
    let fees = fees(lender, fee_rate, long.stake, estimate);
    let earning = |days, price| Earning { policy, ltv: lowest_ltv(policy), days, price, fees };
    let smallest =
        price.and_then(|price| earning(policy.days_min, price).cents_floor(policy.principal_min, Repaid::WhenDue));
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
        loan_fees_sats: fees.to_sat(),
        price_cents: price.map(|price| price.0),
        earns: price.map_or_else(Vec::new, |price| {
            told_days(policy).into_iter().map(|days| earns_from(&earning(days, price))).collect()
        }),
        smallest_loses_cents: smallest.filter(|cents| *cents < 0).map(i64::unsigned_abs),
    }
}

/// What a loan costs its lender in fees.
fn fees(lender: PublicKey, fee_rate: SatPerVb, stake: Amount, estimate: Option<SatPerVb>) -> Amount {
    let making = estimate.unwrap_or(SatPerVb(1)).fee(MAKING);
    let shares = lender_fees(lender, fee_rate, stake, SCRIPT).ok();
    shares.zip(making).and_then(|(shares, making)| shares.checked_add(making)).unwrap_or(Amount::MAX_MONEY)
}

/// The shortest and the longest term, and those between that people think in.
fn told_days(policy: &Policy) -> Vec<Days> {
    let between = TOLD.map(Days).into_iter().filter(|days| policy.days_min < *days && *days < policy.days_max);
    let mut days: Vec<Days> = [policy.days_min].into_iter().chain(between).chain([policy.days_max]).collect();
    days.dedup();
    days
}

fn earns_from(earning: &Earning<'_>) -> EarnsFrom {
    let from = |repaid| earning.from(earning.policy.principal_min, 1, repaid).map(|cents| cents.0);
    EarnsFrom { days: earning.days.0, when_due_cents: from(Repaid::WhenDue), at_once_cents: from(Repaid::AtOnce) }
}

/// Where on the curve the rate is lowest: at one of its points, or at a limit.
fn lowest_ltv(policy: &Policy) -> BasisPoints {
    let most = policy.initial_ltv_max;
    let points = policy.apr.ltv.iter().filter_map(|point| u32::try_from(point.at).ok().map(BasisPoints));
    let all = points.filter(|ltv| *ltv <= most).chain([BasisPoints(1), most]);
    all.min_by_key(|ltv| policy.apr.apr(*ltv, policy.days_max, policy.principal_max)).unwrap_or(most)
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
    use crate::contract::offer::cost_of_lending;
    use crate::loan::fixtures::{key, reference, xonly};
    use crate::loan::policy::Request;
    use crate::loan::terms::Terms;

    #[test]
    fn what_a_policy_implies_is_what_a_quote_by_it_has() {
        let policy = Policy { oracles: vec![xonly(3)], ..Policy::default() };
        let terms = of(&policy, key(2), Some(SatPerVb(20)), Some(Cents(10_000_000)));
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
        let manual = of(&Policy { approval: Approval::Manual, ..policy }, key(2), None, None);
        assert_eq!((manual.approval_seconds, manual.fee_rate_sat_per_vb), (Some(1_800), 25));
    }

    #[test]
    fn from_which_principal_a_loan_earns_more_than_it_costs_is_said_and_a_smallest_loan_that_loses() {
        let policy = Policy { oracles: vec![xonly(3)], ..Policy::default() };
        let terms = of(&policy, key(2), Some(SatPerVb(1)), Some(Cents(10_000_000)));
        let days: Vec<u32> = terms.earns.iter().map(|one| one.days).collect();
        assert_eq!(days, [1, 7, 30, 90, 365]);
        // The same costs as a loan's own reckoning has.
        let loan = Terms { fee_rate: SatPerVb(25), ..reference() };
        let making = Amount::from_sat(141);
        assert_eq!(cost_of_lending(&loan, making).unwrap().to_sat(), terms.loan_fees_sats);
        // A dollar is a thousand sats: the longer it runs, the less must be lent; however early it ends, two weeks count.
        for pair in terms.earns.windows(2) {
            assert!(pair[0].when_due_cents > pair[1].when_due_cents, "{pair:?}");
        }
        let at_once: Vec<_> = terms.earns.iter().map(|one| one.at_once_cents.unwrap()).collect();
        assert_eq!(terms.earns[0].when_due_cents, terms.earns[0].at_once_cents);
        assert!(at_once[1] > at_once[2] && at_once[4] > terms.earns[4].when_due_cents.unwrap(), "{terms:?}");
        // $100 for a day earns two cents, and costs what the fees are.
        assert_eq!(terms.smallest_loses_cents, Some(terms.loan_fees_sats.div_ceil(10) - 2));
        let large = Policy { principal_min: Cents(5_000_000), days_min: Days(30), ..policy.clone() };
        let large = of(&large, key(2), Some(SatPerVb(1)), Some(Cents(10_000_000)));
        assert_eq!((large.smallest_loses_cents, large.earns[0].when_due_cents), (None, Some(5_000_000)));
        let unpriced = of(&policy, key(2), Some(SatPerVb(1)), None);
        assert!(unpriced.earns.is_empty() && unpriced.smallest_loses_cents.is_none() && unpriced.loan_fees_sats > 0);
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
