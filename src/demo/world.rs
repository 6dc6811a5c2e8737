//! A small world of its own: one bitcoind, one oracle, a lender and a borrower, and a clock that stands still.

use super::bitcoind::{BitcoindProcess, Options};
use super::conductor::{Conductor, Watched};
use super::party::{Node, Oracle};
use super::prices::Prices;
use super::wait::{until, PATIENCE};
use crate::loan::policy::Policy;
use crate::loan::terms::LoanId;
use crate::node::view::{ConnectRequest, LoanView, OracleRequest, QuoteRequest, QuoteView};
use crate::protocol::Stage;
use anyhow::Context;
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount, Network};
use hypothec_oracle::units::{Time, HOUR};
use std::path::{Path, PathBuf};

/// The most blocks a negotiation may take: the lender's coin, funding, and confirmations of both.
const MOST_BLOCKS: u32 = 24;

/// How a world begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The `hypothec` program.
    pub program: PathBuf,
    /// The folder everything lives in.
    pub folder: PathBuf,
    /// The first moment.
    pub begin: Time,
    /// What the oracle will say.
    pub prices: Prices,
    /// What further oracles will say. With any of them, loans rest on all, and two must agree.
    pub further: Vec<Prices>,
    /// Coins the lender begins with, in sats.
    pub lender_coins: Vec<u64>,
    /// Coins the borrower begins with, in sats.
    pub borrower_coins: Vec<u64>,
}

/// All its processes. Everything ends when it is dropped.
#[derive(Debug)]
pub struct World {
    /// The chain.
    pub bitcoind: BitcoindProcess,
    /// The oracle.
    pub oracle: Oracle,
    /// Further oracles.
    pub further: Vec<Oracle>,
    /// The lender's node.
    pub lender: Node,
    /// The borrower's node.
    pub borrower: Node,
    conductor: Conductor,
}

impl World {
    /// Starts everybody, gives them coins, and makes the oracle known to both: when this returns, quotes can be asked.
    ///
    /// # Errors
    /// With who did not start, and why.
    pub async fn start(setup: Setup) -> anyhow::Result<World> {
        let folder = setup.folder.as_path();
        let clock = folder.join("clock");
        let conductor = Conductor::new(&clock, setup.begin)?;
        let options = Options { mock_time: Some(setup.begin), ..Options::default() };
        let bitcoind = BitcoindProcess::start(&folder.join("bitcoind"), options).await?;
        let program = setup.program.as_path();
        let oracle = Oracle::start(program, folder, write_prices(folder, &setup.prices)?, &clock).await?;
        let mut further = Vec::with_capacity(setup.further.len());
        for (index, prices) in setup.further.iter().enumerate() {
            let own = folder.join(format!("oracle-{}", index.saturating_add(2)));
            std::fs::create_dir_all(&own).with_context(|| format!("make {}", own.display()))?;
            further.push(Oracle::start(program, &own, write_prices(&own, prices)?, &clock).await?);
        }
        let mut lender = Node::new("lender", program, folder, &bitcoind, &clock).await?;
        let mut borrower = Node::new("borrower", program, folder, &bitcoind, &clock).await?;
        lender.start(&[]).await?;
        borrower.start(&[]).await?;
        let mut world = World { bitcoind, oracle, further, lender, borrower, conductor };
        world.introduce().await?;
        world.give(&setup.lender_coins, &setup.borrower_coins).await?;
        Ok(world)
    }

    /// The oracles' keys, pinned by both, and allowed by the lender's policy; and the borrower dials the lender.
    async fn introduce(&self) -> anyhow::Result<()> {
        let mut oracles = Vec::new();
        for oracle in self.oracles() {
            let request = OracleRequest { url: oracle.url(), mirrors: Vec::new(), pubkey: None };
            let known = self.lender.client()?.add_oracle(&request).await?;
            let request = OracleRequest { pubkey: Some(known.pubkey), ..request };
            self.borrower.client()?.add_oracle(&request).await?;
            oracles.push(known.pubkey);
        }
        let threshold = if self.further.is_empty() { 1 } else { 2 };
        let policy = Policy { oracles, threshold, ..Policy::default() };
        self.lender.client()?.set_policy(&policy).await?;
        self.dial().await
    }

