//! Which coins are ours, as the chain tells it.

use super::addresses::{Addresses, LOOKAHEAD};
use super::checkpoints::Remembered;
use super::coins::{nearest, Balance, Coin, NetEffect};
use super::proof::{prove, CoinProof};
use super::store::CoinFile;
use super::{Error, Seed};
use crate::chain::{BlockRef, ChainEvent};
use bdk_wallet::chain::{BlockId, ChainPosition};
use bdk_wallet::template::Bip84Public;
use bdk_wallet::{KeychainKind, Update, Wallet as Bdk};
use bitcoin::bip32::{Xpriv, Xpub};
use bitcoin::secp256k1::{All, Secp256k1};
use bitcoin::{Amount, Network, OutPoint, Transaction, TxOut, Txid};
use hypothec_oracle::units::Time;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// The coins of one party. Not shared: the node keeps it behind a lock.
///
/// Whatever spends coins only builds and signs a transaction. The caller saves it, broadcasts it, and then tells the
/// wallet by [`Wallet::record`], so that the next transaction takes other coins.
pub struct Wallet {
    pub(super) bdk: Bdk,
    pub(super) account: Xpriv,
    pub(super) secp: Secp256k1<All>,
    file: CoinFile,
    pub(super) addresses: Addresses,
    reserved: HashSet<OutPoint>,
    /// A coin of at least this is kept for fees.
    pub(super) reserve_amount: Amount,
    /// The height the chain was rolled back to, until it is past its old height again.
    pub(super) rolled_back_to: Option<u32>,
    /// Which blocks of the chain are remembered.
    pub(super) remembered: Remembered,
    /// Orders what was seen in the mempool even while the clock stands still.
    stamp: u64,
    /// What moved coins after a restore: what these made is of after.
    pub(super) moves: HashSet<Txid>,
}

/// How a transaction of ours stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its confirmations; 0 where it is in no block.
    pub depth: u32,
    /// What a block has that spends a coin of it in its place, and the confirmations of that.
    pub rival: Option<(Txid, u32)>,
    /// It, where the wallet knows it or it was given.
    pub transaction: Option<Transaction>,
}

impl Wallet {
    /// Opens the wallet in the folder `dir`, or makes it where there is none. A wallet made anew finds its coins by
    /// being told every block after `birthday`; `None` is the genesis block.
    ///
    /// # Errors
    /// [`Error::Foreign`] where the file belongs to other words or another network.
    pub fn create_or_load(dir: &Path, seed: &Seed, birthday: Option<BlockRef>) -> Result<Wallet, Error> {
        let (account, secp) = (seed.coin_account()?, Secp256k1::new());
        let xpub = Xpub::from_priv(&secp, &account);
        let descriptor = |kind| Bip84Public(xpub, seed.fingerprint(), kind);
        let (external, internal) = (descriptor(KeychainKind::External), descriptor(KeychainKind::Internal));
        let (bdk, file) = match CoinFile::open(dir)? {
            Some((file, changes)) => {
                let foreign = |reason: String| Error::Foreign { path: dir.display().to_string(), reason };
                let bdk = Bdk::load()
                    .descriptor(KeychainKind::External, Some(external))
                    .descriptor(KeychainKind::Internal, Some(internal))
                    .check_network(seed.network())
                    .lookahead(LOOKAHEAD)
                    .load_wallet_no_persist(changes)
                    .map_err(|e| foreign(e.to_string()))?;
                (bdk.ok_or_else(|| foreign("it is empty".into()))?, file)
            }
            None => {
                let mut bdk = Bdk::create(external, internal)
                    .network(seed.network())
                    .lookahead(LOOKAHEAD)
                    .create_wallet_no_persist()
                    .map_err(|e| Error::Derivation(e.to_string()))?;
                if let Some(BlockRef { height, hash }) = birthday {
                    let chain = bdk.latest_checkpoint().insert(BlockId { height, hash });
                    let update = Update { chain: Some(chain), ..Update::default() };
                    bdk.apply_update(update).map_err(|e| Error::Disconnected { height, reason: e.to_string() })?;
                }
                let first = bdk.take_staged().unwrap_or_default();
                (bdk, CoinFile::write_new(dir, &first)?)
            }
        };
        let (addresses, reserved) = (Addresses::default(), HashSet::new());
        let (reserve_amount, rolled_back_to, stamp) = (Amount::ZERO, None, 0);
        let remembered = Remembered::new(bdk.latest_checkpoint().height());
        let moves = HashSet::new();
        let mut wallet = Wallet {
            bdk,
            account,
            secp,
            file,
            addresses,
            reserved,
            reserve_amount,
            rolled_back_to,
            remembered,
            stamp,
            moves,
        };
        wallet.stamp = wallet.last_stamp();
        wallet.persist()?;
        wallet.thin()?;
        Ok(wallet)
    }

    /// The wallet's network.
    pub fn network(&self) -> Network {
        self.bdk.network()
    }

