//! What both sides look at right before they sign.

use super::Outcome;
use crate::contract::clauses::Clause;
use crate::contract::settle::VerifiedAttestation;
use crate::contract::Role;
use crate::loan::terms::{Terms, TouchDay};
use crate::loan::units::Time;
use crate::node::tools::{ask_all, lock, Tools, Trouble};
use crate::oracle_client::OracleClient;
use crate::protocol::{ErrorCode, Input, Loan};
use crate::settlement::{deadline, touch};
use crate::wallet::LoanKeys;
use bitcoin::{OutPoint, TxOut};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nobody signs while its own fee cap is below what relays, after the terms expired, at a price that has moved, once an oracle has attested any clause, or on an
/// oracle that is proved to contradict itself or hands over before the loan ends.
pub async fn may_sign(tools: &Tools, loan: &Loan) -> Result<(), Trouble> {
    let terms = &loan.terms;
    tools.require_usable(&terms.oracles, terms.due())?;
    // What takes our coin back would not relay.
    tools.fee_estimate().await?;
    // The other side reads it: a lender has nothing to ask for.
    let remedy = match loan.role {
        Role::Lender => "; ask for a new quote",
        Role::Borrower => "",
    };
    let now = tools.now()?;
    if deadline::has_expired(terms, now) {
        let message = format!("the terms expired at {}{remedy}", terms.expires);
        return Err(Trouble::refuse(ErrorCode::Expired, message));
    }
    let spot = tools.spot(&terms.oracles, usize::from(terms.threshold)).await?;
    if !deadline::is_near(terms.reference_price, spot) {
        let message =
            format!("spot is {spot}, more than 0.5 % from the reference price {}{remedy}", terms.reference_price);
        return Err(Trouble::refuse(ErrorCode::PriceMoved, message));
    }
    let touches = touches(tools, loan, now).await?;
    touches.require_known()?;
    if let Some(index) = touches.said.keys().next() {
        let event = loan.payouts.days.get(*index).map(|day| day.event().to_string()).unwrap_or_default();
        return Err(Trouble::refuse(ErrorCode::Attested, format!("{event} is attested already{remedy}")));
    }
    Ok(())
}

/// What the lows of a loan's oracles say of its touches.
pub struct Touches {
    /// By day: how many oracles' lows make its touch true.
    pub said: BTreeMap<usize, usize>,
    /// Why the lows of some could not be had.
    silent: Vec<Trouble>,
    threshold: usize,
    /// The most oracles that may make one day's touch true: those that do and those that are silent, each once.
    most_possible: usize,
}

impl Touches {
    /// Fails when oracles enough to settle a touch are silent: nobody can say that none is true.
    fn require_known(&self) -> Result<(), Trouble> {
        match self.silent.first() {
            Some(trouble) if self.silent.len() >= self.threshold => Err(trouble.clone()),
            _ => Ok(()),
        }
    }

    /// Is the loan being liquidated? One oracle of several does not do that; it and silent ones might.
    pub fn require_untouched(&self) -> Result<(), Trouble> {
        self.require_known()?;
        let most = self.said.values().max().copied().unwrap_or(0);
        let text = "the price touched the day's level: the loan is being liquidated";
        match most {
            0 => Ok(()),
            sure if sure >= self.threshold => Err(Trouble::refuse(ErrorCode::Touched, text)),
            _ if self.most_possible >= self.threshold => Err(Trouble::refuse(ErrorCode::Touched, text)),
            _ => Ok(()),
        }
    }
}

/// Asks every oracle of a loan which of its touches are true.
pub async fn touches(tools: &Tools, loan: &Loan, now: Time) -> Result<Touches, Trouble> {
    let terms = Arc::new(loan.terms.clone());
    let days: Arc<Vec<(usize, TouchDay)>> =
        Arc::new(touch::days_to_watch(&loan.payouts.days, now).map(|(index, day)| (index, *day)).collect());
    let question = |client: Arc<OracleClient>| {
        let (terms, days) = (terms.clone(), days.clone());
        async move { Ok(touched(&client, &terms, &days, now).await) }
    };
    let answers = ask_all(tools.clients(&loan.terms.oracles)?, question).await;
    let mut touches = Touches {
        said: BTreeMap::new(),
        silent: Vec::new(),
        threshold: usize::from(loan.terms.threshold),
        most_possible: 0,
    };
    let mut heard = Vec::new();
    for answer in answers {
        let (days, silent) = answer.unwrap_or_else(|trouble| (Vec::new(), Some(trouble)));
        heard.push((days.clone(), silent.is_some()));
        days.into_iter().for_each(|index| *touches.said.entry(index).or_default() += 1);
        touches.silent.extend(silent);
    }
    touches.most_possible = most_possible(&heard);
    Ok(touches)
}

/// The most oracles that may make one day's touch true, where each has shown these days' and is silent of others, or not. Who is
/// silent may mean each day, also where it has shown one: it counts once.
fn most_possible(heard: &[(Vec<usize>, bool)]) -> usize {
    let silent = heard.iter().filter(|(_, is_silent)| *is_silent).count();
    let mut shown: BTreeMap<usize, usize> = BTreeMap::new();
    let sure = heard.iter().filter(|(_, is_silent)| !is_silent).flat_map(|(days, _)| days);
    sure.for_each(|index| *shown.entry(*index).or_default() += 1);
    shown.values().max().copied().unwrap_or(0) + silent
}

