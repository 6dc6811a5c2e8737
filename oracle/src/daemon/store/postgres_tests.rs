//! PostgreSQL: the shared conformance suite runs here too; these are the stories of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // Test code throughout.

#[path = "../../../tests/cluster/mod.rs"]
mod cluster;

use super::super::conformance::{key, Backend};
use super::*;
use crate::announce::OracleKeys;
use crate::units::HOUR;
use secp256k1_zkp::SecretKey;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const NOON: Time = Time(1_584_014_400);

/// A database of its own on the shared server.
pub struct Cluster(Arc<cluster::Server>, String);

impl Cluster {
    fn server(&self) -> Server {
        Server { url: self.0.url(&self.1), ca: None, lease: Duration::from_secs(60), unsynced: true }
    }

    fn with_lease(&self, lease: Duration) -> Postgres {
        Postgres::open(Server { lease, ..self.server() }, key(), None).unwrap()
    }
}

impl Backend for Cluster {
    fn fresh() -> Cluster {
        let server = cluster::Server::shared();
        let database = server.database();
        Cluster(server, database)
    }

    fn open(&self) -> Box<dyn Log> {
        Box::new(Postgres::open(self.server(), key(), None).unwrap())
    }

    const SHARED: bool = true;
}

fn low(cents: u64) -> Record {
    Record::Low { hour: NOON, cents: Cents(cents) }
}

fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let asked = Instant::now();
    while !fact() {
        assert!(asked.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_writer_whose_lease_ran_out_is_fenced_off_even_when_it_never_noticed() {
    let cluster = Cluster::fresh();
    let mut first = cluster.with_lease(Duration::from_millis(300));
    let mut second = cluster.with_lease(Duration::from_secs(60));
    assert_eq!(first.append(&[low(9)], NOON), Ok(Appended::Durable));
    let began = Instant::now();
    wait_until("the lease to run out", || {
        second.read().unwrap();
        second.append(&[], NOON) == Ok(Appended::Durable)
    });
    assert!(began.elapsed() > Duration::from_millis(100), "not while the first still had it");
    assert_eq!(first.append(&[low(8)], NOON), Ok(Appended::NotMine));
    assert_eq!(second.append(&[low(7)], NOON), Ok(Appended::Durable));
    assert_eq!(first.read(), Ok(vec![low(7)]), "the first's 8 was never written");
    assert_eq!(cluster.0.sql(&cluster.1, "select token from lease"), "2");
}

#[test]
fn two_writers_at_the_same_moment_give_one_ledger_without_gaps() {
    let cluster = Cluster::fresh();
    let ledgers: Vec<Vec<Record>> = std::thread::scope(|scope| {
        let write = |me: u64| {
            // So short that it changes hands all the time.
            let mut log = cluster.with_lease(Duration::from_millis(5));
            let mut read = log.read().unwrap();
            move || {
                let began = Instant::now();
                for number in 0u32.. {
                    let fixing = Record::Fixing { at: NOON.plus(number % 200 * HOUR).unwrap(), cents: Cents(me) };
                    read.extend(log.read().unwrap());
                    if read.iter().any(|said| matches!((said, fixing), (Record::Fixing { at, .. }, Record::Fixing { at: new, .. }) if *at == new)) {
                        if read.len() >= 200 || began.elapsed() > Duration::from_secs(60) {
                            break;
                        }
                        continue;
                    }
                    if log.append(&[fixing], NOON) == Ok(Appended::Durable) {
                        read.push(fixing);
                    }
                }
                read
            }
        };
        let handles = [scope.spawn(write(1)), scope.spawn(write(2))];
        handles.map(|handle| handle.join().unwrap()).into_iter().collect()
    });
    assert_eq!(ledgers[0].len(), 200);
    assert_eq!(ledgers[0], ledgers[1]);
}

#[test]
fn the_database_itself_refuses_a_second_fixing_a_rising_low_a_change_and_a_deletion() {
    let cluster = Cluster::fresh();
    let mut log = cluster.open();
    let fixing = Record::Fixing { at: NOON, cents: Cents(9) };
    assert_eq!(log.append(&[low(9), fixing], NOON), Ok(Appended::Durable));
    let frozen = Record::Frozen { until: NOON.plus(HOUR).unwrap() };
    for wrong in [Record::Fixing { at: NOON, cents: Cents(8) }, low(9), low(10)] {
        let answer = log.append(&[wrong], NOON);
        assert!(
            matches!(&answer, Err(LogError::Broken(says)) if says.contains("contradicts")),
            "{wrong:?}: {answer:?}"
        );
    }
    assert_eq!(log.append(&[frozen], NOON), Ok(Appended::Durable));
    let late = log.append(&[low(1)], NOON);
    assert!(matches!(&late, Err(LogError::Broken(says)) if says.contains("contradicts")), "{late:?}");
    for text in ["update record set cents = 1", "delete from record", "truncate record"] {
        assert!(cluster.0.sql_error(&cluster.1, text).contains("never changed or deleted"), "{text}");
    }
    let gap = "insert into record (number, kind, at, cents, sum, token) values (7, 2, 1584032400, 1, 0, 1)";
    assert!(cluster.0.sql_error(&cluster.1, gap).contains("leaves a gap"));
    assert_eq!(cluster.0.sql(&cluster.1, "select count(*) from record"), "3");
}

#[test]
fn a_changed_row_and_a_database_that_was_put_back_are_noticed() {
    let cluster = Cluster::fresh();
    let mut log = cluster.open();
    assert_eq!(log.append(&[low(9)], NOON), Ok(Appended::Durable));
    assert_eq!(log.append(&[low(8)], NOON), Ok(Appended::Durable));
    let by_hand = |text: &str| cluster.0.sql(&cluster.1, &format!("set session_replication_role = replica; {text}"));
    by_hand("update record set cents = 7 where number = 1");
    let damaged = Err(LogError::Broken("record 1 is missing or damaged; restore the database".to_string()));
    assert_eq!(log.read(), damaged);
    assert_eq!(cluster.open().read(), damaged);
    by_hand("delete from record where number = 1");
    for answer in [log.read().map(drop), log.append(&[low(1)], NOON).map(drop)] {
        assert!(matches!(&answer, Err(LogError::Broken(says)) if says.contains("are gone")), "{answer:?}");
    }
}

#[test]
fn the_database_itself_refuses_a_second_word_on_a_payment_a_change_and_a_deletion() {
    let cluster = Cluster::fresh();
    let mut notes = cluster.open().notes().unwrap();
    let id = "ab".repeat(16);
    let line = |text: &str| vec![text.replace("ID", &id)];
    assert_eq!(notes.append(&[line("made ID 20200401"), line("said ID paid")].concat()), Ok(Appended::Durable));
    for wrong in ["said ID undisbursed", "said ID paid", "made ID 20200402", "said cd paid", "forgot ID all"] {
        let answer = notes.append(&line(wrong));
        let refused = matches!(&answer, Err(LogError::Broken(says)) if says.contains("contradicts"));
        assert!(refused, "{wrong}: {answer:?}");
    }
    for text in ["update note set line = 'x'", "delete from note", "truncate note"] {
        assert!(cluster.0.sql_error(&cluster.1, text).contains("never changed or deleted"), "{text}");
    }
    let by_hand = |text: &str| cluster.0.sql(&cluster.1, &format!("set session_replication_role = replica; {text}"));
    by_hand("update note set line = 'said x undisbursed' where number = 1");
    assert!(matches!(notes.read(), Err(LogError::Broken(says)) if says.contains("note 1")));
    by_hand("delete from note where number = 1");
    for answer in [notes.read().map(drop), notes.append(&line("made x 20200401")).map(drop)] {
        assert!(matches!(&answer, Err(LogError::Broken(says)) if says.contains("are gone")), "{answer:?}");
    }
}

#[test]
fn a_replica_whose_clock_is_off_takes_no_lease_loses_the_one_it_has_and_writes_nothing() {
    let (cluster, folder) = (Cluster::fresh(), tempfile::tempdir().unwrap());
    let file = folder.path().join("clock");
    let off = |seconds: i64| {
        let now = i64::from(Clock::System.now().unwrap().0) + seconds;
        Clock::set_file(&file, Time(u32::try_from(now).unwrap())).unwrap();
    };
    let mut log = Postgres::open(cluster.server(), key(), Some(Clock::file(&file))).unwrap();
    for (seconds, way) in [(60, "ahead of"), (-60, "behind")] {
        off(seconds);
        let answer = log.append(&[low(9)], NOON);
        assert!(matches!(&answer, Err(LogError::Clock(why)) if why.contains(way)), "{answer:?}");
        assert!((59..=61).contains(&log.clock_ahead().unwrap().abs()));
    }
    assert_eq!(cluster.0.sql(&cluster.1, "select token from lease"), "0");
    off(0);
    assert_eq!(log.append(&[low(9)], NOON), Ok(Appended::Durable));
    off(60);
    assert!(matches!(log.append(&[low(8)], NOON), Err(LogError::Clock(_))));
    assert_eq!(cluster.0.sql(&cluster.1, "select count(*) from record"), "1", "nothing was written");
    off(0);
    assert_eq!(log.append(&[low(8)], NOON), Ok(Appended::Durable));
    // Without a clock to compare nothing is: so it is where time is moved by hand.
    off(60);
    log.close();
    let mut blind = cluster.open();
    assert_eq!(blind.read(), Ok(vec![low(9), low(8)]));
    assert_eq!((blind.append(&[], NOON), blind.clock_ahead()), (Ok(Appended::Durable), None));
}

#[test]
fn a_server_that_went_away_is_away_and_then_back() {
    let server = Arc::new(cluster::Server::start(&[]));
    let database = server.database();
    let cluster = Cluster(Arc::clone(&server), database);
    let mut log = cluster.open();
    assert_eq!(log.append(&[low(9)], NOON), Ok(Appended::Durable));
    server.crash();
    assert!(matches!(log.append(&[low(8)], NOON), Err(LogError::Away(_))));
    assert!(matches!(log.read(), Err(LogError::Away(_))));
    assert!(Postgres::open(cluster.server(), key(), None).is_err());
    server.restart();
    wait_until("the database", || log.read().is_ok());
    wait_until("the append", || log.append(&[low(7)], NOON) == Ok(Appended::Durable));
    assert_eq!(cluster.open().read(), Ok(vec![low(9), low(7)]));
}

#[test]
fn another_oracle_a_newer_version_and_a_forgetful_server_are_refused() {
    let cluster = Cluster::fresh();
    drop(cluster.open());
    let stranger = OracleKeys::from_secret(SecretKey::from_slice(&[8; 32]).unwrap()).public_key();
    let refusal = |server: Server, key| Postgres::open(server, key, None).err().unwrap().to_string();
    assert!(refusal(cluster.server(), stranger).contains("needs one of its own"));
    let careful = Server { unsynced: false, ..cluster.server() };
    assert!(refusal(careful, key()).contains("fsync = off"));
    cluster.0.sql(&cluster.1, "insert into schema_version values (99)");
    assert!(refusal(cluster.server(), key()).contains("run the newer program"));
    let far = Server { url: "postgres://oracle@203.0.113.1/oracle".to_string(), ..cluster.server() };
    assert!(refusal(far, key()).contains("--postgres-ca"));
}

#[test]
fn over_tls_only_the_named_authority_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let output = Command::new("sh").arg("-ec").arg(line).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for name in ["right", "wrong"] {
        run(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.pem \
             -subj /CN={name} -days 30"
        ));
    }
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=db \
         && printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > ext \
         && openssl x509 -req -in server.csr -CA right.pem -CAkey right.key -CAcreateserial -days 30 -extfile ext -out server.pem \
         && chmod 711 . && chmod 600 server.key && (chown postgres server.key || true)");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let settings = [format!("ssl_cert_file={}", file("server.pem")), format!("ssl_key_file={}", file("server.key"))];
    let server = Arc::new(cluster::Server::start(&["ssl=on", &settings[0], &settings[1]]));
    let database = server.database();
    let open = |ca: &str| {
        let ca = Some(folder.path().join(ca));
        let url = server.url(&database);
        Postgres::open(Server { url, ca, lease: Duration::from_secs(60), unsynced: true }, key(), None)
    };
    let mut log = open("right.pem").unwrap();
    assert_eq!(log.append(&[low(9)], NOON), Ok(Appended::Durable));
    assert_eq!(server.sql(&database, "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where ssl and datname = current_database()"), "1");
    assert!(open("wrong.pem").is_err());
    assert!(open("server.key").err().unwrap().to_string().contains("no certificate"));
    assert!(open("nothing.pem").is_err());
}
