//! Equivocation: proof that an oracle said two things where it may say one. Anyone can make it, carry it and check it.
//!
//! - *Outcomes*: two outcomes signed with one announced nonce. The two signatures also reveal the oracle's secret key,
//!   `x = (s_a - s_b) / (e_a - e_b)`, so from then on anybody can sign anything with it.
//! - *Announcements*: one event id announced twice with different nonces: two attestations of it could differ without
//!   ever sharing a nonce.
//! - *Statements*: two signed lists of lows, heads of a tick log or price policies that cannot both be honest, as
//!   [`contradiction`](crate::contradiction) says.
//!
//! Bytes of a proof, integers big endian, at most [`LARGEST`]:
//!
//! ```text
//! "hypothec/equivocation" | version 1 (1) | kind (1)
//! outcomes       1 | announcement | nonce index (2) | said | said        said: length (2) | outcome, UTF-8 | signature (64)
//! announcements  2 | announcement | announcement
//! statements     3 | oracle (32) | what (1) | statement | statement
//! announcement: length (4) | TLV with its header
//! what: 1 lows, 2 head of the tick log, 3 price policy      statement: length (4) | signed data | signature (64)
//! ```
//! The two halves stand in ascending order (outcomes by their text, announcements and statements by their bytes), so one
//! pair has one proof. Never computes the secret key.

use crate::contradiction::{self, Contradiction};
use crate::foreign::{clean_to, WORD};
use crate::price::policy::SignedPolicy;
use crate::statement::{Statement, LOG_HEAD, LOWS, POLICY};
use crate::ticklog::entry::Head;
use crate::wire::SignedLows;
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::{
    tagged_announcement_msg, tagged_attestation_msg, OracleAnnouncement, OracleAttestation,
};
use dlc_messages::TlvRecord;
use secp256k1_zkp::{schnorr::Signature, SECP256K1};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes of a proof: two announcements of thousands of nonces fit.
pub const LARGEST: usize = 256 * 1024;
/// The longest outcome, in bytes.
pub const LONGEST_OUTCOME: usize = 1_024;

const MAGIC: &[u8] = b"hypothec/equivocation";
const VERSION: u8 = 1;
const OUTCOMES: u8 = 1;
const ANNOUNCEMENTS: u8 = 2;
const STATEMENTS: u8 = 3;
/// The statements that can contradict each other, numbered from 1.
const STATED: [&str; 3] = [LOWS, LOG_HEAD, POLICY];

/// One outcome as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// Its text.
    pub outcome: String,
    /// With the announced nonce.
    pub signature: Signature,
}

/// A statement as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// What.
    pub statement: Statement,
    /// By the oracle key.
    pub signature: Signature,
}

/// Two things that may not both be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Two outcomes with one nonce.
    Outcomes {
        /// Where the nonce was announced.
        announcement: OracleAnnouncement,
        /// Which of its nonces.
        index: u16,
        /// The outcome that comes first by its text.
        first: Said,
        /// The other.
        second: Said,
    },
    /// Two announcements of one event with different nonces.
    Announcements {
        /// The one whose bytes come first.
        first: OracleAnnouncement,
        /// The other.
        second: OracleAnnouncement,
    },
    /// Two statements of which one is untrue.
    Statements {
        /// Who signed both.
        oracle: XOnlyPublicKey,
        /// The one whose bytes come first.
        first: Stated,
        /// The other.
        second: Stated,
    },
}

