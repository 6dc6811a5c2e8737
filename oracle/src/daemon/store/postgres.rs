//! The log in PostgreSQL, for several replicas of one oracle.
//!
//! The replicas take turns by a lease in the database. Every append is one statement that checks, under a lock on the
//! lease, that the writer still has it (by its token and the database's clock) and that nobody wrote in between (by the
//! next number): a replica that was stopped, cut off or is merely slow cannot write after another took over. Tables and
//! rules are in `schema/`, one file a version.
//!
//! Every wait has a limit. After any failure the connection is thrown away, and the next one first reads on from the
//! last record known, so an append whose answer was lost is found or is not there.

use super::super::ledger::Record;
use super::super::waiter::Waiter;
use super::log::{body, checksum, record, Appended, Log, LogError};
use crate::units::{Cents, Time};
use anyhow::{bail, Context};
use bitcoin::hex::DisplayHex;
use bitcoin::key::XOnlyPublicKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The versions of the schema, oldest first.
const SCHEMA: &[&str] = &[include_str!("schema/0001_ledger.sql")];
/// How long an answer is waited for. Real time.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after a failure the database is left alone. Real time.
const REST: Duration = Duration::from_millis(500);
/// A writer with nothing to say renews its lease this many times while it lasts.
const RENEWALS: u32 = 3;
/// Records read at a time.
const PAGE: i64 = 5_000;
/// What every session is told. `local` and `off` would show records that are not yet durable.
const SESSION: &str = "set statement_timeout = '2s'; set lock_timeout = '1s'; \
    set idle_in_transaction_session_timeout = '2s'; set default_transaction_isolation = 'read committed'; \
    select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') in ('off', 'local')";

/// Where the database is and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `postgres://user:password@host/database`, or `host=/folder/of/the/socket user=… dbname=…`.
    pub url: String,
    /// The certificate authority (PEM) that vouches for the server; needed for any host but this machine.
    pub ca: Option<PathBuf>,
    /// How long a replica may be silent before another takes its place.
    pub lease: Duration,
    /// Take a server that acknowledges what it has not written to disk: for tests.
    pub unsynced: bool,
}

/// A replica's handle.
pub struct Postgres {
    waiter: Waiter,
    config: Config,
    tls: Option<MakeRustlsConnect>,
    server: Server,
    key: XOnlyPublicKey,
    holder: String,
    token: Option<i64>,
    next: u64,
    last: Option<Record>,
    writers_clock: Time,
    told: Option<(Time, Instant)>,
    client: Option<Client>,
    failed: Option<Instant>,
}

