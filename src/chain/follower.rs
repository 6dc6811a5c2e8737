//! The chain as a list of events, in order, each told once.

use super::{Error, Pulse, Rpc};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use hypothec_oracle::units::Time;
use serde::Deserialize;
use serde_json::json;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most so many blocks per poll, so that the caller can save its state in between.
const BLOCKS_PER_POLL: usize = 200;
/// Nor does one poll read on for longer, once it has something to tell: a bitcoind that is slow is followed block by block.
const POLL_MOST: Duration = Duration::from_secs(2);
/// At most so many new mempool transactions per poll: the caller does nothing meanwhile.
const MEMPOOL_PER_POLL: usize = 200;
/// So many of them are asked for in one round trip: 16 MB where all are as long as bitcoind relays.
const MEMPOOL_BATCH: usize = 20;
/// The mempool's list is left alone for so long per transaction in it: reading it takes bitcoind a thirtieth of that or less.
const MEMPOOL_PAUSE_EACH: Duration = Duration::from_micros(30);
/// A shorter list costs nothing worth a pause.
const MEMPOOL_SHORT: usize = 1_000;
/// Never left alone for longer, lest an exit of the other side's is seen late.
const MEMPOOL_PAUSE_MOST: Duration = Duration::from_secs(10);
/// Blocks remembered to find the fork by; a deeper reorganisation starts over from genesis.
const REMEMBERED: usize = 4_032;

/// A block by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// Blocks above the genesis block.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// One thing that happened on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEvent {
    /// Every block above `to_height` has left the best chain.
    Rollback {
        /// The last height still in common.
        to_height: u32,
    },
    /// The next block of the best chain: one above the last told, or above the height last rolled back to.
    Block {
        /// Its height.
        height: u32,
        /// Its hash.
        hash: BlockHash,
        /// All of it.
        block: Arc<Block>,
        /// Median time past with this block at the tip.
        median_time: Time,
    },
    /// What changed in the mempool since it was last told. Only told at the tip.
    Mempool {
        /// Transactions that have come.
        new: Vec<Arc<Transaction>>,
        /// Transactions that have gone without being in a block told.
        evicted: Vec<Txid>,
    },
}

/// Follows one bitcoind. Holds its place in memory only: the caller gives it back at start.
///
/// [`Follower::poll`] may be dropped half-way (as `select!` does): what was found by then is told by the next poll.
pub struct Follower {
    rpc: Rpc,
    /// Blocks told, lowest first, each one above the last except after a sparse start.
    told: VecDeque<BlockRef>,
    /// Transactions told to be in the mempool, and neither mined nor evicted since.
    mempool: HashSet<Txid>,
    /// Transactions of blocks rolled back, neither mined nor seen in the mempool since.
    orphans: HashSet<Txid>,
    pending: Vec<ChainEvent>,
    /// The list of the mempool is not asked for before, where the tip stays.
    next_list: Option<Instant>,
    /// What the last list named and nobody has looked at yet.
    unread: VecDeque<Txid>,
    /// Has a list been read since bitcoind had its mempool again? After a start it reads it from its disk for a while.
    is_listed: bool,
}

#[derive(Deserialize)]
struct Header {
    height: u32,
    confirmations: i64,
    mediantime: u32,
    previousblockhash: Option<BlockHash>,
    nextblockhash: Option<BlockHash>,
}

#[derive(Deserialize)]
struct MempoolInfo {
    loaded: bool,
}

#[derive(Deserialize)]
struct BlockTxids {
    tx: Vec<Txid>,
}

/// How long a mempool of so many transactions is left alone after its list was read, where the tip stays.
fn pause(length: usize) -> Duration {
    if length < MEMPOOL_SHORT {
        return Duration::ZERO;
    }
    let each = u32::try_from(length).ok().and_then(|length| MEMPOOL_PAUSE_EACH.checked_mul(length));
    each.map_or(MEMPOOL_PAUSE_MOST, |wanted| wanted.min(MEMPOOL_PAUSE_MOST))
}

