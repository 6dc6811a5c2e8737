//! The chain as one bitcoind sees it.

use super::BlockRef;
use super::{Coin, Config, Confirmed, Error, Follower, Health, Rejected, Rpc, Seen, Tip};
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, BlockHash, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use hypothec_oracle::foreign::clean;
use hypothec_oracle::units::Time;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// bitcoind's code for a transaction whose outputs are already in the chain.
const ALREADY_IN_CHAIN: i32 = -27;
/// A day's blocks.
const PATIENT_BLOCKS: u16 = 144;
/// bitcoind's codes for a transaction it will not take.
pub(super) const TRANSACTION_CODES: [i32; 3] = [-22, -25, -26];

/// A backend of the chain, connected.
#[derive(Clone)]
pub enum Chain {
    /// A full node over JSON-RPC.
    Bitcoind(Bitcoind),
}

impl Chain {
    /// Connects, and checks that the node is on the configured network and can look transactions up.
    pub async fn connect(config: Config) -> Result<Chain, Error> {
        let chain = Chain::configured(config)?;
        chain.check().await?;
        Ok(chain)
    }

    /// A backend that nobody has asked yet: [`Chain::check`] comes before anything else.
    ///
    /// # Errors
    /// What is wrong with the configuration by itself.
    pub fn configured(config: Config) -> Result<Chain, Error> {
        config.check()?;
        Ok(Chain::Bitcoind(Bitcoind { rpc: Rpc::new(&config), config, told_no_estimates: Arc::default() }))
    }

    /// Asks the node whether it is on the configured network and can look transactions up.
    ///
    /// # Errors
    /// What is wrong with it; [`Error::is_temporary`] tells whether it may pass.
    pub async fn check(&self) -> Result<(), Error> {
        let Chain::Bitcoind(node) = self;
        node.check().await
    }

    /// The best block.
    pub async fn tip(&self) -> Result<Tip, Error> {
        let Chain::Bitcoind(node) = self;
        node.tip().await
    }

    /// How far it is.
    pub async fn health(&self) -> Result<Health, Error> {
        let Chain::Bitcoind(node) = self;
        let BlockchainInfo { blocks, headers, initial: is_initial, chain, .. } = node.info().await?;
        let configured = node.config.network.to_core_arg().to_string();
        let other = (chain != configured).then(|| (clean(&chain), configured));
        let refuses_version_3 = !node.relays_version_3().await?;
        let ignores_version_3 = !node.enforces_version_3().await?;
        let low_cap = node.config.fees.require_relayed(node.relay_minimum().await?).err();
        Ok(Health { blocks, headers, is_initial, other, refuses_version_3, ignores_version_3, low_cap })
    }

    /// Whether the mempool would take this transaction now; nothing is sent. One that is already there passes.
    ///
    /// # Errors
    /// [`Error::Rejected`] with bitcoind's reason, or a failure to ask.
    pub async fn test_accept(&self, transaction: &Transaction) -> Result<(), Error> {
        let Chain::Bitcoind(node) = self;
        node.test_accept(transaction).await
    }

    /// Hands a transaction to the network. One already in the mempool or in the chain counts as handed in.
    ///
    /// # Errors
    /// [`Error::Rejected`] with bitcoind's reason, or a failure to ask.
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, Error> {
        let Chain::Bitcoind(node) = self;
        node.broadcast(transaction).await
    }

    /// A fee rate for confirmation soon, within the configured bounds.
    ///
    /// # Errors
    /// [`Error::CapBelowMinimum`] where nothing that pays it would relay, or a failure to ask.
    pub async fn fee_rate(&self) -> Result<FeeRate, Error> {
        let Chain::Bitcoind(node) = self;
        node.fee_rate_that_relays(node.config.fees.target_blocks).await
    }

    /// The same where the cap may be below what bitcoind takes: what an exit that must go out is paid for as far as it
    /// goes, and what is only judged or shown.
    pub async fn capped_fee_rate(&self) -> Result<FeeRate, Error> {
        let Chain::Bitcoind(node) = self;
        Ok(node.fee_rate(node.config.fees.target_blocks).await?.0)
    }

