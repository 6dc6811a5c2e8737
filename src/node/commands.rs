//! What people and programs ask of the node.

use super::core::{quote, repay, Core, EventWaiter};
use super::handle::{Command, Reply};
use super::jobs::repay::Wish;
use super::jobs::{backing, receipt};
use super::jobs::{Got, Key, Outcome};
use super::notify::Notifier;
use super::pay;
use super::present;
use super::preview::is_signed;
use super::refusals;
use super::statement;
use super::statements::{self, while_it_answers};
use super::tools::{error, lock, Oracle, Tools};
use super::troubles::log_trouble;
use super::vain::Vain;
use super::view::{
    AddressView, Balance, EffectView, EndedView, ErrorView, LoanCounts, LoanView, OracleRequest, OracleView, QuoteView,
    Status,
};
use super::{attention, backup, history, implied};
use crate::loan::policy::Policy;
use crate::loan::terms::{LoanId, Terms};
use crate::loan::units::DAY;
use crate::oracle_client::{explained, OracleClient};
use crate::peer::PeerAddress;
use crate::protocol::ending::Ending;
use crate::protocol::{ErrorCode, Loan, Stage};
use bitcoin::secp256k1::PublicKey;
use bitcoin::Txid;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Name of the document the policy is kept in.
pub const POLICY: &str = "policy";
/// Prefix of the documents peers are kept in.
pub const PEERS: &str = "peer/";
/// Prefix of the documents oracles are kept in.
pub const ORACLES: &str = "oracle/";