impl Postgres {
    /// Reaches the database, brings its tables up to date and checks that it is this oracle's.
    ///
    /// # Errors
    /// When the address or the certificate is not usable, the database cannot be reached or does not keep what it
    /// acknowledges, or it belongs to another oracle or a newer version.
    pub fn open(server: Server, key: XOnlyPublicKey) -> anyhow::Result<Postgres> {
        let mut config: Config = server.url.parse().context("understand the address of the PostgreSQL database")?;
        let tls = server.ca.as_deref().map(trusting).transpose()?;
        if tls.is_some() {
            config.ssl_mode(SslMode::Require);
        } else if !config.get_hosts().iter().all(is_here) || !config.get_hostaddrs().iter().all(IpAddr::is_loopback) {
            bail!(
                "the PostgreSQL database is on another machine: what it acknowledges must not be forged on the way; \
                 say --postgres-ca FILE.pem (or use its Unix socket, or a tunnel to this machine)"
            );
        } else {
            config.ssl_mode(SslMode::Disable);
        }
        config.connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE).keepalives_idle(PATIENCE);
        config.application_name("hypothec-oracle");
        let mut log = Postgres {
            waiter: Waiter::new()?,
            config,
            tls,
            server,
            key,
            holder: format!("{:016x}", rand::random::<u64>()),
            token: None,
            next: 0,
            last: None,
            writers_clock: Time(0),
            told: None,
            client: None,
            failed: None,
        };
        log.connect()?;
        Ok(log)
    }

    fn connect(&mut self) -> Result<(), LogError> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        if self.failed.is_some_and(|failed| failed.elapsed() < REST) {
            return Err(LogError::Away("it failed a moment ago".to_string()));
        }
        let (config, tls, key, unsynced) = (&self.config, self.tls.clone(), self.key, self.server.unsynced);
        let opening = async move {
            let mut client = match tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await.map_err(fault)?;
                    tokio::spawn(connection);
                    client
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await.map_err(fault)?;
                    tokio::spawn(connection);
                    client
                }
            };
            greet(&mut client, key, unsynced).await?;
            Ok(client)
        };
        let opened = self.waiter.wait(PATIENCE * 2, opening).unwrap_or_else(|| Err(late()));
        self.failed = opened.is_err().then(Instant::now);
        self.client = Some(opened?);
        Ok(())
    }

    /// Asks, on a connection that is made if there is none and thrown away if anything goes wrong.
    fn ask(&mut self, question: &str, with: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        self.connect()?;
        let answer = self.client.as_ref().and_then(|client| self.waiter.wait(PATIENCE, client.query(question, with)));
        let answer = answer.map_or_else(|| Err(late()), |answer| answer.map_err(fault));
        if answer.is_err() {
            self.client = None;
        }
        answer
    }

    /// The lease: taken when nobody has it. `false` while another replica does.
    fn lead(&mut self) -> Result<bool, LogError> {
        if self.token.is_some() {
            return Ok(true);
        }
        if self.is_free()? {
            let (holder, ttl) = (self.holder.clone(), self.ttl());
            self.token = cell(&self.ask("select take_lease($1, $2)", &[&holder, &ttl])?, 0)?;
        }
        if let Some(token) = self.token {
            tracing::info!("this replica speaks from now on (lease {token})");
        }
        Ok(self.token.is_some())
    }

    /// Has nobody the lease? Also learns how far the last writer had come.
    fn is_free(&mut self) -> Result<bool, LogError> {
        let lease = self.ask("select until <= clock_timestamp(), seen from lease", &[])?;
        let (free, seen): (bool, i64) = (cell(&lease, 0)?, cell(&lease, 1)?);
        self.writers_clock = Time(u32::try_from(seen).map_err(|_| odd("the lease"))?);
        Ok(free)
    }

    fn ttl(&self) -> i32 {
        i32::try_from(self.server.lease.as_millis()).unwrap_or(i32::MAX)
    }
}

