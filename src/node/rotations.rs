//! Hand-overs of oracles to new keys: kept on disk as they were signed, shown to people, and minded before anything new.
//!
//! An open loan stays on the key it names, whatever that key says later. A new one may not outlast its oracle's key, and
//! rests on no key that handed over twice. Never switches to a new key: a person pins it.

use super::core::Core;
use super::tools::{lock, Tools, Trouble};
use super::view::{EventView, RotationView};
use crate::loan::units::{Days, Time, DAY};
use crate::protocol::ErrorCode;
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::operator::{Link, LinkError};
use hypothec_oracle::rotation::{Rotation, RotationError, Succession};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Prefix of the documents hand-overs are kept in; the pinned key follows.
const ROTATIONS: &str = "rotation/";

/// Why what an oracle served is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// It leads nowhere together with what is known.
    #[error("hand-over: {0}")]
    Wrong(#[from] RotationError),
    /// It joins nothing, or too much.
    #[error("statement: {0}")]
    Link(#[from] LinkError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The hand-overs a node knows.
pub struct Rotations {
    store: Arc<dyn Store>,
    known: BTreeMap<XOnlyPublicKey, Succession>,
}

impl Rotations {
    /// Those the store holds, checked again.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what nobody signed.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<Rotations> {
        let mut known = BTreeMap::new();
        for name in store.list(ROTATIONS)? {
            let read = || format!("stored {name}");
            let key = name.trim_start_matches(ROTATIONS).parse().with_context(read)?;
            let bytes = store.get(&name)?.unwrap_or_default();
            let said: Vec<Rotation> = serde_json::from_slice(&bytes).with_context(read)?;
            known.insert(key, Succession::of(key, &said).with_context(read)?);
        }
        Ok(Rotations { store, known })
    }

    /// Keeps what an oracle served, behind what is known already, of whichever oracle: nothing is forgotten when it is
    /// served no more, and of hand-overs in a circle the one heard of first counts. On disk when this returns. Does the key
    /// hand over as was not known?
    ///
    /// # Errors
    /// When it leads nowhere, or cannot be kept.
    pub fn take(&mut self, oracle: XOnlyPublicKey, served: &Succession) -> Result<bool, NotKept> {
        let known = self.known.get(&oracle);
        let own = known.map(Succession::statements).unwrap_or_default();
        let others = self.known.iter().filter(|(key, _)| **key != oracle);
        let others: Vec<Rotation> = others.flat_map(|(_, known)| known.statements()).collect();
        let all = Succession::of(oracle, &[own, others, served.statements()].concat())?;
        if all.statements().is_empty() || known == Some(&all) {
            return Ok(false);
        }
        let before = known.cloned().unwrap_or_default();
        let is_new = (&before.steps, &before.conflict) != (&all.steps, &all.conflict);
        // Integers, keys and signatures cannot fail to be written.
        let bytes = serde_json::to_vec(&all.statements()).unwrap_or_default();
        self.store.put(&format!("{ROTATIONS}{oracle}"), &bytes)?;
        self.known.insert(oracle, all);
        Ok(is_new)
    }

    /// Every hand-over known, by the pinned key it was told of.
    pub fn statements(&self) -> impl Iterator<Item = (XOnlyPublicKey, Vec<Rotation>)> + '_ {
        self.known.iter().map(|(key, known)| (*key, known.statements()))
    }

    /// The hand-over of a key, as a person should read it; none while there is none or there are two.
    pub fn of(&self, oracle: &XOnlyPublicKey) -> Option<RotationView> {
        let first = self.known.get(oracle)?.steps.first()?;
        let (new_key, from) = (first.new_key, first.from);
        let text = format!(
            "oracle {oracle} hands over to key {new_key}: from {from} on it stops for new loans. Open loans stay on the old \
             key, which goes on attesting for them. For new ones compare the new key with what the operator publishes \
             elsewhere and pin it, `oracle add URL --pubkey {new_key}`; a lender also names it, `policy set --add-oracle \
             {new_key}`. Both keys are one oracle: they count once wherever several must agree"
        );
        Some(RotationView { new_key, from: from.0, text })
    }

    /// That a key handed over twice, in a sentence.
    pub fn conflict(&self, oracle: &XOnlyPublicKey) -> Option<String> {
        let (one, other) = self.known.get(oracle)?.conflict.filter(|(one, _)| one.old_key == *oracle)?;
        Some(format!(
            "oracle {oracle} signed two hand-overs that contradict each other, to {} from {} and to {} from {}: somebody \
             else may hold its key. Believe neither, ask the operator in person which key is right, and pin that one",
            one.new_key, one.from, other.new_key, other.from
        ))
    }

    /// Why no new loan until `due` rests on this oracle; none where one may.
    fn objection(&self, oracle: &XOnlyPublicKey, due: Time) -> Option<String> {
        if let Some(conflict) = self.conflict(oracle) {
            return Some(conflict);
        }
        let Rotation { new_key, from, .. } = *self.known.get(oracle)?.steps.first()?;
        (from < due).then(|| {
            format!(
                "oracle {oracle} hands over to key {new_key} and stops for new loans at {from}, before this one ends at \
                 {due}: ask for a term that ends before, or pin the new key (`oracle add URL --pubkey {new_key}`; a lender \
                 names it with `policy set --add-oracle {new_key}`)"
            )
        })
    }
}

