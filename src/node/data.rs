//! The data folder (0700) and the files in it (0600): configuration, token, and where the words, the store and the
//! wallet lie.
//!
//! It is made whole beside its place and then moved there: a folder that exists is complete.

use super::words::Keep;
use anyhow::{anyhow, bail, Context};
use bip39::Mnemonic;
use bitcoin::hashes::{sha256, Hash, HashEngine, Hmac, HmacEngine};
use bitcoin::hex::{DisplayHex, FromHex};
use hypothec_oracle::passphrase::check_private;
use hypothec_oracle::room;
use rand::RngCore;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub use super::words::{new_words, parse_words};

/// Largest small file read, in bytes.
const LARGEST: u64 = 4_096;

/// Where the configuration of a data folder is.
pub fn config_path(data: &Path) -> PathBuf {
    data.join("hypothec.toml")
}

/// A data folder that was made by `init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFolder {
    path: PathBuf,
}

/// What a bearer of it may command the node. Never written out.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl Token {
    /// 32 random bytes.
    pub fn random() -> Token {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.fill_bytes(&mut bytes);
        Token(bytes.to_lower_hex_string())
    }

    /// The 64 hex digits that follow `Bearer `.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What only who knows the token can say to `nonce`: that it is the node which listens on `address`. The HMAC-SHA256, in
    /// hex, of `hypothec api ADDRESS NONCE` with the token's 64 digits as key. Said for one address, so that who listens on
    /// another cannot pass it on as its own.
    pub fn proof(&self, address: SocketAddr, nonce: &str) -> String {
        let mut engine = HmacEngine::<sha256::Hash>::new(self.0.as_bytes());
        engine.input(format!("hypothec api {address} {nonce}").as_bytes());
        Hmac::from_engine(engine).to_byte_array().to_lower_hex_string()
    }

    /// A nonce that nobody can foresee: 64 hex digits.
    pub fn nonce() -> String {
        Token::random().0
    }

    /// Is `text` this token? Takes as long wherever they differ.
    pub fn is(&self, text: &[u8]) -> bool {
        let mine = self.0.as_bytes();
        let differences = mine.iter().zip(text).fold(0, |sum, (a, b)| sum | (a ^ b));
        mine.len() == text.len() && std::hint::black_box(differences) == 0
    }
}

impl DataFolder {
    /// Makes a data folder with these words, not encrypted, and this configuration. See [`DataFolder::make_kept`].
    ///
    /// # Errors
    /// As [`DataFolder::make_kept`].
    pub fn make(
        path: &Path,
        words: &Mnemonic,
        config: &str,
        fill: impl FnOnce(&DataFolder) -> anyhow::Result<()>,
    ) -> anyhow::Result<DataFolder> {
        DataFolder::make_kept(path, words, &Keep::Plain, config, fill)
    }

    /// Makes a data folder with these words, kept so, this configuration, and a new token; `fill` may add to it. All of
    /// it or nothing: the work is done in `path` with `.making` added, which replaces what an earlier try left.
    ///
    /// # Errors
    /// When there is something at `path` other than an empty folder, or it cannot be written.
    pub fn make_kept(
        path: &Path,
        words: &Mnemonic,
        keep: &Keep,
        config: &str,
        fill: impl FnOnce(&DataFolder) -> anyhow::Result<()>,
    ) -> anyhow::Result<DataFolder> {
        check_free(path)?;
        let mut name = path.file_name().with_context(|| format!("data {}: name a folder", path.display()))?.to_owned();
        name.push(".making");
        let work = DataFolder { path: path.with_file_name(name) };
        let making = || format!("make data folder {}", path.display());
        match fs::remove_dir_all(&work.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(making),
            _ => (),
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).with_context(making)?;
        DirBuilder::new().mode(0o700).create(&work.path).with_context(making)?;
        write_new(&config_path(&work.path), config)?;
        write_new(&work.path.join("token"), &format!("{}\n", Token::random().secret()))?;
        work.write_words(words, keep)?;
        fill(&work)?;
        sync_folder(&work.path)?;
        fs::rename(&work.path, path).with_context(making)?;
        sync_folder(parent)?;
        Ok(DataFolder { path: path.to_path_buf() })
    }

