//! The loop itself, on a real bitcoind: what must not end it, and what must never reach the disk.

mod in_words;

use super::commands::POLICY;
use super::config::{Choices, Config};
use super::core::Core;
use super::data::{new_words, DataFolder};
use super::handle::{Commands, Handle};
use super::jobs::{Key, Outcome};
#[cfg(target_os = "linux")]
use super::key_lock::KeyLock;
use super::start::{self, Opened};
#[cfg(target_os = "linux")]
use super::unlock::Unlocked;
use crate::contract::clauses::{Announcements, OracleAnnouncements};
use crate::contract::{receipt, Role};
use crate::demo::bitcoind::{BitcoindProcess, Options};
use crate::demo::wait::{until, PATIENCE};
use crate::loan::fixtures::{key, reference, secret, xonly};
use crate::loan::policy::Policy;
use crate::loan::terms::{LoanId, Terms};
use crate::loan::units::Days;
use crate::protocol::ending::{Doing, Ending};
use crate::protocol::fixtures::taken;
use crate::protocol::{Event, Loan, Recorded, Stage};
use bitcoin::hashes::Hash;
use bitcoin::OutPoint;
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::units::Time;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::mpsc;

struct Bench {
    _bitcoind: BitcoindProcess,
    folder: TempDir,
    config: Config,
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let now = Time(1_584_003_700);
        let clock = folder.path().join("clock");
        Clock::set_file(&clock, now).unwrap();
        let options = Options { mock_time: Some(now), ..Options::default() };
        let bitcoind = BitcoindProcess::start(&folder.path().join("bitcoind"), options).await.unwrap();
        let choices = Choices {
            network: "regtest".parse().unwrap(),
            bitcoind_url: Some(bitcoind.rpc_url().to_owned()),
            bitcoind_cookie: Some(bitcoind.cookie_file()),
            peer_listen: Some("127.0.0.1:0".into()),
            announce: None,
            api_listen: Some("127.0.0.1:0".into()),
        };
        let data = folder.path().join("node");
        DataFolder::make(&data, &new_words().unwrap(), &choices.text(), |_| Ok(())).unwrap();
        let config = Config::load(&data, Some(clock)).unwrap();
        Bench { _bitcoind: bitcoind, folder, config }
    }

    async fn core(&self) -> Opened {
        start::open(&self.config).await.unwrap()
    }
}

