//! A connection to the replicas' PostgreSQL, made again when it breaks.
//!
//! Every wait has a limit. After any failure the connection is thrown away; whoever asks next first reads on from the last
//! row known, so a write whose answer was lost is found or is not there. A new connection tells its session what it must
//! keep to, brings the tables up to date and checks that the database is this oracle's. Tables and rules are in
//! `schema/`, one file a version.

use super::super::waiter::Waiter;
use super::log::LogError;
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
const SCHEMA: &[&str] = &[include_str!("schema/0001_ledger.sql"), include_str!("schema/0002_payments.sql")];
/// How long an answer is waited for. Real time.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after a failure the database is left alone. Real time.
const REST: Duration = Duration::from_millis(500);
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

/// One way to the database.
pub struct Connection {
    waiter: Waiter,
    config: Config,
    tls: Option<MakeRustlsConnect>,
    key: XOnlyPublicKey,
    unsynced: bool,
    client: Option<Client>,
    failed: Option<Instant>,
}

impl Connection {
    /// Reaches the database, brings its tables up to date and checks that it is this oracle's.
    ///
    /// # Errors
    /// When the address or the certificate is not usable, the database cannot be reached or does not keep what it
    /// acknowledges, or it belongs to another oracle or a newer version.
    pub fn open(server: &Server, key: XOnlyPublicKey) -> anyhow::Result<Connection> {
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
        let (waiter, unsynced) = (Waiter::new()?, server.unsynced);
        let mut connection = Connection { waiter, config, tls, key, unsynced, client: None, failed: None };
        connection.connect()?;
        Ok(connection)
    }

    fn connect(&mut self) -> Result<(), LogError> {
        if self.client.as_ref().is_some_and(|client| !client.is_closed()) {
            return Ok(());
        }
        if self.failed.is_some_and(|failed| failed.elapsed() < REST) {
            return Err(LogError::Away("it failed a moment ago".to_string()));
        }
        let (config, tls, key, unsynced) = (&self.config, self.tls.clone(), self.key, self.unsynced);
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
    ///
    /// # Errors
    /// When there is no answer in time, or the database refuses.
    pub fn ask(&mut self, question: &str, with: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, LogError> {
        self.connect()?;
        let answer = self.client.as_ref().and_then(|client| self.waiter.wait(PATIENCE, client.query(question, with)));
        let answer = answer.map_or_else(|| Err(late()), |answer| answer.map_err(fault));
        if answer.is_err() {
            self.client = None;
        }
        answer
    }
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

/// The first row's cell.
///
/// # Errors
/// When there is none of that type.
pub fn cell<T: for<'a> FromSql<'a>>(rows: &[Row], index: usize) -> Result<T, LogError> {
    rows.first().ok_or_else(|| odd("an answer without a row"))?.try_get(index).map_err(fault)
}

/// A number as the database holds it.
///
/// # Errors
/// Above 2^63.
pub fn signed(number: u64) -> Result<i64, LogError> {
    i64::try_from(number).map_err(|_| odd("a number above 2^63"))
}

fn late() -> LogError {
    LogError::Away(format!("the database did not answer within {} s", PATIENCE.as_secs()))
}

/// The database says what this program never wrote.
pub fn odd(what: &str) -> LogError {
    LogError::Broken(format!("{what} is not what this program knows"))
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