/// Why something is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// The bytes are not a proof's.
    #[error("these bytes are no proof of equivocation: {0}")]
    Bytes(&'static str),
    /// The two are by two oracles.
    #[error("the first is by oracle {first}, the second by {second}; two oracles may differ")]
    TwoOracles { first: String, second: String },
    /// The two are about two events.
    #[error("the first is about event {first:?}, the second about {second:?}; two events may differ")]
    TwoEvents { first: String, second: String },
    /// Nothing contradicts.
    #[error("both {0}: that is no contradiction")]
    Same(&'static str),
    /// The halves stand in the wrong order.
    #[error("the two halves of the proof stand in the wrong order; write it again from its parts")]
    Order,
    /// A signature is somebody else's, or of something else.
    #[error("the {what} is not signed by oracle {oracle} with the announced nonce")]
    Signature { what: &'static str, oracle: XOnlyPublicKey },
    /// A statement that the oracle never signed.
    #[error("the {what} is not signed by oracle {oracle}")]
    Unsigned { what: &'static str, oracle: XOnlyPublicKey },
    /// The announcement has no such nonce.
    #[error("the announcement has {found} nonces; there is none at position {index}")]
    NoNonce { index: u16, found: usize },
    /// Too long.
    #[error("an outcome has {0} bytes; at most {LONGEST_OUTCOME} are read")]
    TooLong(usize),
}

impl Proof {
    /// The proof of two attestations of one announced event, at the first position where they differ.
    ///
    /// # Errors
    /// When they do not contradict each other, or are not signed as they should be.
    pub fn of_attestations(
        announcement: &OracleAnnouncement,
        first: &OracleAttestation,
        second: &OracleAttestation,
    ) -> Result<Proof, NoProof> {
        if first.oracle_public_key != second.oracle_public_key {
            let (first, second) = (first.oracle_public_key.to_string(), second.oracle_public_key.to_string());
            return Err(NoProof::TwoOracles { first, second });
        }
        if first.event_id != second.event_id {
            return Err(NoProof::TwoEvents { first: first.event_id.clone(), second: second.event_id.clone() });
        }
        for said in [first, second] {
            let (found, right) = (said.oracle_public_key, announcement.oracle_public_key);
            if found != right {
                return Err(NoProof::TwoOracles { first: right.to_string(), second: found.to_string() });
            }
            if said.event_id != announcement.oracle_event.event_id {
                let first = announcement.oracle_event.event_id.clone();
                return Err(NoProof::TwoEvents { first, second: said.event_id.clone() });
            }
        }
        let pairs = first.outcomes.iter().zip(&first.signatures).zip(second.outcomes.iter().zip(&second.signatures));
        let differs = |((a, _), (b, _)): &((&String, &Signature), (&String, &Signature))| a != b;
        let (index, ((a, a_signature), (b, b_signature))) =
            (0u16..).zip(pairs).find(|(_, pair)| differs(pair)).ok_or(NoProof::Same("say the same outcome"))?;
        let a = Said { outcome: a.clone(), signature: *a_signature };
        let b = Said { outcome: b.clone(), signature: *b_signature };
        let (first, second) = if a.outcome < b.outcome { (a, b) } else { (b, a) };
        let proof = Proof::Outcomes { announcement: announcement.clone(), index, first, second };
        proof.check().map(|_| proof)
    }

    /// The proof of two announcements of one event.
    ///
    /// # Errors
    /// When they do not contradict each other, or are not signed as they should be.
    pub fn of_announcements(a: &OracleAnnouncement, b: &OracleAnnouncement) -> Result<Proof, NoProof> {
        let (first, second) = if a.to_tlv_bytes() <= b.to_tlv_bytes() { (a, b) } else { (b, a) };
        let proof = Proof::Announcements { first: first.clone(), second: second.clone() };
        proof.check().map(|_| proof)
    }

    /// The proof of two lists of a day's lows.
    ///
    /// # Errors
    /// When both may be honest, or one is not signed by the oracle.
    pub fn of_lows(oracle: XOnlyPublicKey, a: &SignedLows, b: &SignedLows) -> Result<Proof, NoProof> {
        let stated = |one: &SignedLows| {
            let statement = SignedLows::statement(one.day, one.frozen_until, &one.lows);
            Stated { statement, signature: one.signature }
        };
        Proof::of_statements(oracle, stated(a), stated(b))
    }

    /// The proof of two heads of a tick log.
    ///
    /// # Errors
    /// As [`Proof::of_lows`].
    pub fn of_heads(oracle: XOnlyPublicKey, a: &Head, b: &Head) -> Result<Proof, NoProof> {
        let stated = |one: &Head| Stated { statement: one.statement(), signature: one.signature };
        Proof::of_statements(oracle, stated(a), stated(b))
    }

    /// The proof of two price policies.
    ///
    /// # Errors
    /// As [`Proof::of_lows`].
    pub fn of_policies(oracle: XOnlyPublicKey, a: &SignedPolicy, b: &SignedPolicy) -> Result<Proof, NoProof> {
        let stated = |one: &SignedPolicy| Stated { statement: one.policy.statement(), signature: one.signature };
        Proof::of_statements(oracle, stated(a), stated(b))
    }

    fn of_statements(oracle: XOnlyPublicKey, a: Stated, b: Stated) -> Result<Proof, NoProof> {
        let (first, second) = if a.statement.data <= b.statement.data { (a, b) } else { (b, a) };
        let proof = Proof::Statements { oracle, first, second };
        proof.check().map(|_| proof)
    }

    /// Which oracle this proves to have equivocated.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn check(&self) -> Result<XOnlyPublicKey, NoProof> {
        match self {
            Proof::Outcomes { announcement, index, first, second } => {
                check_outcomes(announcement, *index, first, second)
            }
            Proof::Announcements { first, second } => check_announcements(first, second),
            Proof::Statements { oracle, first, second } => check_statements(oracle, first, second).map(|_| *oracle),
        }
    }

    /// What it is about: an event's id, or in words what was stated twice.
    pub fn about(&self) -> String {
        match self {
            Proof::Outcomes { announcement, .. } => clean_to(&announcement.oracle_event.event_id, WORD),
            Proof::Announcements { first, .. } => clean_to(&first.oracle_event.event_id, WORD),
            Proof::Statements { oracle, first, second } => {
                check_statements(oracle, first, second).map_or_else(|_| "nothing".to_owned(), |about| about.to_string())
            }
        }
    }

    /// Is the oracle's secret key readable from it?
    pub fn reveals_the_key(&self) -> bool {
        matches!(self, Proof::Outcomes { .. })
    }

    /// Its bytes, as the module's head says.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        match self {
            Proof::Outcomes { announcement, index, first, second } => {
                bytes.push(OUTCOMES);
                put_announcement(&mut bytes, announcement);
                bytes.extend_from_slice(&index.to_be_bytes());
                for said in [first, second] {
                    let length = u16::try_from(said.outcome.len()).unwrap_or(u16::MAX);
                    bytes.extend_from_slice(&length.to_be_bytes());
                    bytes.extend_from_slice(said.outcome.as_bytes());
                    bytes.extend_from_slice(said.signature.as_ref());
                }
            }
            Proof::Announcements { first, second } => {
                bytes.push(ANNOUNCEMENTS);
                put_announcement(&mut bytes, first);
                put_announcement(&mut bytes, second);
            }
            Proof::Statements { oracle, first, second } => {
                bytes.push(STATEMENTS);
                bytes.extend_from_slice(&oracle.serialize());
                let what = (1u8..).zip(STATED).find(|(_, tag)| *tag == first.statement.tag);
                bytes.push(what.map_or(0, |(number, _)| number));
                for Stated { statement, signature } in [first, second] {
                    bytes.extend_from_slice(&u32::try_from(statement.data.len()).unwrap_or(u32::MAX).to_be_bytes());
                    bytes.extend_from_slice(&statement.data);
                    bytes.extend_from_slice(signature.as_ref());
                }
            }
        }
        bytes
    }

    /// Reads a proof and checks it: what comes out proves what it says.
    ///
    /// # Errors
    /// When the bytes are not exactly a proof's, or prove nothing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Proof, NoProof> {
        if bytes.len() > LARGEST {
            return Err(NoProof::Bytes("there are more than 256 KiB"));
        }
        let proof = read(bytes)?;
        // Lengths and encodings have one right form each, but let no second one in.
        if proof.to_bytes() != bytes {
            return Err(NoProof::Bytes("they are not written as a proof is written"));
        }
        proof.check().map(|_| proof)
    }
}

