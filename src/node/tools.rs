//! What jobs work with: the outside, shared and locked where it must be.

use super::borrowing::Borrowing;
use super::exits::Exits;
use super::operators::KnownOperators;
use super::outgoing::Outgoing;
use super::proofs::Proofs;
use super::rotations::Rotations;
use super::statements::Statements;
use super::view::ErrorView;
use crate::chain::{self, Chain};
use crate::loan::units::{Cents, SatPerVb, Time};
use crate::oracle_client::OracleClient;
use crate::peer::PeerNet;
use crate::protocol::messages::{Quote, Refused};
use crate::protocol::ErrorCode;
use crate::settlement::deadline;
use crate::settlement::spot::{agreed_by_operators_floor, NoSpot};
use crate::store::Store;
use crate::wallet::{Seed, Wallet};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::PublicKey;
use bitcoin::Network;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::wire::SignedPrice;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// An oracle this node knows.
#[derive(Clone)]
pub struct Oracle {
    /// Speaks to it; its key is pinned.
    pub client: Arc<OracleClient>,
    /// The same for the watch, which nothing else may hold up.
    pub watch: Arc<OracleClient>,
    /// Its last price.
    pub spot: Option<SignedPrice>,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// Why its lows, as they were heard last, do not say what was touched: they are of an earlier time. Its price counts for
    /// nothing new meanwhile.
    pub unheard: Option<String>,
}

impl Oracle {
    /// An oracle asked through `client`, and what it said of the price already. On regtest time may be fast, and nobody
    /// counts requests.
    pub fn new(client: OracleClient, network: Network, spot: Option<SignedPrice>) -> Oracle {
        let client = if network == Network::Regtest { client.without_budget() } else { client };
        Oracle { watch: Arc::new(client.for_watch()), client: Arc::new(client), spot, trouble: None, unheard: None }
    }
}

/// A quote's way back to the one who asked.
pub type QuoteWaiters = HashMap<[u8; 32], oneshot::Sender<Result<Quote, Refused>>>;

/// The outside.
pub struct Tools {
    /// Regtest or signet.
    pub network: Network,
    /// This node's time.
    pub clock: Clock,
    /// The full node.
    pub chain: Chain,
    /// Our coins.
    pub wallet: Mutex<Wallet>,
    /// Our keys.
    pub seed: Seed,
    /// Our peers.
    pub net: PeerNet,
    /// Our log.
    pub store: Arc<dyn Store>,
    /// Our oracles.
    pub oracles: Mutex<BTreeMap<XOnlyPublicKey, Oracle>>,
    /// What is proved against oracles.
    pub proofs: Mutex<Proofs>,
    /// What oracles said of their next keys.
    pub rotations: Mutex<Rotations>,
    /// Which of their keys are one operator's.
    pub operators: Mutex<KnownOperators>,
    /// What we ask of loans we borrow.
    pub borrowing: Borrowing,
    /// Where others dial us, as configured.
    pub announce: Option<String>,
    /// Exits on their way.
    pub exits: Mutex<Exits>,
    /// Payments that may be out.
    pub outgoing: Mutex<Outgoing>,
    /// Quotes asked for and not yet answered.
    pub waiters: Mutex<QuoteWaiters>,
    /// Statements of loans that are over, as they were made last.
    pub statements: Statements,
}

/// Takes a lock; what a thread that died left behind is still consistent, since every change is one assignment.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a job came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Trying again may help: somebody is away, or something is not there yet.
    Later(String),
    /// The counterparty's doing: tell it, and give the loan up where that is still possible.
    Refuse {
        /// A stable word.
        code: ErrorCode,
        /// A sentence.
        message: String,
    },
}

impl Trouble {
    /// Something that may pass.
    pub fn later(error: impl ToString) -> Trouble {
        Trouble::Later(error.to_string())
    }

