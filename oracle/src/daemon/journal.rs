//! A journal: lines that were made durable, in order, and never change.
//!
//! A line is `text crc32\n`; the checksum covers the line's number too, so no line can be moved, dropped or changed
//! unnoticed. The first line names the journal. What a crash left unfinished at the end was never acted upon and is cut
//! off; anything else that does not check is refused. One process at a time: the file is locked.

use anyhow::{bail, Context};
use fs2::FileExt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest line, in bytes.
const LONGEST: usize = 1_024;
/// The largest journal read: centuries of hours.
const LARGEST: u64 = 1 << 30;
/// How long a lock that may just be being given back is waited for. Real time.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    lines: u64,
    size: u64,
    // After a failed write nobody knows what is on disk: only opening it again tells.
    broken: bool,
}

impl Journal {
    /// Makes a new journal that begins with `name`. Never replaces one.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn create(path: &Path, name: &str) -> anyhow::Result<()> {
        Journal::create_with(path, name, &[])
    }

    /// The same, with its first lines: all of them are there, or no journal.
    ///
    /// # Errors
    /// As [`Journal::create`].
    pub fn create_with(path: &Path, name: &str, texts: &[String]) -> anyhow::Result<()> {
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut bytes = line(0, name)?;
        for (number, text) in (1u64..).zip(texts) {
            bytes.push_str(&line(number, text)?);
        }
        file.write_all(bytes.as_bytes())?;
        file.sync_all()?;
        // A link, not a rename: it fails where there is one already.
        std::fs::hard_link(&beside, path).with_context(|| format!("make {} (it is never replaced)", path.display()))?;
        std::fs::remove_file(&beside)?;
        sync_folder_of(path)
    }

    /// Does the journal at `path` begin with `name`? Reads nothing else of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_named(path: &Path, name: &str) -> anyhow::Result<bool> {
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        let mut first = Vec::new();
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        BufReader::new(file.take(most)).read_until(b'\n', &mut first)?;
        Ok(first == line(0, name)?.as_bytes())
    }

    /// Opens a journal that begins with `name` and reads its lines, without the first.
    ///
    /// # Errors
    /// When it is missing, another process has it open, it is another journal, or it is damaged.
    pub fn open(path: &Path, name: &str) -> anyhow::Result<(Journal, Vec<String>)> {
        let shown = path.display();
        let mut file = OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("open {shown}"))?;
        lock(&file).with_context(|| format!("{shown} is in use by another process; only one may run"))?;
        let size = file.metadata()?.len();
        if size > LARGEST {
            bail!("{shown} has {size} bytes, which no journal of this program has");
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (texts, good) =
            read(&bytes).with_context(|| format!("{shown} is damaged; restore its newest whole copy"))?;
        let mut texts = texts.into_iter();
        match texts.next() {
            Some(first) if first == name => {}
            other => bail!("{shown} begins with {:?}, not with {name:?}", other.unwrap_or_default()),
        }
        let texts: Vec<String> = texts.collect();
        if good < bytes.len() {
            tracing::warn!("{shown}: cut off {} bytes that a crash left unfinished", bytes.len() - good);
            file.set_len(u64::try_from(good)?)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::End(0))?;
        let lines = u64::try_from(texts.len())?.saturating_add(1);
        let size = u64::try_from(good)?;
        Ok((Journal { file, path: path.to_owned(), lines, size, broken: false }, texts))
    }

    /// Makes lines durable. When this returns they may be acted upon.
    ///
    /// # Errors
    /// When it would become too large to be opened again, or the disk fails; then this journal takes nothing more until it
    /// is opened again.
    pub fn append(&mut self, texts: &[String]) -> anyhow::Result<()> {
        if texts.is_empty() {
            return Ok(());
        }
        if self.broken {
            bail!("{} could not be written before; start the program again", self.path.display());
        }
        let mut bytes = String::new();
        let mut lines = self.lines;
        for text in texts {
            bytes.push_str(&line(lines, text)?);
            lines = lines.checked_add(1).context("the journal is full")?;
        }
        let size = self.size.saturating_add(u64::try_from(bytes.len())?);
        if size > LARGEST {
            bail!("{} is full: it has {} bytes and is read up to {LARGEST}", self.path.display(), self.size);
        }
        self.broken = true;
        self.file.write_all(bytes.as_bytes()).with_context(|| format!("write {}", self.path.display()))?;
        self.file.sync_all().with_context(|| format!("sync {}", self.path.display()))?;
        self.broken = false;
        (self.lines, self.size) = (lines, size);
        Ok(())
    }

    /// Its bytes on disk.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Takes the lock; one that is just being given back by somebody who was told to stop is waited for.
