//! A mirror that is a Nostr relay: it pushes all of the oracle's words, and questions are answered from what was heard.
//!
//! Subscribes by the oracle's key, the two kinds and a moment that is the same for everybody in a month, never by an event:
//! neither the oracle nor the relay learns which loan there is. It has announcements and attestations, no price and no lows.
//! Each note is verified before it counts, the pinned key's signature first. A relay that serves anything else is false
//! for good; one that is merely away is asked again, after longer and longer rests.

use super::heard::{time_of, Words};
use super::OracleError;
use crate::contract::{OracleAnnouncement, OracleAttestation};
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::announce::ProvenAnnouncement;
use hypothec_oracle::event::Event;
use hypothec_oracle::foreign::clean;
use hypothec_oracle::relay::note::{date, Note};
use hypothec_oracle::relay::{check_url, Heard, Line, LineError};
use hypothec_oracle::units::{Time, DAY};
use hypothec_oracle::verify::verify_attestation;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Everybody's window begins at a whole multiple of this, at least this long before what is asked about, seconds. A fixing
/// is announced 30 days ahead.
const WINDOW: u32 = 32 * DAY;
/// How long a question waits for a relay to show what it has. Real time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the relay may be silent while it shows what it has. Real time.
const SILENCE: Duration = Duration::from_secs(20);
/// How often a silent connection is asked for a sign of life. Real time.
const PULSE: Duration = Duration::from_secs(30);
/// How long a relay that failed is left alone: at first, and at most. Real time.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Notes asked for at a time.
const PAGE: usize = 400;
/// The most pages of one catching up.
const PAGES: usize = 600;
/// The most messages in [`WHILE`]: more than catching up with two months of a restless price takes.
const MESSAGES: u32 = 150_000;
/// Real time.
const WHILE: Duration = Duration::from_secs(600);
/// The subscription to what is new.
const NEW: &str = "new";

/// One relay. Connects when it is first asked; hangs up when it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    task: Mutex<Option<Task>>,
}

/// Ends with its relay.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Shared {
    url: String,
    key: XOnlyPublicKey,
    words: Mutex<Words>,
    /// The beginning of the window that is wanted.
    wanted: watch::Sender<Option<Time>>,
    phase: watch::Sender<Phase>,
    /// When a question last waited in vain.
    in_vain: Mutex<Option<Instant>>,
}

/// How far the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known yet.
    Beginning,
    /// All it has since this moment has been heard, and what is new is being heard.
    Hearing(Time),
    /// It is away, and why.
    Away(String),
    /// It served this, which is wrong for that reason.
    False { served: String, wrong: String },
}

/// Why a connection ended.
enum Broken {
    Away(String),
    False { served: String, wrong: String },
}

impl From<LineError> for Broken {
    fn from(error: LineError) -> Broken {
        let wrong = "a relay sends short JSON".to_owned();
        match error {
            LineError::Away(why) => Broken::Away(why),
            LineError::TooLong | LineError::Unreadable(_) => Broken::False { served: error.to_string(), wrong },
        }
    }
}

