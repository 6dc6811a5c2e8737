//! Peers: whole frames between two nodes that know each other by public key, over Lightning's encrypted transport.
//!
//! It moves frames and knows nothing of loans: it never reads a frame's bytes, never stores one, never resends one (the
//! node's outbox does, from the loan's state), never opens a channel and never gossips. It listens only where it is told.
//!
//! Everything a peer can make grow is bounded by [`Limits`]; who breaks a rule is disconnected and the log says why.

mod address;
mod dial;
mod error;
mod frame;
mod handler;
mod identity;
mod lanes;
mod limits;
mod link;
mod net;
mod places;
mod reached;
mod refuse;
mod same_key;
mod segment;

#[cfg(test)]
mod tests;

pub use address::{parse_announce, parse_listen, AddressError, PeerAddress};
pub use error::{ConnectError, SendError, StartError};
pub use frame::{Frame, Kinds, PeerEvent, PeerStatus, Standing};
pub use limits::Limits;
pub use net::PeerNet;
pub use reached::Unreached;