/// Hex of the bytes, so that a proof travels in any JSON.
impl Serialize for Proof {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_bytes().to_lower_hex_string())
    }
}

impl<'de> Deserialize<'de> for Proof {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Proof, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = Vec::<u8>::from_hex(&text).map_err(serde::de::Error::custom)?;
        Proof::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

fn check_outcomes(
    announcement: &OracleAnnouncement,
    index: u16,
    first: &Said,
    second: &Said,
) -> Result<XOnlyPublicKey, NoProof> {
    let oracle = check_announcement(announcement)?;
    let nonces = &announcement.oracle_event.oracle_nonces;
    let nonce = nonces.get(usize::from(index)).ok_or(NoProof::NoNonce { index, found: nonces.len() })?;
    for (said, what) in [(first, "first outcome"), (second, "second outcome")] {
        if said.outcome.len() > LONGEST_OUTCOME {
            return Err(NoProof::TooLong(said.outcome.len()));
        }
        let valid = said.signature.as_ref().starts_with(&nonce.serialize())
            && SECP256K1.verify_schnorr(&said.signature, &tagged_attestation_msg(&said.outcome), &oracle).is_ok();
        if !valid {
            return Err(NoProof::Signature { what, oracle });
        }
    }
    match first.outcome.cmp(&second.outcome) {
        std::cmp::Ordering::Less => Ok(oracle),
        std::cmp::Ordering::Equal => Err(NoProof::Same("say the same outcome")),
        std::cmp::Ordering::Greater => Err(NoProof::Order),
    }
}

fn check_announcements(first: &OracleAnnouncement, second: &OracleAnnouncement) -> Result<XOnlyPublicKey, NoProof> {
    let (oracle, other) = (first.oracle_public_key, second.oracle_public_key);
    if oracle != other {
        return Err(NoProof::TwoOracles { first: oracle.to_string(), second: other.to_string() });
    }
    let (one, two) = (&first.oracle_event, &second.oracle_event);
    if one.event_id != two.event_id {
        return Err(NoProof::TwoEvents { first: one.event_id.clone(), second: two.event_id.clone() });
    }
    if one.oracle_nonces == two.oracle_nonces {
        return Err(NoProof::Same("announce the same nonces"));
    }
    if first.to_tlv_bytes() > second.to_tlv_bytes() {
        return Err(NoProof::Order);
    }
    check_announcement(first)?;
    check_announcement(second)
}

fn check_statements(oracle: &XOnlyPublicKey, first: &Stated, second: &Stated) -> Result<Contradiction, NoProof> {
    for (stated, what) in [(first, "first statement"), (second, "second statement")] {
        if !stated.statement.is_signed(oracle, &stated.signature) {
            return Err(NoProof::Unsigned { what, oracle: *oracle });
        }
    }
    let about = contradiction::between(&first.statement, &second.statement);
    let about = about.ok_or(NoProof::Same("may be honest"))?;
    if first.statement.data >= second.statement.data {
        return Err(NoProof::Order);
    }
    Ok(about)
}

fn check_announcement(announcement: &OracleAnnouncement) -> Result<XOnlyPublicKey, NoProof> {
    let oracle = announcement.oracle_public_key;
    let message = tagged_announcement_msg(&announcement.oracle_event);
    SECP256K1
        .verify_schnorr(&announcement.announcement_signature, &message, &oracle)
        .map_err(|_| NoProof::Signature { what: "announcement", oracle })?;
    Ok(oracle)
}

fn put_announcement(bytes: &mut Vec<u8>, announcement: &OracleAnnouncement) {
    let tlv = announcement.to_tlv_bytes();
    bytes.extend_from_slice(&u32::try_from(tlv.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&tlv);
}

fn read(bytes: &[u8]) -> Result<Proof, NoProof> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NoProof::Bytes("they begin otherwise"))?;
    let (&[version, kind], mut rest) = rest.split_first_chunk().ok_or(NoProof::Bytes("they end too early"))?;
    if version != VERSION {
        return Err(NoProof::Bytes("they have another version than 1"));
    }
    let proof = match kind {
        OUTCOMES => Proof::Outcomes {
            announcement: take_announcement(&mut rest)?,
            index: u16::from_be_bytes(take(&mut rest)?),
            first: take_said(&mut rest)?,
            second: take_said(&mut rest)?,
        },
        ANNOUNCEMENTS => {
            Proof::Announcements { first: take_announcement(&mut rest)?, second: take_announcement(&mut rest)? }
        }
        STATEMENTS => {
            let oracle = XOnlyPublicKey::from_slice(&take::<32>(&mut rest)?)
                .map_err(|_| NoProof::Bytes("the oracle's key is none"))?;
            let [what] = take(&mut rest)?;
            let tag = (1u8..).zip(STATED).find(|(number, _)| *number == what).map(|(_, tag)| tag);
            let tag = tag.ok_or(NoProof::Bytes("the statements are of an unknown kind"))?;
            Proof::Statements { oracle, first: take_stated(&mut rest, tag)?, second: take_stated(&mut rest, tag)? }
        }
        _ => return Err(NoProof::Bytes("they are of an unknown kind")),
    };
    if !rest.is_empty() {
        return Err(NoProof::Bytes("something follows their end"));
    }
    Ok(proof)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NoProof> {
    let (head, tail) = rest.split_first_chunk().ok_or(NoProof::Bytes("they end too early"))?;
    *rest = tail;
    Ok(*head)
}

fn take_many<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], NoProof> {
    let (head, tail) = rest.split_at_checked(length).ok_or(NoProof::Bytes("they end too early"))?;
    *rest = tail;
    Ok(head)
}

