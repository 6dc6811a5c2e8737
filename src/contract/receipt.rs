//! The receipt: the lender's own one-outcome event, with a key and a nonce new for every loan.
//!
//! It is announced and attested exactly as an oracle would.

use super::error::{require, ContractError};
use crate::loan::terms::{LoanId, Terms};
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{SecretKey, SECP256K1};
use dlc_messages::oracle_msgs::{
    tagged_announcement_msg, tagged_attestation_msg, EnumEventDescriptor, EventDescriptor, OracleAnnouncement,
    OracleAttestation, OracleEvent,
};

/// The id, and the only outcome, of a loan's receipt.
pub fn event_id(loan: &LoanId) -> String {
    format!("receipt-{loan}")
}

fn event(terms: &Terms) -> Result<OracleEvent, ContractError> {
    let id = event_id(&terms.id());
    Ok(OracleEvent {
        oracle_nonces: vec![terms.receipt_nonce],
        // The library compares the refund's time with the closest maturity; the receipt must not be the closest.
        event_maturity_epoch: terms.due().0,
        event_descriptor: EventDescriptor::EnumEvent(EnumEventDescriptor { outcomes: vec![id.clone()] }),
        event_id: id,
    })
}

/// The lender's announcement of the receipt, the same at every call.
pub fn announce(terms: &Terms, receipt_key: &SecretKey) -> Result<OracleAnnouncement, ContractError> {
    let oracle_event = event(terms)?;
    let keypair = Keypair::from_secret_key(SECP256K1, receipt_key);
    Ok(OracleAnnouncement {
        announcement_signature: SECP256K1.sign_schnorr_no_aux_rand(&tagged_announcement_msg(&oracle_event), &keypair),
        oracle_public_key: keypair.x_only_public_key().0,
        oracle_event,
    })
}

/// Requires that `announcement` is the receipt's, by the key the terms name.
pub fn check(terms: &Terms, announcement: &OracleAnnouncement) -> Result<(), ContractError> {
    require("receipt", "oracle_public_key", announcement.oracle_public_key, terms.receipt_key)?;
    if announcement.oracle_event != event(terms)? {
        let id = event_id(&terms.id());
        return Err(ContractError::field("receipt", "oracle_event", &announcement.oracle_event.event_id, id));
    }
    let message = tagged_announcement_msg(&announcement.oracle_event);
    SECP256K1.verify_schnorr(&announcement.announcement_signature, &message, &terms.receipt_key).map_err(|_| {
        ContractError::Signature { which: "receipt announcement".into(), key: terms.receipt_key.to_string() }
    })
}

/// The lender's word that it was paid. Whoever holds it frees the collateral, for ever.
pub fn attest(
    terms: &Terms,
    receipt_key: &SecretKey,
    receipt_nonce: &SecretKey,
) -> Result<OracleAttestation, ContractError> {
    let id = event_id(&terms.id());
    let keypair = Keypair::from_secret_key(SECP256K1, receipt_key);
    require("receipt", "key", keypair.x_only_public_key().0, terms.receipt_key)?;
    require("receipt", "nonce", receipt_nonce.x_only_public_key(SECP256K1).0, terms.receipt_nonce)?;
    let message = tagged_attestation_msg(&id);
    let signature =
        dlc::secp_utils::schnorrsig_sign_with_nonce(SECP256K1, &message, &keypair, &receipt_nonce.secret_bytes());
    Ok(OracleAttestation {
        event_id: id.clone(),
        oracle_public_key: terms.receipt_key,
        signatures: vec![signature],
        outcomes: vec![id],
    })
}
