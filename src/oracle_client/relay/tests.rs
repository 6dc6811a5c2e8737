//! A client that hears relays: real ones in this process, and ones that lie.

use crate::oracle_client::{OracleClient, OracleError};
use bitcoin::key::{Keypair, XOnlyPublicKey};
use bitcoin::secp256k1::{Message as Digest, SecretKey, SECP256K1};
use dlc_messages::oracle_msgs::OracleAttestation;
use futures_util::{SinkExt, StreamExt};
use hypothec_oracle::announce::{nonce_proof_message, oracle_event, OracleKeys, ProvenAnnouncement};
use hypothec_oracle::bundle::{pack_announcement, pack_attestation, Bundle, BundlePage};
use hypothec_oracle::event::Event;
use hypothec_oracle::ladder::Level;
use hypothec_oracle::relay::note::{Draft, Note, NoteId};
use hypothec_oracle::relay::{Heard, Line};
use hypothec_oracle::units::{Cents, Day, Time, HOUR};
use hypothec_oracle::verify::fixing_digits;
use nostr_relay_builder::builder::{RateLimit, RelayBuilder};
use nostr_relay_builder::{LocalRelay, MockRelay};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// 12 March 2020, 00:00.
const START: Time = Time(1_583_971_200);
const TODAY: Day = Day(18_333);

fn hour(number: u32) -> Time {
    START.plus(number * HOUR).unwrap()
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn keys() -> OracleKeys {
    OracleKeys::from_secret(secret(9))
}

fn fixing(number: u32) -> Event {
    Event::Fixing { at: hour(number) }
}

fn touch(dollars: u32) -> Event {
    Event::Touch { level: Level::exactly(dollars).unwrap(), day: TODAY, from_hour: 0 }
}

fn signed(draft: Draft, keys: &OracleKeys) -> Note {
    let signature = draft.sign(keys);
    draft.signed(signature).unwrap()
}

fn announced_by(keys: &OracleKeys, event: Event) -> Note {
    signed(Draft::announcement(event, &keys.announcement(event).unwrap()).unwrap(), keys)
}

fn announced(event: Event) -> Note {
    announced_by(&keys(), event)
}

fn said(event: Event, cents: u64) -> OracleAttestation {
    let outcomes = match event {
        Event::Fixing { .. } => fixing_digits(Cents(cents)),
        _ => vec![event.to_string()],
    };
    keys().attest(event, outcomes).unwrap()
}

fn attested(event: Event, cents: u64) -> Note {
    signed(Draft::attestation(event, &said(event, cents), announced(event).id).unwrap(), &keys())
}

/// The note, changed, with the id and signature that it then must have: what the oracle itself would have to make.
fn again(mut note: Note, change: impl FnOnce(&mut Note)) -> Note {
    change(&mut note);
    note.id = NoteId::new(&note.pubkey, &note.created_at, &note.kind, &note.tags, &note.content);
    let id = Digest::from_digest(note.id.to_bytes());
    note.sig = SECP256K1.sign_schnorr_no_aux_rand(&id, &secret(9).keypair(SECP256K1));
    note
}

/// Gives a relay notes.
async fn give(relay: &str, notes: Vec<Note>) {
    let mut line = Line::open(relay).await.unwrap();
    for note in notes {
        line.give(note).await.unwrap();
        while !matches!(line.hear(Duration::from_secs(20)).await.unwrap(), Heard::Taken(_, true, _)) {}
    }
}

fn written(url: impl ToString) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

async fn relay_with(notes: Vec<Note>) -> (MockRelay, String) {
    let relay = MockRelay::run().await.unwrap();
    let url = written(relay.url().await);
    give(&url, notes).await;
    (relay, url)
}

/// A relay that answers every subscription with these texts, `SUB` in them standing for its name, and then says that
/// this was all.
async fn liar(texts: Vec<String>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let texts = texts.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let Ok(asked) = serde_json::from_str::<Vec<serde_json::Value>>(&message.to_string()) else {
                        return;
                    };
                    if asked[0] != "REQ" {
                        continue;
                    }
                    // Never by an event: an author, two kinds, a moment, a number.
                    let fields: Vec<&String> = asked[2].as_object().unwrap().keys().collect();
                    assert!(fields
                        .iter()
                        .all(|field| ["authors", "kinds", "since", "until", "limit"].contains(&field.as_str())));
                    let name = asked[1].as_str().unwrap();
                    let end = format!("[\"EOSE\",\"{name}\"]");
                    for text in texts.iter().map(|text| text.replace("SUB", name)).chain([end]) {
                        if socket.send(Message::text(text)).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    url
}

fn served(note: &Note) -> String {
    format!("[\"EVENT\",\"SUB\",{}]", serde_json::to_string(note).unwrap())
}

/// An HTTP server that answers everything with this status and body.
async fn http(status: &'static str, body: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes()).await;
        }
    });
    url
}

