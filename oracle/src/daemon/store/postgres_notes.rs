//! The payments' notes in PostgreSQL: replicas write them without a lease, each behind all it has read.

use super::connection::{cell, odd, signed, Connection, Server};
use super::log::{checksum, Appended, LogError, Notes, LONGEST_NOTE};
use super::postgres::gone;
use bitcoin::key::XOnlyPublicKey;
use tokio_postgres::Row;

/// Notes read at a time.
const PAGE: i64 = 5_000;

/// A replica's handle.
pub struct PostgresNotes {
    connection: Connection,
    next: u64,
    last: Option<String>,
}

impl PostgresNotes {
    /// A connection of its own: an operator's order must not wait for the desk.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(server: &Server, key: XOnlyPublicKey) -> anyhow::Result<PostgresNotes> {
        Ok(PostgresNotes { connection: Connection::open(server, key)?, next: 0, last: None })
    }
}

impl Notes for PostgresNotes {
    fn is_shared(&self) -> bool {
        true
    }

    fn read(&mut self) -> Result<Vec<String>, LogError> {
        let (from, page) = (signed(self.next)?.saturating_sub(i64::from(self.last.is_some())), PAGE);
        let question = "select number, line, sum from note where number >= $1 order by number limit $2";
        let rows = self.connection.ask(question, &[&from, &page])?;
        let mut rows = rows.iter();
        // As with records: the last note known is read again, so that a database that was put back is noticed.
        if self.last.is_some() {
            let again = rows.next().map(|row| unrow(row, self.next.saturating_sub(1))).transpose()?;
            if again != self.last {
                return Err(gone());
            }
        }
        let mut notes = Vec::new();
        for row in rows {
            let read = unrow(row, self.next)?;
            self.next = self.next.checked_add(1).ok_or_else(|| odd("the number of notes"))?;
            self.last = Some(read.clone());
            notes.push(read);
        }
        Ok(notes)
    }

    fn append(&mut self, notes: &[String]) -> Result<Appended, LogError> {
        let sums: Vec<i64> =
            (self.next..).zip(notes).map(|(number, note)| i64::from(checksum(number, note.as_bytes()))).collect();
        let next = signed(self.next)?;
        let answer = self.connection.ask("select note($1, $2, $3)", &[&next, &notes, &sums])?;
        match cell::<String>(&answer, 0)?.as_str() {
            "said" => {
                let count = u64::try_from(notes.len()).map_err(|_| odd("the number of notes"))?;
                self.next = self.next.checked_add(count).ok_or_else(|| odd("the number of notes"))?;
                self.last = notes.last().cloned().or(self.last.take());
                Ok(Appended::Durable)
            }
            "behind" => Ok(Appended::Behind),
            "lost" => Err(gone()),
            _ => Err(odd("the answer to a note")),
        }
    }
}

/// A row `number, line, sum` as the note that must have this number.
fn unrow(row: &Row, number: u64) -> Result<String, LogError> {
    let read = || {
        let found: i64 = row.try_get(0).ok()?;
        let line: String = row.try_get(1).ok()?;
        let sum: i64 = row.try_get(2).ok()?;
        let right = u64::try_from(found).ok()? == number && i64::from(checksum(number, line.as_bytes())) == sum;
        Some(line).filter(|line| right && line.len() <= LONGEST_NOTE)
    };
    read().ok_or_else(|| {
        LogError::Broken(format!("note {number} of the payments is missing or damaged; restore the database"))
    })
}
