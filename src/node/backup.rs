//! A backup: everything needed to go on elsewhere, in one file encrypted with a passphrase.
//!
//! The file is an age file with one scrypt recipient, so the `age` tool opens it too. What it encrypts:
//!
//! ```text
//! "hypothec backup\n" | version u32
//! words     1 | length u32 | BIP-39 words
//! config    2 | length u32 | hypothec.toml
//! document  3 | length u32 | name length u32 | name | bytes                     any number
//! record    4 | length u32 | stream (32 bytes) | number of the record u64 | bytes     any number, each stream from 0
//! end       5 | 8 u32 | number of the items before it u64
//! ```
//! Integers are big endian. age authenticates every byte and the end, so a cut or changed file is refused as a whole.
//!
//! Where the node renews one by itself, the document `backup-place` says which writing it is: its number, and the random name
//! of the line that it belongs to. A data folder made from it begins a line of its own; one of before there were lines has the
//! line without a name.
//!
//! A backup is as old as its making: a node restored from it does not know what happened since, and two nodes must
//! never run on the same words.

use super::config::Config;
use super::data::DataFolder;
use super::place::{self, Writing};
use super::restored;
use super::words::{parse_words, Keep};
use crate::store::{Export, Item, Sled, Store, StoreError, StreamId};
use crate::wallet::Seed;
use anyhow::Context;
use bip39::Mnemonic;
use hypothec_oracle::sealed::{self, check_length, OpenError, SecretString};
use std::path::Path;
use zeroize::Zeroizing;

/// The least characters of a passphrase.
pub const PASSPHRASE_MIN: usize = sealed::SHORTEST;

const MAGIC: &[u8] = b"hypothec backup\n";
const VERSION: u32 = 1;
const WORDS: u8 = 1;
const CONFIG: u8 = 2;
const DOCUMENT: u8 = 3;
const RECORD: u8 = 4;
const END: u8 = 5;

/// Why a backup could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing was encrypted.
    #[error("passphrase: it has {found} characters; at least {PASSPHRASE_MIN} are right")]
    Passphrase {
        /// Its length.
        found: usize,
    },
    /// age could not read its header.
    #[error("backup: this is not a file that `hypothec backup` wrote ({0})")]
    NotABackup(String),
    /// The header is whole, the key does not fit.
    #[error("passphrase: it does not open this backup; type it again, or the file is damaged")]
    WrongPassphrase,
    /// It is whole, and of another node.
    #[error("words: they do not open this backup; compare them, or this is the backup of another node")]
    WrongWords,
    /// age authenticates everything.
    #[error("backup: the file is damaged or cut; use another copy of it")]
    Damaged,
    /// The file asks for more than this program is willing to do.
    #[error("backup: opening it would take more work than a backup of this program ever does; it is refused")]
    TooMuchWork,
    /// Decrypted, but not what this program writes.
    #[error("backup: {0}; use another backup")]
    Content(String),
    /// Written by a later program.
    #[error("backup: it has version {0}, this program reads version {VERSION}; use the program that wrote it")]
    Version(u32),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Encrypting failed.
    #[error("backup: it could not be written ({0})")]
    Write(String),
}

/// What a backup holds.
pub struct Backup {
    /// The words.
    pub words: Mnemonic,
    /// The configuration file.
    pub config: String,
    items: Vec<Item>,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Backup({} items)", self.items.len())
    }
}

/// Encrypts words, configuration and all that the store holds. Takes about a second; blocks.
///
/// # Errors
/// When the passphrase is too short or the store cannot be read.
pub fn seal(
    words: &Mnemonic,
    config: &str,
    store: &dyn Store,
    passphrase: &SecretString,
) -> Result<Vec<u8>, BackupError> {
    seal_with(sealed::WORK, words, config, store.export()?, passphrase)
}

fn seal_with(
    work: u8,
    words: &Mnemonic,
    config: &str,
    export: Export<'_>,
    passphrase: &SecretString,
) -> Result<Vec<u8>, BackupError> {
    check_length(passphrase).map_err(|found| BackupError::Passphrase { found })?;
    let plain = write(words, config, export)?;
    sealed::seal_with(work, &plain, passphrase).map_err(BackupError::Write)
}

