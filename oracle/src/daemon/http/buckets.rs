//! What each address may still have: so much at once, and so much a second.

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses remembered before those that have rested are forgotten.
const REMEMBERED: usize = 10_000;
/// Addresses remembered at most; beyond it new ones wait.
const AT_MOST: usize = 100_000;
/// Looking through all of them is not done for every request. Real time.
const BETWEEN_TIDYING: Duration = Duration::from_secs(1);

/// A bucket an address.
pub struct Buckets {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    burst: NonZeroU32,
    tidied: Mutex<Option<Instant>>,
}

impl Buckets {
    /// `burst` at once, and `per_second` in the long run.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Buckets {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Buckets { limiter: RateLimiter::hashmap(quota), burst, tidied: Mutex::default() }
    }

    /// Takes so much, or the burst where it is more than that.
    ///
    /// # Errors
    /// When it is not there: how long until it is. Nothing is taken then.
    pub fn take(&self, asker: IpAddr, amount: u32) -> Result<(), Duration> {
        if self.limiter.len() > REMEMBERED {
            let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
            if tidied.is_none_or(|tidied| tidied.elapsed() > BETWEEN_TIDYING) {
                self.limiter.retain_recent();
                *tidied = Some(Instant::now());
            }
        }
        if self.limiter.len() > AT_MOST {
            return Err(Duration::from_secs(1));
        }
        let Some(amount) = NonZeroU32::new(amount) else { return Ok(()) };
        match self.limiter.check_key_n(&asker, amount.min(self.burst)) {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(not_yet)) => Err(not_yet.wait_time_from(DefaultClock::default().now())),
        }
    }
}