    /// The folder at `path`.
    ///
    /// # Errors
    /// When `init` has not made it, or others can look into it.
    pub fn open(path: &Path) -> anyhow::Result<DataFolder> {
        if !config_path(path).exists() {
            bail!("data {}: it is no data folder yet; make it with `hypothec init --data {0}`", path.display());
        }
        check_private(path)?;
        Ok(DataFolder { path: path.to_path_buf() })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store lies.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where the wallet lies.
    pub fn wallet(&self) -> PathBuf {
        self.path.join("wallet")
    }

    /// What the API wants to hear.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or does not hold a token.
    pub fn token(&self) -> anyhow::Result<Token> {
        let path = self.path.join("token");
        let bytes = read_private(&path)?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        match <[u8; 32]>::from_hex(text) {
            Ok(_) => Ok(Token(text.to_lowercase())),
            Err(_) => bail!(
                "{}: it does not hold 64 hex digits; stop the node, delete the file and start the node again",
                path.display()
            ),
        }
    }

    /// The token, made anew when its file is missing.
    ///
    /// # Errors
    /// As [`DataFolder::token`], or when a new one cannot be written.
    pub fn token_or_new(&self) -> anyhow::Result<Token> {
        let path = self.path.join("token");
        if !path.exists() {
            write_new(&path, &format!("{}\n", Token::random().secret()))?;
        }
        self.token()
    }

    /// Says where the running node's API answers.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn say_api(&self, address: SocketAddr) -> anyhow::Result<()> {
        let (path, beside) = (self.path.join("api"), self.path.join("api.next"));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("write the file `api`"),
            _ => (),
        }
        write_new(&beside, &format!("http://{address}\n"))?;
        fs::rename(&beside, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Takes that back: the node is stopping.
    pub fn unsay_api(&self) {
        let _ = fs::remove_file(self.path.join("api"));
    }

    /// Where the running node's API answers; `None` when no node runs. Only ever an address of this machine: the token
    /// goes there.
    ///
    /// # Errors
    /// When the file holds anything else.
    pub fn api(&self) -> anyhow::Result<Option<SocketAddr>> {
        let path = self.path.join("api");
        if !path.exists() {
            return Ok(None);
        }
        let text = read_small(&path)?;
        let address = text.trim().strip_prefix("http://").and_then(|rest| rest.parse::<SocketAddr>().ok());
        match address.filter(|address| address.ip().is_loopback()) {
            Some(address) => Ok(Some(address)),
            None => bail!("{}: it does not name an address of this machine; restart the node", path.display()),
        }
    }
}

/// A new file that only its owner can read, on disk when this returns.
///
/// # Errors
/// When it exists, or cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = |error| anyhow!("write {}: {}", path.display(), room::why(&error, path));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private(path, text.as_bytes())
}

/// Can a data folder be made at `path`?
///
/// # Errors
/// When there is anything other than an empty folder.
pub fn check_free(path: &Path) -> anyhow::Result<()> {
    if config_path(path).exists() {
        bail!("data {}: there is a node's data folder already; it is never replaced, name another", path.display());
    }
    match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("data {}: name a folder", path.display())),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("data {}: the folder is not empty; name an empty one or a new one", path.display()),
        },
    }
}

/// A small file that only its owner can read.
pub(super) fn read_private(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    check_private(path)?;
    let reading = || format!("read {}", path.display());
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).with_context(reading)?.take(LARGEST).read_to_end(&mut bytes).with_context(reading)?;
    Ok(bytes)
}

fn read_small(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("read {}", path.display());
    let mut text = String::new();
    File::open(path).with_context(reading)?.take(LARGEST).read_to_string(&mut text).with_context(reading)?;
    Ok(text)
}

