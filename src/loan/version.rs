//! The versions of the terms: what each has, and what becomes of a version or a record that this code does not know.
//!
//! Version 1 had no transaction version (its exits are of version 2), no currency (dollars), no floor of the threshold
//! and one curve. Open loans of it are served to their end; new loans are of version 2.

use super::check::TermsError;
use super::terms::Terms;
use super::tlv::{take_bigsize, TlvError};

/// The version of new loans' terms.
pub const TERMS_VERSION: u16 = 2;
/// The versions this code reads: open loans of earlier ones are served to their end.
pub const TERMS_VERSIONS: std::ops::RangeInclusive<u16> = 1..=TERMS_VERSION;
/// The transaction version of new loans' exits: relayed below the minimum fee rate with a child that pays for both.
pub const TRANSACTION_VERSION: u8 = 3;
/// The transaction version of the exits of terms version 1, and of the DLC library's own.
pub const TRANSACTION_VERSION_BEFORE: u8 = 2;
/// The money that debts are counted in.
pub const CURRENCY: &str = "USD";
/// The curve of `loan::curve`.
pub const CURVE: u8 = 1;
/// The longest encoding of terms that can be signed, bytes.
pub const TERMS_MAX: usize = 2_048;
impl Terms {
    /// Whether a new loan may be made of terms that can be signed: of the newest version, with exits that a child can
    /// pay for below the minimum fee rate.
    pub fn check_new(&self) -> Result<(), TermsError> {
        let refuse = |field, found: u16, right| Err(TermsError::NotNew { field, found, right });
        if self.version != TERMS_VERSION {
            return refuse("version", self.version, TERMS_VERSION);
        }
        match self.exit_version() {
            TRANSACTION_VERSION => Ok(()),
            other => refuse("transaction_version", other.into(), TRANSACTION_VERSION.into()),
        }
    }
}

/// Why bytes are not terms that this code can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableTerms {
    /// Of a version this code does not know. Nothing else in them has been read.
    #[error("{}", other_version(*.0))]
    Version(u16),
    /// Of a known version, and not encoded as terms are.
    #[error("cannot be read: {0}")]
    Encoding(#[from] TlvError),
}

/// That terms are of another version than this code's, naming both.
pub(super) fn other_version(found: u16) -> String {
    let (first, last) = (TERMS_VERSIONS.start(), TERMS_VERSIONS.end());
    format!("speaks terms version {found}; this node speaks {first} and {last}")
}

