//! Signing our own inputs, and no others.
//!
//! Script and value of what is signed come from our own record of the coin, never from the PSBT, so that nobody can
//! make us sign for less than we spend.

use super::ledger::Owned;
use super::{Error, Wallet};
use bitcoin::bip32::ChildNumber;
use bitcoin::ecdsa;
use bitcoin::secp256k1::{Message, PublicKey, SecretKey};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::{Psbt, Transaction, Witness};
use std::borrow::Borrow;

impl Wallet {
    /// Signs and finalises those inputs that are ours, and leaves the others as they are. Returns how many there are;
    /// an input already final counts and is not signed again. Whether they *should* be signed is the caller's.
    ///
    /// # Errors
    /// [`Error::Psbt`] where the PSBT states another value or script for our coin, or asks for another sighash than
    /// ALL. Then nothing is signed.
    pub fn sign_inputs(&self, psbt: &mut Psbt) -> Result<usize, Error> {
        let mut ours = 0;
        let mut signed: Vec<(usize, Witness, Owned)> = Vec::new();
        let mut cache = SighashCache::new(&psbt.unsigned_tx);
        for (index, txin) in psbt.unsigned_tx.input.iter().enumerate() {
            let Some(owned) = self.owned(txin.previous_output) else { continue };
            let wrong = |reason: &str| Error::Psbt { index, reason: reason.into() };
            let input = psbt.inputs.get(index).ok_or_else(|| wrong("it has no entry"))?;
            ours += 1;
            if input.final_script_witness.is_some() {
                continue;
            }
            if input.witness_utxo.as_ref().is_some_and(|stated| *stated != owned.txout) {
                return Err(wrong("it states another value or script for our coin"));
            }
            if input.sighash_type.is_some_and(|kind| kind != EcdsaSighashType::All.into()) {
                return Err(wrong(
                    "it asks for a signature that does not cover the whole transaction; SIGHASH_ALL would be right",
                ));
            }
            let witness = self.witness(&mut cache, index, &owned)?;
            signed.push((index, witness, owned));
        }
        for (index, witness, owned) in signed {
            if let Some(input) = psbt.inputs.get_mut(index) {
                input.witness_utxo = Some(owned.txout);
                input.final_script_witness = Some(witness);
                input.partial_sigs.clear();
                input.bip32_derivation.clear();
                input.sighash_type = None;
            }
        }
        Ok(ours)
    }

    /// Signs a transaction all of whose inputs are ours.
    pub(super) fn sign_all(&self, mut transaction: Transaction) -> Result<Transaction, Error> {
        let mut witnesses = Vec::with_capacity(transaction.input.len());
        let mut cache = SighashCache::new(&transaction);
        for (index, txin) in transaction.input.iter().enumerate() {
            let owned = self.owned(txin.previous_output).ok_or(Error::NotOurs(txin.previous_output))?;
            witnesses.push(self.witness(&mut cache, index, &owned)?);
        }
        for (txin, witness) in transaction.input.iter_mut().zip(witnesses) {
            txin.witness = witness;
        }
        Ok(transaction)
    }

    pub(super) fn witness<T: Borrow<Transaction>>(
        &self,
        cache: &mut SighashCache<T>,
        index: usize,
        owned: &Owned,
    ) -> Result<Witness, Error> {
        let (script, value, kind) = (&owned.txout.script_pubkey, owned.txout.value, EcdsaSighashType::All);
        let digest = cache
            .p2wpkh_signature_hash(index, script, value, kind)
            .map_err(|e| Error::Psbt { index, reason: e.to_string() })?;
        let key = self.secret(owned)?;
        let signature = self.secp.sign_ecdsa_low_r(&Message::from(digest), &key);
        let public = PublicKey::from_secret_key(&self.secp, &key);
        Ok(Witness::p2wpkh(&ecdsa::Signature { signature, sighash_type: kind }, &public))
    }

    /// The coin's secret key. Stays in this room.
    pub(super) fn secret(&self, owned: &Owned) -> Result<SecretKey, Error> {
        let derivation = |e: bitcoin::bip32::Error| Error::Derivation(e.to_string());
        let branch = ChildNumber::from_normal_idx(u32::from(owned.keychain as u8)).map_err(derivation)?;
        let leaf = ChildNumber::from_normal_idx(owned.index).map_err(derivation)?;
        Ok(self.account.derive_priv(&self.secp, &[branch, leaf]).map_err(derivation)?.private_key)
    }
}
