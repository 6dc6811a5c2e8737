//! Bundles: events that are downloaded together, so that nobody learns which one a reader wanted.
//!
//! A bundle holds a whole band of 64 levels for one month of days (from h00), the same band for one start hour of one
//! day, or the 24 fixings of a day. Its order is fixed, so the page carries no ids: announcement number i belongs to
//! `events()[i]` and the reader rebuilds all but key material from the event itself. Nothing of a page is trusted
//! before [`crate::verify`] has passed what came out of it.
//!
//! Packed announcement, as hex: signature (64 bytes), then for each nonce the x-only nonce (32) and its proof (64): 160
//! bytes for a touch. Packed attestation: the second halves of its signatures (32 bytes each), whose first halves are
//! the announced nonces.

use crate::announce::{nonce_count, oracle_event, ProvenAnnouncement};
use crate::event::{Event, PaymentId, PaymentWord};
use crate::ladder::Level;
use crate::units::{Cents, Day, Time, DAY, HOUR};
use crate::verify::{fixing_digits, fixing_dollars};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use secp256k1_zkp::schnorr::Signature;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What of a bundle is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Announcements, and the attestations so far.
    Both,
    /// Only announcements: the same for ever.
    Announcements,
    /// Only the attestations so far.
    Attestations,
}

/// Which events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bundle {
    /// A band's touches from h00 of every day of a month.
    Month { band: u32, year: u16, month: u8 },
    /// A band's touches from one hour of one day.
    Hour { band: u32, day: Day, hour: u8 },
    /// The hourly fixings of a day, 00:00 to 23:00.
    Fixings { day: Day },
    /// What may be said of one payment: `paid`, then `undisbursed`. Only whoever knows its id can ask.
    Payment { id: PaymentId, day: Day },
}

impl Bundle {
    /// The bundle in which `event` is to be looked up.
    pub fn of(event: Event) -> Bundle {
        match event {
            Event::Fixing { at } => Bundle::Fixings { day: at.day() },
            Event::Touch { level, day, from_hour: 0 } => {
                let (year, month, _) = day.civil();
                Bundle::Month { band: level.band(), year: u16::try_from(year).unwrap_or(0), month }
            }
            Event::Touch { level, day, from_hour } => Bundle::Hour { band: level.band(), day, hour: from_hour },
            Event::Payment { id, day, .. } => Bundle::Payment { id, day },
        }
    }

    /// A month bundle by its path segments, `band` and `YYYYMM`; `None` for what is not exactly that.
    pub fn parse_month(band: &str, yyyymm: &str) -> Option<Bundle> {
        let first = Day::from_yyyymmdd(&format!("{yyyymm}01")).filter(|_| yyyymm.len() == 6)?;
        let (year, month, _) = first.civil();
        Some(Bundle::Month { band: parse_band(band)?, year: u16::try_from(year).ok()?, month })
    }

    /// An hour bundle by its path segments, `band`, `YYYYMMDD` and `hHH`; `None` for what is not exactly that.
    pub fn parse_hour(band: &str, yyyymmdd: &str, hour: &str) -> Option<Bundle> {
        let digits = hour.strip_prefix('h').filter(|digits| digits.len() == 2)?;
        let hour = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
        let day = Day::from_yyyymmdd(yyyymmdd)?;
        (hour < 24).then_some(Bundle::Hour { band: parse_band(band)?, day, hour })
    }

    /// The twelve months of a year by their path segments, `band` and `YYYY`; `None` for what is not exactly that.
    ///
    /// A year has no page of its own: it is served as its months' pages, one a line.
    pub fn parse_year(band: &str, yyyy: &str) -> Option<Vec<Bundle>> {
        let january = Bundle::parse_month(band, &format!("{yyyy}01")).filter(|_| yyyy.len() == 4)?;
        let Bundle::Month { band, year, .. } = january else { return None };
        Some((1..=12).map(|month| Bundle::Month { band, year, month }).collect())
    }

    /// The days it speaks about.
    pub fn days(self) -> Vec<Day> {
        match self {
            Bundle::Month { year, month, .. } => days_of(year, month),
            Bundle::Hour { day, .. } | Bundle::Fixings { day } | Bundle::Payment { day, .. } => vec![day],
        }
    }

    /// When an oracle that has frozen everything up to this moment adds no more attestations; `None` beyond the end of
    /// time.
    pub fn final_at(self) -> Option<Time> {
        self.days().last()?.end()
    }

    /// A payment's bundle by its path segments, 32 hex digits and `YYYYMMDD`; `None` for what is not exactly that.
    pub fn parse_payment(id: &str, yyyymmdd: &str) -> Option<Bundle> {
        Some(Bundle::Payment { id: PaymentId::parse(id)?, day: Day::from_yyyymmdd(yyyymmdd)? })
    }

