//! The DLC accept and the lender's fallback signature: made by the lender, checked by the borrower.

use super::adaptor;
use super::build::{self, Built};
use super::clauses::{Announcements, Payouts};
use super::error::{require, require_bytes, ContractError};
use super::fallback;
use super::offer::{lender_coin_value, CheckedOffer, FundingCoin};
use super::wire;
use crate::loan::terms::Terms;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{SecretKey, SECP256K1};
use bitcoin::{OutPoint, ScriptBuf, TxOut};
use dlc_messages::{AcceptDlc, CetAdaptorSignatures, OfferDlc};
use rand::Rng;
use secp256k1_zkp::{EcdsaAdaptorSignature, PublicKey};

/// What the lender brings.
pub struct AcceptParts {
    /// The lender's half of the 2-of-2.
    pub funding_key: SecretKey,
    /// Where every exit pays the lender.
    pub payout_script: ScriptBuf,
    /// One confirmed coin worth exactly [`lender_coin_value`].
    pub coin: FundingCoin,
}

/// What the lender sends back.
pub struct Accepted {
    /// The message, signed.
    pub accept: AcceptDlc,
    /// The lender's half of the fallback.
    pub fallback: Signature,
    /// The contract it belongs to.
    pub built: Built,
}

/// Accepts a checked offer: rebuilds the contract and signs every CET, the refund and the fallback.
///
/// Releases nothing that could fund the contract.
pub fn make(
    terms: &Terms,
    announcements: &Announcements,
    checked: CheckedOffer,
    parts: AcceptParts,
) -> Result<Accepted, ContractError> {
    let CheckedOffer { offer, payouts, .. } = checked;
    let mut random = rand::thread_rng();
    let mut accept = AcceptDlc {
        protocol_version: offer.protocol_version,
        temporary_contract_id: offer.temporary_contract_id,
        accept_collateral: terms.stake,
        funding_pubkey: PublicKey::from_secret_key(SECP256K1, &parts.funding_key),
        payout_spk: parts.payout_script,
        payout_serial_id: random.gen(),
        funding_inputs: vec![parts.coin.input()?],
        // The change is the principal: the borrower's own address.
        change_spk: terms.principal_script.clone(),
        change_serial_id: random.gen(),
        cet_adaptor_signatures: CetAdaptorSignatures { ecdsa_adaptor_signatures: Vec::new() },
        refund_signature: placeholder()?,
        negotiation_fields: None,
        tlvs: Default::default(),
    };
    let built = Built::rebuild(terms, announcements, payouts, &offer, &accept)?;
    check_fields(terms, &offer, &accept)?;
    let signatures = adaptor::sign(&built.slots, built.signing(), &parts.funding_key)?;
    accept.cet_adaptor_signatures = CetAdaptorSignatures::from(signatures.as_slice());
    accept.refund_signature =
        fallback::half_signature(&built.transactions.refund, 0, &built.skeleton, &parts.funding_key)?;
    let fallback = fallback::half_signature(&built.fallback, 0, &built.skeleton, &parts.funding_key)?;
    Ok(Accepted { accept, fallback, built })
}

/// An accept that can be answered.
pub struct CheckedAccept {
    /// The message.
    pub accept: AcceptDlc,
    /// The contract, every signature of the lender's verified.
    pub built: Built,
    /// The lender's coin, to be found unspent and confirmed on chain with exactly this output.
    pub coin: (OutPoint, TxOut),
}

/// Reads an accept and requires the agreed contract, the principal to the borrower, and every signature.
pub fn check(
    terms: &Terms,
    announcements: &Announcements,
    offer: &OfferDlc,
    bytes: &[u8],
    fallback: &Signature,
) -> Result<CheckedAccept, ContractError> {
    check_with(Payouts::of(terms)?, terms, announcements, offer, bytes, fallback)
}

