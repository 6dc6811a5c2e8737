//! Asking a person, or a file or pipe in a person's place.

use super::out::tell;
use anyhow::{bail, Context};
use console::Term;
use hypothec_oracle::passphrase::{check_private, Source};
use hypothec_oracle::screen;
use hypothec_oracle::sealed::SecretString;
use std::io::{IsTerminal, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest answer read from a file or pipe, in bytes.
const LARGEST: u64 = 4_096;
/// Name of the systemd credential with the passphrase of a node's words: `LoadCredentialEncrypted=hypothec-passphrase`.
const CREDENTIAL: &str = "hypothec-passphrase";
/// Names the file with the passphrase of a node's words. The passphrase itself is never in the environment.
pub const PASSPHRASE_FILE: &str = "HYPOTHEC_PASSPHRASE_FILE";

/// The passphrase of a backup: the first line of `file`, else typed unseen, else a line of standard input. `twice` for a
/// new one.
pub fn passphrase(file: Option<&Path>, twice: bool) -> anyhow::Result<SecretString> {
    let text = match file {
        Some(path) => {
            let about = || format!("passphrase file {}", path.display());
            check_private(path).with_context(about)?;
            bounded(std::fs::File::open(path).with_context(about)?).with_context(about)?
        }
        None if std::io::stdin().is_terminal() => return typed(twice),
        None => bounded(std::io::stdin()).context("passphrase from standard input")?,
    };
    match text.lines().next().unwrap_or_default() {
        "" => bail!("passphrase: it is empty; write it on the first line"),
        line => Ok(SecretString::from(line.to_owned())),
    }
}

/// The passphrase of a node's words: from `file`, else from the service manager, else typed unseen at a terminal.
/// `None` where there is none of these. `twice` for a new one.
pub fn of_words(file: Option<&Path>, twice: bool) -> anyhow::Result<Option<SecretString>> {
    Source { file, credential: CREDENTIAL, of: "the node's words" }.get(twice)
}

/// The same for a new passphrase, which has to be there.
pub fn new_of_words(file: Option<&Path>) -> anyhow::Result<SecretString> {
    of_words(file, true)?.context(
        "passphrase: there is none for the node's words; say --passphrase-file FILE (at least 10 characters, a file only \
         you can read) or start this at a terminal and it asks",
    )
}

fn typed(twice: bool) -> anyhow::Result<SecretString> {
    let unseen = |prompt: &str| -> anyhow::Result<Zeroizing<String>> {
        screen::ask(format_args!("{prompt}: "));
        Term::stderr().read_secure_line().map(Zeroizing::new).context("read the passphrase from the terminal")
    };
    let first = unseen("Passphrase")?;
    if twice && unseen("The same again")? != first {
        bail!("passphrase: the two differ; start again");
    }
    Ok(SecretString::from(first.as_str().to_owned()))
}

/// The words of a node, from the terminal or standard input. They are never an argument: those stay in the history.
pub fn words() -> anyhow::Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        tell("Type the words in one line, with spaces between them, and press enter:");
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line).context("read the words from the terminal")?;
        return Ok(line);
    }
    bounded(std::io::stdin()).context("words from standard input")
}

fn bounded(from: impl Read) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    from.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}
