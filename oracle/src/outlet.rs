//! Lines for a reader that may stop reading: they wait in a queue, and a thread of its own writes them.
//!
//! A pipe that nobody empties, a terminal held with Ctrl-S, a log service that hangs: a write to them does not return, or says
//! that it would not, where whoever started the process made the pipe non-blocking; both are waited for. Whoever leaves a line
//! here goes on at once; what does not fit is left out, and counted, as is what cannot be written. Nothing here takes the lock
//! of the standard library's outputs, and no lock is held while something is written.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait.
pub const ROOM: usize = 1 << 20;
/// A write that takes so long has a reader that does not read.
const STALLED: Duration = Duration::from_secs(5);
/// The pause before a reader that is behind is tried again, where the system does not wait for it itself.
const AGAIN: Duration = Duration::from_millis(10);

/// One output of this process.
#[derive(Debug, Default)]
pub struct Outlet {
    line: Mutex<Line>,
    changed: Condvar,
}

/// What waits, the oldest first.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Said>,
    bytes: usize,
    /// Since when the thread writes what it took.
    writing: Option<Instant>,
    /// Left out since the start.
    left_out: u64,
    /// Those of them that the reader has not been told of.
    untold: u64,
    /// The last write failed: the next line is the next try.
    failed: bool,
}

/// A line with its end.
#[derive(Debug)]
struct Said {
    bytes: Vec<u8>,
    /// How many lines it says are missing; 0 for any other line.
    missing: u64,
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
            line.leave_out();
            return;
        }
        line.tell_left_out();
        line.push(Said { bytes: bytes.to_vec(), missing: 0 });
        drop(line);
        self.changed.notify_all();
    }

    /// Lines that were left out since the start, those that could not be written included.
    pub fn left_out(&self) -> u64 {
        self.line().left_out
    }

    /// Does the reader not read, or can nothing be written? Over once it has taken all that was left for it.
    pub fn is_stalled(&self) -> bool {
        let line = self.line();
        line.failed || line.untold > 0 || line.writing.is_some_and(|since| since.elapsed() >= STALLED)
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

    /// The thread's work. What cannot be written, on a full disk or to a reader that has gone, counts as left out.
    fn write_to(&self, mut to: impl Write) {
        let mut torn = false;
        loop {
            let said = self.next();
            let written = write_line(&mut to, &said.bytes, &mut torn);
            self.line().written(&said, written.is_ok());
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Said {
        let mut line = self.line();
        loop {
            // After a failure that waits for the next line: trying without end would be all that this thread does.
            if line.waiting.is_empty() && !line.failed {
                line.tell_left_out();
            }
            if let Some(said) = line.waiting.pop_front() {
                line.bytes = line.bytes.saturating_sub(said.bytes.len());
                line.writing = Some(Instant::now());
                return said;
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
        self.waiting.is_empty() && (self.untold == 0 || self.failed) && self.writing.is_none()
    }

    /// Where lines are missing it says how many.
    fn tell_left_out(&mut self) {
        if self.untold > 0 {
            let missing = mem::take(&mut self.untold);
            let text = format!(
                "{missing} lines were left out here: nobody read what was before them, or it could not be written\n"
            );
            self.push(Said { bytes: text.into_bytes(), missing });
        }
    }

    fn leave_out(&mut self) {
        self.left_out = self.left_out.saturating_add(1);
        self.untold = self.untold.saturating_add(1);
    }

    fn push(&mut self, said: Said) {
        self.bytes = self.bytes.saturating_add(said.bytes.len());
        self.waiting.push_back(said);
    }

    /// The thread has done with it.
    fn written(&mut self, said: &Said, is_written: bool) {
        (self.writing, self.failed) = (None, !is_written);
        match (is_written, said.missing) {
            (true, _) => {}
            (false, 0) => self.leave_out(),
            (false, missing) => self.untold = self.untold.saturating_add(missing),
        }
    }
}

/// Writes a line whole, however long its reader takes. After one of which only a part could be written it begins anew.
fn write_line(to: &mut impl Write, bytes: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        write_whole(to, b"\n", torn)?;
    }
    write_whole(to, bytes, torn)?;
    patiently(|| to.flush())
}

/// Writes these bytes. `torn` is whether a part of them was written and no more.
fn write_whole(to: &mut impl Write, bytes: &[u8], torn: &mut bool) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let count = patiently(|| to.write(left))?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        left = left.get(count..).unwrap_or_default();
        *torn = !left.is_empty();
    }
    Ok(())
}

/// Tries again as long as the reader is only behind.
fn patiently<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match ask() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
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
        let waiting = left.waiting.iter().map(|said| said.bytes.len()).sum::<usize>();
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
        assert_eq!(told, format!("{missed} {said}: nobody read what was before them, or it could not be written\n"));
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
        // A reader that has gone keeps nothing and nobody, and what it does not get is counted.
        let begun = Instant::now();
        for count in 1..=100 {
            outlet.put(b"three\n");
            outlet.drain(later());
            assert!(outlet.is_stalled() && outlet.left_out() == count);
        }
        let left = outlet.line();
        assert!(begun.elapsed() < STALLED && left.waiting.is_empty() && left.untold == 100);
    }

    #[test]
    fn a_reader_behind_a_pipe_that_does_not_wait_loses_nothing_and_counts_as_one_that_does_not_read() {
        let (reader, writer) = io::pipe().unwrap();
        let flags = fcntl_getfl(&writer).unwrap();
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
        let outlet = Outlet::start("a pipe that does not wait", writer).unwrap();
        for number in 0..3_000 {
            outlet.put(format!("{number:>99}\n").as_bytes());
        }
        // The pipe is full: a write waits, and the rest stays here until it is read.
        let waits = |line: &Line| line.writing.is_some_and(|since| since.elapsed() > AGAIN * 5);
        while !waits(&outlet.line()) {
            assert!(!outlet.line().is_done(), "lines are lost");
            std::thread::yield_now();
        }
        assert!(outlet.line().waiting.len() > 2_000 && outlet.left_out() == 0);
        let mut lines = BufReader::new(reader).lines();
        for number in 0..3_000 {
            assert_eq!(lines.next().unwrap().unwrap(), format!("{number:>99}"));
        }
        outlet.drain(later());
        assert!(!outlet.is_stalled() && outlet.left_out() == 0);
    }

    /// A disk with so much room, and what is on it.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.0 = disk.0.saturating_sub(count);
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_told_on_a_line_of_its_own_once_there_is_room() {
        let disk = Disk::default();
        disk.0.lock().unwrap().0 = 9;
        let outlet = Outlet::start("a full disk", disk.clone()).unwrap();
        let begun = Instant::now();
        for text in ["first\n", "second\n", "third\n", "fourth\n"] {
            outlet.put(text.as_bytes());
            outlet.drain(later());
        }
        assert!(begun.elapsed() < STALLED, "a disk is not waited for");
        assert!(outlet.is_stalled() && outlet.left_out() == 3);
        disk.0.lock().unwrap().0 = usize::MAX;
        outlet.put(b"fifth\n");
        outlet.drain(later());
        assert!(!outlet.is_stalled() && outlet.left_out() == 3);
        let told = "3 lines were left out here: nobody read what was before them, or it could not be written\n";
        let written = String::from_utf8(disk.0.lock().unwrap().1.clone()).unwrap();
        assert_eq!(written, format!("first\nsec\n{told}fifth\n"));
    }
}
