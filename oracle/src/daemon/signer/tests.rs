use super::super::ledger::{Ledger, Record as Said};
use super::super::socket::Door;
use super::ask::{Answer, Ask, Say};
use super::record::Entry;
use super::vault::{Refusal, Vault};
use super::{begin_record, check, entries, import_record, Here, Keys, Record, SignerClient};
use crate::announce::{AnnounceError, OracleKeys};
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::event::{Event, PaymentId, PaymentWord};
use crate::ladder::Level;
use crate::relay::note::{read, Word};
use crate::statement::{Statement, LOG_HEAD};
use crate::units::{Cents, Day, Time, HOUR};
use crate::verify::{verify_announcement, verify_attestation};
use crate::watermark::Watermark;
use crate::wire::{SignedLows, SignedPrice};
use bitcoin::hex::DisplayHex;
use secp256k1_zkp::SecretKey;
use std::collections::BTreeMap;
use std::path::Path;

const DAY: Day = Day(18_333);

fn hour(number: u32) -> Time {
    DAY.start().unwrap().plus(number * HOUR).unwrap()
}

fn keys() -> OracleKeys {
    OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap())
}

struct World {
    folder: tempfile::TempDir,
    vault: Option<Vault>,
}

impl World {
    /// A signer whose clock says 10:30.
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        begin_record(folder.path(), &keys().public_key()).unwrap();
        let mut world = World { folder, vault: None };
        world.set(Time(hour(10).0 + 1_800));
        world.restart();
        world
    }

    fn set(&self, now: Time) {
        Clock::set_file(&self.folder.path().join("clock"), now).unwrap();
    }

    /// As after kill −9: only what is on disk is left.
    fn restart(&mut self) {
        self.vault = None;
        let clock = Clock::file(self.folder.path().join("clock"));
        self.vault = Some(Vault::open(self.folder.path(), keys(), clock).unwrap());
    }

    fn hear(&self, ask: Ask) -> Result<Answer, Refusal> {
        self.vault.as_ref().unwrap().hear(ask)
    }

    fn say(&self, say: Say) -> Result<Answer, Refusal> {
        self.hear(Ask::Attest { say: vec![say] })
    }

    fn state(&self, statement: &Statement) -> Result<Answer, Refusal> {
        self.hear(Ask::State { tag: statement.tag.to_string(), data: statement.data.to_lower_hex_string() })
    }

    fn lows(&self, frozen: u32, lows: &[(usize, u64)]) -> Result<Answer, Refusal> {
        let mut day = [None; 24];
        lows.iter().for_each(|(hour, cents)| day[*hour] = Some(Cents(*cents)));
        self.state(&SignedLows::statement(DAY, hour(frozen), &day))
    }
}

fn fixing(number: u32, cents: u64) -> Say {
    Say::Fixing { at: hour(number), cents: Cents(cents) }
}

fn touch(dollars: u32, from_hour: u8, low_hour: u32, low: u64) -> Say {
    let event = Event::Touch { level: Level::exactly(dollars).unwrap(), day: DAY, from_hour };
    Say::Touch { id: event.to_string(), hour: hour(low_hour), low: Cents(low) }
}

#[test]
fn a_second_fixing_of_one_hour_is_refused_also_after_a_kill() {
    let mut world = World::new();
    let signed = world.say(fixing(9, 798_765)).unwrap();
    for _ in 0..2 {
        assert_eq!(world.say(fixing(9, 798_765)).unwrap(), signed, "a retry gets the same signatures");
        assert_eq!(world.say(fixing(9, 798_700)).unwrap(), signed, "and so does another cent of the same dollars");
        let second = world.say(fixing(9, 798_899 + 1));
        assert_eq!(second, Err(Refusal::SecondFixing { at: hour(9), signed: 7_987, asked: 7_989 }));
        world.restart();
    }
    // Within one request too, and then nothing of it is signed.
    let both = world.hear(Ask::Attest { say: vec![fixing(8, 100), fixing(8, 200)] });
    assert!(matches!(both, Err(Refusal::SecondFixing { .. })));
    assert!(world.say(fixing(8, 200)).is_ok(), "the refused request left nothing behind");
}

