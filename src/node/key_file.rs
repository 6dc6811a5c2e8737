//! One node with the same words for each user of a machine: a file that the system locks for who runs.
//!
//! It lies in a folder of this user's home into which nobody else can write, so who has it locked is this user's own (or
//! root), alive or stopped, on whatever folder and in whatever namespace of the network. Only that keeps a node from
//! starting: what another user makes can at most take the folder away, and that is told.
//!
//! It never shows the key: the name is a digest, and the file says no more than the process and its data folder.

use super::unlock::locks;
use crate::wallet::Seed;
use anyhow::Context;
use bip39::Mnemonic;
use bitcoin::hashes::{sha256, Hash, HashEngine};
use bitcoin::Network;
use rustix::fs::{fstat, open, openat, unlinkat, AtFlags, Mode, OFlags};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where the files are, below the home.
const PLACE: [&str; 4] = [".local", "state", "hypothec", "keys"];
/// How often a file is opened anew that another node took away while it was being locked.
const TRIES: usize = 100;
/// Bytes of what a file says.
const LONGEST: u64 = 8_192;

/// The lock, or why there is none. Given back when this is dropped, or the process ends, however it ends.
pub(super) struct KeyFile {
    held: Option<Held>,
    trouble: Option<String>,
}

struct Held {
    folder: OwnedFd,
    name: String,
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        // While it is locked: who opened it meanwhile sees that it is gone, and makes another.
        let _ = unlinkat(&self.folder, self.name.as_str(), AtFlags::empty());
    }
}

impl KeyFile {
    /// Locks the file of these words for a node on the data folder `data`.
    ///
    /// # Errors
    /// When another process of this user has it locked. Where there is no such file to be had, that is a trouble.
    pub(super) fn take(words: &Mnemonic, network: Network, data: &Path) -> anyhow::Result<KeyFile> {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        KeyFile::take_in(place(), &name(words, network)?, &data)
    }

    fn take_in(place: anyhow::Result<PathBuf>, name: &str, data: &Path) -> anyhow::Result<KeyFile> {
        match place.and_then(|place| lock(&place, name, data)) {
            Ok(Lock::Taken(held)) => Ok(KeyFile { held: Some(held), trouble: None }),
            Ok(Lock::Held(said)) => Err(refusal(&said)),
            Err(why) => {
                let told = format!(
                    "file lock of the key: {why:#}. The node runs without it: a copy of its folder that this user starts in \
                     another network namespace, or while another program holds the name of the lock of the key, is not \
                     kept from running beside it"
                );
                tracing::warn!("{told}");
                Ok(KeyFile { held: None, trouble: Some(told) })
            }
        }
    }

    /// Why there is no lock, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.clone().filter(|_| self.held.is_none())
    }
}

enum Lock {
    Taken(Held),
    /// Another process has it; what the file says of it.
    Held(String),
}

fn name(words: &Mnemonic, network: Network) -> anyhow::Result<String> {
    let identity = Seed::from_mnemonic(words, network)?.node_identity()?;
    let mut engine = sha256::Hash::engine();
    engine.input(b"hypothec/one-node-a-user/v0");
    engine.input(network.to_string().as_bytes());
    engine.input(&identity.secret_bytes());
    // A test plays two machines on one.
    #[cfg(feature = "faults")]
    engine.input(std::env::var("HYPOTHEC_OTHER_MACHINE").unwrap_or_default().as_bytes());
    Ok(sha256::Hash::from_engine(engine).to_string())
}

fn place() -> anyhow::Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| home.is_absolute()).context("this user has no home")?;
    Ok(PLACE.iter().fold(home, |place, part| place.join(part)))
}

