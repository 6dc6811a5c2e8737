//! Settling: from attestations and signatures exchanged long ago to a transaction anyone can broadcast.
//!
//! Nothing is negotiated, rebuilt or verified again here: one decryption, one signature.

use super::clauses::{Announcements, Clause, Payouts};
use super::difference;
use super::error::{shortened, ContractError};
use super::receipt;
use super::skeleton::Skeleton;
use super::Role;
use crate::loan::curve::Interval;
use crate::loan::payout::Payout;
use crate::loan::quorum::Quorum;
use crate::loan::terms::Terms;
use bitcoin::secp256k1::schnorr;
use bitcoin::{Amount, Transaction};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use hypothec_oracle::verify;
use secp256k1_zkp::{EcdsaAdaptorSignature, Scalar, SecretKey};

/// Attestations proved to be the announced oracles' words on one clause of a contract.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedAttestation {
    clause: Clause,
    /// Each oracle's index and its word, by ascending index.
    said: Vec<(usize, OracleAttestation)>,
}

impl VerifiedAttestation {
    /// One oracle's word: checks event id, key, nonces, count, outcome membership and every signature against the
    /// clause's announcement of the oracle whose key it names.
    pub fn check(
        announcements: &Announcements,
        clause: Clause,
        attestation: OracleAttestation,
    ) -> Result<VerifiedAttestation, ContractError> {
        VerifiedAttestation::check_all(announcements, clause, vec![attestation])
    }

    /// Several oracles' words on one clause, in any order, each oracle once.
    pub fn check_all(
        announcements: &Announcements,
        clause: Clause,
        attestations: Vec<OracleAttestation>,
    ) -> Result<VerifiedAttestation, ContractError> {
        VerifiedAttestation::check_against(&announcements.of(clause), clause, attestations)
    }

    /// [`VerifiedAttestation::check_all`] against the clause's own announcements, in the order of their oracles.
    pub(super) fn check_against(
        announced: &[&OracleAnnouncement],
        clause: Clause,
        attestations: Vec<OracleAttestation>,
    ) -> Result<VerifiedAttestation, ContractError> {
        let mut said: Vec<(usize, OracleAttestation)> = Vec::with_capacity(attestations.len());
        for attestation in attestations {
            let refuse =
                |reason: String| ContractError::Attestation { event: shortened(&attestation.event_id), reason };
            let key = attestation.oracle_public_key;
            let (index, announcement) = announced
                .iter()
                .enumerate()
                .find(|(_, announcement)| announcement.oracle_public_key == key)
                .ok_or_else(|| refuse(format!("oracle {key} is none of this clause")))?;
            verify::verify_attestation(&attestation, announcement).map_err(|e| refuse(e.to_string()))?;
            if said.iter().any(|(known, _)| *known == index) {
                return Err(refuse(format!("oracle {key} is counted twice")));
            }
            said.push((index, attestation));
        }
        if said.is_empty() {
            return Err(ContractError::OutOfRange("the number of attestations"));
        }
        // The library's points, and which price pays, go by index.
        said.sort_by_key(|(index, _)| *index);
        Ok(VerifiedAttestation { clause, said })
    }

    /// The clause it settles.
    pub fn clause(&self) -> Clause {
        self.clause
    }

    /// The attestations themselves, by ascending index of their oracles.
    pub fn attestations(&self) -> Vec<OracleAttestation> {
        self.said.iter().map(|(_, attestation)| attestation.clone()).collect()
    }

    /// What each oracle said of the price: index and whole dollars. Empty for other clauses than the fixing.
    pub fn fixing_dollars(&self) -> Vec<(usize, u32)> {
        let dollars = |(index, attestation): &(usize, OracleAttestation)| match self.clause {
            Clause::Fixing => verify::fixing_dollars(attestation).map(|dollars| (*index, dollars)),
            Clause::Touch { .. } | Clause::Receipt => None,
        };
        self.said.iter().filter_map(dollars).collect()
    }

    fn signatures_of(&self, oracle: usize) -> Option<&[schnorr::Signature]> {
        self.said.iter().find(|(index, _)| *index == oracle).map(|(_, said)| said.signatures.as_slice())
    }
}

/// Where attestations lead: which signature they unlock and what that pays.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Index into each party's adaptor signatures.
    pub signature: usize,
    /// What the CET pays.
    pub split: Payout,
    /// The price that pays, in whole dollars; `None` for other clauses than the fixing.
    pub dollars: Option<u32>,
    /// For each oracle of the group, by index, the signatures needed of it.
    oracle_signatures: Vec<Vec<schnorr::Signature>>,
}

/// How the oracles of a contract settle it, however that is known: from the terms, or from the messages alone.
pub(super) struct Plan<'a> {
    pub quorum: Quorum,
    /// How many touches there are.
    pub touches: usize,
    /// The fixing's steps.
    pub fixing: &'a [Interval],
    pub total: Amount,
}

