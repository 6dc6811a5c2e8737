//! Whether terms can be signed: every range and every relation, one sentence for each that fails.

use super::fees::{collateral_min_ceil, EXIT_FEE_RATE_MIN, FEE_RATE_MAX};
use super::ltv::{level_dollars_ceil, URGENT};
use super::quorum::{Quorum, ORACLES_MAX};
use super::terms::{Terms, DUST, REFUND_DELAY, STAKE};
use super::units::{cents_for_sats_floor, BasisPoints, Cents, Day, Days, SatPerVb, Time, HOUR, WHOLE};
use super::version::{other_version, CURRENCY, CURVE, TERMS_MAX};
use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{absolute, Amount, Script};
use hypothec_oracle::ladder::{HIGHEST, LOWEST};
use thiserror::Error;

/// The longest term.
pub const DAYS_MAX: Days = Days(3_650);
/// The lowest and the highest yearly rate that terms may name. What a lender asks is its policy's affair.
pub const APR_RANGE: (BasisPoints, BasisPoints) = (BasisPoints(100), BasisPoints(10_000));
/// The lowest and the highest reference price, cents per bitcoin.
pub const REFERENCE_RANGE: (Cents, Cents) = (Cents(200_000), Cents(90_000_000));
/// The highest liquidation LTV.
pub const LIQUIDATION_MAX: BasisPoints = BasisPoints(9_500);
/// The highest cushion.
pub const CUSHION_MAX: BasisPoints = BasisPoints(2_000);
/// The most confirmations: a day of blocks.
pub const CONFIRMATIONS_MAX: u32 = 144;
/// Terms expire no later than this many seconds after the start, and no earlier than a day before it.
pub const EXPIRES_AFTER_START_MAX: u32 = HOUR;

/// The highest cushion that fits above this liquidation LTV: the two together pay at most the whole.
pub fn cushion_max_floor(liquidation_ltv: BasisPoints) -> BasisPoints {
    // ltv · (1 + cushion) at most the whole; the division rounds down, against the cushion.
    let room = (WHOLE * WHOLE / liquidation_ltv.0.max(1)).saturating_sub(WHOLE);
    BasisPoints(room).min(CUSHION_MAX)
}

