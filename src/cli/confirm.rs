//! What cannot be taken back is shown and asked about before it is done.

use super::out::tell;
use anyhow::Context;
use clap::Args;
use std::io::IsTerminal;

/// Nobody said yes: nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("nothing was done: {0}")]
pub(super) struct NotDone(&'static str);

impl NotDone {
    /// The exit code for it.
    pub(super) const CODE: u8 = 2;
}

/// `--yes`.
#[derive(Debug, Args)]
pub(super) struct Sure {
    /// Do it without asking, as programs must say
    #[arg(long)]
    yes: bool,
}

impl Sure {
    /// Was it said?
    pub(super) fn is_said(&self) -> bool {
        self.yes
    }

    /// Shows what will happen and asks; with `--yes` neither.
    ///
    /// # Errors
    /// When nobody says yes: a person who says anything else, or a program that did not say `--yes`.
    pub(super) fn ask(&self, will: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        tell(will);
        if !std::io::stdin().is_terminal() {
            return Err(NotDone("it cannot be taken back, and nobody is here to ask; say --yes to do it").into());
        }
        eprint!("Do it? Type yes: ");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("read the answer from the terminal")?;
        match is_yes(&line) {
            true => Ok(()),
            false => Err(NotDone("you did not type yes").into()),
        }
    }
}

/// What will happen, in sats and dollars.
pub(super) mod consequence {
    use crate::api::views::{Balance, Exit, LoanView, OracleView};
    use crate::cli::amount::short;
    use crate::cli::out::{both, usd};
    use crate::loan::units::SATS_PER_BTC;

    /// Sats, and what they are worth where a price is known.
    fn worth(sats: u64, price_cents: Option<u64>) -> String {
        let cents = price_cents.map(|price| u128::from(sats) * u128::from(price) / u128::from(SATS_PER_BTC));
        match cents.and_then(|cents| u64::try_from(cents).ok()) {
            Some(cents) => format!("{}, {} now", both(sats), usd(cents)),
            None => both(sats),
        }
    }

    /// A lender's receipt.
    pub(in crate::cli) fn of_a_receipt(loan: &LoanView) -> String {
        format!(
            "Loan {}: the receipt says that you were paid outside the chain.\n  The whole collateral goes back to the borrower: \
             {}.\n  Of the {} owed today nothing is paid by it. It cannot be taken back.",
            short(&loan.loan_id.to_string()),
            worth(loan.collateral_sats, loan.price_cents),
            usd(loan.debt_now_cents),
        )
    }

    /// A repayment.
    pub(in crate::cli) fn of_repaying(loan: &LoanView, from_wallet: bool) -> String {
        let open = loan.exits.iter().find(|open| open.exit == Exit::Repaid);
        let pays =
            open.and_then(|open| open.lender_sats).map(|sats| format!(", about {}", worth(sats, loan.price_cents)));
        let (from, back) = match from_wallet {
            true => ("the wallet", worth(loan.collateral_sats, loan.price_cents)),
            false => {
                let rest = open.and_then(|open| open.borrower_sats);
                (
                    "the collateral",
                    rest.map_or("the rest".to_owned(), |sats| format!("about {}", worth(sats, loan.price_cents))),
                )
            }
        };
        format!(
            "Loan {}: you repay {}{} from {from}, with a fee.\n  You get back {back}.\n  Once the lender has signed too it \
             cannot be taken back.",
            short(&loan.loan_id.to_string()),
            usd(loan.owed_now_cents),
            pays.unwrap_or_default(),
        )
    }

    /// Walking away from a signed loan.
    pub(in crate::cli) fn of_cancelling(loan: &LoanView) -> String {
        format!(
            "Loan {}: both have signed. Your coin is taken back by a transaction that pays a fee, and once that is in a \
             block the loan of {} against {} can never be.\n  Should the funding transaction confirm first, the loan begins all \
             the same.",
            short(&loan.loan_id.to_string()),
            worth(loan.principal_sats, loan.price_cents),
            worth(loan.collateral_sats, loan.price_cents),
        )
    }

    /// What sending so many sats does to the lender's open quotes; nothing where enough is left for them.
    pub(in crate::cli) fn for_quotes(sats: u64, balance: &Balance) -> String {
        let needed = sats.saturating_add(balance.quoted_sats).saturating_add(balance.fee_reserve_sats);
        if balance.open_quotes == 0 || needed <= balance.confirmed_sats {
            return String::new();
        }
        let (what, count) = match balance.open_quotes {
            1 => ("1 open quote counts".to_owned(), "it ends"),
            many => (format!("{many} open quotes count"), "each ends"),
        };
        format!(
            "\n  {what} on {} of these coins: {count} with this where what is left does not pay it, and who takes it then is \
             refused.",
            both(balance.quoted_sats)
        )
    }

    /// A payment out of the wallet: so many sats, or everything that is free.
    pub(in crate::cli) fn of_sending(sats: u64, is_all: bool, address: &str, oracles: &[OracleView]) -> String {
        let price = oracles.iter().find_map(|oracle| oracle.spot_cents);
        let all = if is_all { "everything free, less the fee: " } else { "" };
        let fee = if is_all { "" } else { ", and a fee" };
        format!("You send {all}{}{fee}, to\n  {address}\n  It cannot be taken back.", worth(sats, price))
    }
}

/// Only the word itself: a key pressed by mistake moves no coin.
fn is_yes(line: &str) -> bool {
    line.trim().eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_is_a_yes() {
        assert!(is_yes("yes\n") && is_yes(" YES "));
        assert!(!is_yes("") && !is_yes("y\n") && !is_yes("yes please") && !is_yes("no"));
    }
}
