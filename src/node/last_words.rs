//! The last words of a node that ended by itself: why, for who asks when nothing answers any more.
//!
//! Their place is taken while there is room, so that they can be said on a full disk too.

use super::data::DataFolder;
use hypothec_oracle::foreign::printable;
use hypothec_oracle::units::Time;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

/// The file's size, bytes.
const SIZE: usize = 4_096;

/// Where the last words of one run go. Held from the start on.
#[derive(Debug)]
pub struct LastWords(Option<File>);

impl LastWords {
    /// Takes the place, and forgets what an earlier run said. Only whoever holds the folder's lock may.
    /// A folder that has no room for it goes without.
    pub fn reserve(folder: &DataFolder) -> LastWords {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(folder.path().join("last-words")).ok();
        let mut words = LastWords(file);
        let _ = words.put("");
        words
    }

    /// Says them. What cannot be said is not.
    pub fn say(&mut self, at: Time, why: &str) {
        let _ = self.put(&format!("{at}: {why}"));
    }

    /// Nothing but the text and blanks, in the bytes that are there.
    fn put(&mut self, text: &str) -> std::io::Result<()> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        let mut bytes = text.replace('\n', " ").into_bytes();
        bytes.resize(SIZE, b' ');
        file.rewind()?;
        file.write_all(&bytes)?;
        file.sync_data()
    }
}

/// When and why the last run on a folder ended by itself; `None` where it runs, was told to stop or was cut off.
pub fn said(folder: &DataFolder) -> Option<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(SIZE).unwrap_or(u64::MAX);
    File::open(folder.path().join("last-words")).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    let text = printable(String::from_utf8_lossy(&bytes).trim());
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::data::new_words;

    #[test]
    fn last_words_are_there_until_the_next_start_and_are_cut_to_their_place() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::make(&place.path().join("node"), &new_words().unwrap(), "", |_| Ok(())).unwrap();
        assert_eq!(said(&folder), None);
        let mut words = LastWords::reserve(&folder);
        assert_eq!(said(&folder), None);
        let size = || std::fs::metadata(folder.path().join("last-words")).unwrap().len();
        assert_eq!(size(), 4_096);
        words.say(Time(1_583_712_000), &"the disk is full\n".repeat(1_000));
        assert_eq!(size(), 4_096);
        let text = said(&folder).unwrap();
        assert!(text.contains("2020-03-09") && text.contains(": the disk is full the disk"), "{text}");
        words.say(Time(1_583_712_000), "again");
        assert!(said(&folder).unwrap().ends_with(": again"));
        let _words = LastWords::reserve(&folder);
        assert_eq!(said(&folder), None);
    }
}
