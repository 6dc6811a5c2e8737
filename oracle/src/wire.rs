//! The JSON of the oracle's own HTTP routes, and what makes it worth believing.
//!
//! Announcements and attestations carry their own signatures. A price and a day's lows are signed here: BIP340 by the
//! oracle key over `tagged(tag, data)`, numbers big endian.
//!
//! - price: tag `hypothec/price/v0`, data `unix (4) || cents (8)`
//! - lows: tag `hypothec/lows/v0`, data `day (4, days since 1970) || frozen_until (4) || 24 * (known (1) || cents (8))`,
//!   both zero for an hour without a low
//!
//! A signed price or low settles nothing by itself: only attestations do.

use crate::announce::OracleKeys;
use crate::contradiction::hour_between;
use crate::event::Event;
use crate::statement::{Statement, LOWS, PRICE};
use crate::units::{Cents, Day, Time, DAY, HOUR};
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use secp256k1_zkp::schnorr::Signature;
use serde::{Deserialize, Serialize};

/// A signature that does not belong to what it came with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature of the {what} is not valid for oracle {oracle}")]
pub struct BadSignature {
    /// What was signed.
    pub what: &'static str,
    /// The key it should be signed with.
    pub oracle: XOnlyPublicKey,
}

/// `GET /v1/price`: the price now, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrice {
    /// When it was the price.
    pub unix: Time,
    /// Cents per bitcoin.
    pub cents: Cents,
    /// By the oracle key: see the module's head.
    pub signature: Signature,
}

impl SignedPrice {
    /// Signs a price.
    pub fn sign(keys: &OracleKeys, unix: Time, cents: Cents) -> SignedPrice {
        SignedPrice { unix, cents, signature: SignedPrice::statement(unix, cents).sign(keys) }
    }

    /// What is signed.
    pub fn statement(unix: Time, cents: Cents) -> Statement {
        let mut data = unix.0.to_be_bytes().to_vec();
        data.extend_from_slice(&cents.0.to_be_bytes());
        Statement { tag: PRICE, data }
    }

    /// Is it the oracle's?
    ///
    /// # Errors
    /// When the signature is not valid.
    pub fn verify(&self, oracle: &XOnlyPublicKey) -> Result<(), BadSignature> {
        let valid = SignedPrice::statement(self.unix, self.cents).is_signed(oracle, &self.signature);
        valid.then_some(()).ok_or(BadSignature { what: "price", oracle: *oracle })
    }
}

/// Hours of a day.
const HOURS: usize = 24;

/// Seconds after an hour's end by which whatever an honest oracle says of it is said, and its lows call it final, as a user's
/// clock has it: the longest that a price policy may take to freeze (600), a clock that is off (60), and a look that is
/// slow (240).
pub const FINAL_WITHIN: u32 = 900;

/// Hours that a list of lows should call final and does not. It is older than that: what fell in them, nobody is told by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// Where the list ends.
    pub from: Time,
    /// Where it should end at least.
    pub until: Time,
}

impl Unheard {
    /// Since when nothing new is heard: the moment by which one more hour should have been final.
    pub fn since(&self) -> Time {
        Time(self.from.0.saturating_add(HOUR + FINAL_WITHIN))
    }

    /// Both together: from the earlier beginning to the later end.
    pub fn with(self, other: Unheard) -> Unheard {
        Unheard { from: self.from.min(other.from), until: self.until.max(other.until) }
    }
}

/// `GET /v1/lows/{YYYYMMDD}`: the low of every hour of a day, signed.
///
/// A low only ever falls, and not at all once its hour is frozen: an hour that ends at or before `frozen_until` is
/// frozen, and one without a low then was missed and stays missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedLows {
    /// The day, `YYYYMMDD`.
    #[serde(with = "day_text")]
    pub day: Day,
    /// Hours that end at or before this moment are final.
    pub frozen_until: Time,
    /// Cents per bitcoin, hour by hour.
    pub lows: [Option<Cents>; HOURS],
    /// By the oracle key: see the module's head.
    pub signature: Signature,
}

impl SignedLows {
    /// Signs a day's lows.
    pub fn sign(keys: &OracleKeys, day: Day, frozen_until: Time, lows: [Option<Cents>; HOURS]) -> SignedLows {
        let signature = SignedLows::statement(day, frozen_until, &lows).sign(keys);
        SignedLows { day, frozen_until, lows, signature }
    }

    /// What is signed.
    pub fn statement(day: Day, frozen_until: Time, lows: &[Option<Cents>; HOURS]) -> Statement {
        let mut data = Vec::with_capacity(8 + HOURS * 9);
        data.extend_from_slice(&day.0.to_be_bytes());
        data.extend_from_slice(&frozen_until.0.to_be_bytes());
        for low in lows {
            data.push(u8::from(low.is_some()));
            data.extend_from_slice(&low.unwrap_or_default().0.to_be_bytes());
        }
        Statement { tag: LOWS, data }
    }

