//! Whether bitcoind relays transactions of version 3: the exits of new loans are of that version.
//!
//! Bitcoin Core before 28 does not, nor does Knots with `mempooltruc=reject`. Neither says so anywhere else than in what it
//! refuses, so it is shown one that nobody could mean. Knots as it comes (`mempooltruc=accept`) takes them as it takes any
//! other, and then lets no child pay for one below its minimum: that it says itself.

use super::{Bitcoind, Chain, Error};
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness};
use serde::Deserialize;

/// What Knots calls it to take version 3 without its rules.
const ACCEPT: &str = "accept";

#[derive(Deserialize)]
struct MempoolInfo {
    /// Knots alone has it: Bitcoin Core enforces the rules from version 28 on.
    truc_policy: Option<String>,
}

impl Chain {
    /// Does its mempool enforce the rules of version 3, of which one lets a child pay for what is below the minimum, and
    /// another allows one child only?
    ///
    /// # Errors
    /// A failure to ask.
    pub async fn enforces_version_3(&self) -> Result<bool, Error> {
        let Chain::Bitcoind(node) = self;
        node.enforces_version_3().await
    }
}

impl Bitcoind {
    /// Are the rules of version 3 enforced, as far as it says?
    pub(super) async fn enforces_version_3(&self) -> Result<bool, Error> {
        let info: MempoolInfo = self.rpc.call("getmempoolinfo", vec![]).await?;
        Ok(info.truc_policy.as_deref() != Some(ACCEPT))
    }

    /// Does its mempool take transactions of version 3 at all?
    pub(super) async fn relays_version_3(&self) -> Result<bool, Error> {
        match self.test_accept(&probe()).await {
            Err(Error::Rejected(refused)) => Ok(!is_of_version(&refused.reason)),
            Ok(()) => Ok(true),
            Err(e) => Err(e),
        }
    }
}

/// In order but for its coin, which is not there: what is wrong with its version is said before that.
fn probe() -> Transaction {
    let previous_output = OutPoint { txid: Txid::from_byte_array([1; 32]), vout: 0 };
    let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
    let input = TxIn { previous_output, script_sig: ScriptBuf::new(), sequence, witness: Witness::new() };
    let script_pubkey = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([1; 20]));
    let output = TxOut { value: Amount::from_sat(1_000), script_pubkey };
    Transaction { version: Version(3), lock_time: LockTime::ZERO, input: vec![input], output: vec![output] }
}

/// Is it the reason of one that refuses the version?
fn is_of_version(reason: &str) -> bool {
    reason.split_whitespace().next() == Some("version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_coin_is_no_matter_of_the_version() {
        assert!(is_of_version("version") && is_of_version("version (version)"));
        assert!(!is_of_version("missing-inputs") && !is_of_version("no reason given") && !is_of_version(""));
    }
}
