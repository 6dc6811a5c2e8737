//! `hypothec quote`: asks a lender, and says everything before commitment.

use super::amount::{bitcoins, days, dollars, peer, short};
use super::line::Place;
use super::out::{both, count, date, item, moment, sats, usd, Grid};
use super::show;
use super::which::{named, Named};
use crate::api::views::{GapView, LevelView, QuoteRequest, QuoteView, SpreadView};
use crate::loan::units::{BasisPoints, WHOLE};
use anyhow::Context;
use bitcoin::Amount;
use clap::Args;
use hypothec_oracle::units::Cents;
use std::cmp::Ordering;

/// How many levels a person is shown when the term is long: the first and the last.
const LEVELS_SHOWN: usize = 7;

/// Ask a lender what a loan would cost; binds nobody
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hypothec quote --lender 0279…1798@127.0.0.1:9810 --principal 50000 --collateral 1 --term 90
  hypothec quote --lender 0279…1798@127.0.0.1:9810 --principal 499.50 --collateral 1000000sat --term 30
  hypothec quote --lender 0279 --principal 50000 --collateral 1 --term 90 --all     a lender of `peer list`, in full")]
pub(super) struct Quote {
    /// The lender, as its `status` shows it; of a known peer, its key or a beginning of it
    #[arg(long, value_name = "PUBKEY@HOST:PORT", value_parser = lender)]
    lender: Lender,
    /// Dollars wanted, at most two decimals
    #[arg(long, value_name = "USD", value_parser = dollars)]
    principal: Cents,
    /// Bitcoin to lock, at most eight decimals, or sats with `sat`
    #[arg(long, value_name = "BTC", value_parser = bitcoins)]
    collateral: Amount,
    /// For how long
    #[arg(long, value_name = "DAYS", value_parser = days)]
    term: u32,
    /// Also every fee and level, what a crash would do, and each risk
    #[arg(long)]
    all: bool,
}

/// A lender as somebody types it.
#[derive(Clone, Debug)]
enum Lender {
    /// Where it is.
    At(String),
    /// One that is known.
    Known(Named),
}

fn lender(text: &str) -> Result<Lender, String> {
    match (text.contains('@'), named(text)) {
        (false, Ok(known)) => Ok(Lender::Known(known)),
        _ => peer(text).map(Lender::At),
    }
}

impl Lender {
    async fn address(self, place: &Place) -> anyhow::Result<String> {
        let known = match self {
            Lender::At(address) => return Ok(address),
            Lender::Known(named) => named.peer(place).await?,
        };
        let key = known.node_id;
        known
            .address
            .with_context(|| format!("lender {key}: it dials us, and no address of it is known; write {key}@host:port"))
    }
}

impl Quote {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let request = QuoteRequest {
            lender: self.lender.address(place).await?,
            principal_cents: self.principal.0,
            collateral_sats: self.collateral.to_sat(),
            days: self.term,
        };
        let quote: QuoteView = place.client()?.post("/v1/quotes", &request).await?;
        let text = if self.all { whole } else { brief };
        place.out().say(&quote, |quote| text(quote, &place.again()))
    }
}

/// What fits a screen, and how to see the rest.
fn brief(quote: &QuoteView, again: &str) -> String {
    let mut grid = summary(quote);
    if let (Some(first), Some(last)) = (quote.levels.first(), quote.levels.last()) {
        let level = |level: &LevelView| usd(u64::from(level.level).saturating_mul(100)).replace(".00", "");
        // A loan of one day that starts at midnight has one level; and over a few days it may not rise.
        let text = match (first.day == last.day, first.level == last.level) {
            (true, _) => format!("at {} on {}", level(first), date(&first.day)),
            (_, true) => format!("at {} from {} to {}", level(first), date(&first.day), date(&last.day)),
            _ => {
                format!("at {} on {}, rising to {} on {}", level(first), date(&first.day), level(last), date(&last.day))
            }
        };
        grid.row(["liquidated".to_owned(), text]);
        let (lender, borrower) = (sats(first.lender_sats), sats(first.borrower_sats));
        grid.row([String::new(), format!("then the lender gets {lender}, you {borrower}")]);
    }
    let exit = quote.fees.iter().find(|fee| fee.transaction == "touch").map_or(0, |fee| fee.sats);
    if let Some(funding) = quote.fees.first() {
        let text = format!("{} to fund it; {} for its exit, paid ahead by both", sats(funding.sats), sats(exit));
        grid.row(["fees".to_owned(), text]);
    }
    format!(
        "{}{}\nYou owe dollars, not bitcoin. A silent lender can stop an early repayment; while your node is off, the other side \
         picks the exit. --all says more.\n\n\
         Nothing is agreed yet. The quote ends {}.\n{}",
        grid.text(),
        in_the_way(quote),
        moment(quote.expires),
        next(quote, again)
    )
}

