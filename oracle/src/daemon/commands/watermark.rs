//! `watermark`: how far the oracle has spoken.

use super::super::cli::Place;
use super::super::{keyfile, store};
use clap::Subcommand;
use std::path::PathBuf;

/// What can be done with it.
#[derive(Debug, Subcommand)]
pub enum Watermark {
    /// Write it to a file, signed. The oracle may be running. Give the file to `run --watermark`.
    Export {
        /// The file to write; replaced if it is there.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

impl Watermark {
    /// Does it. Blocks.
    ///
    /// # Errors
    /// What failed.
    pub fn execute(self) -> anyhow::Result<()> {
        let Watermark::Export { file, place } = self;
        let data = place.said()?.data()?;
        let mark = store::export(&data, &keyfile::load(&data)?, &file)?;
        println!("{} records, final until {}, hash {}", mark.records, mark.frozen_until, mark.hash);
        Ok(())
    }
}
