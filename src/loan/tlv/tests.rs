use super::*;
use crate::loan::fixtures::{key, xonly};
use crate::loan::units::{Cents, Time};
use bitcoin::secp256k1::{PublicKey, XOnlyPublicKey};
use bitcoin::{Amount, ScriptBuf};
use proptest::prelude::*;

crate::tlv_struct! {
    /// One of each.
    struct Sample {
        0 => byte: u8,
        1 => short: u16,
        3 => wide: Option<u64>,
        200 => text: String,
        300 => keys: Vec<PublicKey>,
        70_000 => inner: Option<Inner>,
        5_000_000_000 => script: ScriptBuf,
    }
}

crate::tlv_struct! {
    /// A message in a message.
    pub(super) struct Inner {
        0 => key: XOnlyPublicKey,
        2 => sats: Amount,
        4 => flags: Vec<bool>,
        6 => raw: Bytes,
    }
}

crate::tlv_struct! {
    /// Nothing to say.
    struct Empty {}
}

fn inner() -> Inner {
    Inner { key: xonly(1), sats: Amount::ONE_BTC, flags: vec![true, false], raw: Bytes(vec![1, 2, 3]) }
}

fn sample() -> Sample {
    Sample {
        byte: 1,
        short: 2,
        wide: Some(3),
        text: "a hypothec".into(),
        keys: vec![key(1), key(2)],
        inner: Some(inner()),
        script: ScriptBuf::from_bytes(vec![0x51]),
    }
}

fn refusal(bytes: &[u8]) -> String {
    Sample::from_tlv(bytes).unwrap_err().to_string()
}

#[test]
fn a_message_reads_back_with_and_without_its_optional_fields() {
    let bare = Sample { wide: None, inner: None, keys: Vec::new(), ..sample() };
    for message in [sample(), bare] {
        assert_eq!(Sample::from_tlv(&message.to_tlv()), Ok(message));
    }
    assert_eq!(Empty::from_tlv(&Empty {}.to_tlv()), Ok(Empty {}));
}

#[test]
fn the_bytes_are_type_length_value() {
    let message = Inner { flags: vec![true], raw: Bytes(Vec::new()), ..inner() };
    let tlv = message.to_tlv();
    assert_eq!(tlv[..2], [0, 32]);
    assert_eq!(tlv[34..44], [2, 8, 0, 0, 0, 0, 5, 0xf5, 0xe1, 0]);
    assert_eq!(tlv[44..], [4, 2, 1, 1, 6, 0]);
}

