//! A client against a real oracle daemon over real HTTP, and against impostors.

mod between;
mod counted;
mod silent;

use super::{OracleClient, OracleError};
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon::{self, Config, FeedChoice, Network, Oracle};
use hypothec_oracle::event::Event;
use hypothec_oracle::ladder::Level;
use hypothec_oracle::units::{Cents, Day, Time, DAY, HOUR};
use hypothec_oracle::verify::fixing_dollars;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/prices-2020-03.csv");
/// 12 March 2020, 00:00.
const START: Time = Time(1_583_971_200);
const DAY_OF_CRASH: Day = Day(18_333);

fn hour(number: u32) -> Time {
    START.plus(number * HOUR).unwrap()
}

fn level(dollars: u32) -> Level {
    Level::exactly(dollars).unwrap()
}

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        daemon::init(&folder.path().join("oracle")).unwrap();
        let world = World { folder };
        world.set(START);
        world
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("oracle")
    }

    fn clock(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    fn set(&self, now: Time) {
        Clock::set_file(&self.clock(), now).unwrap();
    }

    fn config(&self, feed: FeedChoice) -> Config {
        let (data, listen) = (self.data(), "127.0.0.1:0".parse().unwrap());
        Config {
            data,
            listen,
            network: Network::Regtest,
            feed,
            clock: Clock::file(self.clock()),
            limits: daemon::Limits::default(),
            replicas: daemon::Replicas::default(),
            operating: daemon::Operating::default(),
        }
    }

    async fn start(&self) -> (Oracle, OracleClient) {
        let oracle = daemon::start(self.config(FeedChoice::Replay(CSV.into()))).await.unwrap();
        let client = OracleClient::connect(&oracle.url()).await.unwrap();
        assert_eq!(client.key(), oracle.key);
        (oracle, client)
    }

    /// Moves time and waits until the oracle has come there.
    async fn advance(&self, client: &OracleClient, now: Time) {
        self.set(now);
        let asked = Instant::now();
        while client.status().await.unwrap().clock != now {
            assert!(asked.elapsed() < Duration::from_secs(20), "the oracle does not follow its clock");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn secret(data: &Path) -> String {
    std::fs::read_to_string(data.join("secret")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_follows_an_oracle_through_the_crash() {
    let world = World::new();
    let (oracle, client) = world.start().await;
    assert_eq!(client.info().await.unwrap().network, "regtest");
    assert_eq!(client.spot().await.unwrap().cents, Cents(793_457), "the open of 12 March 2020");

    let asked = [(level(7_600), DAY_OF_CRASH, 9), (level(7_600), DAY_OF_CRASH, 0), (level(5_700), Day(18_334), 0)];
    let announced = client.touches(&asked).await.unwrap();
    assert_eq!(announced[0].announcement.oracle_event.event_id, "btcusd-touch-7600-20200312-h09");
    assert_eq!(announced[2], client.touch_announcement(level(5_700), Day(18_334), 0).await.unwrap());

    let touch = Event::Touch { level: level(7_000), day: DAY_OF_CRASH, from_hour: 9 };
    world.advance(&client, hour(10)).await;
    assert_eq!(client.touch_attestation(touch).await.unwrap(), None, "not yet true");
    assert_eq!(client.fixing_attestation(hour(11)).await.unwrap(), None);
    world.advance(&client, hour(11)).await;
    let lows = client.lows(DAY_OF_CRASH).await.unwrap();
    assert!(lows.prove(touch) && lows.lows[11].is_none(), "{lows:?}");
    let said = client.touch_attestation(touch).await.unwrap().unwrap();
    assert_eq!(said.outcomes, [touch.to_string()]);
    let never = Event::Touch { level: level(3_800), day: DAY_OF_CRASH, from_hour: 9 };
    assert_eq!(client.touch_attestation(never).await.unwrap(), None);

    let fixing = client.fixing_attestation(hour(11)).await.unwrap().unwrap();
    let close: f64 = close_of_bar_ending_at(hour(11));
    assert_eq!(fixing_dollars(&fixing), Some(close as u32));
    oracle.stop().await.unwrap();
}

fn close_of_bar_ending_at(at: Time) -> f64 {
    let text = std::fs::read_to_string(CSV).unwrap();
    let row = text.lines().find(|line| line.starts_with(&(at.0 - HOUR).to_string())).unwrap().to_string();
    row.split(',').nth(4).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_that_was_off_says_the_same_things_when_it_is_back() {
    let world = World::new();
    let (oracle, client) = world.start().await;
    let asked = [(level(7_600), DAY_OF_CRASH, 0), (level(7_600), DAY_OF_CRASH, 5)];
    let before = client.touches(&asked).await.unwrap();
    let fixing = client.fixing(hour(11)).await.unwrap();
    world.advance(&client, hour(11)).await;
    let (lows, said) = (client.lows(DAY_OF_CRASH).await.unwrap(), client.fixing_attestation(hour(11)).await.unwrap());
    assert!(said.is_some());
    oracle.stop().await.unwrap();
    assert!(matches!(client.spot().await, Err(OracleError::Unreachable { .. })));

    let key = secret(&world.data());
    world.set(hour(30));
    let (oracle, client) = world.start().await;
    assert_eq!(secret(&world.data()), key);
    assert_eq!(client.touches(&asked).await.unwrap(), before);
    assert_eq!(client.fixing(hour(11)).await.unwrap(), fixing);
    assert_eq!(client.fixing_attestation(hour(11)).await.unwrap(), said);
    let now = client.lows(DAY_OF_CRASH).await.unwrap();
    assert_eq!(now.lows[..11], lows.lows[..11]);
    assert!(now.is_closed() && now.lows.iter().all(Option::is_some), "a replay fills in the hours it was off");
    assert!(client.fixing_attestation(hour(20)).await.unwrap().is_some());
    oracle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_touch_of_a_band_is_attested_exactly_when_the_prices_say_so() {
    let world = World::new();
    world.set(hour(26));
    let (oracle, client) = world.start().await;
    let text = std::fs::read_to_string(CSV).unwrap();
    let bars: Vec<Vec<f64>> =
        text.lines().skip(1).map(|line| line.split(',').map(|field| field.parse().unwrap()).collect()).collect();
    let least = |from: u8| {
        let span = f64::from(START.0 + u32::from(from) * HOUR)..f64::from(START.0 + DAY);
        bars.iter().filter(|bar| span.contains(&bar[0])).map(|bar| bar[3]).fold(f64::INFINITY, f64::min)
    };
    for from_hour in [0, 11, 23] {
        for band in [14, 15, 16, 17, 18, 19, 20, 21] {
            for level in Level::of_band(band).into_iter().step_by(9) {
                let event = Event::Touch { level, day: DAY_OF_CRASH, from_hour };
                let announcement = client.announcement(event).await.unwrap().announcement;
                let attested = client.attestation(event, &announcement).await.unwrap().is_some();
                assert_eq!(attested, least(from_hour) <= f64::from(level.dollars()), "{event}");
            }
        }
    }
    oracle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_the_price_by_hand_and_the_public_cannot() {
    let world = World::new();
    let oracle = daemon::start(world.config(FeedChoice::Manual)).await.unwrap();
    let client = OracleClient::new(&oracle.url(), oracle.key).unwrap();
    let error = client.spot().await.unwrap_err();
    assert!(matches!(&error, OracleError::Refused { status: 503, code, .. } if code == "no_price"), "{error}");
    let set = |cents| {
        let data = world.data();
        let asked = move || daemon::set_price(&data, Cents(cents), Duration::from_secs(20));
        async move { tokio::task::spawn_blocking(asked).await.unwrap().unwrap() }
    };
    set(800_000).await;
    assert_eq!(client.spot().await.unwrap().cents, Cents(800_000));
    world.advance(&client, hour(3)).await;
    set(700_000).await;
    let touch = Event::Touch { level: level(7_000), day: DAY_OF_CRASH, from_hour: 3 };
    assert!(client.touch_attestation(touch).await.unwrap().is_some(), "true at once, not at the end of the hour");
    let before = Event::Touch { level: level(7_980), day: DAY_OF_CRASH, from_hour: 3 };
    assert!(client.touch_attestation(before).await.unwrap().is_some());
    assert_eq!(fixing_dollars(&client.fixing_attestation(hour(3)).await.unwrap().unwrap()), Some(8_000));
    world.advance(&client, hour(5)).await;
    assert_eq!(fixing_dollars(&client.fixing_attestation(hour(5)).await.unwrap().unwrap()), Some(7_000));
    let posted = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = posted.post(format!("{}/v1/price", oracle.url())).body("1").send().await.unwrap();
    assert_eq!(answer.status(), 405);
    oracle.stop().await.unwrap();
}

/// Answers every request with this status line and body.
async fn impostor(status: &'static str, body: String) -> String {
    fickle(status, vec![body]).await
}

/// Answers one request with each of these bodies, and all others with the last.
async fn fickle(status: &'static str, bodies: Vec<String>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let last = bodies.last().cloned().unwrap();
        let mut bodies = bodies.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = bodies.next().unwrap_or_else(|| last.clone());
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
        }
    });
    url
}

fn some_key() -> XOnlyPublicKey {
    "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798".parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impostor_is_refused_with_its_url_and_what_was_wrong() {
    let world = World::new();
    let (oracle, honest) = world.start().await;
    let stranger = OracleClient::new(&oracle.url(), some_key()).unwrap();
    let (price, lows) = (honest.spot().await.unwrap(), honest.lows(DAY_OF_CRASH).await.unwrap());
    assert!(matches!(stranger.spot().await, Err(OracleError::Signature { .. })));
    assert!(matches!(stranger.lows(DAY_OF_CRASH).await, Err(OracleError::Signature { .. })));
    assert!(matches!(stranger.info().await, Err(OracleError::Key { .. })));
    assert!(matches!(stranger.fixing(hour(1)).await, Err(OracleError::Verify { .. })));
    assert!(matches!(
        stranger.touch_announcement(level(7_000), DAY_OF_CRASH, 3).await,
        Err(OracleError::Verify { .. })
    ));
    oracle.stop().await.unwrap();

    let url = impostor("200 OK", serde_json::to_string(&lows).unwrap()).await;
    let client = OracleClient::new(&url, honest.key()).unwrap();
    let error = client.lows(Day(18_334)).await.unwrap_err().to_string();
    assert!(error.contains("20200313") && error.contains("20200312") && error.contains(&url), "{error}");

    let mut forged = price;
    forged.cents = Cents(1);
    let url = impostor("200 OK", serde_json::to_string(&forged).unwrap()).await;
    assert!(matches!(OracleClient::new(&url, honest.key()).unwrap().spot().await, Err(OracleError::Signature { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_long_or_unreadable_or_elsewhere_is_an_error_and_no_more() {
    for (status, body, says) in [
        ("200 OK", "x".repeat(70_000), "longer than"),
        ("200 OK", "{}".to_string(), "cannot be read"),
        ("200 OK", format!("[{}", "[".repeat(60_000)), "cannot be read"),
        ("302 Found", String::new(), "status 302"),
        ("500 Oops", "<html>".to_string(), "status 500"),
        ("500 Oops", "x".repeat(70_000), "longer than"),
        ("nonsense", String::new(), "no answer"),
    ] {
        let url = impostor(status, body).await;
        let error = OracleClient::new(&url, some_key()).unwrap().spot().await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&url), "{error}");
        // The longest answers are given up at the limit they name.
        if let Some(most) = error.split("longer than ").nth(1).and_then(|rest| rest.split(' ').next()) {
            println!("bound mirror-answer {most} bytes of an answer to one question");
        }
    }
    for url in ["", "127.0.0.1:3939", "ftp://x", "http://a@b", "http://b?x", "file:///etc/passwd"] {
        assert!(matches!(OracleClient::new(url, some_key()), Err(OracleError::Url { .. })), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_spoilt_entries_is_an_error_and_asking_again_may_help() {
    for body in [
        r#"{"announcements":[],"attestations":[]}"#.to_string(),
        format!(r#"{{"announcements":[{}],"attestations":[]}}"#, vec![r#""00""#; 24].join(",")),
    ] {
        let client = OracleClient::new(&impostor("200 OK", body).await, some_key()).unwrap();
        assert!(matches!(client.fixing(hour(1)).await, Err(OracleError::Bundle { .. })));
    }
    let client = OracleClient::new("http://127.0.0.1:1", some_key()).unwrap();
    assert!(matches!(client.fixing(Time(7)).await, Err(OracleError::Bundle { .. })), "not a full hour: never asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_shown_only_as_both_keys_signed_it() {
    use hypothec_oracle::announce::OracleKeys;
    use hypothec_oracle::rotation::{Rotation, RotationError};
    let keys = |byte| OracleKeys::from_secret(bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap());
    let (old, new) = (keys(1), keys(2));
    let said = Rotation::sign(&old, &new, hour(1)).unwrap();
    let served = |rotations: Vec<Rotation>| serde_json::to_string(&rotations).unwrap();
    let ask = |body: String| async {
        let client = OracleClient::new(&impostor("200 OK", body).await, old.public_key()).unwrap();
        client.rotations().await
    };
    assert_eq!(ask(served(vec![said])).await.unwrap().steps, [said]);
    let forged = Rotation { from: hour(2), ..said };
    let refused = ask(served(vec![forged])).await;
    assert!(matches!(refused, Err(OracleError::Rotation { source: RotationError::Signature { .. }, .. })));
    // Whoever adds one that is not signed, or one of others, hides no true one.
    let itself = Rotation { new_key: said.old_key, ..said };
    for added in [forged, itself, Rotation::sign(&keys(4), &keys(5), hour(1)).unwrap()] {
        assert_eq!(ask(served(vec![added, said])).await.unwrap().steps, [said], "{added:?}");
    }
    let other = Rotation::sign(&old, &keys(3), hour(1)).unwrap();
    let two = ask(served(vec![said, other])).await.unwrap();
    assert_eq!((two.steps.len(), two.conflict), (0, Some((said, other))));
    // From two places, one of which is dropped by neither: both are the key's own words.
    let urls = [impostor("200 OK", served(vec![said])).await, impostor("200 OK", served(vec![other])).await];
    let client = OracleClient::with_mirrors(&urls, old.public_key()).unwrap();
    assert_eq!(client.rotations().await.unwrap().conflict, Some((said, other)));
    assert!(client.dropped().is_empty());
    let none = impostor("404 Not Found", r#"{"code":"no_rotation","message":"none"}"#.to_string()).await;
    assert!(OracleClient::new(&none, old.public_key()).unwrap().rotations().await.unwrap().statements().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_serves_anything_else_is_dropped_and_named_and_the_oracle_is_still_heard() {
    let world = World::new();
    world.set(hour(26));
    let (oracle, honest) = world.start().await;
    let lows = honest.lows(DAY_OF_CRASH).await.unwrap();
    let mut forged = lows.clone();
    forged.lows[3] = Some(Cents(1));
    let (forger, other) = (
        impostor("200 OK", serde_json::to_string(&forged).unwrap()).await,
        impostor("200 OK", "<html>".to_string()).await,
    );
    let away = "http://127.0.0.1:1".to_string();
    let urls = [forger.clone(), oracle.url(), other.clone(), away];
    let client = OracleClient::with_mirrors(&urls, honest.key()).unwrap();
    assert_eq!(client.lows(DAY_OF_CRASH).await.unwrap(), lows);
    let dropped = client.dropped();
    assert_eq!(dropped.len(), 2, "who is merely away is not dropped: {dropped:?}");
    for (url, why) in [(&forger, "signature"), (&other, "cannot be read")] {
        let said = dropped.iter().find(|said| said.contains(&format!("mirror {url} "))).unwrap();
        assert!(said.contains(why) && said.contains(&honest.key().to_string()), "{said}");
    }
    let touch = Event::Touch { level: level(7_000), day: DAY_OF_CRASH, from_hour: 9 };
    assert_eq!(client.announcement(touch).await.unwrap(), honest.announcement(touch).await.unwrap());
    assert!(client.touch_attestation(touch).await.unwrap().is_some());
    oracle.stop().await.unwrap();
    assert!(matches!(client.spot().await, Err(OracleError::Unreachable { .. })));
    assert_eq!(client.dropped().len(), 2, "the last ones are kept");
    println!("bound lying-mirror 1 false answer, then it is left alone for 600 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_that_signed_two_lows_for_one_final_hour_is_caught_by_its_mirrors() {
    use hypothec_oracle::wire::SignedLows;
    let keys = hypothec_oracle::announce::OracleKeys::from_secret(
        bitcoin::secp256k1::SecretKey::from_slice(&[9; 32]).unwrap(),
    );
    let mut lows = [Some(Cents(800_000)); 24];
    let one = SignedLows::sign(&keys, DAY_OF_CRASH, hour(26), lows);
    lows[5] = Some(Cents(700_000));
    let two = SignedLows::sign(&keys, DAY_OF_CRASH, hour(26), lows);
    // Not final there: the hour may still fall.
    lows[5] = Some(Cents(900_000));
    let early = SignedLows::sign(&keys, DAY_OF_CRASH, hour(5), lows);
    let serve = |lows: SignedLows| async move { impostor("200 OK", serde_json::to_string(&lows).unwrap()).await };
    let (one, two, early) = (serve(one).await, serve(two).await, serve(early).await);
    let ask = |urls: [&String; 2]| {
        let client = OracleClient::with_mirrors(&urls.map(Clone::clone), keys.public_key()).unwrap();
        async move { (client.lows(DAY_OF_CRASH).await, client.equivocation()) }
    };
    let (agreed, proof) = ask([&early, &one]).await;
    assert!(agreed.unwrap().is_closed() && proof.is_none());
    let (refused, proof) = ask([&one, &two]).await;
    let (error, proof) = (refused.unwrap_err().to_string(), proof.expect("two lows make a proof"));
    assert!(proof.check() == Ok(keys.public_key()) && proof.about().contains("2020-03-12T05:00:00Z"), "{proof:?}");
    assert!(error.contains("contradicts itself") && error.contains(&one) && error.contains(&two), "{error}");
    for urls in [vec![], vec![one.clone(), one.clone()], vec![one; 9]] {
        assert!(matches!(OracleClient::with_mirrors(&urls, keys.public_key()), Err(OracleError::Url { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_that_changes_its_mind_about_a_final_hour_is_proved_by_one_place_alone_and_still_heard() {
    use hypothec_oracle::wire::SignedLows;
    let keys = hypothec_oracle::announce::OracleKeys::from_secret(
        bitcoin::secp256k1::SecretKey::from_slice(&[9; 32]).unwrap(),
    );
    let say = |final_hours: u32, fourth: u64| {
        let mut lows = [None; 24];
        lows[..4].copy_from_slice(&[Cents(900_000), Cents(850_000), Cents(800_000), Cents(fourth)].map(Some));
        serde_json::to_string(&SignedLows::sign(&keys, DAY_OF_CRASH, hour(final_hours), lows)).unwrap()
    };
    // The hour falls while it runs, is final, and is another hour later.
    let url = fickle("200 OK", vec![say(3, 790_000), say(4, 780_000), say(4, 780_000), say(5, 770_000)]).await;
    let client = OracleClient::new(&url, keys.public_key()).unwrap();
    for _ in 0..3 {
        client.lows(DAY_OF_CRASH).await.unwrap();
        assert!(client.equivocation().is_none());
    }
    assert_eq!(client.lows(DAY_OF_CRASH).await.unwrap().lows[3], Some(Cents(770_000)));
    let proof = client.equivocation().expect("two lows make a proof");
    assert!(proof.check() == Ok(keys.public_key()) && proof.about().contains("2020-03-12T03:00:00Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_that_serve_two_fixings_or_two_announcements_of_one_hour_give_a_proof() {
    use bitcoin::key::Keypair;
    use bitcoin::secp256k1::{Message, SecretKey, SECP256K1};
    use hypothec_oracle::announce::{nonce_proof_message, oracle_event, OracleKeys, ProvenAnnouncement};
    use hypothec_oracle::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage};
    use hypothec_oracle::verify::fixing_digits;
    let secret = SecretKey::from_slice(&[9; 32]).unwrap();
    let (keys, event) = (OracleKeys::from_secret(secret), Event::Fixing { at: hour(3) });
    let bundle = Bundle::of(event);
    let index = u32::try_from(bundle.index(event).unwrap()).unwrap();
    let honest: Vec<_> = bundle.events().into_iter().map(|event| keys.announcement(event).unwrap()).collect();
    let announcement = honest[index as usize].announcement.clone();
    let page = |cents, announced: &[ProvenAnnouncement]| {
        let attestation = keys.attest(event, fixing_digits(Cents(cents))).unwrap();
        let announcements = announced.iter().map(pack_announcement).collect();
        let page = BundlePage { announcements, attestations: vec![pack_attestation(index, &attestation)] };
        impostor("200 OK", serde_json::to_string(&page).unwrap())
    };
    let (one, two) = (page(800_000, &honest).await, page(700_000, &honest).await);
    let client = |urls: [&String; 2]| OracleClient::with_mirrors(&urls.map(Clone::clone), keys.public_key()).unwrap();
    let agreeing = client([&one, &page(800_000, &honest).await]);
    assert!(agreeing.fixing_attestation(hour(3)).await.unwrap().is_some() && agreeing.equivocation().is_none());
    let twice = client([&one, &two]);
    let shared = twice.clone();
    let error = twice.attestation(event, &announcement).await.unwrap_err();
    assert!(matches!(error, OracleError::Contradiction { .. }), "{error}");
    let proof = shared.equivocation().expect("two outcomes make a proof");
    assert!(proof.check() == Ok(keys.public_key()) && proof.reveals_the_key());

    // The same hour with other nonces, as well signed and proven.
    let nonces: Vec<Keypair> =
        (101..121u8).map(|byte| SecretKey::from_slice(&[byte; 32]).unwrap().keypair(SECP256K1)).collect();
    let points = nonces.iter().map(|nonce| nonce.x_only_public_key().0).collect();
    let announced = oracle_event(event, points).unwrap();
    let message: Message = nonce_proof_message(&keys.public_key(), &announced);
    let nonce_proofs = nonces.iter().map(|nonce| SECP256K1.sign_schnorr_no_aux_rand(&message, nonce)).collect();
    let tagged = dlc_messages::oracle_msgs::tagged_announcement_msg(&announced);
    let again = crate::contract::OracleAnnouncement {
        announcement_signature: SECP256K1.sign_schnorr_no_aux_rand(&tagged, &secret.keypair(SECP256K1)),
        oracle_public_key: keys.public_key(),
        oracle_event: announced,
    };
    let mut other = honest.clone();
    other[index as usize] = ProvenAnnouncement { announcement: again, nonce_proofs };
    let twice = client([&one, &page(800_000, &other).await]);
    assert!(matches!(twice.fixing(hour(3)).await, Err(OracleError::Contradiction { .. })));
    let proof = twice.equivocation().expect("two announcements make a proof");
    assert!(proof.check() == Ok(keys.public_key()) && !proof.reveals_the_key());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_look_downloads_a_page_of_attestations_once_whatever_it_settles() {
    use bitcoin::secp256k1::SecretKey;
    use hypothec_oracle::announce::OracleKeys;
    use hypothec_oracle::bundle::{pack_attestation, Bundle, BundlePage};
    use hypothec_oracle::verify::fixing_digits;
    let keys = OracleKeys::from_secret(SecretKey::from_slice(&[9; 32]).unwrap());
    let event = |number| Event::Fixing { at: hour(number) };
    let bundle = Bundle::of(event(3));
    let signed = |number| {
        let attestation = keys.attest(event(number), fixing_digits(Cents(800_000))).unwrap();
        pack_attestation(u32::try_from(bundle.index(event(number)).unwrap()).unwrap(), &attestation)
    };
    let page = |attestations| serde_json::to_string(&BundlePage { announcements: Vec::new(), attestations }).unwrap();
    // What is asked a second time finds a page on which hour 4 stands too.
    let url = fickle("200 OK", vec![page(vec![signed(3)]), page(vec![signed(3), signed(4)])]).await;
    let client = OracleClient::new(&url, keys.public_key()).unwrap().for_watch();
    let announced = [3, 4].map(|number| keys.announcement(event(number)).unwrap().announcement);
    let look = client.for_look();
    for _ in 0..100 {
        assert!(look.attestation(event(3), &announced[0]).await.unwrap().is_some());
        assert!(look.attestation(event(4), &announced[1]).await.unwrap().is_none(), "another page was downloaded");
    }
    let next = client.for_look();
    assert!(next.attestation(event(4), &announced[1]).await.unwrap().is_some(), "the next look sees what is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_behind_hides_no_low_of_the_hour_that_runs() {
    use hypothec_oracle::wire::SignedLows;
    let keys = hypothec_oracle::announce::OracleKeys::from_secret(
        bitcoin::secp256k1::SecretKey::from_slice(&[9; 32]).unwrap(),
    );
    let mut lows = [None; 24];
    (lows[13], lows[14]) = (Some(Cents(800_000)), Some(Cents(790_000)));
    let stale = SignedLows::sign(&keys, DAY_OF_CRASH, hour(14), lows);
    lows[14] = Some(Cents(500_000));
    let fresh = SignedLows::sign(&keys, DAY_OF_CRASH, hour(14), lows);
    let serve = |lows: &SignedLows| impostor("200 OK", serde_json::to_string(lows).unwrap());
    let urls = [serve(&stale).await, serve(&fresh).await];
    let client = OracleClient::with_mirrors(&urls, keys.public_key()).unwrap();
    assert_eq!(client.lows(DAY_OF_CRASH).await.unwrap(), fresh);
    assert!(client.dropped().is_empty() && client.equivocation().is_none(), "to be behind is no lie");
    // Told once, it stays told, whatever is served later.
    let bodies = [&fresh, &stale].map(|lows| serde_json::to_string(lows).unwrap());
    let alone = OracleClient::new(&fickle("200 OK", bodies.to_vec()).await, keys.public_key()).unwrap();
    for _ in 0..3 {
        assert_eq!(alone.lows(DAY_OF_CRASH).await.unwrap(), fresh);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_never_answers_is_left_alone_and_named_while_another_does() {
    let world = World::new();
    world.set(hour(26));
    let (oracle, honest) = world.start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let client = OracleClient::with_mirrors(&[url.clone(), oracle.url()], honest.key()).unwrap();
    let begun = Instant::now();
    for day in [DAY_OF_CRASH, Day(DAY_OF_CRASH.0 - 1), Day(DAY_OF_CRASH.0 - 2), Day(DAY_OF_CRASH.0 - 3)] {
        assert_eq!(client.lows(day).await.unwrap(), honest.lows(day).await.unwrap());
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "one question's patience is thirty: {:?}", begun.elapsed());
    println!("bound silent-mirror {} ms for four questions", begun.elapsed().as_millis());
    let named = client.dropped();
    assert!(named.len() == 1 && named[0].contains(&url) && named[0].contains("does not answer in time"), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracles_words_reach_nobody_with_what_a_terminal_obeys() {
    let wild = r"a\u001b[2J\u202eb\nc";
    let body = format!(r#"{{"code":"{wild}","message":"{wild} {}"}}"#, "x".repeat(1_000));
    let client = OracleClient::new(&impostor("503 Busy", body).await, some_key()).unwrap();
    match client.spot().await.unwrap_err() {
        OracleError::Refused { code, message, .. } => {
            assert!(code == "ab c" && message.starts_with("ab c xxx") && message.len() < 210, "{code} {message}");
        }
        other => panic!("{other}"),
    }
    let info = format!(
        r#"{{"pubkey":"{}","network":"{wild}","version":"{wild}","feed":"{wild}","lowest_level":1,"highest_level":2,"band":3}}"#,
        some_key()
    );
    let info = OracleClient::new(&impostor("200 OK", info).await, some_key()).unwrap().info().await.unwrap();
    assert_eq!([info.network, info.version, info.feed], ["ab c", "ab c", "ab c"]);
    let status = format!(r#"{{"clock":1,"frozen_until":1,"spot_cents":null,"lows":0,"fixings":0,"alarm":"{wild}"}}"#);
    let status = OracleClient::new(&impostor("200 OK", status).await, some_key()).unwrap().status().await.unwrap();
    assert_eq!(status.alarm.as_deref(), Some("ab c"));
    let unreadable = format!(r#"{{"unix":"{wild}"}}"#);
    let error = OracleClient::new(&impostor("200 OK", unreadable).await, some_key()).unwrap().spot().await.unwrap_err();
    assert!(!error.to_string().contains(['\u{1b}', '\u{202e}', '\n']), "{error:?}");
    let error = OracleClient::new("http://a\u{1b}[2J\u{202e}", some_key()).unwrap_err();
    assert!(!error.to_string().contains(['\u{1b}', '\u{202e}']), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_oracle_is_told_by_the_routes_it_lacks() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // As kormir answers: its key, and nothing by other paths.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let length = stream.read(&mut asked).await.unwrap_or(0);
            let is_key = asked[..length].starts_with(b"GET /pubkey ");
            let body = if is_key { format!(r#"{{"pubkey":"{}"}}"#, some_key()) } else { String::new() };
            let status = if is_key { "200 OK" } else { "404 Not Found" };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    let client = OracleClient::connect(&url).await.unwrap();
    let said = super::explained(client.info().await.unwrap_err(), &url).await.to_string();
    for lacked in ["/v1/info (its network; status 404)", "/v1/lows/20260101", "/v1/bands/0/202601", &url] {
        assert!(said.contains(lacked), "{said}");
    }
    assert!(!said.contains("/pubkey ("), "{said}");
    let world = World::new();
    let (oracle, client) = world.start().await;
    let other = OracleError::Refused {
        url: oracle.url(),
        path: "/x".into(),
        status: 404,
        code: String::new(),
        message: String::new(),
    };
    let said = super::explained(other, client.url()).await;
    assert!(matches!(said, OracleError::Refused { .. }), "ours lacks nothing: {said}");
    oracle.stop().await.unwrap();
}