impl Core {
    /// Answers one command, at once or by a job.
    pub fn on_command(&mut self, command: Command) -> anyhow::Result<()> {
        let Some(command) = self.refuse_meanwhile(command) else { return Ok(()) };
        let Some(command) = self.refuse_new_loan(command) else { return Ok(()) };
        match command {
            Command::Status { reply } => answer(reply, Ok(self.status())),
            Command::NewAddress { reply } => {
                let address = lock(&self.tools.wallet).new_address();
                answer(
                    reply,
                    address.map(|a| AddressView { address: a.to_string() }).map_err(|e| error(ErrorCode::Internal, e)),
                );
            }
            Command::Balance { reply } => answer(reply, Ok(self.balance())),
            Command::History { reply } => {
                let (tools, loans) = (self.tools.clone(), self.loans.values().cloned().collect::<Vec<_>>());
                self.ask(async move {
                    let told = tokio::task::spawn_blocking(move || history::of(&tools, &loans)).await;
                    answer(reply, told.unwrap_or_else(|e| Err(error(ErrorCode::Internal, e))));
                });
            }
            Command::Effect { txid, reply } => {
                let tools = self.tools.clone();
                self.ask(async move { answer(reply, effect(&tools, txid).await) });
            }
            Command::Consolidate { with_fee_coin, reply } => {
                let (tools, keep) = (self.tools.clone(), !with_fee_coin && self.has_unended_loans());
                self.ask(async move {
                    let done = pay::consolidate(&tools, keep, &reply).await;
                    answer(reply, done);
                });
            }
            Command::Send { request, reply } => {
                let (tools, keep, key) = (self.tools.clone(), self.keeps_fee_coin(&request), self.ask_key());
                self.spawn(key, None, [0; 32], async move {
                    let sent = pay::send(&tools, &request, keep, &reply).await;
                    Ok(Outcome::Sent(sent, reply))
                });
            }
            Command::Preview { request, reply } => self.preview(request, reply),
            Command::Peers { reply } => answer(reply, Ok(self.peers())),
            Command::Connect { request, reply } => answer(reply, self.connect(&request)),
            Command::RemovePeer { peer, reply } => answer(reply, self.remove_peer(peer)),
            Command::RemoveOracle { oracle, reply } => answer(reply, self.remove_oracle(oracle)),
            Command::Oracles { reply } => answer(reply, Ok(self.oracles())),
            Command::AddOracle { request, reply } => {
                let tools = self.tools.clone();
                self.ask(async move { answer(reply, add_oracle(&tools, request).await) });
            }
            Command::GiveProof { request, reply } => answer(reply, self.on_given_proof(&request.proof)),
            Command::Policy { reply } => answer(reply, Ok(self.policy.clone())),
            Command::PolicyTerms { reply } => {
                let (tools, policy) = (self.tools.clone(), self.policy.clone());
                let price = tools.watched_spot(&policy.oracles, usize::from(policy.threshold)).ok();
                self.ask(async move {
                    let estimate = while_it_answers(&tools.chain, tools.capped_estimate()).await.and_then(Result::ok);
                    answer(reply, Ok(implied::of(&policy, tools.node_id(), estimate, price)));
                });
            }
            Command::SetPolicy { policy, reply } => answer(reply, self.set_policy(*policy)),
            Command::Quote { request, reply } => {
                let lender = request.lender.parse().ok();
                let vain = lender.map(|at: PeerAddress| self.shown_in_vain(at.key)).unwrap_or_default();
                let (key, work) = (self.ask_key(), quote::ask(self.tools.clone(), vain, request, reply));
                self.spawn(key, None, [0; 32], work);
            }
            Command::Quotes { reply } => {
                let with = |got: &Got| (got.terms.clone(), self.shown_in_vain(got.peer), got.view.clone());
                let (tools, got) = (self.tools.clone(), self.got.values().map(with).collect());
                self.ask(async move { answer(reply, quotes(&tools, got)) });
            }
            Command::Loans { reply } => {
                let mut ids: Vec<_> = self.loans.values().map(|loan| (loan.agreed_at, loan.id)).collect();
                ids.sort();
                answer(reply, ids.into_iter().map(|(_, id)| self.view(id)).collect());
            }
            Command::Loan { loan_id, reply } => self.show_loan(loan_id, reply),
            Command::Borrow { quote, reply } => self.borrow(quote, reply),
            Command::Requests { ended, reply } => answer(reply, Ok(self.request_views(ended))),
            Command::Approve { loan_id, reply } => self.approve(loan_id, reply)?,
            Command::Decline { loan_id, reason, reply } => {
                let declined = self.decline(loan_id, reason.as_deref())?;
                answer(reply, declined);
            }
            Command::Cancel { loan_id, reply } => self.cancel(loan_id, reply)?,
            Command::Repay { loan_id, from, reply } => self.grant(loan_id, Wish::Repay(from), reply),
            Command::Withdraw { loan_id, reply } => self.grant(loan_id, Wish::Withdraw, reply),
            Command::Receipt { loan_id, reply } => self.receipt(loan_id, reply)?,
            Command::Events { after, reply, .. } if after > self.events.last() => {
                let last = self.events.last();
                let text = format!("there is no event {after} yet: the newest is {last}; after a restore they are numbered from the backup's on");
                answer(reply, Err(error(ErrorCode::BadRequest, text)));
            }
            Command::Events { after, wait, reply } => {
                let until = Instant::now() + wait.min(Duration::from_secs(60));
                self.event_waiters.push(EventWaiter { after, until, reply });
            }
            Command::Backup { passphrase, reply } => {
                let (words, config) = (self.unlocked.words().clone(), self.unlocked.config().to_owned());
                let (store, holds) = (self.tools.store.clone(), self.loans_for_backup());
                self.ask(async move {
                    let seal = move || {
                        let sealed = backup::seal(&words, &config, &*store, &passphrase)?;
                        attention::note_backup(&*store, &holds)?;
                        anyhow::Ok(sealed)
                    };
                    let made = tokio::task::spawn_blocking(seal).await.map_err(|e| error(ErrorCode::Internal, e));
                    answer(reply, made.and_then(|made| made.map_err(|e| error(ErrorCode::BadRequest, e))));
                });
            }
        }
        Ok(())
    }

    /// One loan; of one that is over also its statement, for which the chain is asked, as long as that answers.
    pub(super) fn show_loan(&mut self, id: LoanId, reply: Reply<LoanView>) {
        let (view, tools) = (self.view(id), self.tools.clone());
        match (self.loans.get(&id).cloned(), view) {
            (Some(loan), Ok(view)) if loan.exit.is_some() || loan.stage == Stage::Cancelled => self.ask(async move {
                // Without bitcoind the loan is shown all the same.
                let (statement, no_statement) = match statements::show(&tools, loan, view.ended.clone()).await {
                    Ok(statement) => (Some(statement), None),
                    Err(why) => {
                        tracing::warn!(loan = %id, "no statement: {why}");
                        (None, Some(why))
                    }
                };
                answer(reply, Ok(statement::beside(LoanView { statement, no_statement, ..view })));
            }),
            (_, view) => answer(reply, view),
        }
    }

    /// A job that answers by itself.
    pub(super) fn ask(&mut self, work: impl std::future::Future<Output = ()> + Send + 'static) {
        let key = self.ask_key();
        self.spawn(key, None, [0; 32], async move {
            work.await;
            Ok(Outcome::Nothing)
        });
    }