#[test]
fn what_is_ahead_of_its_hour_or_off_the_hour_or_the_ladder_is_refused() {
    let world = World::new();
    assert!(world.say(fixing(10, 1)).is_ok());
    assert!(matches!(world.say(fixing(11, 1)), Err(Refusal::Future { .. })));
    let off = Say::Fixing { at: Time(hour(9).0 + 60), cents: Cents(1) };
    assert!(matches!(world.say(off), Err(Refusal::Unknown(_))));
    assert!(matches!(world.say(fixing(7, 0)), Err(Refusal::Zero(_))));
    let off = Say::Touch { id: "btcusd-touch-7491-20200312-h00".into(), hour: hour(9), low: Cents(1) };
    assert!(matches!(world.say(off), Err(Refusal::Unknown(_))));
    let disguised = Say::Touch { id: "btcusd1584007200".into(), hour: hour(9), low: Cents(1) };
    assert!(matches!(world.say(disguised), Err(Refusal::Unknown(_))));
    let price = SignedPrice::statement(Time(hour(10).0 + 1_801), Cents(1));
    assert!(matches!(world.state(&price), Err(Refusal::Future { .. })));
}

#[test]
fn a_touch_is_signed_only_on_a_low_that_makes_it_true_and_the_daemon_is_held_to_that_low() {
    let mut world = World::new();
    for (say, why) in [
        (touch(7_490, 0, 9, 749_001), "above the level"),
        (touch(7_490, 10, 9, 700_000), "before its start hour"),
        (touch(7_490, 0, 24, 700_000), "another day"),
        (touch(7_490, 0, 9, 0), "no price"),
    ] {
        assert!(matches!(world.say(say), Err(Refusal::NotTrue { .. })), "{why}");
    }
    assert!(matches!(world.say(touch(7_490, 0, 11, 700_000)), Err(Refusal::Future { .. })));
    world.say(touch(7_490, 0, 9, 749_000)).unwrap();
    world.restart();
    assert!(matches!(world.lows(9, &[]), Err(Refusal::Outdated { .. })), "the low cannot be left out");
    assert!(matches!(world.lows(9, &[(9, 749_001)]), Err(Refusal::Outdated { .. })), "nor raised");
    world.lows(9, &[(9, 748_000)]).unwrap();
    world.say(touch(7_490, 0, 9, 749_000)).unwrap();
}

#[test]
fn lows_only_fall_and_an_hour_that_is_final_stays_as_it_is() {
    let mut world = World::new();
    world.lows(9, &[(7, 760_000), (9, 750_000)]).unwrap();
    world.lows(10, &[(7, 760_000), (9, 749_000)]).unwrap();
    world.restart();
    assert!(matches!(world.lows(9, &[(7, 760_000), (9, 749_000)]), Err(Refusal::Outdated { .. })), "an older view");
    assert!(matches!(world.lows(10, &[(7, 760_000), (9, 740_000)]), Err(Refusal::TooLate { .. })));
    let filled_in = world.lows(10, &[(7, 760_000), (8, 1), (9, 749_000)]);
    assert!(matches!(filled_in, Err(Refusal::TooLate { .. })), "missed is missed");
    assert!(matches!(world.say(touch(7_000, 0, 8, 700_000)), Err(Refusal::TooLate { .. })));
    assert!(matches!(world.say(touch(7_000, 0, 9, 700_000)), Err(Refusal::TooLate { .. })));
    world.say(touch(7_000, 0, 10, 700_000)).unwrap();
    assert!(matches!(world.lows(11, &[(7, 760_000)]), Err(Refusal::Future { .. })));
    world.lows(10, &[(7, 760_000), (9, 749_000), (10, 700_000)]).unwrap();
}

#[test]
fn of_one_payment_one_word_is_signed() {
    let mut world = World::new();
    let id = |word| Event::Payment { id: PaymentId([9; 16]), day: DAY, word }.to_string();
    let signed = world.say(Say::Payment { id: id(PaymentWord::Paid) }).unwrap();
    world.restart();
    assert_eq!(world.say(Say::Payment { id: id(PaymentWord::Paid) }).unwrap(), signed);
    let other = world.say(Say::Payment { id: id(PaymentWord::Undisbursed) });
    assert!(matches!(other, Err(Refusal::SecondPayment { .. })));
}

