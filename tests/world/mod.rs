//! A world in one process: a real bitcoind, a real oracle, a lender and a borrower node.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

pub mod door;
pub mod elsewhere;
pub mod lender;
pub mod liar;
pub mod restoring;
pub mod stranger;

use bitcoin::key::XOnlyPublicKey;
use bitcoin::Amount;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::policy::Policy;
use hypothec::loan::LoanId;
use hypothec::node::config::{Choices, Config};
use hypothec::node::data::{new_words, DataFolder};
use hypothec::node::view::{ConnectRequest, LoanView, OracleRequest, QuoteRequest, QuoteView};
use hypothec::node::{self, Handle, Running};
use hypothec::protocol::Stage;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon;
use hypothec_oracle::units::Time;
use std::path::Path;
use std::time::{Duration, Instant};
use stranger::Ground;
use tempfile::TempDir;

/// 9 March 2020, 00:00 UTC.
pub const START: Time = Time(1_583_712_000);
pub const HOUR: u32 = 3_600;

pub struct World {
    pub bitcoind: BitcoindProcess,
    pub oracle: Option<daemon::Oracle>,
    pub lender: Running,
    pub borrower: Running,
    pub dir: TempDir,
    pub now: Time,
}

pub async fn start_node(dir: &Path, name: &str, bitcoind: &BitcoindProcess, clock: &Path) -> Running {
    let path = dir.join(name);
    let choices = Choices {
        network: "regtest".parse().unwrap(),
        bitcoind_url: Some(bitcoind.rpc_url().to_owned()),
        bitcoind_cookie: Some(bitcoind.cookie_file()),
        peer_listen: Some("127.0.0.1:0".into()),
        announce: None,
        api_listen: Some("127.0.0.1:0".into()),
    };
    if !path.exists() {
        DataFolder::make(&path, &new_words().unwrap(), &choices.text(), |_| Ok(())).unwrap();
    }
    node::start(Config::load(&path, Some(clock.to_owned())).unwrap()).await.unwrap()
}

impl World {
    pub async fn new() -> World {
        World::hearing(async |_, oracle, _| oracle.url()).await
    }

    /// A world in which each node, called `lender` and `borrower`, asks its oracle at the URL that `at` says.
    pub async fn hearing(at: impl AsyncFnMut(&str, &daemon::Oracle, &Path) -> String) -> World {
        World::publishing(Vec::new(), at).await
    }

    /// The same, with an oracle that publishes on these relays, and nodes that have them for mirrors.
    pub async fn publishing(
        relays: Vec<String>,
        mut at: impl AsyncFnMut(&str, &daemon::Oracle, &Path) -> String,
    ) -> World {
        let _ = tracing_subscriber::fmt().with_test_writer().with_env_filter("hypothec=info").try_init();
        let dir = tempfile::tempdir().unwrap();
        let clock = dir.path().join("clock");
        Clock::set_file(&clock, START).unwrap();
        let options = Options { mock_time: Some(START), ..Options::default() };
        let bitcoind = BitcoindProcess::start(&dir.path().join("bitcoind"), options).await.unwrap();
        let data = dir.path().join("oracle");
        daemon::init(&data).unwrap();
        let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/prices-2020-03.csv");
        let oracle = daemon::start(daemon::Config {
            data: data.clone(),
            listen: "127.0.0.1:0".parse().unwrap(),
            network: daemon::Network::Regtest,
            feed: daemon::FeedChoice::Replay(prices),
            clock: Clock::file(&clock),
            limits: daemon::Limits::default(),
            operating: daemon::Operating { relays: relays.clone(), ..daemon::Operating::default() },
            replicas: daemon::Replicas::default(),
        })
        .await
        .unwrap();
        let lender = start_node(dir.path(), "lender", &bitcoind, &clock).await;
        let borrower = start_node(dir.path(), "borrower", &bitcoind, &clock).await;
        for (name, node) in [("lender", &lender), ("borrower", &borrower)] {
            let url = at(name, &oracle, &data).await;
            node.handle.add_oracle(OracleRequest { url, mirrors: relays.clone(), pubkey: None }).await.unwrap();
            let address = node.handle.new_address().await.unwrap().address;
            let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
            bitcoind.fund(&address.assume_checked(), Amount::from_sat(300_000_000)).await.unwrap();
        }
        let policy = Policy { oracles: vec![oracle.key], ..Policy::default() };
        lender.handle.set_policy(policy).await.unwrap();
        let world = World { bitcoind, oracle: Some(oracle), lender, borrower, dir, now: START };
        world.mine(1).await;
        world.meet().await;
        world
    }

