//! What is counted, in the text that Prometheus reads.
//!
//! Labels are few by construction: routes as they are written in the program, never as they were asked for.

use super::super::desk::Shown;
use super::super::nostr::RelayState;
use super::super::signer::Away;
use crate::event::Event;
use crate::screen;
use crate::units::Time;
use prometheus_client::encoding::{text::encode, EncodeLabelSet};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct At {
    venue: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct To {
    relay: String,
}

/// Everything that is counted.
pub struct Meters {
    requests: Family<Asked, Counter>,
    refused: Family<Kind, Counter>,
    attestations: Family<Kind, Counter>,
    connections: Gauge,
    shown: Mutex<ShownMeters>,
}

/// What fails beside the desk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failing {
    /// The signer does not answer.
    pub signer: Option<Away>,
    /// So much is wrong with the operator's statements.
    pub statements: usize,
}

/// What is read off the desk whenever somebody asks.
struct ShownMeters {
    registry: Registry,
    venues: Gauge,
    quorum: Gauge,
    healthy: Gauge,
    absent: Gauge,
    venue_used: Family<At, Gauge>,
    venue_absent: Family<At, Gauge>,
    median: Gauge,
    spread: Gauge,
    ticks: Counter,
    hours_missed: Counter,
    fixings_missed: Counter,
    clock_believed: Gauge,
    lows: Gauge,
    fixings: Gauge,
    lag: Gauge,
    frozen_until: Gauge,
    clock: Gauge,
    trouble: Gauge,
    heads_waiting: Gauge,
    signer_away: Gauge,
    statements_wrong: Gauge,
    followers: Gauge,
    clock_ahead: Gauge,
    log_left_out: Counter,
    relays: RelayMeters,
}

/// What is read off the publisher's board.
#[derive(Default)]
struct RelayMeters {
    connected: Family<To, Gauge>,
    lag: Family<To, Gauge>,
    last_ok: Family<To, Gauge>,
    notes: Family<To, Counter>,
    too_old: Family<To, Counter>,
}

impl RelayMeters {
    fn register(&self, registry: &mut Registry) {
        registry.register("relay_connected", "1 while there is a connection to the relay", self.connected.clone());
        registry.register("relay_notes", "Notes that the relay took, since start", self.notes.clone());
        let help = "Notes passed over, since start: the relay takes none of so long ago";
        registry.register("relay_notes_too_old", help, self.too_old.clone());
        let mut seconds = |name: &str, help: &str, of: &Family<To, Gauge>| {
            registry.register_with_unit(name, help, Unit::Seconds, of.clone())
        };
        seconds("relay_lag", "How far what the relay has is behind what is final", &self.lag);
        seconds("relay_last_ok", "When the relay last took a note, unix time; -1 when it never did", &self.last_ok);
    }

    fn read(&self, shown: &BTreeMap<String, RelayState>, frozen_until: Time) {
        for (url, state) in shown {
            let to = To { relay: url.clone() };
            self.connected.get_or_create(&to).set(i64::from(state.connected));
            self.lag.get_or_create(&to).set(i64::from(frozen_until.since(state.done)));
            self.last_ok.get_or_create(&to).set(state.last_ok.map_or(-1, |at| i64::from(at.0)));
            self.notes.get_or_create(&to).inner().store(state.taken, Ordering::Relaxed);
            self.too_old.get_or_create(&to).inner().store(state.too_old, Ordering::Relaxed);
        }
    }
}

impl Default for Meters {
    fn default() -> Meters {
        Meters::new()
    }
}

impl Meters {
    /// Nothing counted yet.
    pub fn new() -> Meters {
        let mut shown = ShownMeters::new();
        let (requests, refused, attestations) = (
            Family::<Asked, Counter>::default(),
            Family::<Kind, Counter>::default(),
            Family::<Kind, Counter>::default(),
        );
        let connections = Gauge::default();
        let registry = &mut shown.registry;
        registry.register("requests", "Requests answered, by route and HTTP status", requests.clone());
        registry.register("refused", "Connections and requests turned away, by the limit they met", refused.clone());
        registry.register(
            "attestations",
            "Attestations signed ahead since start: fixings and h00 touches",
            attestations.clone(),
        );
        registry.register("connections", "Open connections of the public listener", connections.clone());
        Meters { requests, refused, attestations, connections, shown: Mutex::new(shown) }
    }

    /// A request was answered. `route` as the program writes it.
    pub fn answered(&self, route: &str, status: u16) {
        self.requests.get_or_create(&Asked { route: route.to_owned(), status }).inc();
    }

    /// Somebody was turned away.
    pub fn refused(&self, kind: &'static str) {
        self.refused.get_or_create(&Kind { kind }).inc();
    }

