//! Where the renewed backup belongs: a note beside the file says that this is the disk it was put on.
//!
//! A mount point without its disk is a folder of the system's own disk, as good as any to write to. So the node leaves a
//! note beside the file, and writes it anew only where it finds that note. The first time there is none: then it takes the
//! place, unless it is on the data folder's disk, where a backup helps little and a missing mount is likely. A person
//! accepts another place with an empty note.
//!
//! The note also says which writing of the file is beside it, by a number that grows with each. So where two disks are used
//! in turn the one that is back is known to be behind, and is written anew; and one that is ahead of what this node ever
//! wrote, since the node was restored from an older backup, is not written over.

use super::config::BackupTo;
use super::renewal::replace;
use crate::store::Store;
use anyhow::{bail, Context};
use bitcoin::hex::DisplayHex;
use rand::RngCore;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The document that holds what this node's notes say, and where it has left one.
const DOCUMENT: &str = "backup-place";
/// What a note begins with.
const FIRST: &str = "hypothec backup place 1 ";
/// What the line with the number of the writing beside it begins with.
const NUMBER: &str = "writing ";
/// Largest note read, in bytes.
const LARGEST: u64 = 4_096;
/// The most places remembered; the oldest goes.
const MOST: usize = 16;

/// The place of one backup file.
#[derive(Clone)]
pub(super) struct Place {
    to: BackupTo,
    data: PathBuf,
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.to.file.display())
    }
}

/// What the store remembers. The mark is the node's: the same beside every file of it.
#[derive(Default, Serialize, Deserialize)]
struct Remembered {
    mark: String,
    files: Vec<PathBuf>,
    /// Of the newest writing, wherever it was put; in the backup itself too. 0 before the first that was counted.
    #[serde(default)]
    number: u64,
}

/// What lies beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    /// Nothing.
    Missing,
    /// An empty file: a person says that this is the place.
    Empty,
    /// This node's, beside the writing of this number; 0 of one that says none.
    Ours(u64),
    /// Another node's, or none that can be read.
    Foreign,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The place is the one it was.
    Known,
    /// It becomes the place: a note is left.
    Take,
    /// Written without a note, until it is sure that this is the place.
    Unsure,
    /// The disk is not there.
    Away,
    /// It is the place of another node.
    Others,
    /// It holds a later backup than this node ever wrote.
    Ahead,
}

/// `was` says whether the file was put in this place before, `newest` is the number of the last writing anywhere.
fn judge(note: Note, was: bool, newest: u64, is_doubtful: bool) -> Verdict {
    match (note, was) {
        (Note::Ours(number), _) if number > newest => Verdict::Ahead,
        (Note::Ours(_), _) => Verdict::Known,
        (Note::Empty, _) => Verdict::Take,
        (Note::Foreign, _) => Verdict::Others,
        (Note::Missing, true) => Verdict::Away,
        (Note::Missing, false) if is_doubtful => Verdict::Unsure,
        (Note::Missing, false) => Verdict::Take,
    }
}

impl Place {
    pub(super) fn new(to: BackupTo, data: PathBuf, store: Arc<dyn Store>) -> Place {
        Place { to, data, store }
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.to.file
    }

    /// What is written there, with its number on disk before: what it holds says how new it is. Gives back what a person
    /// should know of the place all the same.
    ///
    /// # Errors
    /// When the place is another, with what to do; or it cannot be written.
    pub(super) fn renew(&self, seal: impl FnOnce() -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Option<String>> {
        let doubt = self.enter()?;
        let mut remembered = self.remembered()?;
        remembered.number = remembered.number.saturating_add(1);
        self.keep(&remembered)?;
        replace(self.file(), &seal()?)?;
        self.still()?;
        // Without a note nobody knows the place again.
        if remembered.files.contains(&self.to.file) {
            self.leave(&remembered.mark, remembered.number)?;
        }
        Ok(doubt)
    }

    /// What a person is told where the file lies on a disk that is there and is not the newest: a disk that was away
    /// meanwhile is back, or somebody removed the file.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn behind(&self) -> anyhow::Result<Option<String>> {
        let remembered = self.remembered()?;
        let Note::Ours(number) = self.note(&remembered.mark)? else { return Ok(None) };
        let (file, newest) = (self.file().display(), remembered.number);
        Ok(match number < newest {
            true => Some(format!("{file} is behind, its disk was away: it is writing {number} of {newest}")),
            false if !self.file().exists() => Some(format!("{file} is gone, and the note of its place is there")),
            false => None,
        })
    }