    /// Every oracle.
    pub fn oracles(&self) -> impl Iterator<Item = &Oracle> {
        [&self.oracle].into_iter().chain(&self.further)
    }

    /// Has the borrower dial the lender now, whatever pause it keeps between tries, and waits until they hear each
    /// other.
    ///
    /// # Errors
    /// When they do not.
    pub async fn dial(&self) -> anyhow::Result<()> {
        let address = self.lender_address().await?;
        self.borrower.client()?.connect(&ConnectRequest { address }).await?;
        self.connected().await
    }

    /// Waits until the two nodes hear each other.
    ///
    /// # Errors
    /// When they do not.
    pub async fn connected(&self) -> anyhow::Result<()> {
        let clients = [self.borrower.client()?, self.lender.client()?];
        until("borrower and lender to be connected", PATIENCE, || async move {
            for client in clients {
                let status = client.status().await.map_err(|error| format!("{error:#}"))?;
                if status.peers_connected == 0 {
                    return Err(format!("node {} has no peer", status.node_id));
                }
            }
            Ok(())
        })
        .await
    }

    async fn give(&mut self, lender: &[u64], borrower: &[u64]) -> anyhow::Result<()> {
        for (node, coins) in [(&self.lender, lender), (&self.borrower, borrower)] {
            for sats in coins {
                let text = node.client()?.new_address().await?.address;
                let address: Address<NetworkUnchecked> = text.parse()?;
                self.bitcoind.fund(&address.require_network(Network::Regtest)?, Amount::from_sat(*sats)).await?;
            }
        }
        self.mine(1).await
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.conductor.now()
    }

    /// The clock file.
    pub fn clock_file(&self) -> &Path {
        self.conductor.clock_file()
    }

    /// Everybody who runs.
    fn watched(&self) -> Vec<Watched> {
        self.oracles().filter_map(Oracle::watched).chain(self.lender.watched()).chain(self.borrower.watched()).collect()
    }

    /// See [`Conductor::advance_to`].
    ///
    /// # Errors
    /// When somebody does not catch up.
    pub async fn advance_to(&mut self, to: Time) -> anyhow::Result<()> {
        let watched = self.watched();
        self.conductor.advance_to(&self.bitcoind, &watched, to).await
    }

    /// See [`Conductor::walk_to`].
    ///
    /// # Errors
    /// When somebody does not catch up.
    pub async fn walk_to(&mut self, to: Time, step: u32) -> anyhow::Result<()> {
        let watched = self.watched();
        self.conductor.walk_to(&self.bitcoind, &watched, to, step).await
    }

    /// That many hours, one by one.
    ///
    /// # Errors
    /// When somebody does not catch up.
    pub async fn hours(&mut self, hours: u32) -> anyhow::Result<()> {
        let to = hours.checked_mul(HOUR).and_then(|seconds| self.now().plus(seconds)).context("the end of time")?;
        self.walk_to(to, HOUR).await
    }

    /// Mines while time stands still.
    ///
    /// # Errors
    /// When somebody does not catch up.
    pub async fn mine(&mut self, blocks: u32) -> anyhow::Result<()> {
        let watched = self.watched();
        self.conductor.mine(&self.bitcoind, &watched, blocks).await
    }

    /// As [`World::mine`], while one node is asleep: waits for everybody else, before and after.
    ///
    /// # Errors
    /// When somebody else does not catch up.
    pub async fn mine_without(&mut self, asleep: &str, blocks: u32) -> anyhow::Result<()> {
        let mut watched = self.watched();
        watched.retain(|each| !matches!(each, Watched::Node { name, .. } if name == asleep));
        self.conductor.quiet(&self.bitcoind, &watched).await?;
        self.conductor.mine(&self.bitcoind, &watched, blocks).await
    }

    /// Waits until nobody has anything left to do.
    ///
    /// # Errors
    /// When somebody has.
    pub async fn quiet(&self) -> anyhow::Result<()> {
        self.conductor.quiet(&self.bitcoind, &self.watched()).await
    }

