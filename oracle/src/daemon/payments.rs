//! The book of payments: which payment events were made, and what was attested of them.
//!
//! An operator or a webhook makes a payment, which announces both its events, and later attests at most one of them.
//! Every note is durable before anything is announced or signed. A word is said once: saying it again changes nothing,
//! saying the other is refused. Nothing is listed in public.
//!
//! The book is the notes in the ledger's store ([`Notes`]): replicas share it, and any of them takes orders. A decision is
//! made on all that was written; if another replica wrote meanwhile, it is read and the decision made again. So of two
//! outcomes told to two replicas at once one is written, and the other refused by name.
//!
//! A payment may be made under the orderer's own reference: made again under it, it is the same payment. So an order whose
//! answer was lost is simply given again.
//!
//! Notes: `made ID DAY` · `named ID REFERENCE` · `said ID WORD` · `heard UNIX MAC` (a webhook's order, so that it is obeyed once).

use super::journal::Journal;
use super::store::{Appended, LogError, Notes};
use crate::event::{Event, PaymentId, PaymentWord};
use crate::units::{Day, Time};
use anyhow::{bail, Context};
use rand::rngs::OsRng;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// The first line of an older version's book, in the data folder.
const OLD: &str = "hypothec payments 1";
/// The first line of what stands in its place: an older version refuses it.
const MOVED: &str = "hypothec payments 2: they are in the ledger";
/// How often one order is decided again because another replica wrote meanwhile.
const TURNS: u32 = 8;
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
        /// What the orderer calls it, 1 to 64 of `A-Z a-z 0-9 . _ -`; never published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
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
    #[error("the day {0:?} cannot be named: write the last day on which something can be said as YYYYMMDD, from today to 2106")]
    Day(String),
    /// No such payment.
    #[error("{0:?} is no event of a payment made here; `payment list` shows them")]
    Unknown(String),
    /// The other was said.
    #[error("of payment {id} \"{}\" was attested; the other word cannot be", said.text())]
    Contradiction { id: PaymentId, said: PaymentWord },
    /// Not a name.
    #[error("the reference {0:?} is not 1 to 64 of A-Z a-z 0-9 . _ -")]
    Reference(String),
    /// One name for two payments.
    #[error("{reference:?} was made until {day} already; give another payment another reference")]
    Taken { reference: String, day: Day },
    /// Said twice, by the same message.
    #[error("this message has been obeyed already; sign a new one with a new time")]
    Replayed,
    /// The store. After it was away the order may have been obeyed or not: attesting again does no harm, and the list
    /// shows what was made.
    #[error("the book of payments: {0}; look at `payment list` before you order again")]
    Log(#[from] LogError),
}

/// A webhook's message: when it was signed, and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Heard {
    /// As the sender said.
    pub at: Time,
    /// HMAC-SHA256.
    pub mac: [u8; 32],
}

/// One line of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    Made { id: PaymentId, day: Day },
    Named { id: PaymentId, reference: String },
    Said { id: PaymentId, word: PaymentWord },
    Heard(Heard),
}

impl Note {
    fn line(&self) -> String {
        match self {
            Note::Made { id, day } => format!("made {id} {day}"),
            Note::Named { id, reference } => format!("named {id} {reference}"),
            Note::Said { id, word } => format!("said {id} {}", word.text()),
            Note::Heard(Heard { at, mac }) => format!("heard {} {}", at.0, hex(mac)),
        }
    }

    fn parse(line: &str) -> Option<Note> {
        let mut words = line.split(' ');
        let note = match (words.next()?, words.next()?, words.next()?) {
            ("made", id, day) => Note::Made { id: PaymentId::parse(id)?, day: Day::from_yyyymmdd(day)? },
            ("named", id, reference) if is_reference(reference) => {
                Note::Named { id: PaymentId::parse(id)?, reference: reference.to_owned() }
            }
            ("said", id, word) => Note::Said { id: PaymentId::parse(id)?, word: PaymentWord::parse(word)? },
            ("heard", at, mac) => Note::Heard(Heard { at: Time(at.parse().ok()?), mac: unhex(mac)? }),
            _ => return None,
        };
        Some(note).filter(|note| note.line() == line)
    }
}

/// All that was written.
#[derive(Clone, Default)]
struct Book {
    made: BTreeMap<PaymentId, (Day, Option<PaymentWord>)>,
    named: BTreeMap<String, PaymentId>,
    heard: BTreeSet<Heard>,
}

