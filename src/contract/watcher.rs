//! What a keyless watcher does: the three DLC messages and one attestation make a complete exit.
//!
//! It knows no terms and holds no key. Whoever holds the messages can complete the exit that was attested, and no
//! other: both adaptor signatures of that outcome open with the oracle's signature, and with nothing else.

use super::adaptor::prefixes;
use super::error::{guarded, require, ContractError};
use super::settle::{settle_without_keys, Place};
use super::skeleton::Skeleton;
use super::wire;
use crate::loan::payout::Payout;
use bitcoin::{Amount, Transaction};
use ddk::contract as stateless;
use dlc_messages::contract_msgs::{ContractDescriptor, ContractInfo, ContractInfoInner, PayoutFunction};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation, OracleInfo};
use dlc_messages::{AcceptDlc, OfferDlc, SignDlc};
use hypothec_oracle::event::FIXING_MAX;
use hypothec_oracle::verify;
use secp256k1_zkp::EcdsaAdaptorSignature;

/// The signed transaction an attestation unlocks, from the messages' bytes alone.
///
/// # Errors
/// When the messages do not belong together, the attestation is of no clause of theirs or not its oracle's word.
pub fn settle(
    offer: &[u8],
    accept: &[u8],
    sign: &[u8],
    attestation: &OracleAttestation,
) -> Result<Transaction, ContractError> {
    let offer: OfferDlc = wire::read(offer)?;
    let accept: AcceptDlc = wire::read(accept)?;
    let sign: SignDlc = wire::read(sign)?;
    let transactions = guarded(|| Ok(stateless::create_signed_dlc_transactions(&offer, &accept, &sign)?))?;
    let skeleton = Skeleton::of(&offer, &accept, &transactions)?;
    let place = place(&offer, attestation)?;
    let borrowers: Vec<EcdsaAdaptorSignature> = (&sign.cet_adaptor_signatures).into();
    let lenders: Vec<EcdsaAdaptorSignature> = (&accept.cet_adaptor_signatures).into();
    settle_without_keys(&skeleton, &borrowers, &lenders, &place)
}

/// Finds the attested clause in the offer, and in it the signature and the payout.
fn place(offer: &OfferDlc, attestation: &OracleAttestation) -> Result<Place, ContractError> {
    let ContractInfo::DisjointContractInfo(disjoint) = &offer.contract_info else {
        return Err(ContractError::field("offer", "contract_info", "a single event", "several"));
    };
    let none = || ContractError::Attestation {
        event: attestation.event_id.clone(),
        reason: "no clause of this contract settles on it".into(),
    };
    let total = disjoint.total_collateral;
    let (index, clause, announcement) = disjoint
        .contract_infos
        .iter()
        .enumerate()
        .filter_map(|(index, clause)| Some((index, clause, announcement(clause)?)))
        .find(|(_, _, announcement)| announcement.oracle_event.event_id == attestation.event_id)
        .ok_or_else(none)?;
    verify::verify_attestation(attestation, announcement)
        .map_err(|e| ContractError::Attestation { event: attestation.event_id.clone(), reason: e.to_string() })?;
    let (signature, lender, count) = match &clause.contract_descriptor {
        // Before the fixing every clause has one outcome, so its index is its signature's.
        ContractDescriptor::EnumeratedContractDescriptor(single) => {
            require("contract_info", "outcomes", single.payouts.len(), 1)?;
            let outcome = single.payouts.first().ok_or_else(none)?;
            (index, total.checked_sub(outcome.offer_payout).ok_or_else(none)?, 1)
        }
        ContractDescriptor::NumericOutcomeContractDescriptor(numeric) => {
            let dollars = verify::fixing_dollars(attestation).ok_or_else(none)?;
            let (before, length, borrower) = step(&numeric.payout_function, dollars).ok_or_else(none)?;
            (index + before, total.checked_sub(borrower).ok_or_else(none)?, length)
        }
    };
    let borrower = total.checked_sub(lender).ok_or_else(none)?;
    let signatures = attestation.signatures.iter().take(count).copied().collect();
    Ok(Place::new(signature, Payout { borrower, lender }, signatures))
}

fn announcement(clause: &ContractInfoInner) -> Option<&OracleAnnouncement> {
    match &clause.oracle_info {
        OracleInfo::Single(single) => Some(&single.oracle_announcement),
        OracleInfo::Multi(_) => None,
    }
}

/// Of a step function: how many prefixes come before the one that covers `dollars`, its length, and what the
/// borrower gets there.
fn step(function: &PayoutFunction, dollars: u32) -> Option<(usize, usize, Amount)> {
    let points: Vec<(u32, Amount)> = function
        .payout_function_pieces
        .iter()
        .map(|piece| &piece.end_point)
        .chain([&function.last_endpoint])
        .map(|point| Some((u32::try_from(point.event_outcome).ok()?, point.outcome_payout)))
        .collect::<Option<_>>()?;
    let mut before = 0;
    let mut rest = points.as_slice();
    while let Some(((first, payout), after)) = rest.split_first() {
        // A step ends where the payout changes.
        let same = after.iter().take_while(|(_, other)| other == payout).count();
        let (inside, next) = after.split_at_checked(same)?;
        let last = inside.last().map_or(*first, |(last, _)| *last).min(FIXING_MAX);
        for prefix in prefixes(*first, last) {
            if covers(&prefix, dollars) {
                return Some((before, prefix.len(), *payout));
            }
            before += 1;
        }
        rest = next;
    }
    None
}

/// Do the binary digits of `dollars` begin with `prefix`?
fn covers(prefix: &[usize], dollars: u32) -> bool {
    let digits = u32::from(hypothec_oracle::event::FIXING_DIGITS);
    (0..digits).rev().zip(prefix).all(|(bit, digit)| (dollars >> bit & 1) as usize == *digit)
}