pub(super) fn sync_folder(path: &Path) -> anyhow::Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).with_context(|| format!("sync {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn make(path: &Path) -> anyhow::Result<DataFolder> {
        DataFolder::make(path, &new_words()?, "# nothing\n", |_| Ok(()))
    }

    #[test]
    fn a_data_folder_and_the_secrets_in_it_are_private() {
        let place = tempfile::tempdir().unwrap();
        let data = make(&place.path().join("deep/er")).unwrap();
        assert_eq!(mode(data.path()), 0o700);
        for name in ["words", "token", "hypothec.toml"] {
            assert_eq!(mode(&data.path().join(name)), 0o600, "{name}");
        }
        assert_eq!(data.words().unwrap().word_count(), 12);
        assert_eq!(data.token().unwrap().secret().len(), 64);
        assert_eq!(DataFolder::open(data.path()).unwrap(), data);
        assert!(!place.path().join("deep/er.making").exists());
    }

    #[test]
    fn secrets_that_others_can_read_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let data = make(&place.path().join("node")).unwrap();
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        open(&data.path().join("words"), 0o640);
        open(&data.path().join("token"), 0o604);
        assert!(data.words().unwrap_err().to_string().contains("chmod go="));
        assert!(data.token().unwrap_err().to_string().contains("chmod go="));
        open(data.path(), 0o755);
        assert!(DataFolder::open(data.path()).unwrap_err().to_string().contains("mode 755"));
        println!("bound other-user 0 secrets");
    }

    #[test]
    fn nothing_is_ever_replaced_and_a_failed_try_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("node");
        fs::create_dir(&path).unwrap();
        let failed = DataFolder::make(&path, &new_words().unwrap(), "", |_| bail!("no"));
        assert!(failed.is_err() && fs::read_dir(&path).unwrap().next().is_none());
        let words = make(&path).unwrap().words().unwrap();
        assert!(make(&path).unwrap_err().to_string().contains("never replaced"));
        assert_eq!(DataFolder::open(&path).unwrap().words().unwrap(), words);
        fs::remove_file(config_path(&path)).unwrap();
        assert!(make(&path).unwrap_err().to_string().contains("not empty"));
        assert!(DataFolder::open(&path).unwrap_err().to_string().contains("hypothec init"));
        assert!(make(&path.join("words")).unwrap_err().to_string().contains("name a folder"));
    }

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let token = Token::random();
        assert!(token.is(token.secret().as_bytes()));
        assert!(!token.is(b"") && !token.is(&token.secret().as_bytes()[1..]));
        assert!(!token.is(format!("{}0", token.secret()).as_bytes()));
        assert!(!token.is(Token::random().secret().as_bytes()));
        assert_eq!(format!("{token:?}"), "Token(secret)");
    }

    #[test]
    fn a_proof_is_of_one_token_one_address_and_one_nonce() {
        let token = Token("0b".repeat(32));
        let [here, there] = ["127.0.0.1:9811", "127.0.0.1:9812"].map(|text| text.parse::<SocketAddr>().unwrap());
        // As `printf 'hypothec api 127.0.0.1:9811 00' | openssl dgst -sha256 -hmac 0b0b…` says it.
        assert_eq!(token.proof(here, "00"), "986de645685b09199f8d9a62f852972ebe1f730cbec9021c48a3e5a704aaa1f5");
        assert_ne!(token.proof(here, "00"), token.proof(there, "00"));
        assert_ne!(token.proof(here, "00"), token.proof(here, "01"));
        assert_ne!(token.proof(here, "00"), Token("0c".repeat(32)).proof(here, "00"));
        assert!(Token::nonce().len() == 64 && Token::nonce() != Token::nonce());
    }

    #[test]
    fn the_api_file_is_read_only_when_it_names_this_machine() {
        let place = tempfile::tempdir().unwrap();
        let data = make(&place.path().join("node")).unwrap();
        assert_eq!(data.api().unwrap(), None);
        for address in ["127.0.0.1:9811", "[::1]:1"] {
            data.say_api(address.parse().unwrap()).unwrap();
            assert_eq!(data.api().unwrap(), Some(address.parse().unwrap()));
        }
        for wrong in ["http://10.0.0.1:1", "https://127.0.0.1:1", "http://localhost:1", ""] {
            fs::write(data.path().join("api"), wrong).unwrap();
            assert!(data.api().unwrap_err().to_string().contains("restart the node"), "{wrong}");
        }
        data.unsay_api();
        assert_eq!(data.api().unwrap(), None);
    }

    #[test]
    fn a_lost_token_is_made_anew_and_a_kept_one_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let data = make(&place.path().join("node")).unwrap();
        let token = data.token().unwrap();
        assert_eq!(data.token_or_new().unwrap(), token);
        fs::remove_file(data.path().join("token")).unwrap();
        assert!(data.token().is_err());
        assert_ne!(data.token_or_new().unwrap(), token);
        fs::write(data.path().join("token"), "short").unwrap();
        assert!(data.token_or_new().unwrap_err().to_string().contains("64 hex digits"));
    }
}
