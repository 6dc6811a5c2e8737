//! One oracle, as a node knows it: a pinned key, and the places that serve its words.
//!
//! Every place is asked at once and everything is verified against the one key, so which place answered does not
//! matter. Places are HTTP servers and Nostr relays; relays have announcements and attestations only. A place that serves
//! what the key did not sign, or what cannot be read, is dropped and named: a relay for good, another for a while; the last that speaks HTTP never is. Two answers that are both signed and cannot both be true are the oracle's own contradiction, and an error.

mod asking;
mod lows;

use super::mirror::Mirror;
use super::relay::Relay;
use super::OracleError;
use crate::contract::{OracleAnnouncement, OracleAttestation};
use asking::{Benches, Dropped};
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::announce::ProvenAnnouncement;
use hypothec_oracle::equivocation::Proof;
use hypothec_oracle::event::Event;
use hypothec_oracle::ladder::Level;
use hypothec_oracle::operator::{connected, Link};
use hypothec_oracle::rotation::{Rotation, Succession};
use hypothec_oracle::units::{Day, Time};
use hypothec_oracle::wire::{Info, SignedLows, SignedPrice, Status, Unheard};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most places of one oracle, relays included.
pub const MIRRORS_MAX: usize = 8;
/// Asks one oracle wherever it is served. Clones share what they have downloaded and whom they have dropped.
#[derive(Clone, Debug)]
pub struct OracleClient {
    key: XOnlyPublicKey,
    mirrors: Vec<Arc<Mirror>>,
    /// Counted after the mirrors where a place has an index.
    relays: Vec<Arc<Relay>>,
    /// Places that served something else, and what was wrong, by their index.
    dropped: Dropped,
    /// The first proof made of what the places served.
    caught: Arc<Mutex<Option<Proof>>>,
    /// The lows last told of each of the newest days.
    told: Arc<Mutex<BTreeMap<Day, SignedLows>>>,
    benches: Benches,
}

