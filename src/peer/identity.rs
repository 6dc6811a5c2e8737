//! What LDK's transport asks of us: a node key, and where its log lines go.

use bitcoin::secp256k1::ecdh::SharedSecret;
use bitcoin::secp256k1::ecdsa::{RecoverableSignature, Signature};
use bitcoin::secp256k1::{schnorr, PublicKey, Scalar, Secp256k1, SecretKey, SignOnly};
use lightning::bolt11_invoice::RawBolt11Invoice;
use lightning::ln::inbound_payment::ExpandedKey;
use lightning::ln::msgs::UnsignedGossipMessage;
use lightning::offers::invoice::UnsignedBolt12Invoice;
use lightning::sign::{NodeSigner, PeerStorageKey, ReceiveAuthKey, Recipient};
use lightning::util::logger::{Level, Logger, Record};

/// The node's key, for the transport's handshake and nothing else: it signs no invoice, gossip or message.
pub(super) struct Identity {
    secret: SecretKey,
    secp: Secp256k1<SignOnly>,
}

impl Identity {
    pub(super) fn new(secret: SecretKey) -> Identity {
        Identity { secret, secp: Secp256k1::signing_only() }
    }

    pub(super) fn key(&self) -> PublicKey {
        self.secret.public_key(&self.secp)
    }
}

impl NodeSigner for Identity {
    fn get_node_id(&self, recipient: Recipient) -> Result<PublicKey, ()> {
        match recipient {
            Recipient::Node => Ok(self.key()),
            Recipient::PhantomNode => Err(()),
        }
    }

    fn ecdh(&self, recipient: Recipient, other: &PublicKey, tweak: Option<&Scalar>) -> Result<SharedSecret, ()> {
        let secret = match (recipient, tweak) {
            (Recipient::PhantomNode, _) => return Err(()),
            (Recipient::Node, None) => self.secret,
            (Recipient::Node, Some(tweak)) => self.secret.mul_tweak(tweak).map_err(|_| ())?,
        };
        Ok(SharedSecret::new(other, &secret))
    }

    // The transport asks for none of the following. The trait wants three keys all the same: they protect nothing here.

    fn get_expanded_key(&self) -> ExpandedKey {
        ExpandedKey::new([0; 32])
    }

    fn get_peer_storage_key(&self) -> PeerStorageKey {
        PeerStorageKey { inner: [0; 32] }
    }

    fn get_receive_auth_key(&self) -> ReceiveAuthKey {
        ReceiveAuthKey([0; 32])
    }

    fn sign_invoice(&self, _: &RawBolt11Invoice, _: Recipient) -> Result<RecoverableSignature, ()> {
        Err(())
    }

    fn sign_bolt12_invoice(&self, _: &UnsignedBolt12Invoice) -> Result<schnorr::Signature, ()> {
        Err(())
    }

    fn sign_gossip_message(&self, _: UnsignedGossipMessage) -> Result<Signature, ()> {
        Err(())
    }

    fn sign_message(&self, _: &[u8]) -> Result<String, ()> {
        Err(())
    }
}

/// Sends LDK's log lines to `tracing`. A peer can provoke them, so none is above debug.
pub(super) struct Log;

impl Logger for Log {
    fn log(&self, record: Record) {
        match record.level {
            Level::Gossip => {}
            Level::Trace => tracing::trace!(target: "hypothec::peer::transport", "{}", record.args),
            _ => tracing::debug!(target: "hypothec::peer::transport", "{}", record.args),
        }
    }
}
