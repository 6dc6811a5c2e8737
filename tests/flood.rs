//! A lender's node that strangers ask without end: what it owes to open loans happens all the same, its oracle hears
//! nothing of it, and its log stays short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::secp256k1::rand;
use bitcoin::{Amount, ScriptBuf};
use hypothec::demo::wait::until;
use hypothec::loan::policy::Policy;
use hypothec::loan::units::{Cents, Days};
use hypothec::loan::version::TERMS_VERSIONS;
use hypothec::peer::Frame;
use hypothec::protocol::messages::QuoteRequest;
use hypothec::protocol::{Exit, Message, Stage};
use hypothec_oracle::clock::Clock;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use tracing_subscriber::util::SubscriberInitExt;
use world::liar::{Liar, Lie};
use world::stranger::Stranger;
use world::{loan, World, HOUR, START};

/// 13 March 2020, 03:00: the price fell below $4,000 in the hour before.
const CRASH: u32 = 4 * 24 + 3;
/// What an oracle lets one address ask, as a bucket.
const ORACLE_BURST: f64 = 100.0;
const ORACLE_A_SECOND: f64 = 20.0;

/// The bytes of a log.
#[derive(Clone, Default)]
struct Bytes(Arc<AtomicUsize>);

impl io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one log of this process, as the program writes it; all stories here write into it.
fn log() -> Bytes {
    static LOG: LazyLock<Bytes> = LazyLock::new(|| {
        let log = Bytes::default();
        let writer = log.clone();
        hypothec_oracle::logging::to(move || writer.clone(), false).try_init().unwrap();
        log
    });
    LOG.clone()
}

/// What an oracle was asked, as paths.
type Asked = Arc<Mutex<Vec<String>>>;

/// A world in which the lender's oracle counts and limits what it is asked, and the borrower's can be silenced.
async fn counted() -> (World, Asked, Liar) {
    log();
    let (mut liars, asked) = (Vec::new(), Asked::default());
    let world = World::hearing(async |_, oracle, data| {
        let liar = Liar::before(&oracle.url(), data).await;
        liars.push(liar.clone());
        liar.url
    })
    .await;
    let borrowers = liars.pop().unwrap();
    let (noted, bucket) = (asked.clone(), Mutex::new((ORACLE_BURST, Instant::now())));
    liars[0].lies(move |path, _, _| {
        // Only the conductor of fast time asks for it, again and again.
        if path == "/v1/status" {
            return Lie::Truth;
        }
        noted.lock().unwrap().push(path.to_owned());
        let mut bucket = bucket.lock().unwrap();
        let tokens = (bucket.0 + bucket.1.elapsed().as_secs_f64() * ORACLE_A_SECOND).min(ORACLE_BURST);
        *bucket = (tokens.max(1.0) - 1.0, Instant::now());
        match tokens >= 1.0 {
            true => Lie::Truth,
            false => Lie::Raw(429, "{\"code\":\"too_many_requests\",\"message\":\"come back\"}".into()),
        }
    });
    (world, asked, borrowers)
}

fn request(stranger: &Stranger) -> Message {
    Message::QuoteRequest(QuoteRequest {
        request: rand::random(),
        chain: bitcoin::blockdata::constants::ChainHash::REGTEST.to_bytes(),
        principal: Cents(300_000),
        collateral: Amount::ONE_BTC,
        days: Days(2),
        oracles: vec![stranger.oracle.key()],
        borrower_nonce: rand::random(),
        principal_script: ScriptBuf::new_p2wpkh(&bitcoin::hashes::Hash::all_zeros()),
        versions: TERMS_VERSIONS.collect(),
        minimum_threshold: 1,
    })
}

