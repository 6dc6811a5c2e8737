//! The tick log: everything an oracle's prices were made from, line by line, so that anyone can make them again.
//!
//! Pure: no disk, no socket, no clock. [`entry`] is what a line says, [`chain`] that no line was changed, dropped or
//! moved, [`audit`] that what was said follows from the lines.
//!
//! The replay and manual feeds keep none: they are test feeds, with nothing behind them to check.

pub mod audit;
pub mod chain;
pub mod entry;