fn write(words: &Mnemonic, config: &str, export: Export<'_>) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    let mut plain = Zeroizing::new(MAGIC.to_vec());
    plain.extend_from_slice(&VERSION.to_be_bytes());
    put(&mut plain, WORDS, &[Zeroizing::new(words.to_string()).as_bytes()])?;
    put(&mut plain, CONFIG, &[config.as_bytes()])?;
    let mut count: u64 = 2;
    for item in export {
        match item? {
            Item::Document { name, bytes } => {
                put(&mut plain, DOCUMENT, &[&length_of(name.len())?, name.as_bytes(), &bytes])?;
            }
            Item::Record { stream, seq, bytes } => put(&mut plain, RECORD, &[&stream.0, &seq.to_be_bytes(), &bytes])?,
        }
        count = count.saturating_add(1);
    }
    put(&mut plain, END, &[&count.to_be_bytes()])?;
    Ok(plain)
}

fn put(plain: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> Result<(), BackupError> {
    plain.push(kind);
    plain.extend_from_slice(&length_of(parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.len())))?);
    parts.iter().for_each(|part| plain.extend_from_slice(part));
    Ok(())
}

fn length_of(length: usize) -> Result<[u8; 4], BackupError> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|_| BackupError::Write("an item of 4 GiB".into()))
}

/// Encrypts the same so that the words open it, and no passphrase does. Quick; reads the whole store.
///
/// # Errors
/// When the store cannot be read.
pub fn seal_to_words(words: &Mnemonic, config: &str, store: &dyn Store) -> Result<Vec<u8>, BackupError> {
    let plain = write(words, config, store.export()?)?;
    sealed::seal_to_key(&plain, &words_key(words)?).map_err(BackupError::Write)
}

/// Is this a backup that opens with words instead of a passphrase?
pub fn is_for_words(sealed: &[u8]) -> bool {
    sealed::is_for_key(sealed)
}

/// Decrypts and checks a backup made by [`seal_to_words`].
///
/// # Errors
/// When it is none, is of other words, or what it holds is not complete.
pub fn open_with_words(sealed: &[u8], words: &Mnemonic) -> Result<Backup, BackupError> {
    let plain = sealed::open_with_key(sealed, &words_key(words)?).map_err(|error| match error {
        OpenError::WrongPassphrase => BackupError::WrongWords,
        other => other.into(),
    })?;
    read(&plain)
}

/// The same on every network that the wallet serves.
fn words_key(words: &Mnemonic) -> Result<[u8; 32], BackupError> {
    let seed = Seed::from_mnemonic(words, bitcoin::Network::Signet);
    let key = seed.and_then(|seed| seed.backup_key()).map_err(|error| BackupError::Write(error.to_string()))?;
    Ok(key.secret_bytes())
}

impl From<OpenError> for BackupError {
    fn from(error: OpenError) -> BackupError {
        match error {
            OpenError::TooMuchWork => BackupError::TooMuchWork,
            OpenError::WrongPassphrase => BackupError::WrongPassphrase,
            OpenError::Damaged => BackupError::Damaged,
            OpenError::NotSealed(why) => BackupError::NotABackup(why),
        }
    }
}

/// Decrypts and checks a backup. Takes about a second; blocks.
///
/// # Errors
/// When it is none, the passphrase does not fit, or what it holds is not complete.
pub fn open(sealed: &[u8], passphrase: &SecretString) -> Result<Backup, BackupError> {
    let plain = sealed::open(sealed, passphrase)?;
    read(&plain)
}

fn read(plain: &[u8]) -> Result<Backup, BackupError> {
    let content = |what: &str| BackupError::Content(what.to_owned());
    let rest = plain.strip_prefix(MAGIC).ok_or_else(|| BackupError::NotABackup("it holds something else".into()))?;
    let (version, mut rest) = rest.split_first_chunk().ok_or_else(|| content("it has no version"))?;
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(BackupError::Version(version));
    }
    let (mut words, mut config, mut items) = (None, None, Vec::new());
    for number in 0u64.. {
        let (kind, body, after) = take(rest).ok_or_else(|| content("it ends too early"))?;
        rest = after;
        match kind {
            WORDS if number == 0 => {
                words = Some(parse_words(text(body)?).map_err(|error| content(&error.to_string()))?)
            }
            CONFIG if number == 1 => config = Some(text(body)?.to_owned()),
            DOCUMENT if number > 1 => items.push(document(body).ok_or_else(|| content("a document is cut short"))?),
            RECORD if number > 1 => items.push(record(body).ok_or_else(|| content("a record is cut short"))?),
            END if rest.is_empty() && body == number.to_be_bytes() => break,
            END => return Err(content("its end does not fit what comes before it")),
            _ => {
                return Err(content(&format!(
                    "its item number {number} is of kind {kind}, which does not belong there"
                )))
            }
        }
    }
    match (words, config) {
        (Some(words), Some(config)) => Ok(Backup { words, config, items }),
        _ => Err(content("it holds no words or no configuration")),
    }
}

