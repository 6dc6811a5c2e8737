use super::*;
use crate::ladder::Level;
use crate::statement::SHAPES;
use crate::units::{Cents, Day};
use crate::verify::fixing_digits;
use bitcoin::hashes::{sha256, Hash};
use nostr::JsonUtil;
use secp256k1_zkp::SecretKey;

const FIXING: Event = Event::Fixing { at: Time(1_584_007_200) };

fn keys(byte: u8) -> OracleKeys {
    OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
}

fn touch(dollars: u32, from_hour: u8) -> Event {
    Event::Touch { level: Level::exactly(dollars).unwrap(), day: Day(18_333), from_hour }
}

/// Both notes of an event.
fn notes(keys: &OracleKeys, event: Event, outcomes: Vec<String>) -> [Note; 2] {
    let announced = Draft::announcement(event, &keys.announcement(event).unwrap()).unwrap();
    let said = keys.attest(event, outcomes).unwrap();
    let attested = Draft::attestation(event, &said, announced.id()).unwrap();
    [announced, attested].map(|draft| {
        let signature = draft.sign(keys);
        draft.signed(signature).unwrap()
    })
}

/// The note with some of it changed, signed again by `keys`: what a lying oracle could make.
fn again(keys: &OracleKeys, note: &Note, change: impl FnOnce(&mut Draft)) -> Note {
    let mut draft = Draft {
        id: note.id,
        author: note.pubkey,
        created_at: note.created_at,
        kind: note.kind,
        tags: note.tags.clone(),
        content: note.content.clone(),
    };
    change(&mut draft);
    draft.id = EventId::new(&draft.author, &draft.created_at, &draft.kind, &draft.tags, &draft.content);
    let signature = draft.sign(keys);
    draft.signed(signature).unwrap()
}

#[test]
fn what_an_oracle_writes_on_a_note_is_read_back_and_is_the_same_for_ever() {
    let oracle = keys(7);
    let key = oracle.public_key();
    for (event, outcomes) in
        [(touch(7_490, 9), vec![touch(7_490, 9).to_string()]), (FIXING, fixing_digits(Cents(798_765)))]
    {
        let [announced, attested] = notes(&oracle, event, outcomes.clone());
        let text = announced.as_json();
        assert!(text.len() < 6_000, "{}", text.len());
        let proven = oracle.announcement(event).unwrap();
        let read_back = read(&Note::from_json(text).unwrap(), &key).unwrap();
        assert_eq!(read_back, Word::Announced(event, Box::new(proven)));
        let said = oracle.attest(event, outcomes).unwrap();
        assert_eq!(read(&attested, &key), Ok(Word::Attested(event, said, announced.id)));
        assert_eq!(Some(date(&announced)), dated(ANNOUNCEMENT, event));
    }
    // Pinned: a change here means that every relay would be given every word a second time.
    let [announced, attested] = notes(&oracle, touch(7_490, 9), vec![touch(7_490, 9).to_string()]);
    assert_eq!(announced.id.to_hex(), "58c8843b7720f4887ac9db4259f0878911b501cecc4aa76a21b60756e6df4841");
    assert_eq!(attested.id.to_hex(), "9439ae938d260a3eb6ac1044c7eb1299e5864cbfbdf6af2bf83cba9076a6ad1e");
}

#[test]
fn no_note_is_dated_far_ahead_and_no_second_holds_many() {
    let mut seconds = std::collections::BTreeMap::new();
    for level in (0..).map_while(Level::at_index) {
        let event = Event::Touch { level, day: Day(18_333), from_hour: 9 };
        let date = dated(ATTESTATION, event).unwrap();
        assert_eq!(dated(ANNOUNCEMENT, event), Some(date));
        assert!(date < event.touch_from().unwrap() && date.0 >= event.touch_from().unwrap().0 - HOUR);
        *seconds.entry(date).or_insert(0) += 2;
    }
    assert_eq!(seconds.values().max(), Some(&4));
    assert_eq!(dated(ATTESTATION, FIXING), Some(Time(1_584_007_200)));
    assert_eq!(dated(ANNOUNCEMENT, FIXING), Some(Time(1_584_007_200 - 30 * DAY)));
    let paid = Event::parse(&format!("pay-{}-20200312-paid", "0a".repeat(16))).unwrap();
    assert_eq!((dated(ANNOUNCEMENT, paid), dated(ATTESTATION, paid)), (None, None), "payments are nobody's business");
}