/// The days whose touch is true by one oracle's lows, and why it cannot be told of all: it is silent, or what is heard of it
/// is of an earlier time.
async fn touched(
    client: &OracleClient,
    terms: &Terms,
    days: &[(usize, TouchDay)],
    now: Time,
) -> (Vec<usize>, Option<Trouble>) {
    let (mut found, mut silent) = (Vec::new(), None);
    for (index, day) in days {
        // Of one UTC day a loan has one touch.
        let lows = match client.lows_at(day.day, now).await {
            Ok(lows) => lows,
            Err(error) => return (found, Some(error.into())),
        };
        match touch::heard(terms, day, &lows, now) {
            Ok(true) => found.push(*index),
            Ok(false) => {}
            Err(unheard) => silent = silent.or_else(|| Some(client.unheard(unheard).into())),
        }
    }
    (found, silent)
}

/// That bitcoind does not have a coin is a refusal, unless it is behind what this node knows of the chain: then it may have it in
/// a while, and nobody else can help that.
pub async fn missing(tools: &Tools, code: ErrorCode, message: String) -> Trouble {
    let known = lock(&tools.wallet).known_height();
    match tools.chain.health().await {
        Ok(health) if !health.has_all() || known > health.blocks => {
            Trouble::Later(format!("bitcoind is behind, at block {}: {message}", health.blocks))
        }
        Ok(_) => Trouble::refuse(code, message),
        Err(away) => away.into(),
    }
}

/// Every coin must be on chain with exactly this output, unspent and confirmed.
pub async fn coins_exist(tools: &Tools, coins: &[(OutPoint, TxOut)]) -> Result<(), Trouble> {
    for (outpoint, expected) in coins {
        let found = tools.chain.coin_with_mempool(*outpoint).await?;
        let Some(coin) = found.filter(crate::chain::Coin::is_ready) else {
            let message =
                format!("coin {outpoint} is not an unspent confirmed coin, or a mining reward below 100 blocks");
            return Err(missing(tools, ErrorCode::Coin, message).await);
        };
        if coin.txout != *expected {
            return Err(Trouble::refuse(
                ErrorCode::Coin,
                format!("coin {outpoint} is worth {}, not as stated", coin.txout.value),
            ));
        }
    }
    Ok(())
}

/// Enough oracles have said a clause: settles it.
pub async fn settle_said(tools: Arc<Tools>, loan: Arc<Loan>, clause: Clause) -> Result<Outcome, Trouble> {
    let said = loan.said_of(clause);
    let attested = VerifiedAttestation::check_all(&loan.announcements, clause, said).map_err(Trouble::later)?;
    let transaction = settle(&tools, &loan, &attested)?;
    let attestations = attested.attestations();
    Ok(Outcome::Inputs(loan.id, vec![Input::Attested { clause, attestations, transaction }]))
}

/// Our keys of a loan, to sign with.
///
/// # Errors
/// When the loan was given back and its keys are of an index that nobody has any more.
pub fn keys(tools: &Tools, loan: &Loan) -> Result<LoanKeys, Trouble> {
    let keys = tools.seed.loan_keys(&loan.key_index)?;
    match loan.has_key(&keys.funding) {
        true => Ok(keys),
        false => Err(Trouble::later(KEYLESS)),
    }
}

/// Said of a loan that was given back without its keys.
pub const KEYLESS: &str =
    "the words do not give this loan's keys, and the folder that had them is lost: it settles by its oracles' word, its \
     fallback or its refund, and this node can sign nothing new for it; a backup of the lost node would have them";

/// What it means for a loan that its keys are lost, a sentence; none where they are not.
pub fn without_keys(tools: &Tools, loan: &Loan) -> Option<String> {
    matches!(keys(tools, loan), Err(Trouble::Later(why)) if why == KEYLESS).then(|| KEYLESS.to_owned())
}

/// Settles verified attestations: with our own key, or, where we have it no more, with the signatures that both sides
/// exchanged.
pub fn settle(tools: &Tools, loan: &Loan, attested: &VerifiedAttestation) -> Result<bitcoin::Transaction, Trouble> {
    let keys = tools.seed.loan_keys(&loan.key_index)?;
    loan.settle_with(&keys.funding, attested).map_err(Trouble::later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_oracle_that_shows_a_low_and_is_silent_of_another_day_counts_once() {
        let (nothing, today, yesterday) = (|| (vec![], false), || (vec![1], false), || (vec![0], false));
        for (heard, most) in [
            (vec![nothing(), nothing(), (vec![1], true)], 1),
            (vec![nothing(), today(), (vec![1], true)], 2),
            (vec![nothing(), today(), (vec![], true)], 2),
            (vec![nothing(), today(), yesterday()], 1),
            (vec![today(), today(), nothing()], 2),
            (vec![(vec![], true), (vec![0, 1], true), nothing()], 2),
            (vec![], 0),
        ] {
            assert_eq!(most_possible(&heard), most, "{heard:?}");
        }
    }
}
