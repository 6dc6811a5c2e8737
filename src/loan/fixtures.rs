//! Loans for tests.

use super::interest::minimum_days;
use super::terms::Terms;
use super::units::{cents_for_sats_floor, BasisPoints, Cents, Days, Time};
use bitcoin::Amount;
use proptest::prelude::*;

// One home for the reference loan: the tests beside this crate use it too.
#[path = "../../tests/common/reference.rs"]
mod reference;
pub use reference::*;

/// A loan with this collateral and principal (both sats) at this price.
pub fn loan(collateral: u64, principal_sats: u64, dollars: u64, days: u32, apr: u32) -> Terms {
    let price = Cents(dollars * 100);
    let principal_sats = Amount::from_sat(principal_sats);
    Terms {
        collateral: Amount::from_sat(collateral),
        principal_sats,
        principal: cents_for_sats_floor(principal_sats, price).unwrap(),
        reference_price: price,
        days: Days(days),
        minimum_interest_days: minimum_days(Days(days)),
        apr: BasisPoints(apr),
        ..reference()
    }
}

/// Loans that pass `check`, small and huge, short and long.
pub fn loans() -> impl Strategy<Value = Terms> {
    let collateral = prop_oneof![425_000u64..10_000_000, 10_000_000u64..100_000_000_000, Just(1_500_000_000_000_000)];
    let shape = (collateral, 500u64..6_500, 3_000u64..=900_000, 1u32..=730, 100u32..=1_500, 0u32..48);
    shape
        .prop_map(|(collateral, ltv, dollars, days, apr, hour)| {
            let principal = u64::try_from(u128::from(collateral) * u128::from(ltv) / 10_000).unwrap();
            let terms = loan(collateral, principal, dollars, days, apr);
            let start = Time(terms.start.0 + hour * 3_600);
            Terms { start, expires: start, ..terms }
        })
        .prop_filter("a loan that can be signed", |terms| terms.check().is_ok())
}
