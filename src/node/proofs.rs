//! What is proved against oracles: kept on disk, one proof for each, and told to every peer once a connection.
//!
//! A proof is checked before anything else is done with it. From then on no quote is given, taken or signed on that
//! oracle; open loans keep their contract. Never computes the key that a proof may reveal.

use super::core::Core;
use super::tools::{error, lock, Tools, Trouble};
use super::view::{ErrorView, EventView};
use crate::loan::tlv::Bytes;
use crate::protocol::messages::Equivocation;
use crate::protocol::{ErrorCode, Message};
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::hex::FromHex;
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use hypothec_oracle::equivocation::{NoProof, Proof};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Prefix of the documents proofs are kept in; the oracle's key follows.
const PROOFS: &str = "equivocation/";
/// What is said of a proof that is not written as one.
const NO_HEX: &str =
    "proof: it is not written in hex digits, two for each byte, as `hypothec-oracle prove-equivocation` prints it";
/// The most oracles something is proved against.
const ORACLES_MOST: usize = 16;

/// `POST /v1/oracles/proof`: the proof that an oracle contradicted itself. What `prove-equivocation` prints has more fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRequest {
    /// Hex, as `hypothec-oracle prove-equivocation` writes it.
    pub proof: String,
}

/// Answer of `POST /v1/oracles/proof`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofView {
    /// Against which oracle.
    pub oracle: XOnlyPublicKey,
    /// What the proof that is kept says: a sentence.
    pub equivocation: String,
    /// Is the oracle's secret key readable from the given proof?
    pub reveals_the_key: bool,
    /// Was nothing proved against it before? The first proof is the one that is kept.
    pub new: bool,
}

/// Why a proof is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It proves nothing.
    #[error("proof: {0}")]
    Wrong(#[from] NoProof),
    /// It is about an oracle nobody here relies on.
    #[error("proof: oracle {0} is neither one of this node's nor named by an open loan or the policy; nothing rests on it, so the proof is not kept")]
    Unknown(XOnlyPublicKey),
    /// There are too many already.
    #[error("proof: this node keeps proofs against {ORACLES_MOST} oracles, and that many it has")]
    Full,
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The proofs a node has.
pub struct Proofs {
    store: Arc<dyn Store>,
    known: BTreeMap<XOnlyPublicKey, Proof>,
}

impl Proofs {
    /// Those the store holds, checked again.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what proves nothing.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<Proofs> {
        let mut known = BTreeMap::new();
        for name in store.list(PROOFS)? {
            let read = || format!("stored {name}");
            let proof = Proof::from_bytes(&store.get(&name)?.unwrap_or_default()).with_context(read)?;
            known.insert(proof.check().with_context(read)?, proof);
        }
        Ok(Proofs { store, known })
    }

    /// Keeps a proof against one of the oracles that `concern` this node; on disk when this returns. False when
    /// something is proved against that oracle already: the first proof stays.
    ///
    /// # Errors
    /// When it proves nothing, concerns nobody here, or cannot be kept.
    pub fn take(&mut self, proof: Proof, concern: impl Fn(&XOnlyPublicKey) -> bool) -> Result<bool, NotTaken> {
        let oracle = proof.check()?;
        if self.known.contains_key(&oracle) {
            return Ok(false);
        }
        if !concern(&oracle) {
            return Err(NotTaken::Unknown(oracle));
        }
        if self.known.len() >= ORACLES_MOST {
            return Err(NotTaken::Full);
        }
        self.store.put(&format!("{PROOFS}{oracle}"), &proof.to_bytes())?;
        self.known.insert(oracle, proof);
        Ok(true)
    }

    /// Is something proved against this oracle?
    pub fn has(&self, oracle: &XOnlyPublicKey) -> bool {
        self.known.contains_key(oracle)
    }

    /// What is proved against this oracle, in a sentence.
    pub fn of(&self, oracle: &XOnlyPublicKey) -> Option<String> {
        self.known.get(oracle).map(|proof| sentence(oracle, proof))
    }
}

fn sentence(oracle: &XOnlyPublicKey, proof: &Proof) -> String {
    let event = proof.about();
    if let Proof::Statements { .. } = proof {
        return format!(
            "oracle {oracle} signed two different accounts of {event}, which is proved: it changes what it has said"
        );
    }
    match proof.reveals_the_key() {
        true => format!(
            "oracle {oracle} signed two outcomes of {event}, which is proved and makes its secret key public: nothing it says can be relied on"
        ),
        false => format!(
            "oracle {oracle} announced {event} twice with different nonces, which is proved: it can say two things of one event"
        ),
    }
}

impl Tools {
    /// Fails when something is proved against one of these oracles, and says what.
    pub fn require_sound(&self, oracles: &[XOnlyPublicKey]) -> Result<(), Trouble> {
        match self.proved(oracles).into_iter().next() {
            Some(proved) => Err(Trouble::refuse(ErrorCode::Equivocation, proved)),
            None => Ok(()),
        }
    }

