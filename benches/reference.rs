//! One reference loan, measured: signatures, a whole negotiation, a touch. Held against the DLC library's own way.
//!
//! One bitcoin, $50,000 owed at due, reference $100,000, 90 days, one oracle, 20 digits, a uniform 0.1 % bound.
//! Then the same loan on two of three oracles, beside the one. Prints what it measured and, as its last lines, the ratios.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#[path = "../tests/common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;

use bitcoin::Amount;
use common::{sign_psbt, Cast};
use ddk::contract as stateless;
use dlc_messages::contract_msgs::{
    ContractDescriptor, ContractInfo, HyperbolaPayoutCurvePiece, NumericOutcomeContractDescriptor, PayoutCurvePiece,
    PayoutFunction, PayoutFunctionPiece, PayoutPoint, PolynomialPayoutCurvePiece, RoundingInterval, RoundingIntervals,
};
use dlc_messages::{AcceptDlc, OfferDlc, SignDlc};
use hypothec::contract::clauses::{self, Announcements, Clause, Payouts};
use hypothec::contract::settle::{place, settle, VerifiedAttestation};
use hypothec::contract::{accept, adaptor, offer, sign, wire, Role, Skeleton};
use hypothec::loan::curve::{fixing_curve_within, Bounds, TAILS_PPM};
use hypothec::loan::terms::Terms;
use hypothec::loan::units::{cents_for_sats_floor, Cents};
use hypothec_oracle::event::{FIXING_DIGITS, FIXING_MAX};
use secp256k1_zkp::EcdsaAdaptorSignature;
use std::time::{Duration, Instant};

/// Every measurement is the least of so many at most: what is left of noise then is small.
const ROUNDS: usize = 12;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let rounds = if std::env::args().any(|argument| argument == "--test") { 1 } else { ROUNDS };
    let cast = Cast::new();
    let terms = reference(&cast);
    let announcements = cast.announcements(&terms);
    let uniform = uniform(&terms);

    let ours = fixing_signatures(&uniform);
    let theirs = library_signatures(&terms, &announcements);
    println!("fixing within 0.1 %: {ours} adaptor signatures, in the library's encoding {theirs}");

    let real = Payouts::of(&terms).expect("payouts");
    let (_, story) = negotiate(&cast, &terms, &announcements, &real);
    println!(
        "the bound of real loans: {} adaptor signatures in all; offer {} bytes, accept {}, sign {}",
        signatures(&real),
        story.bytes[0],
        story.bytes[1],
        story.bytes[2],
    );
    let best = (0..rounds).map(|_| negotiate(&cast, &terms, &announcements, &uniform));
    let (wall, story) = best.min_by_key(|(wall, _)| *wall).expect("a round");
    println!(
        "uniform bound: {} adaptor signatures in all; offer {} bytes, accept {}, sign {}; negotiated in {wall:?}",
        signatures(&uniform),
        story.bytes[0],
        story.bytes[1],
        story.bytes[2],
    );
    let floor = (0..rounds.min(5)).map(|_| floor(&cast, &story, &uniform, &announcements)).min().expect("a round");
    println!("floor, one thread: {floor:?}");
    let library =
        (0..rounds.min(3)).map(|_| library_negotiation(&cast, &terms, &announcements)).min().expect("a round");
    println!("in the library's encoding, by the library: {library:?}");

    let (our_touch, their_touch) = touch(&cast, &terms, &announcements, &uniform, &story);
    println!("settling a touch: ours {our_touch:?}, the library's {their_touch:?}");

    let several = two_of_three(rounds);
    let one = signatures(&uniform);
    println!(
        "two of three oracles: {} adaptor signatures in all, {one} with one; offer {} bytes, accept {}, sign {}; negotiated in {:?}; a touch settled in {:?}",
        several.signatures, several.bytes[0], several.bytes[1], several.bytes[2], several.wall, several.touch,
    );

    println!("ratio signatures {:.2}", theirs as f64 / ours as f64);
    println!("ratio negotiation {:.2}", ratio(wall, floor));
    println!("ratio negotiation_vs_ddk {:.2}", ratio(library, wall));
    println!("ratio touch {:.0}", ratio(their_touch, our_touch));
    println!("ratio two_of_three_signatures {:.2}", several.signatures as f64 / one as f64);
    println!("ratio two_of_three_bytes {:.2}", total(&several.bytes) as f64 / total(&story.bytes) as f64);
    println!("ratio two_of_three_time {:.2}", ratio(several.wall, wall));
}

