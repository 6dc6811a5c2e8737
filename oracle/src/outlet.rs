//! Lines for a reader that may stop reading: they wait in a queue, and a thread of its own writes them.
//!
//! A pipe that nobody empties, a terminal held with Ctrl-S, a log service that hangs: a write to them neither fails nor
//! returns. Whoever leaves a line here goes on at once; what does not fit is left out, and counted. Nothing here takes the
//! lock of the standard library's outputs, and no lock is held while something is written.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait.
pub const ROOM: usize = 1 << 20;
/// A write that takes so long has a reader that does not read.
const STALLED: Duration = Duration::from_secs(5);

/// One output of this process.
#[derive(Debug, Default)]
pub struct Outlet {
    line: Mutex<Line>,
    changed: Condvar,
}

/// What waits, the oldest first.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Since when the thread writes what it took.
    writing: Option<Instant>,
    /// Left out since the start.
    left_out: u64,
    /// Those of them that the reader has not been told of.
    untold: u64,
}

impl Outlet {
    /// An outlet to `to`, with a thread called `name` that writes there until the process ends.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(name: &str, to: impl Write + Send + 'static) -> io::Result<Arc<Outlet>> {
        let outlet = Arc::new(Outlet::default());
        let writing = outlet.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || writing.write_to(to))?;
        Ok(outlet)
    }

    /// Leaves a line, its end included. Never waits for the reader.
    pub fn put(&self, bytes: &[u8]) {
        let mut line = self.line();
        if line.bytes.saturating_add(bytes.len()) > ROOM {
            line.left_out = line.left_out.saturating_add(1);
            line.untold = line.untold.saturating_add(1);
            return;
        }
        line.tell_left_out();
        line.push(bytes.to_vec());
        drop(line);
        self.changed.notify_all();
    }

    /// Lines that were left out since the start.
    pub fn left_out(&self) -> u64 {
        self.line().left_out
    }

    /// Does the reader not read? Over once it has taken all that was left for it.
    pub fn is_stalled(&self) -> bool {
        let line = self.line();
        line.untold > 0 || line.writing.is_some_and(|since| since.elapsed() >= STALLED)
    }

    /// Waits until the reader has everything, until `end` at most.
    pub fn drain(&self, end: Instant) {
        let mut line = self.line();
        while !line.is_done() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            line = self.changed.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The thread's work. What cannot be written is lost: a full disk, a reader that has gone.
    fn write_to(&self, mut to: impl Write) {
        loop {
            let _ = to.write_all(&self.next()).and_then(|()| to.flush());
            self.line().writing = None;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut line = self.line();
        loop {
            if line.waiting.is_empty() {
                line.tell_left_out();
            }
            if let Some(bytes) = line.waiting.pop_front() {
                line.bytes = line.bytes.saturating_sub(bytes.len());
                line.writing = Some(Instant::now());
                return bytes;
            }
            line = self.changed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.untold == 0 && self.writing.is_none()
    }

    /// Where lines are missing it says how many.
    fn tell_left_out(&mut self) {
        if self.untold > 0 {
            let text = format!("{} lines were left out here: nobody read what was written before them\n", self.untold);
            self.untold = 0;
            self.push(text.into_bytes());
        }
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.waiting.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};

    /// Far more than a machine busy with other work needs.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_reader_that_stops_keeps_nobody_waiting_and_is_told_later_how_many_lines_it_has_missed() {
        let (reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::start("a reader that stops", writer).unwrap();
        let begun = Instant::now();
        for number in 0..30_000 {
            outlet.put(format!("{number:>99}\n").as_bytes());
        }
        let took = begun.elapsed();
        assert!(took < STALLED, "{took:?}");
        let missed = outlet.left_out();
        // A megabyte in the queue, 64 KiB in the pipe.
        assert!((18_500..=19_600).contains(&missed), "{missed}");
        assert!(outlet.is_stalled());
        let left = outlet.line();
        let waiting = left.waiting.iter().map(Vec::len).sum::<usize>();
        assert!(left.bytes == waiting && waiting <= ROOM, "{waiting}");
        drop(left);
        // It never ends later than it is told.
        outlet.drain(Instant::now() + Duration::from_millis(20));
        let mut reader = BufReader::new(reader);
        let said = "lines were left out here";
        let mut taken = 0;
        let told = loop {
            let mut text = String::new();
            reader.read_line(&mut text).unwrap();
            if text.contains(said) {
                break text;
            }
            taken += 1;
        };
        assert_eq!(told, format!("{missed} {said}: nobody read what was written before them\n"));
        assert_eq!(taken, 30_000 - missed);
        outlet.drain(later());
        assert!(!outlet.is_stalled());
        outlet.put(b"after\n");
        let mut text = String::new();
        reader.read_line(&mut text).unwrap();
        assert_eq!((text.as_str(), outlet.left_out()), ("after\n", missed));
    }

    #[test]
    fn all_that_was_left_is_written_before_an_orderly_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::start("an orderly end", writer).unwrap();
        outlet.put(b"one\n");
        outlet.put(b"two\n");
        outlet.drain(later());
        let mut text = [0; 8];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\ntwo\n");
        drop(reader);
        // A reader that has gone keeps nothing.
        outlet.put(b"three\n");
        outlet.drain(later());
        assert!(!outlet.is_stalled() && outlet.left_out() == 0);
    }
}
