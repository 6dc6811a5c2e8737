//! The data folder (0700) and the secret key in it (0600).
//!
//! `secret.age` holds the key encrypted with a passphrase: an age file with one scrypt recipient, whose content is the
//! key as 64 hex digits, so the `age` tool opens it too. `secret` holds it unencrypted, which only regtest may use.

use super::config::Network;
use super::journal::sync_folder_of;
use super::passphrase::Passphrase;
use super::signer::begin_record;
use crate::announce::OracleKeys;
use crate::passphrase::check_private;
use crate::sealed::{self, ExposeSecret, OpenError, SecretString, WORK};
use anyhow::{bail, Context};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::key::XOnlyPublicKey;
use rand::rngs::OsRng;
use secp256k1_zkp::SecretKey;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest key file read.
const LARGEST: u64 = 4_096;

/// How a data folder holds its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Encrypted.
    Sealed(PathBuf),
    /// As it is: for regtest.
    Plain(PathBuf),
    /// Not at all.
    Nowhere,
}

/// How `data` holds its key. An encrypted key wins: the plain one beside it is then a leftover.
pub fn held(data: &Path) -> Held {
    let (sealed, plain) = (data.join("secret.age"), data.join("secret"));
    match (sealed.exists(), plain.exists()) {
        (true, _) => Held::Sealed(sealed),
        (false, true) => Held::Plain(plain),
        (false, false) => Held::Nowhere,
    }
}

/// Makes the data folder and a new unencrypted key in it, for regtest. See [`init_with`].
///
/// # Errors
/// As [`init_with`].
pub fn init(data: &Path) -> anyhow::Result<XOnlyPublicKey> {
    init_with(data, None)
}

/// Makes the data folder with a new secret key, encrypted if there is a passphrase, and its empty record in it, and returns the public key.
/// Never replaces a key. Takes about a second with a passphrase.
///
/// # Errors
/// When the folder already holds a key, or cannot be written.
pub fn init_with(data: &Path, passphrase: Option<&SecretString>) -> anyhow::Result<XOnlyPublicKey> {
    make_folder(data)?;
    refuse_to_replace(data)?;
    let secret = SecretKey::new(&mut OsRng);
    write(data, &secret, passphrase, WORK)?;
    let key = OracleKeys::from_secret(secret).public_key();
    // A key and its record are never apart: one without the other signs nothing.
    begin_record(data, &key)?;
    Ok(key)
}

/// A key folder gets one key in its life.
///
/// # Errors
/// When there is one.
pub fn refuse_to_replace(data: &Path) -> anyhow::Result<()> {
    if let Held::Sealed(path) | Held::Plain(path) = held(data) {
        bail!("make key file {}: it exists, and an existing key is never replaced", path.display());
    }
    Ok(())
}

/// Makes a private data folder where there is none.
///
/// # Errors
/// When it cannot be made, or others can read it.
pub fn make_folder(data: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("make data folder {}", data.display()))?;
    check_private(data)
}

/// Encrypts the plain key of a data folder and takes the plain file away.
///
/// # Errors
/// When there is no plain key, or the disk fails. The plain key stays until the encrypted one has been read back.
pub fn seal(data: &Path, passphrase: &SecretString) -> anyhow::Result<XOnlyPublicKey> {
    let plain = match held(data) {
        Held::Plain(path) => path,
        Held::Sealed(path) => bail!("{} is encrypted already; make it anew with the age tool", path.display()),
        Held::Nowhere => bail!("{} holds no oracle key", data.display()),
    };
    let secret = read_plain(&plain)?;
    write(data, &secret, Some(passphrase), WORK)?;
    if read_sealed(&data.join("secret.age"), passphrase)? != secret {
        bail!("the encrypted key does not read back; {} is left as it is", plain.display());
    }
    // What an SSD has kept of the old file stays readable to whoever takes the disk: the manual says so.
    std::fs::remove_file(&plain).with_context(|| format!("take {} away", plain.display()))?;
    sync_folder_of(&plain)?;
    Ok(OracleKeys::from_secret(secret).public_key())
}

/// Reads the keys of a data folder. Takes about a second when they are encrypted; blocks.
///
/// # Errors
/// When there is none, it is not a key, others could read it, it does not open, or it is not encrypted where it must be.
pub fn load(data: &Path, network: Network, passphrase: &Passphrase) -> anyhow::Result<OracleKeys> {
    let secret = match held(data) {
        Held::Nowhere => {
            bail!("{} holds no oracle key; make one with `hypothec-oracle init --data {0}`", data.display())
        }
        Held::Plain(path) if network == Network::Regtest => {
            let secret = read_plain(&path)?;
            tracing::warn!("the key in {} is not encrypted: good enough for regtest only", path.display());
            secret
        }
        Held::Plain(path) => bail!(
            "the key in {} is not encrypted, which is refused on {network}; encrypt it with \
             `hypothec-oracle encrypt-key --data {}`",
            path.display(),
            data.display()
        ),
        Held::Sealed(path) => {
            check_private(&path)?;
            let passphrase = passphrase.get(false)?.with_context(|| {
                format!(
                    "the key in {} is encrypted and there is no passphrase; say --passphrase-file FILE, \
                     give the service the credential oracle-passphrase, or start it at a terminal",
                    path.display()
                )
            })?;
            read_sealed(&path, &passphrase)?
        }
    };
    Ok(OracleKeys::from_secret(secret))
}