impl OracleClient {
    /// The oracle with this key at this URL. Asks nothing yet.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn new(base_url: &str, key: XOnlyPublicKey) -> Result<OracleClient, OracleError> {
        OracleClient::with_mirrors(&[base_url.to_owned()], key)
    }

    /// The oracle with this key, served at each of these URLs. Asks nothing yet.
    ///
    /// # Errors
    /// When one is not a URL or stands there twice, or they are none or too many.
    pub fn with_mirrors(urls: &[String], key: XOnlyPublicKey) -> Result<OracleClient, OracleError> {
        let (mut mirrors, mut relays): (Vec<Arc<Mirror>>, Vec<Arc<Relay>>) = (Vec::new(), Vec::new());
        for url in urls {
            let twice = || OracleError::Url { url: url.clone(), reason: "it is named twice".into() };
            if url.starts_with("ws://") || url.starts_with("wss://") {
                let relay = Relay::new(url, key)?;
                if relays.iter().any(|known| known.url() == relay.url()) {
                    return Err(twice());
                }
                relays.push(Arc::new(relay));
                continue;
            }
            let mirror = Mirror::new(url, key)?;
            if mirrors.iter().any(|known| known.url() == mirror.url()) {
                return Err(twice());
            }
            mirrors.push(Arc::new(mirror));
        }
        let refuse = |reason: String| Err(OracleError::Url { url: urls.join(", "), reason });
        if mirrors.is_empty() && !relays.is_empty() {
            return refuse("relays have no prices, so one place at least must speak HTTP".into());
        }
        if urls.is_empty() || urls.len() > MIRRORS_MAX {
            return refuse(format!("{} are named, and 1 to {MIRRORS_MAX} may be", urls.len()));
        }
        let (dropped, caught, told) = (Dropped::default(), Arc::default(), Arc::default());
        Ok(OracleClient { key, mirrors, relays, dropped, caught, told, benches: Benches::default() })
    }

    /// The oracle at this URL, whatever its key: for the first meeting, where a person looks at the key.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(base_url: &str) -> Result<OracleClient, OracleError> {
        let mirror = Mirror::connect(base_url).await?;
        let (dropped, caught, told) = (Dropped::default(), Arc::default(), Arc::default());
        let (key, mirrors) = (mirror.key(), vec![Arc::new(mirror)]);
        Ok(OracleClient { key, mirrors, relays: Vec::new(), dropped, caught, told, benches: Benches::default() })
    }

    /// The same oracle asked by the watch of open loans: over connections of its own, and from a budget that nothing else
    /// can use up. Whom it finds slow is its own finding; everything else is shared.
    pub fn for_watch(&self) -> OracleClient {
        let mirrors = self.mirrors.iter().map(|mirror| Arc::new(mirror.for_watch())).collect();
        OracleClient { mirrors, benches: Benches::default(), ..self.clone() }
    }

    /// The same client for one look at all loans this oracle settles: a page of attestations is downloaded once in it. What
    /// the oracle signs meanwhile is seen by the next look.
    pub fn for_look(&self) -> OracleClient {
        let mirrors = self.mirrors.iter().map(|mirror| Arc::new(mirror.for_look())).collect();
        OracleClient { mirrors, ..self.clone() }
    }

    /// Requests are no longer counted: for fast time, where minutes pass in a moment and oracles do not count either.
    pub fn without_budget(self) -> OracleClient {
        self.mirrors.iter().for_each(|mirror| mirror.without_budget());
        self
    }

    /// The key everything is verified with.
    pub fn key(&self) -> XOnlyPublicKey {
        self.key
    }

    /// That its lows do not tell of these hours, though they should.
    pub fn unheard(&self, unheard: Unheard) -> OracleError {
        OracleError::Unheard { url: self.url().to_owned(), unheard }
    }

    /// Where it is asked first.
    pub fn url(&self) -> &str {
        self.mirrors.first().map_or("", |mirror| mirror.url())
    }

    /// Everywhere it is asked, dropped or not: where it speaks HTTP, then the relays.
    pub fn urls(&self) -> Vec<String> {
        let mirrors = self.mirrors.iter().map(|mirror| mirror.url());
        mirrors.chain(self.relays.iter().map(|relay| relay.url())).map(str::to_owned).collect()
    }

    /// The proof that it contradicted itself, once its places have served two things that make one.
    pub fn equivocation(&self) -> Option<Proof> {
        self.caught_now().clone()
    }

    /// Who the oracle says it is. Unsigned, but the key is compared, at every place.
    ///
    /// # Errors
    /// When none answers, or all have another key.
    pub async fn info(&self) -> Result<Info, OracleError> {
        first(self.ask(|mirror| async move { mirror.info().await }).await?, &self.mirrors)
    }

    /// The hand-overs that lead from the pinned key to another, each signed by both its keys, as all places together tell
    /// them; empty while none serves one. Two that one key signed are shown as what they are. Of ones in a circle that no
    /// place serves together the one of the earlier time counts: which place is asked first decides nothing. For people to
    /// look at: nothing switches by itself, and open loans keep their key.
    ///
    /// # Errors
    /// When none answers, or a statement cannot be believed.
    pub async fn rotations(&self) -> Result<Succession, OracleError> {
        let answers = self.ask(|mirror| async move { mirror.rotations().await }).await?;
        let mut said: Vec<Rotation> = answers.into_iter().flat_map(|(_, said)| said).collect();
        said.sort_by_key(|one| (one.from, one.old_key, one.new_key));
        let url = self.url().to_owned();
        Succession::of(self.key, &said).map_err(|source| OracleError::Rotation { url, source })
    }

    /// What joins the pinned key with others of its operator, each signed by both its keys, as all places together tell it;
    /// empty while none serves any.
    ///
    /// # Errors
    /// When none answers, or a statement cannot be believed.
    pub async fn links(&self) -> Result<Vec<Link>, OracleError> {
        let answers = self.ask(|mirror| async move { mirror.links().await }).await?;
        let said: Vec<Link> = answers.into_iter().flat_map(|(_, said)| said).collect();
        let url = self.url().to_owned();
        connected(self.key, &said).map_err(|source| OracleError::Link { url, source })
    }

    /// How far the oracle has come on its clock, by whichever place is furthest. Unsigned: for people, and for the
    /// conductor of fast time.
    ///
    /// # Errors
    /// When none answers.
    pub async fn status(&self) -> Result<Status, OracleError> {
        let answers = self.ask(|mirror| async move { mirror.status().await }).await?;
        let furthest = answers.into_iter().max_by_key(|(_, status)| status.clock);
        first(furthest.into_iter().collect(), &self.mirrors)
    }

    /// The newest price, its signature verified. Whether `unix` is recent enough is for the caller to say.
    ///
    /// # Errors
    /// When there is none (the oracle says why), or it is not the oracle's.
    pub async fn spot(&self) -> Result<SignedPrice, OracleError> {
        self.spot_since(Time(0)).await
    }

    /// The same, where a price of before `since` is no reason to leave out a place that is slower. It may be old all the same.
    ///
    /// # Errors
    /// As [`OracleClient::spot`].
    pub async fn spot_since(&self, since: Time) -> Result<SignedPrice, OracleError> {
        let is_new = |price: &SignedPrice| price.unix >= since;
        let answers = self.ask_for(|mirror| async move { mirror.spot().await }, is_new).await?;
        let newest = answers.into_iter().max_by_key(|(_, price)| price.unix);
        first(newest.into_iter().collect(), &self.mirrors)
    }

    /// The announcements of many touches (level, day, start hour 0 to 23), verified, in the order asked.
    ///
    /// # Errors
    /// When a band cannot be had, or one of the announcements is not what it must be.
    pub async fn touches(&self, asked: &[(Level, Day, u8)]) -> Result<Vec<ProvenAnnouncement>, OracleError> {
        let mut found = Vec::with_capacity(asked.len());
        for (level, day, from_hour) in asked.iter().copied() {
            found.push(self.announcement(Event::Touch { level, day, from_hour }).await?);
        }
        Ok(found)
    }

    /// The announcement of one touch, verified; its whole band is downloaded.
    ///
    /// # Errors
    /// As [`OracleClient::touches`].
    pub async fn touch_announcement(
        &self,
        level: Level,
        day: Day,
        from_hour: u8,
    ) -> Result<ProvenAnnouncement, OracleError> {
        self.announcement(Event::Touch { level, day, from_hour }).await
    }

    /// The announcement of the fixing at a full hour, verified; its whole day is downloaded.
    ///
    /// # Errors
    /// When it cannot be had, or is not what it must be; a time that is no full hour has none.
    pub async fn fixing(&self, at: Time) -> Result<ProvenAnnouncement, OracleError> {
        self.announcement(Event::Fixing { at }).await
    }

    /// The announcement of any event, verified, and the same at every place.
    ///
    /// # Errors
    /// As [`OracleClient::touches`], or when the oracle has announced the event twice.
    pub async fn announcement(&self, event: Event) -> Result<ProvenAnnouncement, OracleError> {
        let (served, heard) = tokio::join!(
            self.ask(move |mirror| async move { mirror.announcement(event).await }),
            self.ask_relays(move |relay| async move { relay.announcements(event).await }),
        );
        let answers = together(served, heard)?;
        let prove = |one: &ProvenAnnouncement, other: &ProvenAnnouncement| {
            Proof::of_announcements(&one.announcement, &other.announcement).ok()
        };
        self.one_answer(answers, |one, other| one == other, prove, &format!("the announcement of {event}"))
    }

    /// The attestation of a touch, verified; `None` while it is not true.
    ///
    /// Derives from the oracle's signed lows whether it is true, and asks for attestations (of the whole band) only
    /// then.
    ///
    /// # Errors
    /// When an answer cannot be had or believed, or the oracle withholds what its own lows prove.
    pub async fn touch_attestation(&self, event: Event) -> Result<Option<OracleAttestation>, OracleError> {
        let Event::Touch { day, .. } = event else {
            return Ok(None);
        };
        if !self.lows(day).await?.prove(event) {
            return Ok(None);
        }
        let announcement = self.announcement(event).await?.announcement;
        match self.attestation(event, &announcement).await? {
            Some(attestation) => Ok(Some(attestation)),
            None => Err(OracleError::Withheld { url: self.url().to_string(), event }),
        }
    }

    /// The attestation of the fixing at a full hour, verified; `None` while there is none.
    ///
    /// # Errors
    /// When an answer cannot be had or believed.
    pub async fn fixing_attestation(&self, at: Time) -> Result<Option<OracleAttestation>, OracleError> {
        let event = Event::Fixing { at };
        let announcement = self.announcement(event).await?.announcement;
        self.attestation(event, &announcement).await
    }

    /// The attestation of an event whose verified announcement the caller holds; `None` while no place has one.
    /// Downloads the attestations of the whole bundle, and no announcements.
    ///
    /// # Errors
    /// When an answer cannot be had or believed, or the oracle has attested two outcomes.
    pub async fn attestation(
        &self,
        event: Event,
        announcement: &OracleAnnouncement,
    ) -> Result<Option<OracleAttestation>, OracleError> {
        let announced = Arc::new(announcement.clone());
        let question = move |mirror: Arc<Mirror>| {
            let announced = announced.clone();
            async move { Ok(mirror.attestation(event, &announced).await?.into_iter().collect::<Vec<_>>()) }
        };
        let is_said = |said: &Vec<OracleAttestation>| !said.is_empty();
        let (served, heard) =
            tokio::join!(self.ask_for(question, is_said), self.hear_attestations(event, announcement));
        let served = served.map(|answers| each(answers).collect());
        self.one_attestation(event, announcement, together(served, heard)?)
    }

    /// As [`OracleClient::attestation`], asking the relays alone: for when no place serves the lows that would tell
    /// whether there is one. An attestation that verifies is true whoever brings it; that there is none proves nothing.
    ///
    /// # Errors
    /// When the oracle has attested two outcomes.
    pub async fn attestation_by_relays(
        &self,
        event: Event,
        announcement: &OracleAnnouncement,
    ) -> Result<Option<OracleAttestation>, OracleError> {
        let heard = self.hear_attestations(event, announcement).await;
        self.one_attestation(event, announcement, heard)
    }

    /// What the relays that are not dropped have of an event's attestation. What they have of its announcement is compared
    /// on the way: another than the caller's is a proof, though no reason not to use an attestation that verifies.
    async fn hear_attestations(
        &self,
        event: Event,
        announcement: &OracleAnnouncement,
    ) -> Vec<(usize, OracleAttestation)> {
        let announced = Arc::new(announcement.clone());
        let question = move |relay: Arc<Relay>| {
            let announced = announced.clone();
            async move {
                let others = relay.announcements(event).await?;
                Ok(vec![(others, relay.attestations(event, &announced).await?)])
            }
        };
        let heard = self.ask_relays(question).await;
        let others = heard.iter().flat_map(|(_, (others, _))| others);
        let twice = |other: &ProvenAnnouncement| Proof::of_announcements(announcement, &other.announcement).ok();
        if let Some(proof) = others.filter(|other| other.announcement != *announcement).find_map(twice) {
            self.caught_now().get_or_insert(proof);
        }
        each(heard.into_iter().map(|(place, (_, said))| (place, said)).collect()).collect()
    }

    fn one_attestation(
        &self,
        event: Event,
        announcement: &OracleAnnouncement,
        said: Vec<(usize, OracleAttestation)>,
    ) -> Result<Option<OracleAttestation>, OracleError> {
        if said.is_empty() {
            return Ok(None);
        }
        let same = |one: &OracleAttestation, other: &OracleAttestation| one.outcomes == other.outcomes;
        let prove =
            |one: &OracleAttestation, other: &OracleAttestation| Proof::of_attestations(announcement, one, other).ok();
        self.one_answer(said, same, prove, &format!("the attestation of {event}")).map(Some)
    }

    /// Where a place is.
    fn url_of(&self, index: usize) -> String {
        let relay = || self.relays.get(index.saturating_sub(self.mirrors.len())).map(|relay| relay.url().to_owned());
        self.mirrors.get(index).map(|mirror| mirror.url().to_owned()).or_else(relay).unwrap_or_default()
    }

    fn caught_now(&self) -> MutexGuard<'_, Option<Proof>> {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first answer, if all are alike; two that are not are kept as a proof where they make one.
    fn one_answer<T>(
        &self,
        answers: Vec<(usize, T)>,
        same: impl Fn(&T, &T) -> bool,
        prove: impl Fn(&T, &T) -> Option<Proof>,
        what: &str,
    ) -> Result<T, OracleError> {
        if let Some((place, one)) = answers.first() {
            if let Some((other, said)) = answers.iter().find(|(_, other)| !same(one, other)) {
                let mut caught = self.caught_now();
                *caught = caught.take().or_else(|| prove(one, said));
                return Err(self.contradiction(*place, *other, what.to_owned()));
            }
        }
        first(answers, &self.mirrors)
    }

    fn contradiction(&self, one: usize, other: usize, what: String) -> OracleError {
        let places = format!("{} and another at {}", self.url_of(one), self.url_of(other));
        OracleError::Contradiction { key: self.key, what, places }
    }
}

/// Every one of several answers, each with its place.
fn each<T>(answers: Vec<(usize, Vec<T>)>) -> impl Iterator<Item = (usize, T)> {
    answers.into_iter().flat_map(|(place, all)| all.into_iter().map(move |one| (place, one)))
}

/// What is served and what was heard. Where nobody serves, what was heard is enough.
fn together<T>(
    served: Result<Vec<(usize, T)>, OracleError>,
    heard: Vec<(usize, T)>,
) -> Result<Vec<(usize, T)>, OracleError> {
    match served {
        Err(error) if heard.is_empty() => Err(error),
        served => Ok(served.unwrap_or_default().into_iter().chain(heard).collect()),
    }
}

/// The first of the answers.
fn first<T>(answers: Vec<(usize, T)>, mirrors: &[Arc<Mirror>]) -> Result<T, OracleError> {
    let url = || mirrors.first().map(|mirror| mirror.url().to_owned()).unwrap_or_default();
    let none =
        || OracleError::Unreachable { url: url(), path: "any path".into(), reason: "no mirror is left to ask".into() };
    answers.into_iter().next().map(|(_, answer)| answer).ok_or_else(none)
}
