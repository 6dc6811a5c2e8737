//! Repayment: one transaction that pays the lender and frees the collateral.
//!
//! One side proposes it, signed on its side: the borrower, or the lender for a borrower who has no coin. Whoever holds
//! a half-signed transaction holds an option, so every proposal spends at least one coin of the proposer's own and is
//! withdrawn by spending that coin elsewhere. What that option is worth at most is `settlement::proposal`'s to say.
//! The borrower pays the fee in either case.

use super::error::ContractError;
use super::fallback::{check_half, complete, half_signature};
use super::skeleton::Skeleton;
use super::wire;
use super::Role;
use crate::loan::terms::Terms;
use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{SecretKey, SECP256K1};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use std::ops::RangeInclusive;

/// The most coins one repayment spends beside the 2-of-2: more would make it so dear in all that nothing could take
/// its place while it waits.
pub const MAX_COINS: usize = 4;

/// The most coins a repayment by `proposer` spends: the borrower pays for them, so the lender brings one.
pub fn most_coins(proposer: Role) -> usize {
    match proposer {
        Role::Borrower => MAX_COINS,
        Role::Lender => 1,
    }
}

/// Requires no more coins of a `proposer` than it may bring.
///
/// # Errors
/// Names what is found, what is right and the remedy.
pub fn require_few(proposer: Role, coins: usize) -> Result<(), ContractError> {
    let most = most_coins(proposer);
    if coins <= most {
        return Ok(());
    }
    let right = match proposer {
        Role::Borrower => format!("at most {}", most + 1),
        Role::Lender => {
            "2, the 2-of-2 and one coin of the lender's, since you pay the fee: ask the lender to join its coins \
                         first"
                .into()
        }
    };
    Err(ContractError::field(WHAT, "inputs", coins + 1, right))
}

/// Where the sats for the lender come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The borrower's own coins; the collateral comes back whole.
    Wallet,
    /// The collateral; the borrower gets the rest.
    Collateral,
}

/// What a repayment is made of.
pub struct RepayParts {
    /// Who proposes it and brings the coins. A lender can propose only out of the collateral.
    pub proposer: Role,
    /// Where the sats come from.
    pub source: Source,
    /// What is owed, in sats at the agreed price.
    pub owed: Amount,
    /// The proposer's coins it spends: at least one.
    pub coins: Vec<(OutPoint, TxOut)>,
    /// Where the proposer's change goes.
    pub change_script: ScriptBuf,
    /// sat/vB.
    pub fee_rate: u64,
}

/// Bytes of the witness of the 2-of-2: two signatures, script and counts.
const MULTISIG_WITNESS: usize = 2 + 73 + 73 + 73;

/// The unsigned repayment, version 3, the 2-of-2 as its first input and the lender's output first.
///
/// Fails, naming what is missing, when the coins do not cover what is owed and the fee.
pub fn transaction(terms: &Terms, skeleton: &Skeleton, parts: &RepayParts) -> Result<Transaction, ContractError> {
    if parts.coins.is_empty() {
        return Err(ContractError::field(WHAT, "coins", 0, format!("1 to {}", most_coins(parts.proposer))));
    }
    require_few(parts.proposer, parts.coins.len())?;
    let range = || ContractError::OutOfRange("the repayment");
    let lender = terms.stake.checked_add(parts.owed).ok_or_else(range)?;
    let back = match parts.source {
        Source::Wallet => terms.collateral,
        Source::Collateral => terms.collateral.checked_sub(parts.owed).ok_or_else(|| {
            ContractError::field("repayment", "source", "collateral", format!("the wallet: {} is owed", parts.owed))
        })?,
    };
    let input = |previous_output| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let output = |value, script: &ScriptBuf| TxOut { value, script_pubkey: script.clone() };
    let mut repayment = Transaction {
        version: Version(3),
        lock_time: LockTime::ZERO,
        input: std::iter::once(skeleton.funding).chain(parts.coins.iter().map(|(coin, _)| *coin)).map(input).collect(),
        output: vec![
            output(lender, &skeleton.lender_script),
            output(back, &skeleton.borrower_script),
            output(Amount::ZERO, &parts.change_script),
        ],
    };
    let witnesses: usize =
        parts.coins.iter().map(|(_, out)| wire::witness_length(&out.script_pubkey).map_or(108, usize::from)).sum();
    let weight = repayment.weight().to_wu() + (2 + MULTISIG_WITNESS + witnesses) as u64;
    let fee = weight.div_ceil(4).checked_mul(parts.fee_rate).map(Amount::from_sat).ok_or_else(range)?;
    let brought = parts.coins.iter().try_fold(Amount::ZERO, |sum, (_, out)| sum.checked_add(out.value));
    let brought = brought.ok_or_else(range)?;
    let (back, change) = rest(parts.proposer, skeleton.funding_value, brought, lender, back, fee)?;
    for (output, value) in repayment.output.iter_mut().skip(1).zip([back, change]) {
        output.value = value;
    }
    repayment.output.retain(|out| out.value >= dlc::DUST_LIMIT);
    Ok(repayment)
}

