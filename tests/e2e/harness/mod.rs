//! What the stories share: a world in a folder of its own, and words for what happens in it.

#[cfg(feature = "faults")]
pub mod crash;
#[cfg(feature = "faults")]
pub mod restarts;

use bitcoin::Txid;
use hypothec::chain::Chain;
use hypothec::contract::Role;
use hypothec::demo::prices::{Prices, MARCH_2020};
use hypothec::demo::report::{LoanLine, Settled, Wallets};
use hypothec::demo::world::{Setup, World};
use hypothec::loan::LoanId;
use hypothec::node::view::{LoanView, StatementLine};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::units::{Cents, Time, HOUR};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use tempfile::TempDir;

/// The most hours an exit may take to be final.
const MOST_HOURS: u32 = 24;
/// One bitcoin.
pub const BTC: u64 = 100_000_000;

/// A world and what was in the wallets when it began. Its logs are kept, and named, when a test fails.
pub struct Theatre {
    world: World,
    start: [u64; 2],
    folder: Option<TempDir>,
}

impl Theatre {
    /// At `begin`, with these prices to come.
    pub async fn open(begin: Time, prices: Prices) -> Theatre {
        let borrower = vec![BTC + 200_000, BTC + 200_000, BTC + 200_000, BTC];
        Theatre::with_coins(begin, vec![prices], vec![2 * BTC, BTC, BTC], borrower).await
    }

    /// With three oracles, each with its own prices to come; two must agree.
    pub async fn of_three(begin: Time, prices: [Prices; 3]) -> Theatre {
        Theatre::with_coins(begin, prices.to_vec(), vec![2 * BTC, BTC], vec![BTC + 200_000, BTC]).await
    }

    /// With coins for many small loans.
    #[cfg(feature = "faults")]
    pub async fn rich(begin: Time, prices: Prices) -> Theatre {
        Theatre::with_coins(begin, vec![prices], vec![BTC; 6], vec![BTC; 10]).await
    }

    async fn with_coins(
        begin: Time,
        mut prices: Vec<Prices>,
        lender_coins: Vec<u64>,
        borrower_coins: Vec<u64>,
    ) -> Theatre {
        let first = prices.remove(0);
        let folder = tempfile::Builder::new().prefix("hypothec-e2e-").tempdir().unwrap();
        let setup = Setup {
            program: env!("CARGO_BIN_EXE_hypothec").into(),
            folder: folder.path().to_path_buf(),
            begin,
            prices: first,
            further: prices,
            lender_coins,
            borrower_coins,
        };
        let world = match World::start(setup).await {
            Ok(world) => world,
            Err(error) => panic!("{error:#}; logs are in {}", folder.keep().display()),
        };
        let start = world.totals().await.unwrap();
        Theatre { world, start, folder: Some(folder) }
    }

    /// On the real prices of March 2020.
    pub async fn of_march(begin: Time) -> Theatre {
        Theatre::open(begin, Prices::parse(MARCH_2020).unwrap()).await
    }

    /// At noon of 10 January 2020, at $10,000 a bitcoin for ever.
    pub async fn at_rest() -> Theatre {
        Theatre::open(NOON, Prices::flat(NOON, 24 * 60, Cents(1_000_000))).await
    }

    /// An active loan on one bitcoin, confirmed on both sides.
    pub async fn lent(&mut self, dollars: u64, days: u32) -> LoanId {
        let quote = self.quote(dollars * 100, BTC, days).await.unwrap();
        self.borrow(&quote).await.unwrap().loan_id
    }

    /// The loan as the borrower and the lender see it.
    pub async fn both(&self, id: LoanId) -> [LoanView; 2] {
        self.loan(id).await.unwrap()
    }

    /// Goes on hour by hour until both say the loan is over.
    pub async fn until_closed(&mut self, id: LoanId) -> [LoanView; 2] {
        for _ in 0..MOST_HOURS {
            let both = self.both(id).await;
            if both.iter().all(|view| view.stage == Stage::Closed) {
                return both;
            }
            self.hours(1).await.unwrap();
        }
        panic!("not closed after {MOST_HOURS} hours: {:#?}", self.both(id).await);
    }

    /// The loan, closed by `exit`, read back from chain and wallets: both sides say the same and no sat is missing.
    pub async fn settled(&mut self, id: LoanId, exit: Exit) -> LoanLine {
        self.until_closed(id).await;
        let chain = Chain::connect(self.bitcoind.chain_config()).await.unwrap();
        let line = Settled::read(&self.world, &chain, "a story", id).await.unwrap().line;
        assert_eq!(line.exit, exit);
        self.statement_adds_up(id, &line).await;
        line
    }

