//! Many coins into one of ours: after a restore, when there are too many to pay with, and what is taken back.

use super::coins::{fee_ceil, sum, Coin, P2WPKH_DUST, P2WPKH_INPUT_WEIGHT};
use super::spend::{replacement_fee, signed_weight};
use super::{Error, Payment, Rival, Wallet};
use bitcoin::{Amount, FeeRate, OutPoint, Script, Transaction, TxOut, Txid};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// The most coins that one transaction of ours spends. A peer is shown the whole transaction that made a coin: one of some
/// 670 inputs is longer than a message may be, and one of 1,470 is not relayed.
pub const MOST_INPUTS: usize = 400;
/// So many blocks after its own a mining reward can be spent.
const COINBASE_RIPE: u32 = 99;

/// A coin of before a restore that no block has spent since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmoved {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Its worth.
    pub value: Amount,
    /// What spends it and waits for a block.
    pub spent_by: Option<Txid>,
}

impl Wallet {
    /// Coins of before `height` that a block has, that no block has spent, set aside or not; the largest first. Each of them
    /// may have signed something that only another has.
    ///
    /// Of before is what a block of at most that height made, in whichever chain, and could be spent then; and what was paid
    /// back to us by whatever spends such a coin and is no move: that was signed before too, whenever a block has it.
    pub fn unmoved(&self, height: u32) -> Vec<Unmoved> {
        let (graph, index, depths) = (self.bdk.tx_graph(), self.bdk.spk_index(), self.depths());
        let mut coins = Vec::new();
        for txid in self.made_before(height, &depths) {
            // What waits is known by the coin that it spends.
            if depths.get(&txid).is_none_or(|depth| *depth == 0) {
                continue;
            }
            for (_, (outpoint, txout)) in index.txouts_in_tx(txid) {
                let spends = graph.outspends(outpoint).iter();
                let spends = spends.filter_map(|spender| Some((*spender, *depths.get(spender)?)));
                let is_spent = spends.clone().any(|(_, depth)| depth > 0);
                let spent_by = spends.map(|(spender, _)| spender).next();
                coins.extend((!is_spent).then_some(Unmoved { outpoint, value: txout.value, spent_by }));
            }
        }
        coins.sort_by_key(|coin| (Reverse(coin.value), coin.outpoint));
        coins
    }

    /// What stands of what was made before this height.
    fn made_before(&self, height: u32, depths: &HashMap<Txid, u32>) -> HashSet<Txid> {
        let graph = self.bdk.tx_graph();
        let old = depths.iter().filter(|(txid, depth)| self.is_before(txid, **depth, height)).map(|(txid, _)| *txid);
        let mut waiting: Vec<Txid> = old.filter(|txid| !self.moves.contains(txid)).collect();
        let mut known: HashSet<Txid> = waiting.iter().copied().collect();
        while let Some(txid) = waiting.pop() {
            let ours = self.bdk.spk_index().txouts_in_tx(txid).map(|(_, (outpoint, _))| outpoint);
            let spends = ours.flat_map(|outpoint| graph.outspends(outpoint));
            let then = spends.filter(|spender| depths.contains_key(*spender) && !self.moves.contains(*spender));
            let then: Vec<Txid> = then.filter(|spender| known.insert(**spender)).copied().collect();
            waiting.extend(then);
        }
        known
    }

    /// Could it be spent at this height, by the chain of then or by the one of now? `depth` is its confirmations.
    fn is_before(&self, txid: &Txid, depth: u32, height: u32) -> bool {
        let is_coinbase = self.bdk.tx_graph().get_tx(*txid).is_some_and(|made| made.is_coinbase());
        let ripe = |made: u32| made.saturating_add(if is_coinbase { COINBASE_RIPE } else { 0 });
        let is_then = self.made_at(depth).is_some_and(|made| ripe(made) <= height);
        is_then || (!is_coinbase && self.had_block(*txid, height))
    }

