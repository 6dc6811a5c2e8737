//! The routes of the p2pderivatives oracle, for the clients that were written for it: fixings by asset and time.

use super::paper::{json, Lasts};
use super::refusal::{behind, not_attested, Refusal};
use super::Counter;
use crate::event::Event;
use crate::units::{Time, HOUR};
use crate::wire::{AssetAttestation, OraclePublicKey};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

/// The one asset: the first six letters of a fixing's id.
const ASSET: &str = "btcusd";

/// An answer, or what is wrong with the question.
type Answer = Result<Response, Refusal>;

pub fn routes() -> Router<Counter> {
    Router::new()
        .route("/oracle/publickey", get(public_key))
        .route("/asset/{asset}/announcement/{time}", get(announcement))
        .route("/asset/{asset}/attestation/{time}", get(attestation))
}

async fn public_key(State(counter): State<Counter>, asked: HeaderMap) -> Answer {
    json(&asked, Lasts::Minute, &OraclePublicKey { public_key: counter.info.pubkey })
}

async fn announcement(State(counter): State<Counter>, path: Path<(String, String)>, asked: HeaderMap) -> Answer {
    let event = fixing(&path)?;
    let proven = behind(&counter.press, move |press| press.announcement(event)).await?;
    json(&asked, Lasts::Forever, &proven.announcement)
}

async fn attestation(State(counter): State<Counter>, path: Path<(String, String)>, asked: HeaderMap) -> Answer {
    let event = fixing(&path)?;
    let said = behind(&counter.press, move |press| press.attestation(event)).await?;
    let said = said.ok_or_else(|| not_attested(event))?;
    json(&asked, Lasts::Forever, &AssetAttestation::from(said))
}

fn fixing((asset, time): &(String, String)) -> Result<Event, Refusal> {
    let read = || {
        let moment = OffsetDateTime::parse(time, &Rfc3339).ok().filter(|_| asset == ASSET && time.ends_with('Z'))?;
        let at = Time(u32::try_from(moment.unix_timestamp()).ok()?);
        (at.0.is_multiple_of(HOUR) && moment.nanosecond() == 0).then_some(Event::Fixing { at })
    };
    read().ok_or_else(|| {
        let message =
            "the asset must be btcusd and the time a full hour, as in /asset/btcusd/announcement/2020-03-12T10:00:00Z";
        Refusal(StatusCode::NOT_FOUND, "unknown_event", message.to_string())
    })
}
