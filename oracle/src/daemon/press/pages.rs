//! Pages of bundles: what there is of one, what it would take to make it, and how it is made.

use super::attested::Signed;
use super::Press;
use crate::announce::{nonce_count, AnnounceError};
use crate::bundle::{pack_announcement, Bundle, BundlePage, Parts};
use crate::daemon::tag::digest;
use crate::event::Event;
use crate::units::{Cents, Day};
use hyper::body::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Bundles whose announcements are kept: some 650 kB each for a month of a band.
const KEPT: usize = 48;
/// Printed pages kept, at most 850 kB each: all who are being sent one share it, so slow readers cost no memory.
const KEPT_PRINTS: usize = 24;
/// Attestations signed in one go: what is signed for somebody else in the meantime waits for no more.
const SIGNED_AT_ONCE: usize = 256;

/// A page as it is sent.
#[derive(Clone, Debug)]
pub struct Page {
    /// One line of JSON.
    pub text: Bytes,
    /// Names these bytes.
    pub tag: Arc<str>,
}

/// What a page takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Signatures that are not made yet.
    pub signatures: usize,
    /// Bytes that are sent, about.
    pub bytes: usize,
}

struct Print {
    bundle: Bundle,
    parts: Parts,
    /// How many of its events were attested. They only ever become more, so an equal number means the same ones.
    attested: usize,
    page: Page,
}

/// What was made for pages lately, the oldest first.
#[derive(Default)]
pub(super) struct Printed {
    announcements: VecDeque<(Bundle, Arc<Vec<String>>)>,
    prints: VecDeque<Print>,
}

impl Printed {
    fn announcements(&mut self, bundle: Bundle) -> Option<Arc<Vec<String>>> {
        let place = self.announcements.iter().position(|(one, _)| *one == bundle)?;
        let kept = self.announcements.remove(place)?;
        let announcements = Arc::clone(&kept.1);
        self.announcements.push_back(kept);
        Some(announcements)
    }

    fn has_announcements(&self, bundle: Bundle) -> bool {
        self.announcements.iter().any(|(one, _)| *one == bundle)
    }

    fn page(&self, bundle: Bundle, parts: Parts, attested: usize) -> Option<Page> {
        let same = |print: &&Print| (print.bundle, print.parts, print.attested) == (bundle, parts, attested);
        self.prints.iter().find(same).map(|print| print.page.clone())
    }

    fn keep(&mut self, print: Print) {
        self.prints.retain(|one| (one.bundle, one.parts) != (print.bundle, print.parts));
        self.prints.push_back(print);
        if self.prints.len() > KEPT_PRINTS {
            self.prints.pop_front();
        }
    }
}