/// The end of a loan asked for now; the end of time when it is beyond.
pub fn end_of(now: Time, days: Days) -> Time {
    let end = || now.hour_ceil()?.plus(days.0.checked_mul(DAY)?);
    end().unwrap_or(Time(u32::MAX))
}

impl Tools {
    /// May a new loan until `due` rest on this oracle?
    pub fn is_usable(&self, oracle: &XOnlyPublicKey, due: Time) -> bool {
        !lock(&self.proofs).has(oracle) && lock(&self.rotations).objection(oracle, due).is_none()
    }

    /// Fails when a new loan until `due` may not rest on one of these oracles: something is proved against it, or it
    /// hands over before, or two of them are one operator's. Says which and what to do.
    pub fn require_usable(&self, oracles: &[XOnlyPublicKey], due: Time) -> Result<(), Trouble> {
        self.require_sound(oracles)?;
        let objection = oracles.iter().find_map(|oracle| lock(&self.rotations).objection(oracle, due));
        match (objection, self.joined(oracles)) {
            (Some(objection), _) => Err(Trouble::refuse(ErrorCode::Rotated, objection)),
            (None, Some(joined)) => Err(Trouble::refuse(ErrorCode::OneOperator, joined)),
            (None, None) => Ok(()),
        }
    }

    /// The contradictions among the hand-overs of these oracles: a sentence for each such.
    pub fn conflicts(&self, oracles: &[XOnlyPublicKey]) -> Vec<String> {
        let rotations = lock(&self.rotations);
        oracles.iter().filter_map(|oracle| rotations.conflict(oracle)).collect()
    }
}

impl Core {
    /// What an oracle served of hand-overs: kept, and told once.
    pub(super) fn on_rotations(&mut self, oracle: XOnlyPublicKey, served: &Succession, links: &[Link]) {
        let tools = self.tools.clone();
        if let Err(e) = tokio::task::block_in_place(|| lock(&tools.operators).take(oracle, links)) {
            self.trouble(&about(&oracle), e.to_string());
        }
        let taken = tokio::task::block_in_place(|| lock(&tools.rotations).take(oracle, served));
        match taken {
            Ok(false) => {}
            Ok(true) => {
                self.turns += 1;
                let (conflict, view) = {
                    let rotations = lock(&tools.rotations);
                    (rotations.conflict(&oracle), rotations.of(&oracle))
                };
                let (event, text) = match (conflict, view) {
                    (Some(text), _) => {
                        tracing::error!("{text}");
                        ("oracle_rotation_conflict", text)
                    }
                    (None, Some(view)) => {
                        tracing::warn!("{}", view.text);
                        ("oracle_rotated", view.text)
                    }
                    (None, None) => return,
                };
                let at = self.moment.now.0;
                self.show(EventView::warning(at, None, event, text));
            }
            Err(e) => self.trouble(&about(&oracle), e.to_string()),
        }
    }

    /// What a person should do about hand-overs: look into every contradiction, and pin every new key.
    pub(super) fn rotation_troubles(&self) -> Vec<String> {
        let pinned: Vec<XOnlyPublicKey> = lock(&self.tools.oracles).keys().copied().collect();
        let rotations = lock(&self.tools.rotations);
        let undone = |key: &XOnlyPublicKey| {
            let unpinned = || rotations.of(key).filter(|view| !pinned.contains(&view.new_key)).map(|view| view.text);
            rotations.conflict(key).or_else(unpinned)
        };
        pinned.iter().filter_map(undone).collect()
    }
}

