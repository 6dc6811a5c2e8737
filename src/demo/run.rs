//! `hypothec demo`: the four stories on one machine, from the first block to the last sat.

use super::prices::Prices;
use super::report::{Document, Settled, Wallets};
use super::stories::{Plot, Story, BEGIN, REPAYS, SILENCE, STORIES};
use super::world::{Setup, World};
use crate::chain::Chain;
use crate::cli::{folded, Look};
use crate::contract::repay::Source;
use crate::loan::terms::{LoanId, FALLBACK_DELAY};
use crate::node::data::check_free;
use crate::node::view::RepayRequest;
use crate::protocol::Stage;
use anyhow::Context;
use hypothec_oracle::screen;
use hypothec_oracle::units::{Time, DAY, HOUR};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Coins the lender begins with: one for each loan.
const LENDER_COINS: [u64; 4] = [60_000_000; 4];
/// Coins the borrower begins with: one for each collateral with its fees, and one for what it owes beyond principal.
const BORROWER_COINS: [u64; 5] = [80_100_000, 100_100_000, 100_100_000, 90_100_000, 40_000_000];
/// The most hours an exit may take to become final.
const MOST_HOURS: u32 = 24;
/// How often the progress moves by itself.
const TICK: Duration = Duration::from_millis(120);

/// What `hypothec demo` can be told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON document on stdout and nothing else.
    #[arg(long)]
    pub json: bool,
    /// Leave everything running at the end, with the oracle restarted, and print how to talk to it.
    #[arg(long)]
    pub keep: bool,
    /// Where it plays: a folder that is new or empty, and stays. Else one that goes when it is over.
    #[arg(skip)]
    pub folder: Option<PathBuf>,
}

/// Plays the four stories. Everything it started has ended when this returns, unless `keep` is said.
///
/// # Errors
/// When anything does not happen as it should, down to one missing sat. The folder with everybody's logs is kept then
/// and named.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let folder = Ground::new(args.folder)?;
    let program = std::env::current_exe().context("find this program")?;
    let played = tokio::select! {
        played = play(folder.path(), program.clone()) => played,
        // Whoever stops it has seen enough: that is no failure, and nothing is left behind.
        () = told_to_stop() => {
            screen::tell(format_args!("The demo was told to stop; everything it started has ended."));
            return Ok(());
        }
    };
    match played {
        Ok((world, document, text)) => {
            match args.json {
                true => screen::say(format_args!("{}", serde_json::to_string_pretty(&document)?))?,
                false => {
                    screen::say(format_args!("{}", folded(&text, Look::of_stdout().width).trim_end_matches('\n')))?
                }
            }
            if args.keep {
                keep(world, folder.keep(), &program).await?;
            }
            Ok(())
        }
        Err(error) => Err(error.context(format!("the demo failed; logs are in {}", folder.keep().display()))),
    }
}

/// The folder it plays in.
enum Ground {
    /// One that a person named.
    Named(PathBuf),
    /// One that goes.
    Passing(tempfile::TempDir),
}

impl Ground {
    fn new(named: Option<PathBuf>) -> anyhow::Result<Ground> {
        let Some(path) = named else {
            let folder = tempfile::Builder::new().prefix("hypothec-demo-").tempdir();
            return Ok(Ground::Passing(folder.context("make a folder for the demo")?));
        };
        check_free(&path)?;
        std::fs::create_dir_all(&path).with_context(|| format!("make folder {} for the demo", path.display()))?;
        // Its processes run elsewhere.
        Ok(Ground::Named(path.canonicalize().with_context(|| format!("find {}", path.display()))?))
    }

    fn path(&self) -> &Path {
        match self {
            Ground::Named(path) => path,
            Ground::Passing(folder) => folder.path(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Ground::Named(path) => path,
            Ground::Passing(folder) => folder.keep(),
        }
    }
}

/// Ctrl-C or SIGTERM; then everything that was started must end too.
async fn told_to_stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        done = tokio::signal::ctrl_c() => if done.is_err() { std::future::pending().await },
        () = terminate => {},
    }
}

/// A loan of a story.
struct Cast {
    story: Story,
    id: LoanId,
}

/// The play and how far it has come.
struct Play {
    world: World,
    prices: Prices,
    cast: Vec<Cast>,
    bar: ProgressBar,
}

