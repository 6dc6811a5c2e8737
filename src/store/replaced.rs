//! Records that others took the place of: whatever a crash leaves, it is all of the old or all of the new.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Item, Sled, Store, StoreError, StreamId};

const A: StreamId = StreamId([0xaa; 32]);
const B: StreamId = StreamId([0xbb; 32]);

fn open(place: &Path) -> Sled {
    Sled::open(place).unwrap()
}

fn items(store: &Sled) -> Vec<Item> {
    store.export().unwrap().collect::<Result<_, _>>().unwrap()
}

/// Streams that lie between each other, so that what is dead lies in several places.
fn filled(place: &Path) -> Sled {
    let store = open(place);
    for at in 0..6u64 {
        store.append(A, at * 2, &[vec![at as u8; 30_000], vec![at as u8; 7]]).unwrap();
        store.append(B, at, &[vec![at as u8; 3_000]]).unwrap();
        store.put("document", &[at as u8; 2_500]).unwrap();
    }
    store
}

fn brief() -> Vec<Vec<u8>> {
    vec![vec![9; 4_500], b"the end".to_vec()]
}

/// The rows of the log, for a test to look at or spoil while no store is open.
fn log(place: &Path) -> (sled::Db, sled::Tree) {
    let db = super::disk::open_patiently(&sled::Config::new().path(place).flush_every_ms(None)).unwrap();
    let tree = db.open_tree("log").unwrap();
    (db, tree)
}

