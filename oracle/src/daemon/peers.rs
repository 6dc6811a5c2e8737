//! The other places that speak for this oracle (replicas and mirrors), asked before a fixing is decided.
//!
//! A fixing that any of them shows, validly signed by this oracle's key, has been said. Saying another would reveal the
//! key. Whatever else a peer answers, or that it does not answer, changes nothing: a stranger cannot hold a fixing up,
//! and the shared database settles what replicas decide at the same moment.

use super::signer::Keys;
use super::waiter::Waiter;
use crate::event::Event;
use crate::foreign::clean;
use crate::price::policy::{Policy, PolicyPage};
use crate::units::{Cents, Time};
use crate::verify::{dollars_fixed, fixing_dollars, verify_attestation};
use dlc_messages::oracle_msgs::OracleAttestation;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long all peers together are waited for. Real time.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a peer that did not answer is left alone. Real time.
const REST: Duration = Duration::from_secs(30);
/// Largest answer read, in bytes.
const LARGEST: usize = 64 * 1024;

/// A fixing that a peer shows and this oracle does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Where it was seen.
    pub peer: String,
    /// Of when.
    pub at: Time,
    /// What the peer shows, whole dollars.
    pub theirs: u32,
    /// What would have been said here, whole dollars.
    pub ours: u32,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the fixing at {} is refused: {} shows it signed by this oracle's key as ${}, here it would be ${}; two \
             signed fixings reveal the key. Find out which ledger is the old one before anything else",
            self.at, self.peer, self.theirs, self.ours
        )
    }
}

struct Peer {
    url: String,
    resting: Option<Instant>,
}

/// Those that are asked.
pub struct Peers {
    peers: Vec<Peer>,
    keys: Arc<Keys>,
    http: reqwest::Client,
    waiter: Waiter,
}

impl Peers {
    /// Base URLs, for example `https://replica.example`.
    ///
    /// # Errors
    /// When the system gives no socket to ask with.
    pub fn new(urls: &[String], keys: Arc<Keys>) -> anyhow::Result<Peers> {
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        let peer = |url: &String| Peer { url: url.trim_end_matches('/').to_string(), resting: None };
        Ok(Peers { peers: urls.iter().map(peer).collect(), keys, http, waiter: Waiter::new()? })
    }

    /// What the peers that answer publish as this oracle's price policies, signed by its key, and where. Blocks for two
    /// seconds at most.
    pub fn policies(&mut self) -> Vec<(String, Vec<Policy>)> {
        let asked = Instant::now();
        let Peers { peers, keys, http, waiter } = self;
        let mut published = Vec::new();
        for Peer { url, .. } in peers.iter() {
            let left = PATIENCE.saturating_sub(asked.elapsed());
            let page = waiter.wait(left, ask::<PolicyPage>(http, format!("{url}/v1/policy")));
            let Some(Ok(Some(page))) = page else { continue };
            let own = page.policies.into_iter().filter(|policy| policy.verify(&keys.public_key()).is_ok());
            published.push((url.clone(), own.map(|signed| signed.policy).collect()));
        }
        published
    }

    /// A peer that shows another fixing, if there is one. Blocks for two seconds at most.
    pub fn conflict(&mut self, at: Time, cents: Cents) -> Option<Conflict> {
        let event = Event::Fixing { at };
        let ours = dollars_fixed(cents);
        let asked = Instant::now();
        let mut conflict = None;
        let Peers { peers, keys, http, waiter } = self;
        let awake = peers.iter_mut().filter(|peer| peer.resting.is_none_or(|since| since.elapsed() > REST));
        for peer in awake {
            let left = PATIENCE.saturating_sub(asked.elapsed());
            let shown = waiter
                .wait(left, ask(http, format!("{}/attestation/{event}", peer.url)))
                .unwrap_or_else(|| Err("no answer".to_string()));
            peer.resting = shown.is_err().then(Instant::now);
            let shown = match shown {
                Ok(shown) => shown,
                Err(error) => {
                    tracing::warn!("{} could not be asked about the fixing at {at}: {}", peer.url, clean(&error));
                    continue;
                }
            };
            match shown.and_then(|shown| dollars(keys, event, &shown)) {
                Some(theirs) if theirs != ours => {
                    conflict = Some(Conflict { peer: peer.url.clone(), at, theirs, ours });
                }
                _ => {}
            }
        }
        conflict
    }
}

/// The dollars of an attestation that this oracle's key made with the nonces of this event.
fn dollars(keys: &Keys, event: Event, shown: &OracleAttestation) -> Option<u32> {
    let announcement = keys.announcements(&[event]).ok()?.pop()?.announcement;
    verify_attestation(shown, &announcement).ok()?;
    fixing_dollars(shown)
}

/// What a peer shows there; `None` when it has nothing.
async fn ask<T: DeserializeOwned>(http: &reqwest::Client, url: String) -> Result<Option<T>, String> {
    let answer = http.get(url).send().await;
    let mut answer = answer.map_err(|error| error.without_url().to_string())?;
    if answer.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
        if body.len().saturating_add(part.len()) > LARGEST {
            return Err(format!("its answer has more than {LARGEST} bytes"));
        }
        body.extend_from_slice(&part);
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| format!("its answer is not what was asked for: {error}"))
}