    fn status(&self) -> Status {
        let mut loans = LoanCounts::default();
        for loan in self.loans.values() {
            match present::phase(&loan.stage) {
                _ if present::is_walked_away(loan) => loans.taken_back += 1,
                0 => loans.negotiating += 1,
                1 => loans.active += 1,
                _ => loans.ended += 1,
            }
        }
        let connected = self.tools.net.peers().iter().filter(|peer| peer.connected).count();
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            network: self.tools.network.to_string(),
            node_id: self.tools.node_id(),
            listen: self.tools.net.listening().map(|listen| listen.to_string()),
            announce: self.tools.announce.clone(),
            clock: self.moment.now.0,
            height: self.moment.height,
            tip: self.tip.map(|tip| tip.to_string()).unwrap_or_default(),
            median_time: self.moment.median_time.0,
            mempool: u32::try_from(self.chain_look.mempool_len()).unwrap_or(u32::MAX),
            idle: self.is_idle(),
            turns: self.turns,
            loans,
            peers_connected: u32::try_from(connected).unwrap_or(u32::MAX),
            troubles: self.what_stands(),
            attention: self.attention(),
            waiting: self.waiting(),
            ended_today: self.ended_today(),
        }
    }

    /// The loans whose end is in a block and was seen within a day, the latest first.
    fn ended_today(&self) -> Vec<EndedView> {
        let end = |loan: &Arc<Loan>| {
            let exit = loan.exit.as_ref().filter(|exit| exit.seen.block.is_some())?;
            let is_new = self.moment.now.since(exit.at) < DAY;
            is_new.then_some(EndedView { loan_id: loan.id, exit: exit.exit, at: exit.at.0 })
        };
        let mut ended: Vec<EndedView> = self.loans.values().filter_map(end).collect();
        ended.sort_by_key(|ended| (std::cmp::Reverse(ended.at), ended.loan_id));
        ended
    }

    /// What stands in the way, a sentence each.
    pub(super) fn what_stands(&self) -> Vec<String> {
        let own = self.troubles.sentences();
        let told = own.chain(self.away()).chain(self.rotation_troubles()).chain(self.policy_trouble());
        told.chain(self.coin_trouble())
            .chain(self.fee_coin_trouble())
            .chain(self.outgoing_troubles())
            .chain(self.foreign_troubles())
            .chain(self.mirror_troubles())
            .chain(self.port_troubles())
            .chain(self.unlocked.key_troubles())
            .chain(log_trouble())
            .chain(self.notifier.iter().flat_map(Notifier::troubles))
            .collect()
    }

    fn balance(&self) -> Balance {
        let (open_quotes, quoted) = self.quoted();
        let wallet = lock(&self.tools.wallet);
        let balance = wallet.balance();
        Balance {
            open_quotes,
            quoted_sats: quoted.to_sat(),
            fee_reserve_sats: wallet.coin_set_apart().map_or(0, |coin| coin.txout.value.to_sat()),
            confirmed_sats: balance.confirmed.to_sat(),
            unconfirmed_sats: balance.unconfirmed.to_sat(),
            immature_sats: balance.immature.to_sat(),
            reserved_sats: balance.reserved.to_sat(),
        }
    }

    /// Peers that open loans are with and that are not connected, a sentence for each.
    fn away(&self) -> Vec<String> {
        let mut away: BTreeMap<PublicKey, u32> = BTreeMap::new();
        let open = self.loans.values().filter(|loan| present::phase(&loan.stage) != 2);
        // Taking a coin back needs nobody.
        let open = open.filter(|loan| !present::is_walked_away(loan));
        for loan in open.filter(|loan| !self.tools.net.is_connected(loan.peer)) {
            let count = away.entry(loan.peer).or_default();
            *count = count.saturating_add(1);
        }
        let sentence = |(peer, loans): (PublicKey, u32)| {
            let way = Core::way_to(&self.tools, peer);
            format!("peer {peer}: not connected, and open loans with it: {loans}; {way}")
        };
        away.into_iter().map(sentence).collect()
    }

    pub(super) fn oracles(&self) -> Vec<OracleView> {
        lock(&self.tools.oracles).values().map(|oracle| oracle_view(&self.tools, oracle)).collect()
    }

    fn set_policy(&mut self, policy: Policy) -> Result<Policy, ErrorView> {
        policy.validate_with(&self.tools.operators()).map_err(|e| error(ErrorCode::BadRequest, e))?;
        if let Some(unknown) = self.tools.unknown_of(&policy.oracles) {
            let text = format!(
                "policy.oracles: this node has no oracle {unknown}, and would quote nothing that rests on it: \
                 `hypothec oracle add URL --pubkey {unknown}` first"
            );
            return Err(error(ErrorCode::BadRequest, text));
        }
        let bytes = serde_json::to_vec(&policy).map_err(|e| error(ErrorCode::Internal, e))?;
        let store = self.tools.store.clone();
        tokio::task::block_in_place(|| store.put(POLICY, &bytes)).map_err(|e| error(ErrorCode::Internal, e))?;
        self.policy = policy.clone();
        Ok(policy)
    }

    /// The quote that is to be taken; nothing where it was taken before.
    pub(super) fn may_borrow(&self, quote: LoanId) -> Result<Option<&Got>, ErrorView> {
        match self.loans.get(&quote).map(|loan| &loan.stage) {
            Some(Stage::Cancelled) => {
                let over = format!("quote {quote} was taken and its loan cancelled; ask for a new quote");
                return Err(error(ErrorCode::Refused, over));
            }
            Some(_) => return Ok(None),
            None => {}
        }
        let gone = || {
            let text = format!("no open quote {quote}: it expired, or the node was restarted; ask again");
            error(ErrorCode::NotFound, text)
        };
        self.got.get(&quote).map(Some).ok_or_else(gone)
    }

    fn borrow(&mut self, quote: LoanId, reply: Reply<LoanView>) {
        let got = match self.may_borrow(quote) {
            Ok(Some(got)) => got.clone(),
            Ok(None) => return self.show_loan(quote, reply),
            Err(why) => return answer(reply, Err(why)),
        };
        // A loan needs its lender again after a restart, whoever dialled whom and however it was named.
        if let Err(trouble) = self.remember(got.peer) {
            return answer(reply, Err(trouble));
        }
        let work = quote::take(self.tools.clone(), self.shown_in_vain(got.peer), got, reply);
        self.spawn(Key::Loan(quote), None, quote.0, work);
    }

    fn cancel(&mut self, id: LoanId, reply: Reply<LoanView>) -> anyhow::Result<()> {
        let loan = match self.may_cancel(id) {
            Ok(loan) => loan,
            Err(why) => {
                answer(reply, Err(why));
                return Ok(());
            }
        };
        // Signed, a word is not enough: the own coin is spent elsewhere, until the funding is in a block.
        if is_signed(&loan) {
            self.grant(id, Wish::WalkAway, reply);
            return Ok(());
        }
        let cancel = self.cancel_for(&loan, Ending::ByHand, "cancelled by us".into());
        let done = self.input(id, cancel)?;
        if done.is_ok() {
            self.send(loan.peer, &super::core::refused(id.0, ErrorCode::Cancelled, "the other side cancelled"));
        }
        match done {
            Ok(()) => self.show_loan(id, reply),
            Err(refused) => answer(reply, Err(refused)),
        }
        Ok(())
    }

    fn grant(&mut self, id: LoanId, wish: Wish, reply: Reply<LoanView>) {
        let Some(loan) = self.loans.get(&id).cloned() else {
            return answer(reply, self.view(id));
        };
        if self.running.contains(&Key::Loan(id)) {
            let busy = "something is being done with this loan right now; try again in a moment";
            return answer(reply, Err(error(ErrorCode::Unavailable, busy)));
        }
        let work = repay::grant(self.tools.clone(), loan, wish, reply);
        self.spawn(Key::Loan(id), None, id.0, work);
    }

    fn receipt(&mut self, id: LoanId, reply: Reply<LoanView>) -> anyhow::Result<()> {
        let Some(loan) = self.loans.get(&id).cloned() else {
            answer(reply, self.view(id));
            return Ok(());
        };
        if let Some(text) = refusals::no_receipt(&loan) {
            answer(reply, Err(error(ErrorCode::Refused, text)));
            return Ok(());
        }
        match receipt::give(&self.tools, &loan) {
            Err(trouble) => answer(reply, Err(trouble.view())),
            // Its record says it to the borrower, now and whenever its node is back.
            Ok(input) => {
                let done = self.input(id, input)?;
                answer(reply, done.and_then(|()| self.view(id)));
            }
        }
        Ok(())
    }
}