    /// Is it the oracle's?
    ///
    /// # Errors
    /// When the signature is not valid.
    pub fn verify(&self, oracle: &XOnlyPublicKey) -> Result<(), BadSignature> {
        let stated = SignedLows::statement(self.day, self.frozen_until, &self.lows);
        let valid = stated.is_signed(oracle, &self.signature);
        valid.then_some(()).ok_or(BadSignature { what: "day's lows", oracle: *oracle })
    }

    /// The first hour of which this list and another of the oracle's cannot both be true; `None` when they can.
    pub fn contradicts(&self, other: &SignedLows) -> Option<Time> {
        let of = |one: &SignedLows| (one.frozen_until, one.lows);
        let ((until, lows), (other_until, others)) = (of(self), of(other));
        (self.day == other.day).then(|| hour_between(self.day, (until, &lows), (other_until, &others)))?
    }

    /// The least low from `hour` (0 to 23) to the end of the day, of those known.
    pub fn least_from(&self, hour: u8) -> Option<Cents> {
        self.lows.iter().skip(usize::from(hour)).filter_map(|low| *low).min()
    }

    /// Do these lows make the touch true? False for an event of another day, and for a fixing.
    pub fn prove(&self, event: Event) -> bool {
        match event {
            Event::Touch { level, day, from_hour } if day == self.day => {
                self.least_from(from_hour).is_some_and(|low| low <= level.cents())
            }
            _ => false,
        }
    }

    /// Is every hour of the day final?
    pub fn is_closed(&self) -> bool {
        self.day.end().is_some_and(|end| self.frozen_until >= end)
    }

    /// The hours up to `until` that an honest oracle's list calls final at `now`, and this one does not; `None` when it does.
    /// Whoever stands between can show an old list, signed as ever: what it proves stays true, for a low never rises, but
    /// that nothing was touched it does not say.
    pub fn unheard(&self, until: Time, now: Time) -> Option<Unheard> {
        let until = Time(now.0.saturating_sub(FINAL_WITHIN)).hour_floor().min(until);
        (self.frozen_until < until).then_some(Unheard { from: self.frozen_until, until })
    }

    /// Was the hour missed: over and frozen without a low?
    pub fn was_missed(&self, hour: u8) -> bool {
        let end = self.day.start().and_then(|start| start.plus((u32::from(hour) + 1) * HOUR));
        let known = self.lows.get(usize::from(hour)).is_some_and(Option::is_some);
        u32::from(hour) < DAY / HOUR && !known && end.is_some_and(|end| end <= self.frozen_until)
    }
}

/// A day as `YYYYMMDD` text.
mod day_text {
    use super::Day;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(day: &Day, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(day)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        let text = String::deserialize(deserializer)?;
        Day::from_yyyymmdd(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a day as YYYYMMDD")))
    }
}

/// `GET /pubkey`, as kormir serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pubkey {
    /// X-only, hex.
    pub pubkey: XOnlyPublicKey,
}

/// `GET /oracle/publickey`, as the p2pderivatives oracle serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OraclePublicKey {
    /// X-only, hex.
    pub public_key: XOnlyPublicKey,
}

/// `GET /asset/{asset}/attestation/{time}`, as the p2pderivatives oracle serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssetAttestation {
    /// The event's id.
    pub event_id: String,
    /// One a digit.
    pub signatures: Vec<Signature>,
    /// The digits, most significant first.
    pub values: Vec<String>,
}

impl From<OracleAttestation> for AssetAttestation {
    fn from(said: OracleAttestation) -> AssetAttestation {
        AssetAttestation { event_id: said.event_id, signatures: said.signatures, values: said.outcomes }
    }
}

/// `GET /v1/info`: who the oracle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// X-only key, hex.
    pub pubkey: XOnlyPublicKey,
    /// `regtest`, `signet`, or `bitcoin` with the live feed.
    pub network: String,
    /// Version of the oracle's software.
    pub version: String,
    /// Where its prices come from: `live`, `replay` or `manual`.
    pub feed: String,
    /// Lowest level of the ladder, dollars.
    pub lowest_level: u32,
    /// Highest level of the ladder, dollars.
    pub highest_level: u32,
    /// Levels in one band.
    pub band: u32,
}

/// `GET /v1/status`: how far the oracle has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Everything up to this moment of its clock has been read, stored and is being served.
    pub clock: Time,
    /// Hours that end at or before this moment are final.
    pub frozen_until: Time,
    /// The price at `clock`, cents per bitcoin, if there is one.
    pub spot_cents: Option<Cents>,
    /// Hours with a low.
    pub lows: u64,
    /// Fixings said.
    pub fixings: u64,
    /// What is wrong, if anything is: while it is, nothing new is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// Seconds that its clock is ahead of the database it shares with its replicas; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead: Option<i64>,
}

/// One entry of `GET /list-events`, in kormir's shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedEvent {
    /// The event's id.
    pub event_id: String,
    /// Its announcement.
    pub announcement: OracleAnnouncement,
    /// Kormir's counters of nonces: we have none.
    pub indexes: Vec<u32>,
    /// Outcome and signature, digit by digit; empty while nothing is attested.
    pub signatures: Vec<(String, Signature)>,
    /// Nostr event of the announcement: none.
    pub announcement_event_id: Option<String>,
    /// Nostr event of the attestation: none.
    pub attestation_event_id: Option<String>,
}

