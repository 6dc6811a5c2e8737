//! Places that drop packets: they take a question and never answer it, or do not even take the connection.

use super::super::OracleClient;
use super::{hour, impostor};
use bitcoin::secp256k1::SecretKey;
use hypothec_oracle::announce::{OracleKeys, ProvenAnnouncement};
use hypothec_oracle::bundle::{pack_attestation, Bundle, BundlePage};
use hypothec_oracle::event::Event;
use hypothec_oracle::units::{Cents, DAY};
use hypothec_oracle::verify::fixing_digits;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// Longer than one question waits for a place, and much less than two do.
const ONCE: Duration = Duration::from_secs(15);

fn keys() -> OracleKeys {
    OracleKeys::from_secret(SecretKey::from_slice(&[9; 32]).unwrap())
}

/// Fixings of as many days, so that each is on a page of its own.
fn fixings(count: u32) -> Vec<(Event, ProvenAnnouncement)> {
    let at = |number: u32| hour(9).plus(number * DAY).unwrap();
    let events = (0..count).map(|number| Event::Fixing { at: at(number) });
    events.map(|event| (event, keys().announcement(event).unwrap())).collect()
}

fn page(said: &[Event]) -> String {
    let pack = |event: &Event| {
        let index = Bundle::of(*event).index(*event).unwrap();
        pack_attestation(u32::try_from(index).unwrap(), &keys().attest(*event, fixing_digits(Cents(500_000))).unwrap())
    };
    let attestations = said.iter().map(pack).collect();
    serde_json::to_string(&BundlePage { announcements: Vec::new(), attestations }).unwrap()
}

/// A place whose answer is what `says` holds, and that never answers while it holds nothing.
async fn holding(says: watch::Receiver<Option<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let says = says.borrow().clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let Some(body) = says else { return std::future::pending().await };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
                let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
            });
        }
    });
    url
}

/// A place to which no connection comes about, and what must be held for that.
async fn unreached() -> (String, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        held.push(stream.unwrap());
    }
    (format!("http://{address}"), listener, held)
}

fn client(urls: &[String]) -> OracleClient {
    OracleClient::with_mirrors(urls, keys().public_key()).unwrap().without_budget()
}

/// How long it takes to hear that none of these fixings was said.
async fn unsaid(client: &OracleClient, fixings: &[(Event, ProvenAnnouncement)]) -> Duration {
    let begun = Instant::now();
    for (event, proven) in fixings {
        assert_eq!(client.attestation(*event, &proven.announcement).await.unwrap(), None);
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_drops_packets_is_waited_for_once_for_all_that_others_have_no_answer_to() {
    let (fixings, (says, heard)) = (fixings(8), watch::channel(None));
    let urls = [impostor("200 OK", page(&[])).await, holding(heard).await, impostor("200 OK", page(&[])).await];
    let client = client(&urls).for_watch();
    let took = unsaid(&client.for_look(), &fixings).await;
    println!("bound silent-place {} s for eight questions", took.as_secs());
    assert!(took < ONCE, "{took:?}");
    // The next look does not wait either, and names it.
    let took = unsaid(&client.for_look(), &fixings).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(client.dropped().iter().any(|said| said.contains(&urls[1]) && said.contains("in time")));
    // It is asked all the same: what it alone knows is heard as soon as it answers, and no minute later.
    says.send(Some(page(&[fixings[3].0]))).unwrap();
    let (event, proven) = &fixings[3];
    let alive = Instant::now();
    while client.for_look().attestation(*event, &proven.announcement).await.unwrap().is_none() {
        assert!(alive.elapsed() < Duration::from_secs(20), "it is alive, and not asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(client.dropped().is_empty(), "{:?}", client.dropped());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_without_a_connection_is_waited_for_once_too() {
    let (url, _listener, _held) = unreached().await;
    let urls = [impostor("200 OK", page(&[])).await, url];
    let took = unsaid(&client(&urls).for_watch().for_look(), &fixings(8)).await;
    assert!(took < ONCE, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_dropped_and_drops_packets_since_is_waited_for_once_too() {
    let (fixings, (says, heard)) = (fixings(8), watch::channel(Some("<html>please log in</html>".to_owned())));
    let urls = [holding(heard).await, impostor("200 OK", page(&[])).await];
    let client = client(&urls).for_watch();
    unsaid(&client.for_look(), &fixings[..1]).await;
    assert!(client.false_places().iter().any(|said| said.contains(&urls[0])), "{:?}", client.false_places());
    says.send(None).unwrap();
    let took = unsaid(&client.for_look(), &fixings).await;
    assert!(took < ONCE, "{took:?}");
    let said = client.false_places();
    assert!(said.len() == 1 && said[0].contains("Since then: it does not answer in time"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_other_answers_at_all_a_place_that_was_silent_is_waited_for_as_ever() {
    let (fixings, (says, heard)) = (fixings(2), watch::channel(None));
    let (other_says, other_heard) = watch::channel(Some(page(&[])));
    let urls = [holding(heard).await, holding(other_heard).await];
    let client = client(&urls);
    unsaid(&client, &fixings[..1]).await;
    // The one that answered has nothing more to say to anybody, and the silent one has the fixing.
    says.send(Some(page(&[fixings[1].0]))).unwrap();
    other_says.send(Some("<html>please log in</html>".to_owned())).unwrap();
    let (event, proven) = &fixings[1];
    assert!(client.attestation(*event, &proven.announcement).await.unwrap().is_some());
}