impl Follower {
    pub(super) fn new(rpc: Rpc, known: &[BlockRef], unconfirmed: impl IntoIterator<Item = Txid>) -> Follower {
        let mut told: Vec<BlockRef> = known.to_vec();
        told.sort_by_key(|b| b.height);
        told.dedup_by_key(|b| b.height);
        Follower {
            rpc,
            told: told.into(),
            mempool: unconfirmed.into_iter().collect(),
            orphans: HashSet::new(),
            pending: Vec::new(),
            next_list: None,
            unread: VecDeque::new(),
            is_listed: false,
        }
    }

    /// How long its question to bitcoind has waited, also while it is being asked.
    pub fn pulse(&self) -> Pulse {
        self.rpc.pulse()
    }

    /// The last block told; `None` before the first.
    pub fn position(&self) -> Option<BlockRef> {
        self.told.back().copied()
    }

    /// Transactions known to wait in the mempool.
    pub fn mempool_len(&self) -> usize {
        self.mempool.len()
    }

    /// Has all been told that waited in the mempool when it was last listed, by a bitcoind that had read its own of before?
    pub fn knows_mempool(&self) -> bool {
        self.is_listed && self.unread.is_empty()
    }

    /// Has this transaction been told to wait in the mempool, and neither to be mined nor to be gone?
    pub fn is_waiting(&self, txid: &Txid) -> bool {
        self.mempool.contains(txid)
    }

