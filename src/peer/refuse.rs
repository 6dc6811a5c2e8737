//! The answer to Lightning's channel messages: this node has no channels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::PublicKey;
use lightning::ln::msgs::{self, BaseMessageHandler, ChannelMessageHandler, Init, MessageSendEvent};
use lightning::ln::types::ChannelId;
use lightning::types::features::{InitFeatures, NodeFeatures};

use super::lanes::Lanes;
use super::link::Link;
use super::reached::names;
use super::segment::Violation;
use super::Unreached;

/// Disconnects whoever speaks of channels, and tells the transport which network this node is for.
pub(super) struct Refuse {
    pub link: Arc<Link>,
    pub lanes: Arc<Lanes>,
    pub chain: ChainHash,
    /// Has the transport said to the peer which network this is?
    pub said: AtomicBool,
}

macro_rules! refuse {
    ($($name:ident($message:ty);)*) => {
        $(fn $name(&self, _: PublicKey, _: $message) {
            self.lanes.violation(&self.link, &Violation::Channel);
        })*
    };
}

impl ChannelMessageHandler for Refuse {
    refuse! {
        handle_open_channel(&msgs::OpenChannel);
        handle_open_channel_v2(&msgs::OpenChannelV2);
        handle_accept_channel(&msgs::AcceptChannel);
        handle_accept_channel_v2(&msgs::AcceptChannelV2);
        handle_funding_created(&msgs::FundingCreated);
        handle_funding_signed(&msgs::FundingSigned);
        handle_channel_ready(&msgs::ChannelReady);
        handle_shutdown(&msgs::Shutdown);
        handle_closing_signed(&msgs::ClosingSigned);
        handle_stfu(&msgs::Stfu);
        handle_splice_init(&msgs::SpliceInit);
        handle_splice_ack(&msgs::SpliceAck);
        handle_splice_locked(&msgs::SpliceLocked);
        handle_tx_add_input(&msgs::TxAddInput);
        handle_tx_add_output(&msgs::TxAddOutput);
        handle_tx_remove_input(&msgs::TxRemoveInput);
        handle_tx_remove_output(&msgs::TxRemoveOutput);
        handle_tx_complete(&msgs::TxComplete);
        handle_tx_signatures(&msgs::TxSignatures);
        handle_tx_init_rbf(&msgs::TxInitRbf);
        handle_tx_ack_rbf(&msgs::TxAckRbf);
        handle_tx_abort(&msgs::TxAbort);
        handle_update_add_htlc(&msgs::UpdateAddHTLC);
        handle_update_fulfill_htlc(msgs::UpdateFulfillHTLC);
        handle_update_fail_htlc(&msgs::UpdateFailHTLC);
        handle_update_fail_malformed_htlc(&msgs::UpdateFailMalformedHTLC);
        handle_commitment_signed(&msgs::CommitmentSigned);
        handle_revoke_and_ack(&msgs::RevokeAndACK);
        handle_update_fee(&msgs::UpdateFee);
        handle_announcement_signatures(&msgs::AnnouncementSignatures);
        handle_channel_reestablish(&msgs::ChannelReestablish);
    }

    fn handle_commitment_signed_batch(&self, _: PublicKey, _: ChannelId, _: Vec<msgs::CommitmentSigned>) {
        self.lanes.violation(&self.link, &Violation::Channel);
    }

    // Lightning nodes send these to any peer; they ask for nothing.
    fn handle_peer_storage(&self, _: PublicKey, _: msgs::PeerStorage) {}
    fn handle_peer_storage_retrieval(&self, _: PublicKey, _: msgs::PeerStorageRetrieval) {}
    fn handle_channel_update(&self, _: PublicKey, _: &msgs::ChannelUpdate) {}
    fn handle_error(&self, _: PublicKey, _: &msgs::ErrorMessage) {}

    // Asked twice of a connection: for our `init`, and when the peer's has come. The second time nothing is said, so that the
    // transport does not compare them without a word to anybody: `peer_connected` does.
    fn get_chain_hashes(&self) -> Option<Vec<ChainHash>> {
        (!self.said.swap(true, Ordering::Relaxed)).then(|| vec![self.chain])
    }

    fn message_received(&self) {}
}

impl BaseMessageHandler for Refuse {
    fn get_and_clear_pending_msg_events(&self) -> Vec<MessageSendEvent> {
        Vec::new()
    }

    fn peer_disconnected(&self, _: PublicKey) {}

    fn provided_node_features(&self) -> NodeFeatures {
        NodeFeatures::empty()
    }

    fn provided_init_features(&self, _: PublicKey) -> InitFeatures {
        InitFeatures::empty()
    }

    fn peer_connected(&self, _: PublicKey, init: &Init, _: bool) -> Result<(), ()> {
        match &init.networks {
            Some(networks) if !networks.contains(&self.chain) => {
                self.link.fail(Unreached::OtherNetwork(names(networks)));
                Err(())
            }
            _ => Ok(()),
        }
    }
}