#[test]
fn a_missing_or_foreign_record_is_no_empty_record() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let missing = Vault::open(folder.path(), keys(), Clock::system()).unwrap_err();
    assert!(format!("{missing:#}").contains("import-record"), "{missing:#}");
    assert!(begin_record(world.folder.path(), &keys().public_key()).is_err(), "a record is never replaced");
    let other = OracleKeys::from_secret(SecretKey::from_slice(&[8; 32]).unwrap());
    begin_record(folder.path(), &other.public_key()).unwrap();
    assert!(Vault::open(folder.path(), keys(), Clock::system()).is_err());
}

/// A ledger of some hours, as a daemon with the key at hand would have said them.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..9 {
        ledger.apply(Said::Low { hour: hour(number), cents: Cents(750_000 - u64::from(number)) }).unwrap();
        ledger.apply(Said::Fixing { at: hour(number), cents: Cents(760_000) }).unwrap();
    }
    ledger.apply(Said::Frozen { until: hour(9) }).unwrap();
    ledger
}

fn import(data: &Path, ledger: &Ledger) -> anyhow::Result<usize> {
    let none = BTreeMap::new();
    let all = entries(ledger, &none);
    import_record(data, &keys().public_key(), &all, |signed| Ok(check(signed, ledger, &none)?))
}

#[test]
fn a_key_that_signed_in_a_daemon_opens_only_with_the_daemons_ledger_and_is_held_to_it() {
    let mut world = World::new();
    world.vault = None;
    let data = world.folder.path().to_owned();
    let open = || Vault::open(&data, keys(), Clock::file(data.join("clock")));
    std::fs::remove_file(data.join("signed")).unwrap();
    drop(Record::begin_unrecorded(&data, &keys().public_key()).unwrap());
    let refused = format!("{:#}", open().unwrap_err());
    assert!(refused.contains("signed without the record") && refused.contains("import-record"), "{refused}");
    assert_eq!(import(&data, &ledger()).unwrap(), 9 + 9 + 1);
    assert_eq!(import(&data, &ledger()).unwrap(), 0, "a second time");
    world.restart();
    world.say(fixing(8, 760_050)).unwrap();
    assert!(matches!(world.say(fixing(8, 799_900)), Err(Refusal::SecondFixing { .. })));
    assert!(matches!(world.say(touch(7_000, 0, 8, 699_999)), Err(Refusal::TooLate { .. })), "the hour is final");
    world.vault = None;
    let mut other = ledger();
    other.apply(Said::Fixing { at: hour(10), cents: Cents(760_000) }).unwrap();
    assert_eq!(import(&data, &other).unwrap(), 1, "what came since");
    let older = format!("{:#}", import(&data, &ledger()).unwrap_err());
    assert!(
        older.contains("the fixing of 2020-03-12T10:00:00Z was signed as 7600 dollars, the ledger none"),
        "{older}"
    );
    // Another key's record beside a key is no record of it.
    let strange = OracleKeys::from_secret(SecretKey::from_slice(&[8; 32]).unwrap());
    assert!(format!("{:#}", Here::hold(&data, strange, true).unwrap_err()).contains("of another key"));
    open().unwrap();
}

#[test]
fn an_import_cut_off_at_any_line_leaves_no_record_that_a_signer_opens_and_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    drop(Record::begin_unrecorded(data, &keys().public_key()).unwrap());
    import(data, &ledger()).unwrap();
    let (path, clock) = (data.join("signed"), Clock::file(data.join("clock")));
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (1..=whole.len()).filter(|end| whole[end - 1] == b'\n').collect();
    assert_eq!(ends.len(), 1 + 1 + 1 + 19);
    for end in &ends[1..] {
        for cut in [*end, end.saturating_sub(3)].into_iter().filter(|cut| *cut > ends[1]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let is_whole = cut == whole.len();
            assert_eq!(Vault::open(data, keys(), clock.clone()).is_ok(), is_whole, "{cut} bytes");
            import(data, &ledger()).unwrap();
            drop(Vault::open(data, keys(), clock.clone()).unwrap());
            assert_eq!(import(data, &ledger()).unwrap(), 0);
        }
    }
}

/// What a daemon with this ledger signs with, its key in its own process.
fn here(data: &Path, ledger: &Ledger) -> anyhow::Result<Keys> {
    Here::hold(data, keys(), true)?.knowing(ledger, &BTreeMap::new())
}

