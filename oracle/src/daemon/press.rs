//! The press: announcements, attestations and bundles, made on demand and kept a while.
//!
//! What it makes is deterministic, so a lost or doubled page is only lost time. It attests nothing but outcomes that the
//! ledger holds.

use super::desk::Window;
use crate::announce::{AnnounceError, OracleKeys, ProvenAnnouncement};
use crate::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage, PackedAttestation};
use crate::event::Event;
use dlc_messages::oracle_msgs::OracleAttestation;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// Sheets kept: some 700 kB each for a month of a band.
const KEPT: usize = 48;

/// A bundle's announcements, and its attestations as they come true.
struct Sheet {
    events: Vec<Event>,
    announcements: Vec<String>,
    attestations: Vec<OnceLock<PackedAttestation>>,
}

/// Signs what the window shows.
pub struct Press {
    keys: Arc<OracleKeys>,
    window: Window,
    sheets: Mutex<VecDeque<(Bundle, Arc<Sheet>)>>,
    // One sheet is made at a time: a stranger who asks for many must not take every core.
    making: Semaphore,
}

impl Press {
    /// A press for one key and one desk.
    pub fn new(keys: Arc<OracleKeys>, window: Window) -> Press {
        Press { keys, window, sheets: Mutex::new(VecDeque::new()), making: Semaphore::new(1) }
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

    /// A bundle's page: announcements unless only attestations are asked for, and the attestations so far.
    ///
    /// # Errors
    /// When an event matures after 2106, or the work was cut off by a shutdown.
    pub async fn page(self: &Arc<Self>, bundle: Bundle, announcements: bool) -> anyhow::Result<BundlePage> {
        let sheet = self.sheet(bundle).await?;
        let press = Arc::clone(self);
        let page = tokio::task::spawn_blocking(move || {
            let attestations = press.attestations(&sheet)?;
            let announcements = if announcements { sheet.announcements.clone() } else { Vec::new() };
            anyhow::Ok(BundlePage { announcements, attestations })
        });
        page.await?
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
