//! Adaptor signatures: which point locks which CET, and making and checking many of them on every core.
//!
//! The order of signatures is the DLC specification's: clauses in order; within the fixing, its steps from the lowest
//! price up, each by the binary prefixes that cover it.

use super::clauses::{Announcements, Payouts};
use super::error::ContractError;
use bitcoin::secp256k1::Message;
use bitcoin::{Amount, Script, Transaction};
use ddk_trie::digit_decomposition::group_by_ignoring_digits;
use dlc_messages::oracle_msgs::{tagged_attestation_msg, OracleAnnouncement};
use hypothec_oracle::event::FIXING_DIGITS;
use rayon::prelude::*;
use secp256k1_zkp::{EcdsaAdaptorSignature, PublicKey, SecretKey, SECP256K1};

/// One adaptor signature's place: the CET it is over and the point that locks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index into the contract's CETs.
    pub cet: usize,
    /// The sum of the oracle's signature points; the attestation is its secret.
    pub point: PublicKey,
}

/// What every signature over a contract's CETs needs beside the key.
#[derive(Clone, Copy)]
pub struct Signing<'a> {
    /// All CETs in clause order.
    pub cets: &'a [Transaction],
    /// The 2-of-2 witness script.
    pub script: &'a Script,
    /// Value of the funding output.
    pub value: Amount,
}

/// The slots of all clauses, in the order the messages carry the signatures.
pub fn slots(payouts: &Payouts, announcements: &Announcements) -> Result<Vec<Slot>, ContractError> {
    let touches = announcements.touches.iter().map(|proven| &proven.announcement);
    let singles: Vec<&OracleAnnouncement> = touches.chain([&announcements.receipt]).collect();
    let mut slots = singles
        .into_par_iter()
        .enumerate()
        .map(|(cet, announcement)| Ok(Slot { cet, point: outcome_point(announcement)? }))
        .collect::<Result<Vec<_>, ContractError>>()?;
    let digits = digit_points(&announcements.fixing.announcement)?;
    let first_cet = slots.len();
    let prefixes: Vec<(usize, Vec<usize>)> = payouts
        .fixing
        .iter()
        .enumerate()
        .flat_map(|(step, interval)| {
            prefixes(interval.first, interval.last).into_iter().map(move |prefix| (first_cet + step, prefix))
        })
        .collect();
    let fixing = prefixes
        .into_par_iter()
        .map(|(cet, prefix)| Ok(Slot { cet, point: prefix_point(&digits, &prefix)? }))
        .collect::<Result<Vec<_>, ContractError>>()?;
    slots.extend(fixing);
    Ok(slots)
}

/// The binary prefixes that cover `first..=last`, most significant digit first.
pub fn prefixes(first: u32, last: u32) -> Vec<Vec<usize>> {
    if first > last {
        return Vec::new();
    }
    group_by_ignoring_digits(first as usize, last as usize, 2, usize::from(FIXING_DIGITS))
}

/// Our adaptor signature for every slot.
///
/// They draw randomness: two runs never give the same bytes, so what was made once is kept.
pub fn sign(
    slots: &[Slot],
    signing: Signing<'_>,
    key: &SecretKey,
) -> Result<Vec<EcdsaAdaptorSignature>, ContractError> {
    slots
        .par_iter()
        .map(|slot| {
            let cet = signing.cets.get(slot.cet).ok_or(ContractError::OutOfRange("the CET of a slot"))?;
            Ok(dlc::create_cet_adaptor_sig_from_point(SECP256K1, cet, &slot.point, key, signing.script, signing.value)?)
        })
        .collect()
}

/// Requires that `signatures` are `key`'s, one for every slot and no more.
pub fn verify(
    slots: &[Slot],
    signing: Signing<'_>,
    key: &PublicKey,
    signatures: &[EcdsaAdaptorSignature],
) -> Result<(), ContractError> {
    if signatures.len() != slots.len() {
        return Err(ContractError::field(
            "cet_adaptor_signatures",
            "count",
            signatures.len(),
            format!("{}, one for each outcome", slots.len()),
        ));
    }
    slots.par_iter().zip(signatures).enumerate().try_for_each(|(index, (slot, signature))| {
        let cet = signing.cets.get(slot.cet).ok_or(ContractError::OutOfRange("the CET of a slot"))?;
        dlc::verify_cet_adaptor_sig_from_point(
            SECP256K1,
            signature,
            cet,
            &slot.point,
            key,
            signing.script,
            signing.value,
        )
        .map_err(|_| ContractError::Signature { which: format!("adaptor {index}"), key: key.to_string() })
    })
}

/// The point of a one-outcome event, whose outcome is its id.
fn outcome_point(announcement: &OracleAnnouncement) -> Result<PublicKey, ContractError> {
    let message = tagged_attestation_msg(&announcement.oracle_event.event_id);
    let [nonce] = announcement.oracle_event.oracle_nonces.as_slice() else {
        return Err(ContractError::OutOfRange("the nonces of a one-outcome event"));
    };
    Ok(dlc::secp_utils::schnorrsig_compute_sig_point(SECP256K1, &announcement.oracle_public_key, nonce, &message)?)
}

/// The signature points of each digit's two values.
fn digit_points(announcement: &OracleAnnouncement) -> Result<Vec<[PublicKey; 2]>, ContractError> {
    let messages: [Message; 2] = [tagged_attestation_msg("0"), tagged_attestation_msg("1")];
    announcement
        .oracle_event
        .oracle_nonces
        .par_iter()
        .map(|nonce| {
            let point = |message: &Message| {
                dlc::secp_utils::schnorrsig_compute_sig_point(
                    SECP256K1,
                    &announcement.oracle_public_key,
                    nonce,
                    message,
                )
            };
            let [zero, one] = &messages;
            Ok([point(zero)?, point(one)?])
        })
        .collect()
}

fn prefix_point(digits: &[[PublicKey; 2]], prefix: &[usize]) -> Result<PublicKey, ContractError> {
    let points: Vec<&PublicKey> = prefix.iter().zip(digits).filter_map(|(digit, points)| points.get(*digit)).collect();
    if points.len() != prefix.len() || points.is_empty() {
        return Err(ContractError::OutOfRange("a prefix of the fixing"));
    }
    PublicKey::combine_keys(&points).map_err(|e| ContractError::Library(e.to_string()))
}
