//! The command line of `hypothec-oracle`.

use super::config::{Network, Said};
use super::passphrase::Passphrase;
use super::{commands, keyfile, manual, run, usage};
use crate::screen;
use crate::units::Cents;
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A price oracle for discreet log contracts: hourly fixings and touches of public price levels.
#[derive(Debug, Parser)]
#[command(name = "hypothec-oracle", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What an oracle's operator can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a data folder with a new key in it; prints the public key.
    ///
    /// With a passphrase (a file, the systemd credential oracle-passphrase, or typed at the terminal) the key is encrypted.
    /// Without one it is not, and only regtest will use it.
    Init(Init),
    /// Encrypt the key of a data folder that was made without a passphrase.
    EncryptKey(EncryptKey),
    /// Hold the key and sign what policy allows, for a daemon that asks over a Unix socket.
    Signer(commands::signer::Signer),
    /// Fill a signer's record from the ledger of a daemon that spoke with the same key.
    ImportRecord(commands::import_record::ImportRecord),
    /// Hand over to a new key: a statement signed by the old key and the new.
    Rotate(commands::rotate::Rotate),
    /// State that two keys are one operator's, signed by both: wherever several oracles must agree they count as one.
    SameOperator(commands::same_operator::SameOperator),
    /// Make and list payment events, and attest them.
    #[command(subcommand)]
    Payment(commands::payment::Payment),
    /// Say what is wrong with clock, disk, venues, keys and mirrors; exit code 1 when something is.
    Doctor(commands::doctor::Doctor),
    /// Prove that an oracle said two things where it may say one, from two attestations or two announcements.
    ProveEquivocation(commands::prove_equivocation::ProveEquivocation),
    /// Run the oracle.
    #[command(after_help = "Examples:\n  \
        hypothec-oracle run --data ~/.hypothec-oracle --network regtest --replay prices.csv --regtest-clock clock\n  \
        hypothec-oracle run --data ~/.hypothec-oracle --network signet --manual --listen 127.0.0.1:3939\n  \
        hypothec-oracle run --data ~/.hypothec-oracle --network bitcoin --live --policy policy.toml")]
    Run(Run),
    /// The manual feed's price.
    #[command(subcommand)]
    Price(Price),
    /// How the oracle that runs here is; fails when it is not in order.
    Status(Status),
    /// Say what an oracle would have said over bars of the past.
    Backtest(commands::backtest::Backtest),
    /// Check everything an oracle said against its tick log; for strangers.
    Audit(commands::audit::Audit),
    /// Print what a shell reads so that it completes this program's commands.
    #[command(
        after_help = "Examples:\n  hypothec-oracle completions bash > ~/.local/share/bash-completion/completions/hypothec-oracle\n  \
        hypothec-oracle completions zsh > ~/.zfunc/_hypothec-oracle"
    )]
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a page of the manual for the program and for each of its commands.
    #[command(after_help = "Example:\n  hypothec-oracle man ~/.local/share/man/man1 && man hypothec-oracle-run")]
    Man {
        /// Folder to write them to.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// How far the oracle has spoken, to be kept elsewhere: an oracle started on an older ledger refuses.
    #[command(subcommand)]
    Watermark(commands::watermark::Watermark),
}

