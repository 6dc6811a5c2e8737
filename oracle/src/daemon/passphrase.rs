//! Where a passphrase comes from: a file, a systemd credential, or a person at the terminal. Never an argument or an
//! environment variable, which other processes can read.

use super::keyfile::check_private;
use age::secrecy::{ExposeSecret, SecretString};
use anyhow::{bail, Context};
use console::Term;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the systemd credential: `LoadCredentialEncrypted=oracle-passphrase`.
pub const CREDENTIAL: &str = "oracle-passphrase";
/// The least characters of a passphrase.
pub const SHORTEST: usize = 10;
/// The longest passphrase file, in bytes.
const LONGEST: u64 = 4_096;

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passphrase {
    /// A file that was named.
    pub file: Option<PathBuf>,
}

impl Passphrase {
    /// The passphrase, `None` when no file and no credential is there and nobody sits at a terminal.
    /// `twice` asks a person a second time, for a passphrase that is new.
    ///
    /// # Errors
    /// When what is there cannot be read, is readable by others, or is too short.
    pub fn get(&self, twice: bool) -> anyhow::Result<Option<SecretString>> {
        let said = match (&self.file, credential()) {
            (Some(path), _) => {
                check_private(path).with_context(|| format!("passphrase file {}", path.display()))?;
                read(path)?
            }
            (None, Some(path)) => read(&path)?,
            (None, None) if Term::stderr().is_term() && Term::stdout().is_term() => ask(twice)?,
            (None, None) => return Ok(None),
        };
        let found = said.expose_secret().chars().count();
        if found < SHORTEST {
            bail!("the passphrase has {found} characters; at least {SHORTEST} are right");
        }
        Ok(Some(said))
    }
}

/// The credential that a service manager laid out for this process.
fn credential() -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then_some(path)
}

fn read(path: &Path) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("open passphrase file {}", path.display()))?;
    file.take(LONGEST).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    Ok(SecretString::from(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn ask(twice: bool) -> anyhow::Result<SecretString> {
    let term = Term::stderr();
    let once = |words: &str| -> anyhow::Result<String> {
        term.write_str(words)?;
        term.read_secure_line().context("read the passphrase from the terminal")
    };
    let said = once("Passphrase of the oracle's key: ")?;
    if twice && once("The same again: ")? != said {
        bail!("the two passphrases differ; nothing was done");
    }
    Ok(SecretString::from(said))
}