/// Finds the signature and the split that attestations select.
///
/// With several oracles every group of as many as the threshold is tried, by ascending index. Fails while no group
/// agrees.
pub fn place(terms: &Terms, payouts: &Payouts, attested: &VerifiedAttestation) -> Result<Place, ContractError> {
    let split = match attested.clause {
        Clause::Touch { index } => {
            Some(*payouts.touches.get(index).ok_or(ContractError::OutOfRange("the day of a touch"))?)
        }
        Clause::Receipt => {
            let id = receipt::event_id(&terms.id());
            for attestation in attested.attestations() {
                super::error::require("attestation", "event_id", &attestation.event_id, &id)?;
            }
            Some(payouts.receipt)
        }
        Clause::Fixing => None,
    };
    let plan =
        Plan { quorum: payouts.quorum, touches: payouts.touches.len(), fixing: &payouts.fixing, total: payouts.total };
    plan.place(attested, split)
}

impl Plan<'_> {
    /// `split` is what a clause of one outcome pays.
    pub(super) fn place(&self, attested: &VerifiedAttestation, split: Option<Payout>) -> Result<Place, ContractError> {
        let groups = self.quorum.groups();
        let single = |signature: usize, group: &[usize]| {
            let split = split.ok_or(ContractError::OutOfRange("the payout of a clause"))?;
            let needed: Vec<(usize, usize)> = group.iter().map(|oracle| (*oracle, 1)).collect();
            Ok(Place { signature, split, dollars: None, oracle_signatures: taken(attested, &needed)? })
        };
        let receipt = self.touches.saturating_mul(groups.len());
        match attested.clause {
            Clause::Touch { index } => {
                let oracles: Vec<usize> = attested.said.iter().map(|(index, _)| *index).collect();
                let group = oracles.get(..self.quorum.threshold).ok_or_else(|| self.too_few(attested))?;
                let place = groups.iter().position(|known| known == group);
                let place = place.ok_or(ContractError::OutOfRange("the oracles of a touch"))?;
                single(index.saturating_mul(groups.len()).saturating_add(place), group)
            }
            Clause::Receipt => single(receipt, &[0]),
            Clause::Fixing => {
                let said = attested.fixing_dollars();
                if said.len() < self.quorum.threshold {
                    return Err(self.too_few(attested));
                }
                let agreed =
                    difference::find(self.quorum, self.fixing, &said)?.ok_or_else(|| apart(attested, &said))?;
                let lender = self.fixing.get(agreed.step).map(|step| step.lender);
                let lender = lender.ok_or(ContractError::OutOfRange("the fixing"))?;
                let borrower = self.total.checked_sub(lender);
                let borrower = borrower.ok_or(ContractError::OutOfRange("the payout of the fixing"))?;
                Ok(Place {
                    signature: receipt.saturating_add(1).saturating_add(agreed.signature),
                    split: Payout { lender, borrower },
                    dollars: Some(agreed.dollars),
                    oracle_signatures: taken(attested, &agreed.digits)?,
                })
            }
        }
    }

    fn too_few(&self, attested: &VerifiedAttestation) -> ContractError {
        let (found, needed) = (attested.said.len(), self.quorum.threshold);
        refused(attested, format!("{found} of the oracles said it, {needed} must"))
    }
}

fn apart(attested: &VerifiedAttestation, said: &[(usize, u32)]) -> ContractError {
    let prices: Vec<String> = said.iter().map(|(_, dollars)| format!("${dollars}")).collect();
    refused(attested, format!("no two prices are near enough to settle: {}", prices.join(", ")))
}

fn refused(attested: &VerifiedAttestation, reason: String) -> ContractError {
    let event = attested.said.first().map(|(_, said)| shortened(&said.event_id)).unwrap_or_default();
    ContractError::Attestation { event, reason }
}

/// The first so many signatures of each of these oracles.
fn taken(
    attested: &VerifiedAttestation,
    needed: &[(usize, usize)],
) -> Result<Vec<Vec<schnorr::Signature>>, ContractError> {
    let of_one = |(oracle, count): &(usize, usize)| attested.signatures_of(*oracle)?.get(..*count).map(<[_]>::to_vec);
    needed.iter().map(of_one).collect::<Option<_>>().ok_or(ContractError::OutOfRange("the oracles' signatures"))
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
        &place.oracle_signatures,
        key,
        their_key,
        &skeleton.witness_script,
        skeleton.funding_value,
    )?;
    Ok(cet)
}

/// Settles with no key at all: both parties' adaptor signatures stand in the three messages, and the same attestations
/// unlock both.
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

/// The sum of the signatures' `s` values over all oracles: the secret of the adaptor point.
fn secret(signatures: &[Vec<schnorr::Signature>]) -> Result<SecretKey, ContractError> {
    let failed = |_| ContractError::OutOfRange("the oracle's signature");
    let mut sum: Option<SecretKey> = None;
    for signature in signatures.iter().flatten() {
        let s = signature.as_ref().get(32..).ok_or(ContractError::OutOfRange("the oracle's signature"))?;
        let s = SecretKey::from_slice(s).map_err(failed)?;
        sum = Some(match sum {
            None => s,
            Some(sum) => sum.add_tweak(&Scalar::from(s)).map_err(failed)?,
        });
    }
    sum.ok_or(ContractError::OutOfRange("the oracle's signature"))
}
