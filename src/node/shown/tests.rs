use super::*;
use crate::store::Memory;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};
use kept::MOST;

mod written;

const NOW: Time = Time(1_583_712_000);
/// Every loan has come to nothing.
const NONE: fn(&LoanId) -> bool = |_| false;

fn coins() -> ShownCoins {
    ShownCoins::open(Arc::new(Memory::new())).unwrap()
}

fn coin(number: u32) -> OutPoint {
    let mut txid = [7; 32];
    txid[..4].copy_from_slice(&number.to_le_bytes());
    OutPoint { txid: Txid::from_byte_array(txid), vout: 0 }
}

fn loan(number: u8) -> LoanId {
    LoanId([number; 32])
}

fn spends(inputs: &[OutPoint], outputs: &[u64]) -> Transaction {
    let input = |outpoint: &OutPoint| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    let output = |sats: &u64| TxOut { value: Amount::from_sat(*sats), script_pubkey: ScriptBuf::new() };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: inputs.iter().map(input).collect(),
        output: outputs.iter().map(output).collect(),
    }
}

fn made(transaction: &Transaction, vout: u32) -> OutPoint {
    OutPoint { txid: transaction.compute_txid(), vout }
}

fn times(coins: &ShownCoins, coin: OutPoint) -> usize {
    coins.of(&coin).len()
}

/// Showings in vain, in thousandths, if every loan came to nothing.
fn parts(coins: &ShownCoins, coin: OutPoint) -> u64 {
    coins.of(&coin).iter().map(|showing| showing.parts).sum()
}

fn refusal(coins: &ShownCoins, shown: &[(OutPoint, Amount)]) -> Option<String> {
    let outpoints: Vec<OutPoint> = shown.iter().map(|(outpoint, _)| *outpoint).collect();
    coins.in_vain(&outpoints, |_| true).refusal(shown)
}

