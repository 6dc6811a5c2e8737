//! What the node is told: the file `hypothec.toml` of its data folder. Every error names the field, the value and the
//! remedy.

mod backup;
mod peers;

pub use self::backup::BackupTo;

use self::peers::Peers;
use super::borrowing::{Borrowing, MIN_THRESHOLD_MAX};
use super::notify::Settings as Notify;
use crate::chain::{Auth, Config as ChainConfig, FeeBounds, CALL_TIMEOUT};
use crate::hook::Hook;
use crate::loan::acceptable::OwnBounds;
use crate::loan::check;
use crate::loan::ltv::URGENT;
use crate::loan::units::BasisPoints;
use crate::peer::{parse_listen, Limits};
use bitcoin::{Amount, FeeRate, Network};
use hypothec_oracle::clock::Clock;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The commented file that `init` writes. It says the defaults.
pub const SAMPLE: &str = include_str!("hypothec.sample.toml");
/// Largest configuration file read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// The most that may be kept for fees, sats.
const RESERVE_MAX: u64 = 10_000_000;
/// The highest fee rate that may be configured, sat/vB.
const FEE_MAX: u32 = 10_000;

/// What is wrong with a configuration, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// One setting.
    #[error("{field} = {value}: {remedy}")]
    Field {
        /// Its name, with its table.
        field: &'static str,
        /// What it says.
        value: String,
        /// What would be right.
        remedy: String,
    },
    /// Not TOML, or a setting nobody knows, or one of the wrong kind; the text shows the line.
    #[error("this is not a configuration: {0}")]
    Text(String),
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(String),
    /// The file the error is about.
    #[error("{}: {error}", path.display())]
    In {
        /// Which.
        path: PathBuf,
        /// What about it.
        error: Box<ConfigError>,
    },
}

/// The chains this version works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chain {
    /// A chain on one machine; the only one that can have a clock file.
    Regtest,
    /// The public test chain.
    #[default]
    Signet,
}

impl Chain {
    /// The same as `bitcoin` calls it.
    pub fn network(self) -> Network {
        match self {
            Chain::Regtest => Network::Regtest,
            Chain::Signet => Network::Signet,
        }
    }

    fn rpc_port(self) -> u16 {
        match self {
            Chain::Regtest => 18_443,
            Chain::Signet => 38_332,
        }
    }
}

impl FromStr for Chain {
    type Err = String;

    fn from_str(text: &str) -> Result<Chain, String> {
        match text {
            "regtest" => Ok(Chain::Regtest),
            "signet" => Ok(Chain::Signet),
            "bitcoin" | "mainnet" | "main" => Err("mainnet is refused: nobody but its authors has reviewed \
                this version, and nobody's money may hang on it yet; use \"regtest\" or \"signet\""
                .into()),
            _ => Err("it is \"regtest\" or \"signet\"".into()),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Chain::Regtest => "regtest",
            Chain::Signet => "signet",
        })
    }
}

/// All the node needs to run, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Regtest or signet.
    pub network: Network,
    /// How to reach bitcoind, and the fees.
    pub chain: ChainConfig,
    /// A coin of at least this is kept for fees; zero for none.
    pub fee_reserve: Amount,
    /// Where peers reach us; `None` for nobody.
    pub peer_listen: Option<SocketAddr>,
    /// Where others dial us, where that is not where we listen: `host:port`.
    pub announce: Option<String>,
    /// The bounds on peers.
    pub limits: Limits,
    /// Where the API answers: this machine only.
    pub api_listen: SocketAddr,
    /// What the node asks of loans it borrows.
    pub borrowing: Borrowing,
    /// Who is told of what happens.
    pub hooks: Vec<Hook>,
    /// A backup that renews itself; `None` for none.
    pub backup: Option<BackupTo>,
    /// Time that a conductor moves; regtest only, and never from the file.
    pub regtest_clock: Option<PathBuf>,
}

