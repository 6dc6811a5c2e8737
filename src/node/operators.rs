//! Which oracles' keys are one operator's: kept on disk as they were signed, followed from key to key, never taken back.
//!
//! Keys of one operator are one oracle: they never stand together in a new loan, count once in a policy and once in a
//! price. A contract that is signed already goes by its keys; its people are told.

use super::core::Core;
use super::rotations::{NotKept, Rotations};
use super::tools::{lock, Tools};
use super::view::EventView;
use crate::loan::terms::Terms;
use crate::store::Store;
use anyhow::Context;
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::operator::{connected, Link, Operators};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Prefix of the documents links are kept in; the pinned key follows.
const LINKS: &str = "operator/";

/// The links a node knows.
pub struct KnownOperators {
    store: Arc<dyn Store>,
    /// By the pinned key that served them, or that they were served beside.
    links: BTreeMap<XOnlyPublicKey, Vec<Link>>,
    operators: Arc<Operators>,
    /// Joined something, and not told yet.
    untold: Vec<Link>,
}

impl KnownOperators {
    /// Those the store holds, checked again, and what hand-overs say that were kept before links were.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what nobody signed.
    pub fn open(store: Arc<dyn Store>, rotations: &Rotations) -> anyhow::Result<KnownOperators> {
        let mut links: BTreeMap<XOnlyPublicKey, Vec<Link>> = BTreeMap::new();
        for (key, said) in rotations.statements() {
            links.insert(key, said.into_iter().map(Link::HandOver).collect());
        }
        for name in store.list(LINKS)? {
            let read = || format!("stored {name}");
            let key: XOnlyPublicKey = name.trim_start_matches(LINKS).parse().with_context(read)?;
            let bytes = store.get(&name)?.unwrap_or_default();
            let said: Vec<Link> = serde_json::from_slice(&bytes).with_context(read)?;
            said.iter().try_for_each(Link::verify).with_context(read)?;
            links.entry(key).or_default().extend(said);
        }
        let operators = Arc::new(Operators::of(links.values().flatten()));
        Ok(KnownOperators { store, links, operators, untold: Vec::new() })
    }

    /// Keeps what an oracle served, beside what is known already. On disk when this returns.
    ///
    /// # Errors
    /// When it is too much, does not verify, or cannot be kept.
    pub fn take(&mut self, oracle: XOnlyPublicKey, served: &[Link]) -> Result<(), NotKept> {
        let known = self.links.get(&oracle).cloned().unwrap_or_default();
        let all = connected(oracle, &[known.as_slice(), served].concat())?;
        let new: Vec<Link> = all.iter().filter(|link| !known.contains(link)).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        // Integers, keys and signatures cannot fail to be written.
        let bytes = serde_json::to_vec(&all).unwrap_or_default();
        self.store.put(&format!("{LINKS}{oracle}"), &bytes)?;
        let joins = |link: &Link| {
            let [one, other] = link.keys();
            !self.operators.are_one(&one, &other)
        };
        self.untold.extend(new.iter().filter(|link| joins(link)));
        self.links.insert(oracle, all);
        self.operators = Arc::new(Operators::of(self.links.values().flatten()));
        Ok(())
    }
}

/// That two oracles are one, and what follows, in sentences.
fn sentence(link: &Link) -> String {
    let [one, other] = link.keys();
    format!(
        "oracles {one} and {other} are keys of one operator: {}. They count as one oracle: a new loan names one of them at \
         most, a policy counts them once, and where several must agree they are one voice",
        link.grounds()
    )
}

/// What it means for a loan that it names several keys of one operator; none where it names none.
fn of_loan(operators: &Operators, terms: &Terms) -> Option<String> {
    let groups = operators.groups(&terms.oracles);
    let most = groups.into_iter().max_by_key(Vec::len).filter(|group| group.len() > 1)?;
    let keys = most.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let (threshold, all) = (usize::from(terms.threshold), terms.oracles.len());
    let means = match most.len() >= threshold {
        true => "it can settle this loan alone",
        false => "it counts that often towards them",
    };
    Some(format!(
        "oracles {keys}, which this loan names among {all} of which {threshold} must agree, are keys of one operator: {means}. \
         That was not known when it was signed, and its contract stays as it is: hold what they say against other prices, \
         and repay early if you do not trust that operator by itself"
    ))
}

impl Tools {
    /// Which oracles' keys are one operator's, as far as is known.
    pub fn operators(&self) -> Arc<Operators> {
        lock(&self.operators).operators.clone()
    }

    /// That these oracles are fewer than they look: two are keys of one operator. A sentence.
    pub fn joined(&self, oracles: &[XOnlyPublicKey]) -> Option<String> {
        let [one, other] = self.operators().pair(oracles)?;
        Some(format!(
            "oracles {one} and {other} are keys of one operator, whose word would count twice: a loan names one of them; a \
             lender's policy that names both needs a newer node"
        ))
    }

    /// What it means for a loan that it names several keys of one operator, a sentence; none where it names none.
    pub fn joined_in(&self, terms: &Terms) -> Option<String> {
        of_loan(&self.operators(), terms)
    }
}

