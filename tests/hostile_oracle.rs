//! Nodes whose oracle lies to them over HTTP: with its own key, at any moment of a loan. They refuse by name, go on
//! serving, and settle whatever the lie does not touch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::hex::DisplayHex;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::{rand, SecretKey, SECP256K1};
use dlc_messages::oracle_msgs::{tagged_announcement_msg, OracleAnnouncement};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::tlv::Bytes;
use hypothec::loan::LoanId;
use hypothec::node::view::{LoanView, OracleRequest, ProofRequest};
use hypothec::node::Handle;
use hypothec::protocol::messages::Equivocation;
use hypothec::protocol::{Exit, Message, Stage};
use hypothec_oracle::announce::{nonce_proof_message, oracle_event, OracleKeys, ProvenAnnouncement};
use hypothec_oracle::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage};
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon;
use hypothec_oracle::equivocation::Proof;
use hypothec_oracle::event::Event;
use hypothec_oracle::ladder::Level;
use hypothec_oracle::units::{Cents, Day, Time};
use hypothec_oracle::verify::fixing_digits;
use hypothec_oracle::wire::{SignedLows, SignedPrice};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use world::liar::{changed, Liar, Lie};
use world::stranger::Stranger;
use world::{loan, start_node, World, HOUR, START};

/// What is done, what is said of it, how it is done.
type Row = (&'static str, &'static str, fn(&str, Value, &SecretKey) -> Lie);

/// `lie` about answers to what begins with `prefix`, the truth about everything else.
fn about(prefix: &str, path: &str, lie: impl FnOnce() -> Lie) -> Lie {
    match path.starts_with(prefix) {
        true => lie(),
        false => Lie::Truth,
    }
}

fn price_of(honest: Value, secret: &SecretKey, tell: impl FnOnce(SignedPrice) -> (Time, Cents)) -> Lie {
    changed::<SignedPrice>(honest, |price| {
        let (unix, cents) = tell(*price);
        *price = SignedPrice::sign(&OracleKeys::from_secret(*secret), unix, cents);
    })
}

/// Every announcement of a page, changed.
fn announced(honest: Value, change: impl Fn(&mut String)) -> Lie {
    changed::<BundlePage>(honest, |page| page.announcements.iter_mut().for_each(change))
}

/// Hex that ends otherwise.
fn spoil(hex: &mut String) {
    let last = hex.pop();
    hex.push(if last == Some('0') { '1' } else { '0' });
}