/// Lets a core run, and stops it.
struct Run {
    handle: Handle,
    stop: tokio::sync::watch::Sender<bool>,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

fn run(core: Core, peers: mpsc::Receiver<crate::peer::PeerEvent>) -> Run {
    let (handle, commands): (Handle, Commands) = Handle::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let ended = tokio::spawn(core.run(commands, peers, stopped));
    Run { handle, stop, ended }
}

/// A loan of a day as its borrower agreed to it.
fn agreed() -> (LoanId, Event) {
    let oracle = OracleKeys::from_secret(secret(3));
    let terms = Terms { days: Days(1), minimum_interest_days: Days(1), oracles: vec![xonly(3)], ..reference() };
    terms.check().unwrap();
    let announced = OracleAnnouncements {
        touches: terms.touch_days().iter().map(|day| oracle.announcement(day.event()).unwrap()).collect(),
        fixing: oracle.announcement(terms.fixing_event()).unwrap(),
    };
    let receipt = receipt::announce(&terms, &secret(4)).unwrap();
    let announcements = Announcements { oracles: vec![announced], receipt };
    let coins = vec![OutPoint { txid: bitcoin::Txid::all_zeros(), vout: 0 }];
    let event = Event::Agreed {
        role: Role::Borrower,
        peer: key(2),
        announcements: Box::new(announcements),
        key_index: [9; 32],
        coins,
        proven: Vec::new(),
        terms: Box::new(terms.clone()),
    };
    (terms.id(), event)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_panics_is_told_and_the_same_one_can_be_started_again() {
    let bench = Bench::new().await;
    let Opened { mut core, peers } = bench.core().await;
    let id = LoanId([5; 32]);
    assert!(core.spawn(Key::Loan(id), None, id.0, async { panic!("a job in disorder") }));
    assert!(!core.spawn(Key::Loan(id), None, id.0, async { Ok(Outcome::Nothing) }), "one at a time");
    let failed = core.jobs.join_next_with_id().await.unwrap().map(drop).unwrap_err();
    core.on_panic(&failed);
    assert!(core.troubles.sentences().any(|text| text.contains("ended in disorder")));
    assert!(core.spawn(Key::Loan(id), None, id.0, async { Ok(Outcome::Nothing) }));
    // The loop itself takes one as well, and lives.
    assert!(core.spawn(Key::Loan(LoanId([6; 32])), None, [6; 32], async { panic!("another") }));
    let run = run(core, peers);
    // What the first left ended with the next of its kind that succeeded.
    let told = until("the loop to have taken both", PATIENCE, || async {
        let status = run.handle.status().await.map_err(|error| error.message)?;
        let told: Vec<_> = status.troubles.iter().filter(|text| text.contains("ended in disorder")).collect();
        let one = told.len() == 1 && told.iter().all(|text| text.contains("0606"));
        (one && status.idle).then_some(()).ok_or_else(|| format!("{status:#?}"))
    });
    told.await.unwrap();
    run.stop.send_replace(true);
    run.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_left_in_several_steps_within_one_look_is_told_by_the_block_that_was_left_first() {
    let bench = Bench::new().await;
    let Opened { mut core, .. } = bench.core().await;
    let first = bitcoin::BlockHash::from_byte_array([3; 32]);
    (core.tip, core.moment.height) = (Some(first), 103);
    core.mind_rollback(80);
    (core.tip, core.moment.height) = (None, 80);
    core.mind_rollback(0);
    let told = core.troubles.sentences().find(|text| text.starts_with("another chain: ")).unwrap();
    assert!(told.contains(&format!("of which block 103 is {first}: it has no block of that above 0")), "{told}");
    // It stands after a restart too, until the known chain is back.
    drop(core);
    let other = bitcoin::BlockHash::from_byte_array([4; 32]);
    for (block, stands) in [(other, true), (first, false)] {
        let Opened { mut core, .. } = bench.core().await;
        assert!(core.troubles.sentences().any(|text| text == told), "{:?}", core.what_stands());
        core.mind_block(500, block);
        assert_eq!(core.troubles.sentences().any(|text| text == told), stands);
    }
    let Opened { core, .. } = bench.core().await;
    assert!(!core.troubles.sentences().any(|text| text == told), "{:?}", core.what_stands());
    assert!(core.events.after(0).last().unwrap().text.starts_with("bitcoind is back on the chain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_reorganisation_is_told_until_the_other_side_of_it_is_longer_and_counts() {
    let bench = Bench::new().await;
    let [first, other] = [3, 4].map(|byte| bitcoin::BlockHash::from_byte_array([byte; 32]));
    let told = |core: &Core| core.troubles.sentences().any(|text| text.starts_with("another chain: "));
    {
        let Opened { mut core, .. } = bench.core().await;
        (core.tip, core.moment.height) = (Some(first), 250);
        core.mind_rollback(140);
        assert!(core
            .troubles
            .sentences()
            .any(|text| text.contains("or bitcoind's is longer than that, above block 250")));
    }
    let Opened { mut core, .. } = bench.core().await;
    for (height, stands) in [(141, true), (250, true), (251, false)] {
        core.mind_block(height, other);
        assert_eq!(told(&core), stands, "{height}");
    }
    let event = core.events.after(0).pop().unwrap();
    assert!(event.event == "chain_again" && event.text.contains("no block of that above 140"), "{event:?}");
    drop(core);
    let Opened { core, .. } = bench.core().await;
    assert!(!told(&core), "{:?}", core.what_stands());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_end_is_not_reached_in_a_minute_is_told_until_it_is() {
    let bench = Bench::new().await;
    let Opened { mut core, .. } = bench.core().await;
    let ago = |seconds| std::time::Instant::now().checked_sub(std::time::Duration::from_secs(seconds));
    let told = |core: &Core| core.troubles.sentences().any(|text| text.starts_with("reading the chain: "));
    for (since, expected) in [(ago(59), false), (ago(60), true), (ago(600), true), (None, false)] {
        core.chain_gate.behind = since;
        core.mind_reading();
        assert_eq!(told(&core), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lender_without_its_bitcoind_could_not_bring_out_is_not_held_against_the_borrower() {
    let bench = Bench::new().await;
    let Opened { mut core, .. } = bench.core().await;
    let since = core.moment.now.plus(100).unwrap();
    let given_up = Event::GivenUp { reason: "not out".into(), at_stake_sats: 0 };
    let loan = Loan { stage: Stage::Funded, since, ..taken(Role::Lender) };
    let loan = loan.apply(&Recorded { at: since, event: given_up }).unwrap();
    assert_eq!((loan.stage, loan.since), (Stage::Funded, since));
    core.loans.insert(loan.id, Arc::new(loan.clone()));
    let whose = |core: &Core| core.whose(&loan, Ending::Spent { ours: true });
    core.moment.now = since.plus(30).unwrap();
    assert_eq!(whose(&core), Doing::Borrower);
    core.chain_is_away("it does not answer".into());
    core.moment.now = since.plus(61).unwrap();
    assert_eq!(whose(&core), Doing::Lender);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_keep_their_numbers_over_restarts_and_what_a_crash_left_untold_is_told() {
    let bench = Bench::new().await;
    let Opened { mut core, peers } = bench.core().await;
    let (id, event) = agreed();
    core.record(id, vec![event]).unwrap().unwrap();
    let named = |core: &Core, after| {
        let told = core.events.after(after).into_iter();
        told.map(|view| (view.number, view.event)).collect::<Vec<_>>()
    };
    assert_eq!(named(&core, 0), [(1, "agreed".to_owned())]);
    let facts = core.events.after(0)[0].facts.clone();
    assert!(facts.principal_cents.is_some() && facts.due.is_some(), "{facts:?}");
    // On disk and not yet told when the power went.
    let cancelled = Recorded { at: core.moment.now, event: Event::Cancelled { reason: "a test".into(), by: None } };
    core.tools.store.append(id.0.into(), 1, &[serde_json::to_vec(&cancelled).unwrap()]).unwrap();
    drop((core, peers));
    for _ in 0..2 {
        let Opened { core, .. } = bench.core().await;
        assert_eq!(named(&core, 0), [(1, "agreed".to_owned()), (2, "cancelled".to_owned())]);
        assert_eq!(named(&core, 1), [(2, "cancelled".to_owned())]);
    }
    let Opened { core, peers } = bench.core().await;
    let run = run(core, peers);
    let ahead = run.handle.events(3, std::time::Duration::ZERO).await.unwrap_err();
    assert!(ahead.code == "bad_request" && ahead.message.contains("the newest is 2"), "{ahead:?}");
    run.stop.send_replace(true);
    run.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_on_an_oracle_nobody_added_is_refused_and_one_of_before_is_said_again_after_a_restart() {
    let bench = Bench::new().await;
    let Opened { core, peers } = bench.core().await;
    let store = core.tools.store.clone();
    let run = run(core, peers);
    assert_eq!(run.handle.status().await.unwrap().attention, []);
    let policy = Policy { oracles: vec![xonly(3)], ..Policy::default() };
    let refused = run.handle.set_policy(policy.clone()).await.unwrap_err();
    let remedy = format!("`hypothec oracle add URL --pubkey {}` first", xonly(3));
    assert!(refused.code == "bad_request" && refused.message.contains(&remedy), "{refused:?}");
    assert_eq!(run.handle.status().await.unwrap().attention, [], "nothing of it is kept");
    // A node of before took it.
    store.put(POLICY, &serde_json::to_vec(&policy).unwrap()).unwrap();
    drop(store);
    run.stop.send_replace(true);
    run.ended.await.unwrap().unwrap();
    for _ in 0..2 {
        let Opened { core, peers } = bench.core().await;
        let run = self::run(core, peers);
        let list = run.handle.status().await.unwrap().attention;
        let abouts: Vec<&str> = list.iter().map(|one| one.about.split(' ').next().unwrap()).collect();
        assert_eq!(abouts, ["coins", "policy"], "{list:#?}");
        run.stop.send_replace(true);
        run.ended.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_applied_never_reaches_the_disk() {
    let bench = Bench::new().await;
    let Opened { mut core, peers } = bench.core().await;
    let store = core.tools.store.clone();
    let (id, event) = agreed();
    // Nothing can begin with the end, and a log that would is not begun.
    let refused = core.record(id, vec![Event::Closed]).unwrap().unwrap_err();
    assert_eq!(refused.code, "internal", "{refused:?}");
    assert_eq!(store.streams().unwrap(), vec![]);
    core.record(id, vec![event]).unwrap().unwrap();
    assert_eq!(store.read(id.0.into()).unwrap().len(), 1);
    // Neither alone nor after one that can be.
    let offered = Event::Offered { offer: vec![1] };
    for events in [vec![Event::FundingUnconfirmed], vec![offered.clone(), offered]] {
        let refused = core.record(id, events).unwrap().unwrap_err();
        assert!(refused.message.contains("cannot follow"), "{refused:?}");
        assert_eq!(store.read(id.0.into()).unwrap().len(), 1);
        assert_eq!(core.loans.get(&id).unwrap().length, 1);
    }
    drop((core, peers, store));
    // What is on disk can be read: the node starts again and knows the loan.
    let Opened { core, .. } = bench.core().await;
    assert_eq!(core.loans.get(&id).unwrap().length, 1);
    assert!(bench.folder.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn negotiations_that_came_to_nothing_are_brief_on_disk_and_older_ones_become_so() {
    let bench = Bench::new().await;
    let Opened { mut core, peers } = bench.core().await;
    let (id, event) = agreed();
    let cancelled = || Event::Cancelled { reason: "a test".into(), by: None };
    let stored = |core: &Core| {
        let records = core.tools.store.read(id.0.into()).unwrap();
        let bytes = records.iter().map(Vec::len).sum::<usize>();
        (records.len(), bytes, core.tools.store.length(id.0.into()).unwrap())
    };
    let offered = Event::Offered { offer: vec![7; 100_000] };
    core.record(id, vec![event.clone(), offered.clone()]).unwrap().unwrap();
    let before = stored(&core);
    let shown = core.view(id).unwrap();
    core.record(id, vec![cancelled()]).unwrap().unwrap();
    let (records, bytes, length) = stored(&core);
    println!("bound vain-disk {bytes} bytes of {}, for a loan of one day", before.1);
    assert_eq!((records, length), (2, 3));
    assert!(bytes < 6_000 && before.1 > 200_000, "{bytes} of {}", before.1);
    let loan = format!("{:?}", core.loans.get(&id).unwrap());
    let told = core.events.after(0).len();
    // As a node of before, or a crash, left it: long.
    let at = core.moment.now;
    let log = [event, offered, cancelled()].map(|event| serde_json::to_vec(&Recorded { at, event }).unwrap());
    core.tools.store.replace(id.0.into(), 3, &log).unwrap();
    assert!(stored(&core).1 > 200_000);
    drop((core, peers));
    for _ in 0..2 {
        let Opened { core, .. } = bench.core().await;
        assert_eq!(stored(&core), (2, bytes, 3));
        assert_eq!(format!("{:?}", core.loans.get(&id).unwrap()), loan, "the same loan");
        assert_eq!(core.events.after(0).len(), told, "nothing is told twice");
        assert_eq!(core.view(id).unwrap().principal_sats, shown.principal_sats);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_lenders_negotiations_that_came_to_nothing_the_latest_thousand_are_known() {
    let bench = Bench::new().await;
    let Opened { mut core, peers } = bench.core().await;
    let (_, event) = agreed();
    let Event::Agreed { terms, peer, announcements, key_index, .. } = event else { panic!("{event:?}") };
    let coins = vec![OutPoint { txid: bitcoin::Txid::all_zeros(), vout: 7 }];
    let mut ids = Vec::new();
    for number in 0..1_003u32 {
        let mut nonce = [5; 32];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        let terms = Box::new(Terms { lender_nonce: nonce, ..*terms.clone() });
        let (id, announcements) = (terms.id(), announcements.clone());
        let (role, coins, proven) = (Role::Lender, coins.clone(), coins.clone());
        let agreed = Event::Agreed { role, peer, terms, announcements, key_index, coins, proven };
        core.record(id, vec![agreed]).unwrap().unwrap();
        core.moment.now = core.moment.now.plus(1).unwrap();
        core.record(id, vec![Event::Cancelled { reason: "a test".into(), by: None }]).unwrap().unwrap();
        ids.push(id);
    }
    let known = |core: &Core| ids.iter().map(|id| core.loans.contains_key(id)).collect::<Vec<_>>();
    let expected: Vec<bool> = (0..1_003).map(|number| number >= 3).collect();
    assert!(known(&core) == expected);
    assert_eq!(core.tools.store.streams().unwrap().len(), 1_000);
    let files = std::fs::read_dir(bench.folder.path().join("node/store")).unwrap().flatten();
    let disk: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    println!("bound vain-kept 1000 negotiations, {disk} bytes of disk after 1003");
    assert!(disk < 40_000_000, "{disk}");
    drop((core, peers));
    let Opened { core, .. } = bench.core().await;
    assert!(known(&core) == expected);
}

#[test]
fn a_loan_that_a_reorganisation_brings_back_does_not_say_why_it_was_cancelled() {
    let at = Time(1_584_003_700);
    let (_, event) = agreed();
    let loan = Loan::begin(&Recorded { at, event }).unwrap();
    let cancelled = Event::Cancelled { reason: "a funding coin was spent elsewhere".into(), by: None };
    let loan = loan.apply(&Recorded { at, event: cancelled }).unwrap();
    assert!(loan.cancelled_because.is_some());
    let (version, lock_time) = (bitcoin::transaction::Version::TWO, bitcoin::absolute::LockTime::ZERO);
    let transaction = bitcoin::Transaction { version, lock_time, input: Vec::new(), output: Vec::new() };
    let loan = loan.apply(&Recorded { at, event: Event::FundingSeen { transaction, block: None } }).unwrap();
    assert_eq!((loan.stage, loan.cancelled_because), (Stage::Confirming, None));
}

#[test]
fn a_negotiation_that_came_to_nothing_leaves_its_terms_and_its_reason() {
    let at = Time(1_584_003_700);
    let (id, event) = agreed();
    let loan = Loan::begin(&Recorded { at, event }).unwrap();
    let before = format!("{loan:?}").len();
    let cancelled = Event::Cancelled { reason: "a test".into(), by: None };
    let loan = loan.apply(&Recorded { at, event: cancelled }).unwrap();
    let after = format!("{loan:?}").len();
    println!("bound vain-memory {after} bytes of {before}, for a loan of one day");
    assert!(after < 20_000 && before > 2 * after, "{after} of {before}");
    assert_eq!((loan.id, loan.terms.days), (id, Days(1)));
    assert!(loan.is_over() && loan.watched().is_empty() && loan.reserved().is_empty());
    // It is shown to people as before.
    let view = super::present::loan(&loan, crate::protocol::Moment { now: at, ..Default::default() }, None);
    assert_eq!(view.stage, crate::protocol::Stage::Cancelled);
    assert_eq!(view.cancelled_because.as_deref(), Some("a test"));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_name_another_users_program_holds_runs_and_its_status_tells_that_until_the_name_is_free() {
    let bench = Bench::new().await;
    let (data, network) = (&bench.config.data, bench.config.network);
    let words = Unlocked::open(data, network, || Ok(None)).unwrap().words().clone();
    let held = KeyLock::hold(&words, network);
    let unlocked = Unlocked::open_as_another(data, network).unwrap();
    let running = start::start_unlocked(bench.config.clone(), unlocked, None).await.unwrap();
    let told = running.handle.status().await.map_err(|error| error.message).unwrap().troubles;
    let about = "lock of the key: process ";
    assert!(
        told.iter().any(|text| text.starts_with(about) && text.contains("does not prove that it is one")),
        "{told:?}"
    );
    drop(held);
    let free = until("the name to be taken", PATIENCE, || async {
        let told = running.handle.status().await.map_err(|error| error.message)?.troubles.join("; ");
        (!told.contains(about)).then_some(()).ok_or(told)
    });
    free.await.unwrap();
    assert!(Unlocked::open_as_another(data, network).is_err());
    running.stop().await.unwrap();
}
