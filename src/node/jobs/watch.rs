//! Looking at an oracle: the price, the lows of the days begun, and what they make true.

use super::{checks, Outcome};
use crate::contract::clauses::Clause;
use crate::contract::settle::VerifiedAttestation;
use crate::contract::{OracleAnnouncement, OracleAttestation};
use crate::loan::terms::{Terms, TouchDay};
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
use hypothec_oracle::wire::{SignedLows, Unheard, FINAL_WITHIN};
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Duration;

/// How long, in real time, an oracle on fast time may need to follow the clock.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);
/// Failed questions after which a look asks for no more lows.
const ENOUGH: usize = 3;

/// A price that is not fresh is said to be so far from this machine's clock, in minutes: in steps, so that one that moves
/// away is not told anew at every look.
const APART: [u32; 8] = [120, 60, 30, 15, 10, 5, 2, 1];

/// What is filed of a look at an oracle: what went wrong, which hours its lows do not tell of, and that its price is not of now.
pub fn about(oracle: &XOnlyPublicKey) -> [String; 3] {
    [format!("oracle {oracle}"), format!("oracle {oracle}, lows"), format!("oracle {oracle}, price")]
}

/// One look. `loans` are the living ones this oracle settles.
pub async fn look(tools: Arc<Tools>, oracle: XOnlyPublicKey, at: Time, loans: Vec<Arc<Loan>>) -> Outcome {
    let client = match tools.watched_oracle(&oracle) {
        Ok(client) => client.for_look(),
        Err(e) => {
            let trouble = Some(e.message().to_owned());
            let (spot, inputs) = (None, Vec::new());
            return Outcome::Watched { oracle, at, spot, inputs, trouble, unheard: None, apart: None };
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
                inputs.extend(alone.map(|loan| (loan.id, Input::Price(price.cents.into()))));
            }
            Some(price)
        }
        Err(e) => {
            trouble = Some(e);
            None
        }
    };
    let mut lows = Lows { client: &client, at, known: BTreeMap::new(), failed: 0, unheard: None };
    // Also where no loan is open: nothing new rests on an oracle whose lows are not heard.
    if spot.is_some() {
        trouble = trouble.or(lows.today().await.err().and_then(Missing::told));
    }
    for loan in &loans {
        if !loan.payouts.quorum.is_single() {
            let (said, missing) = words_of(&client, loan, at, &mut lows).await;
            inputs.extend(said.into_iter().map(|input| (loan.id, input)));
            trouble = trouble.or(missing.and_then(Missing::told));
            continue;
        }
        match exit_of(&tools, &client, loan, at, &mut lows).await {
            Ok(input) => inputs.extend(input.map(|input| (loan.id, input))),
            Err(e) => trouble = trouble.or(e.told()),
        }
    }
    let trouble = trouble.map(|trouble| trouble.message().to_owned());
    let unheard = lows.unheard.map(|unheard| client.unheard(unheard).to_string());
    let apart = spot.and_then(|spot| why_apart(client.url(), spot.unix, at));
    Outcome::Watched { oracle, at, spot, inputs, trouble, unheard, apart }
}

/// What a price means that is not fresh at `now`: nothing is done at it. Whether the oracle or this machine's clock is wrong
/// nobody here can know.
fn why_apart(url: &str, price: Time, now: Time) -> Option<String> {
    if deadline::is_fresh(price, now) {
        return None;
    }
    let (seconds, where_to, if_right) = match price < now {
        true => (now.since(price), "behind", "the oracle has no newer price: its page and its operator know why"),
        false => (price.since(now), "ahead of", "the oracle's clock is ahead: tell its operator"),
    };
    let minutes = APART.into_iter().find(|step| seconds > step * 60)?;
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    Some(format!(
        "oracle {url}: its newest price is more than {minutes} {unit} {where_to} this machine's clock. No margin line is watched \
         by it, and nothing is quoted, signed or repaid at it; touches and fixings settle as ever. Compare `date -u` with a clock \
         that you trust, and set this one if it is wrong; if it is right, {if_right}"
    ))
}

/// Why it is not known what an oracle says.
enum Missing {
    /// It could not be had.
    Trouble(Trouble),
    /// Its lows are old; all of them are told together.
    Unheard,
}