/// What the borrower's output and the proposer's change come to. The fee, and what was paid ahead beyond it, are the
/// borrower's: taken from its change, or from its output when the change is the lender's.
fn rest(
    proposer: Role,
    funding: Amount,
    brought: Amount,
    lender: Amount,
    back: Amount,
    fee: Amount,
) -> Result<(Amount, Amount), ContractError> {
    let short = |needed: Amount| {
        ContractError::field("repayment", "coins", "too little", format!("{needed} to cover what is owed and the fee"))
    };
    let range = ContractError::OutOfRange("the repayment");
    let all = funding.checked_add(brought).ok_or(range.clone())?;
    match proposer {
        Role::Borrower => {
            let out = lender.checked_add(back).and_then(|sum| sum.checked_add(fee)).ok_or(range)?;
            Ok((back, all.checked_sub(out).ok_or_else(|| short(out))?))
        }
        Role::Lender => {
            let out = lender.checked_add(fee).ok_or(range)?;
            Ok((funding.checked_sub(out).ok_or_else(|| short(out))?, brought))
        }
    }
}

/// A repayment signed by its proposer: its coins' witnesses in place, its half of the 2-of-2 beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Everything but the witness of input 0.
    pub transaction: Transaction,
    /// The proposer's half for input 0.
    pub half: Signature,
}

/// The repayment as a PSBT for the proposer's wallet, which signs its own coins only.
pub fn psbt(
    transaction: &Transaction,
    skeleton: &Skeleton,
    coins: &[(OutPoint, TxOut)],
    previous: impl Fn(&OutPoint) -> Option<Transaction>,
) -> Result<Psbt, ContractError> {
    let mut psbt = Psbt::from_unsigned_tx(transaction.clone()).map_err(|e| ContractError::Library(e.to_string()))?;
    for (input, txin) in psbt.inputs.iter_mut().zip(&transaction.input) {
        let coin = coins.iter().find(|(coin, _)| *coin == txin.previous_output);
        input.witness_utxo = match coin {
            Some((_, out)) => Some(out.clone()),
            None => Some(TxOut { value: skeleton.funding_value, script_pubkey: skeleton.witness_script.to_p2wsh() }),
        };
        input.non_witness_utxo = coin.and_then(|(coin, _)| previous(coin));
    }
    Ok(psbt)
}

/// Signs the proposer's half and takes its coins' witnesses from `psbt`.
pub fn propose(skeleton: &Skeleton, key: &SecretKey, psbt: &Psbt) -> Result<Proposal, ContractError> {
    let mut transaction = psbt.unsigned_tx.clone();
    for (index, (txin, input)) in transaction.input.iter_mut().zip(&psbt.inputs).enumerate().skip(1) {
        txin.witness = input
            .final_script_witness
            .clone()
            .ok_or_else(|| ContractError::field("PSBT", "witness", "none", format!("one for input {index}")))?;
    }
    let half = half_signature(&transaction, 0, skeleton, key)?;
    Ok(Proposal { transaction, half })
}

const WHAT: &str = "repayment";

/// Requires what every repayment of ours looks like: spendable at once, relayed by every node, and no wider than it
/// must be. What a node would not relay is a transaction only its holder can bring to a miner, when it suits him.
fn check_shape(skeleton: &Skeleton, proposer: Role, tx: &Transaction) -> Result<(), ContractError> {
    use super::error::require;
    require(WHAT, "version", tx.version, Version(3))?;
    require(WHAT, "lock_time", tx.lock_time, LockTime::ZERO)?;
    require_few(proposer, tx.input.len().saturating_sub(1))?;
    require(
        WHAT,
        "first input",
        tx.input.first().map_or(OutPoint::null(), |input| input.previous_output),
        skeleton.funding,
    )?;
    if tx.input.len() < 2 {
        return Err(ContractError::field(WHAT, "inputs", 1, "a coin of the proposer's own beside the 2-of-2"));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, input) in tx.input.iter().enumerate() {
        if !seen.insert(input.previous_output) {
            return Err(ContractError::field(WHAT, "inputs", input.previous_output, "each coin once"));
        }
        // Any other number may be a relative timelock: a transaction for later is an option, not a repayment.
        require(WHAT, "sequence", input.sequence, Sequence::ENABLE_RBF_NO_LOCKTIME)?;
        if !input.script_sig.is_empty() {
            return Err(ContractError::field(WHAT, "script_sig", &input.script_sig, "none: segwit inputs have none"));
        }
        if index == 0 && !input.witness.is_empty() {
            return Err(ContractError::field(WHAT, "witness", "one for the 2-of-2", "none: the halves make it"));
        }
    }
    if tx.output.is_empty() || tx.output.len() > 3 {
        return Err(ContractError::field(WHAT, "outputs", tx.output.len(), "1 to 3"));
    }
    for out in &tx.output {
        wire::check_script(WHAT, "outputs", &out.script_pubkey)?;
        if !(dlc::DUST_LIMIT..=Amount::MAX_MONEY).contains(&out.value) {
            let range = format!("{} to {}", dlc::DUST_LIMIT, Amount::MAX_MONEY);
            return Err(ContractError::field(WHAT, "outputs", out.value, range));
        }
    }
    Ok(())
}