impl Config {
    /// Reads `hypothec.toml` of the data folder. `regtest_clock` comes from the command line alone.
    ///
    /// # Errors
    /// When the file cannot be read or says something wrong, naming the file, the field, the value and the remedy.
    pub fn load(data: &Path, regtest_clock: Option<PathBuf>) -> Result<Config, ConfigError> {
        let path = super::data::config_path(data);
        let within = |error| ConfigError::In { path: path.clone(), error: Box::new(error) };
        let text = read(&path).map_err(within)?;
        let mut config = Config::parse(data, &text).map_err(within)?;
        if let (Some(clock), false) = (&regtest_clock, config.network == Network::Regtest) {
            let remedy = format!("{} is a clock for regtest alone; leave `--regtest-clock` out", clock.display());
            return Err(within(wrong("network", config.network, remedy)));
        }
        config.regtest_clock = regtest_clock;
        Ok(config)
    }

    /// The configuration that `text` says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(data: &Path, text: &str) -> Result<Config, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Text(in_words(&error.to_string())))?;
        let chain: Chain = file.network.parse().map_err(|remedy| wrong("network", quoted(&file.network), remedy))?;
        let network = chain.network();
        let (bitcoind, peers) = (file.bitcoind, file.peers);
        Ok(Config {
            data: data.to_path_buf(),
            network,
            fee_reserve: file.fees.reserve()?,
            chain: ChainConfig {
                url: bitcoind.url(chain)?,
                auth: bitcoind.auth(chain)?,
                network,
                fees: file.fees.check()?,
                call_timeout: CALL_TIMEOUT,
            },
            peer_listen: peers.listen()?,
            announce: peers.announce()?,
            limits: peers.limits()?,
            api_listen: file.api.listen()?,
            borrowing: file.borrowing.check()?,
            hooks: file.notify.hooks()?,
            backup: file.backup.check(data)?,
            regtest_clock: None,
        })
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.regtest_clock.clone().map_or(Clock::System, Clock::File)
    }
}

/// The sample with some of its lines said differently: what `init` writes.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The chain.
    pub network: Chain,
    /// `bitcoind.url`.
    pub bitcoind_url: Option<String>,
    /// `bitcoind.cookie`.
    pub bitcoind_cookie: Option<PathBuf>,
    /// `peers.listen`.
    pub peer_listen: Option<String>,
    /// `peers.announce`.
    pub announce: Option<String>,
    /// `api.listen`.
    pub api_listen: Option<String>,
}