/// Why terms cannot be signed: the field, its value, what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TermsError {
    #[error("{}", other_version(*.found))]
    Version { found: u16 },
    #[error("{field}: version 1 of the terms has no such field")]
    NotInVersion1 { field: &'static str },
    #[error("{field} {found}: new loans are of {right}, and what is older is served to its end")]
    NotNew { field: &'static str, found: u16, right: u16 },
    #[error("terms of {found} bytes: the most is {TERMS_MAX}")]
    TooLong { found: usize },
    #[error("transaction_version {found}: exits are transactions of version 2 or 3")]
    TransactionVersion { found: String },
    #[error("currency {found}: this node counts debts in {CURRENCY}")]
    Currency { found: String },
    #[error("minimum_threshold {found}: must be 1 to the threshold of {threshold}")]
    MinimumThreshold { found: String, threshold: u8 },
    #[error("curve {found}: this node knows curve {CURVE}")]
    Curve { found: String },
    #[error("chain {found}: name the first block of a known bitcoin chain")]
    Chain { found: String },
    #[error("borrower and lender are both {key}: a loan needs two nodes")]
    OneNode { key: String },
    #[error("{field}: borrower and lender gave the same 32 bytes; each side draws its own")]
    SameNonce { field: &'static str },
    #[error("start {found}: must be a full hour")]
    StartNotAnHour { found: Time },
    #[error("start {found}: must lie after 1985 and early enough for the refund to end before 2106")]
    Start { found: Time },
    #[error("days {found}: must be 1 to {}", DAYS_MAX.0)]
    Days { found: Days },
    #[error("minimum_interest_days {found}: must be at most the term of {term}")]
    MinimumInterest { found: Days, term: Days },
    #[error("{field} {found} sats: must be {min} to {max} sats")]
    Sats { field: &'static str, found: u64, min: u64, max: u64 },
    #[error("collateral {found} sats: too small, since an exit at {rate} would cost above 1 % of it; lock at least {min} sats")]
    TooSmall { found: u64, rate: SatPerVb, min: u64 },
    #[error("principal {found}: {sats} sats at the reference price of {price} are {right}")]
    Principal { found: Cents, sats: u64, price: Cents, right: Cents },
    #[error("reference_price {found}: must be {} to {}", REFERENCE_RANGE.0, REFERENCE_RANGE.1)]
    Reference { found: Cents },
    #[error("apr {found}: must be {} to {}", APR_RANGE.0, APR_RANGE.1)]
    Apr { found: BasisPoints },
    #[error("liquidation_ltv {found}: must be above {URGENT} (the urgent line) and at most {LIQUIDATION_MAX}")]
    LiquidationLtv { found: BasisPoints },
    #[error("cushion {found}: must be at most {max}, so that it fits above the liquidation LTV")]
    Cushion { found: BasisPoints, max: BasisPoints },
    #[error("oracles: {found} named; name 1 to {ORACLES_MAX}")]
    Oracles { found: usize },
    #[error("oracles: {key} is named twice or out of order; name each once, by ascending key")]
    OracleOrder { key: String },
    #[error("threshold {found}: must be 1 to {oracles}, the number of oracles named")]
    Threshold { found: u8, oracles: usize },
    #[error(
        "days {found}: {threshold} of {oracles} oracles settle at most {max}; shorten the term or name fewer oracles"
    )]
    OracleDays { found: Days, threshold: u8, oracles: usize, max: Days },
    #[error("{field} is the same key as {other}: each must be its own")]
    SameKey { field: &'static str, other: &'static str },
    #[error("fee_rate {found}: must be {EXIT_FEE_RATE_MIN} to {FEE_RATE_MAX}")]
    FeeRate { found: SatPerVb },
    #[error("confirmations {found}: must be 1 to {CONFIRMATIONS_MAX}")]
    Confirmations { found: u32 },
    #[error("principal_script {found}: must be P2WPKH, or P2TR with a valid key")]
    PrincipalScript { found: String },
    #[error("expires {found}: must lie from a day before to an hour after the start at {start}")]
    Expires { found: Time, start: Time },
    #[error("collateral: on {} the loan would be liquidated at {dollars} dollars a bitcoin, and {LOWEST} to {HIGHEST} are right; {}", date(*day), way_in(*dollars))]
    LevelOffLadder { day: Day, dollars: u128 },
    #[error("collateral: the liquidation level of {}, {level}, is not below the reference price of {price}; lock more or borrow less", date(*day))]
    LevelAboveReference { day: Day, level: Cents, price: Cents },
}

/// A day as people write it.
fn date(day: Day) -> String {
    let (year, month, day) = day.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

/// What brings a level onto the ladder.
fn way_in(dollars: u128) -> &'static str {
    match dollars < LOWEST.into() {
        true => "lock less or borrow more",
        false => "lock more or borrow less",
    }
}

impl Terms {
    /// Every range and relation of the terms by themselves. Says nothing of what only a node knows: that the chain,
    /// the keys and the oracle are those it means, that the price is today's, that it is not too late.
    pub fn check(&self) -> Result<(), TermsError> {
        self.check_version()?;
        self.check_parties()?;
        self.check_times()?;
        self.check_money()?;
        self.check_rates()?;
        self.check_keys()?;
        self.check_levels()
    }

    fn check_parties(&self) -> Result<(), TermsError> {
        let chain = ChainHash::from(self.chain);
        let known =
            [ChainHash::BITCOIN, ChainHash::TESTNET3, ChainHash::TESTNET4, ChainHash::SIGNET, ChainHash::REGTEST];
        if !known.contains(&chain) {
            return Err(TermsError::Chain { found: chain.to_string() });
        }
        if self.borrower == self.lender {
            return Err(TermsError::OneNode { key: self.borrower.to_string() });
        }
        if self.borrower_nonce == self.lender_nonce {
            return Err(TermsError::SameNonce { field: "borrower_nonce and lender_nonce" });
        }
        let script = &self.principal_script;
        match is_payable(script) {
            true => Ok(()),
            false => Err(TermsError::PrincipalScript { found: script.to_hex_string().chars().take(80).collect() }),
        }
    }

    fn check_times(&self) -> Result<(), TermsError> {
        if !self.start.0.is_multiple_of(HOUR) {
            return Err(TermsError::StartNotAnHour { found: self.start });
        }
        if self.days.0 == 0 || self.days > DAYS_MAX {
            return Err(TermsError::Days { found: self.days });
        }
        let until_refund = Days(self.days.0.saturating_add(REFUND_DELAY.0)).seconds();
        let refund = until_refund.and_then(|seconds| self.start.plus(seconds));
        if self.start.0 < absolute::LOCK_TIME_THRESHOLD || refund.is_none() {
            return Err(TermsError::Start { found: self.start });
        }
        if self.minimum_interest_days > self.days {
            return Err(TermsError::MinimumInterest { found: self.minimum_interest_days, term: self.days });
        }
        let day_before = self.start.0.saturating_sub(super::units::DAY);
        let hour_after = self.start.0.saturating_add(EXPIRES_AFTER_START_MAX);
        if !(day_before..=hour_after).contains(&self.expires.0) {
            return Err(TermsError::Expires { found: self.expires, start: self.start });
        }
        if !(1..=CONFIRMATIONS_MAX).contains(&self.confirmations) {
            return Err(TermsError::Confirmations { found: self.confirmations });
        }
        Ok(())
    }

    fn check_money(&self) -> Result<(), TermsError> {
        in_range("stake", self.stake, STAKE, STAKE)?;
        in_range("collateral", self.collateral, DUST, Amount::MAX_MONEY)?;
        in_range("principal_sats", self.principal_sats, DUST, Amount::MAX_MONEY)?;
        if !(EXIT_FEE_RATE_MIN..=FEE_RATE_MAX).contains(&self.fee_rate) {
            return Err(TermsError::FeeRate { found: self.fee_rate });
        }
        let found = self.collateral.to_sat();
        let min = collateral_min_ceil(self.fee_rate).unwrap_or(Amount::MAX_MONEY);
        if self.collateral < min {
            return Err(TermsError::TooSmall { found, rate: self.fee_rate, min: min.to_sat() });
        }
        let price = self.reference_price;
        if !(REFERENCE_RANGE.0..=REFERENCE_RANGE.1).contains(&price) {
            return Err(TermsError::Reference { found: price });
        }
        let sats = self.principal_sats.to_sat();
        match cents_for_sats_floor(self.principal_sats, price).unwrap_or(Cents(u64::MAX)) {
            right if right == self.principal => Ok(()),
            right => Err(TermsError::Principal { found: self.principal, sats, price, right }),
        }
    }

    fn check_rates(&self) -> Result<(), TermsError> {
        if !(APR_RANGE.0..=APR_RANGE.1).contains(&self.apr) {
            return Err(TermsError::Apr { found: self.apr });
        }
        if self.liquidation_ltv <= URGENT || self.liquidation_ltv > LIQUIDATION_MAX {
            return Err(TermsError::LiquidationLtv { found: self.liquidation_ltv });
        }
        let max = cushion_max_floor(self.liquidation_ltv);
        if self.cushion > max {
            return Err(TermsError::Cushion { found: self.cushion, max });
        }
        Ok(())
    }

    fn check_keys(&self) -> Result<(), TermsError> {
        self.check_oracles()?;
        let oracles = self.oracles.iter().map(|oracle| ("oracles", *oracle));
        let receipt = [("receipt_key", self.receipt_key), ("receipt_nonce", self.receipt_nonce)];
        let named: Vec<(&'static str, XOnlyPublicKey)> = oracles.chain(receipt).collect();
        for (place, (field, key)) in named.iter().enumerate() {
            if let Some((other, _)) = named.iter().take(place).find(|(_, earlier)| earlier == key) {
                return Err(TermsError::SameKey { field, other });
            }
        }
        Ok(())
    }

    /// An oracle's index decides whose price pays where two prices agree: ascending keys leave nobody that choice.
    fn check_oracles(&self) -> Result<(), TermsError> {
        let quorum = Quorum::of(self);
        let oracles = quorum.oracles;
        if !(1..=ORACLES_MAX).contains(&oracles) {
            return Err(TermsError::Oracles { found: oracles });
        }
        let after = self.oracles.iter().skip(1);
        let wrong = self.oracles.iter().zip(after).find(|(one, next)| one.serialize() >= next.serialize());
        if let Some((_, key)) = wrong {
            return Err(TermsError::OracleOrder { key: key.to_string() });
        }
        if !quorum.is_possible() {
            return Err(TermsError::Threshold { found: self.threshold, oracles });
        }
        self.check_minimum_threshold()?;
        // A term of whole days touches at most one UTC day more.
        let max = Days(quorum.days_max().0.saturating_sub(1));
        match self.days <= max {
            true => Ok(()),
            false => Err(TermsError::OracleDays { found: self.days, threshold: self.threshold, oracles, max }),
        }
    }

    /// Levels only rise, so the first day is the lowest and the last the highest.
    fn check_levels(&self) -> Result<(), TermsError> {
        for day in [self.first_day(), self.last_day()] {
            let dollars = level_dollars_ceil(self.owed_on(day), self.collateral, self.liquidation_ltv);
            let dollars = dollars.unwrap_or(u128::MAX);
            let Some(touch) = self.touch_day(day) else {
                return Err(TermsError::LevelOffLadder { day, dollars });
            };
            if touch.level.cents() >= self.reference_price {
                let (level, price) = (touch.level.cents(), self.reference_price);
                return Err(TermsError::LevelAboveReference { day, level, price });
            }
        }
        Ok(())
    }
}

/// Whether what is paid to `script` can be spent again and is relayed: P2WPKH, or P2TR of a key that is on the curve.
pub fn is_payable(script: &Script) -> bool {
    let taproot_key = || script.as_bytes().get(2..).is_some_and(|key| XOnlyPublicKey::from_slice(key).is_ok());
    script.is_p2wpkh() || (script.is_p2tr() && taproot_key())
}

fn in_range(field: &'static str, found: Amount, min: Amount, max: Amount) -> Result<(), TermsError> {
    match (min..=max).contains(&found) {
        true => Ok(()),
        false => Err(TermsError::Sats { field, found: found.to_sat(), min: min.to_sat(), max: max.to_sat() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{loan, reference, several, xonly};
    use bitcoin::ScriptBuf;

    fn refused(change: impl Fn(&mut Terms)) -> String {
        let mut terms = reference();
        change(&mut terms);
        terms.check().unwrap_err().to_string()
    }

    #[test]
    fn the_reference_loan_can_be_signed() {
        assert_eq!(reference().check(), Ok(()));
    }

    #[test]
    fn each_wrong_field_is_named_with_its_value() {
        assert!(refused(|t| t.chain = [0; 32]).starts_with("chain 0000"));
        assert!(refused(|t| t.lender = t.borrower).contains("needs two nodes"));
        assert!(refused(|t| t.lender_nonce = t.borrower_nonce).starts_with("borrower_nonce"));
        assert!(refused(|t| t.start.0 += 1).starts_with("start 2020-03-12T10:00:01Z"));
        assert!(refused(|t| t.start = Time(HOUR)).starts_with("start 1970"));
        assert!(refused(|t| t.start = Time(u32::MAX - u32::MAX % HOUR)).starts_with("start 2106"));
        assert!(refused(|t| t.days = Days(0)).starts_with("days 0 days"));
        assert!(refused(|t| t.days = Days(3_651)).starts_with("days 3651"));
        assert!(refused(|t| t.days = Days(u32::MAX)).starts_with("days 4294967295"));
        assert!(refused(|t| t.minimum_interest_days = Days(91)).starts_with("minimum_interest_days 91"));
        assert!(refused(|t| t.expires.0 += HOUR + 1).starts_with("expires 2020"));
        assert!(refused(|t| t.expires = Time(0)).starts_with("expires 1970"));
        assert!(refused(|t| t.confirmations = 0).starts_with("confirmations 0"));
        assert!(refused(|t| t.stake = Amount::from_sat(999)).starts_with("stake 999 sats"));
        assert!(refused(|t| t.collateral = Amount::MAX).starts_with("collateral 18446744073709551615"));
        assert!(refused(|t| t.principal_sats = Amount::ZERO).starts_with("principal_sats 0"));
        assert!(refused(|t| t.fee_rate = SatPerVb(24)).starts_with("fee_rate 24 sat/vB"));
        assert!(refused(|t| t.fee_rate = SatPerVb(u64::MAX)).starts_with("fee_rate"));
        assert!(refused(|t| t.collateral = Amount::from_sat(424_999)).contains("lock at least 425000"));
        assert!(refused(|t| t.reference_price = Cents(199_999)).starts_with("reference_price $1,999.99"));
        assert!(refused(|t| t.reference_price = Cents(90_000_001)).starts_with("reference_price"));
        assert!(refused(|t| t.principal = Cents(4_999_999)).ends_with("are $50,000.00"));
        assert!(refused(|t| t.apr = BasisPoints(99)).starts_with("apr 0.99 %"));
        assert!(refused(|t| t.apr = BasisPoints(10_001)).starts_with("apr 100.01 %"));
        assert!(refused(|t| t.liquidation_ltv = BasisPoints(7_200)).starts_with("liquidation_ltv 72 %"));
        assert!(refused(|t| t.liquidation_ltv = BasisPoints(9_501)).starts_with("liquidation_ltv 95.01 %"));
        assert!(refused(|t| t.cushion = BasisPoints(2_001)).ends_with("above the liquidation LTV"));
        assert!(refused(|t| t.oracles.clear()).starts_with("oracles: 0"));
        assert!(refused(|t| t.oracles = (20..26).map(xonly).collect()).starts_with("oracles: 6"));
        assert!(refused(|t| t.oracles.push(xonly(3))).contains("is named twice"));
        assert!(refused(|t| t.oracles = several(3).into_iter().rev().collect()).contains("out of order"));
        assert!(refused(|t| t.threshold = 2).starts_with("threshold 2: must be 1 to 1"));
        assert!(refused(|t| t.threshold = 0).starts_with("threshold 0"));
        assert!(refused(|t| t.receipt_key = xonly(3)).contains("receipt_key is the same key as oracles"));
        assert!(refused(|t| t.receipt_nonce = xonly(4)).contains("receipt_nonce is the same key as receipt_key"));
        assert!(refused(|t| t.principal_script = ScriptBuf::new()).contains("must be P2WPKH, or P2TR with a valid key"));
    }

    #[test]
    fn one_to_five_oracles_of_which_any_number_must_agree() {
        for oracles in 1..=5 {
            for threshold in 1..=oracles {
                let terms = Terms { oracles: several(oracles), threshold, ..reference() };
                assert_eq!(terms.check(), Ok(()), "{threshold} of {oracles}");
            }
        }
        assert_eq!(
            Terms { oracles: several(3), threshold: 2, days: Days(999), apr: BasisPoints(100), ..reference() }.check(),
            Ok(())
        );
        let long = Terms { oracles: several(5), threshold: 3, days: Days(300), apr: BasisPoints(100), ..reference() };
        assert!(long.check().unwrap_err().to_string().starts_with("days 300 days: 3 of 5 oracles settle at most 299"));
    }

    #[test]
    fn the_cushion_must_fit_above_the_liquidation_ltv() {
        let with =
            |ltv, cushion| Terms { liquidation_ltv: BasisPoints(ltv), cushion: BasisPoints(cushion), ..reference() };
        assert_eq!(with(9_500, 526).check(), Ok(()));
        let max = BasisPoints(526);
        assert_eq!(with(9_500, 527).check(), Err(TermsError::Cushion { found: BasisPoints(527), max }));
    }

    #[test]
    fn a_loan_that_its_own_interest_would_liquidate_is_refused() {
        // At 75 % a year at 100 % interest the level passes the price within the term.
        let terms = loan(100_000_000, 75_000_000, 100_000, 90, 10_000);
        assert!(matches!(terms.check(), Err(TermsError::LevelAboveReference { .. })), "{:?}", terms.check());
        assert_eq!(Terms { days: Days(1), minimum_interest_days: Days(1), ..terms }.check(), Ok(()));
    }

    #[test]
    fn a_level_off_the_ladder_is_refused() {
        let tiny = loan(100_000_000, 500_000, 100_000, 90, 1_000);
        assert!(matches!(tiny.check(), Err(TermsError::LevelOffLadder { dollars: 642, .. })), "{:?}", tiny.check());
    }

    #[test]
    fn a_taproot_script_must_hold_a_key() {
        let with = |key: [u8; 32]| {
            let script = [&[0x51, 0x20][..], &key].concat();
            Terms { principal_script: ScriptBuf::from_bytes(script), ..reference() }.check()
        };
        assert_eq!(with(xonly(6).serialize()), Ok(()));
        assert!(matches!(with([0xff; 32]), Err(TermsError::PrincipalScript { .. })));
    }
}
