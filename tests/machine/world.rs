//! A small consistent chain, a clock, an oracle, and both sides of one loan.

use super::common::{coin, negotiate, script, secret, sign_psbt, Cast, Negotiated};
use super::plain;
use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::transaction::Version;
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use hypothec::contract::clauses::{Clause, Payouts};
use hypothec::contract::repay::{self, RepayParts, Source};
use hypothec::contract::settle::{place, settle, VerifiedAttestation};
use hypothec::contract::{fallback, receipt, wire, OracleAttestation, Role};
use hypothec::loan::units::{Cents, Time};
use hypothec::node::present;
use hypothec::protocol::event::Repayment;
use hypothec::protocol::{
    decide, todo, Action, Block, Doing, Event, Exit, Input, Loan, Moment, Recorded, Refusal, Stage,
};
use hypothec_oracle::verify::fixing_digits;
use proptest::prelude::*;
use secp256k1_zkp::EcdsaAdaptorSignature;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

pub const DAY: u32 = 86_400;
pub const CLAUSES: [Clause; 4] =
    [Clause::Touch { index: 0 }, Clause::Touch { index: 1 }, Clause::Receipt, Clause::Fixing];

/// What was negotiated once for all cases, and every attested exit as each side settles it.
pub struct Scene {
    pub cast: Cast,
    pub n: Negotiated,
    pub exits: Vec<(OracleAttestation, [Transaction; 2])>,
    /// Both logs up to the point where either side could fund.
    pub logs: [Vec<Recorded>; 2],
}

pub fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let cast = Cast::new();
        let n = negotiate(&cast, cast.terms(1));
        let exits = CLAUSES.iter().map(|clause| exit(&cast, &n, *clause)).collect();
        let logs = [Role::Borrower, Role::Lender].map(|role| opening(&cast, &n, role));
        Scene { cast, n, exits, logs }
    })
}

pub fn exit(cast: &Cast, n: &Negotiated, clause: Clause) -> (OracleAttestation, [Transaction; 2]) {
    let attestation = match clause {
        Clause::Touch { index } => {
            let event = n.terms.touch_days()[index].event();
            cast.oracle.attest(event, vec![event.to_string()]).unwrap()
        }
        Clause::Receipt => receipt::attest(&n.terms, &cast.receipt_key, &cast.receipt_nonce).unwrap(),
        Clause::Fixing => cast.oracle.attest(n.terms.fixing_event(), fixing_digits(Cents(9_876_543))).unwrap(),
    };
    let attested = VerifiedAttestation::check(&n.announcements, clause, attestation.clone()).unwrap();
    let spot = place(&n.terms, &Payouts::of(&n.terms).unwrap(), &attested).unwrap();
    let lenders: Vec<EcdsaAdaptorSignature> = (&n.accepted.accept.cet_adaptor_signatures).into();
    let borrowers: Vec<EcdsaAdaptorSignature> = (&n.signed.sign.cet_adaptor_signatures).into();
    let borrower = settle(&n.skeleton, Role::Borrower, &cast.borrower_key, &lenders, &spot).unwrap();
    let lender = settle(&n.skeleton, Role::Lender, &cast.lender_key, &borrowers, &spot).unwrap();
    (attestation, [borrower, lender])
}

/// The log of one side from agreement to its last signature of the negotiation.
pub fn opening(cast: &Cast, n: &Negotiated, role: Role) -> Vec<Recorded> {
    let at = Time(n.terms.expires.0 - 1_000);
    let moment = Moment { now: at, median_time: at, height: 100 };
    let peer = cast.oracle.public_key().public_key(bitcoin::secp256k1::Parity::Even);
    let lenders_coin = cast.accept_parts(&n.terms).coin.outpoint();
    let borrowers_coin = cast.offer_parts(&n.terms).coins[0].outpoint();
    let first = Recorded {
        at,
        event: Event::Agreed {
            role,
            peer,
            terms: Box::new(n.terms.clone()),
            announcements: Box::new(n.announcements.clone()),
            key_index: [1; 32],
            coins: if role == Role::Borrower { vec![borrowers_coin] } else { vec![] },
            proven: if role == Role::Lender { vec![borrowers_coin] } else { vec![] },
        },
    };
    let mut loan = Loan::begin(&first).unwrap();
    let mut log = vec![first];
    let (offer, accept, sign) = (wire::write(&n.offer), wire::write(&n.accepted.accept), wire::write(&n.signed.sign));
    let skeleton = n.skeleton.clone();
    let inputs = match role {
        Role::Borrower => vec![
            Input::Offered { offer },
            Input::Signed { accept, lender_fallback: n.accepted.fallback, sign, fallback: n.signed.fallback, skeleton },
        ],
        Role::Lender => vec![
            Input::CoinConfirmed(lenders_coin),
            Input::Accepted { offer, accept, fallback: n.accepted.fallback, skeleton },
            Input::Funded { sign, borrower_fallback: n.signed.fallback, transaction: n.funding.clone() },
        ],
    };
    for input in inputs {
        for event in decide(&loan, input, moment).unwrap() {
            let recorded = Recorded { at, event };
            loan = loan.apply(&recorded).unwrap();
            log.push(recorded);
        }
    }
    log
}

