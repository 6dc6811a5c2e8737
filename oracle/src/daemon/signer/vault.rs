//! The vault: the key, the record, and what may be signed. Decides, makes the decision durable, then signs.

use super::ask::{Answer, Ask, Say, MOST};
use super::client::Unsigned;
use super::record::{Entry, Record, Signed};
use crate::announce::{AnnounceError, OracleKeys, ProvenAnnouncement};
use crate::clock::Clock;
use crate::event::{Event, PaymentId, PaymentWord};
use crate::relay::note::Draft;
use crate::statement::{Statement, LOG_HEAD, LOWS, PRICE, WATERMARK};
use crate::units::{Cents, Day, Time, HOUR};
use crate::verify::{dollars_fixed, fixing_digits};
use anyhow::Context;
use bitcoin::hex::FromHex;
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::OracleAttestation;
use secp256k1_zkp::schnorr::Signature;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Payments that may be signed for the first time within [`SPELL`]: a payment system is slower, and a daemon that was
/// taken over fills the record more slowly. Real time.
const PAYMENTS: usize = 1_000;
/// See [`PAYMENTS`].
const SPELL: Duration = Duration::from_secs(60);

/// Why something is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than one request may hold.
    #[error("{0} events are asked for; at most {MOST} in one request")]
    TooMany(usize),
    /// No event, no hour, no level of the ladder, no known statement.
    #[error("{0:?} is nothing this signer signs; see the event ids and statements of the protocol")]
    Unknown(String),
    /// Not yet.
    #[error("{what} at {at} is in the future: this signer's clock says {now}; check both clocks")]
    Future { what: &'static str, at: Time, now: Time },
    /// A second outcome.
    #[error("the fixing of {at} was signed as {signed} dollars; {asked} dollars would give the key away")]
    SecondFixing { at: Time, signed: u32, asked: u32 },
    /// A second outcome of a payment.
    #[error("payment {id} was attested as {signed}; it cannot be {asked} too")]
    SecondPayment { id: PaymentId, signed: PaymentWord, asked: PaymentWord },
    /// The grounds of a touch do not make it true.
    #[error("the low of {low} in the hour of {hour} does not make {event} true")]
    NotTrue { event: Event, hour: Time, low: Cents },
    /// A low that comes after its hour was closed.
    #[error("the hour of {hour} is final with {}; {low} comes too late", known.map_or("no low".to_owned(), |known| known.to_string()))]
    TooLate { hour: Time, known: Option<Cents>, low: Cents },
    /// The asker has not seen what this signer was told.
    #[error("the asker's lows of {day} are older than what this signer was told; look again")]
    Outdated { day: Day },
    /// A price of zero.
    #[error("the price at {0} is zero")]
    Zero(Time),
    /// Faster than any payment system.
    #[error("more than {PAYMENTS} payments are to be signed within a minute; ask again later")]
    TooFast,
    /// A watermark below one that was stated.
    #[error(
        "a watermark of {stated} records was stated, and this one has {asked}: its ledger is older; find the newest"
    )]
    OlderMark { stated: u64, asked: u64 },
    /// The key cannot sign it.
    #[error(transparent)]
    Key(#[from] AnnounceError),
    /// Clock or disk.
    #[error("{0}")]
    Broken(String),
}

/// Holds the key.
#[derive(Debug)]
pub struct Vault {
    keys: OracleKeys,
    /// None beside a desk: that has decided by its own clock, and there is no second one to hold against it.
    clock: Option<Clock>,
    record: Mutex<Record>,
    spell: Mutex<Spell>,
    /// Records of the last watermark stated by this process. Not on disk: a daemon that was taken over could have one stated
    /// that no honest ledger ever reaches, and must not silence the key's watermarks for good.
    marked: Mutex<u64>,
}

/// How many payments were signed since when.
#[derive(Debug)]
struct Spell {
    since: Instant,
    payments: usize,
}

impl Spell {
    fn new() -> Spell {
        Spell { since: Instant::now(), payments: 0 }
    }

    fn take(&mut self, more: usize) -> Result<(), Refusal> {
        if self.since.elapsed() >= SPELL {
            *self = Spell::new();
        }
        let payments = self.payments.saturating_add(more);
        if payments > PAYMENTS {
            return Err(Refusal::TooFast);
        }
        self.payments = payments;
        Ok(())
    }
}

impl Vault {
    /// A vault for a key whose record lies in `data`.
    ///
    /// # Errors
    /// When the record cannot be opened.
    pub fn open(data: &Path, keys: OracleKeys, clock: Clock) -> anyhow::Result<Vault> {
        let record = Record::open(data, &keys.public_key()).context("open the signer's record")?;
        Ok(Vault::new(keys, Some(clock), record))
    }

