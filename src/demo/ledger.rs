//! What a loan did to both wallets, sat by sat, from its transactions as they stand on the chain.
//!
//! Each wallet says of each transaction how much of it was its own; the chain says what went in and out. Every sat must
//! be somebody's: the borrower's, the lender's, the fee's, or inside the 2-of-2 between two of the transactions.

use crate::node::view::EffectView;
use bitcoin::{OutPoint, Txid};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Coins a transaction may spend or make here; more could not be told apart in reasonable time.
const MOST_COINS: usize = 64;
/// Attempts at telling coins apart.
const MOST_ATTEMPTS: u32 = 1_000_000;

/// A transaction of a loan and what each wallet says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub txid: Txid,
    /// Coins it spends, with their sats.
    pub inputs: Vec<(OutPoint, u64)>,
    /// Sats of the coins it makes.
    pub outputs: Vec<u64>,
    /// What the borrower's wallet says.
    pub borrower: EffectView,
    /// What the lender's wallet says.
    pub lender: EffectView,
}

/// One side of a loan: the coins its transactions took from the wallet, and those they left in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sides {
    /// Coins spent that were there before.
    pub before_sats: u64,
    /// Coins made that are there after.
    pub after_sats: u64,
}

impl Sides {
    /// After less before.
    pub fn change(self) -> i128 {
        i128::from(self.after_sats) - i128::from(self.before_sats)
    }
}

/// What a loan's transactions did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// To the borrower's wallet.
    pub borrower: Sides,
    /// To the lender's wallet.
    pub lender: Sides,
    /// Fees of all of them.
    pub fees_sats: u64,
    /// Fee of each.
    pub fees: BTreeMap<Txid, u64>,
    owners: BTreeMap<OutPoint, (Owner, u64)>,
}

/// A sat is missing, or is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Missing {
    /// A transaction makes more than it spends.
    #[error("transaction {0} makes more sats than it spends")]
    MadeUp(Txid),
    /// The wallets' words do not cover a transaction's coins.
    #[error("transaction {txid} {what} {total} sats outside the 2-of-2, of which the borrower's wallet counts {borrower} and the lender's {lender}: {} sats are missing", missing(total, borrower, lender))]
    Unowned {
        /// Which.
        txid: Txid,
        /// `spends` or `makes`.
        what: &'static str,
        /// Sats of its coins.
        total: u64,
        /// By the borrower.
        borrower: u64,
        /// By the lender.
        lender: u64,
    },
    /// Sums fit, single coins do not.
    #[error("transaction {txid}: the coins it {what} cannot be divided into {borrower} sats of the borrower's and {lender} of the lender's")]
    Indivisible {
        /// Which.
        txid: Txid,
        /// `spends` or `makes`.
        what: &'static str,
        /// Sats of the borrower's.
        borrower: u64,
        /// Sats of the lender's.
        lender: u64,
    },
    /// The changes and the fees do not cancel out.
    #[error("the borrower's change {borrower}, the lender's {lender} and fees of {fees} sats do not add up to 0")]
    Unbalanced {
        /// The borrower's change.
        borrower: i128,
        /// The lender's.
        lender: i128,
        /// All fees.
        fees: u64,
    },
}

fn missing(total: &u64, borrower: &u64, lender: &u64) -> i128 {
    i128::from(*total) - i128::from(*borrower) - i128::from(*lender)
}

/// Whose a coin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The borrower's.
    Borrower,
    /// The lender's.
    Lender,
}

impl Account {
    /// Counts the transactions of one loan, whose 2-of-2 is `locked`.
    ///
    /// # Errors
    /// As soon as one sat is missing.
    pub fn of(entries: &[Entry], locked: OutPoint) -> Result<Account, Missing> {
        let mut account = Account {
            borrower: Sides::default(),
            lender: Sides::default(),
            fees_sats: 0,
            fees: BTreeMap::new(),
            owners: BTreeMap::new(),
        };
        for entry in in_order(entries) {
            account.divide(entry, locked)?;
            let (spent, made) = (sum(entry.inputs.iter().map(|(_, sats)| *sats)), sum(entry.outputs.iter().copied()));
            let fee = spent.checked_sub(made).ok_or(Missing::MadeUp(entry.txid))?;
            account.fees.insert(entry.txid, fee);
            account.fees_sats = account.fees_sats.saturating_add(fee);
        }
        account.count(entries);
        let (borrower, lender, fees) = (account.borrower.change(), account.lender.change(), account.fees_sats);
        match borrower + lender + i128::from(fees) == 0 {
            true => Ok(account),
            false => Err(Missing::Unbalanced { borrower, lender, fees }),
        }
    }

