//! A lender's policy: what it lends, to what limits, at what rate. A quote comes out, or the limit that forbids it.

use super::fees::collateral_min_ceil;
use super::interest::minimum_days;
use super::ltv::{ltv_ceil, CUSHION, LIQUIDATION};
use super::quorum::ORACLES_MAX;
use super::rate::{AprCurve, CurveError};
use super::terms::STAKE;
use super::units::{BasisPoints, Cents, Days, SatPerVb};
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::Amount;
use hypothec_oracle::operator::Operators;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// The highest initial LTV a policy may allow: above it a loan begins beyond the margin warning.
pub const INITIAL_LTV_CEILING: BasisPoints = super::ltv::WARNING;

/// Who says yes to a quote that the policy allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// The node.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

/// A lender's limits and prices. The default allows no oracle: name one before quoting. Written whole: a field left out is
/// an error, never its default, for a limit forgotten would be a limit lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The smallest and the largest loan, in cents.
    pub principal_min: Cents,
    pub principal_max: Cents,
    /// The shortest and the longest term.
    pub days_min: Days,
    pub days_max: Days,
    /// The highest LTV at the start.
    pub initial_ltv_max: BasisPoints,
    /// The most that may be lent out at once, this loan included.
    pub exposure_max: Cents,
    /// The price oracles trusted with a loan.
    pub oracles: Vec<XOnlyPublicKey>,
    /// How many oracles must agree to settle a loan. With one, a loan rests on the first that the borrower knows too;
    /// with more, on all that are trusted here, and a borrower must know them all. Keys of one operator are one oracle:
    /// of those a loan rests on the first that the borrower knows.
    pub threshold: u8,
    /// Who approves.
    pub approval: Approval,
    /// What a loan must earn at least beyond the lender's fees for it, however early it is repaid, in sats; `None` where a
    /// loan may cost more than it earns.
    #[serde(deserialize_with = "written")]
    pub earning_min_sats: Option<u64>,
    /// The yearly rate over LTV, term and amount.
    pub apr: AprCurve,
}

/// Serde takes an option that is left out for none, unless it is read by a function of its own.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            principal_min: Cents(10_000),
            principal_max: Cents(10_000_000),
            days_min: Days(1),
            days_max: Days(365),
            initial_ltv_max: BasisPoints(5_000),
            exposure_max: Cents(100_000_000),
            oracles: Vec::new(),
            threshold: 1,
            approval: Approval::Automatic,
            earning_min_sats: None,
            apr: AprCurve::default(),
        }
    }
}

/// What a lender knows when asked for a loan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What the borrower asks for.
    pub principal: Cents,
    /// What it would lock.
    pub collateral: Amount,
    /// For how long.
    pub days: Days,
    /// The oracles it would rest on.
    pub oracles: Vec<XOnlyPublicKey>,
    /// Spot now, cents per bitcoin.
    pub spot: Cents,
    /// What is lent out or promised already.
    pub exposure: Cents,
    /// The rate that exits would be paid ahead at.
    pub fee_rate: SatPerVb,
}

/// What the policy offers: the parts of the terms that are the lender's to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotedTerms {
    pub apr: BasisPoints,
    pub minimum_interest_days: Days,
    pub initial_ltv: BasisPoints,
    pub liquidation_ltv: BasisPoints,
    pub cushion: BasisPoints,
    pub stake: Amount,
    pub confirmations: u32,
    pub approval: Approval,
}

/// The limit that forbids a loan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("principal {principal}: this lender lends {min} at least")]
    PrincipalTooSmall { principal: Cents, min: Cents },
    #[error("principal {principal}: this lender lends {max} at most")]
    PrincipalTooLarge { principal: Cents, max: Cents },
    #[error("days: {days} asked; this lender lends for {min} at least")]
    TermTooShort { days: Days, min: Days },
    #[error("days: {days} asked; this lender lends for {max} at most")]
    TermTooLong { days: Days, max: Days },
    #[error("collateral {collateral}: the loan would start at an LTV of {ltv}, at most {max} is allowed; lock more or borrow less")]
    LtvTooHigh { collateral: Amount, ltv: BasisPoints, max: BasisPoints },
    #[error("collateral {collateral}: nothing can be lent on it at {spot} per bitcoin")]
    Worthless { collateral: Amount, spot: Cents },
    #[error("collateral {collateral}: too small, since an exit at {fee_rate} would cost above 1 % of it; lock at least {min}")]
    TooSmall { collateral: Amount, fee_rate: SatPerVb, min: Amount },
    #[error("principal {principal}: this lender has {left} left to lend")]
    ExposureExceeded { principal: Cents, left: Cents },
    #[error("principal {principal}: too little for {days}, {}", enough(*least))]
    EarnsTooLittle { principal: Cents, days: Days, least: Option<Cents> },
    #[error("oracle {oracle}: this lender does not trust it; it trusts {trusted}")]
    OracleNotAllowed { oracle: XOnlyPublicKey, trusted: String },
    #[error("oracles: none of those named is one this lender trusts; it trusts {trusted}")]
    NoOracle { trusted: String },
    #[error("oracles: this lender's loans rest on {threshold} of {all}, and {missing} is not among those named; add it with `oracle add`")]
    OracleMissing { threshold: u8, all: usize, missing: XOnlyPublicKey },
    #[error("oracles: this lender's loans need {threshold} that agree, and those it trusts count as {operators}: {joined} are keys of one operator")]
    OneOperator { threshold: u8, operators: usize, joined: String },
}

