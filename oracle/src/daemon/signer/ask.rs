//! What a signer is asked, and what it answers: JSON over its socket.

use crate::announce::ProvenAnnouncement;
use crate::bundle::{pack_announcement, unpack_announcement};
use crate::event::Event;
use crate::units::{Cents, Time};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::schnorr::Signature;
use serde::{Deserialize, Serialize};

/// The most events in one request; callers split longer lists.
pub const MOST: usize = 2_048;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Which key do you hold?
    Key {},
    /// The announcements of these events.
    Announce {
        /// Event ids.
        ids: Vec<String>,
    },
    /// Attestations.
    Attest {
        /// What is to be said, each with its grounds.
        say: Vec<Say>,
    },
    /// The signatures of notes for relays: of these events' announcements, then of these attestations. The signer makes
    /// the words itself and dates the notes by the events: there is nothing in a note that the asker chooses.
    Publish {
        /// Event ids.
        announce: Vec<String>,
        /// What is to be said, each with its grounds, as in [`Ask::Attest`].
        say: Vec<Say>,
    },
    /// A signature of a statement of a known shape.
    State {
        /// Its tag.
        tag: String,
        /// Its data, hex.
        data: String,
    },
}

/// Something to be attested, and why it is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub enum Say {
    /// The price at a full hour.
    Fixing {
        /// The hour.
        at: Time,
        /// Cents per bitcoin.
        cents: Cents,
    },
    /// A touch.
    Touch {
        /// The event's id.
        id: String,
        /// The start of an hour whose low makes it true.
        hour: Time,
        /// That low, cents per bitcoin.
        low: Cents,
    },
    /// A payment's outcome.
    Payment {
        /// The event's id.
        id: String,
    },
}

impl std::fmt::Display for Say {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Say::Fixing { at, cents } => write!(f, "the fixing of {cents} at {at}"),
            Say::Touch { id, .. } | Say::Payment { id } => f.write_str(id),
        }
    }
}

impl Say {
    /// The event that is attested; `None` when its id is none.
    pub fn event(&self) -> Option<Event> {
        match self {
            Say::Fixing { at, .. } => Event::parse(&format!("btcusd{}", at.0)),
            Say::Touch { id, .. } => Event::parse(id).filter(|event| matches!(event, Event::Touch { .. })),
            Say::Payment { id } => Event::parse(id).filter(|event| matches!(event, Event::Payment { .. })),
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The public key.
    Key {
        /// X-only, hex.
        key: XOnlyPublicKey,
    },
    /// Announcements, packed as in a bundle, in the order asked for.
    Announced {
        /// Hex.
        packed: Vec<String>,
    },
    /// The signatures of each attestation, in the order asked for.
    Attested {
        /// One list an event.
        signatures: Vec<Vec<Signature>>,
    },
    /// The signatures of notes, in the order asked for.
    Published {
        /// BIP340 over each note's id.
        signatures: Vec<Signature>,
    },
    /// A statement's signature.
    Stated {
        /// BIP340.
        signature: Signature,
    },
    /// Nothing was signed.
    Refused {
        /// One sentence.
        why: String,
        /// Has the asker only an older view of what this signer has been told?
        outdated: bool,
    },
}

impl Answer {
    /// Announcements as they travel.
    pub fn announced(made: &[ProvenAnnouncement]) -> Answer {
        Answer::Announced { packed: made.iter().map(pack_announcement).collect() }
    }
}

/// Announcements as they were made; `None` when they are not those of `events`.
pub fn unpack(packed: &[String], events: &[Event], oracle: &XOnlyPublicKey) -> Option<Vec<ProvenAnnouncement>> {
    if packed.len() != events.len() {
        return None;
    }
    packed.iter().zip(events).map(|(packed, event)| unpack_announcement(packed, *event, oracle).ok()).collect()
}
