//! A wallet told of blocks that nobody mined: how its work grows, and what it remembers of the chain.

use super::checkpoints::{RECENT, SLACK};
use super::store::CoinFile;
use super::{Balance, Seed, Wallet};
use crate::chain::ChainEvent;
use bip39::Mnemonic;
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{transaction, Amount, Block, BlockHash, CompactTarget, FeeRate, Network, OutPoint, ScriptBuf};
use bitcoin::{Transaction, TxIn, TxMerkleNode, TxOut, Txid};
use hypothec_oracle::units::Time;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
const NOW: Time = Time(1_584_007_200);
const FEE: FeeRate = FeeRate::from_sat_per_vb_u32(5);
/// Blocks that are remembered of 8,000 though they hold nothing of ours: the recent ones, at most 38 of two weeks, 6 of the
/// rest, the first two, and as many as go together.
const FEW: usize = RECENT as usize + 38 + 6 + 2 + SLACK;

fn opened(dir: &Path) -> Wallet {
    let seed = Seed::from_mnemonic(&Mnemonic::parse(WORDS).unwrap(), Network::Regtest).unwrap();
    Wallet::create_or_load(dir, &seed, None).unwrap()
}

/// A wallet and the chain that it is told of.
struct Told {
    dir: tempfile::TempDir,
    wallet: Wallet,
    script: ScriptBuf,
    blocks: Vec<Arc<Block>>,
    /// Tells the blocks of one branch from those of another.
    branch: u32,
    paid: u32,
}

impl Told {
    fn new() -> Told {
        let dir = tempfile::tempdir().unwrap();
        let mut wallet = opened(dir.path());
        let script = wallet.new_address().unwrap().script_pubkey();
        let blocks = vec![Arc::new(bitcoin::constants::genesis_block(Network::Regtest))];
        Told { dir, wallet, script, blocks, branch: 0, paid: 0 }
    }

    fn height(&self) -> u32 {
        self.blocks.len() as u32 - 1
    }

    fn tell(&mut self, height: u32) {
        let block = Arc::clone(&self.blocks[height as usize]);
        let event = ChainEvent::Block { height, hash: block.block_hash(), block, median_time: NOW };
        self.wallet.apply(&event, NOW).unwrap();
    }

    /// One more block, with so many coins for the wallet.
    fn mine(&mut self, coins: u32) {
        let txdata = (0..coins).map(|_| self.payment()).collect();
        let header = Header {
            version: Version::TWO,
            prev_blockhash: self.blocks[self.blocks.len() - 1].block_hash(),
            merkle_root: TxMerkleNode::all_zeros(),
            time: NOW.0,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: self.branch,
        };
        self.blocks.push(Arc::new(Block { header, txdata }));
        self.tell(self.height());
    }

    fn mine_empty(&mut self, blocks: u32) {
        (0..blocks).for_each(|_| self.mine(0));
    }

    /// Somebody else's coin, paid to the wallet: 10,000 sats and a few.
    fn payment(&mut self) -> Transaction {
        self.paid += 1;
        let previous_output = OutPoint { txid: Txid::from_byte_array([1; 32]), vout: self.paid };
        let value = Amount::from_sat(10_000 + u64::from(self.paid));
        Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output, ..TxIn::default() }],
            output: vec![TxOut { value, script_pubkey: self.script.clone() }],
        }
    }

    /// Everything above leaves the chain, and another branch begins.
    fn roll_back(&mut self, to_height: u32) {
        self.wallet.apply(&ChainEvent::Rollback { to_height }, NOW).unwrap();
        self.blocks.truncate(to_height as usize + 1);
        self.branch += 1;
    }

    fn reopen(&mut self) {
        self.wallet = opened(self.dir.path());
    }

    /// Goes on as a node does after its start: from the highest remembered block that is still in the chain.
    fn follow(&mut self) {
        let known = self.wallet.checkpoints();
        let is_in = |height: u32, hash: BlockHash| {
            self.blocks.get(height as usize).is_some_and(|block| block.block_hash() == hash)
        };
        let fork = known.iter().rev().find(|one| is_in(one.height, one.hash)).unwrap().height;
        if fork < known.last().unwrap().height {
            self.wallet.apply(&ChainEvent::Rollback { to_height: fork }, NOW).unwrap();
        }
        (fork + 1..=self.height()).for_each(|height| self.tell(height));
    }

    fn remembered(&self) -> usize {
        self.wallet.checkpoints().len()
    }
}