    /// What is proved against these oracles: a sentence for each such.
    pub fn proved(&self, oracles: &[XOnlyPublicKey]) -> Vec<String> {
        let proofs = lock(&self.proofs);
        oracles.iter().filter_map(|oracle| proofs.of(oracle)).collect()
    }
}

impl Core {
    /// A proof that a person gives.
    pub(super) fn on_given_proof(&mut self, hex: &str) -> Result<ProofView, ErrorView> {
        let bytes = Vec::from_hex(hex.trim()).map_err(|_| error(ErrorCode::BadRequest, NO_HEX))?;
        let proof = Proof::from_bytes(&bytes).map_err(|e| error(ErrorCode::BadRequest, NotTaken::from(e)))?;
        let oracle = proof.check().map_err(|e| error(ErrorCode::BadRequest, NotTaken::from(e)))?;
        let reveals_the_key = proof.reveals_the_key();
        let new = self.take_proof(proof).map_err(|e| match e {
            NotTaken::Store(e) => error(ErrorCode::Internal, e),
            other => error(ErrorCode::Refused, other),
        })?;
        let equivocation = lock(&self.tools.proofs).of(&oracle).unwrap_or_default();
        Ok(ProofView { oracle, equivocation, reveals_the_key, new })
    }

    /// A proof that a peer forwards. What is known already, or concerns no oracle of ours, is not even read; a wrong
    /// one ends the connection.
    pub(super) fn on_equivocation(&mut self, peer: PublicKey, message: &Equivocation) {
        let oracle = message.oracle;
        if lock(&self.tools.proofs).has(&oracle) {
            // It has one: it needs none of us.
            self.told.insert((peer, oracle));
            return;
        }
        if !self.concerned().contains(&oracle) {
            tracing::debug!(%peer, "a proof against oracle {oracle}, which is none of ours, is ignored");
            return;
        }
        let read = Proof::from_bytes(&message.proof.0).and_then(|proof| proof.check().map(|found| (proof, found)));
        match read {
            Ok((proof, found)) if found == oracle => match self.take_proof(proof) {
                Ok(_) => drop(self.told.insert((peer, oracle))),
                Err(e) => self.trouble("equivocation", e.to_string()),
            },
            Ok((_, found)) => {
                self.end_for_proof(peer, &format!("it is against {found}, not {oracle} as the message says"))
            }
            Err(e) => self.end_for_proof(peer, &e.to_string()),
        }
    }

    fn end_for_proof(&self, peer: PublicKey, why: &str) {
        tracing::warn!(%peer, "peer is disconnected: it sent a wrong proof of equivocation: {why}");
        self.tools.net.disconnect(peer);
    }

    /// Keeps a proof and tells of it, unless one is known.
    fn take_proof(&mut self, proof: Proof) -> Result<bool, NotTaken> {
        let oracle = proof.check()?;
        let concerned = self.concerned();
        let tools = self.tools.clone();
        let take = || lock(&tools.proofs).take(proof, |oracle| concerned.contains(oracle));
        if !tokio::task::block_in_place(take)? {
            return Ok(false);
        }
        self.turns += 1;
        let text = lock(&tools.proofs).of(&oracle).unwrap_or_default();
        tracing::error!("{text}");
        self.show(EventView::warning(self.moment.now.0, None, "oracle_equivocated", text));
        Ok(true)
    }

    /// The oracles that something here rests on: those pinned, the policy's, and those of open loans.
    fn concerned(&self) -> BTreeSet<XOnlyPublicKey> {
        let pinned: Vec<_> = lock(&self.tools.oracles).keys().copied().collect();
        let open = self.loans.values().filter(|loan| !loan.has_ended());
        let named = open.flat_map(|loan| loan.terms.oracles.iter().copied());
        pinned.into_iter().chain(self.policy.oracles.iter().copied()).chain(named).collect()
    }

    /// Takes what our own oracle clients have caught, and tells every peer that is here what it was not told yet.
    pub(super) fn mind_proofs(&mut self) {
        let caught: Vec<Proof> = {
            let (oracles, proofs) = (lock(&self.tools.oracles), lock(&self.tools.proofs));
            let fresh = oracles.iter().filter(|(key, _)| !proofs.has(key));
            fresh.filter_map(|(_, oracle)| oracle.client.equivocation()).collect()
        };
        for proof in caught {
            if let Err(e) = self.take_proof(proof) {
                self.trouble("equivocation", e.to_string());
            }
        }
        let known: Vec<XOnlyPublicKey> = lock(&self.tools.proofs).known.keys().copied().collect();
        if known.is_empty() {
            return;
        }
        for peer in self.tools.net.peers().into_iter().filter(|peer| peer.connected) {
            for oracle in
                known.iter().filter(|oracle| !self.told.contains(&(peer.key, **oracle))).copied().collect::<Vec<_>>()
            {
                let bytes = lock(&self.tools.proofs).known.get(&oracle).map(Proof::to_bytes).unwrap_or_default();
                // A full outbox is tried again at the next turn.
                if self.send(peer.key, &Message::Equivocation(Equivocation { oracle, proof: Bytes(bytes) })) {
                    self.told.insert((peer.key, oracle));
                }
            }
        }
    }

