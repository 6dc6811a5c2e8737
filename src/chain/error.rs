//! What can go wrong between this node and its full node, each with its remedy.

use bitcoin::Txid;
use hypothec_oracle::foreign::clean;

/// A transaction that bitcoind would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bitcoind refuses transaction {txid}: {reason}")]
pub struct Rejected {
    /// Which.
    pub txid: Txid,
    /// bitcoind's own words, such as `min relay fee not met`.
    pub reason: String,
}

impl Rejected {
    pub(super) fn new(txid: Txid, reason: &str) -> Rejected {
        Rejected { txid, reason: clean(reason) }
    }
}

/// A question that got no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or the connection broke. The next call connects anew.
    #[error("bitcoind at {url} cannot be reached ({reason}): start bitcoind, or correct `bitcoind.url`")]
    Unreachable {
        /// Where it was sought.
        url: String,
        /// What the socket said.
        reason: String,
    },
    /// It listens but did not answer in time.
    #[error("bitcoind at {url} did not answer `{method}` within {seconds} s")]
    TimedOut {
        /// Where.
        url: String,
        /// Which call.
        method: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It is known to answer nothing at present, and was not asked: what was to be done is not done.
    #[error("bitcoind at {url} does not answer, and was not asked this: nothing was done. See whether it runs, what it writes, and whether it was stopped (`kill -CONT`), and ask again")]
    Silent {
        /// Where.
        url: String,
    },
    /// It answers, but not to us.
    #[error("bitcoind at {url} refuses the {credentials}: point `bitcoind.cookie` to the .cookie file in its data folder (regtest/.cookie or signet/.cookie), or set `bitcoind.user` and `bitcoind.password` as in its bitcoin.conf")]
    Unauthorised {
        /// Where.
        url: String,
        /// What was shown, without a secret.
        credentials: String,
    },
    /// It knows us, and forbids this question.
    #[error("bitcoind at {url} forbids `{method}` (HTTP 403): name it in the `rpcwhitelist` of this user in its bitcoin.conf, or this machine in its `rpcallowip`")]
    Forbidden {
        /// Where.
        url: String,
        /// Which call.
        method: &'static str,
    },
    /// The cookie file cannot be used.
    #[error("cookie file {path} cannot be used ({reason}): bitcoind writes it while it runs, into its data folder (regtest/.cookie or signet/.cookie); correct `bitcoind.cookie`, or set `bitcoind.user` and `bitcoind.password`")]
    Cookie {
        /// The configured path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// bitcoind is still starting.
    #[error("bitcoind at {url} is starting up ({message}): try again in a moment")]
    WarmingUp {
        /// Where.
        url: String,
        /// Its own words.
        message: String,
    },
    /// It has more questions before it than it takes, or what stands before it has no connection to it. Nothing was done.
    #[error("bitcoind at {url} takes no more questions at the moment (HTTP 503): it is asked again; if that lasts, find out who asks it so much, or set a larger `rpcworkqueue` and `rpcthreads` in its bitcoin.conf")]
    Busy {
        /// Where.
        url: String,
    },
    /// A network this version does not serve.
    #[error("network `{network}` is refused: this is a first version whose contracts have not been reviewed for real money; use regtest or signet")]
    NetworkRefused {
        /// The configured network.
        network: String,
    },
    /// The node is on another network.
    #[error("bitcoind at {url} is on `{found}` but `network` is `{configured}`: correct one of the two")]
    WrongNetwork {
        /// Where.
        url: String,
        /// What the configuration says.
        configured: String,
        /// What bitcoind says.
        found: String,
    },
    /// Confirmed transactions cannot be looked up.
    #[error("bitcoind at {url} has no transaction index: start it with -txindex=1 (and without -prune)")]
    NoTransactionIndex {
        /// Where.
        url: String,
    },
    /// Confirmed transactions cannot all be looked up yet.
    #[error("bitcoind at {url} builds its transaction index, and is at block {height}: wait until it is done")]
    IndexBehind {
        /// Where.
        url: String,
        /// How far it is.
        height: u64,
    },
    /// A configuration value out of range.
    #[error("`{field}` is {value}: it must be {right}")]
    Config {
        /// Its name in the configuration file.
        field: &'static str,
        /// What it says.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// Nothing that pays what this node may pay would relay.
    #[error("`[fees] cap` is {cap} sat/vB, and bitcoind takes nothing that pays less than {minimum}: nothing this node pays for would relay, so nothing is signed; raise `[fees] cap` to {minimum} at least in hypothec.toml and start the node again, or wait until bitcoind takes less")]
    CapBelowMinimum {
        /// As configured, sat/vB.
        cap: u64,
        /// What bitcoind takes at least, sat/vB, rounded up.
        minimum: u64,
    },
    /// bitcoind refused the call itself.
    #[error("bitcoind refuses `{method}`: {message} (code {code})")]
    Refused {
        /// Which call.
        method: &'static str,
        /// bitcoind's error code.
        code: i32,
        /// bitcoind's own words.
        message: String,
    },
    /// The answer is not what this call returns.
    #[error("bitcoind's answer to `{method}` cannot be read ({reason}): is `bitcoind.url` really a bitcoind of version 28 or later?")]
    Answer {
        /// Which call.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A transaction was refused, as one is too that was taken before and whose outputs are spent, and which of the two could
    /// not be asked.
    #[error("bitcoind refuses transaction {txid} ({refusal}), and whether it has it already cannot be asked: {why}")]
    Unsure {
        /// Which.
        txid: Txid,
        /// bitcoind's own words, cleaned.
        refusal: String,
        /// What kept it from being asked.
        why: Box<Error>,
    },
    /// A transaction was refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

impl Error {
    /// True where trying the same again later can help: the node is away, busy or starting.
    pub fn is_temporary(&self) -> bool {
        use Error::{Busy, Cookie, IndexBehind, Silent, TimedOut, Unreachable, WarmingUp};
        if let Error::Unsure { why, .. } = self {
            return why.is_temporary();
        }
        let is_away = matches!(self, Unreachable { .. } | TimedOut { .. } | Silent { .. } | Cookie { .. });
        is_away || matches!(self, WarmingUp { .. } | Busy { .. } | IndexBehind { .. })
    }

    /// True where bitcoind may have done what it was asked, though it did not say so: its answer was lost, or cannot be read.
    pub fn may_be_done(&self) -> bool {
        use Error::{Answer, TimedOut, Unreachable, Unsure};
        matches!(self, Unreachable { .. } | TimedOut { .. } | Answer { .. } | Unsure { .. })
    }

    /// The refusal, where the transaction itself was refused.
    pub fn rejection(&self) -> Option<&Rejected> {
        match self {
            Error::Rejected(rejected) => Some(rejected),
            _ => None,
        }
    }
}
