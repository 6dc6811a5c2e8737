//! The press: announcements, attestations and bundles, made on demand and kept a while.
//!
//! What it makes is deterministic, so a lost or doubled page is only lost time. It attests nothing but outcomes that the
//! ledger, or the book of payments, holds.

use super::desk::Window;
use super::payments::Payments;
use super::signer::{Keys, Say};
use crate::announce::{AnnounceError, ProvenAnnouncement};
use crate::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage, PackedAttestation};
use crate::event::Event;
use crate::units::{Cents, Day, Time, HOUR};
use crate::wire::{SignedLows, SignedPrice};
use dlc_messages::oracle_msgs::OracleAttestation;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::Semaphore;

/// Sheets kept: some 700 kB each for a month of a band.
const KEPT: usize = 48;
/// How often a day's lows are looked at again when the signer has meanwhile been told newer ones.
const LOOKS: usize = 5;

/// A bundle's announcements, and its attestations as they come true.
struct Sheet {
    events: Vec<Event>,
    announcements: Vec<String>,
    attestations: Vec<OnceLock<PackedAttestation>>,
}

/// Signs what the window shows. Signing may wait for the signer: call it where blocking is allowed.
pub struct Press {
    keys: Keys,
    window: Window,
    payments: Option<Payments>,
    sheets: Mutex<VecDeque<(Bundle, Arc<Sheet>)>>,
    // One sheet is made at a time: a stranger who asks for many must not take every core.
    making: Semaphore,
}

impl Press {
    /// A press for one key and one desk.
    pub fn new(keys: impl Into<Keys>, window: Window) -> Press {
        Press {
            keys: keys.into(),
            window,
            payments: None,
            sheets: Mutex::new(VecDeque::new()),
            making: Semaphore::new(1),
        }
    }

    /// The same, for payments too.
    pub fn with_payments(self, payments: Payments) -> Press {
        Press { payments: Some(payments), ..self }
    }

    /// The oracle's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What may be served now.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The announcement of an event.
    ///
    /// # Errors
    /// When the event matures after 2106, is a payment that nobody made here, or the signer is away.
    pub fn announcement(&self, event: Event) -> Result<ProvenAnnouncement, AnnounceError> {
        let mut made = self.announcements(&[event])?;
        made.pop().ok_or_else(|| AnnounceError::Signer { why: "it made nothing".into() })
    }

    /// The announcements of events, in order: one round trip to the signer.
    ///
    /// # Errors
    /// As [`Press::announcement`].
    pub fn announcements(&self, events: &[Event]) -> Result<Vec<ProvenAnnouncement>, AnnounceError> {
        let made_here = |event: &Event| match event {
            Event::Payment { .. } => self.payments.as_ref().is_some_and(|payments| payments.is_made(*event)),
            Event::Fixing { .. } | Event::Touch { .. } => true,
        };
        if let Some(event) = events.iter().copied().find(|event| !made_here(event)) {
            return Err(AnnounceError::NoPayment { event });
        }
        self.keys.announcements(events)
    }

    /// The attestation of an event, `None` while it has no outcome.
    ///
    /// # Errors
    /// When the event cannot be signed.
    pub fn attestation(&self, event: Event) -> Result<Option<OracleAttestation>, AnnounceError> {
        let Some(say) = self.grounds(event) else { return Ok(None) };
        Ok(self.keys.attest(&[say])?.pop())
    }

    /// What is to be said of an event and why it is true; `None` while nothing is. All of it is durable.
    fn grounds(&self, event: Event) -> Option<Say> {
        match event {
            Event::Fixing { at } => {
                let cents = self.window.look().ledger.fixing(at)?;
                Some(Say::Fixing { at, cents })
            }
            Event::Touch { day, from_hour, .. } => {
                let lows = {
                    let shown = self.window.look();
                    // The ledger decides; the hour is for the signer to check.
                    shown.ledger.outcome(event)?;
                    shown.ledger.lows(day)
                };
                let hours = (0u32..).zip(lows).skip(usize::from(from_hour));
                let (low, number) = hours.filter_map(|(number, low)| Some((low?, number))).min()?;
                let hour = day.start()?.plus(number.checked_mul(HOUR)?)?;
                Some(Say::Touch { id: event.to_string(), hour, low })
            }
            Event::Payment { .. } => {
                let attested = self.payments.as_ref().is_some_and(|payments| payments.is_attested(event));
                attested.then(|| Say::Payment { id: event.to_string() })
            }
        }
    }

    /// A price, signed.
    ///
    /// # Errors
    /// When the signer refuses or is away.
    pub fn price(&self, unix: Time, cents: Cents) -> Result<SignedPrice, AnnounceError> {
        let signature = self.keys.state(&SignedPrice::statement(unix, cents))?;
        Ok(SignedPrice { unix, cents, signature })
    }

    /// A day's lows, signed.
    ///
    /// # Errors
    /// When the signer refuses or is away.
    pub fn lows(&self, day: Day) -> Result<SignedLows, AnnounceError> {
        let mut looks = 0;
        loop {
            let (frozen_until, lows) = {
                let shown = self.window.look();
                (shown.ledger.frozen_until(), shown.ledger.lows(day))
            };
            match self.keys.state(&SignedLows::statement(day, frozen_until, &lows)) {
                Ok(signature) => return Ok(SignedLows { day, frozen_until, lows, signature }),
                // Another request overtook this one with a newer view: look again.
                Err(refusal) if refusal.outdated && looks < LOOKS => looks += 1,
                Err(refusal) => return Err(refusal.into()),
            }
        }
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
        // First what is new, in one request; then all of it in order.
        let mut places = Vec::new();
        let mut say = Vec::new();
        for (index, (event, kept)) in (0u32..).zip(sheet.events.iter().zip(&sheet.attestations)) {
            if let (None, Some(grounds)) = (kept.get(), self.grounds(*event)) {
                places.push((index, kept));
                say.push(grounds);
            }
        }
        for ((index, kept), attestation) in places.into_iter().zip(self.keys.attest(&say)?) {
            kept.get_or_init(|| pack_attestation(index, &attestation));
        }
        Ok(sheet.attestations.iter().filter_map(|kept| kept.get().cloned()).collect())
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
        if matches!(bundle, Bundle::Payment { .. }) {
            // Asked for once or twice in its life: it must not push a month of a band out.
            return Ok(sheet);
        }
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
        let announcements = self.announcements(&events)?.iter().map(pack_announcement).collect();
        let attestations = events.iter().map(|_| OnceLock::new()).collect();
        Ok(Sheet { events, announcements, attestations })
    }
}
