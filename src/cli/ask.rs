//! Asking a person, or a file or pipe in a person's place.

use anyhow::{bail, Context};
use console::Term;
use std::io::{IsTerminal, Read};
use std::path::Path;

/// Largest answer read from a file or pipe, in bytes.
const LARGEST: u64 = 4_096;

/// A passphrase: the first line of `file`, else typed unseen, else a line of standard input. `twice` for a new one.
pub fn passphrase(file: Option<&Path>, twice: bool) -> anyhow::Result<String> {
    let text = match file {
        Some(path) => {
            let opened = std::fs::File::open(path).with_context(|| format!("passphrase file {}", path.display()))?;
            bounded(opened).with_context(|| format!("passphrase file {}", path.display()))?
        }
        None if std::io::stdin().is_terminal() => return typed(twice),
        None => bounded(std::io::stdin()).context("passphrase from standard input")?,
    };
    match text.lines().next().unwrap_or_default() {
        "" => bail!("passphrase: it is empty; write it on the first line"),
        line => Ok(line.to_owned()),
    }
}

fn typed(twice: bool) -> anyhow::Result<String> {
    let unseen = |prompt: &str| -> anyhow::Result<String> {
        eprint!("{prompt}: ");
        Term::stderr().read_secure_line().context("read the passphrase from the terminal")
    };
    let first = unseen("Passphrase")?;
    if twice && unseen("The same again")? != first {
        bail!("passphrase: the two differ; start again");
    }
    Ok(first)
}

/// The words of a node, from the terminal or standard input. They are never an argument: those stay in the history.
pub fn words() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprintln!("Type the words in one line, with spaces between them, and press enter:");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("read the words from the terminal")?;
        return Ok(line);
    }
    bounded(std::io::stdin()).context("words from standard input")
}

fn bounded(from: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut from = from.take(LARGEST);
    from.read_to_string(&mut text)?;
    Ok(text)
}
