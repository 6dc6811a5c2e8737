//! What was heard from one relay: verified words, by event. Bounded; the oldest are forgotten first.

use crate::contract::OracleAttestation;
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::announce::ProvenAnnouncement;
use hypothec_oracle::event::Event;
use hypothec_oracle::relay::note::{read, Note, NoteId, Word};
use hypothec_oracle::units::Time;
use hypothec_oracle::verify::verify_attestation;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most events remembered: two months of a restless price, some 60 MB.
const EVENTS: usize = 40_000;
/// The most notes of one event: an oracle needs two.
const NOTES: usize = 16;
/// As many as a contradiction needs.
const ENOUGH: usize = 2;

/// What one relay has served.
#[derive(Debug, Default)]
pub struct Words {
    said: BTreeMap<Event, Said>,
    by_age: BTreeSet<(Time, Event)>,
    /// The event of every note heard.
    notes: HashMap<NoteId, Event>,
    /// The events of which an attestation names a note as its announcement.
    named: HashMap<NoteId, Event>,
}

/// What was said of one event.
#[derive(Debug, Default)]
struct Said {
    /// Those that differ, each by its first note.
    announcements: Vec<(NoteId, ProvenAnnouncement)>,
    /// Those with different outcomes, and the note that each names.
    attestations: Vec<(NoteId, OracleAttestation)>,
    notes: Vec<NoteId>,
}

impl Words {
    /// Takes a note of the oracle with this key; false when it was heard before.
    ///
    /// # Errors
    /// Why it is none of the oracle's words.
    pub fn take(&mut self, note: &Note, oracle: &XOnlyPublicKey) -> Result<bool, String> {
        if self.notes.contains_key(&note.id) {
            // Heard and verified, if it is the same.
            return note.verify_id().then_some(false).ok_or_else(|| "its id is not valid".to_owned());
        }
        let word = read(note, oracle).map_err(|error| error.to_string())?;
        let (Word::Announced(event, _) | Word::Attested(event, ..)) = &word;
        let event = *event;
        let known = self.said.get(&event).map_or(0, |said| said.notes.len());
        if known >= NOTES {
            return Err(format!(
                "it is the {}th note of event {event}, of which there are two",
                known.saturating_add(1)
            ));
        }
        match word {
            Word::Announced(_, proven) => self.announced(note.id, event, *proven)?,
            Word::Attested(_, attestation, names) => self.attested(event, attestation, names)?,
        }
        self.notes.insert(note.id, event);
        self.said.entry(event).or_default().notes.push(note.id);
        self.by_age.insert((time_of(event), event));
        self.forget();
        Ok(true)
    }

    fn announced(&mut self, id: NoteId, event: Event, proven: ProvenAnnouncement) -> Result<(), String> {
        if let Some(other) = self.named.get(&id).filter(|other| **other != event) {
            return Err(format!("it announces {event}, but an attestation of {other} names it as its announcement"));
        }
        let said = self.said.entry(event).or_default();
        for (_, attestation) in said.attestations.iter().filter(|(names, _)| *names == id) {
            verify_attestation(attestation, &proven.announcement).map_err(|error| error.to_string())?;
        }
        if said.announcements.len() < ENOUGH && said.announcements.iter().all(|(_, known)| *known != proven) {
            said.announcements.push((id, proven));
        }
        Ok(())
    }

    fn attested(&mut self, event: Event, attestation: OracleAttestation, names: NoteId) -> Result<(), String> {
        let elsewhere = self.notes.get(&names).or(self.named.get(&names)).filter(|other| **other != event);
        if let Some(other) = elsewhere {
            return Err(format!("it attests {event}, but names a note of {other} as its announcement"));
        }
        let said = self.said.entry(event).or_default();
        if let Some((_, proven)) = said.announcements.iter().find(|(id, _)| *id == names) {
            verify_attestation(&attestation, &proven.announcement).map_err(|error| error.to_string())?;
        }
        let differs = |known: &OracleAttestation| known.outcomes != attestation.outcomes;
        if said.attestations.len() < ENOUGH && said.attestations.iter().all(|(_, known)| differs(known)) {
            said.attestations.push((names, attestation));
            self.named.insert(names, event);
        }
        Ok(())
    }

    fn forget(&mut self) {
        while self.by_age.len() > EVENTS {
            let Some((_, event)) = self.by_age.pop_first() else { return };
            let Some(said) = self.said.remove(&event) else { continue };
            for id in &said.notes {
                self.notes.remove(id);
            }
            for (names, _) in &said.attestations {
                self.named.remove(names);
            }
        }
    }

    /// The announcements of an event, those that differ.
    pub fn announcements(&self, event: Event) -> Vec<ProvenAnnouncement> {
        let said = self.said.get(&event).map(|said| said.announcements.as_slice());
        said.unwrap_or_default().iter().map(|(_, proven)| proven.clone()).collect()
    }

    /// The attestations of an event, those with different outcomes. Whether their nonces are those of the announcement
    /// that the caller holds is for the caller to check.
    pub fn attestations(&self, event: Event) -> Vec<OracleAttestation> {
        let said = self.said.get(&event).map(|said| said.attestations.as_slice());
        said.unwrap_or_default().iter().map(|(_, said)| said.clone()).collect()
    }
}

/// The moment an event is about.
pub fn time_of(event: Event) -> Time {
    match event {
        Event::Fixing { at } => at,
        Event::Touch { .. } => event.touch_from().unwrap_or_default(),
        Event::Payment { day, .. } => day.start().unwrap_or_default(),
    }
}