/// Which principal would earn its lender enough, for a message.
fn enough(least: Option<Cents>) -> String {
    match least {
        Some(least) => format!("since it earns this lender less than it must beyond its fees; ask for {least} or more"),
        None => {
            "and no sum that this lender lends would earn it enough beyond its fees; ask for a longer term".to_owned()
        }
    }
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    #[error("{low} {found}: must be above zero and at most {high}, which is {max}")]
    Order { low: &'static str, found: String, high: &'static str, max: String },
    #[error("days_max {found}: must be at most {max}")]
    DaysMax { found: Days, max: Days },
    #[error(
        "initial_ltv_max {found}: must be above 0 % and at most {INITIAL_LTV_CEILING}, where the margin warning begins"
    )]
    InitialLtv { found: BasisPoints },
    #[error("exposure_max {found}: must be at least principal_max, which is {min}")]
    Exposure { found: Cents, min: Cents },
    #[error("oracles: {0} is named twice; name each once")]
    OracleTwice(XOnlyPublicKey),
    #[error("threshold {found}: must be 1, or more up to the number of oracles named, which is {oracles}")]
    Threshold { found: u8, oracles: usize },
    #[error("oracles: {found} named; with a threshold above 1 a loan rests on all of them, {ORACLES_MAX} at most")]
    TooManyOracles { found: usize },
    #[error("threshold {found}: the oracles named count as {operators}, since {joined} are keys of one operator; name an oracle of somebody else, or lower the threshold")]
    OneOperator { found: u8, operators: usize, joined: String },
    #[error("earning_min_sats {found}: must be at most all bitcoin there will be, {} sats", Amount::MAX_MONEY.to_sat())]
    Earning { found: u64 },
    #[error("apr: {0}")]
    Apr(#[from] CurveError),
}

