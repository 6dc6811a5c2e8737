//! The press: announcements, attestations and bundles, made on demand and kept a while.
//!
//! What it makes is deterministic, so a lost or doubled page is only lost time. It attests nothing but outcomes that the
//! ledger, or the book of payments, holds.

use super::desk::Window;
use super::ledger::Record;
use super::payments::Payments;
use super::signer::{Keys, Say};
use crate::announce::{AnnounceError, ProvenAnnouncement};
use crate::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage, PackedAttestation, Parts};
use crate::event::Event;
use crate::relay::note::Note;
use crate::units::{Cents, Day, Time, HOUR};
use crate::wire::{SignedLows, SignedPrice};
use dlc_messages::oracle_msgs::OracleAttestation;
use hyper::body::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Sheets with announcements kept: some 700 kB each for a month of a band.
const KEPT: usize = 48;
/// Sheets of which only attestations were asked for: some 200 kB each for a month of a band.
const KEPT_BARE: usize = 64;
/// Printed pages kept, at most 850 kB each: all who are being sent one share it, so slow readers cost no memory.
const KEPT_PRINTS: usize = 24;
/// Attestations kept as the JSON they are told in: a crash through all there is, some 600 bytes each.
const KEPT_SAID: usize = 4_096;
/// Days whose signed lows are kept, some 300 bytes each.
const KEPT_LOWS: usize = 512;
/// Events signed ahead in one request.
const TURN: usize = 512;
/// When a signer that is away is asked again. Real time.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a day's lows are looked at again when the signer has meanwhile been told newer ones.
const LOOKS: usize = 5;

/// A bundle's announcements, made when they are first asked for, and its attestations as they come true.
struct Sheet {
    events: Vec<Event>,
    announcements: OnceLock<Vec<String>>,
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

/// Signs what the window shows. Signing may wait for the signer: call it where blocking is allowed.
pub struct Press {
    keys: Arc<Keys>,
    window: Window,
    payments: Option<Payments>,
    sheets: Mutex<VecDeque<(Bundle, Arc<Sheet>)>>,
    prints: Mutex<VecDeque<Print>>,
    said: Mutex<Told>,
    lows: Mutex<BTreeMap<Day, SignedLows>>,
    price: Mutex<Option<SignedPrice>>,
    // One sheet is made at a time: a stranger who asks for many must not take every core.
    making: Semaphore,
}

impl Press {
    /// A press for one key and one desk.
    pub fn new(keys: Arc<Keys>, window: Window) -> Press {
        Press {
            keys,
            window,
            payments: None,
            sheets: Mutex::default(),
            prints: Mutex::default(),
            said: Mutex::default(),
            lows: Mutex::default(),
            price: Mutex::default(),
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
        let told = self.told().by_event.get(&event).cloned();
        if let Some(attestation) = told.and_then(|text| serde_json::from_str(&text).ok()) {
            return Ok(Some(attestation));
        }
        let Some(say) = self.grounds(event) else { return Ok(None) };
        let made = self.keys.attest(&[say])?.pop();
        if let Some(text) = made.as_ref().and_then(|made| serde_json::to_string(made).ok()) {
            self.tell(event, text.into());
        }
        Ok(made)
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
        let kept = || self.price.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = kept().filter(|price| (price.unix, price.cents) == (unix, cents)) {
            return Ok(same);
        }
        let signature = self.keys.state(&SignedPrice::statement(unix, cents))?;
        Ok(*kept().insert(SignedPrice { unix, cents, signature }))
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
            // Signed before, and still all that there is to say: it needs no signer.
            let kept = self.kept_lows().get(&day).filter(|kept| kept.lows == lows).cloned();
            if let Some(kept) = kept.filter(|kept| kept.frozen_until == frozen_until || kept.is_closed()) {
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
            events.iter().map(|event| told.by_event.get(event).cloned()).collect()
        };
        let missing = events.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(event, _)| *event);
        let (asked, say): (Vec<Event>, Vec<Say>) =
            missing.filter_map(|event| Some((event, self.grounds(event)?))).unzip();
        let mut fresh = HashMap::new();
        for (event, attestation) in asked.into_iter().zip(self.keys.attest(&say)?) {
            fresh.insert(event, Arc::<str>::from(serde_json::to_string(&attestation)?));
        }
        fresh.iter().for_each(|(event, text)| self.tell(*event, Arc::clone(text)));
        let found = events.iter().zip(kept);
        Ok(found.filter_map(|(event, kept)| Some((*event, kept.or_else(|| fresh.get(event).cloned())?))).collect())
    }