impl Relay {
    /// The oracle with this key at this relay. Asks nothing yet.
    ///
    /// # Errors
    /// When the URL is no relay's.
    pub fn new(url: &str, key: XOnlyPublicKey) -> Result<Relay, OracleError> {
        let written = check_url(url).map_err(|reason| {
            let url = clean(url);
            OracleError::Url { url, reason }
        })?;
        let (wanted, phase) = (watch::Sender::new(None), watch::Sender::new(Phase::Beginning));
        let shared = Shared { url: written, key, words: Mutex::default(), wanted, phase, in_vain: Mutex::default() };
        Ok(Relay { shared: Arc::new(shared), task: Mutex::default() })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The announcements of an event that it has: none, one, or two that differ.
    ///
    /// # Errors
    /// When it is away and nothing was heard before, or it served something false.
    pub async fn announcements(&self, event: Event) -> Result<Vec<ProvenAnnouncement>, OracleError> {
        let heard = self.heard(event).await;
        let words = self.shared.words().announcements(event);
        self.or_away(heard, words)
    }

    /// The attestations of an event whose verified announcement the caller holds: none, one, or two that differ.
    ///
    /// # Errors
    /// As [`Relay::announcements`], or when one was made with other nonces than announced.
    pub async fn attestations(
        &self,
        event: Event,
        announcement: &OracleAnnouncement,
    ) -> Result<Vec<OracleAttestation>, OracleError> {
        let heard = self.heard(event).await;
        let words = self.or_away(heard, self.shared.words().attestations(event))?;
        for said in &words {
            verify_attestation(said, announcement)
                .map_err(|source| OracleError::Verify { url: self.url().to_owned(), source })?;
        }
        Ok(words)
    }

    /// What was heard before counts also while the relay is away.
    fn or_away<T>(&self, heard: Result<(), OracleError>, words: Vec<T>) -> Result<Vec<T>, OracleError> {
        match heard {
            Err(error) if words.is_empty() || error.is_false() => Err(error),
            _ => Ok(words),
        }
    }

    /// Waits until all it has about the time of an event has been heard. Where one question did so in vain the others wait no
    /// longer for a minute: it is heard on beside them.
    async fn heard(&self, event: Event) -> Result<(), OracleError> {
        let since = since(event);
        self.shared.wanted.send_if_modified(|wanted| {
            let earlier = wanted.is_none_or(|known| since < known);
            if earlier {
                *wanted = Some(since);
            }
            earlier
        });
        self.begin();
        let mut phase = self.shared.phase.subscribe();
        let settled = phase.wait_for(|phase| match phase {
            Phase::Beginning => false,
            Phase::Hearing(from) => *from <= since,
            Phase::Away(_) | Phase::False { .. } => true,
        });
        let away = |reason: String| OracleError::Unreachable {
            url: self.url().to_owned(),
            path: "the subscription".into(),
            reason,
        };
        let settled = match tokio::time::timeout(self.shared.patience(), settled).await {
            Ok(Ok(phase)) => {
                *self.shared.in_vain() = None;
                phase.clone()
            }
            _ => {
                self.shared.in_vain().get_or_insert_with(Instant::now);
                Phase::Away(format!("it has not shown all it has within {} s", PATIENCE.as_secs()))
            }
        };
        match settled {
            Phase::Away(reason) => Err(away(reason)),
            Phase::False { served, wrong } => Err(OracleError::Served { url: self.url().to_owned(), served, wrong }),
            Phase::Beginning | Phase::Hearing(_) => Ok(()),
        }
    }

    fn begin(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.get_or_insert_with(|| Task(tokio::spawn(follow(Arc::clone(&self.shared))).abort_handle()));
    }
}

/// Where the window begins in which an event lies: the same for all events of a month and more.
fn since(event: Event) -> Time {
    let at = time_of(event).0;
    Time((at - at % WINDOW).saturating_sub(WINDOW))
}

/// Connects again and again, until the relay is false.
async fn follow(shared: Arc<Shared>) {
    let mut rest = REST.0;
    loop {
        match shared.session().await {
            // An earlier window is wanted.
            Ok(()) => continue,
            Err(Broken::False { served, wrong }) => {
                shared.phase.send_replace(Phase::False { served, wrong });
                return;
            }
            Err(Broken::Away(reason)) => {
                tracing::debug!("relay {}: {reason}", shared.url);
                let before = shared.phase.send_replace(Phase::Away(reason));
                if matches!(before, Phase::Hearing(_)) {
                    rest = REST.0;
                }
            }
        }
        tokio::time::sleep(rest).await;
        rest = rest.saturating_mul(2).min(REST.1);
    }
}

/// Counts the messages of a while.
struct Budget {
    began: Instant,
    left: u32,
}

impl Budget {
    fn new() -> Budget {
        Budget { began: Instant::now(), left: MESSAGES }
    }

