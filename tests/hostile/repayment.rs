//! What a hostile borrower can propose as a repayment. Everything here is signed as well as it can be signed, so
//! that only the proposal's shape can be what the lender refuses.

use super::common::{coin, negotiate_with, script, secret, Cast, Negotiated};
use bitcoin::absolute::LockTime;
use bitcoin::secp256k1::{Message, SECP256K1};
use bitcoin::sighash::{EcdsaSighashType, SighashCache};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};
use hypothec::contract::clauses::Payouts;
use hypothec::contract::fallback::half_signature;
use hypothec::contract::repay::{self, Proposal, RepayParts, Source};
use hypothec::contract::ContractError;
use hypothec::contract::Role;
use hypothec::loan::curve::{fixing_curve_within, Bounds};
use hypothec::settlement::proposal::fee_range;
use std::sync::OnceLock;

const RATE: u64 = 10;

fn honest() -> &'static Negotiated {
    static SCENE: OnceLock<Negotiated> = OnceLock::new();
    SCENE.get_or_init(|| {
        let cast = Cast::new();
        let terms = cast.terms(1);
        let bounds = Bounds { middle_ppm: 50_000, tails_ppm: 50_000 };
        let fixing = fixing_curve_within(&terms, bounds).intervals;
        negotiate_with(&cast, terms.clone(), &Payouts { fixing, ..Payouts::of(&terms).unwrap() })
    })
}

/// The borrower's coins: a small one, and one that pays for everything.
fn coins() -> Vec<(OutPoint, TxOut)> {
    let coins = [coin(&secret(2), Amount::from_sat(70_000_000), 40), coin(&secret(2), Amount::from_sat(20_000), 41)];
    coins.iter().map(|coin| (coin.outpoint(), coin.previous.output[0].clone())).collect()
}

fn owed() -> Amount {
    Amount::from_sat(48_800_000)
}

fn least() -> Amount {
    owed() + honest().terms.stake
}

fn unsigned(source: Source) -> Transaction {
    let parts = RepayParts {
        proposer: Role::Borrower,
        source,
        owed: owed(),
        coins: coins(),
        change_script: script(&secret(33)),
        fee_rate: RATE,
    };
    repay::transaction(&honest().terms, &honest().skeleton, &parts).unwrap()
}

/// Signs whatever the transaction says: the borrower's half at input 0, its coins with `sighash` after it.
fn signed(mut transaction: Transaction, prevouts: &[TxOut], sighash: EcdsaSighashType) -> Proposal {
    let key = secret(2);
    for (index, out) in prevouts.iter().enumerate() {
        if index + 1 >= transaction.input.len() {
            break;
        }
        let mut cache = SighashCache::new(&transaction);
        let Ok(hash) = cache.p2wpkh_signature_hash(index + 1, &script(&key), out.value, sighash) else { continue };
        let message = Message::from_digest(bitcoin::hashes::Hash::to_byte_array(hash));
        let signature = SECP256K1.sign_ecdsa_low_r(&message, &key);
        let signature = bitcoin::ecdsa::Signature { signature, sighash_type: sighash };
        transaction.input[index + 1].witness = Witness::p2wpkh(&signature, &key.public_key(SECP256K1));
    }
    let half = half_signature(&transaction, 0, &honest().skeleton, &secret(4)).unwrap();
    Proposal { transaction, half }
}

fn prevouts() -> Vec<TxOut> {
    coins().into_iter().map(|(_, out)| out).collect()
}

fn judge(proposal: &Proposal, coins: &[TxOut]) -> Result<(), ContractError> {
    let fees = fee_range(repay::size(&proposal.transaction), RATE, ahead());
    repay::check(&honest().skeleton, proposal, coins, Role::Borrower, least(), &fees)
}

/// What an exit has paid ahead.
fn ahead() -> Amount {
    honest().skeleton.funding_value - honest().terms.total()
}

#[test]
fn an_honest_proposal_from_wallet_or_collateral_passes_and_becomes_a_transaction() {
    for source in [Source::Wallet, Source::Collateral] {
        let proposal = signed(unsigned(source), &prevouts(), EcdsaSighashType::All);
        judge(&proposal, &prevouts()).unwrap();
        let complete = repay::countersign(&honest().skeleton, Role::Borrower, &secret(5), &proposal).unwrap();
        assert!(complete.input.iter().all(|input| !input.witness.is_empty()));
        assert_eq!(complete.compute_txid(), proposal.transaction.compute_txid());
    }
}

