//! The DLC specification's own test vectors, where their format is ours. Where it is not, the README beside them says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bitcoin::hashes::{sha256, Hash};
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::{Message, PublicKey, Scalar, XOnlyPublicKey, SECP256K1};
use bitcoin::{OutPoint, Txid};
use dlc_messages::contract_msgs::{ContractInfo, ContractInfoInner};
use dlc_messages::oracle_msgs::{EventDescriptor, OracleAnnouncement, OracleInfo};
use hypothec::contract::adaptor::{self, Signing, Slot};
use hypothec::contract::{fallback, sign, wire, AcceptDlc, OfferDlc, SignDlc, Skeleton};
use lightning::util::ser::Writeable;
use secp256k1_zkp::{ecdsa, EcdsaAdaptorSignature, SecretKey};
use serde_json::Value;

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    Vec::from_hex(value.as_str().unwrap()).unwrap()
}

fn bytes32(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

#[test]
fn the_contract_id_is_the_specifications() {
    let cases = vectors(include_str!("golden/dlcspecs/contract_id_test.json"));
    assert_eq!(cases.as_array().unwrap().len(), 4);
    for case in cases.as_array().unwrap() {
        let txid: Txid = case["fundTxId"].as_str().unwrap().parse().unwrap();
        let vout = u32::try_from(case["fundOutputIndex"].as_u64().unwrap()).unwrap();
        let id = sign::contract_id(OutPoint { txid, vout }, bytes32(&case["temporaryContractId"]));
        assert_eq!(id, bytes32(&case["contractId"]));
    }
}

#[test]
fn adaptor_signatures_are_the_specifications() {
    let cases = vectors(include_str!("golden/dlcspecs/ecdsa_adaptor.json"));
    assert_eq!(cases.as_array().unwrap().len(), 11);
    for case in cases.as_array().unwrap() {
        let is_wrong = case["error"].is_string();
        let point = || PublicKey::from_slice(&hex(&case["encryption_key"])).unwrap();
        let signature = || ecdsa::Signature::from_compact(&hex(&case["signature"])).unwrap();
        let adaptor = EcdsaAdaptorSignature::from_slice(&hex(&case["adaptor_sig"]));
        match case["kind"].as_str().unwrap() {
            // The library reads any 162 bytes; what cannot be is refused when it is used.
            "serialization" => {
                let adaptor = adaptor.unwrap();
                assert_eq!(adaptor.as_ref(), hex(&case["adaptor_sig"]));
                let secret = SecretKey::from_slice(&[1; 32]).unwrap();
                assert_eq!(adaptor.decrypt(&secret).is_err(), is_wrong, "{case}");
            }
            "verification" => {
                let adaptor = adaptor.unwrap();
                let message = Message::from_digest(bytes32(&case["message_hash"]));
                let key = PublicKey::from_slice(&hex(&case["public_signing_key"])).unwrap();
                assert_eq!(adaptor.verify(SECP256K1, &message, &key, &point()).is_err(), is_wrong, "{case}");
                if !is_wrong {
                    let secret = SecretKey::from_slice(&hex(&case["decryption_key"])).unwrap();
                    assert_eq!(adaptor.decrypt(&secret).unwrap(), signature());
                }
            }
            "recovery" => {
                let found = adaptor.unwrap().recover(SECP256K1, &signature(), &point());
                match is_wrong {
                    true => assert!(found.is_err(), "{case}"),
                    false => assert_eq!(found.unwrap().secret_bytes(), bytes32(&case["decryption_key"])),
                }
            }
            other => panic!("{other}"),
        }
    }
}

/// PROTOCOL 11.3 word for word, by the points' own arithmetic: is this an adaptor signature of `key` over `digest` under `point`?
fn holds(bytes: &[u8], key: &PublicKey, digest: [u8; 32], point: &PublicKey) -> Option<()> {
    let number = |from: usize| Scalar::from_be_bytes(bytes[from..from + 32].try_into().unwrap()).ok();
    let at = |from: usize| PublicKey::from_slice(&bytes[from..from + 33]).ok();
    let times = |point: PublicKey, by: Scalar| point.mul_tweak(SECP256K1, &by).ok();
    let of_g = |number: Scalar| Some(SecretKey::from_slice(&number.to_be_bytes()).ok()?.public_key(SECP256K1));
    let ((r, r_prime), (r_x, s_prime)) = ((at(0)?, at(33)?), (number(1)?, number(66)?));
    let (e, s) = (number(98)?, number(130)?);
    let a1 = of_g(s)?.combine(&times(r_prime, e)?.negate(SECP256K1)).ok()?;
    let a2 = times(*point, s)?.combine(&times(r, e)?.negate(SECP256K1)).ok()?;
    let tag = sha256::Hash::hash(b"DLEQ").to_byte_array();
    let hashed = [r_prime, *point, r, a1, a2].map(|point| point.serialize()).concat();
    let challenge = sha256::Hash::hash(&[&tag[..], &tag, &hashed].concat()).to_byte_array();
    let right = of_g(Scalar::from_be_bytes(digest).ok()?)?.combine(&times(*key, r_x)?).ok()?;
    (challenge == e.to_be_bytes() && times(r_prime, s_prime)? == right).then_some(())
}

#[test]
fn the_document_says_of_adaptor_signatures_what_the_specifications_vectors_want() {
    let cases = vectors(include_str!("golden/dlcspecs/ecdsa_adaptor.json"));
    let verified = |case: &&Value| case["kind"] == "verification";
    let mut tried = [0, 0];
    for case in cases.as_array().unwrap().iter().filter(verified) {
        let key = |name: &str| PublicKey::from_slice(&hex(&case[name])).unwrap();
        let (bytes, digest) = (hex(&case["adaptor_sig"]), bytes32(&case["message_hash"]));
        let is_right = holds(&bytes, &key("public_signing_key"), digest, &key("encryption_key")).is_some();
        assert_eq!(is_right, !case["error"].is_string(), "{case}");
        tried[usize::from(is_right)] += 1;
    }
    assert!(tried[0] > 0 && tried[1] > 0, "{tried:?}");
}

/// The specification's funding input ends with its redeem script; ours has one byte more, 0: no splice.
fn with_splice_byte(bytes: &[u8]) -> Vec<u8> {
    // Sequence 0xffffffff, 107 bytes of witness, no redeem script: nothing else in these messages looks like it.
    let mark = Vec::from_hex("ffffffff006b0000").unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&mark)).collect();
    let [at] = places.as_slice() else { panic!("{places:?}") };
    let (head, tail) = bytes.split_at(at + mark.len());
    [head, &[0], tail].concat()
}

