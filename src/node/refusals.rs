//! Why something cannot be done with a loan any more, or not yet: one sentence for each, the same before a question and after.

use super::view::Role;
use crate::protocol::{Exit, Loan, Stage};

/// How it ended, or ends.
fn how(exit: Option<Exit>) -> &'static str {
    match exit {
        Some(Exit::Repaid) => "repaid",
        Some(Exit::Receipt) => "by the lender's receipt",
        Some(Exit::Liquidated) => "liquidated",
        Some(Exit::Matured) => "at the price of its due time",
        Some(Exit::FellBack) => "by the fallback",
        Some(Exit::Refunded) => "by the refund",
        None => "by a transaction nobody can name",
    }
}

/// That it is over, or about to be; nothing of one that is neither.
fn over(loan: &Loan) -> Option<String> {
    let exit = || loan.exit.as_ref().and_then(|exit| exit.exit);
    match (loan.stage, &loan.pending) {
        (Stage::Cancelled, _) => Some("this loan was cancelled and never came to be".into()),
        (Stage::Closed, _) => Some(format!("this loan has ended, {}", how(exit()))),
        (Stage::Closing, _) => Some(format!("this loan is ending, {}", how(exit()))),
        (_, Some(pending)) => Some(format!("this loan is being settled, {}", how(Some(pending.exit)))),
        _ => None,
    }
}

/// Why it cannot be repaid.
pub fn not_repayable(loan: &Loan) -> String {
    match over(loan) {
        Some(over) if loan.has_ended() => format!("{over}: nothing is owed, and there is nothing to repay"),
        Some(over) => format!("{over}: it can be repaid no more; see `loan show`"),
        None => format!("the loan is {}; it can be repaid once its funding is in a block", loan.stage),
    }
}

/// Why the lender gives no receipt for it, if it cannot.
pub fn no_receipt(loan: &Loan) -> Option<String> {
    if loan.role != Role::Lender {
        let text =
            "this node is the borrower of this loan, and only the lender gives a receipt; repay with `loan repay`";
        return Some(text.into());
    }
    if loan.is_repayable() {
        return None;
    }
    Some(match over(loan) {
        Some(over) => format!("{over}: there is no collateral left that a receipt could free"),
        None => {
            format!("the loan is {}; a receipt frees the collateral of one whose funding is in a block", loan.stage)
        }
    })
}

/// Why nobody can walk away from it, if that is so.
pub fn not_cancelled(loan: &Loan) -> Option<String> {
    if let Some(over) = over(loan).filter(|_| !matches!(loan.stage, Stage::Signed)) {
        return Some(format!("{over}: there is nothing to cancel"));
    }
    loan.is_funded().then(|| {
        let way = match loan.role {
            Role::Borrower => "end it with `loan repay`",
            Role::Lender => "it ends when the borrower repays, at a level, or when it is due",
        };
        format!("the loan's funding is in a block, and nobody can cancel it any more: {way}")
    })
}

/// Why no repayment of it is taken back, if it is over.
pub fn not_withdrawn(loan: &Loan) -> Option<String> {
    let over = over(loan).filter(|_| loan.repayment.is_none() || loan.is_over())?;
    Some(format!("{over}: no repayment is open"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixtures::taken;

    #[test]
    fn of_a_loan_that_is_over_or_in_the_other_role_it_is_said_what_it_is_and_what_can_be_done() {
        let at = |role, stage| Loan { stage, ..taken(role) };
        for stage in [Stage::Cancelled, Stage::Closed, Stage::Closing] {
            let (borrower, lender) = (at(Role::Borrower, stage), at(Role::Lender, stage));
            for said in [
                not_repayable(&borrower),
                no_receipt(&lender).unwrap(),
                not_cancelled(&borrower).unwrap(),
                not_withdrawn(&borrower).unwrap(),
            ] {
                assert!(said.starts_with("this loan "), "{said}");
                assert!(!said.contains("once its funding"), "{said}");
            }
        }
        assert!(not_repayable(&at(Role::Borrower, Stage::Offered)).contains("once its funding is in a block"));
        assert!(no_receipt(&at(Role::Borrower, Stage::Active)).unwrap().contains("`loan repay`"));
        assert_eq!(not_cancelled(&at(Role::Borrower, Stage::Signed)), None);
        assert_eq!(not_cancelled(&at(Role::Lender, Stage::Agreed)), None);
        assert_eq!(not_withdrawn(&at(Role::Borrower, Stage::Active)), None);
    }
}