impl Policy {
    /// Whether the policy makes sense by itself.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let order = |low, found: u64, high, max: u64, shown: (String, String)| match found > 0 && found <= max {
            true => Ok(()),
            false => Err(PolicyError::Order { low, found: shown.0, high, max: shown.1 }),
        };
        let (min, max) = (self.principal_min, self.principal_max);
        order("principal_min", min.0, "principal_max", max.0, (min.to_string(), max.to_string()))?;
        let (min, max) = (self.days_min, self.days_max);
        order("days_min", min.0.into(), "days_max", max.0.into(), (min.to_string(), max.to_string()))?;
        if max > super::check::DAYS_MAX {
            return Err(PolicyError::DaysMax { found: max, max: super::check::DAYS_MAX });
        }
        if self.initial_ltv_max.0 == 0 || self.initial_ltv_max > INITIAL_LTV_CEILING {
            return Err(PolicyError::InitialLtv { found: self.initial_ltv_max });
        }
        if self.exposure_max < self.principal_max {
            return Err(PolicyError::Exposure { found: self.exposure_max, min: self.principal_max });
        }
        if let Some(found) = self.earning_min_sats.filter(|found| *found > Amount::MAX_MONEY.to_sat()) {
            return Err(PolicyError::Earning { found });
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.oracles.iter().find(|oracle| !seen.insert(**oracle)) {
            return Err(PolicyError::OracleTwice(*twice));
        }
        let (found, oracles) = (self.threshold, self.oracles.len());
        if found == 0 || (found > 1 && usize::from(found) > oracles) {
            return Err(PolicyError::Threshold { found, oracles });
        }
        if found > 1 && oracles > ORACLES_MAX {
            return Err(PolicyError::TooManyOracles { found: oracles });
        }
        Ok(self.apr.validate()?)
    }

    /// Whether the policy makes sense, given which of its oracles' keys are one operator's.
    pub fn validate_with(&self, operators: &Operators) -> Result<(), PolicyError> {
        self.validate()?;
        match self.too_few(operators) {
            None => Ok(()),
            Some((operators, joined)) => Err(PolicyError::OneOperator { found: self.threshold, operators, joined }),
        }
    }

    /// Where the oracles are fewer operators than must agree: how many, and two keys of one.
    fn too_few(&self, operators: &Operators) -> Option<(usize, String)> {
        let count = operators.count(&self.oracles);
        let [one, other] = operators.pair(&self.oracles)?;
        let is_short = self.threshold > 1 && count < usize::from(self.threshold);
        is_short.then(|| (count, format!("{one} and {other}")))
    }

    /// What this policy offers for `request`, or the first limit that forbids it.
    pub fn quote(&self, request: &Request) -> Result<QuotedTerms, Refusal> {
        self.check_size(request)?;
        let initial_ltv = self.check_collateral(request)?;
        if let Some(oracle) = request.oracles.iter().find(|oracle| !self.oracles.contains(oracle)) {
            return Err(Refusal::OracleNotAllowed { oracle: *oracle, trusted: self.trusted() });
        }
        Ok(self.offer(initial_ltv, request.days, request.principal, request.collateral))
    }

    /// The lender's parts of the terms of a loan, whether or not the limits allow it.
    pub fn offer(&self, initial_ltv: BasisPoints, days: Days, principal: Cents, collateral: Amount) -> QuotedTerms {
        QuotedTerms {
            apr: self.apr.apr(initial_ltv, days, principal),
            minimum_interest_days: minimum_days(days),
            initial_ltv,
            liquidation_ltv: LIQUIDATION,
            cushion: CUSHION,
            stake: STAKE,
            confirmations: default_confirmations(collateral),
            approval: self.approval,
        }
    }

    /// The oracles a loan to a borrower who trusts `known` rests on, as terms name them: by ascending key, one of each
    /// operator.
    pub fn choose_oracles(
        &self,
        known: &[XOnlyPublicKey],
        operators: &Operators,
    ) -> Result<Vec<XOnlyPublicKey>, Refusal> {
        if self.threshold <= 1 {
            let first = known.iter().find(|oracle| self.oracles.contains(oracle));
            return first.map(|oracle| vec![*oracle]).ok_or_else(|| Refusal::NoOracle { trusted: self.trusted() });
        }
        if let Some((operators, joined)) = self.too_few(operators) {
            return Err(Refusal::OneOperator { threshold: self.threshold, operators, joined });
        }
        let groups = operators.groups(&self.oracles);
        let mut chosen = Vec::with_capacity(groups.len());
        for group in &groups {
            let Some(first) = group.first() else { continue };
            let missing = Refusal::OracleMissing { threshold: self.threshold, all: groups.len(), missing: *first };
            let usable = group.iter().find(|oracle| known.contains(oracle));
            chosen.push(*usable.ok_or(missing)?);
        }
        chosen.sort_by_key(XOnlyPublicKey::serialize);
        Ok(chosen)
    }

    /// Its oracles, for a message.
    fn trusted(&self) -> String {
        match self.oracles.as_slice() {
            [] => "none yet".to_string(),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    fn check_size(&self, request: &Request) -> Result<(), Refusal> {
        let (principal, days) = (request.principal, request.days);
        if principal < self.principal_min {
            return Err(Refusal::PrincipalTooSmall { principal, min: self.principal_min });
        }
        if principal > self.principal_max {
            return Err(Refusal::PrincipalTooLarge { principal, max: self.principal_max });
        }
        if days < self.days_min {
            return Err(Refusal::TermTooShort { days, min: self.days_min });
        }
        if days > self.days_max {
            return Err(Refusal::TermTooLong { days, max: self.days_max });
        }
        let left = Cents(self.exposure_max.0.saturating_sub(request.exposure.0));
        if principal > left {
            return Err(Refusal::ExposureExceeded { principal, left });
        }
        Ok(())
    }

    fn check_collateral(&self, request: &Request) -> Result<BasisPoints, Refusal> {
        let (collateral, spot, fee_rate) = (request.collateral, request.spot, request.fee_rate);
        let min = collateral_min_ceil(fee_rate).unwrap_or(Amount::MAX_MONEY);
        if collateral < min {
            return Err(Refusal::TooSmall { collateral, fee_rate, min });
        }
        let worthless = Refusal::Worthless { collateral, spot };
        let ltv = ltv_ceil(request.principal, collateral, spot).ok_or(worthless)?;
        match ltv <= self.initial_ltv_max {
            true => Ok(ltv),
            false => Err(Refusal::LtvTooHigh { collateral, ltv, max: self.initial_ltv_max }),
        }
    }
}

/// Confirmations before funding counts: 3, and 6 above one bitcoin.
pub fn default_confirmations(collateral: Amount) -> u32 {
    if collateral > Amount::ONE_BTC {
        6
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures;

    fn policy() -> Policy {
        Policy { oracles: vec![fixtures::xonly(3)], ..Policy::default() }
    }

    fn request() -> Request {
        Request {
            principal: Cents(5_000_000),
            collateral: Amount::ONE_BTC,
            days: Days(90),
            oracles: vec![fixtures::xonly(3)],
            spot: Cents(10_000_000),
            exposure: Cents(0),
            fee_rate: SatPerVb(25),
        }
    }

    #[test]
    fn the_default_policy_is_valid_and_quotes_the_reference_loan() {
        assert_eq!(policy().validate(), Ok(()));
        let quoted = policy().quote(&request()).unwrap();
        assert_eq!((quoted.initial_ltv, quoted.minimum_interest_days), (BasisPoints(5_000), Days(14)));
        assert_eq!((quoted.apr, quoted.confirmations), (BasisPoints(950), 3));
        let large = Request { collateral: Amount::from_sat(100_000_001), ..request() };
        assert_eq!(policy().quote(&large).unwrap().confirmations, 6);
    }

    #[test]
    fn each_limit_refuses_by_its_own_name() {
        let refused = |change: fn(&mut Request)| {
            let mut asked = request();
            change(&mut asked);
            policy().quote(&asked).unwrap_err()
        };
        assert!(matches!(refused(|r| r.principal = Cents(9_999)), Refusal::PrincipalTooSmall { .. }));
        assert!(matches!(refused(|r| r.principal = Cents(10_000_001)), Refusal::PrincipalTooLarge { .. }));
        assert!(matches!(refused(|r| r.days = Days(0)), Refusal::TermTooShort { .. }));
        assert!(matches!(refused(|r| r.days = Days(366)), Refusal::TermTooLong { .. }));
        assert!(matches!(refused(|r| r.collateral = Amount::from_sat(99_999_999)), Refusal::LtvTooHigh { .. }));
        assert!(matches!(refused(|r| r.spot = Cents(0)), Refusal::Worthless { .. }));
        assert!(matches!(refused(|r| r.collateral = Amount::from_sat(424_999)), Refusal::TooSmall { .. }));
        assert!(matches!(refused(|r| r.oracles.push(fixtures::xonly(4))), Refusal::OracleNotAllowed { .. }));
        let left = Cents(4_999_999);
        let refusal = Refusal::ExposureExceeded { principal: Cents(5_000_000), left };
        assert_eq!(refused(|r| r.exposure = Cents(95_000_001)), refusal);
        assert_eq!(refusal.to_string(), "principal $50,000.00: this lender has $49,999.99 left to lend");
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_told_which_field() {
        let wrong = |change: fn(&mut Policy)| {
            let mut policy = policy();
            change(&mut policy);
            policy.validate().unwrap_err().to_string()
        };
        assert!(wrong(|p| p.principal_min = Cents(0)).starts_with("principal_min $0.00"));
        assert!(wrong(|p| p.days_max = Days(0)).starts_with("days_min 1 day"));
        assert!(wrong(|p| p.days_max = Days(4_000)).starts_with("days_max 4000 days"));
        assert!(wrong(|p| p.initial_ltv_max = BasisPoints(6_001)).starts_with("initial_ltv_max 60.01 %"));
        assert!(wrong(|p| p.exposure_max = Cents(1)).starts_with("exposure_max $0.01"));
        assert!(wrong(|p| p.oracles.push(fixtures::xonly(3))).starts_with("oracles"));
        assert!(wrong(|p| p.threshold = 0).starts_with("threshold 0"));
        let alone = "threshold 2: must be 1, or more up to the number of oracles named, which is 0";
        assert_eq!(wrong(|p| (p.threshold, p.oracles) = (2, Vec::new())), alone);
        assert!(wrong(|p| p.threshold = 2).starts_with("threshold 2"));
        let six = |p: &mut Policy| (p.oracles, p.threshold) = (fixtures::several(6), 2);
        assert!(wrong(six).starts_with("oracles: 6"));
    }

    #[test]
    fn a_loan_rests_on_one_common_oracle_or_on_all_the_lender_names() {
        let (three, nobody) = (fixtures::several(3), Operators::default());
        let [a, b, c] = [three[0], three[1], three[2]];
        let alone = Policy { oracles: vec![c, b, a], ..Policy::default() };
        assert_eq!(alone.choose_oracles(&[fixtures::xonly(9), b, c], &nobody), Ok(vec![b]));
        assert!(matches!(alone.choose_oracles(&[fixtures::xonly(9)], &nobody), Err(Refusal::NoOracle { .. })));
        assert!(matches!(alone.choose_oracles(&[], &nobody), Err(Refusal::NoOracle { .. })));
        let two = Policy { threshold: 2, ..alone };
        assert_eq!(two.validate(), Ok(()));
        assert_eq!(two.choose_oracles(&[b, a, b, c, a, c], &nobody), Ok(three.clone()), "doublings count once");
        assert_eq!(two.choose_oracles(&[b, a, fixtures::xonly(9), c], &nobody), Ok(three));
        let missing = two.choose_oracles(&[a, b], &nobody).unwrap_err();
        assert_eq!(missing, Refusal::OracleMissing { threshold: 2, all: 3, missing: c });
    }

    #[test]
    fn keys_of_one_operator_count_once_in_a_policy_and_in_the_loans_it_makes() {
        use hypothec_oracle::announce::OracleKeys;
        use hypothec_oracle::operator::{Link, SameOperator};
        let keys = |byte| OracleKeys::from_secret(fixtures::secret(byte));
        let [a, successor, b, c] = [1, 2, 3, 4].map(|byte| keys(byte).public_key());
        let operators = Operators::of(&[Link::Stated(SameOperator::sign(&keys(1), &keys(2)).unwrap())]);
        let of = |oracles: &[XOnlyPublicKey], threshold| Policy { oracles: oracles.to_vec(), threshold, ..policy() };
        let sorted = |mut oracles: Vec<XOnlyPublicKey>| {
            oracles.sort_by_key(XOnlyPublicKey::serialize);
            oracles
        };
        // Two names for one oracle: a loan rests on one of them, the first that the borrower knows.
        let two = of(&[a, successor, b], 2);
        assert_eq!(two.validate_with(&operators), Ok(()));
        assert_eq!(two.choose_oracles(&[successor, a, b], &operators), Ok(sorted(vec![a, b])));
        assert_eq!(two.choose_oracles(&[b, successor], &operators), Ok(sorted(vec![b, successor])));
        let missing = two.choose_oracles(&[a, successor], &operators).unwrap_err();
        assert_eq!(missing, Refusal::OracleMissing { threshold: 2, all: 2, missing: b });
        // And they are never the two that must agree.
        let alone = of(&[a, successor], 2);
        assert_eq!(alone.validate(), Ok(()), "nobody knows it yet");
        let refused = alone.validate_with(&operators).unwrap_err().to_string();
        assert!(refused.contains("count as 1") && refused.contains(&successor.to_string()), "{refused}");
        assert!(matches!(
            alone.choose_oracles(&[a, successor], &operators),
            Err(Refusal::OneOperator { threshold: 2, operators: 1, .. })
        ));
        assert!(of(&[a, successor, b], 3).validate_with(&operators).is_err());
        assert_eq!(of(&[a, successor, b, c], 3).validate_with(&operators), Ok(()));
        assert_eq!(of(&[a, successor], 1).validate_with(&operators), Ok(()), "one is enough, and one it is");
    }

    #[test]
    fn a_policy_is_written_whole_and_what_is_missing_or_unknown_is_named() {
        let policy = Policy { principal_max: Cents(2_000_000), ..Policy::default() };
        let whole = serde_json::to_value(&policy).unwrap();
        assert_eq!(serde_json::from_value::<Policy>(whole.clone()).unwrap(), policy);
        for field in whole.as_object().unwrap().keys() {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(field);
            let refused = serde_json::from_value::<Policy>(part).unwrap_err().to_string();
            assert!(refused.contains(&format!("missing field `{field}`")), "{refused}");
        }
        let mut more = whole;
        more["principal_maximum"] = 1.into();
        assert!(serde_json::from_value::<Policy>(more).unwrap_err().to_string().contains("principal_maximum"));
    }
}
