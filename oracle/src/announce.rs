//! Announcements, nonce proofs and attestations, as one oracle key makes them.
//!
//! Everything is deterministic: the same key and event give the same bytes for ever, on any replica.
//!
//! - `tagged(tag, data)` is BIP340's `SHA256(SHA256(tag) || SHA256(tag) || data)`.
//! - nonce key `K = HMAC-SHA256(oracle secret, "hypothec/nonce-key/v0")`; the secret nonce of an event at position i is
//!   `HMAC-SHA256(K, "hypothec/nonce/v0" || attempt (1 byte) || i (4 bytes, big endian) || event id)`, attempt 0 unless
//!   that is no valid scalar.
//! - The announcement is signed under `DLC/oracle/announcement/v0` over the event's TLV, header included, by BIP340
//!   with no auxiliary randomness.
//! - Event hash `E = SHA256(event TLV, header included)`. Nonce proof i is a BIP340 signature by nonce key i, with no
//!   auxiliary randomness, over `tagged("hypothec/nonce-proof/v0", oracle x-only key (32) || E (32))`. E holds every
//!   nonce and its place, so a proof serves this event and this oracle only.
//! - An attestation signs each outcome under `DLC/oracle/attestation/v0` with the announced nonce.
//!
//! Never chooses an outcome, never remembers one: whoever calls [`OracleKeys::attest`] must have made the outcome of a
//! fixing durable first, because two outcomes signed with one nonce reveal the key.

use crate::event::{Event, FIXING_DIGITS};
use bitcoin::hashes::{sha256, Hash, HashEngine, Hmac, HmacEngine};
use bitcoin::key::XOnlyPublicKey;
use dlc::secp_utils::schnorrsig_sign_with_nonce;
use dlc_messages::oracle_msgs::{
    tagged_announcement_msg, tagged_attestation_msg, DigitDecompositionEventDescriptor, EnumEventDescriptor,
    EventDescriptor, OracleAnnouncement, OracleAttestation, OracleEvent,
};
use dlc_messages::TlvRecord;
use secp256k1_zkp::{schnorr::Signature, Keypair, Message, SecretKey, SECP256K1};
use serde::{Deserialize, Serialize};

/// Tag of the derivation of the nonce key from the oracle's secret.
const NONCE_KEY_TAG: &[u8] = b"hypothec/nonce-key/v0";
/// Tag of the derivation of one nonce.
const NONCE_TAG: &[u8] = b"hypothec/nonce/v0";
/// Tag of a nonce proof.
pub const NONCE_PROOF_TAG: &[u8] = b"hypothec/nonce-proof/v0";
/// Unit of a fixing's digits.
pub const FIXING_UNIT: &str = "usd";

/// An announcement with a proof for every nonce that the oracle knows its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenAnnouncement {
    /// The standard announcement.
    pub announcement: OracleAnnouncement,
    /// One BIP340 signature by each nonce key, in the order of the nonces.
    pub nonce_proofs: Vec<Signature>,
}

/// Why an announcement or attestation cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// The event matures after 2106.
    #[error("event {event} matures after the end of time (2106); choose an earlier day")]
    BeyondTime { event: Event },
    /// The outcomes are not what the event can say.
    #[error("event {event} cannot have the outcome {outcome:?}; right would be {right}")]
    Outcome { event: Event, outcome: Vec<String>, right: &'static str },
    /// No valid nonce came out of the derivation: not expected in the life of the universe.
    #[error("no nonce can be derived for event {event} at position {position}")]
    Nonce { event: Event, position: u16 },
    /// A payment that nobody made here.
    #[error("there is no payment event {event} here")]
    NoPayment { event: Event },
    /// The process that holds the key refused, or did not answer.
    #[error("the signer did not sign: {why}")]
    Signer {
        /// One sentence.
        why: String,
        /// It could not be asked: asking again helps once it is back.
        away: bool,
    },
}

/// The secret key of an oracle and what follows from it.
pub struct OracleKeys {
    keypair: Keypair,
    nonce_key: [u8; 32],
}

impl OracleKeys {
    /// The keys that follow from `secret`.
    pub fn from_secret(secret: SecretKey) -> OracleKeys {
        let nonce_key = hmac(&secret.secret_bytes(), &[NONCE_KEY_TAG]);
        OracleKeys { keypair: Keypair::from_secret_key(SECP256K1, &secret), nonce_key }
    }

    /// The public key that announcements and attestations name.
    pub fn public_key(&self) -> XOnlyPublicKey {
        self.keypair.x_only_public_key().0
    }

