//! Turns: one address has only so many of the dear requests in work at a time, the others wait behind its own.
//!
//! Pages are made one after another, in the order they were asked for. Without turns one address could stand in that
//! queue hundreds of times before anybody else. A page for which much must be signed takes all turns of its address, so
//! each address stands in the queue once with such a one.

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Dear requests of one address in work at a time.
pub const AT_ONCE: usize = 4;

/// Who is in work. Bounded by the open connections: each has one request.
#[derive(Clone, Debug)]
pub struct Turns {
    busy: Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>,
    each: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    asker: IpAddr,
    permit: Option<(OwnedSemaphorePermit, Arc<Semaphore>)>,
}

impl Turns {
    /// So many for each address.
    pub fn of(each: usize) -> Turns {
        Turns { busy: Arc::default(), each }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blank(&self, asker: IpAddr) -> (Turn, Arc<Semaphore>) {
        let turn = Turn { turns: self.clone(), asker, permit: None };
        let mine = Arc::clone(self.lock().entry(asker).or_insert_with(|| Arc::new(Semaphore::new(self.each))));
        (turn, mine)
    }

    /// Waits until this address has so many turns free, and takes them: at most all that one address has.
    pub async fn take(&self, asker: IpAddr, many: usize) -> Turn {
        let (mut turn, mine) = self.blank(asker);
        let many = u32::try_from(many.min(self.each)).unwrap_or(1);
        // Nobody closes it, so this fails never; a request without a turn would only be one more in work.
        turn.permit = Arc::clone(&mine).acquire_many_owned(many).await.ok().map(|permit| (permit, mine));
        turn
    }

    /// Takes one if this address has one free.
    pub fn try_take(&self, asker: IpAddr) -> Option<Turn> {
        let (mut turn, mine) = self.blank(asker);
        turn.permit = Some((Arc::clone(&mine).try_acquire_owned().ok()?, mine));
        Some(turn)
    }
}

impl Turn {
    /// The same body; the turn lasts until it has been sent or given up.
    pub fn lasts_as_long_as(self, body: Body) -> Body {
        Body::new(Lasting { body, _turn: self })
    }
}

/// A body during which a turn lasts. It says its length as the body does: simple clients read by that.
struct Lasting {
    body: Body,
    _turn: Turn,
}

impl hyper::body::Body for Lasting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn one_address_has_four_dear_requests_in_work_and_another_does_not_wait_for_it() {
        let turns = Turns::of(AT_ONCE);
        let (greedy, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.take(greedy, 1).now_or_never().unwrap());
        }
        let mut waiting = Box::pin(turns.take(greedy, 1));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(turns.take(other, 1).now_or_never().is_some());
        let body = held.pop().unwrap().lasts_as_long_as(Body::from("a year"));
        assert!((&mut waiting).now_or_never().is_none(), "it is still being sent");
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(6));
        let sent = body.collect().await.unwrap().to_bytes();
        assert_eq!(&sent[..], b"a year");
        held.push(waiting.now_or_never().unwrap());
        // A waiting request that is given up leaves nothing behind either.
        drop(Box::pin(turns.take(greedy, 1)).now_or_never());
        held.clear();
        assert!(turns.lock().is_empty());
    }

    #[tokio::test]
    async fn a_page_that_takes_all_turns_is_alone_in_work_and_who_has_none_left_is_refused_where_nobody_waits() {
        let turns = Turns::of(AT_ONCE);
        let (greedy, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let all = turns.take(greedy, AT_ONCE).now_or_never().unwrap();
        let mut next = Box::pin(turns.take(greedy, usize::MAX));
        assert!((&mut next).now_or_never().is_none());
        assert!(turns.try_take(greedy).is_none() && turns.try_take(other).is_some());
        drop(all);
        let all = next.now_or_never().unwrap();
        assert!(turns.try_take(greedy).is_none());
        drop(all);
        assert!(turns.lock().is_empty());
    }
}
