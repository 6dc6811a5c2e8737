//! A peer that has the lender's key and gives a restored borrower whatever it likes: nothing but the loan that was signed, and
//! that is still open, is taken; what is not is told by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use bitcoin::secp256k1::SecretKey;
use bitcoin::Network;
use hypothec::contract::recover::LoanFile;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::loan::tlv::Bytes;
use hypothec::loan::LoanId;
use hypothec::node::config::Config;
use hypothec::node::data::DataFolder;
use hypothec::node::view::{ConnectRequest, EventView};
use hypothec::node::{self, restored, Running};
use hypothec::peer::{Frame, Kinds, Limits, PeerEvent, PeerNet};
use hypothec::protocol::messages::{LoanOfYours, LoansOfMine};
use hypothec::protocol::{Loan, Message, Recorded, Stage};
use hypothec::store::{Sled, Store};
use hypothec::wallet::Seed;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use world::{World, HOUR};

fn identity(dir: &Path, name: &str) -> SecretKey {
    let words = DataFolder::open(&dir.join(name)).unwrap().words().unwrap();
    Seed::from_mnemonic(&words, Network::Regtest).unwrap().node_identity().unwrap()
}

/// What a stopped node's store holds of a loan.
fn stored(dir: &Path, name: &str, id: LoanId) -> LoanFile {
    let store = Sled::open(dir.join(name).join("store")).unwrap();
    let log: Vec<Recorded> =
        store.read(id.0.into()).unwrap().iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect();
    Loan::replay(&log).unwrap().file().unwrap()
}

/// A new node of a stopped one's words alone.
async fn from_words(dir: &Path, name: &str, again: &str) -> Running {
    let old = DataFolder::open(&dir.join(name)).unwrap();
    let config = std::fs::read_to_string(dir.join(name).join("hypothec.toml")).unwrap();
    DataFolder::make(&dir.join(again), &old.words().unwrap(), &config, restored::mark_new).unwrap();
    node::start(Config::load(&dir.join(again), Some(dir.join("clock"))).unwrap()).await.unwrap()
}

/// Says what it likes to one node.
struct Liar {
    net: PeerNet,
    events: mpsc::Receiver<PeerEvent>,
    node: bitcoin::secp256k1::PublicKey,
}

impl Liar {
    async fn at(identity: SecretKey, node: &Running) -> Liar {
        let kinds = Kinds::new(Message::kinds()).unwrap();
        let (net, events) = PeerNet::start(identity, Network::Regtest, None, kinds, Limits::default()).await.unwrap();
        net.connect(format!("{}@{}", node.node_id, node.listening.unwrap()).parse().unwrap()).unwrap();
        Liar { net, events, node: node.node_id }
    }

    fn say(&self, message: &Message) {
        let (kind, bytes) = message.write();
        self.net.send(self.node, Frame { kind, bytes }).unwrap();
    }

    fn give(&self, loan: LoanId, file: &LoanFile) {
        let bytes = Bytes(file.to_tlv());
        assert!(bytes.0.len() <= 1_000_000);
        self.say(&Message::LoanOfYours(LoanOfYours { loan: loan.0, part: 0, parts: 1, bytes }));
    }

