//! For machines that watch the oracle: is it alive, is it ready, what has it counted.

use super::super::desk::{frozen_ahead, Shown};
use super::super::signer::Away;
use super::super::statements;
use super::meters::Failing;
use super::paper::{json, paper, Lasts};
use super::refusal::{internal, Refusal};
use super::Counter;
use crate::room::Room;
use crate::units::{Time, HOUR};
use crate::wire::Status;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::Router;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds after which a price is no price any more.
pub const STALE: u32 = 60;
/// Seconds after its end at which an hour must be frozen: the two minutes of grace and one of slack.
const FREEZES_WITHIN: u32 = 180;
/// A desk that has not looked for so long has died or hangs. Real time.
const HEARTBEAT: Duration = Duration::from_secs(30);

pub fn routes() -> Router<Counter> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// Is there anything that this oracle is waiting for?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// A fresh price, and a ledger that has caught up with the clock.
    pub ready: bool,
    /// What is missing, one sentence each.
    pub missing: Vec<String>,
}

impl Readiness {
    /// The same, when the signer may be away.
    #[must_use]
    pub fn with(mut self, signer: Option<Away>) -> Readiness {
        self.missing.extend(signer.map(|away| away.to_string()));
        self.ready = self.missing.is_empty();
        self
    }

    /// The same, when the disk may lack the room to write what is said.
    #[must_use]
    pub fn with_room(mut self, room: Option<Room>) -> Readiness {
        if let Some(Room::Short(free)) = room {
            self.missing
                .push(format!("{free} are free on its disk: an oracle that cannot write says nothing more; make room"));
        }
        self.ready = self.missing.is_empty();
        self
    }
}

/// What [`Shown`] says about readiness at `now`.
pub fn readiness(shown: &Shown, now: Option<Time>) -> Readiness {
    let mut missing = Vec::new();
    if shown.looked.is_none_or(|looked| looked.elapsed() > HEARTBEAT) {
        missing.push("nobody looks at the feed".to_string());
    }
    match now {
        None => missing.push("the clock cannot be read".to_string()),
        Some(now) => {
            if shown.spot.is_none() {
                missing.push("the feed has no price".to_string());
            }
            missing.extend(shown.clock_doubt.clone());
            missing.extend(frozen_ahead(shown.ledger.frozen_until(), now));
            let lag = now.since(shown.clock);
            if lag > STALE {
                missing.push(format!("the ledger is {lag} s behind the clock; {STALE} s are allowed"));
            }
            let due = Time(now.0.saturating_sub(FREEZES_WITHIN)).hour_floor();
            if shown.ledger.frozen_until() < due && due.0 >= HOUR {
                missing.push(format!("hours up to {due} should be frozen"));
            }
        }
    }
    Readiness { ready: missing.is_empty(), missing }
}

/// How far the oracle has come, and whether its signer is away.
pub fn status_of(shown: &Shown, signer: Option<Away>) -> Status {
    let (lows, fixings) = shown.ledger.counts();
    Status {
        clock: shown.clock,
        frozen_until: shown.ledger.frozen_until(),
        spot_cents: shown.spot,
        lows,
        fixings,
        alarm: with_signer(shown.alarm.as_deref(), signer),
        clock_ahead: shown.clock_ahead,
    }
}

/// Everything an operator must look at, in one text; `None` when there is nothing.
pub fn with_signer(alarm: Option<&str>, signer: Option<Away>) -> Option<String> {
    let signer = signer.map(|away| away.to_string());
    let all: Vec<&str> = signer.as_deref().into_iter().chain(alarm.filter(|alarm| !alarm.is_empty())).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// 200 while the process does its work; a supervisor may restart it otherwise.
async fn healthz(State(counter): State<Counter>) -> Response {
    let looked = counter.press.window().look().looked;
    if looked.is_some_and(|looked| looked.elapsed() <= HEARTBEAT) {
        return "ok\n".into_response();
    }
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "nobody looks at the feed".to_string()).into_response()
}

