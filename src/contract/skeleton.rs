//! The skeleton: the few facts from which any exit of a funded contract is rebuilt without its negotiation.

use super::error::ContractError;
use super::Role;
use crate::loan::payout::Payout;
use crate::loan::version::TRANSACTION_VERSION_BEFORE;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, Witness};
use dlc::DlcTransactions;
use dlc_messages::{AcceptDlc, OfferDlc};
use secp256k1_zkp::PublicKey;
use serde::{Deserialize, Serialize};

/// Outpoint, keys and payout scripts of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skeleton {
    /// The 2-of-2 output.
    pub funding: OutPoint,
    /// Its value: collateral, stake, and the fee of one exit paid ahead.
    pub funding_value: Amount,
    /// Its witness script.
    pub witness_script: ScriptBuf,
    /// The borrower's half (the offering party).
    pub borrower_key: PublicKey,
    /// The lender's half (the accepting party).
    pub lender_key: PublicKey,
    /// Where the borrower is paid on every exit.
    pub borrower_script: ScriptBuf,
    /// Where the lender is paid on every exit.
    pub lender_script: ScriptBuf,
    /// Orders the borrower's output.
    pub borrower_serial: u64,
    /// Orders the lender's output.
    pub lender_serial: u64,
    /// Version of the CETs and of the refund. Contracts made before it was agreed have the library's own.
    #[serde(default = "before")]
    pub exit_version: u8,
}

fn before() -> u8 {
    TRANSACTION_VERSION_BEFORE
}

impl Skeleton {
    /// Reads it off checked messages and the transactions rebuilt from them. `exit_version` is the terms'.
    pub fn of(
        offer: &OfferDlc,
        accept: &AcceptDlc,
        txs: &DlcTransactions,
        exit_version: u8,
    ) -> Result<Skeleton, ContractError> {
        let script = txs.funding_script_pubkey();
        let outputs: Vec<_> =
            txs.fund.output.iter().enumerate().filter(|(_, out)| out.script_pubkey == script).collect();
        let [(vout, out)] = outputs.as_slice() else {
            return Err(ContractError::field("funding transaction", "2-of-2 outputs", outputs.len(), 1));
        };
        let vout = u32::try_from(*vout).map_err(|_| ContractError::OutOfRange("the funding output's index"))?;
        Ok(Skeleton {
            funding: OutPoint { txid: txs.fund.compute_txid(), vout },
            funding_value: out.value,
            witness_script: txs.funding_witness_script.clone(),
            borrower_key: offer.funding_pubkey,
            lender_key: accept.funding_pubkey,
            borrower_script: offer.payout_spk.clone(),
            lender_script: accept.payout_spk.clone(),
            borrower_serial: offer.payout_serial_id,
            lender_serial: accept.payout_serial_id,
            exit_version,
        })
    }

    /// One side's half of the 2-of-2.
    pub fn key_of(&self, role: Role) -> &PublicKey {
        match role {
            Role::Borrower => &self.borrower_key,
            Role::Lender => &self.lender_key,
        }
    }

    /// Where one side is paid on every exit.
    pub fn script_of(&self, role: Role) -> &ScriptBuf {
        match role {
            Role::Borrower => &self.borrower_script,
            Role::Lender => &self.lender_script,
        }
    }

    /// The version of the CETs and of the refund.
    pub fn version(&self) -> Version {
        Version(i32::from(self.exit_version))
    }

    /// The contract execution transaction that pays `split`, unsigned: the library's own but for its version.
    pub fn cet(&self, split: &Payout) -> Result<Transaction, ContractError> {
        let input = TxIn {
            previous_output: self.funding,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        let payouts = [dlc::Payout { offer: split.borrower, accept: split.lender }];
        let cet = dlc::create_cets(
            &input,
            &self.borrower_script,
            self.borrower_serial,
            &self.lender_script,
            self.lender_serial,
            &payouts,
            0,
        )
        .pop()
        .ok_or(ContractError::OutOfRange("a CET"))?;
        Ok(Transaction { version: self.version(), ..cet })
    }
}