impl Log for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn read(&mut self) -> Result<Vec<Record>, LogError> {
        let (from, page) = (signed(self.next)?.saturating_sub(i64::from(self.last.is_some())), PAGE);
        let question = "select number, kind, at, cents, sum from record where number >= $1 order by number limit $2";
        let rows = self.ask(question, &[&from, &page])?;
        let mut rows = rows.iter();
        // The last record known is read again: a database that was put back to an older state must be noticed.
        if let Some(last) = self.last {
            let again = rows.next().map(|row| unrow(row, self.next.saturating_sub(1))).transpose()?;
            if again != Some(last) {
                return Err(gone());
            }
        }
        let mut records = Vec::new();
        for row in rows {
            let read = unrow(row, self.next)?;
            self.next = self.next.checked_add(1).ok_or_else(|| odd("the number of records"))?;
            self.last = Some(read);
            records.push(read);
        }
        Ok(records)
    }

    fn append(&mut self, records: &[Record], clock: Time) -> Result<Appended, LogError> {
        if !self.lead()? {
            return Ok(Appended::NotMine);
        }
        let renew = self.server.lease / RENEWALS;
        if records.is_empty() && self.told.is_some_and(|(told, at)| told == clock && at.elapsed() < renew) {
            return Ok(Appended::Durable);
        }
        let columns = Columns::of(records, self.next)?;
        let (token, ttl, next, told) = (self.token, self.ttl(), signed(self.next)?, Instant::now());
        let answer = self.ask(
            "select say($1, $2, $3, $4, $5, $6, $7, $8)",
            &[&token, &ttl, &i64::from(clock.0), &next, &columns.kinds, &columns.ats, &columns.cents, &columns.sums],
        )?;
        match cell::<String>(&answer, 0)?.as_str() {
            "said" => {
                let count = u64::try_from(records.len()).map_err(|_| odd("the number of records"))?;
                self.next = self.next.checked_add(count).ok_or_else(|| odd("the number of records"))?;
                self.last = records.last().copied().or(self.last);
                self.told = Some((clock, told));
                Ok(Appended::Durable)
            }
            "behind" => Ok(Appended::Behind),
            "fenced" => {
                tracing::warn!("another replica took over, or this one was away for too long");
                self.token = None;
                Ok(Appended::NotMine)
            }
            "lost" => Err(gone()),
            _ => Err(odd("the answer to an append")),
        }
    }

    fn writers_clock(&self) -> Time {
        self.writers_clock
    }

    fn yields(&mut self) -> Result<bool, LogError> {
        self.close();
        self.is_free()?;
        Ok(true)
    }

    fn close(&mut self) {
        if let Some(token) = self.token.take() {
            // Nobody waits for the lease to run out after an orderly end; after any other, they do.
            if let Err(error) = self.ask("update lease set until = '-infinity' where token = $1", &[&token]) {
                tracing::warn!("the lease was not given back: {error}");
            }
        }
    }
}

/// Records as the columns of a statement.
#[derive(Default)]
struct Columns {
    kinds: Vec<i16>,
    ats: Vec<i64>,
    cents: Vec<i64>,
    sums: Vec<i64>,
}

impl Columns {
    fn of(records: &[Record], first: u64) -> Result<Columns, LogError> {
        let mut columns = Columns::default();
        for (number, record) in (first..).zip(records) {
            let (kind, time, cents) = match record {
                Record::Low { hour, cents } => (1, hour, *cents),
                Record::Fixing { at, cents } => (2, at, *cents),
                Record::Frozen { until } => (3, until, Cents(0)),
            };
            columns.kinds.push(kind);
            columns.ats.push(i64::from(time.0));
            columns.cents.push(signed(cents.0)?);
            columns.sums.push(i64::from(checksum(number, &body(*record))));
        }
        Ok(columns)
    }
}

/// A row `number, kind, at, cents, sum` as the record that must have this number.
fn unrow(row: &Row, number: u64) -> Result<Record, LogError> {
    let read = || {
        let found: i64 = row.try_get(0).ok()?;
        let kind: i16 = row.try_get(1).ok()?;
        let at: i64 = row.try_get(2).ok()?;
        let cents: i64 = row.try_get(3).ok()?;
        let sum: i64 = row.try_get(4).ok()?;
        let mut bytes = vec![u8::try_from(kind).ok()?];
        bytes.extend_from_slice(&u32::try_from(at).ok()?.to_be_bytes());
        bytes.extend_from_slice(&u64::try_from(cents).ok()?.to_be_bytes());
        let right = u64::try_from(found).ok()? == number && i64::from(checksum(number, &bytes)) == sum;
        record(&bytes).filter(|_| right)
    };
    read().ok_or_else(|| LogError::Broken(format!("record {number} is missing or damaged; restore the database")))
}

/// Tells the session what it must keep to, and brings the tables up to date.
async fn greet(client: &mut Client, key: XOnlyPublicKey, unsynced: bool) -> Result<(), LogError> {
    client.batch_execute(SESSION).await.map_err(fault)?;
    let how = client.query_one("select current_setting('fsync'), pg_is_in_recovery()", &[]).await.map_err(fault)?;
    let (fsync, copy): (String, bool) = (how.try_get(0).map_err(fault)?, how.try_get(1).map_err(fault)?);
    if copy {
        return Err(LogError::Away("this PostgreSQL server is a standby; name the primary".to_string()));
    }
    if fsync != "on" && !unsynced {
        let message =
            "this PostgreSQL server runs with fsync = off: it acknowledges what a power cut takes back; turn it on";
        return Err(LogError::Broken(message.to_string()));
    }
    migrate(client, key).await
}

