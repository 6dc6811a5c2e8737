//! What a node holds of its data folder while it runs: the words, and the certainty that nobody else runs on them here.
//!
//! Two nodes on the same words sign against each other and spend each other's coins. Four things keep that from
//! happening on one machine: a lock on the folder, however it is reached; two by the key, so that a copy of the folder does
//! not run beside it: a file of this user's (`key_file.rs`) and, under Linux, a name that every user's nodes find each other
//! by (`key_lock.rs`); and the store's own. Another machine is beyond all four: peers tell both nodes.

use super::data::{config_path, DataFolder};
use super::key_file::KeyFile;
#[cfg(target_os = "linux")]
use super::key_lock::KeyLock;
use crate::wallet::Seed;
use anyhow::{bail, Context};
use bip39::Mnemonic;
use bitcoin::Network;
use hypothec_oracle::sealed::SecretString;
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// For so long a lock that somebody has is tried.
const MOMENT: Duration = Duration::from_millis(500);

/// A data folder that is this process's alone, and its words. Never written out.
pub struct Unlocked {
    folder: DataFolder,
    words: Mnemonic,
    config: String,
    network: Network,
    _folder_lock: File,
    /// None where a test plays another user, who has a home of its own.
    key_file: Option<KeyFile>,
    key_lock: KeyLock,
}

impl fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unlocked({})", self.folder.path().display())
    }
}

impl Unlocked {
    /// Opens the folder at `data`; `ask` is asked for the passphrase where the words are encrypted, once it is certain
    /// that no other node has the folder. Takes about a second then, and some more where another program holds the name
    /// of the lock by the key; blocks.
    ///
    /// # Errors
    /// When another node runs on the folder or on its words, others can read it, or the words do not open.
    pub fn open(
        data: &Path,
        network: Network,
        ask: impl FnOnce() -> anyhow::Result<Option<SecretString>>,
    ) -> anyhow::Result<Unlocked> {
        Unlocked::open_by(data, network, ask, |words| {
            Ok((Some(KeyFile::take(words, network, data)?), KeyLock::take(words, network)?))
        })
    }

    fn open_by(
        data: &Path,
        network: Network,
        ask: impl FnOnce() -> anyhow::Result<Option<SecretString>>,
        take: impl FnOnce(&Mnemonic) -> anyhow::Result<(Option<KeyFile>, KeyLock)>,
    ) -> anyhow::Result<Unlocked> {
        let folder = DataFolder::open(data)?;
        let folder_lock = lock_folder(&folder)?;
        let words = folder.words_with(ask)?;
        let (key_file, key_lock) = take(&words)?;
        let config = std::fs::read_to_string(config_path(data)).context("read the configuration")?;
        Ok(Unlocked { folder, words, config, network, _folder_lock: folder_lock, key_file, key_lock })
    }

    /// As [`Unlocked::open`] where the words are not encrypted, as if this process ran as another user than it does.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn open_as_another(data: &Path, network: Network) -> anyhow::Result<Unlocked> {
        Unlocked::open_by(data, network, || Ok(None), |words| Ok((None, KeyLock::take_as_another(words, network)?)))
    }

    /// What keeps another node with the same words from finding this one, a sentence each.
    pub(super) fn key_troubles(&self) -> impl Iterator<Item = String> {
        self.key_file.as_ref().and_then(KeyFile::trouble).into_iter().chain(self.key_lock.trouble())
    }

    /// The folder.
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The words.
    pub fn words(&self) -> &Mnemonic {
        &self.words
    }

    /// The text of the configuration, for backups.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The keys behind the words.
    ///
    /// # Errors
    /// On a network the wallet does not serve.
    pub fn seed(&self) -> anyhow::Result<Seed> {
        Ok(Seed::from_mnemonic(&self.words, self.network)?)
    }
}

/// Takes the folder for as long as the file is open; it is given back when the process ends, however it ends.
///
/// # Errors
/// When another process has it.
pub fn lock_folder(folder: &DataFolder) -> anyhow::Result<File> {
    let path = folder.path().join("lock");
    let opening = || format!("open {}", path.display());
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).with_context(opening)?;
    if !locks(&file).with_context(|| format!("lock {}", path.display()))? {
        let place = folder.path().display();
        match written_in(&file) {
            Some(id) => bail!(
                "data {place}: it is in use by another process ({id}): stop it first, with `kill {id}`; one node per data folder"
            ),
            None => bail!("data {place}: it is in use by another process: stop it first; one node per data folder"),
        }
    }
    // For people only: who cannot write it has the lock all the same.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Locks an open file; whether nobody else has it locked. Blocks for a moment where somebody has: a program that a process