    /// Is there a coin in the chain that is of before this height itself, and that nothing spends?
    pub fn has_returned(&self, height: u32) -> bool {
        let (graph, index, depths) = (self.bdk.tx_graph(), self.bdk.spk_index(), self.depths());
        let is_free =
            |outpoint: OutPoint| !graph.outspends(outpoint).iter().any(|spender| depths.contains_key(spender));
        let has_coin = |txid: &Txid| index.txouts_in_tx(*txid).any(|(_, (outpoint, _))| is_free(outpoint));
        let mut there = depths.iter().filter(|(txid, depth)| **depth > 0 && !self.moves.contains(*txid));
        there.any(|(txid, depth)| self.is_before(txid, *depth, height) && has_coin(txid))
    }

    /// Takes these for moves: what they made is of after.
    pub fn set_moves(&mut self, moves: impl IntoIterator<Item = Txid>) {
        self.moves.extend(moves);
    }

    /// The height of the block that made something with so many confirmations.
    fn made_at(&self, confirmations: u32) -> Option<u32> {
        (confirmations > 0).then(|| self.height().saturating_add(1).saturating_sub(confirmations))
    }

    /// Moves coins of before `height`, set aside or not, to one new address: as many of those that nothing spends yet as pay
    /// for it together, the largest first. What is worth less than its input costs is paid for by the others, with a tenth
    /// of what is left of them at most; a coin of after pays for none. So each coin pays once, and all the moves of a
    /// restore together lose no more than that to such coins. `None` where no coin of before can be moved so.
    ///
    /// # Errors
    /// When it cannot be signed or the address cannot be kept.
    pub fn move_old(&mut self, height: u32, fee_rate: FeeRate) -> Result<Option<Payment>, Error> {
        let free = self.unmoved(height).into_iter().filter(|coin| coin.spent_by.is_none());
        let old: Vec<(OutPoint, Amount)> = free.map(|coin| (coin.outpoint, coin.value)).take(MOST_INPUTS).collect();
        self.move_most(&old, fee_rate, None)
    }

    /// The same of the coins that `rival`, a move of before, spends, and in its place: what does not pay for itself any
    /// more, or with a tenth of the others, is left out, and so is a coin that no block has now. `None` where what is left does
    /// not displace it.
    ///
    /// # Errors
    /// As with [`Wallet::move_old`].
    pub fn move_dearer(
        &mut self,
        outpoints: &[OutPoint],
        fee_rate: FeeRate,
        rival: &Rival,
    ) -> Result<Option<Payment>, Error> {
        let known = self.withdrawable(outpoints);
        let worth = |outpoint: &OutPoint| Some((*outpoint, known.get(outpoint)?.txout.value));
        let mut coins: Vec<(OutPoint, Amount)> = outpoints.iter().filter_map(worth).collect();
        coins.sort_by_key(|(outpoint, value)| (Reverse(*value), *outpoint));
        self.move_most(&coins, fee_rate, Some(rival))
    }

    /// Moves as many of these, the first ones, as pay for it.
    fn move_most(
        &mut self,
        coins: &[(OutPoint, Amount)],
        fee_rate: FeeRate,
        rival: Option<&Rival>,
    ) -> Result<Option<Payment>, Error> {
        let count = payable(coins, &self.any_script(), fee_rate, rival)?;
        let outpoints: Vec<OutPoint> = coins.iter().map(|(outpoint, _)| *outpoint).take(count).collect();
        if outpoints.is_empty() {
            return Ok(None);
        }
        let payment = self.sweep(&outpoints, fee_rate, rival)?;
        self.moves.insert(payment.transaction.compute_txid());
        Ok(Some(payment))
    }