/// The version that encoded terms begin with; `None` when they do not begin as terms of any version do.
pub fn version_of(mut bytes: &[u8]) -> Option<u16> {
    let kind = take_bigsize(&mut bytes).ok()?;
    let length = take_bigsize(&mut bytes).ok()?;
    match (kind, length, bytes) {
        (0, 2, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

impl Terms {
    /// Reads encoded terms of any version this code knows. Version first: later ones may hold what it cannot read.
    pub fn read(bytes: &[u8]) -> Result<Terms, UnreadableTerms> {
        match version_of(bytes) {
            Some(version) if !TERMS_VERSIONS.contains(&version) => Err(UnreadableTerms::Version(version)),
            _ => Ok(Terms::from_tlv(bytes)?),
        }
    }

    /// Version of the transactions of every exit.
    pub fn exit_version(&self) -> u8 {
        self.transaction_version.unwrap_or(TRANSACTION_VERSION_BEFORE)
    }

    /// The floor that the borrower asked for, under a threshold that is in order: version 1 had none.
    pub(super) fn check_minimum_threshold(&self) -> Result<(), TermsError> {
        match self.minimum_threshold {
            _ if self.version == 1 => Ok(()),
            Some(least) if (1..=self.threshold).contains(&least) => Ok(()),
            other => Err(TermsError::MinimumThreshold { found: or_missing(other), threshold: self.threshold }),
        }
    }

    /// What belongs to the version: none of the later fields in version 1, each with a value we know in version 2.
    pub(super) fn check_version(&self) -> Result<(), TermsError> {
        if !TERMS_VERSIONS.contains(&self.version) {
            return Err(TermsError::Version { found: self.version });
        }
        if self.version == 1 {
            let later = [
                ("transaction_version", self.transaction_version.is_some()),
                ("currency", self.currency.is_some()),
                ("minimum_threshold", self.minimum_threshold.is_some()),
                ("curve", self.curve.is_some()),
                ("an unknown record", !self.unknown.is_empty()),
            ];
            return match later.iter().find(|(_, is_there)| *is_there) {
                Some((field, _)) => Err(TermsError::NotInVersion1 { field }),
                None => Ok(()),
            };
        }
        if !matches!(self.transaction_version, Some(2 | 3)) {
            return Err(TermsError::TransactionVersion { found: or_missing(self.transaction_version) });
        }
        if self.currency.as_deref() != Some(CURRENCY) {
            let found = or_missing(self.currency.as_ref().map(|name| name.escape_debug().take(20).collect::<String>()));
            return Err(TermsError::Currency { found });
        }
        if self.curve != Some(CURVE) {
            return Err(TermsError::Curve { found: or_missing(self.curve) });
        }
        match self.to_tlv().len() {
            length if length <= TERMS_MAX => Ok(()),
            found => Err(TermsError::TooLong { found }),
        }
    }
}

/// A value as refusals show it.
fn or_missing(value: Option<impl ToString>) -> String {
    value.map_or("missing".into(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{reference, reference_of_version_1};
    use crate::loan::tlv::{Bytes, Unknown};

    fn refused(change: impl Fn(&mut Terms)) -> String {
        let mut terms = reference();
        change(&mut terms);
        terms.check().unwrap_err().to_string()
    }

    #[test]
    fn each_field_of_version_2_is_there_with_a_value_we_know_and_version_1_has_none_of_them() {
        assert_eq!(refused(|t| t.version = 3), "speaks terms version 3; this node speaks 1 and 2");
        assert_eq!(refused(|t| t.version = 0), "speaks terms version 0; this node speaks 1 and 2");
        assert!(refused(|t| t.version = 1).starts_with("transaction_version: version 1 of the terms has no such"));
        assert!(refused(|t| t.transaction_version = Some(1)).starts_with("transaction_version 1:"));
        assert!(refused(|t| t.transaction_version = None).starts_with("transaction_version missing:"));
        assert!(refused(|t| t.currency = Some("EU\u{1b}".into())).starts_with("currency EU\\u{1b}:"));
        assert!(refused(|t| t.currency = None).starts_with("currency missing:"));
        assert!(refused(|t| t.minimum_threshold = Some(2)).starts_with("minimum_threshold 2: must be 1 to the"));
        assert!(refused(|t| t.minimum_threshold = Some(0)).starts_with("minimum_threshold 0:"));
        assert!(refused(|t| t.minimum_threshold = None).starts_with("minimum_threshold missing:"));
        assert!(refused(|t| t.curve = Some(2)).starts_with("curve 2: this node knows curve 1"));
        assert!(refused(|t| t.curve = None).starts_with("curve missing:"));
        assert!(refused(|t| t.unknown.0.push((99, Bytes(vec![0; 2_000])))).ends_with("the most is 2048"));
        assert_eq!(reference_of_version_1().check(), Ok(()));
        assert_eq!(reference().check_new(), Ok(()));
        let said = reference_of_version_1().check_new().unwrap_err().to_string();
        assert!(said.starts_with("version 1: new loans are of 2"), "{said}");
        let before = Terms { transaction_version: Some(2), ..reference() };
        assert_eq!(before.check(), Ok(()));
        let said = before.check_new().unwrap_err().to_string();
        assert!(said.starts_with("transaction_version 2: new loans are of 3"), "{said}");
        let with_more = Terms { unknown: Unknown(vec![(1, Bytes(vec![]))]), ..reference_of_version_1() };
        assert!(with_more.check().unwrap_err().to_string().starts_with("an unknown record: version 1"));
    }

    #[test]
    fn an_unknown_record_of_odd_type_stays_in_the_name_and_one_of_even_type_is_refused() {
        let known = reference().to_tlv();
        let with = |kind: u8| [known.as_slice(), &[kind, 3, 1, 2, 3]].concat();
        let terms = Terms::read(&with(57)).unwrap();
        assert_eq!(terms.unknown.0, [(57, Bytes(vec![1, 2, 3]))]);
        assert_eq!(terms.to_tlv(), with(57));
        assert_ne!(terms.id(), reference().id());
        assert_eq!(terms.check(), Ok(()));
        assert_eq!(serde_json::from_str::<Terms>(&serde_json::to_string(&terms).unwrap()).unwrap(), terms);
        assert_eq!(Terms { unknown: Unknown::default(), ..terms }, reference());
        let refused = Terms::read(&with(58)).unwrap_err().to_string();
        assert_eq!(refused, "cannot be read: Terms.(stream): unknown type 58; this version has no such field");
        // One between known fields keeps its place.
        let (head, tail) = known.split_at(known.len() - 3);
        let between = [head, &[55, 0], tail].concat();
        let terms = Terms::read(&between).unwrap();
        assert_eq!((terms.unknown.0.clone(), terms.to_tlv()), (vec![(55, Bytes(vec![]))], between));
        let refused = Terms::read(&[head, &[54, 0], tail].concat()).unwrap_err().to_string();
        assert_eq!(refused, "cannot be read: Terms.curve: type 54 follows type 54; types must strictly increase");
    }

    #[test]
    fn terms_of_a_version_to_come_are_refused_by_naming_both_versions_whatever_else_they_hold() {
        for (version, rest) in [(3, &[2, 0][..]), (0, &[]), (700, &[58, 1, 1]), (3, &[0xff])] {
            let bytes = [&[0, 2], u16::to_be_bytes(version).as_slice(), rest].concat();
            let refused = Terms::read(&bytes).unwrap_err().to_string();
            assert_eq!(refused, format!("speaks terms version {version}; this node speaks 1 and 2"));
        }
        for bytes in [&[][..], &[0], &[0, 2], &[0, 2, 0], &[0, 3, 0, 0, 3], &[2, 2, 0, 3]] {
            assert!(matches!(Terms::read(bytes), Err(UnreadableTerms::Encoding(_))), "{bytes:?}");
        }
    }
}
