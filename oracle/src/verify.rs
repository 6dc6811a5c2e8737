//! Checks on everything an oracle says. What passes here is exactly what the event must be; nothing is taken on trust.
//!
//! Stricter than the checks of the DLC messages themselves, which accept an attestation with no signature at all, or
//! one of another event.

use crate::announce::{nonce_count, nonce_proof_message, oracle_event, ProvenAnnouncement};
use crate::event::{Event, FIXING_DIGITS, FIXING_MAX};
use crate::foreign::{clean_to, WORD};
use crate::units::Cents;
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::{
    tagged_announcement_msg, tagged_attestation_msg, EventDescriptor, OracleAnnouncement, OracleAttestation,
};
use secp256k1_zkp::SECP256K1;
use std::collections::HashSet;

/// What was wrong with an announcement or an attestation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Signed by somebody else.
    #[error("the oracle key of event {event} is {found}, right would be {right}")]
    Key { event: String, found: String, right: String },
    /// Not the event asked for.
    #[error("the event id is {found:?}, right would be {right:?}")]
    EventId { found: String, right: String },
    /// The maturity or the descriptor differs.
    #[error("event {event} is announced with another {field} than its id requires: {found}")]
    Field { event: String, field: &'static str, found: String },
    /// A wrong number of something.
    #[error("event {event} has {found} {what}, right would be {right}")]
    Count { event: String, what: &'static str, found: usize, right: usize },
    /// Two nonces are equal.
    #[error("event {event} uses nonce {nonce} twice; every digit needs its own")]
    SameNonce { event: String, nonce: XOnlyPublicKey },
    /// The event cannot exist.
    #[error("event {event} matures after the end of time (2106)")]
    BeyondTime { event: String },
    /// A signature does not verify.
    #[error("the {what} of event {event} at position {position} is not valid")]
    Signature { event: String, what: &'static str, position: usize },
    /// The outcome is not one the event can have.
    #[error("event {event} is attested as {found:?} at position {position}, which is not an outcome of it")]
    Outcome { event: String, position: usize, found: String },
    /// The attestation was made with another nonce than announced.
    #[error("the attestation of event {event} at position {position} uses another nonce than was announced")]
    Nonce { event: String, position: usize },
}

/// Is this exactly the announcement `event` must have from `oracle`, with a proof for each nonce?
///
/// # Errors
/// Names the first thing that differs.
pub fn verify_announcement(
    proven: &ProvenAnnouncement,
    oracle: &XOnlyPublicKey,
    event: Event,
) -> Result<(), VerifyError> {
    let id = event.to_string();
    let announced = &proven.announcement.oracle_event;
    if proven.announcement.oracle_public_key != *oracle {
        let found = proven.announcement.oracle_public_key.to_string();
        return Err(VerifyError::Key { event: id, found, right: oracle.to_string() });
    }
    if announced.event_id != id {
        return Err(VerifyError::EventId { found: shortened(&announced.event_id), right: id });
    }
    let right = oracle_event(event, announced.oracle_nonces.clone())
        .ok_or_else(|| VerifyError::BeyondTime { event: id.clone() })?;
    if announced.event_maturity_epoch != right.event_maturity_epoch {
        let found = announced.event_maturity_epoch.to_string();
        return Err(VerifyError::Field { event: id, field: "maturity", found });
    }
    if announced.event_descriptor != right.event_descriptor {
        let found = match &announced.event_descriptor {
            EventDescriptor::EnumEvent(outcomes) => {
                format!("one of {}", shortened(&outcomes.outcomes.join(", ")))
            }
            EventDescriptor::DigitDecompositionEvent(digits) => {
                let (sign, unit) = (if digits.is_signed { "signed " } else { "" }, shortened(&digits.unit));
                format!("{} {sign}digits to base {} in {unit}", digits.nb_digits, digits.base)
            }
        };
        return Err(VerifyError::Field { event: id, field: "descriptor", found });
    }
    let nonces = usize::from(nonce_count(event));
    count(&id, "nonces", announced.oracle_nonces.len(), nonces)?;
    count(&id, "nonce proofs", proven.nonce_proofs.len(), nonces)?;
    let mut seen = HashSet::new();
    if let Some(nonce) = announced.oracle_nonces.iter().find(|nonce| !seen.insert(**nonce)) {
        return Err(VerifyError::SameNonce { event: id, nonce: *nonce });
    }
    SECP256K1
        .verify_schnorr(&proven.announcement.announcement_signature, &tagged_announcement_msg(announced), oracle)
        .map_err(|_| VerifyError::Signature { event: id.clone(), what: "announcement signature", position: 0 })?;
    let message = nonce_proof_message(oracle, announced);
    for (position, (proof, nonce)) in proven.nonce_proofs.iter().zip(&announced.oracle_nonces).enumerate() {
        SECP256K1.verify_schnorr(proof, &message, nonce).map_err(|_| VerifyError::Signature {
            event: id.clone(),
            what: "nonce proof",
            position,
        })?;
    }
    Ok(())
}

/// Does this attestation say an outcome of the announced event, in full, with the announced nonces?
///
/// The announcement itself must have been verified before.
///
/// # Errors
/// Names the first thing that differs.
pub fn verify_attestation(
    attestation: &OracleAttestation,
    announcement: &OracleAnnouncement,
) -> Result<(), VerifyError> {
    let announced = &announcement.oracle_event;
    let id = shortened(&announced.event_id);
    if attestation.event_id != announced.event_id {
        return Err(VerifyError::EventId { found: shortened(&attestation.event_id), right: id });
    }
    let (found, right) = (attestation.oracle_public_key, announcement.oracle_public_key);
    if found != right {
        return Err(VerifyError::Key { event: id, found: found.to_string(), right: right.to_string() });
    }
    let nonces = announced.oracle_nonces.len();
    let right = match &announced.event_descriptor {
        EventDescriptor::EnumEvent(_) => 1,
        EventDescriptor::DigitDecompositionEvent(digits) => {
            usize::from(digits.nb_digits).saturating_add(usize::from(digits.is_signed))
        }
    };
    count(&id, "nonces", nonces, right)?;
    count(&id, "signatures", attestation.signatures.len(), nonces)?;
    count(&id, "outcomes", attestation.outcomes.len(), nonces)?;
    let says = attestation.signatures.iter().zip(&attestation.outcomes).zip(&announced.oracle_nonces);
    for (position, ((signature, outcome), nonce)) in says.enumerate() {
        if !is_outcome(&announced.event_descriptor, outcome) {
            return Err(VerifyError::Outcome { event: id, position, found: shortened(outcome) });
        }
        if !signature.as_ref().starts_with(&nonce.serialize()) {
            return Err(VerifyError::Nonce { event: id, position });
        }
        SECP256K1
            .verify_schnorr(signature, &tagged_attestation_msg(outcome), &announcement.oracle_public_key)
            .map_err(|_| VerifyError::Signature { event: id.clone(), what: "attestation", position })?;
    }
    Ok(())
}

/// Is every outcome of this attestation one that `event` can have, and signed by `oracle`?
///
/// All that can be asked without the announcement: whether the nonces are those announced is
/// [`verify_attestation`]'s question.
///
/// # Errors
/// Names the first thing that is wrong.
pub fn verify_outcomes(said: &OracleAttestation, oracle: &XOnlyPublicKey, event: Event) -> Result<(), VerifyError> {
    let id = event.to_string();
    if said.event_id != id {
        return Err(VerifyError::EventId { found: shortened(&said.event_id), right: id });
    }
    if said.oracle_public_key != *oracle {
        let found = said.oracle_public_key.to_string();
        return Err(VerifyError::Key { event: id, found, right: oracle.to_string() });
    }
    let nonces = usize::from(nonce_count(event));
    count(&id, "signatures", said.signatures.len(), nonces)?;
    count(&id, "outcomes", said.outcomes.len(), nonces)?;
    for (position, (signature, outcome)) in said.signatures.iter().zip(&said.outcomes).enumerate() {
        let fits = match event {
            Event::Fixing { .. } => outcome == "0" || outcome == "1",
            Event::Touch { .. } | Event::Payment { .. } => *outcome == id,
        };
        if !fits {
            return Err(VerifyError::Outcome { event: id, position, found: shortened(outcome) });
        }
        SECP256K1
            .verify_schnorr(signature, &tagged_attestation_msg(outcome), oracle)
            .map_err(|_| VerifyError::Signature { event: id.clone(), what: "attestation", position })?;
    }
    Ok(())
}

/// The 20 binary digits of a fixing, most significant first: whole dollars, the cents dropped, clamped to
/// [`FIXING_MAX`].
pub fn fixing_digits(price: Cents) -> Vec<String> {
    let dollars = dollars_fixed(price);
    (0..FIXING_DIGITS).rev().map(|bit| ((dollars >> bit) & 1).to_string()).collect()
}

/// The whole dollars a fixing at `price` says.
pub fn dollars_fixed(price: Cents) -> u32 {
    u32::try_from(price.dollars_floor()).unwrap_or(FIXING_MAX).min(FIXING_MAX)
}

/// The whole dollars an attested fixing says; `None` unless it has exactly 20 binary digits.
///
/// Reads only: the signatures are [`verify_attestation`]'s business.
pub fn fixing_dollars(attestation: &OracleAttestation) -> Option<u32> {
    if attestation.outcomes.len() != usize::from(FIXING_DIGITS) {
        return None;
    }
    attestation.outcomes.iter().try_fold(0u32, |dollars, digit| match digit.as_str() {
        "0" => Some(dollars << 1),
        "1" => Some(dollars << 1 | 1),
        _ => None,
    })
}

/// An attested digit is "0" or "1", also where a descriptor has another base: we announce no other.
fn is_outcome(descriptor: &EventDescriptor, outcome: &str) -> bool {
    match descriptor {
        EventDescriptor::EnumEvent(listed) => listed.outcomes.iter().any(|one| one == outcome),
        EventDescriptor::DigitDecompositionEvent(_) => outcome == "0" || outcome == "1",
    }
}

fn count(event: &str, what: &'static str, found: usize, right: usize) -> Result<(), VerifyError> {
    if found == right {
        return Ok(());
    }
    Err(VerifyError::Count { event: event.to_string(), what, found, right })
}

/// A stranger's text, fit for a log line.
fn shortened(text: &str) -> String {
    clean_to(text, WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use crate::ladder::Level;
    use crate::units::{Day, Time};
    use secp256k1_zkp::SecretKey;

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    fn touch(dollars: u32) -> Event {
        Event::Touch { level: Level::exactly(dollars).unwrap(), day: Day(18_333), from_hour: 0 }
    }

    const FIXING: Event = Event::Fixing { at: Time(1_584_007_200) };

    #[test]
    fn what_an_oracle_announces_and_attests_passes_its_own_check_and_the_dlc_messages_check() {
        let oracle = keys(7);
        for (event, outcomes) in
            [(touch(7_490), vec![touch(7_490).to_string()]), (FIXING, fixing_digits(Cents(798_765)))]
        {
            let proven = oracle.announcement(event).unwrap();
            verify_announcement(&proven, &oracle.public_key(), event).unwrap();
            let attestation = oracle.attest(event, outcomes).unwrap();
            verify_attestation(&attestation, &proven.announcement).unwrap();
            attestation.validate(SECP256K1, &proven.announcement).unwrap();
        }
    }

    #[test]
    fn an_announcement_that_differs_in_anything_is_refused() {
        let oracle = keys(7);
        let other = keys(8).announcement(FIXING).unwrap();
        let honest = oracle.announcement(FIXING).unwrap();
        let check = |spoil: &dyn Fn(&mut ProvenAnnouncement), says: &str| {
            let mut proven = honest.clone();
            spoil(&mut proven);
            let error = verify_announcement(&proven, &oracle.public_key(), FIXING).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check(&|p| *p = other.clone(), "oracle key");
        check(&|p| p.announcement.oracle_event.event_id = "btcusd1584010800".into(), "event id");
        check(&|p| p.announcement.oracle_event.event_maturity_epoch += 1, "maturity");
        check(
            &|p| {
                p.announcement.oracle_event.event_descriptor =
                    oracle.announcement(touch(7_490)).unwrap().announcement.oracle_event.event_descriptor
            },
            "descriptor",
        );
        check(
            &|p| {
                p.announcement.oracle_event.oracle_nonces.pop();
            },
            "nonces",
        );
        check(
            &|p| {
                p.nonce_proofs.pop();
            },
            "nonce proofs",
        );
        check(
            &|p| p.announcement.oracle_event.oracle_nonces[3] = p.announcement.oracle_event.oracle_nonces[4],
            "twice",
        );
        check(&|p| p.announcement.oracle_event.oracle_nonces.swap(3, 4), "announcement signature");
        check(&|p| p.announcement.announcement_signature = other.announcement.announcement_signature, "signature");
        check(&|p| p.nonce_proofs.swap(3, 4), "nonce proof");
        check(&|p| p.nonce_proofs[19] = other.nonce_proofs[19], "position 19");
        assert!(verify_announcement(&honest, &oracle.public_key(), touch(7_490)).is_err());
    }

    #[test]
    fn an_oracle_that_does_not_know_its_nonce_is_found_out() {
        // The rogue nonce of a second oracle that announces last: it signs the event well, but cannot prove the nonce.
        let (rogue, honest) = (keys(8), keys(7));
        let victim = honest.announcement(touch(7_490)).unwrap().announcement.oracle_event.oracle_nonces[0];
        let mut proven = rogue.announcement(touch(7_490)).unwrap();
        proven.announcement.oracle_event.oracle_nonces[0] = victim;
        proven.announcement.announcement_signature =
            rogue.sign(&tagged_announcement_msg(&proven.announcement.oracle_event));
        proven.announcement.validate(SECP256K1).unwrap();
        let error = verify_announcement(&proven, &rogue.public_key(), touch(7_490)).unwrap_err();
        assert!(matches!(error, VerifyError::Signature { what: "nonce proof", .. }), "{error}");
    }

    #[test]
    fn an_attestation_that_differs_in_anything_is_refused() {
        let oracle = keys(7);
        let announcement = oracle.announcement(FIXING).unwrap().announcement;
        let honest = oracle.attest(FIXING, fixing_digits(Cents(798_765))).unwrap();
        let later = oracle.attest(Event::Fixing { at: Time(1_584_010_800) }, fixing_digits(Cents(798_765))).unwrap();
        let check = |spoil: &dyn Fn(&mut OracleAttestation), says: &str| {
            let mut attestation = honest.clone();
            spoil(&mut attestation);
            let error = verify_attestation(&attestation, &announcement).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check(&|a| a.event_id = later.event_id.clone(), "event id");
        check(&|a| a.oracle_public_key = keys(8).public_key(), "oracle key");
        check(&|a| (a.signatures, a.outcomes) = (vec![], vec![]), "signatures");
        check(&|a| drop(a.outcomes.pop()), "outcomes");
        check(
            &|a| {
                a.signatures.pop();
            },
            "signatures",
        );
        check(&|a| a.outcomes[0] = "2".into(), "not an outcome");
        check(&|a| a.outcomes[0] = "1".into(), "not valid");
        check(&|a| a.signatures = later.signatures.clone(), "another nonce");
        check(&|a| a.signatures.swap(18, 19), "another nonce");
        let touched = oracle.announcement(touch(7_490)).unwrap().announcement;
        let mut foreign = oracle.attest(touch(7_480), vec![touch(7_480).to_string()]).unwrap();
        foreign.event_id = touch(7_490).to_string();
        assert!(matches!(verify_attestation(&foreign, &touched), Err(VerifyError::Outcome { .. })));
    }

    #[test]
    fn a_fixing_reads_back_as_the_dollars_it_was_written_from() {
        for (cents, dollars) in
            [(0, 0), (99, 0), (100, 1), (798_799, 7_987), (104_857_599, FIXING_MAX), (u64::MAX, FIXING_MAX)]
        {
            let digits = fixing_digits(Cents(cents));
            assert_eq!(digits.len(), 20);
            assert_eq!(fixing_dollars(&keys(7).attest(FIXING, digits).unwrap()), Some(dollars));
        }
        assert_eq!(fixing_digits(Cents(100)).last().map(String::as_str), Some("1"), "most significant first");
    }

    #[test]
    fn an_oracles_own_texts_are_shown_cleaned() {
        let oracle = keys(7);
        let mut announcement = oracle.announcement(FIXING).unwrap().announcement;
        let mut said = oracle.attest(FIXING, fixing_digits(Cents(798_765))).unwrap();
        announcement.oracle_event.event_id = "a\u{1b}[2J\u{202e}b\nc".into();
        said.event_id = announcement.oracle_event.event_id.clone();
        said.signatures.pop();
        let shown = verify_attestation(&said, &announcement).unwrap_err().to_string();
        assert!(shown.starts_with("event ab c has 19 signatures"), "{shown}");
    }
}