    /// Moves confirmed coins of ours, set aside or not, to one new address of ours. Pays `fee_rate`, or more where that is
    /// needed to displace `rival`.
    ///
    /// # Errors
    /// [`Error::TooManyCoins`] for more than [`MOST_INPUTS`]; [`Error::Insufficient`] where nothing would be left.
    pub fn sweep(
        &mut self,
        outpoints: &[OutPoint],
        fee_rate: FeeRate,
        rival: Option<&Rival>,
    ) -> Result<Payment, Error> {
        check_inputs(outpoints.len())?;
        let known = self.withdrawable(outpoints);
        let coin = |outpoint: &OutPoint| known.get(outpoint).cloned().ok_or(Error::NotOurs(*outpoint));
        let coins = outpoints.iter().map(coin).collect::<Result<Vec<Coin>, Error>>()?;
        let mut output = TxOut { value: Amount::ZERO, script_pubkey: self.any_script() };
        let weight = signed_weight(coins.len(), std::slice::from_ref(&output));
        let fee = replacement_fee(fee_ceil(fee_rate, weight)?, weight, rival)?;
        let total = sum(&coins)?;
        output.value = total.checked_sub(fee).filter(|rest| *rest >= P2WPKH_DUST).ok_or(Error::Insufficient {
            needed: fee.checked_add(P2WPKH_DUST).unwrap_or(fee),
            available: total,
            costly: Amount::ZERO,
            waiting: Amount::ZERO,
            reserved: Amount::ZERO,
        })?;
        let first = *outpoints.first().ok_or(Error::NothingToJoin { coins: 0 })?;
        output.script_pubkey = self.way_back(first)?;
        self.finish(&coins, vec![output])
    }

    /// Spends confirmed coins of ours, reserved or not, to ourselves: so a half-signed transaction that needs all of these
    /// can never be completed. Pays `fee_rate`, or more where that is needed to displace each of `rivals`; and takes as few
    /// of the coins as that needs, the largest first. What `before` spends of them, it spends too, to the same place: of
    /// all that take them back one is mined.
    ///
    /// # Errors
    /// [`Error::TooSmall`] where all of them together are too little; [`Error::NotOurs`] where none is there.
    pub fn take_back(
        &mut self,
        outpoints: &[OutPoint],
        before: Option<&Transaction>,
        fee_rate: FeeRate,
        rivals: &[Rival],
    ) -> Result<Payment, Error> {
        let none = Error::NotOurs(outpoints.first().copied().unwrap_or_default());
        let known = |coin: &OutPoint| before.is_some_and(|tx| tx.input.iter().any(|one| one.previous_output == *coin));
        let ours = self.withdrawable(outpoints);
        let mut coins: Vec<Coin> = outpoints.iter().filter_map(|outpoint| ours.get(outpoint).cloned()).collect();
        coins.sort_by_key(|coin| (!known(&coin.outpoint), Reverse(coin.txout.value), coin.outpoint));
        let fewest = coins.iter().filter(|coin| known(&coin.outpoint)).count().max(1);
        let (first, _) = coins.split_first().ok_or(none)?;
        let first = first.outpoint;
        let mut output = TxOut { value: Amount::ZERO, script_pubkey: self.any_script() };
        let mut short = Err(Error::TooSmall { outpoint: first, value: sum(&coins)?, fee: Amount::ZERO });
        for count in fewest..=coins.len() {
            let taken = coins.get(..count).unwrap_or_default();
            let weight = signed_weight(count, std::slice::from_ref(&output));
            let alone = fee_ceil(fee_rate, weight)?;
            let fee = rivals.iter().try_fold(alone, |fee, rival| replacement_fee(fee, weight, Some(rival)))?;
            let value = sum(taken)?;
            let Some(rest) = value.checked_sub(fee).filter(|rest| *rest >= P2WPKH_DUST) else {
                short = Err(Error::TooSmall { outpoint: first, value, fee });
                continue;
            };
            let place = before.and_then(|tx| tx.output.first()).map(|out| &out.script_pubkey);
            output.script_pubkey = match place.filter(|script| self.is_ours(script)) {
                Some(script) => script.clone(),
                None => self.way_back(first)?,
            };
            output.value = rest;
            return self.finish(taken, vec![output]);
        }
        short
    }