fn lock(file: &File) -> std::io::Result<()> {
    let began = std::time::Instant::now();
    while let Err(error) = file.try_lock_exclusive() {
        if began.elapsed() > LOCK_PATIENCE {
            return Err(error);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// The folder's own entry of a new file must be on disk too.
pub fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    File::open(folder)?.sync_all().with_context(|| format!("sync folder {}", folder.display()))
}

fn line(number: u64, text: &str) -> anyhow::Result<String> {
    if text.len() > LONGEST || text.contains(['\n', '\0']) {
        bail!("a line of {} bytes cannot be kept", text.len());
    }
    Ok(format!("{text} {:08x}\n", checksum(number, text)))
}

fn checksum(number: u64, text: &str) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(text.as_bytes());
    hasher.finalize()
}

/// The texts, and how many bytes they fill; what follows is an unfinished end.
fn read(bytes: &[u8]) -> anyhow::Result<(Vec<String>, usize)> {
    // A file that was made longer before its data arrived ends in zeros; no line holds one.
    let filled = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let bytes = bytes.get(..filled).unwrap_or(bytes);
    let good = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last.saturating_add(1));
    let whole =
        std::str::from_utf8(bytes.get(..good).unwrap_or_default()).context("it holds bytes that are no text")?;
    let mut texts = Vec::new();
    for (number, line) in (0u64..).zip(whole.lines()) {
        let (text, sum) = line.rsplit_once(' ').with_context(|| format!("line {number} has no checksum"))?;
        if sum != format!("{:08x}", checksum(number, text)) {
            bail!("line {number} is not as it was written");
        }
        texts.push(text.to_owned());
    }
    Ok((texts, good))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn what_was_appended_is_read_again_whatever_a_crash_left_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::create(&path, "test 1").unwrap();
        assert!(Journal::create(&path, "test 1").is_err(), "never replaced");
        let (mut journal, read) = Journal::open(&path, "test 1").unwrap();
        assert!(read.is_empty());
        journal.append(&texts(&["one", "two words"])).unwrap();
        assert!(Journal::open(&path, "test 1").unwrap_err().to_string().contains("in use"));
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let third = line(3, "three").unwrap();
        for cut in 0..third.len() {
            for zeros in [0, 100] {
                let torn = [&whole, &third.as_bytes()[..cut], vec![0; zeros].as_slice()].concat();
                std::fs::write(&path, torn).unwrap();
                let (mut journal, read) = Journal::open(&path, "test 1").unwrap();
                assert_eq!(read, texts(&["one", "two words"]));
                journal.append(&texts(&["three"])).unwrap();
                drop(journal);
                assert_eq!(Journal::open(&path, "test 1").unwrap().1, texts(&["one", "two words", "three"]));
            }
        }
    }

    #[test]
    fn a_journal_with_a_changed_moved_or_missing_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::create(&path, "test 1").unwrap();
        Journal::open(&path, "test 1").unwrap().0.append(&texts(&["one", "two", "three"])).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let join = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        for spoilt in [
            whole.replace("two", "six"),
            join(&[lines[0], lines[2], lines[1], lines[3]]),
            join(&[lines[0], lines[1], lines[3]]),
            join(&[lines[0], lines[1], lines[1], lines[3]]),
            join(&lines[1..]),
        ] {
            std::fs::write(&path, spoilt).unwrap();
            assert!(Journal::open(&path, "test 1").unwrap_err().to_string().contains("damaged"));
        }
        std::fs::write(&path, whole).unwrap();
        assert!(Journal::open(&path, "test 2").unwrap_err().to_string().contains("begins with"));
    }
}
