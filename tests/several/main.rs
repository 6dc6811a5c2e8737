//! Contracts on several oracles, held against the DLC library's own judgement; and the attack that nonce proofs are for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod common;
mod rogue_nonce;

use bitcoin::Transaction;
use common::{negotiate, Cast, Negotiated};
use hypothec::contract::clauses::{check_announcements, Clause, Payouts};
use hypothec::contract::settle::{place, settle, settle_without_keys, VerifiedAttestation};
use hypothec::contract::{difference, fallback, offer, receipt, watcher, wire, ContractError, OracleAttestation, Role};
use hypothec::loan::terms::Terms;
use hypothec::loan::units::Cents;
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::verify::fixing_digits;
use secp256k1_zkp::EcdsaAdaptorSignature;
use std::sync::OnceLock;

/// Two of three oracles, three days, negotiated once.
struct Scene {
    cast: Cast,
    n: Negotiated,
    payouts: Payouts,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let cast = Cast::of(2, 3);
        let n = negotiate(&cast, cast.terms_as_the_library_has_them(3));
        let payouts = Payouts::of(&n.terms).unwrap();
        Scene { cast, n, payouts }
    })
}

pub fn sigs(signatures: &dlc_messages::CetAdaptorSignatures) -> Vec<EcdsaAdaptorSignature> {
    signatures.into()
}

/// Both signatures of a settled contract.
pub fn bitcoin_verifies(n: &Negotiated, transaction: &Transaction) {
    let witness = &transaction.input[0].witness;
    assert_eq!(witness.nth(3).unwrap(), n.skeleton.witness_script.as_bytes());
    let mut keys = [n.skeleton.borrower_key, n.skeleton.lender_key];
    keys.sort();
    for (index, key) in keys.iter().enumerate() {
        let signature = bitcoin::ecdsa::Signature::from_slice(witness.nth(index + 1).unwrap()).unwrap();
        fallback::check_half("test", transaction, 0, &n.skeleton, key, &signature.signature).unwrap();
    }
}

fn touch(oracle: &OracleKeys, n: &Negotiated, index: usize) -> OracleAttestation {
    let event = n.terms.touch_days()[index].event();
    oracle.attest(event, vec![event.to_string()]).unwrap()
}

fn fixing(oracle: &OracleKeys, n: &Negotiated, dollars: u64) -> OracleAttestation {
    oracle.attest(n.terms.fixing_event(), fixing_digits(Cents(dollars * 100))).unwrap()
}

/// Settles by both sides and by a watcher without keys, and requires that all of them, and the library given the same
/// words, make one transaction.
fn settles(clause: Clause, words: Vec<OracleAttestation>) -> Result<Transaction, ContractError> {
    settles_in(scene(), clause, words)
}

fn settles_in(scene: &Scene, clause: Clause, words: Vec<OracleAttestation>) -> Result<Transaction, ContractError> {
    let Scene { cast, n, payouts } = scene;
    let attested = VerifiedAttestation::check_all(&n.announcements, clause, words)?;
    let spot = place(&n.terms, payouts, &attested)?;
    let (borrowers, lenders) =
        (sigs(&n.signed.sign.cet_adaptor_signatures), sigs(&n.accepted.accept.cet_adaptor_signatures));
    let by_lender = settle(&n.skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot)?;
    let by_borrower = settle(&n.skeleton, Role::Borrower, &cast.borrower_key, &lenders, &spot)?;
    let by_watcher = settle_without_keys(&n.skeleton, &borrowers, &lenders, &spot)?;
    let (offer, accept, sign) = (&n.offer, &n.accepted.accept, &n.signed.sign);
    let mut shuffled = attested.attestations();
    shuffled.reverse();
    let from_messages = watcher::settle(&wire::write(offer), &wire::write(accept), &wire::write(sign), &shuffled)?;
    assert_eq!(from_messages, by_watcher);
    let index = |word: &OracleAttestation| n.terms.oracles.iter().position(|key| *key == word.oracle_public_key);
    let indexed: Vec<_> = attested.attestations().into_iter().map(|word| (index(&word).unwrap_or(0), word)).collect();
    let theirs = ddk::contract::sign_cet(offer, accept, sign, &cast.lender_key, &indexed).unwrap();
    assert_eq!(by_lender, theirs, "{clause:?}");
    for ours in [&by_lender, &by_borrower, &by_watcher] {
        assert_eq!(ours.compute_txid(), theirs.compute_txid());
        bitcoin_verifies(n, ours);
    }
    Ok(by_watcher)
}

