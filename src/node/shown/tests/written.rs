//! What is written of shown coins, and read again.

use super::*;
use crate::store::{Export, StreamId, MAX_DOCUMENT};
use kept::{ONE, PLACES};
use std::sync::atomic::{AtomicU64, Ordering};

/// A store that counts what is put into it, and how often it is synced for that.
#[derive(Default)]
struct Counted {
    store: Memory,
    bytes: AtomicU64,
    syncs: AtomicU64,
}

impl Counted {
    /// Bytes and syncs since it was last asked.
    fn written(&self) -> (u64, u64) {
        (self.bytes.swap(0, Ordering::SeqCst), self.syncs.swap(0, Ordering::SeqCst))
    }
}

impl Store for Counted {
    fn append(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<u64, StoreError> {
        self.store.append(stream, expected_len, records)
    }

    fn replace(&self, stream: StreamId, expected_len: u64, records: &[Vec<u8>]) -> Result<(), StoreError> {
        self.store.replace(stream, expected_len, records)
    }

    fn length(&self, stream: StreamId) -> Result<u64, StoreError> {
        self.store.length(stream)
    }

    fn read(&self, stream: StreamId) -> Result<Vec<Vec<u8>>, StoreError> {
        self.store.read(stream)
    }

    fn streams(&self) -> Result<Vec<StreamId>, StoreError> {
        self.store.streams()
    }

    fn put_all(&self, documents: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        let bytes: usize = documents.iter().map(|(name, bytes)| name.len() + bytes.len()).sum();
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.store.put_all(documents)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(name)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.store.list(prefix)
    }

    fn export(&self) -> Result<Export<'_>, StoreError> {
        self.store.export()
    }
}

/// One coin of 1 BTC, shown five times, and split into so many.
fn split(coins: &mut ShownCoins, into: usize) -> Transaction {
    show_five_times(coins, coin(1), Amount::ONE_BTC);
    let split = spends(&[coin(1)], &vec![99_900_000 / into as u64; into]);
    coins.on_transaction(&split, true, NONE);
    coins.flush().unwrap();
    split
}

