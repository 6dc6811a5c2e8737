//! What is known of each relay, for the meters.

use crate::units::Time;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How one relay is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayState {
    /// Is there a connection?
    pub connected: bool,
    /// When it last took a note, on the oracle's clock.
    pub last_ok: Option<Time>,
    /// What was said up to here it has.
    pub done: Time,
    /// Notes it took since start, those it had before included.
    pub taken: u64,
    /// Notes that it will not take because they are of too long ago, since start: passed over.
    pub too_old: u64,
    /// What is wrong with it.
    pub trouble: Option<String>,
}

/// All relays, by URL. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, RelayState>>>);

impl Board {
    /// Every relay as it is now.
    pub fn look(&self) -> BTreeMap<String, RelayState> {
        self.lock().clone()
    }

    /// Notes something about a relay.
    pub fn note(&self, relay: &str, change: impl FnOnce(&mut RelayState)) {
        change(self.lock().entry(relay.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, RelayState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