#[test]
fn the_library_agrees_that_what_we_negotiated_is_one_signed_contract() {
    let Scene { n, payouts, .. } = scene();
    let verified = ddk::contract::verify_signed_contract(&n.offer, &n.accepted.accept, &n.signed.sign).unwrap();
    assert_eq!(verified.transactions().fund.compute_txid(), n.funding.compute_txid());
    let fixing = difference::signatures(payouts.quorum, &payouts.fixing).unwrap();
    let all = sigs(&n.signed.sign.cet_adaptor_signatures).len();
    assert_eq!(all, 3 * payouts.touches.len() + 1 + fixing);
}

#[test]
fn any_two_of_three_settle_a_touch_in_whatever_order_they_come_and_one_alone_does_not() {
    let Scene { cast, n, payouts } = scene();
    let oracles = cast.oracles();
    for index in [0, payouts.touches.len() - 1] {
        let mut txids = Vec::new();
        for order in [[0, 1].as_slice(), &[2, 0], &[1, 2], &[2, 1, 0]] {
            let words = order.iter().map(|oracle| touch(oracles[*oracle], n, index)).collect();
            txids.push(settles(Clause::Touch { index }, words).unwrap().compute_txid());
        }
        txids.dedup();
        assert_eq!(txids.len(), 1, "whoever says it, it pays the same");
        let alone = settles(Clause::Touch { index }, vec![touch(oracles[1], n, index)]).unwrap_err().to_string();
        assert!(alone.contains("1 of the oracles said it, 2 must"), "{alone}");
        let twice = vec![touch(oracles[1], n, index), touch(oracles[1], n, index)];
        assert!(settles(Clause::Touch { index }, twice).unwrap_err().to_string().contains("counted twice"));
    }
}

#[test]
fn two_touches_of_different_days_are_no_touch() {
    let Scene { cast, n, .. } = scene();
    let oracles = cast.oracles();
    let words = vec![touch(oracles[0], n, 0), touch(oracles[1], n, 1)];
    assert!(settles(Clause::Touch { index: 0 }, words).is_err());
}

#[test]
fn every_pair_is_tried_and_the_price_of_the_lower_index_pays() {
    let Scene { cast, n, payouts } = scene();
    let oracles = cast.oracles();
    let said = |prices: &[(usize, u64)]| {
        prices.iter().map(|(oracle, dollars)| fixing(oracles[*oracle], n, *dollars)).collect::<Vec<_>>()
    };
    let paid = |prices: &[(usize, u64)]| {
        let transaction = settles(Clause::Fixing, said(prices)).unwrap();
        transaction.output.iter().find(|out| out.script_pubkey == n.skeleton.lender_script).unwrap().value
    };
    let at = |dollars| payouts.fixing_step(dollars).unwrap().1.lender;
    assert_eq!(paid(&[(0, 100_000), (1, 100_400)]), at(100_000));
    assert_eq!(paid(&[(2, 100_400), (0, 99_900)]), at(99_900));
    assert_eq!(paid(&[(1, 76_543), (2, 76_100)]), at(76_543));
    // The first lies, in either direction; the two others agree.
    assert_eq!(paid(&[(0, 40_000), (1, 100_000), (2, 100_500)]), at(100_000));
    assert_eq!(paid(&[(0, 400_000), (1, 100_000), (2, 100_500)]), at(100_000));
    // The second lies.
    assert_eq!(paid(&[(0, 99_990), (1, 1_048_575), (2, 100_500)]), at(99_990));
    assert_eq!(paid(&[(0, 0), (1, 0)]), at(0));
    assert_eq!(paid(&[(1, 1_048_575), (2, 1_048_575)]), at(1_048_575));
    let apart = settles(Clause::Fixing, said(&[(0, 90_000), (1, 95_000), (2, 100_000)])).unwrap_err().to_string();
    assert!(apart.contains("no two prices are near enough"), "{apart}");
    assert!(settles(Clause::Fixing, said(&[(2, 100_000)])).unwrap_err().to_string().contains("2 must"));
}

