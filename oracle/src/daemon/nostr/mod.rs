//! Publishing on Nostr: what the oracle has said, given to relays, so that nodes hear it where no server of ours answers.
//!
//! [`due`] derives from the ledger, and from how far a relay has come, what that relay is to be given next; [`Cursor`] is
//! how far it has come, on disk; the [`Publisher`] has one task a relay. A note is given until the relay has said that it
//! took it, and only then does the cursor move, so nothing is lost to a relay that was away or to a kill; what is given
//! twice is the same note.
//!
//! Never decides or says anything that the ledger does not hold, never keeps the desk waiting, never publishes a payment or
//! the announcement of a rung that was not touched (they are millions), never stops asking a relay that refuses.

mod board;
mod cursor;
mod due;
mod publisher;

pub use board::{Board, RelayState};
pub use cursor::Cursor;
pub use publisher::Publisher;
