//! The page itself. Whatever is spliced in is escaped by the template.

use super::chart::chart;
use super::facts::{Crossing, Facts, Rung};
use super::qr;
use crate::rotation::Rotation;
use crate::units::{Cents, Time, HOUR};
use maud::{html, Markup, DOCTYPE};

/// The feed that publishes a policy and a log of its ticks.
const LIVE: &str = "live";

/// The whole page.
pub fn page(facts: &Facts) -> Markup {
    let title =
        facts.spot.map_or_else(|| "Bitcoin price oracle".to_string(), |spot| format!("{spot} – bitcoin price oracle"));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="description" content="Attests the price of bitcoin in US dollars for discreet log contracts.";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/style.css";
            }
            body {
                header {
                    h1 { "Bitcoin price oracle" }
                    p { "Attests the price of bitcoin in US dollars for discreet log contracts. It never hears of a contract." }
                    @if facts.info.network != "bitcoin" {
                        p.test { "Test network: " strong { (facts.info.network) } ". Nobody’s money may hang on it." }
                    }
                }
                main {
                    (price(facts))
                    section.wide aria-labelledby="day" {
                        h2 #day { "The last day" }
                        (chart(facts))
                        (lows(facts))
                    }
                    (ladder(facts))
                    div.column { (touched(facts)) (coming(facts)) (past(facts)) }
                    (identity(facts))
                }
                footer { (routes(facts)) }
            }
        }
    }
}

fn moment(at: Time) -> Markup {
    html! { time datetime=(at) { (at.for_people()) } }
}

fn hour(at: Time) -> Markup {
    html! { time datetime=(at) { (format!("{:02}:00", at.hour_of_day())) } }
}

fn price(facts: &Facts) -> Markup {
    html! {
        section.wide.now aria-labelledby="now" {
            h2 #now { "The price now" }
            @match facts.spot {
                Some(spot) => p.spot { (spot) },
                None => p.spot.none { "No price" },
            }
            p { "As of " (moment(facts.clock)) ". Everything up to " (moment(facts.frozen_until)) " is final." }
            @if facts.readiness.ready {
                p.good { "In order." }
            } @else {
                p.bad role="status" { "Not in order: " (facts.readiness.missing.join("; ")) "." }
            }
            (venues(facts))
        }
    }
}

fn venues(facts: &Facts) -> Markup {
    if facts.venues.list.is_empty() {
        return html! { p { "Source: the " strong { (facts.info.feed) } " feed." } };
    }
    html! {
        table {
            caption {
                (facts.venues.healthy()) " of " (facts.venues.list.len())
                @if facts.spot.is_some() { " venues make this price; it takes " }
                @else { " venues count now; a price takes " }
                (facts.venues.quorum) "."
            }
            thead { tr { th scope="col" { "Venue" } th.number scope="col" { "Price" } th.number scope="col" { "Age" } th scope="col" { "Counts" } } }
            tbody {
                @for venue in &facts.venues.list {
                    tr {
                        th scope="row" { (venue.name) }
                        td.number { @if let Some(price) = venue.price { (price) } @else { "–" } }
                        td.number { @if let Some(age) = venue.age { (age) " s" } @else { "–" } }
                        td {
                            @if venue.used { "yes" }
                            @else { span.bad { "no" } @if let Some(trouble) = &venue.trouble { ": " (trouble) } }
                            @if let Some(absent) = &venue.absent { br; span.bad { (absent) } }
                        }
                    }
                }
            }
        }
    }
}