#[test]
fn what_is_wrong_is_said_with_the_name_of_the_field() {
    assert_eq!(refusal(&[]), "Sample.byte: missing; type 0 must be present");
    assert_eq!(refusal(&[0, 2, 1, 1]), "Sample.byte: 2 bytes where 1 are right");
    assert_eq!(refusal(&[0, 1, 1, 1, 2, 0]), "Sample.short: cut short; send every byte of it");
    assert_eq!(
        refusal(&[0, 1, 1, 1, 2, 0, 0, 0, 0]),
        "Sample.wide: type 0 follows type 1; types must strictly increase"
    );
    assert_eq!(refusal(&[0, 1, 1, 0, 1, 1]), "Sample.short: type 0 follows type 0; types must strictly increase");
    assert_eq!(refusal(&[0, 1, 1, 1, 2, 0, 0, 2, 0]), "Sample.wide: unknown type 2; this version has no such field");
    assert_eq!(
        refusal(&[0, 0xfd, 0, 1, 1]),
        "Sample.byte: 1 is written with more bytes than it needs; use the shortest BigSize"
    );
    assert_eq!(refusal(&[0, 1, 1, 1, 2, 0, 0, 200, 1, 0xff]), "Sample.text: not UTF-8 text");
    // A length beyond the bytes there are allocates nothing.
    assert_eq!(
        refusal(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        "Sample.byte: cut short; send every byte of it"
    );
    let trailing = [sample().to_tlv(), vec![0xff, 0, 0, 0, 2, 0, 0, 0, 0, 0]].concat();
    assert_eq!(refusal(&trailing), "Sample.(stream): unknown type 8589934592; this version has no such field");
}

#[test]
fn a_fault_inside_a_nested_message_names_both() {
    let mut tlv = inner().to_tlv();
    tlv[36] = 0xff;
    let error = Inner::read(&tlv).unwrap_err().to_string();
    assert!(error.starts_with("Inner.sats: 18374686479") && error.ends_with("more than 21 million bitcoin"), "{error}");
}

#[test]
fn values_that_cannot_be_are_refused() {
    assert!(PublicKey::read(&[2; 32]).is_err());
    assert!(PublicKey::read(&[5; 33]).is_err());
    assert!(XOnlyPublicKey::read(&[0xff; 32]).is_err());
    assert!(bool::read(&[2]).is_err());
    assert!(ScriptBuf::read(&[0; 10_001]).is_err());
    assert!(Vec::<Bytes>::read(&[0; 10_000]).is_ok());
    assert!(Vec::<Bytes>::read(&[0; 10_001]).is_err());
    assert!(Vec::<u16>::read(&[1, 0]).is_err());
    assert!(Vec::<u16>::read(&[2, 0, 0, 2, 0]).is_err());
    assert!(bitcoin::secp256k1::ecdsa::Signature::read(&[0xff; 64]).is_err());
    assert_eq!(Time::read(&[0, 0, 1, 0]), Ok(Time(256)));
    assert_eq!(Cents::read(&[0; 7]), Err(TlvReason::Length { expected: 8, found: 7 }));
}

#[test]
fn a_signature_with_a_high_s_is_not_canonical() {
    use bitcoin::secp256k1::{ecdsa, Message, Secp256k1, SecretKey};
    let secret = SecretKey::from_slice(&[1; 32]).unwrap();
    let low = Secp256k1::new().sign_ecdsa(&Message::from_digest([2; 32]), &secret);
    let mut bytes = Vec::new();
    low.write(&mut bytes);
    assert_eq!(ecdsa::Signature::read(&bytes), Ok(low));
    // n − s is as valid to the curve, and refused here.
    let s = bitcoin::secp256k1::Scalar::from_be_bytes(bytes[32..].try_into().unwrap()).unwrap();
    let high = SecretKey::from_slice(&s.to_be_bytes()).unwrap().negate();
    bytes[32..].copy_from_slice(&high.secret_bytes());
    assert!(ecdsa::Signature::from_compact(&bytes).is_ok());
    assert!(ecdsa::Signature::read(&bytes).is_err());
}

#[test]
fn types_must_increase() {
    assert!(strictly_increasing(&[]) && strictly_increasing(&[7]) && strictly_increasing(&[0, 2, 3]));
    assert!(!strictly_increasing(&[0, 0]) && !strictly_increasing(&[0, 2, 1]));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_are_the_one_encoding_of_what_they_mean(
        bytes in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..80),
    ) {
        if let Ok(message) = Sample::from_tlv(&bytes) {
            prop_assert_eq!(message.to_tlv(), bytes);
        }
    }

    #[test]
    fn a_message_with_any_byte_changed_is_refused_or_another(at in any::<prop::sample::Index>(), with in 1u8..) {
        let mut tlv = sample().to_tlv();
        let at = at.index(tlv.len());
        tlv[at] ^= with;
        if let Ok(message) = Sample::from_tlv(&tlv) {
            prop_assert_ne!(&message, &sample());
            prop_assert_eq!(message.to_tlv(), tlv);
        }
    }

    #[test]
    fn integers_texts_and_lists_read_back(number in any::<u64>(), text in ".*", list in proptest::collection::vec(any::<u32>(), 0..40)) {
        let mut bytes = [Vec::new(), Vec::new(), Vec::new()];
        number.write(&mut bytes[0]);
        text.write(&mut bytes[1]);
        list.write(&mut bytes[2]);
        prop_assert_eq!(u64::read(&bytes[0]), Ok(number));
        prop_assert_eq!(String::read(&bytes[1]), Ok(text));
        prop_assert_eq!(Vec::<u32>::read(&bytes[2]), Ok(list));
    }
}