struct Shared {
    notes: Mutex<Box<dyn Notes>>,
    // Held briefly, never while the notes are waited for: public answers read it.
    book: RwLock<Book>,
}

/// The book; clones are the same book.
#[derive(Clone)]
pub struct Payments(Arc<Shared>);

impl Payments {
    /// Opens the book, and takes in the one that an older version kept in the data folder.
    ///
    /// # Errors
    /// When it cannot be read or written, or the old book contradicts it.
    pub fn open(data: &Path, notes: Box<dyn Notes>) -> anyhow::Result<Payments> {
        let payments = Payments(Arc::new(Shared { notes: Mutex::new(notes), book: RwLock::default() }));
        payments.hear().context("read the book of payments")?;
        payments.take_in(&data.join("payments"))?;
        Ok(payments)
    }

    fn notes(&self) -> MutexGuard<'_, Box<dyn Notes>> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.0.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Can other replicas write in it?
    pub fn is_shared(&self) -> bool {
        self.notes().is_shared()
    }

    /// What was attested of each payment, by the notes and by an older version's book in the data folder. Writes nothing.
    ///
    /// # Errors
    /// When they cannot be read, or contradict each other.
    pub fn attested(data: &Path, notes: Box<dyn Notes>) -> anyhow::Result<BTreeMap<PaymentId, PaymentWord>> {
        let payments = Payments(Arc::new(Shared { notes: Mutex::new(notes), book: RwLock::default() }));
        payments.hear()?;
        let path = data.join("payments");
        if path.exists() && Journal::is_named(&path, OLD)? {
            let missing = payments.book().missing(&Journal::open(&path, OLD)?.1)?;
            payments.apply(&missing)?;
        }
        Ok(payments.said())
    }

    /// What was attested of each payment.
    pub fn said(&self) -> BTreeMap<PaymentId, PaymentWord> {
        let book = self.book();
        book.made.iter().filter_map(|(id, (_, said))| Some((*id, (*said)?))).collect()
    }

    /// Was this event made, here or at another replica?
    pub fn is_made(&self, event: Event) -> bool {
        matches!(event, Event::Payment { id, day, .. } if self.book().made.get(&id).is_some_and(|(on, _)| *on == day))
    }

    /// Was this event attested?
    pub fn is_attested(&self, event: Event) -> bool {
        matches!(event, Event::Payment { id, day, word }
            if self.book().made.get(&id).is_some_and(|(on, said)| *on == day && *said == Some(word)))
    }

    /// Reads what other replicas have written. Blocks.
    ///
    /// # Errors
    /// When the notes cannot be reached, or are not what they were.
    pub fn hear(&self) -> Result<(), LogError> {
        self.read_on(self.notes().as_mut())
    }

    fn read_on(&self, notes: &mut dyn Notes) -> Result<(), LogError> {
        loop {
            let lines = notes.read()?;
            if lines.is_empty() {
                return Ok(());
            }
            self.apply(&lines)?;
        }
    }

    fn apply(&self, lines: &[String]) -> Result<(), LogError> {
        let mut book = self.0.book.write().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            let done = Note::parse(line).and_then(|note| book.apply(note));
            done.ok_or_else(|| LogError::Broken(format!("the book of payments holds {line:?}, which cannot be")))?;
        }
        Ok(())
    }

    /// Does what is ordered. When this returns it is durable for all replicas. `heard` is the message of a webhook that
    /// ordered it. Blocks.
    ///
    /// # Errors
    /// Why not.
    pub fn obey(&self, order: &Order, now: Time, heard: Option<Heard>) -> Result<Told, PaymentError> {
        let mut notes = self.notes();
        for _ in 0..TURNS {
            self.read_on(notes.as_mut())?;
            let (id, mut write) = match self.book().decide(order, now, heard.as_ref())? {
                Decided::Shown(told) => return Ok(told),
                Decided::Write(id, write) => (id, write),
            };
            write.extend(heard.map(Note::Heard));
            let lines: Vec<String> = write.iter().map(Note::line).collect();
            if lines.is_empty() || notes.append(&lines)? == Appended::Durable {
                self.apply(&lines)?;
                return self.book().show(id).ok_or_else(|| PaymentError::Unknown(id.to_string()));
            }
            // Another replica was first: what it wrote may change the answer.
        }
        Err(LogError::Away("other replicas write all the time".to_string()).into())
    }

    /// Writes an old book's lines into the shared one, once: after it the old file is out of the way, and an older
    /// version of this program that is started again refuses the new one.
    fn take_in(&self, path: &Path) -> anyhow::Result<()> {
        let shown = path.display();
        if path.exists() && Journal::is_named(path, OLD)? {
            let (journal, lines) = Journal::open(path, OLD)?;
            let mut notes = self.notes();
            loop {
                self.read_on(notes.as_mut())?;
                let missing = self.book().missing(&lines).with_context(|| {
                    format!(
                        "the book of payments in {shown} and the ledger's cannot both be right. Find out which was told \
                         to whoever relies on that payment, and move {shown} away"
                    )
                })?;
                if missing.is_empty() || notes.append(&missing)? == Appended::Durable {
                    self.apply(&missing)?;
                    tracing::info!("{} lines of {shown} are in the ledger now", missing.len());
                    break;
                }
            }
            std::fs::rename(path, path.with_extension("old")).with_context(|| format!("put {shown} out of the way"))?;
            drop(journal);
        }
        if !path.exists() {
            Journal::create(path, MOVED)?;
        }
        Ok(())
    }
}

