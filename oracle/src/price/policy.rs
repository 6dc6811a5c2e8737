//! The price policy: every number of the rules, versioned, published and signed.
//!
//! Canonical JSON: the fields of [`Policy`] in their order, integers, no white space. The oracle key signs (BIP340) over
//! `tagged("hypothec/policy/v0", canonical JSON)`. A version counts from its `effective` hour until the next one's.

use super::venue::{Reading, Venue};
use crate::announce::OracleKeys;
use crate::statement::{Statement, POLICY};
use crate::units::{Time, HOUR};
use crate::wire::BadSignature;
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::{schnorr::Signature, Message, SECP256K1};
use serde::{Deserialize, Serialize};

/// The commented file an operator starts from; also the numbers of an oracle that was given none.
pub const SAMPLE: &str = include_str!("../../policy.sample.toml");

/// Longest window of the rules, in seconds: what happened before cannot matter.
pub const LOOKBACK: u32 = 3 * HOUR;

/// The most seconds after its end in which an hour may freeze. Nodes count on it: see [`crate::wire::FINAL_WITHIN`].
const FREEZE_MOST: u32 = 600;
/// A clock that is a minute off, and a look that is slow.
const LATE_MOST: u32 = 60 + 240;
const _: () = assert!(FREEZE_MOST + LATE_MOST <= crate::wire::FINAL_WITHIN);

/// The rules' numbers. What each means is said in the sample file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Which policy this is.
    pub version: u32,
    /// From when it counts: a full hour.
    pub effective: Time,
    /// Who is asked.
    pub venues: Vec<Venue>,
    /// Seconds from tick to tick.
    pub tick_seconds: u32,
    /// Oldest quote that counts, seconds.
    pub max_age_seconds: u32,
    /// Furthest a venue's clock may be ahead, seconds.
    pub max_ahead_seconds: u32,
    /// Longest a quote may stand still, seconds.
    pub max_unchanged_seconds: u32,
    /// Widest spread, hundredths of a percent.
    pub max_spread_bp: u32,
    /// Furthest from the median, hundredths of a percent.
    pub max_deviation_bp: u32,
    /// Fewest quotes that make a median.
    pub quorum: u32,
    /// Medians whose highest is the held price.
    pub held_ticks: u32,
    /// Seconds in which they must lie.
    pub held_within_seconds: u32,
    /// Held prices an hour needs before its low is said.
    pub low_min_held: u32,
    /// Seconds before the hour whose medians make a fixing.
    pub fixing_window_seconds: u32,
    /// Fewest medians that make a fixing.
    pub fixing_min_ticks: u32,
    /// Seconds after which an hour is final.
    pub freeze_seconds: u32,
    /// How answers are read. Left out of the canonical JSON where it is the first, so that what was signed before there
    /// were two stays what it was.
    #[serde(default, skip_serializing_if = "Reading::is_first")]
    pub reading: Reading,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML with exactly these fields.
    #[error("the policy cannot be read: {0}")]
    Unreadable(String),
    /// A number out of its bounds.
    #[error("policy {field} is {value}; it must be {right}")]
    Bounds { field: &'static str, value: String, right: String },
    /// The same version with other numbers.
    #[error("policy version {version} has been published with other numbers; make it version {next} and name a full hour to come in effective")]
    Changed { version: u32, next: u64 },
    /// A version too many, or one from the past.
    #[error("policy version {found} does not follow; the newest is {newest}, so the next is {next}")]
    Version { found: u32, newest: u32, next: u64 },
    /// Not to come.
    #[error("policy version {version} is to count from {effective}, but it is {now} and the version before counts from {before}; name a full hour after both")]
    Late { version: u32, effective: Time, now: Time, before: Time },
}