/// One side: its loan and its log.
#[derive(Clone)]
pub struct Node {
    pub loan: Loan,
    pub log: Vec<Recorded>,
}

impl Node {
    pub fn of(log: &[Recorded]) -> Node {
        Node { loan: Loan::replay(log).unwrap(), log: log.to_vec() }
    }

    pub fn tell(&mut self, input: Input, moment: Moment) -> Result<Vec<Event>, Refusal> {
        let events = decide(&self.loan, input, moment).inspect_err(|refusal| is_told(&refusal.to_string()))?;
        for event in &events {
            let (recorded, before) = (Recorded { at: moment.now, event: event.clone() }, self.loan.margin);
            self.loan = self.loan.clone().apply(&recorded).unwrap();
            is_told(&present::event(before, &self.loan, &recorded).text);
            self.log.push(recorded);
        }
        Ok(events)
    }
}

/// Whatever happens, people read of it in words.
fn is_told(text: &str) {
    assert!(plain::is_plain(text), "{text}");
}

/// Chain, clock, oracle and both sides.
pub struct World {
    pub nodes: [Node; 2],
    pub moment: Moment,
    /// Transactions of each block above height 100.
    pub blocks: Vec<Vec<Transaction>>,
    pub forks: u8,
    pub mempool: Vec<Transaction>,
    pub public: BTreeSet<usize>,
    pub proposals: u32,
}

#[derive(Clone, Debug)]
pub enum Step {
    Mine(u8),
    Reorganise { depth: u8, keep: u8 },
    Do { who: bool, replace: bool },
    Attest(u8),
    Propose { collateral: bool, answered: bool },
    TakeBack { replace: bool },
    Pass(u32),
    Evict(u8),
    Again(u8),
    Cancel(bool),
    Price(u64),
    DoubleSpend { replace: bool },
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Step::Mine),
        2 => (1u8..5, any::<u8>()).prop_map(|(depth, keep)| Step::Reorganise { depth, keep }),
        8 => any::<(bool, bool)>().prop_map(|(who, replace)| Step::Do { who, replace }),
        2 => (0u8..4).prop_map(Step::Attest),
        2 => any::<(bool, bool)>().prop_map(|(collateral, answered)| Step::Propose { collateral, answered }),
        1 => any::<bool>().prop_map(|replace| Step::TakeBack { replace }),
        2 => prop_oneof![Just(700), Just(DAY), Just(32 * DAY), Just(370 * DAY), 0u32..5_000].prop_map(Step::Pass),
        1 => any::<u8>().prop_map(Step::Evict),
        1 => any::<u8>().prop_map(Step::Again),
        1 => any::<bool>().prop_map(Step::Cancel),
        1 => (0u64..20_000_000).prop_map(Step::Price),
        1 => any::<bool>().prop_map(|replace| Step::DoubleSpend { replace }),
    ];
    proptest::collection::vec(step, 1..70)
}

pub fn spend(coin: OutPoint, salt: u32) -> Transaction {
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::from_slice(&[[1u8; 64]]),
        }],
        output: vec![TxOut { value: Amount::from_sat(5_000 + u64::from(salt)), script_pubkey: script(&secret(60)) }],
    }
}

impl World {
    pub fn new() -> World {
        let nodes = [Node::of(&scene().logs[0]), Node::of(&scene().logs[1])];
        // Some seconds after both have signed.
        let now = Time(scene().n.terms.expires.0 - 990);
        let moment = Moment { now, median_time: Time(now.0 - 3_600), height: 100 };
        World { nodes, moment, blocks: vec![], forks: 0, mempool: vec![], public: BTreeSet::new(), proposals: 0 }
    }

