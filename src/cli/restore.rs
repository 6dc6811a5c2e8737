//! `hypothec restore`: makes a data folder from a backup.

use super::ask;
use super::init::kept;
use super::line::Place;
use super::out::{count, print, print_text};
use crate::node::backup;
use crate::node::words::{parse_words, Keep};
use anyhow::{bail, Context};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Largest backup read, in bytes: 4 GiB.
const LARGEST: u64 = 4 << 30;

const EXAMPLES: &str = "\
Examples:
  hypothec restore node.backup --data ~/.hypothec
  hypothec restore node.backup --passphrase-file passphrase.txt
  hypothec restore renewed.backup --passphrase-file new.txt < words.txt";

/// Restore a whole node, its open loans too, from a backup
///
/// Only into a data folder that does not exist yet. The words in it are encrypted with the backup's passphrase; a backup
/// that the node renewed by itself opens with the words, and asks for a new passphrase. The node moves its coins before it
/// does anything else. The node it was made of must never run again: two nodes on the same words harm each other.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restore {
    /// What `backup` wrote
    file: PathBuf,
    /// Where the passphrase is; asked for otherwise
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Leave the words unencrypted on disk: whoever reads it, or a copy of it, has the coins
    #[arg(long)]
    no_passphrase: bool,
}

impl Restore {
    pub(super) fn new(file: PathBuf, passphrase_file: Option<PathBuf>, no_passphrase: bool) -> Restore {
        Restore { file, passphrase_file, no_passphrase }
    }

    pub(super) fn run(self, place: &Place) -> anyhow::Result<()> {
        let path = place.data()?;
        let reading = || format!("read backup {}", self.file.display());
        let size = std::fs::metadata(&self.file).with_context(reading)?.len();
        if size > LARGEST {
            bail!("backup {}: it has {size} bytes; at most {LARGEST} are read", self.file.display());
        }
        let sealed = std::fs::read(&self.file).with_context(reading)?;
        let file = self.passphrase_file.as_deref();
        let (backup, passphrase) = match backup::is_for_words(&sealed) {
            true => {
                let words = parse_words(&ask::words()?)?;
                let backup = backup::open_with_words(&sealed, &words)?;
                (backup, if self.no_passphrase { None } else { Some(ask::new_of_words(file)?) })
            }
            false => {
                let passphrase = ask::passphrase(file, false)?;
                (backup::open(&sealed, &passphrase)?, Some(passphrase))
            }
        };
        let loans = backup.streams();
        let writing = backup.writing();
        let keep = passphrase.filter(|_| !self.no_passphrase).map_or(Keep::Plain, Keep::Sealed);
        let folder = backup.restore(&path, &keep, None)?;
        if place.out().is_json() {
            let done = json!({ "data": folder.path(), "loans": loans, "writing": writing });
            return print(&serde_json::to_string_pretty(&done)?);
        }
        let which = writing.map_or(String::new(), |writing| {
            format!(
                "It was at {writing} of the backup that renews itself. From here on it has a line of its own, and does not write \
                 over what the old node may have written since.\n\n"
            )
        });
        print_text(&format!(
            "Restored {} from {}, with {}.\n\n\
             The words are those of the backup. {}\n\n\
             It knows nothing of what happened after the backup was made; the node catches up from the chain and its \
             peers. When it first runs it moves every coin to a new address, since what was signed after the backup may \
             still spend them, and signs nothing until that is in a block. Never run the old node again: two nodes on the same words harm each other.\n\n\
             {which}\
             Next: look at {}/hypothec.toml, whose paths may be of another machine, then {} node",
            folder.path().display(),
            self.file.display(),
            count(u64::try_from(loans).unwrap_or(u64::MAX), "loan"),
            kept(&folder, &place.again()),
            folder.path().display(),
            place.again()
        ))
    }
}