    /// Makes one coin of the smallest free ones, of [`MOST_INPUTS`] at most, and says how many free coins there will be. With
    /// `keep`, the coin that is set apart for the fees of exits stays what it is.
    ///
    /// # Errors
    /// [`Error::NothingToJoin`] where there are fewer than two that are worth more than it costs to move them.
    pub fn consolidate(&mut self, fee_rate: FeeRate, keep: bool) -> Result<(Payment, usize), Error> {
        let input_fee = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?;
        let mut free = self.free_coins();
        let all = free.len();
        let kept = self.coin_set_apart().filter(|_| keep).map(|coin| coin.outpoint);
        free.retain(|coin| coin.txout.value > input_fee && Some(coin.outpoint) != kept);
        free.sort_by_key(|coin| (coin.txout.value, coin.outpoint));
        free.truncate(MOST_INPUTS);
        if free.len() < 2 {
            return Err(Error::NothingToJoin { coins: all });
        }
        let outpoints: Vec<OutPoint> = free.iter().map(|coin| coin.outpoint).collect();
        let payment = self.sweep(&outpoints, fee_rate, None)?;
        Ok((payment, all.saturating_sub(outpoints.len()).saturating_add(1)))
    }
}

/// Is it few enough coins for one transaction?
pub(super) fn check_inputs(coins: usize) -> Result<(), Error> {
    match coins {
        0..=MOST_INPUTS => Ok(()),
        _ => Err(Error::TooManyCoins { needed: coins }),
    }
}

/// Of what a move leaves, one part in so many at most is lost to coins worth less than their inputs cost.
const LOST_OF: u64 = 10;

