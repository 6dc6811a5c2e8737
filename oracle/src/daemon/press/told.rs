//! Attestations as the JSON they are told in, kept under a budget of bytes: the stream of events and the routes for one
//! event need no signer for them again.

use crate::event::Event;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Bytes of them kept: some 11,000 touches, more than a crash through the whole ladder.
const BUDGET: usize = 8 * 1_024 * 1_024;
/// What one takes beside its text, in bytes.
const BESIDE: usize = 128;

/// Attestations told before, the oldest first to go.
#[derive(Debug, Default)]
pub struct Told {
    by_event: HashMap<Event, Arc<str>>,
    order: VecDeque<Event>,
    bytes: usize,
}

impl Told {
    /// How an event's attestation was told, if that is still known.
    pub fn of(&self, event: Event) -> Option<Arc<str>> {
        self.by_event.get(&event).cloned()
    }

    /// Keeps what is told from now on.
    pub fn keep(&mut self, event: Event, text: Arc<str>) {
        let size = text.len().saturating_add(BESIDE);
        if self.by_event.insert(event, text).is_some() {
            // Of one event there is one attestation.
            return;
        }
        self.order.push_back(event);
        self.bytes = self.bytes.saturating_add(size);
        while self.bytes > BUDGET {
            let Some(oldest) = self.order.pop_front().and_then(|oldest| self.by_event.remove(&oldest)) else { return };
            self.bytes = self.bytes.saturating_sub(oldest.len().saturating_add(BESIDE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Time, HOUR};

    #[test]
    fn what_is_told_is_kept_within_its_bytes_and_the_oldest_goes_first() {
        let (mut told, text) = (Told::default(), Arc::<str>::from("x".repeat(1_000)));
        let event = |number: u32| Event::Fixing { at: Time(number * HOUR) };
        let many = u32::try_from(BUDGET / (1_000 + BESIDE)).unwrap();
        for number in 0..=many {
            told.keep(event(number), Arc::clone(&text));
            told.keep(event(number), Arc::clone(&text));
        }
        assert_eq!((told.of(event(0)), told.of(event(1))), (None, Some(Arc::clone(&text))));
        assert!(told.bytes <= BUDGET && told.bytes > BUDGET - 2 * 1_128, "{}", told.bytes);
        assert_eq!(told.order.len(), told.by_event.len());
    }
}