    /// Makes sure that the file's folder is the one it is to be in; what a person should know of it all the same.
    ///
    /// # Errors
    /// When it is another, with what to do.
    fn enter(&self) -> anyhow::Result<Option<String>> {
        let folder = self.folder();
        if !folder.is_dir() {
            bail!("there is no folder {}: mount its disk, or correct `backup.file`", folder.display());
        }
        let mut remembered = self.remembered()?;
        let note = self.note(&remembered.mark)?;
        let doubtful = !self.to.same_disk && device(folder)? == device(&self.data)?;
        let was = remembered.files.contains(&self.to.file);
        match judge(note, was, remembered.number, doubtful) {
            Verdict::Known if was => {}
            Verdict::Known => self.remember(&mut remembered)?,
            Verdict::Take => {
                self.leave(&remembered.mark, 0)?;
                self.remember(&mut remembered)?;
                tracing::info!("the backup's place is {} from now on", folder.display());
            }
            Verdict::Unsure => {}
            Verdict::Away => bail!(
                "{} is not there, which this node left beside the file: its disk is not mounted, or another one is. \
                 Mount it; or, if this is to be its new place, say so with: touch {0}",
                self.note_path().display()
            ),
            Verdict::Others => bail!(
                "{} is of another node, or of this one before it was restored: the backup there may hold loans that \
                 this node does not know. Name another file, or move both away",
                self.note_path().display()
            ),
            Verdict::Ahead => bail!(
                "{} is of a later backup than this node was restored from: the file there may hold loans that this node does \
                 not know. Restore that one; or name another file, or move both away",
                self.note_path().display()
            ),
        }
        Ok(doubtful.then(|| {
            format!(
                "{} is on the disk of the data folder, and lost with it: mount the disk that is missing, or name a \
                 file on another one; if this is meant, write `same_disk = true` under [backup]",
                self.to.file.display()
            )
        }))
    }

    /// Is it still what it was when it was entered? A disk may have gone meanwhile.
    fn still(&self) -> anyhow::Result<()> {
        let remembered = self.remembered()?;
        let is_there =
            !remembered.files.contains(&self.to.file) || matches!(self.note(&remembered.mark)?, Note::Ours(_));
        match is_there {
            false => bail!("the disk of {} went while it was written", self.to.file.display()),
            true => Ok(()),
        }
    }

    fn folder(&self) -> &Path {
        self.to.file.parent().unwrap_or(Path::new("/"))
    }

    fn note_path(&self) -> PathBuf {
        let mut name = self.to.file.file_name().unwrap_or_default().to_owned();
        name.push(".place");
        self.to.file.with_file_name(name)
    }