/// Each of what was split, spent in a transaction of its own.
fn each_spent(split: &Transaction) -> Vec<Transaction> {
    let sats = split.output[0].value.to_sat() - 300;
    (0..split.output.len() as u32).map(|vout| spends(&[made(split, vout)], &[sats])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_split_into_800_that_are_all_spent_has_what_moved_written_and_no_more() {
    let store = Arc::new(Counted::default());
    let mut coins = ShownCoins::open(store.clone()).unwrap();
    let split = split(&mut coins, 800);
    let (bytes, syncs) = store.written();
    assert!(bytes < 30_000 && syncs == 6, "five times, and the split: {bytes} bytes, {syncs} syncs");
    let spent = each_spent(&split);
    let (mut all, mut most, mut syncs) = (0, 0, 0);
    // As they come, one by one, and then all in a block.
    for transaction in &spent {
        coins.on_transaction(transaction, false, NONE);
        coins.flush().unwrap();
        let (bytes, synced) = store.written();
        (all, most, syncs) = (all + bytes, most.max(bytes), syncs + synced);
    }
    assert!(most < 1_500 && syncs == 800, "{most} bytes for one, {syncs} syncs");
    spent.iter().for_each(|transaction| coins.on_transaction(transaction, true, NONE));
    coins.flush().unwrap();
    let (bytes, syncs) = store.written();
    all += bytes;
    println!(
        "bound shown-written {all} bytes for 800 transactions and the block that has them, by {syncs} sync for a block"
    );
    assert!(syncs <= 1 && all < 1_000_000, "{all} bytes, {syncs} syncs");
    assert_eq!(coins.kept.count(), MOST - 1, "the split had a place while it waited");
    // Where it is full, one more is not dearer.
    let more = spends(&[made(&spent[700], 0)], &[60_000, 60_000]);
    coins.on_transaction(&more, false, NONE);
    coins.flush().unwrap();
    let (bytes, syncs) = store.written();
    assert!(bytes < 1_500 && syncs == 1, "{bytes} bytes, {syncs} syncs");
    // What has to do with no shown coin costs nothing.
    coins.on_transaction(&spends(&[coin(77)], &[60_000]), true, NONE);
    coins.flush().unwrap();
    assert_eq!(store.written(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_splits_a_coin_spends_each_piece_and_joins_them_frees_none_of_it_by_fewer_than_800_transactions() {
    let mut left = Vec::new();
    for (pieces, each) in [(2_000, false), (799, true), (1_600, true)] {
        let mut coins = coins();
        let split = split(&mut coins, pieces);
        let mut pieces: Vec<OutPoint> = (0..pieces as u32).map(|vout| made(&split, vout)).collect();
        if each {
            let spent = each_spent(&split);
            spent.iter().for_each(|transaction| coins.on_transaction(transaction, false, NONE));
            spent.iter().for_each(|transaction| coins.on_transaction(transaction, true, NONE));
            pieces = spent.iter().map(|transaction| made(transaction, 0)).collect();
        }
        coins.kept.count();
        let joined = spends(&pieces, &[99_000_000]);
        coins.on_transaction(&joined, true, NONE);
        left.push(parts(&coins, made(&joined, 0)));
        coins.kept.count();
    }
    println!("bound vain-split {} of 5000 thousandths left after 1,600 transactions, {} after 799", left[2], left[1]);
    assert!(left[0] >= 5_000 && left[1] >= 5_000, "{left:?}");
    assert!((2_400..=2_600).contains(&left[2]), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_of_one_transaction_that_are_shown_by_themselves_are_told_apart_over_a_restart() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut coins = ShownCoins::open(store.clone()).unwrap();
    let worth = Amount::from_sat(30_000_000);
    coins.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW, NONE).unwrap();
    let split = spends(&[coin(1)], &[30_000_000, 30_000_000, 30_000_000]);
    coins.on_transaction(&split, true, NONE);
    coins.show(&[(made(&split, 1), worth)], loan(2), NOW, NONE).unwrap();
    // One goes on in a transaction that waits, and of that one in another.
    let on = spends(&[made(&split, 0), made(&split, 1)], &[59_990_000]);
    let child = spends(&[made(&on, 0)], &[59_980_000]);
    coins.on_transaction(&on, false, NONE);
    coins.on_transaction(&child, false, NONE);
    coins.flush().unwrap();
    let all = coins.kept.all();
    let mut coins = ShownCoins::open(store).unwrap();
    assert_eq!(coins.kept.all(), all);
    let shown = |coins: &ShownCoins| [0, 1, 2].map(|vout| times(coins, made(&split, vout)));
    assert_eq!((shown(&coins), coins.kept.count()), ([1, 2, 1], 4));
    // Another takes its place: what was made by the first goes, and all its showings are with the second.
    let second = spends(&[made(&split, 1), made(&split, 2)], &[59_970_000]);
    coins.on_transaction(&second, true, NONE);
    assert_eq!((times(&coins, made(&child, 0)), times(&coins, made(&on, 0))), (0, 0));
    assert_eq!((shown(&coins), parts(&coins, made(&second, 0))), ([1, 0, 0], 1_500));
    coins.tick(Time(NOW.0 + DAY));
    assert_eq!((coins.kept.count(), coins.kept.spent().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_document_of_before_is_taken_over_and_emptied() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (txid, id) = ("07".repeat(32), LoanId([3; 32]));
    let id = serde_json::to_string(&id).unwrap();
    // Two coins as they were kept by programs of before: one by one that knew no parts, one that waits and is spent.
    let spent = OutPoint { txid: Txid::from_byte_array([7; 32]), vout: 0 };
    let first = spends(&[spent], &[99_990_000]);
    let by = first.compute_txid();
    let old = format!(
        r#"[["{txid}:0",{{"sats":100000000,"shown":[{{"at":{at},"loan":{id}}}],"spent_by":"{by}"}}],
            ["{by}:0",{{"sats":99990000,"shown":[{{"at":{at},"loan":{id},"parts":900,"pardoned":true}}]}}]]"#,
        at = NOW.0
    );
    store.put(ONE, old.as_bytes()).unwrap();
    let coins = ShownCoins::open(store.clone()).unwrap();
    assert_eq!((parts(&coins, spent), parts(&coins, made(&first, 0))), (WHOLE, 900));
    assert!(coins.of(&made(&first, 0))[0].pardoned && !coins.of(&spent)[0].pardoned);
    assert_eq!(store.get(ONE).unwrap().unwrap(), b"[]", "a program of before reads this as none");
    // From its own documents from now on.
    let mut again = ShownCoins::open(store).unwrap();
    assert_eq!((again.kept.all(), again.kept.spent()), (coins.kept.all(), coins.kept.spent()));
    again.on_transaction(&spends(&[spent], &[99_970_000]), false, NONE);
    assert_eq!((parts(&again, made(&first, 0)), again.kept.count()), (0, 2), "another takes its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_coins_and_times_fits_into_its_document() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut coins = ShownCoins::open(store.clone()).unwrap();
    let at = |number| Time(NOW.0 + number);
    let shown = |number| {
        let one = |loan_of| Showing { at: at(number), loan: loan(loan_of), parts: 99_999, pardoned: true };
        (0..TIMES as u8).map(one).collect::<Vec<_>>()
    };
    for number in 0..MOST as u32 + 100 {
        let OutPoint { txid, .. } = coin(number);
        let group = Group { shown: shown(number), coins: [(u32::MAX, Amount::MAX_MONEY)].into(), spends: Vec::new() };
        coins.kept.put((txid, Some(u32::MAX)), group);
    }
    coins.flush().unwrap();
    assert_eq!((coins.kept.count(), store.list(PLACES).unwrap().len()), (MOST, MOST));
    assert_eq!(times(&coins, OutPoint { vout: u32::MAX, ..coin(0) }), 0, "of equals the oldest were forgotten");
    // The widest transactions that a block can have.
    for number in 0..4 {
        let spends = (0..25_000).map(|vout| OutPoint { vout: u32::MAX - vout, ..coin(5_000) }).collect();
        let widest = (0..110_000).map(|vout| (vout, Amount::from_sat(19_000_000_000))).collect();
        let group = Group { shown: shown(1_000), coins: widest, spends };
        coins.kept.put((coin(2_000 + number).txid, None), group);
    }
    coins.flush().unwrap();
    let longest = store.list(PLACES).unwrap().iter().map(|name| store.get(name).unwrap().unwrap().len()).max().unwrap();
    assert!((500_000..=MAX_DOCUMENT).contains(&longest), "{longest} bytes");
    assert!(coins.kept.all().len() <= 60_000 + MOST);
    let all = coins.kept.all();
    assert_eq!(ShownCoins::open(store).unwrap().kept.all(), all);
    // All that is a day old leaves nothing behind.
    coins.tick(at(1_000 + DAY));
    assert_eq!(coins.kept.count(), 0);
}

#[test]
fn thousands_of_showings_are_put_together_at_once_and_none_of_them_is_lost() {
    let id = |number: u32| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        LoanId(id)
    };
    let of = |number: u32| Showing {
        at: Time(NOW.0 + number % 97),
        loan: id(number),
        parts: u64::from(number % 31),
        pardoned: number.is_multiple_of(3),
    };
    let mut shown: Vec<Showing> = (0..12_000).map(of).collect();
    let sums = |shown: &[Showing]| {
        [true, false].map(|is| shown.iter().filter(|one| one.pardoned == is).map(|one| one.parts).sum::<u64>())
    };
    let before = sums(&shown);
    brief(&mut shown, &|_| false);
    assert_eq!((shown.len(), sums(&shown)), (TIMES, before));
}
