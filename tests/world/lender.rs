//! A lender that is no node: it says whatever a test makes it say to the borrower's node, with real coins.

use super::stranger::Stranger;
use super::World;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::ecdsa::Signature;
use bitcoin::secp256k1::{rand, SecretKey, SECP256K1};
use bitcoin::{Amount, OutPoint, Transaction};
use hypothec::contract::accept::{self, AcceptParts, Accepted};
use hypothec::contract::clauses::Announcements;
use hypothec::contract::offer::{self, lender_coin_value, FundingCoin};
use hypothec::contract::{receipt, sign, wire, AcceptDlc, OfferDlc};
use hypothec::loan::fees::exit_fee_rate;
use hypothec::loan::interest::minimum_days;
use hypothec::loan::ltv::{CUSHION, LIQUIDATION};
use hypothec::loan::terms::{Terms, STAKE};
use hypothec::loan::tlv::Bytes;
use hypothec::loan::units::{cents_for_sats_floor, sats_for_cents_ceil, BasisPoints, SatPerVb};
use hypothec::loan::version::{CURRENCY, CURVE, TERMS_VERSION, TRANSACTION_VERSION};
use hypothec::node::view::{self, ErrorView, QuoteView};
use hypothec::protocol::messages::{quote_digest, Coin, Fallback, Quote, QuoteRequest, Ready};
use hypothec::protocol::Message;

/// What every one of its borrowers asks for: $3,000 for two days against a bitcoin.
pub const PRINCIPAL: u64 = 300_000;
pub const DAYS: u32 = 2;

pub struct FalseLender {
    pub stranger: Stranger,
    pub receipt_key: SecretKey,
    receipt_nonce: SecretKey,
    /// Adaptor signatures of an earlier contract: enough where something else is wrong.
    stale: Option<AcceptDlc>,
}

/// An offer of the borrower's node.
pub struct Offered {
    pub terms: Terms,
    pub announcements: Announcements,
    pub offer: OfferDlc,
}

/// A contract the borrower's node has signed.
pub struct Signed {
    pub terms: Terms,
    pub accepted: Accepted,
    pub funding: Transaction,
}

impl FalseLender {
    pub async fn new(world: &World) -> FalseLender {
        let stranger = Stranger::of(world, "false-lender", world.borrower.node_id).await;
        let random = || SecretKey::new(&mut rand::thread_rng());
        FalseLender { stranger, receipt_key: random(), receipt_nonce: random(), stale: None }
    }

    pub fn address(&self) -> String {
        format!("{}@{}", self.stranger.net.key(), self.stranger.net.listening().unwrap())
    }

    pub fn say(&self, message: &Message) {
        self.stranger.say(message);
    }

