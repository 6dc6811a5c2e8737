//! The data folder (0700) and the secret key in it (0600).

use crate::announce::OracleKeys;
use anyhow::{bail, Context};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::key::XOnlyPublicKey;
use rand::rngs::OsRng;
use secp256k1_zkp::SecretKey;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

fn secret_path(data: &Path) -> PathBuf {
    data.join("secret")
}

/// Makes the data folder and a new secret key in it, and returns the public key. Never replaces a key.
///
/// # Errors
/// When the folder already holds a key, or cannot be written.
pub fn init(data: &Path) -> anyhow::Result<XOnlyPublicKey> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("make data folder {}", data.display()))?;
    check_private(data)?;
    let path = secret_path(data);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("make key file {} (an existing key is never replaced)", path.display()))?;
    let secret = SecretKey::new(&mut OsRng);
    writeln!(file, "{}", secret.secret_bytes().to_lower_hex_string())?;
    file.sync_all()?;
    File::open(data)?.sync_all().with_context(|| format!("sync data folder {}", data.display()))?;
    Ok(OracleKeys::from_secret(secret).public_key())
}

/// Reads the keys of a data folder.
///
/// # Errors
/// When there is none, it is not a key, or others could read it.
pub fn load(data: &Path) -> anyhow::Result<OracleKeys> {
    let path = secret_path(data);
    if !path.exists() {
        bail!("{} holds no oracle key; make one with `hypothec-oracle init --data {0}`", data.display());
    }
    check_private(&path)?;
    let mut text = String::new();
    File::open(&path)?.take(128).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    let bytes = Vec::<u8>::from_hex(text.trim()).ok();
    let secret = bytes.and_then(|bytes| SecretKey::from_slice(&bytes).ok());
    let secret = secret.with_context(|| format!("{} does not hold a secret key as 64 hex digits", path.display()))?;
    Ok(OracleKeys::from_secret(secret))
}

fn check_private(path: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(path)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("{} can be read by others (mode {mode:o}); take that away with `chmod go= {0}`", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("oracle");
        let key = init(&data).unwrap();
        assert_eq!(load(&data).unwrap().public_key(), key);
        assert_eq!(std::fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(secret_path(&data)).unwrap().mode() & 0o777, 0o600);
        assert!(format!("{:#}", init(&data).unwrap_err()).contains("never replaced"));
        assert_eq!(load(&data).unwrap().public_key(), key);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("oracle");
        assert!(load(&data).unwrap_err().to_string().contains("init"));
        init(&data).unwrap();
        std::fs::set_permissions(secret_path(&data), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&data).unwrap_err().to_string().contains("chmod"));
        std::fs::set_permissions(secret_path(&data), std::fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "00", &"00".repeat(32), &"ff".repeat(32), "é"] {
            std::fs::write(secret_path(&data), text).unwrap();
            assert!(load(&data).unwrap_err().to_string().contains("64 hex digits"));
        }
    }
}
