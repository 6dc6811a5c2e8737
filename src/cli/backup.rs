//! `hypothec backup`: everything needed to go on elsewhere, in one encrypted file.

use super::ask;
use super::line::Place;
use super::out::{count, print, print_text};
use crate::node::data::write_private;
use anyhow::bail;
use clap::Args;
use hypothec_oracle::sealed::{check_length, ExposeSecret, SHORTEST};
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  hypothec backup ~/node-2020-03-12.backup
  hypothec backup node.backup --passphrase-file passphrase.txt";

/// Back the node up: words, configuration and every loan, encrypted
///
/// With the words alone an open loan comes back only if the other side gives it: without it, its contract and both
/// sides' signatures are in the backup only. Make a new backup after each new loan. The file is an age file; the
/// passphrase is all that protects it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Backup {
    /// Where to write it; an existing file is never replaced
    file: PathBuf,
    /// Where the passphrase is; asked for otherwise
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Backup {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        if self.file.exists() {
            bail!("file {}: it exists and is never replaced; name another", self.file.display());
        }
        let passphrase = ask::passphrase(self.passphrase_file.as_deref(), self.passphrase_file.is_none())?;
        if let Err(found) = check_length(&passphrase) {
            bail!("passphrase: it has {found} characters; at least {SHORTEST} are right");
        }
        let request = json!({ "passphrase": passphrase.expose_secret() });
        let sealed = client.post_for_bytes("/v1/backup", &request).await?;
        write_private(&self.file, &sealed)?;
        if place.out().is_json() {
            let done = json!({ "file": self.file, "bytes": sealed.len() });
            return print(&serde_json::to_string_pretty(&done)?);
        }
        print_text(&format!(
            "Wrote {}, {}.\n\n\
             With its passphrase it restores this node as it is now: words, configuration and every loan. \
             With the words alone an open loan comes back only if the other side gives it, and a loan made after now is \
             not in this file: make another backup then. Keep it on another machine.\n\n\
             Restore: hypothec restore {} --data DIR",
            self.file.display(),
            count(u64::try_from(sealed.len()).unwrap_or(u64::MAX), "byte"),
            self.file.display(),
        ))
    }
}
