//! Limits on strangers: how often one address may ask, and how many connections it may hold.
//!
//! A request costs what it makes the oracle do. Whoever asks too much is told when to come back. `X-Forwarded-For` is
//! believed only from proxies that the operator names: anybody can write that header.

use super::refusal::Refusal;
use super::turns::Turns;
use super::Meters;
use crate::crowd::{district, fullest, neighbourhood};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{header, HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Addresses remembered before those that have rested are forgotten.
const REMEMBERED: usize = 10_000;
/// Addresses remembered at most; beyond it new ones wait.
const AT_MOST: usize = 100_000;
/// Looking through all of them is not done for every request. Real time.
const BETWEEN_TIDYING: Duration = Duration::from_secs(1);
/// The longest refusal of a library's that is passed on, in bytes.
const WORDS: usize = 1_024;
/// What a month of a band costs: a second of work when it is not kept.
const BUNDLE: u32 = 4;
/// What a year of a band costs.
const YEAR: u32 = 48;

/// What strangers may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a second and address in the long run, 0 for no limit; unless said, 20, and no limit on regtest.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once; a month of a band counts as 4, a year as 48.
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

type Buckets = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// Keeps the limits.
pub struct Guard {
    buckets: Option<Buckets>,
    burst: NonZeroU32,
    proxies: Vec<IpAddr>,
    connections: usize,
    per_address: usize,
    open: Mutex<Open>,
    tidied: Mutex<Option<Instant>>,
    turns: Turns,
    meters: Arc<Meters>,
}

impl Guard {
    /// A guard. `usual` is how many requests a second are allowed when the limits do not say; 0 for any.
    pub fn new(limits: &Limits, usual: u32, meters: Arc<Meters>) -> Guard {
        // A year of a band must be possible at all: `check` refuses less.
        let burst = NonZeroU32::new(limits.burst.max(YEAR)).unwrap_or(NonZeroU32::MIN);
        let rate = NonZeroU32::new(limits.requests_per_second.unwrap_or(usual));
        Guard {
            buckets: rate.map(|rate| RateLimiter::hashmap(Quota::per_second(rate).allow_burst(burst))),
            burst,
            proxies: limits.proxies.clone(),
            connections: limits.connections.max(1),
            per_address: limits.connections_per_address.max(1),
            open: Mutex::default(),
            tidied: Mutex::default(),
            turns: Turns::default(),
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
    fn refuses(&self, asker: IpAddr, cost: u32) -> Option<u64> {
        let buckets = self.buckets.as_ref()?;
        if buckets.len() > REMEMBERED {
            let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
            if tidied.is_none_or(|tidied| tidied.elapsed() > BETWEEN_TIDYING) {
                buckets.retain_recent();
                *tidied = Some(Instant::now());
            }
        }
        if buckets.len() > AT_MOST {
            return Some(1);
        }
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN).min(self.burst);
        match buckets.check_key_n(&asker, cost) {
            Ok(Ok(())) | Err(_) => None,
            Ok(Err(not_yet)) => {
                let wait = not_yet.wait_time_from(DefaultClock::default().now());
                Some(wait.as_secs().saturating_add(1))
            }
        }
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

fn cost(route: &str, uri: &Uri) -> u32 {
    let is_year = || uri.path().rsplit('/').next().is_some_and(|last| last.len() == 4);
    match route {
        "/v1/bands/{band}/{month}" | "/v1/bands/{band}/{day}/{hour}" if !is_year() && is_cheap(uri) => 1,
        "/v1/bands/{band}/{month}" if is_year() => YEAR,
        "/v1/bands/{band}/{month}" | "/v1/bands/{band}/{day}/{hour}" | "/v1/fixings/{day}" | "/list-events" => BUNDLE,
        _ => 1,
    }
}

/// Attestations alone are few, and signed once.
fn is_cheap(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query == "only=attestations")
}

/// Around every request: the limit, the counting, and the headers that every answer has.
pub async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let peer = request.extensions().get::<SocketAddr>().copied();
    let asker = peer.map(|peer| guard.asker(peer, request.headers()));
    let cost = cost(&route, request.uri());
    let mut response = match asker.and_then(|asker| guard.refuses(asker, cost)) {
        None => match asker.filter(|_| cost > 1) {
            None => next.run(request).await,
            Some(asker) => {
                let turn = guard.turns.take(asker).await;
                next.run(request).await.map(|body| turn.lasts_as_long_as(body))
            }
        },
        Some(seconds) => {
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
        assert!(guard.refuses(greedy, BUNDLE).is_some_and(|seconds| (1..=4).contains(&seconds)));
        assert_eq!(guard.refuses(other, BUNDLE), None);
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

    #[test]
    fn a_year_costs_more_than_a_month_and_a_month_more_than_a_price() {
        let cost = |route, uri: &'static str| cost(route, &Uri::from_static(uri));
        let band = "/v1/bands/{band}/{month}";
        assert_eq!(cost(band, "/v1/bands/21/2020"), YEAR);
        assert_eq!(cost(band, "/v1/bands/21/2020?only=attestations"), YEAR);
        assert_eq!(cost(band, "/v1/bands/21/202003"), BUNDLE);
        assert_eq!(cost(band, "/v1/bands/21/202003?only=announcements"), BUNDLE);
        assert_eq!(cost(band, "/v1/bands/21/202003?only=attestations"), 1);
        assert_eq!(cost("/v1/price", "/v1/price"), 1);
    }
}
