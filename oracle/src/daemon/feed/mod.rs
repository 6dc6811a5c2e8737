//! Feeds: where prices come from. One file each.
//!
//! A feed answers one question, [`Feed::poll`]: what is known now that was not known before. It keeps no promise about
//! disk and signs nothing; the desk makes its answers durable and drops what comes too late. A live venue is one more
//! implementation.

use crate::units::{Cents, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod attendance;
pub mod fetch;
pub mod heads;
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

/// Where a price comes from right now, for people and alarms. Nothing is decided from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Venues {
    /// Every venue that is configured; empty for a feed without venues.
    pub list: Vec<Venue>,
    /// How many of them a price needs.
    pub quorum: usize,
}

/// One venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Venue {
    /// As people call it.
    pub name: String,
    /// Its last price, cents per bitcoin.
    pub price: Option<Cents>,
    /// Seconds since that price was made.
    pub age: Option<u32>,
    /// Does it count for the price now?
    pub used: bool,
    /// Why it does not, in a few words.
    pub trouble: Option<String>,
    /// How seldom it has counted of late, and why: the alarm that a price rests on fewer venues than were promised.
    #[serde(default)]
    pub absent: Option<String>,
}

impl Venues {
    /// Venues that count now.
    pub fn healthy(&self) -> usize {
        self.list.iter().filter(|venue| venue.used).count()
    }

    /// How far apart the prices that count are, in basis points of the lowest; `None` without two of them.
    pub fn spread_bps(&self) -> Option<u64> {
        let used = || self.list.iter().filter(|venue| venue.used).filter_map(|venue| venue.price);
        let (lowest, highest) = (used().min()?, used().max()?);
        highest.0.checked_sub(lowest.0)?.checked_mul(10_000)?.checked_div(lowest.0).filter(|_| used().count() > 1)
    }
}

/// What a source says about a reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouch {
    /// It knows no other clock.
    Nobody,
    /// Its venues have not been asked yet.
    Waiting,
    /// Enough venues' own times agree with it.
    Yes,
    /// Fewer than `needed` venues' own times agree with it.
    No { needed: usize },
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

    /// Do others' clocks agree that it is `now`? Asked before a poll; a poll at a time that is not believed never comes.
    fn vouches(&self, _now: Time) -> Vouch {
        Vouch::Nobody
    }

    /// Its venues as of the last poll.
    fn venues(&self) -> Venues {
        Venues::default()
    }

    /// Prices of a stretch of the past, as far as it remembers them, in order. Only for pictures.
    fn past(&self, _from: Time, _until: Time) -> Vec<(Time, Cents)> {
        Vec::new()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_the_venues_that_count() {
        let venue = |price: u64, used| Venue {
            name: "v".into(),
            price: Some(Cents(price)).filter(|price| price.0 > 0),
            age: Some(1),
            used,
            trouble: None,
            absent: None,
        };
        let venues = Venues {
            list: vec![venue(800_000, true), venue(801_000, true), venue(1, false), venue(0, true)],
            quorum: 3,
        };
        assert_eq!((venues.healthy(), venues.spread_bps()), (3, Some(12)));
        assert_eq!(Venues { list: vec![venue(1, true)], quorum: 1 }.spread_bps(), None);
        assert_eq!(Venues::default().spread_bps(), None);
    }
}
