//! Another wallet of a node's words: a second node of the same person, or a thief.

use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut};
use hypothec::chain::{Chain, Follower};
use hypothec::demo::bitcoind::BitcoindProcess;
use hypothec::node::data::DataFolder;
use hypothec::wallet::{Seed, Wallet};
use hypothec_oracle::units::Time;
use std::path::Path;

pub struct Elsewhere {
    pub wallet: Wallet,
    pub chain: Chain,
    follower: Follower,
}

impl Elsewhere {
    /// Of the node `name` in this folder, with all that the chain shows by now.
    pub async fn of(dir: &Path, name: &str, bitcoind: &BitcoindProcess, now: Time) -> Elsewhere {
        let words = DataFolder::open(&dir.join(name)).unwrap().words().unwrap();
        let seed = Seed::from_mnemonic(&words, Network::Regtest).unwrap();
        let folder = dir.join("elsewhere");
        std::fs::create_dir_all(&folder).unwrap();
        let wallet = Wallet::create_or_load(&folder, &seed, None).unwrap();
        let chain = Chain::connect(bitcoind.chain_config()).await.unwrap();
        let follower = chain.follower(&wallet.checkpoints(), wallet.unconfirmed());
        let mut elsewhere = Elsewhere { wallet, chain, follower };
        elsewhere.catch_up(now).await;
        elsewhere
    }

    pub async fn catch_up(&mut self, now: Time) {
        loop {
            let events = self.follower.poll().await.unwrap();
            if events.is_empty() {
                return;
            }
            events.iter().for_each(|event| self.wallet.apply(event, now).unwrap());
        }
    }

    /// Spends these coins, spent elsewhere or not, to a stranger; `others` has those that are not of these words.
    pub async fn spend(&self, coins: &[OutPoint], others: Option<&Wallet>, fee: u64) -> Transaction {
        let (mut made, mut input) = (Vec::new(), Vec::new());
        for coin in coins {
            let before = self.chain.transaction(coin.txid).await.unwrap().unwrap().transaction;
            made.push(before.output[coin.vout as usize].clone());
            input.push(TxIn { previous_output: *coin, sequence: Sequence::ENABLE_RBF_NO_LOCKTIME, ..TxIn::default() });
        }
        let worth: Amount = made.iter().map(|coin| coin.value).sum();
        let stranger = ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::from_raw_hash(bitcoin::hashes::Hash::all_zeros()));
        let output = vec![TxOut { value: worth - Amount::from_sat(fee), script_pubkey: stranger }];
        let unsigned = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output };
        let mut psbt = Psbt::from_unsigned_tx(unsigned).unwrap();
        for (input, coin) in psbt.inputs.iter_mut().zip(&made) {
            input.witness_utxo = Some(coin.clone());
        }
        let theirs = others.map_or(0, |others| others.sign_inputs(&mut psbt).unwrap());
        assert_eq!(self.wallet.sign_inputs(&mut psbt).unwrap() + theirs, coins.len());
        psbt.extract_tx_unchecked_fee_rate()
    }
}
