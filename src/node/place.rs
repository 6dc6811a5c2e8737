//! Where the renewed backup belongs: a note beside the file says that this is the disk it was put on.
//!
//! A mount point without its disk is a folder of the system's own disk, as good as any to write to. So the node leaves a
//! note beside the file, and writes it anew only where it finds that note. The first time there is none: then it takes the
//! place, unless it is on the data folder's disk, where a backup helps little and a missing mount is likely. A person
//! accepts another place with an empty note.
//!
//! The note also says which writing of the file is beside it: a number that grows with each, and the line that it belongs to.
//! A data folder has a line of its own, a random name, from its first writing or its restore on; the backup holds it beside the
//! number, and of each line that the folder came from how far. So where two disks are used in turn the one that is back is known
//! to be behind, and is written anew. One with what this folder does not come from, since the lost node wrote on after the
//! backup that was restored, or since two were restored from one, is not written over, whatever its number.
//!
//! ```text
//! hypothec backup place 1 MARK       the node's
//! (a sentence for people)
//! writing NUMBER
//! line NAME                          none in a note of before there were lines: the line without a name
//! ```

use super::config::BackupTo;
use super::renewal::replace;
use crate::loan::units::Time;
use crate::store::{Item, Store};
use anyhow::{bail, Context};
use bitcoin::hex::DisplayHex;
use rand::RngCore;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The document that holds what this node's notes say, and where it has left one.
const DOCUMENT: &str = "backup-place";
/// What a note begins with.
const FIRST: &str = "hypothec backup place 1 ";
/// What the line with the number of the writing beside it begins with.
const NUMBER: &str = "writing ";
/// What the line with the name of its line begins with.
const LINE: &str = "line ";
/// So many characters of a line's name are said to people.
const SHOWN: usize = 8;
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
    /// This data folder's line; empty in what an older program wrote.
    #[serde(default)]
    line: String,
    /// The lines it came from, each up to the writing that was restored; the latest is last.
    #[serde(default)]
    before: Vec<Writing>,
}

/// A writing of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writing {
    /// The name of its line; empty for one of before lines had names.
    pub line: String,
    /// How many came before it in all.
    pub number: u64,
}

impl fmt::Display for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line.get(..SHOWN) {
            Some(name) => write!(f, "writing {} of line {name}", self.number),
            None => write!(f, "writing {} of the line without a name", self.number),
        }
    }
}

impl Remembered {
    /// The newest writing.
    fn newest(&self) -> Writing {
        Writing { line: self.line.clone(), number: self.number }
    }

    /// Does all that this writing holds belong to what this folder knows?
    fn knows(&self, writing: &Writing) -> bool {
        let newest = self.newest();
        let mut known = self.before.iter().chain([&newest]);
        writing.number == 0 || known.any(|known| known.line == writing.line && writing.number <= known.number)
    }

    /// A line of its own begins here.
    fn fork(&mut self) {
        let newest = self.newest();
        self.before.push(newest);
        let surplus = self.before.len().saturating_sub(MOST);
        self.before.drain(..surplus);
        self.line = random_name();
    }
}

/// What looking at the file found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It is the newest, or not there.
    Newest,
    /// It is older than what was written elsewhere, and may be written anew; in words.
    Behind(String),
    /// It holds what this node does not know, and is not written over; in words.
    Others(String),
}

/// The backup's own number and line, in what a backup holds: a data folder made from it has a line of its own.
///
/// # Errors
/// When it cannot be read.
pub fn fork(item: Item) -> anyhow::Result<Item> {
    let Item::Document { name, bytes } = item else { return Ok(item) };
    if name != DOCUMENT {
        return Ok(Item::Document { name, bytes });
    }
    let mut remembered: Remembered = serde_json::from_slice(&bytes).context("read which writing it is")?;
    remembered.fork();
    Ok(Item::Document { name, bytes: serde_json::to_vec(&remembered)? })
}

/// Which writing this item, of a backup, says that was the newest when it was made; `None` where it does not say it.
pub fn writing(item: &Item) -> Option<Writing> {
    let Item::Document { name, bytes } = item else { return None };
    let remembered: Remembered = serde_json::from_slice(bytes).ok().filter(|_| name == DOCUMENT)?;
    Some(remembered.newest()).filter(|newest| newest.number > 0)
}

/// What lies beside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    /// Nothing.
    Missing,
    /// An empty file: a person says that this is the place.
    Empty,
    /// This node's, beside this writing; number 0 of one that says none.
    Ours(Writing),
    /// Another node's, or none that can be read.
    Foreign,
}

/// What is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// It holds this writing, of which this node does not know all.
    Unknown(Writing),
}

