//! An honest oracle passes an audit, and every way to lie is found.

use super::*;
use crate::daemon::harness::{keys, World, START};
use crate::daemon::ledger::{Ledger, Record};
use crate::daemon::store::Memory;
use crate::price::reckon::Input;
use crate::ticklog::chain::End;
use crate::ticklog::entry::{hash_of, Line};
use crate::units::{Cents, HOUR};
use bitcoin::hashes::{sha256, Hash};
use std::path::PathBuf;

const PRICE: u64 = 110_300;

/// An oracle over two hours around midnight, the price falling a little, then a lot.
async fn world() -> World {
    let mut world = World::new().await;
    for step in 0..24 {
        world.run(30, PRICE - step * 10);
    }
    world.run(400, PRICE - 2_000);
    world.run(345, PRICE - 1_000);
    world
}

fn log_of(world: &World, day: &str) -> PathBuf {
    world.data().join(format!("ticks/{day}.log"))
}

async fn audited(url: &str) -> String {
    match audit_oracle(url, &[], Scope::default(), None).await {
        Ok(report) => report,
        Err(error) => format!("{error:#}"),
    }
}

async fn audited_together(first: &World, second: &World, ledger: Ledger) -> String {
    let (url, replica) = (first.serve(ledger.clone()).await, second.serve(ledger).await);
    match audit_oracle(&url, &[replica], Scope::default(), None).await {
        Ok(report) => report,
        Err(error) => format!("{error:#}"),
    }
}

/// The ledger without what `drop` names, and with `more`.
fn falsified(honest: &Ledger, drop: &dyn Fn(&Record) -> bool, more: &[Record]) -> Ledger {
    let mut records = more.to_vec();
    for number in 0..3 {
        let hour = START.plus(number * HOUR).unwrap();
        let low = honest.lows(hour.day())[usize::from(hour.hour_of_day())];
        records.extend(low.map(|cents| Record::Low { hour, cents }));
        records.extend(honest.fixing(hour).map(|cents| Record::Fixing { at: hour, cents }));
    }
    records.push(Record::Frozen { until: honest.frozen_until() });
    let mut ledger = Ledger::default();
    for record in records.into_iter().filter(|record| !drop(record)) {
        // What contradicts a falsified record is left out with it.
        let _ = ledger.apply(record);
    }
    ledger
}

/// The ticks of a log with other content, chained and signed again by the oracle itself.
fn forged(text: &str, first_prev: sha256::Hash, change: &dyn Fn(&mut crate::ticklog::entry::Entry)) -> String {
    let (mut prev, mut out, mut last, mut log) = (first_prev, String::new(), None, None);
    for line in text.lines() {
        let line = match serde_json::from_str(line).unwrap() {
            Line::Tick(mut entry) => {
                change(&mut entry);
                entry.prev = prev;
                let line = Line::Tick(entry.clone());
                prev = hash_of(&line.text());
                last = Some((entry.n, entry.at));
                log = entry.log.or(log);
                line
            }
            Line::Head(_) => {
                let (n, at) = last.unwrap();
                Line::Head(Head::sign(&keys(), End { n, at, hash: prev, log, headed: false }))
            }
        };
        out += &format!("{}\n", line.text());
    }
    out
}

#[tokio::test]
async fn an_honest_oracle_passes_its_audit() {
    let world = world().await;
    let url = world.serve(world.ledger()).await;
    let report = audited(&url).await;
    assert!(report.ends_with("everything agrees"), "{report}");
    assert!(report.contains("ticks    1465, 1465 with a median, 2 signed heads"), "{report}");
    assert!(report.contains("lows     3\nfixings  2 attested"), "{report}");
    let day = Day::from_yyyymmdd("20200312");
    let second =
        audit_oracle(&url, &[], Scope { from: day, ..Scope::default() }, Some(keys().public_key())).await.unwrap();
    assert!(second.contains("days     20200312 to 20200312"), "{second}");
    let other = audit_oracle(
        &url,
        &[],
        Scope::default(),
        Some(
            crate::announce::OracleKeys::from_secret(secp256k1_zkp::SecretKey::from_slice(&[8; 32]).unwrap())
                .public_key(),
        ),
    )
    .await;
    assert!(other.unwrap_err().to_string().contains("right would be"));
}

