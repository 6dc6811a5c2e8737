//! The wallet's history: what each of its transactions was for. All of them together are what it holds, to the sat.
//!
//! What a transaction was for is in the record of its loan, or was written down before it left. Of what neither says, only
//! what the transaction itself shows is told; the rest is not known here.

use super::statement::{self, OfLoan};
use super::tools::{error, lock, Tools, Trouble};
use super::view::{ErrorView, HistoryEntry};
use crate::loan::terms::LoanId;
use crate::protocol::{ErrorCode, Loan};
use crate::store::{Store, StoreError};
use crate::wallet::Passage;
use bitcoin::Txid;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Prefix of the documents that say what a transaction of the node's own was made for; its id follows.
const MADE: &str = "made/";

/// What the node makes transactions for that are no loan's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A person sent it.
    Sent,
    /// A person joined coins.
    Joined,
    /// A coin was set apart for the fees of exits.
    FeeCoin,
    /// The coins of a restored node moved.
    Moved,
    /// Another made it, with this node's words.
    Foreign,
    /// It was signed with a peer before a restore, which knows nothing of it; or another did, with this node's words.
    Before,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Sent => "sent",
            Purpose::Joined => "coins joined",
            Purpose::FeeCoin => "coin set apart for fees",
            Purpose::Moved => "coins moved after a restore",
            Purpose::Foreign => "not made by this node",
            Purpose::Before => "signed before the restore",
        }
    }
}

/// Writes down what a transaction is made for; on disk when it returns.
///
/// # Errors
/// When the disk does not take it: then it must not leave.
pub fn note(store: &dyn Store, txid: Txid, purpose: Purpose) -> Result<(), Trouble> {
    store.put(&format!("{MADE}{txid}"), purpose.word().as_bytes()).map_err(Trouble::later)
}

/// Was it written down what this transaction is for?
///
/// # Errors
/// When the store cannot be read.
pub fn was_noted(store: &dyn Store, txid: Txid) -> Result<bool, StoreError> {
    Ok(store.get(&format!("{MADE}{txid}"))?.is_some())
}

/// Was it written down that this node did not make it?
///
/// # Errors
/// When the store cannot be read.
pub fn is_anothers(store: &dyn Store, txid: Txid) -> Result<bool, StoreError> {
    let noted = store.get(&format!("{MADE}{txid}"))?;
    let anothers = [Purpose::Foreign, Purpose::Before].map(|purpose| purpose.word().as_bytes());
    Ok(noted.is_some_and(|noted| anothers.contains(&noted.as_slice())))
}

/// Every transaction of the wallet, the oldest first.
///
/// # Errors
/// When the store cannot be read.
pub fn of(tools: &Tools, loans: &[Arc<Loan>]) -> Result<Vec<HistoryEntry>, ErrorView> {
    let mut of_loans: BTreeMap<Txid, (LoanId, OfLoan)> = BTreeMap::new();
    for loan in loans {
        of_loans.extend(statement::named(tools, loan).into_iter().map(|one| (one.txid, (loan.id, one))));
    }
    let passages = lock(&tools.wallet).history();
    let entry = |passage: Passage| {
        Ok(match of_loans.get(&passage.txid) {
            Some((id, one)) => {
                let ours = one.our_fee(passage.spent.to_sat(), passage.received.to_sat());
                entry(passage, Some(*id), Some(one.what.clone()), ours)
            }
            None => {
                let what = noted(&*tools.store, passage.txid)?.or_else(|| shown(&passage));
                entry(passage, None, what, None)
            }
        })
    };
    passages.into_iter().map(entry).collect()
}

fn noted(store: &dyn Store, txid: Txid) -> Result<Option<String>, ErrorView> {
    let bytes = store.get(&format!("{MADE}{txid}")).map_err(|e| error(ErrorCode::Internal, e))?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What a transaction shows of itself. Where others put in coins too it was a contract, and of which one is not known.
fn shown(passage: &Passage) -> Option<String> {
    let (ins, outs) = (passage.transaction.input.len(), passage.transaction.output.len());
    let what = match (passage.inputs, passage.outputs) {
        (0, _) => "received",
        (ours, kept) if ours == ins && kept == outs => "moved within the wallet",
        (ours, _) if ours == ins => "sent",
        _ => return None,
    };
    Some(what.to_owned())
}

/// `ours` is this side's part of a fee that both sides of a loan pay, where it is known.
fn entry(passage: Passage, loan_id: Option<LoanId>, what: Option<String>, ours: Option<i64>) -> HistoryEntry {
    let (spent, received) = (passage.spent.to_sat(), passage.received.to_sat());
    let change = i128::from(received) - i128::from(spent);
    HistoryEntry {
        txid: passage.txid,
        height: passage.block.map(|(height, _)| height),
        at: passage.block.map(|(_, time)| time.0),
        what,
        loan_id,
        fee_sats: passage.fee().and_then(|fee| i64::try_from(fee.to_sat()).ok()).or(ours),
        spent_sats: spent,
        received_sats: received,
        change_sats: i64::try_from(change).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::units::Time;
    use bitcoin::hashes::Hash;
    use bitcoin::{absolute, transaction, Amount, ScriptBuf, Transaction, TxIn, TxOut};

    /// Of so many inputs and outputs, so many ours; each of our coins is worth 600, each output 500.
    fn passage((ins, ours): (usize, usize), (outs, kept): (usize, usize)) -> Passage {
        let out = TxOut { value: Amount::from_sat(500), script_pubkey: ScriptBuf::new() };
        let transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: vec![TxIn::default(); ins],
            output: vec![out; outs],
        };
        Passage {
            txid: Txid::all_zeros(),
            transaction: Arc::new(transaction),
            block: Some((7, Time(9))),
            spent: Amount::from_sat(600 * ours as u64),
            received: Amount::from_sat(500 * kept as u64),
            inputs: ours,
            outputs: kept,
        }
    }

    #[test]
    fn what_nobody_wrote_down_is_told_as_far_as_the_transaction_shows_it() {
        let told = |ins, outs| {
            let one = passage(ins, outs);
            (shown(&one), entry(one, None, None, None).fee_sats)
        };
        assert_eq!(told((2, 0), (3, 1)), (Some("received".into()), None));
        assert_eq!(told((1, 1), (1, 1)), (Some("moved within the wallet".into()), Some(100)));
        assert_eq!(told((2, 2), (2, 1)), (Some("sent".into()), Some(200)));
        assert_eq!(told((2, 1), (2, 1)), (None, None), "a contract that is not known here");
        assert_eq!(entry(passage((2, 1), (2, 1)), None, None, Some(-7)).fee_sats, Some(-7), "of a loan that is");
        let one = entry(passage((2, 2), (2, 1)), None, None, None);
        assert_eq!((one.change_sats, one.height, one.at), (500 - 1_200, Some(7), Some(9)));
    }
}