/// `was` says whether the file was put in this place before.
fn judge(note: Note, was: bool, remembered: &Remembered, is_doubtful: bool) -> Verdict {
    match (note, was) {
        (Note::Ours(writing), _) if !remembered.knows(&writing) => Verdict::Unknown(writing),
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
        let sealed = seal()?;
        self.still()?;
        // Without a note nobody knows the place again. It comes before the file: whoever reads it after a crash takes the file
        // for no older than it is.
        if remembered.files.contains(&self.to.file) {
            self.leave(&remembered.mark, &remembered.newest())?;
        }
        replace(self.file(), &sealed)?;
        self.still()?;
        Ok(doubt)
    }

    /// What a person is told where the file lies on a disk that is there and is not the newest: a disk that was away
    /// meanwhile is back, or somebody removed the file, or it is of another line.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn look(&self) -> anyhow::Result<Found> {
        let remembered = self.remembered()?;
        let Note::Ours(writing) = self.note(&remembered.mark)? else { return Ok(Found::Newest) };
        if !remembered.knows(&writing) {
            return Ok(Found::Others(self.others(&writing, &remembered)));
        }
        let (file, number, newest) = (self.file().display(), writing.number, remembered.number);
        Ok(match number < newest {
            true => Found::Behind(format!("{file} is behind, its disk was away: it is writing {number} of {newest}")),
            false if !self.file().exists() => {
                Found::Behind(format!("{file} is gone, and the note of its place is there"))
            }
            false => Found::Newest,
        })
    }

    /// Which is which, where the file is a writing that this node does not know all of.
    fn others(&self, writing: &Writing, remembered: &Remembered) -> String {
        let file = self.file();
        let written = fs::metadata(file).and_then(|file| file.modified()).ok();
        let written = written.and_then(|at| u32::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok());
        let written = written.map(|at| format!(", of {}", Time(at))).unwrap_or_default();
        let from = remembered.before.last().filter(|from| from.number > 0);
        let from = from.map(|from| format!(", and came from {from}")).unwrap_or_default();
        let whose = match remembered.before.iter().any(|known| known.line == writing.line) {
            true => "the node that this one was restored from wrote it, and had gone on by then",
            false if remembered.line == writing.line => "this data folder is an older copy of the one that wrote it",
            false => "another node that was restored from a backup of the same one wrote it",
        };
        format!(
            "{} is {writing}{written}: {whose}. This node is at {}{from}. What is there may hold loans that this node does not \
             know, and is not written over: name another file, or move it and {} away; to have those loans, restore it into a new \
             folder, in this node's place",
            file.display(),
            remembered.newest(),
            self.note_path().display()
        )
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
        match judge(note, was, &remembered, doubtful) {
            Verdict::Known if was => {}
            Verdict::Known => self.remember(&mut remembered)?,
            Verdict::Take => {
                self.leave(&remembered.mark, &Writing { number: 0, ..remembered.newest() })?;
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
            Verdict::Unknown(writing) => bail!("{}", self.others(&writing, &remembered)),
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
        let number = text.lines().find_map(|line| line.strip_prefix(NUMBER)?.parse().ok()).unwrap_or(0);
        // What a file says is written into sentences.
        let name = text.lines().find_map(|line| line.strip_prefix(LINE)).filter(|name| is_name(name));
        Ok(match found {
            Some(found) if found == mark => Note::Ours(Writing { line: name.unwrap_or_default().to_owned(), number }),
            None if text.trim().is_empty() => Note::Empty,
            _ => Note::Foreign,
        })
    }

    fn leave(&self, mark: &str, writing: &Writing) -> anyhow::Result<()> {
        let Writing { line, number } = writing;
        let text = format!(
            "{FIRST}{mark}\nBy this file the node knows that its backup's disk is mounted. Leave it here.\n{NUMBER}{number}\n\
             {LINE}{line}\n"
        );
        replace(&self.note_path(), text.as_bytes())
    }

    /// What the store holds; the mark is made before the first note is, and the line with it.
    fn remembered(&self) -> anyhow::Result<Remembered> {
        let Some(bytes) = self.store.get(DOCUMENT)? else {
            let remembered = Remembered { mark: random_name(), line: random_name(), ..Remembered::default() };
            self.keep(&remembered)?;
            return Ok(remembered);
        };
        let mut remembered: Remembered = serde_json::from_slice(&bytes).context("read where the backup belongs")?;
        // An older program wrote it.
        if remembered.line.is_empty() {
            remembered.fork();
            self.keep(&remembered)?;
        }
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

fn random_name() -> String {
    let mut name = [0; 16];
    rand::rngs::OsRng.fill_bytes(&mut name);
    name.to_lower_hex_string()
}

/// Is it what [`random_name`] gives?
fn is_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
mod tests;