/// Its size once complete, in virtual bytes.
pub fn size(transaction: &Transaction) -> u64 {
    (transaction.weight().to_wu() + MULTISIG_WITNESS as u64).div_ceil(4)
}

/// The size of the widest repayment that a borrower takes from the lender, in virtual bytes.
pub fn widest_of_lenders(skeleton: &Skeleton) -> u64 {
    // Version, lock time and counts; two inputs; the borrower's output, and two to the longest scripts that are taken.
    let stripped = 10 + 2 * 41 + 9 + skeleton.borrower_script.len() + 2 * (9 + 34);
    // Marker and flag, and a witness of the one coin: count, signature and key.
    let witnesses = 2 + MULTISIG_WITNESS + 1 + (1 + 1 + 73 + 1 + 33);
    u64::try_from(4 * stripped + witnesses).unwrap_or(u64::MAX).div_ceil(4)
}

/// What it pays to miners; `None` where its outputs are worth more than its inputs, or either more than all bitcoin.
pub fn fee(skeleton: &Skeleton, transaction: &Transaction, coins: &[TxOut]) -> Option<Amount> {
    let sum = |outputs: &[TxOut]| outputs.iter().try_fold(Amount::ZERO, |sum, out| sum.checked_add(out.value));
    let spent = sum(coins)?.checked_add(skeleton.funding_value)?;
    spent.checked_sub(sum(&transaction.output)?)
}

/// What the other side requires of a proposal by `proposer`: `least` in one output to its own payout script.
///
/// `coins` are the outputs its other inputs spend, found confirmed and unspent on chain, in input order; `fees` is what
/// it may pay in all.
pub fn check(
    skeleton: &Skeleton,
    proposal: &Proposal,
    coins: &[TxOut],
    proposer: Role,
    least: Amount,
    fees: &RangeInclusive<Amount>,
) -> Result<(), ContractError> {
    let tx = &proposal.transaction;
    check_shape(skeleton, proposer, tx)?;
    super::error::require(WHAT, "coins", tx.input.len(), coins.len() + 1)?;
    let (script, field, key) = match proposer {
        Role::Borrower => (&skeleton.lender_script, "lender's output", &skeleton.borrower_key),
        Role::Lender => (&skeleton.borrower_script, "borrower's output", &skeleton.lender_key),
    };
    let paid: Vec<Amount> = tx.output.iter().filter(|out| out.script_pubkey == *script).map(|out| out.value).collect();
    if !matches!(paid.as_slice(), [paid] if *paid >= least) {
        return Err(ContractError::field(
            WHAT,
            field,
            super::error::amounts(&paid),
            format!("one of at least {least}"),
        ));
    }
    let fee = fee(skeleton, tx, coins);
    if fee.is_none_or(|fee| !fees.contains(&fee)) {
        let found = fee.map_or("none".into(), |fee| fee.to_string());
        let right = format!("{} to {} for {} vB", fees.start(), fees.end(), size(tx));
        return Err(ContractError::field(WHAT, "fee", found, right));
    }
    check_half("repayment", tx, 0, skeleton, key, &proposal.half)?;
    let prevouts: Vec<TxOut> =
        std::iter::once(TxOut { value: skeleton.funding_value, script_pubkey: skeleton.witness_script.to_p2wsh() })
            .chain(coins.iter().cloned())
            .collect();
    for (index, (input, out)) in tx.input.iter().zip(&prevouts).enumerate().skip(1) {
        let length = wire::witness_length(&out.script_pubkey)
            .ok_or_else(|| ContractError::field(WHAT, "coin", &out.script_pubkey, "P2WPKH or P2TR"))?;
        let info = dlc::TxInputInfo {
            outpoint: input.previous_output,
            max_witness_len: usize::from(length),
            redeem_script: ScriptBuf::new(),
            serial_id: 0,
        };
        dlc::verify_funding_witness(SECP256K1, tx, index, &info, &prevouts, &input.witness)
            .map_err(|e| ContractError::field(WHAT, "witness", e, "one that spends the proposer's coin"))?;
    }
    Ok(())
}

/// The other side completes a checked proposal by `proposer`.
pub fn countersign(
    skeleton: &Skeleton,
    proposer: Role,
    key: &SecretKey,
    proposal: &Proposal,
) -> Result<Transaction, ContractError> {
    let ours = half_signature(&proposal.transaction, 0, skeleton, key)?;
    let (borrower, lender) = match proposer {
        Role::Borrower => (proposal.half, ours),
        Role::Lender => (ours, proposal.half),
    };
    complete(proposal.transaction.clone(), 0, skeleton, borrower, lender)
}
