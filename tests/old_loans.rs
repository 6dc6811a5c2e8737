//! A loan of terms version 1, as the release before version 2 wrote it down: it is read, named, settled and watched as
//! it was. The data are that release's own, with a coarse curve so that they stay short. And what was written later of one
//! that is given up before a block has its funding.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hex::FromHex;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Transaction};
use common::{secret, Cast};
use dlc_messages::CetAdaptorSignatures;
use hypothec::contract::clauses::{Announcements, Clause, Payouts};
use hypothec::contract::settle::{place, settle, settle_without_keys, VerifiedAttestation};
use hypothec::contract::{fallback, refund, watcher, wire, AcceptDlc, Role, SignDlc};
use hypothec::loan::curve::{fixing_curve_within, Bounds};
use hypothec::loan::Terms;
use hypothec::protocol::unfunded::{away_until, must_stand};
use hypothec::protocol::{Event, Loan, Recorded, Stage};
use secp256k1_zkp::EcdsaAdaptorSignature;
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/loan_of_terms_version_1.json");

fn golden() -> Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    Vec::from_hex(value.as_str().unwrap()).unwrap()
}

fn transaction(value: &Value) -> Transaction {
    deserialize_hex(value.as_str().unwrap()).unwrap()
}

fn log(role: &str) -> Vec<Recorded> {
    serde_json::from_value(golden()[role].clone()).unwrap()
}

fn agreed(log: &[Recorded]) -> (Terms, Announcements) {
    match &log[0].event {
        Event::Agreed { terms, announcements, .. } => ((**terms).clone(), (**announcements).clone()),
        other => panic!("{other:?}"),
    }
}

fn sigs(signatures: &CetAdaptorSignatures) -> Vec<EcdsaAdaptorSignature> {
    signatures.into()
}

#[test]
fn the_log_of_a_loan_of_version_1_is_read_and_its_terms_keep_their_name() {
    let golden = golden();
    for (role, stage) in [("borrower", Stage::Signed), ("lender", Stage::Funded)] {
        let log = log(role);
        let (terms, _) = agreed(&log);
        assert_eq!(terms, Terms::read(&hex(&golden["terms"])).unwrap());
        assert_eq!(terms.to_tlv(), hex(&golden["terms"]));
        assert_eq!(terms.id().to_string(), golden["loan"].as_str().unwrap());
        assert_eq!((terms.version, terms.exit_version(), terms.check()), (1, 2, Ok(())));
        let loan = Loan::replay(&log).unwrap();
        assert_eq!((loan.id, &loan.stage), (terms.id(), &stage), "{role}");
        assert_eq!(loan.skeleton.unwrap().exit_version, 2);
        // What is written from now on reads as the same.
        let again: Vec<Recorded> = serde_json::from_str(&serde_json::to_string(&log).unwrap()).unwrap();
        assert_eq!(again, log);
    }
}

