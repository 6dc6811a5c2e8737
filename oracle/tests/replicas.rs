//! Two replicas of one oracle behind one PostgreSQL: real processes, killed, stopped and cut apart.

#![cfg(feature = "postgres-tests")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cluster;
mod living;

use cluster::{Cable, Server};
use hypothec_oracle::units::{Time, HOUR};
use living::{dollars, hour, oracle, wait_until, Place, Running, Witness};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use serde_json::Value;
use std::sync::Arc;

/// Two places of one oracle and their database.
struct World {
    server: Arc<Server>,
    database: String,
    places: [Place; 2],
    lease: &'static str,
}

impl World {
    fn new() -> World {
        let server = Server::shared();
        let (database, first) = (server.database(), Place::new());
        let second = Place::with_the_key_of(&first);
        World { server, database, places: [first, second], lease: "1500" }
    }

    fn start_at(&self, which: usize, url: &str) -> Running {
        self.places[which].start(&["--manual", "--postgres", url, "--postgres-lease-ms", self.lease])
    }

    fn start(&self, which: usize) -> Running {
        self.start_at(which, &self.server.url(&self.database))
    }

    fn set(&self, now: Time) {
        self.places.iter().for_each(|place| place.set(now));
    }

    fn token(&self) -> String {
        self.server.sql(&self.database, "select token from lease")
    }
}

/// Both say the same about everything up to `until`, byte for byte.
fn agree(replicas: &[&Running], until: Time) {
    for replica in replicas {
        wait_until("the replicas to agree", || {
            let status = [replicas[0], *replica].map(|one| one.json("/v1/status"));
            status[0]["frozen_until"] == status[1]["frozen_until"] && status[0]["fixings"] == status[1]["fixings"]
        });
        for at in (hour(0).0..=until.0).step_by(HOUR as usize).map(Time) {
            assert_eq!(replicas[0].fixing(at), replica.fixing(at), "{at}");
        }
        let lows = |one: &Running| one.json("/v1/lows/20200312")["lows"].clone();
        assert_eq!(lows(replicas[0]), lows(replica));
    }
}

#[test]
fn two_live_replicas_with_different_prices_give_one_answer() {
    // So long that even a busy machine does not let it run out.
    let world = World { lease: "60000", ..World::new() };
    let replicas = [world.start(0), world.start(1)];
    world.places[0].tell(700_000);
    world.places[1].tell(600_000);
    for number in 1..=6 {
        world.set(hour(number));
        wait_until("both", || replicas.iter().all(|one| one.fixing(hour(number)).is_some()));
    }
    agree(&[&replicas[0], &replicas[1]], hour(6));
    assert_eq!(dollars(&replicas[1].fixing(hour(6)).unwrap()), 7_000, "the first one speaks");
    let touch = "/attestation/btcusd-touch-7000-20200312-h01";
    assert_eq!(replicas[0].json(touch), replicas[1].json(touch));
    assert_eq!(world.token(), "1");
}

#[test]
fn whichever_replica_is_killed_the_other_goes_on_and_both_say_the_same_afterwards() {
    let world = World::new();
    let mut replicas = [Some(world.start(0)), Some(world.start(1))];
    let mut now = 1;
    for (turn, killed) in [0, 1, 0].into_iter().enumerate() {
        let alive = 1 - killed;
        world.places.iter().zip([700_000, 600_000]).for_each(|(place, cents)| place.tell(cents - turn as u64));
        world.set(hour(now));
        let both = |at: Time| replicas.iter().flatten().all(|one| one.fixing(at).is_some());
        wait_until("the fixing on both", || both(hour(now)));
        replicas[killed] = None;
        now += 1;
        world.set(hour(now));
        let survivor = replicas[alive].as_ref().unwrap();
        wait_until("the survivor's fixing", || survivor.fixing(hour(now)).is_some());
        replicas[killed] = Some(world.start(killed));
        now += 1;
    }
    agree(&[replicas[0].as_ref().unwrap(), replicas[1].as_ref().unwrap()], hour(now));
}

#[test]
fn a_replica_that_was_stopped_for_longer_than_its_lease_does_not_write_when_it_wakes() {
    let world = World::new();
    let first = world.start(0);
    world.places[0].tell(700_000);
    world.set(hour(1));
    first.wait_for(hour(1));
    let second = world.start(1);
    world.places[1].tell(600_000);
    first.signal(Signal::STOP);
    // Its clock and its price move while it cannot see them; the other takes over and fixes the next hour.
    world.set(hour(2));
    wait_until("the second to take over", || second.fixing(hour(2)).is_some());
    assert_eq!(dollars(&second.fixing(hour(2)).unwrap()), 6_000);
    world.places[0].price(650_000);
    first.signal(Signal::CONT);
    first.wait_for(hour(2));
    world.set(hour(3));
    wait_until("both", || [&first, &second].iter().all(|one| one.fixing(hour(3)).is_some()));
    agree(&[&second, &first], hour(3));
    assert_eq!(dollars(&first.fixing(hour(2)).unwrap()), 6_000, "what it had in mind was not written");
    assert!(world.token().parse::<u32>().unwrap() >= 2);
}

