//! The fallback: what settles a loan when its oracles fall silent.
//!
//! Signed by both at origination, outside the DLC messages, final a month after due by median time past. It pays
//! the debt at the reference price of origination, so that silence costs neither side the whole.

use super::error::ContractError;
use super::skeleton::Skeleton;
use crate::loan::payout;
use crate::loan::terms::Terms;
use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{SecretKey, SECP256K1};
use bitcoin::transaction::Version;
use bitcoin::{ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use secp256k1_zkp::PublicKey;

/// The unsigned fallback of a contract: version 3, the lender's output first.
pub fn transaction(terms: &Terms, skeleton: &Skeleton) -> Result<Transaction, ContractError> {
    let split = payout::fallback_floor(terms);
    let at = terms.fallback_locktime();
    let lock_time = LockTime::from_time(at.0).map_err(|_| ContractError::OutOfRange("terms.fallback_locktime"))?;
    let outputs = [(split.lender, &skeleton.lender_script), (split.borrower, &skeleton.borrower_script)];
    Ok(Transaction {
        version: Version(3),
        lock_time,
        input: vec![TxIn {
            previous_output: skeleton.funding,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
            witness: Witness::new(),
        }],
        output: outputs
            .into_iter()
            .filter(|(value, _)| *value >= dlc::DUST_LIMIT)
            .map(|(value, script)| TxOut { value, script_pubkey: script.clone() })
            .collect(),
    })
}

/// One party's half of the signature of a transaction that spends the 2-of-2 at input `index`.
pub fn half_signature(
    transaction: &Transaction,
    index: usize,
    skeleton: &Skeleton,
    key: &SecretKey,
) -> Result<Signature, ContractError> {
    let (script, value) = (&skeleton.witness_script, skeleton.funding_value);
    Ok(dlc::util::get_raw_sig_for_tx_input(SECP256K1, transaction, index, script, value, key)?)
}

/// Requires that `signature` is `key`'s half for input `index` of `transaction`.
pub fn check_half(
    which: &str,
    transaction: &Transaction,
    index: usize,
    skeleton: &Skeleton,
    key: &PublicKey,
    signature: &Signature,
) -> Result<(), ContractError> {
    let (script, value) = (&skeleton.witness_script, skeleton.funding_value);
    dlc::verify_tx_input_sig(SECP256K1, signature, transaction, index, script, value, key)
        .map_err(|_| ContractError::Signature { which: which.into(), key: key.to_string() })
}

/// Puts both halves on input `index`.
pub fn complete(
    mut transaction: Transaction,
    index: usize,
    skeleton: &Skeleton,
    borrower: Signature,
    lender: Signature,
) -> Result<Transaction, ContractError> {
    let witness = dlc::util::multisig_witness(
        &skeleton.witness_script,
        (skeleton.borrower_key, borrower),
        (skeleton.lender_key, lender),
    );
    transaction.input.get_mut(index).ok_or(ContractError::OutOfRange("the input of the 2-of-2"))?.witness = witness;
    Ok(transaction)
}
