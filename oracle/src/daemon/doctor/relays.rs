//! Nostr relays: do they answer, have they what they took, how far are they behind.

use super::finding::Finding;
use crate::daemon::nostr::Cursor;
use crate::relay::note::{date, read};
use crate::relay::{Heard, Line};
use crate::units::{Time, HOUR};
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use std::path::Path;
use std::time::Duration;

/// How long one answer of a relay may take. Real time.
const PATIENCE: Duration = Duration::from_secs(8);
/// The most that is listened to.
const MOST: usize = 16;
/// An hour is final two minutes after its end, so a relay is always an hour behind; more than this is too much.
const LATE: u32 = 2 * HOUR;

const WHY: &str = "nodes hear the oracle there when they reach none of its servers";

/// Compares a relay with how far the daemon has come with it.
pub async fn look_at_relay(data: &Path, relay: &str, key: XOnlyPublicKey, now: Time) -> Finding {
    let trouble = |what: String, remedy: &str| Finding::trouble("relay", format!("{relay}: {what}"), WHY, remedy);
    let cursor = match Cursor::read(data, relay, &key) {
        Ok(Some(cursor)) => cursor,
        Ok(None) => return trouble("was never given anything".into(), "start the daemon, and read its log"),
        Err(error) => return trouble(format!("{error:#}"), "do what it says, with the daemon stopped"),
    };
    let last = cursor.last_ok.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let lag = now.since(cursor.done);
    let newest = match newest(relay, key).await {
        Ok(newest) => newest,
        Err(error) => {
            let what = format!("{error:#}; it last took a note at {last}, what it has is {lag} s behind");
            return trouble(what, "wait, for it is caught up by itself; or choose another relay");
        }
    };
    if newest.is_none() && cursor.last_ok.is_some() {
        let path = Cursor::path(data, relay);
        let remedy = format!("stop the daemon, remove {}, start it: the last week is given again", path.display());
        return trouble(format!("has nothing of this oracle, though it took a note at {last}"), &remedy);
    }
    if lag > LATE {
        return trouble(format!("is {lag} s behind; it last took a note at {last}"), "read the daemon's log");
    }
    Finding::fine("relay", format!("{relay}: answers, took the last note at {last}, lag {lag} s"))
}

/// The newest note of the oracle that a relay shows.
async fn newest(relay: &str, key: XOnlyPublicKey) -> anyhow::Result<Option<Time>> {
    let mut line = Line::open(relay).await.context("does not answer")?;
    line.subscribe("doctor", &key, (Time(0), None), 1).await?;
    let mut newest = None;
    for _ in 0..MOST {
        match line.hear(PATIENCE).await? {
            Heard::Note(_, note) => {
                read(&note, &key).with_context(|| format!("serves note {} as this oracle's", note.id))?;
                newest = newest.max(Some(date(&note)));
            }
            Heard::Stored(_) => return Ok(newest),
            Heard::Ended(_, why) => bail!("does not answer: {why}"),
            Heard::Nothing => break,
            _ => {}
        }
    }
    bail!("does not answer within {} s", PATIENCE.as_secs())
}
