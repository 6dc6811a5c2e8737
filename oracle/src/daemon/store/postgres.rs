//! The log in PostgreSQL, for several replicas of one oracle.
//!
//! The replicas take turns by a lease in the database. Every append is one statement that checks, under a lock on the
//! lease, that the writer still has it (by its token and the database's clock) and that nobody wrote in between (by the
//! next number): a replica that was stopped, cut off or is merely slow cannot write after another took over.
//!
//! Before it takes the lease, and with every append, a replica's clock is held against the database's: one that is
//! further off than [`MOST_OFF`] has no lease and writes nothing.

use super::super::ledger::Record;
use super::connection::{cell, odd, signed, Connection, Server};
use super::log::{body, checksum, record, Appended, Log, LogError, Notes};
use super::postgres_notes::PostgresNotes;
use crate::clock::Clock;
use crate::units::{Cents, Time};
use bitcoin::key::XOnlyPublicKey;
use std::time::Instant;
use tokio_postgres::Row;

/// Seconds by which a replica's clock may differ from the database's. Hours are frozen 120 s after their end, so two
/// replicas a few seconds apart still mean the same hour.
pub const MOST_OFF: i64 = 5;
/// A writer with nothing to say renews its lease this many times while it lasts.
const RENEWALS: u32 = 3;
/// Records read at a time.
const PAGE: i64 = 5_000;
/// The database's clock in milliseconds.
const ITS_CLOCK: &str = "floor(extract(epoch from clock_timestamp()) * 1000)::bigint";

/// A replica's handle.
pub struct Postgres {
    connection: Connection,
    server: Server,
    key: XOnlyPublicKey,
    holder: String,
    token: Option<i64>,
    next: u64,
    last: Option<Record>,
    writers_clock: Time,
    told: Option<(Time, Instant)>,
    /// What is held against the database's clock; nothing where time is moved by hand.
    clock: Option<Clock>,
    ahead: Option<i64>,
}

impl Postgres {
    /// Reaches the database, brings its tables up to date and checks that it is this oracle's. `clock` is held against
    /// the database's, if there is one: fast time has nothing to do with a database's.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(server: Server, key: XOnlyPublicKey, clock: Option<Clock>) -> anyhow::Result<Postgres> {
        Ok(Postgres {
            connection: Connection::open(&server, key)?,
            server,
            key,
            holder: format!("{:016x}", rand::random::<u64>()),
            token: None,
            next: 0,
            last: None,
            writers_clock: Time(0),
            told: None,
            clock,
            ahead: None,
        })
    }

    /// The lease: taken when nobody has it. `false` while another replica does.
    fn lead(&mut self) -> Result<bool, LogError> {
        if self.token.is_some() {
            return Ok(true);
        }
        if self.is_free()? {
            let (holder, ttl) = (self.holder.clone(), self.ttl());
            self.token = cell(&self.connection.ask("select take_lease($1, $2)", &[&holder, &ttl])?, 0)?;
        }
        if let Some(token) = self.token {
            tracing::info!("this replica speaks from now on (lease {token})");
        }
        Ok(self.token.is_some())
    }

    /// Has nobody the lease? Also learns how far the last writer had come.
    fn is_free(&mut self) -> Result<bool, LogError> {
        let asked = self.here()?;
        let lease =
            self.connection.ask(&format!("select until <= clock_timestamp(), seen, {ITS_CLOCK} from lease"), &[])?;
        let (free, seen, theirs): (bool, i64, i64) = (cell(&lease, 0)?, cell(&lease, 1)?, cell(&lease, 2)?);
        self.writers_clock = Time(u32::try_from(seen).map_err(|_| odd("the lease"))?);
        self.compare(asked, theirs)?;
        Ok(free)
    }

    /// Seconds here, where they are to be compared.
    fn here(&self) -> Result<Option<i64>, LogError> {
        let now = self.clock.as_ref().map(Clock::now).transpose();
        let now = now.map_err(|error| LogError::Clock(format!("{error:#}")))?;
        Ok(now.map(|now| i64::from(now.0)))
    }

    /// Holds the clock here, as it was when the database was asked and as it is now, against what the database said:
    /// only what lies outside that time is a difference.
    fn compare(&mut self, asked: Option<i64>, theirs_ms: i64) -> Result<(), LogError> {
        let (Some(asked), Some(answered)) = (asked, self.here()?) else { return Ok(()) };
        let theirs = theirs_ms.div_euclid(1_000);
        let ahead = if theirs > answered { answered - theirs } else { (asked - theirs).max(0) };
        self.ahead = Some(ahead);
        if ahead.abs() <= MOST_OFF {
            return Ok(());
        }
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        Err(LogError::Clock(format!(
            "the clock here is {} s {way} the database's, and at most {MOST_OFF} s may lie between: this replica does \
             not speak until both are right",
            ahead.abs()
        )))
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
        let rows = self.connection.ask(question, &[&from, &page])?;
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
        let (token, ttl, next, told, asked) =
            (self.token, self.ttl(), signed(self.next)?, Instant::now(), self.here()?);
        let answer = self.connection.ask(
            // The clock is compared before anything is written.
            &format!(
                "select case when abs({ITS_CLOCK} / 1000 - $9) > $10 then 'clock' \
                 else say($1, $2, $3, $4, $5, $6, $7, $8) end, {ITS_CLOCK}"
            ),
            &[
                &token,
                &ttl,
                &i64::from(clock.0),
                &next,
                &columns.kinds,
                &columns.ats,
                &columns.cents,
                &columns.sums,
                &asked,
                &MOST_OFF,
            ],
        )?;
        self.compare(asked, cell(&answer, 1)?)?;
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
            // Not off, as was just seen: the question was under way for that long.
            "clock" => Err(LogError::Away("the database answers too late to compare clocks".to_string())),
            "lost" => Err(gone()),
            _ => Err(odd("the answer to an append")),
        }
    }

    fn writers_clock(&self) -> Time {
        self.writers_clock
    }

    fn clock_ahead(&self) -> Option<i64> {
        self.ahead
    }

    fn notes(&self) -> anyhow::Result<Box<dyn Notes>> {
        Ok(Box::new(PostgresNotes::open(&self.server, self.key)?))
    }

    fn yields(&mut self) -> Result<bool, LogError> {
        self.close();
        self.is_free()?;
        Ok(true)
    }

    fn close(&mut self) {
        if let Some(token) = self.token.take() {
            // Nobody waits for the lease to run out after an orderly end; after any other, they do.
            if let Err(error) = self.connection.ask("update lease set until = '-infinity' where token = $1", &[&token])
            {
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

/// The database was put back.
pub fn gone() -> LogError {
    let message = "records that were said are gone from the database, or others stand in their place: an older state \
        was restored, or a standby that lagged was promoted; restore the newest one";
    LogError::Broken(message.to_string())
}

#[cfg(all(test, feature = "postgres-tests"))]
#[path = "postgres_tests.rs"]
pub mod tests;