fn write(data: &Path, secret: &SecretKey, passphrase: Option<&SecretString>, work: u8) -> anyhow::Result<()> {
    let plain = format!("{}\n", secret.secret_bytes().to_lower_hex_string());
    let (path, bytes) = match passphrase {
        None => (data.join("secret"), plain.into_bytes()),
        Some(passphrase) => {
            let sealed = sealed::seal_with(work, plain.as_bytes(), passphrase);
            (data.join("secret.age"), sealed.map_err(anyhow::Error::msg).context("encrypt the key")?)
        }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("make key file {} (an existing key is never replaced)", path.display()))?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    sync_folder_of(&path)
}

fn read_plain(path: &Path) -> anyhow::Result<SecretKey> {
    check_private(path)?;
    let text = SecretString::from(String::from_utf8_lossy(&read_file(path)?).into_owned());
    parse(text.expose_secret())
        .with_context(|| format!("{} does not hold a secret key as 64 hex digits", path.display()))
}

fn read_sealed(path: &Path, passphrase: &SecretString) -> anyhow::Result<SecretKey> {
    let shown = path.display();
    let plain = sealed::open(&read_file(path)?, passphrase).map_err(|error| match error {
        OpenError::WrongPassphrase => {
            anyhow::anyhow!("the passphrase does not open {shown}; type it again, or the file is damaged")
        }
        OpenError::TooMuchWork => {
            anyhow::anyhow!("{shown} asks for more work than this program ever puts into a key file; it is refused")
        }
        other => anyhow::anyhow!("{shown} is damaged or not a key file ({other}); restore it from a copy"),
    })?;
    let text = SecretString::from(String::from_utf8_lossy(&plain).into_owned());
    parse(text.expose_secret()).with_context(|| format!("{shown} does not hold a secret key as 64 hex digits"))
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(LARGEST).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes)
}

fn parse(text: &str) -> Option<SecretKey> {
    let bytes = Vec::<u8>::from_hex(text.trim()).ok()?;
    SecretKey::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn load_regtest(data: &Path) -> anyhow::Result<OracleKeys> {
        load(data, Network::Regtest, &Passphrase::default())
    }

    fn secret_path(data: &Path) -> PathBuf {
        data.join("secret")
    }

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("oracle");
        let key = init(&data).unwrap();
        assert_eq!(load_regtest(&data).unwrap().public_key(), key);
        assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(secret_path(&data)).unwrap().mode() & 0o777, 0o600);
        assert!(format!("{:#}", init(&data).unwrap_err()).contains("never replaced"));
        assert_eq!(load_regtest(&data).unwrap().public_key(), key);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("oracle");
        assert!(load_regtest(&data).unwrap_err().to_string().contains("init"));
        init(&data).unwrap();
        std::fs::set_permissions(secret_path(&data), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load_regtest(&data).unwrap_err().to_string().contains("chmod"));
        std::fs::set_permissions(secret_path(&data), std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "00", &"00".repeat(32), &"ff".repeat(32), "é"] {
            std::fs::write(secret_path(&data), text).unwrap();
            assert!(load_regtest(&data).unwrap_err().to_string().contains("64 hex digits"));
        }
    }

    #[test]
    fn an_unencrypted_key_serves_regtest_only_and_an_encrypted_one_opens_with_its_passphrase_only() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("oracle");
        let key = init(&data).unwrap();
        let refused = load(&data, Network::Signet, &Passphrase::default()).unwrap_err().to_string();
        assert!(refused.contains("not encrypted") && refused.contains("encrypt-key"), "{refused}");
        let file = folder.path().join("passphrase");
        let from_file = Passphrase { file: Some(file.clone()) };
        std::fs::write(&file, "correct horse battery\n").unwrap();
        assert!(load(&data, Network::Regtest, &from_file).is_ok());
        let passphrase = SecretString::from("correct horse battery".to_owned());
        assert_eq!(seal(&data, &passphrase).unwrap(), key);
        assert!(!secret_path(&data).exists());
        let bytes = std::fs::read(data.join("secret.age")).unwrap();
        assert!(bytes.starts_with(b"age-encryption.org/v1"));
        let refused = format!("{:#}", load(&data, Network::Signet, &from_file).unwrap_err());
        assert!(refused.contains("chmod"), "a passphrase that others can read: {refused}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(load(&data, Network::Signet, &from_file).unwrap().public_key(), key);
        std::fs::write(&file, "correct horse batterie").unwrap();
        let refused = load(&data, Network::Signet, &from_file).unwrap_err().to_string();
        assert!(refused.contains("does not open"), "{refused}");
        std::fs::write(&file, "short").unwrap();
        assert!(load(&data, Network::Signet, &from_file).unwrap_err().to_string().contains("at least 10"));
        let mut spoilt = bytes;
        *spoilt.last_mut().unwrap() ^= 1;
        std::fs::write(data.join("secret.age"), spoilt).unwrap();
        std::fs::write(&file, "correct horse battery").unwrap();
        assert!(load(&data, Network::Signet, &from_file).is_err());
    }
}
