//! Which field of a message could not be read: the library says what was wrong and not where.
//!
//! Only asked of bytes that the library has refused. The fields are read one after another, as it reads them.

use bitcoin::{Amount, ScriptBuf};
use dlc_messages::contract_msgs::ContractInfo;
use dlc_messages::oracle_msgs::OracleEvent;
use dlc_messages::ser_impls::{
    read_as_tlv, read_option, read_schnorr_pubkey, read_schnorrsig, read_string, read_strings_u16, read_vec,
    read_vec_u16_cb,
};
use dlc_messages::{CetAdaptorSignatures, FundingInput, FundingSignatures, NegotiationFields};
use lightning::io::Cursor;
use lightning::ln::msgs::DecodeError;
use lightning::util::ser::Readable;
use secp256k1_zkp::ecdsa::Signature;
use secp256k1_zkp::PublicKey;

type Bytes<'a> = Cursor<&'a [u8]>;

/// A field by its name, and how it is read.
pub type Field = (&'static str, fn(&mut Bytes<'_>) -> Result<(), DecodeError>);

fn one<T: Readable>(bytes: &mut Bytes<'_>) -> Result<(), DecodeError> {
    T::read(bytes).map(drop)
}

fn list<T: Readable>(bytes: &mut Bytes<'_>) -> Result<(), DecodeError> {
    read_vec::<_, T>(bytes).map(drop)
}

fn key(bytes: &mut Bytes<'_>) -> Result<(), DecodeError> {
    read_schnorr_pubkey(bytes).map(drop)
}

fn signature(bytes: &mut Bytes<'_>) -> Result<(), DecodeError> {
    read_schnorrsig(bytes).map(drop)
}

/// The fields of an offer, its type left out.
pub const OFFER: &[Field] = &[
    ("protocol_version", one::<u32>),
    ("contract_flags", one::<u8>),
    ("chain_hash", one::<[u8; 32]>),
    ("temporary_contract_id", one::<[u8; 32]>),
    ("contract_info", one::<ContractInfo>),
    ("funding_pubkey", one::<PublicKey>),
    ("payout_spk", one::<ScriptBuf>),
    ("payout_serial_id", one::<u64>),
    ("offer_collateral", one::<Amount>),
    ("funding_inputs", list::<FundingInput>),
    ("change_spk", one::<ScriptBuf>),
    ("change_serial_id", one::<u64>),
    ("fund_output_serial_id", one::<u64>),
    ("fee_rate_per_vb", one::<u64>),
    ("cet_locktime", one::<u32>),
    ("refund_locktime", one::<u32>),
];

/// The fields of an accept.
pub const ACCEPT: &[Field] = &[
    ("protocol_version", one::<u32>),
    ("temporary_contract_id", one::<[u8; 32]>),
    ("accept_collateral", one::<Amount>),
    ("funding_pubkey", one::<PublicKey>),
    ("payout_spk", one::<ScriptBuf>),
    ("payout_serial_id", one::<u64>),
    ("funding_inputs", list::<FundingInput>),
    ("change_spk", one::<ScriptBuf>),
    ("change_serial_id", one::<u64>),
    ("cet_adaptor_signatures", one::<CetAdaptorSignatures>),
    ("refund_signature", one::<Signature>),
    ("negotiation_fields", |bytes| read_option::<_, NegotiationFields>(bytes).map(drop)),
];

/// The fields of a sign.
pub const SIGN: &[Field] = &[
    ("protocol_version", one::<u32>),
    ("contract_id", one::<[u8; 32]>),
    ("cet_adaptor_signatures", one::<CetAdaptorSignatures>),
    ("refund_signature", one::<Signature>),
    ("funding_signatures", one::<FundingSignatures>),
];

/// The fields of an announcement.
pub const ANNOUNCEMENT: &[Field] = &[
    ("announcement_signature", signature),
    ("oracle_public_key", key),
    ("oracle_event", |bytes| read_as_tlv::<OracleEvent, _>(bytes).map(drop)),
];

/// The fields of an attestation.
pub const ATTESTATION: &[Field] = &[
    ("event_id", |bytes| read_string(bytes).map(drop)),
    ("oracle_public_key", key),
    ("signatures", |bytes| read_vec_u16_cb(bytes, &read_schnorrsig).map(drop)),
    ("outcomes", |bytes| read_strings_u16(bytes).map(drop)),
];

/// The first of the fields that cannot be read and where it begins, after `skipped` bytes of the message; what follows the
/// last field is its records.
pub fn place(bytes: &[u8], skipped: usize, fields: &[Field]) -> String {
    let mut rest = Cursor::new(bytes.get(skipped..).unwrap_or_default());
    let mut begins = skipped;
    for (name, read) in fields {
        if read(&mut rest).is_err() {
            return format!("in `{name}`, from byte {begins} of {} on", bytes.len());
        }
        begins = usize::try_from(rest.position()).unwrap_or(usize::MAX).saturating_add(skipped);
    }
    format!("after its last field, from byte {begins} of {} on", bytes.len())
}