fn only(offer: &OfferDlc) -> (&ContractInfoInner, &OracleAnnouncement) {
    let ContractInfo::SingleContractInfo(single) = &offer.contract_info else { panic!("{offer:?}") };
    let OracleInfo::Single(oracle) = &single.contract_info.oracle_info else { panic!("{offer:?}") };
    (&single.contract_info, &oracle.oracle_announcement)
}

#[test]
fn offer_accept_and_sign_are_the_specifications_but_for_one_byte_of_each_funding_input() {
    let case = vectors(include_str!("golden/dlcspecs/enum_single_oracle.json"));
    let offer: OfferDlc = wire::read(&with_splice_byte(&hex(&case["offer"]))).unwrap();
    let accept: AcceptDlc = wire::read(&with_splice_byte(&hex(&case["accept"]))).unwrap();
    let sign: SignDlc = wire::read(&hex(&case["sign"])).unwrap();
    wire::read::<OfferDlc>(&hex(&case["offer"])).unwrap_err();
    let (_, announcement) = only(&offer);
    // Transactions, contract id, refund and adaptor signatures of both parties, by our own code.
    let transactions = ddk::contract::create_dlc_transactions(&offer, &accept).unwrap();
    let skeleton = Skeleton::of(&offer, &accept, &transactions, 2).unwrap();
    assert_eq!(sign.contract_id, sign::contract_id(skeleton.funding, offer.temporary_contract_id));
    let EventDescriptor::EnumEvent(descriptor) = &announcement.oracle_event.event_descriptor else { panic!() };
    let point = |outcome: &String| signature_point(announcement, outcome);
    let slots: Vec<Slot> =
        descriptor.outcomes.iter().enumerate().map(|(cet, outcome)| Slot { cet, point: point(outcome) }).collect();
    let signing = Signing { cets: &transactions.cets, script: &skeleton.witness_script, value: skeleton.funding_value };
    for (key, refund, adaptors) in [
        (&accept.funding_pubkey, &accept.refund_signature, &accept.cet_adaptor_signatures),
        (&offer.funding_pubkey, &sign.refund_signature, &sign.cet_adaptor_signatures),
    ] {
        fallback::check_half("refund", &transactions.refund, 0, &skeleton, key, refund).unwrap();
        let adaptors: Vec<EcdsaAdaptorSignature> = adaptors.into();
        adaptor::verify(&slots, signing, key, &adaptors).unwrap();
    }
}

/// R + e·P as PROTOCOL 11.3 has it, but for the message: these vectors are older than the tagged hashes of the
/// specification's Oracle.md, which are ours, and hash an outcome plainly.
fn signature_point(announcement: &OracleAnnouncement, outcome: &str) -> PublicKey {
    let (nonce, key): (XOnlyPublicKey, _) =
        (announcement.oracle_event.oracle_nonces[0], announcement.oracle_public_key);
    let message = Message::from_digest(sha256::Hash::hash(outcome.as_bytes()).to_byte_array());
    dlc::secp_utils::schnorrsig_compute_sig_point(SECP256K1, &key, &nonce, &message).unwrap()
}

#[test]
fn announcements_and_numeric_contracts_are_the_specifications() {
    for text in
        [include_str!("golden/dlcspecs/enum_single_oracle.json"), include_str!("golden/dlcspecs/numeric_offer.json")]
    {
        let offer: OfferDlc = wire::read(&with_splice_byte(&hex(&vectors(text)["offer"]))).unwrap();
        let (_, announcement) = only(&offer);
        let body = wire::write_announcement(announcement);
        assert_eq!(&wire::read_announcement(&body).unwrap(), announcement);
        // Older than the tagged hash, as above: the event without TLV header, hashed plainly.
        let digest = sha256::Hash::hash(&announcement.oracle_event.encode()).to_byte_array();
        let (signature, key) = (&announcement.announcement_signature, &announcement.oracle_public_key);
        SECP256K1.verify_schnorr(signature, &Message::from_digest(digest), key).unwrap();
    }
}