/// What troubles with an oracle's hand-overs are noted under.
pub fn about(oracle: &XOnlyPublicKey) -> String {
    format!("hand-over of oracle {oracle}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::secret;
    use crate::store::Memory;
    use hypothec_oracle::announce::OracleKeys;

    const FROM: Time = Time(1_584_007_200);

    fn keys(number: u8) -> OracleKeys {
        OracleKeys::from_secret(secret(number))
    }

    fn said(old: u8, rotations: &[Rotation]) -> Succession {
        Succession::of(keys(old).public_key(), rotations).unwrap()
    }

    #[test]
    fn a_hand_over_is_kept_when_it_is_served_no_more_and_over_a_restart() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut rotations = Rotations::open(store.clone()).unwrap();
        let (old, new) = (keys(1).public_key(), keys(2).public_key());
        assert!(!rotations.take(old, &Succession::default()).unwrap());
        let one = Rotation::sign(&keys(1), &keys(2), FROM).unwrap();
        assert!(rotations.take(old, &said(1, &[one])).unwrap());
        assert!(!rotations.take(old, &said(1, &[one])).unwrap());
        assert!(!rotations.take(old, &Succession::default()).unwrap(), "nothing is forgotten");
        let rotations = Rotations::open(store).unwrap();
        let view = rotations.of(&old).unwrap();
        assert_eq!((view.new_key, view.from), (new, FROM.0));
        assert!(
            view.text.contains("Open loans stay on the old key") && view.text.contains("oracle add"),
            "{}",
            view.text
        );
        assert_eq!(rotations.of(&new), None);
    }

    #[test]
    fn a_loan_may_end_when_its_oracle_hands_over_and_not_a_second_later() {
        let mut rotations = Rotations::open(Arc::new(Memory::default())).unwrap();
        let old = keys(1).public_key();
        assert_eq!(rotations.objection(&old, Time(u32::MAX)), None);
        rotations.take(old, &said(1, &[Rotation::sign(&keys(1), &keys(2), FROM).unwrap()])).unwrap();
        assert_eq!(rotations.objection(&old, FROM), None);
        let objection = rotations.objection(&old, Time(FROM.0 + 1)).unwrap();
        for says in [old.to_string(), keys(2).public_key().to_string(), FROM.to_string(), "oracle add".to_owned()] {
            assert!(objection.contains(&says), "{objection}");
        }
        assert_eq!(rotations.objection(&keys(2).public_key(), Time(u32::MAX)), None, "the new key has not stopped");
        assert_eq!(end_of(Time(FROM.0 - 1), Days(2)), Time(FROM.0 + 2 * DAY));
        assert_eq!(end_of(FROM, Days(u32::MAX)), Time(u32::MAX));
    }

    #[test]
    fn a_second_hand_over_of_one_key_is_kept_as_a_contradiction_for_good() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut rotations = Rotations::open(store.clone()).unwrap();
        let old = keys(1).public_key();
        let [one, two, three] = [2, 3, 4].map(|new| Rotation::sign(&keys(1), &keys(new), FROM).unwrap());
        rotations.take(old, &said(1, &[one])).unwrap();
        assert!(rotations.take(old, &said(1, &[two])).unwrap());
        assert!(!rotations.take(old, &said(1, &[three])).unwrap(), "two are enough");
        assert!(!rotations.take(old, &said(1, &[one])).unwrap());
        let rotations = Rotations::open(store).unwrap();
        let conflict = rotations.conflict(&old).unwrap();
        for key in [2, 3].map(|number| keys(number).public_key().to_string()) {
            assert!(conflict.contains(&key), "{conflict}");
        }
        assert_eq!((rotations.of(&old), rotations.objection(&old, Time(0))), (None, Some(conflict)));
    }

    #[test]
    fn of_hand_overs_in_a_circle_the_one_heard_of_first_counts_for_good() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut rotations = Rotations::open(store.clone()).unwrap();
        let (old, new) = (keys(1).public_key(), keys(2).public_key());
        let one = Rotation::sign(&keys(1), &keys(2), FROM).unwrap();
        let round = Rotation::sign(&keys(2), &keys(1), Time(0)).unwrap();
        assert!(rotations.take(old, &said(1, &[one, round])).unwrap());
        assert!(!rotations.take(old, &said(1, &[round, one])).unwrap(), "told in another order");
        // The new key's oracle tells the way back alone, at once and after a restart.
        for _ in 0..2 {
            assert!(!rotations.take(new, &said(2, &[round])).unwrap());
            assert_eq!(rotations.of(&old).map(|view| view.new_key), Some(new));
            assert_eq!((rotations.of(&new), rotations.objection(&new, Time(u32::MAX))), (None, None));
            rotations = Rotations::open(store.clone()).unwrap();
        }
        // So it does for who has pinned the new key only, and was told of the first before.
        let mut rotations = Rotations::open(Arc::new(Memory::default())).unwrap();
        assert!(!rotations.take(new, &said(2, &[one])).unwrap(), "it says nothing of this key");
        assert!(!rotations.take(new, &said(2, &[round])).unwrap());
        assert_eq!(rotations.of(&new), None);
        let next = Rotation::sign(&keys(2), &keys(3), FROM).unwrap();
        assert!(rotations.take(new, &said(2, &[next])).unwrap(), "and it may hand over in its turn");
    }

    #[test]
    fn what_the_store_holds_and_nobody_signed_is_told_at_the_start() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut forged = Rotation::sign(&keys(1), &keys(2), FROM).unwrap();
        forged.from = Time(0);
        let name = format!("{ROTATIONS}{}", keys(1).public_key());
        store.put(&name, &serde_json::to_vec(&[forged]).unwrap()).unwrap();
        let said = format!("{:#}", Rotations::open(store).err().unwrap());
        assert!(said.contains("stored rotation/") && said.contains("did not sign"), "{said}");
    }
}
