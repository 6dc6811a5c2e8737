//! Nothing a stranger or a file can say makes the library panic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

// Helpers outside `#[test]` functions are test code too.

use bitcoin::hashes::{sha256, Hash};
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::bundle::{Bundle, BundlePage, PackedAttestation};
use hypothec_oracle::daemon::feed::replay::Replay;
use hypothec_oracle::event::Event;
use hypothec_oracle::ladder::Level;
use hypothec_oracle::price::policy::{Policies, Policy};
use hypothec_oracle::price::reckon::Input;
use hypothec_oracle::price::venue::Venue;
use hypothec_oracle::ticklog::audit::Auditor;
use hypothec_oracle::ticklog::chain::End;
use hypothec_oracle::ticklog::entry::{hash_of, Entry, Head, Line};
use hypothec_oracle::units::{Day, Time, HOUR};
use hypothec_oracle::verify::{verify_announcement, verify_attestation};
use proptest::prelude::*;
use secp256k1_zkp::SecretKey;

fn keys() -> OracleKeys {
    OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).expect("a key"))
}

fn event() -> impl Strategy<Value = Event> {
    let fixing = (0..=u32::MAX / HOUR).prop_map(|hour| Event::Fixing { at: Time(hour * HOUR) });
    let touch = (0..6_000u32, 0..=u32::MAX / 86_400, 0..24u8).prop_filter_map("a level", |(index, day, from_hour)| {
        Some(Event::Touch { level: Level::at_index(index)?, day: Day(day), from_hour })
    });
    prop_oneof![fixing, touch]
}

proptest! {
    #[test]
    fn an_event_id_reads_back_or_is_refused(event in event(), text in "\\PC{0,40}", end in "[0-9h-]{0,30}") {
        prop_assert_eq!(Event::parse(&event.to_string()), Some(event));
        for id in [text, format!("btcusd{end}"), format!("btcusd-touch-{end}")] {
            prop_assert!(Event::parse(&id).is_none_or(|event| event.to_string() == id));
        }
    }

    #[test]
    fn every_event_has_its_place_in_its_bundle(event in event()) {
        let bundle = Bundle::of(event);
        let events = bundle.events();
        prop_assert!(events.len() <= 31 * 64);
        prop_assert_eq!(bundle.index(event).and_then(|index| events.get(index).copied()), Some(event));
    }

    #[test]
    fn a_path_of_a_bundle_reads_back_or_is_refused(band in "[0-9+]{0,4}", day in "[0-9+-]{0,9}", hour in "h?[0-9+]{0,3}") {
        let month = format!("/v1/bands/{band}/{day}");
        let hourly = format!("{month}/{hour}");
        prop_assert!(Bundle::parse_month(&band, &day).is_none_or(|b| b.to_string() == month));
        prop_assert!(Bundle::parse_hour(&band, &day, &hour).is_none_or(|b| b.to_string() == hourly));
    }

    #[test]
    fn any_page_is_read_or_refused(hex in "[0-9a-f]{0,400}|[0-9a-f]{320}|\\PC{0,50}", dollars in any::<Option<u32>>(), index in 0..3u32) {
        let event = Event::Touch { level: Level::exactly(1_000).expect("a level"), day: Day(18_333), from_hour: 1 };
        let (bundle, keys) = (Bundle::of(event), keys());
        let page = BundlePage {
            announcements: vec![hex.clone()],
            attestations: vec![PackedAttestation { index, dollars, s: hex }],
        };
        if let Ok(proven) = page.announcement(bundle, event, &keys.public_key()) {
            prop_assert!(verify_announcement(&proven, &keys.public_key(), event).is_err());
        }
        let announcement = keys.announcement(event).expect("announced").announcement;
        if let Ok(Some(attestation)) = page.attestation(bundle, event, &announcement) {
            prop_assert!(verify_attestation(&attestation, &announcement).is_err());
        }
    }

    #[test]
    fn any_line_of_a_tick_log_is_followed_or_refused(
        text in "\\PC{0,80}", n in any::<u64>(), at in any::<u32>(), policy in 0..3u32, raw in "\\PC{0,60}", cut in 0..400usize,
    ) {
        let input = |venue| Input { venue, received: Some(Time(at)), raw: Some(raw.clone()), error: None };
        let entry = Entry {
            n,
            prev: sha256::Hash::all_zeros(),
            log: None,
            at: Time(at),
            policy,
            inputs: Venue::ALL.into_iter().map(input).collect(),
            median: None,
            held: None,
        };
        let policies = Policies::new(vec![Policy::default()]).expect("the sample");
        let day = Time(at).day();
        let mut auditor = Auditor::new(keys().public_key(), policies.clone(), Time(0));
        let line = Line::Tick(entry).text();
        let honest = auditor.line(day, &line);
        prop_assert_eq!(honest.is_ok(), policy == 1, "{:?}", honest);
        let stranger = OracleKeys::from_secret(SecretKey::from_slice(&[8; 32]).expect("a key"));
        let end = End { n, at: Time(at), hash: hash_of(&line), log: None, headed: false };
        let head = Line::Head(Head::sign(&stranger, end));
        if policy == 1 {
            prop_assert!(auditor.line(day, &head.text()).is_err(), "signed by somebody else");
            prop_assert!(auditor.line(day, &line).is_err(), "twice");
        }
        let start: String = line.chars().take(cut).collect();
        prop_assert!(Auditor::new(keys().public_key(), policies, Time(0)).line(day, &start).is_err() || start == line);
        prop_assert!(auditor.line(day, &text).is_err());
    }

    #[test]
    fn any_replay_file_is_read_or_refused(text in "\\PC{0,200}", row in "[0-9.,+-]{0,40}") {
        let _ = Replay::parse(&text);
        let _ = Replay::parse(&format!("unix,open,high,low,close\n{row}"));
    }
}