/// What is done, what the refusal must name, how.
type Case = (&'static str, &'static str, fn(&mut Transaction));

fn lenders(transaction: &mut Transaction) -> &mut TxOut {
    let script = honest().skeleton.lender_script.clone();
    transaction.output.iter_mut().find(|out| out.script_pubkey == script).unwrap()
}

const CASES: &[Case] = &[
    ("one sat too little", "lender's output", |t| lenders(t).value -= Amount::from_sat(1)),
    ("nothing for the lender", "lender's output", |t| lenders(t).script_pubkey = script(&secret(33))),
    ("the lender's due in two halves", "lender's output", |t| {
        let half = TxOut { value: lenders(t).value / 2, ..lenders(t).clone() };
        lenders(t).value = half.value;
        t.output.pop();
        t.output.push(half);
    }),
    ("the lender paid twice", "lender's output", |t| {
        let again = TxOut { value: Amount::from_sat(5_000), ..lenders(t).clone() };
        t.output.pop();
        t.output.push(again);
    }),
    ("the 2-of-2 in second place", "first input", |t| t.input.swap(0, 1)),
    ("no 2-of-2", "first input", |t| t.input[0].previous_output.vout ^= 1),
    ("the 2-of-2 twice", "inputs", |t| t.input[1].previous_output = t.input[0].previous_output),
    ("a coin twice", "inputs", |t| t.input[2].previous_output = t.input[1].previous_output),
    ("a height to wait for", "lock_time", |t| t.lock_time = LockTime::from_consensus(900_000)),
    ("a time to wait for", "lock_time", |t| t.lock_time = LockTime::from_consensus(1_900_000_000)),
    ("a relative timelock on the 2-of-2", "sequence", |t| t.input[0].sequence = Sequence::from_height(144)),
    ("a relative timelock on a coin", "sequence", |t| t.input[1].sequence = Sequence::from_512_second_intervals(9)),
    ("a final sequence", "sequence", |t| t.input[2].sequence = Sequence::MAX),
    ("version 1", "version", |t| t.version = Version::ONE),
    ("version 2", "version", |t| t.version = Version::TWO),
    ("a version nobody relays", "version", |t| t.version = Version(-1)),
    ("a script for the 2-of-2", "script_sig", |t| t.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51])),
    ("a script for a coin", "script_sig", |t| t.input[1].script_sig = ScriptBuf::from_bytes(vec![0x51])),
    ("a witness for the 2-of-2", "witness", |t| t.input[0].witness.push([0; 80])),
    ("no fee", "fee", |t| t.output[1].value += Amount::from_sat(10_000)),
    ("half the fee, to wait and be taken back", "fee", |t| t.output[1].value += Amount::from_sat(2_000)),
    ("more than an exit pays ahead, so that none takes its place", "fee", |t| {
        t.output[1].value -= ahead() + Amount::from_sat(2_000)
    }),
    ("dust nobody relays", "outputs", |t| t.output.last_mut().unwrap().value = Amount::from_sat(1)),
    ("a script nobody relays", "outputs", |t| {
        t.output.last_mut().unwrap().script_pubkey = ScriptBuf::from_bytes(vec![0x51; 50])
    }),
    ("a taproot key that is none", "outputs", |t| {
        let script = [&[0x51, 0x20][..], &[0xff; 32]].concat();
        t.output.last_mut().unwrap().script_pubkey = ScriptBuf::from_bytes(script)
    }),
    ("a note in an output", "outputs", |t| t.output[1].script_pubkey = ScriptBuf::new_op_return([7; 20])),
    ("outputs without end", "outputs", |t| {
        let more = TxOut { value: Amount::from_sat(1_000), script_pubkey: script(&secret(40)) };
        t.output.extend(vec![more; 5])
    }),
    ("more than all money", "outputs", |t| t.output[1].value = Amount::from_sat(u64::MAX)),
];

