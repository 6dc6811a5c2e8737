//! `hypothec-oracle same-operator`: two keys state that one operator holds them.

use crate::daemon::cli::Place;
use crate::daemon::config::{Network, Said};
use crate::daemon::passphrase::Passphrase;
use crate::daemon::{keyfile, same_operator, usage};
use crate::operator::SameOperator as Statement;
use crate::screen;
use clap::Args;
use std::path::PathBuf;

/// Which keys.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hypothec-oracle same-operator --data /var/lib/hypothec-signer --with /var/lib/hypothec-signer-2\n\n\
    Both keys must be on this machine while it runs. It writes same-operator.json in both folders; copy that into both \
    daemons' data folders: /v1/same-operator serves it. Wherever several oracles must agree the two count as one from \
    then on, for good: nodes keep the statement. A hand-over (`rotate`) says the same of its two keys by itself.")]
pub struct SameOperator {
    #[command(flatten)]
    place: Place,
    /// Data folder of the other key.
    #[arg(long, value_name = "DIR")]
    with: PathBuf,
    /// regtest, signet or bitcoin [default: signet].
    #[arg(long)]
    network: Option<Network>,
    /// File with this key's passphrase.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// File with the other key's passphrase [default: as this key's].
    #[arg(long, value_name = "FILE")]
    with_passphrase_file: Option<PathBuf>,
}

impl SameOperator {
    /// Signs, writes and prints the statement.
    ///
    /// # Errors
    /// When a key cannot be read, or both are one key, or a file cannot be written.
    pub fn run(self) -> anyhow::Result<()> {
        let said = Said { network: self.network, passphrase_file: self.passphrase_file, ..Said::default() };
        let said = said.over(self.place.said()?);
        let (data, network) = (said.data()?, said.network.unwrap_or(Network::Signet));
        let passphrase = Passphrase { file: said.passphrase_file };
        let other_passphrase = Passphrase { file: self.with_passphrase_file.or_else(|| passphrase.file.clone()) };
        let one = keyfile::load(&data, network, &passphrase)?;
        let other = keyfile::load(&self.with, network, &other_passphrase)?;
        let statement = Statement::sign(&one, &other)?;
        for (folder, key) in [(&data, one.public_key()), (&self.with, other.public_key())] {
            same_operator::add(folder, &key, &statement)?;
        }
        screen::say(format_args!("{}", serde_json::to_string_pretty(&statement)?))?;
        usage::hint(&format!(
            "written to {} and {}; to whoever asks, both keys are one oracle from now on",
            same_operator::path(&data).display(),
            same_operator::path(&self.with).display()
        ));
        Ok(())
    }
}
