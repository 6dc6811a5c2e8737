//! Loans that were lost here and that peers give back, and loans of ours that a peer lost.
//!
//! Words alone restore a node without its loans, and a backup without those opened later; the other side of each has all
//! that settles it. Nothing it says is believed: a job makes the contract again, checks every signature, and finds the
//! funding on our own chain. What comes back settles by itself; nothing new is signed on it before the coins of the restored
//! node have moved, as on any loan.

mod asking;
mod files;
mod giving;
mod junk;

pub use asking::Found;
pub use files::Candidate;

use crate::store::Store;
use asking::Asking;
use giving::Giving;
use std::sync::Arc;

/// Both sides of it.
pub struct Recovery {
    asking: Asking,
    giving: Giving,
}

impl Recovery {
    /// As the store has it. `is_restored`: the node has just been restored; `has_loans`: with its loans of then.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn open(store: Arc<dyn Store>, is_restored: bool, has_loans: bool) -> anyhow::Result<Recovery> {
        Ok(Recovery { asking: Asking::open(store, is_restored, has_loans)?, giving: Giving::default() })
    }
}
