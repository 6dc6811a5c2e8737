//! Relays: how an oracle's words travel over Nostr, and one bounded connection to a relay.
//!
//! [`note`] says what a note (a Nostr event) of an announcement or attestation looks like, byte for byte, makes it and
//! reads it; it is pure, and what it reads is verified or refused. [`Line`] speaks to one relay: never waits or reads
//! without a bound, never connects again by itself, believes nothing. Both the publisher and the nodes stand on this room;
//! nothing else names the Nostr and websocket libraries.

mod line;
pub mod note;

pub use line::{check_url, Heard, Line, LineError};