impl Core {
    /// Tells, once, which oracles are found to be one, and of the open loans that it weakens.
    pub(super) fn tell_operators(&mut self) {
        let untold = std::mem::take(&mut lock(&self.tools.operators).untold);
        if untold.is_empty() {
            return;
        }
        self.turns += 1;
        let at = self.moment.now.0;
        for link in &untold {
            let text = sentence(link);
            tracing::warn!("{text}");
            self.show(EventView::warning(at, None, "oracles_joined", text));
        }
        let operators = self.tools.operators();
        let is_about = |terms: &Terms| untold.iter().flat_map(Link::keys).any(|key| terms.oracles.contains(&key));
        let open = self.loans.values().filter(|loan| !loan.has_ended() && is_about(&loan.terms));
        let told: Vec<_> = open.filter_map(|loan| Some((loan.id, of_loan(&operators, &loan.terms)?))).collect();
        for (id, text) in told {
            self.show(EventView::warning(at, Some(id), "oracles_joined", text));
        }
    }

    /// Why the policy that stands lends nothing, when its oracles are fewer than must agree.
    pub(super) fn policy_trouble(&self) -> Option<String> {
        let wrong = self.policy.validate_with(&self.tools.operators()).err()?;
        Some(format!("policy: {wrong}; nothing is quoted until then"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{reference, secret};
    use crate::store::Memory;
    use hypothec_oracle::announce::OracleKeys;
    use hypothec_oracle::operator::{SameOperator, LINKS_MOST};
    use hypothec_oracle::rotation::{Rotation, Succession};
    use hypothec_oracle::units::Time;

    fn keys(number: u8) -> OracleKeys {
        OracleKeys::from_secret(secret(number))
    }

    fn key(number: u8) -> XOnlyPublicKey {
        keys(number).public_key()
    }

    fn stated(one: u8, other: u8) -> Link {
        Link::Stated(SameOperator::sign(&keys(one), &keys(other)).unwrap())
    }

    fn opened(store: &Arc<dyn Store>) -> KnownOperators {
        KnownOperators::open(store.clone(), &Rotations::open(store.clone()).unwrap()).unwrap()
    }

    #[test]
    fn what_joined_two_oracles_once_is_kept_over_a_restart_and_when_it_is_served_no_more() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut known = opened(&store);
        known.take(key(1), &[]).unwrap();
        assert!(known.untold.is_empty());
        known.take(key(1), &[stated(1, 2)]).unwrap();
        known.take(key(1), &[]).unwrap();
        // Two oracles each tell a part: together they are four keys of one.
        known.take(key(3), &[stated(3, 4), stated(2, 3)]).unwrap();
        assert_eq!(known.untold.len(), 3);
        known.take(key(3), &[stated(2, 3)]).unwrap();
        assert_eq!(known.untold.len(), 3, "once");
        let again = opened(&store);
        for known in [&known, &again] {
            assert!((1..=4).all(|other| known.operators.are_one(&key(1), &key(other))));
            assert!(!known.operators.are_one(&key(1), &key(5)));
        }
    }

    #[test]
    fn a_hand_over_that_was_kept_before_links_were_joins_its_keys() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let said = Rotation::sign(&keys(1), &keys(2), Time(3_600)).unwrap();
        let mut rotations = Rotations::open(store.clone()).unwrap();
        rotations.take(key(1), &Succession::of(key(1), &[said]).unwrap()).unwrap();
        let mut known = opened(&store);
        assert!(known.operators.are_one(&key(1), &key(2)));
        known.take(key(1), &[Link::HandOver(said)]).unwrap();
        assert!(known.untold.is_empty(), "it was told as what it is");
    }

    #[test]
    fn what_nobody_signed_joins_nothing_and_what_is_too_much_is_refused() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut known = opened(&store);
        let Link::Stated(mut forged) = stated(1, 2) else { panic!() };
        forged.signatures.swap(0, 1);
        assert!(known.take(key(1), &[Link::Stated(forged)]).is_err());
        let many: Vec<Link> = (0..=LINKS_MOST).map(|other| stated(1, u8::try_from(other + 2).unwrap())).collect();
        let refused = known.take(key(1), &many).unwrap_err().to_string();
        assert!(refused.contains("more than 64 keys"), "{refused}");
        assert!(!known.operators.are_one(&key(1), &key(2)));
        println!("bound oracle-links {} kept of one oracle", LINKS_MOST);
        store.put(&format!("{LINKS}{}", key(1)), &serde_json::to_vec(&[Link::Stated(forged)]).unwrap()).unwrap();
        let rotations = Rotations::open(store.clone()).unwrap();
        assert!(KnownOperators::open(store, &rotations).is_err(), "a spoilt store is told at the start");
    }

    #[test]
    fn a_loan_that_names_two_keys_of_one_operator_says_what_that_means() {
        let operators = Operators::of(&[stated(1, 2)]);
        let of = |oracles: &[u8], threshold| {
            let oracles = oracles.iter().map(|number| key(*number)).collect();
            of_loan(&operators, &Terms { oracles, threshold, ..reference() })
        };
        assert!(of(&[1, 2, 3], 2).unwrap().contains("it can settle this loan alone"));
        assert!(of(&[1, 2, 3], 3).unwrap().contains("counts that often"));
        assert_eq!(of(&[1, 3, 4], 2), None);
    }
}