    /// Something the counterparty did or asked.
    pub fn refuse(code: ErrorCode, error: impl ToString) -> Trouble {
        Trouble::Refuse { code, message: error.to_string() }
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            Trouble::Later(message) | Trouble::Refuse { message, .. } => message,
        }
    }

    /// As an answer to a person.
    pub fn view(&self) -> ErrorView {
        let code = match self {
            Trouble::Later(_) => ErrorCode::Unavailable,
            Trouble::Refuse { code, .. } if ErrorCode::REACHING.contains(code) => *code,
            Trouble::Refuse { .. } => ErrorCode::Refused,
        };
        error(code, self.message())
    }
}

impl From<chain::Error> for Trouble {
    fn from(e: chain::Error) -> Trouble {
        Trouble::later(e)
    }
}

impl From<crate::wallet::Error> for Trouble {
    fn from(e: crate::wallet::Error) -> Trouble {
        Trouble::later(e)
    }
}

impl From<crate::oracle_client::OracleError> for Trouble {
    fn from(e: crate::oracle_client::OracleError) -> Trouble {
        Trouble::later(e)
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(e: anyhow::Error) -> Trouble {
        Trouble::Later(format!("{e:#}"))
    }
}

/// Puts one question to several oracles at once; the answers in their order. One that hangs delays no other's.
pub async fn ask_all<T, Q, A>(clients: Vec<Arc<OracleClient>>, question: Q) -> Vec<Result<T, Trouble>>
where
    T: Send + 'static,
    Q: Fn(Arc<OracleClient>) -> A,
    A: std::future::Future<Output = Result<T, Trouble>> + Send + 'static,
{
    let asked: Vec<_> = clients.into_iter().map(|client| tokio::spawn(question(client))).collect();
    let mut answers = Vec::with_capacity(asked.len());
    for answer in asked {
        answers.push(answer.await.unwrap_or_else(|e| Err(Trouble::later(e))));
    }
    answers
}

/// An error of the API.
pub fn error(code: ErrorCode, message: impl ToString) -> ErrorView {
    ErrorView { code: code.word().to_string(), message: message.to_string() }
}

impl Tools {
    /// The node's key as peers know it.
    pub fn node_id(&self) -> PublicKey {
        self.net.key()
    }

    /// The first block of our chain, as terms and offers name it.
    pub fn chain_hash(&self) -> [u8; 32] {
        bitcoin::blockdata::constants::ChainHash::using_genesis_block_const(self.network).to_bytes()
    }

    /// The client of a known oracle.
    pub fn oracle(&self, key: &XOnlyPublicKey) -> Result<Arc<OracleClient>, Trouble> {
        self.known(key, |oracle| oracle.client.clone())
    }

    /// The same for the watch alone.
    pub fn watched_oracle(&self, key: &XOnlyPublicKey) -> Result<Arc<OracleClient>, Trouble> {
        self.known(key, |oracle| oracle.watch.clone())
    }

    /// The first of these oracles that this node was never told how to reach.
    pub fn unknown_of(&self, keys: &[XOnlyPublicKey]) -> Option<XOnlyPublicKey> {
        let known = lock(&self.oracles);
        keys.iter().find(|key| !known.contains_key(*key)).copied()
    }

    fn known<T>(&self, key: &XOnlyPublicKey, pick: impl FnOnce(&Oracle) -> T) -> Result<T, Trouble> {
        lock(&self.oracles).get(key).map(pick).ok_or_else(|| {
            Trouble::refuse(
                ErrorCode::UnknownOracle,
                format!("oracle {key} is not one of ours: add it with `oracle add`"),
            )
        })
    }

    /// The clients of these oracles, in their order.
    pub fn clients(&self, keys: &[XOnlyPublicKey]) -> Result<Vec<Arc<OracleClient>>, Trouble> {
        keys.iter().map(|key| self.oracle(key)).collect()
    }

