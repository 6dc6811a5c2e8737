//! Two nodes in one process on a real bitcoind and a real oracle: a loan from quote to close.

#![allow(clippy::unwrap_used)]

use bitcoin::Amount;
use hypothec::contract::repay::Source;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::loan::policy::Policy;
use hypothec::loan::LoanId;
use hypothec::node::config::{Choices, Config};
use hypothec::node::data::{new_words, DataFolder};
use hypothec::node::view::{Balance, ConnectRequest, LoanView, OracleRequest, QuoteRequest, QuoteView, SendRequest};
use hypothec::node::{self, Handle, Running};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon;
use hypothec_oracle::units::Time;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// 9 March 2020, 00:00 UTC.
const START: Time = Time(1_583_712_000);
const HOUR: u32 = 3_600;

struct World {
    bitcoind: BitcoindProcess,
    oracle: Option<daemon::Oracle>,
    lender: Running,
    borrower: Running,
    dir: TempDir,
    now: Time,
}

async fn start_node(dir: &Path, name: &str, bitcoind: &BitcoindProcess, clock: &Path) -> Running {
    let path = dir.join(name);
    let choices = Choices {
        network: "regtest".parse().unwrap(),
        bitcoind_url: Some(bitcoind.rpc_url().to_owned()),
        bitcoind_cookie: Some(bitcoind.cookie_file()),
        peer_listen: Some("127.0.0.1:0".into()),
        api_listen: Some("127.0.0.1:0".into()),
    };
    if !path.exists() {
        DataFolder::make(&path, &new_words().unwrap(), &choices.text(), |_| Ok(())).unwrap();
    }
    node::start(Config::load(&path, Some(clock.to_owned())).unwrap()).await.unwrap()
}