    /// Its events in the order of its page; empty when the band is beyond the ladder.
    pub fn events(self) -> Vec<Event> {
        match self {
            Bundle::Month { band, year, month } => {
                let levels = Level::of_band(band);
                days_of(year, month)
                    .into_iter()
                    .flat_map(|day| levels.iter().map(move |level| Event::Touch { level: *level, day, from_hour: 0 }))
                    .collect()
            }
            Bundle::Hour { band, day, hour } => {
                Level::of_band(band).into_iter().map(|level| Event::Touch { level, day, from_hour: hour }).collect()
            }
            Bundle::Fixings { day } => {
                let hours = (0..DAY / HOUR).filter_map(|hour| day.start()?.plus(hour * HOUR));
                hours.map(|at| Event::Fixing { at }).collect()
            }
            Bundle::Payment { id, day } => {
                PaymentWord::ALL.into_iter().map(|word| Event::Payment { id, day, word }).collect()
            }
        }
    }

    /// Where `event` stands in the page.
    pub fn index(self, event: Event) -> Option<usize> {
        self.events().iter().position(|one| *one == event)
    }
}

/// Its path on an oracle's HTTP server.
impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bundle::Month { band, year, month } => write!(f, "/v1/bands/{band}/{year:04}{month:02}"),
            Bundle::Hour { band, day, hour } => write!(f, "/v1/bands/{band}/{day}/h{hour:02}"),
            Bundle::Fixings { day } => write!(f, "/v1/fixings/{day}"),
            Bundle::Payment { id, day } => write!(f, "/v1/payments/{id}/{day}"),
        }
    }
}

fn parse_band(text: &str) -> Option<u32> {
    let band: u32 = text.parse().ok().filter(|band: &u32| band.to_string() == text)?;
    (!Level::of_band(band).is_empty()).then_some(band)
}

fn days_of(year: u16, month: u8) -> Vec<Day> {
    let first = Day::from_yyyymmdd(&format!("{year:04}{month:02}01"));
    let same_month = |day: &Day| day.civil().1 == month;
    std::iter::successors(first, |day| day.next()).take_while(same_month).take(31).collect()
}

/// What an oracle serves for a bundle. A list that was not asked for is empty, or left out; one that leaves out both is no page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AnyPage")]
pub struct BundlePage {
    /// Packed announcements in the order of the events, hex; empty when only attestations were asked for.
    pub announcements: Vec<String>,
    /// The attestations so far.
    pub attestations: Vec<PackedAttestation>,
}

/// A page as it is read.
#[derive(Deserialize)]
struct AnyPage {
    announcements: Option<Vec<String>>,
    attestations: Option<Vec<PackedAttestation>>,
}

impl TryFrom<AnyPage> for BundlePage {
    type Error = &'static str;

    fn try_from(page: AnyPage) -> Result<BundlePage, &'static str> {
        match page {
            AnyPage { announcements: None, attestations: None } => Err("neither `announcements` nor `attestations`"),
            AnyPage { announcements, attestations } => Ok(BundlePage {
                announcements: announcements.unwrap_or_default(),
                attestations: attestations.unwrap_or_default(),
            }),
        }
    }
}

/// One attestation of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedAttestation {
    /// Which event of the bundle.
    pub index: u32,
    /// What a fixing says, in whole dollars; absent for a touch and a payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dollars: Option<u32>,
    /// The second halves of its signatures, hex.
    pub s: String,
}

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The event is not part of the bundle.
    #[error("event {event} is not part of {bundle}")]
    Elsewhere { event: Event, bundle: Bundle },
    /// The page has no such entry.
    #[error("{bundle} holds no announcement of event {event}")]
    Missing { event: Event, bundle: Bundle },
    /// An entry is not the hex of so many bytes.
    #[error("the {what} of event {event} is not the hex of {bytes} bytes of keys and signatures")]
    Malformed { event: Event, what: &'static str, bytes: usize },
}

impl BundlePage {
    /// The announcement of `event`, rebuilt. Not verified yet: that is [`crate::verify::verify_announcement`]'s part.
    ///
    /// # Errors
    /// When the page has no well-formed entry for it.
    pub fn announcement(
        &self,
        bundle: Bundle,
        event: Event,
        oracle: &XOnlyPublicKey,
    ) -> Result<ProvenAnnouncement, BundleError> {
        let index = bundle.index(event).ok_or(BundleError::Elsewhere { event, bundle })?;
        let packed = self.announcements.get(index).ok_or(BundleError::Missing { event, bundle })?;
        unpack_announcement(packed, event, oracle)
    }

