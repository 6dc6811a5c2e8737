//! The book of payments: which payment events were made, and what was attested of them.
//!
//! An operator or a webhook makes a payment, which announces both its events, and later attests at most one of them.
//! Every line is durable before anything is announced or signed. A word is said once: saying it again changes nothing,
//! saying the other is refused. Nothing is listed in public.
//!
//! Lines of the journal `payments`: `made ID DAY` · `said ID WORD` · `heard UNIX MAC` (a webhook's order, so that it is
//! obeyed once).

use super::journal::Journal;
use crate::event::{Event, PaymentId, PaymentWord};
use crate::units::{Day, Time};
use anyhow::Context;
use rand::rngs::OsRng;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const NAME: &str = "hypothec payments 1";
/// How long an order by webhook may be under way, in seconds, either way: clocks differ.
pub const WINDOW: u32 = 300;

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Make a payment whose events announce the end of this UTC day, `YYYYMMDD`, as their maturity.
    Make {
        /// The day.
        until: String,
    },
    /// Attest an event of a payment.
    Attest {
        /// Its id.
        event: String,
    },
    /// Show all payments.
    List {},
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// A payment.
    One(PaymentView),
    /// All payments.
    All {
        /// In no order that says anything.
        payments: Vec<PaymentView>,
    },
    /// Nothing was done.
    Refused {
        /// One sentence.
        refused: String,
    },
}

/// A payment as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentView {
    /// The id of its event `paid`.
    pub paid: String,
    /// The id of its event `undisbursed`.
    pub undisbursed: String,
    /// What was attested.
    pub said: Option<String>,
}

/// Why an order is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// Not a day that can be announced.
    #[error("the day {0:?} is not one as YYYYMMDD, or is over; name the last day on which something can be said")]
    Day(String),
    /// No such payment.
    #[error("{0:?} is no event of a payment made here; `payment list` shows them")]
    Unknown(String),
    /// The other was said.
    #[error("of payment {id} {said:?} was attested; the other cannot be")]
    Contradiction { id: PaymentId, said: PaymentWord },
    /// Said twice, by the same message.
    #[error("this message has been obeyed already; sign a new one with a new time")]
    Replayed,
    /// The disk.
    #[error("the book of payments cannot be written: {0:#}")]
    Disk(anyhow::Error),
}

/// A webhook's message: when it was signed, and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard {
    /// As the sender said.
    pub at: Time,
    /// HMAC-SHA256.
    pub mac: [u8; 32],
}

struct Book {
    journal: Journal,
    made: BTreeMap<PaymentId, (Day, Option<PaymentWord>)>,
    heard: BTreeMap<Heard, ()>,
}

/// The book; clones are the same book.
#[derive(Clone)]
pub struct Payments(Arc<Mutex<Book>>);

impl Payments {
    /// Opens the book of a data folder, or begins it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(data: &Path) -> anyhow::Result<Payments> {
        let path = data.join("payments");
        if !path.exists() {
            Journal::create(&path, NAME)?;
        }
        let (journal, lines) = Journal::open(&path, NAME)?;
        let mut book = Book { journal, made: BTreeMap::new(), heard: BTreeMap::new() };
        for line in lines {
            book.apply(&line).with_context(|| format!("{} holds {line:?}, which cannot be", path.display()))?;
        }
        Ok(Payments(Arc::new(Mutex::new(book))))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was attested of each payment of a data folder's book; nothing where there is none.
    ///
    /// # Errors
    /// When the book cannot be read, or a daemon has it open.
    pub fn attested(data: &Path) -> anyhow::Result<BTreeMap<PaymentId, PaymentWord>> {
        if !data.join("payments").exists() {
            return Ok(BTreeMap::new());
        }
        let payments = Payments::open(data)?;
        let book = payments.book();
        Ok(book.made.iter().filter_map(|(id, (_, said))| Some((*id, (*said)?))).collect())
    }

    /// Was this event made here?
    pub fn is_made(&self, event: Event) -> bool {
        matches!(event, Event::Payment { id, day, .. } if self.book().made.get(&id).is_some_and(|(on, _)| *on == day))
    }

    /// Was this event attested?
    pub fn is_attested(&self, event: Event) -> bool {
        matches!(event, Event::Payment { id, day, word }
            if self.book().made.get(&id).is_some_and(|(on, said)| *on == day && *said == Some(word)))
    }

    /// Does what is ordered. When this returns it is durable. `heard` is the message of a webhook that ordered it.
    ///
    /// # Errors
    /// Why not.
    pub fn obey(&self, order: &Order, now: Time, heard: Option<Heard>) -> Result<Told, PaymentError> {
        let mut book = self.book();
        if heard.is_some_and(|heard| book.heard.contains_key(&heard)) {
            return Err(PaymentError::Replayed);
        }
        let (id, mut lines) = match order {
            Order::List {} => {
                let payments = book.made.iter().map(|(id, (day, said))| view(*id, *day, *said)).collect();
                return Ok(Told::All { payments });
            }
            Order::Make { until } => {
                let day = Day::from_yyyymmdd(until).filter(|day| *day >= now.day() && day.end().is_some());
                let day = day.ok_or_else(|| PaymentError::Day(until.chars().take(20).collect()))?;
                let mut id = PaymentId([0; 16]);
                OsRng.fill_bytes(&mut id.0);
                (id, vec![format!("made {id} {day}")])
            }
            Order::Attest { event } => book.attest(event)?,
        };
        lines.extend(heard.map(|heard| format!("heard {} {}", heard.at.0, hex(&heard.mac))));
        book.journal.append(&lines).map_err(PaymentError::Disk)?;
        for line in &lines {
            book.apply(line).context("the book on disk and in memory differ").map_err(PaymentError::Disk)?;
        }
        // Older messages are refused by their time alone.
        book.heard.retain(|heard, ()| now.since(heard.at) <= 2 * WINDOW);
        let (day, said) = book.made.get(&id).copied().ok_or_else(|| PaymentError::Unknown(id.to_string()))?;
        Ok(Told::One(view(id, day, said)))
    }
}

