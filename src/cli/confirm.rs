//! What cannot be taken back is shown and asked about before it is done.

use super::client::Client;
use super::out::tell;
use crate::api::views::{PreviewRequest, PreviewView};
use anyhow::Context;
use clap::Args;
use hypothec_oracle::screen;
use std::io::IsTerminal;

/// Nobody said yes: nothing was done.
#[derive(Debug, thiserror::Error)]
#[error("nothing was done: {0}")]
pub(super) struct NotDone(String);

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

    /// Lets the node say what a command would do, shows it and asks; with `--yes` neither. Nobody is asked about what can be
    /// taken back.
    ///
    /// # Errors
    /// When the node would refuse it, with its words and before any question; and when nobody says yes: a person who says
    /// anything else, or a program that did not say `--yes`.
    pub(super) async fn ask(
        &self,
        client: &Client,
        would: &PreviewRequest,
        text: impl FnOnce(&PreviewView) -> String,
    ) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let view: PreviewView = client.post("/v1/preview", would).await?;
        match view.irrevocable {
            true if client.is_quiet() => {
                let why = "it cannot be taken back, and a program is not asked; say --yes to do it";
                Err(NotDone(format!("{why}. {}", text(&view).split_whitespace().collect::<Vec<_>>().join(" "))).into())
            }
            true => ask(&text(&view)),
            false => Ok(()),
        }
    }
}

