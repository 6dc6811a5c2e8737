//! What a hostile peer can put into offer, accept and sign, one thing at a time: each is refused by name, none panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../common/mod.rs"]
mod common;

mod announcements;
mod bytes;
mod repayment;

use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use common::offers::{infos, outcome, with_tlv, Case, DEADLY_OFFERS, OVERRIDES};
use common::{coin, negotiate_with, script, secret, Cast, Negotiated};
use dlc_messages::contract_msgs::ContractInfo;
use dlc_messages::{AcceptDlc, CetAdaptorSignatures, DlcInput, FundingInput, OfferDlc, SignDlc};
use hypothec::contract::clauses::Payouts;
use hypothec::contract::offer::{borrower_shares, FundingCoin};
use hypothec::contract::{accept, adaptor, fallback, offer, sign, wire, ContractError};
use hypothec::loan::curve::{fixing_curve_within, Bounds};
use hypothec::loan::terms::Terms;
use lightning::util::ser::Readable;
use secp256k1_zkp::EcdsaAdaptorSignature;
use std::sync::OnceLock;

/// A whole honest negotiation of a one-day loan with a coarse curve: few signatures, the same shape.
struct Scene {
    cast: Cast,
    payouts: Payouts,
    honest: Negotiated,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let cast = Cast::new();
        let terms = cast.terms(1);
        let bounds = Bounds { middle_ppm: 50_000, tails_ppm: 50_000 };
        let payouts = Payouts { fixing: fixing_curve_within(&terms, bounds).intervals, ..Payouts::of(&terms).unwrap() };
        let honest = negotiate_with(&cast, terms, &payouts);
        Scene { cast, payouts, honest }
    })
}

fn terms() -> &'static Terms {
    &scene().honest.terms
}

fn check_offer(bytes: &[u8]) -> Result<offer::CheckedOffer, ContractError> {
    let scene = scene();
    offer::check_with(scene.payouts.clone(), terms(), &scene.honest.announcements, bytes)
}

fn check_accept(bytes: &[u8], half: &Signature) -> Result<accept::CheckedAccept, ContractError> {
    let n = &scene().honest;
    accept::check_with(scene().payouts.clone(), &n.terms, &n.announcements, &n.offer, bytes, half)
}

fn check_sign(bytes: &[u8], half: &Signature) -> Result<sign::CheckedSign, ContractError> {
    let n = &scene().honest;
    let payouts = scene().payouts.clone();
    sign::check_with(payouts, &n.terms, &n.announcements, &n.offer, &n.accepted.accept, bytes, half)
}

fn refusal<T>(result: Result<T, ContractError>, what: &str) -> String {
    match result {
        Ok(_) => panic!("{what} was let through"),
        Err(error) => error.to_string(),
    }
}

fn repay_with(input: &mut FundingInput, value: u64, script_pubkey: ScriptBuf) {
    let mut previous: Transaction = bitcoin::consensus::deserialize(&input.prev_tx).unwrap();
    previous.output = vec![TxOut { value: Amount::from_sat(value), script_pubkey }];
    input.prev_tx = bitcoin::consensus::serialize(&previous);
}

fn shorten<T>(list: &mut Vec<T>) {
    list.truncate(list.len() - 1);
}

/// Taproot of 32 bytes that are the x of no point.
fn no_key() -> ScriptBuf {
    ScriptBuf::from_bytes([&[0x51, 0x20][..], &[0xff; 32]].concat())
}

#[test]
fn a_refusal_shows_values_as_people_write_them() {
    let said = |change: fn(&mut OfferDlc)| {
        let mut offer = scene().honest.offer.clone();
        change(&mut offer);
        refusal(check_offer(&wire::write(&offer)), "a wrong offer")
    };
    let chain = bitcoin::hex::DisplayHex::to_lower_hex_string(&terms().chain[..]);
    let other = said(|o| o.chain_hash = [0xab; 32]);
    assert_eq!(other, format!("offer.chain_hash is {}, expected {chain}", "ab".repeat(32)));
    let id = said(|o| o.temporary_contract_id = [1; 32]);
    assert_eq!(id, format!("offer.temporary_contract_id is {}, expected {}", "01".repeat(32), terms().id()));
    let number = scene().honest.offer.fund_output_serial_id;
    let serial = said(|o| o.change_serial_id = o.fund_output_serial_id);
    let right = "another number than fund_output_serial_id";
    assert_eq!(serial, format!("offer.change_serial_id is {number}, expected {right}"));
    let money = said(|o| o.offer_collateral = Amount::from_sat(1));
    assert_eq!(money, "offer.offer_collateral is 0.00000001 BTC, expected 1 BTC");
}