    pub fn confirmed(&self) -> impl Iterator<Item = (u32, &Transaction)> {
        (101..).zip(&self.blocks).flat_map(|(height, block)| block.iter().map(move |tx| (height, tx)))
    }

    pub fn spender(&self, outpoint: &OutPoint) -> Option<(u32, &Transaction)> {
        self.confirmed().find(|(_, tx)| tx.input.iter().any(|input| input.previous_output == *outpoint))
    }

    /// Does the coin exist for a child: every outside coin does, the funding output only once its maker is known.
    pub fn exists(&self, outpoint: &OutPoint) -> bool {
        let funding = scene().n.funding.compute_txid();
        let known = self.confirmed().map(|(_, tx)| tx).chain(&self.mempool).any(|tx| tx.compute_txid() == funding);
        outpoint.txid != funding || known
    }

    pub fn submit(&mut self, transaction: Transaction, replace: bool) -> bool {
        let txid = transaction.compute_txid();
        let known = self.confirmed().any(|(_, tx)| tx.compute_txid() == txid);
        if known || self.mempool.iter().any(|tx| tx.compute_txid() == txid) {
            return false;
        }
        let coins: Vec<OutPoint> = transaction.input.iter().map(|input| input.previous_output).collect();
        if coins.iter().any(|coin| self.spender(coin).is_some() || !self.exists(coin)) {
            return false;
        }
        let rivals: Vec<Txid> = self
            .mempool
            .iter()
            .filter(|tx| tx.input.iter().any(|input| coins.contains(&input.previous_output)))
            .map(Transaction::compute_txid)
            .collect();
        if !rivals.is_empty() && !replace {
            return false;
        }
        rivals.into_iter().for_each(|rival| self.forget(rival));
        self.mempool.push(transaction.clone());
        self.show(&transaction, None);
        true
    }

    /// Drops a waiting transaction and what it made possible.
    pub fn forget(&mut self, txid: Txid) {
        self.mempool
            .retain(|tx| tx.compute_txid() != txid && tx.input.iter().all(|input| input.previous_output.txid != txid));
        self.tell_gone();
    }

    /// Both are told where the mempool has the funding transaction no more.
    fn tell_gone(&mut self) {
        let funding = scene().n.funding.compute_txid();
        let known = self.confirmed().map(|(_, tx)| tx).chain(&self.mempool).any(|tx| tx.compute_txid() == funding);
        let moment = self.moment;
        for node in self.nodes.iter_mut().filter(|_| !known) {
            node.tell(Input::FundingGone, moment).unwrap();
        }
    }

    pub fn show(&mut self, transaction: &Transaction, block: Option<Block>) {
        let moment = self.moment;
        for node in &mut self.nodes {
            for input in &transaction.input {
                let outpoint = input.previous_output;
                if node.loan.watched().contains(&outpoint) {
                    let input = Input::Spent { outpoint, transaction: transaction.clone(), block };
                    node.tell(input, moment).unwrap();
                }
            }
        }
    }

    pub fn mine(&mut self, mask: u8) {
        let mut block: Vec<Transaction> = Vec::new();
        let mut left = Vec::new();
        for (index, tx) in std::mem::take(&mut self.mempool).into_iter().enumerate() {
            let parent = tx.input.iter().all(|input| {
                let txid = input.previous_output.txid;
                let inside = block.iter().any(|tx: &Transaction| tx.compute_txid() == txid);
                txid != scene().n.funding.compute_txid()
                    || inside
                    || self.confirmed().any(|(_, tx)| tx.compute_txid() == txid)
            });
            let is_final = tx.lock_time.to_consensus_u32() < self.moment.median_time.0;
            match mask & (1 << (index % 8)) != 0 && parent && is_final {
                true => block.push(tx),
                false => left.push(tx),
            }
        }
        self.mempool = left;
        self.moment.height += 1;
        self.moment.median_time = Time(self.moment.median_time.0.max(self.moment.now.0.saturating_sub(3_600)));
        self.blocks.push(block.clone());
        let height = self.moment.height;
        let seen = Block { height, hash: BlockHash::from_byte_array([self.forks ^ height as u8; 32]) };
        block.iter().for_each(|tx| self.show(tx, Some(seen)));
        self.tick();
    }

