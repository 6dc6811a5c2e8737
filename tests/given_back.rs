//! A loan given back by the other side: every part of it is made again and compared; whatever is spoiled is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use bitcoin::secp256k1::{ecdsa, SECP256K1};
use bitcoin::{BlockHash, Transaction};
use common::{negotiate, secret, Cast, Negotiated};
use hypothec::contract::clauses::Clause;
use hypothec::contract::recover::{check, proofs, LoanFile, Outline};
use hypothec::contract::settle::VerifiedAttestation;
use hypothec::contract::{fallback, wire, Role};
use hypothec::loan::terms::Terms;
use hypothec::loan::tlv::Bytes;
use hypothec::protocol::given_back::events;
use hypothec::protocol::{Block, Loan, Recorded, Stage};
use std::sync::OnceLock;

/// A loan of a day, and what its sides hold of it.
fn loan() -> &'static (Negotiated, LoanFile) {
    static LOAN: OnceLock<(Negotiated, LoanFile)> = OnceLock::new();
    LOAN.get_or_init(|| {
        let cast = Cast::new();
        let loan = negotiate(&cast, cast.terms(1));
        let file = file(&loan);
        (loan, file)
    })
}

fn file(loan: &Negotiated) -> LoanFile {
    LoanFile {
        terms: Bytes(loan.terms.to_tlv()),
        offer: Bytes(wire::write(&loan.offer)),
        accept: Bytes(wire::write(&loan.accepted.accept)),
        sign: Bytes(wire::write(&loan.signed.sign)),
        borrower_fallback: loan.signed.fallback,
        lender_fallback: loan.accepted.fallback,
        proofs: Bytes(proofs(&loan.announcements)),
    }
}

fn refused(terms: &Terms, file: &LoanFile) -> String {
    check(terms, file).err().map(|e| e.to_string()).unwrap_or_else(|| "taken".into())
}

#[test]
fn what_the_other_side_holds_is_the_loan_for_either_side() {
    let (loan, file) = loan();
    let read = LoanFile::from_tlv(&file.to_tlv()).unwrap();
    assert_eq!(&read, file);
    assert_eq!(Outline::read(&read).unwrap().skeleton, loan.skeleton);
    for role in [Role::Borrower, Role::Lender] {
        let recovered = check(&loan.terms, &read).unwrap();
        assert_eq!((&recovered.skeleton, &recovered.announcements), (&loan.skeleton, &loan.announcements));
        let replayed = recorded(loan, &read, role);
        assert_eq!((replayed.stage, replayed.role, replayed.id), (Stage::Confirming, role, loan.terms.id()));
        assert!(replayed.can_be_given_back());
        assert_eq!(replayed.file().as_ref(), Some(file), "what came back can be given back");
        assert!(replayed.messages.borrower_fallback.is_some() && replayed.messages.lender_fallback.is_some());
    }
}

/// The loan as one side records it when it is given back.
fn recorded(loan: &Negotiated, file: &LoanFile, role: Role) -> Loan {
    let recovered = check(&loan.terms, file).unwrap();
    let peer = if role == Role::Borrower { loan.terms.lender } else { loan.terms.borrower };
    let block = Block { height: 7, hash: bitcoin::hashes::Hash::all_zeros() };
    let all = events((role, peer, [9; 32]), loan.terms.clone(), file.clone(), recovered, (loan.funding.clone(), block));
    let log: Vec<Recorded> = all.into_iter().map(|event| Recorded { at: loan.terms.start, event }).collect();
    Loan::replay(&log).unwrap()
}

/// Do both sides' signatures stand on it?
fn is_signed_by_both(loan: &Negotiated, exit: &Transaction) -> bool {
    let mut keys = [&loan.skeleton.borrower_key, &loan.skeleton.lender_key];
    keys.sort();
    (1..).zip(keys).all(|(at, key)| {
        let signature = bitcoin::ecdsa::Signature::from_slice(exit.input[0].witness.nth(at).unwrap()).unwrap();
        fallback::check_half("exit", exit, 0, &loan.skeleton, key, &signature.signature).is_ok()
    })
}

#[test]
fn a_loan_whose_keys_no_words_give_settles_all_the_same_and_says_that_it_has_none() {
    let (loan, file) = loan();
    let cast = Cast::new();
    let event = loan.terms.touch_days()[0].event();
    let said = cast.oracle.attest(event, vec![event.to_string()]).unwrap();
    let clause = Clause::Touch { index: 0 };
    let attested = VerifiedAttestation::check(&loan.announcements, clause, said).unwrap();
    for (role, own) in [(Role::Borrower, &cast.borrower_key), (Role::Lender, &cast.lender_key)] {
        let back = recorded(loan, file, role);
        assert!(back.has_key(own) && !back.has_key(&secret(77)));
        let exits = [back.settle_with(own, &attested).unwrap(), back.settle_with(&secret(77), &attested).unwrap()];
        assert_eq!(exits[0].compute_txid(), exits[1].compute_txid(), "{role}");
        assert!(exits.iter().all(|exit| is_signed_by_both(loan, exit)), "{role}");
    }
}