async fn play(folder: &Path, program: PathBuf) -> anyhow::Result<(World, Document, String)> {
    let began = Instant::now();
    let bar = progress();
    bar.set_message("starting bitcoind, the oracle, a lender and a borrower");
    let prices = Prices::real()?;
    let setup = Setup {
        program,
        folder: folder.to_path_buf(),
        begin: BEGIN,
        prices: prices.clone(),
        further: Vec::new(),
        lender_coins: LENDER_COINS.to_vec(),
        borrower_coins: BORROWER_COINS.to_vec(),
    };
    let world = World::start(setup).await?;
    let start = world.totals().await?;
    let mut play = Play { world, prices, cast: Vec::new(), bar };
    play.acts().await?;
    let chain = Chain::connect(play.world.bitcoind.chain_config()).await?;
    let mut settled = Vec::with_capacity(play.cast.len());
    for Cast { story, id } in &play.cast {
        settled.push(Settled::read(&play.world, &chain, story.plot.name(), *id).await?);
    }
    let end = play.world.totals().await?;
    let loans: Vec<_> = settled.iter().map(|settled| settled.line.clone()).collect();
    let wallets = Wallets::of(start, end, &loans)?;
    let elapsed_ms = u64::try_from(began.elapsed().as_millis())?;
    let bitcoind = play.world.bitcoind.version().to_string();
    let document = Document { loans, wallets, bitcoind, elapsed_ms };
    play.bar.finish_and_clear();
    let text = text(&document, &settled);
    Ok((play.world, document, text))
}

impl Play {
    async fn acts(&mut self) -> anyhow::Result<()> {
        for story in STORIES {
            self.to(story.opens, HOUR).await?;
            self.open(story).await?;
        }
        self.say("before the crash");
        self.to(REPAYS, HOUR).await?;
        self.repay().await?;
        self.say("the crash of 12 March");
        self.to(SILENCE, HOUR).await?;
        for plot in [Plot::Repaid, Plot::Liquidated, Plot::Matured] {
            self.closed(plot).await?;
        }
        self.say("the oracle has fallen silent");
        self.world.oracle.stop().await?;
        let silent = self.loan(Plot::OracleSilent)?;
        let (id, due) = (silent.id, silent.story.due());
        let final_from = Time(due.0.saturating_add(FALLBACK_DELAY.0.saturating_mul(DAY)));
        self.to(final_from, DAY).await?;
        for view in self.world.loan(id).await? {
            anyhow::ensure!(view.ended.is_none(), "the {} settled without oracle or fallback", view.role);
        }
        for _ in 0..MOST_HOURS {
            if self.is_closed(id).await? {
                break;
            }
            self.to(Time(self.world.now().0.saturating_add(2 * HOUR)), 2 * HOUR).await?;
        }
        self.closed(Plot::OracleSilent).await
    }

    fn say(&self, what: &str) {
        self.bar.set_message(what.to_string());
    }

    async fn to(&mut self, to: Time, step: u32) -> anyhow::Result<()> {
        while self.world.now() < to {
            let next = (self.world.now().0 - self.world.now().0 % step).saturating_add(step);
            self.world.advance_to(Time(next).min(to)).await?;
            self.bar.set_prefix(self.world.now().to_string());
            self.bar.inc(1);
        }
        Ok(())
    }

    async fn open(&mut self, story: Story) -> anyhow::Result<()> {
        let name = story.plot.name();
        self.say(&format!("the loan of story {name} is negotiated and funded"));
        let quote = self.world.quote(story.principal_cents, story.collateral_sats, story.days).await;
        let quote = quote.with_context(|| format!("the quote of story {name}"))?;
        story.foresee(&quote, &self.prices)?;
        let loan = self.world.borrow(&quote).await.with_context(|| format!("the loan of story {name}"))?;
        self.cast.push(Cast { story, id: loan.loan_id });
        Ok(())
    }

    async fn repay(&mut self) -> anyhow::Result<()> {
        let id = self.loan(Plot::Repaid)?.id;
        self.say("the borrower repays from its wallet");
        self.world.borrower.client()?.repay(id, &RepayRequest { from: Source::Wallet }).await?;
        self.world.quiet().await
    }

