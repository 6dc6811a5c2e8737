//! Settlement: which exit a loan takes, and when.
//!
//! Decides from terms, lows and clocks alone. Never signs, never asks anyone, never waits.

pub mod bump;
pub mod child;
pub mod counting;
pub mod deadline;
pub mod proposal;
pub mod spot;
pub mod touch;
pub mod unfunded;
