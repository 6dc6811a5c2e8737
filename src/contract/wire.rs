//! Reading and writing the DLC messages, canonical or not at all.

use super::error::{shortened, ContractError};
use super::unread::{self, Field};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use dlc_messages::{AcceptDlc, FundingInput, OfferDlc, SignDlc};
use lightning::ln::msgs::DecodeError;
use lightning::util::ser::{Readable, Writeable};
use std::collections::HashSet;

/// Message type of a DLC offer.
pub const OFFER: u16 = 42778;
/// Message type of a DLC accept.
pub const ACCEPT: u16 = 42780;
/// Message type of a DLC sign.
pub const SIGN: u16 = 42782;
/// The longest DLC message read, in bytes.
pub const MAX_MESSAGE: usize = 4_000_000;
/// The most funding inputs of one party.
pub const MAX_INPUTS: usize = 16;
/// The longest previous transaction of a funding input, in bytes.
pub const MAX_PREVIOUS: usize = 100_000;

/// The sequence number written into every funding input.
pub const SEQUENCE: u32 = 0xffff_fffd;

/// A DLC message: type, then fields, as `dlc_messages` encodes it.
pub trait Message: Readable + Writeable {
    /// What refusals call it.
    const NAME: &'static str;
    /// Its type, which stands in front.
    const TYPE: u16;
    /// Its fields, for saying which one cannot be read.
    const FIELDS: &'static [Field];
}

impl Message for OfferDlc {
    const NAME: &'static str = "offer";
    const TYPE: u16 = OFFER;
    const FIELDS: &'static [Field] = unread::OFFER;
}

impl Message for AcceptDlc {
    const NAME: &'static str = "accept";
    const TYPE: u16 = ACCEPT;
    const FIELDS: &'static [Field] = unread::ACCEPT;
}

impl Message for SignDlc {
    const NAME: &'static str = "sign";
    const TYPE: u16 = SIGN;
    const FIELDS: &'static [Field] = unread::SIGN;
}

/// Reads a message with its type in front; refuses anything that would not be written back to the same bytes.
pub fn read<M: Message>(bytes: &[u8]) -> Result<M, ContractError> {
    let unreadable = |reason: String| ContractError::Unreadable { message: M::NAME, reason: shortened(reason) };
    if bytes.len() > MAX_MESSAGE {
        return Err(unreadable(format!("{} bytes long, the most is {MAX_MESSAGE}", bytes.len())));
    }
    match bytes.first_chunk().map(|chunk| u16::from_be_bytes(*chunk)) {
        Some(found) if found == M::TYPE => {}
        Some(found) => return Err(unreadable(format!("it is of type {found}, expected {}", M::TYPE))),
        None => return Err(unreadable("it ends within its type".into())),
    }
    let read = || M::read(&mut lightning::io::Cursor::new(bytes));
    let message = super::error::guarded(|| read().map_err(|e| unreadable(why(&e, bytes, 2, M::FIELDS))))?;
    if message.encode() != bytes {
        return Err(unreadable("it has bytes left over or is not in its one canonical form".into()));
    }
    Ok(message)
}

/// Where it stops, and the library's reason in the words of whoever wrote the bytes.
fn why(error: &DecodeError, bytes: &[u8], skipped: usize, fields: &[Field]) -> String {
    format!("{}: {}", unread::place(bytes, skipped, fields), in_words(error))
}

fn in_words(error: &DecodeError) -> String {
    match error {
        DecodeError::ShortRead => "it ends within a field, or more bytes follow its last one".into(),
        DecodeError::InvalidValue => {
            "a field holds what it cannot: a point that is not on the curve, a count or kind that does not exist".into()
        }
        DecodeError::BadLengthDescriptor => "a length does not fit what it measures".into(),
        DecodeError::UnknownRequiredFeature => "it has a record of an even type that is not known".into(),
        other => other.to_string(),
    }
}

/// Writes a message, type in front.
pub fn write<M: Message>(message: &M) -> Vec<u8> {
    message.encode()
}

/// Requires funding inputs the fee was computed for: few, distinct, native P2WPKH or P2TR key path, no splice, exact
/// witness length, and a previous transaction that is whole.
pub fn check_inputs(message: &'static str, inputs: &[FundingInput]) -> Result<(), ContractError> {
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        return Err(ContractError::field(message, "funding_inputs", inputs.len(), format!("1 to {MAX_INPUTS}")));
    }
    let (mut coins, mut serials) = (HashSet::new(), HashSet::new());
    let mut sum = bitcoin::Amount::ZERO;
    for input in inputs {
        if input.dlc_input.is_some() {
            return Err(ContractError::field(message, "funding_inputs.dlc_input", "a splice", "none"));
        }
        if !input.redeem_script.is_empty() {
            return Err(ContractError::field(message, "funding_inputs.redeem_script", "a script", "none"));
        }
        // The library sets the sequence itself; a number nobody reads has one value only.
        super::error::require(message, "funding_inputs.sequence", input.sequence, SEQUENCE)?;
        if input.prev_tx.len() > MAX_PREVIOUS {
            let limit = format!("at most {MAX_PREVIOUS} bytes");
            return Err(ContractError::field(message, "funding_inputs.prev_tx", input.prev_tx.len(), limit));
        }
        let (outpoint, previous) = super::build::previous(input)?;
        let txout = super::build::output(&previous, input.prev_tx_vout)?;
        let expected = witness_length(&txout.script_pubkey).ok_or_else(|| {
            ContractError::field(message, "funding_inputs.script", &txout.script_pubkey, "P2WPKH or P2TR")
        })?;
        super::error::require(message, "funding_inputs.max_witness_len", input.max_witness_len, expected)?;
        sum = sum
            .checked_add(txout.value)
            .filter(|sum| *sum <= bitcoin::Amount::MAX_MONEY)
            .ok_or_else(|| ContractError::field(message, "funding_inputs", "their sum", "at most 21 million BTC"))?;
        if !coins.insert(outpoint) {
            return Err(ContractError::field(message, "funding_inputs", outpoint, "each coin once"));
        }
        if !serials.insert(input.input_serial_id) {
            let serial = input.input_serial_id;
            return Err(ContractError::field(message, "funding_inputs.input_serial_id", serial, "each number once"));
        }
    }
    Ok(())
}