#[test]
fn a_replica_cut_off_from_the_database_says_nothing_new_and_follows_when_it_is_back() {
    let world = World::new();
    let cable = Cable::to(world.server.port);
    let first = world.start_at(0, &format!("postgres://oracle@{}/{}", cable.address, world.database));
    world.places[0].tell(700_000);
    world.set(hour(1));
    wait_until("the first", || first.fixing(hour(1)).is_some_and(|said| dollars(&said) == 7_000));
    let known = first.fixing(hour(1));
    let second = world.start(1);
    world.places[1].tell(600_000);
    cable.cut(true);
    world.set(hour(2));
    first.wait_for_alarm("cannot be reached");
    wait_until("the second to take over", || second.fixing(hour(2)).is_some());
    assert_eq!(first.fixing(hour(2)), None, "it cannot know, so it does not say");
    assert_eq!(first.get("/v1/price").unwrap().0, 503);
    assert_eq!(first.fixing(hour(1)), known, "what was known stays");
    world.set(hour(3));
    wait_until("the second", || second.fixing(hour(3)).is_some());
    cable.cut(false);
    wait_until("the first to hear", || first.fixing(hour(3)).is_some());
    agree(&[&second, &first], hour(3));
    assert_eq!(dollars(&first.fixing(hour(2)).unwrap()), 6_000);
}

#[test]
fn replicas_cut_from_each_other_and_sharing_the_database_still_give_one_answer() {
    let world = World::new();
    let first = world.start(0);
    let cable = Cable::to(first.address.port());
    let peer = format!("http://{}", cable.address);
    let url = world.server.url(&world.database);
    let second =
        world.places[1].start(&["--manual", "--postgres", &url, "--postgres-lease-ms", "1000", "--peer", &peer]);
    world.places[0].tell(700_000);
    world.places[1].tell(600_000);
    cable.cut(true);
    for number in 1..=2 {
        world.set(hour(number));
        wait_until("both", || [&first, &second].iter().all(|one| one.fixing(hour(number)).is_some()));
    }
    drop(first);
    world.set(hour(3));
    wait_until("the second alone, though its peer is silent", || second.fixing(hour(3)).is_some());
    let first = world.start(0);
    agree(&[&first, &second], hour(3));
}

#[test]
fn a_database_put_back_to_an_older_state_stops_the_replicas_and_is_refused_at_start() {
    let world = World::new();
    let mut first = world.start(0);
    world.places[0].tell(700_000);
    for number in 1..=3 {
        world.set(hour(number));
        wait_until("the fixing", || first.fixing(hour(number)).is_some());
    }
    let back = "set session_replication_role = replica; delete from record where number >= 4";
    world.server.sql(&world.database, back);
    world.set(hour(4));
    wait_until("the replica to stop", || !first.is_alive());
    let url = world.server.url(&world.database);
    let refusal = world.places[0].refusal(&["--manual", "--postgres", &url]);
    assert!(refusal.contains("older than the watermark") && refusal.contains("PostgreSQL"), "{refusal}");
}

impl World {
    /// An operator's order about payments at one of the places; what came of it, or the refusal.
    fn order(&self, which: usize, args: &[&str]) -> Result<Value, String> {
        let data = self.places[which].data();
        let output = oracle(&[&["payment"], args, &["--data", &data.to_string_lossy()]].concat()).output().unwrap();
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ")),
        }
    }
}

#[test]
fn a_payment_made_at_one_replica_is_attested_at_the_other_and_both_serve_it_whoever_has_the_lease() {
    let world = World::new();
    let mut replicas = [world.start(0), world.start(1)];
    let made = world.order(0, &["make", "--until", "20200401"]).unwrap();
    let [paid, undisbursed] = ["paid", "undisbursed"].map(|word| made[word].as_str().unwrap().to_string());
    let announced = |one: &Running| one.get(&format!("/announcement/{paid}")).filter(|(status, _)| *status == 200);
    wait_until("the second to announce it", || announced(&replicas[1]).is_some());
    assert_eq!(announced(&replicas[0]), announced(&replicas[1]));
    // Two operators, two minds, at once.
    let told: Vec<_> = std::thread::scope(|scope| {
        let orders = [(0, &paid), (1, &undisbursed)];
        let telling = orders.map(|(which, event)| {
            let world = &world;
            scope.spawn(move || world.order(which, &["attest", event]))
        });
        telling.map(|told| told.join().unwrap()).into_iter().collect()
    });
    let refusals: Vec<_> = told.iter().filter_map(|told| told.as_ref().err()).collect();
    assert!(refusals.len() == 1 && refusals[0].contains("was attested; the other word cannot be"), "{told:?}");
    let said = if told[0].is_ok() { &paid } else { &undisbursed };
    let attested = |one: &Running, event: &str| one.get(&format!("/attestation/{event}")).filter(|(s, _)| *s == 200);
    wait_until("both to attest it", || replicas.iter().all(|one| attested(one, said).is_some()));
    assert_eq!(attested(&replicas[0], said), attested(&replicas[1], said));
    let other = if told[0].is_ok() { &undisbursed } else { &paid };
    assert!(replicas.iter().all(|one| attested(one, other).is_none()));
    // One is killed; what the other is told meanwhile it knows when it is back.
    let _ = replicas[0].child.kill();
    let late = world.order(1, &["make", "--until", "20200402"]).unwrap();
    replicas[0] = world.start(0);
    assert!(replicas[0].get(&format!("/announcement/{}", late["paid"].as_str().unwrap())).unwrap().0 == 200);
    assert!(attested(&replicas[0], said).is_some());
}