    /// Our transactions that no block holds: what a follower must be asked about at start.
    pub fn unconfirmed(&self) -> Vec<Txid> {
        let all = self.standing_transactions();
        all.filter(|t| self.confirmations(&t.chain_position) == 0).map(|t| t.tx_node.txid).collect()
    }

    /// Those of them that spend coins of ours.
    pub fn unconfirmed_payments(&self) -> Vec<Txid> {
        let all = self.standing_transactions().filter(|t| self.confirmations(&t.chain_position) == 0);
        let pays = |transaction: &Transaction| self.net_effect(transaction).spent > Amount::ZERO;
        all.filter(|t| pays(&t.tx_node.tx)).map(|t| t.tx_node.txid).collect()
    }

    /// Takes in what happened on the chain; seeing the same again does no harm. `now` only orders mempool events.
    ///
    /// # Errors
    /// [`Error::Disconnected`] for a block that does not follow: give the follower [`Wallet::checkpoints`] again.
    pub fn apply(&mut self, event: &ChainEvent, now: Time) -> Result<(), Error> {
        match event {
            ChainEvent::Rollback { to_height } => {
                if *to_height < self.height() {
                    let stamp = self.next_stamp(now);
                    self.lift(*to_height, stamp);
                    self.rolled_back_to = Some(*to_height);
                    self.remembered.back_to(*to_height);
                }
            }
            ChainEvent::Block { height, block, .. } => {
                self.connect(block, *height)?;
                let top = self.bdk.latest_checkpoint().height();
                self.rolled_back_to = self.rolled_back_to.map(|_| *height).filter(|reached| *reached < top);
            }
            ChainEvent::Mempool { new, evicted } => {
                let stamp = self.next_stamp(now);
                // Evictions first: a transaction already displaced by a newer one is not marked any more.
                self.bdk.apply_evicted_txs(evicted.iter().map(|txid| (*txid, stamp)));
                self.bdk.apply_unconfirmed_txs(new.iter().map(|t| (Arc::clone(t), stamp)));
            }
        }
        self.persist()?;
        self.thin()
    }

    /// Counts a transaction just broadcast as seen, before the mempool tells of it.
    pub fn record(&mut self, transaction: &Transaction, now: Time) -> Result<(), Error> {
        let stamp = self.next_stamp(now);
        self.bdk.apply_unconfirmed_txs([(transaction.clone(), stamp)]);
        self.persist()
    }