const OFFERS: &[Case<OfferDlc>] = &[
    ("another version", "protocol_version", |o| o.protocol_version = 2),
    ("refund to the lender", "contract_flags", |o| o.contract_flags = 1),
    ("another loan", "temporary_contract_id", |o| o.temporary_contract_id[0] ^= 1),
    ("huge fee", "fee_rate_per_vb", |o| o.fee_rate_per_vb = u64::MAX),
    ("late CETs", "cet_locktime", |o| o.cet_locktime = 500_000_001),
    ("early refund", "refund_locktime", |o| o.refund_locktime = 1),
    ("late refund", "refund_locktime", |o| o.refund_locktime = u32::MAX),
    ("less collateral", "offer_collateral", |o| o.offer_collateral = Amount::from_sat(1)),
    ("all the collateral", "offer_collateral", |o| o.offer_collateral = o.get_total_collateral()),
    ("more than money", "offer_collateral", |o| o.offer_collateral = Amount::from_sat(u64::MAX)),
    ("an unknown record", "tlvs", |o| with_tlv(o, &[0xfd, 0xff, 0xff, 0])),
    ("enum payout one sat off", "contract_info", |o| outcome(o).offer_payout += Amount::from_sat(1)),
    ("another outcome", "contract_info", |o| outcome(o).outcome.push('x')),
    ("a clause less", "contract_info", |o| shorten(infos(o))),
    ("a clause twice", "contract_info", |o| {
        let again = infos(o)[0].clone();
        infos(o).push(again)
    }),
    ("clauses in another order", "contract_info", |o| infos(o).swap(0, 1)),
    ("another total", "contract_info", |o| match &mut o.contract_info {
        ContractInfo::DisjointContractInfo(union) => union.total_collateral += Amount::from_sat(1),
        ContractInfo::SingleContractInfo(_) => unreachable!(),
    }),
    ("an empty payout script", "payout_spk", |o| o.payout_spk = ScriptBuf::new()),
    ("payout to a script hash", "payout_spk", |o| o.payout_spk = o.payout_spk.to_p2wsh()),
    ("payout to the principal's address", "payout_spk", |o| o.payout_spk = terms().principal_script.clone()),
    ("change to the principal's address", "change_spk", |o| o.change_spk = terms().principal_script.clone()),
    ("bare change", "change_spk", |o| o.change_spk = ScriptBuf::from_bytes(vec![0x51])),
    ("payout and change to one address", "payout_spk", |o| o.payout_spk = o.change_spk.clone()),
    ("payout to a taproot key that is none", "payout_spk", |o| o.payout_spk = no_key()),
    ("change to a taproot key that is none", "change_spk", |o| o.change_spk = no_key()),
    ("change and funding in one place", "change_serial_id", |o| o.change_serial_id = o.fund_output_serial_id),
    ("no coins", "funding_inputs", |o| o.funding_inputs.clear()),
    ("seventeen coins", "funding_inputs", |o| {
        o.funding_inputs = vec![o.funding_inputs[0].clone(); 17];
    }),
    ("a serial number twice", "input_serial_id", |o| {
        let other = coin(&secret(2), Amount::from_sat(5_000), 9).input().unwrap();
        o.funding_inputs.push(FundingInput { input_serial_id: o.funding_inputs[0].input_serial_id, ..other });
    }),
    ("half a previous transaction", "prev_tx", |o| shorten(&mut o.funding_inputs[0].prev_tx)),
    ("more than a previous transaction", "prev_tx", |o| o.funding_inputs[0].prev_tx.push(0)),
    ("no previous transaction", "prev_tx", |o| o.funding_inputs[0].prev_tx.clear()),
    ("an endless previous transaction", "prev_tx", |o| o.funding_inputs[0].prev_tx = vec![0; 100_001]),
    ("no such output", "prev_tx_vout", |o| o.funding_inputs[0].prev_tx_vout = 1),
    ("a relative timelock", "sequence", |o| o.funding_inputs[0].sequence = 144),
    ("an understated witness", "max_witness_len", |o| o.funding_inputs[0].max_witness_len = 107),
    ("an overstated witness", "max_witness_len", |o| o.funding_inputs[0].max_witness_len = u16::MAX),
    ("a redeem script", "redeem_script", |o| o.funding_inputs[0].redeem_script = ScriptBuf::from_bytes(vec![0x51])),
    ("a splice", "dlc_input", |o| {
        o.funding_inputs[0].dlc_input = Some(DlcInput {
            local_fund_pubkey: o.funding_pubkey,
            remote_fund_pubkey: o.funding_pubkey,
            contract_id: [0; 32],
        })
    }),
    ("a legacy coin", "funding_inputs", |o| {
        let hash = bitcoin::PubkeyHash::from_raw_hash(bitcoin::hashes::Hash::all_zeros());
        repay_with(&mut o.funding_inputs[0], 200_000_000, ScriptBuf::new_p2pkh(&hash))
    }),
    ("a script hash coin", "funding_inputs", |o| {
        repay_with(&mut o.funding_inputs[0], 200_000_000, script(&secret(2)).to_p2wsh())
    }),
    ("a coin of a script of 90 kB", "funding_inputs", |o| {
        repay_with(&mut o.funding_inputs[0], 200_000_000, ScriptBuf::from_bytes(vec![0x51; 90_000]))
    }),
    ("a coin beyond all money", "funding_inputs", |o| {
        repay_with(&mut o.funding_inputs[0], u64::MAX, script(&secret(2)))
    }),
    ("coins that overflow together", "funding_inputs", |o| {
        let mut more = o.funding_inputs[0].clone();
        more.input_serial_id ^= 1;
        repay_with(&mut more, u64::MAX - 5, script(&secret(2)));
        o.funding_inputs.push(more);
    }),
];