/// The quotes got, their coins counted as they are now.
fn quotes(tools: &Tools, got: Vec<(Terms, Vain, QuoteView)>) -> Result<Vec<QuoteView>, ErrorView> {
    let now = |(terms, vain, mut quote): (Terms, Vain, QuoteView)| {
        backing::count(tools, &terms, &vain, &mut quote).map(|()| quote).map_err(|e| e.view())
    };
    let mut quotes = got.into_iter().map(now).collect::<Result<Vec<_>, _>>()?;
    quotes.sort_by_key(|quote| (quote.expires, quote.loan_id));
    Ok(quotes)
}

fn answer<T>(reply: Reply<T>, result: Result<T, ErrorView>) {
    // Whoever asked may have gone.
    let _ = reply.send(result);
}

fn oracle_view(tools: &Tools, oracle: &Oracle) -> OracleView {
    let (rotation, rotation_conflict) = {
        let rotations = lock(&tools.rotations);
        (rotations.of(&oracle.client.key()), rotations.conflict(&oracle.client.key()))
    };
    OracleView {
        pubkey: oracle.client.key(),
        url: oracle.client.url().to_owned(),
        mirrors: oracle.client.urls().into_iter().skip(1).collect(),
        dropped: oracle.client.dropped(),
        spot_cents: oracle.spot.as_ref().map(|spot| spot.cents.0),
        spot_at: oracle.spot.as_ref().map(|spot| spot.unix.0),
        trouble: oracle.trouble.clone(),
        equivocation: lock(&tools.proofs).of(&oracle.client.key()),
        rotation,
        rotation_conflict,
        same_operator: tools.operators().others(&oracle.client.key()),
        note: None,
    }
}

