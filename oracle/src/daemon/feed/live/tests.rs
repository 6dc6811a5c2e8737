//! Stories of the live feed: venues with every fault, gaps, crashes of the price and of the process.

use super::*;
use crate::daemon::harness::{raw, Answer, World, START};
use crate::ticklog::entry::Head;
use crate::units::Day;
use bitcoin::hashes::{sha256, Hash};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

const PRICE: u64 = 800_000;

fn hour(number: u32) -> Time {
    START.plus(number * HOUR).unwrap()
}

#[tokio::test]
async fn five_venues_make_one_price_and_say_how_they_are() {
    let mut world = World::new().await;
    world.look();
    assert_eq!((world.spot(), world.health().tick), (None, None), "no tick before the venues were asked");
    world.venues.set_all(PRICE);
    let health = world.ask().await;
    assert_eq!((health.venues_used, health.median), (5, Some(Cents(PRICE))));
    assert_eq!((world.spot(), health.range), (Some(Cents(PRICE)), Some(Cents(0))));
    assert!(health.venues.iter().all(|venue| venue.health.last_good == Some(world.now) && venue.health.failures == 0));
    world.now = Time(world.now.0 + 4);
    world.look();
    assert_eq!((world.health().ticks, world.spot()), (1, Some(Cents(PRICE))), "no second tick before its time");
}

#[tokio::test]
async fn every_fault_of_one_venue_is_named_and_the_others_make_the_price() {
    let html = "<html><body>Just a moment...</body></html>".to_string();
    let coinbase = r#"{"price":"8000","bid":"8000","ask":"8000","time":"2020-03-11T23:00:00Z"}"#;
    let gemini = r#"{"bid":"8000","ask":"8000","volume":{"ETH":"1","USD":"1","timestamp":1583967600000}}"#;
    let closed = r#"{"result":"error","reason":"Maintenance","message":"closed until noon"}"#.to_string();
    for (venue, answer, says) in [
        (Venue::Kraken, Answer::Silence, "did not answer in time"),
        (Venue::Kraken, Answer::Status(500), "HTTP 500"),
        (Venue::Coinbase, Answer::Status(429), "429"),
        (Venue::Coinbase, Answer::Redirect, "HTTP 307"),
        (Venue::Bitstamp, Answer::Body(html), "usual JSON"),
        (Venue::Bitfinex, Answer::Body(format!("[{}", " ".repeat(600_000))), "more than 524288 bytes"),
        (Venue::Gemini, Answer::Body(gemini.to_string()), "BTC and USD"),
        (Venue::Gemini, Answer::Body(closed), "closed until noon"),
        (Venue::Coinbase, Answer::Body(coinbase.replace("\"8000\"", "NaN")), "usual JSON"),
        (Venue::Coinbase, Answer::Body(coinbase.replace("\"8000\"", "\"NaN\"")), "NaN"),
        (Venue::Coinbase, Answer::Body(coinbase.replace("8000", "-8000")), "-8000"),
        (Venue::Bitstamp, Answer::Quote(PRICE * 4 / 10), "too far from the median"),
        (Venue::Bitstamp, Answer::At(PRICE, Time(START.0 - 30)), "35 s old"),
        (Venue::Bitstamp, Answer::At(PRICE, Time(START.0 + 60)), "55 s ahead"),
        (Venue::Kraken, Answer::Body(String::new()), "usual JSON"),
    ] {
        let mut world = World::new().await;
        world.venues.set_all(PRICE);
        world.venues.set(venue, answer.clone());
        let health = world.ask().await;
        assert_eq!((health.venues_used, health.median), (4, Some(Cents(PRICE))), "{venue} {answer:?}");
        let status = health.venues.iter().find(|status| status.venue == venue).unwrap();
        let why = status.why_not.clone().unwrap();
        assert!(why.contains(says), "{venue}: {why}");
        assert_eq!(health.below_quorum_since, None);
    }
}

