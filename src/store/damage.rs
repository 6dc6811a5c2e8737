//! Disks that lie: what is damaged is refused with words, and never taken for something else.

use std::fs;
use std::path::Path;

use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::{Item, Sled, Store, StoreError, StreamId};

const A: StreamId = StreamId([0xaa; 32]);

/// A store with 40 records and 5 documents; returns everything in it.
fn filled(place: &Path) -> Vec<Item> {
    let store = Sled::open(place).unwrap();
    for at in 0..20u64 {
        store.append(A, at * 2, &[vec![at as u8; 10 + at as usize * 300], vec![at as u8; 7]]).unwrap();
        store.put(&format!("document-{}", at % 5), &vec![at as u8; 2_500]).unwrap();
    }
    store.export().unwrap().collect::<Result<_, _>>().unwrap()
}

/// The rows of a tree, for a test to spoil while no store is open.
fn tree(place: &Path, name: &str) -> (sled::Db, sled::Tree) {
    let db = super::disk::open_patiently(&sled::Config::new().path(place).flush_every_ms(None)).unwrap();
    let tree = db.open_tree(name).unwrap();
    (db, tree)
}

fn refusal(place: &Path) -> String {
    match Sled::open(place) {
        Err(error @ StoreError::Damaged { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a damaged store was opened"),
    }
}

#[test]
fn a_store_opens_again_as_it_was_left() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("store");
    let items = filled(&place);
    for _ in 0..3 {
        let store = Sled::open(&place).unwrap();
        assert!(store.export().unwrap().collect::<Result<Vec<_>, _>>().unwrap() == items);
    }
    let store = Sled::open(&place).unwrap();
    assert_eq!(store.append(A, 40, &[b"more".to_vec()]).unwrap(), 41);
}

#[test]
fn a_second_store_in_the_same_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let _store = Sled::open(folder.path()).unwrap();
    let error = Sled::open(folder.path()).err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("is in use by another process"), "{error}");
}

#[test]
fn an_unfinished_batch_is_dropped_and_its_place_used_again() {
    let folder = TempDir::new().unwrap();
    let items = filled(folder.path());
    // As a crash before the commit row leaves it: the rows of a batch, and no end.
    let (db, tree) = tree(folder.path(), "log");
    let next = u64::from_be_bytes(tree.last().unwrap().unwrap().0.as_ref().try_into().unwrap()) + 1;
    for number in next..next + 5 {
        let body = [&[2u8][..], &[7; 50]].concat();
        let crc = crc32fast::hash(&[&number.to_be_bytes(), body.as_slice()].concat());
        tree.insert(number.to_be_bytes(), [body.as_slice(), &crc.to_be_bytes()].concat()).unwrap();
    }
    db.flush().unwrap();
    drop((db, tree));
    let store = Sled::open(folder.path()).unwrap();
    assert!(store.export().unwrap().collect::<Result<Vec<_>, _>>().unwrap() == items);
    store.append(A, 40, &[b"more".to_vec()]).unwrap();
    drop(store);
    assert_eq!(Sled::open(folder.path()).unwrap().read(A).unwrap()[40], b"more");
}

#[test]
fn a_missing_row_is_refused_and_names_the_stream_and_the_remedy() {
    let folder = TempDir::new().unwrap();
    filled(folder.path());
    let (db, tree) = tree(folder.path(), "log");
    tree.remove(20u64.to_be_bytes()).unwrap();
    db.flush().unwrap();
    drop((db, tree));
    let said = refusal(folder.path());
    assert!(said.contains("rows 20 to 20 are missing"), "{said}");
    assert!(said.contains(&format!("a record of stream {A}")) && said.contains("restore from a backup"), "{said}");
    // A refusal changes nothing: it is refused in the same words the next time.
    assert_eq!(refusal(folder.path()), said);
}

#[test]
fn a_changed_row_is_refused_in_either_journal() {
    for (name, what) in [("log", "a record of stream aaaa"), ("documents", "a record of document document-")] {
        let folder = TempDir::new().unwrap();
        filled(folder.path());
        let (db, tree) = tree(folder.path(), name);
        // The second row of some record, so that the record it belongs to can be named.
        let (number, value) = tree.iter().rev().flatten().find(|(_, value)| value[0] == 2).unwrap();
        let mut changed = value.to_vec();
        changed[30] ^= 1;
        tree.insert(&number, changed).unwrap();
        db.flush().unwrap();
        drop((db, tree));
        let said = refusal(folder.path());
        assert!(said.contains("is corrupt") && said.contains(what), "{said}");
    }
}

