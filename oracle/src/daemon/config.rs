//! What the daemon is told: a TOML file, overridden by the command line.

use super::http::Limits;
use super::passphrase::Passphrase;
use super::store::Server;
use crate::clock::Clock;
use crate::price::venue::Venue;
use crate::relay::check_url;
use anyhow::{bail, Context};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where the daemon listens when nothing else is said.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3939);

/// Milliseconds after which a silent replica is replaced, when nothing else is said.
const LEASE: u32 = 10_000;
/// What else may be said.
const LEASES: std::ops::RangeInclusive<u32> = 1_000..=60_000;

/// Largest configuration file read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// The networks an oracle speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Network {
    /// A chain on one machine; the only one where a clock file is allowed.
    Regtest,
    /// The public test chain.
    Signet,
    /// The chain with money on it; the live feed only.
    Bitcoin,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        match text {
            "regtest" => Ok(Network::Regtest),
            "signet" => Ok(Network::Signet),
            "bitcoin" | "mainnet" | "main" => Ok(Network::Bitcoin),
            other => Err(format!("network {other:?} is unknown; use regtest or signet, or bitcoin with the live feed")),
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
            Network::Bitcoin => "bitcoin",
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
    /// Venues, asked over the network, by a published policy.
    Live(LiveChoice),
}

/// How the live feed is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveChoice {
    /// The price policy's file; without one, what was published before, or the sample's numbers.
    pub policy: Option<PathBuf>,
    /// Other base URLs of venues, for a proxy of one's own and for tests.
    pub venue_urls: BTreeMap<Venue, String>,
}

/// How the ledger is shared and guarded. The default: sled in the data folder, alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// The PostgreSQL database that holds the ledger.
    pub postgres: Option<Server>,
    /// Base URLs of replicas and mirrors, asked before a fixing is said.
    pub peers: Vec<String>,
    /// An exported watermark that the ledger may not be older than.
    pub watermark: Option<PathBuf>,
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
    /// Its ledger's place and guards.
    pub replicas: Replicas,
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
    /// Take the clock however far the ledger lies behind it.
    pub accept_clock: bool,
    /// The Nostr relays that are given what is said, by URL.
    pub relays: Vec<String>,
}

/// What is said about Nostr in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nostr {
    /// URLs of relays.
    #[serde(default)]
    pub relays: Vec<String>,
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
    #[serde(default)]
    pub live: bool,
    pub policy: Option<PathBuf>,
    #[serde(default)]
    pub venue_urls: BTreeMap<Venue, String>,
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
    /// `postgres://user:password@host/database`; without it the ledger is in the data folder.
    pub postgres: Option<String>,
    /// PEM file of the authority that vouches for a database on another machine.
    pub postgres_ca: Option<PathBuf>,
    /// Milliseconds after which a silent replica is replaced.
    pub postgres_lease_ms: Option<u32>,
    /// Base URLs of replicas and mirrors.
    #[serde(default)]
    pub peers: Vec<String>,
    /// An exported watermark.
    pub watermark: Option<PathBuf>,
    /// Take the clock however far the ledger lies behind it. Said for one start, so never in a file.
    #[serde(skip)]
    pub accept_clock: bool,
    /// Where to publish; nowhere by default.
    pub nostr: Option<Nostr>,
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
        let has_feed = self.manual || self.live || self.replay.is_some();
        Said {
            data: self.data.or(below.data),
            listen: self.listen.or(below.listen),
            network: self.network.or(below.network),
            replay: if has_feed { self.replay } else { below.replay },
            manual: if has_feed { self.manual } else { below.manual },
            live: if has_feed { self.live } else { below.live },
            policy: self.policy.or(below.policy),
            venue_urls: if self.venue_urls.is_empty() { below.venue_urls } else { self.venue_urls },
            regtest_clock: self.regtest_clock.or(below.regtest_clock),
            limits: self.limits.or(below.limits),
            signer: self.signer.or(below.signer),
            passphrase_file: self.passphrase_file.or(below.passphrase_file),
            webhook_listen: self.webhook_listen.or(below.webhook_listen),
            webhook_secret_file: self.webhook_secret_file.or(below.webhook_secret_file),
            mirrors: if self.mirrors.is_empty() { below.mirrors } else { self.mirrors },
            venues: if self.venues.is_empty() { below.venues } else { self.venues },
            bitcoind: self.bitcoind.or(below.bitcoind),
            postgres: self.postgres.or(below.postgres),
            postgres_ca: self.postgres_ca.or(below.postgres_ca),
            postgres_lease_ms: self.postgres_lease_ms.or(below.postgres_lease_ms),
            peers: if self.peers.is_empty() { below.peers } else { self.peers },
            watermark: self.watermark.or(below.watermark),
            accept_clock: self.accept_clock || below.accept_clock,
            nostr: self.nostr.or(below.nostr),
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
        let replicas = self.replicas(network)?;
        if !self.live && (self.policy.is_some() || !self.venue_urls.is_empty()) {
            bail!(
                "a price policy or venue URLs are named, but they are for the live feed; say --live, or leave them out"
            );
        }
        let feed = match (self.replay, self.manual, self.live) {
            (Some(path), false, false) => FeedChoice::Replay(path),
            (None, true, false) => FeedChoice::Manual,
            (None, false, true) => FeedChoice::Live(LiveChoice { policy: self.policy, venue_urls: self.venue_urls }),
            (None, false, false) => {
                bail!("no feed is named; say --replay FILE.csv or --manual for a trial, --live for venues")
            }
            _ => bail!("more than one of the replay, manual and live feeds are named; an oracle has one feed"),
        };
        let clock = self.regtest_clock.map_or(Clock::System, Clock::File);
        let webhook = match (self.webhook_listen, self.webhook_secret_file) {
            (Some(listen), Some(secret)) => Some((listen, secret)),
            (None, None) => None,
            _ => bail!("webhook_listen and webhook_secret_file belong together; say both or neither"),
        };
        let relays = relays(&self.nostr.unwrap_or_default())?;
        let passphrase = Passphrase { file: self.passphrase_file };
        let accept_clock = self.accept_clock;
        let operating = Operating { signer: self.signer, passphrase, webhook, relays, accept_clock };
        let (listen, limits) = (self.listen.unwrap_or(LISTEN), self.limits.unwrap_or_default());
        let config = Config { data, listen, network, feed, clock, limits, operating, replicas };
        config.check()?;
        Ok(config)
    }

    /// Where the ledger is and what guards it.
    ///
    /// # Errors
    /// When a number or a URL is out of bounds.
    pub fn replicas(&self, network: Network) -> anyhow::Result<Replicas> {
        let lease = self.postgres_lease_ms.unwrap_or(LEASE);
        if !LEASES.contains(&lease) {
            bail!("postgres_lease_ms is {lease}; it must lie between {} and {}", LEASES.start(), LEASES.end());
        }
        if let Some(url) = self.peers.iter().find(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
            bail!("peer {url:?} is not a base URL such as https://replica.example");
        }
        let server = |url: &String| Server {
            url: url.clone(),
            ca: self.postgres_ca.clone(),
            lease: Duration::from_millis(u64::from(lease)),
            unsynced: network == Network::Regtest,
        };
        let postgres = self.postgres.as_ref().map(server);
        Ok(Replicas { postgres, peers: self.peers.clone(), watermark: self.watermark.clone() })
    }
}

