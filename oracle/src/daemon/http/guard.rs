//! Limits on strangers: how often one address may ask, and how many connections it may hold.
//!
//! A request costs what it makes the oracle do. Whoever asks too much is told when to come back. `X-Forwarded-For` is
//! believed only from proxies that the operator names: anybody can write that header.

use super::super::press::Press;
use super::asker::Asker;
use super::buckets::Buckets;
use super::refusal::Refusal;
use super::turns::{Turn, Turns, AT_ONCE};
use super::{tariff, Meters};
use crate::crowd::{district, fullest, neighbourhood};
use crate::handles;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{header, HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::RequestExt;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// The longest refusal of a library's that is passed on, in bytes.
const WORDS: usize = 1_024;
/// What a year of a band may count for: a burst must be able to hold it.
const YEAR: u32 = 48;
/// Bytes of what was said before that are replayed to one address at once.
const REPLAYED: u32 = 4 * 1_024 * 1_024;
/// The same a second, in the long run.
const REPLAYED_A_SECOND: u32 = 256 * 1_024;
/// Followers of the stream of events that one address may have: an eighth of all seats.
const SEATS: usize = super::counter::FOLLOWERS / 8;

/// What strangers may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second and address in the long run, 0 for no limit; unless said, 20, and no limit on regtest.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once; one counts for as many as its signatures and bytes say, a year of a band as 48.
    pub burst: u32,
    /// Open connections in all.
    pub connections: usize,
    /// Open connections an address.
    pub connections_per_address: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpAddr>,
}

impl Limits {
    /// Refuses limits under which nobody could ask.
    ///
    /// # Errors
    /// Names the limit, and what would be right.
    pub fn check(&self) -> anyhow::Result<()> {
        let whole = [("connections", self.connections), ("connections_per_address", self.connections_per_address)];
        if let Some((name, _)) = whole.iter().find(|(_, value)| *value == 0) {
            anyhow::bail!("limits.{name} is 0: nobody could connect; 1 or more is right");
        }
        if self.burst < YEAR {
            anyhow::bail!(
                "limits.burst is {}; {YEAR} or more is right, for a year of a band counts as {YEAR}",
                self.burst
            );
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests_per_second: None,
            burst: 400,
            connections: 1_024,
            connections_per_address: 128,
            proxies: Vec::new(),
        }
    }
}

/// Keeps the limits.
pub struct Guard {
    buckets: Option<Buckets>,
    burst: NonZeroU32,
    pub(super) replayed: Option<Buckets>,
    proxies: Vec<IpAddr>,
    connections: usize,
    per_address: usize,
    open: Mutex<Open>,
    pub(super) turns: Turns,
    pub(super) seats: Turns,
    meters: Arc<Meters>,
}

impl Guard {
    /// A guard. `usual` is how many requests a second are allowed when the limits do not say; 0 for any.
    pub fn new(limits: &Limits, usual: u32, meters: Arc<Meters>) -> Guard {
        // A year of a band must be possible at all: `check` refuses less.
        let burst = NonZeroU32::new(limits.burst.max(YEAR)).unwrap_or(NonZeroU32::MIN);
        let rate = NonZeroU32::new(limits.requests_per_second.unwrap_or(usual));
        let [replayed, at_once] =
            [REPLAYED_A_SECOND, REPLAYED].map(|bytes| NonZeroU32::new(bytes).unwrap_or(NonZeroU32::MIN));
        Guard {
            buckets: rate.map(|rate| Buckets::new(rate, burst)),
            burst,
            replayed: rate.map(|_| Buckets::new(replayed, at_once)),
            proxies: limits.proxies.clone(),
            connections: handles::connections(limits.connections).max(1),
            per_address: limits.connections_per_address.max(1),
            open: Mutex::default(),
            turns: Turns::of(AT_ONCE),
            seats: Turns::of(SEATS),
            meters,
        }
    }

    /// Takes a connection in, unless there are too many. It counts until the answer is dropped.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Admitted> {
        let is_proxy = self.proxies.contains(&peer.to_canonical());
        let peer = neighbourhood(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let here = open.lines.values().filter(|line| line.peer == peer).count();
        let is_room = || open.lines.len() < self.connections;
        let most = self.connections.saturating_add(self.connections / 8);
        if (here >= self.per_address && !is_proxy)
            || !(is_room() || open.lines.len() < most && open.make_room(district(peer)))
        {
            drop(open);
            self.meters.refused("connections");
            return None;
        }
        let number = open.next;
        open.next = number.wrapping_add(1);
        let leave = Arc::new(Notify::new());
        open.lines.insert(number, Line { peer, is_proxy, leave: Some(Arc::clone(&leave)) });
        self.meters.connections(open.lines.len());
        Some(Admitted { guard: Arc::clone(self), number, leave })
    }