#[test]
fn every_field_of_an_offer_that_is_not_as_agreed_is_refused_by_name() {
    for (what, field, spoil) in DEADLY_OFFERS.iter().chain(OFFERS) {
        let mut offer = scene().honest.offer.clone();
        spoil(&mut offer);
        let error = refusal(check_offer(&wire::write(&offer)), what);
        assert!(error.contains(field), "{what}: {error}");
        assert!(error.len() < 700, "{what}: a refusal of {} characters", error.len());
    }
}

#[test]
fn a_coin_too_small_for_the_collateral_never_becomes_a_contract() {
    let n = &scene().honest;
    let mut offer = n.offer.clone();
    let short = borrower_shares(&n.terms, 1).unwrap().required.to_sat() - 1;
    repay_with(&mut offer.funding_inputs[0], short, script(&secret(2)));
    let error = refusal(check_offer(&wire::write(&offer)), "a coin too small");
    assert!(error.contains("offer.funding_inputs"), "{error}");
}

#[test]
fn an_offer_changed_on_its_way_yields_an_accept_that_the_borrower_refuses() {
    #[allow(clippy::type_complexity, reason = "a table read once")]
    let free: &[(&str, fn(&mut OfferDlc))] = &[
        ("funding_pubkey", |o| o.funding_pubkey = secret(99).public_key(bitcoin::secp256k1::SECP256K1)),
        ("payout_spk", |o| o.payout_spk = script(&secret(99))),
        ("change_spk", |o| o.change_spk = script(&secret(99))),
        // Serial numbers only order: one that orders otherwise makes another transaction.
        ("fund_output_serial_id", |o| {
            o.fund_output_serial_id = if o.fund_output_serial_id > o.change_serial_id { 0 } else { u64::MAX }
        }),
    ];
    let n = &scene().honest;
    for (field, spoil) in free {
        let mut offer = n.offer.clone();
        spoil(&mut offer);
        let checked = check_offer(&wire::write(&offer)).unwrap();
        let accepted = accept::make(&n.terms, &n.announcements, checked, scene().cast.accept_parts(&n.terms)).unwrap();
        let error = refusal(check_accept(&wire::write(&accepted.accept), &accepted.fallback), field);
        assert!(error.contains("refund signature") || error.contains("adaptor"), "{field}: {error}");
    }
}