#[test]
fn a_proposal_that_is_not_shaped_as_ours_is_refused_though_every_signature_is_good() {
    for source in [Source::Wallet, Source::Collateral] {
        for (what, field, spoil) in CASES {
            let mut transaction = unsigned(source);
            spoil(&mut transaction);
            let proposal = signed(transaction, &prevouts(), EcdsaSighashType::All);
            match judge(&proposal, &prevouts()) {
                Ok(()) => panic!("{what} was let through"),
                Err(error) => assert!(error.to_string().contains(field), "{what}: {error}"),
            }
        }
    }
}

#[test]
fn a_signature_that_binds_less_than_everything_is_refused() {
    use EcdsaSighashType::*;
    for sighash in [None, Single, AllPlusAnyoneCanPay, NonePlusAnyoneCanPay, SinglePlusAnyoneCanPay] {
        let proposal = signed(unsigned(Source::Wallet), &prevouts(), sighash);
        let error = judge(&proposal, &prevouts()).unwrap_err().to_string();
        assert!(error.contains("witness"), "{sighash}: {error}");
    }
}

#[test]
fn halves_and_witnesses_that_are_not_the_borrowers_are_refused() {
    let good = signed(unsigned(Source::Wallet), &prevouts(), EcdsaSighashType::All);
    let other = half_signature(&good.transaction, 0, &honest().skeleton, &secret(5)).unwrap();
    assert!(judge(&Proposal { half: other, ..good.clone() }, &prevouts())
        .unwrap_err()
        .to_string()
        .contains("repayment"));
    let mut bare = good.clone();
    bare.transaction.input[1].witness = Witness::new();
    assert!(judge(&bare, &prevouts()).unwrap_err().to_string().contains("witness"));
    let mut swapped = good.clone();
    swapped.transaction.input[1].witness = good.transaction.input[2].witness.clone();
    assert!(judge(&swapped, &prevouts()).unwrap_err().to_string().contains("witness"));
}

#[test]
fn coins_that_are_not_what_they_were_said_to_be_are_refused() {
    let good = signed(unsigned(Source::Wallet), &prevouts(), EcdsaSighashType::All);
    let mut dearer = prevouts();
    dearer[0].value += Amount::from_sat(1);
    let mut elsewhere = prevouts();
    elsewhere[0].script_pubkey = script(&secret(9));
    let mut hidden = prevouts();
    hidden[0].script_pubkey = hidden[0].script_pubkey.to_p2wsh();
    let mut endless = prevouts();
    endless[0].value = Amount::from_sat(u64::MAX);
    for coins in [dearer, elsewhere, hidden, endless, vec![], prevouts()[..1].to_vec()] {
        judge(&good, &coins).unwrap_err();
    }
}

#[test]
fn a_proposal_that_spends_no_coin_of_the_borrowers_is_a_free_option_and_is_refused() {
    let mut transaction = unsigned(Source::Collateral);
    transaction.input.truncate(1);
    transaction.output.truncate(2);
    let proposal = signed(transaction, &[], EcdsaSighashType::All);
    assert!(judge(&proposal, &[]).unwrap_err().to_string().contains("a coin of the proposer's own"));
}

#[test]
fn a_proposal_with_a_thousand_coins_is_refused_before_a_signature_is_looked_at() {
    let mut transaction = unsigned(Source::Wallet);
    let out = prevouts()[0].clone();
    let more = (0..1_000)
        .map(|vout| TxIn { previous_output: OutPoint { vout, ..coins()[0].0 }, ..transaction.input[1].clone() });
    let more: Vec<TxIn> = more.collect();
    transaction.input.extend(more);
    let prevouts = vec![out; transaction.input.len() - 1];
    let half = half_signature(&transaction, 0, &honest().skeleton, &secret(4)).unwrap();
    let error = judge(&Proposal { transaction, half }, &prevouts).unwrap_err().to_string();
    assert!(error.contains("inputs"), "{error}");
}