#[test]
fn a_daemon_with_the_key_at_hand_holds_its_record_and_is_held_to_it() {
    let mut world = World::new();
    let data = world.folder.path().to_owned();
    let refused = format!("{:#}", Here::hold(&data, keys(), false).unwrap_err());
    assert!(refused.contains("in use by another process"), "beside a signer: {refused}");
    world.say(fixing(8, 760_000)).unwrap();
    world.vault = None;
    let fresh = format!("{:#}", here(&data, &Ledger::default()).unwrap_err());
    assert!(fresh.contains("was signed as 7600 dollars, the ledger none"), "a ledger that knows less: {fresh}");
    let said = here(&data, &ledger()).unwrap();
    let signed = said.attest(&[fixing(7, 760_000)]).unwrap();
    let second = said.attest(&[fixing(7, 799_900)]).unwrap_err().to_string();
    assert!(second.contains("give the key away"), "{second}");
    let locked = format!("{:#}", Vault::open(&data, keys(), Clock::system()).unwrap_err());
    assert!(locked.contains("in use by another process"), "{locked}");
    drop(said);
    // What was said in the daemon, asked for or not, a signer knows without an import.
    world.restart();
    assert_eq!(import(&data, &ledger()).err().map(|_| ()), Some(()), "the signer has it");
    let again = world.say(fixing(7, 760_000)).unwrap();
    assert_eq!(again, Answer::Attested { signatures: vec![signed[0].signatures.clone()] });
    assert!(matches!(world.say(fixing(3, 799_900)), Err(Refusal::SecondFixing { .. })));
}

#[test]
fn a_key_that_spoke_in_a_daemon_of_an_older_version_gets_its_record_from_the_ledger_and_no_other_key_does() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let nothing = Here::hold(data, keys(), false).unwrap_err().to_string();
    assert!(nothing.contains("what this key has signed is not known"), "{nothing}");
    assert!(!data.join("signed").exists());
    // Cut off between the record's making and its filling: no signer opens it, the next start fills it.
    drop(Here::hold(data, keys(), true).unwrap());
    assert!(Vault::open(data, keys(), Clock::system()).is_err());
    drop(here(data, &ledger()).unwrap());
    assert_eq!(import(data, &ledger()).unwrap(), 0, "nothing is missing");
    let vault = Vault::open(data, keys(), Clock::system()).unwrap();
    assert!(matches!(vault.attest(&[fixing(2, 799_900)]), Err(Refusal::SecondFixing { .. })));
}

#[test]
fn a_replica_signs_what_another_one_said_after_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut shared = ledger();
    let mine = here(folder.path(), &shared).unwrap();
    shared.apply(Said::Fixing { at: hour(10), cents: Cents(770_000) }).unwrap();
    assert_eq!(mine.attest(&[fixing(10, 770_000)]).unwrap().len(), 1);
    drop(mine);
    drop(here(folder.path(), &shared).unwrap());
}

#[test]
fn a_daemon_that_asks_for_ever_more_fills_no_record_so_far_that_fixings_find_no_room() {
    let folder = tempfile::tempdir().unwrap();
    begin_record(folder.path(), &keys().public_key()).unwrap();
    let mut record = Record::open(folder.path(), &keys().public_key()).unwrap();
    (record.room.payments, record.room.lows) = (500, 1_000);
    let size = || std::fs::metadata(folder.path().join("signed")).unwrap().len();
    let payment = |number: u8| Entry::Payment(PaymentId([number; 16]), PaymentWord::Paid);
    let refused = (0..=255).find_map(|number| record.append(&[payment(number)]).err()).unwrap().to_string();
    assert!(refused.contains("takes payments up to 500 only"), "{refused}");
    assert!((500..600).contains(&size()));
    let low = |cents: u64| Entry::Low(hour(9), Cents(cents));
    let refused = (1..100).find_map(|less| record.append(&[low(900_000 - less)]).err()).unwrap().to_string();
    assert!(refused.contains("takes lows up to 1000 only"), "{refused}");
    for number in 0..100 {
        record.append(&[Entry::Fixing(hour(number), 7_000)]).unwrap();
    }
    drop(record);
    let signed = Record::open(folder.path(), &keys().public_key()).unwrap().signed;
    assert_eq!(signed.fixings.len(), 100, "and it opens");
}