/// The least time of some runs: what else the machine does is no work of the wallet's.
fn time<T>(mut work: impl FnMut() -> T) -> Duration {
    let run = |_| {
        let began = Instant::now();
        black_box(work());
        began.elapsed()
    };
    (0..7).map(run).min().unwrap()
}

fn sats(balance: &Balance) -> [u64; 2] {
    [balance.confirmed.to_sat(), balance.unconfirmed.to_sat()]
}

#[test]
fn a_look_at_200_coins_costs_as_much_after_6_000_blocks_as_after_300() {
    let mut told = Told::new();
    (0..20).for_each(|_| told.mine(10));
    let look = |wallet: &Wallet| (wallet.balance(), wallet.free_coins(), wallet.depth(Txid::all_zeros()));
    told.mine_empty(300);
    let (early, before) = (time(|| look(&told.wallet)), told.wallet.balance());
    told.mine_empty(6_000);
    let late = time(|| look(&told.wallet));
    assert_eq!(told.wallet.balance(), before);
    assert_eq!((told.wallet.height(), told.wallet.free_coins()[0].confirmations > 6_300), (6_320, true));
    assert!(late <= early * 4, "{early:?} after 300 blocks, {late:?} after 6,300");
    let remembered = told.remembered();
    assert!(remembered <= FEW + 20, "{remembered} blocks");
    println!("bound wallet-age {remembered} of 6,321 blocks: {early:?} after 300 of them, {late:?} after all");
}

#[test]
fn a_reorganisation_however_deep_is_followed_after_blocks_were_forgotten_over_a_restart_too() {
    let mut told = Told::new();
    told.mine_empty(4);
    told.mine(3);
    told.mine_empty(2_600);
    let safe = told.wallet.balance().confirmed;
    let mut undone = 0;
    for (depth, restarts) in [(100, false), (100, true), (144, false), (700, false), (700, true), (1_730, false)] {
        told.mine(1);
        undone += 10_000 + u64::from(told.paid);
        told.mine_empty(50);
        let (top, story) = (told.height(), format!("{depth} blocks, restart: {restarts}"));
        told.roll_back(top - depth);
        if restarts {
            told.reopen();
            told.follow();
        }
        let oldest = told.wallet.coins().iter().map(|coin| coin.confirmations).max();
        assert_eq!((told.wallet.height(), oldest), (top - depth, Some(top - depth - 4)), "{story}");
        assert_eq!(sats(&told.wallet.balance()), [safe.to_sat(), undone], "{story}");
        told.mine_empty(1);
        assert_eq!(told.wallet.height(), top - depth + 1, "{story}");
        told.mine_empty(depth);
        assert_eq!((told.wallet.height(), told.wallet.known_height()), (top + 1, top + 1), "{story}");
        told.mine_empty(SLACK as u32);
        assert_eq!(sats(&told.wallet.balance()), [safe.to_sat(), undone], "{story}");
        assert!(told.remembered() <= FEW + 10, "{story}: {} blocks", told.remembered());
        let before = told.wallet.coins();
        told.reopen();
        assert_eq!((told.wallet.coins(), told.wallet.height()), (before, told.height()), "{story}");
    }
}

#[test]
fn forgotten_blocks_that_are_told_again_from_the_first_do_no_harm_and_one_that_does_not_follow_is_refused() {
    let mut told = Told::new();
    told.mine(2);
    told.mine_empty(1_300);
    let (balance, height) = (told.wallet.balance(), told.height());
    assert!(told.remembered() < 400);
    (1..=height).for_each(|one| told.tell(one));
    assert_eq!((told.wallet.balance(), told.wallet.height()), (balance, height));
    assert!(told.remembered() <= FEW + RECENT as usize, "{} blocks", told.remembered());
    told.mine_empty(200);
    assert!(told.remembered() <= FEW, "{} blocks", told.remembered());
    // Where the blocks about it are forgotten, nothing says that it belongs there.
    let known = told.wallet.checkpoints();
    let place = (500..).find(|at| known.iter().all(|one| one.height != *at && one.height + 1 != *at)).unwrap();
    let block = Arc::clone(&told.blocks[700]);
    let event = ChainEvent::Block { height: place, hash: block.block_hash(), block, median_time: NOW };
    assert!(told.wallet.apply(&event, NOW).is_err());
    assert_eq!(told.wallet.checkpoints(), known);
}