/// [`check`] with payouts computed before.
pub fn check_with(
    payouts: Payouts,
    terms: &Terms,
    announcements: &Announcements,
    offer: &OfferDlc,
    bytes: &[u8],
    fallback: &Signature,
) -> Result<CheckedAccept, ContractError> {
    let accept: AcceptDlc = wire::read(bytes)?;
    let coin = check_fields(terms, offer, &accept)?;
    let built = Built::rebuild(terms, announcements, payouts, offer, &accept)?;
    let key = &accept.funding_pubkey;
    fallback::check_half("refund", &built.transactions.refund, 0, &built.skeleton, key, &accept.refund_signature)?;
    fallback::check_half("fallback", &built.fallback, 0, &built.skeleton, key, fallback)?;
    let signatures: Vec<EcdsaAdaptorSignature> = (&accept.cet_adaptor_signatures).into();
    adaptor::verify(&built.slots, built.signing(), key, &signatures)?;
    Ok(CheckedAccept { accept, built, coin })
}

/// Every field of an accept but its signatures.
fn check_fields(terms: &Terms, offer: &OfferDlc, accept: &AcceptDlc) -> Result<(OutPoint, TxOut), ContractError> {
    const ACCEPT: &str = "accept";
    require(ACCEPT, "protocol_version", accept.protocol_version, offer.protocol_version)?;
    require_bytes(ACCEPT, "temporary_contract_id", &accept.temporary_contract_id, &terms.id().0)?;
    require(ACCEPT, "accept_collateral", accept.accept_collateral, terms.stake)?;
    require(ACCEPT, "change_spk", &accept.change_spk, &terms.principal_script)?;
    if accept.negotiation_fields.is_some() {
        return Err(ContractError::field(ACCEPT, "negotiation_fields", "there", "none: the terms are agreed"));
    }
    if !accept.tlvs.is_empty() {
        return Err(ContractError::field(ACCEPT, "tlvs", "records", "none: nobody asked for any"));
    }
    // The exact value of the lender's coin counts on a payout and a coin of this kind.
    if !accept.payout_spk.is_p2wpkh() {
        return Err(ContractError::field(ACCEPT, "payout_spk", &accept.payout_spk, "P2WPKH"));
    }
    let others = [
        ("offer.payout_spk", &offer.payout_spk),
        ("offer.change_spk", &offer.change_spk),
        ("principal_script", &terms.principal_script),
    ];
    for (field, script) in others {
        if accept.payout_spk == *script {
            return Err(ContractError::field(ACCEPT, "payout_spk", field, "a script of the lender's own"));
        }
    }
    if accept.funding_pubkey == offer.funding_pubkey {
        return Err(ContractError::field(
            ACCEPT,
            "funding_pubkey",
            accept.funding_pubkey,
            "a key other than the offer's",
        ));
    }
    wire::check_inputs(ACCEPT, &accept.funding_inputs)?;
    let [input] = accept.funding_inputs.as_slice() else {
        return Err(ContractError::field(ACCEPT, "funding_inputs", accept.funding_inputs.len(), "one coin"));
    };
    let (outpoint, previous) = build::previous(input)?;
    let txout = build::output(&previous, input.prev_tx_vout)?.clone();
    if !txout.script_pubkey.is_p2wpkh() {
        return Err(ContractError::field(ACCEPT, "funding_inputs.script", &txout.script_pubkey, "P2WPKH"));
    }
    require(ACCEPT, "funding_inputs.value", txout.value, lender_coin_value(terms)?)?;
    for theirs in &offer.funding_inputs {
        if theirs.input_serial_id == input.input_serial_id || build::previous(theirs)?.0 == outpoint {
            return Err(ContractError::field(
                ACCEPT,
                "funding_inputs",
                outpoint,
                "a coin and number the offer has not",
            ));
        }
    }
    let serials = [offer.fund_output_serial_id, offer.change_serial_id];
    if serials.contains(&accept.change_serial_id) || accept.payout_serial_id == offer.payout_serial_id {
        return Err(ContractError::field(ACCEPT, "serial ids", accept.change_serial_id, "numbers the offer has not"));
    }
    Ok((outpoint, txout))
}

/// A well-formed signature that signs nothing; replaced before the message exists.
fn placeholder() -> Result<Signature, ContractError> {
    let mut bytes = [0; 64];
    for index in [31, 63] {
        if let Some(byte) = bytes.get_mut(index) {
            *byte = 1;
        }
    }
    Signature::from_compact(&bytes).map_err(|e| ContractError::Library(e.to_string()))
}
