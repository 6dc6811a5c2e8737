//! What goes in and out of the room.

use std::collections::HashSet;
use std::fmt;

use bitcoin::secp256k1::PublicKey;

use super::same_key::SAME_KEY;
use super::segment::{SEGMENT_CHUNK, SEGMENT_START};
use super::{PeerAddress, StartError, Unreached};

/// One complete message: the wire type and the payload after it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The wire type, two bytes on the wire.
    pub kind: u16,
    /// The payload after the type, up to [`super::Limits::max_message`] bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Frame {
    /// A payload can be a megabyte: only its length is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame {{ kind: {}, bytes: {} }}", self.kind, self.bytes.len())
    }
}

/// What happened at the other end. For one peer they come in order: connected, messages, disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The peer proved its key and speaks for the same network.
    Connected(PublicKey),
    /// The connection is gone. Frames not yet sent are gone too; frames sent may or may not have arrived.
    Disconnected(PublicKey),
    /// A complete message of an accepted kind.
    Message(PublicKey, Frame),
    /// The peer says that another node answers with this node's key. A claim, at most one a minute from one peer.
    SameKey(PublicKey),
}

/// A peer that is connected or remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub key: PublicKey,
    /// Where this node dials it, if it does.
    pub address: Option<PeerAddress>,
    /// Where it is tried instead, until it proves its key there, and why the last try of all ended if it was there.
    pub wanted: Option<(PeerAddress, Option<Unreached>)>,
    pub connected: bool,
    /// True when the peer opened the present connection.
    pub inbound: bool,
    /// The other end of the present connection, as the system shows it.
    pub remote: Option<String>,
    /// Why the last try to connect, or the last connection, ended.
    pub last_problem: Option<Unreached>,
}

/// A connection with a peer at another place than the one that somebody named for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The other end, as the system shows it.
    pub remote: String,
    /// True when the peer opened it.
    pub inbound: bool,
}

/// The message kinds this node takes and sends.
#[derive(Clone, Debug)]
pub struct Kinds {
    accepted: HashSet<u16>,
}

impl Kinds {
    /// # Errors
    /// Kinds below 32768 belong to Lightning, 42900 and 42902 to segments, 42905 to the notice of a second node.
    pub fn new(kinds: impl IntoIterator<Item = u16>) -> Result<Kinds, StartError> {
        let accepted: HashSet<u16> = kinds.into_iter().collect();
        match accepted.iter().find(|kind| **kind < 32_768 || [SEGMENT_START, SEGMENT_CHUNK, SAME_KEY].contains(kind)) {
            Some(kind) => Err(StartError::Kind { kind: *kind }),
            None => Ok(Kinds { accepted }),
        }
    }

    pub(super) fn accepts(&self, kind: u16) -> bool {
        self.accepted.contains(&kind)
    }
}
