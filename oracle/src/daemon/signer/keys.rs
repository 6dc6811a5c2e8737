//! The daemon's view of its key: in the same process, or behind the signer's socket.

use super::ask::Say;
use super::client::{SignerClient, Unsigned};
use crate::announce::{AnnounceError, OracleKeys, ProvenAnnouncement};
use crate::event::Event;
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