    fn spend(&mut self) -> Result<(), Broken> {
        if self.began.elapsed() > WHILE {
            *self = Budget::new();
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                let served = format!("more than {MESSAGES} messages within {} s", WHILE.as_secs());
                return Err(Broken::False { served, wrong: "no oracle says so much".into() });
            }
        }
        Ok(())
    }
}

impl Shared {
    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_vain(&self) -> MutexGuard<'_, Option<Instant>> {
        self.in_vain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a question waits now.
    fn patience(&self) -> Duration {
        let mut in_vain = self.in_vain();
        match *in_vain {
            Some(since) if since.elapsed() < REST.1 => Duration::ZERO,
            _ => {
                *in_vain = None;
                PATIENCE
            }
        }
    }

    /// One connection, until it fails or an earlier window is wanted.
    async fn session(&self) -> Result<(), Broken> {
        let mut wanted = self.wanted.subscribe();
        let Some(since) = *wanted.borrow_and_update() else { return Err(Broken::Away("nothing is wanted".into())) };
        let mut line = Line::open(&self.url).await?;
        let mut budget = Budget::new();
        // First what is new, then what is stored: nothing falls between the two.
        line.subscribe(NEW, &self.key, (since, None), 1).await?;
        self.catch_up(&mut line, &mut budget, since).await?;
        self.phase.send_replace(Phase::Hearing(since));
        let mut asked = false;
        loop {
            let heard = tokio::select! {
                earlier = wanted.changed() => match earlier {
                    Ok(()) => return Ok(()),
                    Err(_) => return Err(Broken::Away("the client has gone".into())),
                },
                heard = line.hear(PULSE) => heard?,
            };
            match heard {
                Heard::Nothing if asked => return Err(Broken::Away("it answers no ping".into())),
                Heard::Nothing => {
                    line.ping().await?;
                    asked = true;
                    continue;
                }
                Heard::Note(_, note) => drop(self.take(&note)?),
                Heard::Ended(name, why) if name == NEW => {
                    return Err(Broken::Away(format!("it ended the subscription: {why}")))
                }
                _ => {}
            }
            asked = false;
            budget.spend()?;
        }
    }

    /// All that it has stored since a moment, page by page, the newest first.
    async fn catch_up(&self, line: &mut Line, budget: &mut Budget, since: Time) -> Result<(), Broken> {
        let mut until: Option<Time> = None;
        for page in 0..PAGES {
            let name = format!("stored-{page}");
            line.subscribe(&name, &self.key, (since, until), PAGE).await?;
            let (mut oldest, mut fresh) = (None::<Time>, false);
            loop {
                match line.hear(SILENCE).await? {
                    Heard::Note(to, note) => {
                        let new = self.take(&note)?;
                        if to == name {
                            fresh |= new;
                            oldest = Some(oldest.map_or(date(&note), |known| known.min(date(&note))));
                        }
                    }
                    Heard::Stored(of) if of == name => break,
                    Heard::Ended(of, why) if of == name => {
                        return Err(Broken::Away(format!("it does not show what it has: {why}")))
                    }
                    Heard::Nothing => return Err(Broken::Away(format!("it was silent for {} s", SILENCE.as_secs()))),
                    _ => {}
                }
                budget.spend()?;
            }
            line.unsubscribe(&name).await?;
            // Its last second may go on on the next page; when that brought nothing new, on to the second before.
            let next = match oldest {
                Some(oldest) if fresh && until != Some(oldest) => oldest,
                Some(oldest) if oldest > since => Time(oldest.0.saturating_sub(1)),
                _ => return Ok(()),
            };
            until = Some(next);
        }
        Err(Broken::Away(format!("it has more than {PAGES} pages of {PAGE} notes")))
    }

    fn take(&self, note: &Note) -> Result<bool, Broken> {
        self.words().take(note, &self.key).map_err(|wrong| {
            let served = format!("note {} of kind {}", note.id, note.kind.as_u16());
            Broken::False { served, wrong }
        })
    }
}

#[cfg(test)]
mod tests;
