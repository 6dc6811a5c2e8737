//! `hypothec requests`, `approve` and `decline`: lending by hand.

use super::amount::short;
use super::line::Place;
use super::out::{count, moment, sats, usd, Grid};
use super::show;
use super::which::Which;
use crate::api::views::{DeclineRequest, LoanView, RequestView};
use crate::loan::units::BasisPoints;
use clap::Args;

const REQUESTS: &str = "/v1/requests";

/// Who waits for your word before this node lends to them
///
/// With `policy set --approval manual` a quote that a borrower takes waits here. Its coins are set aside until you say
/// yes or no, or until the time shown: then it is told that nobody decided.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:\n  hypothec requests\n  hypothec requests --json | jq -r '.[].loan_id'"
)]
pub(super) struct Requests {}

/// Lend what a borrower asks for
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hypothec approve 1a2b")]
pub(super) struct Approve {
    #[command(flatten)]
    which: Which,
}

/// Do not lend it; the borrower is told, and its coins are free
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec decline 1a2b\n  hypothec decline 1a2b --reason 'no more this week'")]
pub(super) struct Decline {
    #[command(flatten)]
    which: Which,
    /// What the borrower is told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Requests {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let requests: Vec<RequestView> = place.client()?.get(REQUESTS).await?;
        place.out().say(&requests, |requests| list(requests, &place.again()))
    }
}

impl Approve {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let id = self.which.find_request(place).await?;
        let loan: LoanView = place.client()?.act(&format!("{REQUESTS}/{id}/approve")).await?;
        let done = "Approved; the borrower is told, and this node prepares its coin.";
        place.out().say(&loan, |loan| format!("{done}\n\n{}", show::loan(loan, &place.again())))
    }
}

impl Decline {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let id = self.which.find_request(place).await?;
        let path = format!("{REQUESTS}/{id}/decline");
        let request: RequestView = place.client()?.post(&path, &DeclineRequest { reason: self.reason }).await?;
        place.out().say(&request, |_| {
            format!("Declined; the borrower is told, and its coins are free.\n\nNext: {} requests", place.again())
        })
    }
}

fn list(requests: &[RequestView], again: &str) -> String {
    if requests.is_empty() {
        return format!("Nobody waits for your word.\n\nNext: {again} policy show");
    }
    let mut grid = Grid::new(["request", "lend", "against", "ltv", "rate", "term", "until, utc"]);
    for request in requests {
        grid.row([
            short(&request.loan_id.to_string()),
            usd(request.principal_cents),
            sats(request.collateral_sats),
            BasisPoints(request.ltv_bp).to_string(),
            BasisPoints(request.apr_bp).to_string(),
            count(request.days.into(), "day"),
            moment(request.until).chars().skip(11).take(5).collect(),
        ]);
    }
    let first = requests.first().map(|request| short(&request.loan_id.to_string())).unwrap_or_default();
    let next = format!("{again} approve {first}\n      {again} decline {first} --reason TEXT");
    format!("{}\nNext: {next}", grid.right(&[1, 2, 3, 4]).text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_a_line_of_at_most_eighty_columns_with_its_end() {
        let request = serde_json::from_value::<RequestView>(serde_json::json!({
            "loan_id": "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0",
            "peer": "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "principal_sats": 37_500_000, "principal_cents": 10_000_000, "collateral_sats": 2_100_000_000u64,
            "reference_price_cents": 800_000, "ltv_bp": 3_750, "apr_bp": 1_050, "days": 365,
            "at": 1_584_007_200, "until": 1_584_009_000,
        }))
        .unwrap();
        let text = list(&[request], "hypothec");
        assert!(text.contains("d01e2a31…f2d0") && text.contains(" 10:30\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(list(&[], "hypothec").starts_with("Nobody waits"));
    }
}