#[tokio::test]
async fn an_audit_that_asks_too_much_comes_back_when_it_is_told_to() {
    let world = world().await;
    let url = world.serve(world.ledger()).await;
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&asked);
    let busy = move |uri: axum::http::Uri| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let url = format!("{url}{uri}");
        async move {
            if number % 3 == 1 {
                return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], Default::default());
            }
            let answer = reqwest::get(url).await.unwrap();
            (answer.status(), [("retry-after", "9")], answer.bytes().await.unwrap())
        }
    };
    let front = crate::daemon::harness::listen(axum::Router::new().fallback(busy)).await;
    assert!(audited(&front).await.ends_with("everything agrees"));
    assert!(asked.load(std::sync::atomic::Ordering::SeqCst) > 20);
    let never = || async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]) };
    let front = crate::daemon::harness::listen(axum::Router::new().fallback(never)).await;
    assert!(audited(&front).await.contains("answers HTTP 429"));
}

#[test]
fn an_audit_looks_below_the_least_low_from_every_hour_and_at_every_rung_from_midnight() {
    let day = Day::from_yyyymmdd("20200312").unwrap();
    let mut lows = [None; 24];
    (lows[0], lows[13], lows[20]) = (Some(Cents(9_000_000)), Some(Cents(6_000_000)), Some(Cents(8_000_000)));
    let lows = [SignedLows::sign(&keys(), day, day.end().unwrap(), lows)];
    let level = |dollars| Level::at_or_below(dollars).unwrap();
    let looks = |every_rung, dollars, from_hour| {
        let event = Event::Touch { level: level(dollars), day, from_hour };
        touch_bundles(&lows, every_rung).contains(&Bundle::of(event))
    };
    for dollars in [1_000, 10_000, 29_000, 60_000, 90_000] {
        assert!(looks(false, dollars, 0), "{dollars} from midnight");
        assert!(looks(true, dollars, 13), "{dollars} from the 13th hour, every rung");
        assert_eq!(looks(false, dollars, 13), dollars >= 30_000 - 64 * 50, "{dollars} from the 13th hour");
        assert_eq!(looks(false, dollars, 14), dollars >= 40_000 - 64 * 50, "{dollars} from the 14th hour");
        assert!(looks(true, dollars, 21), "{dollars} from an hour after the last low: nothing may be attested there");
    }
}

#[tokio::test]
async fn a_log_that_was_changed_cut_or_moved_is_found() {
    let mut world = world().await;
    let url = world.serve(world.ledger()).await;
    let (first, second) = (log_of(&world, "20200311"), log_of(&world, "20200312"));
    let honest = [std::fs::read_to_string(&first).unwrap(), std::fs::read_to_string(&second).unwrap()];
    let joined = |lines: Vec<&str>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let lines: Vec<&str> = honest[0].lines().collect();
    let mut dropped = lines.clone();
    dropped.remove(300);
    let mut swapped = lines.clone();
    swapped.swap(300, 301);
    let mut headless = lines.clone();
    assert!(headless.pop().unwrap().starts_with("{\"head\""));
    // A day's volume as a venue said it, which no price is made of: only the next line's hash can tell.
    let changed = lines[300].replacen("1234.5,65000", "1234.5,65001", 1);
    assert_ne!(changed, lines[300]);
    let mut rewritten = lines.clone();
    rewritten[300] = &changed;
    let zeros = sha256::Hash::all_zeros();
    let at_300 = |change: fn(&mut crate::ticklog::entry::Entry)| {
        move |entry: &mut crate::ticklog::entry::Entry| {
            if entry.n == 300 {
                change(entry);
            }
        }
    };
    let median = forged(&honest[0], zeros, &at_300(|entry| entry.median = Some(Cents(100_000))));
    let held = forged(&honest[0], zeros, &at_300(|entry| entry.held = Some(Cents(100_000))));
    let policy = forged(&honest[0], zeros, &at_300(|entry| entry.policy = 2));
    let fewer = forged(&honest[0], zeros, &at_300(|entry| drop(entry.inputs.pop())));
    let silent =
        |input: &mut Input| *input = Input { raw: None, received: None, error: Some("x".into()), ..input.clone() };
    let inputs = forged(&honest[0], zeros, &|entry| {
        if entry.n == 300 {
            entry.inputs.iter_mut().take(3).for_each(silent);
        }
    });
    for (text, says) in [
        (joined(rewritten), "tick 301 does not follow from the line before it: that line was changed"),
        (joined(dropped), "tick 301 stands where tick 300 belongs"),
        (joined(lines[10..].to_vec()), "tick 10 stands where tick 0 belongs"),
        (joined(swapped), "tick 301 stands where tick 300 belongs"),
        (joined(headless), "stands where that of tick 718 belongs: heads are signed in order"),
        (median, "the log says median $1,000.00, its inputs make $1,102.0"),
        (held, "the log says held price $1,000.00"),
        (policy, "names policy version 2; the published version then was 1"),
        (fewer, "does not have one input for each venue"),
        (inputs, "its inputs make none"),
        (
            honest[0].replacen("\"signature\":\"", "\"signature\":\"00", 1).replacen("00", "", 0),
            "not a line of a tick log",
        ),
    ] {
        std::fs::write(&first, text).unwrap();
        let report = audited(&url).await;
        assert!(report.contains(says), "{says}: {report}");
    }
    std::fs::write(&first, &honest[0]).unwrap();
    let cut: Vec<&str> = honest[1].lines().collect();
    // The file must keep its length: a reader takes what was made durable.
    let padded = joined(cut[..cut.len() - 1].to_vec());
    std::fs::write(&second, padded).unwrap();
    let report = audited(&url).await;
    assert!(report.contains("ticks at its end were dropped"), "{report}");
    std::fs::write(&second, &honest[1]).unwrap();
    assert!(audited(&url).await.ends_with("everything agrees"));
    world.stop();
}