    /// Both sides' statements: their dates in order, every fee divided to the sat, and the wallets' own changes.
    async fn statement_adds_up(&self, id: LoanId, line: &LoanLine) {
        let both = self.both(id).await;
        let [borrower, lender] = both.each_ref().map(|view| view.statement.clone().unwrap());
        let [ours, theirs] = [&borrower, &lender].map(|one| (one.change_sats.unwrap(), one.fees_sats.unwrap()));
        assert_eq!(i128::from(ours.0), line.borrower.change(), "{borrower:#?}");
        assert_eq!(i128::from(theirs.0), line.lender.change(), "{lender:#?}");
        let (principal, paid) = (line.principal_sats as i64, line.paid_to_lender_sats as i64 - 1_000);
        assert_eq!(ours.0, principal - paid - ours.1);
        assert_eq!(theirs.0, paid - principal - theirs.1);
        assert_eq!(ours.1 + theirs.1, line.fees_sats as i64, "{borrower:#?} {lender:#?}");
        assert_eq!(borrower.interest_cents, Some(line.owed_cents - both[0].principal_cents));
        let parts = |one: &StatementLine| (one.ours_sats.unwrap(), one.fee_sats.unwrap() as i64);
        for one in &borrower.transactions {
            // What both take part in is one transaction, whose fee is the two parts.
            if let Some(other) = lender.transactions.iter().find(|other| other.txid == one.txid) {
                assert_eq!(parts(one).0 + parts(other).0, parts(one).1, "{one:?} {other:?}");
            }
        }
        for (view, statement) in both.iter().zip([&borrower, &lender]) {
            // What was given back does not say when it was agreed.
            let (confirmed, ended) = (statement.confirmed.unwrap(), statement.ended.unwrap());
            assert!(statement.opened.is_none_or(|opened| opened <= confirmed), "{statement:?}");
            assert!(confirmed <= ended, "{statement:?}");
            let (worth, price) = (|sats: i64| sats as f64 * line.price_cents as f64 / 1e8, line.price_cents);
            assert_eq!(statement.ended_at_cents, Some(price));
            let paid = worth(paid) - both[0].principal_cents as f64;
            let exact = match view.role {
                Role::Borrower => -paid - worth(statement.fees_sats.unwrap()),
                Role::Lender => paid - worth(statement.fees_sats.unwrap()),
            };
            assert!((exact - statement.net_cents.unwrap() as f64).abs() <= 1.0, "{exact} {statement:?}");
            // And as a person is shown it.
            let data = if view.role == Role::Borrower { self.borrower.data() } else { self.lender.data() };
            let text = shown(data, &id.to_string());
            println!("{text}");
            let number = format!("{} sat", grouped(statement.change_sats.unwrap()));
            assert!(text.contains(&number) && text.lines().all(|line| line.chars().count() <= 80), "{number}\n{text}");
        }
    }

    /// Each wallet has changed by what the transactions of its loans did to it, to the sat, whether they came to be
    /// or not.
    pub async fn every_sat_is_explained(&self) {
        let end = self.totals().await.unwrap();
        for ((node, start), end) in [&self.borrower, &self.lender].into_iter().zip(self.start).zip(end) {
            let client = node.client().unwrap();
            let loans = client.loans().await.unwrap();
            let txids: BTreeSet<Txid> = loans.into_iter().flat_map(|loan| loan.transactions).collect();
            let mut change = 0i64;
            for txid in txids {
                // What never came to the chain did nothing.
                if let Ok(effect) = client.effect(txid).await {
                    change += effect.received_sats as i64 - effect.spent_sats as i64;
                }
            }
            assert_eq!(end as i64 - start as i64, change, "the {}'s wallet", node.name());
        }
    }

    /// What either node, in any of its lives, has said of a transaction that it did not make. In an honest story it made
    /// them all.
    fn called_foreign(&self) -> Vec<String> {
        let read = |log: &std::path::Path| std::fs::read_to_string(log).unwrap_or_default();
        let logs = [self.borrower.log(), self.lender.log()].map(read).concat();
        let said = ["this node did not make it", "signed it before it was restored"];
        let is_said = |line: &&str| said.iter().any(|what| line.contains(what));
        logs.lines().filter(is_said).map(str::to_owned).collect()
    }

    /// The wallets have changed by what these loans changed, to the sat.
    pub async fn nothing_else_happened(&self, loans: &[LoanLine]) -> Wallets {
        Wallets::of(self.start, self.totals().await.unwrap(), loans).unwrap()
    }
}

/// What `loan show` prints.
fn shown(data: &std::path::Path, id: &str) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hypothec"));
    let output = command.args(["loan", "show", id, "--data"]).arg(data).env_remove("COLUMNS").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// As people write it: `−1,234`.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let parts: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
    format!("{}{}", if number < 0 { "−" } else { "" }, parts.join(","))
}

/// 10 January 2020, 12:00 UTC.
pub const NOON: Time = Time(1_578_657_600);

/// Hours after a moment.
pub fn after(begin: Time, hours: u32) -> Time {
    begin.plus(hours * HOUR).unwrap()
}

/// Sats worth `cents` at `price`, rounded up.
pub fn sats_ceil(cents: u64, price: u64) -> u64 {
    u64::try_from((u128::from(cents) * u128::from(BTC)).div_ceil(price.into())).unwrap()
}

impl Deref for Theatre {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Theatre {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Drop for Theatre {
    fn drop(&mut self) {
        let foreign = self.called_foreign();
        if std::thread::panicking() || !foreign.is_empty() {
            if let Some(folder) = self.folder.take() {
                eprintln!("logs are in {}", folder.keep().display());
            }
        }
        assert!(foreign.is_empty() || std::thread::panicking(), "called another's: {foreign:#?}");
    }
}