impl World {
    async fn new() -> World {
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
            data,
            listen: "127.0.0.1:0".parse().unwrap(),
            network: daemon::Network::Regtest,
            feed: daemon::FeedChoice::Replay(prices),
            clock: Clock::file(&clock),
        })
        .await
        .unwrap();
        let lender = start_node(dir.path(), "lender", &bitcoind, &clock).await;
        let borrower = start_node(dir.path(), "borrower", &bitcoind, &clock).await;
        for node in [&lender, &borrower] {
            node.handle.add_oracle(OracleRequest { url: oracle.url(), pubkey: None }).await.unwrap();
            let address = node.handle.new_address().await.unwrap().address;
            let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
            bitcoind.fund(&address.assume_checked(), Amount::from_sat(300_000_000)).await.unwrap();
        }
        let policy = Policy { oracles: vec![oracle.key], ..Policy::default() };
        lender.handle.set_policy(policy).await.unwrap();
        let world = World { bitcoind, oracle: Some(oracle), lender, borrower, dir, now: START };
        world.mine(1).await;
        let lender = world.lender_address();
        world.borrower.handle.connect(ConnectRequest { address: lender }).await.unwrap();
        world
    }

    fn lender_address(&self) -> String {
        format!("{}@{}", self.lender.node_id, self.lender.listening.unwrap())
    }

    async fn settle(&self) {
        let height = self.bitcoind.height().await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut before = None;
        loop {
            let mut readings = Vec::new();
            for node in [&self.lender, &self.borrower] {
                let s = node.handle.status().await.unwrap();
                readings.push((s.clock == self.now.0 && s.height == height && s.idle, s.turns));
            }
            if before.as_ref() == Some(&readings) && readings.iter().all(|(idle, _)| *idle) {
                return;
            }
            before = Some(readings);
            let statuses = [self.lender.handle.status().await.unwrap(), self.borrower.handle.status().await.unwrap()];
            assert!(Instant::now() < deadline, "not idle at {}: {statuses:#?}", self.now);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn mine(&self, blocks: u32) {
        self.bitcoind.mine(blocks).await.unwrap();
        self.settle().await;
    }

    async fn advance(&mut self, to: Time) {
        self.now = to;
        self.bitcoind.set_mock_time(to).await.unwrap();
        self.bitcoind.mine(6).await.unwrap();
        Clock::set_file(&self.dir.path().join("clock"), to).unwrap();
        self.settle().await;
    }

    async fn quote(&self, principal_cents: u64, days: u32) -> QuoteView {
        let request =
            QuoteRequest { lender: self.lender_address(), principal_cents, collateral_sats: 100_000_000, days };
        self.borrower.handle.quote(request).await.unwrap()
    }

    /// An active loan.
    async fn open(&self, principal_cents: u64, days: u32) -> LoanId {
        let quote = self.quote(principal_cents, days).await;
        let id = self.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.settle().await;
            let loan = self.borrower.handle.loan(id).await.unwrap();
            if loan.stage == Stage::Active && loan.confirmations.0 >= loan.confirmations.1 {
                return id;
            }
            assert!(!matches!(loan.stage, Stage::Cancelled { .. }), "{loan:#?}");
            assert!(Instant::now() < deadline, "{loan:#?}");
            self.mine(1).await;
        }
    }

    async fn both(&self, id: LoanId) -> [LoanView; 2] {
        [loan(&self.borrower.handle, id).await, loan(&self.lender.handle, id).await]
    }

    async fn closed(&self, id: LoanId) -> [LoanView; 2] {
        let deadline = Instant::now() + Duration::from_secs(60);
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

async fn loan(handle: &Handle, id: LoanId) -> LoanView {
    handle.loan(id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_borrower_repays_early_from_its_wallet_and_both_record_the_same_exit() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    let day_later = world.now.plus(24 * HOUR).unwrap();
    world.advance(day_later).await;
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.settle().await;
    let both = world.closed(id).await;
    for view in both {
        let ended = view.ended.unwrap();
        assert_eq!(ended.exit, Some(Exit::Repaid));
        assert_eq!(ended.returned_to_borrower_sats, 100_000_000);
        assert!(ended.price_cents.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_without_a_coin_has_the_lender_propose_and_repays_from_the_collateral() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    let elsewhere = world.lender.handle.new_address().await.unwrap().address;
    world.borrower.handle.send(SendRequest { address: elsewhere, sats: None }).await.unwrap();
    world.mine(1).await;
    assert_eq!(world.borrower.handle.balance().await.unwrap(), Balance::default());
    world.advance(START.plus(HOUR).unwrap()).await;
    world.borrower.handle.repay(id, Source::Collateral).await.unwrap();
    let [borrower, _] = world.closed(id).await;
    let ended = borrower.ended.unwrap();
    assert_eq!(ended.exit, Some(Exit::Repaid));
    let after = world.borrower.handle.balance().await.unwrap();
    assert_eq!(after.confirmed_sats, ended.returned_to_borrower_sats);
    // Fourteen days of interest are the least; the fee paid ahead covers the fee of this transaction.
    let price = ended.price_cents.unwrap();
    let owed = (ended.owed_cents * 100_000_000).div_ceil(price);
    assert_eq!(ended.paid_to_lender_sats, owed + 1_000);
    assert!(ended.returned_to_borrower_sats >= 100_000_000 - owed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crash_touches_a_level_and_the_surplus_goes_back() {
    let mut world = World::new().await;
    let id = world.open(380_000, 30).await;
    let view = loan(&world.borrower.handle, id).await;
    assert!(view.level_today.is_some() && view.level_next.is_some());
    // 12 March 2020, 12:00: the ten o'clock bar fell from 7,342 to 5,965 dollars.
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    for hour in 1..=24 {
        world.advance(START.plus((3 * 24 + hour) * HOUR).unwrap()).await;
        if loan(&world.borrower.handle, id).await.ended.is_some() {
            break;
        }
    }
    let both = world.closed(id).await;
    for view in both {
        let ended = view.ended.unwrap();
        assert_eq!(ended.exit, Some(Exit::Liquidated));
        assert!(ended.returned_to_borrower_sats > 0);
        assert_eq!(ended.paid_to_lender_sats + ended.returned_to_borrower_sats, 100_001_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_anything_and_the_fixing_settles() {
    let mut world = World::new().await;
    let id = world.open(300_000, 2).await;
    world.advance(START.plus(24 * HOUR).unwrap()).await;
    world.advance(START.plus(48 * HOUR).unwrap()).await;
    let both = world.closed(id).await;
    for view in both {
        let ended = view.ended.unwrap();
        assert_eq!(ended.exit, Some(Exit::Matured));
        assert!(ended.price_cents.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_falls_silent_and_the_fallback_settles() {
    let mut world = World::new().await;
    let id = world.open(300_000, 2).await;
    world.oracle.take().unwrap().stop().await.unwrap();
    world.advance(START.plus(24 * HOUR).unwrap()).await;
    for day in 2..=33 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    let both = world.closed(id).await;
    for view in both {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::FellBack));
    }
}
