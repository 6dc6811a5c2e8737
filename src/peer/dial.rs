//! Keeping in touch: one task per peer connects where it is known to be, waits for the end, and tries again with growing
//! pauses.
//!
//! The address that is kept changes only when the peer has proved its key at another one: a wrong address costs a try,
//! never the connection there is.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::secp256k1::PublicKey;
use rand::Rng;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::link::{reach, Link, Transport};
use super::{PeerAddress, Unreached};

/// A connection that lasted this many times what a try may take was a good one: the next pause is short again.
const GOOD_AFTER: u32 = 3;

/// Where a peer is dialled, and what its dialling task tells of it.
pub(super) struct Dial {
    pub key: PublicKey,
    /// Ends a pause.
    pub now: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The first address that was to be kept, or the last at which the peer proved its key.
    kept: Option<PeerAddress>,
    /// To be kept instead, once the peer proves its key there.
    wanted: Option<PeerAddress>,
    /// To be tried until then.
    tried: Option<(PeerAddress, Instant)>,
    turn: usize,
    /// Where, and why not.
    problem: Option<(String, Unreached)>,
    /// The task has nothing left to dial.
    over: bool,
}

impl Dial {
    pub(super) fn new(key: PublicKey) -> Arc<Dial> {
        Arc::new(Dial { key, now: Notify::new(), state: Mutex::default() })
    }

    /// An address to dial for as long as the node runs. False when the task has ended.
    pub(super) fn keep(&self, address: PeerAddress) -> bool {
        self.change(|state| match &state.kept {
            Some(kept) if *kept == address => state.wanted = None,
            Some(_) => state.wanted = Some(address),
            None => state.kept = Some(address),
        })
    }