#[test]
fn at_a_tenth_of_the_price_the_oracles_must_be_ten_times_nearer() {
    let cast = Cast::of(2, 3);
    let hundred = cast.terms_as_the_library_has_them(1);
    let ten = |cents: Cents| Cents(cents.0 / 10);
    let terms = Terms { reference_price: ten(hundred.reference_price), principal: ten(hundred.principal), ..hundred };
    let n = negotiate(&cast, terms);
    let payouts = Payouts::of(&n.terms).unwrap();
    assert_eq!((payouts.quorum.always(), payouts.quorum.never()), (64, 128));
    let scene = Scene { cast, n, payouts };
    let said = |prices: [u64; 2]| {
        let words = prices.iter().zip(scene.cast.oracles()).map(|(price, oracle)| fixing(oracle, &scene.n, *price));
        settles_in(&scene, Clause::Fixing, words.collect())
    };
    said([10_000, 10_064]).unwrap();
    said([10_064, 10_000]).unwrap();
    for apart in [[10_000, 10_128], [10_128, 10_000], [10_000, 10_400]] {
        assert!(said(apart).unwrap_err().to_string().contains("near enough"), "{apart:?}");
    }
}

#[test]
fn the_receipt_is_the_lenders_word_alone() {
    let Scene { cast, n, .. } = scene();
    let word = receipt::attest(&n.terms, &cast.receipt_key, &cast.receipt_nonce).unwrap();
    settles(Clause::Receipt, vec![word.clone()]).unwrap();
    let beside = vec![touch(&cast.oracle, n, 0), word];
    assert!(settles(Clause::Receipt, beside).unwrap_err().to_string().contains("is none of this clause"));
}

#[test]
fn three_of_five_and_one_of_two_are_contracts_too() {
    for (threshold, count) in [(3, 5), (1, 2)] {
        let cast = Cast::of(threshold, count);
        let n = negotiate(&cast, cast.terms_as_the_library_has_them(1));
        ddk::contract::verify_signed_contract(&n.offer, &n.accepted.accept, &n.signed.sign).unwrap();
        let payouts = Payouts::of(&n.terms).unwrap();
        let oracles = cast.oracles();
        let last = usize::from(count) - 1;
        let group: Vec<usize> = (0..usize::from(threshold) - 1).chain([last]).collect();
        for clause in [Clause::Touch { index: 1 }, Clause::Fixing] {
            let word = |oracle: &usize| match clause {
                Clause::Touch { index } => touch(oracles[*oracle], &n, index),
                _ => fixing(oracles[*oracle], &n, 100_000 + 150 * *oracle as u64),
            };
            let words = group.iter().map(word).collect();
            let attested = VerifiedAttestation::check_all(&n.announcements, clause, words).unwrap();
            let spot = place(&n.terms, &payouts, &attested).unwrap();
            let borrowers = sigs(&n.signed.sign.cet_adaptor_signatures);
            let ours = settle(&n.skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot).unwrap();
            let indexed: Vec<_> = group.iter().copied().zip(attested.attestations()).collect();
            let (accept, sign) = (&n.accepted.accept, &n.signed.sign);
            let theirs = ddk::contract::sign_cet(&n.offer, accept, sign, &cast.lender_key, &indexed).unwrap();
            assert_eq!(ours, theirs, "{threshold} of {count}, {clause:?}");
        }
    }
}

#[test]
fn every_oracles_every_nonce_is_proved_and_stands_once() {
    let Scene { cast, n, payouts } = scene();
    let bytes = wire::write(&n.offer);
    let refused = |change: &dyn Fn(&mut hypothec::contract::clauses::Announcements)| {
        let mut announcements = n.announcements.clone();
        change(&mut announcements);
        let checked = offer::check_with(payouts.clone(), &n.terms, &announcements, &bytes).err().unwrap();
        let made = offer::make_with(payouts, &n.terms, &announcements, cast.offer_parts(&n.terms)).unwrap_err();
        assert_eq!(checked, made, "borrower and lender refuse alike");
        checked.to_string()
    };
    for oracle in 0..3 {
        let key = n.terms.oracles[oracle].to_string();
        for proofs in 0..2 {
            let said = refused(&|a| match proofs {
                0 => a.oracles[oracle].touches[1].nonce_proofs.clear(),
                _ => drop(a.oracles[oracle].fixing.nonce_proofs.pop()),
            });
            assert!(said.contains("nonce proofs") && said.contains(&key), "{said}");
        }
    }
    assert!(refused(&|a| drop(a.oracles.pop())).contains("announcements.oracles is 2, expected 3"));
    assert!(refused(&|a| a.oracles.swap(0, 1)).contains("oracle key"));
    // One oracle under two names, or one nonce under two oracles.
    let mut terms = n.terms.clone();
    terms.oracles[1] = terms.oracles[0];
    assert!(terms.check().unwrap_err().to_string().contains("named twice"));
    assert!(offer::check_with(payouts.clone(), &terms, &n.announcements, &bytes).is_err());
    check_announcements(&n.terms, &n.announcements).unwrap();
}