    /// What has happened since the last poll; an empty list where nothing has. Two small calls when nothing changed.
    /// A long way behind, it returns a part: poll again until the list is empty.
    ///
    /// # Errors
    /// What kept it from asking. Nothing is lost: the next poll goes on from the same place.
    pub async fn poll(&mut self) -> Result<Vec<ChainEvent>, Error> {
        let done = self.advance().await;
        // It may be another bitcoind, or one that was started anew, that answers next.
        self.is_listed &= done.is_ok();
        match done {
            Err(e) if self.pending.is_empty() => Err(e),
            _ => Ok(std::mem::take(&mut self.pending)),
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while !self.has_enough(began) {
            let best: BlockHash = self.rpc.call("getbestblockhash", vec![]).await?;
            if self.position().is_some_and(|last| last.hash == best) {
                let rests = self.next_list.is_some_and(|next| Instant::now() < next);
                if self.is_listed && self.orphans.is_empty() && rests {
                    return self.take_unread().await;
                }
                if !self.is_listed && !self.is_loaded().await? {
                    return Ok(());
                }
                // The list must belong to this tip, or a transaction just mined would look evicted.
                let list: Vec<Txid> = self.rpc.call("getrawmempool", vec![]).await?;
                self.next_list = Instant::now().checked_add(pause(list.len()));
                let same = list.len() == self.mempool.len() && list.iter().all(|txid| self.mempool.contains(txid));
                if same && self.orphans.is_empty() {
                    self.unread.clear();
                    self.is_listed = true;
                    return Ok(());
                }
                let still: BlockHash = self.rpc.call("getbestblockhash", vec![]).await?;
                if still == best {
                    self.is_listed = true;
                    return self.take_mempool(list).await;
                }
                self.next_list = None;
                continue;
            }
            let fork = self.roll_back().await?;
            self.take_blocks(fork, began).await?;
        }
        Ok(())
    }

    /// Is there enough to be told by a poll that began then?
    fn has_enough(&self, began: Instant) -> bool {
        self.pending.len() >= BLOCKS_PER_POLL || (!self.pending.is_empty() && began.elapsed() >= POLL_MOST)
    }

    /// Drops told blocks that have left the best chain, and returns the header of the last one still in it.
    async fn roll_back(&mut self) -> Result<Header, Error> {
        let mut kept = self.told.clone();
        let mut gone = Vec::new();
        let fork = loop {
            let Some(last) = kept.back() else {
                let hash: BlockHash = self.rpc.call("getblockhash", vec![json!(0)]).await?;
                kept.push_back(BlockRef { height: 0, hash });
                break self.rpc.call("getblockheader", vec![json!(hash), json!(true)]).await?;
            };
            if let Some(header) = self.header(last.hash).await?.filter(|h| h.confirmations > 0) {
                break header;
            }
            gone.push(last.hash);
            kept.pop_back();
        };
        let mut orphans = HashSet::new();
        for hash in &gone {
            // bitcoind keeps stale blocks; one it has forgotten cannot be asked about and need not be.
            let block: Option<BlockTxids> = self.rpc.find("getblock", vec![json!(hash), json!(1)]).await?;
            orphans.extend(block.into_iter().flat_map(|b| b.tx.into_iter().skip(1)));
        }
        self.told = kept;
        self.orphans.extend(orphans);
        if !gone.is_empty() {
            self.pending.push(ChainEvent::Rollback { to_height: fork.height });
        }
        Ok(fork)
    }

    /// Tells blocks above `fork` until the tip, a reorganisation or enough of them.
    async fn take_blocks(&mut self, fork: Header, began: Instant) -> Result<(), Error> {
        let mut next = fork.nextblockhash;
        while let Some(hash) = next.filter(|_| !self.has_enough(began)) {
            let Some(header) = self.header(hash).await?.filter(|h| h.confirmations > 0) else { return Ok(()) };
            if self.told.back().map(|b| b.hash) != header.previousblockhash {
                return Ok(());
            }
            let Some(hex) = self.rpc.find::<String>("getblock", vec![json!(hash), json!(0)]).await? else {
                return Ok(());
            };
            let unreadable = |reason| Error::Answer { method: "getblock", reason };
            let block: Block = deserialize_hex(&hex).map_err(|e| unreadable(e.to_string()))?;
            if block.block_hash() != hash {
                return Err(unreadable(format!("it is not block {hash}")));
            }
            self.tell(header.height, hash, block, Time(header.mediantime));
            next = header.nextblockhash;
        }
        Ok(())
    }

    fn tell(&mut self, height: u32, hash: BlockHash, block: Block, median_time: Time) {
        self.next_list = None;
        self.unread.clear();
        for transaction in &block.txdata {
            let txid = transaction.compute_txid();
            self.mempool.remove(&txid);
            self.orphans.remove(&txid);
        }
        self.told.push_back(BlockRef { height, hash });
        if self.told.len() > REMEMBERED {
            self.told.pop_front();
        }
        self.pending.push(ChainEvent::Block { height, hash, block: Arc::new(block), median_time });
    }

    async fn take_mempool(&mut self, list: Vec<Txid>) -> Result<(), Error> {
        // What was not in the list before is looked at first: it may spend what a loan hangs on, and the rest is old.
        let before: HashSet<Txid> = self.unread.drain(..).collect();
        let is_new = |txid: &&Txid| !self.mempool.contains(*txid);
        let (new, old): (Vec<Txid>, Vec<Txid>) = list.iter().filter(is_new).partition(|txid| !before.contains(*txid));
        self.unread = new.into_iter().chain(old).collect();
        let present: HashSet<Txid> = list.into_iter().collect();
        let known: HashSet<Txid> = self.mempool.drain().chain(self.orphans.drain()).collect();
        let (kept, evicted): (Vec<Txid>, Vec<Txid>) = known.into_iter().partition(|txid| present.contains(txid));
        self.mempool = kept.into_iter().collect();
        if !evicted.is_empty() {
            self.pending.push(ChainEvent::Mempool { new: Vec::new(), evicted });
        }
        self.take_unread().await
    }

    /// Looks at some of what the last list named. Nothing is kept across an await: dropped half-way, what was found is told by
    /// the next poll.
    async fn take_unread(&mut self) -> Result<(), Error> {
        let mut looked = 0;
        while !self.unread.is_empty() && looked < MEMPOOL_PER_POLL {
            let some: Vec<Txid> = self.unread.iter().take(MEMPOOL_BATCH).copied().collect();
            let each = some.iter().map(|txid| vec![json!(txid)]).collect();
            let found = self.rpc.find_each::<String>("getrawtransaction", each).await?;
            looked += some.len();
            for (txid, hex) in some.into_iter().zip(found) {
                self.unread.pop_front();
                // Gone again already: the next list tells.
                let Some(hex) = hex else { continue };
                let transaction: Transaction = deserialize_hex(&hex)
                    .map_err(|e| Error::Answer { method: "getrawtransaction", reason: e.to_string() })?;
                self.mempool.insert(txid);
                self.tell_new(Arc::new(transaction));
            }
        }
        Ok(())
    }

    /// Together with what else is told of the mempool now.
    fn tell_new(&mut self, transaction: Arc<Transaction>) {
        match self.pending.last_mut() {
            Some(ChainEvent::Mempool { new, .. }) => new.push(transaction),
            _ => self.pending.push(ChainEvent::Mempool { new: vec![transaction], evicted: Vec::new() }),
        }
    }

    /// Has bitcoind read from its disk what waited when it was stopped? What it says of its mempool before is a part.
    async fn is_loaded(&self) -> Result<bool, Error> {
        let info: MempoolInfo = self.rpc.call("getmempoolinfo", vec![]).await?;
        Ok(info.loaded)
    }

    async fn header(&self, hash: BlockHash) -> Result<Option<Header>, Error> {
        self.rpc.find("getblockheader", vec![json!(hash), json!(true)]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Auth, Config};
    use bitcoin::absolute::LockTime;
    use bitcoin::consensus::encode::serialize_hex;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{OutPoint, TxIn};
    use serde_json::Value;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A transaction that says by its input which one it stands for.
    fn spending(txid: &Value) -> Transaction {
        let previous_output = OutPoint { txid: txid.as_str().unwrap().parse().unwrap(), vout: 0 };
        let input = vec![TxIn { previous_output, ..TxIn::default() }];
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output: vec![] }
    }

    fn txid(number: u32) -> Txid {
        Txid::from_byte_array(std::array::from_fn(|at| number.to_be_bytes()[at % 4]))
    }

    /// Answers as a bitcoind with this tip and this mempool, and counts how often its list is read. So many times it says that
    /// it is still reading what waited when it was stopped.
    fn bitcoind(tip: BlockHash, mempool: Vec<Txid>, loading: usize) -> (Rpc, Arc<AtomicUsize>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let auth = Auth::UserPass { user: "u".into(), password: "p".into() };
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()), auth, bitcoin::Network::Regtest);
        let lists = Arc::new(AtomicUsize::new(0));
        let (counted, asked) = (Arc::clone(&lists), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mempool, lists) = (stream.unwrap(), mempool.clone(), Arc::clone(&counted));
                let loads = Arc::clone(&asked);
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        let (mut line, mut length) = (String::new(), 0);
                        while reader.read_line(&mut line).unwrap_or(0) > 2 {
                            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                                length = value.trim().parse().unwrap();
                            }
                            line.clear();
                        }
                        let mut body = vec![0; length];
                        if length == 0 || reader.read_exact(&mut body).is_err() {
                            return;
                        }
                        let answer = |asked: &Value| {
                            let result = match asked["method"].as_str().unwrap() {
                                "getbestblockhash" => json!(tip),
                                "getrawmempool" => {
                                    lists.fetch_add(1, Ordering::SeqCst);
                                    json!(mempool)
                                }
                                "getmempoolinfo" => {
                                    json!({ "loaded": loads.fetch_add(1, Ordering::SeqCst) >= loading })
                                }
                                "getrawtransaction" => json!(serialize_hex(&spending(&asked["params"][0]))),
                                // This machine may be slow.
                                "uptime" => json!(1),
                                other => panic!("nobody should ask for {other}"),
                            };
                            json!({ "result": result, "error": null, "id": asked["id"] })
                        };
                        let body = match serde_json::from_slice(&body).unwrap() {
                            Value::Array(several) => Value::Array(several.iter().map(answer).collect()),
                            one => answer(&one),
                        };
                        let body = body.to_string();
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                    }
                });
            }
        });
        (Rpc::new(&config), lists)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_mempool_is_not_read_again_at_once_and_a_short_one_is() {
        let tip = BlockRef { height: 1, hash: BlockHash::from_byte_array([7; 32]) };
        for (length, read) in [(999u32, 20), (300_000, 1)] {
            let mempool: Vec<Txid> = (0..length).map(txid).collect();
            let (rpc, lists) = bitcoind(tip.hash, mempool.clone(), 0);
            let mut follower = Follower::new(rpc, &[tip], mempool);
            for _ in 0..20 {
                assert_eq!(follower.poll().await.unwrap(), Vec::new());
            }
            assert_eq!(lists.load(Ordering::SeqCst), read, "{length} transactions");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_new_and_what_left_is_told_while_a_long_mempool_is_still_being_read() {
        let tip = BlockRef { height: 1, hash: BlockHash::from_byte_array([7; 32]) };
        let list: Vec<Txid> = (0..3_000).map(txid).collect();
        let (rpc, lists) = bitcoind(tip.hash, list.clone(), 0);
        let mut follower = Follower::new(rpc, &[tip], []);
        let told = |events: Vec<ChainEvent>| {
            let [ChainEvent::Mempool { new, evicted }] = &events[..] else { panic!("{events:?}") };
            (new.iter().map(|one| one.input[0].previous_output.txid).collect::<Vec<_>>(), evicted.clone())
        };
        assert_eq!(told(follower.poll().await.unwrap()), (list[..200].to_vec(), vec![]));
        // A rival takes the place of one that was told, long before all of the list is read.
        let (rival, gone) = (txid(9_999), list[7]);
        let later = list.iter().copied().filter(|one| *one != gone).chain([rival]).collect();
        follower.take_mempool(later).await.unwrap();
        let (new, evicted) = told(std::mem::take(&mut follower.pending));
        assert_eq!((new.first(), evicted), (Some(&rival), vec![gone]));
        assert!(follower.unread.len() > 2_000, "most of it is unread still: {}", follower.unread.len());
        // And the list is read again once its pause is over.
        follower.next_list = None;
        follower.poll().await.unwrap();
        assert_eq!(lists.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mempool_that_bitcoind_is_still_reading_from_its_disk_is_not_taken_for_all_there_is() {
        let tip = BlockRef { height: 1, hash: BlockHash::from_byte_array([7; 32]) };
        let (rpc, lists) = bitcoind(tip.hash, (0..300).map(txid).collect(), 2);
        let mut follower = Follower::new(rpc, &[tip], [txid(3)]);
        for _ in 0..2 {
            assert_eq!(follower.poll().await.unwrap(), Vec::new(), "nor is what waited before gone");
            assert!(!follower.knows_mempool() && lists.load(Ordering::SeqCst) == 0);
        }
        assert_eq!(follower.poll().await.unwrap().len(), 1);
        assert!(!follower.knows_mempool(), "a part is told");
        assert_eq!(follower.poll().await.unwrap().len(), 1);
        assert!(follower.knows_mempool() && follower.poll().await.unwrap().is_empty());
    }

    #[test]
    fn the_pause_follows_the_mempool_and_ends() {
        assert_eq!([0, 999].map(pause), [Duration::ZERO; 2]);
        assert_eq!([1_000, 100_000].map(pause), [Duration::from_millis(30), Duration::from_secs(3)]);
        assert_eq!([333_334, usize::MAX].map(pause), [MEMPOOL_PAUSE_MOST; 2]);
        println!("bound mempool-look {} s", MEMPOOL_PAUSE_MOST.as_secs());
    }
}
