//! `hypothec completions` and `hypothec man`: what shells and readers of the manual are told.

use super::line::Place;
use clap::{Args, Command};
use clap_complete::Shell;
use hypothec_oracle::daemon::manual;
use serde_json::json;
use std::path::PathBuf;

/// Print what a shell reads so that it completes these commands
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hypothec completions bash > ~/.local/share/bash-completion/completions/hypothec
  hypothec completions zsh > ~/.zfunc/_hypothec
  hypothec completions fish > ~/.config/fish/completions/hypothec.fish")]
pub(super) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, program: Command) -> anyhow::Result<()> {
        manual::completions(program, self.shell)
    }
}

/// Write a page of the manual for the program and for each of its commands
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hypothec man ~/.local/share/man/man1 && man hypothec-loan-repay")]
pub(super) struct Man {
    /// Folder to write them to; made where there is none
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self, place: &Place, program: Command) -> anyhow::Result<()> {
        let pages = manual::man_pages(program, &self.folder)?;
        place.out().say(&json!({ "pages": pages, "folder": self.folder }), |_| {
            let folder = self.folder.display();
            format!("Wrote {pages} pages to {folder}.\n\nRead one with: man {folder}/hypothec-loan-repay.1")
        })
    }
}
