//! The receipt: the lender says it was paid, and the collateral is free.

use super::{checks, Outcome};
use crate::contract::clauses::Clause;
use crate::contract::settle::VerifiedAttestation;
use crate::contract::{receipt, wire, OracleAttestation};
use crate::node::tools::{Tools, Trouble};
use crate::protocol::messages::Receipt;
use crate::protocol::{ErrorCode, Input, Loan};
use std::sync::Arc;

/// Borrower: checks the lender's word and settles with it.
pub async fn take(tools: Arc<Tools>, loan: Arc<Loan>, message: Receipt) -> Result<Outcome, Trouble> {
    let attestation =
        wire::read_attestation(&message.attestation.0).map_err(|e| Trouble::refuse(ErrorCode::Receipt, e))?;
    let input = settle(&tools, &loan, attestation)?;
    Ok(Outcome::Inputs(loan.id, vec![input]))
}

/// Lender: gives the receipt, and settles with it at once.
pub fn give(tools: &Tools, loan: &Loan) -> Result<Input, Trouble> {
    let keys = checks::keys(tools, loan)?;
    let attestation = receipt::attest(&loan.terms, &keys.receipt, &keys.receipt_nonce)
        .map_err(|e| Trouble::refuse(ErrorCode::Receipt, e))?;
    settle(tools, loan, attestation)
}

fn settle(tools: &Tools, loan: &Loan, attestation: OracleAttestation) -> Result<Input, Trouble> {
    let verified = VerifiedAttestation::check(&loan.announcements, Clause::Receipt, attestation)
        .map_err(|e| Trouble::refuse(ErrorCode::Receipt, e))?;
    let transaction = checks::settle(tools, loan, &verified)?;
    Ok(Input::Attested { clause: Clause::Receipt, attestations: verified.attestations(), transaction })
}