/// The next item's kind and body, and what follows it.
fn take(rest: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = rest.split_first()?;
    let (body, rest) = take_sized(rest)?;
    Some((*kind, body, rest))
}

/// As many bytes as the first four say, and what follows them.
fn take_sized(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn document(body: &[u8]) -> Option<Item> {
    let (name, bytes) = take_sized(body)?;
    Some(Item::Document { name: std::str::from_utf8(name).ok()?.to_owned(), bytes: bytes.to_vec() })
}

fn record(body: &[u8]) -> Option<Item> {
    let (stream, rest) = body.split_first_chunk()?;
    let (seq, bytes) = rest.split_first_chunk()?;
    Some(Item::Record { stream: StreamId(*stream), seq: u64::from_be_bytes(*seq), bytes: bytes.to_vec() })
}

fn text(body: &[u8]) -> Result<&str, BackupError> {
    std::str::from_utf8(body).map_err(|_| BackupError::Content("a text in it is not UTF-8".into()))
}

impl Backup {
    /// Streams in it: one for each loan.
    pub fn streams(&self) -> usize {
        let begins = |item: &&Item| matches!(item, Item::Record { seq: 0, .. });
        self.items.iter().filter(begins).count()
    }

    /// The last writing of the file that renews itself, when this was made: itself, if it is one. `None` where there was none.
    pub fn writing(&self) -> Option<Writing> {
        self.items.iter().find_map(place::writing)
    }

    /// Makes a data folder of it that keeps the words so, with a new token. `config` replaces the configuration of the
    /// backup. All or nothing.
    ///
    /// # Errors
    /// When there is something at `path`, or the folder cannot be written.
    pub fn restore(self, path: &Path, keep: &Keep, config: Option<String>) -> anyhow::Result<DataFolder> {
        let config = config.unwrap_or(self.config);
        // A backup of another time or machine may hold settings that this program does not know.
        Config::parse(path, &config).context("backup: its configuration")?;
        // What was signed after it was made may still spend these coins: they move before anything else is done.
        let items = self.items.into_iter().filter(|item| !restored::is_mark(item));
        // And what it writes from here on is another line than what the lost node may have written since.
        let items: Vec<Item> = items.map(place::fork).collect::<Result<_, _>>().context("backup: a document in it")?;
        let mut items = items.into_iter().chain([restored::mark()]);
        DataFolder::make_kept(path, &self.words, keep, &config, |folder| {
            Sled::restore(folder.store(), &mut items).context("backup: fill the store")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::data::new_words;
    use crate::store::Memory;

    fn passphrase() -> SecretString {
        secret("a passphrase of a test")
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn store() -> Memory {
        let store = Memory::new();
        store.put("peers", b"somebody").unwrap();
        store.put("policy", b"").unwrap();
        store.append([7; 32].into(), 0, &[b"agreed".to_vec(), vec![9; 100_000]]).unwrap();
        store.append([8; 32].into(), 0, &[Vec::new()]).unwrap();
        store
    }

    fn seal(store: &dyn Store, words: &Mnemonic) -> Vec<u8> {
        seal_with(4, words, "network = \"regtest\"\n", store.export().unwrap(), &passphrase()).unwrap()
    }

    fn items(store: &dyn Store) -> Vec<Item> {
        store.export().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_node_restored_from_a_backup_has_the_same_words_configuration_and_loans() {
        let (store, words) = (store(), new_words().unwrap());
        let backup = open(&seal(&store, &words), &passphrase()).unwrap();
        assert_eq!((backup.streams(), format!("{backup:?}")), (2, "Backup(5 items)".to_owned()));
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("node");
        let data = backup.restore(&path, &Keep::Plain, None).unwrap();
        assert_eq!(data.words().unwrap(), words);
        assert_eq!(std::fs::read_to_string(path.join("hypothec.toml")).unwrap(), "network = \"regtest\"\n");
        let (mark, kept): (Vec<Item>, Vec<Item>) =
            items(&Sled::open(data.store()).unwrap()).into_iter().partition(restored::is_mark);
        assert_eq!((kept, mark), (items(&store), vec![restored::mark()]));
        let again = open(&seal(&store, &words), &passphrase()).unwrap().restore(&path, &Keep::Plain, None);
        assert!(again.unwrap_err().to_string().contains("never replaced"));
    }

    #[test]
    fn a_wrong_passphrase_opens_nothing_and_a_short_one_makes_nothing() {
        let sealed = seal(&store(), &new_words().unwrap());
        assert!(matches!(open(&sealed, &secret("a passphrase of a tesu")), Err(BackupError::WrongPassphrase)));
        let short = seal_with(4, &new_words().unwrap(), "", store().export().unwrap(), &secret("123456789"));
        assert!(matches!(short, Err(BackupError::Passphrase { found: 9 })));
    }

    #[test]
    fn a_backup_for_words_opens_with_these_words_alone() {
        let (store, words) = (store(), new_words().unwrap());
        let sealed = seal_to_words(&words, "network = \"regtest\"\n", &store).unwrap();
        assert!(is_for_words(&sealed) && !is_for_words(&seal(&store, &words)));
        let backup = open_with_words(&sealed, &words).unwrap();
        assert_eq!((backup.streams(), &backup.words), (2, &words));
        let other = open_with_words(&sealed, &new_words().unwrap());
        assert!(matches!(other, Err(BackupError::WrongWords)));
        assert!(open(&sealed, &passphrase()).is_err());
    }

    #[test]
    fn a_cut_or_changed_file_is_refused_whatever_the_place() {
        let sealed = seal(&store(), &new_words().unwrap());
        for at in (0..sealed.len()).step_by(997).chain(0..200) {
            assert!(open(&sealed[..at], &passphrase()).is_err(), "cut at {at}");
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&changed, &passphrase()).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_file_that_asks_for_hours_of_work_is_refused_at_once() {
        let header = "age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 63\n\
            ZV/AhotwSGqaPCU43cepl4WYUouAa17a3xpu4G2yi5k\n--- fgMiVLJHMlg9fW7CVG/hPS5EAU4Zeg19LyCP7SoH5nA\n";
        let sealed = [header.as_bytes(), &[0; 40]].concat();
        assert!(matches!(open(&sealed, &passphrase()), Err(BackupError::TooMuchWork)));
    }

    #[test]
    fn plain_content_that_is_wrong_anywhere_is_refused_and_never_panics() {
        let plain = write(&new_words().unwrap(), "", store().export().unwrap()).unwrap();
        assert!(read(&plain).is_ok());
        for at in (0..plain.len()).step_by(991).chain(0..300) {
            assert!(read(&plain[..at]).is_err(), "cut at {at}");
        }
        let mut longer = plain.clone();
        longer.push(0);
        assert!(read(&longer).unwrap_err().to_string().contains("its end does not fit"));
        let mut later = plain.clone();
        later[MAGIC.len() + 3] = 2;
        assert!(matches!(read(&later), Err(BackupError::Version(2))));
        let mut lost = plain[..plain.len() - 13].to_vec();
        put(&mut lost, END, &[&6u64.to_be_bytes()]).unwrap();
        assert!(read(&lost).unwrap_err().to_string().contains("its end does not fit"));
    }

    #[test]
    fn a_backup_whose_records_leave_a_gap_leaves_no_folder_behind() {
        let item = Item::Record { stream: [1; 32].into(), seq: 1, bytes: vec![1] };
        let backup = Backup { words: new_words().unwrap(), config: String::new(), items: vec![item] };
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("node");
        let error = format!("{:#}", backup.restore(&path, &Keep::Plain, None).unwrap_err());
        assert!(error.contains("the backup is incomplete") && !path.exists(), "{error}");
    }
}
