//! Standard output and standard error, as both programs write to them.
//!
//! Nobody may read what a program says: a reader has gone, as `head` does, the disk of a log is full, or a reader has stopped
//! reading and a write to it never returns. No program ends for that in disorder, and none that serves ends or waits at all:
//! from [`serve`] on lines are left at an [`Outlet`]. So nothing here panics, as `println!` and `eprintln!` do; those are
//! forbidden outside tests.

use crate::outlet::Outlet;
use std::backtrace::Backtrace;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;

/// How long the end waits for who reads the last lines.
const LAST: Duration = Duration::from_secs(1);

/// The outputs of a process that serves.
struct Outlets {
    out: Arc<Outlet>,
    error: Arc<Outlet>,
}

static OUTLETS: OnceLock<Outlets> = OnceLock::new();

/// From here on this process serves: nothing that it says, log and panics included, waits for who reads it. A second call
/// changes nothing.
///
/// # Errors
/// When the system gives no thread or no handle for it.
pub fn serve() -> io::Result<()> {
    if OUTLETS.get().is_some() {
        return Ok(());
    }
    // Handles of their own: the library's outputs are behind locks that a write would hold.
    let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let error = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let outlets = Outlets { out: Outlet::start("output", out)?, error: Outlet::start("log", error)? };
    if OUTLETS.set(outlets).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    Ok(())
}

/// Waits until what was said is read, for a second at most. For the end of a program, and before a person is asked something.
pub fn drain() {
    let end = Instant::now().checked_add(LAST);
    if let (Some(outlets), Some(end)) = (OUTLETS.get(), end) {
        outlets.out.drain(end);
        outlets.error.drain(end);
    }
}

/// Lines of the log that were left out since the start because nobody read it, or it could not be written.
pub fn left_out() -> u64 {
    OUTLETS.get().map_or(0, |outlets| outlets.error.left_out())
}

/// Is the log of this process, which serves, not read, or can it not be written?
pub fn is_stalled() -> bool {
    OUTLETS.get().is_some_and(|outlets| outlets.error.is_stalled())
}

/// What the standard library says of a panic, which would wait for the reader.
fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tell(format_args!("\nthread '{}' {panic}", thread.name().unwrap_or("<unnamed>")));
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
        tell(format_args!("stack backtrace:\n{}", Backtrace::force_capture()));
    }
}

/// A line on standard error. What cannot be written is lost.
pub fn tell(text: fmt::Arguments<'_>) {
    match OUTLETS.get() {
        Some(outlets) => outlets.error.put(format!("{text}\n").as_bytes()),
        None => drop(writeln!(io::stderr().lock(), "{text}")),
    }
}

/// The beginning of a line on standard error, which a person ends. What cannot be written is lost.
pub fn ask(text: fmt::Arguments<'_>) {
    drain();
    let mut screen = io::stderr().lock();
    let _ = write!(screen, "{text}").and_then(|()| screen.flush());
}

/// A line on standard output.
///
/// # Errors
/// When it cannot be written; a reader that has gone is none. A process that serves never learns of it.
pub fn say(text: fmt::Arguments<'_>) -> io::Result<()> {
    if let Some(outlets) = OUTLETS.get() {
        outlets.out.put(format!("{text}\n").as_bytes());
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("write to standard output: {error}"))),
        done => done,
    }
}

/// Standard error as a log is written to it: by a process that serves through its outlet, by any other at once.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match OUTLETS.get() {
            Some(outlets) => {
                outlets.error.put(bytes);
                Ok(bytes.len())
            }
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// [`Log`], for each line.
pub fn log() -> Log {
    Log
}

/// Where a log goes that may stop being written at any time: what is lost is lost, and whoever logs never learns of it.
#[derive(Clone, Copy, Debug)]
pub struct Lossy<W>(pub W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Ok(written) if written > 0 => Ok(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Ok(_) | Err(_) => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lossy<W> {
    type Writer = Lossy<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Lossy(self.0.make_writer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    /// A log on a disk that is full at times.
    #[derive(Clone, Default)]
    struct Disk {
        is_full: Arc<AtomicBool>,
        kept: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full.load(Ordering::SeqCst) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.kept.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.is_full.load(Ordering::SeqCst) {
                Err(ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_for_a_while_goes_on_where_it_can_and_nobody_learns_of_it() {
        let disk = Disk::default();
        let writer = disk.clone();
        tracing::subscriber::with_default(crate::logging::to(move || writer.clone(), false), || {
            tracing::info!("before");
            disk.is_full.store(true, Ordering::SeqCst);
            tracing::info!("while it is full");
            disk.is_full.store(false, Ordering::SeqCst);
            tracing::info!("after");
        });
        let text = String::from_utf8(disk.kept.lock().unwrap().clone()).unwrap();
        assert!(text.contains("before") && text.contains("after") && !text.contains("full"), "{text}");
    }
}
