//! The node: joins the rooms into a process that acts by itself.
//!
//! Inputs come from peers, chain, oracles, the API and the clock; the protocol decides; events are on disk before
//! anything leaves. It never decides about money by itself: that is the protocol's.

pub mod backup;
pub mod config;
pub mod data;
pub mod handle;
pub mod view;
