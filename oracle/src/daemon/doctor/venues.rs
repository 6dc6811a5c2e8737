//! Venues: do they answer, and is what they answer fresh?

use super::ask::Asker;
use super::clock::Witness;
use super::finding::Finding;
use crate::clock::Clock;
use crate::units::Time;

/// Seconds after which a venue's answer is old.
const FRESH: u32 = 30;
const WHY: &str = "a price needs a quorum of venues; below it nothing is attested";

/// A venue, as a feed knows it: where it is asked, and what time its answer is of.
pub trait Venue: Sync {
    /// For people.
    fn name(&self) -> &str;

    /// Where it is asked.
    fn url(&self) -> String;

    /// The time of a quote, `None` when the venue's answers say none.
    ///
    /// # Errors
    /// When the answer is not a quote.
    fn time_of(&self, answer: &[u8]) -> anyhow::Result<Option<Time>>;
}

/// A venue of which only the URL is known: its answer must be JSON and its server's clock is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebVenue {
    /// For people.
    pub name: String,
    /// Where it is asked.
    pub url: String,
}

impl Venue for WebVenue {
    fn name(&self) -> &str {
        &self.name
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn time_of(&self, answer: &[u8]) -> anyhow::Result<Option<Time>> {
        serde_json::from_slice::<serde::de::IgnoredAny>(answer).map_err(|_| anyhow::anyhow!("it is not JSON"))?;
        Ok(None)
    }
}

/// Asks a venue once; what its server says the time is bears witness for the clock.
pub async fn look_at_venue(asker: &Asker, venue: &dyn Venue, clock: &Clock) -> (Finding, Option<Witness>) {
    let name = venue.name().to_owned();
    let trouble = |what: String, remedy: &str| Finding::trouble("venue", format!("{name}: {what}"), WHY, remedy);
    let heard = match asker.get(&venue.url()).await {
        Ok(heard) => heard,
        Err(error) => {
            return (trouble(format!("{error:#}"), "look at its status page, and at this machine's way out"), None)
        }
    };
    let Ok(here) = clock.now() else { return (trouble("the clock is not known".into(), "see clock"), None) };
    let witness = heard.date.map(|said| Witness { name: name.clone(), said, here });
    let finding = match venue.time_of(&heard.body) {
        Err(error) => trouble(format!("its answer is no quote: {error:#}"), "see whether its interface has changed"),
        Ok(Some(at)) if here.since(at) > FRESH => {
            trouble(format!("its quote is {} s old", here.since(at)), "look at its status page")
        }
        Ok(Some(at)) => Finding::fine("venue", format!("{name}: answers, {} s old", here.since(at))),
        Ok(None) => Finding::fine("venue", format!("{name}: answers")),
    };
    (finding, witness)
}
