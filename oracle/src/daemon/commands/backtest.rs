//! `hypothec-oracle backtest`: what an oracle would have said over bars of the past.

use crate::daemon::feed::replay::text;
use crate::event::Event;
use crate::price::backtest::{backtest, length_of, Bar, Said};
use crate::price::bars::{read, written, Format, HEADER};
use crate::units::{Cents, Time, HOUR};
use anyhow::Context;
use clap::Args;
use std::collections::BTreeMap;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// Days shown in the summary: those with the most touches.
const SHOWN: usize = 5;

/// Over which prices.
#[derive(Debug, Args)]
#[command(after_help = "With --csv: `unix,event_id,outcome` in order of time.\n\n\
    A fixing is stamped with its own time, the end of its bar, and is the bar's close in whole dollars, at most 1048575.\n\n\
    A touch (from h00, at a rung at or below the day's opening price, which is the open of its first bar) is stamped with \
    the start of the bar in which it became true, the bar's own unix; its outcome is its id. At one moment the fixing \
    comes first, then touches from the highest rung down.")]
pub struct Backtest {
    /// CSV with the header unix,open,high,low,close; ascending, each bar beginning on a full hour.
    #[arg(long, value_name = "FILE")]
    prices: PathBuf,
    /// Whose CSV it is.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print the bars as unix,open,high,low,close, which `run --replay` takes, and nothing else.
    #[arg(long, conflicts_with = "csv")]
    bars: bool,
    /// Print every fixing and touch instead of a summary.
    #[arg(long)]
    csv: bool,
}

/// Does it.
///
/// # Errors
/// When the file cannot be read or understood, or the output cannot be written.
pub fn run(backtest_of: &Backtest) -> anyhow::Result<()> {
    let name = || format!("understand {} as {}", backtest_of.prices.display(), backtest_of.format);
    let bars = read(&text(&backtest_of.prices)?, backtest_of.format).with_context(name)?;
    let said = backtest(&bars);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = if backtest_of.bars {
        print_bars(&mut out, &bars)
    } else if backtest_of.csv {
        csv(&mut out, &said)
    } else {
        summary(&mut out, &bars, &said)
    };
    match done.and_then(|()| out.flush()) {
        // Whoever reads has enough: `| head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("write to standard output"),
    }
}

fn print_bars(out: &mut impl Write, bars: &[Bar]) -> std::io::Result<()> {
    writeln!(out, "{HEADER}")?;
    bars.iter().try_for_each(|bar| writeln!(out, "{}", written(bar)))
}

fn csv(out: &mut impl Write, said: &[Said]) -> std::io::Result<()> {
    writeln!(out, "unix,event_id,outcome")?;
    said.iter().try_for_each(|one| writeln!(out, "{one}"))
}

fn summary(out: &mut impl Write, bars: &[Bar], said: &[Said]) -> std::io::Result<()> {
    let (first, last) = (bars.first().map_or(Time(0), |bar| bar.at), bars.last().map_or(Time(0), |bar| bar.at));
    let mut touches: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    let mut fixings = Vec::new();
    for one in said {
        match one.event {
            Event::Touch { level, day, .. } => touches.entry(day).or_default().push(level.dollars()),
            Event::Fixing { .. } => fixings.push(one.dollars),
            // Prices say nothing of payments.
            Event::Payment { .. } => {}
        }
    }
    let dollars = |dollars: Option<&u32>| Cents(u64::from(dollars.copied().unwrap_or(0)) * 100).to_string();
    let count: usize = touches.values().map(Vec::len).sum();
    writeln!(out, "bars      {} of {} h, {first} to {last}", bars.len(), length_of(bars) / HOUR)?;
    writeln!(
        out,
        "fixings   {}, {} to {}",
        fixings.len(),
        dollars(fixings.iter().min()),
        dollars(fixings.iter().max())
    )?;
    writeln!(out, "touches   {count} on {} days", touches.len())?;
    let mut days: Vec<_> = touches.iter().collect();
    days.sort_by_key(|(day, levels)| (std::cmp::Reverse(levels.len()), **day));
    if !days.is_empty() {
        writeln!(out, "\n{:<10}{:>8}{:>18}{:>18}", "day", "touches", "from rung", "down to")?;
    }
    for (day, levels) in days.iter().take(SHOWN) {
        let (top, bottom) = (dollars(levels.iter().max()), dollars(levels.iter().min()));
        writeln!(out, "{day:<10}{:>8}{top:>18}{bottom:>18}", levels.len(), day = day.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Level;

    /// Another reckoning, rung by rung and day by day, in dollars and with a float.
    fn reckoned(text: &str) -> Vec<String> {
        let field = |line: &str, at: usize| line.split(',').nth(at).unwrap().parse::<f64>().unwrap();
        let rows: Vec<(u32, f64, f64, f64)> =
            text.lines().skip(1).map(|l| (field(l, 0) as u32, field(l, 1), field(l, 3), field(l, 4))).collect();
        let mut lines: Vec<(u32, u32, String)> = rows
            .iter()
            .map(|(at, _, _, close)| (at + 3_600, 0, format!("btcusd{},{}", at + 3_600, close.floor())))
            .collect();
        for day in rows.chunk_by(|a, b| a.0 / 86_400 == b.0 / 86_400) {
            for level in (0..).map_while(Level::at_index).filter(|level| f64::from(level.dollars()) <= day[0].1) {
                let level_dollars = f64::from(level.dollars());
                if let Some((at, ..)) = day.iter().find(|(_, _, low, _)| *low <= level_dollars) {
                    let id = format!("btcusd-touch-{level}-{}-h00", Time(*at).day());
                    lines.push((*at, u32::MAX - level.dollars(), format!("{id},{id}")));
                }
            }
        }
        lines.sort();
        lines.into_iter().map(|(at, _, rest)| format!("{at},{rest}")).collect()
    }

    #[test]
    fn a_backtest_agrees_with_an_independent_reckoning() {
        let text = include_str!("../../../../src/demo/prices-2020-03.csv");
        let bars = read(text, Format::Own).unwrap();
        let mut out = Vec::new();
        csv(&mut out, &backtest(&bars)).unwrap();
        let out = String::from_utf8(out).unwrap();
        let mut lines = out.lines();
        assert_eq!(lines.next(), Some("unix,event_id,outcome"));
        let right = reckoned(text);
        assert!(right.len() > 1_500, "the crash of 12 March is in it: {}", right.len());
        for (found, right) in lines.by_ref().zip(&right) {
            assert_eq!(found, right);
        }
        assert_eq!(out.lines().count(), right.len() + 1);
    }

    #[test]
    fn the_summary_names_the_worst_days() {
        let bars = read(include_str!("../../../../src/demo/prices-2020-03.csv"), Format::Own).unwrap();
        let mut out = Vec::new();
        summary(&mut out, &bars, &backtest(&bars)).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("bars      576 of 1 h, 2020-03-08T00:00:00Z"), "{out}");
        assert!(out.lines().nth(5).unwrap().starts_with("20200312"), "{out}");
    }
}
