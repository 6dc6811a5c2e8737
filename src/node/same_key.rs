//! Another node with this node's key, as a peer claims.
//!
//! A claim stops no loan and moves no coin: it is shown, with the peer's name, for as long as it is repeated. Only who this
//! node has business with is heard: a stranger raises no alarm.

use super::core::Core;
use super::present;
use bitcoin::secp256k1::PublicKey;
use std::time::Duration;

/// How long, in real time, a claim stands that is not repeated. Peers repeat it each minute or so, while both are there.
const STANDS: Duration = Duration::from_secs(600);
/// What is said and what to do.
const ADVICE: &str = "it says that another node answers with this node's key: a copy of this data folder, or a backup \
    restored elsewhere, is running. Stop one of the two at once: each signs what the other does not know of. Is none of \
    yours running, then somebody else has the words: make a new node and move every coin";

impl Core {
    /// A peer says that a second node has our key.
    pub(super) fn on_same_key(&mut self, peer: PublicKey) {
        if !self.has_business_with(&peer) {
            return tracing::debug!(%peer, "a stranger says that another node answers with this node's key");
        }
        self.trouble_for(&format!("second node, seen by {peer}"), ADVICE.to_owned(), STANDS);
    }

    /// An open loan with it, or an address that a person or a quote gave.
    fn has_business_with(&self, peer: &PublicKey) -> bool {
        let open = self.loans.values().any(|loan| loan.peer == *peer && present::phase(&loan.stage) != 2);
        open || self.tools.net.kept_address(*peer).is_some()
    }
}
