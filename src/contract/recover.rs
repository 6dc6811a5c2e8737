//! A signed contract given back by the other side to a party that has only its keys left, and believed in nothing.
//!
//! Everything is made again from the terms and compared: the announcements with their nonce proofs, the contract, every
//! signature of both sides. Whether the funding transaction is on the chain and whose coins it spent is left to the caller.

use super::clauses::{Announcements, OracleAnnouncements};
use super::error::ContractError;
use super::skeleton::Skeleton;
use super::{accept, build, offer, sign, watcher, wire, Role};
use crate::loan::terms::Terms;
use crate::loan::tlv::Bytes;
use crate::tlv_struct;
use bitcoin::secp256k1::{ecdsa, schnorr};
use bitcoin::{OutPoint, TxOut};
use dlc_messages::contract_msgs::{ContractInfo, ContractInfoInner};
use dlc_messages::oracle_msgs::OracleAnnouncement;
use dlc_messages::{AcceptDlc, FundingInput, OfferDlc};
use hypothec_oracle::announce::ProvenAnnouncement;

/// The most bytes of a loan's file that are given or taken.
pub const MOST_BYTES: usize = 7_000_000;
/// Bytes of a BIP 340 signature.
const PROOF: usize = 64;

tlv_struct! {
    /// All that settles a signed loan, as one side gives it back to the other.
    pub struct LoanFile {
        /// The terms, encoded.
        0 => pub terms: Bytes,
        /// The DLC offer, type in front.
        2 => pub offer: Bytes,
        /// The DLC accept, type in front.
        4 => pub accept: Bytes,
        /// The DLC sign, type in front.
        6 => pub sign: Bytes,
        /// The borrower's half of the fallback.
        8 => pub borrower_fallback: ecdsa::Signature,
        /// The lender's half of the fallback.
        10 => pub lender_fallback: ecdsa::Signature,
        /// The nonce proofs, 64 bytes each: of each oracle in the terms' order, of each of its touches by day, then of its
        /// fixing, in the order of the nonces. The announcements themselves stand in the offer.
        12 => pub proofs: Bytes,
    }
}

/// What a file says by itself, cheap to read and not yet checked.
pub struct Outline {
    /// Of the contract it would be.
    pub skeleton: Skeleton,
    /// What each side's coins in the funding transaction were, borrower's and lender's: as their own transactions say.
    coins: [Vec<TxOut>; 2],
}

impl Outline {
    /// Reads the messages of a file, which must belong together.
    ///
    /// # Errors
    /// What cannot be read, or does not belong together.
    pub fn read(file: &LoanFile) -> Result<Outline, ContractError> {
        let (offer, accept): (OfferDlc, AcceptDlc) = (wire::read(&file.offer.0)?, wire::read(&file.accept.0)?);
        for inputs in [&offer.funding_inputs, &accept.funding_inputs] {
            wire::check_inputs("funding", inputs)?;
        }
        let skeleton = watcher::skeleton(&offer, &accept, &wire::read(&file.sign.0)?)?;
        Ok(Outline { skeleton, coins: [coins(&offer.funding_inputs)?, coins(&accept.funding_inputs)?] })
    }

    /// The coins that one side brought.
    pub fn coins_of(&self, role: Role) -> &[TxOut] {
        let [borrower, lender] = &self.coins;
        match role {
            Role::Borrower => borrower,
            Role::Lender => lender,
        }
    }
}

fn coins(inputs: &[FundingInput]) -> Result<Vec<TxOut>, ContractError> {
    let coin = |input: &FundingInput| {
        let (_, previous) = build::previous(input)?;
        Ok(build::output(&previous, input.prev_tx_vout)?.clone())
    };
    inputs.iter().map(coin).collect()
}

/// A contract that both sides signed, made again.
pub struct Recovered {
    /// What it is locked to.
    pub announcements: Announcements,
    /// What settling needs.
    pub skeleton: Skeleton,
    /// The borrower's coins in the funding transaction.
    pub borrower_coins: Vec<(OutPoint, TxOut)>,
    /// The lender's.
    pub lender_coin: (OutPoint, TxOut),
}

