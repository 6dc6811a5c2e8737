//! A contract rebuilt: its transactions, and where each signature belongs.

use super::adaptor::{self, Signing, Slot};
use super::clauses::{Announcements, Payouts};
use super::error::{guarded, require, ContractError};
use super::fallback;
use super::skeleton::Skeleton;
use crate::loan::terms::Terms;
use bitcoin::{Amount, OutPoint, Psbt, ScriptBuf, Transaction, TxOut};
use ddk::contract as stateless;
use dlc::DlcTransactions;
use dlc_messages::{AcceptDlc, FundingInput, OfferDlc};

/// A contract both sides agree on, with everything that negotiation needs.
///
/// Made from messages that have been checked against the terms; never from those that have not.
pub struct Built {
    /// What settling needs.
    pub skeleton: Skeleton,
    /// Unsigned funding transaction, CETs and refund.
    pub transactions: DlcTransactions,
    /// One per adaptor signature.
    pub slots: Vec<Slot>,
    /// Unsigned; final a month after due.
    pub fallback: Transaction,
    /// Every payout.
    pub payouts: Payouts,
}

impl Built {
    /// Rebuilds from a checked offer and an accept whose fields (signatures aside) are checked.
    pub fn rebuild(
        terms: &Terms,
        announcements: &Announcements,
        payouts: Payouts,
        offer: &OfferDlc,
        accept: &AcceptDlc,
    ) -> Result<Built, ContractError> {
        guarded(|| {
            let transactions = stateless::create_dlc_transactions(offer, accept)?;
            let slots = adaptor::slots(&payouts, announcements)?;
            let expected = payouts.touches.len() + 1 + payouts.fixing.len();
            require("contract", "CETs", transactions.cets.len(), expected)?;
            let skeleton = Skeleton::of(offer, accept, &transactions)?;
            require_outputs(terms, offer, accept, &transactions)?;
            let fallback = fallback::transaction(terms, &skeleton)?;
            Ok(Built { skeleton, transactions, slots, fallback, payouts })
        })
    }

    /// What signing its CETs needs.
    pub fn signing(&self) -> Signing<'_> {
        Signing {
            cets: &self.transactions.cets,
            script: &self.skeleton.witness_script,
            value: self.skeleton.funding_value,
        }
    }

    /// The funding transaction as a PSBT, each ordinary input with its previous output and transaction.
    pub fn funding_psbt(&self, offer: &OfferDlc, accept: &AcceptDlc) -> Result<Psbt, ContractError> {
        let mut psbt = Psbt::from_unsigned_tx(self.transactions.fund.clone())
            .map_err(|e| ContractError::Library(e.to_string()))?;
        for input in offer.funding_inputs.iter().chain(&accept.funding_inputs) {
            let (outpoint, previous) = previous(input)?;
            let txout = output(&previous, input.prev_tx_vout)?.clone();
            let place = self.input_index(outpoint)?;
            if let Some(slot) = psbt.inputs.get_mut(place) {
                slot.witness_utxo = Some(txout);
                slot.non_witness_utxo = Some(previous);
            }
        }
        Ok(psbt)
    }

    /// Where the funding transaction spends `outpoint`.
    pub fn input_index(&self, outpoint: OutPoint) -> Result<usize, ContractError> {
        self.transactions
            .fund
            .input
            .iter()
            .position(|input| input.previous_output == outpoint)
            .ok_or_else(|| ContractError::field("funding transaction", "inputs", "none", outpoint))
    }
}

/// The funding transaction must pay the 2-of-2, the borrower's principal, and at most the borrower's own change.
fn require_outputs(
    terms: &Terms,
    offer: &OfferDlc,
    accept: &AcceptDlc,
    transactions: &DlcTransactions,
) -> Result<(), ContractError> {
    let paid = |script: &ScriptBuf| -> Vec<Amount> {
        transactions.fund.output.iter().filter(|out| out.script_pubkey == *script).map(|out| out.value).collect()
    };
    require("accept", "change_spk", &accept.change_spk, &terms.principal_script)?;
    let principal = paid(&terms.principal_script);
    if principal != [terms.principal_sats] {
        return Err(ContractError::field(
            "funding transaction",
            "principal output",
            format!("{principal:?}"),
            format!("one of {}", terms.principal_sats),
        ));
    }
    let change = paid(&offer.change_spk);
    if change.len() > 1 || transactions.fund.output.len() != 2 + change.len() {
        return Err(ContractError::field(
            "funding transaction",
            "outputs",
            transactions.fund.output.len(),
            "the 2-of-2, the principal and at most one change of the borrower",
        ));
    }
    Ok(())
}

/// The outpoint a funding input names and the whole previous transaction.
pub fn previous(input: &FundingInput) -> Result<(OutPoint, Transaction), ContractError> {
    let previous: Transaction = bitcoin::consensus::deserialize(&input.prev_tx)
        .map_err(|e| ContractError::field("funding input", "prev_tx", e, "one whole transaction"))?;
    let outpoint = OutPoint { txid: previous.compute_txid(), vout: input.prev_tx_vout };
    Ok((outpoint, previous))
}

/// An output of a transaction by its index.
pub fn output(transaction: &Transaction, vout: u32) -> Result<&TxOut, ContractError> {
    transaction
        .output
        .get(vout as usize)
        .ok_or_else(|| ContractError::field("funding input", "prev_tx_vout", vout, "an output of prev_tx"))
}
