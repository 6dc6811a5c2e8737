//! `watermark`: how far the oracle has spoken.

use super::super::cli::Place;
use super::super::config::Network;
use super::super::passphrase::Passphrase;
use super::super::run::Held;
use super::super::{run, store};
use crate::screen;
use clap::Subcommand;
use std::path::PathBuf;

/// What can be done with it.
#[derive(Debug, Subcommand)]
pub enum Watermark {
    /// Write it to a file, signed. The oracle may be running. Give the file to `run --watermark`.
    Export {
        /// The file to write; an older watermark of this oracle there is replaced, anything else is not.
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
        let said = place.said()?;
        let data = said.data()?;
        let passphrase = Passphrase { file: said.passphrase_file };
        // Only `run` cares where an unencrypted key is used: a watermark gives nothing away.
        let mark = match run::held(&data, Network::Regtest, said.signer.as_deref(), &passphrase)? {
            // The running daemon has the key's record; a watermark needs none.
            Held::Here(keys) => store::export(&data, &keys.public_key(), |mark| Ok(mark.sign(&keys)), &file)?,
            Held::Signer(signer) => store::export(&data, &signer.public_key(), |mark| Ok(signer.state(mark)?), &file)?,
        };
        let (records, until, hash) = (mark.records, mark.frozen_until, mark.hash);
        Ok(screen::say(format_args!("{records} records, final until {until}, hash {hash}"))?)
    }
}