    fn loan(&self, plot: Plot) -> anyhow::Result<&Cast> {
        self.cast.iter().find(|cast| cast.story.plot == plot).with_context(|| format!("no loan for {}", plot.name()))
    }

    async fn is_closed(&self, id: LoanId) -> anyhow::Result<bool> {
        Ok(self.world.loan(id).await?.iter().all(|view| view.stage == Stage::Closed))
    }

    /// The story has ended, and as it should.
    async fn closed(&self, plot: Plot) -> anyhow::Result<()> {
        let id = self.loan(plot)?.id;
        for view in self.world.loan(id).await? {
            let exit = view.ended.as_ref().and_then(|ended| ended.exit);
            let by = exit.map_or("nothing".to_owned(), |exit| exit.to_string());
            anyhow::ensure!(
                view.stage == Stage::Closed && exit == Some(plot.exit()),
                "at {} the {}'s loan of story {} is {} by {by}, not ended by {}",
                self.world.now(),
                view.role,
                plot.name(),
                view.stage,
                plot.exit()
            );
        }
        Ok(())
    }
}

fn progress() -> ProgressBar {
    let hours = u64::from(SILENCE.since(BEGIN) / HOUR);
    let bar = ProgressBar::new(hours + 36);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(BEGIN.to_string());
    bar.enable_steady_tick(TICK);
    bar
}

fn text(document: &Document, settled: &[Settled]) -> String {
    let mut text = String::from("Four loans at the real prices of March 2020.\n\n");
    for each in settled {
        text.push_str(&each.text());
        text.push('\n');
    }
    text.push_str(
        "Every exit also returns the lender's stake of 1,000 sats. A touch pays the lender 5 % above what is owed, out of \
         the surplus; the fixing pays by steps, within 0.1 % of the collateral.\n\n",
    );
    for (name, wallet) in [("borrower", document.wallets.borrower), ("lender", document.wallets.lender)] {
        text.push_str(&format!(
            "The {name}'s wallet held {} sats before the first loan and {} after the last: {:+} sats, all of it the loans'.\n",
            wallet.start_sats, wallet.end_sats, wallet.loans_sats
        ));
    }
    let fees: u64 = document.loans.iter().map(|loan| loan.fees_sats).sum();
    let seconds = document.elapsed_ms / 1_000;
    text.push_str(&format!(
        "Miners took the difference, {fees} sats. Not one sat is missing. {}, {seconds} s.\n",
        document.bitcoind
    ));
    text
}

/// Starts the oracle again, says how to talk to everybody, and goes.
async fn keep(mut world: World, folder: PathBuf, program: &Path) -> anyhow::Result<()> {
    world.oracle.resume().await?;
    world.quiet().await?;
    let mover = write_mover(&world, &folder)?;
    let program = program.display();
    let (lender, borrower) = (world.lender.data().display(), world.borrower.data().display());
    let ids = world.ids().iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    screen::ask(format_args!(
        "\nEverything is left running in {}. Talk to it:\n  {program} --data {lender} loan list\n  \
         {program} --data {borrower} quote --lender {} --principal 1000 --collateral 0.5 --term 7\n\
         The oracle answers at {}, bitcoind to {}\nTime stands at {} and there are prices to the end of April. \
         This moves it and mines a block,\nby a minute while a loan is being made and by an hour or a day later:\n  sh {} 60\nTo end it all:\n  kill {ids}\n",
        folder.display(),
        world.lender_address().await?,
        world.oracle.url(),
        world.bitcoind.cli(),
        world.now(),
        mover.display(),
    ));
    world.leave();
    Ok(())
}

/// A small script that does what the conductor does: bitcoind's clock, a block, everybody's clock.
fn write_mover(world: &World, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("move-time.sh");
    let (cli, clock) = (world.bitcoind.cli(), world.clock_file().display());
    let text = format!(
        "#!/bin/sh\n# Moves the time of everybody here on by an hour, or by as many seconds as are given, and mines a block.\nset -eu\n\
         next=$(($(cat '{clock}') + ${{1:-{HOUR}}}))\n{cli} setmocktime \"$next\"\n\
         {cli} -rpcwallet=miner -generate 1 >/dev/null\n\
         echo \"$next\" >'{clock}.next'\nmv '{clock}.next' '{clock}'\ndate -u -d \"@$next\"\n"
    );
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
