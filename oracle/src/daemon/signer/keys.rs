//! The daemon's view of its key: in the same process, or behind the signer's socket.

use super::ask::Say;
use super::client::{SignerClient, Unsigned};
use super::vault::{Refusal, Vault};
use super::watch::Away;
use crate::announce::{AnnounceError, ProvenAnnouncement};
use crate::event::Event;
use crate::relay::note::{Draft, Note};
use crate::statement::Statement;
use crate::verify::fixing_digits;
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::OracleAttestation;
use secp256k1_zkp::schnorr::Signature;
use std::sync::Arc;

/// Something that signs for this oracle. Its calls may block for as long as the signer takes.
#[derive(Debug)]
pub enum Keys {
    /// In this process, with the same record and under the same rules as a signer's.
    Here(Box<Vault>),
    /// In a process of its own.
    Signer(SignerClient),
}

/// With a record that is forgotten.
#[cfg(test)]
impl From<crate::announce::OracleKeys> for Keys {
    fn from(keys: crate::announce::OracleKeys) -> Keys {
        Keys::Here(Box::new(Vault::beside_desk(keys, super::Record::in_memory())))
    }
}

impl Keys {
    /// The public key.
    pub fn public_key(&self) -> XOnlyPublicKey {
        match self {
            Keys::Here(vault) => vault.public_key(),
            Keys::Signer(signer) => signer.public_key(),
        }
    }

    /// Announcements, in order; one round trip for a month of a band.
    ///
    /// # Errors
    /// When an event matures after 2106, or the signer is away.
    pub fn announcements(&self, events: &[Event]) -> Result<Vec<ProvenAnnouncement>, AnnounceError> {
        match self {
            Keys::Here(vault) => vault.announcements(events),
            Keys::Signer(signer) => signer.announcements(events),
        }
    }

    /// Attestations, in order. What is said must be durable in the ledger.
    ///
    /// # Errors
    /// When something cannot be said, or the signer refuses or is away.
    pub fn attest(&self, say: &[Say]) -> Result<Vec<OracleAttestation>, AnnounceError> {
        let mut events = Vec::with_capacity(say.len());
        for one in say {
            let event = one.event();
            events.push(
                event
                    .ok_or_else(|| AnnounceError::Signer { why: format!("{one:?} is about no event"), away: false })?,
            );
        }
        let outcomes = |one: &Say, event: &Event| match one {
            Say::Fixing { cents, .. } => fixing_digits(*cents),
            Say::Touch { .. } | Say::Payment { .. } => vec![event.to_string()],
        };
        let pairs = say.iter().zip(&events);
        match self {
            Keys::Here(vault) => vault.attest(say).map_err(said_no),
            Keys::Signer(signer) => {
                let made = signer.attest(say)?;
                let whole = |((one, event), signatures): ((&Say, &Event), Vec<Signature>)| OracleAttestation {
                    event_id: event.to_string(),
                    oracle_public_key: signer.public_key(),
                    signatures,
                    outcomes: outcomes(one, event),
                };
                Ok(pairs.zip(made).map(whole).collect())
            }
        }
    }

    /// Notes for relays: of the announcements of `announce`, then of the attestations of `say`, in order. The same call
    /// gives the same notes for ever. What is said must be durable in the ledger.
    ///
    /// # Errors
    /// As [`Keys::announcements`] and [`Keys::attest`], and when an event is none that relays carry.
    pub fn notes(&self, announce: &[Event], say: &[Say]) -> Result<Vec<Note>, AnnounceError> {
        let drafts = self.drafts(announce, say)?;
        let signatures = match self {
            Keys::Here(vault) => vault.publish(announce, say).map_err(said_no)?,
            Keys::Signer(signer) => signer.publish(announce, say)?,
        };
        // A signer that made other words than this process would be found out here.
        let signed = |(draft, signature): (Draft, Signature)| {
            draft
                .signed(signature)
                .map_err(|error| AnnounceError::Signer { why: format!("of a note, {error}"), away: false })
        };
        drafts.into_iter().zip(signatures).map(signed).collect()
    }

    fn drafts(&self, announce: &[Event], say: &[Say]) -> Result<Vec<Draft>, AnnounceError> {
        let said = self.attest(say)?;
        let attested: Vec<Event> = say.iter().filter_map(Say::event).collect();
        let all: Vec<Event> = announce.iter().chain(&attested).copied().collect();
        let mut announced = Vec::with_capacity(all.len());
        for (event, proven) in all.iter().zip(self.announcements(&all)?) {
            announced.push(Draft::announcement(*event, &proven).ok_or_else(|| not_carried(*event))?);
        }
        let of_attested = announced.split_off(announce.len().min(announced.len()));
        let mut drafts = announced;
        for ((event, said), announced) in attested.into_iter().zip(&said).zip(of_attested) {
            drafts.push(Draft::attestation(event, said, announced.id()).ok_or_else(|| not_carried(event))?);
        }
        Ok(drafts)
    }

    /// A statement's signature.
    ///
    /// # Errors
    /// When the signer refuses or is away.
    pub fn state(&self, statement: &Statement) -> Result<Signature, Unsigned> {
        match self {
            Keys::Here(vault) => Ok(vault.state(statement)?),
            Keys::Signer(signer) => signer.state(statement),
        }
    }

    /// Since when the signer is away; `None` when it answers, and for a key in this process.
    pub fn away(&self) -> Option<Away> {
        match self {
            Keys::Here(_) => None,
            Keys::Signer(signer) => signer.away(),
        }
    }

    /// Looks at the signer again and again; without one it is done at once.
    pub async fn watch(self: Arc<Self>) {
        match &*self {
            Keys::Here(_) => {}
            Keys::Signer(signer) => signer.watch().await,
        }
    }
}

fn said_no(refusal: Refusal) -> AnnounceError {
    match refusal {
        Refusal::Key(error) => error,
        other => Unsigned::from(other).into(),
    }
}

/// Relays carry no such event.
pub(super) fn not_carried(event: Event) -> AnnounceError {
    AnnounceError::Signer { why: format!("event {event} is none that relays carry"), away: false }
}
