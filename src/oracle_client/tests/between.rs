//! Places that stand between: old answers at once, while an honest place is slow, or was spoilt for a moment.

use super::super::OracleClient;
use super::{fickle, hour, impostor, DAY_OF_CRASH};
use hypothec_oracle::announce::OracleKeys;
use hypothec_oracle::bundle::{pack_attestation, Bundle, BundlePage};
use hypothec_oracle::event::Event;
use hypothec_oracle::units::{Cents, Time, HOUR};
use hypothec_oracle::verify::fixing_digits;
use hypothec_oracle::wire::{SignedLows, SignedPrice};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn keys() -> OracleKeys {
    OracleKeys::from_secret(bitcoin::secp256k1::SecretKey::from_slice(&[9; 32]).unwrap())
}

/// The day's lows as of an hour: nothing until then but what is given.
fn lows(until: u32, low: Option<(usize, Cents)>) -> SignedLows {
    let mut lows = [None; 24];
    low.into_iter().for_each(|(hour, cents)| lows[hour] = Some(cents));
    SignedLows::sign(&keys(), DAY_OF_CRASH, hour(until), lows)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// Answers every request with the body, later than others are waited for.
async fn slow(body: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = body.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = tokio::time::timeout(Duration::from_secs(3), std::future::pending::<()>()).await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
                let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
            });
        }
    });
    url
}

/// One place that answers at once, and one that is slow.
async fn both(fast: String, late: String) -> OracleClient {
    let urls = [impostor("200 OK", fast).await, slow(late).await];
    OracleClient::with_mirrors(&urls, keys().public_key()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_place_with_old_words_keeps_no_slow_honest_place_from_being_heard() {
    let (old, new) = (lows(3, None), lows(9, Some((5, Cents(500_000)))));
    let now = Time(hour(9).0 + 1_000);
    let client = both(json(&old), json(&new)).await;
    let begun = Instant::now();
    assert_eq!(client.lows_at(DAY_OF_CRASH, now).await.unwrap(), new);
    println!("bound fast-mirror {} ms for what comes after 3 s", begun.elapsed().as_millis());
    assert!(client.dropped().is_empty(), "{:?}", client.dropped());
    // Left alone for being slow where all seemed well, it is asked all the same when the other falls behind.
    let client = both(json(&old), json(&new)).await;
    assert_eq!(client.lows_at(DAY_OF_CRASH, hour(3)).await.unwrap(), old);
    assert_eq!(client.dropped().len(), 1);
    assert_eq!(client.lows_at(DAY_OF_CRASH, now).await.unwrap(), new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_place_with_an_old_price_or_without_the_fixing_keeps_no_slow_honest_place_from_being_heard() {
    let price = |unix, cents| SignedPrice::sign(&keys(), unix, Cents(cents));
    let client = both(json(&price(hour(1), 800_000)), json(&price(hour(9), 500_000))).await;
    assert_eq!(client.spot_since(hour(9)).await.unwrap().cents, Cents(500_000));

    let event = Event::Fixing { at: hour(9) };
    let index = u32::try_from(Bundle::of(event).index(event).unwrap()).unwrap();
    let said = keys().attest(event, fixing_digits(Cents(500_000))).unwrap();
    let page = |attestations| json(&BundlePage { announcements: Vec::new(), attestations });
    let client = both(page(Vec::new()), page(vec![pack_attestation(index, &said)])).await;
    let announced = keys().announcement(event).unwrap().announcement;
    assert_eq!(client.attestation(event, &announced).await.unwrap(), Some(said));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_spoilt_for_a_moment_takes_no_honest_place_away_for_good() {
    let (old, new) = (lows(3, None), lows(9, Some((5, Cents(500_000)))));
    let now = Time(hour(9).0 + HOUR / 2);
    let login = "<html>please log in</html>".to_owned();
    let honest = fickle("200 OK", vec![login, json(&new)]).await;
    let urls = [honest.clone(), impostor("200 OK", json(&old)).await];
    let client = OracleClient::with_mirrors(&urls, keys().public_key()).unwrap();
    assert_eq!(client.lows_at(DAY_OF_CRASH, hour(3)).await.unwrap(), old);
    let said = client.false_places();
    assert!(said.len() == 1 && said[0].contains(&honest) && said[0].contains("in 10 minutes"), "{said:?}");
    // What the other says is too old to be all there is.
    assert_eq!(client.lows_at(DAY_OF_CRASH, now).await.unwrap(), new);
    assert!(client.false_places().is_empty(), "it is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_hand_overs_there_and_back_at_two_places_the_same_counts_whichever_place_is_asked_first() {
    use hypothec_oracle::rotation::Rotation;
    let other = OracleKeys::from_secret(bitcoin::secp256k1::SecretKey::from_slice(&[8; 32]).unwrap());
    let there = Rotation::sign(&keys(), &other, hour(1)).unwrap();
    let back = Rotation::sign(&other, &keys(), hour(2)).unwrap();
    let [one, two] = [impostor("200 OK", json(&[there])).await, impostor("200 OK", json(&[back])).await];
    for urls in [[one.clone(), two.clone()], [two, one]] {
        let client = |key| OracleClient::with_mirrors(&urls, key).unwrap();
        let known = client(keys().public_key()).rotations().await.unwrap();
        assert_eq!((known.steps.as_slice(), known.before.as_slice()), (&[there][..], &[][..]), "{urls:?}");
        let known = client(other.public_key()).rotations().await.unwrap();
        assert_eq!((known.steps.as_slice(), known.before.as_slice()), (&[][..], &[there][..]), "{urls:?}");
    }
}