fn show_five_times(coins: &mut ShownCoins, coin: OutPoint, worth: Amount) {
    (1..=5).for_each(|round| coins.show(&[(coin, worth)], loan(round), NOW, NONE).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_sent_to_oneself_has_been_shown_as_often_as_what_it_was_made_from() {
    let mut coins = coins();
    let worth = Amount::ONE_BTC;
    coins.show(&[(coin(1), worth)], loan(1), NOW, NONE).unwrap();
    let mut last = coin(1);
    for round in 2..=4 {
        let sent = spends(&[last], &[60_000_000, 39_990_000, 500]);
        coins.on_transaction(&sent, false, NONE);
        assert_eq!(parts(&coins, made(&sent, 1)), (u64::from(round) - 1) * WHOLE, "both halves");
        assert_eq!(times(&coins, made(&sent, 2)), 0, "a crumb is no way round");
        let again = spends(&[made(&sent, 0), made(&sent, 1)], &[99_980_000]);
        coins.on_transaction(&again, false, NONE);
        last = made(&again, 0);
        coins.show(&[(last, worth)], loan(round), NOW, NONE).unwrap();
    }
    assert_eq!((times(&coins, last), parts(&coins, last)), (4, 4 * WHOLE));
    assert_eq!(refusal(&coins, &[(last, worth)]), None);
    coins.show(&[(last, worth)], loan(5), Time(NOW.0 + 9), NONE).unwrap();
    let again = Time(NOW.0 + DAY);
    assert!(refusal(&coins, &[(last, worth)]).unwrap().contains(&format!("after {again}")));
    assert_eq!(times(&coins, coin(9)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_shown_coins_are_mixed_nobody_shows_more_than_five_times_what_it_has() {
    // One coin of 1 BTC and three more beside it, mixed again as soon as the one is refused.
    let mut coins = coins();
    let (one, all) = (100_000_000u64, 400_000_000u64);
    let (mut shown, mut rest, mut vain) = (coin(1), coin(2), 0u8);
    for _ in 0..20 {
        while refusal(&coins, &[(shown, Amount::from_sat(one))]).is_none() {
            vain += 1;
            coins.show(&[(shown, Amount::from_sat(one))], loan(vain), NOW, NONE).unwrap();
        }
        let mixed = spends(&[shown, rest], &[all]);
        coins.on_transaction(&mixed, true, NONE);
        let split = spends(&[made(&mixed, 0)], &[one, all - one]);
        coins.on_transaction(&split, true, NONE);
        (shown, rest) = (made(&split, 0), made(&split, 1));
    }
    println!("bound vain-mixed {vain} a day for coins of 4 BTC, shown 1 BTC at a time");
    assert!((17..=20).contains(&vain), "{vain}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_shown_coin_sent_to_somebody_hinders_none_of_his() {
    let mut coins = coins();
    let (small, worth) = (Amount::from_sat(25_000), Amount::ONE_BTC);
    show_five_times(&mut coins, coin(1), small);
    assert!(refusal(&coins, &[(coin(1), small)]).is_some(), "alone it has been shown enough");
    assert_eq!(refusal(&coins, &[(coin(1), small), (coin(2), worth)]), None, "beside another");
    let joined = spends(&[coin(1), coin(2)], &[100_020_000]);
    coins.on_transaction(&joined, true, NONE);
    let joined = made(&joined, 0);
    for round in 11..=15 {
        assert_eq!(refusal(&coins, &[(joined, worth)]), None, "in one coin, {round}");
        coins.show(&[(joined, worth)], loan(round), NOW, NONE).unwrap();
    }
    assert!(refusal(&coins, &[(joined, worth)]).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_the_place_of_a_transaction_takes_the_showings_with_it() {
    let mut coins = coins();
    coins.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW, NONE).unwrap();
    let first = spends(&[coin(1)], &[99_990_000]);
    let child = spends(&[made(&first, 0)], &[99_980_000]);
    let second = spends(&[coin(1)], &[99_970_000]);
    for transaction in [&first, &child, &second, &second] {
        coins.on_transaction(transaction, false, NONE);
    }
    let known = |coins: &ShownCoins| coins.kept.all().into_keys().collect::<BTreeSet<_>>();
    assert_eq!(known(&coins), [coin(1), made(&second, 0)].into());
    // A block has the first after all.
    coins.on_transaction(&first, true, NONE);
    assert_eq!(known(&coins), [made(&first, 0)].into(), "and what it spent is gone");
    assert_eq!(parts(&coins, made(&first, 0)), WHOLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_the_borrowers_doing_is_held_against_neither_the_coin_nor_what_is_made_of_it() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut coins = ShownCoins::open(store.clone()).unwrap();
    let worth = Amount::ONE_BTC;
    show_five_times(&mut coins, coin(1), worth);
    let sent = spends(&[coin(1)], &[99_990_000]);
    coins.on_transaction(&sent, false, NONE);
    let both = [(coin(1), worth), (made(&sent, 0), worth)];
    assert!(both.iter().all(|one| refusal(&coins, &[*one]).is_some()));
    assert!(!coins.was_pardoned(&both));
    coins.pardon(&loan(3)).unwrap();
    // Over a restart.
    let mut coins = ShownCoins::open(store).unwrap();
    assert!(both.iter().all(|one| refusal(&coins, &[*one]).is_none()) && coins.was_pardoned(&both));
    // What is pardoned makes no room for the rest to be forgotten in.
    for round in 10..24 {
        coins.show(&[(coin(1), worth)], loan(round), Time(NOW.0 + u32::from(round)), NONE).unwrap();
        coins.pardon(&loan(round)).unwrap();
    }
    assert_eq!(refusal(&coins, &[(coin(1), worth)]), None);
    coins.show(&[(coin(1), worth)], loan(30), Time(NOW.0 + 60), NONE).unwrap();
    assert!(refusal(&coins, &[(coin(1), worth)]).is_some(), "four and one are five");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_held_to_is_bounded_too_whatever_brings_it_about() {
    let mut coins = coins();
    let worth = Amount::ONE_BTC;
    let mut taken = 0u8;
    while refusal(&coins, &[(coin(1), worth)]).is_none() && taken < 100 {
        coins.show(&[(coin(1), worth)], loan(taken), Time(NOW.0 + u32::from(taken)), NONE).unwrap();
        coins.pardon(&loan(taken)).unwrap();
        taken += 1;
    }
    println!("bound pardoned {taken} a day");
    assert_eq!(u64::from(taken), MOST_PARDONED);
    let said = refusal(&coins, &[(coin(1), worth)]).unwrap();
    assert!(said.contains("not by its borrower's doing"), "{said}");
    // What is made of it has been shown as often, and twice the money half as often.
    let sent = spends(&[coin(1)], &[99_990_000]);
    coins.on_transaction(&sent, false, NONE);
    assert!(refusal(&coins, &[(made(&sent, 0), worth)]).is_some());
    assert_eq!(refusal(&coins, &[(coin(1), worth), (coin(2), worth)]), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_coins_push_no_greater_one_out() {
    let mut coins = coins();
    show_five_times(&mut coins, coin(1), Amount::from_sat(10_000_000));
    coins.show(&[(coin(2), Amount::from_sat(50_000_000))], loan(9), NOW, NONE).unwrap();
    let many = spends(&[coin(2)], &[40_000; 1_200]);
    coins.on_transaction(&many, true, NONE);
    assert_eq!((coins.kept.count(), times(&coins, coin(1))), (2, 5), "what one transaction makes is one");
    for vout in 0..1_200 {
        let on = spends(&[made(&many, vout)], &[39_900]);
        coins.on_transaction(&on, true, NONE);
    }
    assert_eq!((coins.kept.count(), times(&coins, coin(1))), (MOST, 5));
    // More showings than are told apart count as much.
    let all: Vec<OutPoint> = (100..120).map(coin).collect();
    for (number, outpoint) in (100u8..).zip(&all) {
        coins.show(&[(*outpoint, Amount::ONE_BTC)], loan(number), NOW, NONE).unwrap();
    }
    let joined = spends(&all, &[1_999_990_000]);
    coins.on_transaction(&joined, false, NONE);
    assert_eq!((times(&coins, made(&joined, 0)), parts(&coins, made(&joined, 0))), (TIMES, WHOLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_outlives_a_restart_and_is_forgotten_after_a_day() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut before = ShownCoins::open(store.clone()).unwrap();
    before.show(&[(coin(1), Amount::ONE_BTC)], loan(1), NOW, NONE).unwrap();
    let sent = spends(&[coin(1)], &[99_000_000]);
    before.on_transaction(&sent, false, NONE);
    before.flush().unwrap();
    let mut after = ShownCoins::open(store).unwrap();
    assert_eq!(before.kept.all(), after.kept.all());
    assert_eq!(before.kept.spent(), after.kept.spent());
    assert_eq!((times(&after, coin(1)), times(&after, made(&sent, 0))), (1, 1));
    after.tick(Time(NOW.0 + DAY - 1));
    assert_eq!(times(&after, coin(1)), 1);
    after.tick(Time(NOW.0 + DAY));
    assert_eq!((times(&after, coin(1)), after.kept.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_in_vain_is_not_put_to_a_loan_that_goes_on_and_pardoned_with_it() {
    let mut coins = coins();
    let goes_on = |id: &LoanId| *id == loan(20);
    // A coin shown in vain eight times, and one for a loan that goes on: joined, and the loan is then pardoned.
    for number in 1..=8 {
        let coin = [(coin(number), Amount::ONE_BTC)];
        coins.show(&coin, loan(number as u8), NOW, goes_on).unwrap();
    }
    coins.show(&[(coin(9), Amount::from_sat(150_000_000))], loan(20), NOW, goes_on).unwrap();
    let joined = spends(&(1..=9).map(coin).collect::<Vec<_>>(), &[949_990_000]);
    coins.on_transaction(&joined, false, goes_on);
    let made = made(&joined, 0);
    assert_eq!(times(&coins, made), TIMES);
    let vain = |coins: &ShownCoins| -> u64 {
        let counted = coins.of(&made).iter().filter(|showing| showing.loan != loan(20) && !showing.pardoned);
        counted.map(|showing| showing.parts).sum()
    };
    let before = vain(&coins);
    assert!((840..=850).contains(&before), "{before} thousandths: eight bitcoin of nine and a half");
    coins.pardon(&loan(20)).unwrap();
    assert_eq!(vain(&coins), before, "what the loan is pardoned for is its own part alone");
    let pardoned: u64 = coins.of(&made).iter().filter(|showing| showing.pardoned).map(|showing| showing.parts).sum();
    assert!((155..=160).contains(&pardoned), "{pardoned}");
    // Many loans that go on are put together with each other only.
    let mut many: Vec<Showing> =
        (1..=12).map(|number| Showing { at: NOW, loan: loan(number), parts: 100, pardoned: number > 10 }).collect();
    brief(&mut many, &|id: &LoanId| id.0[0] <= 9);
    let of = |is: &dyn Fn(&Showing) -> bool| many.iter().filter(|one| is(one)).map(|one| one.parts).sum::<u64>();
    assert_eq!((many.len(), of(&|one| one.pardoned), of(&|one| one.loan == loan(10))), (TIMES, 200, 100));
}