    pub fn reorganise(&mut self, depth: u8, keep: u8) {
        let depth = usize::from(depth).min(self.blocks.len());
        let gone: Vec<Transaction> = self.blocks.split_off(self.blocks.len() - depth).into_iter().flatten().collect();
        self.moment.height -= depth as u32;
        self.forks = self.forks.wrapping_add(17);
        let moment = self.moment;
        for node in &mut self.nodes {
            node.tell(Input::Rollback { to_height: moment.height }, moment).unwrap();
        }
        let waiting = std::mem::take(&mut self.mempool);
        for (index, tx) in gone.into_iter().chain(waiting).enumerate() {
            if keep & (1 << (index % 8)) != 0 {
                self.submit(tx, false);
            }
        }
        self.tell_gone();
    }

    pub fn tick(&mut self) {
        let moment = self.moment;
        for node in &mut self.nodes {
            node.tell(Input::Tick, moment).unwrap();
        }
    }

    /// One side does what it is asked to.
    pub fn act(&mut self, who: usize, replace: bool) {
        for action in todo(&self.nodes[who].loan, self.moment) {
            let moment = self.moment;
            match action {
                Action::Broadcast(transaction) => {
                    self.submit(*transaction, replace);
                }
                Action::Withdraw => {
                    let coin = self.nodes[who].loan.coins[0];
                    self.nodes[who].tell(Input::Withdrawn(spend(coin, 1)), moment).unwrap();
                }
                Action::WithdrawRepayment => {
                    let loan = &self.nodes[who].loan;
                    let coin = loan.repayment.as_ref().unwrap().transaction.input[1].previous_output;
                    self.nodes[who].tell(Input::RepaymentWithdrawn(spend(coin, 2)), moment).unwrap();
                }
                Action::WatchTouches => self.hear(who, &[0, 1]),
                Action::FetchFixing => self.hear(who, &[3]),
                Action::Settle(clause) => panic!("one oracle settles {clause:?} at once"),
                Action::Send(_) | Action::SendBorrow | Action::PrepareCoin => {}
            }
        }
    }

    /// The attestations of these clauses that are public reach one side.
    pub fn hear(&mut self, who: usize, clauses: &[usize]) {
        for clause in clauses.iter().filter(|clause| self.public.contains(clause)) {
            let (attestation, exits) = &scene().exits[*clause];
            let input = Input::Attested {
                clause: CLAUSES[*clause],
                attestations: vec![attestation.clone()],
                transaction: exits[who].clone(),
            };
            let _ = self.nodes[who].tell(input, self.moment);
        }
    }

    pub fn propose(&mut self, collateral: bool, answered: bool) {
        let scene = scene();
        let (n, terms) = (&scene.n, &scene.n.terms);
        self.proposals += 1;
        let own = coin(&secret(2), Amount::from_sat(80_000_000), 1_000 + self.proposals);
        let parts = RepayParts {
            proposer: Role::Borrower,
            source: if collateral { Source::Collateral } else { Source::Wallet },
            owed: Amount::from_sat(49_000_000),
            coins: vec![(own.outpoint(), own.previous.output[0].clone())],
            change_script: script(&secret(61)),
            fee_rate: 5,
        };
        let unsigned = repay::transaction(terms, &n.skeleton, &parts).unwrap();
        let mut psbt = repay::psbt(&unsigned, &n.skeleton, &parts.coins, |_| None).unwrap();
        sign_psbt(&mut psbt, &secret(2));
        let proposal = repay::propose(&n.skeleton, &scene.cast.borrower_key, &psbt).unwrap();
        let repayment = Repayment {
            proposer: Role::Borrower,
            transaction: proposal.transaction.clone(),
            half: proposal.half,
            price: Cents(10_000_000),
            at: self.moment.now,
            owed: Cents(1),
            source: parts.source,
        };
        let attested = |node: &Node| node.loan.pending.as_ref().is_some_and(|pending| pending.attestation.is_some());
        let moment = self.moment;
        let refused = attested(&self.nodes[0]);
        let proposed = self.nodes[0].tell(Input::Repaying(repayment.clone()), moment);
        assert!(!(refused && proposed.is_ok()), "a repayment after an attestation");
        if answered && proposed.is_ok() {
            let complete = repay::countersign(&n.skeleton, Role::Borrower, &scene.cast.lender_key, &proposal).unwrap();
            let refused = attested(&self.nodes[1]);
            let answer = self.nodes[1].tell(
                Input::Repaying(Repayment { proposer: Role::Borrower, transaction: complete, ..repayment }),
                moment,
            );
            assert!(!(refused && answer.is_ok()), "a repayment after an attestation");
        }
    }