#[tokio::test]
async fn a_late_head_is_right_and_a_missing_one_is_not_unless_it_is_the_newest() {
    let world = world().await;
    let days = ["20200311", "20200312"].map(|day| (Day::from_yyyymmdd(day).unwrap(), log_of(&world, day)));
    let texts = days.clone().map(|(_, path)| std::fs::read_to_string(path).unwrap());
    let mut lines: Vec<(Day, &str)> =
        texts.iter().zip(&days).flat_map(|(text, (day, _))| text.lines().map(|line| (*day, line))).collect();
    let is_head = |line: &(Day, &str)| line.1.starts_with("{\"head\"");
    let places: Vec<usize> = lines.iter().enumerate().filter(|(_, line)| is_head(line)).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 2);
    let [newest, oldest] = [lines.remove(places[1]), lines.remove(places[0])];
    let first_day = days[0].0;
    let audit = |lines: &[(Day, &str)], until: Option<Day>| {
        let from = first_day.start().unwrap();
        let auditor = Auditor::new(keys().public_key(), world.policies.clone(), from).from_the_first_tick();
        let mut auditor = auditor.until(until.and_then(Day::end));
        for (day, line) in lines {
            auditor.line(*day, line)?;
        }
        Ok::<_, crate::ticklog::audit::Disagreement>(auditor)
    };
    let missing = audit(&lines, None).unwrap().end().unwrap_err().to_string();
    assert!(missing.contains("no signed head closes the hour whose last tick is 718"), "{missing}");
    // Signed long after: in the file of another day, behind its ticks.
    let late = [lines.clone(), vec![(days[1].0, oldest.1)]].concat();
    assert_eq!(audit(&late, None).unwrap().end().unwrap().heads, 1, "the newest may wait");
    let late = [late, vec![(days[1].0, newest.1)]].concat();
    assert_eq!(audit(&late, None).unwrap().end().unwrap().heads, 2);
    let disordered = [lines.clone(), vec![(days[1].0, newest.1)]].concat();
    assert!(audit(&disordered, None).is_err());
    // Of the first day alone: its last hour waits for a head that stands in the second day's file.
    let ticks_of_first = lines.iter().filter(|(day, _)| *day == first_day).count();
    let alone = audit(&lines[..ticks_of_first], Some(first_day)).unwrap();
    assert!(alone.awaits_heads());
    let read_on = audit(&late, Some(first_day)).unwrap();
    assert!(!read_on.awaits_heads());
    assert_eq!(read_on.end().unwrap().ticks, u64::try_from(ticks_of_first).unwrap(), "the next day's are not its own");
}

