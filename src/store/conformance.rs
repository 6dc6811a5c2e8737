//! What every backend must do, run on each of them.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Item, Memory, Sled, Store, StoreError, StreamId, MAX_BATCH, MAX_DOCUMENT, MAX_RECORD};

/// Runs every story of this file on a backend. `make` gives the store and whatever must outlive it.
macro_rules! conformance {
    ($backend:ident, $make:expr) => {
        conformance!($backend, $make,
            a_stream_keeps_its_records_in_order,
            an_append_that_expects_another_length_changes_nothing,
            an_append_is_all_or_nothing,
            records_of_every_size_come_back_whole,
            what_is_too_large_or_has_no_name_is_refused,
            a_document_is_its_newest_version,
            several_documents_are_put_together_or_not_at_all,
            documents_are_listed_by_prefix,
            of_many_appends_at_once_one_wins_each_length,
            an_export_fills_an_empty_store_and_only_an_empty_one,
            an_import_with_a_missing_record_is_refused,
            fewer_records_take_the_place_of_all_and_the_length_stays,
            a_stream_that_nothing_takes_the_place_of_is_forgotten_and_can_begin_again,
            what_cannot_take_the_place_changes_nothing,
            an_export_holds_what_took_the_place_only,
            an_export_holds_what_was_there_when_it_began_whatever_is_written_while_it_is_read,
        );
    };
    ($backend:ident, $make:expr, $($story:ident),* $(,)?) => {
        mod $backend {
            use super::*;
            $(
                #[test]
                fn $story() {
                    let (store, other, _kept) = $make;
                    super::$story(Arc::new(store), Arc::new(other));
                }
            )*
        }
    };
}

conformance!(memory, (Memory::new(), Memory::new(), ()));
conformance!(on_disk, {
    let folder = TempDir::new().unwrap();
    let open = |name: &str| Sled::open(folder.path().join(name)).unwrap();
    (open("one"), open("other"), folder)
});

const A: StreamId = StreamId([0xaa; 32]);
const B: StreamId = StreamId([0xbb; 32]);

fn bytes(length: usize, fill: u8) -> Vec<u8> {
    (0..length).map(|at| (at % 253) as u8 ^ fill).collect()
}

fn items(store: &dyn Store) -> Vec<Item> {
    store.export().unwrap().collect::<Result<_, _>>().unwrap()
}

