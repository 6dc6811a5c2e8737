//! Settling: from an attestation and signatures exchanged long ago to a transaction anyone can broadcast.
//!
//! Nothing is negotiated, rebuilt or verified again here: one decryption, one signature.

use super::adaptor;
use super::clauses::{Announcements, Clause, Payouts};
use super::error::ContractError;
use super::receipt;
use super::skeleton::Skeleton;
use super::Role;
use crate::loan::payout::Payout;
use crate::loan::terms::Terms;
use bitcoin::secp256k1::schnorr;
use bitcoin::Transaction;
use dlc_messages::oracle_msgs::OracleAttestation;
use hypothec_oracle::verify;
use secp256k1_zkp::{EcdsaAdaptorSignature, Scalar, SecretKey};

/// An attestation proved to be the announced oracle's word on one clause of a contract.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedAttestation {
    clause: Clause,
    attestation: OracleAttestation,
}

impl VerifiedAttestation {
    /// Checks event id, key, nonces, count, outcome membership and every signature against the clause's announcement.
    pub fn check(
        announcements: &Announcements,
        clause: Clause,
        attestation: OracleAttestation,
    ) -> Result<VerifiedAttestation, ContractError> {
        let announcement = match clause {
            Clause::Touch { index } => announcements.touches.get(index).map(|proven| &proven.announcement),
            Clause::Receipt => Some(&announcements.receipt),
            Clause::Fixing => Some(&announcements.fixing.announcement),
        }
        .ok_or(ContractError::OutOfRange("the day of a touch"))?;
        verify::verify_attestation(&attestation, announcement).map_err(|e| ContractError::Attestation {
            event: announcement.oracle_event.event_id.clone(),
            reason: e.to_string(),
        })?;
        Ok(VerifiedAttestation { clause, attestation })
    }

    /// The clause it settles.
    pub fn clause(&self) -> Clause {
        self.clause
    }

    /// The attestation itself.
    pub fn attestation(&self) -> &OracleAttestation {
        &self.attestation
    }

    /// The price of a fixing in whole dollars; `None` for other clauses.
    pub fn fixing_dollars(&self) -> Option<u32> {
        match self.clause {
            Clause::Fixing => verify::fixing_dollars(&self.attestation),
            Clause::Touch { .. } | Clause::Receipt => None,
        }
    }
}

/// Where an attestation leads: which signature it unlocks and what that pays.
pub struct Place {
    /// Index into each party's adaptor signatures.
    pub signature: usize,
    /// What the CET pays.
    pub split: Payout,
    oracle_signatures: Vec<schnorr::Signature>,
}

impl Place {
    /// A place found by other means than our own terms.
    pub(super) fn new(signature: usize, split: Payout, oracle_signatures: Vec<schnorr::Signature>) -> Place {
        Place { signature, split, oracle_signatures }
    }
}

/// Finds the signature and the split an attestation selects.
pub fn place(terms: &Terms, payouts: &Payouts, attested: &VerifiedAttestation) -> Result<Place, ContractError> {
    let signatures = &attested.attestation.signatures;
    match attested.clause {
        Clause::Touch { index } => {
            let split = *payouts.touches.get(index).ok_or(ContractError::OutOfRange("the day of a touch"))?;
            Ok(Place { signature: index, split, oracle_signatures: signatures.clone() })
        }
        Clause::Receipt => {
            let id = receipt::event_id(&terms.id());
            super::error::require("attestation", "event_id", &attested.attestation.event_id, &id)?;
            let signature = payouts.touches.len();
            Ok(Place { signature, split: payouts.receipt, oracle_signatures: signatures.clone() })
        }
        Clause::Fixing => fixing_place(payouts, attested),
    }
}

fn fixing_place(payouts: &Payouts, attested: &VerifiedAttestation) -> Result<Place, ContractError> {
    let dollars = attested.fixing_dollars().ok_or(ContractError::OutOfRange("the fixing"))?;
    let (step, interval) = payouts.fixing_step(dollars).ok_or(ContractError::OutOfRange("the fixing"))?;
    let before: usize =
        payouts.fixing.iter().take(step).map(|interval| adaptor::prefixes(interval.first, interval.last).len()).sum();
    let digits: Vec<usize> = attested.attestation.outcomes.iter().map(|digit| usize::from(digit == "1")).collect();
    let (within, prefix) = adaptor::prefixes(interval.first, interval.last)
        .into_iter()
        .enumerate()
        .find(|(_, prefix)| digits.starts_with(prefix))
        .ok_or(ContractError::OutOfRange("the fixing"))?;
    let lender = interval.lender;
    let borrower = payouts.total.checked_sub(lender).ok_or(ContractError::OutOfRange("the payout of the fixing"))?;
    Ok(Place {
        signature: payouts.touches.len() + 1 + before + within,
        split: Payout { lender, borrower },
        oracle_signatures: attested.attestation.signatures.iter().take(prefix.len()).copied().collect(),
    })
}

/// Settles with our own key and the counterparty's adaptor signatures.
pub fn settle(
    skeleton: &Skeleton,
    role: Role,
    key: &SecretKey,
    theirs: &[EcdsaAdaptorSignature],
    place: &Place,
) -> Result<Transaction, ContractError> {
    let signature = theirs.get(place.signature).ok_or(ContractError::OutOfRange("the adaptor signature"))?;
    let their_key = match role {
        Role::Borrower => &skeleton.lender_key,
        Role::Lender => &skeleton.borrower_key,
    };
    let mut cet = skeleton.cet(&place.split)?;
    dlc::sign_cet(
        secp256k1_zkp::SECP256K1,
        &mut cet,
        signature,
        std::slice::from_ref(&place.oracle_signatures),
        key,
        their_key,
        &skeleton.witness_script,
        skeleton.funding_value,
    )?;
    Ok(cet)
}

/// Settles with no key at all: both parties' adaptor signatures stand in the three messages, and one attestation
/// unlocks both.
pub fn settle_without_keys(
    skeleton: &Skeleton,
    borrowers: &[EcdsaAdaptorSignature],
    lenders: &[EcdsaAdaptorSignature],
    place: &Place,
) -> Result<Transaction, ContractError> {
    let secret = secret(&place.oracle_signatures)?;
    let open = |signatures: &[EcdsaAdaptorSignature]| {
        let signature = signatures.get(place.signature).ok_or(ContractError::OutOfRange("the adaptor signature"))?;
        signature.decrypt(&secret).map_err(|e| ContractError::Library(e.to_string()))
    };
    let (borrower, lender) = (open(borrowers)?, open(lenders)?);
    super::fallback::complete(skeleton.cet(&place.split)?, 0, skeleton, borrower, lender)
}

/// The sum of the signatures' `s` values: the secret of the adaptor point.
fn secret(signatures: &[schnorr::Signature]) -> Result<SecretKey, ContractError> {
    let failed = |_| ContractError::OutOfRange("the oracle's signature");
    let mut sum: Option<SecretKey> = None;
    for signature in signatures {
        let s = signature.as_ref().get(32..).ok_or(ContractError::OutOfRange("the oracle's signature"))?;
        let s = SecretKey::from_slice(s).map_err(failed)?;
        sum = Some(match sum {
            None => s,
            Some(sum) => sum.add_tweak(&Scalar::from(s)).map_err(failed)?,
        });
    }
    sum.ok_or(ContractError::OutOfRange("the oracle's signature"))
}