    /// A vault in a daemon's own process, whose desk knows the time. `record` is whole.
    pub fn beside_desk(keys: OracleKeys, record: Record) -> Vault {
        Vault::new(keys, None, record)
    }

    fn new(keys: OracleKeys, clock: Option<Clock>, record: Record) -> Vault {
        let (spell, marked) = (Mutex::new(Spell::new()), Mutex::new(0));
        Vault { keys, clock, record: Mutex::new(record), spell, marked }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The public key.
    pub fn public_key(&self) -> XOnlyPublicKey {
        self.keys.public_key()
    }

    /// Answers a request as it came over the socket. Anything that is no request is refused.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        let answer = match serde_json::from_slice(request) {
            Ok(ask) => self.hear(ask).unwrap_or_else(|refusal| {
                tracing::warn!("refused: {refusal}");
                Answer::Refused { outdated: matches!(refusal, Refusal::Outdated { .. }), why: refusal.to_string() }
            }),
            Err(error) => Answer::Refused { why: format!("this is no request: {error}"), outdated: false },
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// Does what is asked, if it may be done.
    ///
    /// # Errors
    /// Why not. Then nothing was signed.
    pub fn hear(&self, ask: Ask) -> Result<Answer, Refusal> {
        match ask {
            Ask::Key {} => {
                // A signer whose disk hangs must not seem to be well.
                drop(self.record());
                Ok(Answer::Key { key: self.public_key() })
            }
            Ask::Announce { ids } => {
                at_most(ids.len())?;
                let event = |id: &String| Event::parse(id).ok_or_else(|| unknown(id));
                let events = ids.iter().map(event).collect::<Result<Vec<_>, _>>()?;
                Ok(Answer::announced(&self.announcements(&events)?))
            }
            Ask::Attest { say } => {
                at_most(say.len())?;
                let made = self.attest(&say)?;
                Ok(Answer::Attested { signatures: made.into_iter().map(|made| made.signatures).collect() })
            }
            Ask::State { tag, data } => {
                let bytes = Vec::<u8>::from_hex(&data).map_err(|_| unknown(&tag))?;
                let statement = Statement::new(&tag, bytes).ok_or_else(|| unknown(&tag))?;
                Ok(Answer::Stated { signature: self.state(&statement)? })
            }
            Ask::Publish { announce, say } => {
                at_most(announce.len().saturating_add(say.len()))?;
                let event = |id: &String| Event::parse(id).ok_or_else(|| unknown(id));
                let announce = announce.iter().map(event).collect::<Result<Vec<_>, _>>()?;
                Ok(Answer::Published { signatures: self.publish(&announce, &say)? })
            }
        }
    }

    /// Announcements, in order: they bind nobody and are not recorded.
    ///
    /// # Errors
    /// When an event matures after 2106.
    pub fn announcements(&self, events: &[Event]) -> Result<Vec<ProvenAnnouncement>, AnnounceError> {
        events.iter().map(|event| self.keys.announcement(*event)).collect()
    }

    /// Attestations, in order. All or nothing: one thing that may not be said spoils the request.
    ///
    /// # Errors
    /// Why not. Then nothing was signed.
    pub fn attest(&self, say: &[Say]) -> Result<Vec<OracleAttestation>, Refusal> {
        let now = self.now()?;
        let mut outcomes = Vec::with_capacity(say.len());
        {
            let mut record = self.record();
            let mut after = record.signed.clone_for(say);
            let mut entries = Vec::new();
            for one in say {
                let (event, outcome, entry) = decide(&after, one, now)?;
                if let Some(entry) = entry {
                    after.apply(entry);
                    entries.push(entry);
                }
                outcomes.push((event, outcome));
            }
            let payments = entries.iter().filter(|entry| matches!(entry, Entry::Payment(..))).count();
            self.spell.lock().unwrap_or_else(PoisonError::into_inner).take(payments)?;
            record.append(&entries).map_err(|error| Refusal::Broken(format!("{error:#}")))?;
        }
        outcomes.into_iter().map(|(event, outcome)| Ok(self.keys.attest(event, outcome)?)).collect()
    }

    /// Signs notes of words that are made here, of which nothing but the event is the asker's: announcements, then
    /// attestations. What an attestation needs, its note needs too. Why no note can be read as anything else:
    /// [`crate::relay::note`].
    ///
    /// # Errors
    /// Why not. Then nothing was signed.
    pub fn publish(&self, announce: &[Event], say: &[Say]) -> Result<Vec<Signature>, Refusal> {
        let announcement = |event: Event| {
            let proven = self.keys.announcement(event)?;
            Draft::announcement(event, &proven).ok_or_else(|| unknown(&event.to_string()))
        };
        let mut drafts = announce.iter().copied().map(announcement).collect::<Result<Vec<_>, _>>()?;
        if let Some(id) = say.iter().find_map(|one| if let Say::Payment { id } = one { Some(id) } else { None }) {
            return Err(unknown(&format!("a note of payment {id}")));
        }
        // Every word that was attested is about an event.
        let events = say.iter().filter_map(Say::event);
        for (said, event) in self.attest(say)?.iter().zip(events) {
            let announced = announcement(event)?.id();
            let draft = Draft::attestation(event, said, announced);
            drafts.push(draft.ok_or_else(|| unknown(&event.to_string()))?);
        }
        Ok(drafts.iter().map(|draft| draft.sign(&self.keys)).collect())
    }

    /// A statement's signature.
    ///
    /// # Errors
    /// Why it is not signed.
    pub fn state(&self, statement: &Statement) -> Result<Signature, Refusal> {
        let now = self.now()?;
        match statement.tag {
            PRICE => check_price(&statement.data, now)?,
            LOWS => {
                let mut record = self.record();
                let entries = check_lows(&record.signed, &statement.data, now)?;
                record.append(&entries).map_err(|error| Refusal::Broken(format!("{error:#}")))?;
            }
            LOG_HEAD => drop(number_and_time(statement, now, "the log's head")?),
            WATERMARK => {
                let (asked, _) = number_and_time(statement, now, "the watermark's end")?;
                let mut stated = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
                if asked < *stated {
                    return Err(Refusal::OlderMark { stated: *stated, asked });
                }
                *stated = asked;
            }
            _ => {}
        }
        Ok(statement.sign(&self.keys))
    }

    fn now(&self) -> Result<Time, Refusal> {
        let Some(clock) = &self.clock else { return Ok(Time(u32::MAX)) };
        clock.now().map_err(|error| Refusal::Broken(format!("{error:#}")))
    }
}

impl From<Refusal> for Unsigned {
    fn from(refusal: Refusal) -> Unsigned {
        Unsigned { outdated: matches!(refusal, Refusal::Outdated { .. }), why: refusal.to_string(), away: false }
    }
}

impl Signed {
    /// The part of the record that a request touches, so that it can be tried without holding a second whole copy.
    fn clone_for(&self, say: &[Say]) -> Signed {
        let mut part = Signed::default();
        for one in say {
            match (one, one.event()) {
                (Say::Fixing { at, .. }, _) => {
                    part.fixings.extend(self.fixings.get(at).map(|dollars| (*at, *dollars)));
                }
                (Say::Touch { hour, .. }, _) => {
                    part.lows.extend(self.lows.get(hour).map(|low| (*hour, *low)));
                    part.closed.extend(self.closed.get(&hour.day()).map(|until| (hour.day(), *until)));
                }
                (Say::Payment { .. }, Some(Event::Payment { id, .. })) => {
                    part.payments.extend(self.payments.get(&id).map(|word| (id, *word)));
                }
                (Say::Payment { .. }, _) => {}
            }
        }
        part
    }
}

fn at_most(asked: usize) -> Result<(), Refusal> {
    if asked > MOST {
        return Err(Refusal::TooMany(asked));
    }
    Ok(())
}

fn unknown(text: &str) -> Refusal {
    Refusal::Unknown(text.chars().take(80).collect())
}

/// May this be said? The event, its outcome, and what must be durable first.
fn decide(signed: &Signed, say: &Say, now: Time) -> Result<(Event, Vec<String>, Option<Entry>), Refusal> {
    let event = say.event().ok_or_else(|| unknown(&say.to_string()))?;
    match (event, say) {
        (Event::Fixing { at }, Say::Fixing { cents, .. }) => {
            let asked = dollars_fixed(*cents);
            if at > now {
                return Err(Refusal::Future { what: "the fixing", at, now });
            }
            if *cents == Cents(0) {
                return Err(Refusal::Zero(at));
            }
            let entry = match signed.fixings.get(&at) {
                Some(signed) if *signed != asked => {
                    return Err(Refusal::SecondFixing { at, signed: *signed, asked });
                }
                Some(_) => None,
                None => Some(Entry::Fixing(at, asked)),
            };
            Ok((event, fixing_digits(*cents), entry))
        }
        (Event::Touch { level, day, .. }, Say::Touch { hour, low, .. }) => {
            let (hour, low) = (*hour, *low);
            let inside = event.touch_from().is_some_and(|from| from <= hour) && hour.day() == day;
            if !hour.0.is_multiple_of(HOUR) || !inside || low > level.cents() || low == Cents(0) {
                return Err(Refusal::NotTrue { event, hour, low });
            }
            if hour > now {
                return Err(Refusal::Future { what: "the low", at: hour, now });
            }
            // A low above the least one told: an older view of the same hour, true all the more.
            let told = signed.lows.get(&hour).copied();
            let entry = match told {
                Some(told) if told <= low => None,
                _ if is_closed(signed, hour) => return Err(Refusal::TooLate { hour, known: told, low }),
                _ => Some(Entry::Low(hour, low)),
            };
            Ok((event, vec![event.to_string()], entry))
        }
        (Event::Payment { id, word, .. }, _) => {
            let entry = match signed.payments.get(&id) {
                Some(said) if *said != word => {
                    return Err(Refusal::SecondPayment { id, signed: *said, asked: word });
                }
                Some(_) => None,
                None => Some(Entry::Payment(id, word)),
            };
            Ok((event, vec![event.to_string()], entry))
        }
        _ => Err(unknown(&event.to_string())),
    }
}

fn is_closed(signed: &Signed, hour: Time) -> bool {
    let end = hour.plus(HOUR);
    signed.closed.get(&hour.day()).is_some_and(|until| end.is_some_and(|end| end <= *until))
}

/// What the log's head and a watermark begin with: a count, and a moment that has been.
fn number_and_time(statement: &Statement, now: Time, what: &'static str) -> Result<(u64, Time), Refusal> {
    let malformed = || unknown(statement.tag);
    let (number, rest) = statement.data.split_first_chunk().ok_or_else(malformed)?;
    let (unix, _) = rest.split_first_chunk().ok_or_else(malformed)?;
    let (number, at) = (u64::from_be_bytes(*number), Time(u32::from_be_bytes(*unix)));
    if at > now {
        return Err(Refusal::Future { what, at, now });
    }
    Ok((number, at))
}

fn check_price(data: &[u8], now: Time) -> Result<(), Refusal> {
    let (unix, cents) = data.split_first_chunk().ok_or_else(|| unknown(PRICE))?;
    let at = Time(u32::from_be_bytes(*unix));
    if at > now {
        return Err(Refusal::Future { what: "the price", at, now });
    }
    if cents.iter().all(|byte| *byte == 0) {
        return Err(Refusal::Zero(at));
    }
    Ok(())
}

/// A day's lows against what was told before: what is told only falls, and what is closed stays.
fn check_lows(signed: &Signed, data: &[u8], now: Time) -> Result<Vec<Entry>, Refusal> {
    let malformed = || unknown(LOWS);
    let (day, rest) = data.split_first_chunk().ok_or_else(malformed)?;
    let (until, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
    let (day, until) = (Day(u32::from_be_bytes(*day)), Time(u32::from_be_bytes(*until)));
    let (start, end) = day.start().zip(day.end()).ok_or_else(malformed)?;
    if until > now {
        return Err(Refusal::Future { what: "the end of what is final", at: until, now });
    }
    let mut entries = Vec::new();
    for (number, entry) in (0u32..).zip(rest.chunks_exact(9)) {
        let hour = start.plus(number.saturating_mul(HOUR)).ok_or_else(malformed)?;
        let (known, cents) = entry.split_first().ok_or_else(malformed)?;
        let cents = Cents(u64::from_be_bytes(cents.try_into().map_err(|_| malformed())?));
        match (known, cents, signed.lows.get(&hour)) {
            (0, Cents(0), None) => {}
            (0, Cents(0), Some(_)) => return Err(Refusal::Outdated { day }),
            (1, Cents(0), _) => return Err(Refusal::Zero(hour)),
            (1, low, Some(told)) if low == *told => {}
            (1, low, Some(told)) if low > *told => return Err(Refusal::Outdated { day }),
            (1, low, told) if is_closed(signed, hour) => {
                return Err(Refusal::TooLate { hour, known: told.copied(), low });
            }
            (1, _, _) if hour > now => return Err(Refusal::Future { what: "the low", at: hour, now }),
            (1, low, _) => entries.push(Entry::Low(hour, low)),
            _ => return Err(malformed()),
        }
    }
    let until = until.min(end);
    match signed.closed.get(&day) {
        Some(known) if *known > until => return Err(Refusal::Outdated { day }),
        Some(known) if *known == until => {}
        _ if until > start => entries.push(Entry::Closed(day, until)),
        _ => {}
    }
    Ok(entries)
}