fn a_stream_keeps_its_records_in_order(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    assert_eq!(store.append(A, 0, &[b"one".to_vec(), b"two".to_vec()]).unwrap(), 2);
    assert_eq!(store.append(B, 0, &[b"other".to_vec()]).unwrap(), 1);
    assert_eq!(store.append(A, 2, &[b"three".to_vec(), Vec::new()]).unwrap(), 4);
    assert_eq!(store.read(A).unwrap(), [&b"one"[..], b"two", b"three", b""]);
    assert_eq!(store.read(B).unwrap(), [b"other"]);
    assert_eq!(store.read(StreamId([0; 32])).unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(store.streams().unwrap(), [A, B]);
}

fn an_append_that_expects_another_length_changes_nothing(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    store.append(A, 0, &[b"one".to_vec()]).unwrap();
    for expected_len in [0, 2, u64::MAX] {
        let error = store.append(A, expected_len, &[b"x".to_vec()]).unwrap_err();
        assert!(
            matches!(error, StoreError::Length { stream: A, expected, found: 1 } if expected == expected_len),
            "{error}"
        );
    }
    let error = store.append(B, 1, &[b"x".to_vec()]).unwrap_err().to_string();
    let b = "bb".repeat(32);
    assert_eq!(error, format!("stream {b} holds 0 records, the append expected 1: read it again before appending"));
    assert_eq!((store.read(A).unwrap(), store.streams().unwrap()), (vec![b"one".to_vec()], vec![A]));
    // A refusal is no failure: the store goes on.
    store.append(A, 1, &[b"two".to_vec()]).unwrap();
}

fn an_append_is_all_or_nothing(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    assert!(matches!(store.append(A, 0, &[]), Err(StoreError::Empty { stream: A })));
    let too_large = vec![b"fine".to_vec(), vec![0; MAX_RECORD + 1]];
    assert!(matches!(store.append(A, 0, &too_large), Err(StoreError::TooLarge { what: "a record", .. })));
    assert_eq!(store.read(A).unwrap().len() + store.streams().unwrap().len(), 0);
}

fn records_of_every_size_come_back_whole(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    let sizes = [0, 1, 1_957, 1_958, 1_959, 1_995, 2_000, 3_952, 3_953, 3_954, 100_000, 1 << 20];
    let records: Vec<_> = sizes.iter().map(|size| bytes(*size, 7)).collect();
    store.append(A, 0, &records).unwrap();
    store.append(B, 0, &[bytes(MAX_RECORD, 9)]).unwrap();
    assert!(store.read(A).unwrap() == records);
    assert!(store.read(B).unwrap() == [bytes(MAX_RECORD, 9)]);
}

fn what_is_too_large_or_has_no_name_is_refused(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    let batch = vec![vec![0; MAX_RECORD]; MAX_BATCH / MAX_RECORD + 1];
    assert!(matches!(store.append(A, 0, &batch), Err(StoreError::TooLarge { what: "an append", .. })));
    let error = store.put("policy", &vec![0; MAX_DOCUMENT + 1]).unwrap_err().to_string();
    assert_eq!(error, "a document is 1048577 bytes, the most is 1048576");
    for name in ["", "two words", "naïve", "line\n", &"x".repeat(129)] {
        assert!(matches!(store.put(name, b"x"), Err(StoreError::Name { .. })), "{name:?}");
        assert_eq!(store.get(name).unwrap(), None);
    }
    store.put(&"x".repeat(128), b"x").unwrap();
}

fn a_document_is_its_newest_version(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    assert_eq!(store.get("policy").unwrap(), None);
    for version in 0..20u8 {
        store.put("policy", &bytes(5_000, version)).unwrap();
        store.put("counter", &[version]).unwrap();
        assert_eq!(store.get("policy").unwrap(), Some(bytes(5_000, version)));
    }
    assert_eq!(store.get("counter").unwrap(), Some(vec![19]));
    store.put("policy", b"").unwrap();
    assert_eq!(store.get("policy").unwrap(), Some(Vec::new()));
}

fn several_documents_are_put_together_or_not_at_all(store: Arc<dyn Store>, other: Arc<dyn Store>) {
    let named = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    store.put("a", b"old").unwrap();
    store.put_all(&[named("a", bytes(5_000, 1)), named("b", Vec::new()), named("c", bytes(300, 3))]).unwrap();
    assert_eq!(store.get("a").unwrap(), Some(bytes(5_000, 1)));
    assert_eq!(store.get("b").unwrap(), Some(Vec::new()));
    assert!(store.put_all(&[named("a", b"new".to_vec()), named("two words", Vec::new())]).is_err());
    let large = vec![named("a", vec![0; MAX_DOCUMENT]); MAX_BATCH / MAX_DOCUMENT + 1];
    assert!(matches!(store.put_all(&large), Err(StoreError::TooLarge { .. })));
    assert_eq!(store.get("a").unwrap(), Some(bytes(5_000, 1)));
    store.put_all(&[]).unwrap();
    store.put_all(&[named("c", b"1".to_vec()), named("c", b"2".to_vec())]).unwrap();
    assert_eq!(store.get("c").unwrap(), Some(b"2".to_vec()));
    // Over and over: old versions do not pile up, and an export holds the newest.
    for version in 0..60u8 {
        store.put_all(&(0..10).map(|at| named(&format!("d{at}"), bytes(2_500, version))).collect::<Vec<_>>()).unwrap();
    }
    other.import(&mut items(store.as_ref()).into_iter()).unwrap();
    assert_eq!(other.get("d9").unwrap(), Some(bytes(2_500, 59)));
}

fn documents_are_listed_by_prefix(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    for name in ["peer/b", "policy", "peer/a", "peers", "counter"] {
        store.put(name, name.as_bytes()).unwrap();
    }
    assert_eq!(store.list("peer/").unwrap(), ["peer/a", "peer/b"]);
    assert_eq!(store.list("").unwrap(), ["counter", "peer/a", "peer/b", "peers", "policy"]);
    assert_eq!(store.list("x").unwrap(), Vec::<String>::new());
    assert_eq!(store.streams().unwrap(), []);
}

fn of_many_appends_at_once_one_wins_each_length(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    const THREADS: u8 = 4;
    const WINS: usize = 10;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut won = 0;
                while won < WINS {
                    let length = store.read(A).unwrap().len() as u64;
                    match store.append(A, length, &[vec![thread]]) {
                        Ok(_) => won += 1,
                        Err(StoreError::Length { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let records = store.read(A).unwrap();
    for thread in 0..THREADS {
        assert_eq!(records.iter().filter(|record| **record == [thread]).count(), WINS);
    }
    assert_eq!(records.len(), WINS * usize::from(THREADS));
}

fn an_export_fills_an_empty_store_and_only_an_empty_one(store: Arc<dyn Store>, other: Arc<dyn Store>) {
    for length in 0..3 {
        store.append(A, length, &[bytes(3_000_000, length as u8)]).unwrap();
    }
    store.append(B, 0, &[b"b0".to_vec(), b"b1".to_vec()]).unwrap();
    store.put("policy", b"old").unwrap();
    store.put("policy", b"new").unwrap();
    let exported = items(store.as_ref());
    assert_eq!(exported.len(), 6);
    other.import(&mut exported.clone().into_iter()).unwrap();
    assert!(items(other.as_ref()) == exported);
    assert_eq!(other.append(B, 2, &[b"b2".to_vec()]).unwrap(), 3);
    let error = other.import(&mut exported.into_iter()).unwrap_err().to_string();
    assert_eq!(error, format!("this store already holds stream {A}: import into an empty one"));
}

fn an_import_with_a_missing_record_is_refused(store: Arc<dyn Store>, other: Arc<dyn Store>) {
    store.append(A, 0, &[b"0".to_vec(), b"1".to_vec(), b"2".to_vec()]).unwrap();
    let mut exported = items(store.as_ref());
    exported.remove(1);
    let error = other.import(&mut exported.into_iter()).unwrap_err();
    assert!(matches!(error, StoreError::Gap { stream: A, expected: 1, found: 2 }), "{error}");
}

fn fewer_records_take_the_place_of_all_and_the_length_stays(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    store.append(A, 0, &[bytes(5_000, 1), bytes(3, 2)]).unwrap();
    store.append(B, 0, &[b"other".to_vec()]).unwrap();
    store.append(A, 2, &[bytes(300_000, 3)]).unwrap();
    store.append(A, 3, &[b"last".to_vec()]).unwrap();
    store.replace(A, 4, &[bytes(2_500, 4), b"end".to_vec()]).unwrap();
    assert_eq!(store.length(A).unwrap(), 4);
    assert!(store.read(A).unwrap() == [bytes(2_500, 4), b"end".to_vec()]);
    assert_eq!(store.read(B).unwrap(), [b"other"]);
    assert_eq!(store.streams().unwrap(), [A, B]);
    // It goes on from there, and can be made shorter again.
    assert_eq!(store.append(A, 4, &[b"more".to_vec()]).unwrap(), 5);
    assert_eq!(store.read(A).unwrap().len(), 3);
    store.replace(A, 5, &[b"all".to_vec()]).unwrap();
    assert_eq!((store.length(A).unwrap(), store.read(A).unwrap()), (5, vec![b"all".to_vec()]));
}

fn a_stream_that_nothing_takes_the_place_of_is_forgotten_and_can_begin_again(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    for round in 0..3u8 {
        store.append(A, 0, &[bytes(9_000, round), vec![round]]).unwrap();
        store.append(B, u64::from(round), &[vec![round]]).unwrap();
        store.replace(A, 2, &[]).unwrap();
        assert_eq!((store.length(A).unwrap(), store.streams().unwrap()), (0, vec![B]));
        assert_eq!(store.read(A).unwrap(), Vec::<Vec<u8>>::new());
    }
    assert_eq!(store.read(B).unwrap(), [[0], [1], [2]]);
}

fn what_cannot_take_the_place_changes_nothing(store: Arc<dyn Store>, _: Arc<dyn Store>) {
    let one = || vec![b"x".to_vec()];
    let error = store.replace(A, 0, &one()).unwrap_err();
    assert!(matches!(error, StoreError::Replacing { stream: A, found: 0, given: 1 }), "{error}");
    store.append(A, 0, &[b"one".to_vec(), b"two".to_vec()]).unwrap();
    let error = store.replace(A, 1, &one()).unwrap_err();
    assert!(matches!(error, StoreError::Length { stream: A, expected: 1, found: 2 }), "{error}");
    let three = vec![Vec::new(); 3];
    assert!(matches!(store.replace(A, 2, &three), Err(StoreError::Replacing { found: 2, given: 3, .. })));
    let large = vec![vec![0; MAX_RECORD + 1]];
    assert!(matches!(store.replace(A, 2, &large), Err(StoreError::TooLarge { .. })));
    assert_eq!(store.read(A).unwrap(), [b"one", b"two"]);
    assert_eq!(store.append(A, 2, &one()).unwrap(), 3);
}

fn an_export_holds_what_took_the_place_only(store: Arc<dyn Store>, other: Arc<dyn Store>) {
    store.append(A, 0, &[b"0".to_vec(), bytes(70_000, 1), b"2".to_vec()]).unwrap();
    store.append(B, 0, &[b"b".to_vec()]).unwrap();
    store.replace(A, 3, &[b"brief".to_vec()]).unwrap();
    let exported = items(store.as_ref());
    assert_eq!(exported[0], Item::Record { stream: A, seq: 0, bytes: b"brief".to_vec() });
    assert_eq!(exported.len(), 2);
    other.import(&mut exported.clone().into_iter()).unwrap();
    assert_eq!(items(other.as_ref()), exported);
    assert_eq!(other.length(A).unwrap(), 1);
}

fn an_export_holds_what_was_there_when_it_began_whatever_is_written_while_it_is_read(
    store: Arc<dyn Store>,
    other: Arc<dyn Store>,
) {
    store.append(A, 0, &[bytes(5_000, 1), bytes(3, 2)]).unwrap();
    store.append(B, 0, &[bytes(70_000, 3)]).unwrap();
    store.put("policy", b"old").unwrap();
    let before = items(store.as_ref());
    let (first, second) = (store.export().unwrap(), store.export().unwrap());
    store.replace(A, 2, &[b"brief".to_vec()]).unwrap();
    store.replace(B, 1, &[]).unwrap();
    store.append(B, 0, &[b"again".to_vec()]).unwrap();
    store.put("policy", b"new").unwrap();
    assert!(first.collect::<Result<Vec<_>, _>>().unwrap() == before);
    store.replace(B, 1, &[]).unwrap();
    assert!(second.collect::<Result<Vec<_>, _>>().unwrap() == before);
    // What they kept is given back by the next that is.
    store.append(B, 0, &[b"b".to_vec()]).unwrap();
    store.replace(B, 1, &[]).unwrap();
    let after = items(store.as_ref());
    assert_eq!(after.len(), 2, "{after:?}");
    other.import(&mut after.into_iter()).unwrap();
    assert_eq!(store.read(A).unwrap(), [b"brief"]);
}
