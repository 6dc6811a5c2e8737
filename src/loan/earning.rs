//! What a loan earns its lender beyond the fees it costs, and from which principal on that is enough.
//!
//! The fees are the same for a small loan and a large one, so a small one for a few days is lent at a loss. What it earns is
//! counted in sats at the price of its terms, rounded down.

use super::interest::{interest_ceil, minimum_days};
use super::policy::{Policy, Refusal};
use super::terms::Terms;
use super::units::{cents_for_sats_ceil, sats_for_cents_floor, BasisPoints, Cents, Days};
use bitcoin::Amount;

/// When a loan is repaid: what it earns follows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaid {
    /// At once: it pays the minimum of interest days.
    AtOnce,
    /// When it is due.
    WhenDue,
}

/// What the loans of one loan to value and term earn by a policy.
#[derive(Clone, Copy, Debug)]
pub struct Earning<'a> {
    /// The lender's.
    pub policy: &'a Policy,
    /// Their loan to value at the start.
    pub ltv: BasisPoints,
    /// Their term.
    pub days: Days,
    /// Cents per bitcoin.
    pub price: Cents,
    /// What one costs the lender in fees.
    pub fees: Amount,
}

impl Earning<'_> {
    fn interest(&self, principal: Cents, repaid: Repaid) -> Option<Cents> {
        let days = match repaid {
            Repaid::AtOnce => minimum_days(self.days),
            Repaid::WhenDue => self.days,
        };
        interest_ceil(principal, self.policy.apr.apr(self.ltv, self.days, principal), days)
    }

    /// What a loan earns less its fees, cents, rounded against the lender; below zero it costs more than it earns.
    pub fn cents_floor(&self, principal: Cents, repaid: Repaid) -> Option<i64> {
        let [interest, fees] = [self.interest(principal, repaid)?, cents_for_sats_ceil(self.fees, self.price)?];
        i64::try_from(i128::from(interest.0) - i128::from(fees.0)).ok()
    }

    /// The smallest principal from `from` to the policy's largest that earns `least` sats beyond its fees, rounded up to three
    /// digits where that earns enough too.
    pub fn from(&self, from: Cents, least: u64, repaid: Repaid) -> Option<Cents> {
        let is_enough = |cents: u64| {
            let interest = self.interest(Cents(cents), repaid);
            interest.is_some_and(|interest| suffices(interest, self.price, self.fees, least))
        };
        if is_enough(from.0) {
            return Some(from);
        }
        let (mut below, most) = (from.0, self.policy.principal_max.0);
        // From corner to corner of the rate more principal earns more, or the rate falls faster than it grows.
        let corners = self.policy.apr.amount.iter().map(|point| point.at);
        for corner in corners.chain([most]).filter(|at| (from.0..=most).contains(at)) {
            if is_enough(corner) {
                let found = first(below, corner, is_enough);
                let rounded = three_digits_ceil(found);
                return Some(Cents(if rounded <= most && is_enough(rounded) { rounded } else { found }));
            }
            below = corner;
        }
        None
    }
}

/// Does a loan by these terms earn its lender what the policy wants, however early it is repaid? `fees` is what it costs.
///
/// # Errors
/// When it does not, with the principal that would.
pub fn check(policy: &Policy, ltv: BasisPoints, terms: &Terms, fees: Amount) -> Result<(), Refusal> {
    let Some(least) = policy.earning_min_sats else { return Ok(()) };
    let (principal, days, price) = (terms.principal, terms.days, terms.reference_price);
    let interest = Cents(terms.repayment_at(terms.start).0.saturating_sub(principal.0));
    if suffices(interest, price, fees, least) {
        return Ok(());
    }
    let from = Cents(principal.0.saturating_add(1)).max(policy.principal_min);
    let earning = Earning { policy, ltv, days, price, fees };
    Err(Refusal::EarnsTooLittle { principal, days, least: earning.from(from, least, Repaid::AtOnce) })
}

fn suffices(interest: Cents, price: Cents, fees: Amount, least: u64) -> bool {
    let wanted = fees.to_sat().checked_add(least);
    let earned = sats_for_cents_floor(interest, price);
    earned.zip(wanted).is_some_and(|(earned, wanted)| earned.to_sat() >= wanted)
}