fn rows(place: &Path) -> Vec<(u64, Vec<u8>)> {
    let (_db, tree) = log(place);
    let number = |key: sled::IVec| u64::from_be_bytes(key.as_ref().try_into().unwrap());
    tree.iter().flatten().map(|(key, value)| (number(key), value.to_vec())).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn what_took_the_place_is_there_after_a_restart_and_what_it_replaced_takes_no_rows() {
    let folder = TempDir::new().unwrap();
    let store = filled(folder.path());
    let before = store.read(B).unwrap();
    store.replace(A, 12, &brief()).unwrap();
    let kept = items(&store);
    drop(store);
    for _ in 0..2 {
        let store = open(folder.path());
        assert!(items(&store) == kept);
        assert_eq!((store.read(A).unwrap(), store.length(A).unwrap()), (brief(), 12));
        assert_eq!(store.read(B).unwrap(), before);
    }
    // Rows: each of the six batches of the other stream has three, the new one five, and six holes.
    assert_eq!(rows(folder.path()).len(), 6 * 3 + 5 + 6);
    let store = open(folder.path());
    store.replace(B, 6, &[]).unwrap();
    store.append(A, 12, &[b"more".to_vec()]).unwrap();
    drop(store);
    // All that is dead is one hole now, but for what forgot the other stream, which stays until the next time.
    let left = rows(folder.path());
    assert_eq!(left.len(), 1 + 5 + 2 + 2);
    let store = open(folder.path());
    assert_eq!((store.streams().unwrap(), store.length(A).unwrap()), (vec![A], 13));
    store.replace(A, 13, &[b"all".to_vec()]).unwrap();
    drop(store);
    assert_eq!(rows(folder.path()).len(), 1 + 2);
    assert_eq!(open(folder.path()).read(A).unwrap(), [b"all"]);
}

#[test]
fn a_torn_disk_holds_all_of_the_old_records_or_all_of_the_new() {
    const CUTS: usize = 240;
    let folder = TempDir::new().unwrap();
    let [old, new, torn] = ["old", "new", "torn"].map(|name| folder.path().join(name));
    let store = filled(&old);
    let was = items(&store);
    drop(store);
    copy(&old, &new);
    let store = open(&new);
    store.replace(A, 12, &brief()).unwrap();
    let is = items(&store);
    drop(store);
    let (before, after) = (fs::read(old.join("db")).unwrap(), fs::read(new.join("db")).unwrap());
    let at = |bytes: &[u8], place: usize| bytes.get(place).copied().unwrap_or(0);
    let differs: Vec<usize> =
        (0..before.len().max(after.len())).filter(|place| at(&before, *place) != at(&after, *place)).collect();
    let (mut olds, mut news) = (0, 0);
    for turn in 0..=CUTS {
        // Written up to here and no further; the mark is written after all of it.
        let cut = differs.get(differs.len() * turn / CUTS).copied().unwrap_or(after.len());
        copy(&old, &torn);
        let mut bytes = after.get(..cut.min(after.len())).unwrap().to_vec();
        bytes.extend_from_slice(before.get(cut..).unwrap_or_default());
        fs::write(torn.join("db"), bytes).unwrap();
        let found = match Sled::open(&torn) {
            Ok(store) => items(&store),
            // A page torn in its middle may be told instead of mended.
            Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => continue,
            Err(error) => panic!("cut at {cut}: {error}"),
        };
        assert!(found == was || found == is, "cut at {cut}: neither the old nor the new");
        olds += usize::from(found == was);
        news += usize::from(found == is);
    }
    assert!(olds > 0 && news > 0, "{olds} old, {news} new");
}

#[test]
fn rows_left_under_a_hole_or_not_yet_given_back_are_nothing_and_go_when_the_store_is_opened() {
    let folder = TempDir::new().unwrap();
    let store = filled(folder.path());
    drop(store);
    let old = rows(folder.path());
    let store = open(folder.path());
    store.replace(A, 12, &brief()).unwrap();
    let kept = items(&store);
    drop(store);
    let new = rows(folder.path());
    let dead: Vec<_> = old.iter().filter(|row| !new.contains(row)).collect();
    assert!(dead.len() > 90, "{}", dead.len());
    // A crash before, while and after the holes were dug and filled: with every second dead row still there.
    for step in [1, 2, 3] {
        let (db, tree) = log(folder.path());
        for (number, value) in dead.iter().step_by(step) {
            let is_first = new.iter().any(|(there, _)| there == number);
            if step == 1 || !is_first {
                tree.insert(number.to_be_bytes(), value.as_slice()).unwrap();
            }
        }
        db.flush().unwrap();
        drop((db, tree));
        let store = open(folder.path());
        assert!(items(&store) == kept, "every {step}. row");
        drop(store);
        assert!(rows(folder.path()) == new, "every {step}. row");
    }
}

#[test]
fn a_row_missing_beside_a_hole_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = filled(folder.path());
    store.replace(A, 12, &brief()).unwrap();
    drop(store);
    let left = rows(folder.path());
    // The first row of a living batch right behind a hole, and a hole itself.
    let hole = left.iter().position(|(_, value)| value[0] == 6).unwrap();
    for victim in [hole + 1, hole] {
        let place = folder.path().join("spoiled");
        copy(folder.path(), &place);
        let (db, tree) = log(&place);
        tree.remove(left[victim].0.to_be_bytes()).unwrap();
        db.flush().unwrap();
        drop((db, tree));
        let error = Sled::open(&place).err().expect("a damaged store was opened");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_folder_of_format_1_opens_and_is_of_format_2_from_then_on_in_both_places_of_its_mark() {
    let folder = TempDir::new().unwrap();
    let kept = items(&filled(folder.path()));
    let path = folder.path().join("mark");
    // As the programs before wrote it.
    let mut mark = fs::read(&path).unwrap();
    for slot in mark.chunks_mut(512) {
        slot[7] = b'1';
        let crc = crc32fast::hash(&slot[..32]);
        slot[32..36].copy_from_slice(&crc.to_be_bytes());
    }
    // Also where a crash came between the two places.
    let mut between = mark.clone();
    between[..512].copy_from_slice(&fs::read(&path).unwrap()[..512]);
    for before in [mark, between] {
        fs::write(&path, before).unwrap();
        assert!(items(&open(folder.path())) == kept);
        let raised = fs::read(&path).unwrap();
        assert!(raised.chunks(512).all(|slot| slot.starts_with(b"HYPSTOR2")), "an older program must refuse it");
    }
}

#[test]
fn a_thousand_streams_that_are_made_brief_and_forgotten_leave_the_disk_as_it_was() {
    // As negotiations that come to nothing: 300 kB each, of which 3 kB stay for the last hundred.
    const STREAMS: u64 = 1_000;
    const KEPT: u64 = 100;
    let id = |at: u64| StreamId([at.to_be_bytes(); 4].concat().try_into().unwrap());
    let size =
        |place: &Path| fs::read_dir(place).unwrap().flatten().fold(0, |sum, e| sum + e.metadata().unwrap().len());
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    store.append(A, 0, &[vec![1; 500_000]]).unwrap();
    let mut most = 0;
    for at in 0..STREAMS {
        store.append(id(at), 0, &[vec![at as u8; 150_000]]).unwrap();
        store.append(id(at), 1, &[vec![at as u8; 150_000]]).unwrap();
        store.append(id(at), 2, &[vec![7; 100]]).unwrap();
        store.replace(id(at), 3, &[vec![at as u8; 3_000], vec![7; 100]]).unwrap();
        if let Some(old) = at.checked_sub(KEPT) {
            store.replace(id(old), 3, &[]).unwrap();
        }
        most = most.max(size(folder.path()));
    }
    println!("bound replaced-disk {most} bytes at most, of {} written", STREAMS * 303_000);
    assert!(most < STREAMS * 300_000 / 10, "{most} bytes");
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.streams().unwrap().len() as u64, KEPT + 1);
    assert_eq!(store.read(A).unwrap(), [vec![1; 500_000]]);
}
