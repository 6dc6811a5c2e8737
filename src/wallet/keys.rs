//! From words to keys, exactly.
//!
//! The BIP-39 seed (no passphrase) gives a BIP-32 master key. Every path below is hardened down to the account, and
//! `coin` is 1' on regtest and signet, as BIP-44 has it for every test network.
//!
//! | what | derivation |
//! |---|---|
//! | coins | BIP-84: `m/84'/coin/0'/{0,1}/*`, P2WPKH, 0 for addresses given out, 1 for change |
//! | node identity | `m/7404'/coin/0'`, its secret key |
//! | backup key | `m/7404'/coin/4'`, its secret key as an X25519 one: opens the backups that renew themselves |
//! | loan root of role r | `m/7404'/coin/r'`, its secret key; r = 1 funding, 2 receipt, 3 receipt nonce, 5 index |
//! | loan index | HMAC-SHA512 keyed with the root of role 5 over `"hypothec/loan-index/v0" ‖ about`, first 32 bytes |
//! | loan key | HMAC-SHA512 keyed with the root of its role over `"hypothec/loan-key/v0" ‖ index ‖ n`, first 32 bytes |
//!
//! `about` is the loan id for the borrower, and the terms' `lender_nonce` for the lender, whose receipt key the terms hold.
//! `n` is one byte, 0; in the case of probability 2^-127 that the result is no valid secret key, the next n is taken. So the
//! words alone restore coins and identity, and words and terms a loan's keys. Loans made before had 32 random bytes for an
//! index, which is kept with the loan and nowhere else. Neither an index nor any public key tells anything about another loan.

use super::Error;
use bip39::Mnemonic;
use bitcoin::bip32::{ChildNumber, DerivationPath, Fingerprint, Xpriv};
use bitcoin::hashes::{sha512, Hash, HashEngine, Hmac, HmacEngine};
use bitcoin::secp256k1::{All, Secp256k1, SecretKey};
use bitcoin::Network;
use std::fmt;
use zeroize::Zeroizing;

/// The purpose field of our own keys' paths.
const PURPOSE: u32 = 7_404;
/// Every test network's.
const COIN_TYPE: u32 = 1;
const IDENTITY: u32 = 0;
const FUNDING: u32 = 1;
const RECEIPT: u32 = 2;
const RECEIPT_NONCE: u32 = 3;
const BACKUP: u32 = 4;
const LOAN_INDEX: u32 = 5;
const LOAN_INDEX_TAG: &[u8] = b"hypothec/loan-index/v0";
const LOAN_KEY_TAG: &[u8] = b"hypothec/loan-key/v0";

/// All of one party's keys. Never written out, never shown.
pub struct Seed {
    master: Xpriv,
    network: Network,
    secp: Secp256k1<All>,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({})", self.network)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.master.private_key.non_secure_erase();
    }
}

impl Seed {
    /// The keys behind `words` on a test network.
    pub fn from_mnemonic(words: &Mnemonic, network: Network) -> Result<Seed, Error> {
        if !matches!(network, Network::Regtest | Network::Signet) {
            return Err(Error::Network(network));
        }
        let seed = Zeroizing::new(words.to_seed_normalized(""));
        let master = Xpriv::new_master(network, seed.as_slice()).map_err(derivation)?;
        Ok(Seed { master, network, secp: Secp256k1::new() })
    }

    /// The network the keys are for.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The secret key by which other nodes know this node.
    pub fn node_identity(&self) -> Result<SecretKey, Error> {
        self.role(IDENTITY)
    }

    /// The secret that opens backups made for whoever has the words.
    pub fn backup_key(&self) -> Result<SecretKey, Error> {
        self.role(BACKUP)
    }

    /// The index of a new loan's keys, the same for the same 32 bytes: see the table above for which those are.
    ///
    /// # Errors
    /// When the root cannot be derived.
    pub fn loan_index(&self, about: &[u8; 32]) -> Result<[u8; 32], Error> {
        Ok(keyed(&self.role(LOAN_INDEX)?, &[LOAN_INDEX_TAG, about]))
    }

    /// The keys of the contract with this index.
    pub fn loan_keys(&self, index: &[u8; 32]) -> Result<LoanKeys, Error> {
        LoanKeys::derive(self, index)
    }

    /// `m/84'/coin/0'`, which the wallet signs with.
    pub(super) fn coin_account(&self) -> Result<Xpriv, Error> {
        self.hardened([84, COIN_TYPE, 0])
    }

    /// Names the master key in descriptors.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.master.fingerprint(&self.secp)
    }

    fn role(&self, role: u32) -> Result<SecretKey, Error> {
        Ok(self.hardened([PURPOSE, COIN_TYPE, role])?.private_key)
    }

    fn hardened(&self, path: [u32; 3]) -> Result<Xpriv, Error> {
        let steps: Result<Vec<ChildNumber>, _> = path.into_iter().map(ChildNumber::from_hardened_idx).collect();
        let path = DerivationPath::from(steps.map_err(derivation)?);
        self.master.derive_priv(&self.secp, &path).map_err(derivation)
    }
}