/// The first number above `no` for which `is` holds, where it does for `yes` and does not for `no`.
fn first(no: u64, yes: u64, is: impl Fn(u64) -> bool) -> u64 {
    let (mut no, mut yes) = (no, yes);
    while yes.saturating_sub(no) > 1 {
        let middle = no.midpoint(yes);
        if is(middle) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    yes
}

/// Whole dollars of three digits: the price goes on moving until somebody asks again.
fn three_digits_ceil(cents: u64) -> u64 {
    let mut unit = 100u64;
    while cents.div_ceil(unit) > 999 {
        unit = unit.saturating_mul(10);
    }
    cents.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures;
    use crate::loan::rate::{AprCurve, Point};
    use proptest::prelude::*;

    const FEES: Amount = Amount::from_sat(6_000);

    fn flat(bp: i32) -> Policy {
        let apr = AprCurve { ltv: vec![Point { at: 0, bp }], days: Vec::new(), amount: Vec::new() };
        Policy { apr, principal_max: Cents(100_000_000), ..Policy::default() }
    }

    fn earning(policy: &Policy, days: u32) -> Earning<'_> {
        Earning { policy, ltv: BasisPoints(5_000), days: Days(days), price: Cents(10_000_000), fees: FEES }
    }

    #[test]
    fn a_small_loan_costs_more_than_it_earns_and_from_some_principal_on_none_does() {
        // 6,000 sat are $6.00. At 10 % a day of $21,900 is $6.00, and a year of $60.00.
        let policy = flat(1_000);
        let due = |days| earning(&policy, days).from(policy.principal_min, 0, Repaid::WhenDue);
        assert_eq!((due(1), due(365)), (Some(Cents(2_190_000)), Some(Cents(10_000))));
        let at_once = |days| earning(&policy, days).from(policy.principal_min, 0, Repaid::AtOnce);
        // However early: fourteen days of $1,564.29 are $6.00.
        assert_eq!((at_once(1), at_once(14), at_once(365)), (due(1), Some(Cents(157_000)), Some(Cents(157_000))));
        assert_eq!(earning(&policy, 1).cents_floor(Cents(10_000), Repaid::WhenDue), Some(3 - 600));
        assert_eq!(earning(&policy, 365).cents_floor(Cents(10_000), Repaid::WhenDue), Some(1_000 - 600));
        // No sum that is lent is enough.
        let small = Policy { principal_max: Cents(100_000), ..policy };
        assert_eq!(earning(&small, 1).from(small.principal_min, 0, Repaid::WhenDue), None);
    }

    #[test]
    fn what_earns_too_little_is_refused_with_the_least_sum_and_off_nothing_is() {
        let terms = fixtures::loan(100_000_000, 1_000_000, 100_000, 2, 1_000);
        let off = flat(1_000);
        let check = |policy: &Policy| check(policy, BasisPoints(5_000), &terms, FEES);
        assert_eq!(check(&off), Ok(()));
        let on = Policy { earning_min_sats: Some(0), ..off.clone() };
        let refused = check(&on).unwrap_err();
        let Refusal::EarnsTooLittle { least: Some(least), .. } = refused else { panic!("{refused:?}") };
        assert!(refused.to_string().ends_with(&format!("ask for {least} or more")), "{refused}");
        // Who asks for that is given it, and who asks for a percent less is not.
        let of = |principal: u64| {
            let terms = Terms { principal: Cents(principal), ..terms.clone() };
            super::check(&on, BasisPoints(5_000), &terms, FEES)
        };
        assert_eq!(of(least.0), Ok(()));
        assert!(of(least.0 / 100 * 99 - 1).is_err());
        let small = Policy { principal_max: Cents(200_000), ..on };
        let none = super::check(&small, BasisPoints(5_000), &terms, FEES).unwrap_err();
        assert!(none.to_string().ends_with("ask for a longer term"), "{none}");
        // More wanted takes more.
        let more = Policy { earning_min_sats: Some(6_000), ..off };
        let more = check(&more).unwrap_err();
        assert!(matches!(more, Refusal::EarnsTooLittle { least: Some(twice), .. } if twice.0 > least.0 * 19 / 10));
    }

    proptest! {
        #[test]
        fn the_least_sum_earns_enough_whatever_the_curve(
            from in 1u64..10_000_000, days in 1u32..=365, least in 0u64..1_000_000, price in 100_000u64..100_000_000,
        ) {
            let policy = Policy { principal_max: Cents(100_000_000), ..Policy::default() };
            let earning = Earning { price: Cents(price), ..earning(&policy, days) };
            for repaid in [Repaid::AtOnce, Repaid::WhenDue] {
                if let Some(found) = earning.from(Cents(from), least, repaid) {
                    let interest = earning.interest(found, repaid).unwrap();
                    prop_assert!(suffices(interest, Cents(price), FEES, least));
                    prop_assert!(found.0 >= from && found <= policy.principal_max);
                }
            }
        }
    }
}