    /// A connection began or ended: what was told on an earlier one may not have arrived.
    pub(super) fn forget_told(&mut self, peer: PublicKey) {
        self.told.retain(|(told, _)| *told != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::secret;
    use crate::store::Memory;
    use hypothec_oracle::announce::OracleKeys;
    use hypothec_oracle::event::Event;
    use hypothec_oracle::units::{Cents, Time};
    use hypothec_oracle::verify::fixing_digits;

    fn keys(number: u8) -> OracleKeys {
        OracleKeys::from_secret(secret(number))
    }

    /// An oracle that says one hour's price twice.
    fn proof(number: u8, other: u64) -> Proof {
        let event = Event::Fixing { at: Time(1_584_007_200) };
        let announcement = keys(number).announcement(event).unwrap().announcement;
        let say = |cents| keys(number).attest(event, fixing_digits(Cents(cents))).unwrap();
        Proof::of_attestations(&announcement, &say(798_700), &say(other)).unwrap()
    }

    #[test]
    fn the_first_proof_against_an_oracle_is_kept_and_outlives_a_restart() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut proofs = Proofs::open(store.clone()).unwrap();
        let key = keys(3).public_key();
        assert!(!proofs.has(&key) && proofs.of(&key).is_none());
        assert!(proofs.take(proof(3, 798_600), |_| true).unwrap());
        assert!(!proofs.take(proof(3, 100_000), |_| true).unwrap(), "the first stays");
        let proofs = Proofs::open(store.clone()).unwrap();
        assert_eq!(proofs.known.values().collect::<Vec<_>>(), [&proof(3, 798_600)]);
        let said = proofs.of(&key).unwrap();
        assert!(said.contains(&key.to_string()) && said.contains("btcusd1584007200"), "{said}");
        assert!(said.contains("secret key public"), "{said}");
        assert_eq!(store.list(PROOFS).unwrap(), [format!("{PROOFS}{key}")]);
    }

    #[test]
    fn two_lows_of_a_final_hour_are_kept_and_told_like_any_other_contradiction() {
        use hypothec_oracle::wire::SignedLows;
        let until = Time(1_583_971_200 + 3_600);
        let say = |cents| {
            let mut lows = [None; 24];
            lows[0] = Some(Cents(cents));
            SignedLows::sign(&keys(3), until.day(), until, lows)
        };
        let key = keys(3).public_key();
        let proof = Proof::of_lows(key, &say(798_700), &say(798_600)).unwrap();
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        assert!(Proofs::open(store.clone()).unwrap().take(proof.clone(), |_| true).unwrap());
        let proofs = Proofs::open(store).unwrap();
        assert_eq!(proofs.known.get(&key), Some(&proof));
        let said = proofs.of(&key).unwrap();
        assert!(said.contains("the final hour from 2020-03-12T00:00:00Z") && !said.contains("secret"), "{said}");
    }

    #[test]
    fn a_wrong_proof_and_one_that_concerns_nobody_here_are_refused_by_name_and_not_kept() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let mut proofs = Proofs::open(store.clone()).unwrap();
        let Proof::Outcomes { announcement, index, first, second } = proof(3, 798_600) else { panic!("two outcomes") };
        let Proof::Outcomes { first: stranger, .. } = proof(4, 798_600) else { panic!("two outcomes") };
        let forged = Proof::Outcomes { announcement, index, first: stranger, second };
        let said = proofs.take(forged, |_| true).unwrap_err().to_string();
        assert!(
            said.contains("first outcome is not signed by oracle") && said.contains(&keys(3).public_key().to_string())
        );
        assert!(!first.outcome.is_empty());
        let said = proofs.take(proof(5, 798_600), |oracle| *oracle == keys(3).public_key()).unwrap_err().to_string();
        assert!(said.contains(&keys(5).public_key().to_string()) && said.contains("nothing rests on it"), "{said}");
        assert!(store.list(PROOFS).unwrap().is_empty());
    }

    #[test]
    fn proofs_are_kept_against_sixteen_oracles_and_no_more() {
        let mut proofs = Proofs::open(Arc::new(Memory::default())).unwrap();
        for number in 1..=16 {
            assert!(proofs.take(proof(number, 798_600), |_| true).unwrap());
        }
        assert!(matches!(proofs.take(proof(17, 798_600), |_| true), Err(NotTaken::Full)));
        assert!(!proofs.take(proof(9, 798_600), |_| true).unwrap());
    }

    #[test]
    fn a_stored_proof_that_proves_nothing_is_told_at_the_start() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        store.put(&format!("{PROOFS}{}", keys(3).public_key()), b"hypothec/equivocation").unwrap();
        let said = format!("{:#}", Proofs::open(store).err().unwrap());
        assert!(said.contains("stored equivocation/") && said.contains("no proof"), "{said}");
    }
}
