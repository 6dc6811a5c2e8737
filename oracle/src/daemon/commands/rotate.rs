//! `hypothec-oracle rotate`: the old key names the new one.

use super::meant::is_meant;
use crate::clock::Clock;
use crate::daemon::cli::Place;
use crate::daemon::config::{Network, Said};
use crate::daemon::passphrase::Passphrase;
use crate::daemon::{keyfile, rotation, usage};
use crate::rotation::Rotation;
use crate::screen;
use crate::units::{Time, DAY};
use clap::Args;
use std::path::PathBuf;

/// A hand-over further ahead than this is asked about, in seconds: three years.
const FAR: u32 = 3 * 365 * DAY;

/// Why a time to hand over from may be a slip; none when it is not.
fn unusual(from: Time, now: Time) -> Option<String> {
    let end = Time(now.0.saturating_add(FAR));
    let what = if from < now {
        "is past: no new loan would name the old key any more, at once and for good"
    } else if from > end {
        "is more than three years ahead: a slip in it cannot be mended"
    } else {
        return None;
    };
    Some(format!(
        "--from {}, {from}, {what}. Between {now} and {end} nothing is asked; a hand-over is signed once and its time never \
         changed. Nothing is signed",
        from.0
    ))
}

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
    /// Also from a time that is past, or more than three years ahead, without asking.
    #[arg(long)]
    yes: bool,
    /// Read the time from this file; regtest only.
    #[arg(long, value_name = "FILE")]
    regtest_clock: Option<PathBuf>,
    /// Where to write a copy of rotation.json, which itself always lies in the data folder: a key hands over once.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Rotate {
    /// Signs, writes and prints the statement.
    ///
    /// # Errors
    /// When a key cannot be read, another statement exists already, the new key has handed over itself, or nobody says that
    /// an unusual time is meant.
    pub fn run(self) -> anyhow::Result<()> {
        let said = Said {
            network: self.network,
            passphrase_file: self.passphrase_file,
            regtest_clock: self.regtest_clock,
            ..Said::default()
        };
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
        let keys = [old.public_key(), new.public_key()];
        let before = rotation::before(&data, &self.to, keys, from)?;
        if !before.is_decided && before.said.is_none() && !self.yes {
            let now = said.regtest_clock.map_or(Clock::System, Clock::File).now()?;
            if unusual(from, now).map_or(Ok(false), |unusual| is_meant(&unusual).map(|meant| !meant))? {
                anyhow::bail!("nothing is signed");
            }
        }
        if !before.is_decided {
            rotation::decide(&data, keys, from)?;
        }
        let statement = before.said.map_or_else(|| Rotation::sign(&old, &new, from), Ok)?;
        rotation::add(&data, &statement, self.out.as_deref())?;
        screen::say(format_args!("{}", serde_json::to_string_pretty(&statement)?))?;
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
