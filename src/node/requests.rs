//! Quotes that were taken and wait for a person's word: kept on disk, each until its time is over.
//!
//! The borrower has proved its coins and sets them aside meanwhile, so a request's life is short and told to it. Never
//! decides, and never speaks to anybody.

use super::jobs::Given;
use super::slots::Slots;
use super::view::{RequestEnd, RequestView};
use crate::contract::offer::{cost_of_lending, lender_coin_value};
use crate::loan::ltv::ltv_ceil;
use crate::loan::terms::{LoanId, Terms};
use crate::loan::tlv::Bytes;
use crate::loan::units::{Cents, Time};
use crate::protocol::ending::FAIR;
use crate::protocol::messages::Borrow;
use crate::settlement::deadline::COIN_PATIENCE;
use crate::store::{Store, StoreError};
use anyhow::Context;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The documents they are kept in, and the one that once held them all.
const REQUESTS: &str = "request/";
const REQUESTS_BEFORE: &str = "requests";
/// The documents of those that became no loan, and the one that once held them all.
const ENDED: &str = "request-ended/";
const ENDED_BEFORE: &str = "requests-ended";
/// So many of those, the latest.
const MOST_ENDED: usize = 50;
/// Requests that wait at once; of those strangers make fewer, so that a borrower with an open loan finds a place.
const MOST: usize = 32;
const STRANGERS: usize = 24;
/// Of one peer.
const EACH: usize = 4;
/// A request that would wait for less than this is none, seconds: nobody could answer it, and as nothing of it counts
/// against the coins it shows, it must not come every minute.
const LEAST: u32 = FAIR;

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    peer: PublicKey,
    terms: Terms,
    asked: Cents,
    key_index: [u8; 32],
    /// What the borrower said, encoded.
    borrow: Bytes,
    /// The coins it proved, and what they are worth.
    shown: Vec<(OutPoint, Amount)>,
    at: Time,
    until: Time,
    /// Most of its coins have waited before, and were not taken.
    #[serde(default)]
    again: bool,
    /// What making our coin for it would have cost when it came.
    #[serde(default)]
    making: Amount,
}

impl Request {
    /// A quote that was taken now, with proof of these coins; `None` where too little of its life is left. `again` where the
    /// coins have waited before.
    pub fn new(
        given: &Given,
        borrow: &Borrow,
        shown: Vec<(OutPoint, Amount)>,
        again: bool,
        now: Time,
    ) -> Option<Request> {
        // The lender's coin takes its time after that.
        let until = Time(given.terms.expires.0.saturating_sub(COIN_PATIENCE));
        (until.since(now) >= LEAST).then(|| Request {
            peer: given.peer,
            terms: given.terms.clone(),
            asked: given.asked,
            key_index: given.key_index,
            borrow: Bytes(borrow.to_tlv()),
            shown,
            at: now,
            until,
            again,
            making: given.making,
        })
    }

    /// The loan it would be.
    pub fn id(&self) -> LoanId {
        self.terms.id()
    }

    /// Who asks.
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// What it would be.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Until when it can be approved.
    pub fn until(&self) -> Time {
        self.until
    }

    /// The coins that were proved for it, and what they are worth.
    pub fn shown(&self) -> &[(OutPoint, Amount)] {
        &self.shown
    }

    /// Was this coin proved for it?
    pub fn is_for(&self, coin: &OutPoint) -> bool {
        self.shown.iter().any(|(shown, _)| shown == coin)
    }

    /// What our coin for it is worth.
    pub fn coin(&self) -> Amount {
        lender_coin_value(&self.terms).unwrap_or(Amount::MAX_MONEY)
    }

    /// The quote and how it was taken, as they were.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub fn taken(&self) -> anyhow::Result<(Given, Borrow)> {
        let (peer, terms, asked, key_index) = (self.peer, self.terms.clone(), self.asked, self.key_index);
        let borrow = Borrow::from_tlv(&self.borrow.0).context("read the request")?;
        Ok((Given { peer, terms, asked, key_index, coin: self.coin(), making: self.making }, borrow))
    }

    /// For a person; who asks is the node's to say.
    pub fn view(&self) -> RequestView {
        let terms = &self.terms;
        let interest = |owed: Cents| owed.0.saturating_sub(terms.principal.0);
        RequestView {
            loan_id: self.id(),
            peer: self.peer,
            address: None,
            connected: false,
            loans_with_it: 0,
            principal_sats: terms.principal_sats.to_sat(),
            principal_cents: terms.principal.0,
            collateral_sats: terms.collateral.to_sat(),
            reference_price_cents: terms.reference_price.0,
            ltv_bp: ltv_ceil(terms.principal, terms.collateral, terms.reference_price).map_or(0, |ltv| ltv.0),
            apr_bp: terms.apr.0,
            days: terms.days.0,
            earns_cents: interest(terms.owed_at_due()),
            earns_at_least_cents: interest(terms.repayment_at(terms.start)),
            fees_sats: cost_of_lending(terms, self.making).map_or(0, Amount::to_sat),
            at: self.at.0,
            until: self.until.0,
            price_note: None,
            ended: None,
        }
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let terms = &self.terms;
        let [short, peer] =
            [self.id().to_string(), self.peer.to_string()].map(|id| id.chars().take(8).collect::<String>());
        format!(
            "borrower {peer} asks for {} against {} for {} and waits for your word until {}: \
             `approve {short}`, or `decline {short}`",
            terms.principal, terms.collateral, terms.days, self.until
        )
    }
}