impl Policy {
    /// Reads and checks a policy file's text.
    ///
    /// # Errors
    /// When a field is missing, unknown or out of bounds.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let policy: Policy = toml::from_str(text).map_err(|error| PolicyError::Unreadable(error.to_string()))?;
        policy.check()?;
        Ok(policy)
    }

    /// Are all numbers within bounds, and do they fit each other?
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), PolicyError> {
        let venues = u32::try_from(self.venues.len()).unwrap_or(u32::MAX);
        let twice =
            self.venues.iter().enumerate().any(|(at, venue)| self.venues.iter().skip(at + 1).any(|v| v == venue));
        if twice || venues == 0 {
            let value = self.venues.iter().map(|venue| venue.name()).collect::<Vec<_>>().join(", ");
            return Err(PolicyError::Bounds { field: "venues", value, right: "at least one venue, each once".into() });
        }
        if !self.effective.0.is_multiple_of(HOUR) {
            let (value, right) = (self.effective.0.to_string(), "unix seconds of a full hour".into());
            return Err(PolicyError::Bounds { field: "effective", value, right });
        }
        let window_ticks = self.fixing_window_seconds / self.tick_seconds.max(1);
        let hour_ticks = HOUR / self.tick_seconds.max(1);
        for (field, value, least, most) in [
            ("version", self.version, 1, u32::MAX - 1),
            ("tick_seconds", self.tick_seconds, 1, 60),
            ("max_age_seconds", self.max_age_seconds, self.tick_seconds, 300),
            ("max_ahead_seconds", self.max_ahead_seconds, 0, 60),
            ("max_unchanged_seconds", self.max_unchanged_seconds, self.max_age_seconds, HOUR),
            ("max_spread_bp", self.max_spread_bp, 1, 1_000),
            ("max_deviation_bp", self.max_deviation_bp, 1, 2_000),
            ("quorum", self.quorum, venues / 2 + 1, venues),
            ("held_ticks", self.held_ticks, 1, 120),
            ("held_within_seconds", self.held_within_seconds, self.held_ticks.saturating_mul(self.tick_seconds), HOUR),
            ("low_min_held", self.low_min_held, 1, hour_ticks),
            ("fixing_window_seconds", self.fixing_window_seconds, 60, HOUR),
            ("fixing_min_ticks", self.fixing_min_ticks, 1, window_ticks),
            ("freeze_seconds", self.freeze_seconds, self.tick_seconds, FREEZE_MOST),
        ] {
            if !(least..=most).contains(&value) {
                let right = format!("{least} to {most}");
                return Err(PolicyError::Bounds { field, value: value.to_string(), right });
            }
        }
        Ok(())
    }

    /// The bytes that are signed: see the module's head.
    pub fn canonical(&self) -> String {
        // A struct of integers and names cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is signed of it.
    pub fn statement(&self) -> Statement {
        Statement { tag: POLICY, data: self.canonical().into_bytes() }
    }

    /// Has it the numbers of the policy that oracles without a file published before there was a second reading?
    pub fn is_first_default(&self) -> bool {
        let (version, effective) = (self.version, self.effective);
        *self == Policy { version, effective, reading: Reading::First, ..Policy::default() }
    }

    fn message(&self) -> Message {
        self.statement().message()
    }
}

/// The sample's numbers.
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            version: 1,
            effective: Time(0),
            venues: Venue::ALL.to_vec(),
            tick_seconds: 5,
            max_age_seconds: 30,
            max_ahead_seconds: 5,
            max_unchanged_seconds: 300,
            max_spread_bp: 50,
            max_deviation_bp: 150,
            quorum: 3,
            held_ticks: 12,
            held_within_seconds: 120,
            low_min_held: 12,
            fixing_window_seconds: 1_800,
            fixing_min_ticks: 180,
            freeze_seconds: 120,
            reading: Reading::Second,
        }
    }
}

/// A policy and the oracle's signature over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPolicy {
    /// The numbers.
    pub policy: Policy,
    /// By the oracle key: see the module's head.
    pub signature: Signature,
}

impl SignedPolicy {
    /// Signs a policy.
    pub fn sign(keys: &OracleKeys, policy: Policy) -> SignedPolicy {
        let signature = keys.sign(&policy.message());
        SignedPolicy { policy, signature }
    }

    /// Is it the oracle's?
    ///
    /// # Errors
    /// When the signature is not valid.
    pub fn verify(&self, oracle: &XOnlyPublicKey) -> Result<(), BadSignature> {
        SECP256K1
            .verify_schnorr(&self.signature, &self.policy.message(), oracle)
            .map_err(|_| BadSignature { what: "price policy", oracle: *oracle })
    }
}

/// `GET /v1/policy`: every version ever published, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPage {
    /// Each with its own signature.
    pub policies: Vec<SignedPolicy>,
}

