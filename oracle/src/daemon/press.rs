//! The press: announcements, attestations and bundles, made on demand and kept a while.
//!
//! What it makes is deterministic, so a lost or doubled page is only lost time. It attests nothing but outcomes that the
//! ledger holds.

use super::desk::Window;
use super::ledger::Record;
use crate::announce::{AnnounceError, OracleKeys, ProvenAnnouncement};
use crate::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage, PackedAttestation, Parts};
use crate::event::Event;
use dlc_messages::oracle_msgs::OracleAttestation;
use hyper::body::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// Sheets kept: some 700 kB each for a month of a band.
const KEPT: usize = 48;
/// Printed pages kept, at most 850 kB each: all who are being sent one share it, so slow readers cost no memory.
const KEPT_PRINTS: usize = 24;
/// Attestations kept as the JSON they are told in: a crash through all there is, some 600 bytes each.
const KEPT_SAID: usize = 4_096;

/// A bundle's announcements, and its attestations as they come true.
struct Sheet {
    events: Vec<Event>,
    announcements: Vec<String>,
    attestations: Vec<OnceLock<PackedAttestation>>,
}

/// A page as it is sent.
struct Print {
    bundle: Bundle,
    parts: Parts,
    /// How many of its events were attested. They only ever become more, so an equal number means the same ones.
    attested: usize,
    text: Bytes,
}

/// Attestations told before, the oldest first.
#[derive(Default)]
struct Told {
    by_event: HashMap<Event, Arc<str>>,
    order: VecDeque<Event>,
}

/// Signs what the window shows.
pub struct Press {
    keys: OracleKeys,
    window: Window,
    sheets: Mutex<VecDeque<(Bundle, Arc<Sheet>)>>,
    prints: Mutex<VecDeque<Print>>,
    said: Mutex<Told>,
    // One sheet is made at a time: a stranger who asks for many must not take every core.
    making: Semaphore,
}

impl Press {
    /// A press for one key and one desk.
    pub fn new(keys: OracleKeys, window: Window) -> Press {
        Press {
            keys,
            window,
            sheets: Mutex::default(),
            prints: Mutex::default(),
            said: Mutex::default(),
            making: Semaphore::new(1),
        }
    }

    /// The oracle's keys.
    pub fn keys(&self) -> &OracleKeys {
        &self.keys
    }

    /// What may be served now.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The announcement of an event.
    ///
    /// # Errors
    /// When the event matures after 2106.
    pub fn announcement(&self, event: Event) -> Result<ProvenAnnouncement, AnnounceError> {
        self.keys.announcement(event)
    }

    /// The attestation of an event, `None` while it has no outcome.
    ///
    /// # Errors
    /// When the event cannot be signed.
    pub fn attestation(&self, event: Event) -> Result<Option<OracleAttestation>, AnnounceError> {
        let outcome = self.window.look().ledger.outcome(event);
        outcome.map(|outcome| self.keys.attest(event, outcome)).transpose()
    }

    /// The attestation of an event as the JSON it is told in, signed once for all who follow.
    ///
    /// # Errors
    /// When the event cannot be signed.
    pub fn attested(&self, event: Event) -> anyhow::Result<Option<Arc<str>>> {
        let told = || self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = told().by_event.get(&event) {
            return Ok(Some(Arc::clone(text)));
        }
        let Some(attestation) = self.attestation(event)? else { return Ok(None) };
        let text: Arc<str> = serde_json::to_string(&attestation)?.into();
        let mut told = told();
        if told.by_event.insert(event, Arc::clone(&text)).is_none() {
            told.order.push_back(event);
        }
        while told.order.len() > KEPT_SAID {
            if let Some(oldest) = told.order.pop_front() {
                told.by_event.remove(&oldest);
            }
        }
        Ok(Some(text))
    }

