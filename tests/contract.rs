//! A contract from offer to settlement, held against the DLC library's own judgement.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use bitcoin::transaction::Version;
use bitcoin::{Amount, Transaction};
use common::{negotiate, script, secret, Cast, Negotiated};
use hypothec::contract::clauses::{Clause, Payouts};
use hypothec::contract::settle::{place, settle, settle_without_keys, VerifiedAttestation};
use hypothec::contract::{fallback, offer, receipt, watcher, wire, Role};
use hypothec::loan::units::Cents;
use hypothec_oracle::verify::fixing_digits;
use secp256k1_zkp::EcdsaAdaptorSignature;

fn sigs(signatures: &dlc_messages::CetAdaptorSignatures) -> Vec<EcdsaAdaptorSignature> {
    signatures.into()
}

fn attest(cast: &Cast, negotiated: &Negotiated, clause: Clause) -> VerifiedAttestation {
    let terms = &negotiated.terms;
    let attestation = match clause {
        Clause::Touch { index } => {
            let event = terms.touch_days()[index].event();
            cast.oracle.attest(event, vec![event.to_string()]).unwrap()
        }
        Clause::Receipt => receipt::attest(terms, &cast.receipt_key, &cast.receipt_nonce).unwrap(),
        Clause::Fixing => cast.oracle.attest(terms.fixing_event(), fixing_digits(Cents(7_654_399))).unwrap(),
    };
    VerifiedAttestation::check(&negotiated.announcements, clause, attestation).unwrap()
}

#[test]
fn the_library_agrees_that_what_we_negotiated_is_one_signed_contract() {
    let cast = Cast::new();
    let n = negotiate(&cast, cast.terms_as_the_library_has_them(5));
    let verified = ddk::contract::verify_signed_contract(&n.offer, &n.accepted.accept, &n.signed.sign).unwrap();
    assert_eq!(verified.transactions().fund.compute_txid(), n.funding.compute_txid());
    assert_eq!(
        n.funding.output.iter().find(|out| out.script_pubkey == script(&secret(20))).unwrap().value,
        n.terms.principal_sats
    );
    assert!(n.funding.input.iter().all(|input| !input.witness.is_empty()));
}

#[test]
fn every_clause_settles_to_the_librarys_own_transaction_for_both_sides_and_for_a_keyless_watcher() {
    let cast = Cast::new();
    let n = negotiate(&cast, cast.terms_as_the_library_has_them(5));
    let payouts = Payouts::of(&n.terms).unwrap();
    let (borrowers, lenders) =
        (sigs(&n.signed.sign.cet_adaptor_signatures), sigs(&n.accepted.accept.cet_adaptor_signatures));
    for clause in [Clause::Touch { index: 0 }, Clause::Touch { index: 4 }, Clause::Receipt, Clause::Fixing] {
        let attested = attest(&cast, &n, clause);
        let spot = place(&n.terms, &payouts, &attested).unwrap();
        let by_lender = settle(&n.skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot).unwrap();
        let by_borrower = settle(&n.skeleton, Role::Borrower, &cast.borrower_key, &lenders, &spot).unwrap();
        let by_watcher = settle_without_keys(&n.skeleton, &borrowers, &lenders, &spot).unwrap();
        let from_messages = watcher::settle(
            &wire::write(&n.offer),
            &wire::write(&n.accepted.accept),
            &wire::write(&n.signed.sign),
            &attested.attestations(),
        )
        .unwrap();
        assert_eq!(from_messages, by_watcher, "{clause:?}");
        let theirs = ddk::contract::sign_cet(
            &n.offer,
            &n.accepted.accept,
            &n.signed.sign,
            &cast.lender_key,
            &[(0, attested.attestations()[0].clone())],
        )
        .unwrap();
        assert_eq!(by_lender, theirs, "{clause:?}");
        for ours in [&by_lender, &by_borrower, &by_watcher] {
            assert_eq!(ours.compute_txid(), theirs.compute_txid(), "{clause:?}");
            bitcoin_verifies(&n, ours);
        }
        let paid: Amount = ours_sum(&by_watcher);
        assert_eq!(paid, n.terms.total());
    }
}

#[test]
fn every_exit_of_a_new_loan_is_of_version_3_and_otherwise_as_the_library_would_make_it() {
    let cast = Cast::new();
    let n = negotiate(&cast, cast.terms(5));
    let payouts = Payouts::of(&n.terms).unwrap();
    let (borrowers, lenders) =
        (sigs(&n.signed.sign.cet_adaptor_signatures), sigs(&n.accepted.accept.cet_adaptor_signatures));
    let messages = [wire::write(&n.offer), wire::write(&n.accepted.accept), wire::write(&n.signed.sign)];
    let theirs = ddk::contract::create_dlc_transactions(&n.offer, &n.accepted.accept).unwrap();
    for clause in [Clause::Touch { index: 0 }, Clause::Touch { index: 4 }, Clause::Receipt, Clause::Fixing] {
        let attested = attest(&cast, &n, clause);
        let spot = place(&n.terms, &payouts, &attested).unwrap();
        let watched = watcher::settle(&messages[0], &messages[1], &messages[2], &attested.attestations()).unwrap();
        let exits = [
            settle(&n.skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot).unwrap(),
            settle(&n.skeleton, Role::Borrower, &cast.borrower_key, &lenders, &spot).unwrap(),
            watched,
        ];
        for exit in &exits {
            assert_eq!(exit.version, Version(3));
            assert_eq!(exit.compute_txid(), exits[0].compute_txid(), "{clause:?}");
            bitcoin_verifies(&n, exit);
            let mut of_version_2 = Transaction { version: Version::TWO, ..exit.clone() };
            of_version_2.input[0].witness.clear();
            assert!(theirs.cets.contains(&of_version_2), "{clause:?}");
        }
    }
    let built = &n.completed.built;
    assert!(built.transactions.cets.iter().chain([&built.transactions.refund]).all(|exit| exit.version == Version(3)));
    assert_eq!(built.fallback.version, Version(3));
    assert_eq!(built.transactions.fund.version, Version::TWO);
    assert_eq!(built.transactions.fund, theirs.fund);
    // What it cannot judge it does not take for another contract's: it refuses every signature.
    ddk::contract::verify_signed_contract(&n.offer, &n.accepted.accept, &n.signed.sign).err().unwrap();
}