    /// An event was attested.
    pub fn attested(&self, event: Event) {
        let kind = match event {
            Event::Fixing { .. } => "fixing",
            Event::Touch { .. } => "touch",
            Event::Payment { .. } => "payment",
        };
        self.attestations.get_or_create(&Kind { kind }).inc();
    }

    /// So many connections are open.
    pub fn connections(&self, open: usize) {
        self.connections.set(whole(open));
    }

    /// How the relays are doing, where everything up to `frozen_until` is final.
    pub fn relays(&self, shown: &BTreeMap<String, RelayState>, frozen_until: Time) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).relays.read(shown, frozen_until);
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// When it cannot be written, which does not happen.
    pub fn text(&self, shown: &Shown, now: Option<Time>, followers: usize, failing: Failing) -> anyhow::Result<String> {
        let meters = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        meters.read(shown, now, followers);
        meters.log_left_out.inner().store(screen::left_out(), Ordering::Relaxed);
        meters.signer_away.set(failing.signer.map_or(0, |away| whole(away.seconds.max(1))));
        meters.statements_wrong.set(whole(failing.statements));
        let fails = failing.signer.is_some() || failing.statements > 0 || !shown.complaint.is_empty();
        meters.trouble.set(i64::from(fails));
        let mut text = String::new();
        encode(&mut text, &meters.registry)?;
        Ok(text)
    }
}

