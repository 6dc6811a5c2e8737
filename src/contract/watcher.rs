//! What a keyless watcher does: the three DLC messages and the oracles' attestations make a complete exit.
//!
//! It knows no terms and holds no key. Whoever holds the messages can complete the exit that was attested, and no
//! other: both adaptor signatures of that outcome open with the oracles' signatures, and with nothing else. The messages
//! do not say of which version the CETs are; the lender's signature of the refund does.

use super::build;
use super::clauses::{differ, Clause};
use super::error::{guarded, require, require_bytes, shortened, ContractError};
use super::fallback::check_half;
use super::settle::{settle_without_keys, Place, Plan, VerifiedAttestation};
use super::sign::contract_id;
use super::skeleton::Skeleton;
use super::wire;
use crate::loan::curve::Interval;
use crate::loan::payout::Payout;
use crate::loan::quorum::Quorum;
use crate::loan::version::{TRANSACTION_VERSION, TRANSACTION_VERSION_BEFORE};
use bitcoin::{Amount, Transaction};
use dlc_messages::contract_msgs::{ContractDescriptor, ContractInfo, ContractInfoInner, PayoutFunction};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation, OracleInfo};
use dlc_messages::{AcceptDlc, OfferDlc, SignDlc};
use hypothec_oracle::event::{FIXING_DIGITS, FIXING_MAX};
use secp256k1_zkp::EcdsaAdaptorSignature;

/// The signed transaction that attestations of one event unlock, from the messages' bytes alone. With several oracles
/// as many attestations as must agree, or more, in any order.
///
/// # Errors
/// When the messages do not belong together, or the attestations are of no clause of theirs, not its oracles' words,
/// too few, or of prices too far apart.
pub fn settle(
    offer: &[u8],
    accept: &[u8],
    sign: &[u8],
    attestations: &[OracleAttestation],
) -> Result<Transaction, ContractError> {
    let offer: OfferDlc = wire::read(offer)?;
    let accept: AcceptDlc = wire::read(accept)?;
    let sign: SignDlc = wire::read(sign)?;
    let skeleton = skeleton(&offer, &accept, &sign)?;
    let place = place(&offer, attestations)?;
    let borrowers: Vec<EcdsaAdaptorSignature> = (&sign.cet_adaptor_signatures).into();
    let lenders: Vec<EcdsaAdaptorSignature> = (&accept.cet_adaptor_signatures).into();
    settle_without_keys(&skeleton, &borrowers, &lenders, &place)
}

