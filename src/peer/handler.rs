//! Between LDK's transport and the lanes: reads custom messages, hands them on, and gives out what waits to be sent.

use std::sync::Arc;
use std::time::Instant;

use bitcoin::secp256k1::PublicKey;
use lightning::io;
use lightning::ln::msgs::{DecodeError, ErrorAction, Init, LightningError};
use lightning::ln::peer_handler::CustomMessageHandler;
use lightning::ln::wire::{CustomMessageReader, Type};
use lightning::types::features::{InitFeatures, NodeFeatures};
use lightning::util::ser::{LengthLimitedRead, Writeable, Writer};

use super::lanes::Lanes;
use super::link::Link;
use super::same_key::SAME_KEY;
use super::segment::{Wire, SEGMENT_CHUNK, SEGMENT_START};

/// Our message handler. Decides nothing itself: the lanes hold the state.
pub(super) struct Handler {
    pub link: Arc<Link>,
    pub lanes: Arc<Lanes>,
}

impl Type for Wire {
    fn type_id(&self) -> u16 {
        self.kind
    }
}

impl Writeable for Wire {
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), io::Error> {
        writer.write_all(&self.bytes)
    }
}

impl CustomMessageReader for Handler {
    type CustomMessage = Wire;

    /// Takes the bytes as they are; the lanes judge them, where the peer is known. The transport ignores an unknown
    /// odd kind and disconnects for an unknown even one.
    fn read<R: LengthLimitedRead>(&self, kind: u16, buffer: &mut R) -> Result<Option<Wire>, DecodeError> {
        self.link.count_message();
        if !self.lanes.kinds().accepts(kind) && ![SEGMENT_START, SEGMENT_CHUNK, SAME_KEY].contains(&kind) {
            if kind.is_multiple_of(2) {
                self.link.close(&format!("it sent a message of even kind {kind}, which this node does not know"));
            }
            return Ok(None);
        }
        let length = usize::try_from(buffer.remaining_bytes()).map_err(|_| DecodeError::BadLengthDescriptor)?;
        let mut bytes = vec![0; length];
        io::Read::read_exact(buffer, &mut bytes).map_err(|_| DecodeError::ShortRead)?;
        Ok(Some(Wire { kind, bytes }))
    }
}

impl CustomMessageHandler for Handler {
    fn handle_custom_message(&self, message: Wire, peer: PublicKey) -> Result<(), LightningError> {
        self.lanes.receive(&self.link, peer, message, Instant::now()).map_err(|violation| {
            self.lanes.violation(&self.link, &violation);
            LightningError { err: violation.to_string(), action: ErrorAction::DisconnectPeer { msg: None } }
        })
    }

    fn get_and_clear_pending_msg(&self) -> Vec<(PublicKey, Wire)> {
        let mut given = self.lanes.outgoing(&self.link);
        given.extend(self.link.take_farewell());
        given
    }

    fn peer_disconnected(&self, _: PublicKey) {
        self.lanes.disconnected(&self.link);
    }

    /// The peer has proved this key and said that it is of this network.
    fn peer_connected(&self, peer: PublicKey, _: &Init, _: bool) -> Result<(), ()> {
        self.lanes.connected(peer, &self.link)
    }

    fn provided_node_features(&self) -> NodeFeatures {
        NodeFeatures::empty()
    }

    fn provided_init_features(&self, _: PublicKey) -> InitFeatures {
        InitFeatures::empty()
    }
}
