//! Feeds: where prices come from. One file each.
//!
//! A feed answers one question, [`Feed::poll`]: what is known now that was not known before. It keeps no promise about
//! disk and signs nothing; the desk makes its answers durable and drops what comes too late. A live venue is one more
//! implementation.

use crate::units::{Cents, Time};
use std::collections::BTreeMap;

pub mod fetch;
pub mod live;
pub mod manual;
pub mod replay;

/// What a feed knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The price now, if there is one.
    pub spot: Option<Cents>,
    /// Lows by the start of their hour; a low for a known hour counts when it is lower.
    pub lows: BTreeMap<Time, Cents>,
    /// Prices on full hours.
    pub fixings: BTreeMap<Time, Cents>,
}

/// A source of prices.
pub trait Feed: Send {
    /// Its name, for people and for `/v1/info`.
    fn name(&self) -> &'static str;

    /// Seconds after its end in which an hour's low, or its fixing, may still come.
    fn grace(&self) -> u32;

    /// What is known at `now`. `frozen_until` is how far everything has been said and is final; news about earlier
    /// hours would be dropped, so a feed need not repeat them.
    ///
    /// # Errors
    /// When the source fails; the desk keeps the last state, serves no price, and asks again.
    fn poll(&mut self, frozen_until: Time, now: Time) -> anyhow::Result<News>;

    /// Has it looked and found too little for a price? A replica whose feed is blind lets another one speak.
    fn is_blind(&self) -> bool {
        false
    }

    /// How a live source is doing; `None` for a test feed.
    fn health(&self) -> Option<live::Health> {
        None
    }

    /// Called when the news of the last poll is durable and being served.
    ///
    /// # Errors
    /// When the source cannot be told.
    fn heard(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}
