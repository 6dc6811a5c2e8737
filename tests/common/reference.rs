//! The reference loan of the documents, for unit tests and the tests beside them.

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::{PublicKey, SecretKey, XOnlyPublicKey, SECP256K1};
use bitcoin::{Amount, ScriptBuf};
use hypothec::loan::fees::EXIT_FEE_RATE_MIN;
use hypothec::loan::ltv::{CUSHION, LIQUIDATION};
use hypothec::loan::terms::{Terms, STAKE};
use hypothec::loan::units::{BasisPoints, Cents, Days, Time};
use hypothec::loan::version::{CURRENCY, CURVE, TERMS_VERSION, TRANSACTION_VERSION};

/// A secret key that says its number.
pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_slice(&[number; 32]).unwrap()
}

/// The public key of a secret made of one repeated byte.
pub fn key(byte: u8) -> PublicKey {
    secret(byte).public_key(SECP256K1)
}

pub fn xonly(byte: u8) -> XOnlyPublicKey {
    key(byte).x_only_public_key().0
}

/// The P2WPKH script of a key.
pub fn script(key: &SecretKey) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::CompressedPublicKey(key.public_key(SECP256K1)).wpubkey_hash())
}

/// One bitcoin, $50,000, $100,000, 90 days at 10 % from 2020-03-12 10:00.
pub fn reference() -> Terms {
    Terms {
        version: TERMS_VERSION,
        chain: *AsRef::<[u8; 32]>::as_ref(&ChainHash::REGTEST),
        borrower: key(1),
        lender: key(2),
        borrower_nonce: [7; 32],
        lender_nonce: [8; 32],
        start: Time(1_584_007_200),
        days: Days(90),
        principal_sats: Amount::from_sat(50_000_000),
        principal: Cents(5_000_000),
        reference_price: Cents(10_000_000),
        apr: BasisPoints(1_000),
        minimum_interest_days: Days(14),
        collateral: Amount::ONE_BTC,
        stake: STAKE,
        liquidation_ltv: LIQUIDATION,
        cushion: CUSHION,
        oracles: vec![xonly(3)],
        threshold: 1,
        receipt_key: xonly(4),
        receipt_nonce: xonly(5),
        fee_rate: EXIT_FEE_RATE_MIN,
        confirmations: 3,
        principal_script: script(&secret(1)),
        expires: Time(1_584_007_200),
        transaction_version: Some(TRANSACTION_VERSION),
        currency: Some(CURRENCY.into()),
        minimum_threshold: Some(1),
        curve: Some(CURVE),
        unknown: Default::default(),
    }
}

/// The same as version 1 of the terms had it.
pub fn reference_of_version_1() -> Terms {
    Terms { version: 1, transaction_version: None, currency: None, minimum_threshold: None, curve: None, ..reference() }
}
