//! What the tests on a real bitcoind share.
#![allow(dead_code)] // Each test binary uses a part.
#![allow(clippy::unwrap_used)]

use bip39::Mnemonic;
use bitcoin::{Amount, FeeRate, Network};
use hypothec::chain::{Chain, ChainEvent, Follower};
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::wallet::{Seed, Wallet};
use hypothec_oracle::units::Time;
use tempfile::TempDir;

/// 12 March 2020, 10:00 UTC.
pub const NOW: Time = Time(1_584_007_200);
pub const FEE: FeeRate = FeeRate::from_sat_per_vb_u32(5);
pub const ALICE: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
pub const BOB: &str = "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong";

/// A bitcoind on a chain of its own, whose clock stands at [`NOW`].
pub struct World {
    pub node: BitcoindProcess,
    pub dir: TempDir,
}

impl World {
    pub async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let node = BitcoindProcess::start(&dir.path().join("bitcoind"), options()).await.unwrap();
        World { node, dir }
    }

    pub async fn chain(&self) -> Chain {
        Chain::connect(self.node.chain_config()).await.unwrap()
    }

    pub async fn wallet(&self, words: &str, folder: &str) -> Party {
        let dir = self.dir.path().join(folder);
        std::fs::create_dir_all(&dir).unwrap();
        let wallet = Wallet::create_or_load(&dir, &seed(words), None).unwrap();
        let chain = self.chain().await;
        let follower = chain.follower(&wallet.checkpoints(), wallet.unconfirmed());
        let mut party = Party { wallet, chain, follower };
        party.catch_up().await;
        party
    }
}

pub fn options() -> Options {
    Options { mock_time: Some(NOW), ..Options::default() }
}

pub fn seed(words: &str) -> Seed {
    Seed::from_mnemonic(&Mnemonic::parse(words).unwrap(), Network::Regtest).unwrap()
}

pub fn sat(sats: u64) -> Amount {
    Amount::from_sat(sats)
}

/// One party's wallet, kept up with the chain.
pub struct Party {
    pub wallet: Wallet,
    pub chain: Chain,
    pub follower: Follower,
}

impl Party {
    /// Takes in everything new, and returns it.
    pub async fn catch_up(&mut self) -> Vec<ChainEvent> {
        let events = drain(&mut self.follower).await;
        for event in &events {
            self.wallet.apply(event, NOW).unwrap();
        }
        events
    }

    /// A confirmed coin of `amount`.
    pub async fn funded(&mut self, node: &BitcoindProcess, amount: Amount) -> bitcoin::OutPoint {
        let address = self.wallet.new_address().unwrap();
        let outpoint = node.fund(&address, amount).await.unwrap();
        node.mine(1).await.unwrap();
        self.catch_up().await;
        outpoint
    }
}

/// Every event there is now.
pub async fn drain(follower: &mut Follower) -> Vec<ChainEvent> {
    let mut all = Vec::new();
    loop {
        let events = follower.poll().await.unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events);
    }
}
