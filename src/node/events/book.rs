//! The numbered events on disk: a ring of documents, so that their number is bounded and none is ever rewritten early.

use super::super::tools::lock;
use super::super::view::EventView;
use crate::loan::terms::LoanId;
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Events kept; the oldest goes when one more comes.
pub const KEPT: u64 = 10_000;
/// Prefix of the documents they are kept in, one for each place of the ring.
const PLACES: &str = "event/";
/// The document that says when numbering began.
const BEGUN: &str = "events-begun";

/// One on disk.
#[derive(Serialize, Deserialize)]
struct Entry {
    view: EventView,
    /// Which record of the loan's log it tells, from 1; none where it tells no record.
    record: Option<u64>,
}

struct Inner {
    kept: VecDeque<EventView>,
    last: u64,
    /// The last record told of each loan that has an event here.
    told: BTreeMap<LoanId, u64>,
    begun: u32,
}

/// The events so far. Cheap to clone: all clones are one book.
#[derive(Clone)]
pub struct Book {
    store: Arc<dyn Store>,
    inner: Arc<Mutex<Inner>>,
    last: Arc<watch::Sender<u64>>,
}

impl Book {
    /// Reads what is kept. `now` is when numbering begins, where nothing is.
    ///
    /// # Errors
    /// When the store fails. An event that cannot be read is left out: it is no reason not to start.
    pub fn open(store: Arc<dyn Store>, now: u32) -> Result<Book, StoreError> {
        let mut entries = Vec::new();
        for name in store.list(PLACES)? {
            let bytes = store.get(&name)?.unwrap_or_default();
            match serde_json::from_slice::<Entry>(&bytes) {
                Ok(entry) => entries.push(entry),
                Err(e) => tracing::warn!("stored {name} is not an event: {e}"),
            }
        }
        entries.sort_by_key(|entry| entry.view.number);
        let begun = match store.get(BEGUN)? {
            Some(bytes) => String::from_utf8_lossy(&bytes).parse().unwrap_or(now),
            None => {
                store.put(BEGUN, now.to_string().as_bytes())?;
                now
            }
        };
        let mut told = BTreeMap::new();
        for entry in &entries {
            if let (Some(loan), Some(record)) = (entry.view.loan_id, entry.record) {
                told.insert(loan, record);
            }
        }
        let kept: VecDeque<EventView> = entries.into_iter().map(|entry| entry.view).collect();
        let last = kept.back().map_or(0, |view| view.number);
        let (sender, _) = watch::channel(last);
        Ok(Book { store, inner: Arc::new(Mutex::new(Inner { kept, last, told, begun })), last: Arc::new(sender) })
    }

    /// Numbers an event and puts it on disk; `record` is the loan's log record that it tells. Returns it numbered.
    ///
    /// # Errors
    /// When the store fails.
    pub fn add(&self, view: EventView, record: Option<u64>) -> Result<EventView, StoreError> {
        let mut inner = lock(&self.inner);
        let number = inner.last.saturating_add(1);
        let view = EventView { number, ..view };
        let entry = Entry { view: view.clone(), record };
        let bytes = serde_json::to_vec(&entry).unwrap_or_default();
        self.store.put(&format!("{PLACES}{:05}", number % KEPT), &bytes)?;
        inner.last = number;
        if let (Some(loan), Some(record)) = (view.loan_id, record) {
            inner.told.insert(loan, record);
        }
        inner.kept.push_back(view.clone());
        while inner.kept.len() as u64 > KEPT {
            inner.kept.pop_front();
        }
        self.last.send_replace(number);
        Ok(view)
    }

    /// The events with a higher number, in order.
    pub fn after(&self, number: u64) -> Vec<EventView> {
        let inner = lock(&self.inner);
        let newer = inner.kept.iter().rev().take_while(|view| view.number > number).count();
        inner.kept.iter().skip(inner.kept.len().saturating_sub(newer)).cloned().collect()
    }

    /// The event of this number, as long as it is kept.
    pub fn get(&self, number: u64) -> Option<EventView> {
        lock(&self.inner)
            .kept
            .iter()
            .rev()
            .find(|view| view.number <= number)
            .filter(|view| view.number == number)
            .cloned()
    }

    /// The number of the newest event, 0 before the first.
    pub fn last(&self) -> u64 {
        lock(&self.inner).last
    }

    /// Tells whenever there is a newer one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Of which record of a loan's log on nothing has been told yet, where a crash may have come between. A record made
    /// before the answer's second part has been told, whatever is still kept of it.
    pub(super) fn untold(&self, loan: LoanId) -> (u64, u32) {
        let inner = lock(&self.inner);
        match inner.told.get(&loan) {
            Some(record) => (*record, 0),
            // All events of this loan have left the ring, or it has none: then only the newest moment can be untold.
            None if inner.last > KEPT => (0, inner.kept.back().map_or(inner.begun, |view| view.at)),
            None => (0, inner.begun),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn event(text: &str) -> EventView {
        EventView { event: "test".into(), text: text.into(), ..EventView::default() }
    }

    #[test]
    fn numbers_go_on_after_a_restart_and_what_came_after_one_is_found_by_it() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let book = Book::open(store.clone(), 7).unwrap();
        assert_eq!((book.last(), book.after(0).len()), (0, 0));
        for text in ["one", "two", "three"] {
            book.add(event(text), None).unwrap();
        }
        drop(book);
        let book = Book::open(store, 9).unwrap();
        assert_eq!(book.add(event("four"), None).unwrap().number, 4);
        let texts: Vec<String> = book.after(2).into_iter().map(|view| view.text).collect();
        assert_eq!(texts, ["three", "four"]);
        assert!(book.after(4).is_empty() && book.after(9).is_empty());
    }

    #[test]
    fn the_ring_holds_so_many_and_no_more_and_survives_its_own_turn() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let book = Book::open(store.clone(), 7).unwrap();
        for number in 1..=KEPT + 3 {
            book.add(event(&number.to_string()), None).unwrap();
        }
        assert_eq!(store.list(PLACES).unwrap().len() as u64, KEPT);
        let book = Book::open(store, 9).unwrap();
        let kept = book.after(0);
        assert_eq!((kept.len() as u64, kept[0].number, book.last()), (KEPT, 4, KEPT + 3));
    }

    #[test]
    fn an_event_that_cannot_be_read_does_not_keep_the_node_from_starting() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        Book::open(store.clone(), 7).unwrap().add(event("one"), None).unwrap();
        store.put("event/00002", b"{").unwrap();
        let book = Book::open(store, 9).unwrap();
        assert_eq!(book.after(0).len(), 1);
    }
}
