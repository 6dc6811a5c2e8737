//! The notes: Nostr events of kind 88 (an announcement) and 89 (an attestation), by the oracle's own key.
//!
//! - Content: standard base64 of the TLV, type and length included, as other DLC wallets on Nostr write it.
//! - Kind 88 has two tags: `["oracle_event", ID]` and `["nonce_proofs", HEX, …]`, one BIP340 signature a nonce.
//! - Kind 89 has two: `["e", NOTE]`, the id of the note that announces it, and `["oracle_event", ID]`.
//! - `created_at` follows from the event alone, so a note made twice is the same note: a fixing is announced 30 days before
//!   its hour and attested at it; what is said of a touch is dated in the hour before its first, two rungs of the ladder a
//!   second. No second holds many notes, so a reader that turns pages by time loses none.
//!
//! 88 and 89 are kinds that no relay replaces or forgets. The event's id is in a tag of more than one letter on purpose:
//! relays index tags of one letter, and a reader should never ask for a single event.
//!
//! **Why the oracle's key may sign notes.** A note's signature is BIP340 over its id, `SHA256("[0,\"…")`. An
//! attestation's is over `SHA256(SHA256(tag) ‖ SHA256(tag) ‖ outcome)`, and so are an announcement's and a statement's
//! under their tags. What is hashed for a note begins with the byte `[`; what is hashed for the others begins with the
//! digest of their tag, none of which begins with that byte (a test looks). One message for both would be a collision of
//! SHA-256. And no nonce is shared: a note's comes from BIP340's own derivation, an attestation's from HMAC under the
//! nonce key. Whoever signs builds the id here, out of a word that it made itself: never a hash that it was handed.

use crate::announce::{OracleKeys, ProvenAnnouncement};
use crate::event::Event;
use crate::foreign::{clean_to, WORD};
use crate::units::{Time, DAY, HOUR};
use crate::verify::{verify_announcement, verify_outcomes, VerifyError};
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine;
use bitcoin::hex::DisplayHex;
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use dlc_messages::TlvRecord;
use nostr::{EventId, Kind, PublicKey, Tag, Tags, Timestamp};
use secp256k1_zkp::schnorr::Signature;
use secp256k1_zkp::Message;
use std::str::FromStr;

/// A Nostr event. ([`Event`] is what an oracle speaks about.)
pub type Note = nostr::Event;
/// The id of a note.
pub type NoteId = EventId;

/// The kind of an announcement.
pub const ANNOUNCEMENT: u16 = 88;
/// The kind of an attestation.
pub const ATTESTATION: u16 = 89;
/// How long before its hour a fixing is announced on relays, seconds.
pub const HORIZON: u32 = 30 * DAY;
/// The tag with the event's id.
const EVENT_TAG: &str = "oracle_event";
/// The tag with the nonce proofs.
const PROOFS_TAG: &str = "nonce_proofs";
/// The tag with the announcement's note.
const ANNOUNCED_TAG: &str = "e";
/// Longest content read, in characters: a fixing's announcement has some 1,200.
const LONGEST: usize = 16 * 1_024;
/// The most tags read.
const MOST_TAGS: usize = 8;
/// Rungs of the ladder that share a second.
const RUNGS_A_SECOND: u32 = 2;