    /// Whose request it is.
    fn asker(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut asker = peer.ip().to_canonical();
        let hops = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let mut hops: Vec<&str> = hops.flat_map(|list| list.split(',')).collect();
        // From our side outwards: each proxy vouches for the hop before it, the first stranger for nobody.
        while self.proxies.contains(&asker) {
            match hops.pop().and_then(|hop| hop.trim().parse::<IpAddr>().ok()) {
                Some(hop) => asker = hop.to_canonical(),
                None => break,
            }
        }
        neighbourhood(asker)
    }

    /// Seconds to wait, when this asker asks too much.
    fn refuses(&self, asker: IpAddr, requests: u32) -> Option<u64> {
        let wait = self.buckets.as_ref()?.take(asker, requests).err()?;
        Some(wait.as_secs().saturating_add(1))
    }
}

/// A connection that counts until this is dropped.
pub struct Admitted {
    guard: Arc<Guard>,
    number: u64,
    leave: Arc<Notify>,
}

impl Admitted {
    /// Waits until the place is wanted for somebody else.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.guard.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.lines.remove(&self.number);
        self.guard.meters.connections(open.lines.len());
    }
}

/// Open connections, the oldest first.
#[derive(Default)]
struct Open {
    lines: BTreeMap<u64, Line>,
    next: u64,
}

struct Line {
    peer: IpAddr,
    is_proxy: bool,
    /// `None` when it was told.
    leave: Option<Arc<Notify>>,
}

impl Open {
    /// Asks the oldest connection of the fullest district to leave after what it is being answered. None is asked for a
    /// newcomer whose own district is as full.
    fn make_room(&mut self, newcomer: IpAddr) -> bool {
        let is_held = |line: &Line| line.leave.is_some() && !line.is_proxy;
        let held = self.lines.iter().filter(|(_, line)| is_held(line));
        let places: Vec<_> = held.map(|(number, line)| (*number, district(line.peer))).collect();
        let own = places.iter().filter(|(_, place)| *place == newcomer).count();
        let Some((oldest, ..)) = fullest(places.into_iter()).filter(|(.., many)| *many > own + 1) else {
            return false;
        };
        let oldest = self.lines.get_mut(&oldest);
        match oldest.and_then(|line| line.leave.take()) {
            Some(leave) => {
                leave.notify_one();
                true
            }
            None => false,
        }
    }
}

/// What stands before every route.
#[derive(Clone)]
pub struct Gate {
    /// Keeps the limits.
    pub guard: Arc<Guard>,
    /// Knows what a page takes.
    pub press: Arc<Press>,
}

impl Gate {
    /// Lets a request in when its asker may ask it, with the turns it takes.
    ///
    /// # Errors
    /// Seconds to wait.
    async fn enter(&self, asker: IpAddr, route: &str, request: &mut Request) -> Result<Option<Turn>, u64> {
        let refused = |requests: u32| self.guard.refuses(asker, requests).map_or(Ok(()), Err);
        // First for asking at all: finding out what a page takes is work too.
        refused(1)?;
        let price = match request.extract_parts::<RawPathParams>().await {
            Ok(path) => tariff::price(&self.press, route, &path, request.uri()),
            Err(_) => tariff::Price { requests: 1, turns: 0 },
        };
        // What counts for more than a burst is had by whoever has a whole one.
        refused(price.requests.min(self.guard.burst.get()).saturating_sub(1))?;
        request.extensions_mut().insert(Asker::new(Arc::clone(&self.guard), asker));
        match price.turns {
            0 => Ok(None),
            many => Ok(Some(self.guard.turns.take(asker, many).await)),
        }
    }
}