#[test]
fn a_thousand_payments_a_minute_are_signed_and_no_more() {
    let world = World::new();
    let pay = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Say::Payment { id: Event::Payment { id: PaymentId(id), day: DAY, word: PaymentWord::Paid }.to_string() }
    };
    world.hear(Ask::Attest { say: (0..1_000).map(pay).collect() }).unwrap();
    assert_eq!(world.say(pay(1_000)), Err(Refusal::TooFast));
    assert!(world.say(pay(0)).is_ok(), "what was signed is signed again");
    assert!(world.say(fixing(9, 700_000)).is_ok(), "and fixings are not payments");
}

#[test]
fn a_watermark_never_falls_and_neither_it_nor_a_head_lies_in_the_future() {
    let world = World::new();
    let mark = |records: u64, until: Time| {
        let mark = Watermark { records, frozen_until: until, ..Watermark::new(keys().public_key()) };
        world.state(&mark.statement())
    };
    mark(7, hour(9)).unwrap();
    mark(7, hour(9)).unwrap();
    assert_eq!(mark(6, hour(9)), Err(Refusal::OlderMark { stated: 7, asked: 6 }));
    assert!(matches!(mark(8, hour(11)), Err(Refusal::Future { .. })));
    mark(8, hour(10)).unwrap();
    let head = |at: Time| {
        let data = [1u64.to_be_bytes().as_slice(), &at.0.to_be_bytes(), &[7; 32]].concat();
        world.state(&Statement::new(LOG_HEAD, data).unwrap())
    };
    head(hour(10)).unwrap();
    assert!(matches!(head(hour(11)), Err(Refusal::Future { .. })));
}

#[test]
fn anything_that_is_no_request_is_refused_and_nothing_panics() {
    let world = World::new();
    let vault = world.vault.as_ref().unwrap();
    let rotation = serde_json::json!({"ask": "state", "tag": "hypothec/rotation/v0", "data": "00".repeat(68)});
    let attestation = serde_json::json!({"ask": "state", "tag": "DLC/oracle/attestation/v0", "data": "31"});
    let many = serde_json::json!({"ask": "announce", "ids": vec!["btcusd0"; 3_000]});
    for request in [
        "".to_string(),
        "null".into(),
        "{\"ask\":\"secret\"}".into(),
        "{\"ask\":\"key\",\"more\":1}".into(),
        "[".repeat(10_000),
        rotation.to_string(),
        attestation.to_string(),
        many.to_string(),
    ] {
        let answer: Answer = serde_json::from_slice(&vault.answer(request.as_bytes())).unwrap();
        assert!(matches!(answer, Answer::Refused { .. }), "{request:.80}: {answer:?}");
    }
}

#[test]
fn a_note_for_relays_is_signed_where_its_word_would_be_and_never_a_hash_that_was_handed_over() {
    let mut world = World::new();
    let publish = |world: &World, announce: Vec<String>, say| world.hear(Ask::Publish { announce, say });
    for (say, why) in [
        (touch(7_490, 0, 9, 749_001), "above the level"),
        (fixing(11, 1), "ahead of its hour"),
        (Say::Payment { id: format!("pay-{}-20200312-paid", "09".repeat(16)) }, "nobody else's business"),
    ] {
        assert!(publish(&world, vec![], vec![say]).is_err(), "{why}");
    }
    for id in ["btcusd1584007201".into(), "00".repeat(32), format!("pay-{}-20200312-paid", "09".repeat(16))] {
        assert!(matches!(publish(&world, vec![id], vec![]), Err(Refusal::Unknown(_))));
    }
    assert!(matches!(publish(&world, vec!["btcusd0".into(); 3_000], vec![]), Err(Refusal::TooMany(3_000))));
    let signed = publish(&world, vec![], vec![fixing(9, 798_765)]).unwrap();
    world.restart();
    assert_eq!(publish(&world, vec![], vec![fixing(9, 798_765)]).unwrap(), signed);
    let second = publish(&world, vec![], vec![fixing(9, 900_000)]);
    assert!(matches!(second, Err(Refusal::SecondFixing { .. })), "a note binds as its attestation does");
    let stated = world.hear(Ask::State { tag: "nostr".into(), data: "00".repeat(32) });
    assert!(matches!(stated, Err(Refusal::Unknown(_))));

    let socket = world.folder.path().join("signer.sock");
    let served = serve(&socket, world.vault.take().unwrap());
    let (there, here) = (Keys::Signer(SignerClient::connect(&socket).unwrap()), Keys::from(keys()));
    let announce = [Event::Fixing { at: hour(20) }, touch(7_490, 0, 9, 749_000).event().unwrap()];
    let say = [touch(7_490, 0, 9, 749_000), fixing(9, 798_765)];
    let notes = there.notes(&announce, &say).unwrap();
    assert_eq!(notes, here.notes(&announce, &say).unwrap(), "the same notes as with the key at hand");
    assert_eq!(notes.len(), 4);
    let mut words = notes.iter().map(|note| read(note, &keys().public_key()).unwrap());
    let (Some(Word::Announced(..)), Some(Word::Announced(event, _))) = (words.next(), words.next()) else {
        panic!("announcements first")
    };
    let Some(Word::Attested(attested, said, names)) = words.next() else { panic!("then attestations") };
    assert_eq!((attested, names), (event, notes[1].id));
    assert_eq!(said, there.attest(&say[..1]).unwrap()[0]);
    served.0.shutdown_background();
}