/// What an order comes to.
enum Decided {
    /// Nothing is to be written.
    Shown(Told),
    /// Of this payment this is to be written; nothing if it was written before.
    Write(PaymentId, Vec<Note>),
}

impl Book {
    fn decide(&self, order: &Order, now: Time, heard: Option<&Heard>) -> Result<Decided, PaymentError> {
        if heard.is_some_and(|heard| self.heard.contains(heard)) {
            return Err(PaymentError::Replayed);
        }
        match order {
            Order::List {} => {
                let payments = self.made.iter().map(|(id, (day, said))| view(*id, *day, *said)).collect();
                Ok(Decided::Shown(Told::All { payments }))
            }
            Order::Make { until, reference } => {
                let day = Day::from_yyyymmdd(until).filter(|day| *day >= now.day() && day.end().is_some());
                let day = day.ok_or_else(|| PaymentError::Day(until.chars().take(20).collect()))?;
                self.make(day, reference.as_deref())
            }
            Order::Attest { event } => self.attest(event),
        }
    }

    /// A new payment, or the one that was made under this reference.
    fn make(&self, day: Day, reference: Option<&str>) -> Result<Decided, PaymentError> {
        if let Some(reference) = reference {
            if !is_reference(reference) {
                return Err(PaymentError::Reference(reference.chars().take(80).collect()));
            }
            let made = self.named.get(reference).and_then(|id| Some((*id, self.made.get(id)?.0)));
            match made {
                Some((id, on)) if on == day => return Ok(Decided::Write(id, Vec::new())),
                Some((_, day)) => return Err(PaymentError::Taken { reference: reference.to_owned(), day }),
                None => {}
            }
        }
        let mut id = PaymentId([0; 16]);
        OsRng.fill_bytes(&mut id.0);
        let named = reference.map(|reference| Note::Named { id, reference: reference.to_owned() });
        Ok(Decided::Write(id, [Note::Made { id, day }].into_iter().chain(named).collect()))
    }

    /// The payment that is meant, and the note that says it unless it was said before.
    fn attest(&self, event: &str) -> Result<Decided, PaymentError> {
        let unknown = || PaymentError::Unknown(event.chars().take(80).collect());
        let Some(Event::Payment { id, day, word }) = Event::parse(event) else { return Err(unknown()) };
        match self.made.get(&id) {
            Some((on, None)) if *on == day => Ok(Decided::Write(id, vec![Note::Said { id, word }])),
            Some((on, Some(said))) if *on == day && *said == word => Ok(Decided::Write(id, Vec::new())),
            Some((on, Some(said))) if *on == day => Err(PaymentError::Contradiction { id, said: *said }),
            _ => Err(unknown()),
        }
    }

    fn show(&self, id: PaymentId) -> Option<Told> {
        self.made.get(&id).map(|(day, said)| Told::One(view(id, *day, *said)))
    }

    fn apply(&mut self, note: Note) -> Option<()> {
        match note {
            Note::Made { id, day } => self.made.insert(id, (day, None)).is_none().then_some(()),
            Note::Named { id, reference } => {
                (self.made.contains_key(&id) && self.named.insert(reference, id).is_none()).then_some(())
            }
            Note::Said { id, word } => self.made.get_mut(&id)?.1.replace(word).is_none().then_some(()),
            Note::Heard(heard) => {
                self.heard.insert(heard);
                // Older messages are refused by their time alone, by every replica whose clock is near right.
                self.heard.retain(|old| heard.at.since(old.at) <= 3 * WINDOW);
                Some(())
            }
        }
    }