fn ratio(numerator: Duration, denominator: Duration) -> f64 {
    numerator.as_secs_f64() / denominator.as_secs_f64()
}

/// The terms of which exactly $50,000 are owed at due.
fn reference(cast: &Cast) -> Terms {
    let mut terms = cast.terms_as_the_library_has_them(90);
    for sats in (48_700_000..49_000_000).step_by(10) {
        terms.principal_sats = Amount::from_sat(sats);
        terms.principal = cents_for_sats_floor(terms.principal_sats, terms.reference_price).expect("cents");
        if terms.owed_at_due() == Cents(5_000_000) {
            assert_eq!(terms.check(), Ok(()));
            return terms;
        }
    }
    panic!("no principal owes $50,000 at due");
}

/// The terms' payouts with the fixing's curve at a uniform 0.1 %.
fn uniform(terms: &Terms) -> Payouts {
    let bounds = Bounds { middle_ppm: TAILS_PPM, tails_ppm: TAILS_PPM };
    let fixing = fixing_curve_within(terms, bounds).intervals;
    Payouts { fixing, ..Payouts::of(terms).expect("payouts") }
}

fn fixing_signatures(payouts: &Payouts) -> usize {
    payouts.fixing.iter().map(|step| adaptor::prefixes(step.first, step.last).len()).sum()
}

fn signatures(payouts: &Payouts) -> usize {
    payouts.touches.len() + 1 + fixing_signatures(payouts)
}

/// A negotiated contract.
struct Story {
    offer: OfferDlc,
    accept: AcceptDlc,
    sign: SignDlc,
    skeleton: Skeleton,
    bytes: [usize; 3],
}

/// Both sides' work from accept to completed sign, on one machine; wallets' signing not counted.
fn negotiate(cast: &Cast, terms: &Terms, announcements: &Announcements, payouts: &Payouts) -> (Duration, Story) {
    let made = offer::make_with(payouts, terms, announcements, cast.offer_parts(terms)).expect("an offer");
    let offer_bytes = wire::write(&made);
    let checked = offer::check_with(payouts.clone(), terms, announcements, &offer_bytes).expect("a checked offer");
    let start = Instant::now();
    let accepted = accept::make(terms, announcements, checked, cast.accept_parts(terms)).expect("an accept");
    let made_accept = start.elapsed();
    let accept_bytes = wire::write(&accepted.accept);
    let checked = accept::check_with(payouts.clone(), terms, announcements, &made, &accept_bytes, &accepted.fallback)
        .expect("a checked accept");
    let checked_accept = start.elapsed();
    let mut psbt = checked.built.funding_psbt(&made, &checked.accept).expect("a PSBT");
    sign_psbt(&mut psbt, &cast.borrower_coin_key);
    let signed = sign::make(&checked.built, &made, &cast.borrower_key, &psbt).expect("a sign");
    let made_sign = start.elapsed();
    let sign_bytes = wire::write(&signed.sign);
    let completed =
        sign::check_with(payouts.clone(), terms, announcements, &made, &accepted.accept, &sign_bytes, &signed.fallback)
            .expect("a checked sign");
    let wall = start.elapsed();
    println!(
        "  accept made {made_accept:?}, checked {:?}, sign made {:?}, checked {:?}",
        checked_accept - made_accept,
        made_sign - checked_accept,
        wall - made_sign
    );
    let bytes = [offer_bytes.len(), accept_bytes.len(), sign_bytes.len()];
    let skeleton = completed.built.skeleton;
    (wall, Story { offer: made, accept: accepted.accept, sign: signed.sign, skeleton, bytes })
}

/// What cannot be avoided: each side makes and checks every signature once, here on one thread.
fn floor(cast: &Cast, story: &Story, payouts: &Payouts, announcements: &Announcements) -> Duration {
    let transactions = stateless::create_dlc_transactions(&story.offer, &story.accept).expect("transactions");
    let slots = adaptor::slots(payouts, announcements).expect("slots");
    let (script, value) = (&story.skeleton.witness_script, story.skeleton.funding_value);
    let secp = secp256k1_zkp::SECP256K1;
    let start = Instant::now();
    for key in [&cast.borrower_key, &cast.lender_key] {
        let public = key.public_key(secp);
        for slot in &slots {
            let cet = &transactions.cets[slot.cet];
            let signature = dlc::create_cet_adaptor_sig_from_point(secp, cet, &slot.point, key, script, value);
            let signature = signature.expect("a signature");
            dlc::verify_cet_adaptor_sig_from_point(secp, &signature, cet, &slot.point, &public, script, value)
                .expect("a good signature");
        }
    }
    start.elapsed()
}

