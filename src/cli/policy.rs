//! `hypothec policy`: what this node lends, and at what rate.

use super::amount::{days, dollars, line, percent, whole_sats};
use super::line::Place;
use super::out::{count, sats, usd, Grid};
use super::which::{named, Named};
use crate::api::views::{PolicyTerms, PolicyView};
use crate::loan::policy::Approval;
use crate::loan::rate::{AprCurve, Point};
use crate::loan::units::{BasisPoints, Cents, Days, SATS_PER_BTC};
use anyhow::{anyhow, bail, Context};
use bitcoin::key::XOnlyPublicKey;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// The largest policy file read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// What this node lends, and at what rate
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// The policy in force
    #[command(after_help = "Examples:\n  hypothec policy show\n  hypothec policy show --json > policy.json")]
    Show,
    Set(Box<Set>),
}

/// Change the policy: some settings, or all of it from a file
///
/// Quotes already given stand as they were given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hypothec policy set --add-oracle 79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798
  hypothec policy set --principal-max 50000 --ltv-max 45 --days-max 180
  hypothec policy set --add-oracle 79be…1798 --add-oracle c604…9ee5 --add-oracle f930…36f9 --threshold 2
  hypothec policy set --earning-min 0        lends nothing that costs more than it earns
  hypothec policy set --apr 8
  hypothec policy set --apr-ltv 20=6,50=9.5 --apr-days 30=-0.5,90=0,365=1.5 --apr-amount none
  hypothec policy set --file policy.json     as `policy show --json` writes it")]
pub(super) struct Set {
    /// The whole policy, as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "Changes")]
    file: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
}

/// Single settings.
#[derive(Debug, Default, PartialEq, Args)]
#[group(required = false, multiple = true)]
pub(super) struct Changes {
    /// The smallest loan, in dollars
    #[arg(long, value_name = "USD", value_parser = dollars)]
    principal_min: Option<Cents>,
    /// The largest loan, in dollars
    #[arg(long, value_name = "USD", value_parser = dollars)]
    principal_max: Option<Cents>,
    /// The shortest term
    #[arg(long, value_name = "DAYS", value_parser = days)]
    days_min: Option<u32>,
    /// The longest term
    #[arg(long, value_name = "DAYS", value_parser = days)]
    days_max: Option<u32>,
    /// The highest loan to value at the start
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    ltv_max: Option<u32>,
    /// The most that may be lent out at once, in dollars
    #[arg(long, value_name = "USD", value_parser = dollars)]
    exposure_max: Option<Cents>,
    /// Trust this oracle with a loan, too: its key, or a beginning of it where `oracle list` has it
    #[arg(long, value_name = "KEY", value_parser = named)]
    add_oracle: Vec<Named>,
    /// Trust this oracle no longer: its key, or a beginning of it
    #[arg(long, value_name = "KEY", value_parser = named)]
    remove_oracle: Vec<Named>,
    /// How many oracles must agree: with 1 a loan rests on one of those trusted, with more on all of them together
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=5))]
    threshold: Option<u8>,
    /// Who says yes to a loan that the policy allows
    #[arg(long, value_name = "WHO")]
    approval: Option<Who>,
    /// What a loan must earn beyond its fees, however early it is repaid, in sats; or off
    #[arg(long, value_name = "SATS|off", value_parser = earning_min)]
    earning_min: Option<EarningMin>,
    /// One yearly rate for every loan
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with_all = ["apr_ltv", "apr_days", "apr_amount"])]
    apr: Option<u32>,
    /// The yearly rate over loan to value: LTV=RATE, both in percent
    #[arg(long, value_name = "20=6,50=9.5", allow_hyphen_values = true, value_parser = ltv_line)]
    apr_ltv: Option<Line>,
    /// What the term adds to it: DAYS=RATE, or none
    #[arg(long, value_name = "30=-0.5,90=0", allow_hyphen_values = true, value_parser = days_line)]
    apr_days: Option<Line>,
    /// What the amount adds to it: USD=RATE, or none
    #[arg(long, value_name = "1000=1,10000=0", allow_hyphen_values = true, value_parser = amount_line)]
    apr_amount: Option<Line>,
}

/// What `policy show` says: the policy as it is set, and beside it what that implies.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    policy: PolicyView,
    implies: PolicyTerms,
}