/// The most relays.
const RELAYS_MAX: usize = 16;

/// The relays as they are written everywhere.
///
/// # Errors
/// When one is no relay's URL or stands there twice, or they are too many.
pub fn relays(nostr: &Nostr) -> anyhow::Result<Vec<String>> {
    let mut relays: Vec<String> = Vec::with_capacity(nostr.relays.len());
    for url in &nostr.relays {
        let relay = check_url(url).map_err(|why| anyhow::anyhow!("nostr.relays has {url:?}: {why}"))?;
        if relays.contains(&relay) {
            bail!("nostr.relays names {url:?} twice; name each relay once");
        }
        relays.push(relay);
    }
    if relays.len() > RELAYS_MAX {
        bail!("nostr.relays names {} relays; at most {RELAYS_MAX} are published to", relays.len());
    }
    Ok(relays)
}

/// Requests a second and address where strangers are.
const USUAL: u32 = 20;

impl Network {
    /// Requests a second and address when the configuration does not say; 0 for no limit.
    pub fn usual_rate(self) -> u32 {
        match self {
            // A chain on one machine: its conductor asks as fast as it can.
            Network::Regtest => 0,
            Network::Signet | Network::Bitcoin => USUAL,
        }
    }
}

impl Config {
    /// Refuses what may not go together.
    ///
    /// # Errors
    /// When a clock file is given outside regtest or with real venues, a test feed on mainnet, or a venue's URL is unsafe.
    pub fn check(&self) -> anyhow::Result<()> {
        self.limits.check()?;
        if self.clock.is_file() && self.network != Network::Regtest {
            bail!("--regtest-clock is refused on {}: only regtest may move time; say --network regtest", self.network);
        }
        if self.operating.webhook.as_ref().is_some_and(|(address, _)| *address == self.listen && address.port() != 0) {
            bail!(
                "webhook_listen is {}, where the public listens; give the webhook an address of its own",
                self.listen
            );
        }
        let FeedChoice::Live(live) = &self.feed else {
            if self.network == Network::Bitcoin {
                bail!(
                    "network bitcoin is refused with test feeds (replay and manual): nobody's money may hang on them; \
                    say --live, or use regtest or signet"
                );
            }
            return Ok(());
        };
        if self.clock.is_file() {
            // Of real venues every quote would be years ahead or behind.
            let is_told = |venue: &Venue| live.venue_urls.contains_key(venue);
            if let Some(real) = Venue::ALL.iter().find(|venue| !is_told(venue)) {
                bail!("--regtest-clock is refused with the live feed unless venue_urls names a stand-in for every venue; {real} knows only the real time");
            }
        }
        for (venue, url) in &live.venue_urls {
            let is_safe =
                url.starts_with("https://") || (url.starts_with("http://") && self.network != Network::Bitcoin);
            if !is_safe {
                bail!("venue_urls.{venue} is {url:?}; it must begin with https:// (http:// is for regtest and signet)");
            }
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
            ("data = \"d\"\nmanual = true\nlive = true", "one feed"),
            ("data = \"d\"\nmanual = true\npolicy = \"p\"", "--live"),
            ("data = \"d\"\nlive = true\nnetwork = \"regtest\"\nregtest_clock = \"c\"", "real time"),
            ("data = \"d\"\nlive = true\nvenue_urls.kraken = \"ftp://x\"", "https://"),
            ("data = \"d\"\nlive = true\nnetwork = \"bitcoin\"\nvenue_urls.kraken = \"http://x\"", "https://"),
            ("data = \"d\"\nlive = true\nvenue_urls.mtgox = \"https://x\"", "mtgox"),
            ("data = \"d\"\nmanual = true\npostgres_lease_ms = 10", "between 1000 and 60000"),
            ("data = \"d\"\nmanual = true\npeers = [\"replica\"]", "base URL"),
            ("data = \"d\"\nmanual = true\n[nostr]\nrelays = [\"https://x\"]", "looks like wss://relay.example"),
            ("data = \"d\"\nmanual = true\n[nostr]\nrelays = [\"ws://x\", \"ws://x/\"]", "twice"),
            ("data = \"d\"\nmanual = true\n[nostr]\nrelay = \"ws://x\"", "relay"),
            ("data = \"d\"\nmanual = true\n[limits]\nburst = 0", "limits.burst is 0; 48 or more"),
            ("data = \"d\"\nmanual = true\n[limits]\nconnections = 0", "limits.connections is 0"),
            ("data = \"d\"\nmanual = true\nlissten = \"127.0.0.1:1\"", "lissten"),
        ] {
            let error = format!("{:#}", said(text).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }

    const SAMPLE: &str = include_str!("../../dist/hypothec-oracle.toml");

    #[test]
    fn the_sample_is_understood() {
        let config = said(SAMPLE).unwrap();
        assert_eq!(config.operating.signer, Some("/run/hypothec-signer/signer.sock".into()));
        assert!(matches!(config.feed, FeedChoice::Live(_)));
    }

    #[test]
    fn the_sample_names_every_key_there_is() {
        // Lines that are commented out are settings too; sentences are not.
        let is_setting =
            |line: &&str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let bare = SAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
        let text: String = bare.filter(is_setting).map(|line| format!("{line}\n")).collect();
        let all: Said = toml::from_str(&text).unwrap();
        // Without `..`: a new key does not compile until the sample names it.
        let Said {
            data,
            listen,
            network,
            replay,
            manual,
            live,
            policy,
            venue_urls,
            regtest_clock,
            limits,
            signer,
            passphrase_file,
            webhook_listen,
            webhook_secret_file,
            mirrors,
            venues,
            bitcoind,
            postgres,
            postgres_ca,
            postgres_lease_ms,
            peers,
            watermark,
            accept_clock,
            nostr,
        } = all;
        assert!(!accept_clock, "no file says that");
        assert!(data.is_some() && listen.is_some() && network.is_some() && replay.is_some() && manual && live);
        assert!(policy.is_some() && !venue_urls.is_empty() && regtest_clock.is_some());
        assert!(signer.is_some() && passphrase_file.is_some());
        assert!(webhook_listen.is_some() && webhook_secret_file.is_some());
        assert!(mirrors.is_empty() && !venues.is_empty() && bitcoind.is_some());
        assert!(postgres.is_some() && postgres_ca.is_some() && postgres_lease_ms.is_some());
        assert!(!peers.is_empty() && watermark.is_some());
        assert_eq!(relays(&nostr.unwrap()).unwrap().len(), 2);
        let limits = limits.unwrap();
        assert_eq!((limits.requests_per_second, limits.proxies.len()), (Some(USUAL), 1));
        assert_eq!(Limits { requests_per_second: None, proxies: Vec::new(), ..limits }, Limits::default());
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file: Said = toml::from_str("data = \"d\"\nmanual = true\nnetwork = \"regtest\"").unwrap();
        let line = Said { replay: Some("x.csv".into()), ..Said::default() };
        let config = line.over(file).settle().unwrap();
        assert_eq!((config.feed, config.listen), (FeedChoice::Replay("x.csv".into()), LISTEN));
    }
}
