//! One regtest bitcoind with a miner's wallet in it.

use super::find;
use crate::chain::{self, Auth, Config, Rpc};
use crate::demo::port::free_port;
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, BlockHash, Network, OutPoint, Transaction, Txid};
use hypothec_oracle::units::Time;
use serde::Deserialize;
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{sleep, Instant};

/// How long bitcoind may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether it has.
const GLANCE: Duration = Duration::from_millis(25);
/// Mining many blocks in one call takes its time on a busy machine, and a call given up early is made twice.
const CALL: Duration = Duration::from_secs(300);
/// Tries to find a port that nobody takes in the meantime.
const TRIES: usize = 5;
/// Blocks that make the first rewards spendable.
const MATURE: u32 = 101;
/// The miner's first blocks lie so many seconds before the mock time, so that it is not ahead of the clock.
const HEAD_START: u32 = 3_600;
const MINER: &str = "miner";

/// Why there is no bitcoind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that should be bitcoind is not.
    #[error("{} does not run ({reason}): set BITCOIND to a bitcoind of version 28 or later", path.display())]
    NotRunnable {
        /// Which.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// The fetch script has said why on stderr.
    #[error("no bitcoind on PATH and none could be fetched: install Bitcoin Core or Bitcoin Knots 28 or later, and put bitcoind on PATH or its path in BITCOIND")]
    NotFetched,
    /// Nothing to run the fetch script with.
    #[error("no bitcoind on PATH, and no `sh` to fetch one with (package dash): put bitcoind on PATH or its path in BITCOIND")]
    NoShell,
    /// No place for the cache.
    #[error("neither XDG_CACHE_HOME nor HOME is set: set one, or BITCOIND to the path of a bitcoind")]
    NoCache,
    /// A file or folder cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It ended while starting.
    #[error("bitcoind ended while starting ({status}): {said}")]
    Ended {
        /// How.
        status: String,
        /// The end of what it printed.
        said: String,
    },
    /// It runs but is not ready in time.
    #[error("bitcoind in {} is not ready after {} s: {reason}", data_dir.display(), PATIENCE.as_secs())]
    NotReady {
        /// Its data folder.
        data_dir: PathBuf,
        /// The last thing it said.
        reason: String,
    },
    /// A call failed.
    #[error(transparent)]
    Call(#[from] chain::Error),
    /// An answer that does not fit the question.
    #[error("bitcoind's answer does not fit: {0}")]
    Answer(String),
}

/// How to start it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The program; found (or fetched) where this is `None`.
    pub program: Option<PathBuf>,
    /// The RPC port; a free one where this is `None`.
    pub rpc_port: Option<u16>,
    /// Its clock; the real one where this is `None`.
    pub mock_time: Option<Time>,
    /// Further arguments.
    pub args: Vec<String>,
}

/// A running bitcoind on regtest, without any connection to others. Killed when dropped.
pub struct BitcoindProcess {
    child: KillOnDrop,
    data_dir: PathBuf,
    rpc: Rpc,
    miner: Rpc,
    mining_address: Address,
    version: String,
    program: PathBuf,
}

#[derive(Debug)]
struct KillOnDrop(Child);

#[derive(Deserialize)]
struct NetworkInfo {
    subversion: String,
}

#[derive(Deserialize)]
struct WalletList {
    wallets: Vec<WalletName>,
}

#[derive(Deserialize)]
struct WalletName {
    name: String,
}

impl std::fmt::Debug for BitcoindProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "bitcoind {} in {}", self.child.0.id(), self.data_dir.display())
    }
}