/// The widest repayment that is taken, and what it pays: an exit signed ahead can take its place.
#[test]
fn a_repayment_wide_with_coins_so_that_no_exit_can_take_its_place_is_refused() {
    let of = |count: u32| {
        let mut transaction = unsigned(Source::Collateral);
        let model = transaction.input[1].clone();
        let more = (0..count).map(|vout| TxIn { previous_output: OutPoint { vout, ..coins()[0].0 }, ..model.clone() });
        transaction.input.truncate(1);
        transaction.input.extend(more);
        let prevouts = vec![prevouts()[0].clone(); count as usize];
        let spent = honest().skeleton.funding_value + prevouts.iter().map(|out| out.value).sum();
        let probe = signed(transaction.clone(), &prevouts, EcdsaSighashType::All);
        let fee = Amount::from_sat(repay::size(&probe.transaction) * RATE);
        let last = transaction.output.len() - 1;
        let others: Amount = transaction.output[..last].iter().map(|out| out.value).sum();
        transaction.output[last].value = spent - others - fee;
        (signed(transaction, &prevouts, EcdsaSighashType::All), prevouts, fee)
    };
    let (wide, prevouts, dear) = of(64);
    // Sixty-four coins at half the estimate still pay more in all than an exit does ahead.
    assert!(dear / 2 > ahead(), "{dear} against {}", ahead());
    let refused = judge(&wide, &prevouts).unwrap_err().to_string();
    assert!(refused.contains("inputs"), "{refused}");
    assert!(judge(&of(5).0, &of(5).1).unwrap_err().to_string().contains("inputs"));
    let (most, prevouts, fee) = of(4);
    judge(&most, &prevouts).unwrap();
    assert!(repay::size(&most.transaction) < 550, "{}", repay::size(&most.transaction));
    println!("bound widest-repayment {} vB, {} sats at {RATE} sat/vB", repay::size(&most.transaction), fee.to_sat());
}

/// The lender's proposal with `count` coins of its own, whose fee the borrower pays.
fn lenders_with(count: usize) -> (Proposal, Vec<TxOut>) {
    let skeleton = &honest().skeleton;
    let parts = RepayParts {
        proposer: Role::Lender,
        source: Source::Collateral,
        owed: owed(),
        coins: coins().into_iter().take(1).collect(),
        change_script: script(&secret(33)),
        fee_rate: RATE,
    };
    let mut transaction = repay::transaction(&honest().terms, skeleton, &parts).unwrap();
    let (model, out) = (transaction.input[1].clone(), prevouts()[0].clone());
    for vout in 1..count {
        let vout = u32::try_from(vout).unwrap();
        transaction.input.push(TxIn { previous_output: OutPoint { vout, ..coins()[0].0 }, ..model.clone() });
    }
    let more = u64::try_from(count - 1).unwrap();
    for output in &mut transaction.output {
        if output.script_pubkey == skeleton.borrower_script {
            output.value -= Amount::from_sat(more * 68 * RATE);
        } else if output.script_pubkey == script(&secret(33)) {
            output.value += out.value * more;
        }
    }
    let prevouts = vec![out; count];
    let signed = signed(transaction, &prevouts, EcdsaSighashType::All);
    let half = half_signature(&signed.transaction, 0, skeleton, &secret(5)).unwrap();
    (Proposal { half, ..signed }, prevouts)
}

#[test]
fn a_lender_that_joins_its_coins_in_a_repayment_at_the_borrowers_cost_is_refused() {
    let judge = |count| {
        let (proposal, coins) = lenders_with(count);
        let fee = repay::fee(&honest().skeleton, &proposal.transaction, &coins).unwrap();
        let least = honest().terms.collateral - owed() + ahead() - fee;
        let size = repay::size(&proposal.transaction);
        let judged =
            repay::check(&honest().skeleton, &proposal, &coins, Role::Lender, least, &fee_range(size, RATE, ahead()));
        (judged, size)
    };
    let (one, size) = judge(1);
    one.unwrap();
    for count in 2..=5 {
        let error = judge(count).0.unwrap_err().to_string();
        assert!(error.contains(&format!("inputs is {}", count + 1)), "{error}");
        assert!(error.contains("ask the lender to join its coins first"), "{error}");
    }
    println!("bound joined-by-a-repayment {size} vB with its one coin");
}

#[test]
fn an_empty_transaction_is_refused() {
    let good = signed(unsigned(Source::Wallet), &prevouts(), EcdsaSighashType::All);
    let transaction = Transaction { version: Version(3), lock_time: LockTime::ZERO, input: vec![], output: vec![] };
    assert!(judge(&Proposal { transaction, ..good }, &[]).is_err());
}