/// Why a note is none of this oracle's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Somebody else's.
    #[error("its author is {found}, right would be {right}")]
    Author { found: String, right: String },
    /// Another kind.
    #[error("it is of kind {0}; only {ANNOUNCEMENT} (announcement) and {ATTESTATION} (attestation) were asked for")]
    Kind(u16),
    /// Not signed by its author, or changed since.
    #[error("its {0} is not valid")]
    Signature(&'static str),
    /// More than a word needs.
    #[error("it has {found} {what}, at most {most} are read")]
    TooMuch { what: &'static str, found: usize, most: usize },
    /// Not base64 of exactly one TLV.
    #[error("its content cannot be read: {0}")]
    Content(&'static str),
    /// About nothing that an oracle says in public.
    #[error("it speaks of {0:?}, which is no event of an oracle's prices")]
    NoEvent(String),
    /// A tag is missing, or not what it must be.
    #[error("its tag {tag:?} {wrong}")]
    Tag { tag: &'static str, wrong: &'static str },
    /// Not what its event must be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// What a note says, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// An announcement with its proofs.
    Announced(Event, Box<ProvenAnnouncement>),
    /// An attestation, and the note that it says announced it. Its nonces are compared by whoever holds the announcement.
    Attested(Event, OracleAttestation, NoteId),
}

/// When a note of an event is dated; `None` for what relays do not carry: payments, and what lies beyond 2106.
pub fn dated(kind: u16, event: Event) -> Option<Time> {
    match event {
        Event::Fixing { at } if kind == ANNOUNCEMENT => Some(Time(at.0.saturating_sub(HORIZON))),
        Event::Fixing { at } => Some(at),
        Event::Touch { level, .. } => {
            let hour_before = event.touch_from()?.0.checked_sub(HOUR)?;
            Time(hour_before).plus(level.index() / RUNGS_A_SECOND)
        }
        Event::Payment { .. } => None,
    }
}

/// A note that lacks its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    id: NoteId,
    author: PublicKey,
    created_at: Timestamp,
    kind: Kind,
    tags: Tags,
    content: String,
}

impl Draft {
    /// The note of an announcement; `None` for what relays do not carry.
    pub fn announcement(event: Event, proven: &ProvenAnnouncement) -> Option<Draft> {
        let proofs = proven.nonce_proofs.iter().map(|proof| proof.as_ref().to_lower_hex_string());
        let tags = vec![
            tag([EVENT_TAG.to_owned(), event.to_string()])?,
            tag(std::iter::once(PROOFS_TAG.to_owned()).chain(proofs))?,
        ];
        let announcement = &proven.announcement;
        draft(event, &announcement.oracle_public_key, ANNOUNCEMENT, tags, &announcement.to_tlv_bytes())
    }

    /// The note of an attestation whose announcement has the note `announced`; `None` for what relays do not carry.
    pub fn attestation(event: Event, said: &OracleAttestation, announced: NoteId) -> Option<Draft> {
        let tags =
            vec![tag([ANNOUNCED_TAG.to_owned(), announced.to_hex()])?, tag([EVENT_TAG.to_owned(), event.to_string()])?];
        draft(event, &said.oracle_public_key, ATTESTATION, tags, &said.to_tlv_bytes())
    }

    /// Its id: the hash of all it says.
    pub fn id(&self) -> NoteId {
        self.id
    }

    /// Its signature, with no auxiliary randomness: the same for ever.
    pub fn sign(&self, keys: &OracleKeys) -> Signature {
        keys.sign(&Message::from_digest(self.id.to_bytes()))
    }

    /// The whole note.
    ///
    /// # Errors
    /// When the signature is not its author's.
    pub fn signed(self, signature: Signature) -> Result<Note, NoteError> {
        let Draft { id, author, created_at, kind, tags, content } = self;
        let note = Note::new(id, author, created_at, kind, tags, content, signature);
        note.verify_signature().then_some(note).ok_or(NoteError::Signature("signature"))
    }
}

fn draft(event: Event, oracle: &XOnlyPublicKey, kind: u16, tags: Vec<Tag>, tlv: &[u8]) -> Option<Draft> {
    let author = PublicKey::from_byte_array(oracle.serialize());
    let created_at = Timestamp::from(u64::from(dated(kind, event)?.0));
    let (kind, tags, content) = (Kind::from(kind), Tags::from_list(tags), BASE64.encode(tlv));
    let id = EventId::new(&author, &created_at, &kind, &tags, &content);
    Some(Draft { id, author, created_at, kind, tags, content })
}

fn tag(words: impl IntoIterator<Item = String>) -> Option<Tag> {
    Tag::parse(words).ok()
}

/// When a note says that it was made; the end of time for what lies beyond.
pub fn date(note: &Note) -> Time {
    Time(u32::try_from(note.created_at.as_secs()).unwrap_or(u32::MAX))
}

/// What a note says, if this oracle says it.
///
/// # Errors
/// Names the first thing that is wrong with it.
pub fn read(note: &Note, oracle: &XOnlyPublicKey) -> Result<Word, NoteError> {
    let right = PublicKey::from_byte_array(oracle.serialize());
    if note.pubkey != right {
        return Err(NoteError::Author { found: note.pubkey.to_hex(), right: right.to_hex() });
    }
    let kind = note.kind.as_u16();
    if kind != ANNOUNCEMENT && kind != ATTESTATION {
        return Err(NoteError::Kind(kind));
    }
    for (what, found, most) in [("characters", note.content.len(), LONGEST), ("tags", note.tags.len(), MOST_TAGS)] {
        if found > most {
            return Err(NoteError::TooMuch { what, found, most });
        }
    }
    if !note.verify_id() {
        return Err(NoteError::Signature("id"));
    }
    if !note.verify_signature() {
        return Err(NoteError::Signature("signature"));
    }
    let tlv = BASE64.decode(&note.content).map_err(|_| NoteError::Content("it is not base64"))?;
    match kind {
        ANNOUNCEMENT => read_announcement(note, oracle, &tlv),
        _ => read_attestation(note, oracle, &tlv),
    }
}

fn read_announcement(note: &Note, oracle: &XOnlyPublicKey, tlv: &[u8]) -> Result<Word, NoteError> {
    let announcement = OracleAnnouncement::from_tlv_bytes(tlv)
        .ok()
        .filter(|read| read.to_tlv_bytes() == tlv)
        .ok_or(NoteError::Content("it is not one announcement"))?;
    let event = event_of(note, &announcement.oracle_event.event_id)?;
    let proofs = tagged(note, PROOFS_TAG)?;
    let proofs = proofs.iter().map(|proof| Signature::from_str(proof)).collect::<Result<_, _>>();
    let nonce_proofs = proofs.map_err(|_| NoteError::Tag { tag: PROOFS_TAG, wrong: "holds no signatures" })?;
    let proven = ProvenAnnouncement { announcement, nonce_proofs };
    verify_announcement(&proven, oracle, event)?;
    Ok(Word::Announced(event, Box::new(proven)))
}

fn read_attestation(note: &Note, oracle: &XOnlyPublicKey, tlv: &[u8]) -> Result<Word, NoteError> {
    let said = OracleAttestation::from_tlv_bytes(tlv)
        .ok()
        .filter(|read| read.to_tlv_bytes() == tlv)
        .ok_or(NoteError::Content("it is not one attestation"))?;
    let event = event_of(note, &said.event_id)?;
    verify_outcomes(&said, oracle, event)?;
    let announced = tagged(note, ANNOUNCED_TAG)?.first().and_then(|id| EventId::from_hex(id).ok());
    let announced = announced.ok_or(NoteError::Tag { tag: ANNOUNCED_TAG, wrong: "names no announcement" })?;
    Ok(Word::Attested(event, said, announced))
}

/// The event, which content and tag must name alike.
fn event_of(note: &Note, id: &str) -> Result<Event, NoteError> {
    let named = Event::parse(id).filter(|event| !matches!(event, Event::Payment { .. }));
    let event = named.ok_or_else(|| NoteError::NoEvent(clean_to(id, WORD)))?;
    if tagged(note, EVENT_TAG)? != [id] {
        return Err(NoteError::Tag { tag: EVENT_TAG, wrong: "names another event than the content" });
    }
    Ok(event)
}

/// What follows the name of the first such tag.
fn tagged<'a>(note: &'a Note, name: &'static str) -> Result<&'a [String], NoteError> {
    let mut tags = note.tags.iter().filter_map(|tag| tag.as_slice().split_first());
    let found = tags.find(|(first, _)| first.as_str() == name);
    found.map(|(_, rest)| rest).ok_or(NoteError::Tag { tag: name, wrong: "is missing" })
}

#[cfg(test)]
mod tests;