/// Shows what will happen and asks.
fn ask(will: &str) -> anyhow::Result<()> {
    tell(will);
    if !std::io::stdin().is_terminal() {
        return Err(NotDone("it cannot be taken back, and nobody is here to ask; say --yes to do it".to_owned()).into());
    }
    screen::ask(format_args!("Do it? Type yes: "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("read the answer from the terminal")?;
    match is_yes(&line) {
        true => Ok(()),
        false => Err(NotDone("you did not type yes".to_owned()).into()),
    }
}

/// What will happen, in sats and dollars, as the node says it.
pub(super) mod consequence {
    use crate::api::views::{Balance, LoanId, PreviewView, Source};
    use crate::cli::amount::short;
    use crate::cli::out::{both, count, sats, usd};
    use crate::loan::units::SATS_PER_BTC;

    /// Sats, and what they are worth where a price is known.
    fn worth(sats: u64, price_cents: Option<u64>) -> String {
        let cents = price_cents.map(|price| u128::from(sats) * u128::from(price) / u128::from(SATS_PER_BTC));
        match cents.and_then(|cents| u64::try_from(cents).ok()) {
            Some(cents) => format!("{}, {} now", both(sats), usd(cents)),
            None => both(sats),
        }
    }

    /// A fee and its rate.
    fn fee(view: &PreviewView) -> String {
        match (view.fee_sats, view.sat_per_vb) {
            (Some(fee), Some(rate)) => format!("{} at {rate} sat/vB", sats(fee)),
            (Some(fee), None) => sats(fee),
            (None, _) => match view.fee_most_sats {
                Some(most) => format!(
                    "what the lender sets for its proposal, as fees are now at most {}; this node signs for no more, nor for \
                     more than one coin of the lender's",
                    sats(most)
                ),
                None => "what the lender sets for its proposal".to_owned(),
            },
        }
    }

    fn named(id: LoanId) -> String {
        short(&id.to_string())
    }

    /// A lender's receipt.
    pub(in crate::cli) fn of_a_receipt(id: LoanId, view: &PreviewView) -> String {
        format!(
            "Loan {}: the receipt says that you were paid outside the chain.\n  The whole collateral goes back to the borrower: \
             {}.\n  Of the {} owed today nothing is paid by it. Its fee was paid ahead. It cannot be taken back.",
            named(id),
            both(view.pays_sats),
            usd(view.owed_cents),
        )
    }

    /// A repayment.
    pub(in crate::cli) fn of_repaying(id: LoanId, from: Source, view: &PreviewView) -> String {
        let from = match from {
            Source::Wallet => "the wallet",
            Source::Collateral => "the collateral",
        };
        let price = view.price_cents.map_or(String::new(), |price| {
            format!(
                "\n  It counts a bitcoin at {}: the oracle's price, moved a little against who proposes, so that the other side \
                 still takes it when the price has moved.",
                usd(price)
            )
        });
        format!(
            "Loan {}: you repay {}, that is {} from {from}.{price}\n  The fee is {}.{}\n  \
             You get back {} of collateral.\n  Once the lender has signed too it cannot be taken back.{}",
            named(id),
            usd(view.owed_cents),
            worth(view.pays_sats, view.price_cents),
            fee(view),
            ahead(view),
            worth(view.gets_sats, view.price_cents),
            back(view),
        )
    }

    /// What it costs where the lender does not sign.
    fn back(view: &PreviewView) -> String {
        view.back_fee_sats.map_or(String::new(), |fee| {
            format!(
                " Does it not sign within a minute, or refuse, this node takes the repayment back by itself: that costs {} as \
                 fees are now.",
                sats(fee)
            )
        })
    }

    /// What was paid ahead for it, and what of the fee is left, or left over.
    fn ahead(view: &PreviewView) -> String {
        let ahead = view.ahead_sats;
        let Some(fee) = view.fee_sats else {
            return match ahead {
                0 => String::new(),
                _ if view.fee_most_sats.is_some_and(|most| most <= ahead) => {
                    format!(" {} were paid ahead for it; what is left of that comes back to you.", sats(ahead))
                }
                _ => format!(" {} of it were paid ahead; what it is more comes out of the collateral.", sats(ahead)),
            };
        };
        match (ahead, fee.cmp(&ahead)) {
            (0, _) => String::new(),
            (_, std::cmp::Ordering::Greater) => {
                format!(
                    " Of it {} were paid ahead; {} come from your wallet.",
                    sats(ahead),
                    sats(fee.saturating_sub(ahead))
                )
            }
            _ => format!(" It was paid ahead; {} of that come back to you.", sats(ahead.saturating_sub(fee))),
        }
    }

    /// Walking away from a signed loan.
    pub(in crate::cli) fn of_cancelling(id: LoanId, view: &PreviewView) -> String {
        format!(
            "Loan {}: both have signed. Your coin is taken back by a transaction of yours: {} come back, and its fee is {}.\n  \
             Once that is in a block the loan can never be. Should the funding transaction confirm first, the loan begins all \
             the same.",
            named(id),
            both(view.gets_sats),
            fee(view),
        )
    }

    /// Taking a repayment back.
    pub(in crate::cli) fn of_withdrawing(id: LoanId, view: &PreviewView) -> String {
        format!(
            "Loan {}: the repayment is taken back by a transaction of yours that sends its coin of {} to yourself; its fee is {}.\n  \
             Once that is in a block the loan goes on as before. Until then the lender can still complete the repayment.",
            named(id),
            both(view.gets_sats.saturating_add(view.fee_sats.unwrap_or(0))),
            fee(view),
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
    pub(in crate::cli) fn of_sending(is_all: bool, address: &str, price: Option<u64>, view: &PreviewView) -> String {
        let all = if is_all { "everything free, " } else { "" };
        let kept = kept(view);
        let costly = match view.costly_coins {
            0 => String::new(),
            coins => format!("\n  {}", stays_behind(coins, view.costly_sats)),
        };
        format!(
            "You send {all}{}, to\n  {address}\n  The fee is {}, from {}.{kept}{costly}\n  It cannot be taken back.",
            worth(view.pays_sats, price),
            fee(view),
            count(view.coins, "coin"),
        )
    }

    /// Coins joined; the lender's open quotes count on free coins, and the new one is free with its block.
    pub(in crate::cli) fn of_joining(view: &PreviewView, balance: &Balance) -> String {
        let quotes = match balance.open_quotes {
            0 => String::new(),
            1 => format!("\n  1 open quote counts on {} of your coins: until then", both(balance.quoted_sats)),
            many => format!("\n  {many} open quotes count on {} of your coins: until then", both(balance.quoted_sats)),
        };
        let quotes = match quotes.is_empty() {
            true => quotes,
            false => format!("{quotes} who takes one may be refused."),
        };
        format!(
            "{} become one of {}, by a transaction that everybody sees and that shows that they are one owner's.\n  The fee is \
             {}.{}\n  The new coin can be used once a block has it.{quotes}\n  It cannot be taken back.",
            count(view.coins, "coin"),
            both(view.gets_sats),
            fee(view),
            kept(view),
        )
    }

    /// What stays behind where everything is sent, since it costs more than it is worth.
    pub(in crate::cli) fn stays_behind(coins: u64, worth: u64) -> String {
        let each = if coins == 1 { "it costs more than it is" } else { "each costs more than it is" };
        let stay = if coins == 1 { "stays" } else { "stay" };
        format!("{} of {} {stay} behind: at this fee {each} worth.", count(coins, "coin"), sats(worth))
    }

    /// What stays behind for the fees of exits.
    fn kept(view: &PreviewView) -> String {
        match view.keeps_sats {
            0 => String::new(),
            kept => format!("\n  {} stay for the fees of exits, since loans are open.", sats(kept)),
        }
    }

    /// A quote taken.
    pub(in crate::cli) fn of_borrowing(id: LoanId, view: &PreviewView) -> String {
        format!(
            "Loan {}: you borrow {}, and owe {} when it is due.\n  You lock {} of collateral, out of {}.\n  The fees are {}: your \
             share of the funding transaction, and of what is paid ahead for the end.\n  The two nodes sign and fund it by \
             themselves. Until both have signed, `loan cancel` ends it with a word; after that it costs a fee, and with the \
             funding in a block nobody can go back.",
            named(id),
            worth(view.gets_sats, view.price_cents),
            usd(view.owed_cents),
            both(view.locks_sats),
            count(view.coins, "coin"),
            fee(view),
        )
    }

    /// A request approved.
    pub(in crate::cli) fn of_approving(id: LoanId, view: &PreviewView) -> String {
        format!(
            "Request {}: you lend {}, and are owed {} when it is due.\n  Beside it {} are locked as your stake, which comes back \
             at every end.\n  The fees are {} with those of the funding transaction and of making its coin.\n  The two nodes \
             sign and fund it by themselves. Until both have signed, `loan cancel` ends it with a word; after that it costs a \
             fee, and with the funding in a block nobody can go back.{}",
            named(id),
            worth(view.pays_sats, view.price_cents),
            usd(view.owed_cents),
            sats(view.locks_sats),
            fee(view),
            loses(view),
        )
    }

    /// That a loan costs its lender more than it brings even when it is repaid as late as it can be.
    fn loses(view: &PreviewView) -> String {
        let Some((price, fee)) = view.price_cents.zip(view.fee_sats) else { return String::new() };
        let out = u128::from(view.pays_sats.saturating_add(fee)) * u128::from(price);
        let out = u64::try_from(out.div_ceil(u128::from(SATS_PER_BTC))).unwrap_or(u64::MAX);
        match out.checked_sub(view.owed_cents) {
            None | Some(0) => String::new(),
            Some(loss) => format!("\n  You lose {} by it: the fees are more than the interest.", usd(loss)),
        }
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