fn take_announcement(rest: &mut &[u8]) -> Result<OracleAnnouncement, NoProof> {
    let length = usize::try_from(u32::from_be_bytes(take(rest)?)).unwrap_or(usize::MAX);
    let tlv = take_many(rest, length)?;
    OracleAnnouncement::from_tlv_bytes(tlv).map_err(|_| NoProof::Bytes("an announcement cannot be read"))
}

fn take_stated(rest: &mut &[u8], tag: &str) -> Result<Stated, NoProof> {
    let length = usize::try_from(u32::from_be_bytes(take(rest)?)).unwrap_or(usize::MAX);
    let statement = Statement::new(tag, take_many(rest, length)?.to_vec());
    let statement = statement.ok_or(NoProof::Bytes("a statement has no length that it can have"))?;
    let signature = Signature::from_slice(take_many(rest, 64)?).map_err(|_| NoProof::Bytes("a signature is none"))?;
    Ok(Stated { statement, signature })
}

fn take_said(rest: &mut &[u8]) -> Result<Said, NoProof> {
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let outcome = std::str::from_utf8(take_many(rest, length)?).map_err(|_| NoProof::Bytes("an outcome is no text"))?;
    let signature = Signature::from_slice(take_many(rest, 64)?).map_err(|_| NoProof::Bytes("a signature is none"))?;
    Ok(Said { outcome: outcome.to_owned(), signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use crate::event::Event;
    use crate::units::{Cents, Time};
    use crate::verify::fixing_digits;
    use bitcoin::hashes::{sha256, Hash, HashEngine};
    use secp256k1_zkp::{Parity, Scalar, SecretKey};

    const FIXING: Event = Event::Fixing { at: Time(1_584_007_200) };

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    /// An oracle that signs two prices for one hour, which the daemon never does.
    fn two_fixings(keys: &OracleKeys) -> (OracleAnnouncement, OracleAttestation, OracleAttestation) {
        let announcement = keys.announcement(FIXING).unwrap().announcement;
        let say = |cents| keys.attest(FIXING, fixing_digits(Cents(cents))).unwrap();
        (announcement, say(798_765), say(798_665))
    }

    fn proof() -> Proof {
        let (announcement, a, b) = two_fixings(&keys(7));
        Proof::of_attestations(&announcement, &a, &b).unwrap()
    }

    /// `x = (s_a - s_b) / (e_a - e_b)`, as anybody can compute it: the reason why nobody may sign twice.
    fn recover(proof: &Proof) -> SecretKey {
        let Proof::Outcomes { announcement, first, second, .. } = proof else { panic!("two outcomes") };
        let challenge = |said: &Said| {
            let tag = sha256::Hash::hash(b"BIP0340/challenge");
            let mut engine = sha256::Hash::engine();
            engine.input(tag.as_byte_array());
            engine.input(tag.as_byte_array());
            engine.input(&said.signature.as_ref()[..32]);
            engine.input(&announcement.oracle_public_key.serialize());
            engine.input(tagged_attestation_msg(&said.outcome).as_ref());
            SecretKey::from_slice(sha256::Hash::from_engine(engine).as_byte_array()).unwrap()
        };
        let minus = |a: SecretKey, b: SecretKey| a.add_tweak(&Scalar::from(b.negate())).unwrap();
        let s = |said: &Said| SecretKey::from_slice(&said.signature.as_ref()[32..]).unwrap();
        let over = minus(challenge(first), challenge(second));
        // 1/n is n^(order - 2), bit by bit.
        let mut power = secp256k1_zkp::constants::CURVE_ORDER;
        power[31] -= 2;
        let one = SecretKey::from_slice(&secp256k1_zkp::constants::ONE).unwrap();
        let inverse = power.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).fold(one, |r, bit| {
            let square = r.mul_tweak(&Scalar::from(r)).unwrap();
            if bit == 1 {
                square.mul_tweak(&Scalar::from(over)).unwrap()
            } else {
                square
            }
        });
        minus(s(first), s(second)).mul_tweak(&Scalar::from(inverse)).unwrap()
    }

    #[test]
    fn two_fixings_on_one_nonce_are_proved_and_give_the_secret_away() {
        let proof = proof();
        assert_eq!(proof.check(), Ok(keys(7).public_key()));
        let secret = recover(&proof);
        let (public, _): (XOnlyPublicKey, Parity) = secret.x_only_public_key(SECP256K1);
        assert_eq!(public, keys(7).public_key(), "the key is out");
        assert!(proof.reveals_the_key());
    }

    #[test]
    fn one_equivocation_has_one_proof_however_it_is_told() {
        let (announcement, a, b) = two_fixings(&keys(7));
        let told = Proof::of_attestations(&announcement, &b, &a).unwrap();
        assert_eq!(told.to_bytes(), proof().to_bytes());
        assert_eq!(Proof::from_bytes(&told.to_bytes()), Ok(told.clone()));
        let text = serde_json::to_string(&told).unwrap();
        assert_eq!(serde_json::from_str::<Proof>(&text).unwrap(), told);
    }

    #[test]
    fn an_honest_oracle_cannot_be_accused() {
        let (announcement, a, _) = two_fixings(&keys(7));
        assert_eq!(Proof::of_attestations(&announcement, &a, &a), Err(NoProof::Same("say the same outcome")));
        let other = keys(8).attest(FIXING, fixing_digits(Cents(1))).unwrap();
        assert!(matches!(Proof::of_attestations(&announcement, &a, &other), Err(NoProof::TwoOracles { .. })));
        let hour = Event::Fixing { at: Time(1_584_010_800) };
        let later = keys(7).attest(hour, fixing_digits(Cents(1))).unwrap();
        assert!(matches!(Proof::of_attestations(&announcement, &a, &later), Err(NoProof::TwoEvents { .. })));
        // The later hour's signatures under this hour's name: another nonce.
        let renamed = OracleAttestation { event_id: FIXING.to_string(), ..later };
        assert!(matches!(Proof::of_attestations(&announcement, &a, &renamed), Err(NoProof::Signature { .. })));
        let twice = Proof::of_announcements(&announcement, &announcement);
        assert_eq!(twice, Err(NoProof::Same("announce the same nonces")));
    }

    #[test]
    fn one_event_announced_twice_with_different_nonces_is_proved() {
        let honest = keys(7).announcement(FIXING).unwrap().announcement;
        let mut other = honest.clone();
        other.oracle_event.oracle_nonces.reverse();
        assert!(matches!(Proof::of_announcements(&honest, &other), Err(NoProof::Signature { .. })));
        other.announcement_signature = keys(7).sign(&tagged_announcement_msg(&other.oracle_event));
        let proof = Proof::of_announcements(&honest, &other).unwrap();
        assert_eq!(proof, Proof::of_announcements(&other, &honest).unwrap());
        assert_eq!(Proof::from_bytes(&proof.to_bytes()), Ok(proof.clone()));
        assert!(!proof.reveals_the_key());
        let Proof::Announcements { first, second } = proof else { panic!("two announcements") };
        let turned = Proof::Announcements { first: second, second: first };
        assert_eq!(turned.check(), Err(NoProof::Order));
    }

    /// Two lists of lows that differ in an hour that both call final.
    fn two_lows(keys: &OracleKeys) -> (SignedLows, SignedLows) {
        let until = Time(1_583_971_200 + 2 * 3_600);
        let say = |cents| {
            let mut lows = [None; 24];
            lows[..2].copy_from_slice(&[Some(Cents(800_000)), Some(Cents(cents))]);
            SignedLows::sign(keys, until.day(), until, lows)
        };
        (say(790_000), say(780_000))
    }

    #[test]
    fn two_lows_of_a_final_hour_two_heads_of_a_tick_and_two_policies_of_a_version_are_proofs() {
        use crate::price::policy::Policy;
        use crate::ticklog::chain::End;
        use crate::ticklog::entry::LogId;
        let (keys, stranger) = (keys(7), keys(8).public_key());
        let oracle = keys.public_key();
        let (one, two) = two_lows(&keys);
        let lows = Proof::of_lows(oracle, &one, &two).unwrap();
        assert_eq!(lows, Proof::of_lows(oracle, &two, &one).unwrap(), "whoever makes it");
        assert_eq!(lows.about(), "the low of the final hour from 2020-03-12T01:00:00Z");
        let head = |log, byte: u8| {
            let hash = sha256::Hash::from_byte_array([byte; 32]);
            Head::sign(&keys, End { n: 9, at: Time(7), hash, log, headed: false })
        };
        let log = Some(LogId([3; 16]));
        let heads = Proof::of_heads(oracle, &head(log, 1), &head(log, 2)).unwrap();
        let policy = |quorum| {
            let policy = Policy { quorum, ..Policy::default() };
            SignedPolicy { signature: policy.statement().sign(&keys), policy }
        };
        let policies = Proof::of_policies(oracle, &policy(3), &policy(4)).unwrap();
        for proof in [&lows, &heads, &policies] {
            assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(proof));
            assert!(proof.check() == Ok(oracle) && !proof.reveals_the_key());
        }
        let honest = NoProof::Same("may be honest");
        assert_eq!(Proof::of_heads(oracle, &head(None, 1), &head(None, 2)), Err(honest.clone()));
        assert_eq!(Proof::of_heads(oracle, &head(Some(LogId([4; 16])), 1), &head(log, 2)), Err(honest.clone()));
        assert_eq!(Proof::of_lows(oracle, &one, &one), Err(honest));
        assert!(matches!(Proof::of_lows(stranger, &one, &two), Err(NoProof::Unsigned { .. })));
        let Proof::Statements { oracle, first, second } = lows else { panic!("statements") };
        let turned = Proof::Statements { oracle, first: second, second: first };
        assert_eq!(turned.check(), Err(NoProof::Order));
    }

    #[test]
    fn a_spoilt_proof_proves_nothing_at_any_byte() {
        let (one, two) = two_lows(&keys(7));
        let lows = Proof::of_lows(keys(7).public_key(), &one, &two).unwrap();
        for whole in [proof().to_bytes(), lows.to_bytes()] {
            for place in 0..whole.len() {
                let mut spoilt = whole.clone();
                spoilt[place] ^= 1;
                assert!(Proof::from_bytes(&spoilt).is_err(), "byte {place}");
                assert!(Proof::from_bytes(&whole[..place]).is_err(), "cut at {place}");
            }
            assert!(Proof::from_bytes(&[whole.as_slice(), &[0]].concat()).is_err());
        }
    }

    #[test]
    fn what_a_proof_is_about_is_shown_cleaned_for_it_is_the_accused_oracles_text() {
        let mut one = keys(7).announcement(FIXING).unwrap().announcement;
        one.oracle_event.event_id = format!("a\u{1b}[2J\u{202e}b{}", "c".repeat(200));
        let mut other = one.clone();
        other.oracle_event.oracle_nonces.reverse();
        for announcement in [&mut one, &mut other] {
            announcement.announcement_signature = keys(7).sign(&tagged_announcement_msg(&announcement.oracle_event));
        }
        let about = Proof::of_announcements(&one, &other).unwrap().about();
        assert!(about.starts_with("abcc") && about.chars().count() == WORD + 1, "{about}");
    }
}
