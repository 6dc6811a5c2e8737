//! Statements: what an oracle key signs beside announcements and attestations.
//!
//! BIP340 with no auxiliary randomness over `tagged(tag, data)`. Every tag begins with `hypothec/`, so no statement can
//! ever be read as an announcement or an attestation. A signer signs only the shapes listed in [`SHAPES`]: a new kind
//! of statement is a new line there.

use crate::announce::{tagged, OracleKeys};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::{schnorr::Signature, Message, SECP256K1};

/// A price at a moment: `unix (4) || cents (8)`.
pub const PRICE: &str = "hypothec/price/v0";
/// A day's lows: `day (4) || frozen_until (4) || 24 * (known (1) || cents (8))`.
pub const LOWS: &str = "hypothec/lows/v0";
/// A price policy: its canonical JSON.
pub const POLICY: &str = "hypothec/policy/v0";
/// The head of the tick log.
pub const LOG_HEAD: &str = "hypothec/log-head/v0";
/// How far an oracle has said things.
pub const WATERMARK: &str = "hypothec/watermark/v0";

/// Tag, least and most bytes of the data of everything that a signer states on being asked.
pub const SHAPES: &[(&str, usize, usize)] =
    &[(PRICE, 12, 12), (LOWS, 224, 224), (POLICY, 2, 64 * 1024), (LOG_HEAD, 32, 256), (WATERMARK, 32, 256)];

/// Something to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// One of [`SHAPES`].
    pub tag: &'static str,
    /// What is stated.
    pub data: Vec<u8>,
}

impl Statement {
    /// A statement of a known shape; `None` when the tag is unknown or the length is not one it can have.
    pub fn new(tag: &str, data: Vec<u8>) -> Option<Statement> {
        let (tag, ..) =
            SHAPES.iter().find(|(known, least, most)| *known == tag && (*least..=*most).contains(&data.len()))?;
        Some(Statement { tag, data })
    }

    /// What is signed.
    pub fn message(&self) -> Message {
        tagged(self.tag.as_bytes(), &[&self.data])
    }

    /// Signs it.
    pub fn sign(&self, keys: &OracleKeys) -> Signature {
        keys.sign(&self.message())
    }

    /// Did this oracle sign it?
    pub fn is_signed(&self, oracle: &XOnlyPublicKey, signature: &Signature) -> bool {
        SECP256K1.verify_schnorr(signature, &self.message(), oracle).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_of_a_known_shape_exist_and_none_is_read_as_an_attestation() {
        assert!(Statement::new(PRICE, vec![0; 12]).is_some());
        assert!(Statement::new(PRICE, vec![0; 13]).is_none());
        assert!(Statement::new("DLC/oracle/attestation/v0", vec![0; 12]).is_none());
        assert!(Statement::new("hypothec/rotation/v0", vec![0; 68]).is_none(), "rotation needs the operator");
        assert!(SHAPES.iter().all(|(tag, ..)| tag.starts_with("hypothec/")));
    }
}
