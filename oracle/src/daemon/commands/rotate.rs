//! `hypothec-oracle rotate`: the old key names the new one.

use crate::daemon::cli::Place;
use crate::daemon::config::{Network, Said};
use crate::daemon::passphrase::Passphrase;
use crate::daemon::{keyfile, rotation, usage};
use crate::rotation::Rotation;
use crate::units::Time;
use clap::Args;
use std::path::PathBuf;

/// Which keys, and from when.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hypothec-oracle rotate --data /var/lib/hypothec-signer --to /var/lib/hypothec-signer-2 --from 1798761600\n\n\
    Both keys must be on this machine while it runs. It writes rotation.json in the old key's folder; copy that into \
    both daemons' data folders: /v1/rotation serves it. The old key goes on attesting for the loans that name it.")]
pub struct Rotate {
    #[command(flatten)]
    place: Place,
    /// Data folder of the new key, made with `init`.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Unix seconds from which new loans should name the new key.
    #[arg(long, value_name = "UNIX")]
    from: u32,
    /// regtest, signet or bitcoin [default: signet].
    #[arg(long)]
    network: Option<Network>,
    /// File with the old key's passphrase.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// File with the new key's passphrase [default: as the old key's].
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Where to write a copy of rotation.json, which itself always lies in the data folder: a key hands over once.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Rotate {
    /// Signs, writes and prints the statement.
    ///
    /// # Errors
    /// When a key cannot be read, or a statement exists already.
    pub fn run(self) -> anyhow::Result<()> {
        let said = Said { network: self.network, passphrase_file: self.passphrase_file, ..Said::default() };
        let said = said.over(self.place.said()?);
        let (data, network) = (said.data()?, said.network.unwrap_or(Network::Signet));
        let old_passphrase = Passphrase { file: said.passphrase_file };
        let new_passphrase = Passphrase { file: self.new_passphrase_file.or_else(|| old_passphrase.file.clone()) };
        if let Some(out) = self.out.as_ref().filter(|out| out.exists()) {
            anyhow::bail!("{} exists; name a file that is not there yet, or leave --out away", out.display());
        }
        let old = keyfile::load(&data, network, &old_passphrase)?;
        let new = keyfile::load(&self.to, network, &new_passphrase)?;
        let from = Time(self.from);
        let statement = match rotation::before(&data, &old.public_key(), &new.public_key(), from)? {
            Some(signed) => signed,
            None => Rotation::sign(&old, &new, from)?,
        };
        rotation::add(&data, &statement, self.out.as_deref())?;
        println!("{}", serde_json::to_string_pretty(&statement)?);
        let place = rotation::path(&data);
        usage::hint(&format!(
            "written to {}; from {} new loans should name {}",
            place.display(),
            statement.from,
            statement.new_key
        ));
        Ok(())
    }
}
