//! What the programs say on standard error: as much as a person reads, however often something happens.
//!
//! A line of the code that has spoken often in a minute is left out until the minute is over, and it is said how many were
//! left out. So nobody fills a disk by making a node complain. What is asked for with `RUST_LOG=debug` is
//! never left out for that. A log that cannot be written stops nothing, and one that nobody reads keeps no process waiting that
//! serves: see `screen`.

use crate::screen::Lossy;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::EnvFilter;

/// How long a line of the code is counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines that each line of the code may write in that time.
const LINES: u32 = 60;

/// A log to `writer`, in colour where a person looks at it and `NO_COLOR` is not set; what it says is set by `RUST_LOG`.
pub fn to<W>(writer: W, colour: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sled=warn"));
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let building =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lossy(writer)).with_ansi(colour && !is_plain);
    building.event_format(Paced::default()).finish()
}

/// Formats events, those of one place not too many in a minute.
#[derive(Debug, Default)]
struct Paced {
    format: Format<Full>,
    places: Mutex<Places>,
}

impl<S, N> FormatEvent<S, N> for Paced
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let about = event.metadata();
        if *about.level() > Level::INFO {
            return self.format.format_event(context, writer, event);
        }
        let now = Instant::now();
        let (passes, left_out) = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let left_out = places.left_out(now);
            (places.pass(about.callsite(), || name(about), now), left_out)
        };
        for (name, count) in left_out {
            writeln!(writer, "{count} more lines like those of {name} were left out within a minute")?;
        }
        match passes {
            true => self.format.format_event(context, writer, event),
            false => Ok(()),
        }
    }
}

/// Where in the code a line comes from.
fn name(about: &Metadata<'_>) -> String {
    format!("{}:{}", about.target(), about.line().unwrap_or(0))
}

/// How often each place of the code has spoken lately. As many as the code has.
#[derive(Debug)]
struct Places<K = Identifier> {
    spoken: HashMap<K, Spoken>,
    /// When the first minute ends in which something was left out.
    due: Option<Instant>,
}

impl<K> Default for Places<K> {
    fn default() -> Places<K> {
        Places { spoken: HashMap::new(), due: None }
    }
}

#[derive(Debug)]
struct Spoken {
    name: String,
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl<K: std::hash::Hash + Eq> Places<K> {
    /// May this place write one more line now?
    fn pass(&mut self, place: K, name: impl FnOnce() -> String, now: Instant) -> bool {
        let new = || Spoken { name: name(), since: now, lines: 0, left_out: 0 };
        let spoken = self.spoken.entry(place).or_insert_with(new);
        if now.saturating_duration_since(spoken.since) >= WINDOW && spoken.left_out == 0 {
            (spoken.since, spoken.lines) = (now, 0);
        }
        if spoken.lines < LINES {
            spoken.lines = spoken.lines.saturating_add(1);
            return true;
        }
        spoken.left_out = spoken.left_out.saturating_add(1);
        let ends = spoken.since.checked_add(WINDOW);
        self.due = self.due.map_or(ends, |due| ends.map(|ends| due.min(ends)));
        false
    }

    /// What was left out in minutes that are over: the place's name and how many lines.
    fn left_out(&mut self, now: Instant) -> Vec<(String, u64)> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let mut told = Vec::new();
        self.due = None;
        for spoken in self.spoken.values_mut().filter(|spoken| spoken.left_out > 0) {
            let ends = spoken.since.checked_add(WINDOW);
            if ends.is_none_or(|ends| now >= ends) {
                told.push((spoken.name.clone(), spoken.left_out));
                (spoken.since, spoken.lines, spoken.left_out) = (now, 0, 0);
            } else {
                self.due = self.due.map_or(ends, |due| ends.map(|ends| due.min(ends)));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Arc;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_place_that_speaks_without_end_is_heard_so_often_a_minute_and_others_as_before() {
        let start = Instant::now();
        let mut places = Places::<u8>::default();
        let heard = (0..100_000).filter(|_| places.pass(1, || "one".into(), start)).count();
        assert_eq!(heard, 60);
        assert!(places.pass(2, || "two".into(), start));
        assert!(places.left_out(at(start, 59)).is_empty());
        assert_eq!(places.left_out(at(start, 60)), [("one".to_owned(), 99_940)]);
        assert!(places.left_out(at(start, 61)).is_empty(), "it is said once");
        assert!(places.pass(1, || "one".into(), at(start, 61)));
    }

    #[test]
    fn what_is_rare_is_never_left_out() {
        let start = Instant::now();
        let mut places = Places::<u8>::default();
        assert!((0..10_000).all(|second| places.pass(1, || "one".into(), at(start, second * 2))));
    }

    /// A log that is kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_written_without_end_fills_no_log() {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(to(move || writer.clone(), false), || {
            for number in 0..10_000 {
                tracing::warn!("the same {number}");
            }
            tracing::warn!("another");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("the same")).count(), 60);
        assert!(text.contains("another") && text.len() < 20_000, "{}", text.len());
    }
}
