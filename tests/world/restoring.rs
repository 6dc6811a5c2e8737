//! A node that is restored from a backup, and what it is seen to do.

use super::start_node;
use bitcoin::{Transaction, Txid};
use hypothec::demo::bitcoind::BitcoindProcess;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::backup;
use hypothec::node::words::Keep;
use hypothec::node::Running;
use std::path::Path;

pub const MOVED: &str = "coins moved after a restore";
pub const PASSPHRASE: &str = "a passphrase of a test";

/// Makes the folder `again` of a backup.
pub fn restore(sealed: &[u8], dir: &Path) {
    restore_at(sealed, dir, 5);
}

/// The same, for a node that takes fees to be so many sat/vB.
pub fn restore_at(sealed: &[u8], dir: &Path, fees: u32) {
    let backup = backup::open(sealed, &PASSPHRASE.to_owned().into()).unwrap();
    let config = at_fees(&backup.config, fees);
    backup.restore(&dir.join("again"), &Keep::Plain, Some(config)).unwrap();
}

/// The restored node, which is stopped, takes fees to be so many sat/vB.
pub fn fees_are(dir: &Path, sats: u32) {
    let path = dir.join("again/hypothec.toml");
    std::fs::write(&path, at_fees(&std::fs::read_to_string(&path).unwrap(), sats)).unwrap();
}

fn at_fees(config: &str, sats: u32) -> String {
    let (before, after) = config.split_once("\nfallback = ").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    format!("{before}\nfallback = {sats}\n{after}")
}

pub async fn start_again(dir: &Path, bitcoind: &BitcoindProcess) -> Running {
    start_node(dir, "again", bitcoind, &dir.join("clock")).await
}

/// Waits until the move of a restored node waits for a block.
pub async fn until_moving(node: &Running, bitcoind: &BitcoindProcess) -> Transaction {
    let chain = hypothec::chain::Chain::connect(bitcoind.chain_config()).await.unwrap();
    until("the move to be out", PATIENCE, || async {
        let history = node.handle.history().await.map_err(|error| error.message)?;
        let moved = history.iter().find(|one| one.what.as_deref() == Some(MOVED));
        let txid = moved.ok_or("nothing is moved")?.txid;
        let seen = chain.transaction(txid).await.map_err(|error| error.to_string())?;
        let status = node.handle.status().await.map_err(|error| error.message)?;
        let is_seen = status.mempool as usize == bitcoind.mempool_len().await.unwrap() && status.mempool > 0;
        seen.filter(|_| is_seen).map(|seen| seen.transaction).ok_or("it is not out".to_owned())
    })
    .await
    .unwrap()
}

/// Which transactions the node's history says are of this kind.
pub async fn told(node: &Running, what: &str) -> Vec<Txid> {
    let history = node.handle.history().await.unwrap();
    history.iter().filter(|one| one.what.as_deref() == Some(what)).map(|one| one.txid).collect()
}

/// Waits until the node has seen all that there is.
pub async fn until_read(node: &Running, bitcoind: &BitcoindProcess) {
    until("the node to have read all", PATIENCE, || async {
        let status = node.handle.status().await.map_err(|error| error.message)?;
        let (height, tip) = (bitcoind.height().await.unwrap(), bitcoind.tip().await.unwrap());
        let is_read = status.height == height && status.tip == tip;
        let waits = bitcoind.mempool_len().await.unwrap();
        (is_read && status.mempool as usize == waits).then_some(()).ok_or(format!("{status:?}"))
    })
    .await
    .unwrap();
}
