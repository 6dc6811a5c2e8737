//! How much room a disk has, and what a refusal of the disk is called: for the oracle and for nodes.
//!
//! A program whose disk is full stops in the middle of what it does. So it says so while there is still room, and takes
//! nothing new on below what it needs to end what it has begun.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Below so many free bytes nothing new is begun: what is under way still has to be written.
pub const LEAST: u64 = 256 * 1024 * 1024;
/// Below so many free bytes a person is told.
pub const LOW: u64 = 1024 * 1024 * 1024;

/// With `--features faults`, the variable that names a file whose number stands for the free bytes; at 0 writing fails.
#[cfg(feature = "faults")]
pub const VARIABLE: &str = "HYPOTHEC_FREE_BYTES";

/// How a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is enough.
    Enough,
    /// A person should make room.
    Low(Free),
    /// Nothing new may begin.
    Short(Free),
}

/// So many bytes, as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free(pub u64);

impl fmt::Display for Free {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 20 => write!(f, "{bytes} bytes"),
            bytes => write!(f, "{} MiB", bytes >> 20),
        }
    }
}

impl Room {
    /// What so many free bytes are.
    pub fn of(free: u64) -> Room {
        match free {
            free if free < LEAST => Room::Short(Free(free)),
            free if free < LOW => Room::Low(Free(free)),
            _ => Room::Enough,
        }
    }

    /// How it is on the disk that holds `path`.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn at(path: &Path) -> Result<Room, Error> {
        free(path).map(Room::of)
    }
}

/// The bytes that are free for this user on the disk that holds `path`.
///
/// # Errors
/// When the system does not say.
pub fn free(path: &Path) -> Result<u64, Error> {
    match faked() {
        Some(bytes) => Ok(bytes),
        None => fs2::available_space(path),
    }
}

/// What a test says instead of the disk.
#[cfg(feature = "faults")]
fn faked() -> Option<u64> {
    std::fs::read_to_string(std::env::var_os(VARIABLE)?).ok()?.trim().parse().ok()
}

#[cfg(not(feature = "faults"))]
fn faked() -> Option<u64> {
    None
}

/// Fails as a full disk does, where a test says that it is full.
///
/// # Errors
/// Then only.
pub fn refuse_when_faked() -> Result<(), Error> {
    match faked() {
        Some(0) => Err(Error::from(ErrorKind::StorageFull)),
        _ => Ok(()),
    }
}

/// Did the disk have no room?
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Why a file at `path` could not be read or written, in plain words.
pub fn why(error: &Error, path: &Path) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let left =
                nearest(path).and_then(|place| free(place).ok()).map(|bytes| format!(", {} are free", Free(bytes)));
            format!("the disk is full{}: make room on it", left.unwrap_or_default())
        }
        ErrorKind::NotFound => "it is not there".to_owned(),
        ErrorKind::PermissionDenied => "this user may not".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "the disk can only be read from".to_owned(),
        ErrorKind::AlreadyExists => "it is there already".to_owned(),
        ErrorKind::NotADirectory => "part of the path is no folder".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => plain(&error.to_string()),
    }
}

/// An error and what it came from, in one line of plain words. `path` is where the program writes, if that is known.
pub fn chain(error: &anyhow::Error, path: Option<&Path>) -> String {
    let words = error.chain().map(|one| match one.downcast_ref::<Error>() {
        Some(error) => why(error, path.unwrap_or(Path::new(""))),
        None => plain(&one.to_string()),
    });
    words.collect::<Vec<_>>().join(": ")
}

/// The path, or the first folder above it that is there.
fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|one| one.exists())
}

/// A system's text without the number that only programs know an error by.
pub fn plain(text: &str) -> String {
    match text.split_once(" (os error ").map(|(words, rest)| (words, rest.split_once(')'))) {
        Some((words, Some((_, after)))) => format!("{words}{after}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_of_before_it_is_full_and_takes_nothing_new_before_that_either() {
        assert_eq!(Room::of(LOW), Room::Enough);
        assert_eq!(Room::of(LOW - 1), Room::Low(Free(LOW - 1)));
        assert_eq!(Room::of(LEAST - 1), Room::Short(Free(LEAST - 1)));
        assert_eq!((Free(LEAST).to_string(), Free(1_000).to_string()), ("256 MiB".into(), "1000 bytes".into()));
        assert!(free(Path::new("/")).is_ok());
    }

    #[test]
    fn what_the_disk_refuses_is_said_without_the_words_of_the_system() {
        let path = Path::new("/nowhere/at/all");
        for number in 1..134 {
            let said = why(&Error::from_raw_os_error(number), path);
            assert!(!said.is_empty() && !said.contains("os error") && !said.contains("Os {"), "{number}: {said}");
        }
        let full = why(&Error::from_raw_os_error(28), path);
        assert!(full.starts_with("the disk is full, ") && full.ends_with("are free: make room on it"), "{full}");
        assert!(is_full(&Error::from_raw_os_error(28)) && is_full(&Error::from_raw_os_error(122)));
    }
}