    /// The announcement of `event` with its nonce proofs; the same bytes for ever.
    ///
    /// # Errors
    /// When the event matures after 2106.
    pub fn announcement(&self, event: Event) -> Result<ProvenAnnouncement, AnnounceError> {
        let nonces: Vec<Keypair> =
            self.nonces(event)?.iter().map(|nonce| Keypair::from_secret_key(SECP256K1, nonce)).collect();
        let points = nonces.iter().map(|nonce| nonce.x_only_public_key().0).collect();
        let oracle_event = oracle_event(event, points).ok_or(AnnounceError::BeyondTime { event })?;
        let proof = nonce_proof_message(&self.public_key(), &oracle_event);
        let nonce_proofs = nonces.iter().map(|nonce| SECP256K1.sign_schnorr_no_aux_rand(&proof, nonce)).collect();
        let announcement = OracleAnnouncement {
            announcement_signature: SECP256K1
                .sign_schnorr_no_aux_rand(&tagged_announcement_msg(&oracle_event), &self.keypair),
            oracle_public_key: self.public_key(),
            oracle_event,
        };
        Ok(ProvenAnnouncement { announcement, nonce_proofs })
    }

    /// Attests `outcomes` of `event` with the announced nonces: one text for a touch or a payment, 20 digits for a
    /// fixing.
    ///
    /// # Errors
    /// When the outcomes are not ones the event can have.
    pub fn attest(&self, event: Event, outcomes: Vec<String>) -> Result<OracleAttestation, AnnounceError> {
        let right = match event {
            Event::Touch { .. } | Event::Payment { .. } => "the event's own id, once",
            Event::Fixing { .. } => "20 binary digits, most significant first",
        };
        let fits = match event {
            Event::Touch { .. } | Event::Payment { .. } => outcomes == [event.to_string()],
            Event::Fixing { .. } => {
                outcomes.len() == usize::from(FIXING_DIGITS)
                    && outcomes.iter().all(|digit| digit == "0" || digit == "1")
            }
        };
        if !fits {
            return Err(AnnounceError::Outcome { event, outcome: outcomes, right });
        }
        let signatures = self
            .nonces(event)?
            .iter()
            .zip(&outcomes)
            .map(|(nonce, outcome)| {
                let message = tagged_attestation_msg(outcome);
                schnorrsig_sign_with_nonce(SECP256K1, &message, &self.keypair, &nonce.secret_bytes())
            })
            .collect();
        Ok(OracleAttestation {
            event_id: event.to_string(),
            oracle_public_key: self.public_key(),
            signatures,
            outcomes,
        })
    }

    /// Signs a message of ours (a price, a day's lows), with no auxiliary randomness.
    pub(crate) fn sign(&self, message: &Message) -> Signature {
        SECP256K1.sign_schnorr_no_aux_rand(message, &self.keypair)
    }

    /// The secret nonces of an event, in order, without their points: a point costs as much as a signature, and an
    /// attestation needs none.
    fn nonces(&self, event: Event) -> Result<Vec<SecretKey>, AnnounceError> {
        let id = event.to_string();
        (0..nonce_count(event))
            .map(|position| self.nonce(&id, position).ok_or(AnnounceError::Nonce { event, position }))
            .collect()
    }

    /// One secret nonce. The attempts are for the one digest in 2^128 that is no scalar.
    fn nonce(&self, id: &str, position: u16) -> Option<SecretKey> {
        (0..=u8::MAX).find_map(|attempt| {
            let place = u32::from(position).to_be_bytes();
            let digest = hmac(&self.nonce_key, &[NONCE_TAG, &[attempt], &place, id.as_bytes()]);
            SecretKey::from_slice(&digest).ok()
        })
    }
}

/// The secret stays out of logs.
impl std::fmt::Debug for OracleKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OracleKeys({})", self.public_key())
    }
}

/// How many nonces an event has: one for a touch or a payment, one a digit for a fixing.
pub fn nonce_count(event: Event) -> u16 {
    match event {
        Event::Touch { .. } | Event::Payment { .. } => 1,
        Event::Fixing { .. } => FIXING_DIGITS,
    }
}