#[tokio::test]
async fn numbers_as_numbers_are_read_like_numbers_as_strings() {
    let mut world = World::new().await;
    world.venues.set_all(PRICE);
    let body = r#"{"price":8000.00,"bid":7999.95,"ask":8000.05,"time":"2020-03-11T23:00:05Z"}"#;
    world.venues.set(Venue::Coinbase, Answer::Body(body.to_string()));
    world
        .venues
        .set(Venue::Bitfinex, Answer::Body(r#"["7999.95",1,"8000.05",1,1,1,"8000",1,1,1,1358182043000]"#.to_string()));
    assert_eq!(world.ask().await.venues_used, 5);
}

#[tokio::test]
async fn a_venue_that_says_429_is_left_alone_for_a_while() {
    let mut world = World::new().await;
    world.venues.set_all(PRICE);
    world.venues.set(Venue::Coinbase, Answer::Status(429));
    for _ in 0..6 {
        world.ask().await;
    }
    assert_eq!(world.venues.asked(Venue::Coinbase), 1);
    assert_eq!(world.venues.asked(Venue::Gemini), 6);
    world.ask().await;
    assert_eq!(world.venues.asked(Venue::Coinbase), 2, "thirty seconds later");
}

#[tokio::test]
async fn a_failing_venue_counts_until_its_last_answer_is_too_old() {
    let mut world = World::new().await;
    world.venues.set_all(PRICE);
    world.ask().await;
    world.venues.set(Venue::Gemini, Answer::Status(500));
    for _ in 0..6 {
        assert_eq!(world.ask().await.venues_used, 5);
    }
    let health = world.ask().await;
    assert_eq!((health.venues_used, health.venues[4].health.failures), (4, 7));
    assert_eq!(health.venues[4].health.last_good, Some(Time(START.0 + 5)));
}

#[tokio::test]
async fn a_frozen_price_and_a_frozen_clock_are_stale() {
    let mut world = World::new().await;
    let frozen = |cents| Answer::Quote(cents);
    for number in 0..64 {
        world.venues.set_all(PRICE + number % 2);
        world.venues.set(Venue::Bitfinex, frozen(PRICE));
        world.venues.set(Venue::Bitstamp, Answer::At(PRICE, START));
        world.ask().await;
    }
    let health = world.health();
    assert_eq!(health.venues_used, 3);
    assert!(health.venues[2].why_not.as_ref().unwrap().contains("320 s old"), "{:?}", health.venues[2]);
    assert!(health.venues[3].why_not.as_ref().unwrap().contains("not changed for 315 s"), "{:?}", health.venues[3]);
}

#[tokio::test]
async fn a_venue_that_hardly_ever_counts_is_an_alarm_within_minutes_also_after_a_restart() {
    let mut world = World::new().await;
    for number in 0..26 {
        world.venues.set_all(PRICE + number % 2);
        world.venues.set(Venue::Coinbase, Answer::At(PRICE, START));
        let health = world.ask().await;
        assert!(health.median.is_some(), "four others make the price");
        let absent = health.venues.iter().filter_map(|one| Some((one.venue, one.absent.clone()?))).collect::<Vec<_>>();
        match number {
            25 => assert_eq!(
                absent,
                [(Venue::Coinbase, "counted in 6 of the last 26 ticks (125 s): its quote is 130 s old".into())]
            ),
            ..=23 => assert!(absent.is_empty(), "{number}: {absent:?}"),
            24.. => assert!(!absent.is_empty()),
        }
    }
    println!("bound absent-venue {} s", 120);
    world.restart();
    world.run(1, PRICE);
    let shown = world.window().look().venues.clone();
    let coinbase = shown.list.iter().find(|venue| venue.name == "coinbase").unwrap();
    assert!(coinbase.used && coinbase.absent.is_some(), "it counts once, and that is remembered: {coinbase:?}");
    world.run(61, PRICE);
    assert!(world.health().venues.iter().all(|venue| venue.absent.is_none()), "five minutes later all is well");
}

#[tokio::test]
async fn the_price_line_of_the_last_day_is_read_back_from_the_tick_log_after_a_restart() {
    let mut world = World::new().await;
    world.run(120, PRICE);
    let before = world.window().look().minutes.clone();
    assert_eq!(before.len(), 10);
    world.restart();
    assert_eq!(world.window().look().minutes, before);
}

#[tokio::test]
async fn gemini_counts_though_its_volume_window_ended_minutes_ago() {
    let mut world = World::new().await;
    for number in 0..120 {
        world.venues.set_all(PRICE + number % 2);
        assert_eq!(world.ask().await.venues_used, 5, "tick {number}");
    }
}

#[tokio::test]
async fn gemini_whose_answer_stands_still_for_minutes_is_stale_though_it_tells_no_time() {
    let mut world = World::new().await;
    for number in 0..64 {
        world.venues.set_all(PRICE + number % 2);
        world.venues.set(Venue::Gemini, Answer::At(PRICE, START));
        let used = world.ask().await.venues_used;
        assert_eq!(used, if number <= 60 { 5 } else { 4 }, "tick {number}");
    }
    let why = world.health().venues[4].why_not.clone().unwrap();
    assert_eq!(why, "its quote has not changed for 315 s");
}

#[tokio::test]
async fn two_colluding_venues_and_a_wick_liquidate_nobody() {
    let mut world = World::new().await;
    world.run(30, PRICE);
    for number in 0..40 {
        let honest = PRICE + number % 2;
        world.venues.set_all(honest);
        world.venues.set(Venue::Kraken, Answer::Quote(PRICE * 4 / 10));
        world.venues.set(Venue::Bitfinex, Answer::Quote(PRICE * 4 / 10 + number % 3));
        let health = world.ask().await;
        assert_eq!((health.venues_used, health.median), (3, Some(Cents(honest))));
    }
    world.run(11, PRICE * 4 / 10);
    assert_eq!(world.ledger().lows(START.day())[23], Some(Cents(PRICE + 1)), "every venue at once, but for 55 s only");
    world.run(1, PRICE * 4 / 10);
    assert!(world.ledger().lows(START.day())[23] < Some(Cents(PRICE / 2)), "after a minute it is the price");
}

#[tokio::test]
async fn below_quorum_there_is_no_price_and_nothing_is_attested() {
    let mut world = World::new().await;
    world.run(60, PRICE);
    let before = world.ledger();
    for venue in [Venue::Kraken, Venue::Coinbase, Venue::Bitstamp] {
        world.venues.set(venue, Answer::Status(500));
    }
    for venue in [Venue::Bitfinex, Venue::Gemini] {
        world.venues.set(venue, Answer::Quote(PRICE / 2));
    }
    // The last answers of the three that fail are good for half a minute, and outvote the two.
    for _ in 0..6 {
        assert_eq!(world.ask().await.below_quorum_since, None);
    }
    for _ in 0..20 {
        world.ask().await;
    }
    let health = world.health();
    assert_eq!((world.spot(), health.median, health.venues_used), (None, None, 2));
    assert_eq!(health.below_quorum_since, Some(Time(START.0 + 67 * 5)));
    assert_eq!(world.ledger().lows(START.day()), before.lows(START.day()));
    world.run(1, PRICE);
    assert_eq!((world.health().below_quorum_since, world.spot().is_some()), (None, true));
}

#[tokio::test]
async fn a_price_that_gaps_through_a_hundred_rungs_touches_them_all_at_once() {
    let mut world = World::new().await;
    world.run(40, PRICE - 1);
    assert!(world.is_touched(8_000, "20200311", 23) && !world.is_touched(7_990, "20200311", 0));
    world.run(11, 690_000);
    assert!(!world.is_touched(7_990, "20200311", 0), "not before it stood for a minute");
    world.run(1, 690_000);
    let touched = |from_hour| {
        let levels = (6_800..=8_000).step_by(10);
        levels.filter(|level| world.is_touched(*level, "20200311", from_hour)).collect::<BTreeSet<u32>>()
    };
    let all: BTreeSet<u32> = (6_910..=8_000).step_by(10).collect();
    assert_eq!(touched(0), all, "6,900.01 is above 6,900");
    assert_eq!(touched(23), all);
}

#[tokio::test]
async fn a_day_that_starts_below_a_rung_touches_it_within_its_first_minute() {
    let mut world = World::new().await;
    world.run(719, 690_000);
    assert!(!world.is_touched(7_000, "20200312", 0));
    world.run(12, 690_000);
    assert!(world.is_touched(7_000, "20200312", 0) && !world.is_touched(6_890, "20200312", 0));
    assert!(!world.is_touched(7_000, "20200312", 1), "the hour has not begun");
    assert_eq!(world.ledger().fixing(hour(1)), Some(Cents(690_000)), "the half hour before midnight");
}

#[tokio::test]
async fn an_hour_is_frozen_after_two_minutes_and_never_filled_in() {
    let mut world = World::new().await;
    world.run(700, PRICE);
    world.run_silent(20 + 25);
    assert_eq!(world.ledger().frozen_until(), hour(1));
    assert_eq!(world.ledger().fixing(hour(1)), Some(Cents(PRICE)), "said at the first tick of the hour");
    world.run_silent(720);
    world.run(30, PRICE / 2);
    let (ledger, next) = (world.ledger(), Day(START.day().0 + 1));
    assert_eq!(ledger.frozen_until(), hour(2));
    assert_eq!((ledger.lows(next)[0], ledger.fixing(hour(2))), (None, None), "an hour without prices is missed");
    assert!(ledger.lows(next)[1].is_some());
}

#[tokio::test]
async fn an_oracle_that_was_off_over_an_hours_end_says_nothing_about_it() {
    let mut world = World::new().await;
    world.run(400, PRICE);
    world.now = Time(hour(1).0 + 600);
    world.restart();
    world.run(30, PRICE / 2);
    let ledger = world.ledger();
    assert_eq!(ledger.lows(START.day())[23], Some(Cents(PRICE + 1)), "what was seen of the hour stands");
    assert_eq!(ledger.fixing(hour(1)), None);
    assert!(ledger.lows(Day(START.day().0 + 1))[0].is_some_and(|low| low < Cents(PRICE / 2 + 5)));
}

#[tokio::test]
async fn what_was_logged_before_a_crash_is_said_after_it() {
    let mut world = World::new().await;
    world.run(718, PRICE);
    // Ticks reach the log, among them the fixing's, and the process dies before the ledger is written.
    world.stop();
    let mut live = world.live();
    for number in 1..=25u32 {
        let now = Time(world.now.0 + 5 * number);
        Venue::ALL
            .into_iter()
            .for_each(|venue| world.table.good(venue, now, raw(venue, 300_000 + u64::from(number), now)));
        live.poll(Time(0), now).unwrap();
    }
    drop(live);
    world.now = Time(hour(1).0 + 3 * HOUR);
    world.restart();
    world.run(1, PRICE);
    let ledger = world.ledger();
    assert_eq!(ledger.fixing(hour(1)), Some(Cents(PRICE)));
    assert_eq!(ledger.lows(START.day())[23], Some(Cents(PRICE + 1)));
    assert!(ledger.lows(Day(START.day().0 + 1))[0].is_some_and(|low| low < Cents(300_020)), "twelve ticks at 3,000");
    assert_eq!(ledger.fixing(hour(4)), None);
    assert_eq!(world.health().ticks, 718 + 25 + 1);
}

#[tokio::test]
async fn a_restart_changes_nothing_of_what_is_said() {
    let (mut steady, mut restarted) = (World::new().await, World::new().await);
    for number in 0..12u64 {
        for world in [&mut steady, &mut restarted] {
            world.run(65, PRICE - number * 2_000);
        }
        restarted.restart();
    }
    assert_eq!(steady.ledger(), restarted.ledger());
    // All but what names the log itself, which is random.
    let ticks = |world: &World| {
        let mut ticks = Vec::new();
        let take = &mut |entry: Entry| {
            ticks.push(Entry { log: None, prev: sha256::Hash::all_zeros(), ..entry });
            Ok(())
        };
        world.log().ticks_from(Time(0), take).unwrap();
        ticks
    };
    assert!(ticks(&steady).len() == 780 && ticks(&steady) == ticks(&restarted));
    let size = std::fs::read(steady.data().join("ticks/20200311.log")).unwrap().len() / 720;
    assert!((1_000..1_800).contains(&size), "a tick takes {size} bytes; docs say 1.4 kB");
}

#[tokio::test]
async fn a_new_policy_counts_from_its_hour_and_the_log_says_which_counted() {
    let second = Policy { version: 2, effective: hour(1), quorum: 5, freeze_seconds: 60, ..Policy::default() };
    let mut world = World::with(vec![Policy::default(), second]).await;
    world.run(715, PRICE);
    world.venues.set_all(PRICE);
    world.venues.set(Venue::Gemini, Answer::Quote(PRICE / 2));
    for _ in 0..4 {
        assert_eq!(world.ask().await.median, Some(Cents(PRICE)));
    }
    assert_eq!(world.health().policy, 1);
    let health = world.ask().await;
    assert_eq!((health.policy, health.median, health.venues_used), (2, None, 4));
    let mut versions = Vec::new();
    let seen = &mut |entry: Entry| {
        versions.push(entry.policy);
        Ok(())
    };
    world.log().ticks_from(hour(1), seen).unwrap();
    assert_eq!(versions, [2]);
}

#[tokio::test]
async fn hours_close_without_the_signer_and_their_heads_follow_in_order_when_it_is_back() {
    let mut world = World::new().await;
    world.run(2, PRICE);
    world.stop();
    let is_away = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&is_away);
    let sign: HeadSigner = Box::new(move |end| {
        anyhow::ensure!(!told.load(Ordering::SeqCst), "the signer is away");
        Ok(Head::sign(&crate::daemon::harness::keys(), end))
    });
    let mut live = Live::new(world.policies.clone(), world.table.clone(), TickLog::open(world.data()).unwrap(), sign);
    world.table.round_done();
    let poll = |live: &mut Live, now: Time, cents| {
        Venue::ALL.into_iter().for_each(|venue| world.table.good(venue, now, raw(venue, cents, now)));
        live.poll(Time(0), now).unwrap()
    };
    let mut heard = News::default();
    for number in 0..3 * 720u32 {
        heard = poll(&mut live, hour(1).plus(5 * number).unwrap(), PRICE + u64::from(number % 2));
    }
    for number in 1..4 {
        assert_eq!(heard.lows.get(&hour(number)), Some(&Cents(PRICE + 1)), "hour {number}");
    }
    assert_eq!(heard.fixings.keys().copied().collect::<Vec<_>>(), [hour(2), hour(3)]);
    let health = live.health().unwrap();
    assert_eq!((health.heads_waiting, live.log().waiting()), (3, 3));
    assert!(health.heads_trouble.unwrap().contains("the signer is away"));
    is_away.store(false, Ordering::SeqCst);
    let began = Instant::now();
    let mut now = hour(4);
    while live.health().unwrap().heads_waiting > 0 {
        assert!(began.elapsed() < Duration::from_secs(20));
        now = now.plus(1).unwrap();
        poll(&mut live, now, PRICE + u64::from(now.0 % 2));
    }
    assert_eq!(live.health().unwrap().heads_trouble, None);
    drop(live);
    let log = [START.day(), hour(1).day()]
        .map(|day| std::fs::read_to_string(world.data().join(format!("ticks/{day}.log"))).unwrap_or_default());
    let mut chain = crate::ticklog::chain::Chain::from_start();
    log.iter().flat_map(|day| day.lines()).for_each(|line| drop(chain.follow(line).unwrap()));
    assert_eq!(chain.waiting().len(), 0, "every hour has its head");
    assert_eq!(log.concat().lines().filter(|line| line.starts_with("{\"head\"")).count(), 4);
}

#[tokio::test]
async fn a_signer_that_hangs_costs_no_tick() {
    let mut world = World::new().await;
    world.run(2, PRICE);
    world.stop();
    let (_hold, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let sign: HeadSigner = Box::new(move |_| {
        let _ = gate.lock().unwrap().recv();
        anyhow::bail!("it never answers")
    });
    let mut live = Live::new(world.policies.clone(), world.table.clone(), TickLog::open(world.data()).unwrap(), sign);
    world.table.round_done();
    let began = Instant::now();
    for number in 0..24u32 {
        let now = hour(1).plus(5 * number).unwrap();
        let cents = PRICE + 7 + u64::from(number % 2);
        Venue::ALL.into_iter().for_each(|venue| world.table.good(venue, now, raw(venue, cents, now)));
        assert!(live.poll(Time(0), now).unwrap().spot.is_some(), "tick {number}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "it is waited for once");
    let health = live.health().unwrap();
    assert_eq!((health.ticks, health.heads_waiting), (26, 1));
    assert_eq!(health.heads_trouble.as_deref(), Some("it does not answer"));
}

#[tokio::test]
async fn a_log_that_cannot_be_written_leaves_no_price() {
    let mut world = World::new().await;
    world.run(2, PRICE);
    world.stop();
    let mut live = world.live();
    let late = hour(1);
    let taken = world.data().join("ticks").join(format!("{}.log", late.day()));
    std::fs::create_dir_all(&taken).unwrap();
    Venue::ALL.into_iter().for_each(|venue| world.table.good(venue, late, raw(venue, PRICE + 7, late)));
    assert!(live.poll(Time(0), late).is_err());
    std::fs::remove_dir(&taken).unwrap();
    assert!(live.poll(Time(0), late.plus(1).unwrap()).unwrap().spot.is_some(), "and it goes on when it can");
}

/// Every venue's answer has come, by a clock that reads `world.now`; their own times say `own`.
fn answered(world: &World, own: Time) {
    Venue::ALL.into_iter().for_each(|venue| world.table.good(venue, world.now, raw(venue, PRICE, own)));
    world.table.round_done();
}

const FAR: Time = Time(4_100_000_000);

#[tokio::test]
async fn a_clock_that_jumps_ahead_freezes_nothing_and_the_oracle_goes_on_when_it_is_back() {
    let mut world = World::new().await;
    world.watch();
    world.run(60, PRICE);
    let (now, before, ticks) = (world.now, world.ledger(), world.health().ticks);
    let stands_still = |world: &World, says: &str| {
        let window = world.window();
        let shown = window.look();
        let alarm = shown.alarm.clone().unwrap_or_default();
        assert!(alarm.contains(says) && shown.clock_doubt.as_ref() == Some(&alarm), "{alarm}");
        assert_eq!((shown.spot, &shown.ledger), (None, &before));
        assert_eq!(world.log().end().map(|end| end.at), Some(now), "no tick of a time that is not believed");
        let readiness = crate::daemon::http::readiness(&shown, Some(world.now));
        assert!(readiness.missing.iter().any(|one| one.contains("not vouched for")), "{readiness:?}");
    };
    world.now = FAR;
    world.look();
    stands_still(&world, "ahead of the time that has passed since the venues last agreed");
    // Answers that arrive now, by that clock, prove nothing, and one without a time of its own neither.
    answered(&world, now);
    world.look();
    stands_still(&world, "ahead of");
    world.now = Time(now.0 - 3 * HOUR);
    world.look();
    stands_still(&world, "behind");
    // Nor does a process that begins at such a moment believe it.
    world.now = FAR;
    world.restart();
    world.look();
    stands_still(&world, "fewer than 2 venues' own times agree");
    world.now = now;
    world.run(720, PRICE);
    let ledger = world.ledger();
    assert_eq!((ledger.frozen_until(), ledger.fixing(hour(1))), (hour(1), Some(Cents(PRICE))));
    assert_eq!((world.health().ticks, world.window().look().clock_doubt.clone()), (ticks + 720, None));
}

#[tokio::test]
async fn an_oracle_that_starts_says_nothing_until_venues_vouch_and_then_keeps_time_without_them() {
    let mut world = World::new().await;
    world.watch();
    world.pass(5);
    world.look();
    let window = world.window();
    assert!(window.look().alarm.as_deref().unwrap_or_default().contains("no venue has answered"));
    // A median needs three venues, and two of these tell no time at all.
    world.pass(3 * HOUR);
    answered(&world, Time(world.now.0 - HOUR));
    for venue in [Venue::Kraken, Venue::Gemini, Venue::Bitfinex] {
        world.table.good(venue, world.now, raw(venue, PRICE, world.now));
    }
    world.look();
    assert!(window.look().alarm.as_deref().unwrap_or_default().contains("fewer than 2 venues"));
    assert_eq!((window.look().ledger.frozen_until(), world.log().end()), (Time(0), None));
    world.run(60, PRICE);
    assert_eq!((window.look().alarm.clone(), window.look().ledger.frozen_until()), (None, hour(3)));
    // All venues away for two hours: the clock is carried, and the hours end without a price.
    world.run_silent(1_440 + 25);
    let shown = window.look();
    assert_eq!((shown.ledger.frozen_until(), shown.clock_doubt.clone()), (hour(5), None));
    assert_eq!((shown.hours_missed, shown.fixings_missed), (2, 3), "of the hour from three on something was seen");
}

#[tokio::test]
async fn a_machine_that_stood_still_is_believed_when_the_venues_say_that_it_is_so_late() {
    let mut world = World::new().await;
    world.watch();
    world.run(60, PRICE);
    world.now = Time(world.now.0 + 5 * HOUR);
    world.look();
    assert!(world.window().look().clock_doubt.is_some());
    world.run(30, PRICE);
    assert_eq!(world.window().look().clock_doubt, None);
    assert_eq!(world.ledger().frozen_until(), hour(5));
    assert_eq!(world.window().look().ticks, world.health().ticks, "ticks are ticks");
}

#[tokio::test]
async fn replicas_survive_one_whose_clock_jumps() {
    let database = crate::daemon::store::Memory::default();
    let (mut right, mut wrong) = (World::on(&database).await, World::on(&database).await);
    for world in [&mut wrong, &mut right] {
        world.watch();
        world.run(60, PRICE);
    }
    wrong.now = FAR;
    wrong.look();
    right.run(720, PRICE);
    assert_eq!((right.ledger().frozen_until(), right.ledger().fixing(hour(1))), (hour(1), Some(Cents(PRICE))));
    wrong.look();
    assert_eq!(wrong.ledger().frozen_until(), hour(1), "it follows");
}

#[tokio::test]
async fn a_pause_that_was_begun_by_a_clock_ahead_does_not_last() {
    let mut world = World::new().await;
    world.venues.set_all(PRICE);
    world.table.failed(Venue::Coinbase, FAR, "it answers 429", Some(30));
    world.ask().await;
    assert_eq!(world.venues.asked(Venue::Coinbase), 1);
}