/// What is told of two: an old list is told by itself, and hides nothing that is worse.
fn graver(before: Option<Missing>, now: Missing) -> Option<Missing> {
    match before {
        None | Some(Missing::Unheard) => Some(now),
        Some(trouble) => Some(trouble),
    }
}

impl Missing {
    fn is_unheard(&self) -> bool {
        matches!(self, Missing::Unheard)
    }

    fn told(self) -> Option<Trouble> {
        match self {
            Missing::Trouble(trouble) => Some(trouble),
            Missing::Unheard => None,
        }
    }
}

impl From<Trouble> for Missing {
    fn from(trouble: Trouble) -> Missing {
        Missing::Trouble(trouble)
    }
}

impl From<OracleError> for Missing {
    fn from(error: OracleError) -> Missing {
        Missing::Trouble(error.into())
    }
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
    at: Time,
    known: BTreeMap<Day, Result<SignedLows, Trouble>>,
    /// Days that could not be had. Where an oracle hangs, asking for every day would take hours.
    failed: usize,
    /// The hours that should be final in what was served, and are not.
    unheard: Option<Unheard>,
}

impl Lows<'_> {
    /// Is the day's touch true?
    async fn touched(&mut self, terms: &Terms, day: &TouchDay) -> Result<bool, Missing> {
        let at = self.at;
        let heard = match self.of(day.day).await {
            Ok(lows) => touch::heard(terms, day, lows, at),
            Err(e) => return Err(e.clone().into()),
        };
        self.note(heard)
    }

    /// Are the lows of the day that runs such as an honest oracle serves now?
    async fn today(&mut self) -> Result<(), Missing> {
        let at = self.at;
        let unheard = match self.of(at.day()).await {
            Ok(lows) => lows.unheard(at, at),
            Err(e) => return Err(e.clone().into()),
        };
        self.note(unheard.map_or(Ok(()), Err))
    }

    fn note<T>(&mut self, heard: Result<T, Unheard>) -> Result<T, Missing> {
        heard.map_err(|unheard| {
            self.unheard = Some(self.unheard.map_or(unheard, |known| known.with(unheard)));
            Missing::Unheard
        })
    }

    async fn of(&mut self, day: Day) -> &Result<SignedLows, Trouble> {
        match self.known.entry(day) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let lows = match self.failed < ENOUGH {
                    true => self.client.lows_at(day, self.at).await.map_err(Trouble::from),
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
    Ok(client.spot_since(deadline::fresh_since(at)).await?)
}

/// The exit an oracle's word opens for a loan now, signed and ready.
async fn exit_of(
    tools: &Tools,
    client: &OracleClient,
    loan: &Loan,
    at: Time,
    lows: &mut Lows<'_>,
) -> Result<Option<Input>, Missing> {
    if loan.lacks_price() {
        return Ok(attested(tools, client, loan, Clause::Fixing).await?);
    }
    let mut missing = None;
    for (index, day) in touch::days_to_watch(&loan.payouts.days, at) {
        match lows.touched(&loan.terms, day).await {
            Ok(true) => match attested(tools, client, loan, Clause::Touch { index }).await {
                Ok(None) => missing = graver(missing, withheld(client, day)),
                Ok(found) => return Ok(found),
                Err(e) => missing = graver(missing, e.into()),
            },
            Ok(false) => {}
            Err(e) => match heard(client, loan, (index, day), at).await {
                Ok(Some(said)) => return Ok(Some(settled(tools, loan, Clause::Touch { index }, said)?)),
                Ok(None) => missing = graver(missing, e),
                Err(contradiction) => missing = graver(missing, contradiction.into()),
            },
        }
    }
    // A touch before due ends the loan, so the fixing is second; but it does not wait for ever for lows that are lost.
    let patient = missing.is_some() && at.since(loan.terms.due()) < deadline::LOWS_PATIENCE;
    if deadline::is_due(&loan.terms, at) && !patient {
        if let Some(found) = attested(tools, client, loan, Clause::Fixing).await? {
            return Ok(Some(found));
        }
        if let Some(unsaid) = unsaid(client, loan, at) {
            missing = graver(missing, unsaid);
        }
    }
    missing.map_or(Ok(None), Err)
}

/// What one of several oracles says of a loan and has not said before: its touches, and after them its fixing. Whether
/// that settles the loan depends on what the others have said.
async fn words_of(client: &OracleClient, loan: &Loan, at: Time, lows: &mut Lows<'_>) -> (Vec<Input>, Option<Missing>) {
    let (mut inputs, mut missing, mut failed) = (Vec::new(), None, 0);
    let key = client.key();
    for (index, day) in touch::days_to_watch(&loan.payouts.days, at) {
        let clause = Clause::Touch { index };
        let said = match lows.touched(&loan.terms, day).await {
            Err(_) if loan.has_said(clause, &key) => continue,
            Err(e) => match heard(client, loan, (index, day), at).await {
                Ok(Some(said)) => Ok(Some(said)),
                Ok(None) => Err(e),
                Err(contradiction) => Err(contradiction.into()),
            },
            Ok(false) => continue,
            Ok(true) if loan.has_said(clause, &key) => continue,
            Ok(true) if failed >= ENOUGH => break,
            Ok(true) => word(client, loan, clause).await.map_err(Missing::from),
        };
        match said {
            Ok(Some(attestation)) => inputs.push(Input::Said { clause, attestation }),
            Ok(None) => {
                missing = graver(missing, withheld(client, day));
                failed += 1;
            }
            Err(e) => {
                // Old lists cost nothing more, and hide no proven touch of another day.
                failed += usize::from(!e.is_unheard());
                missing = graver(missing, e);
            }
        }
    }
    let patient = missing.is_some() && at.since(loan.terms.due()) < deadline::LOWS_PATIENCE;
    let due = deadline::is_due(&loan.terms, at) && (!patient || loan.lacks_price());
    if due && !loan.has_said(Clause::Fixing, &key) {
        match word(client, loan, Clause::Fixing).await {
            Ok(Some(attestation)) => inputs.push(Input::Said { clause: Clause::Fixing, attestation }),
            Ok(None) => {
                if let Some(unsaid) = unsaid(client, loan, at) {
                    missing = graver(missing, unsaid);
                }
            }
            Err(e) => missing = graver(missing, e.into()),
        }
    }
    (inputs, missing)
}

fn withheld(client: &OracleClient, day: &TouchDay) -> Missing {
    Trouble::Later(format!("oracle {}: withholds {}, which its lows prove", client.url(), day.event())).into()
}

/// That the fixing should have been said, where it is so late. An honest oracle has none where it had no price then: nobody
/// can prove that it is kept back, but the loan waits for it.
fn unsaid(client: &OracleClient, loan: &Loan, at: Time) -> Option<Missing> {
    let by = loan.terms.due().plus(FINAL_WITHIN).filter(|by| at >= *by)?;
    let url = client.url().to_owned();
    Some(OracleError::NoFixing { url, at: loan.terms.due(), by }.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_is_not_of_now_is_told_with_how_far_it_is_and_on_which_side_of_this_clock() {
        let now = Time(1_583_712_000);
        let told = |price: u32| why_apart("http://127.0.0.1:3939", Time(price), now);
        assert_eq!((told(now.0), told(now.0 - 60), told(now.0 + 60)), (None, None, None));
        let starts = |price: u32, start: &str| {
            let text = told(price).unwrap();
            assert!(
                text.starts_with(&format!("oracle http://127.0.0.1:3939: its newest price is {start}. ")),
                "{text}"
            );
        };
        starts(now.0 - 61, "more than 1 minute behind this machine's clock");
        starts(now.0 - 299, "more than 2 minutes behind this machine's clock");
        starts(now.0 + 61, "more than 1 minute ahead of this machine's clock");
        starts(now.0 + 7_199, "more than 60 minutes ahead of this machine's clock");
        starts(0, "more than 120 minutes behind this machine's clock");
        starts(u32::MAX, "more than 120 minutes ahead of this machine's clock");
        // One that stands still is told anew a few times in all, and not at every look.
        let sentences: std::collections::BTreeSet<_> = (61..100_000).filter_map(|old| told(now.0 - old)).collect();
        assert_eq!(sentences.len(), APART.len());
    }
}