/// Makes the contract of `terms` again and requires every field and every signature of it, of either side.
///
/// # Errors
/// What is not as the terms have it, by message and field.
pub fn check(terms: &Terms, file: &LoanFile) -> Result<Recovered, ContractError> {
    terms.check()?;
    let read: OfferDlc = wire::read(&file.offer.0)?;
    let announcements = announcements(terms, &read, &file.proofs.0)?;
    let offered = offer::check(terms, &announcements, &file.offer.0)?;
    let accepted = accept::check(terms, &announcements, &offered.offer, &file.accept.0, &file.lender_fallback)?;
    let fallback = &file.borrower_fallback;
    sign::check(terms, &announcements, &offered.offer, &accepted.accept, &file.sign.0, fallback)?;
    Ok(Recovered {
        announcements,
        skeleton: accepted.built.skeleton,
        borrower_coins: offered.coins,
        lender_coin: accepted.coin,
    })
}

/// The nonce proofs of a contract, as [`LoanFile`] has them.
pub fn proofs(announcements: &Announcements) -> Vec<u8> {
    let announced = announcements.oracles.iter().flat_map(|oracle| oracle.touches.iter().chain([&oracle.fixing]));
    announced.flat_map(|proven| &proven.nonce_proofs).flat_map(|proof| proof.serialize()).collect()
}

/// The announcements that an offer names, with their proofs; not yet held against the terms.
fn announcements(terms: &Terms, offer: &OfferDlc, proofs: &[u8]) -> Result<Announcements, ContractError> {
    let right = "the clauses that the terms call for";
    let wrong = |found: String| ContractError::field("offer", "contract_info", found, right);
    let ContractInfo::DisjointContractInfo(disjoint) = &offer.contract_info else {
        return Err(wrong("a single event".into()));
    };
    let [touches @ .., receipt, fixing] = disjoint.contract_infos.as_slice() else {
        return Err(wrong(format!("{} clauses", disjoint.contract_infos.len())));
    };
    let mut proofs = Proofs(proofs);
    let oracles = (0..terms.oracles.len())
        .map(|oracle| {
            let mut proven = |clause: &ContractInfoInner| {
                let announced = watcher::announced(clause);
                proofs.of(announced.get(oracle).ok_or_else(|| wrong(format!("{} oracles", announced.len())))?)
            };
            let touches = touches.iter().map(&mut proven).collect::<Result<_, _>>()?;
            Ok(OracleAnnouncements { touches, fixing: proven(fixing)? })
        })
        .collect::<Result<_, ContractError>>()?;
    proofs.end()?;
    let receipt = watcher::announced(receipt).first().map(|receipt| (*receipt).clone());
    Ok(Announcements { oracles, receipt: receipt.ok_or_else(|| wrong("a receipt of nobody".into()))? })
}

/// Proofs not yet given to an announcement.
struct Proofs<'a>(&'a [u8]);

impl Proofs<'_> {
    /// The announcement with the next proofs, one for each of its nonces.
    fn of(&mut self, announcement: &OracleAnnouncement) -> Result<ProvenAnnouncement, ContractError> {
        let nonces = announcement.oracle_event.oracle_nonces.len();
        let length = nonces.saturating_mul(PROOF);
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| wrong_proofs("too few"))?;
        self.0 = rest;
        let nonce_proofs = taken
            .chunks(PROOF)
            .map(|bytes| schnorr::Signature::from_slice(bytes).map_err(|_| wrong_proofs("no signature")))
            .collect::<Result<_, _>>()?;
        Ok(ProvenAnnouncement { announcement: announcement.clone(), nonce_proofs })
    }

    fn end(&self) -> Result<(), ContractError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(wrong_proofs("too many")),
        }
    }
}

fn wrong_proofs(found: &str) -> ContractError {
    ContractError::field("loan file", "proofs", found, "64 bytes for each nonce of the announcements")
}