    /// The borrower dials the lender.
    async fn meet(&self) {
        let address = self.lender_address();
        self.borrower.handle.connect(ConnectRequest { address }).await.unwrap();
        until("the borrower to reach the lender", Duration::from_secs(60), || async {
            let peers = self.borrower.handle.peers().await.unwrap();
            peers.iter().any(|peer| peer.connected).then_some(()).ok_or_else(|| format!("{peers:?}"))
        })
        .await
        .unwrap();
    }

    /// With bitcoind stopped and started again with these arguments beside its own.
    pub async fn with_bitcoind(self, args: &[&str]) -> World {
        let World { bitcoind, oracle, lender, borrower, dir, now } = self;
        let port = bitcoind.rpc_url().rsplit(':').next().unwrap().parse().unwrap();
        bitcoind.stop().await.unwrap();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let options = Options { rpc_port: Some(port), mock_time: Some(now), args, ..Options::default() };
        let bitcoind = BitcoindProcess::start(&dir.path().join("bitcoind"), options).await.unwrap();
        World { bitcoind, oracle, lender, borrower, dir, now }
    }

    /// The same world, whose nodes have another line in the place of one of their configuration.
    pub async fn configured(self, line: &str, by: &str) -> World {
        let World { bitcoind, oracle, lender, borrower, dir, now } = self;
        let mut nodes = Vec::new();
        for (name, node) in [("lender", lender), ("borrower", borrower)] {
            node.stop().await.unwrap();
            let file = dir.path().join(name).join("hypothec.toml");
            let text = std::fs::read_to_string(&file).unwrap();
            let set = text.replace(&format!("\n{line}\n"), &format!("\n{by}\n"));
            assert_ne!(set, text);
            std::fs::write(&file, set).unwrap();
            nodes.push(start_node(dir.path(), name, &bitcoind, &dir.path().join("clock")).await);
        }
        let [lender, borrower] = <[Running; 2]>::try_from(nodes).unwrap_or_else(|_| panic!("two nodes"));
        let world = World { bitcoind, oracle, lender, borrower, dir, now };
        world.meet().await;
        world
    }

    /// Time goes on and no block comes.
    pub async fn wait_until(&mut self, to: Time) {
        self.now = to;
        self.bitcoind.set_mock_time(to).await.unwrap();
        Clock::set_file(&self.dir.path().join("clock"), to).unwrap();
        self.settle().await;
    }

    pub fn lender_address(&self) -> String {
        format!("{}@{}", self.lender.node_id, self.lender.listening.unwrap())
    }

    pub async fn settle(&self) {
        let height = self.bitcoind.height().await.unwrap();
        let before = std::sync::Mutex::new(None);
        until("both nodes to be idle", Duration::from_secs(60), || async {
            let (mut readings, mut statuses) = (Vec::new(), Vec::new());
            for node in [&self.lender, &self.borrower] {
                let s = node.handle.status().await.unwrap();
                // What a node makes itself is never another's.
                let is_alarm =
                    |told: &String| told.contains("seen on the chain") || told.contains("signed before the restore");
                assert!(!s.troubles.iter().any(is_alarm), "{:?}", s.troubles);
                let seen = s.mempool as usize == self.bitcoind.mempool_len().await.unwrap();
                readings.push((s.clock == self.now.0 && s.height == height && s.idle && seen, s.turns));
                statuses.push(s);
            }
            let idle = readings.iter().all(|(idle, _)| *idle);
            let same = before.lock().unwrap().replace(readings.clone()) == Some(readings);
            if idle && same {
                Ok(())
            } else {
                Err(format!("at {} they are {statuses:#?}", self.now))
            }
        })
        .await
        .unwrap();
    }

