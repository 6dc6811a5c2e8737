//! `hypothec-oracle signer`: the process that holds the key.

use crate::clock::Clock;
use crate::daemon::cli::Place;
use crate::daemon::config::{Network, Said};
use crate::daemon::keyfile;
use crate::daemon::passphrase::Passphrase;
use crate::daemon::signer::Vault;
use crate::daemon::socket::{user_id, Door};
use crate::screen;
use anyhow::bail;
use clap::Args;
use std::future::Future;
use std::path::PathBuf;

/// How to hold it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hypothec-oracle signer --data /var/lib/hypothec-signer --listen-at /run/hypothec-signer/signer.sock \\\n    \
    --client hypothec-oracle")]
pub struct Signer {
    #[command(flatten)]
    place: Place,
    /// The socket to answer at [default: signer.sock in the data folder].
    #[arg(long, value_name = "SOCKET")]
    listen_at: Option<PathBuf>,
    /// A user, by name or number, who may ask besides the signer's own; the socket's group may then open it.
    #[arg(long, value_name = "USER")]
    client: Vec<String>,
    /// regtest, signet or bitcoin [default: signet].
    #[arg(long)]
    network: Option<Network>,
    /// File with the key's passphrase, closed to others (mode 600).
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Read the time from this file; regtest only.
    #[arg(long, value_name = "FILE")]
    regtest_clock: Option<PathBuf>,
}

impl Signer {
    /// Signs until told to stop.
    ///
    /// # Errors
    /// When key, record or socket cannot be used.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let said = Said {
            network: self.network,
            regtest_clock: self.regtest_clock,
            passphrase_file: self.passphrase_file,
            ..Said::default()
        };
        let said = said.over(self.place.said()?);
        let (data, network) = (said.data()?, said.network.unwrap_or(Network::Signet));
        if said.regtest_clock.is_some() && network != Network::Regtest {
            bail!("--regtest-clock is refused on {network}: only regtest may move time; say --network regtest");
        }
        let clock = said.regtest_clock.map_or(Clock::System, Clock::File);
        let others = self.client.iter().map(|user| user_id(user)).collect::<anyhow::Result<Vec<u32>>>()?;
        let socket = self.listen_at.unwrap_or_else(|| data.join("signer.sock"));
        let passphrase = Passphrase { file: said.passphrase_file };
        let vault = tokio::task::spawn_blocking(move || {
            let keys = keyfile::load(&data, network, &passphrase)?;
            Vault::open(&data, keys, clock)
        });
        let vault = vault.await??;
        let door = Door::open(&socket, &others)?;
        // It serves whether somebody reads that or not.
        let _ = screen::say(format_args!("signer of {} answers at {}", vault.public_key(), socket.display()));
        tokio::select! {
            () = door.serve(move |request| vault.answer(request)) => bail!("the signer's socket was closed"),
            () = shutdown => Ok(()),
        }
    }
}