/// Which oracle.
#[derive(Debug, Args)]
pub struct Place {
    /// Data folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// TOML file with any of: data, listen, network, replay, manual, live, policy, venue_urls, regtest_clock, limits,
    /// signer, passphrase_file, webhook_listen, webhook_secret_file, mirrors, venues, bitcoind, postgres, postgres_ca,
    /// postgres_lease_ms, peers, watermark, nostr.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where the key is made, and what protects it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypothec-oracle init --data ~/.hypothec-oracle                      asks for a passphrase\n  \
    hypothec-oracle init --data /tmp/oracle --insecure-plain            for regtest")]
pub struct Init {
    #[command(flatten)]
    place: Place,
    /// File with the key's passphrase, closed to others (mode 600).
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Do not encrypt the key, and do not ask: for regtest.
    #[arg(long, conflicts_with = "passphrase_file")]
    insecure_plain: bool,
}

/// Which key is encrypted, and with what.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypothec-oracle encrypt-key --data ~/.hypothec-oracle                      asks for a passphrase\n  \
    hypothec-oracle encrypt-key --data ~/.hypothec-oracle --passphrase-file FILE\n\n\
    The old file's blocks may stay readable on the disk: for anything serious make a new key.")]
pub struct EncryptKey {
    #[command(flatten)]
    place: Place,
    /// File with the new passphrase, closed to others (mode 600).
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// How to run it; what is said here wins over the config file.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    place: Place,
    /// Address to listen on [default: 127.0.0.1:3939]; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// regtest or signet, or bitcoin with the live feed [default: signet].
    #[arg(long)]
    network: Option<Network>,
    /// Play the hourly bars of this CSV (unix,open,high,low,close).
    #[arg(long, value_name = "FILE.csv", conflicts_with_all = ["manual", "live"])]
    replay: Option<PathBuf>,
    /// Take prices from `price set`.
    #[arg(long, conflicts_with = "live")]
    manual: bool,
    /// Take prices from venues.
    #[arg(long)]
    live: bool,
    /// The live feed's price policy; a new version counts from the hour it names.
    #[arg(long, value_name = "FILE.toml")]
    policy: Option<PathBuf>,
    /// Read the time from this file; regtest only.
    #[arg(long, value_name = "FILE")]
    regtest_clock: Option<PathBuf>,
    /// Start although the ledger ends more than 31 days before this clock: the oracle was off for so long.
    #[arg(long)]
    accept_clock: bool,
    /// Ask the signer at this socket instead of holding the key.
    #[arg(long, value_name = "SOCKET", conflicts_with = "passphrase_file")]
    signer: Option<PathBuf>,
    /// File with the key's passphrase, closed to others (mode 600).
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Listen here for a payment system's orders; needs --webhook-secret-file.
    #[arg(long, value_name = "IP:PORT", requires = "webhook_secret_file")]
    webhook_listen: Option<SocketAddr>,
    /// File with the secret shared with the payment system.
    #[arg(long, value_name = "FILE")]
    webhook_secret_file: Option<PathBuf>,
    /// Keep the ledger in this PostgreSQL database, shared by the oracle's replicas.
    #[arg(long, value_name = "URL", env = "HYPOTHEC_ORACLE_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,
    /// Certificate authority (PEM) of a database on another machine.
    #[arg(long, value_name = "FILE.pem")]
    postgres_ca: Option<PathBuf>,
    /// Milliseconds after which a silent replica is replaced [default: 10000].
    #[arg(long, value_name = "MS")]
    postgres_lease_ms: Option<u32>,
    /// Base URL of a replica or mirror to ask before a fixing is said; may be given several times.
    #[arg(long = "peer", value_name = "URL")]
    peers: Vec<String>,
    /// Refuse a ledger older than this exported watermark.
    #[arg(long, value_name = "FILE")]
    watermark: Option<PathBuf>,
}

/// How to say how it is.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    place: Place,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What can be said about the price.
#[derive(Debug, Subcommand)]
pub enum Price {
    /// Set the price of a bitcoin, in US cents; it stands until the next.
    #[command(after_help = "Example:\n  hypothec-oracle price set 798765 --data ~/.hypothec-oracle")]
    Set {
        /// Cents per bitcoin, for example 798765 for $7,987.65.
        #[arg(value_parser = whole_cents, allow_negative_numbers = true)]
        cents: u64,
        /// Also a price more than 20 % from the last one, without asking.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Say that there is no price from now on.
    Clear(Place),
}

impl Place {
    /// What the command line and the config file say together.
    pub(super) fn said(self) -> anyhow::Result<Said> {
        let file = self.config.map(|path| Said::read(&path)).transpose()?.unwrap_or_default();
        Ok(Said { data: self.data, ..Said::default() }.over(file))
    }
}

/// Parses a command line, program name first, and does what it says.
///
/// # Errors
/// What the command failed at. `--help` and usage errors are printed and end the process.
pub async fn main(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    match usage::read::<Cli>(args) {
        Ok(line) => execute(line.command).await,
        Err(error) => std::process::exit(usage::tell(&error)),
    }
}

/// Does what a command says. `run` ends on Ctrl-C or SIGTERM.
///
/// # Errors
/// What the command failed at.
pub async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(line) => tokio::task::spawn_blocking(move || make_key(line)).await?,
        Command::EncryptKey(line) => tokio::task::spawn_blocking(move || encrypt_key(line)).await?,
        Command::Signer(signer) => {
            screen::serve()?;
            signer.run(told_to_stop()).await
        }
        Command::ImportRecord(import) => tokio::task::spawn_blocking(move || import.run()).await?,
        Command::SameOperator(state) => tokio::task::spawn_blocking(move || state.run()).await?,
        Command::Rotate(rotate) => tokio::task::spawn_blocking(move || rotate.run()).await?,
        Command::Payment(payment) => tokio::task::spawn_blocking(move || payment.run()).await?,
        Command::Doctor(doctor) => doctor.run().await,
        Command::ProveEquivocation(prove) => prove.run().await,
        Command::Run(line) => {
            screen::serve()?;
            let said = Said {
                listen: line.listen,
                network: line.network,
                replay: line.replay,
                manual: line.manual,
                live: line.live,
                policy: line.policy,
                regtest_clock: line.regtest_clock,
                signer: line.signer,
                passphrase_file: line.passphrase_file,
                webhook_listen: line.webhook_listen,
                webhook_secret_file: line.webhook_secret_file,
                postgres: line.postgres,
                postgres_ca: line.postgres_ca,
                postgres_lease_ms: line.postgres_lease_ms,
                peers: line.peers,
                watermark: line.watermark,
                accept_clock: line.accept_clock,
                ..Said::default()
            };
            run::run(said.over(line.place.said()?).settle()?, told_to_stop()).await
        }
        Command::Price(Price::Set { cents, yes, place }) => {
            commands::price::set(&place.said()?.data()?, Cents(cents), yes).await
        }
        Command::Price(Price::Clear(place)) => commands::price::clear(&place.said()?.data()?).await,
        Command::Status(line) => commands::status::status(&line.place.said()?.data()?, line.json).await,
        Command::Backtest(backtest) => commands::backtest::run(&backtest),
        Command::Audit(audit) => commands::audit::run(audit).await,
        Command::Completions { shell } => manual::completions(Cli::command(), shell),
        Command::Man { folder } => {
            let pages = manual::man_pages(Cli::command(), &folder)?;
            Ok(screen::say(format_args!("Wrote {pages} pages to {}.", folder.display()))?)
        }
        Command::Watermark(watermark) => tokio::task::spawn_blocking(move || watermark.execute()).await?,
    }
}

