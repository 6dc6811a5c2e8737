//! Bytes that are no message, or not the message they were.

use super::*;
use lightning::util::ser::Writeable;
use proptest::prelude::*;

#[test]
fn bytes_cut_short_or_added_to_are_no_message() {
    let n = &scene().honest;
    let (offer, accept, sign) = (wire::write(&n.offer), wire::write(&n.accepted.accept), wire::write(&n.signed.sign));
    #[allow(clippy::type_complexity, reason = "a table read once")]
    let judges: [(&[u8], &dyn Fn(&[u8]) -> bool); 3] = [
        (&offer, &|bytes| check_offer(bytes).is_err()),
        (&accept, &|bytes| check_accept(bytes, &n.accepted.fallback).is_err()),
        (&sign, &|bytes| check_sign(bytes, &n.signed.fallback).is_err()),
    ];
    for (bytes, refused) in judges {
        for length in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
            assert!(refused(&bytes[..length]), "{length} of {}", bytes.len());
        }
        for tail in [&[0][..], &[1, 0], &[0xff; 40], bytes] {
            assert!(refused(&[bytes, tail].concat()), "{} more", tail.len());
        }
        assert!(refused(&vec![0; wire::MAX_MESSAGE + 1]));
        let other_kind = [&[0xa7, 0x00], &bytes[2..]].concat();
        assert!(refused(&other_kind));
    }
}

/// The fields that are named when a message is cut short anywhere, in their order; each once.
fn named(bytes: &[u8], read: impl Fn(&[u8]) -> String) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    // Two bytes say the type. The long fields are not cut at each of their bytes.
    for length in
        (2..bytes.len().min(900)).chain((900..bytes.len()).rev().take(900).collect::<Vec<_>>().into_iter().rev())
    {
        let said = read(&bytes[..length]);
        let field = said.split('`').nth(1).unwrap_or_else(|| panic!("{length} of {}: {said}", bytes.len()));
        if named.last().is_none_or(|last| last != field) {
            named.push(field.to_owned());
        }
    }
    named
}

#[test]
fn a_message_that_is_cut_short_is_refused_with_the_field_where_it_ends() {
    let n = &scene().honest;
    let offer = named(&wire::write(&n.offer), |cut| wire::read::<OfferDlc>(cut).unwrap_err().to_string());
    assert!(offer.starts_with(&["protocol_version".into(), "contract_flags".into(), "chain_hash".into()]), "{offer:?}");
    assert!(offer.contains(&"funding_inputs".into()) && offer.last().unwrap() == "refund_locktime", "{offer:?}");
    let accept = named(&wire::write(&n.accepted.accept), |cut| wire::read::<AcceptDlc>(cut).unwrap_err().to_string());
    assert!(accept.contains(&"payout_spk".into()) && accept.last().unwrap() == "negotiation_fields", "{accept:?}");
    let sign = named(&wire::write(&n.signed.sign), |cut| wire::read::<SignDlc>(cut).unwrap_err().to_string());
    assert_eq!(sign.first().unwrap(), "protocol_version");
    assert_eq!(sign.last().unwrap(), "funding_signatures");
    for fields in [&offer, &accept, &sign] {
        let once: std::collections::BTreeSet<_> = fields.iter().collect();
        assert_eq!(once.len(), fields.len(), "{fields:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0usize..3) {
        let kind = [wire::OFFER, wire::ACCEPT, wire::SIGN][kind].to_be_bytes();
        let bytes = [&kind[..], &bytes].concat();
        prop_assert!(check_offer(&bytes).is_err());
        prop_assert!(check_accept(&bytes, &scene().honest.accepted.fallback).is_err());
        prop_assert!(check_sign(&bytes, &scene().honest.signed.fallback).is_err());
    }

    /// A changed byte is refused, or was one of a number that only orders and still orders the same.
    #[test]
    fn a_changed_byte_never_makes_another_contract(place in any::<prop::sample::Index>(), flip in 1u8..) {
        let n = &scene().honest;
        let flipped = |bytes: Vec<u8>| {
            let mut bytes = bytes;
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            bytes
        };
        let txid = n.funding.compute_txid();
        if let Ok(checked) = check_accept(&flipped(wire::write(&n.accepted.accept)), &n.accepted.fallback) {
            prop_assert_eq!(checked.built.transactions.fund.compute_txid(), txid);
        }
        prop_assert!(check_sign(&flipped(wire::write(&n.signed.sign)), &n.signed.fallback).is_err());
        if let Ok(checked) = check_offer(&flipped(wire::write(&n.offer))) {
            prop_assert_eq!(checked.offer.contract_info.encode(), n.offer.contract_info.encode());
            prop_assert_eq!(checked.offer.offer_collateral, n.offer.offer_collateral);
        }
    }
}
