//! The daemon's side of the signer's socket. Connects when it must, and again after the signer was restarted.

use super::ask::{unpack, Answer, Ask, Say, MOST};
use super::watch::{Away, Watch, Why};
use crate::announce::{AnnounceError, ProvenAnnouncement};
use crate::daemon::socket::{ask_without_blocking, Caller};
use crate::event::Event;
use crate::statement::Statement;
use bitcoin::hex::DisplayHex;
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::schnorr::Signature;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// How long the signer may take for one answer, and how much longer for each of its events. Real time: a month of a band
/// is a fraction of a second, but not on every machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// See [`PATIENCE`].
const AN_EVENT: Duration = Duration::from_millis(10);
/// How often it is looked at. Real time.
const LOOKS: Duration = Duration::from_secs(2);
/// A signer that has not said its key for so long hangs. Real time.
const HANGS: Duration = Duration::from_secs(4);
/// Idle connections kept.
const KEPT: usize = 8;

/// Asks the signer.
#[derive(Debug)]
pub struct SignerClient {
    path: PathBuf,
    key: XOnlyPublicKey,
    idle: Mutex<Vec<Caller>>,
    watch: Watch,
}

/// What went wrong, and whether a newer view would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    /// One sentence.
    pub why: String,
    /// The signer has been told more than the asker knew.
    pub outdated: bool,
    /// It could not be asked.
    pub away: bool,
}

impl From<Unsigned> for AnnounceError {
    fn from(error: Unsigned) -> AnnounceError {
        AnnounceError::Signer { why: error.why, away: error.away }
    }
}

/// An answer as it was written.
fn written(answer: &Answer) -> String {
    serde_json::to_string(answer).map_or_else(|_| String::new(), |text| crate::foreign::clean(&text))
}

fn unsigned(why: impl ToString) -> Unsigned {
    Unsigned { why: why.to_string(), outdated: false, away: false }
}

fn away(error: &anyhow::Error) -> Unsigned {
    Unsigned { why: format!("{error:#}"), outdated: false, away: true }
}