/// 200 when it may be asked, 503 and why when a balancer should choose another.
async fn readyz(State(counter): State<Counter>, asked: HeaderMap) -> Result<Response, Refusal> {
    let now = counter.clock.now().ok();
    let readiness = readiness(&counter.press.window().look(), now).with(counter.press.keys().away());
    let mut response = json(&asked, Lasts::Now, &readiness)?;
    if !readiness.ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

async fn metrics(State(counter): State<Counter>, asked: HeaderMap) -> Result<Response, Refusal> {
    let now = counter.clock.now().ok();
    let followers = super::counter::FOLLOWERS.saturating_sub(counter.seats.available_permits());
    let away = counter.press.keys().away();
    let (data, key) = (counter.data.clone(), counter.info.pubkey);
    let wrong = tokio::task::spawn_blocking(move || statements::wrong(&data, &key)).await;
    let wrong = wrong.map_err(|error| internal(&error.into()))?.len();
    let text = {
        let shown = counter.press.window().look();
        counter.meters.relays(&counter.relays.look(), shown.ledger.frozen_until());
        counter.meters.text(&shown, now, followers, Failing { signer: away, statements: wrong })
    };
    let text = text.map_err(|error| internal(&error))?;
    Ok(paper(&asked, Lasts::Now, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::super::ledger::{Ledger, Record};
    use super::super::super::signer::Why;
    use super::*;
    use crate::units::Cents;
    use std::time::Instant;

    fn shown() -> Shown {
        let mut ledger = Ledger::default();
        ledger.apply(Record::Frozen { until: Time(10 * HOUR) }).unwrap();
        let (clock, spot) = (Time(10 * HOUR + 300), Some(Cents(800_000)));
        Shown { ledger, clock, spot, looked: Some(Instant::now()), ..Shown::default() }
    }

    #[test]
    fn an_oracle_whose_disk_is_full_is_not_in_order_and_one_whose_disk_is_only_low_is() {
        let ready = Readiness { ready: true, missing: Vec::new() };
        for room in [None, Some(Room::of(1 << 40)), Some(Room::of(crate::room::LOW - 1))] {
            assert_eq!(ready.clone().with_room(room), ready);
        }
        let full = ready.with_room(Some(Room::of(0)));
        assert!(!full.ready && full.missing[0].starts_with("0 bytes are free on its disk"), "{full:?}");
    }

    #[test]
    fn an_oracle_is_ready_with_a_fresh_price_and_a_ledger_that_keeps_up_and_only_then() {
        let at = |seconds| Some(Time(10 * HOUR + seconds));
        assert_eq!(readiness(&shown(), at(300)), Readiness { ready: true, missing: vec![] });
        assert!(readiness(&shown(), at(360)).ready);
        let missing = |shown: &Shown, now| readiness(shown, now).missing.join("; ");
        assert!(missing(&shown(), at(361)).contains("61 s behind"));
        assert!(missing(&Shown { spot: None, ..shown() }, at(300)).contains("no price"));
        assert!(missing(&Shown { looked: None, ..shown() }, at(300)).contains("nobody looks"));
        assert!(missing(&shown(), None).contains("clock"));
        let doubted = Shown { clock_doubt: Some("the clock is not vouched for".into()), ..shown() };
        assert!(missing(&doubted, at(300)).contains("not vouched for"));
        let ahead = Some(Time(9 * HOUR - 1));
        assert!(missing(&shown(), ahead).contains("everything up to"), "{}", missing(&shown(), ahead));
        assert!(readiness(&shown(), Some(Time(9 * HOUR))).ready, "an hour may be a replica's clock");
        let away = Away { since: Time(10 * HOUR), seconds: 300, why: Why::Hangs };
        let told = readiness(&shown(), at(300)).with(Some(away));
        assert!(!told.ready && told.missing[0].contains("does not answer since 1970-01-01T10:00:00Z"), "{told:?}");
        assert_eq!(readiness(&shown(), at(300)).with(None), readiness(&shown(), at(300)));
        let status = status_of(&Shown { alarm: Some("one thing".into()), ..shown() }, Some(away));
        assert_eq!(status.alarm.unwrap(), format!("{away}; one thing"));
        assert_eq!(status_of(&shown(), None).alarm, None);
        let late = Shown { clock: Time(11 * HOUR + 200), ..shown() };
        assert!(missing(&late, Some(late.clock)).contains("should be frozen"));
    }
}