    /// What the wallet holds.
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for coin in self.coins() {
            let part = if self.reserved.contains(&coin.outpoint) {
                &mut balance.reserved
            } else if coin.confirmations == 0 {
                &mut balance.unconfirmed
            } else if !coin.is_mature() {
                &mut balance.immature
            } else {
                &mut balance.confirmed
            };
            *part = part.checked_add(coin.txout.value).unwrap_or(Amount::MAX_MONEY);
        }
        balance
    }

    /// Every unspent coin, reserved ones too, in the order of their outpoints.
    pub fn coins(&self) -> Vec<Coin> {
        let (graph, index, depths) = (self.bdk.tx_graph(), self.bdk.spk_index(), self.depths());
        let is_unspent = |outpoint: &OutPoint| !graph.outspends(*outpoint).iter().any(|txid| depths.contains_key(txid));
        let coins = depths.iter().flat_map(|(txid, confirmations)| {
            let ours = index.txouts_in_tx(*txid).filter(|(_, (outpoint, _))| is_unspent(outpoint));
            ours.filter_map(|(_, (outpoint, txout))| {
                let (previous_tx, txout) = (graph.get_tx(*txid)?, txout.clone());
                Some(Coin { outpoint, confirmations: *confirmations, previous_tx, txout })
            })
        });
        let mut coins: Vec<Coin> = coins.collect();
        coins.sort_by_key(|c| c.outpoint);
        coins
    }

    /// Coins that may be chosen: confirmed, mature and not reserved.
    pub fn free_coins(&self) -> Vec<Coin> {
        let free = |c: &Coin| c.confirmations > 0 && c.is_mature() && !self.reserved.contains(&c.outpoint);
        self.coins().into_iter().filter(free).collect()
    }

    /// Coins that no loan has: free, or waiting for their block.
    pub(super) fn unbound_coins(&self) -> Vec<Coin> {
        self.coins().into_iter().filter(|coin| coin.is_mature() && !self.reserved.contains(&coin.outpoint)).collect()
    }

    /// A free coin worth exactly `amount`.
    pub fn exact_coin(&self, amount: Amount) -> Option<Coin> {
        self.coin_near(amount, 0)
    }

    /// The free coin nearest to `amount`, at most `tolerance_bp` basis points of it away.
    pub fn coin_near(&self, amount: Amount, tolerance_bp: u32) -> Option<Coin> {
        nearest(&self.first_coins(), amount, tolerance_bp).or_else(|| nearest(&self.free_coins(), amount, tolerance_bp))
    }

    /// Holds these coins back, and no others: the caller's own state is what is true.
    pub fn set_reserved(&mut self, reserved: HashSet<OutPoint>) {
        self.reserved = reserved;
    }

    /// Holds these coins back too.
    pub fn reserve(&mut self, outpoints: &[OutPoint]) {
        self.reserved.extend(outpoints);
    }

    /// Gives these coins free again.
    pub fn release(&mut self, outpoints: &[OutPoint]) {
        self.reserved.retain(|reserved| !outpoints.contains(reserved));
    }

    /// Is this coin held back?
    pub fn is_reserved(&self, outpoint: &OutPoint) -> bool {
        self.reserved.contains(outpoint)
    }

    /// Is this transaction one of ours that the chain told of, or that was recorded?
    pub fn knows(&self, txid: Txid) -> bool {
        self.bdk.tx_graph().get_tx(txid).is_some()
    }

    /// Confirmations of a transaction of ours; 0 where it is in no block.
    pub fn depth(&self, txid: Txid) -> u32 {
        self.bdk.get_tx(txid).map_or(0, |known| self.confirmations(&known.chain_position))
    }

    /// How transactions of ours stand, by one pass over all that the wallet knows. One that it may not know, as after a
    /// restore, is given with its id.
    pub fn standing(&self, ours: &[(Txid, Option<Transaction>)]) -> Vec<Standing> {
        let mut depths = self.depths();
        depths.retain(|_, depth| *depth > 0);
        let graph = self.bdk.tx_graph();
        let of = |(txid, given): &(Txid, Option<Transaction>)| {
            let transaction = graph.get_tx(*txid).map(|made| (*made).clone()).or_else(|| given.clone());
            let inputs = transaction.iter().flat_map(|made| &made.input);
            let mut spends =
                inputs.flat_map(|input| graph.outspends(input.previous_output)).filter(|other| *other != txid);
            let rival = spends.find_map(|other| Some((*other, *depths.get(other)?)));
            let depth = depths.get(txid).copied().unwrap_or(0);
            Standing { depth, rival, transaction }
        };
        ours.iter().map(of).collect()
    }

    /// Does everything that it pays stay in this wallet?
    pub fn keeps_all(&self, transaction: &Transaction) -> bool {
        transaction.output.iter().all(|output| self.bdk.is_mine(output.script_pubkey.clone()))
    }

    /// Of a transaction's inputs and outputs, those that are ours.
    pub fn net_effect(&self, transaction: &Transaction) -> NetEffect {
        let (spent, received) = self.bdk.sent_and_received(transaction);
        NetEffect { spent, received }
    }

    /// Proves to a peer that this coin is ours, for the one purpose `message` stands for.
    pub fn prove_coin(&self, outpoint: OutPoint, message: &[u8; 32]) -> Result<CoinProof, Error> {
        let owned = self.owned(outpoint).ok_or(Error::NotOurs(outpoint))?;
        Ok(prove(&self.secp, &self.secret(&owned)?, outpoint, message))
    }

    /// The height the wallet has been told.
    pub fn height(&self) -> u32 {
        self.rolled_back_to.unwrap_or_else(|| self.bdk.latest_checkpoint().height())
    }

    /// The highest block the wallet has ever been told, also while the chain is shorter.
    pub fn known_height(&self) -> u32 {
        self.bdk.latest_checkpoint().height()
    }

    pub(super) fn confirmations<A: bdk_wallet::chain::Anchor>(&self, position: &ChainPosition<A>) -> u32 {
        match position.confirmation_height_upper_bound() {
            Some(height) => self.height().saturating_add(1).saturating_sub(height),
            None => 0,
        }
    }

    /// The coin's output and where its key is, if it is ours; spent or not.
    pub(super) fn owned(&self, outpoint: OutPoint) -> Option<Owned> {
        let txout = self.bdk.tx_graph().get_txout(outpoint)?.clone();
        let (keychain, index) = self.bdk.derivation_of_spk(txout.script_pubkey.clone())?;
        Some(Owned { txout, keychain, index })
    }

    pub(super) fn persist(&mut self) -> Result<(), Error> {
        if let Some(changes) = self.bdk.staged() {
            self.file.append(changes)?;
            self.bdk.take_staged();
        }
        Ok(())
    }

    /// Returns when everything persisted is on disk.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync()
    }

    fn next_stamp(&mut self, now: Time) -> u64 {
        self.stamp = self.stamp.saturating_add(1).max(u64::from(now.0));
        self.stamp
    }

    fn last_stamp(&self) -> u64 {
        let graph = self.bdk.tx_graph();
        let stamps = graph.full_txs().map(|t| t.last_seen.max(graph.get_last_evicted(t.txid)));
        stamps.flatten().max().unwrap_or(0)
    }
}

/// An output of ours and where its key is.
pub(super) struct Owned {
    pub(super) txout: TxOut,
    pub(super) keychain: KeychainKind,
    pub(super) index: u32,
}