/// The same contract with its fixing in the library's encoding: flat where the lender takes all, a hyperbola beyond,
/// rounded to twice the bound, so that rounding to the nearest errs by the bound.
fn library_info(terms: &Terms, announcements: &Announcements) -> ContractInfo {
    let mut info = clauses::contract_info(&Payouts::of(terms).expect("payouts"), announcements).expect("an info");
    let ContractInfo::DisjointContractInfo(disjoint) = &mut info else { panic!("not a union") };
    let fixing = disjoint.contract_infos.last_mut().expect("a fixing");
    let total = terms.total();
    let debt = terms.owed_at_due().0 as f64 * 1_000_000.0;
    let rest = |price: u64| (terms.collateral.to_sat() as f64 - debt / price as f64).round() as u64;
    let first = (debt / terms.collateral.to_sat() as f64).ceil() as u64;
    let point = |price: u64, sats: u64| PayoutPoint {
        event_outcome: price,
        outcome_payout: Amount::from_sat(sats),
        extra_precision: 0,
    };
    let flat = PolynomialPayoutCurvePiece { payout_points: Vec::new() };
    let hyperbola = HyperbolaPayoutCurvePiece {
        use_positive_piece: true,
        translate_outcome: 0.0,
        translate_payout: terms.collateral.to_sat() as f64,
        a: 1.0,
        b: 0.0,
        c: 0.0,
        d: -debt,
    };
    let highest = u64::from(FIXING_MAX);
    let piece = |end_point, payout_curve_piece| PayoutFunctionPiece { end_point, payout_curve_piece };
    fixing.contract_descriptor =
        ContractDescriptor::NumericOutcomeContractDescriptor(NumericOutcomeContractDescriptor {
            num_digits: FIXING_DIGITS,
            payout_function: PayoutFunction {
                payout_function_pieces: vec![
                    piece(point(0, 0), PayoutCurvePiece::PolynomialPayoutCurvePiece(flat)),
                    piece(point(first, rest(first)), PayoutCurvePiece::HyperbolaPayoutCurvePiece(hyperbola)),
                ],
                last_endpoint: point(highest, rest(highest)),
            },
            rounding_intervals: RoundingIntervals {
                intervals: vec![RoundingInterval { begin_interval: 0, rounding_mod: total.to_sat() / 500 }],
            },
        });
    info
}

/// Counts the fixing's adaptor signatures in the library's encoding with the library itself.
fn library_signatures(terms: &Terms, announcements: &Announcements) -> usize {
    let info = library_info(terms, announcements);
    let infos = ddk_manager::contract::execution_contract_infos(&info).expect("infos");
    let fixing = infos.last().expect("a fixing");
    let ddk_manager::contract::ContractDescriptor::Numerical(curve) = &fixing.contract_descriptor else {
        panic!("not numeric")
    };
    let ranges = curve.get_range_payouts(terms.total()).expect("payouts");
    worst_error(terms, &ranges);
    let digits = usize::from(FIXING_DIGITS);
    let grouped = |range: &dlc::RangePayout| {
        let last = range.start + range.count - 1;
        ddk_trie::digit_decomposition::group_by_ignoring_digits(range.start, last, 2, digits).len()
    };
    ranges.iter().map(grouped).sum()
}

/// The comparison is fair only if the library's curve keeps about the same bound.
fn worst_error(terms: &Terms, ranges: &[dlc::RangePayout]) {
    let (debt, most) = (terms.owed_at_due().0 as f64 * 1_000_000.0, terms.collateral.to_sat() as f64);
    let exact = |price: usize| (most - debt / price.max(1) as f64).max(0.0);
    let error = |range: &dlc::RangePayout| {
        let ends = [range.start, range.start + range.count - 1];
        ends.map(|price| (exact(price) - range.payout.offer.to_sat() as f64).abs()).into_iter().fold(0.0, f64::max)
    };
    let worst = ranges.iter().map(error).fold(0.0, f64::max) / terms.total().to_sat() as f64;
    println!("worst error of the library's curve: {:.4} %, {} payouts", worst * 100.0, ranges.len());
    assert!(worst < 0.00101, "{worst}");
}