    /// Has the borrower's node ask for a quote; what it asks, and its answer later.
    pub fn asks<'a>(
        &self,
        world: &'a World,
    ) -> impl std::future::Future<Output = Result<QuoteView, ErrorView>> + use<'a> {
        let lender = self.address();
        let request =
            view::QuoteRequest { lender, principal_cents: PRINCIPAL, collateral_sats: 100_000_000, days: DAYS };
        world.borrower.handle.quote(request)
    }

    pub async fn requested(&mut self) -> QuoteRequest {
        let pick = |message| match message {
            Message::QuoteRequest(request) => Some(request),
            _ => None,
        };
        self.stranger.message("a request", pick).await
    }

    /// Honest terms.
    pub async fn terms(&self, world: &World, request: &QuoteRequest) -> Terms {
        let price = self.stranger.spot().await;
        let estimate = self.stranger.chain.fee_rate().await.unwrap().to_sat_per_vb_ceil();
        let principal_sats = sats_for_cents_ceil(request.principal, price).unwrap();
        Terms {
            version: TERMS_VERSION,
            chain: request.chain,
            borrower: self.stranger.peer,
            lender: self.stranger.net.key(),
            borrower_nonce: request.borrower_nonce,
            lender_nonce: rand::random(),
            start: world.now.hour_ceil().unwrap(),
            days: request.days,
            principal_sats,
            principal: cents_for_sats_floor(principal_sats, price).unwrap(),
            reference_price: price,
            apr: BasisPoints(1_000),
            minimum_interest_days: minimum_days(request.days),
            collateral: request.collateral,
            stake: STAKE,
            liquidation_ltv: LIQUIDATION,
            cushion: CUSHION,
            oracles: request.oracles.clone(),
            threshold: 1,
            receipt_key: Keypair::from_secret_key(SECP256K1, &self.receipt_key).x_only_public_key().0,
            receipt_nonce: self.receipt_nonce.x_only_public_key(SECP256K1).0,
            fee_rate: exit_fee_rate(SatPerVb(estimate)),
            confirmations: 3,
            principal_script: request.principal_script.clone(),
            expires: world.now.plus(3_600).unwrap(),
            transaction_version: Some(TRANSACTION_VERSION),
            currency: Some(CURRENCY.into()),
            minimum_threshold: Some(request.minimum_threshold),
            curve: Some(CURVE),
            unknown: Default::default(),
        }
    }

    /// A quote of any terms, well signed.
    pub fn quote(&self, request: [u8; 32], terms: &Terms) -> Quote {
        let identity = Keypair::from_secret_key(SECP256K1, &self.stranger.identity);
        let receipt = receipt::announce(terms, &self.receipt_key).unwrap();
        Quote {
            request,
            terms: Bytes(terms.to_tlv()),
            receipt: Bytes(wire::write_announcement(&receipt)),
            signature: SECP256K1.sign_schnorr(&quote_digest(&terms.id()), &identity).serialize(),
        }
    }

    /// A quote with one thing in its terms and one in the message changed, and what the borrower's node makes of it.
    pub async fn quoted(
        &mut self,
        world: &World,
        spoil: impl FnOnce(&mut Terms),
        change: impl FnOnce(&mut Quote),
    ) -> (Terms, Result<QuoteView, ErrorView>) {
        let asking = self.asks(world);
        let answering = async {
            let request = self.requested().await;
            let mut terms = self.terms(world, &request).await;
            spoil(&mut terms);
            let mut quote = self.quote(request.request, &terms);
            change(&mut quote);
            self.say(&Message::Quote(quote));
            terms
        };
        let (answer, terms) = tokio::join!(asking, answering);
        (terms, answer)
    }

    /// A quote taken by the borrower's node, which now waits for our coin.
    pub async fn taken(&mut self, world: &World) -> Terms {
        self.taken_with(world).await.0
    }

    /// The same, and the coins that it shows.
    pub async fn taken_with(&mut self, world: &World) -> (Terms, Vec<OutPoint>) {
        let (terms, quote) = self.quoted(world, |_| (), |_| ()).await;
        let id = quote.unwrap().loan_id;
        assert_eq!(id, terms.id());
        world.borrower.handle.borrow(id).await.unwrap();
        let pick = |message| match message {
            Message::Borrow(borrow) if borrow.loan == id.0 => Some(borrow.coins),
            _ => None,
        };
        let coins = self.stranger.message("a borrow", pick).await;
        (terms, coins.iter().map(Coin::outpoint).collect())
    }

    /// The offer of the borrower's node, our coin being ready.
    pub async fn offered(&mut self, world: &World) -> Offered {
        let terms = self.taken(world).await;
        let id = terms.id().0;
        self.say(&Message::Ready(Ready { loan: id }));
        let pick = |message| match message {
            Message::Offer(bytes) if bytes[39..71] == id => Some(bytes),
            _ => None,
        };
        let bytes = self.stranger.message("an offer", pick).await;
        let receipt = receipt::announce(&terms, &self.receipt_key).unwrap();
        let announcements = self.stranger.announcements(&terms, receipt).await;
        Offered { terms, announcements, offer: wire::read(&bytes).unwrap() }
    }

    /// A confirmed coin of exactly the value the next contracts need.
    pub async fn exact_coin(&mut self, world: &World) -> OutPoint {
        let (terms, quote) = self.quoted(world, |_| (), |_| ()).await;
        quote.unwrap();
        let address = self.stranger.wallet.new_address().unwrap();
        let coin = world.bitcoind.fund(&address, lender_coin_value(&terms).unwrap()).await.unwrap();
        world.bitcoind.mine(1).await.unwrap();
        self.stranger.catch_up(world).await;
        coin
    }

    pub fn funding_coin(&self, coin: OutPoint) -> FundingCoin {
        let known = self.stranger.wallet.coins();
        let known = known.iter().find(|known| known.outpoint == coin).unwrap();
        FundingCoin { previous: (*known.previous_tx).clone(), vout: coin.vout }
    }

    /// An honest accept, every signature made.
    pub fn accept(&mut self, offered: &Offered, coin: FundingCoin) -> (Accepted, SecretKey) {
        let funding_key = SecretKey::new(&mut rand::thread_rng());
        let parts = AcceptParts { funding_key, payout_script: self.stranger.script(), coin };
        let (terms, announcements) = (&offered.terms, &offered.announcements);
        let checked = offer::check(terms, announcements, &wire::write(&offered.offer)).unwrap();
        let accepted = accept::make(terms, announcements, checked, parts).unwrap();
        self.stale = Some(accepted.accept.clone());
        (accepted, funding_key)
    }

    /// An accept whose every field is right, with the signatures of another contract: for what is refused before
    /// signatures are looked at.
    pub fn stale_accept(&mut self, offered: &Offered, coin: &FundingCoin) -> AcceptDlc {
        let stale = match self.stale.clone() {
            Some(stale) => stale,
            None => self.accept(offered, coin.clone()).0.accept,
        };
        AcceptDlc {
            temporary_contract_id: offered.terms.id().0,
            change_spk: offered.terms.principal_script.clone(),
            ..stale
        }
    }

    /// Says fallback and accept.
    pub fn say_accept(&self, offered: &Offered, accept: &AcceptDlc, half: &Signature) {
        let loan = offered.terms.id().0;
        self.say(&Message::Fallback(Fallback { loan, signature: half.serialize_compact() }));
        self.say(&Message::Accept(wire::write(accept)));
    }

    /// An honest negotiation up to the complete funding transaction, which only this lender holds.
    pub async fn signed(&mut self, world: &World, coin: OutPoint) -> Signed {
        let offered = self.offered(world).await;
        let (accepted, _) = self.accept(&offered, self.funding_coin(coin));
        self.say_accept(&offered, &accepted.accept, &accepted.fallback);
        let id = offered.terms.id().0;
        let mut half = None;
        let bytes = self
            .stranger
            .message("a sign", |message| match message {
                Message::Fallback(fallback) if fallback.loan == id => {
                    half = Signature::from_compact(&fallback.signature).ok();
                    None
                }
                Message::Sign(bytes) => Some(bytes),
                Message::Refused(refused) => panic!("{refused:?}"),
                _ => None,
            })
            .await;
        let Offered { terms, announcements, offer, .. } = offered;
        let checked = sign::check(&terms, &announcements, &offer, &accepted.accept, &bytes, &half.unwrap()).unwrap();
        let mut psbt = checked.built.funding_psbt(&offer, &accepted.accept).unwrap();
        self.stranger.wallet.sign_inputs(&mut psbt).unwrap();
        let funding = sign::complete(&checked, &offer, &accepted.accept, &psbt).unwrap();
        Signed { terms, accepted, funding }
    }

    /// What a transaction pays to the miner.
    pub async fn fee(&self, transaction: &Transaction) -> Amount {
        let mut spent = Amount::ZERO;
        for input in &transaction.input {
            let previous = self.stranger.chain.transaction(input.previous_output.txid).await.unwrap().unwrap();
            spent += previous.transaction.output[input.previous_output.vout as usize].value;
        }
        spent - transaction.output.iter().map(|output| output.value).sum()
    }
}