    /// Those lines of another book that this one has not.
    fn missing(&self, lines: &[String]) -> anyhow::Result<Vec<String>> {
        let (mut after, mut missing) = (self.clone(), Vec::new());
        for line in lines {
            let note = Note::parse(line).with_context(|| format!("{line:?} is no line of it"))?;
            let known = match &note {
                Note::Made { id, day } => after.made.get(id).map(|(on, _)| on == day),
                Note::Named { id, reference } => after.named.get(reference).map(|known| known == id),
                Note::Said { id, word } => after.made.get(id).and_then(|(_, said)| Some((*said)? == *word)),
                Note::Heard(heard) => after.heard.contains(heard).then_some(true),
            };
            match known {
                Some(true) => {}
                Some(false) => bail!("it says {line:?}, the ledger says otherwise of that payment"),
                None => {
                    after.apply(note).with_context(|| format!("{line:?} cannot be"))?;
                    missing.push(line.clone());
                }
            }
        }
        Ok(missing)
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

fn is_reference(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
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
    use super::super::store::{Log, Memory, Sled};
    use super::*;

    const NOW: Time = Time(1_584_007_200);

    fn open(folder: &Path) -> Payments {
        let log = Sled::open(folder).unwrap();
        Payments::open(folder, log.notes().unwrap()).unwrap()
    }

    fn make(book: &Payments) -> PaymentView {
        match book.obey(&Order::Make { until: "20200401".into(), reference: None }, NOW, None).unwrap() {
            Told::One(view) => view,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_payment_is_made_said_once_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let book = open(folder.path());
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
        let book = open(folder.path());
        assert!(book.is_attested(paid) && !book.is_attested(undisbursed));
        let contradiction = book.obey(&Order::Attest { event: one.undisbursed }, NOW, None);
        assert!(matches!(contradiction, Err(PaymentError::Contradiction { said: PaymentWord::Paid, .. })));
        assert!(!book.is_attested(undisbursed));
        let Told::All { payments } = book.obey(&Order::List {}, NOW, None).unwrap() else { panic!("a list") };
        assert_eq!(payments.len(), 2);
    }

    #[test]
    fn a_payment_made_again_under_its_reference_is_the_same_payment() {
        let folder = tempfile::tempdir().unwrap();
        let make = |book: &Payments, until: &str, reference: &str| {
            let order = Order::Make { until: until.into(), reference: Some(reference.into()) };
            book.obey(&order, NOW, None).map(|told| match told {
                Told::One(view) => view.paid,
                other => panic!("{other:?}"),
            })
        };
        let book = open(folder.path());
        let one = make(&book, "20200401", "loan-17").unwrap();
        assert_eq!(make(&book, "20200401", "loan-17").unwrap(), one);
        assert_ne!(make(&book, "20200401", "loan-18").unwrap(), one);
        drop(book);
        let book = open(folder.path());
        assert_eq!(make(&book, "20200401", "loan-17").unwrap(), one);
        let other = make(&book, "20200402", "loan-17").unwrap_err().to_string();
        assert!(other.contains("loan-17") && other.contains("20200401"), "{other}");
        for wrong in ["", "two words", "a\nsaid", &"x".repeat(65)] {
            assert!(matches!(make(&book, "20200401", wrong), Err(PaymentError::Reference(_))), "{wrong:?}");
        }
    }

    #[test]
    fn what_nobody_made_cannot_be_attested_and_a_day_that_is_over_cannot_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let book = open(folder.path());
        let one = make(&book);
        let strange = format!("pay-{}-20200401-paid", "00".repeat(16));
        for event in [strange, one.paid.replace("20200401", "20200402"), "btcusd1584007200".into(), String::new()] {
            let order = Order::Attest { event };
            assert!(matches!(book.obey(&order, NOW, None), Err(PaymentError::Unknown(_))), "{order:?}");
        }
        for until in ["20200311", "2020-04-01", "", "21060207"] {
            let order = Order::Make { until: until.into(), reference: None };
            assert!(matches!(book.obey(&order, NOW, None), Err(PaymentError::Day(_))), "{until}");
        }
    }

    #[test]
    fn a_message_is_obeyed_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let book = open(folder.path());
        let heard = Some(Heard { at: NOW, mac: [7; 32] });
        let order = Order::Make { until: "20200401".into(), reference: None };
        book.obey(&order, NOW, heard).unwrap();
        assert!(matches!(book.obey(&order, NOW, heard), Err(PaymentError::Replayed)));
        drop(book);
        let book = open(folder.path());
        assert!(matches!(book.obey(&order, NOW, heard), Err(PaymentError::Replayed)));
    }

    #[test]
    fn what_one_replica_makes_or_attests_the_other_serves_and_of_two_words_at_once_one_is_refused_by_name() {
        let (database, folders) = (Memory::default(), [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
        let open = |which: usize| Payments::open(folders[which].path(), database.notes().unwrap()).unwrap();
        let books = [open(0), open(1)];
        for turn in 0..20 {
            let one = make(&books[turn % 2]);
            let told: Vec<_> = std::thread::scope(|scope| {
                let orders = [(0, &one.paid), (1, &one.undisbursed)];
                let tell = |(which, event): (usize, &String)| {
                    let order = Order::Attest { event: event.clone() };
                    books[which].obey(&order, NOW, None)
                };
                let telling = orders.map(|order| scope.spawn(move || tell(order)));
                telling.map(|told| told.join().unwrap()).into_iter().collect()
            });
            let refused = |told: &&Result<Told, PaymentError>| matches!(told, Err(PaymentError::Contradiction { .. }));
            assert_eq!(told.iter().filter(refused).count(), 1, "{told:?}");
            books.iter().for_each(|book| book.hear().unwrap());
            let [paid, undisbursed] = [&one.paid, &one.undisbursed].map(|id| Event::parse(id).unwrap());
            let said = |book: &Payments| (book.is_attested(paid), book.is_attested(undisbursed));
            assert_eq!(said(&books[0]), (told[0].is_ok(), told[1].is_ok()));
            assert_eq!(said(&books[0]), said(&books[1]));
        }
        // A message is obeyed once, wherever it is sent.
        let (order, heard) =
            (Order::Make { until: "20200401".into(), reference: None }, Some(Heard { at: NOW, mac: [7; 32] }));
        books[0].obey(&order, NOW, heard).unwrap();
        assert!(matches!(books[1].obey(&order, NOW, heard), Err(PaymentError::Replayed)));
        database.cut(true);
        assert!(matches!(books[1].obey(&order, NOW, None), Err(PaymentError::Log(LogError::Away(_)))));
        assert!(books[1].is_made(Event::parse(&made_by(&books[1])).unwrap()), "what it knew it goes on serving");
    }

    fn made_by(book: &Payments) -> String {
        let made = book.book().made.iter().next().map(|(id, (day, said))| view(*id, *day, *said));
        made.unwrap().paid
    }

    #[test]
    fn the_books_of_older_versions_are_taken_in_once_and_one_that_contradicts_is_refused_with_the_remedy() {
        let database = Memory::default();
        let old = |lines: &[String]| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("payments");
            Journal::create(&path, OLD).unwrap();
            Journal::open(&path, OLD).unwrap().0.append(lines).unwrap();
            folder
        };
        let id = |byte: u8| PaymentId([byte; 16]);
        let day = Day::from_yyyymmdd("20200401").unwrap();
        let made = |byte| Note::Made { id: id(byte), day }.line();
        let said = |byte, word| Note::Said { id: id(byte), word }.line();
        let heard = Note::Heard(Heard { at: NOW, mac: [9; 32] }).line();
        let first = old(&[made(1), said(1, PaymentWord::Paid), heard.clone()]);
        let second = old(&[made(2), heard, made(1), said(1, PaymentWord::Paid)]);
        let open = |folder: &tempfile::TempDir| Payments::open(folder.path(), database.notes().unwrap());
        for folder in [&first, &second, &first] {
            open(folder).unwrap();
        }
        let book = open(&second).unwrap();
        let paid = |byte| Event::Payment { id: id(byte), day, word: PaymentWord::Paid };
        assert!(book.is_attested(paid(1)) && book.is_made(paid(2)) && !book.is_attested(paid(2)));
        assert_eq!(database.notes().unwrap().read().unwrap().len(), 4, "each line once");
        assert!(first.path().join("payments.old").exists());
        let older = Journal::open(&first.path().join("payments"), OLD).map(drop).unwrap_err().to_string();
        assert!(older.contains("in the ledger"), "an older version refuses: {older}");
        let wrong = old(&[made(1), said(1, PaymentWord::Undisbursed)]);
        let error = format!("{:#}", open(&wrong).err().unwrap());
        assert!(error.contains("move") && error.contains("undisbursed"), "{error}");
        assert!(wrong.path().join("payments").exists(), "nothing was touched");
    }
}