    pub async fn mine(&self, blocks: u32) {
        self.bitcoind.mine(blocks).await.unwrap();
        self.settle().await;
    }

    pub async fn advance(&mut self, to: Time) {
        self.now = to;
        self.bitcoind.set_mock_time(to).await.unwrap();
        self.bitcoind.mine(6).await.unwrap();
        Clock::set_file(&self.dir.path().join("clock"), to).unwrap();
        self.settle().await;
    }

    pub async fn quote(&self, principal_cents: u64, days: u32) -> QuoteView {
        self.borrower.handle.quote(self.request(principal_cents, days)).await.unwrap()
    }

    /// The lender's money in so many coins of one bitcoin more: each can be lent while others wait for a block.
    pub async fn give_lender_coins(&self, count: usize) {
        for _ in 0..count {
            let address = self.lender.handle.new_address().await.unwrap().address;
            let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
            self.bitcoind.fund(&address.assume_checked(), Amount::ONE_BTC).await.unwrap();
        }
        self.mine(1).await;
    }

    /// What the borrower's node asks the lender's for: dollars against a bitcoin.
    pub fn request(&self, principal_cents: u64, days: u32) -> QuoteRequest {
        QuoteRequest { lender: self.lender_address(), principal_cents, collateral_sats: 100_000_000, days }
    }

    /// An active loan.
    pub async fn open(&self, principal_cents: u64, days: u32) -> LoanId {
        let quote = self.quote(principal_cents, days).await;
        let id = self.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
        self.open_taken(id).await
    }

    /// A loan taken, until it is active.
    pub async fn open_taken(&self, id: LoanId) -> LoanId {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.settle().await;
            let loan = self.borrower.handle.loan(id).await.unwrap();
            if loan.stage == Stage::Active && loan.confirmations.0 >= loan.confirmations.1 {
                return id;
            }
            assert!(!matches!(loan.stage, Stage::Cancelled), "{loan:#?}");
            assert!(Instant::now() < deadline, "{loan:#?}");
            self.mine(1).await;
        }
    }

    pub async fn both(&self, id: LoanId) -> [LoanView; 2] {
        [loan(&self.borrower.handle, id).await, loan(&self.lender.handle, id).await]
    }

    pub async fn closed(&self, id: LoanId) -> [LoanView; 2] {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            self.mine(1).await;
            let both = self.both(id).await;
            if both.iter().all(|loan| loan.stage == Stage::Closed) {
                return both;
            }
            assert!(Instant::now() < deadline, "{both:#?}");
        }
    }
}

impl Ground for World {
    fn bitcoind(&self) -> &BitcoindProcess {
        &self.bitcoind
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn now(&self) -> Time {
        self.now
    }

    fn lender(&self) -> String {
        self.lender_address()
    }

    fn oracle(&self) -> (String, XOnlyPublicKey) {
        let oracle = self.oracle.as_ref().unwrap();
        (oracle.url(), oracle.key)
    }

    async fn stage(&self, id: LoanId) -> Result<Stage, String> {
        self.lender.handle.loan(id).await.map(|loan| loan.stage).map_err(|error| error.message)
    }
}

pub async fn loan(handle: &Handle, id: LoanId) -> LoanView {
    handle.loan(id).await.unwrap()
}

/// What a node says stands in the way.
pub async fn troubles(node: &Running) -> String {
    node.handle.status().await.unwrap().troubles.join("; ")
}

/// Waits until that is right.
pub async fn until_troubles(node: &Running, what: &str, right: impl Fn(&str) -> bool) -> String {
    until(what, PATIENCE, || async {
        let troubles = troubles(node).await;
        right(&troubles).then_some(troubles.clone()).ok_or(troubles)
    })
    .await
    .unwrap()
}
