//! What a borrower takes of a quote: its own range for every field that the lender sets.
//!
//! Terms may be signed within the ranges of [`check`](super::check), which are wide. A lender alone chooses where in them
//! a quote lies, so a borrower has narrower ones. They are one table, and nothing else decides. Each lies within what may be
//! signed: what a person is told is taken is taken.

use super::check::{cushion_max_floor, APR_RANGE, EXPIRES_AFTER_START_MAX, LIQUIDATION_MAX, REFERENCE_RANGE};
use super::fees::exit_fee_range;
use super::interest::minimum_days;
use super::policy::default_confirmations;
use super::rate::APR_MAX;
use super::terms::{Terms, STAKE};
use super::units::{BasisPoints, Cents, Days, SatPerVb, Time, HOUR, WHOLE};
use bitcoin::Amount;
use std::fmt;

/// How long a quote stands, seconds.
pub const QUOTE_LIFE: u32 = 3_600;
/// How far a lender's clock may be ahead, seconds.
const CLOCK_SLACK: u32 = 300;
/// How far the principal may be from what was asked: a part in so many.
const PRINCIPAL_PARTS: u64 = 100;
/// How far a quote's reference price may be from the borrower's spot.
const REFERENCE_DRIFT: BasisPoints = BasisPoints(20);
/// The funding may have to wait for so many times the confirmations that this node would ask for.
const CONFIRMATIONS_TIMES: u32 = 2;

/// The bounds that a person can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnBounds {
    /// The highest yearly rate.
    pub max_apr: BasisPoints,
    /// The lowest LTV at which a loan may be liquidated.
    pub min_liquidation_ltv: BasisPoints,
    /// The most that a touch pays a lender beyond the debt.
    pub max_cushion: BasisPoints,
    /// The most confirmations; `None` for twice what this node would ask for.
    pub max_confirmations: Option<u32>,
}

impl Default for OwnBounds {
    fn default() -> OwnBounds {
        OwnBounds {
            max_apr: APR_MAX,
            min_liquidation_ltv: BasisPoints(7_500),
            max_cushion: BasisPoints(1_000),
            max_confirmations: None,
        }
    }
}

/// What a borrower asked for and knows when it looks at a quote.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The dollars asked for.
    pub principal: Cents,
    /// Its floor for the threshold.
    pub minimum_threshold: u8,
    /// Spot, cents per bitcoin; `None` before an oracle is asked, and then the reference price is not looked at.
    pub spot: Option<Cents>,
    /// Its fee estimate.
    pub estimate: SatPerVb,
    /// The time.
    pub now: Time,
}

/// One field of a quote, and what of it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The field, as the terms call it.
    pub field: &'static str,
    /// Its value, in the field's unit.
    pub found: u64,
    /// The lowest value taken.
    pub least: u64,
    /// The highest value taken.
    pub most: u64,
    /// The setting that widens the range, where there is one.
    pub setting: Option<&'static str>,
    shown: fn(u64) -> String,
}

/// A quote asks what its borrower does not take.
#[derive(Clone, Copy, Debug)]
pub struct OutOfRange(pub Range);

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { field, found, least, most, setting, shown } = self.0;
        write!(f, "the quote's {field} is {}; this node takes ", shown(found))?;
        match least == most {
            true => f.write_str(&shown(least))?,
            false => write!(f, "{} to {}", shown(least), shown(most))?,
        }
        match setting {
            Some(setting) => write!(f, " (`[borrowing] {setting}` in hypothec.toml changes that)"),
            // A time that does not fit may be this side's doing as well.
            None if matches!(field, "start" | "expires") => {
                write!(f, "; see that this machine's clock is right, and ask for another quote, or another lender")
            }
            None => write!(f, "; ask for another quote, or another lender"),
        }
    }
}

fn rate(value: u64) -> String {
    BasisPoints(u32::try_from(value).unwrap_or(u32::MAX)).to_string()
}

fn days(value: u64) -> String {
    Days(u32::try_from(value).unwrap_or(u32::MAX)).to_string()
}

fn time(value: u64) -> String {
    Time(u32::try_from(value).unwrap_or(u32::MAX)).to_string()
}

fn dollars(value: u64) -> String {
    Cents(value).to_string()
}

fn fee_rate(value: u64) -> String {
    SatPerVb(value).to_string()
}

fn sats(value: u64) -> String {
    format!("{} sats", Amount::from_sat(value).to_sat())
}

fn count(value: u64) -> String {
    value.to_string()
}

