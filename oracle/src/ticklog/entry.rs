//! Lines of the tick log: JSON, one a line, a tick or a signed head.
//!
//! - `{"tick":{"n":…,"prev":…,"log":…,"at":…,"policy":…,"inputs":[…],"median":…,"held":…}}`
//! - `{"head":{"log":…,"n":…,"at":…,"hash":…,"signature":…}}`
//!
//! The hash of a tick is `tagged("hypothec/tick/v0", the line's bytes without its end)`; `prev` is the hash of the tick
//! before, zeros for the first. A head names the last tick and signs for everything up to it: BIP340 by the oracle key
//! over `tagged("hypothec/log-head/v0", n (8) || at (4) || hash (32) || log (16))`, big endian. A head stands after the
//! last tick of every hour that has one: before the next tick, or later, in order, when the signer was away at that moment.
//!
//! `log` is the log's id ([`LogId`]): the first tick of a log and the first of each UTC day name it, and every head. Each
//! replica of an oracle keeps a log of its own, all signed by one key: two heads of different logs say nothing about each
//! other, two different heads of one log with one number are a proof (`equivocation`). Logs of older versions have no
//! id: nobody names it, the signed bytes end with the hash, and their heads prove nothing against each other. Such a log
//! takes an id at the first tick that names one, and keeps it.

use super::chain::End;
use crate::announce::{tagged, OracleKeys};
use crate::price::reckon::Input;
use crate::statement::Statement;
use crate::units::{Cents, Time};
use crate::wire::BadSignature;
use bitcoin::hashes::{sha256, Hash};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::schnorr::Signature;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest line, in bytes: eight venues' longest answers, escaped.
pub const LONGEST_LINE: usize = 32 * 1024;

/// Which log: random bytes, drawn when a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub [u8; 16]);

/// 32 hex digits.
impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.to_lower_hex_string())
    }
}

impl Serialize for LogId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LogId, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = <[u8; 16]>::from_hex(&text).ok().filter(|bytes| bytes.to_lower_hex_string() == text);
        bytes.map(LogId).ok_or_else(|| serde::de::Error::custom("a log's id is 32 lower-case hex digits"))
    }
}

/// A log's id in words.
pub fn named(log: Option<LogId>) -> String {
    log.map_or_else(|| "without id".to_string(), |log| log.to_string())
}

/// One tick: what came in, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from zero, without gaps.
    pub n: u64,
    /// The hash of the tick before.
    pub prev: sha256::Hash,
    /// The log's id, in its first tick and in the first of each day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogId>,
    /// When.
    pub at: Time,
    /// The policy version that counted.
    pub policy: u32,
    /// One for each venue of the policy, in its order.
    pub inputs: Vec<Input>,
    /// The median, cents; null below quorum.
    pub median: Option<Cents>,
    /// The held price, cents.
    pub held: Option<Cents>,
}

/// A signature for everything up to a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The log's id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogId>,
    /// The last tick's number.
    pub n: u64,
    /// The last tick's time.
    pub at: Time,
    /// The last tick's hash.
    pub hash: sha256::Hash,
    /// By the oracle key: see the module's head.
    pub signature: Signature,
}

impl Head {
    /// Signs for everything up to a tick.
    pub fn sign(keys: &OracleKeys, end: End) -> Head {
        Head::of(end, end.statement().sign(keys))
    }

    /// The head of a chain's end, signed.
    pub fn of(end: End, signature: Signature) -> Head {
        Head { log: end.log, n: end.n, at: end.at, hash: end.hash, signature }
    }

    /// What is signed.
    pub fn statement(&self) -> Statement {
        let Head { log, n, at, hash, .. } = *self;
        End { n, at, hash, log, headed: true }.statement()
    }

    /// Is it the oracle's?
    ///
    /// # Errors
    /// When the signature is not valid.
    pub fn verify(&self, oracle: &XOnlyPublicKey) -> Result<(), BadSignature> {
        let valid = self.statement().is_signed(oracle, &self.signature);
        valid.then_some(()).ok_or(BadSignature { what: "tick log's head", oracle: *oracle })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// A tick.
    Tick(Entry),
    /// A signature over all before it.
    Head(Head),
}

impl Line {
    /// Its text, without the line's end.
    pub fn text(&self) -> String {
        // Integers, hex and strings cannot fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The hash of a tick's line.
pub fn hash_of(line: &str) -> sha256::Hash {
    sha256::Hash::from_byte_array(*tagged(b"hypothec/tick/v0", &[line.as_bytes()]).as_ref())
}
