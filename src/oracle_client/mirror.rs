//! One place that serves an oracle's words: the oracle itself, or a mirror of it.

use super::fetch::Fetcher;
use super::OracleError;
use crate::contract::{OracleAnnouncement, OracleAttestation};
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::announce::ProvenAnnouncement;
use hypothec_oracle::bundle::{Bundle, BundleError, BundlePage};
use hypothec_oracle::event::Event;
use hypothec_oracle::foreign::{clean, clean_to, WORD};
use hypothec_oracle::operator::{connected, Link, SameOperator};
use hypothec_oracle::rotation::{Rotation, Succession};
use hypothec_oracle::units::Day;
use hypothec_oracle::verify::{verify_announcement, verify_attestation, VerifyError};
use hypothec_oracle::wire::{BadSignature, Info, Pubkey, SignedLows, SignedPrice, Status};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest small answer, in bytes.
const SMALL: usize = 64 * 1024;
/// Longest page of a bundle, in bytes: 64 levels and 31 days with everything attested make about 850 kB.
const PAGE: usize = 2 * 1024 * 1024;
/// Pages of announcements kept, for they never change: a month of a band is about 650 kB.
const KEPT: usize = 24;
/// Days of final lows kept: about 300 bytes each.
const DAYS_KEPT: usize = 4_000;

/// Downloaded pages, the oldest first.
type Pages = VecDeque<(Bundle, Arc<BundlePage>)>;

/// Attestations downloaded in one look, a page each.
type LookPages = Arc<Mutex<BTreeMap<Bundle, Arc<BundlePage>>>>;

/// Asks one place. Lows that are final are asked for once.
#[derive(Clone, Debug)]
pub struct Mirror {
    fetcher: Fetcher,
    key: XOnlyPublicKey,
    pages: Arc<Mutex<Pages>>,
    closed: Arc<Mutex<BTreeMap<Day, SignedLows>>>,
    /// None outside a look: attestations grow, so nobody else keeps them.
    look: Option<LookPages>,
}