/// How many of these, the first ones, pay for moving themselves to `script`, in the place of `rival`: what some cost beyond
/// their worth is no more than a tenth of what is left. So whoever pays a wallet in dust takes no more of it than that.
fn payable(
    coins: &[(OutPoint, Amount)],
    script: &Script,
    fee_rate: FeeRate,
    rival: Option<&Rival>,
) -> Result<usize, Error> {
    let input_fee = fee_ceil(fee_rate, P2WPKH_INPUT_WEIGHT)?;
    let output = TxOut { value: Amount::ZERO, script_pubkey: script.to_owned() };
    let (mut most, mut total, mut lost) = (0, Amount::ZERO, Amount::ZERO);
    for (count, (_, value)) in (1..).zip(coins) {
        total = total.checked_add(*value).unwrap_or(Amount::MAX_MONEY);
        let loss = input_fee.checked_sub(*value).unwrap_or(Amount::ZERO);
        lost = lost.checked_add(loss).unwrap_or(Amount::MAX_MONEY);
        let weight = signed_weight(count, std::slice::from_ref(&output));
        let fee = replacement_fee(fee_ceil(fee_rate, weight)?, weight, rival)?;
        let least = lost.checked_mul(LOST_OF).unwrap_or(Amount::MAX_MONEY).max(P2WPKH_DUST);
        if total.checked_sub(fee).is_some_and(|rest| rest >= least) {
            most = count;
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ChainEvent;
    use crate::wallet::Seed;
    use bip39::Mnemonic;
    use bitcoin::absolute::LockTime;
    use bitcoin::block::{Header, Version as BlockVersion};
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Block, CompactTarget, Network, ScriptBuf, TxIn, TxMerkleNode};
    use hypothec_oracle::units::Time;
    use std::sync::Arc;
    use tempfile::TempDir;

    const RATE: FeeRate = FeeRate::from_sat_per_vb_u32(100);
    const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    fn movable(values: &[u64]) -> usize {
        let coins: Vec<(OutPoint, Amount)> =
            values.iter().map(|sats| (OutPoint::null(), Amount::from_sat(*sats))).collect();
        payable(&coins, &ScriptBuf::from_bytes(vec![0; 22]), RATE, None).unwrap()
    }

    #[test]
    fn coins_move_as_far_as_they_pay_for_it_together_the_largest_first() {
        // An input costs 6,800 sats, the rest of a transaction some 4,200.
        assert_eq!(movable(&[5_000]), 0);
        assert_eq!(movable(&[12_000]), 1);
        assert_eq!(movable(&[12_000, 5_000]), 1);
        assert_eq!(movable(&[29_000, 5_000]), 1);
        assert_eq!(movable(&[32_000, 5_000]), 2);
        // None pays by itself, and all together do.
        assert_eq!(movable(&[8_000; 3]), 0);
        assert_eq!(movable(&[8_000; 4]), 4);
    }

    /// A wallet and the chain that it is told.
    struct Chained {
        wallet: Wallet,
        paid: u8,
        _folder: TempDir,
    }

    impl Chained {
        fn new() -> Chained {
            let folder = tempfile::tempdir().unwrap();
            let seed = Seed::from_mnemonic(&Mnemonic::parse(WORDS).unwrap(), Network::Regtest).unwrap();
            let wallet = Wallet::create_or_load(folder.path(), &seed, None).unwrap();
            Chained { wallet, paid: 0, _folder: folder }
        }

        fn mine(&mut self, transaction: Transaction) {
            let height = self.wallet.height() + 1;
            let header = Header {
                version: BlockVersion::TWO,
                prev_blockhash: self.wallet.checkpoints().last().unwrap().hash,
                merkle_root: TxMerkleNode::all_zeros(),
                time: height,
                bits: CompactTarget::from_consensus(0),
                nonce: 0,
            };
            let block = Arc::new(Block { header, txdata: vec![transaction] });
            let event = ChainEvent::Block { height, hash: header.block_hash(), block, median_time: Time(height) };
            self.wallet.apply(&event, Time(height)).unwrap();
        }

        /// Coins of these values come, in a block.
        fn receive(&mut self, values: &[u64]) {
            let script_pubkey = self.wallet.new_address().unwrap().script_pubkey();
            self.paid += 1;
            let from = OutPoint { txid: Txid::from_byte_array([self.paid; 32]), vout: 0 };
            let output = |sats: &u64| TxOut { value: Amount::from_sat(*sats), script_pubkey: script_pubkey.clone() };
            self.mine(Transaction {
                version: Version::TWO,
                lock_time: LockTime::ZERO,
                input: vec![TxIn { previous_output: from, ..TxIn::default() }],
                output: values.iter().map(output).collect(),
            });
        }

        /// One step of a restore, with its block: what was paid for it, and for how many coins.
        fn step(&mut self, begun: u32, rate: FeeRate) -> Option<(u64, usize)> {
            let payment = self.wallet.move_old(begun, rate).unwrap()?;
            let moved = (payment.fee.to_sat(), payment.transaction.input.len());
            self.mine(payment.transaction);
            Some(moved)
        }

        fn worth(&self) -> u64 {
            self.wallet.coins().iter().map(|coin| coin.txout.value.to_sat()).sum()
        }
    }

    /// One coin of a million, and so many of 294 sats, of before the height that is given too.
    fn dusted(dust: usize) -> (Chained, u32) {
        let mut chained = Chained::new();
        chained.receive(&[[1_000_000].as_slice(), &vec![294; dust]].concat());
        let begun = chained.wallet.height();
        (chained, begun)
    }

    /// What a move of a million without dust leaves.
    fn left_alone(rate: FeeRate) -> u64 {
        let (mut chained, begun) = dusted(0);
        chained.step(begun, rate).unwrap();
        chained.worth()
    }

    #[test]
    fn dust_takes_no_more_than_a_tenth_over_all_steps_of_a_restore_and_nothing_of_what_comes_after() {
        let (mut chained, begun) = dusted(200);
        let (_, moved) = chained.step(begun, RATE).unwrap();
        let dust = moved - 1;
        let left = chained.worth() - 294 * u64::try_from(200 - dust).unwrap();
        let lost = left_alone(RATE) - left;
        // An input costs 6,800 sats: one more would have been too many.
        assert!(lost * 10 <= left && (lost + 6_506) * 10 > left - 6_506, "{lost} of {left}");
        // Steps that follow, with the moved coin, with a deposit, and with more dust of after.
        let after = chained.worth();
        for _ in 0..3 {
            assert_eq!(chained.step(begun, RATE), None);
        }
        for deposit in [1_000_000, 50_000_000, 294] {
            chained.receive(&[deposit]);
            assert_eq!(chained.step(begun, RATE), None);
        }
        assert_eq!(chained.worth(), after + 51_000_294);
        println!("bound restored-dust a tenth, in all steps: {lost} sats beside {left} left, for {dust} coins of 294");
        // The others are there to be told, and move when each is worth its move again.
        assert_eq!(chained.wallet.unmoved(begun).len(), 200 - dust);
        assert_eq!(chained.step(begun, FeeRate::from_sat_per_vb_u32(2)).unwrap().1, 200 - dust);
        assert!(chained.wallet.unmoved(begun).is_empty());
    }

    #[test]
    fn a_move_that_is_paid_for_anew_leaves_dust_out_and_loses_no_more_than_a_tenth_either() {
        let (mut chained, begun) = dusted(200);
        let first = chained.wallet.move_old(begun, RATE).unwrap().unwrap();
        chained.wallet.record(&first.transaction, Time(9)).unwrap();
        let coins: Vec<OutPoint> = first.transaction.input.iter().map(|input| input.previous_output).collect();
        let rival = Rival { fee: first.fee, fee_rate: RATE };
        let rate = FeeRate::from_sat_per_vb_u32(1_000);
        let dearer = chained.wallet.move_dearer(&coins, rate, &rival).unwrap().unwrap();
        let (left, few) = (dearer.transaction.output[0].value.to_sat(), dearer.transaction.input.len());
        assert!(few < coins.len() && rival.is_beaten_by(dearer.fee, dearer.transaction.weight()), "{few}");
        assert_eq!(dearer.transaction.output[0].script_pubkey, first.transaction.output[0].script_pubkey);
        assert!((left_alone(rate) - left) * 10 <= left, "{left}");
        // Above what all are worth there is none.
        let beyond = FeeRate::from_sat_per_vb_u32(10_000);
        assert_eq!(chained.wallet.move_dearer(&coins, beyond, &rival).unwrap(), None);
    }

    #[test]
    fn what_is_paid_back_by_a_payment_of_before_moves_once_and_what_a_move_made_does_not() {
        let mut chained = Chained::new();
        chained.receive(&[1_000_000]);
        let begun = chained.wallet.height();
        let coin = chained.wallet.coins()[0].outpoint;
        // Signed by the node that was lost.
        let own = chained.wallet.new_address().unwrap().script_pubkey();
        let paid = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: coin, ..TxIn::default() }],
            output: vec![TxOut { value: Amount::from_sat(900_000), script_pubkey: own }],
        };
        chained.wallet.record(&paid, Time(9)).unwrap();
        assert_eq!(chained.wallet.unmoved(begun).iter().map(|one| one.outpoint).collect::<Vec<_>>(), [coin]);
        assert_eq!(chained.step(begun, RATE), None, "it waits for the payment");
        let change = OutPoint { txid: paid.compute_txid(), vout: 0 };
        chained.mine(paid);
        assert_eq!(chained.wallet.unmoved(begun)[0].outpoint, change);
        assert!(!chained.wallet.has_returned(begun), "it is no coin of the chain of then");
        assert_eq!(chained.step(begun, RATE).unwrap().1, 1);
        assert!(chained.wallet.unmoved(begun).is_empty() && chained.step(begun, RATE).is_none());
    }
}