    /// What bitcoind takes at least: the larger of what it is told to relay and what a full mempool asks.
    pub async fn relay_minimum(&self) -> Result<FeeRate, Error> {
        let Chain::Bitcoind(node) = self;
        node.relay_minimum().await
    }

    /// The most that is paid for any estimate, as configured.
    pub fn fee_cap(&self) -> FeeRate {
        let Chain::Bitcoind(node) = self;
        node.config.fees.cap
    }

    /// What a transaction pays that may wait for a day: for the estimate of that, within the same bounds.
    pub async fn patient_fee_rate(&self) -> Result<FeeRate, Error> {
        let Chain::Bitcoind(node) = self;
        node.fee_rate_that_relays(PATIENT_BLOCKS).await
    }

    /// An output that no block has spent; outputs and spends in the mempool do not count.
    pub async fn coin(&self, outpoint: OutPoint) -> Result<Option<Coin>, Error> {
        let Chain::Bitcoind(node) = self;
        node.coin(outpoint, false).await
    }

    /// An output that neither a block nor the mempool has spent; it may itself still be in the mempool.
    pub async fn coin_with_mempool(&self, outpoint: OutPoint) -> Result<Option<Coin>, Error> {
        let Chain::Bitcoind(node) = self;
        node.coin(outpoint, true).await
    }

    /// A transaction in the best chain or the mempool; `None` for any other, also for one in a stale block.
    pub async fn transaction(&self, txid: Txid) -> Result<Option<Seen>, Error> {
        let Chain::Bitcoind(node) = self;
        node.transaction(txid).await
    }

    /// The hash of the best chain's block at `height`, `None` above the tip.
    pub async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        let Chain::Bitcoind(node) = self;
        node.block_hash(height).await
    }

    /// Follows the chain on from `known`, blocks the caller has already taken in, lowest first; empty: from genesis.
    /// `unconfirmed` are transactions the caller believes to be in the mempool; it is told which are not.
    pub fn follower(&self, known: &[BlockRef], unconfirmed: impl IntoIterator<Item = Txid>) -> Follower {
        let Chain::Bitcoind(node) = self;
        // A line of its own: a long block never makes a settlement wait.
        Follower::new(node.rpc.beside(&node.config), known, unconfirmed)
    }

    /// For how long it has answered nothing at all, though it was asked; zero where it answers.
    pub fn silence(&self) -> Duration {
        let Chain::Bitcoind(node) = self;
        node.rpc.silence()
    }
}

/// A full node over JSON-RPC.
#[derive(Clone)]
pub struct Bitcoind {
    pub(super) rpc: Rpc,
    config: Config,
    told_no_estimates: Arc<AtomicBool>,
}

#[derive(Deserialize)]
struct BlockchainInfo {
    chain: String,
    blocks: u32,
    headers: u32,
    #[serde(rename = "initialblockdownload")]
    initial: bool,
    bestblockhash: BlockHash,
    time: u32,
    mediantime: u32,
}

#[derive(Deserialize)]
struct Indexes {
    txindex: Option<Index>,
}

#[derive(Deserialize)]
struct Index {
    synced: bool,
    #[serde(rename = "best_block_height")]
    height: u64,
}

#[derive(Deserialize)]
struct Acceptance {
    allowed: bool,
    #[serde(rename = "reject-reason")]
    reject_reason: Option<String>,
    #[serde(rename = "reject-details")]
    reject_details: Option<String>,
}

#[derive(Deserialize)]
struct Estimate {
    feerate: Option<f64>,
}

#[derive(Deserialize)]
struct MempoolInfo {
    mempoolminfee: f64,
}

#[derive(Deserialize)]
struct ScriptHex {
    hex: ScriptBuf,
}

#[derive(Deserialize)]
struct Output {
    confirmations: u32,
    value: f64,
    #[serde(rename = "scriptPubKey")]
    script: ScriptHex,
    coinbase: bool,
}

