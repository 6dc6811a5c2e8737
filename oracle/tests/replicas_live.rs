//! Two replicas with live feeds of their own behind one PostgreSQL, as processes: killed, cut off, and audited.

#![cfg(feature = "postgres-tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;
mod living;

use cluster::{Cable, Server};
use hypothec_oracle::units::{Time, HOUR};
use living::street::{Street, TICK};
use living::{hour, oracle, wait_until, Place, Running};
use std::sync::Arc;

struct World {
    street: Street,
    dollars: u32,
    settings: [[String; 2]; 2],
    places: [Place; 2],
    replicas: [Option<Running>; 2],
    urls: [String; 2],
    server: Arc<Server>,
    database: String,
    cable: Cable,
    now: Time,
}

impl World {
    fn new() -> World {
        let server = Server::shared();
        let (database, first) = (server.database(), Place::new());
        let places = [Place::with_the_key_of(&first), first];
        let cable = Cable::to(server.port);
        let urls = [format!("postgres://oracle@{}/{database}", cable.address), server.url(&database)];
        let (now, dollars) = (hour(0), 8_000);
        let street = Street::open(now, dollars);
        let settings = [0, 1].map(|number| street.settle(&places[number], number));
        places.iter().for_each(|place| place.set(now));
        let replicas = [None, None];
        let mut world = World { street, dollars, settings, places, replicas, urls, server, database, cable, now };
        (0..2).for_each(|which| world.start(which));
        world
    }

    fn start(&mut self, which: usize) {
        let [config, file] = &self.settings[which];
        let more = [config, file, "--postgres", &self.urls[which]];
        let running = self.places[which].start(&[&more[..], &["--postgres-lease-ms", "1000"]].concat());
        self.replicas[which] = Some(running);
    }

    /// So many ticks, waiting for those of the replicas in `heard`. The price falls a dollar at each.
    fn ticks(&mut self, count: u32, heard: &[usize]) {
        for _ in 0..count {
            self.now = self.now.plus(TICK).unwrap();
            self.dollars -= 1;
            self.street.say(self.now, self.dollars);
            self.places.iter().for_each(|place| place.set(self.now));
            for which in heard {
                let replica = self.replicas[*which].as_ref().unwrap();
                let ticked = || replica.get("/v1/log/head").is_some_and(|(_, head)| head["at"] == self.now.0);
                wait_until("the tick", ticked);
            }
        }
    }

    /// To so many minutes past an hour.
    fn until(&mut self, number: u32, minutes: u32, heard: &[usize]) {
        let count = hour(number).plus(minutes * 60).unwrap().since(self.now) / TICK;
        self.ticks(count, heard);
    }

    fn both(&self) -> [&Running; 2] {
        self.replicas.each_ref().map(|one| one.as_ref().unwrap())
    }

    /// Waits until both show everything up to an hour as final, and the same.
    fn agree(&self, number: u32) {
        wait_until("the hour to be final at both", || {
            self.both().iter().all(|one| one.json("/v1/status")["frozen_until"] == hour(number).0)
        });
        let [one, two] = self.both();
        for at in (0..=number).map(hour) {
            assert_eq!(one.fixing(at), two.fixing(at), "{at}");
            assert_eq!(one.fixing(at).is_some(), at > hour(0), "{at}");
        }
        let lows =
            |one: &Running| one.json("/v1/lows/20200312")["lows"].as_array().unwrap()[..number as usize].to_vec();
        assert!(lows(one) == lows(two) && lows(one).iter().all(|low| low.is_u64()), "{:?}", lows(one));
    }

    fn token(&self) -> String {
        self.server.sql(&self.database, "select token from lease")
    }

    /// A stranger's audit of one replica's address with the log of the other.
    fn audit(&self, which: usize) -> String {
        let [one, other] = [which, 1 - which].map(|which| format!("http://{}", self.both()[which].address));
        let output = oracle(&["audit", &one, "--replica", &other]).output().unwrap();
        let says = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success() && says.contains("everything agrees"), "{says}");
        says
    }
}

#[test]
fn live_replicas_that_are_killed_and_cut_off_say_one_low_an_hour_and_one_fixing_and_both_logs_pass_an_audit() {
    let mut world = World::new();
    // Whichever speaks: each is killed once, and the other goes on alone.
    world.until(0, 5, &[0, 1]);
    world.replicas[0] = None;
    world.until(0, 15, &[1]);
    world.start(0);
    world.until(1, 3, &[0, 1]);
    world.agree(1);
    // The other way round.
    world.replicas[1] = None;
    world.until(1, 15, &[0]);
    world.start(1);
    world.until(2, 3, &[0, 1]);
    world.agree(2);
    // The first is cut off from the database, and not from its venues.
    world.cable.cut(true);
    world.until(2, 10, &[1]);
    world.both()[0].wait_for_alarm("cannot be reached");
    world.cable.cut(false);
    world.until(3, 3, &[0, 1]);
    world.agree(3);
    assert!(world.token().parse::<u32>().unwrap() > 1, "the lease changed hands");
    let heads = world.both().map(|one| one.json("/v1/log/head"));
    let ids = heads.each_ref().map(|head| head["log"].as_str().unwrap().to_string());
    assert_ne!(ids[0], ids[1], "each keeps a log of its own, over every restart");
    for which in 0..2 {
        let says = world.audit(which);
        assert!(ids.iter().all(|id| says.contains(&format!("log      {id} at http://"))), "{says}");
        assert!(says.contains("fixings  3 attested"), "{says}");
    }
    // Their heads are of two logs, and accuse nobody.
    let [one, two] = world.both().map(|one| format!("http://{}/v1/log/head", one.address));
    let output = oracle(&["prove-equivocation", &one, &two]).output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!output.status.success() && says.contains("no contradiction"), "{says}");
    assert!(world.now.since(hour(0)) >= 3 * HOUR);
}

#[test]
fn a_new_replica_without_the_policies_of_the_others_does_not_start() {
    let mut world = World::new();
    world.until(1, 3, &[0, 1]);
    world.agree(1);
    // A third of the same key, with venues of its own and no policy file, as somebody may begin one.
    let third = Place::with_the_key_of(&world.places[1]);
    third.set(world.now);
    let [_, config] = world.street.settle(&third, 2);
    let text = std::fs::read_to_string(&config).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("policy")).collect();
    std::fs::write(&config, without.join("\n")).unwrap();
    let start = |more: &[&str]| {
        let line = [&["--config", &config][..], more].concat();
        assert!(Running::of(third.command(&line)).is_none(), "it speaks");
        third.refusal(&line)
    };
    let ledger = ["--postgres", &world.urls[1]];
    let said = start(&ledger);
    assert!(said.contains("policies.json is missing") && said.contains("ledger holds"), "{said}");
    let peer = format!("http://{}", world.both()[0].address);
    let beside = [&ledger[..], &["--peer", &peer]].concat();
    let said = start(&beside);
    assert!(said.contains(&format!("{peer} publishes 1 policies: copy policies.json")), "{said}");
    assert!(!third.data().join("policies.json").exists() && !third.data().join("ticks").join("head").exists());
    // With another's numbers under the same version it would contradict that one.
    let theirs = std::fs::read_to_string(world.places[0].data().join("policies.json")).unwrap();
    std::fs::write(third.data().join("policies.json"), theirs.replace("\"quorum\": 3", "\"quorum\": 4")).unwrap();
    let said = start(&beside);
    assert!(said.contains(&format!("other numbers for version 1 than {peer}")), "{said}");
}