/// Asks for quotes as fast as the lender reads, for ever; counts the answers.
async fn flood(mut stranger: Stranger, answers: Arc<AtomicUsize>) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let (kind, bytes) = request(&stranger).write();
                // A full outbox is as good as a message.
                let _ = stranger.net.send(stranger.peer, Frame { kind, bytes });
            }
            () = stranger.message("an answer", |_| Some(())) => {
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn prices(asked: &Asked) -> usize {
    asked.lock().unwrap().iter().filter(|path| *path == "/v1/price").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_crossed_while_strangers_ask_for_quotes_without_end_is_settled_as_if_nobody_asked() {
    let log = log();
    let (mut world, asked, borrowers) = counted().await;
    let id = world.open(360_000, 30).await;
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    // The lender is alone with it.
    borrowers.lies(|_, _, _| Lie::Raw(500, "no".into()));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut floods = tokio::task::JoinSet::new();
    for name in ["one", "another"] {
        floods.spawn(flood(Stranger::new(&world, name).await, answers.clone()));
    }
    let (began, asked_before, log_before) = (Instant::now(), prices(&asked), log.0.load(Ordering::Relaxed));
    until("a thousand answers", Duration::from_secs(60), || async {
        let count = answers.load(Ordering::Relaxed);
        (count >= 1_000).then_some(()).ok_or_else(|| format!("{count} answers"))
    })
    .await
    .unwrap();
    // The watch alone asked: once every few seconds.
    let looks = usize::try_from(began.elapsed().as_secs() / 3).unwrap() + 2;
    let asked_now = prices(&asked) - asked_before;
    assert!(asked_now <= looks, "{asked_now} questions for the price, {looks} looks");
    world.now = START.plus(CRASH * HOUR).unwrap();
    world.bitcoind.set_mock_time(world.now).await.unwrap();
    world.bitcoind.mine(6).await.unwrap();
    let crossed = Instant::now();
    Clock::set_file(&world.dir.path().join("clock"), world.now).unwrap();
    let ended = until("the liquidation", Duration::from_secs(60), || async {
        let view = loan(&world.lender.handle, id).await;
        view.ended.clone().ok_or_else(|| format!("{view:#?}"))
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended.exit, Some(Exit::Liquidated));
    let (wait, minutes) = (crossed.elapsed().as_secs(), began.elapsed().as_secs() / 60 + 1);
    let bytes = (log.0.load(Ordering::Relaxed) - log_before) / usize::try_from(minutes).unwrap();
    println!("bound flooded-liquidation {wait} s, with {} answers given", answers.load(Ordering::Relaxed));
    println!("bound flooded-oracle 0 requests; {asked_now} were the watch's, {looks} at most");
    println!("bound flooded-log {bytes} bytes a minute");
    assert!(wait < 20 && bytes < 100_000, "{wait} s, {bytes} bytes");
    floods.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_taken_that_the_lender_can_refuse_by_itself_makes_it_download_nothing() {
    let (world, asked, _) = counted().await;
    world.give_lender_coins(2).await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 2).await;
    let policy = Policy { oracles: vec![world.oracle.as_ref().unwrap().key], ..Policy::default() };
    let bundles = || asked.lock().unwrap().iter().filter(|path| path.starts_with("/v1/bands")).count();
    let stricter = [
        ("exposure", Policy { exposure_max: Cents(200_000), principal_max: Cents(200_000), ..policy.clone() }),
        ("policy", Policy { days_max: Days(1), ..policy.clone() }),
        ("policy", Policy { oracles: Vec::new(), ..policy.clone() }),
    ];
    for (code, stricter) in stricter {
        world.lender.handle.set_policy(policy.clone()).await.unwrap();
        let quoted = stranger.quote(210_000, 2).await;
        world.lender.handle.set_policy(stricter).await.unwrap();
        stranger.borrow(&quoted.terms, coins[0]);
        let refused = stranger.refusal(quoted.terms.id().0).await;
        assert!(refused.code == code || refused.code == "policy", "{refused:?}");
    }
    world.lender.handle.set_policy(policy.clone()).await.unwrap();
    assert_eq!(bundles(), 0);
    // What it cannot refuse by itself it looks at.
    let quoted = stranger.quote(210_000, 2).await;
    stranger.borrow(&quoted.terms, coins[0]);
    until("the loan to begin", Duration::from_secs(20), || async {
        let loan = world.lender.handle.loan(quoted.terms.id()).await.map_err(|error| error.message)?;
        (!matches!(loan.stage, Stage::Cancelled)).then_some(()).ok_or_else(|| format!("{loan:#?}"))
    })
    .await
    .unwrap();
    assert!(bundles() > 0);
    // Another's negotiation holds the coin.
    let before = bundles();
    let mut other = Stranger::new(&world, "other").await;
    other.wallet = std::mem::replace(&mut stranger.wallet, other.wallet);
    let held = quoted.terms.id();
    let quoted = other.quote(210_000, 2).await;
    other.borrow(&quoted.terms, coins[0]);
    let refused = other.refusal(quoted.terms.id().0).await;
    assert!(refused.code == "coins" && refused.message.contains("promised"), "{refused:?}");
    assert!(!refused.message.contains(&held.to_string()), "which loan it is, is not told: {refused:?}");
    assert_eq!(bundles(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_to_come_back_and_others_are_answered() {
    log();
    let world = World::new().await;
    let mut greedy = Stranger::new(&world, "greedy").await;
    let mut given = 0;
    for _ in 0..100 {
        match greedy.ask(300_000, 2).await {
            Ok(_) => given += 1,
            Err(refused) => assert_eq!(refused.code, "busy", "{refused:?}"),
        }
    }
    println!("bound flooding-key {given} quotes of 100 asked for at once");
    assert!((32..=40).contains(&given), "{given}");
    let mut modest = Stranger::new(&world, "modest").await;
    modest.ask(300_000, 2).await.unwrap();
    world.quote(300_000, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_what_nobody_can_read_without_end_is_answered_as_often_as_anybody_and_others_are_heard() {
    log();
    let world = World::new().await;
    let mut garbler = Stranger::new(&world, "garbler").await;
    let mut said = 0;
    while said < 1_000 {
        // A full outbox is waited for: every shred is to arrive.
        match garbler.net.send(garbler.peer, Frame { kind: 33007, bytes: vec![0xff; 40] }) {
            Ok(()) => said += 1,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    // One that is answered all the same marks the end: the turns of quotes are others.
    let (kind, bytes) = request(&garbler).write();
    until("room for one more", Duration::from_secs(20), || async {
        let frame = Frame { kind, bytes: bytes.clone() };
        garbler.net.send(garbler.peer, frame).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    let mut answers = 0;
    garbler
        .message("a quote", |message| match message {
            Message::Refused(refused) if refused.code == "unreadable" => {
                answers += 1;
                None
            }
            Message::Quote(_) => Some(()),
            other => panic!("{other:?}"),
        })
        .await;
    println!("bound unreadable-answers {answers} of {said}");
    assert!((64..=90).contains(&answers), "{answers}");
    let mut plain = Stranger::new(&world, "plain").await;
    plain.net.send(plain.peer, Frame { kind: 33007, bytes: vec![0xff; 40] }).unwrap();
    assert_eq!(plain.refusal([0; 32]).await.code, "unreadable");
}
