//! Own coins that were shown to a lender lately for loans that came to nothing.
//!
//! A lender refuses a coin for a day once it has been shown five times in vain, so these go last: each lender is shown
//! coins it has not seen in vain first. Counted from this node's own loans that ended by its own doing; a lender knows of
//! about as many, and its word counts.

use super::core::Core;
use crate::contract::Role;
use crate::loan::units::{Time, DAY};
use crate::protocol::Loan;
use crate::wallet::Coin;
use bitcoin::secp256k1::PublicKey;
use bitcoin::OutPoint;
use std::collections::BTreeMap;

/// Loans that may come to nothing in a day before a lender refuses their coin.
pub(super) const MOST: usize = 5;

/// What this node adds where the lender has said from when on it takes the coin.
const NO_OTHER: &str = "No other free coin here is enough: send one to `wallet address`, or ask another lender";

/// Which coins one lender was shown in vain within a day, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vain {
    shown: BTreeMap<OutPoint, Vec<Time>>,
}

impl Vain {
    /// From this node's loans.
    pub fn of<'a>(loans: impl Iterator<Item = &'a Loan>, lender: PublicKey, now: Time) -> Vain {
        let lately = loans.filter(|loan| {
            loan.is_in_vain() && loan.role == Role::Borrower && loan.peer == lender && now.since(loan.agreed_at) < DAY
        });
        let mut shown: BTreeMap<OutPoint, Vec<Time>> = BTreeMap::new();
        for loan in lately {
            for coin in &loan.coins {
                shown.entry(*coin).or_default().push(loan.agreed_at);
            }
        }
        shown.values_mut().for_each(|times| times.sort_unstable());
        Vain { shown }
    }

    /// How often a coin, or a coin it was made from, was shown in vain.
    pub fn times(&self, coin: &Coin) -> usize {
        let before = coin.previous_tx.input.iter().map(|input| input.previous_output);
        [coin.outpoint].into_iter().chain(before).map(|one| self.shown.get(&one).map_or(0, Vec::len)).sum()
    }

    /// From when on a coin that was shown too often does again; nothing for another.
    fn again(&self, coin: &OutPoint) -> Option<Time> {
        let times = self.shown.get(coin)?;
        let binding = times.len().checked_sub(MOST).and_then(|first| times.get(first))?;
        binding.plus(DAY)
    }

    /// What the borrower's own node knows of a refusal of these coins, and the ways round it; nothing where it knows
    /// nothing.
    pub fn way_round(&self, coins: &[OutPoint]) -> Option<String> {
        let again = coins.iter().find_map(|coin| self.again(coin))?;
        Some(format!(
            "no other free coin here is enough. Ways round: send another coin to `wallet address`, ask another \
             lender, or ask this one after {again}"
        ))
    }
}

impl Core {
    /// What a lender was shown in vain.
    pub(super) fn shown_in_vain(&self, lender: PublicKey) -> Vain {
        Vain::of(self.loans.values().map(AsRef::as_ref), lender, self.moment.now)
    }

    /// A lender's reason for refusing a loan's coins, with what this node knows of it.
    pub(super) fn with_way_round(&self, loan: &Loan, reason: String) -> String {
        // This one comes to nothing too, and does not count yet.
        let known =
            (loan.role == Role::Borrower).then(|| self.shown_in_vain(loan.peer).way_round(&loan.coins)).flatten();
        match known {
            // From when on the lender takes it the lender says best: one time and not two that differ.
            Some(_) if reason.contains("this one after ") => format!("{reason}. {NO_OTHER}"),
            Some(way) => format!("{reason}; {way}"),
            None => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
    use std::sync::Arc;

    fn outpoint(number: u8) -> OutPoint {
        OutPoint { txid: Txid::from_byte_array([number; 32]), vout: 0 }
    }

    /// A coin made from these.
    fn coin(number: u8, from: &[u8]) -> Coin {
        let input = |number: &u8| TxIn {
            previous_output: outpoint(*number),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        let previous_tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: from.iter().map(input).collect(),
            output: Vec::new(),
        };
        Coin {
            outpoint: outpoint(number),
            txout: TxOut { value: Amount::ONE_BTC, script_pubkey: ScriptBuf::new() },
            confirmations: 1,
            previous_tx: Arc::new(previous_tx),
        }
    }

    fn vain(shown: &[(u8, &[u32])]) -> Vain {
        Vain {
            shown: shown.iter().map(|(coin, at)| (outpoint(*coin), at.iter().copied().map(Time).collect())).collect(),
        }
    }

    #[test]
    fn a_coin_counts_as_often_as_it_and_what_it_was_made_from_was_shown() {
        let vain = vain(&[(1, &[10, 20]), (2, &[30])]);
        let times = [coin(1, &[]), coin(3, &[1]), coin(4, &[1, 2]), coin(5, &[9])].map(|coin| vain.times(&coin));
        assert_eq!(times, [2, 2, 3, 0]);
    }

    #[test]
    fn a_coin_shown_five_times_is_named_with_the_hour_and_the_ways_round() {
        let vain = vain(&[(1, &[10, 20, 30, 40]), (2, &[5, 10, 20, 30, 40, 50])]);
        assert_eq!(vain.way_round(&[outpoint(1), outpoint(9)]), None);
        let said = vain.way_round(&[outpoint(1), outpoint(2)]).unwrap();
        let again = Time(10 + DAY).to_string();
        for part in [again, "wallet address".into(), "another lender".into()] {
            assert!(said.contains(&part), "{part} in {said}");
        }
    }
}