#[test]
fn a_lost_tail_is_refused() {
    let folder = TempDir::new().unwrap();
    filled(folder.path());
    let (db, tree) = tree(folder.path(), "log");
    // The last batch: three rows and their commit. What is left is a perfect, shorter journal.
    let commits: Vec<_> = tree.iter().flatten().filter(|(_, value)| value[0] == 3).map(|(number, _)| number).collect();
    for (number, _) in tree.range(commits[18].clone()..).flatten().skip(1) {
        tree.remove(number).unwrap();
    }
    db.flush().unwrap();
    drop((db, tree));
    let said = refusal(folder.path());
    assert!(said.contains("rows of records were written, only"), "{said}");
}

#[test]
fn what_a_full_disk_left_of_a_summary_of_the_log_is_no_damage() {
    let folder = TempDir::new().unwrap();
    let items = filled(folder.path());
    for left in [Vec::new(), vec![0; 4_096]] {
        let unfinished = folder.path().join("snap.0000000000000000.generating");
        fs::write(&unfinished, &left).unwrap();
        let store = Sled::open(folder.path()).unwrap();
        assert_eq!(store.export().unwrap().collect::<Result<Vec<_>, _>>().unwrap(), items);
        assert!(!unfinished.exists());
    }
}

#[test]
fn a_mark_that_is_gone_torn_or_of_another_format_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let items = filled(folder.path());
    let path = folder.path().join("mark");
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(refusal(folder.path()).contains("the file `mark` is missing"));
    fs::write(&path, vec![7; good.len()]).unwrap();
    assert!(refusal(folder.path()).contains("the file `mark` cannot be read"));
    let mut other = good.clone();
    other[7] = b'3';
    other[512 + 7] = b'3';
    fs::write(&path, other).unwrap();
    let error = Sled::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("has format 3, this program reads format 2"), "{error}");
    // One slot torn: the other is the position before the last write, and that is enough.
    for slot in [0, 512] {
        let mut torn = good.clone();
        torn[slot + 20] ^= 0xff;
        fs::write(&path, torn).unwrap();
        let store = Sled::open(folder.path()).unwrap();
        assert!(store.export().unwrap().collect::<Result<Vec<_>, _>>().unwrap() == items);
    }
}

#[test]
fn old_versions_of_documents_do_not_pile_up() {
    let folder = TempDir::new().unwrap();
    let store = Sled::open(folder.path()).unwrap();
    store.put("kept", &[1; 10_000]).unwrap();
    for version in 0..1_500u32 {
        store.put("policy", &version.to_be_bytes()).unwrap();
    }
    drop(store);
    let (db, tree) = tree(folder.path(), "documents");
    assert!(tree.len() < 600, "{} rows", tree.len());
    drop((db, tree));
    let store = Sled::open(folder.path()).unwrap();
    assert_eq!(store.get("policy").unwrap(), Some(1_499u32.to_be_bytes().to_vec()));
    assert_eq!(store.get("kept").unwrap(), Some(vec![1; 10_000]));
}

#[test]
fn flipped_bytes_and_cut_files_are_refused_or_do_no_harm() {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good");
    let items = filled(&good);
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let files: Vec<_> = fs::read_dir(&good).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for turn in 0..120 {
        let place = folder.path().join(format!("bad{turn}"));
        fs::create_dir(&place).unwrap();
        for name in files.iter().filter(|name| good.join(name).is_file()) {
            fs::copy(good.join(name), place.join(name)).unwrap();
        }
        let mut bytes = fs::read(place.join("db")).unwrap();
        // sled reserves half a megabyte at a time: damage what is used.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let at = random.gen_range(0..used);
        match turn % 3 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.gen_range(0..8),
            _ => bytes.iter_mut().skip(at).take(512).for_each(|byte| *byte = 0),
        }
        fs::write(place.join("db"), bytes).unwrap();
        let read = Sled::open(&place).and_then(|store| store.export()?.collect::<Result<Vec<_>, _>>());
        match read {
            Ok(found) => assert!(found == items, "turn {turn}: something was lost or changed without a word"),
            Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {}
            Err(error) => panic!("turn {turn}: {error}"),
        }
        fs::remove_dir_all(&place).unwrap();
    }
}

#[test]
fn a_restore_is_whole_or_not_there() {
    let folder = TempDir::new().unwrap();
    let items = filled(&folder.path().join("old"));
    let place = folder.path().join("new");
    let mut broken = items.clone();
    broken.remove(10);
    assert!(matches!(Sled::restore(&place, &mut broken.into_iter()), Err(StoreError::Gap { .. })));
    assert!(!place.exists());
    Sled::restore(&place, &mut items.clone().into_iter()).unwrap();
    let store = Sled::open(&place).unwrap();
    assert!(store.export().unwrap().collect::<Result<Vec<_>, _>>().unwrap() == items);
    drop(store);
    assert!(matches!(Sled::restore(&place, &mut items.into_iter()), Err(StoreError::NotEmpty { .. })));
}