/// How one ended, on disk.
#[derive(Serialize, Deserialize)]
struct Over {
    /// Which it was of all that ended.
    #[serde(default)]
    number: u64,
    #[serde(flatten)]
    view: RequestView,
}

impl Over {
    fn order(&self) -> (u64, Option<u32>) {
        (self.number, self.view.ended.as_ref().map(|end| end.at))
    }
}

/// All that wait, and the latest that wait no more.
pub struct Requests {
    waiting: BTreeMap<LoanId, Request>,
    slots: Slots,
    ended: Vec<RequestView>,
    ended_slots: Slots,
    /// How many have ended.
    number: u64,
}

impl Requests {
    /// Those the store holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(store: Arc<dyn Store>) -> anyhow::Result<Requests> {
        let (slots, kept) = Slots::open(store.clone(), REQUESTS, REQUESTS_BEFORE, Request::id)?;
        let (ended_slots, mut ended) = Slots::open(store, ENDED, ENDED_BEFORE, |over: &Over| over.view.loan_id)?;
        ended.sort_by_key(Over::order);
        let number = ended.last().map_or(0, |over| over.number);
        let ended = ended.into_iter().map(|over| over.view).collect();
        let waiting = kept.into_iter().map(|request| (request.id(), request)).collect();
        Ok(Requests { waiting, slots, ended, ended_slots, number })
    }

    /// One of them.
    pub fn get(&self, id: &LoanId) -> Option<&Request> {
        self.waiting.get(id)
    }

    /// All, the one that ends first in front.
    pub fn all(&self) -> Vec<&Request> {
        let mut all: Vec<&Request> = self.waiting.values().collect();
        all.sort_by_key(|request| (request.until, request.id()));
        all
    }

    /// Is there a place for one more of this peer?
    pub fn has_room(&self, peer: &PublicKey, is_partner: bool) -> bool {
        let own = self.waiting.values().filter(|request| request.peer == *peer).count();
        own < EACH && self.waiting.len() < if is_partner { MOST } else { STRANGERS }
    }

    /// Which one gives its place to one that has not waited before: the latest of those that have, but for whom `stays`.
    pub fn gives_way(&self, stays: impl Fn(&PublicKey) -> bool) -> Option<LoanId> {
        let again = self.waiting.values().filter(|request| request.again && !stays(&request.peer));
        again.max_by_key(|request| (request.at, request.id())).map(Request::id)
    }

    /// Have strangers as many places as they may?
    pub fn is_full_for_strangers(&self) -> bool {
        self.waiting.len() >= STRANGERS
    }

    /// The latest that wait no more and became no loan, the latest last.
    pub fn ended(&self) -> &[RequestView] {
        &self.ended
    }

    /// Remembers how one ended. On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn end(&mut self, view: RequestView, end: RequestEnd) -> Result<(), StoreError> {
        let view = RequestView { ended: Some(end), ..view };
        self.ended.retain(|one| one.loan_id != view.loan_id);
        self.ended.push(view.clone());
        let many = self.ended.len().saturating_sub(MOST_ENDED);
        for oldest in self.ended.drain(..many) {
            self.ended_slots.give_up(&oldest.loan_id);
        }
        self.number = self.number.saturating_add(1);
        self.ended_slots.put(view.loan_id, &Over { number: self.number, view })
    }

    /// Keeps one. On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn add(&mut self, request: Request) -> Result<(), StoreError> {
        self.slots.put(request.id(), &request)?;
        self.waiting.insert(request.id(), request);
        Ok(())
    }

    /// It has been decided, or is over. On disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove(&mut self, id: &LoanId) -> Result<Option<Request>, StoreError> {
        let removed = self.waiting.remove(id);
        if removed.is_some() {
            self.slots.remove(id)?;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::{key, reference};
    use crate::protocol::messages::Coin;
    use crate::store::Memory;
    use bitcoin::hashes::Hash;

    const NOW: Time = Time(1_583_999_000);

    /// The quote of this number for a peer, taken at [`NOW`] with as many coins as there may be.
    fn request(peer: u8, number: u32) -> Request {
        let mut terms = Terms { borrower: key(peer), expires: Time(NOW.0 + 3_600), ..reference() };
        terms.lender_nonce[..4].copy_from_slice(&number.to_be_bytes());
        let coin = |vout| Coin { txid: [0xff; 32], vout, key: key(peer), signature: [0xff; 64] };
        let borrow = Borrow { loan: terms.id().0, coins: (0..16).map(coin).collect() };
        let outpoint = |vout| OutPoint { txid: bitcoin::Txid::from_byte_array([0xff; 32]), vout };
        let shown = (0..16).map(|vout| (outpoint(vout), Amount::MAX_MONEY)).collect();
        let coin = Amount::ONE_BTC;
        let given =
            Given { peer: key(peer), asked: terms.principal, terms, key_index: [0xff; 32], coin, making: Amount::ZERO };
        Request::new(&given, &borrow, shown, false, NOW).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waits_for_a_person_outlives_a_restart_with_all_that_is_needed_to_go_on() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut requests = Requests::open(store.clone()).unwrap();
        let one = request(2, 1);
        requests.add(one.clone()).unwrap();
        requests.add(request(3, 2)).unwrap();
        let mut again = Requests::open(store.clone()).unwrap();
        assert_eq!(again.get(&one.id()), Some(&one));
        let (given, borrow) = again.get(&one.id()).unwrap().taken().unwrap();
        assert_eq!((given.terms.id(), given.peer, borrow.coins.len()), (one.id(), key(2), 16));
        assert_eq!(again.remove(&one.id()).unwrap(), Some(one.clone()));
        assert_eq!(again.remove(&one.id()).unwrap(), None);
        assert_eq!(Requests::open(store).unwrap().all().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn strangers_fill_the_places_neither_of_one_another_nor_of_who_has_a_loan_and_all_fits_on_disk() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let mut requests = Requests::open(store.clone()).unwrap();
        let mut taken = 0;
        for peer in 2..40 {
            for number in 0..6 {
                if requests.has_room(&key(peer), false) {
                    requests.add(request(peer, number)).unwrap();
                    taken += 1;
                }
            }
            assert!(requests.waiting.values().filter(|one| one.peer == key(peer)).count() <= EACH);
        }
        println!("bound waiting-requests {taken} of strangers");
        assert_eq!(taken, STRANGERS);
        assert!(requests.has_room(&key(200), true));
        for number in 0..8 {
            requests.add(request(200 + number, 9)).unwrap();
        }
        assert!(!requests.has_room(&key(250), true));
        // What is written for one is one, however many wait.
        let written = |store: &dyn Store| -> Vec<usize> {
            store.list(REQUESTS).unwrap().iter().map(|name| store.get(name).unwrap().unwrap().len()).collect()
        };
        let longest = written(&*store).into_iter().max().unwrap();
        println!("bound waiting-written {longest} bytes for a request of 16 coins, however many wait");
        assert_eq!(written(&*store).len(), MOST);
        assert!(longest <= 12_000, "{longest} bytes");
        // Slots are used again.
        let over: Vec<LoanId> = requests.all().into_iter().map(Request::id).collect();
        over.iter().for_each(|id| drop(requests.remove(id).unwrap()));
        assert!(written(&*store).iter().all(|length| *length == 0));
        requests.add(request(2, 1)).unwrap();
        assert_eq!(written(&*store).len(), MOST);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_of_the_one_document_of_before_are_taken_over_and_it_is_emptied() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let all: Vec<Request> = (0..3).map(|number| request(2, number)).collect();
        let end = |at| RequestEnd { at, event: "request_declined".into(), text: "declined by hand".into() };
        let over: Vec<RequestView> =
            (10..13).map(|number| RequestView { ended: Some(end(number)), ..request(3, number).view() }).collect();
        store.put(REQUESTS_BEFORE, &serde_json::to_vec(&all).unwrap()).unwrap();
        store.put(ENDED_BEFORE, &serde_json::to_vec(&over).unwrap()).unwrap();
        for _ in 0..2 {
            let requests = Requests::open(store.clone()).unwrap();
            assert!(all.iter().all(|one| requests.get(&one.id()) == Some(one)));
            assert_eq!((requests.all().len(), requests.ended()), (3, over.as_slice()));
            for before in [REQUESTS_BEFORE, ENDED_BEFORE] {
                assert_eq!(store.get(before).unwrap().unwrap(), b"[]", "a program of before reads this as none");
            }
        }
        // The latest fifty go on to be known, the latest last, over a restart.
        let mut requests = Requests::open(store.clone()).unwrap();
        for number in 20..80 {
            requests.end(request(4, number).view(), end(5)).unwrap();
        }
        requests.end(request(4, 77).view(), end(5)).unwrap();
        let ended = Requests::open(store.clone()).unwrap().ended().to_vec();
        assert_eq!((ended.len(), ended.last().unwrap().loan_id), (MOST_ENDED, request(4, 77).id()));
        assert_eq!(ended, requests.ended());
        assert_eq!(store.list(ENDED).unwrap().len(), MOST_ENDED);
    }

    #[test]
    fn a_quote_is_waited_with_only_as_long_as_the_lenders_coin_still_has_its_time() {
        let (given, borrow) = request(2, 1).taken().unwrap();
        assert_eq!(request(2, 1).until(), Time(NOW.0 + 3_600 - COIN_PATIENCE));
        let late = |seconds: u32| Request::new(&given, &borrow, Vec::new(), false, NOW.plus(seconds).unwrap());
        assert!(late(3_600 - COIN_PATIENCE - LEAST).is_some());
        assert!(late(3_600 - COIN_PATIENCE - LEAST + 1).is_none());
    }
}
