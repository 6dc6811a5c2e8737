//! A borrower that is no node: it says whatever a test makes it say, over a real connection, with real coins.

use bitcoin::hashes::Hash;
use bitcoin::key::XOnlyPublicKey;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{rand, PublicKey, SecretKey, SECP256K1};
use bitcoin::{Amount, Network, OutPoint, ScriptBuf};
use hypothec::chain::{Chain, Follower};
use hypothec::contract::clauses::{Announcements, OracleAnnouncements};
use hypothec::contract::offer::{self, FundingCoin, OfferParts};
use hypothec::contract::repay::{self, RepayParts, Source};
use hypothec::contract::{accept, sign, wire, OfferDlc, OracleAnnouncement, Skeleton};
use hypothec::demo::bitcoind::BitcoindProcess;
use hypothec::demo::wait::until;
use hypothec::loan::payout::repayment_ceil;
use hypothec::loan::terms::Terms;
use hypothec::loan::units::{Cents, Days, Time};
use hypothec::loan::version::TERMS_VERSIONS;
use hypothec::loan::LoanId;
use hypothec::node::data::new_words;
use hypothec::oracle_client::OracleClient;
use hypothec::peer::{Frame, Kinds, Limits, PeerEvent, PeerNet};
use hypothec::protocol::messages::{Borrow, Coin, Fallback, Quote, QuoteRequest, Refused, Repay};
use hypothec::protocol::{Message, Stage};
use hypothec::wallet::{Seed, Wallet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

/// Where a stranger meets a lender: in one process with it, or beside it.
#[allow(async_fn_in_trait, reason = "nobody sends it to another thread")]
pub trait Ground {
    fn bitcoind(&self) -> &BitcoindProcess;
    /// Where it may keep its things.
    fn folder(&self) -> &Path;
    fn now(&self) -> Time;
    /// `pubkey@host:port`.
    fn lender(&self) -> String;
    /// The oracle's URL and key.
    fn oracle(&self) -> (String, XOnlyPublicKey);
    /// Where a loan stands for the lender.
    async fn stage(&self, id: LoanId) -> Result<Stage, String>;
}

/// How long a stranger that hears nothing waits before it says the last thing again, as every node does: the other
/// side answers one key only so often.
const AGAIN: Duration = Duration::from_secs(3);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Stranger {
    pub net: PeerNet,
    pub identity: SecretKey,
    /// Whom it talks to.
    pub peer: PublicKey,
    pub wallet: Wallet,
    events: mpsc::Receiver<PeerEvent>,
    said: Mutex<Option<Frame>>,
    pub chain: Chain,
    follower: Follower,
    pub oracle: OracleClient,
}

/// A contract the stranger can sign, or has signed.
pub struct Negotiated {
    pub terms: Terms,
    pub skeleton: Skeleton,
    pub key: SecretKey,
    /// Fallback and sign.
    pub messages: Vec<Message>,
}

/// A quote taken apart.
pub struct Quoted {
    pub terms: Terms,
    pub announcements: Announcements,
}

impl Stranger {
    /// Connected to the world's lender.
    pub async fn new(world: &impl Ground, name: &str) -> Stranger {
        let lender = world.lender();
        let key = lender.split('@').next().unwrap().parse().unwrap();
        let mut stranger = Stranger::of(world, name, key).await;
        stranger.net.connect(lender.parse().unwrap()).unwrap();
        stranger.hear("a connection", |event| matches!(event, PeerEvent::Connected(_)).then_some(())).await;
        stranger
    }

    /// With a wallet and a place to be reached at, and nobody to talk to yet.
    pub async fn of(world: &impl Ground, name: &str, peer: PublicKey) -> Stranger {
        let dir = world.folder().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let seed = Seed::from_mnemonic(&new_words().unwrap(), Network::Regtest).unwrap();
        let wallet = Wallet::create_or_load(&dir, &seed, None).unwrap();
        let chain = Chain::connect(world.bitcoind().chain_config()).await.unwrap();
        let follower = chain.follower(&wallet.checkpoints(), wallet.unconfirmed());
        let kinds = Kinds::new(Message::kinds()).unwrap();
        let identity = SecretKey::new(&mut rand::thread_rng());
        let listen = Some("127.0.0.1:0".parse().unwrap());
        let (net, events) = PeerNet::start(identity, Network::Regtest, listen, kinds, Limits::default()).await.unwrap();
        let (url, key) = world.oracle();
        let oracle = OracleClient::new(&url, key).unwrap();
        Stranger { net, identity, peer, wallet, events, said: Mutex::default(), chain, follower, oracle }
    }

    /// So many confirmed coins, each enough for one bitcoin of collateral.
    pub async fn coins(&mut self, world: &impl Ground, count: usize) -> Vec<OutPoint> {
        let mut coins = Vec::new();
        for _ in 0..count {
            let address = self.wallet.new_address().unwrap();
            coins.push(world.bitcoind().fund(&address, Amount::from_sat(100_100_000)).await.unwrap());
        }
        world.bitcoind().mine(1).await.unwrap();
        self.catch_up(world).await;
        coins
    }

    /// Who it is.
    pub fn key(&self) -> PublicKey {
        self.identity.public_key(SECP256K1)
    }

    pub async fn catch_up(&mut self, world: &impl Ground) {
        loop {
            let events = self.follower.poll().await.unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                self.wallet.apply(event, world.now()).unwrap();
            }
        }
    }

    pub fn say(&self, message: &Message) {
        let (kind, bytes) = message.write();
        let frame = Frame { kind, bytes };
        use Message::{Accept, Borrow, Offer, Ready, Sign};
        *self.said.lock().unwrap() =
            matches!(message, Borrow(_) | Ready(_) | Offer(_) | Accept(_) | Sign(_)).then(|| frame.clone());
        self.net.send(self.peer, frame).unwrap();
    }

    async fn hear<T>(&mut self, what: &str, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let listen = async {
            loop {
                let Ok(event) = tokio::time::timeout(AGAIN, self.events.recv()).await else {
                    let again = self.said.lock().unwrap().clone();
                    again.into_iter().for_each(|frame| self.net.send(self.peer, frame).unwrap());
                    continue;
                };
                if let Some(found) = pick(event.expect("the network lives")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, listen).await.unwrap_or_else(|_| panic!("never heard {what}"))
    }

    /// Waits until the other side ends the connection.
    pub async fn until_cut_off(&mut self) {
        self.hear("the end of the connection", |event| matches!(event, PeerEvent::Disconnected(_)).then_some(())).await;
    }

    /// The next message that `pick` takes.
    pub async fn message<T>(&mut self, what: &str, mut pick: impl FnMut(Message) -> Option<T>) -> T {
        self.hear(what, |event| match event {
            PeerEvent::Message(_, frame) => Message::read(frame.kind, &frame.bytes).ok().and_then(&mut pick),
            _ => None,
        })
        .await
    }

    /// The next refusal about `about`.
    pub async fn refusal(&mut self, about: [u8; 32]) -> Refused {
        self.message("a refusal", |message| match message {
            Message::Refused(refused) if refused.about == about => Some(refused),
            _ => None,
        })
        .await
    }

    /// A quote for dollars against one bitcoin, or the refusal.
    pub async fn ask(&mut self, principal_cents: u64, days: u32) -> Result<Quote, Refused> {
        let asked = self.request(principal_cents, days);
        let request = asked.request;
        self.say(&Message::QuoteRequest(asked));
        self.message("a quote", |message| match message {
            Message::Quote(quote) if quote.request == request => Some(Ok(quote)),
            Message::Refused(refused) if refused.about == request => Some(Err(refused)),
            _ => None,
        })
        .await
    }

    /// A request for dollars against one bitcoin.
    pub fn request(&mut self, principal_cents: u64, days: u32) -> QuoteRequest {
        QuoteRequest {
            request: rand::random(),
            chain: bitcoin::blockdata::constants::ChainHash::REGTEST.to_bytes(),
            principal: Cents(principal_cents),
            collateral: Amount::ONE_BTC,
            days: Days(days),
            oracles: vec![self.oracle.key()],
            borrower_nonce: rand::random(),
            principal_script: self.script(),
            versions: TERMS_VERSIONS.collect(),
            minimum_threshold: 1,
        }
    }

    /// A quote with everything its contract is locked to.
    pub async fn quote(&mut self, principal_cents: u64, days: u32) -> Quoted {
        let quote = self.ask(principal_cents, days).await.unwrap();
        let terms = Terms::from_tlv(&quote.terms.0).unwrap();
        let receipt = wire::read_announcement(&quote.receipt.0).unwrap();
        let announcements = self.announcements(&terms, receipt).await;
        Quoted { terms, announcements }
    }

    /// What a contract is locked to, from the oracle.
    pub async fn announcements(&self, terms: &Terms, receipt: OracleAnnouncement) -> Announcements {
        let asked: Vec<_> = terms.touch_days().iter().map(|day| (day.level, day.day, day.from_hour)).collect();
        let announced = OracleAnnouncements {
            touches: self.oracle.touches(&asked).await.unwrap(),
            fixing: self.oracle.fixing(terms.due()).await.unwrap(),
        };
        Announcements { oracles: vec![announced], receipt }
    }

    pub fn script(&mut self) -> ScriptBuf {
        self.wallet.new_address().unwrap().script_pubkey()
    }

    /// Takes a quote with proof of this coin.
    pub fn borrow(&self, terms: &Terms, coin: OutPoint) {
        let id = terms.id().0;
        let proof = self.wallet.prove_coin(coin, &id).unwrap();
        let coin = Coin {
            txid: coin.txid.to_byte_array(),
            vout: coin.vout,
            key: proof.pubkey,
            signature: proof.signature.serialize_compact(),
        };
        self.say(&Message::Borrow(Borrow { loan: id, coins: vec![coin] }));
    }

    /// Mines until the lender is ready for the offer.
    pub async fn until_ready(&mut self, world: &impl Ground, terms: &Terms) {
        let id = terms.id();
        until("the lender's coin", PATIENCE, || async {
            let stage = world.stage(id).await?;
            if !matches!(stage, Stage::Agreed | Stage::Preparing) {
                return Ok(());
            }
            if world.bitcoind().mempool_len().await.unwrap() > 0 {
                world.bitcoind().mine(1).await.unwrap();
            }
            Err(format!("{stage:?}"))
        })
        .await
        .unwrap();
        self.message("ready", |message| match message {
            Message::Ready(ready) if ready.loan == id.0 => Some(()),
            Message::Refused(refused) if refused.about == id.0 => panic!("{refused:?}"),
            _ => None,
        })
        .await;
    }

    /// An honest offer.
    pub fn offer(&mut self, quoted: &Quoted, coin: OutPoint) -> OfferDlc {
        self.offer_with(quoted, coin, &SecretKey::new(&mut rand::thread_rng()))
    }

    fn offer_with(&mut self, quoted: &Quoted, coin: OutPoint, funding: &SecretKey) -> OfferDlc {
        let known = self.wallet.coins();
        let known = known.iter().find(|known| known.outpoint == coin).unwrap();
        let parts = OfferParts {
            funding_key: funding.public_key(SECP256K1),
            payout_script: self.script(),
            change_script: self.script(),
            coins: vec![FundingCoin { previous: (*known.previous_tx).clone(), vout: coin.vout }],
        };
        offer::make(&quoted.terms, &quoted.announcements, parts).unwrap()
    }

    /// An honest negotiation as far as the sign, which the caller sends.
    pub async fn negotiate(
        &mut self,
        world: &impl Ground,
        principal_cents: u64,
        days: u32,
        coin: OutPoint,
    ) -> Negotiated {
        let quoted = self.quote(principal_cents, days).await;
        let id = quoted.terms.id().0;
        self.borrow(&quoted.terms, coin);
        self.until_ready(world, &quoted.terms).await;
        self.catch_up(world).await;
        let key = SecretKey::new(&mut rand::thread_rng());
        let offer = self.offer_with(&quoted, coin, &key);
        self.say(&Message::Offer(wire::write(&offer)));
        let mut half = None;
        let bytes = self
            .message("an accept", |message| match message {
                Message::Fallback(fallback) if fallback.loan == id => {
                    half = Signature::from_compact(&fallback.signature).ok();
                    None
                }
                Message::Accept(bytes) => Some(bytes),
                Message::Refused(refused) => panic!("{refused:?}"),
                _ => None,
            })
            .await;
        let checked = accept::check(&quoted.terms, &quoted.announcements, &offer, &bytes, &half.unwrap()).unwrap();
        let mut psbt = checked.built.funding_psbt(&offer, &checked.accept).unwrap();
        self.wallet.sign_inputs(&mut psbt).unwrap();
        let signed = sign::make(&checked.built, &offer, &key, &psbt).unwrap();
        let fallback = Fallback { loan: id, signature: signed.fallback.serialize_compact() };
        let messages = vec![Message::Fallback(fallback), Message::Sign(wire::write(&signed.sign))];
        Negotiated { terms: quoted.terms, skeleton: checked.built.skeleton, key, messages }
    }

    /// An active loan, confirmed.
    pub async fn open(&mut self, world: &impl Ground, principal_cents: u64, days: u32, coin: OutPoint) -> Negotiated {
        let negotiated = self.negotiate(world, principal_cents, days, coin).await;
        for message in &negotiated.messages {
            self.say(message);
        }
        let id = negotiated.terms.id();
        until("the loan to live", PATIENCE, || async {
            let stage = world.stage(id).await?;
            match stage {
                Stage::Active => return Ok(()),
                Stage::Confirming => drop(world.bitcoind().mine(1).await.unwrap()),
                _ => {}
            }
            Err(format!("{stage:?}"))
        })
        .await
        .unwrap();
        self.catch_up(world).await;
        negotiated
    }

    /// A repayment from the wallet with this coin, at this price and fee rate.
    pub fn proposal(&mut self, loan: &Negotiated, coin: OutPoint, price: Cents, at: Time, fee_rate: u64) -> Message {
        let known = self.wallet.coins();
        let known = known.iter().find(|known| known.outpoint == coin).unwrap();
        let coins = vec![(coin, known.txout.clone())];
        let parts = RepayParts {
            proposer: hypothec::contract::Role::Borrower,
            source: Source::Wallet,
            owed: repayment_ceil(&loan.terms, at, price).unwrap(),
            coins: coins.clone(),
            change_script: self.script(),
            fee_rate,
        };
        let unsigned = repay::transaction(&loan.terms, &loan.skeleton, &parts).unwrap();
        let previous = |_: &OutPoint| Some((*known.previous_tx).clone());
        let mut psbt = repay::psbt(&unsigned, &loan.skeleton, &coins, previous).unwrap();
        self.wallet.sign_inputs(&mut psbt).unwrap();
        let proposal = repay::propose(&loan.skeleton, &loan.key, &psbt).unwrap();
        Message::Repay(Repay::of(loan.terms.id(), &proposal, price, at, Source::Wallet))
    }

    /// The oracle's price now.
    pub async fn spot(&self) -> Cents {
        self.oracle.spot().await.unwrap().cents
    }
}