/// A served signer; gone when dropped.
struct Served(tokio::runtime::Runtime);

fn serve(socket: &Path, vault: Vault) -> Served {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let door = runtime.block_on(async { Door::open(socket, &[]) }).unwrap();
    runtime.spawn(door.serve(move |request| vault.answer(request)));
    Served(runtime)
}

#[test]
fn a_month_of_a_band_is_one_request_and_the_same_bytes_as_with_the_key_at_hand() {
    let mut world = World::new();
    let socket = world.folder.path().join("signer.sock");
    let served = serve(&socket, world.vault.take().unwrap());
    let (there, here) = (Keys::Signer(SignerClient::connect(&socket).unwrap()), Keys::from(keys()));
    let events = Bundle::Month { band: 21, year: 2020, month: 2 }.events();
    assert_eq!(events.len(), 29 * 64);
    assert!(events.len() <= super::ask::MOST);
    let made = there.announcements(&events).unwrap();
    assert_eq!(made, here.announcements(&events).unwrap());
    verify_announcement(&made[0], &keys().public_key(), events[0]).unwrap();
    let say = [touch(7_490, 0, 9, 749_000), fixing(9, 798_765)];
    let said = there.attest(&say).unwrap();
    assert_eq!(said, here.attest(&say).unwrap());
    for (say, said) in say.iter().zip(&said) {
        let announced = there.announcements(&[say.event().unwrap()]).unwrap();
        verify_attestation(said, &announced[0].announcement).unwrap();
    }
    let late = Event::Touch { level: Level::exactly(1_000).unwrap(), day: Day(49_709), from_hour: 0 };
    assert_eq!(there.announcements(&[late]), Err(AnnounceError::BeyondTime { event: late }));
    served.0.shutdown_background();
}

#[test]
fn a_daemon_goes_on_when_its_signer_was_restarted_and_refuses_a_signer_with_another_key() {
    let mut world = World::new();
    let socket = world.folder.path().join("signer.sock");
    let served = serve(&socket, world.vault.take().unwrap());
    let there = Keys::Signer(SignerClient::connect(&socket).unwrap());
    let said = there.attest(&[fixing(9, 798_765)]).unwrap();
    served.0.shutdown_timeout(std::time::Duration::from_secs(5));
    let away = there.attest(&[fixing(9, 798_765)]).unwrap_err().to_string();
    assert!(away.contains("nobody answers"), "{away}");
    world.restart();
    let served = serve(&socket, world.vault.take().unwrap());
    assert_eq!(there.attest(&[fixing(9, 798_765)]).unwrap(), said);
    let second = there.attest(&[fixing(9, 900_000)]).unwrap_err().to_string();
    assert!(second.contains("give the key away"), "{second}");
    served.0.shutdown_timeout(std::time::Duration::from_secs(5));
    let folder = tempfile::tempdir().unwrap();
    let other = OracleKeys::from_secret(SecretKey::from_slice(&[8; 32]).unwrap());
    begin_record(folder.path(), &other.public_key()).unwrap();
    let served = serve(&socket, Vault::open(folder.path(), other, Clock::system()).unwrap());
    let refused = there.announcements(&[Event::Fixing { at: hour(9) }]).unwrap_err().to_string();
    assert!(refused.contains("give it the right one"), "{refused}");
    served.0.shutdown_background();
}
