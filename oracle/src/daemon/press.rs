//! The press: announcements, attestations and bundles, made on demand and kept a while.
//!
//! What it makes is deterministic, so a lost or doubled page is only lost time. It attests nothing but outcomes that the
//! ledger, or the book of payments, holds. Pages, and what was said long ago, are made in a lane of their own behind
//! everything else; what must not wait is signed by whoever asks for it.

mod attested;
mod lane;
mod pages;
mod told;

pub use pages::{Page, Work};

use super::desk::Window;
use super::ledger::Record;
use super::payments::Payments;
use super::signer::{Keys, Say};
use crate::announce::{AnnounceError, ProvenAnnouncement};
use crate::event::Event;
use crate::relay::note::Note;
use crate::units::{Cents, Day, Time, HOUR};
use crate::wire::{SignedLows, SignedPrice};
use attested::Attested;
use dlc_messages::oracle_msgs::OracleAttestation;
use lane::Lane;
use pages::Printed;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use told::Told;

/// Days whose signed lows are kept, some 300 bytes each.
const KEPT_LOWS: usize = 512;
/// Events signed ahead in one request.
const TURN: usize = 512;
/// When a signer that is away is asked again. Real time.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a day's lows are looked at again when the signer has meanwhile been told newer ones.
const LOOKS: usize = 5;

/// Signs what the window shows. Signing may wait for the signer: call it where blocking is allowed.
pub struct Press {
    keys: Arc<Keys>,
    window: Window,
    payments: Option<Payments>,
    printed: Mutex<Printed>,
    attested: Mutex<Attested>,
    said: Mutex<Told>,
    lows: Mutex<BTreeMap<Day, SignedLows>>,
    price: Mutex<Option<SignedPrice>>,
    lane: Lane,
}