/// The picture in words, for those who cannot see it.
fn lows(facts: &Facts) -> Markup {
    html! {
        @if !facts.lows.is_empty() {
            details {
                summary { "The low of each hour as a table" }
                div.scroll tabindex="0" role="region" aria-label="The low of each hour" {
                    table {
                        thead { tr { th scope="col" { "Hour from" } th.number scope="col" { "Low" } th.number scope="col" { "Levels touched" } } }
                        tbody {
                            @for (start, low) in facts.lows.iter().rev() {
                                tr {
                                    th scope="row" { (moment(*start)) }
                                    td.number { (low) }
                                    td.number { (rungs_in(facts, *start)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn rungs_in(facts: &Facts, hour: Time) -> u32 {
    facts.crossings.iter().find(|crossing| crossing.hour == hour).map_or(0, |crossing| crossing.rungs)
}

fn ladder(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="ladder" {
            h2 #ladder { "The ladder around the price" }
            @if facts.ladder.is_empty() {
                p.none { "There is no price to stand around." }
            } @else {
                table {
                    thead { tr { th.number scope="col" { "Level" } th scope="col" { "Today, from 00:00 UTC" } th scope="col" { "Signed" } } }
                    tbody {
                        @for (number, rung) in facts.ladder.iter().enumerate() {
                            @if rung.below && facts.ladder.get(number.wrapping_sub(1)).is_some_and(|above| !above.below) {
                                tr.here { td colspan="3" { (middle(facts)) } }
                            }
                            (rung_row(rung))
                        }
                    }
                }
            }
        }
    }
}

/// What the ladder stands around.
fn middle(facts: &Facts) -> Markup {
    html! {
        @match (facts.spot, facts.last_known) {
            (Some(spot), _) => { "the price, " (spot) }
            (None, Some((at, cents))) => { "the last known price, " (cents) ", of " (moment(at)) }
            (None, None) => { "the price" }
        }
    }
}

fn rung_row(rung: &Rung) -> Markup {
    html! {
        tr {
            th.number scope="row" { (level(rung.level.cents())) }
            @match rung.touched {
                Some(_) if rung.from_above => {
                    td { "the day opened below it" }
                    td { a href=(format!("/attestation/{}", rung.event)) { "attestation" } }
                }
                Some(at) => {
                    td { span.touched { "touched" } " after " (hour(at)) }
                    td { a href=(format!("/attestation/{}", rung.event)) { "attestation" } }
                }
                None => {
                    td { "not touched" }
                    td { a href=(format!("/announcement/{}", rung.event)) { "announcement" } }
                }
            }
        }
    }
}

/// `$7,490`.
fn level(cents: Cents) -> String {
    cents.to_string().split('.').next().unwrap_or_default().to_string()
}

fn touched(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="touched" {
            h2 #touched { "Touched today" }
            @if facts.touched.is_empty() {
                p.none { "No level at or below today’s opening price." }
            } @else {
                ul {
                    @for crossing in facts.touched.iter().rev() {
                        li { (hour(crossing.hour)) ": " (levels(crossing)) }
                    }
                }
            }
        }
    }
}

/// The levels of a crossing; the highest and the lowest lead to their attestations.
fn levels(crossing: &Crossing) -> Markup {
    let (highest, lowest) = crossing.events();
    html! {
        @if crossing.rungs > 1 {
            (crossing.rungs) " levels, "
            a href=(format!("/attestation/{highest}")) { (level(crossing.highest.cents())) } " to "
        }
        a href=(format!("/attestation/{lowest}")) { (level(crossing.lowest.cents())) }
        " (low " (crossing.low) ")"
    }
}

fn coming(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="coming" {
            h2 #coming { "Coming fixings" }
            ul {
                @for event in &facts.coming {
                    @let at = event.maturity().unwrap_or_default();
                    li {
                        a href=(format!("/announcement/{event}")) { (moment(at)) }
                        " in " (minutes(at.since(facts.clock)))
                    }
                }
            }
        }
    }
}

fn minutes(seconds: u32) -> String {
    match (seconds / HOUR, seconds % HOUR / 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn past(facts: &Facts) -> Markup {
    html! {
        section aria-labelledby="past" {
            h2 #past { "Past attestations" }
            h3 { "Fixings" }
            @if facts.fixings.is_empty() {
                p.none { "No fixing has been attested yet." }
            } @else {
                ul {
                    @for (event, cents) in &facts.fixings {
                        li { a href=(format!("/attestation/{event}")) { (moment(event.maturity().unwrap_or_default())) } " " (level(*cents)) }
                    }
                }
            }
            @if !facts.touched_before.is_empty() {
                h3 { "Touches of the days before" }
                ul {
                    @for crossing in &facts.touched_before {
                        li { (moment(crossing.hour)) ": " (levels(crossing)) }
                    }
                }
            }
        }
    }
}

fn identity(facts: &Facts) -> Markup {
    let key = facts.info.pubkey.to_string();
    html! {
        section.wide.identity aria-labelledby="key" {
            div {
                h2 #key { "The oracle’s key" }
                p { code { (key) } }
                p { "Compare it with the key you were given elsewhere. Everything here is signed with it." }
                @for one in &facts.hand_overs { (hand_over(facts, one)) }
                dl {
                    dt { "Network" } dd { (facts.info.network) }
                    dt { "Feed" } dd { (facts.info.feed) }
                    dt { "Software" } dd { "hypothec-oracle " (facts.info.version) }
                }
            }
            (qr::code(&key, "The oracle’s key as a QR code"))
        }
    }
}

fn hand_over(facts: &Facts, one: &Rotation) -> Markup {
    let (old, new) = (one.old_key.to_string(), one.new_key.to_string());
    html! {
        @if one.old_key == facts.info.pubkey {
            p {
                "This key hands over: from " (moment(one.from)) " on new loans name the key " code { (new) }
                ". Open loans stay on this one, which goes on attesting for them."
            }
        } @else {
            p { "The key " code { (old) } " handed over to " code { (new) } ", for new loans from " (moment(one.from)) " on." }
        }
    }
}

fn routes(facts: &Facts) -> Markup {
    let today = facts.clock.day();
    html! {
        nav aria-label="For programs" {
            "For programs: "
            a href="/v1/info" { "info" } " " a href="/v1/price" { "price" } " " a href="/v1/status" { "status" } " "
            a href=(format!("/v1/lows/{today}")) { "lows" } " " a href=(format!("/v1/fixings/{today}")) { "fixings" } " "
            a href="/list-events" { "list of events" } " " a href="/v1/events" { "stream of events" } " "
            @if facts.info.feed == LIVE {
                a href="/v1/policy" { "price policy" } " " a href="/v1/log" { "days of the tick log" } " "
                a href=(format!("/v1/log/{today}")) { "today’s tick log" } " " a href="/v1/log/head" { "its head" } " "
            }
            a href="/metrics" { "metrics" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::desk::Shown;
    use super::super::super::super::feed::{Venue, Venues};
    use super::super::super::super::ledger::{Ledger, Record};
    use super::*;
    use crate::announce::OracleKeys;
    use crate::units::Day;
    use crate::wire::Info;
    use secp256k1_zkp::SecretKey;

    fn info(feed: &str) -> Info {
        Info {
            pubkey: OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap()).public_key(),
            network: "signet".into(),
            version: "1".into(),
            feed: feed.into(),
            lowest_level: 1_000,
            highest_level: 1_000_000,
            band: 64,
        }
    }

    #[test]
    fn a_venue_that_writes_html_is_shown_as_text() {
        let evil = "<script>alert(1)</script>\"'&";
        let venue = Venue {
            name: evil.into(),
            price: Some(Cents(1)),
            age: None,
            used: false,
            trouble: Some(evil.into()),
            absent: None,
        };
        let shown = Shown {
            venues: Venues { list: vec![venue], quorum: 1 },
            spot: Some(Cents(800_000)),
            clock: Time(1_584_000_000),
            ..Shown::default()
        };
        let html = page(&Facts::of(&shown, info(evil), None)).into_string();
        assert!(!html.contains("<script") && !html.contains("\"'&"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(html.contains("$8,000.00") && html.contains("Not in order: "));
    }

    #[test]
    fn a_hand_over_is_shown_below_the_key_it_is_about() {
        let [old, new] = [7u8, 8].map(|byte| OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap()));
        let said = Rotation::sign(&old, &new, Time(1_584_007_200)).unwrap();
        let shown = |key: &OracleKeys| {
            let info = Info { pubkey: key.public_key(), ..info("live") };
            let facts = Facts { hand_overs: vec![said], ..Facts::of(&Shown::default(), info, None) };
            page(&facts).into_string()
        };
        let html = shown(&old);
        assert!(html.contains("This key hands over: from ") && html.contains(&new.public_key().to_string()), "{html}");
        assert!(html.contains("2020-03-12 10:00 UTC") && html.contains("Open loans stay on this one"), "{html}");
        assert!(shown(&new).contains(" handed over to "));
    }

    #[test]
    fn an_oracle_that_has_said_nothing_has_a_page_too() {
        let html = page(&Facts::of(&Shown::default(), info("manual"), None)).into_string();
        assert!(!html.contains("hands over") && !html.contains("/v1/log"));
        assert!(page(&Facts::of(&Shown::default(), info("live"), None)).into_string().contains("/v1/policy"));
        for words in ["No price", "There is no price to stand around", "No fixing has been attested yet"] {
            assert!(html.contains(words), "{words}");
        }
        let end = Shown { clock: Time(u32::MAX), spot: Some(Cents(u64::MAX)), ..Shown::default() };
        assert!(page(&Facts::of(&end, info("manual"), Some(Time(u32::MAX)))).into_string().len() > 1_000);
    }

    #[test]
    fn without_a_price_the_page_says_so_and_shows_what_is_known() {
        let midnight = Day(18_333).start().unwrap();
        let hour = |number: u32| midnight.plus(number * HOUR).unwrap();
        let mut ledger = Ledger::default();
        ledger.apply(Record::Fixing { at: hour(0), cents: Cents(752_000) }).unwrap();
        for (number, cents) in [(0, 750_000), (1, 740_000), (24, 752_000), (25, 748_000)] {
            ledger.apply(Record::Low { hour: hour(number), cents: Cents(cents) }).unwrap();
        }
        let venue =
            Venue { name: "kraken".into(), price: Some(Cents(1)), age: None, used: true, trouble: None, absent: None };
        let venues = Venues { list: vec![venue], quorum: 3 };
        let shown = Shown { ledger, clock: hour(26), venues, ..Shown::default() };
        let html = page(&Facts::of(&shown, info("live"), None)).into_string();
        for words in [
            "1 of 1 venues count now; a price takes 3.",
            "the last known price, $7,480.00, of ",
            "Touches of the days before",
            "/attestation/btcusd-touch-7490-20200312-h00",
            "/attestation/btcusd-touch-7400-20200312-h00",
            "/attestation/btcusd-touch-7480-20200313-h00",
        ] {
            assert!(html.contains(words), "{words} is not in {html}");
        }
        assert!(!html.contains("make this price"));
    }
}