/// The contract of messages that belong together, its exits of the version that both signed.
pub(super) fn skeleton(offer: &OfferDlc, accept: &AcceptDlc, sign: &SignDlc) -> Result<Skeleton, ContractError> {
    require_bytes("accept", "temporary_contract_id", &accept.temporary_contract_id, &offer.temporary_contract_id)?;
    require("offer", "cet_locktime", offer.cet_locktime, 0)?;
    // No CET is needed: the one that settles is made from the skeleton.
    let transactions = guarded(|| build::transactions(&[], offer, accept))?;
    let mut refused = None;
    for version in [TRANSACTION_VERSION, TRANSACTION_VERSION_BEFORE] {
        let skeleton = Skeleton::of(offer, accept, &transactions, version)?;
        let refund = Transaction { version: skeleton.version(), ..transactions.refund.clone() };
        let signature = &accept.refund_signature;
        match check_half("refund", &refund, 0, &skeleton, &accept.funding_pubkey, signature) {
            Ok(()) => {
                let id = contract_id(skeleton.funding, offer.temporary_contract_id);
                require_bytes("sign", "contract_id", &sign.contract_id, &id)?;
                return Ok(skeleton);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or(ContractError::OutOfRange("the version of the exits")))
}

/// Finds the attested clause in the offer, and in it the signature and the payout.
fn place(offer: &OfferDlc, attestations: &[OracleAttestation]) -> Result<Place, ContractError> {
    let ContractInfo::DisjointContractInfo(disjoint) = &offer.contract_info else {
        return Err(ContractError::field("offer", "contract_info", "a single event", "several"));
    };
    let event = attestations.first().map(|attestation| attestation.event_id.clone()).unwrap_or_default();
    let none = || ContractError::Attestation {
        event: shortened(&event),
        reason: "no clause of this contract settles on it".into(),
    };
    let total = disjoint.total_collateral;
    // Touches, then the receipt, then the fixing.
    let [touches @ .., receipt, fixing] = disjoint.contract_infos.as_slice() else { return Err(none()) };
    let quorum = quorum(fixing)?;
    let names = |clause: &ContractInfoInner| {
        announced(clause).first().is_some_and(|announcement| announcement.oracle_event.event_id == event)
    };
    let clauses = touches.iter().enumerate().map(|(index, clause)| (Clause::Touch { index }, clause));
    let (clause, info) = clauses
        .chain([(Clause::Receipt, receipt), (Clause::Fixing, fixing)])
        .find(|(_, clause)| names(clause))
        .ok_or_else(none)?;
    let attested = VerifiedAttestation::check_against(&announced(info), clause, attestations.to_vec())?;
    let pays = |borrower: Amount| Some(Payout { borrower, lender: total.checked_sub(borrower)? });
    let (split, steps) = match &info.contract_descriptor {
        ContractDescriptor::EnumeratedContractDescriptor(single) => {
            require("contract_info", "outcomes", single.payouts.len(), 1)?;
            let outcome = single.payouts.first().ok_or_else(none)?;
            (Some(pays(outcome.offer_payout).ok_or_else(none)?), Vec::new())
        }
        ContractDescriptor::NumericOutcomeContractDescriptor(numeric) => {
            (None, steps(&numeric.payout_function, total).ok_or_else(none)?)
        }
    };
    Plan { quorum, touches: touches.len(), fixing: &steps, total }.place(&attested, split)
}

/// Who announced what a clause settles on.
pub(super) fn announced(clause: &ContractInfoInner) -> Vec<&OracleAnnouncement> {
    match &clause.oracle_info {
        OracleInfo::Single(single) => vec![&single.oracle_announcement],
        OracleInfo::Multi(several) => several.oracle_announcements.iter().collect(),
    }
}

/// How many oracles settle the fixing, and so every touch. Only our own way of letting prices differ is known here.
fn quorum(fixing: &ContractInfoInner) -> Result<Quorum, ContractError> {
    let OracleInfo::Multi(several) = &fixing.oracle_info else {
        return Ok(Quorum { oracles: 1, threshold: 1, support_exp: 0 });
    };
    let params = several.oracle_params.as_ref();
    let quorum = Quorum {
        oracles: several.oracle_announcements.len(),
        threshold: usize::from(several.threshold),
        support_exp: params.map_or(0, |params| params.min_fail_exp).min(FIXING_DIGITS - 2),
    };
    match params == Some(&differ(quorum)) {
        true => Ok(quorum),
        false => {
            let right = "those of half a percent, as our contracts have them";
            Err(ContractError::field("contract_info", "oracle_params", "others", right))
        }
    }
}

/// The steps of a step function: neighbours that pay alike are one.
fn steps(function: &PayoutFunction, total: Amount) -> Option<Vec<Interval>> {
    let points = function.payout_function_pieces.iter().map(|piece| &piece.end_point).chain([&function.last_endpoint]);
    let mut steps: Vec<Interval> = Vec::new();
    for point in points {
        let price = u32::try_from(point.event_outcome).ok()?.min(FIXING_MAX);
        let lender = total.checked_sub(point.outcome_payout)?;
        match steps.last_mut().filter(|step| step.lender == lender) {
            Some(step) => step.last = price,
            None => steps.push(Interval { first: price, last: price, lender }),
        }
    }
    Some(steps)
}
