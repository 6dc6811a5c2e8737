//! Which peers have a place here, and where each is dialled.
//!
//! An address on disk changes only when the peer has proved its key at another one.

use super::commands::PEERS;
use super::core::Core;
use super::present;
use super::tools::{error, Tools};
use super::unreached;
use super::view::{ConnectRequest, ErrorView, PeerView};
use crate::peer::{PeerAddress, Unreached};
use crate::protocol::ErrorCode;
use crate::store::StoreError;
use bitcoin::secp256k1::PublicKey;

impl Core {
    pub(super) fn peers(&self) -> Vec<PeerView> {
        let peers = self.tools.net.peers().into_iter();
        let view = |why: &Unreached| unreached::view(why, self.tools.network);
        peers
            .map(|peer| PeerView {
                node_id: peer.key,
                address: peer.address.map(|address| address.to_string()),
                connected: peer.connected,
                wanted_problem: peer.wanted.as_ref().and_then(|(_, why)| why.as_ref().map(view)),
                wanted: peer.wanted.map(|(address, _)| address.to_string()),
                problem: peer.last_problem.as_ref().filter(|_| !peer.connected).map(view),
            })
            .collect()
    }

    /// Dials an address for as long as the node runs. The first one of a peer is kept at once; another one when the peer
    /// answers there.
    pub(super) fn connect(&mut self, request: &ConnectRequest) -> Result<PeerView, ErrorView> {
        let address: PeerAddress = request.address.parse().map_err(|e| error(ErrorCode::BadRequest, e))?;
        self.tools.net.connect(address.clone()).map_err(|e| error(ErrorCode::BadRequest, e))?;
        self.remember(address.key)?;
        self.ask_again(address.key);
        let known = self.peers().into_iter().find(|peer| peer.node_id == address.key);
        known.ok_or_else(|| error(ErrorCode::Internal, format!("peer {} is not dialled: try again", address.key)))
    }

    /// What helps where a peer is not connected: one that was never dialled comes by itself or not at all.
    pub(super) fn way_to(tools: &Tools, peer: PublicKey) -> String {
        match tools.net.kept_address(peer) {
            Some(address) => {
                let place = address.place();
                let known = tools.net.peers().into_iter().find(|known| known.key == peer);
                let why = known.and_then(|known| known.last_problem);
                let why = why.map_or(String::new(), |why| format!(" ({})", unreached::text(&why, tools.network)));
                format!(
                    "it is dialled at {place} again and again{why}; if it has moved, `peer connect {peer}@HOST:PORT`"
                )
            }
            None => {
                "it has no address here and dials this node by itself: wait until it is started again, or ask its owner"
                    .into()
            }
        }
    }

    /// Writes down where a peer is reached, so that it is dialled again after a restart and after a restore.
    pub(super) fn remember(&self, peer: PublicKey) -> Result<(), ErrorView> {
        self.write_address(peer, true).map_err(|e| error(ErrorCode::Internal, e))
    }

    /// A peer that is written down may have proved its key at another address.
    pub(super) fn follow_address(&self, peer: PublicKey) {
        if let Err(e) = self.write_address(peer, false) {
            tracing::warn!(%peer, "its address is not written down: {e}");
        }
    }

    fn write_address(&self, peer: PublicKey, new: bool) -> Result<(), StoreError> {
        let Some(address) = self.tools.net.kept_address(peer) else { return Ok(()) };
        let (name, address, store) = (format!("{PEERS}{peer}"), address.to_string(), self.tools.store.clone());
        tokio::task::block_in_place(|| match store.get(&name)? {
            Some(written) if written == address.as_bytes() => Ok(()),
            // Removed by a person, or never written down.
            None if !new => Ok(()),
            Some(written) if !new && written.is_empty() => Ok(()),
            _ => store.put(&name, address.as_bytes()),
        })
    }

    /// Tells the network whose connections are never turned away, the peers of open loans; and whose turns no stranger takes,
    /// those of them whose loans are signed.
    pub(super) fn keep_places(&mut self) {
        let open = self.loans.values().filter(|loan| present::phase(&loan.stage) != 2);
        self.tools.net.set_partners(open.map(|loan| loan.peer).collect());
        let signed = self.loans.values().filter(|loan| present::phase(&loan.stage) == 1);
        self.limits.set_partners(signed.map(|loan| loan.peer).collect());
    }
}