const QUOTES: &[Row] = &[
    ("a price nobody signed", "signature of the price", |path, honest, _| {
        about("/v1/price", path, || changed::<SignedPrice>(honest, |price| price.cents = Cents(1)))
    }),
    ("a price of an hour ago", "its last price is of", |path, honest, secret| {
        about("/v1/price", path, || price_of(honest, secret, |price| (Time(price.unix.0 - HOUR), price.cents)))
    }),
    ("a price of an hour ahead", "its last price is of", |path, honest, secret| {
        about("/v1/price", path, || price_of(honest, secret, |price| (Time(price.unix.0 + HOUR), price.cents)))
    }),
    ("another price than the lender hears", "reference_price", |path, honest, secret| {
        about("/v1/price", path, || price_of(honest, secret, |price| (price.unix, Cents(price.cents.0 * 2))))
    }),
    ("no price at all", "reference_price", |path, honest, secret| {
        about("/v1/price", path, || price_of(honest, secret, |price| (price.unix, Cents(0))))
    }),
    ("a price without end", "longer than", |path, _, _| {
        about("/v1/price", path, || Lie::Raw(200, "x".repeat(10_000_000)))
    }),
    ("half a price", "cannot be read", |path, _, _| about("/v1/price", path, || Lie::Raw(200, "{\"unix\":".into()))),
    ("a price that fails", "status 500", |path, _, _| about("/v1/price", path, || Lie::Raw(500, "no".into()))),
    ("a month without announcements", "holds no announcement", |path, honest, _| {
        about("/v1/bands", path, || changed::<BundlePage>(honest, |page| page.announcements.clear()))
    }),
    ("short announcements", "is not the hex of", |path, honest, _| {
        about("/v1/bands", path, || announced(honest, |packed| packed.truncate(100)))
    }),
    ("announcements of other events", "announcement signature", |path, honest, _| {
        about("/v1/bands", path, || changed::<BundlePage>(honest, |page| page.announcements.reverse()))
    }),
    ("nonces nobody has proven", "nonce proof", |path, honest, _| {
        about("/v1/bands", path, || announced(honest, spoil))
    }),
    ("a fixing without its last nonce", "is not the hex of", |path, honest, _| {
        about("/v1/fixings", path, || announced(honest, |packed| packed.truncate(packed.len() - 192)))
    }),
    ("a month without end", "longer than", |path, _, _| {
        about("/v1/bands", path, || Lie::Raw(200, format!("[\"{}\"]", "x".repeat(3_000_000))))
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_false_about_price_or_announcements_becomes_a_quote() {
    let (world, liar) = World::with_liar(false).await;
    let ask = || world.borrower.handle.quote(world.request(300_000, 2));
    for (what, says, lie) in QUOTES {
        liar.lies(lie);
        let refused = ask().await.expect_err(what);
        assert!(refused.message.contains(says) && refused.message.len() < 700, "{what}: {refused:?}");
    }
    // What was false is not remembered.
    liar.repents();
    world.open(300_000, 2).await;
}

/// An announcement of the same event with nonces of today, well signed and proven.
fn other_nonces(secret: &SecretKey, event: Event, count: usize) -> ProvenAnnouncement {
    let oracle = Keypair::from_secret_key(SECP256K1, secret);
    let nonces: Vec<Keypair> = (0..count).map(|_| Keypair::new(SECP256K1, &mut rand::thread_rng())).collect();
    let event = oracle_event(event, nonces.iter().map(|nonce| nonce.x_only_public_key().0).collect()).unwrap();
    let oracle_public_key = oracle.x_only_public_key().0;
    let proof = nonce_proof_message(&oracle_public_key, &event);
    let announcement = OracleAnnouncement {
        announcement_signature: SECP256K1.sign_schnorr(&tagged_announcement_msg(&event), &oracle),
        oracle_public_key,
        oracle_event: event,
    };
    let nonce_proofs = nonces.iter().map(|nonce| SECP256K1.sign_schnorr(&proof, nonce)).collect();
    ProvenAnnouncement { announcement, nonce_proofs }
}

fn fixings_of(path: &str) -> Bundle {
    let day = path.trim_start_matches("/v1/fixings/");
    Bundle::Fixings { day: Day::from_yyyymmdd(&day[..8]).unwrap() }
}

/// Every fixing announced anew.
fn other_fixings(path: &str, honest: Value, secret: &SecretKey) -> Lie {
    about("/v1/fixings", path, || {
        changed::<BundlePage>(honest, |page| {
            for (packed, event) in page.announcements.iter_mut().zip(fixings_of(path).events()) {
                *packed = pack_announcement(&other_nonces(secret, event, 20));
            }
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_that_change_between_quote_and_signing_end_the_negotiation_before_anybody_signs() {
    let (world, liar) = World::with_liar(false).await;
    liar.lies(other_fixings);
    let quote = world.quote(300_000, 2).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let reason = until("the lender to refuse", PATIENCE, || async {
        if world.bitcoind.mempool_len().await.unwrap() > 0 {
            world.bitcoind.mine(1).await.unwrap();
        }
        let loan = world.borrower.handle.loan(id).await.unwrap();
        loan.cancelled_because.ok_or_else(|| loan.stage.to_string())
    });
    assert!(reason.await.unwrap().contains("contract_info"));
    assert_eq!(world.borrower.handle.balance().await.unwrap().reserved_sats, 0);
}

/// The lows of a day, signed anew.
fn lows_of(honest: Value, secret: &SecretKey, tell: impl FnOnce(&mut SignedLows)) -> Lie {
    changed::<SignedLows>(honest, |lows| {
        tell(lows);
        *lows = SignedLows::sign(&OracleKeys::from_secret(*secret), lows.day, lows.frozen_until, lows.lows);
    })
}

/// Once a touch is true. Where nothing is said there is nothing to notice.
const TOUCHES: &[Row] = &[
    ("lows nobody signed", "signature of the day's lows", |path, honest, _| {
        about("/v1/lows", path, || changed::<SignedLows>(honest, |lows| lows.lows[0] = Some(Cents(1))))
    }),
    ("lows of another day", "it answered about", |path, honest, secret| {
        about("/v1/lows", path, || lows_of(honest, secret, |lows| lows.day = Day(lows.day.0 - 1)))
    }),
    ("lows without end", "longer than", |path, _, _| about("/v1/lows", path, || Lie::Raw(200, "x".repeat(1_000_000)))),
    ("lows that fail", "status 500", |path, _, _| about("/v1/lows", path, || Lie::Raw(500, "{}".into()))),
    ("an attestation its lows prove, withheld", "withholds", |path, honest, _| {
        about("/v1/bands", path, || changed::<BundlePage>(honest, |page| page.attestations.clear()))
    }),
    ("an attestation its lows deny, which rise again", "", |path, honest, secret| {
        about("/v1/lows", path, || lows_of(honest, secret, |lows| lows.lows = [Some(Cents(700_000)); 24]))
    }),
    ("short attestations", "is not the hex of", |path, honest, _| {
        about("/v1/bands", path, || {
            changed::<BundlePage>(honest, |page| page.attestations.iter_mut().for_each(|one| one.s.truncate(20)))
        })
    }),
    ("attestations of other events", "is not valid", |path, honest, _| {
        about("/v1/bands", path, || {
            changed::<BundlePage>(honest, |page| {
                let last = page.attestations.last().unwrap().s.clone();
                let all = page.attestations.iter_mut().rev();
                all.fold(last, |other, one| std::mem::replace(&mut one.s, other));
                let first = page.attestations[0].s.clone();
                page.attestations.last_mut().unwrap().s = first;
            })
        })
    }),
    ("attestations of more than there is", "longer than", |path, _, _| {
        about("/v1/bands", path, || Lie::Raw(200, "x".repeat(3_000_000)))
    }),
];

async fn troubles(handle: &Handle) -> String {
    handle.status().await.unwrap().troubles.join("; ")
}

/// 13 March 2020, 03:00: the price fell below $4,000 in the hour before.
const CRASH: u32 = 4 * 24 + 3;

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_about_a_touch_settles_a_loan_or_stops_a_node_and_the_truth_still_does() {
    let (mut world, liar) = World::with_liar(true).await;
    // Its level is below all prices of the 12th.
    let id = world.open(310_000, 30).await;
    for day in 1..=4 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    liar.lies(TOUCHES[0].2);
    world.advance(START.plus(CRASH * HOUR).unwrap()).await;
    for (what, says, lie) in TOUCHES {
        liar.lies(lie);
        world.advance(world.now.plus(10).unwrap()).await;
        for node in [&world.lender, &world.borrower] {
            let said = troubles(&node.handle).await;
            assert!(said.contains(says) && said.is_empty() == says.is_empty(), "{what}: {said:?}");
            let view = loan(&node.handle, id).await;
            assert_eq!((view.stage, view.ended), (Stage::Active, None), "{what}");
        }
    }
    // A false price is told, and keeps nobody from a true touch.
    liar.lies(QUOTES[0].2);
    world.advance(world.now.plus(10).unwrap()).await;
    assert!(troubles(&world.borrower.handle).await.contains("signature of the price"));
    for view in world.closed(id).await {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::Liquidated));
    }
}

/// Time moves on while somebody waits for an oracle that hangs.
async fn pass(world: &mut World, to: Time) {
    world.now = to;
    world.bitcoind.set_mock_time(to).await.unwrap();
    world.bitcoind.mine(6).await.unwrap();
    Clock::set_file(&world.dir.path().join("clock"), to).unwrap();
}

async fn ends(world: &World, id: LoanId, patience: Duration) -> LoanView {
    until("the loan to end", patience, || async {
        let view = loan(&world.borrower.handle, id).await;
        view.ended.is_some().then_some(view.clone()).ok_or_else(|| format!("{view:#?}"))
    })
    .await
    .unwrap()
}

/// The band its level of today lies in.
fn band_of(view: &LoanView) -> u32 {
    Level::exactly(view.level_today.as_ref().unwrap().level).unwrap().band()
}

/// Another oracle, in a folder beside the world's.
async fn another_oracle(dir: &Path) -> daemon::Oracle {
    let data = dir.join("another-oracle");
    daemon::init(&data).unwrap();
    let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/prices-2020-03.csv");
    daemon::start(daemon::Config {
        data,
        listen: "127.0.0.1:0".parse().unwrap(),
        network: daemon::Network::Regtest,
        feed: daemon::FeedChoice::Replay(prices),
        clock: Clock::file(dir.join("clock")),
        operating: daemon::Operating::default(),
        limits: daemon::Limits::default(),
        replicas: daemon::Replicas::default(),
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_a_loan_or_an_oracle_that_fails_does_not_hold_up_the_look_at_the_others() {
    let (mut world, liar) = World::with_liar(true).await;
    // Their levels lie in different bands.
    let (spoilt, sound) = (world.open(360_000, 30).await, world.open(310_000, 30).await);
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    let other = another_oracle(world.dir.path()).await;
    let hanging = Liar::before(&other.url(), &world.dir.path().join("another-oracle")).await;
    let request = OracleRequest { url: hanging.url.clone(), mirrors: Vec::new(), pubkey: None };
    world.borrower.handle.add_oracle(request).await.unwrap();
    let band = band_of(&loan(&world.borrower.handle, spoilt).await);
    assert_ne!(band, band_of(&loan(&world.borrower.handle, sound).await));
    // One oracle says nothing for ever; of the other a whole day fails, and all that the first loan hangs on.
    hanging.lies(|_, _, _| Lie::Silence);
    let page = format!("/v1/bands/{band}/");
    liar.lies(move |path, _, _| match path {
        "/v1/lows/20200312" => Lie::Raw(500, "no".into()),
        path if path.starts_with(&page) => Lie::Raw(500, "no".into()),
        _ => Lie::Truth,
    });
    pass(&mut world, START.plus(CRASH * HOUR).unwrap()).await;
    let ended = ends(&world, sound, Duration::from_secs(25)).await.ended.unwrap();
    assert_eq!(ended.exit, Some(Exit::Liquidated));
    // The hanging look is still on its way.
    assert!(!world.borrower.handle.status().await.unwrap().idle);
    let held = loan(&world.borrower.handle, spoilt).await;
    assert_eq!((held.stage, held.ended), (Stage::Active, None));
    assert!(troubles(&world.borrower.handle).await.contains("status 500"));
    liar.repents();
    let ended = ends(&world, spoilt, Duration::from_secs(25)).await.ended.unwrap();
    assert_eq!(ended.exit, Some(Exit::Liquidated));
}

/// The first answer about each day's lows that is final until then, for ever; all else passes.
fn old_lows(since: Time) -> impl Fn(&str, Value, &SecretKey) -> Lie + Send + Sync + 'static {
    let kept: Mutex<BTreeMap<String, Value>> = Mutex::default();
    move |path, honest, _| {
        about("/v1/lows", path, || {
            let lows: SignedLows = serde_json::from_value(honest.clone()).unwrap();
            match lows.frozen_until < since {
                true => Lie::Truth,
                false => Lie::Json(kept.lock().unwrap().entry(path.to_owned()).or_insert(honest).clone()),
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_lows_truly_signed_hide_no_touch_without_a_word_and_nothing_new_is_done_by_them() {
    let (mut world, liar) = World::with_liar(true).await;
    // Its level is below all prices of the 12th.
    let id = world.open(310_000, 30).await;
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    // Of 12 March all but its last hour, and of the next day nothing but that: what the node hears is true, and old.
    let began = START.plus(95 * HOUR).unwrap();
    liar.lies(old_lows(began));
    world.advance(began).await;
    world.advance(Time(began.0 + HOUR + 899)).await;
    let quote = world.quote(100_000, 2).await;
    for node in [&world.lender, &world.borrower] {
        assert_eq!(troubles(&node.handle).await, "", "an hour may freeze late");
    }
    world.advance(Time(began.0 + HOUR + 900)).await;
    println!("bound old-lows {} s", HOUR + 900);
    let hours = format!("nothing is heard of the hours from {began} to {}", began.plus(HOUR).unwrap());
    for node in [&world.lender, &world.borrower] {
        let status = node.handle.status().await.unwrap();
        let said = status.troubles.join("; ");
        assert!(
            said.contains(&hours) && said.contains(&liar.url) && said.matches("nothing is heard").count() == 1,
            "{said}"
        );
        assert!(status.attention.iter().any(|one| one.about.ends_with(", lows")), "{:?}", status.attention);
    }
    // The price is fresh, and nothing new rests on it: not quoted, not taken.
    let refused = world.borrower.handle.quote(world.request(100_000, 2)).await.unwrap_err();
    assert!(refused.message.contains("this lender cannot quote right now"), "{refused:?}");
    let mut stranger = Stranger::new(&world, "stranger").await;
    let refused = stranger.ask(100_000, 2).await.unwrap_err();
    assert_eq!(refused.code, "unavailable", "{refused:?}");
    let taken = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let refused = until("the lender to refuse", PATIENCE, || async {
        let view = loan(&world.borrower.handle, taken).await;
        view.cancelled_because.clone().ok_or_else(|| format!("{view:#?}"))
    });
    let refused = refused.await.unwrap();
    assert!(refused.contains(&hours), "{refused}");

    // Below $4,000: the loan is to be liquidated, and the old lists say nothing of it.
    world.advance(START.plus(CRASH * HOUR).unwrap()).await;
    for node in [&world.lender, &world.borrower] {
        let said = troubles(&node.handle).await;
        assert!(said.contains(&format!("nothing is heard of the hours from {began} to ")), "{said}");
        let view = loan(&node.handle, id).await;
        assert_eq!((view.stage, view.ended), (Stage::Active, None));
    }
    liar.repents();
    world.advance(world.now.plus(10).unwrap()).await;
    for view in world.closed(id).await {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::Liquidated));
    }
    for node in [&world.lender, &world.borrower] {
        let said = troubles(&node.handle).await;
        assert!(!said.contains("nothing is heard"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixing_that_somebody_between_leaves_out_is_missed_aloud_and_settles_the_loan_when_it_comes() {
    let (mut world, liar) = World::with_liar(true).await;
    let id = world.open(200_000, 1).await;
    liar.lies(|path, honest, _| {
        about("/v1/fixings", path, || changed::<BundlePage>(honest, |page| page.attestations.clear()))
    });
    let due = START.plus(24 * HOUR).unwrap();
    world.advance(Time(due.0 + 899)).await;
    assert_eq!(troubles(&world.lender.handle).await, "", "an hour may be fixed late");
    world.advance(Time(due.0 + 900)).await;
    println!("bound unsaid-fixing 900 s");
    for node in [&world.lender, &world.borrower] {
        let said = troubles(&node.handle).await;
        assert!(said.contains(&format!("it has said no price for {due}")) && said.contains("fallback"), "{said}");
        assert_eq!(loan(&node.handle, id).await.ended, None);
    }
    liar.repents();
    world.advance(Time(due.0 + 910)).await;
    for view in world.closed(id).await {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::Matured));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_that_fixes_two_prices_settles_the_loan_once_and_for_both() {
    let (mut world, liar) = World::with_liar(false).await;
    let id = world.open(300_000, 2).await;
    liar.lies(|path, honest, secret| {
        about("/v1/fixings", path, || {
            changed::<BundlePage>(honest, |page| {
                let events = fixings_of(path).events();
                for said in &mut page.attestations {
                    let event = events[said.index as usize];
                    let half = Cents(u64::from(said.dollars.unwrap()) * 50);
                    let other = OracleKeys::from_secret(*secret).attest(event, fixing_digits(half)).unwrap();
                    *said = pack_attestation(said.index, &other);
                }
            })
        })
    });
    world.advance(START.plus(24 * HOUR).unwrap()).await;
    world.advance(START.plus(48 * HOUR).unwrap()).await;
    let [borrower, lender] = world.closed(id).await.map(|view| view.ended.unwrap());
    assert_eq!((borrower.exit, lender.exit), (Some(Exit::Matured), Some(Exit::Matured)));
    assert_eq!((borrower.txid, borrower.paid_to_lender_sats), (lender.txid, lender.paid_to_lender_sats));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_an_hour_off_either_way_is_told_and_the_loan_settles_when_the_oracle_says_so() {
    for ahead in [true, false] {
        let world = World::new().await;
        let id = world.open(300_000, 1).await;
        let request = world.request(300_000, 2);
        let World { bitcoind, oracle, lender, borrower, dir, now } = world;
        borrower.stop().await.unwrap();
        let wrong = dir.path().join("wrong");
        let skew = |at: Time| Time(if ahead { at.0 + HOUR } else { at.0 - HOUR });
        Clock::set_file(&wrong, skew(now)).unwrap();
        let borrower = start_node(dir.path(), "borrower", &bitcoind, &wrong).await;
        let refused = borrower.handle.quote(request).await.unwrap_err();
        assert!(refused.message.contains("the quote's expires"), "{refused:?}");
        // The lender is away: what settles the loan is this node's own doing.
        lender.stop().await.unwrap();
        let due = START.plus(24 * HOUR).unwrap();
        // A fixing is said at due by the oracle's clock, and a clock behind asks for it an hour later.
        for at in [Time(due.0 - 60), due, Time(due.0 + HOUR)] {
            bitcoind.set_mock_time(at).await.unwrap();
            bitcoind.mine(1).await.unwrap();
            Clock::set_file(&dir.path().join("clock"), at).unwrap();
            Clock::set_file(&wrong, skew(at)).unwrap();
            if at < due {
                let before = until("a look before due", PATIENCE, || async {
                    let status = borrower.handle.status().await.unwrap();
                    let seen = status.clock == skew(at).0 && status.idle;
                    seen.then_some(()).ok_or_else(|| format!("{status:#?}"))
                });
                before.await.unwrap();
                assert_eq!(loan(&borrower.handle, id).await.ended, None);
            }
        }
        let ended = until("the fixing", PATIENCE, || async {
            loan(&borrower.handle, id).await.ended.ok_or("the loan is open".to_string())
        });
        assert_eq!(ended.await.unwrap().exit, Some(Exit::Matured));
        drop(oracle);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_three_minutes_off_watches_no_price_which_is_told_until_it_is_set() {
    for (ahead, side) in [(true, "behind"), (false, "ahead of")] {
        let world = World::new().await;
        let id = world.open(300_000, 2).await;
        let World { bitcoind, oracle, borrower, dir, now, .. } = world;
        borrower.stop().await.unwrap();
        let wrong = dir.path().join("wrong");
        Clock::set_file(&wrong, Time(if ahead { now.0 + 180 } else { now.0 - 180 })).unwrap();
        let borrower = start_node(dir.path(), "borrower", &bitcoind, &wrong).await;
        let told = || async {
            let troubles = borrower.handle.status().await.unwrap().troubles;
            troubles.into_iter().find(|text| text.contains("this machine's clock"))
        };
        let said =
            until("that its clock is off", PATIENCE, || async { told().await.ok_or("nothing is told".to_owned()) });
        let said = said.await.unwrap();
        let key = oracle.as_ref().unwrap().key;
        assert!(said.starts_with(&format!("oracle {key}, price: ")), "{said}");
        assert!(said.contains(&format!("is more than 2 minutes {side} this machine's clock")), "{said}");
        assert_eq!(loan(&borrower.handle, id).await.ended, None);
        Clock::set_file(&wrong, now).unwrap();
        let over = until("nothing of it", PATIENCE, || async { told().await.map_or(Ok(()), Err) });
        over.await.unwrap();
    }
}

/// Two prices of one hour, signed with one nonce.
fn two_prices(secret: SecretKey) -> Proof {
    let (keys, event) = (OracleKeys::from_secret(secret), Event::Fixing { at: START });
    let announcement = keys.announcement(event).unwrap().announcement;
    let say = |cents| keys.attest(event, fixing_digits(Cents(cents))).unwrap();
    Proof::of_attestations(&announcement, &say(800_000), &say(400_000)).unwrap()
}

fn secret_of(world: &World) -> SecretKey {
    std::fs::read_to_string(world.dir.path().join("oracle/secret")).unwrap().trim().parse().unwrap()
}

/// What a node shows against its one oracle.
async fn shown(node: &Handle) -> Option<String> {
    node.oracles().await.unwrap().pop().unwrap().equivocation
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_given_to_one_node_reaches_the_other_and_neither_does_anything_new_on_that_oracle() {
    let mut world = World::new().await;
    let id = world.open(300_000, 2).await;
    let open = world.quote(300_000, 2).await;
    let (proof, key) = (two_prices(secret_of(&world)), world.oracle.as_ref().unwrap().key);
    let [borrower, lender] = [world.borrower.handle.clone(), world.lender.handle.clone()];
    let give = |bytes: &[u8]| borrower.give_proof(ProofRequest { proof: bytes.to_lower_hex_string() });
    let bytes = proof.to_bytes();
    let refused = give(&bytes[..bytes.len() - 1]).await.unwrap_err();
    assert!(refused.code == "bad_request" && refused.message.contains("no proof of equivocation"), "{refused:?}");
    let other = two_prices(SecretKey::from_slice(&[77; 32]).unwrap());
    let refused = give(&other.to_bytes()).await.unwrap_err();
    assert!(refused.message.contains(&other.check().unwrap().to_string()), "{refused:?}");
    assert!(shown(&borrower).await.is_none() && shown(&lender).await.is_none());

    let given = give(&bytes).await.unwrap();
    assert!(given.new && given.reveals_the_key && given.oracle == key, "{given:?}");
    assert!(!give(&bytes).await.unwrap().new);
    let told =
        until("the lender to show it", PATIENCE, || async { shown(&lender).await.ok_or("nothing yet".to_owned()) });
    assert_eq!(told.await.unwrap(), given.equivocation);
    for node in [&borrower, &lender] {
        let events = node.events(0, Duration::ZERO).await.unwrap();
        let told: Vec<_> = events.iter().filter(|event| event.event == "oracle_equivocated").collect();
        assert!(told.len() == 1 && told[0].loan_id.is_none() && told[0].text == given.equivocation, "{told:?}");
        assert_eq!(loan(node, id).await.warnings, std::slice::from_ref(&given.equivocation));
    }

    // Nothing new: neither asked for, nor given, nor taken. Who connects later is told first.
    let refused = borrower.quote(world.request(300_000, 2)).await.unwrap_err();
    assert_eq!((refused.code.as_str(), &refused.message), ("refused", &given.equivocation));
    let refused = borrower.borrow(open.loan_id).await.unwrap_err();
    assert_eq!(refused.message, given.equivocation);
    let mut stranger = Stranger::new(&world, "stranger").await;
    let forwarded = stranger.message("the proof", |message| match message {
        Message::Equivocation(message) => Some(message),
        _ => None,
    });
    assert_eq!(forwarded.await, Equivocation { oracle: key, proof: Bytes(bytes) });
    let refused = stranger.ask(300_000, 2).await.unwrap_err();
    assert_eq!((refused.code.as_str(), &refused.message), ("equivocation", &given.equivocation));

    // The open loan keeps its contract, and a restart forgets nothing.
    for day in 1..=2 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    for view in world.closed(id).await {
        assert!(view.ended.unwrap().exit == Some(Exit::Matured) && view.warnings.is_empty());
    }
    let World { bitcoind, oracle, lender, dir, .. } = world;
    lender.stop().await.unwrap();
    let lender = start_node(dir.path(), "lender", &bitcoind, &dir.path().join("clock")).await;
    assert_eq!(shown(&lender.handle).await, Some(given.equivocation));
    drop(oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_proof_costs_its_sender_the_connection_and_one_about_strangers_is_ignored() {
    let world = World::new().await;
    let key = world.oracle.as_ref().unwrap().key;
    let other = two_prices(SecretKey::from_slice(&[77; 32]).unwrap());
    let (theirs, bytes) = (other.check().unwrap(), Bytes(other.to_bytes()));
    let mut spoilt = two_prices(secret_of(&world)).to_bytes();
    *spoilt.last_mut().unwrap() ^= 1;
    for (name, wrong) in [("one", Bytes(spoilt)), ("two", bytes.clone())] {
        let mut stranger = Stranger::new(&world, name).await;
        stranger.say(&Message::Equivocation(Equivocation { oracle: theirs, proof: bytes.clone() }));
        stranger.ask(300_000, 2).await.unwrap();
        stranger.say(&Message::Equivocation(Equivocation { oracle: key, proof: wrong }));
        stranger.until_cut_off().await;
    }
    assert!(shown(&world.lender.handle).await.is_none());
    world.quote(300_000, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_mirrors_announce_one_hour_twice_proves_it_by_itself_and_tells_its_peer() {
    let (world, liar) = World::with_liar(false).await;
    let known = world.oracle.as_ref().unwrap();
    let request = OracleRequest { url: known.url(), mirrors: vec![liar.url.clone()], pubkey: Some(known.key) };
    world.borrower.handle.add_oracle(request).await.unwrap();
    liar.lies(other_fixings);
    let refused = world.borrower.handle.quote(world.request(300_000, 2)).await.unwrap_err();
    assert!(refused.message.contains("contradicts itself"), "{refused:?}");
    for node in [&world.borrower.handle, &world.lender.handle] {
        let told = until("it to be shown", PATIENCE, || async { shown(node).await.ok_or("nothing yet".to_owned()) });
        let told = told.await.unwrap();
        assert!(told.contains("announced btcusd") && told.contains("twice"), "{told}");
    }
    let refused = world.borrower.handle.quote(world.request(300_000, 2)).await.unwrap_err();
    assert!(refused.message.contains("different nonces"), "{refused:?}");
}
