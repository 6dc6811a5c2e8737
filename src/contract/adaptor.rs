//! Adaptor signatures: which point locks which CET, and making and checking many of them on every core.
//!
//! The order of signatures is the DLC specification's: clauses in order; within the fixing, its steps from the lowest
//! price up, each by the binary prefixes that cover it. With several oracles each touch, and each prefix, has one for
//! every group of oracles, and within a group one for every way their prices may agree.

use super::clauses::{Announcements, Clause, Payouts};
use super::difference::{agreements, Prefix};
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
    /// The sum of the signature points of the oracles that agree; their attestations are its secret.
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
    let (quorum, days) = (payouts.quorum, payouts.touches.len());
    let groups = quorum.groups();
    let touches = (0..days)
        .into_par_iter()
        .map(|index| touch_slots(index, &groups, &announcements.of(Clause::Touch { index })))
        .collect::<Result<Vec<_>, ContractError>>()?;
    let mut slots: Vec<Slot> = touches.into_iter().flatten().collect();
    slots.push(Slot { cet: days, point: outcome_point(&announcements.receipt)? });
    let digits: Vec<Vec<[PublicKey; 2]>> =
        announcements.of(Clause::Fixing).into_iter().map(digit_points).collect::<Result<_, _>>()?;
    let prefixes: Vec<(usize, Prefix)> = payouts
        .fixing
        .iter()
        .enumerate()
        .flat_map(|(step, interval)| {
            prefixes(interval.first, interval.last).into_iter().map(move |prefix| (days + 1 + step, prefix))
        })
        .collect();
    let fixing = prefixes
        .into_par_iter()
        .map(|(cet, prefix)| {
            let points = fixing_points(&groups, &digits, &agreements(quorum, &prefix)?)?;
            Ok(points.into_iter().map(|point| Slot { cet, point }).collect())
        })
        .collect::<Result<Vec<Vec<Slot>>, ContractError>>()?;
    slots.extend(fixing.into_iter().flatten());
    Ok(slots)
}

/// One slot for every group of oracles that can settle a day's touch.
fn touch_slots(
    cet: usize,
    groups: &[Vec<usize>],
    announced: &[&OracleAnnouncement],
) -> Result<Vec<Slot>, ContractError> {
    let points: Vec<PublicKey> =
        announced.iter().map(|announcement| outcome_point(announcement)).collect::<Result<_, _>>()?;
    let slot = |group: &Vec<usize>| {
        let of_group: Vec<&PublicKey> = group.iter().filter_map(|oracle| points.get(*oracle)).collect();
        Ok(Slot { cet, point: sum(&of_group, group.len())? })
    };
    groups.iter().map(slot).collect()
}

/// The points of one block of prices: group after group, and in each its agreements.
fn fixing_points(
    groups: &[Vec<usize>],
    digits: &[Vec<[PublicKey; 2]>],
    agreements: &[Vec<Prefix>],
) -> Result<Vec<PublicKey>, ContractError> {
    let mut points = Vec::with_capacity(groups.len() * agreements.len());
    for group in groups {
        for paths in agreements {
            let needed = paths.iter().map(Vec::len).sum();
            let of_group: Vec<&PublicKey> = group
                .iter()
                .filter_map(|oracle| digits.get(*oracle))
                .zip(paths)
                .flat_map(|(digits, path)| path.iter().zip(digits).filter_map(|(digit, points)| points.get(*digit)))
                .collect();
            points.push(sum(&of_group, needed)?);
        }
    }
    Ok(points)
}

/// The sum of exactly `needed` points.
fn sum(points: &[&PublicKey], needed: usize) -> Result<PublicKey, ContractError> {
    if points.len() != needed || points.is_empty() {
        return Err(ContractError::OutOfRange("the points of an outcome"));
    }
    PublicKey::combine_keys(points).map_err(|e| ContractError::Library(e.to_string()))
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
