//! Looking at an oracle: the price, the lows of the days begun, and what they make true.

use super::{checks, Outcome};
use crate::contract::clauses::Clause;
use crate::contract::settle::VerifiedAttestation;
use crate::contract::{OracleAnnouncement, OracleAttestation};
use crate::loan::terms::TouchDay;
use crate::loan::units::Time;
use crate::node::tools::{Tools, Trouble};
use crate::oracle_client::{OracleClient, OracleError};
use crate::protocol::{Input, Loan};
use crate::settlement::{deadline, touch};
use bitcoin::key::XOnlyPublicKey;
use hypothec_oracle::event::Event;
use hypothec_oracle::operator::Link;
use hypothec_oracle::rotation::Succession;
use hypothec_oracle::units::Day;
use hypothec_oracle::wire::SignedLows;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Duration;

/// How long, in real time, an oracle on fast time may need to follow the clock.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);
/// Failed questions after which a look asks for no more lows.
const ENOUGH: usize = 3;

/// One look. `loans` are the living ones this oracle settles.
pub async fn look(tools: Arc<Tools>, oracle: XOnlyPublicKey, at: Time, loans: Vec<Arc<Loan>>) -> Outcome {
    let client = match tools.watched_oracle(&oracle) {
        Ok(client) => client.for_look(),
        Err(e) => {
            let trouble = Some(e.message().to_owned());
            return Outcome::Watched { oracle, at, spot: None, inputs: Vec::new(), trouble };
        }
    };
    let mut inputs = Vec::new();
    // What is wrong with one answer or one loan is told, and never keeps another loan from being settled.
    let mut trouble: Option<Trouble> = None;
    let spot = match wait_for_price(&tools, &client, at).await {
        Ok(price) => {
            // Where several oracles say a price, the median of theirs counts, and the core knows them all.
            if deadline::is_fresh(price.unix, at) {
                let alone = loans.iter().filter(|loan| loan.payouts.quorum.is_single());
                inputs.extend(alone.map(|loan| (loan.id, Input::Price(price.cents))));
            }
            Some(price)
        }
        Err(e) => {
            trouble = Some(e);
            None
        }
    };
    let mut lows = Lows { client: &client, known: BTreeMap::new(), failed: 0 };
    for loan in &loans {
        if !loan.payouts.quorum.is_single() {
            let (said, missing) = words_of(&client, loan, at, &mut lows).await;
            inputs.extend(said.into_iter().map(|input| (loan.id, input)));
            trouble = trouble.or(missing);
            continue;
        }
        match exit_of(&tools, &client, loan, at, &mut lows).await {
            Ok(input) => inputs.extend(input.map(|input| (loan.id, input))),
            Err(e) => trouble = trouble.or(Some(e)),
        }
    }
    let trouble = trouble.map(|trouble| trouble.message().to_owned());
    Outcome::Watched { oracle, at, spot, inputs, trouble }
}

/// Asks an oracle for its hand-overs, and for what joins its key with others. Beside a look and not in it: nothing about a loan waits for them.
pub async fn rotations(tools: Arc<Tools>, oracle: XOnlyPublicKey, at: Time) -> Outcome {
    let served = match tools.oracle(&oracle) {
        Ok(client) => served_of(&client).await.map_err(|e| e.is_false().then(|| e.to_string())),
        Err(_) => Err(None),
    };
    Outcome::Rotations { oracle, at, served }
}

async fn served_of(client: &OracleClient) -> Result<Box<(Succession, Vec<Link>)>, OracleError> {
    Ok(Box::new((client.rotations().await?, client.links().await?)))
}

/// The lows of the days asked about in one look, each asked for once whether it could be had or not.
struct Lows<'a> {
    client: &'a OracleClient,
    known: BTreeMap<Day, Result<SignedLows, Trouble>>,
    /// Days that could not be had. Where an oracle hangs, asking for every day would take hours.
    failed: usize,
}

impl Lows<'_> {
    async fn of(&mut self, day: Day) -> &Result<SignedLows, Trouble> {
        match self.known.entry(day) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let lows = match self.failed < ENOUGH {
                    true => self.client.lows(day).await.map_err(Trouble::from),
                    false => Err(Trouble::Later(format!("oracle {}: its lows cannot be had", self.client.url()))),
                };
                self.failed += usize::from(lows.is_err());
                new.insert(lows)
            }
        }
    }
}

/// The price now. On fast time the oracle may still be reading what the clock jumped over: its status says how far it is.
async fn wait_for_price(
    tools: &Tools,
    client: &OracleClient,
    at: Time,
) -> Result<hypothec_oracle::wire::SignedPrice, Trouble> {
    let started = tokio::time::Instant::now();
    // One that does not answer is silent at once; one that answers is given time to say everything up to `at`.
    while tools.clock.is_file() && started.elapsed() < FOLLOWS_WITHIN {
        match client.status().await {
            Ok(status) if status.clock < at => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => break,
        }
    }
    Ok(client.spot().await?)
}