#[test]
fn a_replica_whose_clock_is_off_from_the_databases_does_not_speak_until_it_is_right() {
    let world = World::new();
    let sql = |text: &str| world.server.sql(&world.database, text);
    // The machine's clock cannot be moved here, so the database's is.
    sql("create table skew (skew interval); insert into skew values ('0')");
    sql("create function public.clock_timestamp() returns timestamptz language sql volatile as \
         'select pg_catalog.clock_timestamp() + (select skew from public.skew)'");
    sql(&format!("alter database {} set search_path = public, pg_catalog", world.database));
    let url = world.server.url(&world.database);
    let start = |which: usize| {
        let data = world.places[which].data();
        let args = ["run", "--data", &data.to_string_lossy(), "--network", "regtest", "--listen", "127.0.0.1:0"];
        Running::of(oracle(&[&args[..], &["--manual", "--postgres", &url]].concat())).unwrap()
    };
    let first = start(0);
    wait_until("the first to speak", || world.token() == "1");
    let second = start(1);
    world.places[0].tell(700_000);
    let well = |one: &Running| one.json("/v1/status")["alarm"].is_null() && one.json("/v1/status")["clock_ahead"] == 0;
    wait_until("both to be well", || well(&first) && well(&second));
    sql("update skew set skew = '60 seconds'");
    for replica in [&first, &second] {
        replica.wait_for_alarm("s behind the database's");
        let ahead = replica.json("/v1/status")["clock_ahead"].as_i64().unwrap();
        assert!((-61..=-58).contains(&ahead), "{ahead}");
        assert_eq!(replica.get("/v1/price").unwrap().0, 503);
    }
    assert_eq!(world.token(), "1", "nobody takes the lease");
    sql("update skew set skew = '0'");
    wait_until("one to speak again", || world.token() == "2");
    wait_until("both to be well", || well(&first) && well(&second));
}

/// Random kills, stops and prices; `HYPOTHEC_KILLS` says how many (default 8).
#[test]
fn replicas_killed_at_random_never_say_two_fixings() {
    let kills = std::env::var("HYPOTHEC_KILLS").map_or(8, |text| text.parse().unwrap());
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new();
    let mut now = hour(1);
    world.set(now);
    let mut witnesses = [Witness::default(), Witness::default()];
    let mut replicas = [world.start(0), world.start(1)];
    for _ in 0..kills {
        for _ in 0..random.gen_range(1..5) {
            for (place, replica) in world.places.iter().zip(&replicas) {
                place.price(random.gen_range(400_000..700_000));
                place.set(now);
                if random.gen_ratio(1, 8) {
                    replica.signal(Signal::STOP);
                    replica.signal(Signal::CONT);
                }
            }
            for (witness, replica) in witnesses.iter_mut().zip(&replicas) {
                witness.look(replica.address, now);
                witness.vouch();
            }
            now = now.plus([1, 60, 600, HOUR][random.gen_range(0..4)]).unwrap();
        }
        let dying = random.gen_range(0..2);
        let _ = replicas[dying].child.kill();
        let _ = replicas[dying].child.wait();
        replicas[dying] = world.start(dying);
    }
    world.set(now);
    wait_until("the ledger to rest", || {
        let status = replicas.each_ref().map(|one| one.json("/v1/status"));
        status.iter().all(|status| status["clock"] == now.0) && status[0]["lows"] == status[1]["lows"]
    });
    for witness in &mut witnesses {
        replicas.iter().for_each(|replica| witness.asks_again(replica));
        witness.vouch();
    }
    agree(&[&replicas[0], &replicas[1]], now);
    let answers: u64 = witnesses.iter().map(|witness| witness.answers).sum();
    println!("{kills} kills, {answers} answers, {} leases", world.token());
}