    fn note(&self, mark: &str) -> anyhow::Result<Note> {
        let path = self.note_path();
        let reading = || format!("read {}", path.display());
        let file = match open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Note::Missing),
            other => other.with_context(reading)?,
        };
        if !file.metadata().with_context(reading)?.is_file() {
            bail!("{} is no file that can be read to its end: a pipe or a folder, say. Remove it", path.display());
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).with_context(reading)?;
        let text = String::from_utf8_lossy(&bytes);
        let found = text.lines().next().and_then(|line| line.strip_prefix(FIRST));
        let number = text.lines().find_map(|line| line.strip_prefix(NUMBER)?.parse().ok());
        Ok(match found {
            Some(found) if found == mark => Note::Ours(number.unwrap_or(0)),
            None if text.trim().is_empty() => Note::Empty,
            _ => Note::Foreign,
        })
    }

    fn leave(&self, mark: &str, number: u64) -> anyhow::Result<()> {
        let text = format!(
            "{FIRST}{mark}\nBy this file the node knows that its backup's disk is mounted. Leave it here.\n{NUMBER}{number}\n"
        );
        replace(&self.note_path(), text.as_bytes())
    }

    /// What the store holds; the mark is made before the first note is.
    fn remembered(&self) -> anyhow::Result<Remembered> {
        if let Some(bytes) = self.store.get(DOCUMENT)? {
            return serde_json::from_slice(&bytes).context("read where the backup belongs");
        }
        let mut mark = [0; 16];
        rand::rngs::OsRng.fill_bytes(&mut mark);
        let remembered = Remembered { mark: mark.to_lower_hex_string(), ..Remembered::default() };
        self.keep(&remembered)?;
        Ok(remembered)
    }

    fn remember(&self, remembered: &mut Remembered) -> anyhow::Result<()> {
        remembered.files.retain(|file| *file != self.to.file);
        remembered.files.push(self.to.file.clone());
        let surplus = remembered.files.len().saturating_sub(MOST);
        remembered.files.drain(..surplus);
        self.keep(remembered)
    }

    fn keep(&self, remembered: &Remembered) -> anyhow::Result<()> {
        Ok(self.store.put(DOCUMENT, &serde_json::to_vec(remembered)?)?)
    }
}