#[tokio::test]
async fn what_was_said_against_the_ticks_is_found() {
    let world = world().await;
    let honest = world.ledger();
    let second = START.plus(HOUR).unwrap();
    let is_low = |record: &Record| matches!(record, Record::Low { hour, .. } if *hour == second);
    let is_fixing = |record: &Record| matches!(record, Record::Fixing { at, .. } if *at == second);
    let none = |_: &Record| false;
    let low = |cents| Record::Low { hour: second, cents: Cents(cents) };
    let fixing = |cents| Record::Fixing { at: second, cents: Cents(cents) };
    for (ledger, says) in [
        (falsified(&honest, &is_low, &[]), "the low of the hour from 2020-03-12T00:00:00Z is served as none"),
        (falsified(&honest, &none, &[low(105_000)]), "is served as $1,050.00, its ticks make $1,083.0"),
        (falsified(&honest, &is_fixing, &[]), "the fixing at 2020-03-12T00:00:00Z is attested as no dollars"),
        (falsified(&honest, &none, &[fixing(105_000)]), "is attested as 1050 dollars, its ticks make 110"),
    ] {
        let report = audited(&world.serve(ledger).await).await;
        assert!(report.contains(says), "{says}: {report}");
    }
    // Hours that are kept open excuse nothing, and nor does it that the log begins in the middle of its first day.
    let is_end = |record: &Record| matches!(record, Record::Frozen { .. });
    let report = audited(&world.serve(falsified(&honest, &is_end, &[])).await).await;
    assert!(report.contains("are signed as final only until 1970"), "{report}");
    let is_any_low = |record: &Record| matches!(record, Record::Low { .. });
    let silent = falsified(&honest, &is_any_low, &[]);
    let report = audited(&world.serve_two_faced(honest.clone(), silent).await).await;
    assert!(report.contains("20200311-h00 is not attested, but the low of its hours fell to"), "{report}");
    for (bands, says) in [
        (
            falsified(&honest, &none, &[low(107_900)]),
            "-20200312-h00 is attested, but the least low from its hour on is $1,083.0",
        ),
        (falsified(&honest, &is_low, &[]), "-20200312-h00 is not attested, but the low of its hours fell to $1,083.0"),
    ] {
        let report = audited(&world.serve_two_faced(honest.clone(), bands).await).await;
        assert!(report.contains(says), "{says}: {report}");
    }
    let auditor = {
        let mut auditor = Auditor::new(keys().public_key(), world.policies.clone(), START.day().start().unwrap());
        for day in ["20200311", "20200312"] {
            for line in std::fs::read_to_string(log_of(&world, day)).unwrap().lines() {
                auditor.line(Day::from_yyyymmdd(day).unwrap(), line).unwrap();
            }
        }
        Logs::new(keys().public_key(), vec![auditor])
    };
    let touch = |dollars, from_hour| {
        let level = Level::exactly(dollars).unwrap();
        Event::Touch { level, day: second.day(), from_hour }
    };
    let frozen = honest.frozen_until();
    auditor.check_touch(touch(1_084, 0), true, frozen).unwrap();
    auditor.check_touch(touch(1_082, 0), false, frozen).unwrap();
    let lie = auditor.check_touch(touch(1_082, 0), true, frozen).unwrap_err().to_string();
    assert!(lie.contains("btcusd-touch-1082-20200312-h00 is attested, but the least low"), "{lie}");
    let lie = auditor.check_touch(touch(1_084, 1), true, frozen).unwrap_err().to_string();
    assert!(lie.contains("h01 is attested"), "the low of the hour before does not count: {lie}");
    let gap = auditor.check_touch(touch(1_084, 0), false, frozen).unwrap_err().to_string();
    assert!(gap.contains("is not attested, but the low of its hours fell to $1,083.0"), "{gap}");
}

#[tokio::test]
async fn what_replicas_said_in_turns_follows_from_their_logs_together() {
    let (mut first, mut second) = (World::new().await, World::new().await);
    for (world, lower) in [(&mut first, 0), (&mut second, 200)] {
        for step in 0..5 {
            world.run(293, PRICE - lower - step * 300);
        }
    }
    // The first spoke in the hour before midnight, the second after it; the first one's fixings stand.
    let (one, two) = (first.ledger(), second.ledger());
    let midnight = START.plus(HOUR).unwrap();
    let low = |cents| Record::Low { hour: midnight, cents };
    let theirs = two.lows(midnight.day())[0].unwrap();
    let none = |_: &Record| false;
    let mixed = falsified(&one, &none, &[low(theirs)]);
    assert_eq!(mixed.lows(midnight.day())[0], Some(theirs), "the lower one");
    let together = |ledger: Ledger| audited_together(&first, &second, ledger);
    let alone = audited(&first.serve(mixed.clone()).await).await;
    assert!(alone.contains("the low of the hour from 2020-03-12T00:00:00Z is served as $1,089.0"), "{alone}");
    let report = together(mixed).await;
    assert!(report.ends_with("everything agrees") && report.contains("ticks    2930"), "{report}");
    let is_low = |record: &Record| matches!(record, Record::Low { hour, .. } if *hour == midnight);
    for (ledger, says) in [
        (falsified(&one, &none, &[low(Cents(50_000))]), "is served as $500.00, its ticks make $1,091.01 or $1,089.01"),
        (falsified(&one, &is_low, &[]), "is served as none, its ticks make $1,091.01 or $1,089.01"),
        (
            falsified(&one, &none, &[Record::Fixing { at: midnight, cents: Cents(50_000) }]),
            "is attested as 500 dollars, its ticks make 1100 or 1098",
        ),
    ] {
        let report = together(ledger).await;
        assert!(report.contains(says), "{says}: {report}");
    }
}