impl SignerClient {
    /// Meets the signer at `path`; its key is then this oracle's, and a signer with another is refused from then on.
    /// Blocks.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn connect(path: &Path) -> anyhow::Result<SignerClient> {
        let mut caller = Caller::connect(path, PATIENCE)?;
        let key = match caller.ask(&Ask::Key {})? {
            Answer::Key { key } => key,
            other => anyhow::bail!(
                "the signer at {} answers something else when asked for its key: {}",
                path.display(),
                written(&other)
            ),
        };
        Ok(SignerClient { path: path.to_owned(), key, idle: Mutex::new(vec![caller]), watch: Watch::new() })
    }

    /// Since when it is away, if it is.
    pub fn away(&self) -> Option<Away> {
        self.watch.away()
    }

    /// Looks at it again and again, on a connection of its own that no crowd of others can keep it from.
    pub async fn watch(&self) {
        let mut kept = None;
        loop {
            match self.look(&mut kept).await {
                Ok(()) => self.watch.good(),
                Err(why) => self.watch.bad(why),
            }
            tokio::time::sleep(LOOKS).await;
        }
    }

    async fn look(&self, kept: &mut Option<UnixStream>) -> Result<(), Why> {
        let was_kept = kept.is_some();
        let mut answer = self.ask_key(kept).await;
        if was_kept && answer == Err(Why::Nobody) {
            // It was restarted since.
            answer = self.ask_key(kept).await;
        }
        answer
    }

    async fn ask_key(&self, kept: &mut Option<UnixStream>) -> Result<(), Why> {
        let asked = ask_without_blocking(&self.path, kept, &Ask::Key {});
        match tokio::time::timeout(HANGS, asked).await {
            Ok(Ok(Answer::Key { key })) if key == self.key => Ok(()),
            Ok(Ok(_)) => Err(Why::OtherKey),
            // So many wait that the next is turned away.
            Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => Err(Why::Hangs),
            Ok(Err(_)) => Err(Why::Nobody),
            Err(_) => Err(Why::Hangs),
        }
    }

    /// The key.
    pub fn public_key(&self) -> XOnlyPublicKey {
        self.key
    }

    /// Announcements, in order.
    ///
    /// # Errors
    /// When an event matures after 2106 or the signer is away.
    pub fn announcements(&self, events: &[Event]) -> Result<Vec<ProvenAnnouncement>, AnnounceError> {
        let mut made = Vec::with_capacity(events.len());
        for some in events.chunks(MOST) {
            if let Some(event) = some.iter().copied().find(|event| event.maturity().is_none()) {
                return Err(AnnounceError::BeyondTime { event });
            }
            let ids = some.iter().map(ToString::to_string).collect();
            let unpacked = match self.ask(&Ask::Announce { ids }, some.len())? {
                Answer::Announced { packed } => unpack(&packed, some, &self.key),
                _ => None,
            };
            made.extend(unpacked.ok_or_else(|| unsigned("it answered with something else than announcements"))?);
        }
        Ok(made)
    }

    /// The signatures of attestations, in order.
    ///
    /// # Errors
    /// When the signer refuses or is away.
    pub fn attest(&self, say: &[Say]) -> Result<Vec<Vec<Signature>>, AnnounceError> {
        let mut made = Vec::with_capacity(say.len());
        for some in say.chunks(MOST) {
            match self.ask(&Ask::Attest { say: some.to_vec() }, some.len())? {
                Answer::Attested { signatures } if signatures.len() == some.len() => made.extend(signatures),
                _ => return Err(unsigned("it answered with something else than attestations").into()),
            }
        }
        Ok(made)
    }

    /// The signatures of notes for relays: of announcements, then of attestations; at most [`MOST`] together.
    ///
    /// # Errors
    /// When the signer refuses or is away.
    pub fn publish(&self, announce: &[Event], say: &[Say]) -> Result<Vec<Signature>, AnnounceError> {
        let announce: Vec<String> = announce.iter().map(ToString::to_string).collect();
        let notes = announce.len().saturating_add(say.len());
        match self.ask(&Ask::Publish { announce, say: say.to_vec() }, notes)? {
            Answer::Published { signatures } if signatures.len() == notes => Ok(signatures),
            _ => Err(unsigned("it answered with something else than the signatures of notes").into()),
        }
    }

    /// A statement's signature.
    ///
    /// # Errors
    /// When the signer refuses or is away.
    pub fn state(&self, statement: &Statement) -> Result<Signature, Unsigned> {
        let ask = Ask::State { tag: statement.tag.to_string(), data: statement.data.to_lower_hex_string() };
        match self.ask(&ask, 1)? {
            Answer::Stated { signature } => Ok(signature),
            _ => Err(unsigned("it answered with something else than a signature")),
        }
    }

    /// Asks on an idle connection, or on a new one: an idle one may be to a signer that has been restarted since.
    /// Asking twice is harmless, for the signer says the same thing again. Nobody waits for one that is known to hang.
    fn ask(&self, ask: &Ask, events: usize) -> Result<Answer, Unsigned> {
        let patience = PATIENCE.saturating_add(AN_EVENT.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX)));
        let (began, still) = (Instant::now(), || !self.watch.hangs());
        let left = || Some(patience.saturating_sub(began.elapsed())).filter(|left| !left.is_zero() && still());
        let late = || away(&anyhow::anyhow!("it does not answer in time"));
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().zip(left());
        let kept = idle.and_then(|(mut caller, left)| {
            let answer = caller.ask_while(ask, left, &still).ok()?;
            Some((caller, answer))
        });
        let (caller, answer) = match kept {
            Some(done) => done,
            None => {
                // The other idle ones are as old.
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                let mut caller = self.greet(left().ok_or_else(late)?)?;
                let answer = caller.ask_while(ask, left().ok_or_else(late)?, &still).map_err(|error| away(&error))?;
                (caller, answer)
            }
        };
        self.watch.good();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(caller);
        }
        drop(idle);
        match answer {
            Answer::Refused { why, outdated } => Err(Unsigned { why, outdated, away: false }),
            answer => Ok(answer),
        }
    }

    fn greet(&self, patience: Duration) -> Result<Caller, Unsigned> {
        let mut caller = Caller::connect(&self.path, patience).map_err(|error| {
            self.watch.bad(Why::Nobody);
            away(&error)
        })?;
        let still = || !self.watch.hangs();
        match caller.ask_while(&Ask::Key {}, patience, &still).map_err(|error| away(&error))? {
            Answer::Key { key } if key == self.key => Ok(caller),
            Answer::Key { key } => {
                self.watch.bad(Why::OtherKey);
                Err(unsigned(format!("it holds key {key}, this oracle's is {}; give it the right one", self.key)))
            }
            other => Err(unsigned(format!("it answers something else when asked for its key: {}", written(&other)))),
        }
    }
}
