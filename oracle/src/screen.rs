//! Standard output and standard error, as both programs write to them.
//!
//! Nobody may read what a program says: a reader has gone, as `head` does, or the disk of a log is full. No program ends for
//! that in disorder, and none that serves ends at all. So nothing here panics, as `println!` and `eprintln!` do; those are
//! forbidden outside tests.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use tracing_subscriber::fmt::MakeWriter;

/// A line on standard error. What cannot be written is lost.
pub fn tell(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The beginning of a line on standard error, which a person ends. What cannot be written is lost.
pub fn ask(text: fmt::Arguments<'_>) {
    let mut screen = io::stderr().lock();
    let _ = write!(screen, "{text}").and_then(|()| screen.flush());
}

/// A line on standard output.
///
/// # Errors
/// When it cannot be written; a reader that has gone is none.
pub fn say(text: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("write to standard output: {error}"))),
        done => done,
    }
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