    /// The next thing of this kind it hears.
    async fn hear<T>(&mut self, what: &str, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let hearing = async {
            loop {
                if let Some(found) = pick(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    async fn asked(&mut self) -> Vec<[u8; 32]> {
        self.hear("question", |event| match event {
            PeerEvent::Message(_, frame) => match Message::read(frame.kind, &frame.bytes) {
                Ok(Message::LoansOfMine(LoansOfMine { known })) => Some(known),
                _ => None,
            },
            _ => None,
        })
        .await
    }
}

async fn now_told(node: &Running, what: &str) -> Result<EventView, String> {
    let events = node.handle.events(0, Duration::ZERO).await.map_err(|error| error.message)?;
    let found = events.iter().find(|event| event.event == what).cloned();
    found.ok_or_else(|| format!("{:?}", events.iter().map(|event| &event.event).collect::<Vec<_>>()))
}

async fn told(node: &Running, what: &str) -> EventView {
    until(what, PATIENCE, || now_told(node, what)).await.unwrap()
}

async fn has_none(node: &Running) {
    assert!(node.handle.loans().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_takes_the_loan_that_was_signed_and_nothing_else_whatever_its_peer_gives() {
    let world = World::new().await;
    let id = world.open(300_000, 2).await;
    let World { bitcoind, oracle, lender, borrower, dir, mut now } = world;
    lender.stop().await.unwrap();
    borrower.stop().await.unwrap();
    let dir = dir.path();
    let (file, key) = (stored(dir, "lender", id), identity(dir, "lender"));
    assert_eq!(stored(dir, "borrower", id), file, "both sides hold the same");

    // The right one by somebody else; then, by the lender, bytes that mean nothing, and one with the halves of the fallback
    // changed about. They are looked at one by one.
    let again = from_words(dir, "borrower", "first").await;
    let mut stranger = Liar::at(SecretKey::from_slice(&[5; 32]).unwrap(), &again).await;
    stranger.asked().await;
    stranger.give(id, &file);
    let mut liar = Liar::at(key, &again).await;
    assert!(liar.asked().await.is_empty());
    let (borrower_fallback, lender_fallback) = (file.lender_fallback, file.borrower_fallback);
    let spoiled = LoanFile { borrower_fallback, lender_fallback, ..file.clone() };
    let bytes = Bytes(vec![7; 1_000]);
    liar.say(&Message::LoanOfYours(LoanOfYours { loan: id.0, part: 0, parts: 1, bytes }));
    // One answer to a question: a person who names the peer has it asked anew, also for what was not taken.
    liar.give(id, &spoiled);
    let named = ConnectRequest { address: format!("{}@127.0.0.1:1", liar.net.key()) };
    // What it gave may still be on its way when the peer is named: then it is named once more.
    let deadline = Instant::now() + PATIENCE;
    loop {
        again.handle.connect(named.clone()).await.unwrap();
        if liar.asked().await.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "it is asked for what was not taken");
    }
    // The right one under another loan's name; then one of eight parts: both are told of, once each time it is named.
    liar.give(LoanId([9; 32]), &file);
    let junk = async |words: &str| {
        until(words, PATIENCE, || async {
            let events = again.handle.events(0, Duration::ZERO).await.map_err(|error| error.message)?;
            let found = events.iter().find(|event| event.loan_id.is_none() && event.text.contains(words));
            found.map(|event| event.event.clone()).ok_or_else(|| format!("{events:#?}"))
        })
        .await
        .unwrap()
    };
    let from = format!("peer {} gave something back that is no loan of this node", liar.net.key());
    assert_eq!(junk(&format!("its terms are those of loan {id}")).await, "loan_not_given_back");
    assert_eq!(junk(&from).await, "loan_not_given_back");
    again.handle.connect(named.clone()).await.unwrap();
    assert!(liar.asked().await.is_empty());
    liar.say(&Message::LoanOfYours(LoanOfYours { loan: id.0, part: 0, parts: 8, bytes: Bytes(vec![7]) }));
    assert_eq!(junk("longer than a loan's file can be").await, "loan_not_given_back");
    again.handle.connect(named).await.unwrap();
    liar.asked().await;
    liar.give(id, &spoiled);
    let said = until("the refusal", PATIENCE, || async {
        let events = again.handle.events(0, Duration::ZERO).await.map_err(|error| error.message)?;
        events.into_iter().find(|event| event.loan_id == Some(id)).ok_or("not yet".to_owned())
    });
    let said = said.await.unwrap();
    assert!(said.event == "loan_not_given_back" && said.text.contains("fallback"), "{said:?}");
    has_none(&again).await;
    again.stop().await.unwrap();

    // The one that was signed; asked again at once, the peer hears that it is known.
    let again = from_words(dir, "borrower", "second").await;
    let mut liar = Liar::at(key, &again).await;
    liar.asked().await;
    liar.give(id, &file);
    told(&again, "loan_given_back").await;
    assert_eq!(again.handle.loan(id).await.unwrap().stage, Stage::Active);
    assert_eq!(liar.asked().await, [id.0]);
    liar.say(&Message::LoanOfYours(LoanOfYours { loan: [0; 32], part: 0, parts: 0, bytes: Bytes(Vec::new()) }));
    told(&again, "no_more_loans").await;
    // Whatever comes of a loan that stands here is no news: nobody is told that it was lost, or to restore again.
    again.handle.connect(ConnectRequest { address: format!("{}@127.0.0.1:1", liar.net.key()) }).await.unwrap();
    assert_eq!(liar.asked().await, [id.0]);
    liar.give(id, &spoiled);

    // It ends; and a node restored again is not fooled by the same file.
    let request =
        hypothec::node::view::OracleRequest { url: oracle.as_ref().unwrap().url(), mirrors: Vec::new(), pubkey: None };
    again.handle.add_oracle(request).await.unwrap();
    now = now.plus(50 * HOUR).unwrap();
    bitcoind.set_mock_time(now).await.unwrap();
    hypothec_oracle::clock::Clock::set_file(&dir.join("clock"), now).unwrap();
    until("the loan to be over", Duration::from_secs(60), || async {
        bitcoind.mine(1).await.map_err(|error| error.to_string())?;
        let stage = again.handle.loan(id).await.map_err(|error| error.message)?.stage;
        if stage == Stage::Closed {
            Ok(())
        } else {
            Err(stage.to_string())
        }
    })
    .await
    .unwrap();
    let events = again.handle.events(0, Duration::ZERO).await.unwrap();
    assert!(events.iter().all(|event| event.event != "loan_not_given_back"), "{events:#?}");
    again.stop().await.unwrap();
    let again = from_words(dir, "borrower", "third").await;
    let mut liar = Liar::at(key, &again).await;
    liar.asked().await;
    liar.give(id, &file);
    let said = told(&again, "loan_not_given_back").await;
    assert!(said.text.contains("is spent: it ended"), "{said:?}");
    has_none(&again).await;
}