impl BitcoindProcess {
    /// Starts in `data_dir`, which is made where there is none and goes on where there is one. A new chain gets 101
    /// blocks, so that the miner has a reward to spend. Ready when this returns.
    pub async fn start(data_dir: &Path, options: Options) -> Result<BitcoindProcess, Error> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => find::find().await?.path,
        };
        let file = |e: std::io::Error| Error::File { path: data_dir.to_path_buf(), reason: e.to_string() };
        std::fs::create_dir_all(data_dir).map_err(file)?;
        let core_policy = knows_core_policy(&program).await;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let port = match options.rpc_port {
                Some(port) => port,
                None => free_port().map_err(file)?,
            };
            let mut child = KillOnDrop(spawn(&program, data_dir, port, core_policy, &options)?);
            let rpc = line(data_dir, format!("http://127.0.0.1:{port}"));
            match ready(&mut child, data_dir, &rpc).await {
                Err(Error::Ended { said, .. }) if tries > 0 && options.rpc_port.is_none() && is_port_clash(&said) => {}
                Err(e) => return Err(e),
                Ok(version) => {
                    let mut node = Self::with_miner(child, data_dir, rpc, version, options.mock_time).await?;
                    node.program = program;
                    return Ok(node);
                }
            }
        }
    }

    /// Opens the miner's wallet, and gives a new chain its first blocks.
    async fn with_miner(
        child: KillOnDrop,
        data_dir: &Path,
        rpc: Rpc,
        version: String,
        mock_time: Option<Time>,
    ) -> Result<BitcoindProcess, Error> {
        let existing: WalletList = rpc.call("listwalletdir", vec![]).await?;
        let method = match existing.wallets.iter().any(|w| w.name == MINER) {
            true => "loadwallet",
            false => "createwallet",
        };
        rpc.call::<serde_json::Value>(method, vec![json!(MINER)]).await?;
        let miner = line(data_dir, format!("{}/wallet/{MINER}", rpc.url()));
        let address: Address<NetworkUnchecked> = miner.call("getnewaddress", vec![]).await?;
        let regtest = address.require_network(Network::Regtest);
        let mining_address = regtest.map_err(|e| Error::Answer(e.to_string()))?;
        let data_dir = data_dir.to_path_buf();
        let node = BitcoindProcess { child, data_dir, rpc, miner, mining_address, version, program: PathBuf::new() };
        if node.height().await? == 0 {
            if let Some(before) = mock_time.and_then(|now| now.0.checked_sub(HEAD_START)) {
                node.set_mock_time(Time(before)).await?;
            }
            node.mine(MATURE).await?;
        }
        if let Some(now) = mock_time {
            node.set_mock_time(now).await?;
        }
        Ok(node)
    }

    /// Mines blocks whose rewards go to the miner. Returns their hashes.
    pub async fn mine(&self, blocks: u32) -> Result<Vec<BlockHash>, Error> {
        self.mine_to(blocks, &self.mining_address).await
    }

    /// Mines blocks whose rewards go to `address`.
    pub async fn mine_to(&self, blocks: u32, address: &Address) -> Result<Vec<BlockHash>, Error> {
        Ok(self.rpc.call("generatetoaddress", vec![json!(blocks), json!(address)]).await?)
    }

    /// Mines one block with exactly these transactions of the mempool (or none), as a miner who leaves others out.
    pub async fn mine_only(&self, transactions: &[Txid]) -> Result<BlockHash, Error> {
        self.mine_block(json!(transactions)).await
    }

    /// The same with transactions that its mempool does not have, or would not take beside what it has.
    pub async fn mine_these(&self, transactions: &[Transaction]) -> Result<BlockHash, Error> {
        let hex: Vec<String> = transactions.iter().map(bitcoin::consensus::encode::serialize_hex).collect();
        self.mine_block(json!(hex)).await
    }

    async fn mine_block(&self, transactions: serde_json::Value) -> Result<BlockHash, Error> {
        #[derive(Deserialize)]
        struct Mined {
            hash: BlockHash,
        }
        Ok(self.rpc.call::<Mined>("generateblock", vec![json!(self.mining_address), transactions]).await?.hash)
    }

    /// Sets its clock, which then stands still. Blocks take their time from it, at least a second past the median.
    pub async fn set_mock_time(&self, now: Time) -> Result<(), Error> {
        // Answers null, which `()` reads.
        Ok(self.rpc.call::<()>("setmocktime", vec![json!(now.0)]).await?)
    }

    /// Pays `amount` to `address` from the miner's wallet, unconfirmed. Returns the new coin.
    pub async fn fund(&self, address: &Address, amount: Amount) -> Result<OutPoint, Error> {
        let args = vec![json!(address), json!(amount.to_string_in(bitcoin::Denomination::Bitcoin))];
        let txid: Txid = self.miner.call("sendtoaddress", args).await?;
        let hex: String = self.rpc.call("getrawtransaction", vec![json!(txid)]).await?;
        let transaction: Transaction =
            bitcoin::consensus::encode::deserialize_hex(&hex).map_err(|e| Error::Answer(e.to_string()))?;
        let script = address.script_pubkey();
        let place = transaction.output.iter().position(|o| o.script_pubkey == script && o.value == amount);
        let vout = place.and_then(|vout| u32::try_from(vout).ok());
        vout.map(|vout| OutPoint { txid, vout })
            .ok_or_else(|| Error::Answer(format!("transaction {txid} does not pay {address}")))
    }

    /// Declares a block and all above it invalid; the next best chain takes over.
    pub async fn invalidate(&self, block: BlockHash) -> Result<(), Error> {
        Ok(self.rpc.call::<()>("invalidateblock", vec![json!(block)]).await?)
    }

    /// Takes [`BitcoindProcess::invalidate`] back.
    pub async fn reconsider(&self, block: BlockHash) -> Result<(), Error> {
        Ok(self.rpc.call::<()>("reconsiderblock", vec![json!(block)]).await?)
    }

    /// Blocks above genesis.
    pub async fn height(&self) -> Result<u32, Error> {
        Ok(self.rpc.call("getblockcount", vec![]).await?)
    }

    /// Hash of the best block, as text.
    pub async fn tip(&self) -> Result<String, Error> {
        Ok(self.rpc.call("getbestblockhash", vec![]).await?)
    }

    /// Transactions in its mempool.
    pub async fn mempool_len(&self) -> Result<usize, Error> {
        let list: Vec<Txid> = self.rpc.call("getrawmempool", vec![]).await?;
        Ok(list.len())
    }

    /// Hash of the best chain's block at `height`.
    pub async fn block_hash(&self, height: u32) -> Result<BlockHash, Error> {
        Ok(self.rpc.call("getblockhash", vec![json!(height)]).await?)
    }

    /// Median time past of the best block: what timelocks are compared with.
    pub async fn median_time(&self) -> Result<Time, Error> {
        #[derive(Deserialize)]
        struct Info {
            mediantime: u32,
        }
        let info: Info = self.rpc.call("getblockchaininfo", vec![]).await?;
        Ok(Time(info.mediantime))
    }

    /// What it calls itself, such as `Satoshi:29.0.0/Knots:20250305`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where it answers.
    pub fn rpc_url(&self) -> &str {
        self.rpc.url()
    }

    /// The file with its credentials, new at each start.
    pub fn cookie_file(&self) -> PathBuf {
        cookie_path(&self.data_dir)
    }

    /// What a node needs to follow it.
    pub fn chain_config(&self) -> Config {
        Config::new(self.rpc_url(), Auth::Cookie(self.cookie_file()), Network::Regtest)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// The beginning of a command line of `bitcoin-cli` that reaches it.
    pub fn cli(&self) -> String {
        let port = self.rpc_url().rsplit(':').next().unwrap_or_default();
        let beside = self.program.with_file_name("bitcoin-cli");
        let program = if beside.is_file() { beside } else { PathBuf::from("bitcoin-cli") };
        format!("{} -regtest -datadir={} -rpcport={port}", program.display(), self.data_dir.display())
    }

    /// Lets it run on when this process ends.
    pub fn leave(self) {
        std::mem::forget(self.child);
    }

    /// Ends it in good order, so that [`BitcoindProcess::start`] can go on in the same folder.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.rpc.call::<String>("stop", vec![]).await?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if matches!(self.child.0.try_wait(), Ok(Some(_)) | Err(_)) {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
        Err(Error::NotReady { data_dir: self.data_dir.clone(), reason: "it does not stop".into() })
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Nothing can be done about a process that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `child` answers, and returns what it calls itself.
async fn ready(child: &mut KillOnDrop, data_dir: &Path, rpc: &Rpc) -> Result<String, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(Some(status)) = child.0.try_wait() {
            return Err(Error::Ended { status: status.to_string(), said: last_words(data_dir) });
        }
        match rpc.call::<NetworkInfo>("getnetworkinfo", vec![]).await {
            Ok(info) => return Ok(info.subversion.trim_matches('/').to_string()),
            Err(e) if Instant::now() > deadline => {
                return Err(Error::NotReady { data_dir: data_dir.to_path_buf(), reason: e.to_string() })
            }
            // A cookie of an earlier run is refused until the new one is written.
            Err(_) => sleep(GLANCE).await,
        }
    }
}