/// An amount of whole cents.
fn whole_cents(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "write whole US cents without a point, for example 798765 for $7,987.65".to_owned())
}

fn make_key(line: Init) -> anyhow::Result<()> {
    let said = Said { passphrase_file: line.passphrase_file, ..Said::default() }.over(line.place.said()?);
    let data = said.data()?;
    keyfile::refuse_to_replace(&data)?;
    let passphrase = match line.insecure_plain {
        true => None,
        false => Some(Passphrase { file: said.passphrase_file }.get(true)?.context(
            "there is no passphrase for the key: say --passphrase-file FILE, or start it at a terminal and it asks; \
             for regtest an unencrypted key will do: say --insecure-plain",
        )?),
    };
    let key = keyfile::init_with(&data, passphrase.as_ref())?;
    if passphrase.is_none() {
        usage::hint(&format!(
            "warning: the key in {} is not encrypted; only regtest will use it. Encrypt it with \
             `hypothec-oracle encrypt-key`.",
            data.display()
        ));
    }
    Ok(screen::say(format_args!("{key}"))?)
}

fn encrypt_key(line: EncryptKey) -> anyhow::Result<()> {
    let said = Said { passphrase_file: line.passphrase_file, ..Said::default() }.over(line.place.said()?);
    let data = said.data()?;
    if keyfile::held(&data) == keyfile::Held::Nowhere {
        anyhow::bail!("there is no key in {}; make one with `hypothec-oracle init`", data.display());
    }
    let passphrase = Passphrase { file: said.passphrase_file }.get(true)?;
    let passphrase = passphrase.ok_or_else(|| {
        anyhow::anyhow!("there is no passphrase; say --passphrase-file FILE or start it at a terminal")
    })?;
    Ok(screen::say(format_args!("{}", keyfile::seal(&data, &passphrase)?))?)
}

/// Ctrl-C, or SIGTERM as a service manager sends it. A signal that cannot be listened to never comes.
async fn told_to_stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        done = tokio::signal::ctrl_c() => if done.is_err() { std::future::pending().await },
        () = terminate => {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_complaints_fit_the_screen_and_are_in_plain_words_for_every_command_and_wrong_value() {
        for width in [80, 50] {
            for text in usage::everything_said(&Cli::command(), width) {
                let bare = |line: &str| line.trim().trim_end_matches(" \\").to_owned();
                let long = text.lines().find(|line| line.chars().count() > width && bare(line).contains(' '));
                assert_eq!(long, None, "at {width}:\n{text}");
                assert_eq!(usage::broken_early(&text, width), None, "at {width}:\n{text}");
                assert_eq!(usage::library_words(&text), None, "{text}");
            }
        }
    }
}
