//! The refund of the DLC: each side its own collateral, a year after due. The very last resort.

use super::error::ContractError;
use super::skeleton::Skeleton;
use crate::loan::terms::Terms;
use bitcoin::absolute::LockTime;
use bitcoin::{ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

/// The unsigned refund: the library's own but for its version, which is that of the CETs.
pub fn transaction(terms: &Terms, skeleton: &Skeleton) -> Result<Transaction, ContractError> {
    let at = terms.refund_locktime();
    let output = |value, script: &ScriptBuf| TxOut { value, script_pubkey: script.clone() };
    let input = TxIn {
        previous_output: skeleton.funding,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_LOCKTIME_NO_RBF,
        witness: Witness::new(),
    };
    let refund = dlc::create_refund_transaction(
        output(terms.collateral, &skeleton.borrower_script),
        output(terms.stake, &skeleton.lender_script),
        input,
        at.0,
    );
    match refund.lock_time {
        LockTime::Seconds(_) => Ok(Transaction { version: skeleton.version(), ..refund }),
        LockTime::Blocks(_) => Err(ContractError::OutOfRange("terms.refund_locktime")),
    }
}
