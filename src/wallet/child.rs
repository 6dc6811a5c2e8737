//! A child of a transaction that pays us: it spends our output of it, and pays for both.

use super::coins::{Coin, P2WPKH_DUST};
use super::ledger::Owned;
use super::spend::{unsigned, Payment};
use super::{Error, Wallet};
use bdk_wallet::KeychainKind;
use bitcoin::sighash::SighashCache;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};

impl Wallet {
    /// The most valuable output of a transaction that is ours, known to the wallet before or not.
    pub fn output_of(&self, transaction: &Transaction) -> Option<(u32, TxOut)> {
        let ours = transaction.output.iter().enumerate().filter(|(_, out)| self.is_ours(&out.script_pubkey));
        let (index, output) = ours.max_by_key(|(_, out)| out.value)?;
        Some((u32::try_from(index).ok()?, output.clone()))
    }

    /// A signed child of `parent` that pays exactly `fee`: from our output of it, and from `beside` where that is too
    /// little, to ourselves. `to` is the script of a child that it replaces.
    ///
    /// It is of the parent's version: nodes relay nothing else on top of one of version 3.
    ///
    /// # Errors
    /// [`Error::TooSmall`] where what is left would be no output.
    pub fn child(
        &mut self,
        parent: &Transaction,
        fee: Amount,
        beside: Option<&Coin>,
        to: Option<ScriptBuf>,
    ) -> Result<Payment, Error> {
        let txid = parent.compute_txid();
        let missing = || Error::NotOurs(OutPoint { txid, vout: 0 });
        let (vout, output) = self.output_of(parent).ok_or_else(missing)?;
        let mut spent = vec![(OutPoint { txid, vout }, output)];
        spent.extend(beside.map(|coin| (coin.outpoint, coin.txout.clone())));
        let overflow = Error::Arithmetic("the coins add up to more than all bitcoin");
        let total = spent.iter().try_fold(Amount::ZERO, |sum, (_, out)| sum.checked_add(out.value)).ok_or(overflow)?;
        let outpoint = OutPoint { txid, vout };
        let small = || Error::TooSmall { outpoint, value: total, fee };
        let value = total.checked_sub(fee).filter(|rest| *rest >= P2WPKH_DUST).ok_or_else(small)?;
        let script_pubkey = match to.filter(|script| self.is_ours(script)) {
            Some(script) => script,
            None => self.reveal(KeychainKind::Internal)?.script_pubkey(),
        };
        let mut child = unsigned(spent.iter().map(|(outpoint, _)| *outpoint), vec![TxOut { value, script_pubkey }]);
        child.version = parent.version;
        let mut witnesses = Vec::with_capacity(spent.len());
        let mut cache = SighashCache::new(&child);
        for (index, (outpoint, txout)) in spent.iter().enumerate() {
            let owned = self.owner_of(txout).ok_or(Error::NotOurs(*outpoint))?;
            witnesses.push(self.witness(&mut cache, index, &owned)?);
        }
        for (input, witness) in child.input.iter_mut().zip(witnesses) {
            input.witness = witness;
        }
        Ok(Payment { transaction: child, fee })
    }

    /// The key behind an output, if it is ours.
    fn owner_of(&self, txout: &TxOut) -> Option<Owned> {
        let (keychain, index) = self.bdk.derivation_of_spk(txout.script_pubkey.clone())?;
        Some(Owned { txout: txout.clone(), keychain, index })
    }
}