    pub fn step(&mut self, step: &Step) {
        let moment = self.moment;
        match step {
            Step::Mine(mask) => self.mine(*mask),
            Step::Reorganise { depth, keep } => self.reorganise(*depth, *keep),
            Step::Do { who, replace } => self.act(usize::from(*who), *replace),
            Step::Attest(clause) => {
                self.public.insert(usize::from(*clause));
                // The lender hands the receipt over.
                if *clause == 2 {
                    self.hear(0, &[2]);
                }
            }
            Step::Propose { collateral, answered } => self.propose(*collateral, *answered),
            Step::TakeBack { replace } => {
                let Some(open) = &self.nodes[0].loan.repayment else { return };
                let back = spend(open.transaction.input[1].previous_output, 2);
                if self.nodes[0].tell(Input::RepaymentWithdrawn(back.clone()), moment).is_ok_and(|e| !e.is_empty()) {
                    self.submit(back, *replace);
                }
            }
            Step::Pass(seconds) => {
                self.moment.now = Time(self.moment.now.0.saturating_add(*seconds));
                self.tick();
            }
            Step::Evict(index) => {
                let Some(tx) = self.mempool.get(usize::from(*index) % self.mempool.len().max(1)) else { return };
                let txid = tx.compute_txid();
                self.forget(txid);
            }
            Step::Again(index) => {
                let known: Vec<(u32, Transaction)> = self.confirmed().map(|(h, tx)| (h, tx.clone())).collect();
                if let Some((height, tx)) = known.get(usize::from(*index) % known.len().max(1)) {
                    // Only the newest fork's hash is known here; a block told twice is told the same.
                    let known = [&self.nodes[0], &self.nodes[1]].map(|node| node.loan.clone());
                    let block = known.iter().find_map(|loan| {
                        let seen = [loan.funding.as_ref(), loan.exit.as_ref().map(|exit| &exit.seen)];
                        seen.into_iter().flatten().filter_map(|seen| seen.block).find(|b| b.height == *height)
                    });
                    if let Some(block) = block {
                        self.show(tx, Some(block));
                    }
                }
            }
            Step::Cancel(who) => {
                let node = &mut self.nodes[usize::from(*who)];
                let _ = node.tell(Input::Cancel { reason: "a mood".into(), by: Doing::of(node.loan.role) }, moment);
                // Signed, walking away takes the coin.
                if let Some(coin) = node.loan.coins.first().copied() {
                    let _ = node.tell(Input::Withdrawn(spend(coin, 1)), moment);
                }
            }
            Step::Price(cents) => {
                for node in &mut self.nodes {
                    node.tell(Input::Price(Cents(*cents).into()), moment).unwrap();
                }
            }
            Step::DoubleSpend { replace } => {
                let coin = scene().cast.accept_parts(&scene().n.terms).coin.outpoint();
                self.submit(spend(coin, 3), *replace);
            }
        }
    }

    pub fn check(&self) {
        let n = &scene().n;
        let funding = n.funding.compute_txid();
        let funded = self.confirmed().find(|(_, tx)| tx.compute_txid() == funding).map(|(height, _)| height);
        let exit = self.spender(&n.skeleton.funding);
        for node in &self.nodes {
            let loan = &node.loan;
            let heights = [loan.funding.as_ref(), loan.exit.as_ref().map(|exit| &exit.seen)];
            for block in heights.into_iter().flatten().filter_map(|seen| seen.block) {
                assert!(block.height <= self.moment.height, "{:?} holds a block that is gone", loan.role);
            }
            assert_eq!(loan.funding.as_ref().and_then(|seen| seen.block).map(|block| block.height), funded);
            match exit {
                Some((height, transaction)) => {
                    let seen = loan.exit.as_ref().expect("a confirmed exit is seen");
                    assert_eq!(seen.seen.transaction.compute_txid(), transaction.compute_txid());
                    assert_eq!(seen.seen.block.map(|block| block.height), Some(height));
                    assert_eq!(seen.exit, Some(self.kind(transaction)), "{:?}", loan.role);
                    assert!(matches!(loan.stage, Stage::Closing | Stage::Closed));
                }
                None => assert!(loan.exit.as_ref().is_none_or(|exit| exit.seen.block.is_none())),
            }
            if funded.is_some() && exit.is_none() {
                let deep = funded.is_some_and(|height| self.moment.height + 1 - height >= n.terms.confirmations);
                let young = !deep && loan.stage == Stage::Confirming;
                let lives = matches!(loan.stage, Stage::Active | Stage::Closing) || young;
                assert!(lives, "{:?}: {:?} at {:?}", loan.role, loan.stage, self.moment);
            }
            self.check_actions(node, funded.is_some() && exit.is_none());
            self.check_log(node);
        }
    }