/// No HTTP server is there.
const DARK: &str = "http://127.0.0.1:1";

fn client(urls: &[&str]) -> OracleClient {
    let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
    OracleClient::with_mirrors(&urls, keys().public_key()).unwrap()
}

/// Asks again until a relay has pushed what it was given.
async fn until_heard(client: &OracleClient, event: Event) -> OracleAttestation {
    let (announcement, asked) = (keys().announcement(event).unwrap().announcement, Instant::now());
    loop {
        if let Ok(Some(said)) = client.attestation(event, &announcement).await {
            return said;
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "{event} is not heard");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_has_and_what_it_is_given_later_is_heard_when_every_http_mirror_is_dark() {
    let (relay, url) = relay_with(vec![announced(touch(7_000)), attested(touch(7_000), 0), announced(fixing(3))]).await;
    let client = client(&[DARK, &url]);
    assert_eq!(client.urls(), [DARK, url.as_str()]);
    assert_eq!(until_heard(&client, touch(7_000)).await, said(touch(7_000), 0));
    assert_eq!(client.announcement(fixing(3)).await.unwrap(), keys().announcement(fixing(3)).unwrap());
    let announcement = keys().announcement(fixing(3)).unwrap().announcement;
    assert!(matches!(client.attestation(fixing(3), &announcement).await, Err(OracleError::Unreachable { .. })));
    assert_eq!(client.attestation_by_relays(fixing(3), &announcement).await.unwrap(), None, "not said yet");
    give(&url, vec![attested(fixing(3), 798_765)]).await;
    assert_eq!(until_heard(&client, fixing(3)).await, said(fixing(3), 798_765));
    // An older window is opened when it is asked for, and a relay that hung up is heard again with what was heard before.
    let old = Event::Fixing { at: Time(START.0 - 4 * super::WINDOW) };
    give(&url, vec![announced(old), attested(old, 500_000)]).await;
    assert_eq!(until_heard(&client, old).await, said(old, 500_000));
    relay.shutdown();
    drop(relay);
    assert_eq!(until_heard(&client, fixing(3)).await, said(fixing(3), 798_765), "what was heard stays heard");
    assert!(client.dropped().is_empty(), "who is merely away is not dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_shows_little_at_a_time_is_heard_to_the_end() {
    let builder = RelayBuilder::default().max_filter_limit(20);
    let relay = LocalRelay::new(builder.rate_limit(RateLimit { max_reqs: 500, notes_per_minute: 1_000_000 }));
    relay.run().await.unwrap();
    let url = written(relay.url().await);
    // Four rungs share two seconds; two notes each.
    let levels: Vec<u32> = (0..150).filter_map(|index| Level::at_index(1_700 + index)).map(Level::dollars).collect();
    give(&url, levels.iter().flat_map(|dollars| [announced(touch(*dollars)), attested(touch(*dollars), 0)]).collect())
        .await;
    let client = client(&[DARK, &url]);
    for dollars in levels {
        let announcement = keys().announcement(touch(dollars)).unwrap().announcement;
        let heard = client.attestation_by_relays(touch(dollars), &announcement).await.unwrap();
        assert_eq!(heard, Some(said(touch(dollars), 0)), "{dollars}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_never_ends_what_it_shows_is_waited_for_once_and_what_it_has_shown_counts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = format!("ws://{}", listener.local_addr().unwrap());
    let notes = [announced(fixing(7)), attested(fixing(7), 500_000)].map(|note| served(&note));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let notes = notes.clone();
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                // Alive, and at work for ever.
                let mut beat = tokio::time::interval(Duration::from_secs(1));
                for note in notes.iter().cycle() {
                    if socket.send(Message::text(note.clone())).await.is_err() {
                        return;
                    }
                    beat.tick().await;
                }
            });
        }
    });
    let page = serde_json::to_string(&BundlePage { announcements: Vec::new(), attestations: Vec::new() }).unwrap();
    let client = client(&[&http("200 OK", page).await, &relay]);
    let begun = Instant::now();
    for number in [3, 4, 5, 6] {
        let announced = keys().announcement(fixing(number)).unwrap().announcement;
        assert_eq!(client.attestation(fixing(number), &announced).await.unwrap(), None);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(until_heard(&client, fixing(7)).await, said(fixing(7), 500_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lies_is_dropped_and_named() {
    let other = OracleKeys::from_secret(secret(8));
    let mut unsigned = announced(fixing(3));
    unsigned.sig = attested(fixing(3), 1).sig;
    let mut changed = announced(fixing(3));
    changed.content = announced(fixing(4)).content;
    let mut forged = announced(fixing(3));
    forged.content = "AAAA".into();
    let mut nothing = said(touch(7_000), 0);
    nothing.event_id = "ethusd1584007200".into();
    let nothing = Draft::attestation(touch(7_000), &nothing, announced(touch(7_000)).id).unwrap();
    // The words of another hour under this hour's name: rightly signed, with nonces that were announced for the other.
    let renamed = OracleAttestation { event_id: fixing(3).to_string(), ..said(fixing(4), 798_765) };
    let renamed = signed(Draft::attestation(fixing(3), &renamed, announced(fixing(3)).id).unwrap(), &keys());
    let elsewhere = Draft::attestation(fixing(3), &said(fixing(3), 1), announced(fixing(4)).id).unwrap();
    let elsewhere = signed(elsewhere, &keys());
    let lies: Vec<(&str, Vec<String>, &str)> = vec![
        ("another's word", vec![served(&announced_by(&other, fixing(3)))], "its author is"),
        ("another kind", vec![served(&again(announced(fixing(3)), |note| note.kind = 1u16.into()))], "of kind 1"),
        ("a note nobody signed", vec![served(&unsigned)], "its signature is not valid"),
        ("a note that was changed", vec![served(&changed)], "its id is not valid"),
        (
            "a note changed after it was heard",
            vec![served(&announced(fixing(3))), served(&forged)],
            "its id is not valid",
        ),
        ("no base64", vec![served(&again(announced(fixing(3)), |note| note.content = "?".into()))], "cannot be read"),
        ("no TLV", vec![served(&again(announced(fixing(3)), |note| note.content = "AAAA".into()))], "cannot be read"),
        (
            "no proofs",
            vec![served(&again(announced(fixing(3)), |note| {
                note.tags.pop();
            }))],
            "nonce_proofs",
        ),
        ("an attestation of nothing", vec![served(&signed(nothing, &keys()))], "no event of an oracle"),
        ("an attestation with other nonces", vec![served(&announced(fixing(3))), served(&renamed)], "another nonce"),
        ("the same, in the other order", vec![served(&renamed), served(&announced(fixing(3)))], "another nonce"),
        (
            "an attestation beside another's announcement",
            vec![served(&announced(fixing(4))), served(&elsewhere)],
            "names a note of",
        ),
        (
            "the same, in the other order",
            vec![served(&elsewhere), served(&announced(fixing(4)))],
            "names it as its announcement",
        ),
        ("no JSON", vec!["<html>".into()], "what is no message of a relay"),
        ("a broken event", vec!["[\"EVENT\",\"SUB\",{\"id\":1}]".into()], "what is no message of a relay"),
        ("a very long message", vec![format!("[\"NOTICE\",\"{}\"]", "x".repeat(70_000))], "longer than 65536"),
    ];
    let (_relay, honest) = relay_with(vec![announced(fixing(3)), attested(fixing(3), 798_765)]).await;
    let kinds = lies.len();
    for (what, texts, why) in lies {
        let url = liar(texts).await;
        let client = client(&[DARK, &url, &honest]);
        assert_eq!(until_heard(&client, fixing(3)).await, said(fixing(3), 798_765), "{what}: the honest one is heard");
        let dropped = client.dropped();
        assert_eq!(dropped.len(), 1, "{what}: {dropped:?}");
        let key = keys().public_key();
        assert!(
            dropped[0].starts_with(&format!("mirror {url} of oracle {key} is dropped: relay {url} served ")),
            "{what}: {dropped:?}"
        );
        assert!(dropped[0].contains(why) && dropped[0].contains("Add the oracle again"), "{what}: {dropped:?}");
    }
    println!("bound lying-relay 1 note of {kinds} kinds of lie, then it is asked no more");
    // A relay that lies is dropped even where nobody else is left; whoever asks is told what is missing.
    let url = liar(vec![served(&unsigned)]).await;
    let client = client(&[DARK, &url]);
    assert!(matches!(client.announcement(fixing(3)).await, Err(OracleError::Unreachable { .. })));
    assert_eq!(client.dropped().len(), 1);
    for urls in [vec![honest.clone()], vec![DARK.into(), honest.clone(), format!("{honest}/")], vec!["ws://a@b".into()]]
    {
        let refused = OracleClient::with_mirrors(&urls, keys().public_key()).unwrap_err();
        assert!(matches!(refused, OracleError::Url { .. }), "{refused}");
    }
}

/// The same event with other nonces, as well signed and proven.
fn announced_twice(event: Event) -> ProvenAnnouncement {
    let nonces: Vec<Keypair> = (101..121u8).map(|byte| secret(byte).keypair(SECP256K1)).collect();
    let points: Vec<XOnlyPublicKey> = nonces.iter().map(|nonce| nonce.x_only_public_key().0).collect();
    let again = oracle_event(event, points).unwrap();
    let message = nonce_proof_message(&keys().public_key(), &again);
    let nonce_proofs = nonces.iter().map(|nonce| SECP256K1.sign_schnorr_no_aux_rand(&message, nonce)).collect();
    let tagged = dlc_messages::oracle_msgs::tagged_announcement_msg(&again);
    let announcement = crate::contract::OracleAnnouncement {
        announcement_signature: SECP256K1.sign_schnorr_no_aux_rand(&tagged, &secret(9).keypair(SECP256K1)),
        oracle_public_key: keys().public_key(),
        oracle_event: again,
    };
    ProvenAnnouncement { announcement, nonce_proofs }
}

#[tokio::test(flavor = "multi_thread")]
async fn nostr_and_http_are_cross_checked() {
    let event = fixing(3);
    let bundle = Bundle::of(event);
    let index = u32::try_from(bundle.index(event).unwrap()).unwrap();
    let announcements =
        bundle.events().into_iter().map(|event| pack_announcement(&keys().announcement(event).unwrap()));
    let attestations = vec![pack_attestation(index, &said(event, 800_000))];
    let page = BundlePage { announcements: announcements.collect(), attestations };
    let server = http("200 OK", serde_json::to_string(&page).unwrap()).await;
    let announcement = keys().announcement(event).unwrap().announcement;

    // The same words at both: one answer.
    let (_relay, url) = relay_with(vec![announced(event), attested(event, 800_000)]).await;
    let agreeing = client(&[&server, &url]);
    assert_eq!(agreeing.attestation(event, &announcement).await.unwrap(), Some(said(event, 800_000)));
    assert_eq!(agreeing.announcement(event).await.unwrap().announcement, announcement);
    assert!(agreeing.equivocation().is_none() && agreeing.dropped().is_empty());

    // Another price on the relay: a proof, which gives the key away.
    let (_relay, url) = relay_with(vec![announced(event), attested(event, 700_000)]).await;
    let twice = client(&[&server, &url]);
    let error = twice.attestation(event, &announcement).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, OracleError::Contradiction { .. }) && text.contains(&server) && text.contains(&url),
        "{text}"
    );
    let proof = twice.equivocation().unwrap();
    assert!(proof.check() == Ok(keys().public_key()) && proof.reveals_the_key());

    // Both prices on one relay, and no server.
    let (_relay, url) =
        relay_with(vec![announced(event), attested(event, 700_000), again(attested(event, 710_000), |_| ())]).await;
    let twice = client(&[DARK, &url]);
    assert!(matches!(twice.attestation(event, &announcement).await, Err(OracleError::Contradiction { .. })));
    assert!(twice.equivocation().unwrap().reveals_the_key());

    // Another announcement on the relay: a proof, found whether the announcement is asked for or an attestation is.
    let other = signed(Draft::announcement(event, &announced_twice(event)).unwrap(), &keys());
    let (_relay, url) = relay_with(vec![other]).await;
    let twice = client(&[&server, &url]);
    assert!(matches!(twice.announcement(event).await, Err(OracleError::Contradiction { .. })));
    assert!(!twice.equivocation().unwrap().reveals_the_key());
    let twice = client(&[&server, &url]);
    assert_eq!(twice.attestation(event, &announcement).await.unwrap(), Some(said(event, 800_000)), "it still settles");
    assert_eq!(twice.equivocation().unwrap().check(), Ok(keys().public_key()));
}