impl Book {
    /// The payment that is meant, and the line that says it unless it was said before.
    fn attest(&self, event: &str) -> Result<(PaymentId, Vec<String>), PaymentError> {
        let unknown = || PaymentError::Unknown(event.chars().take(80).collect());
        let Some(Event::Payment { id, day, word }) = Event::parse(event) else { return Err(unknown()) };
        match self.made.get(&id) {
            Some((on, None)) if *on == day => Ok((id, vec![format!("said {id} {}", word.text())])),
            Some((on, Some(said))) if *on == day && *said == word => Ok((id, Vec::new())),
            Some((on, Some(said))) if *on == day => Err(PaymentError::Contradiction { id, said: *said }),
            _ => Err(unknown()),
        }
    }

    fn apply(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        match (words.next()?, words.next()?, words.next()?) {
            ("made", id, day) => {
                let payment = (Day::from_yyyymmdd(day)?, None);
                self.made.insert(PaymentId::parse(id)?, payment).is_none().then_some(())
            }
            ("said", id, word) => {
                let (_, said) = self.made.get_mut(&PaymentId::parse(id)?)?;
                said.replace(PaymentWord::parse(word)?).is_none().then_some(())
            }
            ("heard", at, mac) => {
                let heard = Heard { at: Time(at.parse().ok()?), mac: unhex(mac)? };
                self.heard.insert(heard, ());
                Some(())
            }
            _ => None,
        }
    }
}

fn view(id: PaymentId, day: Day, said: Option<PaymentWord>) -> PaymentView {
    let event = |word| Event::Payment { id, day, word }.to_string();
    PaymentView {
        paid: event(PaymentWord::Paid),
        undisbursed: event(PaymentWord::Undisbursed),
        said: said.map(|word| word.text().to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    use bitcoin::hex::DisplayHex;
    bytes.to_lower_hex_string()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    use bitcoin::hex::FromHex;
    <[u8; 32]>::from_hex(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_584_007_200);

    fn make(book: &Payments) -> PaymentView {
        match book.obey(&Order::Make { until: "20200401".into() }, NOW, None).unwrap() {
            Told::One(view) => view,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_payment_is_made_said_once_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let book = Payments::open(folder.path()).unwrap();
        let (one, other) = (make(&book), make(&book));
        assert_ne!(one.paid, other.paid, "ids are random");
        let paid = Event::parse(&one.paid).unwrap();
        let undisbursed = Event::parse(&one.undisbursed).unwrap();
        assert!(book.is_made(paid) && book.is_made(undisbursed) && !book.is_attested(paid));
        let say = Order::Attest { event: one.paid.clone() };
        for _ in 0..2 {
            book.obey(&say, NOW, None).unwrap();
        }
        drop(book);
        let book = Payments::open(folder.path()).unwrap();
        assert!(book.is_attested(paid) && !book.is_attested(undisbursed));
        let contradiction = book.obey(&Order::Attest { event: one.undisbursed }, NOW, None);
        assert!(matches!(contradiction, Err(PaymentError::Contradiction { said: PaymentWord::Paid, .. })));
        assert!(!book.is_attested(undisbursed));
        let Told::All { payments } = book.obey(&Order::List {}, NOW, None).unwrap() else { panic!("a list") };
        assert_eq!(payments.len(), 2);
    }

    #[test]
    fn what_nobody_made_cannot_be_attested_and_a_day_that_is_over_cannot_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let book = Payments::open(folder.path()).unwrap();
        let one = make(&book);
        let strange = format!("pay-{}-20200401-paid", "00".repeat(16));
        for event in [strange, one.paid.replace("20200401", "20200402"), "btcusd1584007200".into(), String::new()] {
            let order = Order::Attest { event };
            assert!(matches!(book.obey(&order, NOW, None), Err(PaymentError::Unknown(_))), "{order:?}");
        }
        for until in ["20200311", "2020-04-01", "", "21060207"] {
            let order = Order::Make { until: until.into() };
            assert!(matches!(book.obey(&order, NOW, None), Err(PaymentError::Day(_))), "{until}");
        }
    }

    #[test]
    fn a_message_is_obeyed_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let book = Payments::open(folder.path()).unwrap();
        let heard = Some(Heard { at: NOW, mac: [7; 32] });
        let order = Order::Make { until: "20200401".into() };
        book.obey(&order, NOW, heard).unwrap();
        assert!(matches!(book.obey(&order, NOW, heard), Err(PaymentError::Replayed)));
        drop(book);
        let book = Payments::open(folder.path()).unwrap();
        assert!(matches!(book.obey(&order, NOW, heard), Err(PaymentError::Replayed)));
    }
}
