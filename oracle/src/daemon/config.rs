//! What the daemon is told: a TOML file, overridden by the command line.

use super::http::Limits;
use super::passphrase::Passphrase;
use crate::clock::Clock;
use anyhow::{bail, Context};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the daemon listens when nothing else is said.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3939);

/// Largest configuration file read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// The networks this version speaks for: its feeds are test feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Network {
    /// A chain on one machine; the only one where a clock file is allowed.
    Regtest,
    /// The public test chain.
    Signet,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        match text {
            "regtest" => Ok(Network::Regtest),
            "signet" => Ok(Network::Signet),
            "bitcoin" | "mainnet" | "main" => Err("network \"mainnet\" is refused: this version has only test feeds \
                (replay and manual), and nobody's money may hang on them; use regtest or signet"
                .into()),
            other => Err(format!("network {other:?} is unknown; use regtest or signet")),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        text.parse()
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Network::Regtest => "regtest",
            Network::Signet => "signet",
        })
    }
}

/// Where prices come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChoice {
    /// A CSV of hourly bars, played on the given clock.
    Replay(PathBuf),
    /// An operator's word, through files in the data folder.
    Manual,
}

/// All the daemon needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Data folder, made by `init`.
    pub data: PathBuf,
    /// Address of the public listener; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The network it speaks for.
    pub network: Network,
    /// Its prices.
    pub feed: FeedChoice,
    /// Its time.
    pub clock: Clock,
    /// What strangers may do.
    pub limits: Limits,
    /// Its key, its payments, and what is near it.
    pub operating: Operating,
}

/// What an operator adds to an oracle. Nothing of it is needed on regtest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operating {
    /// The signer's socket; without it the key is held in this process.
    pub signer: Option<PathBuf>,
    /// Where the passphrase of a key held in this process is.
    pub passphrase: Passphrase,
    /// The webhook of a payment system: where to listen, and the file with the shared secret.
    pub webhook: Option<(SocketAddr, PathBuf)>,
}

/// The same as a file or a command line says it: everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub data: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub network: Option<Network>,
    pub replay: Option<PathBuf>,
    #[serde(default)]
    pub manual: bool,
    pub regtest_clock: Option<PathBuf>,
    pub limits: Option<Limits>,
    /// The signer's socket.
    pub signer: Option<PathBuf>,
    /// File with the key's passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// Where the payments' webhook listens; not where the public does.
    pub webhook_listen: Option<SocketAddr>,
    /// File with the secret shared with the payment system.
    pub webhook_secret_file: Option<PathBuf>,
    /// Base URLs of this oracle's mirrors, for `doctor`.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Names and URLs of venues, for `doctor`.
    #[serde(default)]
    pub venues: BTreeMap<String, String>,
    /// A bitcoind whose clock `doctor` looks at: `http://user:password@127.0.0.1:8332`.
    pub bitcoind: Option<String>,
}