/// Every field of `terms` that the lender sets, beside what was asked for, and the range that is taken.
pub fn ranges(terms: &Terms, own: &OwnBounds, asked: &Asked) -> Vec<Range> {
    let line = |field, found: u64, (least, most): (u64, u64), shown| {
        let setting = match field {
            "apr" => Some("max_apr_bp"),
            "liquidation_ltv" => Some("min_liquidation_ltv_bp"),
            "cushion" => Some("max_cushion_bp"),
            "confirmations" => Some("max_confirmations"),
            "threshold" => Some("min_threshold"),
            _ => None,
        };
        Range { field, found, least, most, setting, shown }
    };
    let around = |middle: u64, off: u64| (middle.saturating_sub(off), middle.saturating_add(off));
    let ours = default_confirmations(terms.collateral);
    let confirmations = own.max_confirmations.unwrap_or(ours.saturating_mul(CONFIRMATIONS_TIMES));
    let oracles = u64::try_from(terms.oracles.len()).unwrap_or(u64::MAX);
    let spot = asked.spot.unwrap_or(terms.reference_price);
    let drift = u128::from(spot.0) * u128::from(REFERENCE_DRIFT.0) / u128::from(WHOLE);
    let near = around(spot.0, u64::try_from(drift).unwrap_or(u64::MAX));
    let cushion = own.max_cushion.min(cushion_max_floor(terms.liquidation_ltv));
    let fees = exit_fee_range(asked.estimate);
    let next_hour = asked.now.hour_ceil().unwrap_or(asked.now).0;
    let stands = QUOTE_LIFE.saturating_add(CLOCK_SLACK);
    let soonest = asked.now.0.saturating_add(1);
    let latest =
        asked.now.0.saturating_add(stands).min(terms.start.0.saturating_add(EXPIRES_AFTER_START_MAX)).max(soonest);
    vec![
        line("apr", terms.apr.0.into(), (APR_RANGE.0 .0.into(), own.max_apr.0.into()), rate),
        line(
            "minimum_interest_days",
            terms.minimum_interest_days.0.into(),
            (0, minimum_days(terms.days).0.into()),
            days,
        ),
        line(
            "liquidation_ltv",
            terms.liquidation_ltv.0.into(),
            (own.min_liquidation_ltv.0.into(), LIQUIDATION_MAX.0.into()),
            rate,
        ),
        line("cushion", terms.cushion.0.into(), (0, cushion.0.into()), rate),
        line("stake", terms.stake.to_sat(), (STAKE.to_sat(), STAKE.to_sat()), sats),
        line(
            "confirmations",
            terms.confirmations.into(),
            (ours.min(confirmations).into(), confirmations.into()),
            count,
        ),
        line("fee_rate", terms.fee_rate.0, (fees.start().0, fees.end().0), fee_rate),
        line("threshold", terms.threshold.into(), (asked.minimum_threshold.into(), oracles), count),
        line("principal", terms.principal.0, around(asked.principal.0, asked.principal.0 / PRINCIPAL_PARTS), dollars),
        line(
            "reference_price",
            terms.reference_price.0,
            (near.0.max(REFERENCE_RANGE.0 .0), near.1.min(REFERENCE_RANGE.1 .0)),
            dollars,
        ),
        line("start", terms.start.0.into(), around(next_hour.into(), HOUR.into()), time),
        line("expires", terms.expires.0.into(), (soonest.into(), latest.into()), time),
    ]
}

