//! A borrower that is no node offers what plain ddk would accept, panic or hang on. The lender's process refuses each by
//! the field that is wrong, lives, and lends to an honest borrower afterwards.

use crate::harness::Theatre;
use crate::offers::{Case, DEADLY_OFFERS};
use crate::stranger::{Ground, Stranger};
use bitcoin::key::XOnlyPublicKey;
use bitcoin::Amount;
use hypothec::contract::{wire, OfferDlc};
use hypothec::demo::bitcoind::BitcoindProcess;
use hypothec::demo::client::Client;
use hypothec::loan::LoanId;
use hypothec::protocol::{Message, Stage};
use hypothec_oracle::units::Time;
use std::path::{Path, PathBuf};

/// A coin of the offer, rewritten to be worth `value`.
fn revalue(offer: &mut OfferDlc, value: u64) {
    let input = &mut offer.funding_inputs[0];
    let mut previous: bitcoin::Transaction = bitcoin::consensus::deserialize(&input.prev_tx).unwrap();
    previous.output[input.prev_tx_vout as usize].value = Amount::from_sat(value);
    input.prev_tx = bitcoin::consensus::serialize(&previous);
}

/// What only a chain can tell.
const COINS: &[Case<OfferDlc>] = &[
    ("input values that overflow", "funding_inputs", |o| revalue(o, u64::MAX)),
    ("a coin worth more than on chain", "coin", |o| revalue(o, 100_200_000)),
];

/// The lender's process and what is around it.
struct Beside<'a> {
    bitcoind: &'a BitcoindProcess,
    folder: PathBuf,
    now: Time,
    lender: String,
    client: &'a Client,
    oracle: (String, XOnlyPublicKey),
}

impl<'a> Beside<'a> {
    async fn of(theatre: &'a Theatre, folder: &Path) -> Beside<'a> {
        let client = theatre.lender.client().unwrap();
        let status = client.status().await.unwrap();
        let oracle = client.oracles().await.unwrap().remove(0);
        Beside {
            bitcoind: &theatre.bitcoind,
            folder: folder.to_owned(),
            now: theatre.now(),
            lender: format!("{}@{}", status.node_id, status.listen.unwrap()),
            client,
            oracle: (oracle.url, oracle.pubkey),
        }
    }
}

impl Ground for Beside<'_> {
    fn bitcoind(&self) -> &BitcoindProcess {
        self.bitcoind
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn now(&self) -> Time {
        self.now
    }

    fn lender(&self) -> String {
        self.lender.clone()
    }

    fn oracle(&self) -> (String, XOnlyPublicKey) {
        self.oracle.clone()
    }

    async fn stage(&self, id: LoanId) -> Result<Stage, String> {
        self.client.loan(id).await.map(|loan| loan.stage).map_err(|error| format!("{error:#}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_refused_over_the_wire_by_the_field_that_is_wrong() {
    let mut theatre = Theatre::at_rest().await;
    let folder = tempfile::tempdir().unwrap();
    let ground = Beside::of(&theatre, folder.path()).await;
    let mut stranger = Stranger::new(&ground, "stranger").await;
    let table = || DEADLY_OFFERS.iter().chain(COINS);
    let coins = stranger.coins(&ground, table().count()).await;
    for ((what, field, spoil), coin) in table().zip(coins) {
        let quoted = stranger.quote(300_000, 2).await;
        stranger.borrow(&quoted.terms, coin);
        stranger.until_ready(&ground, &quoted.terms).await;
        let mut offer = stranger.offer(&quoted, coin);
        spoil(&mut offer);
        stranger.say(&Message::Offer(wire::write(&offer)));
        let refused = stranger.refusal(quoted.terms.id().0).await;
        assert!(refused.message.contains(field), "{what}: {refused:?}");
    }
    let loans = ground.client.loans().await.unwrap();
    assert_eq!(loans.len(), table().count());
    assert!(loans.iter().all(|loan| matches!(loan.stage, Stage::Cancelled)), "{loans:#?}");
    drop((ground, stranger));
    theatre.lent(3_000, 2).await;
}
