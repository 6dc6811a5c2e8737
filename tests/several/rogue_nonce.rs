//! The rogue nonce: an oracle that announces last settles a contract of two of three alone, unless nonces are proved.
//!
//! An adaptor point is the plain sum of two oracles' points, S + S'. Who announces last knows the other's S and
//! publishes the nonce R' = xG − S: the sum is then xG and its own key times a known number, whose secret it has.
//! Everything the DLC specification checks is in order: the announcement's signature holds, and no secret is reused.
//! Each test plays the attack to its end on a contract negotiated without our check, and then shows that the check,
//! and nothing else, refuses that contract.

use crate::common::{secret, sign_psbt, Cast, Negotiated};
use crate::{bitcoin_verifies, sigs};
use bitcoin::hashes::{sha256, Hash};
use bitcoin::key::{Keypair, Parity};
use bitcoin::secp256k1::{Message, PublicKey, Scalar, SecretKey, XOnlyPublicKey, SECP256K1};
use dlc::secp_utils::{schnorrsig_compute_sig_point, schnorrsig_sign_with_nonce};
use dlc_messages::oracle_msgs::{tagged_announcement_msg, tagged_attestation_msg, OracleAnnouncement};
use hypothec::contract::clauses::{check_announcements, contract_info, Announcements, Payouts};
use hypothec::contract::offer::{self, CheckedOffer};
use hypothec::contract::{accept, difference, fallback, sign, wire};
use hypothec::loan::quorum::Quorum;
use hypothec::loan::terms::Terms;
use hypothec::loan::Payout;
use hypothec_oracle::announce::{nonce_proof_message, oracle_event, ProvenAnnouncement};
use hypothec_oracle::event::Event;

const QUORUM: Quorum = Quorum { oracles: 3, threshold: 2, support_exp: 9 };
/// The price the attacker would like, in dollars: the lender takes everything.
const PRICE: u32 = 30_000;

/// The oracle of highest index: it has seen what the others announced.
struct Attacker {
    key: Keypair,
}

/// The secrets behind the attacker's announcement of one event.
struct Rogue {
    proven: ProvenAnnouncement,
    /// Of the first nonce, all that is left when the victim's points are taken away.
    x: SecretKey,
    /// The other nonces, honestly made.
    nonces: Vec<Keypair>,
}

impl Attacker {
    fn of(cast: &Cast) -> Attacker {
        let last = cast.oracles()[2].public_key();
        let key = (40..43).map(|number| Keypair::from_secret_key(SECP256K1, &secret(number)));
        Attacker { key: key.into_iter().find(|key| key.x_only_public_key().0 == last).unwrap() }
    }

    fn public(&self) -> XOnlyPublicKey {
        self.key.x_only_public_key().0
    }

    /// An announcement whose first nonce is xG less these points of the victim's.
    fn announce(&self, event: Event, count: usize, victim: &[PublicKey]) -> Rogue {
        let negated: Vec<PublicKey> = victim.iter().map(|point| point.negate(SECP256K1)).collect();
        // Nonces are lifted to even y: about every second x will do.
        let (x, first) = (1..=u8::MAX)
            .filter_map(|number| {
                let x = secret(number);
                let own = x.public_key(SECP256K1);
                let points: Vec<&PublicKey> = [&own].into_iter().chain(&negated).collect();
                let (nonce, parity) = PublicKey::combine_keys(&points).ok()?.x_only_public_key();
                (parity == Parity::Even).then_some((x, nonce))
            })
            .next()
            .unwrap();
        let nonces: Vec<Keypair> =
            (1..count).map(|place| Keypair::from_secret_key(SECP256K1, &secret(200 + place as u8))).collect();
        let points = [first].into_iter().chain(nonces.iter().map(|nonce| nonce.x_only_public_key().0)).collect();
        let oracle_event = oracle_event(event, points).unwrap();
        let message = nonce_proof_message(&self.public(), &oracle_event);
        // It can prove every nonce but the rogue one; there it signs with the best it has.
        let best = Keypair::from_secret_key(SECP256K1, &x);
        let provers = [&best].into_iter().chain(&nonces);
        let nonce_proofs = provers.map(|key| SECP256K1.sign_schnorr_no_aux_rand(&message, key)).collect();
        let announcement = OracleAnnouncement {
            announcement_signature: SECP256K1
                .sign_schnorr_no_aux_rand(&tagged_announcement_msg(&oracle_event), &self.key),
            oracle_public_key: self.public(),
            oracle_event,
        };
        Rogue { proven: ProvenAnnouncement { announcement, nonce_proofs }, x, nonces }
    }