#[test]
fn a_folder_with_every_block_opens_thinned_and_a_crash_at_any_byte_of_that_leaves_the_old_list_or_the_new() {
    let mut told = Told::new();
    // As before blocks were forgotten.
    told.wallet.remembered.room = usize::MAX;
    (0..20).for_each(|_| told.mine(1));
    told.mine_empty(1_200);
    let (balance, coins) = (told.wallet.balance(), told.wallet.coins());
    assert_eq!(told.remembered(), 1_221);
    let file = told.dir.path().join("coins.db");
    let old = fs::read(&file).unwrap().len();
    told.reopen();
    assert!(told.remembered() <= FEW + 20, "{} blocks", told.remembered());
    assert_eq!((told.wallet.balance(), told.wallet.coins()), (balance, coins.clone()));
    let known = told.wallet.checkpoints();
    let whole = fs::read(&file).unwrap();
    assert!(whole.len() > old && whole.len() - old < 6 * 1_221, "{old} {}", whole.len());
    let listed = |dir: &Path| {
        let (_, changes) = CoinFile::open(dir).unwrap().unwrap();
        changes.local_chain.blocks.into_values().flatten().count()
    };
    for cut in [old, old + 1, (old + whole.len()) / 2, whole.len() - 1, whole.len()] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("coins.db"), &whole[..cut]).unwrap();
        let expected = if cut == whole.len() { known.len() } else { 1_221 };
        assert_eq!(listed(dir.path()), expected, "cut at {cut}");
        let again = opened(dir.path());
        assert_eq!((again.coins(), again.checkpoints()), (coins.clone(), known.clone()), "cut at {cut}");
        assert_eq!(listed(dir.path()), known.len(), "cut at {cut}");
    }
}

#[test]
fn joining_400_coins_of_4_000_looks_them_up_at_once() {
    let mut told = Told::new();
    told.mine(4_000);
    let wallet = &mut told.wallet;
    let balance = time(|| wallet.balance());
    let (payment, left) = wallet.consolidate(FEE, false).unwrap();
    assert_eq!((payment.transaction.input.len(), left), (400, 3_601));
    let signing = time(|| wallet.sign_all(payment.transaction.clone()).unwrap());
    let joining = time(|| wallet.consolidate(FEE, false).unwrap());
    assert!(joining <= signing * 2 + balance * 20, "{joining:?}, of it {signing:?} to sign; a balance {balance:?}");
    let coins: Vec<OutPoint> = payment.transaction.input.iter().map(|input| input.previous_output).collect();
    // What takes a coin back signs fewer of them.
    let taking = time(|| wallet.take_back(&coins, None, FEE, &[]).unwrap());
    assert!(taking <= balance * 20, "{taking:?}, a balance {balance:?}");
    println!("bound coins-joined 400 of 4,000: {joining:?}, of it {signing:?} to sign; a balance {balance:?}");
}

#[test]
fn what_lost_its_block_waits_until_the_mempool_lacks_it_and_counts_for_nothing_from_then_until_it_is_seen() {
    let mut told = Told::new();
    told.mine_empty(3);
    told.mine(1);
    told.mine_empty(20);
    let deposit = told.wallet.coins()[0].previous_tx.clone();
    let txid = deposit.compute_txid();
    let gone = ChainEvent::Mempool { new: vec![], evicted: vec![txid] };
    let tell = |told: &mut Told, event: &ChainEvent| {
        told.wallet.apply(event, NOW).unwrap();
        (sats(&told.wallet.balance()), told.wallet.fallen().len())
    };
    told.roll_back(3);
    assert_eq!((sats(&told.wallet.balance()), told.wallet.fallen().len()), ([0, 10_001], 1));
    // While the chain is shorter than it was too, and when it goes back further.
    assert_eq!(tell(&mut told, &gone), ([0, 0], 1));
    told.roll_back(2);
    assert_eq!(sats(&told.wallet.balance()), [0, 0]);
    told.mine_empty(30);
    assert_eq!(sats(&told.wallet.balance()), [0, 0]);
    told.reopen();
    assert_eq!((sats(&told.wallet.balance()), told.wallet.history().len()), ([0, 0], 0));
    let fallen = told.wallet.fallen();
    assert_eq!((fallen[0].txid, fallen[0].is_own, fallen[0].gain.to_sat()), (txid, false, 10_001));
    assert!(told.wallet.unconfirmed().is_empty() && !told.wallet.has_standing(&txid));
    let seen = ChainEvent::Mempool { new: vec![deposit], evicted: vec![] };
    assert_eq!(tell(&mut told, &seen), ([0, 10_001], 1));
}