/// Whether every field lies in the borrower's own range.
///
/// # Errors
/// The first that does not: field, value, range, and the setting that changes the range.
pub fn check(terms: &Terms, own: &OwnBounds, asked: &Asked) -> Result<(), OutOfRange> {
    let beyond = ranges(terms, own, asked).into_iter().find(|range| !(range.least..=range.most).contains(&range.found));
    beyond.map_or(Ok(()), |range| Err(OutOfRange(range)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{reference, several};

    fn asked(terms: &Terms) -> Asked {
        Asked {
            principal: terms.principal,
            minimum_threshold: 2,
            spot: Some(terms.reference_price),
            estimate: SatPerVb(10),
            now: Time(terms.start.0 - 600),
        }
    }

    fn terms() -> Terms {
        let terms = Terms { oracles: several(3), threshold: 2, fee_rate: SatPerVb(30), ..reference() };
        Terms { expires: Time(terms.start.0 - 300), ..terms }
    }

    /// Sets a field of the table.
    fn set(terms: &mut Terms, field: &str, value: u64) {
        let small = u32::try_from(value).unwrap();
        match field {
            "apr" => terms.apr = BasisPoints(small),
            "minimum_interest_days" => terms.minimum_interest_days = Days(small),
            "liquidation_ltv" => terms.liquidation_ltv = BasisPoints(small),
            "cushion" => terms.cushion = BasisPoints(small),
            "stake" => terms.stake = Amount::from_sat(value),
            "confirmations" => terms.confirmations = small,
            "fee_rate" => terms.fee_rate = SatPerVb(value),
            "threshold" => terms.threshold = u8::try_from(value).unwrap(),
            "principal" => terms.principal = Cents(value),
            "reference_price" => terms.reference_price = Cents(value),
            "start" => terms.start = Time(small),
            "expires" => terms.expires = Time(small),
            other => panic!("no field {other}"),
        }
    }

    #[test]
    fn every_field_a_lender_sets_is_taken_in_its_range_and_refused_by_name_one_step_beyond_it() {
        let (honest, own) = (terms(), OwnBounds::default());
        let asked = asked(&honest);
        check(&honest, &own, &asked).unwrap();
        for range in ranges(&honest, &own, &asked) {
            let at = |value| {
                let mut terms = honest.clone();
                set(&mut terms, range.field, value);
                check(&terms, &own, &asked).map_err(|beyond| beyond.to_string())
            };
            assert_eq!((at(range.least), at(range.most)), (Ok(()), Ok(())), "{}", range.field);
            for beyond in [range.least.checked_sub(1), Some(range.most + 1)].into_iter().flatten() {
                let text = at(beyond).unwrap_err();
                let start = format!("the quote's {} is {}; this node takes ", range.field, (range.shown)(beyond));
                assert!(text.starts_with(&start), "{text}");
                assert!(
                    text.contains(&(range.shown)(range.least)) && text.contains(&(range.shown)(range.most)),
                    "{text}"
                );
                let remedy = range.setting.map_or("another lender".to_owned(), |name| format!("[borrowing] {name}"));
                assert!(text.contains(&remedy), "{text}");
            }
        }
    }

    #[test]
    fn what_is_said_to_be_taken_can_be_signed_at_both_ends() {
        let wide = OwnBounds { max_cushion: BasisPoints(2_000), ..OwnBounds::default() };
        let dear = |terms: &mut Terms| terms.reference_price = Cents(90_000_000);
        let tight = |terms: &mut Terms| terms.liquidation_ltv = BasisPoints(9_500);
        let early = |terms: &mut Terms| terms.start = Time(terms.start.0 - HOUR);
        for change in [|_: &mut Terms| {}, dear, tight, early] {
            let mut terms = terms();
            let now = Time(terms.start.0 - 600);
            change(&mut terms);
            let asked = Asked { estimate: SatPerVb(500), now, ..asked(&terms) };
            // The principal is one of price and sats, and changes with them alone.
            for range in ranges(&terms, &wide, &asked).into_iter().filter(|range| range.field != "principal") {
                for end in [range.least, range.most] {
                    let mut terms = terms.clone();
                    set(&mut terms, range.field, end);
                    let said = terms.check().err().map(|e| e.to_string()).unwrap_or_default();
                    assert!(!said.starts_with(&format!("{} ", range.field)), "{said}");
                }
            }
        }
        let cheap = Terms { apr: BasisPoints(1_501), ..terms() };
        let said = check(&cheap, &OwnBounds::default(), &asked(&cheap)).unwrap_err().to_string();
        assert!(said.contains("apr is 15.01 %; this node takes 1 % to 15 %"), "{said}");
    }

    #[test]
    fn a_quote_of_a_day_of_confirmations_or_of_one_is_refused_and_the_settings_widen_what_is_taken() {
        let with = |change: fn(&mut Terms), own: OwnBounds| {
            let mut terms = terms();
            change(&mut terms);
            let asked = asked(&terms);
            check(&terms, &own, &asked).map_err(|beyond| beyond.to_string())
        };
        let own = OwnBounds::default();
        let day = with(|t| t.confirmations = 144, own).unwrap_err();
        let said = "the quote's confirmations is 144; this node takes 3 to 6 (`[borrowing] max_confirmations` in hypothec.toml \
            changes that)";
        assert_eq!(day, said);
        assert!(with(|t| t.confirmations = 1, own).is_err());
        assert_eq!(with(|t| t.confirmations = 144, OwnBounds { max_confirmations: Some(144), ..own }), Ok(()));
        let low = with(|t| t.liquidation_ltv = BasisPoints(7_201), own).unwrap_err();
        assert!(low.contains("liquidation_ltv is 72.01 %; this node takes 75 % to 95 %"), "{low}");
        println!("bound far-terms 3 to 6 confirmations, a liquidation LTV of {} at least", own.min_liquidation_ltv);
    }
}
