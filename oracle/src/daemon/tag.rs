//! Short names for bytes, so that who has them already can say so.

use bitcoin::hashes::{sha256, Hash};
use bitcoin::hex::DisplayHex;

/// Bytes of a hash that make a tag.
const TAG: usize = 16;

/// A hash of these parts, one after the other, in hex.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut engine = sha256::Hash::engine();
    for part in parts {
        bitcoin::hashes::HashEngine::input(&mut engine, part);
    }
    let hash = sha256::Hash::from_engine(engine).to_byte_array();
    hash.get(..TAG).unwrap_or(&hash).to_lower_hex_string()
}