const ACCEPTS: &[Case<AcceptDlc>] = &[
    ("another version", "protocol_version", |a| a.protocol_version = 2),
    ("another loan", "temporary_contract_id", |a| a.temporary_contract_id[0] ^= 1),
    ("no stake", "accept_collateral", |a| a.accept_collateral = Amount::ZERO),
    ("more stake", "accept_collateral", |a| a.accept_collateral += Amount::from_sat(1)),
    ("the principal to the lender", "change_spk", |a| a.change_spk = script(&secret(23))),
    ("the payout to the borrower's payout", "payout_spk", |a| a.payout_spk = scene().honest.offer.payout_spk.clone()),
    ("the payout to the principal", "payout_spk", |a| a.payout_spk = terms().principal_script.clone()),
    ("the payout to the borrower's change", "payout_spk", |a| a.payout_spk = scene().honest.offer.change_spk.clone()),
    ("the payout to nobody", "payout_spk", |a| a.payout_spk = ScriptBuf::new()),
    ("the payout to a longer script, off the principal", "payout_spk", |a| {
        let key = bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(terms().receipt_key);
        a.payout_spk = ScriptBuf::new_p2tr_tweaked(key)
    }),
    ("the borrower's own key", "funding_pubkey", |a| a.funding_pubkey = scene().honest.offer.funding_pubkey),
    ("negotiation", "negotiation_fields", |a| {
        // An empty list of fields for a union, where there was nothing: the last byte of the message.
        let mut bytes = wire::write(a);
        bytes.pop();
        bytes.extend([1, 1, 0]);
        *a = AcceptDlc::read(&mut lightning::io::Cursor::new(bytes)).unwrap();
    }),
    ("a record", "tlvs", |a| with_tlv(a, OVERRIDES)),
    ("no coin", "funding_inputs", |a| a.funding_inputs.clear()),
    ("two coins", "funding_inputs", |a| {
        a.funding_inputs.push(coin(&secret(3), Amount::from_sat(9_999), 7).input().unwrap())
    }),
    ("a coin one sat short of the principal", "funding_inputs.value", |a| {
        let right = offer::lender_coin_value(terms()).unwrap().to_sat();
        repay_with(&mut a.funding_inputs[0], right - 1, script(&secret(3)))
    }),
    ("a coin one sat too large", "funding_inputs.value", |a| {
        let right = offer::lender_coin_value(terms()).unwrap().to_sat();
        repay_with(&mut a.funding_inputs[0], right + 1, script(&secret(3)))
    }),
    ("a coin without end", "funding_inputs", |a| repay_with(&mut a.funding_inputs[0], u64::MAX, script(&secret(3)))),
    ("a script hash coin", "funding_inputs", |a| {
        let right = offer::lender_coin_value(terms()).unwrap().to_sat();
        repay_with(&mut a.funding_inputs[0], right, script(&secret(3)).to_p2wsh())
    }),
    ("the borrower's coin", "funding_inputs", |a| a.funding_inputs[0] = scene().honest.offer.funding_inputs[0].clone()),
    ("the serial number of the borrower's coin", "funding_inputs", |a| {
        a.funding_inputs[0].input_serial_id = scene().honest.offer.funding_inputs[0].input_serial_id
    }),
    ("an understated witness", "max_witness_len", |a| a.funding_inputs[0].max_witness_len = 66),
    ("a relative timelock", "sequence", |a| a.funding_inputs[0].sequence = 0),
    ("a splice", "dlc_input", |a| {
        let key = a.funding_pubkey;
        let splice = DlcInput { local_fund_pubkey: key, remote_fund_pubkey: key, contract_id: [0; 32] };
        a.funding_inputs[0].dlc_input = Some(splice)
    }),
    ("change in the funding output's place", "serial ids", |a| {
        a.change_serial_id = scene().honest.offer.fund_output_serial_id
    }),
    ("change in the change's place", "serial ids", |a| a.change_serial_id = scene().honest.offer.change_serial_id),
    ("payout in the payout's place", "serial ids", |a| a.payout_serial_id = scene().honest.offer.payout_serial_id),
    ("another key", "refund", |a| a.funding_pubkey = secret(99).public_key(bitcoin::secp256k1::SECP256K1)),
    ("another payout", "refund", |a| a.payout_spk = script(&secret(99))),
    ("a signature less", "count", |a| shorten(&mut a.cet_adaptor_signatures.ecdsa_adaptor_signatures)),
    ("a signature more", "count", |a| {
        let last = a.cet_adaptor_signatures.ecdsa_adaptor_signatures[0].clone();
        a.cet_adaptor_signatures.ecdsa_adaptor_signatures.push(last)
    }),
    ("no signatures", "count", |a| a.cet_adaptor_signatures.ecdsa_adaptor_signatures.clear()),
    ("the fallback's half for the refund", "refund", |a| a.refund_signature = scene().honest.accepted.fallback),
    ("the borrower's half for the refund", "refund", |a| {
        a.refund_signature = scene().honest.signed.sign.refund_signature
    }),
];