    /// Signs ahead whatever becomes true, so that those who follow need not wait; calls `counted` with each event.
    /// Ends when the desk does.
    pub async fn work_ahead(self: Arc<Self>, counted: impl Fn(Event)) {
        let mut news = self.window.follow();
        let mut next = *news.borrow_and_update();
        while news.wait_for(|said| *said > next).await.is_ok() {
            next = next.max(self.window.look().ledger.oldest());
            let Some(said) = self.window.look().ledger.entry(next) else { continue };
            next = next.saturating_add(1);
            let fixing = match said.record {
                Record::Fixing { at, .. } => Some(Event::Fixing { at }),
                Record::Low { .. } | Record::Frozen { .. } => None,
            };
            for event in fixing.into_iter().chain(said.touches()) {
                match self.attested(event) {
                    Ok(_) => counted(event),
                    Err(error) => tracing::error!("{event} cannot be signed: {error:#}"),
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// A bundle's page as it is sent: what is wanted of it, as one line of JSON.
    ///
    /// # Errors
    /// When an event matures after 2106, or the work was cut off by a shutdown.
    pub async fn page(self: &Arc<Self>, bundle: Bundle, parts: Parts) -> anyhow::Result<Bytes> {
        let sheet = self.sheet(bundle).await?;
        let press = Arc::clone(self);
        tokio::task::spawn_blocking(move || press.print(bundle, parts, &sheet)).await?
    }

    fn print(&self, bundle: Bundle, parts: Parts, sheet: &Sheet) -> anyhow::Result<Bytes> {
        let attestations = if parts == Parts::Announcements { Vec::new() } else { self.attestations(sheet)? };
        let attested = attestations.len();
        let prints = || self.prints.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |print: &Print| (print.bundle, print.parts) == (bundle, parts);
        if let Some(print) = prints().iter().find(|print| same(print) && print.attested == attested) {
            return Ok(print.text.clone());
        }
        let announcements = if parts == Parts::Attestations { Vec::new() } else { sheet.announcements.clone() };
        let mut text = serde_json::to_vec(&BundlePage { announcements, attestations })?;
        text.push(b'\n');
        let text = Bytes::from(text);
        let mut prints = prints();
        prints.retain(|print| !same(print));
        prints.push_back(Print { bundle, parts, attested, text: text.clone() });
        if prints.len() > KEPT_PRINTS {
            prints.pop_front();
        }
        Ok(text)
    }

    fn attestations(&self, sheet: &Sheet) -> Result<Vec<PackedAttestation>, AnnounceError> {
        let mut said = Vec::new();
        for (index, (event, kept)) in (0u32..).zip(sheet.events.iter().zip(&sheet.attestations)) {
            if let Some(packed) = kept.get() {
                said.push(packed.clone());
            } else if let Some(attestation) = self.attestation(*event)? {
                said.push(kept.get_or_init(|| pack_attestation(index, &attestation)).clone());
            }
        }
        Ok(said)
    }

    async fn sheet(self: &Arc<Self>, bundle: Bundle) -> anyhow::Result<Arc<Sheet>> {
        if let Some(sheet) = self.kept(bundle) {
            return Ok(sheet);
        }
        let _turn = self.making.acquire().await?;
        if let Some(sheet) = self.kept(bundle) {
            return Ok(sheet);
        }
        let press = Arc::clone(self);
        let sheet = Arc::new(tokio::task::spawn_blocking(move || press.make(bundle)).await??);
        let mut sheets = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
        sheets.push_back((bundle, Arc::clone(&sheet)));
        while sheets.len() > KEPT {
            sheets.pop_front();
        }
        Ok(sheet)
    }

    /// A sheet made before; it moves to the end of the queue of those to be forgotten.
    fn kept(&self, bundle: Bundle) -> Option<Arc<Sheet>> {
        let mut sheets = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
        let place = sheets.iter().position(|(one, _)| *one == bundle)?;
        let entry = sheets.remove(place)?;
        let sheet = Arc::clone(&entry.1);
        sheets.push_back(entry);
        Some(sheet)
    }

    fn make(&self, bundle: Bundle) -> Result<Sheet, AnnounceError> {
        let events = bundle.events();
        let pack = |event: &Event| Ok(pack_announcement(&self.announcement(*event)?));
        let announcements = events.iter().map(pack).collect::<Result<_, _>>()?;
        let attestations = events.iter().map(|_| OnceLock::new()).collect();
        Ok(Sheet { events, announcements, attestations })
    }
}