#[test]
fn logs_of_loans_with_one_oracle_are_read_as_they_were_first_written() {
    use hypothec::contract::clauses::Announcements;
    use hypothec::protocol::Event;
    let cast = Cast::new();
    let terms = cast.terms(1);
    let now = cast.announcements(&terms);
    let mut old = serde_json::to_value(&now).unwrap();
    let announced = old.as_object_mut().unwrap().remove("oracles").unwrap();
    for field in ["touches", "fixing"] {
        old[field] = announced[0][field].clone();
    }
    assert_eq!(serde_json::from_value::<Announcements>(old).unwrap(), now);
    let event = terms.touch_days()[0].event();
    let word = cast.oracle.attest(event, vec![event.to_string()]).unwrap();
    let clause = Clause::Touch { index: 0 };
    let transaction = common::coin(&common::secret(3), bitcoin::Amount::ONE_BTC, 1).previous;
    let attested = Event::Attested { clause, attestations: vec![word.clone()], transaction };
    let mut old = serde_json::to_value(&attested).unwrap();
    old.as_object_mut().unwrap().remove("attestations");
    old["attestation"] = serde_json::to_value(&word).unwrap();
    assert_eq!(serde_json::from_value::<Event>(old).unwrap(), attested);
}

#[test]
fn an_attestation_without_lows_counts_but_on_the_day_of_due_only_until_due() {
    use hypothec::settlement::touch::counts_without_lows;
    use hypothec_oracle::units::Time;
    let terms = Cast::new().terms(2);
    let (days, due) = (terms.touch_days(), terms.due());
    let (first, last) = (days.first().unwrap(), days.last().unwrap());
    assert_eq!(last.day, due.day(), "due lies within its day");
    let later = Time(due.0 + 1);
    for (day, now, counts) in [(first, due, true), (first, later, true), (last, due, true), (last, later, false)] {
        assert_eq!(counts_without_lows(&terms, day, now), counts, "{:?} at {now}", day.day);
    }
}

#[test]
fn a_borrower_lets_no_loan_be_funded_whose_touch_enough_oracles_attest() {
    use hypothec::loan::units::Time;
    use hypothec::protocol::{decide, Event, Input, Loan, Moment, Recorded};
    let Scene { cast, n, .. } = scene();
    let at = Time(n.terms.expires.0 - 1_000);
    let moment = Moment { now: at, median_time: at, height: 100 };
    let agreed = Event::Agreed {
        role: Role::Borrower,
        peer: n.terms.lender,
        terms: Box::new(n.terms.clone()),
        announcements: Box::new(n.announcements.clone()),
        key_index: [1; 32],
        coins: vec![cast.offer_parts(&n.terms).coins[0].outpoint()],
        proven: vec![],
    };
    let (offer, accept, sign) = (wire::write(&n.offer), wire::write(&n.accepted.accept), wire::write(&n.signed.sign));
    let (lender_fallback, fallback, skeleton) = (n.accepted.fallback, n.signed.fallback, Box::new(n.skeleton.clone()));
    let signed = Event::Signed { accept, lender_fallback, sign, fallback, skeleton };
    let record = |event| Recorded { at, event };
    let mut log = [agreed, Event::Offered { offer }, signed].map(record).to_vec();
    let say = |log: &mut Vec<Recorded>, oracle: usize, index: usize| {
        let attestation = touch(cast.oracles()[oracle], n, index);
        let input = Input::Said { clause: Clause::Touch { index }, attestation };
        let events = decide(&Loan::replay(&*log).unwrap(), input, moment).unwrap();
        log.extend(events.iter().cloned().map(record));
        events
    };
    assert!(matches!(say(&mut log, 0, 0).as_slice(), [Event::Said { .. }]), "one of three");
    assert!(matches!(say(&mut log, 1, 1).as_slice(), [Event::Said { .. }]), "of another day");
    let given_up = say(&mut log, 2, 0);
    assert!(
        matches!(given_up.as_slice(), [Event::Said { .. }, Event::GivenUp { at_stake_sats: 1.., .. }]),
        "{given_up:?}"
    );
    // A log in which nothing followed from it: the next moment says it.
    let last = log.pop().unwrap();
    let tick = decide(&Loan::replay(&log).unwrap(), Input::Tick, moment).unwrap();
    assert_eq!(tick, std::slice::from_ref(&last.event));
    log.push(last);
    assert!(matches!(say(&mut log, 1, 0).as_slice(), [Event::Said { .. }]), "once");
    assert_eq!(decide(&Loan::replay(&log).unwrap(), Input::Tick, moment), Ok(vec![]));
}
