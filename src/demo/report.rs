//! What happened, read back from the chain and the two wallets: as one document, and as plain lines.

use super::ledger::{Account, Entry, Owner, Sides};
use super::world::World;
use crate::chain::Chain;
use crate::loan::terms::LoanId;
use crate::node::view::{ExitView, LoanView};
use crate::protocol::Exit;
use anyhow::{ensure, Context};
use bitcoin::{OutPoint, Txid};
use hypothec_oracle::units::Cents;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The document of `demo --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// One a story.
    pub loans: Vec<LoanLine>,
    /// The two wallets over all of it.
    pub wallets: Wallets,
    /// What bitcoind calls itself.
    pub bitcoind: String,
    /// How long it took, real time.
    pub elapsed_ms: u64,
}

/// One loan, ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanLine {
    /// The story's name.
    pub story: String,
    /// The loan's.
    pub loan_id: LoanId,
    /// The transaction that locked the collateral and paid the principal.
    pub funding_txid: Txid,
    /// How it ended.
    pub exit: Exit,
    /// The transaction that ended it.
    pub exit_txid: Txid,
    /// Repaid the spot used, Liquidated the level, Matured the fixing, FellBack the reference; cents per bitcoin.
    pub price_cents: u64,
    /// What was owed then.
    pub owed_cents: u64,
    /// To the lender's payout script.
    pub paid_to_lender_sats: u64,
    /// To the borrower's payout script.
    pub returned_to_borrower_sats: u64,
    /// What the borrower received at the start.
    pub principal_sats: u64,
    /// Fees of all the loan's transactions.
    pub fees_sats: u64,
    /// The borrower's coins spent and created by them.
    pub borrower: Sides,
    /// The lender's.
    pub lender: Sides,
}

/// Both wallets from before the first loan to after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallets {
    /// The borrower's.
    pub borrower: WalletLine,
    /// The lender's.
    pub lender: WalletLine,
}

/// One wallet: `end - start = loans + mining income`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletLine {
    /// Everything in it before the first loan.
    pub start_sats: u64,
    /// Everything in it after the last.
    pub end_sats: u64,
    /// What the loans changed.
    pub loans_sats: i64,
    /// What it was given from mined coins in between. Both are funded before the start.
    pub mining_income_sats: i64,
}

/// A loan read back, with what the plain lines need beside the document's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// For the document.
    pub line: LoanLine,
    /// Every transaction of it and its fee.
    pub fees: Vec<(Txid, u64)>,
    /// Principal in cents.
    pub principal_cents: u64,
    /// Collateral in sats.
    pub collateral_sats: u64,
    /// Yearly rate, basis points.
    pub apr_bp: u32,
    /// Days it could have lasted.
    pub days: u32,
}

impl Settled {
    /// Reads a loan that has ended back from the chain and the two wallets.
    ///
    /// # Errors
    /// When the two nodes and the chain do not tell the same, to the sat.
    pub async fn read(world: &World, chain: &Chain, story: &str, id: LoanId) -> anyhow::Result<Settled> {
        let [borrower, lender] = world.loan(id).await?;
        let ended = agreed_end(&borrower, &lender).with_context(|| format!("loan {id}, story {story}"))?;
        let locked = borrower.funding.with_context(|| format!("loan {id} was never funded"))?;
        let entries = entries(world, chain, &borrower, &lender).await?;
        let account = Account::of(&entries, locked).with_context(|| format!("loan {id}, story {story}"))?;
        let line = LoanLine {
            story: story.to_string(),
            loan_id: id,
            funding_txid: locked.txid,
            exit: ended.exit.with_context(|| format!("loan {id} ended in a way nobody can name"))?,
            exit_txid: ended.txid,
            price_cents: ended.price_cents.with_context(|| format!("loan {id} ended without a price"))?,
            owed_cents: ended.owed_cents.with_context(|| format!("loan {id} ended, and what was owed is not known"))?,
            paid_to_lender_sats: ended.paid_to_lender_sats,
            returned_to_borrower_sats: ended.returned_to_borrower_sats,
            principal_sats: borrower.principal_sats,
            fees_sats: account.fees_sats,
            borrower: account.borrower,
            lender: account.lender,
        };
        check_payments(&line, &entries, &account).with_context(|| format!("loan {id}, story {story}"))?;
        Ok(Settled {
            line,
            fees: account.fees.into_iter().collect(),
            principal_cents: borrower.principal_cents,
            collateral_sats: borrower.collateral_sats,
            apr_bp: borrower.apr_bp,
            days: borrower.due.saturating_sub(borrower.start) / hypothec_oracle::units::DAY,
        })
    }

    /// A few plain lines.
    pub fn text(&self) -> String {
        let line = &self.line;
        let price = Cents(line.price_cents);
        let side = |name: &str, sides: Sides| {
            let worth = |sats| format!("{} ({})", btc(sats), worth(sats, price));
            let change = sides.change();
            let sign = if change < 0 { "-" } else { "+" };
            let sats = change.unsigned_abs();
            format!(
                "  {name:<9} {} before, {} after: {sign}{sats} sats\n",
                worth(sides.before_sats),
                worth(sides.after_sats)
            )
        };
        let fee =
            |of: &dyn Fn(&Txid) -> bool| -> u64 { self.fees.iter().filter(|(id, _)| of(id)).map(|(_, fee)| fee).sum() };
        let (funding, exit) = (fee(&|id| *id == line.funding_txid), fee(&|id| *id == line.exit_txid));
        let other = fee(&|id| *id != line.funding_txid && *id != line.exit_txid);
        format!(
            "{}: {}\n  loan      {}\n  borrowed  {} = {} for {} days at {} % a year, locking {}\n  funding   {}\n  exit      {} {}\n  \
             owed      {} at {} a bitcoin, which is {} sats\n  paid      {} sats to the lender, {} sats back to the borrower\n\
             {}{}  fees      {} sats: {other} for the lender's coin, {funding} for funding, {exit} for the exit\n",
            line.story.replace('_', " "),
            what_happened(line.exit),
            line.loan_id,
            Cents(self.principal_cents),
            btc(line.principal_sats),
            self.days,
            percent(self.apr_bp),
            btc(self.collateral_sats),
            line.funding_txid,
            line.exit,
            line.exit_txid,
            Cents(line.owed_cents),
            price,
            owed_sats(line),
            line.paid_to_lender_sats,
            line.returned_to_borrower_sats,
            side("borrower", line.borrower),
            side("lender", line.lender),
            line.fees_sats,
        )
    }
}

impl Wallets {
    /// Compares the wallets' totals with the loans.
    ///
    /// # Errors
    /// When one sat is missing.
    pub fn of(start: [u64; 2], end: [u64; 2], loans: &[LoanLine]) -> anyhow::Result<Wallets> {
        let line = |name: &str, start_sats: u64, end_sats: u64, sides: fn(&LoanLine) -> Sides| {
            let loans: i128 = loans.iter().map(|loan| sides(loan).change()).sum();
            let change = i128::from(end_sats) - i128::from(start_sats);
            ensure!(
                change == loans,
                "the {name}'s wallet changed by {change} sats and the loans by {loans}: {} sats are missing",
                loans - change
            );
            let loans_sats = i64::try_from(loans)?;
            Ok(WalletLine { start_sats, end_sats, loans_sats, mining_income_sats: 0 })
        };
        let ([borrower_start, lender_start], [borrower_end, lender_end]) = (start, end);
        Ok(Wallets {
            borrower: line("borrower", borrower_start, borrower_end, |loan| loan.borrower)?,
            lender: line("lender", lender_start, lender_end, |loan| loan.lender)?,
        })
    }
}

/// How it ended, if both say the same of it and a block holds it.
fn agreed_end(borrower: &LoanView, lender: &LoanView) -> anyhow::Result<ExitView> {
    let [ours, theirs] = [borrower, lender].map(|view| view.ended.clone());
    let ended = ours.context("the borrower's node does not say how it ended")?;
    let other = theirs.context("the lender's node does not say how it ended")?;
    let told = |end: &ExitView| serde_json::to_string(end).unwrap_or_default();
    ensure!(ended == other, "the borrower's node says {}, the lender's {}", told(&ended), told(&other));
    ensure!(ended.height.is_some(), "its exit {} is in no block", ended.txid);
    ensure!(borrower.funding == lender.funding, "the nodes name different funding outputs");
    Ok(ended)
}

/// Every transaction that either node counts to the loan, with what it spends and what it did to each wallet.
async fn entries(world: &World, chain: &Chain, borrower: &LoanView, lender: &LoanView) -> anyhow::Result<Vec<Entry>> {
    let known = borrower.transactions.iter().chain(&lender.transactions).copied();
    let funding = borrower.funding.iter().map(|funding| funding.txid);
    let exit = borrower.ended.iter().map(|ended| ended.txid);
    let txids: BTreeSet<Txid> = known.chain(funding).chain(exit).collect();
    let mut entries = Vec::with_capacity(txids.len());
    for txid in txids {
        // What was made and never came to the chain, because another took its place, moved no sat.
        let Some(seen) = chain.transaction(txid).await? else { continue };
        ensure!(seen.confirmed.is_some(), "transaction {txid} is in no block");
        let transaction = seen.transaction;
        let mut inputs = Vec::with_capacity(transaction.input.len());
        for input in &transaction.input {
            inputs.push((input.previous_output, value(chain, input.previous_output).await?));
        }
        let outputs = transaction.output.iter().map(|output| output.value.to_sat()).collect();
        let (borrower, lender) =
            (world.borrower.client()?.effect(txid).await?, world.lender.client()?.effect(txid).await?);
        entries.push(Entry { txid, inputs, outputs, borrower, lender });
    }
    Ok(entries)
}

async fn value(chain: &Chain, coin: OutPoint) -> anyhow::Result<u64> {
    let seen = chain.transaction(coin.txid).await?.with_context(|| format!("{coin} is not on the chain"))?;
    let index = usize::try_from(coin.vout)?;
    let output = seen.transaction.output.get(index).with_context(|| format!("{coin} does not exist"))?;
    Ok(output.value.to_sat())
}

/// The nodes' words about principal and payments, held against the chain's coins.
fn check_payments(line: &LoanLine, entries: &[Entry], account: &Account) -> anyhow::Result<()> {
    let coins = |txid: Txid, wanted: Owner| -> Vec<u64> {
        let outputs = entries.iter().find(|entry| entry.txid == txid).map_or(0, |entry| entry.outputs.len());
        let coins = (0u32..).take(outputs).filter_map(|vout| account.owner(OutPoint { txid, vout }));
        coins.filter(|(owner, _)| *owner == wanted).map(|(_, sats)| sats).collect()
    };
    let principal = line.principal_sats;
    ensure!(
        coins(line.funding_txid, Owner::Borrower).contains(&principal),
        "the funding transaction {} pays the borrower no coin of {principal} sats",
        line.funding_txid
    );
    let to_lender: u64 = coins(line.exit_txid, Owner::Lender).iter().sum();
    let paid = line.paid_to_lender_sats;
    ensure!(to_lender == paid, "the lender's node was paid {paid} sats, its wallet got {to_lender}");
    let to_borrower = coins(line.exit_txid, Owner::Borrower);
    let returned = line.returned_to_borrower_sats;
    ensure!(
        returned == 0 || to_borrower.contains(&returned),
        "the borrower was returned {returned} sats, its wallet got {}",
        to_borrower.iter().map(|sats| sats.to_string()).collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

fn what_happened(exit: Exit) -> &'static str {
    match exit {
        Exit::Repaid => "the borrower paid what it owed; the same transaction freed its collateral.",
        Exit::Receipt => "the lender was paid some other way; its receipt freed the collateral.",
        Exit::Liquidated => "the price touched the day's level; the lender was paid, the surplus went back.",
        Exit::Matured => "nobody did anything; the price at the due time settled it.",
        Exit::FellBack => "the oracle fell silent; a month after due the fallback settled it at the first day's price.",
        Exit::Refunded => "a year after due the refund returned the collateral.",
    }
}

/// The sats that are owed, rounded as the exit rounds them: a repayment up, what is taken out of the collateral down.
fn owed_sats(line: &LoanLine) -> u128 {
    let whole = u128::from(line.owed_cents) * 100_000_000;
    match line.exit {
        Exit::Repaid => sats_ceil(line.owed_cents, line.price_cents),
        _ => whole.checked_div(line.price_cents.into()).unwrap_or(u128::MAX),
    }
}

/// `0.80000000 BTC`.
fn btc(sats: u64) -> String {
    format!("{}.{:08} BTC", sats / 100_000_000, sats % 100_000_000)
}

/// `9.50`.
fn percent(basis_points: u32) -> String {
    format!("{}.{:02}", basis_points / 100, basis_points % 100)
}

/// Dollars of `sats` at `price`, rounded down.
fn worth(sats: u64, price: Cents) -> Cents {
    let cents = u128::from(sats) * u128::from(price.0) / 100_000_000;
    Cents(u64::try_from(cents).unwrap_or(u64::MAX))
}

/// Sats of `cents` at `price_cents`, rounded up.
fn sats_ceil(cents: u64, price_cents: u64) -> u128 {
    (u128::from(cents) * 100_000_000).div_ceil(u128::from(price_cents.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash;

    fn line() -> LoanLine {
        LoanLine {
            story: "repaid".into(),
            loan_id: LoanId([7; 32]),
            funding_txid: Txid::all_zeros(),
            exit: Exit::Repaid,
            exit_txid: Txid::all_zeros(),
            price_cents: 800_000,
            owed_cents: 200_500,
            paid_to_lender_sats: 25_062_500,
            returned_to_borrower_sats: 80_000_000,
            principal_sats: 24_900_000,
            fees_sats: 50,
            borrower: Sides { before_sats: 1_000, after_sats: 900 },
            lender: Sides { before_sats: 500, after_sats: 550 },
        }
    }

    #[test]
    fn the_document_has_the_fields_that_programs_were_promised() {
        let document = Document {
            loans: vec![line()],
            wallets: Wallets::of([10_000, 5_000], [9_900, 5_050], &[line()]).unwrap(),
            bitcoind: "Satoshi".into(),
            elapsed_ms: 1,
        };
        let json = serde_json::to_value(&document).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let set = |names: &str| names.split(' ').map(String::from).collect::<BTreeSet<_>>();
        assert_eq!(keys(&json), set("loans wallets bitcoind elapsed_ms"));
        assert_eq!(
            keys(&json["loans"][0]),
            set("story loan_id funding_txid exit exit_txid price_cents owed_cents paid_to_lender_sats \
                 returned_to_borrower_sats principal_sats fees_sats borrower lender")
        );
        assert_eq!(keys(&json["loans"][0]["borrower"]), set("before_sats after_sats"));
        assert_eq!(json["loans"][0]["exit"], "Repaid");
        assert_eq!(json["wallets"]["borrower"]["loans_sats"], -100);
        assert_eq!(serde_json::from_value::<Document>(json).unwrap(), document);
    }

    #[test]
    fn a_wallet_that_lost_a_sat_is_told_so() {
        let error = Wallets::of([10_000, 5_000], [9_899, 5_050], &[line()]).unwrap_err().to_string();
        assert!(error.contains("borrower") && error.contains("1 sats are missing"), "{error}");
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(btc(80_000_001), "0.80000001 BTC");
        assert_eq!(worth(80_000_000, Cents(800_000)), Cents(640_000));
        assert_eq!(percent(905), "9.05");
        assert_eq!(sats_ceil(200_500, 800_000), 25_062_500);
    }
}
