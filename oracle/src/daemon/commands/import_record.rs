//! `hypothec-oracle import-record`: a signer's record from what a daemon has said with the same key.

use crate::daemon::cli::Place;
use crate::daemon::config::{Network, Said};
use crate::daemon::keyfile;
use crate::daemon::passphrase::Passphrase;
use crate::daemon::payments::Payments;
use crate::daemon::signer::{check, entries, import_record};
use crate::daemon::store::{has_watermark, read_signed, Book, Log, Postgres, Sled};
use crate::screen;
use anyhow::{bail, ensure, Context};
use bitcoin::key::XOnlyPublicKey;
use clap::Args;
use fs2::FileExt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{chown, DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Files of the daemon's folder, beside the ledger's own folder, that are read.
const BESIDE: [&str; 4] = ["said", "watermark", "payments", "noted"];

/// Whose record, and which ledger.
#[derive(Debug, Args)]
#[command(after_help = "Example, as root, with daemon and signer stopped:\n  \
    hypothec-oracle import-record --data /var/lib/hypothec-signer --ledger /var/lib/hypothec-oracle --network signet\n\n\
    For a key that has signed in a daemon before it had a signer, and for a record that was lost. Nothing in the daemon's \
    folder is changed. A ledger that is older than its watermark, another key's, or one that contradicts the record is \
    refused. May be cut off and repeated; until it has come to its end the signer does not start.")]
pub struct ImportRecord {
    /// The signer's data folder, with the key; or a config file that names it.
    #[command(flatten)]
    place: Place,
    /// The daemon's data folder. The daemon must be stopped.
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// The PostgreSQL database that holds the ledger; every replica must be stopped.
    #[arg(long, value_name = "URL", env = "HYPOTHEC_ORACLE_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,
    /// Certificate authority (PEM) of a database on another machine.
    #[arg(long, value_name = "FILE.pem")]
    postgres_ca: Option<PathBuf>,
    /// Refuse a ledger older than this exported watermark too.
    #[arg(long, value_name = "FILE")]
    watermark: Option<PathBuf>,
    /// regtest, signet or bitcoin [default: signet].
    #[arg(long)]
    network: Option<Network>,
    /// File with the key's passphrase, closed to others (mode 600).
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl ImportRecord {
    /// Does it. Blocks.
    ///
    /// # Errors
    /// When the ledger or the record cannot be used, or they contradict each other.
    pub fn run(self) -> anyhow::Result<()> {
        let said = Said {
            network: self.network,
            passphrase_file: self.passphrase_file,
            postgres: self.postgres,
            postgres_ca: self.postgres_ca,
            ..Said::default()
        };
        let said = said.over(self.place.said()?);
        let (data, network) = (said.data()?, said.network.unwrap_or(Network::Signet));
        let server = said.replicas(network)?.postgres;
        let key = keyfile::load(&data, network, &Passphrase { file: said.passphrase_file })?.public_key();
        let copy = Copy::of(&self.ledger, &data, server.is_none())?;
        let log: Box<dyn Log> = match server {
            Some(server) => Box::new(Postgres::open(server, key, None).context("open the ledger in PostgreSQL")?),
            None => Box::new(Sled::open(&copy.0)?),
        };
        let notes = log.notes()?;
        let book = open(log, key, &copy.0, self.watermark.as_deref())?;
        let ledger = book.ledger();
        let payments = Payments::attested(&copy.0, notes).context("read the daemon's book of payments")?;
        let all = entries(ledger, &payments);
        let fresh = import_record(&data, &key, &all, |signed| Ok(check(signed, ledger, &payments)?))
            .with_context(|| format!("import into the record in {}", data.display()))?;
        belongs_to_its_folder(&data)?;
        let (lows, fixings) = ledger.counts();
        Ok(screen::say(format_args!(
            "the record of {key} is whole: {fixings} fixings, {lows} lows, {} payments, final until {}; {fresh} entries \
             are new",
            payments.len(),
            ledger.frozen_until()
        ))?)
    }
}

/// The book, checked as the daemon checks it when it starts; the watermark says whose it is.
fn open(log: Box<dyn Log>, key: XOnlyPublicKey, copy: &Path, exported: Option<&Path>) -> anyhow::Result<Book> {
    ensure!(
        has_watermark(copy)?,
        "there is no watermark beside the ledger, so nothing says whose it is or how long: no oracle has spoken from it"
    );
    let kept = exported.map(|path| Ok::<_, anyhow::Error>((path.display().to_string(), read_signed(path, &key)?)));
    let kept: Vec<_> = kept.transpose()?.into_iter().collect();
    Book::open(log, key, copy, &kept)
}

/// Root makes the file; the signer's user must open it.
fn belongs_to_its_folder(data: &Path) -> anyhow::Result<()> {
    let (folder, record) = (std::fs::metadata(data)?, data.join("signed"));
    let file = std::fs::metadata(&record)?;
    if (folder.uid(), folder.gid()) != (file.uid(), file.gid()) {
        let give = chown(&record, Some(folder.uid()), Some(folder.gid()));
        give.with_context(|| format!("give {} to the owner of its folder", record.display()))?;
    }
    Ok(())
}

/// A copy of what a daemon has said, in the signer's folder; gone when dropped. The original is only read: it belongs to
/// another user, and opening a ledger writes to it.
struct Copy(PathBuf);

impl Copy {
    fn of(ledger: &Path, data: &Path, with_sled: bool) -> anyhow::Result<Copy> {
        let place = data.join("ledger.copy");
        // What an import that was killed left.
        remove(&place)?;
        DirBuilder::new().mode(0o700).create(&place).with_context(|| format!("make {}", place.display()))?;
        let copy = Copy(place);
        let _held = match with_sled {
            true => Some(hold(ledger)?),
            false => None,
        };
        for name in BESIDE.into_iter().filter(|name| ledger.join(name).exists()) {
            let (from, to) = (ledger.join(name), copy.0.join(name));
            std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        }
        if with_sled {
            copy_folder(&ledger.join("ledger"), &copy.0.join("ledger"))?;
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!("{error:#}");
        }
    }
}

fn remove(place: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", place.display()))
        }
        _ => Ok(()),
    }
}

/// The daemon's own lock on its ledger, so that it does not speak while it is copied.
fn hold(ledger: &Path) -> anyhow::Result<File> {
    let path = ledger.join("ledger").join("db");
    let opened = OpenOptions::new().read(true).open(&path);
    let file =
        opened.with_context(|| format!("no ledger in {}: {} cannot be read", ledger.display(), path.display()))?;
    if file.try_lock_exclusive().is_err() {
        bail!("the daemon runs on the ledger in {}; stop it first", ledger.display());
    }
    Ok(file)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for file in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let file = file?;
        let (path, to) = (file.path(), to.join(file.file_name()));
        match file.file_type()?.is_dir() {
            true => copy_folder(&path, &to)?,
            false => drop(std::fs::copy(&path, &to).with_context(|| format!("copy {}", path.display()))?),
        }
    }
    Ok(())
}
