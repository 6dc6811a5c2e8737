//! Turns: one address has only so many of the dear requests in work at a time, the others wait behind its own.
//!
//! Pages are made one after another, in the order they were asked for. Without turns one address could stand in that
//! queue hundreds of times before anybody else.

use axum::body::Body;
use http_body_util::BodyExt;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Dear requests of one address in work at a time.
const AT_ONCE: usize = 4;

/// Who is in work. Bounded by the open connections: each has one request.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>);

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    asker: IpAddr,
    permit: Option<(OwnedSemaphorePermit, Arc<Semaphore>)>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than [`AT_ONCE`] dear requests of this address are in work.
    pub async fn take(&self, asker: IpAddr) -> Turn {
        let mut turn = Turn { turns: self.clone(), asker, permit: None };
        let mine = Arc::clone(self.lock().entry(asker).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))));
        // Nobody closes it, so this fails never; a request without a turn would only be one more in work.
        turn.permit = Arc::clone(&mine).acquire_owned().await.ok().map(|permit| (permit, mine));
        turn
    }
}

impl Turn {
    /// The same body; the turn lasts until it has been sent or given up.
    pub fn lasts_as_long_as(self, body: Body) -> Body {
        Body::new(body.map_frame(move |frame| {
            let _lasts = &self;
            frame
        }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.turns.lock();
        self.permit = None;
        // Whoever waits or works holds the semaphore too; clones are made under the lock alone.
        if all.get(&self.asker).is_some_and(|mine| Arc::strong_count(mine) == 1) {
            all.remove(&self.asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn one_address_has_four_dear_requests_in_work_and_another_does_not_wait_for_it() {
        let turns = Turns::default();
        let (greedy, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(greedy).now_or_never().unwrap());
        }
        let mut waiting = Box::pin(turns.take(greedy));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(turns.take(other).now_or_never().is_some());
        let body = held.pop().unwrap().lasts_as_long_as(Body::from("a year"));
        assert!((&mut waiting).now_or_never().is_none(), "it is still being sent");
        let sent = body.collect().await.unwrap().to_bytes();
        assert_eq!(&sent[..], b"a year");
        held.push(waiting.now_or_never().unwrap());
        // A waiting request that is given up leaves nothing behind either.
        drop(Box::pin(turns.take(greedy)).now_or_never());
        held.clear();
        assert!(turns.lock().is_empty());
    }
}