    /// The secret of the sum of the victim's point and the attacker's own: from the attacker's key alone.
    fn secret(&self, rogue: &Rogue, outcomes: &[String]) -> SecretKey {
        let announced = &rogue.proven.announcement.oracle_event.oracle_nonces;
        let challenge = challenge(&announced[0], &self.public(), &tagged_attestation_msg(&outcomes[0]));
        let own = match self.key.x_only_public_key().1 {
            Parity::Even => self.key.secret_key(),
            Parity::Odd => self.key.secret_key().negate(),
        };
        let mut sum = own.mul_tweak(&challenge).unwrap().add_tweak(&Scalar::from(rogue.x)).unwrap();
        for (nonce, outcome) in rogue.nonces.iter().zip(outcomes.iter().skip(1)) {
            let message = tagged_attestation_msg(outcome);
            let word = schnorrsig_sign_with_nonce(SECP256K1, &message, &self.key, &nonce.secret_key().secret_bytes());
            sum = sum.add_tweak(&Scalar::from(SecretKey::from_slice(&word.as_ref()[32..]).unwrap())).unwrap();
        }
        sum
    }
}

fn challenge(nonce: &XOnlyPublicKey, key: &XOnlyPublicKey, message: &Message) -> Scalar {
    let tag = sha256::Hash::hash(b"BIP0340/challenge").to_byte_array();
    let data = [&tag[..], &tag, &nonce.serialize(), &key.serialize(), message.as_ref()].concat();
    Scalar::from_be_bytes(sha256::Hash::hash(&data).to_byte_array()).unwrap()
}

/// The victim's signature points of these outcomes.
fn points(victim: &OracleAnnouncement, outcomes: &[String]) -> Vec<PublicKey> {
    let nonces = victim.oracle_event.oracle_nonces.iter().zip(outcomes);
    nonces
        .map(|(nonce, outcome)| {
            let message = tagged_attestation_msg(outcome);
            schnorrsig_compute_sig_point(SECP256K1, &victim.oracle_public_key, nonce, &message).unwrap()
        })
        .collect()
}

/// Everything of a negotiation but the check of announcements, on either side.
fn negotiate_unchecked(cast: &Cast, terms: &Terms, announcements: &Announcements) -> Negotiated {
    let payouts = Payouts::of(terms).unwrap();
    let parts = cast.offer_parts(terms);
    let params = ddk::contract::CreateOfferParams {
        chain_hash: terms.chain,
        temporary_contract_id: Some(terms.id().0),
        contract_info: contract_info(&payouts, announcements).unwrap(),
        offer_collateral: terms.collateral,
        party: ddk::contract::PartyParams {
            funding_pubkey: parts.funding_key,
            funding_inputs: parts.coins.iter().map(|coin| coin.input().unwrap()).collect(),
            payout_spk: parts.payout_script,
            payout_serial_id: None,
            change_spk: parts.change_script,
            change_serial_id: None,
        },
        fund_output_serial_id: None,
        fee_rate_per_vb: terms.fee_rate.0,
        cet_locktime: Some(0),
        refund_locktime: terms.refund_locktime().0,
        contract_flags: 0,
    };
    let offer = ddk::contract::create_offer(params).unwrap();
    let unchecked = CheckedOffer { offer: offer.clone(), payouts: payouts.clone(), coins: Vec::new() };
    let accepted = accept::make(terms, announcements, unchecked, cast.accept_parts(terms)).unwrap();
    let bytes = wire::write(&accepted.accept);
    let checked =
        accept::check_with(payouts.clone(), terms, announcements, &offer, &bytes, &accepted.fallback).unwrap();
    let mut psbt = checked.built.funding_psbt(&offer, &checked.accept).unwrap();
    sign_psbt(&mut psbt, &cast.borrower_coin_key);
    let signed = sign::make(&checked.built, &offer, &cast.borrower_key, &psbt).unwrap();
    let bytes = wire::write(&signed.sign);
    let completed =
        sign::check_with(payouts, terms, announcements, &offer, &checked.accept, &bytes, &signed.fallback).unwrap();
    let mut psbt = completed.built.funding_psbt(&offer, &checked.accept).unwrap();
    sign_psbt(&mut psbt, &cast.lender_coin_key);
    let funding = sign::complete(&completed, &offer, &checked.accept, &psbt).unwrap();
    let skeleton = checked.built.skeleton.clone();
    let (terms, announcements) = (terms.clone(), announcements.clone());
    Negotiated { terms, announcements, offer, accepted, signed, completed, funding, skeleton }
}