fn line(data_dir: &Path, url: String) -> Rpc {
    let config = Config::new(url, Auth::Cookie(cookie_path(data_dir)), Network::Regtest);
    Rpc::new(&Config { call_timeout: CALL, ..config })
}

fn spawn(program: &Path, data_dir: &Path, port: u16, core_policy: bool, options: &Options) -> Result<Child, Error> {
    let file = |path: &Path, e: std::io::Error| Error::File { path: path.to_path_buf(), reason: e.to_string() };
    let output = output_path(data_dir);
    let stdout = File::create(&output).map_err(|e| file(&output, e))?;
    let stderr = stdout.try_clone().map_err(|e| file(&output, e))?;
    let mut command = Command::new(program);
    command.arg(format!("-datadir={}", data_dir.display())).arg(format!("-rpcport={port}"));
    command.args(["-regtest", "-server", "-txindex=1", "-fallbackfee=0.0001", "-rpcbind=127.0.0.1"]);
    command.args(["-rpcallowip=127.0.0.1", "-printtoconsole=0"]);
    // A chain of its own: it neither listens nor calls, so that the RPC port is the only one it takes.
    command.args(["-listen=0", "-connect=0", "-dnsseed=0", "-fixedseeds=0", "-discover=0", "-listenonion=0"]);
    if core_policy {
        command.arg("-corepolicy=1");
    }
    if let Some(Time(now)) = options.mock_time {
        command.arg(format!("-mocktime={now}"));
    }
    command.args(&options.args).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.spawn().map_err(|e| Error::NotRunnable { path: program.to_path_buf(), reason: e.to_string() })
}

/// Knots has a policy of its own, which refuses outputs of 0 sats that Core relays, unless told so.
async fn knows_core_policy(program: &Path) -> bool {
    let help = tokio::process::Command::new(program).arg("-help").stdin(Stdio::null()).output().await;
    help.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("-corepolicy"))
}

fn is_port_clash(said: &str) -> bool {
    said.contains("Unable to bind") || said.contains("Unable to start HTTP server")
}

fn cookie_path(data_dir: &Path) -> PathBuf {
    data_dir.join("regtest").join(".cookie")
}

fn output_path(data_dir: &Path) -> PathBuf {
    data_dir.join("bitcoind.out")
}

/// The end of what bitcoind printed.
fn last_words(data_dir: &Path) -> String {
    let text = std::fs::read_to_string(output_path(data_dir)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(5);
    lines.into_iter().skip(from).collect::<Vec<_>>().join(" ")
}