/// The field of [`Shown`] that is not part of the policy.
const IMPLIES: &str = "implies";

/// A line of the rate.
#[derive(Clone, Debug, PartialEq)]
struct Line(Vec<Point>);

/// What a loan must earn; or that it need not.
#[derive(Clone, Copy, Debug, PartialEq)]
struct EarningMin(Option<u64>);

fn earning_min(text: &str) -> Result<EarningMin, String> {
    match text {
        "off" => Ok(EarningMin(None)),
        _ => whole_sats(text).map(|sats| EarningMin(Some(sats))).map_err(|why| format!("{why}, or off")),
    }
}

/// Who approves a loan.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Who {
    /// The node
    Automatic,
    /// A person
    Manual,
}

fn ltv_line(text: &str) -> Result<Line, String> {
    points(text, |place| percent(place).map(u64::from))
}

fn days_line(text: &str) -> Result<Line, String> {
    points(text, |place| days(place).map(u64::from))
}

fn amount_line(text: &str) -> Result<Line, String> {
    points(text, |place| dollars(place).map(|cents| cents.0))
}

fn points(text: &str, at: fn(&str) -> Result<u64, String>) -> Result<Line, String> {
    Ok(Line(line(text, at)?.into_iter().map(Point::from).collect()))
}

impl Policy {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        let before: PolicyView = client.get("/v1/policy").await?;
        match self {
            Policy::Show => {
                let implies: PolicyTerms = client.get("/v1/policy/terms").await?;
                let shown = Shown { policy: before, implies };
                place.out().say(&shown, |shown| {
                    let again = place.again();
                    let policy = text(&shown.policy, &again);
                    let earned = earned(&shown.policy, &shown.implies, &again);
                    format!("{policy}\nWhat every loan by it has besides:\n{}\n{earned}", implied(&shown.implies))
                })
            }
            Policy::Set(set) => {
                let mut added = Vec::new();
                for named in &set.changes.add_oracle {
                    added.push(named.oracle(place).await?);
                }
                let wanted = set.apply(before.clone(), &added)?;
                wanted.validate().map_err(|error| anyhow::anyhow!("policy: {error}"))?;
                let now: PolicyView = client.put("/v1/policy", &wanted).await?;
                let said = if now == before { "The policy was so already." } else { "The policy is changed." };
                place.out().say(&now, |policy| format!("{said}\n\n{}", text(policy, &place.again())))
            }
        }
    }
}

impl Set {
    /// `added` are the keys that `--add-oracle` means.
    fn apply(self, policy: PolicyView, added: &[XOnlyPublicKey]) -> anyhow::Result<PolicyView> {
        let Some(path) = self.file else { return self.changes.apply(policy, added) };
        let reading = || format!("policy file {}", path.display());
        let size = std::fs::metadata(&path).with_context(reading)?.len();
        if size > LARGEST {
            bail!("policy file {}: it has {size} bytes; at most {LARGEST} are read", path.display());
        }
        let text = std::fs::read_to_string(&path).with_context(reading)?;
        let mut written: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow!("{}: it is no JSON as `policy show --json` prints it; see line {line}, column {column}", reading())
        })?;
        // `policy show --json` says it for the reader; nobody sets it.
        if let Some(fields) = written.as_object_mut() {
            fields.remove(IMPLIES);
        }
        serde_json::from_value(written).with_context(reading)
    }
}