#[derive(Deserialize)]
struct RawTransaction {
    hex: String,
    blockhash: Option<BlockHash>,
    #[serde(default)]
    confirmations: i64,
}

#[derive(Deserialize)]
struct Header {
    height: u32,
    time: u32,
    confirmations: i64,
}

impl Bitcoind {
    async fn check(&self) -> Result<(), Error> {
        let info = self.info().await?;
        let configured = self.config.network.to_core_arg().to_string();
        if info.chain != configured {
            return Err(Error::WrongNetwork { url: self.url(), configured, found: clean(&info.chain) });
        }
        let indexes: Indexes = self.rpc.call("getindexinfo", vec![]).await?;
        match indexes.txindex {
            None => Err(Error::NoTransactionIndex { url: self.url() }),
            Some(Index { synced: false, height }) => Err(Error::IndexBehind { url: self.url(), height }),
            Some(_) => Ok(()),
        }
    }

    fn url(&self) -> String {
        self.rpc.url().to_string()
    }

    async fn info(&self) -> Result<BlockchainInfo, Error> {
        self.rpc.call("getblockchaininfo", vec![]).await
    }

    async fn tip(&self) -> Result<Tip, Error> {
        let info = self.info().await?;
        let (median_time, time) = (Time(info.mediantime), Time(info.time));
        Ok(Tip { height: info.blocks, hash: info.bestblockhash, median_time, time })
    }

