//! `hypothec requests`, `approve` and `decline`: lending by hand.

use super::amount::short;
use super::confirm::{consequence, Sure};
use super::line::Place;
use super::out::{both, count, moment, sats, usd, Grid};
use super::show;
use super::which::Which;
use crate::api::views::{DeclineRequest, LoanView, PreviewRequest, RequestView};
use crate::loan::units::{BasisPoints, SATS_PER_BTC};
use clap::Args;

const REQUESTS: &str = "/v1/requests";

/// Who waits for your word before this node lends to them
///
/// With `policy set --approval manual` a quote that a borrower takes waits here. Its coins are set aside until you say
/// yes or no, or until the time shown: then it is told that nobody decided.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hypothec requests\n  hypothec requests --json | jq -r '.[].loan_id'")]
pub(super) struct Requests {}

/// Lend what a borrower asks for
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hypothec approve 1a2b\n  hypothec approve 1a2b --yes       without asking, for programs"
)]
pub(super) struct Approve {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    sure: Sure,
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
        let (client, loan_id) = (place.client()?, self.which.find_request(place).await?);
        let would = PreviewRequest::Approve { loan_id };
        self.sure.ask(&client, &would, |view| consequence::of_approving(loan_id, view)).await?;
        let loan: LoanView = client.act(&format!("{REQUESTS}/{loan_id}/approve")).await?;
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
    let all: Vec<String> = requests.iter().map(facts).collect();
    let first = requests.first().map(|request| short(&request.loan_id.to_string())).unwrap_or_default();
    let next = format!("{again} approve {first}\n      {again} decline {first} --reason TEXT");
    format!("{}\nNext: {next}", all.join("\n"))
}

/// One request, waiting or over.
pub(super) fn one(request: &RequestView, again: &str) -> String {
    let id = short(&request.loan_id.to_string());
    let next = match request.ended {
        Some(_) => String::new(),
        None => format!("\nNext: {again} approve {id}\n      {again} decline {id} --reason TEXT"),
    };
    format!("{}{next}", facts(request))
}

/// Who asks, for what, and until when.
fn facts(request: &RequestView) -> String {
    let mut grid = Grid::plain();
    let mut row = |name: &str, value: String| grid.row([name.to_owned(), value]);
    row("request", short(&request.loan_id.to_string()));
    row("borrower", who(request));
    row("", known(request));
    row("lend", format!("{}, worth {}", both(request.principal_sats), usd(request.principal_cents)));
    row("against", format!("{}, {} loan to value", both(request.collateral_sats), BasisPoints(request.ltv_bp)));
    row("for", format!("{} at {} a year", count(request.days.into(), "day"), BasisPoints(request.apr_bp)));
    let earns = |cents| earned(cents, fees_ceil(request));
    let (due, least) = (earns(request.earns_cents), earns(request.earns_at_least_cents));
    row(
        "you earn",
        match due == least {
            true => format!("{due} however early it is repaid"),
            false => format!("{due} if repaid when due; {least} at least"),
        },
    );
    if request.fees_sats > 0 {
        row("", format!("{}, {}, are taken off for fees", sats(request.fees_sats), usd(fees_ceil(request))));
    }
    row("waits", format!("since {}, to {} at most", moment(request.at), moment(request.until)));
    if let Some(note) = request.price_note.as_ref().filter(|_| request.ended.is_none()) {
        row("not now", format!("{note}; it can be approved once the price is back"));
    }
    if let Some(end) = &request.ended {
        row("stands", format!("over since {}: {}", moment(end.at), end.text));
    }
    grid.text()
}

/// The lender's fees in cents at the request's price, rounded up.
fn fees_ceil(request: &RequestView) -> u64 {
    let worth = u128::from(request.fees_sats) * u128::from(request.reference_price_cents);
    u64::try_from(worth.div_ceil(u128::from(SATS_PER_BTC))).unwrap_or(u64::MAX)
}

/// Interest less fees, which may be more.
fn earned(interest: u64, fees: u64) -> String {
    match interest.checked_sub(fees) {
        Some(left) => usd(left),
        None => format!("−{}, a loss,", usd(fees.saturating_sub(interest))),
    }
}