impl Changes {
    fn apply(self, mut policy: PolicyView, added: &[XOnlyPublicKey]) -> anyhow::Result<PolicyView> {
        if self == Changes::default() {
            bail!("policy: nothing to change was named; see `hypothec policy set --help`");
        }
        replace(&mut policy.principal_min, self.principal_min);
        replace(&mut policy.principal_max, self.principal_max);
        replace(&mut policy.days_min, self.days_min.map(Days));
        replace(&mut policy.days_max, self.days_max.map(Days));
        replace(&mut policy.initial_ltv_max, self.ltv_max.map(BasisPoints));
        replace(&mut policy.exposure_max, self.exposure_max);
        for named in self.remove_oracle {
            let oracle = named.one_of("oracle", policy.oracles.iter().copied(), "hypothec policy show");
            let oracle = oracle.context("--remove-oracle: the policy does not name it")?;
            policy.oracles.retain(|known| *known != oracle);
        }
        for oracle in added {
            if !policy.oracles.contains(oracle) {
                policy.oracles.push(*oracle);
            }
        }
        replace(&mut policy.threshold, self.threshold);
        replace(
            &mut policy.approval,
            self.approval.map(|who| match who {
                Who::Automatic => Approval::Automatic,
                Who::Manual => Approval::Manual,
            }),
        );
        replace(&mut policy.earning_min_sats, self.earning_min.map(|least| least.0));
        if let Some(rate) = self.apr {
            let bp = i32::try_from(rate).context("--apr")?;
            policy.apr = AprCurve { ltv: vec![Point { at: 0, bp }], days: Vec::new(), amount: Vec::new() };
        }
        replace(&mut policy.apr.ltv, self.apr_ltv.map(|line| line.0));
        replace(&mut policy.apr.days, self.apr_days.map(|line| line.0));
        replace(&mut policy.apr.amount, self.apr_amount.map(|line| line.0));
        Ok(policy)
    }
}

fn replace<T>(setting: &mut T, by: Option<T>) {
    if let Some(by) = by {
        *setting = by;
    }
}

fn text(policy: &PolicyView, again: &str) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    row("amount", format!("{} to {}", policy.principal_min, policy.principal_max));
    row("term", format!("{} to {}", policy.days_min, policy.days_max));
    row("loan to value at the start", format!("up to {}", policy.initial_ltv_max));
    row("lent out at once", format!("up to {}", policy.exposure_max));
    row(
        "approval",
        match policy.approval {
            Approval::Automatic => "automatic".to_owned(),
            Approval::Manual => "by a person".to_owned(),
        },
    );
    if let Some(least) = policy.earning_min_sats {
        row("a loan must earn", format!("{} beyond its fees, however early it is repaid", sats(least)));
    }
    if policy.threshold > 1 {
        row("oracles that must agree", format!("{} of {}", policy.threshold, policy.oracles.len()));
    }
    row("rate a year, by loan to value", rates(&policy.apr.ltv, percent_text));
    row("  and by term", rates(&policy.apr.days, |at| format!("{at} days")));
    row("  and by amount", rates(&policy.apr.amount, usd));
    let oracles = match policy.oracles.as_slice() {
        [] => format!("No oracle is trusted, so nothing is lent.\n\nNext: {again} policy set --add-oracle KEY"),
        some => some.iter().map(|oracle| format!("Trusted oracle: {oracle}\n")).collect(),
    };
    format!("{}\n{oracles}", grid.text())
}

/// What the policy implies, a line each.
fn implied(terms: &PolicyTerms) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    let percent = |bp: u32| BasisPoints(bp).to_string();
    let minutes = |seconds: u32| count(u64::from(seconds / 60), "minute");
    let days = |days: u32| count(days.into(), "day");
    row("debt", format!("counted in {}, simple interest by begun days", terms.currency));
    row("rate a year", format!("{} to {}", percent(terms.apr_min_bp), percent(terms.apr_max_bp)));
    let (least, most) = (terms.minimum_interest_days_min, terms.minimum_interest_days_max);
    row(
        "minimum interest",
        match least == most {
            true => days(most),
            false => format!("{least} to {}, by the term", days(most)),
        },
    );
    let lines = [terms.warning_ltv_bp, terms.call_ltv_bp, terms.urgent_ltv_bp].map(percent);
    row("margin lines", format!("{}: warning, call, urgent", lines.join(", ")));
    row("liquidation", format!("at {} loan to value", percent(terms.liquidation_ltv_bp)));
    row("cushion", format!("{} of the debt, on a liquidation", percent(terms.cushion_bp)));
    row("least collateral", format!("{}, at today's fees", sats(terms.collateral_min_sats)));
    row("least payout", format!("{}; less goes to the other side", sats(terms.dust_sats)));
    row("stake", format!("{} of this node's, in each loan", sats(terms.stake_sats)));
    let fee = format!("{} each, at {} sat/vB", sats(terms.exit_fee_sats), terms.fee_rate_sat_per_vb);
    row("exits", format!("{fee}, paid ahead by both"));
    let (few, many) = (terms.confirmations, terms.confirmations_above_one_bitcoin);
    row("confirmations", format!("{few}; {many} above one bitcoin of collateral"));
    row("principal", format!("within {} of what is asked", percent(terms.principal_within_bp)));
    row("a quote stands", minutes(terms.quote_seconds));
    if let Some(seconds) = terms.approval_seconds {
        row("you decide within", minutes(seconds));
    }
    row("coin waited for", minutes(terms.coin_seconds));
    row("price may move", format!("{} until both have signed", percent(terms.price_drift_bp)));
    row(
        "silent oracles",
        format!("fallback {} after due, refund {}", days(terms.fallback_days), days(terms.refund_days)),
    );
    grid.text()
}