impl ListedEvent {
    /// An announcement and what has been attested of it.
    pub fn new(announcement: OracleAnnouncement, attestation: Option<OracleAttestation>) -> ListedEvent {
        let signatures =
            attestation.map(|said| said.outcomes.into_iter().zip(said.signatures).collect()).unwrap_or_default();
        ListedEvent {
            event_id: announcement.oracle_event.event_id.clone(),
            announcement,
            indexes: Vec::new(),
            signatures,
            announcement_event_id: None,
            attestation_event_id: None,
        }
    }
}

/// What an error looks like on every route, beside its HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs: a short name that does not change.
    pub code: String,
    /// For people: one sentence.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Level;
    use secp256k1_zkp::SecretKey;

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    #[test]
    fn a_price_is_believed_only_as_it_was_signed() {
        let oracle = keys(7);
        let price = SignedPrice::sign(&oracle, Time(1_584_007_200), Cents(798_765));
        let text = serde_json::to_string(&price).unwrap();
        let read: SignedPrice = serde_json::from_str(&text).unwrap();
        read.verify(&oracle.public_key()).unwrap();
        assert!(read.verify(&keys(8).public_key()).is_err());
        assert!(SignedPrice { cents: Cents(798_764), ..read }.verify(&oracle.public_key()).is_err());
        assert!(SignedPrice { unix: Time(1_584_007_201), ..read }.verify(&oracle.public_key()).is_err());
    }

    #[test]
    fn lows_prove_a_touch_from_its_hour_on_and_no_other_day() {
        let mut lows = [None; 24];
        (lows[3], lows[9], lows[10]) = (Some(Cents(700_000)), Some(Cents(750_000)), Some(Cents(749_001)));
        let day = Day(18_333);
        let frozen_until = day.start().unwrap().plus(11 * HOUR).unwrap();
        let said = SignedLows::sign(&keys(7), day, frozen_until, lows);
        let text = serde_json::to_string(&said).unwrap();
        assert!(text.contains("\"day\":\"20200312\""), "{text}");
        let said: SignedLows = serde_json::from_str(&text).unwrap();
        said.verify(&keys(7).public_key()).unwrap();
        let touch = |dollars, day, from_hour| Event::Touch { level: Level::exactly(dollars).unwrap(), day, from_hour };
        assert!(said.prove(touch(7_000, day, 3)));
        assert!(!said.prove(touch(7_000, day, 4)), "the low of 03:00 is before the start hour");
        assert!(said.prove(touch(7_500, day, 4)), "exactly at the level counts");
        assert!(!said.prove(touch(7_490, day, 4)), "a cent above the level does not");
        assert!(!said.prove(touch(7_500, Day(18_334), 4)));
        assert!(said.was_missed(4) && !said.was_missed(3) && !said.was_missed(11) && !said.was_missed(200));
        assert!(!said.is_closed());
        let mut forged = said.clone();
        forged.lows[4] = Some(Cents(0));
        assert!(forged.verify(&keys(7).public_key()).is_err());
        let mut forged = said;
        forged.frozen_until = Time(0);
        assert!(forged.verify(&keys(7).public_key()).is_err());
    }

    #[test]
    fn a_list_is_old_a_quarter_of_an_hour_after_another_hour_should_be_final_in_it_and_not_before() {
        let day = Day(18_333);
        let at = |hour: u32, seconds: u32| day.start().unwrap().plus(hour * HOUR + seconds).unwrap();
        let list = |hour| SignedLows::sign(&keys(7), day, at(hour, 0), [None; 24]);
        let end = day.end().unwrap();
        let (last, first) = (at(14, FINAL_WITHIN - 1), at(14, FINAL_WITHIN));
        assert_eq!(list(13).unheard(end, last), None);
        let unheard = list(13).unheard(end, first).unwrap();
        assert_eq!((unheard.from, unheard.until, unheard.since()), (at(13, 0), at(14, 0), first));
        assert_eq!(list(14).unheard(end, first), None);
        // A past day is final as a whole, of the next day's first quarter of an hour all but its last hour.
        assert_eq!(list(23).unheard(end, at(24, FINAL_WITHIN - 1)), None);
        assert_eq!(list(23).unheard(end, at(24, FINAL_WITHIN)), Some(Unheard { from: at(23, 0), until: end }));
        assert_eq!(list(24).unheard(end, Time(u32::MAX)), None);
        // Hours that do not count are not missed.
        assert_eq!(list(13).unheard(at(13, 0), at(20, 0)), None);
        assert_eq!(list(13).unheard(end, Time(0)), None);
        let both = unheard.with(Unheard { from: at(9, 0), until: at(10, 0) });
        assert_eq!((both.from, both.until), (at(9, 0), at(14, 0)));
    }
}