#[test]
fn a_loan_of_terms_version_1_and_one_of_two_of_three_oracles_come_back_as_well() {
    let cast = Cast::new();
    let old = Terms {
        version: 1,
        transaction_version: None,
        currency: None,
        minimum_threshold: None,
        curve: None,
        ..cast.terms(1)
    };
    let several = Cast::of(2, 3);
    for loan in [negotiate(&cast, old), negotiate(&several, several.terms(1))] {
        let file = file(&loan);
        let read = LoanFile::from_tlv(&file.to_tlv()).unwrap();
        for role in [Role::Borrower, Role::Lender] {
            let back = recorded(&loan, &read, role);
            assert_eq!((back.id, back.file()), (loan.terms.id(), Some(file.clone())));
        }
        println!("a loan of a day on {} oracles: {} bytes", loan.terms.oracles.len(), file.to_tlv().len());
    }
}

#[test]
fn a_loan_that_is_not_signed_or_not_in_a_block_or_over_is_not_given_back() {
    let (loan, file) = loan();
    let recovered = check(&loan.terms, file).unwrap();
    let block = Block { height: 7, hash: BlockHash::from_raw_hash(bitcoin::hashes::Hash::all_zeros()) };
    let parts = (Role::Lender, loan.terms.borrower, [9; 32]);
    let all = events(parts, loan.terms.clone(), file.clone(), recovered, (loan.funding.clone(), block));
    let log: Vec<Recorded> = all.into_iter().map(|event| Recorded { at: loan.terms.start, event }).collect();
    for length in 1..log.len() {
        assert!(!Loan::replay(&log[..length]).unwrap().can_be_given_back(), "after {length} events");
    }
}

#[test]
fn each_part_of_a_given_back_loan_that_is_another_loans_is_refused_by_name() {
    let (loan, file) = loan();
    // The same two sides, another loan: what an old or a made-up one would be.
    let cast = Cast { borrower_key: secret(30), lender_key: secret(31), ..Cast::new() };
    let terms = Terms { lender_nonce: [99; 32], ..cast.terms(1) };
    let other = negotiate(&cast, terms);
    let others = crate::file(&other);
    let with = |change: &dyn Fn(&mut LoanFile)| {
        let mut file = file.clone();
        change(&mut file);
        refused(&loan.terms, &file)
    };
    let mut wrong = Vec::new();
    for (what, refusal) in [
        ("receipt.oracle_event", with(&|file| file.offer = others.offer.clone())),
        ("accept", with(&|file| file.accept = others.accept.clone())),
        ("contract_id", with(&|file| file.sign = others.sign.clone())),
        ("fallback", with(&|file| file.borrower_fallback = others.borrower_fallback)),
        ("fallback", with(&|file| file.lender_fallback = others.lender_fallback)),
        ("fallback", with(&|file| std::mem::swap(&mut file.borrower_fallback, &mut file.lender_fallback))),
        ("too few", with(&|file| file.proofs.0.truncate(64))),
        ("too many", with(&|file| file.proofs.0.extend([0; 64]))),
        ("nonce", with(&|file| file.proofs.0[70] ^= 1)),
        ("offer", with(&|file| file.offer.0.truncate(500))),
        ("sign", with(&|file| file.sign.0.push(0))),
    ] {
        if !refusal.contains(what) {
            wrong.push(format!("{what}: {refusal}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused(&other.terms, file).contains("receipt.oracle_event"));
    println!("bound given-back-false {} taken", wrong.len());
}

#[test]
fn each_signature_of_either_side_in_a_given_back_loan_counts() {
    let (loan, file) = loan();
    // One bit of one of the signatures at places all over the messages: the lender's in the accept, the borrower's in the sign.
    for name in ["accept", "sign"] {
        let length = if name == "accept" { file.accept.0.len() } else { file.sign.0.len() };
        let mut judged = 0;
        for at in (300..length).step_by(length / 9) {
            let mut spoiled = file.clone();
            let bytes = if name == "accept" { &mut spoiled.accept.0 } else { &mut spoiled.sign.0 };
            bytes[at] ^= 1;
            assert_ne!(refused(&loan.terms, &spoiled), "taken", "{name} at {at}");
            judged += 1;
        }
        assert!(judged >= 8);
    }
    let wrong = ecdsa::Signature::from_compact(&{
        let message = bitcoin::secp256k1::Message::from_digest([5; 32]);
        SECP256K1.sign_ecdsa(&message, &secret(4)).serialize_compact()
    });
    let spoiled = LoanFile { lender_fallback: wrong.unwrap(), ..file.clone() };
    assert!(refused(&loan.terms, &spoiled).contains("fallback"));
}

#[test]
fn terms_that_differ_in_one_field_are_another_loan() {
    let (loan, file) = loan();
    let changed = [
        Terms { lender_nonce: [1; 32], ..loan.terms.clone() },
        Terms { apr: hypothec::loan::units::BasisPoints(1_100), ..loan.terms.clone() },
        Terms { expires: loan.terms.expires.plus(1).unwrap(), ..loan.terms.clone() },
    ];
    for terms in changed {
        assert_ne!(terms.id(), loan.terms.id());
        assert_ne!(refused(&terms, file), "taken");
    }
}

#[test]
fn an_outline_of_whatever_bytes_is_an_outline_or_a_refusal() {
    let (loan, file) = loan();
    let whole = file.to_tlv();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] = bytes[at].wrapping_add(1);
        if let Ok(file) = LoanFile::from_tlv(&bytes) {
            let _ = Outline::read(&file);
        }
        let cut = LoanFile::from_tlv(&whole[..at]);
        assert!(cut.is_err(), "cut at {at}");
    }
    let funding: &Transaction = &loan.funding;
    assert_eq!(Outline::read(file).unwrap().skeleton.funding.txid, funding.compute_txid());
}