impl Choices {
    /// The text of the file.
    pub fn text(&self) -> String {
        let quote = |text: &str| toml::Value::from(text).to_string();
        let cookie = self.bitcoind_cookie.as_ref().map(|path| path.to_string_lossy().into_owned());
        let said = [
            ("network = ", Some(self.network.to_string())),
            ("# url = ", self.bitcoind_url.clone()),
            ("# cookie = ", cookie),
            ("listen = \"127.0.0.1:9810\"", self.peer_listen.clone()),
            ("# announce = ", self.announce.clone()),
            ("listen = \"127.0.0.1:9811\"", self.api_listen.clone()),
        ];
        let line = |line: &str| -> String {
            let found = said.iter().find(|(start, value)| value.is_some() && line.starts_with(start));
            match found.and_then(|(start, value)| Some((start.trim_start_matches("# "), value.as_ref()?))) {
                Some((start, value)) => {
                    let name = start.split(" = ").next().unwrap_or(start);
                    format!("{name} = {}", quote(value))
                }
                None => line.to_owned(),
            }
        };
        SAMPLE.lines().map(|each| line(each) + "\n").collect()
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    network: String,
    bitcoind: Bitcoind,
    peers: Peers,
    api: Api,
    fees: Fees,
    borrowing: BorrowingTable,
    notify: Notify,
    backup: backup::Backup,
}

impl Default for File {
    fn default() -> File {
        File {
            network: Chain::default().to_string(),
            bitcoind: Bitcoind::default(),
            peers: Peers::default(),
            api: Api::default(),
            fees: Fees::default(),
            borrowing: BorrowingTable::default(),
            notify: Notify::default(),
            backup: backup::Backup::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bitcoind {
    url: Option<String>,
    cookie: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
}

impl Bitcoind {
    fn url(&self, chain: Chain) -> Result<String, ConfigError> {
        let Some(url) = &self.url else { return Ok(format!("http://127.0.0.1:{}", chain.rpc_port())) };
        let place = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let port = place.and_then(|place| place.rsplit_once(':')).and_then(|(_, port)| port.parse::<u16>().ok());
        match (place, port) {
            (Some(place), Some(1..)) if !place.contains(['@', '/', ' ']) => Ok(url.clone()),
            _ => {
                let remedy = format!("write http://host:port, for example http://127.0.0.1:{}", chain.rpc_port());
                Err(wrong("bitcoind.url", quoted(url), remedy))
            }
        }
    }

    fn auth(&self, chain: Chain) -> Result<Auth, ConfigError> {
        let remedy = "say either bitcoind.cookie alone, or bitcoind.user together with bitcoind.password";
        match (&self.cookie, &self.user, &self.password) {
            (Some(path), None, None) => Ok(Auth::Cookie(path.clone())),
            (None, Some(user), Some(password)) => Ok(Auth::UserPass { user: user.clone(), password: password.clone() }),
            (None, None, None) => Ok(Auth::Cookie(default_cookie(chain)?)),
            (_, Some(user), _) => Err(wrong("bitcoind.user", quoted(user), remedy)),
            (_, None, _) => Err(wrong("bitcoind.password", "(not shown)", remedy)),
        }
    }
}

fn default_cookie(chain: Chain) -> Result<PathBuf, ConfigError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or_else(|| {
        wrong("bitcoind.cookie", "(not said)", "name bitcoind's cookie file, since there is no HOME to look in")
    })?;
    Ok(PathBuf::from(home).join(".bitcoin").join(chain.to_string()).join(".cookie"))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Api {
    listen: String,
}

impl Default for Api {
    fn default() -> Api {
        Api { listen: "127.0.0.1:9811".into() }
    }
}

impl Api {
    fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let wrong = |remedy| wrong("api.listen", quoted(&self.listen), remedy);
        let address = parse_listen(&self.listen)
            .map_err(|_| wrong("write an IP address of this machine and a port, for example 127.0.0.1:9811"))?;
        if !address.ip().is_loopback() {
            return Err(wrong("it must be this machine, 127.0.0.1 or [::1]; reach it from elsewhere through ssh"));
        }
        Ok(address)
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fees {
    floor: u32,
    cap: u32,
    fallback: u32,
    target_blocks: u16,
    reserve: u64,
}

impl Default for Fees {
    fn default() -> Fees {
        Fees { floor: 1, cap: 500, fallback: 5, target_blocks: 2, reserve: 20_000 }
    }
}

impl Fees {
    fn reserve(&self) -> Result<Amount, ConfigError> {
        match self.reserve <= RESERVE_MAX {
            true => Ok(Amount::from_sat(self.reserve)),
            false => Err(wrong("fees.reserve", self.reserve, format!("0 to {RESERVE_MAX} sats are right"))),
        }
    }

    fn check(&self) -> Result<FeeBounds, ConfigError> {
        if self.cap == 0 || self.cap > FEE_MAX {
            return Err(wrong("fees.cap", self.cap, format!("1 to {FEE_MAX} sat/vB are right")));
        }
        for (field, value) in [("fees.floor", self.floor), ("fees.fallback", self.fallback)] {
            if value == 0 || value > self.cap {
                return Err(wrong(field, value, format!("1 to fees.cap, which is {} sat/vB, are right", self.cap)));
            }
        }
        if self.target_blocks == 0 || self.target_blocks > 1_008 {
            return Err(wrong("fees.target_blocks", self.target_blocks, "1 to 1008 are right"));
        }
        let rate = FeeRate::from_sat_per_vb_u32;
        Ok(FeeBounds {
            floor: rate(self.floor),
            cap: rate(self.cap),
            fallback: rate(self.fallback),
            target_blocks: self.target_blocks,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BorrowingTable {
    min_threshold: Option<u8>,
    max_apr_bp: Option<u32>,
    min_liquidation_ltv_bp: Option<u32>,
    max_cushion_bp: Option<u32>,
    max_confirmations: Option<u32>,
}

impl BorrowingTable {
    fn check(&self) -> Result<Borrowing, ConfigError> {
        if let Some(found) = self.min_threshold.filter(|found| !(1..=MIN_THRESHOLD_MAX).contains(found)) {
            return Err(wrong("borrowing.min_threshold", found, format!("1 to {MIN_THRESHOLD_MAX} are right")));
        }
        let (usual, (apr_min, apr_max)) = (OwnBounds::default(), check::APR_RANGE);
        let ltv = (URGENT.0.saturating_add(1), check::LIQUIDATION_MAX.0);
        let max_apr = bounded("borrowing.max_apr_bp", self.max_apr_bp, (apr_min.0, apr_max.0))?;
        let min_ltv = bounded("borrowing.min_liquidation_ltv_bp", self.min_liquidation_ltv_bp, ltv)?;
        let max_cushion = bounded("borrowing.max_cushion_bp", self.max_cushion_bp, (0, check::CUSHION_MAX.0))?;
        let confirmations = (1, check::CONFIRMATIONS_MAX);
        let bounds = OwnBounds {
            max_apr: max_apr.map_or(usual.max_apr, BasisPoints),
            min_liquidation_ltv: min_ltv.map_or(usual.min_liquidation_ltv, BasisPoints),
            max_cushion: max_cushion.map_or(usual.max_cushion, BasisPoints),
            max_confirmations: bounded("borrowing.max_confirmations", self.max_confirmations, confirmations)?,
        };
        Ok(Borrowing { min_threshold: self.min_threshold, bounds })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => ConfigError::Read("it is not there; make it with `hypothec init`".into()),
        _ => ConfigError::Read(error.to_string()),
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST {
        return Err(ConfigError::Read(format!("it has {size} bytes; at most {LARGEST} are read")));
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// A number that is left out or lies from `least` to `most`.
fn bounded(field: &'static str, found: Option<u32>, (least, most): (u32, u32)) -> Result<Option<u32>, ConfigError> {
    match found.filter(|found| !(least..=most).contains(found)) {
        Some(found) => Err(wrong(field, found, format!("{least} to {most} are right"))),
        None => Ok(found),
    }
}

pub(super) fn wrong(field: &'static str, value: impl fmt::Display, remedy: impl Into<String>) -> ConfigError {
    ConfigError::Field { field, value: value.to_string(), remedy: remedy.into() }
}

/// What a person wrote can be anything: an error repeats only its beginning.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The reader's complaint, without the names that only programs know types by.
fn in_words(complaint: &str) -> String {
    let types = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected a string", "expected a text in quotes"),
        ("expected a boolean", "expected true or false"),
    ];
    types.iter().fold(complaint.trim().to_owned(), |text, (name, words)| text.replace(name, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("data"), text)
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_sample_says_the_defaults() {
        let (sample, nothing) = (parse(SAMPLE).unwrap(), parse("").unwrap());
        assert_eq!(format!("{sample:?}"), format!("{nothing:?}"));
        assert_eq!(sample.network, Network::Signet);
        assert_eq!(sample.chain.fees, FeeBounds::default());
        assert_eq!(format!("{:?}", sample.limits), format!("{:?}", Limits::default()));
        assert_eq!(sample.peer_listen.unwrap().to_string(), "127.0.0.1:9810");
        assert_eq!(sample.api_listen.to_string(), "127.0.0.1:9811");
        assert_eq!(sample.chain.url, "http://127.0.0.1:38332");
    }

    #[test]
    fn what_the_sample_shows_but_does_not_say_is_understood_too() {
        let shown = |name: &str| SAMPLE.replace(&format!("# {name} = "), &format!("{name} = "));
        assert_eq!(parse(&shown("min_threshold")).unwrap().borrowing.min_threshold, Some(2));
        assert!(parse(&shown("url")).is_ok());
        assert!(parse(&shown("announce")).unwrap().announce.is_some());
        assert!(matches!(parse(&shown("cookie")).unwrap().chain.auth, Auth::Cookie(path) if path.starts_with("/home")));
        let both = shown("user").replace("# password", "password");
        assert!(matches!(parse(&both).unwrap().chain.auth, Auth::UserPass { .. }));
        let hooks = shown("exec").replace("# webhook", "webhook").replace("# secret", "secret");
        assert_eq!(parse(&hooks).unwrap().hooks.len(), 2);
        assert!(!format!("{:?}", parse(&hooks).unwrap()).contains("whsec_"), "a secret is never shown");
    }

    #[test]
    fn what_init_was_told_stands_in_the_file_that_it_writes() {
        let choices = Choices {
            network: Chain::Regtest,
            bitcoind_url: Some("http://127.0.0.1:1234".into()),
            bitcoind_cookie: Some("/tmp/a \"b\"/.cookie".into()),
            peer_listen: Some("0.0.0.0:1".into()),
            announce: Some("a.example:2".into()),
            api_listen: Some("[::1]:0".into()),
        };
        let config = parse(&choices.text()).unwrap();
        assert_eq!(config.network, Network::Regtest);
        assert_eq!(config.chain.url, "http://127.0.0.1:1234");
        assert_eq!(config.chain.auth, Auth::Cookie("/tmp/a \"b\"/.cookie".into()));
        assert_eq!(config.peer_listen.unwrap().to_string(), "0.0.0.0:1");
        assert_eq!(config.announce.as_deref(), Some("a.example:2"));
        assert_eq!(parse("peers.listen = \"off\"").unwrap().peer_listen, None);
        assert_eq!(config.api_listen.to_string(), "[::1]:0");
        assert_eq!(Choices::default().text(), SAMPLE);
    }

    #[test]
    fn mainnet_is_refused_with_the_reason() {
        for name in ["mainnet", "bitcoin", "main"] {
            let said = error(&format!("network = \"{name}\""));
            assert!(said.contains(name) && said.contains("nobody but its authors"), "{said}");
        }
        assert!(error("network = \"testnet\"").contains("\"testnet\": it is \"regtest\" or \"signet\""));
    }

    #[test]
    fn every_wrong_setting_is_named_with_its_value_and_what_would_be_right() {
        for (text, field, value, remedy) in [
            ("bitcoind.url = \"127.0.0.1:1\"", "bitcoind.url", "127.0.0.1:1", "http://host:port"),
            ("bitcoind.url = \"http://127.0.0.1\"", "bitcoind.url", "http://127.0.0.1", "http://host:port"),
            ("bitcoind.url = \"http://u:p@h:1\"", "bitcoind.url", "http://u:p@h:1", "http://host:port"),
            ("bitcoind.user = \"me\"", "bitcoind.user", "me", "bitcoind.password"),
            ("bitcoind.cookie = \"c\"\nbitcoind.user = \"me\"", "bitcoind.user", "me", "bitcoind.cookie alone"),
            ("peers.listen = \"everywhere\"", "peers.listen", "everywhere", "127.0.0.1:9810"),
            ("peers.announce = \"0.0.0.0:9810\"", "peers.announce", "0.0.0.0:9810", "that others dial"),
            ("peers.announce = \"my host\"", "peers.announce", "my host", "that others dial"),
            ("peers.announce = \"h:1\"\npeers.listen = \"off\"", "peers.announce", "h:1", "let it listen"),
            ("peers.inbound = 0", "peers.inbound", "0", "1 to 1000"),
            ("peers.inbound_per_ip = 33", "peers.inbound_per_ip", "33", "1 to 32"),
            ("peers.bytes_per_second = 1", "peers.bytes_per_second", "1", "65536"),
            ("peers.messages_per_second = 1", "peers.messages_per_second", "1", "10 to"),
            ("api.listen = \"0.0.0.0:9811\"", "api.listen", "0.0.0.0:9811", "must be this machine"),
            ("api.listen = \"localhost\"", "api.listen", "localhost", "127.0.0.1:9811"),
            ("fees.floor = 501", "fees.floor", "501", "fees.cap, which is 500"),
            ("fees.cap = 0", "fees.cap", "0", "1 to 10000"),
            ("borrowing.min_threshold = 0", "borrowing.min_threshold", "0", "1 to 5"),
            ("borrowing.min_threshold = 6", "borrowing.min_threshold", "6", "1 to 5"),
            ("borrowing.max_apr_bp = 99", "borrowing.max_apr_bp", "99", "100 to 10000"),
            ("borrowing.min_liquidation_ltv_bp = 7200", "borrowing.min_liquidation_ltv_bp", "7200", "7201 to 9500"),
            ("borrowing.max_cushion_bp = 2001", "borrowing.max_cushion_bp", "2001", "0 to 2000"),
            ("borrowing.max_confirmations = 145", "borrowing.max_confirmations", "145", "1 to 144"),
            ("borrowing.min_threshold = 300", "min_threshold", "300", "a whole number from 0 to 255"),
            ("fees.reserve = 10000001", "fees.reserve", "10000001", "0 to 10000000 sats"),
            ("fees.target_blocks = 0", "fees.target_blocks", "0", "1 to 1008"),
            ("fees.flor = 1", "flor", "fees.flor = 1", "expected one of `floor`"),
            ("fees.floor = \"one\"", "floor", "one", "expected a whole number from 0 to 4294967295"),
            ("fees.floor = -1", "floor", "-1", "expected a whole number from 0 to 4294967295"),
            ("notify.exec = [\"\"]", "notify.exec", "\"\"", "the program and its arguments"),
            ("notify.exec = \"tell me\"", "notify", "tell me", "expected a sequence"),
            ("notify.webhook = \"https://h/p\"", "notify.webhook", "https://h/p", "notify.secret too"),
            (
                "notify.webhook = \"h\"\nnotify.secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
                "notify.webhook",
                "\"h\"",
                "https://host/path",
            ),
            ("notify.webhook = \"https://h/p\"\nnotify.secret = \"x\"", "notify.secret", "not shown", "whsec_"),
            ("notify.secret = \"x\"", "notify.secret", "not shown", "notify.webhook too"),
            ("regtest_clock = \"clock\"", "regtest_clock", "clock", "expected one of `network`"),
        ] {
            let said = error(text);
            assert!(said.contains(field) && said.contains(value) && said.contains(remedy), "{text}\n{said}");
        }
    }

    #[test]
    fn a_password_is_not_shown_when_its_user_is_missing() {
        let said = error("bitcoind.password = \"secret-word\"");
        assert!(said.contains("bitcoind.password") && !said.contains("secret-word"), "{said}");
    }

    #[test]
    fn a_clock_file_needs_regtest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hypothec.toml");
        std::fs::write(&path, "network = \"signet\"").unwrap();
        let said = Config::load(folder.path(), Some("clock".into())).unwrap_err().to_string();
        assert!(
            said.contains("signet") && said.contains("--regtest-clock") && said.contains("hypothec.toml"),
            "{said}"
        );
        assert!(!Config::load(folder.path(), None).unwrap().clock().is_file());
        std::fs::write(&path, "network = \"regtest\"").unwrap();
        assert!(Config::load(folder.path(), Some("clock".into())).unwrap().clock().is_file());
    }

    #[test]
    fn a_missing_file_says_how_to_make_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Config::load(folder.path(), None).unwrap_err().to_string().contains("hypothec init"));
    }
}