/// From which principal a loan earns more than it costs this lender.
fn earned(policy: &PolicyView, terms: &PolicyTerms, again: &str) -> String {
    let mut grid = Grid::plain();
    let fees = sats(terms.loan_fees_sats);
    let Some(price) = terms.price_cents else {
        grid.row(["costs you".to_owned(), format!("{fees} of fees, whatever its size")]);
        let text = "From which amount it earns more is not known now: no price of its oracles is.";
        return format!("What a loan costs and earns:\n{}{text}\n", grid.text());
    };
    let worth = u128::from(terms.loan_fees_sats) * u128::from(price);
    let worth = u64::try_from(worth.div_ceil(u128::from(SATS_PER_BTC))).unwrap_or(u64::MAX);
    grid.row(["costs you".to_owned(), format!("{fees}, {}, of fees, whatever its size", usd(worth))]);
    let from = |cents: Option<u64>| cents.map_or("never".to_owned(), |cents| format!("from {}", usd(cents)));
    for one in &terms.earns {
        let days = count(one.days.into(), "day");
        grid.row([
            format!("earns in {days}"),
            match one.when_due_cents == one.at_once_cents {
                true => from(one.when_due_cents),
                false => {
                    format!(
                        "{} if repaid when due, {} however early",
                        from(one.when_due_cents),
                        from(one.at_once_cents)
                    )
                }
            },
        ]);
    }
    let mut text = format!("What a loan costs and earns at today's fees and price:\n{}", grid.text());
    if let (Some(loss), None) = (terms.smallest_loses_cents, policy.earning_min_sats) {
        text.push_str(&format!(
            "\nThe smallest loan it allows, {} for {}, is lent at a loss of {}.\nTo lend no such loan:\n\
             {again} policy set --earning-min 0\n",
            policy.principal_min,
            policy.days_min,
            usd(loss)
        ));
    }
    text
}

fn percent_text(bp: u64) -> String {
    BasisPoints(u32::try_from(bp).unwrap_or(u32::MAX)).to_string()
}