impl ShownMeters {
    fn new() -> ShownMeters {
        let mut registry = Registry::with_prefix("hypothec_oracle");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let venues = gauge("venues", "Venues configured");
        let quorum = gauge("venues_needed", "Venues that a price needs");
        let healthy = gauge("venues_healthy", "Venues that count for the price now");
        let absent =
            gauge("venues_absent", "Venues that counted in fewer than half of the ticks of the last five minutes");
        let median = gauge("median_cents", "The price now, US cents per bitcoin; -1 when there is none");
        let spread = gauge("spread_basis_points", "How far apart the venues that count are; -1 when that is unknown");
        let lows = gauge("lows", "Hours with a low");
        let fixings = gauge("fixings", "Fixings said");
        let followers = gauge("event_followers", "Followers of the stream of events");
        let trouble = gauge("trouble", "1 while clock, feed or signer fails, or an operator's statement is wrong");
        let statements_wrong =
            gauge("statements_wrong", "What is wrong with rotation.json and same-operator.json, which is not served");
        let clock_believed = gauge("clock_believed", "1 while the clock is vouched for; 0 while nothing is said by it");
        let heads_waiting = gauge("heads_waiting", "Hours of the tick log that are over and wait for the signer");
        let mut seconds = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
            gauge
        };
        let lag = seconds("lag", "How far the ledger is behind the clock; -1 when the clock cannot be read");
        let frozen_until = seconds("frozen_until", "Everything up to this unix time is final");
        let signer_away =
            seconds("signer_away", "Since when the signer does not answer; 0 while it does, or without one");
        let clock = seconds("clock", "Everything up to this unix time is in the ledger");
        let clock_ahead = seconds(
            "clock_ahead_of_database",
            "How far the clock here is ahead of the shared ledger's; 0 where they are not compared",
        );
        let (venue_used, ticks) = (Family::<At, Gauge>::default(), Counter::default());
        registry.register("venue_used", "1 when the venue counts for the price now", venue_used.clone());
        let venue_absent = Family::<At, Gauge>::default();
        let help = "1 when the venue counted in fewer than half of the ticks of the last five minutes";
        registry.register("venue_absent", help, venue_absent.clone());
        let relays = RelayMeters::default();
        relays.register(&mut registry);
        let help = "Ticks of the live feed's log; of a test feed, looks that had a price since start";
        registry.register("ticks", help, ticks.clone());
        let (hours_missed, fixings_missed) = (Counter::default(), Counter::default());
        registry.register("hours_missed", "Hours that became final without a low, since start", hours_missed.clone());
        registry.register("fixings_missed", "Fixings not said in time, since start", fixings_missed.clone());
        let log_left_out = Counter::default();
        let help = "Lines of the log left out because nobody read it or it could not be written, since start";
        registry.register("log_lines_left_out", help, log_left_out.clone());
        ShownMeters {
            registry,
            venues,
            quorum,
            healthy,
            absent,
            venue_used,
            venue_absent,
            median,
            spread,
            ticks,
            hours_missed,
            fixings_missed,
            clock_believed,
            lows,
            fixings,
            lag,
            frozen_until,
            clock,
            trouble,
            heads_waiting,
            signer_away,
            statements_wrong,
            followers,
            relays,
            clock_ahead,
            log_left_out,
        }
    }

    fn read(&self, shown: &Shown, now: Option<Time>, followers: usize) {
        let (lows, fixings) = shown.ledger.counts();
        self.venues.set(whole(shown.venues.list.len()));
        self.quorum.set(whole(shown.venues.quorum));
        self.healthy.set(whole(shown.venues.healthy()));
        for venue in &shown.venues.list {
            let at = At { venue: venue.name.clone() };
            self.venue_used.get_or_create(&at).set(i64::from(venue.used));
            self.venue_absent.get_or_create(&at).set(i64::from(venue.absent.is_some()));
        }
        self.absent.set(whole(shown.venues.list.iter().filter(|venue| venue.absent.is_some()).count()));
        self.median.set(shown.spot.map_or(-1, |spot| whole(spot.0)));
        self.spread.set(shown.venues.spread_bps().map_or(-1, whole));
        self.ticks.inner().store(shown.ticks, Ordering::Relaxed);
        self.hours_missed.inner().store(shown.hours_missed, Ordering::Relaxed);
        self.fixings_missed.inner().store(shown.fixings_missed, Ordering::Relaxed);
        self.clock_believed.set(i64::from(shown.clock_doubt.is_none()));
        self.lows.set(whole(lows));
        self.fixings.set(whole(fixings));
        self.lag.set(now.map_or(-1, |now| i64::from(now.since(shown.clock))));
        self.frozen_until.set(i64::from(shown.ledger.frozen_until().0));
        self.clock.set(i64::from(shown.clock.0));
        self.heads_waiting.set(shown.health.as_ref().map_or(0, |health| whole(health.heads_waiting)));
        self.followers.set(whole(followers));
        self.clock_ahead.set(shown.clock_ahead.unwrap_or(0));
    }
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::feed::live::Health;
    use super::super::super::feed::{Venue, Venues};
    use super::super::super::signer::Why;
    use super::*;
    use crate::units::Cents;

    #[test]
    fn what_the_desk_shows_is_what_prometheus_reads() {
        let venue = |name: &str, price, used| Venue {
            name: name.into(),
            price: Some(Cents(price)),
            age: Some(2),
            used,
            trouble: None,
            absent: (name == "gemini").then(|| "counted in 14 of the last 60 ticks (300 s): it is slow".into()),
        };
        let list = vec![venue("kraken", 800_000, true), venue("gemini", 801_000, true), venue("odd \"one\"", 1, false)];
        let shown = Shown {
            spot: Some(Cents(800_500)),
            clock: Time(1_584_000_000),
            ticks: 7,
            hours_missed: 2,
            fixings_missed: 3,
            clock_doubt: Some("it was set".into()),
            clock_ahead: Some(-9),
            venues: Venues { list, quorum: 3 },
            health: Some(Health { heads_waiting: 2, ..Health::default() }),
            ..Shown::default()
        };
        let meters = Meters::new();
        meters.answered("/v1/price", 200);
        meters.answered("/v1/price", 200);
        meters.refused("rate");
        meters.attested(Event::Fixing { at: Time(0) });
        let text = meters.text(&shown, Some(Time(1_584_000_004)), 3, Failing::default()).unwrap();
        for line in [
            "hypothec_oracle_venues 3",
            "hypothec_oracle_venues_needed 3",
            "hypothec_oracle_venues_healthy 2",
            "hypothec_oracle_venue_used{venue=\"kraken\"} 1",
            "hypothec_oracle_venues_absent 1",
            "hypothec_oracle_venue_absent{venue=\"kraken\"} 0",
            "hypothec_oracle_venue_absent{venue=\"gemini\"} 1",
            "hypothec_oracle_venue_used{venue=\"odd \\\"one\\\"\"} 0",
            "hypothec_oracle_median_cents 800500",
            "hypothec_oracle_spread_basis_points 12",
            "hypothec_oracle_ticks_total 7",
            "hypothec_oracle_hours_missed_total 2",
            "hypothec_oracle_fixings_missed_total 3",
            "hypothec_oracle_clock_believed 0",
            "hypothec_oracle_lag_seconds 4",
            "hypothec_oracle_frozen_until_seconds 0",
            "hypothec_oracle_requests_total{route=\"/v1/price\",status=\"200\"} 2",
            "hypothec_oracle_refused_total{kind=\"rate\"} 1",
            "hypothec_oracle_attestations_total{kind=\"fixing\"} 1",
            "hypothec_oracle_heads_waiting 2",
            "hypothec_oracle_signer_away_seconds 0",
            "hypothec_oracle_trouble 0",
            "hypothec_oracle_statements_wrong 0",
            "hypothec_oracle_event_followers 3",
            "hypothec_oracle_log_lines_left_out_total 0",
            "hypothec_oracle_clock_ahead_of_database_seconds -9",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
        let away = Away { since: Time(0), seconds: 7, why: Why::Nobody };
        let silent = Failing { signer: Some(away), ..Failing::default() };
        let silent = meters.text(&Shown::default(), None, 0, silent).unwrap();
        assert!(silent.contains("signer_away_seconds 7") && silent.contains("oracle_trouble 1"), "{silent}");
        assert!(silent.contains("median_cents -1") && silent.contains("lag_seconds -1"), "{silent}");
    }
}