    /// Those of the oracles whose lows, as the watch last heard them, are of an earlier time, each with the sentence. Nobody
    /// can say what was touched by them, so they are silent in whatever is new.
    fn unheard(&self, keys: &[XOnlyPublicKey]) -> BTreeMap<XOnlyPublicKey, String> {
        let oracles = lock(&self.oracles);
        keys.iter().filter_map(|key| Some((*key, oracles.get(key)?.unheard.clone()?))).collect()
    }

    /// The price that these oracles' fresh signed prices make, asked for now; `threshold` of them must agree, and keys of
    /// one operator are one voice. One whose lows are old is silent.
    pub async fn spot(&self, keys: &[XOnlyPublicKey], threshold: usize) -> Result<Cents, Trouble> {
        let now = self.clock.now()?;
        let unheard = Arc::new(self.unheard(keys));
        let asked = ask_all(self.clients(keys)?, move |client| {
            let why = unheard.get(&client.key()).cloned();
            async move {
                if let Some(why) = why {
                    return Err(Trouble::Later(why));
                }
                let spot = client.spot_since(deadline::fresh_since(now)).await?;
                match deadline::is_fresh(spot.unix, now) {
                    true => Ok(spot.cents),
                    false => {
                        let (url, unix) = (client.url(), spot.unix);
                        Err(Trouble::Later(format!("oracle {url}: its last price is of {unix}, and it is {now}")))
                    }
                }
            }
        });
        let answers = asked.await;
        let said = keys.iter().zip(&answers).filter_map(|(key, answer)| Some((*key, *answer.as_ref().ok()?)));
        let fresh: Vec<(XOnlyPublicKey, Cents)> = said.collect();
        let first_trouble = || answers.iter().find_map(|answer| answer.as_ref().err().cloned());
        agreed_by_operators_floor(&fresh, keys, threshold, &self.operators()).map_err(|why| {
            match (why, first_trouble()) {
                (NoSpot::Silent { .. }, Some(trouble)) => trouble,
                _ => Trouble::later(format!("there is no price: {why}")),
            }
        })
    }

    /// The price that these oracles last said when the watch looked. Asks nobody: it is for what a peer asks for, and a peer
    /// must not make this node ask.
    ///
    /// # Errors
    /// When too few of them said one a minute ago at most, or they do not agree.
    pub fn watched_spot(&self, keys: &[XOnlyPublicKey], threshold: usize) -> Result<Cents, Trouble> {
        let now = self.clock.now()?;
        let unheard = self.unheard(keys);
        let fresh: Vec<(XOnlyPublicKey, Cents)> = {
            let oracles = lock(&self.oracles);
            let last = |key: &XOnlyPublicKey| oracles.get(key).and_then(|oracle| oracle.spot);
            let is_fresh = |spot: &SignedPrice| deadline::is_fresh(spot.unix, now);
            let heard = keys.iter().filter(|key| !unheard.contains_key(*key));
            heard.filter_map(|key| Some((*key, last(key).filter(is_fresh)?.cents))).collect()
        };
        let price = agreed_by_operators_floor(&fresh, keys, threshold, &self.operators());
        price.map_err(|why| match (why, unheard.into_values().next()) {
            (NoSpot::Silent { .. }, Some(unheard)) => Trouble::Later(unheard),
            (why, _) => Trouble::later(format!("there is no price: {why}")),
        })
    }

    /// The estimate, in whole sat/vB, rounded up.
    ///
    /// # Errors
    /// Where the cap is below what relays: nothing is agreed or signed by it.
    pub async fn fee_estimate(&self) -> Result<SatPerVb, Trouble> {
        Ok(SatPerVb(self.chain.fee_rate().await?.to_sat_per_vb_ceil()))
    }

    /// The same whatever the cap is: for what is judged, shown, or must go out.
    pub async fn capped_estimate(&self) -> Result<SatPerVb, Trouble> {
        Ok(SatPerVb(self.chain.capped_fee_rate().await?.to_sat_per_vb_ceil()))
    }

    /// The time.
    pub fn now(&self) -> Result<Time, Trouble> {
        Ok(self.clock.now()?)
    }
}
