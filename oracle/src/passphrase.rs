//! Where a passphrase comes from: a file, a systemd credential, or a person at the terminal. Never an argument or an
//! environment variable, which other processes can read.

use crate::screen;
use crate::sealed::{check_length, SecretString, SHORTEST};
use anyhow::{bail, Context};
use console::Term;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The longest passphrase file, in bytes.
const LONGEST: u64 = 4_096;

/// Where to look for one passphrase.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// A file that was named.
    pub file: Option<&'a Path>,
    /// Name of the systemd credential, as in `LoadCredentialEncrypted=NAME`.
    pub credential: &'a str,
    /// What it is the passphrase of, as a person is asked for it: "the oracle's key".
    pub of: &'a str,
}

impl Source<'_> {
    /// The passphrase, `None` when no file and no credential is there and nobody sits at a terminal.
    /// `twice` asks a person a second time, for a passphrase that is new.
    ///
    /// # Errors
    /// When what is there cannot be read, is readable by others, or is too short.
    pub fn get(&self, twice: bool) -> anyhow::Result<Option<SecretString>> {
        let said = match (self.file, credential(self.credential)) {
            (Some(path), _) => {
                check_private(path).with_context(|| format!("passphrase file {}", path.display()))?;
                read(path)?
            }
            (None, Some(path)) => read(&path)?,
            (None, None) if Term::stderr().is_term() && Term::stdout().is_term() => ask(self.of, twice)?,
            (None, None) => return Ok(None),
        };
        if let Err(found) = check_length(&said) {
            bail!("the passphrase has {found} characters; at least {SHORTEST} are right");
        }
        Ok(Some(said))
    }
}

/// The credential that a service manager laid out for this process.
fn credential(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name);
    path.exists().then_some(path)
}

fn read(path: &Path) -> anyhow::Result<SecretString> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).with_context(|| format!("open passphrase file {}", path.display()))?;
    file.take(LONGEST).read_to_string(&mut text).with_context(|| format!("read {}", path.display()))?;
    Ok(SecretString::from(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn ask(of: &str, twice: bool) -> anyhow::Result<SecretString> {
    let term = Term::stderr();
    let once = |words: &str| -> anyhow::Result<Zeroizing<String>> {
        // Whatever was said before stands above it.
        screen::drain();
        term.write_str(words)?;
        term.read_secure_line().map(Zeroizing::new).context("read the passphrase from the terminal")
    };
    let said = once(&format!("Passphrase of {of}: "))?;
    if twice && once("The same again: ")? != said {
        bail!("the two passphrases differ; nothing was done");
    }
    Ok(SecretString::from(said.as_str().to_owned()))
}

/// Is it closed to group and others?
///
/// # Errors
/// When it is not there, or others can read it.
pub fn check_private(path: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("{} can be read by others (mode {mode:o}); take that away with `chmod go= {0}`", path.display());
    }
    Ok(())
}
