//! The watermark: how far an oracle has spoken, small enough to keep in many places.
//!
//! The hash runs over every record of the ledger in order: `H_0 = SHA256("hypothec/ledger/v0" || x-only key (32))`,
//! `H_(n+1) = SHA256(H_n || kind (1) || time (4) || cents (8))`, numbers big endian; kinds 1 low, 2 fixing, 3 frozen.
//! A ledger with fewer records, or with other ones, is an older or a different one: an oracle that signed on it could
//! sign a second outcome for a fixing, and two of those reveal its key.
//!
//! An exported watermark is signed: BIP340 by the oracle key over `tagged("hypothec/watermark/v0", records (8) ||
//! frozen_until (4) || hash (32))`.

use crate::announce::OracleKeys;
use crate::statement::{Statement, WATERMARK};
use crate::units::Time;
use crate::wire::BadSignature;
use bitcoin::hashes::{sha256, Hash, HashEngine};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::{schnorr::Signature, Message, SECP256K1};
use serde::{Deserialize, Serialize};

/// How far an oracle has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watermark {
    /// The oracle.
    pub key: XOnlyPublicKey,
    /// Records in its ledger.
    pub records: u64,
    /// Hours that end at or before this moment are final.
    pub frozen_until: Time,
    /// The chain of hashes over the records.
    pub hash: sha256::Hash,
}

impl Watermark {
    /// Of an oracle that has said nothing.
    pub fn new(key: XOnlyPublicKey) -> Watermark {
        let mut engine = sha256::Hash::engine();
        engine.input(b"hypothec/ledger/v0");
        engine.input(&key.serialize());
        Watermark { key, records: 0, frozen_until: Time(0), hash: sha256::Hash::from_engine(engine) }
    }

    /// Of the ledger with one more record, given in its bytes. `None` beyond 2^64 records.
    #[must_use]
    pub fn with(self, record: &[u8], frozen_until: Time) -> Option<Watermark> {
        let mut engine = sha256::Hash::engine();
        engine.input(self.hash.as_ref());
        engine.input(record);
        let records = self.records.checked_add(1)?;
        Some(Watermark { records, frozen_until, hash: sha256::Hash::from_engine(engine), ..self })
    }

    /// Signs it, to be kept elsewhere.
    pub fn sign(self, keys: &OracleKeys) -> SignedWatermark {
        SignedWatermark { watermark: self, signature: keys.sign(&message(&self)) }
    }

    /// What is signed of it.
    pub fn statement(&self) -> Statement {
        let (records, until) = (self.records.to_be_bytes(), self.frozen_until.0.to_be_bytes());
        Statement { tag: WATERMARK, data: [records.as_slice(), &until, self.hash.as_ref()].concat() }
    }
}

/// An exported watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedWatermark {
    /// What is signed.
    pub watermark: Watermark,
    /// By the key it names.
    pub signature: Signature,
}

impl SignedWatermark {
    /// The watermark, if it is the oracle's.
    ///
    /// # Errors
    /// When it names another oracle, or the signature is not valid.
    pub fn verify(&self, oracle: &XOnlyPublicKey) -> Result<Watermark, BadSignature> {
        let right = self.watermark.key == *oracle
            && SECP256K1.verify_schnorr(&self.signature, &message(&self.watermark), oracle).is_ok();
        right.then_some(self.watermark).ok_or(BadSignature { what: "watermark", oracle: *oracle })
    }
}

fn message(mark: &Watermark) -> Message {
    mark.statement().message()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secp256k1_zkp::SecretKey;

    #[test]
    fn a_watermark_is_believed_from_its_oracle_only_and_as_it_was_signed_only() {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        let other = OracleKeys::from_secret(SecretKey::from_slice(&[8; 32]).unwrap()).public_key();
        let mark = Watermark::new(keys.public_key()).with(&[1, 2, 3], Time(3_600)).unwrap();
        let signed = mark.sign(&keys);
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<SignedWatermark>(&text).unwrap().verify(&keys.public_key()), Ok(mark));
        assert!(signed.verify(&other).is_err());
        let mut older = signed;
        older.watermark.records = 0;
        assert!(older.verify(&keys.public_key()).is_err());
    }

    #[test]
    fn other_records_and_another_order_give_another_hash() {
        let start = Watermark::new(OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap()).public_key());
        let of =
            |records: &[&[u8]]| records.iter().fold(start, |mark, record| mark.with(record, Time(0)).unwrap()).hash;
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b"a"]));
    }
}
