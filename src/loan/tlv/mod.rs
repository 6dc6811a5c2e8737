//! A canonical TLV codec: one value has one encoding, and every byte of an encoding matters.
//!
//! A stream is records of BigSize type, BigSize length, value. Types strictly increase, BigSize is minimal, unknown
//! types are refused, nothing trails, and no length may pass the bytes that are there. Integers are big-endian at
//! full width. So equal values have equal bytes, and their SHA-256 can be an identity. A struct that says so keeps
//! unknown records of odd types, byte for byte; of even types it refuses them too.
//!
//! Never allocates more than its input, never panics, never drops what it does not know.

mod bigsize;
mod codec;
mod field;
mod macros;
#[cfg(test)]
mod tests;

pub use bigsize::{bigsize_len, push_bigsize, take_bigsize};
pub use codec::{strictly_increasing, Reader, TlvError, TlvReason, Unknown, Writer};
pub use field::{Bytes, TlvField, TlvSlot};