/// Opens what lies there and waits for nobody: a pipe that no one writes to would hold the reader for ever.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The disk that holds it, by the number the system gives it while it is mounted.
fn device(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    struct Disks {
        root: tempfile::TempDir,
        store: Arc<dyn Store>,
    }

    impl Disks {
        fn new() -> Disks {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("data")).unwrap();
            fs::create_dir(root.path().join("away")).unwrap();
            Disks { root, store: Arc::new(Memory::new()) }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn place(&self, same_disk: bool) -> Place {
            let to = BackupTo { file: self.at("away/node.backup"), same_disk };
            Place::new(to, self.at("data"), self.store.clone())
        }

        /// The mount point without its disk.
        fn unmount(&self) {
            fs::rename(self.at("away"), self.at("disk")).unwrap();
            fs::create_dir(self.at("away")).unwrap();
        }
    }

    #[test]
    fn a_backup_goes_only_where_its_note_lies_and_a_person_can_accept_another_place() {
        let disks = Disks::new();
        let place = disks.place(true);
        assert_eq!(place.enter().unwrap(), None);
        assert_eq!(place.enter().unwrap(), None);
        place.still().unwrap();
        disks.unmount();
        let said = place.enter().unwrap_err().to_string();
        assert!(
            said.contains("not mounted") && said.contains("touch ") && said.contains("node.backup.place"),
            "{said}"
        );
        assert!(place.still().unwrap_err().to_string().contains("went while"));
        assert_eq!(fs::read_dir(disks.at("away")).unwrap().count(), 0, "nothing is written without the disk");
        fs::remove_dir(disks.at("away")).unwrap();
        assert!(place.enter().unwrap_err().to_string().contains("there is no folder"));
        // The disk again, and then a new one.
        fs::rename(disks.at("disk"), disks.at("away")).unwrap();
        place.enter().unwrap();
        disks.unmount();
        fs::write(disks.at("away/node.backup.place"), "").unwrap();
        place.enter().unwrap();
        place.still().unwrap();
        fs::write(disks.at("away/node.backup.place"), "junk").unwrap();
        assert!(place.enter().is_err());
    }

    #[test]
    fn of_two_disks_in_turn_the_one_that_is_back_is_known_to_be_behind_until_it_is_written_anew() {
        let disks = Disks::new();
        let place = disks.place(true);
        let write = || place.renew(|| Ok(b"sealed".to_vec())).unwrap();
        assert_eq!(place.behind().unwrap(), None, "nothing was put there");
        write();
        assert_eq!(place.behind().unwrap(), None);
        disks.unmount();
        assert_eq!(place.behind().unwrap(), None, "it is away, and nothing was recorded since");
        // The second disk, accepted and written.
        fs::write(disks.at("away/node.backup.place"), "").unwrap();
        write();
        write();
        assert_eq!(place.behind().unwrap(), None);
        fs::rename(disks.at("away"), disks.at("second")).unwrap();
        fs::rename(disks.at("disk"), disks.at("away")).unwrap();
        let said = place.behind().unwrap().unwrap();
        assert!(said.ends_with("is behind, its disk was away: it is writing 1 of 3"), "{said}");
        write();
        assert_eq!(place.behind().unwrap(), None);
        // The number is in what is written: who restores it goes on beside it.
        let sealed = disks.store.get(DOCUMENT).unwrap().unwrap();
        place.renew(|| Ok(disks.store.get(DOCUMENT)?.unwrap_or_default())).unwrap();
        let newest = fs::read(disks.at("away/node.backup")).unwrap();
        disks.store.put(DOCUMENT, &newest).unwrap();
        assert_eq!((place.behind().unwrap(), place.enter().unwrap()), (None, None));
        // One that was restored from an older backup does not write over the newer.
        disks.store.put(DOCUMENT, &sealed).unwrap();
        assert_eq!(place.behind().unwrap(), None);
        let said = place.renew(|| Ok(b"older".to_vec())).unwrap_err().to_string();
        assert!(said.contains("of a later backup than this node was restored from"), "{said}");
        assert_eq!(fs::read(disks.at("away/node.backup")).unwrap(), newest);
    }

    #[test]
    fn a_file_that_somebody_removed_and_a_note_of_before_there_were_numbers_are_behind() {
        let disks = Disks::new();
        let place = disks.place(true);
        place.renew(|| Ok(b"sealed".to_vec())).unwrap();
        let note = disks.at("away/node.backup.place");
        let text = fs::read_to_string(&note).unwrap();
        let before: String =
            text.lines().filter(|line| !line.starts_with(NUMBER)).map(|line| format!("{line}\n")).collect();
        fs::write(&note, before).unwrap();
        assert!(place.behind().unwrap().unwrap().ends_with("it is writing 0 of 1"));
        fs::write(&note, text).unwrap();
        assert_eq!(place.behind().unwrap(), None);
        fs::remove_file(disks.at("away/node.backup")).unwrap();
        assert!(place.behind().unwrap().unwrap().contains("is gone"));
    }

    #[test]
    fn a_note_that_is_a_pipe_or_a_folder_is_refused_at_once_and_nobody_waits_for_it() {
        for made in ["mkfifo", "mkdir"] {
            let disks = Disks::new();
            let note = disks.at("away/node.backup.place");
            assert!(std::process::Command::new(made).arg(&note).status().unwrap().success());
            let said = disks.place(true).enter().unwrap_err().to_string();
            assert!(said.contains("node.backup.place is no file") && said.ends_with("Remove it"), "{said}");
        }
    }

    #[test]
    fn the_first_time_a_place_on_the_data_folders_disk_is_doubted_until_it_is_meant() {
        let disks = Disks::new();
        let doubt = disks.place(false).enter().unwrap().unwrap();
        assert!(doubt.contains("same_disk = true"), "{doubt}");
        assert!(!disks.at("away/node.backup.place").exists(), "a mount point without its disk is marked as the place");
        disks.place(false).still().unwrap();
        assert_eq!(disks.place(true).enter().unwrap(), None);
        assert!(disks.at("away/node.backup.place").exists());
    }

    #[test]
    fn the_backup_of_another_node_is_not_written_over_nor_that_of_a_node_before_it_was_made_anew_from_words() {
        let mut disks = Disks::new();
        disks.place(true).enter().unwrap();
        disks.store = Arc::new(Memory::new());
        let said = disks.place(true).enter().unwrap_err().to_string();
        assert!(said.contains("of another node") && said.contains("loans that this node does not know"), "{said}");
    }
}