/// Why it cannot be taken with the coins there are, and that the lender was not asked where it was said to be.
fn in_the_way(quote: &QuoteView) -> String {
    let coins = quote.coins_note.as_ref().map(|why| format!("\nYour coins do not do for it now: {why}.\n"));
    let place = quote.place_note.as_ref().map(|note| format!("\nNote: {note}.\n"));
    coins.into_iter().chain(place).collect()
}

/// Everything about it.
fn whole(quote: &QuoteView, again: &str) -> String {
    let parts = [
        summary(quote).text() + &in_the_way(quote),
        levels(quote),
        gaps(quote),
        fees(quote),
        fixing(quote),
        warnings(quote),
    ];
    format!(
        "{}\nNothing is agreed yet. The quote ends {}.\n{}",
        parts.join("\n"),
        moment(quote.expires),
        next(quote, again)
    )
}

fn next(quote: &QuoteView, again: &str) -> String {
    let borrow = format!("{again} borrow {}", short(&quote.loan_id.to_string()));
    match (&quote.coins_note, quote.missing_sats) {
        (None, _) => format!("Next: {borrow}"),
        (Some(_), 0) => {
            format!("Next: {again} wallet consolidate\nand with its block, before the quote ends:\n      {borrow}")
        }
        (Some(_), missing) if quote.waiting_sats > missing => format!(
            "You lack {}, and {} of yours wait for a block. With that, before the quote\nends,\nNext: {borrow}",
            both(missing),
            both(quote.waiting_sats)
        ),
        (Some(_), missing) => {
            let waits = match quote.waiting_sats {
                0 => String::new(),
                waits => format!(", of which {} wait for a block", both(waits)),
            };
            let rest = both(missing.saturating_sub(quote.waiting_sats));
            format!(
                "You lack {}{waits}. Send {rest}, and a little for fees, to an address of\nNext: {again} wallet address\n\
                 and with its block, before the quote ends:\n      {borrow}",
                both(missing)
            )
        }
    }
}

fn summary(quote: &QuoteView) -> Grid {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    row("lender", quote.lender.to_string());
    row("you get", both(quote.principal_sats));
    row("", principal(quote));
    row("you lock", format!("{}, at {} a bitcoin", both(quote.collateral_sats), usd(quote.reference_price_cents)));
    row("rate", format!("{} a year, simple, by the day", BasisPoints(quote.apr_bp)));
    let days = count(quote.days.into(), "day");
    row("due", format!("{}, {days} after {}", moment(quote.due), moment(quote.start)));
    let share = |cents, ltv| format!("{}, {} of the collateral's worth today", usd(cents), BasisPoints(ltv));
    row("owed today", share(quote.principal_cents, quote.ltv_bp));
    row("owed at due", share(quote.owed_at_due_cents, quote.ltv_at_due_bp));
    let least = count(quote.minimum_interest_days.into(), "day");
    let early = match quote.owed_at_least_cents < quote.owed_at_due_cents {
        true => format!("at least {}: {least} of interest, however early", usd(quote.owed_at_least_cents)),
        false => format!("saves nothing: {} is owed however early", usd(quote.owed_at_due_cents)),
    };
    row("repaid early", early);
    for (index, oracle) in quote.oracles.iter().enumerate() {
        let name = match (index, quote.oracles.len()) {
            (0, 1) => "oracle".to_owned(),
            (0, all) => format!("oracles, {}/{all}", quote.threshold),
            _ => String::new(),
        };
        row(&name, oracle.to_string());
    }
    let coins = match quote.coins {
        Some(coins) => format!(", in {}", count(coins.into(), "coin")),
        None => " and in one coin".to_owned(),
    };
    row("you need", format!("{} with your fees{coins}", both(quote.needs_sats)));
    grid
}