impl Said {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or says something unknown.
    pub fn read(path: &Path) -> anyhow::Result<Said> {
        let size = std::fs::metadata(path).with_context(|| format!("read config file {}", path.display()))?.len();
        if size > LARGEST {
            bail!("config file {} has {size} bytes; at most {LARGEST} are read", path.display());
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("read config file {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("understand config file {}", path.display()))
    }

    /// What `self` says, else what `below` says. A feed said here hides the one below.
    pub fn over(self, below: Said) -> Said {
        let has_feed = self.manual || self.replay.is_some();
        Said {
            data: self.data.or(below.data),
            listen: self.listen.or(below.listen),
            network: self.network.or(below.network),
            replay: if has_feed { self.replay } else { below.replay },
            manual: if has_feed { self.manual } else { below.manual },
            regtest_clock: self.regtest_clock.or(below.regtest_clock),
            limits: self.limits.or(below.limits),
            signer: self.signer.or(below.signer),
            passphrase_file: self.passphrase_file.or(below.passphrase_file),
            webhook_listen: self.webhook_listen.or(below.webhook_listen),
            webhook_secret_file: self.webhook_secret_file.or(below.webhook_secret_file),
            mirrors: if self.mirrors.is_empty() { below.mirrors } else { self.mirrors },
            venues: if self.venues.is_empty() { below.venues } else { self.venues },
            bitcoind: self.bitcoind.or(below.bitcoind),
        }
    }

    /// The data folder.
    ///
    /// # Errors
    /// When nobody named one.
    pub fn data(&self) -> anyhow::Result<PathBuf> {
        self.data.clone().context("no data folder is named; say --data DIR, or data = \"DIR\" in the config file")
    }

    /// The whole configuration, checked.
    ///
    /// # Errors
    /// When something is missing or two things contradict each other.
    pub fn settle(self) -> anyhow::Result<Config> {
        let data = self.data()?;
        let network = self.network.unwrap_or(Network::Signet);
        let feed = match (self.replay, self.manual) {
            (Some(path), false) => FeedChoice::Replay(path),
            (None, true) => FeedChoice::Manual,
            (Some(_), true) => bail!("both a replay and the manual feed are named; an oracle has one feed"),
            (None, false) => bail!("no feed is named; say --replay FILE.csv or --manual"),
        };
        let clock = self.regtest_clock.map_or(Clock::System, Clock::File);
        let webhook = match (self.webhook_listen, self.webhook_secret_file) {
            (Some(listen), Some(secret)) => Some((listen, secret)),
            (None, None) => None,
            _ => bail!("webhook_listen and webhook_secret_file belong together; say both or neither"),
        };
        let operating =
            Operating { signer: self.signer, passphrase: Passphrase { file: self.passphrase_file }, webhook };
        let (listen, limits) = (self.listen.unwrap_or(LISTEN), self.limits.unwrap_or_default());
        let config = Config { data, listen, network, feed, clock, limits, operating };
        config.check()?;
        Ok(config)
    }
}

/// Requests a second and address where strangers are.
const USUAL: u32 = 20;

impl Network {
    /// Requests a second and address when the configuration does not say; 0 for no limit.
    pub fn usual_rate(self) -> u32 {
        match self {
            // A chain on one machine: its conductor asks as fast as it can.
            Network::Regtest => 0,
            Network::Signet => USUAL,
        }
    }
}

impl Config {
    /// Refuses what may not go together.
    ///
    /// # Errors
    /// When a clock file is given outside regtest.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.clock.is_file() && self.network != Network::Regtest {
            bail!("--regtest-clock is refused on {}: only regtest may move time; say --network regtest", self.network);
        }
        if self.operating.webhook.as_ref().is_some_and(|(address, _)| *address == self.listen && address.port() != 0) {
            bail!(
                "webhook_listen is {}, where the public listens; give the webhook an address of its own",
                self.listen
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> anyhow::Result<Config> {
        toml::from_str::<Said>(text)?.settle()
    }

    #[test]
    fn time_may_be_moved_on_regtest_only() {
        let file = "data = \"d\"\nmanual = true\nregtest_clock = \"c\"\n";
        assert!(said(file).unwrap_err().to_string().contains("refused on signet"));
        assert!(said(&format!("{file}network = \"signet\"")).is_err());
        assert_eq!(said(&format!("{file}network = \"regtest\"")).unwrap().clock, Clock::file("c"));
    }

    #[test]
    fn what_is_wrong_in_a_config_is_named() {
        for (text, says) in [
            ("manual = true", "--data"),
            ("data = \"d\"", "no feed"),
            ("data = \"d\"\nmanual = true\nreplay = \"x\"", "one feed"),
            ("data = \"d\"\nmanual = true\nnetwork = \"mainnet\"", "test feeds"),
            ("data = \"d\"\nmanual = true\nnetwork = \"testnet\"", "use regtest or signet"),
            ("data = \"d\"\nmanual = true\n[limits]\nburts = 1", "burts"),
            ("data = \"d\"\nmanual = true\nwebhook_listen = \"127.0.0.1:1\"", "both or neither"),
            (
                "data = \"d\"\nmanual = true\nwebhook_listen = \"127.0.0.1:3939\"\nwebhook_secret_file = \"s\"",
                "an address of its own",
            ),
            ("data = \"d\"\nmanual = true\nlissten = \"127.0.0.1:1\"", "lissten"),
        ] {
            let error = format!("{:#}", said(text).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_sample_is_understood() {
        let config = said(include_str!("../../dist/hypothec-oracle.toml")).unwrap();
        assert_eq!(config.operating.signer, Some("/run/hypothec-signer/signer.sock".into()));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file: Said = toml::from_str("data = \"d\"\nmanual = true\nnetwork = \"regtest\"").unwrap();
        let line = Said { replay: Some("x.csv".into()), ..Said::default() };
        let config = line.over(file).settle().unwrap();
        assert_eq!((config.feed, config.listen), (FeedChoice::Replay("x.csv".into()), LISTEN));
    }
}
