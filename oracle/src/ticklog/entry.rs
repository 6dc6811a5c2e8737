//! Lines of the tick log: JSON, one a line, a tick or a signed head.
//!
//! - `{"tick":{"n":…,"prev":…,"at":…,"policy":…,"inputs":[…],"median":…,"held":…}}`
//! - `{"head":{"n":…,"at":…,"hash":…,"signature":…}}`
//!
//! The hash of a tick is `tagged("hypothec/tick/v0", the line's bytes without its end)`; `prev` is the hash of the tick
//! before, zeros for the first. A head names the last tick and signs for everything up to it: BIP340 by the oracle key
//! over `tagged("hypothec/log-head/v0", n (8) || at (4) || hash (32))`, big endian. A head stands after the last tick of
//! every hour that has one: before the next tick, or later, in order, when the signer was away at that moment.

use crate::announce::{tagged, OracleKeys};
use crate::price::reckon::Input;
use crate::statement::{Statement, LOG_HEAD};
use crate::units::{Cents, Time};
use crate::wire::BadSignature;
use bitcoin::hashes::{sha256, Hash};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::{schnorr::Signature, Message, SECP256K1};
use serde::{Deserialize, Serialize};

/// Longest line, in bytes: eight venues' longest answers, escaped.
pub const LONGEST_LINE: usize = 32 * 1024;

/// One tick: what came in, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number, from zero, without gaps.
    pub n: u64,
    /// The hash of the tick before.
    pub prev: sha256::Hash,
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
    pub fn sign(keys: &OracleKeys, n: u64, at: Time, hash: sha256::Hash) -> Head {
        Head { n, at, hash, signature: keys.sign(&head_message(n, at, hash)) }
    }

    /// What is signed for everything up to a tick.
    pub fn statement(n: u64, at: Time, hash: sha256::Hash) -> Statement {
        let data = [n.to_be_bytes().as_slice(), &at.0.to_be_bytes(), hash.as_byte_array()].concat();
        Statement { tag: LOG_HEAD, data }
    }

    /// Is it the oracle's?
    ///
    /// # Errors
    /// When the signature is not valid.
    pub fn verify(&self, oracle: &XOnlyPublicKey) -> Result<(), BadSignature> {
        SECP256K1
            .verify_schnorr(&self.signature, &head_message(self.n, self.at, self.hash), oracle)
            .map_err(|_| BadSignature { what: "tick log's head", oracle: *oracle })
    }
}

fn head_message(n: u64, at: Time, hash: sha256::Hash) -> Message {
    Head::statement(n, at, hash).message()
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
