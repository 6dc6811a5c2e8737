//! A contract rebuilt: its transactions, and where each signature belongs.

use super::adaptor::{self, Signing, Slot};
use super::clauses::{Announcements, Payouts};
use super::error::{guarded, require, ContractError};
use super::fallback;
use super::skeleton::Skeleton;
use crate::loan::payout::Payout;
use crate::loan::terms::Terms;
use bitcoin::{Amount, OutPoint, Psbt, ScriptBuf, Transaction, TxOut};
use dlc::DlcTransactions;
use dlc_messages::{AcceptDlc, FundingInput, OfferDlc};
use secp256k1_zkp::PublicKey;

/// A contract both sides agree on, with everything that negotiation needs.
///
/// Made from messages that have been checked against the terms; never from those that have not.
pub struct Built {
    /// What settling needs.
    pub skeleton: Skeleton,
    /// Unsigned funding transaction (version 2), CETs and refund (of the version the terms name).
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
            let mut transactions = transactions(&payouts.splits()?, offer, accept)?;
            let slots = adaptor::slots(&payouts, announcements)?;
            let expected = payouts.touches.len() + 1 + payouts.fixing.len();
            require("contract", "CETs", transactions.cets.len(), expected)?;
            let skeleton = Skeleton::of(offer, accept, &transactions, terms.exit_version())?;
            for exit in transactions.cets.iter_mut().chain([&mut transactions.refund]) {
                exit.version = skeleton.version();
            }
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

/// Funding transaction, CETs in clause order and refund, from the splits both sides computed; all of version 2.
///
/// The same as the library makes of the messages' payout function, which takes it a walk over every price.
pub(super) fn transactions(
    splits: &[Payout],
    offer: &OfferDlc,
    accept: &AcceptDlc,
) -> Result<DlcTransactions, ContractError> {
    let offering = offering(offer)?;
    let (payout, change) =
        ((&accept.payout_spk, accept.payout_serial_id), (&accept.change_spk, accept.change_serial_id));
    let accepting = party(accept.funding_pubkey, accept.accept_collateral, &accept.funding_inputs, payout, change)?;
    let splits: Vec<dlc::Payout> =
        splits.iter().map(|split| dlc::Payout { offer: split.borrower, accept: split.lender }).collect();
    let fund_lock_time = 0;
    Ok(dlc::create_dlc_transactions(
        &offering,
        &accepting,
        &splits,
        offer.refund_locktime,
        offer.fee_rate_per_vb,
        fund_lock_time,
        offer.cet_locktime,
        offer.fund_output_serial_id,
        offer.contract_flags,
    )?)
}

/// The offering party as the library takes it.
pub(super) fn offering(offer: &OfferDlc) -> Result<dlc::PartyParams, ContractError> {
    let (payout, change) = ((&offer.payout_spk, offer.payout_serial_id), (&offer.change_spk, offer.change_serial_id));
    party(offer.funding_pubkey, offer.offer_collateral, &offer.funding_inputs, payout, change)
}

/// One party as the library takes it; scripts with the serial ids that order their outputs.
fn party(
    key: PublicKey,
    collateral: Amount,
    inputs: &[FundingInput],
    payout: (&ScriptBuf, u64),
    change: (&ScriptBuf, u64),
) -> Result<dlc::PartyParams, ContractError> {
    let mut input_amount = Amount::ZERO;
    for input in inputs {
        let (_, previous) = previous(input)?;
        let value = output(&previous, input.prev_tx_vout)?.value;
        input_amount = input_amount.checked_add(value).ok_or(ContractError::OutOfRange("the sum of the coins"))?;
    }
    Ok(dlc::PartyParams {
        fund_pubkey: key,
        change_script_pubkey: change.0.clone(),
        change_serial_id: change.1,
        payout_script_pubkey: payout.0.clone(),
        payout_serial_id: payout.1,
        inputs: inputs.iter().map(Into::into).collect(),
        dlc_inputs: Vec::new(),
        input_amount,
        collateral,
    })
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
            super::error::amounts(&principal),
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
        .map_err(|_| ContractError::field("funding input", "prev_tx", "no transaction", "one whole transaction"))?;
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
