//! Rates, spans and fee rates, and the two-way street between cents and sats.
//!
//! Prices are always cents per whole bitcoin. Products are taken in 128 bits; what does not fit its result is `None`.

use bitcoin::Amount;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use hypothec_oracle::ladder::Level;
pub use hypothec_oracle::units::{Cents, Day, Time, DAY, HOUR};

/// Sats of one bitcoin.
pub const SATS_PER_BTC: u64 = 100_000_000;
/// Basis points of the whole: 10,000 are 100 %.
pub const WHOLE: u32 = 10_000;

/// Hundredths of a percent: 7,800 is 78 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BasisPoints(pub u32);

/// `78 %`, `7.25 %`.
impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole} %"),
            tenths if tenths % 10 == 0 => write!(f, "{whole}.{} %", tenths / 10),
            hundredths => write!(f, "{whole}.{hundredths:02} %"),
        }
    }
}

/// Whole days of 86,400 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub u32);

impl Days {
    /// Their seconds; `None` beyond the end of time.
    pub fn seconds(self) -> Option<u32> {
        self.0.checked_mul(DAY)
    }

    /// Whole days that cover `seconds`.
    pub fn covering_ceil(seconds: u32) -> Days {
        Days(seconds.div_ceil(DAY))
    }
}

/// `1 day`, `90 days`.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "day" } else { "days" })
    }
}

/// A fee rate in whole sats per virtual byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SatPerVb(pub u64);

impl SatPerVb {
    /// The fee of a transaction of `vbytes`.
    pub fn fee(self, vbytes: u64) -> Option<Amount> {
        self.0.checked_mul(vbytes).map(Amount::from_sat)
    }
}

/// `25 sat/vB`.
impl fmt::Display for SatPerVb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sat/vB", self.0)
    }
}

/// The sats worth `cents` at `price` (cents per bitcoin), rounded up; `None` at price zero or beyond 64 bits.
pub fn sats_for_cents_ceil(cents: Cents, price: Cents) -> Option<Amount> {
    mul_div_ceil(cents.0.into(), SATS_PER_BTC.into(), price.0.into()).and_then(to_u64).map(Amount::from_sat)
}

/// The sats worth `cents` at `price` (cents per bitcoin), rounded down; `None` at price zero or beyond 64 bits.
pub fn sats_for_cents_floor(cents: Cents, price: Cents) -> Option<Amount> {
    mul_div_floor(cents.0.into(), SATS_PER_BTC.into(), price.0.into()).and_then(to_u64).map(Amount::from_sat)
}

/// The cents `sats` are worth at `price` (cents per bitcoin), rounded up; `None` beyond 64 bits.
pub fn cents_for_sats_ceil(sats: Amount, price: Cents) -> Option<Cents> {
    mul_div_ceil(sats.to_sat().into(), price.0.into(), SATS_PER_BTC.into()).and_then(to_u64).map(Cents)
}

/// The cents `sats` are worth at `price` (cents per bitcoin), rounded down; `None` beyond 64 bits.
pub fn cents_for_sats_floor(sats: Amount, price: Cents) -> Option<Cents> {
    mul_div_floor(sats.to_sat().into(), price.0.into(), SATS_PER_BTC.into()).and_then(to_u64).map(Cents)
}

/// `a · b / divisor`, rounded down; `None` when the product passes 128 bits or the divisor is zero.
pub(super) fn mul_div_floor(a: u128, b: u128, divisor: u128) -> Option<u128> {
    a.checked_mul(b)?.checked_div(divisor)
}

/// `a · b / divisor`, rounded up; `None` when the product passes 128 bits or the divisor is zero.
pub(super) fn mul_div_ceil(a: u128, b: u128, divisor: u128) -> Option<u128> {
    let product = a.checked_mul(b)?;
    let floor = product.checked_div(divisor)?;
    floor.checked_add(u128::from(product.checked_rem(divisor)? != 0))
}

/// Back to 64 bits, or `None`.
pub(super) fn to_u64(wide: u128) -> Option<u64> {
    u64::try_from(wide).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_written_for_people() {
        assert_eq!(BasisPoints(7_800).to_string(), "78 %");
        assert_eq!(BasisPoints(750).to_string(), "7.5 %");
        assert_eq!(BasisPoints(705).to_string(), "7.05 %");
        assert_eq!((Days(1).to_string(), Days(90).to_string()), ("1 day".into(), "90 days".into()));
    }

    #[test]
    fn half_a_bitcoin_is_fifty_thousand_dollars_at_a_hundred_thousand() {
        let price = Cents(10_000_000);
        assert_eq!(sats_for_cents_ceil(Cents(5_000_000), price), Some(Amount::from_sat(50_000_000)));
        assert_eq!(cents_for_sats_floor(Amount::from_sat(50_000_000), price), Some(Cents(5_000_000)));
        assert_eq!(sats_for_cents_ceil(Cents(1), Cents(0)), None);
        assert_eq!(cents_for_sats_floor(Amount::MAX, Cents(u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn ceil_and_floor_lie_at_most_one_apart_around_the_exact_value(cents in 0u64..1 << 50, price in 10_000u64..100_000_000) {
            let floor = sats_for_cents_floor(Cents(cents), Cents(price)).unwrap().to_sat();
            let ceil = sats_for_cents_ceil(Cents(cents), Cents(price)).unwrap().to_sat();
            let exact = u128::from(cents) * u128::from(SATS_PER_BTC);
            prop_assert!(u128::from(floor) * u128::from(price) <= exact);
            prop_assert!(u128::from(ceil) * u128::from(price) >= exact);
            prop_assert!(ceil - floor <= 1);
        }

        #[test]
        fn sats_bought_with_ceil_are_worth_the_cents_again(cents in 0u64..1 << 50, price in 10_000u64..=90_000_000) {
            let sats = sats_for_cents_ceil(Cents(cents), Cents(price)).unwrap();
            prop_assert_eq!(cents_for_sats_floor(sats, Cents(price)), Some(Cents(cents)));
        }
    }
}