/// starts shares its open files, and so their locks, until it has begun, also where that process has let them go meanwhile.
///
/// # Errors
/// Where the system has no such locks.
pub(super) fn locks(file: &File) -> rustix::io::Result<bool> {
    let began = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if began.elapsed() >= MOMENT => return Ok(false),
            Err(Errno::WOULDBLOCK) => thread::sleep(MOMENT / 50),
            Err(error) => return Err(error),
        }
    }
}

/// Who has a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub id: u32,
    /// Does the system hold it still?
    pub is_stopped: bool,
}

/// The process that has the folder, as it says itself.
pub fn holder(folder: &DataFolder) -> Option<Holder> {
    let id = written_in(&File::open(folder.path().join("lock")).ok()?)?;
    // After the name, which is in brackets and may be anything, comes a letter for what it does.
    let state = match std::fs::read_to_string(format!("/proc/{id}/stat")) {
        Ok(state) => state,
        // It is gone, unless this system says of no process how it is.
        Err(_) if Path::new("/proc/self/stat").exists() => return None,
        Err(_) => String::new(),
    };
    let letter = state.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    Some(Holder { id, is_stopped: matches!(letter, Some('T' | 't')) })
}

/// The number of a process.
fn written_in(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Where the system has no such names, a copy of the folder runs beside it as another user.
#[cfg(not(target_os = "linux"))]
struct KeyLock;

#[cfg(not(target_os = "linux"))]
impl KeyLock {
    fn take(_words: &Mnemonic, _network: Network) -> anyhow::Result<KeyLock> {
        Ok(KeyLock)
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::new_words;
    use super::*;

    fn open(data: &Path) -> anyhow::Result<Unlocked> {
        Unlocked::open(data, Network::Regtest, || Ok(None))
    }

    fn made(path: &Path, words: &Mnemonic) -> DataFolder {
        DataFolder::make(path, words, "network = \"regtest\"\n", |_| Ok(())).unwrap()
    }

    #[test]
    fn a_lock_that_goes_within_a_moment_is_waited_for_and_one_that_stays_is_not() {
        let place = tempfile::tempdir().unwrap();
        let open = || File::create(place.path().join("lock")).unwrap();
        let held = open();
        assert!(locks(&held).unwrap());
        let began = Instant::now();
        assert!(!locks(&open()).unwrap() && began.elapsed() >= MOMENT);
        // As the open files of a program that is only now begun.
        let (shared, begins) = (held.try_clone().unwrap(), open());
        drop(held);
        let goes = thread::spawn(move || drop(shared));
        assert!(locks(&begins).unwrap());
        goes.join().unwrap();
    }

    #[test]
    fn a_folder_is_opened_once_however_it_is_reached() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("node");
        made(&data, &new_words().unwrap());
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let first = open(&data).unwrap();
        for path in [&data, &link, &place.path().join("link/../node")] {
            let said = open(path).unwrap_err().to_string();
            assert!(said.contains("in use by another process"), "{said}");
            assert!(said.contains(&std::process::id().to_string()), "{said}");
        }
        assert_eq!(format!("{first:?}"), format!("Unlocked({})", data.display()));
        drop(first);
        open(&link).unwrap();
    }

    #[test]
    fn a_copy_of_a_folder_does_not_run_beside_it_but_other_words_and_networks_do() {
        let place = tempfile::tempdir().unwrap();
        let words = new_words().unwrap();
        made(&place.path().join("node"), &words);
        made(&place.path().join("copy"), &words);
        made(&place.path().join("other"), &new_words().unwrap());
        let first = open(&place.path().join("node")).unwrap();
        let said = open(&place.path().join("copy")).unwrap_err().to_string();
        let id = std::process::id();
        assert!(said.contains("same words runs on this machine"), "{said}");
        // Which, and what to type.
        let data = place.path().join("node");
        assert!(said.contains(&format!("process {id} on the data folder {}:", data.display())), "{said}");
        assert!(said.contains(&format!("stop it first, with `kill {id}`")), "{said}");
        // What was refused holds nothing.
        drop(lock_folder(&DataFolder::open(&place.path().join("copy")).unwrap()).unwrap());
        open(&place.path().join("other")).unwrap();
        Unlocked::open(&place.path().join("copy"), Network::Signet, || Ok(None)).unwrap();
        drop(first);
        open(&place.path().join("copy")).unwrap();
        println!("bound second-node 0 more nodes on the same words on one machine");
    }

    #[test]
    fn nobody_is_asked_for_a_passphrase_in_vain() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("node");
        made(&data, &new_words().unwrap());
        let _first = open(&data).unwrap();
        let asked = Unlocked::open(&data, Network::Regtest, || panic!("asked"));
        assert!(asked.is_err());
    }
}
