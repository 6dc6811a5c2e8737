//! Keeping in touch: one task per remembered address connects, waits for the end, and tries again with growing pauses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::lanes::Lanes;
use super::link::{reach, Link, Manager};
use super::PeerAddress;

/// A connection that lasted this many times what a try may take was a good one: the next pause is short again.
const GOOD_AFTER: u32 = 3;

/// A remembered address, and what its dialling task tells of it.
pub(super) struct Dial {
    pub address: PeerAddress,
    /// Ends a pause.
    pub now: Notify,
    problem: Mutex<Option<String>>,
}

impl Dial {
    pub(super) fn new(address: PeerAddress) -> Arc<Dial> {
        Arc::new(Dial { address, now: Notify::new(), problem: Mutex::default() })
    }

    /// Why the last try, or the last connection, ended.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, problem: String) {
        let mut last = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&problem) {
            tracing::info!(peer = %self.address, "cannot reach peer: {problem}");
            *last = Some(problem);
        }
    }
}

/// Keeps a connection to the address for as long as it is polled.
pub(super) async fn keep(manager: Arc<Manager>, lanes: Arc<Lanes>, dial: Arc<Dial>) {
    let limits = lanes.limits().clone();
    let mut backoff = limits.first_backoff;
    loop {
        let started = Instant::now();
        wait_until_absent(&lanes, &dial).await;
        let problem = match tokio::time::timeout(limits.connect_time, open(&dial.address)).await {
            Err(_) => format!("no answer within {:?}", limits.connect_time),
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(stream)) => {
                let link = Link::new(false, dial.address.place());
                reach(manager.clone(), lanes.clone(), link.clone(), stream, dial.address.key).await;
                link.reason().unwrap_or_default()
            }
        };
        // A try is cut off long before this, so there was a connection for most of the time, whoever opened it.
        if started.elapsed() > limits.connect_time.saturating_mul(GOOD_AFTER) {
            backoff = limits.first_backoff;
        }
        dial.note(problem);
        tokio::select! {
            () = tokio::time::sleep(jittered(backoff)) => {}
            () = dial.now.notified() => {}
        }
        backoff = backoff.saturating_mul(2).min(limits.most_backoff);
    }
}

/// Returns once there is no connection with the peer, whoever opened it.
async fn wait_until_absent(lanes: &Lanes, dial: &Dial) {
    let mut changes = lanes.changes();
    while lanes.link(dial.address.key).is_some() {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn open(address: &PeerAddress) -> std::io::Result<TcpStream> {
    TcpStream::connect((address.host.as_str(), address.port)).await
}

/// Between half and one and a half times the pause, so that two nodes dialling each other do not stay in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::thread_rng().gen_range(0.5..1.5))
}
