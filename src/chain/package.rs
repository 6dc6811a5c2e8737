//! Transactions that are judged together: a parent and the child that pays for it.

use super::bitcoind::{amount, Bitcoind, TRANSACTION_CODES};
use super::{Chain, Error, Rejected};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, OutPoint, Transaction, Txid};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Children looked at; nodes let no more descendants wait.
const CHILDREN_MOST: usize = 25;

/// A transaction in the mempool and what hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its own fee.
    pub fee: Amount,
    /// Its own size, virtual bytes.
    pub size: u64,
    /// Its fee and those of all that descends from it: what a replacement must beat.
    pub all: Amount,
    /// Those that spend an output of it.
    pub children: Vec<Child>,
}

/// A child in the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub txid: Txid,
    /// Its own fee.
    pub fee: Amount,
    /// Its own size, virtual bytes.
    pub size: u64,
    /// Its fee and those of everything unconfirmed it needs, its parent among it.
    pub package_fee: Amount,
    /// The size of that.
    pub package_size: u64,
}

#[derive(Deserialize)]
struct Entry {
    vsize: u64,
    fees: Fees,
    ancestorsize: u64,
    #[serde(default)]
    spentby: Vec<Txid>,
}

#[derive(Deserialize)]
struct Fees {
    base: f64,
    ancestor: f64,
    descendant: f64,
}

#[derive(Deserialize)]
struct Answer {
    package_msg: String,
    #[serde(rename = "tx-results", default)]
    results: BTreeMap<String, Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    txid: Txid,
    error: Option<String>,
}

const SUBMIT: &str = "submitpackage";

impl Chain {
    /// A transaction in the mempool with what hangs on it; `None` where it is not there.
    pub async fn family(&self, txid: Txid) -> Result<Option<Family>, Error> {
        let Chain::Bitcoind(node) = self;
        node.family(txid).await
    }

    /// What a transaction in the mempool and all that spend its outputs there pay together: what a replacement must beat.
    /// `None` where it is not in the mempool.
    pub async fn family_fee(&self, txid: Txid) -> Result<Option<Amount>, Error> {
        let Chain::Bitcoind(node) = self;
        node.entry(txid).await?.map(|entry| amount(ENTRY, entry.fees.descendant)).transpose()
    }

    /// The transaction in the mempool that spends this output; `None` where none does.
    pub async fn spender(&self, outpoint: OutPoint) -> Result<Option<Transaction>, Error> {
        let Chain::Bitcoind(node) = self;
        let Some(txid) = node.spender(outpoint).await? else { return Ok(None) };
        Ok(self.transaction(txid).await?.filter(|seen| seen.confirmed.is_none()).map(|seen| seen.transaction))
    }

    /// Hands in a transaction that is too cheap alone, with the child that pays for both. All or nothing.
    ///
    /// # Errors
    /// [`Error::Rejected`] with bitcoind's reason, the parent's first, or a failure to ask.
    pub async fn submit_package(&self, parent: &Transaction, child: &Transaction) -> Result<(), Error> {
        let Chain::Bitcoind(node) = self;
        node.submit_package(parent, child).await
    }
}

const ENTRY: &str = "getmempoolentry";

#[derive(Deserialize)]
struct SpendingPrevout {
    spendingtxid: Option<Txid>,
}

impl Bitcoind {
    async fn spender(&self, outpoint: OutPoint) -> Result<Option<Txid>, Error> {
        let asked = json!([{ "txid": outpoint.txid, "vout": outpoint.vout }]);
        let found: Vec<SpendingPrevout> = self.rpc.call("gettxspendingprevout", vec![asked]).await?;
        Ok(found.into_iter().next().and_then(|found| found.spendingtxid))
    }

    async fn entry(&self, txid: Txid) -> Result<Option<Entry>, Error> {
        self.rpc.find(ENTRY, vec![json!(txid)]).await
    }