    /// The attestation of `event` if the page has one, rebuilt against its announcement. Not verified yet.
    ///
    /// # Errors
    /// When its entry is not well formed.
    pub fn attestation(
        &self,
        bundle: Bundle,
        event: Event,
        announcement: &OracleAnnouncement,
    ) -> Result<Option<OracleAttestation>, BundleError> {
        let index = bundle.index(event).ok_or(BundleError::Elsewhere { event, bundle })?;
        let found = self.attestations.iter().find(|one| usize::try_from(one.index) == Ok(index));
        found.map(|packed| unpack_attestation(packed, event, announcement)).transpose()
    }
}

/// An announcement as a page carries it.
pub fn pack_announcement(proven: &ProvenAnnouncement) -> String {
    let mut bytes = proven.announcement.announcement_signature.as_ref().to_vec();
    for (nonce, proof) in proven.announcement.oracle_event.oracle_nonces.iter().zip(&proven.nonce_proofs) {
        bytes.extend_from_slice(&nonce.serialize());
        bytes.extend_from_slice(proof.as_ref());
    }
    bytes.to_lower_hex_string()
}

/// An attestation as a page carries it, at `index` of its bundle.
pub fn pack_attestation(index: u32, attestation: &OracleAttestation) -> PackedAttestation {
    PackedAttestation { index, dollars: fixing_dollars(attestation), s: halves(attestation).to_lower_hex_string() }
}

/// The second halves of an attestation's signatures, 32 bytes each: what a page has of them.
pub fn halves(attestation: &OracleAttestation) -> Vec<u8> {
    attestation.signatures.iter().flat_map(|one| one.as_ref().iter().skip(32).copied()).collect()
}

pub(crate) fn unpack_announcement(
    packed: &str,
    event: Event,
    oracle: &XOnlyPublicKey,
) -> Result<ProvenAnnouncement, BundleError> {
    let nonces = usize::from(nonce_count(event));
    let bytes = 64 + nonces * 96;
    let malformed = || BundleError::Malformed { event, what: "announcement", bytes };
    let read = || -> Option<ProvenAnnouncement> {
        let packed = unhex(packed, bytes)?;
        let (signature, rest) = packed.split_at_checked(64)?;
        let mut oracle_nonces = Vec::with_capacity(nonces);
        let mut nonce_proofs = Vec::with_capacity(nonces);
        for entry in rest.chunks_exact(96) {
            let (nonce, proof) = entry.split_at_checked(32)?;
            oracle_nonces.push(XOnlyPublicKey::from_slice(nonce).ok()?);
            nonce_proofs.push(Signature::from_slice(proof).ok()?);
        }
        let announcement = OracleAnnouncement {
            announcement_signature: Signature::from_slice(signature).ok()?,
            oracle_public_key: *oracle,
            oracle_event: oracle_event(event, oracle_nonces)?,
        };
        Some(ProvenAnnouncement { announcement, nonce_proofs })
    };
    read().ok_or_else(malformed)
}

fn unpack_attestation(
    packed: &PackedAttestation,
    event: Event,
    announcement: &OracleAnnouncement,
) -> Result<OracleAttestation, BundleError> {
    let nonces = &announcement.oracle_event.oracle_nonces;
    let bytes = nonces.len() * 32;
    let malformed = || BundleError::Malformed { event, what: "attestation", bytes };
    let halves = unhex(&packed.s, bytes).ok_or_else(malformed)?;
    let whole = |(nonce, half): (&XOnlyPublicKey, &[u8])| {
        Signature::from_slice(&[nonce.serialize().as_slice(), half].concat()).map_err(|_| malformed())
    };
    let signatures = nonces.iter().zip(halves.chunks_exact(32)).map(whole).collect::<Result<Vec<_>, _>>()?;
    let outcomes = match (event, packed.dollars) {
        (Event::Touch { .. } | Event::Payment { .. }, None) => vec![event.to_string()],
        (Event::Fixing { .. }, Some(dollars)) => fixing_digits(Cents(u64::from(dollars) * 100)),
        _ => return Err(malformed()),
    };
    Ok(OracleAttestation {
        event_id: event.to_string(),
        oracle_public_key: announcement.oracle_public_key,
        signatures,
        outcomes,
    })
}