impl Press {
    /// A press for one key and one desk.
    pub fn new(keys: Arc<Keys>, window: Window) -> Press {
        Press {
            keys,
            window,
            payments: None,
            printed: Mutex::default(),
            attested: Mutex::default(),
            said: Mutex::default(),
            lows: Mutex::default(),
            price: Mutex::default(),
            lane: Lane::open(),
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
        made.pop().ok_or_else(|| AnnounceError::Signer { why: "it made nothing".into(), away: false })
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
        // Told before: it needs no signer.
        if let Some(attestation) = self.told_before(event).and_then(|text| serde_json::from_str(&text).ok()) {
            return Ok(Some(attestation));
        }
        let Some(say) = self.grounds(event) else { return Ok(None) };
        let made = self.keys.attest(&[say])?.pop();
        if let Some(text) = made.as_ref().and_then(|made| serde_json::to_string(made).ok()) {
            self.told().keep(event, text.into());
        }
        Ok(made)
    }

    /// How an event's attestation was told before, if it was lately.
    pub fn told_before(&self, event: Event) -> Option<Arc<str>> {
        self.told().of(event)
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
        if let Some(same) = self.price_before(unix, cents) {
            return Ok(same);
        }
        let signature = self.keys.state(&SignedPrice::statement(unix, cents))?;
        let mut kept = self.price.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(*kept.insert(SignedPrice { unix, cents, signature }))
    }

    /// The same price if it was the last that was signed: nothing of it waits for anybody.
    pub fn price_before(&self, unix: Time, cents: Cents) -> Option<SignedPrice> {
        let kept = *self.price.lock().unwrap_or_else(PoisonError::into_inner);
        kept.filter(|price| (price.unix, price.cents) == (unix, cents))
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
            if let Some(kept) = self.lows_before(day, frozen_until, &lows) {
                return Ok(kept);
            }
            match self.keys.state(&SignedLows::statement(day, frozen_until, &lows)) {
                Ok(signature) => {
                    let signed = SignedLows { day, frozen_until, lows, signature };
                    self.keep_lows(&signed);
                    return Ok(signed);
                }
                // Another request overtook this one with a newer view: look again.
                Err(refusal) if refusal.outdated && looks < LOOKS => looks += 1,
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    /// A day's lows if they were signed before and are still all that there is to say: they need no signer.
    pub fn lows_signed(&self, day: Day) -> Option<SignedLows> {
        let (frozen_until, lows) = {
            let shown = self.window.look();
            (shown.ledger.frozen_until(), shown.ledger.lows(day))
        };
        self.lows_before(day, frozen_until, &lows)
    }

    fn lows_before(&self, day: Day, frozen_until: Time, lows: &[Option<Cents>; 24]) -> Option<SignedLows> {
        let kept = self.kept_lows().get(&day).filter(|kept| kept.lows == *lows).cloned();
        kept.filter(|kept| kept.frozen_until == frozen_until || kept.is_closed())
    }

    fn kept_lows(&self) -> MutexGuard<'_, BTreeMap<Day, SignedLows>> {
        self.lows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_lows(&self, signed: &SignedLows) {
        let mut kept = self.kept_lows();
        if kept.get(&signed.day).is_none_or(|older| older.frozen_until <= signed.frozen_until) {
            kept.insert(signed.day, signed.clone());
        }
        if kept.len() > KEPT_LOWS {
            kept.pop_first();
        }
    }

    /// The attestations of events as the JSON they are told in, those that have an outcome; signed once for all who
    /// follow, in one round trip to the signer.
    ///
    /// # Errors
    /// When one cannot be signed.
    pub fn attested(&self, events: &[Event]) -> anyhow::Result<Vec<(Event, Arc<str>)>> {
        let kept: Vec<Option<Arc<str>>> = {
            let told = self.told();
            events.iter().map(|event| told.of(*event)).collect()
        };
        let missing = events.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(event, _)| *event);
        let (asked, say): (Vec<Event>, Vec<Say>) =
            missing.filter_map(|event| Some((event, self.grounds(event)?))).unzip();
        let mut fresh = HashMap::new();
        for (event, attestation) in asked.into_iter().zip(self.keys.attest(&say)?) {
            fresh.insert(event, Arc::<str>::from(serde_json::to_string(&attestation)?));
        }
        fresh.iter().for_each(|(event, text)| self.told().keep(*event, Arc::clone(text)));
        let found = events.iter().zip(kept);
        Ok(found.filter_map(|(event, kept)| Some((*event, kept.or_else(|| fresh.get(event).cloned())?))).collect())
    }

    /// Notes for relays: of the announcements of `announce`, then of the attestations of those events of `attest` that have
    /// an outcome. The same for ever.
    ///
    /// # Errors
    /// When one cannot be signed, or is about a payment.
    pub fn notes(&self, announce: &[Event], attest: &[Event]) -> Result<Vec<Note>, AnnounceError> {
        let say: Vec<Say> = attest.iter().filter_map(|event| self.grounds(*event)).collect();
        self.keys.notes(announce, &say)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Press::attested`]; waits for a signer that is away. `None` at a shutdown.
    pub async fn attested_in_time(
        self: Arc<Self>,
        events: Vec<Event>,
    ) -> Option<anyhow::Result<Vec<(Event, Arc<str>)>>> {
        loop {
            let (press, asked) = (Arc::clone(&self), events.clone());
            let done = tokio::task::spawn_blocking(move || press.attested(&asked)).await.ok()?;
            match is_away(&done) {
                true => tokio::time::sleep(AGAIN).await,
                false => return Some(done),
            }
        }
    }

    /// The same in the lane of pages: for what was said long ago.
    pub async fn attested_behind(
        self: Arc<Self>,
        events: Vec<Event>,
    ) -> Option<anyhow::Result<Vec<(Event, Arc<str>)>>> {
        loop {
            let asked = events.clone();
            let done = self.behind(move |press| press.attested(&asked)).await.ok()?;
            match is_away(&done) {
                true => tokio::time::sleep(AGAIN).await,
                false => return Some(done),
            }
        }
    }

    /// Does this in the lane of pages, behind everything that must not wait.
    ///
    /// # Errors
    /// When the lane is gone, or the work broke off.
    pub async fn behind<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Press) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let press = Arc::clone(self);
        self.lane.run(move || work(&press)).await
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
            let events: Vec<Event> = fixing.into_iter().chain(said.touches()).collect();
            // A gap through the whole ladder is a few thousand events: each turn holds what one frame can.
            for turn in events.chunks(TURN) {
                let first = turn.first().copied();
                match Arc::clone(&self).attested_in_time(turn.to_vec()).await {
                    Some(Ok(signed)) => signed.into_iter().for_each(|(event, _)| counted(event)),
                    Some(Err(error)) => {
                        let first = first.map(|event| event.to_string()).unwrap_or_default();
                        tracing::error!("{first} and what follows cannot be signed: {error:#}");
                    }
                    None => return,
                }
            }
        }
    }
}

/// Was there no signer to ask?
fn is_away<T>(done: &anyhow::Result<T>) -> bool {
    let error = done.as_ref().err().and_then(|error| error.downcast_ref::<AnnounceError>());
    matches!(error, Some(AnnounceError::Signer { away: true, .. }))
}
