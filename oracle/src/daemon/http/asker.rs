//! Who asks, for the routes that answer at length: what is replayed to one address is bounded in bytes and followers.

use super::guard::Guard;
use super::turns::Turn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The address a request came from, and what is kept of it.
#[derive(Clone)]
pub struct Asker {
    guard: Arc<Guard>,
    address: IpAddr,
}

impl Asker {
    /// One that the guard let in.
    pub fn new(guard: Arc<Guard>, address: IpAddr) -> Asker {
        Asker { guard, address }
    }

    /// A seat among those who follow; `None` where this address has all that one may have.
    pub fn seat(&self) -> Option<Turn> {
        self.guard.seats.try_take(self.address)
    }

    /// Waits for this address's turn to have something signed.
    pub async fn turn(&self) -> Turn {
        self.guard.turns.take(self.address, 1).await
    }

    /// Waits until so many bytes may be replayed to this address.
    pub async fn replay(&self, bytes: usize) {
        let Some(replayed) = &self.guard.replayed else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        while let Err(wait) = replayed.take(self.address, bytes) {
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}