/// Said when another oracle raises how many must agree before this node borrows.
fn raised(floor: u8) -> String {
    format!(
        "this node knows oracles of several operators now, and borrows only where {floor} of them or more must agree: a quote of a \
         lender whose policy needs fewer is refused. `min_threshold = 1` under `[borrowing]` takes loans on one of them"
    )
}

async fn add_oracle(tools: &Tools, request: OracleRequest) -> Result<OracleView, ErrorView> {
    let key = match request.pubkey {
        Some(key) => key,
        None => match OracleClient::connect(&request.url).await {
            Ok(client) => client.key(),
            Err(e) => return Err(error(ErrorCode::BadRequest, explained(e, &request.url).await)),
        },
    };
    let urls: Vec<String> = [request.url.clone()].into_iter().chain(request.mirrors).collect();
    let client = OracleClient::with_mirrors(&urls, key).map_err(|e| error(ErrorCode::BadRequest, e))?;
    let info = match client.info().await {
        Ok(info) => info,
        Err(e) => return Err(error(ErrorCode::Unavailable, explained(e, client.url()).await)),
    };
    if info.network != tools.network.to_string() {
        let message = format!("oracle {} is for {}, this node for {}", request.url, info.network, tools.network);
        return Err(error(ErrorCode::BadRequest, message));
    }
    let spot = client.spot().await.ok();
    // So that a key that stops is not pinned unawares. One that does not answer is asked again with every look.
    if let Ok(served) = client.rotations().await {
        lock(&tools.rotations).take(client.key(), &served).map_err(|e| error(ErrorCode::Internal, e))?;
    }
    if let Ok(links) = client.links().await {
        lock(&tools.operators).take(client.key(), &links).map_err(|e| error(ErrorCode::Internal, e))?;
    }
    let floor = |known: &BTreeMap<_, Oracle>| tools.minimum_threshold(&known.keys().copied().collect::<Vec<_>>());
    let before = floor(&lock(&tools.oracles));
    let name = format!("{ORACLES}{}", client.key());
    tools.store.put(&name, client.urls().join("\n").as_bytes()).map_err(|e| error(ErrorCode::Internal, e))?;
    let oracle = Oracle::new(client, tools.network, spot);
    let view = oracle_view(tools, &oracle);
    let after = {
        let mut known = lock(&tools.oracles);
        known.insert(view.pubkey, oracle);
        floor(&known)
    };
    Ok(OracleView { note: (after > before).then(|| raised(after)), ..view })
}

async fn effect(tools: &Tools, txid: Txid) -> Result<EffectView, ErrorView> {
    let seen = tools.chain.transaction(txid).await.map_err(|e| error(ErrorCode::Unavailable, e))?;
    let seen = seen.ok_or_else(|| error(ErrorCode::NotFound, format!("no transaction {txid} in chain or mempool")))?;
    let effect = lock(&tools.wallet).net_effect(&seen.transaction);
    Ok(EffectView { spent_sats: effect.spent.to_sat(), received_sats: effect.received.to_sat() })
}