/// The secret keys of one contract of one loan. A new version of the contract takes a new index.
pub struct LoanKeys {
    /// Our half of the 2-of-2.
    pub funding: SecretKey,
    /// Signs the receipt as its oracle.
    pub receipt: SecretKey,
    /// The nonce of that one signature, as a secret scalar. Must never sign a second message.
    pub receipt_nonce: SecretKey,
}

impl LoanKeys {
    /// Always the same keys for the same seed and index.
    pub fn derive(seed: &Seed, index: &[u8; 32]) -> Result<LoanKeys, Error> {
        Ok(LoanKeys {
            funding: loan_key(&seed.role(FUNDING)?, index)?,
            receipt: loan_key(&seed.role(RECEIPT)?, index)?,
            receipt_nonce: loan_key(&seed.role(RECEIPT_NONCE)?, index)?,
        })
    }
}

impl fmt::Debug for LoanKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoanKeys(secret)")
    }
}

impl Drop for LoanKeys {
    fn drop(&mut self) {
        self.funding.non_secure_erase();
        self.receipt.non_secure_erase();
        self.receipt_nonce.non_secure_erase();
    }
}

fn loan_key(root: &SecretKey, index: &[u8; 32]) -> Result<SecretKey, Error> {
    for n in 0..=u8::MAX {
        if let Ok(key) = SecretKey::from_slice(&keyed(root, &[LOAN_KEY_TAG, index, &[n]])) {
            return Ok(key);
        }
    }
    Err(Error::Arithmetic("no valid key in 256 tries"))
}

/// The first half of an HMAC-SHA512 keyed with `root`.
fn keyed(root: &SecretKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha512::Hash>::new(&root.secret_bytes());
    parts.iter().for_each(|part| engine.input(part));
    let digest = Hmac::<sha512::Hash>::from_engine(engine).to_byte_array();
    let mut half = [0; 32];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    half
}

fn derivation(e: impl fmt::Display) -> Error {
    Error::Derivation(e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn seed() -> Seed {
        Seed::from_mnemonic(&Mnemonic::parse(WORDS).unwrap(), Network::Regtest).unwrap()
    }

    #[test]
    fn the_same_words_and_index_give_the_same_keys_for_ever() {
        let keys = LoanKeys::derive(&seed(), &[7; 32]).unwrap();
        let again = seed().loan_keys(&[7; 32]).unwrap();
        assert_eq!(keys.funding, again.funding);
        assert_eq!(keys.receipt, again.receipt);
        assert_eq!(keys.receipt_nonce, again.receipt_nonce);
    }

    #[test]
    fn the_derivation_is_the_one_written_above() {
        // From an independent implementation of the table.
        let hex = |key: &SecretKey| key.display_secret().to_string();
        let keys = seed().loan_keys(&[7; 32]).unwrap();
        let expected = [
            "16f9808d14c4bc8fee141362842fa1b0aee9f8a97d5edfb1c64d6da8e9f3aa1b",
            "22fb1bd5eb9c08662ab2af89eece1346dfc9437f0f901483751a327697f16664",
            "8d31a3864b90cf8390c0e6cd8766f72e2889ec0ced96fd8d4a0289308c2c1f28",
            "76ce9361074f8b9895f544027a496eb3dc03350f9bffd30a4d9b486a9b1e8f10",
        ];
        let identity = seed().node_identity().unwrap();
        assert_eq!([&identity, &keys.funding, &keys.receipt, &keys.receipt_nonce].map(hex), expected);
    }

    #[test]
    fn a_loans_index_follows_from_the_words_and_what_it_is_about() {
        let index = seed().loan_index(&[7; 32]).unwrap();
        // From an independent implementation of the table.
        let expected = "a944a02cc4213569f56b4358a68d70dd93dee0e4e163b0163d75536f2b4f74d1";
        assert_eq!(bitcoin::hex::DisplayHex::to_lower_hex_string(&index[..]), expected);
        assert_ne!(index, seed().loan_index(&[8; 32]).unwrap());
    }

    #[test]
    fn every_role_and_every_index_has_its_own_key() {
        let seed = seed();
        let (a, b) = (seed.loan_keys(&[0; 32]).unwrap(), seed.loan_keys(&[1; 32]).unwrap());
        let all = [a.funding, a.receipt, a.receipt_nonce, b.funding, b.receipt, b.receipt_nonce];
        let all: std::collections::HashSet<_> =
            all.iter().chain([&seed.node_identity().unwrap()]).map(|k| k.secret_bytes()).collect();
        assert_eq!(all.len(), 7);
    }

    #[test]
    fn keys_are_never_written_out_and_mainnet_has_none() {
        assert_eq!(format!("{:?} {:?}", seed(), seed().loan_keys(&[0; 32]).unwrap()), "Seed(regtest) LoanKeys(secret)");
        let words = Mnemonic::parse(WORDS).unwrap();
        assert!(Seed::from_mnemonic(&words, Network::Bitcoin).unwrap_err().to_string().contains("bitcoin"));
    }
}
