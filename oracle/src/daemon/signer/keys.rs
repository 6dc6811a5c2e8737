//! The daemon's view of its key: in the same process, or behind the signer's socket.

use super::ask::Say;
use super::client::{SignerClient, Unsigned};
use crate::announce::{AnnounceError, OracleKeys, ProvenAnnouncement};
use crate::event::Event;
use crate::relay::note::{Draft, Note};
use crate::statement::Statement;
use crate::verify::fixing_digits;
use bitcoin::key::XOnlyPublicKey;
use dlc_messages::oracle_msgs::OracleAttestation;
use secp256k1_zkp::schnorr::Signature;

/// Something that signs for this oracle. Its calls may block for as long as the signer takes.
#[derive(Debug)]
pub enum Keys {
    /// In this process. The ledger beside it is the record of what was said; a second record in the same folder would
    /// guard against nothing.
    Here(OracleKeys),
    /// In a process of its own.
    Signer(SignerClient),
}

impl From<OracleKeys> for Keys {
    fn from(keys: OracleKeys) -> Keys {
        Keys::Here(keys)
    }
}

impl Keys {
    /// The public key.
    pub fn public_key(&self) -> XOnlyPublicKey {
        match self {
            Keys::Here(keys) => keys.public_key(),
            Keys::Signer(signer) => signer.public_key(),
        }
    }

    /// Announcements, in order; one round trip for a month of a band.
    ///
    /// # Errors
    /// When an event matures after 2106, or the signer is away.
    pub fn announcements(&self, events: &[Event]) -> Result<Vec<ProvenAnnouncement>, AnnounceError> {
        match self {
            Keys::Here(keys) => events.iter().map(|event| keys.announcement(*event)).collect(),
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
            Keys::Here(keys) => pairs.map(|(one, event)| keys.attest(*event, outcomes(one, event))).collect(),
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
            Keys::Here(keys) => drafts.iter().map(|draft| draft.sign(keys)).collect(),
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
            Keys::Here(keys) => Ok(statement.sign(keys)),
            Keys::Signer(signer) => signer.state(statement),
        }
    }
}

/// Relays carry no such event.
pub(super) fn not_carried(event: Event) -> AnnounceError {
    AnnounceError::Signer { why: format!("event {event} is none that relays carry"), away: false }
}