/// The library's whole negotiation of the same loan with the fixing in its own encoding.
fn library_negotiation(cast: &Cast, terms: &Terms, announcements: &Announcements) -> Duration {
    let mut made = offer::make(terms, announcements, cast.offer_parts(terms)).expect("an offer");
    made.contract_info = library_info(terms, announcements);
    let parts = cast.accept_parts(terms);
    let closest = made.contract_info.get_closest_maturity_date();
    let interval = made.refund_locktime - closest;
    let params = stateless::AcceptOfferParams {
        party: stateless::PartyParams {
            funding_pubkey: parts.funding_key.public_key(secp256k1_zkp::SECP256K1),
            funding_inputs: vec![parts.coin.input().expect("an input")],
            payout_spk: parts.payout_script,
            payout_serial_id: None,
            change_spk: terms.principal_script.clone(),
            change_serial_id: None,
        },
        min_timeout_interval: interval,
        max_timeout_interval: interval,
        now_unix: u64::from(closest - 1),
    };
    let start = Instant::now();
    let accepted = stateless::accept_offer(&made, params, &parts.funding_key).expect("an accept");
    let mut psbt = stateless::create_funding_psbt(&made, &accepted.accept).expect("a PSBT");
    sign_psbt(&mut psbt, &cast.borrower_coin_key);
    let signed = stateless::sign_accept(&made, &accepted.accept, &cast.borrower_key, &psbt).expect("a sign");
    let mut psbt = accepted.funding_psbt;
    sign_psbt(&mut psbt, &cast.lender_coin_key);
    stateless::finalize_sign(&made, &accepted.accept, &signed.sign, &psbt).expect("a funding transaction");
    let wall = start.elapsed();
    println!("the library's adaptor signatures: {}", signed.sign.cet_adaptor_signatures.ecdsa_adaptor_signatures.len());
    wall
}

/// From an attestation to the signed transaction: ours, checks included, and the library's.
fn touch(
    cast: &Cast,
    terms: &Terms,
    announcements: &Announcements,
    payouts: &Payouts,
    story: &Story,
) -> (Duration, Duration) {
    let day = 45;
    let event = terms.touch_days()[day].event();
    let attestation = cast.oracle.attest(event, vec![event.to_string()]).expect("an attestation");
    let theirs: Vec<EcdsaAdaptorSignature> = (&story.sign.cet_adaptor_signatures).into();
    let ours = || {
        let attested = VerifiedAttestation::check(announcements, Clause::Touch { index: day }, attestation.clone());
        let spot = place(terms, payouts, &attested.expect("it verifies")).expect("a place");
        settle(&story.skeleton, Role::Lender, &cast.lender_key, &theirs, &spot).expect("a settlement")
    };
    let library = || {
        let attestations = [(0, attestation.clone())];
        stateless::sign_cet(&story.offer, &story.accept, &story.sign, &cast.lender_key, &attestations)
            .expect("a settlement")
    };
    assert_eq!(ours(), library());
    (least(50, ours), least(2, library))
}

/// The reference loan on two of three oracles.
struct Several {
    signatures: usize,
    bytes: [usize; 3],
    wall: Duration,
    touch: Duration,
}

fn two_of_three(rounds: usize) -> Several {
    let cast = Cast::of(2, 3);
    let terms = reference(&cast);
    let announcements = cast.announcements(&terms);
    let payouts = Payouts::of(&terms).expect("payouts");
    let best = (0..rounds).map(|_| negotiate(&cast, &terms, &announcements, &payouts));
    let (wall, story) = best.min_by_key(|(wall, _)| *wall).expect("a round");
    let signatures = story.sign.cet_adaptor_signatures.ecdsa_adaptor_signatures.len();
    let event = terms.touch_days()[45].event();
    let words: Vec<_> = cast.oracles()[1..]
        .iter()
        .map(|oracle| oracle.attest(event, vec![event.to_string()]).expect("an attestation"))
        .collect();
    let theirs: Vec<EcdsaAdaptorSignature> = (&story.sign.cet_adaptor_signatures).into();
    let ours = || {
        let attested = VerifiedAttestation::check_all(&announcements, Clause::Touch { index: 45 }, words.clone());
        let spot = place(&terms, &payouts, &attested.expect("it verifies")).expect("a place");
        settle(&story.skeleton, Role::Lender, &cast.lender_key, &theirs, &spot).expect("a settlement")
    };
    let touch = least(50, ours);
    Several { signatures, bytes: story.bytes, wall, touch }
}

fn total(bytes: &[usize; 3]) -> usize {
    bytes.iter().sum()
}

fn least<T>(rounds: usize, work: impl Fn() -> T) -> Duration {
    let timed = || {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    };
    (0..rounds).map(|_| timed()).min().expect("a round")
}