    /// Whose a coin of these transactions is, and its sats; `None` for the 2-of-2 and for coins they do not touch.
    pub fn owner(&self, coin: OutPoint) -> Option<(Owner, u64)> {
        self.owners.get(&coin).copied()
    }

    /// Finds the owner of every coin the transaction spends or makes.
    fn divide(&mut self, entry: &Entry, locked: OutPoint) -> Result<(), Missing> {
        let made = (0u32..).zip(&entry.outputs).map(|(vout, sats)| (OutPoint { txid: entry.txid, vout }, *sats));
        let made: Vec<(OutPoint, u64)> = made.collect();
        let (borrower, lender) = (entry.borrower, entry.lender);
        self.own(entry.txid, "spends", &entry.inputs, locked, (borrower.spent_sats, lender.spent_sats))?;
        self.own(entry.txid, "makes", &made, locked, (borrower.received_sats, lender.received_sats))
    }

    fn own(
        &mut self,
        txid: Txid,
        what: &'static str,
        coins: &[(OutPoint, u64)],
        locked: OutPoint,
        (borrower, lender): (u64, u64),
    ) -> Result<(), Missing> {
        let coins: Vec<(OutPoint, u64)> = coins.iter().copied().filter(|(coin, _)| *coin != locked).collect();
        let total = sum(coins.iter().map(|(_, sats)| *sats));
        if u128::from(total) != u128::from(borrower) + u128::from(lender) {
            return Err(Missing::Unowned { txid, what, total, borrower, lender });
        }
        let known: Vec<(u64, Option<Owner>)> =
            coins.iter().map(|(coin, sats)| (*sats, self.owner(*coin).map(|(owner, _)| owner))).collect();
        let owners = divided(&known, borrower).ok_or(Missing::Indivisible { txid, what, borrower, lender })?;
        self.owners.extend(coins.iter().zip(owners).map(|((coin, sats), owner)| (*coin, (owner, *sats))));
        Ok(())
    }

    /// Before: what was spent and not made here. After: what was made and not spent here.
    fn count(&mut self, entries: &[Entry]) {
        let spent: BTreeSet<OutPoint> =
            entries.iter().flat_map(|entry| entry.inputs.iter().map(|(coin, _)| *coin)).collect();
        let here: BTreeSet<Txid> = entries.iter().map(|entry| entry.txid).collect();
        for (coin, (owner, sats)) in &self.owners {
            let side = match owner {
                Owner::Borrower => &mut self.borrower,
                Owner::Lender => &mut self.lender,
            };
            match (here.contains(&coin.txid), spent.contains(coin)) {
                (false, true) => side.before_sats = side.before_sats.saturating_add(*sats),
                (true, false) => side.after_sats = side.after_sats.saturating_add(*sats),
                _ => {}
            }
        }
    }
}

/// The entries, each after those it spends from.
fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut waiting: Vec<&Entry> = entries.iter().collect();
    let mut ordered = Vec::with_capacity(entries.len());
    while !waiting.is_empty() {
        let open: BTreeSet<Txid> = waiting.iter().map(|entry| entry.txid).collect();
        let is_next = |entry: &&Entry| !entry.inputs.iter().any(|(coin, _)| open.contains(&coin.txid));
        let (next, later): (Vec<&Entry>, Vec<&Entry>) = waiting.into_iter().partition(is_next);
        if next.is_empty() {
            // Transactions cannot spend each other in a circle; what cannot be ordered is taken as it comes.
            ordered.extend(later);
            return ordered;
        }
        ordered.extend(next);
        waiting = later;
    }
    ordered
}

/// An owner for each coin, so that the borrower's add up to `borrower`; coins already known stay whose they are.
fn divided(coins: &[(u64, Option<Owner>)], borrower: u64) -> Option<Vec<Owner>> {
    if coins.len() > MOST_COINS {
        return None;
    }
    let mut owners = Vec::with_capacity(coins.len());
    search(coins, borrower, &mut owners, &mut { MOST_ATTEMPTS }).then_some(owners)
}

