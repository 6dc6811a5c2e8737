//! The clock of a process: the machine's, or a small file that a test moves.
//!
//! Fast time stands still until its conductor replaces the file. Only regtest may use one; whoever reads the
//! configuration refuses it elsewhere. Network time-outs never use this clock.

use crate::units::Time;
use anyhow::Context;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The machine's own clock.
    System,
    /// A file holding unix seconds as decimal text, replaced atomically by the one who moves time.
    File(PathBuf),
}

/// Longest text a clock file may hold: ten digits and white space.
const LONGEST: u64 = 32;

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock::System
    }

    /// A clock file. It is read at every [`Clock::now`], so it need not exist yet.
    pub fn file(path: impl Into<PathBuf>) -> Clock {
        Clock::File(path.into())
    }

    /// Does time stand still until somebody moves it?
    pub fn is_file(&self) -> bool {
        matches!(self, Clock::File(_))
    }

    /// The moment it is now.
    ///
    /// # Errors
    /// When the file is missing or does not hold unix seconds, or the machine's clock is outside 1970 to 2106.
    pub fn now(&self) -> anyhow::Result<Time> {
        match self {
            Clock::System => {
                let past =
                    SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock is before 1970")?;
                Ok(Time(u32::try_from(past.as_secs()).context("the machine's clock is after 2106")?))
            }
            Clock::File(path) => {
                let mut text = String::new();
                let file = std::fs::File::open(path).with_context(|| format!("open clock file {}", path.display()))?;
                file.take(LONGEST)
                    .read_to_string(&mut text)
                    .with_context(|| format!("read clock file {}", path.display()))?;
                let seconds = text.trim().parse().map_err(|_| {
                    anyhow::anyhow!("clock file {} holds {text:?}, not unix seconds such as 1584007200", path.display())
                })?;
                Ok(Time(seconds))
            }
        }
    }

    /// Moves a clock file to `now`, atomically: a reader sees the old time or the new, never half of one.
    ///
    /// # Errors
    /// When the file or its neighbour cannot be written.
    pub fn set_file(path: &Path, now: Time) -> anyhow::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".next");
        let beside = PathBuf::from(beside);
        std::fs::write(&beside, format!("{}\n", now.0)).with_context(|| format!("write {}", beside.display()))?;
        std::fs::rename(&beside, path).with_context(|| format!("replace clock file {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_file_stands_still_until_it_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let clock = Clock::file(&path);
        assert!(clock.now().unwrap_err().to_string().contains("clock"));
        for seconds in [1_584_007_200, 1_584_010_800] {
            Clock::set_file(&path, Time(seconds)).unwrap();
            assert_eq!(clock.now().unwrap(), Time(seconds));
            assert_eq!(clock.now().unwrap(), Time(seconds));
        }
    }

    #[test]
    fn a_clock_file_that_is_not_a_time_is_refused_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        for text in ["", "noon", "-1", "4294967296", "1584007200 1584007200"] {
            std::fs::write(&path, text).unwrap();
            let said = Clock::file(&path).now().unwrap_err().to_string();
            assert!(said.contains("not unix seconds"), "{said}");
        }
    }

    #[test]
    fn the_machine_knows_the_century() {
        assert!(Clock::system().now().unwrap() > Time(1_600_000_000));
    }
}