/// The corners of a line, in words.
fn rates(line: &[Point], at: impl Fn(u64) -> String) -> String {
    let rate = |bp: i32| format!("{}{}", if bp < 0 { "−" } else { "" }, BasisPoints(bp.unsigned_abs()));
    match line {
        [] => "nothing more".to_owned(),
        [only] => rate(only.bp),
        some => {
            some.iter().map(|point| format!("{} at {}", rate(point.bp), at(point.at))).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::EarnsFrom;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    fn set(args: &str) -> anyhow::Result<PolicyView> {
        let line = Line::try_parse_from(std::iter::once("set").chain(args.split_whitespace()))?;
        let full = line.set.changes.add_oracle.iter().map(|named| named.to_string().parse().unwrap());
        let added: Vec<XOnlyPublicKey> = full.collect();
        line.set.apply(PolicyView::default(), &added)
    }

    #[test]
    fn single_settings_change_and_the_others_stay() {
        let before = PolicyView::default();
        let after = set("--principal-max 50000 --ltv-max 45.5 --days-max 180 --approval manual").unwrap();
        assert_eq!(after.principal_max, Cents(5_000_000));
        assert_eq!(after.initial_ltv_max, BasisPoints(4_550));
        assert_eq!((after.days_max, after.approval), (Days(180), Approval::Manual));
        assert_eq!((after.principal_min, after.apr), (before.principal_min, before.apr));
    }

    #[test]
    fn what_a_loan_must_earn_is_set_in_sats_and_taken_off_by_a_word() {
        let set_min = |text: &str| set(&format!("--earning-min {text}")).unwrap().earning_min_sats;
        assert_eq!((set_min("0"), set_min("2000"), set_min("off")), (Some(0), Some(2_000), None));
        assert_eq!(set("--days-max 90").unwrap().earning_min_sats, None);
        let wrong = set("--earning-min some").unwrap_err().to_string();
        assert!(wrong.contains("whole sats, for example 2000, or off"), "{wrong}");
    }

    fn implying(loss: Option<u64>, price: Option<u64>) -> PolicyTerms {
        let mut terms: PolicyTerms = serde_json::from_value(serde_json::json!({
            "currency": "USD", "terms_version": 2, "apr_min_bp": 600, "apr_max_bp": 950,
            "minimum_interest_days_min": 1, "minimum_interest_days_max": 14, "warning_ltv_bp": 6_000,
            "call_ltv_bp": 6_600, "urgent_ltv_bp": 7_200, "liquidation_ltv_bp": 7_800, "cushion_bp": 500,
            "stake_sats": 1_000, "dust_sats": 1_000, "fee_rate_sat_per_vb": 25, "exit_fee_sats": 4_250,
            "collateral_min_sats": 425_000, "confirmations": 3, "confirmations_above_one_bitcoin": 6,
            "principal_within_bp": 50, "quote_seconds": 3_600, "approval_seconds": null, "coin_seconds": 1_800,
            "price_drift_bp": 50, "fallback_days": 30, "refund_days": 365,
        }))
        .unwrap();
        (terms.loan_fees_sats, terms.price_cents, terms.smallest_loses_cents) = (5_400, price, loss);
        let one = |days, when_due_cents, at_once_cents| EarnsFrom { days, when_due_cents, at_once_cents };
        terms.earns = vec![one(1, None, None), one(365, Some(10_000), Some(157_000))];
        terms
    }

    #[test]
    fn a_policy_says_what_a_loan_costs_from_when_it_earns_and_that_its_smallest_is_lent_at_a_loss() {
        let policy = PolicyView::default();
        let said = |policy: &PolicyView, terms: &PolicyTerms| {
            let text = earned(policy, terms, "hypothec");
            assert!(text.lines().take_while(|line| !line.is_empty()).all(|line| line.chars().count() <= 80), "{text}");
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let text = said(&policy, &implying(Some(538), Some(10_000_000)));
        for part in [
            "costs you 5,400 sat, $5.40, of fees, whatever its size",
            "earns in 1 day never",
            "earns in 365 days from $100.00 if repaid when due, from $1,570.00 however early",
            "The smallest loan it allows, $100.00 for 1 day, is lent at a loss of $5.38.",
            "hypothec policy set --earning-min 0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let on = PolicyView { earning_min_sats: Some(0), ..policy.clone() };
        assert!(!said(&on, &implying(Some(538), Some(10_000_000))).contains("at a loss"));
        assert!(!said(&policy, &implying(None, Some(10_000_000))).contains("at a loss"));
        assert!(said(&policy, &implying(None, None)).contains("not known now"));
        assert!(text.contains("whatever") && super::text(&on, "hypothec").contains("0 sat beyond its fees"));
    }

    #[test]
    fn rates_are_set_as_one_number_or_line_by_line() {
        let flat = set("--apr 8").unwrap().apr;
        assert_eq!(flat.apr(BasisPoints(4_000), Days(90), Cents(1_000_000)), BasisPoints(800));
        let lines = set("--apr-ltv 20=6,50=9.5 --apr-days 30=-0.5,90=0 --apr-amount none").unwrap().apr;
        assert_eq!(lines.days, [(30, -50), (90, 0)].map(Point::from));
        assert!(lines.amount.is_empty());
        assert!(set("--apr 8 --apr-days none").is_err());
    }

    #[test]
    fn oracles_are_added_once_and_removed_only_when_named() {
        let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let policy = set(&format!("--add-oracle {key} --add-oracle {key}")).unwrap();
        assert_eq!(policy.oracles.len(), 1);
        assert!(set(&format!("--remove-oracle {key}")).unwrap_err().to_string().contains("does not name it"));
    }

    #[test]
    fn nothing_to_change_and_what_makes_no_sense_is_said() {
        assert!(set("").unwrap_err().to_string().contains("nothing to change"));
        assert!(set("--principal-max lots").unwrap_err().to_string().contains("for example 50000"));
        assert!(set("--file a.json --apr 8").is_err());
    }
}