fn search(coins: &[(u64, Option<Owner>)], left: u64, owners: &mut Vec<Owner>, attempts: &mut u32) -> bool {
    let Some((sats, known)) = coins.get(owners.len()) else { return left == 0 };
    for owner in [Owner::Borrower, Owner::Lender] {
        let Some(next) = attempts.checked_sub(1) else { return false };
        *attempts = next;
        let left = match owner {
            Owner::Borrower => left.checked_sub(*sats),
            Owner::Lender => Some(left),
        };
        let fits = known.is_none_or(|known| known == owner);
        if let (true, Some(left)) = (fits, left) {
            owners.push(owner);
            if search(coins, left, owners, attempts) {
                return true;
            }
            owners.pop();
        }
    }
    false
}

fn sum(sats: impl Iterator<Item = u64>) -> u64 {
    sats.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn txid(n: u8) -> Txid {
        Txid::from_byte_array([n; 32])
    }

    fn coin(n: u8, vout: u32) -> OutPoint {
        OutPoint { txid: txid(n), vout }
    }

    fn effect(spent_sats: u64, received_sats: u64) -> EffectView {
        EffectView { spent_sats, received_sats }
    }

    /// The lender makes a coin of 501, both fund a 2-of-2 of 1,001 out of it, and a touch pays 600 to the lender.
    fn loan() -> Vec<Entry> {
        vec![
            Entry {
                txid: txid(3),
                inputs: vec![(coin(2, 1), 1_001)],
                outputs: vec![390, 600],
                borrower: effect(0, 390),
                lender: effect(0, 600),
            },
            Entry {
                txid: txid(1),
                inputs: vec![(coin(9, 0), 2_000)],
                outputs: vec![1_490, 501],
                borrower: effect(0, 0),
                lender: effect(2_000, 1_991),
            },
            Entry {
                txid: txid(2),
                inputs: vec![(coin(8, 0), 3_000), (coin(1, 1), 501)],
                outputs: vec![490, 1_001, 1_980],
                borrower: effect(3_000, 2_470),
                lender: effect(501, 0),
            },
        ]
    }

    #[test]
    fn every_sat_of_a_loan_is_the_borrowers_the_lenders_or_the_miners() {
        let account = Account::of(&loan(), coin(2, 1)).unwrap();
        assert_eq!(account.borrower, Sides { before_sats: 3_000, after_sats: 490 + 1_980 + 390 });
        assert_eq!(account.lender, Sides { before_sats: 2_000, after_sats: 1_490 + 600 });
        assert_eq!(account.fees_sats, 9 + 30 + 11);
        assert_eq!(account.borrower.change() + account.lender.change(), -50);
        assert_eq!(account.owner(coin(1, 1)), Some((Owner::Lender, 501)));
        assert_eq!(account.owner(coin(2, 1)), None, "the 2-of-2 is nobody's");
    }

    #[test]
    fn one_missing_sat_is_named_with_its_transaction() {
        let mut entries = loan();
        entries[0].lender.received_sats -= 1;
        let error = Account::of(&entries, coin(2, 1)).unwrap_err();
        assert!(matches!(error, Missing::Unowned { txid: id, what: "makes", .. } if id == txid(3)));
        assert!(error.to_string().ends_with("1 sats are missing"), "{error}");
    }

    #[test]
    fn sums_that_no_division_of_the_coins_gives_are_refused() {
        let mut entries = loan();
        entries[0].borrower.received_sats += 1;
        entries[0].lender.received_sats -= 1;
        assert!(matches!(Account::of(&entries, coin(2, 1)), Err(Missing::Indivisible { .. })));
    }

    #[test]
    fn a_transaction_that_makes_sats_is_refused() {
        let mut entries = loan();
        entries[1].outputs[0] = 2_490;
        entries[1].lender.received_sats = 2_991;
        assert_eq!(Account::of(&entries, coin(2, 1)), Err(Missing::MadeUp(txid(1))));
    }

    #[test]
    fn a_coin_known_to_be_the_lenders_is_not_taken_for_the_borrowers() {
        let known = [(5, Some(Owner::Lender)), (5, None)];
        assert_eq!(divided(&known, 5), Some(vec![Owner::Lender, Owner::Borrower]));
        assert_eq!(divided(&[(5, Some(Owner::Lender))], 5), None);
        assert_eq!(divided(&[(1, None); MOST_COINS + 1], 1), None);
        // Half of 63 odd coins cannot be an impossible sum: the search ends all the same.
        assert_eq!(divided(&[(2, None); 63], 63), None);
    }
}
