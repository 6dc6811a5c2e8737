//! Proof that a party owns a coin, without moving it.
//!
//! The proof is an ECDSA signature by the coin's key over the tagged hash (BIP-340 style: SHA-256 of tag hash, tag
//! hash, data) with tag `hypothec/coin-proof/v0` and data `message ‖ txid ‖ vout` (32 + 32 + 4 bytes, the outpoint as
//! transactions carry it). The message ties it to one purpose, so it cannot be shown again for another; the tag keeps
//! it from ever being a transaction's signature.

use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::{sha256, Hash, HashEngine};
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, SecretKey, Signing};
use bitcoin::{CompressedPublicKey, OutPoint, ScriptBuf, TxOut};
use serde::{Deserialize, Serialize};

const TAG: &[u8] = b"hypothec/coin-proof/v0";

/// That whoever made it has the key of a P2WPKH coin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoinProof {
    /// Which coin.
    pub outpoint: OutPoint,
    /// The key its script commits to.
    pub pubkey: PublicKey,
    /// By that key.
    pub signature: Signature,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Only P2WPKH coins can be proven.
    #[error("coin {0} is not P2WPKH")]
    NotP2wpkh(OutPoint),
    /// The key is not the coin's.
    #[error("the proof's key is not the key of coin {0}")]
    WrongKey(OutPoint),
    /// The signature does not fit key, coin and message.
    #[error("the signature over coin {0} does not fit")]
    BadSignature(OutPoint),
}

/// Checks that `proof` was made for `message` by the owner of `coin`, the output that the verifier's own node has
/// at `proof.outpoint`. Whether that is unspent and deep enough is the caller's to check.
pub fn verify_coin_proof(proof: &CoinProof, coin: &TxOut, message: &[u8; 32]) -> Result<(), ProofError> {
    if !coin.script_pubkey.is_p2wpkh() {
        return Err(ProofError::NotP2wpkh(proof.outpoint));
    }
    if ScriptBuf::new_p2wpkh(&CompressedPublicKey(proof.pubkey).wpubkey_hash()) != coin.script_pubkey {
        return Err(ProofError::WrongKey(proof.outpoint));
    }
    verify_signature(proof, message)
}

/// The part of it that takes no look at the chain: the proof's own key has signed. Whether the coin is that key's is left.
///
/// # Errors
/// [`ProofError::BadSignature`].
pub fn verify_signature(proof: &CoinProof, message: &[u8; 32]) -> Result<(), ProofError> {
    let secp = Secp256k1::verification_only();
    secp.verify_ecdsa(&digest(proof.outpoint, message), &proof.signature, &proof.pubkey)
        .map_err(|_| ProofError::BadSignature(proof.outpoint))
}

pub(super) fn prove<C: Signing>(
    secp: &Secp256k1<C>,
    key: &SecretKey,
    outpoint: OutPoint,
    message: &[u8; 32],
) -> CoinProof {
    let signature = secp.sign_ecdsa(&digest(outpoint, message), key);
    CoinProof { outpoint, pubkey: PublicKey::from_secret_key(secp, key), signature }
}

fn digest(outpoint: OutPoint, message: &[u8; 32]) -> Message {
    let tag = sha256::Hash::hash(TAG).to_byte_array();
    let mut engine = sha256::Hash::engine();
    engine.input(&tag);
    engine.input(&tag);
    engine.input(message);
    engine.input(&serialize(&outpoint));
    Message::from_digest(sha256::Hash::from_engine(engine).to_byte_array())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Amount;

    fn coin_of(key: &SecretKey) -> TxOut {
        let pubkey = CompressedPublicKey(key.public_key(&Secp256k1::new()));
        TxOut { value: Amount::from_sat(1_000), script_pubkey: ScriptBuf::new_p2wpkh(&pubkey.wpubkey_hash()) }
    }

    #[test]
    fn a_coin_proof_holds_and_fails_on_any_change() {
        let secp = Secp256k1::new();
        let (key, other) = (SecretKey::from_slice(&[1; 32]).unwrap(), SecretKey::from_slice(&[2; 32]).unwrap());
        let outpoint = OutPoint { txid: bitcoin::Txid::from_byte_array([3; 32]), vout: 1 };
        let proof = prove(&secp, &key, outpoint, &[9; 32]);
        assert_eq!(verify_coin_proof(&proof, &coin_of(&key), &[9; 32]), Ok(()));

        assert_eq!(verify_coin_proof(&proof, &coin_of(&key), &[8; 32]), Err(ProofError::BadSignature(outpoint)));
        assert_eq!(verify_coin_proof(&proof, &coin_of(&other), &[9; 32]), Err(ProofError::WrongKey(outpoint)));
        let moved = OutPoint { vout: 0, ..outpoint };
        let elsewhere = CoinProof { outpoint: moved, ..proof.clone() };
        assert_eq!(verify_coin_proof(&elsewhere, &coin_of(&key), &[9; 32]), Err(ProofError::BadSignature(moved)));
        let stranger = CoinProof { pubkey: other.public_key(&secp), ..proof.clone() };
        assert_eq!(verify_coin_proof(&stranger, &coin_of(&key), &[9; 32]), Err(ProofError::WrongKey(outpoint)));
        assert!(verify_coin_proof(&stranger, &coin_of(&other), &[9; 32]).is_err());
        let mut bytes = proof.signature.serialize_compact();
        for i in 0..64 {
            bytes[i] ^= 1;
            if let Ok(signature) = Signature::from_compact(&bytes) {
                let bent = CoinProof { signature, ..proof.clone() };
                assert!(verify_coin_proof(&bent, &coin_of(&key), &[9; 32]).is_err(), "byte {i}");
            }
            bytes[i] ^= 1;
        }
        let anyone = TxOut { value: Amount::ONE_SAT, script_pubkey: ScriptBuf::new() };
        assert_eq!(verify_coin_proof(&proof, &anyone, &[9; 32]), Err(ProofError::NotP2wpkh(outpoint)));
    }
}
