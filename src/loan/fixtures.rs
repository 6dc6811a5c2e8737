//! Loans for tests.

use super::fees::EXIT_FEE_RATE_MIN;
use super::interest::minimum_days;
use super::ltv::{CUSHION, LIQUIDATION};
use super::terms::{Terms, STAKE, TERMS_VERSION};
use super::units::{cents_for_sats_floor, BasisPoints, Cents, Days, Time};
use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey, XOnlyPublicKey};
use bitcoin::{Amount, ScriptBuf};
use proptest::prelude::*;

/// The public key of a secret made of one repeated byte.
pub fn key(byte: u8) -> PublicKey {
    PublicKey::from_secret_key(&Secp256k1::new(), &SecretKey::from_slice(&[byte; 32]).unwrap())
}

pub fn xonly(byte: u8) -> XOnlyPublicKey {
    key(byte).x_only_public_key().0
}

/// That many oracles, as terms name them.
pub fn several(oracles: u8) -> Vec<XOnlyPublicKey> {
    let mut keys: Vec<_> = (20..20 + oracles).map(xonly).collect();
    keys.sort_by_key(XOnlyPublicKey::serialize);
    keys
}

/// One bitcoin, $50,000, $100,000, 90 days at 10 % from 2020-03-12 10:00.
pub fn reference() -> Terms {
    let script = ScriptBuf::new_p2wpkh(&bitcoin::CompressedPublicKey(key(1)).wpubkey_hash());
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
        principal_script: script,
        expires: Time(1_584_007_200),
    }
}

/// A loan with this collateral and principal (both sats) at this price.
pub fn loan(collateral: u64, principal_sats: u64, dollars: u64, days: u32, apr: u32) -> Terms {
    let price = Cents(dollars * 100);
    let principal_sats = Amount::from_sat(principal_sats);
    Terms {
        collateral: Amount::from_sat(collateral),
        principal_sats,
        principal: cents_for_sats_floor(principal_sats, price).unwrap(),
        reference_price: price,
        days: Days(days),
        minimum_interest_days: minimum_days(Days(days)),
        apr: BasisPoints(apr),
        ..reference()
    }
}

/// Loans that pass `check`, small and huge, short and long.
pub fn loans() -> impl Strategy<Value = Terms> {
    let collateral = prop_oneof![425_000u64..10_000_000, 10_000_000u64..100_000_000_000, Just(1_500_000_000_000_000)];
    let shape = (collateral, 500u64..6_500, 3_000u64..=900_000, 1u32..=730, 100u32..=1_500, 0u32..48);
    shape
        .prop_map(|(collateral, ltv, dollars, days, apr, hour)| {
            let principal = u64::try_from(u128::from(collateral) * u128::from(ltv) / 10_000).unwrap();
            let terms = loan(collateral, principal, dollars, days, apr);
            let start = Time(terms.start.0 + hour * 3_600);
            Terms { start, expires: start, ..terms }
        })
        .prop_filter("a loan that can be signed", |terms| terms.check().is_ok())
}