/// The folder, made where it is missing: this user's own, and no other's to write into or read.
fn folder(place: &Path) -> anyhow::Result<OwnedFd> {
    use std::os::unix::fs::DirBuilderExt;
    let shown = place.display();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(place).with_context(|| format!("make {shown}"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(place, flags, Mode::empty()).with_context(|| format!("open {shown}"))?;
    let found = fstat(&folder).with_context(|| format!("look at {shown}"))?;
    let user = rustix::process::geteuid().as_raw();
    anyhow::ensure!(found.st_uid == user, "{shown} belongs to user {}, and this is user {user}", found.st_uid);
    let mode = found.st_mode & 0o777;
    anyhow::ensure!(mode & 0o077 == 0, "{shown} has mode {mode:o}, and needs 700: `chmod 700 {shown}`");
    Ok(folder)
}

fn lock(place: &Path, name: &str, data: &Path) -> anyhow::Result<Lock> {
    let folder = folder(place)?;
    let opening = || format!("lock {}", place.join(name).display());
    for _ in 0..TRIES {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&folder, name, flags, Mode::RUSR | Mode::WUSR).with_context(opening)?);
        if !locks(&file).with_context(opening)? {
            let mut said = String::new();
            let _ = (&mut file).take(LONGEST).read_to_string(&mut said);
            return Ok(Lock::Held(said));
        }
        // One that was taken away before it was locked keeps nobody out.
        let ours = fstat(&file).with_context(opening)?;
        let there = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|there| (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)) {
            continue;
        }
        // For people only: who cannot write it has the lock all the same.
        let said = format!("{}\n{}\n", std::process::id(), data.display());
        let _ = file.set_len(0).and_then(|()| file.write_all(said.as_bytes()));
        return Ok(Lock::Taken(Held { folder, name: name.to_owned(), _file: file }));
    }
    anyhow::bail!("{}: it is taken away again and again", opening())
}

/// That another node of this user has these words, and what the file says of it.
fn refusal(said: &str) -> anyhow::Error {
    let mut lines = said.lines();
    let id = lines.next().and_then(|id| id.parse::<u32>().ok());
    let place = lines.next().map_or("another data folder".to_owned(), |folder| {
        format!("the data folder {}", hypothec_oracle::foreign::printable(folder))
    });
    let harm = "two nodes on the same words harm each other";
    match id {
        Some(id) => anyhow::anyhow!(
            "another node with the same words runs on this machine, process {id} on {place}: stop it first, with `kill {id}`; \
             {harm}"
        ),
        None => anyhow::anyhow!("another node with the same words runs on this machine: stop it first; {harm}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn take(place: &Path, name: &str) -> anyhow::Result<KeyFile> {
        KeyFile::take_in(Ok(place.to_owned()), name, Path::new("/data"))
    }

    #[test]
    fn a_key_is_locked_once_for_each_user_and_free_again_with_its_lock() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("state/keys");
        let first = take(&place, "a").unwrap();
        assert_eq!(first.trouble(), None);
        let said = take(&place, "a").err().unwrap().to_string();
        let id = std::process::id();
        assert!(
            said.contains(&format!("process {id} on the data folder /data: stop it first, with `kill {id}`")),
            "{said}"
        );
        let other = take(&place, "b").unwrap();
        drop((first, other));
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "nothing is left");
        // One of a node that was killed is there, and locked by nobody.
        std::fs::write(place.join("a"), "1\n/data\n").unwrap();
        assert_eq!(take(&place, "a").unwrap().trouble(), None);
    }

    #[test]
    fn a_folder_that_others_can_write_into_keeps_no_node_from_starting_and_is_told() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("keys");
        let first = take(&place, "a").unwrap();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o770)).unwrap();
        // Locked, but by whom is not certain.
        let told = take(&place, "a").unwrap().trouble().unwrap();
        assert!(told.contains("has mode 770, and needs 700"), "{told}");
        drop(first);
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&place, &link).unwrap();
        std::fs::write(home.path().join("file"), "").unwrap();
        for place in [link, home.path().join("file")] {
            assert!(take(&place, "a").unwrap().trouble().is_some_and(|told| told.contains("file lock of the key")));
        }
    }
}