/// All versions of one oracle, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// The versions in their order, as they were published.
    ///
    /// # Errors
    /// When one is out of bounds or does not follow the one before.
    pub fn new(versions: Vec<Policy>) -> Result<Policies, PolicyError> {
        let mut all = Policies::default();
        for policy in versions {
            let then = all.0.last().map_or(policy.effective, |last| last.effective);
            all.adopt(policy, then)?;
        }
        Ok(all)
    }

    /// Adds a version at `now`; `Ok(false)` when it is the newest already.
    ///
    /// # Errors
    /// When it is out of bounds, differs from what was published, or would count from a past moment.
    pub fn adopt(&mut self, policy: Policy, now: Time) -> Result<bool, PolicyError> {
        policy.check()?;
        let (version, effective) = (policy.version, policy.effective);
        if let Some(newest) = self.0.last() {
            let next = u64::from(newest.version) + 1;
            if newest.version == version {
                return if *newest == policy { Ok(false) } else { Err(PolicyError::Changed { version, next }) };
            }
            if u64::from(version) != next {
                return Err(PolicyError::Version { found: version, newest: newest.version, next });
            }
            if effective <= now || effective <= newest.effective {
                return Err(PolicyError::Late { version, effective, now, before: newest.effective });
            }
        } else if effective > now {
            let right = format!("an hour that has begun (it is {now}): the first policy counts at once");
            return Err(PolicyError::Bounds { field: "effective", value: effective.to_string(), right });
        }
        self.0.push(policy);
        Ok(true)
    }

    /// The version that counts at a moment; `None` before the first.
    pub fn at(&self, moment: Time) -> Option<&Policy> {
        self.0.iter().rev().find(|policy| policy.effective <= moment)
    }

    /// All versions, oldest first.
    pub fn all(&self) -> &[Policy] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secp256k1_zkp::SecretKey;

    #[test]
    fn the_sample_file_says_what_an_oracle_without_one_does() {
        assert_eq!(Policy::parse(SAMPLE), Ok(Policy::default()));
    }

    #[test]
    fn a_policy_out_of_bounds_is_refused_by_its_field() {
        for (from, to, says) in [
            ("quorum = 3", "quorum = 2", "quorum is 2; it must be 3 to 5"),
            ("quorum = 3", "quorum = 6", "3 to 5"),
            ("effective = 0", "effective = 1800", "full hour"),
            ("tick_seconds = 5", "tick_seconds = 0", "tick_seconds"),
            ("fixing_min_ticks = 180", "fixing_min_ticks = 361", "1 to 360"),
            ("held_within_seconds = 120", "held_within_seconds = 59", "60 to 3600"),
            ("\"gemini\"]", "\"kraken\"]", "each once"),
            ("\"gemini\"]", "\"mtgox\"]", "mtgox"),
            ("max_spread_bp = 50", "max_spread_bp = 0.5", "max_spread_bp"),
            ("max_spread_bp = 50", "max_sprad_bp = 50", "max_sprad_bp"),
            ("max_spread_bp = 50\n", "\n", "max_spread_bp"),
            ("reading = 2", "reading = 3", "this version knows 1 and 2"),
            ("reading = 2", "reading = 0", "this version knows 1 and 2"),
        ] {
            assert!(SAMPLE.contains(from));
            let error = Policy::parse(&SAMPLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(says), "{to}: {error}");
        }
    }

    #[test]
    fn a_version_follows_the_one_before_at_an_hour_to_come() {
        let now = Time(1_584_007_300);
        let mut all = Policies::new(vec![Policy::default()]).unwrap();
        assert_eq!(all.adopt(Policy::default(), now), Ok(false));
        let other = Policy { quorum: 4, ..Policy::default() };
        assert!(matches!(all.adopt(other.clone(), now), Err(PolicyError::Changed { .. })));
        let next = |version, effective| Policy { version, effective: Time(effective), ..other.clone() };
        assert!(matches!(all.adopt(next(3, 1_584_010_800), now), Err(PolicyError::Version { .. })));
        assert!(matches!(all.adopt(next(2, 1_584_007_200), now), Err(PolicyError::Late { .. })));
        assert_eq!(all.adopt(next(2, 1_584_010_800), now), Ok(true));
        assert_eq!(all.at(Time(1_584_010_799)).map(|policy| policy.version), Some(1));
        assert_eq!(all.at(Time(1_584_010_800)).map(|policy| policy.quorum), Some(4));
        assert_eq!(Policies::new(all.all().to_vec()), Ok(all));
    }

    #[test]
    fn a_policy_is_believed_only_as_it_was_signed() {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        let signed = SignedPolicy::sign(&keys, Policy::default());
        assert!(signed.policy.canonical().starts_with(r#"{"version":1,"effective":0,"venues":["kraken","#));
        let read: SignedPolicy = serde_json::from_str(&serde_json::to_string(&signed).unwrap()).unwrap();
        read.verify(&keys.public_key()).unwrap();
        let other = SignedPolicy { policy: Policy { quorum: 4, ..Policy::default() }, ..read };
        assert!(other.verify(&keys.public_key()).is_err());
    }

    #[test]
    fn a_policy_from_before_there_were_readings_is_signed_and_read_as_it_was() {
        let before = r#"{"version":1,"effective":0,"venues":["kraken","coinbase","bitstamp","bitfinex","gemini"],"tick_seconds":5,"max_age_seconds":30,"max_ahead_seconds":5,"max_unchanged_seconds":300,"max_spread_bp":50,"max_deviation_bp":150,"quorum":3,"held_ticks":12,"held_within_seconds":120,"low_min_held":12,"fixing_window_seconds":1800,"fixing_min_ticks":180,"freeze_seconds":120}"#;
        let read: Policy = serde_json::from_str(before).unwrap();
        assert!(read.reading == Reading::First && read.is_first_default());
        assert_eq!(read.canonical(), before);
        assert!(Policy::default().canonical().ends_with(r#","freeze_seconds":120,"reading":2}"#));
        assert!(!Policy::default().is_first_default());
        let named: Policy = serde_json::from_str(&before.replace("120}", r#"120,"reading":1}"#)).unwrap();
        assert_eq!(named.canonical(), before, "a policy may say so, and is the same");
    }
}