/// The exit an oracle's word opens for a loan now, signed and ready.
async fn exit_of(
    tools: &Tools,
    client: &OracleClient,
    loan: &Loan,
    at: Time,
    lows: &mut Lows<'_>,
) -> Result<Option<Input>, Trouble> {
    if loan.lacks_price() {
        return attested(tools, client, loan, Clause::Fixing).await;
    }
    let mut missing = None;
    for (index, day) in touch::days_to_watch(&loan.payouts.days, at) {
        match lows.of(day.day).await {
            Ok(lows) if touch::is_touched(&loan.terms, day, lows) => {
                match attested(tools, client, loan, Clause::Touch { index }).await {
                    Ok(None) => {
                        let text = format!("oracle {}: withholds {}, which its lows prove", client.url(), day.event());
                        missing = missing.or(Some(Trouble::Later(text)));
                    }
                    Ok(found) => return Ok(found),
                    Err(e) => missing = missing.or(Some(e)),
                }
            }
            Ok(_) => {}
            Err(e) => {
                let e = e.clone();
                match heard(client, loan, (index, day), at).await {
                    Ok(Some(said)) => return settled(tools, loan, Clause::Touch { index }, said).map(Some),
                    Ok(None) => missing = missing.or(Some(e)),
                    Err(contradiction) => missing = missing.or(Some(contradiction)),
                }
            }
        }
    }
    // A touch before due ends the loan, so the fixing is second; but it does not wait for ever for lows that are lost.
    let patient = missing.is_some() && at.since(loan.terms.due()) < deadline::LOWS_PATIENCE;
    if deadline::is_due(&loan.terms, at) && !patient {
        return attested(tools, client, loan, Clause::Fixing).await;
    }
    match missing {
        Some(e) => Err(e),
        None => Ok(None),
    }
}

/// What one of several oracles says of a loan and has not said before: its touches, and after them its fixing. Whether
/// that settles the loan depends on what the others have said.
async fn words_of(client: &OracleClient, loan: &Loan, at: Time, lows: &mut Lows<'_>) -> (Vec<Input>, Option<Trouble>) {
    let (mut inputs, mut missing, mut failed) = (Vec::new(), None, 0);
    let key = client.key();
    for (index, day) in touch::days_to_watch(&loan.payouts.days, at) {
        let clause = Clause::Touch { index };
        let touched = lows.of(day.day).await.as_ref().map(|lows| touch::is_touched(&loan.terms, day, lows));
        let said = match touched {
            Err(_) if loan.has_said(clause, &key) => continue,
            Err(e) => {
                let e = e.clone();
                heard(client, loan, (index, day), at).await.and_then(|said| said.map(Some).ok_or(e))
            }
            Ok(false) => continue,
            Ok(true) if loan.has_said(clause, &key) => continue,
            Ok(true) if failed >= ENOUGH => break,
            Ok(true) => word(client, loan, clause).await,
        };
        match said {
            Ok(Some(attestation)) => inputs.push(Input::Said { clause, attestation }),
            Ok(None) => {
                let text = format!("oracle {}: withholds {}, which its lows prove", client.url(), day.event());
                missing = missing.or(Some(Trouble::Later(text)));
                failed += 1;
            }
            Err(e) => {
                missing = missing.or(Some(e));
                failed += 1;
            }
        }
    }
    let patient = missing.is_some() && at.since(loan.terms.due()) < deadline::LOWS_PATIENCE;
    let due = deadline::is_due(&loan.terms, at) && (!patient || loan.lacks_price());
    if due && !loan.has_said(Clause::Fixing, &key) {
        match word(client, loan, Clause::Fixing).await {
            Ok(said) => {
                inputs.extend(said.map(|attestation| Input::Said { clause: Clause::Fixing, attestation }));
            }
            Err(e) => missing = missing.or(Some(e)),
        }
    }
    (inputs, missing)
}

/// One oracle's verified attestation of a clause, once there is one.
async fn word(client: &OracleClient, loan: &Loan, clause: Clause) -> Result<Option<OracleAttestation>, Trouble> {
    let Some((event, announcement)) = asked(client, loan, clause) else { return Ok(None) };
    let Some(attestation) = client.attestation(event, announcement).await? else { return Ok(None) };
    // Once more against the loan's own announcements: what goes into the log is sure to settle it.
    VerifiedAttestation::check(&loan.announcements, clause, attestation.clone()).map_err(Trouble::later)?;
    Ok(Some(attestation))
}

/// One oracle's verified attestation of a day's touch by relays alone, where its lows cannot be had: the attestation itself
/// says that the touch is true.
async fn heard(
    client: &OracleClient,
    loan: &Loan,
    (index, day): (usize, &TouchDay),
    at: Time,
) -> Result<Option<OracleAttestation>, Trouble> {
    let clause = Clause::Touch { index };
    let asked = asked(client, loan, clause).filter(|_| touch::counts_without_lows(&loan.terms, day, at));
    let Some((event, announcement)) = asked else { return Ok(None) };
    let Some(attestation) = client.attestation_by_relays(event, announcement).await? else { return Ok(None) };
    VerifiedAttestation::check(&loan.announcements, clause, attestation.clone()).map_err(Trouble::later)?;
    Ok(Some(attestation))
}

/// The event of a clause, and how this oracle announced it to the loan.
fn asked<'a>(client: &OracleClient, loan: &'a Loan, clause: Clause) -> Option<(Event, &'a OracleAnnouncement)> {
    let event = match clause {
        Clause::Touch { index } => loan.payouts.days.get(index).map(|day| day.event()),
        Clause::Fixing => Some(loan.terms.fixing_event()),
        Clause::Receipt => None,
    };
    let announced = loan.announcements.of(clause);
    let announced = announced.into_iter().find(|announcement| announcement.oracle_public_key == client.key());
    event.zip(announced)
}

async fn attested(tools: &Tools, client: &OracleClient, loan: &Loan, clause: Clause) -> Result<Option<Input>, Trouble> {
    word(client, loan, clause).await?.map(|said| settled(tools, loan, clause, said)).transpose()
}

/// The exit that an attestation opens, signed.
fn settled(tools: &Tools, loan: &Loan, clause: Clause, said: OracleAttestation) -> Result<Input, Trouble> {
    let verified = VerifiedAttestation::check(&loan.announcements, clause, said).map_err(Trouble::later)?;
    let transaction = checks::settle(tools, loan, &verified)?;
    Ok(Input::Attested { clause, attestations: verified.attestations(), transaction })
}
