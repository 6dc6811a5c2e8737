//! Simple interest, Actual/365: whole days rounded up, cents rounded up.

use super::units::{mul_div_ceil, to_u64, BasisPoints, Cents, Days, WHOLE};

/// Days of the year that interest counts by, leap years too.
const YEAR: u128 = 365;
/// The minimum that an early repayment pays unless the term is shorter.
pub const MINIMUM_INTEREST_DAYS: Days = Days(14);

/// The interest on `principal` at `apr` for `days`, rounded up to the cent; `None` on overflow.
pub fn interest_ceil(principal: Cents, apr: BasisPoints, days: Days) -> Option<Cents> {
    let rate_days = u128::from(apr.0) * u128::from(days.0);
    mul_div_ceil(principal.0.into(), rate_days, u128::from(WHOLE) * YEAR).and_then(to_u64).map(Cents)
}

/// Principal and interest after `days`, rounded up to the cent; `None` on overflow.
pub fn owed_ceil(principal: Cents, apr: BasisPoints, days: Days) -> Option<Cents> {
    principal.0.checked_add(interest_ceil(principal, apr, days)?.0).map(Cents)
}

/// The days of interest that a loan of `term` pays however early it is repaid: 14, or the term if that is shorter.
pub fn minimum_days(term: Days) -> Days {
    MINIMUM_INTEREST_DAYS.min(term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ninety_days_at_ten_percent_on_fifty_thousand_dollars() {
        // 5,000,000 c · 10 % · 90/365 = 123,287.67 c
        assert_eq!(owed_ceil(Cents(5_000_000), BasisPoints(1_000), Days(90)), Some(Cents(5_123_288)));
        assert_eq!(owed_ceil(Cents(5_000_000), BasisPoints(1_000), Days(0)), Some(Cents(5_000_000)));
        assert_eq!(owed_ceil(Cents(36_500), BasisPoints(10_000), Days(365)), Some(Cents(73_000)));
        assert_eq!(owed_ceil(Cents(u64::MAX), BasisPoints(1), Days(1)), None);
    }

    #[test]
    fn a_short_loan_never_pays_more_days_than_it_has() {
        assert_eq!((minimum_days(Days(90)), minimum_days(Days(3))), (Days(14), Days(3)));
    }

    proptest! {
        #[test]
        fn interest_is_less_than_a_cent_above_the_exact_value(
            principal in 0u64..1 << 50, apr in 0u32..=10_000, days in 0u32..=3_650,
        ) {
            let paid = u128::from(interest_ceil(Cents(principal), BasisPoints(apr), Days(days)).unwrap().0);
            let exact = u128::from(principal) * u128::from(apr) * u128::from(days);
            let unit = u128::from(WHOLE) * YEAR;
            prop_assert!(paid * unit >= exact);
            prop_assert!(paid * unit < exact + unit);
        }

        #[test]
        fn what_is_owed_never_shrinks_with_time(
            principal in 0u64..1 << 50, apr in 0u32..=10_000, days in 0u32..3_650,
        ) {
            let today = owed_ceil(Cents(principal), BasisPoints(apr), Days(days));
            prop_assert!(today <= owed_ceil(Cents(principal), BasisPoints(apr), Days(days + 1)));
        }
    }
}