    pub(super) async fn test_accept(&self, transaction: &Transaction) -> Result<(), Error> {
        let answers: Vec<Acceptance> =
            self.rpc.call("testmempoolaccept", vec![json!([serialize_hex(transaction)])]).await?;
        let method = "testmempoolaccept";
        let answer = answers.into_iter().next();
        let answer = answer.ok_or(Error::Answer { method, reason: "it is an empty list".into() })?;
        let reason = answer.reject_reason.unwrap_or_else(|| "no reason given".into());
        if answer.allowed || reason == "txn-already-in-mempool" {
            return Ok(());
        }
        let reason = match answer.reject_details {
            Some(details) if details != reason => format!("{reason} ({details})"),
            _ => reason,
        };
        Err(Rejected::new(transaction.compute_txid(), &reason).into())
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, Error> {
        let txid = transaction.compute_txid();
        let refusal = match self.rpc.call::<Txid>("sendrawtransaction", vec![json!(serialize_hex(transaction))]).await {
            Ok(_) | Err(Error::Refused { code: ALREADY_IN_CHAIN, .. }) => return Ok(txid),
            Err(Error::Refused { code, message, .. }) if TRANSACTION_CODES.contains(&code) => message,
            Err(e) => return Err(e),
        };
        // Where its outputs are spent again already, bitcoind only says that its inputs are missing.
        match self.transaction(txid).await {
            Ok(Some(_)) => Ok(txid),
            Ok(None) => Err(Rejected::new(txid, &refusal).into()),
            Err(why) => Err(Error::Unsure { txid, refusal, why: Box::new(why) }),
        }
    }

    /// Within the bounds, and what is taken at least.
    async fn fee_rate(&self, target_blocks: u16) -> Result<(FeeRate, FeeRate), Error> {
        let estimate = match self.rpc.call("estimatesmartfee", vec![json!(target_blocks)]).await {
            Err(Error::Refused { message, .. }) => {
                self.tell_no_estimates(&message);
                Estimate { feerate: None }
            }
            estimate => estimate?,
        };
        let minimum = self.relay_minimum().await?;
        let estimate = estimate.feerate.map(|rate| rate_ceil("estimatesmartfee", rate)).transpose()?;
        Ok((self.config.fees.bound(estimate, minimum), minimum))
    }

    async fn fee_rate_that_relays(&self, target_blocks: u16) -> Result<FeeRate, Error> {
        let (rate, minimum) = self.fee_rate(target_blocks).await?;
        self.config.fees.require_relayed(minimum)?;
        Ok(rate)
    }

    async fn relay_minimum(&self) -> Result<FeeRate, Error> {
        let relay: MempoolInfo = self.rpc.call("getmempoolinfo", vec![]).await?;
        rate_ceil("getmempoolinfo", relay.mempoolminfee)
    }

    /// Says once that it makes no estimates: it never will while it runs as it does.
    fn tell_no_estimates(&self, why: &str) {
        if !self.told_no_estimates.swap(true, Ordering::Relaxed) {
            let rate = self.config.fees.fallback.to_sat_per_vb_ceil();
            tracing::warn!(
                "bitcoind estimates no fees ({why}): {rate} sat/vB are paid, `[fees] fallback` in hypothec.toml, or what \
                 bitcoind relays at least; with -blocksonly it does not estimate"
            );
        }
    }

    async fn coin(&self, outpoint: OutPoint, with_mempool: bool) -> Result<Option<Coin>, Error> {
        let args = vec![json!(outpoint.txid), json!(outpoint.vout), json!(with_mempool)];
        let Some(output) = self.rpc.call::<Option<Output>>("gettxout", args).await? else { return Ok(None) };
        let txout = TxOut { value: amount("gettxout", output.value)?, script_pubkey: output.script.hex };
        Ok(Some(Coin { txout, confirmations: output.confirmations, is_coinbase: output.coinbase }))
    }

    async fn transaction(&self, txid: Txid) -> Result<Option<Seen>, Error> {
        let method = "getrawtransaction";
        let found: Option<RawTransaction> = self.rpc.find(method, vec![json!(txid), json!(true)]).await?;
        let Some(found) = found else { return Ok(None) };
        let transaction = deserialize_hex(&found.hex).map_err(|e| Error::Answer { method, reason: e.to_string() })?;
        let Some(hash) = found.blockhash else { return Ok(Some(Seen { transaction, confirmed: None })) };
        if found.confirmations < 1 {
            return Ok(None);
        }
        let header: Option<Header> = self.rpc.find("getblockheader", vec![json!(hash), json!(true)]).await?;
        // Between the two calls a reorganisation may have thrown the block out.
        let confirmed = header.filter(|h| h.confirmations > 0).map(|h| Confirmed {
            height: h.height,
            hash,
            time: Time(h.time),
            confirmations: u32::try_from(h.confirmations).unwrap_or(u32::MAX),
        });
        Ok(confirmed.map(|confirmed| Seen { transaction, confirmed: Some(confirmed) }))
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        /// bitcoind's code for a height above the tip.
        const OUT_OF_RANGE: i32 = -8;
        match self.rpc.call("getblockhash", vec![json!(height)]).await {
            Ok(hash) => Ok(Some(hash)),
            Err(Error::Refused { code: OUT_OF_RANGE, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// bitcoind's BTC number as an amount.
pub(super) fn amount(method: &'static str, btc: f64) -> Result<Amount, Error> {
    Amount::from_btc(btc).map_err(|e| Error::Answer { method, reason: e.to_string() })
}

/// bitcoind's BTC per 1,000 vB as a fee rate, rounded up to the next sat per 1,000 weight units.
fn rate_ceil(method: &'static str, btc_per_kvb: f64) -> Result<FeeRate, Error> {
    Ok(FeeRate::from_sat_per_kwu(amount(method, btc_per_kvb)?.to_sat().div_ceil(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitcoinds_numbers_become_exact_amounts() {
        assert_eq!(amount("t", 0.1).unwrap(), Amount::from_sat(10_000_000));
        assert_eq!(amount("t", 20_999_999.976_900_01).unwrap(), Amount::from_sat(2_099_999_997_690_001));
        assert!(amount("t", -0.1).is_err());
        assert!(amount("t", f64::NAN).is_err());
        assert_eq!(rate_ceil("t", 0.000_01).unwrap(), FeeRate::from_sat_per_vb_u32(1));
        assert_eq!(rate_ceil("t", 0.000_010_01).unwrap().to_sat_per_kwu(), 251);
    }
}