impl Mirror {
    /// The oracle with this key at this URL. Asks nothing yet.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn new(base_url: &str, key: XOnlyPublicKey) -> Result<Mirror, OracleError> {
        Ok(Mirror::of(Fetcher::new(base_url)?, key))
    }

    /// The oracle at this URL, whatever its key: for the first meeting, where a person looks at the key.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(base_url: &str) -> Result<Mirror, OracleError> {
        let fetcher = Fetcher::new(base_url)?;
        let Pubkey { pubkey: key } = fetcher.get("/pubkey", SMALL).await?;
        Ok(Mirror::of(fetcher, key))
    }

    fn of(fetcher: Fetcher, key: XOnlyPublicKey) -> Mirror {
        Mirror { fetcher, key, pages: Arc::default(), closed: Arc::default(), look: None }
    }

    /// The same place asked by the watch; what was downloaded is shared.
    pub fn for_watch(&self) -> Mirror {
        Mirror { fetcher: self.fetcher.for_watch(), ..self.clone() }
    }

    /// The same place for one look: each page of attestations is downloaded once, whatever the number of loans it settles.
    pub fn for_look(&self) -> Mirror {
        Mirror { look: Some(LookPages::default()), ..self.clone() }
    }

    /// Requests are no longer counted.
    pub fn without_budget(&self) {
        self.fetcher.without_budget();
    }

    /// The key everything is verified with.
    pub fn key(&self) -> XOnlyPublicKey {
        self.key
    }

    /// Where it is asked.
    pub fn url(&self) -> &str {
        self.fetcher.url()
    }

    /// Who the oracle says it is. Unsigned, but the key is compared.
    ///
    /// # Errors
    /// When it does not answer, or has another key.
    pub async fn info(&self) -> Result<Info, OracleError> {
        let mut info: Info = self.fetcher.get("/v1/info", SMALL).await?;
        for text in [&mut info.network, &mut info.version, &mut info.feed] {
            *text = clean_to(text, WORD);
        }
        if info.pubkey != self.key {
            let (found, right) = (info.pubkey.to_string(), self.key.to_string());
            return Err(OracleError::Key { url: self.url().to_string(), found, right });
        }
        Ok(info)
    }

    /// The hand-overs that lead from the pinned key to another, two contrary ones among them; empty while it serves none.
    ///
    /// # Errors
    /// When the answer cannot be had, or a statement in it cannot be believed.
    pub async fn rotations(&self) -> Result<Vec<Rotation>, OracleError> {
        let said = self.said("/v1/rotation").await?;
        let found = Succession::of(self.key, &said);
        let found = found.map_err(|source| OracleError::Rotation { url: self.url().to_string(), source })?;
        Ok(found.statements())
    }

    /// What joins the pinned key with others of its operator, each signed by both its keys: hand-overs to and from it, and
    /// its operator's statements.
    ///
    /// # Errors
    /// When an answer cannot be had, or something in it cannot be believed.
    pub async fn links(&self) -> Result<Vec<Link>, OracleError> {
        let handed: Vec<Rotation> = self.said("/v1/rotation").await?;
        let stated: Vec<SameOperator> = self.said("/v1/same-operator").await?;
        let all: Vec<Link> =
            handed.into_iter().map(Link::HandOver).chain(stated.into_iter().map(Link::Stated)).collect();
        connected(self.key, &all).map_err(|source| OracleError::Link { url: self.url().to_string(), source })
    }

    /// Statements that an oracle may have or not.
    async fn said<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, OracleError> {
        match self.fetcher.get(path, SMALL).await {
            Err(OracleError::Refused { status: 404, .. }) => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// How far the oracle has come on its clock. Unsigned: for people, and for the conductor of fast time.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<Status, OracleError> {
        let mut status: Status = self.fetcher.get("/v1/status", SMALL).await?;
        status.alarm = status.alarm.as_deref().map(clean);
        Ok(status)
    }

    /// The price now, its signature verified. Whether `unix` is recent enough is for the caller to say.
    ///
    /// # Errors
    /// When there is none (the oracle says why), or it is not the oracle's.
    pub async fn spot(&self) -> Result<SignedPrice, OracleError> {
        let price: SignedPrice = self.fetcher.get("/v1/price", SMALL).await?;
        price.verify(&self.key).map_err(|source| self.unsigned(source))?;
        Ok(price)
    }

    /// The hour lows of a day as far as they are known, their signature verified.
    ///
    /// # Errors
    /// When the oracle does not answer, or they are not the oracle's.
    pub async fn lows(&self, day: Day) -> Result<SignedLows, OracleError> {
        if let Some(lows) = self.closed().get(&day) {
            return Ok(lows.clone());
        }
        let lows: SignedLows = self.fetcher.get(&format!("/v1/lows/{day}"), SMALL).await?;
        if lows.day != day {
            let (asked, answered) = (format!("day {day}"), format!("day {}", lows.day));
            return Err(OracleError::Elsewhere { url: self.url().to_string(), asked, answered });
        }
        lows.verify(&self.key).map_err(|source| self.unsigned(source))?;
        if lows.is_closed() {
            let mut closed = self.closed();
            closed.insert(day, lows.clone());
            while closed.len() > DAYS_KEPT {
                closed.pop_first();
            }
        }
        Ok(lows)
    }

    fn closed(&self) -> MutexGuard<'_, BTreeMap<Day, SignedLows>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The announcement of any event, verified; its whole bundle is downloaded.
    ///
    /// # Errors
    /// When the bundle cannot be had, or the announcement is not what it must be.
    pub async fn announcement(&self, event: Event) -> Result<ProvenAnnouncement, OracleError> {
        let bundle = Bundle::of(event);
        if bundle.index(event).is_none() {
            return Err(self.unreadable(BundleError::Elsewhere { event, bundle }));
        }
        let page = self.page(bundle).await?;
        let proven = page.announcement(bundle, event, &self.key).map_err(|source| self.unreadable(source))?;
        verify_announcement(&proven, &self.key, event).map_err(|source| self.unverified(source))?;
        Ok(proven)
    }

    /// The attestation of an event whose verified announcement the caller holds; `None` while there is none.
    /// Downloads the attestations of the whole bundle, and no announcements.
    ///
    /// # Errors
    /// When an answer cannot be had or believed.
    pub async fn attestation(
        &self,
        event: Event,
        announcement: &OracleAnnouncement,
    ) -> Result<Option<OracleAttestation>, OracleError> {
        let bundle = Bundle::of(event);
        let page = self.attestations_of(bundle).await?;
        let found = page.attestation(bundle, event, announcement).map_err(|source| self.unreadable(source))?;
        if let Some(attestation) = &found {
            verify_attestation(attestation, announcement).map_err(|source| self.unverified(source))?;
        }
        Ok(found)
    }

    /// A bundle's attestations from the oracle, or in a look from what that look has downloaded.
    async fn attestations_of(&self, bundle: Bundle) -> Result<Arc<BundlePage>, OracleError> {
        let kept = |look: &LookPages| look.lock().unwrap_or_else(PoisonError::into_inner).get(&bundle).cloned();
        if let Some(page) = self.look.as_ref().and_then(kept) {
            return Ok(page);
        }
        let page = self.fetcher.get::<BundlePage>(&format!("{bundle}?only=attestations"), PAGE).await?;
        let page = Arc::new(page);
        if let Some(look) = &self.look {
            look.lock().unwrap_or_else(PoisonError::into_inner).insert(bundle, Arc::clone(&page));
        }
        Ok(page)
    }

    /// A bundle's announcements, from what was downloaded before or from the oracle.
    async fn page(&self, bundle: Bundle) -> Result<Arc<BundlePage>, OracleError> {
        if let Some(page) = self.kept(bundle) {
            return Ok(page);
        }
        let mut page: BundlePage = self.fetcher.get(&bundle.to_string(), PAGE).await?;
        // Attestations grow; only what never changes is kept.
        page.attestations = Vec::new();
        let page = Arc::new(page);
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|(one, _)| *one != bundle);
        pages.push_back((bundle, Arc::clone(&page)));
        while pages.len() > KEPT {
            pages.pop_front();
        }
        Ok(page)
    }

    fn kept(&self, bundle: Bundle) -> Option<Arc<BundlePage>> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.iter().find(|(one, _)| *one == bundle).map(|(_, page)| Arc::clone(page))
    }

    fn unsigned(&self, source: BadSignature) -> OracleError {
        OracleError::Signature { url: self.url().to_string(), source }
    }

    /// As [`Mirror::unverified`]: a page cut short once must not stand in the way for ever.
    fn unreadable(&self, source: BundleError) -> OracleError {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).clear();
        OracleError::Bundle { url: self.url().to_string(), source }
    }

    /// A page that does not verify may have been spoilt on its way: forget what was kept, so that asking again helps.
    fn unverified(&self, source: VerifyError) -> OracleError {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).clear();
        OracleError::Verify { url: self.url().to_string(), source }
    }
}
