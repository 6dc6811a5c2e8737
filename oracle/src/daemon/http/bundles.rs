//! Bundles: whole bands and days at once, and a band's whole year in one request.

use super::super::press::Press;
use super::paper::{has_already, sheet, stream, unchanged, weak_tag, Lasts};
use super::refusal::{bad_parameter, behind, internal, parse_day, Refusal};
use super::Counter;
use crate::bundle::{Bundle, Parts};
use crate::units::{Day, Time};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, RawPathParams, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use serde::Deserialize;
use std::sync::Arc;

/// An answer, or what is wrong with the question.
type Answer = Result<Response, Refusal>;

const FIXINGS: &str = "/v1/fixings/{day}";
const PAYMENT: &str = "/v1/payments/{id}/{day}";
const MONTH_OR_YEAR: &str = "/v1/bands/{band}/{month}";
const HOUR: &str = "/v1/bands/{band}/{day}/{hour}";

pub fn routes() -> Router<Counter> {
    Router::new()
        .route(FIXINGS, get(fixings))
        .route(PAYMENT, get(payment))
        .route(MONTH_OR_YEAR, get(month_or_year))
        .route(HOUR, get(hour))
}

/// What of a bundle is wanted.
#[derive(Deserialize)]
struct Wanted {
    only: Option<String>,
}

impl Wanted {
    fn parts(&self) -> Result<Parts, Refusal> {
        match self.only.as_deref() {
            None => Ok(Parts::Both),
            Some("announcements") => Ok(Parts::Announcements),
            Some("attestations") => Ok(Parts::Attestations),
            Some(_) => {
                Err(bad_parameter("the parameter only= may be left out, or be \"announcements\" or \"attestations\""))
            }
        }
    }
}

/// Which pages a request asks for, of those routes that answer with pages; `None` for all others, and for what is refused.
pub fn asked(route: &str, path: &RawPathParams, uri: &Uri) -> Option<(Vec<Bundle>, Parts)> {
    let segments: Vec<&str> = path.iter().map(|(_, segment)| segment).collect();
    let bundles = match (route, segments.as_slice()) {
        (FIXINGS, [day]) => vec![Bundle::Fixings { day: Day::from_yyyymmdd(day)? }],
        (PAYMENT, [id, day]) => vec![Bundle::parse_payment(id, day)?],
        (MONTH_OR_YEAR, [band, period]) => match Bundle::parse_year(band, period) {
            Some(months) => months,
            None => vec![Bundle::parse_month(band, period)?],
        },
        (HOUR, [band, day, hour]) => vec![Bundle::parse_hour(band, day, hour)?],
        _ => return None,
    };
    let Query(wanted) = Query::<Wanted>::try_from_uri(uri).ok()?;
    Some((bundles, wanted.parts().ok()?))
}

async fn fixings(
    State(counter): State<Counter>,
    Path(day): Path<String>,
    Query(wanted): Query<Wanted>,
    asked: HeaderMap,
) -> Answer {
    let bundle = Bundle::Fixings { day: parse_day(&day)? };
    page(&counter, bundle, wanted.parts()?, &asked).await
}

/// What may be said of one payment. Whoever knows its id may ask; nothing lists them.
async fn payment(
    State(counter): State<Counter>,
    Path((id, day)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    asked: HeaderMap,
) -> Answer {
    let bundle = Bundle::parse_payment(&id, &day).ok_or_else(|| no_bundle(&format!("{id}/{day}")))?;
    page(&counter, bundle, wanted.parts()?, &asked).await
}

async fn month_or_year(
    State(counter): State<Counter>,
    Path((band, period)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
    asked: HeaderMap,
) -> Answer {
    if let Some(months) = Bundle::parse_year(&band, &period) {
        return year(&counter, months, wanted.parts()?, &asked).await;
    }
    let bundle = Bundle::parse_month(&band, &period).ok_or_else(|| no_bundle(&format!("{band}/{period}")))?;
    page(&counter, bundle, wanted.parts()?, &asked).await
}

async fn hour(
    State(counter): State<Counter>,
    Path((band, day, hour)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
    asked: HeaderMap,
) -> Answer {
    let bundle = Bundle::parse_hour(&band, &day, &hour).ok_or_else(|| no_bundle(&format!("{band}/{day}/{hour}")))?;
    page(&counter, bundle, wanted.parts()?, &asked).await
}

async fn page(counter: &Counter, bundle: Bundle, parts: Parts, asked: &HeaderMap) -> Answer {
    // Read before the page is made: what was final then is final in the page.
    let lasts = lasting(parts, bundle, frozen_until(&counter.press));
    let page = counter.press.page(bundle, parts).await.map_err(|error| internal(&error))?;
    Ok(sheet(asked, lasts, page))
}

fn frozen_until(press: &Press) -> Time {
    press.window().look().ledger.frozen_until()
}

fn lasting(parts: Parts, bundle: Bundle, frozen_until: Time) -> Lasts {
    if let Bundle::Payment { .. } = bundle {
        // Nobody but its operator knows when the last word on a payment is said.
        return Lasts::once(parts == Parts::Announcements);
    }
    Lasts::once(parts == Parts::Announcements || bundle.final_at().is_some_and(|end| frozen_until >= end))
}

/// Twelve lines, each the page of a month, made one after the other while they are sent: neither side ever holds more
/// than a month.
async fn year(counter: &Counter, months: Vec<Bundle>, parts: Parts, asked: &HeaderMap) -> Answer {
    let (Some(first), Some(last)) = (months.first(), months.last()) else { return Err(no_bundle("year")) };
    // An event beyond the end of time must be a refusal, not an answer that breaks off.
    if let Some(event) = last.events().last().copied() {
        behind(&counter.press, move |press| press.announcement(event)).await?;
    }
    let lasts = lasting(parts, *last, frozen_until(&counter.press));
    let tag = weak_tag(&[
        &counter.info.pubkey.serialize(),
        first.to_string().as_bytes(),
        format!("{parts:?}").as_bytes(),
        &attested(&counter.press, &months),
    ]);
    if has_already(asked, &tag) {
        return Ok(unchanged(lasts, &tag));
    }
    let press = Arc::clone(&counter.press);
    let lines = futures_util::stream::unfold(months.into_iter(), move |mut left| {
        let press = Arc::clone(&press);
        async move {
            let line = line(&press, left.next()?, parts).await;
            Some((line, left))
        }
    });
    Ok(stream(lasts, "application/x-ndjson", &tag, Body::from_stream(lines)))
}

async fn line(press: &Arc<Press>, month: Bundle, parts: Parts) -> Result<Bytes, std::io::Error> {
    press.page(month, parts).await.map(|page| page.text).map_err(|error| {
        tracing::error!("a year broke off at {month}: {error:#}");
        std::io::Error::other("the oracle could not make this page")
    })
}

/// What decides which of their touches are attested: every day's least low.
fn attested(press: &Press, months: &[Bundle]) -> Vec<u8> {
    let shown = press.window().look();
    let days = months.iter().flat_map(|month| month.days());
    days.flat_map(|day| shown.ledger.least(day).unwrap_or_default().0.to_be_bytes()).collect()
}

fn no_bundle(asked: &str) -> Refusal {
    let asked: String = asked.chars().take(40).collect();
    let message = format!("there is no bundle {asked:?}; they look like 21/2020, 21/202003 and 21/20200312/h09");
    Refusal(StatusCode::NOT_FOUND, "unknown_bundle", message)
}