    async fn family(&self, txid: Txid) -> Result<Option<Family>, Error> {
        let Some(entry) = self.entry(txid).await? else { return Ok(None) };
        let mut children = Vec::new();
        for child in entry.spentby.iter().take(CHILDREN_MOST) {
            // Gone since: then it does not count.
            let Some(found) = self.entry(*child).await? else { continue };
            children.push(Child {
                txid: *child,
                fee: amount(ENTRY, found.fees.base)?,
                size: found.vsize,
                package_fee: amount(ENTRY, found.fees.ancestor)?,
                package_size: found.ancestorsize,
            });
        }
        let (fee, all) = (amount(ENTRY, entry.fees.base)?, amount(ENTRY, entry.fees.descendant)?);
        Ok(Some(Family { fee, size: entry.vsize, all, children }))
    }

    async fn submit_package(&self, parent: &Transaction, child: &Transaction) -> Result<(), Error> {
        let package = json!([serialize_hex(parent), serialize_hex(child)]);
        match self.rpc.call::<Answer>(SUBMIT, vec![package]).await {
            Ok(answer) => verdict(answer, parent.compute_txid(), child.compute_txid()),
            Err(Error::Refused { code, message, .. }) if TRANSACTION_CODES.contains(&code) => {
                Err(Rejected::new(parent.compute_txid(), &message).into())
            }
            Err(e) => Err(e),
        }
    }
}

/// What the answer says of the two: both are in, or why not.
fn verdict(answer: Answer, parent: Txid, child: Txid) -> Result<(), Error> {
    let of = |txid: Txid| answer.results.values().find(|one| one.txid == txid);
    for txid in [parent, child] {
        if let Some(error) = of(txid).and_then(|one| one.error.as_deref()) {
            return Err(Rejected::new(txid, error).into());
        }
    }
    match answer.package_msg == "success" && of(parent).is_some() && of(child).is_some() {
        true => Ok(()),
        false => Err(Rejected::new(parent, &answer.package_msg).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn txid(byte: u8) -> Txid {
        Txid::from_byte_array([byte; 32])
    }

    fn said(json: serde_json::Value) -> Result<(), String> {
        let answer: Answer = serde_json::from_value(json).map_err(|e| e.to_string())?;
        verdict(answer, txid(1), txid(2)).map_err(|e| e.rejection().map_or(e.to_string(), |no| no.reason.clone()))
    }

    #[test]
    fn a_package_is_in_only_where_both_are_and_the_parents_reason_comes_first() {
        let both = json!({ "a": { "txid": txid(1), "vsize": 170 }, "b": { "txid": txid(2) } });
        assert_eq!(said(json!({ "package_msg": "success", "tx-results": both })), Ok(()));
        let one = json!({ "a": { "txid": txid(1) } });
        assert!(said(json!({ "package_msg": "success", "tx-results": one })).is_err());
        assert!(said(json!({ "package_msg": "success" })).is_err());
        let refused = json!({
            "a": { "txid": txid(1), "error": "min relay fee not met, 4250 < 8500" },
            "b": { "txid": txid(2), "error": "bad-txns-inputs-missingorspent" },
        });
        let said_of = said(json!({ "package_msg": "transaction failed", "tx-results": refused }));
        assert_eq!(said_of, Err("min relay fee not met, 4250 < 8500".into()));
        assert_eq!(said(json!({ "package_msg": "package-too-large" })), Err("package-too-large".into()));
        assert!(said(json!({ "tx-results": both })).is_err(), "no verdict at all");
    }

    #[test]
    fn bitcoinds_words_come_without_anything_a_terminal_would_obey() {
        let wild = format!("a\u{1b}[31mred\u{202e}{}", "x".repeat(1_000));
        let said = said(json!({ "package_msg": wild })).unwrap_err();
        assert!(said.chars().all(|c| !c.is_control()) && said.len() <= 300, "{said:?}");
    }
}