/// The longest witness, in bytes, that spends a script we fund with; `None` for other scripts.
pub fn witness_length(script: &bitcoin::Script) -> Option<u16> {
    match (script.is_p2wpkh(), script.is_p2tr()) {
        (true, _) => Some(108),
        (_, true) => Some(66),
        _ => None,
    }
}

/// Requires a payout or change script that anyone relays and its owner can spend: P2WPKH, or P2TR of a key that is on
/// the curve.
pub fn check_script(message: &'static str, field: &'static str, script: &bitcoin::Script) -> Result<(), ContractError> {
    match crate::loan::check::is_payable(script) {
        true => Ok(()),
        false => Err(ContractError::field(message, field, script, "P2WPKH, or P2TR with a valid key")),
    }
}

/// An announcement as the wire carries it, without a TLV header.
pub fn write_announcement(announcement: &OracleAnnouncement) -> Vec<u8> {
    announcement.encode()
}

/// Reads an announcement; refuses anything that would not be written back to the same bytes.
pub fn read_announcement(bytes: &[u8]) -> Result<OracleAnnouncement, ContractError> {
    read_small("announcement", bytes, unread::ANNOUNCEMENT)
}

/// An attestation as the wire carries it, without a TLV header.
pub fn write_attestation(attestation: &OracleAttestation) -> Vec<u8> {
    attestation.encode()
}

/// Reads an attestation; refuses anything that would not be written back to the same bytes.
pub fn read_attestation(bytes: &[u8]) -> Result<OracleAttestation, ContractError> {
    read_small("attestation", bytes, unread::ATTESTATION)
}

fn read_small<T: Readable + Writeable>(
    message: &'static str,
    bytes: &[u8],
    fields: &[Field],
) -> Result<T, ContractError> {
    let unreadable = |reason: String| ContractError::Unreadable { message, reason: shortened(reason) };
    if bytes.len() > MAX_PREVIOUS {
        return Err(unreadable(format!("{} bytes long, the most is {MAX_PREVIOUS}", bytes.len())));
    }
    let read = || T::read(&mut lightning::io::Cursor::new(bytes));
    let value = super::error::guarded(|| read().map_err(|e| unreadable(why(&e, bytes, 0, fields))))?;
    match value.encode() == bytes {
        true => Ok(value),
        false => Err(unreadable("it has bytes left over or is not in its one canonical form".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_bytes_is_said_of_them_and_not_of_a_library() {
        let said = |error: DecodeError| in_words(&error);
        assert!(said(DecodeError::ShortRead).contains("more bytes follow its last one"));
        assert!(said(DecodeError::InvalidValue).starts_with("a field holds what it cannot: a point"));
        let cut = read::<OfferDlc>(&OFFER.to_be_bytes()).unwrap_err().to_string();
        assert!(cut.contains("it ends within a field") && !cut.contains("Packet"), "{cut}");
        // The message, the field, and where it begins.
        assert!(cut.contains("the offer message cannot be read: in `protocol_version`, from byte 2 of 2 on"), "{cut}");
        let other = read::<SignDlc>(&OFFER.to_be_bytes()).unwrap_err().to_string();
        assert!(other.ends_with("it is of type 42778, expected 42782"), "{other}");
        let whole = write_attestation(&attestation());
        for (length, named) in [(0, "event_id"), (20, "oracle_public_key"), (42, "signatures"), (44, "outcomes")] {
            let said = read_attestation(whole.get(..length).unwrap()).unwrap_err().to_string();
            assert!(said.contains(&format!("in `{named}`, from byte ")), "{length}: {said}");
        }
        let long = [write_attestation(&attestation()), vec![0]].concat();
        let long = read_attestation(&long).unwrap_err().to_string();
        assert!(long.contains("bytes left over"), "{long}");
    }

    fn attestation() -> OracleAttestation {
        let secp = secp256k1_zkp::Secp256k1::new();
        let pair =
            secp256k1_zkp::Keypair::from_secret_key(&secp, &secp256k1_zkp::SecretKey::from_slice(&[7; 32]).unwrap());
        OracleAttestation {
            event_id: "an-event".into(),
            oracle_public_key: pair.x_only_public_key().0,
            signatures: Vec::new(),
            outcomes: Vec::new(),
        }
    }
}