#[test]
fn every_exit_of_a_loan_of_version_1_is_the_transaction_it_was_signed_for() {
    let (golden, cast, log) = (golden(), Cast::new(), log("lender"));
    let (terms, announcements) = agreed(&log);
    let skeleton = Loan::replay(&log).unwrap().skeleton.unwrap();
    let bytes = |pick: fn(&Event) -> Option<&Vec<u8>>| log.iter().find_map(|recorded| pick(&recorded.event)).unwrap();
    let offer = bytes(|event| match event {
        Event::Accepted { offer, .. } => Some(offer),
        _ => None,
    });
    let accept = bytes(|event| match event {
        Event::Accepted { accept, .. } => Some(accept),
        _ => None,
    });
    let sign = bytes(|event| match event {
        Event::Funded { sign, .. } => Some(sign),
        _ => None,
    });
    let (lenders, borrowers): (AcceptDlc, SignDlc) = (wire::read(accept).unwrap(), wire::read(sign).unwrap());
    let (lenders, borrowers) = (sigs(&lenders.cet_adaptor_signatures), sigs(&borrowers.cet_adaptor_signatures));
    let bounds = Bounds { middle_ppm: 300_000, tails_ppm: 300_000 };
    let payouts = Payouts { fixing: fixing_curve_within(&terms, bounds).intervals, ..Payouts::of(&terms).unwrap() };
    for (name, clause) in
        [("touch", Clause::Touch { index: 1 }), ("receipt", Clause::Receipt), ("fixing", Clause::Fixing)]
    {
        let attestation = wire::read_attestation(&hex(&golden["exits"][name]["attestation"])).unwrap();
        let expected = transaction(&golden["exits"][name]["transaction"]);
        assert_eq!(expected.version, Version::TWO);
        let attested = VerifiedAttestation::check(&announcements, clause, attestation.clone()).unwrap();
        let spot = place(&terms, &payouts, &attested).unwrap();
        let exits = [
            settle(&skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot).unwrap(),
            settle(&skeleton, Role::Borrower, &cast.borrower_key, &lenders, &spot).unwrap(),
            settle_without_keys(&skeleton, &borrowers, &lenders, &spot).unwrap(),
            watcher::settle(offer, accept, sign, &[attestation]).unwrap(),
        ];
        for exit in exits {
            assert_eq!(exit.compute_txid(), expected.compute_txid(), "{name}");
            let mut keys = [&skeleton.borrower_key, &skeleton.lender_key];
            keys.sort();
            for (at, key) in keys.into_iter().enumerate() {
                let signature = bitcoin::ecdsa::Signature::from_slice(exit.input[0].witness.nth(at + 1).unwrap());
                fallback::check_half(name, &exit, 0, &skeleton, key, &signature.unwrap().signature).unwrap();
            }
        }
    }
    assert_eq!(refund::transaction(&terms, &skeleton).unwrap(), transaction(&golden["refund"]));
    let fell_back = fallback::transaction(&terms, &skeleton).unwrap();
    assert_eq!(fell_back, transaction(&golden["fallback"]));
    // Both halves of refund and fallback verify over them.
    let (accept, sign): (AcceptDlc, SignDlc) = (wire::read(accept).unwrap(), wire::read(sign).unwrap());
    let refunded = transaction(&golden["refund"]);
    for (key, half) in
        [(&skeleton.lender_key, accept.refund_signature), (&skeleton.borrower_key, sign.refund_signature)]
    {
        fallback::check_half("refund", &refunded, 0, &skeleton, key, &half).unwrap();
    }
    assert_eq!(skeleton.lender_key, secret(5).public_key(bitcoin::secp256k1::SECP256K1));
}

/// A log of that release, and what a later one wrote after it.
fn given_up(role: &str, after: &str) -> (Vec<Recorded>, Value) {
    let golden: Value = serde_json::from_str(include_str!("golden/loan_given_up.json")).unwrap();
    let more: Vec<Recorded> = serde_json::from_value(golden[after].clone()).unwrap();
    ([log(role), more].concat(), golden[after].clone())
}

#[test]
fn what_was_given_up_before_it_was_written_what_is_at_stake_is_still_taken_back() {
    let (log, _) = given_up("borrower", "first");
    let loan = Loan::replay(&log).unwrap();
    assert_eq!((&loan.stage, loan.unfunded.at_stake()), (&Stage::Signed, Amount::ZERO));
    assert_eq!(loan.unfunded.given_up(), Some("the funding transaction was not out 60 s after the last signature"));
    assert_eq!(loan.withdrawal.as_ref().map(|tx| tx.input[0].previous_output), Some(loan.coins[0]));
}

#[test]
fn a_funding_that_was_displaced_came_back_and_was_given_up_reads_back_as_it_was_written() {
    let (log, written) = given_up("lender", "displaced");
    let at = |count: usize| Loan::replay(&log[..log.len() - 8 + count]).unwrap();
    assert_eq!(at(1).stage, Stage::Confirming);
    assert!(at(2).unfunded.away().is_some_and(|away| away.rival.is_none()));
    assert_eq!(at(3).unfunded.away(), None);
    let away = at(4).unfunded.away().unwrap();
    assert_eq!((away.since.0, away.rival.unwrap().txid.to_string()), (1_583_934_220, "11".repeat(32)));
    // Four seconds were gone before.
    assert_eq!(away_until(&at(4)).map(|until| until.0), Some(1_583_934_220 + 56));
    assert!(!must_stand(&at(6)) && must_stand(&at(7)));
    let last = at(8);
    assert_eq!((&last.stage, last.unfunded.at_stake()), (&Stage::Confirming, Amount::from_sat(956_480)));
    let paid = last.withdrawal.unwrap().output[0].value;
    assert!(paid < at(7).withdrawal.unwrap().output[0].value, "what pays more takes its place");
    assert_eq!(serde_json::to_value(&log[log.len() - 8..]).unwrap(), written);
}
