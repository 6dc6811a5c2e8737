//! A lender's node and a stranger who lies: every message over a real connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::demo::wait::until;
use hypothec::loan::policy::Policy;
use hypothec::loan::units::{Cents, Time};
use hypothec::loan::LoanId;
use hypothec::protocol::messages::{QuoteRequest, Ready, Refused, RepayRequest};
use hypothec::protocol::{Exit, Message, Stage};
use std::time::Duration;
use world::stranger::Stranger;
use world::World;

/// Waits until the lender's node says so.
async fn lender_says<T>(world: &World, what: &str, mut pick: impl FnMut(Vec<(LoanId, Stage)>) -> Option<T>) -> T {
    let pick = std::sync::Mutex::new(&mut pick);
    until(what, Duration::from_secs(20), || async {
        let loans = world.lender.handle.loans().await.unwrap();
        let stages = loans.iter().map(|loan| (loan.loan_id, loan.stage)).collect();
        let found = (*pick.lock().unwrap())(stages);
        found.ok_or_else(|| format!("the lender has {loans:#?}"))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_taken_together_do_not_lend_more_than_the_policy_allows() {
    let world = World::new().await;
    let oracles = vec![world.oracle.as_ref().unwrap().key];
    let policy = Policy { oracles, principal_max: Cents(400_000), exposure_max: Cents(700_000), ..Policy::default() };
    world.lender.handle.set_policy(policy).await.unwrap();
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 3).await;
    let mut quotes = Vec::new();
    for _ in 0..3 {
        quotes.push(stranger.quote(300_000, 2).await);
    }
    for (quoted, coin) in quotes.iter().zip(&coins) {
        stranger.borrow(&quoted.terms, *coin);
    }
    let refused = stranger
        .message("a refusal", |message| match message {
            Message::Refused(refused) => Some(refused),
            _ => None,
        })
        .await;
    assert_eq!(refused.code, "exposure", "{refused:?}");
    assert!(refused.message.contains("left to lend"), "{refused:?}");
    let begun = lender_says(&world, "two loans", |loans| (loans.len() == 2).then_some(loans)).await;
    assert!(begun.iter().all(|(id, _)| id.0 != refused.about));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coin_backs_one_negotiation_at_a_time_and_not_for_ever_in_vain() {
    let world = World::new().await;
    // Nothing is quoted that no free coin pays, and what is made for a negotiation waits for a block.
    world.give_lender_coins(6).await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    let mut last: Option<[u8; 32]> = None;
    for _ in 0..5 {
        let quoted = stranger.quote(300_000, 2).await;
        let id = quoted.terms.id();
        stranger.borrow(&quoted.terms, coin);
        if let Some(earlier) = last.replace(id.0) {
            let refused = stranger.refusal(earlier).await;
            assert_eq!(refused.code, "superseded", "{refused:?}");
        }
        let earlier = |loans: &[(LoanId, Stage)]| {
            loans.iter().filter(|(one, stage)| *one != id && !matches!(stage, Stage::Cancelled)).count()
        };
        // Each new one ends the one before.
        lender_says(&world, "one at a time", |loans| {
            (loans.iter().any(|(one, _)| *one == id) && earlier(&loans) == 0).then_some(())
        })
        .await;
    }
    // The sixth is refused, and the fifth goes on.
    let sixth = stranger.quote(300_000, 2).await;
    stranger.borrow(&sixth.terms, coin);
    let refused = stranger.refusal(sixth.terms.id().0).await;
    assert!(refused.message.contains("came to nothing"), "{refused:?}");
    let fifth = world.lender.handle.loan(LoanId(last.unwrap())).await.unwrap();
    assert!(!matches!(fifth.stage, Stage::Cancelled), "{fifth:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_refused_by_name_and_ends_what_it_is_about() {
    let world = World::new().await;
    world.give_lender_coins(1).await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    // A request with a record that nobody knows: who asks it is told at once.
    let request = rand::random::<[u8; 32]>();
    let mut bytes = [&[0, 32], request.as_slice()].concat();
    bytes.extend([40, 0]);
    stranger.net.send(stranger.peer, hypothec::peer::Frame { kind: 33001, bytes }).unwrap();
    let refused = stranger.refusal(request).await;
    assert_eq!(refused.code, "unreadable");
    assert!(refused.message.starts_with("a message of type 33001 cannot be read: QuoteRequest."), "{refused:?}");
    // A loan's message: the negotiation ends on both sides.
    let coin = stranger.coins(&world, 1).await[0];
    let quoted = stranger.quote(300_000, 2).await;
    let id = quoted.terms.id();
    stranger.borrow(&quoted.terms, coin);
    lender_says(&world, "a loan", |loans| loans.iter().any(|(one, _)| *one == id).then_some(())).await;
    // What begins with a list or with an oracle's key names no loan, also where its bytes are those of one.
    for kind in [33021, 33019] {
        let bytes = [&[0, 32], id.0.as_slice()].concat();
        stranger.net.send(stranger.peer, hypothec::peer::Frame { kind, bytes }).unwrap();
        let no = stranger.message("a refusal", |message| match message {
            Message::Refused(refused) => Some(refused),
            _ => None,
        });
        let no = no.await;
        assert_eq!((no.about, no.code.as_str()), ([0; 32], "unreadable"), "{no:?}");
    }
    let stage = world.lender.handle.loan(id).await.unwrap().stage;
    assert!(!matches!(stage, Stage::Cancelled), "{stage:?}");
    let bytes = [&[0, 32], id.0.as_slice(), &[2, 1, 0]].concat();
    stranger.net.send(stranger.peer, hypothec::peer::Frame { kind: 33011, bytes }).unwrap();
    assert_eq!(stranger.refusal(id.0).await.code, "unreadable");
    lender_says(&world, "its end", |loans| {
        loans.iter().any(|(one, stage)| *one == id && matches!(stage, Stage::Cancelled)).then_some(())
    })
    .await;
    // A refusal that cannot be read is not refused in turn: the next word is the answer to the next question.
    stranger.net.send(stranger.peer, hypothec::peer::Frame { kind: 33005, bytes: vec![1] }).unwrap();
    stranger.ask(300_000, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_reads_none_of_our_versions_is_refused_by_naming_both() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let speaks = |of: &str| format!("speaks terms version {of}");
    for (versions, said) in
        [(vec![3, 4], speaks("3 and 4")), (vec![1], speaks("1")), (vec![], "names no terms version".into())]
    {
        let asked = QuoteRequest { versions, ..stranger.request(300_000, 2) };
        let request = asked.request;
        stranger.say(&Message::QuoteRequest(asked));
        let refused = stranger.refusal(request).await;
        let text = format!("the request {said}; this lender's new loans are of terms version 2");
        assert_eq!((refused.code.as_str(), refused.message), ("terms", text));
    }
    let quoted = stranger.quote(300_000, 2).await;
    let terms = quoted.terms;
    assert_eq!((terms.version, terms.transaction_version, terms.minimum_threshold), (2, Some(3), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_say_of_other_peoples_loans_changes_nothing() {
    let world = World::new().await;
    let quote = world.quote(300_000, 2).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let no = Refused { about: id.0, code: "no".into(), message: "no".into() };
    for _ in 0..20 {
        stranger.say(&Message::Refused(no.clone()));
        stranger.say(&Message::Ready(Ready { loan: id.0 }));
    }
    // A shred of every kind: read, refused or ignored, and the connection holds.
    for kind in Message::kinds() {
        for bytes in [vec![], vec![0; 40], vec![0xff; 300]] {
            stranger.net.send(stranger.peer, hypothec::peer::Frame { kind, bytes }).unwrap();
        }
    }
    let refused = stranger.refusal([0; 32]).await;
    assert_eq!(refused.code, "unreadable", "{refused:?}");
    let loan = world.open_taken(id).await;
    assert_eq!(loan, id);
    stranger.ask(300_000, 2).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repayment_that_pays_lender_or_miner_too_little_is_refused_and_a_fair_one_taken() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 2).await;
    let loan = stranger.open(&world, 300_000, 2, coins[0]).await;
    let (spot, id) = (stranger.spot().await, loan.terms.id().0);
    // However little, never to its own advantage.
    for dear in [Cents(spot.0 + spot.0 * 4 / 1_000), Cents(spot.0 + 1)] {
        let message = stranger.proposal(&loan, coins[1], dear, world.now, 5);
        stranger.say(&message);
        assert!(stranger.refusal(id).await.message.contains("never in the proposer's favour"));
    }
    // Ones that would linger in the mempool, to be taken back whenever the price suits, or that no exit could replace.
    for rate in [1, 3, 4, 20] {
        let message = stranger.proposal(&loan, coins[1], spot, world.now, rate);
        stranger.say(&message);
        assert!(stranger.refusal(id).await.message.contains("fee"), "{rate} sat/vB");
    }
    // A debt of another moment.
    let message = stranger.proposal(&loan, coins[1], spot, Time(world.now.0 - 61), 5);
    stranger.say(&message);
    assert!(stranger.refusal(id).await.message.contains("counts the debt at"));
    let message = stranger.proposal(&loan, coins[1], spot, world.now, 5);
    stranger.say(&message);
    lender_says(&world, "repaid", |loans| loans.iter().any(|(_, stage)| *stage == Stage::Closing).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_beyond_its_turns_hears_that_nobody_looked_at_it() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 2).await;
    let loan = stranger.open(&world, 300_000, 2, coins[0]).await;
    let spot = stranger.spot().await;
    let message = stranger.proposal(&loan, coins[1], spot, world.now, 1);
    let mut codes = Vec::new();
    for _ in 0..12 {
        stranger.say(&message);
        codes.push(stranger.refusal(loan.terms.id().0).await.code);
    }
    assert_eq!((codes[0].as_str(), codes[11].as_str()), ("repayment", "busy"), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_who_takes_its_coin_back_from_under_the_funding_gets_no_loan_and_the_lender_its_coin() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    let loan = stranger.negotiate(&world, 300_000, 2, coin).await;
    for message in &loan.messages {
        stranger.say(message);
    }
    let seen = |loans: Vec<(LoanId, Stage)>| loans.iter().any(|(_, stage)| *stage == Stage::Confirming).then_some(());
    lender_says(&world, "funding seen", seen).await;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(400);
    let back = stranger.wallet.spend_to_self(coin, rate, None).unwrap();
    let chain = hypothec::chain::Chain::connect(world.bitcoind.chain_config()).await.unwrap();
    chain.broadcast(&back.transaction).await.unwrap();
    world.bitcoind.mine(1).await.unwrap();
    let ended =
        |loans: Vec<(LoanId, Stage)>| loans.iter().any(|(_, stage)| matches!(stage, Stage::Cancelled)).then_some(());
    lender_says(&world, "cancelled", ended).await;
    assert_eq!(world.lender.handle.balance().await.unwrap().reserved_sats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_who_refuses_while_the_lender_makes_its_coin_locks_none_of_the_lenders_money() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 4).await;
    for coin in coins {
        // Where the lender's transaction was faster than the refusal, its money waits for a block.
        while stranger.ask(300_000, 2).await.is_err_and(|no| no.code == "inventory") {
            world.bitcoind.mine(1).await.unwrap();
        }
        let quoted = stranger.quote(300_000, 2).await;
        let about = quoted.terms.id().0;
        stranger.borrow(&quoted.terms, coin);
        let no = Message::Refused(Refused { about, code: "no".into(), message: "no".into() });
        let id = quoted.terms.id();
        // Said again and again, so that some of it falls between the coin's making and its record. Where the coin was
        // faster the loan may live on.
        let stranger = &stranger;
        let _ = until("the loan to be cancelled", Duration::from_secs(5), || async {
            stranger.say(&no);
            let loan = world.lender.handle.loan(id).await.map_err(|error| error.message)?;
            if matches!(loan.stage, Stage::Cancelled) {
                Ok(())
            } else {
                Err(format!("{:?}", loan.stage))
            }
        })
        .await;
    }
    let whole = 299_900_000;
    world.bitcoind.mine(1).await.unwrap();
    until("the lender's money to be free", Duration::from_secs(10), || async {
        let balance = world.lender.handle.balance().await.unwrap();
        if balance.confirmed_sats > whole {
            Ok(())
        } else {
            Err(format!("it has {balance:?}"))
        }
    })
    .await
    .unwrap();
}

/// A wide transaction for little, on the borrower's output of a funding transaction that waits.
fn cheap_child(stranger: &mut Stranger, funding: &bitcoin::Transaction, vout: u32) -> bitcoin::Transaction {
    use bitcoin::{absolute::LockTime, transaction::Version, Psbt, Sequence, Transaction, TxIn, TxOut, Witness};
    const WIDE: u64 = 300;
    let coin = funding.output[vout as usize].clone();
    let fee = bitcoin::Amount::from_sat(WIDE * 31 * 2);
    let script = stranger.script();
    let each = TxOut { value: bitcoin::Amount::from_sat(1_000), script_pubkey: script.clone() };
    let mut output = vec![each; WIDE as usize - 1];
    let spent: bitcoin::Amount = output.iter().map(|out| out.value).sum();
    output.push(TxOut { value: coin.value - spent - fee, script_pubkey: script });
    let input = TxIn {
        previous_output: bitcoin::OutPoint { txid: funding.compute_txid(), vout },
        script_sig: bitcoin::ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let tx = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output };
    let mut psbt = Psbt::from_unsigned_tx(tx).unwrap();
    psbt.inputs[0].witness_utxo = Some(coin);
    psbt.inputs[0].non_witness_utxo = Some(funding.clone());
    stranger.wallet.sign_inputs(&mut psbt).unwrap();
    let mut signed = psbt.unsigned_tx.clone();
    signed.input[0].witness = psbt.inputs[0].final_script_witness.clone().unwrap();
    signed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_cheap_child_of_the_borrowers_does_not_hold_the_lender_in_a_funding_that_waits() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coin = stranger.coins(&world, 1).await[0];
    let loan = stranger.negotiate(&world, 300_000, 2, coin).await;
    let id = loan.terms.id();
    for message in &loan.messages {
        stranger.say(message);
    }
    let seen = |loans: Vec<(LoanId, Stage)>| loans.iter().any(|(_, stage)| *stage == Stage::Confirming).then_some(());
    lender_says(&world, "funding seen", seen).await;
    let chain = stranger.chain.clone();
    let funding = chain.transaction(loan.skeleton.funding.txid).await.unwrap().unwrap().transaction;
    let principal = |out: &bitcoin::TxOut| out.script_pubkey == loan.terms.principal_script;
    let vout = funding.output.iter().position(principal).unwrap() as u32;
    stranger.catch_up(&world).await;
    let child = cheap_child(&mut stranger, &funding, vout);
    chain.broadcast(&child).await.unwrap();
    let family = chain.family_fee(funding.compute_txid()).await.unwrap().unwrap();
    world.lender.handle.cancel(id).await.unwrap();
    let back = until("the lender's coin on its way back", Duration::from_secs(30), || async {
        let loan = world.lender.handle.loan(id).await.unwrap();
        for txid in loan.transactions.iter().filter(|txid| **txid != funding.compute_txid()) {
            let seen = chain.transaction(*txid).await.unwrap().filter(|seen| seen.confirmed.is_none());
            if let Some(seen) = seen {
                return Ok(seen.transaction);
            }
        }
        Err(format!("{loan:#?}"))
    })
    .await
    .unwrap();
    assert!(chain.transaction(funding.compute_txid()).await.unwrap().is_none(), "displaced");
    let coin = back.input[0].previous_output;
    let worth = chain.transaction(coin.txid).await.unwrap().unwrap().transaction.output[coin.vout as usize].value;
    let paid = worth - back.output.iter().map(|out| out.value).sum();
    assert!(paid > family && paid.to_sat() <= loan.terms.collateral.to_sat() / 100, "{paid} against {family}");
    println!("bound pinned-walk-away {} sats against {} sats of funding and child", paid.to_sat(), family.to_sat());
    world.bitcoind.mine(1).await.unwrap();
    let ended =
        |loans: Vec<(LoanId, Stage)>| loans.iter().any(|(_, stage)| matches!(stage, Stage::Cancelled)).then_some(());
    lender_says(&world, "cancelled", ended).await;
}

/// 13 March 2020, 02:00: within the hour the price falls through the level.
const EVE: u32 = 98 * world::HOUR;

/// A repayment at the price of before the fall, completed by the lender and waiting, and the touch attested since.
struct Pinned {
    world: World,
    stranger: Stranger,
    id: LoanId,
    coin: bitcoin::OutPoint,
    repayment: bitcoin::Txid,
    /// What the touch pays the lender.
    due: u64,
    /// What the repayment pays it.
    paid: u64,
}

/// Moves the clock while nothing is mined.
async fn pass(world: &mut World, seconds: u32) {
    world.now = world.now.plus(seconds).unwrap();
    world.bitcoind.set_mock_time(world.now).await.unwrap();
    hypothec_oracle::clock::Clock::set_file(&world.dir.path().join("clock"), world.now).unwrap();
}

async fn touched_while_a_repayment_waits(fee_rate: u64) -> Pinned {
    let mut world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 2).await;
    let loan = stranger.open(&world, 300_000, 30, coins[0]).await;
    let id = loan.terms.id();
    world.advance(world::START.plus(EVE).unwrap()).await;
    stranger.catch_up(&world).await;
    let spot = stranger.spot().await;
    let message = stranger.proposal(&loan, coins[1], spot, world.now, fee_rate);
    let Message::Repay(repay) = &message else { panic!("{message:?}") };
    let repayment = repay.proposal().unwrap().0.transaction;
    stranger.say(&message);
    lender_says(&world, "repaid", |loans| loans.iter().any(|(_, stage)| *stage == Stage::Closing).then_some(())).await;
    let level = world.lender.handle.loan(id).await.unwrap().level_today.unwrap();
    pass(&mut world, world::HOUR).await;
    until("the touch", Duration::from_secs(60), || async {
        let events = world.lender.handle.events(0, Duration::ZERO).await.unwrap();
        let told = events.iter().any(|one| one.loan_id == Some(id) && one.event == "attested");
        told.then_some(()).ok_or_else(|| format!("{events:#?}"))
    })
    .await
    .unwrap();
    let (coin, txid) = (coins[1], repayment.compute_txid());
    let paid = repayment.output[0].value.to_sat();
    Pinned { world, stranger, id, coin, repayment: txid, due: level.lender_sats, paid }
}

impl Pinned {
    /// How the lender's node sees the loan end, once that is `exit`.
    async fn ends_by(&self, exit: Exit) -> hypothec::node::view::ExitView {
        until("the end", Duration::from_secs(30), || async {
            let ended = self.world.lender.handle.loan(self.id).await.unwrap().ended;
            let found = ended.clone().filter(|ended| ended.exit == Some(exit));
            found.ok_or_else(|| format!("{ended:?}"))
        })
        .await
        .unwrap()
    }

    async fn waits(&self, txid: bitcoin::Txid) -> bool {
        let seen = self.stranger.chain.transaction(txid).await.unwrap();
        seen.is_some_and(|seen| seen.confirmed.is_none())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repayment_completed_before_a_touch_confirms_first_and_is_booked() {
    let pinned = touched_while_a_repayment_waits(5).await;
    assert!(pinned.waits(pinned.repayment).await, "it was not displaced");
    assert_eq!(pinned.ends_by(Exit::Repaid).await.txid, pinned.repayment);
    pinned.world.bitcoind.mine(1).await.unwrap();
    until("the block", Duration::from_secs(30), || async {
        let ended = pinned.ends_by(Exit::Repaid).await;
        ended.height.map(drop).ok_or_else(|| format!("{ended:?}"))
    })
    .await
    .unwrap();
    let short = pinned.due.saturating_sub(pinned.paid);
    assert!(pinned.paid < pinned.due && short * 100 <= pinned.due * 12, "{short} of {}", pinned.due);
    println!("bound repayment-that-waits {short} sats less than the touch, for 3 blocks at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_goes_out_at_once_when_a_coin_of_the_repayment_is_spent_elsewhere() {
    let mut pinned = touched_while_a_repayment_waits(5).await;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(60);
    let back = pinned.stranger.wallet.spend_to_self(pinned.coin, rate, None).unwrap();
    let chain = pinned.stranger.chain.clone();
    chain.broadcast(&back.transaction).await.unwrap();
    let before = std::time::Instant::now();
    let ended = pinned.ends_by(Exit::Liquidated).await;
    assert!(pinned.waits(ended.txid).await, "in the mempool, before any block");
    assert_eq!(ended.height, None);
    assert!(before.elapsed() < Duration::from_secs(10));
    println!("bound double-spent-repayment {} ms to the touch, 0 blocks", before.elapsed().as_millis());
    pinned.world.bitcoind.mine(1).await.unwrap();
    let (paid, due) = (pinned.ends_by(Exit::Liquidated).await.paid_to_lender_sats, pinned.due);
    assert_eq!(paid, due);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_touch_goes_out_when_the_repayment_is_not_in_the_third_block() {
    // As dear in all as one may be, so that it is as hard to replace as it can be.
    let pinned = touched_while_a_repayment_waits(13).await;
    for _ in 0..3 {
        pinned.world.settle().await;
        assert!(pinned.waits(pinned.repayment).await);
        pinned.world.bitcoind.mine_only(&[]).await.unwrap();
    }
    let ended = pinned.ends_by(Exit::Liquidated).await;
    assert!(pinned.waits(ended.txid).await && !pinned.waits(pinned.repayment).await);
    pinned.world.bitcoind.mine(1).await.unwrap();
    until("the block", Duration::from_secs(30), || async {
        let ended = pinned.ends_by(Exit::Liquidated).await;
        ended.height.map(drop).ok_or_else(|| format!("{ended:?}"))
    })
    .await
    .unwrap();
    assert_eq!(pinned.ends_by(Exit::Liquidated).await.paid_to_lender_sats, pinned.due);
    println!("bound pinned-touch {} blocks", hypothec::settlement::proposal::PATIENCE_BLOCKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repayment_with_a_mining_reward_below_a_hundred_blocks_is_refused_and_with_a_ripe_one_taken() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 1).await;
    let loan = stranger.open(&world, 300_000, 30, coins[0]).await;
    let id = loan.terms.id();
    let address = stranger.wallet.new_address().unwrap();
    world.bitcoind.mine_to(1, &address).await.unwrap();
    world.settle().await;
    stranger.catch_up(&world).await;
    let rewards = stranger.wallet.coins();
    let reward = rewards.iter().find(|coin| coin.previous_tx.is_coinbase()).unwrap().outpoint;
    let price = stranger.spot().await;
    let green = stranger.proposal(&loan, reward, price, world.now, 5);
    stranger.say(&green);
    let refused = stranger.refusal(id.0).await;
    assert_eq!(refused.code, "repayment");
    assert!(refused.message.contains("a mining reward below 100 blocks"), "{refused:?}");
    world.bitcoind.mine(99).await.unwrap();
    world.settle().await;
    let ripe = stranger.proposal(&loan, reward, price, world.now, 5);
    stranger.say(&ripe);
    lender_says(&world, "repaid", |loans| loans.iter().any(|(_, stage)| *stage == Stage::Closing).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_repayment_that_is_double_spent_and_proposed_again_for_less_is_refused() {
    let world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 3).await;
    let loan = stranger.open(&world, 300_000, 30, coins[0]).await;
    let (spot, id) = (stranger.spot().await, loan.terms.id());
    // As it would be after a rise: first the dearer sats, then the cheaper.
    let dear = Cents(spot.0 * 996 / 1_000);
    let message = stranger.proposal(&loan, coins[1], dear, world.now, 5);
    completed_and_taken_back(&world, &mut stranger, &message, coins[1]).await;
    let told = world.lender.handle.loan(id).await.unwrap().repayment_note.unwrap();
    assert!(told.contains("the borrower took its repayment back"), "{told}");
    let cheaper = stranger.proposal(&loan, coins[2], spot, world.now, 5);
    stranger.say(&cheaper);
    let refused = stranger.refusal(id.0).await.message;
    assert!(refused.contains("lender's output"), "{refused}");
    // For as much as before it may go; and taken back again, it goes for less in the lender's own proposal no more.
    let again = stranger.proposal(&loan, coins[2], dear, world.now, 5);
    completed_and_taken_back(&world, &mut stranger, &again, coins[2]).await;
    stranger.say(&Message::RepayRequest(RepayRequest { loan: id.0 }));
    let pick = |message| match message {
        Message::Repay(repay) if repay.loan == id.0 => Some(repay),
        _ => None,
    };
    let theirs = stranger.message("the lender's proposal", pick).await;
    let Message::Repay(first) = &message else { panic!("{message:?}") };
    let paid = [first, &theirs].map(|repay| {
        let transaction = repay.proposal().unwrap().0.transaction;
        let mut due = transaction.output.iter().filter(|out| out.script_pubkey == loan.skeleton.lender_script);
        due.next().unwrap().value
    });
    assert!(paid[1] >= paid[0], "it pays {} where {} was taken back", paid[1], paid[0]);
    println!("bound taken-back-repayment {} sats saved, whoever proposes", paid[0] - paid[0].min(paid[1]));
}

/// The lender completes the stranger's proposal, and the stranger spends its coin elsewhere.
async fn completed_and_taken_back(world: &World, stranger: &mut Stranger, proposal: &Message, coin: bitcoin::OutPoint) {
    stranger.say(proposal);
    lender_says(world, "repaid", |loans| loans.iter().any(|(_, stage)| *stage == Stage::Closing).then_some(())).await;
    let rate = bitcoin::FeeRate::from_sat_per_vb_u32(60);
    let back = stranger.wallet.spend_to_self(coin, rate, None).unwrap();
    stranger.chain.broadcast(&back.transaction).await.unwrap();
    world.bitcoind.mine(1).await.unwrap();
    lender_says(world, "it lives", |loans| loans.iter().any(|(_, stage)| *stage == Stage::Active).then_some(())).await;
    stranger.catch_up(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lenders_own_proposal_left_lying_while_the_price_falls_is_taken_back_and_worth_nothing() {
    let mut world = World::new().await;
    let mut stranger = Stranger::new(&world, "stranger").await;
    let coins = stranger.coins(&world, 1).await;
    let loan = stranger.open(&world, 300_000, 30, coins[0]).await;
    let id = loan.terms.id();
    stranger.say(&Message::RepayRequest(RepayRequest { loan: id.0 }));
    let pick = |message| match message {
        Message::Repay(repay) if repay.loan == id.0 => Some(repay),
        _ => None,
    };
    let repay = stranger.message("a proposal", pick).await;
    // Held, not completed: the price falls, and it pays the lender fewer sats than are owed.
    pass(&mut world, 3 * world::HOUR).await;
    let told = until("the withdrawal", Duration::from_secs(60), || async {
        let events = world.lender.handle.events(0, Duration::ZERO).await.unwrap();
        let dropped = events.iter().find(|one| one.event == "repayment_dropped").map(|one| one.text.clone());
        let withdrawn = events.iter().any(|one| one.event == "repayment_withdrawn");
        let out = world.bitcoind.mempool_len().await.unwrap() == 1;
        dropped.filter(|_| withdrawn && out).ok_or_else(|| format!("{events:#?}"))
    })
    .await
    .unwrap();
    assert!(told.contains("did not complete it within 60 s"), "{told}");
    let note = world.lender.handle.loan(id).await.unwrap().repayment_note.unwrap();
    assert!(note.contains("60 s"), "{note}");
    let (proposal, _) = repay.proposal().unwrap();
    let role = hypothec::contract::Role::Lender;
    let late = hypothec::contract::repay::countersign(&loan.skeleton, role, &loan.key, &proposal).unwrap();
    let refused = stranger.chain.broadcast(&late).await.unwrap_err();
    assert!(refused.rejection().is_some(), "{refused}");
    world.bitcoind.mine(1).await.unwrap();
    assert!(stranger.chain.broadcast(&late).await.unwrap_err().rejection().is_some(), "gone for ever");
    let life = hypothec::settlement::proposal::LIFE;
    println!("bound lenders-own-proposal {life} s until its withdrawal is out");
}