    /// How the borrower reaches the lender: `pubkey@host:port`.
    ///
    /// # Errors
    /// When the lender does not listen.
    pub async fn lender_address(&self) -> anyhow::Result<String> {
        let status = self.lender.client()?.status().await?;
        let listen = status.listen.context("the lender's node does not listen for peers")?;
        Ok(match listen.contains('@') {
            true => listen,
            false => format!("{}@{listen}", status.node_id),
        })
    }

    /// Asks the lender for a quote.
    ///
    /// # Errors
    /// With the refusal.
    pub async fn quote(&self, principal_cents: u64, collateral_sats: u64, days: u32) -> anyhow::Result<QuoteView> {
        let lender = self.lender_address().await?;
        let request = QuoteRequest { lender, principal_cents, collateral_sats, days };
        self.borrower.client()?.quote(&request).await
    }

    /// Takes a quote and mines until the loan is active and confirmed on both sides.
    ///
    /// # Errors
    /// When it is cancelled, or does not come to be.
    pub async fn borrow(&mut self, quote: &QuoteView) -> anyhow::Result<LoanView> {
        let id = self.borrower.client()?.borrow(quote.loan_id).await?.loan_id;
        self.until_active(id).await
    }

    /// Mines until the loan is active and confirmed on both sides; the borrower's view of it.
    ///
    /// # Errors
    /// When it is cancelled, or does not come to be.
    pub async fn until_active(&mut self, id: LoanId) -> anyhow::Result<LoanView> {
        let mut seen = String::new();
        for _ in 0..MOST_BLOCKS {
            self.quiet().await?;
            let views = self.loan(id).await?;
            if views.iter().all(is_active) {
                let [borrower, _] = views;
                return Ok(borrower);
            }
            seen = views.iter().map(describe).collect::<Vec<_>>().join("; ");
            let over = |view: &LoanView| matches!(view.stage, Stage::Cancelled | Stage::Closed);
            anyhow::ensure!(!views.iter().any(over), "loan {id} does not come to be: {seen}");
            self.mine(1).await?;
        }
        anyhow::bail!("loan {id} is not active after {MOST_BLOCKS} blocks: {seen}")
    }

    /// A loan as the borrower and the lender see it.
    ///
    /// # Errors
    /// When one of them does not know it.
    pub async fn loan(&self, id: LoanId) -> anyhow::Result<[LoanView; 2]> {
        Ok([self.borrower.client()?.loan(id).await?, self.lender.client()?.loan(id).await?])
    }

    /// Sats in the wallets of borrower and lender: free, unconfirmed and set aside.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn totals(&self) -> anyhow::Result<[u64; 2]> {
        let mut totals = [0; 2];
        for (total, node) in totals.iter_mut().zip([&self.borrower, &self.lender]) {
            let balance = node.client()?.balance().await?;
            let sats = balance.confirmed_sats.checked_add(balance.unconfirmed_sats);
            *total = sats.and_then(|sats| sats.checked_add(balance.reserved_sats)).context("a wallet of all coins")?;
        }
        Ok(totals)
    }

    /// Process ids of everybody who runs.
    pub fn ids(&self) -> Vec<u32> {
        let nodes = [self.lender.id(), self.borrower.id()];
        self.oracles().map(Oracle::id).chain(nodes).flatten().chain([self.bitcoind.id()]).collect()
    }

    /// Lets everything run on when this process ends.
    pub fn leave(self) {
        self.lender.leave();
        self.borrower.leave();
        self.oracle.leave();
        self.further.into_iter().for_each(Oracle::leave);
        self.bitcoind.leave();
    }
}

fn write_prices(folder: &Path, prices: &Prices) -> anyhow::Result<PathBuf> {
    let path = folder.join("prices.csv");
    std::fs::write(&path, prices.to_csv()).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn is_active(view: &LoanView) -> bool {
    view.stage == Stage::Active && view.confirmations.0 >= view.confirmations.1
}

fn describe(view: &LoanView) -> String {
    let (have, need) = view.confirmations;
    format!("the {} is {} with {have} of {need} confirmations", view.role, view.stage)
}
