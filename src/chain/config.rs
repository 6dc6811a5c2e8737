//! How to reach the full node, and how much to pay at least and at most.

use super::Error;
use bitcoin::{FeeRate, Network};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long one call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How this node proves to bitcoind that it may ask.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// The file bitcoind writes at each start; read again when it has changed.
    Cookie(PathBuf),
    /// `rpcuser` and `rpcpassword` (or `rpcauth`) of bitcoin.conf.
    UserPass {
        /// The user's name.
        user: String,
        /// Never shown in logs.
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::Cookie(path) => write!(f, "cookie file {}", path.display()),
            Auth::UserPass { user, .. } => write!(f, "user {user:?} with a password"),
        }
    }
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The fee rates this node is willing to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeBounds {
    /// Never less, whatever the estimate.
    pub floor: FeeRate,
    /// Never more, whatever the estimate.
    pub cap: FeeRate,
    /// Used where the node has no estimate, as on regtest.
    pub fallback: FeeRate,
    /// Aim to confirm within this many blocks, 1 to 1,008.
    pub target_blocks: u16,
}

impl Default for FeeBounds {
    /// 1 to 500 sat/vB, 5 where nothing is known, next block but one.
    fn default() -> FeeBounds {
        FeeBounds {
            floor: FeeRate::from_sat_per_vb_u32(1),
            cap: FeeRate::from_sat_per_vb_u32(500),
            fallback: FeeRate::from_sat_per_vb_u32(5),
            target_blocks: 2,
        }
    }
}

impl FeeBounds {
    /// `estimate` (or the fallback) moved up to `relay_minimum` and the floor, then down to the cap.
    pub fn bound(&self, estimate: Option<FeeRate>, relay_minimum: FeeRate) -> FeeRate {
        estimate.unwrap_or(self.fallback).max(relay_minimum).max(self.floor).min(self.cap)
    }

    /// May a transaction pay what is relayed at all?
    ///
    /// # Errors
    /// [`Error::CapBelowMinimum`].
    pub(super) fn require_relayed(&self, minimum: FeeRate) -> Result<(), Error> {
        match self.cap < minimum {
            true => Err(Error::CapBelowMinimum {
                cap: self.cap.to_sat_per_vb_floor(),
                minimum: minimum.to_sat_per_vb_ceil(),
            }),
            false => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |field, value: String, right| Err(Error::Config { field, value, right });
        if self.floor > self.cap {
            let value = format!("{} sat/kwu", self.floor.to_sat_per_kwu());
            return wrong("fees.floor", value, "at most the cap");
        }
        if self.target_blocks == 0 || self.target_blocks > 1_008 {
            return wrong("fees.target_blocks", self.target_blocks.to_string(), "between 1 and 1008");
        }
        Ok(())
    }
}

/// Everything [`super::Chain::connect`] needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `http://host:port`, without credentials.
    pub url: String,
    /// Credentials.
    pub auth: Auth,
    /// Regtest or signet; anything else is refused.
    pub network: Network,
    /// Fee rates.
    pub fees: FeeBounds,
    /// Longest wait for one answer.
    pub call_timeout: Duration,
}

impl Config {
    /// The usual configuration: default fee bounds and time-out.
    pub fn new(url: impl Into<String>, auth: Auth, network: Network) -> Config {
        Config { url: url.into(), auth, network, fees: FeeBounds::default(), call_timeout: CALL_TIMEOUT }
    }

    /// Checks what can be checked without asking bitcoind.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.network {
            Network::Regtest | Network::Signet => {}
            other => return Err(Error::NetworkRefused { network: other.to_string() }),
        }
        let wrong = |value: &str, right| Err(Error::Config { field: "bitcoind.url", value: value.into(), right });
        if self.url.contains('@') {
            return wrong(
                "a URL with credentials",
                "without them; use `bitcoind.cookie`, or `bitcoind.user` and `bitcoind.password`",
            );
        }
        if !self.url.starts_with("http://") {
            return wrong(&format!("`{}`", self.url), "of the form http://host:port; bitcoind speaks no https");
        }
        self.fees.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(sat_per_vb: u32) -> FeeRate {
        FeeRate::from_sat_per_vb_u32(sat_per_vb)
    }

    #[test]
    fn the_fee_rate_stays_between_floor_and_cap() {
        let bounds = FeeBounds { floor: rate(2), cap: rate(50), fallback: rate(10), target_blocks: 2 };
        assert_eq!(bounds.bound(None, rate(1)), rate(10));
        assert_eq!(bounds.bound(Some(rate(1)), rate(1)), rate(2));
        assert_eq!(bounds.bound(Some(rate(20)), rate(1)), rate(20));
        assert_eq!(bounds.bound(Some(rate(20)), rate(30)), rate(30));
        assert_eq!(bounds.bound(Some(rate(900)), rate(1)), rate(50));
        let cap = FeeBounds::default().cap;
        assert_eq!(FeeBounds::default().bound(Some(rate(90_000)), rate(1)), cap);
        println!("bound false-estimate {} sat/vB", cap.to_sat_per_vb_ceil());
    }

    #[test]
    fn a_cap_below_what_bitcoind_takes_is_named_with_what_would_do() {
        let bounds = FeeBounds { cap: rate(10), ..FeeBounds::default() };
        assert_eq!(bounds.require_relayed(rate(10)), Ok(()));
        // 10.007 sat/vB.
        let said = bounds.require_relayed(FeeRate::from_sat_per_kwu(2_502)).unwrap_err().to_string();
        assert!(
            said.contains("`[fees] cap` is 10 sat/vB") && said.contains("raise `[fees] cap` to 11 at least"),
            "{said}"
        );
    }

    #[test]
    fn a_mainnet_configuration_is_refused_and_says_why() {
        let auth = Auth::UserPass { user: "u".into(), password: "secret-word".into() };
        let config = Config::new("http://127.0.0.1:1", auth, Network::Bitcoin);
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains("bitcoin") && message.contains("regtest or signet"), "{message}");
    }

    #[test]
    fn a_password_is_never_written_out() {
        let auth = Auth::UserPass { user: "u".into(), password: "secret-word".into() };
        let config = Config::new("http://127.0.0.1:1", auth, Network::Regtest);
        assert!(!format!("{config:?}").contains("secret-word"));
    }

    #[test]
    fn a_url_with_a_password_or_another_scheme_is_refused_without_showing_the_password() {
        let refused = |url: &str| {
            let config = Config::new(url, Auth::Cookie("c".into()), Network::Regtest);
            config.check().unwrap_err().to_string()
        };
        let message = refused("http://me:secret-word@127.0.0.1:1");
        assert!(message.contains("bitcoind.cookie") && !message.contains("secret-word"), "{message}");
        assert!(refused("https://127.0.0.1:1").contains("http://host:port"));
    }

    #[test]
    fn a_floor_above_the_cap_names_the_field() {
        let mut config = Config::new("http://127.0.0.1:1", Auth::Cookie("c".into()), Network::Regtest);
        config.fees.floor = rate(501);
        assert!(config.check().unwrap_err().to_string().contains("fees.floor"));
    }
}
