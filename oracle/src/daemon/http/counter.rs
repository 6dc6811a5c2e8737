//! What the routes need to know.

use super::super::log_routes::Published;
use super::super::nostr::Board;
use super::super::press::Press;
use super::Meters;
use crate::clock::Clock;
use crate::ladder::{BAND, HIGHEST, LOWEST};
use crate::wire::Info;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{watch, Semaphore};

/// Followers of the stream of events at one time; each is only a place in the journal.
pub const FOLLOWERS: usize = 256;

/// What the routes need.
#[derive(Clone)]
pub struct Counter {
    /// Makes what is asked for.
    pub press: Arc<Press>,
    /// Tells how old the price is.
    pub clock: Clock,
    /// Who the oracle is.
    pub info: Info,
    /// Where a rotation lies, if there is one.
    pub data: PathBuf,
    /// Policy and tick log of a live feed.
    pub published: Option<Published>,
    /// What has been counted.
    pub meters: Arc<Meters>,
    /// Seats of those who follow the stream of events.
    pub seats: Arc<Semaphore>,
    /// How the relays are doing.
    pub relays: Board,
    /// Turns true, or loses its sender, when the oracle stops.
    pub closing: watch::Receiver<bool>,
}

impl Counter {
    /// A counter for one press.
    pub fn new(
        press: Arc<Press>,
        clock: Clock,
        info: Info,
        data: PathBuf,
        published: Option<Published>,
        closing: watch::Receiver<bool>,
    ) -> Counter {
        let seats = Arc::new(Semaphore::new(FOLLOWERS));
        let (meters, relays) = (Arc::new(Meters::new()), Board::default());
        Counter { press, clock, info, data, published, meters, seats, relays, closing }
    }

    /// The same, telling how these relays are doing.
    pub fn with_relays(self, relays: Board) -> Counter {
        Counter { relays, ..self }
    }
}

/// Who the oracle is.
pub fn info_of(press: &Press, network: &str, feed: &str) -> Info {
    Info {
        pubkey: press.keys().public_key(),
        network: network.to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        feed: feed.to_string(),
        lowest_level: LOWEST,
        highest_level: HIGHEST,
        band: BAND,
    }
}
