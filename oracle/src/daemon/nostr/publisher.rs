//! One task a relay: gives it what is due, waits for its word, moves its cursor.

use super::super::press::Press;
use super::board::Board;
use super::cursor::Cursor;
use super::due::due;
use crate::crash;
use crate::relay::note::{Note, NoteId};
use crate::relay::{Heard, Line};
use crate::units::Time;
use anyhow::{bail, Context};
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a relay that failed is left alone: at first, and at most. Real time.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long a relay may take to say that it took a note. Real time.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a silent connection is looked after, and the clock with it. Real time.
const PULSE: Duration = Duration::from_secs(30);

/// Publishes what a press makes.
#[derive(Clone)]
pub struct Publisher {
    press: Arc<Press>,
    data: PathBuf,
    board: Board,
}

/// What the task of one relay remembers between connections.
struct Relay {
    url: String,
    /// Notes that it took and the cursor does not tell of yet: a relay that takes few at a time must still get on.
    taken: HashSet<NoteId>,
    /// Has it taken any since its task last rested?
    went_on: bool,
}

impl Publisher {
    /// One that keeps its cursors in `data`.
    pub fn new(press: Arc<Press>, data: PathBuf) -> Publisher {
        Publisher { press, data, board: Board::default() }
    }

    /// How the relays are doing.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Begins to publish. Ends when the tasks are dropped.
    pub fn start(&self, relays: &[String], tasks: &mut JoinSet<()>) {
        for url in relays {
            self.board.note(url, |state| state.trouble = Some("not reached yet".into()));
            let relay = Relay { url: url.clone(), taken: HashSet::new(), went_on: false };
            tasks.spawn(self.clone().serve(relay));
        }
    }

    /// Again and again, with longer and longer rests while nothing comes of it.
    async fn serve(self, mut relay: Relay) {
        let mut rest = REST.0;
        loop {
            let Err(error) = self.session(&mut relay).await;
            let trouble = format!("{error:#}");
            if std::mem::take(&mut relay.went_on) {
                rest = REST.0;
            }
            tracing::warn!("relay {}: {trouble}; trying again in {} s", relay.url, rest.as_secs());
            self.board.note(&relay.url, |state| (state.connected, state.trouble) = (false, Some(trouble)));
            tokio::time::sleep(rest).await;
            rest = rest.saturating_mul(2).min(REST.1);
        }
    }

    /// One connection, until it fails.
    async fn session(&self, relay: &mut Relay) -> anyhow::Result<Infallible> {
        let key = self.press.keys().public_key();
        let mut cursor = match Cursor::read(&self.data, &relay.url, &key)? {
            Some(cursor) => cursor,
            None => {
                // On disk before the relay is reached: what is said while it is away is not forgotten.
                let begun = Cursor::begin(&relay.url, key, self.clock());
                begun.write(&self.data)?;
                begun
            }
        };
        let mut news = self.press.window().follow();
        let mut line = Line::open(&relay.url).await?;
        self.board.note(&relay.url, |state| {
            (state.connected, state.trouble) = (true, None);
            (state.done, state.last_ok) = (cursor.done, cursor.last_ok);
        });
        loop {
            // What comes after this look wakes the wait below.
            news.borrow_and_update();
            let mut batch = {
                let shown = self.press.window().look();
                due(&shown.ledger, shown.clock, &cursor)
            };
            if batch.notes() == 0 && batch.after == cursor {
                wait(&mut line, &mut news).await?;
                continue;
            }
            if batch.notes() > 0 {
                let (press, asked) = (Arc::clone(&self.press), (batch.announce.clone(), batch.attest.clone()));
                let notes = tokio::task::spawn_blocking(move || press.notes(&asked.0, &asked.1)).await??;
                self.give(&mut line, relay, notes).await?;
                batch.after.last_ok = Some(self.clock());
                crash::point("relay-taken");
            }
            let (data, after) = (self.data.clone(), batch.after.clone());
            tokio::task::spawn_blocking(move || after.write(&data)).await??;
            cursor = batch.after;
            relay.taken.clear();
            self.board.note(&relay.url, |state| (state.done, state.last_ok) = (cursor.done, cursor.last_ok));
        }
    }