impl Press {
    fn printed(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attested_bundles(&self) -> MutexGuard<'_, super::Attested> {
        self.attested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it takes to send a page now.
    pub fn work(&self, bundle: Bundle, parts: Parts) -> Work {
        let events = bundle.events();
        let nonces = events.first().map_or(1, |event| usize::from(nonce_count(*event)));
        let (mut signatures, mut bytes) = (0usize, 0usize);
        if parts != Parts::Announcements {
            let true_now = self.outcomes(bundle, &events).len();
            signatures = true_now.saturating_sub(self.attested_bundles().count(bundle));
            // Hex of 32 bytes a nonce, and what stands around it.
            bytes = true_now.saturating_mul(nonces.saturating_mul(64).saturating_add(24));
        }
        if parts != Parts::Attestations {
            if !self.printed().has_announcements(bundle) {
                signatures = signatures.saturating_add(events.len());
            }
            // Hex of a signature, and of key and proof a nonce.
            let one = nonces.saturating_mul(192).saturating_add(131);
            bytes = bytes.saturating_add(events.len().saturating_mul(one));
        }
        Work { signatures: signatures.saturating_mul(nonces), bytes }
    }

    /// A bundle's page as it is sent: what is wanted of it, as one line of JSON.
    ///
    /// # Errors
    /// When an event matures after 2106, the signer is away, or the work was cut off by a shutdown.
    pub async fn page(self: &Arc<Self>, bundle: Bundle, parts: Parts) -> anyhow::Result<Page> {
        let attested = match parts {
            Parts::Announcements => 0,
            Parts::Both | Parts::Attestations => self.outcomes(bundle, &bundle.events()).len(),
        };
        let kept = self.printed().page(bundle, parts, attested);
        match kept {
            Some(page) => Ok(page),
            None => self.behind(move |press| press.print(bundle, parts)).await?,
        }
    }

    fn print(&self, bundle: Bundle, parts: Parts) -> anyhow::Result<Page> {
        let signed = match parts {
            Parts::Announcements => Arc::default(),
            Parts::Both | Parts::Attestations => self.signed(bundle)?,
        };
        let attested = signed.count();
        // Somebody else may have waited for the same.
        let kept = self.printed().page(bundle, parts, attested);
        if let Some(page) = kept {
            return Ok(page);
        }
        let announcements = match parts {
            Parts::Attestations => Arc::default(),
            Parts::Both | Parts::Announcements => self.announced(bundle)?,
        };
        let announcements = Arc::unwrap_or_clone(announcements);
        let mut text = serde_json::to_vec(&BundlePage { announcements, attestations: signed.packed() })?;
        text.push(b'\n');
        let page = Page { tag: digest(&[&text]).into(), text: Bytes::from(text) };
        self.printed().keep(Print { bundle, parts, attested, page: page.clone() });
        Ok(page)
    }

    fn announced(&self, bundle: Bundle) -> Result<Arc<Vec<String>>, AnnounceError> {
        if let Some(kept) = self.printed().announcements(bundle) {
            return Ok(kept);
        }
        let made = self.announcements(&bundle.events())?;
        let made = Arc::new(made.iter().map(pack_announcement).collect::<Vec<_>>());
        // A payment's is asked for once or twice in its life: it must not push a month of a band out.
        if !matches!(bundle, Bundle::Payment { .. }) {
            let mut printed = self.printed();
            printed.announcements.push_back((bundle, Arc::clone(&made)));
            if printed.announcements.len() > KEPT {
                printed.announcements.pop_front();
            }
        }
        Ok(made)
    }

    /// The attestations of a bundle so far; what is new is signed and kept.
    fn signed(&self, bundle: Bundle) -> Result<Arc<Signed>, AnnounceError> {
        let known = self.attested_bundles().of(bundle);
        let have: Vec<u32> = known.places().collect();
        let outcomes = self.outcomes(bundle, &bundle.events());
        let new: Vec<_> = outcomes.into_iter().filter(|(place, _)| have.binary_search(place).is_err()).collect();
        if new.is_empty() {
            return Ok(known);
        }
        let mut made = Vec::with_capacity(new.len());
        for some in new.chunks(SIGNED_AT_ONCE) {
            let (places, say): (Vec<u32>, Vec<_>) =
                some.iter().filter_map(|(place, event)| Some((*place, self.grounds(*event)?))).unzip();
            made.extend(places.into_iter().zip(self.keys.attest(&say)?));
        }
        let signed = Arc::new(known.with(&made));
        if !matches!(bundle, Bundle::Payment { .. }) {
            self.attested_bundles().keep(bundle, Arc::clone(&signed));
        }
        Ok(signed)
    }

    /// Those of a bundle's events that have an outcome, with their places.
    fn outcomes(&self, bundle: Bundle, events: &[Event]) -> Vec<(u32, Event)> {
        let events = (0u32..).zip(events.iter().copied());
        if let Bundle::Payment { .. } = bundle {
            let attested = |event| self.payments.as_ref().is_some_and(|payments| payments.is_attested(event));
            return events.filter(|(_, event)| attested(*event)).collect();
        }
        let shown = self.window.look();
        // Of a day's 64 levels the same low decides.
        let mut last: Option<((Day, u8), Option<Cents>)> = None;
        let mut has_outcome = |event: Event| match event {
            Event::Fixing { at } => shown.ledger.fixing(at).is_some(),
            Event::Touch { level, day, from_hour } => {
                let low = match last {
                    Some((same, low)) if same == (day, from_hour) => low,
                    _ => shown.ledger.least_from(day, from_hour),
                };
                last = Some(((day, from_hour), low));
                low.is_some_and(|low| low <= level.cents())
            }
            Event::Payment { .. } => false,
        };
        events.filter(|(_, event)| has_outcome(*event)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::desk::Window;
    use super::super::super::ledger::{Ledger, Record};
    use super::*;
    use crate::announce::OracleKeys;
    use crate::units::{Time, HOUR};
    use secp256k1_zkp::SecretKey;

    const MARCH: Bundle = Bundle::Month { band: 40, year: 2020, month: 3 };
    /// 1 March 2020.
    const FIRST: Time = Time(1_583_020_800);

    /// Ten days of March, all below band 40.
    fn press() -> Arc<Press> {
        let mut ledger = Ledger::default();
        for day in 0..10 {
            let at = FIRST.plus(day * 24 * HOUR).unwrap();
            ledger.apply(Record::Low { hour: at, cents: Cents(800_000) }).unwrap();
            ledger.apply(Record::Fixing { at, cents: Cents(800_000) }).unwrap();
        }
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        Arc::new(Press::new(Arc::new(keys.into()), Window::showing(ledger)))
    }

    #[tokio::test]
    async fn attestations_are_signed_once_whoever_asks_for_them_in_whatever_page() {
        let press = press();
        let alone = press.work(MARCH, Parts::Attestations);
        assert_eq!(alone, Work { signatures: 640, bytes: 640 * 88 });
        assert_eq!(press.work(MARCH, Parts::Announcements).signatures, 31 * 64);
        assert_eq!(press.work(MARCH, Parts::Both).signatures, 31 * 64 + 640);
        let page = press.page(MARCH, Parts::Attestations).await.unwrap();
        let read: BundlePage = serde_json::from_slice(&page.text).unwrap();
        assert_eq!(read.attestations.len(), 640);
        assert!(page.text.len().abs_diff(alone.bytes) < alone.bytes / 8, "{} bytes", page.text.len());
        assert_eq!(press.work(MARCH, Parts::Attestations).signatures, 0);
        assert_eq!(press.work(MARCH, Parts::Both).signatures, 31 * 64);
        let both = press.page(MARCH, Parts::Both).await.unwrap();
        let all: BundlePage = serde_json::from_slice(&both.text).unwrap();
        assert_eq!((all.attestations, all.announcements.len()), (read.attestations, 31 * 64));
        let expected = press.work(MARCH, Parts::Both).bytes;
        assert!(both.text.len().abs_diff(expected) < expected / 8, "{} bytes, not {expected}", both.text.len());
        let again = press.page(MARCH, Parts::Attestations).await.unwrap();
        assert_eq!((again.text, again.tag), (page.text, page.tag));
    }

    #[tokio::test]
    async fn an_event_of_a_page_is_true_by_the_rule_that_decides_what_is_attested() {
        let press = press();
        let day = FIRST.day();
        for bundle in [
            Bundle::Month { band: 23, year: 2020, month: 3 },
            Bundle::Hour { band: 23, day, hour: 0 },
            Bundle::Hour { band: 23, day, hour: 1 },
            Bundle::Fixings { day },
        ] {
            let events = bundle.events();
            let by_page: Vec<Event> = press.outcomes(bundle, &events).into_iter().map(|(_, event)| event).collect();
            let shown = press.window().look();
            let by_rule: Vec<Event> =
                events.iter().copied().filter(|event| shown.ledger.outcome(*event).is_some()).collect();
            assert_eq!(by_page, by_rule, "{bundle}");
        }
        let fixings = press.work(Bundle::Fixings { day }, Parts::Both);
        assert_eq!(fixings.signatures, 25 * 20, "24 announcements and one attestation, of 20 digits");
    }
}