/// What is lent in dollars, beside what was asked.
fn principal(quote: &QuoteView) -> String {
    let worth = format!("worth {}", usd(quote.principal_cents));
    let other = usd(quote.principal_cents.abs_diff(quote.asked_cents));
    let than = match quote.principal_cents.cmp(&quote.asked_cents) {
        Ordering::Equal => return format!("{worth}, as you asked"),
        Ordering::Less => "less than",
        Ordering::Greater => "more than",
    };
    format!("{worth}, {other} {than} you asked: its coin's size")
}

fn levels(quote: &QuoteView) -> String {
    // Of a long term a person is shown the first days and the last.
    let (shown, cut) = match quote.levels.as_slice() {
        [first @ .., last] if quote.levels.len() > LEVELS_SHOWN => {
            let mut shown: Vec<_> = first.iter().take(LEVELS_SHOWN - 1).cloned().collect();
            let before = shown.last().map(|level| date(&level.day)).unwrap_or_default();
            shown.push(last.clone());
            let text = format!(
                "(The days between {before} and {} are left out; a level never falls. --json has all.)\n",
                date(&last.day)
            );
            (shown, text)
        }
        all => (all.to_vec(), String::new()),
    };
    format!(
        "Liquidation: if the price touches the day's level at any time that day, the loan ends there and then.\n{}{cut}\
         A touch takes {} of what is owed, on top, out of what would come back to you: the cushion for the sale.\n",
        show::levels(&shown),
        BasisPoints(quote.cushion_bp)
    )
}

fn gaps(quote: &QuoteView) -> String {
    let each = |gap: &GapView| {
        let below = BasisPoints(gap.below_bp);
        let end = match gap.shortfall_cents {
            0 => "which covers what is owed".to_owned(),
            missing => format!("{} short of what is owed: the lender's loss", usd(missing)),
        };
        format!("  sold {below} below the level, the lender's sats bring {}, {end}\n", usd(gap.proceeds_cents))
    };
    // The lender gets what is owed and the cushion at the level's price: below it, that covers 1 − 1/(1 + cushion).
    let (whole, cushion) = (u64::from(WHOLE), u64::from(quote.cushion_bp));
    let covered = whole.saturating_mul(cushion).checked_div(whole.saturating_add(cushion)).unwrap_or(0);
    let covered = BasisPoints(u32::try_from(covered).unwrap_or(0));
    let lines: String = quote.gaps.iter().map(each).collect();
    format!("A crash through the level: sold down to {covered} below it, the cushion covers what is owed.\n{lines}")
}

fn fees(quote: &QuoteView) -> String {
    let mut grid = Grid::new(["fee", "at most", "paid by"]);
    for fee in &quote.fees {
        grid.row([fee.transaction.clone(), sats(fee.sats), fee.paid_by.clone()]);
    }
    format!("Fees:\n{}", grid.right(&[1]).text())
}

fn fixing(quote: &QuoteView) -> String {
    let (middle, tails) = quote.curve_error_ppm;
    format!(
        "At due, if nobody repays, the price then settles it: paid within {} of the collateral of the exact sum \
         between half and twice today's price, within {} beyond. Each side makes {}.\n{}",
        ppm(middle),
        ppm(tails),
        count(quote.signatures.into(), "signature"),
        quote.spread.as_ref().map(|spread| several(quote, spread)).unwrap_or_default()
    )
}