    /// How many there were since the start, with these.
    fn note_too_old(&self, url: &str, count: u64) -> u64 {
        let mut total = 0;
        self.board.note(url, |state| {
            state.too_old = state.too_old.saturating_add(count);
            total = state.too_old;
        });
        total
    }

    fn clock(&self) -> Time {
        self.press.window().look().clock
    }

    /// Gives notes and waits until the relay has said of each that it has it.
    async fn give(&self, line: &mut Line, relay: &mut Relay, notes: Vec<Note>) -> anyhow::Result<()> {
        let mut open = HashSet::new();
        for note in notes.into_iter().filter(|note| !relay.taken.contains(&note.id)) {
            open.insert(note.id);
            line.give(note).await?;
        }
        let mut hint = String::new();
        let (mut refused, mut too_old) = (None, 0_u64);
        while !open.is_empty() {
            match line.hear(PATIENCE).await? {
                Heard::Taken(id, taken, message) if open.remove(&id) => {
                    if taken || message.starts_with("duplicate:") {
                        relay.taken.insert(id);
                        relay.went_on = true;
                        self.board.note(&relay.url, |state| state.taken = state.taken.saturating_add(1));
                    } else if is_too_old(&message) {
                        // It would refuse it for ever, and with it everything that comes after.
                        relay.taken.insert(id);
                        relay.went_on = true;
                        too_old = too_old.saturating_add(1);
                    } else {
                        refused = refused.or(Some(format!("it refuses note {id}: {message}")));
                    }
                }
                Heard::Notice(text) => hint = format!("; it says: {text}"),
                Heard::Login => hint = "; it wants its writers to log in, which this oracle does not".into(),
                Heard::Nothing => bail!("it did not say within {} s that it took a note{hint}", PATIENCE.as_secs()),
                _ => {}
            }
        }
        if too_old > 0 {
            let total = self.note_too_old(&relay.url, too_old);
            tracing::warn!(
                "relay {}: it takes no notes of so long ago; {too_old} are passed over, {total} since the start",
                relay.url
            );
        }
        match refused {
            Some(refused) => bail!("{refused}{hint}"),
            None => Ok(()),
        }
    }
}

/// Does a relay refuse a note for its time alone? Those that have a limit say so in words of their own.
fn is_too_old(message: &str) -> bool {
    const WORDS: [&str; 8] = [
        "created_at",
        "created at",
        "creation date",
        "creation time",
        "timestamp",
        "too old",
        "too early",
        "too far in the past",
    ];
    // Of what is asked too fast, without leave or unpaid nothing is said for good; nor by a relay whose clock is behind.
    const OTHERS: [&str; 7] =
        ["rate-limited:", "restricted:", "auth-required:", "payment", "future", "too late", "ahead"];
    let said = message.to_lowercase();
    !OTHERS.iter().any(|word| said.contains(word)) && WORDS.iter().any(|word| said.contains(word))
}

/// Until there is news or a while has passed; looks after the connection meanwhile.
async fn wait(line: &mut Line, news: &mut watch::Receiver<u64>) -> anyhow::Result<()> {
    tokio::select! {
        more = news.changed() => more.context("the oracle is stopping"),
        heard = line.hear(PULSE) => match heard? {
            Heard::Nothing => {
                line.ping().await?;
                match line.hear(PATIENCE).await? {
                    Heard::Nothing => bail!("it answered no ping within {} s", PATIENCE.as_secs()),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_its_time_is_told_from_what_may_be_taken_later() {
        for message in [
            "invalid: created_at too early",
            "invalid: event creation date is too far off from the current time",
            "blocked: event too old",
            "invalid: the event's timestamp is out of range",
        ] {
            assert!(is_too_old(message), "{message}");
        }
        for message in
            ["", "rate-limited: too old a story", "blocked: not on the list", "error: disk full", "invalid: pow"]
        {
            assert!(!is_too_old(message), "{message}");
        }
    }
}
