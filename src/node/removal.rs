//! Forgetting a peer or an oracle: refused while something open rests on it, and the refusal says what.

use super::commands::{ORACLES, PEERS};
use super::core::Core;
use super::jobs::watch;
use super::tools::{error, lock};
use super::view::{ErrorView, OracleView, PeerView};
use crate::loan::terms::LoanId;
use crate::protocol::{ErrorCode, Loan};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;

/// Loans named in a refusal.
const NAMED: usize = 3;

impl Core {
    /// Dials a peer no more, forgets its address and ends the connection. Answers with the peer as it was.
    ///
    /// # Errors
    /// When it is not known, or a loan with it is open.
    pub(super) fn remove_peer(&mut self, key: PublicKey) -> Result<PeerView, ErrorView> {
        let known = self.peers().into_iter().find(|peer| peer.node_id == key);
        let known = known.ok_or_else(|| error(ErrorCode::NotFound, format!("no peer {key}: see `peer list`")))?;
        if let Some(loans) = self.open_loans(|loan| loan.peer == key) {
            let text = format!(
                "peer {key} is the other side of {loans}: a loan needs it until it ends; only then can it be removed"
            );
            return Err(error(ErrorCode::Refused, text));
        }
        self.forget_document(&format!("{PEERS}{key}"))?;
        self.tools.net.forget(key);
        self.got.retain(|_, got| got.peer != key);
        Ok(known)
    }

    /// Asks an oracle no more. What is proved against it, and who its successor is, stays known. Answers with the oracle
    /// as it was.
    ///
    /// # Errors
    /// When it is not known, or an open loan or the policy names it.
    pub(super) fn remove_oracle(&mut self, key: XOnlyPublicKey) -> Result<OracleView, ErrorView> {
        let known = self.oracles().into_iter().find(|oracle| oracle.pubkey == key);
        let known = known.ok_or_else(|| error(ErrorCode::NotFound, format!("no oracle {key}: see `oracle list`")))?;
        if let Some(loans) = self.open_loans(|loan| loan.terms.oracles.contains(&key)) {
            let text = format!(
                "oracle {key} settles {loans}: it is watched until they end; only then can it be removed. To rest nothing new \
                 on it, take it out of the policy: `policy set --remove-oracle {key}`"
            );
            return Err(error(ErrorCode::Refused, text));
        }
        if self.policy.oracles.contains(&key) {
            let text = format!("the policy names oracle {key}: `policy set --remove-oracle {key}` first");
            return Err(error(ErrorCode::Refused, text));
        }
        self.forget_document(&format!("{ORACLES}{key}"))?;
        lock(&self.tools.oracles).remove(&key);
        self.looked.remove(&key);
        for about in watch::about(&key) {
            self.troubles.remove(&about);
        }
        self.rotations_asked.remove(&key);
        self.got.retain(|_, got| !got.terms.oracles.contains(&key));
        Ok(known)
    }

    /// The open loans that are meant, in words; nothing when there are none. One that is over and still lacks its price
    /// is open in this sense; one that was cancelled is not, though its chain is watched on.
    fn open_loans(&self, is_meant: impl Fn(&Loan) -> bool) -> Option<String> {
        let open = self.loans.values().filter(|loan| !loan.has_ended() || loan.lacks_price());
        let ids: Vec<LoanId> = open.filter(|loan| is_meant(loan)).map(|loan| loan.id).collect();
        let named: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
        let more = ids.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let what = if ids.len() == 1 { "the open loan" } else { "the open loans" };
        (!ids.is_empty()).then(|| format!("{what} {}{more}", named.join(", ")))
    }

    /// An empty document is none: it is read so at every start.
    fn forget_document(&self, name: &str) -> Result<(), ErrorView> {
        let store = self.tools.store.clone();
        tokio::task::block_in_place(|| store.put(name, &[])).map_err(|e| error(ErrorCode::Internal, e))
    }
}