/// The key, where it is dialled, and whether it is there.
fn who(request: &RequestView) -> String {
    let key = short(&request.peer.to_string());
    let place = request.address.as_ref().and_then(|address| address.split_once('@')).map(|(_, place)| place);
    let place = place.map_or("which dials this node".to_owned(), |place| format!("at {place}"));
    format!("{key}, {place}, {}", if request.connected { "connected" } else { "not connected now" })
}

fn known(request: &RequestView) -> String {
    match request.loans_with_it {
        0 => "no loan with it was ever signed here".to_owned(),
        loans => format!("{} with it signed here before", count(loans.into(), "loan")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::RequestEnd;

    fn request() -> RequestView {
        serde_json::from_value(serde_json::json!({
            "loan_id": "d01e2a315845071bc3e09e7e57cccdeba8a9df02f70b676ca2e14789bfd8f2d0",
            "peer": "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "principal_sats": 37_500_000, "principal_cents": 10_000_000, "collateral_sats": 2_100_000_000u64,
            "reference_price_cents": 800_000, "ltv_bp": 3_750, "apr_bp": 1_050, "days": 365,
            "earns_cents": 1_050_000, "earns_at_least_cents": 40_274, "at": 1_584_007_200, "until": 1_584_009_000,
        }))
        .unwrap()
    }

    #[test]
    fn a_request_whose_price_has_moved_says_that_it_cannot_be_approved_now() {
        let note = "the price is $8,100.00, more than 0.5 % from the quote's $8,000.00";
        let moved = RequestView { price_note: Some(note.into()), ..request() };
        let text = one(&moved, "hypothec").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("not now {note}; it can be approved once the price is back")), "{text}");
        assert!(!one(&request(), "hypothec").contains("not now"));
    }

    #[test]
    fn each_request_says_who_asks_for_what_until_when_and_what_it_brings() {
        let text = list(&[request()], "hypothec");
        for part in [
            "d01e2a31…f2d0",
            "0279be66…1798, which dials this node, not connected now",
            "no loan with it was ever signed here",
            "$100,000.00",
            "37.5 % loan to value",
            "365 days at 10.5 % a year",
            "$10,500.00 if repaid when due; $402.74 at least",
            "2020-03-12 10:30",
            "hypothec approve d01e2a31…f2d0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(list(&[], "hypothec").starts_with("Nobody waits"));
        let address = Some(format!("{}@[2001:db8:85a3:8d3:1319:8a2e:370:7348]:9810", request().peer));
        let known = RequestView { address, connected: true, loans_with_it: 2, ..request() };
        let text = one(&known, "hypothec");
        assert!(text.contains("at [2001:db8:") && text.contains("2 loans with it signed here before"), "{text}");
        assert!(text.contains("connected") && !text.contains("not connected"), "{text}");
    }

    #[test]
    fn what_a_request_brings_is_said_without_its_fees_and_a_loss_as_one() {
        let text = one(&RequestView { fees_sats: 6_133, ..request() }, "hypothec");
        assert!(text.contains("$10,499.50 if repaid when due; $402.24 at least"), "{text}");
        assert!(text.contains("6,133 sat, $0.50, are taken off for fees"), "{text}");
        let short =
            one(&RequestView { fees_sats: 6_133, earns_cents: 13, earns_at_least_cents: 13, ..request() }, "hypothec");
        assert!(short.contains("−$0.37, a loss, however early it is repaid") && !short.contains("at least"), "{short}");
        assert_eq!((earned(5, 5), earned(5, 8)), ("$0.00".into(), "−$0.03, a loss,".into()));
    }

    #[test]
    fn a_request_that_is_over_says_why_and_asks_for_nothing() {
        let end =
            RequestEnd { at: 1_584_007_980, event: "request_declined".into(), text: "declined by hand: no".into() };
        let text = one(&RequestView { ended: Some(end), ..request() }, "hypothec");
        assert!(text.contains("over since 2020-03-12 10:13 UTC: declined by hand: no"), "{text}");
        assert!(!text.contains("approve"), "{text}");
    }
}