#[test]
fn a_funding_inputs_transaction_is_taken_with_its_witnesses_and_without_and_is_the_same_coin() {
    let cast = Cast::new();
    let n = negotiate(&cast, cast.terms(1));
    let mut previous = n.completed.built.transactions.fund.clone();
    previous.input[0].witness = bitcoin::Witness::from_slice(&[[7; 71]]);
    let vout = previous.output.iter().position(|out| out.script_pubkey.is_p2wpkh()).unwrap() as u32;
    let whole = offer::FundingCoin { previous: previous.clone(), vout }.input().unwrap();
    previous.input.iter_mut().for_each(|input| input.witness.clear());
    let bare = offer::FundingCoin { previous, vout }.input().unwrap();
    assert_eq!(whole.prev_tx[4..6], [0, 1], "the marker and flag of BIP 144");
    assert_eq!(bare.prev_tx[4], u8::try_from(n.completed.built.transactions.fund.input.len()).unwrap());
    wire::check_inputs("offer", std::slice::from_ref(&whole)).unwrap();
    wire::check_inputs("offer", std::slice::from_ref(&bare)).unwrap();
    let twice = wire::check_inputs("offer", &[whole, bare]).unwrap_err().to_string();
    assert!(twice.contains("each coin once"), "{twice}");
}

#[test]
fn a_watcher_is_not_given_the_messages_of_two_contracts() {
    let cast = Cast::new();
    let (one, other) = (negotiate(&cast, cast.terms(1)), negotiate(&cast, cast.terms(2)));
    let said = attest(&cast, &one, Clause::Touch { index: 0 }).attestations();
    let bytes = |n: &Negotiated| [wire::write(&n.offer), wire::write(&n.accepted.accept), wire::write(&n.signed.sign)];
    let (ours, theirs) = (bytes(&one), bytes(&other));
    watcher::settle(&ours[0], &ours[1], &ours[2], &said).unwrap();
    for mixed in [[&theirs[0], &ours[1], &ours[2]], [&ours[0], &theirs[1], &ours[2]], [&ours[0], &ours[1], &theirs[2]]]
    {
        watcher::settle(mixed[0], mixed[1], mixed[2], &said).unwrap_err();
    }
}

#[test]
fn the_fallback_carries_both_halves_and_pays_at_the_reference_price() {
    let cast = Cast::new();
    let n = negotiate(&cast, cast.terms(5));
    let unsigned = n.completed.built.fallback.clone();
    let signed = fallback::complete(unsigned, 0, &n.skeleton, n.signed.fallback, n.accepted.fallback).unwrap();
    bitcoin_verifies(&n, &signed);
    assert_eq!(signed.lock_time.to_consensus_u32(), n.terms.due().0 + 30 * 86_400);
    let lender = signed.output.iter().find(|out| out.script_pubkey == n.skeleton.lender_script).unwrap();
    assert_eq!(
        lender.value,
        Amount::from_sat(n.terms.owed_at_due().0 * 100_000_000 / n.terms.reference_price.0 + 1_000)
    );
}

#[test]
fn an_attestation_of_another_event_or_a_changed_one_settles_nothing() {
    let cast = Cast::new();
    let n = negotiate(&cast, cast.terms(5));
    let days = n.terms.touch_days();
    let second = cast.oracle.attest(days[1].event(), vec![days[1].event().to_string()]).unwrap();
    assert!(VerifiedAttestation::check(&n.announcements, Clause::Touch { index: 0 }, second.clone()).is_err());
    let mut renamed = second;
    renamed.event_id = days[0].event().to_string();
    assert!(VerifiedAttestation::check(&n.announcements, Clause::Touch { index: 0 }, renamed).is_err());
}

fn ours_sum(transaction: &bitcoin::Transaction) -> Amount {
    transaction.output.iter().map(|out| out.value).sum()
}

/// The script interpreter of the library that bitcoin's own code is in would be better; this checks both signatures.
fn bitcoin_verifies(n: &Negotiated, transaction: &bitcoin::Transaction) {
    let witness = &transaction.input[0].witness;
    assert_eq!(witness.len(), 4);
    assert_eq!(witness.nth(3).unwrap(), n.skeleton.witness_script.as_bytes());
    let mut keys = [n.skeleton.borrower_key, n.skeleton.lender_key];
    keys.sort();
    for (index, key) in keys.iter().enumerate() {
        let signature = bitcoin::ecdsa::Signature::from_slice(witness.nth(index + 1).unwrap()).unwrap();
        fallback::check_half("test", transaction, 0, &n.skeleton, key, &signature.signature).unwrap();
    }
}