fn unhex(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.len() != bytes.checked_mul(2)? {
        return None;
    }
    Vec::<u8>::from_hex(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use crate::verify::{verify_announcement, verify_attestation};
    use secp256k1_zkp::SecretKey;

    fn keys() -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap())
    }

    #[test]
    fn every_event_is_found_in_its_bundle_and_the_bundle_by_its_path() {
        let level = Level::exactly(7_490).unwrap();
        for (event, path, events) in [
            (Event::Touch { level, day: Day(18_333), from_hour: 0 }, "/v1/bands/21/202003", 31 * 64),
            (Event::Touch { level, day: Day(18_321), from_hour: 0 }, "/v1/bands/21/202002", 29 * 64),
            (Event::Touch { level, day: Day(18_333), from_hour: 9 }, "/v1/bands/21/20200312/h09", 64),
            (Event::Fixing { at: Time(1_584_007_200) }, "/v1/fixings/20200312", 24),
        ] {
            let bundle = Bundle::of(event);
            assert_eq!(bundle.to_string(), path);
            assert_eq!(bundle.events().len(), events);
            assert!(bundle.index(event).is_some());
        }
        assert_eq!(Bundle::parse_month("13", "202003"), Some(Bundle::Month { band: 13, year: 2020, month: 3 }));
        assert_eq!(
            Bundle::parse_hour("13", "20200312", "h09"),
            Some(Bundle::Hour { band: 13, day: Day(18_333), hour: 9 })
        );
        for (band, month) in [("013", "202003"), ("+3", "202003"), ("999", "202003"), ("3", "202013"), ("3", "2020031")]
        {
            assert_eq!(Bundle::parse_month(band, month), None, "{band} {month}");
        }
        let year = Bundle::parse_year("13", "2020").unwrap();
        assert_eq!(year.len(), 12);
        assert_eq!(year.iter().map(|month| month.events().len()).sum::<usize>(), 366 * 64);
        assert_eq!(year[11].final_at().map(|end| end.to_string()).as_deref(), Some("2021-01-01T00:00:00Z"));
        for (band, year) in [("013", "2020"), ("999", "2020"), ("3", "202001"), ("3", "20"), ("3", "+202"), ("3", "")] {
            assert_eq!(Bundle::parse_year(band, year), None, "{band} {year}");
        }
        for hour in ["h24", "h9", "9", "h+9", "h009"] {
            assert_eq!(Bundle::parse_hour("3", "20200312", hour), None, "{hour}");
        }
    }

    #[test]
    fn what_was_packed_comes_out_whole_and_verifies() {
        let keys = keys();
        let touch = Event::Touch { level: Level::exactly(7_490).unwrap(), day: Day(18_333), from_hour: 9 };
        let fixing = Event::Fixing { at: Time(1_584_007_200) };
        let payment = Event::Payment { id: PaymentId([9; 16]), day: Day(18_333), word: PaymentWord::Undisbursed };
        for (event, outcomes) in [
            (touch, vec![touch.to_string()]),
            (fixing, fixing_digits(Cents(798_765))),
            (payment, vec![payment.to_string()]),
        ] {
            let bundle = Bundle::of(event);
            let announce = |one: &Event| pack_announcement(&keys.announcement(*one).unwrap());
            let attested = keys.attest(event, outcomes).unwrap();
            let index = u32::try_from(bundle.index(event).unwrap()).unwrap();
            let page = BundlePage {
                announcements: bundle.events().iter().map(announce).collect(),
                attestations: vec![pack_attestation(index, &attested)],
            };
            let proven = page.announcement(bundle, event, &keys.public_key()).unwrap();
            assert_eq!(proven, keys.announcement(event).unwrap());
            verify_announcement(&proven, &keys.public_key(), event).unwrap();
            let attestation = page.attestation(bundle, event, &proven.announcement).unwrap().unwrap();
            assert_eq!(attestation, attested);
            verify_attestation(&attestation, &proven.announcement).unwrap();
        }
    }

    #[test]
    fn a_spoilt_page_is_an_error_and_never_a_panic() {
        let keys = keys();
        let event = Event::Fixing { at: Time(1_584_007_200) };
        let (bundle, oracle) = (Bundle::of(event), keys.public_key());
        let proven = keys.announcement(event).unwrap();
        for packed in ["", "zz", "é", &"00".repeat(64 + 20 * 96), &pack_announcement(&proven)[2..]] {
            let page = BundlePage { announcements: vec![packed.to_string(); 24], attestations: vec![] };
            assert!(matches!(page.announcement(bundle, event, &oracle), Err(BundleError::Malformed { .. })));
        }
        assert!(matches!(BundlePage::default().announcement(bundle, event, &oracle), Err(BundleError::Missing { .. })));
        let index = u32::try_from(bundle.index(event).unwrap()).unwrap();
        for (dollars, s) in [(None, "00".repeat(640)), (Some(1), "00".repeat(639)), (Some(1), "é".repeat(640))] {
            let page =
                BundlePage { announcements: vec![], attestations: vec![PackedAttestation { index, dollars, s }] };
            assert!(page.attestation(bundle, event, &proven.announcement).is_err());
        }
    }
}
