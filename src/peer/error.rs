//! What the room refuses its own node.

use std::net::SocketAddr;

use bitcoin::secp256k1::PublicKey;

/// Why the room could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    #[error("peer listen address {address} cannot be used: {why}; choose a free port and an address of this machine")]
    Listen { address: SocketAddr, why: String },
    #[error(
        "message kind {kind} belongs to the Lightning protocol or to the transport: custom kinds are 32768 and above"
    )]
    Kind { kind: u16 },
}

/// Why a frame was not taken. The node's outbox tries again later, except for what can never be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("peer {0} is not connected")]
    NotConnected(PublicKey),
    #[error("peer {peer} has {waiting} bytes waiting to be sent already: try again later")]
    Full { peer: PublicKey, waiting: usize },
    /// Never tried again.
    #[error("the message is {found} bytes, the most a peer takes is {most}")]
    TooLarge { found: usize, most: usize },
    /// Never tried again.
    #[error("message kind {0} is not one this node speaks")]
    Kind(u16),
}

/// Why a peer is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("peer {0} is this node itself: give another node's address")]
    Myself(PublicKey),
}
