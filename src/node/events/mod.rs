//! What happened, as people and programs are told it: numbered for good, kept over restarts, the newest ten thousand.
//!
//! The loans' own logs stay the only truth about them; what is here can be lost without losing money, and is told again
//! from those logs where a crash came between the two. It decides nothing.

mod book;
mod facts;
mod missed;
mod standing;

pub use book::Book;
pub(super) use facts::{facts, severity, severity_of_margin};
pub(super) use missed::recorded;
pub(super) use standing::Standing;
