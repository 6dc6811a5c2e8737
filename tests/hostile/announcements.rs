//! Announcements that are not what the terms call for.

use super::*;
use hypothec::contract::clauses::{check_announcements, Announcements};

#[test]
fn a_receipt_under_a_nonce_of_the_oracles_is_refused() {
    let honest = &scene().honest.announcements;
    let nonce = honest.oracles[0].touches[0].announcement.oracle_event.oracle_nonces[0];
    let terms = Terms { receipt_nonce: nonce, ..terms().clone() };
    let receipt = hypothec::contract::receipt::announce(&terms, &scene().cast.receipt_key).unwrap();
    let announcements = Announcements { receipt, ..honest.clone() };
    let error = refusal(check_announcements(&terms, &announcements), "a nonce twice");
    assert!(error.contains("a nonce stands in two announcements"), "{error}");
}

#[test]
fn neither_side_starts_from_terms_or_announcements_that_do_not_hold() {
    let (n, payouts) = (&scene().honest, &scene().payouts);
    let bytes = wire::write(&n.offer);
    let mut announcements = n.announcements.clone();
    announcements.oracles[0].touches[0].nonce_proofs.clear();
    let checked = offer::check_with(payouts.clone(), &n.terms, &announcements, &bytes);
    assert!(refusal(checked, "an unproved nonce").contains("nonce proofs"));
    let made = offer::make_with(payouts, &n.terms, &announcements, scene().cast.offer_parts(&n.terms));
    assert!(refusal(made, "an unproved nonce").contains("nonce proofs"));
    let wild = Terms { threshold: 0, ..n.terms.clone() };
    let checked = offer::check_with(payouts.clone(), &wild, &n.announcements, &bytes);
    assert!(refusal(checked, "a threshold of nothing").contains("threshold"));
    let made = offer::make_with(payouts, &wild, &n.announcements, scene().cast.offer_parts(&n.terms));
    assert!(refusal(made, "a threshold of nothing").contains("threshold"));
}

/// A case of announcements: what the refusal must name and how they are spoiled.
type Spoil = (&'static str, fn(&mut Announcements));

#[test]
fn announcements_that_are_not_the_oracles_own_are_refused() {
    let other = Cast { oracle: hypothec_oracle::announce::OracleKeys::from_secret(secret(50)), ..Cast::new() };
    static OTHER: OnceLock<Announcements> = OnceLock::new();
    OTHER.get_or_init(|| other.announcements(terms()));
    fn stranger() -> &'static Announcements {
        OTHER.get().unwrap()
    }
    let cases: &[Spoil] = &[
        ("touches", |a| shorten(&mut a.oracles[0].touches)),
        ("touches", |a| {
            let again = a.oracles[0].touches[0].clone();
            a.oracles[0].touches.push(again)
        }),
        ("event id", |a| a.oracles[0].touches.swap(0, 1)),
        ("event id", |a| {
            let fixing = a.oracles[0].fixing.clone();
            a.oracles[0].touches[0] = fixing
        }),
        ("oracle key", |a| a.oracles[0].touches[0] = stranger().oracles[0].touches[0].clone()),
        ("oracle key", |a| a.oracles[0].fixing = stranger().oracles[0].fixing.clone()),
        ("nonce proofs", |a| shorten(&mut a.oracles[0].fixing.nonce_proofs)),
        ("nonce proof", |a| {
            a.oracles[0].touches[0].nonce_proofs = stranger().oracles[0].touches[0].nonce_proofs.clone()
        }),
        ("maturity", |a| a.oracles[0].touches[0].announcement.oracle_event.event_maturity_epoch += 1),
        ("signature", |a| {
            let foreign = a.oracles[0].touches[1].announcement.announcement_signature;
            a.oracles[0].touches[0].announcement.announcement_signature = foreign
        }),
        ("announcement signature", |a| {
            a.oracles[0].touches[0].announcement.oracle_event.oracle_nonces =
                a.oracles[0].touches[1].announcement.oracle_event.oracle_nonces.clone()
        }),
        ("receipt.oracle_public_key", |a| {
            a.receipt.oracle_public_key = stranger().oracles[0].fixing.announcement.oracle_public_key
        }),
        ("receipt.oracle_event", |a| a.receipt.oracle_event.event_id.push('x')),
        ("receipt.oracle_event", |a| {
            a.receipt.oracle_event.oracle_nonces =
                a.oracles[0].touches[0].announcement.oracle_event.oracle_nonces.clone()
        }),
        ("receipt announcement", |a| {
            a.receipt.announcement_signature = a.oracles[0].touches[0].announcement.announcement_signature
        }),
    ];
    let honest = &scene().honest.announcements;
    check_announcements(terms(), honest).unwrap();
    for (index, (says, spoil)) in cases.iter().enumerate() {
        let mut announcements = honest.clone();
        spoil(&mut announcements);
        let error = refusal(check_announcements(terms(), &announcements), "an announcement");
        assert!(error.contains(says), "{index} {says}: {error}");
    }
}