/// Around every request: the limit, the counting, and the headers that every answer has.
pub async fn watch(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let guard = &gate.guard;
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let peer = request.extensions().get::<SocketAddr>().copied();
    let entered = match peer.map(|peer| guard.asker(peer, request.headers())) {
        Some(asker) => gate.enter(asker, &route, &mut request).await,
        None => Ok(None),
    };
    let mut response = match entered {
        Ok(None) => next.run(request).await,
        Ok(Some(turn)) => next.run(request).await.map(|body| turn.lasts_as_long_as(body)),
        Err(seconds) => {
            guard.meters.refused("rate");
            too_many(seconds)
        }
    };
    if is_plain(&response) {
        response = in_our_words(response).await;
    }
    guard.meters.answered(&route, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // All of it is public: a page of anybody's may read it.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Is it a refusal by the library that read the request, before anything of ours saw it?
fn is_plain(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    response.status().is_client_error() && kind.is_none_or(|kind| kind.starts_with("text/plain"))
}

/// The same refusal as all of ours are written.
async fn in_our_words(response: Response) -> Response {
    let status = response.status();
    let said = axum::body::to_bytes(response.into_body(), WORDS).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::NOT_FOUND => "not_found",
        _ => "bad_request",
    };
    Refusal(status, code, if said.is_empty() { status.to_string() } else { said }).into_response()
}

fn too_many(seconds: u64) -> Response {
    let message = format!("too many requests from your address; come back in {seconds} s, or ask a mirror");
    let refusal = Refusal(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
    ([(header::RETRY_AFTER, seconds.to_string())], refusal).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(limits: &Limits) -> Arc<Guard> {
        Arc::new(Guard::new(limits, 1, Arc::new(Meters::new())))
    }

    fn forwarded(by: &[&str]) -> HeaderMap {
        by.iter()
            .map(|one| (header::HeaderName::from_static("x-forwarded-for"), HeaderValue::from_str(one).unwrap()))
            .collect()
    }

    #[test]
    fn a_header_that_anybody_can_write_is_believed_only_from_a_named_proxy() {
        let peer: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let stranger: IpAddr = "203.0.113.9".parse().unwrap();
        let naive = guard(&Limits::default());
        assert_eq!(naive.asker(peer, &forwarded(&["203.0.113.9"])), peer.ip());
        let proxies = vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let behind = guard(&Limits { proxies, ..Limits::default() });
        assert_eq!(behind.asker(peer, &forwarded(&["203.0.113.9"])), stranger);
        assert_eq!(
            behind.asker(peer, &forwarded(&["1.1.1.1, 203.0.113.9", "192.0.2.2"])),
            stranger,
            "what it wrote itself"
        );
        assert_eq!(behind.asker(peer, &forwarded(&["rubbish"])), peer.ip());
        assert_eq!(behind.asker(peer, &HeaderMap::new()), peer.ip());
        let other: SocketAddr = "198.51.100.7:5".parse().unwrap();
        assert_eq!(behind.asker(other, &forwarded(&["203.0.113.9"])), other.ip());
    }

    #[test]
    fn who_asks_too_much_waits_and_nobody_else_does() {
        let guard = guard(&Limits { requests_per_second: Some(1), burst: 50, ..Limits::default() });
        let (greedy, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!(guard.refuses(greedy, YEAR), None);
        assert!(guard.refuses(greedy, 4).is_some_and(|seconds| (1..=4).contains(&seconds)));
        assert_eq!(guard.refuses(other, 4), None);
        let without = Guard::new(&Limits { requests_per_second: Some(0), ..Limits::default() }, 1, Arc::default());
        assert!((0..10_000).all(|_| without.refuses(greedy, YEAR).is_none()));
    }

    #[test]
    fn connections_are_counted_by_address_and_by_neighbourhood() {
        let guard = guard(&Limits { connections: 3, connections_per_address: 2, ..Limits::default() });
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let first = guard.admit(one).unwrap();
        let _second = guard.admit(neighbour).unwrap();
        assert!(guard.admit(one).is_none(), "the same /64");
        let _third = guard.admit("192.0.2.1".parse().unwrap()).unwrap();
        assert!(guard.admit("192.0.2.2".parse().unwrap()).is_none(), "three in all, and none with many");
        drop(first);
        assert!(guard.admit(neighbour).is_some());
    }

    #[test]
    fn who_holds_many_connections_makes_room_for_who_holds_none() {
        use futures_util::FutureExt;
        let guard = guard(&Limits { connections: 8, connections_per_address: 8, ..Limits::default() });
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let held: Vec<Admitted> =
            (0..8).map(|last| guard.admit(at(&format!("192.0.2.{}", last % 4))).unwrap()).collect();
        let asked = |one: &Admitted| one.asked_to_leave().now_or_never().is_some();
        assert!(guard.admit(at("192.0.2.200")).is_none(), "of the district that is full already");
        let newcomer = guard.admit(at("198.51.100.1")).unwrap();
        assert!(asked(&held[0]) && !held[1..].iter().any(asked) && !asked(&newcomer), "the oldest of the fullest");
        assert!(guard.admit(at("203.0.113.1")).is_none(), "nine are the most, until one has left");
        drop(held);
        assert!(guard.admit(at("203.0.113.1")).is_some());
    }
}