async fn migrate(client: &mut Client, key: XOnlyPublicKey) -> Result<(), LogError> {
    let work = client.transaction().await.map_err(fault)?;
    // Two replicas that start together must not both make the tables.
    work.batch_execute(
        "select pg_advisory_xact_lock(7526752368); create table if not exists schema_version (version integer primary key)",
    )
    .await
    .map_err(fault)?;
    let found = work.query_one("select coalesce(max(version), 0) from schema_version", &[]).await.map_err(fault)?;
    let found: i32 = found.try_get(0).map_err(fault)?;
    let known = i32::try_from(SCHEMA.len()).map_err(|_| odd("the schema"))?;
    if found > known {
        let message = format!("its tables are of version {found}, this program knows {known}; run the newer program");
        return Err(LogError::Broken(message));
    }
    for (version, text) in (1i32..).zip(SCHEMA).filter(|(version, _)| *version > found) {
        work.batch_execute(text).await.map_err(fault)?;
        work.execute("insert into schema_version values ($1)", &[&version]).await.map_err(fault)?;
    }
    let ours = key.serialize();
    work.execute("insert into oracle (key) values ($1) on conflict do nothing", &[&ours.as_slice()])
        .await
        .map_err(fault)?;
    let owner: Vec<u8> =
        work.query_one("select key from oracle", &[]).await.map_err(fault)?.try_get(0).map_err(fault)?;
    if owner != ours {
        return Err(LogError::Broken(format!(
            "this database is oracle {}'s; oracle {key} needs one of its own",
            owner.to_lower_hex_string()
        )));
    }
    work.commit().await.map_err(fault)
}

/// TLS that believes this certificate authority and no other.
fn trusting(ca: &Path) -> anyhow::Result<MakeRustlsConnect> {
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::pem_file_iter(ca).with_context(|| format!("read certificate file {}", ca.display()))?;
    for certificate in pem {
        let certificate = certificate.with_context(|| format!("read certificate file {}", ca.display()))?;
        roots.add(certificate).with_context(|| format!("certificate file {}", ca.display()))?;
    }
    if roots.is_empty() {
        bail!("{} holds no certificate in PEM", ca.display());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A host on this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        Host::Unix(_) => true,
    }
}

fn cell<T: for<'a> FromSql<'a>>(rows: &[Row], index: usize) -> Result<T, LogError> {
    rows.first().ok_or_else(|| odd("an answer without a row"))?.try_get(index).map_err(fault)
}

fn signed(number: u64) -> Result<i64, LogError> {
    i64::try_from(number).map_err(|_| odd("a number above 2^63"))
}

fn late() -> LogError {
    LogError::Away(format!("the database did not answer within {} s", PATIENCE.as_secs()))
}

fn odd(what: &str) -> LogError {
    LogError::Broken(format!("{what} is not what this program knows"))
}

fn gone() -> LogError {
    let message = "records that were said are gone from the database, or others stand in their place: an older state \
        was restored, or a standby that lagged was promoted; restore the newest one";
    LogError::Broken(message.to_string())
}

/// What breaks a rule of the schema is wrong for good; everything else may pass.
fn fault(error: tokio_postgres::Error) -> LogError {
    match error.as_db_error() {
        Some(said) if said.code().code() == "HY003" => LogError::Broken(said.message().to_string()),
        Some(said) => LogError::Away(format!("{} ({})", said.message(), said.code().code())),
        None => LogError::Away(sentence(&error)),
    }
}

/// An error and its causes in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(all(test, feature = "postgres-tests"))]
#[path = "postgres_tests.rs"]
pub mod tests;