    /// An address to try for some time. False when the task has ended.
    pub(super) fn try_at(&self, address: PeerAddress, time: Duration) -> bool {
        self.change(|state| {
            state.tried = Instant::now().checked_add(time).map(|until| (address, until));
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state();
        if !state.over {
            change(&mut state);
            state.turn = 0;
            // What was so before says nothing of the try that comes now.
            state.problem = None;
            self.now.notify_one();
        }
        !state.over
    }

    /// The peer proved its key there.
    pub(super) fn proved(&self, address: &PeerAddress) {
        let mut state = self.state();
        state.wanted.take_if(|wanted| wanted == address);
        state.tried.take_if(|(tried, _)| tried == address);
        state.kept = Some(address.clone());
    }

    /// The address that is kept.
    pub(super) fn kept(&self) -> Option<PeerAddress> {
        self.state().kept.clone()
    }

    /// The address for people: the one that is kept, or the one that is tried.
    pub(super) fn address(&self) -> Option<PeerAddress> {
        let state = self.state();
        state.kept.clone().or_else(|| state.tried.as_ref().map(|(address, _)| address.clone()))
    }

    /// The address that is tried instead, until the peer proves its key there.
    pub(super) fn wanted(&self) -> Option<PeerAddress> {
        self.state().wanted.clone()
    }

    /// Has the task nothing left to dial?
    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Why the last try, or the last connection, ended.
    pub(super) fn problem(&self) -> Option<Unreached> {
        self.state().problem.as_ref().map(|(_, problem)| problem.clone())
    }

    /// Why the last try at this place ended, if it was the last of all.
    pub(super) fn problem_at(&self, place: &str) -> Option<Unreached> {
        self.state().problem.as_ref().filter(|(at, _)| at == place).map(|(_, problem)| problem.clone())
    }

    fn note(&self, at: &str, problem: Unreached) {
        let mut state = self.state();
        if !state.problem.as_ref().is_some_and(|(before, known)| before == at && *known == problem) {
            tracing::info!(peer = %self.key, "cannot reach peer at {at}: {problem}");
            state.problem = Some((at.to_owned(), problem));
        }
    }

    /// What to dial now: while there is a connection only an address that is wanted instead.
    fn next(&self, connected: bool) -> Option<PeerAddress> {
        let mut state = self.state();
        state.tried.take_if(|(_, until)| *until <= Instant::now());
        let tried = state.tried.as_ref().map(|(address, _)| address);
        let all = [state.wanted.as_ref(), tried.filter(|_| !connected), state.kept.as_ref().filter(|_| !connected)];
        let all: Vec<PeerAddress> = all.into_iter().flatten().cloned().collect();
        let turn = state.turn;
        state.turn = turn.wrapping_add(1);
        state.over = all.is_empty() && !connected;
        all.get(turn.checked_rem(all.len())?).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection to the peer for as long as it is polled and has an address to dial.
pub(super) async fn keep(transport: Arc<Transport>, dial: Arc<Dial>) {
    let lanes = &transport.lanes;
    let limits = lanes.limits().clone();
    let (mut links, mut backoff) = (JoinSet::new(), limits.first_backoff);
    let mut present: Option<(Arc<Link>, Instant)> = None;
    let mut changes = lanes.changes();
    while !dial.is_over() {
        while links.try_join_next().is_some() {}
        changes.borrow_and_update();
        let link = lanes.link(dial.key);
        let lost = present.take_if(|_| link.is_none());
        if let Some(link) = &link {
            present.get_or_insert_with(|| (link.clone(), Instant::now())).0 = link.clone();
        }
        let (at, problem) = match lost {
            Some((link, since)) => {
                if since.elapsed() > limits.connect_time.saturating_mul(GOOD_AFTER) {
                    backoff = limits.first_backoff;
                }
                (link.remote.clone(), link.problem())
            }
            None => {
                let Some(address) = dial.next(link.is_some()) else {
                    tokio::select! {
                        _ = changes.changed(), if link.is_some() => {}
                        () = dial.now.notified(), if link.is_some() => {}
                        else => {}
                    }
                    continue;
                };
                let opened = tokio::time::timeout(limits.connect_time, open(&address)).await;
                let problem = match opened {
                    Err(_) => Some(Unreached::Silent),
                    Ok(Err(problem)) => Some(problem),
                    Ok(Ok(stream)) => {
                        let link = Link::to(dial.clone(), address.clone());
                        let (transport, key, running) = (transport.clone(), dial.key, link.clone());
                        links.spawn(async move { reach(&transport, running, stream, key).await });
                        link.settled().await
                    }
                };
                let Some(problem) = problem else { continue };
                (address.place(), problem)
            }
        };
        dial.note(&at, problem);
        let was_connected = link.is_some();
        tokio::select! {
            () = tokio::time::sleep(jittered(backoff)) => {}
            () = dial.now.notified() => {}
            _ = changes.wait_for(|_| lanes.link(dial.key).is_none()), if was_connected => {}
        }
        backoff = backoff.saturating_mul(2).min(limits.most_backoff);
    }
}

async fn open(address: &PeerAddress) -> Result<TcpStream, Unreached> {
    let places = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let places: Vec<SocketAddr> = places.map_err(|_| Unreached::UnknownHost)?.collect();
    if places.is_empty() {
        return Err(Unreached::UnknownHost);
    }
    TcpStream::connect(places.as_slice()).await.map_err(|error| Unreached::unopened(&error))
}

/// Between half and one and a half times the pause, so that two nodes dialling each other do not stay in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::thread_rng().gen_range(0.5..1.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_anew_is_not_told_what_was_before() {
        let text = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798@127.0.0.1:9";
        let address: PeerAddress = text.parse().unwrap();
        let dial = Dial::new(address.key);
        assert!(dial.keep(address.clone()));
        dial.note("127.0.0.1:9", Unreached::UnknownHost);
        assert_eq!(dial.problem_at("127.0.0.1:9"), Some(Unreached::UnknownHost));
        assert_eq!(dial.problem_at("127.0.0.1:8"), None);
        assert!(dial.try_at(address, Duration::from_secs(1)));
        assert_eq!((dial.problem_at("127.0.0.1:9"), dial.problem()), (None, None));
    }
}