#[tokio::test]
async fn live_replicas_on_one_ledger_take_turns_as_their_venues_fail_and_pass_an_audit_together() {
    let database = Memory::default();
    let (mut first, mut second) = (World::on(&database).await, World::on(&database).await);
    let (price, midnight) = (PRICE, START.plus(HOUR).unwrap());
    for tick in 0..1_465u32 {
        // The first loses its venues from 23:50 to 00:20, the second from 00:30 on.
        let (one_sees, two_sees) = (!(600..960).contains(&tick), tick < 1_080);
        let fall = u64::from(tick / 10) * 20;
        for (world, sees, cents) in [(&mut first, one_sees, price - fall), (&mut second, two_sees, price - 400 - fall)]
        {
            if sees {
                world.run(1, cents);
            } else {
                world.run_silent(1);
            }
        }
        if tick == 600 {
            let low = first.ledger().lows(START.day())[23];
            assert!(low > Some(Cents(price - 400 - fall)), "the first speaks, so far by its own prices: {low:?}");
        }
    }
    second.look();
    let ledger = first.ledger();
    assert_eq!((&ledger, ledger.frozen_until()), (&second.ledger(), START.plus(2 * HOUR).unwrap()));
    assert_eq!(ledger.counts(), (3, 2));
    assert!(ledger.lows(midnight.day())[0] < Some(Cents(price - 1_400 * 2 + 100)), "to the end of the hour");
    let alone = audited(&first.serve(ledger.clone()).await).await;
    assert!(alone.contains("its ticks make"), "{alone}");
    let report = audited_together(&first, &second, ledger).await;
    assert!(report.ends_with("everything agrees"), "{report}");
}

#[tokio::test]
async fn an_audit_tells_whose_log_it_follows_and_one_log_with_two_pasts_is_proved() {
    let (mut first, mut second) = (World::new().await, World::new().await);
    first.run(300, PRICE);
    second.run(300, PRICE);
    // Two logs of two replicas: their heads of one number differ, and that accuses nobody.
    let report = audited_together(&first, &second, first.ledger()).await;
    assert!(report.ends_with("everything agrees"), "{report}");
    let logs: Vec<&str> = report.lines().filter(|line| line.starts_with("log      ")).collect();
    assert!(logs.len() == 2 && logs.iter().all(|line| line.ends_with("300 ticks, 0 signed heads")), "{report}");
    assert_ne!(logs[0].split_whitespace().nth(1), logs[1].split_whitespace().nth(1), "each has an id");
    // An address behind which two replicas answer in turn.
    second.run(1, PRICE);
    let mixed = audited(&first.serve_with_the_head_of(&second).await).await;
    assert!(mixed.contains("speaks for several replicas in turn"), "{mixed}");
    // The same log at two addresses is read once.
    let (url, ledger) = (first.serve(first.ledger()).await, first.ledger());
    let twice = audited_together(&first, &first, ledger).await;
    assert!(twice.contains(": the same\n") && twice.contains("ticks    300,"), "{url}: {twice}");
    // A copy of the log goes on elsewhere: from there on there are two pasts.
    second.stop();
    std::fs::remove_dir_all(second.data().join("ticks")).unwrap();
    std::fs::create_dir(second.data().join("ticks")).unwrap();
    std::fs::copy(log_of(&first, "20200311"), log_of(&second, "20200311")).unwrap();
    second.now = first.now;
    second.restart();
    first.run(500, PRICE);
    second.run(500, PRICE - 100);
    let error = audited_together(&first, &second, first.ledger()).await;
    assert!(error.contains("has two pasts: the oracle signed one tick 718 at"), "{error}");
    let proof = <Vec<u8> as bitcoin::hex::FromHex>::from_hex(error.rsplit(' ').next().unwrap()).unwrap();
    let proof = Proof::from_bytes(&proof).unwrap();
    assert!(proof.check() == Ok(keys().public_key()) && proof.about().starts_with("tick 718 of tick log "));
}