    /// Keeps what is told from now on, whether or not there is a signer.
    fn tell(&self, event: Event, text: Arc<str>) {
        let mut told = self.told();
        if told.by_event.insert(event, text).is_none() {
            told.order.push_back(event);
        }
        while told.order.len() > KEPT_SAID {
            if let Some(oldest) = told.order.pop_front() {
                told.by_event.remove(&oldest);
            }
        }
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
            let error = done.as_ref().err().and_then(|error| error.downcast_ref::<AnnounceError>());
            match error {
                Some(AnnounceError::Signer { away: true, .. }) => tokio::time::sleep(AGAIN).await,
                _ => return Some(done),
            }
        }
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

    /// A bundle's page as it is sent: what is wanted of it, as one line of JSON.
    ///
    /// # Errors
    /// When an event matures after 2106, or the work was cut off by a shutdown.
    pub async fn page(self: &Arc<Self>, bundle: Bundle, parts: Parts) -> anyhow::Result<Bytes> {
        let sheet = self.sheet(bundle, parts != Parts::Attestations).await?;
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
        let announcements = match parts {
            Parts::Attestations => Vec::new(),
            Parts::Both | Parts::Announcements => sheet.announcements.get().cloned().unwrap_or_default(),
        };
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

    /// A bundle's sheet, with its announcements if they are wanted.
    async fn sheet(self: &Arc<Self>, bundle: Bundle, announced: bool) -> anyhow::Result<Arc<Sheet>> {
        let sheet = self.kept(bundle);
        if announced && sheet.announcements.get().is_none() {
            let _turn = self.making.acquire().await?;
            if sheet.announcements.get().is_none() {
                let (press, sheet) = (Arc::clone(self), Arc::clone(&sheet));
                tokio::task::spawn_blocking(move || press.announce(&sheet)).await??;
            }
        }
        Ok(sheet)
    }

    /// The sheet of a bundle, made before or begun; it moves to the end of the queue of those to be forgotten.
    fn kept(&self, bundle: Bundle) -> Arc<Sheet> {
        let mut sheets = self.sheets.lock().unwrap_or_else(PoisonError::into_inner);
        let place = sheets.iter().position(|(one, _)| *one == bundle);
        let sheet = match place.and_then(|place| sheets.remove(place)) {
            Some((_, sheet)) => sheet,
            None => Arc::new(Sheet::blank(bundle)),
        };
        if matches!(bundle, Bundle::Payment { .. }) {
            // Asked for once or twice in its life: it must not push a month of a band out.
            return sheet;
        }
        sheets.push_back((bundle, Arc::clone(&sheet)));
        for (is_bare, most) in [(true, KEPT_BARE), (false, KEPT)] {
            let alike = |(_, sheet): &(Bundle, Arc<Sheet>)| sheet.announcements.get().is_none() == is_bare;
            if sheets.iter().filter(|one| alike(one)).count() > most {
                if let Some(oldest) = sheets.iter().position(alike) {
                    sheets.remove(oldest);
                }
            }
        }
        sheet
    }

    fn announce(&self, sheet: &Sheet) -> Result<(), AnnounceError> {
        let made = self.announcements(&sheet.events)?;
        sheet.announcements.get_or_init(|| made.iter().map(pack_announcement).collect());
        Ok(())
    }
}

impl Sheet {
    fn blank(bundle: Bundle) -> Sheet {
        let events = bundle.events();
        let attestations = events.iter().map(|_| OnceLock::new()).collect();
        Sheet { events, announcements: OnceLock::new(), attestations }
    }
}