#[test]
fn every_field_of_an_accept_that_is_not_as_agreed_is_refused_by_name() {
    let n = &scene().honest;
    for (what, field, spoil) in ACCEPTS {
        let mut message = n.accepted.accept.clone();
        spoil(&mut message);
        let error = refusal(check_accept(&wire::write(&message), &n.accepted.fallback), what);
        assert!(error.contains(field), "{what}: {error}");
        assert!(error.len() < 700, "{what}: a refusal of {} characters", error.len());
    }
}

const SIGNS: &[Case<SignDlc>] = &[
    ("another version", "protocol_version", |s| s.protocol_version = 2),
    ("another contract", "contract_id", |s| s.contract_id[31] ^= 1),
    ("a record", "tlvs", |s| with_tlv(s, OVERRIDES)),
    ("no witness", "funding_signatures", |s| s.funding_signatures.funding_signatures.clear()),
    ("an empty witness", "funding_signatures", |s| s.funding_signatures.funding_signatures[0].witness_elements.clear()),
    ("a witness more", "funding_signatures", |s| {
        let more = s.funding_signatures.funding_signatures[0].clone();
        s.funding_signatures.funding_signatures.push(more)
    }),
    ("an element more", "funding_signatures", |s| {
        let elements = &mut s.funding_signatures.funding_signatures[0].witness_elements;
        elements.push(elements[0].clone())
    }),
    ("a huge element", "funding_signatures", |s| {
        s.funding_signatures.funding_signatures[0].witness_elements[0].witness = vec![0; 100_000]
    }),
    ("another sighash", "funding_signatures", |s| {
        *s.funding_signatures.funding_signatures[0].witness_elements[0].witness.last_mut().unwrap() = 0x81
    }),
    ("elements swapped", "funding_signatures", |s| {
        s.funding_signatures.funding_signatures[0].witness_elements.swap(0, 1)
    }),
    ("a signature less", "count", |s| shorten(&mut s.cet_adaptor_signatures.ecdsa_adaptor_signatures)),
    ("the lender's own signatures", "adaptor 0", |s| {
        s.cet_adaptor_signatures = scene().honest.accepted.accept.cet_adaptor_signatures.clone()
    }),
    ("the lender's own refund", "refund", |s| s.refund_signature = scene().honest.accepted.accept.refund_signature),
    ("the fallback's half for the refund", "refund", |s| s.refund_signature = scene().honest.signed.fallback),
];

#[test]
fn every_field_of_a_sign_that_is_not_as_agreed_is_refused_by_name() {
    let n = &scene().honest;
    for (what, field, spoil) in SIGNS {
        let mut message = n.signed.sign.clone();
        spoil(&mut message);
        let error = refusal(check_sign(&wire::write(&message), &n.signed.fallback), what);
        assert!(error.contains(field), "{what}: {error}");
    }
}

#[test]
fn a_wrong_fallback_half_is_refused_on_both_sides() {
    let n = &scene().honest;
    let (accept, sign) = (wire::write(&n.accepted.accept), wire::write(&n.signed.sign));
    for wrong in [n.signed.fallback, n.accepted.accept.refund_signature] {
        assert!(refusal(check_accept(&accept, &wrong), "a half").contains("fallback"));
    }
    for wrong in [n.accepted.fallback, n.signed.sign.refund_signature] {
        assert!(refusal(check_sign(&sign, &wrong), "a half").contains("fallback"));
    }
}

