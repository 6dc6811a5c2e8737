//! The DLC sign and the borrower's fallback signature; then the lender's completion of the funding transaction.

use super::adaptor;
use super::build::{self, Built};
use super::clauses::{Announcements, Payouts};
use super::error::{require, require_bytes, ContractError};
use super::fallback;
use super::offer::FundingCoin;
use super::wire;
use crate::loan::terms::Terms;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{SecretKey, SECP256K1};
use bitcoin::{OutPoint, Psbt, Transaction, TxOut, Witness};
use ddk::contract::advanced::funding_signatures_from_witnesses;
use dlc_messages::{AcceptDlc, CetAdaptorSignatures, FundingInput, OfferDlc, SignDlc};
use secp256k1_zkp::EcdsaAdaptorSignature;

/// What the borrower sends back.
pub struct Signed {
    /// The message, with the borrower's witnesses of the funding transaction.
    pub sign: SignDlc,
    /// The borrower's half of the fallback.
    pub fallback: Signature,
}

/// Signs a checked contract. `psbt` is [`Built::funding_psbt`] with the borrower's inputs finalised.
///
/// From here on the lender can fund the contract.
pub fn make(built: &Built, offer: &OfferDlc, key: &SecretKey, psbt: &Psbt) -> Result<Signed, ContractError> {
    if psbt.unsigned_tx != built.transactions.fund {
        return Err(ContractError::field("PSBT", "transaction", "another", "the funding transaction"));
    }
    let witnesses =
        offer.funding_inputs.iter().map(|input| own_witness(built, input, psbt)).collect::<Result<Vec<_>, _>>()?;
    let signatures = adaptor::sign(&built.slots, built.signing(), key)?;
    let sign = SignDlc {
        protocol_version: offer.protocol_version,
        contract_id: contract_id(built.skeleton.funding, offer.temporary_contract_id),
        cet_adaptor_signatures: CetAdaptorSignatures::from(signatures.as_slice()),
        refund_signature: fallback::half_signature(&built.transactions.refund, 0, &built.skeleton, key)?,
        funding_signatures: funding_signatures_from_witnesses(witnesses),
        tlvs: Default::default(),
    };
    Ok(Signed { sign, fallback: fallback::half_signature(&built.fallback, 0, &built.skeleton, key)? })
}

/// A sign that can be completed.
pub struct CheckedSign {
    /// The message.
    pub sign: SignDlc,
    /// The contract.
    pub built: Built,
}

/// Reads a sign and requires every signature in it, the funding witnesses among them.
///
/// Our own adaptor signatures, made a moment ago and kept, are not verified again.
pub fn check(
    terms: &Terms,
    announcements: &Announcements,
    offer: &OfferDlc,
    accept: &AcceptDlc,
    bytes: &[u8],
    fallback: &Signature,
) -> Result<CheckedSign, ContractError> {
    check_with(Payouts::of(terms)?, terms, announcements, offer, accept, bytes, fallback)
}

/// [`check`] with payouts computed before.
pub fn check_with(
    payouts: Payouts,
    terms: &Terms,
    announcements: &Announcements,
    offer: &OfferDlc,
    accept: &AcceptDlc,
    bytes: &[u8],
    fallback: &Signature,
) -> Result<CheckedSign, ContractError> {
    const SIGN: &str = "sign";
    let sign: SignDlc = wire::read(bytes)?;
    let built = Built::rebuild(terms, announcements, payouts, offer, accept)?;
    require(SIGN, "protocol_version", sign.protocol_version, offer.protocol_version)?;
    let id = contract_id(built.skeleton.funding, offer.temporary_contract_id);
    require_bytes(SIGN, "contract_id", &sign.contract_id, &id)?;
    if !sign.tlvs.is_empty() {
        return Err(ContractError::field(SIGN, "tlvs", "records", "none: nobody asked for any"));
    }
    let key = &offer.funding_pubkey;
    fallback::check_half("refund", &built.transactions.refund, 0, &built.skeleton, key, &sign.refund_signature)?;
    fallback::check_half("fallback", &built.fallback, 0, &built.skeleton, key, fallback)?;
    check_witnesses(&built, offer, accept, &sign)?;
    let signatures: Vec<EcdsaAdaptorSignature> = (&sign.cet_adaptor_signatures).into();
    adaptor::verify(&built.slots, built.signing(), key, &signatures)?;
    Ok(CheckedSign { sign, built })
}

