//! Looking at an oracle: the price, the lows of the days begun, and what they make true.

use super::{checks, Outcome};
use crate::contract::clauses::Clause;
use crate::contract::settle::VerifiedAttestation;
use crate::loan::units::Time;
use crate::node::tools::{Tools, Trouble};
use crate::oracle_client::OracleClient;
use crate::protocol::{Input, Loan};
use crate::settlement::{deadline, touch};
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::units::Day;
use hypothec_oracle::wire::SignedLows;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Duration;

/// How long, in real time, an oracle on fast time may need to follow the clock.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);

/// One look. `loans` are the living ones this oracle settles.
pub async fn look(tools: Arc<Tools>, oracle: XOnlyPublicKey, at: Time, loans: Vec<Arc<Loan>>) -> Outcome {
    let mut inputs = Vec::new();
    let mut spot = None;
    let result = async {
        let client = tools.oracle(&oracle)?;
        let price = wait_for_price(&tools, &client, at).await;
        if let Ok(price) = &price {
            if deadline::is_fresh(price.unix, at) {
                inputs.extend(loans.iter().map(|loan| (loan.id, Input::Price(price.cents))));
            }
            spot = Some(*price);
        }
        let mut lows: BTreeMap<Day, SignedLows> = BTreeMap::new();
        for loan in &loans {
            if let Some(input) = exit_of(&tools, &client, loan, at, &mut lows).await? {
                inputs.push((loan.id, input));
            }
        }
        price.map(|_| ())
    };
    let result: Result<(), Trouble> = result.await;
    let trouble = result.err().map(|trouble| trouble.message().to_owned());
    Outcome::Watched { oracle, at, spot, inputs, trouble }
}

/// The price now. On fast time the oracle may still be reading what the clock jumped over: it says so by its price.
async fn wait_for_price(
    tools: &Tools,
    client: &OracleClient,
    at: Time,
) -> Result<hypothec_oracle::wire::SignedPrice, Trouble> {
    let started = tokio::time::Instant::now();
    loop {
        let price = client.spot().await?;
        if !tools.clock.is_file() || price.unix >= at || started.elapsed() > FOLLOWS_WITHIN {
            return Ok(price);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The exit an oracle's word opens for a loan now, signed and ready.
async fn exit_of(
    tools: &Tools,
    client: &OracleClient,
    loan: &Loan,
    at: Time,
    lows: &mut BTreeMap<Day, SignedLows>,
) -> Result<Option<Input>, Trouble> {
    for (index, day) in touch::days_to_watch(&loan.payouts.days, at) {
        let lows = match lows.entry(day.day) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(client.lows(day.day).await?),
        };
        if touch::is_touched(&loan.terms, day, lows) {
            return attested(tools, client, loan, Clause::Touch { index }).await;
        }
    }
    if deadline::is_due(&loan.terms, at) {
        return attested(tools, client, loan, Clause::Fixing).await;
    }
    Ok(None)
}

async fn attested(tools: &Tools, client: &OracleClient, loan: &Loan, clause: Clause) -> Result<Option<Input>, Trouble> {
    let (event, proven) = match clause {
        Clause::Touch { index } => {
            (loan.payouts.days.get(index).map(|day| day.event()), loan.announcements.touches.get(index))
        }
        Clause::Fixing => (Some(loan.terms.fixing_event()), Some(&loan.announcements.fixing)),
        Clause::Receipt => (None, None),
    };
    let (Some(event), Some(proven)) = (event, proven) else { return Ok(None) };
    let Some(attestation) = client.attestation(event, &proven.announcement).await? else { return Ok(None) };
    let verified = VerifiedAttestation::check(&loan.announcements, clause, attestation).map_err(Trouble::later)?;
    let transaction = checks::settle(tools, loan, &verified)?;
    Ok(Some(Input::Attested { clause, attestation: verified.attestation().clone(), transaction }))
}