#[test]
fn a_signature_by_another_key_or_in_another_slot_is_found_wherever_it_is() {
    let n = &scene().honest;
    let built = &n.completed.built;
    let foreign = adaptor::sign(&built.slots, built.signing(), &secret(99)).unwrap();
    let honest: Vec<EcdsaAdaptorSignature> = (&n.accepted.accept.cet_adaptor_signatures).into();
    let key = &n.accepted.accept.funding_pubkey;
    let judge = |signatures: &[EcdsaAdaptorSignature]| adaptor::verify(&built.slots, built.signing(), key, signatures);
    judge(&honest).unwrap();
    for slot in 0..honest.len() {
        let mut wrong = honest.clone();
        wrong[slot] = foreign[slot];
        assert!(refusal(judge(&wrong), "a foreign key").contains(&format!("adaptor {slot} ")));
        let mut swapped = honest.clone();
        swapped.swap(slot, (slot + 1) % honest.len());
        assert!(refusal(judge(&swapped), "another slot").contains("adaptor"));
    }
    let mut message = n.accepted.accept.clone();
    message.cet_adaptor_signatures = CetAdaptorSignatures::from(foreign.as_slice());
    assert!(refusal(check_accept(&wire::write(&message), &n.accepted.fallback), "foreign").contains("adaptor"));
}

#[test]
fn no_two_signatures_share_a_slot() {
    let slots = &scene().honest.completed.built.slots;
    for (index, slot) in slots.iter().enumerate() {
        assert!(slots.iter().skip(index + 1).all(|other| other.point != slot.point), "{index}");
    }
}

#[test]
fn whatever_the_serial_numbers_the_funding_transaction_pays_the_same() {
    let n = &scene().honest;
    let numbers = [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    for fund in numbers {
        for change in numbers.into_iter().filter(|change| *change != fund) {
            let mut offer = n.offer.clone();
            (offer.fund_output_serial_id, offer.change_serial_id) = (fund, change);
            let checked = check_offer(&wire::write(&offer)).unwrap();
            let parts = scene().cast.accept_parts(&n.terms);
            let built = accept::make(&n.terms, &n.announcements, checked, parts).unwrap().built;
            let fund = &built.transactions.fund;
            let paid = |script: &ScriptBuf| fund.output.iter().find(|out| out.script_pubkey == *script).unwrap().value;
            assert_eq!(paid(&n.terms.principal_script), n.terms.principal_sats);
            assert_eq!(
                built.skeleton.funding,
                OutPoint { txid: fund.compute_txid(), vout: built.skeleton.funding.vout }
            );
            let locked = &fund.output[built.skeleton.funding.vout as usize];
            assert_eq!(locked.script_pubkey, built.skeleton.witness_script.to_p2wsh());
            assert!(locked.value >= n.terms.total());
            for cet in &built.transactions.cets {
                let (lender, borrower) = hypothec::protocol::event::paid(&built.skeleton, cet);
                assert_eq!(lender + borrower, n.terms.total());
            }
        }
    }
}

#[test]
fn a_coin_of_ours_that_is_not_ours_to_fund_with_is_refused_before_anything_is_signed() {
    let legacy = FundingCoin {
        previous: Transaction {
            output: vec![TxOut { value: Amount::ONE_BTC, script_pubkey: ScriptBuf::new() }],
            ..coin(&secret(2), Amount::ONE_BTC, 3).previous
        },
        vout: 0,
    };
    assert!(legacy.input().unwrap_err().to_string().contains("P2WPKH"));
    let beyond = FundingCoin { vout: 7, ..coin(&secret(2), Amount::ONE_BTC, 3) };
    assert!(beyond.input().unwrap_err().to_string().contains("prev_tx_vout"));
    let n = &scene().honest;
    let half = fallback::half_signature(&n.completed.built.fallback, 1, &n.skeleton, &scene().cast.lender_key);
    assert!(half.is_err(), "there is no second input to sign");
}