/// The funding transaction, complete: the borrower's witnesses from the message, the lender's from `psbt`.
pub fn complete(
    checked: &CheckedSign,
    offer: &OfferDlc,
    accept: &AcceptDlc,
    psbt: &Psbt,
) -> Result<Transaction, ContractError> {
    let built = &checked.built;
    let mut funding = built.transactions.fund.clone();
    if psbt.unsigned_tx != funding {
        return Err(ContractError::field("PSBT", "transaction", "another", "the funding transaction"));
    }
    let theirs = offer.funding_inputs.iter().zip(&checked.sign.funding_signatures.funding_signatures);
    let mut witnesses: Vec<(&FundingInput, Witness)> =
        theirs.map(|(input, signature)| (input, message_witness(signature))).collect();
    for input in &accept.funding_inputs {
        witnesses.push((input, own_witness(built, input, psbt)?));
    }
    for (input, witness) in witnesses {
        let place = built.input_index(build::previous(input)?.0)?;
        if let Some(slot) = funding.input.get_mut(place) {
            slot.witness = witness;
        }
    }
    Ok(funding)
}

/// The DLC contract id: funding txid, output index and temporary id (the loan's) folded together.
pub fn contract_id(funding: OutPoint, temporary: [u8; 32]) -> [u8; 32] {
    let txid = bitcoin::hashes::Hash::to_byte_array(funding.txid);
    let mut id = temporary;
    for (byte, other) in id.iter_mut().zip(txid.iter().rev()) {
        *byte ^= other;
    }
    let vout = funding.vout.to_be_bytes();
    for (byte, other) in id.iter_mut().rev().zip(vout.iter().rev()).take(2) {
        *byte ^= other;
    }
    id
}

fn own_witness(built: &Built, input: &FundingInput, psbt: &Psbt) -> Result<Witness, ContractError> {
    let (outpoint, _) = build::previous(input)?;
    let place = built.input_index(outpoint)?;
    psbt.inputs
        .get(place)
        .and_then(|input| input.final_script_witness.clone())
        .filter(|witness| !witness.is_empty())
        .ok_or_else(|| ContractError::field("PSBT", "witness", "none", format!("one for {outpoint}")))
}

fn message_witness(signature: &dlc_messages::FundingSignature) -> Witness {
    let elements: Vec<&[u8]> = signature.witness_elements.iter().map(|element| element.witness.as_slice()).collect();
    Witness::from_slice(&elements)
}

fn check_witnesses(built: &Built, offer: &OfferDlc, accept: &AcceptDlc, sign: &SignDlc) -> Result<(), ContractError> {
    let signatures = &sign.funding_signatures.funding_signatures;
    require("sign", "funding_signatures", signatures.len(), offer.funding_inputs.len())?;
    let prevouts = prevouts(built, offer, accept)?;
    for (input, signature) in offer.funding_inputs.iter().zip(signatures) {
        let place = built.input_index(build::previous(input)?.0)?;
        let witness = message_witness(signature);
        dlc::verify_funding_witness(SECP256K1, &built.transactions.fund, place, &input.into(), &prevouts, &witness)
            .map_err(|e| {
                ContractError::field("sign", "funding_signatures", e, "a witness that spends the offered coin")
            })?;
    }
    Ok(())
}

/// The outputs the funding transaction spends, in its order.
fn prevouts(built: &Built, offer: &OfferDlc, accept: &AcceptDlc) -> Result<Vec<TxOut>, ContractError> {
    let mut outputs: Vec<(usize, TxOut)> = Vec::new();
    for input in offer.funding_inputs.iter().chain(&accept.funding_inputs) {
        let (outpoint, previous) = build::previous(input)?;
        outputs.push((built.input_index(outpoint)?, build::output(&previous, input.prev_tx_vout)?.clone()));
    }
    outputs.sort_by_key(|(place, _)| *place);
    Ok(outputs.into_iter().map(|(_, output)| output).collect())
}

/// The coins an offer or accept spends, from the coins' own transactions.
pub fn outpoints(coins: &[FundingCoin]) -> Vec<OutPoint> {
    coins.iter().map(FundingCoin::outpoint).collect()
}