/// With the check off: the attacker's secret opens both sides' signatures, and the contract pays as it likes.
fn takes_everything(n: &Negotiated, signature: usize, split: &Payout, secret: &SecretKey) {
    let open = |all: &dlc_messages::CetAdaptorSignatures| sigs(all)[signature].decrypt(secret).unwrap();
    let borrower = open(&n.signed.sign.cet_adaptor_signatures);
    let lender = open(&n.accepted.accept.cet_adaptor_signatures);
    let settled = fallback::complete(n.skeleton.cet(split).unwrap(), 0, &n.skeleton, borrower, lender).unwrap();
    bitcoin_verifies(n, &settled);
}

/// With the check on: refused on both sides, for the nonce that is not proved and for nothing else.
fn is_refused(cast: &Cast, n: &Negotiated, event: Event) {
    let payouts = Payouts::of(&n.terms).unwrap();
    let secp = secp256k1_zkp::Secp256k1::verification_only();
    let announced = &n.announcements.oracles[2];
    for proven in announced.touches.iter().chain([&announced.fixing]) {
        proven.announcement.validate(&secp).expect("the library sees nothing wrong");
    }
    let right = format!(
        "announcement {event}: oracle {}: the nonce proof of event {event} at position 0 is not valid",
        n.terms.oracles[2]
    );
    let checked = offer::check_with(payouts.clone(), &n.terms, &n.announcements, &wire::write(&n.offer));
    assert_eq!(checked.err().expect("the lender refuses the offer").to_string(), right);
    let made = offer::make_with(&payouts, &n.terms, &n.announcements, cast.offer_parts(&n.terms));
    assert_eq!(made.expect_err("the borrower makes no offer").to_string(), right);
    assert_eq!(check_announcements(&n.terms, &n.announcements).unwrap_err().to_string(), right);
}

#[test]
fn an_oracle_that_announces_last_would_touch_alone_and_the_nonce_proof_refuses_it() {
    let cast = Cast::of(2, 3);
    let (terms, attacker) = (cast.terms(2), Attacker::of(&cast));
    let mut announcements = cast.announcements(&terms);
    let event = terms.touch_days()[1].event();
    let outcome = [event.to_string()];
    let victim = points(&announcements.oracles[0].touches[1].announcement, &outcome);
    let rogue = attacker.announce(event, 1, &victim);
    announcements.oracles[2].touches[1] = rogue.proven.clone();
    let n = negotiate_unchecked(&cast, &terms, &announcements);
    // Touch 1 by oracles 0 and 2: the second of its three groups.
    let split = Payouts::of(&terms).unwrap().touches[1];
    takes_everything(&n, 3 + 1, &split, &attacker.secret(&rogue, &outcome));
    is_refused(&cast, &n, event);
}

#[test]
fn an_oracle_that_announces_last_would_fix_the_price_alone_and_the_nonce_proof_refuses_it() {
    let cast = Cast::of(2, 3);
    let (terms, attacker) = (cast.terms(2), Attacker::of(&cast));
    let mut announcements = cast.announcements(&terms);
    let payouts = Payouts::of(&terms).unwrap();
    let event = terms.fixing_event();
    let agreed = difference::find(QUORUM, &payouts.fixing, &[(0, PRICE), (2, PRICE)]).unwrap().unwrap();
    let digits = hypothec_oracle::verify::fixing_digits(hypothec::loan::units::Cents(u64::from(PRICE) * 100));
    let [(0, of_victim), (2, of_attacker)] = agreed.digits[..] else { panic!("{agreed:?}") };
    let victim = points(&announcements.oracles[0].fixing.announcement, &digits[..of_victim]);
    let rogue = attacker.announce(event, digits.len(), &victim);
    announcements.oracles[2].fixing = rogue.proven.clone();
    let n = negotiate_unchecked(&cast, &terms, &announcements);
    let lender = payouts.fixing[agreed.step].lender;
    let split = Payout { lender, borrower: payouts.total - lender };
    assert_eq!(lender, payouts.total, "all of it");
    let signature = 3 * payouts.touches.len() + 1 + agreed.signature;
    takes_everything(&n, signature, &split, &attacker.secret(&rogue, &digits[..of_attacker]));
    is_refused(&cast, &n, event);
}

#[test]
fn an_honest_oracle_in_the_attackers_place_is_taken() {
    let cast = Cast::of(2, 3);
    let terms = cast.terms(2);
    let announcements = cast.announcements(&terms);
    let n = negotiate_unchecked(&cast, &terms, &announcements);
    let payouts = Payouts::of(&terms).unwrap();
    offer::check_with(payouts, &terms, &announcements, &wire::write(&n.offer)).map(drop).unwrap();
}