#[test]
fn a_note_that_is_not_the_oracles_word_is_refused_and_says_why() {
    let (oracle, other) = (keys(7), keys(8));
    let key = oracle.public_key();
    let [announced, attested] = notes(&oracle, FIXING, fixing_digits(Cents(798_765)));
    let [strangers, _] = notes(&other, FIXING, fixing_digits(Cents(798_765)));
    let [of_touch, touched] = notes(&oracle, touch(7_490, 9), vec![touch(7_490, 9).to_string()]);
    let refused = |note: &Note, says: &str| {
        let error = read(note, &key).unwrap_err().to_string();
        assert!(error.contains(says), "{error} does not say {says}");
    };
    refused(&strangers, "its author is");
    refused(&again(&oracle, &announced, |note| note.kind = Kind::TextNote), "kind 1;");
    let mut changed = announced.clone();
    changed.content.push('A');
    refused(&changed, "its id is not valid");
    let mut changed = announced.clone();
    changed.sig = attested.sig;
    refused(&changed, "its signature is not valid");
    refused(&again(&oracle, &announced, |note| note.content = "?".into()), "not base64");
    refused(&again(&oracle, &announced, |note| note.content = BASE64.encode("hello")), "not one announcement");
    refused(&again(&oracle, &announced, |note| note.content = attested.content.clone()), "not one announcement");
    refused(&again(&oracle, &attested, |note| note.content = announced.content.clone()), "not one attestation");
    refused(&again(&oracle, &announced, |note| note.content = "A".repeat(16_388)), "at most");
    refused(&again(&oracle, &announced, |note| note.tags = Tags::from_list(vec![])), "\"oracle_event\" is missing");
    refused(&again(&oracle, &announced, |note| note.tags = of_touch.tags.clone()), "names another event");
    let name = announced.tags.first().unwrap().clone();
    refused(&again(&oracle, &announced, |note| note.tags = Tags::from_list(vec![name.clone()])), "nonce_proofs");
    let proofs = |proofs: Vec<String>| tag(std::iter::once(PROOFS_TAG.to_owned()).chain(proofs)).unwrap();
    for (proofs, says) in [(proofs(vec!["x".into()]), "no signatures"), (proofs(vec![]), "0 nonce proofs")] {
        let tags = Tags::from_list(vec![name.clone(), proofs]);
        refused(&again(&oracle, &announced, |note| note.tags = tags), says);
    }
    refused(
        &again(&oracle, &touched, |note| note.tags = Tags::from_list(vec![nth(&touched.tags, 1)])),
        "\"e\" is missing",
    );
    let nowhere = Tags::from_list(vec![tag(["e".to_owned(), "x".to_owned()]).unwrap(), nth(&touched.tags, 1)]);
    refused(&again(&oracle, &touched, |note| note.tags = nowhere), "names no announcement");
    // Signed as a note by this oracle, but saying what it cannot say.
    let mut said = oracle.attest(FIXING, fixing_digits(Cents(1))).unwrap();
    said.outcomes[3] = "2".into();
    refused(&again(&oracle, &attested, |note| note.content = BASE64.encode(said.to_tlv_bytes())), "not an outcome");
    said.outcomes[3] = "1".into();
    refused(&again(&oracle, &attested, |note| note.content = BASE64.encode(said.to_tlv_bytes())), "is not valid");
    let mut said = oracle.attest(touch(7_490, 9), vec![touch(7_490, 9).to_string()]).unwrap();
    said.event_id = "ethusd1584007200".into();
    refused(
        &again(&oracle, &touched, |note| note.content = BASE64.encode(said.to_tlv_bytes())),
        "no event of an oracle",
    );
}

fn nth(tags: &Tags, index: usize) -> Tag {
    tags.get(index).unwrap().clone()
}

#[test]
fn a_notes_id_is_never_the_message_of_an_attestation_an_announcement_or_a_statement() {
    let tags = ["DLC/oracle/attestation/v0", "DLC/oracle/announcement/v0", "hypothec/nonce-proof/v0"];
    for tag in tags.into_iter().chain(SHAPES.iter().map(|(tag, ..)| *tag)) {
        let digest = sha256::Hash::hash(tag.as_bytes());
        assert_ne!(digest.as_byte_array()[0], b'[', "{tag}: what is hashed could begin as a note does");
    }
}