/// The event as it must be announced with these nonces; `None` when it matures after 2106.
pub fn oracle_event(event: Event, oracle_nonces: Vec<XOnlyPublicKey>) -> Option<OracleEvent> {
    let event_descriptor = match event {
        Event::Touch { .. } | Event::Payment { .. } => {
            EventDescriptor::EnumEvent(EnumEventDescriptor { outcomes: vec![event.to_string()] })
        }
        Event::Fixing { .. } => EventDescriptor::DigitDecompositionEvent(DigitDecompositionEventDescriptor {
            base: 2,
            is_signed: false,
            unit: FIXING_UNIT.to_string(),
            precision: 0,
            nb_digits: FIXING_DIGITS,
        }),
    };
    Some(OracleEvent {
        oracle_nonces,
        event_maturity_epoch: event.maturity()?.0,
        event_descriptor,
        event_id: event.to_string(),
    })
}

/// What each nonce key signs to prove that it is known: see the module's head.
pub fn nonce_proof_message(oracle: &XOnlyPublicKey, event: &OracleEvent) -> Message {
    let event_hash = sha256::Hash::hash(&event.to_tlv_bytes());
    tagged(NONCE_PROOF_TAG, &[&oracle.serialize(), event_hash.as_byte_array()])
}

/// BIP340's tagged hash of the parts, one after the other.
pub(crate) fn tagged(tag: &[u8], parts: &[&[u8]]) -> Message {
    let tag = sha256::Hash::hash(tag);
    let mut engine = sha256::Hash::engine();
    engine.input(tag.as_byte_array());
    engine.input(tag.as_byte_array());
    for part in parts {
        engine.input(part);
    }
    Message::from_digest(sha256::Hash::from_engine(engine).to_byte_array())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    for part in parts {
        engine.input(part);
    }
    Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Level;
    use crate::units::{Day, Time};

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    fn touch() -> Event {
        Event::Touch { level: Level::exactly(7_490).unwrap(), day: Day(18_333), from_hour: 9 }
    }

    #[test]
    fn an_announcement_is_the_same_bytes_for_ever() {
        let pinned = keys(7).announcement(touch()).unwrap();
        assert_eq!(pinned, keys(7).announcement(touch()).unwrap());
        // Pinned: a change here means that every running oracle would announce something else for the same id.
        let digest = sha256::Hash::hash(&pinned.announcement.to_tlv_bytes()).to_string();
        assert_eq!(digest, "49c66c87ee7bff5c44cefd47b170ff56023ae1a6e505f8745200b94e6e606ff3");
    }

    #[test]
    fn an_attestation_is_the_same_bytes_for_ever() {
        let oracle = keys(7);
        let said = oracle.attest(touch(), vec![touch().to_string()]).unwrap();
        assert_eq!(
            said.signatures[0].to_string(),
            "98a14a72376fb9525042d244fe6928227e0abac7d13d2f1b8f116ae8b1f15e02\
             273205acd566a01722db4af1e1432b571c131bb2a89c9da68353767986b1ab7d"
        );
        let fixing = Event::Fixing { at: Time(3_600) };
        let said = oracle.attest(fixing, format!("{:020b}", 97_531).chars().map(String::from).collect()).unwrap();
        assert_eq!(
            said.signatures[19].to_string(),
            "e016fb6fdb48ea7f539a1e9bfa1445406bd1cf6c48de9610c252a28919662da6\
             7e6cdf54ce3380d1c7b398389dfb6e7585e59c38391aa500fad792e14186a110"
        );
        said.validate(SECP256K1, &oracle.announcement(fixing).unwrap().announcement).unwrap();
    }

    #[test]
    fn every_event_and_digit_has_its_own_nonce() {
        let mut seen = std::collections::HashSet::new();
        let oracle = keys(7);
        for event in [touch(), Event::Fixing { at: Time(3_600) }, Event::Fixing { at: Time(7_200) }] {
            let proven = oracle.announcement(event).unwrap();
            assert_eq!(proven.nonce_proofs.len(), usize::from(nonce_count(event)));
            assert!(proven.announcement.oracle_event.oracle_nonces.iter().all(|nonce| seen.insert(*nonce)));
            proven.announcement.validate(SECP256K1).unwrap();
        }
    }

    #[test]
    fn an_oracle_cannot_attest_what_the_event_cannot_say() {
        let oracle = keys(7);
        assert!(oracle.attest(touch(), vec!["yes".into()]).is_err());
        assert!(oracle.attest(touch(), vec![]).is_err());
        assert!(oracle.attest(Event::Fixing { at: Time(3_600) }, vec!["1".into()]).is_err());
        assert!(oracle.attest(Event::Fixing { at: Time(3_600) }, vec!["2".into(); 20]).is_err());
        assert!(!format!("{oracle:?}").contains("0707"), "the secret stays out of logs");
    }
}