/// What it means that several oracles must agree.
fn several(quote: &QuoteView, spread: &SpreadView) -> String {
    format!(
        "{} of the {} oracles must agree, on a touch and on that price. Prices up to ${} apart always agree; ${} apart \
         ({} of today's price) or more, never. Of those that agree, the price of the oracle listed first is paid: it may \
         be off by as much as they are apart. Where no {} agree, the fallback settles a month after due.\n",
        quote.threshold,
        quote.oracles.len(),
        spread.always_usd,
        spread.never_usd,
        BasisPoints(spread.never_bp),
        quote.threshold
    )
}

/// Parts per million as a percentage.
fn ppm(parts: u32) -> String {
    let text = format!("{}.{:04}", parts / 10_000, parts % 10_000);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn warnings(quote: &QuoteView) -> String {
    let lines: String = quote.warnings.iter().map(|warning| item(warning)).collect();
    format!("What remains, in plain words:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> QuoteView {
        serde_json::from_value(serde_json::json!({
            "loan_id": "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0",
            "lender": "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "principal_sats": 50_000_000, "principal_cents": 5_000_000, "asked_cents": 5_000_005,
            "collateral_sats": 100_000_000, "reference_price_cents": 10_000_000, "ltv_bp": 5_000,
            "ltv_at_due_bp": 5_124, "minimum_interest_days": 1, "apr_bp": 1_000, "start": 1_584_057_600, "days": 1,
            "due": 1_584_144_000, "owed_at_due_cents": 5_123_288, "owed_at_least_cents": 5_019_179,
            "expires": 1_584_006_000, "cushion_bp": 500, "levels": [], "gaps": [], "fees": [],
            "needs_sats": 1, "coins": 1, "coins_note": null, "place_note": null, "missing_sats": 0, "oracles": [],
            "threshold": 1, "spread": null, "signatures": 1, "curve_error_ppm": [1, 1], "warnings": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_quote_of_one_day_says_its_level_and_one_whose_level_stays_does_not_say_that_it_rises() {
        let level = |day: &str, level: u32| {
            serde_json::json!({ "day": day, "level": level, "owed_cents": 5_001_370, "borrower_sats": 1_000,
                "lender_sats": 99_000_000, "event": "btcusd-touch" })
        };
        let text = |levels: Vec<serde_json::Value>| {
            let quote = QuoteView { levels: serde_json::from_value(levels.into()).unwrap(), ..some() };
            brief(&quote, "hypothec").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(
            text(vec![level("20200313", 64_200)]).contains("liquidated at $64,200 on 2020-03-13 then the lender gets")
        );
        let two = |last| text(vec![level("20200312", 64_200), level("20200313", last)]);
        assert!(two(64_200).contains("liquidated at $64,200 from 2020-03-12 to 2020-03-13 then"), "{}", two(64_200));
        assert!(two(64_201).contains("at $64,200 on 2020-03-12, rising to $64,201 on 2020-03-13"), "{}", two(64_201));
    }

    #[test]
    fn coins_that_wait_for_a_block_are_not_asked_for_once_more() {
        let said = |missing_sats, waiting_sats| {
            let quote = QuoteView { coins_note: Some("no".into()), missing_sats, waiting_sats, ..some() };
            next(&quote, "hypothec").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(
            said(1_000, 0).starts_with("You lack 1,000 sat (0.00001000 BTC). Send 1,000 sat"),
            "{}",
            said(1_000, 0)
        );
        let enough = said(1_000, 199_000_000);
        assert!(
            enough.contains("and 199,000,000 sat (1.99000000 BTC) of yours wait") && !enough.contains("Send"),
            "{enough}"
        );
        let some = said(1_000, 400);
        assert!(some.contains("of which 400 sat (0.00000400 BTC) wait for a block. Send 600 sat"), "{some}");
    }

    #[test]
    fn parts_per_million_are_written_as_percentages() {
        assert_eq!(
            (ppm(1_000), ppm(200), ppm(0), ppm(12_345)),
            ("0.1 %".into(), "0.02 %".into(), "0 %".into(), "1.2345 %".into())
        );
    }
}