    pub fn kind(&self, transaction: &Transaction) -> Exit {
        let txid = transaction.compute_txid();
        let place = scene().exits.iter().position(|(_, exits)| exits[0].compute_txid() == txid);
        match place {
            Some(0 | 1) => Exit::Liquidated,
            Some(2) => Exit::Receipt,
            Some(_) => Exit::Matured,
            None if transaction.input.len() > 1 => Exit::Repaid,
            None if transaction.lock_time.to_consensus_u32() == scene().n.terms.fallback_locktime().0 => Exit::FellBack,
            None => Exit::Refunded,
        }
    }

    pub fn check_actions(&self, node: &Node, living: bool) {
        let actions = todo(&node.loan, self.moment);
        assert_eq!(actions, todo(&node.loan, self.moment), "the same state asks for the same");
        let attested = node.loan.pending.as_ref().filter(|pending| pending.attestation.is_some());
        if living {
            let acts = actions.iter().any(|action| match action {
                Action::WatchTouches => attested.is_none(),
                Action::Broadcast(tx) => attested.is_some_and(|pending| {
                    // A repayment that both have signed goes first while it stands.
                    pending.transaction == **tx || node.loan.standing_repayment(self.moment.height) == Some(&**tx)
                }),
                _ => false,
            });
            assert!(acts, "{:?} in {:?} neither watches nor settles", node.loan.role, node.loan.stage);
        }
        for action in &actions {
            let Action::Broadcast(tx) = action else { continue };
            self.check_broadcast(node, tx);
        }
    }

    pub fn check_broadcast(&self, node: &Node, tx: &Transaction) {
        let (n, txid) = (&scene().n, tx.compute_txid());
        assert!(tx.lock_time.to_consensus_u32() < self.moment.median_time.0, "not final yet");
        for (index, input) in tx.input.iter().enumerate() {
            assert!(!input.witness.is_empty(), "an input without a witness");
            if let Some((_, other)) = self.spender(&input.previous_output) {
                assert_eq!(other.compute_txid(), txid, "{:?} brings what cannot confirm", node.loan.role);
            }
            if input.previous_output == n.skeleton.funding {
                let mut keys = [n.skeleton.borrower_key, n.skeleton.lender_key];
                keys.sort();
                for (place, key) in keys.iter().enumerate() {
                    let half = bitcoin::ecdsa::Signature::from_slice(&input.witness[place + 1]).unwrap();
                    fallback::check_half("test", tx, index, &n.skeleton, key, &half.signature).unwrap();
                }
            }
        }
    }

    pub fn check_log(&self, node: &Node) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut withdrawn = 0;
        for recorded in &node.log {
            let name = match &recorded.event {
                Event::Offered { .. } => "offered",
                Event::Accepted { .. } => "accepted",
                Event::Signed { .. } => "signed",
                Event::Funded { .. } => "funded",
                Event::Withdrawn { .. } => "withdrawn",
                // Funded after all: whoever walks away from it once more, after a reorganisation, signs anew.
                Event::FundingSeen { block: Some(_), .. } => {
                    counts.remove("withdrawn");
                    continue;
                }
                Event::RepaymentWithdrawn { .. } => {
                    withdrawn += 1;
                    assert!(withdrawn <= 1, "a proposal taken back twice");
                    continue;
                }
                Event::Repaying(_) => {
                    withdrawn = 0;
                    continue;
                }
                _ => continue,
            };
            *counts.entry(name).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count == 1), "signed twice: {counts:?}");
    }

    /// What was written down is all there is to know.
    pub fn check_replay(&self) {
        for node in &self.nodes {
            let text = serde_json::to_string(&node.log).unwrap();
            let read: Vec<Recorded> = serde_json::from_str(&text).unwrap();
            assert_eq!(read, node.log);
            assert_eq!(format!("{:?}", Loan::replay(&read).unwrap()), format!("{:?}", node.loan));
        }
    }

    /// Both sides act and everything is mined: a living loan with a public touch must end.
    pub fn settle_down(&mut self) {
        for _ in 0..6 {
            self.act(0, true);
            self.act(1, true);
            self.check();
            self.mine(u8::MAX);
            self.check();
        }
    }
}
